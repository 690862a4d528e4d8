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

"""Lines of the log at the level DEBUG that follow one frame, by its stamp, through the node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.logging import LoggingSeverity
from std_msgs.msg import Header


class Trace:
    """Writes a line for each step of a frame, where the logger shows them."""

    def __init__(self, logger: Any) -> None:
        """Write to a logger of rclpy."""
        self._logger = logger

    def received(self, topic: str, header: Header) -> None:
        """Say that a message of a topic came."""
        self._write(f'received {topic}', header)

    def step(self, step: str, header: Header) -> None:
        """Say what happens to the frame of that header."""
        self._write(f'frame {step}', header)

    def stages(self, header: Header) -> Callable[[str, float, str, int, int], None]:
        """Return a function that takes the progress of a lift and says each new stage."""
        last = ''

        def report(stage: str, fraction: float, name: str, index: int, count: int) -> None:
            nonlocal last
            if not last:
                # The first thing that is heard of a lift.
                self.step(f'decoded, {count} objects', header)
            if stage != last:
                last = stage
                step = f'lifted {name}' if stage == 'done' else f'at stage "{stage}" of {name}'
                self.step(step, header)

        return report

    def _write(self, what: str, header: Header) -> None:
        # Asked first: a line that nobody sees costs as much as one that is shown.
        if self._logger.is_enabled_for(LoggingSeverity.DEBUG):
            stamp = header.stamp
            self._logger.debug(
                f'{what}, stamp {stamp.sec}.{stamp.nanosec:09d}, {header.frame_id}'
            )
