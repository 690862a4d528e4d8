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

"""The optimisation of a scene's field: regression to known rays, and a prior's guidance."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.rays import interlevel_loss
from lift3d_ros.fields.volume_rendering import render
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import Camera
from lift3d_ros.scene.radiance.rays import KnownRays
from lift3d_ros.scene.radiance.scene_field import ray_ends
from lift3d_ros.scene.radiance.scene_field import SceneField
from lift3d_ros.scene.radiance.scene_field import weight_within


@dataclass(frozen=True)
class RegressionSettings:
    """
    Settings of the regression to known rays.

    - ``weights``: of ``color``, ``surface`` (the weight that is not at the known distance),
      ``empty`` (that before it), ``distortion`` and ``interlevel``.
    - ``rays``: of the input a step, and as many of the anchors.
    - ``tolerance``: of a distance, as a share of it.
    """

    weights: Mapping[str, float]
    rays: int = 512
    tolerance: float = 0.015


class SceneTask:
    """
    A ``Task`` of the optimisation loop.

    The known distances are those of Urban Radiance Fields (Rematas et al., 2022, section 4.2): the
    weight of a ray is at its surface, and none is before it.
    """

    def __init__(
        self,
        field: RadianceField,
        proposal: RadianceField,
        render_settings: RenderSettings,
        settings: RegressionSettings,
        known: list[KnownRays],
        scene: SceneField,
        camera: Camera,
        distillation: Distillation | None = None,
    ) -> None:
        """
        Optimise ``field`` and ``proposal`` in place, on their device.

        A step draws rays of each of ``known``, if there are any. ``scene`` is that of the field,
        of which ``preview`` shows ``camera``. ``distillation`` optimises the same two fields.
        """
        self._field, self._proposal, self._render = field, proposal, render_settings
        self._settings, self._known, self._scene = settings, known, scene
        self._camera, self._distillation = camera, distillation
        self.module: nn.Module = nn.ModuleDict({'field': field, 'proposal': proposal})

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the groups of both fields."""
        return self._field.parameter_groups(rate) + self._proposal.parameter_groups(rate)

    def losses(
        self, step: int, generator: torch.Generator, check: Callable[[], None]
    ) -> dict[str, Tensor]:
        """Return the weighted terms of a step; see ``Task``."""
        check()
        terms = self._regression(generator) if self._known else {}
        if self._distillation is not None:
            check()
            for name, term in self._distillation.losses(step, generator, check).items():
                terms[name] = terms[name] + term if name in terms else term
        return terms

    def after_step(self, step: int, generator: torch.Generator) -> None:
        """Do nothing: the proposal field takes the place of an occupancy grid."""

    def preview(self) -> NDArray[np.uint8]:
        """Return the field from the input camera, RGB (h, w, 3)."""
        return self._scene.render(self._camera, np.eye(4)).color

    def _regression(self, generator: torch.Generator) -> dict[str, Tensor]:
        settings = self._settings
        drawn = [(known, known.draw(settings.rays, generator)) for known in self._known]
        rays = KnownRays.joined([
            KnownRays(known.rays[index], known.color[index], known.distance[index],
                      known.share[index]) for known, index in drawn])
        device = rays.color.device
        local = torch.Generator(device).manual_seed(
            int(torch.randint(2**62, (1,), generator=generator)))
        seen = render(
            self._field, rays.rays, self._render, generator=local, proposal=self._proposal)
        histogram, proposal = seen.histogram, seen.proposal
        assert proposal is not None, 'the task has a proposal field'
        ends = ray_ends(histogram, self._render)
        sure = torch.isfinite(rays.distance)
        distance = rays.distance[sure][:, None]
        reach = settings.tolerance * distance
        weights, ends = histogram.weights[sure], ends[sure]
        before = weight_within(weights, ends, torch.zeros_like(distance), distance - reach)
        at = weight_within(weights, ends, distance - reach, distance + reach)
        rate = 1.0 / max(1, len(distance))
        terms = {
            'color': (seen.color - rays.color).square().mean(),
            'surface': rate * (1.0 - at).square().sum(),
            'empty': rate * before.square().sum(),
            'distortion': histogram.distortion().mean(),
            'interlevel': interlevel_loss(histogram, proposal),
        }
        return {name: factor * terms[name] for name, factor in settings.weights.items()}
