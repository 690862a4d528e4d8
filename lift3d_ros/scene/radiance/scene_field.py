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
The radiance field of a whole scene, and its views.

Canonical coordinates of a scene: z up, the origin at its middle ahead of the input camera, which
is at azimuth 0 and the distance 1 (ZeroNVS, ``configs/zero123_scene.yaml``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.radiance_occupancy import RadianceOccupancy
from lift3d_ros.fields.rays import Histogram
from lift3d_ros.fields.rays import Rays
from lift3d_ros.fields.rays import share_to_distance
from lift3d_ros.fields.volume_rendering import render
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import unit
from lift3d_ros.scene.prior.fill import FilledView
from lift3d_ros.scene.prior.fill import LEAST_INVERSE
from lift3d_ros.scene.prior.fill import TOLERANCE_M
from lift3d_ros.scene.prior.inputs import KnownView

#: Rays that are rendered at once.
CHUNK = 4096

#: Least opacity of a ray that has a depth.
MIN_OPACITY = 0.5

#: Confidence of a surface of a distilled field, for rays with none and all of their weight within
#: ``TOLERANCE_M``. It is not calibrated, as that of all distilled methods.
DISTILLED_CONFIDENCE = (0.0, 0.4)

#: The same of a field regressed to its anchors (2 rooms of the train split, 3,000 points: 0.60 of
#: them right below a sharpness of 0.3, 0.83 from 0.3 to 0.7, 0.96 above), and the least sharpness
#: of a surface.
REGRESSED_CONFIDENCE, MIN_SHARPNESS = (0.5, 0.98), 0.1


@dataclass(frozen=True, eq=False)
class SceneFrame:
    """
    The canonical frame of a scene.

    - ``T_canonical_camera``: (4, 4), the optical frame of the input, canonical units.
    - ``metres``: length of the canonical unit.
    """

    T_canonical_camera: Array
    metres: float

    @classmethod
    def of_middle(cls, middle: float, up: Array) -> SceneFrame:
        """
        Return the frame whose origin is ``middle`` metres ahead of the camera.

        ``up`` (3,) is the vertical in the optical frame. Where the camera looks along it, the
        bottom of the image is at azimuth 0.
        """
        z = unit(np.asarray(up, np.float64))
        towards = np.array([0.0, 0.0, -1.0])
        level = towards - (towards @ z) * z
        if np.linalg.norm(level) < 1e-3:
            level = np.array([0.0, 1.0, 0.0])
            level = level - (level @ z) * z
        x = unit(level)
        T = np.eye(4)
        T[:3, :3] = np.stack([x, np.cross(z, x), z])
        T[:3, 3] = T[:3, :3] @ towards
        return cls(T, float(middle))

    def pose(self, T_camera_eye: Array) -> Array:
        """Return the canonical pose (4, 4) of a camera at ``T_camera_eye`` (4, 4), metres."""
        eye = np.array(T_camera_eye, np.float64)
        eye[:3, 3] /= self.metres
        return self.T_canonical_camera @ eye


@dataclass(frozen=True, eq=False)
class FieldView:
    """
    The field from a camera, each array (height, width).

    - ``color``: uint8 RGB (height, width, 3); ``opacity``: float32 in [0, 1].
    - ``depth``: float32 metres, the median along each ray; 0 below ``MIN_OPACITY``.
    - ``sharpness``: float32, the share of a ray's weight within ``TOLERANCE_M`` of the median.
    """

    color: NDArray[np.uint8]
    opacity: NDArray[np.float32]
    depth: NDArray[np.float32]
    sharpness: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SceneField:
    """
    The radiance field of a scene.

    - ``radiance``: contracted; ``proposal``: places the samples, or None.
    - ``frame``: its canonical frame; ``settings``: how it is rendered.
    - ``confidence``: of its surface, at the sharpness 0 and 1 of a ray.
    """

    radiance: RadianceField
    frame: SceneFrame
    settings: RenderSettings
    proposal: RadianceField | None = None
    confidence: tuple[float, float] = DISTILLED_CONFIDENCE

    @cached_property
    def field(self) -> RadianceOccupancy:
        """The ``Field`` of its cube, canonical units."""
        return RadianceOccupancy(self.radiance)

    @torch.no_grad()
    def render(self, camera: Camera, T_camera_eye: Array) -> FieldView:
        """Return the field from ``T_camera_eye`` (4, 4) in the optical frame, metres."""
        device = next(self.radiance.parameters()).device
        rays = Rays.from_camera(camera, self.frame.pose(T_camera_eye), device)
        assert rays.cosines is not None, 'the rays of a camera have cosines'
        parts = [self._part(rays[at:at + CHUNK]) for at in range(0, len(rays), CHUNK)]
        color, opacity, distance, sharpness = (
            torch.cat(values).cpu().numpy() for values in zip(*parts, strict=True))
        depth = distance * rays.cosines.cpu().numpy() * self.frame.metres
        shape = (camera.height, camera.width)
        return FieldView(
            np.rint(255.0 * color).astype(np.uint8).reshape(*shape, 3),
            opacity.astype(np.float32).reshape(shape),
            np.where(opacity >= MIN_OPACITY, depth, 0.0).astype(np.float32).reshape(shape),
            sharpness.astype(np.float32).reshape(shape))

    def fill(self, view: KnownView, scale: float) -> FilledView:
        """Return a view of a scene with the field in its holes; a ``Fill``."""
        assert view.eye is not None and view.T_camera_eye is not None, 'views have cameras'
        seen = self.render(view.eye, view.T_camera_eye)
        present = seen.depth > 0.0
        inverse = np.where(present, scale / np.where(present, seen.depth, 1.0), LEAST_INVERSE)
        inverse = np.maximum(inverse, LEAST_INVERSE)
        # The surface is not in front of where the ray leaves free space.
        bounded = view.exit > 0.0
        inverse = np.where(
            bounded, np.minimum(inverse, np.maximum(view.exit, LEAST_INVERSE)), inverse)
        low, high = self.confidence
        sure = present & (seen.sharpness >= MIN_SHARPNESS)
        confidence = np.where(sure, low + (high - low) * np.minimum(seen.sharpness, 1.0), 0.0)
        nothing = np.zeros(seen.depth.shape, np.float32)
        return FilledView(
            seen.color, (scale / inverse).astype(np.float32), confidence.astype(np.float32),
            nothing, nothing.astype(bool))

    def _part(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return colours (n, 3), opacities, median distances and their sharpness (n,)."""
        seen = render(self.radiance, rays, self.settings, proposal=self.proposal)
        histogram, opacity = seen.histogram, seen.opacity
        ends = ray_ends(histogram, self.settings)
        cumulative = torch.nn.functional.pad(histogram.weights.cumsum(1), (1, 0))
        median = _crossing(ends, cumulative, 0.5 * cumulative[:, -1:])
        reach = TOLERANCE_M / self.frame.metres
        within = weight_within(
            histogram.weights, ends, median[:, None] - reach, median[:, None] + reach)
        color = seen.color / opacity.clamp_min(1e-3)[:, None]
        return (
            color.clamp(0.0, 1.0), opacity.clamp(0.0, 1.0), median,
            within / opacity.clamp_min(1e-6))


def ray_ends(histogram: Histogram, settings: RenderSettings) -> Tensor:
    """Return the distances (m, s + 1) of the edges of a contracted field's intervals."""
    near = torch.full_like(histogram.edges[:, 0], settings.near)
    far = torch.full_like(near, settings.far)
    return share_to_distance(histogram.edges, near, far, settings.spacing)


def weight_within(weights: Tensor, ends: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """
    Return the weight (m,) of rays between the distances ``low`` and ``high`` (m, 1).

    ``weights`` (m, s) are evenly spread over their intervals with ``ends`` (m, s + 1).
    """
    starts, stops = ends[:, :-1], ends[:, 1:]
    overlap = (torch.minimum(stops, high) - torch.maximum(starts, low)).clamp(min=0.0)
    return (weights * overlap / (stops - starts).clamp_min(1e-9)).sum(1)


def _crossing(ends: Tensor, cumulative: Tensor, value: Tensor) -> Tensor:
    """Return the distances (m,) at which ``cumulative`` (m, s + 1) reaches ``value`` (m, 1)."""
    last = ends.shape[1] - 2
    index = (torch.searchsorted(cumulative, value) - 1).clamp(0, last)
    below, above = cumulative.gather(1, index), cumulative.gather(1, index + 1)
    share = ((value - below) / (above - below).clamp_min(1e-9)).clamp(0.0, 1.0)
    low = ends.gather(1, index)
    return (low + share * (ends.gather(1, index + 1) - low))[:, 0]
