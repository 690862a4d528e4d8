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

"""Inputs that no lift can come of end with an error code, not with a failure inside."""

from __future__ import annotations

import numpy as np
import pytest

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.lifter import Lifter

DOWN = np.array([0.0, 0.6, 0.8])


def frame(camera: Camera, depth: float | np.ndarray | None) -> Frame:
    image = np.full((camera.height, camera.width, 3), 128, np.uint8)
    if depth is not None:
        depth = np.broadcast_to(depth, image.shape[:2]).astype(np.float32)
    return Frame(image, camera, depth, DOWN)


def outcome(camera: Camera, mask: np.ndarray, depth: float | np.ndarray | None) -> str:
    try:
        shape = Lifter('geometric').lift(frame(camera, depth), mask)
    except LiftError as error:
        return error.code.name
    assert np.isfinite(shape.mesh.vertices).all()
    return 'OK'


NORMAL = Camera.from_fov(212, 120, 69.0)
RNG = np.random.default_rng(0)
NOISE = RNG.random((120, 212))


def box(camera: Camera, left: int, top: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros((camera.height, camera.width), bool)
    mask[top:top + height, left:left + width] = True
    return mask


@pytest.mark.parametrize('depth', [0.5, None])
@pytest.mark.parametrize('thick', [3, 5])
def test_a_long_thin_mask_has_a_code(thick, depth):
    camera = Camera.from_fov(1920, 40, 69.0)
    assert outcome(camera, box(camera, 60, 10, 1800, thick), depth) in ('NO_SURFACE', 'OK')


def test_a_neck_is_looked_for_in_a_long_thin_mask():
    selection = pytest.importorskip('lift3d_ros.segmentation.instances')
    camera = Camera.from_fov(1920, 40, 69.0)
    mask = box(camera, 60, 10, 1800, 5)
    instance = selection.instances_of_binary(mask.astype(np.uint8), True)[0]
    assert not selection.has_neck(instance)


@pytest.mark.parametrize('depth', [0.5, None, NOISE])
@pytest.mark.parametrize('mask', [
    np.ones((120, 212), bool),
    NOISE > 0.5,
    NOISE > 0.99,
    ~box(NORMAL, 3, 3, 206, 114),
    (np.indices((120, 212)).sum(axis=0) % 2).astype(bool),
], ids=['full', 'noise', 'sparse noise', 'rim', 'checks'])
def test_a_mask_without_an_object_has_a_code(mask, depth):
    found = outcome(NORMAL, mask, depth)
    assert found in ('OK', 'NO_SURFACE', 'NO_DEPTH_IN_MASK', 'EMPTY_MASK', 'BAD_IMAGE',
                     'LOW_CONFIDENCE', 'MASK_TOO_SMALL')


@pytest.mark.parametrize('value', [-0.5, np.inf, -np.inf, np.nan, 1e30, 0.0])
def test_depth_that_is_no_reading_is_none(value):
    mask = box(NORMAL, 80, 40, 40, 40)
    assert outcome(NORMAL, mask, value) == 'NO_DEPTH_IN_MASK'


def test_depth_nearer_than_a_camera_measures_is_of_another_unit():
    assert outcome(NORMAL, box(NORMAL, 80, 40, 40, 40), 1e-30) == 'BAD_IMAGE'


@pytest.mark.parametrize('value', [-0.5, np.inf, -np.inf, 1e30])
def test_single_readings_that_are_none_become_zero(value):
    depth = np.where(NOISE > 0.5, 0.5, value)
    got = frame(NORMAL, depth).depth
    np.testing.assert_array_equal(got > 0.0, NOISE > 0.5)


@pytest.mark.parametrize('focal', [1e-3, 1e6, 1e300])
def test_a_focal_length_of_no_camera_is_refused(focal):
    camera = Camera(212, 120, focal, focal, 105.5, 59.5)
    with pytest.raises(LiftError) as caught:
        Lifter('geometric').lift(frame(camera, 0.5), box(NORMAL, 80, 40, 40, 40))
    assert caught.value.code is ErrorCode.NO_CAMERA
