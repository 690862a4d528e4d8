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
Volume rendering of radiance fields (Max 1995; Mildenhall et al. 2020).

An interval of length d with the density s has the opacity 1 - exp(-s d). Colours, depths and
normals of a ray are means by the weights of its intervals: their opacity times what the intervals
before them let through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.radiance import density_normals
from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.rays import box_interval
from lift3d_ros.fields.rays import Histogram
from lift3d_ros.fields.rays import Rays
from lift3d_ros.fields.rays import resample_edges
from lift3d_ros.fields.rays import sample_within
from lift3d_ros.fields.rays import share_to_distance
from lift3d_ros.fields.rays import SPACINGS
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera

NORMALS = ('none', 'difference', 'autograd')

#: The colours behind a field: (channels,), (n, channels), or a function of directions (n, 3).
Background = Tensor | Callable[[Tensor], Tensor] | None


@dataclass(frozen=True)
class RenderSettings:
    """
    How rays are sampled.

    - ``samples``: intervals of a ray; ``importance``: intervals that are added where the first
      ones, or a proposal field, have weight; 0 for none.
    - ``near``, ``far``: ends of a ray, canonical units; of a field that is not contracted, only
      the part in its cube.
    - ``spacing``: intervals of equal length in ``distance`` or ``disparity``.
    - ``min_weight``: samples of less weight have no colour and no normal.
    - ``normals``: ``none``, by ``difference`` with the step ``epsilon``, or by ``autograd``.
    - ``background_depth``: where nothing is, canonical units.
    """

    samples: int = 48
    importance: int = 0
    near: float = 0.05
    far: float = 100.0
    spacing: str = 'distance'
    min_weight: float = 1e-4
    normals: str = 'none'
    epsilon: float = 0.01
    background_depth: float = 0.0

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for settings out of range."""
        if self.samples < 1 or self.importance < 0:
            raise ValueError(f'{self.samples} and {self.importance} samples cannot be rendered')
        if not 0.0 < self.near < self.far:
            raise ValueError(f'rays from {self.near} to {self.far} are empty')
        if self.spacing not in SPACINGS:
            raise ValueError(f'the spacing {self.spacing!r} is none of {SPACINGS}')
        if self.normals not in NORMALS:
            raise ValueError(f'the normals {self.normals!r} are none of {NORMALS}')
        if not self.epsilon > 0.0 or not 0.0 <= self.min_weight < 1.0:
            raise ValueError('epsilon and min_weight of a rendering are out of range')


@dataclass(frozen=True, eq=False)
class Shading:
    """
    Lambertian shading of samples by their normals, which must be rendered.

    - ``light``: (3,), unit, towards the light in canonical coordinates.
    - ``ambient``: share of the brightness that needs no light.
    - ``textureless``: whether the albedo is 1 everywhere.
    """

    light: Tensor
    ambient: float = 0.1
    textureless: bool = False

    def __call__(self, albedo: Tensor, normals: Tensor) -> Tensor:
        """Return the colours (k, channels) of samples."""
        facing = (normals @ self.light.to(normals)).clamp(min=0.0)
        brightness = self.ambient + (1.0 - self.ambient) * facing[:, None]
        return brightness.expand_as(albedo) if self.textureless else albedo * brightness


@dataclass(frozen=True, eq=False)
class Samples:
    """
    The samples of rays at which the field was evaluated, ray by ray and by distance.

    - ``rays``: (k,), index of the ray; ``distances``: (k,), of the samples on it.
    - ``points``: (k, 3), canonical; ``density``, ``weights``: (k,).
    - ``normals``: (k, 3), 0 where the weight is below ``min_weight``; None if not asked for.
    """

    rays: Tensor
    distances: Tensor
    points: Tensor
    density: Tensor
    weights: Tensor
    normals: Tensor | None


@dataclass(frozen=True, eq=False)
class Rendering:
    """
    The rendering of n rays.

    - ``color``: (n, channels), over the background; ``opacity``: (n,), in [0, 1].
    - ``depth``: (n,), canonical units along the rays: the weighted sum of the distances, with
      ``background_depth`` for the rest of the opacity.
    - ``normals``: (n, 3), weighted sums of unit normals; None if not asked for.
    - ``samples``: where the field was evaluated.
    - ``hit``: (m,), the rays that cross occupied space; ``histogram``: of them;
      ``proposal``: that of the proposal field, or None.
    """

    color: Tensor
    opacity: Tensor
    depth: Tensor
    normals: Tensor | None
    samples: Samples
    hit: Tensor
    histogram: Histogram
    proposal: Histogram | None

    def distortion(self) -> Tensor:
        """Return the distortion (n,) of the rays (``Histogram.distortion``)."""
        result = torch.zeros_like(self.opacity)
        return result.index_add(0, self.hit, self.histogram.distortion())


def render(
    field: RadianceField,
    rays: Rays,
    settings: RenderSettings,
    occupancy: DensityGrid | None = None,
    background: Background = None,
    generator: torch.Generator | None = None,
    proposal: RadianceField | None = None,
    shading: Shading | None = None,
) -> Rendering:
    """
    Render rays.

    - ``occupancy``: samples in its empty cells are skipped.
    - ``background``: None for black.
    - ``generator``: samples lie at random in their intervals; None for the middles.
    - ``proposal``: the field by which ``importance`` samples are drawn, which then replace the
      others; without it, those of the field itself are added to them.

    Differentiable with respect to the parameters of field, proposal and background. Raises
    ``ValueError`` for a background of another shape, shading without normals, and an occupancy of
    another cube.
    """
    _check(field, settings, occupancy, proposal, shading)
    hit, near, far = _ends(field, rays, settings, occupancy)
    inner = rays[hit]
    edges = torch.linspace(
        0.0, 1.0, settings.samples + 1, dtype=near.dtype, device=near.device
    ).expand(len(hit), -1)
    before = None
    if settings.importance:
        march = _March(inner, near, far, edges, settings, occupancy, generator)
        with torch.set_grad_enabled(proposal is not None and torch.is_grad_enabled()):
            density = (field if proposal is None else proposal).density(march.points)
            before = Histogram(edges, march.weights(density))
        added = resample_edges(before, settings.importance, generator)
        if proposal is None:
            edges, before = torch.cat([edges, added], dim=1).sort(dim=1).values, None
        else:
            edges = added
    march = _March(inner, near, far, edges, settings, occupancy, generator)
    return _composite(field, rays, hit, march, settings, background, shading, before)


class _March:
    """The samples of rays that are not in empty space."""

    def __init__(
        self,
        rays: Rays,
        near: Tensor,
        far: Tensor,
        edges: Tensor,
        settings: RenderSettings,
        occupancy: DensityGrid | None,
        generator: torch.Generator | None,
    ) -> None:
        """Place the samples; ``near`` and ``far`` are (m,), ``edges`` (m, s + 1) shares."""
        self.edges = edges
        ends = share_to_distance(edges, near, far, settings.spacing)
        distances = sample_within(ends, generator)
        self.lengths = ends[:, 1:] - ends[:, :-1]
        shape = distances.shape
        points = torch.addcmul(
            rays.origins[:, None], rays.directions[:, None], distances[:, :, None]
        ).view(-1, 3)
        if occupancy is None:
            self.index = torch.arange(len(points), device=points.device)
        else:
            self.index = occupancy.at(points).nonzero()[:, 0]
            points = points.index_select(0, self.index)
        self.points = points
        self.rays = self.index // shape[1]
        self.distances = distances.reshape(-1).index_select(0, self.index)

    def weights(self, density: Tensor) -> Tensor:
        """Return the weights (m, s) of all intervals for the densities (k,) of the samples."""
        thick = torch.zeros_like(self.lengths).view(-1)
        thick = thick.scatter(0, self.index, density).view_as(self.lengths) * self.lengths
        before = functional.pad(thick.cumsum(1)[:, :-1], (1, 0))
        return torch.exp(-before) * -torch.expm1(-thick)


def _composite(
    field: RadianceField,
    rays: Rays,
    hit: Tensor,
    march: _March,
    settings: RenderSettings,
    background: Background,
    shading: Shading | None,
    before: Histogram | None,
) -> Rendering:
    """Evaluate the field at the samples and sum up each ray; ``hit`` (m,) are those marched."""
    points = march.points
    albedo = None
    if field.separate_albedo:
        density = field.density(points)
    else:
        density, albedo = field(points)
    dense = march.weights(density)
    weights = dense.view(-1).index_select(0, march.index)
    ray = hit.index_select(0, march.rays)
    count = len(rays)
    visible = (weights.detach() > settings.min_weight).nonzero()[:, 0]
    if len(visible) == len(weights):
        visible = torch.arange(len(weights), device=weights.device)
    seen = points.index_select(0, visible)
    color = field.albedo(seen) if albedo is None else albedo.index_select(0, visible)
    normals = None
    if settings.normals != 'none':
        step = settings.epsilon if settings.normals == 'difference' else None
        normals = density_normals(field, seen, step)
        if shading is not None:
            color = shading(color, normals)
    seen_ray, seen_weights = ray.index_select(0, visible), weights.index_select(0, visible)
    opacity = _ray_sums(weights[:, None], ray, count)[:, 0]
    empty = (1.0 - opacity).clamp(min=0.0)
    total = _ray_sums(seen_weights[:, None] * color, seen_ray, count)
    behind = _behind(background, rays, color.shape[1])
    if behind is not None:
        total = total + empty[:, None] * behind
    depth = _ray_sums((weights * march.distances)[:, None], ray, count)[:, 0]
    depth = depth + empty * settings.background_depth
    all_normals = None
    if normals is not None:
        all_normals = torch.zeros_like(points).index_copy(0, visible, normals)
        normals = _ray_sums(seen_weights[:, None] * normals, seen_ray, count)
    return Rendering(
        total, opacity, depth, normals,
        Samples(ray, march.distances, points, density, weights, all_normals),
        hit, Histogram(march.edges, dense), before,
    )


def _check(
    field: RadianceField,
    settings: RenderSettings,
    occupancy: DensityGrid | None,
    proposal: RadianceField | None,
    shading: Shading | None,
) -> None:
    """Raise ``ValueError`` for arguments of ``render`` that contradict one another."""
    if shading is not None and settings.normals == 'none':
        raise ValueError('shading needs normals')
    if proposal is not None and not settings.importance:
        raise ValueError('a proposal field needs importance samples')
    for name, other in (('occupancy', occupancy), ('proposal', proposal)):
        if other is not None and (other.bound, other.contracted) != (
            field.bound, field.contracted
        ):
            raise ValueError(f'the {name} belongs to a field of another cube')


def _ends(
    field: RadianceField, rays: Rays, settings: RenderSettings, occupancy: DensityGrid | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rays (m,) that cross the field, and the distances (m,) of their ends."""
    near = torch.full_like(rays.origins[:, 0], settings.near)
    far = torch.full_like(near, settings.far)
    if field.contracted:
        return torch.arange(len(rays), device=near.device), near, far
    corner = rays.origins.new_full((3,), field.bound)
    low, high = box_interval(rays, -corner, corner)
    near, far = torch.maximum(near, low), torch.minimum(far, high)
    crosses = near < far
    if occupancy is not None:
        # The ends stay those of the cube: skipping moves no sample.
        low, high = box_interval(rays, occupancy.corners[0], occupancy.corners[1])
        crosses &= (low < high) & (low < far) & (high > near)
    hit = crosses.nonzero()[:, 0]
    return hit, near[hit], far[hit]


def _behind(background: Background, rays: Rays, channels: int) -> Tensor | None:
    """Return the colours (channels,) or (n, channels) of the background, or None."""
    if background is None:
        return None
    value = background if isinstance(background, Tensor) else background(rays.directions)
    if value.shape not in ((channels,), (len(rays), channels)):
        raise ValueError(
            f'the background has the shape {tuple(value.shape)}, not {(len(rays), channels)}'
        )
    return value


def _ray_sums(values: Tensor, ray: Tensor, count: int) -> Tensor:
    """Return the sums (n, c) of values (k, c) of samples over their rays (k,)."""
    # Addition of numbers is one loop, that of rows starts one for each.
    zeros = torch.zeros(count, dtype=values.dtype, device=values.device)
    return torch.stack(
        [zeros.index_add(0, ray, column) for column in values.unbind(1)], dim=1
    )


@torch.no_grad()
def render_view(
    field: RadianceField,
    camera: Camera,
    T_canonical_camera: Array,
    settings: RenderSettings,
    occupancy: DensityGrid | None = None,
    background: Background = None,
    chunk: int = 8192,
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Render an image without gradients, ``chunk`` rays at a time.

    Returns the colour (h, w, channels), the opacity (h, w) and the depth (h, w) along the optical
    axis in canonical units, which is the mean over what is opaque and 0 where nothing is.
    ``background`` must not depend on the ray unless it is a function.
    """
    device = next(field.parameters()).device
    rays = Rays.from_camera(camera, T_canonical_camera, device)
    assert rays.cosines is not None
    parts = [
        render(field, rays[start : start + chunk], settings, occupancy, background)
        for start in range(0, len(rays), chunk)
    ]
    color, opacity, depth = (
        torch.cat([getattr(part, name) for part in parts])
        for name in ('color', 'opacity', 'depth')
    )
    depth = depth - (1.0 - opacity).clamp(min=0.0) * settings.background_depth
    depth = torch.where(opacity > 1e-3, depth / opacity.clamp(min=1e-3), 0.0) * rays.cosines
    shape = (camera.height, camera.width)
    return color.view(*shape, -1), opacity.view(shape), depth.view(shape)
