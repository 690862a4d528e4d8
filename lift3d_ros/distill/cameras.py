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
Random cameras around the object, with the distributions of the publications.

Canonical coordinates: z up, the object at the origin, the input camera at azimuth 0. Radii are in
the units of the publication; ``scaled`` adapts them to a reference camera at another distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import math

import torch
from torch import Tensor

from lift3d_ros.errors import bad_request
from lift3d_ros.geometry import ZERO123_FOV

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Cameras:
    """
    Cameras of a batch.

    - ``poses``: (n, 4, 4) float64, ``T_object_camera`` of optical frames.
    - ``fov``: (n,) degrees, horizontal.
    - ``azimuth``, ``elevation``: (n,) degrees, ``radius``: (n,), of their positions, with jitter.
    - ``told``: (n, 4, 4), the poses by which a prior is conditioned; None for ``poses``.
    """

    poses: Tensor
    fov: Tensor
    azimuth: Tensor
    elevation: Tensor
    radius: Tensor
    told: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of cameras."""
        return len(self.poses)

    def select(self, index: Tensor) -> Cameras:
        """Return the cameras of ``index`` (m,)."""
        return Cameras(
            self.poses[index], self.fov[index], self.azimuth[index], self.elevation[index],
            self.radius[index], None if self.told is None else self.told[index])

    @classmethod
    def orbit(
        cls, azimuth: Tensor, elevation: Tensor, radius: Tensor, fov: Tensor | float
    ) -> Cameras:
        """Return cameras on spheres that look at the origin; angles (n,) in degrees."""
        azimuth, elevation, radius = (
            torch.as_tensor(value, dtype=torch.float64) for value in (azimuth, elevation, radius))
        azimuth, elevation, radius = torch.broadcast_tensors(azimuth, elevation, radius)
        angles = torch.as_tensor(fov, dtype=torch.float64).expand(len(azimuth))
        eyes = _spherical(azimuth, elevation, radius)
        zero = torch.zeros_like(eyes)
        return cls(_look_at(eyes, zero, zero), angles, azimuth, elevation, radius)


@dataclass(frozen=True)
class CameraSampler:
    """
    A distribution of cameras.

    - ``radius``, ``fov`` (degrees): uniform within the ranges.
    - ``elevation``, ``azimuth``: degrees, uniform in the angle within the ranges.
    - ``sphere``: share of the cameras whose direction is instead uniform on the sphere within the
      range of elevations ``sphere_elevation``; their azimuth keeps its range.
    - ``height``: bounds of z; cameras outside of them are drawn again.
    - ``stratified``: whether the azimuths of a batch divide their range into equal parts.
    - ``centre_jitter``: bound of a uniform displacement of the camera; ``target_jitter`` and
      ``up_jitter``: standard deviations of the point looked at and of the up direction.
    - ``near_input``: share of the cameras that are the input camera with this jitter: at azimuth
      0, ``start_elevation`` and the least radius.
    - ``widening``: steps over which the ranges of angles widen from the input camera, at azimuth 0
      and ``start_elevation``, to their full size; 0 starts with the full ranges.
    """

    radius: Range
    elevation: Range
    azimuth: Range = (-180.0, 180.0)
    fov: Range = (ZERO123_FOV, ZERO123_FOV)
    sphere: float = 0.0
    sphere_elevation: Range = (-90.0, 90.0)
    height: Range | None = None
    stratified: bool = False
    centre_jitter: float = 0.0
    target_jitter: float = 0.0
    up_jitter: float = 0.0
    near_input: float = 0.0
    widening: int = 0
    start_elevation: float = 0.0

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for ranges without cameras."""
        ranges = {
            'radius': (self.radius, 1e-6, math.inf), 'fov': (self.fov, 1e-3, 179.0),
            'elevation': (self.elevation, -90.0, 90.0),
            'sphere_elevation': (self.sphere_elevation, -90.0, 90.0),
            'azimuth': (self.azimuth, -360.0, 360.0), 'sphere': ((self.sphere,) * 2, 0.0, 1.0),
            'near_input': ((self.near_input,) * 2, 0.0, 1.0),
        }
        for name, ((low, high), least, most) in ranges.items():
            if not least <= low <= high <= most:
                raise bad_request(
                    f'The cameras have {name} {low:g} to {high:g}; choose a rising range within '
                    f'{least:g} to {most:g}.')
        if self.height is not None and not (
            self.height[0] < self.height[1]
            and self.height[0] < self.radius[0] and self.height[1] > -self.radius[0]
        ):
            raise bad_request(f'No camera has a height of {self.height}; widen the range.')

    def scaled(self, factor: float) -> CameraSampler:
        """Return the same cameras with lengths multiplied by ``factor``."""
        low, high = self.radius
        height = self.height and (self.height[0] * factor, self.height[1] * factor)
        return replace(
            self, radius=(low * factor, high * factor), height=height,
            centre_jitter=self.centre_jitter * factor, target_jitter=self.target_jitter * factor,
        )

    def draw(self, n: int, step: int, generator: torch.Generator) -> Cameras:
        """Return n cameras for a step; ``generator`` is on the CPU."""
        opened = min(1.0, step / self.widening) if self.widening else 1.0
        azimuth_range = _opened(self.azimuth, 0.0, opened)
        elevation_range = _opened(self.elevation, self.start_elevation, opened)
        sphere_range = _opened(self.sphere_elevation, self.start_elevation, opened)
        radius = _uniform(self.radius, n, generator)
        part = torch.rand(n, generator=generator, dtype=torch.float64)
        if self.stratified:
            part = (torch.arange(n, dtype=torch.float64) + part) / n
        azimuth = azimuth_range[0] + (azimuth_range[1] - azimuth_range[0]) * part
        elevation = self._elevations(elevation_range, sphere_range, radius, generator)
        if self.near_input:
            near = torch.rand(n, generator=generator) < self.near_input
            azimuth = torch.where(near, 0.0, azimuth)
            elevation = torch.where(near, self.start_elevation, elevation)
            radius = torch.where(near, self.radius[0], radius)
        fov = _uniform(self.fov, n, generator)
        eyes = _spherical(azimuth, elevation, radius)
        target, up = torch.zeros_like(eyes), torch.zeros_like(eyes)
        if self.centre_jitter:
            bounds = (-self.centre_jitter, self.centre_jitter)
            eyes = eyes + _uniform(bounds, 3 * n, generator).reshape(n, 3)
        if self.target_jitter:
            target = self.target_jitter * _normal(n, generator)
        if self.up_jitter:
            up = self.up_jitter * _normal(n, generator)
        x, y, z = eyes.unbind(-1)
        return Cameras(
            _look_at(eyes, target, up), fov, torch.rad2deg(torch.atan2(y, x)),
            torch.rad2deg(torch.atan2(z, torch.hypot(x, y))), eyes.norm(dim=-1),
        )

    def _elevations(
        self, angles: Range, sphere: Range, radius: Tensor, generator: torch.Generator
    ) -> Tensor:
        n = len(radius)
        sines = (math.sin(math.radians(sphere[0])), math.sin(math.radians(sphere[1])))
        if self.height is not None:
            # Uniform on a sphere is uniform in z, so that the bounds need no second draw.
            low = (self.height[0] / radius).clamp(sines[0], sines[1])
            high = (self.height[1] / radius).clamp(sines[0], sines[1])
        else:
            low, high = (torch.full((n,), sine, dtype=torch.float64) for sine in sines)
        part = torch.rand(n, generator=generator, dtype=torch.float64)
        on_sphere = torch.rad2deg(torch.asin((low + (high - low) * part).clamp(-1.0, 1.0)))
        chosen = torch.rand(n, generator=generator, dtype=torch.float64) < self.sphere
        return torch.where(chosen, on_sphere, _uniform(angles, n, generator))


def nearby(cameras: Cameras, distance: float, generator: torch.Generator) -> Cameras:
    """
    Return cameras whose eyes are displaced by ``distance`` in random directions.

    They look at the origin; the smoothness of nearby views compares their renderings
    (Zero-1-to-3, ``3drec/``: 0.05 at a radius of 2).
    """
    step = _normal(len(cameras), generator)
    eyes = cameras.poses[:, :3, 3] + distance * step / step.norm(dim=-1, keepdim=True)
    x, y, z = eyes.unbind(-1)
    return Cameras.orbit(
        torch.rad2deg(torch.atan2(y, x)), torch.rad2deg(torch.atan2(z, torch.hypot(x, y))),
        eyes.norm(dim=-1), cameras.fov,
    )


def pixel_rays(cameras: Cameras, size: int) -> tuple[Tensor, Tensor]:
    """
    Return origins and unit directions (n, size, size, 3), float32, of the pixels' centres.

    The pictures are square; rows go down the image.
    """
    half = torch.tan(torch.deg2rad(cameras.fov) / 2.0)
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 2.0 - 1.0
    v, u = torch.meshgrid(at, at, indexing='ij')
    local = torch.stack([u, v, torch.ones_like(u)], dim=-1).expand(len(cameras), -1, -1, -1)
    scale = torch.stack([half, half, torch.ones_like(half)], dim=-1)
    local = torch.nn.functional.normalize(local * scale[:, None, None], dim=-1)
    directions = torch.einsum('nij,nhwj->nhwi', cameras.poses[:, :3, :3], local)
    origins = cameras.poses[:, None, None, :3, 3].expand_as(directions)
    return origins.float(), directions.float()


def view_word(azimuth: float, elevation: float, front: float = 60.0, top: float = 30.0) -> str:
    """
    Return ``front``, ``side``, ``back``, ``overhead`` or ``bottom`` for a prompt.

    A view is at the front or back within ``front`` degrees of azimuth 0 or 180, and overhead or
    bottom within ``top`` degrees of the vertical (stable-dreamfusion, ``get_view_direction``).
    """
    if elevation > 90.0 - top:
        return 'overhead'
    if elevation < top - 90.0:
        return 'bottom'
    turn = abs((azimuth + 180.0) % 360.0 - 180.0)
    return 'front' if turn <= front else 'back' if turn >= 180.0 - front else 'side'


def view_words(poses: Tensor) -> list[str]:
    """Return the words of ``view_word`` for cameras (n, 4, 4) around the origin."""
    x, y, z = poses[:, :3, 3].double().cpu().unbind(-1)
    azimuths = torch.rad2deg(torch.atan2(y, x)).tolist()
    elevations = torch.rad2deg(torch.atan2(z, torch.hypot(x, y))).tolist()
    return [view_word(a, e) for a, e in zip(azimuths, elevations, strict=True)]


def _opened(bounds: Range, start: float, share: float) -> Range:
    low, high = (share * end + (1.0 - share) * start for end in bounds)
    return low, high


def _uniform(bounds: Range, n: int, generator: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def _normal(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 3, generator=generator, dtype=torch.float64)


def _spherical(azimuth: Tensor, elevation: Tensor, radius: Tensor) -> Tensor:
    a, e = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    return torch.stack(
        [radius * a.cos() * e.cos(), radius * a.sin() * e.cos(), radius * e.sin()], dim=-1)


def _look_at(eyes: Tensor, targets: Tensor, up_offset: Tensor) -> Tensor:
    """Return poses (n, 4, 4), as ``geometry.look_at`` also at the poles."""
    forward = torch.nn.functional.normalize(targets - eyes, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=eyes.dtype) + up_offset
    right = torch.linalg.cross(forward, up)
    side = torch.where(forward[:, 2:] < 0.0, -1.0, 1.0) * torch.tensor([1.0, 0.0, 0.0]).to(eyes)
    at_pole = right.norm(dim=-1, keepdim=True) < 1e-9
    right = torch.where(at_pole, torch.linalg.cross(forward, side), right)
    right = torch.nn.functional.normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right)
    poses = torch.eye(4, dtype=eyes.dtype).repeat(len(eyes), 1, 1)
    poses[:, :3] = torch.stack([right, down, forward, eyes], dim=-1)
    return poses


#: Zero-1-to-3, ``3drec/``: radius 2, its heights; the lens of the training renders.
ZERO123_SJC = CameraSampler(
    radius=(1.8, 2.2), elevation=(0.0, 0.0), sphere=1.0, height=(-0.5, 2.2))

#: threestudio, ``configs/zero123.yaml`` and ``stable-zero123.yaml``.
THREESTUDIO_ZERO123 = CameraSampler(
    radius=(3.8, 3.8), elevation=(-10.0, 80.0), fov=(20.0, 20.0), sphere=0.5,
    sphere_elevation=(-10.0, 80.0), stratified=True)

#: NeuralLift-360, ``configs/cabin.yaml`` and ``nerf/provider.py``, whose sphere is its upper half;
#: its reference camera has the radius 0.4 and a lens of 60 degrees.
NEURALLIFT360 = CameraSampler(
    radius=(0.4, 1.0), elevation=(-10.0, 90.0), fov=(40.0, 70.0), sphere=0.5,
    sphere_elevation=(0.0, 90.0), centre_jitter=0.05, target_jitter=0.1, up_jitter=0.01,
    near_input=0.05)

#: RealFusion, ``nerf/options.py``; its reference camera has the radius 1.8, the elevation 15.
REALFUSION = CameraSampler(
    radius=(1.0, 1.5), elevation=(-30.0, 90.0), fov=(40.0, 70.0), sphere=0.5)

#: ZeroNVS, ``configs/zero123_scene.yaml``; its reference camera has the distance 1.
ZERONVS = CameraSampler(
    radius=(0.8, 1.8), elevation=(5.0, 80.0), fov=(52.55, 52.55), widening=1000,
    start_elevation=31.0)
