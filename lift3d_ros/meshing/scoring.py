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

"""Colours and confidence of the vertices of a mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.mesh_extraction import ExtractedMesh
from lift3d_ros.meshing.vertex_colors import color_from_reference
from lift3d_ros.meshing.vertex_colors import color_from_sources
from lift3d_ros.meshing.vertex_colors import color_from_synthesized
from lift3d_ros.observation.observed_object import ObservedObject

#: Largest distance of a measured vertex from a reading, voxels.
MEASURED_VOXELS = 1.5

#: Factor of the confidence without measured depth: no position is known then, and the confidence
#: describes only the shape.
CONFIDENCE_WITHOUT_DEPTH = 0.3

#: Factor of the confidence of unobserved surface if the border of the image cuts the object: the
#: calibrations have no such views.
CONFIDENCE_TRUNCATED = 0.6


@dataclass(frozen=True, eq=False)
class ScoredMesh:
    """
    A mesh with colours and vertex confidence.

    - ``mesh``: reference optical frame, metres; ``voxel``: of its extraction, metres.
    - ``confidence``: float32 (n,), 0 to 1; ``observed``: bool (n,), measured by a camera.
    - ``notes``: sentences for ``Shape.notes``.
    """

    mesh: Mesh
    voxel: float
    confidence: NDArray[np.float32]
    observed: NDArray[np.bool_]
    notes: tuple[str, ...] = ()


def color_and_score(
    extracted: ExtractedMesh, reconstruction: Reconstruction, obs: ObservedObject
) -> ScoredMesh:
    """
    Return a mesh with vertex colours and vertex confidence.

    A measured vertex has the colour of the images. Other vertices have, in order of preference,
    colours by symmetry, of the synthesised views, of the field, or of their neighbours.
    """
    vertices, faces = extracted.vertices, extracted.faces
    canonical, views = reconstruction.canonical, reconstruction.views
    tolerance = MEASURED_VOXELS * extracted.voxel
    points = transform(canonical.canonical_from_camera, vertices)
    predicted, visible = reconstruction.field.colors(points), None
    if views is not None and predicted is not None:
        normals = Mesh(points.astype(np.float32), faces, predicted).vertex_normals()
        predicted, visible = color_from_synthesized(
            points, normals, views.images, views.poses, predicted,
            3.0 * extracted.voxel / canonical.scale,
        )
    colors, observed = color_from_reference(
        obs.observation, reconstruction.symmetries, vertices, tolerance, predicted,
        match_exposure=reconstruction.match_exposure, shown=visible,
    )
    colors, observed, certainty = color_from_sources(
        obs.reference, obs.sources, Mesh(vertices, faces, colors), observed, tolerance
    )
    mesh = Mesh(vertices, faces, colors)
    confidence = certainty * reconstruction.calibration.confidence(mesh, observed)
    if obs.observation.depth is None:
        confidence = np.float32(CONFIDENCE_WITHOUT_DEPTH) * confidence
    if obs.view.truncated:
        confidence = np.where(
            observed, confidence, np.float32(CONFIDENCE_TRUNCATED) * confidence
        )
    return ScoredMesh(
        mesh, extracted.voxel, confidence.astype(np.float32), observed, extracted.notes
    )
