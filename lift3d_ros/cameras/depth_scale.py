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
Check from the whole frame whether the depth has the field of view of the image.

Depth of a camera with another focal length is the image scaled about the principal point. Near an
object in the centre that is a few pixels, as for a rough mask; near the border it is ten or more.
Therefore all depth jumps of the frame are compared with the edges of the image: along
the normal of each jump, the contrast of the image is sampled, and a scale displaces the position
at which the edge is expected. A shift and a constant offset along the normals (the jumps of stereo
depth are some pixels outside the outline) are allowed with and without a scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.cameras.depth_alignment import MIN_JUMP_M
from lift3d_ros.cameras.depth_alignment import MIN_JUMP_SHARE
from lift3d_ros.cameras.depth_alignment import with_far_gaps
from lift3d_ros.geometry.frame import Frame

#: Longer side of the images that are compared, pixels; the stride is rounded to the nearest.
_SIDE_PX = 320

#: Largest number of depth jumps that are compared: 10 ms in total.
_MAX_POINTS = 600

#: Smallest ratio of a depth jump to the step of the surface beside it.
_MIN_JUMP_RATIO = 3.0

#: Range along the normal in which the image is sampled, share of the longer side.
_REACH_SHARE = 0.16

#: Gradient of a quarter of a grey level a pixel, which is noise (the Sobel kernel sums to 8), and
#: how the mean contrast of the surroundings counts, so that texture does not resemble an outline.
_NOISE_GRADIENT = 8.0
_TEXTURE_WEIGHT = 1.5
_TEXTURE_PX = 25

#: Sizes of the image over those of the depth that are tried: 55 to 88 degrees beside 69.
_SCALES = np.array([s for s in np.arange(0.70, 1.41, 0.02) if abs(s - 1.0) > 0.029])
_SCALE_STEP = 0.01

#: Calibrations deviate by this much.
_TOLERATED_SCALES = (0.99, 1.0, 1.01)

#: Shifts and offsets along the normal that are tolerated, pixels of 320.
_SHIFTS_PX = (-2.0, -1.0, 0.0, 1.0, 2.0)
_OFFSETS_PX = (-1.0, 0.0, 1.0, 2.0)

#: Scaled depth has its shift on top of the deviation of its principal point.
_SCALED_SHIFT = 1.5

#: A scale is found where at least so many jumps are compared, ...
_MIN_POINTS = 160
#: ... the image has at most this share of the contrast at the original positions, ...
_MAX_CONTRAST_SHARE = 0.65
#: ... and this much less, 1 being an edge without texture around it, ...
_MIN_GAIN = 0.03
#: ... also without the part of the image (of 10 x 8) that contributes most, ...
_MIN_GAIN_ELSEWHERE = 0.015
_CELLS = 10
#: ... and the jumps are displaced by this much in the mean, pixels of 320.
_MIN_DISPLACEMENT_PX = 1.0


@dataclass(frozen=True)
class DepthScale:
    """
    The scale about the principal point at which depth jumps match edges of the image best.

    - ``scale``: size of things in the depth over that in the image.
    - ``contrast``, ``contrast_here``: mean contrast of the image, above that of the surroundings,
      at the scaled and at the original positions.
    - ``elsewhere``: gain of contrast without the part of the image that contributes most.
    - ``displacement``: mean distance between the two along the normals, pixels of 320.
    - ``points``: number of jumps.
    """

    scale: float
    contrast: float
    contrast_here: float
    elsewhere: float
    displacement: float
    points: int


def field_of_view_note(frame: Frame) -> str | None:
    """Return a note if the depth seems to have another field of view than the image."""
    found = find_scale(frame)
    if found is None or not is_scaled(found):
        return None
    return (
        f'Things in the depth seem to be {found.scale:.2f} times as large as in the image, as if '
        'the depth came from a camera with another field of view; check that it is registered to '
        'the image (align_depth.enable:=true), or remap depth_camera_info to its CameraInfo.'
    )


def is_scaled(found: DepthScale) -> bool:
    """
    Return whether a scale is significant.

    Tuned on 70 scenes of the train split, with and without the errors of the sensor, and 17 real
    frames: on none of these is the share of the contrast below 0.89.
    """
    return (
        found.points >= _MIN_POINTS
        and found.contrast_here < _MAX_CONTRAST_SHARE * found.contrast
        and found.contrast - found.contrast_here > _MIN_GAIN
        and found.elsewhere > _MIN_GAIN_ELSEWHERE
        and found.displacement >= _MIN_DISPLACEMENT_PX
    )


def find_scale(frame: Frame) -> DepthScale | None:
    """Return the scale of the depth relative to the image, None with too little data."""
    if frame.depth is None:
        return None
    height, width = frame.depth.shape
    stride = max(1, round(max(height, width) / _SIDE_PX))
    size = (width // stride, height // stride)
    if min(size) < 32:
        return None
    rows, columns = (slice(stride // 2, stride * n, stride) for n in (size[1], size[0]))
    z = frame.depth[rows, columns]
    places, normals = _jumps(np.where(np.isfinite(z), z, np.float32(0.0)))
    if len(places) < _MIN_POINTS:
        return None
    image = frame.image[: size[1] * stride, : size[0] * stride]
    if stride > 1:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    unit_px = max(size) / _SIDE_PX
    reach = int(_REACH_SHARE * max(size))
    profiles = _profiles(places, normals, _contrast(image), reach)
    camera = frame.camera
    centre = (np.array([camera.cx, camera.cy]) + 0.5) / stride - 0.5
    radial = np.einsum('ij,ij->i', normals, places - centre.astype(np.float32))
    shifts = np.array([(x, y) for x in _SHIFTS_PX for y in _SHIFTS_PX], np.float32) @ normals.T
    shifts *= np.float32(unit_px)
    offsets = np.float32(unit_px) * np.array(_OFFSETS_PX, np.float32)

    here = _Best(profiles)
    for scale in _TOLERATED_SCALES:
        for offset in offsets:
            here.add(scale, (scale - 1.0) * radial + shifts - offset)
    best = _Best(profiles)
    shifts *= np.float32(_SCALED_SHIFT)
    side = len(_SHIFTS_PX)
    few = shifts.reshape(side, side, -1)[::2, ::2].reshape(-1, len(radial))
    for scale in _coarse(profiles, radial, few, unit_px):
        for finer in (scale - _SCALE_STEP, scale, scale + _SCALE_STEP):
            for offset in offsets[1:]:
                best.add(finer, (finer - 1.0) * radial + shifts - offset)

    gains = best.contrasts() - here.contrasts()
    cells = (places // (max(size) / _CELLS)).astype(np.int64)
    parts = np.bincount(cells[:, 1] * _CELLS + cells[:, 0], weights=gains) / len(gains)
    return DepthScale(
        1.0 / best.scale,
        best.mean,
        here.mean,
        float(parts.sum() - parts.max()),
        float(np.abs(best.positions - here.positions).mean()) / unit_px,
        len(places),
    )


class _Best:
    """The positions along the normals with the largest mean contrast of all that are added."""

    def __init__(self, profiles: NDArray[np.float32]) -> None:
        self.profiles = profiles
        self.mean, self.scale = -np.inf, 1.0
        self.positions = np.zeros(len(profiles), np.float32)

    def add(self, scale: float, positions: NDArray[np.float32]) -> None:
        """Compare positions (m, n): m hypotheses of n jumps, pixels along the normal."""
        means = _sampled(self.profiles, positions).mean(axis=1)
        index = int(means.argmax())
        if means[index] > self.mean:
            self.mean, self.scale = float(means[index]), scale
            self.positions = positions[index]

    def contrasts(self) -> NDArray[np.float32]:
        """Return the contrast at each jump (n,)."""
        return _sampled(self.profiles, self.positions[None])[0]


def _sampled(
    profiles: NDArray[np.float32], positions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return profiles (n, 2 reach + 1) at positions (m, n)."""
    reach = profiles.shape[1] // 2
    place = np.rint(positions).astype(np.int32)
    np.clip(place, -reach, reach, out=place)
    place += np.arange(len(profiles), dtype=np.int32) * profiles.shape[1] + reach
    return profiles.ravel()[place]


def _coarse(
    profiles: NDArray[np.float32],
    radial: NDArray[np.float32],
    shifts: NDArray[np.float32],
    unit_px: float,
) -> NDArray[np.float64]:
    """Return the three scales that match best with few shifts and wide edges."""
    wide = cv2.blur(profiles, (3, 1))
    means = [
        max(
            _sampled(wide, (scale - 1.0) * radial + shifts - np.float32(offset * unit_px))
            .mean(axis=1).max()
            for offset in (0.0, 1.5)
        )
        for scale in _SCALES
    ]
    return _SCALES[np.argsort(means)[-3:]]


def _jumps(z: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return near sides of depth jumps, column and row (n, 2), and unit normals away from them."""
    kernel = np.ones((3, 3), np.uint8)
    z = cv2.medianBlur(np.ascontiguousarray(z), 3)
    filled = with_far_gaps(z)
    rise = cv2.dilate(filled, kernel) - filled
    jump = (rise > np.maximum(MIN_JUMP_M, MIN_JUMP_SHARE * filled)) & (z > 0.0)
    jump &= rise > _MIN_JUMP_RATIO * (filled - cv2.erode(filled, kernel))
    jump[:3] = jump[-3:] = False
    jump[:, :3] = jump[:, -3:] = False
    v, u = np.nonzero(jump)
    every = max(1, -(-len(v) // _MAX_POINTS))
    v, u = v[::every], u[::every]
    # The inverse depth is linear in a plane, and far noise is small in it.
    inverse = np.where(filled > 0.0, 1.0 / np.maximum(filled, np.float32(0.1)), 0.0)
    inverse = cv2.GaussianBlur(inverse.astype(np.float32), (0, 0), 1.2)
    across, down = (cv2.Sobel(inverse, cv2.CV_32F, x, 1 - x) for x in (1, 0))
    normals = -np.stack([across[v, u], down[v, u]], axis=1)
    length = np.linalg.norm(normals, axis=1)
    some = length > 0.0
    places = np.stack([u, v], axis=1)[some].astype(np.float32)
    return places, normals[some] / length[some, None]


def _contrast(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the gradient across and down of the channel that has most, texture suppressed."""
    channels = cv2.split(cv2.GaussianBlur(image, (0, 0), 0.8))
    across = down = most = np.zeros(image.shape[:2], np.float32)
    for channel in channels:
        x, y = cv2.Sobel(channel, cv2.CV_32F, 1, 0), cv2.Sobel(channel, cv2.CV_32F, 0, 1)
        size = cv2.magnitude(x, y)
        more = size > most
        across, down = np.where(more, x, across), np.where(more, y, down)
        most = np.where(more, size, most)
    around = cv2.blur(most, (_TEXTURE_PX, _TEXTURE_PX))
    weight = 1.0 / (most + _TEXTURE_WEIGHT * around + np.float32(_NOISE_GRADIENT))
    return across * weight, down * weight


def _profiles(
    places: NDArray[np.float32],
    normals: NDArray[np.float32],
    contrast: tuple[NDArray[np.float32], NDArray[np.float32]],
    reach: int,
) -> NDArray[np.float32]:
    """Return the contrast across each jump along its normal, minus its mean: (n, 2 reach + 1)."""
    # The outline is between the near side and its neighbour.
    along = np.arange(-reach, reach + 1, dtype=np.float32) + np.float32(0.5)
    u, v = (places[:, i, None] + normals[:, i, None] * along for i in (0, 1))
    across, down = (cv2.remap(part, u, v, cv2.INTER_LINEAR) for part in contrast)
    found = np.abs(across * normals[:, :1] + down * normals[:, 1:])
    height, width = contrast[0].shape
    inside = (u >= 0.0) & (v >= 0.0) & (u <= width - 1.0) & (v <= height - 1.0)
    mean = (found * inside).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    return np.where(inside, found - mean[:, None], 0.0).astype(np.float32)
