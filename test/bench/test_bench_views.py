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


"""The benchmark of synthesised views: cameras, baselines, scores, runs, tables, sheets."""

from __future__ import annotations

from dataclasses import replace
import json
import subprocess
import sys

from bench_helpers import box
from bench_helpers import mesh_of
from bench_helpers import wedge
from bench_helpers import write_objects
import cv2
import numpy as np
import pytest
import trimesh
from view_helpers import random_weights

from lift3d_ros.bench.publish import main as publish
from lift3d_ros.bench.reporting import views
from lift3d_ros.bench.reporting.sheet import rings
from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.scenes import TRACKS
from lift3d_ros.bench.settings import Task
from lift3d_ros.bench.timing.eight_views import watch_denoiser
from lift3d_ros.bench.views.baselines import depth_warped
from lift3d_ros.bench.views.baselines import mean_views
from lift3d_ros.bench.views.baselines import MeanViews
from lift3d_ros.bench.views.baselines import repeated
from lift3d_ros.bench.views.protocol import all_targets
from lift3d_ros.bench.views.protocol import AZIMUTHS
from lift3d_ros.bench.views.protocol import in_range
from lift3d_ros.bench.views.protocol import mask_iou
from lift3d_ros.bench.views.protocol import MAX_PSNR
from lift3d_ros.bench.views.protocol import psnr
from lift3d_ros.bench.views.protocol import RADIUS
from lift3d_ros.bench.views.protocol import score_views
from lift3d_ros.bench.views.protocol import SIZE
from lift3d_ros.bench.views.protocol import ssim
from lift3d_ros.bench.views.protocol import targets
from lift3d_ros.bench.views.published_protocol import find_renders
from lift3d_ros.bench.views.published_protocol import object_mask
from lift3d_ros.bench.views.published_protocol import render_task
from lift3d_ros.bench.views.run import run_views
from lift3d_ros.bench.views.settings import BASELINES
from lift3d_ros.bench.views.settings import ELEVATION
from lift3d_ros.bench.views.settings import OFFICIAL
from lift3d_ros.bench.views.settings import plan_views
from lift3d_ros.bench.views.settings import ViewsSettings
from lift3d_ros.bench.views.task import scene_task
from lift3d_ros.bench.views.worker import ViewsWorker
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.canonical import PosedViews
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.runtime import memory
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import load_mesh
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.synthetic.true_views import object_from_canonical
from lift3d_ros.synthetic.true_views import true_view


def ball():
    """Return a ball of few faces."""
    return mesh_of(trimesh.creation.icosphere(3, 0.05))


def write_split_objects(folder):
    """Write objects with a manifest: two to measure, one for each band of elevations to learn."""
    shapes = {'ball': ball(), 'wedge': wedge()}
    shapes |= {f'train{k}': box((0.1, 0.06 + 0.01 * k, 0.08)) for k in range(6)}
    write_objects(folder, **shapes)
    (folder / 'manifest.json').write_text(json.dumps([
        {'file': f'{name}.ply', 'name': name,
         'split': 'train' if name.startswith('train') else 'eval'} for name in shapes]))
    return folder


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Return a folder of objects with both splits."""
    return write_split_objects(tmp_path_factory.mktemp('objects'))


@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    """Return the folder of results of a run of all baselines."""
    out = tmp_path_factory.mktemp('runs') / 'views'
    settings = ViewsSettings(BASELINES, scenes=1)
    assert run_views(settings, out, data=data, command='lift3d bench --views') == 0
    return out


@pytest.fixture(scope='module')
def scene():
    """Return a scene of a solid that looks like itself from no other side."""
    return make_scene(wedge(), 3, TableSettings(table_cells=0))


def rows_of(out):
    """Return the rows of a folder of results by their keys."""
    rows = [json.loads(line) for line in (out / 'rows.jsonl').read_text().splitlines()]
    return {(row['scene'], row['track'], row['contender']): row for row in rows}


def view_row(name, contender, values, track='rgb', ok=True):
    """Return a row whose views at the azimuths of the plan have these PSNR."""
    views = [{'azimuth': a, 'elevation': 0.0, 'psnr': v, 'ssim': v / 100.0, 'iou': v / 100.0}
             for a, v in zip(AZIMUTHS, values, strict=True)]
    return {'scene': f'{name}_0', 'object': name, 'track': track, 'contender': contender,
            'ok': ok, 'error': None, 'views': views, 'seconds': {'total': 1.0}}


def text_of(rows):
    """Return the tables of rows."""
    return views.report(None, rows).text()


def refusal(function, *arguments, **options):
    """Return the message of the error that the call ends with."""
    with pytest.raises(LiftError) as caught:
        function(*arguments, **options)
    return caught.value.message


# Where is looked from


def test_a_ring_covers_both_sides_at_the_input_height_and_at_others():
    for number in range(4):
        chosen = targets(number)
        assert [target.azimuth for target in chosen] == list(AZIMUTHS)
        assert sorted(abs(a) for a in AZIMUTHS) == sorted(2 * [22.5, 67.5, 112.5, 157.5])
        for distance in (22.5, 67.5, 112.5, 157.5):
            pair = [t.elevation for t in chosen if abs(t.azimuth) == distance]
            assert sum(e is None for e in pair) == 1
    heights = {t.elevation for number in range(4) for t in targets(number) if t.azimuth == 67.5}
    assert heights == {0.0, 20.0, 40.0, 60.0}
    assert len(all_targets()) == len(set(all_targets())) == 20


def test_groups_share_out_all_views():
    names = ('0 to 45', '45 to 135', '135 to 180')
    for azimuth in (*AZIMUTHS, 0.0, 45.0, -45.0, 135.0, 180.0, -180.0, 350.0):
        assert sum(in_range(azimuth, name) for name in names) == 1
        assert in_range(azimuth, 'beyond 45') is not in_range(azimuth, '0 to 45')
    assert in_range(350.0, '0 to 45')
    assert in_range(-180.0, '135 to 180')


# Scores


def test_a_known_error_has_its_known_psnr():
    truth = np.full((SIZE, SIZE, 3), 100, np.uint8)
    assert psnr(truth + np.uint8(10), truth) == pytest.approx(20 * np.log10(255 / 10))
    assert psnr(np.full_like(truth, 0), np.full_like(truth, 255)) == pytest.approx(0.0)
    assert psnr(truth, truth) == MAX_PSNR


def test_ssim_is_one_for_the_same_and_falls_with_noise():
    rng = np.random.default_rng(0)
    truth = cv2.GaussianBlur(rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8), (0, 0), 5)
    little, much = (
        np.clip(truth + rng.normal(0.0, s, truth.shape), 0, 255).astype(np.uint8) for s in (5, 40)
    )
    assert ssim(truth, truth) == pytest.approx(1.0)
    assert 1.0 > ssim(little, truth) > ssim(much, truth)


def test_masks_are_cut_at_one_half():
    a, b = np.zeros((2, 4, 4), np.uint8)
    a[:2], b[1:3] = 128, 255
    assert mask_iou(a, b) == pytest.approx(1 / 3)
    a[0] = 127
    assert mask_iou(a, b) == pytest.approx(1 / 2)
    assert mask_iou(np.zeros_like(a), np.zeros_like(a)) == 1.0
    assert mask_iou(np.zeros_like(a), b) == 0.0


def test_pictures_of_another_size_are_not_compared():
    with pytest.raises(ValueError, match='do not fit'):
        score_views(np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), np.uint8),
                    np.zeros((2, 16, 16, 4), np.uint8))


# Truth and baselines


def test_the_truth_of_a_ball_looks_like_the_input_from_all_sides():
    for seed in range(2):
        scene = make_scene(ball(), seed, TableSettings(table_cells=0))
        task = scene_task(scene, TRACKS['rgb'], 0)
        images, alphas = repeated(task.view, task.radii)
        ious = [mask_iou(a, t[..., 3]) for a, t in zip(alphas, task.truth, strict=True)]
        # What is left is the lens: the nearer camera sees less than half of the ball.
        assert min(ious) > 0.85
        assert images.shape == (8, SIZE, SIZE, 3)


def test_the_truth_without_depth_is_laid_by_the_true_middle(scene):
    task = scene_task(scene, TRACKS['rgb'], 0)
    assert task.view.frame.depth is None
    assert not task.canonical.metric
    assert task.view.frame.gravity is not None


def test_a_ring_differs_from_side_to_side(scene):
    truth = scene_task(scene, TRACKS['rgbd'], 0).truth
    assert truth.shape == (8, SIZE, SIZE, 4)
    assert all(0.02 < np.mean(view[..., 3] > 127) < 0.6 for view in truth)
    assert mask_iou(truth[0, ..., 3], truth[2, ..., 3]) < 0.95


def test_pixels_moved_by_their_depth_are_where_the_scan_is_seen(scene):
    task = scene_task(scene, TRACKS['rgbd'], 0)
    own = task.canonical.elevation
    caster = Raycaster([scene.mesh])
    low, high = scene.mesh.vertices.min(axis=0), scene.mesh.vertices.max(axis=0)
    T = object_from_canonical(
        task.canonical, scene.T_camera_object, (low + high).astype(np.float64) / 2.0)
    near = np.stack([orbit_pose(azimuth, own, RADIUS) for azimuth in (0.0, 10.0)])
    _, alphas = depth_warped(task.view, task.canonical, near)
    for alpha, pose in zip(alphas, near, strict=True):
        assert mask_iou(alpha, true_view(caster, T, pose, SIZE, scene.light)[..., 3]) > 0.9


def test_near_the_input_moved_pixels_beat_the_input_repeated(scene):
    task = scene_task(scene, TRACKS['rgbd'], 0)
    moved = score_views(
        *depth_warped(task.view, task.canonical, task.poses), task.truth)
    same = score_views(*repeated(task.view, task.radii), task.truth)
    for k in (0, 7):
        assert moved[k]['iou'] > same[k]['iou']
        assert moved[k]['psnr'] > same[k]['psnr']


def test_without_depth_pixels_are_moved_in_a_plane(scene):
    view = crop_object(TRACKS['rgb'].strip(scene.frame), scene.mask)
    canonical = canonical_frame(view, scene.elevation)
    # From the input's own side the plane is the input again, but for the nearer lens.
    own = orbit_pose(0.0, canonical.elevation, RADIUS)
    side = orbit_pose(90.0, 0.0, RADIUS)
    images, alphas = depth_warped(view, canonical, np.stack([own, side]))
    same, mask = repeated(view, np.array([RADIUS]))
    assert mask_iou(alphas[0], mask[0]) > 0.85
    assert psnr(images[0], same[0]) > 15.0
    # From the side the plane is a line.
    areas = [np.count_nonzero(alpha > 127) for alpha in alphas]
    assert areas[1] < 0.2 * areas[0]


def test_what_is_farther_is_smaller(scene):
    view = crop_object(scene.frame, scene.mask)
    _, alphas = repeated(view, np.array([1.7, 3.4]))
    areas = [np.count_nonzero(alpha > 127) for alpha in alphas]
    assert areas[0] / areas[1] == pytest.approx(4.0, rel=0.1)


def test_the_mean_of_equal_objects_is_that_object(tmp_path):
    write_objects(tmp_path, **{f'ball{k}': ball() for k in range(6)})
    made = mean_views(find_objects(tmp_path))
    assert made.objects == 6
    for elevation in (12.0, 44.0, 69.0):
        canonical = CanonicalFrame(np.eye(4), 1.0, elevation, metric=False)
        images, alphas = made.images(canonical, targets(0))
        assert images.shape == (8, SIZE, SIZE, 3)
        areas = [np.count_nonzero(alpha > 127) for alpha in alphas]
        assert max(areas) < 1.1 * min(areas)
    # The depth of a ball's near side puts the origin before its middle.
    nearer = made.images(replace(canonical, metric=True), targets(0))[1]
    assert np.ptp([np.count_nonzero(alpha > 127) for alpha in nearer]) > np.ptp(areas)
    made.write(tmp_path / 'mean.npz')
    assert np.array_equal(MeanViews.read(tmp_path / 'mean.npz').rgba, made.rgba)
    assert not list(tmp_path.glob('.*'))
    (tmp_path / 'mean.npz').write_bytes(b'no')
    assert 'delete it' in refusal(MeanViews.read, tmp_path / 'mean.npz')


def test_too_few_objects_have_no_mean(tmp_path):
    write_objects(tmp_path, one=ball())
    assert 'too few' in refusal(mean_views, find_objects(tmp_path))


# Runs


@pytest.mark.parametrize(
    ('choice', 'message'),
    [
        ({'predictors': ('geometric',)}, 'no method or baseline "geometric"'),
        ({'tracks': ('rgb-blind',)}, 'no track "rgb-blind"'),
        ({'scenes': 0}, '0 scenes'),
    ],
)
def test_what_does_not_exist_is_refused_at_once(choice, message):
    assert message in refusal(ViewsSettings, **{'predictors': ('repeated',), **choice})


def test_the_synthesizer_alone_is_asked_for_the_elevation(data):
    settings = ViewsSettings(('repeated', 'coarse', 'other'), weights='some/other', scenes=1)
    tasks = plan_views(settings, find_objects(data, 'eval'))
    assert {task.predictor for task in tasks if ELEVATION in task.tracks} == {'other'}
    assert len(tasks) == 6


def test_every_baseline_has_a_row_for_every_scene_and_track(whole):
    rows = rows_of(whole)
    assert set(rows) == {
        (scene, track, name) for scene in ('ball_0', 'wedge_0') for track in ('rgbd', 'rgb')
        for name in BASELINES}
    for row in rows.values():
        assert row['ok']
        assert [view['azimuth'] for view in row['views']] == list(AZIMUTHS)
        assert all(0.0 <= view['iou'] <= 1.0 and view['psnr'] > 5.0 for view in row['views'])
    for track in ('rgbd', 'rgb'):
        # Eight sides of a ball are alike, those of a wedge are not.
        assert rows['ball_0', track, 'repeated']['iou'] > rows['wedge_0', track, 'repeated']['iou']


def test_the_report_has_tables_by_azimuth_and_sheets(whole):
    report = json.loads((whole / 'report.json').read_text())
    assert report['command'] == 'lift3d bench --views'
    mean = report['means']['rgbd']['repeated']['beyond 45']['iou']
    assert (mean['objects'], mean['views']) == (2, 12)
    assert mean['standard_error'] > 0.0
    text = (whole / 'report.md').read_text()
    for words in ('### rgbd: 2 objects, 2 scenes', '0 to 45 (4 views)', '45 to 135 (8 views)',
                  '135 to 180 (4 views)', 'beyond 45 (12 views)', 'PSNR', 'SSIM', 'mask IoU'):
        assert words in text
    for track in ('rgbd', 'rgb'):
        page = cv2.imread(str(whole / f'rings_{track}.jpg'))
        assert page.shape[1] > 9 * 100
        assert page.shape[0] > 2 * 4 * 100


def test_a_second_run_measures_nothing_anew(whole, data, monkeypatch):
    monkeypatch.setattr(ViewsWorker, 'run', lambda *_: pytest.fail('measured again'))
    assert run_views(ViewsSettings(BASELINES, scenes=1), whole, data=data) == 0
    other = ViewsSettings(BASELINES, scenes=1, seed=1)
    assert '--fresh' in refusal(run_views, other, whole, data=data)


def test_one_that_fails_is_counted_as_white_pictures(data, tmp_path, monkeypatch):
    def fail(worker, name, task, seconds):
        raise LiftError(ErrorCode.OUT_OF_MEMORY, 'Too little memory.')

    monkeypatch.setattr(ViewsWorker, '_predict', fail)
    worker = ViewsWorker(ViewsSettings(('repeated',), scenes=1), tmp_path)
    entry = find_objects(data, 'eval')[0]
    row, = worker.run(Task(entry, 0, 'repeated', ('rgb',)))
    assert not row['ok']
    assert row['error']['code'] == 'OUT_OF_MEMORY'
    assert [view['iou'] for view in row['views']] == [0.0] * 8
    assert views.summarise([row])['means']['rgb']['repeated']['beyond 45']['psnr']['mean'] > 5.0
    text = text_of([row])
    assert '- repeated on ball_0 (rgb): OUT_OF_MEMORY: Too little memory.' in text


def test_a_scene_that_cannot_be_made_is_counted_and_not_fatal(data, tmp_path):
    good, _ = find_objects(data, 'eval')
    bad = type(good)('bad', tmp_path / 'none.ply')
    worker = ViewsWorker(ViewsSettings(('repeated',), scenes=1), tmp_path)
    rows = [worker.run(Task(entry, 0, 'repeated', ('rgb',)))[0] for entry in (bad, good)]
    assert [row['ok'] for row in rows] == [False, True]
    text = text_of(rows)
    assert 'none.ply' in text
    assert '1 objects, 1 scenes' in text


@pytest.mark.parametrize('code', [ErrorCode.WEIGHTS_MISSING, ErrorCode.WEIGHTS_CORRUPT])
def test_without_weights_the_run_ends_and_says_so(data, tmp_path, monkeypatch, code):
    def fail(worker):
        raise LiftError(code, 'Fetch them.')

    monkeypatch.setattr(ViewsWorker, '_synthesizer', fail)
    settings = ViewsSettings(('coarse', 'small'), scenes=1)
    assert refusal(run_views, settings, tmp_path, data=data) == 'Fetch them.'


def test_a_full_disk_ends_the_run(data, tmp_path):
    worker = ViewsWorker(ViewsSettings(('repeated',), scenes=1), tmp_path / 'out')
    (tmp_path / 'out').write_text('not a folder')
    with pytest.raises(CannotWriteError):
        worker.run(Task(find_objects(data, 'eval')[0], 0, 'repeated', ('rgb',)))


# The synthesizer's part, with a stand-in that repeats the input


class Repeater:
    """Takes what a synthesizer takes and gives the input for every view."""

    def __init__(self, turned=0.0, elevation=None):
        """Look ``turned`` degrees past what is asked; where gravity is unknown say that."""
        self._turned, self._elevation = turned, elevation
        self.calls = []

    def synthesize(self, frame, mask, azimuths, elevations=None, *, radius=None, seed=0,
                   deadline=None):
        """Return the views."""
        view = crop_object(frame, mask)
        canonical = canonical_frame(view, self._elevation)
        heights = np.full(len(azimuths), canonical.elevation) if elevations is None else elevations
        distance = radius or RADIUS
        images, alphas = repeated(view, np.full(len(azimuths), distance))
        self.calls.append((frame, distance))
        return PosedViews(
            images=images, alphas=alphas, camera=Camera.from_fov(SIZE, SIZE, ZERO123_FOV),
            poses=np.stack([orbit_pose(a + self._turned, e, distance)
                            for a, e in zip(azimuths, heights, strict=True)]),
            azimuths=azimuths, elevations=heights, radius=distance, canonical=canonical,
            elevation_source='gravity', elevation_stddev=30.0, method='repeater',
            seconds={'denoise': 0.5, 'total': 0.6})

    def coarse(self, frame, mask, azimuths, elevations=None, *, radius=None, seed=0,
               deadline=None):
        """Return the same views."""
        return self.synthesize(frame, mask, azimuths, elevations, radius=radius)


@pytest.fixture
def repeater(monkeypatch):
    """Put the stand-in into the place of the synthesizer."""
    def install(*arguments, **options):
        made = Repeater(*arguments, **options)
        monkeypatch.setattr(ViewsWorker, '_synthesizer', lambda worker: made)
        return made

    return install


def test_synthesised_views_are_scored_as_baselines_are(data, tmp_path, repeater):
    made = repeater(elevation=33.0)
    settings = ViewsSettings(('repeated', 'coarse', 'small'), scenes=1)
    assert run_views(settings, tmp_path, data=data, count=1) == 0
    rows = rows_of(tmp_path)
    for track in ('rgbd', 'rgb'):
        same = rows['ball_0', track, 'repeated']['views']
        for name in ('coarse', 'small'):
            row = rows['ball_0', track, name]
            assert row['views'] == same
            assert row['seconds'] == {'denoise': 0.5, 'total': 0.6}
    assert {frame.depth is None for frame, _ in made.calls} == {True, False}
    assert {distance for _, distance in made.calls} == {RADIUS}
    text = (tmp_path / 'report.md').read_text()
    assert '| small - coarse ' in text
    assert 'denoise' in text
    page = cv2.imread(str(tmp_path / 'rings_rgb.jpg'))
    # One object: the truth, the coarse ring, the synthesised ring.
    assert page.shape[0] < 4 * 150


def test_the_elevation_is_asked_with_gravity_and_from_the_image_alone(data, tmp_path, repeater):
    made = repeater(elevation=33.0)
    worker = ViewsWorker(ViewsSettings(('small',), scenes=1), tmp_path)
    row, = worker.run(Task(find_objects(data, 'eval')[0], 0, 'small', (ELEVATION,)))
    assert row['gravity_error_deg'] < 1e-3
    assert row['gravity_scene_error_deg'] < 5.0
    assert row['image_error_deg'] == pytest.approx(abs(33.0 - row['true_elevation_deg']), abs=1e-2)
    assert row['image_stddev_deg'] == 30.0
    known, blind = (frame for frame, _ in made.calls)
    assert known.gravity is not None
    assert known.depth is None
    assert blind.gravity is None
    assert blind.depth is None


def test_views_from_other_cameras_are_no_result(data, tmp_path, repeater):
    repeater(turned=3.0)
    worker = ViewsWorker(ViewsSettings(('small',), scenes=1), tmp_path)
    row, = worker.run(Task(find_objects(data, 'eval')[0], 0, 'small', ('rgb',)))
    assert not row['ok']
    assert 'other cameras' in row['error']['message']


def test_official_cameras_are_asked_for_at_their_own_distances(shared_data, tmp_path, repeater):
    made = repeater()
    path = find_renders(shared_data / 'gso_views')[0]
    worker = ViewsWorker(ViewsSettings(('repeated', 'small'), scenes=1), tmp_path)
    rows = [worker.run(Task(path, 0, name, (OFFICIAL,)))[0] for name in ('repeated', 'small')]
    assert rows[0]['views'] == rows[1]['views']
    assert sorted(view['azimuth'] for view in rows[0]['views']) == [-135.0, -45.0, 45.0, 135.0]
    distances = [distance for _, distance in made.calls]
    assert min(distances) > 1.9
    assert rows[1]['seconds']['total'] == pytest.approx(0.6 * len(distances))


def test_untrained_weights_go_the_whole_way(data, tmp_path):
    random_weights(tmp_path / 'small')
    settings = ViewsSettings(('coarse', 'small'), str(tmp_path / 'small'), ('rgb',), scenes=1)
    worker = ViewsWorker(settings, tmp_path)
    entry = find_objects(data, 'eval')[0]
    for name in settings.predictors:
        row, = worker.run(Task(entry, 0, name, ('rgb',)))
        assert row['ok'], row['error']
        assert [view['azimuth'] for view in row['views']] == list(AZIMUTHS)
    row, = worker.run(Task(entry, 0, 'small', (ELEVATION,)))
    assert row['gravity_error_deg'] < 0.1


# Tables


def test_means_are_over_objects_with_the_error_of_their_spread():
    low, high = [10.0] * 8, [20.0] * 8
    rows = [view_row('a', 'small', low), view_row('b', 'small', high)]
    rows.append({**view_row('b', 'small', high), 'scene': 'b_1'})
    mean = views.summarise(rows)['means']['rgb']['small']['135 to 180']['psnr']
    assert (mean['mean'], mean['objects'], mean['views']) == (15.0, 2, 6)
    assert mean['standard_error'] == pytest.approx(5.0)


def test_groups_take_the_views_of_their_azimuths():
    values = [abs(a) for a in AZIMUTHS]
    groups = views.summarise([view_row('a', 'small', values)])['means']['rgb']['small']
    assert groups['0 to 45']['psnr']['mean'] == 22.5
    assert groups['45 to 135']['psnr']['mean'] == 90.0
    assert groups['135 to 180']['psnr']['mean'] == 157.5
    mean = groups['beyond 45']['psnr']['mean']
    assert mean == pytest.approx((67.5 + 112.5 + 157.5) / 3, abs=1e-4)


def test_predictors_are_compared_object_by_object():
    rows = [view_row(name, who, [base + gain] * 8)
            for name, base in (('a', 10.0), ('b', 30.0))
            for who, gain in (('coarse', 0.0), ('small', 1.0))]
    better = views.difference(rows, 'rgb', 'small', 'coarse', 'psnr')
    assert better['mean'] == pytest.approx(1.0)
    assert better['standard_error'] == pytest.approx(0.0)
    text = text_of(rows)
    assert '| small - coarse |' in text
    assert '+1.00 ± 0.00' in text


def test_errors_of_the_elevation_have_a_table_of_medians():
    rows = [{'scene': f'{k}_0', 'object': str(k), 'track': ELEVATION, 'contender': 'small',
             'ok': True, 'error': None, 'gravity_error_deg': 0.0, 'gravity_scene_error_deg': 0.5,
             'gravity_stddev_deg': 0.0, 'image_error_deg': error, 'image_scene_error_deg': error,
             'image_stddev_deg': spread}
            for k, (error, spread) in enumerate([(2.0, 3.0), (6.0, 5.0), (50.0, 40.0)])]
    table = views.elevation_table(views.summarise(rows)['elevation'])
    assert table[2][1:] == ['6.00', '41.20', '6.00', '33', '3']
    assert 'Elevation' in text_of(rows)


def test_a_sheet_names_the_best_and_shows_ten_at_most(tmp_path):
    assert rings(tmp_path, [], ['small'], 'rgb') is None


def test_tables_and_sheets_are_put_into_a_page(whole, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(
        f'<!-- results: {whole.name}/rgb psnr iou -->\n<!-- end -->\n'
        f'![sheet](images/bench_{whole.name}_rings_rgb.jpg)\n')
    assert publish(['--runs', str(whole.parent), '--results', str(tmp_path / 'results'),
                    '--page', str(page)]) == 0
    text = page.read_text()
    assert '| depth-warped |' in text and '±' in text
    assert (tmp_path / 'images' / 'bench_views_rings_rgb.jpg').is_file()


# Pictures that others rendered


def test_the_object_on_white_is_found_without_specks():
    image = np.full((100, 120, 3), 255, np.uint8)
    image[20:70, 30:90] = (200, 30, 30)
    image[40:45, 50:55] = 255
    image[50:60, 70:80] = 255
    image[3, 3] = 0
    mask = object_mask(image)
    # A white dot is print, what is larger is seen through.
    assert np.count_nonzero(mask) == 50 * 60 - 10 * 10
    assert not object_mask(np.full((20, 20, 3), 255, np.uint8)).any()


def test_official_pictures_agree_with_the_scan_through_our_lens(shared_data):
    folder = shared_data / 'gso_views'
    content = json.loads((folder / 'cameras.json').read_text())
    found = find_renders(folder)
    assert len(found) == len(content['objects'])
    path = next(path for path in found if path.stem.startswith('ACE_Coffee_Mug'))
    task = render_task(path)
    assert sorted(round(t.azimuth) for t in task.targets) == [-135, -45, 45, 135]
    assert task.canonical.elevation == pytest.approx(content['elevation_deg'][0], abs=2.0)
    entry = content['objects'][path.stem[:-2]]
    mesh = load_mesh(shared_data / entry['mesh'])
    own = content['azimuth_deg'][0], content['elevation_deg'][0]
    centre = np.array(entry['center'])
    pose = orbit_pose(*own, content['distance_over_bbox_diagonal'] * entry['diag'])
    pose[:3, 3] += centre
    T = object_from_canonical(task.canonical, np.linalg.inv(pose), centre)
    assert np.linalg.norm(transform(T, np.zeros(3)) - centre) < 0.1 * entry['diag']
    for camera, truth in zip(task.poses, task.truth, strict=True):
        scan = true_view(Raycaster([mesh]), T, camera, SIZE, Light())
        assert mask_iou(scan[..., 3], truth[..., 3]) > 0.94


def test_folders_without_cameras_are_refused(tmp_path):
    assert 'cameras.json' in refusal(find_renders, tmp_path)
    (tmp_path / 'cameras.json').write_text('{"objects": {"a": {}}}')
    assert 'none of the views' in refusal(find_renders, tmp_path)
    (tmp_path / 'a_0.jpg').write_bytes(b'')
    assert 'does not describe a' in refusal(render_task, find_renders(tmp_path)[0])


# Time and memory


def test_view_steps_of_a_denoiser_are_counted_with_their_operations():
    from diffusers import UNet2DConditionModel
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.manual_seed(0)
    net = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32, 32),
        down_block_types=('DownBlock2D', 'DownBlock2D'), up_block_types=('UpBlock2D', 'UpBlock2D'),
        layers_per_block=1, cross_attention_dim=8, norm_num_groups=8)
    rows = torch.zeros(3, 4, 8, 8), 1, torch.zeros(3, 1, 8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        with watch_denoiser(counter) as steps:
            net(*rows)
            net(*rows)
            torch.mm(torch.zeros(64, 64), torch.zeros(64, 64))
    assert steps.rows == 6
    assert steps.seconds > 0.0
    assert counter.get_total_flops() - steps.flops == 2 * 64**3
    with torch.no_grad():
        net(*rows)
    assert steps.rows == 6


def test_the_peak_of_memory_is_that_of_this_process():
    before = memory.peak_mb()
    block = np.ones(8_000_000)
    assert memory.peak_mb() >= before > 20.0
    del block


# The command


def lift3d(*arguments):
    """Run the command in a new process; return what came of it."""
    return subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.cli', 'bench', *map(str, arguments)],
        text=True, capture_output=True, timeout=100, check=False)


def test_the_command_measures_views(data, tmp_path):
    done = lift3d('--data', data, '--views', '--methods', 'repeated', '--no-baselines',
                  '--objects', 1, '--scenes', 1, '--track', 'rgb', '--jobs', 1, '--out', tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'beyond 45 (6 views)' in done.stdout
    assert str(tmp_path / 'rings_rgb.jpg') in done.stdout


def test_the_command_refuses_in_one_line(data, tmp_path):
    done = lift3d('--views', '--grasp', '--data', data, '--out', tmp_path / 'out')
    assert done.returncode == 2
    assert '--grasp' in done.stderr
    assert len(done.stderr.splitlines()) == 1
