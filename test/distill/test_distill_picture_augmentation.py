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


from __future__ import annotations

from error_helpers import raises_code
import pytest
import torch

from lift3d_ros.distill.adaptation.picture_augmentation import AugmentationSettings
from lift3d_ros.distill.adaptation.picture_augmentation import AugmentedPicture
from lift3d_ros.distill.adaptation.picture_augmentation import NO_AUGMENTATION
from lift3d_ros.errors import ErrorCode

SIZE = 48
ALONE = {'rotated': 0.0, 'crop': (1.0, 1.0), 'jittered': 0.0, 'grey': 0.0, 'blurred': 0.0,
         'mirrored': 0.0}


def make_picture(size=SIZE):
    """Return a red disc with a green right half, left of the middle, premultiplied."""
    axis = (torch.arange(size) + 0.5) / size * 2.0 - 1.0
    y, x = torch.meshgrid(axis, axis, indexing='ij')
    alpha = ((x + 0.2).square() + y.square() < 0.25).float()
    right = (x > -0.2).float()
    return torch.stack([0.8 * (1.0 - right), 0.6 * right, 0.1 + 0.0 * x, 1.0 + 0.0 * x]) * alpha


def draw(count=1, size=SIZE, **changes):
    picture = AugmentedPicture(
        make_picture(), size, AugmentationSettings(**{**ALONE, **changes}))
    return picture(torch.Generator().manual_seed(0), count)


def test_without_augmentation_the_picture_is_itself():
    picture = AugmentedPicture(make_picture(), SIZE, NO_AUGMENTATION)
    assert torch.allclose(picture(torch.Generator())[0], make_picture(), atol=1e-5)


def test_pictures_are_premultiplied_and_of_the_size_that_is_asked_for():
    pictures = AugmentedPicture(make_picture(100), 32)(torch.Generator().manual_seed(1), 40)
    assert pictures.shape == (40, 4, 32, 32)
    assert float(pictures.min()) >= 0.0 and float(pictures.max()) <= 1.0 + 1e-5
    assert bool((pictures[:, :3] <= pictures[:, 3:] + 1e-5).all())
    assert bool((pictures[:, 3].flatten(1).mean(1) > 0.05).all())
    assert len({float(picture.sum()) for picture in pictures}) == 40


def test_equal_generators_draw_equal_pictures():
    picture = AugmentedPicture(make_picture(), SIZE)
    first, again = (picture(torch.Generator().manual_seed(3), 4) for _ in range(2))
    assert torch.equal(first, again)


def test_mirrored_pictures_exchange_left_and_right():
    mirrored = draw(mirrored=1.0)[0]
    assert torch.allclose(mirrored, make_picture().flip(2), atol=1e-5)


def test_rotation_keeps_the_middle_and_enlarges_it():
    pictures = draw(20, rotated=1.0)
    area = make_picture()[3].mean()
    # The rotated crop is 5/6 of the side.
    assert torch.allclose(
        pictures[:, 3].flatten(1).mean(1), (area * 1.44).expand(20), rtol=0.05)
    assert float((pictures - pictures[:1]).abs().max()) > 0.5


def test_crops_are_of_the_areas_that_are_asked_for():
    area = float(make_picture()[3].mean())
    shares = draw(60, crop=(0.85, 1.15))[:, 3].flatten(1).mean(1) / area
    assert 0.99 <= float(shares.min()) and float(shares.max()) <= 1.0 / 0.85 + 0.02
    assert float(shares.max()) > 1.05


def test_jitter_changes_colours_within_the_object_alone():
    plain, jittered = make_picture(), draw(30, jittered=1.0)
    assert torch.allclose(jittered[:, 3], plain[3].expand(30, -1, -1), atol=1e-5)
    change = (jittered[:, :3] - plain[:3]).abs()
    assert 0.01 < float(change.max()) < 0.2


def test_grey_pictures_have_no_colour():
    grey = draw(grey=1.0)[0, :3]
    assert torch.allclose(grey, grey[:1].expand(3, -1, -1), atol=1e-5)
    luma = 0.299 * 0.8 + 0.114 * 0.1
    assert float(grey[0].max()) == pytest.approx(max(luma, 0.587 * 0.6 + 0.0114), abs=1e-3)


def test_blur_keeps_the_mass_and_softens_the_edge():
    blurred = draw(blurred=1.0, blur=(20.0, 20.0))[0]
    plain = make_picture()
    assert float(blurred.sum()) == pytest.approx(float(plain.sum()), rel=1e-3)
    assert 0.05 < float((blurred - plain).abs().max()) < 0.6


@pytest.mark.parametrize('picture', [
    torch.ones(3, 8, 8), torch.ones(4, 8, 9), torch.zeros(4, 8, 8), torch.ones(1, 4, 8, 8)])
def test_pictures_without_an_object_are_refused(picture):
    with raises_code(ErrorCode.BAD_IMAGE):
        AugmentedPicture(picture, 8)
