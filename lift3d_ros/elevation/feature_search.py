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
The elevation of a picture from four views near it: the search of One-2-3-45.

The four views are made from a little above, below, left and right of the input camera. What moves
between them fits only one elevation: a turn about the vertical is a shift for a camera at the
horizon and a roll for one above the object. The search triangulates matches of two views, projects
them into the others and takes the elevation with the least error (One-2-3-45,
``elevation_estimate/utils/elev_est_api.py``). Neither the distance of the cameras nor the size of
the object matters, as long as all look at one point from one distance.
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

#: Where the four views are relative to the input camera: degrees of elevation and azimuth.
NEARBY_OFFSETS = ((10.0, 0.0), (-10.0, 0.0), (0.0, -10.0), (0.0, 10.0))

#: Every two of the four views.
PAIRS = tuple(combinations(range(len(NEARBY_OFFSETS)), 2))

#: ``fixed``, or ``faithful`` to the published code, which tells whether the first end of a match
#: lies on the object from the pixel in its row and in the column of the other end, and in whose
#: means one false match of a thousand pixels outweighs all others.
VARIANTS = ('fixed', 'faithful')

#: Polar angles in degrees that are tried first, and the steps about the best that are tried next.
COARSE_POLAR = np.arange(30.0, 150.0, 10.0, dtype=np.float64)
FINE_STEPS = np.arange(-10.0, 10.0, dtype=np.float64)

#: Matches that share a point within this many pixels are one track.
TRACK_DISTANCE = 1.0

#: Pixels of a picture of ``VIEW_SIZE`` beyond which, in the fixed search, an error grows no more.
MAX_DISTANCE = 10.0

#: Fewer tracks than this tell nothing.
MIN_TRACKS = 12

#: Pixels of a picture of ``VIEW_SIZE`` that the points move from view to view, in the median, if
#: the views follow their poses at all; views that are all the same would fit the horizon.
MIN_MOTION = 2.0

#: The error of the best hypothesis must be below this share of the median over the coarse ones;
#: matches that fit no elevation leave it near 1.
MAX_ERROR_RATIO = 0.8

#: A channel above this in all three is background.
_WHITE = 245

_RADIUS = 1.2
_RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Tracks:
    """
    Points of the object that were found in three views, n of them, of one start view.

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
    What the search found.

    - ``elevation``: a whole number of degrees; ``stddev``: degrees, by how much that number moves
      when the tracks are drawn again (bootstrap), and the rounding. It takes the tracks for
      independent of each other and knows nothing of an error that all four views share, so it
      is rather too small.
    - ``error``: sum over the six combinations of views of the mean distance in pixels between
      where points were found and where they should be.
    - ``tracks``: how many points it rests on.
    - ``tried``, ``errors``: (n,), every elevation that was tried, and its error.
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
    Return the elevation of the camera about which four views were made.

    ``images`` is uint8 (4, size, size, 3) on white, in the order of ``NEARBY_OFFSETS``, through
    the lens of Zero-1-to-3. Raises ``LiftError``: BAD_IMAGE for another type or shape,
    BAD_REQUEST for an unknown variant, ELEVATION_UNKNOWN where the views do not tell.
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
    """Raise ``LiftError`` (BAD_REQUEST) for what is not in ``VARIANTS``."""
    if variant not in VARIANTS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There is no search "{variant}"; choose one of {", ".join(VARIANTS)}.',
        )


def on_object(
    images: NDArray[np.uint8], matches: Sequence[Matches], variant: str = 'fixed'
) -> list[Matches]:
    """Return the matches of each of ``PAIRS`` both of whose ends lie on the object."""
    objects = np.asarray((images <= _WHITE).any(axis=-1))
    kept = []
    for (i, j), found in zip(PAIRS, matches, strict=True):
        x = [_pixels(end[:, 0], images.shape[2]) for end in (found.first, found.second)]
        y = [_pixels(end[:, 1], images.shape[1]) for end in (found.first, found.second)]
        column = x[1] if variant == 'faithful' else x[0]
        kept.append(found.where(objects[i][y[0], column] & objects[j][y[1], x[1]]))
    return kept


def search_matches(
    matches: Sequence[Matches], size: int = VIEW_SIZE, variant: str = 'fixed'
) -> Search:
    """
    Return the elevation that fits the matches of ``PAIRS`` best.

    ``size`` is the side of the pictures in pixels. Raises ``LiftError(ELEVATION_UNKNOWN)`` where
    two of the views have no match, the views hardly differ, too few points are seen in three
    views, no elevation fits clearly better than others, or the best is at the end of the range.
    """
    empty = sum(not len(found) for found in matches)
    if empty:
        _fail(f'{empty} of the {len(PAIRS)} pairs of nearby views have no matches')
    motion = np.median(
        np.concatenate([np.hypot(*(found.first - found.second).T) for found in matches])
    )
    if motion < MIN_MOTION * size / VIEW_SIZE:
        _fail('the nearby views hardly differ, although their poses do')
    tracks = make_tracks(matches)
    count = sum(len(track.confidence) for track in tracks)
    if count < MIN_TRACKS:
        _fail(f'only {count} points were found in three nearby views, {MIN_TRACKS} are needed')
    camera = Camera.from_fov(size, size, ZERO123_FOV)
    bound = np.inf if variant == 'faithful' else MAX_DISTANCE * size / VIEW_SIZE

    def residuals_at(elevations: Array) -> Array:
        found = [reprojection(tracks, camera, elevation) for elevation in elevations]
        return np.minimum(np.stack(found), bound)

    coarse = 90.0 - COARSE_POLAR
    residuals = residuals_at(coarse)
    coarse_errors = total_errors(tracks, residuals)
    fine = coarse[np.argmin(coarse_errors)] - FINE_STEPS
    residuals = np.concatenate([residuals, residuals_at(fine)])
    tried = np.concatenate([coarse, fine])
    errors = total_errors(tracks, residuals)
    best = len(coarse) + int(np.argmin(errors[len(coarse):]))
    if not errors[best] < MAX_ERROR_RATIO * np.median(coarse_errors):
        _fail('the matches of the nearby views fit no elevation better than others')
    low, high = coarse[-1] - FINE_STEPS[-1], coarse[0] - FINE_STEPS[0]
    if not low < tried[best] < high:
        _fail(f'the elevation is not between {low:g} and {high:g} degrees, where it is searched')
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
    Return the tracks of each start view, its next view and either of the other two.

    A match of the start view with the next is joined with that match of the start view with the
    other view whose point in the start view is nearest, if it is near enough.
    """
    by_pair = dict(zip(PAIRS, matches, strict=True))
    by_pair.update({(j, i): found.reversed() for (i, j), found in by_pair.items()})
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
    Return how far in pixels each point of all tracks is from where it should be, (n,).

    The point is triangulated from the start view and its partner by the direct linear transform
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
        seen = projections[track.other] @ np.asarray(point, np.float64)
        with np.errstate(divide='ignore', invalid='ignore'):
            distances.append(np.hypot(*(seen[:2] / seen[2] - track.at_other.T)))
    return np.concatenate(distances)


def total_errors(tracks: Sequence[Tracks], residuals: Array) -> Array:
    """
    Return the error of each hypothesis, (h,).

    ``residuals`` is (h, n), as ``reprojection`` gives them. Each combination of views adds the
    mean of its points, weighted by their confidence.
    """
    total = np.zeros(len(residuals))
    for confidence, distances in _by_combination(tracks, residuals):
        total += distances @ confidence / confidence.sum()
    return total


def _bootstrap(tracks: Sequence[Tracks], residuals: Array, tried: Array, best: float) -> float:
    """Return how far the best hypothesis moves, degrees, when points are drawn again."""
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
        'weights may not follow the pose.',
    )


def _pixels(coordinates: Array, size: int) -> NDArray[np.intp]:
    return np.clip(np.rint(coordinates), 0, size - 1).astype(np.intp)
