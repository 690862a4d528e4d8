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

"""Depth of what is behind an object, or of another moment, is no surface of the object."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import trimesh

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.observation.observed_object import observe
from lift3d_ros.observation.request import LiftRequest

CAMERA = Camera.from_fov(240, 200, 36.0)
T_TABLE_CAMERA = look_at((0.55, 0.0, 0.42), (0.0, 0.0, 0.06))
ROWS, COLUMNS = np.mgrid[:200, :240]


def painted(mesh, color):
    """Return a mesh of one colour."""
    colors = np.tile(np.array(color, np.uint8), (len(mesh.vertices), 1))
    return Mesh(np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32), colors)


def solid(extents, centre, color=(190, 60, 50)):
    """Return a box."""
    box = trimesh.creation.box(extents)
    box.apply_translation(centre)
    return painted(box, color)


TABLE = solid((3.0, 3.0, 0.02), (0.0, 0.0, -0.01), (120, 120, 125))
BOX = solid((0.06, 0.08, 0.12), (0.0, 0.0, 0.06))


def render(*meshes):
    """Return image, depth with a millimetre of noise, and instances of meshes."""
    drawn = Raycaster(meshes).render(CAMERA, T_TABLE_CAMERA)
    noise = 0.001 * np.random.default_rng(0).standard_normal(drawn.depth.shape)
    depth = np.where(drawn.depth > 0.0, drawn.depth + noise, 0.0).astype(np.float32)
    return drawn.image, depth, drawn.instance


def seen_through(where):
    """Return a frame of the box whose depth is that of what is behind at pixels, and its mask."""
    image, depth, instance = render(BOX, TABLE)
    behind = render(TABLE)[1]
    mask = instance == 0
    depth = np.where(mask & where, behind, depth)
    return Frame(image, CAMERA, depth, -T_TABLE_CAMERA[2, :3]), mask


def patches(share):
    """Return random patches that cover a share of the image."""
    noise = cv2.GaussianBlur(np.random.default_rng(3).standard_normal(ROWS.shape), (0, 0), 6.0)
    return noise > np.quantile(noise, 1.0 - share)


def observed(frame, mask):
    """Return the observation of an object."""
    return observe(crop_object(frame, mask), LiftRequest(mask), np.random.default_rng(0))


def on_box(found):
    """Return the share of the measured points of an observation that are on the box."""
    vertices = Mesh(found.observation.points().astype(np.float32), BOX.faces, BOX.colors)
    points = vertices.transformed(T_TABLE_CAMERA).vertices
    low, high = BOX.vertices.min(axis=0), BOX.vertices.max(axis=0)
    return ((points > low - 0.006) & (points < high + 0.006)).all(axis=1).mean()


def size_off(shape):
    """Return the size of a shape along the table's axes over that of the box, (3,)."""
    vertices = shape.mesh_in_camera().transformed(T_TABLE_CAMERA).vertices
    return np.ptp(vertices, axis=0) / np.ptp(BOX.vertices, axis=0)


@pytest.mark.parametrize('where', [COLUMNS < 120, patches(0.5)])
def test_a_half_transparent_object_keeps_its_size_and_has_a_note(where):
    """The depth camera sees the table through half of the object."""
    frame, mask = seen_through(where)
    found = observed(frame, mask)
    assert len(found.notes) == 1
    assert on_box(found) > 0.95
    shape = Lifter('geometric').lift(frame, mask)
    # 1.300 or 1.303 by the linear algebra of the processor.
    assert (size_off(shape) < 1.35).all()
    assert len(shape.notes) >= 1


def test_small_holes_of_the_object_have_no_note():
    """A few readings of the table inside a mask are no surface, and not worth a note."""
    frame, mask = seen_through((abs(COLUMNS - 118) < 3) & (abs(ROWS - 92) < 8))
    found = observed(frame, mask)
    assert found.notes == ()
    assert on_box(found) > 0.97


@pytest.mark.parametrize(
    'moved', [(0.0, 0.04, 0.0), (0.0, -0.06, 0.0), (-0.07, 0.0, 0.0), (0.05, 0.0, 0.0)]
)
def test_depth_of_another_moment_is_refused_or_has_a_note(moved):
    """The object moves sideways, away or nearer between image and depth."""
    image, _, instance = render(BOX, TABLE)
    depth = render(BOX.transformed(rigid(np.eye(3), np.array(moved))), TABLE)[1]
    mask = instance == 0
    frame = Frame(image, CAMERA, depth, -T_TABLE_CAMERA[2, :3])
    try:
        shape = Lifter('geometric').lift(frame, mask)
    except LiftError as error:
        assert error.code is ErrorCode.NO_DEPTH_IN_MASK
    else:
        assert shape.notes
        # The part of the table in the mask does not become wings.
        assert (size_off(shape) < 1.6).all()


def test_an_object_that_moved_away_keeps_no_table():
    """Where the object stood, the depth shows the table, without a step to its new foot."""
    image, _, instance = render(BOX, TABLE)
    moved = BOX.transformed(rigid(np.eye(3), np.array([-0.07, 0.0, 0.0])))
    depth = render(moved, TABLE)[1]
    found = observed(Frame(image, CAMERA, depth, -T_TABLE_CAMERA[2, :3]), instance == 0)
    points = found.observation.points().astype(np.float32)
    height = Mesh(points, BOX.faces, BOX.colors).transformed(T_TABLE_CAMERA).vertices[:, 2]
    assert (height < 0.004).mean() < 0.05
    assert found.notes


def bowl():
    """Return a bowl with a thin bottom."""
    profile = [(0.0, 0.0), (0.04, 0.0), (0.07, 0.05), (0.066, 0.05), (0.038, 0.003), (0.0, 0.003)]
    return painted(trimesh.creation.revolve(profile, sections=64), (200, 190, 170))


FLAT = {
    'card': solid((0.12, 0.08, 0.002), (0.0, 0.0, 0.001)),
    'bowl': bowl(),
    'laptop': painted(
        trimesh.util.concatenate([
            trimesh.creation.box((0.14, 0.16, 0.008), rigid(np.eye(3), [0.0, 0.0, 0.004])),
            trimesh.creation.box((0.006, 0.16, 0.10), rigid(np.eye(3), [-0.07, 0.0, 0.05])),
        ]),
        (60, 60, 70),
    ),
}


@pytest.mark.parametrize('name', FLAT)
def test_flat_parts_of_an_object_are_surface(name):
    """A card, the bottom of a bowl and the base of a laptop are hardly higher than the table."""
    image, depth, instance = render(FLAT[name], TABLE)
    frame = Frame(image, CAMERA, depth, -T_TABLE_CAMERA[2, :3])
    found = observed(frame, instance == 0)
    assert np.count_nonzero(found.observation.measured) > 0.85 * np.count_nonzero(instance == 0)
    assert not any('behind' in note for note in found.notes)


def test_what_is_seen_through_without_a_plane_is_no_surface():
    """A wall far behind, of which half is seen through an object in the air."""
    wall = solid((0.02, 3.0, 3.0), (-0.25, 0.0, 0.0), (90, 140, 90))
    image, depth, instance = render(BOX, wall)
    behind = render(wall)[1]
    mask = instance == 0
    depth = np.where(mask & patches(0.5), behind, depth)
    found = observed(Frame(image, CAMERA, depth), mask)
    assert on_box(found) > 0.95
    assert len(found.notes) == 1
