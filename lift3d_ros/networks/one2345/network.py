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
The surface network of One-2-3-45: posed pictures to signed distance and colours.

Four networks under their published names::

    network = One2345Network.load('one2345')
    scene = network.scene(images, frame)
    distance = scene.distance(points)

The published program stays in training mode, so that its norms use the statistics of the scene;
here ``norm_statistics`` selects them, independent of the mode of the module.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch import Tensor

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.networks.one2345.blending import ColorBlending
from lift3d_ros.networks.one2345.blending import direction_differences
from lift3d_ros.networks.one2345.cost_volume import CostVolume
from lift3d_ros.networks.one2345.cost_volume import project
from lift3d_ros.networks.one2345.cost_volume import sample_picture
from lift3d_ros.networks.one2345.cost_volume import SUMS
from lift3d_ros.networks.one2345.distance_field import DistanceField
from lift3d_ros.networks.one2345.distance_field import sample_volume
from lift3d_ros.networks.one2345.feature_pyramid import ActivatedNorm
from lift3d_ros.networks.one2345.feature_pyramid import ConvNorm
from lift3d_ros.networks.one2345.feature_pyramid import FeatureMaps
from lift3d_ros.networks.one2345.feature_pyramid import FeaturePyramid
from lift3d_ros.networks.one2345.feature_pyramid import FUSED_CHANNELS
from lift3d_ros.networks.one2345.feature_pyramid import NORM_STATISTICS
from lift3d_ros.networks.one2345.frustum_frame import FrustumFrame
from lift3d_ros.networks.one2345.regularization import SiteNorm
from lift3d_ros.networks.one2345.regularization import SparseCostRegNet

#: Voxels along each side of the volume.
RESOLUTION = 96

#: Channel value above which a pixel is background, if all three are (One-2-3-45 has 245).
BACKGROUND_LEVEL = 245.0 / 255.0

#: Points of a batch of distances, of colours, and of the blending of colours.
_DISTANCE_BATCH = 2**16
_COLOR_BATCH = 2**14
_BLENDING_BATCH = 2**11

_Check = Callable[[], None]


def _no_check() -> None:
    """Never cancel."""


class SdfNetwork(nn.Module):
    """The network ``sdf_network_lod0``: feature maps to a volume and to distances."""

    def __init__(self) -> None:
        """Make the parts under their published names."""
        super().__init__()
        self.compress_layer = ConvNorm(FUSED_CHANNELS, 16)
        self.sparse_costreg_net = SparseCostRegNet(32, 16)
        self.sdf_layer = DistanceField()

    def compressed(self, maps: FeatureMaps, check: _Check = _no_check) -> Tensor:
        """Return the features of the cost volume, (n, 16, h, w)."""
        # The norm alone needs all pictures at once.
        parts = []
        for index in range(len(maps)):
            check()
            parts.append(self.compress_layer.conv(maps.fused(index)[None]))
        return self.compress_layer.bn(torch.cat(parts))


class Deviation(nn.Module):
    """The network ``variance_network_lod0``: the sharpness of the density at the surface."""

    def __init__(self) -> None:
        """Initialise the published 0.2."""
        super().__init__()
        self.variance = nn.Parameter(torch.tensor(0.2))


class One2345Network(nn.Module):
    """The four networks of the published checkpoint together."""

    def __init__(
        self, norm_statistics: str = NORM_STATISTICS[0], cost_sums: str = SUMS[0]
    ) -> None:
        """
        Make the networks with random weights; the distance starts as a sphere.

        ``norm_statistics`` is one of ``NORM_STATISTICS``, ``cost_sums`` of ``cost_volume.SUMS``;
        the published results are those of the defaults. Raises ``LiftError(BAD_REQUEST)`` for
        others.
        """
        super().__init__()
        for name, value, known in (
            ('norm_statistics', norm_statistics, NORM_STATISTICS),
            ('cost_sums', cost_sums, SUMS),
        ):
            if value not in known:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'{name} is "{value}"; choose one of {", ".join(known)}.',
                )
        self.pyramid_feature_network = FeaturePyramid()
        self.sdf_network_lod0 = SdfNetwork()
        self.variance_network_lod0 = Deviation()
        self.rendering_network_lod0 = ColorBlending()
        self.norm_statistics = norm_statistics
        self.cost_sums = cost_sums
        for module in self.modules():
            if isinstance(module, ActivatedNorm | SiteNorm):
                module.statistics = norm_statistics

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] = 'one2345',
        device: torch.device | str = 'cpu',
        norm_statistics: str = NORM_STATISTICS[0],
        cost_sums: str = SUMS[0],
    ) -> One2345Network:
        """
        Load the published weights, ready for inference.

        ``source`` is ``one2345`` (see ``lift3d weights list``) or a path of ``ckpt_215000.pth``.
        Raises ``LiftError``: WEIGHTS_MISSING, WEIGHTS_CORRUPT, also for an unknown tensor.
        """
        from lift3d_ros.weights.loading import load_state_dicts_one2345

        network = cls(norm_statistics, cost_sums)
        network.take(load_state_dicts_one2345(source), source)
        return network.to(device).eval().requires_grad_(False)

    def take(
        self, networks: Mapping[str, Mapping[str, Tensor]], source: str | os.PathLike[str]
    ) -> None:
        """
        Load the state dicts of the four networks, in single precision.

        Raises ``LiftError(WEIGHTS_CORRUPT)``, which names the ``source``, for missing, unknown and
        misshapen tensors; the unused counters of batches are ignored.
        """
        from lift3d_ros.weights.formats.tables import one2345_shapes
        from lift3d_ros.weights.integrity import corrupt
        from lift3d_ros.weights.networks import check_tensors

        for name, shapes in one2345_shapes().items():
            if name not in networks:
                corrupt(source, f'lacks the network {name}')
            tensors = {
                key: tensor.float() for key, tensor in networks[name].items()
                if not key.endswith('num_batches_tracked')
            }
            check_tensors(Path(source), name, tensors, shapes)
            self.get_submodule(name).load_state_dict(tensors, strict=True)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.variance_network_lod0.variance.device

    @torch.no_grad()
    def scene(
        self,
        images: Tensor,
        frame: FrustumFrame,
        resolution: int = RESOLUTION,
        check: _Check = _no_check,
    ) -> SurfaceScene:
        """
        Return the surface of the object in the pictures.

        ``images`` is (n, 3, h, w) in [0, 1], the object on white, h and w multiples of 4, the
        ``frame`` has a projection for each. ``check`` is called between pictures and may raise.

        Raises ``LiftError``: ``BAD_REQUEST`` for pictures that do not fit the frame or are not
        finite, ``NO_SURFACE`` if fewer than two pictures or half of them show an object, or no
        voxel is in two views.
        """
        images = images.to(self.device, torch.float32)
        check_pictures(images, frame)
        maps = self.pyramid_feature_network(images)
        check()
        compressed = self.sdf_network_lod0.compressed(maps, check)
        projections = torch.from_numpy(frame.projections).to(self.device)
        cost = CostVolume(compressed.shape[1], resolution, self.device, self.cost_sums)
        for features, projection in zip(compressed, projections, strict=True):
            check()
            cost.add(features, projection)
        del compressed
        volume, active = cost.finish()
        if not active.any():
            raise LiftError(
                ErrorCode.NO_SURFACE,
                'No part of the volume is in two views; check their poses.',
            )
        check()
        volume = self.sdf_network_lod0.sparse_costreg_net(volume, active)
        return SurfaceScene(self, frame, images, maps, projections, volume, active)


@dataclass(frozen=True, eq=False)
class SurfaceScene:
    """
    The volume of one object; points are in the coordinates of the volume, [-1, 1].

    - ``volume``: (16, r, r, r), the regularised features; ``active``: bool (r, r, r), its active
      voxels.
    - ``maps``: the features of the ``images`` (n, 3, h, w), ``projections`` their (n, 3, 4).
    """

    network: One2345Network
    frame: FrustumFrame
    images: Tensor
    maps: FeatureMaps
    projections: Tensor
    volume: Tensor
    active: Tensor

    @torch.no_grad()
    def distance(self, points: Tensor, check: _Check = _no_check) -> Tensor:
        """Return the signed distance (n,), negative inside, at points (n, 3) of any device."""
        field = self.network.sdf_network_lod0.sdf_layer
        result = torch.empty(len(points))
        for start in range(0, len(points), _DISTANCE_BATCH):
            check()
            part = points[start:start + _DISTANCE_BATCH].to(self.volume.device, torch.float32)
            result[start:start + _DISTANCE_BATCH] = field.distance(part, self.volume)
        return result

    @torch.no_grad()
    def colors(self, points: Tensor, check: _Check = _no_check) -> Tensor:
        """
        Return the colours (n, 3), RGB in [0, 1], of surface points (n, 3).

        The query direction is the surface normal; all pictures are blended.
        """
        result = torch.empty((len(points), 3))
        for start in range(0, len(points), _COLOR_BATCH):
            part = points[start:start + _COLOR_BATCH].to(self.volume.device, torch.float32)
            result[start:start + _COLOR_BATCH] = self._colors(part, check)
        return result

    def _colors(self, points: Tensor, check: _Check) -> Tensor:
        normals = self.network.sdf_network_lod0.sdf_layer.normals(points, self.volume)
        latent = sample_volume(self.volume, points)
        # A point is known if one of the eight voxels around it is active.
        known = sample_volume(self.active[None].float(), points)[:, 0] > 0.0
        known &= (points.abs() < 1.0).all(dim=1)
        size = (self.images.shape[2], self.images.shape[3])
        samples, visible = [], []
        for index, projection in enumerate(self.projections):
            check()
            picture = torch.cat([self.images[index], self.maps.fused(index)])
            image_points, _ = project(points, projection, size, least_depth=1e-3)
            samples.append(sample_picture(picture, image_points))
            visible.append((image_points.abs() < 1.0).all(dim=1) & known)
        centers = torch.from_numpy(self.frame.camera_centers).to(points)
        stacked, mask = torch.stack(samples, dim=1), torch.stack(visible, dim=1)
        blended = []
        for start in range(0, len(points), _BLENDING_BATCH):
            check()
            part = slice(start, start + _BLENDING_BATCH)
            directions = direction_differences(points[part], normals[part], centers)
            blended.append(self.network.rendering_network_lod0(
                latent[part], stacked[part], directions, mask[part]))
        return torch.cat(blended)


def check_pictures(images: Tensor, frame: FrustumFrame) -> None:
    """Raise ``LiftError`` as ``One2345Network.scene`` does."""
    n = len(frame.projections)
    if images.ndim != 4 or images.shape[:2] != (n, 3) or any(s % 4 for s in images.shape[2:]):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The pictures have the shape {tuple(images.shape)}; for these cameras it must be '
            f'({n}, 3, height, width), height and width multiples of 4.',
        )
    if not torch.isfinite(images).all() or not np.isfinite(frame.projections).all():
        raise LiftError(ErrorCode.BAD_REQUEST, 'The pictures or cameras have numbers that are not '
                        'finite.')
    shows = int((images.amin(dim=1) <= BACKGROUND_LEVEL).flatten(1).any(dim=1).sum())
    if n < 2 or shows < 2 or 2 * shows < n:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            f'{shows} of {n} views show an object; a surface needs two, and half of them. Check '
            'whether the synthesised views show the object.',
        )
