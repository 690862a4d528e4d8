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

"""Activations, blobs, contraction, encodings and the networks of radiance fields."""

from __future__ import annotations

import math

import pytest
import torch

from lift3d_ros.fields.encodings import contract
from lift3d_ros.fields.encodings import FeatureVoxels
from lift3d_ros.fields.encodings import FeatureVoxelSettings
from lift3d_ros.fields.encodings import frequencies
from lift3d_ros.fields.encodings import Triplane
from lift3d_ros.fields.encodings import TriplaneSettings
from lift3d_ros.fields.encodings import uncontract
from lift3d_ros.fields.heads import activate_density
from lift3d_ros.fields.heads import DensityBlob
from lift3d_ros.fields.heads import DirectionBackground
from lift3d_ros.fields.heads import NEURALLIFT_BLOB
from lift3d_ros.fields.heads import PointNetwork
from lift3d_ros.fields.heads import REALFUSION_BLOB
from lift3d_ros.fields.heads import trunc_exp
from lift3d_ros.fields.heads import ZERO123_BLOB
from lift3d_ros.fields.heads import ZERONVS_BLOB


def test_trunc_exp_has_a_bounded_gradient():
    x = torch.tensor([-2.0, 0.0, 10.0, 20.0], dtype=torch.float64, requires_grad=True)
    y = trunc_exp(x)
    torch.testing.assert_close(y, x.exp())
    y.sum().backward()
    assert x.grad.tolist() == pytest.approx([math.exp(v) for v in (-2.0, 0.0, 10.0, 15.0)])
    assert torch.autograd.gradcheck(trunc_exp, x.detach()[:3].requires_grad_())
    assert trunc_exp(torch.zeros(1, dtype=torch.float16)).dtype == torch.float32


def test_densities():
    x = torch.tensor([-30.0, 0.0, 5.0])
    assert activate_density(x, 'softplus').tolist() == pytest.approx(
        [0.0, math.log(2.0), math.log1p(math.exp(5.0))], abs=1e-6)
    assert activate_density(x, 'trunc_exp')[1] == 1.0


@pytest.mark.parametrize(('blob', 'at_02'), [
    (REALFUSION_BLOB, 5.0 * math.exp(-0.5)),
    (NEURALLIFT_BLOB, 5.0 * math.exp(-1.0)),
    (ZERO123_BLOB, 10.0 * 0.6),
    (ZERONVS_BLOB, 5.0 * 0.6),
])
def test_published_blobs(blob, at_02):
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.2, 0.0]])
    assert blob(points).tolist() == pytest.approx([blob.scale, at_02], rel=1e-4)
    points.requires_grad_()
    blob(points).sum().backward()
    assert bool(torch.isfinite(points.grad).all())


@pytest.mark.parametrize('changes', [{'kind': 'cube'}, {'std': 0.0}, {'scale': math.nan}])
def test_bad_blobs(changes):
    with pytest.raises(ValueError):
        DensityBlob(**changes)


def test_contraction():
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double() * 3.0
    near = contract(points)
    length = points.norm(dim=1)
    assert bool((near.norm(dim=1) < 2.0).all())
    assert torch.equal(near[length <= 1.0], points[length <= 1.0])
    far = length > 1.0
    torch.testing.assert_close(near[far].norm(dim=1), 2.0 - 1.0 / length[far])
    torch.testing.assert_close(uncontract(near), points)
    assert torch.autograd.gradcheck(contract, points[:4].clone().requires_grad_())


def test_frequencies():
    values = torch.tensor([[0.3, -1.0]])
    expected = [0.3, -1.0]
    for octave in (1.0, 2.0, 4.0):
        expected += [math.sin(octave * v) for v in (0.3, -1.0)]
        expected += [math.cos(octave * v) for v in (0.3, -1.0)]
    assert frequencies(values, 3)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_planes_and_voxels_interpolate():
    voxels = FeatureVoxels(FeatureVoxelSettings(3, 1))
    planes = Triplane(TriplaneSettings(3, 1))
    with torch.no_grad():
        # The value is x + 10 y + 100 z at the points of the grid, in units of its spacing.
        z, y, x = torch.meshgrid(*[torch.arange(3.0)] * 3, indexing='ij')
        voxels.grid.copy_((x + 10 * y + 100 * z)[None, None])
        planes.planes.copy_(1.0 + (x[0] + 10 * y[0]).expand(3, 1, 3, 3))
    points = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.25, 0.5, 0.75]])
    assert voxels(points)[:, 0].tolist() == pytest.approx([0.0, 222.0, 0.5 + 10.0 + 150.0])
    expected = [
        (1 + 2 * a + 20 * b) * (1 + 2 * b + 20 * c) * (1 + 2 * c + 20 * a)
        for a, b, c in points.tolist()
    ]
    assert planes(points)[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize('make', [
    lambda: TriplaneSettings(1, 8), lambda: TriplaneSettings(64, 0),
    lambda: FeatureVoxelSettings(1, 8), lambda: FeatureVoxelSettings(4096, 8),
    lambda: PointNetwork(3, 1, 1, 8, 0, 'tanh'), lambda: PointNetwork(3, 1, -1, 8, 0),
])
def test_bad_shapes(make):
    with pytest.raises(ValueError):
        make()


def test_networks_are_made_from_their_seed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    a, b, c = (DirectionBackground(seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.eye(3)
    assert torch.equal(a(x), b(x)) and not torch.equal(a(x), c(x))


def test_a_residual_network_adds_its_inputs():
    network = PointNetwork(8, 2, 2, 8, 0, 'silu', residual=True)
    with torch.no_grad():
        for layer in list(network.layers)[:-1]:
            layer.weight.zero_()
            layer.bias.zero_()
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(x), network.layers[-1](x))
    assert PointNetwork(8, 2, 1, 8, 0, bias=False).layers[0].bias is None
