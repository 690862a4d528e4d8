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


"""Augmented views: picture, camera, depth and object stay consistent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lift3d_ros.networks.small.augmented_view import AugmentedView
from lift3d_ros.networks.small.augmented_view import concatenate_views
from lift3d_ros.training.augmentation import mirrored
from lift3d_ros.training.monocular import visible_depth
from lift3d_ros.training.samples import make_sample
from lift3d_ros.training.samples import SampleSettings

CAMERA = ('focal', 'centre', 'pose')


@pytest.fixture(scope='module')
def sample():
    one = make_sample(11, (), SampleSettings(targets=2, occluded=0.0, noisy_masks=0.0, depth=1.0))
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def view_of_sample(sample):
    picture = torch.from_numpy(sample['picture'].copy()).permute(2, 0, 1)[None].float()
    return AugmentedView(
        picture, *(torch.from_numpy(sample[name].copy())[None].float() for name in CAMERA)
    )


def seen_by(sample, view):
    solid = torch.from_numpy(sample['solid'].astype(np.float32))
    return visible_depth(solid, view.pose[0], view.focal[0], view.centre[0])


def numbers(*values):
    return [torch.tensor([value]) for value in values]


@pytest.mark.parametrize(('angle', 'zoom'), [(0.4, 1.0), (-0.7, 0.9), (0.0, 0.8), (1.2, 1.0)])
def test_a_rolled_camera_sees_the_object_where_the_rolled_picture_shows_it(sample, angle, zoom):
    straight = view_of_sample(sample)
    view = straight.rolled(*numbers(angle, zoom))
    depth = seen_by(sample, view)
    shown = view.picture[0, 3, ::2, ::2] > 127.0
    assert (shown & (depth > 0.0)).sum() > 0.9 * (shown | (depth > 0.0)).sum()
    before = replace(straight, picture=seen_by(sample, straight)[None, None])
    turned = before.rolled(*numbers(angle, zoom)).picture[0, 0]
    both = (turned > 0.0) & (depth > 0.0)
    assert both.sum() > 0.9 * (depth > 0.0).sum()
    # The middle pixel of both looks at the same place.
    assert (turned - depth)[both].abs().median() < 0.01
    rotation = view.pose[0, :3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-5)
    assert torch.equal(view.pose[0, :3, 3], straight.pose[0, :3, 3])
    assert torch.allclose(view.pose[0, :3, 2], straight.pose[0, :3, 2])
    assert torch.allclose(view.focal, zoom * straight.focal)


def test_a_batch_of_views_is_augmented_one_by_one(sample):
    one = view_of_sample(sample)
    both = concatenate_views([one, one])
    angle, zoom = torch.tensor([0.3, -0.2]), torch.tensor([0.9, 1.0])
    found = both.rolled(angle, zoom)
    for index in range(2):
        alone = one.rolled(angle[index:index + 1], zoom[index:index + 1])
        for name, value in vars(alone).items():
            assert torch.allclose(vars(found)[name][index], value[0], atol=1e-4), name


def test_no_roll_is_the_identity_and_rolls_are_inverted(sample):
    straight = view_of_sample(sample)
    same = straight.rolled(*numbers(0.0, 1.0))
    for name, value in vars(straight).items():
        assert torch.allclose(vars(same)[name], value, atol=1e-3), name
    back = straight.rolled(*numbers(0.5, 0.9)).rolled(*numbers(-0.5, 1.0 / 0.9))
    for name in CAMERA:
        assert torch.allclose(vars(back)[name], vars(straight)[name], atol=1e-3), name
    assert (back.picture - straight.picture).abs().mean() < 6.0


def test_a_mirrored_view_is_that_of_the_mirrored_sample(sample):
    view, other = view_of_sample(sample).mirrored(), view_of_sample(mirrored(sample))
    for name, value in vars(other).items():
        assert torch.allclose(vars(view)[name], value, atol=1e-4), name
