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

"""The continuous mode: lift the newest frame whenever the worker is free."""

from __future__ import annotations

from functools import partial
import time
from typing import TYPE_CHECKING

from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.inputs.age import check_age
from lift3d_ros.node.lift_jobs import LiftJobs
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.lifting.query import Query
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.node.worker import as_lift_error
from lift3d_ros.node.worker import Job
from lift3d_ros.node.worker import Lifters

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode


class ContinuousMode:
    """Offers synchronised frames to the worker while the parameter mode is continuous."""

    def __init__(self, node: LiftNode, jobs: LiftJobs) -> None:
        """Offer nothing until frames arrive."""
        self._node = node
        self._jobs = jobs
        self._last_offer_s = 0.0
        #: Header of the last frame that was offered.
        self._offered = Header()

    def on_frame(self, messages: SyncedMessages) -> None:
        """Offer a frame to the worker, in place of an older one that still waits."""
        settings, trace = self._node.settings, self._jobs.trace
        if settings.mode != 'continuous':
            return
        now = time.monotonic()
        if settings.max_rate and now - self._last_offer_s < 1.0 / settings.max_rate:
            self._node.statistics.skipped += 1
            trace.step('skipped (max_rate)', messages.header)
            return
        self._last_offer_s = now
        query = Query(ObjectSelector(mode=ObjectSelector.ALL), settings.method, settings.seed)
        try:
            replaced = self._node.worker.offer(Job(partial(self._lift, messages, query, settings)))
        except LiftError:
            # The node was deactivated after the message arrived.
            return
        if replaced is not None:
            trace.step('dropped, a newer frame arrived', self._offered)
        self._offered = messages.header
        trace.step('offered', messages.header)

    def _lift(
        self,
        messages: SyncedMessages,
        query: Query,
        settings: Settings,
        job: Job,
        lifters: Lifters,
    ) -> Outcome:
        """Lift a frame; publish the failure too, since no request receives it."""
        trace, header = self._jobs.trace, messages.header
        trace.step('started', header)
        try:
            check_age(self._jobs.age(messages), settings.max_age)
            outcome = self._jobs.lift(messages, query, settings, None, job, lifters)
        except Exception as error:
            failure = job.reason(as_lift_error(error))
            trace.step(f'failed, {failure.code.value}', header)
            if failure.code not in (ErrorCode.CANCELLED, ErrorCode.NOT_ACTIVE):
                frame_id = settings.target_frame or header.frame_id
                failed = Header(stamp=header.stamp, frame_id=frame_id)
                self._jobs.publish(Outcome(failed, failures=[('', failure)]), query)
                self._jobs.warn_of_failure('A frame', failure)
            raise
        self._jobs.publish(outcome, query)
        trace.step(f'published, {len(outcome.lifted)} objects', header)
        return outcome
