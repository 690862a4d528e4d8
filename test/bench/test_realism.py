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

"""The comparison of rendered and real frames measures what was put into a frame."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from scipy.spatial.distance import pdist
import trimesh

from lift3d_ros.bench.realism.conditions import BOTTLE
from lift3d_ros.bench.realism.conditions import CONDITIONS
from lift3d_ros.bench.realism.conditions import VESSEL
from lift3d_ros.bench.realism.samples import matched_samples
from lift3d_ros.bench.realism.shape_traits import shape_traits
from lift3d_ros.bench.realism.statistics import frame_statistics
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.io.scene import write_scene
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic.sensors.noise import coarse_noise

CAMERA = Camera(320, 240, 400.0, 400.0, 159.5, 119.5)


def grey(solid):
    """Return a trimesh solid as a mesh of one colour."""
    colors = np.full((len(solid.vertices), 3), 128, np.uint8)
    return Mesh(solid.vertices.astype(np.float32), solid.faces.astype(np.int32), colors)


def ball():
    """Return a ball 0.6 m in front of the camera."""
    return grey(trimesh.creation.icosphere(4, 0.08).apply_translation([0.0, 0.0, 0.6]))


def write_objects(folder):
    """Write two elongated boxes and a flat one, and return their folder."""
    folder.mkdir()
    for name, sides in (
        ('a', (0.1, 0.08, 0.15)), ('b', (0.08, 0.09, 0.2)), ('flat', (0.2, 0.1, 0.01)),
    ):
        trimesh.creation.box(sides).export(folder / f'{name}.ply')
    return folder


def frame(error_m=0.0, length_px=4.0, shift=(0, 0)):
    """Return a frame of the ball on a wall, with an error of depth, and its exact mask."""
    true = Raycaster([ball()]).render(CAMERA, np.eye(4), supersampling=1).depth
    depth = np.where(true > 0.0, true, np.float32(0.9))
    depth = depth + error_m * coarse_noise(depth.shape, length_px, np.random.default_rng(0))
    depth = np.roll(depth, shift[::-1], axis=(0, 1)).astype(np.float32)
    return Frame(np.full((240, 320, 3), 90, np.uint8), CAMERA, depth), true > 0.0


def test_a_perfect_frame_has_no_errors():
    found = frame_statistics('ball', *frame(), ball())
    assert found.spread_mm < 1e-3
    assert (found.dropout, found.off_object, found.shift_px) == (0.0, 0.0, (0, 0))
    assert found.mask_iou == 1.0
    assert found.mask_error_px < 1.0
    assert found.distance_m == pytest.approx(0.55, abs=0.02)


@pytest.mark.parametrize('length', [3.0, 6.0])
def test_size_and_length_of_a_depth_error(length):
    found = frame_statistics('ball', *frame(0.003, length), ball())
    assert found.spread_mm == pytest.approx(3.0, rel=0.25)
    # Noise filtered with a Gaussian of s pixels has the correlation exp(-(r / 2 s)^2).
    assert found.correlation_mm == pytest.approx(2.0 * length * 550.0 / 400.0, rel=0.35)


@pytest.mark.parametrize('shift', [(3, 0), (-2, 2)])
def test_the_displacement_of_depth(shift):
    found = frame_statistics('ball', *frame(shift=shift), ball())
    assert found.shift_px == shift


def test_errors_of_a_mask():
    measured, mask = frame()
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    found = frame_statistics('ball', measured, wide, ball())
    assert found.mask_bias_px == pytest.approx(3.0, abs=1.0)
    assert found.off_object == pytest.approx(1.0 - mask.sum() / wide.sum(), abs=0.01)
    narrow = cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert frame_statistics('ball', measured, narrow, ball()).mask_bias_px < -2.0


def test_lost_readings_are_counted_by_slope():
    measured, mask = frame()
    measured.depth[:, :160] = 0.0
    found = frame_statistics('ball', measured, mask, ball())
    assert found.dropout == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(found.dropout_by_slope[1:], 0.5, atol=0.05)


def test_a_frame_without_readings_on_the_object_is_refused():
    measured, mask = frame()
    measured.depth[mask] = 0.0
    with pytest.raises(ValueError, match='no readings'):
        frame_statistics('ball', measured, mask, ball())


@pytest.mark.slow
def test_the_program_prints_both_side_by_side(tmp_path):
    measured, mask = frame(0.002)
    write_scene(tmp_path / 'real' / 'ball', measured, mask)
    mesh = ball()
    np.savez_compressed(
        tmp_path / 'real' / 'ball' / 'truth.npz', vertices=mesh.vertices, faces=mesh.faces)
    write_objects(tmp_path / 'objects')
    picture, lines = tmp_path / 'chart.png', tmp_path / 'rows.jsonl'
    run = subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.bench.realism', '--real', tmp_path / 'real', '--data',
         tmp_path / 'objects', '--split', 'all', '--count', '1', '--out', picture, '--rows',
         lines],
        capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    rows = [line for line in run.stdout.splitlines() if line.startswith('|')]
    assert len(rows) > 10
    assert all(line.count('|') == 5 for line in rows)
    assert cv2.imread(str(picture)) is not None
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row['name'] for row in found if row['set'] == 'real'] == ['ball']
    assert len({row['set'] for row in found}) == 3
    assert all(row['spread_mm'] > 0.0 for row in found)


def test_a_box_is_convex_and_has_three_mirror_planes_at_any_size_and_pose():
    box = trimesh.creation.box((0.2, 0.1, 0.05))
    small = box.copy().apply_scale(0.5)
    small.apply_transform(trimesh.transformations.euler_matrix(0.4, 0.8, 1.2))
    for solid, diagonal in ((box, 0.229), (small, 0.1146)):
        traits = shape_traits(grey(solid))
        assert traits.convexity == pytest.approx(1.0, abs=1e-3)
        assert max(traits.asymmetry) < 0.005
        assert traits.elongation == pytest.approx(2.0, abs=0.01)
        assert traits.flatness == pytest.approx(2.0, abs=0.01)
        assert traits.diagonal_m == pytest.approx(diagonal, abs=1e-3)


def test_objects_like_those_of_real_frames():
    bottle = trimesh.creation.cylinder(0.035, 0.19)
    jug = trimesh.util.concatenate([
        trimesh.creation.annulus(0.035, 0.06, 0.18),
        trimesh.creation.box((0.06, 0.03, 0.05)).apply_translation([0.088, 0.0, 0.05]),
    ])
    corner = trimesh.util.concatenate([
        trimesh.creation.box((0.2, 0.03, 0.03)),
        trimesh.creation.box((0.03, 0.12, 0.03)).apply_translation([0.085, 0.075, 0.0]),
        trimesh.creation.box((0.03, 0.03, 0.15)).apply_translation([-0.085, 0.0, 0.09]),
    ])
    kinds = [
        [kind.includes(shape_traits(grey(solid))) for kind in (BOTTLE, VESSEL)]
        for solid in (bottle, jug, corner)
    ]
    assert kinds == [[True, False], [False, True], [False, False]]
    # Half as large a bottle is shown at the size of the real ones, one of 2 cm is not.
    assert BOTTLE.includes(shape_traits(grey(bottle.copy().apply_scale(0.6))))
    assert not BOTTLE.includes(shape_traits(grey(bottle.copy().apply_scale(0.1))))


def test_matched_scenes_have_the_conditions_of_the_real_frames(tmp_path):
    found = list(matched_samples(write_objects(tmp_path / 'objects'), None, 4, 0))
    assert [sample.record['condition'] for sample in found] == [
        condition.name for condition in CONDITIONS[:4]]
    assert [sample.record['sensor'] for sample in found] == ['time_of_flight'] * 3 + [
        'active_stereo']
    assert [sample.record['holder'] for sample in found] == [
        'suction_cup', 'gripper', 'suction_cup', '']
    assert {sample.name for sample in found} == {'a', 'b'}
    for sample in found:
        # Of a box, the largest distance between corners.
        diagonal = pdist(sample.mesh.vertices).max()
        assert 0.209 <= diagonal <= 0.222
        assert 36.0 <= sample.record['axis_deg'] <= 70.0


def test_without_objects_of_a_kind_its_conditions_are_left_out(tmp_path):
    (tmp_path / 'objects').mkdir()
    trimesh.creation.icosphere(3, 0.1).export(tmp_path / 'objects' / 'ball.ply')
    assert not list(matched_samples(tmp_path / 'objects', None, 11, 0))
