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


"""Tests of the published surface network, each part against what its description says."""

import numpy as np
import pytest
import torch
from torch.nn import functional
import weights_helpers
from zero123_helpers import IMAGE
from zero123_helpers import make_components

from lift3d_ros.bench.timing.full_size_surface import measure_surface
from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.diffusion.view_plan import first_stage
from lift3d_ros.diffusion.view_plan import lens
from lift3d_ros.diffusion.view_plan import pose
from lift3d_ros.diffusion.view_plan import second_stage
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.elevation.estimate import ElevationSettings
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.level_set import bounded
from lift3d_ros.meshing.level_set import level_set
from lift3d_ros.meshing.level_set import raw_level_set
from lift3d_ros.meshing.level_set import sample_grid
from lift3d_ros.meshing.level_set import sample_near_surface
from lift3d_ros.meshing.rasterizer import median_mask_iou
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.methods.published_surface import CANONICAL_PER_PUBLISHED
from lift3d_ros.methods.published_surface import PublishedOne2345
from lift3d_ros.methods.published_surface import source_frame
from lift3d_ros.methods.published_views import Schedule
from lift3d_ros.methods.published_views import SCHEDULES
from lift3d_ros.methods.published_views import view_steps
from lift3d_ros.networks.one2345.blending import ColorBlending
from lift3d_ros.networks.one2345.blending import direction_differences
from lift3d_ros.networks.one2345.cost_volume import CostVolume
from lift3d_ros.networks.one2345.cost_volume import grid_points
from lift3d_ros.networks.one2345.cost_volume import project
from lift3d_ros.networks.one2345.cost_volume import sample_picture
from lift3d_ros.networks.one2345.distance_field import DistanceField
from lift3d_ros.networks.one2345.distance_field import encode_places
from lift3d_ros.networks.one2345.distance_field import sample_volume
from lift3d_ros.networks.one2345.feature_pyramid import ActivatedNorm
from lift3d_ros.networks.one2345.feature_pyramid import FeaturePyramid
from lift3d_ros.networks.one2345.network import One2345Network
from lift3d_ros.networks.one2345.regularization import coarser_sites
from lift3d_ros.networks.one2345.regularization import SparseCostRegNet
from lift3d_ros.progress import Progress
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.weights import store
from lift3d_ros.weights.formats.tables import one2345_shapes

pytestmark = pytest.mark.usefixtures('one_thread')



def random_checkpoint(seed=3):
    """Return the published file's content with random numbers, and what training adds."""
    generator = torch.Generator().manual_seed(seed)

    def tensor(name, shape):
        values = torch.randn(shape, generator=generator)
        return values.abs() + 0.5 if name.endswith('running_var') else values

    content = {
        network: {name: tensor(name, shape) for name, shape in shapes.items()}
        for network, shapes in one2345_shapes().items()
    }
    for layer in (0, 1, 2, 3, 4, 5, 6, 7, 9, 11):
        name = f'sparse_costreg_net.conv{layer}.net.1.num_batches_tracked'
        content['sdf_network_lod0'][name] = torch.tensor(215000)
    return {'iter_step': 215000, 'val_step': 1, **content}


@pytest.fixture(scope='module')
def network():
    """Return a network whose distance is a sphere and whose other weights are random."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made = One2345Network()
        for module in made.modules():
            if isinstance(module, ActivatedNorm):
                module.weight.data.uniform_(-1.0, 1.0)
                module.bias.data.normal_(0.0, 0.2)
        # A sphere that fits into what the views show.
        made.sdf_network_lod0.sdf_layer.lin2.bias.data.fill_(-0.25)
        return made.eval().requires_grad_(False)


def code(call, *arguments, **named):
    with pytest.raises(LiftError) as caught:
        call(*arguments, **named)
    assert len(caught.value.message) > 20
    return caught.value.code


# The published names.


def test_every_tensor_of_a_checkpoint_is_used_and_none_is_missing(tmp_path):
    content = random_checkpoint()
    torch.save(content, tmp_path / 'ckpt_215000.pth')
    loaded = One2345Network.load(tmp_path / 'ckpt_215000.pth')
    for name, shapes in one2345_shapes().items():
        tensors = loaded.get_submodule(name).state_dict()
        assert {key: tuple(t.shape) for key, t in tensors.items()} == shapes
        assert all(torch.equal(tensors[key], content[name][key]) for key in shapes)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize('fault', ['missing', 'extra', 'shape', 'network'])
def test_a_checkpoint_that_does_not_fit_is_refused(fault):
    content = random_checkpoint()
    sdf = content['sdf_network_lod0']
    name = 'sparse_costreg_net.conv9.net.0.kernel'
    if fault == 'missing':
        del sdf[name]
    elif fault == 'extra':
        name = 'sdf_layer.lin3.bias'
        sdf[name] = torch.zeros(129)
    elif fault == 'shape':
        sdf[name] = torch.zeros(8, 32, 16)
    else:
        name = 'rendering_network_lod0'
        del content[name]
    with pytest.raises(LiftError) as caught:
        One2345Network().take(content, 'some.pth')
    assert caught.value.code is ErrorCode.WEIGHTS_CORRUPT
    assert name in caught.value.message and 'some.pth' in caught.value.message


def test_an_unknown_way_to_normalise_is_refused():
    assert code(One2345Network, 'batch') is ErrorCode.BAD_REQUEST
    assert code(One2345Network, cost_sums='half') is ErrorCode.BAD_REQUEST


# The feature pyramid.


def test_the_activated_norm_is_that_of_inplace_abn():
    norm = ActivatedNorm(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([-2.0, 0.0]))
        norm.bias.copy_(torch.tensor([0.5, -1.0]))
        x = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0)) * 3.0 + 1.0
        expected = np.empty(x.shape)
        for channel, (weight, bias) in enumerate(((-2.0, 0.5), (0.0, -1.0))):
            values = x[:, channel].double().numpy()
            y = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
            y = y * (abs(weight) + 1e-5) + bias
            expected[:, channel] = np.where(y < 0.0, 0.01 * y, y)
        assert np.allclose(norm(x.clone()).numpy(), expected, atol=1e-5)


def test_running_statistics_are_another_way_and_neither_changes_them(network):
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    running = One2345Network('running')
    state = {name: t.clone() for name, t in network.state_dict().items()}
    running.load_state_dict(state)
    with torch.no_grad():
        by_scene = network.pyramid_feature_network(images)
        # As published: the module in training mode, and the results do not depend on it.
        network.train()
        again = network.pyramid_feature_network(images)
        network.eval()
        by_average = running.pyramid_feature_network(images)
        # One picture has other statistics than two.
        alone = network.pyramid_feature_network(images[:1])
        by_average_alone = running.pyramid_feature_network(images[:1])
    assert torch.equal(by_scene.fine, again.fine)
    assert (by_scene.fine[:1] - alone.fine).abs().max() > 1e-3
    assert (by_scene.fine - by_average.fine).abs().max() > 1e-3
    assert torch.allclose(by_average.fine[:1], by_average_alone.fine, atol=1e-5)
    for module in (network, running):
        assert all(torch.equal(t, state[name]) for name, t in module.state_dict().items())


def test_fused_maps_have_the_coarse_level_first(network):
    images = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = network.pyramid_feature_network(images)
    assert maps.coarse.shape == (2, 32, 4, 6) and maps.middle.shape == (2, 16, 8, 12)
    fused = maps.fused(1)
    assert fused.shape == (56, 16, 24)
    # Aligned corners: the outermost pixels are those of the coarse level.
    assert torch.allclose(fused[:32, 0, 0], maps.coarse[1, :, 0, 0], atol=1e-6)
    assert torch.allclose(fused[:32, -1, -1], maps.coarse[1, :, -1, -1], atol=1e-6)
    assert torch.allclose(fused[32:48, 0, -1], maps.middle[1, :, 0, -1], atol=1e-6)
    assert torch.equal(fused[48:], maps.fine[1])


def test_the_pyramid_is_joined_from_the_top():
    # With all weights of one level zero, a map shows what comes from above.
    pyramid = FeaturePyramid()
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        pyramid.lat1.weight.zero_()
        pyramid.lat1.bias.zero_()
        maps = pyramid(images)
        from_above = functional.interpolate(
            maps.coarse, scale_factor=2, mode='bilinear', align_corners=True)
        assert torch.allclose(maps.middle, pyramid.smooth1(from_above), atol=1e-5)


# The cost volume.


def test_projection_is_that_of_the_pinhole():
    # A camera at (0, 0, -2) that looks along z; 5 x 3 pixels, focal length 2, middle (2, 1).
    K = np.array([[2.0, 0.0, 2.0], [0.0, 2.0, 1.0], [0.0, 0.0, 1.0]])
    extrinsic = np.column_stack([np.eye(3), [0.0, 0.0, 2.0]])
    projection = torch.tensor(K @ extrinsic, dtype=torch.float32)
    points = torch.tensor(
        [[0.0, 0.0, 0.0], [1.0, -1.0, 0.0], [2.0, 0.5, -1.0], [0.5, 0.25, -3.0]])
    places, depth = project(points, projection, (3, 5))
    # Columns u = 2 x / z + 2 of 0 to 4, rows v = 2 y / z + 1 of 0 to 2, as -1 to 1.
    assert depth.tolist() == [2.0, 2.0, 1.0, -1.0]
    assert places.tolist() == [[0.0, 0.0], [0.5, -1.0], [2.0, 1.0], [-0.5, -0.5]]
    picture = torch.arange(15.0).view(1, 3, 5)
    samples = sample_picture(picture, places)[:, 0]
    # Row 1 column 2 is 7; row 0 column 3 is 3; outside is 0; row 0.5 column 1 is 3.5.
    assert samples.tolist() == [7.0, 3.0, 0.0, 3.5]


def test_the_grid_includes_both_borders_and_z_is_fastest():
    points = grid_points(96)
    assert len(points) == 96**3
    assert torch.allclose(points[0], -torch.ones(3)) and torch.allclose(points[-1], torch.ones(3))
    assert torch.allclose(points[1], torch.tensor([-1.0, -1.0, -1.0 + 2.0 / 95.0]))


def camera(azimuth, elevation, size=12, radius=1.2):
    K = lens(size)
    frame = np.linalg.inv(orbit_pose(azimuth, elevation, radius))
    return torch.tensor(K @ frame[:3], dtype=torch.float32)


@pytest.mark.parametrize('sums', ['faithful', 'fixed'])
def test_adding_one_by_one_is_mean_and_variance_of_all_at_once(sums):
    generator = torch.Generator().manual_seed(4)
    cameras = [camera(a, e) for a, e in ((0.0, 20.0), (80.0, -30.0), (200.0, 50.0))]
    features = torch.randn(3, 4, 12, 12, generator=generator)
    volume = CostVolume(4, 7, sums=sums, chunk=100)
    for feature, projection in zip(features, cameras, strict=True):
        volume.add(feature, projection)
    result, active = volume.finish()

    points = grid_points(7).double()
    sampled, inside = [], []
    for feature, projection in zip(features, cameras, strict=True):
        image = points @ projection[:, :3].T.double() + projection[:, 3].double()
        u, v = image[:, 0] / image[:, 2], image[:, 1] / image[:, 2]
        inside.append(((u - 5.5).abs() <= 5.5) & ((v - 5.5).abs() <= 5.5) & (image[:, 2] > 0.0))
        places = torch.stack([u / 5.5 - 1.0, v / 5.5 - 1.0], dim=1)
        sampled.append(functional.grid_sample(
            feature[None].double(), places[None, None], align_corners=True)[0, :, 0])
        if sums == 'fixed':
            sampled[-1] = sampled[-1] * inside[-1]
    sampled, inside = torch.stack(sampled), torch.stack(inside)
    count = inside.sum(dim=0)
    mean = sampled.sum(dim=0) / (count + 1e-5)
    variance = sampled.square().sum(dim=0) / (count + 1e-5) - mean.square()
    keep = count >= 2
    assert torch.equal(active.view(-1), keep) and 10 < keep.sum() < 300
    expected = torch.cat([variance, mean]) * keep
    assert torch.allclose(result.view(8, -1).double(), expected, atol=1e-4)


def test_what_lies_behind_a_camera_is_added_but_not_counted():
    ones = torch.ones(1, 12, 12)
    results = {}
    for sums in ('faithful', 'fixed'):
        volume = CostVolume(1, 13, sums=sums)
        for azimuth in (0.0, 20.0, 180.0):
            # Inside of the volume, as the published cameras are.
            volume.add(ones, camera(azimuth, 0.0, radius=0.6))
        results[sums], active = volume.finish()
    fixed, faithful = results['fixed'][1][active], results['faithful'][1][active]
    assert torch.allclose(fixed, torch.ones_like(fixed), atol=1e-4)
    # Where two see a voxel and its mirror image is in the third picture, three are added.
    behind = faithful > 1.25
    assert torch.allclose(faithful[behind], torch.tensor(1.5), atol=0.25)
    assert 5 < behind.sum() < 0.5 * len(behind)


def test_a_single_picture_keeps_what_it_sees():
    volume = CostVolume(1, 7)
    volume.add(torch.ones(1, 12, 12), camera(0.0, 0.0))
    result, active = volume.finish()
    assert 20 < active.sum() < 7**3
    assert result[1][active].mean() == pytest.approx(1.0, abs=1e-3)


# The regularisation, against a sparse one that is written from its description.


class SparseReference:
    """
    A sparse U-Net over dictionaries of voxels.

    A tensor is a dictionary from (x, y, z) in the units of the finest level to a vector. At a
    level of stride s, voxels have coordinates that are multiples of s.
    """

    def __init__(self, state):
        self.state = {name: t.double().numpy() for name, t in state.items()}

    def offsets(self, stride):
        for row in range(27):
            dz, rest = divmod(row, 9)
            dy, dx = divmod(rest, 3)
            yield row, ((dx - 1) * stride, (dy - 1) * stride, (dz - 1) * stride)

    def norm(self, name, values):
        table = np.stack(list(values.values()))
        mean, variance = table.mean(axis=0), table.var(axis=0)
        table = (table - mean) / np.sqrt(variance + 1e-5)
        table = table * self.state[f'{name}.net.1.weight'] + self.state[f'{name}.net.1.bias']
        return dict(zip(values, np.maximum(table, 0.0), strict=True))

    def gather(self, name, values, stride, sites):
        kernel = self.state[f'{name}.net.0.kernel']
        result = {}
        for site in sites:
            total = np.zeros(kernel.shape[2])
            for row, offset in self.offsets(stride):
                neighbour = tuple(c + d for c, d in zip(site, offset, strict=True))
                if neighbour in values:
                    total += values[neighbour] @ kernel[row]
            result[site] = total
        return self.norm(name, result)

    def same(self, name, values, stride):
        return self.gather(name, values, stride, values)

    def down(self, name, values, stride):
        least = np.min(list(values), axis=0)
        sites = set()
        for site in values:
            for _row, offset in self.offsets(stride):
                near = tuple(c + d for c, d in zip(site, offset, strict=True))
                even = all(c % (2 * stride) == 0 for c in near)
                if even and all(c >= low for c, low in zip(near, least, strict=True)):
                    sites.add(near)
        return self.gather(name, values, stride, sorted(sites))

    def up(self, name, values, stride, sites):
        kernel = self.state[f'{name}.net.0.kernel']
        result = {site: np.zeros(kernel.shape[2]) for site in sites}
        for site, value in values.items():
            for row, offset in self.offsets(stride):
                fine = tuple(c + d for c, d in zip(site, offset, strict=True))
                if fine in result:
                    result[fine] += value @ kernel[row]
        return self.norm(name, result)

    def __call__(self, values):
        def add(a, b):
            return {site: a[site] + b[site] for site in a}

        conv0 = self.same('conv0', values, 1)
        conv2 = self.same('conv2', self.down('conv1', conv0, 1), 2)
        conv4 = self.same('conv4', self.down('conv3', conv2, 2), 4)
        x = self.same('conv6', self.down('conv5', conv4, 4), 8)
        x = add(conv4, self.up('conv7', x, 4, conv4))
        x = add(conv2, self.up('conv9', x, 2, conv2))
        return add(conv0, self.up('conv11', x, 1, conv0))


@pytest.mark.parametrize('shape, least, share', [
    ((9, 9, 9), (0, 0, 0), 0.3),
    ((12, 12, 12), (0, 0, 0), 0.12),
    ((12, 11, 10), (3, 1, 0), 0.4),        # odd least coordinates cut coarse sites off
    ((10, 10, 10), (7, 0, 5), 0.7),
])
def test_the_dense_regularisation_is_the_sparse_one(shape, least, share):
    generator = torch.Generator().manual_seed(sum(shape))
    net = SparseCostRegNet(32, 16)
    state = {
        name: torch.rand(t.shape, generator=generator) + 0.5 if name.endswith('1.weight')
        else torch.randn(t.shape, generator=generator) * 0.3
        for name, t in net.state_dict().items()
    }
    net.load_state_dict(state)
    sites = torch.rand(shape, generator=generator) < share
    sites[:least[0]], sites[:, :least[1]], sites[:, :, :least[2]] = False, False, False
    x = torch.randn((32, *shape), generator=generator) * sites
    with torch.no_grad():
        single = net(x, sites)
        double = net.double()(x.double(), sites)
    expected = SparseReference(state)({
        tuple(site): x[(slice(None), *site)].double().numpy() for site in sites.nonzero().tolist()
    })
    assert len(expected) == sites.sum() > 50
    assert (double[:, ~sites] == 0.0).all() and (single[:, ~sites] == 0.0).all()
    reference = np.stack([expected[tuple(s)] for s in sites.nonzero().tolist()])
    assert np.abs(double[:, sites].T.numpy() - reference).max() < 1e-10
    assert np.abs(single[:, sites].T.numpy() - reference).max() < 1e-5 * np.abs(reference).max()


def test_96_voxels_become_49_25_and_13():
    sites = torch.ones(96, 96, 96, dtype=torch.bool)
    sizes = []
    for _level in range(3):
        sites = coarser_sites(sites)
        assert sites.all()
        sizes.append(tuple(sites.shape))
    assert sizes == [(49,) * 3, (25,) * 3, (13,) * 3]


# The distance.


def test_places_are_encoded_without_pi():
    x = torch.tensor([[0.3, -0.2, 0.9]])
    encoded = encode_places(x)[0].double().numpy()
    assert encoded.shape == (39,)
    expected = [x[0].numpy()]
    for k in range(6):
        expected += [np.sin(2**k * x[0].numpy()), np.cos(2**k * x[0].numpy())]
    assert np.allclose(encoded, np.concatenate(expected), atol=1e-6)


def test_the_volume_is_sampled_between_its_voxels_and_is_zero_beyond():
    volume = torch.arange(27.0).view(1, 3, 3, 3)
    points = torch.tensor(
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.5], [0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [1.0, 1.0, 1.0],
         [-1.0, 0.0, 0.0], [0.0, 1.5, 2.0]])
    # z is the last axis; at -1 itself the published kernel is zero.
    assert sample_volume(volume, points)[:, 0].tolist() == [13.0, 13.5, 14.5, 17.5, 26.0, 0.0, 0.0]


def test_the_untrained_distance_is_that_of_a_sphere():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        field = DistanceField()
    volume = torch.zeros(16, 5, 5, 5)
    directions = functional.normalize(
        torch.randn(64, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    with torch.no_grad():
        assert field.distance(torch.zeros(1, 3), volume) < -0.3
        assert (field.distance(0.2 * directions, volume) < 0.0).all()
        assert (field.distance(0.95 * directions, volume) > 0.0).all()
        assert field(directions, torch.zeros(64, 16)).shape == (64, 128)
        # The latent does nothing yet.
        assert torch.allclose(
            field(directions, torch.zeros(64, 16)), field(directions, torch.ones(64, 16)))
    normals = field.normals(0.6 * directions, volume)
    assert ((normals * directions).sum(dim=1) > 0.8).all()
    assert torch.allclose(normals.norm(dim=1), torch.ones(64), atol=1e-5)


def test_the_distance_follows_the_published_formula():
    state = random_checkpoint()['sdf_network_lod0']
    state = {name.removeprefix('sdf_layer.'): t for name, t in state.items()
             if name.startswith('sdf_layer.')}
    field = DistanceField()
    field.load_state_dict(state)
    points = torch.rand(4, 3, generator=torch.Generator().manual_seed(3)) - 0.5
    latent = torch.randn(4, 16, generator=torch.Generator().manual_seed(4))

    def linear(x, name):
        v, g = state[f'{name}.weight_v'].double(), state[f'{name}.weight_g'].double()
        return x @ (g * v / v.norm(dim=1, keepdim=True)).T + state[f'{name}.bias'].double()

    def softplus(x):
        return torch.log1p(torch.exp(-(100.0 * x).abs())) / 100.0 + x.clamp(min=0.0)

    x = softplus(linear(encode_places(points.double()), 'lin0'))
    x = softplus(linear(torch.cat([x, latent.double()], dim=1), 'lin1'))
    expected = linear(torch.cat([x, latent.double()], dim=1), 'lin2')
    with torch.no_grad():
        assert torch.allclose(field(points, latent).double(), expected, rtol=1e-4, atol=1e-3)


# The colours.


def test_directions_are_a_unit_difference_and_a_dot_product():
    points, normals = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]])
    centers = torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [-5.0, 0.0, 0.0]])
    result = direction_differences(points, normals, centers)[0]
    assert torch.allclose(result[0, 3], torch.tensor(1.0), atol=1e-5)
    half = 0.5**0.5
    assert torch.allclose(result[1], torch.tensor([half, -half, 0.0, 0.0]), atol=1e-5)
    assert torch.allclose(result[2], torch.tensor([1.0, 0.0, 0.0, -1.0]), atol=1e-5)


def blending_inputs(points=50, views=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randn(points, views, 59, generator=generator)
    seen[..., :3] = torch.rand(points, views, 3, generator=generator)
    directions = direction_differences(
        torch.rand(points, 3, generator=generator) - 0.5,
        functional.normalize(torch.randn(points, 3, generator=generator), dim=1),
        functional.normalize(torch.randn(views, 3, generator=generator), dim=1))
    latent = torch.randn(points, 16, generator=generator)
    visible = torch.rand(points, views, generator=generator) < 0.6
    visible[:, 0] = True
    return latent, seen, directions, visible


def test_colours_are_convex_combinations_of_what_is_seen(network):
    latent, seen, directions, visible = blending_inputs()
    with torch.no_grad():
        colors = network.rendering_network_lod0(latent, seen, directions, visible)
    for color, rgb, mask in zip(colors, seen[..., :3], visible, strict=True):
        assert (color <= rgb[mask].amax(dim=0) + 1e-5).all()
        assert (color >= rgb[mask].amin(dim=0) - 1e-5).all()
    # What does not take part plays no part.
    other = seen.clone()
    other[~visible] = 0.5
    with torch.no_grad():
        again = network.rendering_network_lod0(latent, other, directions, visible)
    assert torch.allclose(colors, again, atol=1e-5)


def test_blending_follows_the_published_formula():
    state = {name: t.double() * 0.3 for name, t in
             random_checkpoint(6)['rendering_network_lod0'].items()}
    blending = ColorBlending().double()
    blending.load_state_dict(state)
    latent, seen, directions, visible = (
        t.double() if t.is_floating_point() else t for t in blending_inputs(3, 4, 9))

    def elu(x):
        return np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0)))

    def layer(x, name):
        return x @ state[f'{name}.weight'].numpy().T + state[f'{name}.bias'].numpy()

    def sigmoid(x):
        return 1.0 / (1.0 + np.exp(-x))

    expected = []
    for p in range(3):
        d, mask = directions[p].numpy(), visible[p].numpy().astype(float)[:, None]
        rgb = seen[p, :, :3].numpy()
        f = seen[p].numpy() + elu(layer(elu(layer(d, 'ray_dir_fc.0')), 'ray_dir_fc.2'))
        a = np.exp(abs(state['s'].numpy()) * (d[:, 3:] - 1.0))
        a = (a - a.min()) * mask
        a = a / (a.sum() + 1e-8)
        mean = (f * a).sum(axis=0)
        variance = (a * (f - mean) ** 2).sum(axis=0)
        x = np.concatenate([
            np.tile(np.concatenate([latent[p].numpy(), mean, variance]), (4, 1)), f], axis=1)
        x = elu(layer(elu(layer(x, 'base_fc.0')), 'base_fc.2'))
        r = elu(layer(elu(layer(x * a, 'vis_fc.0')), 'vis_fc.2'))
        v = sigmoid(r[:, 32:]) * mask
        x = x + r[:, :32]
        v = sigmoid(layer(elu(layer(x * v, 'vis_fc2.0')), 'vis_fc2.2')) * mask
        y = elu(layer(np.concatenate([x, v, d], axis=1), 'rgb_fc.0'))
        y = layer(elu(layer(y, 'rgb_fc.2')), 'rgb_fc.4')
        y = np.where(mask > 0.0, y, -1e9)
        y = np.exp(y - y.max())
        expected.append((rgb * y / y.sum()).sum(axis=0))
    with torch.no_grad():
        colors = blending(latent, seen, directions, visible)
    assert np.allclose(colors.numpy(), expected, atol=1e-9)


# The level set.


def sphere(radius, center=(0.0, 0.0, 0.0)):
    return lambda points: (points - torch.tensor(center)).norm(dim=1) - radius


def test_only_what_is_near_the_surface_is_computed():
    asked = 0

    def two_balls(points):
        nonlocal asked
        asked += len(points)
        return torch.minimum(sphere(0.3)(points), sphere(0.1, (0.6, 0.6, 0.0))(points))

    full = sample_grid(two_balls, 65)
    assert asked == 65**3 and full.shape == (65, 65, 65)
    assert full[32, 32, 32] == pytest.approx(-0.3) and full[0, 32, 32] == pytest.approx(0.7)
    asked = 0
    near = sample_near_surface(two_balls, 65)
    assert asked < 0.5 * 65**3
    assert ((near > 0.0) == (full > 0.0)).all()
    close = np.abs(full) < 2.0 * 2.0 / 64
    assert np.abs(near - full)[close].max() < 1e-6
    vertices, faces = level_set(near, 20_000)
    assert Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8)).is_watertight()
    assert np.abs(np.linalg.norm(vertices, axis=1) - 0.3).max() < 0.003
    # As published, all pieces stay.
    vertices, _ = raw_level_set(full)
    assert np.linalg.norm(vertices, axis=1).max() > 0.9


def test_a_ball_bounds_what_is_computed():
    def distance(points):
        assert points.norm(dim=1).max() <= 0.5 + 1e-6
        return sphere(0.2)(points)

    field = sample_grid(bounded(distance, torch.zeros(3), 0.5), 33)
    assert field[0, 16, 16] == pytest.approx(0.5, abs=1e-5)
    assert field[16, 16, 16] == pytest.approx(-0.2, abs=1e-5)


@pytest.mark.parametrize('field', [
    np.ones((9, 9, 9), np.float32),
    -np.ones((9, 9, 9), np.float32),
    np.full((9, 9, 9), np.nan, np.float32),
])
def test_a_field_without_a_surface_inside_is_refused(field):
    assert code(level_set, field, 1000) is ErrorCode.NO_SURFACE


# The whole network.


def rendered(mesh, plan, size):
    """Return pictures of a mesh of length 1 as the published program would see it."""
    caster = Raycaster([mesh])
    K = lens(size)
    eye = Camera(size, size, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    return np.stack([caster.render(eye, pose(view)).image for view in plan])


@pytest.fixture(scope='module')
def carton():
    """Return a textured object in the published program's frame and length."""
    mesh = procedural_object(4, 'carton')
    vertices = mesh.vertices - 0.5 * (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0))
    length = np.ptp(vertices, axis=0).max() * CANONICAL_PER_PUBLISHED
    return Mesh((vertices / length).astype(np.float32), mesh.faces, mesh.colors)


def as_tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0


def test_pictures_agree_where_the_surface_is(carton):
    first = first_stage(25.0)
    plan = second_stage(first)
    frame = source_frame(plan, first, 128)
    pictures = as_tensor(rendered(carton, plan, 128))
    points, _ = carton.sample(400, np.random.default_rng(0))
    corner = carton.vertices[carton.faces[points]].astype(np.float64)
    normals = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    on = corner.mean(axis=1)
    variances = []
    for places in (on, on + 0.12 * normals):
        volume = torch.from_numpy(frame.from_world(places).astype(np.float32))
        seen, facing = [], []
        for view, picture, projection in zip(plan, pictures, frame.projections, strict=True):
            where, _ = project(volume, torch.from_numpy(projection), (128, 128))
            seen.append(sample_picture(picture, where).numpy())
            # Cameras on the other side see the far side of the object.
            facing.append(((pose(view)[:3, 3] - places) * normals).sum(axis=1) > 0.5)
        mask = np.stack(facing)[..., None]
        keep = mask.sum(axis=0)[:, 0] >= 3
        count = np.maximum(mask.sum(axis=0), 1)
        mean = (np.stack(seen) * mask).sum(axis=0) / count
        spread = ((np.stack(seen) - mean) ** 2 * mask).sum(axis=0) / count
        assert keep.sum() > 200
        variances.append(np.median(spread[keep].sum(axis=1)))
    assert variances[0] < 0.3 * variances[1]


def test_silhouettes_agree_with_the_pictures_of_the_mesh_alone(carton):
    first = first_stage(25.0)
    plan = second_stage(first)[::4]
    frame = source_frame(plan, first, 128)
    pictures = rendered(carton, plan, 128)

    def agreement(vertices):
        return median_mask_iou(
            frame.from_world(vertices), carton.faces, frame.projections, pictures)

    assert agreement(carton.vertices) > 0.95
    assert agreement(1.3 * carton.vertices) < 0.75
    # A quarter turn shows a carton from its other side.
    turned = carton.vertices[:, [1, 0, 2]] * [-1.0, 1.0, 1.0]
    assert agreement(turned) < 0.9
    assert agreement(carton.vertices + [0.0, 0.0, 0.3]) < 0.7
    blank = np.full_like(pictures, 255)
    assert median_mask_iou(
        frame.from_world(carton.vertices), carton.faces, frame.projections, blank) == 0.0


def test_a_scene_has_distances_and_colours(network, carton):
    first = first_stage(25.0)
    plan = second_stage(first)
    frame = source_frame(plan, first, 32)
    images = as_tensor(rendered(carton, plan, 32))
    state = {name: t.clone() for name, t in network.state_dict().items()}
    scene = network.scene(images, frame, 24)
    assert scene.volume.shape == (16, 24, 24, 24) and (scene.volume[:, ~scene.active] == 0.0).all()
    points = 0.3 * functional.normalize(
        torch.randn(30, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    distance = scene.distance(points)
    assert distance.shape == (30,) and torch.isfinite(distance).all()
    colors = scene.colors(points)
    assert colors.shape == (30, 3) and colors.min() >= 0.0 and colors.max() <= 1.0 + 1e-5
    assert all(torch.equal(t, state[name]) for name, t in network.state_dict().items())
    # A point's answer does not depend on those beside it.
    assert torch.allclose(scene.distance(points[7:8]), distance[7:8], atol=1e-5)
    assert torch.allclose(scene.colors(points[7:8]), colors[7:8], atol=1e-4)


@pytest.mark.parametrize('content', ['one view', 'white', 'mostly white'])
def test_views_that_show_nothing_are_an_error(network, carton, content):
    first = first_stage(25.0)
    plan = second_stage(first)[:1 if content == 'one view' else 32]
    frame = source_frame(plan, first, 32)
    images = as_tensor(rendered(carton, plan, 32))
    if content != 'one view':
        images[0 if content == 'white' else 9:] = 1.0
    assert code(network.scene, images, frame, 12) is ErrorCode.NO_SURFACE


def test_pictures_that_do_not_fit_the_cameras_are_refused(network):
    first = first_stage(25.0)
    frame = source_frame(second_stage(first), first, 32)
    for images in (torch.zeros(31, 3, 32, 32), torch.zeros(32, 3, 30, 32),
                   torch.full((32, 3, 32, 32), torch.nan)):
        assert code(network.scene, images, frame, 12) is ErrorCode.BAD_REQUEST


# From a view to the mesh, with tiny random networks.

FEW = SamplerSettings('dpm++', steps=2, guidance_scale=3.0)


def object_view(gravity=True):
    image = np.full((120, 160, 3), 90, np.uint8)
    mask = np.zeros((120, 160), bool)
    mask[40:80, 60:110] = True
    image[mask] = (200, 60, 30)
    down = np.array([0.0, np.cos(0.4), np.sin(0.4)]) if gravity else None
    frame = Frame(image, Camera(160, 120, 200.0, 200.0, 79.5, 59.5), gravity=down)
    return crop_object(frame, mask)


@pytest.fixture(scope='module')
def tiny(network):
    zero = Zero123(make_components('zero123', 3))
    return PublishedOne2345(
        zero, network, Schedule(FEW, FEW, resolution=33), size=IMAGE, voxels=16, max_faces=3000)


def test_a_view_becomes_a_coloured_mesh_in_the_canonical_frame(tiny):
    heard = []
    surface = tiny.reconstruct(
        object_view(), np.random.default_rng(1), Progress(lambda s, f: heard.append((s, f))))
    assert surface.images.shape == (32, IMAGE, IMAGE, 3) and len(surface.plan) == 32
    assert surface.first_images.shape == (8, IMAGE, IMAGE, 3)
    assert surface.elevation.source == 'gravity' and 0.0 < surface.agreement < 1.0
    assert surface.elevation.degrees == pytest.approx(surface.canonical.elevation)
    assert not ((surface.images >= 253) & (surface.images < 255)).any()
    mesh = Mesh(surface.vertices, surface.faces, surface.colors)
    assert mesh.is_watertight() and mesh.volume() > 0.0 and len(surface.faces) <= 3000
    # The untrained distance is about a sphere in the middle of the volume.
    at_surface = surface.distance(surface.vertices)
    size = np.linalg.norm(np.ptp(surface.vertices, axis=0))
    assert np.abs(at_surface).max() < 0.1 * size
    assert surface.distance([surface.vertices.mean(axis=0)])[0] < 0.0
    assert surface.distance([[0.9, 0.0, 0.0]])[0] > 0.0
    fractions = [fraction for _, fraction in heard]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert {'views', 'volume', 'surface', 'colour'} <= {stage for stage, _ in heard}


def test_the_seed_decides(tiny):
    first, again, other = (
        tiny.reconstruct(object_view(), np.random.default_rng(seed), Progress())
        for seed in (1, 1, 2))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.vertices, again.vertices)
    assert not np.array_equal(first.images, other.images)


def test_a_lift_is_cancelled_between_steps(tiny):
    asked = 0

    def cancelled():
        nonlocal asked
        asked += 1
        return asked > 12

    with pytest.raises(LiftError) as caught:
        tiny.reconstruct(object_view(), np.random.default_rng(0), Progress(None, cancelled))
    assert caught.value.code is ErrorCode.CANCELLED
    assert asked == 13


def test_the_elevation_is_searched_in_the_views_near_the_first(tiny, network, monkeypatch):
    given = []

    def find(view, settings, learned, nearby):
        given.append(nearby(view))
        return found

    from lift3d_ros.elevation.estimate import Elevation
    from lift3d_ros.methods import published_surface as published

    found = Elevation(20.0, 3.0, 'estimated', 'matches')
    monkeypatch.setattr(published, 'find_elevation', find)
    surface = tiny.reconstruct(object_view(False), np.random.default_rng(1), Progress())
    assert given[0].shape == (4, 256, 256, 3)
    assert surface.plan[0].elevation == 30.0
    # They are the surface's own first four views, and made once.
    enlarged = np.stack([published.resized(image, 256) for image in surface.images[:4]])
    assert np.array_equal(given[0], enlarged)


def test_no_gravity_and_no_matches_is_an_error(tiny):
    assert code(
        tiny.reconstruct, object_view(False), np.random.default_rng(1), Progress()
    ) is ErrorCode.ELEVATION_UNKNOWN
    allowed = PublishedOne2345(
        tiny.zero, tiny.network, tiny.schedule, ElevationSettings(assumed=0.0), IMAGE, 16)
    surface = allowed.reconstruct(object_view(False), np.random.default_rng(1), Progress())
    assert surface.elevation.source == 'assumed' and surface.first_plan[4].elevation == 30.0


def test_published_files_are_loaded_and_missing_ones_named(tmp_path, monkeypatch):
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / 'store'))
    torch.save(random_checkpoint(), tmp_path / 'ckpt_215000.pth')
    views = weights_helpers.write_ldm(
        tmp_path / 'zero123-xl.ckpt', weights_helpers.ldm_state(weights_helpers.networks()))
    surface = tmp_path / 'ckpt_215000.pth'
    loaded = PublishedOne2345.load(views, surface, schedule='faithful')
    assert loaded.zero.family == 'zero123' and loaded.zero.dtype == torch.float32
    assert (loaded.size, loaded.voxels) == (256, 96)
    assert code(PublishedOne2345.load, surface=surface) is ErrorCode.WEIGHTS_MISSING
    assert code(PublishedOne2345.load, views) is ErrorCode.WEIGHTS_MISSING
    # Either file in the place of the other.
    assert code(PublishedOne2345.load, views, views) is ErrorCode.WEIGHTS_CORRUPT
    assert code(PublishedOne2345.load, surface, surface) is ErrorCode.WEIGHTS_CORRUPT


def test_other_families_and_schedules_are_refused(tiny, network):
    stable = Zero123(make_components('stable_zero123', 3))
    assert code(PublishedOne2345, stable, network) is ErrorCode.BAD_REQUEST
    assert code(PublishedOne2345, tiny.zero, network, 'slow') is ErrorCode.BAD_REQUEST


def test_the_cost_of_the_full_size_is_told():
    rows = measure_surface('cpu', 4, 32, 12, 200, 40)
    for stage in ('feature pyramid', 'cost volume', 'regularisation', 'colours of 40 vertices'):
        assert float(rows[stage].split(' s, busy')[0]) >= 0.0
        assert float(rows[stage].split('busy ')[1].split(' s')[0]) >= 0.0
    # Of 4 pictures of 32 x 32: 3 x 8 x 9 for the first layer alone, at every pixel.
    work = float(rows['feature pyramid'].split(', ')[2].split(' ')[0])
    assert work == pytest.approx(18.0 * 4 / 32 * (32 / 256) ** 2, abs=0.06)
    assert {'surface of faithful', 'surface of fast', 'peak memory'} <= set(rows)


def test_the_faithful_schedule_takes_the_published_steps(tiny):
    scheduler = tiny.zero.scheduler
    faithful, fast = SCHEDULES['faithful'], SCHEDULES['fast']
    assert view_steps(faithful.first, scheduler) == 2 * 77
    assert view_steps(faithful.second, scheduler) == 2 * 50
    assert (faithful.first.eta, faithful.first.guidance_scale) == (1.0, 3.0)
    assert view_steps(fast.first, scheduler) < 20
    assert view_steps(fast.second, scheduler) < 16
