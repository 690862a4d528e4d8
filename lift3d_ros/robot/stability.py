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


"""Whether an object is stable in its observed pose, and its other stable poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.robot.convex import hull_of

#: Height above the lowest point within which points are contacts, share of the object's height; a
#: predicted bottom is rough.
_CONTACT_SHARE = 0.02

#: Smallest tilt at which a stable object tips over, degrees.
MIN_TIPPING_DEG = 3.0

#: Height above the ground within which a corner gets a foot, and the radius of a foot, shares of
#: the object's size.
_FOOT_HEIGHT_SHARE = 0.005
_FOOT_RADIUS_SHARE = 0.01

#: Largest number of poses with feet.
_MAX_FOOT_POSES = 6

#: Directions in which the outermost corners of a support get feet, radians.
_FOOT_DIRECTIONS_RAD = np.radians(np.arange(0.0, 360.0, 45.0))

#: Smallest probability of a stable pose. Upright poses, to this cosine of the tilt, are always
#: kept: a dropped bottle rarely lands on its bottom, but people place it there.
_MIN_PROBABILITY = 0.02
_MIN_UPRIGHT_COSINE = np.cos(np.radians(10.0))


@dataclass(frozen=True)
class SupportStability:
    """
    The stability of an object on a horizontal plane below it.

    - ``stable``: whether it stays upright when tilted by ``MIN_TIPPING_DEG`` degrees.
    - ``margin``: horizontal distance from its centre of mass to the border of its support polygon,
      metres, negative if it tips over.
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
    - ``probability``: of this pose after a drop in a random orientation.
    """

    T_ground_object: Array
    probability: float


def support_stability(mesh: Mesh, center: Array) -> SupportStability:
    """
    Return the stability of a mesh with z up and the centre of mass ``center`` (3,) in its frame.

    A rigid body is stable while its centre of mass is above the support polygon, the convex hull
    of its contacts; it tips over at atan(margin / height of the centre).
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial import QhullError

    vertices = mesh.vertices.astype(np.float64)
    low, high = vertices[:, 2].min(), vertices[:, 2].max()
    contacts = vertices[vertices[:, 2] <= low + _CONTACT_SHARE * (high - low), :2]
    try:
        border = ConvexHull(contacts).equations
        margin = -float((border[:, :2] @ center[:2] + border[:, 2]).max())
    except (QhullError, ValueError):
        # A support of a point or a line has no area.
        margin = -float(np.linalg.norm(contacts - center[:2], axis=1).min())
    tilt = float(np.degrees(np.arctan2(margin, max(float(center[2]) - float(low), 1e-9))))
    return SupportStability(tilt >= MIN_TIPPING_DEG, margin, tilt)


def stable_poses(meshes: Sequence[Mesh], center: Array) -> list[StablePose]:
    """
    Return the stable poses on a plane of a body of closed meshes, the most probable first.

    ``center`` (3,) is its centre of mass. Quasi-static: dropped in a random orientation, it rolls
    over the faces of its hull until it rests (Goldberg et al., Part Pose Statistics, 1999, as in
    trimesh). Poses with a probability below 0.02 are omitted, except upright ones; a ball can have
    none.
    """
    from trimesh.poses import compute_stable_poses

    poses, probabilities = compute_stable_poses(
        hull_of(_corners(meshes)).to_trimesh(), center_mass=center, threshold=0.0
    )
    shares = np.asarray(probabilities).tolist()
    results = zip(np.asarray(poses, np.float64), shares, strict=True)
    stable = [StablePose(T, p) for T, p in results]
    return [pose for pose in stable if pose.probability >= _MIN_PROBABILITY or _is_upright(pose)]


def feet(meshes: Sequence[Mesh], poses: Sequence[StablePose]) -> tuple[Array, float]:
    """
    Return the centres (n, 3) and the radius, metres, of small contact spheres on the ground.

    A physics engine selects a few contacts of a mesh with a plane, and others at the next step, so
    that an object on many corners rocks indefinitely. In each pose, spheres touch the ground at
    corners all around the support, inside the hull of ``meshes``.
    """
    corners = _corners(meshes)
    size = float(np.linalg.norm(np.ptp(corners, axis=0)))
    radius = _FOOT_RADIUS_SHARE * size
    outward = np.stack([np.cos(_FOOT_DIRECTIONS_RAD), np.sin(_FOOT_DIRECTIONS_RAD)])
    centers: list[Array] = [np.zeros((0, 3))]
    upright = [pose for pose in poses[_MAX_FOOT_POSES:] if _is_upright(pose)]
    for pose in [*poses[:_MAX_FOOT_POSES], *upright]:
        placed = transform(pose.T_ground_object, corners)
        low = placed[placed[:, 2] < _FOOT_HEIGHT_SHARE * size, :2]
        spots = low[np.unique((low @ outward).argmax(axis=0))]
        inward = spots.mean(axis=0) - spots
        length = np.linalg.norm(inward, axis=1, keepdims=True)
        spots = spots + inward * np.minimum(1.0, radius / np.maximum(length, 1e-12))
        level = np.full((len(spots), 1), radius)
        centers.append(transform(invert(pose.T_ground_object), np.hstack([spots, level])))
    return np.concatenate(centers), radius


def _is_upright(pose: StablePose) -> bool:
    return bool(pose.T_ground_object[2, 2] > _MIN_UPRIGHT_COSINE)


def _corners(meshes: Sequence[Mesh]) -> Array:
    return np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float64)
