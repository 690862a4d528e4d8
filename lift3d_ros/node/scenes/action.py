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

"""The action ~/lift_scene, and the scene that it lifted last."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any
from typing import TYPE_CHECKING

from rclpy.action import ActionServer
from rclpy.action import CancelResponse
from rclpy.action import GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import CallbackGroup

from lift3d_ros.action import LiftScene
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.messages import scenes
from lift3d_ros.messages.results import failure_message
from lift3d_ros.messages.results import Timing
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.lift_jobs import LiftJobs
from lift3d_ros.node.lifting.frames import FrameReader
from lift3d_ros.node.lifting.query import Query
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.messages.types import ROS
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.node.scenes.lifting import lift_scene
from lift3d_ros.node.scenes.lifting import LiftedScene
from lift3d_ros.node.scenes.lifting import mesh_path
from lift3d_ros.node.scenes.lifting import SceneQuery
from lift3d_ros.node.scenes.publishing import ScenePublisher
from lift3d_ros.node.services.introspection import REQUESTS
from lift3d_ros.node.services.service_errors import PACE
from lift3d_ros.node.worker import as_lift_error
from lift3d_ros.node.worker import Job
from lift3d_ros.node.worker import Lifters
from lift3d_ros.node.worker import trace_of
from lift3d_ros.progress import ProgressCallback

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode

#: Seconds for which a client may fetch a result, which holds its meshes so long.
_RESULT_TIMEOUT_S = 30

#: Minimum seconds between two feedback messages of the same stage.
_FEEDBACK_PERIOD_S = 0.1

#: Queues the work on the frame of a request and waits: ``LiftServices.request``.
Request = Callable[..., Any]


class SceneAction:
    """Offers the action; its callbacks wait for the worker."""

    def __init__(
        self, node: LiftNode, jobs: LiftJobs, group: CallbackGroup, request: Request
    ) -> None:
        """Offer the action in a callback group whose callbacks may run in parallel."""
        self._node = node
        self._jobs = jobs
        self._request = request
        self._publisher: ScenePublisher | None = None
        #: The scene that was lifted last, for views of it.
        self.last: LiftedScene | None = None
        self._action = ActionServer(
            node,
            LiftScene,
            '~/lift_scene',
            self._on_goal,
            goal_callback=_accept,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=group,
            goal_service_qos_profile=REQUESTS,
            result_service_qos_profile=REQUESTS,
            cancel_service_qos_profile=REQUESTS,
            result_timeout=_RESULT_TIMEOUT_S,
        )

    def make_publishers(self, settings: Settings) -> list[Any]:
        """Return new publishers; raises ``LiftError(BAD_REQUEST)`` as ``ScenePublisher``."""
        self._publisher = ScenePublisher(self._node, settings)
        return self._publisher.publishers

    def clear(self) -> None:
        """Forget the last scene."""
        self.last = None

    def lift(
        self,
        messages: SyncedMessages,
        query: SceneQuery,
        settings: Settings,
        report: ProgressCallback,
        job: Job,
        lifters: Lifters,
    ) -> LiftedScene:
        """Lift the scene of a frame in the thread of the worker; raises ``LiftError``."""
        return lift_scene(
            messages,
            query,
            FrameReader(settings, self._node.transforms, self._node.imu),
            lambda method: lifters.get(method, settings.lifter),
            self._jobs.names,
            report=report,
            cancelled=job.is_cancelled,
            deadline=job.deadline,
            timing=Timing(self._jobs.age(messages) or 0.0, job.waited),
        )

    def draw(self, lifted: LiftedScene) -> None:
        """Log notes, and publish markers of the objects and of the scene."""
        lifted.outcome.warnings += lifted.scene.notes
        # Without objects this logs the notes alone: markers of other requests stay.
        self._jobs.draw(lifted.outcome, markers=lifted.has_objects)
        if self._publisher is not None:
            self._publisher.draw(lifted, self._node.settings)

    def _on_goal(self, goal: ServerGoalHandle) -> LiftScene.Result:
        result, feedback = LiftScene.Result(), _Feedback(goal)
        feedback('queued', 0.0)
        try:
            lifted = self._lift(goal.request, feedback, lambda: goal.is_cancel_requested)
            self._fill(result, lifted, goal.request)
            feedback('done', 1.0)
            goal.succeed()
            return result
        except LiftError as failure:
            error = failure
        except Exception as failure:
            # rclpy would respond with an empty result.
            error = as_lift_error(failure)
            self._node.get_logger().error(f'{error}\n{trace_of(error)}')
        result.error_code, result.message = error.code.value, error.message
        if error.code is ErrorCode.CANCELLED and goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        PACE.wait()
        return result

    def _lift(
        self, goal: LiftScene.Goal, report: ProgressCallback, cancelled: Callable[[], bool]
    ) -> LiftedScene:
        settings = self._node.settings
        query = SceneQuery(
            goal.method or settings.method, goal.seed or settings.seed, goal.resolution,
            goal.without_objects, goal.path, goal.overwrite)
        # Reject invalid goals before queueing them.
        self._node.make_lifter(settings, query.method)
        if not 0.0 <= query.resolution < float('inf'):
            raise bad_request(f'The resolution is {query.resolution} m; choose a positive one.')
        if query.path:
            mesh_path(query, settings.output_dir)

        def work(messages: SyncedMessages, job: Job, lifters: Lifters) -> LiftedScene:
            lifted = self.lift(messages, query, settings, report, job, lifters)
            outcome = lifted.outcome
            if lifted.has_objects and not outcome.is_inconclusive:
                everything = ObjectSelector(mode=ObjectSelector.ALL)
                self._jobs.publish(outcome, Query(everything, query.method, query.seed))
            assert self._publisher is not None, 'the node is configured'
            lifted = lifted.with_notes(self._publisher.publish(lifted, settings))
            self.last = lifted
            return lifted

        found: LiftedScene = self._request(goal, work, cancelled)
        return found

    def _fill(
        self, result: LiftScene.Result, lifted: LiftedScene, goal: LiftScene.Goal
    ) -> None:
        settings = self._node.settings
        rows = scenes.scene_points(
            lifted.scene, lifted.T_frame_camera,
            0 if goal.without_mesh else settings.scene_points, settings.seed)
        result.success = True
        result.message = ' '.join(lifted.scene.notes)
        result.scene = scenes.scene_message(
            ROS, lifted.outcome.header, lifted.scene, lifted.T_frame_camera, lifted.placed, rows,
            lifted.timing, not goal.without_mesh)
        result.failures = [
            failure_message(ROS, name, error) for name, error in lifted.outcome.failures]
        result.files = [str(file) for file in lifted.files]


class _Feedback:
    """Publishes the feedback of a goal at a limited rate; its progress never falls."""

    def __init__(self, goal: ServerGoalHandle) -> None:
        self._goal = goal
        self._stage, self._time, self._fraction = '', 0.0, 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        now = time.monotonic()
        if stage == self._stage and now - self._time < _FEEDBACK_PERIOD_S:
            return
        self._stage, self._time = stage, now
        self._fraction = max(self._fraction, float(fraction))
        self._goal.publish_feedback(
            LiftScene.Feedback(stage=stage, progress=self._fraction))


def _accept(goal: LiftScene.Goal) -> GoalResponse:
    # A goal that finds the queue full ends with BUSY as its result.
    PACE.wait()
    return GoalResponse.ACCEPT
