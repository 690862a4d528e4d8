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
"""
RealFusion's loop against a bank that knows words and a token, and no poses.

Each word of a view stands for several cameras, and the token for an object. The inversion must
find the token of the object in the picture, and the field must become that object, also on the
sides that the picture does not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

from distill_helpers import box_occupancy
from distill_helpers import FOV
from distill_helpers import MEMBERS
from distill_helpers import render_boxes
import numpy as np
import pytest
import torch

from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.adaptation.inversion import invert
from lift3d_ros.distill.adaptation.picture_augmentation import AugmentedPicture
from lift3d_ros.distill.adaptation.picture_augmentation import NO_AUGMENTATION
from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.cameras import view_words
from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.guidance.anchors import anchor_ring
from lift3d_ros.distill.optimisation import optimise
from lift3d_ros.distill.priors.exact import on_white
from lift3d_ros.distill.priors.prior import NoiseSchedule
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.radiance_occupancy import RadianceOccupancy
from lift3d_ros.methods.distilled import realfusion_presets as presets

pytestmark = pytest.mark.usefixtures('one_thread')

SIZE, BOUND, STEPS = 32, 0.6, 150
INPUT = Cameras.orbit(
    torch.zeros(1), torch.full((1,), 20.0), torch.tensor(1.7, dtype=torch.float64), FOV)
RING = anchor_ring(12, (-20.0, 20.0, 59.0), 1.7, FOV)
INVERSION = InversionSettings(
    steps=40, batch=4, rate=0.05, decay=0.0, timesteps=(0.5, 0.95), loss='sample')


class WordBank:
    """The objects before all cameras of a word; the token has the logarithms of their weights."""

    schedule = NoiseSchedule.scaled_linear()

    def __init__(self, cameras, token=None, renamed=None):
        self.token = torch.zeros(1, len(MEMBERS)) if token is None else token
        self.renamed = renamed or {}
        words = view_words(cameras.poses)
        images = torch.stack([
            on_white(render_boxes(member, cameras.poses, SIZE)) for member in MEMBERS])
        self.views = {
            word: images[:, [index for index, own in enumerate(words) if own == word]]
            for word in set(words)}

    def with_token(self, token):
        changed = object.__new__(WordBank)
        changed.__dict__.update(self.__dict__, token=token)
        return changed

    def encode(self, images):
        return on_white(images)

    def embedding(self, start=None):
        return torch.zeros_like(self.token)

    def condition(self, poses):
        return [self.renamed.get(word, word) for word in view_words(poses)]

    @torch.no_grad()
    def predict_x0(self, noisy, timesteps, condition):
        return torch.cat([
            self.mean(self.token, noisy[i:i + 1], timesteps.expand(len(noisy))[i:i + 1], word)
            for i, word in enumerate(condition)])

    def predict_with(self, embedding, noisy, timesteps, generator):
        return self.mean(embedding, noisy, timesteps, self.renamed.get('front', 'front'))

    def mean(self, token, noisy, timesteps, word):
        """Return the exact posterior mean over objects and cameras."""
        views = self.views[word].to(noisy)
        weights = token[0].log_softmax(0)[:, None].expand(views.shape[:2]).flatten()
        views = views.flatten(0, 1)
        ab = self.schedule.alpha_bar(timesteps, noisy)
        squares = (noisy[:, None] - ab.sqrt()[:, None] * views).square().flatten(2).sum(-1)
        share = (weights - 0.5 * squares / (1.0 - ab.flatten(1))).softmax(1)
        return torch.einsum('bk,kchw->bchw', share, views)


@dataclass(frozen=True)
class RingCameras(CameraSampler):
    """Draws from the cameras that the words stand for."""

    def draw(self, n, step, generator):
        return RING.select(torch.randint(len(RING), (n,), generator=generator))


def picture_of(member):
    return render_boxes(MEMBERS[member], INPUT.poses, SIZE)[0]


def inverted(prior, member):
    pictures = AugmentedPicture(picture_of(member), SIZE, NO_AUGMENTATION)
    return invert(prior, pictures, INVERSION).embedding


def overlaps(member, prior):
    """Return the intersection over union of the distilled field with each member, at 64^3."""
    image = picture_of(member)
    straight = torch.cat([image[:3] / image[3:].clamp_min(1e-6), image[3:]])
    reference = ReferenceView.from_image(straight.permute(1, 2, 0).numpy(), INPUT)
    small = replace(presets.SMALL, resolution=32, size=SIZE, views=2)
    plan = presets.short_plan(small, STEPS, prior, True, reference, BOUND, True, 0)
    weights = {name: value for name, value in plan.settings.weights.items() if name != 'depth'}
    settings = replace(
        plan.settings, weights=weights, cameras=RingCameras((1.7, 1.7), (-20.0, 60.0)))
    grid = DensityGrid(plan.field, 2.0 * BOUND / settings.render.samples)
    task = Distillation(plan.field, reference, settings, plan.guidance, None, grid)
    optimise(task, plan.loop)
    axis = ((np.arange(64) + 0.5) / 32.0 - 1.0) * BOUND
    points = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), -1).reshape(-1, 3)
    occupied = torch.from_numpy(RadianceOccupancy(plan.field).occupancy(points) > 0.5)
    truths = [box_occupancy(boxes, torch.from_numpy(points)) for boxes in MEMBERS]
    return [float((truth & occupied).sum() / (truth | occupied).sum()) for truth in truths]


@pytest.mark.parametrize('member', [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_object_of_the_picture_comes_out(member):
    prior = WordBank(RING)
    token = inverted(prior, member)
    assert int(token.argmax()) == member
    ious = overlaps(member, prior.with_token(token))
    assert ious[member] > 0.8
    assert max(ious[:member] + ious[member + 1:]) < 0.7


def test_wrong_words_of_the_views_fail():
    prior = WordBank(RING, renamed={'front': 'back', 'back': 'front'})
    right = WordBank(RING)
    assert max(overlaps(0, prior.with_token(inverted(right, 0)))) < 0.7
    # The front of a member from behind is that of another one.
    assert int(inverted(prior, 0).argmax()) != 0
