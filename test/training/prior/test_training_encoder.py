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

import numpy as np
import pytest
import torch

from lift3d_ros.cli import main
from lift3d_ros.distill.guidance.clip import ClipGuidance
from lift3d_ros.distill.guidance.clip import spherical_distance
from lift3d_ros.networks.small.object_encoder import ObjectEncoder
from lift3d_ros.networks.small.object_encoder import ObjectEncoderConfig
from lift3d_ros.networks.small.object_encoder import read_object_encoder
from lift3d_ros.networks.small.object_encoder import write_object_encoder
from lift3d_ros.training.prior.encoder import colour_statistics
from lift3d_ros.training.prior.encoder import EncoderTask
from lift3d_ros.training.prior.encoder import EncoderTraining
from lift3d_ros.training.prior.encoder import retrieval
from lift3d_ros.training.prior.object_views import ObjectViews
from lift3d_ros.training.runs import read_settings
from lift3d_ros.weights.store import problems

pytestmark = pytest.mark.usefixtures('one_thread')

SETTINGS = """
encoder: {minutes: 0.02, batch: 2, warmup: 2}
network: {widths: [8, 16], size: 16, embedding: 8}
views: 4
development: 1
threads: 1
"""


def make_encoder():
    torch.manual_seed(0)
    return ObjectEncoder(ObjectEncoderConfig(size=16, widths=(8, 16), embedding=8)).eval()


def make_views(count=6, views=3):
    """Return views of discs of one colour each, at random places."""
    rng = np.random.default_rng(0)
    pictures = np.full((count, views, 16, 16, 4), 255, np.uint8)
    pictures[..., 3] = 0
    for number in range(count):
        color = rng.integers(0, 200, 3)
        for view in range(views):
            row, column = rng.integers(2, 8, 2)
            pictures[number, view, row:row + 6, column:column + 6, :3] = color
            pictures[number, view, row:row + 6, column:column + 6, 3] = 255
    names = tuple(str(number) for number in range(count))
    return ObjectViews(names, pictures, np.zeros((count, views), np.int64))


def test_a_run_leaves_weights_with_the_encoder_and_goes_on_where_it_was(meshes, tmp_path):
    settings, out = tmp_path / 'settings.yaml', tmp_path / 'run'
    settings.write_text(SETTINGS)
    words = ['train', 'encoder', '--data', str(meshes), '--out', str(out), '--settings',
             str(settings)]
    assert main(words) == 0
    assert problems(out / 'weights') == []
    encoder = read_object_encoder(out / 'weights' / 'object_encoder')
    assert encoder.embed(torch.zeros(2, 4, 40, 40)).shape == (2, 8)
    assert main(words) == 2
    assert main([*words, '--resume']) == 0
    curve = [json.loads(line) for line in (out / 'object_encoder' / 'curve.jsonl').open()]
    assert curve[-1]['step'] > curve[0]['step'] and {'score', 'colour'} <= set(curve[-1])


def test_the_settings_in_config_are_the_defaults():
    path = Path(__file__).parents[3] / 'config' / 'train_encoder.yaml'
    assert read_settings(path, EncoderTraining()) == EncoderTraining()


def test_retrieval_counts_the_views_that_are_nearest_to_their_object():
    generator = torch.Generator().manual_seed(0)
    objects = torch.randn(10, 1, 4, generator=generator)
    views = objects + 0.01 * torch.randn(10, 5, 4, generator=generator)
    assert retrieval(views, views, 4) == 1.0
    assert retrieval(views, views.roll(1, 0), 4) == 0.0


def test_colour_statistics_are_those_of_the_object_alone():
    pictures = torch.from_numpy(make_views().pictures[:, 0]).permute(0, 3, 1, 2) / 127.5 - 1.0
    statistics = colour_statistics(pictures)
    colors = torch.stack([picture[:3, picture[3] > 0].mean(1) for picture in pictures])
    assert torch.allclose(statistics[:, :3], colors, atol=1e-5)
    assert torch.allclose(statistics[:, 3:], torch.zeros(6, 3), atol=1e-3)


def test_training_lowers_the_contrastive_loss_and_scores_are_shares():
    views, encoder = make_views(), make_encoder().train()
    task = EncoderTask(views)
    assert task.evaluate(encoder)['colour'] == 1.0
    optimizer = torch.optim.Adam(encoder.parameters(), lr=5e-3)
    batch = {'pictures': torch.from_numpy(np.concatenate(
        [views.pictures[:, 0], views.pictures[:, 1]]))}
    losses = []
    for step in range(30):
        loss = task.losses(encoder, batch, step)['contrast']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert all(0.0 <= value <= 1.0 for value in task.evaluate(encoder).values())


def test_embeddings_have_length_one_and_do_not_depend_on_alpha_or_empty_margins():
    encoder = make_encoder()
    pictures = torch.from_numpy(make_views().pictures[:, 0]).permute(0, 3, 1, 2) / 127.5 - 1.0
    embeddings = encoder.embed(pictures)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(6), atol=1e-5)
    assert torch.equal(embeddings, encoder.embed(pictures[:, :3]))
    white = encoder.embed(torch.ones(1, 3, 16, 16))
    assert bool(white.isfinite().all())


def test_the_encoder_serves_clip_guidance():
    """A step against the gradient brings the picture nearer to the reference."""
    encoder = make_encoder().requires_grad_(False)
    pictures = torch.from_numpy(make_views().pictures[:2, 0]).permute(0, 3, 1, 2) / 127.5 - 1.0
    reference = encoder.embed(pictures[:1])
    guidance = ClipGuidance(encoder, reference)
    gradient = guidance.gradient(pictures[1:])
    assert gradient.shape == (1, 4, 16, 16) and float(gradient.abs().sum()) > 0.0
    moved = pictures[1:] - 0.05 * gradient / gradient.abs().max()
    before = spherical_distance(encoder.embed(pictures[1:]), reference)
    assert float(guidance.distance(moved)) < float(before)


def test_a_written_encoder_is_the_same_when_read(tmp_path):
    encoder = make_encoder()
    write_object_encoder(tmp_path, encoder, torch.float32)
    read = read_object_encoder(tmp_path)
    pictures = torch.rand(3, 3, 20, 20)
    assert torch.equal(read.embed(pictures), encoder.embed(pictures))
