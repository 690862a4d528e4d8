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

"""Conditions of the denoiser: pose vectors, image embeddings, latents."""

from __future__ import annotations

from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
import torch
from torch.nn import functional

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: Largest difference of the camera distances in the training renders, whose cameras are 1.5 to
#: 2.2 object lengths away; object lengths.
MAX_RADIUS_DIFFERENCE = 0.7


def check_poses(poses: ArrayLike, pose_dim: int, family: str) -> torch.Tensor:
    """
    Return the pose vectors as a float32 tensor (n, pose_dim) on the CPU.

    ``family``, one of ``geometry.POSE_DIMS``, defines the entries. Raises
    ``LiftError(BAD_REQUEST)`` for another or an empty shape, entries that are not finite, an
    azimuth that is no sine and cosine, or a distance outside of the training range.
    """
    try:
        vectors = np.asarray(poses, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'The poses are not an array of numbers: {error}'
        ) from error
    if vectors.ndim != 2 or vectors.shape[1] != pose_dim or not len(vectors):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The poses have the shape {vectors.shape}; this model ({family}) takes (n, '
            f'{pose_dim}), one row for each view.',
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'Pose {bad[0]} has entries that are not finite numbers.'
        )
    if family in ('zero123', 'stable_zero123'):
        polar, sine, cosine, last = vectors.T
        for wrong, message in (
            (np.abs(polar) > np.pi + 1e-6, 'changes the elevation by more than half a turn; give '
             'angles in radians.'),
            (np.abs(sine**2 + cosine**2 - 1.0) > 1e-3, 'has no azimuth: its second and third '
             'entry must be a sine and a cosine.'),
            ((family == 'zero123') & (np.abs(last) > MAX_RADIUS_DIFFERENCE + 1e-6), 'moves nearer '
             f"or farther by more than {MAX_RADIUS_DIFFERENCE} of the object's length, outside of "
             'the training range.'),
            ((family == 'stable_zero123') & ((last < -1e-6) | (last > np.pi + 1e-6)), 'has a last '
             'entry that is no polar angle of the input view, 0 to pi.'),
        ):
            if wrong.any():
                raise LiftError(
                    ErrorCode.BAD_REQUEST, f'Pose {np.flatnonzero(wrong)[0]} {message}'
                )
    return torch.from_numpy(vectors.astype(np.float32))


#: Mean and standard deviation of the pixels that CLIP was trained on, RGB in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder(Protocol):
    """Encodes images (n, c, h, w) in [-1, 1] as embeddings (n, embedding_dim)."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings."""


def clip_pixels(images: torch.Tensor, size: int = 224) -> torch.Tensor:
    """
    Return the input of CLIP, float32 (n, 3, size, size).

    ``images`` is (n, 3, h, w) in [-1, 1]. Bicubic, corners aligned, without antialiasing and
    without a crop, then normalised (Zero-1-to-3, FrozenCLIPImageEmbedder). The preprocessing of
    transformers crops and antialiases, which changes the embedding.

    Raises ``LiftError(BAD_REQUEST)`` for images of another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'CLIP takes images of the shape (n, 3, height, width), not {tuple(images.shape)}.',
        )
    resized = functional.interpolate(
        images.float(), (size, size), mode='bicubic', align_corners=True, antialias=False
    )
    mean, std = (resized.new_tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return ((resized + 1.0) / 2.0 - mean) / std


class ClipEncoder:
    """A ``CLIPVisionModelWithProjection`` as an ``ImageEncoder``: projected, not normalised."""

    def __init__(self, model: Any) -> None:
        """Keep the model; its configuration has the size of its images."""
        self.model = model

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (n, projection_dim) of images (n, 3, h, w) in [-1, 1]."""
        pixels = clip_pixels(images, self.model.config.image_size)
        return self.model(pixel_values=pixels.to(self.model.dtype)).image_embeds


def as_image_encoder(model: Any) -> ImageEncoder:
    """Return a model with ``embed`` unchanged, a CLIP vision model in its adapter."""
    return model if hasattr(model, 'embed') else ClipEncoder(model)


class LatentCodec(Protocol):
    """
    Converts images to latents and back.

    Images are (n, c, height, width) in [-1, 1]. Latents of the condition and of the target have
    the same height and width: they are channels of one tensor in the denoiser.
    """

    def encode_condition(self, images: torch.Tensor) -> torch.Tensor:
        """Return the latents (n, c_condition, h, w) of input images."""

    def encode_target(
        self, images: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return the latents (n, c_target, h, w) of target images."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the images of target latents."""


class AutoencoderKLCodec:
    """
    A diffusers ``AutoencoderKL``, as in Zero-1-to-3.

    The condition is the mode of the posterior *without* the scaling factor, the target is
    multiplied by it (Zero-1-to-3, ``ldm/models/diffusion/ddpm.py``).
    """

    def __init__(self, vae: Any) -> None:
        """Keep the autoencoder; its configuration has the scaling factor."""
        self.vae = vae

    def encode_condition(self, images: torch.Tensor) -> torch.Tensor:
        """Return the mode of the posterior, unscaled."""
        return self.vae.encode(images.to(self.vae.dtype)).latent_dist.mode()

    def encode_target(
        self, images: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return a scaled sample of the posterior, or its scaled mode without a generator."""
        posterior = self.vae.encode(images.to(self.vae.dtype)).latent_dist
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return latents * self.vae.config.scaling_factor

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the images of scaled latents; their values may exceed [-1, 1]."""
        unscaled = latents / self.vae.config.scaling_factor
        return self.vae.decode(unscaled.to(self.vae.dtype)).sample


def as_codec(vae: Any) -> LatentCodec:
    """Return a codec unchanged, a diffusers autoencoder in its adapter."""
    return vae if hasattr(vae, 'encode_condition') else AutoencoderKLCodec(vae)
