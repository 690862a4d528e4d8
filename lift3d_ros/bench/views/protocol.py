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


"""From where the benchmark of synthesised views looks, and how it groups what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import orbit_pose

#: Distance of the target cameras from the canonical origin, canonical units; their lens is that
#: of Zero-1-to-3.
RADIUS = 1.7

#: Side of the pictures that are compared, pixels.
SIZE = 128

#: Azimuths of the target cameras relative to the input camera, degrees: two of 22.5 degrees
#: distance, two each of 67.5 and 112.5, two of 157.5, one on either side.
AZIMUTHS = (22.5, 67.5, 112.5, 157.5, -157.5, -112.5, -67.5, -22.5)

#: Elevations of every second target camera; the others are as high as the input camera.
ELEVATIONS = (0.0, 20.0, 40.0, 60.0)

#: Groups of views by the distance of their azimuth from the input's, [from, to) in degrees.
RANGES = {
    '0 to 45': (0.0, 45.0),
    '45 to 135': (45.0, 135.0),
    '135 to 180': (135.0, 180.1),
    'beyond 45': (45.0, 180.1),
}

#: The group that is read first: what the input does not show.
UNSEEN = 'beyond 45'


@dataclass(frozen=True)
class Target:
    """A target camera: azimuth from the input camera's; elevation, None = that of the input."""

    azimuth: float
    elevation: float | None


def targets(number: int) -> list[Target]:
    """
    Return the eight target cameras of a scene.

    ``number`` turns the four fixed elevations round, so that over many scenes each azimuth is
    looked at from each of them.
    """
    return [
        Target(azimuth, None if k % 2 == 0 else ELEVATIONS[(k // 2 + number) % len(ELEVATIONS)])
        for k, azimuth in enumerate(AZIMUTHS)
    ]


def all_targets() -> list[Target]:
    """Return every target camera that any scene has, each once, in a fixed order."""
    return sorted(
        {target for number in range(len(ELEVATIONS)) for target in targets(number)},
        key=lambda t: (t.azimuth, -1.0 if t.elevation is None else t.elevation),
    )


def elevations(chosen: Sequence[Target], own: float) -> Array:
    """Return the elevations (n,) of target cameras; ``own`` is that of the input, degrees."""
    return np.array([own if t.elevation is None else t.elevation for t in chosen])


def poses(chosen: Sequence[Target], own: float) -> Array:
    """Return the poses (n, 4, 4) of target cameras in the canonical frame."""
    heights = elevations(chosen, own)
    return np.stack([
        orbit_pose(t.azimuth, e, RADIUS) for t, e in zip(chosen, heights, strict=True)
    ])


def in_range(azimuth: float, name: str) -> bool:
    """Return whether a relative azimuth, degrees, belongs to a group of ``RANGES``."""
    distance = abs((azimuth + 180.0) % 360.0 - 180.0)
    low, high = RANGES[name]
    return low <= distance < high
