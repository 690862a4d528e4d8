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

"""Bad input gets its code and a sentence, and the node answers the next request."""

from __future__ import annotations

import array
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

import ros_helpers as ros
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image

from lift3d_ros.geometry import Camera
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.messages.images import image_message
from lift3d_ros.node.messages.images import info_message
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

FRAME, LABELS = ros.BALL

Spoil = Callable[[LiftObject.Request], None]


@pytest.fixture(scope='module')
def node(graph: ros.Graph) -> Iterator[ros.NodeProcess]:
    with ros.running(graph, 'bad_input', '--autostart') as node:
        yield node


def mask(request: LiftObject.Request, pixels: np.ndarray) -> None:
    request.mask = image_message(pixels, 'mono8')


def empty_mask(request: LiftObject.Request) -> None:
    mask(request, np.zeros_like(LABELS))


def mask_of_three_pixels(request: LiftObject.Request) -> None:
    pixels = np.zeros_like(LABELS)
    pixels[100, 100:103] = 255
    mask(request, pixels)


def mask_of_another_shape(request: LiftObject.Request) -> None:
    mask(request, LABELS[:, :200])


def depth(request: LiftObject.Request, pixels: np.ndarray, encoding: str = '32FC1') -> None:
    request.depth = image_message(pixels, encoding)


def depth_all_zero(request: LiftObject.Request) -> None:
    depth(request, np.where(LABELS, 0.0, FRAME.depth).astype(np.float32))


def depth_all_nan(request: LiftObject.Request) -> None:
    depth(request, np.full_like(FRAME.depth, np.nan))


def millimetres_as_metres(request: LiftObject.Request) -> None:
    depth(request, 1000.0 * FRAME.depth)


def metres_as_millimetres(request: LiftObject.Request) -> None:
    depth(request, np.ceil(FRAME.depth).astype(np.uint16), '16UC1')


def depth_of_another_shape(request: LiftObject.Request) -> None:
    depth(request, FRAME.depth[:200])


def depth_as_a_picture(request: LiftObject.Request) -> None:
    depth(request, LABELS, 'mono8')


def no_camera_info(request: LiftObject.Request) -> None:
    request.camera_info = CameraInfo()


def camera_of_zeros(request: LiftObject.Request) -> None:
    request.camera_info.k = np.zeros(9)
    request.camera_info.p = np.zeros(12)


def camera_not_finite(request: LiftObject.Request) -> None:
    request.camera_info.k = np.full(9, np.nan)
    request.camera_info.p = np.full(12, np.nan)


def camera_of_another_image(request: LiftObject.Request) -> None:
    request.camera_info = info_message(Camera.from_fov(640, 480, 50.0))


def unknown_encoding(request: LiftObject.Request) -> None:
    request.image.encoding = 'rainbow12'


def colours_not_said(request: LiftObject.Request) -> None:
    request.image.encoding = '8UC3'


def truncated_image(request: LiftObject.Request) -> None:
    request.image.data = request.image.data[:-1000]


def truncated_depth(request: LiftObject.Request) -> None:
    request.depth.data = request.depth.data[:100]


def truncated_mask(request: LiftObject.Request) -> None:
    request.mask.data = request.mask.data[:-1]


def step_that_does_not_fit(request: LiftObject.Request) -> None:
    request.image.step -= 1


def step_far_too_long(request: LiftObject.Request) -> None:
    request.image.step = 2**31


def image_without_size(request: LiftObject.Request) -> None:
    request.image.height = 0


def huge_size_of_little_data(request: LiftObject.Request) -> None:
    request.image.width = request.image.height = 2**16
    request.image.step = 3 * 2**16


def one_pixel(request: LiftObject.Request) -> None:
    one = np.ones((1, 1), np.uint8)
    request.image = image_message(np.dstack([one] * 3), 'rgb8')
    request.depth = image_message(one.astype(np.float32), '32FC1')
    request.camera_info = info_message(Camera.from_fov(1, 1, 50.0))
    mask(request, one)


def eight_thousand_by_six_thousand(request: LiftObject.Request) -> None:
    request.image = Image(
        width=8000,
        height=6000,
        step=8000,
        encoding='mono8',
        data=array.array('B', bytes(8000 * 6000)),
    )
    request.camera_info = info_message(Camera.from_fov(8000, 6000, 50.0))
    request.depth = Image()


def label_that_is_not_there(request: LiftObject.Request) -> None:
    request.selector = ObjectSelector(mode=ObjectSelector.LABEL, label=7)


def background_pixel(request: LiftObject.Request) -> None:
    request.selector = ObjectSelector(mode=ObjectSelector.PIXEL, u=1, v=1)


def pixel_outside(request: LiftObject.Request) -> None:
    request.selector = ObjectSelector(mode=ObjectSelector.PIXEL, u=5000, v=1)


def box_beside(request: LiftObject.Request) -> None:
    request.selector = ObjectSelector(mode=ObjectSelector.BOX)
    request.selector.box.width = request.selector.box.height = 5


def detection_without_detections(request: LiftObject.Request) -> None:
    request.selector = ObjectSelector(mode=ObjectSelector.DETECTION, class_id='mug')


def unknown_selector(request: LiftObject.Request) -> None:
    request.selector.mode = 77


def all_objects_from_the_service(request: LiftObject.Request) -> None:
    request.selector.mode = ObjectSelector.ALL


def unknown_method(request: LiftObject.Request) -> None:
    request.method = 'magic'


def image_without_mask(request: LiftObject.Request) -> None:
    request.mask = Image()


def no_frame_of_its_own_nor_topics(request: LiftObject.Request) -> None:
    request.image = Image()


@pytest.mark.parametrize(('spoil', 'code', 'word'), [
    (empty_mask, 'EMPTY_MASK', 'no pixels'),
    (mask_of_three_pixels, 'MASK_TOO_SMALL', '3 pixels'),
    (mask_of_another_shape, 'SIZE_MISMATCH', '200 x 240'),
    (truncated_mask, 'BAD_IMAGE', 'truncated'),
    (depth_all_zero, 'NO_DEPTH_IN_MASK', 'depth'),
    (depth_all_nan, 'NO_DEPTH_IN_MASK', 'depth'),
    (millimetres_as_metres, 'BAD_IMAGE', 'unit'),
    (metres_as_millimetres, 'BAD_IMAGE', 'unit'),
    (depth_of_another_shape, 'SIZE_MISMATCH', 'registered'),
    (depth_as_a_picture, 'BAD_IMAGE', '16UC1'),
    (truncated_depth, 'BAD_IMAGE', 'truncated'),
    (no_camera_info, 'NO_CAMERA', 'camera_info'),
    (camera_of_zeros, 'NO_CAMERA', 'zeros'),
    (camera_not_finite, 'NO_CAMERA', 'finite'),
    (camera_of_another_image, 'SIZE_MISMATCH', '640 x 480'),
    (unknown_encoding, 'BAD_IMAGE', 'rainbow12'),
    (colours_not_said, 'BAD_IMAGE', '8UC3'),
    (truncated_image, 'BAD_IMAGE', 'truncated'),
    (step_that_does_not_fit, 'BAD_IMAGE', 'step'),
    (step_far_too_long, 'BAD_IMAGE', 'truncated'),
    (image_without_size, 'BAD_IMAGE', 'no pixels'),
    (huge_size_of_little_data, 'BAD_IMAGE', 'megapixels'),
    (one_pixel, 'MASK_TOO_SMALL', '1 pixels'),
    (eight_thousand_by_six_thousand, 'BAD_IMAGE', '8000 x 6000'),
    (label_that_is_not_there, 'NO_OBJECT', 'label 7'),
    (background_pixel, 'NO_OBJECT', '(1, 1)'),
    (pixel_outside, 'NO_OBJECT', 'outside'),
    (box_beside, 'NO_OBJECT', 'box'),
    (detection_without_detections, 'BAD_REQUEST', 'detections'),
    (unknown_selector, 'BAD_REQUEST', '77'),
    (all_objects_from_the_service, 'BAD_REQUEST', 'action'),
    (unknown_method, 'BAD_REQUEST', 'magic'),
    (image_without_mask, 'BAD_REQUEST', 'mask'),
    (no_frame_of_its_own_nor_topics, 'BAD_IMAGE', 'no frame'),
])
def test_bad_input_has_its_code_and_a_sentence(
    node: ros.NodeProcess, spoil: Spoil, code: str, word: str
) -> None:
    request = LiftObject.Request(**ros.messages(FRAME, LABELS))
    spoil(request)
    answer = node.lift(request)
    assert not answer.success
    assert (answer.error_code, word in answer.message) == (code, True), answer.message
    assert answer.message[-1] in '.?'
    assert not answer.object.mesh.triangles


def test_after_all_of_this_the_node_lifts(node: ros.NodeProcess) -> None:
    answer = node.lift(LiftObject.Request(**ros.messages(FRAME, LABELS)))
    assert answer.success, answer.message


def test_without_depth_the_scale_is_not_said_to_come_from_it(node: ros.NodeProcess) -> None:
    request = LiftObject.Request(**ros.messages(FRAME, LABELS))
    request.depth = Image()
    answer = node.lift(request)
    assert answer.error_code in ('', 'NO_DEPTH_IN_MASK')
    assert answer.object.scale_source != 'depth'


def test_a_mask_of_half_the_size_is_scaled_with_a_warning(node: ros.NodeProcess) -> None:
    request = LiftObject.Request(**ros.messages(FRAME, LABELS))
    mask(request, LABELS[::2, ::2])
    answer = node.lift(request)
    assert answer.success, answer.message
    assert 'resized' in answer.message
    np.testing.assert_allclose(answer.object.size.z, 0.1, atol=0.015)


def test_two_touching_masks_are_one_object_with_a_warning(node: ros.NodeProcess) -> None:
    frame, labels = ros.table_scene((0.0, -0.047, 0.05), (0.0, 0.047, 0.05))
    answer = node.lift(LiftObject.Request(**ros.messages(frame, labels)))
    assert answer.success, answer.message
    assert 'touch' in answer.message
    size = [answer.object.size.x, answer.object.size.y, answer.object.size.z]
    assert max(size) > 0.15


def test_a_shape_that_is_not_sure_enough_is_refused(node: ros.NodeProcess) -> None:
    frame, labels = ros.table_scene((0.0, 0.0, 0.05))
    request = LiftObject.Request(**ros.messages(frame, labels))
    assert node.set_parameter('min_confidence', 0.999).successful
    try:
        refused = node.lift(request)
    finally:
        assert node.set_parameter('min_confidence', 0.0).successful
    assert not refused.success
    assert refused.error_code == 'LOW_CONFIDENCE'
    answer = node.lift(request)
    assert answer.success, answer.message
    assert 0.0 < answer.object.pass_probability <= 1.0
    assert answer.object.confidence < 0.999


def test_a_set_parameter_out_of_range_is_refused_with_the_reason(node: ros.NodeProcess) -> None:
    for name, value, word in (
        ('max_rate', -1.0, 'range'),
        ('max_objects', 1000, 'range'),
        ('min_confidence', 1.5, 'range'),
        ('mode', 'sometimes', 'continuous'),
        ('method', 'magic', 'geometric'),
        ('mask_source', 'label', 'deactivate'),
        ('samples', 0, 'range'),
        ('samples', 17, 'range'),
        ('weights', 'small', 'deactivate'),
        ('queue_size', 8, 'read-only'),
        ('seed', 'seven', 'type'),
    ):
        answer = node.set_parameter(name, value)
        assert not answer.successful
        assert word in answer.reason, f'{name}: {answer.reason}'
    assert node.set_parameter('max_objects', 3).successful
    assert not node.set_parameter('no_such_parameter', 3).successful
