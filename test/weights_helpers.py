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
Checkpoints in the published formats, made here of random numbers.

The way from the names of diffusers to those of the original code is written anew here, from the
description of the format and not from ``lift3d_ros.weights``, so that the one checks the other.
"""

from __future__ import annotations

import hashlib
import json
import re

from diffusers import AutoencoderKL
from diffusers import DDIMScheduler
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
import torch
from transformers import CLIPVisionConfig
from transformers import CLIPVisionModelWithProjection

from lift3d_ros.weights.components import PoseProjection

PARTS = ('unet', 'vae', 'image_encoder', 'cc_projection')

#: SHA-256 of :func:`digest_of_names` of what the authors' own networks hold: UNet, autoencoder and
#: CLIP ViT-L/14 (without its text transformer) of the configuration
#: ``sd-objaverse-finetune-c_concat-256.yaml``, the pose projection, the buffers of the schedule.
PUBLISHED_NAMES = 'ec86f251403bb96363d971c85ddf148b9783002893501114d0ab1a89eadbac41'

_SCHEDULE = (
    'betas', 'alphas_cumprod', 'alphas_cumprod_prev', 'sqrt_alphas_cumprod',
    'sqrt_one_minus_alphas_cumprod', 'log_one_minus_alphas_cumprod', 'sqrt_recip_alphas_cumprod',
    'sqrt_recipm1_alphas_cumprod', 'posterior_variance', 'posterior_log_variance_clipped',
    'posterior_mean_coef1', 'posterior_mean_coef2', 'logvar',
)


def networks(*, full=False, pose=4, seed=0, unet_channels=8):
    """Return the networks of a model: small and random, or of published width and without data."""
    torch.manual_seed(seed)
    token = 768 if full else 24
    widths, vae_widths = ((320, 640, 1280, 1280), (128, 256, 512, 512)) if full else (
        (32, 32, 64, 64), (32, 32, 64, 64))
    clip = {
        'hidden_size': 1024, 'intermediate_size': 4096, 'num_hidden_layers': 24,
        'num_attention_heads': 16, 'image_size': 224,
    } if full else {
        'hidden_size': 128, 'intermediate_size': 160, 'num_hidden_layers': 2,
        'num_attention_heads': 2, 'image_size': 56,
    }
    with torch.device('meta' if full else 'cpu'):
        made = {
            'unet': UNet2DConditionModel(
                sample_size=32, in_channels=unet_channels, out_channels=4,
                block_out_channels=widths, cross_attention_dim=token, attention_head_dim=8),
            'vae': AutoencoderKL(
                block_out_channels=vae_widths, layers_per_block=2, latent_channels=4,
                down_block_types=('DownEncoderBlock2D',) * 4,
                up_block_types=('UpDecoderBlock2D',) * 4, sample_size=256),
            'image_encoder': CLIPVisionModelWithProjection(CLIPVisionConfig(
                projection_dim=token, patch_size=14, hidden_act='quick_gelu', **clip)),
            'cc_projection': PoseProjection(token, pose),
        }
    for network in made.values():
        network.eval()
        if not full:
            # Also what starts as zeros or ones must be told from its neighbours.
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return made


def scheduler():
    """Return the published noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear', steps_offset=1,
        clip_sample=False, set_alpha_to_one=False)


def outputs(made):
    """Run every network on fixed input; return what comes out."""
    made_input = torch.Generator().manual_seed(5)

    def noise(*shape):
        return torch.randn(*shape, generator=made_input)

    unet, clip = made['unet'], made['image_encoder'].config
    token = unet.config.cross_attention_dim
    pose = made['cc_projection'].projection.in_features - token
    with torch.no_grad():
        return {
            'unet': unet(noise(2, unet.config.in_channels, 8, 8), torch.tensor([7, 800]),
                         noise(2, 1, token)).sample,
            'encoder': made['vae'].encode(noise(1, 3, 32, 32)).latent_dist.parameters,
            'decoder': made['vae'].decode(noise(1, 4, 8, 8)).sample,
            'image_encoder': made['image_encoder'](
                noise(1, 3, clip.image_size, clip.image_size)).image_embeds,
            'cc_projection': made['cc_projection'](noise(3, token), noise(3, pose)),
        }


def parts_of(components):
    """Return the networks of loaded components by name."""
    return {part: getattr(components, part) for part in PARTS}


def published(network):
    """Return the tensors of a network; where it has no data, stand-ins that take no room."""
    return {name: torch.zeros(()).expand(tensor.shape) if tensor.is_meta else tensor
            for name, tensor in network.state_dict().items()}


def is_stand_in(tensor):
    """Return whether a tensor is one number that is said to be many."""
    return tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size()


def ldm_state(made, *, ema=True, plain_offset=0.25):
    """
    Return the state dict of an original checkpoint with these networks.

    With ``ema`` the moving average has the UNet's weights, and the plain ones are off.
    """
    state = {}
    unet = {old_unet_name(name): tensor for name, tensor in published(made['unet']).items()}
    for name, tensor in unet.items():
        off = ema and not is_stand_in(tensor)
        state[f'model.diffusion_model.{name}'] = tensor + plain_offset if off else tensor
    if ema:
        for name, tensor in unet.items():
            state['model_ema.diffusion_model' + name.replace('.', '')] = tensor
        state['model_ema.decay'] = torch.tensor(0.9999)
        state['model_ema.num_updates'] = torch.tensor(105000, dtype=torch.int32)
    for name, tensor in published(made['vae']).items():
        old = old_vae_name(name)
        if '.attn_1.' in old and old.endswith('weight') and '.norm.' not in old:
            tensor = tensor[:, :, None, None]
        state[f'first_stage_model.{old}'] = tensor
    state |= old_clip(published(made['image_encoder']))
    width = made['image_encoder'].config.projection_dim
    state |= {f'cond_stage_model.model.{name}': torch.zeros(()).expand(shape) for name, shape in {
        'positional_embedding': (77, width), 'text_projection': (width, width),
        'logit_scale': (), 'token_embedding.weight': (49408, width),
        'ln_final.weight': (width,), 'ln_final.bias': (width,),
    }.items()}
    for name, tensor in published(made['cc_projection']).items():
        state[name.replace('projection', 'cc_projection')] = tensor
    return state | {name: torch.zeros(1000) for name in _SCHEDULE}


def old_unet_name(name):
    """Return what the original code calls a tensor of the UNet (four levels, two layers)."""
    name = re.sub(
        r'^down_blocks\.(\d)\.(resnets|attentions)\.(\d)',
        lambda m: f'input_blocks.{3 * int(m[1]) + int(m[3]) + 1}.{int(m[2] == "attentions")}',
        name)
    name = re.sub(r'^down_blocks\.(\d)\.downsamplers\.0\.conv',
                  lambda m: f'input_blocks.{3 * int(m[1]) + 3}.0.op', name)
    name = re.sub(
        r'^up_blocks\.(\d)\.(resnets|attentions)\.(\d)',
        lambda m: f'output_blocks.{3 * int(m[1]) + int(m[3])}.{int(m[2] == "attentions")}', name)
    # The first of the upward blocks has no attention before its upsampling.
    name = re.sub(r'^up_blocks\.(\d)\.upsamplers\.0',
                  lambda m: f'output_blocks.{3 * int(m[1]) + 2}.{1 if m[1] == "0" else 2}', name)
    for new, old in (
        ('mid_block.resnets.0', 'middle_block.0'), ('mid_block.attentions.0', 'middle_block.1'),
        ('mid_block.resnets.1', 'middle_block.2'), ('conv_in.', 'input_blocks.0.0.'),
        ('time_embedding.linear_1', 'time_embed.0'), ('time_embedding.linear_2', 'time_embed.2'),
        ('conv_norm_out', 'out.0'), ('conv_out', 'out.2'), ('time_emb_proj', 'emb_layers.1'),
        ('conv_shortcut', 'skip_connection'),
    ):
        name = name.replace(new, old)
    if 'transformer_blocks' not in name:
        name = re.sub(r'\.norm1\.(\w+)$', r'.in_layers.0.\1', name)
        name = re.sub(r'\.conv1\.(\w+)$', r'.in_layers.2.\1', name)
        name = re.sub(r'\.norm2\.(\w+)$', r'.out_layers.0.\1', name)
        name = re.sub(r'\.conv2\.(\w+)$', r'.out_layers.3.\1', name)
    return name


def old_vae_name(name):
    """Return what the original code calls a tensor of the autoencoder (four levels)."""
    name = re.sub(r'^encoder\.down_blocks\.(\d)\.resnets', r'encoder.down.\1.block', name)
    name = re.sub(r'^encoder\.down_blocks\.(\d)\.downsamplers\.0', r'encoder.down.\1.downsample',
                  name)
    name = re.sub(r'^decoder\.up_blocks\.(\d)\.',
                  lambda m: f'decoder.up.{3 - int(m[1])}.', name)
    name = re.sub(r'^(decoder\.up\.\d)\.resnets', r'\1.block', name)
    name = name.replace('.upsamplers.0.', '.upsample.').replace('conv_shortcut', 'nin_shortcut')
    name = name.replace('mid_block.resnets.0', 'mid.block_1')
    name = name.replace('mid_block.resnets.1', 'mid.block_2')
    for new, old in (('group_norm', 'norm'), ('to_q', 'q'), ('to_k', 'k'), ('to_v', 'v'),
                     ('to_out.0', 'proj_out')):
        name = name.replace(f'mid_block.attentions.0.{new}.', f'mid.attn_1.{old}.')
    return name.replace('conv_norm_out', 'norm_out')


def old_clip(tensors):
    """Return CLIP's visual tower as OpenAI names it, with queries, keys and values in one."""
    renames = (
        ('vision_model.embeddings.class_embedding', 'class_embedding'),
        ('vision_model.embeddings.patch_embedding.', 'conv1.'),
        ('vision_model.embeddings.position_embedding.weight', 'positional_embedding'),
        ('vision_model.pre_layrnorm.', 'ln_pre.'), ('vision_model.post_layernorm.', 'ln_post.'),
        ('vision_model.encoder.layers.', 'transformer.resblocks.'),
        ('.layer_norm1.', '.ln_1.'), ('.layer_norm2.', '.ln_2.'), ('.mlp.fc1.', '.mlp.c_fc.'),
        ('.mlp.fc2.', '.mlp.c_proj.'), ('.self_attn.out_proj.', '.attn.out_proj.'),
    )
    old = {}
    for name, tensor in tensors.items():
        if name == 'visual_projection.weight':
            old['proj'] = tensor.T if is_stand_in(tensor) else tensor.T.contiguous()
            continue
        if match := re.fullmatch(r'(.*\.layers\.\d+)\.self_attn\.q_proj\.(\w+)', name):
            three = [tensors[f'{match[1]}.self_attn.{letter}_proj.{match[2]}'] for letter in 'qkv']
            # Stand-ins stay such.
            whole = tensor[:1].expand(3 * len(tensor), *tensor.shape[1:]) if (
                is_stand_in(tensor)) else torch.cat(three)
            name, tensor = f'{match[1]}.attn.in_proj_{match[2]}', whole
        elif re.search(r'\.self_attn\.[kv]_proj\.', name):
            continue
        for new, other in renames:
            name = name.replace(new, other)
        old[name] = tensor
    return {f'cond_stage_model.model.visual.{name}': tensor for name, tensor in old.items()}


def digest_of_names(state):
    """Return a digest of names and shapes."""
    lines = [f'{name} {list(tensor.shape)}' for name, tensor in sorted(state.items())]
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def write_ldm(path, state, **extras):
    """Write an original checkpoint as the trainer does; return its path."""
    torch.save({'state_dict': state, 'global_step': 105000, 'epoch': 3, **extras}, path)
    return path


def write_layout(folder, made, layout, *, suffix='.bin', dtype=None, sample_size=32):
    """
    Write a diffusers folder of layout A or B, as the versions of 2023 did; return it.

    ``suffix`` is that of the weights' files, such as ``.bin`` or ``.fp16.safetensors``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pose = 'cc_projection' if layout == 'A' else 'clip_camera_projection'
    pipeline = 'Zero1to3StableDiffusionPipeline' if layout == 'A' else 'Zero123Pipeline'
    index = {'_class_name': pipeline, '_diffusers_version': '0.18.0.dev0'}
    (folder / 'model_index.json').write_text(json.dumps(index))
    scheduler().save_pretrained(folder / 'scheduler')
    for part, network in made.items():
        tensors = published(network)
        place = folder / (pose if part == 'cc_projection' else part)
        place.mkdir(exist_ok=True)
        if part == 'cc_projection':
            config = {'_class_name': 'CCProjection', 'in_channel': 772, 'out_channel': 768}
            if layout == 'B':
                config = {'_class_name': 'CLIPCameraProjection', 'embedding_dim': 768,
                          'additional_embeddings': 4}
                tensors = {name.replace('projection.', 'proj.'): tensor
                           for name, tensor in tensors.items()}
        elif part == 'image_encoder':
            config = {**network.config.to_dict(), 'torch_dtype': 'float32',
                      'architectures': ['CLIPVisionModelWithProjection']}
            positions = network.config.image_size**2 // network.config.patch_size**2 + 1
            tensors['vision_model.embeddings.position_ids'] = torch.arange(positions)[None]
        else:
            config = {**network.config, '_class_name': type(network).__name__}
            config['sample_size'] = sample_size if part == 'unet' else 256
        (place / 'config.json').write_text(json.dumps(config, default=list))
        stem = 'diffusion_pytorch_model'
        if part == 'image_encoder':
            stem = 'pytorch_model' if suffix.endswith('.bin') else 'model'
        if dtype is not None:
            tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                       for name, tensor in tensors.items()}
        write_tensors(place / f'{stem}{suffix}', tensors)
    return folder


def write_tensors(path, tensors):
    """Write tensors with torch, or as safetensors if the path says so; return the path."""
    if path.suffix == '.safetensors':
        # Of tensors that share their numbers the library writes none.
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    else:
        torch.save(dict(tensors), path)
    return path
