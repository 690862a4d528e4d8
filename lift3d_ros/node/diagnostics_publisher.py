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

"""Publishes the diagnostics of the node, and watches its memory, at a fixed period."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

from lift3d_ros.node import diagnostics
from lift3d_ros.node import middleware
from lift3d_ros.runtime import memory

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode

#: Free memory, MiB, below which the node warns. A request with a frame of 12 megapixels, its depth
#: and its mask has 72 MiB and exists three times: in the middleware, in C and in Python.
_LOW_MEMORY_MIB = 256.0

#: Minimum seconds between two such warnings.
_MEMORY_WARNING_PERIOD_S = 30.0


class DiagnosticsPublisher:
    """Publishes on /diagnostics from the construction on, in every lifecycle state."""

    def __init__(self, node: LiftNode, unknown_parameters: list[str]) -> None:
        """Start the timer; ``unknown_parameters`` has a sentence for each."""
        self._node = node
        self._unknown_parameters = unknown_parameters
        self._is_memory_low = False
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._timer = node.create_timer(
            node.settings.diagnostics_period,
            self._publish,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )

    def _publish(self) -> None:
        self._watch_memory()
        node, inputs, settings = self._node, self._node.inputs, self._node.settings
        name = node.get_fully_qualified_name().lstrip('/')
        message = DiagnosticArray(
            status=[
                diagnostics.worker_status(
                    name,
                    node.state,
                    settings.method,
                    node.statistics,
                    node.worker,
                    inputs.synchronizer.passed_over if inputs else 0,
                    settings.diagnostics_period,
                ),
                diagnostics.input_status(
                    name,
                    inputs.synchronizer if inputs else None,
                    inputs.publishers() if inputs else {},
                    inputs.warnings() if inputs else [],
                ),
                diagnostics.parameter_status(name, self._unknown_parameters),
            ]
        )
        if inputs is not None and inputs.imu is not None:
            publishers = node.count_publishers(node.resolve_topic_name('imu'))
            message.status.append(diagnostics.imu_status(name, inputs.imu, publishers))
        message.header.stamp = node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _watch_memory(self) -> None:
        free_mib = memory.headroom_mib()
        is_low = free_mib < _LOW_MEMORY_MIB
        if is_low != self._is_memory_low:
            self._is_memory_low = is_low
            middleware.log_fast_dds(not is_low)
        if is_low:
            self._node.get_logger().warning(
                f'{max(free_mib, 0.0):.0f} MiB of memory are left to the node: the middleware '
                'drops messages and requests with large images without an answer; give the node '
                'more memory, or lower the resolution of the camera',
                throttle_duration_sec=_MEMORY_WARNING_PERIOD_S,
            )
