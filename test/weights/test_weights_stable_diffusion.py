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
"""Stable Diffusion, CLIP and learned tokens in their published formats: read, imported, run."""

from __future__ import annotations

import json
import os

from error_helpers import raises_code
import pytest
import text_helpers
import torch
from transformers import CLIPTextModel
import weights_helpers as helpers

from lift3d_ros.diffusion.conditioning import clip_pixels
from lift3d_ros.diffusion.conditioning import ClipEncoder
from lift3d_ros.distill.guidance.clip import ClipGuidance
from lift3d_ros.errors import ErrorCode
from lift3d_ros.weights import store
from lift3d_ros.weights.clip import load_clip
from lift3d_ros.weights.formats.checkpoint import Kind
from lift3d_ros.weights.formats.checkpoint import read
from lift3d_ros.weights.importing import import_weights
from lift3d_ros.weights.learned_embeddings import read_learned_embeddings
from lift3d_ros.weights.learned_embeddings import write_learned_embeddings
from lift3d_ros.weights.loading import load_zero123
from lift3d_ros.weights.stable_diffusion import load_stable_diffusion
from lift3d_ros.weights.stable_diffusion import stable_diffusion_parts

pytestmark = pytest.mark.usefixtures('one_thread')

FORMATS = ['folder .bin', 'folder .safetensors', 'ckpt', 'safetensors']


class Payload:
    """Makes a file where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope='module')
def made():
    """Return small random networks."""
    return text_helpers.text_networks()


@pytest.fixture(scope='module')
def full():
    """Return networks of the published width, without data."""
    return text_helpers.text_networks(full=True)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """Keep imported weights in a folder of the test."""
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / 'store'))
    return tmp_path / 'store'


def outputs(unet, vae, transformer):
    """Return what each network gives for fixed input."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(text_helpers.vocabulary(), (2, 77), generator=generator)
    with torch.no_grad():
        words = transformer(input_ids=ids).last_hidden_state
        noise = torch.randn(2, 4, 8, 8, generator=generator)
        return (
            words, unet(noise, torch.tensor([7, 800]), words).sample,
            vae.decode(noise[:1]).sample,
            vae.encode(torch.randn(1, 3, 32, 32, generator=generator)).latent_dist.parameters)


def assert_same(model, networks):
    expected = outputs(networks['unet'], networks['vae'], networks['text_encoder'])
    got = outputs(model.unet, model.vae, model.text_encoder['text_model'])
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)


def test_the_published_checkpoint_has_these_tensors(full):
    state = text_helpers.ldm_state(full)
    # v1-5-pruned-emaonly has 1131: 686 of the denoiser, 248 of the autoencoder, 197 of the text.
    assert len(state) == 1131
    for name, shape in {
        'model.diffusion_model.input_blocks.0.0.weight': (320, 4, 3, 3),
        'model.diffusion_model.output_blocks.11.1.transformer_blocks.0.attn2.to_k.weight':
            (320, 768),
        'first_stage_model.decoder.mid.attn_1.q.weight': (512, 512, 1, 1),
        'cond_stage_model.transformer.text_model.embeddings.token_embedding.weight':
            (49408, 768),
        'cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc2.weight': (768, 3072),
        'cond_stage_model.transformer.text_model.final_layer_norm.bias': (768,),
    }.items():
        assert tuple(state[name].shape) == shape
    millions = [sum(t.numel() for t in network.state_dict().values()) / 1e6
                for network in full.values()]
    assert millions == pytest.approx([859.52, 83.65, 123.06], abs=0.01)


@pytest.mark.parametrize('kind', ['ckpt', 'folder .bin'])
def test_every_tensor_of_published_width_has_its_place(kind, full, tmp_path):
    model = stable_diffusion_parts(read(text_helpers.write_model(kind, tmp_path, full)))
    for part, network in full.items():
        there = {name.removeprefix('text_model.'): tuple(tensor.shape)
                 for name, tensor in model.parts[part].items()}
        assert there == {name.removeprefix('text_model.'): tuple(t.shape)
                         for name, t in network.state_dict().items()}
    text = model.configs['text_encoder']
    assert (text['num_attention_heads'], text['num_hidden_layers']) == (12, 12)
    assert (text['hidden_act'], text['max_position_embeddings']) == ('quick_gelu', 77)
    assert model.configs['unet']['sample_size'] == 64
    assert model.configs['vae']['sample_size'] == 512


@pytest.mark.parametrize('kind', FORMATS)
def test_loads_and_imports_bit_for_bit(kind, made, own_store, tmp_path):
    source = text_helpers.write_model(kind, tmp_path, made)
    model = load_stable_diffusion(source)
    assert_same(model, made)
    assert torch.equal(model.scheduler.alphas_cumprod, helpers.scheduler().alphas_cumprod)
    assert not any(p.requires_grad for p in model.unet.parameters())
    folder = import_weights(source, 'stable-diffusion-1.5')
    assert read(folder).kind is Kind.STABLE_DIFFUSION_FOLDER
    assert not any(path.suffix in ('.bin', '.ckpt') for path in folder.rglob('*'))
    loaded = load_stable_diffusion('stable-diffusion-1.5')
    assert_same(loaded, made)
    assert loaded.tokenizer('front view').input_ids == model.tokenizer('front view').input_ids
    # The library's own loader finds each tensor, too.
    own = CLIPTextModel.from_pretrained(folder / 'text_encoder')
    for a, b in zip(own.state_dict().values(), made['text_encoder'].state_dict().values(),
                    strict=True):
        assert torch.equal(a, b)


def test_half_precision(made, tmp_path):
    source = text_helpers.write_model('folder .safetensors', tmp_path, made)
    model = load_stable_diffusion(source, dtype=torch.bfloat16)
    for network in (model.unet, model.vae, model.text_encoder):
        assert {p.dtype for p in network.parameters()} == {torch.bfloat16}


def test_a_checkpoint_needs_a_tokenizer(made, tmp_path):
    path = helpers.write_ldm(tmp_path / 'v1-5.ckpt', text_helpers.ldm_state(made))
    with raises_code(ErrorCode.WEIGHTS_MISSING):
        load_stable_diffusion(path)
    elsewhere = tmp_path / 'words'
    text_helpers.write_tokenizer(elsewhere)
    load_stable_diffusion(path, tokenizer=elsewhere)
    vocabulary = json.loads((elsewhere / 'vocab.json').read_text())
    vocabulary.update({f'more{index}': len(vocabulary) + index for index in range(3)})
    (elsewhere / 'vocab.json').write_text(json.dumps(vocabulary))
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_stable_diffusion(path, tokenizer=elsewhere)
    (elsewhere / 'vocab.json').write_text('{')
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_stable_diffusion(path, tokenizer=elsewhere)


def test_a_gpu_that_is_not_there(made, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with raises_code(ErrorCode.BAD_REQUEST):
        load_stable_diffusion(tmp_path, device='cuda')


def test_models_of_other_families_are_refused(made, tmp_path):
    source = text_helpers.write_model('ckpt', tmp_path, made)
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_zero123(source)
    posed = helpers.write_layout(tmp_path / 'posed', helpers.networks(), 'A')
    text_helpers.write_tokenizer(posed / 'tokenizer')
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_stable_diffusion(posed)
    inpainting = text_helpers.text_networks(unet_channels=9)
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_stable_diffusion(text_helpers.write_folder(tmp_path / 'inpainting', inpainting))
    two = text_helpers.write_folder(tmp_path / 'xl', made)
    (two / 'text_encoder_2').mkdir()
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_stable_diffusion(two)


@pytest.mark.parametrize('damage', ['missing', 'extra', 'shape'])
def test_tensors_that_do_not_fit_are_refused(damage, made, tmp_path):
    state = text_helpers.ldm_state(made)
    name = 'cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc2.bias'
    if damage == 'missing':
        del state[name]
    elif damage == 'extra':
        state[f'{name}2'] = torch.zeros(3)
    else:
        state[name] = torch.zeros(3)
    text_helpers.write_tokenizer(tmp_path / 'tokenizer')
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_stable_diffusion(helpers.write_ldm(tmp_path / 'x.ckpt', state))


def test_nothing_in_a_pickle_is_executed(made, tmp_path):
    mark = tmp_path / 'mark'
    text_helpers.write_tokenizer(tmp_path / 'tokenizer')
    path = helpers.write_ldm(
        tmp_path / 'x.ckpt', text_helpers.ldm_state(made), callbacks=Payload(mark))
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_stable_diffusion(path)
    torch.save({'<mug>': torch.zeros(64), 'x': Payload(mark)}, tmp_path / 'learned_embeds.bin')
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        read_learned_embeddings(tmp_path / 'learned_embeds.bin')
    assert not mark.exists()


@pytest.mark.parametrize('suffix', ['.bin', '.safetensors'])
def test_clip_loads_and_guides(suffix, tmp_path):
    whole = text_helpers.clip_model()
    folder = text_helpers.write_clip(tmp_path / 'clip', whole, suffix)
    images = torch.rand((2, 3, 40, 40), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    with torch.no_grad():
        seen = whole.vision_model(pixel_values=clip_pixels(images, 28)).pooler_output
        expected = whole.visual_projection(seen)
    import_weights(folder, 'clip-vit-l14')
    for source in (folder, 'clip-vit-l14'):
        encoder = ClipEncoder(load_clip(source))
        with torch.no_grad():
            torch.testing.assert_close(encoder.embed(images), expected)
    for sign, falls in (('fixed', True), ('faithful', False)):
        guidance = ClipGuidance(encoder, expected[:1], sign=sign)
        moved = images[1:] - 0.05 * guidance.gradient(images[1:])
        assert (float(guidance.distance(moved)) < float(guidance.distance(images[1:]))) == falls


def test_clip_of_another_form_is_refused(tmp_path):
    folder = text_helpers.write_clip(tmp_path / 'clip', text_helpers.clip_model())
    config = json.loads((folder / 'config.json').read_text())
    config['vision_config']['num_hidden_layers'] = 3
    (folder / 'config.json').write_text(json.dumps(config))
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_clip(folder)
    with raises_code(ErrorCode.WEIGHTS_MISSING):
        load_clip(tmp_path / 'nothing')
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        load_clip(helpers.write_layout(tmp_path / 'posed', helpers.networks(), 'A'))


@pytest.mark.parametrize('name', ['learned_embeds.bin', 'learned_embeds.safetensors'])
def test_learned_tokens_are_read_as_they_were_written(name, tmp_path):
    one, three = torch.randn(768), torch.randn(3, 768)
    # As textual inversion of diffusers writes it.
    helpers.write_tensors(tmp_path / name, {'<mug>': one.half()})
    found = read_learned_embeddings(tmp_path / name, 768)
    assert torch.equal(found['<mug>'], one.half().float()[None])
    write_learned_embeddings(tmp_path / name, {'<a>': one[None], '<b>': three})
    found = read_learned_embeddings(tmp_path / name, 768)
    assert torch.equal(found['<a>'], one[None]) and torch.equal(found['<b>'], three)
    if name.endswith('.bin'):
        assert torch.load(tmp_path / name, weights_only=True)['<a>'].shape == (768,)
    with raises_code(ErrorCode.BAD_REQUEST):
        read_learned_embeddings(tmp_path / name, 64)


@pytest.mark.parametrize('content', [
    {}, {'<mug>': torch.full((64,), torch.nan)}, {'<mug>': torch.zeros(2, 3, 4)},
    {'<mug>': torch.zeros(64, dtype=torch.int64)}, {'<mug>': 'text'}, {'': torch.zeros(64)},
    {'<mug>': torch.zeros(90, 64)}, {3: torch.zeros(64)}, [torch.zeros(64)],
])
def test_files_without_tokens_are_refused(content, tmp_path):
    torch.save(content, tmp_path / 'learned_embeds.bin')
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        read_learned_embeddings(tmp_path / 'learned_embeds.bin')
    with raises_code(ErrorCode.WEIGHTS_MISSING):
        read_learned_embeddings(tmp_path / 'other.bin')
