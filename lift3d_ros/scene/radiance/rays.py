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

"""The rays that a scene's field is regressed to: those of its input, and of its anchors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from lift3d_ros.fields.rays import Rays
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.scene.parts import measured_depth
from lift3d_ros.scene.prior.inputs import KnownScene
from lift3d_ros.scene.prior.inputs import picture_camera
from lift3d_ros.scene.radiance.scene_field import SceneFrame

#: Side of the pictures of the anchors, pixels.
ANCHOR_PIXELS = 96

#: How often a ray of an anchor is drawn that shows a prediction, to one that shows what was
#: measured, which the input shows better.
PREDICTED_SHARE = 4.0


@dataclass(frozen=True, eq=False)
class KnownRays:
    """
    Rays whose colour is known, and the distance of most.

    - ``rays``: n, canonical; ``color``: (n, 3) RGB in [0, 1].
    - ``distance``: (n,) along the rays, canonical units, NaN where unknown.
    - ``share``: (n,), how often a ray is drawn, relative to the others.
    """

    rays: Rays
    color: Tensor
    distance: Tensor
    share: Tensor

    @classmethod
    def of_view(
        cls,
        color: NDArray[np.uint8],
        depth: NDArray[np.float32],
        camera: Camera,
        T_camera_eye: Array,
        frame: SceneFrame,
        share: NDArray[np.floating],
    ) -> KnownRays:
        """
        Return the rays of a picture.

        ``color`` (h, w, 3), ``depth`` (h, w) in metres with 0 for none, and ``share`` (h, w), of
        which rays with 0 are left out.
        """
        rays = Rays.from_camera(camera, frame.pose(T_camera_eye))
        assert rays.cosines is not None, 'the rays of a camera have cosines'
        kept = torch.from_numpy(np.flatnonzero(share.reshape(-1) > 0.0))
        axial = torch.from_numpy(depth.reshape(-1).astype(np.float32)) / frame.metres
        distance = torch.where(axial > 0.0, axial / rays.cosines, torch.nan)
        pixels = torch.from_numpy(color.reshape(-1, 3).astype(np.float32)) / 255.0
        shares = torch.from_numpy(share.reshape(-1).astype(np.float32))
        return cls(rays[kept], pixels[kept], distance[kept], shares[kept])

    @classmethod
    def joined(cls, parts: Sequence[KnownRays]) -> KnownRays:
        """Return the rays of several views as one."""
        rays = Rays(
            torch.cat([part.rays.origins for part in parts]),
            torch.cat([part.rays.directions for part in parts]))
        return cls(rays, *(
            torch.cat([getattr(part, name) for part in parts])
            for name in ('color', 'distance', 'share')))

    def __len__(self) -> int:
        """Return the number of rays."""
        return len(self.rays)

    def to(self, device: str) -> KnownRays:
        """Return the same rays on a device."""
        rays = Rays(self.rays.origins.to(device), self.rays.directions.to(device))
        return KnownRays(
            rays, self.color.to(device), self.distance.to(device), self.share.to(device))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return ``count`` indices by their shares; ``generator`` is on the CPU."""
        cumulative = self.share.double().cumsum(0)
        at = torch.rand(count, generator=generator, dtype=torch.float64).to(cumulative)
        return torch.searchsorted(cumulative, at * cumulative[-1]).clamp(max=len(self) - 1)


def input_rays(frame: Frame, scene: SceneFrame) -> KnownRays:
    """Return the rays of a frame with depth."""
    depth = measured_depth(frame)
    return KnownRays.of_view(
        frame.image, depth, frame.camera, np.eye(4), scene, np.ones(depth.shape))


def anchor_rays(
    known: KnownScene, poses: Sequence[Array], scene: SceneFrame
) -> KnownRays | None:
    """
    Return the rays of a completed scene from anchors ``T_camera_eye``; None without surface.

    Holes have no rays.
    """
    eye = picture_camera(known.frame.camera, ANCHOR_PIXELS)
    parts = []
    for pose in poses:
        view = known.view(eye, pose)
        present = view.inverse > 0.0
        depth = np.where(present, known.scale / np.where(present, view.inverse, 1.0), 0.0)
        share = np.where(view.observed, 1.0, PREDICTED_SHARE) * present
        if present.any():
            parts.append(KnownRays.of_view(
                view.color, depth.astype(np.float32), eye, pose, scene, share))
    return KnownRays.joined(parts) if parts else None
