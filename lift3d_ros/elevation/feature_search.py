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
Elevation from four synthesised nearby views: the search of One-2-3-45.

The views are above, below, left and right of the input camera. Their relative motion depends on
the elevation: a rotation about the vertical is a translation in the image for a camera at the
horizon and a roll for a camera above the object. The search triangulates matches of two views,
projects them into the others and returns the elevation with the least reprojection error
(One-2-3-45, ``elevation_estimate/utils/elev_est_api.py``). It is independent of the distance of
the cameras and the size of the object.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NoReturn

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.elevation.matching import foreground
from lift3d_ros.elevation.matching import Matcher
from lift3d_ros.elevation.matching import Matches
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.frame import VIEW_SIZE

#: Offsets of the four views from the input camera: degrees of elevation and azimuth.
NEARBY_OFFSETS = ((10.0, 0.0), (-10.0, 0.0), (0.0, -10.0), (0.0, 10.0))

#: All pairs of the four views.
PAIRS = tuple(combinations(range(len(NEARBY_OFFSETS)), 2))

#: ``faithful`` is the published code: it tests whether the first point of a match is on the object
#: in the column of the second point, and its mean error is not robust. ``fixed`` tests the right
#: pixel and truncates errors at ``MAX_DISTANCE``.
VARIANTS = ('fixed', 'faithful')

#: Polar angles of the coarse search, and offsets from the best of the fine search, degrees.
COARSE_POLAR = np.arange(30.0, 150.0, 10.0, dtype=np.float64)
FINE_STEPS = np.arange(-10.0, 10.0, dtype=np.float64)

#: Largest distance of the points of two matches that form a track, pixels.
TRACK_DISTANCE = 1.0

#: Truncation of the error in the fixed search, pixels of a picture of ``VIEW_SIZE``.
MAX_DISTANCE = 10.0

#: Fewest tracks of a search.
MIN_TRACKS = 12

#: Least median motion between views, pixels of a picture of ``VIEW_SIZE``; identical views, which
#: ignore the pose, would fit the horizon.
MIN_MOTION = 2.0

#: Largest error of the best hypothesis over the median of the coarse ones; matches that fit no
#: elevation have a ratio near 1.
MAX_ERROR_RATIO = 0.8

#: Camera distance, object lengths; the result does not depend on it.
_RADIUS = 1.2

#: Resamples of the bootstrap.
_RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Tracks:
    """
    Points matched in three views, n of them, of one start view.

    ``start``, ``partner``, ``other``: indices of the views; ``at_start``, ``at_partner``,
    ``at_other``: (n, 2) pixels; ``confidence``: (n,).
    """

    start: int
    partner: int
    other: int
    at_start: Array
    at_partner: Array
    at_other: Array
    confidence: Array


@dataclass(frozen=True, eq=False)
class Search:
    """
    The result of the search.

    - ``elevation``: a whole number of degrees; ``stddev``: degrees, bootstrap over the tracks and
      rounding. It is too small, for it assumes independent tracks and ignores errors that the
      four views share.
    - ``error``: sum over the six combinations of views of the mean reprojection error, pixels.
    - ``tracks``: number of tracks.
    - ``tried``, ``errors``: (n,), the elevations of the search and their errors.
    """

    elevation: float
    stddev: float
    error: float
    tracks: int
    tried: Array
    errors: Array


def nearby_poses(elevation: float, radius: float = _RADIUS) -> Array:
    """Return the poses (4, 4, 4) of the four views about an input camera at azimuth 0."""
    return np.stack(
        [orbit_pose(turn, elevation + rise, radius) for rise, turn in NEARBY_OFFSETS]
    )


def search_elevation(
    images: NDArray[np.uint8], matcher: Matcher, variant: str = 'fixed'
) -> Search:
    """
    Return the elevation of the camera whose nearby views are given.

    ``images`` is uint8 (4, size, size, 3) on white, in the order of ``NEARBY_OFFSETS``, through
    the lens of Zero-1-to-3. Raises ``LiftError``: BAD_IMAGE for another type or shape,
    BAD_REQUEST for an unknown variant, ELEVATION_UNKNOWN if the views do not determine it.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(NEARBY_OFFSETS) or (
            images.shape[3] != 3 or images.shape[1] != images.shape[2]):
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The nearby views have the type {images.dtype} and the shape {images.shape}; they '
            'must be uint8, (4, size, size, 3).',
        )
    check_variant(variant)
    matches = on_object(images, matcher.match(list(images), PAIRS), variant)
    return search_matches(matches, images.shape[1], variant)


def check_variant(variant: str) -> None:
    """Raise ``LiftError`` (BAD_REQUEST) for a name that is not in ``VARIANTS``."""
    if variant not in VARIANTS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There is no search "{variant}"; choose one of {", ".join(VARIANTS)}.',
        )


def on_object(
    images: NDArray[np.uint8], matches: Sequence[Matches], variant: str = 'fixed'
) -> list[Matches]:
    """Return the matches of each of ``PAIRS`` with both points on the object."""
    objects = foreground(images)
    kept = []
    for (i, j), pair in zip(PAIRS, matches, strict=True):
        x = [_pixels(end[:, 0], images.shape[2]) for end in (pair.first, pair.second)]
        y = [_pixels(end[:, 1], images.shape[1]) for end in (pair.first, pair.second)]
        column = x[1] if variant == 'faithful' else x[0]
        kept.append(pair.where(objects[i][y[0], column] & objects[j][y[1], x[1]]))
    return kept


def search_matches(
    matches: Sequence[Matches], size: int = VIEW_SIZE, variant: str = 'fixed'
) -> Search:
    """
    Return the elevation that fits the matches of ``PAIRS`` best.

    ``size`` is the side of the pictures in pixels. Raises ``LiftError(ELEVATION_UNKNOWN)`` for a
    pair of views without matches, views without motion, too few tracks, an error without a clear
    minimum, and a minimum at the end of the range.
    """
    empty = sum(not len(pair) for pair in matches)
    if empty:
        _fail(f'{empty} of the {len(PAIRS)} pairs of nearby views have no matches')
    motion = np.median(
        np.concatenate([np.hypot(*(pair.first - pair.second).T) for pair in matches])
    )
    if motion < MIN_MOTION * size / VIEW_SIZE:
        _fail('the nearby views do not follow their poses')
    tracks = make_tracks(matches)
    count = sum(len(track.confidence) for track in tracks)
    if count < MIN_TRACKS:
        _fail(f'only {count} points match in three nearby views, {MIN_TRACKS} are needed')
    camera = Camera.from_fov(size, size, ZERO123_FOV)
    bound = np.inf if variant == 'faithful' else MAX_DISTANCE * size / VIEW_SIZE

    def residuals_at(elevations: Array) -> Array:
        errors = [reprojection(tracks, camera, elevation) for elevation in elevations]
        return np.minimum(np.stack(errors), bound)

    coarse = 90.0 - COARSE_POLAR
    residuals = residuals_at(coarse)
    coarse_errors = total_errors(tracks, residuals)
    fine = coarse[np.argmin(coarse_errors)] - FINE_STEPS
    residuals = np.concatenate([residuals, residuals_at(fine)])
    tried = np.concatenate([coarse, fine])
    errors = total_errors(tracks, residuals)
    best = len(coarse) + int(np.argmin(errors[len(coarse):]))
    if not errors[best] < MAX_ERROR_RATIO * np.median(coarse_errors):
        _fail('the matches of the nearby views fit no elevation clearly best')
    low, high = coarse[-1] - FINE_STEPS[-1], coarse[0] - FINE_STEPS[0]
    if not low < tried[best] < high:
        _fail(f'the elevation is outside of the search range, {low:g} to {high:g} degrees')
    spread = _bootstrap(tracks, residuals, tried, float(tried[best]))
    return Search(
        elevation=float(tried[best]),
        stddev=float(np.hypot(spread, 1.0 / np.sqrt(12.0))),
        error=float(errors[best]),
        tracks=count,
        tried=tried,
        errors=errors,
    )


def make_tracks(matches: Sequence[Matches]) -> list[Tracks]:
    """
    Return the tracks of each start view, the next view and either of the other two.

    A track joins a match with the next view to the match with the other view whose point in the
    start view is nearest, within ``TRACK_DISTANCE``.
    """
    by_pair = dict(zip(PAIRS, matches, strict=True))
    by_pair.update({(j, i): pair.reversed() for (i, j), pair in by_pair.items()})
    tracks = []
    views = len(NEARBY_OFFSETS)
    for start in range(views - 1):
        partner = start + 1
        pair = by_pair[start, partner]
        for step in (2, 3):
            other = (start + step) % views
            third = by_pair[start, other]
            distance = np.linalg.norm(pair.first[:, None] - third.first, axis=-1)
            nearest = distance.argmin(axis=1)
            keep = distance.min(axis=1) < TRACK_DISTANCE
            joined = nearest[keep]
            if not keep.any():
                continue
            tracks.append(
                Tracks(
                    start, partner, other, pair.first[keep], pair.second[keep],
                    third.second[joined], third.confidence[joined],
                )
            )
    return tracks


def reprojection(tracks: Sequence[Tracks], camera: Camera, elevation: float) -> Array:
    """
    Return the reprojection error of each track, (n,), pixels.

    Points are triangulated from the start view and its partner by the direct linear transform
    (Hartley and Zisserman, 12.2) and projected into the other view.
    """
    poses = [invert(pose)[:3] for pose in nearby_poses(elevation)]
    projections = [camera.K @ pose for pose in poses]
    distances = [np.zeros(0)]
    for track in tracks:
        point = cv2.triangulatePoints(
            projections[track.start], projections[track.partner],
            np.ascontiguousarray(track.at_start.T), np.ascontiguousarray(track.at_partner.T),
        )
        image = projections[track.other] @ np.asarray(point, np.float64)
        with np.errstate(divide='ignore', invalid='ignore'):
            distances.append(np.hypot(*(image[:2] / image[2] - track.at_other.T)))
    return np.concatenate(distances)


def total_errors(tracks: Sequence[Tracks], residuals: Array) -> Array:
    """
    Return the error of each hypothesis, (h,).

    It is the sum over the combinations of views of the mean of ``residuals`` (h, n) of
    ``reprojection``, weighted by confidence.
    """
    total = np.zeros(len(residuals))
    for confidence, distances in _by_combination(tracks, residuals):
        total += distances @ confidence / confidence.sum()
    return total


def _bootstrap(tracks: Sequence[Tracks], residuals: Array, tried: Array, best: float) -> float:
    """Return the RMS deviation of the best hypothesis in a bootstrap over the points, degrees."""
    rng = np.random.default_rng(0)
    total = np.zeros((_RESAMPLES, len(tried)))
    for confidence, distances in _by_combination(tracks, residuals):
        count = len(confidence)
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), _RESAMPLES) * confidence
        total += drawn @ distances.T / drawn.sum(axis=1, keepdims=True)
    moved = tried[np.argmin(total, axis=1)] - best
    return float(np.sqrt(np.mean(moved**2)))


def _by_combination(
    tracks: Sequence[Tracks], residuals: Array
) -> Iterator[tuple[Array, Array]]:
    """Yield the confidences (m,) and residuals (h, m) of each combination of views."""
    end = 0
    for track in tracks:
        begin, end = end, end + len(track.confidence)
        yield track.confidence, residuals[:, begin:end]


def _fail(reason: str) -> NoReturn:
    raise LiftError(
        ErrorCode.ELEVATION_UNKNOWN,
        f'In the search by matches, {reason}. The object may have too little texture, or the '
        'weights may ignore the pose.',
    )


def _pixels(coordinates: Array, size: int) -> NDArray[np.intp]:
    return np.clip(np.rint(coordinates), 0, size - 1).astype(np.intp)
