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

"""The lift3d command, as a user runs it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
import pty
import resource
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

from command_helpers import run_here
import cv2
import numpy as np
import psutil
import pytest
import trimesh
import view_helpers

from lift3d_ros.cli import main
from lift3d_ros.cli.demo import DEMO_SCENE
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import DEFAULT_METHOD
from lift3d_ros.lifter import METHODS

#: For tests of what is around the method: it loads nothing.
QUICK = ('--method', 'geometric')

KEYS = [
    'ok', 'error', 'scene', 'method', 'scale_source', 'scale_stddev', 'elevation_deg',
    'elevation_source',
    'support', 'confidence', 'pass_probability', 'camera_source', 'depth_file', 'views',
    'mask_iou', 'notes', 'watertight', 'frame', 'up_axis', 'pose', 'files', 'stands', 'body',
    'seconds', 'peak_memory_mb',
]


def lift3d(*arguments, **options):
    """Run the command in a new process; return what came of it."""
    return subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.cli', *map(str, arguments)],
        text=True, capture_output=True, timeout=100, check=False, **options,
    )


def start(*arguments):
    """Start the command; return its process."""
    return subprocess.Popen(
        [sys.executable, '-m', 'lift3d_ros.cli', *map(str, arguments)],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell lets what it starts in the background ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def report(path):
    """Return the report of a scene, whose keys are always the same."""
    content = json.loads(path.read_text())
    assert list(content) == KEYS
    return content


def copy_of(scene, folder, **changed):
    """Return a copy of a scene folder with some files replaced, or removed where None."""
    shutil.copytree(scene, folder)
    for name, content in changed.items():
        path = folder / f'{name}.png'
        path.unlink()
        if content is not None:
            cv2.imwrite(str(path), content)
    return folder


# The command itself


def test_the_help_names_every_command_and_loads_nothing_heavy():
    code = (
        'import sys\n'
        'from lift3d_ros.cli import main\n'
        'try:\n'
        '    main(["--help"])\n'
        'finally:\n'
        '    assert not {"numpy", "cv2", "open3d", "trimesh", "rclpy"} & set(sys.modules)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], text=True, capture_output=True, check=True, timeout=20)
    for command in ('lift', 'methods', 'demo', 'node', 'bench'):
        assert f'    {command} ' in done.stdout


def test_who_reads_the_first_line_alone_sees_no_trace():
    process = start('weights', 'list')
    process.stdout.close()
    assert process.wait(100) == 141
    assert process.stderr.read() == ''
    process.stderr.close()


@pytest.mark.parametrize(('arguments', 'sentence'), [
    (['lift', '--seed', 'few'], 'few is not a whole number'),
    (['lift', '--min-confidence', '60'], '60 is not between 0 and 1'),
    (['lift', '--min-confidence', 'nan'], 'nan is not a finite number'),
    (['views', '--ring', '1.5'], '1.5 is not a whole number'),
    (['views', '--azimuth', 'left'], 'left is not a number'),
    (['bench', '--jobs', 'all'], 'all is not a whole number'),
    (['bench', '--timeout', '-1'], '-1 is not more than 0'),
])
def test_a_number_that_is_none_is_refused_in_words(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f'{arguments[1]}: {sentence}')


def test_the_demo_refuses_a_folder_that_cannot_be_made(tmp_path, capsys):
    pytest.importorskip('rclpy')
    pytest.importorskip('lift3d_ros.msg')
    (tmp_path / 'file').write_text('')
    assert main(['demo', '--out', str(tmp_path / 'file')]) == 2
    assert 'cannot be made' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments', [[], ['fly'], ['lift'], ['lift', 'scene'], ['lift', '--out', 'x']]
)
def test_a_command_line_that_says_too_little_is_a_usage_error(arguments):
    done = run_here(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: lift3d')


def test_methods_are_listed_with_what_they_are():
    done = lift3d('methods')
    assert done.returncode == 0
    lines = dict(line.split(maxsplit=1) for line in done.stdout.split('\n\n')[0].splitlines())
    assert list(lines) == list(METHODS)
    assert lines['geometric'].startswith('Depth, mask')
    assert [name for name, text in lines.items() if '(default)' in text] == [DEFAULT_METHOD]
    for option in ('--weights NAME|PATH', '--samples K', '--preset NAME', '--steps N', '--init'):
        assert option in done.stdout


# lift


@pytest.fixture(scope='module')
def lifted(tmp_path_factory):
    """Lift a good scene, a scene with an empty mask and one that is not there, in one run."""
    folder = tmp_path_factory.mktemp('lift')
    good = copy_of(DEMO_SCENE, folder / 'good')
    empty = copy_of(DEMO_SCENE, folder / 'empty', mask=np.zeros((480, 640), np.uint8))
    out = folder / 'out'
    out.mkdir()
    (out / 'empty.ply').write_text('a mesh of yesterday')
    scenes = (empty, good, folder / 'absent', good)
    return lift3d('lift', *scenes, '--out', out, *QUICK), out


def test_one_failure_neither_stops_the_others_nor_passes_for_success(lifted):
    done, out = lifted
    assert done.returncode == 1
    assert sorted(path.name for path in out.iterdir()) == [
        'absent.json', 'empty.json', 'good.json', 'good.ply'
    ]
    assert done.stdout.splitlines()[-1].startswith('1 of 3 scenes lifted')


def test_a_failure_leaves_its_code_and_message_and_no_mesh_of_an_earlier_run(lifted):
    done, out = lifted
    for name, code in (('empty', 'EMPTY_MASK'), ('absent', 'BAD_IMAGE')):
        failure = report(out / f'{name}.json')
        assert failure['ok'] is False
        assert failure['error']['code'] == code
        assert failure['error']['message'] in done.stdout
        assert failure['method'] == 'geometric'
        assert failure['watertight'] is None
        assert failure['seconds']['total'] >= 0.0
        assert not (out / f'{name}.ply').exists()


def test_a_report_says_what_was_found_and_how(lifted):
    success = report(lifted[1] / 'good.json')
    assert success['ok'] is True
    assert success['error'] is None
    assert success['method'] == 'geometric'
    assert success['scale_source'] == 'depth'
    assert 0.0 < success['scale_stddev'] < 1.0
    assert success['elevation_source'] == 'gravity'
    assert success['support'] == 'standing'
    assert success['elevation_deg'] == pytest.approx(32.0, abs=4.0)
    assert 0.0 < success['confidence'] <= 1.0
    assert success['watertight'] is True
    stages = dict(success['seconds'])
    assert next(iter(stages)) == 'decode'
    assert stages['decode'] > 0.0
    assert sum(stages.values()) - stages['total'] <= stages['total'] + 0.1
    assert 50.0 < success['peak_memory_mb'] < 2000.0


def test_the_mesh_lies_in_the_optical_frame_in_metres_where_the_camera_saw_the_object(lifted):
    mesh = trimesh.load(lifted[1] / 'good.ply', process=False)
    assert mesh.is_watertight
    frame, mask = read_scene(DEMO_SCENE)
    distance = np.median(frame.depth[mask & (frame.depth > 0.0)])
    assert mesh.vertices[:, 2].min() == pytest.approx(distance, abs=0.1)
    u, v, _ = frame.camera.project(mesh.vertices)
    rows, columns = np.nonzero(mask)
    assert (u.min(), u.max()) == pytest.approx((columns.min(), columns.max()), abs=25)
    assert (v.min(), v.max()) == pytest.approx((rows.min(), rows.max()), abs=25)
    vertices = mesh.metadata['_ply_raw']['vertex']['data']
    confidence, observed = (np.asarray(vertices[n]) for n in ('confidence', 'observed'))
    assert 0.0 <= confidence.min() < confidence.max() <= 1.0
    assert set(np.unique(observed)) == {0.0, 1.0}


def test_without_a_terminal_there_is_a_plain_line_for_each_scene(lifted):
    done, _ = lifted
    assert '\r' not in done.stdout + done.stderr
    assert '%|' not in done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(':')[0] for line in lines[:-1]] == ['empty', 'good', 'absent']
    assert ' mm, confidence ' in lines[1]


def test_on_a_terminal_there_is_a_bar(tmp_path):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, '-m', 'lift3d_ros.cli', 'lift', DEMO_SCENE, '--out', tmp_path,
         *QUICK],
        stdout=subprocess.PIPE, stderr=follower, text=True,
    )
    os.close(follower)
    shown = b''
    while process.poll() is None or not shown:
        try:
            shown += os.read(leader, 65536)
        except OSError:
            break
    os.close(leader)
    output, _ = process.communicate(timeout=60)
    assert '%|' in shown.decode()
    assert 'demo_scene: ' in shown.decode()
    assert '%|' not in output
    assert process.returncode == 0


def test_many_scenes_are_lifted_by_networks_that_are_loaded_once(tmp_path, learned_weights):
    scenes = [copy_of(DEMO_SCENE, tmp_path / 'in' / f'scene_{k}') for k in range(2)]
    # In this process, which may have imported the networks already.
    assert main([
        'lift', *map(str, scenes), '--out', str(tmp_path), '--method', 'one2345',
        '--weights', str(learned_weights), '--samples', '1',
    ]) == 0
    found = [report(tmp_path / f'{scene.name}.json') for scene in scenes]
    for success in found:
        assert success['ok'] is True
        assert success['method'] == 'one2345'
        assert success['scale_source'] == 'depth'
        assert success['watertight'] is True
        assert {'volume', 'denoise', 'surface', 'total'} < set(success['seconds'])
    # Only the first may pay for the loading: the stages are all that there is, but for the files.
    for success in found[1:]:
        stages = dict(success['seconds'])
        total = stages.pop('total')
        assert sum(stages.values()) > 0.5 * total
    # The same frame and seed, the same mesh, whatever was lifted before.
    assert len({(tmp_path / f'{scene.name}.ply').read_bytes() for scene in scenes}) == 1


def test_weights_without_a_surface_are_the_fault_of_the_command_line(tmp_path):
    folder = view_helpers.random_weights(tmp_path / 'views')
    done = run_here(
        'lift', DEMO_SCENE, '--out', tmp_path / 'out', '--method', 'one2345', '--weights', folder)
    assert done.returncode == 2
    assert str(folder) in done.stderr
    assert 'surface' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('kind', ['glb', 'obj', 'stl'])
def test_other_formats_are_written_when_asked_for(tmp_path, kind):
    done = run_here('lift', DEMO_SCENE, '--out', tmp_path / 'a' / 'b', '--format', kind, *QUICK)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / 'a' / 'b').iterdir())
    assert names == sorted([f'demo_scene.{kind}', 'demo_scene.json'])
    mesh = trimesh.load(tmp_path / 'a' / 'b' / names[0 if kind == 'glb' else 1], force='mesh')
    assert 0.05 < mesh.extents.max() < 0.25


def test_a_body_is_described_beside_its_meshes_in_the_object_frame(tmp_path):
    pytest.importorskip('xatlas')
    out = tmp_path / 'out'
    done = run_here(
        'lift', DEMO_SCENE, '--out', out, *QUICK, '--format', 'urdf', '--density', 500,
        '--cloud', 300, '--texture', 128,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = report(out / 'demo_scene.json')
    assert found['frame'] == 'object'
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*found['files'], 'demo_scene.json'])
    assert found['files'][0] == 'demo_scene.urdf'
    assert 'demo_scene_cloud.ply' in found['files']
    visual = trimesh.load(out / 'demo_scene_visual.obj', force='mesh')
    np.testing.assert_allclose(visual.bounds.sum(axis=0), 0.0, atol=1e-4)
    # The pose takes the object frame to where the camera saw the object, which stands upright.
    pose = np.array(found['pose'])
    frame, mask = read_scene(DEMO_SCENE)
    assert -pose[:3, 2] @ frame.gravity > 0.99
    u, v, _ = frame.camera.project(pose[:3, 3])
    rows, columns = np.nonzero(mask)
    assert (u, v) == pytest.approx((columns.mean(), rows.mean()), abs=40)
    body = found['body']
    assert body['density'] == 500.0
    assert body['mass'] == pytest.approx(500.0 * visual.volume, rel=1e-3)
    assert np.linalg.eigvalsh(body['inertia']).min() > 0.0
    assert body['collision_parts'] == 1
    assert 0.5 < sum(pose['probability'] for pose in body['stable_poses']) <= 1.001 + 1e-9
    assert found['stands']['stable'] is True
    assert found['stands']['margin'] > 0.0


def test_a_folder_in_the_way_of_a_file_is_the_failure_of_that_scene_alone(tmp_path):
    out = tmp_path / 'out'
    (out / 'first.ply').mkdir(parents=True)
    scenes = [copy_of(DEMO_SCENE, tmp_path / name) for name in ('first', 'second')]
    done = run_here('lift', *scenes, '--out', out, *QUICK)
    assert done.returncode == 1
    failure = report(out / 'first.json')
    assert failure['error']['code'] == 'BAD_REQUEST'
    assert 'first.ply' in failure['error']['message']
    assert report(out / 'second.json')['frame'] == 'camera'


def test_the_same_seed_gives_the_same_file(tmp_path):
    for run, command in (('one', run_here), ('other', lift3d)):
        done = command('lift', DEMO_SCENE, '--out', tmp_path / run, '--seed', 3, *QUICK)
        assert done.returncode == 0, done.stderr
    one, other = (tmp_path / run / 'demo_scene.ply' for run in ('one', 'other'))
    assert one.read_bytes() == other.read_bytes()


def test_without_depth_no_scale_is_claimed_to_come_from_it(tmp_path):
    run_here('lift', DEMO_SCENE, '--out', tmp_path, '--no-depth', *QUICK)
    found = report(tmp_path / 'demo_scene.json')
    assert found['scale_source'] != 'depth'
    assert not found['ok'] or found['scale_stddev'] > 0.1


def test_two_scenes_of_one_name_are_refused_before_anything_is_written(tmp_path):
    done = lift3d('lift', 'a/mug', 'b/mug', '--out', tmp_path / 'out', cwd=tmp_path)
    assert done.returncode == 2
    assert str(Path('a/mug')) in done.stderr
    assert 'rename one' in done.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (['--method', 'magic'], f'choose one of {", ".join(METHODS)}'),
        ([*QUICK, '--device', 'cuda'], 'runs on the CPU only'),
        ([*QUICK, '--samples', '3'], 'draws no samples'),
        ([*QUICK, '--weights', 'small'], 'has no weights'),
        (['--method', 'one2345', '--samples', '17'], 'choose 1 to 16'),
        (['--method', 'one2345', '--samples', '0'], 'choose 1 to 16'),
        (['--samples', 'few'], 'invalid int value'),
        (['--method', 'one2345', '--weights', 'no-such'], "There are no weights 'no-such'"),
        (['--seed', '-1'], 'not negative'),
        (['--format', 'fbx'], "'ply', 'glb', 'obj', 'stl'|ply, glb, obj, stl"),
        (['--format', 'urdf', '--density', 'nan'], 'The density is nan'),
        (['--density', '0'], 'The density is 0'),
        (['--convex-parts', '4'], 'choose the format urdf, mjcf'),
        (['--texture', '512'], 'choose the format obj, glb'),
        (['--cloud', '-1'], 'ask for 0 to 1000000'),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(tmp_path, arguments, reason):
    done = run_here('lift', DEMO_SCENE, '--out', tmp_path / 'out', *arguments)
    assert done.returncode == 2
    assert any(part in done.stderr for part in reason.split('|'))
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'out').exists()


def test_an_output_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / 'file').touch()
    done = run_here('lift', DEMO_SCENE, '--out', tmp_path / 'file' / 'out', *QUICK)
    assert done.returncode == 2
    assert 'cannot be made' in done.stderr


def test_a_disk_that_takes_no_mesh_is_reported(tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = lift3d('lift', DEMO_SCENE, '--out', tmp_path, *QUICK, preexec_fn=small_files)
    assert done.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ['demo_scene.json']
    assert 'could not be written' in report(tmp_path / 'demo_scene.json')['error']['message']


def test_ctrl_c_ends_the_run_with_130_and_nothing_half_written(tmp_path):
    scenes = [copy_of(DEMO_SCENE, tmp_path / 'in' / f'scene_{k}') for k in range(8)]
    process = start('lift', *scenes, '--out', tmp_path / 'out', *QUICK)
    assert process.stdout.readline().startswith('scene_0: ')
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.strip() == 'lift3d: interrupted'
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert {'scene_0.ply', 'scene_0.json'} <= names
    assert 'scene_7.json' not in names
    for name in names:
        assert not name.startswith('.')
        assert {Path(name).with_suffix('.ply').name, Path(name).with_suffix('.json').name} <= names
        if name.endswith('.json'):
            assert report(tmp_path / 'out' / name)['ok']


# What needs ROS


@pytest.mark.parametrize('command', [['node'], ['demo'], ['bench', 'node']])
def test_without_rclpy_the_message_says_how_to_get_it(command, tmp_path):
    code = (
        'import sys\n'
        'sys.modules["rclpy"] = None\n'
        'from lift3d_ros.cli import main\n'
        f'sys.exit(main({command!r}))\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], text=True, capture_output=True, check=False, timeout=20,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert 'rclpy is not installed' in done.stderr
    assert 'make setup' in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.ros
def test_the_node_gets_all_of_its_arguments():
    done = lift3d('node', '--help')
    assert done.returncode == 0
    assert '--ros-args' in done.stdout
    done = lift3d('node', '--ros-args', '-p', 'max_faces:=3')
    assert done.returncode != 0
    assert 'max_faces' in done.stdout + done.stderr


@pytest.mark.ros
def test_the_demo_leaves_meshes_a_report_and_a_picture_and_no_process(tmp_path):
    done = lift3d('demo', '--out', tmp_path / 'out')
    assert done.returncode == 0, done.stdout + done.stderr
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == [f'demo_scene.{suffix}' for suffix in ('glb', 'json', 'ply', 'png')]
    found = json.loads((tmp_path / 'out' / 'demo_scene.json').read_text())
    # What a message tells of a shape, under the names that `lift3d lift` has for it.
    untold = {
        'scene', 'depth_file', 'views', 'mask_iou', 'notes', 'frame', 'up_axis', 'pose', 'files',
        'stands', 'body',
    }
    assert list(found) == [key for key in KEYS if key not in untold]
    assert (found['ok'], found['method']) == (True, DEFAULT_METHOD)
    assert trimesh.load(tmp_path / 'out' / 'demo_scene.ply').is_watertight
    picture = cv2.imread(str(tmp_path / 'out' / 'demo_scene.png'))
    assert picture.shape[0] > 900
    assert picture.shape[1] > 1500
    for path in (tmp_path / 'out').iterdir():
        assert str(path) in done.stdout
    assert '100 %' in done.stdout


@pytest.mark.ros
@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_demo_takes_its_processes_along_when_it_is_ended(tmp_path, number, status):
    process = start('demo', '--out', tmp_path / 'out')
    assert 'own process' in process.stdout.readline()
    deadline = time.monotonic() + 30.0
    while len(children := psutil.Process(process.pid).children(recursive=True)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(number)
    process.communicate(timeout=40)
    assert process.returncode == status
    _, alive = psutil.wait_procs(children, timeout=5.0)
    assert not alive


@pytest.mark.ros
def test_a_scene_that_cannot_be_read_is_refused_before_anything_is_started(tmp_path):
    done = run_here('demo', '--scene', tmp_path / 'nothing', '--out', tmp_path / 'out')
    assert done.returncode == 2
    assert 'is not a folder' in done.stderr
    assert not (tmp_path / 'out').exists()


def test_a_cut_out_picture_is_lifted_without_scale(tmp_path):
    frame, mask = read_scene(DEMO_SCENE, depth=False)
    rgba = np.dstack([frame.image[..., ::-1], 255 * mask.astype(np.uint8)])
    cv2.imwrite(str(tmp_path / 'cut out.png'), rgba)
    cv2.imwrite(str(tmp_path / 'opaque.png'), frame.image)
    done = run_here(
        'lift', tmp_path / 'cut out.png', tmp_path / 'opaque.png', '--out', tmp_path / 'out',
        *QUICK,
    )
    assert done.returncode == 1
    found = json.loads((tmp_path / 'out' / 'cut out.json').read_text())
    assert found['camera_source'] == 'assumed'
    assert found['scale_source'] == 'unknown'
    assert found['watertight'] is True
    refused = json.loads((tmp_path / 'out' / 'opaque.json').read_text())
    assert refused['error']['code'] == 'BAD_IMAGE'
    assert 'transparent' in refused['error']['message']
