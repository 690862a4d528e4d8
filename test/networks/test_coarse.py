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

"""The canonical frame, the coarse volume and its rendering, and what guides the denoiser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lift3d_ros.diffusion.render_conditioning import conditioning_channels
from lift3d_ros.diffusion.render_conditioning import render_conditioning
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.networks.small.coarse import CoarseConfig
from lift3d_ros.networks.small.coarse import CoarseNet
from lift3d_ros.networks.small.coarse_inputs import coarse_inputs
from lift3d_ros.networks.small.coarse_inputs import EXTENT
from lift3d_ros.networks.small.coarse_inputs import voxel_centres
from lift3d_ros.networks.small.layers import channels_to_space
from lift3d_ros.networks.small.layers import space_to_channels
from lift3d_ros.networks.small.volume import camera_rays
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import render
from lift3d_ros.networks.small.volume import voxel_grid
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.training.coarse import CoarseTask
from lift3d_ros.training.coarse import dice
from lift3d_ros.training.coarse import extent_loss
from lift3d_ros.training.coarse import overlap
from lift3d_ros.training.denoiser import pose_vectors
from lift3d_ros.training.pool import Pool
from lift3d_ros.training.samples import make_sample
from lift3d_ros.training.samples import SampleSettings

pytestmark = pytest.mark.usefixtures('one_thread')

BALL = 0.4


@pytest.fixture(scope='module')
def scene():
    mesh = procedural_object(4, 'mug')
    return make_scene(mesh, 3, TableSettings(window=1.5, table_cells=8))


def ball(color=(0.9, 0.1, 0.1)) -> CoarseVolume:
    """Return a ball in the middle of a volume."""
    places = voxel_grid(64, torch.device('cpu'))
    density = 400.0 * (BALL - places.norm(dim=-1))
    rgb = torch.logit(torch.tensor(color)).view(3, 1, 1, 1).expand(3, 64, 64, 64)
    return CoarseVolume(
        density[None, None], rgb[None], torch.ones(1, 5, 32, 32, 32), torch.tensor([5.0, 2.0])
    )


# --- the canonical frame ---


def test_with_gravity_the_canonical_frame_is_level_and_faces_the_camera(scene):
    view = crop_object(scene.frame, scene.mask)
    canonical = canonical_frame(view, -80.0)
    assert canonical.metric
    assert np.allclose(canonical.T_camera_object[:3, 2], -scene.frame.gravity, atol=1e-6)
    eye = canonical.input_pose[:3, 3]
    assert abs(eye[1]) < 1e-6 and eye[0] > 0.0
    assert canonical.elevation == pytest.approx(view.elevation())
    assert np.degrees(np.arcsin(eye[2] / canonical.radius)) == pytest.approx(
        canonical.elevation, abs=0.1
    )


def test_with_depth_the_canonical_frame_holds_the_object(scene):
    canonical = canonical_frame(crop_object(scene.frame, scene.mask), 0.0)
    inverse = np.linalg.inv(canonical.camera_from_canonical)
    vertices = transform(inverse, scene.mesh_in_camera().vertices)
    middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    assert np.linalg.norm(middle) < 0.35
    assert 0.5 < np.ptp(vertices, axis=0).max() < 1.6


def test_without_depth_the_unit_is_the_canonical_length(scene):
    frame = replace(scene.frame, depth=None)
    canonical = canonical_frame(crop_object(frame, scene.mask), 0.0)
    assert not canonical.metric and canonical.scale == 1.0
    # At that distance the longer side of the box is one unit long.
    view = crop_object(frame, scene.mask)
    rows, columns = np.nonzero(scene.mask)
    side = 1 + max(np.ptp(rows), np.ptp(columns))
    depth = canonical.T_camera_object[2, 3]
    assert side / frame.camera.fx * depth == pytest.approx(1.0, rel=0.02)
    assert view.frame.depth is None


def test_too_few_readings_measure_no_distance(scene):
    depth = np.zeros_like(scene.frame.depth)
    rows, columns = np.nonzero(scene.mask)
    depth[rows[:5], columns[:5]] = 0.7
    canonical = canonical_frame(crop_object(replace(scene.frame, depth=depth), scene.mask), 0.0)
    assert not canonical.metric


def test_without_gravity_the_given_elevation_tilts_the_frame(scene):
    frame = replace(scene.frame, gravity=None)
    for elevation in (-20.0, 0.0, 35.0, 80.0):
        canonical = canonical_frame(crop_object(frame, scene.mask), elevation)
        eye = canonical.input_pose[:3, 3]
        found = np.degrees(np.arcsin(eye[2] / np.linalg.norm(eye)))
        assert found == pytest.approx(elevation, abs=1e-4)


# --- the grid ---


def test_space_and_channels_undo_each_other():
    x = torch.randn(2, 3, 8, 8, 8)
    assert torch.equal(channels_to_space(space_to_channels(x)), x)
    # A block's eight places become the channels of one place.
    marked = torch.zeros(1, 1, 4, 4, 4)
    marked[0, 0, 2:, :2, 2:] = 1.0
    assert space_to_channels(marked)[0, :, 1, 0, 1].eq(1.0).all()
    assert space_to_channels(marked).sum() == 8.0


def test_networks_and_samples_mean_the_same_places():
    assert np.allclose(voxel_grid(16, torch.device('cpu')).numpy(), voxel_centres(16), atol=1e-6)
    assert np.abs(voxel_centres(16)).max() == pytest.approx(EXTENT / 2.0 * (1.0 - 1.0 / 16.0))


# --- rendering ---


@pytest.mark.parametrize('azimuth, elevation', [(0.0, 0.0), (75.0, 40.0), (-160.0, -30.0)])
def test_a_ball_is_seen_as_a_ball_from_everywhere(azimuth, elevation):
    pose = torch.from_numpy(orbit_pose(azimuth, elevation, 1.7)).float()
    rays = camera_rays(64, ZERO123_FOV, torch.device('cpu'))
    seen = render(ball(), pose[None, None], rays, 96)
    # A ray hits a ball if it passes the centre nearer than the radius.
    direction = rays / rays.norm(dim=1, keepdim=True)
    truth = 1.7 * (1.0 - direction[:, 2] ** 2).sqrt() < BALL
    mask = seen.alpha[0, 0, 0] > 0.5
    assert overlap(mask[None], truth[None])[0] > 0.96
    middle = 32 * 64 + 32
    assert seen.depth[0, 0, 0, middle] == pytest.approx(1.7 - BALL, abs=0.03)
    assert seen.color[0, 0, :, middle].numpy() == pytest.approx([0.9, 0.1, 0.1], abs=0.02)
    assert seen.color[0, 0, :, 0].numpy() == pytest.approx([1.0, 1.0, 1.0], abs=1e-4)
    assert seen.depth[0, 0, 0, 0] == 0.0


def test_axes_of_volume_and_camera_agree():
    places = voxel_grid(64, torch.device('cpu'))
    # A small ball up and to the right of a camera at azimuth 0, which looks along -x: at +y, +z.
    density = 400.0 * (0.15 - (places - torch.tensor([0.0, 0.4, 0.3])).norm(dim=-1))
    volume = replace(ball(), density=density[None, None])
    pose = torch.from_numpy(orbit_pose(0.0, 0.0, 1.7)).float()
    rays = camera_rays(64, ZERO123_FOV, torch.device('cpu'))
    alpha = render(volume, pose[None, None], rays, 96).alpha.reshape(64, 64)
    rows, columns = torch.nonzero(alpha > 0.5, as_tuple=True)
    assert columns.float().mean() > 40.0 and rows.float().mean() < 24.0


@pytest.mark.parametrize('turn', [0.0, 0.5, 1.1])
def test_the_longest_side_does_not_ask_how_the_object_is_turned(turn):
    places = voxel_grid(64, torch.device('cpu'))
    c, s = np.cos(turn), np.sin(turn)
    along = c * places[..., 0] + s * places[..., 1]
    across = c * places[..., 1] - s * places[..., 0]

    def density(length, height):
        return 20.0 * torch.minimum(
            torch.minimum(0.5 * length - along.abs(), 0.1 - across.abs()),
            0.5 * height - places[..., 2].abs(),
        )

    # One that lies, one that stands, and none.
    densities = torch.stack([density(0.6, 0.4), density(0.3, 0.9), -torch.ones_like(along)])
    volume = CoarseVolume(
        densities[:, None],
        torch.zeros(3, 3, 64, 64, 64),
        torch.ones(3, 5, 32, 32, 32),
        torch.tensor([5.0, 2.0]),
    )
    voxel = EXTENT / 64
    assert volume.longest_sides() == pytest.approx([0.6, 0.9, 0.0], abs=1.5 * voxel)
    assert volume.longest_sides()[2] == 0.0


def test_a_camera_beside_the_volume_sees_nothing():
    pose = torch.from_numpy(orbit_pose(0.0, 0.0, 1.7)).float()
    pose[:3, 3] += torch.tensor([0.0, 9.0, 0.0])
    rays = camera_rays(16, ZERO123_FOV, torch.device('cpu'))
    seen = render(ball(), pose[None, None], rays, 16)
    assert seen.alpha.max() == 0.0 and seen.color.min() == 1.0


# --- the rendered conditioning ---


def test_the_guide_brings_the_colours_of_the_input_to_where_they_are_seen():
    pose = torch.from_numpy(orbit_pose(0.0, 20.0, 1.7)).float()[None]
    focal = torch.full((1, 2), 64.0 / np.tan(np.radians(ZERO123_FOV / 2.0))).float()
    centre = torch.full((1, 2), 63.5)
    # A picture whose left half is green and whose right half is blue.
    picture = torch.zeros(1, 4, 128, 128)
    picture[:, 1, :, :64] = 1.0
    picture[:, 2, :, 64:] = 1.0
    picture[:, 3] = 1.0
    around = torch.from_numpy(
        np.stack([orbit_pose(a, 20.0, 1.7) for a in (0.0, 20.0, 180.0)])
    ).float()[None]
    channels, _ = render_conditioning(ball(), picture, focal, centre, pose, around)
    assert channels.shape == (1, 3, conditioning_channels(5), 32, 32)
    warped = torch.nn.functional.pixel_shuffle(channels[0, :, :64], 4)
    same, turned, behind = warped
    # From the input's own camera the picture comes back on the ball.
    assert same[:, 64, 40].numpy() == pytest.approx([-1.0, 1.0, -1.0, 1.0], abs=0.05)
    assert same[:, 64, 88].numpy() == pytest.approx([-1.0, -1.0, 1.0, 1.0], abs=0.05)
    # A camera further to the right sees the border of the colours further left.
    border = [(w[1, 64] > w[2, 64]).nonzero().max() for w in (same, turned)]
    assert border[1] < border[0] - 4
    # What the input cannot see has no colour from it.
    assert behind[3, 50:78, 50:78].max() == 0.0 and behind[:3, 50:78, 50:78].abs().max() == 0.0


def test_pose_vectors_follow_the_published_signs():
    own = torch.from_numpy(orbit_pose(0.0, 30.0, 4.0)).float()[None]
    same = torch.from_numpy(orbit_pose(0.0, 30.0, 1.7)).float()[None, None]
    higher = torch.from_numpy(orbit_pose(90.0, 40.0, 1.7)).float()[None, None]
    assert pose_vectors(own, same)[0, 0].numpy() == pytest.approx([0, 0, 1, 0], abs=1e-5)
    assert pose_vectors(own, higher)[0, 0].numpy() == pytest.approx(
        [-np.radians(10.0), 1.0, 0.0, 0.0], abs=1e-5
    )


# --- samples and learning ---


@pytest.fixture(scope='module')
def sample():
    return make_sample(11, [], SampleSettings(noisy_masks=0.0, occluded=0.0, depth=1.0))


def test_a_sample_is_a_function_of_its_number(sample):
    settings = SampleSettings(noisy_masks=0.0, occluded=0.0, depth=1.0)
    again, other = make_sample(11, [], settings), make_sample(12, [], settings)
    assert np.array_equal(again.picture, sample.picture)
    assert np.array_equal(again.solid, sample.solid)
    assert not np.array_equal(other.picture, sample.picture)


def test_the_solid_and_the_targets_of_a_sample_show_one_object(sample):
    density = torch.from_numpy(np.where(sample.solid, 20.0, -20.0)).float()
    volume = CoarseVolume(
        density[None, None], torch.zeros(1, 3, 64, 64, 64), torch.zeros(1, 1, 8, 8, 8),
        torch.tensor([6.0, 1.0]),
    )
    poses = torch.from_numpy(sample.target_poses)[None]
    rays = camera_rays(64, ZERO123_FOV, torch.device('cpu'))
    alpha = render(volume, poses, rays, 96).alpha.reshape(-1, 64, 64) > 0.5
    truth = torch.from_numpy(sample.targets[:, ::2, ::2, 3] > 127)
    assert overlap(alpha, truth).min() > 0.85
    # And the input's camera sees it where the picture has it.
    u, v = np.meshgrid(np.arange(128), np.arange(128))
    rays = np.stack([
        (u - sample.centre[0]) / sample.focal[0], (v - sample.centre[1]) / sample.focal[1],
        np.ones_like(u, np.float64),
    ], axis=-1).reshape(-1, 3)
    own = torch.from_numpy(sample.pose)[None, None]
    alpha = render(volume, own, torch.from_numpy(rays).float(), 96).alpha.reshape(1, 128, 128)
    mask = torch.from_numpy(sample.picture[None, ..., 3] > 127)
    assert overlap(alpha > 0.5, mask)[0] > 0.85


def test_the_depth_of_a_sample_lies_on_its_solid(sample):
    shown = (sample.picture[..., 3] > 250) & (sample.depth > 0)
    v, u = np.nonzero(shown)
    z = sample.depth[v, u].astype(np.float64)
    local = np.stack([
        (u - sample.centre[0]) / sample.focal[0] * z,
        (v - sample.centre[1]) / sample.focal[1] * z, z,
    ], axis=-1)
    points = transform(sample.pose, local * 1.0)
    points += 0.05 * (points - transform(sample.pose, np.zeros(3))) / z[:, None]
    index = np.floor((points / EXTENT + 0.5) * 64).astype(int)
    inside = ((index >= 0) & (index < 64)).all(axis=1)
    # A little behind the surface that is seen it is solid, but for thin walls.
    assert sample.solid[tuple(index[inside].T)].mean() > 0.6


def test_a_pool_keeps_samples_and_fills_only_what_is_missing(tmp_path, sample):
    pool = Pool(tmp_path / 'pool')
    with pytest.raises(ValueError, match='no samples'):
        next(pool.batches(1, np.random.default_rng(0)))
    pool.add(0, sample)
    pool.fill(range(1), [], SampleSettings())
    assert pool.refresh() == 1
    read = pool.read(0)
    assert np.array_equal(read['solid'].astype(bool), sample.solid)
    assert np.array_equal(read['targets'], sample.targets)
    batch = next(pool.batches(2, np.random.default_rng(0)))
    assert batch['picture'].shape == (2, 128, 128, 4)


def test_samples_of_another_version_are_refused_with_what_to_do(tmp_path, sample):
    pool = Pool(tmp_path)
    pool.add(0, sample)
    path = next(tmp_path.glob('sample_*.npz'))
    with np.load(path) as pack:
        arrays = {name: pack[name] for name in pack.files if name != 'sides'}
    np.savez(path, **arrays, length=np.float32(1.0))
    pool.refresh()
    with pytest.raises(LiftError, match='differ in length, sides; move .* away') as refused:
        pool.read(0)
    assert refused.value.code is ErrorCode.BAD_REQUEST


def test_the_coarse_network_learns_one_sample(tmp_path, sample):
    pool = Pool(tmp_path)
    pool.add(0, sample)
    pool.refresh()
    arrays = pool.read(0)
    batch = {name: torch.from_numpy(value)[None] for name, value in arrays.items()}
    torch.manual_seed(0)
    network = CoarseNet(CoarseConfig(widths=(8, 16, 24), heads=2, layers=1, pixels=8))
    task = CoarseTask([arrays])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    history = []
    for step in range(40):
        terms = task.losses(network, batch, step)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert history[-1] < 0.6 * history[0]
    network.eval()
    with torch.no_grad():
        scores = task.evaluate(network)
    assert scores['iou_depth'] > 0.3


def test_depth_and_mask_reach_the_network(scene):
    view = crop_object(scene.frame, scene.mask)
    canonical = canonical_frame(view, 0.0)
    seen = coarse_inputs(view, canonical, True)
    blind = crop_object(replace(scene.frame, depth=None), scene.mask)
    unseen = coarse_inputs(blind, canonical_frame(blind, 0.0), True)
    assert seen.flags.tolist() == [1.0, 1.0] and unseen.flags.tolist() == [0.0, 1.0]
    assert unseen.depth.max() == 0.0
    on_object = seen.depth[seen.picture[..., 3] > 250]
    on_object = on_object[on_object > 0.0]
    # Readings lie around the origin's distance, in canonical units.
    assert np.abs(np.median(on_object) - canonical.radius) < 0.5


def test_scores_of_volumes_and_masks():
    a = torch.zeros(1, 4, 4, dtype=torch.bool)
    b = a.clone()
    a[0, :2], b[0, 1:3] = True, True
    assert overlap(a, b)[0] == pytest.approx(1.0 / 3.0)
    assert dice(a.float(), a.float())[0] == pytest.approx(1.0)


def test_what_does_not_reach_far_enough_costs_more_than_what_is_hollow():
    solid = torch.zeros(1, 16, 16, 16)
    solid[:, 4:12, 4:12, 2:14] = 1.0
    right = 8.0 * (2.0 * solid - 1.0)
    assert float(extent_loss(right, solid)) < 1e-3
    low, hollow = right.clone(), right.clone()
    low[..., 12:14] = -8.0
    hollow[:, 6:10, 6:10, 4:12] = -8.0
    assert float(extent_loss(low, solid)) > 0.3
    assert float(extent_loss(hollow, solid)) < 1e-3
