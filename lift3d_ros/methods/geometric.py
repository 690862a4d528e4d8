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

"""The method without a network: depth, mask and symmetry to a closed mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.fields.symmetry import Hypothesis
from lift3d_ros.fields.symmetry import Plausibility
from lift3d_ros.fields.symmetry import REVOLUTION
from lift3d_ros.fields.symmetry import rotations
from lift3d_ros.fields.symmetry import weigh
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.carving import carve
from lift3d_ros.meshing.carving import search_box
from lift3d_ros.meshing.carving import SearchBox
from lift3d_ros.meshing.isosurface import extract_surface
from lift3d_ros.meshing.vertex_colors import color_from_reference
from lift3d_ros.meshing.vertex_colors import color_from_sources
from lift3d_ros.meshing.vertex_confidence import vote_confidence
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.mask_refinement import refine_mask
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.plane_mask import plane_notes
from lift3d_ros.observation.registered_view import RegisteredView
from lift3d_ros.observation.registration import register_views
from lift3d_ros.observation.support import find_support
from lift3d_ros.observation.support import Support
from lift3d_ros.placement.object_frame import object_frame
from lift3d_ros.placement.object_frame import uncertainty_of_guess
from lift3d_ros.progress import Progress


@dataclass(frozen=True)
class Geometric:
    """
    Depth, mask and the most plausible symmetry to a closed mesh; no weights, one CPU core.

    - ``resolution``: voxels along the longest side of the volume that is searched.
    - ``max_faces``: bound of the mesh.
    - ``hypotheses``: how many of the most plausible symmetries vote on the far side.
    """

    max_faces: int = 20_000
    resolution: int = 80
    hypotheses: int = 24
    plausibility: Plausibility = Plausibility()

    def load(self) -> None:
        """Nothing to load."""

    def unload(self) -> None:
        """Nothing to free."""

    def lift(
        self,
        view: ObjectView,
        rng: np.random.Generator,
        progress: Progress,
        further: Sequence[SourceView] = (),
    ) -> Shape:
        """
        Return the shape of the object in the view.

        The symmetries are weighed by that view alone; ``further`` ones cut and colour what comes
        of them, and what they measured stands. Raises ``LiftError``: ``NO_DEPTH_IN_MASK``,
        ``NO_SURFACE``, ``CANCELLED``, ``TIMEOUT``, ``BAD_REQUEST`` for a further view that
        contradicts another.
        """
        with progress.stage('observe', 0.1):
            seen = observe(view)
        with progress.stage('support', 0.2):
            support = find_support(seen, view.frame.gravity, rng)
            doubts = plane_notes(seen, support)
            seen = refine_mask(seen, support, wide=False)
            seen, others = register_views(view, seen, support, further)
        with progress.stage('symmetry', 0.5):
            box = search_box(seen, support)
            hypotheses = self._hypotheses(seen, box, rng)
        with progress.stage('volume', 0.8):
            solid, corner, voxel = carve(
                seen, support, hypotheses, box, self.resolution, progress, others
            )
        with progress.stage('mesh', 0.9):
            vertices, faces = extract_surface(solid, corner, voxel, self.max_faces)
            in_camera = transform(box.T_camera_up, vertices).astype(np.float32)
        with progress.stage('colour', 1.0):
            diagonal = float(np.linalg.norm(np.ptp(vertices, axis=0)))
            colors, observed = color_from_reference(seen, hypotheses, in_camera, 1.5 * voxel)
            colors, observed, certainty = color_from_sources(
                RegisteredView(seen, view, np.eye(4)),
                others,
                Mesh(in_camera, faces, colors),
                observed,
                1.5 * voxel,
            )
            confidence = certainty * vote_confidence(
                seen, support, hypotheses, in_camera, observed, 0.02 * diagonal
            )
            if seen.depth is None:
                # One guess agrees with itself; an outline alone bears out little of it.
                confidence = np.float32(0.3) * confidence
            if view.truncated:
                # What lies beyond the border of the image, no hypothesis has accounted for.
                confidence = np.where(observed, confidence, np.float32(0.6) * confidence)
        mesh = Mesh(in_camera, faces, colors)
        return _place(seen, support, box, mesh, confidence, observed, voxel, doubts)

    def _hypotheses(
        self, seen: ObjectObservation, box: SearchBox, rng: np.random.Generator
    ) -> list[Hypothesis]:
        """Return what the far side may be like, with weights."""
        if seen.depth is not None:
            return weigh(
                seen,
                box.T_camera_up,
                box.area,
                box.cells,
                box.cell_volume,
                rng,
                self.plausibility,
                self.hypotheses,
            )
        # An outline alone tells no symmetry; a solid of revolution is the guess that neither
        # exaggerates nor forgets a side.
        turns = box.T_camera_up @ rotations(0.0, 0.0, REVOLUTION) @ invert(box.T_camera_up)
        return [Hypothesis('revolution', turns, np.inf, 1.0)]


def _place(
    seen: ObjectObservation,
    support: Support,
    box: SearchBox,
    mesh: Mesh,
    confidence: NDArray[np.float32],
    observed: NDArray[np.bool_],
    voxel: float,
    notes: tuple[str, ...],
) -> Shape:
    """Return the shape with its object frame, from the mesh in the optical frame."""
    tilt = np.radians({'plane': 1.0, 'gravity': 1.0}.get(support.source, 15.0))
    upright = box.T_camera_up
    uncertainty = uncertainty_of_guess(mesh, upright, observed, voxel)
    frame = object_frame(mesh, upright, uncertainty, tilt)
    return Shape(
        mesh=frame.mesh,
        T_camera_object=frame.T_camera_object,
        pose_covariance=frame.covariance,
        confidence=confidence,
        observed=observed,
        scale_source='unknown' if seen.depth is None else 'depth',
        scale_stddev=1.0 if seen.depth is None else frame.scale_stddev,
        elevation=support.elevation(frame.T_camera_object[:3, 3]),
        elevation_source=support.source,
        method='geometric',
        notes=notes,
    )
