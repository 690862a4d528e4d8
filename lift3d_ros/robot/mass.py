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


"""Mass, centre of mass and inertia of a closed mesh of uniform density."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lift3d_ros.errors import bad_request
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.robot.convex import convex_hull

#: Density of water, kg per cubic metre.
DEFAULT_DENSITY = 1000.0

#: Smallest ratio of the principal second moments of a valid body.
_MIN_MOMENT_RATIO = 1e-9


@dataclass(frozen=True, eq=False)
class MassProperties:
    """
    The mass properties of a body.

    - ``density``: kg per cubic metre; ``mass``: kg.
    - ``center``: (3,), centre of mass, metres in the frame of the mesh.
    - ``inertia``: (3, 3), kg square metres, about the centre, along the axes of that frame;
      positive definite, and its principal moments satisfy the triangle inequality.
    - ``source``: ``mesh``, or ``hull`` if the mesh intersects itself so that its integrals are not
      physical; the integrals of the hull replace them.
    """

    density: float
    mass: float
    center: Array
    inertia: Array
    source: str


def check_density(density: float) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for a density that is not positive and finite."""
    if not (np.isfinite(density) and density > 0.0):
        raise bad_request(
            f'The density is {density}; give a positive number of kg per cubic metre '
            f'({DEFAULT_DENSITY:g} is that of water).')


def mass_properties(mesh: Mesh, density: float = DEFAULT_DENSITY) -> MassProperties:
    """
    Return the mass properties of a closed mesh with ``density`` in kg per cubic metre.

    The integrals over the polyhedron are exact (Eberly, Polyhedral Mass Properties, 2002, as in
    trimesh).

    Raises ``LiftError``: ``BAD_REQUEST`` for a density that is not positive and finite,
    ``NO_SURFACE`` for a mesh without volume.
    """
    check_density(density)
    volume, center, moments = _integrals(mesh)
    source = 'mesh'
    if not _is_body(mesh, volume, center, moments):
        hull_volume, center, moments = _integrals(convex_hull(mesh))
        source = 'hull'
        # The mass is that of the volume of the mesh, if this is positive.
        volume = volume if volume > 0.0 else hull_volume
        moments = moments * (volume / hull_volume)
    return MassProperties(density, density * volume, center, density * moments, source)


def _integrals(mesh: Mesh) -> tuple[float, Array, Array]:
    """Return volume, centre and inertia for the density 1."""
    vertices = mesh.vertices.astype(np.float64)
    origin = (vertices.min(axis=0) + vertices.max(axis=0)) / 2.0
    # Normalised to the size 1 about its centre, so that small objects lose no precision.
    size = max(float(np.linalg.norm(np.ptp(vertices, axis=0))), 1e-12)
    normalised = mesh.to_trimesh()
    normalised.vertices = (vertices - origin) / size
    return (
        float(normalised.volume) * size**3,
        np.asarray(normalised.center_mass, np.float64) * size + origin,
        np.asarray(normalised.moment_inertia, np.float64) * size**5,
    )


def _is_body(mesh: Mesh, volume: float, center: Array, inertia: Array) -> bool:
    """
    Return whether the integrals are physical.

    The second moments of the mass, tr(I) / 2 - I, must be positive definite (Wensing et al.,
    Linear Matrix Inequalities for Physically Consistent Inertial Parameter Identification, 2018).
    """
    if not (volume > 0.0 and np.isfinite(inertia).all()):
        return False
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    if (center < low).any() or (center > high).any():
        return False
    second = np.linalg.eigvalsh(0.5 * np.trace(inertia) * np.eye(3) - inertia)
    return bool(second[0] > _MIN_MOMENT_RATIO * second[2] > 0.0)
