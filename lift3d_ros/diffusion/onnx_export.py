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
The small networks as ONNX files, for runtimes such as ONNX Runtime and TensorRT.

``lift3d weights export --format onnx`` writes a file for each network, in float32, with inputs of
the sizes of a lift. What is between the networks (rendering, evidence, meshing) is not in them.
Interpolation in volumes needs operators of version 20, which only the surface network has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
import warnings

import torch
from torch import nn
from torch import Tensor

from lift3d_ros.diffusion.render_conditioning import conditioning_channels
from lift3d_ros.diffusion.render_conditioning import LATENT_PIXELS
from lift3d_ros.diffusion.render_conditioning import PATCH
from lift3d_ros.diffusion.small import read_small
from lift3d_ros.errors import bad_request
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.networks.small.coarse_inputs import PICTURE_SIZE
from lift3d_ros.networks.small.surface_network import Box
from lift3d_ros.networks.small.surface_network import read_surface
from lift3d_ros.networks.small.surface_network import Sources
from lift3d_ros.networks.small.volume import CoarseVolume

#: Version of the operators.
OPSET = 20

#: Views of the denoiser in the example inputs; their number is free in the file.
_VIEWS = 8


@dataclass(frozen=True, eq=False)
class Exported:
    """
    A network with example inputs, and the names of its inputs and outputs.

    ``batched`` are the inputs and outputs whose first dimension is free.
    """

    name: str
    network: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    batched: tuple[str, ...] = ()


def networks(folder: Path) -> Iterator[Exported]:
    """
    Yield the networks of a folder of small weights.

    The inputs of one network are outputs of others, as in a lift, where it needs them. Raises
    ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    small = read_small(folder)
    parts = small.components
    draw = torch.Generator().manual_seed(0)
    view = _example_view(draw)
    channels = conditioning_channels(small.coarse.config.features)
    latent = 4 * PATCH**2
    side = parts.image_encoder.model.config.image_size
    with torch.no_grad():
        volume = small.coarse(**view)
    yield Exported('coarse', _Coarse(small.coarse), view, ('density', 'color', 'features'))
    yield Exported(
        'image_encoder', _Field(parts.image_encoder.model, 'image_embeds'),
        {'pixel_values': torch.randn((1, 3, side, side), generator=draw)}, ('image_embeds',))
    width = parts.cc_projection.embedding_dim
    yield Exported(
        'pose_projection', parts.cc_projection,
        {'embedding': torch.randn((_VIEWS, width), generator=draw),
         'pose': torch.randn((_VIEWS, parts.cc_projection.pose_dim), generator=draw)},
        ('token',), ('embedding', 'pose', 'token'))
    pixels = (LATENT_PIXELS, LATENT_PIXELS)
    yield Exported(
        'denoiser', _Field(parts.unet, 'sample'),
        {'latents': torch.randn((_VIEWS, 2 * latent + channels, *pixels), generator=draw),
         'timestep': torch.full((_VIEWS,), 999),
         'tokens': torch.randn((_VIEWS, 1, width), generator=draw)},
        ('prediction',), ('latents', 'timestep', 'tokens', 'prediction'))
    if small.monocular is not None:
        yield Exported(
            'monocular', small.monocular,
            {name: value for name, value in view.items() if name != 'depth'},
            ('relative_depth', 'log_sides'))
    if small.elevation is not None:
        yield Exported('elevation', small.elevation, {'picture': view['picture']}, ('logits',))
    if (folder / 'surface').is_dir():
        yield Exported(
            'surface', _Surface(read_surface(folder / 'surface')),
            {'density': volume.density, 'color': volume.color, 'features': volume.features,
             'box_centre': torch.zeros((1, 3)), 'box_side': torch.ones(1), **view},
            ('logit', 'surface_color'))


def export_onnx(folder: Path, out: Path) -> list[Path]:
    """
    Write the networks of a folder of small weights to ``out`` as NAME.onnx; return the files.

    Raises ``LiftError``: ``BAD_REQUEST`` without the package onnx or for a folder that cannot be
    written, and as ``networks``.
    """
    try:
        import onnx
    except ImportError as error:
        raise bad_request(
            'The export needs the package onnx, which is not installed: pip install onnx, or '
            "pip install 'lift3d_ros[onnx]'.") from error
    del onnx
    files = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for one in networks(folder):
            files.append(out / f'{one.name}.onnx')
            _write(one, files[-1])
    except OSError as error:
        raise bad_request(f'{out} cannot be written: {error.strerror or error}.') from error
    return files


@torch.no_grad()
def _write(one: Exported, path: Path) -> None:
    free = {name: {0: 'views'} for name in one.batched}
    with warnings.catch_warnings(), _no_memory_formats():
        # The tracer warns of shapes that are constant, which they are.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            one.network.eval(), tuple(one.inputs.values()), str(path), dynamo=False,
            opset_version=OPSET, input_names=list(one.inputs), output_names=list(one.outputs),
            dynamic_axes=free)


@contextmanager
def _no_memory_formats() -> Iterator[None]:
    """Let the exporter ignore layouts such as channels last, which ONNX does not have."""
    name = 'aten::contiguous'
    torch.onnx.register_custom_op_symbolic(name, lambda graph, x, memory_format: x, OPSET)
    try:
        yield
    finally:
        torch.onnx.unregister_custom_op_symbolic(name, OPSET)


def _example_view(draw: torch.Generator) -> dict[str, Tensor]:
    """Return the inputs of the coarse network for a disc with depth at the canonical origin."""
    size = PICTURE_SIZE
    v, u = torch.meshgrid(torch.arange(size), torch.arange(size), indexing='ij')
    inside = (u - size / 2) ** 2 + (v - size / 2) ** 2 < (0.3 * size) ** 2
    color = torch.where(inside, torch.rand((3, size, size), generator=draw), 1.0)
    return {
        'picture': torch.cat([color, inside[None].float()])[None],
        'depth': torch.where(inside, 1.5, 2.2)[None],
        'focal': torch.full((1, 2), 1.1 * size), 'centre': torch.full((1, 2), 0.5 * size - 0.5),
        'pose': torch.from_numpy(orbit_pose(0.0, 30.0, 1.7)).float()[None],
        'flags': torch.ones((1, 2)),
    }


class _Field(nn.Module):
    """A network whose result is a field of its output."""

    def __init__(self, network: nn.Module, field: str) -> None:
        super().__init__()
        self.network, self.field = network, field

    def forward(self, *inputs: Tensor) -> Any:
        return getattr(self.network(*inputs), self.field)


class _Coarse(nn.Module):
    """The coarse network with tensors as its result; the sharpness is a constant of it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        volume: CoarseVolume = self.network(*inputs)
        return volume.density, volume.color, volume.features


class _Surface(nn.Module):
    """The surface network for one view with depth, with tensors as arguments and result."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, density: Tensor, color: Tensor, features: Tensor, box_centre: Tensor,
        box_side: Tensor, picture: Tensor, depth: Tensor, focal: Tensor, centre: Tensor,
        pose: Tensor, flags: Tensor,
    ) -> tuple[Tensor, Tensor]:
        volume = CoarseVolume(density, color, features, density.new_zeros(2))
        view = Sources(picture[:, None], focal[:, None], centre[:, None], pose[:, None],
                       depth[:, None])
        field = self.network(volume, Box(box_centre, box_side), view, None, flags)
        return field.logit, field.color
