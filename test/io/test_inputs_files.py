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


"""Files that are written: frames, several at once, full disks, and paths that cannot be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import json
import os
import resource
import subprocess
import sys

from error_helpers import raises_code
import numpy as np
import pytest
import trimesh

from lift3d_ros.cli import main
from lift3d_ros.cli.demo import DEMO_SCENE
from lift3d_ros.errors import ErrorCode
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.io.scene import read_scene
from lift3d_ros.io.scene import write_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.robot.export import Export
from lift3d_ros.robot.export import write
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.runtime.files import write_whole
from lift3d_ros.runtime.files import written_together


@pytest.fixture(scope='module')
def shape():
    """Return the packaged bottle, lifted."""
    return Lifter('geometric', 2000).lift(*read_scene(DEMO_SCENE))


def lift(*arguments):
    """Run the command in this process; return its exit status."""
    return main(['lift', *map(str, arguments), '--method', 'geometric'])


def report(path):
    return json.loads(path.read_text())


def vertices(path):
    return np.asarray(trimesh.load(path, force='mesh', process=False).vertices)


# --- frames ---

def test_a_glb_is_in_the_object_frame_with_y_up(tmp_path, shape):
    assert lift(DEMO_SCENE, '--out', tmp_path, '--format', 'glb') == 0
    found = report(tmp_path / 'demo_scene.json')
    assert (found['frame'], found['up_axis']) == ('object', 'y')
    extents = np.ptp(vertices(tmp_path / 'demo_scene.glb'), axis=0)
    # A bottle is taller than wide.
    assert extents.argmax() == 1
    np.testing.assert_allclose(extents[1], shape.size[2], rtol=0.05)


@pytest.mark.parametrize('kind', ['ply', 'obj', 'stl'])
def test_other_meshes_are_in_the_optical_frame_by_default(tmp_path, kind):
    assert lift(DEMO_SCENE, '--out', tmp_path, '--format', kind) == 0
    found = report(tmp_path / 'demo_scene.json')
    assert (found['frame'], found['up_axis']) == ('camera', None)
    frame, mask = read_scene(DEMO_SCENE)
    distance = np.median(frame.depth[mask & (frame.depth > 0.0)])
    assert vertices(tmp_path / f'demo_scene.{kind}')[:, 2].min() == pytest.approx(distance, abs=.1)


@pytest.mark.parametrize('kind', ['ply', 'glb', 'obj', 'stl'])
def test_every_mesh_can_be_in_every_frame(tmp_path, shape, kind):
    T_world_camera = rigid(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([1.0, 2, 3]))
    expected = {
        'camera': transform(shape.T_camera_object, shape.mesh.vertices),
        'object': shape.mesh.vertices,
        'world': transform(T_world_camera @ shape.T_camera_object, shape.mesh.vertices),
    }
    for frame, places in expected.items():
        path = tmp_path / f'{frame}.{kind}'
        written = write(shape, path, Export(kind), frame, T_world_camera)
        assert written.frame == frame
        if kind == 'glb' and frame != 'camera':
            assert written.up_axis == 'y'
            places = places[:, [0, 2, 1]] * (1.0, 1.0, -1.0)
        found = vertices(path)
        np.testing.assert_allclose(found.min(axis=0), places.min(axis=0), atol=1e-4)
        np.testing.assert_allclose(found.max(axis=0), places.max(axis=0), atol=1e-4)
        assert trimesh.load(path, force='mesh').volume > 0.0


def test_the_world_needs_the_pose_of_the_camera(tmp_path):
    frame, mask = read_scene(DEMO_SCENE)
    write_scene(tmp_path / 'bare', frame, mask)
    write_scene(tmp_path / 'posed', frame, mask, np.eye(4))
    status = lift(
        tmp_path / 'bare', tmp_path / 'posed', '--out', tmp_path / 'out', '--frame', 'world')
    assert status == 1
    assert report(tmp_path / 'out' / 'bare.json')['error']['code'] == 'NO_CAMERA'
    assert report(tmp_path / 'out' / 'posed.json')['frame'] == 'world'


@pytest.mark.parametrize('kind', ['urdf', 'mjcf'])
def test_a_description_is_in_the_object_frame_alone(tmp_path, kind, capsys):
    status = lift(DEMO_SCENE, '--out', tmp_path, '--format', kind, '--frame', 'camera')
    assert status == 2
    assert '--frame' in capsys.readouterr().err


# --- the line of the terminal ---

def test_without_depth_the_line_speaks_of_no_millimetres(tmp_path, capsys):
    status = lift(
        DEMO_SCENE, '--out', tmp_path, '--no-depth', '--scale-source', 'depth', 'unknown')
    assert status == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert ' mm' not in line
    assert 'scale unknown' in line
    assert report(tmp_path / 'demo_scene.json')['depth_file'] is None


def test_notes_are_printed(tmp_path, capsys):
    frame, mask = read_scene(DEMO_SCENE)
    write_scene(tmp_path / 'a', frame, mask)
    camera = report(tmp_path / 'a' / 'camera.json')
    # Ten times as far, and as large.
    (tmp_path / 'a' / 'camera.json').write_text(json.dumps({**camera, 'depth_unit': 0.01}))
    assert lift(tmp_path / 'a', '--out', tmp_path / 'out') == 0
    notes = report(tmp_path / 'out' / 'a.json')['notes']
    assert any('depth_unit' in note for note in notes)
    shown = capsys.readouterr().out
    assert all(note in shown for note in notes)


# --- several at once ---

def test_many_may_write_one_path_at_once(tmp_path):
    path = tmp_path / 'a.bin'
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda k: write_whole(path, bytes([k]) * 100_000), range(200)))
    content = path.read_bytes()
    assert len(content) == 100_000
    assert len(set(content)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ['a.bin']


@pytest.mark.parametrize('kind', ['ply', 'obj'])
def test_many_may_save_a_shape_to_one_path_at_once(tmp_path, shape, kind):
    export = Export(kind, texture=128 if kind == 'obj' else None)
    path = tmp_path / f'a.{kind}'
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda k: write(shape, path, export), range(16)))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        file.name for file in written[0].files)
    assert len(trimesh.load(path, force='mesh').faces) == len(shape.mesh.faces)


def test_a_name_as_long_as_a_name_can_be_is_written(tmp_path):
    path = tmp_path / ('a' * 251 + '.ply')
    write_whole(path, b'x')
    assert path.read_bytes() == b'x'


# --- full disks ---

def test_what_is_written_together_is_there_whole_or_not_at_all(tmp_path):
    (tmp_path / 'a.obj').write_bytes(b'old')
    with pytest.raises(OSError, match='full'), written_together(tmp_path, 'a.obj') as folder:
        write_whole(folder / 'a.mtl', b'new')
        write_whole(folder / 'a.obj', b'new')
        raise OSError(28, 'full')
    assert [entry.name for entry in tmp_path.iterdir()] == ['a.obj']
    assert (tmp_path / 'a.obj').read_bytes() == b'old'


def test_a_folder_in_the_way_of_one_file_keeps_all_from_being_written(tmp_path):
    (tmp_path / 'a.png').mkdir()
    with pytest.raises(OSError), written_together(tmp_path, 'a.obj') as folder:  # noqa: PT011
        for name in ('a.mtl', 'a.obj', 'a.png'):
            write_whole(folder / name, b'new')
    assert [entry.name for entry in tmp_path.iterdir()] == ['a.png']


# One of several files that belong together, and one of a single file.
@pytest.mark.parametrize('kind', ['urdf', 'ply'])
def test_a_full_disk_leaves_nothing_behind_and_is_named(tmp_path, kind):
    pytest.importorskip('xatlas')

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.cli', 'lift', DEMO_SCENE, '--out', tmp_path,
         '--method', 'geometric', '--format', kind],
        text=True, capture_output=True, check=False, preexec_fn=small_files,
    )
    assert done.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ['demo_scene.json']
    error = report(tmp_path / 'demo_scene.json')['error']
    assert error['code'] == 'BAD_REQUEST'
    assert 'written' in error['message']


# --- paths ---

def test_paths_that_cannot_be_are_bad_requests(tmp_path):
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    for path in (
        tmp_path / 'loop' / 'a', tmp_path / 'loop', tmp_path / ('a' * 300),
        tmp_path / ('b/' * 3000), tmp_path / 'a\0b',
    ):
        with raises_code(ErrorCode.BAD_REQUEST):
            make_folder(path)


@pytest.mark.parametrize('where', ['scene', 'out'])
@pytest.mark.parametrize('kind', ['loop', 'long', 'longest'])
def test_the_command_refuses_paths_that_cannot_be(tmp_path, capsys, where, kind):
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    path = {'loop': tmp_path / 'loop', 'long': tmp_path / ('a' * 300),
            'longest': tmp_path / ('b/' * 3000)}[kind]
    scene, out = (path, tmp_path / 'out') if where == 'scene' else (DEMO_SCENE, path)
    assert lift(scene, '--out', out) in (1, 2)
    shown = capsys.readouterr()
    assert 'INTERNAL' not in shown.out + shown.err
    assert 'Traceback' not in shown.err


def test_a_fifo_as_a_scene_does_not_block(tmp_path):
    for name in ('pipe', 'pipe.png', 'pipe.jpg'):
        os.mkfifo(tmp_path / name)
        assert lift(tmp_path / name, '--out', tmp_path / f'out_{name}') == 1
