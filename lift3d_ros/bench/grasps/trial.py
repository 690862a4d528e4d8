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


"""Grasps that were planned on a predicted mesh, tried on the scan; z up, metres."""

from __future__ import annotations

import numpy as np

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.solid import sample_with_normals
from lift3d_ros.meshing.solid import Solid
from lift3d_ros.robot.grasps import friction_cosine
from lift3d_ros.robot.grasps import Grasp
from lift3d_ros.robot.grasps import is_free
from lift3d_ros.robot.grasps import Jaw
from lift3d_ros.robot.grasps import OBSTACLE_POINTS


class GraspTrial:
    """The true object on its table."""

    def __init__(self, mesh: Mesh, jaw: Jaw) -> None:
        """Take the scan, which stands on its lowest point."""
        self._solid, self._jaw = Solid(mesh), jaw
        self._obstacles, _ = sample_with_normals(mesh, OBSTACLE_POINTS, 2)
        self._floor = float(mesh.vertices[:, 2].min())

    def holds(self, grasp: Grasp) -> bool:
        """
        Return whether the jaw reaches its pose and holds the object when it closes.

        The open jaw must touch neither object nor table. When it closes, the middles of both
        fingers meet the object, and both normals there must lie in the friction cone about the
        closing axis, which for two soft contacts is force closure (Nguyen, Constructing
        Force-Closure Grasps, 1988).
        """
        if not is_free(grasp, self._jaw, self._obstacles, self._floor):
            return False
        axis, half = grasp.axes[:, 0], self._jaw.opening / 2.0
        inward = np.stack([-axis, axis])
        distance, normals = self._solid.cast(grasp.centre - half * inward, inward)
        if not (distance < 2.0 * half).all() or distance.sum() > 2.0 * half:
            return False
        # Faces of a scan have no consistent orientation.
        square = np.abs(np.einsum('ij,ij->i', normals, inward))
        return bool((square > friction_cosine(self._jaw.friction)).all())
