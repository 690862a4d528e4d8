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
Zero-1-to-3: novel views of an object from one image (Liu et al. 2023).

A latent diffusion model with two conditions: the latent of the input image is concatenated with
the noisy latent, and the embedding of the image, projected together with the pose of the target,
is the token of cross-attention::

    model = Zero123(components, device='cuda', dtype=torch.float16)
    poses = zero123_pose([0.0, 90.0, 180.0], [20.0, 0.0, 45.0], 0.0, input_elevation=10.0)
    views = model.synthesize(image, poses, seed=1)

Stable-Zero123 and ZeroNVS are the same network with another pose vector. The small model of this
package has extra input channels for each view, the rendering of the coarse volume.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
import torch

from lift3d_ros.diffusion.conditioning import as_codec
from lift3d_ros.diffusion.conditioning import as_image_encoder
from lift3d_ros.diffusion.conditioning import check_poses
from lift3d_ros.diffusion.sampling import FAST
from lift3d_ros.diffusion.sampling import Sampler
from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import POSE_DIMS
from lift3d_ros.progress import Progress
from lift3d_ros.runtime import memory
from lift3d_ros.weights.components import Zero123Components


@dataclass(frozen=True, eq=False)
class InputCondition:
    """
    The conditions of one input image, for any number of target poses.

    - ``embedding``: of the image encoder, (1, embedding_dim).
    - ``latent``: of the codec, unscaled, (1, c, h, w).
    """

    embedding: torch.Tensor
    latent: torch.Tensor


@dataclass(frozen=True, eq=False)
class ViewConditions:
    """
    The conditions of the denoiser for n target views.

    - ``tokens``: (n, 1, embedding_dim), image and pose.
    - ``latents``: (n, c, h, w), the latent of the input image, repeated for each view.
    - ``extra``: (n, c_extra, h, w), extra input channels; none for the published models.
    """

    tokens: torch.Tensor
    latents: torch.Tensor
    extra: torch.Tensor


class Zero123:
    """A model of the Zero-1-to-3 family on one device; not thread-safe."""

    def __init__(
        self,
        components: Zero123Components,
        *,
        device: str | torch.device = 'cpu',
        dtype: torch.dtype = torch.float32,
        max_batch: int = 16,
    ) -> None:
        """
        Move the networks to ``device`` and ``dtype`` (float32, bfloat16 or float16), in place.

        ``max_batch`` bounds the rows of a network's batch; a guided view is two rows.

        Raises ``LiftError``: ``BAD_REQUEST`` for an unknown family or a ``max_batch`` below 1,
        ``WEIGHTS_CORRUPT`` for the pose projection of another family.
        """
        if components.family not in POSE_DIMS:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'There is no family "{components.family}"; choose one of {", ".join(POSE_DIMS)}.',
            )
        if max_batch < 1:
            raise LiftError(ErrorCode.BAD_REQUEST, f'max_batch is {max_batch}; choose at least 1.')
        self.pose_dim = components.cc_projection.pose_dim
        if self.pose_dim != POSE_DIMS[components.family]:
            raise LiftError(
                ErrorCode.WEIGHTS_CORRUPT,
                f'These weights take pose vectors of {self.pose_dim} numbers, but the family '
                f'{components.family} has {POSE_DIMS[components.family]}; load them as their own '
                'family.',
            )
        for part in (
            components.unet,
            components.vae,
            components.image_encoder,
            components.cc_projection,
        ):
            if isinstance(part, torch.nn.Module):
                # The override of diffusers warns about dtypes that are valid here.
                torch.nn.Module.to(part, device=device, dtype=dtype)
                part.eval().requires_grad_(False)
        self.family = components.family
        self.device = torch.device(device)
        self.dtype = dtype
        self.codec = as_codec(components.vae)
        self._unet = components.unet
        self._image_encoder = as_image_encoder(components.image_encoder)
        self._projection = components.cc_projection
        self.scheduler = components.scheduler
        self._max_batch = max_batch

    @torch.no_grad()
    def encode(self, image: torch.Tensor) -> InputCondition:
        """
        Return the conditions of an input image.

        ``image`` is (c, height, width) in [-1, 1]; the published models take RGB of 256 x 256,
        the object on white. Raises ``LiftError``: ``BAD_REQUEST`` for another shape or entries
        that are not finite, ``OUT_OF_MEMORY``.
        """
        if image.ndim != 3 or not image.is_floating_point() or not torch.isfinite(image).all():
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The input image has the type {image.dtype} and the shape {tuple(image.shape)}; '
                'it must be (channels, height, width), finite numbers in [-1, 1].',
            )
        rows = image[None].to(self.device, self.dtype)
        one = Batches(1)
        # CLIP resizes in single precision.
        embedding = one.map(self._image_encoder.embed, image[None].to(self.device, torch.float32))
        latent = one.map(self.codec.encode_condition, rows)
        # Each level of the denoiser but the last halves the latent.
        multiple = 2 ** (len(self._unet.config.block_out_channels) - 1)
        if any(side % multiple for side in latent.shape[2:]):
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'An input image of {image.shape[2]} x {image.shape[1]} pixels has a latent of '
                f'{latent.shape[3]} x {latent.shape[2]}, whose sides are not multiples of '
                f'{multiple}; give the size of the training images.',
            )
        return InputCondition(embedding.to(self.dtype), latent.to(self.dtype))

    @torch.no_grad()
    def conditions(
        self,
        condition: InputCondition,
        poses: ArrayLike,
        extra_channels: torch.Tensor | None = None,
    ) -> ViewConditions:
        """
        Return the conditions of the views at ``poses``, (n, pose_dim).

        ``extra_channels`` is (n, c_extra, h, w) at the size of the latents. Raises
        ``LiftError(BAD_REQUEST)`` for invalid poses or channels.
        """
        vectors = check_poses(poses, self.pose_dim, self.family).to(self.device, self.dtype)
        n = len(vectors)
        latents = condition.latent.expand(n, -1, -1, -1)
        if extra_channels is None:
            extra = latents.new_zeros((n, 0, *latents.shape[2:]))
        else:
            extra = extra_channels.to(self.device, self.dtype)
        inputs, outputs = self._unet.config.in_channels, self._unet.config.out_channels
        wanted = (n, inputs - outputs - latents.shape[1], *latents.shape[2:])
        if tuple(extra.shape) != wanted or not torch.isfinite(extra).all():
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The extra channels have the shape {tuple(extra.shape)}; for these views this '
                f'model takes {wanted}, finite numbers.',
            )
        embedding = condition.embedding.expand(n, -1)
        return ViewConditions(self._projection(embedding, vectors)[:, None], latents, extra)

    @torch.no_grad()
    def predict(
        self,
        latents: torch.Tensor,
        timestep: int | torch.Tensor,
        conditions: ViewConditions,
        guidance_scale: float = 1.0,
        *,
        batches: Batches | None = None,
        check: Callable[[], None] | None = None,
    ) -> torch.Tensor:
        """
        Return the network's guided prediction for n noisy latents (n, c, h, w), float32.

        ``timestep`` is one for all or (n,). A scale other than 1 adds the unconditional branch:
        zeros in place of the token, after the projection, and in place of the image's latent; the
        prediction is unc + scale (cond - unc). ``check`` is called before each batch.
        """
        n = len(latents)
        latents = latents.to(self.device, self.dtype)
        times = torch.as_tensor(timestep, device=self.device).expand(n)
        tokens, image_latents, extra = conditions.tokens, conditions.latents, conditions.extra
        guided = guidance_scale != 1.0
        if guided:
            latents, times = torch.cat([latents, latents]), torch.cat([times, times])
            tokens = torch.cat([tokens, torch.zeros_like(tokens)])
            image_latents = torch.cat([image_latents, torch.zeros_like(image_latents)])
            extra = torch.cat([extra, extra])

        def denoise(
            sample: torch.Tensor, times: torch.Tensor, tokens: torch.Tensor
        ) -> torch.Tensor:
            return self._unet(sample, times, encoder_hidden_states=tokens).sample.float()

        inputs = torch.cat([latents, image_latents, extra], dim=1)
        batches = batches or Batches(self._max_batch)
        result = batches.map(denoise, inputs, times, tokens, check=check)
        if not guided:
            return result
        conditional, unconditional = result.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    @torch.no_grad()
    def synthesize(
        self,
        image: torch.Tensor | InputCondition,
        poses: ArrayLike,
        settings: SamplerSettings = FAST,
        *,
        seed: int | Sequence[int] = 0,
        extra_channels: torch.Tensor | None = None,
        progress: Progress | None = None,
        fractions: tuple[float, float] = (0.0, 1.0),
    ) -> torch.Tensor:
        """
        Return the views at ``poses``, float32 (n, c, height, width) in [-1, 1], on the CPU.

        - ``image``: (c, height, width) in [-1, 1], or the result of ``encode``.
        - ``poses``: (n, pose_dim), of ``geometry.zero123_pose``, ``stable_zero123_pose`` or
          ``zeronvs_pose``, by family.
        - ``seed``: one for all, from which each view derives its own by its index, or one for
          each view. A view does not depend on the others.
        - ``extra_channels``: see ``conditions``.
        - ``progress``: updated between steps, from the first to the second of ``fractions`` of the
          whole lift; it may cancel.

        Raises ``LiftError``: ``BAD_REQUEST`` for an image, poses, seeds or channels of another
        shape or not finite, ``OUT_OF_MEMORY``, ``CANCELLED``, ``TIMEOUT``.
        """
        progress = progress or Progress()
        begin, end = fractions
        sampler = Sampler(settings, self.scheduler)
        # Invalid poses fail before the encoders run.
        n = len(check_poses(poses, self.pose_dim, self.family))
        generators = _generators(seed, n)
        progress.check('views', begin)
        condition = image if isinstance(image, InputCondition) else self.encode(image)
        conditions = self.conditions(condition, poses, extra_channels)

        shape = (self._unet.config.out_channels, *condition.latent.shape[2:])
        latents = _noise(generators, shape).to(self.device)
        batches = Batches(self._max_batch)
        for i, timestep in enumerate(sampler.timesteps):
            # The last tenth of the progress is decoding.
            done = 0.9 * i / len(sampler.timesteps)
            progress.check('views', begin + (end - begin) * done)
            scale = settings.guidance_scale if sampler.guided(timestep) else 1.0
            prediction = self.predict(
                latents, timestep, conditions, scale, batches=batches, check=progress.check
            )
            fresh = _noise(generators, shape).to(self.device) if sampler.needs_noise else None
            latents = sampler.step(prediction, timestep, latents, fresh)

        def decode(latents: torch.Tensor) -> torch.Tensor:
            return self.codec.decode(latents.to(self.dtype)).float().clamp(-1.0, 1.0).cpu()

        # An image takes many times the memory of its latent.
        batches = Batches(min(self._max_batch, 4))
        views = batches.map(decode, latents, check=progress.check)
        if not torch.isfinite(views).all():
            raise LiftError(
                ErrorCode.INTERNAL,
                f'The views are not finite in {self.dtype}; use bfloat16 or float32.',
            )
        progress.check('views', end)
        return views


class Batches:
    """Runs a function over rows in batches, halved when memory is exhausted."""

    def __init__(self, size: int) -> None:
        """Start with batches of ``size`` rows; a halved size persists."""
        self.size = size

    def map(
        self,
        function: Callable[..., torch.Tensor],
        *rows: torch.Tensor,
        check: Callable[[], None] | None = None,
    ) -> torch.Tensor:
        """
        Return ``function(*rows)``, computed in batches along the first dimension.

        A batch that exceeds the memory is repeated in halves, so that the result is independent
        of the memory, up to rounding. ``check`` is called before each batch and may raise.

        Raises ``LiftError(OUT_OF_MEMORY)`` if a single row exceeds the memory.
        """
        done: list[torch.Tensor] = []
        start = 0
        while start < len(rows[0]):
            if check is not None:
                check()
            stop = start + self.size
            result = None
            try:
                result = function(*(tensor[start:stop] for tensor in rows))
            except (MemoryError, RuntimeError) as error:
                if not memory.is_exhausted(error):
                    raise
                if self.size == 1:
                    raise LiftError(
                        ErrorCode.OUT_OF_MEMORY,
                        'A single view exceeds the memory; free memory, use a smaller model, or '
                        'half precision.',
                    ) from error
            if result is None:
                # The exception handler still references the tensors of the failed call.
                self.size = max(1, min(self.size, len(rows[0]) - start) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            done.append(result)
            start = stop
        return torch.cat(done)


def _generators(seed: int | Sequence[int], n: int) -> list[torch.Generator]:
    """Return a generator for each view, on the CPU so that devices agree."""
    if isinstance(seed, int):
        seeds = [
            int(np.random.SeedSequence([seed & 0xFFFFFFFFFFFFFFFF, i]).generate_state(1)[0])
            for i in range(n)
        ]
    else:
        seeds = [int(s) for s in seed]
    if len(seeds) != n:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There are {len(seeds)} seeds for {n} views; give one, or one for each view.',
        )
    return [torch.Generator().manual_seed(s) for s in seeds]


def _noise(generators: list[torch.Generator], shape: tuple[int, ...]) -> torch.Tensor:
    return torch.stack([torch.randn(shape, generator=g) for g in generators])
