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

"""
Creation of messages, for rclpy and for rosbags.

Both have the same fields, so that functions which read messages take either. They are created
differently: rclpy has defaults for all fields and checks each value; the classes of rosbags have
neither. Functions that create messages have a ``MessageTypes`` as their first parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class MessageTypes(Protocol):
    """Creates the messages of one implementation of the ROS interfaces."""

    def make(self, name: str, /, **fields: Any) -> Any:
        """Return a message of a type such as ``geometry_msgs/Point``; other fields are default."""

    def sequence(self, name: str, rows: NDArray[Any]) -> Sequence[Any]:
        """
        Return a sequence of messages whose fields are numbers of one type.

        Row i of the array has the fields of element i, in their order.
        """

    def numbers(self, values: NDArray[np.generic]) -> Any:
        """Return a one-dimensional array as the value of a field such as ``float32[]``."""
