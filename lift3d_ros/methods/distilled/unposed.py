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
"""Unposed priors of an object: the small one of tokens, or published Stable Diffusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
import os

import torch
from torch import Tensor

from lift3d_ros.diffusion.conditioning import ImageEncoder
from lift3d_ros.diffusion.token_denoiser import read_token_denoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiser
from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.adaptation.inversion import invert
from lift3d_ros.distill.adaptation.inversion import Pictures
from lift3d_ros.distill.adaptation.nouns import nearest_noun
from lift3d_ros.distill.adaptation.nouns import NOUNS
from lift3d_ros.distill.adaptation.picture_augmentation import AugmentedPicture
from lift3d_ros.distill.cameras import view_word
from lift3d_ros.distill.priors.latent_diffusion import LatentDiffusionPrior
from lift3d_ros.distill.priors.latent_diffusion import OBJECT_TOKEN
from lift3d_ros.distill.priors.latent_diffusion import PromptSettings
from lift3d_ros.distill.priors.tokens import SMALL_INVERSION
from lift3d_ros.distill.priors.tokens import TokenPrior
from lift3d_ros.errors import bad_request
from lift3d_ros.methods.distilled.distilled import small_prior
from lift3d_ros.methods.distilled.inputs import DistillationInputs
from lift3d_ros.weights.clip import ClipTowers
from lift3d_ros.weights.learned_embeddings import read_learned_embeddings
from lift3d_ros.weights.stable_diffusion import load_stable_diffusion
from lift3d_ros.weights.stable_diffusion import StableDiffusionComponents

UnposedPrior = TokenPrior | LatentDiffusionPrior


@dataclass(frozen=True, eq=False)
class UnposedModel:
    """
    A loaded prior without poses and without an object.

    - ``network``: the small denoiser of tokens, or Stable Diffusion.
    - ``encoder``: of the images of CLIP guidance, or None.
    - ``towers``: the CLIP that chooses the word from which the inversion of Stable Diffusion
      starts; "object" without one.
    """

    network: TokenDenoiser | StableDiffusionComponents
    encoder: ImageEncoder | None = None
    towers: ClipTowers | None = None

    @property
    def is_small(self) -> bool:
        """Whether it is the small prior, whose pictures have an alpha."""
        return isinstance(self.network, TokenDenoiser)

    @property
    def latent_scale(self) -> float:
        """The scaling factor of the autoencoder; 1 of the small prior, which has none."""
        if isinstance(self.network, TokenDenoiser):
            return 1.0
        return float(self.network.vae.config.scaling_factor)

    def of_any_object(
        self, elevation: float, guidance_scale: float, prompts: PromptSettings | None = None
    ) -> UnposedPrior:
        """
        Return the prior of any object.

        - ``elevation``: of the input camera, degrees.
        - ``guidance_scale``: s in eps = eps_unc + s (eps_cond - eps_unc).
        - ``prompts``: of Stable Diffusion; by default those of a learned token.
        """
        if isinstance(self.network, TokenDenoiser):
            return TokenPrior(self.network, None, guidance_scale, view_word(0.0, elevation))
        return LatentDiffusionPrior(self.network, prompts, guidance_scale)

    def of_object(
        self,
        inputs: DistillationInputs,
        seed: int,
        guidance_scale: float,
        settings: InversionSettings | None = None,
        *,
        prompts: PromptSettings | None = None,
        unnormalised: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> UnposedPrior:
        """
        Return the prior with the token that is learned from the input picture.

        - ``guidance_scale``, ``prompts``: see ``of_any_object``.
        - ``settings``: of the inversion, by default those of the small prior, or RealFusion's.
        - ``unnormalised``: see ``Unnormalised``.
        - ``check`` is called in each step and may raise.

        Raises ``LiftError(BAD_REQUEST)`` if the inversion diverges.
        """
        prior = self.of_any_object(inputs.canonical.elevation, guidance_scale, prompts)
        image = inputs.reference_view(prior.size).picture()
        pictures: Pictures = AugmentedPicture(image, prior.size)
        if unnormalised:
            pictures = Unnormalised(pictures)
        start = None
        if isinstance(prior, TokenPrior):
            settings = settings or SMALL_INVERSION
            start = prior.regressed(image)
        settings = replace(settings or InversionSettings(), seed=seed)
        if self.towers is not None and not isinstance(prior, TokenPrior):
            # A learned token begins as one row of the table.
            nouns = [noun for noun in NOUNS if len(prior.encoder.ids(noun)) == 1]
            settings = replace(settings, start=nearest_noun(self.towers, image, nouns))
        return prior.with_token(invert(prior, pictures, settings, start, check).embedding)


@dataclass(frozen=True, eq=False)
class Unnormalised:
    """
    Pictures whose pixels a prior sees in [0, 1] instead of [-1, 1].

    It is the defect of RealFusion's augmented pictures (``textual-inversion/main.py``).
    """

    pictures: Pictures

    def __call__(self, generator: torch.Generator, count: int) -> Tensor:
        """Return opaque RGBA (count, 4, h, w) that is encoded as its pixels in [0, 1]."""
        images = self.pictures(generator, count)
        pixels = images[:, :3] + 1.0 - images[:, 3:]
        return torch.cat([0.5 * (pixels + 1.0), torch.ones_like(images[:, 3:])], dim=1)


def load_network(weights: str, device: str) -> TokenDenoiser | StableDiffusionComponents:
    """
    Return the network of ``weights``: small ones, or Stable Diffusion by its name or path.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    folder = small_prior(weights)
    if folder is not None:
        return read_token_denoiser(folder, device)
    return load_stable_diffusion(weights, device=device)


def stored_token(path: str | os.PathLike[str], width: int) -> Tensor:
    """
    Return the embedding (n, width) of a file, that of ``OBJECT_TOKEN`` if it has several.

    Raises ``LiftError``: ``BAD_REQUEST`` for an embedding of another model, ``WEIGHTS_MISSING``
    and ``WEIGHTS_CORRUPT`` for a bad file.
    """
    found = read_learned_embeddings(path, width)
    if OBJECT_TOKEN in found:
        return found[OBJECT_TOKEN]
    if len(found) > 1:
        raise bad_request(
            f'The file has the tokens {", ".join(found)}; keep one, or name it {OBJECT_TOKEN}.')
    return next(iter(found.values()))
