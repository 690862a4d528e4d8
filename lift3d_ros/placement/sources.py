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
The scale of a shape from the support plane, a known size, or source views.

An image gives a shape up to one factor: scaled about the camera's centre, its image is the same.
Each function returns that factor for a shape in the optical frame, with its relative standard
deviation, or raises ``LiftError`` with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import longest_side
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.meshing.rasterizer import mask_iou
from lift3d_ros.meshing.rasterizer import Surface
from lift3d_ros.meshing.rasterizer import window
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import SIZE_RANGE

#: Standard deviation of the foot of a shape without depth, over its size, on 18 scenes of scans of
#: the eval split; and of the vertical of the plane, radians.
FOOT_STDDEV = 0.07
TILT_STDDEV = np.radians(1.0)

#: Largest relative standard deviation of a scale.
MAX_STDDEV = 0.5

#: Relative standard deviation of the longest side of a shape without depth, on the same scenes.
SIDE_STDDEV = 0.11

#: Smallest angle between rays to the object that give a distance, degrees.
MIN_PARALLAX_DEG = 2.0

#: Largest distance between rays to the object, over its size, and smallest IoU of its silhouette
#: and a mask, if the poses of the views are correct.
MAX_RAY_DISTANCE = 0.5
MIN_IOU = 0.4

#: Largest factor, and inverse of the smallest, by which the scale from the rays is refined, and
#: number of factors in the search.
SEARCH_RANGE = 1.35
SEARCH_STEPS = 11


@dataclass(frozen=True)
class Scale:
    """A factor on a shape, its relative standard deviation, and its source."""

    factor: float
    stddev: float
    source: str


def from_plane(vertices: Floats, plane: Plane) -> Scale:
    """
    Return the scale of a shape that stands on a plane.

    ``vertices`` (n, 3) are those of the shape in the optical frame. The lowest of its points x is
    on the plane up @ x = offset, so that the factor is offset / min(up @ x). With an error f of
    the foot, t radians of the vertical, and the lowest point at the distance d below and h beside
    the camera, the relative variance is (f / d)^2 + (t h / d)^2 to first order: it is large for a
    camera that looks along the plane.

    Raises ``LiftError(BAD_REQUEST)`` if the shape is not below the camera, if the camera looks
    along the plane, and for an implausible size.
    """
    points = np.asarray(vertices, np.float64)
    heights = points @ plane.up
    # A percentile, because single vertices of a prediction may be too low.
    low = float(np.percentile(heights, 0.5))
    size = float(np.ptp(points, axis=0).max())
    if low >= 0.0:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The object is above the horizon of the support plane and cannot stand on it; check '
            'the frame of the plane, and that its normal points up.',
        )
    foot = points[heights <= np.percentile(heights, 2.0)].mean(axis=0)
    offset = float(np.linalg.norm(foot - (foot @ plane.up) * plane.up))
    stddev = float(np.hypot(FOOT_STDDEV * size, TILT_STDDEV * offset) / -low)
    if stddev > MAX_STDDEV:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The camera looks along the support plane, which gives no distance; look down on '
            'it, or give another source of scale.',
        )
    return _plausible(Scale(plane.offset / low, stddev, 'plane'), size)


def from_known_size(
    vertices: Floats,
    up: Array,
    size: float,
    stddev: float,
    length_over_depth: float | None = None,
) -> Scale:
    """
    Return the scale of a shape whose longest side is known.

    ``vertices`` (n, 3) are those of the shape in the optical frame, ``up`` (3,) is its vertical
    there; ``size`` is in metres, ``stddev`` its relative standard deviation. If networks predict
    the length of the object over its depth (``Shape.length_over_depth``), that replaces the length
    of the mesh, which is less exact.
    """
    if length_over_depth is None:
        factor = size / longest_side(vertices, up)
    else:
        z = np.asarray(vertices, np.float64)[:, 2]
        factor = size / (length_over_depth * 0.5 * (z.min() + z.max()))
    return Scale(float(factor), float(np.hypot(stddev, SIDE_STDDEV)), 'known_size')


def from_views(surface: Surface, sources: Sequence[SourceView]) -> Scale:
    """
    Return the scale of a surface, in the reference optical frame, from source views.

    The rays from the cameras to the object meet at it. With the centre c of the surface, and rays
    from o_k along unit vectors d_k, the factor that minimises the squared distances of factor * c
    from them is sum(c P_k o_k) / sum(c P_k c), P_k = I - d_k d_k^T. A search around it maximises
    the mean IoU of silhouettes and masks. An error e of a silhouette, across a ray that meets the
    reference ray at the angle a and the distance r, gives the factor a standard deviation of
    e / (r sin a).

    Raises ``LiftError(BAD_REQUEST)`` for cameras too close together, and for inconsistent poses
    and masks.
    """
    c = surface.centre
    rays = []
    for source in sources:
        target = window(source.view)
        v, u = np.nonzero(target.mask)
        if not len(u):
            raise LiftError(
                ErrorCode.MASK_TOO_SMALL,
                f'The mask of {source.name or "a source view"} is too thin to measure a distance; '
                'use another view.',
            )
        ray = target.camera.unproject(0.5 * (u.min() + u.max()), 0.5 * (v.min() + v.max()), 1.0)
        d = source.T_ref_src[:3, :3] @ (ray / np.linalg.norm(ray))
        rays.append((target, invert(source.T_ref_src), source.T_ref_src[:3, 3], d))
    sines = np.array([np.linalg.norm(np.cross(c, d)) for *_, d in rays]) / np.linalg.norm(c)
    if not len(sines) or sines.max() < np.sin(np.radians(MIN_PARALLAX_DEG)):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The source views have the same position as the first view and give no distance; '
            'move the camera sideways by at least a tenth of the distance to the object.',
        )
    across = [(o - (o @ d) * d, c - (c @ d) * d) for _, _, o, d in rays]
    factor = sum(o @ p for o, p in across) / sum(p @ p for _, p in across)
    max_distance = max(float(np.linalg.norm(o - factor * p)) for o, p in across)
    ahead = all((factor * c - o) @ d > 0.0 for _, _, o, d in rays)
    if factor <= 0.0 or not ahead or max_distance > MAX_RAY_DISTANCE * factor * surface.size:
        raise _contradiction('the rays from the cameras to the object do not intersect')

    def agreement(s: float) -> list[float]:
        scaled = surface.scaled(s)
        return [
            mask_iou(scaled.moved(T).rasterize(target.camera).mask, target.mask)
            for target, T, _, _ in rays
        ]

    factors = factor * SEARCH_RANGE ** np.linspace(-1.0, 1.0, SEARCH_STEPS)
    scores = [float(np.mean(agreement(s))) for s in factors]
    best = int(np.argmax(scores))
    if 0 < best < len(factors) - 1:
        # The vertex of the parabola through the best and its neighbours.
        before, at, after = scores[best - 1 : best + 2]
        curvature = before - 2.0 * at + after
        shift = 0.5 * (before - after) / curvature if curvature < 0.0 else 0.0
        step = np.log(SEARCH_RANGE) * 2.0 / (SEARCH_STEPS - 1)
        factor = float(factors[best] * np.exp(shift * step))
    else:
        factor = float(factors[best])
    shares = np.array(agreement(factor))
    if shares.min() < MIN_IOU:
        raise _contradiction(
            f'the shape and the mask of a source view overlap by {100.0 * shares.min():.0f} %'
        )
    # Half of the difference is on each side of the outline, and a ray crosses two outlines.
    off = np.maximum(0.25 * (1.0 - shares), 0.005) * surface.size
    information = np.maximum(sines, 1e-3) * np.linalg.norm(c) / off
    stddev = float(1.0 / np.sqrt(np.square(information).sum()))
    return _plausible(Scale(factor, stddev, 'views'), surface.size)


def _plausible(scale: Scale, size: float) -> Scale:
    """Return a scale, or raise ``LiftError(BAD_REQUEST)`` for an implausible size."""
    low, high = SIZE_RANGE
    if not low <= scale.factor * size <= high:
        origin = {'plane': 'support plane', 'views': 'poses of the views'}[scale.source]
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'According to the {origin}, the object is {scale.factor * size:.3g} m long; objects '
            f'are {low} to {high} m long. Check the unit, which is metres, and the frame.',
        )
    return scale


def _contradiction(reason: str) -> LiftError:
    return LiftError(
        ErrorCode.BAD_REQUEST,
        f'The source views contradict the first view: {reason}. Check that the poses are those of '
        'the optical frames at the stamps of the images, and that the masks show one object.',
    )
