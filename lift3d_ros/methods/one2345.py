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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.elevation.estimate import Elevation
from lift3d_ros.elevation.estimate import ElevationSettings
from lift3d_ros.elevation.estimate import find_elevation
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.occupancy import SolidField
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.mesh_extraction import extract_mesh
from lift3d_ros.meshing.vertex_colors import color_from_reference
from lift3d_ros.meshing.vertex_colors import color_from_sources
from lift3d_ros.meshing.vertex_colors import color_from_synthesized
from lift3d_ros.meshing.vertex_confidence import agreement_factor
from lift3d_ros.meshing.vertex_confidence import OBSERVED_CONFIDENCE
from lift3d_ros.meshing.vertex_confidence import silhouette_agreement
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.cleaning import with_occluder_depth
from lift3d_ros.observation.levelling import Levelling
from lift3d_ros.observation.mask_refinement import refine_mask
from lift3d_ros.observation.plane_mask import plane_notes
from lift3d_ros.observation.registered_view import as_source_views
from lift3d_ros.observation.registered_view import RegisteredView
from lift3d_ros.observation.registration import register_views
from lift3d_ros.observation.support import find_support
from lift3d_ros.observation.support import Support
from lift3d_ros.placement.object_frame import BoxUncertainty
from lift3d_ros.placement.object_frame import object_frame
from lift3d_ros.placement.object_frame import uncertainty_of_solid
from lift3d_ros.progress import Progress

#: Gives pictures (n, h, h, 4), uint8 RGBA on white through the lens of Zero-1-to-3, and their
#: poses (n, 4, 4), optical frames in the canonical frame that it is told.
ViewSource = Callable[[CanonicalFrame], tuple[NDArray[np.uint8], Array]]

#: What the networks' probability of a vertex being right, within 1 % of the diagonal, proved to be
#: worth on 99 scenes of scans of the train split.
_BELIEVED = (0.0, 0.33, 0.39, 0.47, 0.51, 0.58, 0.62, 0.67, 0.74, 1.0)
_PROVED = (0.34, 0.345, 0.41, 0.475, 0.555, 0.655, 0.72, 0.765, 0.80, 0.86)

#: What is left of the confidence where no depth tells the scale; the same as in ``geometric``.
_WITHOUT_DEPTH = 0.3


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

        from lift3d_ros.methods.small_reconstructor import SmallReconstructor

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
        further: Sequence[SourceView] = (),
    ) -> Shape:
        """
        Return the shape of the object in the view, and in the ``further`` ones where there are.

        Raises ``LiftError``: ``NO_DEPTH_IN_MASK``, ``ELEVATION_UNKNOWN``, ``NO_SURFACE``,
        ``CANCELLED``, ``TIMEOUT``, ``BAD_REQUEST`` for a further view that contradicts another.
        """
        level = Levelling.of(view)
        if level is None:
            return self.lift_with(view, None, rng, progress, further)
        return level.undo(
            self.lift_with(level.view(view), None, rng, progress, level.further(further))
        )

    def lift_with(
        self,
        view: ObjectView,
        given: ViewSource | None,
        rng: np.random.Generator,
        progress: Progress,
        further: Sequence[SourceView] = (),
    ) -> Shape:
        """
        Return the shape of the object in the view, from views that are ``given``.

        They take the place of the synthesised ones; None is ``lift``. Where the solid that the
        networks believe and the views contradict each other, because a view shows something else
        or its pose is wrong, the confidence in what no camera measured falls: it is multiplied by
        ``agreement_factor(silhouette_agreement(...))``, 1 for the usual agreement.

        Raises ``LiftError`` as ``lift``, and ``BAD_REQUEST`` for views of another form.
        """
        from lift3d_ros.methods.small_reconstructor import view_plan

        with progress.stage('observe', 0.05):
            seen = observe(view)
            support = find_support(seen, view.frame.gravity, rng)
            doubts = plane_notes(seen, support)
            seen = refine_mask(seen, support)
            seen, others = register_views(view, seen, support, further)
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
            observed, as_source_views(others),
            None if drawn and canonical.metric else pictures, poses, progress,
        )
        with progress.stage('mesh', 0.85):
            found = extract_mesh(
                solid, seen, support, canonical, others, self.resolution, self.max_faces
            )
            vertices, faces, voxel = found.vertices, found.faces, found.voxel
        with progress.stage('colour', 1.0):
            at = transform(canonical.canonical_from_camera, vertices)
            guess, shown = solid.color_at(at), None
            if pictures is not None:
                normals = Mesh(at.astype(np.float32), faces, guess).vertex_normals()
                tolerance = 3.0 * voxel / canonical.scale
                guess, shown = color_from_synthesized(
                    at, normals, pictures, poses, guess, tolerance
                )
            # The networks learned from views in the light of the scene, but not from the exposure
            # and the white balance of a camera.
            colors, measured = color_from_reference(
                seen, [], vertices, 1.5 * voxel, guess, match_exposure=True, shown=shown
            )
            mesh = Mesh(vertices, faces, colors)
            colors, measured, certainty = color_from_sources(
                RegisteredView(seen, view, np.eye(4)), others, mesh, measured, 1.5 * voxel
            )
            mesh = Mesh(vertices, faces, colors)
            confidence = certainty * _confidence(solid, mesh, canonical, measured)
            if pictures is not None:
                factor = agreement_factor(silhouette_agreement(solid, pictures, poses))
                confidence = np.where(measured, confidence, np.float32(factor) * confidence)
            if seen.depth is None:
                # Without its size the place of nothing is known; what is left is how sure the
                # shape is.
                confidence = np.float32(_WITHOUT_DEPTH) * confidence
            if view.truncated:
                # What lies beyond the border of the image was in no picture that was learned.
                confidence = np.where(measured, confidence, np.float32(0.6) * confidence)
        uncertainty = uncertainty_of_solid(solid, canonical.scale, voxel)
        shape = _place(
            mesh,
            canonical,
            elevation,
            confidence,
            measured,
            uncertainty,
            (*doubts, *found.notes),
        )
        if observed.length is None:
            return shape
        # Before the solid is cut, and thickened where it is improbable.
        middle = float(canonical.T_camera_object[2, 3]) / canonical.scale
        return replace(shape, length_over_depth=observed.length / middle)

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
    return np.where(observed, np.float32(OBSERVED_CONFIDENCE), guessed).astype(np.float32)


def _place(
    mesh: Mesh,
    canonical: CanonicalFrame,
    elevation: Elevation,
    confidence: NDArray[np.float32],
    observed: NDArray[np.bool_],
    uncertainty: BoxUncertainty,
    notes: tuple[str, ...],
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
        notes=notes,
    )
