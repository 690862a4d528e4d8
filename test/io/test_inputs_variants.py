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

"""Inputs that pass for good ones: what is doubtful about them is said."""

from __future__ import annotations

from error_helpers import raises_code
import numpy as np
import pytest

from lift3d_ros.cameras import depth_units as depths
from lift3d_ros.cameras.plausibility import check_camera
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io import masks
from lift3d_ros.io.mask_coverage import check_coverage
from lift3d_ros.io.scene_files import mask_of
from lift3d_ros.io.scene_files import read_depth
from lift3d_ros.lifter import Lifter
from lift3d_ros.segmentation.instances import instances_of_labels
from lift3d_ros.segmentation.segment import segment_box
from lift3d_ros.segmentation.segment import segment_point

DOWN = np.array([0.0, 0.8, 0.6])


def ball(width=212, height=120):
    """Return depth, mask, colours and camera of a ball of 100 mm on a table."""
    camera = Camera.from_fov(width, height, 69.0)
    rays = camera.rays()
    depth = 0.35 / np.maximum(rays @ DOWN, 1e-6)
    centre = rays[height // 2, width // 2] * 0.5
    centre = centre + (0.35 - 0.05 - centre @ DOWN) * DOWN
    a, b = np.einsum('ijk,ijk->ij', rays, rays), rays @ centre
    root = b * b - a * (centre @ centre - 0.05**2)
    near = np.where(root > 0.0, (b - np.sqrt(np.maximum(root, 0.0))) / a, np.inf)
    mask = np.isfinite(near)
    depth = np.where(mask, near, np.where(depth < 3.0, depth, 0.0)).astype(np.float32)
    image = np.full((height, width, 3), 140, np.uint8)
    image[mask] = (200, 60, 40)
    return depth, mask, image, camera


def lift(depth=None, mask=None, gravity=None):
    """Return the shape of the ball by the method without networks."""
    own_depth, own_mask, image, camera = ball()
    frame = Frame(image, camera, own_depth if depth is None else depth, gravity)
    return Lifter('geometric').lift(frame, own_mask if mask is None else mask)


def test_a_good_frame_has_no_notes():
    for gravity in (None, DOWN):
        assert lift(gravity=gravity).notes == ()


@pytest.mark.parametrize('factor', [0.75, 0.8, 1.25])
def test_the_matrix_of_a_slightly_other_resolution_gives_a_note(factor):
    camera = Camera.from_fov(640, 480, 69.0)
    cx, cy = factor * (camera.cx + 0.5) - 0.5, factor * (camera.cy + 0.5) - 0.5
    other = Camera(640, 480, factor * camera.fx, factor * camera.fy, cx, cy)
    assert len(check_camera(other)) == 1


@pytest.mark.parametrize('offset', [(0.06, 0.06), (-0.12, 0.02), (0.12, -0.12), (0.0, 0.1)])
def test_a_lens_off_the_middle_of_its_sensor_gives_no_note(offset):
    camera = Camera.from_fov(640, 480, 69.0)
    cx, cy = camera.cx + 640 * offset[0], camera.cy + 480 * offset[1]
    assert check_camera(Camera(640, 480, camera.fx, camera.fy, cx, cy)) == ()


@pytest.mark.parametrize('gravity', [-DOWN, [0.0, 0.0, -1.0], [0.0, -9.8, 0.0]])
def test_gravity_as_an_accelerometer_measures_it_gives_a_note(gravity):
    assert len(lift(gravity=np.array(gravity)).notes) >= 1


def test_normalised_depth_gives_a_note():
    depth = ball()[0]
    assert depths.normalised_note(depths.metres(depth / depth.max(), 0.001, 'it')) is not None


def test_the_z_buffer_of_a_renderer_gives_a_note():
    depth = ball()[0]
    far, near = 100.0, 0.01
    # Above the table nothing is drawn.
    depth[:10] = far
    inverse = 1.0 / depth
    buffer = ((1.0 / near - inverse) / (1.0 / near - 1.0 / far)).astype(np.float32)
    assert depths.normalised_note(depths.metres(buffer, 0.001, 'it')) is not None


def test_the_largest_value_of_a_pgm_is_no_reading(tmp_path):
    path = tmp_path / 'depth.pgm'
    counts = np.full((40, 60), 700, '>u2')
    counts[0, :5] = 65535
    path.write_bytes(b'P5 60 40 65535\n' + counts.tobytes())
    depth = read_depth(path, (60, 40), 0.001)
    assert np.count_nonzero(depth) == 40 * 60 - 5


def test_depth_in_metres_gives_no_note():
    depth = ball()[0]
    assert depths.normalised_note(depth) is None
    # A camera that counts millimetres, clipped at 1 m.
    clipped = np.minimum(np.rint(1000.0 * depth), 1000.0).astype(np.uint16)
    assert depths.normalised_note(depths.metres(clipped, 0.001, 'it')) is None


def test_a_box_drawn_as_a_mask_gives_a_note():
    _, mask, _, _ = ball()
    rows, columns = np.nonzero(mask)
    box = np.zeros_like(mask)
    box[rows.min() - 4:rows.max() + 5, columns.min() - 4:columns.max() + 5] = True
    assert len(check_coverage(box)) == 1
    assert check_coverage(mask) == ()


def test_the_label_of_the_background_is_no_object():
    labels = np.zeros((40, 60), np.int32)
    labels[10:30, 10:30] = 3
    with pytest.raises(LiftError) as caught:
        instances_of_labels(labels, 0)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    with pytest.raises(LiftError) as caught:
        mask_of(masks.MaskPixels(labels), 'it', 0)
    assert caught.value.code is ErrorCode.NO_OBJECT
    assert instances_of_labels(labels, 3)[0].pixels == 400


@pytest.mark.parametrize('kind, label', [(np.float32, 2**24), (np.float16, 2048)])
def test_labels_that_floats_cannot_tell_apart_are_refused(kind, label):
    labels = np.zeros((40, 60), kind)
    labels[10:30, 10:30] = label
    with raises_code(ErrorCode.BAD_IMAGE):
        masks.read_labels(masks.MaskPixels(labels))
    labels[labels > 0] = label - 1
    assert masks.read_labels(masks.MaskPixels(labels)).max() == label - 1


@pytest.mark.parametrize('inset', [4, 5, 6])
def test_a_box_that_is_smaller_than_the_object_gives_a_note(inset):
    depth, mask, image, _ = ball(424, 240)
    rows, columns = np.nonzero(mask)
    inset *= 2
    box = (columns.min() + inset, rows.min() + inset,
           columns.max() + 1 - inset, rows.max() + 1 - inset)
    try:
        assert segment_box(image, depth, tuple(int(side) for side in box))[1]
    except LiftError as error:
        assert error.code is ErrorCode.EMPTY_MASK


def test_a_point_near_the_outline_finds_all_of_the_object_or_gives_a_note():
    depth, mask, image, _ = ball(424, 240)
    columns = np.flatnonzero(mask[120])
    for u in columns[:20:2]:
        try:
            found, notes = segment_point(image, depth, (int(u), 120))
        except LiftError as error:
            assert error.code is ErrorCode.NO_OBJECT
        else:
            assert notes or (found & mask).sum() > 0.9 * (found | mask).sum()


def test_clutter_before_an_object_is_no_inverted_mask():
    # A pole and a gripper are nearer than the object; what is behind it was not measured.
    depth, mask, image, camera = ball()
    rows, columns = np.nonzero(mask)
    hidden = depth.copy()
    hidden[:rows.max() + 8] = 0.0
    hidden[mask] = depth[mask]
    hidden[:rows.min() + 8, columns.mean().astype(int) - 6:columns.mean().astype(int) + 6] = 0.3
    seen = mask & (hidden != np.float32(0.3))
    shape = Lifter('geometric').lift(Frame(image, camera, hidden), seen)
    assert not any('nverted' in note for note in shape.notes)
