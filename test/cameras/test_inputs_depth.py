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


"""Depth images: units, readings that are none, and the coding RVL."""

from __future__ import annotations

from error_helpers import raises_code
import numpy as np
import pytest
from rvl_helpers import encode_rvl

from lift3d_ros.cameras import depth_units as depths
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io.rvl import decode_rvl
from lift3d_ros.lifter import Lifter

RNG = np.random.default_rng(3)


def table(width=106, height=60, unit=0.001, dtype=np.uint16):
    """Return the depth of a ball of 100 mm on a table in counts, and its mask."""
    camera = Camera.from_fov(width, height, 69.0)
    rays = camera.rays()
    down = np.array([0.0, 0.8, 0.6])
    depth = 0.35 / np.maximum(rays @ down, 1e-6)
    centre = np.array([0.0, 0.0, 0.0]) + rays[height // 2, width // 2] * 0.5
    centre += (0.35 - 0.05 - centre @ down) * down
    a = np.einsum('ijk,ijk->ij', rays, rays)
    b = rays @ centre
    root = b * b - a * (centre @ centre - 0.05**2)
    near = np.where(root > 0.0, (b - np.sqrt(np.maximum(root, 0.0))) / a, np.inf)
    depth = np.where(depth < 3.0, depth, 0.0)
    mask = np.isfinite(near)
    depth = np.where(mask, near, depth)
    return np.rint(depth / unit).astype(dtype), mask, camera


@pytest.mark.parametrize('dtype', [np.uint16, np.int16, np.int32])
def test_integers_count_the_unit(dtype):
    raw = np.array([[500, 0], [1, 2000]], dtype)
    np.testing.assert_allclose(depths.metres(raw, 0.001, 'it'), [[0.5, 0.0], [0.001, 2.0]])
    np.testing.assert_allclose(depths.metres(raw, 0.0001, 'it')[0, 0], 0.05)


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_floats_are_metres_whatever_the_unit(dtype):
    raw = np.array([[0.5, np.nan], [0.0, 2.0]], dtype)
    np.testing.assert_allclose(depths.metres(raw, 0.0001, 'it'), raw)


@pytest.mark.parametrize('raw', [
    np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16), np.zeros((4, 4), bool),
])
def test_eight_bits_and_colours_are_no_depth(raw):
    with raises_code(ErrorCode.BAD_IMAGE):
        depths.metres(raw, 0.001, 'it')


@pytest.mark.parametrize('dtype', [np.uint16, np.int16, np.int32])
def test_the_largest_value_of_the_type_is_no_reading(dtype):
    raw = np.full((10, 10), 700, dtype)
    raw[0, :3] = np.iinfo(dtype).max
    assert (depths.metres(raw, 0.001, 'it') > 0.0).sum() == 97


@pytest.mark.parametrize('top', [4095, 8191, 10000, 20000, 32767, 40000, 65534])
@pytest.mark.parametrize('share', [0.1, 0.6, 0.9])
def test_the_value_at_which_a_sensor_saturates_is_no_reading(top, share):
    raw, mask, _ = table(212, 120)
    lost = mask & (RNG.random(mask.shape) < share)
    raw[lost] = top
    depth = depths.metres(raw, 0.001, 'it')
    assert not depth[lost].any()
    np.testing.assert_allclose(depth[~lost], 0.001 * raw[~lost], rtol=1e-6)
    floats = depths.metres(raw * np.float32(0.001), 0.001, 'it')
    assert not floats[lost].any()


def test_a_flat_table_right_below_the_camera_is_kept():
    raw = np.full((60, 80), 1000, np.uint16)
    raw[20:40, 30:50] = 850 + RNG.integers(0, 40, (20, 20))
    assert (depths.metres(raw, 0.001, 'it') > 0.0).all()


def test_a_flat_wall_that_is_all_there_is_is_kept():
    assert (depths.metres(np.full((60, 80), 1500, np.uint16), 0.001, 'it') > 0.0).all()


def test_far_readings_of_a_real_room_are_kept():
    raw = np.linspace(400, 6000, 4800).reshape(60, 80).astype(np.uint16)
    assert (depths.metres(raw, 0.001, 'it') > 0.0).all()


def test_saturation_costs_no_reading_of_good_data(shared_data):
    from lift3d_ros.io.pictures import read_picture

    folders = [f for name in ('rgbd', 'real') for f in sorted((shared_data / name).iterdir())]
    for folder in folders:
        if (folder / 'depth.png').exists():
            raw = read_picture(folder / 'depth.png').pixels
            depth = depths.metres(raw, 0.001, 'it')
            assert np.count_nonzero(depth) == np.count_nonzero(raw), folder.name


@pytest.mark.parametrize(
    'unit', [0, -0.001, 1e-9, 2.0, float('nan'), float('inf'), '0.001', None, True, [0.001]])
def test_a_unit_that_cannot_be_is_refused(unit):
    with raises_code(ErrorCode.BAD_REQUEST):
        depths.check_unit(unit, 'it')
    assert depths.check_unit(0.00025, 'it') == 0.00025
    assert depths.check_unit(1, 'it') == 1.0


@pytest.mark.parametrize(('true', 'noted'), [
    (0.001, False), (0.0001, True), (0.0002, True), (0.01, True),
])
def test_depth_in_another_unit_is_noted_or_refused(true, noted):
    # Written in counts of the true unit, read as millimetres.
    raw, mask, camera = table(212, 120, true)
    depth = depths.metres(raw, 0.001, 'it')
    frame = Frame(np.full((*mask.shape, 3), 90, np.uint8), camera, depth)
    try:
        shape = Lifter('geometric', 2000).lift(frame, mask)
        assert any('depth_unit' in note for note in shape.notes) == noted
    except LiftError as error:
        assert noted
        assert 'unit' in error.message
    good = depths.metres(raw, true, 'it')
    shape = Lifter('geometric', 2000).lift(Frame(frame.image, camera, good), mask)
    assert not any('depth_unit' in note for note in shape.notes)
    assert shape.size.max() == pytest.approx(0.1, rel=0.2)


def test_metres_taken_for_millimetres_are_refused():
    _, mask, camera = table()
    for factor in (1000.0, 0.001):
        depth = depths.metres(np.full(mask.shape, 0.6 * factor, np.float32), 0.001, 'it')
        frame = Frame(np.full((*mask.shape, 3), 90, np.uint8), camera, depth)
        with pytest.raises(LiftError, match='BAD_IMAGE: .*unit'):
            Lifter('geometric', 2000).lift(frame, mask)


# --- RVL ---

@pytest.mark.parametrize('kind', ['noise', 'smooth', 'empty', 'full', 'one'])
def test_rvl_is_decoded_exactly(kind):
    image = {
        'noise': np.where(RNG.random((30, 41)) < 0.5, RNG.integers(0, 65536, (30, 41)), 0),
        'smooth': 500 + np.cumsum(RNG.integers(-2, 3, (30, 41)), axis=1),
        'empty': np.zeros((3, 5)),
        'full': np.full((3, 5), 65535),
        'one': np.array([[7]]),
    }[kind].astype(np.uint16)
    np.testing.assert_array_equal(decode_rvl(encode_rvl(image), 'it'), image)


@pytest.mark.parametrize('share', [0.0, 0.05, 0.5, 0.9])
def test_rvl_that_ends_too_early_is_refused(share):
    data = encode_rvl(RNG.integers(1, 9000, (30, 40)).astype(np.uint16))
    with raises_code(ErrorCode.BAD_IMAGE):
        decode_rvl(data[:int(share * len(data))], 'it')


@pytest.mark.parametrize('data', [
    np.array([20000, 20000], '<u4').tobytes() + bytes(100),
    np.array([2**32 - 1, 2**32 - 1], '<u4').tobytes() + bytes(100),
    np.array([0, 5], '<u4').tobytes() + bytes(100),
    np.array([640, 480], '<u4').tobytes() + b'\xff' * 100,
    np.array([640, 480], '<u4').tobytes() + bytes(100),
    np.array([4, 1, 0x0F7F7F7F], '<u4').tobytes(),
], ids=['large', 'largest', 'none', 'endless', 'zeros', 'long run'])
def test_hostile_rvl_is_refused(data):
    with raises_code(ErrorCode.BAD_IMAGE):
        decode_rvl(data, 'it')


def test_random_bytes_are_decoded_or_refused():
    for seed in range(200):
        noise = np.random.default_rng(seed).bytes(80)
        try:
            image = decode_rvl(np.array([9, 7], '<u4').tobytes() + noise, 'it')
        except LiftError as error:
            assert error.code.value == 'BAD_IMAGE'
        else:
            assert (image.shape, image.dtype) == ((7, 9), np.uint16)
