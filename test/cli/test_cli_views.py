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

"""The lift3d views command, as a user runs it, with small random weights."""

from __future__ import annotations

import json
import subprocess
import sys

from command_helpers import run_here
import cv2
import numpy as np
import pytest
import view_helpers

from lift3d_ros.cli import main
from lift3d_ros.cli.demo import DEMO_SCENE
from lift3d_ros.diffusion import view_grid
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.io.scene import read_scene

KEYS = [
    'ok', 'error', 'weights', 'sampler', 'elevation_deg', 'elevation_source', 'elevation_stddev',
    'scale_source', 'radius', 'fov', 'views', 'camera', 'camera_source', 'seconds',
    'peak_memory_mb',
]

ASKED = [0.0, 90.0, -120.0]


def views(*arguments):
    """Run the command in a new process; return what came of it."""
    return subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.cli', 'views', *map(str, arguments)],
        text=True, capture_output=True, timeout=100, check=False,
    )


def report(path):
    """Return the report of a scene, whose keys are always the same."""
    content = json.loads(path.read_text())
    assert list(content) == KEYS
    return content


def pictures(out, entry):
    """Return the pictures that a report names."""
    return [cv2.imread(str(out / view['file']), cv2.IMREAD_UNCHANGED) for view in entry['views']]


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return view_helpers.random_weights(tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='module')
def cut_out(tmp_path_factory):
    """Return an RGBA picture of the demo's object, higher than wide, alpha = mask."""
    frame, mask = read_scene(DEMO_SCENE)
    rows, columns = np.nonzero(mask)
    middle = int(columns.mean())
    window = np.s_[:, middle - 150:middle + 150]
    assert rows.min() > 0
    picture = np.dstack([frame.image[..., ::-1], np.where(mask, 255, 0)]).astype(np.uint8)
    path = tmp_path_factory.mktemp('pictures') / 'cut out.png'
    cv2.imwrite(str(path), picture[window])
    return path


@pytest.fixture(scope='module')
def made(weights, cut_out, tmp_path_factory):
    """Show a scene, a cut-out picture and pictures that show no object, in one run."""
    folder = tmp_path_factory.mktemp('views')
    opaque = folder / 'opaque.png'
    cv2.imwrite(str(opaque), np.full((64, 64, 4), 255, np.uint8))
    out = folder / 'out'
    out.mkdir()
    for name in ('opaque_000.png', 'opaque_sheet.png', 'demo_scene_007.png', 'opaque_mug.png'):
        (out / name).write_text('a picture of yesterday')
    done = views(
        opaque, DEMO_SCENE, cut_out, folder / 'absent.png', '--out', out, '--weights', weights,
        '--azimuth', *ASKED, '--elevation', 20, '--steps', 1, '--elevation-of-input', 32,
    )
    return done, out


def test_one_failure_neither_stops_the_others_nor_passes_for_success(made):
    done, out = made
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(':')[0] for line in lines[:-1]] == [
        'opaque', 'demo_scene', 'cut out', 'absent']
    assert lines[-1].startswith('2 of 4 scenes synthesised')
    assert '\r' not in done.stdout + done.stderr
    assert sorted(path.name for path in out.iterdir()) == sorted([
        'opaque.json', 'absent.json', 'opaque_mug.png',
        *(f'{name}{rest}' for name in ('demo_scene', 'cut out')
          for rest in ('.json', '_sheet.png', '_000.png', '_001.png', '_002.png')),
    ])


def test_a_failure_leaves_its_code_and_what_to_do(made):
    done, out = made
    for name, word in (('opaque', 'transparent'), ('absent', 'cannot be read')):
        failure = report(out / f'{name}.json')
        assert (failure['ok'], failure['error']['code']) == (False, 'BAD_IMAGE')
        assert word in failure['error']['message']
        assert failure['error']['message'] in done.stdout
        assert failure['views'] == []
        assert failure['seconds']['total'] >= 0.0


def test_views_are_rgba_on_white_and_differ_by_direction(made):
    for name in ('demo_scene', 'cut out'):
        found = pictures(made[1], report(made[1] / f'{name}.json'))
        assert len(found) == len(ASKED)
        for picture in found:
            assert picture.shape == found[0].shape
            assert picture.shape[2] == 4
            assert picture.dtype == np.uint8
        assert all((a != b).any() for a, b in zip(found, found[1:], strict=False))


def test_a_report_says_how_the_views_were_made(made, weights):
    success = report(made[1] / 'demo_scene.json')
    assert (success['ok'], success['error']) == (True, None)
    assert (success['weights'], success['sampler']) == (str(weights), 'fast')
    assert success['elevation_source'] == 'gravity'
    assert success['elevation_deg'] == pytest.approx(32.0, abs=4.0)
    assert success['scale_source'] == 'depth'
    assert success['camera_source'] == 'given'
    assert [view['azimuth'] for view in success['views']] == ASKED
    assert [view['elevation'] for view in success['views']] == [20.0] * 3
    camera = success['camera']
    assert camera['width'] == camera['height'] == pictures(made[1], success)[0].shape[0]
    seen = 2.0 * np.degrees(np.arctan(0.5 * camera['width'] / camera['K'][0][0]))
    assert seen == pytest.approx(ZERO123_FOV, abs=1e-6)
    assert success['fov'] == pytest.approx(ZERO123_FOV, abs=1e-3)
    stages = dict(success['seconds'])
    assert 0.0 < stages['total'] < 100.0
    assert 50.0 < success['peak_memory_mb'] < 4000.0


def test_poses_lie_around_the_object_in_the_frame_of_the_camera(made):
    """Against gravity and depth of the scene, which know nothing of canonical frames."""
    frame, mask = read_scene(DEMO_SCENE)
    found = report(made[1] / 'demo_scene.json')
    poses = np.array([view['T_camera_view'] for view in found['views']])
    for T in poses:
        np.testing.assert_allclose(T[:3, :3].T @ T[:3, :3], np.eye(3), atol=1e-9)
        # The axis of each view dips by its elevation.
        assert np.degrees(np.arcsin(T[:3, 2] @ frame.gravity)) == pytest.approx(20.0, abs=1e-6)
    # All axes meet in one point, at one distance from each view: the middle of the object.
    eyes, axes = poses[:, :3, 3], poses[:, :3, 2]
    distance = np.linalg.norm(eyes[0] - eyes[1]) / np.linalg.norm(axes[0] - axes[1])
    middles = eyes + distance * axes
    np.testing.assert_allclose(middles, np.broadcast_to(middles[0], (3, 3)), atol=1e-6)
    u, v, z = frame.camera.project(middles[0])
    assert mask[round(float(v)), round(float(u))]
    assert 0.0 < z - np.median(frame.depth[mask & (frame.depth > 0.0)]) < 0.1
    # Azimuth 0 is the side of the camera; it grows counter-clockwise seen from above.
    side = eyes - middles[0] + np.outer((eyes - middles[0]) @ frame.gravity, -frame.gravity)
    home = -middles[0] + (middles[0] @ frame.gravity) * frame.gravity
    for azimuth, direction in zip(ASKED, side, strict=True):
        sine = np.cross(home, direction) @ -frame.gravity
        angle = np.degrees(np.arctan2(sine, home @ direction))
        assert angle == pytest.approx(azimuth, abs=1e-4)


def test_of_a_lone_picture_the_lens_is_assumed_and_nothing_metric_claimed(made):
    found = report(made[1] / 'cut out.json')
    assert found['camera_source'] == 'assumed'
    assert found['scale_source'] == 'unknown'
    assert found['elevation_deg'] == pytest.approx(32.0)
    assert found['elevation_source'] == 'given'


def test_the_sheet_shows_input_and_views(made):
    for name in ('demo_scene', 'cut out'):
        sheet = cv2.imread(str(made[1] / f'{name}_sheet.png'))
        assert sheet.shape[0] > 2 * 256
        assert sheet.shape[1] > 3 * 256
        assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100


def test_a_ring_and_the_seed(weights, tmp_path):
    def run(out, *more):
        done = run_here(
            'views', DEMO_SCENE, '--out', tmp_path / out, '--weights', weights, '--steps', 1,
            *more)
        assert done.returncode == 0, done.stdout + done.stderr
        found = report(tmp_path / out / 'demo_scene.json')
        return found, np.array(pictures(tmp_path / out, found))

    ring, first = run('ring')
    assert [view['azimuth'] for view in ring['views']] == [45.0 * k for k in range(8)]
    assert len(first) == 8
    assert all(
        view['elevation'] == pytest.approx(ring['elevation_deg'], abs=1e-4)
        for view in ring['views'])
    np.testing.assert_array_equal(run('again', '--ring', 8)[1], first)
    other, second = run(
        'other', '--ring', 2, '--seed', 5, '--size', 64, '--no-depth', '--assume-elevation', 30)
    assert second.shape == (2, 64, 64, 4)
    assert [view['azimuth'] for view in other['views']] == [0.0, 180.0]
    assert other['scale_source'] == 'unknown'


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (['--azimuth', '0', '10', '20', '--elevation', '1', '2'], '2 elevations'),
        (['--azimuth', '0', '--elevation', '1', '2'], '2 elevations'),
        (['--azimuth', '0', '--ring', '4'], 'not allowed with'),
        (['--azimuth', 'nan'], 'not a finite number'),
        (['--elevation', '5000'], 'not an angle'),
        (['--radius', 'inf'], 'not a finite number'),
        (['--ring', '0'], 'less than 1'),
        (['--ring', '500'], '256'),
        (['--steps', '0'], 'less than 1'),
        (['--seed', '-1'], 'not negative'),
        (['--weights', 'no-such-weights'], 'no-such-weights'),
        (['--elevation-of-input', '3', '--assume-elevation', '3'], 'not allowed with'),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(tmp_path, arguments, reason, capsys):
    try:
        status = main(['views', str(DEMO_SCENE), '--out', str(tmp_path / 'out'), *arguments])
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    assert status == 2
    assert reason in said.err
    assert 'Traceback' not in said.err
    assert not (tmp_path / 'out').exists()


def test_a_radius_inside_of_the_object_is_an_error_of_the_scene(weights, tmp_path):
    done = run_here(
        'views', DEMO_SCENE, '--out', tmp_path, '--weights', weights, '--ring', 1, '--radius', 0.1)
    assert done.returncode == 1
    failure = report(tmp_path / 'demo_scene.json')
    assert failure['error']['code'] == 'BAD_REQUEST'
    assert [path.name for path in tmp_path.iterdir()] == ['demo_scene.json']


def test_a_folder_and_a_picture_of_one_name_are_refused(tmp_path):
    assert main(['views', 'mug', 'mug.png', '--out', str(tmp_path / 'out')]) == 2
    assert not (tmp_path / 'out').exists()


def test_one_elevation_serves_all_azimuths():
    assert view_grid.expand_elevations([], 3) is None
    np.testing.assert_array_equal(view_grid.expand_elevations([7.0], 3), [7.0, 7.0, 7.0])
    np.testing.assert_array_equal(view_grid.expand_elevations([1.0, 2.0], 2), [1.0, 2.0])


@pytest.mark.parametrize(
    ('count', 'rows', 'columns'), [(1, 1, 1), (3, 2, 2), (6, 2, 3), (8, 2, 4)])
def test_the_grid_fills_rows_from_the_left(count, rows, columns):
    images = np.repeat(np.arange(count, dtype=np.uint8), 4 * 5 * 3).reshape(count, 4, 5, 3)
    grid = view_grid.image_grid(images)
    assert grid.shape == (4 * rows, 5 * columns, 3)
    cells = grid[::4, ::5, 0].reshape(-1)
    assert cells.tolist() == [*range(count), *[255] * (rows * columns - count)]


def test_torch_is_not_loaded_before_it_is_needed(tmp_path):
    code = (
        'import sys\n'
        'from lift3d_ros.cli import main\n'
        f'assert main(["views", "a", "--out", {str(tmp_path)!r}, "--ring", "500"]) == 2\n'
        'assert not {"torch", "diffusers", "transformers"} & set(sys.modules)\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=20, capture_output=True)
