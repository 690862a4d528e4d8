# Copyright 2026 lift3d_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
The lifecycle node ``lift3d``.

Callbacks only store messages and queue jobs for the worker; its thread decodes, lifts and fills
messages. A request blocks a thread of the executor until its job is done: rclpy would poll an
awaiting coroutine continuously, at the cost of a core.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import time
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.service import Service

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import Lifter
from lift3d_ros.methods.distilled.distilled import DistilledMethod
from lift3d_ros.node.continuous import ContinuousMode
from lift3d_ros.node.diagnostics import Statistics
from lift3d_ros.node.diagnostics_publisher import DiagnosticsPublisher
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.inputs import transforms
from lift3d_ros.node.inputs.detections import detection_type
from lift3d_ros.node.inputs.gravity import ImuGravity
from lift3d_ros.node.inputs.inputs import Inputs
from lift3d_ros.node.lift_jobs import LiftJobs
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.lifting.scale import check_settings
from lift3d_ros.node.outputs.publishing import ResultPublisher
from lift3d_ros.node.parameters import declaration
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.node.parameters.settings import SPECS
from lift3d_ros.node.scenes.action import SceneAction
from lift3d_ros.node.scenes.lifting import LiftedScene
from lift3d_ros.node.scenes.views import SceneViews
from lift3d_ros.node.services.introspection import set_introspection
from lift3d_ros.node.services.lift_services import LiftServices
from lift3d_ros.node.services.view_service import Synthesized
from lift3d_ros.node.services.view_service import ViewService
from lift3d_ros.node.worker import as_lift_error
from lift3d_ros.node.worker import Job
from lift3d_ros.node.worker import Lifters
from lift3d_ros.node.worker import trace_of
from lift3d_ros.node.worker import Worker
from lift3d_ros.runtime import memory
from lift3d_ros.runtime import process

#: Threads of the executor besides those of waiting requests: one for the request that runs, and
#: others for diagnostics, parameters and transitions.
_SPARE_THREADS = 5


class LiftNode(LifecycleNode):
    """Lifts the objects in camera images to whole shapes, on request or continuously."""

    def __init__(self, **kwargs: Any) -> None:
        """
        Declare the parameters and offer the services; raises ``ValueError`` for invalid values.

        ``kwargs`` are those of ``rclpy.node.Node``.
        """
        super().__init__('lift3d', **kwargs)
        unknown_parameters = declaration.declare(self)
        for warning in unknown_parameters:
            self.get_logger().warning(warning)
        self._settings = declaration.read(self)
        self.statistics = Statistics()
        self.worker = Worker(self._settings.queue_size, self._on_job_done)
        self._inputs: Inputs | None = None
        self.add_on_set_parameters_callback(self._check_parameters)

        # Requests block their threads; diagnostics and transitions use other callback groups.
        group = ReentrantCallbackGroup()
        self._jobs = LiftJobs(self)
        self._continuous = ContinuousMode(self, self._jobs)
        self._lift_services = LiftServices(self, self._jobs, group)
        request = self._lift_services.request
        self._views = ViewService(self, group, request)
        self._scenes = SceneAction(self, self._jobs, group, request)
        self._scene_views = SceneViews(self, self._scenes, request)
        set_introspection(self, self.request_services, self._settings.introspection)
        self._diagnostics = DiagnosticsPublisher(self, unknown_parameters)
        self._lifecycle_publishers: list[Any] = []

    @property
    def state(self) -> str:
        """The lifecycle state; during a transition its name, such as ``activating``."""
        return self._state_machine.current_state[1]

    @property
    def settings(self) -> Settings:
        """The current values of the parameters."""
        return self._settings

    @property
    def inputs(self) -> Inputs | None:
        """The subscriptions, None while the node is inactive."""
        return self._inputs

    @property
    def transforms(self) -> transforms.Transforms | None:
        """The transforms of the robot, if the active node listens to them."""
        return self._inputs.transforms if self._inputs else None

    @property
    def imu(self) -> ImuGravity | None:
        """Gravity by the topic imu, if the active node listens to it."""
        return self._inputs.imu if self._inputs else None

    @property
    def views(self) -> ViewService:
        """The view synthesis."""
        return self._views

    @property
    def scene_views(self) -> SceneViews:
        """The views of scenes."""
        return self._scene_views

    @property
    def threads(self) -> int:
        """Threads that the executor needs, so that waiting requests never block it."""
        return self._settings.queue_size + _SPARE_THREADS

    @property
    def request_services(self) -> list[Service]:
        """The services that must respond to every request."""
        return [*self._lift_services.services, self._views.service]

    def end_requests(self) -> None:
        """End current and future requests with ``NOT_ACTIVE``."""
        self.worker.close(LiftError(ErrorCode.NOT_ACTIVE, 'The node is shutting down.'))

    def make_lifter(self, settings: Settings, method: str) -> Lifter:
        """Return a lifter that is not loaded; raises ``LiftError`` for an invalid method."""
        lifters = Lifters(settings.device, settings.weights)
        return lifters.make(method, settings.lifter)

    # --- lifecycle ------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters and the weights of the method."""
        return self._transition(self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the method, warm it up and subscribe."""
        result = self._transition(self._activate)
        if result == TransitionCallbackReturn.SUCCESS:
            super().on_activate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the running job, unsubscribe and free the memory of the device."""
        self._deactivate()
        super().on_deactivate(state)
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget all objects and destroy the publishers."""
        self._clean_up()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and clean up, from any state."""
        self._deactivate()
        self._clean_up()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to the unconfigured state, from where the node can be configured again."""
        return self.on_shutdown(state)

    def _transition(self, step: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            step()
        except Exception as error:
            # rclpy does not report exceptions in transitions.
            failure = as_lift_error(error)
            self.statistics.add_error(failure)
            self.get_logger().error(str(failure))
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        settings = self._settings
        self.make_lifter(settings, settings.method).check()
        if settings.target_frame or settings.gravity_frame:
            if not transforms.is_available():
                raise LiftError(ErrorCode.NO_TRANSFORM, transforms.MISSING)
        check_settings(settings)
        if settings.mask_source == 'detections':
            detection_type()
            if not settings.use_depth:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    'mask_source "detections" segments the object in its box by depth; set '
                    'use_depth to true.',
                )
        if settings.output_dir and not Path(settings.output_dir).is_dir():
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'output_dir is "{settings.output_dir}", which is not a folder; create it first.',
            )
        self._jobs.results = ResultPublisher(self, settings)
        self._lifecycle_publishers = [
            *self._jobs.results.publishers, self._views.make_publisher(),
            *self._scenes.make_publishers(settings),
        ]

    def _activate(self) -> None:
        settings = self._settings
        lifters = Lifters(settings.device, settings.weights)
        try:
            self._warm_up(lifters.get(settings.method, settings.lifter))
            memory.give_back()
            self._inputs = Inputs(
                self, settings, self._continuous.on_frame,
                lambda: self._settings.mode == 'continuous',
            )
            self.worker.start(lifters)
            self._inputs.start()
        except Exception:
            # Stop what has started, so that the next attempt starts afresh.
            self._deactivate()
            lifters.unload()
            raise

    def _deactivate(self) -> None:
        self.worker.stop(
            LiftError(ErrorCode.NOT_ACTIVE, 'The node was deactivated during the request.')
        )
        # Only the thread of the worker uses views and inputs; it has ended.
        self._views.unload()
        inputs, self._inputs = self._inputs, None
        if inputs is not None:
            inputs.close()
        memory.give_back()

    def _clean_up(self) -> None:
        self._jobs.clear()
        self._scenes.clear()
        for publisher in self._lifecycle_publishers:
            self.destroy_lifecycle_publisher(publisher)
        self._lifecycle_publishers = []

    def _warm_up(self, lifter: Lifter) -> None:
        # The first lift of a process imports and compiles code; no request should wait for that.
        start = time.monotonic()
        frame, mask = ball_frame(160, 120)
        method = lifter.method
        if isinstance(method, DistilledMethod):
            # One step imports and compiles as much as all of them.
            method = replace(method, steps=1)
        try:
            Lifter(method).lift(frame, mask)
        except Exception as error:
            if memory.is_exhausted(error):
                raise
            self.get_logger().warning(f'the warm-up lift failed: {error}')
        self.get_logger().info(
            f'method "{lifter.name}" is ready after {time.monotonic() - start:.1f} s of loading '
            f'and warm-up, {process.age_s():.1f} s after the start of the process'
        )

    # --- parameters -----------------------------------------------------------------------------

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> Any:
        """Set all parameters or none of them, converted from related types."""
        try:
            changes = [declaration.normalize(parameter) for parameter in parameter_list]
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return super().set_parameters_atomically(changes)

    def _check_parameters(self, changes: list[Parameter]) -> Any:
        result = declaration.check(changes, self.state == 'active')
        if result.successful:
            # This is the only callback of its kind, so accepted values will be set.
            values = {p.name: p.value for p in changes if p.name in SPECS}
            settings = replace(self._settings, **values)
            try:
                self.make_lifter(settings, settings.method)
            except LiftError as error:
                return SetParametersResult(successful=False, reason=error.message)
            if settings.introspection != self._settings.introspection:
                set_introspection(self, self.request_services, settings.introspection)
            self._settings = settings
        return result

    # --- thread of the worker -------------------------------------------------------------------

    def _on_job_done(self, job: Job) -> None:
        """Count a job and draw its result, after its response is on the way."""
        if job.error is not None:
            self.statistics.add_error(job.error)
            if job.error.code is ErrorCode.INTERNAL:
                self.get_logger().error(f'{job.error}\n{trace_of(job.error)}')
        if isinstance(job.result, Synthesized):
            self._views.publish(job.result)
        elif isinstance(job.result, LiftedScene):
            self._scenes.draw(job.result)
        elif isinstance(job.result, Outcome):
            self._jobs.draw(job.result)
