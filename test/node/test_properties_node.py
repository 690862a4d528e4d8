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

"""
Whatever messages hold, decoding them ends in arrays of the declared form or in a ``LiftError``.

LIFT3D_PROPERTY_EXAMPLES multiplies the number of examples, which are then drawn at random.
"""

from __future__ import annotations

import os
import struct

import cv2
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from lift3d_ros.errors import LiftError
from lift3d_ros.io import pictures
from lift3d_ros.messages import camera_info
from lift3d_ros.messages import conversions
from lift3d_ros.messages.camera_info import DepthSource

pytestmark = pytest.mark.ros

FACTOR = int(os.environ.get('LIFT3D_PROPERTY_EXAMPLES', '0'))

ENCODINGS = (
    'rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'mono16', 'rgb16', 'bgr16', 'rgba16', '8UC1',
    '8SC1', '16UC1', '16SC1', '32SC1', '32FC1', '64FC1', '32FC3', '8UC2', '8UC3', '8UC4', '16UC3',
    'yuv422', 'yuv422_yuy2', 'uyvy', 'yuyv', 'nv12', 'nv21', 'nv24', 'bayer_rggb8',
    'bayer_gbrg16', '', 'rgb', '8UC0', '8UC99', '32UC1', '7UC1', 'mono8; png', 'x' * 300, '8UC-1',
    '\u0661\u0666UC1',
)
MODELS = ('plumb_bob', 'rational_polynomial', 'equidistant', 'fisheye', '', 'thin_prism', 'x\n')
SIZES = st.one_of(st.integers(1, 40), st.sampled_from([0, 2**16, 2**31, 2**32 - 1]))


def examples(count):
    """Return the settings of a property with so many examples."""
    return settings(
        max_examples=count * max(1, FACTOR), derandomize=not FACTOR, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), print_blob=bool(FACTOR))


@st.composite
def images(draw):
    """Return a raw image message: of good form as a rule, and of any content."""
    message = Image()
    message.encoding = draw(st.sampled_from(ENCODINGS))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    step = width * draw(st.sampled_from([1, 2, 2, 3, 4, 4, 6, 8, 8, 12]))
    data = {
        'noise': lambda n: rng.bytes(n), 'zeros': lambda n: bytes(n),
        'ones': lambda n: b'\xff' * n, 'few': lambda n: rng.choice([0, 1, 255], n).astype(
            np.uint8).tobytes(),
        'floats': lambda n: rng.choice(np.array(
            [0.0, 1.0, np.nan, np.inf, -np.inf, 1e38, -5.0, 0.5], np.float32),
            n // 4 + 1).tobytes()[:n],
    }[draw(st.sampled_from(['noise', 'zeros', 'ones', 'few', 'floats']))](step * height)
    fault = draw(st.sampled_from(['none'] * 8 + ['size', 'step', 'cut', 'more']))
    if fault == 'size':
        width, height = draw(SIZES), draw(SIZES)
    elif fault == 'step':
        step = draw(st.integers(0, 2**32 - 1))
    elif fault == 'cut':
        data = data[:draw(st.integers(0, len(data)))]
    elif fault == 'more':
        data += rng.bytes(100)
    message.width, message.height, message.step = width, height, step
    message.is_bigendian = draw(st.sampled_from([0, 0, 0, 1, 255]))
    message.data = data
    message.header.frame_id = draw(st.sampled_from(['', 'camera', '/camera', 'other']))
    return message


def rvl(depth, rng):
    """Return the RVL code of a depth, or of nearly one: width, height, then runs of nibbles."""
    rows, columns = depth.shape
    return struct.pack('<II', columns, rows) + rng.bytes(int(rng.integers(0, 4 * depth.size)))


@st.composite
def compressed(draw):
    """Return a compressed image message: a picture of any type, damaged at times."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    channels = draw(st.sampled_from([1, 3, 4]))
    dtype = draw(st.sampled_from([np.uint8, np.uint8, np.uint16]))
    top = draw(st.sampled_from([1, 2, 255, np.iinfo(dtype).max]))
    pixels = rng.integers(0, top + 1 if top < np.iinfo(dtype).max else top, (
        *shape, channels)).astype(dtype)
    suffix = draw(st.sampled_from(['.png', '.png', '.jpg', '.webp', '.tiff', '.bmp']))
    if suffix in ('.jpg', '.webp', '.bmp') and dtype == np.uint16:
        suffix = '.png'
    if suffix == '.jpg' and channels == 4:
        pixels = pixels[..., :3]
    data = cv2.imencode(suffix, pixels)[1].tobytes()
    kind = draw(st.sampled_from([
        '', 'png', 'jpeg', 'rgb8; jpeg compressed bgr8', 'mono16; png compressed ', '16UC1',
        '16UC1; compressedDepth', '16UC1; compressedDepth png', '32FC1; compressedDepth png',
        '16UC1; compressedDepth rvl', '32FC1; compressedDepth rvl', 'x\u0000', '\n']))
    if 'rvl' in kind and draw(st.booleans()):
        data = rvl(pixels[..., 0], rng)
    if 'compressedDepth' in kind:
        a, b = draw(st.sampled_from([(100.0, 0.1), (0.0, 0.0), (float('nan'), float('inf')),
                                     (-1.0, 1e38)]))
        data = struct.pack('<iff', draw(st.integers(-1, 2)), a, b) + data
    fault = draw(st.sampled_from(['none'] * 4 + ['cut', 'flip', 'noise', 'more']))
    if fault == 'cut':
        data = data[:draw(st.integers(0, len(data)))]
    elif fault == 'flip':
        place = draw(st.integers(0, min(len(data) - 1, draw(st.sampled_from([40, 10**6])))))
        data = data[:place] + bytes([data[place] ^ draw(st.integers(1, 255))]) + data[place + 1:]
    elif fault == 'noise':
        data = draw(st.binary(max_size=80))
    elif fault == 'more':
        data += draw(st.binary(max_size=80))
    message = CompressedImage()
    message.format, message.data = kind, data
    return message


any_float = st.one_of(st.floats(width=64), st.sampled_from([0.0, 1.0, 1e300, -1e300, 1e-300]))


@st.composite
def infos(draw, width=None, height=None):
    """Return a camera_info: a usual one with up to two entries that are not."""
    info = CameraInfo()
    info.width = width or draw(SIZES)
    info.height = height or draw(SIZES)
    f = 0.5 * max(info.width, info.height) * draw(st.sampled_from([1.0, 1.6, 2.0, 0.5]))
    cx, cy = info.width / 2.0, info.height / 2.0
    info.k = [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.distortion_model = draw(st.sampled_from(MODELS))
    info.d = draw(st.one_of(
        st.just([]), st.just([0.0] * 5), st.just([-0.3, 0.1, 0.0, 0.0, 0.01]),
        st.just([0.1, -0.05, 0.01, 0.0]), st.lists(any_float, max_size=15)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        what = draw(st.sampled_from([
            'k', 'r', 'p', 'zeros', 'identity', 'binning', 'roi', 'skew']))
        if what in 'krp':
            values = np.array(getattr(info, what))
            values[draw(st.integers(0, len(values) - 1))] = draw(any_float)
            setattr(info, what, values)
        elif what == 'zeros':
            name = draw(st.sampled_from('krp'))
            setattr(info, name, np.zeros(len(getattr(info, name))))
        elif what == 'identity':
            info.k = list(info.r)
        elif what == 'binning':
            info.binning_x = draw(st.sampled_from([1, 2, 4, 1000, 2**32 - 1]))
            info.binning_y = draw(st.sampled_from([0, 1, 2, 4]))
        elif what == 'roi':
            for name in ('x_offset', 'y_offset', 'width', 'height'):
                setattr(info.roi, name, draw(SIZES))
        else:
            info.k[1] = draw(st.sampled_from([1.3, -50.0, 1e9]))
    return info


def decoded(call, *arguments, **named):
    """Return what a decoder returns, None for an error that says what to do."""
    try:
        return call(*arguments, **named)
    except LiftError as error:
        assert error.code.value not in ('INTERNAL', 'OUT_OF_MEMORY'), error
        assert error.message and len(error.message) < 3000
        return None


messages = st.one_of(images(), compressed())


@examples(150)
@given(messages)
def test_any_message_is_an_image_a_depth_and_a_mask_or_refused(message):
    image = decoded(conversions.decode_image, message)
    if image is not None:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
    depth = decoded(conversions.decode_depth, message)
    if depth is not None:
        assert depth.dtype == np.float32 and depth.ndim == 2 and depth.size
    mask = decoded(conversions.decode_mask, message)
    if mask is not None:
        assert np.issubdtype(mask.dtype, np.integer) and mask.ndim == 2 and mask.size
        assert mask.shape[0] * mask.shape[1] <= pictures.MAX_PIXELS
        fitted = decoded(conversions.fit_mask, mask, 64, 48)
        assert fitted is None or fitted.shape == (48, 64)


@examples(100)
@given(infos(), st.booleans())
def test_any_camera_info_is_a_lens_or_refused(info, rectified):
    found = decoded(camera_info.read_lens, info, rectified)
    if found is None:
        return
    lens, notes = found
    assert all(isinstance(note, str) for note in notes)
    for width, height in lens.sizes():
        if not 0 < width * height < 10**6:
            continue
        seen = decoded(camera_info.image_camera, info, rectified, width, height)
        if seen is not None:
            assert np.isfinite(seen.camera.K).all() and seen.camera.fx > 0.0


@pytest.mark.parametrize('window', [False, True])
@pytest.mark.parametrize('D', [[], [0.01, 0.0, 0.0, 0.0]])
def test_the_image_of_a_camera_with_a_skew_is_undistorted(D, window):
    size = 8 if window else 12
    info = CameraInfo(width=12, height=12, distortion_model='plumb_bob', d=D)
    info.k = [12.0, 1.3, 6.0, 0.0, 12.0, 6.0, 0.0, 0.0, 1.0]
    if window:
        info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 2, 2, 8, 8
    image = Image(width=size, height=size, step=3 * size, encoding='rgb8', data=bytes(3 * size**2))
    assert camera_info.build_frame(image, info, rectified=False).image.shape == (size, size, 3)


@st.composite
def whole_frames(draw):
    """Return image, camera_info, depth and the depth's own camera_info, which nearly fit."""
    width, height = draw(st.integers(8, 40)), draw(st.integers(8, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = Image(
        width=width, height=height, step=3 * width, encoding='rgb8', data=rng.bytes(
            3 * width * height))
    depth = None
    if draw(st.booleans()):
        scale = draw(st.sampled_from([1, 1, 2]))
        values = rng.choice(np.array([0.5, 1.0, 0.0, np.nan, np.inf, -1.0, 1e38], np.float32), (
            height * scale, width * scale))
        depth = Image(
            width=width * scale, height=height * scale, step=4 * width * scale, encoding='32FC1',
            data=values.tobytes())
        depth.header.frame_id = draw(st.sampled_from(['', 'other']))
        image.header.frame_id = 'camera'
    info = draw(infos(width, height))
    other = draw(st.one_of(
        st.none(), infos(depth.width, depth.height))) if depth is not None else None
    extrinsics = np.eye(4)
    extrinsics[:3, 3] = draw(st.sampled_from([0.0, 0.015, 10.0, 1e6]))
    return image, info, depth, other, extrinsics


@examples(100)
@given(whole_frames(), st.booleans(), st.booleans())
def test_any_messages_are_a_frame_or_refused(messages, rectified, assume):
    image, info, depth, other, extrinsics = messages
    source = DepthSource(other, lambda: extrinsics, assume)
    frame = decoded(
        camera_info.build_frame, image, info, depth, rectified=rectified, depth_source=source)
    if frame is None:
        return
    size = frame.image.shape[:2]
    assert (frame.camera.height, frame.camera.width) == size
    assert np.isfinite(frame.camera.K).all()
    if frame.depth is not None:
        assert frame.depth.shape == size and frame.depth.dtype == np.float32
    mask = np.ones((image.height, image.width), np.uint8)
    turned = decoded(camera_info.undistort_mask, mask, info, rectified)
    assert turned is None or turned.shape == size
