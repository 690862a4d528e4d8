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


"""Grasps of a parallel jaw: what is planned, and what holds."""

from __future__ import annotations

from bench_helpers import box
from bench_helpers import mesh_of
from bench_helpers import sphere
import numpy as np
import pytest
import trimesh

from lift3d_ros.bench.grasps.trial import GraspTrial
from lift3d_ros.robot.grasps import Grasp
from lift3d_ros.robot.grasps import Jaw
from lift3d_ros.robot.grasps import plan

JAW = Jaw()

#: Closing along x, from straight above.
FROM_ABOVE = np.stack([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]], axis=1)

CAN = mesh_of(trimesh.creation.cylinder(0.03, 0.12, sections=128))


@pytest.mark.parametrize('mesh', [CAN, box((0.05, 0.2, 0.06)), sphere(0.03)])
def test_what_is_planned_on_the_object_itself_holds(mesh):
    grasps = plan(mesh, JAW)
    trial = GraspTrial(mesh, JAW)
    assert len(grasps) >= 3
    assert all(trial.holds(grasp) for grasp in grasps)


def test_the_axes_of_a_grasp_are_a_right_handed_frame():
    for grasp in plan(CAN, JAW):
        np.testing.assert_allclose(grasp.axes.T @ grasp.axes, np.eye(3), atol=1e-9)
        assert np.linalg.det(grasp.axes) == pytest.approx(1.0)


def test_the_same_seed_plans_the_same_grasps():
    one, other = plan(CAN, JAW, seed=4), plan(CAN, JAW, seed=4)
    np.testing.assert_array_equal([g.centre for g in one], [g.centre for g in other])


@pytest.mark.parametrize('mesh', [sphere(0.06), box((0.2, 0.2, 0.1))])
def test_nothing_is_planned_on_what_is_too_wide(mesh):
    # The box is 10 cm high, wider than the jaw too, and it stands on the table.
    assert plan(mesh, JAW) == []


def test_a_grasp_from_above_holds_a_box_between_the_fingers():
    trial = GraspTrial(box((0.05, 0.05, 0.1)), JAW)
    assert trial.holds(Grasp(np.array([0.0, 0.0, 0.03]), FROM_ABOVE))


def test_a_grasp_beside_the_object_holds_nothing():
    trial = GraspTrial(box((0.05, 0.05, 0.1)), JAW)
    assert not trial.holds(Grasp(np.array([0.0, 0.2, 0.03]), FROM_ABOVE))


def test_a_finger_through_the_object_is_a_collision():
    trial = GraspTrial(box((0.05, 0.05, 0.1)), JAW)
    assert not trial.holds(Grasp(np.array([0.03, 0.0, 0.03]), FROM_ABOVE))


def test_a_palm_on_the_object_is_a_collision():
    trial = GraspTrial(box((0.05, 0.05, 0.1)), JAW)
    assert not trial.holds(Grasp(np.array([0.0, 0.0, -0.01]), FROM_ABOVE))


def test_a_finger_in_the_table_is_a_collision():
    flat = GraspTrial(box((0.05, 0.05, 0.02)), JAW)
    assert not flat.holds(Grasp(np.array([0.0, 0.0, -0.005]), FROM_ABOVE))
    assert flat.holds(Grasp(np.array([0.0, 0.0, 0.004]), FROM_ABOVE))


@pytest.mark.parametrize(('degrees', 'holds'), [(0.0, True), (20.0, True), (32.0, False)])
def test_contacts_beyond_the_friction_cone_slip(degrees, holds):
    # The cone of friction 0.5 is 26.6 degrees wide. A thin wall turned in the jaw.
    wall = mesh_of(trimesh.creation.box((0.01, 0.08, 0.1)).apply_transform(
        trimesh.transformations.rotation_matrix(np.radians(degrees), [0.0, 0.0, 1.0])))
    assert GraspTrial(wall, JAW).holds(Grasp(np.array([0.0, 0.0, 0.03]), FROM_ABOVE)) is holds


def test_a_grasp_planned_on_a_wrong_shape_fails_on_the_true_one():
    trial = GraspTrial(sphere(0.06), JAW)
    thin = mesh_of(trimesh.creation.cylinder(0.02, 0.12))
    grasps = plan(thin, JAW)
    assert grasps
    assert not any(trial.holds(grasp) for grasp in grasps)


def test_every_grasp_keeps_the_fingers_off_the_table():
    flat = box((0.06, 0.06, 0.03))
    corners = JAW.boxes().reshape(-1, 3)
    for grasp in plan(flat, JAW):
        assert (grasp.centre[2] + corners @ grasp.axes[2]).min() > -0.015
