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

"""`lift3d train views`: one command and a settings file, from meshes to a folder of weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
import torch

from lift3d_ros.cli import main
from lift3d_ros.io.scene import write_scene
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.training.runs import read_settings
from lift3d_ros.training.views import ViewTraining
from lift3d_ros.weights.store import find
from lift3d_ros.weights.store import problems

pytestmark = pytest.mark.usefixtures('one_thread')

SETTINGS = """
samples: {targets: 2}
monocular: {minutes: 0.03, batch: 4, warmup: 2}
coarse: {minutes: 0.03, batch: 2, warmup: 2}
denoiser: {minutes: 0.03, batch: 1, warmup: 2}
elevation: {minutes: 0.03, batch: 4, warmup: 2}
first: 3
evaluation: 2
renderers: 0
threads: 1
"""


def test_a_run_leaves_weights_that_make_views_and_goes_on_where_it_was(meshes, tmp_path, capsys):
    settings, out = tmp_path / 'settings.yaml', tmp_path / 'run'
    settings.write_text(SETTINGS)
    words = ['train', 'views', '--data', str(meshes), '--out', str(out)]
    assert main([*words, '--settings', str(settings)]) == 0
    weights = out / 'weights'
    assert problems(weights) == []
    curve = [json.loads(line) for line in (out / 'coarse' / 'curve.jsonl').open()]
    assert curve[-1]['step'] >= 1 and 'iou_depth' in curve[-1] or 'iou_rgb' in curve[-1]

    scene = make_scene(procedural_object(5, 'can'), 1, TableSettings(window=1.5, table_cells=8))
    write_scene(tmp_path / 'scene', scene.frame, scene.mask)
    assert main([
        'views', str(tmp_path / 'scene'), '--out', str(tmp_path / 'views'), '--azimuth', '90',
        '--weights', str(weights),
    ]) == 0
    for part in ('elevation', 'monocular'):
        assert (weights / part / 'model.safetensors').is_file()

    assert main([*words, '--settings', str(settings)]) == 2
    assert '--resume' in capsys.readouterr().err
    assert main([*words, '--settings', str(settings), '--resume']) == 0
    again = [json.loads(line) for line in (out / 'coarse' / 'curve.jsonl').open()]
    assert again[-1]['step'] > curve[-1]['step']
    assert again[-1]['minutes'] > curve[-1]['minutes']


def test_a_run_may_begin_with_weights_that_there_are(meshes, tmp_path):
    settings, out = tmp_path / 'settings.yaml', tmp_path / 'run'
    settings.write_text(SETTINGS.replace('minutes: 0.03', 'rate: 0.0, minutes: 0.01'))
    assert main([
        'train', 'views', '--data', str(meshes), '--out', str(out), '--settings', str(settings),
        '--from', 'small',
    ]) == 0
    for part in ('coarse', 'unet', 'elevation', 'monocular'):
        before = load_file(find('small') / part / 'model.safetensors')
        after = load_file(out / 'weights' / part / 'model.safetensors')
        assert set(before) == set(after)
        # At a rate of nothing only the running statistics of the norms move.
        learned = [k for k in before if 'running' not in k and 'num_batches' not in k]
        assert all(torch.allclose(before[k], after[k], rtol=1e-3) for k in learned)


def test_weights_of_the_views_are_for_the_surface(meshes, tmp_path, capsys):
    words = ['train', 'views', '--data', str(meshes), '--out', str(tmp_path), '--weights', 'small']
    assert main(words) == 2
    assert '--from' in capsys.readouterr().err


def test_settings_name_what_they_change_and_nothing_else(tmp_path):
    path = tmp_path / 'settings.yaml'
    path.write_text('coarse: {rate: 0.0002}\nsamples: {elevation_on_table: [10, 20]}\n')
    settings = read_settings(path, ViewTraining())
    assert settings.coarse.rate == 0.0002 and settings.denoiser == ViewTraining().denoiser
    assert settings.samples.elevation_on_table == (10, 20)


@pytest.mark.parametrize(
    'text, word',
    [('coarse: {speed: 3}', 'speed'), ('[1, 2]', 'settings are'), ('first: many', 'many'),
     ('coarse: {rate: [}', 'YAML')],
)
def test_settings_that_are_none_are_refused(meshes, tmp_path, capsys, text, word):
    path = tmp_path / 'settings.yaml'
    path.write_text(text)
    assert main([
        'train', 'views', '--data', str(meshes), '--out', str(tmp_path / 'run'), '--settings',
        str(path),
    ]) == 2
    assert word in capsys.readouterr().err


def test_the_settings_in_config_are_the_defaults():
    path = Path(__file__).parents[2] / 'config' / 'train_views.yaml'
    assert read_settings(path, ViewTraining()) == ViewTraining()


def test_minutes_that_are_none_are_refused(meshes, tmp_path):
    assert main([
        'train', 'views', '--data', str(meshes), '--out', str(tmp_path), '--minutes', '0',
    ]) == 2
