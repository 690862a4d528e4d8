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

"""What lift3d show finds in folders, scenes and bags, and what it says about damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
import socket
import struct

from command_helpers import run_here
from error_helpers import raises_code
import numpy as np
import pytest
import trimesh
from viewer_helpers import block
from viewer_helpers import POSE
from viewer_helpers import RED
from viewer_helpers import write_bag_results
from viewer_helpers import write_result

from lift3d_ros.cli.demo import DEMO_SCENE
from lift3d_ros.errors import ErrorCode
from lift3d_ros.geometry import transform
from lift3d_ros.lifter import Lifter
from lift3d_ros.viewer.content import level_camera
from lift3d_ros.viewer.content import Snapshot
from lift3d_ros.viewer.extras import Extras
from lift3d_ros.viewer.meshes import color_map
from lift3d_ros.viewer.meshes import CONFIDENCE
from lift3d_ros.viewer.meshes import gltf
from lift3d_ros.viewer.meshes import OBSERVED
from lift3d_ros.viewer.meshes import vertex_colors
from lift3d_ros.viewer.server import open_content
from lift3d_ros.viewer.stage import board_pixel


def opened(path: Path):
    """Return the content of a path, with the method that needs no network."""
    return open_content(path, Lifter('geometric'))


def loaded(path: Path, index: int = 0) -> Snapshot:
    """Return the objects of a moment of a path."""
    return opened(path).moments[index].load(lambda fraction: None)


@pytest.mark.parametrize('kind', ['ply', 'glb', 'obj', 'stl', 'urdf'])
def test_a_result_is_read_from_each_format(kind, tmp_path):
    shape = block(RED)
    write_result(tmp_path, 'cube', shape, kind)
    snapshot = loaded(tmp_path)
    assert not snapshot.problems
    viewed, = snapshot.objects
    assert np.abs(viewed.size - 0.1).max() < 1e-4
    # In the object frame, whatever the frame and the upright axis of the file.
    assert np.abs(viewed.mesh.vertices.mean(axis=0)).max() < 1e-3
    np.testing.assert_allclose(viewed.T_camera_mesh, POSE, atol=1e-5)
    if kind == 'ply':
        np.testing.assert_allclose(viewed.confidence, shape.confidence, atol=1e-6)
        assert np.array_equal(viewed.observed, shape.observed)
        assert np.array_equal(viewed.mesh.colors, shape.mesh.colors)
    else:
        assert viewed.confidence is None and viewed.observed is None


def test_colours_show_confidence_and_observed_surface(tmp_path):
    write_result(tmp_path, 'cube', block(RED))
    viewed, = loaded(tmp_path).objects
    assert len(np.unique(vertex_colors(viewed, OBSERVED), axis=0)) == 2
    near, far = color_map(np.array([0.95, 0.1]))
    colors = vertex_colors(viewed, CONFIDENCE)
    assert (colors[viewed.observed] == near).all() and (colors[~viewed.observed] == far).all()


def test_gltf_keeps_the_colours_to_a_bit(tmp_path):
    mesh = block((200, 40, 7)).mesh
    (tmp_path / 'cube.glb').write_bytes(gltf(mesh, mesh.colors))
    read = trimesh.load(tmp_path / 'cube.glb', force='mesh')
    assert len(read.faces) == len(mesh.faces) and read.is_winding_consistent
    data = (tmp_path / 'cube.glb').read_bytes()
    length, = struct.unpack('<I', data[12:16])
    view = json.loads(data[20:20 + length])['bufferViews'][2]
    linear = np.frombuffer(data, '<f4', 3, 28 + length + view['byteOffset']).astype(np.float64)
    # sRGB transfer function, IEC 61966-2-1.
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(255.0 * srgb - (200, 40, 7)).max() < 0.5


def test_the_page_is_level_and_the_objects_stand_on_its_ground(tmp_path):
    write_result(tmp_path, 'cube', block(RED))
    objects = loaded(tmp_path).objects
    T = level_camera(objects) @ objects[0].T_camera_mesh
    vertices = transform(T, objects[0].mesh.vertices)
    assert abs(vertices[:, 2].min()) < 1e-6 and abs(vertices[:, 2].max() - 0.1) < 1e-4
    np.testing.assert_allclose(vertices[:, :2].mean(axis=0), 0.0, atol=1e-6)


def test_results_of_a_bag_are_a_timeline_in_order(tmp_path):
    content = opened(write_bag_results(tmp_path / 'out', 11))
    assert content.is_timeline and len(content.moments) == 11
    assert [moment.label for moment in content.moments] == sorted(
        (moment.label for moment in content.moments), key=float)
    snapshot = content.moments[10].load(lambda fraction: None)
    assert sorted(each.name for each in snapshot.objects) == ['green', 'red']
    red = next(each for each in snapshot.objects if each.name == 'red')
    assert abs(red.T_camera_mesh[0, 3] + 1.15) < 1e-5
    # The bag is gone: its images are missing with a sentence, the objects are not.
    (tmp_path / 'out.mcap').unlink()
    with raises_code(ErrorCode.BAD_REQUEST):
        content.moments[0].inputs()


def test_a_failed_lift_says_its_code(tmp_path):
    (tmp_path / 'cube.json').write_text(json.dumps({
        'ok': False, 'error': {'code': 'NO_DEPTH_IN_MASK', 'message': 'Too dark.'}}))
    snapshot = loaded(tmp_path)
    assert not snapshot.objects
    assert 'NO_DEPTH_IN_MASK' in snapshot.problems[0] and 'Too dark.' in snapshot.problems[0]


@pytest.mark.parametrize('damage', [
    lambda folder: (folder / 'cube.json').write_text('{"ok": tr'),
    lambda folder: (folder / 'cube.json').unlink(),
    lambda folder: (folder / 'cube.json').write_text('{"ok": true}'),
    lambda folder: (folder / 'cube.ply').unlink(),
    lambda folder: (folder / 'cube.ply').write_bytes((folder / 'cube.ply').read_bytes()[:2000]),
    lambda folder: (folder / 'cube.ply').write_bytes(b''),
], ids=['report cut', 'no report', 'empty report', 'no mesh', 'mesh cut', 'mesh empty'])
def test_a_half_written_result_is_a_sentence_and_the_others_are_shown(damage, tmp_path):
    write_result(tmp_path, 'cube', block(RED))
    write_result(tmp_path, 'whole', block(RED))
    damage(tmp_path)
    content = opened(tmp_path)
    snapshots = {each.label: each.load(lambda fraction: None) for each in content.moments}
    assert not snapshots['cube'].objects
    assert snapshots['cube'].problems[0].startswith('BAD_REQUEST: ')
    assert len(snapshots['whole'].objects) == 1
    # When the lift is done, reading again shows it.
    write_result(tmp_path, 'cube', block(RED))
    again = {each.label: each for each in content.reload().moments}
    assert len(again['cube'].load(lambda fraction: None).objects) == 1


def test_an_interrupted_bag_shows_what_was_written(tmp_path):
    folder = write_bag_results(tmp_path / 'out', 2)
    (folder / 'bag.json').unlink()
    (folder / '1700000001.500000000_red.json').write_text('{"ok"')
    content = opened(folder)
    assert content.is_timeline and len(content.moments) == 2
    assert any('bag.json' in note for note in content.notes)
    assert any('1700000001.500000000_red.json' in note for note in content.notes)
    assert len(content.moments[1].load(lambda fraction: None).objects) == 1


def test_a_scene_is_lifted_and_has_its_inputs():
    content = opened(DEMO_SCENE)
    moment, = content.moments
    inputs = moment.inputs()
    assert inputs.frame.depth is not None and list(inputs.masks) == ['object']
    fractions: list[float] = []
    snapshot = moment.load(fractions.append)
    assert not snapshot.problems and snapshot.objects[0].report['method'] == 'geometric'
    assert fractions[-1] == 1.0
    extras = Extras()
    assert len(extras.parts(snapshot.objects[0])) >= 1
    jaws = extras.grasps(snapshot.objects[0])
    assert jaws and all(len(jaw.faces) == 36 for jaw in jaws)
    with raises_code(ErrorCode.BAD_REQUEST):
        extras.ring(snapshot.objects[0], None)


def test_the_ring_of_views_surrounds_the_object_and_looks_at_it():
    moment, = opened(DEMO_SCENE).moments
    inputs = moment.inputs()
    viewed, = moment.load(lambda fraction: None).objects
    views = Extras().ring(viewed, inputs)
    eyes = np.array([view.T_camera_eye[:3, 3] for view in views])
    middle = eyes.mean(axis=0)
    radii = np.linalg.norm(eyes - middle, axis=1)
    assert len(views) == 8 and np.ptp(radii) < 1e-3
    for view in views:
        np.testing.assert_allclose(
            view.T_camera_eye[:3, :3] @ view.T_camera_eye[:3, :3].T, np.eye(3), atol=1e-6)
        # The optical axis passes near the centre of the object.
        towards = viewed.T_camera_mesh[:3, 3] - view.T_camera_eye[:3, 3]
        assert view.T_camera_eye[:3, 2] @ towards / np.linalg.norm(towards) > 0.98
        assert view.image.std() > 5.0


def test_lifted_results_find_their_scene_again(tmp_path):
    done = run_here('lift', DEMO_SCENE, '--method', 'geometric', '--out', tmp_path)
    assert done.returncode == 0, done.stderr
    moment, = opened(tmp_path).moments
    assert moment.inputs().masks['object'].any()


def test_grasps_without_scale_are_refused(tmp_path):
    write_result(tmp_path, 'cube', block(RED), scale_source='unknown')
    viewed, = loaded(tmp_path).objects
    with raises_code(ErrorCode.BAD_REQUEST):
        Extras().grasps(viewed)


def test_paths_without_anything_to_show_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / 'nowhere'):
        done = run_here('show', path)
        assert done.returncode == 2 and str(path) in done.stderr
    assert run_here('show').returncode == 2


def test_a_taken_port_is_refused(tmp_path):
    write_result(tmp_path, 'cube', block(RED))
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        done = run_here('show', tmp_path, '--port', port)
    assert done.returncode == 2 and str(port) in done.stderr and '--port' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_click_on_the_board_finds_its_pixel():
    board = np.eye(4)
    board[:3, 3] = (0.5, 0.2, 2.0)
    ray = np.array([0.1, -0.05, 0.0]) + board[:3, 3]
    found = board_pixel((0.0, 0.0, 0.0), ray, board, (0.8, 0.6), (80, 60))
    assert found == (50, 25)
    assert board_pixel((0.0, 0.0, 0.0), (1.0, 0.0, 0.1), board, (0.8, 0.6), (80, 60)) is None
