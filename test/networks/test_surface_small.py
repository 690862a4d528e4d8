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

"""The parts of the small surface stage: network, field, refinement, carving, colour."""

from __future__ import annotations

from dataclasses import replace
import weakref

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import marching_cubes
import torch
from torch import nn
from torch.nn import functional
import trimesh

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.occupancy_grid import OccupancyGrid
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.carving import constrain_to_reference
from lift3d_ros.meshing.isosurface import extract_surface
from lift3d_ros.meshing.isosurface import sample_refined
from lift3d_ros.meshing.rasterizer import visible_points
from lift3d_ros.networks.small.coarse_inputs import EXTENT
from lift3d_ros.networks.small.surface_network import Box
from lift3d_ros.networks.small.surface_network import object_box
from lift3d_ros.networks.small.surface_network import posed_sources
from lift3d_ros.networks.small.surface_network import read_surface
from lift3d_ros.networks.small.surface_network import Sources
from lift3d_ros.networks.small.surface_network import SurfaceConfig
from lift3d_ros.networks.small.surface_network import SurfaceNet
from lift3d_ros.networks.small.surface_network import write_surface
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import project_to_grid
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.support import find_support
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

pytestmark = pytest.mark.usefixtures('one_thread')

CONFIG = SurfaceConfig(grid=8, pixels=4, widths=(16, 32), features=3)
VOXELS = 16
RADIUS = 1.7


@pytest.fixture
def network():
    """Return a network whose heads say something, as after training."""
    torch.manual_seed(0)
    net = SurfaceNet(CONFIG).eval().requires_grad_(False)
    for head in (net.logit, net.color):
        nn.init.normal_(head.weight, std=0.2)
    return net


def random_volume(seed: int = 0) -> CoarseVolume:
    draw = torch.Generator().manual_seed(seed)
    fields = [
        torch.randn((1, channels, *3 * (VOXELS,)), generator=draw) for channels in (1, 3, 3)
    ]
    return CoarseVolume(*fields, torch.tensor(10.0))


def whole() -> Box:
    return Box(torch.zeros(1, 3), torch.tensor([EXTENT]))


def random_views(count: int, seed: int = 1) -> Sources:
    draw = torch.Generator().manual_seed(seed)
    poses = np.stack([
        orbit_pose(360.0 * index / count, 20.0 + index, RADIUS) for index in range(count)
    ])
    return posed_sources(
        torch.rand((1, count, 4, 32, 32), generator=draw), torch.from_numpy(poses[None]).float()
    )


FLAGS = torch.tensor([[1.0, 1.0]])


class TestBox:
    def test_it_holds_all_that_is_solid_and_little_else(self):
        logit = torch.full((1, 1, 64, 64, 64), -5.0)
        logit[0, 0, 20:44, 30:50, 10:40] = 3.0
        box = object_box(logit)
        voxel = EXTENT / 64
        corners = (torch.tensor([[20.0, 30, 10], [44, 50, 40]]) - 32.0) * voxel
        inside = box.from_canonical(corners[None])[0].abs()
        assert (inside < 0.5 * EXTENT).all()
        # Its side is that of the longest extent and a margin.
        assert 30 * voxel < float(box.side) < 1.3 * 30 * voxel
        torch.testing.assert_close(box.centre[0], corners.mean(dim=0))

    def test_a_thing_that_is_small_gets_a_box_that_is_not(self):
        logit = torch.full((1, 1, 64, 64, 64), -5.0)
        logit[0, 0, 32, 32, 32] = 3.0
        assert float(object_box(logit).side) >= 0.5

    def test_it_is_the_whole_cube_where_nothing_is_solid(self):
        box = object_box(torch.full((2, 1, 8, 8, 8), -9.0))
        torch.testing.assert_close(box.side, torch.full((2,), EXTENT))
        torch.testing.assert_close(box.centre, torch.zeros(2, 3))

    def test_inside_undoes_places(self):
        box = Box(torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.4, 0.0]]), torch.tensor([0.7, 1.2]))
        unit = (torch.rand(50, 3) - 0.5) * EXTENT
        places = box.to_canonical(unit)
        torch.testing.assert_close(box.from_canonical(places), unit.expand(2, -1, 3))
        assert (places[0] - box.centre[0]).abs().max() <= 0.35 + 1e-6


class TestNetwork:
    def test_untrained_it_is_the_coarse_volume(self):
        volume = random_volume()
        field = SurfaceNet(CONFIG)(volume, whole(), random_views(1), random_views(3), FLAGS)
        torch.testing.assert_close(field.logit, volume.density)
        torch.testing.assert_close(field.color, volume.color)

    def test_untrained_it_is_the_coarse_volume_within_the_box(self):
        # A field that rises along a line is the same line when it is sampled more finely.
        axis = (torch.arange(VOXELS) + 0.5) / VOXELS * EXTENT - 0.5 * EXTENT
        x, y, z = torch.meshgrid(axis, axis, axis, indexing='ij')
        volume = replace(random_volume(), density=(2.0 * x - y + 0.5 * z)[None, None])
        box = Box(torch.tensor([[0.1, 0.05, -0.1]]), torch.tensor([0.8]))
        field = SurfaceNet(CONFIG)(volume, box, random_views(1), None, FLAGS)
        n = field.logit.shape[-1]
        own = ((torch.arange(n) + 0.5) / n - 0.5) * 0.8
        x, y, z = torch.meshgrid(own + 0.1, own + 0.05, own - 0.1, indexing='ij')
        torch.testing.assert_close(field.logit[0, 0], 2.0 * x - y + 0.5 * z, atol=1e-5, rtol=1e-4)

    def test_views_add_up_to_their_mean_and_variance(self, network):
        views = random_views(5)
        # One camera is so near that a part of the places lies beyond its picture.
        views.poses[0, 2, :3, 3] *= 0.6
        places = (torch.rand(1, 200, 3) - 0.5) * 0.6 * EXTENT
        found = network.cost_volume(views, places)
        features, valid = [], []
        for index in range(5):
            grid, _ = project_to_grid(
                places, views.focal[:, index], views.centre[:, index], views.poses[:, index], 32
            )
            picture = network.encoder(2.0 * views.pictures[:, index] - 1.0)
            seen = functional.grid_sample(picture, grid[:, None], align_corners=False)
            features.append(seen[0, :, 0])
            valid.append((grid[0].abs() <= 1.0).all(dim=-1))
        features, valid = torch.stack(features), torch.stack(valid)
        assert not valid.all() and valid.any(dim=0).all()
        for place in range(200):
            seen = features[valid[:, place], :, place]
            torch.testing.assert_close(found[0, :4, place], seen.mean(dim=0), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(
                found[0, 4:8, place], seen.var(dim=0, correction=0), atol=1e-5, rtol=1e-4
            )
        torch.testing.assert_close(found[0, 8], valid.float().mean(dim=0))

    def test_memory_does_not_grow_with_the_views(self, network):
        alive, most = [], 0

        def watch(module, inputs, output):
            nonlocal most
            assert len(inputs[0]) == 1
            alive.append(weakref.ref(output))
            most = max(most, sum(one() is not None for one in alive))

        network.encoder.register_forward_hook(watch)
        network(random_volume(), whole(), random_views(1), random_views(12), FLAGS)
        assert len(alive) == 13
        assert most <= 2

    def test_as_many_equal_views_say_what_one_says(self, network):
        views = random_views(1)
        many = Sources(
            views.pictures.expand(-1, 32, -1, -1, -1), views.focal.expand(-1, 32, -1),
            views.centre.expand(-1, 32, -1), views.poses.expand(-1, 32, -1, -1),
        )
        one = network(random_volume(), whole(), views, views, FLAGS)
        other = network(random_volume(), whole(), many, many, FLAGS)
        torch.testing.assert_close(one.logit, other.logit, atol=1e-3, rtol=1e-3)

    @pytest.mark.parametrize('count', [1, 32])
    def test_any_number_of_views_counts(self, network, count):
        volume, seen = random_volume(), random_views(1)
        without = network(volume, whole(), seen, None, FLAGS)
        field = network(volume, whole(), seen, random_views(count), FLAGS)
        other = network(volume, whole(), seen, random_views(count, seed=5), FLAGS)
        assert field.logit.shape == (1, 1, 16, 16, 16) and field.color.shape == (1, 3, 16, 16, 16)
        assert torch.isfinite(field.logit).all()
        assert (field.logit - without.logit).abs().max() > 1e-3
        assert (field.logit - other.logit).abs().max() > 1e-3

    def test_depth_of_zeros_is_no_depth(self, network):
        seen = random_views(2)
        zeros = replace(seen, depths=torch.zeros(1, 2, 32, 32))
        some = replace(seen, depths=torch.full((1, 2, 32, 32), RADIUS))
        volume = random_volume()
        without = network(volume, whole(), seen, None, FLAGS).logit
        torch.testing.assert_close(
            network(volume, whole(), zeros, None, FLAGS).logit, without
        )
        assert (network(volume, whole(), some, None, FLAGS).logit - without).abs().max() > 1e-3

    def test_a_further_view_without_depth_leaves_the_depth_of_the_first(self, network):
        seen = random_views(2)
        depths = torch.zeros(1, 2, 32, 32)
        depths[:, 0] = RADIUS
        volume = random_volume()
        both = network(volume, whole(), replace(seen, depths=depths), None, FLAGS).logit
        none = network(volume, whole(), seen, None, FLAGS).logit
        assert torch.isfinite(both).all()
        assert (both - none).abs().max() > 1e-3

    def test_it_comes_back_from_its_folder(self, network, tmp_path):
        write_surface(tmp_path, network)
        again = read_surface(tmp_path)
        assert again.config == CONFIG
        arguments = (random_volume(), whole(), random_views(1), random_views(2), FLAGS)
        torch.testing.assert_close(
            again(*arguments).logit, network(*arguments).logit, atol=0.05, rtol=0.01
        )
        assert (tmp_path / 'model.safetensors').stat().st_size < 2.5 * sum(
            p.numel() for p in network.parameters()
        )

    def test_a_folder_that_is_not_whole_is_refused(self, network, tmp_path):
        def code():
            with pytest.raises(LiftError) as caught:
                read_surface(tmp_path / 'net')
            return caught.value.code

        assert code() == ErrorCode.WEIGHTS_MISSING
        write_surface(tmp_path / 'net', network)
        model, config = (tmp_path / 'net' / name for name in ('model.safetensors', 'config.json'))
        content, settings = model.read_bytes(), config.read_text()
        model.write_bytes(content[: len(content) // 2])
        assert code() == ErrorCode.WEIGHTS_CORRUPT
        model.unlink()
        assert code() == ErrorCode.WEIGHTS_MISSING
        model.write_bytes(content)
        config.write_text('{"speed": 3}')
        assert code() == ErrorCode.WEIGHTS_CORRUPT
        config.write_text(settings.replace('"pixels": 4', '"pixels": 5'))
        assert code() == ErrorCode.WEIGHTS_CORRUPT


class TestField:
    CENTRE = np.array([0.1, -0.2, 0.05])
    SIDE = 0.8

    def field(self, of):
        n = 32
        axis = ((np.arange(n) + 0.5) / n - 0.5) * self.SIDE
        places = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), -1) + self.CENTRE
        probability = of(places).astype(np.float32)
        color = np.stack([places[..., 0] + 0.4, places[..., 1] + 0.7, places[..., 2] + 0.5])
        return OccupancyGrid.of_cube(probability, color.astype(np.float32), self.CENTRE, self.SIDE)

    def test_probability_and_colour_at_places_between_voxels(self):
        field = self.field(lambda p: 0.5 + 0.3 * p[..., 0] - 0.2 * p[..., 1] + 0.1 * p[..., 2])
        points = self.CENTRE + np.random.default_rng(0).uniform(-0.38, 0.38, (300, 3))
        expected = 0.5 + points @ np.array([0.3, -0.2, 0.1])
        np.testing.assert_allclose(field.occupancy(points), expected, atol=1e-5)
        colors = 255.0 * (points + np.array([0.4, 0.7, 0.5]))
        assert np.abs(field.colors(points) - colors).max() <= 0.51

    def test_beyond_the_cube_nothing_is_solid(self):
        field = self.field(lambda p: np.ones(p.shape[:-1]))
        far = self.CENTRE + np.array([[0.5, 0.0, 0.0], [0.0, -3.0, 0.0]])
        np.testing.assert_array_equal(field.occupancy(far), 0.0)

    def test_bounds_hold_all_voxels_over_the_level(self):
        field = self.field(
            lambda p: np.exp(-np.linalg.norm((p - self.CENTRE) / [0.3, 0.2, 0.1], axis=-1))
        )
        low, high = field.bounds(0.5)
        half = np.log(2.0) * np.array([0.3, 0.2, 0.1])
        np.testing.assert_allclose(low, self.CENTRE - half, atol=field.voxel)
        np.testing.assert_allclose(high, self.CENTRE + half, atol=field.voxel)
        assert field.bounds(1.1) is None


def sphere(p):
    return 0.31 - np.linalg.norm(p - 0.02, axis=-1)


def sheet(p):
    # Thinner than a voxel of the fine grid, and oblique.
    normal = np.array([0.6, 0.48, 0.64])
    across = np.abs((p - 0.013) @ normal)
    return np.minimum(0.004 - across, 0.35 - np.linalg.norm(p, axis=-1))


def torus(p):
    ring = np.hypot(p[..., 0], p[..., 1]) - 0.28
    return 0.09 - np.hypot(ring, p[..., 2] + 0.01)


@pytest.mark.parametrize('solid', [sphere, sheet, torus], ids=['sphere', 'sheet', 'torus'])
def test_refined_sampling_gives_the_surface_of_dense_sampling_with_fewer_questions(solid):
    low, high, voxel = np.full(3, -0.5), np.full(3, 0.5), 0.01
    asked = 0

    def evaluate(points):
        nonlocal asked
        asked += len(points)
        return solid(points).astype(np.float32)

    field = sample_refined(evaluate, low, high, voxel)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in field.shape), indexing='ij'), -1)
    dense = solid(low + voxel * index).astype(np.float32)
    np.testing.assert_array_equal(field > 0.0, dense > 0.0)
    for axis in range(3):
        here, there = (
            np.take(dense, range(*span), axis=axis)
            for span in ((0, dense.shape[axis] - 1), (1, dense.shape[axis]))
        )
        crossed = np.argwhere((here > 0.0) != (there > 0.0))
        assert len(crossed) > 100
        step = np.eye(3, dtype=int)[axis]
        for ends in (crossed, crossed + step):
            at = tuple(ends.T)
            error = np.abs(field[at] - np.clip(dense[at], -3.0 * voxel, 3.0 * voxel))
            # Few places at the rim of a sheet are interpolated.
            assert np.quantile(error, 0.999) < 1e-6
    moved = np.abs(marching_cubes(field, 0.0)[0] - marching_cubes(dense, 0.0)[0]).max(axis=1)
    assert moved.max() < 0.5 and np.quantile(moved, 0.999) < 1e-3
    assert asked < 0.35 * dense.size


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('max_faces', [200, 1500])
def test_a_ragged_solid_stays_one_closed_piece_when_it_is_simplified(seed, max_faces):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((40, 40, 40)), 1.5)
    ball = 14.0 - np.linalg.norm(np.indices((40, 40, 40)).transpose(1, 2, 3, 0) - 19.5, axis=-1)
    field = (noise / noise.std() + 0.1 * ball).astype(np.float32)
    vertices, faces = extract_surface(field, np.zeros(3), 1.0, max_faces)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight and mesh.volume > 0.0 and len(faces) <= max_faces
    assert len(mesh.split(only_watertight=False)) == 1
    assert len(np.unique(faces)) == len(vertices)


@pytest.fixture(scope='module')
def seen():
    """Return the observation of a can on a table, and its support plane."""
    mesh = trimesh.creation.cylinder(radius=0.035, height=0.12, sections=48)
    can = Mesh(
        np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32),
        np.full((len(mesh.vertices), 3), 128, np.uint8),
    )
    scene = make_scene(can, 3, TableSettings(window=2.0, table_cells=20))
    observation = observe(crop_object(scene.frame, scene.mask))
    support = find_support(observation, scene.frame.gravity, np.random.default_rng(0))
    assert support.offset is not None
    return observation, support


@pytest.fixture(scope='module')
def around(seen):
    """Return places in and around the object, optical frame."""
    points = seen[0].points()
    low, high = points.min(axis=0) - 0.05, points.max(axis=0) + 0.05
    return np.random.default_rng(1).uniform(low, high, (20_000, 3))


class TestCarving:
    THICKNESS_M = 0.008

    @pytest.mark.parametrize('guess', [-1.0, 0.01, 10.0])
    def test_the_guess_never_exceeds_what_the_view_allows(self, seen, around, guess):
        observation, support = seen
        values = np.full(len(around), guess, np.float32)
        found = constrain_to_reference(observation, support, around, values, self.THICKNESS_M)
        own = observation.occupancy_bound(around)
        assert (found <= own + 1e-6).all()
        assert (found[own < 0.0] < 0.0).all()

    def test_the_measured_surface_stands_though_nothing_is_believed(self, seen):
        observation, support = seen
        points = observation.points()
        rays = points / points[:, 2:]
        nothing = np.full(len(points), -1.0, np.float32)
        just = points + 0.3 * self.THICKNESS_M * rays
        deep = points + 1.5 * self.THICKNESS_M * rays
        inner = observation.occupancy_bound(just) > 1e-4
        assert inner.mean() > 0.8
        found = constrain_to_reference(observation, support, just, nothing, self.THICKNESS_M)
        assert (found[inner] > 0.0).all()
        found = constrain_to_reference(observation, support, deep, nothing, self.THICKNESS_M)
        assert (found < 0.0).mean() > 0.95

    def test_nothing_but_the_measured_surface_lies_below_the_support(self, seen, around):
        observation, support = seen
        full = np.full(len(around), 10.0, np.float32)
        found = constrain_to_reference(observation, support, around, full, self.THICKNESS_M)
        behind, _ = observation.thickness_at(around)
        below = (support.height(around) < -1e-3) & (behind > self.THICKNESS_M)
        assert below.any()
        assert (found[below] < 0.0).all()

    def test_a_view_without_depth_is_cut_by_its_outline_alone(self, seen, around):
        observation, support = seen
        blind = replace(observation, depth=None)
        full = np.full(len(around), 10.0, np.float32)
        found = constrain_to_reference(
            blind, replace(support, offset=None), around, full, self.THICKNESS_M
        )
        np.testing.assert_allclose(found, np.minimum(blind.occupancy_bound(around), 10.0))


def sheet_of(z, half, spacing=0.01):
    axis = np.arange(-half, half + 1e-9, spacing)
    x, y = np.meshgrid(axis, axis)
    return np.stack([x, y, np.full_like(x, z)], axis=-1).reshape(-1, 3).astype(np.float32)


def test_of_two_parallel_sheets_only_the_front_one_is_in_front():
    size = 240
    camera = Camera(size, size, 300.0, 300.0, 119.5, 119.5)
    front, back = sheet_of(1.0, 0.2), sheet_of(1.3, 0.25)
    found = visible_points(camera, np.concatenate([front, back]), 4.5, 0.01)
    assert found[: len(front)].all()
    assert not found[len(front):].any()
    # What stands out beside the front sheet is seen.
    wide = sheet_of(1.3, 0.5)
    shown = np.abs(wide[:, :2]).max(axis=1) > 0.2 * 1.3 + 0.06
    found = visible_points(camera, np.concatenate([front, wide]), 4.5, 0.01)[len(front):]
    assert found[shown].all()
    covered = np.abs(wide[:, :2]).max(axis=1) < 0.2 * 1.3
    assert not found[covered].any()
