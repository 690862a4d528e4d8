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
A folder of samples that grows during training.

Rendering a sample takes longer than a training step, so that samples are kept and drawn several
times, while processes of low priority render new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
import dataclasses
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.training.augmentation import mirrored
from lift3d_ros.training.samples import make_sample
from lift3d_ros.training.samples import Sample
from lift3d_ros.training.samples import SampleSettings

_PATTERN = 'sample_{:07d}.npz'
_NAMES = {field.name for field in dataclasses.fields(Sample)}


class Pool:
    """The samples of a folder; several processes can read and extend it concurrently."""

    def __init__(self, folder: Path) -> None:
        """Create the folder if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._known: list[Path] = []

    def refresh(self) -> int:
        """Find new samples; return the number of samples."""
        self._known = sorted(self.folder.glob('sample_*.npz'))
        return len(self._known)

    def __len__(self) -> int:
        """Return the number of samples at the last ``refresh``."""
        return len(self._known)

    def read(self, index: int) -> dict[str, NDArray[Any]]:
        """
        Return the arrays of a sample by their names in ``Sample``.

        Raises ``LiftError(BAD_REQUEST)`` for a sample of another version.
        """
        with np.load(self._known[index], allow_pickle=False) as pack:
            arrays = {name: pack[name] for name in pack.files}
        side = arrays['targets'].shape[1] // 2
        bits = np.unpackbits(arrays.pop('solid_bits'))[: side**3]
        arrays['solid'] = bits.reshape(side, side, side)
        if set(arrays) != _NAMES:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{self._known[index]} was rendered by another version of this package, whose '
                f'samples differ in {", ".join(sorted(_NAMES ^ set(arrays)))}; move '
                f'{self.folder} away to render new samples.',
            )
        return arrays

    def add(self, number: int, sample: Sample) -> None:
        """Write a sample, atomically."""
        arrays = {field.name: getattr(sample, field.name) for field in dataclasses.fields(sample)}
        arrays['solid_bits'] = np.packbits(arrays.pop('solid'))
        path = self.folder / _PATTERN.format(number)
        partial = path.with_name(f'.{os.getpid()}_{path.name}')
        np.savez_compressed(partial, **arrays)
        partial.replace(path)

    def fill(
        self,
        numbers: Iterator[int] | range,
        scans: Sequence[ObjectEntry],
        settings: SampleSettings,
    ) -> None:
        """Render the missing samples of these numbers."""
        for number in numbers:
            if not (self.folder / _PATTERN.format(number)).exists():
                self.add(number, make_sample(number, scans, settings))

    def batches(
        self, size: int, rng: np.random.Generator, ahead: int = 2
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """
        Yield random batches indefinitely, half of the samples mirrored, prefetched by a thread.

        Raises ``ValueError`` for an empty pool.
        """
        if not self.refresh():
            raise ValueError(f'{self.folder} holds no samples')
        with ThreadPoolExecutor(1) as reader:
            waiting = [reader.submit(self._batch, size, rng) for _ in range(ahead)]
            while True:
                yield waiting.pop(0).result()
                waiting.append(reader.submit(self._batch, size, rng))

    def _batch(self, size: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        if rng.random() < 0.02:
            self.refresh()
        chosen = rng.integers(len(self._known), size=size)
        samples = [self.read(int(index)) for index in chosen]
        samples = [mirrored(one) if rng.random() < 0.5 else one for one in samples]
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def shuffled_indices(
    count: int, size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield ``size`` of ``count`` shuffled indices indefinitely, each once an epoch."""
    order: NDArray[np.int64] = np.zeros(0, np.int64)
    while True:
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(count)])
        yield order[:size]
        order = order[size:]


class Renderers:
    """Processes that fill a pool until it is full or they are stopped."""

    def __init__(
        self,
        folder: Path,
        scans: Sequence[ObjectEntry],
        settings: SampleSettings,
        processes: int,
        capacity: int,
    ) -> None:
        """Start the processes; they render the samples 0 to ``capacity``."""
        context = multiprocessing.get_context('spawn')
        self._processes = [
            context.Process(
                target=_render,
                args=(folder, list(scans), settings, range(first, capacity, processes)),
                daemon=True,
            )
            for first in range(processes)
        ]
        for process in self._processes:
            process.start()

    def wait(self) -> None:
        """Wait until the pool is full."""
        for process in self._processes:
            process.join()

    def stop(self) -> None:
        """Stop the processes; the next run renders the missing samples."""
        for process in self._processes:
            process.terminate()
            process.join()


def _render(
    folder: Path, scans: Sequence[ObjectEntry], settings: SampleSettings, numbers: range
) -> None:
    os.nice(10)
    Pool(folder).fill(numbers, scans, settings)
