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

"""An executor that survives messages that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.executors import MultiThreadedExecutor
from rclpy.logging import get_logger

from lift3d_ros.node.worker import as_lift_error

#: Minimum seconds between two log lines about messages that cannot be read.
_UNREAD_LOG_PERIOD_S = 5.0


class ResilientExecutor(MultiThreadedExecutor):
    """
    An executor that continues with a topic or service after a message that cannot be read.

    The executor of rclpy never serves a subscription, service or action again after an exception
    in the conversion of a message, such as ``MemoryError``. The header of such a request is lost,
    so its client gets no response; the log reports it.
    """

    def _make_handler(
        self, entity: Any, node: Any, take_from_wait_list: Callable[[Any], Any]
    ) -> Any:
        return super()._make_handler(entity, node, partial(_take, take_from_wait_list))


def _take(take: Callable[[Any], Any], entity: Any) -> Any:
    """Return the result of ``take``; None if it raises, so that the executor continues."""
    try:
        return take(entity)
    except Exception as error:
        name = getattr(entity, 'srv_name', getattr(entity, 'topic_name', type(entity).__name__))
        get_logger('lift3d').error(
            f'A message of {name} was received and could not be read; a request gets no '
            f'response: {as_lift_error(error)}',
            throttle_duration_sec=_UNREAD_LOG_PERIOD_S,
        )
        return None
