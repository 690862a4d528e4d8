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

"""Messages into arrays and shapes into messages, for every encoding and for arbitrary values."""

from __future__ import annotations

import array

import cv2
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point
from geometry_msgs.msg import Pose
from rclpy.serialization import deserialize_message
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from shape_msgs.msg import Mesh as MeshMsg
from shape_msgs.msg import MeshTriangle
from std_msgs.msg import ColorRGBA

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.messages import camera_info
from lift3d_ros.messages import conversions
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.geometry import seconds
from lift3d_ros.messages.results import mesh_from_message
from lift3d_ros.msg import LiftedObject
from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.node.messages import cdr
from lift3d_ros.node.messages.cdr import Packed
from lift3d_ros.node.messages.geometry import duration_message
from lift3d_ros.node.messages.geometry import pose_message
from lift3d_ros.node.messages.images import image_message
from lift3d_ros.node.messages.images import info_message
from lift3d_ros.node.messages.results import colors_message
from lift3d_ros.node.messages.types import ROS

pytestmark = pytest.mark.ros

SIZES = st.integers(1, 12)


def code(call, *arguments, **named) -> str:
    with pytest.raises(LiftError) as caught:
        call(*arguments, **named)
    return caught.value.code.value


# --- images ---

@pytest.mark.parametrize(('encoding', 'pixel', 'red'), [
    ('rgb8', [[[200, 100, 50]]], (200, 100, 50)),
    ('bgr8', [[[50, 100, 200]]], (200, 100, 50)),
    ('rgba8', [[[200, 100, 50, 9]]], (200, 100, 50)),
    ('bgra8', [[[50, 100, 200, 9]]], (200, 100, 50)),
    ('mono8', [[77]], (77, 77, 77)),
    ('8UC1', [[77]], (77, 77, 77)),
])
def test_eight_bit_encodings_become_rgb(encoding, pixel, red):
    pixels = np.tile(np.array(pixel, np.uint8), (2, 4) + (1,) * (np.ndim(pixel) - 2))
    rgb = conversions.decode_image(image_message(pixels, encoding))
    assert (rgb.shape, rgb.dtype) == ((2, 4, 3), np.uint8)
    np.testing.assert_array_equal(rgb, np.broadcast_to(red, (2, 4, 3)))


def test_sixteen_bit_colours_are_scaled_to_eight():
    pixels = np.full((2, 2, 3), 65535, np.uint16)
    assert (conversions.decode_image(image_message(pixels, 'rgb16')) == 255).all()


def test_yuv_and_bayer_become_rgb():
    grey = np.full((4, 4), 128, np.uint8)
    yuv = np.full((4, 4, 2), 128, np.uint8)
    assert (conversions.decode_image(image_message(grey, 'bayer_rggb8')) == 128).all()
    for encoding in ('yuv422', 'yuv422_yuy2', 'uyvy', 'yuyv'):
        rgb = conversions.decode_image(image_message(yuv, encoding))
        assert abs(int(rgb.mean()) - 130) < 3, encoding
    planar = image_message(np.full((6, 4), 128, np.uint8), 'nv12')
    planar.height = 4
    assert conversions.decode_image(planar).shape == (4, 4, 3)


def test_an_rgb8_image_is_not_copied():
    message = image_message(np.zeros((8, 8, 3), np.uint8), 'rgb8')
    pixels = conversions.decode_image(message)
    message.data[0] = 42
    assert pixels[0, 0, 0] == 42


def test_metric_depth_is_not_copied():
    message = image_message(np.zeros((8, 8), np.float32), '32FC1')
    depth = conversions.decode_depth(message)
    message.data[2:4] = array.array('B', [128, 63])
    assert depth[0, 0] == 1.0


@given(
    height=SIZES, width=SIZES, padding=st.integers(0, 9), big=st.booleans(),
    kind=st.sampled_from([('mono8', np.uint8), ('16UC1', np.uint16)]), last=st.booleans(),
)
def test_padding_and_byte_order_do_not_change_a_mask(height, width, padding, big, kind, last):
    encoding, dtype = kind
    rng = np.random.default_rng(height * width)
    pixels = rng.integers(0, np.iinfo(dtype).max, (height, width)).astype(dtype)
    size = pixels.itemsize
    padding *= size
    step = width * size + padding
    rows = pixels.astype(pixels.dtype.newbyteorder('>' if big else '<')).tobytes()
    rows = [rows[k * width * size:(k + 1) * width * size] for k in range(height)]
    data = b''.join(row + b'\xab' * padding for row in rows)
    if last:
        # Some publishers leave the padding of the last row out.
        data = data[:len(data) - padding]
    message = Image(
        height=height, width=width, encoding=encoding, is_bigendian=big, step=step,
        data=array.array('B', data),
    )
    np.testing.assert_array_equal(conversions.decode_mask(message), pixels)


@given(
    encoding=st.sampled_from(['rgb8', 'mono8', '16UC1', '32FC1', 'nv12', 'bayer_rggb8', 'x', '']),
    height=st.integers(0, 70_000), width=st.integers(0, 70_000), step=st.integers(0, 2**32 - 1),
    size=st.integers(0, 300), big=st.booleans(),
)
@settings(max_examples=300)
def test_no_header_makes_a_decoder_do_anything_but_refuse_or_decode(
    encoding, height, width, step, size, big
):
    message = Image(
        height=height, width=width, encoding=encoding, step=step, is_bigendian=big,
        data=array.array('B', bytes(size)),
    )
    for decode in (conversions.decode_image, conversions.decode_depth, conversions.decode_mask):
        try:
            assert decode(message).shape[:2] == (height, width)
        except LiftError as error:
            assert error.code.value == 'BAD_IMAGE'


@given(data=st.binary(max_size=200), form=st.sampled_from(['jpeg', 'png', '', 'compressedDepth']))
def test_bytes_that_are_no_picture_are_refused(data, form):
    message = CompressedImage(format=form, data=data)
    for decode in (conversions.decode_image, conversions.decode_depth, conversions.decode_mask):
        assert code(decode, message) == 'BAD_IMAGE'


def test_compressed_pictures_decode():
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[..., 2] = 250
    png = CompressedImage(format='png', data=cv2.imencode('.png', pixels)[1].tobytes())
    np.testing.assert_array_equal(conversions.decode_image(png)[0, 0], (250, 0, 0))
    labels = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    png = CompressedImage(format='png', data=cv2.imencode('.png', labels)[1].tobytes())
    np.testing.assert_array_equal(conversions.decode_mask(png), labels)
    np.testing.assert_allclose(conversions.decode_depth(png), 0.001 * labels, rtol=1e-6)


def test_compressed_metric_depth_is_inverse_depth():
    # compressed_depth_image_transport: value = a / depth + b, a = 100 * 101, b = 1 - 100.
    depth = np.array([[0.5, 2.0, 8.0]], np.float32)
    a, b = 100.0 * 101.0, 1.0 - 101.0
    png = cv2.imencode('.png', (a / depth + b).astype(np.uint16))[1].tobytes()
    header = np.array([0], '<i4').tobytes() + np.array([a, b], '<f4').tobytes()
    message = CompressedImage(format='32FC1; compressedDepth png', data=header + png)
    np.testing.assert_allclose(conversions.decode_depth(message), depth, rtol=2e-3)


@given(height=SIZES, width=SIZES, scale=st.integers(1, 4))
def test_a_mask_is_scaled_by_whole_pixels(height, width, scale):
    labels = np.arange(height * width).reshape(height, width).astype(np.uint16)
    fitted = conversions.fit_mask(labels, width * scale, height * scale)
    np.testing.assert_array_equal(fitted, labels.repeat(scale, 0).repeat(scale, 1))
    np.testing.assert_array_equal(conversions.fit_mask(fitted, width, height), labels)


def test_a_mask_of_another_aspect_ratio_is_refused():
    assert code(conversions.fit_mask, np.zeros((480, 640)), 1280, 720) == 'SIZE_MISMATCH'
    # 424 x 240 is what a RealSense calls a quarter of 848 x 480, and 640 x 360 of 1280 x 720.
    assert conversions.fit_mask(np.zeros((240, 424), np.uint8), 848, 480).shape == (480, 848)


# --- cameras ---

CAMERA = Camera(40, 30, 50.0, 52.0, 19.0, 14.0)
PICTURE = image_message(np.zeros((30, 40, 3), np.uint8), 'rgb8')


def test_a_rectified_image_has_the_camera_of_p():
    info = info_message(CAMERA)
    info.k = np.diag([1.0, 1.0, 1.0]).reshape(9)
    assert camera_info.build_frame(PICTURE, info).camera == CAMERA


def test_without_p_the_camera_is_that_of_k():
    info = info_message(CAMERA)
    info.p = np.zeros(12)
    assert camera_info.build_frame(PICTURE, info).camera == CAMERA


def test_region_and_binning_move_the_camera():
    info = info_message(Camera(80, 60, 100.0, 100.0, 39.5, 29.5))
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 20, 10, 40, 30
    camera = camera_info.build_frame(PICTURE, info).camera
    assert (camera.cx, camera.cy, camera.fx) == (19.5, 19.5, 100.0)
    info = info_message(Camera(80, 60, 100.0, 100.0, 39.5, 29.5))
    info.binning_x = info.binning_y = 2
    camera = camera_info.build_frame(PICTURE, info).camera
    # Pixel k of the binned image covers pixels 2 k and 2 k + 1: its centre is at 2 k + 0.5.
    assert (camera.cx, camera.cy, camera.fx) == (19.5, 14.5, 50.0)


def test_distortion_is_taken_out_of_image_depth_and_mask():
    info = info_message(Camera(200, 160, 180.0, 180.0, 99.5, 79.5))
    info.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    # A point of the pinhole camera, and where the lens puts it.
    K = np.reshape(info.k, (3, 3))
    ray = np.array([[[-0.4, -0.3, 1.0]]])
    lens = cv2.projectPoints(ray, np.zeros(3), np.zeros(3), K, np.array(info.d))[0].reshape(2)
    pinhole = K[:2, 2] + 180.0 * ray[0, 0, :2]
    assert np.linalg.norm(lens - pinhole) > 5.0
    u, v = np.rint(lens).astype(int)
    image, depth = np.zeros((160, 200, 3), np.uint8), np.ones((160, 200), np.float32)
    mask = np.zeros((160, 200), np.uint8)
    for pixels, value in ((image, 255), (depth, 2.0), (mask, 7)):
        pixels[v - 1:v + 2, u - 1:u + 2] = value
    frame = camera_info.build_frame(
        image_message(image, 'rgb8'), info, image_message(depth, '32FC1'), rectified=False
    )
    mask = camera_info.undistort_mask(mask, info)
    for pixels in (frame.image[..., 0] > 128, frame.depth > 1.5, mask == 7):
        found = np.argwhere(pixels).mean(axis=0)[::-1]
        np.testing.assert_allclose(found, pinhole, atol=1.0)
    assert frame.camera.fx == 180.0


def test_an_unknown_lens_is_refused():
    info = info_message(CAMERA)
    info.distortion_model, info.d = 'crystal_ball', [1.0]
    assert code(camera_info.build_frame, PICTURE, info, rectified=False) == 'NO_CAMERA'
    assert code(camera_info.build_frame, PICTURE, None) == 'NO_CAMERA'


@given(height=SIZES, width=SIZES, seed=st.integers(0, 99))
def test_a_frame_survives_the_way_through_messages(height, width, seed):
    rng = np.random.default_rng(seed)
    frame = Frame(
        rng.integers(0, 255, (height, width, 3)).astype(np.uint8),
        Camera(
            width,
            height,
            1.1 * max(width, height),
            1.2 * max(width, height),
            0.5 * (width - 1.0),
            0.5 * (height - 1.0),
        ),
        rng.integers(0, 9000, (height, width)).astype(np.float32) * np.float32(0.001),
    )
    mask = rng.random((height, width)) > 0.5
    messages = frame_messages(frame, mask)
    back = camera_info.build_frame(messages['image'], messages['camera_info'], messages['depth'])
    np.testing.assert_array_equal(back.image, frame.image)
    np.testing.assert_allclose(back.depth, frame.depth, atol=1e-6)
    np.testing.assert_array_equal(conversions.decode_mask(messages['mask']) > 0, mask)
    assert back.camera == frame.camera


# --- results ---

@given(st.lists(st.floats(-1.0, 1.0), min_size=7, max_size=7))
def test_a_pose_survives_the_way_through_a_message(values):
    eye = np.array(values[:3])
    direction = np.array(values[3:6])
    if np.linalg.norm(direction) < 1e-3:
        direction = np.array([1.0, 0.0, 0.0])
    T = look_at(eye, eye + unit(direction), up=(0.1, 0.2, values[6] + 2.0))
    pose = pose_message(T)
    np.testing.assert_allclose(pose_matrix(pose), T, atol=1e-9)
    assert pose.orientation.w >= 0.0


def test_half_turns_have_a_quaternion():
    for axes in ((1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        T = np.diag([*axes, 1.0])
        np.testing.assert_allclose(pose_matrix(pose_message(T)), T, atol=1e-12)
    # A message that nobody filled in means no rotation.
    empty = Pose()
    empty.orientation.w = 0.0
    np.testing.assert_array_equal(pose_matrix(empty), np.eye(4))


@given(st.floats(0.0, 1e6))
def test_durations_survive(value):
    assert seconds(duration_message(value)) == pytest.approx(value, abs=1e-8)


def packed_object(vertices: int, faces: int, seed: int = 0) -> LiftedObject:
    rng = np.random.default_rng(seed)
    message = LiftedObject(
        id='müg_0',
        class_id='mug' * seed,
        mesh=MeshMsg(
            triangles=Packed(MeshTriangle, rng.integers(0, 9, (faces, 3)).astype(np.uint32)),
            vertices=Packed(Point, rng.random((vertices, 3))),
        ),
        vertex_colors=colors_message(rng.integers(0, 255, (vertices, 3)).astype(np.uint8)),
        vertex_confidence=ROS.numbers(rng.random(vertices).astype(np.float32)),
        vertex_observed=(rng.random(vertices) > 0.5).tolist(),
        scale_source='depth',
        scale_stddev=0.5,
    )
    message.pose.covariance = rng.random(36)
    message.cloud.data = array.array('B', bytes(range(seed % 200)))
    return message


def test_a_byte_is_serialized_as_rclpy_keeps_it():
    message = DiagnosticStatus(level=DiagnosticStatus.WARN, name='camera')
    assert deserialize_message(cdr.serialize(message), DiagnosticStatus) == message


@given(vertices=st.integers(0, 5), faces=st.integers(0, 5), count=st.integers(0, 3))
def test_the_fast_serialization_reads_as_the_message(vertices, faces, count):
    message = LiftedObjectArray(
        objects=[packed_object(vertices, faces, seed) for seed in range(count)]
    )
    message.header.frame_id = 'camera'[:count]
    fast, slow = cdr.serialize(message), serialize_message(message)
    assert len(fast) == len(slow)
    assert deserialize_message(fast, LiftedObjectArray) == deserialize_message(
        slow, LiftedObjectArray
    )


def test_a_packed_sequence_is_a_sequence_of_messages():
    rows = np.arange(12.0).reshape(4, 3)
    points = Packed(Point, rows)
    assert len(points) == 4
    assert points[1] == Point(x=3.0, y=4.0, z=5.0)
    assert points[-1].z == 11.0
    assert [p.x for p in points[1:3]] == [3.0, 6.0]
    with pytest.raises(IndexError):
        points[4]
    colour = Packed(ColorRGBA, np.array([[0.25, 0.5, 0.75, 1.0]], np.float32))[0]
    assert (colour.r, colour.g, colour.b, colour.a) == (0.25, 0.5, 0.75, 1.0)


def test_a_mesh_survives_the_way_through_a_message():
    message = packed_object(9, 4)
    back = mesh_from_message(deserialize_message(cdr.serialize(message), LiftedObject))
    np.testing.assert_array_equal(back.vertices, message.mesh.vertices.rows.astype(np.float32))
    np.testing.assert_array_equal(back.faces, message.mesh.triangles.rows)
    np.testing.assert_allclose(
        back.colors / 255.0, message.vertex_colors.rows[:, :3], atol=1e-6
    )
