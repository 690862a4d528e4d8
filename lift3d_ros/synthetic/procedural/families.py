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

"""Procedural objects by their seed, and the families that they are drawn from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural.household import block
from lift3d_ros.synthetic.procedural.household import carton
from lift3d_ros.synthetic.procedural.household import fruit
from lift3d_ros.synthetic.procedural.household import shoe
from lift3d_ros.synthetic.procedural.tools import tool
from lift3d_ros.synthetic.procedural.toys import toy
from lift3d_ros.synthetic.procedural.vessels import bottle
from lift3d_ros.synthetic.procedural.vessels import bowl
from lift3d_ros.synthetic.procedural.vessels import can
from lift3d_ros.synthetic.procedural.vessels import jar
from lift3d_ros.synthetic.procedural.vessels import mug


def procedural_object(seed: int, family: str | None = None) -> Mesh:
    """
    Return the object of a seed; ``family`` is one of ``FAMILIES``, by default ``family_of``.

    Raises ``ValueError`` for an unknown family.
    """
    if family is None:
        family = family_of(seed)
    if family not in FAMILIES:
        raise ValueError(f'there is no family "{family}"; choose one of {", ".join(FAMILIES)}')
    return closed_object(family, FAMILIES[family], [seed, list(FAMILIES).index(family)])


def closed_object(
    family: str, make: Callable[[np.random.Generator], Mesh], seeds: list[int]
) -> Mesh:
    """
    Return the first object that ``make`` makes closed, in one piece and of a household size.

    Raises ``ValueError`` with the name of the family if eight attempts make none.
    """
    for attempt in range(8):
        mesh = _stand(make(np.random.default_rng([*seeds, attempt])))
        # Simplification can split a thin part; the next attempt draws another object.
        if mesh.is_watertight() and _pieces(mesh) == 1 and _in_range(mesh):
            return mesh
    raise ValueError(f'seed {seeds[0]} makes no closed {family}')


def family_of(seed: int) -> str:
    """Return the family of a seed."""
    names = list(FAMILIES)
    return names[int(np.random.default_rng([seed, 0xFA]).integers(len(names)))]


#: The families by name; the families of seeds are evenly distributed.
FAMILIES: dict[str, Callable[[np.random.Generator], Mesh]] = {
    make.__name__: make
    for make in (bottle, can, jar, bowl, mug, carton, block, fruit, tool, toy, shoe)
}


def _stand(mesh: Mesh) -> Mesh:
    """Return the mesh with its lowest point at z = 0 and its centre above the origin."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    shift = np.array([(low[0] + high[0]) / 2.0, (low[1] + high[1]) / 2.0, low[2]], np.float32)
    return Mesh(mesh.vertices - shift, mesh.faces, mesh.colors)


def _pieces(mesh: Mesh) -> int:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b = mesh.faces[:, [0, 1]].ravel(), mesh.faces[:, [1, 2]].ravel()
    count = len(mesh.vertices)
    graph = coo_matrix((np.ones(len(a), bool), (a, b)), shape=(count, count))
    return int(connected_components(graph, directed=False, return_labels=False))


def _in_range(mesh: Mesh) -> bool:
    longest = float(np.ptp(mesh.vertices, axis=0).max())
    return 0.05 <= longest <= 0.35 and mesh.volume() > 0.0
