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

"""The training of the prior of scenes, and the network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lift3d_ros.cli import main
from lift3d_ros.networks.small.scene_denoiser import KNOWN
from lift3d_ros.networks.small.scene_denoiser import read_scene_denoiser
from lift3d_ros.networks.small.scene_denoiser import SceneDenoiser
from lift3d_ros.networks.small.scene_denoiser import SceneDenoiserConfig
from lift3d_ros.networks.small.scene_denoiser import signal_share
from lift3d_ros.networks.small.scene_denoiser import TIMESTEPS
from lift3d_ros.scene.prior.inputs import KnownView
from lift3d_ros.scene.prior.network import fill_view
from lift3d_ros.training.runs import read_settings
from lift3d_ros.training.scene.run import SceneTraining
from lift3d_ros.training.scene.samples import HIDDEN
from lift3d_ros.training.scene.samples import ScenePool
from lift3d_ros.training.scene.task import as_tensors
from lift3d_ros.training.scene.task import SceneTask
from lift3d_ros.weights.store import problems

pytestmark = pytest.mark.usefixtures('one_thread')

SETTINGS = """
scene: {minutes: 0.03, batch: 2, warmup: 2}
network: {widths: [16, 32]}
rooms: 2
first: 2
views: 1
renderers: 0
development: 2
threads: 1
"""


def rounded(pose):
    return tuple(round(float(number), 4) + 0.0 for number in pose)


def tiny():
    torch.manual_seed(0)
    return SceneDenoiser(SceneDenoiserConfig(widths=(16, 32)))


@pytest.fixture(scope='module')
def trained(meshes, tmp_path_factory):
    """Return the folder of a short run, and the words of its command."""
    folder = tmp_path_factory.mktemp('scene_run')
    (folder / 'settings.yaml').write_text(SETTINGS)
    words = ['train', 'scene', '--data', str(meshes), '--out', str(folder / 'run'), '--settings',
             str(folder / 'settings.yaml')]
    assert main(words) == 0
    return folder / 'run', words


def test_a_run_leaves_weights_with_the_prior_and_goes_on_where_it_was(trained):
    out, words = trained
    assert problems(out / 'weights') == []
    network = read_scene_denoiser(out / 'weights' / 'scene')
    known = torch.zeros(2, KNOWN, 64, 64)
    assert network.predict(known, torch.zeros(2, 19)).picture.shape == (2, 4, 64, 64)
    assert main(words) == 2
    steps = json.loads((out / 'scene' / 'curve.jsonl').read_text().splitlines()[-1])['step']
    assert main([*words, '--resume']) == 0
    curve = (out / 'scene' / 'curve.jsonl').read_text().splitlines()
    assert json.loads(curve[-1])['step'] > steps


def test_samples_say_what_the_input_camera_saw(trained):
    views = ScenePool(trained[0] / 'pool').all_views()
    measured = views['kind'] == 3
    assert measured.any()
    assert (views['kind'] == HIDDEN).any()
    known = views['inverse'][measured & views['observed']].astype(np.float32)
    true = views['true_inverse'][measured & views['observed']].astype(np.float32)
    assert np.median(np.abs(known - true)) < 0.02


def test_mirrored_samples_have_the_pose_of_the_mirrored_camera(trained):
    pool = ScenePool(trained[0] / 'pool')
    own = {rounded(pose) for pose in pool.all_views()['pose']}
    batches = pool.batches(8, np.random.default_rng(0))
    poses = np.concatenate([next(batches)['pose'] for _ in range(3)])
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirrored = {
        rounded(np.concatenate(
            [(mirror @ np.array(pose[:16]).reshape(4, 4) @ mirror).reshape(-1), pose[16:]]))
        for pose in own}
    seen = {rounded(pose) for pose in poses}
    assert seen <= own | mirrored
    assert seen & mirrored - own
    assert seen & own


def test_an_untrained_network_leaves_the_filled_view():
    network, known = tiny().eval(), torch.rand(2, KNOWN, 64, 64)
    result = network.predict(known, torch.zeros(2, 19))
    assert torch.equal(result.picture, known[:, :4])


def test_nothing_of_the_picture_is_left_at_the_last_timestep():
    shares = signal_share(torch.arange(TIMESTEPS))
    assert shares[-1] < 1e-9
    assert (shares[1:] < shares[:-1]).all()


def test_the_loss_falls_and_ignores_pixels_without_a_surface(trained):
    views = ScenePool(trained[0] / 'pool').all_views()
    batch, network = as_tensors(views), tiny()
    task = SceneTask(views)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    history = []
    for step in range(12):
        loss = torch.stack(list(task.losses(network, batch, step).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert np.mean(history[-3:]) < np.mean(history[:3])
    empty = {**batch, 'kind': torch.zeros_like(batch['kind'])}
    assert all(float(term.detach()) == 0.0 for term in task.losses(network, empty, 0).values())


def test_a_prediction_is_not_before_the_end_of_free_space():
    size = (64, 64)
    view = KnownView(
        np.zeros((*size, 3), np.uint8), np.full(size, 1.0, np.float32), np.ones(size, bool),
        np.zeros(size, bool), np.full(size, 0.5, np.float32), np.full(size, 0.5, np.float32),
        np.zeros(19, np.float32), np.zeros((0, *size), np.float32))
    filled = fill_view(tiny().eval(), view, scale=2.0)
    assert np.allclose(filled.depth, 4.0)
    assert (filled.confidence > 0.0).all()
    assert (filled.confidence < 1.0).all()


def test_the_file_of_settings_has_the_defaults(pytestconfig):
    path = pytestconfig.rootpath / 'config' / 'train_scene.yaml'
    assert read_settings(path, SceneTraining()) == SceneTraining()
