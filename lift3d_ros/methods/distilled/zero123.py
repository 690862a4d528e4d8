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
Zero-1-to-3's 3-D reconstruction: a voxel radiance field by score Jacobian chaining.

Liu et al., 2023, ``3drec/``, with the presets of ``zero123_presets``.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from typing import ClassVar
from typing import TYPE_CHECKING

from lift3d_ros.methods.distilled.distilled import DistilledMethod
from lift3d_ros.methods.distilled.distilled import PRESETS
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.methods.one2345_published import published_views
from lift3d_ros.progress import Progress

if TYPE_CHECKING:
    from lift3d_ros.methods.distilled.inputs import DistillationInputs
    from lift3d_ros.methods.distilled.posed import ViewModel
    from lift3d_ros.methods.distilled.run import Plan


@dataclass
class Zero123(DistilledMethod):
    """
    A radiance field optimised against views of the Zero-1-to-3 family, from any start.

    ``weights`` are the packaged ``small``, or published ones. The preset ``fast`` has the settings
    of threestudio; for the other settings see ``DistilledMethod``.
    """

    name: ClassVar[str] = 'zero123'
    presets: ClassVar[tuple[str, ...]] = PRESETS

    def check_prior(self) -> None:
        """Check that published weights are present; raises ``LiftError``."""
        from lift3d_ros.weights import store

        name = published_views(self.weights)
        store.check(store.find(self.weights if name is None else name))

    def start_weights(self) -> str:
        """Return small weights as they are; ``small`` beside published ones."""
        return self.weights if published_views(self.weights) is None else 'small'

    def load_prior(self, start: One2345) -> ViewModel:
        """Return the view model; see ``DistilledMethod``."""
        from lift3d_ros.methods.distilled.posed import load_view_model

        return load_view_model(self.weights, self.device, start)

    def plan(
        self, prior: ViewModel, inputs: DistillationInputs, seed: int, progress: Progress
    ) -> Plan:
        """Return the plan of the preset; see ``DistilledMethod``."""
        from lift3d_ros.methods.distilled.zero123_presets import make_plan

        plan = make_plan(self.preset, self.defects, self.steps, prior, inputs, seed, progress)
        return plan if self.steps is None else replace(
            plan, loop=replace(plan.loop, steps=self.steps))
