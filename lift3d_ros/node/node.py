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

Callbacks only take messages and put jobs before the worker; decoding, lifting and the filling of
messages happen in its thread. A request holds a thread of the executor asleep until its job is
done: rclpy would poll a coroutine that awaits without pause, at the cost of a core.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.action import ActionServer
from rclpy.action import CancelResponse
from rclpy.action import GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.service import Service
from std_msgs.msg import Header

from lift3d_ros.action import Lift
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import Lifter
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node import diagnostics
from lift3d_ros.node import middleware
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.inputs import transforms
from lift3d_ros.node.inputs.age import check_age
from lift3d_ros.node.inputs.age import image_age
from lift3d_ros.node.inputs.detections import detection_type
from lift3d_ros.node.inputs.gravity import ImuGravity
from lift3d_ros.node.inputs.inputs import Inputs
from lift3d_ros.node.inputs.trace import Trace
from lift3d_ros.node.inputs.watch import Throttle
from lift3d_ros.node.lifting.object_history import ObjectHistory
from lift3d_ros.node.lifting.object_ids import ObjectIds
from lift3d_ros.node.lifting.pipeline import lift_objects
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.lifting.query import Query
from lift3d_ros.node.lifting.query import Report
from lift3d_ros.node.lifting.query import request_options
from lift3d_ros.node.lifting.result_store import ResultStore
from lift3d_ros.node.lifting.scale import check_settings
from lift3d_ros.node.messages.geometry import seconds
from lift3d_ros.node.messages.results import object_message
from lift3d_ros.node.messages.results import Timing
from lift3d_ros.node.messages.synced import request_messages
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.outputs.publishing import array_message
from lift3d_ros.node.outputs.publishing import ResultPublisher
from lift3d_ros.node.parameters import declaration
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.node.parameters.settings import SPECS
from lift3d_ros.node.services.introspection import Introspection
from lift3d_ros.node.services.introspection import REQUESTS
from lift3d_ros.node.services.service_errors import PACE
from lift3d_ros.node.services.service_errors import service_errors
from lift3d_ros.node.services.view_service import Synthesized
from lift3d_ros.node.services.view_service import ViewService
from lift3d_ros.node.worker import as_lift_error
from lift3d_ros.node.worker import Job
from lift3d_ros.node.worker import Lifters
from lift3d_ros.node.worker import trace_of
from lift3d_ros.node.worker import Worker
from lift3d_ros.runtime import memory
from lift3d_ros.runtime import process
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SaveObject

#: Seconds for which a client may fetch the result of an action; each holds its meshes so long.
_RESULT_TIMEOUT = 30

#: Memory left, MiB, below which the log says so. A request with a frame of 12 megapixels, its
#: depth and its mask is 72 MiB, and exists three times: in the middleware, in C and in Python.
_LOW_MEMORY_MIB = 256.0

#: Seconds between two such lines.
_MEMORY_WARNING_PERIOD_S = 30.0

#: Seconds between two feedback messages of the same stage.
_FEEDBACK_PERIOD = 0.1


class LiftNode(LifecycleNode):
    """Lifts the objects that a camera sees to whole shapes, on request or continuously."""

    def __init__(self, **kwargs: Any) -> None:
        """
        Declare the parameters and offer the services; raises ``ValueError`` for bad values.

        ``kwargs`` are those of ``rclpy.node.Node``.
        """
        super().__init__('lift3d', **kwargs)
        self._complaints = declaration.declare(self)
        for complaint in self._complaints:
            self.get_logger().warning(complaint)
        self._settings = declaration.read(self)
        self._statistics = diagnostics.Statistics()
        self._worker = Worker(self._settings.queue_size, self._on_job_done)
        self._ids = ObjectIds()
        self._shelf = ResultStore()
        self._standing = ObjectHistory()
        self._results: ResultPublisher | None = None
        self._said = diagnostics.LogOnce()
        self._throttle = Throttle()
        self._trace = Trace(self.get_logger())
        self._inputs: Inputs | None = None
        self._last_start = 0.0
        #: Of the last frame of the stream that was given to the worker.
        self._offered = Header()
        self.add_on_set_parameters_callback(self._check_parameters)

        # Requests wait in their own threads; diagnostics and transitions never do.
        self._requests = ReentrantCallbackGroup()
        self._lift_service = self.create_service(
            LiftObject,
            '~/lift_object',
            self._on_lift_object,
            qos_profile=REQUESTS,
            callback_group=self._requests,
        )
        self._save_service = self.create_service(
            SaveObject,
            '~/save_object',
            self._on_save_object,
            qos_profile=REQUESTS,
            callback_group=self._requests,
        )
        self._lift_action = ActionServer(
            self,
            Lift,
            '~/lift',
            self._on_goal,
            goal_callback=_accept,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=self._requests,
            goal_service_qos_profile=REQUESTS,
            result_service_qos_profile=REQUESTS,
            cancel_service_qos_profile=REQUESTS,
            result_timeout=_RESULT_TIMEOUT,
        )
        self._views = ViewService(self, self._requests, self._request)
        self._introspection = Introspection(self, self.request_services)
        self._introspection.set(self._settings.introspection)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._timer = self.create_timer(
            self._settings.diagnostics_period,
            self._publish_diagnostics,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self._publishers_made: list[Any] = []
        self._is_memory_low = False

    @property
    def state(self) -> str:
        """The state of the lifecycle, during a transition one such as ``activating``."""
        return self._state_machine.current_state[1]

    @property
    def settings(self) -> Settings:
        """The parameters as they are now."""
        return self._settings

    @property
    def tree(self) -> transforms.Transforms | None:
        """The transforms of the robot, where a parameter needs them and the node listens."""
        return self._inputs.transforms if self._inputs else None

    @property
    def imu(self) -> ImuGravity | None:
        """Gravity by the topic imu, where a parameter asks for it and the node listens."""
        return self._inputs.imu if self._inputs else None

    @property
    def statistics(self) -> diagnostics.Statistics:
        """What the node counts."""
        return self._statistics

    @property
    def worker(self) -> Worker:
        """The worker of the node."""
        return self._worker

    @property
    def threads(self) -> int:
        """How many threads the executor needs, so that waiting requests never take the last."""
        return self._settings.queue_size + 1 + 4

    @property
    def request_services(self) -> list[Service]:
        """The services of the node's own whose requests get a response in any case."""
        return [self._lift_service, self._save_service, self._views.service]

    def end_requests(self) -> None:
        """Answer the requests that run or wait with ``NOT_ACTIVE``, and those that still come."""
        self._worker.close(LiftError(ErrorCode.NOT_ACTIVE, 'The node is shutting down.'))

    # --- lifecycle ------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, and that the method has its weights."""
        return self._transition(self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the method, warm it up, and listen."""
        done = self._transition(self._activate)
        if done == TransitionCallbackReturn.SUCCESS:
            super().on_activate(state)
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End what runs, stop listening and free the memory of the device."""
        self._deactivate()
        super().on_deactivate(state)
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget everything that came of the configuration."""
        self._clean_up()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End what runs, from any state."""
        self._deactivate()
        self._clean_up()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to the unconfigured state, from where the node can be started again."""
        return self.on_shutdown(state)

    def _transition(self, step: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            step()
        except Exception as error:
            # rclpy would swallow it without a word.
            failure = as_lift_error(error)
            self._statistics.add_error(failure)
            self.get_logger().error(str(failure))
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        settings = self._settings
        _make_lifter(settings, settings.method).check()
        if settings.target_frame or settings.gravity_frame:
            if not transforms.is_available():
                raise LiftError(ErrorCode.NO_TRANSFORM, transforms.MISSING)
        check_settings(settings)
        if settings.mask_source == 'detections':
            detection_type()
            if not settings.use_depth:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    'mask_source "detections" finds the object in its box by depth; set use_depth '
                    'to true.',
                )
        if settings.output_dir and not Path(settings.output_dir).is_dir():
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'output_dir is "{settings.output_dir}", which is not a folder; make it first.',
            )
        self._results = ResultPublisher(self, settings)
        self._publishers_made = [*self._results.publishers, self._views.make_publisher()]

    def _activate(self) -> None:
        settings = self._settings
        lifters = Lifters(settings.device, settings.weights)
        try:
            self._warm_up(lifters.get(settings.method, settings.max_faces, settings.samples))
            self._inputs = Inputs(
                self, settings, self._on_frame, lambda: self._settings.mode == 'continuous'
            )
            self._worker.start(lifters)
            self._inputs.start()
        except Exception:
            # What was begun shall not go on beside the next attempt.
            self._deactivate()
            lifters.unload()
            raise

    def _deactivate(self) -> None:
        self._worker.stop(
            LiftError(ErrorCode.NOT_ACTIVE, 'The node was deactivated during the request.')
        )
        # After the worker, whose thread was the one to use them.
        self._views.unload()
        inputs, self._inputs = self._inputs, None
        if inputs is not None:
            inputs.close()
        memory.give_back()

    def _clean_up(self) -> None:
        self._shelf.clear()
        self._standing.clear()
        self._ids = ObjectIds()
        for publisher in self._publishers_made:
            self.destroy_lifecycle_publisher(publisher)
        self._publishers_made = []

    def _warm_up(self, lifter: Lifter) -> None:
        # The first lift of a process imports and compiles; nobody shall wait for that later.
        start = time.monotonic()
        frame, mask = ball_frame(160, 120)
        try:
            lifter.lift(frame, mask)
        except Exception as error:
            if memory.is_exhausted(error):
                raise
            self.get_logger().warning(f'the warm-up found no shape: {error}')
        self.get_logger().info(
            f'method "{lifter.name}" is ready after {time.monotonic() - start:.1f} s of loading '
            f'and warm-up, {process.age_s():.1f} s after the start of the process'
        )

    # --- parameters -----------------------------------------------------------------------------

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> Any:
        """Set parameters, all or none of them, after values of related types are converted."""
        try:
            changes = [declaration.normalize(parameter) for parameter in parameter_list]
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return super().set_parameters_atomically(changes)

    def _check_parameters(self, changes: list[Parameter]) -> Any:
        answer = declaration.check(changes, self.state == 'active')
        if answer.successful:
            # The only callback of this kind here: what it accepts will be set.
            values = {p.name: p.value for p in changes if p.name in SPECS}
            settings = replace(self._settings, **values)
            try:
                _make_lifter(settings, settings.method)
            except LiftError as error:
                return SetParametersResult(successful=False, reason=error.message)
            if settings.introspection != self._settings.introspection:
                self._introspection.set(settings.introspection)
            self._settings = settings
        return answer

    # --- topics ---------------------------------------------------------------------------------

    def _on_frame(self, observation: SyncedMessages) -> None:
        settings = self._settings
        if settings.mode != 'continuous':
            return
        now = time.monotonic()
        if settings.max_rate and now - self._last_start < 1.0 / settings.max_rate:
            self._statistics.skipped += 1
            self._trace.step('skipped (max_rate)', observation.header)
            return
        self._last_start = now
        query = Query(ObjectSelector(mode=ObjectSelector.ALL), settings.method, settings.seed)
        try:
            replaced = self._worker.offer(
                Job(partial(self._lift_of_stream, observation, query, settings))
            )
        except LiftError:
            # Deactivated since the message came.
            return
        if replaced is not None:
            self._trace.step('dropped, a newer frame arrived', self._offered)
        self._offered = observation.header
        self._trace.step('offered', observation.header)

    # --- requests -------------------------------------------------------------------------------

    @service_errors
    def _on_lift_object(
        self, request: LiftObject.Request, response: LiftObject.Response
    ) -> LiftObject.Response:
        if request.selector.mode == ObjectSelector.ALL and not request.refine:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                'The service lifts one object; use the action for all of a frame.',
            )
        outcome = self._lift_request(request)
        if outcome.error is not None:
            raise outcome.error
        response.success = True
        response.message = ' '.join(outcome.warnings)
        response.object = object_message(outcome.lifted[0], not request.without_mesh)
        return response

    def _on_goal(self, goal: ServerGoalHandle) -> Lift.Result:
        result = Lift.Result()
        feedback = _Feedback(goal)
        feedback('queued', 0.0, '', 0, 0)
        try:
            outcome = self._lift_request(goal.request, feedback, lambda: goal.is_cancel_requested)
            error = outcome.error
        except LiftError as failure:
            outcome, error = None, failure
        except Exception as failure:
            # rclpy would answer with an empty result.
            outcome, error = None, as_lift_error(failure)
            self.get_logger().error(f'{error}\n{trace_of(error)}')
        if outcome is not None:
            result.message = ' '.join(outcome.warnings)
            result.result = array_message(outcome, not goal.request.without_mesh)
            result.failures = [f'{name}: {failure}' for name, failure in outcome.failures]
        if error is None:
            result.success = True
            goal.succeed()
            return result
        result.error_code, result.message = error.code.value, error.message
        if error.code is ErrorCode.CANCELLED and goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        PACE.wait()
        return result

    def _lift_request(
        self,
        request: LiftObject.Request | Lift.Goal,
        report: Report | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Queue a request for shapes and wait for its outcome; raises ``LiftError``."""
        settings = self._settings
        # An unknown method shall not wait in the queue to hear so.
        method = request.method or settings.method
        _make_lifter(settings, method)
        extra = request_options(request)
        query = Query(request.selector, method, request.seed or settings.seed, extra)

        def work(observation: SyncedMessages, job: Job, lifters: Lifters) -> Outcome:
            outcome = self._lift(observation, query, settings, report, job, lifters)
            if not outcome.nothing_known:
                self._publish(outcome, query)
            return outcome

        return self._request(request, work, cancelled)

    def _request(
        self,
        request: Any,
        work: Callable[[SyncedMessages, Job, Lifters], Any],
        cancelled: Callable[[], bool] | None = None,
    ) -> Any:
        """
        Queue work on the frame that a request means, and wait for its result.

        The request has the fields image, camera_info, depth, mask, selector and timeout. Raises
        ``LiftError``.
        """
        limit = seconds(request.timeout) or self._settings.timeout
        observation = request_messages(request)
        if observation is not None:
            # How old the frames of a request are is the matter of who sends them.
            start = partial(work, observation)
        else:
            start = partial(self._fresh, work, self._newest(request))
        job = Job(
            start,
            cancelled=cancelled,
            deadline=time.monotonic() + limit if limit else None,
        )
        try:
            self._worker.submit(job)
        except LiftError as error:
            self._statistics.add_error(error)
            raise
        return self._worker.wait(job)

    def _newest(self, request: Any) -> SyncedMessages:
        """Return the newest frame of the subscriptions; raises ``LiftError``."""
        inputs = self._inputs
        if inputs is None:
            raise LiftError(
                ErrorCode.NOT_ACTIVE, 'The node is not active; activate it, then ask again.'
            )
        return inputs.newest(request)

    @service_errors
    def _on_save_object(
        self, request: SaveObject.Request, response: SaveObject.Response
    ) -> SaveObject.Response:
        path = self._shelf.save(request, self._settings.output_dir)
        response.success, response.path = True, str(path)
        return response

    # --- in the thread of the worker ------------------------------------------------------------

    def _fresh(
        self,
        work: Callable[[SyncedMessages, Job, Lifters], Any],
        observation: SyncedMessages,
        job: Job,
        lifters: Lifters,
    ) -> Any:
        """Work on a frame of the subscriptions; raises ``LiftError(STALE)`` for an old one."""
        check_age(self._age(observation), self._settings.max_age)
        return work(observation, job, lifters)

    def _age(self, observation: SyncedMessages) -> float | None:
        return image_age(observation.header.stamp, self.get_clock().now().to_msg())

    def _lift_of_stream(
        self,
        observation: SyncedMessages,
        query: Query,
        settings: Settings,
        job: Job,
        lifters: Lifters,
    ) -> Outcome:
        """Lift a frame for which nobody waits; whoever follows the topic learns of a failure."""
        self._trace.step('started', observation.header)
        try:
            check_age(self._age(observation), settings.max_age)
            outcome = self._lift(observation, query, settings, None, job, lifters)
        except Exception as error:
            failure = job.reason(as_lift_error(error))
            self._trace.step(f'failed, {failure.code.value}', observation.header)
            if failure.code not in (ErrorCode.CANCELLED, ErrorCode.NOT_ACTIVE):
                frame_id = settings.target_frame or observation.header.frame_id
                header = Header(stamp=observation.header.stamp, frame_id=frame_id)
                self._publish(Outcome(header, failures=[('', failure)]), query)
                self._warn_of_failure('A frame', failure)
            raise
        self._publish(outcome, query)
        self._trace.step(f'published, {len(outcome.lifted)} objects', observation.header)
        return outcome

    def _lift(
        self,
        observation: SyncedMessages,
        query: Query,
        settings: Settings,
        report: Report | None,
        job: Job,
        lifters: Lifters,
    ) -> Outcome:
        """Lift the objects of an observation."""
        outcome = lift_objects(
            observation,
            query,
            settings,
            lambda method: lifters.get(method, settings.max_faces, settings.samples),
            self._ids,
            self._standing,
            self.tree,
            self.imu,
            report=report or self._trace.stages(observation.header),
            cancelled=job.is_cancelled,
            deadline=job.deadline,
            timing=Timing(self._age(observation) or 0.0, job.waited),
        )
        outcome.failures = [(name, job.reason(error)) for name, error in outcome.failures]
        # Runs when this job is over and its result is with who waits for it.
        self._views.follow(observation.header, outcome)
        return outcome

    def _publish(self, outcome: Outcome, query: Query) -> None:
        for lifted in outcome.lifted:
            self._shelf.keep(lifted)
            self._statistics.add_object(lifted.shape.seconds)
        assert self._results is not None, 'the node is configured'
        everything = query.selector.mode == ObjectSelector.ALL and not query.extra.refine
        self._results.publish(outcome, everything)

    def _on_job_done(self, job: Job) -> None:
        """Account for a job and draw its result, after those who wait for it have been woken."""
        if job.error is not None:
            self._statistics.add_error(job.error)
            if job.error.code is ErrorCode.INTERNAL:
                self.get_logger().error(f'{job.error}\n{trace_of(job.error)}')
        if isinstance(job.result, Synthesized):
            self._views.publish(job.result)
        elif isinstance(job.result, Outcome):
            self._draw(job.result)

    def _draw(self, outcome: Outcome) -> None:
        for name, error in outcome.failures:
            self._statistics.add_error(error)
            self._warn_of_failure(name, error)
        for warning in outcome.warnings:
            self._warn_once(warning)
        if self._results is not None:
            self._results.draw(outcome, self._settings)

    def _warn_of_failure(self, what: str, error: LiftError) -> None:
        """Log a failure, and of those with the same code for a while no other."""
        if error.code in (ErrorCode.CANCELLED, ErrorCode.NOT_ACTIVE):
            # Somebody asked for it.
            return
        silent = self._throttle.count(error.code)
        if silent is not None:
            more = f' ({silent} more failed with this code since the last line)' if silent else ''
            self.get_logger().warning(f'{what} was not lifted: {error}{more}')

    def _warn_once(self, sentence: str) -> None:
        if self._said.is_new(sentence):
            self.get_logger().warning(sentence)

    # --- diagnostics ----------------------------------------------------------------------------

    def _watch_memory(self) -> None:
        left = memory.headroom_mib()
        is_low = left < _LOW_MEMORY_MIB
        if is_low != self._is_memory_low:
            self._is_memory_low = is_low
            middleware.log_fast_dds(not is_low)
        if is_low:
            self.get_logger().warning(
                f'{max(left, 0.0):.0f} MiB of memory are left to the node: the middleware drops '
                'messages and requests with large images without an answer; give the node more '
                'memory, or lower the resolution of the camera',
                throttle_duration_sec=_MEMORY_WARNING_PERIOD_S,
            )

    def _publish_diagnostics(self) -> None:
        self._watch_memory()
        settings, name = self._settings, self.get_fully_qualified_name().lstrip('/')
        inputs = self._inputs
        message = DiagnosticArray(
            status=[
                diagnostics.worker_status(
                    name,
                    self.state,
                    settings.method,
                    self._statistics,
                    self._worker,
                    inputs.synchronizer.passed_over if inputs else 0,
                    settings.diagnostics_period,
                ),
                diagnostics.input_status(
                    name,
                    inputs.synchronizer if inputs else None,
                    inputs.publishers() if inputs else {},
                    inputs.doubts() if inputs else [],
                ),
                diagnostics.parameter_status(name, self._complaints),
            ]
        )
        if inputs is not None and inputs.imu is not None:
            publishers = self.count_publishers(self.resolve_topic_name('imu'))
            message.status.append(diagnostics.imu_status(name, inputs.imu, publishers))
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


class _Feedback:
    """Publishes the feedback of a goal, for each object a few times a second at most."""

    def __init__(self, goal: ServerGoalHandle) -> None:
        self._goal = goal
        #: The last stage of each object, and when it was told.
        self._told: dict[int, tuple[str, float]] = {}

    def __call__(self, stage: str, fraction: float, name: str, index: int, count: int) -> None:
        now = time.monotonic()
        last, when = self._told.get(index, ('', 0.0))
        if stage == last and now - when < _FEEDBACK_PERIOD:
            return
        self._told[index] = stage, now
        self._goal.publish_feedback(
            Lift.Feedback(
                stage=stage,
                progress=float(fraction),
                object_id=name,
                object_index=index,
                object_count=count,
            )
        )


def _make_lifter(settings: Settings, method: str) -> Lifter:
    lifters = Lifters(settings.device, settings.weights)
    return lifters.make(method, settings.max_faces, settings.samples)


def _accept(goal: Lift.Goal) -> GoalResponse:
    # One for which there is no room ends with BUSY as its result.
    PACE.wait()
    return GoalResponse.ACCEPT
