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

"""Boxes and points in the place of masks: one object, and not its neighbour."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.segmentation.segment import segment_box
from lift3d_ros.segmentation.segment import segment_point
from lift3d_ros.synthetic.appearance import table_top
from lift3d_ros.synthetic.sensors.basic_stereo import DepthSensor

CAMERA = Camera(424, 240, 308.0, 308.0, 211.5, 119.5)


def solid(shape: trimesh.Trimesh, place, color) -> Mesh:
    vertices = shape.vertices + np.asarray(place)
    colors = np.tile(np.array(color, np.uint8), (len(vertices), 1))
    return Mesh(vertices.astype(np.float32), shape.faces.astype(np.int32), colors)


def table(*things: Mesh, noisy: bool = True):
    """Return image, depth and instances of things on a table, the first one in the middle."""
    rng = np.random.default_rng(3)
    pose = look_at((-0.55, 0.0, 0.40), (0.0, 0.0, 0.05))
    picture = Raycaster([*things, table_top(rng, 0.9)]).render(CAMERA, pose, Light())
    depth = DepthSensor().measure(picture, CAMERA, rng) if noisy else picture.depth
    assert transform(pose, np.zeros(3)).shape == (3,)
    return picture.image, depth, picture.instance


def box_around(mask: np.ndarray, share: float = 0.05):
    rows, columns = np.nonzero(mask)
    x, y = share * np.ptp(columns), share * np.ptp(rows)
    return (
        max(0, int(columns.min() - x)),
        max(0, int(rows.min() - y)),
        min(mask.shape[1], int(columns.max() + 1 + x)),
        min(mask.shape[0], int(rows.max() + 1 + y)),
    )


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


CAN = solid(trimesh.creation.cylinder(0.033, 0.12, sections=64), (0, 0, 0.06), (200, 40, 40))
BESIDE = solid(trimesh.creation.box((0.10, 0.08, 0.10)), (0.02, 0.078, 0.05), (40, 60, 200))
BEFORE = solid(trimesh.creation.box((0.02, 0.07, 0.07)), (-0.10, 0.03, 0.035), (60, 170, 60))


@pytest.mark.parametrize('share', [0.0, 0.05, 0.1])
@pytest.mark.parametrize('noisy', [False, True])
@pytest.mark.parametrize('others', [(), (BESIDE,), (BEFORE,), (BESIDE, BEFORE)])
def test_a_box_holds_the_object_and_no_neighbour_or_occluder(others, noisy, share):
    image, depth, instance = table(CAN, *others, noisy=noisy)
    mask, _ = segment_box(image, depth, box_around(instance == 0, share))
    assert iou(mask, instance == 0) > 0.88
    other = (instance > 0) & (instance <= len(others))
    assert np.count_nonzero(mask & other) < 0.04 * np.count_nonzero(mask)


def test_without_depth_a_box_is_segmented_by_color_and_says_so():
    image, _, instance = table(CAN)
    mask, notes = segment_box(image, None, box_around(instance == 0))
    assert iou(mask, instance == 0) > 0.85
    assert len(notes) == 1


def test_with_depth_a_box_around_an_object_has_no_note():
    image, depth, instance = table(CAN)
    _, notes = segment_box(image, depth, box_around(instance == 0))
    assert notes == ()


def test_a_box_that_cuts_the_object_is_doubted():
    image, depth, instance = table(CAN)
    left, top, right, bottom = box_around(instance == 0)
    mask, notes = segment_box(image, depth, (left, top, right, (top + bottom) // 2))
    assert mask.any()
    assert notes


@pytest.mark.parametrize('with_depth', [True, False])
def test_a_box_on_the_bare_table_holds_nothing(with_depth):
    image, depth, _ = table(CAN)
    image = np.full_like(image, 120)
    with pytest.raises(LiftError) as caught:
        segment_box(image, depth if with_depth else None, (300, 150, 360, 200))
    assert caught.value.code is ErrorCode.EMPTY_MASK


@pytest.mark.parametrize(('box', 'code'), [
    ((500, 10, 600, 100), ErrorCode.BAD_REQUEST),
    ((-50, -50, 0, 0), ErrorCode.BAD_REQUEST),
    ((100, 100, 100, 150), ErrorCode.BAD_REQUEST),
    ((100, 100, 102, 200), ErrorCode.MASK_TOO_SMALL),
])
def test_a_box_that_holds_no_pixels_of_the_image_is_refused(box, code):
    image, depth, _ = table(CAN)
    with pytest.raises(LiftError) as caught:
        segment_box(image, depth, box)
    assert caught.value.code is code


@pytest.mark.parametrize('with_depth', [True, False])
def test_a_point_finds_the_object_under_it(with_depth):
    image, depth, instance = table(CAN, noisy=False)
    rows, columns = np.nonzero(instance == 0)
    point = (int(np.median(columns)), int(np.median(rows)))
    mask, _ = segment_point(image, depth if with_depth else None, point)
    assert iou(mask, instance == 0) > 0.85


def test_a_point_between_two_objects_chooses_by_depth():
    image, depth, instance = table(CAN, BEFORE)
    rows, columns = np.nonzero(instance == 1)
    mask, _ = segment_point(image, depth, (int(np.median(columns)), int(np.median(rows))))
    assert iou(mask, instance == 1) > 0.85


def test_a_point_on_nothing_or_outside_is_refused():
    image, depth, _ = table(CAN)
    plain = np.full_like(image, 120)
    with pytest.raises(LiftError) as caught:
        segment_point(plain, depth, (350, 200))
    assert caught.value.code is ErrorCode.NO_OBJECT
    with pytest.raises(LiftError) as caught:
        segment_point(image, depth, (424, 10))
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_the_same_box_gives_the_same_mask():
    image, depth, instance = table(CAN, BESIDE)
    box = box_around(instance == 0)
    first, _ = segment_box(image, depth, box)
    segment_box(image, None, (10, 10, 100, 100) if image[10:100, 10:100].std() > 20 else box)
    second, _ = segment_box(image, depth, box)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize('share', [0.0, 0.05, 0.1])
def test_real_frames_are_segmented_by_their_boxes(shared_data, share):
    for scene in sorted((Path(shared_data) / 'rgbd').iterdir()):
        image = cv2.cvtColor(cv2.imread(str(scene / 'rgb.png')), cv2.COLOR_BGR2RGB)
        depth = cv2.imread(str(scene / 'depth.png'), -1).astype(np.float32) * np.float32(0.001)
        given = cv2.imread(str(scene / 'mask.png'), 0) > 0
        assert json.loads((scene / 'camera.json').read_text())['width'] == image.shape[1]
        mask, _ = segment_box(image, depth, box_around(given, share))
        assert iou(mask, given) > 0.9, scene.name
