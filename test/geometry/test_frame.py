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

"""Frames, masks and the view of one object."""

from __future__ import annotations

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry.frame import bounding_box
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.frame import VIEW_FILL
from lift3d_ros.geometry.frame import VIEW_SIZE

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)


def make_frame(width=64, height=48, **parts):
    """Return a frame of random colours."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    focal = float(max(width, height))
    camera = Camera(width, height, focal, focal, (width - 1) / 2.0, (height - 1) / 2.0)
    return Frame(**{'image': image, 'camera': camera, **parts})


def make_mask(left, top, right, bottom, shape=(48, 64)):
    """Return a rectangle, right and bottom exclusive."""
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def code_of(function, *arguments, **named):
    """Return the code of the LiftError that a call raises; its message must say something."""
    with pytest.raises(LiftError) as caught:
        function(*arguments, **named)
    assert caught.value.message[-1] in '.?'
    return caught.value.code


# Frames


@pytest.mark.parametrize(
    ('parts', 'code'),
    [
        ({'image': np.zeros((48, 64), np.uint8)}, ErrorCode.BAD_IMAGE),
        ({'image': np.zeros((48, 64, 4), np.uint8)}, ErrorCode.BAD_IMAGE),
        ({'image': np.zeros((48, 64, 3), np.float32)}, ErrorCode.BAD_IMAGE),
        ({'image': np.zeros((64, 48, 3), np.uint8)}, ErrorCode.SIZE_MISMATCH),
        ({'depth': np.zeros((48, 64), np.uint16)}, ErrorCode.BAD_IMAGE),
        ({'depth': np.zeros((48, 64, 1), np.float32)}, ErrorCode.BAD_IMAGE),
        ({'depth': np.zeros((24, 32), np.float32)}, ErrorCode.SIZE_MISMATCH),
        ({'gravity': np.zeros(3)}, ErrorCode.NO_CAMERA),
        ({'gravity': np.array([0.0, np.nan, 1.0])}, ErrorCode.NO_CAMERA),
        ({'gravity': np.array([0.0, 1.0])}, ErrorCode.NO_CAMERA),
    ],
)
def test_a_frame_whose_parts_do_not_fit_is_refused(parts, code):
    assert code_of(make_frame, **parts) == code


def test_gravity_is_made_a_unit_vector():
    frame = make_frame(gravity=np.array([0.0, 9.81, 0.0]))
    np.testing.assert_allclose(frame.gravity, [0.0, 1.0, 0.0])


# Masks


def test_a_bounding_box_ends_after_the_last_pixel():
    assert bounding_box(make_mask(3, 5, 10, 7)) == (3, 5, 10, 7)


@pytest.mark.parametrize(
    ('mask', 'code'),
    [
        (np.zeros((48, 64), bool), ErrorCode.EMPTY_MASK),
        (make_mask(10, 10, 13, 11), ErrorCode.MASK_TOO_SMALL),
        (make_mask(10, 10, 17, 17), ErrorCode.MASK_TOO_SMALL),
        (make_mask(0, 10, 64, 12), ErrorCode.MASK_TOO_SMALL),
        (make_mask(10, 10, 30, 30, (96, 128)), ErrorCode.SIZE_MISMATCH),
        (make_mask(10, 10, 30, 30).astype(np.uint8), ErrorCode.BAD_IMAGE),
        (make_mask(10, 10, 30, 30)[..., None], ErrorCode.BAD_IMAGE),
    ],
)
def test_a_mask_that_shows_no_object_is_refused(mask, code):
    assert code_of(crop_object, make_frame(), mask) == code


# Crops


@st.composite
def boxes(draw):
    """Return the size of an image and a box of at least 12 x 12 pixels in it."""
    width, height = draw(st.integers(16, 200)), draw(st.integers(16, 200))
    left, top = draw(st.integers(0, width - 12)), draw(st.integers(0, height - 12))
    right, bottom = draw(st.integers(left + 12, width)), draw(st.integers(top + 12, height))
    return width, height, left, top, right, bottom


@settings(max_examples=60)
@given(boxes())
def test_a_crop_holds_the_object_in_its_middle_and_its_camera_sees_it_there(box):
    width, height, left, top, right, bottom = box
    frame = make_frame(width, height)
    view = crop_object(frame, make_mask(left, top, right, bottom, (height, width)))
    assert view.image.shape == (VIEW_SIZE, VIEW_SIZE, 3)
    x, y, x_end, y_end = bounding_box(view.alpha > 127)
    assert max(x_end - x, y_end - y) == pytest.approx(VIEW_FILL * VIEW_SIZE, abs=1)
    assert (x + x_end) / 2 == pytest.approx(VIEW_SIZE / 2, abs=1)
    assert (y + y_end) / 2 == pytest.approx(VIEW_SIZE / 2, abs=1)
    # The corners of the box, half a pixel outside the outermost centres, go to those in the view.
    for (u, v), expected in (
        ((left - 0.5, top - 0.5), (x - 0.5, y - 0.5)),
        ((right - 0.5, bottom - 0.5), (x_end - 0.5, y_end - 0.5)),
    ):
        seen = view.camera.project(frame.camera.unproject(u, v, 1.5))
        assert (seen[0], seen[1]) == pytest.approx(expected, abs=1e-6)
    # Masks that were resized lose the last pixel.
    at_border = min(left, top) <= 1 or right >= width - 1 or bottom >= height - 1
    assert view.truncated == at_border


def test_the_view_is_white_outside_the_object_and_no_background_bleeds_in():
    image = np.zeros((48, 64, 3), np.uint8)
    mask = make_mask(20, 10, 40, 30)
    image[mask] = (200, 100, 50)
    view = crop_object(Frame(image, CAMERA), mask)
    assert (view.image[view.alpha == 0] == 255).all()
    assert (view.image[view.alpha == 255] == (200, 100, 50)).all()
    # At the edge the object's colour fades into white, never into the black behind it.
    edge = (view.alpha > 0) & (view.alpha < 255)
    assert (view.image[edge] >= (199, 99, 49)).all()


def test_the_elevation_comes_from_gravity_and_the_place_of_the_object():
    mask = make_mask(22, 14, 42, 34)
    for elevation in (-10.0, 0.0, 35.0, 80.0):
        T = orbit_pose(40.0, elevation, 1.0)
        view = crop_object(make_frame(gravity=-T[2, :3]), mask)
        assert view.elevation() == pytest.approx(elevation, abs=0.01)
    # Lower in the image, the same camera sees an object more from above.
    low = crop_object(make_frame(gravity=np.array([0.0, 1.0, 0.0])), make_mask(22, 28, 42, 48))
    assert low.elevation() > 5.0
    assert crop_object(make_frame(), mask).elevation() is None


def test_a_one_pixel_image_is_refused_not_crashed_on():
    frame = make_frame(1, 1)
    assert code_of(crop_object, frame, np.ones((1, 1), bool)) == ErrorCode.MASK_TOO_SMALL


def test_the_pose_of_a_further_view_is_a_rigid_motion():
    """A scaled, mirrored or unknown pose is refused before anything is computed with it."""
    view = crop_object(make_frame(), make_mask(20, 10, 40, 30))
    assert SourceView(view, np.eye(4)).T_ref_src.shape == (4, 4)
    for wrong in (
        np.diag([2.0, 2.0, 2.0, 1.0]),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.full((4, 4), np.nan),
        np.eye(3),
    ):
        assert code_of(SourceView, view, wrong) is ErrorCode.BAD_REQUEST
