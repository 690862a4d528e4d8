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

"""Age of images, and its limit."""

from __future__ import annotations

from builtin_interfaces.msg import Time

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


def image_age(stamp: Time, now: Time) -> float | None:
    """Return the seconds from the stamp of an image to now, None for an image without a stamp."""
    if not (stamp.sec or stamp.nanosec):
        return None
    return float(now.sec - stamp.sec) + 1e-9 * (now.nanosec - stamp.nanosec)


def check_age(age: float | None, limit: float) -> None:
    """Raise ``LiftError(STALE)`` for an image older than ``limit`` seconds; 0 is no limit."""
    if not limit:
        return
    if age is None:
        raise LiftError(
            ErrorCode.STALE,
            f'The image has no stamp, so its age is unknown, and max_age is {limit:g} s; set '
            'stamps in the camera driver, or set max_age to 0.',
        )
    if age > limit:
        raise LiftError(
            ErrorCode.STALE,
            f'The image is {age:.2f} s old at the start of its lift, and max_age is {limit:g} s; '
            'raise max_age, or lift less often. If the age is implausible, synchronise the '
            'clocks of the camera and of this machine, or correct use_sim_time.',
        )
