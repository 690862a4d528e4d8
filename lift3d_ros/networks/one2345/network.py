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
The surface network of One-2-3-45: posed pictures in, a signed distance and colours out.

Four networks under their published names::

    network = One2345Network.load('one2345')
    scene = network.scene(images, frame)
    distance = scene.distance(points)

The published program never leaves the training mode, so that its norms use the statistics of the
pictures and voxels of the scene; ``norm_statistics`` says so, and nothing here depends on whether
the module is in training.
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

#: A pixel is background where all channels are above this share of white (One-2-3-45 takes 245).
WHITE = 245.0 / 255.0

#: Points whose distance is computed at once, and points that are coloured at once.
_POINTS_AT_ONCE = 2**16
_COLORED_AT_ONCE = 2**14
_BLENDED_AT_ONCE = 2**11

_Check = Callable[[], None]


def _go_on() -> None:
    """Ask nobody whether to go on."""


class SdfNetwork(nn.Module):
    """The network ``sdf_network_lod0``: from feature maps to a volume and to distances."""

    def __init__(self) -> None:
        """Make the parts under their published names."""
        super().__init__()
        self.compress_layer = ConvNorm(FUSED_CHANNELS, 16)
        self.sparse_costreg_net = SparseCostRegNet(32, 16)
        self.sdf_layer = DistanceField()

    def compressed(self, maps: FeatureMaps, check: _Check = _go_on) -> Tensor:
        """Return the features that the cost volume is made of, (n, 16, h, w)."""
        # Only the norm needs all pictures at once.
        parts = []
        for index in range(len(maps)):
            check()
            parts.append(self.compress_layer.conv(maps.fused(index)[None]))
        return self.compress_layer.bn(torch.cat(parts))


class Deviation(nn.Module):
    """The network ``variance_network_lod0``: how sharply density falls off at the surface."""

    def __init__(self) -> None:
        """Start at the published 0.2."""
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
        Raises ``LiftError``: WEIGHTS_MISSING, WEIGHTS_CORRUPT also for a tensor that no network
        here has.
        """
        from lift3d_ros.weights.loading import load_state_dicts_one2345

        network = cls(norm_statistics, cost_sums)
        network.take(load_state_dicts_one2345(source), source)
        return network.to(device).eval().requires_grad_(False)

    def take(
        self, networks: Mapping[str, Mapping[str, Tensor]], source: str | os.PathLike[str]
    ) -> None:
        """
        Take over the state dicts of the four networks, in single precision.

        All tensors must be there and fit, and none may be left over but counters of batches, which
        nothing uses. Raises ``LiftError(WEIGHTS_CORRUPT)``, which names the ``source``.
        """
        from lift3d_ros.weights.formats.tables import one2345_shapes
        from lift3d_ros.weights.messages import corrupt
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
        """Where the weights are."""
        return self.variance_network_lod0.variance.device

    @torch.no_grad()
    def scene(
        self,
        images: Tensor,
        frame: FrustumFrame,
        resolution: int = RESOLUTION,
        check: _Check = _go_on,
    ) -> SurfaceScene:
        """
        Return the surface that the pictures show.

        ``images`` is (n, 3, h, w) in [0, 1], the object on white, h and w multiples of 4, the
        ``frame`` has a projection for each. ``check`` is called between pictures and may raise.

        Raises ``LiftError``: ``BAD_REQUEST`` for pictures that do not fit the frame or are no
        finite numbers, ``NO_SURFACE`` where fewer than two pictures or fewer than half of them
        show anything but background, or no voxel is seen twice.
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
        volume, seen = cost.finish()
        if not seen.any():
            raise LiftError(
                ErrorCode.NO_SURFACE,
                'No part of the volume is in two views; are their poses right?',
            )
        check()
        volume = self.sdf_network_lod0.sparse_costreg_net(volume, seen)
        return SurfaceScene(self, frame, images, maps, projections, volume, seen)


@dataclass(frozen=True, eq=False)
class SurfaceScene:
    """
    What the network knows of one object; all points are in the volume's coordinates, [-1, 1].

    - ``volume``: (16, r, r, r), the regularised features; ``seen``: bool (r, r, r), the voxels
      that two pictures see.
    - ``maps``: the features of the ``images`` (n, 3, h, w), ``projections`` their (n, 3, 4).
    """

    network: One2345Network
    frame: FrustumFrame
    images: Tensor
    maps: FeatureMaps
    projections: Tensor
    volume: Tensor
    seen: Tensor

    @torch.no_grad()
    def distance(self, points: Tensor, check: _Check = _go_on) -> Tensor:
        """Return the signed distance (n,), negative inside, at points (n, 3) of any device."""
        field = self.network.sdf_network_lod0.sdf_layer
        result = torch.empty(len(points))
        for start in range(0, len(points), _POINTS_AT_ONCE):
            check()
            part = points[start:start + _POINTS_AT_ONCE].to(self.volume.device, torch.float32)
            result[start:start + _POINTS_AT_ONCE] = field.distance(part, self.volume)
        return result

    @torch.no_grad()
    def colors(self, points: Tensor, check: _Check = _go_on) -> Tensor:
        """
        Return the colours (n, 3), RGB in [0, 1], of surface points (n, 3).

        The direction of the query is the surface's normal, and all pictures take part.
        """
        result = torch.empty((len(points), 3))
        for start in range(0, len(points), _COLORED_AT_ONCE):
            part = points[start:start + _COLORED_AT_ONCE].to(self.volume.device, torch.float32)
            result[start:start + _COLORED_AT_ONCE] = self._colors(part, check)
        return result

    def _colors(self, points: Tensor, check: _Check) -> Tensor:
        normals = self.network.sdf_network_lod0.sdf_layer.normals(points, self.volume)
        latent = sample_volume(self.volume, points)
        # A point takes part if one of the eight voxels around it was seen.
        known = sample_volume(self.seen[None].float(), points)[:, 0] > 0.0
        known &= (points.abs() < 1.0).all(dim=1)
        size = (self.images.shape[2], self.images.shape[3])
        seen, visible = [], []
        for index, projection in enumerate(self.projections):
            check()
            picture = torch.cat([self.images[index], self.maps.fused(index)])
            places, _ = project(points, projection, size, least_depth=1e-3)
            seen.append(sample_picture(picture, places))
            visible.append((places.abs() < 1.0).all(dim=1) & known)
        centers = torch.from_numpy(self.frame.camera_centers).to(points)
        together, mask = torch.stack(seen, dim=1), torch.stack(visible, dim=1)
        blended = []
        for start in range(0, len(points), _BLENDED_AT_ONCE):
            check()
            part = slice(start, start + _BLENDED_AT_ONCE)
            directions = direction_differences(points[part], normals[part], centers)
            blended.append(self.network.rendering_network_lod0(
                latent[part], together[part], directions, mask[part]))
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
    shows = int((images.amin(dim=1) <= WHITE).flatten(1).any(dim=1).sum())
    if n < 2 or shows < 2 or 2 * shows < n:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            f'{shows} of {n} views show an object; a surface needs two, and half of them. Look at '
            'the synthesised views: the object may have been lost in them.',
        )
