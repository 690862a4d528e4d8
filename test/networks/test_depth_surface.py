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

"""The surface network for one view with depth: its start, its evidence, its decoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lift3d_ros.geometry import orbit_pose
from lift3d_ros.networks.small.coarse_inputs import EXTENT
from lift3d_ros.networks.small.depth_surface import BAND_LOGIT
from lift3d_ros.networks.small.depth_surface import DepthSurfaceNet
from lift3d_ros.networks.small.depth_surface import read_depth_surface
from lift3d_ros.networks.small.depth_surface import view_evidence
from lift3d_ros.networks.small.depth_surface import write_depth_surface
from lift3d_ros.networks.small.surface_network import object_box
from lift3d_ros.networks.small.surface_network import Sources
from lift3d_ros.networks.small.surface_network import SurfaceConfig
from lift3d_ros.networks.small.surface_network import SurfaceNet
from lift3d_ros.networks.small.symmetry_evidence import symmetry_evidence
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import voxel_grid

pytestmark = pytest.mark.usefixtures('one_thread')

CONFIG = SurfaceConfig(grid=16, pixels=4, widths=(16, 32), features=3)
RADIUS, FOCAL, SIZE = 1.7, 70.0, 64


@pytest.fixture
def surface():
    """Return a surface network whose heads say something, as after training."""
    torch.manual_seed(0)
    net = SurfaceNet(CONFIG).eval().requires_grad_(False)
    torch.nn.init.normal_(net.logit.weight, std=0.2)
    return net


def ball(radius: float = 0.4) -> tuple[dict[str, torch.Tensor], CoarseVolume]:
    """Return a view of a ball at the origin, without a background, and its coarse volume."""
    pose = torch.from_numpy(orbit_pose(0.0, 20.0, RADIUS)).float()
    v, u = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing='ij')
    centre = 0.5 * (SIZE - 1)
    ray = torch.stack([(u - centre) / FOCAL, (v - centre) / FOCAL, torch.ones(SIZE, SIZE)], dim=-1)
    distance = float(pose[:3, 3].norm())
    a, b = (ray**2).sum(dim=-1), distance * ray[..., 2]
    root = b**2 - a * (distance**2 - radius**2)
    hit = root > 0.0
    depth = torch.where(hit, (b - root.clamp_min(0.0).sqrt()) / a, 3.0)
    picture = torch.cat([torch.ones(3, SIZE, SIZE), hit[None].float()])
    inputs = {
        'picture': picture[None], 'depth': depth[None], 'focal': torch.full((1, 2), FOCAL),
        'centre': torch.full((1, 2), centre), 'pose': pose[None], 'flags': torch.ones(1, 2),
    }
    logit = 20.0 * (radius - voxel_grid(32, torch.device('cpu')).norm(dim=-1))
    features = torch.randn((1, 3, 16, 16, 16), generator=torch.Generator().manual_seed(3))
    return inputs, CoarseVolume(
        logit[None, None], torch.zeros(1, 3, 32, 32, 32), features, torch.zeros(2))


def evidence_of(inputs, volume, points):
    return symmetry_evidence(
        inputs['picture'][:, 3], inputs['depth'], inputs['focal'], inputs['centre'],
        inputs['pose'], volume.density, points)[0]


def test_it_begins_with_the_field_of_the_surface_network(surface):
    inputs, volume = ball()
    box = object_box(volume.density)
    views = Sources(*(inputs[name][:, None] for name in (
        'picture', 'focal', 'centre', 'pose', 'depth')))
    network = DepthSurfaceNet.from_surface(surface).eval()
    with torch.no_grad():
        before = surface(volume, box, views, None, inputs['flags']).logit
        read = network.observe(inputs, volume, box)
        field = network(read)
        assert torch.allclose(field.logit, before, atol=1e-4)
        assert (before - read.fine[:, :1]).abs().max() > 0.1
        # The decoder adds nothing yet, at a point and on its grid.
        unit = voxel_grid(32, torch.device('cpu')).reshape(1, -1, 3)
        decoded = network.decode(field, unit, view_evidence(inputs, box.to_canonical(unit[0])))
        assert torch.allclose(decoded, field.logit.reshape(1, -1), atol=1e-4)
    grid = network.decode_grid(field, inputs)
    assert grid.shape == (96, 96, 96)
    assert 0.0 <= float(grid.min()) and float(grid.max()) <= 1.0


def test_the_decoder_changes_the_band_alone(surface):
    inputs, volume = ball()
    network = DepthSurfaceNet.from_surface(surface).eval()
    box = object_box(volume.density)
    field = network(network.observe(inputs, volume, box))
    before = network.decode_grid(field, inputs)
    torch.nn.init.constant_(network.decoder[-1].bias, 1.0)
    after = network.decode_grid(field, inputs)
    logit = before.logit()
    # The logit of a probability near one is not exact.
    band = logit.abs() < BAND_LOGIT - 0.01
    assert torch.allclose(after.logit()[band], logit[band] + 1.0, atol=1e-3)
    assert torch.equal(after[logit.abs() > BAND_LOGIT + 0.01],
                       before[logit.abs() > BAND_LOGIT + 0.01])


def test_symmetries_of_a_ball_show_its_back():
    inputs, volume = ball()
    angle = torch.linspace(0.0, 2.0 * torch.pi, 13)[:-1]
    around = torch.stack([angle.cos(), angle.sin(), torch.zeros(12)], dim=1)
    shells = torch.stack([0.34 * around, 0.46 * around])
    inside, outside = (evidence_of(inputs, volume, shell[None]) for shell in shells)
    # The revolution: behind the surface within the ball, before it outside, on every side.
    assert (inside[6] > 0.3).all()
    assert (outside[6] < -0.3).all()
    # All hypotheses fit, and say so.
    assert (inside[[2, 5, 8], 0] > 0.3).all()


def test_a_symmetry_that_the_view_contradicts_has_a_low_score():
    inputs, volume = ball()
    # The ball without its left third is no solid of revolution about any vertical axis.
    fitting = evidence_of(inputs, volume, torch.zeros(1, 1, 3))[8, 0]
    cut = {**inputs, 'picture': inputs['picture'].clone()}
    cut['picture'][:, 3, :, :SIZE // 2] = 0.0
    cut['depth'] = torch.where(cut['picture'][:, 3] > 0.5, inputs['depth'], 3.0)
    assert evidence_of(cut, volume, torch.zeros(1, 1, 3))[8, 0] < fitting - 0.3


@pytest.mark.parametrize('case', ['no readings', 'no volume'])
def test_without_evidence_there_is_none(case):
    inputs, volume = ball()
    if case == 'no readings':
        inputs['depth'] = torch.zeros_like(inputs['depth'])
    else:
        volume = replace(volume, density=torch.full_like(volume.density, -5.0))
    points = torch.from_numpy(np.random.default_rng(0).uniform(-0.8, 0.8, (1, 50, 3))).float()
    assert not evidence_of(inputs, volume, points).any()


def test_it_is_written_and_read(surface, tmp_path):
    network = DepthSurfaceNet.from_surface(surface)
    write_depth_surface(tmp_path / 'depth_surface', network)
    again = read_depth_surface(tmp_path / 'depth_surface')
    assert again.config == network.config
    for name, value in network.state_dict().items():
        assert torch.allclose(again.state_dict()[name], value, atol=2e-3), name


def test_its_box_is_in_the_cube_of_the_networks():
    inputs, volume = ball()
    box = object_box(volume.density)
    corner = torch.full((1, 3), 0.5 * EXTENT)
    assert torch.allclose(
        box.to_canonical(corner)[0, 0], box.centre[0] + 0.5 * box.side[0], atol=1e-6)
