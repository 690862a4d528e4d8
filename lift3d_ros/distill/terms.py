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

"""The terms of the loss by their names: which losses apply to a rendering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lift3d_ros.distill.losses import rays as ray_losses
from lift3d_ros.distill.losses import reference as reference_losses
from lift3d_ros.distill.losses import smoothness
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.fields.radiance import density_normals
from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.rays import interlevel_loss
from lift3d_ros.fields.rays import Rays
from lift3d_ros.fields.volume_rendering import Rendering

#: Pairs of pixels that the ranking of depths draws in a step.
RANKING_PAIRS = 4096

#: Standard deviation of the displacement of ``normal_jitter``, canonical units.
JITTER = 0.01

#: Smallest opacity of a ray whose depth is compared; below it the depth is that of nothing.
MIN_OPACITY = 0.05


@dataclass(frozen=True, eq=False)
class RenderedViews:
    """
    The rendering of b square views without background.

    - ``rays``, ``rendering``: b size^2, view by view and row by row.
    - ``background_depth``: what is compared where nothing is: the depths are then means of the
      surface and this one by the opacity, instead of those of the surface alone.
    """

    rays: Rays
    rendering: Rendering
    size: int
    background_depth: float | None = None

    @property
    def images(self) -> Tensor:
        """Premultiplied colour and opacity, (b, channels + 1, size, size)."""
        both = torch.cat([self.rendering.color, self.rendering.opacity[:, None]], dim=1)
        return self.picture(both)

    @property
    def depth(self) -> Tensor:
        """Distances along the rays, (b, 1, size, size)."""
        depth = ray_depth(self.rendering)
        if self.background_depth is not None:
            empty = 1.0 - self.rendering.opacity
            depth = self.rendering.depth + empty * self.background_depth
        return self.picture(depth[:, None])

    def picture(self, values: Tensor) -> Tensor:
        """Return values (b size^2, c) of rays as images (b, c, size, size)."""
        return values.reshape(-1, self.size, self.size, values.shape[1]).permute(0, 3, 1, 2)


def ray_depth(rendering: Rendering) -> Tensor:
    """Return the mean distance (n,) of what is opaque on rays rendered without background."""
    return rendering.depth / rendering.opacity.clamp_min(MIN_OPACITY)


def reference_terms(
    names: set[str],
    view: ReferenceView,
    index: Tensor,
    rendering: Rendering,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """
    Return the terms of the rays ``index`` (m,) of the input view that are asked for.

    Raises ``KeyError`` for ``depth`` or ``ranking`` of a view that has none.
    """
    color, opacity, along = rendering.color, rendering.opacity, ray_depth(rendering)
    if view.known is not None:
        # The rays may be those of the whole picture.
        within = view.known[index].nonzero()[:, 0]
        index, color, opacity, along = (
            values[within] for values in (index, color, opacity, along))
    mask = view.mask[index]
    terms: dict[str, Callable[[], Tensor]] = {
        'rgb': lambda: reference_losses.masked_mse(color, target, mask),
        'rgb_l1': lambda: reference_losses.masked_l1(color, target, mask),
        'mask': lambda: reference_losses.mask_mse(opacity, mask),
        'outside': lambda: reference_losses.outside_mask(opacity, mask),
    }
    # What is rendered is multiplied by its opacity, which the mask shall become.
    target = view.color[index]
    if view.depth is not None:
        depth = view.depth[index]
        terms['depth'] = lambda: reference_losses.depth_l1(along, depth, mask)
    if view.order is not None:
        order = view.order[index]
        terms['ranking'] = lambda: reference_losses.depth_ranking(
            along, order, mask, RANKING_PAIRS, generator)
    return {name: terms[name]() for name in REFERENCE_TERMS if name in names}


REFERENCE_TERMS = ('rgb', 'rgb_l1', 'mask', 'outside', 'depth', 'ranking')


def _orientation(views: RenderedViews) -> Tensor:
    samples = views.rendering.samples
    assert samples.normals is not None, 'the settings have normals'
    hits = (views.rendering.opacity.detach() > 1e-3).sum()
    directions = views.rays.directions.index_select(0, samples.rays)
    return ray_losses.orientation(samples.weights, samples.normals, directions, hits)


def _normals(views: RenderedViews) -> Tensor:
    assert views.rendering.normals is not None, 'the settings have normals'
    return views.picture(views.rendering.normals)


def _inverse_depth(views: RenderedViews) -> Tensor:
    images = views.images
    return smoothness.inverse_depth_smoothness(views.depth, images[:, :-1])


def _distortion(views: RenderedViews) -> Tensor:
    histogram = views.rendering.histogram
    rays = max(1, len(views.rays))
    # Rays beside the field have no distortion.
    return len(histogram.edges) / rays * ray_losses.distortion(
        histogram.weights, histogram.edges[:, :-1], histogram.edges[:, 1:])


def _interlevel(views: RenderedViews) -> Tensor:
    proposal = views.rendering.proposal
    assert proposal is not None, 'the task has a proposal field'
    return interlevel_loss(views.rendering.histogram, proposal)


#: Terms of any rendering; those of ``NORMAL_TERMS`` need settings with normals.
VIEW_TERMS: dict[str, Callable[[RenderedViews], Tensor]] = {
    'opacity': lambda views: ray_losses.squared_opacity(views.rendering.opacity),
    'sparsity': lambda views: ray_losses.sparsity(views.rendering.opacity),
    'opaque': lambda views: ray_losses.opaque(views.rendering.opacity),
    'entropy': lambda views: ray_losses.binary_entropy(views.rendering.opacity),
    'emptiness': lambda views: ray_losses.emptiness(views.rendering.histogram.weights),
    'distortion': _distortion,
    'interlevel': _interlevel,
    'depth_smoothness': lambda views: smoothness.depth_smoothness(views.depth),
    'inverse_depth_smoothness': _inverse_depth,
    'orientation': _orientation,
    'normal_difference': lambda views: smoothness.normal_difference(_normals(views)),
    'normal_blur': lambda views: smoothness.normal_blur(_normals(views)),
}

NORMAL_TERMS = ('orientation', 'normal_difference', 'normal_blur')

#: Terms of the field itself, at points or over its grid.
FIELD_TERMS = ('normal_jitter', 'total_variation')

#: Terms that need a prior; ``clip`` is NeuralLift-360's distance of views tagged front to the
#: input picture, which needs CLIP guidance.
GUIDANCE_TERMS = ('guidance', 'anchors', 'clip')

#: Terms that compare more than the rays of one view: those of the whole input view, and those of
#: a random view and one near it.
WHOLE_REFERENCE_TERM = 'reference_smoothness'
NEARBY_TERM = 'nearby'

#: The term that keeps the field near its start, see ``start.FieldSamples``.
START_TERM = 'start'

TERMS = (
    *REFERENCE_TERMS, WHOLE_REFERENCE_TERM, *VIEW_TERMS, NEARBY_TERM, *FIELD_TERMS,
    *GUIDANCE_TERMS, START_TERM,
)


def jittered_normals(
    field: RadianceField, rendering: Rendering, generator: torch.Generator, points: int = 4096
) -> Tensor:
    """
    Return ``normal_jitter`` at samples that have weight, at most ``points``.

    ``generator`` is on the device of the field.
    """
    samples = rendering.samples
    solid = (samples.weights.detach() > 1e-3).nonzero()[:, 0]
    if not len(solid):
        return 0.0 * rendering.opacity.sum()
    device = solid.device
    chosen = solid[torch.randint(
        len(solid), (min(points, len(solid)),), generator=generator, device=device)]
    at = samples.points[chosen].detach()
    step = JITTER * torch.randn(at.shape, generator=generator, device=device, dtype=at.dtype)
    normals, others = density_normals(
        field, torch.cat([at, at + step]), JITTER).split(len(at))
    return smoothness.normal_jitter(normals, others)
