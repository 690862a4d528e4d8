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

"""Quality of service and introspection of the services of the node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import TYPE_CHECKING

from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode

#: Queue size for requests of all clients together, and for responses to slow clients. The default
#: of ROS, 10, silently drops further ones.
MAX_REQUESTS = 200

REQUESTS = QoSProfile(depth=MAX_REQUESTS, reliability=ReliabilityPolicy.RELIABLE)

#: Queue size for events; each request makes two on the side of the server.
_EVENTS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


class Introspection:
    """
    Switches the topics ``SERVICE/_service_event`` on and off.

    rclpy has them from ROS 2 Iron on; actions have none in the rclpy of Jazzy.
    """

    def __init__(self, node: LiftNode, services: Sequence[Any]) -> None:
        """Start without introspection."""
        self._node = node
        self._services = services

    def set(self, mode: str) -> None:
        """Set all services to a mode: ``off``, ``metadata`` or ``contents``."""
        try:
            from rclpy.service_introspection import ServiceIntrospectionState
        except ImportError:
            if mode != 'off':
                self._node.get_logger().warning(
                    'this version of ROS 2 has no service introspection; use Iron or later'
                )
            return
        state = {
            'off': ServiceIntrospectionState.OFF,
            'metadata': ServiceIntrospectionState.METADATA,
            'contents': ServiceIntrospectionState.CONTENTS,
        }[mode]
        for service in self._services:
            service.configure_introspection(self._node.get_clock(), _EVENTS, state)
