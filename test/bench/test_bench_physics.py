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

"""Grasps in simulated physics: what is lifted, what slips, what collides."""

from __future__ import annotations

from importlib.util import find_spec
import time

from bench_helpers import box
from bench_helpers import mesh_of
from bench_helpers import sphere
import numpy as np
import pytest
import trimesh

from lift3d_ros.bench.grasps import physics as physics_module
from lift3d_ros.bench.grasps.physics import BLOCKED
from lift3d_ros.bench.grasps.physics import DROPPED
from lift3d_ros.bench.grasps.physics import HELD
from lift3d_ros.bench.grasps.physics import MISSED
from lift3d_ros.bench.grasps.physics import Physics
from lift3d_ros.bench.grasps.physics import PhysicsTrial
from lift3d_ros.bench.grasps.physics import SHAKEN
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.score import score_grasps
from lift3d_ros.bench.settings import Settings
from lift3d_ros.bench.timing import convex_parts
from lift3d_ros.bench.timing import harness
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.robot.grasps import Grasp
from lift3d_ros.robot.grasps import Jaw
from lift3d_ros.robot.grasps import plan

if any(find_spec(name) is None for name in ('mujoco', 'coacd', 'manifold3d')):
    pytest.skip('mujoco, coacd or manifold3d is not installed; see requirements/*.txt',
                allow_module_level=True)

JAW = Jaw()

#: Closing along x, from straight above, and from the side.
FROM_ABOVE = np.stack([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]], axis=1)
FROM_THE_SIDE = np.stack([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], axis=1)

#: Thirty centimetres long, six high, four between the fingers; it stands on z = -0.03.
BAR = box((0.04, 0.3, 0.06))
MIDDLE, EDGE = (0.0, 0.0, 0.01), (0.0, 0.12, 0.01)

CAN = mesh_of(trimesh.creation.cylinder(0.03, 0.12, sections=64))


def outcome(mesh, centre, axes=FROM_ABOVE, **changes):
    return PhysicsTrial(mesh, JAW, Physics(**changes)).attempt(Grasp(np.array(centre), axes))


def holds(mesh, centre, axes=FROM_ABOVE, **changes):
    return outcome(mesh, centre, axes, **changes) == HELD


# What is held, and what is not


def test_a_box_across_its_faces_is_lifted():
    assert holds(BAR, MIDDLE)


def test_at_its_edge_it_turns_out_of_the_jaw_where_friction_is_low():
    assert holds(BAR, EDGE, friction=0.8)
    assert holds(BAR, MIDDLE, friction=0.15)
    assert not holds(BAR, EDGE, friction=0.15)


def test_without_friction_nothing_is_lifted():
    assert outcome(BAR, MIDDLE, friction=0.0) == DROPPED


def test_beside_the_object_the_jaw_closes_on_nothing():
    assert outcome(BAR, (0.0, 0.25, 0.01)) == MISSED


def test_what_is_too_heavy_for_the_force_stays_on_the_table():
    assert holds(BAR, MIDDLE, force=30.0, density=400.0)
    assert not holds(BAR, MIDDLE, force=30.0, density=12_000.0)
    assert holds(BAR, MIDDLE, force=600.0, density=12_000.0)


def test_what_holds_in_the_hand_may_slip_when_it_is_shaken():
    assert holds(BAR, MIDDLE, friction=0.08, shift=0.0)
    assert outcome(BAR, MIDDLE, friction=0.08, shift=0.1) == SHAKEN


@pytest.mark.parametrize(('mesh', 'axes'), [
    (sphere(0.03), FROM_ABOVE), (CAN, FROM_THE_SIDE), (box((0.05, 0.05, 0.09)), FROM_THE_SIDE)
])
def test_round_and_square_things_are_lifted_from_above_and_from_the_side(mesh, axes):
    assert holds(mesh, (0.0, 0.0, 0.0), axes)


def test_slanted_faces_slip_out_beyond_the_friction_cone():
    # Wide below: its faces lean by 20 degrees, and the cone of 0.2 is 11 degrees wide.
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-0.05, 0.05) for z in (0.0, 0.06)])
    corners[:, 0] *= 0.03 - 0.364 * corners[:, 2]
    wedge = mesh_of(trimesh.Trimesh(corners).convex_hull)
    assert not holds(wedge, (0.0, 0.0, 0.04), friction=0.2)
    assert holds(wedge, (0.0, 0.0, 0.04), friction=0.8)


# The way to the object


def test_a_jaw_in_the_object_or_in_the_table_is_no_grasp():
    flat = box((0.05, 0.05, 0.02))
    assert outcome(BAR, (0.03, 0.0, 0.01)) == BLOCKED, 'a finger in the object'
    assert outcome(BAR, (0.0, 0.0, -0.01)) == BLOCKED, 'the palm in the object'
    assert outcome(flat, (0.0, 0.0, -0.005)) == BLOCKED, 'the fingers in the table'
    assert holds(flat, (0.0, 0.0, 0.002))


def test_a_palm_that_just_touches_does_not_jam_the_object_against_the_table():
    # Two millimetres off the middle, so that the bar must slide between the fingers.
    for overlap in (0.0, 0.001, 0.0019):
        assert holds(BAR, (0.002, 0.0, -0.005 - overlap)), overlap


def test_what_hangs_over_the_grasp_is_in_the_way_from_above_alone():
    post, roof = box((0.02, 0.02, 0.15)), box((0.12, 0.1, 0.01), (0.0, 0.0, 0.08))
    trial = PhysicsTrial(post, JAW, parts=[post, roof])
    centre = np.array([0.0, 0.0, 0.0])
    assert trial.attempt(Grasp(centre, FROM_ABOVE)) == BLOCKED
    assert trial.attempt(Grasp(centre, FROM_THE_SIDE)) == HELD


# A trial


def test_the_object_weighs_what_the_scan_does_however_much_its_parts_overlap():
    halves = [box((0.04, 0.2, 0.06), (0.0, y, 0.0)) for y in (-0.05, 0.05)]
    for parts in (halves, [BAR], [BAR, BAR]):
        model = PhysicsTrial(BAR, JAW, Physics(density=500.0), parts)._model
        body = model.body('object')
        assert body.mass[0] == pytest.approx(500.0 * 0.04 * 0.3 * 0.06, rel=1e-5)
        np.testing.assert_allclose(body.ipos, np.zeros(3), atol=1e-6)
        sides = np.array([0.04, 0.3, 0.06])
        expected = body.mass[0] / 12.0 * (np.sum(sides**2) - sides**2)
        np.testing.assert_allclose(np.sort(body.inertia), np.sort(expected), rtol=1e-4)


def test_the_same_grasp_gives_the_same_answer_whatever_came_before():
    first, second = Grasp(np.array(MIDDLE), FROM_ABOVE), Grasp(np.array(EDGE), FROM_ABOVE)
    trial = PhysicsTrial(BAR, JAW, Physics(friction=0.15))
    answers = [trial.attempt(grasp) == HELD for grasp in (first, second, first, second)]
    assert answers == [True, False, True, False]


def test_what_is_planned_on_a_can_lifts_it_in_bounded_time():
    trial = PhysicsTrial(CAN, JAW)
    grasps = plan(CAN, JAW)[:3]
    start = time.process_time()
    assert [trial.attempt(grasp) for grasp in grasps] == [HELD] * 3
    assert time.process_time() - start < 1.5 * len(grasps)


def test_a_grasp_planned_on_a_wrong_shape_is_scored_on_the_true_one():
    thin, thick = mesh_of(trimesh.creation.cylinder(0.02, 0.12)), sphere(0.06)
    right = score_grasps(thin, Truth(thin, np.eye(4)), physics=True)
    wrong = score_grasps(thin, Truth(thick, np.eye(4)), physics=True)
    assert (right['physics_top_1'], right['physics_top_3']) == (1.0, 1.0)
    assert (wrong['physics_top_1'], wrong['physics_top_3']) == (0.0, 0.0)
    assert 'physics_top_1' not in score_grasps(thin, Truth(thin, np.eye(4)))
    none = score_grasps(sphere(0.06), Truth(thin, np.eye(4)), physics=True)
    assert (none['grasps'], none['physics_top_1']) == (0, 0.0)
    assert right['physics_outcomes'] == [HELD] * 3
    assert none['physics_outcomes'] == []


# What is asked for


def test_a_missing_package_is_named_before_anything_is_run(monkeypatch):
    monkeypatch.setattr(physics_module, 'find_spec', lambda name: None)
    with pytest.raises(LiftError, match='mujoco') as caught:
        Settings(('geometric',), grasp=True, physics=True)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_physics_without_grasps_is_refused():
    with pytest.raises(LiftError, match='--grasp'):
        Settings(('geometric',), physics=True)


# What convex parts cost and leave out


def test_parts_are_measured_against_their_mesh(tmp_path, capfd):
    bar = mesh_of(trimesh.creation.box((0.04, 0.3, 0.06)))
    fine = convex_parts.with_faces(bar, 700)
    assert 600 < len(fine.faces) <= 768
    assert fine.is_watertight()
    found = convex_parts.measure(fine)
    assert (found.faces, found.parts) == (len(fine.faces), 1)
    assert found.excess == found.missing == 0.0
    assert found.left_out_mm < 0.01
    assert 0.0 < found.seconds
    assert 0.0 < found.processor
    # Of an L one hull is too much by the half of the square between its arms.
    corner = np.zeros((24, 24, 6), bool)
    corner[:, :6] = corner[:6] = True
    angle = mesh_of(trimesh.voxel.VoxelGrid(corner).marching_cubes)
    hull, several = convex_parts.measure(angle, 1), convex_parts.measure(angle)
    assert hull.parts == 1
    assert 0.4 < hull.excess < 0.8
    assert several.excess < 0.1
    trimesh.Trimesh(bar.vertices, bar.faces).export(tmp_path / 'bar.ply')
    assert harness.main('parts', [str(tmp_path), '--faces', '500']) == 0
    assert 'bar' in capfd.readouterr().out
    assert harness.main('parts', [str(tmp_path / 'none')]) == 1
