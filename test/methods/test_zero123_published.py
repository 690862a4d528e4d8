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

"""Zero-1-to-3 distilled with weights of the published kind, tiny and random, and threestudio."""

from __future__ import annotations

from dataclasses import replace

from diffusers import AutoencoderKL
import numpy as np
import pytest
import trimesh
import weights_helpers
from zero123_helpers import make_components

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.methods.distilled import zero123_presets
from lift3d_ros.methods.distilled.zero123 import Zero123
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

pytestmark = pytest.mark.usefixtures('one_thread')


def write(folder, family):
    """Write a model whose autoencoder reduces pictures eightfold, as the published one."""
    vae = AutoencoderKL(
        latent_channels=4, block_out_channels=(4, 4, 4, 4), norm_num_groups=2,
        down_block_types=('DownEncoderBlock2D',) * 4, up_block_types=('UpDecoderBlock2D',) * 4,
        layers_per_block=1, sample_size=256, scaling_factor=0.18215)
    made = make_components(family, vae=vae)
    return weights_helpers.write_layout(folder, weights_helpers.parts_of(made), 'A')


@pytest.fixture(scope='module')
def scene():
    mesh = trimesh.creation.box((0.16, 0.05, 0.11)).subdivide_to_size(0.02)
    vertices = np.asarray(mesh.vertices, np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    colors = np.tile(np.array([60, 90, 190], np.uint8), (len(vertices), 1))
    table = TableSettings(
        elevation=(25.0, 45.0), distance=(0.7, 0.7), window=1.6, table_cells=24)
    return make_scene(Mesh(vertices, np.asarray(mesh.faces, np.int32), colors), 1, table)


@pytest.fixture(scope='module')
def method(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp('weights') / 'views', 'zero123')
    made = Zero123(weights=str(folder), steps=2, resolution=48)
    made.check()
    made.load()
    return made


def lift(method, scene):
    return Lifter(method, max_faces=6000).lift(scene.frame, LiftRequest(scene.mask, seed=0))


@pytest.mark.parametrize('defects', ['fixed', 'faithful'])
def test_latents_are_optimised_and_give_a_coloured_mesh(method, scene, defects):
    shape = lift(replace(method, preset='faithful', defects=defects), scene)
    assert shape.mesh.is_watertight()
    assert shape.mask_iou > 0.85
    assert not shape.notes


def test_published_weights_guide_voxels_of_colours(method, scene, monkeypatch):
    small = replace(zero123_presets.SMALL, resolution=48, samples=32, size=32)
    monkeypatch.setattr(zero123_presets, 'SMALL', small)
    shape = lift(method, scene)
    assert shape.mesh.is_watertight()
    assert not shape.notes


@pytest.mark.parametrize(
    'defects', ['fixed', pytest.param('faithful', marks=pytest.mark.slow)])
def test_the_preset_of_threestudio_optimises_a_hash_grid(method, scene, defects, monkeypatch):
    # The published grid has 12 million entries, and 12 views a step.
    monkeypatch.setattr(
        zero123_presets, 'HASH_GRID', HashGridSettings(levels=6, log2_entries=12))
    monkeypatch.setattr(zero123_presets, 'THREESTUDIO_VIEWS', (1, 16, ((1, 24, 1),)))
    shape = lift(replace(method, preset='fast', defects=defects), scene)
    assert shape.mesh.is_watertight()
    assert not shape.notes


def test_weights_of_another_family_are_refused(tmp_path):
    folder = write(tmp_path / 'views', 'zeronvs')
    with pytest.raises(LiftError) as caught:
        Zero123(weights=str(folder)).load()
    assert caught.value.code is ErrorCode.BAD_REQUEST
