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

"""Scene folders: what is written is read again, and what is broken is refused with its code."""

from __future__ import annotations

import json

import cv2
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io.scene import read_scene
from lift3d_ros.io.scene import write_scene

CAMERA = Camera(16, 12, 20.0, 21.0, 7.25, 5.75)


@pytest.fixture
def folder(tmp_path):
    """Return a complete scene folder."""
    rng = np.random.default_rng(1)
    frame = Frame(
        rng.integers(0, 256, (12, 16, 3), dtype=np.uint8),
        CAMERA,
        rng.integers(300, 900, (12, 16)).astype(np.float32) * np.float32(0.001),
        np.array([0.0, 0.8, 0.6]),
    )
    write_scene(tmp_path / 'scene', frame, rng.random((12, 16)) > 0.5)
    return tmp_path / 'scene'


def code_of(folder):
    """Return the code with which a folder is refused."""
    with pytest.raises(LiftError) as caught:
        read_scene(folder)
    return caught.value.code


@settings(max_examples=25)
@given(
    image=arrays.arrays(np.uint8, (12, 16, 3)),
    # 65535 is no reading, nor is the value at which a sensor saturates; a mask has a background.
    millimetres=arrays.arrays(np.uint16, (12, 16), elements=st.just(0) | st.integers(700, 900)),
    mask=arrays.arrays(np.bool_, (12, 16)).filter(lambda mask: mask.mean() < 0.9 and not (
        mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any())),
    gravity=st.none() | st.just(np.array([0.0, 0.6, 0.8])),
)
def test_a_scene_survives_the_disk_exactly(tmp_path_factory, image, millimetres, mask, gravity):
    folder = tmp_path_factory.mktemp('scene')
    depth = millimetres.astype(np.float32) * np.float32(0.001)
    write_scene(folder, Frame(image, CAMERA, depth, gravity), mask)
    frame, read_mask = read_scene(folder)
    np.testing.assert_array_equal(frame.image, image)
    np.testing.assert_array_equal(frame.depth, depth)
    np.testing.assert_array_equal(read_mask, mask)
    assert frame.camera == CAMERA
    assert (frame.gravity is None) == (gravity is None)
    if gravity is not None:
        np.testing.assert_allclose(frame.gravity, gravity, atol=1e-12)


def test_readings_that_are_not_finite_are_written_as_none(tmp_path):
    depth = np.array([[0.5, np.nan], [np.inf, 90.0]], np.float32)
    frame = Frame(np.zeros((2, 2, 3), np.uint8), Camera(2, 2, 1.0, 1.0, 0.5, 0.5), depth)
    write_scene(tmp_path, frame, np.eye(2, dtype=bool))
    # 90 m is more than 16 bits of millimetres hold.
    np.testing.assert_allclose(read_scene(tmp_path)[0].depth, [[0.5, 0.0], [0.0, 0.0]])


def test_depth_is_left_out_where_it_is_not_there_or_not_wanted(folder):
    assert read_scene(folder)[0].depth is not None
    assert read_scene(folder, depth=False)[0].depth is None
    (folder / 'depth.png').unlink()
    assert read_scene(folder)[0].depth is None


@pytest.mark.parametrize('channels', ['grey', '16 bit', 'colour', 'alpha'])
def test_any_mask_that_is_not_zero_on_the_object_will_do(folder, channels):
    mask = np.zeros((12, 16), np.uint8)
    mask[3:9, 4:12] = 1
    image = {
        'grey': mask,
        '16 bit': mask.astype(np.uint16) * 300,
        'colour': np.stack([mask * 0, mask * 0, mask * 7], axis=2),
        'alpha': np.stack([mask + 80, mask + 80, mask + 80, mask * 255], axis=2),
    }[channels]
    cv2.imwrite(str(folder / 'mask.png'), image)
    np.testing.assert_array_equal(read_scene(folder)[1], mask > 0)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert code_of(tmp_path / 'nothing') == ErrorCode.BAD_IMAGE


@pytest.mark.parametrize('name', ['rgb.png', 'mask.png'])
@pytest.mark.parametrize('content', [None, b'', b'no picture'])
def test_an_image_that_is_missing_or_broken_is_refused(folder, name, content):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    assert code_of(folder) == ErrorCode.BAD_IMAGE


@pytest.mark.parametrize('share', [0.2, 0.95])
def test_an_image_that_ends_too_early_is_refused(folder, share):
    path = folder / 'depth.png'
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    assert code_of(folder) == ErrorCode.BAD_IMAGE


def test_depth_of_eight_bits_is_refused(folder):
    cv2.imwrite(str(folder / 'depth.png'), np.zeros((12, 16), np.uint8))
    assert code_of(folder) == ErrorCode.BAD_IMAGE


def test_images_of_different_sizes_are_refused(folder):
    cv2.imwrite(str(folder / 'depth.png'), np.zeros((6, 8), np.uint16))
    assert code_of(folder) == ErrorCode.SIZE_MISMATCH


K = [[20.0, 0.0, 7.0], [0.0, 20.0, 5.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ('content', 'code'),
    [
        (None, ErrorCode.NO_CAMERA),
        ('', ErrorCode.NO_CAMERA),
        ('[]', ErrorCode.NO_CAMERA),
        ('{"width": 16, "height": 12}', ErrorCode.NO_CAMERA),
        (json.dumps({'width': 16, 'height': 12, 'K': [0] * 9}), ErrorCode.NO_CAMERA),
        (json.dumps({'width': 16, 'height': 12, 'K': [[0] * 3] * 3}), ErrorCode.NO_CAMERA),
        (json.dumps({'width': None, 'height': 12, 'K': K}), ErrorCode.NO_CAMERA),
        (json.dumps({'width': 16, 'height': 12, 'K': K, 'gravity': 'down'}), ErrorCode.NO_CAMERA),
        (json.dumps({'width': 16, 'height': 12, 'K': K, 'gravity': [0, 0, 0]}),
         ErrorCode.NO_CAMERA),
        (json.dumps({'width': 32, 'height': 24, 'K': K}), ErrorCode.SIZE_MISMATCH),
    ],
)
def test_a_camera_that_is_missing_or_broken_is_refused(folder, content, code):
    (folder / 'camera.json').unlink()
    if content is not None:
        (folder / 'camera.json').write_text(content)
    assert code_of(folder) == code
