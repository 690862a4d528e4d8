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
"""The presets for a GPU run their first steps on the CPU, in small; their numbers are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.methods.distilled import neurallift360_presets
from lift3d_ros.methods.distilled import realfusion_presets
from lift3d_ros.methods.distilled import zero123_presets
from lift3d_ros.methods.distilled.neurallift360 import NeuralLift360
from lift3d_ros.methods.distilled.realfusion import RealFusion
from lift3d_ros.methods.distilled.zero123 import Zero123
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

pytestmark = pytest.mark.usefixtures('one_thread')

#: The method, the module of its presets, and what is smaller here.
CASES = {
    'zero123': (Zero123, zero123_presets, {
        'resolution': 32, 'samples': 24, 'size': 24, 'rings': (2, (15.0, 40.0)),
        'scratch_rings': (2, (20.0,))}),
    'realfusion': (RealFusion, realfusion_presets, {'samples': 24, 'size': 24}),
    'neurallift360': (NeuralLift360, neurallift360_presets, {
        'resolution': 32, 'samples': 24, 'size': 24}),
}


@pytest.fixture(scope='module')
def scene():
    box = trimesh.creation.box((0.16, 0.05, 0.11)).subdivide_to_size(0.02)
    vertices = np.asarray(box.vertices, np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    colors = np.tile(np.array([60, 90, 190], np.uint8), (len(vertices), 1))
    return make_scene(
        Mesh(vertices, np.asarray(box.faces, np.int32), colors), 1,
        TableSettings(elevation=(25.0, 45.0), distance=(0.7, 0.7), window=1.6, table_cells=24))


@pytest.mark.slow
@pytest.mark.parametrize('name', list(CASES))
def test_the_preset_for_a_gpu_optimises(name, scene, monkeypatch):
    make, presets, smaller = CASES[name]
    monkeypatch.setattr(presets, 'GPU', replace(presets.GPU, **smaller))
    method = make(steps=3, resolution=32)
    # Settings with this preset are refused without a GPU.
    method.preset = 'gpu'
    steps = []
    shape = Lifter(method, max_faces=2000).lift(
        scene.frame, LiftRequest(scene.mask, seed=0), on_step=steps.append)
    assert [step.step for step in steps][-1] in (2, 3)
    assert all(np.isfinite(list(step.losses.values())).all() for step in steps)
    assert shape.mesh.is_watertight()
