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

"""Collision geometry keeps its bound, covers the object and stays closed."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.solid import Solid
from lift3d_ros.robot.collision import collision_meshes
from lift3d_ros.robot.collision import GEOMETRIES
from lift3d_ros.synthetic.procedural import procedural_object


@pytest.fixture(scope='module')
def cup() -> Mesh:
    outer = trimesh.creation.cylinder(0.04, 0.1, sections=64)
    inner = trimesh.creation.cylinder(0.035, 0.1, sections=64).apply_translation([0, 0, 0.01])
    made = trimesh.boolean.difference([outer, inner], engine='manifold').subdivide_to_size(0.01)
    count = len(made.vertices)
    return Mesh(made.vertices.astype(np.float32), made.faces.astype(np.int32),
                np.zeros((count, 3), np.uint8))


@pytest.mark.parametrize('bound', [32, 100, 1000])
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_the_geometry_keeps_the_bound_and_is_closed(cup, geometry, bound):
    meshes = collision_meshes(cup, geometry, bound)
    assert sum(len(mesh.vertices) for mesh in meshes) <= bound
    assert all(mesh.is_watertight() and mesh.volume() > 0.0 for mesh in meshes)
    low = np.min([mesh.vertices.min(axis=0) for mesh in meshes], axis=0)
    high = np.max([mesh.vertices.max(axis=0) for mesh in meshes], axis=0)
    # A hull of few corners is smaller than a round object.
    np.testing.assert_allclose(low, cup.vertices.min(axis=0), atol=0.004)
    np.testing.assert_allclose(high, cup.vertices.max(axis=0), atol=0.004)


def test_the_hull_fills_the_cup_and_the_others_do_not(cup):
    within = np.array([[0.0, 0.0, 0.03]])
    filled = {
        geometry: any(
            Solid(mesh).contains(within)[0] for mesh in collision_meshes(cup, geometry, 1000))
        for geometry in GEOMETRIES
    }
    assert filled == {'mesh': False, 'hull': True, 'convex_parts': False}


def test_a_small_mesh_stays_as_it_is():
    can = procedural_object(0, 'can')
    few = len(can.vertices)
    assert collision_meshes(can, 'mesh', max(few, 32))[0] is can


@pytest.mark.parametrize(('geometry', 'bound'), [('sphere', 100), ('mesh', 31)])
def test_other_geometry_and_lower_bounds_are_refused(cup, geometry, bound):
    with pytest.raises(ValueError):
        collision_meshes(cup, geometry, bound)
