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
What further cameras saw of an object, in the optical frame of the first.

Each camera is believed where it measured: its outline and the free space before its readings cut
the guess, and the surface that it measured stands. Where two cameras disagree by a little, since
no pose is exact, what was measured wins over what was carved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.cleaning import reconcile
from lift3d_ros.observation.cleaning import with_holes_open
from lift3d_ros.observation.object_observation import Observation
from lift3d_ros.observation.registration import contradiction
from lift3d_ros.observation.registration import mended_pose
from lift3d_ros.observation.sighting import Sighting
from lift3d_ros.observation.support import Support

#: A pose that has to be moved by more standard deviations than this to agree is wrong.
MAX_STRAIN = 4.0

#: A disagreement over this share of the object's size is a contradiction, where a quarter of the
#: points disagree: of wires and grids one in ten may be a reading of what is behind them.
CONTRADICTION = 0.15
_AGREEING = 0.75

#: One up to this share is the noise of depth and masks.
AGREED = 0.01


def gather(
    view: ObjectView, seen: Observation, support: Support, further: Sequence[SourceView]
) -> tuple[Observation, tuple[Sighting, ...]]:
    """
    Return what the first view and the further ones saw, each to be believed beside the others.

    The poses of the further ones are mended by what they share with the others. ``seen`` is the
    cleaned observation of the first view, ``support`` its support plane. Raises
    ``LiftError(BAD_REQUEST)``, which names the view, for one whose depth says nothing of the
    object, and for one that contradicts another.
    """
    if not further:
        return seen, ()
    seen = with_holes_open(seen)
    first = Sighting(seen, view, np.eye(4))
    if view.frame.depth is not None:
        first = replace(first, name='the first view with depth')
    known = [first]
    size = _size(seen)
    for number, other in enumerate(further, 1):
        name = other.name or f'further view {number}'
        try:
            shown = with_holes_open(observe(other.view))
        except LiftError as error:
            # Not NO_DEPTH_IN_MASK: the depth of the first view may be good.
            raise LiftError(
                ErrorCode.BAD_REQUEST, f'In {name}: {error.message}'
            ) from error
        fresh = Sighting(shown, other.view, other.T_ref_src, name)
        given = [contradiction(fresh, one, _AGREEING) for one in known]
        T, strain = mended_pose(fresh, known, support, size)
        fresh = replace(fresh, T_first_own=T)
        mended = reconcile(fresh.seen, _support_in(support, fresh))
        fresh = replace(fresh, seen=with_holes_open(mended))
        apart = given
        if strain <= MAX_STRAIN:
            apart = [contradiction(fresh, one, _AGREEING) for one in known]
        worst = int(np.argmax(apart))
        if strain > MAX_STRAIN or apart[worst] > CONTRADICTION * size:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{name[0].upper()}{name[1:]} contradicts {known[worst].name}: of what one '
                f'measured of the object a quarter lies {_length(apart[worst], seen)} and more '
                'off the mask or the depth of the other. Is its pose that of its optical frame at '
                'the stamp of its image, in metres, and its mask that of the same object, which '
                'has not moved?',
            )
        off = min(max(contradiction(fresh, one) for one in known), CONTRADICTION * size)
        known.append(
            replace(fresh, disagreement=off, tolerance=max(off - AGREED * size, 0.0))
        )
    return seen, tuple(known[1:])


def as_further(sightings: Sequence[Sighting]) -> tuple[SourceView, ...]:
    """Return the views of sightings, with the poses that were mended."""
    return tuple(SourceView(one.view, one.T_first_own) for one in sightings)


def all_points(seen: Observation, sightings: Sequence[Sighting]) -> Array:
    """Return what all cameras measured of the object, (n, 3) metres, first optical frame."""
    return np.concatenate([seen.points(), *(one.points() for one in sightings)])


def cut(
    sightings: Sequence[Sighting], points: Array, guess: NDArray[np.float32], skin: float
) -> NDArray[np.float32]:
    """
    Return a guess cut to what further cameras allow, (n,) metres.

    ``guess`` (n,) tells how deep points (n, 3) of the first optical frame lie inside a solid;
    ``skin`` metres behind what any of them measured are kept, where no other saw through it.
    """
    if not sightings:
        return guess
    local = [one.own(points) for one in sightings]
    rooms = [
        one.room(at) + np.float32(one.tolerance)
        for one, at in zip(sightings, local, strict=True)
    ]
    value = np.minimum.reduce([guess, *rooms])
    for index, (one, at) in enumerate(zip(sightings, local, strict=True)):
        others = rooms[:index] + rooms[index + 1:]
        np.maximum(value, np.minimum.reduce([one.sheet(at, skin), *others]), out=value)
    return value


def _support_in(support: Support, sighting: Sighting) -> Support:
    """Return the support plane in the frame of another camera."""
    offset = support.offset
    if offset is not None:
        offset -= float(support.up @ sighting.T_first_own[:3, 3])
    return replace(
        support, up=rotate(invert(sighting.T_first_own), support.up), offset=offset
    )


def _size(seen: Observation) -> float:
    """Return the longest side of what the first view shows of the object, in its units."""
    # Without depth the longer side of the mask is one unit long, at the nominal distance.
    return 1.0 if seen.depth is None else float(np.ptp(seen.points(), axis=0).max())


def _length(metres: float, seen: Observation) -> str:
    if seen.depth is None:
        return f'{100.0 * metres:.0f} % of its length'
    return f'{1000.0 * metres:.0f} mm'
