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

"""The method one2345 with weights in the published formats, tiny and random, in a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree
import torch
import view_helpers
import weights_helpers
from zero123_helpers import IMAGE
from zero123_helpers import make_components

from lift3d_ros.cli.demo import DEMO_SCENE
from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.field import Field
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.methods.one2345_published import FAITHFUL
from lift3d_ros.methods.one2345_published import FULL
from lift3d_ros.methods.one2345_published import MAX_CONFIDENCE
from lift3d_ros.methods.one2345_published import One2345Published
from lift3d_ros.methods.one2345_published import published_views
from lift3d_ros.methods.one2345_published import PublishedField
from lift3d_ros.methods.published_surface import PublishedOne2345
from lift3d_ros.methods.published_surface import PublishedSurface
from lift3d_ros.methods.published_views import Schedule
from lift3d_ros.networks.one2345.network import One2345Network
from lift3d_ros.weights import store
from lift3d_ros.weights.importing import import_weights

pytestmark = pytest.mark.usefixtures('one_thread')


FACES = 4000


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, Path]:
    """Return weights in the published formats: a diffusers folder, and the surface's file."""
    folder = tmp_path_factory.mktemp('files')
    made = weights_helpers.parts_of(make_components('zero123', 3))
    views = weights_helpers.write_layout(folder / 'zero123', made, 'A', suffix='.safetensors')
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = One2345Network()
    # The untrained distance is that of a sphere; this one fits into what the views show.
    network.sdf_network_lod0.sdf_layer.lin2.bias.data.fill_(-0.25)
    content = {name: part.state_dict() for name, part in network.named_children()}
    surface = folder / 'ckpt_215000.pth'
    torch.save({'iter_step': 215000, 'val_step': 1, **content}, surface)
    return {'views': views, 'surface': surface}


@pytest.fixture(scope='module')
def empty_store(tmp_path_factory) -> Iterator[Path]:
    """Name a store for this module; return its folder."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp('store')
        patch.setenv(store.ENVIRONMENT, str(folder))
        patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
        yield folder


@pytest.fixture()
def nothing_brought(empty_store, tmp_path, monkeypatch) -> Path:
    """Name an empty store for one test; return its folder."""
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / 'empty'))
    return tmp_path / 'empty'


@pytest.fixture(scope='module')
def brought(empty_store, files) -> Path:
    """Import both; return the store."""
    import_weights(files['views'], 'zero123-xl')
    import_weights(files['surface'])
    return empty_store


@pytest.fixture(scope='module')
def small_size() -> Iterator[None]:
    """Let what is loaded make few steps, small views and a small volume, as it was made for."""
    few = SamplerSettings('dpm++', steps=2, guidance_scale=3.0)
    load = PublishedOne2345.load

    def loaded(*sources, **options):
        model = load(*sources, **options)
        return replace(model, schedule=Schedule(few, few, resolution=33), size=IMAGE, voxels=16)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PublishedOne2345, 'load', loaded)
        yield


@pytest.fixture(scope='module')
def scene():
    return read_scene(DEMO_SCENE)


@pytest.fixture(scope='module')
def heard():
    return []


@pytest.fixture(scope='module')
def lifter(brought, small_size) -> Lifter:
    return Lifter('one2345', FACES, weights=FULL)


@pytest.fixture(scope='module')
def shape(lifter, scene, heard):
    return lifter.lift(
        scene[0],
        LiftRequest(scene[1], seed=1),
        progress=lambda stage, done: heard.append((stage, done)),
    )


def assert_closed(shape):
    assert shape.mesh.is_watertight()
    assert shape.mesh.volume() > 0.0
    assert 100 < len(shape.mesh.faces) <= FACES
    assert len(shape.mesh.to_trimesh().split(only_watertight=False)) == 1
    assert len(shape.confidence) == len(shape.observed) == len(shape.mesh.vertices)


# A lift


def test_it_makes_a_closed_metric_mesh_in_the_frame_of_the_camera(shape, scene):
    frame, mask = scene
    assert_closed(shape)
    assert shape.method == 'one2345'
    assert (shape.scale_source, shape.elevation_source) == ('depth', 'gravity')
    u, v, _ = frame.camera.project(shape.mesh_in_camera().vertices)
    rows, columns = np.nonzero(mask)
    for pixels, own in ((u, columns), (v, rows)):
        assert (pixels.min(), pixels.max()) == pytest.approx((own.min(), own.max()), abs=15)


def test_measured_surface_agrees_with_the_depth(shape, scene):
    frame, mask = scene
    rows, columns = np.nonzero(mask & (frame.depth > 0.0))
    readings = frame.camera.unproject(columns, rows, frame.depth[rows, columns])
    measured = shape.mesh_in_camera().vertices[shape.observed]
    assert 0.1 < shape.observed.mean() < 0.9
    assert np.median(cKDTree(readings).query(measured)[0]) < 0.003


def test_confidence_in_what_is_guessed_is_low(shape):
    guessed = shape.confidence[~shape.observed]
    assert 0.0 <= guessed.min() < guessed.max() < MAX_CONFIDENCE
    assert shape.confidence[shape.observed].min() > 0.8


def test_fractions_only_grow_and_the_stages_are_timed(shape, heard):
    fractions = [done for _, done in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    # The views are most of the work, and not all.
    assert 0.5 < max(done for stage, done in heard if stage == 'views') < 0.9
    stages = ('crop', 'observe', 'views', 'volume', 'surface', 'mesh', 'colour')
    assert [stage for stage in shape.seconds if stage in stages] == [
        'crop', 'observe', 'views', 'volume', 'surface', 'colour', 'mesh']


def test_the_same_seed_gives_the_same_mesh_also_by_the_paths_of_the_weights(
    shape, scene, small_size, brought, files
):
    # The views from the folder as it was published, the surface from the store.
    other = Lifter('one2345', FACES, weights=str(files['views']))
    again = other.lift(scene[0], LiftRequest(scene[1], seed=1))
    np.testing.assert_array_equal(again.mesh.vertices, shape.mesh.vertices)
    np.testing.assert_array_equal(again.confidence, shape.confidence)


def test_without_depth_nothing_is_measured_and_the_scale_unknown(lifter, scene):
    frame, mask = scene
    blind = lifter.lift(replace(frame, depth=None), mask)
    assert_closed(blind)
    assert blind.scale_source == 'unknown'
    assert not blind.observed.any()
    assert blind.confidence.max() < MAX_CONFIDENCE


def test_the_plane_tells_the_elevation_where_gravity_is_not_known(lifter, scene, shape):
    frame, mask = scene
    found = lifter.lift(replace(frame, gravity=None), mask)
    assert_closed(found)
    assert found.elevation_source == 'plane'
    assert found.elevation == pytest.approx(shape.elevation, abs=3.0)


def test_views_without_matches_and_no_other_source_leave_the_elevation_unknown(
    lifter, scene, small_size
):
    frame, mask = scene
    alone = replace(frame, gravity=None, depth=None)
    with pytest.raises(LiftError) as caught:
        lifter.lift(alone, mask)
    assert caught.value.code is ErrorCode.ELEVATION_UNKNOWN


@pytest.mark.parametrize('last', ['observe', 'views', 'volume', 'surface', 'mesh'])
def test_cancelled_it_ends_before_the_next_stage(lifter, scene, last):
    begun = []
    with pytest.raises(LiftError) as caught:
        lifter.lift(
            *scene, progress=lambda stage, _: begun.append(stage), cancelled=lambda: last in begun
        )
    assert caught.value.code is ErrorCode.CANCELLED
    assert begun[-1] == last


# The choice of weights


def test_both_schedules_can_be_chosen():
    assert One2345Published().schedule == 'fast'
    assert One2345Published(weights=FAITHFUL).schedule == 'faithful'
    assert One2345Published(weights='a/path', schedule='faithful').schedule == 'faithful'


@pytest.mark.parametrize('brings', [(), ('views',), ('surface',)])
@pytest.mark.parametrize('step', [Lifter.check, Lifter.load])
@pytest.mark.parametrize('weights', [FULL, FAITHFUL])
def test_it_is_said_which_of_both_weights_is_missing(
    nothing_brought, files, brings, step, weights
):
    for kind in brings:
        import_weights(files[kind], {'views': 'zero123-xl', 'surface': 'one2345'}[kind])
    with pytest.raises(LiftError) as caught:
        step(Lifter('one2345', weights=weights))
    assert caught.value.code is ErrorCode.WEIGHTS_MISSING
    for kind, name in (('views', 'zero123-xl'), ('surface', 'one2345')):
        for verb in (f'fetch {name}`', f'import PATH --name {name}`'):
            assert (f'lift3d weights {verb}' in caught.value.message) == (kind not in brings)


def test_views_from_a_path_still_need_the_surface_from_the_store(nothing_brought, files):
    with pytest.raises(LiftError, match='fetch one2345`') as caught:
        Lifter('one2345', weights=str(files['views'])).check()
    assert caught.value.code is ErrorCode.WEIGHTS_MISSING
    assert 'zero123-xl' not in caught.value.message


def test_whole_weights_are_found_without_a_fault(brought, files):
    for weights in (FULL, FAITHFUL, 'zero123-xl', str(files['views'])):
        Lifter('one2345', weights=weights).check()


def test_weights_of_another_family_are_refused(brought):
    for name in ('one2345', 'stable-zero123'):
        with pytest.raises(LiftError, match=f'{name} are of the family') as caught:
            Lifter('one2345', weights=name).check()
        assert caught.value.code is ErrorCode.BAD_REQUEST


def test_weights_that_were_damaged_are_corrupt(nothing_brought, files):
    import_weights(files['views'], 'zero123-xl')
    import_weights(files['surface'])
    file = nothing_brought / 'one2345' / 'model.safetensors'
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(LiftError, match='one2345') as caught:
        Lifter('one2345', weights=FULL).check()
    assert caught.value.code is ErrorCode.WEIGHTS_CORRUPT


def test_a_folder_of_small_weights_is_taken_for_such(learned_weights, tmp_path, files):
    assert published_views(str(learned_weights)) is None
    assert published_views('small') is None
    assert published_views(str(tmp_path / 'not-there')) is None
    assert published_views(str(files['views'])) == str(files['views'])
    assert published_views(str(files['surface'])) == str(files['surface'])
    # Which of them, and so also what is missing in them, the method knows.
    with pytest.raises(LiftError, match='surface/'):
        Lifter('one2345', weights=str(view_helpers.random_weights(tmp_path / 'small'))).check()


def test_a_path_of_small_weights_is_lifted_with(learned_weights, scene, shape):
    lifter = Lifter('one2345', FACES, weights=str(learned_weights))
    assert isinstance(lifter.method, One2345)
    assert not isinstance(lifter.method, One2345Published)
    found = lifter.lift(*scene)
    assert_closed(found)
    assert 'denoise' in found.seconds
    assert 'views' not in found.seconds


# The surface as a solid


def ball(radius=0.4, center=(0.1, 0.0, -0.05)):
    """Return a published surface that is a ball, red above and blue below."""
    import trimesh

    made = trimesh.creation.icosphere(4, radius)
    colors = np.where(made.vertices[:, 2:] > 0.0, [200, 0, 0], [0, 0, 200]).astype(np.uint8)
    return PublishedSurface(
        vertices=(made.vertices + center).astype(np.float32),
        faces=made.faces.astype(np.int32),
        colors=colors,
        distance=lambda p: (np.linalg.norm(p - center, axis=1) - radius).astype(np.float32),
        canonical=None, elevation=None, agreement=1.0, images=None, first_images=None,
        plan=(), first_plan=(),
    )


def test_a_published_surface_is_a_solid_with_its_probability_and_colours():
    center = np.array([0.1, 0.0, -0.05])
    solid: Field = PublishedField(ball(center=center))
    ray = np.array([0.0, 0.6, 0.8])
    reach = np.array([0.0, 0.4 - solid.voxel, 0.4, 0.4 + solid.voxel])
    found = solid.occupancy(center + reach[:, None] * ray)
    np.testing.assert_allclose(found[1:], 1.0 / (1.0 + np.exp([-1.0, 0.0, 1.0])), atol=1e-3)
    assert found[0] > 0.999
    np.testing.assert_array_equal(
        solid.colors(center + np.array([ray, -ray])), [[200, 0, 0], [0, 0, 200]])
    np.testing.assert_allclose(solid.centre, center, atol=1e-6)
    # The box of a level holds it, and is not much larger.
    low, high = solid.bounds(0.25)
    np.testing.assert_allclose(high - low, 0.8 + 2.0 * np.log(3.0) * solid.voxel, atol=1e-3)
    corners = solid.centre + 0.5 * solid.side * np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    assert (corners[0] < low).all()
    assert (corners[1] > high).all()


def test_what_the_distance_says_far_from_the_mesh_is_not_asked():
    surface = replace(ball(), distance=lambda p: np.full(len(p), -1.0, np.float32))
    solid = PublishedField(surface)
    assert solid.occupancy([[0.1, 0.0, -0.05]])[0] > 0.99
    assert solid.occupancy([[0.1, 0.7, -0.05], [9.0, 0.0, 0.0]]).max() == 0.0
