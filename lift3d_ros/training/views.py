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
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
import torch

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
from lift3d_ros.training.loop import train
from lift3d_ros.training.monocular import MonocularData
from lift3d_ros.training.monocular import MonocularTask
from lift3d_ros.training.pool import Pool
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
        report('training the monocular network')
        train(
            monocular, MonocularTask(evaluated),
            MonocularData.read(pool, settings.pictures).batches(settings.monocular.batch, rng),
            out / 'monocular', shortened(settings.monocular, share), resume, report,
        )
        monocular.load_state_dict(load_file(out / 'monocular' / 'best.safetensors'))
        monocular.eval().requires_grad_(False)
        report('training the coarse network')
        train(
            coarse, CoarseTask(evaluated, settings.seed, monocular),
            pool.batches(settings.coarse.batch, rng),
            out / 'coarse', shortened(settings.coarse, share), resume, report,
        )
        coarse.load_state_dict(load_file(out / 'coarse' / 'best.safetensors'))
        model = DenoiserModel(coarse, components, monocular)
        report('training the denoiser')
        train(
            model, DenoiserTask(evaluated, seed=settings.seed),
            pool.batches(settings.denoiser.batch, rng), out / 'denoiser',
            shortened(settings.denoiser, share), resume, report,
        )
        report('training the elevation network')
        _train_elevation(network, pool, evaluated, out, settings, share, resume, report)
    model.load_state_dict(load_file(out / 'denoiser' / 'best.safetensors'))
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


def _train_elevation(
    network: ElevationNet,
    pool: Pool,
    evaluated: Sequence[dict[str, Any]],
    out: Path,
    settings: ViewTraining,
    share: float,
    resume: bool,
    report: Callable[[str], None],
) -> None:
    """Train the elevation network and calibrate its stddev on the evaluation samples."""
    task = ElevationTask(evaluated)
    rng = np.random.default_rng(settings.seed)
    batches = ElevationData.read(pool, settings.pictures).batches(
        settings.elevation.batch, rng, network.config.size
    )
    train(
        network, task, batches, out / 'elevation', shortened(settings.elevation, share), resume,
        report,
    )
    network.load_state_dict(load_file(out / 'elevation' / 'best.safetensors'))
    network.eval()
    factor = network.config.stddev_factor * task.evaluate(network)['factor']
    network.config = replace(network.config, stddev_factor=factor)
