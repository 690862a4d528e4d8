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
Seconds and memory of Zero-1-to-3 at its published size, with random weights.

For example::

    python -m lift3d_ros.bench.timing zero123 --dtype bfloat16 --views 4 --steps 2

The networks have the published widths and are built in the chosen precision, without a checkpoint:
time and memory do not depend on the values of weights. One view-step is one row of the denoiser; a
guided step of a view is two. On a CPU rates are of busy seconds, which other processes affect less
than those on the clock.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch

from lift3d_ros.bench.timing import harness
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.geometry import zero123_pose
from lift3d_ros.methods.published_views import SCHEDULES
from lift3d_ros.methods.published_views import view_steps
from lift3d_ros.weights.components import PoseProjection
from lift3d_ros.weights.components import Zero123Components

as_rows = harness.items

#: The published widths (Zero-1-to-3's configuration; OpenAI's ViT-L/14).
UNET: dict[str, Any] = {
    'sample_size': 32, 'in_channels': 8, 'out_channels': 4, 'layers_per_block': 2,
    'block_out_channels': (320, 640, 1280, 1280), 'cross_attention_dim': 768,
    'attention_head_dim': 8,
    'down_block_types': ('CrossAttnDownBlock2D',) * 3 + ('DownBlock2D',),
    'up_block_types': ('UpBlock2D',) + ('CrossAttnUpBlock2D',) * 3,
}
VAE: dict[str, Any] = {
    'block_out_channels': (128, 256, 512, 512), 'layers_per_block': 2, 'latent_channels': 4,
    'down_block_types': ('DownEncoderBlock2D',) * 4, 'up_block_types': ('UpDecoderBlock2D',) * 4,
    'sample_size': 256, 'scaling_factor': 0.18215,
}
CLIP: dict[str, Any] = {
    'hidden_size': 1024, 'intermediate_size': 4096, 'num_hidden_layers': 24,
    'num_attention_heads': 16, 'patch_size': 14, 'image_size': 224, 'projection_dim': 768,
    'hidden_act': 'quick_gelu',
}
SCHEDULE: dict[str, Any] = {
    'beta_start': 0.00085, 'beta_end': 0.012, 'beta_schedule': 'scaled_linear',
    'clip_sample': False, 'set_alpha_to_one': False, 'steps_offset': 1,
}

#: Side of the matrices of the reference product, by device.
MATMUL_SIZE = {'cpu': 4096, 'cuda': 8192}


def full_size_components(dtype: torch.dtype, device: str) -> Zero123Components:
    """Return the published architecture with random weights on a device in a precision."""
    from diffusers import AutoencoderKL
    from diffusers import DDIMScheduler
    from diffusers import UNet2DConditionModel
    from transformers import CLIPVisionConfig
    from transformers import CLIPVisionModelWithProjection

    scheduler = DDIMScheduler(**SCHEDULE)
    default = torch.get_default_dtype()
    # Built in float32 and converted, the networks would need more than twice the memory.
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return Zero123Components(
                unet=UNet2DConditionModel(**UNET),
                vae=AutoencoderKL(**VAE),
                image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP)),
                cc_projection=PoseProjection(),
                scheduler=scheduler,
                family='zero123',
            )
    finally:
        torch.set_default_dtype(default)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('--dtype', choices=('float32', 'bfloat16', 'float16'), default='bfloat16')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument(
        '--views', type=harness.at_least_one, default=4, help='target views in one batch')
    parser.add_argument(
        '--steps', type=harness.at_least_one, default=2, help='denoising steps that are timed')


def run(options: argparse.Namespace) -> harness.Figures:
    """Return the figures by name, as text."""
    return measure(options.dtype, options.device, options.views, options.steps)


@torch.no_grad()
def measure(dtype: str, device: str, views: int, steps: int) -> dict[str, str]:
    """Return the figures by name, as text."""
    from torch.utils.flop_counter import FlopCounterMode

    def build() -> tuple[Zero123Components, Zero123]:
        components = full_size_components(getattr(torch, dtype), device)
        return components, Zero123(
            components, device=device, dtype=getattr(torch, dtype), max_batch=views)

    building, (components, model) = harness.timed(build, device)
    image = torch.rand((3, 256, 256), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    poses = zero123_pose([360.0 * i / views for i in range(views)], 30.0, 0.0, 10.0)
    encode, condition = harness.timed(lambda: model.encode(image), device)
    inputs = model.conditions(condition, poses)
    latents = torch.randn(
        (views, *condition.latent.shape[1:]), generator=torch.Generator().manual_seed(1)
    ).to(device)
    with FlopCounterMode(display=False) as counter:
        model.predict(latents[:1], 500, model.conditions(condition, poses[:1]))
    macs = counter.get_total_flops() / 2.0

    # Products alternate with steps, so that other processes affect both alike.
    product = partial(harness.matmul_rate, dtype, MATMUL_SIZE[device], device, 2)
    matmul, runs = [product()], []
    for step in range(steps):
        runs.append(harness.timed(partial(model.predict, latents, 999 - step, inputs), device)[0])
        matmul.append(product())
    decode, _ = harness.timed(
        lambda: model.codec.decode(latents[:1].to(getattr(torch, dtype))), device)
    seconds = [run.clock / views for run in runs]
    busy = min(run.busy for run in runs) / views
    rate = 2.0 * macs / busy
    per = ', a processor' if device == 'cpu' else ''
    return {
        'device': harness.device_name(device),
        'precision': dtype,
        'parameters: UNet': f'{_millions(components.unet)} M',
        'parameters: VAE': f'{_millions(components.vae)} M',
        'parameters: image encoder': f'{_millions(components.image_encoder)} M',
        'building the networks': f'{building.clock:.1f} s',
        'encoding the input, once': f'{encode.clock:.2f} s',
        'views in a batch': f'{views}',
        f'one view-step, best of {steps}': f'{min(seconds):.3f} s',
        f'one view-step, mean of {steps}': f'{sum(seconds) / steps:.3f} s',
        f'the same in busy time, best of {steps}': f'{busy:.3f} s',
        'decoding one view': f'{decode.clock:.2f} s',
        'multiply-adds of a view-step': f'{macs / 1e9:.1f} G',
        f'rate of the view-step{per}': f'{rate / 1e12:.3f} TFLOP/s',
        f'rate of a matrix product{per}': f'{max(matmul) / 1e12:.3f} TFLOP/s',
        'share of that rate': f'{100.0 * rate / max(matmul):.0f} %',
        'peak memory': f'{harness.peak_memory(device) / 2**30:.2f} GiB',
        **_schedules(components.scheduler, busy, encode.busy, decode.busy),
    }


def _schedules(scheduler: Any, step: float, encode: float, decode: float) -> dict[str, str]:
    """Return the view-steps of One-2-3-45's schedules, and the busy seconds of their views."""
    rows = {}
    for name, schedule in SCHEDULES.items():
        first = view_steps(schedule.first, scheduler)
        second = view_steps(schedule.second, scheduler)
        steps = 8 * first + 32 * second
        # The input and each of the eight views are encoded once, and all forty decoded.
        seconds = steps * step + 9 * encode + 40 * decode
        rows[f'views of One-2-3-45, {name}'] = (
            f'8 x {first} + 32 x {second} = {steps} view-steps, busy {seconds:.0f} s')
    return rows


def _millions(network: torch.nn.Module) -> str:
    return f'{sum(p.numel() for p in network.parameters()) / 1e6:.1f}'
