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

"""The pose of an object and its covariance, from what the networks believe."""

import numpy as np
import pytest
from scipy.special import expit
import trimesh

from lift3d_ros.fields.occupancy_grid import OccupancyGrid
from lift3d_ros.fields.uncertainty import uncertainty_of_field
from lift3d_ros.fields.uncertainty import uncertainty_of_guess
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.placement.object_frame import object_frame

N, SIDE = 64, 2.0
AXIS = ((np.arange(N) + 0.5) / N - 0.5) * SIDE
#: A logistic function is at 0.16 and 0.84 so far to both sides of its middle.
REACH = 1.658


def box_of(back, width):
    """Return a box from x = ``back`` to 0.5 whose back face falls over ``width``."""
    x, y, z = np.meshgrid(AXIS, AXIS, AXIS, indexing='ij')
    inside = expit((x - back) / width) * (x < 0.5) * (abs(y) < 0.4) * (abs(z) < 0.4)
    return inside.astype(np.float32)


def solid(*samples):
    """Return the solid that is the mean of samples."""
    color = np.zeros((3, N, N, N), np.float32)
    values = np.mean(samples, axis=0, dtype=np.float32)
    return OccupancyGrid.of_cube(values, color, np.zeros(3), SIDE)


def test_a_face_that_is_unsure_makes_the_middle_and_the_side_unsure():
    width, scale, voxel = 0.08, 0.2, 1e-6
    uncertainty = uncertainty_of_field(solid(box_of(-0.3, width)), scale, voxel)
    told = 1.4 * scale * REACH * width
    assert uncertainty.sides[0] == pytest.approx(told, rel=0.25)
    assert uncertainty.centre[0] == pytest.approx(0.5 * told, rel=0.25)
    # The other faces are as sharp as the voxels.
    assert (uncertainty.centre[1:] < 0.02 * scale).all()


def test_samples_that_differ_make_it_more_unsure_than_each_is():
    near, far = box_of(-0.1, 0.01), box_of(-0.6, 0.01)
    alone = max(uncertainty_of_field(solid(one), 0.2, 1e-6).centre[0] for one in (near, far))
    both = uncertainty_of_field(solid(near, far), 0.2, 1e-6).centre[0]
    assert both == pytest.approx(1.4 * 0.2 * 0.5 * 0.25, rel=0.1)
    assert both > 5.0 * alone


def test_a_solid_that_is_nowhere_sure_is_as_unsure_as_it_is_long():
    uncertainty = uncertainty_of_field(solid(0.7 * box_of(-0.5, 0.001)), 0.2, 1e-6)
    assert uncertainty.sides[0] > 0.4 * 0.2


def test_nothing_is_surer_than_the_voxels():
    sharp = solid((box_of(-0.3, 1e-4) > 0.5).astype(np.float32))
    uncertainty = uncertainty_of_field(sharp, 0.2, 0.01)
    assert (uncertainty.centre >= 0.005).all()


def test_the_frame_is_in_the_middle_and_its_covariance_along_the_axes():
    box = trimesh.creation.box((0.1, 0.06, 0.2))
    turn = trimesh.transformations.euler_matrix(0.3, -0.5, 0.9)
    upright = rigid(turn[:3, :3], [0.1, -0.2, 0.8])
    vertices = (box.vertices + [0.02, 0.0, 0.1]) @ upright[:3, :3].T + upright[:3, 3]
    faces, colors = box.faces.astype(np.int32), np.zeros((8, 3), np.uint8)
    mesh = Mesh(vertices.astype(np.float32), faces, colors)
    uncertainty = uncertainty_of_guess(mesh, upright, np.arange(8) < 4, 0.001)
    assert uncertainty.centre[0] == pytest.approx(np.hypot(0.15 * 0.1 * 0.5, 0.001))
    frame = object_frame(mesh, upright, uncertainty, np.radians(2.0))
    np.testing.assert_allclose(
        frame.T_camera_object[:3, 3], upright[:3, :3] @ [0.02, 0.0, 0.1] + upright[:3, 3],
        atol=1e-6,
    )
    low, high = frame.mesh.vertices.min(axis=0), frame.mesh.vertices.max(axis=0)
    np.testing.assert_allclose(high, -low, atol=1e-6)
    R = upright[:3, :3]
    own = R.T @ frame.covariance[:3, :3] @ R
    np.testing.assert_allclose(own, np.diag(uncertainty.centre**2), atol=1e-12)
    tilt = R.T @ frame.covariance[3:, 3:] @ R
    assert tilt[0, 0] == pytest.approx(np.radians(2.0) ** 2)
    # The longest side is the height, 0.2 m.
    assert frame.scale_stddev == pytest.approx(uncertainty.sides[2] / 0.2, rel=1e-5)
