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
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.field import Field
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.carving import constrain_to_reference
from lift3d_ros.meshing.isosurface import count_pieces
from lift3d_ros.meshing.isosurface import extract_surface
from lift3d_ros.meshing.isosurface import keep_pieces
from lift3d_ros.meshing.isosurface import sample_refined
from lift3d_ros.meshing.measured_surface import estimate_surface
from lift3d_ros.meshing.openings import close_openings
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.object_observation import sample
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.observation.registered_view import constrain_to_sources
from lift3d_ros.observation.registered_view import measured_points
from lift3d_ros.observation.support import Support

Vertices = NDArray[np.float32]
Faces = NDArray[np.int32]

#: Least thickness of the surface that is kept behind the measured one, voxels: the grid does not
#: hold thinner surface; and where the support plane is inside of it.
MIN_THICKNESS_VOXELS, MIN_THICKNESS_ON_PLANE_VOXELS = 2.5, 3.0

#: Share of its bounding box that an object of ordinary shape fills with the affordable voxels.
BOX_FILL_SHARE = 0.25

#: Share of the readings on the surface of a mesh, below which it is a fragment of the object, and
#: above which it is complete. Between, another mesh is taken if its share is larger by the gain.
MIN_READING_SHARE, COMPLETE_READING_SHARE, MIN_SHARE_GAIN = 0.6, 0.9, 0.05

#: Occupancy levels that are tried until the mesh is complete.
LEVELS = (0.5, 0.35, 0.2, 0.1, 0.04)

#: Distance from the surface of a reading on it, voxels.
MAX_READING_DISTANCE_VOXELS = 3.0

#: Range of gaps between an object and the support plane in which it is extended to the plane, and
#: height above its lower end from which it is; shares of the object's height. A larger gap than
#: the object is high is no hidden part of it: something holds it up.
MIN_GAP, MAX_GAP, EXTENDED_FROM = 0.05, 1.0, 0.15

#: Points spread over a surface to measure distances from it.
SURFACE_POINTS = 12_000

#: Smallest occupancy inside the bounding box of the grid.
BOX_LEVEL = 0.25

#: Rays across the longer side of a mask without depth, and samples along each.
MASK_RAYS = 80

#: Level on a ray through a mask without depth: share of the largest occupancy on the ray, and the
#: smallest level.
RAY_LEVEL_SHARE, MIN_RAY_LEVEL = 0.85, 0.1


@dataclass(frozen=True, eq=False)
class ExtractedMesh:
    """
    A closed mesh.

    - ``vertices``: float32 (n, 3), reference optical frame, metres; ``faces``: int32 (m, 3).
    - ``voxel``: metres, the largest edge that the voxels of its grid can have.
    - ``pieces``: number of connected pieces.
    """

    vertices: Vertices
    faces: Faces
    voxel: float
    pieces: int = 1

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for ``Shape.notes``."""
        if self.pieces == 1:
            return ()
        return (
            f'The mask shows {self.pieces} things that do not touch; if they are not one object, '
            'lift each with a mask of its own.',
        )


@dataclass(frozen=True, eq=False)
class _Grid:
    """
    The grid of a mesh, canonical axes, metres.

    - ``low``, ``high``: its corners (3,); ``voxel``: edge of a voxel.
    - ``size``: longest side of what it holds; ``coarsest``: the voxel of a compact object.
    """

    low: Array
    high: Array
    voxel: float
    size: float
    coarsest: float


def extract_mesh(
    reconstruction: Reconstruction, obs: ObservedObject, max_faces: int
) -> ExtractedMesh:
    """
    Return the mesh of a reconstruction within the bounds of the measurements.

    Separate pieces are kept if a view measured them, or without depth if the mask shows them.
    Raises ``LiftError(NO_SURFACE)`` if the field is empty, if the mesh is a fragment of the
    measured surface, or if no closed mesh of at most ``max_faces`` faces is possible.
    """
    from scipy import ndimage

    field, canonical = reconstruction.field, reconstruction.canonical
    support = obs.support
    observation = estimate_surface(obs.observation)
    sources = tuple(
        replace(source, observation=estimate_surface(source.observation))
        for source in obs.sources
    )
    T = canonical.T_camera_object
    points = measured_points(observation, sources)
    measured = transform(invert(T), points) if len(points) else np.zeros((0, 3))
    extension = extend_to_support(field, observation, support, canonical, measured)
    grid = _grid(reconstruction, obs, measured, extension)
    low, high, voxel = grid.low, grid.high, grid.voxel
    # Near one half, the occupancy falls from 0.8 to 0.2 over about a voxel and a half.
    band = np.float32(2.0 * field.voxel * canonical.scale)
    thickness = max(reconstruction.min_thickness * grid.size, MIN_THICKNESS_VOXELS * voxel)
    rays = None
    if observation.depth is None:
        rays = _MaskRays.of(field, observation, canonical)

    def evaluate(local: Array, level: float) -> NDArray[np.float32]:
        camera = transform(T, local)
        if extension is not None:
            # Vertically down to the plane, within the bounds of the views.
            local = local.copy()
            np.maximum(local[:, 2], extension[0], out=local[:, 2])
        occupancy = field.occupancy(local / canonical.scale)
        levels = np.float32(level) if rays is None else rays.levels(camera)
        predicted = band * np.clip(2.0 * (occupancy - levels), -1.0, 1.0)
        predicted = constrain_to_sources(sources, camera, predicted, thickness)
        return constrain_to_reference(
            observation, support, camera, predicted, thickness,
            MIN_THICKNESS_ON_PLANE_VOXELS * voxel,
        )

    def occupancy(local: Array) -> NDArray[np.float32]:
        return field.occupancy(local / canonical.scale)

    def free(local: Array, margin: float) -> NDArray[np.bool_]:
        camera = transform(T, local)
        crossed = observation.seen_free(camera, margin)
        for source in sources:
            crossed |= source.seen_free(source.to_camera(camera), margin)
        if support.offset is not None:
            crossed |= support.height(camera) < -margin
        return crossed

    fields: dict[float, NDArray[np.float32]] = {}

    def sampled(level: float) -> NDArray[np.float32]:
        if level not in fields:
            values = sample_refined(partial(evaluate, level=level), low, high, voxel)
            # A blur of less than a voxel smooths the edges of intersections. Values are clipped at
            # a voxel first: larger ones would outweigh thin parts beside them.
            fields[level] = ndimage.gaussian_filter(
                values.clip(-voxel, voxel), 0.7, mode='nearest'
            )
        return fields[level]

    def extract(level: float, apart: bool) -> tuple[Vertices, Faces]:
        return extract_surface(
            sampled(level), low, voxel, max_faces, evidence if apart else None
        )

    # The networks do not get the depth of source views: what no view saw through is more
    # probably occupied than they predict.
    levels: Sequence[float] = LEVELS[1:] if len(sources) > 1 else LEVELS
    evidence = measured
    if rays is not None:
        # The rays have their own levels.
        levels = levels[:1]
        if not len(measured):
            evidence = transform(invert(T), rays.first)
    (vertices, faces), share, (level, apart) = _most_complete(
        extract, levels, evidence, grid.coarsest
    )
    if len(measured) and share < MIN_READING_SHARE:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            'The predicted surface is a fragment of what the camera measured; check that the '
            'depth is registered to the image, and that the mask shows one object.',
        )
    values = keep_pieces(sampled(level), low, voxel, evidence if apart else None)
    closed = close_openings(values, low, voxel, occupancy, free)
    if closed is not values:
        vertices, faces = extract_surface(
            closed, low, voxel, max_faces, evidence if apart else None
        )
    return ExtractedMesh(
        transform(T, vertices).astype(np.float32), faces, grid.coarsest, count_pieces(faces)
    )


def _grid(
    reconstruction: Reconstruction,
    obs: ObservedObject,
    measured: Array,
    extension: tuple[float, float] | None,
) -> _Grid:
    """
    Return the grid that holds the field and the ``measured`` points (n, 3), both in metres.

    Its axes are canonical. It reaches down to the end of the ``extension``, and not below the
    support plane. Raises ``LiftError(NO_SURFACE)`` for an empty field.
    """
    canonical, support = reconstruction.canonical, obs.support
    corners = reconstruction.field.bounds(BOX_LEVEL)
    if corners is None:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            'The method predicts no surface for this view; check the mask and the depth.',
        )
    low, high = (canonical.scale * corner for corner in corners)
    if len(measured):
        low = np.minimum(low, measured.min(axis=0))
        high = np.maximum(high, measured.max(axis=0))
    if extension is not None:
        low[2] = min(low[2], extension[1])
    if support.offset is not None:
        origin = canonical.T_camera_object[None, :3, 3]
        low[2] = max(low[2], -float(support.height(origin)[0]))
    sides = high - low
    size = float(sides.max())
    coarsest = size / reconstruction.resolution
    # The bounding box of a flat or long object has fewer voxels, which may then be finer.
    evenly = float(np.cbrt(sides.prod() / (BOX_FILL_SHARE * reconstruction.resolution**3)))
    voxel = float(np.clip(evenly, 0.5 * coarsest, coarsest))
    return _Grid(low - 2.0 * voxel, high + 2.0 * voxel, voxel, size, coarsest)


def _most_complete(
    extract: Callable[[float, bool], tuple[Vertices, Faces]],
    levels: Sequence[float],
    points: Array,
    voxel: float,
) -> tuple[tuple[Vertices, Faces], float, tuple[float, bool]]:
    """
    Return the most complete mesh, the share of measured ``points`` on its surface, and its level.

    ``points`` is (n, 3). ``extract`` returns the mesh at a level: its largest piece, or all pieces
    that have points, which is returned with the level.
    """
    best, best_level, share, apart = extract(levels[0], False), levels[0], 1.0, False
    if not len(points):
        return best, share, (best_level, apart)
    share = _share_on_surface(points, *best, voxel)
    for level in levels[1:]:
        if share > COMPLETE_READING_SHARE:
            return best, share, (best_level, apart)
        mesh = extract(level, False)
        larger = _share_on_surface(points, *mesh, voxel)
        if larger > share + MIN_SHARE_GAIN:
            best, best_level, share = mesh, level, larger
    if share <= COMPLETE_READING_SHARE:
        # Pieces that no level joins are several objects in one mask.
        mesh = extract(best_level, True)
        larger = _share_on_surface(points, *mesh, voxel)
        if larger > share + MIN_SHARE_GAIN:
            best, share, apart = mesh, larger, True
    return best, share, (best_level, apart)


def extend_to_support(
    field: Field,
    observation: ObjectObservation,
    support: Support,
    canonical: CanonicalFrame,
    measured: Array,
) -> tuple[float, float] | None:
    """
    Return the height from which an object is extended down, and to which, if its foot is hidden.

    Both are z of the canonical axes, metres. If an occluder hides the space between a standing
    object and the support plane, the object continues there. None for an object that does not
    stand on the plane, where the field, or the ``measured`` points (n, 3) along those axes, reach
    the plane, and where nothing hides the object.
    """
    corners = field.bounds(0.5)
    if not support.carries or corners is None or not observation.occluder.any():
        return None
    low, high = (canonical.scale * corner for corner in corners)
    bottom = float(min(low[2], measured[:, 2].min())) if len(measured) else float(low[2])
    height = float(high[2]) - bottom
    foot = np.array([[0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]), bottom]])
    gap = float(support.height(transform(canonical.T_camera_object, foot))[0])
    if not MIN_GAP * height < gap < MAX_GAP * height:
        return None
    return bottom + EXTENDED_FROM * height, bottom - gap


def _share_on_surface(points: Array, vertices: Vertices, faces: Faces, voxel: float) -> float:
    """Return the share of readings (n, 3) that are on the surface of a mesh."""
    from scipy.spatial import cKDTree

    chosen = points[:: max(1, len(points) // 2000)]
    # Vertices are far apart where faces are large.
    mesh = Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))
    face, weights = mesh.sample(SURFACE_POINTS, np.random.default_rng(0))
    between = np.einsum('ijk,ij->ik', vertices[faces[face]], weights)
    # A tree that is not balanced takes half the time to build.
    tree = cKDTree(
        np.concatenate([vertices, between]), compact_nodes=False, balanced_tree=False)
    reach = MAX_READING_DISTANCE_VOXELS * voxel
    distance, _ = tree.query(chosen, distance_upper_bound=reach)
    return float((distance < reach).mean())


@dataclass(frozen=True, eq=False)
class _MaskRays:
    """
    Occupancy levels on the rays through a mask without depth, each of which meets the object.

    - ``level``: float32, for every ``stride``-th pixel of the window the occupancy from which on
      a place on its ray is inside.
    - ``first``: (n, 3), optical frame, metres: the first such places on rays through the mask.
    """

    level: NDArray[np.float32]
    stride: int
    camera: Camera
    first: Array

    @classmethod
    def of(
        cls, field: Field, observation: ObjectObservation, canonical: CanonicalFrame
    ) -> _MaskRays:
        """
        Return the levels of a field.

        The level is one half, except on rays through the mask without a place as probable:
        something on them is occupied, and the most probable place is the best estimate. A fixed
        level would drop what is thin, or may lie at many depths, from all of them.
        """
        side = max(observation.mask.shape)
        stride = -(-side // MASK_RAYS)
        rays = observation.camera.rays()[::stride, ::stride]
        middle = transform(canonical.camera_from_canonical, field.centre[None])[0]
        half = 0.87 * field.side * canonical.scale
        depths = np.linspace(max(middle[2] - half, 0.05 * half), middle[2] + half, MASK_RAYS)
        points = rays[:, :, None] * depths[:, None]
        occupancy = field.occupancy(
            transform(canonical.canonical_from_camera, points.reshape(-1, 3))
        ).reshape(points.shape[:3])
        level = RAY_LEVEL_SHARE * occupancy.max(axis=2)
        level = np.clip(level, MIN_RAY_LEVEL, 0.5).astype(np.float32)
        mask = observation.mask[::stride, ::stride]
        inside = (occupancy >= level[..., None]) & mask[..., None]
        met = inside.any(axis=2)
        first = points[met, inside[met].argmax(axis=1)]
        level = np.where(mask, level, np.float32(0.5))
        return cls(level, stride, observation.camera, first)

    def levels(self, points: Array) -> NDArray[np.float32]:
        """Return the level at points (n, 3) of the optical frame."""
        u, v, _ = ((a / self.stride).astype(np.float32) for a in self.camera.project(points))
        return sample(self.level, u, v)
