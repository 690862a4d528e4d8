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

"""The training run of the small surface network, with fixed view weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lift3d_ros.diffusion.models import SmallModel
from lift3d_ros.networks.small.surface_network import read_surface
from lift3d_ros.networks.small.surface_network import SurfaceNet
from lift3d_ros.networks.small.surface_network import write_surface
from lift3d_ros.training.loop import LoopSettings
from lift3d_ros.training.loop import train
from lift3d_ros.training.runs import check_no_checkpoints
from lift3d_ros.training.runs import RunSettings
from lift3d_ros.training.runs import sample_pool
from lift3d_ros.training.runs import shortened
from lift3d_ros.training.runs import write_weights
from lift3d_ros.training.surface import SurfaceTask

_NAME = 'surface'


@dataclass(frozen=True)
class SurfaceTraining(RunSettings):
    """
    Settings of the training of the surface network.

    - ``surface``: of the training loop.
    """

    surface: LoopSettings = LoopSettings(minutes=90.0, batch=6, rate=5e-4)


def train_surface(
    data: Path,
    out: Path,
    settings: SurfaceTraining,
    views: Path,
    *,
    start: Path | None = None,
    minutes: float | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """
    Train the surface network on the train split of ``data``; return the folder of the weights.

    ``views`` is the folder of the small weights of the coarse volumes and views; the result is a
    copy of it with the new network. ``start`` is a folder of weights for its initialisation.
    ``minutes`` replaces those of the settings. Raises ``LiftError``: ``BAD_REQUEST`` for an output
    folder with checkpoints without ``resume``, and for a folder of data without scans;
    ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    check_no_checkpoints(out, (_NAME,), resume)
    model = SmallModel(views, 'cuda' if torch.cuda.is_available() else 'cpu', None)
    torch.manual_seed(settings.seed)
    network = SurfaceNet()
    if start is not None:
        network = read_surface(start / _NAME).train().requires_grad_(True)
    share = 1.0 if minutes is None else minutes / settings.surface.minutes
    with sample_pool(data, out, settings, report) as (pool, evaluated):
        rng = np.random.default_rng(settings.seed)
        report('training the surface network')
        train(
            network, SurfaceTask(model, evaluated, settings.seed),
            pool.batches(settings.surface.batch, rng), out / _NAME,
            shortened(settings.surface, share), resume, report,
        )
    return write_weights(
        out, views, _NAME, lambda folder: write_surface(folder, network), report)
