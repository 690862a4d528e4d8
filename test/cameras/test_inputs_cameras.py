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

"""Cameras as drivers describe them: what is read, what is doubted and what is refused."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from lift3d_ros.cameras.description import read_camera
from lift3d_ros.cameras.lenses import Lens
from lift3d_ros.cameras.lenses import read_distortion
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera

K = np.array([[400.0, 0.0, 319.5], [0.0, 400.0, 239.5], [0.0, 0.0, 1.0]])
BARREL = [-0.3, 0.1, 0.001, -0.001, 0.0]


def entries(matrix=K, **other):
    return {'width': 640, 'height': 480, 'K': np.asarray(matrix).tolist(), **other}


def code(matrix=K, **other):
    try:
        found = read_camera(entries(matrix, **other), 'camera.json')
    except LiftError as error:
        return error.code.name
    return 'note' if found.notes else 'ok'


def scaled(x: float, y: float | None = None, focal: float | None = None):
    """Return K with its principal point, and its focal lengths, by other factors."""
    y = x if y is None else y
    focal = x if focal is None else focal
    return [[400.0 * focal, 0.0, 320.0 * x], [0.0, 400.0 * focal, 240.0 * y], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize('factor', [0.25, 1.0 / 3.0, 0.5, 2.0 / 3.0, 1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize('focal', [None, 1.0])
def test_a_matrix_of_another_resolution_is_refused(factor, focal):
    assert code(scaled(factor, focal=focal)) == 'SIZE_MISMATCH'


@pytest.mark.parametrize(('x', 'y'), [(0.0, 0.0), (2.0, 0.0), (0.0, 2.0)])
def test_a_principal_point_in_a_corner_is_refused(x, y):
    assert code(scaled(x, y, 1.0)) == 'NO_CAMERA'


@pytest.mark.parametrize(('x', 'y'), [(1.4, 1.0), (1.0, 0.6), (0.6, 1.4), (2.0, 1.5), (0.6, 0.8)])
def test_a_principal_point_far_from_the_middle_is_a_note(x, y):
    assert code(scaled(x, y, 1.0)) == 'note'


@pytest.mark.parametrize(('x', 'y'), [(1.0, 1.0), (1.1, 0.95), (0.93, 0.9), (1.2, 1.05)])
def test_a_principal_point_near_the_middle_is_good(x, y):
    assert code(scaled(x, y, 1.0)) == 'ok'


@pytest.mark.parametrize(('fov', 'expected'), [
    (0.5, 'NO_CAMERA'), (3.0, 'NO_CAMERA'), (7.0, 'note'), (12.0, 'ok'), (49.0, 'ok'),
    (69.0, 'ok'), (110.0, 'ok'), (120.0, 'ok'), (135.0, 'note'), (155.0, 'NO_CAMERA'),
    (179.0, 'NO_CAMERA'),
])
def test_a_field_of_view_is_plausible(fov, expected):
    assert code(Camera.from_fov(640, 480, fov).K) == expected


@pytest.mark.parametrize('factor', [0.011, 1e-6, 100.0, 1e4, 1e300])
def test_a_focal_length_in_another_unit_is_refused(factor):
    assert code(scaled(1.0, focal=factor)) == 'NO_CAMERA'


@pytest.mark.parametrize('matrix', [
    np.eye(3), np.zeros((3, 3)), -K, K.T, np.full((3, 3), np.nan), np.where(K == 400.0, np.inf, K),
    K * 1e300, np.where(K == 400.0, 0.0, K), np.eye(4), [[400.0, 0.0], [0.0, 400.0]], [], 'K',
], ids=str)
def test_a_matrix_that_is_none_is_refused(matrix):
    assert code(matrix) == 'NO_CAMERA'


def test_non_square_pixels_are_a_note_and_impossible_ones_refused():
    for ratio, expected in ((1.31, 'ok'), (2.0, 'note'), (10.0, 'NO_CAMERA')):
        matrix = K.copy()
        matrix[1, 1] *= ratio
        assert code(matrix) == expected


@pytest.mark.parametrize('size', [
    {'width': 0}, {'height': -480}, {'width': 'wide'}, {'width': 640.5}, {'height': None},
    {'width': 1e300}, {'width': True}, {'height': [480]}, {'width': float('nan')},
])
def test_a_size_that_is_none_is_refused(size):
    assert code(**size) == 'NO_CAMERA'


# --- distortion ---

@pytest.mark.parametrize('count', [4, 5, 8, 12, 14])
@pytest.mark.parametrize('model', ['', 'plumb_bob', 'rational_polynomial'])
def test_coefficients_of_the_radial_models_are_read(count, model):
    D, fisheye = read_distortion([-0.1] + [0.0] * (count - 1), model, 'it')
    assert len(D) == count
    assert not fisheye


@pytest.mark.parametrize(('D', 'model'), [
    ([0.1] * 3, 'plumb_bob'), ([0.1] * 6, 'plumb_bob'), ([0.1] * 3, 'equidistant'),
    ([0.1] * 8, 'equidistant'), ([0.1] * 5, 'crystal_ball'), ([0.1] * 5, 'none'),
    ([float('nan')] * 5, 'plumb_bob'), ([float('inf')] + [0.0] * 4, 'plumb_bob'),
    ([0.1, float('nan'), 0.0, 0.0], 'equidistant'), ('many', 'plumb_bob'), ({}, 'plumb_bob'),
])
def test_coefficients_of_no_model_are_refused(D, model):
    assert code(D=D, distortion_model=model) == 'NO_CAMERA'


@pytest.mark.parametrize('D', [None, [], [0.0] * 5, [0.0] * 3])
def test_zeros_are_no_distortion_whatever_their_model(D):
    assert read_camera(entries(D=D, distortion_model='unknown'), 'it').maps is None


def lens_pixel(ray, matrix, D, fisheye):
    """Return where a ray ends in the raw image, by the formulas of OpenCV's documentation."""
    x, y = ray[:2] / ray[2]
    if fisheye:
        r = np.hypot(x, y)
        t = np.arctan(r)
        t = t * (1.0 + sum(k * t ** (2 * i) for i, k in enumerate(D, 1)))
        x, y = x * t / r, y * t / r
    else:
        k1, k2, p1, p2, k3 = D
        r2 = x * x + y * y
        radial = 1.0 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        x, y = (
            x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x),
            y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y,
        )
    return (matrix @ (x, y, 1.0))[:2]


@pytest.mark.parametrize('skew', [0.0, 1.3, 20.0])
@pytest.mark.parametrize(('D', 'fisheye'), [
    ([0.0] * 5, False), (BARREL, False), ([-0.05, 0.01, 0.0, 0.0], True),
])
@pytest.mark.parametrize(('window', 'binning'), [
    (None, (1, 1)), ((100, 60, 400, 300), (1, 1)), (None, (2, 2)), ((100, 60, 400, 300), (4, 2)),
])
def test_skew_distortion_region_and_binning_are_taken_out_together(
    skew, D, fisheye, window, binning
):
    matrix = K.copy()
    matrix[0, 1] = skew
    lens = Lens(640, 480, matrix, np.array(D), fisheye, window, binning)
    camera = lens.camera(*lens.sizes()[0])
    maps = lens.maps(camera)
    if maps is None:
        assert not skew
        assert not any(D)
        return
    left, top, _, _ = window or (0, 0, 0, 0)
    for u, v in ((30, 20), (camera.width - 20, camera.height // 3)):
        ray = camera.unproject(u, v, 1.0)
        full = lens_pixel(ray, matrix, D, fisheye)
        raw = (full + 0.5 - (left, top)) / binning - 0.5
        np.testing.assert_allclose((maps[0][v, u], maps[1][v, u]), raw, atol=0.01)


# --- scene folders ---

def ball(camera: Camera, centre=(0.0, 0.0, 0.5), radius=0.05, wall=0.8):
    """Return depth and mask of a ball before a wall."""
    rays, c = camera.rays(), np.array(centre)
    a = np.einsum('ijk,ijk->ij', rays, rays)
    b = rays @ c
    root = b * b - a * (c @ c - radius**2)
    mask = root > 0.0
    z = np.where(mask, (b - np.sqrt(np.maximum(root, 0.0))) / a, wall)
    return z.astype(np.float32), mask


def test_a_scene_folder_with_distortion_is_undistorted(tmp_path):
    from lift3d_ros.io.scene import read_scene

    camera = Camera(320, 240, 220.0, 220.0, 159.5, 119.5)
    depth, mask = ball(camera, (0.12, 0.08, 0.5))
    # The raw image of the same: each raw pixel looks up its ray.
    v, u = np.mgrid[:240, :320].astype(np.float64)
    k1, k2, p1, p2, _ = BARREL
    raw_x, raw_y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    x, y = raw_x, raw_y
    for _ in range(60):
        r2 = x * x + y * y
        radial = 1.0 + k1 * r2 + k2 * r2 * r2
        x, y = (
            (raw_x - 2.0 * p1 * x * y - p2 * (r2 + 2.0 * x * x)) / radial,
            (raw_y - p1 * (r2 + 2.0 * y * y) - 2.0 * p2 * x * y) / radial,
        )
    map_u = (x * camera.fx + camera.cx).astype(np.float32)
    map_v = (y * camera.fy + camera.cy).astype(np.float32)

    def raw(pixels):
        return cv2.remap(pixels, map_u, map_v, cv2.INTER_NEAREST)

    image = np.full((240, 320, 3), 90, np.uint8)
    image[mask] = 200
    cv2.imwrite(str(tmp_path / 'rgb.png'), raw(image))
    cv2.imwrite(str(tmp_path / 'mask.png'), raw(mask.astype(np.uint8) * 255))
    cv2.imwrite(str(tmp_path / 'depth.png'), raw((1000.0 * depth).astype(np.uint16)))
    described = {'width': 320, 'height': 240, 'K': camera.K.tolist(), 'D': BARREL}
    (tmp_path / 'camera.json').write_text(json.dumps(described))
    frame, found = read_scene(tmp_path)
    assert np.count_nonzero(found & mask) > 0.95 * np.count_nonzero(found | mask)
    assert np.count_nonzero((frame.image[..., 0] > 145) ^ mask) < 0.05 * np.count_nonzero(mask)
    near = (frame.depth > 0.0) & (frame.depth < 0.6)
    assert np.count_nonzero(near & mask) > 0.95 * np.count_nonzero(near | mask)
    described['distortion_model'] = 'crystal_ball'
    (tmp_path / 'camera.json').write_text(json.dumps(described))
    with pytest.raises(LiftError, match='crystal_ball'):
        read_scene(tmp_path)


@pytest.mark.parametrize('size', [(320, 240), (424, 240), (640, 360)])
@pytest.mark.parametrize(('fov', 'baseline'), [(87.0, 0.015), (65.0, 0.032), (75.0, 0.05)])
def test_a_scene_folder_with_a_depth_camera_is_registered(tmp_path, size, fov, baseline):
    from lift3d_ros.io.scene import read_scene
    from lift3d_ros.lifter import Lifter

    camera = Camera.from_fov(424, 240, 69.0)
    _, mask = ball(camera)
    own = Camera.from_fov(*size, fov)
    depth, _ = ball(own, (-baseline, 0.0, 0.5))
    T = np.eye(4)
    T[0, 3] = baseline
    image = np.full((240, 424, 3), 90, np.uint8)
    image[mask] = 200
    cv2.imwrite(str(tmp_path / 'rgb.png'), image)
    cv2.imwrite(str(tmp_path / 'mask.png'), mask.astype(np.uint8) * 255)
    cv2.imwrite(str(tmp_path / 'depth.png'), np.rint(1000.0 * depth).astype(np.uint16))
    described = {
        'width': 424, 'height': 240, 'K': camera.K.tolist(),
        'depth_camera': {
            'width': size[0], 'height': size[1], 'K': own.K.tolist(), 'T_color_depth': T.tolist(),
        },
    }
    (tmp_path / 'camera.json').write_text(json.dumps(described))
    frame, mask = read_scene(tmp_path)
    shape = Lifter('geometric').lift(frame, mask)
    sides = np.ptp(shape.mesh_in_camera().vertices, axis=0)
    np.testing.assert_allclose(sides, 0.1, atol=0.008)
    assert not [note for note in shape.notes if 'registered' in note]


@pytest.mark.parametrize('inner', [
    3, [], {'width': 320}, {'width': 320, 'height': 240, 'K': np.eye(3).tolist()},
    {'width': 320, 'height': 240, 'K': [[200, 0, 160], [0, 200, 120], [0, 0, 1]],
     'T_color_depth': np.zeros((4, 4)).tolist()},
], ids=str)
def test_a_depth_camera_that_is_none_is_refused(inner):
    assert code(depth_camera=inner) == 'NO_CAMERA'
