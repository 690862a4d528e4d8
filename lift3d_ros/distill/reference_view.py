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

"""The input view of a distilled object: what its rays shall see."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import hashlib
import math

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import pixel_rays
from lift3d_ros.errors import bad_image
from lift3d_ros.fields.rays import Rays
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import ZERO123_FOV


@dataclass(frozen=True, eq=False)
class ReferenceView:
    """
    The input picture on n = size^2 rays.

    - ``rays``: of its pixels, row by row; ``size``: pixels a side.
    - ``color``: (n, 3) RGB in [0, 1]; ``mask``: (n,) in [0, 1].
    - ``depth``: (n,) along the rays, canonical units, NaN where there is no reading; or None.
    - ``order``: (n,), increases with the distance in any unit, NaN where unknown; or None.
    - ``known``: (n,) bool, the rays to compare: an occluder hides what is behind the others; None
      for all.
    """

    rays: Rays
    size: int
    color: Tensor
    mask: Tensor
    depth: Tensor | None = None
    order: Tensor | None = None
    known: Tensor | None = None

    @classmethod
    def from_image(
        cls,
        rgba: Floats,
        camera: Cameras,
        depth: Floats | None = None,
        order: Floats | None = None,
        device: torch.device | str = 'cpu',
    ) -> ReferenceView:
        """
        Return the view of a square picture RGBA (h, h, 4) in [0, 1] from one camera.

        Other arguments and errors as ``from_rays``.
        """
        size = rgba.shape[0]
        origins, directions = (part[0].reshape(-1, 3) for part in pixel_rays(camera, size))
        cosines = directions @ camera.poses[0, :3, 2].to(directions)
        rays = Rays(origins.to(device), directions.to(device), cosines.to(device))
        return cls.from_rays(rgba, rays, depth, order)

    @classmethod
    def from_rays(
        cls,
        rgba: Floats,
        rays: Rays,
        depth: Floats | None = None,
        order: Floats | None = None,
        known: NDArray[np.bool_] | None = None,
    ) -> ReferenceView:
        """
        Return the view of a square picture RGBA (h, h, 4) in [0, 1], on the device of its rays.

        ``rays`` (h^2) are those of its pixels, with their cosines. ``depth`` (h, h) is along the
        optical axis in canonical units, 0 or NaN where there is no reading; ``order`` (h, h) a
        monocular prediction. Without ``order`` the depth orders. ``known`` (h, h) marks the
        pixels to compare.

        Raises ``LiftError(BAD_IMAGE)`` for a picture without alpha, one that is not square, an
        empty mask, and maps of another size.
        """
        size = rgba.shape[0]
        if rgba.shape != (size, size, 4) or not np.isfinite(rgba).all():
            raise bad_image(
                f'The picture has the shape {rgba.shape}; give a square RGBA picture, whose alpha '
                'is the mask of the object.')
        if not (rgba[..., 3] > 0.5).any():
            raise bad_image('The alpha of the picture is empty; give one that shows the object.')
        for values in (depth, order, known):
            if values is not None and values.shape != (size, size):
                raise bad_image(
                    f'A depth map has the shape {values.shape}; give one of {size} x {size}.')
        device, cosines = rays.origins.device, rays.cosines
        assert cosines is not None, 'the rays of a camera have cosines'
        pixels = torch.tensor(rgba, dtype=torch.float32, device=device).reshape(-1, 4)

        def values_of(image: Floats | None) -> Tensor | None:
            if image is None:
                return None
            return torch.tensor(image, dtype=torch.float32, device=device).reshape(-1)

        along = values_of(depth)
        if along is not None:
            along = torch.where(along > 0.0, along / cosines, torch.nan)
        ranked = values_of(order)
        return cls(
            rays, size, pixels[:, :3], pixels[:, 3], along, along if ranked is None else ranked,
            None if known is None else torch.tensor(known, device=device).reshape(-1))

    def ordered(self, depth: Tensor) -> ReferenceView:
        """
        Return the view with the order of a depth (h, h) along the optical axis.

        It is 0 or NaN where it is not known; its nearest pixels are taken.
        """
        cosines = self.rays.cosines
        assert cosines is not None, 'the rays of a camera have cosines'
        values = functional.interpolate(
            depth[None, None].to(cosines), (self.size, self.size), mode='nearest-exact').flatten()
        along = torch.where(values > 0.0, values / cosines, torch.nan)
        return replace(self, order=along)

    def picture(self) -> Tensor:
        """Return the picture, premultiplied RGBA (4, size, size)."""
        image = torch.cat([self.color * self.mask[:, None], self.mask[:, None]], dim=1)
        return image.T.reshape(4, self.size, self.size)

    def camera(self) -> Cameras:
        """Return the camera of the view, with the lens of Zero-1-to-3 towards the origin."""
        x, y, z = self.rays.origins[0].double().cpu().tolist()
        return Cameras.orbit(
            torch.tensor([math.degrees(math.atan2(y, x))]),
            torch.tensor([math.degrees(math.atan2(z, math.hypot(x, y)))]),
            torch.tensor([math.sqrt(x * x + y * y + z * z)]), ZERO123_FOV)

    def identity(self) -> str:
        """Return a digest of the picture, its mask, maps and rays."""
        digest = hashlib.sha256()
        for part in (self.color, self.mask, self.depth, self.order, self.known,
                     self.rays.directions, self.rays.origins):
            digest.update(b'-' if part is None else part.cpu().numpy().tobytes())
        return digest.hexdigest()
