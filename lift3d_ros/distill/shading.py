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

"""How random views are shaded, so that the prior judges their shape."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.errors import bad_request
from lift3d_ros.fields.volume_rendering import Shading


@dataclass(frozen=True)
class ShadingSettings:
    """
    How random views are shaded, so that the prior judges their shape (DreamFusion).

    - ``start``: step before which they show the albedo alone.
    - ``albedo``, ``textureless``: shares of the steps with the albedo alone and with the shading
      alone; the others have both.
    - ``ambient``: brightness without light. The light is near the camera.
    """

    start: int = 0
    albedo: float = 0.2
    textureless: float = 0.4
    ambient: float = 0.1

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` unless the numbers are shares."""
        shares = (self.albedo, self.textureless, self.albedo + self.textureless, self.ambient)
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise bad_request('Shares of shading are outside of 0 to 1; choose others.')

    def draw(self, step: int, camera: Cameras, generator: torch.Generator) -> Shading | None:
        """Return the shading of a step, None for the albedo; ``generator`` is on the CPU."""
        chosen = float(torch.rand(1, generator=generator))
        offset = torch.randn(3, generator=generator)
        if step < self.start or chosen < self.albedo:
            return None
        light = nn.functional.normalize(camera.poses[0, :3, 3].float() + offset, dim=0)
        return Shading(light, self.ambient, chosen < self.albedo + self.textureless)


#: RealFusion: ``nerf/trainer.py``; NeuralLift-360: ``configs/cabin.yaml``.
REALFUSION_SHADING = ShadingSettings(1000, 0.2, 0.4)
NEURALLIFT360_SHADING = ShadingSettings(400, 0.25, 0.375)
