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
The conditioning of the small denoiser: the coarse volume rendered from the target view.

Beside the rendering each target pixel has the colour of the input picture at the rendered surface
where the input camera sees it, which keeps detail finer than the voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.networks.small.volume import camera_rays
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import project_to_grid
from lift3d_ros.networks.small.volume import render
from lift3d_ros.networks.small.volume import Rendered

#: Side of the views of the small weights, pixels; pixels a side of the patch that is a latent.
VIEW_PIXELS = 128
PATCH = 4
LATENT_PIXELS = VIEW_PIXELS // PATCH

#: The volume is rendered at half the size of a view: its voxels are no finer.
RENDERED_PIXELS = VIEW_PIXELS // 2

#: Depth behind the surface that the input sees, canonical units, from which a point is occluded.
OCCLUSION_MARGIN = 0.06

#: Rendered opacity from which a pixel shows a surface.
MIN_SURFACE_ALPHA = 0.3

#: The depth of background, canonical units: behind every point of the volume.
BACKGROUND_DEPTH = 9.0


def conditioning_channels(features: int) -> int:
    """Return the channels of ``render_conditioning`` for a volume of ``features`` channels."""
    return 4 * PATCH**2 + 4 * (PATCH // 2) ** 2 + 1 + features


def rendered_image(channels: Tensor) -> Tensor:
    """
    Return the rendering of the volume from the channels of ``render_conditioning``.

    ``channels`` (n, c, 32, 32); the image is RGBA (n, 4, 128, 128) in [-1, 1].
    """
    first = 4 * PATCH**2
    rendered = functional.pixel_shuffle(
        channels[:, first:first + 4 * (PATCH // 2) ** 2], PATCH // 2
    )
    return functional.interpolate(rendered, scale_factor=2, mode='bilinear', align_corners=False)


def render_conditioning(
    volume: CoarseVolume,
    picture: Tensor,
    focal: Tensor,
    centre: Tensor,
    pose: Tensor,
    poses: Tensor,
) -> tuple[Tensor, Rendered]:
    """
    Return the conditioning channels (b, v, c, 32, 32), and the volume's rendering.

    ``picture`` (b, 4, 128, 128) RGBA in [0, 1], ``focal``, ``centre`` (b, 2) and ``pose``
    (b, 4, 4) are those of the input, ``poses`` (b, v, 4, 4) of the target views, all in canonical
    coordinates. The rendering is (b, v, c, 64 * 64), see ``Rendered``. Only the features of the
    volume receive a gradient.
    """
    b, v = poses.shape[:2]
    size = RENDERED_PIXELS
    device = poses.device
    fixed = CoarseVolume(
        volume.density.detach(), volume.color.detach(), volume.features, volume.sharpness.detach()
    )
    with torch.no_grad():
        rendering = render(fixed, poses, camera_rays(size, ZERO123_FOV, device), 64)
        surface = _input_depth(fixed, picture.shape[-1], focal, centre, pose)
        warped = _warp(rendering, surface, picture, focal, centre, pose, poses)
        rgba = torch.cat([2.0 * rendering.color - 1.0, 2.0 * rendering.alpha - 1.0], dim=2)
        rgba = rgba.reshape(b * v, 4, size, size)
        distance = poses[..., :3, 3].norm(dim=-1)[:, :, None, None]
        near = rendering.alpha * (distance - rendering.depth)
        near = functional.avg_pool2d(near.reshape(b * v, 1, size, size), 2)
    rays = camera_rays(LATENT_PIXELS, ZERO123_FOV, device)
    features = render(fixed, poses, rays, 48, with_features=True).features
    assert features is not None, 'features are requested'
    channels = torch.cat(
        [
            functional.pixel_unshuffle(warped, PATCH),
            functional.pixel_unshuffle(rgba, PATCH // 2),
            near,
            features.reshape(b * v, -1, LATENT_PIXELS, LATENT_PIXELS),
        ],
        dim=1,
    )
    return channels.reshape(b, v, -1, LATENT_PIXELS, LATENT_PIXELS), rendering


def _input_depth(
    volume: CoarseVolume, size: int, focal: Tensor, centre: Tensor, pose: Tensor
) -> Tensor:
    """Return the rendered depth of the input view, (b, 1, 64, 64)."""
    b = len(pose)
    step = size // RENDERED_PIXELS
    at = torch.arange(RENDERED_PIXELS, device=pose.device) * step + 0.5 * (step - 1)
    v, u = torch.meshgrid(at, at, indexing='ij')
    pixels = torch.stack([u, v], dim=-1).reshape(1, -1, 2)
    xy = (pixels - centre[:, None]) / focal[:, None]
    rays = torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1)
    depths = []
    for index in range(b):
        rendering = render(volume.select(index), pose[index, None, None], rays[index], 64)
        depths.append(torch.where(
            rendering.alpha > MIN_SURFACE_ALPHA, rendering.depth, BACKGROUND_DEPTH
        )[0, 0, 0])
    return torch.stack(depths).reshape(b, 1, RENDERED_PIXELS, RENDERED_PIXELS)


def _warp(
    rendering: Rendered,
    surface: Tensor,
    picture: Tensor,
    focal: Tensor,
    centre: Tensor,
    pose: Tensor,
    poses: Tensor,
) -> Tensor:
    """
    Return the input's colours on the rendered surfaces, (b * v, 4, 128, 128).

    RGB in [-1, 1] and the visibility from the input camera, 0 to 1; all are 0 where it is 0.
    """
    b, v = poses.shape[:2]
    size = RENDERED_PIXELS
    depth = rendering.depth.reshape(b * v, 1, size, size)
    alpha = rendering.alpha.reshape(b * v, 1, size, size)
    fine = functional.interpolate(
        torch.cat([depth * alpha, alpha], dim=1), scale_factor=2, mode='bilinear'
    )
    depth = fine[:, :1] / fine[:, 1:].clamp_min(1e-3)
    rays = camera_rays(VIEW_PIXELS, ZERO123_FOV, poses.device)
    local = depth.reshape(b, v, -1, 1) * rays
    with torch.autocast(local.device.type, enabled=False):
        points = local @ poses[..., :3, :3].transpose(-1, -2) + poses[..., None, :3, 3]
    grid, z = project_to_grid(
        points.reshape(b, -1, 3), focal, centre, pose, picture.shape[-1]
    )
    grid = grid[:, None]
    color = functional.grid_sample(picture, grid, align_corners=False)[:, :, 0]
    first = functional.grid_sample(surface, grid, align_corners=False, mode='nearest')[:, 0, 0]
    before = first + OCCLUSION_MARGIN - z.clamp_min(1e-3)
    visible = (before / (0.5 * OCCLUSION_MARGIN)).clamp(0.0, 1.0) * color[:, 3]
    color = torch.cat([(2.0 * color[:, :3] - 1.0) * visible[:, None], visible[:, None]], dim=1)
    color = color.reshape(b, 4, v, VIEW_PIXELS, VIEW_PIXELS).transpose(1, 2)
    color = color.reshape(b * v, 4, VIEW_PIXELS, VIEW_PIXELS)
    return color * (fine[:, 1:] > MIN_SURFACE_ALPHA)
