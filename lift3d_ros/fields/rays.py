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
Rays of a camera, and where a field is sampled on them.

Distances are canonical units along unit directions. Samples divide a ray into intervals; their
edges are kept as shares of the ray between its ends, which are linear in distance or in its
inverse (disparity).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import is_rigid
from lift3d_ros.geometry import rotate

#: Added to the weights of intervals before samples are drawn by them, so that none is left out.
WEIGHT_PADDING = 1e-3

SPACINGS = ('distance', 'disparity')


@dataclass(frozen=True, eq=False)
class Rays:
    """
    Rays in canonical coordinates.

    - ``origins``, ``directions``: (n, 3); the directions have length 1.
    - ``cosines``: (n,), of the angle to the optical axis: a depth along the axis is the distance
      along the ray times the cosine. None for rays of no camera.
    """

    origins: Tensor
    directions: Tensor
    cosines: Tensor | None = None

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for other shapes, values that are not finite, and lengths."""
        for name, value in (('origins', self.origins), ('directions', self.directions)):
            if value.ndim != 2 or value.shape != (len(self.origins), 3):
                raise ValueError(f'the {name} of rays have the shape {tuple(value.shape)}')
            if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
                raise ValueError(f'the {name} of rays are not all finite numbers')
        if bool(((self.directions.norm(dim=1) - 1.0).abs() > 1e-3).any()):
            raise ValueError('the directions of rays do not have length 1')
        if self.cosines is not None and self.cosines.shape != (len(self.origins),):
            raise ValueError(f'the cosines have the shape {tuple(self.cosines.shape)}')

    @classmethod
    def from_camera(
        cls, camera: Camera, T_canonical_camera: Array, device: torch.device | str = 'cpu'
    ) -> Rays:
        """
        Return the rays through the centres of all pixels, row by row, float32.

        ``T_canonical_camera`` (4, 4) is the pose of the optical frame in canonical coordinates.
        Raises ``ValueError`` if it is not rigid.
        """
        pose = np.asarray(T_canonical_camera, np.float64)
        if pose.shape != (4, 4) or not is_rigid(pose):
            raise ValueError('the pose of the camera is not a rigid (4, 4) matrix')
        axial = camera.rays().reshape(-1, 3)
        length = np.linalg.norm(axial, axis=1)
        directions = rotate(pose, axial / length[:, None])
        return cls(
            torch.tensor(pose[:3, 3], dtype=torch.float32, device=device).repeat(len(axial), 1),
            torch.tensor(directions, dtype=torch.float32, device=device),
            torch.tensor(1.0 / length, dtype=torch.float32, device=device),
        )

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: Tensor | slice) -> Rays:
        """Return a selection of the rays, without checking them again."""
        cosines = None if self.cosines is None else self.cosines[index]
        result = object.__new__(Rays)
        for name, value in (
            ('origins', self.origins[index]),
            ('directions', self.directions[index]),
            ('cosines', cosines),
        ):
            object.__setattr__(result, name, value)
        return result


@dataclass(frozen=True, eq=False)
class Histogram:
    """
    Weights of the intervals of rays (Barron et al. 2022, mip-NeRF 360).

    - ``edges``: (m, s + 1), increasing shares of the rays in [0, 1]; ``weights``: (m, s).
    """

    edges: Tensor
    weights: Tensor

    def distortion(self) -> Tensor:
        """Return the distortion (m,) of each ray (``distortion``), 0 for a single surface."""
        return distortion(self.weights, self.edges[:, :-1], self.edges[:, 1:])


def distortion(weights: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """
    Return the distortion (m,) of rays with ``weights`` (m, s) between ``starts`` and ``ends``.

    It is sum_ij w_i w_j |m_i - m_j| + sum_i w_i^2 d_i / 3 for samples, rising along the ray, with
    the middle m and the length d (Barron et al., mip-NeRF 360, 2022, equation 15), in linear time.
    """
    middles = 0.5 * (starts + ends)
    before = weights.cumsum(1) - weights
    moment = (weights * middles).cumsum(1) - weights * middles
    pairs = 2.0 * weights * (middles * before - moment)
    return (pairs + weights.square() * (ends - starts) / 3.0).sum(1)


def box_interval(rays: Rays, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return the distances (n,) at which rays enter and leave the box of corners (3,), at least 0.

    A ray that misses the box leaves it where it enters it.
    """
    tiny = torch.finfo(rays.directions.dtype).tiny
    slope = rays.directions
    inverse = 1.0 / torch.where(slope.abs() < tiny, torch.full_like(slope, tiny), slope)
    a, b = (low - rays.origins) * inverse, (high - rays.origins) * inverse
    near = torch.minimum(a, b).amax(1).clamp(min=0.0)
    far = torch.maximum(a, b).amin(1)
    return near, torch.maximum(near, far)


def share_to_distance(share: Tensor, near: Tensor, far: Tensor, spacing: str) -> Tensor:
    """Return the distances (m, s) of shares (m, s) of rays between ``near`` and ``far`` (m,)."""
    near, far = near[:, None], far[:, None]
    if spacing == 'distance':
        return near + (far - near) * share
    return 1.0 / ((1.0 - share) / near + share / far)


def sample_within(edges: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return a random point (m, s) of each interval of edges (m, s + 1); None for its middle."""
    low, width = edges[:, :-1], edges[:, 1:] - edges[:, :-1]
    if generator is None:
        return low + 0.5 * width
    return low + width * torch.rand(
        width.shape, generator=generator, dtype=edges.dtype, device=edges.device
    )


def resample_edges(
    histogram: Histogram, count: int, generator: torch.Generator | None
) -> Tensor:
    """
    Return edges (m, count + 1) such that intervals have nearly the same weight.

    Samples are drawn by the inverse of the cumulative weights, stratified, or without a generator
    at regular quantiles. The result has no gradient.
    """
    edges = histogram.edges.detach()
    weights = histogram.weights.detach() + WEIGHT_PADDING / histogram.weights.shape[1]
    cumulative = torch.nn.functional.pad(weights.cumsum(1), (1, 0))
    cumulative = cumulative / cumulative[:, -1:]
    quantiles = torch.arange(count + 1, dtype=edges.dtype, device=edges.device)
    if generator is None:
        quantiles = (quantiles / count).expand(len(edges), -1).contiguous()
    else:
        jitter = torch.rand(
            (len(edges), count + 1), generator=generator, dtype=edges.dtype, device=edges.device
        )
        quantiles = (quantiles + jitter) / (count + 1)
    last = weights.shape[1] - 1
    index = (torch.searchsorted(cumulative, quantiles, right=True) - 1).clamp(0, last)
    below, above = cumulative.gather(1, index), cumulative.gather(1, index + 1)
    share = ((quantiles - below) / (above - below)).clamp(0.0, 1.0)
    low = edges.gather(1, index)
    return low + share * (edges.gather(1, index + 1) - low)


def interlevel_loss(fine: Histogram, proposal: Histogram) -> Tensor:
    """
    Return the mean loss of a proposal that does not bound the fine weights (mip-NeRF 360, eq. 13).

    Only the proposal has gradients.
    """
    edges, weights = fine.edges.detach(), fine.weights.detach()
    cumulative = torch.nn.functional.pad(proposal.weights.cumsum(1), (1, 0))
    known = proposal.edges.detach().contiguous()
    last = known.shape[1] - 1
    # The proposal's intervals that overlap an interval: from the one that contains its start to
    # the one that contains its end.
    start = (torch.searchsorted(known, edges[:, :-1].contiguous(), right=True) - 1).clamp(0, last)
    end = torch.searchsorted(known, edges[:, 1:].contiguous(), right=False).clamp(0, last)
    bound = cumulative.gather(1, end) - cumulative.gather(1, start)
    return ((weights - bound).clamp(min=0.0).square() / (weights + 1e-7)).sum(1).mean()
