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

"""What is known of an object's scale beside the view: a plane, a size, and what goes first."""

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

#: The sources of scale, in the order in which they are tried. Each assumes more than the one
#: before: depth measures the object, further views measure it where their poses are right, a plane
#: takes for granted that it stands there, and a known size that it is the one that was meant.
SOURCES = ('depth', 'views', 'plane', 'known_size')

#: Last of an order: where no other source tells the scale, the shape comes without one. It is
#: taken for granted where nothing but the view is given.
UNKNOWN = 'unknown'

#: Sizes of objects in metres that a robot may have to do with.
SIZE_RANGE = (0.005, 5.0)


@dataclass(frozen=True, eq=False)
class Plane:
    """
    The plane that objects stand on: the points x of the optical frame with ``up @ x = offset``.

    ``up`` is its unit normal, away from the ground; ``offset`` in metres is negative, since the
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
                f'The camera is {self.offset:.3f} m under the support plane; nothing that stands '
                'on it can be seen from there. Does its normal point up, and is it in the right '
                'frame?',
            )
        object.__setattr__(self, 'up', up)
        object.__setattr__(self, 'offset', float(self.offset))

    def height(self, points: Array) -> Array:
        """Return the height of points (..., 3) of the optical frame over the plane, metres."""
        return np.asarray(points) @ self.up - self.offset


def horizontal_plane(T_level_camera: Array, height: float) -> Plane:
    """
    Return the plane z = ``height`` metres of a frame whose z points up, in the optical frame.

    ``T_level_camera`` is the pose of the camera in that frame. Raises ``LiftError(BAD_REQUEST)``
    for a camera under the plane.
    """
    T = np.asarray(T_level_camera, np.float64)
    return Plane(T[2, :3], height - float(transform(T, np.zeros(3))[2]))


@dataclass(frozen=True, eq=False)
class ScaleHints:
    """
    What is known of the scale beside the view, and which source of it goes first.

    - ``plane``: that the object stands on. Where there is none, but depth around the object, the
      plane is looked for there.
    - ``known_size``: the longest side of the object in metres; ``known_size_stddev`` is relative.
    - ``order``: the sources that may be used, first the one that is tried first: of ``SOURCES``,
      and ``UNKNOWN`` at the end where a shape without scale is better than none.
    """

    plane: Plane | None = None
    known_size: float | None = None
    known_size_stddev: float = 0.05
    order: tuple[str, ...] = SOURCES

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for a size that nothing has, or an unknown source."""
        if self.known_size is not None:
            check_size(self.known_size)
        if not 0.0 <= self.known_size_stddev < 1.0:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The standard deviation of the known size is {self.known_size_stddev}; it is a '
                'share of the size, 0 to 1.',
            )
        check_order(self.order)

    @property
    def helps_without_depth(self) -> bool:
        """Whether an object without depth may get its scale from something else that was named."""
        named = self.plane is not None or self.known_size is not None or self.order != SOURCES
        return named and self.order != ('depth',)

    def without_depth(self) -> ScaleHints:
        """Return the hints without the source depth."""
        return replace(self, order=tuple(name for name in self.order if name != 'depth'))


def check_size(size: float) -> float:
    """Return a known size in metres; raises ``LiftError(BAD_REQUEST)`` for what cannot be one."""
    low, high = SIZE_RANGE
    if not (math.isfinite(size) and low <= size <= high):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The known size is {size:g} m; give the longest side of the object in metres, '
            f'{low} to {high}.',
        )
    return float(size)


def check_order(order: Iterable[str]) -> tuple[str, ...]:
    """Return an order of sources; raises ``LiftError(BAD_REQUEST)`` for one that cannot be."""
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

    Raises ``LiftError(BAD_REQUEST)`` for an entry of another form, a size that cannot be one, and
    a class that is named twice.
    """
    sizes: dict[str, float] = {}
    for entry in entries:
        # A class may have a colon in its name, a number has none.
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
