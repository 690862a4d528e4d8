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

"""Volume rendering, against closed forms, finite differences and direct sums."""

from __future__ import annotations

from dataclasses import replace

from field_helpers import Ball
from field_helpers import Bump
import numpy as np
import pytest
import torch

from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.heads import ConstantBackground
from lift3d_ros.fields.heads import DirectionBackground
from lift3d_ros.fields.heads import RandomBackground
from lift3d_ros.fields.radiance import density_normals
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import EncodedFieldSettings
from lift3d_ros.fields.radiance_fields import FeatureVoxelSettings
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.rays import Histogram
from lift3d_ros.fields.rays import interlevel_loss
from lift3d_ros.fields.rays import Rays
from lift3d_ros.fields.rays import resample_edges
from lift3d_ros.fields.volume_rendering import render
from lift3d_ros.fields.volume_rendering import render_view
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.fields.volume_rendering import Shading
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import orbit_pose

CAMERA = Camera.from_fov(12, 10, 40.0)
POSE = orbit_pose(30.0, 20.0, 1.8)


@pytest.fixture
def rays() -> Rays:
    return Rays.from_camera(CAMERA, POSE)


def test_rays_are_those_of_the_camera(rays):
    assert len(rays) == 120
    centre = torch.from_numpy(POSE[:3, 3]).float()
    assert torch.allclose(rays.origins, centre.expand(120, 3))
    # The point that a ray reaches at the depth 1.8 is projected into its pixel.
    distances = 1.8 / rays.cosines
    points = (rays.origins + distances[:, None] * rays.directions).double().numpy()
    in_camera = (points - POSE[:3, 3]) @ POSE[:3, :3]
    u, v, z = CAMERA.project(in_camera)
    np.testing.assert_allclose(z, 1.8, atol=1e-5)
    np.testing.assert_allclose(u, np.tile(np.arange(12), 10), atol=1e-4)
    np.testing.assert_allclose(v, np.repeat(np.arange(10), 12), atol=1e-4)


def test_a_ball_of_constant_density_has_its_closed_form(rays):
    ball = Ball(density=3.0)
    rendering = render(ball, rays, RenderSettings(samples=1500), background=torch.ones(3))
    nearest = (rays.origins * rays.directions).sum(1)
    square = ball.radius**2 - (rays.origins.square().sum(1) - nearest.square())
    chord = 2.0 * square.clamp(min=0.0).sqrt()
    opacity = 1.0 - torch.exp(-3.0 * chord)
    assert int((opacity > 0.5).sum()) > 10 and int((opacity == 0).sum()) > 10
    # An interval of 1.4e-3 at either end may count or not.
    torch.testing.assert_close(rendering.opacity, opacity, rtol=0, atol=4.5e-3)
    color = opacity[:, None] * ball.color + (1.0 - opacity[:, None])
    torch.testing.assert_close(rendering.color, color, rtol=0, atol=4.5e-3)
    # The mean distance from the entry is 1 / s - c / (exp(s c) - 1) for the chord c.
    hit = chord > 0.1
    entry = -nearest[hit] - 0.5 * chord[hit]
    depth = entry + 1.0 / 3.0 - chord[hit] / torch.expm1(3.0 * chord[hit])
    found = rendering.depth[hit] / rendering.opacity[hit]
    torch.testing.assert_close(found, depth, rtol=0, atol=3e-3)


@pytest.mark.parametrize('importance', [0, 16])
def test_skipping_empty_space_changes_nothing(rays, importance):
    ball = Ball(radius=0.3, density=20.0)
    grid = DensityGrid(ball, interval=0.02)
    grid.fill(ball)
    assert grid.share < 0.25
    settings = RenderSettings(importance=importance, background_depth=5.0)
    whole = render(ball, rays, settings)
    skipped = render(ball, rays, settings, grid)
    assert len(skipped.samples.weights) < 0.3 * len(whole.samples.weights)
    assert len(skipped.hit) < len(whole.hit)
    for name in ('color', 'opacity', 'depth'):
        torch.testing.assert_close(getattr(skipped, name), getattr(whole, name))
    torch.testing.assert_close(skipped.distortion(), whole.distortion())


def test_skipping_leaves_out_little_of_a_smooth_density(rays):
    bump = Bump()
    # Cells with less than 1 % opacity over 0.1 are empty.
    grid = DensityGrid(bump, interval=0.1)
    grid.fill(bump)
    assert 0.05 < grid.share < 0.9
    whole, skipped = (
        render(bump, rays, RenderSettings(), occupancy) for occupancy in (None, grid))
    torch.testing.assert_close(skipped.color, whole.color, rtol=0, atol=0.01)


@pytest.mark.parametrize('normals', ['none', 'difference', 'autograd'])
def test_gradients_against_finite_differences(normals):
    field = EncodedField(
        FeatureVoxelSettings(3, 2),
        EncodedFieldSettings(hidden=1, width=4, activation='silu'), seed=1).double()
    rays = Rays.from_camera(Camera.from_fov(2, 1, 30.0), POSE)
    rays = Rays(rays.origins.double(), rays.directions.double())
    settings = RenderSettings(samples=5, min_weight=0.0, normals=normals)
    shading = Shading(torch.tensor([0.6, 0.0, 0.8]).double()) if normals != 'none' else None
    values = dict(field.named_parameters())
    names = list(values)

    def outputs(*parameters):
        with torch.no_grad():
            for name, parameter in zip(names, parameters, strict=True):
                values[name].copy_(parameter)
        found = render(field, rays, settings, shading=shading)
        return torch.cat([found.color.view(-1), found.depth, found.distortion()])

    start = [value.detach().clone() for value in values.values()]
    weights = torch.linspace(-1.0, 1.0, 10, dtype=torch.float64)
    total = (outputs(*start) * weights).sum()
    exact = torch.autograd.grad(total, list(values.values()))
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        along = [
            torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in start]
        ends = [
            (outputs(*(s + h * d for s, d in zip(start, along, strict=True))) * weights).sum()
            for h in (1e-6, -1e-6)
        ]
        slope = float((ends[0] - ends[1]).detach()) / 2e-6
        expected = float(sum((g * d).sum() for g, d in zip(exact, along, strict=True)))
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize('epsilon', [None, 1e-3])
def test_normals_point_away_from_the_density(epsilon):
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 0.2
    found = density_normals(Bump(), points, epsilon)
    expected = points / points.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert not density_normals(Ball(), torch.zeros(1, 3), 1e-3).any()
    with torch.no_grad():
        assert not density_normals(Bump(), points, epsilon).requires_grad


def test_rendered_normals_and_shading(rays):
    bump = Bump(peak=300.0, std=0.1)
    settings = RenderSettings(samples=96, normals='autograd')
    plain = render(bump, rays, settings)
    # The ray that passes next to the centre meets the bump nearly head on.
    middle = torch.linalg.cross(rays.origins, rays.directions).norm(dim=1).argmin()
    normal = plain.normals[middle] / plain.opacity[middle]
    assert (normal @ rays.directions[middle]).item() < -0.85
    light = torch.from_numpy(POSE[:3, 3] / np.linalg.norm(POSE[:3, 3])).float()
    lit = render(bump, rays, settings, shading=Shading(light, 0.1, textureless=True))
    dark = render(bump, rays, settings, shading=Shading(-light, 0.1, textureless=True))
    assert lit.color[middle].min().item() > 0.85
    torch.testing.assert_close(
        dark.color[middle], 0.1 * plain.opacity[middle].expand(3), rtol=0, atol=1e-4)
    assert lit.samples.normals.shape == lit.samples.points.shape


def test_importance_samples_find_a_thin_shell():
    directions = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    directions = directions / directions.norm(dim=1, keepdim=True)
    rays = Rays(-1.8 * directions, directions)
    bump = Bump(peak=20.0, std=0.02)
    exact, plain, better = (
        render(bump, rays, settings).opacity
        for settings in (
            RenderSettings(samples=5000), RenderSettings(samples=40),
            RenderSettings(samples=20, importance=20))
    )
    errors = [(found - exact).abs().mean().item() for found in (plain, better)]
    assert errors[1] < 0.3 * errors[0], errors


def test_a_proposal_field_is_trained_to_bound_the_weights(rays):
    bump = Bump(peak=50.0, std=0.1)
    proposal = VoxelField(
        VoxelFieldSettings(bound=0.6, resolution=16, channels=3, color='sigmoid', log_scale=3.0))
    optimizer = torch.optim.Adam(proposal.parameters(), lr=0.1)
    settings = RenderSettings(samples=24, importance=24)
    losses = []
    for _ in range(15):
        rendering = render(bump, rays, settings, proposal=proposal)
        loss = interlevel_loss(rendering.histogram, rendering.proposal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert bump.peak.grad is None
    assert losses[-1] < 0.2 * losses[0]


def test_a_proposal_that_bounds_the_weights_has_no_loss():
    edges = torch.linspace(0, 1, 9).expand(2, -1)
    weights = torch.rand(2, 8, generator=torch.Generator().manual_seed(0)) / 8
    fine = Histogram(edges, weights)
    assert interlevel_loss(fine, Histogram(edges, weights)) == pytest.approx(0.0, abs=1e-12)
    coarse = Histogram(edges[:, ::2], weights.view(2, 4, 2).sum(2))
    assert interlevel_loss(fine, coarse) == pytest.approx(0.0, abs=1e-12)
    assert float(interlevel_loss(fine, Histogram(edges, 0.5 * weights))) > 1e-3


def test_distortion_is_the_double_sum():
    generator = torch.Generator().manual_seed(0)
    edges = torch.rand(3, 7, generator=generator, dtype=torch.float64).sort(dim=1).values
    weights = torch.rand(3, 6, generator=generator, dtype=torch.float64)
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    pairs = weights[:, :, None] * weights[:, None] * (middle[:, :, None] - middle[:, None]).abs()
    width = edges[:, 1:] - edges[:, :-1]
    expected = pairs.sum((1, 2)) + (weights.square() * width).sum(1) / 3.0
    torch.testing.assert_close(Histogram(edges, weights).distortion(), expected)


@pytest.mark.parametrize('seed', [None, 3])
def test_resampled_edges_increase_and_follow_the_weights(seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    weights = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    edges = torch.linspace(0, 1, 5).expand(2, -1)
    found = resample_edges(Histogram(edges, weights), 100, generator)
    assert found.shape == (2, 101) and bool((found.diff(dim=1) >= 0).all())
    assert float(((found[0] >= 0.5) & (found[0] <= 0.75)).float().mean()) > 0.95
    torch.testing.assert_close(found[1], torch.linspace(0, 1, 101), rtol=0, atol=0.011)


def test_disparity_spacing_of_an_unbounded_field():
    field = EncodedField(
        FeatureVoxelSettings(8, 4), EncodedFieldSettings(contracted=True, density_bias=-3.0))
    rays = Rays.from_camera(CAMERA, POSE)
    settings = RenderSettings(samples=10, near=0.25, far=100.0, spacing='disparity')
    rendering = render(field, rays, settings)
    assert len(rendering.hit) == len(rays)
    distances = rendering.samples.distances.view(len(rays), 10)
    disparity = 1.0 / distances
    torch.testing.assert_close(
        disparity.diff(dim=1)[:, 1:-2], disparity.diff(dim=1)[:, 2:-1], rtol=0.3, atol=0)
    assert float(distances.min()) < 0.4 and float(distances.max()) > 4.0


@pytest.mark.parametrize('background', [
    None, torch.tensor([1.0, 0.0, 0.5]), ConstantBackground((1.0, 0.0, 0.5), learned=True),
    DirectionBackground(seed=2), RandomBackground(torch.Generator().manual_seed(0)),
    RandomBackground(torch.Generator().manual_seed(0), each_ray=True),
], ids=['none', 'tensor', 'constant', 'directions', 'random', 'each_ray'])
def test_backgrounds_show_where_nothing_is(rays, background):
    nothing = Ball(density=0.0)
    color = render(nothing, rays, RenderSettings(samples=4), background=background).color
    assert color.shape == (120, 3)
    assert 0.0 <= color.min().item() and color.max().item() <= 1.0
    same = bool((color == color[0]).all())
    each_ray = isinstance(background, DirectionBackground) or (
        isinstance(background, RandomBackground) and background.each_ray)
    assert same != each_ray
    if isinstance(background, torch.nn.Module) and list(background.parameters()):
        color.sum().backward()
        assert all(value.grad is not None for value in background.parameters())


def test_randomness_comes_from_the_generator_alone(rays):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other, middles = (
        render(
            Bump(), rays, RenderSettings(samples=8),
            generator=None if seed is None else torch.Generator().manual_seed(seed)).color
        for seed in (5, 5, 6, None)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other) and not torch.equal(first, middles)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_view_has_depth_along_the_axis():
    ball = Ball(radius=0.4, density=1e4)
    settings = RenderSettings(samples=800, background_depth=9.0)
    color, opacity, depth = render_view(ball, CAMERA, POSE, settings, chunk=50)
    assert color.shape == (10, 12, 3)
    assert float(depth[0, 0]) == 0.0 and float(opacity[0, 0]) == 0.0
    rays = CAMERA.rays()[4, 6]
    direction = rays / np.linalg.norm(rays)
    # The near intersection of the ray with the ball, in the optical frame.
    b = direction @ [0.0, 0.0, 1.8]
    distance = b - np.sqrt(b**2 - 1.8**2 + 0.4**2)
    assert float(depth[4, 6]) == pytest.approx(distance * direction[2], abs=3e-3)


def test_latents_have_as_many_channels_as_the_field(rays):
    field = VoxelField(VoxelFieldSettings(resolution=8))
    found = render(field, rays, RenderSettings(samples=8), background=torch.zeros(4))
    assert found.color.shape == (120, 4)
    found.color.sum().backward()
    assert field.color_grid.grad is not None and field.log_scale.grad is not None


def test_no_rays():
    rays = Rays(torch.zeros(0, 3), torch.zeros(0, 3))
    assert render(Ball(), rays, RenderSettings()).color.shape == (0, 3)


def test_rays_that_miss_the_field_see_the_background():
    rays = Rays(torch.tensor([[5.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    rendering = render(Ball(), rays, RenderSettings(), background=torch.ones(3))
    assert torch.equal(rendering.color, torch.ones(1, 3))
    assert len(rendering.hit) == 0 and rendering.distortion().item() == 0.0


@pytest.mark.parametrize('changes', [
    {'samples': 0}, {'importance': -1}, {'near': 0.0}, {'far': 0.01}, {'spacing': 'log'},
    {'normals': 'neural'}, {'epsilon': 0.0}, {'min_weight': 1.0}, {'near': float('nan')},
])
def test_bad_settings(changes):
    with pytest.raises(ValueError):
        replace(RenderSettings(), **changes)


@pytest.mark.parametrize(('origins', 'directions'), [
    (torch.zeros(2, 3), torch.zeros(2, 3)),
    (torch.zeros(2, 3), torch.eye(3)),
    (torch.full((3, 3), torch.nan), torch.eye(3)),
    (torch.zeros(3, 3), torch.eye(3) * torch.inf),
    (torch.zeros(3), torch.zeros(3)),
    (torch.zeros(3, 3, dtype=torch.int64), torch.eye(3)),
])
def test_bad_rays(origins, directions):
    with pytest.raises(ValueError):
        Rays(origins, directions)


def test_bad_arguments(rays):
    with pytest.raises(ValueError):
        Rays.from_camera(CAMERA, np.diag([2.0, 1.0, 1.0, 1.0]))
    settings = RenderSettings(samples=4)
    with pytest.raises(ValueError):
        render(Ball(), rays, settings, background=torch.ones(4))
    with pytest.raises(ValueError):
        render(Ball(), rays, settings, shading=Shading(torch.ones(3)))
    with pytest.raises(ValueError):
        render(Ball(), rays, settings, proposal=Ball())
    with pytest.raises(ValueError):
        render(Ball(), rays, settings, DensityGrid(Ball(bound=1.0), 0.1))
    with pytest.raises(ValueError):
        density_normals(Ball(), torch.zeros(1, 3), 0.0)
