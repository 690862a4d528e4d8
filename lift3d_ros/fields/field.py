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
The result of a method: a field with its frame and calibration.

A method returns a ``Reconstruction``. The steps after it are the same for every method:
``meshing.mesh_extraction.extract_mesh``, ``meshing.scoring.color_and_score`` and
``placement.place.place``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.shape import Mesh


class Field(Protocol):
    """Occupancy and colour over a part of canonical space."""

    @property
    def centre(self) -> Array:
        """Centre (3,) of the cube that contains the field, canonical units."""

    @property
    def side(self) -> float:
        """Edge of that cube, canonical units; the occupancy outside of it is 0."""

    @property
    def voxel(self) -> float:
        """Length over which the occupancy decreases at a surface, canonical units."""

    def occupancy(self, points: Floats) -> NDArray[np.float32]:
        """Return the probability of being inside the object, (n,), at canonical points (n, 3)."""

    def colors(self, points: Floats) -> NDArray[np.uint8] | None:
        """Return uint8 RGB (n, 3) at canonical points (n, 3); None for a field without colour."""

    def bounds(self, level: float) -> tuple[Array, Array] | None:
        """Return the corners (3,) of the box of occupancy >= ``level``; None if it is empty."""


@dataclass(frozen=True, eq=False)
class SynthesizedViews:
    """
    Views from a model, or given views that replace them.

    - ``images``: uint8 RGBA (sets, n, h, h, 4) on white, with the camera of Zero-1-to-3.
    - ``poses``: (n, 4, 4), optical frames in canonical coordinates, the same for all sets.
    """

    images: NDArray[np.uint8]
    poses: Array


@dataclass(frozen=True, eq=False)
class BoxUncertainty:
    """Standard deviations (3,) in metres of the centre and the sides of an upright box."""

    centre: Array
    sides: Array


class Calibration(Protocol):
    """The accuracy of a method's surface, measured on objects with known shape."""

    def confidence(
        self, mesh: Mesh, observed: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """
        Return the confidence (n,) of the vertices of a mesh, 0 to 1.

        It is the probability that a vertex lies within 1 % of the diagonal of the true surface.
        ``mesh`` is in the reference optical frame, metres; ``observed`` (n,) marks the vertices
        that a camera measured.
        """

    def box_uncertainty(
        self, mesh: Mesh, observed: NDArray[np.bool_], voxel: float
    ) -> BoxUncertainty:
        """Return the uncertainty of the mesh's upright box; ``voxel`` in metres."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """
    An object as a method reconstructs it.

    - ``field``: occupancy and colour in canonical coordinates.
    - ``canonical``: the canonical frame in the optical frame of the reference view.
    - ``calibration``: computes confidence and uncertainty.
    - ``elevation_source``: ``gravity``, ``plane``, ``estimated`` or ``assumed``;
      ``tilt_stddev``: of the vertical, degrees.
    - ``resolution``: voxels along the longest side of the mesh's volume.
    - ``min_thickness``: thickness kept behind the measured surface, as a share of the length of
      the object.
    - ``views``: the synthesised views, or None.
    - ``symmetries``: sets (k, 4, 4) of motions of the reference optical frame that map the object
      onto itself, the most plausible set first: they map the colours of the observed surface to
      unobserved surface.
    - ``match_exposure``: whether the colours of the field are adjusted to the exposure of the
      image.
    - ``length_over_depth``: longest side of the object over the depth of its centre, predicted
      without depth; None without a prediction.
    - ``notes``: sentences for ``Shape.notes``.
    """

    field: Field
    canonical: CanonicalFrame
    calibration: Calibration
    elevation_source: str
    tilt_stddev: float
    resolution: int
    min_thickness: float = 0.03
    views: SynthesizedViews | None = None
    symmetries: tuple[Array, ...] = ()
    match_exposure: bool = False
    length_over_depth: float | None = None
    notes: tuple[str, ...] = ()
