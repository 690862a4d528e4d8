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

"""Walls that look like the table, where gravity is not known."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.observation.observed_object import observe
from lift3d_ros.observation.request import LiftRequest

CAMERA = Camera.from_fov(240, 200, 36.0)


def solid(extents, centre, color):
    """Return a box."""
    box = trimesh.creation.box(extents)
    box.apply_translation(centre)
    colors = np.tile(np.array(color, np.uint8), (len(box.vertices), 1))
    return Mesh(box.vertices.astype(np.float32), box.faces.astype(np.int32), colors)


BOX = solid((0.06, 0.08, 0.12), (0.0, 0.0, 0.06), (190, 60, 50))
TABLE = solid((3.0, 3.0, 0.02), (0.0, 0.0, -0.01), (120, 120, 125))
WALL = solid((0.02, 4.0, 4.0), (-0.06, 0.0, 1.99), (200, 200, 190))
FAR_WALL = solid((0.02, 8.0, 8.0), (-2.0, 0.0, 0.0), (200, 200, 190))


def notes_of(eye, *meshes, gravity=False):
    """Return the notes on the observation of the box from a place."""
    T = look_at(eye, (0.0, 0.0, 0.06))
    drawn = Raycaster([BOX, *meshes]).render(CAMERA, T)
    noise = 0.001 * np.random.default_rng(0).standard_normal(drawn.depth.shape)
    depth = np.where(drawn.depth > 0.0, drawn.depth + noise, 0.0).astype(np.float32)
    frame = Frame(drawn.image, CAMERA, depth, -T[2, :3] if gravity else None)
    mask = drawn.instance == 0
    return observe(crop_object(frame, mask), LiftRequest(mask), np.random.default_rng(0)).notes


@pytest.mark.parametrize('meshes', [(TABLE, WALL), (FAR_WALL,)])
def test_a_wall_that_may_be_taken_for_the_table_has_a_note(meshes):
    """A level camera sees a wall as a camera above sees a table; gravity tells them apart."""
    assert len(notes_of((0.6, 0.0, 0.14), *meshes)) == 1
    assert notes_of((0.6, 0.0, 0.14), *meshes, gravity=True) == ()


@pytest.mark.parametrize('eye, turn', [((0.6, 0.0, 0.14), 45.0), ((0.5, 0.0, 0.4), 0.0)])
def test_a_wall_from_the_side_or_from_above_has_a_note(eye, turn):
    """The normal of a table points up in the image, unless the camera is rolled."""
    around_z = trimesh.transformations.rotation_matrix(np.radians(turn), [0.0, 0.0, 1.0])
    assert len(notes_of(eye, FAR_WALL.transformed(around_z))) == 1


@pytest.mark.parametrize('eye', [(0.05, 0.0, 0.7), (0.5, 0.0, 0.4)])
def test_a_table_seen_from_above_has_no_note(eye):
    """Most objects are on a table; also where a wall bounds it."""
    assert notes_of(eye, TABLE) == ()
    assert notes_of(eye, TABLE, WALL) == ()
