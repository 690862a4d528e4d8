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

"""Depth that has the frame_id of the image and another field of view, without a CameraInfo."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lift3d_ros.cameras.depth_registration import register_depth
from lift3d_ros.cameras.depth_scale import field_of_view_note
from lift3d_ros.cameras.depth_scale import find_scale
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import Lifter

RADIUS = 0.05
EYE = look_at((0.45, 0.0, 0.5), (0.0, 0.0, RADIUS))

#: A ball in the middle of the image, and some between it and the border.
BALLS = ((0.0, 0.0), (-0.1, 0.22), (-0.08, -0.25), (0.18, 0.14), (0.16, -0.17), (-0.35, 0.05))


def balls(camera: Camera, T: np.ndarray = EYE) -> tuple[np.ndarray, np.ndarray]:
    """Return depth of balls on a table, and which ball is seen (-1 for the table)."""
    rays, eye = camera.rays() @ T[:3, :3].T, T[:3, 3]
    depth = np.minimum(-eye[2] / np.minimum(rays[..., 2], -1e-9), 5.0)
    seen = np.full(depth.shape, -1)
    a = np.einsum('ijk,ijk->ij', rays, rays)
    for index, (x, y) in enumerate(BALLS):
        offset = eye - np.array([x, y, RADIUS])
        b = rays @ offset
        root = b * b - a * (offset @ offset - RADIUS**2)
        near = np.where(root > 0.0, (-b - np.sqrt(np.maximum(root, 0.0))) / a, np.inf)
        seen[near < depth] = index
        depth = np.minimum(near, depth)
    return depth.astype(np.float32), seen


def picture(seen: np.ndarray) -> np.ndarray:
    """Return a noisy image of balls of several colours on a grey table."""
    balls_and_table = [
        (200, 40, 40), (40, 160, 60), (60, 60, 190), (220, 200, 60), (240, 240, 240), (30, 30, 30),
        (130, 128, 120),
    ]
    colors = np.array(balls_and_table, np.float64)
    noise = np.random.default_rng(0).normal(0.0, 2.0, (*seen.shape, 3))
    image = cv2.GaussianBlur(colors[seen], (0, 0), 0.7) + noise
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def frame(fov: float, baseline: float = 0.0, size: tuple[int, int] = (640, 480)) -> Frame:
    """Return a frame of 69 degrees with depth of another camera, as if it were registered."""
    camera = Camera.from_fov(*size, 69.0)
    T = EYE @ rigid(np.eye(3), (baseline, 0.0, 0.0))
    depth, _ = balls(Camera.from_fov(*size, fov), T)
    return Frame(picture(balls(camera)[1]), camera, depth)


@pytest.mark.parametrize('size', [(424, 240), (640, 480), (1280, 720)])
@pytest.mark.parametrize('fov', [65.0, 72.0, 75.0, 87.0])
def test_depth_of_another_field_of_view_is_doubted(fov, size):
    given = frame(fov, size=size)
    assert field_of_view_note(given) is not None
    expected = np.tan(np.radians(69.0 / 2.0)) / np.tan(np.radians(fov / 2.0))
    assert find_scale(given).scale == pytest.approx(expected, abs=0.035)


@pytest.mark.parametrize('fov', [65.0, 75.0])
def test_depth_of_another_field_of_view_from_beside_the_image_is_doubted(fov):
    assert field_of_view_note(frame(fov, 0.015)) is not None


@pytest.mark.parametrize('size', [(424, 240), (640, 480), (1280, 720)])
def test_depth_of_the_same_camera_is_not_doubted(size):
    assert field_of_view_note(frame(69.0, size=size)) is None


def test_depth_with_outlines_that_are_too_wide_is_not_doubted():
    given = frame(69.0)
    near = cv2.erode(given.depth, np.ones((5, 5), np.uint8))
    assert field_of_view_note(Frame(given.image, given.camera, near)) is None


@pytest.mark.parametrize('fov', [65.0, 87.0])
def test_depth_that_was_registered_is_not_doubted(fov):
    camera, own = Camera.from_fov(640, 480, 69.0), Camera.from_fov(640, 480, fov)
    T = rigid(np.eye(3), (0.015, 0.0, 0.0))
    depth = register_depth(balls(own, EYE @ T)[0], own, camera, T)
    assert field_of_view_note(Frame(picture(balls(camera)[1]), camera, depth)) is None


@pytest.mark.parametrize('depth', [
    None, np.zeros((48, 64), np.float32), np.full((48, 64), np.nan, np.float32),
    np.ones((48, 64), np.float32),
    np.random.default_rng(0).uniform(0.5, 2.0, (48, 64)).astype(np.float32),
])
def test_depth_without_edges_of_things_is_not_doubted(depth):
    camera = Camera.from_fov(64, 48, 69.0)
    image = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    assert field_of_view_note(Frame(image, camera, depth)) is None


def test_registered_depth_of_real_frames_is_not_doubted(shared_data):
    doubted = []
    for folder in sorted((*(shared_data / 'rgbd').iterdir(), *(shared_data / 'real').iterdir())):
        if (folder / 'camera.json').is_file():
            found = field_of_view_note(read_scene(folder)[0])
            if found:
                doubted.append((folder.name, found))
    assert not doubted


def test_the_doubt_is_a_note_of_the_shape():
    given = frame(65.0)
    mask = balls(given.camera)[1] == 0
    doubt = field_of_view_note(given)
    assert doubt in Lifter('geometric').lift(given, mask).notes
