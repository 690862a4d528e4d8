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
What the distilled methods share: settings, the feed-forward start, and the pipeline.

A distilled method contributes its prior and its plan: which field is optimised against which
losses. Torch is imported when a method is loaded.
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import ClassVar
from typing import TYPE_CHECKING

import numpy as np

from lift3d_ros.elevation.estimate import ElevationSettings
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import weights_missing
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.placement.success_probability import pass_probability
from lift3d_ros.progress import Progress
from lift3d_ros.runtime import memory
from lift3d_ros.weights import store

if TYPE_CHECKING:
    from lift3d_ros.methods.distilled.inputs import DistillationInputs
    from lift3d_ros.methods.distilled.run import Plan

#: What an optimisation starts from: the field of the feed-forward method, or nothing.
INITS = ('one2345', 'scratch')

#: ``fixed`` repairs the defects of a published program that a method names; ``faithful`` keeps
#: them.
DEFECTS = ('fixed', 'faithful')

#: The preset that needs a GPU, and all presets that a distilled method may have.
GPU_PRESET = 'gpu'
PRESETS = ('small', 'fast', 'faithful', GPU_PRESET)

#: Folder of the unposed prior in small weights.
SMALL_PRIOR = 'prior'

#: Share of the lift that is done when the canonical frame is known, and when the feed-forward
#: field is.
LEVELLED, STARTED = 0.08, 0.15

#: Share of the lift that is done when the optimisation is.
OPTIMISED = 0.94

#: Address space and written memory of a distillation of the preset ``small``, MiB.
ADDRESS_SPACE_MIB = 2600
DATA_MIB = 1500


@dataclass
class DistilledMethod(ABC):
    """
    An optimisation of a radiance field, with the settings that all distilled methods have.

    - ``weights``: of the prior: a name or a path.
    - ``device``: ``cpu`` or ``cuda``.
    - ``preset``: one of ``presets``: ``small`` for two cores, ``gpu`` for a GPU, ``faithful`` with
      the constants of the publication. ``steps``: of the optimisation, by default the preset's.
    - ``init``: one of ``INITS``; ``defects``: one of ``DEFECTS``.
    - ``resolution``: voxels along the longest side of the mesh's volume.
    - ``elevation``: how the elevation of the camera is estimated without gravity and plane.
    """

    weights: str = 'small'
    device: str = 'cpu'
    preset: str = 'small'
    steps: int | None = None
    init: str = 'one2345'
    defects: str = 'fixed'
    resolution: int = 96
    elevation: ElevationSettings = field(default_factory=ElevationSettings)
    _start: One2345 | None = field(default=None, repr=False, compare=False)
    _prior: Any = field(default=None, repr=False, compare=False)

    #: Key in ``METHODS``.
    name: ClassVar[str]
    presets: ClassVar[tuple[str, ...]] = ('small', 'faithful', GPU_PRESET)

    completes_occluded = True
    #: An optimisation uses all cores, and its field most of the memory.
    max_concurrent = 1

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        for label, value, choices in (
            ('preset', self.preset, self.presets), ('init', self.init, INITS),
            ('choice of defects', self.defects, DEFECTS),
        ):
            if value not in choices:
                raise bad_request(
                    f'The method "{self.name}" has no {label} "{value}"; choose one of '
                    f'{", ".join(choices)}.')
        if self.steps is not None and self.steps < 1:
            raise bad_request(f'{self.steps} steps are requested; choose at least 1.')
        if self.preset == GPU_PRESET and self.device != 'cuda':
            raise bad_request(
                'The preset "gpu" needs a GPU; choose the device cuda, or the preset "small".')

    @abstractmethod
    def check_prior(self) -> None:
        """Check that the files of the prior are present; raises ``LiftError``."""

    @abstractmethod
    def load_prior(self, start: One2345) -> Any:
        """
        Return the loaded prior; ``start`` is loaded, and may share its networks.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``BAD_REQUEST`` for a prior
        of another family.
        """

    @abstractmethod
    def plan(
        self, prior: Any, inputs: DistillationInputs, seed: int, progress: Progress
    ) -> Plan:
        """
        Return what is optimised for one object; ``prior`` is that of ``load_prior``.

        Call ``progress.check`` at least every half second.
        """

    def start_weights(self) -> str:
        """Return the weights of the feed-forward start."""
        return 'small'

    def check(self) -> None:
        """
        Check that the weights are present, without importing torch.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
        """
        self._feed_forward().check()
        self.check_prior()

    def load(self) -> None:
        """
        Load the networks.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``BAD_REQUEST`` for a
        device that is not available and for a prior of another family, ``OUT_OF_MEMORY`` if the
        limits of the process are too low.
        """
        if self._prior is not None:
            return
        memory.check_limits(ADDRESS_SPACE_MIB, DATA_MIB)
        start = self._feed_forward()
        start.load()
        self._start, self._prior = start, self.load_prior(start)

    def unload(self) -> None:
        """Free the networks."""
        self._start = self._prior = None

    def reconstruct(
        self, obs: ObservedObject, rng: np.random.Generator, progress: Progress
    ) -> Reconstruction:
        """
        Return the field of the object.

        A run that diverges, or has no time left before the deadline, ends with its last good
        state and a note. Raises ``LiftError``: ``ELEVATION_UNKNOWN``, ``NO_SURFACE``,
        ``CANCELLED``, ``TIMEOUT``, ``OUT_OF_MEMORY``.
        """
        from lift3d_ros.methods.distilled.inputs import distillation_inputs
        from lift3d_ros.methods.distilled.run import distil

        assert self._start is not None, 'the method is loaded'
        levelled = self._start.level(obs, progress.part(0.05, LEVELLED))
        seed = int(rng.integers(2**31))
        start = None
        if self.init == 'one2345':
            start = self._start.complete(obs, levelled, rng, progress.part(LEVELLED, STARTED))
        inputs = distillation_inputs(obs, levelled, start, self.device)
        part = progress.part(STARTED, OPTIMISED)
        plan = self.plan(self._prior, inputs, seed, part)
        return distil(plan, inputs, seed, self.resolution, part)

    def success_probability(self, confidence: float, metric: bool) -> float | None:
        """Return the probability that a shape is good; None until it is calibrated."""
        return pass_probability(self.name, confidence, metric)

    def _feed_forward(self) -> One2345:
        return One2345(self.start_weights(), self.device, elevation=self.elevation)


def small_prior(weights: str) -> Path | None:
    """
    Return the folder of the unposed prior in small weights; None for other weights.

    Raises ``LiftError(WEIGHTS_MISSING)`` for weights that are not there, and for small ones
    without a prior.
    """
    path = store.find(weights)
    if not (path / 'coarse').is_dir():
        return None
    folder = path / SMALL_PRIOR
    if not folder.is_dir():
        raise weights_missing(
            f'The weights {weights} have no unposed prior. Train one with `lift3d train prior` '
            'and give the weights that it writes, or give Stable Diffusion 1.')
    return folder
