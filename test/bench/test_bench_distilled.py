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

"""The benchmark of distilled methods: measures, controls, seeds, runs, tables."""

from __future__ import annotations

from dataclasses import replace
import json

from bench_helpers import box
from bench_helpers import write_objects
import numpy as np
import pytest
import torch

from lift3d_ros.bench.distilled import measures
from lift3d_ros.bench.distilled.controls import LOSSES
from lift3d_ros.bench.distilled.predictors import CONTROLS
from lift3d_ros.bench.distilled.predictors import make_lifter
from lift3d_ros.bench.distilled.predictors import predictor_names
from lift3d_ros.bench.distilled.predictors import ready_methods
from lift3d_ros.bench.distilled.predictors import references
from lift3d_ros.bench.distilled.settings import DistilledSettings
from lift3d_ros.bench.distilled.settings import plan_distilled
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.reporting import distilled
from lift3d_ros.bench.scenes import TRACKS
from lift3d_ros.bench.views import protocol
from lift3d_ros.bench.views.task import box_middle
from lift3d_ros.bench.views.task import scene_task
from lift3d_ros.cli import main
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import DISTILLED
from lift3d_ros.meshing.render import Light
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.synthetic.true_views import object_from_canonical

pytestmark = pytest.mark.usefixtures('one_thread')


class MeanColor:
    """The mean of each row of a picture as its embedding."""

    def embed(self, images):
        return images.mean(3).flatten(1)


@pytest.fixture(scope='module')
def scene():
    mesh = box((0.16, 0.05, 0.1))
    colors = np.where(mesh.vertices[:, :1] > 0.0, [[200, 40, 40]], [[40, 40, 200]])
    mesh = Mesh(mesh.vertices, mesh.faces, colors.astype(np.uint8))
    return make_scene(mesh, 2, TableSettings(window=1.6, table_cells=24))


@pytest.fixture(scope='module')
def known(scene):
    """Return the truth of the scene in unlit colours, its views and the canonical frame."""
    unlit = Light(ambient=1.0, diffuse=0.0)
    views = scene_task(replace(scene, light=unlit), TRACKS['rgbd'], 0)
    T = object_from_canonical(views.canonical, scene.T_camera_object, box_middle(scene.mesh))
    return Truth(scene.mesh, scene.T_camera_object, unlit), views, T


def scan(scene, factor=1.0, **notes):
    """Return the scan as a prediction, scaled about the camera."""
    mesh = scene.mesh.transformed(scene.T_camera_object)
    return Prediction(
        Mesh(np.float32(factor) * mesh.vertices, mesh.faces, mesh.colors), notes=notes)


def test_the_scan_itself_is_perfect(scene, known):
    truth, views, T = known
    mesh = measures.object_frame(scan(scene), truth)
    figures = measures.shape_figures(mesh, truth)
    assert figures['iou'] > 0.97
    assert figures['color_hidden'] < 0.01
    images = measures.render_views(mesh, views, T)
    found = measures.view_figures(images, views, MeanColor())
    assert found['mask_iou'] == pytest.approx(1.0)
    assert found['psnr'] > 50.0 > found['psnr_blurred']
    assert found['similarity'] == pytest.approx(1.0, abs=1e-4)
    assert found['similarity_input'] < found['similarity']
    assert len(found['views']) == len(protocol.AZIMUTHS)


def test_only_views_beyond_45_degrees_count(scene, known):
    truth, views, T = known
    images = measures.render_views(measures.object_frame(scan(scene), truth), views, T)
    hidden = set(range(len(images))) - set(measures.held_out(views))
    assert sorted(abs(views.azimuths[index]) for index in hidden) == [22.5, 22.5]
    changed = images.copy()
    changed[list(hidden)] = 0
    a, b = (measures.view_figures(i, views, None) for i in (images, changed))
    assert {**a, 'views': None} == {**b, 'views': None}


def test_a_blur_lowers_the_detail_and_is_rewarded_where_a_view_is_wrong(known):
    _, views, _ = known
    rng = np.random.default_rng(0)
    truth = views.truth
    noisy = truth.copy()
    noisy[..., :3] = np.clip(
        truth[..., :3] + rng.normal(0.0, 40.0, truth[..., :3].shape), 0, 255).astype(np.uint8)
    figures = measures.view_figures(noisy, views, None)
    assert figures['psnr_blurred'] > figures['psnr'] + 1.0
    assert 'similarity' not in figures


def test_an_unknown_scale_is_that_of_the_true_distance(scene, known):
    truth, _, _ = known
    wrong = measures.shape_figures(measures.object_frame(scan(scene, 1.5), truth), truth)
    right = measures.shape_figures(
        measures.object_frame(scan(scene, 1.5, scale_source='unknown'), truth), truth)
    assert wrong['iou'] < 0.1
    assert right['iou'] > 0.95


@pytest.mark.parametrize('mesh', [None, Mesh(
    np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 3), np.uint8))])
def test_a_prediction_without_a_surface_is_an_error(known, mesh):
    with pytest.raises(LiftError) as caught:
        measures.object_frame(Prediction(mesh=mesh), known[0])
    assert caught.value.code is ErrorCode.NO_SURFACE


def entry(name, colored=True):
    return ObjectEntry(name, None, colored=colored)


def settings(**changes):
    return DistilledSettings(**{'predictors': ('one2345',), **changes})


def test_each_scene_is_lifted_with_each_seed():
    tasks = plan_distilled(
        settings(scenes=2, seeds=3, seed=5), [entry('mug'), entry('grey', colored=False)])
    assert {task.object for task in tasks} == {'mug'}
    assert sorted((task.view, task.seed) for task in tasks) == [
        (view, seed) for view in range(2) for seed in (5, 6, 7)]
    assert len({task.scene for task in tasks}) == len(tasks)
    assert {task.row('rgbd')['seed'] for task in tasks} == {5, 6, 7}
    with pytest.raises(LiftError) as caught:
        plan_distilled(settings(), [entry('grey', colored=False)])
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize('changes', [
    {'predictors': ('dreamfusion',)}, {'tracks': ('rgb-size',)}, {'seeds': 0}, {'scenes': 0},
    {'predictors': ('zero123',), 'preset': 'huge'},
])
def test_bad_settings_are_refused(changes):
    with pytest.raises(LiftError) as caught:
        settings(**changes)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_every_method_is_compared_with_its_controls():
    assert set(CONTROLS) <= set(predictor_names())
    for name in predictor_names():
        assert set(references(name)) <= set(predictor_names())
        assert bool(references(name)) == (name.partition('/')[0] in DISTILLED)
        assert make_lifter(name, 'small', '', 0) is not None
    assert make_lifter('input/scratch', 'small', '', 0).method.init == 'scratch'
    assert make_lifter('zero123', 'small', 'faithful', 7).method.steps == 7


def test_methods_without_weights_are_left_out_unless_they_are_named(learned_weights, capsys):
    found = ready_methods(str(learned_weights))
    assert {'zero123', 'zero123/scratch'} <= set(found)
    missing = {name for name in DISTILLED if name not in found}
    printed = capsys.readouterr().out
    assert all(name in printed for name in missing)
    for name in missing:
        with pytest.raises(LiftError) as caught:
            settings(predictors=(name,), weights=str(learned_weights))
        assert caught.value.code is ErrorCode.WEIGHTS_MISSING


def test_controls_differ_by_their_losses_alone():
    assert LOSSES['input'] == LOSSES['start'] == {}
    assert set(LOSSES['regularised']) == {'opacity', 'distortion', 'total_variation'}
    assert set(LOSSES['anchored']) == {'start'}


def row(name, scene, seed, value, ok=True):
    figures = {'iou': value, 'psnr': 10.0 + value, 'mask_iou': value} if ok else {
        **measures.FAILED, 'error': {'code': 'NO_SURFACE', 'message': 'none'}}
    return {
        'scene': f'{scene}_0_seed{seed}', 'object': scene, 'track': 'rgbd', 'contender': name,
        'seed': seed, 'ok': ok, 'error': None, 'seconds': {'total': 2.0}, **figures}


def test_the_report_has_means_over_objects_and_differences_in_pairs():
    rows = []
    for scene, offset in (('cup', 0.0), ('box', 0.2)):
        for seed in (0, 1):
            rows += [row('start', scene, seed, 0.4 + offset),
                     row('zero123', scene, seed, 0.5 + offset + 0.1 * seed)]
    rows.append(row('input', 'cup', 0, 0.0, ok=False))
    result = distilled.summarise(rows, ('start', 'zero123', 'input'))
    counts = result['counts']['rgbd']
    assert (counts['objects'], counts['seeds'], counts['failed']['input']) == (2, 2, 1)
    means = result['means']['rgbd']
    assert means['zero123']['iou']['mean'] == pytest.approx(0.65)
    assert means['zero123']['iou']['error'] == pytest.approx(0.1)
    assert means['input']['iou']['mean'] == 0.0
    assert 'psnr' not in means['input']
    difference, error = result['differences']['rgbd']['zero123 - start']['iou']
    assert difference == pytest.approx(0.15)
    assert error == pytest.approx(0.0, abs=1e-9)
    text = distilled.as_text({**result, 'failures': [r for r in rows if not r['ok']]})
    assert 'zero123 - start' in text and 'NO_SURFACE' in text


def test_a_run_measures_controls_and_methods_in_the_same_scenes(tmp_path, learned_weights):
    data = write_objects(tmp_path / 'objects', box=box((0.1, 0.06, 0.08)))
    assert find_objects(data)[0].colored
    out = tmp_path / 'out'
    command = [
        'bench', '--distill', '--data', str(data), '--out', str(out), '--seeds', '1', '--jobs',
        '1', '--weights', str(learned_weights), '--steps', '2', '--no-baselines', '--methods',
        'start,one2345', 'start/blurred']
    torch.manual_seed(0)
    assert main(command) == 0
    report = json.loads((out / 'report.json').read_text())
    rows = {row['contender']: row for row in report['rows']}
    assert set(rows) == {'start', 'start/blurred', 'one2345'}
    for found in rows.values():
        assert {'iou', 'mask_iou', 'psnr', 'psnr_blurred', 'ssim', 'similarity'} <= set(found)
        assert found['lift_memory_mb'] > 100.0
    assert rows['start']['iou'] == rows['start/blurred']['iou']
    assert rows['start']['psnr'] != rows['start/blurred']['psnr']
    assert (out / 'rings_rgbd.jpg').is_file()
    assert '| start' in (out / 'report.md').read_text()
    # The same command measures nothing again.
    before = (out / 'rows.jsonl').read_text()
    assert main(command) == 0
    assert (out / 'rows.jsonl').read_text() == before


@pytest.mark.parametrize('options', [
    ['--mask', 'noisy'], ['--cameras', '2'], ['--occluded'], ['--ablation'], ['--views'],
])
def test_options_of_other_measurements_are_refused(tmp_path, capsys, options):
    data = write_objects(tmp_path / 'objects', box=box())
    assert main(['bench', '--distill', '--data', str(data), '--out', str(tmp_path / 'out'),
                 *options]) != 0
    assert not (tmp_path / 'out').exists()
