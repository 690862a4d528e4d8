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
Symmetries of an object as inputs of a network: virtual views of its unobserved side.

A symmetry maps the measured view to a virtual one, which bounds the unobserved side as the view
bounds the observed one (``fields/symmetry/``). Here the hypotheses are ranked by the coarse
volume, too, and are inputs: the network learns when to trust them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.networks.small.coarse_inputs import EXTENT

#: Channels of ``symmetry_evidence``: three for each of two mirrors and a revolution.
SYMMETRY_CHANNELS = 9

#: Measured points that rank the hypotheses, and fewest of them.
_POINTS, _MIN_POINTS = 256, 24

#: Angles between mirrors, offsets of a mirror and of an axis from the middle of the coarse volume.
_ANGLES, _OFFSETS, _AXES = 12, 15, (9, 5)

#: Reach of the offsets, as a share of the longest horizontal side; of horizontal mirrors, of z.
_REACH = 0.3

#: Order of the rotations that stand for a solid of revolution.
_ORDER = 8

#: Distance before a reading from which a mapped one contradicts it, canonical units, and distance
#: of the places before and behind the surface at which the coarse volume is compared.
_TOLERANCE, _STEP = 0.03, 0.05

#: Steepness of the comparison with the coarse logits, weight of contradictions in the score of a
#: hypothesis. Agreement of readings has none: an axis at the visible surface maps it onto itself.
_STEEPNESS, _CONTRADICTION = 2.0, 4.0

#: The normals of the two mirrors have a smaller cosine, in magnitude.
_MAX_COSINE = 0.71

#: Scales at which the distance behind the virtual surface is clipped, canonical units.
SCALES = (0.05, 0.4)


def symmetry_evidence(
    alpha: Tensor, depth: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, density: Tensor,
    points: Tensor,
) -> Tensor:
    """
    Return the evidence of the best symmetries at points (b, n, 3), (b, 9, n), canonical units.

    ``alpha`` and ``depth`` (b, h, h) are the mask in [0, 1] and the depth along z of the input
    view, 0 = none; ``focal``, ``centre`` (b, 2) and ``pose`` (b, 4, 4) its camera; ``density``
    (b, 1, n, n, n) the logits of the coarse volume in the cube of ``EXTENT``.

    For each of the best mirror, the best mirror across it and the best vertical axis of
    revolution: the signed distance behind the virtual surface, clipped at each of ``SCALES``, and
    the score of the hypothesis. All are 0 for a view without enough readings.
    """
    return torch.stack([
        _of_object(alpha[i], depth[i], focal[i], centre[i], pose[i], density[i, 0], points[i])
        for i in range(len(alpha))
    ])


def _of_object(
    alpha: Tensor, depth: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, density: Tensor,
    points: Tensor,
) -> Tensor:
    view = _View(alpha, depth, focal, centre, pose)
    measured = view.measured()
    occupied = (density > 0.0).nonzero()
    if len(measured) < _MIN_POINTS or len(occupied) < _MIN_POINTS:
        return points.new_zeros((SYMMETRY_CHANNELS, len(points)))
    low, high = (
        (bound.float() / density.shape[0] - 0.5) * EXTENT
        for bound in (occupied.amin(dim=0), occupied.amax(dim=0) + 1)
    )
    mirrors = _mirrors(low, high)
    turns = _revolutions(low, high)
    score = _scores(view, measured, density, torch.cat([mirrors, turns.flatten(0, 1)]))
    of_mirrors = score[:len(mirrors)]
    of_turns = score[len(mirrors):].reshape(len(turns), -1).mean(dim=1)
    normals = _normals(mirrors)
    first = int(of_mirrors.argmax())
    across = (normals @ normals[first]).abs() < _MAX_COSINE
    second = int(torch.where(across, of_mirrors, -math.inf).argmax())
    axis = int(of_turns.argmax())
    channels = []
    for motions, value in (
        (mirrors[first][None], of_mirrors[first]), (mirrors[second][None], of_mirrors[second]),
        (turns[axis], of_turns[axis]),
    ):
        behind = view.bound(motions, points)
        channels += [(behind / scale).clamp(-1.0, 1.0) for scale in SCALES]
        channels.append(value.clamp(-1.0, 1.0).expand(len(points)))
    return torch.stack(channels)


class _View:
    """The input view of one object."""

    def __init__(
        self, alpha: Tensor, depth: Tensor, focal: Tensor, centre: Tensor, pose: Tensor
    ) -> None:
        self._mask = alpha > 0.5
        self._depth, self._focal, self._centre, self._pose = depth, focal, centre, pose

    def measured(self) -> Tensor:
        """Return measured points on the object (n, 3), at most ``_POINTS``, canonical."""
        at = (self._mask & (self._depth > 0.0)).nonzero()
        at = at[torch.linspace(0, len(at) - 1, min(_POINTS, len(at))).long()]
        z = self._depth[at[:, 0], at[:, 1]]
        xy = (at.flip(1).float() - self._centre) / self._focal * z[:, None]
        local = torch.cat([xy, z[:, None]], dim=1)
        return local @ self._pose[:3, :3].T + self._pose[:3, 3]

    def directions(self, points: Tensor) -> Tensor:
        """Return the unit directions from the camera to points (n, 3)."""
        return functional.normalize(points - self._pose[:3, 3], dim=-1)

    def look_up(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """
        Return what the pixels of points (..., 3) show.

        Distance behind the reading along z, whether there is a reading, whether it is of the
        object, whether the image contains the point.
        """
        local = (points - self._pose[:3, 3]) @ self._pose[:3, :3]
        z = local[..., 2]
        pixel = local[..., :2] / z.clamp_min(1e-3)[..., None] * self._focal + self._centre
        size = self._mask.shape[0]
        at = pixel.round().long().clamp(0, size - 1)
        inside = ((pixel > -0.5) & (pixel < size - 0.5)).all(dim=-1) & (z > 0.0)
        reading = self._depth[at[..., 1], at[..., 0]]
        return z - reading, reading > 0.0, self._mask[at[..., 1], at[..., 0]], inside

    def bound(self, motions: Tensor, points: Tensor) -> Tensor:
        """Return the least distance of points (n, 3) behind the virtual surfaces, (n,)."""
        least = torch.full((len(points),), math.inf, device=points.device)
        for motion in motions:
            behind, valid, mask, inside = self.look_up(_moved(motion, points))
            # Beside the object everything before the background is free; behind it, and where
            # nothing was measured on the object, is unknown.
            value = torch.where(mask, behind, torch.where(behind < 0.0, -math.inf, math.inf))
            value = torch.where(valid, value, torch.where(mask, math.inf, -math.inf))
            value = torch.where(inside, value, -math.inf)
            least = torch.minimum(least, value)
        return torch.where(least == math.inf, 0.0, least)


def _scores(view: _View, measured: Tensor, density: Tensor, motions: Tensor) -> Tensor:
    """Return the scores of motions (m, 4, 4), from -5 to 1."""
    ray = view.directions(measured)
    mapped = _moved(motions, measured)
    behind, valid, mask, inside = view.look_up(mapped)
    free = torch.where(valid, behind < -_TOLERANCE, ~mask) | ~inside
    contradiction = free.float().mean(dim=1)
    beyond = _sampled(density, _moved(motions, measured + _STEP * ray))
    before = _sampled(density, _moved(motions, measured - _STEP * ray))
    fit = 0.5 * ((_STEEPNESS * beyond).tanh() - (_STEEPNESS * before).tanh()).mean(dim=1)
    return fit - _CONTRADICTION * contradiction


def _sampled(density: Tensor, points: Tensor) -> Tensor:
    """Return the logits at points (m, n, 3), nearest voxel."""
    size = density.shape[0]
    at = ((points / EXTENT + 0.5) * size).floor().long().clamp(0, size - 1)
    return density[at[..., 0], at[..., 1], at[..., 2]].float()


def _moved(motion: Tensor, points: Tensor) -> Tensor:
    """Return points (n, 3) moved by a motion (4, 4), or by motions (m, 4, 4), (m, n, 3)."""
    return points @ motion[..., :3, :3].mT + motion[..., None, :3, 3]


def _mirrors(low: Tensor, high: Tensor) -> Tensor:
    """Return reflections (m, 4, 4) at vertical and at horizontal planes near the middle."""
    middle, reach = 0.5 * (low + high), _REACH * (high - low)[:2].max()
    angle = torch.arange(_ANGLES, device=low.device) * (math.pi / _ANGLES)
    upright = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=1)
    normals = upright.repeat_interleave(_OFFSETS, dim=0)
    shift = torch.linspace(-1.0, 1.0, _OFFSETS, device=low.device) * reach
    distance = normals @ middle + shift.repeat(_ANGLES)
    vertical = torch.tensor([[0.0, 0.0, 1.0]], device=low.device).expand(_OFFSETS, 3)
    height = middle[2] + torch.linspace(-1.0, 1.0, _OFFSETS, device=low.device) * (
        _REACH * (high - low)[2])
    normals, distance = torch.cat([normals, vertical]), torch.cat([distance, height])
    motions = torch.eye(4, device=low.device).repeat(len(normals), 1, 1)
    motions[:, :3, :3] -= 2.0 * normals[:, :, None] * normals[:, None]
    motions[:, :3, 3] = 2.0 * distance[:, None] * normals
    return motions


def _normals(mirrors: Tensor) -> Tensor:
    """Return the unit normals (m, 3) of reflections, up to their signs."""
    outer = 0.5 * (torch.eye(3, device=mirrors.device) - mirrors[:, :3, :3])
    column = outer.diagonal(dim1=1, dim2=2).argmax(dim=1)
    return functional.normalize(outer[torch.arange(len(outer)), :, column], dim=1)


def _revolutions(low: Tensor, high: Tensor) -> Tensor:
    """Return rotations (m, 7, 4, 4) about vertical axes near the middle."""
    middle, reach = 0.5 * (low + high), _REACH * (high - low)[:2].max()
    along, aside = (torch.linspace(-1.0, 1.0, n, device=low.device) * reach for n in _AXES)
    # Across the line of sight the outline already says where the middle is.
    x, y = torch.meshgrid(middle[0] + along, middle[1] + 0.5 * aside, indexing='ij')
    axes = torch.stack([x.flatten(), y.flatten()], dim=1)
    angle = torch.arange(1, _ORDER, device=low.device) * (2.0 * math.pi / _ORDER)
    turn = torch.stack([
        torch.stack([angle.cos(), -angle.sin()], dim=1),
        torch.stack([angle.sin(), angle.cos()], dim=1),
    ], dim=1)
    motions = torch.eye(4, device=low.device).repeat(len(axes), len(turn), 1, 1)
    motions[:, :, :2, :2] = turn
    motions[:, :, :2, 3] = axes[:, None] - torch.einsum('kij,mj->mki', turn, axes)
    return motions
