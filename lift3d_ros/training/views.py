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
The training run of the small view weights, from a folder of scans to a folder of weights.

Three networks are learned one after the other: the coarse one, the denoiser over it, the one that
estimates the elevation. Each leaves its checkpoints in a folder of its own below the output, so
that an interrupted run goes on where it was, and the weights are written anew after each.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
import torch

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.objects import find_objects
from lift3d_ros.training.coarse import CoarseTask
from lift3d_ros.training.denoiser import DenoiserModel
from lift3d_ros.training.denoiser import DenoiserTask
from lift3d_ros.training.elevation import ElevationData
from lift3d_ros.training.elevation import ElevationTask
from lift3d_ros.training.loop import LoopSettings
from lift3d_ros.training.loop import train
from lift3d_ros.training.pool import Pool
from lift3d_ros.training.pool import Renderers
from lift3d_ros.training.samples import SampleSettings
from lift3d_ros.views.coarse import CoarseNet
from lift3d_ros.views.elevation_net import ElevationNet
from lift3d_ros.views.elevation_net import write_elevation
from lift3d_ros.views.small import make_components
from lift3d_ros.views.small import write_small


@dataclass(frozen=True)
class ViewTraining:
    """
    A training run; a settings file holds these by their names.

    - ``samples``: what is learned from; ``coarse``, ``denoiser``, ``elevation``: how the three
      runs go, with the minutes of each; ``pictures``: samples that the last one learns from.
    - ``capacity``: samples in the pool; ``first``: how many are rendered before learning begins;
      ``renderers``: processes that render while it goes on.
    - ``evaluation``: samples of the eval split; ``threads``: of the networks, 0 = all cores.
    - ``seed``: of weights and of the order of the samples.
    """

    samples: SampleSettings = SampleSettings()
    coarse: LoopSettings = LoopSettings(minutes=60.0, rate=8e-4)
    denoiser: LoopSettings = LoopSettings(minutes=25.0, rate=6e-4)
    elevation: LoopSettings = LoopSettings(minutes=15.0, batch=64, rate=2e-3)
    pictures: int = 5_000
    capacity: int = 60_000
    first: int = 4_000
    renderers: int = 1
    evaluation: int = 160
    threads: int = 0
    seed: int = 0


def read_settings(path: Path) -> ViewTraining:
    """
    Return the settings of a YAML file; what it does not name keeps its default.

    Raises ``LiftError(BAD_REQUEST)`` for a file that is not one, and for names it does not know.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'{path} cannot be read as YAML ({error}).'
        ) from error
    return _fill(ViewTraining(), content, path)


def train_views(
    data: Path,
    out: Path,
    settings: ViewTraining,
    *,
    minutes: float | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """
    Train the small view weights on the train split of ``data``; return their folder.

    ``minutes`` for all together replaces those of the settings, in the same proportion. Without
    ``resume`` an output folder that holds checkpoints is refused with ``LiftError(BAD_REQUEST)``,
    as is a folder of data without scans.
    """
    checkpoints = [out / name / 'last.pt' for name in ('coarse', 'denoiser', 'elevation')]
    if not resume and any(path.exists() for path in checkpoints):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{out} holds a run already; go on with it by --resume, or choose another folder.',
        )
    if settings.threads:
        torch.set_num_threads(settings.threads)
    total = sum(part.minutes for part in (settings.coarse, settings.denoiser, settings.elevation))
    share = 1.0 if minutes is None else minutes / total
    torch.manual_seed(settings.seed)
    splits = {entry.split for entry in find_objects(data)}
    scans = find_objects(data, 'train' if 'train' in splits else None)
    others = find_objects(data, 'eval') if 'eval' in splits else scans
    unseen = replace(
        settings.samples, scans=1.0, varied=False, occluded=0.0, noisy_masks=0.0, table=1.0,
        gravity=1.0, depth=0.5,
    )
    evaluation = Pool(out / 'pool_eval')
    report(f'{len(scans)} scans to learn from, {len(others)} to judge by')
    evaluation.fill(range(settings.evaluation), others, unseen)
    evaluation.refresh()
    judged = [evaluation.read(index) for index in range(settings.evaluation)]
    pool = Pool(out / 'pool')
    pool.fill(range(settings.first), scans, settings.samples)
    renderers = Renderers(
        out / 'pool', scans, settings.samples, settings.renderers, settings.capacity
    )
    try:
        rng = np.random.default_rng(settings.seed)
        coarse = CoarseNet()
        report('the coarse network')
        train(
            coarse, CoarseTask(judged, settings.seed), pool.batches(settings.coarse.batch, rng),
            out / 'coarse', _shortened(settings.coarse, share), resume, report,
        )
        coarse.load_state_dict(load_file(out / 'coarse' / 'best.safetensors'))
        model = DenoiserModel(coarse, make_components(coarse.config.features))
        report('the denoiser')
        train(
            model, DenoiserTask(judged, seed=settings.seed),
            pool.batches(settings.denoiser.batch, rng), out / 'denoiser',
            _shortened(settings.denoiser, share), resume, report,
        )
        report('the elevation of the camera')
        network = _train_elevation(pool, judged, out, settings, share, resume, report)
    finally:
        renderers.stop()
    model.load_state_dict(load_file(out / 'denoiser' / 'best.safetensors'))
    weights = out / 'weights'
    write_small(weights, model.coarse, model.components)
    write_elevation(weights / 'elevation', network)
    write_manifest(weights)
    report(f'the weights are in {weights}')
    return weights


def _train_elevation(
    pool: Pool,
    judged: Sequence[dict[str, Any]],
    out: Path,
    settings: ViewTraining,
    share: float,
    resume: bool,
    report: Callable[[str], None],
) -> ElevationNet:
    """Train the elevation network and make its stated deviations true of the unseen objects."""
    network, task = ElevationNet(), ElevationTask(judged)
    rng = np.random.default_rng(settings.seed)
    batches = ElevationData.read(pool, settings.pictures).batches(
        settings.elevation.batch, rng, network.config.size
    )
    train(
        network, task, batches, out / 'elevation', _shortened(settings.elevation, share), resume,
        report,
    )
    network.load_state_dict(load_file(out / 'elevation' / 'best.safetensors'))
    network.eval()
    factor = network.config.stddev_factor * task.evaluate(network)['factor']
    network.config = replace(network.config, stddev_factor=factor)
    return network


def write_manifest(folder: Path) -> None:
    """Write ``manifest.json`` with the size and the SHA-256 of each file of a folder."""
    files = {}
    for path in sorted(folder.rglob('*')):
        if path.is_file() and path.name != 'manifest.json':
            content = path.read_bytes()
            files[path.relative_to(folder).as_posix()] = {
                'sha256': hashlib.sha256(content).hexdigest(), 'bytes': len(content),
            }
    (folder / 'manifest.json').write_text(
        json.dumps({'name': 'small', 'family': 'small', 'files': files}, indent=1) + '\n'
    )


def _shortened(settings: LoopSettings, share: float) -> LoopSettings:
    return replace(settings, minutes=settings.minutes * share)


def _fill(settings: Any, content: Any, path: Path) -> Any:
    """Return a dataclass with the entries of a mapping put in, nested ones too."""
    known = {entry.name: entry for entry in fields(settings)}
    if not isinstance(content, dict) or not set(content) <= set(known):
        wrong = sorted(set(content) - set(known)) if isinstance(content, dict) else [content]
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{path} has {", ".join(map(repr, wrong))}; settings are {", ".join(known)}.',
        )
    changes = {}
    for name, value in content.items():
        old = getattr(settings, name)
        if hasattr(old, '__dataclass_fields__'):
            changes[name] = _fill(old, value, path)
        elif isinstance(old, tuple):
            changes[name] = tuple(value)
        else:
            try:
                changes[name] = type(old)(value)
            except (TypeError, ValueError) as error:
                raise LiftError(
                    ErrorCode.BAD_REQUEST, f'{path}: {name} is {value!r}, which is no '
                    f'{type(old).__name__}.',
                ) from error
    return replace(settings, **changes)
