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

"""Which of several views of an object is the reference view, and where the others are from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.frame import VIEW_FILL
from lift3d_ros.geometry.frame import VIEW_SIZE

#: Source views of one object that are used at once, to bound time and memory.
MAX_SOURCE_VIEWS = 15

#: Rays to the object that meet at less than this angle give no distance, degrees.
_MIN_PARALLAX_DEG = 4.0


def select_reference_view(
    view: ObjectView, sources: Sequence[SourceView]
) -> tuple[ObjectView, Sequence[SourceView], Array, str | None]:
    """
    Return the reference view, the other views from there, ``T_first_ref`` (4, 4), and its name.

    The name is None for the first view.

    The reference view is the first one that has depth. Where none has, it is the first view, and
    the poses are brought to its units, in which the longer side of its mask is about one unit
    long, by where the rays from the cameras to the object meet; where they meet nowhere, the
    others are left out. Raises ``LiftError(BAD_REQUEST)`` for more than ``MAX_SOURCE_VIEWS``.
    """
    if len(sources) > MAX_SOURCE_VIEWS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{len(sources)} further views were given, and at most {MAX_SOURCE_VIEWS} can be '
            'used; leave out those from nearly the same place as another.',
        )
    named = [
        replace(other, name=other.name or f'further view {number}')
        for number, other in enumerate(sources, 1)
    ]
    if view.frame.depth is not None or not sources:
        return view, named, np.eye(4), None
    for index, other in enumerate(named):
        if other.view.frame.depth is not None:
            T = other.T_ref_src
            others = [SourceView(view, invert(T), 'the first view')]
            others += [
                replace(one, T_ref_src=invert(T) @ one.T_ref_src)
                for one in named[:index] + named[index + 1:]
            ]
            return other.view, others, T, other.name
    metres = _metres_per_unit(view, named)
    if metres is None:
        return view, (), np.eye(4), None
    return view, [_in_units(one, metres) for one in named], np.eye(4), None


def _in_units(other: SourceView, metres: float) -> SourceView:
    T = other.T_ref_src.copy()
    T[:3, 3] /= metres
    return replace(other, T_ref_src=T)


def _metres_per_unit(view: ObjectView, sources: Sequence[SourceView]) -> float | None:
    """
    Return how long the longer side of the first mask is, metres; None where no ray tells.

    The object's centre is ``s c``, c at the nominal distance. The s with the least squared
    distances to the rays o_k + t d_k is sum(c P_k o_k) / sum(c P_k c), P_k = I - d_k d_k^T.
    """
    middle = (VIEW_SIZE - 1) / 2.0
    focal = 0.5 * (view.camera.fx + view.camera.fy)
    c = view.camera.unproject(middle, middle, focal / (VIEW_FILL * VIEW_SIZE))
    above = below = 0.0
    for other in sources:
        T = other.T_ref_src
        d = T[:3, :3] @ unit(other.view.camera.unproject(middle, middle, 1.0))
        across = c - (c @ d) * d
        above += float(across @ T[:3, 3])
        below += float(across @ across)
    if below < len(sources) * (np.sin(np.radians(_MIN_PARALLAX_DEG)) * np.linalg.norm(c)) ** 2:
        return None
    return above / below if above > 0.0 else None
