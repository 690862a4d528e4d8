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

"""Select the reference view of an object, and express the other views relative to it."""

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

#: Largest number of source views of one object; bounds time and memory.
MAX_SOURCE_VIEWS = 15

#: Smallest angle between rays to the object that define a distance, degrees.
_MIN_PARALLAX_DEG = 4.0


def select_reference_view(
    view: ObjectView, sources: Sequence[SourceView]
) -> tuple[ObjectView, Sequence[SourceView], Array, str | None]:
    """
    Return the reference view, the source views, ``T_first_ref`` (4, 4), and a name.

    The source views have poses relative to the reference view. The name is that of the reference
    view, None for the first view.

    The reference view is the first view with depth. If no view has depth, it is the first view,
    and the poses are converted to its units, in which the longer side of its mask is about one
    unit long, by intersecting the rays from the cameras to the object; if the rays do not
    intersect, the source views are omitted. Raises ``LiftError(BAD_REQUEST)`` for more than
    ``MAX_SOURCE_VIEWS``.
    """
    if len(sources) > MAX_SOURCE_VIEWS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There are {len(sources)} source views, the maximum is {MAX_SOURCE_VIEWS}; leave out '
            'views from nearly the same position as another view.',
        )
    named = [
        replace(source, name=source.name or f'source view {number}')
        for number, source in enumerate(sources, 1)
    ]
    if view.frame.depth is not None or not sources:
        return view, named, np.eye(4), None
    for index, reference in enumerate(named):
        if reference.view.frame.depth is not None:
            T = reference.T_ref_src
            remaining = [SourceView(view, invert(T), 'the first view')]
            remaining += [
                replace(source, T_ref_src=invert(T) @ source.T_ref_src)
                for source in named[:index] + named[index + 1:]
            ]
            return reference.view, remaining, T, reference.name
    metres = _metres_per_unit(view, named)
    if metres is None:
        return view, (), np.eye(4), None
    return view, [_in_units(source, metres) for source in named], np.eye(4), None


def _in_units(source: SourceView, metres: float) -> SourceView:
    """Return a source view with its translation in units of ``metres``."""
    T = source.T_ref_src.copy()
    T[:3, 3] /= metres
    return replace(source, T_ref_src=T)


def _metres_per_unit(view: ObjectView, sources: Sequence[SourceView]) -> float | None:
    """
    Return the longer side of the first mask in metres; None if the rays do not define it.

    The object's centre is ``s c``, c at the nominal distance. The s with the least squared
    distances to the rays o_k + t d_k is sum(c P_k o_k) / sum(c P_k c), P_k = I - d_k d_k^T.
    """
    middle = (VIEW_SIZE - 1) / 2.0
    focal = 0.5 * (view.camera.fx + view.camera.fy)
    c = view.camera.unproject(middle, middle, focal / (VIEW_FILL * VIEW_SIZE))
    numerator = denominator = 0.0
    for source in sources:
        T = source.T_ref_src
        d = T[:3, :3] @ unit(source.view.camera.unproject(middle, middle, 1.0))
        across = c - (c @ d) * d
        numerator += float(across @ T[:3, 3])
        denominator += float(across @ across)
    min_sine = np.sin(np.radians(_MIN_PARALLAX_DEG))
    if denominator < len(sources) * (min_sine * np.linalg.norm(c)) ** 2:
        return None
    return numerator / denominator if numerator > 0.0 else None
