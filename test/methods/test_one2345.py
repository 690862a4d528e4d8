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

"""The method one2345 on rendered tables: closed, metric, honest, and what bad input does to it."""

from __future__ import annotations

from dataclasses import replace
import functools
from pathlib import Path
import shutil
import time

import numpy as np
import pytest
import torch
import trimesh

from lift3d_ros.bench.metrics import distances
from lift3d_ros.bench.metrics import sample_surface
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.networks.small.surface_network import SurfaceNet
from lift3d_ros.networks.small.surface_network import write_surface
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.synthetic.true_views import object_from_canonical
from lift3d_ros.synthetic.true_views import true_view
from lift3d_ros.training.runs import write_manifest
from lift3d_ros.weights.store import find

pytestmark = pytest.mark.usefixtures('one_thread')

#: A robot's distance; a small window of a large picture, so that scenes take no time.
TABLE = TableSettings(
    elevation=(25.0, 45.0), distance=(0.7, 0.7), window=1.6, table_cells=24
)


def colored(mesh: trimesh.Trimesh) -> Mesh:
    """Return a mesh of one colour that stands on z = 0."""
    vertices = np.asarray(mesh.vertices, np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    color = np.tile(np.array([60, 90, 190], np.uint8), (len(vertices), 1))
    return Mesh(vertices, np.asarray(mesh.faces, np.int32), color)


CARTON = colored(trimesh.creation.box((0.16, 0.05, 0.11)).subdivide_to_size(0.02))
CARD = colored(trimesh.creation.box((0.086, 0.054, 0.0012)).subdivide_to_size(0.01))
PEN = colored(
    trimesh.creation.cylinder(
        0.0045, segment=np.array([[-0.07, 0.02, 0.0], [0.07, -0.02, 0.0]]), sections=16
    )
)
CAN = procedural_object(3, 'can')


@functools.cache
def scene_of(name: str, seed: int = 1) -> TableScene:
    """Return a scene, rendered once for all tests."""
    return make_scene({'carton': CARTON, 'card': CARD, 'pen': PEN, 'can': CAN}[name], seed, TABLE)


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> Path:
    """Return the packaged weights, with an untrained surface network if they have none."""
    folder = tmp_path_factory.mktemp('weights') / 'small'
    shutil.copytree(find('small'), folder)
    if not (folder / 'surface').exists():
        torch.manual_seed(0)
        write_surface(folder / 'surface', SurfaceNet())
    write_manifest(folder)
    return folder


@pytest.fixture(scope='module')
def method(weights) -> One2345:
    """Return the loaded method, with few views and a coarse mesh."""
    made = One2345(weights=str(weights), views=4, resolution=48)
    made.load()
    return made


def lift(method, frame, mask, seed=0, given=None, **options):
    lifter = Lifter(replace(method, view_source=given), max_faces=6000)
    return lifter.lift(frame, LiftRequest(mask, seed=seed), **options)


@pytest.fixture(scope='module')
def lifted(method):
    scene = scene_of('carton')
    return lift(method, scene.frame, scene.mask)


def assert_closed(shape, faces=6000):
    assert shape.mesh.is_watertight()
    assert 20 < len(shape.mesh.faces) <= faces
    assert shape.mesh.volume() > 0.0
    assert len(shape.mesh.to_trimesh().split(only_watertight=False)) == 1
    for values in (shape.mesh.vertices, shape.confidence, shape.pose_covariance):
        assert np.isfinite(values).all()
    assert shape.confidence.min() >= 0.0 and shape.confidence.max() <= 1.0
    assert len(shape.confidence) == len(shape.observed) == len(shape.mesh.vertices)


def code_of(*arguments, **named):
    with pytest.raises(LiftError) as caught:
        lift(*arguments, **named)
    assert len(caught.value.message) > 20
    return caught.value.code


def guessed(shape):
    """Return the mean confidence in what no camera measured."""
    return float(shape.confidence[~shape.observed].mean())


class TestShape:
    def test_mesh_is_closed_and_says_what_was_measured(self, lifted):
        assert_closed(lifted)
        assert 0.1 < lifted.observed.mean() < 0.9
        assert lifted.confidence[lifted.observed].mean() > guessed(lifted)

    def test_mesh_keeps_to_max_faces(self, method):
        scene = scene_of('carton')
        shape = Lifter(method, max_faces=300).lift(scene.frame, scene.mask)
        assert_closed(shape, 300)

    @pytest.mark.parametrize('name', ['carton', 'can'])
    def test_measured_surface_agrees_with_the_depth(self, method, lifted, name):
        scene = scene_of(name)
        shape = lifted if name == 'carton' else lift(method, scene.frame, scene.mask)
        vertices = shape.mesh_in_camera().vertices[shape.observed]
        truth = sample_surface(scene.mesh_in_camera(), 40_000)
        assert np.median(distances(vertices, truth).accuracy) < 0.003
        # The other way: every reading of the object lies near the mesh.
        v, u = np.nonzero(scene.mask & (scene.frame.depth > 0.0))
        readings = scene.frame.camera.unproject(u, v, scene.frame.depth[v, u])
        surface = sample_surface(shape.mesh_in_camera(), 40_000)
        assert np.median(distances(readings, surface).accuracy) < 0.003

    def test_size_is_metric_with_depth(self, lifted):
        longest = np.ptp(CARTON.vertices, axis=0).max()
        assert lifted.size.max() == pytest.approx(longest, rel=0.3)
        assert np.linalg.norm(lifted.T_camera_object[:3, 3]) == pytest.approx(0.7, abs=0.06)

    def test_the_same_seed_gives_the_same_mesh(self, method, lifted):
        scene = scene_of('carton')
        again = lift(method, scene.frame, scene.mask)
        np.testing.assert_array_equal(again.mesh.vertices, lifted.mesh.vertices)
        np.testing.assert_array_equal(again.mesh.faces, lifted.mesh.faces)
        np.testing.assert_array_equal(again.confidence, lifted.confidence)

    def test_several_samples_are_lifted_to_one_shape(self, weights):
        scene = scene_of('carton')
        several = One2345(weights=str(weights), samples=2, views=2, resolution=48)
        several.load()
        assert_closed(lift(several, scene.frame, scene.mask))

    @pytest.mark.parametrize('change', [{'views': 0}, {'coarse': True}, {'views': 1}])
    def test_it_lifts_without_the_denoiser_and_from_one_view(self, method, change):
        scene = scene_of('carton')
        shape = lift(replace(method, **change), scene.frame, scene.mask)
        assert_closed(shape)
        assert ('denoise' in shape.seconds) == (change == {'views': 1})


class TestHonesty:
    @pytest.mark.parametrize(
        'depth, gravity, scale, sources',
        [
            (True, True, 'depth', {'gravity'}),
            (False, True, 'unknown', {'gravity'}),
            (True, False, 'depth', {'plane'}),
            (False, False, 'unknown', {'estimated', 'assumed'}),
        ],
        ids=['rgbd', 'rgb', 'plane', 'blind'],
    )
    def test_it_says_where_scale_and_elevation_come_from(
        self, method, depth, gravity, scale, sources
    ):
        scene = scene_of('carton')
        frame = scene.frame
        frame = replace(
            frame, depth=frame.depth if depth else None, gravity=frame.gravity if gravity else None
        )
        shape = lift(method, frame, scene.mask)
        assert_closed(shape)
        assert shape.scale_source == scale
        assert (shape.scale_stddev < 0.5) == depth
        assert shape.elevation_source in sources
        if gravity or depth:
            assert shape.elevation == pytest.approx(scene.elevation, abs=4.0)
        # Without depth nothing was measured.
        assert shape.observed.any() == depth


def true_views(scene, poses, told=None):
    """Return a source of true renders at ``poses``, which are said to be ``told``."""
    low, high = scene.mesh.vertices.min(axis=0), scene.mesh.vertices.max(axis=0)

    def source(canonical):
        T = object_from_canonical(
            canonical, scene.T_camera_object, 0.5 * (low + high).astype(np.float64)
        )
        caster = Raycaster([scene.mesh])
        pictures = np.stack([true_view(caster, T, pose, 128, scene.light) for pose in poses])
        return pictures, poses if told is None else told

    return source


def ring(count, first=45.0):
    return np.stack([
        orbit_pose(first + 360.0 * index / count, 20.0, 1.7) for index in range(count)
    ])


class TestViews:
    def test_views_with_wrong_poses_lower_the_confidence(self, method):
        scene = scene_of('carton')
        poses = ring(4, 0.0)
        right = lift(method, scene.frame, scene.mask, given=true_views(scene, poses))
        wrong = lift(
            method, scene.frame, scene.mask,
            given=true_views(scene, poses, np.roll(poses, 1, axis=0)),
        )
        assert_closed(right)
        assert_closed(wrong)
        assert guessed(wrong) < 0.7 * guessed(right)
        # What the camera measured, no view takes away.
        assert wrong.confidence[wrong.observed].min() == pytest.approx(
            right.confidence[right.observed].min(), abs=0.01)
        assert wrong.confidence[wrong.observed].min() > 0.8

    def test_views_of_another_object_lower_the_confidence(self, method, lifted):
        scene = scene_of('carton')
        pen = scene_of('pen')
        shape = lift(method, scene.frame, scene.mask, given=true_views(pen, ring(4)))
        assert_closed(shape)
        assert guessed(shape) < 0.7 * guessed(lifted)

    def test_views_of_one_colour_lower_the_confidence(self, method, lifted):
        scene = scene_of('carton')
        full = np.full((4, 128, 128, 4), 255, np.uint8)
        shape = lift(method, scene.frame, scene.mask, given=lambda _: (full, ring(4)))
        assert_closed(shape)
        assert guessed(shape) < 0.7 * guessed(lifted)

    def test_views_that_are_all_empty_are_refused(self, method):
        scene = scene_of('carton')
        empty = np.full((4, 128, 128, 4), 255, np.uint8)
        empty[..., 3] = 0
        found = code_of(method, scene.frame, scene.mask, given=lambda _: (empty, ring(4)))
        assert found == ErrorCode.NO_SURFACE

    @pytest.mark.parametrize(
        'shape, poses',
        [((4, 128, 128, 3), 4), ((4, 128, 128, 4), 3), ((4, 96, 128, 4), 4), ((128, 128, 4), 4)],
    )
    def test_views_of_another_form_are_refused(self, method, shape, poses):
        scene = scene_of('carton')
        pictures = np.full(shape, 255, np.uint8)
        found = code_of(method, scene.frame, scene.mask, given=lambda _: (pictures, ring(poses)))
        assert found == ErrorCode.BAD_REQUEST

    def test_poses_that_are_not_finite_are_refused(self, method):
        scene = scene_of('carton')
        pictures = np.full((4, 128, 128, 4), 255, np.uint8)
        found = code_of(
            method, scene.frame, scene.mask, given=lambda _: (pictures, np.nan * ring(4))
        )
        assert found == ErrorCode.BAD_REQUEST


class TestBadInput:
    @pytest.mark.parametrize('name', ['card', 'pen'])
    @pytest.mark.parametrize('depth', [True, False], ids=['rgbd', 'rgb'])
    def test_flat_and_thin_things_are_lifted(self, method, name, depth):
        scene = scene_of(name)
        frame = scene.frame if depth else replace(scene.frame, depth=None)
        shape = lift(method, frame, scene.mask)
        assert_closed(shape)
        if depth:
            longest = float(np.linalg.norm(np.ptp(scene.mesh.vertices, axis=0)))
            assert longest * 0.6 < shape.size.max() < longest * 1.5

    def test_a_thing_that_the_depth_camera_does_not_see_is_refused(self, method):
        # Glass: the readings on it are missing, those around it are there.
        scene = scene_of('carton')
        depth = np.where(scene.mask, np.float32(0.0), scene.frame.depth)
        found = code_of(method, replace(scene.frame, depth=depth), scene.mask)
        assert found == ErrorCode.NO_DEPTH_IN_MASK

    def test_half_out_of_the_frame_is_lifted_and_less_sure(self, method, lifted):
        scene = scene_of('carton')
        middle = int(np.median(np.nonzero(scene.mask)[1]))
        frame = scene.frame
        cut = Frame(
            np.ascontiguousarray(frame.image[:, :middle]),
            replace(frame.camera, width=middle),
            np.ascontiguousarray(frame.depth[:, :middle]),
            frame.gravity,
        )
        shape = lift(method, cut, np.ascontiguousarray(scene.mask[:, :middle]))
        assert_closed(shape)
        assert guessed(shape) < guessed(lifted)

    def test_an_occluded_thing_with_a_rough_mask_is_lifted(self, method):
        scene = make_scene(CARTON, 4, replace(TABLE, distance=(0.7, 1.2)), CAN)
        assert_closed(lift(method, scene.frame, scene.detection))


STAGES = ['observe', 'elevation', 'volume', 'render', 'denoise', 'surface', 'mesh']


class TestEnding:
    @pytest.mark.parametrize('last', STAGES)
    def test_it_ends_when_it_is_cancelled(self, method, last):
        scene = scene_of('carton')
        begun = []
        found = code_of(
            method, scene.frame, scene.mask,
            progress=lambda stage, _: begun.append(stage),
            cancelled=lambda: begun.count(last) > 1,
        )
        assert found == ErrorCode.CANCELLED
        later = STAGES[STAGES.index(last) + 1:]
        assert last in begun and not set(begun) & {*later, 'colour'}

    def test_it_ends_when_the_deadline_is_over(self, method):
        scene = scene_of('carton')
        late = time.monotonic() - 1.0
        assert code_of(method, scene.frame, scene.mask, deadline=late) == ErrorCode.TIMEOUT
