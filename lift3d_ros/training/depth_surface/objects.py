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

"""The objects of training: scans, modelled and procedural objects; what is left out, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import zlib

import numpy as np

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.procedural.paint import decorate
from lift3d_ros.synthetic.procedural.paint import draw_color
from lift3d_ros.synthetic.procedural.thin import thin_object
from lift3d_ros.training.depth_surface.targets import solid_agreement

#: Objects of a family that are kept, the first by name.
MAX_OF_FAMILY = 6

#: Smallest ``solid_agreement`` of an object whose occupancy is learnt.
MIN_AGREEMENT = 0.97

#: One of this number of families is in the split ``dev``.
DEV_MODULUS = 10

#: Range of the longest side of objects, metres; larger ones are scaled into ``SCALED_LENGTH_M``.
MAX_LENGTH_M, SCALED_LENGTH_M = 0.6, (0.10, 0.40)


@dataclass(frozen=True)
class TrainingObjects:
    """
    The objects of training, of the split ``dev``, and those left out.

    - ``scans``, ``models``: for training; ``dev``: of both, in families of their own.
    - ``excluded``: reasons by name.
    """

    scans: tuple[ObjectEntry, ...]
    models: tuple[ObjectEntry, ...]
    dev: tuple[ObjectEntry, ...]
    excluded: dict[str, str]

    def report(self) -> str:
        """Return the numbers of objects and of exclusions, in a line."""
        reasons = Counter(self.excluded.values())
        left_out = ', '.join(f'{count} {reason}' for reason, count in sorted(reasons.items()))
        return (
            f'{len(self.scans)} scans and {len(self.models)} models for training, {len(self.dev)} '
            f'objects in dev; left out: {left_out or "none"}')


def training_objects(
    data: Path, extra: Sequence[Path], cache: Path, report: Callable[[str], None] = print
) -> TrainingObjects:
    """
    Return the objects of the train split of ``data`` and of the folders ``extra``.

    The solid of each is checked once; the results are kept in the file ``cache``. Raises
    ``LiftError(BAD_REQUEST)`` for a folder without objects, or an object that cannot be read.
    """
    splits = {entry.split for entry in find_objects(data)}
    scans = find_objects(data, 'train' if 'train' in splits else None)
    models = [
        entry for folder in extra for entry in find_objects(folder)
        if entry.split in ('train', 'all')
    ]
    agreement: dict[str, float] = json.loads(cache.read_text()) if cache.exists() else {}
    excluded: dict[str, str] = {}
    families: Counter[str] = Counter()
    kept: list[ObjectEntry] = []
    for number, entry in enumerate([*scans, *models]):
        families[entry.family] += 1
        if not entry.solid:
            excluded[entry.name] = 'hollow or not solid by the manifest'
            continue
        if entry.family and families[entry.family] > MAX_OF_FAMILY and number >= len(scans):
            excluded[entry.name] = 'beyond the cap of its family'
            continue
        if entry.name not in agreement:
            agreement[entry.name] = solid_agreement(entry.load())
            if len(agreement) % 200 == 0:
                report(f'checked {len(agreement)} solids')
        if agreement[entry.name] < MIN_AGREEMENT:
            excluded[entry.name] = 'rays and winding number differ'
            continue
        kept.append(entry)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps(agreement, indent=0))
    of_scans = {entry.name for entry in scans}
    chosen = [entry for entry in kept if not in_dev(entry)]
    return TrainingObjects(
        tuple(entry for entry in chosen if entry.name in of_scans),
        tuple(entry for entry in chosen if entry.name not in of_scans),
        tuple(entry for entry in kept if in_dev(entry)),
        excluded,
    )


def in_dev(entry: ObjectEntry) -> bool:
    """Return whether an object is in the split ``dev``, by its family."""
    return zlib.crc32((entry.family or entry.name).encode()) % DEV_MODULUS == 0


def write_dev(folder: Path, objects: TrainingObjects) -> None:
    """
    Write a manifest of the objects of ``dev`` that have the size of household things.

    ``lift3d bench --data FOLDER --split dev`` measures their meshes: the scores of the training
    are those of the field, before measured depth cuts it.
    """
    entries = [
        {'file': str(entry.path.resolve()), 'name': entry.name, 'split': 'dev',
         'category': entry.category, 'family': entry.family}
        for entry in objects.dev
        if float(np.ptp(entry.load().vertices, axis=0).max()) <= MAX_LENGTH_M
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'manifest.json').write_text(json.dumps(entries, indent=1))


def load_training_mesh(entry: ObjectEntry, rng: np.random.Generator) -> Mesh:
    """Return the mesh of an object; a large one scaled down, one without colours painted."""
    mesh = entry.load()
    longest = float(np.ptp(mesh.vertices, axis=0).max())
    if longest > MAX_LENGTH_M:
        scale = np.float32(rng.uniform(*SCALED_LENGTH_M) / longest)
        mesh = Mesh(mesh.vertices * scale, mesh.faces, mesh.colors)
    if len(np.unique(mesh.colors[:: max(1, len(mesh.colors) // 500)], axis=0)) > 1:
        return mesh
    base = np.broadcast_to(draw_color(rng), mesh.vertices.shape)
    colors = decorate(base, mesh.vertices, rng) if rng.random() < 0.5 else base
    return Mesh(
        mesh.vertices, mesh.faces, np.clip(np.rint(colors), 0.0, 255.0).astype(np.uint8))


def draw_mesh(
    objects: TrainingObjects, scans: float, models: float, thin: float, rng: np.random.Generator
) -> Mesh:
    """
    Return a random object: a scan, a model, or a procedural one.

    ``scans``, ``models`` and ``thin`` are shares of their kinds; the others are of
    ``procedural_object``. Raises ``ValueError`` for a seed that makes no closed object.
    """
    draw = rng.random()
    if draw < scans and objects.scans:
        return load_training_mesh(objects.scans[int(rng.integers(len(objects.scans)))], rng)
    if draw < scans + models and objects.models:
        return load_training_mesh(objects.models[int(rng.integers(len(objects.models)))], rng)
    if draw < scans + models + thin:
        return thin_object(int(rng.integers(2**40)))
    return procedural_object(int(rng.integers(2**40)))
