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

"""Log lines at the level DEBUG that trace a frame by its stamp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.logging import LoggingSeverity
from std_msgs.msg import Header


class Trace:
    """Logs a line per step of a frame, if DEBUG is enabled."""

    def __init__(self, logger: Any) -> None:
        """Use a logger of rclpy."""
        self._logger = logger

    def received(self, topic: str, header: Header) -> None:
        """Log the arrival of a message."""
        self._write(f'received {topic}', header)

    def step(self, step: str, header: Header) -> None:
        """Log a step of the frame with that header."""
        self._write(f'frame {step}', header)

    def stages(self, header: Header) -> Callable[[str, float, str, int, int], None]:
        """Return a progress function that logs each new stage."""
        last = ''

        def report(stage: str, fraction: float, name: str, index: int, count: int) -> None:
            nonlocal last
            if not last:
                # The first progress of a lift.
                self.step(f'decoded, {count} objects', header)
            if stage != last:
                last = stage
                step = f'lifted {name}' if stage == 'done' else f'at stage "{stage}" of {name}'
                self.step(step, header)

        return report

    def _write(self, what: str, header: Header) -> None:
        # A suppressed line would cost as much as a logged one.
        if self._logger.is_enabled_for(LoggingSeverity.DEBUG):
            stamp = header.stamp
            self._logger.debug(
                f'{what}, stamp {stamp.sec}.{stamp.nanosec:09d}, {header.frame_id}'
            )
