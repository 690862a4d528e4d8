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

"""
Controls of distilled methods: the same optimisation without a prior.

What a prior is credited with is often the work of the start, of the losses of the input view, or
of a regulariser. Each of these is measured alone here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import ClassVar
from typing import TYPE_CHECKING

from lift3d_ros.methods.distilled.distilled import DistilledMethod
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.progress import Progress

if TYPE_CHECKING:
    from lift3d_ros.distill.schedules import ScheduleData
    from lift3d_ros.methods.distilled.inputs import DistillationInputs
    from lift3d_ros.methods.distilled.run import Plan

#: The losses of each control beside those of the input view: none, those of the published
#: regularisers, or the one that keeps the start where no camera sees. ``start`` makes no step.
LOSSES: dict[str, dict[str, ScheduleData]] = {
    'start': {},
    'input': {},
    'regularised': {'opacity': 10.0, 'distortion': 100.0, 'total_variation': 30.0},
    'anchored': {'start': 500.0},
}


@dataclass
class Control(DistilledMethod):
    """
    The voxels of ``zero123`` and its losses of the input view, without its prior.

    ``losses`` is a key of ``LOSSES``; for the other settings see ``DistilledMethod``.
    """

    losses: str = 'input'

    name: ClassVar[str] = 'control'
    presets: ClassVar[tuple[str, ...]] = ('small',)

    def check_prior(self) -> None:
        """Do nothing: there is no prior."""

    def start_weights(self) -> str:
        """Return the weights."""
        return self.weights

    def load_prior(self, start: One2345) -> Any:
        """Return what stands for the prior."""
        return self.losses

    def plan(
        self, prior: Any, inputs: DistillationInputs, seed: int, progress: Progress
    ) -> Plan:
        """Return the plan of the control; see ``DistilledMethod``."""
        from lift3d_ros.distill.cameras import CameraSampler
        from lift3d_ros.distill.optimisation import LoopSettings
        from lift3d_ros.distill.optimizers import OptimizerSettings
        from lift3d_ros.distill.settings import DistillationSettings
        from lift3d_ros.fields.radiance_fields import VoxelField
        from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
        from lift3d_ros.fields.volume_rendering import RenderSettings
        from lift3d_ros.methods.distilled import zero123_presets as presets
        from lift3d_ros.methods.distilled.run import Plan

        scratch, preset = inputs.start is None, presets.SMALL
        known = presets.SCRATCH_WEIGHTS if scratch else presets.STARTED_WEIGHTS
        weights = {name: known[name] for name in ('rgb', 'mask', 'depth')}
        steps = self.steps or (preset.scratch_steps if scratch else preset.steps)
        rate = preset.scratch_rate if scratch else preset.rate
        if self.losses == 'start':
            # A step that moves nothing: the radiance field as it was fitted to its start.
            steps, rate = 1, 1e-12
        radius = inputs.canonical.radius
        settings = DistillationSettings(
            weights | LOSSES[self.losses],
            CameraSampler((radius, radius), (-10.0, 80.0), stratified=True),
            preset.views, preset.size, RenderSettings(samples=preset.samples))
        field = VoxelField(
            VoxelFieldSettings(inputs.bound, preset.resolution, 3, 'sigmoid', log_scale=2.0), seed)
        optimizer = OptimizerSettings(rate=rate, eps=presets.VOXEL_EPS)
        return Plan(
            field, settings, LoopSettings(steps, optimizer=optimizer),
            reference=inputs.reference_view(preset.size), start_colors=self.losses == 'anchored')
