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

"""Heads of radiance fields: densities and their initial blobs, networks, backgrounds."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.fields.encodings import frequencies

#: The exponent above which the gradient of ``trunc_exp`` grows no further.
MAX_GRADIENT_EXPONENT = 15.0

DENSITIES = ('trunc_exp', 'softplus')
BLOBS = ('gaussian', 'linear')
ACTIVATIONS = ('relu', 'silu')
COLORS = ('sigmoid', 'none')


class _TruncExp(torch.autograd.Function):
    """The exponential in float32 at least, with a bounded gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.float()
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * x.clamp(max=MAX_GRADIENT_EXPONENT).exp()


def trunc_exp(x: Tensor) -> Tensor:
    """Return exp(x), whose gradient is exp(min(x, 15)); of half precision in float32."""
    result: Tensor = _TruncExp.apply(x)
    return result


def activate_density(x: Tensor, name: str) -> Tensor:
    """
    Return the density for the outputs of a network; ``name`` is one of ``DENSITIES``.

    Outputs of half precision give densities in float32, as optical depths need it.
    """
    if name == 'trunc_exp':
        return trunc_exp(x)
    return functional.softplus(x if x.dtype == torch.float64 else x.float())


@dataclass(frozen=True)
class DensityBlob:
    """
    An initial density at the origin, added before the activation.

    - ``kind``: ``gaussian``: scale exp(-|x|^2 / (2 std^2)) (DreamFusion); ``linear``:
      scale (1 - |x| / std) (Magic3D).
    - ``scale``, ``std``: of points in canonical units.
    """

    kind: str = 'gaussian'
    scale: float = 5.0
    std: float = 0.2

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for an unknown kind, and values out of range."""
        if self.kind not in BLOBS:
            raise ValueError(f'the blob {self.kind!r} is none of {BLOBS}')
        if not (self.std > 0.0 and math.isfinite(self.std) and math.isfinite(self.scale)):
            raise ValueError(f'no blob of the scale {self.scale} and the deviation {self.std}')

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values (n,) at points (n, 3)."""
        square = points.square().sum(dim=1)
        if self.kind == 'gaussian':
            return self.scale * torch.exp(-0.5 * square / self.std**2)
        # The length has no derivative at the origin.
        return self.scale * (1.0 - square.clamp(min=1e-12).sqrt() / self.std)


#: The published blobs, in the units of their scenes: RealFusion (bound 0.75), NeuralLift-360
#: (bound 1; its exponent has no factor of 1/2), threestudio's zero123 and ZeroNVS (radius 2).
REALFUSION_BLOB = DensityBlob('gaussian', 5.0, 0.2)
NEURALLIFT_BLOB = DensityBlob('gaussian', 5.0, 0.2 / math.sqrt(2.0))
ZERO123_BLOB = DensityBlob('linear', 10.0, 0.5)
ZERONVS_BLOB = DensityBlob('linear', 5.0, 0.5)


class SeededLinear(nn.Linear):
    """A linear layer with uniform initial values from a generator."""

    def __init__(
        self, inputs: int, outputs: int, generator: torch.Generator, bias: bool = True
    ) -> None:
        """Make the layer with the range of ``nn.Linear``, 1 / sqrt(inputs)."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = inputs, outputs
        limit = 1.0 / math.sqrt(inputs)

        def values(*shape: int) -> nn.Parameter:
            return nn.Parameter(limit * (2.0 * torch.rand(shape, generator=generator) - 1.0))

        self.weight = values(outputs, inputs)
        self.register_parameter('bias', values(outputs) if bias else None)


class PointNetwork(nn.Module):
    """A multilayer perceptron on features of points."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int,
        width: int,
        seed: int,
        activation: str = 'relu',
        residual: bool = False,
        bias: bool = True,
    ) -> None:
        """
        Make ``hidden`` layers of ``width`` and the output layer.

        With ``residual`` each layer between layers of the same width adds its input. Raises
        ``ValueError`` for an unknown activation and sizes out of range.
        """
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f'the activation {activation!r} is none of {ACTIVATIONS}')
        if not (0 <= hidden <= 16 and 1 <= width <= 4096):
            raise ValueError(f'no network of {hidden} layers of {width}')
        generator = torch.Generator().manual_seed(seed)
        sizes = [inputs, *[width] * hidden, outputs]
        self.layers = nn.ModuleList(
            SeededLinear(a, b, generator, bias)
            for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.activation = functional.relu if activation == 'relu' else functional.silu
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (n, outputs) for features (n, inputs)."""
        for layer in list(self.layers)[:-1]:
            y = self.activation(layer(x))
            x = x + y if self.residual and x.shape == y.shape else y
        result: Tensor = self.layers[-1](x)
        return result


class DirectionBackground(nn.Module):
    """
    A learned background at infinity: a network on encoded directions.

    RealFusion has 6 octaves and a layer of 64, NeuralLift-360 4 octaves and a layer of 32.
    """

    def __init__(
        self, channels: int = 3, octaves: int = 6, width: int = 64, seed: int = 0
    ) -> None:
        """Make the network."""
        super().__init__()
        self.octaves = octaves
        self.network = PointNetwork(3 + 6 * octaves, channels, 1, width, seed)

    def forward(self, directions: Tensor) -> Tensor:
        """Return the colours (n, channels) in [0, 1] of unit directions (n, 3)."""
        return torch.sigmoid(self.network(frequencies(directions, self.octaves)))


class ConstantBackground(nn.Module):
    """The same colour in every direction, learned or fixed."""

    color: Tensor

    def __init__(self, color: tuple[float, ...], learned: bool = False) -> None:
        """Store the colour (channels,)."""
        super().__init__()
        value = torch.tensor(color, dtype=torch.float32)
        if learned:
            self.color = nn.Parameter(value)
        else:
            self.register_buffer('color', value)

    def forward(self, directions: Tensor) -> Tensor:
        """Return the colour (n, channels) for directions (n, 3)."""
        return self.color.to(directions).expand(len(directions), -1)


class RandomBackground:
    """A new random colour at each call, for the image or for each ray."""

    def __init__(
        self, generator: torch.Generator, channels: int = 3, each_ray: bool = False
    ) -> None:
        """Keep the generator, which must be on the device of the rays."""
        self.generator, self.channels, self.each_ray = generator, channels, each_ray

    def __call__(self, directions: Tensor) -> Tensor:
        """Return colours (n, channels) in [0, 1] for directions (n, 3)."""
        count = len(directions) if self.each_ray else 1
        colors = torch.rand(
            (count, self.channels), generator=self.generator, device=directions.device
        )
        return colors.to(directions.dtype).expand(len(directions), -1)
