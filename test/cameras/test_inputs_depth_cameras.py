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

"""Registration of depth into the image, and the doubt about depth that lies beside its mask."""

from __future__ import annotations

import numpy as np
import pytest

from lift3d_ros.cameras.depth_alignment import alignment_note
from lift3d_ros.cameras.depth_registration import register_depth
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io.scene import read_scene

RADIUS = 0.05
EYE = look_at((0.35, 0.0, 0.4), (0.0, 0.0, RADIUS))
TURN = np.radians(1.0)
TURNED = np.array(
    [[np.cos(TURN), 0.0, np.sin(TURN)], [0.0, 1.0, 0.0], [-np.sin(TURN), 0.0, np.cos(TURN)]]
)


def ball(camera: Camera, T: np.ndarray = EYE) -> tuple[np.ndarray, np.ndarray]:
    """Return depth and mask of a ball on a table, seen from half a metre."""
    rays, eye = camera.rays() @ T[:3, :3].T, T[:3, 3]
    depth = np.minimum(-eye[2] / np.minimum(rays[..., 2], -1e-9), 5.0)
    offset = eye - np.array([0.0, 0.0, RADIUS])
    a = np.einsum('ijk,ijk->ij', rays, rays)
    b = rays @ offset
    root = b * b - a * (offset @ offset - RADIUS**2)
    mask = root > 0.0
    near = np.where(mask, (-b - np.sqrt(np.maximum(root, 0.0))) / a, depth)
    return near.astype(np.float32), mask


@pytest.mark.parametrize('size', [(424, 240), (1280, 720)])
@pytest.mark.parametrize('own_size', [(320, 288), (640, 480), (1280, 720)])
@pytest.mark.parametrize('fov', [87.0, 65.0, 75.0])
@pytest.mark.parametrize('baseline', [0.015, 0.032, -0.05])
def test_registered_depth_is_that_of_the_image(size, own_size, fov, baseline):
    camera, own = Camera.from_fov(*size, 69.0), Camera.from_fov(*own_size, fov)
    T = rigid(TURNED, (baseline, 0.001, -0.002))
    truth, mask = ball(camera)
    got = register_depth(ball(own, EYE @ T)[0], own, camera, T)
    assert got.dtype == np.float32
    assert got.shape == truth.shape
    # The depth camera does not see one side of the ball.
    assert np.count_nonzero(got[mask]) > 0.96 * np.count_nonzero(mask)
    errors = np.abs(got - truth)[mask & (got > 0.0)]
    assert errors.mean() < 0.002
    assert np.percentile(errors, 99.0) < 0.01
    # Of the table behind the ball nothing comes in front of it.
    beside = np.abs(got - truth)[~mask & (got > 0.0)]
    assert np.count_nonzero(beside > 0.02) < 0.02 * np.count_nonzero(mask)


def test_pixels_without_a_reading_have_none():
    camera = Camera.from_fov(320, 240, 69.0)
    depth, _ = ball(camera)
    depth[:, :160] = np.tile([0.0, np.nan, np.inf, -1.0], 40)
    got = register_depth(depth, camera, camera, np.eye(4))
    assert not got[:, :158].any()
    np.testing.assert_allclose(got[:, 162:], depth[:, 162:], rtol=0.03)


@pytest.mark.parametrize('T', [np.zeros((4, 4)), 2.0 * np.eye(4), rigid(np.eye(3), (15.0, 0, 0))])
def test_a_pose_that_is_none_or_in_millimetres_is_refused(T):
    camera = Camera.from_fov(320, 240, 69.0)
    with pytest.raises(LiftError) as caught:
        register_depth(ball(camera)[0], camera, camera, T)
    assert caught.value.code is ErrorCode.NO_TRANSFORM


def note(fov: float, baseline: float) -> str | None:
    """Return the doubt about a ball whose depth another camera measured."""
    camera = Camera.from_fov(424, 240, 69.0)
    depth, _ = ball(Camera.from_fov(424, 240, fov), EYE @ rigid(np.eye(3), (baseline, 0.0, 0.0)))
    _, mask = ball(camera)
    image = np.zeros((240, 424, 3), np.uint8)
    return alignment_note(crop_object(Frame(image, camera, depth), mask))


@pytest.mark.parametrize(('fov', 'baseline'), [
    (69.0, 0.015), (69.0, 0.032), (69.0, -0.015), (69.0, -0.032), (87.0, 0.0), (87.0, 0.015),
    (87.0, 0.032), (75.0, 0.032), (65.0, 0.015), (65.0, 0.032),
])
def test_depth_beside_its_mask_is_doubted(fov, baseline):
    found = note(fov, baseline)
    assert found is not None
    if baseline and fov == 69.0:
        # What the camera to the right sees is to the left.
        assert ('left' in found) == (baseline > 0.0)


def test_registered_depth_is_not_doubted():
    assert note(69.0, 0.0) is None


def test_masks_of_real_frames_are_not_doubted(shared_data):
    doubted = []
    for folder in sorted((*(shared_data / 'rgbd').iterdir(), *(shared_data / 'real').iterdir())):
        if (folder / 'camera.json').is_file():
            found = alignment_note(crop_object(*read_scene(folder)))
            if found:
                doubted.append((folder.name, found))
    assert not doubted


@pytest.mark.parametrize('error', [-3, -2, 2, 3])
def test_masks_of_a_detector_are_not_doubted(error):
    import cv2

    camera = Camera.from_fov(424, 240, 69.0)
    depth, mask = ball(camera)
    change = cv2.dilate if error > 0 else cv2.erode
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(error) + 1,) * 2)
    mask = change(mask.astype(np.uint8), kernel).astype(bool)
    image = np.zeros((240, 424, 3), np.uint8)
    assert alignment_note(crop_object(Frame(image, camera, depth), mask)) is None
