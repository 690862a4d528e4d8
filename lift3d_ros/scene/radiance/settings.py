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

"""Settings of the radiance field of a scene."""

from __future__ import annotations

from dataclasses import dataclass

from lift3d_ros.errors import bad_request

#: ``small`` regresses to the input and its anchors; ``faithful`` and ``gpu`` distil the published
#: prior, with the released constants and with measured depth and anchors beside them.
PRESETS = ('small', 'faithful', 'gpu')

#: Largest number of steps.
MAX_STEPS = 100_000


@dataclass(frozen=True)
class RadianceSettings:
    """
    How the radiance field of a scene is optimised.

    - ``preset``: of ``PRESETS``; published weights need ``faithful`` or ``gpu``, others ``small``.
      None for ``small``, or for ``gpu`` with published weights.
    - ``steps``: None for those of the preset.
    - ``device``: ``cpu`` or ``cuda``.
    """

    preset: str | None = None
    steps: int | None = None
    device: str = 'cpu'

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        if self.preset is not None and self.preset not in PRESETS:
            raise bad_request(
                f'There is no preset "{self.preset}" of scenes; choose one of '
                f'{", ".join(PRESETS)}.')
        if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
            raise bad_request(f'{self.steps} steps are requested; choose 1 to {MAX_STEPS}.')
        if self.device not in ('cpu', 'cuda'):
            raise bad_request(f'There is no device "{self.device}"; choose cpu or cuda.')


def resolved_preset(settings: RadianceSettings, weights: str) -> str:
    """
    Return the preset for weights.

    Raises ``LiftError(BAD_REQUEST)`` for one that the weights do not have.
    """
    from lift3d_ros.methods.one2345_published import published_views

    is_published = published_views(weights) is not None
    preset = settings.preset or ('gpu' if is_published else 'small')
    if is_published == (preset == 'small'):
        fitting = 'faithful or gpu' if is_published else 'small'
        raise bad_request(
            f'The preset "{preset}" of scenes does not fit the weights "{weights}"; choose '
            f'{fitting}.')
    return preset
