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

"""Jobs of the worker that lift objects: lift, store, publish, draw and log."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.messages.results import Timing
from lift3d_ros.node.diagnostics import LogOnce
from lift3d_ros.node.inputs.age import image_age
from lift3d_ros.node.inputs.trace import Trace
from lift3d_ros.node.inputs.watch import Throttle
from lift3d_ros.node.lifting.frames import FrameReader
from lift3d_ros.node.lifting.pipeline import LiftingPipeline
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.lifting.query import Query
from lift3d_ros.node.lifting.query import Report
from lift3d_ros.node.lifting.result_store import ResultStore
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.outputs.publishing import ResultPublisher
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.node.worker import Job
from lift3d_ros.node.worker import Lifters
from lift3d_ros.segmentation.instances import Instance
from lift3d_ros.srv import SaveObject

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode

#: Errors that a user or a manager caused on purpose.
_INTENDED = (ErrorCode.CANCELLED, ErrorCode.NOT_ACTIVE)


class LiftJobs:
    """What the thread of the worker does for requests and for the continuous mode."""

    def __init__(self, node: LiftNode) -> None:
        """Start without known objects."""
        self._node = node
        self._pipeline = LiftingPipeline()
        self._store = ResultStore()
        self._warned = LogOnce()
        self._throttle = Throttle()
        self.trace = Trace(node.get_logger())
        #: Set when the node is configured.
        self.results: ResultPublisher | None = None

    def clear(self) -> None:
        """Forget all objects."""
        self._store.clear()
        self._pipeline.clear()

    def age(self, messages: SyncedMessages) -> float | None:
        """Return the seconds since the stamp of an image, None for an image without a stamp."""
        return image_age(messages.header.stamp, self._node.get_clock().now().to_msg())

    def names(self, instances: Sequence[Instance]) -> list[str]:
        """Return the ids of the objects of a whole frame."""
        return self._pipeline.names(instances)

    def lift(
        self,
        messages: SyncedMessages,
        query: Query,
        settings: Settings,
        report: Report | None,
        job: Job,
        lifters: Lifters,
    ) -> Outcome:
        """Lift the selected objects of a frame; raises ``LiftError``."""
        outcome = self._pipeline.lift(
            messages,
            query,
            FrameReader(settings, self._node.transforms, self._node.imu),
            lambda method: lifters.get(method, settings.lifter),
            report=report or self.trace.stages(messages.header),
            preview=partial(self._node.views.preview, messages.header),
            cancelled=job.is_cancelled,
            deadline=job.deadline,
            timing=Timing(self.age(messages) or 0.0, job.waited),
        )
        outcome.failures = [(name, job.reason(error)) for name, error in outcome.failures]
        # This job runs after the response to the current one.
        self._node.views.follow(messages.header, outcome)
        return outcome

    def publish(self, outcome: Outcome, query: Query) -> None:
        """Store and publish lifted objects."""
        for lifted in outcome.lifted:
            self._store.keep(lifted)
            self._node.statistics.add_object(lifted.shape.seconds)
        assert self.results is not None, 'the node is configured'
        self.results.publish(outcome, query.is_for_all)

    def draw(self, outcome: Outcome, markers: bool = True) -> None:
        """Log failures and warnings, and publish markers and points."""
        for name, error in outcome.failures:
            self._node.statistics.add_error(error)
            self.warn_of_failure(name, error)
        for warning in outcome.warnings:
            if self._warned.is_new(warning):
                self._node.get_logger().warning(warning)
        if self.results is not None and markers:
            self.results.draw(outcome, self._node.settings)

    def warn_of_failure(self, name: str, error: LiftError) -> None:
        """Log a failure, at most one per error code and period."""
        if error.code in _INTENDED:
            return
        suppressed = self._throttle.count(error.code)
        if suppressed is not None:
            more = f' ({suppressed} more with this code since the last line)' if suppressed else ''
            self._node.get_logger().warning(f'{name} was not lifted: {error}{more}')

    def save(self, request: SaveObject.Request) -> Path:
        """Write the mesh of a stored object; return its path; raises ``LiftError``."""
        return self._store.save(request, self._node.settings.output_dir)
