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

"""The protocol of a method, and the list of methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import Protocol

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.methods.distilled.neurallift360 import NeuralLift360
from lift3d_ros.methods.distilled.realfusion import RealFusion
from lift3d_ros.methods.distilled.zero123 import Zero123
from lift3d_ros.methods.distilled.zeronvs import ZeroNVS
from lift3d_ros.methods.geometric import Geometric
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.methods.one2345_published import One2345Published
from lift3d_ros.methods.one2345_published import published_views
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.progress import Progress


class Method(Protocol):
    """
    A reconstruction method: a dataclass of settings with one main function.

    After ``load``, several threads may call ``reconstruct`` concurrently.
    """

    @property
    def completes_occluded(self) -> bool:
        """Whether it can complete an object behind an occluder; see ``observe``."""

    @property
    def max_concurrent(self) -> int:
        """Largest number of objects that are lifted concurrently, bounded by memory."""

    def check(self) -> None:
        """Check that the files that ``load`` needs are present; raises ``LiftError``."""

    def load(self) -> None:
        """Load the weights to the device; do nothing if they are loaded."""

    def unload(self) -> None:
        """Free the memory of the device."""

    def reconstruct(
        self, obs: ObservedObject, rng: np.random.Generator, progress: Progress
    ) -> Reconstruction:
        """Return the field of the object, or raise ``LiftError``."""

    def success_probability(self, confidence: float, metric: bool) -> float | None:
        """
        Return the probability that a shape with that mean confidence is good, 0 to 1.

        ``metric``: whether its scale is known. None for a method that is not calibrated.
        """


#: Every method by its name. The first line of its docstring is what ``lift3d methods`` prints.
METHODS: dict[str, Callable[..., Method]] = {
    'geometric': Geometric,
    'one2345': One2345,
    'zero123': Zero123,
    'realfusion': RealFusion,
    'neurallift360': NeuralLift360,
    'zeronvs': ZeroNVS,
}

DEFAULT_METHOD = 'one2345'

#: The methods that optimise a field for each object, which have presets, steps and a start.
DISTILLED = ('zero123', 'realfusion', 'neurallift360', 'zeronvs')

#: The methods with networks, which have weights and a device; those that are not in ``DISTILLED``
#: have samples, too.
LEARNED = ('one2345', *DISTILLED)

#: Devices on which a method can run.
DEVICES = ('cpu', 'cuda')

#: Largest number of sets of synthesised views for one shape.
MAX_SAMPLES = 16


def make_method(
    name: str,
    device: str = 'cpu',
    weights: str | None = None,
    samples: int | None = None,
    preset: str | None = None,
    steps: int | None = None,
    init: str | None = None,
) -> Method:
    """
    Return a method with its settings, not loaded; None selects the default of the method.

    ``preset``, ``steps`` and ``init`` are those of ``DistilledMethod``.

    Raises ``LiftError(BAD_REQUEST)`` for an unknown method, and for settings that the method does
    not have.
    """
    if name not in METHODS:
        raise _refused(f'There is no method "{name}"; choose one of {", ".join(METHODS)}.')
    if device not in DEVICES:
        raise _refused(f'There is no device "{device}"; choose one of {", ".join(DEVICES)}.')
    if samples is not None and not 1 <= samples <= MAX_SAMPLES:
        raise _refused(f'samples is {samples}; choose 1 to {MAX_SAMPLES}.')
    chosen = {'preset': preset, 'steps': steps, 'init': init}
    if name in DISTILLED:
        if samples not in (None, 1):
            raise _refused(
                f'The method "{name}" draws no samples; omit samples, or choose one2345.')
        return METHODS[name](device=device, **_given({'weights': weights, **chosen}))
    given = ', '.join(_given(chosen))
    if given:
        raise _refused(
            f'The method "{name}" has no {given}; omit this, or choose a method that optimises: '
            f'{", ".join(DISTILLED)}.')
    if name not in LEARNED:
        networks = f'choose a method that has networks: {", ".join(LEARNED)}.'
        if device != 'cpu':
            raise _refused(f'The method "{name}" runs on the CPU only; choose the device cpu.')
        if weights is not None:
            raise _refused(f'The method "{name}" has no weights; omit "{weights}", or {networks}')
        if samples not in (None, 1):
            raise _refused(f'The method "{name}" draws no samples; omit samples, or {networks}')
        return METHODS[name]()
    if weights is not None and published_views(weights) is not None:
        if samples not in (None, 1):
            raise _refused(
                f'The published weights draw one set of views, not {samples}; set samples to 1, '
                'or choose the weights small.'
            )
        return One2345Published(weights, device)
    return METHODS[name](device=device, **_given({'weights': weights, 'samples': samples}))


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are not None."""
    return {name: value for name, value in settings.items() if value is not None}


def _refused(message: str) -> LiftError:
    return LiftError(ErrorCode.BAD_REQUEST, message)
