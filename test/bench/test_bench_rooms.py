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

"""The benchmark of whole scenes: true hidden surface, measures, candidates, runs, tables."""

from __future__ import annotations

from dataclasses import replace
import json

from bench_helpers import box
from bench_helpers import write_objects
import numpy as np
import pytest

from lift3d_ros.bench.rooms import measures
from lift3d_ros.bench.rooms.calibration import fit
from lift3d_ros.bench.rooms.candidates import Completion
from lift3d_ros.bench.rooms.candidates import FIELD
from lift3d_ros.bench.rooms.candidates import PLANE
from lift3d_ros.bench.rooms.candidates import PLANES
from lift3d_ros.bench.rooms.candidates import RoomCompleter
from lift3d_ros.bench.rooms.candidates import SCENE
from lift3d_ros.bench.rooms.candidates import WARP
from lift3d_ros.bench.rooms.settings import RoomsSettings
from lift3d_ros.bench.rooms.truth import hidden_points
from lift3d_ros.bench.rooms.truth import make_bench_room
from lift3d_ros.cli import main
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.scene.radiance import small
from lift3d_ros.scene.scene import SceneSurface
from lift3d_ros.scene.voxel_map import Occupancy
from lift3d_ros.synthetic.objects import find_objects

RESOLUTION = 0.06


@pytest.fixture(scope='module')
def objects(tmp_path_factory):
    folder = tmp_path_factory.mktemp('room_objects')
    write_objects(folder, tall=box((0.08, 0.08, 0.2)), flat=box((0.2, 0.12, 0.05)))
    return folder


@pytest.fixture(scope='module')
def room(objects):
    return make_bench_room(1, find_objects(objects), 0)


@pytest.fixture(scope='module')
def completer():
    return RoomCompleter('geometric', 'small', RESOLUTION)


@pytest.fixture(scope='module')
def warped(room, completer):
    return completer.complete(WARP, room, masked=False)


def whole(room, done):
    """Return a completion that is the truth."""
    T = invert(room.made.T_room_camera)
    meshes = [mesh.transformed(T) for mesh in room.made.room.meshes]
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    mesh = Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([m.faces + at for m, at in zip(meshes, offsets[:-1], strict=True)]).astype(
            np.int32),
        np.concatenate([mesh.colors for mesh in meshes]))
    count = len(mesh.vertices)
    surface = SceneSurface(
        mesh, np.full(count, 0.95, np.float32), np.zeros(count, bool),
        np.full(count, -1, np.int32))
    views = [(view.truth.image, view.truth.depth) for view in room.views]
    return Completion(surface, done.voxels, views)


def test_hidden_points_are_on_surfaces_that_the_camera_does_not_see(room):
    world = transform(room.made.T_room_camera, room.hidden)
    assert room.made.room.raycaster.distance(world).max() < 1e-3
    assert hidden_points(room.made, room.hidden).all()
    rays = room.hidden / room.hidden[:, 2:]
    near = transform(room.made.T_room_camera, 0.02 * rays + 0.0)
    assert not room.made.room.contains(near).any()
    for view in room.views:
        assert view.hidden.sum() > 100


def test_the_truth_has_the_best_figures(room, warped):
    done = whole(room, warped)
    views = measures.view_figures(room, done)
    for angle in (10, 25, 40):
        assert views[f'near_{angle}'] == 1.0
        assert views[f'ssim_{angle}'] == pytest.approx(1.0)
        assert views[f'depth_m_{angle}'] == 0.0
    surface = measures.surface_figures(room, done.surface)
    assert surface['precision'] > 0.99
    assert surface['recall'] > 0.8
    bins = measures.confidence_bins(room, done.surface, objects=False)
    assert bins[-1, 2] == bins[-1, 0] == len(done.surface.mesh.vertices)


@pytest.mark.parametrize(('share', 'all_right'), [(0.005, True), (0.03, False)])
def test_a_vertex_of_an_object_is_right_within_a_share_of_its_diagonal(
        room, warped, share, all_right):
    surface = whole(room, warped).surface
    count = len(room.made.room.meshes[-1].vertices)
    vertices = surface.mesh.vertices.copy()
    # The last object grows, so that its corners are off by this share of its diagonal.
    vertices[-count:] += 2 * share * (vertices[-count:] - vertices[-count:].mean(axis=0))
    part = surface.part.copy()
    part[-count:] = 0
    grown = replace(surface, mesh=replace(surface.mesh, vertices=vertices), part=part)
    bins = measures.confidence_bins(room, grown, objects=True).sum(axis=0)
    assert bins[0] == count
    assert (bins[2] == count) == all_right


def test_the_warped_input_knows_nothing_hidden(room, warped):
    figures = measures.all_figures(room, warped)
    assert figures['recall'] == 0.0
    assert figures['f_score'] == 0.0
    assert figures['near_25'] < 0.1
    assert figures['false_free'] < 0.01


def test_a_map_that_frees_solids_is_found_out(room, warped):
    states = np.full_like(warped.voxels.states, Occupancy.FREE)
    figures = measures.volume_figures(room, replace(warped.voxels, states=states))
    inside = room.made.room.contains(transform(
        room.made.T_room_camera @ invert(warped.voxels.T_grid_camera),
        warped.voxels.centres().reshape(-1, 3)))
    assert figures['false_free'] == pytest.approx(inside.mean(), abs=0.01)
    assert figures['false_free'] > 0.02
    occupied = measures.volume_figures(
        room, replace(warped.voxels, states=np.full_like(states, Occupancy.OCCUPIED)))
    assert occupied['false_occupied'] > 0.5
    assert occupied['free_m3'] == 0.0


def test_a_fill_finds_more_hidden_surface_than_the_plane_control(room, completer):
    plane = measures.all_figures(room, completer.complete(PLANE, room, masked=True))
    filled = measures.all_figures(room, completer.complete(PLANES, room, masked=True))
    assert filled['f_score'] > plane['f_score']
    assert filled['near_25'] > plane['near_25']


def test_a_field_is_compared_as_the_fills_are(room, completer, monkeypatch):
    monkeypatch.setattr(small, 'LOOP', replace(small.LOOP, steps=40))
    bare = completer.complete(SCENE, room, masked=True)
    done = completer.complete(FIELD, room, masked=True)
    count = len(bare.surface.mesh.vertices)
    np.testing.assert_array_equal(
        done.surface.mesh.vertices[:count], bare.surface.mesh.vertices)
    figures = measures.all_figures(room, done)
    assert figures['filled_25'] > measures.all_figures(room, bare)['filled_25']
    assert figures['false_free'] <= 0.01


def test_a_run_writes_rows_and_tables_and_resumes(objects, tmp_path, capsys):
    words = ['bench', '--scenes', '--rooms', '1', '--data', str(objects), '--methods', 'warp',
             'plane', '--jobs', '1', '--out', str(tmp_path)]
    assert main(words) == 0
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['counts']['masks'] == {'rooms': 1, 'failed': {'warp': 0, 'plane': 0}}
    means = report['means']['masks']
    assert means['plane']['f_score']['mean'] >= means['warp']['f_score']['mean'] == 0.0
    rows = (tmp_path / 'rows.jsonl').read_text()
    assert main(words) == 0
    assert (tmp_path / 'rows.jsonl').read_text() == rows
    assert '1 rooms' in capsys.readouterr().out


@pytest.mark.parametrize('changes', [
    {'predictors': ('magic',)}, {'tracks': ('rgbd',)}, {'rooms': 0}, {'method': 'magic'}])
def test_wrong_settings_are_refused(changes):
    with pytest.raises(LiftError) as caught:
        RoomsSettings(**{'predictors': ('warp',), **changes})
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_calibration_finds_the_curve_of_its_samples():
    rng = np.random.default_rng(0)
    distance = rng.uniform(0.0, 1.5, 60_000)
    right = rng.random(len(distance)) < 0.8 * np.exp(-distance / 0.5)
    share, reach, table = fit(distance, right)
    assert share == pytest.approx(0.8, abs=0.05)
    assert reach == pytest.approx(0.5, abs=0.05)
    assert len(table) == 7
