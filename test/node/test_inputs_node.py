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


"""Pictures, masks and depth as robots send them, to a node on a real graph."""

from __future__ import annotations

from collections.abc import Iterator
import io
from pathlib import Path
import struct
import time

import numpy as np
import psutil
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from PIL import Image as Pictures
import ros_helpers as ros
from rvl_helpers import encode_rvl
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
import trimesh

from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.messages.images import image_message
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SaveObject

pytestmark = pytest.mark.ros

FRAME, LABELS = ros.BALL
TWO_FRAME, TWO_LABELS = ros.TWO


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('out')


@pytest.fixture(scope='module')
def node(graph: ros.Graph, folder: Path) -> Iterator[ros.NodeProcess]:
    with ros.running(graph, 'inputs', '--autostart', output_dir=str(folder)) as node:
        yield node


def request(frame=FRAME, labels=LABELS, **fields) -> LiftObject.Request:
    return LiftObject.Request(**{**ros.messages(frame, labels), **fields})


def label(value: int) -> ObjectSelector:
    return ObjectSelector(mode=ObjectSelector.LABEL, label=value)


def compressed(pixels, kind: str, form: str = '', **options) -> CompressedImage:
    stream = io.BytesIO()
    Pictures.fromarray(pixels).save(stream, kind, **options)
    return CompressedImage(format=form or kind.lower(), data=stream.getvalue())


def diameter(answer: LiftObject.Response) -> float:
    assert answer.success, f'{answer.error_code}: {answer.message}'
    size = answer.object.size
    return max(size.x, size.y, size.z)


# --- labels ---

@pytest.mark.parametrize('ids', [(70000, 3), (65536, 131072), (65537, 1), (2**31 - 1, 7)])
def test_labels_of_32_bits_keep_their_ids(node: ros.NodeProcess, ids: tuple[int, int]) -> None:
    values = np.zeros(TWO_LABELS.shape, np.int32)
    values[TWO_LABELS == 1], values[TWO_LABELS == 2] = ids
    for value, size in zip(ids, (0.1, 0.08), strict=True):
        answer = node.lift(request(
            TWO_FRAME, TWO_LABELS, mask=image_message(values, '32SC1'), selector=label(value)))
        assert diameter(answer) == pytest.approx(size, rel=0.1)
        assert answer.object.id == f'label_{value}'


@pytest.mark.parametrize(('encoding', 'dtype'), [
    ('mono8', np.uint8), ('8UC1', np.uint8), ('8SC1', np.int8), ('mono16', np.uint16),
    ('16UC1', np.uint16), ('16SC1', np.int16), ('32SC1', np.int32), ('32FC1', np.float32),
    ('64FC1', np.float64),
])
def test_labels_of_every_encoding_are_read(node: ros.NodeProcess, encoding: str, dtype) -> None:
    values = (TWO_LABELS * 60).astype(dtype)
    if np.dtype(dtype).kind != 'u':
        values[TWO_LABELS == 0] = -1
    answer = node.lift(request(
        TWO_FRAME, TWO_LABELS, mask=image_message(values, encoding), selector=label(120)))
    assert diameter(answer) == pytest.approx(0.08, rel=0.1)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8'])
def test_each_colour_is_an_object_of_its_own(node: ros.NodeProcess, encoding: str) -> None:
    painted = np.zeros((*TWO_LABELS.shape, 3), np.uint8)
    painted[TWO_LABELS == 1], painted[TWO_LABELS == 2] = (200, 30, 7), (7, 30, 200)
    if encoding.startswith('bgr'):
        painted = np.ascontiguousarray(painted[..., ::-1])
    if 'a' in encoding:
        painted = np.dstack([painted, np.full(TWO_LABELS.shape, 255, np.uint8)])
    mask = image_message(painted, encoding)
    for value, size in ((0xC81E07, 0.1), (0x071EC8, 0.08)):
        answer = node.lift(request(TWO_FRAME, TWO_LABELS, mask=mask, selector=label(value)))
        assert diameter(answer) == pytest.approx(size, rel=0.1)


def test_a_binary_mask_of_several_colours_is_noted(node: ros.NodeProcess) -> None:
    painted = np.zeros((*TWO_LABELS.shape, 3), np.uint8)
    painted[TWO_LABELS == 1], painted[TWO_LABELS == 2] = (255, 0, 0), (0, 255, 0)
    answer = node.lift(request(TWO_FRAME, TWO_LABELS, mask=image_message(painted, 'rgb8')))
    assert diameter(answer) == pytest.approx(0.1, rel=0.1)
    assert any('colours' in note for note in answer.object.notes)


# --- masks ---

def test_a_mask_with_an_opaque_alpha_is_read_by_its_colour(node: ros.NodeProcess) -> None:
    painted = np.full((*LABELS.shape, 4), 255, np.uint8)
    painted[LABELS == 0, :3] = 0
    answer = node.lift(request(mask=image_message(painted, 'rgba8')))
    assert diameter(answer) == pytest.approx(0.1, rel=0.1)


def test_an_alpha_that_varies_is_the_mask(node: ros.NodeProcess) -> None:
    cut_out = np.dstack([FRAME.image, LABELS * 255])
    answer = node.lift(request(mask=image_message(cut_out, 'rgba8')))
    assert diameter(answer) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize('pixels', [
    np.full(LABELS.shape, 255, np.uint8), np.where(LABELS, 0, 255).astype(np.uint8),
    np.where(LABELS, 255, 100).astype(np.uint8),
    np.random.default_rng(0).integers(0, 256, LABELS.shape, np.uint8),
], ids=['all', 'inverted', 'grey background', 'noise'])
def test_what_is_no_mask_is_refused(node: ros.NodeProcess, pixels: np.ndarray) -> None:
    answer = node.lift(request(mask=image_message(pixels, 'mono8')))
    assert (answer.success, answer.error_code) == (False, 'BAD_IMAGE')


# --- depth ---

@pytest.mark.parametrize(('encoding', 'top'), [
    ('16UC1', 65535), ('16UC1', 10000), ('16UC1', 4095), ('32FC1', 65.535), ('32FC1', 20.0),
])
def test_a_mask_full_of_the_largest_value_is_lifted_by_the_rest(
    node: ros.NodeProcess, encoding: str, top: float
) -> None:
    assert FRAME.depth is not None
    lost = (LABELS > 0) & (np.random.default_rng(0).random(LABELS.shape) < 0.6)
    depth = FRAME.depth.copy() if encoding == '32FC1' else (1000 * FRAME.depth).astype(np.uint16)
    depth[lost] = top
    answer = node.lift(request(depth=image_message(depth, encoding)))
    assert diameter(answer) == pytest.approx(0.1, rel=0.15)


def test_an_image_of_ten_bits_in_sixteen_is_not_black(node: ros.NodeProcess) -> None:
    grey = (FRAME.image[..., 0].astype(np.uint16) * 4)
    answer = node.lift(request(image=image_message(grey, 'mono16')))
    diameter(answer)
    colours = np.array([(c.r, c.g, c.b) for c in answer.object.vertex_colors])
    assert colours.mean() > 0.3


# --- files ---

def save(graph: ros.Graph, node: ros.NodeProcess, path: str) -> SaveObject.Response:
    call = SaveObject.Request(path=path, overwrite=True)
    return graph.call(SaveObject, node.name('save_object'), call, ros.PATIENCE)


def test_a_saved_glb_has_y_up(graph: ros.Graph, node: ros.NodeProcess, folder: Path) -> None:
    answer = node.lift(request())
    diameter(answer)
    for kind in ('ply', 'glb'):
        assert save(graph, node, f'ball.{kind}').success
    upright = trimesh.load(folder / 'ball.ply', force='mesh').vertices
    turned = trimesh.load(folder / 'ball.glb', force='mesh').vertices
    upright = upright[:, [0, 2, 1]] * (1.0, 1.0, -1.0)
    np.testing.assert_allclose(turned.min(axis=0), upright.min(axis=0), atol=1e-4)
    np.testing.assert_allclose(turned.max(axis=0), upright.max(axis=0), atol=1e-4)


@pytest.mark.parametrize('path', ['loop/a.ply', 'a' * 300 + '.ply', 'b/' * 3000 + 'a.ply'])
def test_a_path_that_cannot_be_is_a_bad_request(
    graph: ros.Graph, node: ros.NodeProcess, folder: Path, path: str
) -> None:
    diameter(node.lift(request()))
    if not (folder / 'loop').is_symlink():
        (folder / 'loop').symlink_to(folder / 'loop')
    answer = save(graph, node, path)
    assert (answer.success, answer.error_code) == (False, 'BAD_REQUEST')


# --- compressed topics ---

class Camera:
    """Publishes compressed pictures beside their camera_info."""

    def __init__(self, graph: ros.Graph, namespace: str) -> None:
        self.graph = graph
        made = graph.node.create_publisher
        self.publishers = {
            'image': made(CompressedImage, f'/{namespace}/image/compressed', 10),
            'mask': made(CompressedImage, f'/{namespace}/mask/compressed', 10),
            'depth': made(CompressedImage, f'/{namespace}/depth/compressedDepth', 10),
            'camera_info': made(CameraInfo, f'/{namespace}/camera_info', 10),
        }
        self.stamp = time.time_ns()

    def publish(self, **messages: CompressedImage) -> None:
        self.stamp += 50_000_000
        messages['camera_info'] = ros.messages(FRAME, LABELS)['camera_info']
        for name, message in messages.items():
            message.header = ros.stamped(self.stamp)
            self.publishers[name].publish(message)


@pytest.fixture(scope='module')
def stream(graph: ros.Graph) -> Iterator[tuple[ros.NodeProcess, Camera]]:
    values = {
        'mode': 'continuous', 'image_transport': 'compressed', 'mask_transport': 'compressed',
        'depth_transport': 'compressedDepth',
    }
    with ros.running(graph, 'squeezed', '--autostart', **values) as node:
        camera = Camera(graph, 'squeezed')
        ros.wait_until(lambda: all(
            publisher.get_subscription_count() for publisher in camera.publishers.values()))
        yield node, camera
        for publisher in camera.publishers.values():
            graph.node.destroy_publisher(publisher)


def good() -> dict[str, CompressedImage]:
    assert FRAME.depth is not None
    counts = (1000 * FRAME.depth).astype(np.uint16)
    return {
        'image': compressed(FRAME.image, 'JPEG', quality=95),
        'mask': compressed(LABELS * np.uint8(255), 'PNG'),
        'depth': CompressedImage(
            format='16UC1; compressedDepth rvl', data=bytes(12) + encode_rvl(counts)),
    }


def published(graph: ros.Graph, node: ros.NodeProcess, camera: Camera, **changes) -> list:
    """Publish until the node answers a frame with something; return what it says."""
    with graph.listen(LiftedObjectArray, node.name('objects')) as heard:

        def answered() -> bool:
            camera.publish(**{**good(), **changes})
            time.sleep(0.2)
            return any(m.objects or m.failures for m in heard)

        ros.wait_until(answered)
        return [m for m in heard if m.objects or m.failures]


def test_depth_by_rvl_is_lifted(
    graph: ros.Graph, stream: tuple[ros.NodeProcess, Camera]
) -> None:
    found = published(graph, *stream)[-1].objects[0]
    assert found.scale_source == 'depth'
    assert max(found.size.x, found.size.y, found.size.z) == pytest.approx(0.1, rel=0.1)


def test_a_mask_by_jpeg_is_lifted(
    graph: ros.Graph, stream: tuple[ros.NodeProcess, Camera]
) -> None:
    mask = compressed(LABELS * np.uint8(255), 'JPEG', quality=60)
    found = published(graph, *stream, mask=mask)[-1].objects[0]
    assert max(found.size.x, found.size.y, found.size.z) == pytest.approx(0.1, rel=0.1)


def test_header_bombs_leave_the_memory_of_a_continuous_node_as_it_was(
    graph: ros.Graph, stream: tuple[ros.NodeProcess, Camera]
) -> None:
    node, camera = stream
    published(graph, node, camera)
    data = bytearray(good()['image'].data)
    at = data.find(b'\xff\xc0') + 5
    data[at:at + 4] = struct.pack('>HH', 20000, 20000)
    bomb = CompressedImage(format='jpeg', data=bytes(data))
    process = psutil.Process(node.process.pid)
    before = process.memory_info().rss
    most = 0
    for _ in range(100):
        camera.publish(**{**good(), 'image': bomb})
        time.sleep(0.02)
        most = max(most, process.memory_info().rss)
    # It answers afterwards.
    assert published(graph, node, camera)[-1].objects
    assert most - before < 100e6
