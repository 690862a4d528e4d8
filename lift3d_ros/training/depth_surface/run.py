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

"""The training run of the surface network with depth, with fixed view weights."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from lift3d_ros.networks.small.depth_surface import DepthSurfaceNet
from lift3d_ros.networks.small.depth_surface import read_depth_surface
from lift3d_ros.networks.small.depth_surface import write_depth_surface
from lift3d_ros.networks.small.surface_network import read_surface
from lift3d_ros.training.depth_surface.objects import training_objects
from lift3d_ros.training.depth_surface.objects import TrainingObjects
from lift3d_ros.training.depth_surface.objects import write_dev
from lift3d_ros.training.depth_surface.samples import DepthSampleSettings
from lift3d_ros.training.depth_surface.samples import mirrored_sample
from lift3d_ros.training.depth_surface.samples import read_sample
from lift3d_ros.training.depth_surface.samples import SampleMaker
from lift3d_ros.training.depth_surface.samples import write_sample
from lift3d_ros.training.depth_surface.task import DepthSurfaceTask
from lift3d_ros.training.loop import LoopSettings
from lift3d_ros.training.loop import train
from lift3d_ros.training.runs import begin_run
from lift3d_ros.training.runs import shortened
from lift3d_ros.training.runs import write_weights

NAME = 'depth_surface'

_PATTERN = 'sample_{:07d}.npz'


@dataclass(frozen=True)
class DepthSurfaceTraining:
    """
    Settings of the training.

    - ``samples``: distribution of the samples; ``capacity``: samples on disk; ``first``: rendered
      before training starts; ``renderers``: processes that render during training.
    - ``dev``: samples that choose the checkpoint; ``threads``: of the networks, 0 = all cores.
    - ``depth_surface``: of the training loop; ``seed``: of the order of the samples.
    """

    samples: DepthSampleSettings = DepthSampleSettings()
    capacity: int = 8_000
    first: int = 2_000
    renderers: int = 1
    dev: int = 96
    threads: int = 0
    depth_surface: LoopSettings = LoopSettings(
        minutes=120.0, batch=8, rate=3e-4, average=0.995, evaluate_every=10.0)
    seed: int = 0


def train_depth_surface(
    data: Path,
    out: Path,
    settings: DepthSurfaceTraining,
    views: Path,
    *,
    start: Path | None = None,
    minutes: float | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
    extra: Sequence[Path] = (),
) -> Path:
    """
    Train the network on the train split of ``data`` and on ``extra``; return the weights' folder.

    ``views`` is the folder of the small weights of the coarse volumes; the result is a copy of it
    with the new network. Training starts at the network of ``start``, else of ``views``: its
    ``depth_surface``, or its ``surface``. ``minutes`` replaces those of the settings.

    Raises ``LiftError``: ``BAD_REQUEST`` for an output folder with checkpoints without ``resume``,
    and for a folder of data without scans; ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    begin_run(out, NAME, resume, settings.threads, settings.seed)
    network = initial_network(start or views)
    objects = training_objects(data, extra, out / 'solids.json', report)
    report(objects.report())
    write_dev(out / 'dev', objects)
    share = 1.0 if minutes is None else minutes / settings.depth_surface.minutes
    pool, dev = out / 'pool', out / 'pool_dev'
    maker = SampleMaker(views, initial_network(start or views), objects)
    report('rendering the samples of dev, and the first samples')
    _fill(dev, maker.make_dev, range(settings.dev))
    _fill(pool, lambda number: maker.make(number, settings.samples), range(settings.first))
    evaluated = [read_sample(dev / _PATTERN.format(number)) for number in range(settings.dev)]
    network.train().requires_grad_(True)
    # Samples hold the features of the view.
    network.encoder.requires_grad_(False)
    with _renderers(pool, views, start or views, objects, settings):
        report('training the surface network with depth')
        train(
            network, DepthSurfaceTask(evaluated, settings.seed),
            _batches(pool, settings.depth_surface.batch, np.random.default_rng(settings.seed)),
            out / NAME, shortened(settings.depth_surface, share), resume, report,
        )
    return write_weights(
        out, views, NAME, lambda folder: write_depth_surface(folder, network), report)


def initial_network(weights: Path) -> DepthSurfaceNet:
    """
    Return the network of a folder of small weights, else that of its surface network.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    if (weights / NAME).is_dir():
        return read_depth_surface(weights / NAME)
    return DepthSurfaceNet.from_surface(read_surface(weights / 'surface'))


def _fill(
    folder: Path, make: Callable[[int], dict[str, NDArray[Any]]], numbers: range
) -> None:
    """Render the missing samples of these numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = folder / _PATTERN.format(number)
        if not path.exists():
            write_sample(path, make(number))


class _renderers:
    """Processes that fill a pool while the block runs; the next run renders what is missing."""

    def __init__(
        self, pool: Path, views: Path, start: Path, objects: TrainingObjects,
        settings: DepthSurfaceTraining,
    ) -> None:
        context = multiprocessing.get_context('spawn')
        self._processes = [
            context.Process(
                target=_render,
                args=(pool, views, start, objects, settings.samples,
                      range(settings.first + first, settings.capacity, settings.renderers)),
                daemon=True,
            )
            for first in range(settings.renderers)
        ]

    def __enter__(self) -> None:
        for process in self._processes:
            process.start()

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join()


def _render(
    pool: Path, views: Path, start: Path, objects: TrainingObjects, samples: DepthSampleSettings,
    numbers: range,
) -> None:
    os.nice(10)
    torch.set_num_threads(1)
    maker = SampleMaker(views, initial_network(start), objects)
    _fill(pool, lambda number: maker.make(number, samples), numbers)


def _batches(
    pool: Path, size: int, rng: np.random.Generator
) -> Iterator[dict[str, NDArray[Any]]]:
    """
    Yield batches indefinitely, half of the samples mirrored, prefetched by a thread.

    New samples of the pool are found every 20 batches. All are drawn before one comes again.
    """
    paths: list[Path] = []
    waiting: list[int] = []
    drawn = 0

    def batch() -> dict[str, NDArray[Any]]:
        nonlocal paths, waiting, drawn
        if drawn % 20 == 0:
            found = sorted(pool.glob('sample_*.npz'))
            fresh = range(len(paths), len(found))
            known = set(paths)
            paths += [path for path in found if path not in known]
            waiting += list(fresh)
            rng.shuffle(waiting)
        drawn += 1
        while len(waiting) < size:
            waiting += rng.permutation(len(paths)).tolist()
        chosen, waiting = waiting[:size], waiting[size:]
        samples = [read_sample(paths[index]) for index in chosen]
        samples = [mirrored_sample(one) if rng.random() < 0.5 else one for one in samples]
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}

    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(batch) for _ in range(2)]
        while True:
            yield ahead.pop(0).result()
            ahead.append(reader.submit(batch))
