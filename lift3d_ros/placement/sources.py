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
The factor by which a shape without scale is off, from a plane, a known size, or further views.

A picture tells a shape up to one factor: scaled about the camera's centre it looks the same. Each
function here finds that factor for a shape in the optical frame, with its relative standard
deviation, or raises ``LiftError`` and says why it cannot.
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

#: By how much the foot of a shape is off, over its size, and the vertical of the plane, radians;
#: the first is that of shapes without depth on 18 scenes of scans of the eval split.
_FOOT_STDDEV = 0.07
_TILT_STDDEV = np.radians(1.0)

#: A relative standard deviation from which on a source says nothing.
_USELESS = 0.5

#: By how much the longest side of a shape without depth is off, on the same scenes.
_SIDE_STDDEV = 0.11

#: Rays to the object that meet at less than this angle, degrees, tell no distance.
_MIN_PARALLAX = 2.0

#: How far rays to the object may miss each other, over its size, and how well its silhouette must
#: fall on each mask, where the poses of the views are right.
_MAX_MISS = 0.5
_MIN_IOU = 0.4

#: About the meeting of the rays, factors of so much are searched, in so many steps.
_SEARCH = 1.35
_SEARCH_STEPS = 11


@dataclass(frozen=True)
class Scale:
    """A factor on a shape, its relative standard deviation, and the source that told it."""

    factor: float
    stddev: float
    source: str


def from_plane(vertices: Floats, plane: Plane) -> Scale:
    """
    Return the scale of a shape that stands on a plane.

    ``vertices`` (n, 3) are those of the shape in the optical frame. Of its points x the lowest
    touches the plane up @ x = offset, so that the factor is offset / min(up @ x). With a foot that
    is off by f, a vertical by t radians, and the lowest point at the distance d below and h beside
    the camera, its relative variance is (f / d)^2 + (t h / d)^2 to first order: a camera that
    looks along the plane learns little from it.

    Raises ``LiftError(BAD_REQUEST)`` where the shape is not below the camera, so that the plane is
    behind it wherever it is; where the camera looks along the plane; and where the object would
    have a size that none has.
    """
    points = np.asarray(vertices, np.float64)
    heights = points @ plane.up
    # Some vertices of a guess hang out below; the foot is where there are several.
    low = float(np.percentile(heights, 0.5))
    size = float(np.ptp(points, axis=0).max())
    if low >= 0.0:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The object is seen above the horizon of the support plane, and cannot stand on it; '
            'is the plane in the right frame, and its normal up?',
        )
    foot = points[heights <= np.percentile(heights, 2.0)].mean(axis=0)
    beside = float(np.linalg.norm(foot - (foot @ plane.up) * plane.up))
    stddev = float(np.hypot(_FOOT_STDDEV * size, _TILT_STDDEV * beside) / -low)
    if stddev > _USELESS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The camera looks along the support plane, which tells no distance then; look down '
            'on it, or name another source of scale.',
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
    there, ``size`` in metres and its relative standard deviation that of the knowledge. Where
    networks tell how long the object is over its depth (``Shape.length_over_depth``), which is
    nearer than the mesh is, they are believed.
    """
    if length_over_depth is None:
        factor = size / longest_side(vertices, up)
    else:
        z = np.asarray(vertices, np.float64)[:, 2]
        factor = size / (length_over_depth * 0.5 * (z.min() + z.max()))
    return Scale(float(factor), float(np.hypot(stddev, _SIDE_STDDEV)), 'known_size')


def from_views(surface: Surface, further: Sequence[SourceView]) -> Scale:
    """
    Return the scale of a surface, in the optical frame of the first view, that others saw too.

    The rays from the cameras to the object meet where it is. With the middle c of the surface, and
    rays from o_k along unit vectors d_k, the factor that minimises the squared distances of
    factor * c from them is sum(c P_k o_k) / sum(c P_k c), P_k = I - d_k d_k^T. From there on the
    factor is searched for the silhouettes that fall best on all masks (mean intersection over
    union). A silhouette that is off by e across a ray that meets the first one at the angle a, at
    the distance r, leaves the factor a standard deviation of e / (r sin a).

    Raises ``LiftError(BAD_REQUEST)`` for cameras too close together, and for poses and masks that
    contradict each other.
    """
    c = surface.centre
    rays = []
    for other in further:
        seen = window(other.view)
        v, u = np.nonzero(seen.mask)
        if not len(u):
            raise LiftError(
                ErrorCode.MASK_TOO_SMALL,
                f'The mask of {other.name or "a further view"} is too thin to measure a distance; '
                'use another view.',
            )
        ray = seen.camera.unproject(0.5 * (u.min() + u.max()), 0.5 * (v.min() + v.max()), 1.0)
        d = other.T_ref_src[:3, :3] @ (ray / np.linalg.norm(ray))
        rays.append((seen, invert(other.T_ref_src), other.T_ref_src[:3, 3], d))
    sines = np.array([np.linalg.norm(np.cross(c, d)) for *_, d in rays]) / np.linalg.norm(c)
    if not len(sines) or sines.max() < np.sin(np.radians(_MIN_PARALLAX)):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The further views are taken from where the first one was, and tell no distance; move '
            'the camera sideways by a tenth of the distance to the object or more.',
        )
    across = [(o - (o @ d) * d, c - (c @ d) * d) for _, _, o, d in rays]
    factor = sum(o @ p for o, p in across) / sum(p @ p for _, p in across)
    miss = max(float(np.linalg.norm(o - factor * p)) for o, p in across)
    ahead = all((factor * c - o) @ d > 0.0 for _, _, o, d in rays)
    if factor <= 0.0 or not ahead or miss > _MAX_MISS * factor * surface.size:
        raise _contradiction('the rays from the cameras to the object do not meet')

    def agreement(s: float) -> list[float]:
        scaled = surface.scaled(s)
        return [
            mask_iou(scaled.moved(T).rasterize(seen.camera).mask, seen.mask)
            for seen, T, _, _ in rays
        ]

    tried = factor * _SEARCH ** np.linspace(-1.0, 1.0, _SEARCH_STEPS)
    found = [float(np.mean(agreement(s))) for s in tried]
    best = int(np.argmax(found))
    if 0 < best < len(tried) - 1:
        # The vertex of the parabola through the best and its neighbours.
        before, at, after = found[best - 1 : best + 2]
        bend = before - 2.0 * at + after
        shift = 0.5 * (before - after) / bend if bend < 0.0 else 0.0
        step = np.log(_SEARCH) * 2.0 / (_SEARCH_STEPS - 1)
        factor = float(tried[best] * np.exp(shift * step))
    else:
        factor = float(tried[best])
    shares = np.array(agreement(factor))
    if shares.min() < _MIN_IOU:
        raise _contradiction(
            f'the object falls on the mask of a further view by {100.0 * shares.min():.0f} %'
        )
    # Half of what differs is on either side of the outline; two outlines make a silhouette.
    off = np.maximum(0.25 * (1.0 - shares), 0.005) * surface.size
    told = np.maximum(sines, 1e-3) * np.linalg.norm(c) / off
    stddev = float(1.0 / np.sqrt(np.square(told).sum()))
    return _plausible(Scale(factor, stddev, 'views'), surface.size)


def _plausible(scale: Scale, size: float) -> Scale:
    """Return a scale, or raise ``LiftError(BAD_REQUEST)`` for one that no object has."""
    low, high = SIZE_RANGE
    if not low <= scale.factor * size <= high:
        what = {'plane': 'support plane', 'views': 'poses of the views'}[scale.source]
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'By the {what} the object would be {scale.factor * size:.3g} m long; objects are '
            f'{low} to {high} m. Is it in metres, and in the right frame?',
        )
    return scale


def _contradiction(what: str) -> LiftError:
    return LiftError(
        ErrorCode.BAD_REQUEST,
        f'The further views contradict the first: {what}. Are their poses those of the optical '
        'frames at the stamps of the images, and are the masks of one object?',
    )
