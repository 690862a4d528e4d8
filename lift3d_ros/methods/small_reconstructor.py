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

"""The networks of the small weights: from a view of an object to an occupancy grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from lift3d_ros.diffusion.models import SmallModel
from lift3d_ros.diffusion.small import tensors
from lift3d_ros.elevation.estimate import LearnedElevation
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.occupancy_grid import OccupancyGrid
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.networks.small.coarse_inputs import coarse_inputs
from lift3d_ros.networks.small.depth_surface import DepthSurfaceNet
from lift3d_ros.networks.small.depth_surface import read_depth_surface
from lift3d_ros.networks.small.surface_network import Box
from lift3d_ros.networks.small.surface_network import object_box
from lift3d_ros.networks.small.surface_network import posed_sources
from lift3d_ros.networks.small.surface_network import read_surface
from lift3d_ros.networks.small.surface_network import Sources
from lift3d_ros.networks.small.surface_network import SurfaceField
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import sample_grid
from lift3d_ros.networks.small.volume import voxel_grid
from lift3d_ros.progress import Progress
from lift3d_ros.runtime.precision import fast_dtype

#: Alternating elevations of the synthesised views, degrees.
_ELEVATIONS = (15.0, 40.0)

#: Steps of the denoiser for several sets of views: one step returns the mean of the possible
#: views, so that the sets would not differ.
_STEPS_OF_SAMPLES = 2


@dataclass(frozen=True, eq=False)
class Observed:
    """
    The coarse ``volume`` of a view, the ``inputs`` of the networks, and the canonical frame.

    ``length`` is the longest side of the object in canonical units, see ``SmallModel.volume``;
    None with measured depth.
    """

    volume: CoarseVolume
    inputs: dict[str, Tensor]
    canonical: CanonicalFrame
    length: float | None


def view_plan(count: int) -> Array:
    """Return cameras (count, 4, 4) around the object, at two alternating elevations."""
    return np.stack([
        orbit_pose(
            360.0 * (index + 0.5) / count, _ELEVATIONS[index % len(_ELEVATIONS)], SmallModel.radius
        )
        for index in range(count)
    ]) if count else np.zeros((0, 4, 4))


class SmallReconstructor:
    """The networks of the small weights on one device."""

    def __init__(self, folder: Path, device: str, samples: int = 1) -> None:
        """
        Load the networks of a folder.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
        """
        self._device = device
        self._dtype = fast_dtype(device)
        self._views = SmallModel(
            folder, device, None, None if samples == 1 else _STEPS_OF_SAMPLES
        )
        self._surface = read_surface(folder / 'surface', device)
        own = folder / 'depth_surface'
        self._depth_surface = read_depth_surface(own, device) if own.is_dir() else None
        self._samples = samples

    @property
    def view_model(self) -> SmallModel:
        """The coarse network and the denoiser of the views."""
        return self._views

    @property
    def learned_elevation(self) -> LearnedElevation | None:
        """Elevation and its standard deviation from the image alone."""
        return self._views.learned_elevation

    @torch.no_grad()
    def observe(
        self, view: ObjectView, canonical: CanonicalFrame, elevation_known: bool, run: Progress
    ) -> Observed:
        """Return the coarse volume of a view and the inputs of the networks."""
        with run.stage('volume', 0.2):
            volume, inputs, length = self._views.volume(view, canonical, elevation_known)
        return Observed(volume, inputs, canonical, length)

    @torch.no_grad()
    def synthesize(
        self, observed: Observed, poses: Array, seed: int, coarse: bool, run: Progress
    ) -> NDArray[np.uint8]:
        """
        Return sets of views at ``poses`` (n, 4, 4), synthesised in one batch.

        Uint8 RGBA (samples, n, 128, 128, 4) on white; ``poses`` are optical frames in canonical
        coordinates. With ``coarse`` they are renderings of the coarse volume.
        """
        images = self._views.pictures(
            observed.volume, observed.inputs, np.tile(poses, (self._samples, 1, 1)), seed, coarse,
            run, (0.2, 0.5),
        )
        rgba = images.clamp(0.0, 1.0).mul(255.0).round().permute(0, 2, 3, 1).to(torch.uint8)
        return np.asarray(rgba.reshape(self._samples, len(poses), *rgba.shape[1:]).cpu().numpy())

    @torch.no_grad()
    def field(
        self,
        observed: Observed,
        sources: Sequence[SourceView],
        images: NDArray[np.uint8] | None,
        poses: Array,
        run: Progress,
    ) -> OccupancyGrid:
        """
        Return the occupancy of the object.

        ``sources`` are its source views; ``images`` (sets, n, h, h, 4) are uint8 RGBA synthesised
        views at ``poses`` (n, 4, 4), or None. With several sets the occupancy is their mean. One
        view with measured depth alone has a network of its own, where the weights have it.

        Raises ``LiftError(NO_SURFACE)`` if the views are empty, or no voxel is occupied.
        """
        volume = observed.volume
        cameras = _camera_views(observed.inputs, observed.canonical, sources, self._device)
        sets: list[Sources | None] = [None]
        if images is not None:
            _check_views(images, poses)
            T = torch.from_numpy(poses[None]).float().to(self._device)
            sets = [
                posed_sources(
                    torch.from_numpy(rgba).to(self._device).permute(0, 3, 1, 2)[None] / 255.0, T
                )
                for rgba in images
            ]
        box = object_box(volume.density)
        if (
            self._depth_surface is not None and images is None and not sources
            and observed.canonical.metric
        ):
            with run.stage('surface', 0.6):
                probability, color = self._depth_field(self._depth_surface, observed, box)
            return _occupancy_grid(probability, color, box)
        with run.stage('surface', 0.6):
            probability = color = torch.zeros((), device=self._device)
            for views in sets:
                run.check()
                field = self._surface_field(volume, box, cameras, views, observed.inputs['flags'])
                probability = probability + field.logit[0, 0].sigmoid() / len(sets)
                color = color + field.color[0].sigmoid() / len(sets)
        return _occupancy_grid(probability, color, box)

    def _depth_field(
        self, network: DepthSurfaceNet, observed: Observed, box: Box
    ) -> tuple[Tensor, Tensor]:
        """Return the probability (n, n, n) and the colour (3, n, n, n) with measured depth."""
        with torch.autocast(self._device, self._dtype, self._dtype != torch.float32):
            field = network(network.observe(observed.inputs, observed.volume, box))
            probability = network.decode_grid(field, observed.inputs)
        # The network has no colours: they are those of the coarse volume.
        size = len(probability)
        points = box.to_canonical(voxel_grid(size, field.logit.device))
        color = sample_grid(observed.volume.color, points)[0].sigmoid()
        return probability, color.reshape(3, size, size, size)

    def _surface_field(
        self,
        volume: CoarseVolume,
        box: Box,
        cameras: Sources,
        views: Sources | None,
        flags: Tensor,
    ) -> SurfaceField:
        with torch.autocast(self._device, self._dtype, self._dtype != torch.float32):
            field: SurfaceField = self._surface(volume, box, cameras, views, flags)
        return field


def _occupancy_grid(probability: Tensor, color: Tensor, box: Box) -> OccupancyGrid:
    """
    Return the grid of a box; raises ``LiftError(NO_SURFACE)`` if no voxel is occupied.

    ``probability`` is (n, n, n), ``color`` (3, n, n, n) in [0, 1].
    """
    if not bool((probability > 0.5).any()):
        raise LiftError(
            ErrorCode.NO_SURFACE,
            'The networks predict no surface for this view; check the mask and the depth, or '
            'use the method geometric.',
        )
    return OccupancyGrid.of_cube(
        np.asarray(probability.float().cpu().numpy(), np.float32),
        np.asarray(color.float().cpu().numpy(), np.float32),
        box.centre[0].cpu().numpy().astype(np.float64),
        float(box.side[0]),
    )


def _check_views(images: NDArray[np.uint8], poses: Array) -> None:
    square = images.ndim == 5 and images.shape[2] == images.shape[3]
    if not square or images.shape[1] != len(poses) or images.shape[-1] != 4:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The views have the shape {images.shape} for {len(poses)} poses; give square RGBA '
            'images (sets, views, side, side, 4), one for each pose.',
        )
    if not np.isfinite(poses).all():
        raise LiftError(ErrorCode.BAD_REQUEST, 'A pose has an entry that is not a finite number.')
    if not (images[..., 3] > 127).any():
        raise LiftError(
            ErrorCode.NO_SURFACE,
            'The synthesised views are all empty; check the mask and the elevation, or use the '
            'method geometric.',
        )


def _camera_views(
    inputs: dict[str, Tensor],
    canonical: CanonicalFrame,
    sources: Sequence[SourceView],
    device: str,
) -> Sources:
    """Return the camera views: the reference view, then the source views."""
    views = [inputs]
    for source in sources:
        arrays = coarse_inputs(source.view, canonical, bool(inputs['flags'][0, 1]))
        entry = tensors(arrays, device)
        # The surface network was trained on source views without depth, and is less accurate with
        # it. Their depth cuts the field afterwards.
        entry['depth'] = torch.zeros_like(entry['depth'])
        # Pose of the source camera in the canonical frame.
        T = invert(canonical.T_camera_object) @ source.T_ref_src
        T[:3, 3] /= canonical.scale
        entry['pose'] = torch.from_numpy(T[None]).float().to(device)
        views.append(entry)

    def stacked(name: str) -> Tensor:
        return torch.stack([view[name] for view in views], dim=1)

    return Sources(
        stacked('picture'), stacked('focal'), stacked('centre'), stacked('pose'), stacked('depth')
    )
