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
The most probable surface behind noisy depth readings, with its slope.

A plane is linear in inverse depth over the image, and the noise of a stereo camera is constant
there. Planes are fitted to windows of growing size, and a pixel's estimate is the mean of the
planes of all windows that hold it, as in the guided filter (He et al., Guided Image Filtering,
2013): constant curvature cancels out, and windows across an edge have no weight. A larger window
counts as long as its planes explain the readings within their noise, and agree with the smaller
ones (Lepskii, On a Problem of Adaptive Estimation in Gaussian White Noise, 1991).
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.observation.object_observation import ObjectObservation

#: Side of a window in cells; the cells of level n have 2^n pixels.
WINDOW_CELLS, LEVELS = 5, 5

#: Least number of cells with readings in a window that a plane is fitted to.
MIN_CELLS = 6.0

#: Mean squared deviation from a plane, in variances of the noise, up to which a window has its
#: full weight, and over which that falls to 1/e.
FULL_DEVIATION, DEVIATION_SCALE = 1.8, 0.5

#: Standard deviation of the estimate of a level, over that of a reading: the errors of
#: neighbours are correlated, so that it falls more slowly than by their number.
LEVEL_STDDEV = (1.0, 0.9, 0.8, 0.6)

#: Largest correction of a reading, as a share of it; larger ones are from degenerate windows.
MAX_CORRECTION = 0.05

#: Smallest cosine between the normal and the line of sight: noise alone tilts small patches more.
MIN_COSINE = 0.3

Image = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Planes:
    """
    Planes of inverse depth over the image, each (height, width).

    - ``value``: inverse metres; ``slope_u``, ``slope_v``: inverse metres a pixel.
    - ``support``: 0 to 1, share of the windows around the pixel that are planes.
    """

    value: Image
    slope_u: Image
    slope_v: Image
    support: Image


def estimate_surface(observation: ObjectObservation) -> ObjectObservation:
    """Return an observation with the most probable depth at its readings, and with its slope."""
    if observation.depth is None:
        return observation
    known = observation.measured & ~observation.occluder
    rows, columns = np.nonzero(known)
    if not len(rows):
        return observation
    margin = WINDOW_CELLS
    part = (
        slice(max(int(rows.min()) - margin, 0), int(rows.max()) + 1 + margin),
        slice(max(int(columns.min()) - margin, 0), int(columns.max()) + 1 + margin),
    )
    inside = known[part]
    inverse = 1.0 / observation.depth[part].astype(np.float64)
    stddev = np.where(inside, observation.sigma[part], np.inf) * inverse**2
    planes = _fit(inverse, inside, stddev)
    depth = observation.depth.copy()
    stays = inside & (np.abs(planes.value - inverse) < MAX_CORRECTION * inverse)
    depth[part][stays] = (1.0 / planes.value[stays]).astype(np.float32)
    cosine = np.ones_like(depth)
    cosine[part] = _cosine(planes, inside, observation.camera, part)
    return replace(observation, depth=depth, cosine=cosine)


def _fit(inverse: Image, inside: NDArray[np.bool_], stddev: Image) -> _Planes:
    """
    Return the planes of the largest windows that explain the readings of ``inverse`` depth.

    ``stddev`` is that of the readings, which are where ``inside``; all (height, width).
    """
    typical = float(np.median(stddev[inside]))
    weight = np.where(inside, np.minimum(typical / np.maximum(stddev, 1e-12), 2.0) ** 2, 0.0)
    v, u = np.indices(inverse.shape, dtype=np.float64)
    terms = (np.ones_like(u), u, v, inverse)
    # Sums of products of one, u, v and the inverse depth, in the upper triangle.
    moments = cv2.merge([
        *(weight * terms[i] * terms[j] for i in range(4) for j in range(i, 4)),
        inside.astype(np.float64),
    ])
    best = _Planes(inverse, np.zeros_like(inverse), np.zeros_like(inverse), np.zeros_like(u))
    for level in range(LEVELS):
        if level:
            moments = _halved(moments)
        if min(moments.shape[:2]) < WINDOW_CELLS:
            break
        found = _of_level(moments, typical, inverse.shape, 2**level)
        value = found.value + found.slope_u * u + found.slope_v * v
        share = found.support
        if level:
            allowed = np.float64(LEVEL_STDDEV[level - 1]) * np.where(inside, stddev, typical)
            deviation = ((value - best.value) / allowed) ** 2
            # Where no smaller window had a plane there is nothing to agree with.
            agreement = np.exp(-np.maximum(deviation - 1.0, 0.0))
            share = share * np.where(inside, agreement, 1.0)
        best = _Planes(
            best.value + share * (value - best.value),
            best.slope_u + share * (found.slope_u - best.slope_u),
            best.slope_v + share * (found.slope_v - best.slope_v),
            np.maximum(best.support, share),
        )
    return best


def _halved(moments: Image) -> Image:
    """Return the sums of cells of two by two."""
    height, width = moments.shape[:2]
    padded = np.pad(moments, ((0, height % 2), (0, width % 2), (0, 0)))
    return np.asarray(
        padded[0::2, 0::2] + padded[1::2, 0::2] + padded[0::2, 1::2] + padded[1::2, 1::2]
    )


def _of_level(
    moments: Image, stddev: float, shape: tuple[int, ...], cell: int
) -> _Planes:
    """Return, at every pixel, the mean plane of the windows of cells of ``cell`` pixels."""
    n, su, sv, sq, uu, uv, uq, vv, vq, qq, cells = cv2.split(_box(moments))
    enough = cells >= MIN_CELLS * cell**2
    n = np.maximum(n, 1e-12)
    cu, cv, cq = su / n, sv / n, sq / n
    uu, uv, uq = uu / n - cu * cu, uv / n - cu * cv, uq / n - cu * cq
    vv, vq, qq = vv / n - cv * cv, vq / n - cv * cq, qq / n - cq * cq
    determinant = uu * vv - uv * uv
    enough &= determinant > 0.05 * np.maximum(uu, vv) ** 2
    determinant = np.where(enough, determinant, 1.0)
    a = (uq * vv - vq * uv) / determinant
    b = (vq * uu - uq * uv) / determinant
    deviation = np.maximum(qq - a * uq - b * vq, 0.0) / stddev**2
    good = np.exp(-np.maximum(deviation - FULL_DEVIATION, 0.0) / DEVIATION_SCALE)
    good = np.where(enough, n * good, 0.0)
    whole = np.where(enough, n, 0.0)
    total, *planes, whole = cv2.split(_box(cv2.merge(
        [good, good * (cq - a * cu - b * cv), good * a, good * b, whole])))
    total = np.maximum(total, 1e-12)
    coarse = cv2.merge([*(plane / total for plane in planes), total / np.maximum(whole, 1e-12)])
    if cell > 1:
        height, width = coarse.shape[:2]
        coarse = cv2.resize(
            coarse, (width * cell, height * cell), interpolation=cv2.INTER_LINEAR
        )[:shape[0], :shape[1]]
    value, slope_u, slope_v, support = cv2.split(coarse)
    return _Planes(value, slope_u, slope_v, np.clip(support, 0.0, 1.0))


def _box(images: Image) -> Image:
    """Return the sums over windows of images (height, width, n)."""
    sums = cv2.boxFilter(
        images, -1, (WINDOW_CELLS, WINDOW_CELLS), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    return sums.reshape(images.shape)


def _cosine(
    planes: _Planes, inside: NDArray[np.bool_], camera: Camera, part: tuple[slice, slice]
) -> NDArray[np.float32]:
    """
    Return the cosine between the normals of planes and the lines along the optical axis.

    A plane is the set of points with m x = 1; the distance of a point from it is that along z
    times 1 / (z |m|).
    """
    v, u = np.indices(inside.shape, dtype=np.float64)
    u += part[1].start - camera.cx
    v += part[0].start - camera.cy
    third = planes.value - planes.slope_u * u - planes.slope_v * v
    length = np.sqrt(
        (planes.slope_u * camera.fx) ** 2 + (planes.slope_v * camera.fy) ** 2 + third**2
    )
    cosine = np.where(inside, planes.value / np.maximum(length, 1e-12), 0.0)
    # Off the readings as beside them.
    size = (2 * WINDOW_CELLS + 1,) * 2
    near = cv2.blur(inside.astype(np.float64), size, borderType=cv2.BORDER_CONSTANT)
    around = cv2.blur(cosine, size, borderType=cv2.BORDER_CONSTANT)
    around = np.where(near > 1e-6, around / np.maximum(near, 1e-6), 1.0)
    return np.clip(np.where(inside, cosine, around), MIN_COSINE, 1.0).astype(np.float32)
