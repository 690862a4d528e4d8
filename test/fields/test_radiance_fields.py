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

"""The radiance fields and their checkpoints."""

from __future__ import annotations

import json
import math

from error_helpers import raises_code
import pytest
import torch

from lift3d_ros.errors import ErrorCode
from lift3d_ros.fields.checkpoints import load_field
from lift3d_ros.fields.checkpoints import make_field
from lift3d_ros.fields.checkpoints import save_field
from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.encodings import FeatureVoxelSettings
from lift3d_ros.fields.encodings import TriplaneSettings
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.heads import NEURALLIFT_BLOB
from lift3d_ros.fields.heads import ZERONVS_BLOB
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import EncodedFieldSettings
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.rays import Rays
from lift3d_ros.fields.volume_rendering import render
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import orbit_pose

HASH = HashGridSettings(levels=4, log2_entries=10, base=4, growth=1.5, interpolation='smoothstep')

FIELDS = {
    'sjc': lambda: VoxelField(VoxelFieldSettings(resolution=6), seed=1),
    'voxels': lambda: VoxelField(
        VoxelFieldSettings(bound=0.6, resolution=5, channels=3, color='sigmoid'), seed=1),
    'blob': lambda: VoxelField(
        VoxelFieldSettings(resolution=5, channels=3, color='sigmoid', blob=NEURALLIFT_BLOB),
        seed=1),
    'hash': lambda: EncodedField(HASH, EncodedFieldSettings(bound=0.6), seed=1),
    'triplane': lambda: EncodedField(
        TriplaneSettings(8, 4),
        EncodedFieldSettings(activation='silu', residual=True, blob=NEURALLIFT_BLOB), seed=1),
    'features': lambda: EncodedField(
        FeatureVoxelSettings(4, 3), EncodedFieldSettings(density='softplus', hidden=0), seed=1),
    'scene': lambda: EncodedField(
        HASH, EncodedFieldSettings(
            bound=2.0, contracted=True, density='softplus', blob=ZERONVS_BLOB, width=32), seed=1),
}


@pytest.fixture(params=FIELDS)
def field(request):
    return FIELDS[request.param]()


@pytest.fixture
def points():
    return torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9


def test_values_are_in_their_ranges(field, points):
    density, albedo = field(points)
    assert density.shape == (40,) and albedo.shape == (40, field.channels)
    assert bool((density >= 0.0).all())
    if field.channels == 3:
        assert 0.0 <= float(albedo.detach().min()) and float(albedo.detach().max()) <= 1.0
    assert torch.equal(field.density(points), density)
    assert torch.equal(field.albedo(points), albedo)
    inside = (points.abs() <= field.bound).all(dim=1)
    assert torch.equal(field.inside(points), inside)
    outside = density[~inside]
    assert bool((outside > 0.0).all()) if field.contracted else not bool(outside.any())


def test_all_parameters_have_gradients_and_a_rate(field, points):
    density, albedo = field(points)
    (density.sum() + albedo.square().sum()).backward()
    assert all(value.grad is not None for value in field.parameters())
    groups = field.parameter_groups(0.01)
    grouped = [value for group in groups for value in group['params']]
    assert {id(value) for value in grouped} == {id(value) for value in field.parameters()}
    rates = [group['lr'] for group in groups]
    assert rates == ([0.1, 0.01] if isinstance(field, EncodedField) else [0.01])


def test_gradients_against_finite_differences(field):
    field = field.double()
    points = torch.rand(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    points = (0.5 * field.bound * (points - 0.3)).requires_grad_()
    assert torch.autograd.gradcheck(field, (points,))


def test_mixed_precision(field, points):
    whole, _ = field(points)
    rays = Rays.from_camera(Camera.from_fov(6, 6, 50.0), orbit_pose(10.0, 10.0, 1.5))
    settings = RenderSettings(samples=16, far=4.0, normals='difference')
    with torch.autocast('cpu', torch.bfloat16):
        density, _ = field(points)
        color = render(field, rays, settings).color
    assert density.dtype == torch.float32
    torch.testing.assert_close(density, whole, rtol=0.1, atol=0.05)
    torch.testing.assert_close(
        color.float(), render(field, rays, settings).color, rtol=0, atol=0.05)
    color.float().sum().backward()
    assert all(bool(torch.isfinite(value.grad).all()) for value in field.parameters())


def test_voxels_with_a_blob_are_dense_at_the_origin_alone():
    field = VoxelField(VoxelFieldSettings(resolution=8, blob=NEURALLIFT_BLOB))
    ends = torch.tensor([[0.0, 0.0, 0.0], [0.9, 0.0, 0.0]])
    at_origin, far = field.density(ends).tolist()
    # Softplus of -1 + 5, and of -1.
    assert at_origin == pytest.approx(math.log1p(math.exp(4.0)), rel=1e-5)
    assert far == pytest.approx(math.log1p(math.exp(-1.0)), rel=1e-4)


def test_a_description_makes_the_same_shape(field):
    description = json.loads(json.dumps(field.describe()))
    again = make_field(description)
    assert type(again) is type(field) and again.describe() == field.describe()
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in field.state_dict().items()}


def test_a_checkpoint_keeps_field_grid_and_notes(field, points, tmp_path):
    with torch.no_grad():
        for value in field.parameters():
            value.add_(0.1)
    grid = DensityGrid(field, 0.05, resolution=8)
    grid.refresh(field)
    path = tmp_path / 'field.safetensors'
    save_field(path, field, grid, {'step': 7})
    found = load_field(path)
    for a, b in zip(field(points), found.field(points), strict=True):
        assert torch.equal(a, b)
    assert found.notes == {'step': 7}
    again = DensityGrid(found.field, 0.05, resolution=8)
    again.load_state_dict(found.occupancy)
    assert torch.equal(again.values, grid.values)
    save_field(path, field)
    assert load_field(path).occupancy is None


@pytest.mark.parametrize('change', [
    {'kind': 'gaussians'}, {'settings': {'bound': -1.0}}, {'settings': {'colour': 'blue'}},
    {'settings': None}, {'encoding': {'kind': 'fourier'}},
    {'encoding': {'kind': 'hash', 'levels': 0}},
])
def test_unknown_descriptions_are_refused(change):
    with raises_code(ErrorCode.BAD_REQUEST):
        make_field({**FIELDS['hash']().describe(), **change})
    with raises_code(ErrorCode.BAD_REQUEST):
        make_field({'kind': 'voxels', 'settings': {'resolution': 1}})


def test_damaged_checkpoints_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / 'field.safetensors'
    field = FIELDS['voxels']()
    save_field(path, field)
    whole = path.read_bytes()
    # A description of more voxels than there are values takes no memory for them.
    larger = whole.replace(b'resolution\\": 5', b'resolution\\": 9')
    assert larger != whole
    for data in (b'', whole[:200], whole[:-4], whole[:8] + b'x' + whole[9:], larger):
        path.write_bytes(data)
        with raises_code(ErrorCode.WEIGHTS_CORRUPT):
            load_field(path)
    save_file({'a': torch.zeros(1)}, path)
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_field(path)
    with raises_code(ErrorCode.BAD_REQUEST):
        load_field(tmp_path)
    with pytest.raises(OSError):
        load_field(tmp_path / 'missing')


def test_values_that_are_not_finite_are_not_stored(tmp_path):
    field = FIELDS['voxels']()
    with torch.no_grad():
        field.density_grid[0, 0, 0, 0, 0] = torch.nan
    with raises_code(ErrorCode.BAD_REQUEST):
        save_field(tmp_path / 'field.safetensors', field)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('changes', [
    {'bound': 0.0}, {'bound': float('nan')}, {'channels': 0}, {'color': 'tanh'},
    {'density': 'relu'}, {'density_bias': float('inf')}, {'encoding_rate': 0.0},
])
def test_bad_settings(changes):
    with pytest.raises(ValueError):
        EncodedFieldSettings(**changes)


def test_bad_points(field):
    for bad in (torch.zeros(3), torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.int32)):
        with pytest.raises(ValueError):
            field(bad)
    assert field(torch.zeros(0, 3))[1].shape == (0, field.channels)
