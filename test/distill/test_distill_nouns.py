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
"""The noun from which textual inversion starts: both towers of CLIP, and the choice."""

from __future__ import annotations

import json
from types import SimpleNamespace

from error_helpers import raises_code
import pytest
import text_helpers
import torch
from transformers import CLIPConfig
from transformers import CLIPModel

from lift3d_ros.diffusion.conditioning import ClipEncoder
from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.adaptation.nouns import nearest_noun
from lift3d_ros.distill.adaptation.nouns import NOUNS
from lift3d_ros.distill.adaptation.nouns import TEMPLATE
from lift3d_ros.distill.priors.latent_diffusion import LatentDiffusionPrior
from lift3d_ros.distill.priors.latent_diffusion import OBJECT_TOKEN
from lift3d_ros.errors import ErrorCode
from lift3d_ros.methods.distilled.unposed import UnposedModel
from lift3d_ros.weights.clip import load_clip_towers
from lift3d_ros.weights.stable_diffusion import load_stable_diffusion

WORDS = ('mug', 'cat', 'hammer', 'box')


@pytest.fixture(scope='module')
def whole():
    """Return a small whole CLIP whose text tower knows the tests' vocabulary."""
    words = text_helpers.vocabulary()
    torch.manual_seed(0)
    return CLIPModel(CLIPConfig(
        text_config={'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 1,
                     'num_attention_heads': 2, 'vocab_size': words, 'bos_token_id': words - 2,
                     'eos_token_id': words - 1, 'pad_token_id': words - 1},
        vision_config={'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2,
                       'num_attention_heads': 2, 'image_size': 28, 'patch_size': 14},
        projection_dim=24)).eval()


@pytest.fixture(scope='module')
def folder(tmp_path_factory, whole):
    """Return its folder with the tokenizer."""
    folder = text_helpers.write_clip(tmp_path_factory.mktemp('clip'), whole)
    text_helpers.write_tokenizer(folder)
    return folder


def picture(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([torch.rand((3, 28, 28), generator=generator), torch.ones((1, 28, 28))])


def test_both_towers_are_read_from_a_folder(whole, folder):
    towers = load_clip_towers(folder)
    pixels = torch.rand((2, 3, 28, 28), generator=torch.Generator().manual_seed(0))
    ids = towers.tokenizer([TEMPLATE.format('mug')], return_tensors='pt')
    with torch.no_grad():
        known = whole(pixel_values=pixels, **ids)
        image = towers.image(pixel_values=pixels).image_embeds
        text = towers.text(**ids).text_embeds
    cosines = torch.nn.functional.cosine_similarity(text, image)
    torch.testing.assert_close(known.logits_per_text[0] / whole.logit_scale.exp(), cosines)


@pytest.mark.parametrize('word', WORDS)
def test_the_noun_is_the_nearest_one(folder, word):
    """The image tower is turned so that the picture has the embedding of one sentence."""
    towers, shown = load_clip_towers(folder), picture(1)
    with torch.no_grad():
        weight = towers.image.visual_projection.weight
        weight.copy_(torch.eye(*weight.shape))
        pooled = towers.image.vision_model(
            pixel_values=pixels_of(towers, shown)).pooler_output[0]
        target = towers.text(**towers.tokenizer(
            [TEMPLATE.format(word)], return_tensors='pt')).text_embeds[0]
        weight.copy_(target[:, None] * pooled[None] / pooled.square().sum())
    assert nearest_noun(towers, shown, WORDS) == word


def pixels_of(towers, shown):
    """Return what the image tower receives for an opaque picture."""
    received = []
    handle = towers.image.register_forward_pre_hook(
        lambda module, args, kwargs: received.append(kwargs['pixel_values']), with_kwargs=True)
    ClipEncoder(towers.image).embed(shown[None, :3] * 2.0 - 1.0)
    handle.remove()
    return received[0]


def invert_with(model, settings):
    """Return the token that a model learns from a picture."""
    inputs = SimpleNamespace(
        canonical=SimpleNamespace(elevation=20.0),
        reference_view=lambda size: SimpleNamespace(picture=lambda: picture(2)))
    prior = model.of_object(inputs, 0, 1.0, settings)
    return prior.prompts.tokens[OBJECT_TOKEN]


def test_what_is_transparent_is_white(folder):
    towers = load_clip_towers(folder)
    clear, white = torch.zeros((4, 28, 28)), torch.ones((4, 28, 28))
    seen = []
    handle = towers.image.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs['pixel_values']), with_kwargs=True)
    for shown in (clear, white):
        nearest_noun(towers, shown, WORDS)
    handle.remove()
    torch.testing.assert_close(seen[0], seen[1])


def test_the_inversion_starts_from_the_noun(folder, tmp_path):
    """Of the known nouns, the tests' vocabulary has one as a single token."""
    made = text_helpers.text_networks()
    components = load_stable_diffusion(text_helpers.write_folder(tmp_path / 'sd', made))
    model = UnposedModel(components, towers=load_clip_towers(folder))
    prior = LatentDiffusionPrior(components)
    assert [noun for noun in NOUNS if len(prior.encoder.ids(noun)) == 1] == ['mug']
    still = InversionSettings(steps=1, batch=1, rate=1e-12, decay=0.0)
    found = invert_with(model, still)
    torch.testing.assert_close(found, prior.embedding('mug'), rtol=0.0, atol=1e-6)
    without = invert_with(UnposedModel(components), still)
    torch.testing.assert_close(without, prior.embedding('object'), rtol=0.0, atol=1e-6)


def test_one_tower_or_no_tokenizer_is_told(whole, folder, tmp_path):
    with raises_code(ErrorCode.WEIGHTS_MISSING):
        load_clip_towers(text_helpers.write_clip(tmp_path / 'bare', whole))
    half = text_helpers.write_clip(tmp_path / 'half', whole)
    text_helpers.write_tokenizer(half)
    settings = json.loads((half / 'config.json').read_text())
    settings = {**settings['vision_config'], 'model_type': 'clip_vision_model'}
    (half / 'config.json').write_text(json.dumps(settings))
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_clip_towers(half)
    with raises_code(ErrorCode.BAD_REQUEST):
        nearest_noun(load_clip_towers(folder), picture(0), ())
