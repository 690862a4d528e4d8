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
What the denoiser of the small weights goes by: the coarse volume and the input, seen from a view.

Beside the volume's rendering each target pixel gets the colour that the input picture has where
the rendered surface lies, if the input saw it: fine detail that no coarse grid holds.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.networks.small.volume import camera_rays
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import render
from lift3d_ros.networks.small.volume import Rendered

#: Side of the views of the small weights and of their latents, pixels.
VIEW_PIXELS = 128
PATCH = 4
LATENT_PIXELS = VIEW_PIXELS // PATCH

#: The volume is rendered at half the size of a view: its voxels are no finer.
RENDERED_PIXELS = VIEW_PIXELS // 2

#: A surface that lies farther than this behind what the input sees is hidden from it, canonical
#: units.
_HIDDEN = 0.06


def guide_channels(features: int) -> int:
    """Return how many channels ``guide`` has for a volume of so many feature channels."""
    return 4 * PATCH**2 + 4 * (PATCH // 2) ** 2 + 1 + features


def guiding_picture(channels: Tensor) -> Tensor:
    """
    Return the rendering of the volume that is in the channels of ``guide``.

    ``channels`` (n, c, 32, 32); the picture is RGBA (n, 4, 128, 128) in [-1, 1].
    """
    first = 4 * PATCH**2
    rendered = functional.pixel_shuffle(
        channels[:, first:first + 4 * (PATCH // 2) ** 2], PATCH // 2
    )
    return functional.interpolate(rendered, scale_factor=2, mode='bilinear', align_corners=False)


def guide(
    volume: CoarseVolume,
    picture: Tensor,
    focal: Tensor,
    centre: Tensor,
    pose: Tensor,
    poses: Tensor,
) -> tuple[Tensor, Rendered]:
    """
    Return the channels that guide the denoiser, (b, v, c, 32, 32), and the volume's rendering.

    ``picture`` (b, 4, 128, 128) RGBA in [0, 1], ``focal``, ``centre`` (b, 2) and ``pose``
    (b, 4, 4) are those of the input, ``poses`` (b, v, 4, 4) of the target views, all in canonical
    coordinates. The rendering is (b, v, c, 64 * 64), see ``Rendered``. The features alone carry a
    gradient back to the volume.
    """
    b, v = poses.shape[:2]
    size = RENDERED_PIXELS
    device = poses.device
    fixed = CoarseVolume(
        volume.density.detach(), volume.color.detach(), volume.features, volume.sharpness.detach()
    )
    with torch.no_grad():
        seen = render(fixed, poses, camera_rays(size, ZERO123_FOV, device), 64)
        own = _input_depth(fixed, picture.shape[-1], focal, centre, pose)
        warped = _warp(seen, own, picture, focal, centre, pose, poses)
        rendered = torch.cat([2.0 * seen.color - 1.0, 2.0 * seen.alpha - 1.0], dim=2)
        rendered = rendered.reshape(b * v, 4, size, size)
        near = seen.alpha * (poses[..., :3, 3].norm(dim=-1)[:, :, None, None] - seen.depth)
        near = functional.avg_pool2d(near.reshape(b * v, 1, size, size), 2)
    small = camera_rays(LATENT_PIXELS, ZERO123_FOV, device)
    features = render(fixed, poses, small, 48, with_features=True).features
    assert features is not None, 'features were asked for'
    channels = torch.cat(
        [
            functional.pixel_unshuffle(warped, PATCH),
            functional.pixel_unshuffle(rendered, PATCH // 2),
            near,
            features.reshape(b * v, -1, LATENT_PIXELS, LATENT_PIXELS),
        ],
        dim=1,
    )
    return channels.reshape(b, v, -1, LATENT_PIXELS, LATENT_PIXELS), seen


def _input_depth(
    volume: CoarseVolume, size: int, focal: Tensor, centre: Tensor, pose: Tensor
) -> Tensor:
    """Return the depth of the volume from the input camera, (b, 1, 64, 64), 9 = nothing."""
    b = len(pose)
    step = size // RENDERED_PIXELS
    at = torch.arange(RENDERED_PIXELS, device=pose.device) * step + 0.5 * (step - 1)
    v, u = torch.meshgrid(at, at, indexing='ij')
    pixels = torch.stack([u, v], dim=-1).reshape(1, -1, 2)
    xy = (pixels - centre[:, None]) / focal[:, None]
    rays = torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1)
    depths = []
    for index in range(b):
        one = CoarseVolume(
            volume.density[index:index + 1], volume.color[index:index + 1],
            volume.features[index:index + 1], volume.sharpness,
        )
        seen = render(one, pose[index, None, None], rays[index], 64)
        depths.append(torch.where(seen.alpha > 0.3, seen.depth, 9.0)[0, 0, 0])
    return torch.stack(depths).reshape(b, 1, RENDERED_PIXELS, RENDERED_PIXELS)


def _warp(
    seen: Rendered,
    own: Tensor,
    picture: Tensor,
    focal: Tensor,
    centre: Tensor,
    pose: Tensor,
    poses: Tensor,
) -> Tensor:
    """
    Return the input's colours on the rendered surfaces, (b * v, 4, 128, 128).

    RGB in [-1, 1], and how sure it is that the input saw the place, 0 to 1; where it did not, all
    are 0.
    """
    b, v = poses.shape[:2]
    size = RENDERED_PIXELS
    depth = seen.depth.reshape(b * v, 1, size, size)
    alpha = seen.alpha.reshape(b * v, 1, size, size)
    fine = functional.interpolate(
        torch.cat([depth * alpha, alpha], dim=1), scale_factor=2, mode='bilinear'
    )
    depth = fine[:, :1] / fine[:, 1:].clamp_min(1e-3)
    rays = camera_rays(VIEW_PIXELS, ZERO123_FOV, poses.device)
    local = depth.reshape(b, v, -1, 1) * rays
    with torch.autocast(local.device.type, enabled=False):
        points = local @ poses[..., :3, :3].transpose(-1, -2) + poses[..., None, :3, 3]
        points = points.reshape(b, -1, 3)
        there = (points - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    z = there[..., 2].clamp_min(1e-3)
    uv = there[..., :2] / z[..., None] * focal[:, None] + centre[:, None]
    grid = ((2.0 * uv + 1.0) / picture.shape[-1] - 1.0)[:, None]
    color = functional.grid_sample(picture, grid, align_corners=False)[:, :, 0]
    surface = functional.grid_sample(own, grid, align_corners=False, mode='nearest')[:, 0, 0]
    sure = ((surface + _HIDDEN - z) / (0.5 * _HIDDEN)).clamp(0.0, 1.0) * color[:, 3]
    color = torch.cat([(2.0 * color[:, :3] - 1.0) * sure[:, None], sure[:, None]], dim=1)
    color = color.reshape(b, 4, v, VIEW_PIXELS, VIEW_PIXELS).transpose(1, 2)
    return color.reshape(b * v, 4, VIEW_PIXELS, VIEW_PIXELS) * (fine[:, 1:] > 0.3)
