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

"""Distributions of the random cameras, their poses, and schedules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.cameras import nearby
from lift3d_ros.distill.cameras import NEURALLIFT360
from lift3d_ros.distill.cameras import pixel_rays
from lift3d_ros.distill.cameras import REALFUSION
from lift3d_ros.distill.cameras import THREESTUDIO_ZERO123
from lift3d_ros.distill.cameras import view_word
from lift3d_ros.distill.cameras import ZERO123_SJC
from lift3d_ros.distill.cameras import ZERONVS
from lift3d_ros.distill.schedules import anisotropic_step
from lift3d_ros.distill.schedules import neurallift_range
from lift3d_ros.distill.schedules import Schedule
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import transform

PUBLISHED = {
    'zero123': ZERO123_SJC, 'threestudio': THREESTUDIO_ZERO123, 'neurallift360': NEURALLIFT360,
    'realfusion': REALFUSION, 'zeronvs': ZERONVS,
}
N = 40_000


def draw(sampler, n=N, step=10_000, seed=0):
    return sampler.draw(n, step, torch.Generator().manual_seed(seed))


def assert_distribution(values, cumulative):
    """Kolmogorov-Smirnov: the largest deviation of the cumulative distribution, level 1e-6."""
    ordered = np.sort(np.asarray(values))
    ranks = (np.arange(len(ordered)) + 0.5) / len(ordered)
    assert np.abs(cumulative(ordered) - ranks).max() < 2.7 / len(ordered) ** 0.5


def uniform(low, high):
    return lambda x: np.clip((x - low) / (high - low), 0.0, 1.0)


def sphere(low=-90.0, high=90.0):
    """Return the cumulative distribution of elevations on the sphere, within bounds."""
    a, b = np.sin(np.radians([low, high]))
    return lambda x: np.clip((np.sin(np.radians(x)) - a) / (b - a), 0.0, 1.0)


@pytest.mark.parametrize('name', PUBLISHED)
def test_azimuths_are_uniform_around_the_object(name):
    sampler = replace(PUBLISHED[name], centre_jitter=0.0, near_input=0.0)
    assert_distribution(draw(sampler).azimuth, uniform(-180.0, 180.0))


@pytest.mark.parametrize('name', PUBLISHED)
def test_radii_and_lenses_are_uniform_within_the_published_ranges(name):
    sampler = replace(PUBLISHED[name], centre_jitter=0.0, near_input=0.0)
    cameras = draw(sampler)
    for values, (low, high) in ((cameras.radius, sampler.radius), (cameras.fov, sampler.fov)):
        if low < high:
            assert_distribution(values, uniform(low, high))
        else:
            np.testing.assert_allclose(values, low)


@pytest.mark.parametrize(('name', 'cumulative'), [
    ('threestudio', lambda x: 0.5 * uniform(-10, 80)(x) + 0.5 * sphere(-10, 80)(x)),
    ('neurallift360', lambda x: 0.5 * uniform(-10, 90)(x) + 0.5 * sphere(0, 90)(x)),
    ('realfusion', lambda x: 0.5 * uniform(-30, 90)(x) + 0.5 * sphere()(x)),
    ('zeronvs', uniform(5, 80)),
])
def test_elevations_have_the_published_distribution(name, cumulative):
    sampler = replace(PUBLISHED[name], centre_jitter=0.0, near_input=0.0)
    assert_distribution(draw(sampler).elevation, cumulative)


def test_heights_of_zero123_are_bounded_and_uniform():
    """On a sphere the height is uniform, here between -0.5 and the pole."""
    cameras = draw(replace(ZERO123_SJC, radius=(2.0, 2.0)))
    assert_distribution(cameras.poses[:, 2, 3], uniform(-0.5, 2.0))
    heights = draw(ZERO123_SJC).poses[:, 2, 3]
    assert -0.5 <= float(heights.min()) < -0.49
    assert 2.1 < float(heights.max()) <= 2.2


def test_a_share_of_the_cameras_is_near_the_input():
    sampler = CameraSampler(
        (1.5, 2.5), (40.0, 80.0), azimuth=(90.0, 180.0), near_input=0.25, start_elevation=10.0)
    cameras = draw(sampler)
    near = cameras.azimuth.abs() < 1e-6
    assert float(near.double().mean()) == pytest.approx(0.25, abs=0.01)
    for values, expected in ((cameras.elevation, 10.0), (cameras.radius, 1.5)):
        assert float((values[near] - expected).abs().max()) < 1e-6
    assert float(cameras.elevation[~near].min()) > 39.9


def test_jitter_is_that_of_the_camera_that_is_returned():
    cameras = draw(NEURALLIFT360, 200)
    x, y, z = cameras.poses[:, :3, 3].numpy().T
    np.testing.assert_allclose(cameras.azimuth, np.degrees(np.arctan2(y, x)), atol=1e-9)
    np.testing.assert_allclose(
        cameras.elevation, np.degrees(np.arctan2(z, np.hypot(x, y))), atol=1e-9)
    np.testing.assert_allclose(cameras.radius, cameras.poses[:, :3, 3].norm(dim=1))
    # They look near the origin, not at it.
    forward, eyes = cameras.poses[:, :3, 2], cameras.poses[:, :3, 3]
    miss = torch.linalg.cross(forward, -eyes).norm(dim=1)
    assert 0.05 < float(miss.mean()) < 0.3
    rotations = cameras.poses[:, :3, :3]
    torch.testing.assert_close(
        rotations @ rotations.mT, torch.eye(3, dtype=torch.float64).expand(200, 3, 3))


def test_poses_are_those_of_the_geometry_of_the_package():
    azimuths = torch.tensor([0.0, 37.0, -120.0, 0.0, 0.0])
    elevations = torch.tensor([0.0, 20.0, -45.0, 90.0, -90.0])
    cameras = Cameras.orbit(azimuths, elevations, torch.tensor(1.7), 49.1)
    for pose, azimuth, elevation in zip(cameras.poses, azimuths, elevations, strict=True):
        np.testing.assert_allclose(
            pose, orbit_pose(float(azimuth), float(elevation), 1.7), atol=1e-7)


def test_rays_are_those_of_the_pinhole_camera():
    cameras = draw(REALFUSION, 2)
    origins, directions = pixel_rays(cameras, 5)
    for index in range(2):
        camera = Camera.from_fov(5, 5, float(cameras.fov[index]))
        points = transform(cameras.poses[index], camera.rays())
        expected = points - cameras.poses[index, :3, 3].numpy()
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
        np.testing.assert_allclose(directions[index], expected, atol=1e-6)
        np.testing.assert_allclose(
            origins[index], np.broadcast_to(cameras.poses[index, :3, 3], (5, 5, 3)), atol=1e-6)


def test_stratified_azimuths_cover_each_part_once():
    azimuth = draw(THREESTUDIO_ZERO123, 8).azimuth
    assert sorted(((azimuth + 180.0) / 45.0).floor().tolist()) == list(range(8))


def test_ranges_widen_from_the_input_camera():
    start = draw(ZERONVS, step=0)
    assert float(start.azimuth.abs().max()) < 1e-9
    np.testing.assert_allclose(start.elevation, 31.0)
    middle = draw(ZERONVS, step=500)
    assert_distribution(middle.azimuth, uniform(-90.0, 90.0))
    assert_distribution(middle.elevation, uniform(18.0, 55.5))


def test_the_same_seed_gives_the_same_cameras():
    first, second, other = (draw(REALFUSION, 4, seed=seed).poses for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_scaled_cameras_are_at_scaled_distances():
    first, second = draw(NEURALLIFT360, 9), draw(NEURALLIFT360.scaled(4.0), 9)
    torch.testing.assert_close(second.poses[:, :3, 3], 4.0 * first.poses[:, :3, 3])
    torch.testing.assert_close(second.poses[:, :3, :3], first.poses[:, :3, :3])


def test_nearby_cameras_are_at_the_distance():
    cameras = draw(ZERO123_SJC, 100)
    others = nearby(cameras, 0.05, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(
        (others.poses - cameras.poses)[:, :3, 3].norm(dim=1), 0.05, atol=1e-9)


@pytest.mark.parametrize(('azimuth', 'elevation', 'word'), [
    (0, 0, 'front'), (-60, 0, 'front'), (61, 0, 'side'), (119, 30, 'side'), (121, 0, 'back'),
    (-180, 0, 'back'), (300, 0, 'front'), (0, 61, 'overhead'), (0, 59, 'front'),
    (180, -61, 'bottom'),
])
def test_words_of_views(azimuth, elevation, word):
    assert view_word(azimuth, elevation) == word


@pytest.mark.parametrize(('data', 'values'), [
    (0.5, {0: 0.5, 1000: 0.5}),
    ([10, 1.0, 3.0, 20], {0: 1.0, 10: 1.0, 15: 2.0, 20: 3.0, 99: 3.0}),
    ([0.4, 0.2, 200], {0: 0.4, 100: 0.3, 200: 0.2}),
    ([0, 1.0, 0.0, 10, 5.0, 20], {5: 0.5, 10: 0.0, 15: 2.5, 30: 5.0}),
])
def test_schedules_are_piecewise_linear(data, values):
    schedule = Schedule.parse(data)
    assert {step: schedule(step) for step in values} == pytest.approx(values)


def test_an_end_as_a_float_is_an_epoch():
    assert Schedule.parse([0, 0.0, 1.0, 2.0], steps_per_epoch=50)(25) == pytest.approx(0.25)


@pytest.mark.parametrize('data', [
    [1.0, 2.0], [0, 1.0, 2.0, 10, 3.0], [20, 1.0, 2.0, 10], [0, 1.0, 2.0, 1.5],
    [0, float('nan'), 1.0, 10], [],
])
def test_invalid_schedules_are_refused(data):
    with pytest.raises(LiftError) as caught:
        Schedule.parse(data)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_timesteps_are_uniform_within_the_range_of_the_step():
    timesteps = TimestepRange.parse([0, 0.4, 0.2, 100], [0, 0.9, 0.5, 100])
    drawn = timesteps.draw(N, 50, 1000, torch.Generator().manual_seed(0))
    assert (int(drawn.min()), int(drawn.max())) == (300, 700)
    assert_distribution(drawn, uniform(299.5, 700.5))


def test_annealed_timesteps_fall_with_the_root_of_the_progress():
    timesteps = TimestepRange.parse(0.02, 0.98, annealed_over=100)
    drawn = [int(timesteps.draw(1, step, 1000, torch.Generator())[0]) for step in (0, 25, 100)]
    assert drawn == [980, 500, 20]


def test_lower_end_of_neurallift_falls_in_the_first_third():
    timesteps = neurallift_range(3000)
    assert [timesteps.low(step) for step in (0, 500, 1000, 3000)] == pytest.approx(
        [0.95, 0.5, 0.05, 0.05])


def test_views_at_the_back_are_late():
    steps = anisotropic_step(900, torch.tensor([0.0, 90.0, -90.0, 180.0, 360.0]))
    assert steps.tolist() == pytest.approx([900.0, 400.0, 400.0, 0.0, 900.0])


@pytest.mark.parametrize('make', [
    lambda: CameraSampler((0.0, 1.0), (0.0, 10.0)),
    lambda: CameraSampler((2.0, 1.0), (0.0, 10.0)),
    lambda: CameraSampler((1.0, 1.0), (0.0, 100.0)),
    lambda: CameraSampler((1.0, 1.0), (0.0, 10.0), fov=(0.0, 180.0)),
    lambda: CameraSampler((1.0, 1.0), (0.0, 10.0), sphere=1.5),
    lambda: CameraSampler((1.0, 1.0), (0.0, 10.0), height=(1.5, 2.0)),
    lambda: TimestepRange.parse(0.9, 0.1).draw(1, 0, 1000, torch.Generator()),
])
def test_ranges_without_values_are_refused(make):
    with pytest.raises(LiftError) as caught:
        make()
    assert caught.value.code is ErrorCode.BAD_REQUEST
