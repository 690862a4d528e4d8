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
The presets of the method ``realfusion``.

``faithful`` has the constants of the published program (``nerf/options.py``,
``nerf/trainer.py``). ``small`` and ``gpu`` have its parts in the form that works with little: with
the small prior, which knows something only at high noise, its clean images guide (``x0``), not the
noise of SDS.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import math

import torch

from lift3d_ros.distill import cameras
from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.priors.prior import DiffusionPrior
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.replaced_cameras import ReplacedCameras
from lift3d_ros.distill.schedules import DREAMFUSION
from lift3d_ros.distill.schedules import ScheduleData
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.distill.shading import REALFUSION_SHADING
from lift3d_ros.fields.grid_levels import growth_to
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.heads import DensityBlob
from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import EncodedFieldSettings
from lift3d_ros.fields.radiance_fields import REALFUSION_FIELD
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.methods.distilled.inputs import DistillationInputs
from lift3d_ros.methods.distilled.run import Plan

#: Guidance scale, distance and lens (degrees) of the reference camera of the published program.
GUIDANCE_SCALE = 100.0
REFERENCE_RADIUS, REFERENCE_FOV = 1.8, 55.0

#: Finest resolution of the published grid: 2048 times the bound of 0.75.
FINEST = 1536.0


@dataclass(frozen=True)
class FieldPreset:
    """
    A run of ``small`` or ``gpu``.

    - ``resolution``: voxels a side of a field of voxels; 0 for the published hash grid, whose
      finer half of the levels starts after ``COARSE_SHARE`` of the steps.
    - ``samples``: of a ray; ``size``: of random views, pixels; ``views``: of them a step.
    - ``steps``, ``scratch_steps``: from the feed-forward field, and from scratch; ``rate``,
      ``scratch_rate``: learning rates of these.
    - ``inversion``: steps of textual inversion with published weights.
    """

    resolution: int = 64
    samples: int = 48
    size: int = 64
    views: int = 1
    steps: int = 150
    scratch_steps: int = 300
    rate: float = 0.02
    scratch_rate: float = 0.1
    inversion: int = 200


SMALL = FieldPreset()
GPU = FieldPreset(0, 128, 96, 1, 2000, 4000, 1e-3, 1e-3, 1000)

#: Share of a run in which the finer levels of a hash grid are 0: 3000 of 5000 steps are published.
COARSE_SHARE = 0.6

#: Losses of the input view and of the shape, from the feed-forward field, and from scratch.
STARTED_WEIGHTS: dict[str, ScheduleData] = {
    'rgb': 1000.0, 'mask': 200.0, 'depth': 20.0, 'start': 50.0,
}
SCRATCH_WEIGHTS: dict[str, ScheduleData] = {
    'rgb': 1000.0, 'mask': 1000.0, 'depth': 100.0, 'opacity': 10.0, 'distortion': 100.0,
}

#: Weight of the guidance of the small prior, a sum over pixels, from a start and from scratch.
STARTED_GUIDANCE, SCRATCH_GUIDANCE = 0.01, 0.3

#: Weights of the smoothness of a field of voxels, and of rendered normals of the hash grid.
VOXEL_VARIATION, NORMAL_BLUR = 30.0, 1.0

#: Deviation of the initial blob over half the side of the field: 0.2 of 0.75 is published.
BLOB_SHARE = 0.27

#: Gradients below it hardly move a voxel.
VOXEL_EPS = 1e-4

#: Random cameras: at the distances of the views that the small prior was trained with.
RANDOM_CAMERAS = CameraSampler(
    (1.4, 1.9), (-20.0, 80.0), fov=(ZERO123_FOV, ZERO123_FOV), sphere=0.5,
    sphere_elevation=(-20.0, 80.0))


def make_plan(
    preset: str,
    defects: str,
    steps: int | None,
    prior: DiffusionPrior,
    small: bool,
    inputs: DistillationInputs,
    seed: int,
) -> Plan:
    """
    Return the plan of a preset for the prior of an object; see ``RealFusion``.

    ``small`` is whether the prior is that of tokens; schedules end with ``steps``.
    """
    scratch = inputs.start is None
    if preset == 'faithful':
        return faithful_plan(defects, steps, prior, inputs.reference_view(128), inputs.bound, seed)
    own = SMALL if preset == 'small' else GPU
    reference = inputs.reference
    if own.size != reference.size:
        reference = inputs.reference_view(own.size)
    return short_plan(own, steps, prior, small, reference, inputs.bound, scratch, seed)


def inversion(preset: str, small: bool) -> InversionSettings | None:
    """Return the settings of textual inversion; None for those of the prior or publication."""
    if small or preset == 'faithful':
        return None
    return InversionSettings(steps=(SMALL if preset == 'small' else GPU).inversion)


def short_plan(
    preset: FieldPreset,
    steps: int | None,
    prior: DiffusionPrior,
    small: bool,
    reference: ReferenceView,
    bound: float,
    scratch: bool,
    seed: int,
) -> Plan:
    """Return the plan of ``small`` or ``gpu``; arguments as ``make_plan``."""
    steps = steps or (preset.scratch_steps if scratch else preset.steps)
    weights = dict(SCRATCH_WEIGHTS if scratch else STARTED_WEIGHTS)
    weights['guidance'] = SCRATCH_GUIDANCE if scratch else STARTED_GUIDANCE
    form = GuidanceSettings('x0', 'uniform', falling_noise(steps))
    if not small:
        form = GuidanceSettings('sds', timesteps=DREAMFUSION)
    field, levels = _field(preset, steps, bound, scratch, seed)
    voxels = isinstance(field, VoxelField)
    weights['total_variation' if voxels else 'normal_blur'] = (
        VOXEL_VARIATION if voxels else NORMAL_BLUR)
    settings = DistillationSettings(
        weights, RANDOM_CAMERAS, preset.views, preset.size,
        RenderSettings(
            samples=preset.samples, normals='none' if voxels else 'difference', epsilon=0.02),
        grid_levels=levels)
    loop = LoopSettings(steps, optimizer=OptimizerSettings(
        rate=preset.scratch_rate if scratch else preset.rate,
        eps=VOXEL_EPS if voxels else 1e-15))
    return Plan(
        field, settings, loop, ScoreGuidance(prior, form), reference=reference,
        fit_steps=40 if voxels else 300, fit_rate=0.02 if voxels else 1e-3)


def falling_noise(steps: int) -> TimestepRange:
    """Return the noise levels of the small prior: what it knows about details is little."""
    return TimestepRange.parse([0, 0.8, 0.5, steps], [0, 0.98, 0.8, steps])


def _field(
    preset: FieldPreset, steps: int, bound: float, scratch: bool, seed: int
) -> tuple[RadianceField, ScheduleData | None]:
    """Return the field, and the schedule of its active levels."""
    if preset.resolution:
        # A field without a blob begins near the camera, where each voxel is on many rays.
        blob = DensityBlob('gaussian', 5.0, BLOB_SHARE * bound) if scratch else None
        return VoxelField(VoxelFieldSettings(
            bound, preset.resolution, 3, 'sigmoid', log_scale=2.0, blob=blob), seed), None
    fine = max(1, round(COARSE_SHARE * steps))
    field = EncodedField(
        HashGridSettings(16, 2, 16, 16, growth_to(FINEST, 16, 16)),
        EncodedFieldSettings(bound=bound, blob=DensityBlob('gaussian', 5.0, BLOB_SHARE * bound)),
        seed)
    return field, [fine - 1, 8, 16, fine]


def faithful_plan(
    defects: str,
    steps: int | None,
    prior: DiffusionPrior,
    reference: ReferenceView,
    bound: float,
    seed: int,
) -> Plan:
    """
    Return the published constants; ``reference`` has 128 pixels a side.

    Lengths are scaled so that the input picture is as wide at the object as the published one.
    ``faithful`` keeps two defects of the program: tiled tables, of which the finer levels do not
    know z, where ``fixed`` hashes; and the inverted replacement of cameras (``ReplacedCameras``).
    A third, pictures of the inversion in [0, 1], is that of ``unposed.Unnormalised``. Its normals
    are central differences, as those of the related programs.
    """
    steps = steps or 5000
    factor = reference_scale(reference)
    blob = REALFUSION_FIELD.blob
    assert blob is not None, 'the published field has a blob'
    exact = defects == 'faithful'
    field = EncodedField(
        HashGridSettings(
            16, 2, 16, 16, growth_to(FINEST, 16, 16), 'tiled' if exact else 'hash',
            rule='gridencoder'),
        replace(
            REALFUSION_FIELD, bound=max(bound, 0.75 * factor),
            blob=replace(blob, std=blob.std * factor)),
        seed)
    weights: dict[str, ScheduleData] = {
        'rgb': 5.0, 'mask': 0.5, 'guidance': 1.0, 'normal_blur': 0.5, 'orientation': 1e-2,
        'entropy': 1e-4,
    }
    camera = reference.camera()
    random = cameras.REALFUSION.scaled(factor)
    sampler = ReplacedCameras(
        random.radius, random.elevation, fov=random.fov, sphere=random.sphere,
        input_pose=tuple(map(tuple, camera.poses[0].tolist())),
        input_fov=math.degrees(2.0 * math.atan(half_width(reference))), noise=0.02 * factor,
        defects=defects)
    # Parts of the published run, for another number of steps.
    start, fine = round(0.2 * steps), max(1, round(0.6 * steps))
    settings = DistillationSettings(
        weights, sampler, 1, 96,
        RenderSettings(samples=512, normals='difference', epsilon=0.01 * factor),
        reference_rays=4096, background='pixels',
        shading=replace(REALFUSION_SHADING, start=start),
        reference_noise=[0, 0.001 * factor, 0.0, steps],
        grid_levels=[fine - 1, 8, 16, fine])
    loop = LoopSettings(steps, optimizer=OptimizerSettings('adam', 1e-3, average=0.95))
    guidance = ScoreGuidance(prior, GuidanceSettings('sds', 'dreamfusion', DREAMFUSION))
    return Plan(field, settings, loop, guidance, reference=reference, fit_steps=300, fit_rate=1e-3)


def half_width(reference: ReferenceView) -> float:
    """Return the tangent of half the horizontal angle of a view."""
    rows = reference.rays.directions.reshape(reference.size, reference.size, 3)
    middle = rows[reference.size // 2]
    cosine = torch.dot(middle[0], middle[-1]).double().clamp(-1.0, 1.0)
    # The outer rays pass through the middles of pixels.
    share = reference.size / max(reference.size - 1, 1)
    return share * math.tan(0.5 * float(torch.acos(cosine)))


def reference_scale(reference: ReferenceView) -> float:
    """Return the canonical length of a unit of the published program."""
    published = REFERENCE_RADIUS * math.tan(math.radians(0.5 * REFERENCE_FOV))
    return float(reference.rays.origins[0].norm()) * half_width(reference) / published
