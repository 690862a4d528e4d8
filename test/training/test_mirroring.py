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

"""Samples mirrored: what they say of each other stays true."""

import numpy as np
import pytest
import torch

from lift3d_ros.training.augmentation import mirrored
from lift3d_ros.training.monocular import visible_depth
from lift3d_ros.training.pool import Pool
from lift3d_ros.training.samples import make_sample
from lift3d_ros.training.samples import SampleSettings


@pytest.fixture(scope='module')
def sample():
    one = make_sample(11, (), SampleSettings(targets=2, occluded=0.0, noisy_masks=0.0, depth=1.0))
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def seen(arrays):
    solid = torch.from_numpy(arrays['solid'].astype(np.float32))
    return visible_depth(
        solid, *(torch.from_numpy(arrays[name]).float() for name in ('pose', 'focal', 'centre'))
    ).numpy()


def test_a_mirrored_camera_sees_the_mirrored_solid_where_its_picture_shows_it(sample):
    other = mirrored(sample)
    assert not np.array_equal(other['picture'], sample['picture'])
    assert seen(other) == pytest.approx(seen(sample)[:, ::-1], abs=1e-4)
    covered = seen(other) > 0.0
    shown = other['picture'][::2, ::2, 3] > 127
    assert (covered & shown).sum() > 0.9 * (covered | shown).sum()


def test_a_mirrored_pose_is_a_rotation_and_mirroring_twice_is_nothing(sample):
    other = mirrored(sample)
    for pose in (other['pose'], *other['target_poses']):
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0, abs=1e-5)
    again = mirrored(other)
    for name, values in sample.items():
        assert again[name] == pytest.approx(values)
        assert again[name].dtype == values.dtype


def test_half_of_what_a_pool_gives_is_mirrored(sample, tmp_path):
    pool = Pool(tmp_path)
    pool.add(0, make_sample(11, (), SampleSettings(targets=2, occluded=0.0)))
    pool.refresh()
    own = pool.read(0)['picture']
    batch = next(pool.batches(16, np.random.default_rng(0)))['picture']
    same = [np.array_equal(picture, own) for picture in batch]
    assert 2 < sum(same) < 14
    assert all(
        np.array_equal(picture, own) or np.array_equal(picture, own[:, ::-1]) for picture in batch
    )
