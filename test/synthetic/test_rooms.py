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

"""Synthetic rooms: their solid, their frames, and what is known of a view from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.pose_vectors import zeronvs_pose
from lift3d_ros.scene.parts import joined
from lift3d_ros.scene.parts import measured_surface
from lift3d_ros.scene.prior.inputs import completed
from lift3d_ros.scene.prior.inputs import free_space
from lift3d_ros.scene.prior.inputs import KnownScene
from lift3d_ros.scene.prior.inputs import MAX_INVERSE
from lift3d_ros.scene.prior.inputs import picture_camera
from lift3d_ros.synthetic.procedural.families import procedural_object
from lift3d_ros.synthetic.rooms.frames import make_frame
from lift3d_ros.synthetic.rooms.layout import KINDS
from lift3d_ros.synthetic.rooms.layout import make_room

CAMERA = Camera.from_fov(96, 72, 60.0)


def carton(rng):
    return procedural_object(int(rng.integers(4)), 'carton')


@pytest.fixture(scope='module', params=KINDS)
def made(request):
    room = make_room(3, carton, request.param, objects=(2, 3))
    frame = make_frame(room, CAMERA, np.random.default_rng(0))
    assert frame is not None
    return frame


def test_every_room_has_objects_and_is_the_same_again(made):
    room = made.room
    again = make_room(3, carton, room.kind, objects=(2, 3))
    assert len(room.objects) >= 1
    for mesh, other in zip(room.meshes, again.meshes, strict=True):
        assert np.array_equal(mesh.vertices, other.vertices)
        assert np.array_equal(mesh.colors, other.colors)


def test_the_solid_is_behind_what_a_camera_sees_and_not_before(made):
    depth = made.truth.depth
    rays = CAMERA.rays()[depth > 0.0]
    hit = depth[depth > 0.0][:, None]
    before = transform(made.T_room_camera, rays * (hit - 0.004))
    behind = transform(made.T_room_camera, rays * (hit + 0.004))
    assert made.room.contains(before).mean() < 0.02
    # At an edge a ray leaves the solid again within millimetres.
    assert made.room.contains(behind).mean() > 0.9


def test_things_do_not_intersect(made):
    for index, mesh in enumerate(made.room.objects):
        for part in made.room.furniture:
            assert part.contains(mesh.vertices, margin=-0.002).mean() == 0.0, index


def test_masks_are_the_visible_pixels_of_the_objects(made):
    for index, mask in made.masks.items():
        assert (made.truth.instance[mask] == index).all()


def test_moved_cameras_turn_about_the_pivot(made):
    start = made.T_room_camera
    still = made.moved(0.0)
    assert still is None or np.allclose(still, start)
    found = [pose for yaw in (-20.0, 20.0) if (pose := made.moved(yaw)) is not None]
    assert found
    away = np.linalg.norm(start[:3, 3] - made.pivot)
    for pose in found:
        assert np.linalg.norm(pose[:3, 3] - made.pivot) == pytest.approx(away)
        seen = transform(invert(pose), made.pivot)
        assert np.allclose(seen, transform(invert(start), made.pivot))


def test_no_surface_lies_in_the_free_space_of_another_camera(made):
    """The true surface in a moved view is nowhere before the first exit from free space."""
    pose = next(p for yaw in (-15.0, 15.0) if (p := made.moved(yaw)) is not None)
    eye = picture_camera(CAMERA)
    first, last = free_space(made.frame, eye, invert(made.T_room_camera) @ pose)
    true = made.render(eye, pose).depth
    known = (first > 0.0) & (true > 0.0)
    assert known.mean() > 0.3
    # Readings have noise, and steps along a ray are a few percent.
    assert (true[known] > 0.93 * first[known] - 0.02).mean() > 0.97
    assert (last >= first).all()


def test_what_is_known_from_the_same_camera_is_the_frame(made):
    frame = made.frame
    surface = joined([measured_surface(frame, np.zeros(frame.depth.shape, bool))])
    scene = KnownScene(frame, surface)
    view = scene.view(CAMERA, np.eye(4))
    measured = view.observed & (frame.depth > 0.0)
    assert measured.mean() > 0.5
    expected = np.minimum(scene.scale / frame.depth[measured], MAX_INVERSE)
    assert np.median(np.abs(view.inverse[measured] / expected - 1.0)) < 0.01
    assert not view.object.any()
    assert np.allclose(
        view.pose, zeronvs_pose(np.eye(4), np.eye(4), scene.scale, 60.0), atol=1e-6)


def test_holes_are_filled_from_the_nearest_known_pixels(made):
    frame = made.frame
    surface = measured_surface(frame, np.zeros(frame.depth.shape, bool))
    view = KnownScene(frame, surface).view(CAMERA, np.eye(4))
    color, inverse = completed(view)
    known = view.inverse > 0.0
    assert np.array_equal(inverse[known], view.inverse[known])
    assert np.allclose(color[:, known], view.color[known].T / 127.5 - 1.0, atol=1e-6)
    assert (inverse > 0.0).all()
    bounded = ~known & (view.exit > 0.0)
    assert (inverse[bounded] <= view.exit[bounded]).all()
