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

"""The training run of the small unposed prior."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lift3d_ros.diffusion.token_denoiser import read_token_denoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiserConfig
from lift3d_ros.diffusion.token_denoiser import write_token_denoiser
from lift3d_ros.errors import bad_request
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.training.loop import LoopSettings
from lift3d_ros.training.loop import train
from lift3d_ros.training.prior.object_views import object_views
from lift3d_ros.training.prior.task import batches
from lift3d_ros.training.prior.task import PriorModel
from lift3d_ros.training.prior.task import PriorTask
from lift3d_ros.training.runs import begin_run
from lift3d_ros.training.runs import shortened
from lift3d_ros.training.runs import write_weights

_NAME = 'prior'


@dataclass(frozen=True)
class PriorTraining:
    """
    Settings of the training of the unposed prior, the entries of a settings file.

    - ``prior``: of the training loop; ``network``: of the denoiser.
    - ``views``: rendered of each object.
    - ``development``: coloured objects of the train split that are left out; the checkpoint is
      chosen by them.
    - ``threads``: of the network, 0 = all cores; ``seed``: of weights, views and their order.
    """

    prior: LoopSettings = LoopSettings(
        minutes=75.0, batch=24, rate=1e-3, anneal=0.6, evaluate_every=8.0)
    network: TokenDenoiserConfig = TokenDenoiserConfig()
    views: int = 32
    development: int = 48
    threads: int = 0
    seed: int = 0


def train_prior(
    data: Path,
    out: Path,
    settings: PriorTraining,
    views: Path,
    *,
    extra: Sequence[Path] = (),
    start: Path | None = None,
    minutes: float | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """
    Train the prior on the train split of ``data`` and ``extra``; return the folder of weights.

    The result is a copy of the small weights ``views`` with the prior. ``start`` is a folder of
    weights for its initialisation. ``minutes`` replaces those of the settings. Raises
    ``LiftError``: ``BAD_REQUEST`` for an output folder with checkpoints without ``resume``, for a
    folder of data without objects, and for fewer objects than the settings leave out;
    ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    begin_run(out, _NAME, resume, settings.threads, settings.seed)
    network = TokenDenoiser(settings.network)
    if start is not None:
        network = read_token_denoiser(start / _NAME).train().requires_grad_(True)
    trained, unseen = split_objects([data, *extra], settings.development, settings.seed)
    report(f'{len(trained)} objects for training, {len(unseen)} for the choice of a checkpoint')
    pictures, others = (
        object_views(
            out / 'views', entries, settings.views, network.config.size, settings.seed, report)
        for entries in (trained, unseen))
    model = PriorModel(network, pictures)
    task = PriorTask(network, pictures, others, settings.seed)
    share = 1.0 if minutes is None else minutes / settings.prior.minutes
    rng = np.random.default_rng(settings.seed)
    report('training the prior')
    train(
        model, task, batches(pictures, settings.prior.batch, rng), out / _NAME,
        shortened(settings.prior, share), resume, report,
    )
    task.finish(model)
    return write_weights(
        out, views, _NAME, lambda folder: write_token_denoiser(folder, network), report)


def split_objects(
    folders: Sequence[Path], development: int, seed: int
) -> tuple[list[ObjectEntry], list[ObjectEntry]]:
    """
    Return the objects of the train splits for training, and those left out.

    Those left out are coloured and of the first folder, one of each family; the other objects of
    these families are in neither list. Hollow and open objects are left out, too. Folders without
    splits count as train splits. Raises ``LiftError(BAD_REQUEST)``.
    """
    found = []
    for number, folder in enumerate(folders):
        splits = {entry.split for entry in find_objects(folder)}
        entries = find_objects(folder, 'train' if 'train' in splits else None)
        found += [(number, entry) for entry in entries if entry.solid]
    stems = Counter(entry.path.stem for _, entry in found)
    twice = sorted(stem for stem, times in stems.items() if times > 1)
    if twice:
        raise bad_request(f'The files {", ".join(twice[:5])} are there twice; rename them.')
    scans = [entry for number, entry in found if number == 0 and entry.colored]
    order = np.random.default_rng(seed).permutation(len(scans))
    unseen: dict[str, ObjectEntry] = {}
    for index in order:
        if len(unseen) < development:
            unseen.setdefault(_family(scans[index]), scans[index])
    trained = [entry for _, entry in found if _family(entry) not in unseen]
    if len(unseen) < max(development, 1) or not trained:
        raise bad_request(
            f'{len(found)} objects leave {len(trained)} for training and {len(unseen)} for the '
            f'choice of a checkpoint, {development} are requested; give more data.')
    return trained, list(unseen.values())


def _family(entry: ObjectEntry) -> str:
    return entry.family or entry.name
