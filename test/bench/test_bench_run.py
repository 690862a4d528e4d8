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


"""Runs of the benchmark: rows, resuming, bad input, processes, tables, reports, the command."""

from __future__ import annotations

import errno
from functools import partial
import json
import os
from pathlib import Path
import pickle
import resource
import subprocess
import sys

from bench_helpers import box
from bench_helpers import sphere
from bench_helpers import wedge
from bench_helpers import write_objects
import cv2
import numpy as np
import pytest
import trimesh

from lift3d_ros.bench import publish
from lift3d_ros.bench import run as run_module
from lift3d_ros.bench.baselines import average
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.processes import failure
from lift3d_ros.bench.processes import run_tasks
from lift3d_ros.bench.real_frames import find_real
from lift3d_ros.bench.real_frames import read_real
from lift3d_ros.bench.reporting import shapes
from lift3d_ros.bench.reporting.sheet import COLUMNS
from lift3d_ros.bench.reporting.sheet import strip
from lift3d_ros.bench.reporting.sheet import TILE
from lift3d_ros.bench.reporting.statistics import mean_over_objects
from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.results import Results
from lift3d_ros.bench.run import run_bench
from lift3d_ros.bench.scenes import Track
from lift3d_ros.bench.scenes import TRACKS
from lift3d_ros.bench.score import FAILED
from lift3d_ros.bench.settings import plan_tasks
from lift3d_ros.bench.settings import SCAN
from lift3d_ros.bench.settings import Settings
from lift3d_ros.bench.worker import Worker
from lift3d_ros.cli import main
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.io.scene import write_scene
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import load_mesh
from lift3d_ros.synthetic.objects import MAX_FACES
from lift3d_ros.synthetic.rigs import RIG_SHARES
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

#: Figures that a second run of the same seed must give again, to the last digit.
SAME = ('iou', 'chamfer_mm', 'f_2pct', 'aligned_cd', 'scene_seed')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Return a folder of two objects."""
    return write_objects(
        tmp_path_factory.mktemp('objects'), ball=sphere(0.04), box=box((0.1, 0.06, 0.08)))


@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    """Return the folder of results of a whole run."""
    out = tmp_path_factory.mktemp('whole')
    settings = Settings(('hull', 'geometric'), ('rgbd', 'rgb'), views=1, grasp=True)
    assert run_bench(settings, out, data=data, command='lift3d bench') == 0
    return out


def rows_of(out):
    """Return the rows of a folder of results by their keys."""
    if not (out / 'rows.jsonl').exists():
        return {}
    rows = [json.loads(line) for line in (out / 'rows.jsonl').read_text().splitlines()]
    found = {(row['scene'], row['track'], row['contender']): row for row in rows}
    assert len(found) == len(rows)
    return found


def row(name, contender='hull', ok=True, **figures):
    """Return a row of results."""
    return {'scene': f'{name}_0', 'object': name, 'track': 'rgbd', 'contender': contender,
            'ok': ok, 'error': None, **figures}


def text_of(rows, predictors):
    """Return the tables of rows."""
    return shapes.report(None, predictors, {}, rows).text()


def refusal(function, *arguments, **options):
    """Return the message of the error that the call ends with."""
    with pytest.raises(LiftError) as caught:
        function(*arguments, **options)
    return caught.value.message


# A run


def test_every_contender_has_a_row_for_every_scene_and_track(whole):
    rows = rows_of(whole)
    scenes = ('ball_0', 'box_0')
    assert set(rows) == {
        (scene, track, name) for scene in scenes
        for track, name in (('rgbd', 'hull'), ('rgbd', 'geometric'), ('rgbd', SCAN),
                            ('rgb', 'geometric'))
    }
    for (_, track, name), entry in rows.items():
        assert entry['ok']
        assert entry['peak_memory_mb'] > 50.0
        if name != SCAN:
            assert 0.0 <= entry['iou'] <= 1.0
            assert 10.0 <= entry['elevation_deg'] <= 70.0
        assert ('grasp_top_1' in entry) is (track == 'rgbd')


def test_without_depth_there_are_no_baselines_that_need_it():
    settings = Settings(('partial', 'mean', 'geometric'), ('rgb',), views=1)
    frames = plan_tasks(settings, [], [Path('frame')])
    assert [task.tracks for task in frames] == [('real',)] * 3


def test_the_report_names_machine_and_command_and_holds_every_row(whole):
    report = json.loads((whole / 'report.json').read_text())
    assert report['command'] == 'lift3d bench'
    assert {'processor', 'cores', 'memory_gb', 'python', 'packages', 'revision'} <= set(
        report['machine'])
    assert len(report['rows']) == len(rows_of(whole))
    assert report['means']['rgbd']['geometric']['iou']['objects'] == 2
    text = (whole / 'report.md').read_text()
    for words in ('    lift3d bench', '### rgbd: 2 objects, 2 scenes', '### rgb', 'scan', 'IoU',
                  'AUSE', 'top 10 %'):
        assert words in text


def test_the_sheet_has_a_row_for_each_object_best_first(whole):
    page = cv2.imread(str(whole / 'sheet.png'))
    assert page.shape[1] > TILE * len(COLUMNS)
    assert page.shape[0] > 2 * TILE
    assert (whole / 'sheet_rgb_geometric.png').is_file()


def test_an_interrupted_run_goes_on_where_it_stopped(whole, data, tmp_path, monkeypatch):
    settings = Settings(('hull', 'geometric'), ('rgbd', 'rgb'), views=1, grasp=True)
    lines = (whole / 'rows.jsonl').read_text().splitlines(keepends=True)
    (tmp_path / 'run.json').write_text((whole / 'run.json').read_text())
    # Three rows, and a fourth that was cut off while it was written.
    (tmp_path / 'rows.jsonl').write_text(''.join(lines[:3]) + lines[3][:40])
    done = []
    original = Worker.run

    def counted(worker, task):
        done.append(task)
        return original(worker, task)

    monkeypatch.setattr(Worker, 'run', counted)
    assert run_bench(settings, tmp_path, data=data) == 0
    assert sum(len(task.tracks) for task in done) == len(lines) - 3
    resumed, expected = rows_of(tmp_path), rows_of(whole)
    assert set(resumed) == set(expected)
    for key, entry in expected.items():
        assert {name: resumed[key].get(name) for name in SAME} == {
            name: entry.get(name) for name in SAME}, key

    done.clear()
    assert run_bench(settings, tmp_path, data=data) == 0
    assert not done


def test_results_of_another_run_are_not_mixed_in(whole, data):
    settings = Settings(('hull',), views=1, seed=1)
    message = refusal(run_bench, settings, whole, data=data)
    assert '--fresh' in message


def test_fresh_begins_anew(tmp_path):
    Results(tmp_path, {'seed': 0}).append([row('a')])
    assert len(Results(tmp_path, {'seed': 0})) == 1
    assert len(Results(tmp_path, {'seed': 1}, fresh=True)) == 0


def test_noisy_masks_and_occluders_make_other_scenes(data, tmp_path):
    entry = find_objects(data)[0]
    views = {
        name: Worker(settings, find_objects(data), tmp_path, data)._make_view(entry, 0)
        for name, settings in (
            ('exact', Settings(('hull',))),
            ('noisy', Settings(('hull',), mask='noisy')),
            ('occluded', Settings(('hull',), occluded=True)),
        )
    }
    exact, noisy = views['exact'], views['noisy']
    np.testing.assert_array_equal(exact.frame.image, noisy.frame.image)
    assert (exact.mask != noisy.mask).any()
    assert exact.notes['occlusion'] == 0.0 < views['occluded'].notes['occlusion']


def test_a_track_may_bring_its_own_scenes_and_masks(data, tmp_path, monkeypatch):
    around = []

    def close_up(mesh, seed, others):
        around.append(others)
        return make_scene(mesh, seed, TableSettings(distance=(0.3, 0.3)))

    track = Track(depth=True, gravity=False, generator=close_up, mask='noisy')
    monkeypatch.setitem(TRACKS, 'close', track)
    settings = Settings(('hull',), ('rgbd', 'close'), views=1)
    assert run_bench(settings, tmp_path, data=data) == 0
    rows = rows_of(tmp_path)
    for name in ('ball_0', 'box_0'):
        near, usual = rows[name, 'close', 'hull'], rows[name, 'rgbd', 'hull']
        assert near['distance_m'] == pytest.approx(0.3, abs=0.05) != usual['distance_m']
        assert near['iou'] > 0.1
    # The other object may stand in the scene.
    assert [len(others) for others in around] == [1, 1]


def test_real_like_scenes_have_a_record_of_their_situation(data, tmp_path):
    settings = Settings(('hull',), ('real-like',), views=1)
    assert run_bench(settings, tmp_path, data=data) == 0
    for row in rows_of(tmp_path).values():
        assert row['sensor'] in RIG_SHARES
        assert (row['clearance_m'] > 0.0) <= bool(row['holder'])
        assert row['chamfer_mm'] > 0.0


def test_further_cameras_see_the_same_object(data, tmp_path):
    """What they measure, brought into the first camera's frame, lies on the same scan."""
    entry = find_objects(data)[0]
    worker = Worker(Settings(('geometric',), cameras=3), find_objects(data), tmp_path, data)
    view = worker._make_view(entry, 0)
    assert len(view.further) == 2
    back = invert(view.truth.T_camera_object)
    for frame, mask, T in view.further:
        v, u = np.nonzero(mask & (frame.depth > 0.0))
        points = transform(T, frame.camera.unproject(u, v, frame.depth[v, u]))
        assert np.median(view.truth.solid.distance(transform(back, points))) < 0.004
        # From elsewhere: what the first camera sees is not what this one does.
        assert np.linalg.norm(T[:3, 3]) > 0.1


@pytest.mark.parametrize('count', [0, 9])
def test_as_many_cameras_as_can_stand_around(count):
    with pytest.raises(LiftError, match='1 to 4') as caught:
        Settings(('hull',), cameras=count)
    assert caught.value.code is ErrorCode.BAD_REQUEST


# What fails


class Fragile(Worker):
    """A worker whose process dies of one contender; it lives where spawned processes find it."""

    def run(self, task):
        if task.predictor == 'hull' and task.scene == 'ball_0':
            os._exit(9)
        return [row(task.scene, task.predictor, track=track) for track in task.tracks]


def test_a_process_that_dies_is_one_failure_and_not_the_end(data, tmp_path):
    settings = Settings(('partial', 'hull', 'mirrored'), views=1)
    objects = find_objects(data)
    tasks = plan_tasks(settings, objects, [])
    make_worker = partial(Fragile, settings, objects, tmp_path, data)
    rows = [entry for group in run_tasks(tasks, make_worker, 2) for entry in group]
    assert len(rows) == len(tasks)
    dead = [entry for entry in rows if not entry['ok']]
    assert [(entry['scene'], entry['contender']) for entry in dead] == [('ball_0', 'hull')]
    assert 'died' in dead[0]['error']['message']


@pytest.mark.parametrize(
    ('error', 'code'),
    [
        (LiftError(ErrorCode.NO_SURFACE, 'nothing there'), 'NO_SURFACE'),
        (MemoryError(), 'OUT_OF_MEMORY'),
        (ZeroDivisionError('division by zero'), 'INTERNAL'),
    ],
)
def test_a_method_that_fails_is_a_row_that_counts_as_zero(
    data, tmp_path, monkeypatch, error, code
):
    def fail(contender, frame, mask, seed, **_):
        raise error

    monkeypatch.setattr('lift3d_ros.bench.baselines.ConvexHull.predict', fail)
    settings = Settings(('partial', 'hull'), views=1)
    assert run_bench(settings, tmp_path, data=data, count=1) == 1
    rows = rows_of(tmp_path)
    failed = rows['ball_0', 'rgbd', 'hull']
    assert failed['error']['code'] == code
    assert FAILED.items() <= failed.items()
    assert rows['ball_0', 'rgbd', 'partial']['ok']
    assert f'hull on ball_0 (rgbd): {code}' in (tmp_path / 'report.md').read_text()


@pytest.mark.parametrize(
    'prediction', [Prediction(), Prediction(points=np.zeros((0, 3))),
                   Prediction(points=np.full((9, 3), np.nan))])
def test_a_prediction_of_nothing_is_a_failure(data, tmp_path, monkeypatch, prediction):
    monkeypatch.setattr(
        'lift3d_ros.bench.baselines.PartialCloud.predict', lambda *_, **__: prediction)
    assert run_bench(Settings(('partial',), views=1), tmp_path, data=data, count=1) == 1
    assert rows_of(tmp_path)['ball_0', 'rgbd', 'partial']['error']['code'] == 'NO_SURFACE'


def test_broken_meshes_are_failures_and_the_rest_is_measured(tmp_path):
    folder = write_objects(tmp_path / 'objects', good=sphere())
    (folder / 'empty.obj').write_text('v 0 0 0\n')
    unbounded = sphere()
    unbounded.vertices[7] = np.nan
    unbounded.export(folder / 'nan.ply')
    solid = trimesh.creation.icosphere(3, 0.05)
    solid.update_faces(np.arange(len(solid.faces)) > 40)
    solid.export(folder / 'open.ply')
    assert run_bench(Settings(('partial',), views=1), tmp_path / 'out', data=folder) == 2
    rows = {name: entry for (name, _, _), entry in rows_of(tmp_path / 'out').items()}
    assert [name for name, entry in sorted(rows.items()) if entry['ok']] == ['good_0', 'open_0']
    assert 'no faces' in rows['empty_0']['error']['message']
    assert 'not finite' in rows['nan_0']['error']['message']


def test_a_texture_becomes_vertex_colours(tmp_path):
    from PIL import Image

    solid = trimesh.creation.box((0.1, 0.1, 0.1))
    uv = np.stack([(solid.vertices[:, 0] > 0.0) * 1.0, np.full(len(solid.vertices), 0.5)], axis=1)
    picture = Image.new('RGB', (64, 64), (200, 20, 20))
    picture.paste((20, 20, 200), (32, 0, 64, 64))
    solid.visual = trimesh.visual.TextureVisuals(uv, image=picture)
    solid.export(tmp_path / 'box.glb')
    mesh = load_mesh(tmp_path / 'box.glb')
    left, right = (mesh.colors[mesh.vertices[:, 0] * side > 0.03] for side in (-1.0, 1.0))
    assert (left[:, 0] > 150).mean() > 0.9
    assert (right[:, 2] > 150).mean() > 0.9


def test_a_scan_of_two_million_faces_is_measured(tmp_path):
    side = 1001
    x, y = np.meshgrid(*[np.linspace(-0.1, 0.1, side, dtype=np.float32)] * 2)
    z = 0.01 + 0.05 * np.exp(-(x**2 + y**2) / 0.004)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate([
        np.stack([corner, corner + 1, corner + side + 1], axis=1),
        np.stack([corner, corner + side + 1, corner + side], axis=1)])
    vertices = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    colors = np.full(vertices.shape, 120, np.uint8)
    (tmp_path / 'objects').mkdir()
    Mesh(vertices, faces.astype(np.int32), colors).export(tmp_path / 'objects' / 'hill.ply')
    assert len(faces) == 2_000_000
    mesh = load_mesh(tmp_path / 'objects' / 'hill.ply')
    assert len(mesh.faces) <= MAX_FACES
    assert make_scene(mesh, 0).mask.any()


def test_a_full_disk_is_said_and_keeps_what_was_written(tmp_path):
    results = Results(tmp_path, {})
    results.append([row('a')])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, limits[1]))
    try:
        message = refusal(results.append, [row('b', text='x' * 500)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 'cannot be written' in message
    # Half a row may have reached the disk; it is taken away, and the next one fits again.
    again = Results(tmp_path, {})
    assert [entry['object'] for entry in again.rows()] == ['a']
    again.append([row('c')])
    assert len(Results(tmp_path, {})) == 2


def test_a_disk_that_fills_up_ends_the_run_with_what_to_do(data, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    message = refusal(run_bench, Settings(('partial',), views=1), tmp_path, data=data, count=1)
    assert 'No space left on device' in message
    assert 'goes on from there' in message


def test_a_picture_that_cannot_be_written_is_no_failure_of_the_method(data, tmp_path):
    (tmp_path / 'strips').write_text('')
    message = refusal(run_bench, Settings(('geometric',), views=1), tmp_path, data=data, count=1)
    assert 'strips' in message
    assert not rows_of(tmp_path)
    assert str(pickle.loads(pickle.dumps(CannotWriteError(tmp_path, OSError(28, 'full'))))) == (
        str(CannotWriteError(tmp_path, OSError(28, 'full'))))


def test_a_folder_that_cannot_be_made_is_named(data, tmp_path):
    (tmp_path / 'file').write_text('')
    message = refusal(run_bench, Settings(('partial',)), tmp_path / 'file' / 'out', data=data)
    assert 'cannot be written' in message


def test_a_line_that_is_no_row_is_named(tmp_path):
    Results(tmp_path, {})
    (tmp_path / 'rows.jsonl').write_text('{"scene": "a"}\n')
    assert 'Line 1' in refusal(Results, tmp_path, {})


@pytest.mark.parametrize(
    ('choice', 'message'),
    [
        ({'predictors': ('wizard',)}, 'no method or baseline "wizard"'),
        ({'tracks': ('lidar',)}, 'no track "lidar"'),
        ({'mask': 'perfect'}, 'no mask "perfect"'),
        ({'views': 0}, '0 views'),
        ({'predictors': ('one2345',), 'samples': 17}, 'choose 1 to 16'),
        ({'predictors': ('one2345',), 'weights': 'no-such'}, "no weights 'no-such'"),
    ],
)
def test_what_does_not_exist_is_refused_at_once(choice, message):
    assert message in refusal(Settings, **{'predictors': ('hull',), **choice})


def test_without_any_data_the_run_does_not_begin(tmp_path):
    settings = Settings(('hull',))
    assert '--data' in refusal(run_bench, settings, tmp_path / 'out')
    message = refusal(run_bench, settings, tmp_path / 'out', data=tmp_path / 'none')
    assert 'Google Scanned Objects' in message
    assert 'manifest.json' in message


def test_an_internal_error_keeps_its_trace():
    try:
        raise KeyError('oops')
    except KeyError as error:
        entry = failure(error)
    assert 'test_an_internal_error' in entry['error']['trace']


# Means and tables


def test_a_mean_is_over_objects_and_not_over_scenes():
    rows = [row('a', iou=1.0) for _ in range(10)] + [row('b', iou=0.0)]
    mean = mean_over_objects(rows, 'iou')
    assert (mean['mean'], mean['objects'], mean['scenes']) == (0.5, 2, 11)
    assert (mean['low'], mean['high']) == (0.0, 1.0)


def test_the_interval_holds_the_mean_of_known_spread():
    values = np.random.default_rng(0).normal(0.5, 0.1, 100)
    mean = mean_over_objects([row(str(k), iou=v) for k, v in enumerate(values)], 'iou')
    assert mean['high'] - mean['low'] == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(100), rel=0.15)
    assert mean_over_objects([row('a', iou=0.3)] * 3, 'iou')['low'] == pytest.approx(0.3)
    assert mean_over_objects([], 'iou') is None


def test_a_failure_is_a_zero_in_shares_and_nothing_in_lengths():
    good = row('a', iou=0.8, chamfer_mm=2.0, f_2pct=1.0)
    bad = row('b', ok=False, **FAILED)
    means = shapes.summarise([good, bad])['means']['rgbd']['hull']
    assert means['iou']['mean'] == pytest.approx(0.4)
    assert means['chamfer_mm']['mean'] == pytest.approx(2.0)
    body = shapes.tables(shapes.summarise([good, bad], ['hull']), 'rgbd')[0][1]
    assert body[1][0] == 'hull'
    assert body[1][-1] == '1'


def test_a_cloud_that_fails_does_not_get_a_volume():
    good = row('a', 'partial', f_2pct=0.5, chamfer_mm=2.0)
    bad = row('b', 'partial', ok=False, **FAILED)
    means = shapes.summarise([good, bad])['means']['rgbd']['partial']
    assert 'iou' not in means
    assert means['f_2pct']['mean'] == pytest.approx(0.25)


def test_means_are_told_apart_by_category():
    rows = [row('a', iou=0.8, chamfer_mm=1.0, f_2pct=0.9, category='box'),
            row('b', iou=0.2, chamfer_mm=9.0, f_2pct=0.2, category='mug')]
    text = shapes.report(None, ['hull'], {'a': 'box', 'b': 'mug'}, rows).text()
    assert '| box (1) | mug (1) |' in text
    assert 'by category' not in text_of(rows[:1], ['hull'])


def test_the_text_is_a_table_of_even_columns_and_names_failures():
    error = {'code': 'NO_SURFACE', 'message': 'nothing'}
    text = text_of(
        [row('a', iou=0.8, f_2pct=0.5, chamfer_mm=2.0),
         {**row('b', ok=False, **FAILED), 'error': error}], ['hull'])
    lines = [line for line in text.splitlines() if line.startswith('|')]
    assert len({len(line) for line in lines[:3]}) == 1
    assert '- hull on b_0 (rgbd): NO_SURFACE: nothing' in text


# Real frames


@pytest.fixture
def frame(tmp_path):
    """Return the folder of a frame whose mesh and pose are known, like a real one."""
    scene = make_scene(wedge(), 2)
    write_scene(tmp_path / 'frames' / 'one', scene.frame, scene.mask)
    wedge().export(tmp_path / 'wedge.ply')
    entry = {'mesh': 'wedge.ply', 'T_cam_obj': scene.T_camera_object.tolist()}
    (tmp_path / 'frames' / 'one' / 'meta.json').write_text(json.dumps({'objects': [entry]}))
    write_scene(tmp_path / 'frames' / 'two', scene.frame, scene.mask)
    return tmp_path / 'frames'


def test_real_frames_are_scored_where_the_mesh_is_known_and_else_measured(frame, tmp_path):
    assert run_bench(Settings(('hull', 'geometric')), tmp_path / 'out', real=frame,
                     data=None) == 0
    rows = rows_of(tmp_path / 'out')
    assert 'iou' in rows['one', 'real', 'geometric']
    assert 'iou' not in rows['two', 'real', 'geometric']
    assert len(rows['two', 'real', 'geometric']['notes']['size_mm']) == 3
    text = (tmp_path / 'out' / 'report.md').read_text()
    assert '### real: 1 objects, 1 scenes' in text
    assert '### real: sizes' in text


def test_a_mesh_that_is_not_the_truth_is_not_scored_against(frame, tmp_path):
    path = frame / 'one' / 'meta.json'
    content = json.loads(path.read_text())
    content['objects'][0]['mesh_is_ground_truth'] = False
    path.write_text(json.dumps(content))
    assert read_real(frame / 'one', tmp_path)[2] is None


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[]', 'does not describe a scene'),
        ('{"objects": [{"mesh": "x.ply", "T_cam_obj": [1]}]}', 'does not describe a scene'),
        (json.dumps({'objects': [{'mesh': 'none.ply', 'T_cam_obj': np.eye(4).tolist()}]}),
         'names the mesh none.ply'),
    ],
)
def test_a_broken_description_of_a_frame_is_named(frame, tmp_path, content, message):
    (frame / 'one' / 'meta.json').write_text(content)
    assert message in refusal(read_real, frame / 'one', tmp_path)


def test_a_folder_without_frames_is_refused(tmp_path):
    assert 'no scene folders' in refusal(find_real, tmp_path)


# Pictures


def test_a_strip_shows_error_where_the_prediction_is_wrong():
    scene = make_scene(sphere(0.05), 1)
    truth = Truth(scene.mesh, scene.T_camera_object)
    right, wrong = (
        strip(scene.frame, scene.mask, mesh.transformed(scene.T_camera_object), truth)
        for mesh in (sphere(0.05), sphere(0.07))
    )
    assert right.shape == (TILE, TILE * len(COLUMNS), 3)
    middle = np.s_[TILE // 2, 5 * TILE + TILE // 2]
    assert right[middle][2] > right[middle][0]
    assert wrong[middle][0] > wrong[middle][2]
    without = strip(scene.frame, scene.mask, truth.mesh.transformed(scene.T_camera_object), None)
    assert np.ptp(without[:, 3 * TILE:]) == 0


# Results in the documentation


PAGE = (
    'Before.\n<!-- results: {0}/rgbd iou chamfer_mm centre_mm~ -->\nold\n<!-- end -->\n'
    '![sheet](images/bench_{0}_rgbd_geometric.jpg)\nAfter.\n')


@pytest.fixture
def page(whole, tmp_path):
    """Return the arguments that take a run into a page, and the page."""
    path = tmp_path / 'page.md'
    path.write_text(PAGE.format(whole.name))
    return ['--runs', str(whole.parent), '--results', str(tmp_path / 'results'),
            '--page', str(path)], path


def test_a_run_is_taken_into_the_results_and_its_table_into_the_page(page, whole, tmp_path):
    options, path = page
    assert publish.main(options) == 0
    once = path.read_text()
    # Without the run: the result holds all that the page shows.
    assert publish.main(options[2:]) == 0
    assert path.read_text() == once
    assert once.startswith('Before.') and once.endswith('After.\n')
    lines = once.splitlines()
    assert 'old' not in lines
    assert any(line.startswith('| geometric ') for line in lines)
    assert '`lift3d bench`' in once
    picture = tmp_path / 'images' / f'bench_{whole.name}_rgbd_geometric.jpg'
    assert 10_000 < picture.stat().st_size < 1_500_000


def test_a_result_renders_the_tables_of_its_report(page, whole, tmp_path, capsys):
    options, _ = page
    assert publish.main(options) == 0
    text = (tmp_path / 'results' / f'{whole.name}.json').read_text()
    assert str(whole) not in text and len(text) < 40_000
    capsys.readouterr()
    assert publish.main([*options[2:], '--show', whole.name]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
    report = (whole / 'report.md').read_text().splitlines()
    assert shown == [line for line in report if line.startswith('|')]


def test_a_page_that_names_a_missing_run_is_left_as_it_is(page, tmp_path, capsys):
    options, path = page
    path.write_text(PAGE.format('none'))
    assert publish.main(options) == 1
    assert path.read_text() == PAGE.format('none')
    assert 'none' in capsys.readouterr().err
    assert publish.main([*options, '--only', 'unheard-of']) == 1
    assert 'unheard-of' in capsys.readouterr().err


def test_the_accuracy_page_shows_the_results_as_they_are(tmp_path):
    root = Path(__file__).parents[2] / 'docs'
    (tmp_path / 'page.md').write_text((root / 'accuracy.md').read_text())
    assert publish.main(['--results', str(root / 'results'),
                         '--page', str(tmp_path / 'page.md')]) == 0
    assert (tmp_path / 'page.md').read_text() == (root / 'accuracy.md').read_text()
    for path in (root / 'results').glob('*.json'):
        assert publish.as_text(json.loads(path.read_text())).count('|') > 20


# The command


def lift3d(*arguments):
    """Run the command in a new process; return what came of it."""
    return subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.cli', 'bench', *map(str, arguments)],
        text=True, capture_output=True, timeout=100, check=False)


def test_the_command_prints_tables_and_leaves_reports(data, tmp_path):
    done = lift3d('--data', data, '--methods', 'hull', '--no-baselines', '--views', 1,
                  '--objects', 2, '--jobs', 2, '--out', tmp_path)
    assert done.returncode == 0, done.stderr
    assert '2 objects, 2 scenes' in done.stdout
    assert str(tmp_path / 'report.json') in done.stdout
    assert '--no-baselines' in json.loads((tmp_path / 'report.json').read_text())['command']


def test_the_learned_method_is_measured_by_the_weights_that_are_named(
    data, tmp_path, learned_weights
):
    settings = Settings(('one2345',), views=1, weights=str(learned_weights))
    assert run_bench(settings, tmp_path, data=data, count=1) == 0
    (row,) = rows_of(tmp_path).values()
    assert row['contender'] == 'one2345'
    assert row['iou'] > 0.0
    assert 'denoise' in row['seconds']
    shared = json.loads((tmp_path / 'run.json').read_text())
    assert (shared['weights'], shared['samples']) == (str(learned_weights), 1)


@pytest.mark.parametrize('default', ['geometric', 'one2345'])
def test_without_names_geometric_and_the_default_method_are_measured(
    default, monkeypatch, tmp_path, learned_weights
):
    asked = []

    def record(settings, out, **options):
        asked.append(settings)
        return 0

    monkeypatch.setattr('lift3d_ros.bench.run.run_bench', record)
    monkeypatch.setattr('lift3d_ros.lifter.DEFAULT_METHOD', default)
    assert main(['bench', '--no-baselines', '--samples', '2', '--weights', str(learned_weights),
                 '--out', str(tmp_path)]) == 0
    assert asked[0].predictors == tuple(dict.fromkeys(['geometric', default]))
    assert (asked[0].weights, asked[0].samples) == (str(learned_weights), 2)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--data', 'nowhere'], 'Scanned Objects'),
        (['--methods', 'wizard', '--data', '.'], 'no method or baseline'),
        (['--track', 'lidar', '--data', '.'], 'no track'),
        ([], '--data'),
    ],
)
def test_the_command_refuses_in_one_line(arguments, message, tmp_path):
    done = lift3d(*arguments, '--out', tmp_path / 'out')
    assert done.returncode == 2
    assert message in done.stderr
    assert 'Traceback' not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_mustard_bottle_is_scored_against_its_scan(shared_data, tmp_path):
    frame, mask, truth = read_real(
        shared_data / 'rgbd' / '6dofgraspnet_mustard', shared_data)
    assert truth is not None
    assert truth.diagonal == pytest.approx(0.22, abs=0.03)
    v, u = np.nonzero(mask & (frame.depth > 0.0))
    seen = frame.camera.unproject(u, v, frame.depth[v, u])
    scan = truth.mesh.transformed(truth.T_camera_object)
    from lift3d_ros.bench.metrics import Solid

    assert np.median(Solid(scan).distance(seen)) < 0.002


def test_the_mean_of_the_training_split_takes_part_where_there_is_one(shared_data, tmp_path):
    objects = find_objects(shared_data / 'objects')
    path = tmp_path / 'mean_shape.npz'
    train = run_module.training_objects(objects[::40], 'eval')
    assert run_module.prepare_mean(path, train, average, 'mean shape')
    assert path.is_file()
    assert not run_module.training_objects(objects, 'train')
    assert not run_module.prepare_mean(tmp_path / 'x', [], average, 'mean shape')
