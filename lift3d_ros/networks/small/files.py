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
A network as a folder: ``config.json`` and ``model.safetensors``, in half precision or eight bits.

In eight bits each row of a matrix (each filter of a convolution) is int8 from -127 to 127 with a
scale for the row, the tensor ``NAME.scale``; vectors stay in half precision.
"""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any
from typing import TypeVar

from safetensors.torch import save_file
import torch
from torch import nn
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.weights.formats.safetensors_files import read_safetensors
from lift3d_ros.weights.formats.safetensors_files import read_shapes
from lift3d_ros.weights.integrity import printable
from lift3d_ros.weights.integrity import read_settings
from lift3d_ros.weights.tensors import check_values

_Module = TypeVar('_Module', bound=nn.Module)

MODEL = 'model.safetensors'
CONFIG = 'config.json'

_SCALE = '.scale'

#: Functions that fill a tensor in place: those of ``nn.init``, and the methods that they call.
_FILLS = frozenset((
    'constant_', 'fill_', 'kaiming_normal_', 'kaiming_uniform_', 'normal_', 'ones_',
    'trunc_normal_', 'uniform_', 'xavier_normal_', 'xavier_uniform_', 'zero_', 'zeros_',
))


def write_network(
    folder: Path, network: nn.Module, config: dict[str, Any], dtype: torch.dtype = torch.float16
) -> None:
    """
    Write a network into a folder, which is created if missing.

    ``dtype`` is that of its numbers in the file; ``torch.int8`` for eight bits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        value = value.detach().cpu()
        if not value.is_floating_point():
            state[name] = value.contiguous().clone()
        elif dtype == torch.int8 and value.dim() > 1:
            state[name], state[name + _SCALE] = _in_eight_bits(value.float())
        else:
            kept = torch.float16 if dtype == torch.int8 else dtype
            state[name] = value.to(kept).contiguous().clone()
    save_file(state, folder / MODEL)
    (folder / CONFIG).write_text(json.dumps(config, indent=1, default=list) + '\n')


def read_network(
    folder: Path,
    make: Callable[[dict[str, Any]], _Module],
    device: torch.device | str = 'cpu',
) -> _Module:
    """
    Return the network of a folder, ready for inference, in float32.

    ``make`` constructs it from its configuration. Raises ``LiftError``: ``WEIGHTS_MISSING``,
    ``WEIGHTS_CORRUPT``.
    """
    settings = read_config(folder)
    network = build_checked(folder, lambda: make(settings))
    stored = network.state_dict()
    computed = [name for name, _ in network.named_buffers() if name not in stored]
    if computed:
        # Only the constructor can fill them.
        network = make(settings)
    read_state(folder, network)
    return network.eval().requires_grad_(False).to(device)


def read_config(folder: Path) -> dict[str, Any]:
    """
    Return the configuration of a network, lists as tuples.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    try:
        content = read_settings(folder / CONFIG)
        return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    except FileNotFoundError as error:
        raise missing(folder / CONFIG) from error
    except OSError as error:
        raise corrupt(folder, error) from error


class _NoInitialWeights(TorchFunctionMode):
    """
    Leaves tensors as they are that are filled in place, as the initial weights of a network.

    On the device ``meta`` there is nothing to fill, but torch imports its compiler to do so.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, '__name__', '') in _FILLS:
            return args[0] if args else kwargs['tensor']
        return func(*args, **(kwargs or {}))


def build_checked(folder: Path, make: Callable[[], _Module]) -> _Module:
    """
    Return the network that ``make`` constructs on the device ``meta``.

    Its shapes have been compared with those of the file, so that damaged settings cannot allocate
    memory. Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    try:
        stored = read_shapes(folder / MODEL)
        with torch.device('meta'), _NoInitialWeights():
            empty = make()
        needed = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
        present = {name: shape for name, shape in stored.items()
                 if name.removesuffix(_SCALE) not in stored or not name.endswith(_SCALE)}
        for name in dict.fromkeys((*needed, *present)):
            if needed.get(name) != present.get(name):
                raise ValueError(f'{name[:200]} has the shape {present.get(name)}, but the '
                                 f'settings require {needed.get(name)}')
        return empty
    except FileNotFoundError as error:
        raise missing(folder / MODEL) from error
    except LiftError:
        raise
    # A constructor can raise any error for settings of a wrong type.
    except Exception as error:
        raise corrupt(folder, error) from error


def read_state(folder: Path, network: nn.Module) -> None:
    """
    Fill a network with what ``write_network`` wrote, in float32.

    The network may be on the device ``meta``, and is on the CPU afterwards. Raises ``LiftError``:
    ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT`` where names or shapes differ.
    """
    try:
        state = read_safetensors(folder / MODEL)
        check_values(folder / MODEL, state)
        own = network.state_dict(keep_vars=True)
        for name, value in list(state.items()):
            if value.dtype == torch.int8:
                value = _by_rows(value.float(), state.pop(name + _SCALE))
            made = own.get(name)
            if made is None or made.shape != value.shape:
                continue
            # In the layout that the network chose, such as channels last, in one pass.
            kind = torch.float32 if value.is_floating_point() else value.dtype
            state[name] = torch.empty_strided(made.shape, made.stride(), dtype=kind).copy_(value)
        network.load_state_dict(state, assign=True)
    except FileNotFoundError as error:
        raise missing(folder / MODEL) from error
    except LiftError:
        raise
    except Exception as error:
        # torch raises errors of several types for tensors of another shape.
        raise corrupt(folder, error) from error


def _in_eight_bits(value: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 numbers of the shape of ``value`` and the scale of each row."""
    largest = value.abs().flatten(1).amax(dim=1)
    scale = torch.where(largest > 0.0, largest / 127.0, 1.0)
    return _by_rows(value, 1.0 / scale).round().to(torch.int8).contiguous(), scale


def _by_rows(value: Tensor, factors: Tensor) -> Tensor:
    return value * factors.view(-1, *(1,) * (value.dim() - 1))


def missing(path: Path) -> LiftError:
    """Return the error for a file that does not exist."""
    return LiftError(
        ErrorCode.WEIGHTS_MISSING,
        f'{path} does not exist; restore the whole folder of the weights.',
    )


def corrupt(folder: Path, error: Exception) -> LiftError:
    """Return the error for a folder whose content is not a network."""
    return LiftError(
        ErrorCode.WEIGHTS_CORRUPT,
        f'{folder} cannot be read as the weights of a network ({type(error).__name__}: '
        f'{printable(str(error))[:500]}); restore its files.',
    )
