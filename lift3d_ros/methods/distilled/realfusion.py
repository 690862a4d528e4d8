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
RealFusion: a hash grid optimised against a text-to-image prior that knows the object.

Melas-Kyriazi et al., RealFusion: 360 degree reconstruction of any object from a single image,
2023, with the presets of ``realfusion_presets``.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from typing import ClassVar
from typing import TYPE_CHECKING

from lift3d_ros.errors import bad_request
from lift3d_ros.methods.distilled.distilled import DistilledMethod
from lift3d_ros.methods.distilled.distilled import small_prior
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.progress import Progress

if TYPE_CHECKING:
    from lift3d_ros.methods.distilled.inputs import DistillationInputs
    from lift3d_ros.methods.distilled.run import Plan
    from lift3d_ros.methods.distilled.unposed import UnposedModel

#: The prior guides the object of the picture, any object, or nothing: the last two are controls.
TOKENS = ('object', 'null', 'none')

#: Share of the progress of a distillation at which the inversion ends.
INVERTED = 0.05


@dataclass
class RealFusion(DistilledMethod):
    """
    A radiance field optimised against an unposed prior that has learned the object's token.

    ``weights`` are small ones with a prior, or those of Stable Diffusion 1 by name or path.

    - ``tokens``: one of ``TOKENS``; ``learned_token``: a file of textual inversion
      (``learned_embeds.bin`` or ``.safetensors``), which takes the place of the inversion.
    - ``clip``: a CLIP model with both towers and its tokenizer, by name or folder. The inversion
      of Stable Diffusion starts from the noun that it finds nearest to the picture; without one
      from "object". The small prior starts from the token that it predicts.

    For the other settings see ``DistilledMethod``.
    """

    tokens: str = 'object'
    learned_token: str | None = None
    clip: str = ''

    name: ClassVar[str] = 'realfusion'

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        super().__post_init__()
        if self.tokens not in TOKENS:
            raise bad_request(
                f'The method "{self.name}" has no tokens "{self.tokens}"; choose one of '
                f'{", ".join(TOKENS)}.')

    def check_prior(self) -> None:
        """Check that the prior is present; raises ``LiftError``."""
        from lift3d_ros.weights import store

        store.check(store.find(self.weights))
        small_prior(self.weights)
        if self.clip:
            store.check(store.find(self.clip))

    def start_weights(self) -> str:
        """Return small weights as they are; ``small`` beside Stable Diffusion."""
        return 'small' if small_prior(self.weights) is None else self.weights

    def load_prior(self, start: One2345) -> UnposedModel:
        """Return the unposed prior; see ``DistilledMethod``."""
        from lift3d_ros.methods.distilled.unposed import load_network
        from lift3d_ros.methods.distilled.unposed import UnposedModel
        from lift3d_ros.weights.clip import load_clip_towers

        model = UnposedModel(load_network(self.weights, self.device))
        if self.clip and not model.is_small:
            model = replace(model, towers=load_clip_towers(self.clip, device=self.device))
        return model

    def plan(
        self, prior: UnposedModel, inputs: DistillationInputs, seed: int, progress: Progress
    ) -> Plan:
        """Return the plan of the preset; see ``DistilledMethod``."""
        from lift3d_ros.methods.distilled.realfusion_presets import GUIDANCE_SCALE
        from lift3d_ros.methods.distilled.realfusion_presets import inversion
        from lift3d_ros.methods.distilled.realfusion_presets import make_plan
        from lift3d_ros.methods.distilled.unposed import stored_token

        scale = 1.0 if prior.is_small else GUIDANCE_SCALE
        own = prior.of_any_object(inputs.canonical.elevation, scale)
        if self.tokens == 'object' and self.learned_token is not None:
            own = own.with_token(stored_token(self.learned_token, own.embedding().shape[1]))
        elif self.tokens == 'object':
            # The small prior was never trained with unnormalised pictures.
            unnormalised = self.defects == 'faithful' and not prior.is_small
            with progress.stage('invert', INVERTED):
                own = prior.of_object(
                    inputs, seed, scale, inversion(self.preset, prior.is_small),
                    unnormalised=unnormalised, check=progress.check)
        plan = make_plan(
            self.preset, self.defects, self.steps, own, prior.is_small, inputs, seed)
        if self.tokens == 'none':
            weights = {k: v for k, v in plan.settings.weights.items() if k != 'guidance'}
            plan = replace(plan, settings=replace(plan.settings, weights=weights), guidance=None)
        return plan
