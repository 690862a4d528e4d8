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
"""Text-conditioned latent diffusion as a prior: published Stable Diffusion, from a local path."""

from __future__ import annotations

from collections.abc import Mapping
import copy
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.diffusion.conditioning import AutoencoderKLCodec
from lift3d_ros.diffusion.token_denoiser import VIEW_WORDS
from lift3d_ros.distill.cameras import view_words
from lift3d_ros.distill.priors.prior import NoiseSchedule
from lift3d_ros.distill.priors.prompts import PromptEncoder
from lift3d_ros.errors import bad_request
from lift3d_ros.weights.stable_diffusion import StableDiffusionComponents

#: The learned token of an object, and the prompt of RealFusion.
OBJECT_TOKEN = '<object>'  # noqa: S105 - a word
REALFUSION_PROMPT = f'A high-resolution DSLR image of a {OBJECT_TOKEN}'

#: The prompts of textual inversion (Gal et al., 2023), which RealFusion has, too.
TEMPLATES = tuple(text.format(OBJECT_TOKEN) for text in (
    'a photo of a {}', 'a rendering of a {}', 'a cropped photo of the {}', 'the photo of a {}',
    'a photo of a clean {}', 'a photo of a dirty {}', 'a dark photo of the {}',
    'a photo of my {}', 'a photo of the cool {}', 'a close-up photo of a {}',
    'a bright photo of the {}', 'a cropped photo of a {}', 'a photo of the {}',
    'a good photo of the {}', 'a photo of one {}', 'a close-up photo of the {}',
    'a rendition of the {}', 'a photo of the clean {}', 'a rendition of a {}',
    'a photo of a nice {}', 'a good photo of a {}', 'a photo of the nice {}',
    'a photo of the small {}', 'a photo of the weird {}', 'a photo of the large {}',
    'a photo of a cool {}', 'a photo of a small {}',
))


@dataclass(frozen=True)
class PromptSettings:
    """
    The text of the condition.

    - ``prompt``: of the object, which may have learned tokens; ``negative``: of the unconditional
      branch.
    - ``suffix``: follows the prompt with the word of the view; None for the same prompt from
      everywhere.
    - ``tokens``: embeddings (n, width) of learned tokens by their names.
    """

    prompt: str = REALFUSION_PROMPT
    negative: str = ''
    suffix: str | None = ', {view} view'
    tokens: Mapping[str, Tensor] = field(default_factory=dict)

    def text(self, word: str) -> str:
        """Return the prompt of a view."""
        return self.prompt + (self.suffix or '').format(view=word)


class LatentDiffusionPrior:
    """
    Stable Diffusion, conditioned on a prompt with the word of the view.

    It has no pose: cameras of equal words have the same condition. Networks in half precision
    predict in theirs; the arithmetic of the schedule is in float32.
    """

    def __init__(
        self,
        model: StableDiffusionComponents,
        prompts: PromptSettings | None = None,
        guidance_scale: float = 100.0,
        size: int | None = None,
    ) -> None:
        """
        Encode the prompts.

        - ``guidance_scale``: s in eps = eps_unc + s (eps_cond - eps_unc), RealFusion's.
          NeuralLift-360's eps_cond + 100 (eps_cond - eps_unc) is the scale 101.
        - ``size``: pixels a side of the pictures; by default that of the model.

        Raises ``LiftError(BAD_REQUEST)`` for a prompt that does not fit, and for tokens that are
        taken or of another model.
        """
        self._model = model
        self._codec = AutoencoderKLCodec(model.vae)
        self._kind = str(model.scheduler.config.prediction_type)
        self._scale = guidance_scale
        self._size = size or int(model.vae.config.sample_size)
        self.prompts = prompts or PromptSettings()
        self.encoder = PromptEncoder(model.text_encoder, model.tokenizer)
        self.schedule = NoiseSchedule.of_scheduler(model.scheduler)
        self._text = self._encoded(self.prompts)

    @property
    def size(self) -> int:
        """Side of the pictures, pixels."""
        return self._size

    @property
    def unet(self) -> Any:
        """The denoiser."""
        return self._model.unet

    @property
    def text(self) -> dict[str, Tensor]:
        """The conditions (1, length, width) by the words of the views, and of ``null``."""
        return dict(self._text)

    def with_tokens(self, tokens: Mapping[str, Tensor]) -> LatentDiffusionPrior:
        """Return the same model with further learned tokens in its prompts."""
        changed = copy.copy(self)
        changed.prompts = PromptSettings(
            self.prompts.prompt, self.prompts.negative, self.prompts.suffix,
            {**self.prompts.tokens, **tokens})
        changed._text = self._encoded(changed.prompts)
        return changed

    def with_token(self, embedding: Tensor) -> LatentDiffusionPrior:
        """Return the same model with the embedding (n, width) of ``OBJECT_TOKEN``."""
        return self.with_tokens({OBJECT_TOKEN: embedding})

    def adapted(self, unet: Any, text: Mapping[str, Tensor] | None = None) -> LatentDiffusionPrior:
        """Return the same model with another denoiser, and conditions as those of ``text``."""
        changed = copy.copy(self)
        changed._model = copy.copy(self._model)
        changed._model.unet = unet
        changed._text = {**self._text, **(text or {})}
        return changed

    def encode(self, images: Tensor) -> Tensor:
        """
        Return scaled latents of premultiplied RGBA (b, 4, h, w) in [0, 1], with gradients.

        The renderings are put before white and resized to the pictures of the model. The latents
        are the mode of the posterior.
        """
        pictures = images[:, :3] + 1.0 - images[:, 3:]
        if pictures.shape[-1] != self._size:
            pictures = functional.interpolate(
                pictures, (self._size, self._size), mode='bilinear', align_corners=False,
                antialias=pictures.shape[-1] > self._size)
        pixels = (2.0 * pictures - 1.0).to(self.unet.device)
        return self._codec.encode_target(pixels).float()

    def decode(self, latents: Tensor) -> Tensor:
        """Return RGB (b, 3, h, w), about [-1, 1], of scaled latents, with gradients."""
        return self._codec.decode(latents).float()

    def condition(self, poses: Tensor) -> Tensor:
        """Return the hidden states (b, length, width) of the prompts of cameras (b, 4, 4)."""
        return torch.cat([self._text[word] for word in view_words(poses)])

    @torch.no_grad()
    def predict_x0(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Return the guided E[x0 | x_t], float32; see ``DiffusionPrior``."""
        timesteps = timesteps.expand(len(noisy))
        if self._scale == 1.0:
            prediction = self.predict(noisy, timesteps, condition)
        else:
            null = self._text['null'].expand(len(noisy), -1, -1)
            free, given = self.predict(
                torch.cat([noisy, noisy]), timesteps.repeat(2),
                torch.cat([null, condition])).chunk(2)
            prediction = free + self._scale * (given - free)
        clean = self.schedule.clean(noisy.to(prediction), prediction, timesteps, self._kind)
        return clean.to(noisy)

    def embedding(self, start: str | None = None) -> Tensor:
        """
        Return the embedding (1, width) of a word, "object" by default; see ``InvertiblePrior``.

        Raises ``LiftError(BAD_REQUEST)`` for what is not one token of the vocabulary.
        """
        return self.encoder.embedding_of(start or 'object')

    def predict_with(
        self, embedding: Tensor, noisy: Tensor, timesteps: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return E[x0 | x_t] for prompts of ``TEMPLATES``; see ``InvertiblePrior``."""
        chosen = torch.randint(len(TEMPLATES), (len(noisy),), generator=generator).tolist()
        states = self.encoder.encode(
            [TEMPLATES[index] for index in chosen], {OBJECT_TOKEN: embedding})
        prediction = self.predict(noisy, timesteps, states)
        return self.schedule.clean(noisy.to(prediction), prediction, timesteps, self._kind)

    def predict(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """
        Return the network's prediction without guidance, float32, with gradients.

        ``noisy`` (b, c, h, w), ``timesteps`` (b,), ``text`` (b, length, width).
        """
        unet = self.unet
        result: Tensor = unet(
            noisy.to(unet.device, unet.dtype), timesteps.to(unet.device),
            text.to(unet.device, unet.dtype)).sample
        return result.float()

    def denoising_loss(
        self, clean: Tensor, noise: Tensor, timesteps: Tensor, text: Tensor
    ) -> Tensor:
        """
        Return the mean squared error of the prediction, the loss that the network was trained by.

        ``clean`` and ``noise`` (b, c, h, w), ``timesteps`` (b,), ``text`` (b, length, width); with
        gradients by ``text`` and the network.
        """
        noisy = self.schedule.add_noise(clean, noise, timesteps)
        prediction = self.predict(noisy, timesteps, text)
        if self._kind == 'epsilon':
            target = noise
        elif self._kind == 'v_prediction':
            ab = self.schedule.alpha_bar(timesteps, clean)
            target = ab.sqrt() * noise - (1.0 - ab).sqrt() * clean
        elif self._kind == 'sample':
            target = clean
        else:
            raise bad_request(f'There is no prediction type "{self._kind}".')
        return functional.mse_loss(prediction, target.to(prediction))

    @torch.no_grad()
    def _encoded(self, prompts: PromptSettings) -> dict[str, Tensor]:
        texts = [prompts.text(word) for word in VIEW_WORDS]
        states = self.encoder.encode([*texts, prompts.negative], prompts.tokens)
        return {word: states[index:index + 1]
                for index, word in enumerate((*VIEW_WORDS, 'null'))}
