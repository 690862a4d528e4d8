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
A surface moved to where the camera saw it: by depth, and by its silhouette.

First the ratio of observed to rendered depth, which keeps the picture; then Gauss-Newton steps
over the similarity, with the distances from readings to the planes of the faces behind their
pixels (Chen and Medioni, 1992; pairs by projection, Blais and Levine, 1995) and the distances of
the silhouette's rim from the outline of the mask, by a distance transform (Fitzgibbon, 2003).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.meshing.rasterizer import mask_iou
from lift3d_ros.meshing.rasterizer import Raster
from lift3d_ros.meshing.rasterizer import Surface
from lift3d_ros.meshing.rasterizer import Window
from lift3d_ros.placement.sources import Scale

#: Readings, and pixels of a silhouette, that a surface can be aligned by.
_MIN_READINGS = 30

#: The bound of the time that a refinement takes: each step is one rendering and one small solve.
_STEPS = 6

#: A reading that is so far off, over the size of the surface, has no say in where it is.
_OUTLIER = 0.2

#: By how much predicted surfaces and their rims are off, over their size.
_NOISE = 0.03

#: As how many readings all of them count, and as how many places of the rim: neighbours err alike.
_WORTH = 40.0

#: What is believed of the motion before it is measured: rotation, and tilt against a vertical that
#: is known (radians), translation over the size, logarithm of the scale.
_ROTATION, _TILT, _TRANSLATION, _SCALE = np.radians(5.0), np.radians(0.5), 0.5, 0.2

#: Where this share of the readings is off the surface by more than that, over its size, the depth
#: is not that of the object.
_FOREIGN_SHARE, _FOREIGN = 0.5, 0.12

#: A surface without depth is enlarged by at most this factor, or its inverse, to fill its mask.
_ENLARGED = 1.3

#: A shape that agrees so well is not moved: IoU of the masks, distance of the readings over size.
_GOOD_IOU, _GOOD_RESIDUAL = 0.98, 0.01

#: An alignment that is no better than this is not worth another shape.
_GAIN = 0.005


@dataclass(frozen=True)
class Agreement:
    """
    How well a surface agrees with a view.

    - ``iou``: intersection over union of its silhouette and the mask.
    - ``residual``: median distance along z of the readings from it, over its size; None without.
    """

    iou: float
    residual: float | None

    @property
    def cost(self) -> float:
        """What an alignment makes smaller."""
        return 1.0 - self.iou + (self.residual or 0.0)

    @property
    def good(self) -> bool:
        """Whether there is nothing to align."""
        return self.iou > _GOOD_IOU and (self.residual or 0.0) < _GOOD_RESIDUAL


@dataclass(frozen=True, eq=False)
class Alignment:
    """
    What an alignment did.

    - ``T``: (4, 4), the similarity that moves the surface within the optical frame.
    - ``before``, ``after``: how well it agreed with the view.
    """

    T: Array
    before: Agreement
    after: Agreement


def agreement(surface: Surface, seen: Window) -> Agreement:
    """Return how well a surface, in the optical frame, agrees with a view."""
    return _agreement(surface, surface.rasterize(seen.camera), seen)


def depth_ratio(surface: Surface, seen: Window) -> Scale:
    """
    Return the median ratio of observed to rendered depth as a scale.

    Its standard deviation is that of a median (1.253 sigma / sqrt(n), sigma by the median absolute
    deviation), with as many readings as ``_WORTH`` says. Raises ``LiftError(NO_DEPTH_IN_MASK)``
    where too few readings fall on the surface.
    """
    drawn = surface.rasterize(seen.camera)
    both = _both(drawn, seen)
    if seen.depth is None or np.count_nonzero(both) < _MIN_READINGS:
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK,
            f'{np.count_nonzero(both)} depth readings fall on the shape; {_MIN_READINGS} are '
            'needed. Is the depth registered to the image?',
        )
    ratios = seen.depth[both] / drawn.depth[both]
    ratio = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(ratios - ratio))) / ratio
    return Scale(ratio, 1.253 * spread / float(np.sqrt(_WORTH)), 'depth')


def align_to_depth(surface: Surface, seen: Window, up: Array | None = None) -> Alignment:
    """
    Return where depth and mask put a surface of unknown scale; ``up`` (3,) as in ``refine``.

    Raises ``LiftError(NO_DEPTH_IN_MASK)`` where too few readings fall on it, and where it can be
    laid on the readings in no way, because the depth is of something else.
    """
    ratio = depth_ratio(surface, seen).factor
    scaled = surface.scaled(ratio)
    refined = refine(scaled, seen, scale=True, up=up)
    check_depth(scaled.moved(refined.T), seen)
    T = refined.T @ np.diag([ratio, ratio, ratio, 1.0])
    return Alignment(T, agreement(surface, seen), refined.after)


def check_depth(surface: Surface, seen: Window) -> None:
    """Raise ``LiftError(NO_DEPTH_IN_MASK)`` where depth in the mask is not that of the surface."""
    off = _distances(surface.rasterize(seen.camera), seen)
    if len(off) and (off > _FOREIGN * surface.size).mean() > _FOREIGN_SHARE:
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK,
            f'Of the depth inside the mask {100.0 * (off > _FOREIGN * surface.size).mean():.0f} % '
            'is not that of the object: what is behind it, or before it, or of another image. Is '
            'the object transparent? Leave the depth out, or name another source of scale.',
        )


def refine(
    surface: Surface, seen: Window, scale: bool, up: Array | None = None
) -> Alignment:
    """
    Return the small motion that lays a surface on the mask and the readings of a view.

    ``scale``: it may change its size, too. Without depth that and the distance are nearly one, and
    the surface begins as much larger or smaller about its centre as its silhouette's area asks
    for. ``up``, (3,), is the vertical in the optical frame, which the motion keeps where it is
    known. The motion is the identity where none makes the agreement better.
    """
    drawn = surface.rasterize(seen.camera)
    before = best = _agreement(surface, drawn, seen)
    T = best_T = np.eye(4)
    outline = _outline(seen.mask)
    moved, done = surface, np.zeros(7)
    size = surface.size
    if scale and seen.depth is None and not before.good:
        area = np.count_nonzero(seen.mask) / max(np.count_nonzero(drawn.mask), 1)
        growth = np.clip(0.5 * np.log(area), -np.log(_ENLARGED), np.log(_ENLARGED))
        larger = _similarity(np.array([*6 * [0.0], growth]), surface.centre)
        grown = surface.moved(larger)
        now_drawn = grown.rasterize(seen.camera)
        now = _agreement(grown, now_drawn, seen)
        if now.cost < best.cost:
            best, best_T, T, moved, drawn = now, larger, larger, grown, now_drawn
    # The information about the motion that there is beforehand.
    prior = np.diag([*3 * [_ROTATION**-2], *3 * [(_TRANSLATION * size) ** -2], _SCALE**-2])
    if up is not None:
        prior[:3, :3] += (np.eye(3) - np.outer(up, up)) * _TILT**-2
    if not scale:
        prior[6, 6] = 1e12
    for _ in range(0 if before.good else _STEPS):
        jacobian, off, weight = _equations(moved, drawn, seen, outline, size)
        # Not by BLAS, whose last bits depend on where the arrays lie in memory.
        normal = np.einsum('ni,n,nj->ij', jacobian, weight, jacobian) + prior
        pull = np.einsum('ni,n,n->i', jacobian, weight, off)
        step = np.linalg.solve(normal, pull - prior @ done)
        done += step
        T = _rounded(_similarity(step, moved.centre) @ T)
        moved = surface.moved(T)
        drawn = moved.rasterize(seen.camera)
        now = _agreement(moved, drawn, seen)
        gain = best.cost - now.cost
        if gain > 0.0:
            best, best_T = now, T
        if gain < 0.5 * _GAIN:
            break
    if best.cost > before.cost - _GAIN:
        return Alignment(np.eye(4), before, before)
    return Alignment(best_T, before, best)


def _agreement(surface: Surface, drawn: Raster, seen: Window) -> Agreement:
    off = _distances(drawn, seen)
    residual = float(np.median(off)) / surface.size if len(off) >= _MIN_READINGS else None
    return Agreement(mask_iou(drawn.mask, seen.mask), residual)


def _both(drawn: Raster, seen: Window) -> NDArray[np.bool_]:
    """Return where there is a reading and a surface, bool (height, width)."""
    if seen.depth is None:
        return np.zeros(seen.mask.shape, bool)
    return drawn.mask & (seen.depth > 0.0)


def _distances(drawn: Raster, seen: Window) -> Array:
    """Return how far the readings on the surface are from it along z, (n,) metres."""
    both = _both(drawn, seen)
    if seen.depth is None or not both.any():
        return np.zeros(0)
    return np.abs(seen.depth[both] - drawn.depth[both])


def _equations(
    surface: Surface, drawn: Raster, seen: Window, outline: Array, size: float
) -> tuple[Array, Array, Array]:
    """
    Return Jacobian (n, 7), distances still to go (n,) metres and weights (n,) of a step.

    The unknowns are rotation, translation and logarithm of the scale about the surface's centre.
    """
    camera, normals = seen.camera, surface.normals()
    parts = []
    both = _both(drawn, seen)
    if seen.depth is not None and both.any():
        v, u = np.nonzero(both)
        points = camera.unproject(u, v, drawn.depth[both])
        reading = camera.unproject(u, v, seen.depth[both])
        normal = normals[drawn.face[both]]
        off = np.einsum('ij,ij->i', normal, reading - points)
        # Tukey's biweight.
        share = np.clip(np.linalg.norm(reading - points, axis=1) / (_OUTLIER * size), 0.0, 1.0)
        parts.append((points, normal, off, (1.0 - share**2) ** 2))
    v, u = np.nonzero(_rim(drawn.mask))
    points = camera.unproject(u, v, drawn.depth[v, u])
    # Across the outline, in the plane of the picture, and in metres at the depth of the rim.
    down, right = np.gradient(outline)
    per_pixel = points[:, 2] / camera.fx
    across = np.stack([right[v, u], down[v, u] * camera.fy / camera.fx], axis=1)
    ray = np.stack([points[:, 0], points[:, 1]], axis=1) / points[:, 2:]
    direction = np.column_stack([across, -np.einsum('ij,ij->i', across, ray)])
    off = -outline[v, u] * per_pixel
    share = np.clip(np.abs(off) / (2.0 * _OUTLIER * size), 0.0, 1.0)
    # A rim at the border of the image is where the picture ends, not the object.
    inner = (
        (u > 0) & (v > 0) & (u < camera.width - 1) & (v < camera.height - 1)
    )
    parts.append((points, direction, off, inner * (1.0 - share**2) ** 2))
    jacobians, offs, weights = [], [], []
    for points, direction, off, weight in parts:
        arm = points - surface.centre
        jacobians.append(
            np.column_stack([
                np.cross(arm, direction), direction, np.einsum('ij,ij->i', direction, arm)
            ])
        )
        offs.append(off)
        weights.append(weight * _WORTH / (max(len(off), 1) * (_NOISE * size) ** 2))
    return np.concatenate(jacobians), np.concatenate(offs), np.concatenate(weights)


def _similarity(step: Array, centre: Array) -> Array:
    """Return the 4 x 4 matrix of rotation, translation and log scale (7,) about a centre."""
    rotation, _ = cv2.Rodrigues(step[:3])
    T = np.eye(4)
    T[:3, :3] = np.exp(np.clip(step[6], -1.0, 1.0)) * rotation
    T[:3, 3] = centre + step[3:6] - T[:3, :3] @ centre
    return T


def _rounded(T: Array) -> Array:
    """Return a similarity to a micrometre: last bits vary from run to run, the mesh must not."""
    scale = np.cbrt(np.linalg.det(T[:3, :3]))
    rotation, _ = cv2.Rodrigues(T[:3, :3] / scale)
    step = np.concatenate([rotation[:, 0], T[:3, 3], [np.log(scale)]])
    return _similarity(np.round(step, 6), np.zeros(3))


def _outline(mask: NDArray[np.bool_]) -> Array:
    """Return the distance to the outline in pixels, positive inside the mask."""
    kinds = (mask.astype(np.uint8), (~mask).astype(np.uint8))
    inside, outside = (
        cv2.distanceTransform(kind, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for kind in kinds
    )
    return np.asarray(inside - outside, np.float64) - np.where(mask, 0.5, -0.5)


def _rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask at its outline."""
    return mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
