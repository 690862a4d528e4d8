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

"""The embedding of the input image: CLIP's preprocessing in tensor form, and its adapter."""

from __future__ import annotations

from typing import Any
from typing import Protocol

import torch
from torch.nn import functional

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: Mean and standard deviation of the pixels that CLIP was trained on, RGB in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder(Protocol):
    """What turns images (n, c, h, w) in [-1, 1] into embeddings (n, embedding_dim)."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings."""


def clip_pixels(images: torch.Tensor, size: int = 224) -> torch.Tensor:
    """
    Return the pixel values that CLIP takes, float32 (n, 3, size, size).

    ``images`` is (n, 3, h, w) in [-1, 1]. Bicubic, corners aligned, without antialiasing and
    without a crop, then [0, 1], then normalised (Zero-1-to-3, FrozenCLIPImageEmbedder). The
    preprocessing of transformers crops and antialiases; its embedding is another one.

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
        """Keep the model; its configuration says how large its images are."""
        self.model = model

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (n, projection_dim) of images (n, 3, h, w) in [-1, 1]."""
        pixels = clip_pixels(images, self.model.config.image_size)
        return self.model(pixel_values=pixels.to(self.model.dtype)).image_embeds


def as_image_encoder(model: Any) -> ImageEncoder:
    """Return what has ``embed`` as it is, and a CLIP vision model behind its adapter."""
    return model if hasattr(model, 'embed') else ClipEncoder(model)
