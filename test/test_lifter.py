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

"""What every method has in common behind ``Lifter``, and the learned one by untrained weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
import view_helpers

from lift3d_ros.cli.demo import DEMO_SCENE
from lift3d_ros.elevation.estimate import find_elevation
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import DEFAULT_METHOD
from lift3d_ros.lifter import DISTILLED
from lift3d_ros.lifter import LEARNED
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.lifter import MAX_SAMPLES
from lift3d_ros.lifter import METHODS
from lift3d_ros.methods.one2345_published import One2345Published
from lift3d_ros.methods.published_surface import PublishedOne2345
from lift3d_ros.methods.published_surface import PublishedSurface
from lift3d_ros.placement.success_probability import pass_probability

METHOD = 'one2345'


@pytest.fixture(scope='module')
def scene():
    return read_scene(DEMO_SCENE)


@pytest.fixture(scope='module')
def lifter(learned_weights: Path) -> Lifter:
    return Lifter(METHOD, weights=str(learned_weights))


@pytest.fixture(scope='module')
def shape(lifter: Lifter, scene) -> Shape:
    return lifter.lift(scene[0], LiftRequest(scene[1], seed=1))


# What is asked for


def test_the_default_is_one_of_the_methods():
    assert Lifter().name == DEFAULT_METHOD
    assert DEFAULT_METHOD in METHODS
    assert set(LEARNED) < set(METHODS)


@pytest.mark.parametrize(('method', 'options'), [
    ('geometric', {'weights': 'small'}),
    ('geometric', {'samples': 2}),
    ('geometric', {'device': 'cuda'}),
    (METHOD, {'samples': 0}),
    (METHOD, {'samples': MAX_SAMPLES + 1}),
    (METHOD, {'weights': 'full', 'samples': 2}),
    (METHOD, {'device': 'abacus'}),
    (METHOD, {'max_faces': 7}),
    (METHOD, {'preset': 'small'}),
    (METHOD, {'init': 'scratch'}),
    ('geometric', {'steps': 5}),
    ('telepathy', {}),
])
def test_settings_that_a_method_does_not_have_are_refused(method, options):
    with pytest.raises(LiftError) as caught:
        Lifter(method, **options)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_one_sample_and_no_weights_suit_every_method():
    for method in METHODS:
        Lifter(method, samples=1, weights=None)


# Weights


def test_check_finds_no_fault_with_whole_weights(lifter):
    lifter.check()
    Lifter('geometric').check()


@pytest.mark.parametrize('step', [Lifter.check, Lifter.load])
def test_weights_that_are_not_there_are_missing(step):
    with pytest.raises(LiftError, match='lift3d weights list') as caught:
        step(Lifter(METHOD, weights='no-such-weights'))
    assert caught.value.code is ErrorCode.WEIGHTS_MISSING


@pytest.mark.parametrize('step', [Lifter.check, Lifter.load])
def test_weights_that_make_views_alone_are_refused(step, tmp_path):
    folder = view_helpers.random_weights(tmp_path / 'views')
    with pytest.raises(LiftError, match='surface') as caught:
        step(Lifter(METHOD, weights=str(folder)))
    assert caught.value.code is ErrorCode.WEIGHTS_MISSING


def test_a_file_that_was_cut_short_is_corrupt(learned_weights, tmp_path):
    folder = tmp_path / 'cut'
    shutil.copytree(learned_weights, folder)
    file = folder / 'surface' / 'model.safetensors'
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(LiftError, match='surface') as caught:
        Lifter(METHOD, weights=str(folder)).load()
    assert caught.value.code is ErrorCode.WEIGHTS_CORRUPT


def test_no_network_is_imported_before_it_is_needed(learned_weights):
    code = (
        'import sys\n'
        'from lift3d_ros.lifter import Lifter\n'
        f'lifter = Lifter({METHOD!r}, weights={str(learned_weights)!r})\n'
        'lifter.check()\n'
        'assert not {"torch", "diffusers", "transformers"} & set(sys.modules)\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=100)


# Lifting


def test_the_learned_method_makes_a_closed_coloured_metric_mesh(shape, scene):
    frame, mask = scene
    assert shape.method == METHOD
    assert shape.mesh.is_watertight()
    assert shape.mesh.volume() > 0.0
    assert len(shape.confidence) == len(shape.observed) == len(shape.mesh.vertices)
    assert 0.0 <= shape.confidence.min() < shape.confidence.max() <= 1.0
    assert (shape.scale_source, shape.elevation_source) == ('depth', 'gravity')
    # Whatever the network believes, the mesh keeps to the mask and to the depth.
    vertices = shape.mesh_in_camera().vertices
    u, v, _ = frame.camera.project(vertices)
    rows, columns = np.nonzero(mask)
    assert (u.min(), u.max()) == pytest.approx((columns.min(), columns.max()), abs=15)
    assert (v.min(), v.max()) == pytest.approx((rows.min(), rows.max()), abs=15)
    depth = frame.depth[mask & (frame.depth > 0.0)]
    assert vertices[:, 2].min() == pytest.approx(depth.min(), abs=0.01)


def test_it_tells_its_stages_and_their_time(shape):
    stages = [name for name in shape.seconds if name != 'total']
    assert stages[0] == 'crop'
    assert {'volume', 'denoise', 'surface', 'mesh', 'colour'} < set(stages)
    assert sum(shape.seconds[s] for s in stages) <= shape.seconds['total'] + 1e-3


def test_the_same_seed_gives_the_same_shape_also_after_other_lifts(lifter, shape, scene):
    other = lifter.lift(scene[0], LiftRequest(scene[1], seed=2))
    again = lifter.lift(scene[0], LiftRequest(scene[1], seed=1))
    np.testing.assert_array_equal(again.mesh.vertices, shape.mesh.vertices)
    np.testing.assert_array_equal(again.confidence, shape.confidence)
    assert (
        len(other.confidence) != len(shape.confidence)
        or (other.confidence != shape.confidence).any()
    )


def test_several_samples_make_one_shape(learned_weights, scene, shape):
    two = Lifter(METHOD, weights=str(learned_weights), samples=2)
    mean = two.lift(scene[0], LiftRequest(scene[1], seed=1))
    assert mean.mesh.is_watertight()
    np.testing.assert_allclose(mean.size, shape.size, rtol=0.2)


@pytest.mark.parametrize('stage', ['observe', 'volume', 'denoise', 'surface'])
def test_cancelled_it_ends_before_the_next_stage(lifter, scene, stage):
    seen: list[str] = []
    with pytest.raises(LiftError) as caught:
        lifter.lift(
            *scene,
            progress=lambda stage, done: seen.append(stage),
            cancelled=lambda: stage in seen,
        )
    assert caught.value.code is ErrorCode.CANCELLED
    assert seen[-1] == stage


def test_the_deadline_ends_it_between_stages(lifter, scene, monkeypatch):
    seen: list[str] = []

    def now() -> float:
        # From the denoiser on it is an hour later.
        return time.monotonic() + (3600.0 if 'denoise' in seen else 0.0)

    monkeypatch.setattr('lift3d_ros.progress.time', SimpleNamespace(monotonic=now))
    with pytest.raises(LiftError) as caught:
        lifter.lift(
            *scene,
            progress=lambda stage, done: seen.append(stage),
            deadline=time.monotonic() + 1800.0,
        )
    assert caught.value.code is ErrorCode.TIMEOUT
    assert 'denoise' in seen
    assert 'surface' not in seen


def test_unloaded_it_loads_again_by_itself(lifter, shape, scene):
    lifter.unload()
    again = lifter.lift(scene[0], LiftRequest(scene[1], seed=1))
    np.testing.assert_array_equal(again.mesh.vertices, shape.mesh.vertices)


# The published weights behind the same face


@pytest.fixture(scope='module')
def published(scene):
    """Return a published system whose views and surface are made up: a ball, seen by nobody."""
    frame, mask = scene
    ball = trimesh.creation.icosphere(4, 0.4)

    class Published:
        agreement = 0.5

        def reconstruct(self, view, rng, progress):
            elevation = find_elevation(view)
            with progress.stage('views', 0.8):
                progress.check()
            return PublishedSurface(
                vertices=np.asarray(ball.vertices, np.float32),
                faces=np.asarray(ball.faces, np.int32),
                colors=np.full((len(ball.vertices), 3), (10, 200, 30), np.uint8),
                distance=lambda p: (np.linalg.norm(p, axis=1) - 0.4).astype(np.float32),
                canonical=canonical_frame(view, elevation.degrees),
                elevation=elevation,
                agreement=self.agreement,
                images=np.zeros((32, 8, 8, 3), np.uint8),
                first_images=np.zeros((8, 8, 8, 3), np.uint8),
                plan=(),
                first_plan=(),
            )

    return Published()


@pytest.fixture()
def full(published, monkeypatch):
    lifter = Lifter(METHOD, weights='full')
    monkeypatch.setattr(One2345Published, 'check', lambda self: None)
    monkeypatch.setattr(PublishedOne2345, 'load', lambda *names, **options: published)
    return lifter


@pytest.mark.parametrize('step', [Lifter.check, Lifter.load])
def test_without_the_published_weights_it_is_said_how_to_bring_them(step, monkeypatch, tmp_path):
    monkeypatch.setenv('LIFT3D_WEIGHTS', str(tmp_path))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    with pytest.raises(LiftError, match='zero123-xl') as caught:
        step(Lifter(METHOD, weights='full'))
    assert caught.value.code is ErrorCode.WEIGHTS_MISSING


def test_a_published_surface_is_placed_and_cut_by_what_was_measured(full, scene):
    frame, mask = scene
    shape = full.lift(frame, mask)
    assert shape.method == METHOD
    assert shape.mesh.is_watertight()
    assert (shape.scale_source, shape.elevation_source) == ('depth', 'gravity')
    vertices = shape.mesh_in_camera().vertices
    u, v, _ = frame.camera.project(vertices)
    rows, columns = np.nonzero(mask)
    assert u.min() > columns.min() - 10
    assert u.max() < columns.max() + 10
    assert v.min() > rows.min() - 10
    assert v.max() < rows.max() + 10
    # What was guessed has the colour of the published surface; what was seen mostly the camera's.
    green = (shape.mesh.colors == (10, 200, 30)).all(axis=1)
    assert green[~shape.observed].mean() > 0.9
    assert green[shape.observed].mean() < 0.5


def test_confidence_falls_with_the_agreement_of_the_views(full, scene, published, monkeypatch):
    first = full.lift(*scene)
    monkeypatch.setattr(type(published), 'agreement', 0.25)
    second = full.lift(*scene)
    guessed = ~first.observed
    np.testing.assert_allclose(second.confidence[guessed], 0.5 * first.confidence[guessed])
    np.testing.assert_array_equal(second.confidence[~guessed], first.confidence[~guessed])


# Confidence


def test_a_shape_tells_how_probably_it_is_good(shape, lifter, scene):
    assert 0.0 < shape.pass_probability <= 1.0
    frame, mask = scene
    blind = lifter.lift(replace(frame, depth=None), LiftRequest(mask, seed=1))
    # Without a scale no place on it is known.
    assert blind.pass_probability == 0.0


def test_what_is_not_as_sure_as_was_asked_for_is_refused(shape, lifter, scene):
    least = shape.overall_confidence
    enough = LiftRequest(scene[1], seed=1, min_confidence=least - 1e-6)
    assert lifter.lift(scene[0], enough).mesh.is_watertight()
    with pytest.raises(LiftError, match=f'{least:.2f}') as caught:
        lifter.lift(scene[0], LiftRequest(scene[1], seed=1, min_confidence=least + 0.01))
    assert caught.value.code is ErrorCode.LOW_CONFIDENCE


@pytest.mark.parametrize('method', sorted(set(METHODS) - set(DISTILLED)))
def test_more_confidence_is_never_a_worse_chance(method):
    chances = [pass_probability(method, c, True) for c in np.linspace(0.0, 1.0, 21)]
    assert chances == sorted(chances)
    assert chances[0] < chances[-1]


def test_nothing_is_promised_for_what_was_not_measured():
    assert pass_probability('telepathy', 0.9, True) is None
