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

"""The two view models behind one interface: the small weights and the published ones."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.diffusion.render_conditioning import render_conditioning
from lift3d_ros.diffusion.render_conditioning import VIEW_PIXELS
from lift3d_ros.diffusion.sampling import FAITHFUL
from lift3d_ros.diffusion.sampling import FAST
from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.diffusion.small import read_small
from lift3d_ros.diffusion.small import tensors
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.elevation.estimate import LearnedElevation
from lift3d_ros.elevation.estimate import NearbyViews
from lift3d_ros.elevation.feature_search import NEARBY_OFFSETS
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import family_pose
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry import zero123_pose
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import VIEW_FILL
from lift3d_ros.networks.small.coarse_inputs import coarse_inputs
from lift3d_ros.networks.small.monocular import predicted_length
from lift3d_ros.networks.small.monocular import with_predicted_depth
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.progress import Progress
from lift3d_ros.runtime.precision import fast_dtype
from lift3d_ros.weights.components import Zero123Components

#: The small weights need no guidance. One step gives the mean of the distribution of views, which
#: has the least error; more steps draw a sample of it, which has more (``weights/README.md``).
SMALL_FAST = SamplerSettings('dpm++', steps=1, spacing='uniform', guidance_scale=1.0)
SMALL_FAITHFUL = SamplerSettings('ddim', steps=50, eta=1.0, guidance_scale=1.0)

#: Views whose conditioning is rendered at once, to bound the memory.
_RENDER_BATCH = 8

#: Channel value above which a pixel of a published model's picture is background, if all three
#: are (One-2-3-45 has 245 for the elevation, and sets values above 253 to white).
_BACKGROUND_LEVEL = 245


class SmallModel:
    """The small weights on one device."""

    has_volume = True
    #: Camera distance of the training views, canonical units.
    radius = 1.7
    #: No view is possible before the elevation is known.
    nearby: NearbyViews | None = None

    def __init__(
        self,
        folder: Path,
        device: str,
        sampler: SamplerSettings | str | None,
        steps: int | None = None,
    ) -> None:
        """Load the networks."""
        self._device = device
        networks = read_small(folder, device)
        self._coarse, self._monocular = networks.coarse, networks.monocular
        self._elevation = networks.elevation
        self._dtype = fast_dtype(device)
        self._zero = Zero123(networks.components, device=device, dtype=self._dtype)
        self._sampler = _settings(sampler, steps, SMALL_FAST, SMALL_FAITHFUL)

    @property
    def denoiser(self) -> Zero123:
        """The diffusion model."""
        return self._zero

    @property
    def learned_elevation(self) -> LearnedElevation | None:
        """Estimator of the elevation and its standard deviation from the picture alone."""
        if self._elevation is None:
            return None
        return self._elevation.estimate_view

    @torch.no_grad()
    def volume(
        self, view: ObjectView, canonical: CanonicalFrame, elevation_known: bool
    ) -> tuple[CoarseVolume, dict[str, Tensor], float | None]:
        """
        Return the coarse volume of a view, the inputs of the network, the object's length.

        The length is that of the longest side, canonical units: the geometric mean of the
        prediction of the monocular network and the length of the volume; None with measured depth.
        """
        inputs = tensors(coarse_inputs(view, canonical, elevation_known), self._device)
        volume = self.coarse_volume(inputs)
        with torch.autocast(self._device, self._dtype, self._dtype != torch.float32):
            length = predicted_length(inputs, self._monocular)
        if length is None:
            return volume, inputs, None
        predicted, measured = float(length[0]), volume.longest_sides()[0]
        return volume, inputs, math.sqrt(predicted * measured) if measured else predicted

    @torch.no_grad()
    def monocular_depth(self, inputs: dict[str, Tensor]) -> Tensor | None:
        """
        Return the depth (128, 128) that the picture of ``inputs`` suggests, canonical units.

        It is along the optical axis, 0 for background; None for weights without the network.
        """
        if self._monocular is None:
            return None
        own = {name: value for name, value in inputs.items() if name != 'depth'}
        return self._monocular.depth(**own)[0]

    @torch.no_grad()
    def coarse_volume(self, inputs: dict[str, Tensor]) -> CoarseVolume:
        """
        Return the volumes, in single precision, for the inputs of ``CoarseNet``.

        Missing depth is replaced by the prediction of the monocular network.
        """
        with torch.autocast(self._device, self._dtype, self._dtype != torch.float32):
            volume = self._coarse(**with_predicted_depth(inputs, self._monocular))
        return CoarseVolume(
            volume.density.float(), volume.color.float(), volume.features.float(),
            volume.sharpness,
        )

    @torch.no_grad()
    def views(
        self,
        view: ObjectView,
        canonical: CanonicalFrame,
        elevation_known: bool,
        poses: Array,
        seed: int,
        coarse: bool,
        run: Progress,
    ) -> NDArray[np.uint8]:
        """
        Return the views at ``poses`` (n, 4, 4), uint8 RGBA (n, 128, 128, 4) on white.

        With ``coarse`` they are the rendering of the volume.
        """
        with run.stage('volume', 0.3):
            volume, inputs, _ = self.volume(view, canonical, elevation_known)
        return _to_uint8(self.pictures(volume, inputs, poses, seed, coarse, run))

    @torch.no_grad()
    def pictures(
        self,
        volume: CoarseVolume,
        inputs: dict[str, Tensor],
        poses: Array,
        seed: int,
        coarse: bool,
        run: Progress,
        fractions: tuple[float, float] = (0.3, 1.0),
    ) -> Tensor:
        """
        Return the views at ``poses`` (n, 4, 4), RGBA (n, 4, 128, 128) in [0, 1] on white.

        ``volume`` and ``inputs`` are those of ``volume``; ``fractions`` is the progress of the run
        before and after.
        """
        half = fractions[0] + 0.3 * (fractions[1] - fractions[0])
        with run.stage('render', half):
            # Several samples of a view share one rendering.
            flat, each = np.unique(poses.reshape(-1, 16), axis=0, return_inverse=True)
            unique_poses = flat.reshape(-1, 4, 4)
            channels, rendered = [], []
            for start in range(0, len(unique_poses), _RENDER_BATCH):
                run.check()
                group = torch.from_numpy(unique_poses[None, start:start + _RENDER_BATCH])
                extra, rendering = render_conditioning(
                    volume, inputs['picture'], inputs['focal'], inputs['centre'], inputs['pose'],
                    group.float().to(self._device),
                )
                channels.append(extra[0])
                rendered.append(torch.cat([rendering.color, rendering.alpha], dim=2)[0])
        side = VIEW_PIXELS // 2
        fine = functional.interpolate(
            torch.cat(rendered).reshape(-1, 4, side, side), scale_factor=2, mode='bilinear',
            align_corners=False,
        )[each.reshape(-1)]
        if coarse:
            return fine
        with run.stage('denoise', fractions[1]):
            azimuths, elevations = _angles(poses)
            _, own = _angles(inputs['pose'].double().cpu().numpy())
            vectors = zero123_pose(azimuths, elevations, 0.0, float(own[0]))
            views = self._zero.synthesize(
                2.0 * inputs['picture'][0] - 1.0, vectors, self._sampler, seed=seed,
                extra_channels=torch.cat(channels)[each.reshape(-1)], progress=run,
                fractions=(half, fractions[1]),
            )
        views = 0.5 * (views.float() + 1.0)
        if self._sampler.steps == 1 and not bool(inputs['flags'][0, 0]):
            # Two estimates of one mean, of equal error without depth.
            views = 0.5 * (views + fine.to(views.device))
        return views


class PublishedModel:
    """A published model of the family on one device."""

    has_volume = False
    learned_elevation: LearnedElevation | None = None
    #: Camera distance at which the canonical length fills the view as in the input's picture.
    radius = 1.0 / (2.0 * float(np.tan(np.radians(ZERO123_FOV / 2.0))) * VIEW_FILL)

    def __init__(
        self,
        components: Zero123Components,
        device: str,
        dtype: torch.dtype,
        sampler: SamplerSettings | str | None,
        steps: int | None = None,
    ) -> None:
        """Take over the components."""
        self._zero = Zero123(components, device=device, dtype=dtype)
        self._sampler = _settings(sampler, steps, FAST, FAITHFUL)
        self._size = int(components.unet.config.sample_size) * 8

    @property
    def denoiser(self) -> Zero123:
        """The diffusion model."""
        return self._zero

    @property
    def nearby(self) -> NearbyViews | None:
        """Synthesis of the four views of the elevation search, for models of relative poses."""
        return self._nearby if self._zero.family == 'zero123' else None

    def views(
        self,
        view: ObjectView,
        canonical: CanonicalFrame,
        elevation_known: bool,
        poses: Array,
        seed: int,
        coarse: bool,
        run: Progress,
    ) -> NDArray[np.uint8]:
        """Return the views at ``poses`` (n, 4, 4), uint8 RGBA (n, 256, 256, 4) on white."""
        del elevation_known, coarse
        vectors = family_pose(
            self._zero.family, poses, orbit_pose(0.0, canonical.elevation, self.radius))
        with run.stage('denoise', 1.0):
            views = self._zero.synthesize(
                _pixels(view), vectors, self._sampler, seed=seed, progress=run,
                fractions=(0.1, 1.0),
            )
        rgb = _to_uint8(0.5 * (views + 1.0))
        alpha = np.where((rgb > _BACKGROUND_LEVEL).all(axis=-1), 0, 255).astype(np.uint8)
        return np.concatenate([rgb, alpha[..., None]], axis=-1)

    def _nearby(self, view: ObjectView) -> NDArray[np.uint8]:
        offsets = np.asarray(NEARBY_OFFSETS, np.float64)
        vectors = zero123_pose(offsets[:, 1], offsets[:, 0], 0.0, 0.0)
        views = self._zero.synthesize(_pixels(view), vectors, self._sampler)
        return np.ascontiguousarray(_to_uint8(0.5 * (views + 1.0)))


def _settings(
    requested: SamplerSettings | str | None,
    steps: int | None,
    fast: SamplerSettings,
    faithful: SamplerSettings,
) -> SamplerSettings:
    """Return the requested settings, given as such or by name."""
    if isinstance(requested, str) or requested is None:
        requested = faithful if requested == 'faithful' else fast
    return requested if steps is None else replace(requested, steps=steps)


def _pixels(view: ObjectView) -> Tensor:
    return torch.from_numpy(view.image.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1.0)


def _angles(poses: Array) -> tuple[Array, Array]:
    """Return azimuth and elevation of cameras at ``poses``, degrees."""
    x, y, z = poses[:, :3, 3].T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def _to_uint8(pictures: Tensor) -> NDArray[np.uint8]:
    """Return pictures (n, c, h, w) in [0, 1] as uint8 (n, h, w, c)."""
    values = pictures.float().clamp(0.0, 1.0).mul(255.0).round().permute(0, 2, 3, 1)
    return np.asarray(values.cpu().numpy(), np.uint8)
