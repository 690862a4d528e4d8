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

"""From what is known of a scene to its radiance field: which prior, which rays, which loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
import math

from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.guidance.anchored import Anchor
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimisation import optimise
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.progress import Progress
from lift3d_ros.scene.parts import measured_depth
from lift3d_ros.scene.planes import ScenePlane
from lift3d_ros.scene.prior.completion import complete_surface
from lift3d_ros.scene.prior.completion import Fill
from lift3d_ros.scene.prior.inputs import KnownScene
from lift3d_ros.scene.radiance import published
from lift3d_ros.scene.radiance import small
from lift3d_ros.scene.radiance.rays import anchor_rays
from lift3d_ros.scene.radiance.rays import input_rays
from lift3d_ros.scene.radiance.rays import KnownRays
from lift3d_ros.scene.radiance.scene_field import DISTILLED_CONFIDENCE
from lift3d_ros.scene.radiance.scene_field import REGRESSED_CONFIDENCE
from lift3d_ros.scene.radiance.scene_field import SceneField
from lift3d_ros.scene.radiance.scene_field import SceneFrame
from lift3d_ros.scene.radiance.settings import RadianceSettings
from lift3d_ros.scene.radiance.settings import resolved_preset
from lift3d_ros.scene.radiance.task import RegressionSettings
from lift3d_ros.scene.radiance.task import SceneTask
from lift3d_ros.scene.scene import SceneSurface

#: Seconds before the deadline at which an optimisation ends, so that its surface is made in time.
FINISH_SECONDS = 8.0

#: Share of the progress at which the anchors are made.
ANCHORED = 0.15


@dataclass(frozen=True, eq=False)
class KnownOfScene:
    """
    What the field of a scene is made of.

    - ``frame``: with depth; ``surface``, ``planes``: in its optical frame.
    - ``poses``: of the anchors, ``T_camera_eye`` (4, 4), metres.
    - ``middle``: metres ahead of the camera to the middle of the scene; ``up``: (3,), the
      vertical in the optical frame.
    """

    frame: Frame
    surface: SceneSurface
    planes: Sequence[ScenePlane]
    poses: Sequence[Array]
    middle: float
    up: Array


def fit_scene(
    known: KnownOfScene,
    weights: str,
    anchor_fill: Fill | None,
    settings: RadianceSettings,
    seed: int,
    progress: Progress,
) -> tuple[SceneField, tuple[str, ...]]:
    """
    Return the radiance field of a scene, and notes on its optimisation.

    ``weights`` are published ones of ZeroNVS, or small ones, whose anchors ``anchor_fill``
    completes. Raises ``LiftError``: ``BAD_REQUEST`` for a preset or a family that does not fit,
    ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``CANCELLED``, ``TIMEOUT``, ``OUT_OF_MEMORY``.
    """
    preset = resolved_preset(settings, weights)
    scene = SceneFrame.of_middle(known.middle, known.up)
    make = _small if preset == 'small' else _published
    plan = make(known, weights, anchor_fill, scene, settings.device, preset, seed, progress)
    field = SceneField(plan.field, scene, plan.rendering, plan.proposal, plan.confidence)
    task = SceneTask(
        plan.field, plan.proposal, plan.rendering, plan.regression,
        [rays.to(settings.device) for rays in plan.rays], field, known.frame.camera,
        plan.distillation)
    left = progress.remaining
    loop = replace(
        plan.loop, seed=seed, steps=settings.steps or plan.loop.steps, device=settings.device,
        max_seconds=None if left is None or math.isinf(left) else max(0.0, left - FINISH_SECONDS))
    result = optimise(task, loop, progress=progress.part(ANCHORED, 1.0))
    return field, result.notes


@dataclass(frozen=True, eq=False)
class _Plan:
    field: EncodedField
    proposal: EncodedField
    rendering: RenderSettings
    rays: list[KnownRays]
    regression: RegressionSettings
    loop: LoopSettings
    confidence: tuple[float, float]
    distillation: Distillation | None = None


def _small(
    known: KnownOfScene, weights: str, anchor_fill: Fill | None, scene: SceneFrame, device: str,
    preset: str, seed: int, progress: Progress,
) -> _Plan:
    del weights, preset
    surface = known.surface
    if anchor_fill is not None:
        surface = complete_surface(
            known.frame, surface, anchor_fill, known.poses, known.planes,
            progress=progress.part(0.0, ANCHORED))
    rays = [input_rays(known.frame, scene)]
    anchors = anchor_rays(
        KnownScene(known.frame, surface, known.planes), known.poses, scene)
    if anchors is not None:
        rays.append(anchors)
    field, proposal = small.small_fields(seed)
    return _Plan(
        field.to(device), proposal.to(device), small.RENDER, rays, small.REGRESSION, small.LOOP,
        REGRESSED_CONFIDENCE)


def _published(
    known: KnownOfScene, weights: str, anchor_fill: Fill | None, scene: SceneFrame, device: str,
    preset: str, seed: int, progress: Progress,
) -> _Plan:
    del anchor_fill
    prior = published.ScenePrior(weights, device, known.frame, scene)
    rays: list[KnownRays] = []
    anchors: list[Anchor] = []
    if preset != 'faithful':
        anchors, images = prior.anchors(known.poses, seed, progress.part(0.0, ANCHORED))
        rays = [
            input_rays(known.frame, scene),
            published.picture_rays(images, prior.camera, known.poses, scene)]
    field, proposal = (made.to(device) for made in published.published_fields(seed))
    # The published near end of the rays lies behind what is close to a camera in a room.
    nearest = float(measured_depth(known.frame)[measured_depth(known.frame) > 0.0].min())
    rendering = published.RENDER
    if preset != 'faithful':
        rendering = replace(rendering, near=min(
            rendering.near, max(0.02, 0.5 * nearest / scene.metres)))
    return _Plan(
        field, proposal, rendering, rays, published.KNOWN, published.LOOP,
        DISTILLED_CONFIDENCE,
        published.distillation(prior, field, proposal, anchors, device, rendering))
