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
The transforms of a bag.

The rules are those of tf2: a frame has one parent at a time; between two samples the translation
is interpolated linearly and the rotation on the great circle; outside of the samples there is no
transform. Unlike a live buffer it holds the whole recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import rotate
from lift3d_ros.messages.conversions import nanoseconds
from lift3d_ros.messages.geometry import rotation_matrix


@dataclass(eq=False)
class _Track:
    """The samples of one child frame; arrays are made at the first lookup."""

    stamps: list[int] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    sorted_stamps: Any = None
    order: Any = None

    def add(self, stamp: int, parent: str, values: tuple[float, ...]) -> None:
        self.stamps.append(stamp)
        self.parents.append(parent)
        self.values.append(values)
        self.sorted_stamps = None

    def at(self, stamp: int) -> tuple[str, Array] | None:
        """Return the parent at a stamp and ``T_parent_child``, None outside of the samples."""
        if self.sorted_stamps is None:
            stamps = np.array(self.stamps, np.int64)
            self.order = np.argsort(stamps, kind='stable')
            self.sorted_stamps = stamps[self.order]
        after = int(np.searchsorted(self.sorted_stamps, stamp))
        if after == len(self.sorted_stamps) or (after == 0 and self.sorted_stamps[0] != stamp):
            return None
        second = int(self.order[after])
        if self.sorted_stamps[after] == stamp:
            return self.parents[second], _matrix(np.array(self.values[second]))
        first = int(self.order[after - 1])
        if self.parents[first] != self.parents[second]:
            return self.parents[first], _matrix(np.array(self.values[first]))
        begin, end = self.stamps[first], self.stamps[second]
        share = (stamp - begin) / (end - begin)
        blended = _interpolate(
            np.array(self.values[first]), np.array(self.values[second]), share
        )
        return self.parents[first], _matrix(blended)

    def span(self) -> str:
        return f'{seconds_text(min(self.stamps))} to {seconds_text(max(self.stamps))}'


class TransformBuffer:
    """The transforms of a recording in which the clock runs forward."""

    def __init__(self, static: dict[str, tuple[str, Array]] | None = None) -> None:
        """Start with the transforms of /tf_static, ``(parent, T_parent_child)`` by child."""
        self._static = {} if static is None else static
        self._tracks: dict[str, _Track] = {}

    def beside(self) -> TransformBuffer:
        """Return a buffer without samples of /tf that shares those of /tf_static."""
        return TransformBuffer(self._static)

    def add(self, message: Any) -> None:
        """Add a ``geometry_msgs/TransformStamped`` of /tf."""
        child, parent, values = _read(message)
        if not np.isfinite(values).all():
            # As tf2, which refuses such transforms.
            return
        stamp = nanoseconds(message.header.stamp)
        self._tracks.setdefault(child, _Track()).add(stamp, parent, values)

    def add_static(self, message: Any) -> None:
        """Add a ``geometry_msgs/TransformStamped`` of /tf_static."""
        child, parent, values = _read(message)
        if np.isfinite(values).all():
            self._static[child] = parent, _matrix(np.array(values))

    def lookup(self, target: str, source: str, stamp: int) -> Array:
        """
        Return ``T_target_source`` at a stamp in nanoseconds.

        Raises ``LiftError(NO_TRANSFORM)``, which names the frames and the known transforms.
        """
        target, source = _plain(target), _plain(source)
        if not source:
            raise LiftError(
                ErrorCode.NO_TRANSFORM,
                'The image has an empty frame_id, so that its camera has no place in the tree of '
                'transforms; set the frame_id of the camera driver.',
            )
        if target == source:
            return np.eye(4)
        above_source = dict(self._chain(source, stamp))
        for frame, T_frame_target in self._chain(target, stamp):
            if frame in above_source:
                return invert(T_frame_target) @ above_source[frame]
        raise LiftError(ErrorCode.NO_TRANSFORM, self._missing(target, source, stamp))

    def root(self, source: str) -> str:
        """
        Return the frame at the top of the tree that a frame is in.

        It does not depend on the stamp: outside of the samples of a moving frame, the top of what
        is known there would move as well.
        """
        frame = _plain(source)
        seen = {frame}
        while True:
            if frame in self._static:
                parent = self._static[frame][0]
            elif frame in self._tracks:
                parent = self._tracks[frame].parents[-1]
            else:
                return frame
            if parent in seen:
                return frame
            frame = parent
            seen.add(frame)

    def down(self, level: str, source: str, stamp: int) -> Array:
        """
        Return the unit vector in ``source`` that points down, for a frame whose z points up.

        Raises ``LiftError(NO_TRANSFORM)``.
        """
        return rotate(self.lookup(source, level, stamp), np.array([0.0, 0.0, -1.0]))

    def _chain(self, frame: str, stamp: int) -> Iterator[tuple[str, Array]]:
        """Yield the ancestors of a frame, itself first, with ``T_ancestor_frame``."""
        T, seen = np.eye(4), {frame}
        yield frame, T
        while True:
            step = self._static.get(frame)
            if step is None and frame in self._tracks:
                step = self._tracks[frame].at(stamp)
            if step is None or step[0] in seen:
                return
            frame, T = step[0], step[1] @ T
            seen.add(frame)
            yield frame, T

    def _missing(self, target: str, source: str, stamp: int) -> str:
        known = [f'{child} in {parent}' for child, (parent, _) in sorted(self._static.items())]
        known += [
            f'{child} in {track.parents[-1]} ({track.span()})'
            for child, track in sorted(self._tracks.items())
        ]
        return (
            f'There is no transform from "{source}" to "{target}" at {seconds_text(stamp)}. The '
            f'bag has: {"; ".join(known) or "no transforms at all"}.'
        )


def seconds_text(stamp: int) -> str:
    """Return a stamp in nanoseconds as seconds."""
    whole, part = divmod(stamp, 1_000_000_000)
    return f'{whole}.{part:09d}'


def _read(message: Any) -> tuple[str, str, tuple[float, ...]]:
    """Return child, parent, and the translation and quaternion of a transform."""
    t, q = message.transform.translation, message.transform.rotation
    return (
        _plain(message.child_frame_id), _plain(message.header.frame_id),
        (t.x, t.y, t.z, q.x, q.y, q.z, q.w),
    )


def _plain(frame: str) -> str:
    # tf1 wrote frames with a leading slash.
    return frame.lstrip('/')


def _matrix(values: Array) -> Array:
    return rigid(rotation_matrix(values[3:]), values[:3])


def _interpolate(first: Array, second: Array, share: float) -> Array:
    """Return translation and quaternion between two samples (Shoemake, 1985)."""
    a, b = first[3:], second[3:]
    cosine = float(a @ b)
    if cosine < 0.0:
        b, cosine = -b, -cosine
    angle = float(np.arccos(min(cosine, 1.0)))
    if angle < 1e-6:
        turn = a + share * (b - a)
    else:
        turn = (np.sin((1.0 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return np.concatenate([first[:3] + share * (second[:3] - first[:3]), turn])
