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


"""``lift3d views --scene``: poses, files, notes, and what is refused."""

from __future__ import annotations

import json

from command_helpers import run_here
import cv2
import numpy as np
import pytest
from scene_helpers import make_room

from lift3d_ros.geometry import Camera
from lift3d_ros.io.scene import write_scene
from lift3d_ros.runtime import films
from lift3d_ros.runtime.films import write_film


@pytest.fixture(scope='module')
def room():
    return make_room(Camera.from_fov(96, 72, 60.0), boxes=('box',))


@pytest.fixture(scope='module')
def folder(room, tmp_path_factory):
    made = tmp_path_factory.mktemp('scenes') / 'room'
    write_scene(made, room.frame, room.masks['box'])
    return made


def views(*arguments):
    return run_here('views', *arguments, '--scene', '--method', 'geometric')


def report_of(out):
    return json.loads((out / 'room.json').read_text())


def test_views_from_poses_are_pictures_with_depth(room, folder, tmp_path):
    half = 0.5**0.5
    done = views(
        folder, '--out', tmp_path, '--pose', 0, 0, 0, '--pose', -0.1, -0.05, 0.1, 0, 0.1, 0, 1,
        '--pose', 0, 0, 0, 0, half, 0, half, '--film', 'gif')
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path)
    assert report['scale_source'] == 'depth'
    assert [view['file'] for view in report['views']] == [f'room_{k:03d}.png' for k in range(3)]
    assert set(report['files']) == {path.name for path in tmp_path.iterdir()} - {'room.json'}
    assert len(report['files']) == 7
    depth = cv2.imread(str(tmp_path / 'room_000_depth.png'), cv2.IMREAD_UNCHANGED) / 1000.0
    seen = (depth > 0.0) & ~cv2.dilate(
        room.masks['box'].astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert np.median(np.abs(depth - room.frame.depth)[seen]) < 0.005
    # Turned by 90 degrees it looks past the scene.
    turned = np.array(report['views'][2]['T_camera_eye'])
    np.testing.assert_allclose(turned[:3, 2], [1.0, 0.0, 0.0], atol=1e-5)


def test_poses_in_a_wall_and_in_an_object_have_notes(room, folder, tmp_path):
    to_camera = np.linalg.inv(room.T_world_camera)
    inside = (to_camera @ [0.0, -0.15, 0.1, 1.0])[:3]
    behind = (to_camera @ [-1.6, 0.2, 0.3, 1.0])[:3]
    done = views(
        folder, '--out', tmp_path, '--size', 48, '--pose', *inside, '--pose', *behind)
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path)
    first, second = report['views']
    assert first['inside'] == 'object' and not first['unobstructed']
    assert second['inside'] is None and not second['unobstructed']
    assert not second['reachable']
    assert len(report['notes']) >= 2
    assert report['camera']['width'] == 48
    assert cv2.imread(str(tmp_path / 'room_001.png')).shape == (36, 48, 3)


def test_a_path_of_many_poses_comes_from_a_file(folder, tmp_path):
    path = np.tile(np.eye(4), (120, 1, 1))
    path[:, 0, 3] = np.linspace(-0.2, 0.2, 120)
    (tmp_path / 'poses.json').write_text(json.dumps(path.tolist()))
    out = tmp_path / 'out'
    done = views(
        folder, '--out', out, '--size', 32, '--poses', tmp_path / 'poses.json', '--no-objects')
    assert done.returncode == 0, done.stderr
    assert len(report_of(out)['views']) == 120
    # A second run leaves none of them.
    assert views(folder, '--out', out, '--pose', 0, 0, 0, '--no-objects').returncode == 0
    assert len(list(out.glob('room_*.png'))) == 2


def test_a_scene_without_depth_has_the_scale_that_is_given(folder, tmp_path):
    for name, more, source in (
        ('a', ['--camera-height', 0.8], 'plane'), ('b', [], 'unknown'),
    ):
        done = views(
            folder, '--out', tmp_path / name, '--pose', 0, 0, 0, '--size', 32, '--no-depth',
            '--no-objects', *more)
        assert done.returncode == 0, done.stderr
        report = report_of(tmp_path / name)
        assert report['scale_source'] == source
        in_millimetres = (tmp_path / name / 'room_000_depth.png').exists()
        assert in_millimetres == (source == 'plane')
        assert (tmp_path / name / 'room_000_depth.npz').exists() != in_millimetres


@pytest.mark.parametrize('wrong', [
    ['--scene'],
    ['--scene', '--pose', '0', '0'],
    ['--scene', '--pose', '0', '0', '0', '0', '0', '0', '0'],
    ['--scene', '--pose', '0', '0', '0', '--azimuth', '30'],
    ['--scene', '--poses', '/nowhere.json'],
    ['--pose', '0', '0', '0'],
])
def test_what_is_wrong_ends_the_command(folder, tmp_path, wrong):
    assert run_here('views', folder, '--out', tmp_path / 'out', *wrong).returncode == 2


def test_a_long_film_takes_images_one_by_one_and_is_reduced(tmp_path, monkeypatch):
    monkeypatch.setattr(films, '_GIF_BYTES', 40_000)
    alive = []

    def images(count):
        for index in range(count):
            alive.append(index)
            yield np.full((50, 60, 3), 4 * index, np.uint8)

    assert len(write_film(images(60), tmp_path / 'film.gif', 60)) == 1
    assert alive == list(range(60))
    from PIL import Image
    with Image.open(tmp_path / 'film.gif') as film:
        assert film.n_frames == 60
        assert 60 * film.width * film.height <= 40_000
    assert write_film(images(2), tmp_path / 'short.gif', 2) == ()
