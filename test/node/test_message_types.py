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

"""Messages of rclpy and of rosbags are the same, byte by byte, and are read alike."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from rclpy.serialization import deserialize_message
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
import trimesh

from lift3d_ros.bags.message_types import RosbagTypes
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.messages import results
from lift3d_ros.messages.camera_info import build_frame
from lift3d_ros.messages.conversions import decode_image
from lift3d_ros.messages.images import image_message
from lift3d_ros.messages.images import info_message
from lift3d_ros.messages.markers import MarkerMaker
from lift3d_ros.node.messages import cdr
from lift3d_ros.node.messages.types import ROS
from lift3d_ros.segmentation.instances import Instance

pytestmark = pytest.mark.ros

TYPES = RosbagTypes()


def lifted(types):
    """Return a ball with random colours, in a frame of messages of ``types``."""
    rng = np.random.default_rng(0)
    ball = trimesh.creation.icosphere(3, radius=0.05)
    count = len(ball.vertices)
    shape = Shape(
        mesh=Mesh(
            ball.vertices.astype(np.float32),
            ball.faces.astype(np.int32),
            rng.integers(0, 255, (count, 3), np.uint8),
        ),
        T_camera_object=look_at([0.3, 0.2, 0.6], [0.0, 0.0, 0.0]),
        pose_covariance=np.diag(rng.random(6)),
        confidence=rng.random(count).astype(np.float32),
        observed=rng.random(count) < 0.5,
        scale_source='depth',
        scale_stddev=0.01,
        elevation=30.0,
        elevation_source='gravity',
        method='geometric',
        seconds={'crop': 0.25, 'mesh': 1.5, 'total': 1.75},
        notes=('a note', 'an ä'),
    )
    stamp = types.make('builtin_interfaces/Time', sec=12, nanosec=345)
    header = types.make('std_msgs/Header', stamp=stamp, frame_id='world')
    instance = Instance(np.ones((1, 1), bool), (0, 0, 1, 1), 1, class_id='ball', score=0.75)
    return results.Lifted(
        header, 'ball_0', instance, shape, shape.T_camera_object, shape.pose_covariance,
        shape.cloud(50), notes=shape.notes,
    )


def made(types):
    """Return the messages that are created for both, by their type."""
    one = lifted(types)
    failures = [('cup_1', LiftError(ErrorCode.EMPTY_MASK, 'There are no pixels.'))]
    markers = MarkerMaker(types)
    markers.show([one], 200, True)
    camera = Camera.from_fov(8, 6, 50.0)
    return {
        'lift3d_ros/LiftedObjectArray':
            results.array_message(types, one.header, [one], failures),
        'visualization_msgs/MarkerArray': MarkerMaker(types).show([one], 200, True),
        'visualization_msgs/MarkerArray of none': markers.clear(),
        'sensor_msgs/PointCloud2': results.cloud_message(
            types, one.header, results.points(one.cloud, one.T_frame_object)),
        'sensor_msgs/Image': image_message(types, np.arange(48, dtype=np.uint16)[None], '16UC1'),
        'sensor_msgs/CameraInfo': info_message(types, camera),
    }


def test_created_messages_are_equal_byte_by_byte():
    ours, theirs = made(TYPES), made(ROS)
    for name, message in ours.items():
        data = TYPES.serialize(name.partition(' ')[0], message)
        assert bytes(data) == cdr.serialize(theirs[name]), name


@pytest.mark.parametrize('count', [0, 1, 3])
def test_the_clouds_of_several_objects_have_the_layout_of_one(count):
    one = lifted(ROS)
    rows = results.points_of_all([one] * count)
    message = results.cloud_message(ROS, one.header, rows)
    assert len(message.data) == message.width * message.point_step == 50 * count * 48
    assert (rows == np.tile(results.points(one.cloud, one.T_frame_object), count)).all()


def test_rclpy_reads_what_rosbags_writes():
    from lift3d_ros.msg import LiftedObjectArray

    data = TYPES.serialize(
        'lift3d_ros/LiftedObjectArray', made(TYPES)['lift3d_ros/LiftedObjectArray'])
    message = deserialize_message(bytes(data), LiftedObjectArray)
    mesh = results.mesh_from_message(message.objects[0])
    assert np.allclose(mesh.vertices, lifted(ROS).shape.mesh.vertices)
    assert message.objects[0].notes == ['a note', 'an ä']


@pytest.mark.parametrize(('encoding', 'shape', 'dtype'), [
    ('rgb8', (6, 8, 3), np.uint8), ('bgra8', (6, 8, 4), np.uint8), ('mono16', (6, 8), np.uint16),
    ('bayer_rggb8', (6, 8), np.uint8), ('yuv422_yuy2', (6, 8, 2), np.uint8),
])
def test_images_are_read_alike(encoding, shape, dtype):
    pixels = np.random.default_rng(1).integers(0, 255, shape).astype(dtype)
    message = image_message(ROS, pixels, encoding)
    same = TYPES.store.deserialize_cdr(serialize_message(message), 'sensor_msgs/msg/Image')
    assert isinstance(message, Image)
    assert (decode_image(message) == decode_image(same)).all()


def test_a_frame_with_distortion_is_read_alike():
    camera = Camera.from_fov(32, 24, 50.0)
    rng = np.random.default_rng(2)
    image = image_message(ROS, rng.integers(0, 255, (24, 32, 3), np.uint8), 'rgb8')
    depth = image_message(ROS, rng.integers(400, 600, (24, 32)).astype(np.uint16), '16UC1')
    info = info_message(ROS, camera)
    info.d = [0.1, -0.02, 0.001, 0.002, 0.0]

    def copied(message, kind):
        return TYPES.store.deserialize_cdr(serialize_message(message), kind)

    ours = build_frame(image, info, depth, rectified=False)
    same = build_frame(
        copied(image, 'sensor_msgs/msg/Image'),
        copied(info, 'sensor_msgs/msg/CameraInfo'),
        copied(depth, 'sensor_msgs/msg/Image'),
        rectified=False,
    )
    assert isinstance(info, CameraInfo)
    assert (ours.image == same.image).all()
    assert (ours.depth == same.depth).all()
    assert np.allclose(ours.camera.K, same.camera.K)


def test_damaged_compressed_images_are_refused_alike():
    message = CompressedImage(format='png', data=b'\x89PNG\r\n\x1a\nnothing')
    same = TYPES.store.deserialize_cdr(
        serialize_message(message), 'sensor_msgs/msg/CompressedImage')
    for each in (message, same):
        with pytest.raises(LiftError) as caught:
            decode_image(each)
        assert caught.value.code is ErrorCode.BAD_IMAGE
