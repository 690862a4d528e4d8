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
NeuralLift-360: the order of depths, and a diffusion prior guided by CLIP and adapted to the image.

Xu et al., 2023, with the presets of ``neurallift360_presets``. Measured depth takes the place of
monocular depth where there is some.
"""

from __future__ import annotations

from dataclasses import dataclass
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

#: How the prior is adapted to the picture: a learned token, the whole denoiser (Imagic), low-rank
#: matrices of it (LoRA), or not at all. The small prior learns tokens only.
ADAPTATIONS = ('token', 'imagic', 'lora', 'none')

#: Guidance scales of the published eps_text + 100 (eps_text - eps_unc), and of the small prior.
PUBLISHED_GUIDANCE_SCALE, SMALL_GUIDANCE_SCALE = 101.0, 2.0


@dataclass
class NeuralLift360(DistilledMethod):
    """
    A radiance field that keeps the order of depths, optimised against a prior guided by CLIP.

    ``weights`` are those of ``lift3d train prior``, or Stable Diffusion 1. For the other settings
    see ``DistilledMethod``; the defects are the sign of CLIP's gradient.

    - ``clip``: a CLIP model by name or folder, whose embeddings guide; empty for the small encoder
      of ``lift3d train encoder`` in small weights, if there is one.
    - ``adaptation``: one of ``ADAPTATIONS``; ``prompt``: text for Stable Diffusion, in which
      ``<object>`` is the learned token.
    - ``ranking``: factor of the loss of the order of depths.
    """

    clip: str = ''
    adaptation: str = 'token'
    prompt: str = ''
    ranking: float = 1.0

    name: ClassVar[str] = 'neurallift360'

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        super().__post_init__()
        if self.adaptation not in ADAPTATIONS:
            raise bad_request(
                f'There is no adaptation "{self.adaptation}"; choose one of '
                f'{", ".join(ADAPTATIONS)}.')
        if not 0.0 <= self.ranking < float('inf'):
            raise bad_request(
                f'The factor of the ranking loss is {self.ranking}; choose 0 or more.')
        if self.weights == 'small' and self.adaptation in ('imagic', 'lora'):
            raise bad_request(
                f'The small prior has no adaptation "{self.adaptation}"; choose token or none, '
                'or weights of Stable Diffusion.')

    def start_weights(self) -> str:
        """Return small weights as they are; ``small`` beside published ones."""
        return 'small' if small_prior(self.weights) is None else self.weights

    def check_prior(self) -> None:
        """Check that the weights are present; raises ``LiftError``."""
        from lift3d_ros.weights import store

        store.check(store.find(self.weights))
        small_prior(self.weights)
        if self.clip:
            store.check(store.find(self.clip))

    def load_prior(self, start: One2345) -> UnposedModel:
        """Return the prior and the image encoder; see ``DistilledMethod``."""
        from lift3d_ros.methods.distilled.neurallift360_prior import load_unposed

        return load_unposed(self.weights, self.clip, self.device)

    def plan(
        self, prior: UnposedModel, inputs: DistillationInputs, seed: int, progress: Progress
    ) -> Plan:
        """Return the plan of the preset; see ``DistilledMethod``."""
        from lift3d_ros.methods.distilled import neurallift360_presets as presets
        from lift3d_ros.methods.distilled.neurallift360_prior import Adaptation
        from lift3d_ros.methods.distilled.neurallift360_prior import adapted_prior

        scale = SMALL_GUIDANCE_SCALE if prior.is_small else PUBLISHED_GUIDANCE_SCALE
        with progress.stage('adapt', 0.1):
            adapted = adapted_prior(
                prior, inputs, Adaptation(self.adaptation, self.prompt, scale), seed,
                progress.check)
        monocular = None
        if not inputs.canonical.metric:
            assert self._start is not None, 'the method is loaded'
            monocular = self._start.networks.view_model.monocular_depth(
                inputs.levelled.observed.inputs)
        return presets.make_plan(
            presets.PlanSettings(self.preset, self.defects, self.steps, self.ranking),
            presets.Guide(
                adapted, prior.encoder, adapted.decode, prior.latent_scale, prior.is_small),
            inputs, seed, monocular)
