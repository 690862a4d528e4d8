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
From a mesh in the reference view to the shape with scale and pose in the first view.

The sources of scale are tried in the order of the hints. The first one that gives a scale is
used, and ``Shape.scale_source`` names it. A shape from depth has its scale and is only checked.
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

#: Largest ratio of known and measured size without a note, and largest gap between the object and
#: a given plane, over the size of the object.
MAX_SIZE_RATIO, MAX_PLANE_GAP_SHARE = 1.5, 0.2

#: Smallest share of the mask that a shape without depth covers; fragments cover less. Scans of the
#: eval split cover 0.8 and more.
MIN_COVERED = 0.5

#: Smallest share of the mask that a shape covers without a note.
MIN_COVERED_WITHOUT_NOTE = 0.75

#: Smallest IoU with the mask at which a shape from depth is not aligned again.
MIN_PLACED_IOU = 0.9

#: Largest relative deviation between the distances by the plane and by the depth readings.
MAX_PLANE_DEPTH_RATIO = 0.25

#: Smallest standard deviation of the vertical, degrees: the accuracy of arm and head calibrations.
MIN_TILT_STDDEV_DEG = 1.0


def place(
    scored: ScoredMesh, reconstruction: Reconstruction, obs: ObservedObject,
    rng: np.random.Generator,
) -> Shape:
    """
    Return the shape of a mesh, with scale and pose in the optical frame of the first view.

    Raises ``LiftError`` as ``resolve_scale``.
    """
    shape = _in_first_view(scored, reconstruction, obs)
    return resolve_scale(shape, obs.first, obs.hints, obs.source_views, rng, obs)


def resolve_scale(
    shape: Shape,
    view: ObjectView,
    hints: ScaleHints,
    source_views: Sequence[SourceView],
    rng: np.random.Generator,
    obs: ObservedObject | None = None,
) -> Shape:
    """
    Return a shape with scale and pose in the optical frame of the first view.

    The sources of scale are tried in the order of the hints. A shape from depth has its scale and
    is only checked. ``view`` is the unmodified first view, and ``obs`` the observation of it, from
    which a check of the shape against the mask learns what occluders hide. Raises ``LiftError``:
    ``NO_SURFACE`` for a shape without depth that covers too little of the mask,
    ``NO_DEPTH_IN_MASK`` if the depth in the mask is not that of the object, ``BAD_REQUEST`` if no
    named source gives the scale (with the reason of the first source).
    """
    mesh = shape.mesh_in_camera()
    surface = Surface.of(mesh.vertices, mesh.faces)
    measured = window(view)
    # Depth that the method did not use must not move the shape away from its mask.
    silhouette = replace(measured, depth=None)
    up = shape.T_camera_object[:3, 2]
    if shape.scale_source == UNKNOWN:
        fitted = refine(surface, silhouette, scale=True, up=up)
        shape, surface = _moved(shape, fitted.T), surface.moved(fitted.T)
        _check_whole(surface, silhouette)
        mesh = shape.mesh_in_camera()
        available = _sources(
            surface, mesh, view, measured, up, hints, source_views, rng, shape.length_over_depth
        )
        T, scale, notes = _first_scale(available, hints)
        shape, surface = _moved(shape, T, scale), surface.moved(T)
    else:
        check_depth(surface, measured)
        if agreement(surface, silhouette).iou < MIN_PLACED_IOU:
            aligned = refine(surface, measured, scale=False, up=up)
            shape, surface = _moved(shape, aligned.T), surface.moved(aligned.T)
        notes = _scale_notes(mesh, up, hints, view.truncated)
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
    view_notes = (truncation_note(view), _spill_note(surface, view, obs))
    notes += [note for note in view_notes if note is not None]
    return replace(shape, mask_iou=iou, notes=(*shape.notes, *notes))


def _spill_note(surface: Surface, view: ObjectView, obs: ObservedObject | None) -> str | None:
    """Return ``spill_note`` with the occluders that were observed from the first view."""
    # Another reference view does not tell what the first camera cannot see.
    if obs is None or np.any(obs.T_first_ref[:3, 3]):
        return spill_note(surface, view)
    return spill_note(surface, view, obs.observation, invert(obs.T_first_ref))


def _in_first_view(
    scored: ScoredMesh, reconstruction: Reconstruction, obs: ObservedObject
) -> Shape:
    """Return the shape with its object frame, in the frame of the first view."""
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
        # The reference view is not the first view: compute the elevation of the first camera.
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
        support=obs.support.state,
    )


def _sources(
    surface: Surface,
    mesh: Mesh,
    view: ObjectView,
    target: Window,
    up: Array,
    hints: ScaleHints,
    sources: Sequence[SourceView],
    rng: np.random.Generator,
    length_over_depth: float | None,
) -> dict[str, Callable[[], tuple[Array, Scale]]]:
    """Return the available sources; each returns a similarity and its scale."""

    def by_depth() -> tuple[Array, Scale]:
        T = align_to_depth(surface, target, up).T
        residual = depth_ratio(surface.moved(T), target)
        return T, replace(residual, factor=float(np.cbrt(np.linalg.det(T[:3, :3]))))

    def by_views() -> tuple[Array, Scale]:
        return _about_camera(from_views(surface, sources))

    def by_plane() -> tuple[Array, Scale]:
        plane = hints.plane or find_plane(view, rng)
        check_tilt(plane, view)
        check_foot_in_image(view, surface.centre, plane.up)
        scale = from_plane(mesh.vertices, plane)
        if 'depth' in available and 'depth' in hints.order:
            _check_plane_distance(scale, depth_ratio(surface, target))
        return _about_camera(scale)

    def by_size(size: float) -> tuple[Array, Scale]:
        check_not_truncated(view)
        return _about_camera(
            from_known_size(
                mesh.vertices, up, size, hints.known_size_stddev, length_over_depth
            )
        )

    available: dict[str, Callable[[], tuple[Array, Scale]]] = {}
    if target.depth is not None and target.depth.any():
        available['depth'] = by_depth
    if sources:
        available['views'] = by_views
    if has_plane(view, hints):
        available['plane'] = by_plane
    if hints.known_size is not None:
        available['known_size'] = partial(by_size, hints.known_size)
    return available


def _first_scale(
    available: dict[str, Callable[[], tuple[Array, Scale]]], hints: ScaleHints
) -> tuple[Array, Scale | None, list[str]]:
    """Return the similarity (4, 4) and scale of the first successful source, and failures."""
    failures: list[LiftError] = []
    for name in hints.order:
        if name not in available:
            continue
        try:
            return *available[name](), [error.message for error in failures]
        except LiftError as error:
            failures.append(error)
    if UNKNOWN not in hints.order:
        if failures:
            raise failures[0]
        if hints.order != SOURCES:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The scale of this object is unknown: none of {", ".join(hints.order)} is given. '
                f'Give one of them, or end the order with {UNKNOWN}.',
            )
    return np.eye(4), None, [error.message for error in failures]


def _check_whole(surface: Surface, target: Window) -> None:
    """Raise ``LiftError(NO_SURFACE)`` for a shape that covers too little of its mask."""
    share = _covered(surface, target)
    if share < MIN_COVERED:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            f'The shape covers only {100.0 * share:.0f} % of the mask. Check that the mask is one '
            'object in one piece, or give a depth image.',
        )


def _covered(surface: Surface, target: Window) -> float:
    """Return the share of the mask that a shape covers."""
    # Not the intersection over union: occluded parts may extend beyond the mask.
    covered = np.count_nonzero(surface.rasterize(target.camera).mask & target.mask)
    return covered / max(np.count_nonzero(target.mask), 1)


def _about_camera(scale: Scale) -> tuple[Array, Scale]:
    """Return the similarity of a factor about the camera's centre, and its scale."""
    return np.diag([scale.factor, scale.factor, scale.factor, 1.0]), scale


def _moved(shape: Shape, T: Array, scale: Scale | None = None) -> Shape:
    """
    Return a shape moved by a similarity (4, 4) of the optical frame, with the given scale.

    An error of the factor by its standard deviation s moves the centre c by s c, so the covariance
    of the position increases by s^2 c c^T.
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


def _check_plane_distance(scale: Scale, measured: Scale) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` if the plane and the depth give different distances."""
    ratio = scale.factor / measured.factor
    if not 1.0 - MAX_PLANE_DEPTH_RATIO < ratio < 1.0 + MAX_PLANE_DEPTH_RATIO:
        where = 'behind' if ratio > 1.0 else 'in front of'
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The support plane is {where} the object: on the plane, the object would be at '
            f'{ratio:.2f} times the distance of the depth readings. Check plane and depth.',
        )


def _scale_notes(mesh: Mesh, up: Array, hints: ScaleHints, truncated: bool) -> list[str]:
    """
    Return notes if a given plane or size contradicts a mesh in the optical frame.

    A part of an object that is ``truncated`` by the image border may be missing.
    """
    notes = []
    size = longest_side(mesh.vertices, up)
    if hints.known_size is not None and 'known_size' in hints.order:
        ratio = size / hints.known_size
        if ratio > MAX_SIZE_RATIO or (ratio < 1.0 / MAX_SIZE_RATIO and not truncated):
            notes.append(
                f'According to the depth, the object is {size:.3f} m long, but its known size is '
                f'{hints.known_size:.3f} m; check the depth, and the class of the object.'
            )
    if hints.plane is not None and 'plane' in hints.order:
        low = float(hints.plane.height(np.asarray(mesh.vertices, np.float64)).min())
        if abs(low) > MAX_PLANE_GAP_SHARE * size:
            notes.append(
                f'According to the depth, the object is {abs(low):.3f} m '
                f'{"above" if low > 0.0 else "below"} the support plane; check that the object '
                'stands on this plane.'
            )
    return notes
