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
The elevation of the input camera over the object's horizon, and its standard deviation.

Its sources in order: gravity, if the frame has it; the regressor of the weights; matches of four
nearby views (``lift3d_ros.elevation.feature_search``); an assumed value, if the settings have one.
The result names its source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.elevation.feature_search import check_variant
from lift3d_ros.elevation.feature_search import search_elevation
from lift3d_ros.elevation.matching import make_matcher
from lift3d_ros.elevation.matching import Matcher
from lift3d_ros.elevation.matching import MATCHERS
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import ObjectView

#: Estimators of the elevation without gravity; ``gravity`` allows none.
METHODS = ('auto', 'gravity', 'learned', 'matches')

#: Standard deviation of the elevation from gravity, degrees: that of an accelerometer at rest, or
#: of the calibration of an arm or a head. The formula is exact.
GRAVITY_STDDEV = 1.0

#: Standard deviation of an assumed elevation, degrees: uniform between 0 and 90.
ASSUMED_STDDEV = 90.0 / math.sqrt(12.0)

#: Standard deviation of the search from the inconsistency of synthesised views, degrees. The
#: median error on true views, smoothly warped by 2 pixels RMS of 256, is 2.5.
NEARBY_STDDEV = 3.0

#: Largest difference between a given elevation and that of gravity, degrees.
_MAX_GIVEN_ERROR_DEG = 3.0

#: Synthesises the four nearby views of an object, uint8 (4, size, size, 3) on white, in the order
#: of ``feature_search.NEARBY_OFFSETS``.
NearbyViews = Callable[[ObjectView], NDArray[np.uint8]]

#: Returns elevation and standard deviation in degrees.
LearnedElevation = Callable[[ObjectView], tuple[float, float]]


@dataclass(frozen=True)
class Elevation:
    """
    The elevation of the input camera.

    - ``degrees``: over the object's horizon; ``stddev``: its standard deviation, degrees, 0 if
      given.
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
    How to determine the elevation of a frame without gravity.

    - ``method``: one of ``METHODS``; ``auto`` is the learned estimate, then the matches.
    - ``assumed``: fallback, degrees; None for the error ELEVATION_UNKNOWN.
    - ``given``: the known elevation, degrees; replaces the estimates.
    - ``max_stddev``: degrees; an estimate with a larger standard deviation fails.
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
        """Raise ``LiftError`` (BAD_REQUEST) for invalid or contradictory settings."""
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
                f'A given elevation excludes {other}; remove one of the two.',
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

    ``learned`` and ``nearby`` are the two estimators, None if the weights lack them; ``nearby`` is
    called only if its views are needed. ``matcher`` replaces that of the settings.

    Raises ``LiftError``: ELEVATION_UNKNOWN if every source fails, BAD_REQUEST for a method that
    the weights lack and for a given elevation that contradicts gravity, and the errors of
    ``learned``, ``nearby`` and the matcher.
    """
    settings = settings or ElevationSettings()
    estimators = {'learned': learned, 'matches': nearby}
    if settings.method in estimators and estimators[settings.method] is None:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'These weights lack the elevation method "{settings.method}"; choose another.',
        )
    known = view.elevation()
    if known is not None:
        if settings.given is not None and abs(settings.given - known) > _MAX_GIVEN_ERROR_DEG:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The given elevation is {settings.given:g} degrees, and by the gravity of the '
                f'frame it is {known:.1f}; remove the wrong one.',
            )
        return Elevation(known, GRAVITY_STDDEV, 'gravity', 'gravity')
    if settings.given is not None:
        return Elevation(float(settings.given), 0.0, 'given', 'given')
    failures = ['the frame has no gravity']
    if learned is not None and settings.method in ('auto', 'learned'):
        estimate = _checked('learned', *learned(view), settings.max_stddev, failures)
        if estimate is not None:
            return estimate
    if nearby is not None and settings.method in ('auto', 'matches'):
        estimate = _by_matches(nearby(view), settings, matcher, failures)
        if estimate is not None:
            return estimate
    if settings.assumed is not None:
        return Elevation(float(settings.assumed), ASSUMED_STDDEV, 'assumed', 'assumed')
    raise LiftError(
        ErrorCode.ELEVATION_UNKNOWN,
        f'The elevation of the camera is unknown: {"; ".join(failures)}. Give the direction of '
        'gravity or the elevation, or allow an assumed one.',
    )


def _by_matches(
    images: NDArray[np.uint8],
    settings: ElevationSettings,
    matcher: Matcher | None,
    failures: list[str],
) -> Elevation | None:
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
    """Return the estimate if it is valid, else None and append the reason to ``failures``."""
    degrees, stddev = float(degrees), float(stddev)
    if not (-90.0 <= degrees <= 90.0 and 0.0 <= stddev < math.inf):
        failures.append(f'the estimate ({how}) is not an elevation: {degrees} +- {stddev} degrees')
    elif stddev > max_stddev:
        failures.append(
            f'the estimate ({how}) has a standard deviation of {stddev:.0f} degrees, more than '
            f'{max_stddev:g}'
        )
    else:
        return Elevation(degrees, stddev, 'estimated', how)
    return None
