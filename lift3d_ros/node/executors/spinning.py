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

"""Threads that spin an executor and survive exceptions of callbacks."""

from __future__ import annotations

from collections.abc import Callable
import threading
import traceback
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor
from rclpy.executors import ExternalShutdownException
from rclpy.task import Future


class _WakingFuture(Future):
    """
    A future that keeps its first callback only.

    An executor adds a callback to wake itself for each callback that it runs, and the future
    would keep them all: 160 bytes for each message that the node receives.
    """

    def __init__(self) -> None:
        super().__init__()
        self._wakes = False

    def add_done_callback(self, callback: Callable[[Future], None]) -> None:
        if not self._wakes:
            self._wakes = True
            super().add_done_callback(callback)


def start_spinning(executor: Executor, end: Future, logger: Any, name: str) -> threading.Thread:
    """Start a daemon thread of that name that runs ``spin_until``."""
    thread = threading.Thread(
        target=spin_until, args=(executor, end, logger), name=name, daemon=True
    )
    thread.start()
    return thread


def spin_until(executor: Executor, end: Future, logger: Any) -> None:
    """
    Run callbacks until ``end`` is done; log exceptions of callbacks and continue.

    ``Executor.spin`` with ``wake`` would not return: a wake-up is no work for it.
    """
    stop = _WakingFuture()
    end.add_done_callback(lambda _: stop.set_result(None))
    while not stop.done():
        try:
            executor.spin_until_future_complete(stop)
        except ExternalShutdownException:
            return
        except Exception as error:
            # Another thread destroyed an entity while this one collected what to wait for; rclpy
            # leaves it out in the next round.
            if isinstance(error, InvalidHandle) and _is_raised_by_wait(error):
                continue
            logger.error(f'{type(error).__name__} in a callback: {error}')


def _is_raised_by_wait(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.name == '_wait_for_ready_callbacks' for frame in frames)
