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
The elevation of the input camera over the object's horizon, and how well it is known.

From gravity where the frame has it; else from what was learned with the weights, or from matches
of four nearby views (``lift3d_ros.elevation.feature_search``); else an assumed value, where the
settings allow one. The result names its source, and nothing is assumed in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.elevation.feature_search import check_variant
from lift3d_ros.elevation.feature_search import NEARBY_OFFSETS
from lift3d_ros.elevation.feature_search import search_elevation
from lift3d_ros.elevation.matching import make_matcher
from lift3d_ros.elevation.matching import Matcher
from lift3d_ros.elevation.matching import MATCHERS
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import VIEW_SIZE

#: How an elevation may be found where gravity is not known; ``gravity`` allows no other way.
METHODS = ('auto', 'gravity', 'learned', 'matches')

#: Degrees. The formula is exact; this is what an accelerometer at rest, or the calibration of an
#: arm or a head, keeps. A frame carries no figure of its own.
GRAVITY_STDDEV = 1.0

#: Degrees: of an elevation of which only is known that it lies between 0 and 90.
ASSUMED_STDDEV = 90.0 / math.sqrt(12.0)

#: Degrees: what a search errs by because a network's views are not quite those of one object.
#: True pictures, each bent smoothly by 2 pixels of 256 (root mean square), gave 2.5 in the median.
NEARBY_STDDEV = 3.0

#: Degrees by which a given elevation may differ from that of gravity.
_AGREEMENT = 3.0

#: Makes the four nearby views of an object, uint8 (4, VIEW_SIZE, VIEW_SIZE, 3) on white, in the
#: order of ``elevation_search.NEARBY_OFFSETS``.
NearbyViews = Callable[[ObjectView], NDArray[np.uint8]]

#: Returns elevation and standard deviation in degrees.
LearnedElevation = Callable[[ObjectView], tuple[float, float]]


@dataclass(frozen=True)
class Elevation:
    """
    The elevation of the input camera.

    - ``degrees``: over the object's horizon; ``stddev``: its standard deviation, degrees, 0 where
      it was given.
    - ``source``: ``gravity``, ``estimated``, ``assumed`` or ``given``.
    - ``how``: ``gravity``, ``learned``, ``matches``, ``assumed`` or ``given``.
    """

    degrees: float
    stddev: float
    source: str
    how: str


@dataclass(frozen=True)
class ElevationSettings:
    """
    How the elevation is found where the frame has no gravity.

    - ``method``: one of ``METHODS``; ``auto`` takes the learned estimate, then the matches.
    - ``assumed``: degrees taken when all else fails; None = the error ELEVATION_UNKNOWN.
    - ``given``: degrees that are known from elsewhere; nothing is estimated then.
    - ``max_stddev``: degrees; an estimate that is less certain is a failure.
    - ``matcher``: a key of ``matching.MATCHERS``; ``search``: ``fixed`` or ``faithful`` to the
      published code.
    """

    method: str = 'auto'
    assumed: float | None = None
    given: float | None = None
    max_stddev: float = 25.0
    matcher: str = 'sift'
    search: str = 'fixed'

    def __post_init__(self) -> None:
        """Raise ``LiftError`` (BAD_REQUEST) for what cannot be or contradicts itself."""
        for name, known in (('method', METHODS), ('matcher', tuple(MATCHERS))):
            if getattr(self, name) not in known:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'The elevation {name} "{getattr(self, name)}" is unknown; choose one of '
                    f'{", ".join(known)}.',
                )
        check_variant(self.search)
        for name in ('assumed', 'given'):
            value = getattr(self, name)
            if value is not None and not -90.0 <= value <= 90.0:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'The {name} elevation is {value}; it must be between -90 and 90 degrees.',
                )
        if not self.max_stddev > 0.0:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'max_stddev is {self.max_stddev}; it must be more than 0 degrees.',
            )
        if self.given is not None and (self.assumed is not None or self.method != 'auto'):
            other = 'assumed' if self.assumed is not None else f'method "{self.method}"'
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'A given elevation leaves nothing to {other}; leave out one of the two.',
            )


def find_elevation(
    view: ObjectView,
    settings: ElevationSettings | None = None,
    learned: LearnedElevation | None = None,
    nearby: NearbyViews | None = None,
    *,
    matcher: Matcher | None = None,
) -> Elevation:
    """
    Return the elevation of the camera of a view.

    ``learned`` and ``nearby`` are the two ways to estimate it, where the weights offer them;
    ``nearby`` is called only if its views are needed. ``matcher`` is used in place of the one
    that the settings name.

    Raises ``LiftError``: ELEVATION_UNKNOWN where nothing tells and nothing may be assumed,
    BAD_REQUEST for a method that the weights do not offer and for a given elevation that
    contradicts gravity, and what ``learned``, ``nearby`` and the matcher's weights raise.
    """
    settings = settings or ElevationSettings()
    ways = {'learned': learned, 'matches': nearby}
    if settings.method in ways and ways[settings.method] is None:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'These weights offer no elevation by the method "{settings.method}"; choose another.',
        )
    known = view.elevation()
    if known is not None:
        if settings.given is not None and abs(settings.given - known) > _AGREEMENT:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The given elevation is {settings.given:g} degrees, and by the gravity of the '
                f'frame it is {known:.1f}; leave out the one that is wrong.',
            )
        return Elevation(known, GRAVITY_STDDEV, 'gravity', 'gravity')
    if settings.given is not None:
        return Elevation(float(settings.given), 0.0, 'given', 'given')
    failures = ['the frame has no gravity']
    if learned is not None and settings.method in ('auto', 'learned'):
        found = _checked('learned', *learned(view), settings.max_stddev, failures)
        if found is not None:
            return found
    if nearby is not None and settings.method in ('auto', 'matches'):
        found = _by_matches(nearby(view), settings, matcher, failures)
        if found is not None:
            return found
    if settings.assumed is not None:
        return Elevation(float(settings.assumed), ASSUMED_STDDEV, 'assumed', 'assumed')
    raise LiftError(
        ErrorCode.ELEVATION_UNKNOWN,
        f'The elevation of the camera is not known: {"; ".join(failures)}. Give the direction of '
        'gravity or the elevation, or allow an assumed one.',
    )


def _by_matches(
    images: NDArray[np.uint8],
    settings: ElevationSettings,
    matcher: Matcher | None,
    failures: list[str],
) -> Elevation | None:
    expected = (len(NEARBY_OFFSETS), VIEW_SIZE, VIEW_SIZE, 3)
    if images.dtype != np.uint8 or images.shape != expected:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The nearby views have the type {images.dtype} and the shape {images.shape}; they '
            f'must be uint8, {expected}.',
        )
    try:
        search = search_elevation(
            images, matcher or make_matcher(settings.matcher), settings.search
        )
    except LiftError as error:
        if error.code is not ErrorCode.ELEVATION_UNKNOWN:
            raise
        failures.append(error.message.partition('. ')[0])
        return None
    stddev = math.hypot(search.stddev, NEARBY_STDDEV)
    return _checked('matches', search.elevation, stddev, settings.max_stddev, failures)


def _checked(
    how: str, degrees: float, stddev: float, max_stddev: float, failures: list[str]
) -> Elevation | None:
    """Return an estimate that can be used, else None with a line in ``failures``."""
    degrees, stddev = float(degrees), float(stddev)
    if not (-90.0 <= degrees <= 90.0 and 0.0 <= stddev < math.inf):
        failures.append(f'the estimate ({how}) is no elevation: {degrees} +- {stddev} degrees')
    elif stddev > max_stddev:
        failures.append(
            f'the estimate ({how}) has a standard deviation of {stddev:.0f} degrees, more than '
            f'{max_stddev:g}'
        )
    else:
        return Elevation(degrees, stddev, 'estimated', how)
    return None
