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

"""The ablation of the benchmark: which variants there are, what they are given and told."""

from __future__ import annotations

import json

from bench_helpers import box
from bench_helpers import write_objects
import numpy as np
import pytest
from scipy import ndimage

from lift3d_ros.bench import ablation
from lift3d_ros.bench import run as run_module
from lift3d_ros.bench.ablation import REFERENCE
from lift3d_ros.bench.ablation import TRUE_VIEWS
from lift3d_ros.bench.ablation import Variant
from lift3d_ros.bench.ablation import VARIANTS
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.reporting import shapes
from lift3d_ros.bench.reporting.statistics import paired_difference
from lift3d_ros.bench.scenes import TRACKS
from lift3d_ros.cli import main
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module', autouse=True)
def loaded_anew():
    yield
    ablation._loaded.cache_clear()


@pytest.fixture(scope='module')
def scene():
    return make_scene(box((0.16, 0.05, 0.1)), 2, TableSettings(window=1.6, table_cells=24))


def test_each_variant_changes_the_method_in_its_own_way():
    assert len({json.dumps(changes, sort_keys=True) for changes in VARIANTS.values()}) == len(
        VARIANTS) - 1, 'true views differ by what is given'
    assert {VARIANTS[f'one2345/views={count}']['views'] for count in (0, 1, 4, 8, 32)} == {
        0, 1, 4, 8, 32
    }


def test_true_views_show_the_scan_where_it_is(scene):
    truth = Truth(scene.mesh, scene.T_camera_object)
    canonical = canonical_frame(crop_object(scene.frame, scene.mask), scene.elevation)
    pictures, poses = ablation._true_views(truth, scene.light, 4, canonical)
    assert pictures.shape == (4, 128, 128, 4) and poses.shape == (4, 4, 4)
    points = transform(
        canonical.canonical_from_camera, transform(scene.T_camera_object, truth.points)
    )
    lens = Camera.from_fov(128, 128, ZERO123_FOV)
    for picture, pose in zip(pictures, poses, strict=True):
        u, v, _ = lens.project(transform(invert(pose), points))
        at = np.clip(np.rint([v, u]).astype(int), 0, 127)
        drawn = np.zeros((128, 128), bool)
        drawn[at[0], at[1]] = True
        # Between the points there is surface.
        drawn = ndimage.binary_closing(drawn, iterations=3)
        mask = picture[..., 3] > 127
        assert np.count_nonzero(drawn & mask) > 0.93 * np.count_nonzero(drawn | mask)


def test_true_views_need_a_truth(scene, learned_weights):
    with pytest.raises(LiftError) as caught:
        Variant(TRUE_VIEWS, 60.0, str(learned_weights)).predict(scene.frame, scene.mask, 0)
    assert caught.value.code == ErrorCode.BAD_REQUEST


def test_a_run_has_a_row_for_each_variant(tmp_path, learned_weights):
    data = write_objects(tmp_path / 'objects', box=box((0.1, 0.06, 0.08)))
    out = tmp_path / 'out'
    names = ['one2345/views=0', 'one2345/coarse-views', TRUE_VIEWS]
    assert main([
        'bench', '--data', str(data), '--out', str(out), '--scenes', '1', '--jobs', '1',
        '--no-baselines', '--weights', str(learned_weights), '--track', 'rgbd', 'rgb',
        '--methods', *names,
    ]) == 0
    found = json.loads((out / 'report.json').read_text())['rows']
    rows = {row['contender']: row for row in found if row['track'] == 'rgb'}
    measured = {row['contender']: row for row in found if row['track'] == 'rgbd'}
    assert set(rows) == set(measured) == set(names)
    # What the views are made by is told by the stages that were gone through.
    assert all('denoise' not in row['seconds'] for row in rows.values())
    assert 'render' in rows['one2345/coarse-views']['seconds']
    assert 'render' not in rows[TRUE_VIEWS]['seconds']
    assert len({row['chamfer_mm'] for row in rows.values()}) == 3
    # Where a depth was measured synthesised views tell colours alone; true ones tell the shape.
    of_none, of_coarse, of_true = (measured[name]['chamfer_mm'] for name in names)
    assert of_none == of_coarse != of_true
    report = (out / 'report.md').read_text()
    assert all(f'| {name}' in report for name in names)


def row(contender, name, scene, iou, ok=True):
    return {
        'track': 'rgbd', 'contender': contender, 'object': name, 'scene': f'{name}_{scene}',
        'ok': ok, 'iou': iou, 'error': {'code': 'NO_SURFACE', 'message': 'nothing'},
    }


def text_of(rows, predictors):
    return shapes.report(None, predictors, {}, rows).text()


def test_variants_are_compared_scene_by_scene():
    rows = [
        row('one2345/views=0', 'cup', 0, 0.5), row(REFERENCE, 'cup', 0, 0.6),
        row('one2345/views=0', 'cup', 1, 0.3), row(REFERENCE, 'cup', 1, 0.6),
        row('one2345/views=0', 'can', 0, 0.9), row(REFERENCE, 'can', 0, 0.7),
        # A scene in which one of them failed tells nothing of the other's shape.
        row('one2345/views=0', 'bowl', 0, 0.8), row(REFERENCE, 'bowl', 0, 0.0, ok=False),
    ]
    mean, error, objects = paired_difference(rows, 'one2345/views=0', REFERENCE, 'iou')
    # -0.2 and +0.2: half their distance is the deviation of the mean.
    assert (mean, error, objects) == (pytest.approx(0.0), pytest.approx(0.2), 2)
    assert paired_difference(rows[:4], 'one2345/views=0', REFERENCE, 'iou') is None
    text = text_of(rows, [REFERENCE, 'one2345/views=0'])
    assert '-0.0000 (0.2000)' in text.replace('+', '-')
    assert 'in pairs' not in text_of(rows[:4], [REFERENCE, 'one2345/views=0'])


def test_the_command_measures_all_variants_on_all_tracks(
    tmp_path, learned_weights, monkeypatch, capsys
):
    asked = []
    monkeypatch.setattr(run_module, 'run_bench', lambda settings, *_, **__: asked.append(settings))
    words = ['bench', '--ablation', '--data', str(tmp_path), '--weights', str(learned_weights)]
    assert main(words) == 0
    assert asked[0].predictors == tuple(VARIANTS)
    assert asked[0].tracks == tuple(TRACKS)
    assert main([*words, '--track', 'rgb']) == 0
    assert asked[1].tracks == ('rgb',)
    assert main([*words, '--methods', 'geometric']) == 2
    assert '--methods' in capsys.readouterr().err


def test_a_variant_that_there_is_not_is_refused(tmp_path, capsys):
    data = write_objects(tmp_path, box=box())
    assert main(['bench', '--data', str(data), '--methods', 'one2345/views=7']) == 2
    assert 'one2345/views=8' in capsys.readouterr().err


def test_depth_without_gravity_is_a_track(scene):
    frame = TRACKS['rgbd-blind'].strip(scene.frame)
    assert frame.depth is scene.frame.depth and frame.gravity is None
