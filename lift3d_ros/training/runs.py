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

"""Common parts of the training runs: settings, data, sample pools, the manifest."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
import hashlib
import json
from pathlib import Path
import shutil
from typing import Any
from typing import TypeVar

import torch

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.training.loop import LoopSettings
from lift3d_ros.training.pool import Pool
from lift3d_ros.training.pool import Renderers
from lift3d_ros.training.samples import SampleSettings

Settings = TypeVar('Settings')


@dataclass(frozen=True)
class RunSettings:
    """
    Settings of every training run, the entries of a settings file.

    - ``samples``: distribution of the samples.
    - ``capacity``: samples in the pool; ``first``: samples rendered before training starts;
      ``renderers``: processes that render during training.
    - ``evaluation``: samples of the eval split; ``threads``: of the networks, 0 = all cores.
    - ``seed``: of weights and of the order of the samples.
    """

    samples: SampleSettings = SampleSettings()
    capacity: int = 60_000
    first: int = 4_000
    renderers: int = 1
    evaluation: int = 160
    threads: int = 0
    seed: int = 0


def read_settings(path: Path, defaults: Settings) -> Settings:
    """
    Return the settings of a YAML file; missing entries are those of ``defaults``.

    Raises ``LiftError(BAD_REQUEST)`` for a file that is not YAML, and for unknown entries.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'{path} cannot be read as YAML ({error}).'
        ) from error
    filled: Settings = _fill(defaults, content, path)
    return filled


def check_no_checkpoints(out: Path, networks: Sequence[str], resume: bool) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` if ``out`` has checkpoints, unless ``resume``."""
    if not resume and any((out / name / 'last.pt').exists() for name in networks):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{out} has the checkpoints of a run; give --resume, or choose another folder.',
        )


def begin_run(out: Path, network: str, resume: bool, threads: int, seed: int) -> None:
    """
    Check the folder of a run of one network, and set torch's threads (0: as they are) and seed.

    Raises ``LiftError(BAD_REQUEST)`` as ``check_no_checkpoints``.
    """
    check_no_checkpoints(out, (network,), resume)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)


@contextmanager
def sample_pool(
    data: Path, out: Path, settings: RunSettings, report: Callable[[str], None]
) -> Iterator[tuple[Pool, list[dict[str, Any]]]]:
    """
    Yield the training pool, which grows, and the evaluation samples.

    They are kept in ``out/pool`` and ``out/pool_eval`` for the next run. Sets the number of
    threads of torch. Raises ``LiftError(BAD_REQUEST)`` for a folder of data without scans.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    splits = {entry.split for entry in find_objects(data)}
    scans = find_objects(data, 'train' if 'train' in splits else None)
    others = find_objects(data, 'eval') if 'eval' in splits else scans
    unseen = replace(
        settings.samples, scans=1.0, varied=False, occluded=0.0, noisy_masks=0.0, table=1.0,
        gravity=1.0, depth=0.5,
    )
    evaluation = Pool(out / 'pool_eval')
    report(f'{len(scans)} scans for training, {len(others)} for evaluation')
    evaluation.fill(range(settings.evaluation), others, unseen)
    evaluation.refresh()
    evaluated = [evaluation.read(index) for index in range(settings.evaluation)]
    pool = Pool(out / 'pool')
    pool.fill(range(settings.first), scans, settings.samples)
    renderers = Renderers(
        out / 'pool', scans, settings.samples, settings.renderers, settings.capacity
    )
    try:
        yield pool, evaluated
    finally:
        renderers.stop()


def shortened(settings: LoopSettings, share: float) -> LoopSettings:
    """Return the settings with a share of the minutes."""
    return replace(settings, minutes=settings.minutes * share)


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


def _fill(settings: Any, content: Any, path: Path) -> Any:
    """Return a dataclass with the entries of a mapping, recursively."""
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
                    ErrorCode.BAD_REQUEST, f'{path}: {name} is {value!r}, which is not of '
                    f'the type {type(old).__name__}.',
                ) from error
    return replace(settings, **changes)


def write_weights(
    out: Path, base: Path, name: str, write: Callable[[Path], object],
    report: Callable[[str], None],
) -> Path:
    """
    Write ``base`` with a new network as the weights of a run, and return their folder.

    ``write`` writes the network to the folder that it receives, called ``name``; the other
    networks are those of the weights ``base``.
    """
    weights, partial = out / 'weights', out / 'weights.part'
    # The old weights may be those that are copied.
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(base, partial, ignore=shutil.ignore_patterns(name, 'manifest.json'))
    write(partial / name)
    write_manifest(partial)
    shutil.rmtree(weights, ignore_errors=True)
    partial.rename(weights)
    report(f'wrote the weights to {weights}')
    return weights
