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
The direction of gravity, by an accelerometer at rest.

An accelerometer measures specific force: at rest it reads +g away from the ground (REP 145), so
that gravity is the negated mean of its readings. Acceleration of a moving sensor cannot be
distinguished from a tilt, so its readings are rejected rather than corrected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence
import math
import threading
import time
from typing import NamedTuple
from typing import Protocol

from builtin_interfaces.msg import Time
import numpy as np
from sensor_msgs.msg import Imu
from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import unit
from lift3d_ros.messages.conversions import nanoseconds

#: Magnitude of gravity in m/s^2, and by how much that of the mean reading may be off: the bias of
#: an uncalibrated sensor, no more.
MAGNITUDE = 9.81
MAX_OFFSET = 0.5

#: Root of the mean squared distance of readings from their mean, m/s^2. A camera that turns by 12
#: degrees in a second has this over the window, the noise of a sensor is a tenth of it.
MAX_SPREAD = 0.3

#: Nanoseconds over which readings are averaged, and that the nearest may be from the image.
WINDOW = 500_000_000
MAX_AGE = 1_000_000_000

#: Fewer readings, or over less than half of the window, would not show that the camera moves.
_MIN_READINGS = 5

#: More than a minute of most sensors: a request may have waited that long for its turn.
_KEPT = 30_000

#: Stamps that fall back by more nanoseconds than this are those of another clock.
_JUMP = 1_000_000_000


class Reading(NamedTuple):
    """
    One message of an accelerometer.

    ``stamp`` in nanoseconds; ``acceleration`` in m/s^2 in the frame ``frame_id``, None where the
    message carries none.
    """

    stamp: int
    frame_id: str
    acceleration: tuple[float, float, float] | None


class Tree(Protocol):
    """The part of ``Transforms`` that is used here."""

    def lookup(self, target: str, source: str, stamp: Time, timeout: float) -> Array:
        """Return ``T_target_source``; raises ``LiftError(NO_TRANSFORM)``."""


def reading(message: Imu) -> Reading:
    """Return the acceleration in a message."""
    a = message.linear_acceleration
    acceleration = (a.x, a.y, a.z)
    # By sensor_msgs/Imu and REP 145.
    absent = message.linear_acceleration_covariance[0] == -1.0
    if absent or not all(map(math.isfinite, acceleration)):
        acceleration = None
    return Reading(nanoseconds(message.header.stamp), message.header.frame_id, acceleration)


def measure(readings: Sequence[Reading], stamp: int) -> tuple[Array, str]:
    """
    Return the unit vector that points down at a stamp in nanoseconds, and its frame.

    It is the mean over the last ``WINDOW`` before the reading that is nearest to the stamp.
    Raises ``LiftError(ELEVATION_UNKNOWN)`` where that is too far from the stamp, or where the
    readings are too few or not those of a sensor at rest.
    """
    nearest = min(readings, key=lambda reading: abs(reading.stamp - stamp), default=None)
    if nearest is None:
        raise _unknown('no imu was received yet')
    age = stamp - nearest.stamp
    if abs(age) > MAX_AGE:
        raise _unknown(
            f'the nearest reading of the imu is {1e-9 * abs(age):.1f} s '
            f'{"older" if age > 0 else "newer"} than the image; check that both have the '
            'stamp of the measurement'
        )
    window = [
        reading
        for reading in readings
        if 0 <= nearest.stamp - reading.stamp <= WINDOW and reading.frame_id == nearest.frame_id
    ]
    given = [reading for reading in window if reading.acceleration is not None]
    if not given:
        raise _unknown(
            'the imu carries no acceleration (its covariance begins with -1, or it is not '
            'finite); subscribe to that of the accelerometer'
        )
    stamps = [reading.stamp for reading in given]
    if len(given) < _MIN_READINGS or max(stamps) - min(stamps) < WINDOW // 2:
        raise _unknown(
            f'{len(given)} readings of the imu within {1e-9 * (max(stamps) - min(stamps)):.2f} s '
            'are too few to tell whether it is at rest'
        )
    values = np.array([reading.acceleration for reading in given])
    # Impossible readings may overflow; the checks below refuse an infinite spread.
    with np.errstate(over='ignore', invalid='ignore'):
        mean = values.mean(axis=0)
        spread = float(np.sqrt(np.square(values - mean).sum(axis=1).mean()))
    if not spread <= MAX_SPREAD:
        raise _unknown(
            f'the camera moves: the readings of the imu spread by {spread:.2f} m/s^2, at rest by '
            f'{MAX_SPREAD:g} at most'
        )
    magnitude = float(np.linalg.norm(mean))
    if abs(magnitude - MAGNITUDE) > MAX_OFFSET:
        raise _unknown(
            f'the imu reads {magnitude:.2f} m/s^2, at rest it would be {MAGNITUDE}; the camera '
            'moves, or the driver takes gravity out, or it has another unit'
        )
    return -unit(mean), nearest.frame_id


class ImuGravity:
    """Keeps the readings of an imu and returns the direction of gravity; thread-safe."""

    def __init__(self, warn: Callable[[str], object]) -> None:
        """Call ``warn`` with a sentence for each image whose gravity stays unknown."""
        self.received = 0
        #: Why gravity was unknown for the last image that it was asked for; empty: it was known.
        self.refusal = ''
        self._warn = warn
        self._readings: deque[Reading] = deque(maxlen=_KEPT)
        self._arrival = 0.0
        self._lock = threading.Lock()

    def add(self, message: Imu) -> None:
        """Add a message."""
        new = reading(message)
        with self._lock:
            if self._readings and new.stamp < self._readings[-1].stamp - _JUMP:
                self._readings.clear()
            self._readings.append(new)
            self._arrival = time.monotonic()
            self.received += 1

    def down(self, header: Header, tree: Tree | None, timeout: float) -> Array | None:
        """
        Return the unit vector that points down in the frame of an image, None if unknown.

        ``tree`` transforms from the frame of the imu to that of the image, waiting ``timeout``
        seconds at most; None: tf2 is not available.
        """
        try:
            down = self._down(header, tree, timeout)
        except LiftError as error:
            self.refusal = error.message.rstrip('.')
            self._warn(f'The image is used without gravity: {self.refusal}.')
            return None
        self.refusal = ''
        return down

    def unavailable_reason(self) -> str:
        """Return why the current readings do not give gravity, or an empty string."""
        readings, silence = self._kept(), time.monotonic() - self._arrival
        if readings and silence > 1e-9 * MAX_AGE:
            return f'no imu was received for {silence:.0f} s'
        try:
            measure(readings, readings[-1].stamp if readings else 0)
        except LiftError as error:
            return error.message
        return ''

    def frame_id(self) -> str:
        """Return the frame of the newest reading."""
        readings = self._kept()
        return readings[-1].frame_id if readings else ''

    def _kept(self) -> list[Reading]:
        with self._lock:
            return list(self._readings)

    def _down(self, header: Header, tree: Tree | None, timeout: float) -> Array:
        down, frame = measure(self._kept(), nanoseconds(header.stamp))
        if not frame:
            raise _unknown('the imu has an empty frame_id; set that of its driver')
        if frame == header.frame_id:
            return down
        if tree is None:
            # The names of frames do not determine their axes.
            raise _unknown(
                f'the imu is in the frame "{frame}", the image in "{header.frame_id}", and the '
                'way between needs tf2_ros, which is not installed; install '
                'ros-$ROS_DISTRO-tf2-ros, or let the driver give both the same frame'
            )
        return rotate(tree.lookup(header.frame_id, frame, header.stamp, timeout), down)


def _unknown(sentence: str) -> LiftError:
    return LiftError(ErrorCode.ELEVATION_UNKNOWN, sentence)
