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
"""Random cameras, some of them replaced by the input camera (RealFusion, ``nerf/trainer.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import torch

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.errors import bad_request

DEFECTS = ('fixed', 'faithful')


@dataclass(frozen=True)
class ReplacedCameras(CameraSampler):
    """
    A ``CameraSampler`` whose cameras are the input camera in every tenth step.

    - ``input_pose``: its pose, rows of a (4, 4) matrix; ``input_fov``: degrees.
    - ``every``: steps from one replacement to the next.
    - ``noise``: standard deviation of the displacement of replaced cameras.
    - ``defects``: ``faithful`` does what the published program does: its test of the remainder
      is inverted, and the rays exist before. In 9 of 10 steps the *random* camera is displaced by
      the noise, and the prior receives the input camera.
    """

    input_pose: tuple[tuple[float, ...], ...] = ()
    input_fov: float = 49.13
    every: int = 10
    noise: float = 0.02
    defects: str = 'fixed'

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        super().__post_init__()
        if self.defects not in DEFECTS:
            raise bad_request(f'The defects are "{self.defects}"; choose fixed or faithful.')
        if len(self.input_pose) != 4 or self.every < 1 or self.noise < 0.0:
            raise bad_request(
                'Replaced cameras need the pose of the input camera and an interval.')

    def draw(self, n: int, step: int, generator: torch.Generator) -> Cameras:
        """Return n cameras for a step; ``generator`` is on the CPU."""
        cameras = super().draw(n, step, generator)
        offset = self.noise * torch.randn(n, 3, generator=generator, dtype=torch.float64)
        pose = torch.tensor(self.input_pose, dtype=torch.float64).expand(n, 4, 4)
        if self.defects == 'faithful':
            if step % self.every == 0:
                return cameras
            return replace(cameras, poses=_moved(cameras.poses, offset), told=pose)
        if step % self.every:
            return cameras
        moved = _moved(pose, offset)
        x, y, z = moved[:, :3, 3].unbind(-1)
        return Cameras(
            moved, torch.full((n,), self.input_fov, dtype=torch.float64),
            torch.rad2deg(torch.atan2(y, x)), torch.rad2deg(torch.atan2(z, torch.hypot(x, y))),
            moved[:, :3, 3].norm(dim=-1), pose)


def _moved(poses: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Return poses (n, 4, 4) displaced by ``offset`` (n, 3)."""
    poses = poses.clone()
    poses[:, :3, 3] += offset
    return poses
