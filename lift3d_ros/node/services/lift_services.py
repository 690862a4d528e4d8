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

"""The services ``~/lift_object`` and ``~/save_object`` and the action ``~/lift``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from typing import Any
from typing import TYPE_CHECKING

from rclpy.action import ActionServer
from rclpy.action import CancelResponse
from rclpy.action import GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import CallbackGroup

from lift3d_ros.action import Lift
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.messages.geometry import seconds
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.inputs.age import check_age
from lift3d_ros.node.lift_jobs import LiftJobs
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.lifting.query import Query
from lift3d_ros.node.lifting.query import Report
from lift3d_ros.node.lifting.query import request_options
from lift3d_ros.node.messages.results import object_message
from lift3d_ros.node.messages.synced import request_messages
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.outputs.publishing import array_message
from lift3d_ros.node.services.introspection import REQUESTS
from lift3d_ros.node.services.service_errors import PACE
from lift3d_ros.node.services.service_errors import service_errors
from lift3d_ros.node.worker import as_lift_error
from lift3d_ros.node.worker import Job
from lift3d_ros.node.worker import Lifters
from lift3d_ros.node.worker import trace_of
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SaveObject

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode

#: Seconds for which a client may fetch the result of an action, which holds its meshes so long.
_RESULT_TIMEOUT_S = 30

#: Minimum seconds between two feedback messages of the same stage.
_FEEDBACK_PERIOD_S = 0.1

#: Work on a frame, in the thread of the worker.
Work = Callable[[SyncedMessages, Job, Lifters], Any]


class LiftServices:
    """Offers the services and the action; their callbacks wait for the worker."""

    def __init__(self, node: LiftNode, jobs: LiftJobs, group: CallbackGroup) -> None:
        """Offer the services in a callback group whose callbacks may run in parallel."""
        self._node = node
        self._jobs = jobs
        #: The services that must respond to every request.
        self.services = [
            node.create_service(
                kind, name, callback, qos_profile=REQUESTS, callback_group=group
            )
            for kind, name, callback in (
                (LiftObject, '~/lift_object', self._on_lift_object),
                (SaveObject, '~/save_object', self._on_save_object),
            )
        ]
        self._action = ActionServer(
            node,
            Lift,
            '~/lift',
            self._on_goal,
            goal_callback=_accept,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=group,
            goal_service_qos_profile=REQUESTS,
            result_service_qos_profile=REQUESTS,
            cancel_service_qos_profile=REQUESTS,
            result_timeout=_RESULT_TIMEOUT_S,
        )

    def request(
        self, request: Any, work: Work, cancelled: Callable[[], bool] | None = None
    ) -> Any:
        """
        Queue work on the frame that a request contains or selects, and wait for its result.

        The request has the fields image, camera_info, depth, mask, selector and timeout. Raises
        ``LiftError``.
        """
        limit = seconds(request.timeout) or self._node.settings.timeout
        messages = request_messages(request)
        if messages is not None:
            # The client is responsible for the age of frames in its request.
            run = partial(work, messages)
        else:
            run = partial(self._work_on_fresh, work, self._newest(request))
        deadline = time.monotonic() + limit if limit else None
        job = Job(run, cancelled=cancelled, deadline=deadline)
        try:
            self._node.worker.submit(job)
        except LiftError as error:
            self._node.statistics.add_error(error)
            raise
        return self._node.worker.wait(job)

    @service_errors
    def _on_lift_object(
        self, request: LiftObject.Request, response: LiftObject.Response
    ) -> LiftObject.Response:
        if request.selector.mode == ObjectSelector.ALL and not request.refine:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                'The service lifts one object; use the action for all objects of a frame.',
            )
        outcome = self._lift(request)
        if outcome.error is not None:
            raise outcome.error
        response.success = True
        response.message = ' '.join(outcome.warnings)
        response.object = object_message(outcome.lifted[0], not request.without_mesh)
        return response

    @service_errors
    def _on_save_object(
        self, request: SaveObject.Request, response: SaveObject.Response
    ) -> SaveObject.Response:
        response.path = str(self._jobs.save(request))
        response.success = True
        return response

    def _on_goal(self, goal: ServerGoalHandle) -> Lift.Result:
        result, feedback = Lift.Result(), _Feedback(goal)
        feedback('queued', 0.0, '', 0, 0)
        try:
            outcome = self._lift(goal.request, feedback, lambda: goal.is_cancel_requested)
            error = outcome.error
        except LiftError as failure:
            outcome, error = None, failure
        except Exception as failure:
            # rclpy would respond with an empty result.
            outcome, error = None, as_lift_error(failure)
            self._node.get_logger().error(f'{error}\n{trace_of(error)}')
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

    def _lift(
        self,
        request: LiftObject.Request | Lift.Goal,
        report: Report | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Queue a request for shapes and wait for its outcome; raises ``LiftError``."""
        settings = self._node.settings
        method = request.method or settings.method
        # Reject unknown methods before queueing the request.
        self._node.make_lifter(settings, method)
        options = request_options(request)
        query = Query(request.selector, method, request.seed or settings.seed, options)

        def work(messages: SyncedMessages, job: Job, lifters: Lifters) -> Outcome:
            outcome = self._jobs.lift(messages, query, settings, report, job, lifters)
            if not outcome.is_inconclusive:
                self._jobs.publish(outcome, query)
            return outcome

        return self.request(request, work, cancelled)

    def _newest(self, request: Any) -> SyncedMessages:
        """Return the newest frame of the subscriptions; raises ``LiftError``."""
        inputs = self._node.inputs
        if inputs is None:
            raise LiftError(
                ErrorCode.NOT_ACTIVE, 'The node is not active; activate it, then ask again.'
            )
        return inputs.newest(request)

    def _work_on_fresh(
        self, work: Work, messages: SyncedMessages, job: Job, lifters: Lifters
    ) -> Any:
        """Work on a subscribed frame; raises ``LiftError(STALE)`` for an old one."""
        check_age(self._jobs.age(messages), self._node.settings.max_age)
        return work(messages, job, lifters)


class _Feedback:
    """Publishes the feedback of a goal at a limited rate per object."""

    def __init__(self, goal: ServerGoalHandle) -> None:
        self._goal = goal
        #: The last published stage of each object, and its time.
        self._last: dict[int, tuple[str, float]] = {}

    def __call__(self, stage: str, fraction: float, name: str, index: int, count: int) -> None:
        now = time.monotonic()
        last_stage, last_time = self._last.get(index, ('', 0.0))
        if stage == last_stage and now - last_time < _FEEDBACK_PERIOD_S:
            return
        self._last[index] = stage, now
        self._goal.publish_feedback(
            Lift.Feedback(
                stage=stage,
                progress=float(fraction),
                object_id=name,
                object_index=index,
                object_count=count,
            )
        )


def _accept(goal: Lift.Goal) -> GoalResponse:
    # A goal that finds the queue full ends with BUSY as its result.
    PACE.wait()
    return GoalResponse.ACCEPT
