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


"""Solids of known measures, and folders of them, for the tests of the benchmark."""

from __future__ import annotations

import numpy as np
import trimesh

from lift3d_ros.geometry.shape import Mesh


def mesh_of(solid, color=(180, 120, 60)):
    """Return a trimesh solid as a mesh of one colour."""
    colors = np.tile(np.array(color, np.uint8), (len(solid.vertices), 1))
    return Mesh(solid.vertices.astype(np.float32), solid.faces.astype(np.int32), colors)


def sphere(radius=0.05, middle=(0.0, 0.0, 0.0)):
    """Return a finely divided sphere."""
    return mesh_of(trimesh.creation.icosphere(5, radius).apply_translation(middle))


def box(size=(0.1, 0.1, 0.1), middle=(0.0, 0.0, 0.0)):
    """Return a box along the axes."""
    return mesh_of(trimesh.creation.box(size).apply_translation(middle))


def wedge():
    """Return a solid that looks like itself from no other side."""
    corners = [
        [-0.05, -0.03, -0.02], [0.06, -0.03, -0.02], [0.06, 0.01, -0.02], [-0.05, 0.05, -0.02],
        [0.05, -0.03, 0.06], [0.06, 0.01, 0.05], [-0.05, 0.0, 0.0],
    ]
    return mesh_of(trimesh.Trimesh(corners).convex_hull.subdivide())


def turned(mesh, degrees, axis=(0.0, 0.0, 1.0)):
    """Return the mesh turned about an axis through the origin."""
    return mesh.transformed(trimesh.transformations.rotation_matrix(np.radians(degrees), axis))


def write_objects(folder, **meshes):
    """Write meshes as a folder of objects without splits; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, mesh in meshes.items():
        mesh.export(folder / f'{name}.ply')
    return folder
