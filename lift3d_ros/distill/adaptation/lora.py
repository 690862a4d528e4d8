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
LoRA by peft: small matrices beside the attention of the denoiser learn the one picture.

Low-rank adaptation (Hu et al., 2022) takes a hundredth of the memory of a whole fine-tuning. peft
is optional: ``pip install peft``.
"""

from __future__ import annotations

from collections.abc import Callable
import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lift3d_ros.distill.adaptation.imagic import descend
from lift3d_ros.distill.adaptation.inversion import Pictures
from lift3d_ros.distill.priors.latent_diffusion import LatentDiffusionPrior
from lift3d_ros.errors import bad_request
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.weights.formats.checkpoint import read_tensors
from lift3d_ros.weights.formats.safetensors_files import write_safetensors
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.integrity import corrupt_on_error
from lift3d_ros.weights.tensors import check_values

#: The linear layers of the attention of diffusers' denoisers.
_ATTENTION = ('to_q', 'to_k', 'to_v', 'to_out.0')


@dataclass(frozen=True)
class LoraSettings:
    """``rank`` of the matrices, their factor ``alpha`` / rank, steps and rate of Adam."""

    rank: int = 4
    alpha: float = 4.0
    steps: int = 500
    rate: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        if self.rank < 1 or self.steps < 0 or not self.rate > 0.0:
            raise bad_request('LoRA has a rank of at least 1, a count of steps, a positive rate.')


def adapt_lora(
    prior: LatentDiffusionPrior,
    pictures: Pictures,
    settings: LoraSettings | None = None,
    word: str = 'front',
    check: Callable[[], None] = lambda: None,
) -> LatentDiffusionPrior:
    """
    Return a prior whose denoiser has learned matrices; ``prior`` stays unchanged.

    The arguments are those of ``imagic.adapt_imagic``. Raises ``LiftError(BAD_REQUEST)`` without
    peft, and if the loss is not finite.
    """
    settings = settings or LoraSettings()
    own = with_lora(prior.unet, settings)
    tuned = prior.adapted(own)
    learned = [p for p in own.parameters() if p.requires_grad]
    text = prior.text[word]
    descend(
        tuned, pictures, lambda: text, learned, settings.steps, settings.rate, settings.seed,
        check)
    own.requires_grad_(False)
    return tuned


def with_lora(unet: Any, settings: LoraSettings) -> Any:
    """
    Return a copy of a denoiser with trainable matrices, float32, that change nothing yet.

    Raises ``LiftError(BAD_REQUEST)`` without peft.
    """
    peft = _peft()
    own = copy.deepcopy(unet).requires_grad_(False)
    # Of the settings' seed, not of a global state.
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        own.add_adapter(peft.LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, init_lora_weights='gaussian',
            target_modules=list(_ATTENTION)))
    for parameter in own.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return own


def write_lora(path: Path, unet: Any) -> None:
    """Write the matrices of ``with_lora`` as safetensors."""
    make_folder(path.parent)
    state = _peft().get_peft_model_state_dict(unet)
    write_safetensors(path, {name: value.detach().cpu() for name, value in state.items()})


def read_lora(path: Path, unet: Any, settings: LoraSettings) -> Any:
    """
    Return a copy of a denoiser with the matrices of a file of ``write_lora``.

    Raises ``LiftError``: BAD_REQUEST without peft, WEIGHTS_CORRUPT for matrices of another
    network or rank.
    """
    own = with_lora(unet, settings)
    expected = _peft().get_peft_model_state_dict(own)
    with corrupt_on_error(path):
        state = read_tensors(path)
        shapes = {name: list(value.shape) for name, value in state.items()}
        if shapes != {name: list(value.shape) for name, value in expected.items()}:
            corrupt(path, 'has matrices of another denoiser, or of another rank')
        check_values(path, state)
        _peft().set_peft_model_state_dict(own, state)
    return own.requires_grad_(False)


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise bad_request(
            'LoRA needs the package peft, which is not installed: pip install peft.') from error
    return peft
