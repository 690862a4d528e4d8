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
The presets of the method ``neurallift360``.

``small`` and ``gpu`` optimise voxels of colours against the small prior at high noise, where it
knows something. ``faithful`` is NeuralLift-360's program (``configs/cabin.yaml``,
``nerf/utils_neurallift.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
import math

import torch
from torch import Tensor

from lift3d_ros.diffusion.conditioning import ImageEncoder
from lift3d_ros.distill import cameras
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.guidance.clip import ClipGuidance
from lift3d_ros.distill.guidance.clip import PUBLISHED_SCALES
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.priors.prior import DiffusionPrior
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.schedules import neurallift_range
from lift3d_ros.distill.schedules import ScheduleData
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.distill.shading import NEURALLIFT360_SHADING
from lift3d_ros.fields.grid_levels import growth_to
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.heads import DensityBlob
from lift3d_ros.fields.heads import DirectionBackground
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import NEURALLIFT_FIELD
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.frame import VIEW_FILL
from lift3d_ros.methods.distilled.inputs import DistillationInputs
from lift3d_ros.methods.distilled.run import Plan

#: The published reference camera: its distance, and its field of view in degrees.
REFERENCE_RADIUS, REFERENCE_FOV = 0.4, 60.0



@dataclass(frozen=True)
class VoxelPreset:
    """
    A run over voxels of colours.

    - ``resolution``: voxels a side; ``samples``: of a ray; ``size``: of rendered views, pixels.
    - ``steps``, ``scratch_steps``: from the feed-forward field, and from scratch.
    - ``rate``, ``scratch_rate``: learning rates of these.
    """

    resolution: int = 64
    samples: int = 48
    size: int = 64
    steps: int = 150
    scratch_steps: int = 300
    rate: float = 0.02
    scratch_rate: float = 0.1


SMALL = VoxelPreset()
GPU = VoxelPreset(128, 128, 128, 2000, 4000)

#: Deviation of the initial blob over half the side of the field, as RealFusion's.
BLOB_SHARE = 0.27

#: Losses of voxels of colours from the feed-forward field, and from scratch. Input losses alone
#: damage a start; the term ``start`` keeps what no camera sees.
STARTED_WEIGHTS = {
    'rgb': 1000.0, 'mask': 200.0, 'ranking': 100.0, 'start': 50.0, 'guidance': 0.01, 'clip': 1.0,
}
SCRATCH_WEIGHTS = {
    'rgb': 1000.0, 'mask': 1000.0, 'ranking': 1000.0, 'opacity': 10.0, 'distortion': 100.0,
    'total_variation': 30.0, 'guidance': 0.3, 'clip': 1.0,
}

#: The published losses, in the units of its scene; those of ``_AFTER_WARM_UP`` begin after the
#: warm-up, which has the input view alone.
PUBLISHED_WEIGHTS = {
    'rgb_l1': 40.0, 'ranking': 10.0, 'outside': 1.0, 'distortion': 0.1,
    'inverse_depth_smoothness': 1.0, 'clip': 1.0, 'opacity': 1e-3, 'orientation': 10.0,
    'guidance': 1.0,
}
_AFTER_WARM_UP = ('opacity', 'guidance')

#: Thresholds above which the published losses count as many times, and their factors in steps of
#: the input view.
PUBLISHED_BOOSTS = {'outside': (0.05, 10.0), 'opacity': (0.5, 10.0), 'orientation': (0.01, 5.0)}
PUBLISHED_REFERENCE_FACTORS = {'distortion': 10.0, 'inverse_depth_smoothness': 5.0}

#: Published numbers of steps: all of them, with the input view alone, and until the loss of the
#: orientation has its weight, which starts at ``PUBLISHED_ORIENTATION``.
PUBLISHED_STEPS, PUBLISHED_WARM_UP, PUBLISHED_RAMP = 10_000, 100, 3000
PUBLISHED_ORIENTATION = 1e-4

#: Pixels a side of the published views, and of shaded ones.
PUBLISHED_SIZE, PUBLISHED_SHADED_SIZE = 128, 100

#: Gradients below it hardly move a voxel: those of rays that graze it would otherwise count as
#: much as those of rays that end in it.
VOXEL_EPS = 1e-4

#: Random cameras of the small prior: at the distances of its training views.
SMALL_CAMERAS = CameraSampler(
    (1.4, 1.9), (-20.0, 80.0), fov=(ZERO123_FOV, ZERO123_FOV), sphere=0.5,
    sphere_elevation=(-20.0, 80.0))

#: Scales of the CLIP guidance of the small encoder by the word of the view, as the published ones:
#: twice as large from the front.
SMALL_SCALES = {'front': 2.0, 'side': 1.0, 'back': 1.0, 'overhead': 1.0, 'bottom': 1.0}


@dataclass(frozen=True, eq=False)
class Guide:
    """
    What guides an optimisation.

    - ``prior``: adapted to the picture; ``encoder``: of CLIP guidance, or None.
    - ``decode``: from the prior's latents to RGB in [-1, 1]; ``latent_scale``: the scaling factor
      of its autoencoder, 1 without one.
    - ``is_small``: whether the prior is the small one.
    """

    prior: DiffusionPrior
    encoder: ImageEncoder | None = None
    decode: Callable[[Tensor], Tensor] = lambda latents: latents[:, :3]
    latent_scale: float = 1.0
    is_small: bool = True


@dataclass(frozen=True)
class PlanSettings:
    """
    The settings of a plan, as ``NeuralLift360`` has them.

    ``ranking`` is the factor of the loss of the order of depths; 0 omits it.
    """

    preset: str = 'small'
    defects: str = 'fixed'
    steps: int | None = None
    ranking: float = 1.0


def make_plan(
    settings: PlanSettings,
    guide: Guide,
    inputs: DistillationInputs,
    seed: int,
    monocular: Tensor | None = None,
) -> Plan:
    """
    Return the plan of a preset, in which schedules end with its steps.

    ``monocular`` (h, h) is a depth along the optical axis on the pixels of the object, else 0; it
    orders the input view where no depth is measured.
    """
    if settings.preset == 'faithful':
        plan = _published(settings, guide, inputs, seed)
    else:
        preset = SMALL if settings.preset == 'small' else GPU
        plan = _voxels(preset, settings, guide, inputs, seed)
    assert plan.reference is not None, 'every preset makes its input view'
    if plan.reference.order is None and monocular is not None:
        plan = replace(plan, reference=plan.reference.ordered(monocular))
    weights = dict(plan.settings.weights)
    ranking = weights.pop('ranking')
    if settings.ranking:
        assert isinstance(ranking, float), 'no preset changes it with the step'
        weights['ranking'] = settings.ranking * ranking
    if guide.encoder is None:
        del weights['clip']
    return replace(plan, settings=replace(plan.settings, weights=weights))


def _voxels(
    preset: VoxelPreset,
    settings: PlanSettings,
    guide: Guide,
    inputs: DistillationInputs,
    seed: int,
) -> Plan:
    scratch = inputs.start is None
    steps = settings.steps or (preset.scratch_steps if scratch else preset.steps)
    weights = dict(SCRATCH_WEIGHTS if scratch else STARTED_WEIGHTS)
    reference = inputs.reference_view(preset.size)
    form = GuidanceSettings('sds', timesteps=neurallift_range(steps), outside=0.5)
    if guide.is_small:
        # It knows something at high noise alone, and little about details.
        form = GuidanceSettings('x0', 'uniform', TimestepRange.parse(
            [0, 0.8, 0.5, steps], [0, 0.98, 0.8, steps]))
    scales = SMALL_SCALES if guide.is_small else PUBLISHED_SCALES
    guidance = ScoreGuidance(
        guide.prior, form, _clip(guide, reference, scales, settings.defects))
    # A field without a blob begins near the camera, where each voxel is on many rays.
    blob = DensityBlob('gaussian', 5.0, BLOB_SHARE * inputs.bound) if scratch else None
    field = VoxelField(VoxelFieldSettings(
        inputs.bound, preset.resolution, 3, 'sigmoid', log_scale=2.0, blob=blob), seed)
    rate = preset.scratch_rate if scratch else preset.rate
    return Plan(
        field,
        DistillationSettings(
            weights, SMALL_CAMERAS, 1, preset.size, RenderSettings(samples=preset.samples)),
        LoopSettings(steps, optimizer=OptimizerSettings(rate=rate, eps=VOXEL_EPS)),
        guidance, reference=reference)


def _published(
    settings: PlanSettings, guide: Guide, inputs: DistillationInputs, seed: int
) -> Plan:
    """
    Return NeuralLift-360's program, lengths scaled such that the object is as large in its views.

    The defect ``faithful`` is the sign of CLIP's gradient. It draws pairs for the ranking instead
    of taking all, and skips empty space.
    """
    steps = settings.steps or PUBLISHED_STEPS
    share = steps / PUBLISHED_STEPS
    warm, ramp = max(1, round(share * PUBLISHED_WARM_UP)), round(share * PUBLISHED_RAMP)
    width = 2.0 * REFERENCE_RADIUS * math.tan(math.radians(REFERENCE_FOV / 2.0))
    factor = 1.0 / VIEW_FILL / width
    weights: dict[str, ScheduleData] = dict(PUBLISHED_WEIGHTS)
    for name in ('ranking', 'inverse_depth_smoothness'):
        # Of lengths, which are in canonical units here.
        weights[name] = PUBLISHED_WEIGHTS[name] / factor
    for name in _AFTER_WARM_UP:
        weights[name] = [warm - 1, 0.0, PUBLISHED_WEIGHTS[name], warm]
    full = PUBLISHED_WEIGHTS['orientation']
    weights['orientation'] = [
        warm - 1, 0.0, PUBLISHED_ORIENTATION + full * warm / max(1, ramp), warm, full,
        max(ramp, warm + 1)]
    reference = inputs.reference_view(PUBLISHED_SIZE)
    camera = reference.camera()
    distillation = DistillationSettings(
        weights,
        replace(
            cameras.NEURALLIFT360.scaled(factor), start_elevation=float(camera.elevation)),
        size=PUBLISHED_SIZE,
        render=RenderSettings(
            64, 64, near=0.1 * factor, normals='difference', epsilon=0.01 * factor),
        background='random', background_share=0.75,
        shading=replace(NEURALLIFT360_SHADING, start=round(share * NEURALLIFT360_SHADING.start)),
        shaded_size=PUBLISHED_SHADED_SIZE,
        # The share of the input view falls from 0.1 to 0.02.
        reference_share=[
            warm - 1, 1.0, 0.1, warm, 0.02, warm + max(1, round(0.08 * (steps - warm)))],
        reference_guided=True, reference_factors=PUBLISHED_REFERENCE_FACTORS,
        boosts=PUBLISHED_BOOSTS)
    guidance = ScoreGuidance(
        guide.prior, GuidanceSettings('sds', timesteps=neurallift_range(steps), outside=0.5),
        _clip(guide, reference, PUBLISHED_SCALES, settings.defects))
    blob = NEURALLIFT_FIELD.blob
    assert blob is not None, 'the published field has one'
    field = EncodedField(
        HashGridSettings(growth=growth_to(2048.0, 16, 16), rule='gridencoder'),
        replace(
            NEURALLIFT_FIELD, bound=factor, blob=replace(blob, std=factor * blob.std),
            # Densities are per length.
            density_bias=-math.log(factor)),
        seed)
    optimizer = OptimizerSettings('adamw', 1e-3, betas=(0.9, 0.99), eps=1e-15, weight_decay=0.01)
    return Plan(
        field, distillation, LoopSettings(steps, optimizer=optimizer), guidance,
        reference=reference, fit_steps=200, backdrop=DirectionBackground(3, 4, 32, seed))


@torch.no_grad()
def _clip(
    guide: Guide, reference: ReferenceView, scales: Mapping[str, float], sign: str
) -> ClipGuidance | None:
    """Return the CLIP guidance towards the input picture, None without an encoder."""
    if guide.encoder is None:
        return None
    mask = reference.mask[:, None]
    picture = (reference.color * mask + 1.0 - mask).T.reshape(
        1, 3, reference.size, reference.size)
    return ClipGuidance(
        guide.encoder, guide.encoder.embed(2.0 * picture - 1.0), scales, sign,
        guide.decode, guide.latent_scale)
