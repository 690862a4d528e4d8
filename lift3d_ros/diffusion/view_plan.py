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
The views of One-2-3-45: eight around the object, and four near each of those.

The first stage synthesises eight views from the input picture: four at its elevation and four 30
degrees lower, or higher for a low camera. The second stage synthesises four views near each of
these from it; the 32 views are the input of the surface network (One-2-3-45, ``run.py`` and
``utils/utils.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry import unit

#: Camera distance from the object's centre and depth range, units of the published program; focal
#: length and principal point, pixels of a picture of ``SIZE``.
RADIUS = 1.2
SIZE = 256
FOCAL = 280.0
MIDDLE = 128.0
NEAR, FAR = 0.5, 1.8

#: Azimuths of the two rings relative to the input camera, degrees.
FIRST_RING = (0.0, 90.0, 180.0, 270.0)
SECOND_RING = (30.0, 120.0, 210.0, 300.0)

#: Degrees by which the second ring is below the input camera, or above a camera of less than
#: ``LOW_CAMERA`` degrees of elevation (a polar angle of more than 75).
RING_STEP = 30.0
LOW_CAMERA = 15.0

#: Steps of elevation and azimuth from a view of the first stage to the four near it, degrees.
NEAR_STEPS = ((10.0, 0.0), (-10.0, 0.0), (0.0, -10.0), (0.0, 10.0))

#: ``source`` of a view synthesised from the input picture.
INPUT = -1

#: Roll of a camera beyond the zenith. ``faithful`` keeps the world's up direction up in the
#: picture, a roll of 180 degrees against a continuous step over the zenith, which is ``fixed``.
ZENITH = ('faithful', 'fixed')


@dataclass(frozen=True)
class PlannedView:
    """
    A view to synthesise.

    - ``azimuth``, ``elevation``: degrees, of its camera; azimuths count from the input camera.
    - ``source``: index of the view of the first stage from which it is synthesised, or ``INPUT``.
    - ``azimuth_step``, ``elevation_step``: degrees from the camera of the source to its own.
    """

    azimuth: float
    elevation: float
    source: int
    azimuth_step: float
    elevation_step: float


def first_stage(elevation: float) -> tuple[PlannedView, ...]:
    """Return the eight views of the first stage for an input camera at ``elevation`` degrees."""
    step = RING_STEP if elevation < LOW_CAMERA else -RING_STEP
    return tuple(
        PlannedView(azimuth, elevation + rise, INPUT, azimuth, rise)
        for ring, rise in ((FIRST_RING, 0.0), (SECOND_RING, step))
        for azimuth in ring
    )


def second_stage(first: Sequence[PlannedView]) -> tuple[PlannedView, ...]:
    """Return the four views near each of the first stage's, in order."""
    return tuple(
        PlannedView(view.azimuth + turn, view.elevation + rise, source, turn, rise)
        for source, view in enumerate(first)
        for rise, turn in NEAR_STEPS
    )


def lens(size: int = SIZE) -> Array:
    """Return the 3 x 3 camera matrix of pictures of ``size`` pixels."""
    share = size / SIZE
    return np.array(
        [[FOCAL * share, 0.0, MIDDLE * share], [0.0, FOCAL * share, MIDDLE * share],
         [0.0, 0.0, 1.0]])


def pose(view: PlannedView, radius: float = RADIUS, zenith: str = 'fixed') -> Array:
    """
    Return ``T_object_camera`` (4, 4) of the camera of a view, aimed at the origin.

    ``zenith`` is one of ``ZENITH``.
    """
    if zenith == 'faithful' or abs(view.elevation) < 90.0:
        return orbit_pose(view.azimuth, view.elevation, radius)
    eye = spherical(view.azimuth, view.elevation, radius)
    forward = -unit(eye)
    right = spherical(view.azimuth + 90.0, 0.0, 1.0)
    T = np.eye(4)
    T[:3] = np.column_stack([right, np.cross(forward, right), forward, eye])
    return T
