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


"""Whether an object stands as it was seen, and how else it may come to rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.robot.convex import hull_of

#: Points so near to the lowest one, as a share of the height, bear the object. A bottom that was
#: guessed is rough.
_ROUGHNESS = 0.02

#: An object that tips over at less than this tilt, degrees, does not stand.
STEADY_TILT = 3.0

#: Corners so near to the ground, as a share of the object's size, take a foot.
_TREAD = 0.005

#: Radius of a foot, likewise.
_FOOT = 0.01

#: Poses that get feet, at most.
_POSES = 6

#: Around which the corners of a support are looked for.
_AROUND = np.radians(np.arange(0.0, 360.0, 45.0))

#: A pose in which an object that is dropped at random comes to rest more seldom is left out,
#: unless it is upright to this cosine: a bottle seldom falls on its bottom, but was put there.
_SELDOM = 0.02
_UPRIGHT = np.cos(np.radians(10.0))


@dataclass(frozen=True)
class Standing:
    """
    How an object stands on a level plane below it.

    - ``stable``: it does, and goes on to when it is tilted by ``STEADY_TILT`` degrees.
    - ``margin``: metres from below its centre of mass to the border of what bears it, negative
      where it would tip over.
    - ``tipping_deg``: the tilt at which it tips over, degrees, negative likewise.
    """

    stable: bool
    margin: float
    tipping_deg: float


@dataclass(frozen=True, eq=False)
class StablePose:
    """
    A pose in which an object rests on the plane z = 0.

    - ``T_ground_object``: rigid (4, 4), metres, z up.
    - ``probability``: to end in it when dropped in any direction.
    """

    T_ground_object: Array
    probability: float


def standing(mesh: Mesh, center: Array) -> Standing:
    """
    Return how a mesh stands that is z up, with the centre of mass ``center`` (3,) in its frame.

    A rigid body stands while its centre of mass is over the convex hull of the points that bear
    it; it tips over at atan(margin / height of the centre).
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial import QhullError

    vertices = mesh.vertices.astype(np.float64)
    low, high = vertices[:, 2].min(), vertices[:, 2].max()
    bearing = vertices[vertices[:, 2] <= low + _ROUGHNESS * (high - low), :2]
    try:
        border = ConvexHull(bearing).equations
        margin = -float((border[:, :2] @ center[:2] + border[:, 2]).max())
    except (QhullError, ValueError):
        # A point or a line bears nothing that is not exactly above it.
        margin = -float(np.linalg.norm(bearing - center[:2], axis=1).min())
    tilt = float(np.degrees(np.arctan2(margin, max(float(center[2]) - float(low), 1e-9))))
    return Standing(tilt >= STEADY_TILT, margin, tilt)


def stable_poses(solids: Sequence[Mesh], center: Array) -> list[StablePose]:
    """
    Return the poses in which a body of solids rests on a plane, the most probable first.

    ``center`` (3,) is its centre of mass. Quasi-static: dropped in any direction, it rolls over
    the faces of its hull until it stays (Goldberg et al., Part Pose Statistics, 1999, as in
    trimesh). Those that it ends in more seldom than one time in fifty are left out, but for
    upright ones; a ball may have none.
    """
    from trimesh.poses import compute_stable_poses

    poses, probabilities = compute_stable_poses(
        hull_of(_corners(solids)).to_trimesh(), center_mass=center, threshold=0.0
    )
    found = zip(np.asarray(poses, np.float64), np.asarray(probabilities).tolist(), strict=True)
    return [StablePose(T, p) for T, p in found if p >= _SELDOM or T[2, 2] > _UPRIGHT]


def feet(solids: Sequence[Mesh], poses: Sequence[StablePose]) -> tuple[Array, float]:
    """
    Return the centres (n, 3) and the radius, metres, of small balls that objects rest on.

    A physics engine takes few points of a mesh as its contacts with a plane, and others at the
    next step, so that what rests on many corners rocks for ever. In each pose a ball touches the
    ground at corners all around the support, inside of the hull of ``solids``.
    """
    corners = _corners(solids)
    size = float(np.linalg.norm(np.ptp(corners, axis=0)))
    radius = _FOOT * size
    outward = np.stack([np.cos(_AROUND), np.sin(_AROUND)])
    found: list[Array] = [np.zeros((0, 3))]
    upright = [pose for pose in poses[_POSES:] if pose.T_ground_object[2, 2] > _UPRIGHT]
    for pose in [*poses[:_POSES], *upright]:
        placed = transform(pose.T_ground_object, corners)
        low = placed[placed[:, 2] < _TREAD * size, :2]
        spots = low[np.unique((low @ outward).argmax(axis=0))]
        inward = spots.mean(axis=0) - spots
        length = np.linalg.norm(inward, axis=1, keepdims=True)
        spots = spots + inward * np.minimum(1.0, radius / np.maximum(length, 1e-12))
        level = np.full((len(spots), 1), radius)
        found.append(transform(invert(pose.T_ground_object), np.hstack([spots, level])))
    return np.concatenate(found), radius


def _corners(solids: Sequence[Mesh]) -> Array:
    return np.concatenate([solid.vertices for solid in solids]).astype(np.float64)
