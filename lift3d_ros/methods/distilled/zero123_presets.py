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
The presets of the method ``zero123``.

``small`` and ``gpu`` regress voxels to anchor views of the packaged denoiser, which knows
something only at high noise; with published weights they are guided by SDS. ``faithful`` is
Zero-1-to-3's ``3drec/``, ``fast`` is threestudio's ``configs/zero123.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import torch

from lift3d_ros.distill import cameras
from lift3d_ros.distill import schedules
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.guidance.anchors import anchor_ring
from lift3d_ros.distill.guidance.anchors import AnchorViews
from lift3d_ros.distill.guidance.anchors import make_anchors
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.latents import LatentColors
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.priors.posed import PosedPrior
from lift3d_ros.distill.schedules import ScheduleData
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.radiance_fields import ZERO123_FIELD
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.methods.distilled.inputs import DistillationInputs
from lift3d_ros.methods.distilled.posed import ViewModel
from lift3d_ros.methods.distilled.run import Plan
from lift3d_ros.progress import Progress

#: Reference radius of ``3drec/``, and depth behind its scene.
SJC_RADIUS, SJC_BACKGROUND_DEPTH = 2.0, 10.0

#: threestudio's grid, from 16 to 4096 cells a side.
HASH_GRID = HashGridSettings(growth=1.447269237440378)

#: Its views a step, their pixels a side, and both from the steps 200 and 300 on.
THREESTUDIO_VIEWS = (12, 64, ((200, 128, 4), (300, 256, 2)))

#: Rings of anchor views: views on each, and their elevations in degrees.
Rings = tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class VoxelPreset:
    """
    A run over voxels of colours.

    - ``resolution``: voxels a side; ``samples``: of a ray; ``size``: of rendered views, pixels.
    - ``views``: rendered a step.
    - ``steps``, ``rate``, ``rings``: steps, learning rate and anchor views from the feed-forward
      field; those of ``one2345`` have the same elevations.
    - ``scratch_steps``, ``scratch_rate``, ``scratch_rings``: from scratch, where views from above
      and below decide on the shape.
    """

    resolution: int = 128
    samples: int = 64
    size: int = 64
    views: int = 1
    steps: int = 60
    rate: float = 0.01
    rings: Rings = (8, (15.0, 40.0))
    scratch_steps: int = 400
    scratch_rate: float = 0.1
    scratch_rings: Rings = (6, (-10.0, 20.0, 60.0))


SMALL = VoxelPreset()
GPU = VoxelPreset(
    192, 192, 128, 4, 500, 0.01, (16, (15.0, 40.0)), 3000, 0.1, (12, (-10.0, 20.0, 60.0)))

#: Losses of voxels of colours from the feed-forward field, and from scratch. Input losses alone
#: damage a start; the term ``start`` keeps what no camera sees.
STARTED_WEIGHTS: dict[str, ScheduleData] = {
    'rgb': 200.0, 'mask': 50.0, 'depth': 5.0, 'start': 500.0, 'anchors': 100.0,
}
SCRATCH_WEIGHTS: dict[str, ScheduleData] = {
    'rgb': 1000.0, 'mask': 1000.0, 'depth': 100.0, 'anchors': 1000.0, 'distortion': 30.0,
}

#: Gradients below it hardly move a voxel: those of rays that graze it would otherwise count as
#: much as those of rays that end in it.
VOXEL_EPS = 1e-4


def make_plan(
    preset: str,
    defects: str,
    steps: int | None,
    model: ViewModel,
    inputs: DistillationInputs,
    seed: int,
    progress: Progress,
) -> Plan:
    """Return the plan of a preset, in which schedules end with ``steps``; see ``Zero123``."""
    if preset == 'faithful':
        return _published(defects, steps, model, inputs, seed)
    if preset == 'fast':
        return _threestudio(defects, model, inputs, seed)
    return _voxels(SMALL if preset == 'small' else GPU, steps, model, inputs, seed, progress)


def _voxels(
    preset: VoxelPreset,
    steps: int | None,
    model: ViewModel,
    inputs: DistillationInputs,
    seed: int,
    progress: Progress,
) -> Plan:
    scratch = inputs.start is None
    steps = steps or (preset.scratch_steps if scratch else preset.steps)
    prior = model.prior(inputs, 3.0)
    weights = dict(SCRATCH_WEIGHTS if scratch else STARTED_WEIGHTS)
    radius = model.model.radius
    sampler = CameraSampler((radius, radius), (-10.0, 80.0), stratified=True)
    guidance, anchors = None, None
    if model.is_small:
        rings = preset.scratch_rings if scratch else preset.rings
        anchors = _anchors(prior, rings, radius, seed, progress)
    else:
        del weights['anchors']
        weights['guidance'] = 0.1
        guidance = ScoreGuidance(
            prior, GuidanceSettings('sds', timesteps=schedules.THREESTUDIO_ZERO123))
    field = VoxelField(
        VoxelFieldSettings(inputs.bound, preset.resolution, 3, 'sigmoid', log_scale=2.0), seed)
    settings = DistillationSettings(
        weights, sampler, preset.views, preset.size, RenderSettings(samples=preset.samples))
    rate = preset.scratch_rate if scratch else preset.rate
    optimizer = OptimizerSettings(rate=rate, eps=VOXEL_EPS)
    reference = None
    if preset.size != inputs.reference.size:
        reference = inputs.reference_view(preset.size)
    return Plan(
        field, settings, LoopSettings(steps, optimizer=optimizer), guidance, anchors,
        reference=reference, start_colors=False,
        views=None if anchors is None else model.views(anchors))


def _anchors(
    prior: PosedPrior, rings: Rings, radius: float, seed: int, progress: Progress
) -> AnchorViews:
    ring = anchor_ring(*rings, radius, ZERO123_FOV)
    shape = _latent_shape(prior)
    with progress.stage('anchors', 0.05):
        return make_anchors(
            prior, ring, shape, torch.Generator().manual_seed(seed), check=progress.check)


@torch.no_grad()
def _latent_shape(prior: PosedPrior) -> tuple[int, int, int]:
    _, channels, height, width = prior.encode(torch.zeros(1, 4, 8, 8)).shape
    return channels, height, width


def _published(
    defects: str, steps: int | None, model: ViewModel, inputs: DistillationInputs, seed: int
) -> Plan:
    """
    Return ``3drec/``: its constants, lengths scaled to the canonical radius of the cameras.

    With weights that have no autoencoder the voxels are colours at the size of the latents. The
    defect ``faithful`` is its depth: the mean of the surface and a background at 10, so that each
    outline counts as a step of that depth.
    """
    steps = steps or 10_000
    prior = model.prior(inputs, 100.0)
    factor = model.model.radius / SJC_RADIUS
    latent = None if model.is_small else model.latent_space()
    channels, size, _ = _latent_shape(prior)
    if latent is None:
        channels = 3
    kind = 'sigmoid' if latent is None else 'none'
    field = VoxelField(VoxelFieldSettings(factor, 100, channels, kind), seed)
    half = max(1, steps // 2)
    # Lengths are scaled, so that losses of depth are scaled back.
    smooth = 1e4 / factor
    weights: dict[str, ScheduleData] = {
        'guidance': 1.0, 'rgb': 1e4, 'nearby': 1e4,
        'depth_smoothness': [half - 1, 0.0, smooth, half],
        'reference_smoothness': [half - 1, 0.0, 0.1 * smooth, half],
    }
    settings = DistillationSettings(
        weights, cameras.ZERO123_SJC.scaled(factor), 1, size,
        RenderSettings(samples=200), nearby=0.05 * factor,
        background_depth=SJC_BACKGROUND_DEPTH * factor if defects == 'faithful' else None)
    guidance = ScoreGuidance(prior, GuidanceSettings('sjc', timesteps=schedules.ZERO123_SJC))
    loop = LoopSettings(steps, optimizer=OptimizerSettings(
        'adamax', 0.05, betas=(0.9, 0.999), eps=1e-8), precision='float32')
    reference = inputs.reference_view(size)
    colors = None if latent is None else LatentColors(
        field, latent, anchor_ring(8, (0.0, 30.0), model.model.radius, ZERO123_FOV), size)
    return Plan(
        field, settings, loop, guidance, latent=latent, reference=reference, albedo_rgb=colors)


def _threestudio(
    defects: str, model: ViewModel, inputs: DistillationInputs, seed: int
) -> Plan:
    """
    Return threestudio's ``configs/zero123.yaml``.

    The defect ``faithful`` is its lens of 20 degrees from farther away, which the model was not
    trained with; ``fixed`` renders the views through the lens of the training renders.
    """
    prior = model.prior(inputs, 3.0, same_radius=defects == 'faithful')
    sampler = cameras.THREESTUDIO_ZERO123
    if defects == 'fixed':
        radius = model.model.radius
        sampler = replace(sampler, radius=(radius, radius), fov=(ZERO123_FOV, ZERO123_FOV))
    field = EncodedField(
        HASH_GRID, replace(ZERO123_FIELD, bound=max(inputs.bound, 0.75)), seed)
    weights: dict[str, ScheduleData] = {
        'guidance': 0.1, 'rgb': 500.0, 'mask': 50.0, 'normal_difference': 8.0,
        'normal_jitter': 8.0, 'orientation': 1.0, 'sparsity': 0.1, 'opaque': 0.1,
    }
    views, size, growth = THREESTUDIO_VIEWS
    settings = DistillationSettings(
        weights, sampler, views, size, RenderSettings(samples=128, normals='difference'),
        growth=growth)
    guidance = ScoreGuidance(
        prior, GuidanceSettings('sds', timesteps=schedules.THREESTUDIO_ZERO123))
    loop = LoopSettings(600, optimizer=OptimizerSettings('adam', 0.01, eps=1e-8))
    return Plan(
        field, settings, loop, guidance, reference=inputs.reference_view(128), fit_steps=200)


