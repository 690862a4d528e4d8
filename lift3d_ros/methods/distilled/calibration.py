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

"""The confidence of a distilled field, from the sharpness of its surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.fields.field import BoxUncertainty
from lift3d_ros.fields.field import Field
from lift3d_ros.fields.uncertainty import uncertainty_of_guess
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.vertex_confidence import observed_confidence
from lift3d_ros.meshing.vertex_confidence import surface_decrease

#: Largest confidence of unobserved surface, reached at a sharp surface: the optimisation makes
#: surfaces sharp, whether they are right or not, and the confidence is not calibrated.
MAX_CONFIDENCE = 0.4


@dataclass(frozen=True, eq=False)
class SharpnessCalibration:
    """The confidence of a field that is not calibrated."""

    field: Field
    canonical: CanonicalFrame

    def confidence(self, mesh: Mesh, observed: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the confidence of vertices (n,); see ``Calibration``."""
        sharp = MAX_CONFIDENCE * surface_decrease(self.field, self.canonical, mesh)
        return np.where(
            observed, observed_confidence(mesh.vertices), sharp).astype(np.float32)

    def box_uncertainty(
        self, mesh: Mesh, observed: NDArray[np.bool_], voxel: float
    ) -> BoxUncertainty:
        """Return the uncertainty of the box; see ``Calibration``."""
        return uncertainty_of_guess(mesh, self.canonical.T_camera_object, observed, voxel)
