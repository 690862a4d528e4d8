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

"""Objects made out of others, for training."""

import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.training.augmentation import varied


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
