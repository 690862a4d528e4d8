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

"""Augmentation of the training data: objects stay closed, mirrored samples stay consistent."""

import numpy as np
import pytest
import torch
import trimesh

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.training.augmentation import mirrored
from lift3d_ros.training.augmentation import varied
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


def _varied(seed: int) -> Mesh:
    return varied(procedural_object(3, 'bottle'), np.random.default_rng(seed))


@pytest.mark.parametrize('seed', range(12))
def test_a_varied_object_stays_closed_and_is_wound_outward(seed):
    mesh = _varied(seed)
    assert mesh.is_watertight()
    assert mesh.volume() > 0.0
    assert np.isfinite(mesh.vertices).all()


def test_objects_are_varied_by_the_generator_alone():
    assert np.array_equal(_varied(5).vertices, _varied(5).vertices)
    assert not np.array_equal(_varied(5).vertices, _varied(6).vertices)


def test_a_varied_object_keeps_about_its_size():
    original = procedural_object(3, 'bottle')
    size = np.ptp(original.vertices, axis=0).max()
    sides = np.array([np.ptp(_varied(seed).vertices, axis=0) for seed in range(40)])
    assert (sides.max(axis=1) > 0.4 * size).all()
    assert (sides.max(axis=1) < 2.5 * size).all()


def test_most_of_what_is_round_stays_round_and_some_of_what_is_a_ball_a_ball():
    ball = trimesh.creation.icosphere(3, 0.05)
    mesh = Mesh(
        np.asarray(ball.vertices, np.float32), np.asarray(ball.faces, np.int32),
        np.full((len(ball.vertices), 3), 128, np.uint8),
    )
    sides = np.array([
        np.sort(np.ptp(varied(mesh, np.random.default_rng(seed)).vertices, axis=0))
        for seed in range(150)
    ])
    alike = np.diff(np.log(sides), axis=1) < 0.01
    assert 0.6 < alike.any(axis=1).mean() < 0.9
    assert 0.25 < alike.all(axis=1).mean() < 0.5
    # They are of many sizes all the same.
    assert np.log(sides[alike.all(axis=1), 0]).std() > 0.05


def test_a_part_of_the_objects_is_bent():
    # Stretching, mirroring and turning over do not change how wide one half is over the other.
    straight = abs(_slenderness(procedural_object(3, 'bottle')))
    off = [abs(abs(_slenderness(_varied(seed))) - straight) for seed in range(40)]
    assert 0.03 < np.mean(np.array(off) > 0.01) < 0.3


def _slenderness(mesh: Mesh) -> float:
    """Return how wide the upper half of the longest side is over the lower one."""
    axis = int(np.argmax(np.ptp(mesh.vertices, axis=0)))
    other = (axis + 1) % 3
    along = mesh.vertices[:, axis]
    middle = 0.5 * (along.min() + along.max())
    upper, lower = (
        np.ptp(mesh.vertices[part, other]) for part in (along > middle, along < middle)
    )
    return float(np.log(upper / lower))
