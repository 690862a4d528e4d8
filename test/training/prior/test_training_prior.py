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


from __future__ import annotations

import json
from pathlib import Path

from error_helpers import raises_code
import numpy as np
import pytest
import torch

from lift3d_ros.cli import main
from lift3d_ros.diffusion.token_denoiser import read_token_denoiser
from lift3d_ros.diffusion.token_denoiser import VIEW_WORDS
from lift3d_ros.errors import ErrorCode
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.training.prior.object_views import object_views
from lift3d_ros.training.prior.object_views import render_views
from lift3d_ros.training.prior.run import PriorTraining
from lift3d_ros.training.prior.run import split_objects
from lift3d_ros.training.runs import read_settings
from lift3d_ros.weights.store import problems

pytestmark = pytest.mark.usefixtures('one_thread')

SETTINGS = """
prior: {minutes: 0.02, batch: 2, warmup: 2}
network: {widths: [16, 32], size: 16, token: 16, contexts: 2}
views: 4
development: 1
threads: 1
"""


@pytest.fixture
def boxes(tmp_path):
    """Return a folder with a red and a blue half, the red one in front, and its manifest."""
    folder = tmp_path / 'boxes'
    folder.mkdir()
    mesh = procedural_object(0, 'block')
    colors = np.where(mesh.vertices[:, 1:2] < np.median(mesh.vertices[:, 1]),
                      [[250, 0, 0]], [[0, 0, 250]]).astype(np.uint8)
    entries = []
    for number, more in enumerate([
        {'family': 'a'}, {'family': 'a'}, {'family': 'b'}, {'hollow': True}, {'solid_ok': False},
        {'colour': 'none (constant grey)', 'family': 'c'}, {'split': 'eval'},
    ]):
        name = f'box{number}'
        own = np.full_like(colors, 180) if 'colour' in more else colors
        Mesh(mesh.vertices, mesh.faces, own).export(folder / f'{name}.ply')
        entries.append({
            'name': name, 'file': f'{name}.ply', 'split': 'train', 'colour': 'texture', **more})
    (folder / 'manifest.json').write_text(json.dumps(entries))
    return folder


def test_a_run_leaves_weights_with_the_prior_and_goes_on_where_it_was(meshes, tmp_path, capsys):
    settings, out = tmp_path / 'settings.yaml', tmp_path / 'run'
    settings.write_text(SETTINGS)
    words = ['train', 'prior', '--data', str(meshes), '--out', str(out), '--settings',
             str(settings)]
    assert main(words) == 0
    assert problems(out / 'weights') == []
    network = read_token_denoiser(out / 'weights' / 'prior')
    velocity = network(
        torch.zeros(3, 4, 16, 16), torch.tensor([10, 500, 999]), network.null[None],
        torch.tensor([0, 3, len(VIEW_WORDS)]))
    assert velocity.shape == (3, 4, 16, 16) and bool(velocity.isfinite().all())
    curve = [json.loads(line) for line in (out / 'prior' / 'curve.jsonl').open()]
    assert curve[-1]['step'] >= 1 and {'null_900', 'regressed_900'} <= set(curve[-1])

    assert main(words) == 2
    assert '--resume' in capsys.readouterr().err
    assert main([*words, '--resume']) == 0
    again = [json.loads(line) for line in (out / 'prior' / 'curve.jsonl').open()]
    assert again[-1]['step'] > curve[-1]['step']


def test_the_settings_in_config_are_the_defaults():
    path = Path(__file__).parents[3] / 'config' / 'train_prior.yaml'
    assert read_settings(path, PriorTraining()) == PriorTraining()


def test_further_objects_are_for_the_prior(meshes, tmp_path):
    assert main([
        'train', 'views', '--data', str(meshes), '--out', str(tmp_path), '--extra', str(meshes),
    ]) == 2


def test_objects_that_choose_the_checkpoint_share_no_family_with_the_others(boxes):
    trained, unseen = split_objects([boxes], 1, 0)
    assert len(unseen) == 1 and unseen[0].colored
    assert unseen[0].family not in {entry.family for entry in trained}
    names = {entry.name for entry in [*trained, *unseen]}
    assert names.isdisjoint({'box3', 'box4', 'box6'}), 'hollow, open or of the eval split'


@pytest.mark.parametrize('development', [0, 3])
def test_too_few_objects_are_refused(boxes, development):
    with raises_code(ErrorCode.BAD_REQUEST):
        split_objects([boxes], development, 0)


def test_files_of_one_name_are_refused(boxes):
    with raises_code(ErrorCode.BAD_REQUEST):
        split_objects([boxes, boxes], 1, 0)


def test_the_front_of_an_object_faces_minus_y(boxes):
    entry = find_objects(boxes)[0]
    pictures, words = render_views(entry, 48, 16)
    assert np.array_equal(pictures, render_views(entry, 48, 16)[0])
    assert pictures.shape == (48, 16, 16, 4)
    for picture, word in zip(pictures, words, strict=True):
        red, _, blue = picture[picture[..., 3] == 255][:, :3].astype(int).sum(axis=0)
        if VIEW_WORDS[word] == 'front':
            assert red > blue
        elif VIEW_WORDS[word] == 'back':
            assert blue > red
    assert {VIEW_WORDS[word] for word in words} >= {'front', 'side', 'back', 'overhead'}


def test_objects_without_colours_are_painted(boxes):
    entry = next(entry for entry in find_objects(boxes) if not entry.colored)
    pictures, _ = render_views(entry, 2, 16)
    inside = pictures[pictures[..., 3] == 255][:, :3].astype(int)
    assert np.ptp(inside, axis=1).max() > 10


def test_views_of_other_settings_are_refused(meshes, tmp_path):
    entries: list[ObjectEntry] = find_objects(meshes)
    first = object_views(tmp_path, entries, 2, 16)
    assert np.array_equal(first.pictures, object_views(tmp_path, entries, 2, 16).pictures)
    with raises_code(ErrorCode.BAD_REQUEST):
        object_views(tmp_path, entries, 3, 16)
