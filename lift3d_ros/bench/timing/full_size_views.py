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
What the published size of Zero-1-to-3 and One-2-3-45 costs on this machine, with random weights.

For example::

    python -m lift3d_ros.bench.timing.full_size_views --dtype bfloat16 --views 4 --steps 2
    python -m lift3d_ros.bench.timing.full_size_views --part surface

The networks have the published widths and are made in the precision asked for, without any
checkpoint: time and memory do not depend on what the weights are. One view-step is one row of the
denoiser; a guided step of a view is two. On a processor the share of what a matrix product reaches
is of processor time, which other work on the machine stretches less than the time on the clock.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
import os
import time
from typing import Any

import torch

from lift3d_ros.bench.timing.full_size_surface import measure_surface
from lift3d_ros.bench.timing.full_size_surface import peak_memory
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.geometry import zero123_pose
from lift3d_ros.methods.published_surface import SCHEDULES
from lift3d_ros.methods.published_surface import view_steps
from lift3d_ros.weights.components import PoseProjection
from lift3d_ros.weights.components import Zero123Components

#: The published widths (Zero-1-to-3's configuration; OpenAI's ViT-L/14).
UNET: dict[str, Any] = {
    'sample_size': 32,
    'in_channels': 8,
    'out_channels': 4,
    'block_out_channels': (320, 640, 1280, 1280),
    'layers_per_block': 2,
    'cross_attention_dim': 768,
    'attention_head_dim': 8,
    'down_block_types': ('CrossAttnDownBlock2D',) * 3 + ('DownBlock2D',),
    'up_block_types': ('UpBlock2D',) + ('CrossAttnUpBlock2D',) * 3,
}
VAE: dict[str, Any] = {
    'block_out_channels': (128, 256, 512, 512),
    'down_block_types': ('DownEncoderBlock2D',) * 4,
    'up_block_types': ('UpDecoderBlock2D',) * 4,
    'layers_per_block': 2,
    'latent_channels': 4,
    'sample_size': 256,
    'scaling_factor': 0.18215,
}
CLIP: dict[str, Any] = {
    'hidden_size': 1024,
    'intermediate_size': 4096,
    'num_hidden_layers': 24,
    'num_attention_heads': 16,
    'patch_size': 14,
    'image_size': 224,
    'projection_dim': 768,
    'hidden_act': 'quick_gelu',
}
SCHEDULE: dict[str, Any] = {
    'beta_start': 0.00085,
    'beta_end': 0.012,
    'beta_schedule': 'scaled_linear',
    'clip_sample': False,
    'set_alpha_to_one': False,
    'steps_offset': 1,
}

#: Side of the matrices whose product shows what the machine can do, by kind of device.
_MATMUL = {'cpu': 4096, 'cuda': 8192}


def full_size_components(dtype: torch.dtype, device: str) -> Zero123Components:
    """Return the published architecture with random weights, made where and as they are used."""
    from diffusers import AutoencoderKL
    from diffusers import DDIMScheduler
    from diffusers import UNet2DConditionModel
    from transformers import CLIPVisionConfig
    from transformers import CLIPVisionModelWithProjection

    scheduler = DDIMScheduler(**SCHEDULE)
    default = torch.get_default_dtype()
    # Made in single precision and converted, the networks would need twice the memory and more.
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().splitlines()[0])
    parser.add_argument('--dtype', choices=('float32', 'bfloat16', 'float16'), default='bfloat16')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--views', type=int, default=4, help='target views in one batch')
    parser.add_argument('--steps', type=int, default=2, help='denoising steps that are timed')
    parser.add_argument('--threads', type=int, help='threads of the processor; default: all')
    parser.add_argument('--part', choices=('views', 'surface'), default='views',
                        help='the view model, or the surface network (float32, 32 views)')
    options = parser.parse_args(arguments)
    if options.views < 1 or options.steps < 1:
        parser.error('--views and --steps must be at least 1')
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.part == 'surface':
        rows = measure_surface(options.device)
    else:
        rows = measure(
            getattr(torch, options.dtype), options.device, options.views, options.steps
        )
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f'{name:<{width}}  {value}')
    return 0


def measure(
    dtype: torch.dtype, device: str, views: int, steps: int
) -> list[tuple[str, str]]:
    """Return the rows of the table, name and value."""
    from torch.utils.flop_counter import FlopCounterMode

    load = os.getloadavg()[0]
    start = time.perf_counter()
    components = full_size_components(dtype, device)
    model = Zero123(components, device=device, dtype=dtype, max_batch=views)
    build = time.perf_counter() - start

    image = torch.rand((3, 256, 256), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    poses = zero123_pose([360.0 * i / views for i in range(views)], 30.0, 0.0, 10.0)
    encode, condition = _timed(lambda: model.encode(image), device)
    told = model.conditions(condition, poses)
    latents = torch.randn(
        (views, *condition.latent.shape[1:]), generator=torch.Generator().manual_seed(1)
    ).to(device)
    one = model.conditions(condition, poses[:1])
    with FlopCounterMode(display=False) as counter:
        model.predict(latents[:1], 500, one)
    macs = counter.get_total_flops() / 2.0

    # The products stand between the steps, so that both meet the same other work.
    matmul = [_matmul_rate(dtype, device)]
    taken = []
    for step in range(steps):
        taken.append(_timed(partial(model.predict, latents, 999 - step, told), device)[0])
        matmul.append(_matmul_rate(dtype, device))
    decode, _ = _timed(lambda: model.codec.decode(latents[:1].to(dtype)), device)
    seconds = [timing.clock / views for timing in taken]
    rate = 2.0 * macs * views / min(timing.busy for timing in taken)
    per = ', a processor' if device == 'cpu' else ''
    return [
        ('device', f'{device}, {torch.get_num_threads()} threads' if device == 'cpu' else
         torch.cuda.get_device_name()),
        ('precision', str(dtype).removeprefix('torch.')),
        ('load average before', f'{load:.1f}'),
        ('parameters: UNet', f'{_millions(components.unet)} M'),
        ('parameters: VAE', f'{_millions(components.vae)} M'),
        ('parameters: image encoder', f'{_millions(components.image_encoder)} M'),
        ('building the networks', f'{build:.1f} s'),
        ('encoding the input, once', f'{encode.clock:.2f} s'),
        ('views in a batch', f'{views}'),
        (f'one view-step, best of {steps}', f'{min(seconds):.3f} s'),
        (f'one view-step, mean of {steps}', f'{sum(seconds) / steps:.3f} s'),
        (f'the same in busy time, best of {steps}', f'{2.0 * macs / rate:.3f} s'),
        ('decoding one view', f'{decode.clock:.2f} s'),
        ('multiply-adds of a view-step', f'{macs / 1e9:.1f} G'),
        (f'rate of the view-step{per}', f'{rate / 1e12:.3f} TFLOP/s'),
        (f'rate of a matrix product{per}', f'{max(matmul) / 1e12:.3f} TFLOP/s'),
        ('share of that rate', f'{100.0 * rate / max(matmul):.0f} %'),
        ('peak memory', f'{peak_memory(device) / 2**30:.2f} GiB'),
        *_roads(components.scheduler, 2.0 * macs / rate, encode.busy, decode.busy),
    ]


def _roads(
    scheduler: Any, step: float, encode: float, decode: float
) -> list[tuple[str, str]]:
    """Return the view-steps of One-2-3-45's schedules, and the busy time of their views."""
    rows = []
    for name, schedule in SCHEDULES.items():
        first = view_steps(schedule.first, scheduler)
        second = view_steps(schedule.second, scheduler)
        steps = 8 * first + 32 * second
        # The input and each of the eight views are encoded once, and all forty decoded.
        seconds = steps * step + 9 * encode + 40 * decode
        rows.append((
            f'views of One-2-3-45, {name}',
            f'8 x {first} + 32 x {second} = {steps} view-steps, busy {seconds:.0f} s'))
    return rows


def _millions(network: torch.nn.Module) -> str:
    return f'{sum(p.numel() for p in network.parameters()) / 1e6:.1f}'


@dataclass(frozen=True)
class _Timing:
    """Seconds on the clock, and those that the processor (all threads) or the device worked."""

    clock: float
    busy: float


def _timed(function: Callable[[], Any], device: str) -> tuple[_Timing, Any]:
    """Return how long a call took until the device had done it, and its result."""
    if device == 'cuda':
        torch.cuda.synchronize()
    start, busy = time.perf_counter(), time.process_time()
    with torch.no_grad():
        result = function()
    if device == 'cuda':
        torch.cuda.synchronize()
    clock = time.perf_counter() - start
    return _Timing(clock, clock if device == 'cuda' else time.process_time() - busy), result


def _matmul_rate(dtype: torch.dtype, device: str) -> float:
    """Return the floating-point operations of a large square product for each busy second."""
    n = _MATMUL[device]
    a = torch.randn((n, n), device=device).to(dtype)
    return 2.0 * n**3 / min(_timed(lambda: a @ a, device)[0].busy for _ in range(2))


if __name__ == '__main__':
    raise SystemExit(main())
