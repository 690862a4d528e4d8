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
Extract a closed mesh from a predicted field and the measurements.

Measured depth overrides the prediction (``meshing.carving``, ``observation.registered_view``). If
the surface has several pieces, a lower level may join them; pieces that none joins are several
objects in one mask, and all that were measured are kept, or without depth all in the mask.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.occupancy import Solid
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.carving import constrain_to_reference
from lift3d_ros.meshing.isosurface import count_pieces
from lift3d_ros.meshing.isosurface import extract_surface
from lift3d_ros.meshing.isosurface import sample_refined
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.object_observation import sample
from lift3d_ros.observation.registered_view import constrain_to_sources
from lift3d_ros.observation.registered_view import measured_points
from lift3d_ros.observation.registered_view import RegisteredView
from lift3d_ros.observation.support import Support

Vertices = NDArray[np.float32]
Faces = NDArray[np.int32]

#: What is kept behind the measured surface, whatever the networks believe, over the length of the
#: object: the best of 0.01 to 0.04 on scenes of the train split.
SKIN = 0.03

#: At least so much of it, voxels, and so much where the support plane lies in it: what is thinner,
#: the grid does not hold.
_THINNEST, _THINNEST_ON_PLANE = 2.5, 3.0

#: Share of its box that an object of ordinary shape fills with as many voxels as are affordable.
_FILLED = 0.25

#: Share of the readings that must lie at the surface: with fewer the mesh is a fragment. Where
#: fewer than enough do, parts hang loose; a lower level is taken that joins so many more, or all
#: parts are, if they hold so many more.
_HELD, _ENOUGH, _MORE = 0.6, 0.9, 0.05
_LEVELS = (0.5, 0.35, 0.2, 0.1, 0.04)

#: A reading is at the surface within so many voxels.
_AT_SURFACE = 3.0

#: An object hangs in the air if it ends this much over the plane, but is held up if that is more
#: than is known of it; it is continued down from this much over its end. Shares of its height.
_HANGING, _HELD_UP, _ABOVE_FOOT = 0.05, 1.0, 0.15

#: Points that are spread over a surface to tell what is near it.
_SPREAD = 12_000

#: Probability from which on a place is looked at when the mesh's box is fitted.
_LEAST = 0.25

#: Rays across the larger side of the window in which a mask is looked at, and places on each.
_RAYS = 80

#: On a ray through the mask whatever is at least this share as probable as its most probable place
#: counts as inside, if that is over the least level.
_RAY_SHARE = 0.85
_LEAST_LEVEL = 0.1


@dataclass(frozen=True, eq=False)
class ExtractedMesh:
    """
    A closed mesh of what the networks believe and the cameras measured.

    - ``vertices``: float32 (n, 3), first optical frame, metres; ``faces``: int32 (m, 3).
    - ``voxel``: metres, the edge of the coarsest voxel that it can come from.
    - ``pieces``: how many parts of it do not touch.
    """

    vertices: Vertices
    faces: Faces
    voxel: float
    pieces: int = 1

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is doubtful about it, for ``Shape.notes``."""
        if self.pieces == 1:
            return ()
        return (
            f'The mask shows {self.pieces} things that do not touch; if they are not one object, '
            'ask for each with a mask of its own.',
        )


def extract_mesh(
    solid: Solid,
    seen: ObjectObservation,
    support: Support,
    canonical: CanonicalFrame,
    others: Sequence[RegisteredView],
    resolution: int,
    max_faces: int,
) -> ExtractedMesh:
    """
    Return the surface of a solid that is cut by what ``seen`` and ``others`` measured.

    What nothing joins to the rest stays a piece of its own where a camera measured it, or where
    nothing was measured and the mask shows it. The longest side of the grid has ``resolution``
    voxels. Raises ``LiftError(NO_SURFACE)`` where nothing is solid, or what is found is a fragment
    of what was measured.
    """
    from scipy import ndimage

    T = canonical.T_camera_object
    corners = solid.bounds(_LEAST)
    assert corners is not None, 'the networks see a solid'
    low, high = (canonical.scale * corner for corner in corners)
    points = measured_points(seen, others)
    measured = transform(invert(T), points) if len(points) else np.zeros((0, 3))
    if len(points):
        low = np.minimum(low, measured.min(axis=0))
        high = np.maximum(high, measured.max(axis=0))
    sill = _sill(solid, seen, support, canonical, measured)
    if sill is not None:
        low[2] = min(low[2], sill[1])
    if support.offset is not None:
        low[2] = max(low[2], -float(support.height(T[None, :3, 3])[0]))
    sides = high - low
    size = float(sides.max())
    coarsest = size / resolution
    # What is flat or long has fewer voxels in its box, which may then be finer.
    evenly = float(np.cbrt(sides.prod() / (_FILLED * resolution**3)))
    voxel = float(np.clip(evenly, 0.5 * coarsest, coarsest))
    low, high = low - 2.0 * voxel, high + 2.0 * voxel
    band = 2.0 * solid.voxel * canonical.scale
    skin = max(SKIN * size, _THINNEST * voxel)
    rays = None if seen.depth is not None else _MaskRays.of(solid, seen, canonical)

    def evaluate(local: Array, least: float) -> NDArray[np.float32]:
        camera = transform(T, local)
        if sill is not None:
            # Upright down to the plane, as far as nothing was seen there.
            local = local.copy()
            np.maximum(local[:, 2], sill[0], out=local[:, 2])
        believed = solid.probability_at(local / canonical.scale)
        # Near one half a probability falls from 0.8 to 0.2 over about a voxel and a half.
        level = np.float32(least) if rays is None else rays.levels(camera)
        guess = np.float32(band) * np.clip(2.0 * (believed - level), -1.0, 1.0)
        guess = constrain_to_sources(others, camera, guess, skin)
        return constrain_to_reference(
            seen, support, camera, guess, skin, _THINNEST_ON_PLANE * voxel
        )

    def extract(least: float, apart: bool) -> tuple[Vertices, Faces]:
        values = sample_refined(partial(evaluate, least=least), low, high, voxel)
        # Less than a voxel of blur takes the steps out of the intersections' edges. How deep
        # a place lies beyond a voxel is not told: it would outweigh what is thin beside it.
        values = ndimage.gaussian_filter(values.clip(-voxel, voxel), 0.7, mode='nearest')
        return extract_surface(values, low, voxel, max_faces, evidence if apart else None)

    # What no camera of several saw through is more probably solid than the networks, which
    # are not told the other depths, believe.
    tried: Sequence[float] = _LEVELS[1:] if len(others) > 1 else _LEVELS
    evidence = measured
    if rays is not None:
        # The rays have levels of their own.
        tried = tried[:1]
        if not len(measured):
            evidence = transform(invert(T), rays.first)
    (vertices, faces), share = _whole(extract, tried, evidence, coarsest)
    if len(measured) and share < _HELD:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            'The surface found is a fragment of what the camera measured; is the depth '
            'registered to the image, and all of the mask one object?',
        )
    return ExtractedMesh(
        transform(T, vertices).astype(np.float32), faces, coarsest, count_pieces(faces)
    )


def _whole(
    extract: Callable[[float, bool], tuple[Vertices, Faces]],
    levels: Sequence[float],
    points: Array,
    voxel: float,
) -> tuple[tuple[Vertices, Faces], float]:
    """
    Return the mesh that holds most of ``points`` (n, 3), which shall be on it, and which share.

    ``extract`` gives the surface of what is believed with at least some probability: its largest
    piece, or all pieces that have points, apart.
    """
    best, held, joining = extract(levels[0], False), 1.0, levels[0]
    if not len(points):
        return best, held
    held = _held(points, *best, voxel)
    for level in levels[1:]:
        if held > _ENOUGH:
            break
        found = extract(level, False)
        share = _held(points, *found, voxel)
        if share > held + _MORE:
            best, held, joining = found, share, level
    if held <= _ENOUGH:
        # What nothing joins are several things in one mask.
        found = extract(joining, True)
        share = _held(points, *found, voxel)
        if share > held + _MORE:
            best, held = found, share
    return best, held


def _sill(
    solid: Solid,
    seen: ObjectObservation,
    support: Support,
    canonical: CanonicalFrame,
    measured: Array,
) -> tuple[float, float] | None:
    """
    Return from which height an object is continued down, and how far, where its foot is hidden.

    Both are z of the canonical axes, metres. None where the solid, or what was ``measured`` (n, 3)
    of it along those axes, reaches the support plane, or where nothing hides the object: things do
    not hang in the air, so that what stands under one is behind what hides it.
    """
    corners = solid.bounds(0.5)
    if support.offset is None or corners is None or not seen.occluder.any():
        return None
    low, high = (canonical.scale * corner for corner in corners)
    bottom = float(min(low[2], measured[:, 2].min())) if len(measured) else float(low[2])
    height = float(high[2]) - bottom
    foot = np.array([[0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]), bottom]])
    gap = float(support.height(transform(canonical.T_camera_object, foot))[0])
    if not _HANGING * height < gap < _HELD_UP * height:
        return None
    return bottom + _ABOVE_FOOT * height, bottom - gap


def _held(points: Array, vertices: Vertices, faces: Faces, voxel: float) -> float:
    """Return which share of the readings (n, 3) lies at the surface."""
    from scipy.spatial import cKDTree

    chosen = points[:: max(1, len(points) // 2000)]
    # Vertices alone are far apart where the faces are few.
    mesh = Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))
    face, weights = mesh.sample(_SPREAD, np.random.default_rng(0))
    between = np.einsum('ijk,ij->ik', vertices[faces[face]], weights)
    distance, _ = cKDTree(np.concatenate([vertices, between])).query(chosen)
    return float((distance < _AT_SURFACE * voxel).mean())


@dataclass(frozen=True, eq=False)
class _MaskRays:
    """
    What a mask without depth tells of a solid: on each of its rays something is inside.

    - ``level``: float32, for every ``stride``-th pixel of the window the probability from which on
      a place on its ray counts as inside.
    - ``first``: (n, 3), optical frame, metres: where rays through the mask first come upon that.
    """

    level: NDArray[np.float32]
    stride: int
    camera: Camera
    first: Array

    @classmethod
    def of(cls, solid: Solid, seen: ObjectObservation, canonical: CanonicalFrame) -> _MaskRays:
        """
        Return what ``seen`` tells of a solid.

        The level is one half, but for rays through the mask on which no place is as probable:
        something on them is solid, and the most probable place is the best guess. Without it, what
        is thin or may lie at many depths would be missing from every one of them.
        """
        side = max(seen.mask.shape)
        stride = -(-side // _RAYS)
        rays = seen.camera.rays()[::stride, ::stride]
        middle = transform(canonical.camera_from_canonical, solid.centre[None])[0]
        half = 0.87 * solid.side * canonical.scale
        depths = np.linspace(max(middle[2] - half, 0.05 * half), middle[2] + half, _RAYS)
        points = rays[:, :, None] * depths[:, None]
        believed = solid.probability_at(
            transform(canonical.canonical_from_camera, points.reshape(-1, 3))
        ).reshape(points.shape[:3])
        level = np.clip(_RAY_SHARE * believed.max(axis=2), _LEAST_LEVEL, 0.5).astype(np.float32)
        mask = seen.mask[::stride, ::stride]
        inside = (believed >= level[..., None]) & mask[..., None]
        met = inside.any(axis=2)
        first = points[met, inside[met].argmax(axis=1)]
        return cls(np.where(mask, level, np.float32(0.5)), stride, seen.camera, first)

    def levels(self, points: Array) -> NDArray[np.float32]:
        """Return the level at points (n, 3) of the optical frame."""
        u, v, _ = ((a / self.stride).astype(np.float32) for a in self.camera.project(points))
        return sample(self.level, u, v)
