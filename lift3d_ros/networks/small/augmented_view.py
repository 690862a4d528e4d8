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
Other looks at the same picture: mirrored, rolled, through another lens.

What a network sees in a picture differs a little from look to look, where what there is to see
does not: the mean over looks is nearer to the truth.
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
class Look:
    """
    Pictures and their cameras, as ``CoarseNet`` has them.

    - ``picture``: (b, c, h, h); ``focal``, ``centre``: (b, 2) pixels; ``pose``: (b, 4, 4).
    """

    picture: Tensor
    focal: Tensor
    centre: Tensor
    pose: Tensor

    def mirrored(self) -> Look:
        """Return the picture of the mirror image of the object, and the camera that sees it."""
        size = self.picture.shape[-1]
        beyond = torch.stack([size - 1.0 - self.centre[:, 0], self.centre[:, 1]], dim=1)
        # Right and left change sides along x of the optical frame and y of the canonical one.
        turned = self.pose.clone()
        turned[:, :, 0] = -turned[:, :, 0]
        turned[:, 1] = -turned[:, 1]
        return replace(self, picture=self.picture.flip(-1), centre=beyond, pose=turned)

    def turned(self, angle: Tensor, zoom: Tensor) -> Look:
        """
        Return what the camera sees when it is rolled by ``angle`` and its lens is longer.

        ``angle`` (b,), radians about the optical axis, counter-clockwise in the picture;
        ``zoom`` (b,), a factor of the focal length. The middle of the picture and depths along the
        optical axis stay; what comes in at the border is like the border.
        """
        middle = 0.5 * (self.picture.shape[-1] - 1.0)
        c, s = angle.cos(), angle.sin()
        turn = torch.stack([torch.stack([c, -s], dim=1), torch.stack([s, c], dim=1)], dim=1)
        # A pixel of the turned picture is looked up at this place of the straight one.
        back = torch.cat([turn / zoom[:, None, None], torch.zeros_like(turn[:, :, :1])], dim=2)
        grid = functional.affine_grid(back, list(self.picture.shape), align_corners=False)
        picture = functional.grid_sample(
            self.picture, grid, padding_mode='border', align_corners=False
        )
        offset = torch.einsum('bji,bj->bi', turn, self.centre - middle)
        pose = self.pose.clone()
        pose[:, :3, :2] = torch.einsum('bij,bjk->bik', self.pose[:, :3, :2], turn)
        return Look(
            picture, zoom[:, None] * self.focal, middle + zoom[:, None] * offset, pose
        )


def joined(looks: Sequence[Look]) -> Look:
    """Return the pictures of several looks as one batch, one look after the other."""
    return Look(
        *(torch.cat([getattr(look, part.name) for look in looks]) for part in fields(Look))
    )
