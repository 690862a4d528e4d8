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

"""A simulated camera that publishes one frame repeatedly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.node.messages.images import image_message
from lift3d_ros.node.messages.images import info_message


class FrameCamera:
    """Publishes a frame and the mask of its object on image, camera_info, depth and mask."""

    def __init__(self, node: Node, frame: Frame, mask: NDArray[np.bool_]) -> None:
        """Create the publishers; ``mask`` is bool (height, width)."""
        self._node = node
        self._messages = frame_messages(frame, mask)
        self._publishers = {
            # Reliable, as most drivers: best effort loses large images.
            name: node.create_publisher(type(message), name, 5)
            for name, message in self._messages.items()
        }

    def publish(self) -> int:
        """Publish all messages with the current stamp; return it in nanoseconds."""
        now = self._node.get_clock().now()
        for name, message in self._messages.items():
            message.header.stamp = now.to_msg()
            self._publishers[name].publish(message)
        return now.nanoseconds

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def listeners(self) -> int:
        """Return the smallest number of subscriptions of any topic."""
        return min(p.get_subscription_count() for p in self._publishers.values())


def frame_messages(frame: Frame, mask: NDArray[Any]) -> dict[str, Any]:
    """Return the messages of a frame: rgb8, mono8 mask, depth in millimetres as 16UC1."""
    messages: dict[str, Any] = {
        'image': image_message(frame.image, 'rgb8'),
        'camera_info': info_message(frame.camera),
        'mask': image_message(mask.astype(np.uint8) * 255, 'mono8'),
    }
    if frame.depth is not None:
        millimetres = np.nan_to_num(1000.0 * frame.depth, posinf=0.0)
        raw = np.clip(np.rint(millimetres), 0, 65535).astype(np.uint16)
        messages['depth'] = image_message(raw, '16UC1')
    return messages


def ball_frame(width: int, height: int) -> tuple[Frame, NDArray[np.bool_]]:
    """Return a frame of a ball of 10 cm before a wall, half a metre away, and the ball's mask."""
    camera = Camera.from_fov(width, height, 45.0)
    rays = camera.rays()
    radius, distance, wall = 0.05, 0.5, 0.7
    # |t ray - (0, 0, distance)| = radius, where t is the depth, since the ray's z is 1.
    squared = np.einsum('ijk,ijk->ij', rays, rays)
    root = distance**2 - squared * (distance**2 - radius**2)
    mask = root > 0.0
    depth = np.where(mask, (distance - np.sqrt(np.maximum(root, 0.0))) / squared, wall)
    image = np.full((height, width, 3), 128, np.uint8)
    image[mask] = 200, 60, 40
    gravity = np.array([0.0, 0.6, 0.8])
    return Frame(image, camera, depth.astype(np.float32), gravity), mask
