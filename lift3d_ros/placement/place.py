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
From a shape that a method made to the shape at its scale and place.

The sources of scale are tried in the order of the hints; the first one that can tell it does, and
``Shape.scale_source`` names it. A shape that a depth has already placed is only checked.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import longest_side
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.rasterizer import Surface
from lift3d_ros.meshing.rasterizer import Window
from lift3d_ros.meshing.rasterizer import window
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.observation.hints import SOURCES
from lift3d_ros.observation.hints import UNKNOWN
from lift3d_ros.placement.alignment import agreement
from lift3d_ros.placement.alignment import align_to_depth
from lift3d_ros.placement.alignment import check_depth
from lift3d_ros.placement.alignment import depth_ratio
from lift3d_ros.placement.alignment import refine
from lift3d_ros.placement.plane_finding import check_tilt
from lift3d_ros.placement.plane_finding import find_plane
from lift3d_ros.placement.sources import from_known_size
from lift3d_ros.placement.sources import from_plane
from lift3d_ros.placement.sources import from_views
from lift3d_ros.placement.sources import Scale
from lift3d_ros.placement.view_checks import check_foot_in_image
from lift3d_ros.placement.view_checks import check_not_truncated
from lift3d_ros.placement.view_checks import spill_note
from lift3d_ros.placement.view_checks import truncation_note

#: A known size that is off from the measured one by more than this factor is doubted aloud, and so
#: is an object whose foot is this far off a given plane, over its size.
_OTHER_SIZE, _OFF_PLANE = 1.5, 0.2

#: A shape without depth whose silhouette covers less of the mask is a fragment of the object: on
#: the scans of the eval split it is 0.8 and more.
_WHOLE = 0.5

#: A shape that covers less of the mask is doubted aloud, whatever told its scale.
_NEARLY_WHOLE = 0.75

#: A shape that depth has placed, and that falls on its mask by less than this, is moved.
_ASTRAY = 0.9

#: A plane may put the object so far from the readings on it, over their distance.
_BESIDE_DEPTH = 0.25


def prepare(
    view: ObjectView, hints: ScaleHints, further: Sequence[SourceView]
) -> tuple[ObjectView, Sequence[SourceView]]:
    """
    Return the view and further ones as a method shall see them.

    A plane that may be used tells the vertical where gravity does not. Depth is left out where it
    may not be used, and where something else that is given goes before it: a shape that was made
    of depth has its scale. Raises ``LiftError(BAD_REQUEST)`` for a plane that is tilted against
    gravity.
    """
    frame = view.frame
    if hints.plane is not None and 'plane' in hints.order:
        check_tilt(hints.plane, view)
        if frame.gravity is None:
            frame = replace(frame, gravity=-hints.plane.up)
    if not _depth_goes_first(view, hints, further):
        frame = replace(frame, depth=None)
        further = [
            replace(one, view=replace(one.view, frame=replace(one.view.frame, depth=None)))
            for one in further
        ]
    return (view if frame is view.frame else replace(view, frame=frame)), further


def _depth_goes_first(
    view: ObjectView, hints: ScaleHints, further: Sequence[SourceView]
) -> bool:
    """Return whether depth may tell the scale, and nothing that is given goes before it."""
    given = {
        'views': bool(further),
        'plane': _plane_is_known(view, hints),
        'known_size': hints.known_size is not None,
    }
    for name in hints.order:
        if name == 'depth':
            return True
        if given.get(name, False):
            return False
    return False


def _plane_is_known(view: ObjectView, hints: ScaleHints) -> bool:
    # Where the order is the user's, a plane that is not given is looked for.
    return hints.plane is not None or (view.frame.depth is not None and hints.order != SOURCES)


def place(
    shape: Shape,
    view: ObjectView,
    hints: ScaleHints,
    further: Sequence[SourceView],
    rng: np.random.Generator,
) -> Shape:
    """
    Return a shape at its scale and place, with what its silhouette and the mask have in common.

    ``view`` is the first one with all that its frame has, ``further`` are others. Raises
    ``LiftError``: ``NO_SURFACE`` for a shape without depth that is a fragment of what the mask
    shows, ``NO_DEPTH_IN_MASK`` for depth in the mask that is not that of the object,
    ``BAD_REQUEST`` where none of the sources that there are can tell the scale; the reason is that
    of the first one.
    """
    mesh = shape.mesh_in_camera()
    surface = Surface.of(mesh.vertices, mesh.faces)
    seen = window(view)
    # A depth that did not make the shape shall not tell its place beside the mask.
    silhouette = replace(seen, depth=None)
    up = shape.T_camera_object[:3, 2]
    if shape.scale_source == UNKNOWN:
        fitted = refine(surface, silhouette, scale=True, up=up)
        shape, surface = _moved(shape, fitted.T), surface.moved(fitted.T)
        _check_whole(surface, silhouette)
        mesh = shape.mesh_in_camera()
        known = _sources(
            surface, mesh, view, seen, up, hints, further, rng, shape.length_over_depth
        )
        told, scale, notes = _tell(known, hints)
        shape, surface = _moved(shape, told, scale), surface.moved(told)
    else:
        check_depth(surface, seen)
        if agreement(surface, silhouette).iou < _ASTRAY:
            aligned = refine(surface, seen, scale=False, up=up)
            shape, surface = _moved(shape, aligned.T), surface.moved(aligned.T)
        notes = _doubts(mesh, up, hints, view.truncated)
    if shape.elevation_source == 'gravity' and view.frame.gravity is None:
        # What ``prepare`` took for gravity is the normal of the plane.
        shape = replace(shape, elevation_source='plane')
    iou = agreement(surface, silhouette).iou
    share = _covered(surface, silhouette)
    if share < _NEARLY_WHOLE:
        notes.append(
            f'The shape covers {100.0 * share:.0f} % of the mask; a part of the object may be '
            'missing from it.'
        )
    doubts = (truncation_note(view), spill_note(surface, view))
    notes += [doubt for doubt in doubts if doubt is not None]
    return replace(shape, mask_iou=iou, notes=(*shape.notes, *notes))


def _sources(
    surface: Surface,
    mesh: Mesh,
    view: ObjectView,
    seen: Window,
    up: Array,
    hints: ScaleHints,
    further: Sequence[SourceView],
    rng: np.random.Generator,
    length_over_depth: float | None,
) -> dict[str, Callable[[], tuple[Array, Scale]]]:
    """Return the sources that have something to go by; each tells a similarity and its scale."""

    def by_depth() -> tuple[Array, Scale]:
        T = align_to_depth(surface, seen, up).T
        left = depth_ratio(surface.moved(T), seen)
        return T, replace(left, factor=float(np.cbrt(np.linalg.det(T[:3, :3]))))

    def by_views() -> tuple[Array, Scale]:
        return _about_camera(from_views(surface, further))

    def by_plane() -> tuple[Array, Scale]:
        plane = hints.plane or find_plane(view, rng)
        check_tilt(plane, view)
        check_foot_in_image(view, surface.centre, plane.up)
        scale = from_plane(mesh.vertices, plane)
        if 'depth' in known and 'depth' in hints.order:
            _check_stands(scale, depth_ratio(surface, seen))
        return _about_camera(scale)

    def by_size(size: float) -> tuple[Array, Scale]:
        check_not_truncated(view)
        return _about_camera(
            from_known_size(
                mesh.vertices, up, size, hints.known_size_stddev, length_over_depth
            )
        )

    known: dict[str, Callable[[], tuple[Array, Scale]]] = {}
    if seen.depth is not None and seen.depth.any():
        known['depth'] = by_depth
    if further:
        known['views'] = by_views
    if _plane_is_known(view, hints):
        known['plane'] = by_plane
    if hints.known_size is not None:
        known['known_size'] = partial(by_size, hints.known_size)
    return known


def _tell(
    known: dict[str, Callable[[], tuple[Array, Scale]]], hints: ScaleHints
) -> tuple[Array, Scale | None, list[str]]:
    """Return the similarity (4, 4) and scale of the first source that tells, and what failed."""
    failures: list[LiftError] = []
    for name in hints.order:
        if name not in known:
            continue
        try:
            return *known[name](), [error.message for error in failures]
        except LiftError as error:
            failures.append(error)
    if UNKNOWN not in hints.order:
        if failures:
            raise failures[0]
        if hints.order != SOURCES:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'Nothing tells the scale of this object: of {", ".join(hints.order)} none is '
                f'given. Give one, or end the order with {UNKNOWN}.',
            )
    return np.eye(4), None, [error.message for error in failures]


def _check_whole(surface: Surface, seen: Window) -> None:
    """Raise ``LiftError(NO_SURFACE)`` for a shape that leaves most of its mask bare."""
    share = _covered(surface, seen)
    if share < _WHOLE:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            f'The shape found covers {100.0 * share:.0f} % of the mask: a fragment of what it '
            'shows. Is all of the mask one object, in one piece? A depth image would help.',
        )


def _covered(surface: Surface, seen: Window) -> float:
    """Return the share of the mask that a shape covers."""
    # Not the intersection over union: what an occluder hides may stand out of the mask.
    covered = np.count_nonzero(surface.rasterize(seen.camera).mask & seen.mask)
    return covered / max(np.count_nonzero(seen.mask), 1)


def _about_camera(scale: Scale) -> tuple[Array, Scale]:
    """Return the similarity of a factor about the camera's centre, and its scale."""
    return np.diag([scale.factor, scale.factor, scale.factor, 1.0]), scale


def _moved(shape: Shape, T: Array, scale: Scale | None = None) -> Shape:
    """
    Return a shape moved by a similarity (4, 4) of the optical frame, with the scale that told it.

    A factor that is off by its standard deviation s moves the middle c by s c: the covariance of
    the place grows by s^2 c c^T.
    """
    factor = float(np.cbrt(np.linalg.det(T[:3, :3])))
    R = T[:3, :3] / factor
    pose = shape.T_camera_object
    middle = T[:3, :3] @ pose[:3, 3] + T[:3, 3]
    turned = np.kron(np.diag([factor, 1.0]), R)
    covariance = turned @ shape.pose_covariance @ turned.T
    if scale is not None:
        covariance[:3, :3] += scale.stddev**2 * np.outer(middle, middle)
        shape = replace(shape, scale_source=scale.source, scale_stddev=scale.stddev)
    mesh = shape.mesh
    vertices = (np.float32(factor) * mesh.vertices).astype(np.float32)
    return replace(
        shape,
        mesh=Mesh(vertices, mesh.faces, mesh.colors),
        T_camera_object=rigid(R @ pose[:3, :3], middle),
        pose_covariance=covariance,
    )


def _check_stands(scale: Scale, measured: Scale) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` where depth puts the object elsewhere than a plane does."""
    off = scale.factor / measured.factor
    if not 1.0 - _BESIDE_DEPTH < off < 1.0 + _BESIDE_DEPTH:
        where = 'behind' if off > 1.0 else 'before'
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The support plane is {where} the object: standing on it, the object would be '
            f'{off:.2f} times as far away as the depth says.',
        )


def _doubts(mesh: Mesh, up: Array, hints: ScaleHints, truncated: bool) -> list[str]:
    """
    Return what a plane and a size say against a shape (in the optical frame) at its scale.

    Of an object that is ``truncated`` by the image's border a part may be missing.
    """
    doubts = []
    size = longest_side(mesh.vertices, up)
    if hints.known_size is not None and 'known_size' in hints.order:
        off = size / hints.known_size
        if off > _OTHER_SIZE or (off < 1.0 / _OTHER_SIZE and not truncated):
            doubts.append(
                f'The depth makes the object {size:.3f} m long, and {hints.known_size:.3f} m is '
                'its known size; is the depth that of the object, and the class the right one?'
            )
    if hints.plane is not None and 'plane' in hints.order:
        low = float(hints.plane.height(np.asarray(mesh.vertices, np.float64)).min())
        if abs(low) > _OFF_PLANE * size:
            doubts.append(
                f'By its depth the object is {abs(low):.3f} m '
                f'{"over" if low > 0.0 else "under"} the support plane; is the plane the one that '
                'it stands on?'
            )
    return doubts
