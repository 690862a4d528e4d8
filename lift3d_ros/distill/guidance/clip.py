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
CLIP guidance: the prior's clean image moves towards the embedding of the input picture.

NeuralLift-360 (Xu et al., 2023; ``nerf/sd_clipguide.py``) adds the derivative of a distance of
embeddings to the gradient of SDS. Its program adds *minus* the derivative to a gradient that is
then descended, which moves away from the input picture; that sign is the option ``faithful``.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.diffusion.conditioning import ImageEncoder
from lift3d_ros.errors import bad_request

#: ``fixed`` descends the distance; ``faithful`` ascends it, as the published program.
SIGNS = {'fixed': 1.0, 'faithful': -1.0}

#: Scales of the published program by the view's word, 100 or 50 times 50; the overhead and bottom
#: views have that of the sides here.
PUBLISHED_SCALES = {
    'front': 5000.0, 'side': 2500.0, 'back': 2500.0, 'overhead': 2500.0, 'bottom': 2500.0,
}


def spherical_distance(a: Tensor, b: Tensor) -> Tensor:
    """
    Return 2 asin(|a - b| / 2)^2 of normalised embeddings (..., c), half the squared angle.

    Equal embeddings have the gradient 0, where the formula itself has none.
    """
    a, b = functional.normalize(a, dim=-1), functional.normalize(b, dim=-1)
    squared = (a - b).square().sum(-1)
    near = squared < 1e-12
    angle = torch.asin((torch.where(near, 1.0, squared).sqrt() / 2.0).clamp_max(1.0 - 1e-7))
    # The limit of the formula, whose gradient at 0 is defined.
    return torch.where(near, 0.5 * squared, 2.0 * angle.square())


@dataclass(frozen=True, eq=False)
class ClipGuidance:
    """
    The distance of images to one reference embedding.

    - ``encoder``: of images (b, c, h, w) in [-1, 1], differentiable.
    - ``reference``: embedding (1, e) of the input picture.
    - ``scale``: factor of the gradient, or factors by the word of the view
      (``cameras.view_word``); ``sign``: ``fixed`` or ``faithful``.
    - ``decode``: from the prior's latents to the encoder's images.
    - ``latent_scale``: the scaling factor of the autoencoder for the published magnitude, which is
      the derivative by latents divided by it; 1 otherwise.
    """

    encoder: ImageEncoder
    reference: Tensor
    scale: float | Mapping[str, float] = 1.0
    sign: str = 'fixed'
    decode: Callable[[Tensor], Tensor] = lambda latents: latents
    latent_scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for an unknown sign."""
        if self.sign not in SIGNS:
            raise bad_request(f'There is no sign "{self.sign}"; choose fixed or faithful.')

    @torch.no_grad()
    def distance(self, latents: Tensor) -> Tensor:
        """Return the distances (b,) of latents (b, c, h, w)."""
        return self._distance(latents)

    @torch.enable_grad()
    def gradient(self, clean: Tensor, words: Sequence[str] = ('front',)) -> Tensor:
        """
        Return the gradient to add to that of the score, of the shape of ``clean`` (b, c, h, w).

        ``clean`` is the prior's x0; ``words`` are those of the b views, or one for all. The caller
        weights the sum of both gradients.
        """
        leaf = clean.detach().requires_grad_()
        derivative, = torch.autograd.grad(self._distance(leaf).sum(), leaf)
        scales = clean.new_tensor([
            self.scale[word] if isinstance(self.scale, Mapping) else self.scale for word in words])
        return SIGNS[self.sign] * self.latent_scale * scales.reshape(-1, 1, 1, 1) * derivative

    def loss(self, images: Tensor) -> Tensor:
        """
        Return the mean distance of renderings (b, c, h, w) in [-1, 1], with gradients.

        It is NeuralLift-360's CLIP image loss, which is always descended.
        """
        embeddings = self.encoder.embed(images)
        return spherical_distance(embeddings, self.reference.to(embeddings)).mean()

    def _distance(self, latents: Tensor) -> Tensor:
        embeddings = self.encoder.embed(self.decode(latents))
        return spherical_distance(embeddings, self.reference.to(embeddings))


def inside_weight(opacity: Tensor, size: tuple[int, int], outside: float = 0.5) -> Tensor:
    """
    Return weights (b, 1, *size): 1 in the bounding box of an opacity (b, 1, h, w), else less.

    The box contains all pixels whose opacity is not 0, at the size of the latents
    (NeuralLift-360, ``nerf/sd_clipguide.py``); an empty rendering has 1 everywhere.
    """
    solid = functional.adaptive_max_pool2d(opacity.detach(), size) > 0.0
    rows, columns = solid.any(dim=3, keepdim=True), solid.any(dim=2, keepdim=True)

    def between(flags: Tensor, axis: int) -> Tensor:
        ints = flags.int()
        return (ints.cummax(axis).values & ints.flip(axis).cummax(axis).values.flip(axis)).bool()

    box = between(rows, 2) & between(columns, 3)
    empty = ~solid.flatten(1).any(1)
    return torch.where(box | empty[:, None, None, None], 1.0, outside)
