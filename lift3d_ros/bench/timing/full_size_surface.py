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
Seconds and memory of the surface network of One-2-3-45 at its published size.

For example::

    python -m lift3d_ros.bench.timing surface

Weights are random. Multiply-adds are those of convolutions and matrix products, and for the cost
volume four for each sample and two for the sums. Busy seconds are those of the processor, which
other processes affect less, and on a CUDA device those on the clock.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lift3d_ros.bench.timing import harness
from lift3d_ros.diffusion.view_plan import first_stage
from lift3d_ros.diffusion.view_plan import second_stage
from lift3d_ros.diffusion.view_plan import SIZE
from lift3d_ros.meshing.level_set import bounded
from lift3d_ros.meshing.level_set import sample_near_surface
from lift3d_ros.methods.published_surface import REACH
from lift3d_ros.methods.published_surface import source_frame
from lift3d_ros.methods.published_views import SCHEDULES
from lift3d_ros.networks.one2345.cost_volume import CostVolume
from lift3d_ros.networks.one2345.network import One2345Network
from lift3d_ros.networks.one2345.network import RESOLUTION
from lift3d_ros.networks.one2345.network import SurfaceScene

as_rows = harness.items

#: Points of the timed distance, and coloured vertices, as many as 20,000 faces have.
_DISTANCES = 2**19
_VERTICES = 10_000


class _Counter(TorchDispatchMode):
    """
    Counts the floating-point operations of convolutions and matrix products.

    By torch's own formulas; its own counter cannot be used around ``autograd.grad``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        return result


class _Stages:
    """Seconds and work of consecutive stages."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.rows: dict[str, str] = {}
        self.busy = 0.0

    def run(self, name: str, function: Callable[[], Any], macs: float | None = None) -> Any:
        """Run a stage once; ``macs`` are its multiply-adds where torch does not count them."""
        with torch.no_grad(), _Counter() as counter:
            seconds, result = harness.timed(function, self._device)
        work = counter.flops / 2.0 if macs is None else macs
        self.busy += seconds.busy
        self.rows[name] = (
            f'{seconds.clock:.2f} s, busy {seconds.busy:.2f} s, {work / 1e9:.1f} G '
            f'multiply-adds, peak {harness.peak_memory(self._device) / 2**30:.2f} GiB')
        return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')


def run(options: argparse.Namespace) -> harness.Figures:
    """Return the figures by name, as text."""
    return measure_surface(options.device)


def measure_surface(
    device: str, views: int = 32, size: int = SIZE, voxels: int = RESOLUTION,
    distances: int = _DISTANCES, vertices: int = _VERTICES,
) -> dict[str, str]:
    """Return the figures by name, as text."""
    network = One2345Network().to(device).eval().requires_grad_(False)
    first = first_stage(25.0)
    plan = second_stage(first)[:views]
    frame = source_frame(plan, first, size)
    images = torch.rand(
        (views, 3, size, size), generator=torch.Generator().manual_seed(0)).to(device)
    projections = torch.from_numpy(frame.projections).to(device)
    sdf = network.sdf_network_lod0
    before = harness.peak_memory(device)
    stages = _Stages(device)
    maps = stages.run('feature pyramid', lambda: network.pyramid_feature_network(images))
    features = stages.run('compressed features', lambda: sdf.compressed(maps))

    def costs() -> tuple[Tensor, Tensor]:
        cost = CostVolume(features.shape[1], voxels, device)
        for feature, projection in zip(features, projections, strict=True):
            cost.add(feature, projection)
        return cost.finish()

    samples = float(voxels) ** 3 * views * features.shape[1]
    volume, visible = stages.run('cost volume', costs, 6.0 * samples)
    features = torch.empty(0)
    volume = stages.run('regularisation', lambda: sdf.sparse_costreg_net(volume, visible))
    scene = SurfaceScene(network, frame, images, maps, projections, volume, visible)
    points = torch.rand(
        (distances, 3), generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0
    before_distances = stages.busy
    stages.run(f'distance at {distances} points', lambda: scene.distance(points))
    each = (stages.busy - before_distances) / distances
    on = torch.nn.functional.normalize(points[:vertices] - 0.5, dim=1) * 0.3
    stages.run(f'colours of {vertices} vertices', lambda: scene.colors(on))

    counts = _distance_counts(frame.scale)
    rows = {
        'device': harness.device_name(device),
        'precision': 'float32',
        'parameters': f'{sum(p.numel() for p in network.parameters()) / 1e6:.3f} M',
        'views, their side, voxels': f'{views}, {size}, {voxels}',
        'voxels that two views see': f'{100.0 * visible.float().mean():.0f} %',
        'peak memory before': f'{before / 2**30:.2f} GiB',
        **stages.rows,
        'peak memory': f'{harness.peak_memory(device) / 2**30:.2f} GiB',
    }
    for name, count in counts.items():
        busy = stages.busy + (count - distances) * each
        rows[f'surface of {name}'] = (
            f'busy {busy:.1f} s, of them {count * each:.1f} s for {count / 1e6:.2f} M distances')
    return rows


def _distance_counts(scale: float) -> dict[str, int]:
    """Return the number of distances of each schedule for a ball of a typical size."""
    count = 0

    def ball(points: Tensor) -> Tensor:
        nonlocal count
        count += len(points)
        return points.norm(dim=1) - 0.3

    result = {}
    for name, schedule in SCHEDULES.items():
        count = 0
        within = bounded(ball, torch.zeros(3), REACH / scale)
        if schedule.refine:
            sample_near_surface(within, schedule.resolution)
        else:
            axis = torch.linspace(-1.0, 1.0, schedule.resolution)
            square = axis[:, None].square() + axis.square()
            reach = (REACH / scale) ** 2
            count = sum(int((square + x * x <= reach).sum()) for x in axis)
        result[name] = count
    return result
