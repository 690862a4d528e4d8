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


"""Real frames with their truth in a file: reading it, and a run over them."""

from __future__ import annotations

import json
import subprocess
import sys

from bench_helpers import wedge
import cv2
import numpy as np
import pytest

from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.real_frames import read_real
from lift3d_ros.bench.reporting.sheet import TILE
from lift3d_ros.bench.reporting.sides import six_sides
from lift3d_ros.bench.run import run_bench
from lift3d_ros.bench.settings import Settings
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.io.scene import write_scene
from lift3d_ros.synthetic.tabletop import make_scene


def write_truth(folder, scene, **changes):
    """Write the true mesh of a scene as real frames have it, some arrays changed."""
    true = scene.mesh_in_camera()
    arrays = {'vertices': true.vertices.astype(np.float64), 'faces': true.faces, 'closed': True}
    np.savez_compressed(folder / 'truth.npz', **{
        name: value for name, value in (arrays | changes).items() if value is not None})


@pytest.fixture(scope='module')
def scene():
    """Return a rendered scene, from which frames like real ones are written."""
    return make_scene(wedge(), 2)


@pytest.fixture
def frames(tmp_path, scene):
    """Return a folder of two frames, of which the second has no truth."""
    for name in ('known', 'unknown'):
        write_scene(tmp_path / 'frames' / name, scene.frame, scene.mask)
    write_truth(tmp_path / 'frames' / 'known', scene)
    return tmp_path / 'frames'


def test_the_truth_is_where_it_was_in_the_image(frames, scene, tmp_path):
    _, _, truth = read_real(frames / 'known', tmp_path)
    np.testing.assert_allclose(
        truth.mesh.transformed(truth.T_camera_object).vertices,
        scene.mesh_in_camera().vertices, atol=1e-6)
    assert truth.closed
    # Its frame is upright, the middle of the mesh at its origin.
    np.testing.assert_allclose(truth.T_camera_object[:3, 2], -scene.frame.gravity, atol=1e-6)
    assert read_real(frames / 'unknown', tmp_path)[2] is None


def test_the_truth_file_counts_before_a_description(frames, scene, tmp_path):
    entry = {'mesh': 'none.ply', 'T_cam_obj': np.eye(4).tolist()}
    (frames / 'known' / 'meta.json').write_text(json.dumps({'objects': [entry]}))
    assert read_real(frames / 'known', tmp_path)[2] is not None


@pytest.mark.parametrize(
    'changes',
    [
        {'vertices': None},
        {'faces': None},
        {'vertices': np.zeros((9, 2))},
        {'vertices': np.full((9, 3), np.nan)},
        {'vertices': np.array(['a', 'b'])},
        {'faces': np.zeros((4, 4), int)},
        {'faces': np.zeros((4, 3))},
        {'faces': np.full((4, 3), 10**6)},
        {'faces': np.full((4, 3), -1)},
        {'faces': np.zeros((0, 3), int)},
        {'vertices': np.array([[0, 0, 700.0], [0, 9, 700], [9, 0, 700], [9, 9, 710]])},
        {'vertices': np.array([[0, 0, -0.7], [0, 0.1, -0.7], [0.1, 0, -0.7], [0, 0, -0.8]])},
    ],
    ids=['no vertices', 'no faces', 'flat', 'not finite', 'text', 'quads', 'fractions', 'beyond',
         'negative', 'empty', 'millimetres', 'behind'],
)
def test_a_truth_that_is_no_mesh_is_named(frames, scene, tmp_path, changes):
    write_truth(frames / 'known', scene, **changes)
    with pytest.raises(LiftError) as caught:
        read_real(frames / 'known', tmp_path)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert str(frames / 'known' / 'truth.npz') in caught.value.message


@pytest.mark.parametrize('cut', [0, 4, 1000], ids=['empty', 'header only', 'cut off'])
def test_a_truth_that_was_cut_off_is_named(frames, tmp_path, cut):
    path = frames / 'known' / 'truth.npz'
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(LiftError) as caught:
        read_real(frames / 'known', tmp_path)
    assert str(path) in caught.value.message


def test_a_damaged_byte_of_the_truth_is_found(frames, tmp_path):
    path = frames / 'known' / 'truth.npz'
    data = bytearray(path.read_bytes())
    # Behind the header of the first array.
    data[200] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(LiftError) as caught:
        read_real(frames / 'known', tmp_path)
    assert str(path) in caught.value.message


def test_an_array_alone_is_no_truth(frames, tmp_path):
    path = frames / 'known' / 'truth.npz'
    with path.open('wb') as file:
        np.save(file, np.zeros((9, 3)))
    with pytest.raises(LiftError) as caught:
        read_real(frames / 'known', tmp_path)
    assert str(path) in caught.value.message


@pytest.fixture(scope='module')
def measured(tmp_path_factory, scene):
    """Return the folder of results of the command over two frames, and what it printed."""
    folder = tmp_path_factory.mktemp('real')
    for name in ('known', 'unknown'):
        write_scene(folder / 'frames' / name, scene.frame, scene.mask)
    write_truth(folder / 'frames' / 'known', scene)
    done = subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.cli', 'bench', '--real', str(folder / 'frames'),
         '--methods', 'hull', 'partial', 'geometric', '--no-baselines', '--jobs', '1', '--out',
         str(folder / 'out')],
        text=True, capture_output=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return folder / 'out', done.stdout


def test_the_command_scores_frames_with_a_truth_file(measured):
    folder, _ = measured
    lines = (folder / 'rows.jsonl').read_text().splitlines()
    rows = {(row['scene'], row['contender']): row for row in map(json.loads, lines)}
    known, unknown = rows['known', 'geometric'], rows['unknown', 'geometric']
    assert 0.2 < known['iou'] < 1.0
    assert 0.0 < known['f1_5mm'] <= known['f1_10mm'] <= 1.0
    assert known['similarity_chamfer_mm'] < 1.1 * known['chamfer_mm']
    for figure in ('normal_consistency', 'f1_002d', 'hole_mm', 'genus_error'):
        assert np.isfinite(known[figure])
        assert figure not in unknown
    # The mesh itself is judged in either.
    for figure in ('watertight', 'closed_merged', 'pieces', 'off_mask_share', 'spike_mm'):
        assert known[figure] == unknown[figure]
    # A cloud has distances, but neither normals nor a surface that could have holes.
    assert 'f1_5mm' in rows['known', 'partial']
    assert not {'normal_consistency', 'hole_mm', 'pieces'} & set(rows['known', 'partial'])


def test_the_report_groups_figures_by_subject(measured):
    folder, printed = measured
    assert '### real: 1 objects, 1 scenes, 1 without truth' in printed
    tables = printed.split('### ')[1]
    for heading in ('F1@5 mm', 'ICP chamfer/D %', 'largest hole mm', 'off the mask %'):
        assert heading in tables
    widest = max(line.count('|') for line in tables.splitlines() if 'calibration' not in line)
    assert widest <= 14
    result = json.loads((folder / 'report.json').read_text())
    means = result['means']['real']['geometric']
    assert means['pieces']['scenes'] == 2
    assert means['f1_5mm']['scenes'] == 1
    assert {'mean', 'error'} <= set(means['f1_5mm'])


def test_the_sheet_shows_every_frame_from_six_sides(measured):
    folder, _ = measured
    page = cv2.imread(str(folder / 'sheet.png'))
    # Three rows of images with a truth, two without, seven images each.
    assert page.shape[1] > 7 * TILE
    assert 5 * TILE < page.shape[0] < 7 * TILE


def test_frames_that_failed_count_zero_only_where_the_truth_is_known(frames, tmp_path):
    for name in ('known', 'unknown'):
        (frames / name / 'mask.png').unlink()
    assert run_bench(Settings(('hull',)), tmp_path / 'out', real=frames) == 2
    result = json.loads((tmp_path / 'out' / 'report.json').read_text())
    assert result['means']['real']['hull'] == {}


def test_six_sides_of_a_mesh_differ_where_it_differs(scene):
    truth = Truth(scene.mesh, scene.T_camera_object)
    image = six_sides(scene.frame, scene.mask, scene.mesh_in_camera(), truth)
    assert image.shape == (3 * TILE, 7 * TILE, 3)
    # A wedge looks different from each side; the prediction that is the truth looks like it.
    tiles = np.split(image[TILE:2 * TILE, TILE:].astype(int), 6, axis=1)
    assert all(np.abs(a - b).mean() > 1.0
               for k, a in enumerate(tiles) for b in tiles[k + 1:])
    np.testing.assert_array_equal(image[TILE:2 * TILE, TILE:], image[2 * TILE:, TILE:])
    assert six_sides(scene.frame, scene.mask, scene.mesh_in_camera(), None).shape == (
        2 * TILE, 7 * TILE, 3)
