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
from typing import TYPE_CHECKING

from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.service import Service

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode

#: Queue size for requests of all clients together, and for responses to slow clients. The default
#: of ROS, 10, silently drops further ones.
MAX_REQUESTS = 200

REQUESTS = QoSProfile(depth=MAX_REQUESTS, reliability=ReliabilityPolicy.RELIABLE)

#: Queue size for events; each request makes two on the side of the server.
_EVENTS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


def set_introspection(node: LiftNode, services: Sequence[Service], mode: str) -> None:
    """
    Set the introspection of services to ``off``, ``metadata`` or ``contents``.

    The services publish on ``SERVICE/_service_event``. rclpy supports it since ROS 2 Iron, but not
    for actions.
    """
    try:
        from rclpy.service_introspection import ServiceIntrospectionState
    except ImportError:
        if mode != 'off':
            node.get_logger().warning(
                'this version of ROS 2 has no service introspection; use Iron or later'
            )
        return
    state = getattr(ServiceIntrospectionState, mode.upper())
    for service in services:
        service.configure_introspection(node.get_clock(), _EVENTS, state)
