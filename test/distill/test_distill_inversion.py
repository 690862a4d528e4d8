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

from distill_helpers import MEMBERS
from distill_helpers import render_boxes
from error_helpers import raises_code
import pytest
import torch

from lift3d_ros.distill.adaptation.inversion import denoising_loss
from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.adaptation.inversion import invert
from lift3d_ros.distill.adaptation.picture_augmentation import AugmentedPicture
from lift3d_ros.distill.adaptation.picture_augmentation import NO_AUGMENTATION
from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.priors.exact import BankPrior
from lift3d_ros.distill.priors.exact import TokenBankPrior
from lift3d_ros.errors import ErrorCode

SIZE = 12
ANGLES = {'front': (0.0, 20.0), 'back': (180.0, 20.0), 'side': (90.0, 20.0)}
POSES = {
    word: Cameras.orbit(
        torch.tensor([azimuth]), torch.tensor([elevation]), torch.tensor([1.7]), 49.1).poses[0]
    for word, (azimuth, elevation) in ANGLES.items()
}
SETTINGS = InversionSettings(
    steps=60, batch=8, rate=0.02, decay=0.0, timesteps=(0.5, 1.0), loss='sample')

pytestmark = pytest.mark.usefixtures('one_thread')


def render(poses):
    return torch.stack([render_boxes(boxes, poses, SIZE) for boxes in MEMBERS], dim=1)


def make_prior(word='front'):
    return TokenBankPrior(BankPrior(render), POSES, torch.zeros(1, len(MEMBERS)), word)


def picture_of(member, settings=NO_AUGMENTATION, word='front'):
    image = render_boxes(MEMBERS[member], POSES[word][None], SIZE)[0]
    return AugmentedPicture(image, SIZE, settings)


@pytest.mark.parametrize('member', range(len(MEMBERS)))
@pytest.mark.parametrize('loss', ['sample', 'epsilon'])
def test_the_token_of_a_picture_selects_the_member_that_it_shows(member, loss):
    prior = make_prior()
    settings = InversionSettings(**{**vars(SETTINGS), 'loss': loss})
    found = invert(prior, picture_of(member), settings)
    share = found.embedding.softmax(1)[0]
    assert int(share.argmax()) == member and float(share[member]) > 0.6
    assert float(found.losses[-10:].mean()) < float(found.losses[:10].mean())


def test_the_member_is_found_in_augmented_pictures():
    found = invert(make_prior(), picture_of(3, None), SETTINGS)
    assert int(found.embedding.argmax()) == 3


@pytest.mark.parametrize('member, other', [(0, 1), (1, 0)])
def test_a_wrong_word_of_the_view_selects_another_member(member, other):
    """From behind the mirror image of a member looks like the member from the front."""
    found = invert(make_prior('back'), picture_of(member), SETTINGS)
    assert int(found.embedding.argmax()) == other


def test_the_learned_token_denoises_other_views():
    """Inversion sees the front; the token is to be right for the side."""
    prior = make_prior()
    found = invert(prior, picture_of(1), SETTINGS)
    side = make_prior('side')
    clean = side.encode(picture_of(1, word='side')(torch.Generator(), 64))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(clean.shape, generator=generator)
    timesteps = torch.full((64,), 950)
    losses = [
        float(denoising_loss(side, token, clean, noise, timesteps, generator, 'sample'))
        for token in (found.embedding, prior.embedding())
    ]
    assert losses[0] < 0.7 * losses[1]


def test_the_losses_are_the_errors_of_noise_and_velocity():
    prior = make_prior()
    generator = torch.Generator().manual_seed(1)
    clean = prior.encode(picture_of(0)(generator, 4))
    noise = torch.randn(clean.shape, generator=generator)
    timesteps = torch.tensor([300, 600, 800, 950])
    noisy = prior.schedule.add_noise(clean, noise, timesteps)
    predicted = prior.predict_with(prior.token, noisy, timesteps, generator)
    errors = {
        'sample': predicted - clean,
        'epsilon': prior.schedule.epsilon(noisy, predicted, timesteps) - noise,
        'v_prediction': prior.schedule.velocity(
            predicted, prior.schedule.epsilon(noisy, predicted, timesteps), timesteps)
        - prior.schedule.velocity(clean, noise, timesteps),
    }
    for kind, error in errors.items():
        loss = denoising_loss(prior, prior.token, clean, noise, timesteps, generator, kind)
        assert float(loss) == pytest.approx(float(error.square().mean()), rel=1e-3)


def test_equal_seeds_find_equal_tokens_and_the_start_is_where_it_begins():
    prior = make_prior()
    settings = InversionSettings(**{**vars(SETTINGS), 'steps': 3})
    first, again = (invert(prior, picture_of(2), settings) for _ in range(2))
    assert torch.equal(first.embedding, again.embedding)
    start = torch.tensor([[0.0, 0.0, 5.0, 0.0]])
    moved = invert(prior, picture_of(2), settings, start).embedding
    assert float((moved - start).abs().max()) <= 3.1 * settings.rate * settings.batch


def test_an_inversion_can_be_cancelled_between_steps():
    calls = []

    def check():
        calls.append(None)
        if len(calls) > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert(make_prior(), picture_of(0), SETTINGS, check=check)
    assert len(calls) == 3


@pytest.mark.parametrize('changes', [
    {'steps': 0}, {'batch': 0}, {'rate': 0.0}, {'rate': float('nan')}, {'decay': -1.0},
    {'timesteps': (0.5, 0.5)}, {'timesteps': (0.5, 1.5)}, {'loss': 'l1'},
])
def test_invalid_settings_are_refused(changes):
    with raises_code(ErrorCode.BAD_REQUEST):
        InversionSettings(**changes)


def test_a_start_of_another_prior_and_a_diverging_run_are_refused():
    prior = make_prior()
    with raises_code(ErrorCode.BAD_REQUEST):
        invert(prior, picture_of(0), SETTINGS, torch.zeros(1, 7))
    with raises_code(ErrorCode.BAD_REQUEST):
        invert(prior, picture_of(0), SETTINGS, torch.full((1, len(MEMBERS)), torch.nan))
