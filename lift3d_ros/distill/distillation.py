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
A radiance field optimised against its input view and a prior: the task of distilled methods.

A step renders the input view, or rays of it, and random views around the object; the prior guides
the random views, or the field is regressed to anchor views made once.
"""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import nearby
from lift3d_ros.distill.cameras import pixel_rays
from lift3d_ros.distill.guidance.anchors import AnchorViews
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.latents import LatentSpace
from lift3d_ros.distill.losses.smoothness import depth_smoothness
from lift3d_ros.distill.losses.smoothness import nearby_views
from lift3d_ros.distill.losses.smoothness import total_variation
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.schedules import Schedule
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.distill.start import FieldSamples
from lift3d_ros.distill.terms import GUIDANCE_TERMS
from lift3d_ros.distill.terms import jittered_normals
from lift3d_ros.distill.terms import NEARBY_TERM
from lift3d_ros.distill.terms import REFERENCE_TERMS
from lift3d_ros.distill.terms import reference_terms
from lift3d_ros.distill.terms import RenderedViews
from lift3d_ros.distill.terms import START_TERM
from lift3d_ros.distill.terms import VIEW_TERMS
from lift3d_ros.distill.terms import WHOLE_REFERENCE_TERM
from lift3d_ros.errors import bad_request
from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.hash_grid import HashGrid
from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.rays import Rays
from lift3d_ros.fields.volume_rendering import render
from lift3d_ros.fields.volume_rendering import Shading


class Distillation:
    """A ``Task`` of the optimisation loop."""

    def __init__(
        self,
        field: RadianceField,
        reference: ReferenceView,
        settings: DistillationSettings,
        guidance: ScoreGuidance | None = None,
        anchors: AnchorViews | None = None,
        occupancy: DensityGrid | None = None,
        start: FieldSamples | None = None,
        latent: LatentSpace | None = None,
        backdrop: nn.Module | None = None,
        proposal: RadianceField | None = None,
    ) -> None:
        """
        Optimise ``field`` in place, on its device; ``occupancy`` is refreshed with it.

        ``start`` are the samples of the field that the term ``start`` keeps. ``latent`` is that of
        a field of latents: they are guided without encoding, and decoded for the term ``rgb``.
        ``backdrop`` is a learned background of random views: colours (n, 3) of unit directions
        (n, 3), see ``fields.heads``. ``proposal`` is the field by which the importance samples of
        the rendering are drawn, optimised by the term ``interlevel``.

        Raises ``LiftError(BAD_REQUEST)`` for weights of terms whose source is missing.
        """
        self._weights = {name: Schedule.parse(data) for name, data in settings.weights.items()}
        for name, source in (
            ('guidance', guidance), ('clip', guidance and guidance.clip), ('anchors', anchors),
            ('depth', reference.depth),
            ('ranking', reference.order), ('total_variation', _grid(field)),
            (START_TERM, start), ('interlevel', proposal),
        ):
            if name in self._weights and source is None:
                raise bad_request(
                    f'The loss {name} has no source: give it a prior, anchors, depth, samples '
                    'of a start, a voxel field, or a proposal field.')
        if latent is not None and {'rgb_l1', 'clip'} & set(self._weights):
            raise bad_request('A field of latents has no losses rgb_l1 and clip; choose rgb.')
        self._field, self._reference, self._settings = field, reference, settings
        self._guidance, self._anchors, self._occupancy = guidance, anchors, occupancy
        self._start, self._latent, self._backdrop = start, latent, backdrop
        self._proposal = proposal
        self._share = None if settings.reference_share is None else Schedule.parse(
            settings.reference_share)
        self._displacement = Schedule.parse(settings.reference_noise)
        self._levels: tuple[HashGrid, Schedule] | None = None
        if settings.grid_levels is not None:
            grid = getattr(field, 'encoding', None)
            if not isinstance(grid, HashGrid):
                raise bad_request('Levels are those of a hash grid; this field has none.')
            self._levels = grid, Schedule.parse(settings.grid_levels)
        self._device = next(field.parameters()).device
        known = reference.known
        self._known = torch.arange(len(reference.rays), device=self._device)
        if known is not None:
            self._known = self._known[known.to(self._device)]
        parts: dict[str, nn.Module] = {'field': field}
        if occupancy is not None:
            parts['occupancy'] = occupancy
        if backdrop is not None:
            parts['backdrop'] = backdrop
        if proposal is not None:
            parts['proposal'] = proposal
        self.module: nn.Module = nn.ModuleDict(parts)

    def identity(self, prior: str = '') -> str:
        """Return a digest of the input view, the settings, the field and the name of a prior."""
        description = json.dumps(self._field.describe(), sort_keys=True, default=str)
        text = f'{self._reference.identity()} {self._settings} {description} {prior}'
        return hashlib.sha256(text.encode()).hexdigest()

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the groups of the fields, and that of the learned background."""
        groups = self._field.parameter_groups(rate)
        if self._proposal is not None:
            groups += self._proposal.parameter_groups(rate)
        if self._backdrop is not None:
            groups.append({'params': list(self._backdrop.parameters()), 'lr': rate})
        return groups

    def losses(
        self, step: int, generator: torch.Generator, check: Callable[[], None]
    ) -> dict[str, Tensor]:
        """Return the weighted terms of a step; see ``Task``."""
        if self._levels is not None:
            grid, levels = self._levels
            grid.active_levels = int(levels(step))
        factors = {name: schedule(step) for name, schedule in self._weights.items()}
        active = {name for name, factor in factors.items() if factor != 0.0}
        # Of the noise of the renderer, on the device; the rest is drawn on the CPU.
        local = self._local(generator)
        alone = None
        if self._share is not None:
            alone = bool(torch.rand(1, generator=generator) < self._share(step))
            # What the step does not render has no terms.
            guided = {'guidance'} if self._settings.reference_guided else set()
            active -= set(GUIDANCE_TERMS) - guided if alone else {
                *REFERENCE_TERMS, WHOLE_REFERENCE_TERM}
        terms: dict[str, Tensor] = {}
        whole = WHOLE_REFERENCE_TERM in active
        if whole or active & set(REFERENCE_TERMS) or alone:
            index = self._reference_rays(generator, whole)
            rays = self._displaced(self._reference.rays[index], step, generator)
            views = self._render_rays(rays, self._reference.size, local)
            if self._latent is not None and 'rgb' in active:
                terms['rgb'] = self._latent.reference_loss(
                    views.images[:, :-1], self._reference)
            terms |= reference_terms(
                active - set(terms), self._reference, index, views.rendering, generator)
            if whole:
                terms[WHOLE_REFERENCE_TERM] = depth_smoothness(views.depth)
            if alone:
                if 'guidance' in active:
                    terms |= self._guide(
                        active, views, self._reference.camera(), step, generator, False)
                terms |= self._shape_terms(active, views, local)
                factors = {name: factor * self._settings.reference_factors.get(name, 1.0)
                           for name, factor in factors.items()}
            check()
        if START_TERM in active:
            assert self._start is not None, 'checked at the start'
            terms[START_TERM] = self._start.loss(self._field, self._start.draw(generator))
        if not alone and active - {*REFERENCE_TERMS, WHOLE_REFERENCE_TERM, START_TERM}:
            terms |= self._view_terms(active, step, generator, local, check)
        for name, (threshold, factor) in self._settings.boosts.items():
            if name in terms and float(terms[name].detach()) > threshold:
                factors[name] *= factor
        return {name: factors[name] * term for name, term in terms.items()}

    def after_step(self, step: int, generator: torch.Generator) -> None:
        """Refresh the occupancy where it is due."""
        if self._occupancy is not None:
            self._occupancy.update(self._field, step, self._local(generator))

    @torch.no_grad()
    def preview(self) -> NDArray[np.uint8]:
        """Return the field from the input view's camera and 90 degrees beside it, on white."""
        own = self._reference.camera()
        camera = Cameras.orbit(own.azimuth + 90.0, own.elevation, own.radius, own.fov)
        side = self._render(camera, self._reference.size, None)
        front = self._render_rays(self._reference.rays, self._reference.size, None)
        pictures = torch.cat([front.images, side.images])
        if self._latent is not None:
            rgb = self._latent.pictures(pictures[:, :-1])
        else:
            rgb = pictures[:, :3] + 1.0 - pictures[:, 3:]
        rgb = torch.cat([*rgb.clamp(0.0, 1.0)], dim=2)
        return np.asarray((255.0 * rgb).round().permute(1, 2, 0).cpu().numpy(), np.uint8)

    def _view_terms(
        self,
        active: set[str],
        step: int,
        generator: torch.Generator,
        local: torch.Generator,
        check: Callable[[], None],
    ) -> dict[str, Tensor]:
        """Return the terms of random views, and of the field."""
        settings = self._settings
        size, count = settings.at(step)
        terms: dict[str, Tensor] = {}
        views = None
        if 'anchors' in active:
            assert self._anchors is not None, 'checked at the start'
            index = torch.randint(
                len(self._anchors.cameras), (count,), generator=generator)
            cameras = self._anchors.cameras.select(index)
            views = self._render(cameras, size, local)
            encoded = views.images[:, :-1]
            if self._latent is None:
                encoded = self._anchors.encode(views.images)
            terms['anchors'] = self._anchors.loss(encoded, index)
            check()
        if active & {'guidance', 'clip'} or views is None:
            cameras = settings.cameras.draw(count, step, generator)
            shading = None
            if settings.shading is not None:
                shading = settings.shading.draw(step, cameras, generator)
                size = settings.shaded_size or size if shading is not None else size
            views = self._render(cameras, size, local, shading)
            check()
            if active & {'guidance', 'clip'}:
                textureless = shading is not None and shading.textureless
                terms |= self._guide(active, views, cameras, step, generator, textureless)
                check()
        if NEARBY_TERM in active:
            second = self._render(nearby(cameras, settings.nearby, generator), size, local)
            terms[NEARBY_TERM] = nearby_views(
                views.images[:, :-1], second.images[:, :-1], views.depth, second.depth)
            check()
        return terms | self._shape_terms(active, views, local)

    def _shape_terms(
        self, active: set[str], views: RenderedViews, local: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the terms of any rendering, and those of the field."""
        terms = {name: VIEW_TERMS[name](views) for name in VIEW_TERMS if name in active}
        if 'normal_jitter' in active:
            terms['normal_jitter'] = jittered_normals(self._field, views.rendering, local)
        if 'total_variation' in active:
            grid = _grid(self._field)
            assert grid is not None, 'checked at the start'
            terms['total_variation'] = total_variation(grid)
        return terms

    def _guide(
        self,
        active: set[str],
        views: RenderedViews,
        cameras: Cameras,
        step: int,
        generator: torch.Generator,
        textureless: bool,
    ) -> dict[str, Tensor]:
        """Return the terms of the prior and of CLIP; ``textureless`` views have no colours."""
        guidance, images = self._guidance, views.images
        assert guidance is not None, 'checked at the start'
        opacity = images[:, -1:]
        if self._latent is not None:
            return {'guidance': guidance.latent_loss(
                images[:, :-1], cameras, step, generator, opacity, textureless)}
        if self._settings.background != 'alpha':
            behind = self._behind(views, generator)
            color = images[:, :-1] + (1.0 - opacity) * behind
            images = torch.cat([color, torch.ones_like(opacity)], dim=1)
        terms = {}
        if 'guidance' in active:
            terms['guidance'] = guidance.loss(
                images, cameras, step, generator, opacity, textureless)
        if 'clip' in active and not textureless:
            terms['clip'] = guidance.clip_loss(images, cameras)
        return terms

    def _behind(self, views: RenderedViews, generator: torch.Generator) -> Tensor:
        """Return the background of opaque views, for (b, 3, size, size)."""
        share = self._settings.background_share
        if share < 1.0 and float(torch.rand(1, generator=generator)) >= share:
            if self._backdrop is None:
                return torch.ones(1, 3, 1, 1, device=self._device)
            return views.picture(self._backdrop(views.rays.directions))
        return self._background(views.images[:, :-1].shape, generator).to(self._device)

    def _background(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        if self._settings.background == 'white':
            return torch.ones(1, shape[1], 1, 1)
        one_a_view = self._settings.background == 'random'
        size = (*shape[:2], 1, 1) if one_a_view else tuple(shape)
        return torch.rand(size, generator=generator)

    def _render(
        self,
        cameras: Cameras,
        size: int,
        generator: torch.Generator | None,
        shading: Shading | None = None,
    ) -> RenderedViews:
        origins, directions = (
            part.reshape(-1, 3).to(self._device) for part in pixel_rays(cameras, size))
        return self._render_rays(Rays(origins, directions), size, generator, shading)

    def _render_rays(
        self,
        rays: Rays,
        size: int,
        generator: torch.Generator | None,
        shading: Shading | None = None,
    ) -> RenderedViews:
        background = None if self._latent is None else self._latent.background.to(self._device)
        return RenderedViews(rays, render(
            self._field, rays, self._settings.render, self._occupancy, background, generator,
            self._proposal, shading), size, self._settings.background_depth)

    def _reference_rays(self, generator: torch.Generator, whole: bool) -> Tensor:
        wanted = self._settings.reference_rays
        # A decoder needs the whole picture.
        if wanted is None or whole or self._latent is not None:
            return torch.arange(len(self._reference.rays), device=self._device)
        chosen = torch.randperm(len(self._known), generator=generator)[:wanted]
        return self._known[chosen.to(self._device)]

    def _displaced(self, rays: Rays, step: int, generator: torch.Generator) -> Rays:
        stddev = self._displacement(step)
        if stddev == 0.0:
            return rays
        offset = stddev * torch.randn(3, generator=generator).to(rays.origins)
        return Rays(rays.origins + offset, rays.directions, rays.cosines)

    def _local(self, generator: torch.Generator) -> torch.Generator:
        """Return a generator on the device, which the given one seeds."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        return torch.Generator(self._device).manual_seed(seed)


def _grid(field: RadianceField) -> Tensor | None:
    """Return the grid of densities of a voxel field."""
    grid = getattr(field, 'density_grid', None)
    return grid if isinstance(grid, Tensor) else None
