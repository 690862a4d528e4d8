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
Align a surface to the depth and the mask of a view.

First scales it by the ratio of measured to rasterised depth, which keeps its image. Then takes
Gauss-Newton steps over similarity transforms, with the distances from readings to the planes of
the faces at their pixels (Chen and Medioni, 1992; pairs by projection, Blais and Levine, 1995) and
the distances of the silhouette from the outline of the mask, by a distance transform (Fitzgibbon,
2003).
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
from lift3d_ros.observation.object_observation import outline_distance
from lift3d_ros.placement.sources import Scale

#: Smallest number of readings on a surface for an alignment.
MIN_READINGS = 30

#: Largest number of Gauss-Newton steps; each takes one rasterisation and one small solve.
MAX_STEPS = 6

#: Smallest distance of a reading from the surface with the weight 0, over the size of the surface.
OUTLIER_DISTANCE = 0.2

#: Standard deviation of predicted surface and of its silhouette, over the size of the surface.
SURFACE_STDDEV = 0.03

#: Effective number of independent readings, and of independent boundary pixels of the silhouette:
#: errors of neighbours are correlated.
EFFECTIVE_READINGS = 40.0

#: Standard deviations of the prior of the motion: rotation, and tilt against a known vertical
#: (radians), translation over the size, logarithm of the scale.
ROTATION_STDDEV, TILT_STDDEV = np.radians(5.0), np.radians(0.5)
TRANSLATION_STDDEV, LOG_SCALE_STDDEV = 0.5, 0.2

#: Largest share of readings that are farther from the surface than the given distance, over the
#: size of the surface; above it, the depth is not that of the object.
MAX_FOREIGN_SHARE, FOREIGN_DISTANCE = 0.5, 0.12

#: Largest factor, and inverse of the smallest, by which a surface without depth is first scaled to
#: the area of its mask.
MAX_GROWTH = 1.3

#: Agreement above which a surface needs no alignment: IoU of the masks, distance of readings over
#: the size.
ALIGNED_IOU, ALIGNED_RESIDUAL = 0.98, 0.01

#: Smallest decrease of the cost by an alignment that is applied.
MIN_GAIN = 0.005


@dataclass(frozen=True)
class Agreement:
    """
    The agreement of a surface with a view.

    - ``iou``: intersection over union of its silhouette and the mask.
    - ``residual``: median distance along z of the readings from it, over its size; None without
      readings.
    """

    iou: float
    residual: float | None

    @property
    def cost(self) -> float:
        """The cost that an alignment reduces."""
        return 1.0 - self.iou + (self.residual or 0.0)

    @property
    def good(self) -> bool:
        """Whether the surface needs no alignment."""
        return self.iou > ALIGNED_IOU and (self.residual or 0.0) < ALIGNED_RESIDUAL


@dataclass(frozen=True, eq=False)
class Alignment:
    """
    The result of an alignment.

    - ``T``: (4, 4), the similarity transform of the surface in the optical frame.
    - ``before``, ``after``: its agreement with the view.
    """

    T: Array
    before: Agreement
    after: Agreement


def agreement(surface: Surface, target: Window) -> Agreement:
    """Return the agreement of a surface, in the optical frame, with a view."""
    return _agreement(surface, surface.rasterize(target.camera), target)


def depth_ratio(surface: Surface, target: Window) -> Scale:
    """
    Return the median ratio of measured to rasterised depth as a scale.

    Its standard deviation is that of a median (1.253 sigma / sqrt(n), sigma by the median absolute
    deviation) of ``EFFECTIVE_READINGS``. Raises ``LiftError(NO_DEPTH_IN_MASK)`` if too few
    readings are on the surface.
    """
    drawn = surface.rasterize(target.camera)
    both = _both(drawn, target)
    if target.depth is None or np.count_nonzero(both) < MIN_READINGS:
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK,
            f'{np.count_nonzero(both)} depth readings are on the shape; {MIN_READINGS} are '
            'needed. Check that the depth is registered to the image.',
        )
    ratios = target.depth[both] / drawn.depth[both]
    ratio = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(ratios - ratio))) / ratio
    return Scale(ratio, 1.253 * spread / float(np.sqrt(EFFECTIVE_READINGS)), 'depth')


def align_to_depth(surface: Surface, target: Window, up: Array | None = None) -> Alignment:
    """
    Return the alignment of a surface of unknown scale; for ``up`` (3,) see ``refine``.

    Raises ``LiftError(NO_DEPTH_IN_MASK)`` if too few readings are on the surface, or if no
    alignment fits the readings, because the depth is not that of the object.
    """
    ratio = depth_ratio(surface, target).factor
    scaled = surface.scaled(ratio)
    refined = refine(scaled, target, scale=True, up=up)
    check_depth(scaled.moved(refined.T), target)
    T = refined.T @ np.diag([ratio, ratio, ratio, 1.0])
    return Alignment(T, agreement(surface, target), refined.after)


def check_depth(surface: Surface, target: Window) -> None:
    """Raise ``LiftError(NO_DEPTH_IN_MASK)`` if depth in the mask is not that of the surface."""
    off = _distances(surface.rasterize(target.camera), target)
    share = float((off > FOREIGN_DISTANCE * surface.size).mean()) if len(off) else 0.0
    if share > MAX_FOREIGN_SHARE:
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK,
            f'{100.0 * share:.0f} % of the depth inside the mask is in front of the object or '
            'behind it; check that the depth is registered to the image and has the same stamp. '
            'For a transparent object, leave the depth out or give another source of scale.',
        )


def refine(
    surface: Surface, target: Window, scale: bool, up: Array | None = None
) -> Alignment:
    """
    Return the small motion that aligns a surface to the mask and the readings of a view.

    ``scale``: the motion may change the size. Without depth, size and distance are nearly
    equivalent, and the surface is first scaled about its centre to the area of the mask. ``up``
    (3,) is the vertical in the optical frame, if known, which the motion preserves. The motion is
    the identity if no motion improves the agreement.
    """
    drawn = surface.rasterize(target.camera)
    before = best = _agreement(surface, drawn, target)
    T = best_T = np.eye(4)
    outline = outline_distance(target.mask).astype(np.float64)
    moved, done = surface, np.zeros(7)
    size = surface.size
    if scale and target.depth is None and not before.good:
        area = max(np.count_nonzero(target.mask), 1) / max(np.count_nonzero(drawn.mask), 1)
        growth = np.clip(0.5 * np.log(area), -np.log(MAX_GROWTH), np.log(MAX_GROWTH))
        larger = _similarity(np.array([*6 * [0.0], growth]), surface.centre)
        grown = surface.moved(larger)
        now_drawn = grown.rasterize(target.camera)
        now = _agreement(grown, now_drawn, target)
        if now.cost < best.cost:
            best, best_T, T, moved, drawn = now, larger, larger, grown, now_drawn
    # Information matrix of the prior.
    prior = np.diag(
        [
            *3 * [ROTATION_STDDEV**-2],
            *3 * [(TRANSLATION_STDDEV * size) ** -2],
            LOG_SCALE_STDDEV**-2,
        ]
    )
    if up is not None:
        prior[:3, :3] += (np.eye(3) - np.outer(up, up)) * TILT_STDDEV**-2
    if not scale:
        prior[6, 6] = 1e12
    for _ in range(0 if before.good else MAX_STEPS):
        jacobian, off, weight = _equations(moved, drawn, target, outline, size)
        # Not by BLAS, whose rounding depends on the alignment of the arrays in memory.
        normal = np.einsum('ni,n,nj->ij', jacobian, weight, jacobian) + prior
        pull = np.einsum('ni,n,n->i', jacobian, weight, off)
        step = np.linalg.solve(normal, pull - prior @ done)
        done += step
        T = _rounded(_similarity(step, moved.centre) @ T)
        moved = surface.moved(T)
        drawn = moved.rasterize(target.camera)
        now = _agreement(moved, drawn, target)
        gain = best.cost - now.cost
        if gain > 0.0:
            best, best_T = now, T
        if gain < 0.5 * MIN_GAIN:
            break
    if best.cost > before.cost - MIN_GAIN:
        return Alignment(np.eye(4), before, before)
    return Alignment(best_T, before, best)


def _agreement(surface: Surface, drawn: Raster, target: Window) -> Agreement:
    off = _distances(drawn, target)
    residual = float(np.median(off)) / surface.size if len(off) >= MIN_READINGS else None
    return Agreement(mask_iou(drawn.mask, target.mask), residual)


def _both(drawn: Raster, target: Window) -> NDArray[np.bool_]:
    """Return the pixels with a reading and a surface, bool (height, width)."""
    if target.depth is None:
        return np.zeros(target.mask.shape, bool)
    return drawn.mask & (target.depth > 0.0)


def _distances(drawn: Raster, target: Window) -> Array:
    """Return the distances along z of the readings from the surface, (n,) metres."""
    both = _both(drawn, target)
    if target.depth is None or not both.any():
        return np.zeros(0)
    return np.abs(target.depth[both] - drawn.depth[both])


def _equations(
    surface: Surface, drawn: Raster, target: Window, outline: Array, size: float
) -> tuple[Array, Array, Array]:
    """
    Return Jacobian (n, 7), distances (n,) metres and weights (n,) of a step.

    The unknowns are rotation, translation and logarithm of the scale about the surface's centre.
    """
    camera, normals = target.camera, surface.normals()
    parts = []
    both = _both(drawn, target)
    if target.depth is not None and both.any():
        v, u = np.nonzero(both)
        points = camera.unproject(u, v, drawn.depth[both])
        reading = camera.unproject(u, v, target.depth[both])
        normal = normals[drawn.face[both]]
        off = np.einsum('ij,ij->i', normal, reading - points)
        # Tukey's biweight.
        distance = np.linalg.norm(reading - points, axis=1)
        share = np.clip(distance / (OUTLIER_DISTANCE * size), 0.0, 1.0)
        parts.append((points, normal, off, (1.0 - share**2) ** 2))
    v, u = np.nonzero(_boundary(drawn.mask))
    points = camera.unproject(u, v, drawn.depth[v, u])
    # Direction across the outline, in the image plane, in metres at the depth of the boundary.
    down, right = np.gradient(outline)
    per_pixel = points[:, 2] / camera.fx
    across = np.stack([right[v, u], down[v, u] * camera.fy / camera.fx], axis=1)
    ray = np.stack([points[:, 0], points[:, 1]], axis=1) / points[:, 2:]
    direction = np.column_stack([across, -np.einsum('ij,ij->i', across, ray)])
    off = -outline[v, u] * per_pixel
    share = np.clip(np.abs(off) / (2.0 * OUTLIER_DISTANCE * size), 0.0, 1.0)
    # At the border of the image the boundary is not that of the object.
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
        information = EFFECTIVE_READINGS / (SURFACE_STDDEV * size) ** 2
        weights.append(weight * (information / max(len(off), 1)))
    return np.concatenate(jacobians), np.concatenate(offs), np.concatenate(weights)


def _similarity(step: Array, centre: Array) -> Array:
    """Return the matrix (4, 4) of rotation, translation and log scale (7,) about a centre."""
    rotation, _ = cv2.Rodrigues(step[:3])
    T = np.eye(4)
    T[:3, :3] = np.exp(np.clip(step[6], -1.0, 1.0)) * rotation
    T[:3, 3] = centre + step[3:6] - T[:3, :3] @ centre
    return T


def _rounded(T: Array) -> Array:
    """Return a similarity rounded to a micrometre, so that the mesh is the same in each run."""
    scale = np.cbrt(np.linalg.det(T[:3, :3]))
    rotation, _ = cv2.Rodrigues(T[:3, :3] / scale)
    step = np.concatenate([rotation[:, 0], T[:3, 3], [np.log(scale)]])
    return _similarity(np.round(step, 6), np.zeros(3))


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask at its outline, bool (height, width)."""
    return mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
