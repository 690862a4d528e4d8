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

"""Hints on the scale of an object: a support plane, a known size, and the order of sources."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace
import math

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import unit

#: The sources of scale, in their default order. Each assumes more than the previous one: depth
#: measures the object, source views measure it if their poses are correct, a plane assumes that
#: the object stands on it, and a known size assumes that the object has this size.
SOURCES = ('depth', 'views', 'plane', 'known_size')

#: Last entry of an order: return a shape without scale if no source gives one. It is implied if
#: only the view is given.
UNKNOWN = 'unknown'

#: Smallest and largest size of a lifted object, metres.
SIZE_RANGE = (0.005, 5.0)


@dataclass(frozen=True, eq=False)
class Plane:
    """
    The plane that objects stand on: the points x of the optical frame with ``up @ x = offset``.

    ``up`` is its unit normal, which points up; ``offset`` in metres is negative, because the
    camera, at the origin, is above the plane.
    """

    up: Array
    offset: float

    def __post_init__(self) -> None:
        """
        Check that the camera is above the plane.

        Raises ``LiftError(BAD_REQUEST)`` for a normal without direction, an offset that is not
        finite, and a plane above the camera.
        """
        try:
            up = unit(np.asarray(self.up, np.float64).reshape(3))
        except ValueError as error:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                'The normal of the support plane has no direction; give [x, y, z] of a vector '
                'that points up, in the optical frame.',
            ) from error
        if not math.isfinite(self.offset):
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The offset of the support plane is {self.offset}; give it in metres.',
            )
        if self.offset >= 0.0:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The camera is {self.offset:.3f} m below the support plane, and cannot observe '
                'objects on it. Check that the normal points up, in the optical frame.',
            )
        object.__setattr__(self, 'up', up)
        object.__setattr__(self, 'offset', float(self.offset))

    def height(self, points: Array) -> Array:
        """Return the height of points (..., 3) in the optical frame above the plane, metres."""
        return np.asarray(points) @ self.up - self.offset


def horizontal_plane(T_level_camera: Array, height: float) -> Plane:
    """
    Return the plane z = ``height`` metres of a frame whose z points up, in the optical frame.

    ``T_level_camera`` is the pose of the camera in that frame. Raises ``LiftError(BAD_REQUEST)``
    for a camera below the plane.
    """
    T = np.asarray(T_level_camera, np.float64)
    return Plane(T[2, :3], height - float(transform(T, np.zeros(3))[2]))


@dataclass(frozen=True, eq=False)
class ScaleHints:
    """
    The sources of the scale in addition to the view, and their order.

    - ``plane``: on which the object stands. If it is None, the plane is searched in the depth
      around the object.
    - ``known_size``: the longest side of the object in metres; ``known_size_stddev`` is relative.
    - ``order``: the allowed entries of ``SOURCES`` in order of preference, and ``UNKNOWN`` at the
      end if a shape without scale is better than none.
    """

    plane: Plane | None = None
    known_size: float | None = None
    known_size_stddev: float = 0.05
    order: tuple[str, ...] = SOURCES

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for an invalid size or an unknown source."""
        if self.known_size is not None:
            check_size(self.known_size)
        if not 0.0 <= self.known_size_stddev < 1.0:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The standard deviation of the known size is {self.known_size_stddev}; give it '
                'as a share of the size, 0 to 1.',
            )
        check_order(self.order)

    @property
    def helps_without_depth(self) -> bool:
        """Whether the hints allow another source than depth, given explicitly."""
        named = self.plane is not None or self.known_size is not None or self.order != SOURCES
        return named and self.order != ('depth',)

    def without_depth(self) -> ScaleHints:
        """Return the hints without the source depth."""
        return replace(self, order=tuple(name for name in self.order if name != 'depth'))


def check_size(size: float) -> float:
    """Return a known size in metres; raises ``LiftError(BAD_REQUEST)`` for an invalid one."""
    low, high = SIZE_RANGE
    if not (math.isfinite(size) and low <= size <= high):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The known size is {size:g} m; give the longest side of the object in metres, '
            f'{low} to {high}.',
        )
    return float(size)


def check_order(order: Iterable[str]) -> tuple[str, ...]:
    """Return an order of sources; raises ``LiftError(BAD_REQUEST)`` for an invalid one."""
    names = tuple(order)
    for name in names:
        if name not in (*SOURCES, UNKNOWN):
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'There is no source of scale "{name}"; choose from {", ".join(SOURCES)}, and '
                f'{UNKNOWN} at the end.',
            )
    if not names or len(set(names)) < len(names) or UNKNOWN in names[:-1]:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The order of the sources of scale is "{", ".join(names)}"; name each once, and '
            f'{UNKNOWN} last, if at all.',
        )
    return names


def known_sizes(entries: Iterable[str]) -> dict[str, float]:
    """
    Return sizes in metres by class, from entries such as ``mug: 0.10``.

    Raises ``LiftError(BAD_REQUEST)`` for a malformed entry, an invalid size and a duplicate class.
    """
    sizes: dict[str, float] = {}
    for entry in entries:
        # The name of a class may contain a colon.
        name, _, text = entry.rpartition(':')
        name = name.strip()
        try:
            size = float(text)
        except ValueError:
            size = math.nan
        if not name or math.isnan(size):
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The known size "{entry}" is not of the form "class: metres", such as '
                '"mug: 0.10".',
            )
        if name in sizes:
            raise LiftError(
                ErrorCode.BAD_REQUEST, f'The class "{name}" has two known sizes; give it one.'
            )
        sizes[name] = check_size(size)
    return sizes
