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

"""Text-conditioned latent diffusion and CLIP in the published formats, made of random numbers."""

from __future__ import annotations

import json

from diffusers import AutoencoderKL
from diffusers import UNet2DConditionModel
import torch
from transformers import CLIPConfig
from transformers import CLIPModel
from transformers import CLIPTextConfig
from transformers import CLIPTextModel
import weights_helpers as helpers

#: Words of the tests' vocabulary; as in CLIP's, a word ends with a mark, and letters are tokens.
WORDS = ('object', 'image', 'high', 'resolution', 'view', 'front', 'side', 'back', 'overhead',
         'bottom', 'mug')


def write_tokenizer(folder):
    """Write a tokenizer of the published form with a small vocabulary; return its size."""
    letters = [chr(code) for code in range(33, 127)]
    tokens = letters + [f'{letter}</w>' for letter in letters]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f'{word[-1]}</w>']
        while len(parts) > 1:
            merge = ' '.join(parts[:2])
            parts = [''.join(parts[:2]), *parts[2:]]
            if merge not in merges:
                merges.append(merge)
                tokens.append(parts[0])
    tokens += ['<|startoftext|>', '<|endoftext|>']
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'vocab.json').write_text(
        json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / 'merges.txt').write_text('\n'.join(['#version: 0.2', *merges]) + '\n')
    return len(tokens)


def vocabulary():
    """Return the size of the tests' vocabulary."""
    merged = {word[:end] for word in WORDS for end in range(2, len(word))}
    return 2 * 94 + len(merged | {f'{word}</w>' for word in WORDS}) + 2


def text_networks(*, full=False, seed=0, unet_channels=4):
    """Return the networks of Stable Diffusion 1: small and random, or of published width."""
    torch.manual_seed(seed)
    widths, vae_widths, text = ((320, 640, 1280, 1280), (128, 256, 512, 512), {
        'vocab_size': 49408, 'hidden_size': 768, 'intermediate_size': 3072,
        'num_hidden_layers': 12, 'num_attention_heads': 12, 'bos_token_id': 49406,
        'eos_token_id': 49407, 'pad_token_id': 49407,
    }) if full else ((32, 32, 64, 64), (32, 32, 64, 64), {
        'vocab_size': vocabulary(), 'hidden_size': 64, 'intermediate_size': 96,
        'num_hidden_layers': 2, 'num_attention_heads': 1, 'bos_token_id': vocabulary() - 2,
        'eos_token_id': vocabulary() - 1, 'pad_token_id': vocabulary() - 1,
    })
    with torch.device('meta' if full else 'cpu'):
        made = {
            'unet': UNet2DConditionModel(
                sample_size=64, in_channels=unet_channels, out_channels=4,
                block_out_channels=widths, cross_attention_dim=text['hidden_size'],
                attention_head_dim=8),
            'vae': AutoencoderKL(
                block_out_channels=vae_widths, layers_per_block=2, latent_channels=4,
                down_block_types=('DownEncoderBlock2D',) * 4,
                up_block_types=('UpDecoderBlock2D',) * 4, sample_size=512),
            'text_encoder': CLIPTextModel(CLIPTextConfig(
                max_position_embeddings=77, hidden_act='quick_gelu', **text)),
        }
    for network in made.values():
        network.eval()
        if not full:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return made


def text_states(made):
    """Return the tensors of the text encoder by their published names."""
    return {f'text_model.{name.removeprefix("text_model.")}': tensor
            for name, tensor in helpers.published(made['text_encoder']).items()}


def ldm_state(made):
    """Return the state dict of an original checkpoint without a moving average."""
    state = {f'model.diffusion_model.{helpers.old_unet_name(name)}': tensor
             for name, tensor in helpers.published(made['unet']).items()}
    for name, tensor in helpers.published(made['vae']).items():
        old = helpers.old_vae_name(name)
        if '.attn_1.' in old and old.endswith('weight') and '.norm.' not in old:
            tensor = tensor[:, :, None, None]
        state[f'first_stage_model.{old}'] = tensor
    for name, tensor in text_states(made).items():
        state[f'cond_stage_model.transformer.{name}'] = tensor
    state['cond_stage_model.transformer.text_model.embeddings.position_ids'] = (
        torch.arange(77)[None])
    return state


def write_folder(folder, made, *, suffix='.safetensors'):
    """Write a diffusers folder of Stable Diffusion with its tokenizer; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    index = {'_class_name': 'StableDiffusionPipeline', '_diffusers_version': '0.6.0'}
    (folder / 'model_index.json').write_text(json.dumps(index))
    helpers.scheduler().save_pretrained(folder / 'scheduler')
    write_tokenizer(folder / 'tokenizer')
    for part, network in made.items():
        (folder / part).mkdir(exist_ok=True)
        tensors = helpers.published(network)
        config = {**network.config, '_class_name': type(network).__name__} if (
            part != 'text_encoder') else {
                **network.config.to_dict(), 'architectures': ['CLIPTextModel']}
        stem = 'diffusion_pytorch_model'
        if part == 'text_encoder':
            tensors = text_states(made)
            tensors['text_model.embeddings.position_ids'] = torch.arange(77)[None]
            stem = 'pytorch_model' if suffix == '.bin' else 'model'
        (folder / part / 'config.json').write_text(json.dumps(config, default=list))
        helpers.write_tensors(folder / part / f'{stem}{suffix}', tensors)
    return folder


def write_model(kind, folder, made):
    """Write networks as ``folder .bin``, ``folder .safetensors``, or as one file by its suffix."""
    if kind.startswith('folder'):
        return write_folder(folder / 'sd', made, suffix=kind.split()[1])
    write_tokenizer(folder / 'tokenizer')
    if kind.endswith('safetensors'):
        return helpers.write_tensors(folder / 'v1-5.safetensors', ldm_state(made))
    return helpers.write_ldm(folder / 'v1-5.ckpt', ldm_state(made))


def clip_model(seed=0):
    """Return a small whole CLIP."""
    torch.manual_seed(seed)
    return CLIPModel(CLIPConfig(
        text_config={'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 1,
                     'num_attention_heads': 2, 'vocab_size': 99, 'bos_token_id': 97,
                     'eos_token_id': 98, 'pad_token_id': 98},
        vision_config={'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2,
                       'num_attention_heads': 2, 'image_size': 28, 'patch_size': 14},
        projection_dim=24)).eval()


def write_clip(folder, model, suffix='.safetensors'):
    """Write a whole CLIP as transformers did in 2022; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**model.config.to_dict(), 'architectures': ['CLIPModel'], 'model_type': 'clip'}
    (folder / 'config.json').write_text(json.dumps(config, default=str))
    tensors = {**helpers.published(model),
               'vision_model.embeddings.position_ids': torch.arange(5)[None]}
    stem = 'pytorch_model' if suffix == '.bin' else 'model'
    helpers.write_tensors(folder / f'{stem}{suffix}', tensors)
    return folder
