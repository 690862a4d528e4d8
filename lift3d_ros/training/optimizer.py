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
The optimiser of training: Muon for the inner layers of a network, AdamW for the rest.

The step of Muon (Jordan et al., 2024) is the orthogonal matrix nearest to the momentum of a weight
matrix. The small networks reach the loss of AdamW in fewer steps with it.
"""

from __future__ import annotations

from typing import Any
from typing import cast

import torch
from torch import nn
from torch import Tensor

#: Fewest rows and columns of a matrix for Muon; smaller ones are heads and first layers, which it
#: trains badly.
_MIN_MATRIX_SIDE = 32

_LAYERS = (
    nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)


class SplitOptimizer:
    """Both optimisers with the interface of one."""

    def __init__(self, model: nn.Module, rate: float, decay: float) -> None:
        """
        Optimise the trainable parameters of ``model`` in place.

        ``rate`` is that of AdamW; that of Muon is scaled to steps of equal RMS (Liu et al., Muon
        is Scalable for LLM Training, 2025).
        """
        self._weights, others = _split(model)
        # Muon takes matrices: views of the weights, a filter in each row.
        self._orders = [_order(weight) for weight in self._weights]
        self._matrices = []
        for weight, order in zip(self._weights, self._orders, strict=True):
            matrix = _matrix(weight.data, order)
            assert matrix.data_ptr() == weight.data_ptr(), 'a copy would not be trained'
            self._matrices.append(nn.Parameter(matrix))
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=decay)
        ]
        if self._matrices:
            self._optimizers.append(
                torch.optim.Muon(
                    self._matrices, lr=rate, weight_decay=decay,
                    adjust_lr_fn='match_rms_adamw',
                )
            )

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group['lr'] = rate

    def zero_grad(self) -> None:
        """Clear the gradients."""
        self._optimizers[0].zero_grad(set_to_none=True)
        for weight in self._weights:
            weight.grad = None

    def step(self) -> None:
        """Update the parameters."""
        for weight, order, matrix in zip(
            self._weights, self._orders, self._matrices, strict=True
        ):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad, order)
        for optimizer in self._optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state for ``load_state_dict``."""
        return {
            type(optimizer).__name__: optimizer.state_dict() for optimizer in self._optimizers
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore ``state``; raises ``KeyError`` for that of another optimiser."""
        for optimizer in self._optimizers:
            optimizer.load_state_dict(state[type(optimizer).__name__])


def _split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the weights for Muon, and the other trainable parameters."""
    inner: list[nn.Parameter] = [
        cast(nn.Parameter, module.weight) for module in model.modules()
        if isinstance(module, _LAYERS)
        and module.weight.requires_grad
        and module.weight.shape[0] >= _MIN_MATRIX_SIDE
        and module.weight[0].numel() >= _MIN_MATRIX_SIDE
    ]
    known = {id(weight) for weight in inner}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    return inner, others


def _order(weight: Tensor) -> tuple[int, ...]:
    """Return the axes of a weight but the first in memory order."""
    stride = weight.stride()
    return tuple(sorted(range(1, weight.ndim), key=lambda axis: -stride[axis]))


def _matrix(weight: Tensor, order: tuple[int, ...]) -> Tensor:
    """Return (n, ...) as (n, m), axes in this order."""
    return weight.permute(0, *order).reshape(weight.shape[0], -1)
