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

"""Several things in one mask: all of them are in the mesh, and the report says so."""

from __future__ import annotations

from dataclasses import replace
import functools

import numpy as np
import pytest
import trimesh

from lift3d_ros.bench.metrics import distances
from lift3d_ros.bench.metrics import sample_surface
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings

CAMERA = Camera(480, 360, 420.0, 420.0, 240.0, 180.0)


def blocks(*places: float) -> Mesh:
    """Return blocks of 4 x 5 x 6 cm on a line, their middles at those places in metres."""
    parts = []
    for place in places:
        box = trimesh.creation.box((0.04, 0.05, 0.06)).subdivide_to_size(0.01)
        parts.append(box.apply_translation((place, 0.0, 0.03)))
    whole = trimesh.util.concatenate(parts)
    colors = np.tile(np.uint8([180, 120, 60]), (len(whole.vertices), 1))
    return Mesh(whole.vertices.astype(np.float32), whole.faces.astype(np.int32), colors)


@functools.cache
def scene_of(azimuth: float, *places: float) -> TableScene:
    settings = TableSettings(
        azimuth=(azimuth, azimuth), elevation=(45.0, 50.0), distance=(0.6, 0.7), camera=CAMERA,
        window=1.8, table_cells=24,
    )
    return make_scene(blocks(*places), 7, settings)


@pytest.fixture(scope='module')
def lifter() -> Lifter:
    return Lifter('one2345', max_faces=6000)


def standing_on(scene: TableScene) -> ScaleHints:
    """Return the plane of the table."""
    up = scene.T_camera_object[:3, 2]
    return ScaleHints(plane=Plane(up, float(up @ scene.T_camera_object[:3, 3])))


def error_of(shape: Shape, scene: TableScene) -> float:
    """Return the chamfer distance to the truth, metres."""
    found = sample_surface(shape.mesh_in_camera(), 4000)
    return distances(found, sample_surface(scene.mesh_in_camera(), 4000)).chamfer()


@pytest.mark.parametrize('cameras', [1, 2])
def test_all_things_in_a_mask_are_in_the_mesh_and_the_report_says_so(lifter, cameras):
    scene, other = scene_of(90.0, -0.07, 0.0, 0.07), scene_of(20.0, -0.07, 0.0, 0.07)
    T = scene.T_camera_object @ invert(other.T_camera_object)
    further = [SourceView(crop_object(other.frame, other.mask), T)][:cameras - 1]
    shape = lifter.lift(scene.frame, LiftRequest(scene.mask, source_views=tuple(further), seed=1))
    assert shape.mesh.is_watertight()
    assert shape.mesh.to_trimesh().body_count == 3
    assert 'shows 3 things that do not touch' in ' '.join(shape.notes)
    assert shape.mask_iou > 0.85
    assert error_of(shape, scene) < 0.006


def test_without_depth_all_that_the_mask_shows_is_in_the_mesh(lifter):
    scene = scene_of(90.0, -0.07, 0.0, 0.07)
    shape = lifter.lift(
        replace(scene.frame, depth=None), LiftRequest(scene.mask, hints=standing_on(scene), seed=1)
    )
    assert shape.scale_source == 'plane'
    assert shape.mesh.is_watertight()
    assert shape.mesh.to_trimesh().body_count == 3
    assert 'shows 3 things that do not touch' in ' '.join(shape.notes)
    assert shape.mask_iou > 0.85
    assert error_of(shape, scene) < 0.012


@pytest.mark.parametrize('depth', [True, False])
def test_one_thing_is_one_piece_without_a_word(lifter, depth):
    scene = scene_of(90.0, 0.0)
    frame = scene.frame if depth else replace(scene.frame, depth=None)
    shape = lifter.lift(frame, LiftRequest(scene.mask, hints=standing_on(scene), seed=1))
    assert shape.mesh.to_trimesh().body_count == 1
    assert not any('do not touch' in note for note in shape.notes)
