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

"""The priors of NeuralLift-360, and their adaptation to one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace

import torch

from lift3d_ros.diffusion.conditioning import ClipEncoder
from lift3d_ros.diffusion.conditioning import ImageEncoder
from lift3d_ros.distill.adaptation.imagic import adapt_imagic
from lift3d_ros.distill.adaptation.imagic import ImagicSettings
from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.adaptation.lora import adapt_lora
from lift3d_ros.distill.adaptation.lora import LoraSettings
from lift3d_ros.distill.adaptation.picture_augmentation import AugmentedPicture
from lift3d_ros.distill.cameras import view_word
from lift3d_ros.distill.priors.latent_diffusion import LatentDiffusionPrior
from lift3d_ros.distill.priors.latent_diffusion import PromptSettings
from lift3d_ros.distill.priors.tokens import SMALL_INVERSION
from lift3d_ros.distill.priors.tokens import TokenPrior
from lift3d_ros.errors import bad_request
from lift3d_ros.methods.distilled.distilled import small_prior
from lift3d_ros.methods.distilled.inputs import DistillationInputs
from lift3d_ros.methods.distilled.unposed import load_network
from lift3d_ros.methods.distilled.unposed import UnposedModel
from lift3d_ros.networks.small.object_encoder import read_object_encoder

#: Folder of the image encoder in small weights.
ENCODER_FOLDER = 'object_encoder'

#: NeuralLift-360's inversion: 1000 steps, four pictures each.
PUBLISHED_INVERSION = InversionSettings(steps=1000)

#: The prompt of Stable Diffusion without a learned token.
PLAIN_PROMPT = 'A high-resolution DSLR image of an object'


@dataclass(frozen=True)
class Adaptation:
    """
    How a prior is adapted to a picture.

    - ``kind``: ``token``, ``imagic``, ``lora`` or ``none``.
    - ``prompt``: text for Stable Diffusion, empty for the default.
    - ``guidance_scale``: s in eps = eps_unc + s (eps_cond - eps_unc).
    - ``steps``: of the token, of the text or of LoRA; Imagic's denoiser has twice as many, as in
      the publication. None for the published ones, or those of the small prior.
    """

    kind: str = 'token'
    prompt: str = ''
    guidance_scale: float = 101.0
    steps: int | None = None


def load_unposed(weights: str, clip: str, device: str) -> UnposedModel:
    """
    Load a prior and the image encoder.

    ``weights`` are small ones with a prior, or Stable Diffusion; ``clip`` is a CLIP model, empty
    for the encoder of the small weights, if they have one.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    from lift3d_ros.weights.clip import load_clip

    folder = small_prior(weights)
    encoder: ImageEncoder | None = None
    if clip:
        dtype = torch.float16 if device == 'cuda' else torch.float32
        encoder = ClipEncoder(load_clip(clip, dtype=dtype, device=device))
    elif folder is not None and (folder.parent / ENCODER_FOLDER).is_dir():
        encoder = read_object_encoder(folder.parent / ENCODER_FOLDER, device)
    return UnposedModel(load_network(weights, device), encoder)


def adapted_prior(
    model: UnposedModel,
    inputs: DistillationInputs,
    adaptation: Adaptation,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> TokenPrior | LatentDiffusionPrior:
    """
    Return the prior, adapted to the input picture.

    ``check`` is called in each step and may raise. Raises ``LiftError(BAD_REQUEST)`` for an
    adaptation that diverges or that the prior does not have.
    """
    kind, scale, steps = adaptation.kind, adaptation.guidance_scale, adaptation.steps
    if model.is_small and kind not in ('token', 'none'):
        raise bad_request(
            f'The small prior has no adaptation "{kind}"; choose token or none, or weights of '
            'Stable Diffusion.')
    prompts = None
    if adaptation.prompt or kind != 'token':
        prompts = PromptSettings(adaptation.prompt or PLAIN_PROMPT)
    if kind == 'token':
        settings = SMALL_INVERSION if model.is_small else PUBLISHED_INVERSION
        if steps is not None:
            settings = replace(settings, steps=steps)
        return model.of_object(inputs, seed, scale, settings, prompts=prompts, check=check)
    elevation = inputs.canonical.elevation
    prior = model.of_any_object(elevation, scale, prompts)
    if isinstance(prior, TokenPrior) or kind == 'none':
        return prior
    word = view_word(0.0, elevation)
    pictures = AugmentedPicture(inputs.reference_view(prior.size).picture(), prior.size)
    if kind == 'imagic':
        imagic = ImagicSettings(seed=seed)
        if steps is not None:
            imagic = replace(imagic, embedding_steps=steps, network_steps=2 * steps)
        return adapt_imagic(prior, pictures, imagic, word, check)
    lora = LoraSettings(seed=seed)
    return adapt_lora(
        prior, pictures, lora if steps is None else replace(lora, steps=steps), word, check)
