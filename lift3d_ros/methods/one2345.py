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
The main road: one view to posed views, posed views to a volume, the volume to a closed mesh.

The stages of One-2-3-45 (Liu et al., 2023) with what a robot knows besides: the volume is upright
and metric where gravity and depth are known, the networks are told what the camera measured, and
what it measured has the last word.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.frame import FurtherView
from lift3d_ros.frame import ObjectView
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.methods.object_frame import BoxUncertainty
from lift3d_ros.methods.object_frame import object_frame
from lift3d_ros.methods.object_frame import uncertainty_of_solid
from lift3d_ros.progress import Progress
from lift3d_ros.shape import Mesh
from lift3d_ros.shape import Shape
from lift3d_ros.surface.agreement import silhouette_agreement
from lift3d_ros.surface.agreement import trust
from lift3d_ros.surface.carving import constrain
from lift3d_ros.surface.cleaning import observe
from lift3d_ros.surface.cleaning import reconcile
from lift3d_ros.surface.cleaning import with_occluder_depth
from lift3d_ros.surface.coloring import OBSERVED
from lift3d_ros.surface.coloring import paint
from lift3d_ros.surface.field import Solid
from lift3d_ros.surface.field import SolidField
from lift3d_ros.surface.meshing import extract_surface
from lift3d_ros.surface.observation import Observation
from lift3d_ros.surface.observation import sample
from lift3d_ros.surface.painting import paint_further
from lift3d_ros.surface.refining import sample_refined
from lift3d_ros.surface.sightings import all_points
from lift3d_ros.surface.sightings import as_further
from lift3d_ros.surface.sightings import cut
from lift3d_ros.surface.sightings import gather
from lift3d_ros.surface.sightings import Sighting
from lift3d_ros.surface.support import find_support
from lift3d_ros.surface.support import Support
from lift3d_ros.surface.view_colors import view_colors
from lift3d_ros.views.canonical import canonical_frame
from lift3d_ros.views.canonical import CanonicalFrame
from lift3d_ros.views.elevation import Elevation
from lift3d_ros.views.elevation import ElevationSettings
from lift3d_ros.views.elevation import find_elevation

#: What is kept behind the measured surface, whatever the networks believe, over the length of the
#: object: the best of 0.01 to 0.04 on scenes of the train split.
SKIN = 0.03

#: At least so much of it, voxels, and so much where the support plane lies in it: what is thinner,
#: the grid does not hold.
_THINNEST, _THINNEST_ON_PLANE = 2.5, 3.0

#: Share of its box that an object of ordinary shape fills with as many voxels as are affordable.
_FILLED = 0.25

#: Share of the readings that must lie at the surface: with fewer the mesh is a fragment. Where
#: fewer than enough do, parts hang loose; a lower level is taken that joins so many more.
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

#: Gives pictures (n, h, h, 4), uint8 RGBA on white through the lens of Zero-1-to-3, and their
#: poses (n, 4, 4), optical frames in the canonical frame that it is told.
ViewSource = Callable[[CanonicalFrame], tuple[NDArray[np.uint8], Array]]

#: What the networks' probability of a vertex being right, within 1 % of the diagonal, proved to be
#: worth on 99 scenes of scans of the train split.
_BELIEVED = (0.0, 0.33, 0.39, 0.47, 0.51, 0.58, 0.62, 0.67, 0.74, 1.0)
_PROVED = (0.34, 0.345, 0.41, 0.475, 0.555, 0.655, 0.72, 0.765, 0.80, 0.86)

#: What is left of the confidence where no depth tells the scale; the same as in ``geometric``.
_WITHOUT_DEPTH = 0.3

#: Rays across the larger side of the window in which a mask is looked at, and places on each.
_RAYS = 80

#: On a ray through the mask whatever is at least this share as probable as its most probable place
#: counts as inside, if that is over the least level.
_RAY_SHARE = 0.85
_LEAST_LEVEL = 0.1


@dataclass
class One2345:
    """
    Views from all around, a volume over them, a closed mesh: the default method.

    - ``weights``: ``small``, or the name or the folder of weights that ``lift3d weights`` knows.
    - ``device``: ``cpu`` or ``cuda``; ``max_faces``: bound of the mesh.
    - ``samples``: sets of synthesised views; the shape is their mean, the confidence tells their
      spread. ``views``: in each set; ``coarse``: they are renderings of the coarse volume, and
      the denoiser makes none.
    - ``resolution``: voxels along the longest side of the mesh's volume.
    - ``elevation``: how the camera's elevation is found where neither gravity nor a plane tells.
    """

    max_faces: int = 20_000
    weights: str = 'small'
    device: str = 'cpu'
    samples: int = 1
    views: int = 8
    coarse: bool = False
    resolution: int = 96
    elevation: ElevationSettings = field(default_factory=ElevationSettings)
    _model: Any = field(default=None, repr=False, compare=False)

    def load(self) -> None:
        """
        Load the networks.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``BAD_REQUEST`` for a
        device that is not there.
        """
        if self._model is not None:
            return
        from lift3d_ros.weights import store

        # Where they are is known sooner than torch is imported.
        folder = store.find(self.weights)
        store.check(folder)
        import torch

        from lift3d_ros.surface.small_model import SmallReconstructor

        if self.device == 'cuda' and not torch.cuda.is_available():
            raise LiftError(
                ErrorCode.BAD_REQUEST, 'No CUDA device is available; choose the device cpu.'
            )
        self._model = SmallReconstructor(folder, self.device, self.samples)

    def unload(self) -> None:
        """Free what ``load`` took."""
        self._model = None

    def lift(
        self,
        view: ObjectView,
        rng: np.random.Generator,
        progress: Progress,
        further: Sequence[FurtherView] = (),
    ) -> Shape:
        """
        Return the shape of the object in the view, and in the ``further`` ones where there are.

        Raises ``LiftError``: ``NO_DEPTH_IN_MASK``, ``ELEVATION_UNKNOWN``, ``NO_SURFACE``,
        ``CANCELLED``, ``TIMEOUT``, ``BAD_REQUEST`` for a further view that contradicts another.
        """
        return self.lift_with(view, None, rng, progress, further)

    def lift_with(
        self,
        view: ObjectView,
        given: ViewSource | None,
        rng: np.random.Generator,
        progress: Progress,
        further: Sequence[FurtherView] = (),
    ) -> Shape:
        """
        Return the shape of the object in the view, from views that are ``given``.

        They take the place of the synthesised ones; None is ``lift``. Where the solid that the
        networks believe and the views contradict each other, because a view shows something else
        or its pose is wrong, the confidence in what no camera measured falls: it is multiplied by
        ``trust(silhouette_agreement(...))``, which is 1 for the agreement that is usual.

        Raises ``LiftError`` as ``lift``, and ``BAD_REQUEST`` for views of another form.
        """
        from lift3d_ros.surface.small_model import view_plan

        with progress.stage('observe', 0.05):
            seen = observe(view)
            support = find_support(seen, view.frame.gravity, rng)
            seen = reconcile(seen, support)
            others = gather(view, seen, support, further)
        with progress.stage('elevation', 0.1):
            view, elevation = self._upright(view, support)
            canonical = canonical_frame(view, elevation.degrees)
        # The networks know an occluder by its depth.
        told = with_occluder_depth(view, seen)
        observed = self._model.observe(
            told, canonical, elevation.source != 'estimated', progress
        )
        poses, pictures = view_plan(self.views), None
        if given is not None:
            one, poses = given(canonical)
            pictures = one[None]
        elif self.views:
            pictures = self._model.synthesize(
                observed, poses, int(rng.integers(2**31)), self.coarse, progress
            )
        # What a small model draws tells the colours of what a sensor measured, not its shape; only
        # several sets tell by how much that may differ.
        drawn = given is None and self.samples == 1
        solid = self._model.field(
            observed, as_further(others), None if drawn and canonical.metric else pictures, poses,
            progress,
        )
        with progress.stage('mesh', 0.85):
            vertices, faces, voxel = self._mesh(solid, seen, support, canonical, others)
        with progress.stage('colour', 1.0):
            at = transform(canonical.canonical_from_camera, vertices)
            guess, shown = solid.color_at(at), None
            if pictures is not None:
                normals = Mesh(at.astype(np.float32), faces, guess).vertex_normals()
                tolerance = 3.0 * voxel / canonical.scale
                guess, shown = view_colors(at, normals, pictures, poses, guess, tolerance)
            # The networks learned from views in the light of the scene, but not from the exposure
            # and the white balance of a camera.
            colors, measured = paint(
                seen, [], vertices, 1.5 * voxel, guess, match_exposure=True, shown=shown
            )
            mesh = Mesh(vertices, faces, colors)
            colors, measured, certainty = paint_further(
                Sighting(seen, view, np.eye(4)), others, mesh, measured, 1.5 * voxel
            )
            mesh = Mesh(vertices, faces, colors)
            confidence = certainty * _confidence(solid, mesh, canonical, measured)
            if pictures is not None:
                factor = trust(silhouette_agreement(solid, pictures, poses))
                confidence = np.where(measured, confidence, np.float32(factor) * confidence)
            if seen.depth is None:
                # Without its size the place of nothing is known; what is left is how sure the
                # shape is.
                confidence = np.float32(_WITHOUT_DEPTH) * confidence
            if view.truncated:
                # What lies beyond the border of the image was in no picture that was learned.
                confidence = np.where(measured, confidence, np.float32(0.6) * confidence)
        uncertainty = uncertainty_of_solid(solid, canonical.scale, voxel)
        shape = _place(mesh, canonical, elevation, confidence, measured, uncertainty)
        if observed.length is None:
            return shape
        # The network of depth looks for the length itself, with a view to nothing else; the solid
        # has not been cut yet, nor been thickened where it is improbable.
        length = float(np.sqrt(observed.length * solid.longest_side(0.5)))
        middle = float(canonical.T_camera_object[2, 3]) / canonical.scale
        return replace(shape, length_over_depth=length / middle)

    def _upright(
        self, view: ObjectView, support: Support
    ) -> tuple[ObjectView, Elevation]:
        """Return the view with the vertical that gravity or the plane tells, and its elevation."""
        source = support.source
        if source == 'assumed':
            return view, find_elevation(view, self.elevation, self._model.learned_elevation, None)
        told = replace(view, frame=replace(view.frame, gravity=-support.up))
        degrees = told.elevation()
        assert degrees is not None, 'the vertical is known'
        return told, Elevation(degrees, 1.0, source, source)

    def _mesh(
        self,
        solid: Solid,
        seen: Observation,
        support: Support,
        canonical: CanonicalFrame,
        others: Sequence[Sighting] = (),
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], float]:
        """Return vertices in the optical frame, faces, and the voxel's edge, metres."""
        T = canonical.T_camera_object
        corners = solid.bounds(_LEAST)
        assert corners is not None, 'the networks see a solid'
        low, high = (canonical.scale * corner for corner in corners)
        points = all_points(seen, others)
        if len(points):
            local = transform(invert(T), points)
            low, high = np.minimum(low, local.min(axis=0)), np.maximum(high, local.max(axis=0))
        measured = local if len(points) else np.zeros((0, 3))
        sill = _sill(solid, seen, support, canonical, measured)
        if sill is not None:
            low[2] = min(low[2], sill[1])
        if support.offset is not None:
            low[2] = max(low[2], -float(support.height(T[None, :3, 3])[0]))
        sides = high - low
        size = float(sides.max())
        coarsest = size / self.resolution
        # What is flat or long has fewer voxels in its box, which may then be finer.
        evenly = float(np.cbrt(sides.prod() / (_FILLED * self.resolution**3)))
        voxel = float(np.clip(evenly, 0.5 * coarsest, coarsest))
        low, high = low - 2.0 * voxel, high + 2.0 * voxel
        band = 2.0 * solid.voxel * canonical.scale
        skin = max(SKIN * size, _THINNEST * voxel)
        levels = None if seen.depth is not None else _ray_levels(solid, seen, canonical)

        def evaluate(local: Array, least: float) -> NDArray[np.float32]:
            camera = transform(T, local)
            if sill is not None:
                # Upright down to the plane, as far as nothing was seen there.
                local = local.copy()
                np.maximum(local[:, 2], sill[0], out=local[:, 2])
            believed = solid.probability_at(local / canonical.scale)
            # Near one half a probability falls from 0.8 to 0.2 over about a voxel and a half.
            level = np.float32(least) if levels is None else levels(camera)
            guess = np.float32(band) * np.clip(2.0 * (believed - level), -1.0, 1.0)
            guess = cut(others, camera, guess, skin)
            return constrain(
                seen, support, camera, guess, skin, _THINNEST_ON_PLANE * voxel
            )

        best, held = None, -1.0
        # What no camera of several saw through is more probably solid than the networks, which
        # are not told the other depths, believe.
        for least in _LEVELS[1:] if len(others) > 1 else _LEVELS:
            values = sample_refined(partial(evaluate, least=least), low, high, voxel)
            # Less than a voxel of blur takes the steps out of the intersections' edges. How deep
            # a place lies beyond a voxel is not told: it would outweigh what is thin beside it.
            values = ndimage.gaussian_filter(values.clip(-voxel, voxel), 0.7, mode='nearest')
            vertices, faces = extract_surface(values, low, voxel, self.max_faces)
            share = _held(local, vertices, faces, coarsest) if len(points) else 1.0
            if share > held + _MORE:
                best, held = (vertices, faces), share
            if held > _ENOUGH:
                break
        if best is None or held < _HELD:
            raise LiftError(
                ErrorCode.NO_SURFACE,
                'The surface found is a fragment of what the camera measured; is the depth '
                'registered to the image, and all of the mask one object?',
            )
        return transform(T, best[0]).astype(np.float32), best[1], coarsest


def _sill(
    solid: Solid,
    seen: Observation,
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


def _held(
    points: Array, vertices: NDArray[np.float32], faces: NDArray[np.int32], voxel: float
) -> float:
    """Return which share of the readings (n, 3) lies at the surface."""
    chosen = points[:: max(1, len(points) // 2000)]
    # Vertices alone are far apart where the faces are few.
    mesh = Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))
    face, weights = mesh.sample(_SPREAD, np.random.default_rng(0))
    between = np.einsum('ijk,ij->ik', vertices[faces[face]], weights)
    distance, _ = cKDTree(np.concatenate([vertices, between])).query(chosen)
    return float((distance < _AT_SURFACE * voxel).mean())


def _ray_levels(
    solid: Solid, seen: Observation, canonical: CanonicalFrame
) -> Callable[[Array], NDArray[np.float32]]:
    """
    Return the probability from which on points (n, 3) of the optical frame count as inside.

    It is one half, but for rays through the mask on which no place is as probable: something on
    them is solid, and the most probable place is the best guess. Without it, what is thin or may
    lie at many depths would be missing from every one of them.
    """
    side = max(seen.mask.shape)
    stride = -(-side // _RAYS)
    rays = seen.camera.rays()[::stride, ::stride]
    middle = transform(canonical.camera_from_canonical, solid.centre[None])[0]
    half = 0.87 * solid.side * canonical.scale
    depths = np.linspace(max(middle[2] - half, 0.05 * half), middle[2] + half, _RAYS)
    points = rays[:, :, None] * depths[:, None]
    most = solid.probability_at(
        transform(canonical.canonical_from_camera, points.reshape(-1, 3))
    ).reshape(points.shape[:3]).max(axis=2)
    level = np.clip(_RAY_SHARE * most, _LEAST_LEVEL, 0.5).astype(np.float32)
    level = np.where(seen.mask[::stride, ::stride], level, np.float32(0.5))

    def at(camera: Array) -> NDArray[np.float32]:
        u, v, _ = ((a / stride).astype(np.float32) for a in seen.camera.project(camera))
        return sample(level, u, v)

    return at


def _confidence(
    solid: SolidField,
    mesh: Mesh,
    canonical: CanonicalFrame,
    observed: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """
    Return how probably each vertex lies within 1 % of the diagonal of the true surface, (n,).

    The surface is between two places on a normal if one is inside and the other is not: the
    probability of that is what the field falls by from one to the other.
    """
    vertices = transform(canonical.canonical_from_camera, mesh.vertices)
    normals = mesh.vertex_normals().astype(np.float64) @ canonical.T_camera_object[:3, :3]
    reach = 0.01 * float(np.linalg.norm(np.ptp(vertices, axis=0)))

    def fall(distance: float) -> Floats:
        inside = solid.probability_at(vertices - distance * normals)
        outside = solid.probability_at(vertices + distance * normals)
        return np.clip(inside - outside, 0.0, 1.0)

    # The grid is coarser than 1 %: what falls over a voxel to each side is shared out.
    wide = max(reach, solid.voxel)
    guessed = np.interp(fall(wide) * (reach / wide), _BELIEVED, _PROVED)
    return np.where(observed, np.float32(OBSERVED), guessed).astype(np.float32)


def _place(
    mesh: Mesh,
    canonical: CanonicalFrame,
    elevation: Elevation,
    confidence: NDArray[np.float32],
    observed: NDArray[np.bool_],
    uncertainty: BoxUncertainty,
) -> Shape:
    """Return the shape with its object frame, from the mesh in the optical frame."""
    tilt = np.radians(max(elevation.stddev, 1.0))
    frame = object_frame(mesh, canonical.T_camera_object, uncertainty, tilt)
    return Shape(
        mesh=frame.mesh,
        T_camera_object=frame.T_camera_object,
        pose_covariance=frame.covariance,
        confidence=confidence,
        observed=observed,
        scale_source='depth' if canonical.metric else 'unknown',
        scale_stddev=frame.scale_stddev if canonical.metric else 1.0,
        elevation=canonical.elevation,
        elevation_source=elevation.source,
        method='one2345',
    )
