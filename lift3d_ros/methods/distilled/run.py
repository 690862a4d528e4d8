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

"""The optimisation of one object: from a plan to a field with its confidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace

from torch import nn
from torch import Tensor

from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.guidance.anchors import AnchorViews
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.latents import LatentSpace
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimisation import optimise
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.distill.start import FieldSamples
from lift3d_ros.distill.start import fit_field
from lift3d_ros.distill.start import InterruptibleField
from lift3d_ros.distill.start import start_field
from lift3d_ros.distill.terms import START_TERM
from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.fields.field import SynthesizedViews
from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.radiance_occupancy import RadianceOccupancy
from lift3d_ros.methods.distilled.calibration import SharpnessCalibration
from lift3d_ros.methods.distilled.inputs import DistillationInputs
from lift3d_ros.progress import Progress

#: Points at which the start is sampled.
START_POINTS = 100_000

#: Seconds before the deadline at which an optimisation ends, so that its mesh is made in time.
FINISH_SECONDS = 6.0

#: Steps between previews.
PREVIEW_STEPS = 25

#: Shares of the progress of a distillation at which the start is fitted and the loop ends.
FITTED, LOOPED = 0.08, 0.99


@dataclass(frozen=True, eq=False)
class Plan:
    """
    What is optimised for one object.

    - ``field``: with its initial values; ``settings``: losses, cameras and rendering. Losses whose
      source the object does not have (depth, order, start) are left out.
    - ``loop``: steps, optimizer and device; its seed is replaced by that of the object.
    - ``guidance``, ``anchors``: of the terms of those names; ``latent``: of a field of latents.
    - ``reference``: replaces the input view, for another size.
    - ``start_colors``: whether the term ``start`` keeps the colours, too.
    - ``fit_steps``, ``fit_rate``: of the fit to the start, see ``start.start_field``.
    - ``views``: of the prior, which give the colours of the mesh where they show it; or None.
    - ``albedo_rgb``: from albedo (n, channels) to RGB (n, 3) in [0, 1], made when the run has
      ended; None for a field of colours.
    - ``backdrop``: a learned background of random views, see ``Distillation``.
    - ``proposal``: the field by which importance samples are drawn, or None.
    """

    field: RadianceField
    settings: DistillationSettings
    loop: LoopSettings
    guidance: ScoreGuidance | None = None
    anchors: AnchorViews | None = None
    latent: LatentSpace | None = None
    reference: ReferenceView | None = None
    start_colors: bool = True
    fit_steps: int = 40
    fit_rate: float = 0.02
    views: SynthesizedViews | None = None
    albedo_rgb: Callable[[], Callable[[Tensor], Tensor]] | None = None
    backdrop: nn.Module | None = None
    proposal: RadianceField | None = None


def distil(
    plan: Plan, inputs: DistillationInputs, seed: int, resolution: int, progress: Progress
) -> Reconstruction:
    """
    Optimise the field of a plan and return it.

    ``progress`` is that of the distillation alone; its ``on_step`` receives a preview every
    ``PREVIEW_STEPS``. Raises ``LiftError``: ``CANCELLED``, ``TIMEOUT``, ``OUT_OF_MEMORY``,
    ``NO_SURFACE`` for an empty start.
    """
    field = plan.field.to(inputs.device)
    proposal = None if plan.proposal is None else plan.proposal.to(inputs.device)
    samples = None
    grid = DensityGrid(field, 2.0 * field.bound / plan.settings.render.samples).to(inputs.device)
    if inputs.start is not None:
        with progress.stage('start', FITTED):
            samples = _started(field, plan, inputs, seed, progress)
            grid.fill(field)
    reference = plan.reference or inputs.reference
    task = Distillation(
        field, reference, _applicable(plan.settings, reference, samples), plan.guidance,
        plan.anchors, grid, samples, plan.latent,
        None if plan.backdrop is None else plan.backdrop.to(inputs.device), proposal)
    loop = replace(
        plan.loop, seed=seed, device=inputs.device, preview_every=PREVIEW_STEPS,
        max_seconds=_seconds(plan.loop.max_seconds, progress))
    with progress.stage('optimise', LOOPED):
        result = optimise(
            task, loop, progress=progress.part(FITTED, LOOPED), report=progress.on_step)
    albedo_rgb = None if plan.albedo_rgb is None else plan.albedo_rgb()
    occupancy = RadianceOccupancy(field, to_rgb=albedo_rgb)
    levelled, canonical = inputs.levelled, inputs.canonical
    start = inputs.start
    return Reconstruction(
        field=occupancy,
        canonical=canonical,
        calibration=SharpnessCalibration(occupancy, canonical),
        elevation_source=levelled.elevation.source,
        tilt_stddev=levelled.elevation.stddev,
        resolution=resolution,
        views=plan.views,
        # Priors are trained on pictures without the exposure and white balance of a camera.
        match_exposure=True,
        length_over_depth=None if start is None else start.length_over_depth,
        notes=result.notes,
    )


def _started(
    field: RadianceField,
    plan: Plan,
    inputs: DistillationInputs,
    seed: int,
    progress: Progress,
) -> FieldSamples:
    """Start the field, and return the samples of the source that no camera sees."""
    assert inputs.start is not None, 'the caller has a start'
    source = InterruptibleField(inputs.start.field, progress.check)
    samples = FieldSamples.of_field(source, field.bound, START_POINTS, seed, inputs.device)
    start_field(
        field, source, samples, plan.fit_steps, plan.fit_rate, seed, progress.check)
    if plan.proposal is not None:
        fit_field(plan.proposal, samples, plan.fit_steps, plan.fit_rate, seed, progress.check)
    for eye in inputs.eyes:
        samples = samples.unseen_from(source, eye)
    return samples if plan.start_colors else replace(samples, colors=None)


def _applicable(
    settings: DistillationSettings, reference: ReferenceView, samples: FieldSamples | None
) -> DistillationSettings:
    """Return the settings without losses for which the object has no source."""
    missing = {
        name for name, source in (
            ('depth', reference.depth), ('ranking', reference.order), (START_TERM, samples),
        ) if source is None
    }
    weights = {name: value for name, value in settings.weights.items() if name not in missing}
    return replace(settings, weights=weights)


def _seconds(own: float | None, progress: Progress) -> float | None:
    """Return the seconds that the loop may take."""
    if progress.remaining is None:
        return own
    left = max(0.0, progress.remaining - FINISH_SECONDS)
    return left if own is None else min(own, left)
