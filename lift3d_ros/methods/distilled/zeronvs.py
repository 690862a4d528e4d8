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
ZeroNVS for objects: a contracted radiance field guided by views of 6DoF+1 conditioning.

Sargent et al., 2024, with the presets of ``zeronvs_presets``. ``Lifter.lift_scene`` completes
whole frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from typing import ClassVar
from typing import TYPE_CHECKING

from lift3d_ros.errors import bad_request
from lift3d_ros.methods.distilled.distilled import DistilledMethod
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.methods.one2345_published import published_views
from lift3d_ros.progress import Progress

if TYPE_CHECKING:
    from lift3d_ros.methods.distilled.inputs import DistillationInputs
    from lift3d_ros.methods.distilled.posed import ViewModel
    from lift3d_ros.methods.distilled.run import Plan

#: Largest number of anchor pictures.
MAX_ANCHORS = 64


@dataclass
class ZeroNVS(DistilledMethod):
    """
    A contracted radiance field, optimised against views that are conditioned on all six degrees.

    - ``weights``: ``zeronvs``, or the packaged ``small`` ones, which know objects alone.
    - ``anchors``: pictures around the object that are synthesised once and condition the views
      near them (SDS anchoring); None for the number of the preset. The packaged weights regress
      to their anchors.
    - ``scale``: of the scene, canonical units; None for the 20 % quantile of the measured depth,
      as the model was trained, or that of an object of unit length without depth.

    For the other settings see ``DistilledMethod``.
    """

    anchors: int | None = None
    scale: float | None = None

    name: ClassVar[str] = 'zeronvs'

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        super().__post_init__()
        if self.anchors is not None and not 0 <= self.anchors <= MAX_ANCHORS:
            raise bad_request(
                f'{self.anchors} anchors are requested; choose 0 to {MAX_ANCHORS}.')
        if self.scale is not None and not self.scale > 0.0:
            raise bad_request(f'The scale of the scene is {self.scale}; choose a positive one.')

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
        from lift3d_ros.methods.distilled.zeronvs_presets import FAMILIES

        return load_view_model(self.weights, self.device, start, FAMILIES)

    def plan(
        self, prior: ViewModel, inputs: DistillationInputs, seed: int, progress: Progress
    ) -> Plan:
        """Return the plan of the preset; see ``DistilledMethod``."""
        from lift3d_ros.methods.distilled.zeronvs_presets import make_plan

        plan = make_plan(
            self.preset, prior, inputs, seed, progress, self.steps, self.anchors, self.scale)
        return plan if self.steps is None else replace(
            plan, loop=replace(plan.loop, steps=self.steps))
