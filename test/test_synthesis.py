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

"""Frames and masks to posed views, by small weights and by published ones."""

from __future__ import annotations

from dataclasses import replace
import shutil
import time

import numpy as np
import pytest
import torch
from view_helpers import random_weights
from weights_helpers import networks
from weights_helpers import write_layout

from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.diffusion.small import read_small
from lift3d_ros.elevation.estimate import ElevationSettings
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthesis import MAX_VIEWS
from lift3d_ros.synthesis import ring
from lift3d_ros.synthesis import ViewSynthesizer
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.synthetic.true_views import object_from_canonical
from lift3d_ros.synthetic.true_views import true_view

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def scene():
    return make_scene(
        procedural_object(4, 'mug'), 3, TableSettings(window=1.5, table_cells=8)
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp('weights') / 'random'
    random_weights(place)
    return place


@pytest.fixture(scope='module')
def random_views(folder):
    synthesizer = ViewSynthesizer(str(folder))
    synthesizer.load()
    return synthesizer


def code(call, *arguments, **named):
    """Return the code of the error that a call ends with."""
    with pytest.raises(LiftError) as caught:
        call(*arguments, **named)
    assert len(caught.value.message) > 20
    return caught.value.code.value


def test_views_are_pictures_on_an_orbit_about_the_object(random_views, scene):
    views = random_views.synthesize(scene.frame, scene.mask, [0.0, 90.0], [10.0, 50.0])
    assert views.images.shape == (2, 128, 128, 3) and views.images.dtype == np.uint8
    assert views.alphas.shape == (2, 128, 128) and views.alphas.dtype == np.uint8
    assert np.allclose(views.poses[1], orbit_pose(90.0, 50.0, 1.7))
    assert views.camera.width == 128 and views.radius == 1.7
    assert views.elevation_source == 'gravity' and views.canonical.metric
    assert {'crop', 'volume', 'render', 'denoise', 'total'} <= set(views.seconds)


def test_without_elevations_the_camera_stays_at_its_height(random_views, scene):
    views = random_views.coarse(scene.frame, scene.mask, ring(3))
    assert np.allclose(views.elevations, views.canonical.elevation)
    assert np.allclose(views.azimuths, [0.0, 120.0, 240.0])


def test_the_seed_decides_and_no_view_depends_on_those_beside_it(random_views, scene):
    def make(azimuths, seed):
        return random_views.synthesize(scene.frame, scene.mask, azimuths, seed=seed).images

    many = make(ring(10), 1)
    assert np.array_equal(make(ring(10), 1), many)
    assert np.abs(make(ring(10), 2).astype(int) - many).mean() > 1.0
    # Half precision rounds otherwise in another batch.
    few = make(ring(10)[:3], 1).astype(int)
    assert np.abs(few - many[:3]).mean() < 1.5


def test_sets_of_views_differ_by_their_noise(random_views, scene):
    views = random_views.synthesize(scene.frame, scene.mask, [30.0], samples=2)
    assert views.images.shape[0] == 2 and np.allclose(views.poses[0], views.poses[1])
    assert np.abs(views.images[0].astype(int) - views.images[1]).mean() > 1.0


def test_another_size_is_the_same_picture_resized(folder, random_views, scene):
    small = ViewSynthesizer(str(folder), size=32).coarse(scene.frame, scene.mask, [45.0])
    assert small.images.shape == (1, 32, 32, 3) and small.camera.width == 32
    full = random_views.coarse(scene.frame, scene.mask, [45.0]).images[0]
    shrunk = full.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    assert np.abs(small.images[0] - shrunk).max() <= 1.0


@pytest.mark.parametrize(
    'azimuths, named',
    [
        ([np.nan], {}),
        ([0.0, 1.0], {'elevations': [np.inf, 0.0]}),
        ([0.0, 1.0, 2.0], {'elevations': [1.0, 2.0]}),
        ([0.0], {'elevations': [95.0]}),
        ([], {}),
        (ring(500), {}),
        (ring(MAX_VIEWS), {'samples': 2}),
        ([0.0], {'samples': 0}),
        ([0.0], {'radius': 0.1}),
        ([0.0], {'radius': float('nan')}),
        ([0.0], {'radius': 1e6}),
        ([[0.0, 1.0]], {}),
    ],
)
def test_poses_that_cannot_be_are_refused(random_views, scene, azimuths, named):
    assert code(
        random_views.synthesize, scene.frame, scene.mask, azimuths, **named
    ) == 'BAD_REQUEST'


def test_masks_that_show_nothing_are_refused(random_views, scene):
    empty = np.zeros_like(scene.mask)
    assert code(random_views.synthesize, scene.frame, empty, [0.0]) == 'EMPTY_MASK'
    tiny = empty.copy()
    tiny[10:14, 10:15] = True
    assert code(random_views.synthesize, scene.frame, tiny, [0.0]) == 'MASK_TOO_SMALL'


def test_an_object_at_the_border_and_one_that_fills_the_frame_are_taken(random_views, scene):
    cut = scene.mask.copy()
    rows, columns = np.nonzero(cut)
    middle = int(np.median(columns))
    frame = replace(
        scene.frame,
        image=np.ascontiguousarray(scene.frame.image[:, middle:]),
        depth=np.ascontiguousarray(scene.frame.depth[:, middle:]),
        camera=scene.frame.camera.crop(
            middle - 0.5, -0.5, scene.mask.shape[1] - middle, scene.mask.shape[0]
        ),
    )
    views = random_views.coarse(frame, cut[:, middle:], [0.0])
    assert np.isfinite(views.poses).all()
    everything = np.ones_like(scene.mask)
    assert random_views.coarse(scene.frame, everything, [0.0]).images.shape[0] == 1
    del rows


def test_a_grey_picture_is_taken(random_views, scene):
    grey = np.repeat(scene.frame.image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    frame = replace(scene.frame, image=grey)
    assert random_views.coarse(frame, scene.mask, [0.0]).images.shape[0] == 1


def test_an_unknown_elevation_is_an_error_or_named(folder, random_views, scene):
    frame = replace(scene.frame, gravity=None)
    assert code(random_views.synthesize, frame, scene.mask, [0.0]) == 'ELEVATION_UNKNOWN'
    assuming = ViewSynthesizer(str(folder), elevation=ElevationSettings(assumed=20.0))
    views = assuming.coarse(frame, scene.mask, [0.0])
    assert views.elevation_source == 'assumed' and views.canonical.elevation == 20.0
    assert views.elevation_stddev > 10.0


def test_cancelling_and_deadlines_end_the_work(random_views, scene):
    assert code(
        random_views.synthesize, scene.frame, scene.mask, [0.0], cancelled=lambda: True
    ) == 'CANCELLED'
    assert code(
        random_views.synthesize, scene.frame, scene.mask, [0.0], deadline=time.monotonic() - 1.0
    ) == 'TIMEOUT'
    seen = []

    def stop_when_denoising():
        return len([s for s in seen if s == 'views']) > 1

    assert code(
        random_views.synthesize, scene.frame, scene.mask, [0.0],
        progress=lambda stage, _: seen.append(stage), cancelled=stop_when_denoising,
    ) == 'CANCELLED'


def test_settings_that_cannot_be_are_refused():
    assert code(ViewSynthesizer, sampler='slow') == 'BAD_REQUEST'
    assert code(ViewSynthesizer, device='tpu') == 'BAD_REQUEST'
    assert code(ViewSynthesizer, size=3) == 'BAD_REQUEST'
    assert code(ViewSynthesizer('no-such-weights').load) == 'WEIGHTS_MISSING'


def test_unloading_frees_and_a_later_call_loads_again(folder, scene):
    synthesizer = ViewSynthesizer(str(folder))
    first = synthesizer.coarse(scene.frame, scene.mask, [10.0]).images
    synthesizer.unload()
    assert np.array_equal(synthesizer.coarse(scene.frame, scene.mask, [10.0]).images, first)


def test_small_weights_are_read_as_they_were_written(folder):
    networks = read_small(folder)
    assert networks.elevation is None and networks.monocular is None
    again = read_small(folder).coarse
    for name, value in networks.coarse.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert networks.components.family == 'small'
    pictures = torch.rand(2, 4, 128, 128) * 2.0 - 1.0
    codec = networks.components.vae
    assert torch.equal(codec.decode(codec.encode_target(pictures)), pictures)


def test_parts_that_are_missing_cut_short_or_of_another_shape_are_refused(folder, tmp_path):
    missing = shutil.copytree(folder, tmp_path / 'missing')
    (missing / 'unet' / 'model.safetensors').unlink()
    assert code(read_small, missing) == 'WEIGHTS_MISSING'
    shutil.rmtree(missing / 'coarse')
    assert code(read_small, missing) == 'WEIGHTS_MISSING'
    short = shutil.copytree(folder, tmp_path / 'short')
    path = short / 'coarse' / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:1000])
    assert code(ViewSynthesizer(str(short)).load) == 'WEIGHTS_CORRUPT'
    other = shutil.copytree(folder, tmp_path / 'other')
    config = other / 'coarse' / 'config.json'
    config.write_text(config.read_text().replace('"features": 12', '"features": 13'))
    assert code(ViewSynthesizer(str(other)).load) == 'WEIGHTS_CORRUPT'


# --- published weights ---


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    place = tmp_path_factory.mktemp('published') / 'layout'
    write_layout(place, networks(), 'A')
    return place


def test_published_weights_make_views_through_the_same_face(published, scene):
    quick = SamplerSettings('dpm++', steps=2, guidance_scale=1.0)
    synthesizer = ViewSynthesizer(str(published), sampler=quick, size=64)
    views = synthesizer.synthesize(scene.frame, scene.mask, [0.0, 60.0], [20.0, 30.0], seed=3)
    assert views.images.shape == (2, 64, 64, 3)
    # The canonical length fills the lens as it fills the input's picture.
    assert views.radius == pytest.approx(1.458, abs=0.01)
    assert code(synthesizer.coarse, scene.frame, scene.mask, [0.0]) == 'BAD_REQUEST'
    # The model has seen no camera that far away.
    assert code(
        synthesizer.synthesize, scene.frame, scene.mask, [0.0], radius=4.0
    ) == 'BAD_REQUEST'


# --- what the packaged weights are worth ---


def test_packaged_weights_beat_the_input_repeated():
    from lift3d_ros.weights.store import locate

    if locate('small') is None:
        pytest.skip('the packaged weights are not here')
    synthesizer = ViewSynthesizer('small')
    own, repeated = [], []
    for number, kind in enumerate(['bottle', 'mug', 'carton', 'shoe', 'can', 'bowl']):
        # Seeds beyond those that training draws.
        mesh = procedural_object(2**41 + number, kind)
        scene = make_scene(mesh, 100 + number, TableSettings(window=1.5, table_cells=10))
        views = synthesizer.synthesize(scene.frame, scene.mask, [90.0, 180.0, 270.0])
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        T = object_from_canonical(
            views.canonical, scene.T_camera_object, (low + high).astype(np.float64) / 2.0
        )
        caster = Raycaster([mesh])
        same = true_view(
            caster, T, orbit_pose(0.0, views.canonical.elevation, views.radius), 128, scene.light
        )[..., 3] > 127
        for pose, alpha in zip(views.poses, views.alphas, strict=True):
            truth = true_view(caster, T, pose, 128, scene.light)[..., 3] > 127
            for scores, mask in ((own, alpha > 127), (repeated, same)):
                scores.append((mask & truth).sum() / (mask | truth).sum())
    assert np.mean(own) > np.mean(repeated) + 0.05
