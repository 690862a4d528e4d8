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

"""Whether an object stands on the plane or is held above it, and what follows from that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import HELD
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import STANDING
from lift3d_ros.geometry.shape import UNKNOWN_SUPPORT
from lift3d_ros.lifter import Lifter
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.support import find_support
from lift3d_ros.observation.support import Support
from lift3d_ros.observation.support import with_plane_below
from lift3d_ros.synthetic.real_like import make_real_like_scene
from lift3d_ros.synthetic.real_like import RealLikeSettings

ALONE = RealLikeSettings(
    touched=0.0, surroundings=(('alone', 1.0),), elevation=(25.0, 50.0), gravity=True
)
SEEDS = range(6)


def bottle():
    """Return a bottle of 16 cm."""
    shape = trimesh.creation.cylinder(0.035, 0.16).subdivide()
    colors = np.tile(np.array((180, 120, 60), np.uint8), (len(shape.vertices), 1))
    return Mesh(shape.vertices.astype(np.float32), shape.faces.astype(np.int32), colors)


def make_scenes(held):
    """Return scenes of a bottle that stands, or is held above the table."""
    settings = replace(ALONE, held=float(held), toppled=0.0)
    return [make_real_like_scene(bottle(), seed, (), settings) for seed in SEEDS]


@pytest.fixture(scope='module')
def standing_scenes():
    """Return scenes of a standing bottle."""
    return make_scenes(held=False)


@pytest.fixture(scope='module')
def held_scenes():
    """Return scenes of a held bottle."""
    return make_scenes(held=True)


def support_of(scene):
    """Return the observation and the support of a scene's object."""
    view = crop_object(scene.frame, scene.mask)
    observation = observe(view)
    rng = np.random.default_rng(0)
    return view, observation, find_support(observation, scene.frame.gravity, rng)


def test_the_state_is_found_and_seldom_reversed(standing_scenes, held_scenes):
    for truth, scenes in ((STANDING, standing_scenes), (HELD, held_scenes)):
        states = [support_of(scene)[2].state for scene in scenes]
        assert states.count(truth) >= len(SEEDS) // 2
        assert len(states) - states.count(truth) - states.count(UNKNOWN_SUPPORT) <= 1


def test_a_held_bottle_does_not_grow_down_to_the_table(held_scenes):
    lifter = Lifter('geometric')
    shapes = [lifter.lift(scene.frame, scene.mask) for scene in held_scenes[:3]]
    assert HELD in [shape.support for shape in shapes]
    for scene, shape in zip(held_scenes, shapes, strict=False):
        normal, distance = scene.situation.table
        low = float((shape.mesh_in_camera().vertices @ normal).min()) - distance
        if shape.support == HELD:
            assert low > 0.4 * scene.situation.clearance_m


def test_without_a_plane_the_state_is_unknown():
    assert Support(np.array([0.0, -1.0, 0.0]), None, 0.0, 'gravity').state == UNKNOWN_SUPPORT


def test_the_networks_see_the_frame_as_it_is_around_a_standing_object(standing_scenes):
    for scene in standing_scenes:
        view, observation, support = support_of(scene)
        if support.state == STANDING:
            assert with_plane_below(view, observation, support) is view


def test_the_networks_see_a_plane_at_the_lower_end_of_a_held_object(held_scenes):
    """Readings of the object and before it stay; the plane hides what is further away."""
    hidden = 0
    for scene in held_scenes:
        view, observation, support = support_of(scene)
        shown = with_plane_below(view, observation, support)
        before, after = np.nan_to_num(view.frame.depth), shown.frame.depth
        np.testing.assert_array_equal(after[view.mask], before[view.mask])
        assert (after[before > 0.0] <= before[before > 0.0] + 1e-6).all()
        hidden += np.count_nonzero(after[before > 0.0] < before[before > 0.0])
    assert hidden > 0
