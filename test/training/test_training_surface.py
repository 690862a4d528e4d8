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

"""`lift3d train surface`: from meshes and view weights to weights that lift."""

from __future__ import annotations

import json
from pathlib import Path
import shutil

import pytest
from safetensors.torch import load_file
import torch

from lift3d_ros.cli import main
from lift3d_ros.lifter import Lifter
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.training.runs import read_settings
from lift3d_ros.training.surface_run import SurfaceTraining
from lift3d_ros.weights.store import find
from lift3d_ros.weights.store import problems

pytestmark = pytest.mark.usefixtures('one_thread')

SETTINGS = """
samples: {targets: 2}
surface: {minutes: 0.02, batch: 1, warmup: 1}
first: 2
evaluation: 1
renderers: 0
threads: 1
"""


@pytest.fixture
def words(meshes, tmp_path):
    settings = tmp_path / 'settings.yaml'
    settings.write_text(SETTINGS)
    return [
        'train', 'surface', '--data', str(meshes), '--out', str(tmp_path / 'run'), '--settings',
        str(settings),
    ]


def curve(folder):
    return [json.loads(line) for line in (folder / 'surface' / 'curve.jsonl').open()]


def test_a_run_leaves_weights_that_lift_and_goes_on_where_it_was(words, tmp_path, capsys):
    out = tmp_path / 'run'
    assert main(words) == 0
    weights = out / 'weights'
    assert problems(weights) == []
    assert (out / 'surface' / 'last.pt').is_file()
    first = curve(out)
    assert first[-1]['step'] >= 1
    assert {'occupancy', 'color', 'score'} <= set(first[-1])
    # Judged by the input alone, with synthesised views, true ones in their place, true frames.
    kind = 'depth' if 'iou_depth' in first[-1] else 'rgb'
    assert {f'{name}_{kind}' for name in ('iou', 'made', 'true_made', 'true')} <= set(first[-1])
    # The view weights are those that it was learned over.
    for part in (
        'coarse', 'unet', 'image_encoder', 'cc_projection', 'elevation', 'monocular',
    ):
        name = f'{part}/model.safetensors'
        assert (weights / name).read_bytes() == (find('small') / name).read_bytes()
    best = load_file(out / 'surface' / 'best.safetensors')
    kept = load_file(weights / 'surface' / 'model.safetensors')
    assert all(torch.allclose(best[k].half(), kept[k]) for k in best)

    scene = make_scene(procedural_object(5, 'can'), 1, TableSettings(window=1.5, table_cells=8))
    shape = Lifter('one2345', weights=str(weights)).lift(scene.frame, scene.mask)
    assert shape.mesh.is_watertight()

    assert main(words) == 2
    assert '--resume' in capsys.readouterr().err
    assert main([*words, '--resume']) == 0
    again = curve(out)
    assert again[-1]['step'] > first[-1]['step']
    assert again[-1]['minutes'] > first[-1]['minutes']


def test_a_run_may_begin_with_a_network_and_lie_over_other_views(words, tmp_path):
    # Weights of one's own: other bytes in the views, and a network that is not a new one.
    own = tmp_path / 'own'
    shutil.copytree(find('small'), own)
    (own / 'manifest.json').unlink()
    (own / 'note.txt').write_text('mine')
    assert main([*words, '--weights', str(own), '--minutes', '0.02']) == 0
    first = tmp_path / 'run' / 'weights'
    assert (first / 'note.txt').read_text() == 'mine'
    still = Path(words[-1])
    still.write_text(SETTINGS.replace('minutes', 'rate: 0.0, minutes'))
    words[words.index('--out') + 1] = str(tmp_path / 'second')
    assert main([*words, '--from', str(first)]) == 0
    before = load_file(first / 'surface' / 'model.safetensors')
    after = load_file(tmp_path / 'second' / 'weights' / 'surface' / 'model.safetensors')
    assert all(torch.allclose(before[k], after[k], atol=1e-3) for k in before)


@pytest.mark.parametrize('option', ['--weights', '--from'])
def test_weights_that_are_not_there_are_refused(words, tmp_path, capsys, option):
    assert main([*words, option, str(tmp_path / 'nothing')]) == 2
    assert 'nothing' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_the_settings_in_config_are_the_defaults():
    path = Path(__file__).parents[2] / 'config' / 'train_surface.yaml'
    assert read_settings(path, SurfaceTraining()) == SurfaceTraining()
