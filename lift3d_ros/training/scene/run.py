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

"""The training run of the prior of scenes."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import multiprocessing
from pathlib import Path

import numpy as np

from lift3d_ros.errors import bad_request
from lift3d_ros.networks.small.layers import use_channels_last
from lift3d_ros.networks.small.scene_denoiser import read_scene_denoiser
from lift3d_ros.networks.small.scene_denoiser import SceneDenoiser
from lift3d_ros.networks.small.scene_denoiser import SceneDenoiserConfig
from lift3d_ros.networks.small.scene_denoiser import write_scene_denoiser
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.training.loop import LoopSettings
from lift3d_ros.training.loop import train
from lift3d_ros.training.runs import begin_run
from lift3d_ros.training.runs import shortened
from lift3d_ros.training.runs import write_weights
from lift3d_ros.training.scene.samples import fill_pool
from lift3d_ros.training.scene.samples import Objects
from lift3d_ros.training.scene.samples import ScenePool
from lift3d_ros.training.scene.samples import split_objects
from lift3d_ros.training.scene.task import as_arrays
from lift3d_ros.training.scene.task import SceneTask

_NAME = 'scene'

#: Number of the first room that chooses the checkpoint.
_FIRST_UNSEEN = 10_000_000


@dataclass(frozen=True)
class SceneTraining:
    """
    Settings of the training of the prior of scenes, the entries of a settings file.

    - ``scene``: of the training loop; ``network``: of the denoiser.
    - ``rooms``: largest number of rooms; ``first``: rooms before training begins; ``views``: of
      each room; ``renderers``: processes that render meanwhile.
    - ``development``: rooms with other objects that choose the checkpoint.
    - ``threads``: of the network, 0 = all cores; ``seed``: of weights and batches.
    """

    scene: LoopSettings = LoopSettings(
        minutes=60.0, batch=16, rate=1e-3, anneal=0.6, evaluate_every=5.0, average=0.995)
    network: SceneDenoiserConfig = SceneDenoiserConfig()
    rooms: int = 20_000
    first: int = 600
    views: int = 6
    renderers: int = 1
    development: int = 64
    threads: int = 0
    seed: int = 0


def train_scene(
    data: Path,
    out: Path,
    settings: SceneTraining,
    views: Path,
    *,
    extra: Sequence[Path] = (),
    start: Path | None = None,
    minutes: float | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """
    Train the prior in rooms with objects of the train split of ``data`` and of ``extra``.

    Returns the folder of the weights: a copy of the small weights ``views`` with the prior.
    ``start`` is a folder of weights for its initialisation. ``minutes`` replaces those of the
    settings. Raises ``LiftError``: ``BAD_REQUEST`` for an output folder with checkpoints without
    ``resume``, and for a folder of data without objects; ``WEIGHTS_MISSING``,
    ``WEIGHTS_CORRUPT``.
    """
    begin_run(out, _NAME, resume, settings.threads, settings.seed)
    network = SceneDenoiser(settings.network)
    if start is not None:
        network = read_scene_denoiser(start / _NAME).train().requires_grad_(True)
    use_channels_last(network)
    trained, unseen = room_objects([data, *extra])
    report(f'{len(trained.entries)} objects for training, {len(unseen.entries)} for the choice '
           'of a checkpoint')
    numbers = range(_FIRST_UNSEEN, _FIRST_UNSEEN + settings.development)
    fill_pool(out / 'pool_unseen', numbers, unseen, max(settings.views // 2, 1), report)
    fill_pool(out / 'pool', range(settings.first), trained, settings.views, report)
    task = SceneTask(ScenePool(out / 'pool_unseen').all_views(), settings.seed)
    pool = ScenePool(out / 'pool')
    share = 1.0 if minutes is None else minutes / settings.scene.minutes
    rng = np.random.default_rng(settings.seed)
    report('training the prior of scenes')
    with _renderers(out / 'pool', trained, settings):
        train(
            network, task,
            (as_arrays(batch) for batch in pool.batches(settings.scene.batch, rng)),
            out / _NAME, shortened(settings.scene, share), resume, report)
    return write_weights(
        out, views, _NAME, lambda folder: write_scene_denoiser(folder, network), report)


def room_objects(folders: Sequence[Path]) -> tuple[Objects, Objects]:
    """
    Return the closed objects of the train splits, for training and for choosing a checkpoint.

    Folders without splits count as train splits. Raises ``LiftError(BAD_REQUEST)``.
    """
    entries: list[ObjectEntry] = []
    for folder in folders:
        splits = {entry.split for entry in find_objects(folder)}
        found = find_objects(folder, 'train' if 'train' in splits else None)
        entries += [entry for entry in found if entry.solid]
    trained, unseen = split_objects(entries)
    if not trained.entries or not unseen.entries:
        raise bad_request(
            f'{len(entries)} closed objects are too few to leave some out; give more data.')
    return trained, unseen


@contextmanager
def _renderers(folder: Path, objects: Objects, settings: SceneTraining) -> Iterator[None]:
    """Render further rooms meanwhile."""
    # Spawned: a fork after libraries have started threads may hang.
    context = multiprocessing.get_context('spawn')
    processes = [
        context.Process(
            target=fill_pool, daemon=True,
            args=(folder, range(settings.first + k, settings.rooms, settings.renderers), objects,
                  settings.views))
        for k in range(settings.renderers)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()
