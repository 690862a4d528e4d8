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
From a mesh in the reference view to the shape at its scale and place in the first view.

The sources of scale are tried in the order of the hints. The first one that gives a scale is
used, and ``Shape.scale_source`` names it. A shape that depth has already placed is only checked.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import longest_side
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.rasterizer import Surface
from lift3d_ros.meshing.rasterizer import Window
from lift3d_ros.meshing.rasterizer import window
from lift3d_ros.meshing.scoring import ScoredMesh
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.observation.hints import SOURCES
from lift3d_ros.observation.hints import UNKNOWN
from lift3d_ros.observation.observed_object import check_tilt
from lift3d_ros.observation.observed_object import has_plane
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.placement.alignment import agreement
from lift3d_ros.placement.alignment import align_to_depth
from lift3d_ros.placement.alignment import check_depth
from lift3d_ros.placement.alignment import depth_ratio
from lift3d_ros.placement.alignment import refine
from lift3d_ros.placement.object_frame import object_frame
from lift3d_ros.placement.plane_finding import find_plane
from lift3d_ros.placement.sources import from_known_size
from lift3d_ros.placement.sources import from_plane
from lift3d_ros.placement.sources import from_views
from lift3d_ros.placement.sources import Scale
from lift3d_ros.placement.view_checks import check_foot_in_image
from lift3d_ros.placement.view_checks import check_not_truncated
from lift3d_ros.placement.view_checks import spill_note
from lift3d_ros.placement.view_checks import truncation_note

#: Ratio of a known size to the measured one above which a note is given, and gap between the
#: object and a given plane, over the object's size.
MAX_SIZE_RATIO, MAX_PLANE_GAP_SHARE = 1.5, 0.2

#: Share of the mask that a shape without depth covers: a fragment covers less. Scans of the eval
#: split have 0.8 and more.
MIN_COVERED = 0.5

#: Share of the mask that any shape covers; with less it gets a note.
MIN_COVERED_WITHOUT_NOTE = 0.75

#: Intersection over union with the mask below which a shape is moved that depth has placed.
MIN_PLACED_IOU = 0.9

#: Deviation of the place on a plane from the depth readings, over their distance.
MAX_PLANE_DEPTH_RATIO = 0.25

#: Least standard deviation of the vertical, degrees: what calibrations of arms and heads keep.
MIN_TILT_STDDEV_DEG = 1.0


def place(
    scored: ScoredMesh, reconstruction: Reconstruction, obs: ObservedObject,
    rng: np.random.Generator,
) -> Shape:
    """
    Return the shape of a mesh, at its scale and place in the optical frame of the first view.

    Raises ``LiftError`` as ``resolve_scale``.
    """
    shape = _in_first_view(scored, reconstruction, obs)
    return resolve_scale(shape, obs.first, obs.hints, obs.source_views, rng)


def resolve_scale(
    shape: Shape,
    view: ObjectView,
    hints: ScaleHints,
    source_views: Sequence[SourceView],
    rng: np.random.Generator,
) -> Shape:
    """
    Return a shape in the optical frame of its first view, at its scale and place.

    The sources of scale are tried in the order of the hints, unless depth made the shape, which
    is only checked then. ``view`` is the first view with all that its frame has. Raises
    ``LiftError``: ``NO_SURFACE`` for a shape without depth that is a fragment of what the mask
    shows, ``NO_DEPTH_IN_MASK`` for depth in the mask that is not the object's, ``BAD_REQUEST``
    where none of the sources that are named gives the scale (with the reason of the first).
    """
    mesh = shape.mesh_in_camera()
    surface = Surface.of(mesh.vertices, mesh.faces)
    measured = window(view)
    # A depth that did not make the shape must not move it beside its mask.
    silhouette = replace(measured, depth=None)
    up = shape.T_camera_object[:3, 2]
    if shape.scale_source == UNKNOWN:
        fitted = refine(surface, silhouette, scale=True, up=up)
        shape, surface = _moved(shape, fitted.T), surface.moved(fitted.T)
        _check_whole(surface, silhouette)
        mesh = shape.mesh_in_camera()
        known = _sources(
            surface, mesh, view, measured, up, hints, source_views, rng, shape.length_over_depth
        )
        T, scale, notes = _first_known(known, hints)
        shape, surface = _moved(shape, T, scale), surface.moved(T)
    else:
        check_depth(surface, measured)
        if agreement(surface, silhouette).iou < MIN_PLACED_IOU:
            aligned = refine(surface, measured, scale=False, up=up)
            shape, surface = _moved(shape, aligned.T), surface.moved(aligned.T)
        notes = _doubts(mesh, up, hints, view.truncated)
    if shape.elevation_source == 'gravity' and view.frame.gravity is None:
        # The normal of the given plane was used as gravity.
        shape = replace(shape, elevation_source='plane')
    iou = agreement(surface, silhouette).iou
    share = _covered(surface, silhouette)
    if share < MIN_COVERED_WITHOUT_NOTE:
        notes.append(
            f'The shape covers {100.0 * share:.0f} % of the mask; a part of the object may be '
            'missing from it.'
        )
    doubts = (truncation_note(view), spill_note(surface, view))
    notes += [doubt for doubt in doubts if doubt is not None]
    return replace(shape, mask_iou=iou, notes=(*shape.notes, *notes))


def _in_first_view(
    scored: ScoredMesh, reconstruction: Reconstruction, obs: ObservedObject
) -> Shape:
    """Return the shape with its object frame, moved from the reference to the first view."""
    canonical = reconstruction.canonical
    uncertainty = reconstruction.calibration.box_uncertainty(
        scored.mesh, scored.observed, scored.voxel
    )
    tilt = np.radians(max(reconstruction.tilt_stddev, MIN_TILT_STDDEV_DEG))
    framed = object_frame(scored.mesh, canonical.T_camera_object, uncertainty, tilt)
    T = obs.T_first_ref
    R = np.kron(np.eye(2), T[:3, :3])
    pose = T @ framed.T_camera_object
    elevation = canonical.elevation
    if np.any(T[:3, 3]):
        # The reference view is another one: the elevation is that of the first camera.
        elevation = float(np.degrees(np.arcsin(unit(invert(pose)[:3, 3])[2])))
    return Shape(
        mesh=framed.mesh,
        T_camera_object=pose,
        pose_covariance=R @ framed.covariance @ R.T,
        confidence=scored.confidence,
        observed=scored.observed,
        scale_source='depth' if canonical.metric else UNKNOWN,
        scale_stddev=framed.scale_stddev if canonical.metric else 1.0,
        elevation=elevation,
        elevation_source=reconstruction.elevation_source,
        method='',
        notes=(*scored.notes, *obs.notes),
        length_over_depth=reconstruction.length_over_depth,
    )


def _sources(
    surface: Surface,
    mesh: Mesh,
    view: ObjectView,
    seen: Window,
    up: Array,
    hints: ScaleHints,
    sources: Sequence[SourceView],
    rng: np.random.Generator,
    length_over_depth: float | None,
) -> dict[str, Callable[[], tuple[Array, Scale]]]:
    """Return the sources that have something to go by; each gives a similarity and its scale."""

    def by_depth() -> tuple[Array, Scale]:
        T = align_to_depth(surface, seen, up).T
        left = depth_ratio(surface.moved(T), seen)
        return T, replace(left, factor=float(np.cbrt(np.linalg.det(T[:3, :3]))))

    def by_views() -> tuple[Array, Scale]:
        return _about_camera(from_views(surface, sources))

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
    if sources:
        known['views'] = by_views
    if has_plane(view, hints):
        known['plane'] = by_plane
    if hints.known_size is not None:
        known['known_size'] = partial(by_size, hints.known_size)
    return known


def _first_known(
    known: dict[str, Callable[[], tuple[Array, Scale]]], hints: ScaleHints
) -> tuple[Array, Scale | None, list[str]]:
    """Return similarity (4, 4) and scale of the first source that gives them, and failures."""
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
    if share < MIN_COVERED:
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
    if not 1.0 - MAX_PLANE_DEPTH_RATIO < off < 1.0 + MAX_PLANE_DEPTH_RATIO:
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
        if off > MAX_SIZE_RATIO or (off < 1.0 / MAX_SIZE_RATIO and not truncated):
            doubts.append(
                f'The depth makes the object {size:.3f} m long, and {hints.known_size:.3f} m is '
                'its known size; is the depth that of the object, and the class the right one?'
            )
    if hints.plane is not None and 'plane' in hints.order:
        low = float(hints.plane.height(np.asarray(mesh.vertices, np.float64)).min())
        if abs(low) > MAX_PLANE_GAP_SHARE * size:
            doubts.append(
                f'By its depth the object is {abs(low):.3f} m '
                f'{"over" if low > 0.0 else "under"} the support plane; is the plane the one that '
                'it stands on?'
            )
    return doubts
