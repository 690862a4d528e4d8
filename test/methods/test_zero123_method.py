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

"""The method zero123 on rendered tables: settings, progress, deadline, and what bad input does."""

from __future__ import annotations

from dataclasses import replace
import time

import numpy as np
import pytest
import trimesh

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.methods.distilled import zero123_presets
from lift3d_ros.methods.distilled.zero123 import Zero123
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

pytestmark = pytest.mark.usefixtures('one_thread')

#: A robot's distance; a small window of a large picture, so that scenes take no time.
TABLE = TableSettings(elevation=(25.0, 45.0), distance=(0.7, 0.7), window=1.6, table_cells=24)

STEPS = 30


@pytest.fixture(scope='module')
def scene():
    mesh = trimesh.creation.box((0.16, 0.05, 0.11)).subdivide_to_size(0.02)
    vertices = np.asarray(mesh.vertices, np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    colors = np.tile(np.array([60, 90, 190], np.uint8), (len(vertices), 1))
    return make_scene(Mesh(vertices, np.asarray(mesh.faces, np.int32), colors), 1, TABLE)


@pytest.fixture(scope='module')
def method():
    """Return the loaded method, with few steps and a coarse mesh."""
    made = Zero123(steps=STEPS, resolution=48)
    made.load()
    return made


@pytest.fixture(scope='module', autouse=True)
def coarse_voxels():
    """Optimise coarse voxels from few pixels, which takes seconds."""
    small = replace(zero123_presets.SMALL, resolution=48, samples=32, size=32, rings=(4, (15.0,)),
        scratch_rings=(4, (15.0,)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zero123_presets, 'SMALL', small)
        yield


@pytest.fixture(scope='module')
def lifted(coarse_voxels, method, scene):
    """Return a shape, and the steps and stages that were reported."""
    steps, stages = [], []
    shape = lift(
        method, scene, on_step=steps.append,
        progress=lambda stage, fraction: stages.append((stage, fraction)))
    return shape, steps, stages


def lift(method, scene, **options):
    return Lifter(method, max_faces=6000).lift(
        scene.frame, LiftRequest(scene.mask, seed=0), **options)


@pytest.mark.parametrize('settings', [
    {'steps': 0}, {'steps': -3}, {'preset': 'large'}, {'init': 'nothing'}, {'preset': 'gpu'},
    {'samples': 2}, {'device': 'abacus'},
])
def test_settings_without_a_meaning_are_refused(settings):
    with pytest.raises(LiftError) as caught:
        Lifter('zero123', **settings)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_unknown_defects_are_refused():
    with pytest.raises(LiftError) as caught:
        Zero123(defects='mended')
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_missing_weights_are_found_before_anything_is_loaded():
    with pytest.raises(LiftError) as caught:
        Lifter('zero123', weights='/nowhere/zero123.ckpt').check()
    assert caught.value.code is ErrorCode.WEIGHTS_MISSING


def test_the_shape_is_closed_metric_and_not_calibrated(lifted):
    shape = lifted[0]
    assert shape.method == 'zero123'
    assert shape.mesh.is_watertight()
    assert shape.scale_source == 'depth'
    assert shape.size.max() == pytest.approx(0.16, abs=0.02)
    assert shape.mask_iou > 0.85
    assert shape.pass_probability is None
    # Confidence that is not calibrated stays low where no camera measured.
    assert 0.0 <= shape.confidence.min() and shape.confidence[~shape.observed].max() <= 0.4


def test_steps_are_reported_with_their_loss_and_a_picture(lifted):
    _, steps, stages = lifted
    assert [step.step for step in steps] == [25, STEPS]
    assert all(step.steps == STEPS and np.isfinite(step.loss) for step in steps)
    assert all(step.preview.dtype == np.uint8 and step.preview.ndim == 3 for step in steps)
    fractions = [fraction for _, fraction in stages]
    assert fractions == sorted(fractions) and 'optimise' in dict(stages)


def test_the_same_seed_gives_the_same_mesh(method, scene, lifted):
    first, second = lifted[0], lift(method, scene)
    assert np.array_equal(first.mesh.vertices, second.mesh.vertices)
    assert np.array_equal(first.mesh.colors, second.mesh.colors)


def test_a_cancelled_run_ends_within_half_a_second(method, scene):
    asked = []

    def cancelled():
        if not asked and running:
            asked.append(time.monotonic())
        return bool(asked)

    running = []
    with pytest.raises(LiftError) as caught:
        lift(replace(method, steps=100_000), scene, on_step=running.append, cancelled=cancelled)
    assert caught.value.code is ErrorCode.CANCELLED
    assert time.monotonic() - asked[0] < 0.5


def test_a_deadline_ends_the_optimisation_in_time_with_a_note(method, scene):
    deadline = time.monotonic() + 9.0
    shape = lift(replace(method, steps=100_000), scene, deadline=deadline)
    assert time.monotonic() < deadline
    assert shape.mesh.is_watertight()
    assert any('100000' in note for note in shape.notes)


def test_a_diverging_run_ends_with_its_last_good_state_and_a_note(method, scene, monkeypatch):
    # The first step is not finite: a lower rate may end in a finite field without a surface.
    monkeypatch.setattr(
        zero123_presets, 'SMALL', replace(zero123_presets.SMALL, rate=1e38))
    shape = lift(method, scene)
    assert shape.mesh.is_watertight()
    assert np.isfinite(shape.mesh.vertices).all()
    assert any('diverged' in note for note in shape.notes)


def test_from_scratch_without_depth_there_is_a_closed_shape(method, scene):
    frame = replace(scene.frame, depth=None)
    shape = Lifter(replace(method, init='scratch', steps=60), max_faces=6000).lift(
        frame, LiftRequest(scene.mask, seed=0))
    assert shape.mesh.is_watertight()
    assert shape.mask_iou > 0.7
