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
SDS anchoring: guidance conditioned on the nearest of several pictures of one scene.

A model of novel views is least sure far from its input. ZeroNVS synthesises anchor pictures around
the scene once, and conditions each random view on the nearest of them and the input (Sargent et
al., 2024; ``threestudio/models/guidance/zero123_guidance.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

import torch
from torch import Tensor

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.priors.prior import DiffusionPrior
from lift3d_ros.distill.schedules import Schedule

#: Probability that a view is conditioned on the nearest picture instead of the input (ZeroNVS).
ZERONVS_PROBABILITY = Schedule.parse([0, 1.0, 0.0, 2000])


@dataclass(frozen=True, eq=False)
class Anchor:
    """A picture of the scene: the prior conditioned on it, and its camera, ``pose`` (4, 4)."""

    prior: DiffusionPrior
    pose: Tensor


@dataclass(frozen=True, eq=False)
class AnchoredGuidance(ScoreGuidance):
    """
    Guidance that chooses the picture for each view.

    ``prior`` is conditioned on the input, whose camera is ``input_pose`` (4, 4). A view has the
    nearest of input and ``anchors`` with the ``probability`` of the step, else the input.
    """

    anchors: tuple[Anchor, ...] = ()
    input_pose: Tensor = field(default_factory=lambda: torch.eye(4, dtype=torch.float64))
    probability: Schedule = ZERONVS_PROBABILITY

    @torch.no_grad()
    def gradient(
        self,
        latents: Tensor,
        cameras: Cameras,
        step: float,
        generator: torch.Generator,
        textureless: bool = False,
    ) -> Tensor:
        """Return the gradient at latents (b, c, h, w); see ``ScoreGuidance``."""
        chosen = self.choose(cameras, step, generator)
        total = torch.zeros_like(latents)
        for source in chosen.unique().tolist():
            index = (chosen == source).nonzero()[:, 0]
            prior = self.prior if source == 0 else self.anchors[source - 1].prior
            guidance = ScoreGuidance(prior, self.settings, self.clip)
            total[index] = guidance.gradient(
                latents[index], cameras.select(index), step, generator, textureless)
        return total

    def choose(self, cameras: Cameras, step: float, generator: torch.Generator) -> Tensor:
        """Return the picture of each view (b,): 0 for the input, i + 1 for anchor i."""
        poses = torch.stack([self.input_pose, *(anchor.pose for anchor in self.anchors)])
        nearest = geodesic_angles(cameras.poses, poses).argmin(dim=1)
        drawn = torch.rand(len(cameras), generator=generator) < self.probability(step)
        return torch.where(drawn, nearest, torch.zeros_like(nearest))

    def without_anchors(self) -> AnchoredGuidance:
        """Return the same guidance by the input alone."""
        return replace(self, anchors=())


def geodesic_angles(poses: Tensor, others: Tensor) -> Tensor:
    """Return the angles (n, m) in radians between the rotations of poses (n, 4, 4), (m, 4, 4)."""
    trace = torch.einsum(
        'nij,mij->nm', poses[:, :3, :3].double(), others[:, :3, :3].double())
    return torch.acos((0.5 * (trace - 1.0)).clamp(-1.0, 1.0))
