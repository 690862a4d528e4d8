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
The canonical frame of an object view, and the posed views that are made in it.

Canonical axes are z up with the input camera at azimuth 0; the origin is the estimated centre of
the object, and 1 is the length of the longer side of its image at that distance (the normalisation
of Zero-1-to-3, estimated from one view).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import VIEW_FILL
from lift3d_ros.geometry.frame import VIEW_SIZE

#: Distance of the centre of an object behind the median of its visible surface, canonical units:
#: the mean over the scans of the train split.
MIDDLE_BEHIND = 0.21

#: Smallest number of depth readings on an object for a measured distance.
MIN_READINGS = 24


@dataclass(frozen=True, eq=False)
class CanonicalFrame:
    """
    The canonical object frame of a view.

    - ``T_camera_object``: rigid, the canonical axes in the optical frame of the input camera. The
      translation is in metres if ``metric``, else in canonical lengths of unknown scale.
    - ``scale``: length of 1 canonical unit in those units.
    - ``elevation``: degrees, of the input camera over the object's horizon.
    - ``metric``: whether the distance was measured by depth.
    """

    T_camera_object: Array
    scale: float
    elevation: float
    metric: bool

    @property
    def camera_from_canonical(self) -> Array:
        """The 4 x 4 similarity that maps canonical coordinates into the optical frame."""
        S = self.T_camera_object.copy()
        S[:3, :3] *= self.scale
        return S

    @property
    def canonical_from_camera(self) -> Array:
        """The 4 x 4 similarity that maps the optical frame into canonical coordinates."""
        S = invert(self.T_camera_object)
        S[:3] /= self.scale
        return S

    @property
    def input_pose(self) -> Array:
        """Pose of the input camera in canonical coordinates, a rigid 4 x 4 matrix."""
        pose = invert(self.T_camera_object)
        pose[:3, 3] /= self.scale
        return pose

    @property
    def radius(self) -> float:
        """Distance of the input camera from the origin, canonical units."""
        return float(np.linalg.norm(self.T_camera_object[:3, 3])) / self.scale


@dataclass(frozen=True, eq=False)
class PosedViews:
    """
    Images of one object from known cameras in its canonical frame.

    - ``images``: uint8 RGB (n, size, size, 3), the object on white.
    - ``alphas``: uint8 (n, size, size), 255 where the object is.
    - ``camera``: of every image.
    - ``poses``: (n, 4, 4), the optical frames in canonical coordinates.
    - ``azimuths``, ``elevations``: (n,) degrees, of those cameras; ``radius``: of them all.
    - ``canonical``: the frame, with the scale, and the elevation and pose of the input.
    - ``elevation_source``: ``gravity``, ``estimated``, ``assumed``
      or ``given``; ``elevation_stddev`` in degrees.
    - ``method``: the weights; ``seconds``: of each stage.
    """

    images: NDArray[np.uint8]
    alphas: NDArray[np.uint8]
    camera: Camera
    poses: Array
    azimuths: Array
    elevations: Array
    radius: float
    canonical: CanonicalFrame
    elevation_source: str
    elevation_stddev: float
    method: str
    seconds: dict[str, float]


def canonical_frame(view: ObjectView, elevation: float) -> CanonicalFrame:
    """
    Return the canonical frame of a view.

    ``elevation`` in degrees is used if the frame has no gravity. The origin lies on the ray
    through the centre of the image; its distance is measured by depth, else it is the distance at
    which the canonical length is 1.
    """
    middle = (VIEW_SIZE - 1) / 2.0
    ray = view.camera.unproject(middle, middle, 1.0)
    focal = 0.5 * (view.camera.fx + view.camera.fy)
    per_depth = VIEW_FILL * VIEW_SIZE / focal
    surface = _median_depth(view)
    if surface is None:
        distance, scale = 1.0 / per_depth, 1.0
    else:
        distance = surface / (1.0 - MIDDLE_BEHIND * per_depth)
        if MIDDLE_BEHIND * per_depth > 0.5:
            # At such a short distance the formula above diverges; this bounds it.
            distance = surface * (1.0 + MIDDLE_BEHIND * per_depth)
        scale = distance * per_depth
    known = view.elevation()
    if view.frame.gravity is not None and known is not None:
        up, elevation = -view.frame.gravity, known
    else:
        up = _up(ray, elevation)
    axes = frame_from_up(up, -ray)
    return CanonicalFrame(
        rigid(axes, ray * distance), float(scale), float(elevation), surface is not None
    )


def _up(ray: Array, elevation: float) -> Array:
    """Return the up direction for a camera without roll whose ray declines by ``elevation``."""
    sight = unit(ray)
    above = np.array([0.0, -1.0, 0.0])
    above = unit(above - sight * (above @ sight))
    angle = np.radians(elevation)
    return np.cos(angle) * above - np.sin(angle) * sight


def _median_depth(view: ObjectView) -> float | None:
    if view.frame.depth is None:
        return None
    depth = view.frame.depth[view.mask]
    depth = depth[np.isfinite(depth) & (depth > 0.0)]
    return float(np.median(depth)) if len(depth) >= MIN_READINGS else None
