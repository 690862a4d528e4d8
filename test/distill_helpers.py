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

"""A bank of objects made of boxes, rendered exactly, and a task for the optimisation loop."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import pixel_rays
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.priors.exact import BankPrior
from lift3d_ros.fields.occupancy_grid import OccupancyGrid
from lift3d_ros.progress import Progress

FOV = 49.13

#: Members of the bank: boxes of centre, sides and colour. Each has the same foot, and differs from
#: the others in its upper part; none is symmetric to the plane of the input camera.
MEMBERS = (
    (((0.0, 0.0, -0.25), (0.5, 0.7, 0.3), (0.9, 0.2, 0.1)),
     ((0.0, 0.22, 0.1), (0.4, 0.25, 0.5), (0.1, 0.3, 0.9))),
    (((0.0, 0.0, -0.25), (0.5, 0.7, 0.3), (0.9, 0.2, 0.1)),
     ((0.0, -0.22, 0.1), (0.4, 0.25, 0.5), (0.1, 0.3, 0.9))),
    (((0.0, 0.0, -0.25), (0.5, 0.7, 0.3), (0.9, 0.2, 0.1)),
     ((-0.1, 0.1, 0.0), (0.25, 0.5, 0.25), (0.2, 0.8, 0.2))),
    (((0.0, 0.0, -0.25), (0.5, 0.7, 0.3), (0.2, 0.2, 0.2)),
     ((0.1, -0.1, 0.15), (0.2, 0.3, 0.6), (0.9, 0.8, 0.1))),
)


def render_boxes(boxes, poses, size, fov=FOV, samples=2):
    """Return premultiplied RGBA (n, 4, size, size) of boxes before cameras (n, 4, 4)."""
    fovs = torch.full((len(poses),), fov, dtype=torch.float64)
    zeros = torch.zeros(len(poses), dtype=torch.float64)
    cameras = Cameras(poses.double(), fovs, zeros, zeros, zeros)
    origins, directions = pixel_rays(cameras, size * samples)
    inverse = 1.0 / torch.where(directions.abs() < 1e-9, 1e-9, directions)
    nearest = torch.full(directions.shape[:-1], torch.inf)
    image = torch.zeros((*directions.shape[:-1], 4))
    for centre, sides, color in boxes:
        half, middle = 0.5 * torch.tensor(sides), torch.tensor(centre)
        a, b = (middle - half - origins) * inverse, (middle + half - origins) * inverse
        enter, leave = torch.minimum(a, b).amax(-1), torch.maximum(a, b).amin(-1)
        hit = (enter < leave) & (enter < nearest)
        nearest = torch.where(hit, enter, nearest)
        image = torch.where(hit[..., None], torch.tensor([*color, 1.0]), image)
    image = image.permute(0, 3, 1, 2)
    return torch.nn.functional.avg_pool2d(image, samples)


def make_bank(size, azimuth_sign=1.0, members=MEMBERS):
    """Return the bank as a prior; a sign of -1 mirrors the azimuths of its cameras."""
    mirror = torch.diag(torch.tensor([1.0, azimuth_sign, 1.0, 1.0], dtype=torch.float64))

    def render(poses):
        eyes = poses[:, :3, 3].double() @ mirror[:3, :3]
        azimuth = torch.rad2deg(torch.atan2(eyes[:, 1], eyes[:, 0]))
        elevation = torch.rad2deg(torch.asin(eyes[:, 2] / eyes.norm(dim=1)))
        seen = Cameras.orbit(azimuth, elevation, eyes.norm(dim=1), FOV).poses
        return torch.stack([render_boxes(member, seen, size) for member in members], dim=1)

    return BankPrior(render)


def box_occupancy(boxes, points):
    """Return which points (n, 3) are in the boxes."""
    inside = torch.zeros(len(points), dtype=torch.bool)
    for centre, sides, _ in boxes:
        inside |= ((points - torch.tensor(centre)).abs() <= 0.5 * torch.tensor(sides)).all(1)
    return inside


def box_grid(boxes, n=48, bound=0.6):
    """Return the boxes as a ``Field`` of n^3 voxels, with their colours."""
    axis = (np.arange(n) + 0.5) * 2.0 * bound / n - bound
    points = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), -1).reshape(-1, 3)
    rgb = np.zeros((len(points), 3), np.float32)
    for box in boxes:
        rgb[box_occupancy([box], torch.from_numpy(points)).numpy()] = box[2]
    inside = box_occupancy(boxes, torch.from_numpy(points)).numpy().astype(np.float32)
    return OccupancyGrid.of_cube(
        inside.reshape(n, n, n), rgb.T.reshape(3, n, n, n), np.zeros(3), 2.0 * bound)


class Module(nn.Module):
    """Two groups of parameters, and a buffer that follows one of them."""

    def __init__(self, size=6):
        super().__init__()
        self.grid = nn.Parameter(torch.zeros(size))
        self.head = nn.Parameter(torch.ones(2))
        self.register_buffer('occupancy', torch.zeros(size))


class NoisyTask:
    """Descends a noisy quadratic towards 3 and -1; may fail at a step."""

    def __init__(self, fail=None, size=6, head_factor=1.0):
        self.module = Module(size)
        self.fail, self.head_factor = fail or {}, head_factor
        self.steps = []

    def parameter_groups(self, rate):
        return [{'params': [self.module.grid]},
                {'params': [self.module.head], 'lr': rate * self.head_factor}]

    def losses(self, step, generator, check):
        check()
        self.steps.append(step)
        if step in self.fail:
            self.fail[step](self)
        noise = 0.1 * torch.randn(len(self.module.grid), generator=generator)
        # The buffer is part of the state that decides the next step.
        target = 3.0 + noise + 0.01 * self.module.occupancy
        return {'grid': (self.module.grid - target).square().sum(),
                'head': (self.module.head + 1.0).square().sum()}

    def after_step(self, step, generator):
        if step % 4 == 0:
            jitter = torch.rand(len(self.module.grid), generator=generator)
            self.module.occupancy.lerp_(self.module.grid.detach() + jitter, 0.1)

    def preview(self):
        value = int(self.module.grid.detach().mean().clamp(0, 3) * 85)
        return np.full((4, 4, 3), value, np.uint8)


ADAM = OptimizerSettings(rate=0.05, average=0.9)


def settings(steps=60, **changes):
    return LoopSettings(steps=steps, optimizer=changes.pop('optimizer', ADAM), **changes)


def state(task):
    return {name: value.clone() for name, value in task.module.state_dict().items()}


def assert_equal_states(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def cancel_after(calls):
    """Return progress that is cancelled after a number of checks, and their count."""
    count = []

    def cancelled():
        count.append(1)
        return len(count) > calls

    return Progress(cancelled=cancelled), count
