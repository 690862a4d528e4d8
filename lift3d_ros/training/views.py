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
The training run of the small view weights.

Four networks are trained in order: monocular depth, the coarse network, the denoiser, the
elevation regressor. Each has its checkpoints in a subfolder of the output, from which an
interrupted run resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn

from lift3d_ros.diffusion.small import make_components
from lift3d_ros.diffusion.small import read_small
from lift3d_ros.diffusion.small import SmallNetworks
from lift3d_ros.diffusion.small import write_small
from lift3d_ros.elevation.regressor import ElevationNet
from lift3d_ros.elevation.regressor import write_elevation
from lift3d_ros.networks.small.coarse import CoarseNet
from lift3d_ros.networks.small.monocular import MonocularNet
from lift3d_ros.networks.small.monocular import write_monocular
from lift3d_ros.training.coarse import CoarseTask
from lift3d_ros.training.denoiser import DenoiserModel
from lift3d_ros.training.denoiser import DenoiserTask
from lift3d_ros.training.elevation import ElevationData
from lift3d_ros.training.elevation import ElevationTask
from lift3d_ros.training.loop import LoopSettings
from lift3d_ros.training.loop import Task
from lift3d_ros.training.loop import train
from lift3d_ros.training.monocular import MonocularData
from lift3d_ros.training.monocular import MonocularTask
from lift3d_ros.training.runs import check_no_checkpoints
from lift3d_ros.training.runs import RunSettings
from lift3d_ros.training.runs import sample_pool
from lift3d_ros.training.runs import shortened
from lift3d_ros.training.runs import write_manifest

#: The networks in their order; each has settings and a folder of this name.
_PARTS = ('monocular', 'coarse', 'denoiser', 'elevation')


@dataclass(frozen=True)
class ViewTraining(RunSettings):
    """
    Settings of the training of the view weights.

    - ``monocular``, ``coarse``, ``denoiser``, ``elevation``: of the four training loops;
      ``pictures``: training samples of the first and the last.
    """

    monocular: LoopSettings = LoopSettings(minutes=20.0, batch=40, rate=3e-3)
    coarse: LoopSettings = LoopSettings(minutes=60.0, rate=8e-4)
    denoiser: LoopSettings = LoopSettings(minutes=25.0, rate=6e-4)
    elevation: LoopSettings = LoopSettings(minutes=15.0, batch=64, rate=2e-3)
    pictures: int = 5_000


def train_views(
    data: Path,
    out: Path,
    settings: ViewTraining,
    *,
    start: Path | None = None,
    minutes: float | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """
    Train the small view weights on the train split of ``data``; return their folder.

    ``start`` is a folder of weights for the initialisation. ``minutes``, a total, replaces those
    of the settings in proportion. Raises ``LiftError``: ``BAD_REQUEST`` for an output folder with
    checkpoints without ``resume``, and for a folder of data without scans; ``WEIGHTS_MISSING``,
    ``WEIGHTS_CORRUPT`` for ``start``.
    """
    check_no_checkpoints(out, _PARTS, resume)
    total = sum(getattr(settings, name).minutes for name in _PARTS)
    share = 1.0 if minutes is None else minutes / total
    torch.manual_seed(settings.seed)
    networks = _networks(start)
    coarse, components = networks.coarse, networks.components
    monocular, network = networks.monocular, networks.elevation
    assert monocular is not None and network is not None, '``_networks`` returns all'
    with sample_pool(data, out, settings, report) as (pool, evaluated):
        rng = np.random.default_rng(settings.seed)

        def run(
            name: str, network: nn.Module, task: Task, batches: Iterator[dict[str, NDArray[Any]]]
        ) -> None:
            report(f'training the {name} network')
            loop = shortened(getattr(settings, name), share)
            train(network, task, batches, out / name, loop, resume, report)

        run(
            'monocular', monocular, MonocularTask(evaluated),
            MonocularData.read(pool, settings.pictures).batches(settings.monocular.batch, rng),
        )
        monocular.eval().requires_grad_(False)
        run(
            'coarse', coarse, CoarseTask(evaluated, settings.seed, monocular),
            pool.batches(settings.coarse.batch, rng),
        )
        model = DenoiserModel(coarse, components, monocular)
        run(
            'denoiser', model, DenoiserTask(evaluated, seed=settings.seed),
            pool.batches(settings.denoiser.batch, rng),
        )
        task = ElevationTask(evaluated)
        run(
            'elevation', network, task,
            ElevationData.read(pool, settings.pictures).batches(
                settings.elevation.batch, np.random.default_rng(settings.seed),
                network.config.size,
            ),
        )
        network.eval()
        factor = network.config.stddev_factor * task.evaluate(network)['factor']
        network.config = replace(network.config, stddev_factor=factor)
    weights = out / 'weights'
    write_small(weights, model.coarse, model.components)
    write_elevation(weights / 'elevation', network)
    write_monocular(weights / 'monocular', monocular)
    write_manifest(weights)
    report(f'wrote the weights to {weights}')
    return weights


def _networks(start: Path | None) -> SmallNetworks:
    """Return the networks of a folder, or new ones, ready for training."""
    if start is None:
        coarse = CoarseNet()
        components = make_components(coarse.config.features)
        return SmallNetworks(coarse, components, ElevationNet(), MonocularNet())
    read = read_small(start)
    elevation, monocular = read.elevation or ElevationNet(), read.monocular or MonocularNet()
    parts = read.components
    for part in (
        read.coarse, parts.unet, parts.image_encoder, parts.cc_projection, elevation, monocular,
    ):
        part.requires_grad_(True).train()
    return replace(read, elevation=elevation, monocular=monocular)
