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
Random variations of one picture of an object, for textual inversion and fine-tuning.

The chain is RealFusion's (Melas-Kyriazi et al., 2023; ``textual-inversion/main.py``) with three
differences. Rotation, crop and mirroring are one interpolation in place of three. What lies
outside of the picture is transparent, and colours change within the object alone: the background
stays white. The colours stay normalised: the published chain returns [0, 1] where its autoencoder
expects [-1, 1]; here the prior's ``encode`` does that.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.errors import bad_image

#: Widths and heights that RandomResizedCrop of torchvision tries before the whole picture, and its
#: ratios of width to height.
_CROP_TRIES, _CROP_RATIO = 10, (3.0 / 4.0, 4.0 / 3.0)

#: Weights of RGB in a grey picture (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)

#: Side of the pictures that the published radius of the blur is for, pixels, and its taps.
_BLUR_SIZE, _BLUR_TAPS = 512, 5


@dataclass(frozen=True)
class AugmentationSettings:
    """
    The distribution of variations; the defaults are RealFusion's.

    - ``rotated``: share of rotated pictures, within ``rotation`` degrees; of these the middle of
      ``rotation_crop`` of the side is kept.
    - ``crop``: range of the area of a random crop over the picture's; more than 1 keeps all of it.
    - ``jittered``: share of pictures whose brightness, contrast and saturation change by up to the
      share ``jitter``, and their hue by up to as many turns.
    - ``grey``, ``blurred``, ``mirrored``: shares; ``blur``: range of the standard deviation,
      pixels of a picture of 512.
    """

    rotated: float = 0.75
    rotation: float = 10.0
    rotation_crop: float = 5.0 / 6.0
    crop: tuple[float, float] = (0.85, 1.15)
    jittered: float = 0.75
    jitter: float = 0.04
    grey: float = 0.1
    blurred: float = 0.1
    blur: tuple[float, float] = (0.1, 2.0)
    mirrored: float = 0.5


#: The picture as it is.
NO_AUGMENTATION = AugmentationSettings(
    rotated=0.0, crop=(1.0, 1.0), jittered=0.0, grey=0.0, blurred=0.0, mirrored=0.0)


class AugmentedPicture:
    """Draws variations of one picture."""

    def __init__(
        self, image: Tensor, size: int, settings: AugmentationSettings | None = None
    ) -> None:
        """
        Keep the picture.

        ``image`` is square RGBA (4, h, h) in [0, 1], the colour multiplied by alpha; ``size`` is
        the side of what is drawn. Raises ``LiftError(BAD_IMAGE)`` for another shape and for an
        empty alpha.
        """
        if image.ndim != 3 or image.shape[0] != 4 or image.shape[1] != image.shape[2]:
            raise bad_image(
                f'The picture has the shape {tuple(image.shape)}; give a square RGBA picture, '
                'whose alpha is the mask of the object.')
        if not bool((image[3] > 0.5).any()):
            raise bad_image('The alpha of the picture is empty; give one that shows the object.')
        self._image = image.float()
        self._size = size
        self.settings = settings or AugmentationSettings()

    def __call__(self, generator: torch.Generator, count: int = 1) -> Tensor:
        """Return variations (count, 4, size, size) of the picture; ``generator`` on the CPU."""
        return torch.cat([self._draw(generator) for _ in range(count)])

    def _draw(self, generator: torch.Generator) -> Tensor:
        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        s = self.settings
        matrix = torch.eye(2)
        if uniform(0.0, 1.0) < s.rotated:
            angle = math.radians(uniform(-s.rotation, s.rotation))
            c, n = math.cos(angle), math.sin(angle)
            matrix = s.rotation_crop * torch.tensor([[c, -n], [n, c]])
        width, height = self._crop(generator)
        at = torch.tensor([
            uniform(width - 1.0, 1.0 - width), uniform(height - 1.0, 1.0 - height)])
        mirror = -1.0 if uniform(0.0, 1.0) < s.mirrored else 1.0
        theta = torch.cat(
            [matrix @ torch.diag(torch.tensor([mirror * width, height])), (matrix @ at)[:, None]],
            dim=1)
        picture = self._sampled(theta)
        if uniform(0.0, 1.0) < s.jittered:
            brightness, contrast, saturation = (
                uniform(1.0 - s.jitter, 1.0 + s.jitter) for _ in range(3))
            picture = _jittered(
                picture, brightness, contrast, saturation, uniform(-s.jitter, s.jitter))
        if uniform(0.0, 1.0) < s.grey:
            picture = _saturated(picture, 0.0)
        if uniform(0.0, 1.0) < s.blurred:
            picture = _blurred(picture, uniform(*s.blur) * self._size / _BLUR_SIZE)
        return picture

    def _crop(self, generator: torch.Generator) -> tuple[float, float]:
        """Return width and height of the crop over the side of the picture."""
        if self.settings.crop == (1.0, 1.0):
            return 1.0, 1.0
        low, high = self.settings.crop
        for _ in range(_CROP_TRIES):
            part = torch.rand(2, generator=generator)
            area = low + (high - low) * float(part[0])
            first, last = (math.log(ratio) for ratio in _CROP_RATIO)
            ratio = math.exp(first + (last - first) * float(part[1]))
            width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if width <= 1.0 and height <= 1.0:
                return width, height
        return 1.0, 1.0

    def _sampled(self, theta: Tensor) -> Tensor:
        """Return the picture (1, 4, size, size) at the places that ``theta`` (2, 3) maps to."""
        image = self._image[None]
        # Bilinear sampling of a much larger picture would skip pixels.
        if image.shape[-1] > 2 * self._size:
            image = functional.interpolate(
                image, (2 * self._size, 2 * self._size), mode='bilinear', antialias=True)
        fine = self._size * max(1, min(2, image.shape[-1] // self._size))
        grid = functional.affine_grid(
            theta[None].to(image), [1, 4, fine, fine], align_corners=False)
        picture = functional.grid_sample(image, grid, padding_mode='zeros', align_corners=False)
        return functional.interpolate(picture, (self._size, self._size), mode='area')


def _jittered(
    picture: Tensor, brightness: float, contrast: float, saturation: float, turn: float
) -> Tensor:
    """Return the picture with its colours multiplied by factors, and its hue turned."""
    color, alpha = picture[:, :3] * brightness, picture[:, 3:]
    luma = color.new_tensor(_LUMA)[None, :, None, None]
    mean = (luma * color).sum() / alpha.sum().clamp_min(1e-6)
    color = contrast * color + (1.0 - contrast) * mean * alpha
    picture = _saturated(torch.cat([color, alpha], dim=1), saturation)
    # A turn about the grey axis; the published one shifts the hue of HSV.
    angle = 2.0 * math.pi * turn
    c, s = math.cos(angle), math.sin(angle) / math.sqrt(3.0)
    a, b, d = c + (1.0 - c) / 3.0, (1.0 - c) / 3.0 - s, (1.0 - c) / 3.0 + s
    rotation = color.new_tensor([[a, b, d], [d, a, b], [b, d, a]])
    color = torch.einsum('ij,njhw->nihw', rotation, picture[:, :3])
    return torch.cat([torch.minimum(color.clamp_min(0.0), alpha), alpha], dim=1)


def _saturated(picture: Tensor, factor: float) -> Tensor:
    """Return the picture with the differences from its grey multiplied by a factor."""
    color = picture[:, :3]
    grey = (color.new_tensor(_LUMA)[None, :, None, None] * color).sum(dim=1, keepdim=True)
    return torch.cat([grey + factor * (color - grey), picture[:, 3:]], dim=1)


def _blurred(picture: Tensor, stddev: float) -> Tensor:
    """Return the picture after a Gaussian filter of five taps in each direction."""
    offsets = torch.arange(_BLUR_TAPS, dtype=picture.dtype) - _BLUR_TAPS // 2
    taps = torch.softmax(-0.5 * (offsets / max(stddev, 1e-3)).square(), dim=0)
    kernel = taps.to(picture).expand(4, 1, 1, -1)
    half = _BLUR_TAPS // 2
    picture = functional.conv2d(picture, kernel, padding=(0, half), groups=4)
    return functional.conv2d(picture, kernel.transpose(2, 3), padding=(half, 0), groups=4)
