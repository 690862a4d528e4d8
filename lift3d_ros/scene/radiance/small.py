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

"""The preset ``small``: a field regressed to the input and to anchors, for two CPU cores."""

from __future__ import annotations

from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.fields.encodings import TriplaneSettings
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import EncodedFieldSettings
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.scene.radiance.task import RegressionSettings

#: Half side of the cube that is not contracted, in distances of the input camera.
BOUND = 1.0

#: Ends of the rays, in the same unit.
NEAR, FAR = 0.1, 50.0

RENDER = RenderSettings(samples=48, importance=24, near=NEAR, far=FAR, spacing='disparity')

REGRESSION = RegressionSettings({
    'color': 1.0, 'surface': 0.1, 'empty': 0.1, 'distortion': 0.01, 'interlevel': 1.0})

LOOP = LoopSettings(300, optimizer=OptimizerSettings(rate=0.005, eps=1e-8))


def small_fields(
    seed: int, resolution: int = 128, features: int = 8
) -> tuple[EncodedField, EncodedField]:
    """Return field and proposal field with their initial values."""
    shared = EncodedFieldSettings(bound=BOUND, contracted=True, width=32, density_bias=-1.0)
    field = EncodedField(TriplaneSettings(resolution, features), shared, seed)
    proposal = EncodedField(
        TriplaneSettings(resolution // 2, 4),
        EncodedFieldSettings(
            bound=BOUND, contracted=True, width=16, hidden=1, density_bias=-1.0), seed + 1)
    return field, proposal
