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
Test-time augmentation of the input view: mirrored, rolled, through a longer or shorter lens.

The errors of a network differ from view to view of the same object; their mean is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class AugmentedView:
    """
    Pictures and their cameras, as in the inputs of ``CoarseNet``.

    - ``picture``: (b, c, h, h); ``focal``, ``centre``: (b, 2) pixels; ``pose``: (b, 4, 4).
    """

    picture: Tensor
    focal: Tensor
    centre: Tensor
    pose: Tensor

    def mirrored(self) -> AugmentedView:
        """Return the view of the mirrored object by the mirrored camera."""
        centre = self.centre.clone()
        centre[:, 0] = self.picture.shape[-1] - 1.0 - centre[:, 0]
        # Mirroring negates x of the optical frame and y of the canonical frame.
        pose = self.pose.clone()
        pose[:, :, 0] = -pose[:, :, 0]
        pose[:, 1] = -pose[:, 1]
        return replace(self, picture=self.picture.flip(-1), centre=centre, pose=pose)

    def rolled(self, angle: Tensor, zoom: Tensor) -> AugmentedView:
        """
        Return the view of the camera rolled by ``angle``, its focal length scaled by ``zoom``.

        ``angle`` (b,), radians about the optical axis, counter-clockwise in the picture;
        ``zoom`` (b,). The middle of the picture and depths along the optical axis stay; pixels
        from outside the picture repeat its border.
        """
        middle = 0.5 * (self.picture.shape[-1] - 1.0)
        c, s = angle.cos(), angle.sin()
        roll = torch.stack([torch.stack([c, -s], dim=1), torch.stack([s, c], dim=1)], dim=1)
        # affine_grid maps a pixel of the output to its place in the input.
        back = torch.cat([roll / zoom[:, None, None], torch.zeros_like(roll[:, :, :1])], dim=2)
        grid = functional.affine_grid(back, list(self.picture.shape), align_corners=False)
        picture = functional.grid_sample(
            self.picture, grid, padding_mode='border', align_corners=False
        )
        offset = torch.einsum('bji,bj->bi', roll, self.centre - middle)
        pose = self.pose.clone()
        pose[:, :3, :2] = torch.einsum('bij,bjk->bik', self.pose[:, :3, :2], roll)
        return AugmentedView(
            picture, zoom[:, None] * self.focal, middle + zoom[:, None] * offset, pose
        )


def concatenate_views(views: Sequence[AugmentedView]) -> AugmentedView:
    """Return several views as one batch, in order."""
    return AugmentedView(*(
        torch.cat([getattr(view, field.name) for view in views])
        for field in fields(AugmentedView)
    ))
