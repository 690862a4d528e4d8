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

"""Creation of the messages of rclpy."""

from __future__ import annotations

import array
from functools import cache
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.node.messages.cdr import Packed


class RosTypes:
    """The messages of rclpy; its large sequences are ``Packed``."""

    def make(self, name: str, /, **fields: Any) -> Any:
        """Return a message of a type such as ``geometry_msgs/Point``; other fields are default."""
        return _message_class(name)(**fields)

    def sequence(self, name: str, rows: NDArray[Any]) -> Packed:
        """Return a sequence of messages whose fields are the rows of an array."""
        return Packed(_message_class(name), rows)

    def numbers(self, values: NDArray[np.generic]) -> Any:
        """Return an array that rclpy accepts without checking each value."""
        if values.dtype == np.bool_:
            return values.tolist()
        return array.array(values.dtype.char, values.tobytes())


ROS = RosTypes()


@cache
def _message_class(name: str) -> type:
    package, kind = name.split('/')
    found: type = getattr(importlib.import_module(f'{package}.msg'), kind)
    return found
