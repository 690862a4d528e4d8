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
The presets of the method ``zeronvs``.

``faithful`` and ``gpu`` have the constants of ZeroNVS's ``configs/zero123_scene.yaml``; lengths
are scaled to the distance of the input camera, which is 1 there. ``small`` regresses tri-planes
in the same contracted space to anchor views of the packaged denoiser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.distill import cameras
from lift3d_ros.distill import schedules
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.guidance.anchored import Anchor
from lift3d_ros.distill.guidance.anchored import AnchoredGuidance
from lift3d_ros.distill.guidance.anchors import anchor_ring
from lift3d_ros.distill.guidance.anchors import make_anchors
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.priors.posed import PosedPrior
from lift3d_ros.distill.schedules import ScheduleData
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.fields.encodings import TriplaneSettings
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.grid_levels import ZERONVS_PROPOSAL_GRID
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import EncodedFieldSettings
from lift3d_ros.fields.radiance_fields import ZERONVS_FIELD
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import family_pose
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.methods.distilled.inputs import DistillationInputs
from lift3d_ros.methods.distilled.posed import ViewModel
from lift3d_ros.methods.distilled.run import Plan
from lift3d_ros.progress import Progress

#: Families whose weights the method takes.
FAMILIES = ('small', 'zeronvs')

#: Quantile of the depth of the input that is the scale of its scene.
SCALE_QUANTILE = 0.2

#: Guidance of the random views and of the anchor pictures, and steps of the latter.
GUIDANCE_SCALE, ANCHOR_SCALE, ANCHOR_STEPS = 7.5, 3.0, 500

#: Anchor pictures of the presets with published weights. The released configuration has none.
PUBLISHED_ANCHORS = {'faithful': 0, 'gpu': 4}

#: Azimuths on each ring of the anchor views of the preset ``small``; elevations, degrees.
SMALL_ANCHORS, SMALL_ELEVATIONS = 5, (-5.0, 25.0, 55.0)

#: Losses of the preset ``small``, from the feed-forward field and from scratch.
STARTED_WEIGHTS: dict[str, ScheduleData] = {
    'rgb': 1000.0, 'mask': 200.0, 'depth': 20.0, 'start': 50.0, 'anchors': 100.0,
}
SCRATCH_WEIGHTS: dict[str, ScheduleData] = {
    'rgb': 1000.0, 'mask': 1000.0, 'depth': 100.0, 'anchors': 1000.0, 'distortion': 30.0,
}

#: Ratio of the resolutions of levels in its grid: from 16 to 4096 in 16 levels.
GROWTH = 1.447269237440378


def make_plan(
    preset: str,
    model: ViewModel,
    inputs: DistillationInputs,
    seed: int,
    progress: Progress,
    steps: int | None = None,
    anchors: int | None = None,
    scale: float | None = None,
) -> Plan:
    """Return the plan of a preset; the arguments are the settings of ``ZeroNVS``."""
    if model.is_small and preset == 'small':
        return _small(model, inputs, seed, progress, steps, anchors)
    return _published(preset, model, inputs, seed, progress, anchors, scale)


def scene_scale(inputs: DistillationInputs) -> float | None:
    """Return the scale of an object's view from its measured depth, canonical units, or None."""
    depth = inputs.reference.depth
    if depth is None:
        return None
    readings = depth[torch.isfinite(depth) & (depth > 0.0)]
    return float(readings.quantile(SCALE_QUANTILE)) if len(readings) else None


def _small(
    model: ViewModel,
    inputs: DistillationInputs,
    seed: int,
    progress: Progress,
    steps: int | None,
    anchors: int | None,
) -> Plan:
    scratch = inputs.start is None
    radius = model.model.radius
    weights = dict(SCRATCH_WEIGHTS if scratch else STARTED_WEIGHTS)
    made = None
    if anchors == 0:
        del weights['anchors']
    else:
        prior = model.prior(inputs, 1.0)
        ring = anchor_ring(SMALL_ANCHORS, SMALL_ELEVATIONS, radius, ZERO123_FOV)
        if anchors is not None:
            ring = anchor_ring(anchors, (inputs.canonical.elevation,), radius, ZERO123_FOV)
        with progress.stage('anchors', 0.05):
            made = make_anchors(
                prior, ring, _latent_shape(prior), torch.Generator().manual_seed(seed),
                check=progress.check)
    field = EncodedField(
        TriplaneSettings(64, 8),
        EncodedFieldSettings(
            bound=inputs.bound, contracted=True, width=32, density_bias=-2.0), seed)
    far = float(np.linalg.norm(inputs.eyes[0])) + 2.0 * inputs.bound
    settings = DistillationSettings(
        weights, CameraSampler((radius, radius), (-10.0, 80.0), stratified=True), 1, 64,
        RenderSettings(samples=64, near=0.2, far=far))
    rate = 0.005 if scratch else 0.002
    loop = LoopSettings(
        steps or (400 if scratch else 150), optimizer=OptimizerSettings(rate=rate, eps=1e-8))
    return Plan(
        field, settings, loop, None, made, fit_steps=150, fit_rate=0.005,
        views=None if made is None else model.views(made))


def _published(
    preset: str,
    model: ViewModel,
    inputs: DistillationInputs,
    seed: int,
    progress: Progress,
    anchors: int | None,
    scale: float | None,
) -> Plan:
    """
    Return ``configs/zero123_scene.yaml`` with ``launch_inference.sh``.

    The cube of the field is the one of the object instead of twice the distance of the camera, so
    that the object is not a small part of it; what is outside is contracted.
    """
    distance = float(np.linalg.norm(inputs.eyes[0]))
    scale = scene_scale(inputs) if scale is None else scale
    prior = model.prior(inputs, GUIDANCE_SCALE, scene_scale=scale)
    pose = orbit_pose(0.0, inputs.canonical.elevation, model.model.radius)
    count = PUBLISHED_ANCHORS.get(preset, 0) if anchors is None else anchors
    made: Sequence[Anchor] = ()
    if count and not model.is_small:
        made = _anchor_pictures(model, inputs, scale, count, seed, progress)
    guidance = AnchoredGuidance(
        prior, GuidanceSettings('sds', timesteps=schedules.ZERONVS, delay=1000.0),
        anchors=tuple(made), input_pose=torch.from_numpy(pose))
    sampler = replace(
        cameras.ZERONVS.scaled(distance), start_elevation=inputs.canonical.elevation)
    weights: dict[str, ScheduleData] = {
        'guidance': 0.1, 'rgb': 1500.0, 'normal_jitter': 8.0, 'orientation': 5.0,
        'interlevel': 1.0,
    }
    if preset != 'faithful':
        # The published weight is 0: a scene has no mask.
        weights['mask'] = 50.0
    growth = ((2000, 256, 1),)
    settings = DistillationSettings(
        weights, sampler, 6, 128,
        RenderSettings(
            samples=64, importance=64, near=0.5 * distance, far=1000.0 * distance,
            spacing='disparity', normals='difference'),
        background='random', growth=growth)
    field = EncodedField(
        HashGridSettings(growth=GROWTH), replace(ZERONVS_FIELD, bound=inputs.bound), seed)
    proposal = EncodedField(
        ZERONVS_PROPOSAL_GRID,
        replace(ZERONVS_FIELD, bound=inputs.bound, hidden=1, width=64), seed + 1)
    loop = LoopSettings(4000, optimizer=OptimizerSettings('adam', 5e-3, betas=(0.9, 0.99)))
    return Plan(
        field, settings, loop, guidance, reference=inputs.reference_view(128), fit_steps=200,
        proposal=proposal)


def _anchor_pictures(
    model: ViewModel,
    inputs: DistillationInputs,
    scale: float | None,
    count: int,
    seed: int,
    progress: Progress,
) -> list[Anchor]:
    """Return pictures at the elevation and distance of the input, evenly around the object."""
    radius, elevation = model.model.radius, inputs.canonical.elevation
    own = orbit_pose(0.0, elevation, radius)
    poses = np.stack([
        orbit_pose(360.0 * index / (count + 1), elevation, radius)
        for index in range(1, count + 1)])
    denoiser = model.model.denoiser
    view = inputs.obs.view
    picture = torch.from_numpy(view.image.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1.0)
    vectors = family_pose(denoiser.family, poses, own, scale=scale)
    sampler = SamplerSettings(
        'ddim', steps=ANCHOR_STEPS, eta=1.0, guidance_scale=ANCHOR_SCALE)
    with progress.stage('anchors', 0.05):
        pictures = denoiser.synthesize(picture, vectors, sampler, seed=seed, progress=progress)
    return [
        Anchor(
            PosedPrior(denoiser, image, pose, GUIDANCE_SCALE, scene_scale=scale),
            torch.from_numpy(pose))
        for image, pose in zip(pictures, poses, strict=True)]


@torch.no_grad()
def _latent_shape(prior: PosedPrior) -> tuple[int, int, int]:
    _, channels, height, width = prior.encode(torch.zeros(1, 4, 8, 8)).shape
    return channels, height, width
