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

"""From the views of an object to its observation in the frame of the reference view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from lift3d_ros.cameras.depth_shift import correct_shift
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.observation.cleaning import observe as clean
from lift3d_ros.observation.cleaning import refine_mask
from lift3d_ros.observation.cleaning import with_refined_mask
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.observation.hints import SOURCES
from lift3d_ros.observation.levelling import Levelling
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.plane_mask import plane_notes
from lift3d_ros.observation.plane_mask import wall_notes
from lift3d_ros.observation.reference_view import select_reference_view
from lift3d_ros.observation.registered_view import RegisteredView
from lift3d_ros.observation.registration import register_views
from lift3d_ros.observation.request import LiftRequest
from lift3d_ros.observation.see_through import find_see_through
from lift3d_ros.observation.see_through import see_through_notes
from lift3d_ros.observation.see_through import without_see_through
from lift3d_ros.observation.support import find_support
from lift3d_ros.observation.support import MAX_TILT
from lift3d_ros.observation.support import Support


@dataclass(frozen=True, eq=False)
class ObservedObject:
    """
    The observation of an object in all views, in the optical frame of the reference view.

    The reference view is the first view with depth, levelled by gravity.

    - ``view``: the object in the reference view; its gravity is the vertical of ``support`` if
      that is known.
    - ``observation``: the reference view, cleaned; ``support``: the plane below the object.
    - ``sources``: the other views, registered to the reference view.
    - ``T_first_ref``: rigid, pose of the reference optical frame in that of the first view.
    - ``first``, ``source_views``: the unmodified views; ``hints``: on the scale.
    - ``notes``: sentences for ``Shape.notes``.
    """

    view: ObjectView
    observation: ObjectObservation
    support: Support
    sources: tuple[RegisteredView, ...]
    T_first_ref: Array
    first: ObjectView
    source_views: tuple[SourceView, ...]
    hints: ScaleHints
    notes: tuple[str, ...] = ()

    @property
    def reference(self) -> RegisteredView:
        """The reference view as a ``RegisteredView``."""
        return RegisteredView(self.observation, self.view, np.eye(4))


def observe(
    view: ObjectView,
    request: LiftRequest,
    rng: np.random.Generator,
    completes_occluded: bool = True,
) -> ObservedObject:
    """
    Return the observation of an object in a view and in the source views of the request.

    ``completes_occluded``: whether the method can complete the object behind an occluder, also
    outside the hull of its mask; otherwise only occluders inside that hull count.

    An object without depth readings, such as a transparent one, is observed without depth if the
    hints name another source of scale; a note reports this. Raises ``LiftError``:
    ``NO_DEPTH_IN_MASK``; ``MASK_TOO_SMALL``; ``BAD_REQUEST`` for a plane that is tilted against
    gravity, for too many source views, and for inconsistent views.
    """
    hints, sources = request.hints, request.source_views
    state = rng.bit_generator.state
    try:
        return _observe(view, hints, sources, rng, completes_occluded)
    except LiftError as error:
        depth_optional = hints.helps_without_depth and not sources
        if error.code is not ErrorCode.NO_DEPTH_IN_MASK or not depth_optional:
            raise
        note = error.message
    rng.bit_generator.state = state
    observed = _observe(view, hints.without_depth(), sources, rng, completes_occluded)
    return replace(observed, notes=(*observed.notes, note))


def _observe(
    first: ObjectView,
    hints: ScaleHints,
    source_views: tuple[SourceView, ...],
    rng: np.random.Generator,
    completes_occluded: bool,
) -> ObservedObject:
    view, sources = apply_hints(first, hints, source_views)
    view, sources, T_first_ref, name = select_reference_view(view, sources)
    level = Levelling.of(view)
    if level is not None:
        view, sources = level.view(view), level.source_views(sources)
        T_first_ref = T_first_ref @ invert(level.T_level_camera)
    view, shift_notes = correct_shift(view)
    try:
        observation = clean(view)
    except LiftError as error:
        if name is None:
            raise
        raise LiftError(error.code, f'In {name}: {error.message}') from error
    support = find_support(observation, view.frame.gravity, rng)
    through = find_see_through(observation, support)
    if through:
        notes = (*shift_notes, *see_through_notes(observation, through))
        observation = without_see_through(observation, through)
        # An object in front of the plane does not reach down to it.
        support = find_support(observation, view.frame.gravity, rng)
    else:
        notes = (*shift_notes, *plane_notes(observation, support))
    notes = (*notes, *wall_notes(observation, support))
    observation = refine_mask(observation, support, completes_occluded)
    view = with_refined_mask(view, observation)
    observation, registered = register_views(view, observation, support, sources)
    if support.source != 'assumed':
        view = replace(view, frame=replace(view.frame, gravity=-support.up))
    return ObservedObject(
        view, observation, support, registered, T_first_ref, first, source_views, hints, notes
    )


def apply_hints(
    view: ObjectView, hints: ScaleHints, sources: Sequence[SourceView]
) -> tuple[ObjectView, Sequence[SourceView]]:
    """
    Return the views with only the inputs that the hints allow.

    A plane that may be used defines the vertical if gravity is not known. Depth is removed if it
    may not be used, or if another available source of scale has priority: a shape from depth has
    the scale of depth.
    """
    frame = view.frame
    if hints.plane is not None and 'plane' in hints.order:
        check_tilt(hints.plane, view)
        if frame.gravity is None:
            frame = replace(frame, gravity=-hints.plane.up)
    if not _depth_comes_first(view, hints, sources):
        frame = replace(frame, depth=None)
        sources = [
            replace(src, view=replace(src.view, frame=replace(src.view.frame, depth=None)))
            for src in sources
        ]
    return (view if frame is view.frame else replace(view, frame=frame)), sources


def _depth_comes_first(
    view: ObjectView, hints: ScaleHints, sources: Sequence[SourceView]
) -> bool:
    """Return whether depth may give the scale, and no available source has priority."""
    available = {
        'views': bool(sources),
        'plane': has_plane(view, hints),
        'known_size': hints.known_size is not None,
    }
    for name in hints.order:
        if name == 'depth':
            return True
        if available.get(name, False):
            return False
    return False


def has_plane(view: ObjectView, hints: ScaleHints) -> bool:
    """Return whether a plane is given, or must be searched in the depth."""
    # With an order from the user, a plane that is not given is searched.
    return hints.plane is not None or (view.frame.depth is not None and hints.order != SOURCES)


def check_tilt(plane: Plane, view: ObjectView) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for a plane that is tilted by more than ``MAX_TILT``."""
    if view.frame.gravity is None:
        return
    tilt = float(np.degrees(np.arccos(np.clip(-plane.up @ view.frame.gravity, -1.0, 1.0))))
    if tilt > MAX_TILT:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The support plane is tilted by {tilt:.0f} degrees against gravity, the maximum is '
            f'{MAX_TILT:.0f}. Check that its normal points up, in the optical frame.',
        )
