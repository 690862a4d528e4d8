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

"""The rendering of a coarse volume leaves out what cannot be seen, and nothing else."""

import numpy as np
import pytest
import torch

from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.networks.small.coarse_inputs import EXTENT
from lift3d_ros.networks.small.volume import camera_rays
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import render
from lift3d_ros.networks.small.volume import voxel_grid

SHARPNESS = torch.tensor([2.6, 0.9])


def volume_of(logits):
    """Return a volume of logits (n, n, n) with drawn colours and features."""
    n = len(logits)
    draw = torch.Generator().manual_seed(0)
    return CoarseVolume(
        logits[None, None], torch.randn((1, 3, n, n, n), generator=draw),
        torch.randn((1, 5, n // 2, n // 2, n // 2), generator=draw), SHARPNESS)


def ball(radius, outside=-14.0, centre=(0.0, 0.0, 0.0)):
    distance = (voxel_grid(32, torch.device('cpu')) - torch.tensor(centre)).norm(dim=-1)
    return torch.where(distance < radius, 8.0, outside)


VOLUMES = {
    'ball': ball(0.4),
    'speck': ball(0.06, centre=(0.3, -0.2, 0.1)),
    'at the border': ball(0.5, centre=(0.0, 0.8, 0.0)),
    'fog': torch.full((32, 32, 32), -4.0),
    'full': torch.full((32, 32, 32), 6.0),
    'empty': torch.full((32, 32, 32), -30.0),
}


@pytest.mark.parametrize('name', VOLUMES)
@pytest.mark.parametrize('radius', [1.7, 0.2])
def test_a_rendering_without_gradients_is_that_with_gradients(name, radius):
    volume = volume_of(VOLUMES[name])
    poses = torch.from_numpy(np.stack([
        orbit_pose(40.0 * index, 25.0, radius) for index in range(3)]))[None].float()
    rays = camera_rays(24, ZERO123_FOV, torch.device('cpu'))
    every = render(volume, poses, rays, 48, with_features=True)
    with torch.no_grad():
        chosen = render(volume, poses, rays, 48, with_features=True)
    for part, bound in (('alpha', 2e-3), ('color', 2e-3), ('features', 5e-3)):
        found, expected = getattr(chosen, part), getattr(every, part)
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=0.0, atol=bound)
    # Where a surface is seen its depth is the same.
    seen = every.alpha > 0.5
    assert bool(seen.any()) or name != 'ball'
    torch.testing.assert_close(
        chosen.depth[seen], every.depth[seen], rtol=0.0, atol=0.01 * EXTENT)
