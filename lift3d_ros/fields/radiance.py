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
Radiance fields: density and albedo at points, learned by rendering (Mildenhall et al. 2020).

Coordinates are canonical: z up, the object around the origin, its longest side about 1. A density
is per canonical unit: a path of length d at density s has the opacity 1 - exp(-s d).
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from typing import Any
from typing import ClassVar

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.errors import bad_request


class RadianceField(nn.Module, ABC):
    """
    A learned field in the cube of half side ``bound`` around the origin.

    - ``kind``: name in descriptions and checkpoints.
    - ``bound``: canonical units; the density outside of the cube is 0, unless ``contracted``.
    - ``contracted``: whether the field continues outside of the cube, with its coordinates
      contracted (``encodings.contract``).
    - ``channels``: of the albedo: 3 for RGB in [0, 1]; 4 for latents, whose range is not bounded.
    - ``separate_albedo``: whether ``albedo`` costs less than ``forward``.

    Subclasses implement ``forward``, and for checkpoints ``describe`` and ``from_description``.
    They take their initial values from a seed, never from the global random state.
    """

    kind: ClassVar[str]
    bound: float
    contracted: bool = False
    channels: int = 3
    separate_albedo: bool = False

    @abstractmethod
    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return the density (n,) >= 0 and the albedo (n, channels) at canonical points (n, 3).

        Raises ``ValueError`` for points of another shape or type.
        """

    def density(self, points: Tensor) -> Tensor:
        """Return the density (n,) >= 0 at canonical points (n, 3); raises as ``forward``."""
        return self(points)[0]

    def albedo(self, points: Tensor) -> Tensor:
        """Return the albedo (n, channels) at canonical points (n, 3); raises as ``forward``."""
        return self(points)[1]

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Return groups of parameters for an optimizer whose basic learning rate is ``rate``."""
        return [{'params': list(self.parameters()), 'lr': rate}]

    def describe(self) -> dict[str, Any]:
        """
        Return what ``from_description`` needs to make a field of this shape, as JSON values.

        Raises ``LiftError(BAD_REQUEST)`` for a kind of field that has no checkpoints.
        """
        raise bad_request(f'A {type(self).__name__} has no checkpoints.')

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> RadianceField:
        """
        Return a field with initial values from the result of ``describe``.

        Raises ``LiftError(BAD_REQUEST)`` for a description that does not fit, and for a kind of
        field that has no checkpoints.
        """
        raise bad_request(f'A {cls.__name__} has no checkpoints.')

    def inside(self, points: Tensor) -> Tensor:
        """Return which points (n, 3) are in the cube of the field, bool (n,)."""
        return points.detach().abs().amax(dim=1) <= self.bound


def check_points(points: Tensor) -> None:
    """Raise ``ValueError`` unless the shape is (n, 3) and the type is floating."""
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f'points have the shape {tuple(points.shape)}, not (n, 3)')
    if not points.is_floating_point():
        raise ValueError(f'points have the type {points.dtype}, not a floating one')


def density_normals(
    field: RadianceField, points: Tensor, epsilon: float | None = None
) -> Tensor:
    """
    Return the unit normals (n, 3) at canonical points (n, 3), against the gradient of the density.

    ``epsilon`` is the step of central differences in canonical units; None for derivatives by
    autograd. Both are differentiable with respect to the parameters if gradients are enabled. The
    normal is 0 where the density is constant. Raises ``ValueError`` for a step that is not
    positive.
    """
    if epsilon is not None:
        if not epsilon > 0.0:
            raise ValueError(f'the step {epsilon} of the differences is not positive')
        check_points(points)
        offsets = epsilon * torch.eye(3, dtype=points.dtype, device=points.device)
        both = torch.cat([points + offset for offset in torch.cat([offsets, -offsets])])
        density = field.density(both).view(2, 3, -1)
        gradient = (density[0] - density[1]).T / (2.0 * epsilon)
    else:
        # A graph of the parameters is only wanted where the caller differentiates.
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            at = points if points.requires_grad else points.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(
                field.density(at).sum(), at, create_graph=wanted
            )
    return -functional.normalize(gradient, dim=1, eps=1e-12)
