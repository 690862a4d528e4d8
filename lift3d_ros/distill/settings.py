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

"""Settings of a distillation: losses, cameras, rendering, and what a step renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.schedules import ScheduleData
from lift3d_ros.distill.shading import ShadingSettings
from lift3d_ros.distill.terms import NORMAL_TERMS
from lift3d_ros.distill.terms import TERMS
from lift3d_ros.errors import bad_request
from lift3d_ros.fields.volume_rendering import RenderSettings

#: What is behind the random views for the prior: ``alpha`` leaves the decision to the prior, the
#: others are opaque: white, one random colour a view, one a pixel.
BACKGROUNDS = ('alpha', 'white', 'random', 'pixels')


@dataclass(frozen=True)
class DistillationSettings:
    """
    Settings of a distillation.

    - ``weights``: of the terms in ``terms.TERMS``, schedules or numbers; a term without one is 0.
    - ``cameras``: of the random views; ``views`` of them a step with ``size`` pixels a side.
    - ``render``: how rays are sampled; terms of normals need its normals.
    - ``reference_rays``: random rays of the input view a step; None for all.
    - ``background``: one of ``BACKGROUNDS``; ``background_share``: share of the steps with it,
      the others have the learned background of the ``Distillation``, or white.
    - ``shading``: of the random views, which needs normals and one view a step; None for none.
      ``shaded_size``: their pixels a side in shaded steps, None for ``size``.
    - ``reference_share``: share of the steps that render the input view alone, a schedule or
      number, which needs all of its rays; the others render random views alone. None renders both
      in each step. ``reference_guided``: whether the prior guides the input view in its steps.
    - ``reference_factors``: factors of terms in the steps of the input view alone.
    - ``boosts``: a threshold and a factor of terms, by which a term counts while it exceeds the
      threshold.
    - ``nearby``: displacement of the second camera of the term ``nearby``, canonical units.
    - ``background_depth``: see ``RenderedViews``; None compares the depths of surfaces alone.
    - ``reference_noise``: standard deviation of a displacement of the input camera in each step,
      canonical units, a schedule or number.
    - ``grid_levels``: active levels of the field's hash grid, a schedule or number; None for all.
    - ``growth``: (step, size, views) from which ``size`` and ``views`` have these values instead.
    """

    weights: Mapping[str, ScheduleData]
    cameras: CameraSampler
    views: int = 1
    size: int = 64
    render: RenderSettings = dataclass_field(default_factory=RenderSettings)
    reference_rays: int | None = None
    background: str = 'alpha'
    background_share: float = 1.0
    shading: ShadingSettings | None = None
    shaded_size: int | None = None
    reference_share: ScheduleData | None = None
    reference_guided: bool = False
    reference_factors: Mapping[str, float] = dataclass_field(default_factory=dict)
    boosts: Mapping[str, tuple[float, float]] = dataclass_field(default_factory=dict)
    nearby: float = 0.04
    background_depth: float | None = None
    reference_noise: ScheduleData = 0.0
    grid_levels: ScheduleData | None = None
    growth: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        named = {*self.weights, *self.reference_factors, *self.boosts}
        unknown = named - set(TERMS)
        normals = sorted(set(self.weights) & set(NORMAL_TERMS))
        for wrong, message in (
            (unknown, f'There is no loss {sorted(unknown)}; choose of {", ".join(TERMS)}.'),
            (normals and self.render.normals == 'none', f'The losses {normals} need normals; set '
             'normals of the rendering.'),
            (self.shading and (self.render.normals == 'none' or self.views != 1), 'Shading needs '
             'normals and one view a step; set normals of the rendering, and views to 1.'),
            (min(self.views, self.size) < 1 or self.shaded_size == 0, f'{self.views} views of '
             f'{self.size} pixels cannot be rendered; choose at least 1.'),
            (any(min(numbers) < 1 for numbers in self.growth), 'The views grow to nothing; choose '
             'steps, sizes and numbers of at least 1.'),
            (self.reference_rays is not None and self.reference_rays < 1, 'The input view has '
             'no rays; choose at least 1.'),
            (self.reference_share is not None and self.reference_rays is not None, 'Steps of the '
             'input view alone need all of its rays; set reference_rays to None.'),
            (self.background not in BACKGROUNDS, f'There is no background "{self.background}"; '
             f'choose one of {", ".join(BACKGROUNDS)}.'),
            (not 0.0 <= self.background_share <= 1.0, 'The share of the background is outside of '
             '0 to 1; choose another.'),
        ):
            if wrong:
                raise bad_request(message)

    def at(self, step: int) -> tuple[int, int]:
        """Return the size and the number of the random views of a step."""
        grown = [numbers for start, *numbers in self.growth if step >= start]
        size, views = grown[-1] if grown else (self.size, self.views)
        return size, views
