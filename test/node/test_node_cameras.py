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

"""Camera infos and depth as drivers publish them, over the graph: what comes of a ball."""

from __future__ import annotations

from collections.abc import Iterator
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
import ros_helpers as ros
from sensor_msgs.msg import CameraInfo

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rigid
from lift3d_ros.messages.images import FRAME_ID
from lift3d_ros.node.messages.images import image_message
from lift3d_ros.node.messages.images import info_message
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

WIDTH, HEIGHT, FOV = 424, 240, 69.0
CAMERA = Camera.from_fov(WIDTH, HEIGHT, FOV)
RADIUS = 0.05
DEPTH_FRAME = 'camera_depth_optical_frame'
BARREL = [-0.3, 0.1, 0.0, 0.0, 0.0]
EYE = look_at((0.4, 0.0, 0.35), (0.0, 0.0, RADIUS))


def seen(rays: np.ndarray, T: np.ndarray = EYE) -> tuple[np.ndarray, np.ndarray]:
    """Return depth and mask of a ball on a table along rays (h, w, 3) with z = 1."""
    turned, eye = rays @ T[:3, :3].T, T[:3, 3]
    depth = np.minimum(-eye[2] / np.minimum(turned[..., 2], -1e-9), 5.0)
    offset = eye - np.array([0.0, 0.0, RADIUS])
    a = np.einsum('ijk,ijk->ij', turned, turned)
    b = turned @ offset
    root = b * b - a * (offset @ offset - RADIUS**2)
    mask = root > 0.0
    near = np.where(mask, (-b - np.sqrt(np.maximum(root, 0.0))) / a, depth)
    return near.astype(np.float32), mask


def request(rays: np.ndarray | None = None, info: CameraInfo | None = None) -> LiftObject.Request:
    """Return a request with a ball, seen along the rays of the raw image."""
    depth, mask = seen(CAMERA.rays() if rays is None else rays)
    image = np.full((*mask.shape, 3), 150, np.uint8)
    image[mask] = 200, 60, 40
    made = LiftObject.Request(
        image=image_message(image, 'rgb8'),
        camera_info=info or info_message(CAMERA),
        depth=image_message(depth, '32FC1'),
        mask=image_message(mask.astype(np.uint8) * 255, 'mono8'),
    )
    return made


def side(response: LiftObject.Response) -> np.ndarray:
    """Return the sides of the box around the mesh of a ball, metres."""
    assert response.success, response.message
    points = np.array([(p.x, p.y, p.z) for p in response.object.mesh.vertices])
    return np.ptp(points, axis=0)


def is_ball(response: LiftObject.Response) -> bool:
    return bool(np.abs(side(response) - 2.0 * RADIUS).max() < 0.008)


def raw_rays(K: np.ndarray, D: list[float], width: int, height: int) -> np.ndarray:
    """Return the rays of the pixels of a raw image with skew and distortion."""
    v, u = np.mgrid[:height, :width].astype(np.float64)
    y = (v - K[1, 2]) / K[1, 1]
    x = (u - K[0, 2] - K[0, 1] * y) / K[0, 0]
    # Radial distortion alone, undone by a fixed point.
    distorted = np.hypot(x, y)
    r = distorted
    for _ in range(60):
        r = distorted / (1.0 + D[0] * r**2 + D[1] * r**4)
    with np.errstate(invalid='ignore'):
        scale = np.where(distorted > 0.0, r / distorted, 1.0)
    return np.dstack([x * scale, y * scale, np.ones((height, width))])


@pytest.fixture(scope='module')
def node(graph: ros.Graph) -> Iterator[ros.NodeProcess]:
    with ros.running(graph, 'cameras', autostart=True, mask_source='binary') as node:
        yield node


# --- camera infos ---

def test_a_raw_image_with_p_equal_to_k_is_undistorted_and_said_so(node):
    info = info_message(CAMERA)
    info.d = BARREL
    response = node.lift(request(raw_rays(CAMERA.K, BARREL, WIDTH, HEIGHT), info))
    assert is_ball(response)
    assert 'rectified' in response.message
    info.p = np.zeros(12)
    info.r = np.zeros(9)
    assert is_ball(node.lift(request(raw_rays(CAMERA.K, BARREL, WIDTH, HEIGHT), info)))


def test_a_rectified_image_with_a_p_of_its_own_is_taken_as_it_is(node):
    info = info_message(CAMERA)
    info.d = BARREL
    info.k = (np.diag([1.1, 1.1, 1.0]) @ CAMERA.K).reshape(9)
    response = node.lift(request(info=info))
    assert is_ball(response)
    assert 'rectified' not in response.message


@pytest.mark.parametrize('skew', [1.3, 15.0])
def test_a_skew_is_taken_out(node, skew):
    K = CAMERA.K
    K[0, 1] = skew
    info = info_message(CAMERA)
    info.k, info.p = K.reshape(9), np.hstack([K, np.zeros((3, 1))]).reshape(12)
    assert is_ball(node.lift(request(raw_rays(K, [0.0] * 5, WIDTH, HEIGHT), info)))
    # P without skew is of the rectified image.
    info.p = info_message(CAMERA).p
    assert is_ball(node.lift(request(info=info)))


def test_a_region_of_interest_is_a_part_of_the_full_image(node):
    full = CAMERA.crop(-60.5, -40.5, 640, 400)
    info = info_message(full)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 60, 40, WIDTH, HEIGHT
    assert is_ball(node.lift(request(info=info)))
    # The image is the full one all the same.
    info = info_message(CAMERA)
    info.roi.width, info.roi.height = WIDTH - 1, HEIGHT - 1
    response = node.lift(request(info=info))
    assert is_ball(response)
    assert 'region' in response.message


@pytest.mark.parametrize('binning', [(2, 2), (4, 4), (2, 1)])
def test_binning_scales_the_camera(node, binning):
    x, y = binning
    full = CAMERA.crop(-0.5, -0.5, WIDTH * x, HEIGHT * y, float(x), float(y))
    info = info_message(full)
    info.binning_x, info.binning_y = binning
    assert is_ball(node.lift(request(info=info)))


@pytest.mark.parametrize('binning', [(2, 2), (1000, 1), (1000, 1000), (2**32 - 1, 1)])
def test_an_image_that_is_not_binned_as_its_info_says_is_refused(node, binning):
    info = info_message(CAMERA)
    info.binning_x, info.binning_y = binning
    response = node.lift(request(info=info))
    assert response.error_code == 'SIZE_MISMATCH'
    assert 'binning' in response.message


def test_a_distorted_region_is_undistorted_in_the_full_image(node):
    full = CAMERA.crop(-60.5, -40.5, 640, 400)
    rays = raw_rays(full.K, BARREL, 640, 400)[40:40 + HEIGHT, 60:60 + WIDTH]
    info = info_message(full)
    info.d = BARREL
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 60, 40, WIDTH, HEIGHT
    assert is_ball(node.lift(request(rays, info)))


def test_a_region_outside_of_the_image_is_refused(node):
    info = info_message(CAMERA)
    info.roi.x_offset, info.roi.width, info.roi.height = 100, WIDTH, HEIGHT
    assert node.lift(request(info=info)).error_code == 'NO_CAMERA'


@pytest.mark.parametrize('factor', [0.25, 0.5, 2.0, 3.0])
def test_a_matrix_of_another_resolution_is_refused(node, factor):
    info = info_message(CAMERA)
    K = np.diag([factor, factor, 1.0]) @ CAMERA.K
    info.k, info.p = K.reshape(9), np.hstack([K, np.zeros((3, 1))]).reshape(12)
    response = node.lift(request(info=info))
    assert response.error_code == 'SIZE_MISMATCH'
    assert 'resolution' in response.message


def test_a_principal_point_beside_the_middle_is_a_note(node):
    K = CAMERA.K
    K[0, 2] *= 1.4
    info = info_message(CAMERA)
    info.k, info.p = K.reshape(9), np.hstack([K, np.zeros((3, 1))]).reshape(12)
    response = node.lift(request(info=info))
    assert response.success
    assert 'principal point' in response.message


@pytest.mark.parametrize('factor', [0.011, 1e-3, 1e300, -1.0, 0.0, float('nan'), float('inf')])
@pytest.mark.parametrize('rectified', [True, False])
def test_a_focal_length_of_no_camera_is_refused(node, factor, rectified):
    info = info_message(CAMERA)
    K = CAMERA.K
    K[0, 0] *= factor
    K[1, 1] *= factor
    if rectified:
        info.p = np.hstack([K, np.zeros((3, 1))]).reshape(12)
    if not rectified or factor == 0.0:
        info.k, info.p = K.reshape(9), np.zeros(12)
    assert node.lift(request(info=info)).error_code == 'NO_CAMERA'


def test_an_identity_k_is_named(node):
    info = info_message(CAMERA)
    info.k, info.p = np.eye(3).reshape(9), np.eye(3, 4).reshape(12)
    response = node.lift(request(info=info))
    assert response.error_code == 'NO_CAMERA'
    assert 'identity' in response.message


@pytest.mark.parametrize('d', [[float('nan')] * 5, [0.1] * 3, [1e300] * 5])
def test_a_distortion_of_no_lens_is_refused(node, d):
    info = info_message(CAMERA)
    info.d = d
    assert node.lift(request(info=info)).error_code == 'NO_CAMERA'


# --- depth of another camera ---

def unregistered(
    fov: float,
    baseline: float,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    frame: str = FRAME_ID,
    info: bool = True,
) -> LiftObject.Request:
    """Return a request whose depth was measured by a camera to the right of that of the image."""
    own = Camera.from_fov(*size, fov)
    depth, _ = seen(own.rays(), EYE @ rigid(np.eye(3), (baseline, 0.0, 0.0)))
    made = request()
    made.depth = image_message(depth, '32FC1')
    made.depth.header.frame_id = frame
    if info:
        made.depth_camera_info = info_message(own)
        made.depth_camera_info.header.frame_id = frame
    return made


@pytest.mark.parametrize('size', [(WIDTH, HEIGHT), (640, 480), (320, 288), (848, 480)])
@pytest.mark.parametrize('fov', [87.0, 65.0, 75.0])
def test_depth_of_another_field_of_view_is_registered(node, fov, size):
    response = node.lift(unregistered(fov, 0.0, size))
    assert is_ball(response)
    assert 'registered' not in response.message


def test_depth_with_the_distortion_of_its_own_camera_is_registered(node):
    own = Camera.from_fov(640, 480, 75.0)
    made = request()
    depth, _ = seen(raw_rays(own.K, BARREL, 640, 480))
    made.depth = image_message(depth, '32FC1')
    made.depth_camera_info = info_message(own)
    made.depth_camera_info.d = BARREL
    assert is_ball(node.lift(made))


def test_the_camera_info_of_registered_depth_changes_nothing(node):
    plain = side(node.lift(request()))
    made = request()
    made.depth_camera_info = info_message(CAMERA)
    np.testing.assert_array_equal(side(node.lift(made)), plain)
    made.depth.header.frame_id = made.depth_camera_info.header.frame_id = f'/{FRAME_ID}'
    np.testing.assert_array_equal(side(node.lift(made)), plain)
    made.depth.header.frame_id = ''
    np.testing.assert_array_equal(side(node.lift(made)), plain)


@pytest.mark.parametrize('fov', [87.0, 65.0, 75.0, 69.0])
@pytest.mark.parametrize('baseline', [0.015, 0.032])
def test_depth_of_another_frame_without_its_camera_info_is_refused(node, fov, baseline):
    response = node.lift(unregistered(fov, baseline, frame=DEPTH_FRAME, info=False))
    assert response.error_code == 'SIZE_MISMATCH'
    assert 'align_depth' in response.message


def test_the_camera_info_of_another_depth_image_is_refused(node):
    made = unregistered(75.0, 0.0)
    made.depth_camera_info = info_message(Camera.from_fov(320, 240, 75.0))
    response = node.lift(made)
    assert response.error_code == 'SIZE_MISMATCH'
    assert 'depth_camera_info' in response.message


@pytest.mark.parametrize(('fov', 'baseline'), [
    (69.0, 0.015), (69.0, 0.032), (87.0, 0.0), (87.0, 0.015), (65.0, 0.015), (75.0, 0.032),
])
def test_depth_taken_as_registered_that_is_not_is_a_note(node, fov, baseline):
    assert node.set_parameter('depth_registration', 'assume_registered').successful
    try:
        response = node.lift(unregistered(fov, baseline, frame=DEPTH_FRAME))
        assert not response.success or 'registered' in response.message
        registered = request()
        registered.depth.header.frame_id = DEPTH_FRAME
        response = node.lift(registered)
        assert is_ball(response)
        assert 'registered' not in response.message
    finally:
        assert node.set_parameter('depth_registration', 'auto').successful


def test_without_a_transform_depth_of_another_frame_is_refused(node):
    response = node.lift(unregistered(87.0, 0.015, frame='camera_of_no_tree'))
    assert response.error_code == 'NO_TRANSFORM'


@pytest.mark.parametrize('fov', [87.0, 65.0, 75.0, 69.0])
@pytest.mark.parametrize('baseline', [0.015, 0.032])
def test_depth_of_another_camera_is_registered_by_the_tree(graph, node, fov, baseline):
    pytest.importorskip('tf2_ros')
    from tf2_msgs.msg import TFMessage

    frame = f'depth_{fov:.0f}_{1000.0 * baseline:.0f}'
    transform = TransformStamped()
    transform.header.frame_id, transform.child_frame_id = FRAME_ID, frame
    transform.transform.translation.x = baseline
    transform.transform.rotation.w = 1.0
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = graph.node.create_publisher(TFMessage, '/tf_static', qos)
    publisher.publish(TFMessage(transforms=[transform]))
    try:
        made = unregistered(fov, baseline, (640, 480), frame)
        # The node listens to the tree from its first question on.
        end = time.monotonic() + ros.PATIENCE
        response = node.lift(made)
        while response.error_code == 'NO_TRANSFORM' and time.monotonic() < end:
            response = node.lift(made)
        assert is_ball(response)
    finally:
        graph.node.destroy_publisher(publisher)


# --- topics ---

def test_depth_of_a_stream_is_registered_by_the_topic_depth_camera_info(graph):
    from lift3d_ros.msg import LiftedObjectArray

    made = unregistered(87.0, 0.0, (640, 480))
    sent = {name: getattr(made, name) for name in (
        'image', 'camera_info', 'depth', 'mask', 'depth_camera_info',
    )}
    with ros.running(graph, 'unregistered', autostart=True, mode='continuous') as node:
        publishers = {
            name: graph.node.create_publisher(type(message), f'/unregistered/{name}', 5)
            for name, message in sent.items()
        }
        with graph.listen(LiftedObjectArray, node.name('objects')) as heard:

            def good() -> bool:
                stamp = graph.node.get_clock().now().to_msg()
                for name, message in sent.items():
                    message.header.stamp = stamp
                    publishers[name].publish(message)
                time.sleep(0.2)
                return any(array.objects for array in heard)

            ros.wait_until(good)
        found = next(array for array in heard if array.objects).objects[0]
        points = np.array([(p.x, p.y, p.z) for p in found.mesh.vertices])
        np.testing.assert_allclose(np.ptp(points, axis=0), 2.0 * RADIUS, atol=0.008)
