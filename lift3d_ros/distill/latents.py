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

"""Fields of latents, whose renderings are images in the space of an autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import pixel_rays
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.rays import Rays
from lift3d_ros.fields.volume_rendering import render
from lift3d_ros.fields.volume_rendering import RenderSettings


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """
    What a field of latents needs beside itself (Zero-1-to-3, ``3drec/``).

    - ``decode``: from latents (b, c, h, w) to RGB (b, 3, H, W) in [-1, 1], with gradients.
    - ``background``: (c,), behind the field: the mean latent of a white picture.
    """

    decode: Callable[[Tensor], Tensor]
    background: Tensor

    def pictures(self, latents: Tensor) -> Tensor:
        """Return RGB in [0, 1] of latents (b, c, h, w), at their size."""
        decoded = 0.5 * (self.decode(latents) + 1.0)
        height, width = latents.shape[-2:]
        return functional.adaptive_avg_pool2d(decoded, (height, width))

    def reference_loss(self, latents: Tensor, view: ReferenceView) -> Tensor:
        """
        Return the mean squared difference of the decoded rendering and the picture on white.

        ``latents`` (1, c, size, size) are of all rays of the input view.
        """
        mask = view.mask[:, None]
        target = (view.color * mask + 1.0 - mask).T.reshape(1, 3, view.size, view.size)
        squares = (self.pictures(latents) - target.to(latents)).square()
        if view.known is not None:
            squares = squares * view.known.reshape(1, 1, view.size, view.size)
        return squares.mean()


#: Opacity from which a pixel shows the object alone.
MIN_OPACITY = 0.9

#: Weight of zero coefficients, in pixels, where few pixels show the object.
RIDGE_PIXELS = 0.05


@dataclass(frozen=True, eq=False)
class LatentColors:
    """
    Colours of a field of latents at points, where a decoder knows only whole pictures.

    The map is affine, fitted by least squares to the pixels of decoded renderings before
    ``cameras``, ``size`` pixels a side.
    """

    field: RadianceField
    space: LatentSpace
    cameras: Cameras
    size: int

    @torch.no_grad()
    def __call__(self) -> Callable[[Tensor], Tensor]:
        """Return the map from latents (n, c) to RGB (n, 3), for the field as it is now."""
        latents, colors = [], []
        device = next(self.field.parameters()).device
        for index in range(len(self.cameras)):
            camera = self.cameras.select(torch.tensor([index]))
            origins, directions = (
                part.reshape(-1, 3).to(device) for part in pixel_rays(camera, self.size))
            view = render(
                self.field, Rays(origins, directions), RenderSettings(samples=200),
                background=self.space.background.to(device))
            picture = view.color.T.reshape(1, -1, self.size, self.size)
            rgb = self.space.pictures(picture)[0].flatten(1).T
            solid = view.opacity > MIN_OPACITY
            latents.append(view.color[solid])
            colors.append(rgb[solid])
        x, y = torch.cat(latents).double(), torch.cat(colors).double()
        if not len(x):
            return lambda albedo: torch.full_like(albedo[:, :3], 0.5)
        middle, mean = x.mean(0), y.mean(0)
        x, y = x - middle, y - mean
        ridge = RIDGE_PIXELS * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        matrix = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
        return lambda albedo: ((albedo.double() - middle) @ matrix + mean).to(albedo.dtype)
