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

"""Results as a bag, with the topics of the node and the times of the recording."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence
from typing import Any

from lift3d_ros.bags.lifting import Outcome
from lift3d_ros.bags.recording import Instant
from lift3d_ros.bags.writer import BagWriter
from lift3d_ros.errors import LiftError
from lift3d_ros.messages import results
from lift3d_ros.messages.markers import MarkerMaker

OBJECTS, MARKERS, POINTS = '/lift3d/objects', '/lift3d/markers', '/lift3d/points'

#: Triangles of a marker, as the parameter ``marker_max_faces`` of the node.
_MAX_FACES = 5_000


class ResultBag:
    """Writes outcomes to a bag in their order; the time of a message is that of its image."""

    def __init__(self, writer: BagWriter) -> None:
        """Write to an open ``writer``."""
        self._writer = writer
        self._markers = MarkerMaker(writer.types)

    def write(self, outcome: Outcome) -> None:
        """Write objects, markers and clouds; raises ``LiftError(BAD_REQUEST)``."""
        time, header = outcome.instant.image.time, outcome.header
        self._objects(time, header, outcome.lifted, outcome.failures)
        if outcome.failures and not outcome.lifted:
            # As the node: a failure removes nothing.
            return
        failed = {name for name, _ in outcome.failures}
        self._show(time, outcome.lifted, failed)
        rows = results.points_of_all(outcome.lifted)
        cloud = results.cloud_message(self._writer.types, header, rows)
        self._writer.write(POINTS, 'sensor_msgs/PointCloud2', cloud, time)

    def write_failure(self, instant: Instant, error: LiftError) -> None:
        """Write that an instant failed as a whole; raises ``LiftError(BAD_REQUEST)``."""
        types = self._writer.types
        seconds, part = divmod(instant.stamp, 1_000_000_000)
        stamp = types.make('builtin_interfaces/Time', sec=seconds, nanosec=part)
        header = types.make('std_msgs/Header', stamp=stamp)
        self._objects(instant.image.time, header, [], [('', error)])

    def _objects(
        self,
        time: int,
        header: Any,
        lifted: Sequence[results.Lifted],
        failures: Sequence[tuple[str, LiftError]],
    ) -> None:
        message = results.array_message(self._writer.types, header, lifted, failures)
        self._writer.write(OBJECTS, 'lift3d_ros/LiftedObjectArray', message, time, latched=True)

    def _show(
        self, time: int, lifted: Sequence[results.Lifted], failed: Collection[str]
    ) -> None:
        message = self._markers.show(lifted, _MAX_FACES, True, failed)
        self._writer.write(
            MARKERS, 'visualization_msgs/MarkerArray', message, time, latched=True
        )
