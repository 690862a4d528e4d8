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
Samples of the prior of scenes: what is known of a view of a room, and the truth.

A file holds the views of one room. It is a function of the seed and its number, so that several
processes can render, and an interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Rendering
from lift3d_ros.scene.parts import hidden_surface
from lift3d_ros.scene.parts import joined
from lift3d_ros.scene.parts import MEASURED_CONFIDENCE
from lift3d_ros.scene.parts import measured_depth
from lift3d_ros.scene.parts import measured_surface
from lift3d_ros.scene.planes import depth_tolerance
from lift3d_ros.scene.planes import find_planes
from lift3d_ros.scene.prior.inputs import KnownScene
from lift3d_ros.scene.prior.inputs import picture_camera
from lift3d_ros.scene.reduction import reduced_mask
from lift3d_ros.scene.scene import SceneSurface
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.procedural.paint import decorate
from lift3d_ros.synthetic.procedural.paint import draw_color
from lift3d_ros.synthetic.rooms.frames import make_frame
from lift3d_ros.synthetic.rooms.frames import RoomFrame
from lift3d_ros.synthetic.rooms.layout import make_room

#: Kinds of pixels: no surface, beyond the input image, hidden in it, and measured.
NOTHING, OUTSIDE, HIDDEN, MEASURED = range(4)

#: Share of the rooms whose objects have masks and true shapes.
_LIFTED = 0.5

#: Largest turns about the pivot, degrees, and change of the distance.
_YAW, _PITCH, _ZOOM = 45.0, (-10.0, 18.0), (0.85, 1.12)

#: Width and height of input frames of training, pixels: robots' cameras, reduced.
_FRAMES = ((160, 120), (160, 120), (160, 90), (128, 128))


@dataclass(frozen=True)
class Objects:
    """Data set objects for rooms; those of a data set without colours are painted."""

    entries: tuple[ObjectEntry, ...]

    def draw(self, rng: np.random.Generator) -> Mesh:
        """Return a random object."""
        entry = self.entries[rng.integers(len(self.entries))]
        mesh = _load(entry.path)
        if entry.colored or len(np.unique(mesh.colors[:64], axis=0)) > 1:
            return mesh
        vertices = mesh.vertices.astype(np.float64)
        colors = decorate(
            np.tile(draw_color(rng), (len(vertices), 1)), vertices, rng)
        return Mesh(
            mesh.vertices, mesh.faces, np.clip(np.rint(colors), 0, 255).astype(np.uint8))


@lru_cache(maxsize=1500)
def _load(path: Path) -> Mesh:
    return ObjectEntry(path.stem, path).load()


def split_objects(
    entries: Sequence[ObjectEntry], share: float = 0.08
) -> tuple[Objects, Objects]:
    """
    Return objects for training and those of the rooms that choose the checkpoint.

    The latter are about ``share`` of the families, at least one.
    """
    def digest(entry: ObjectEntry) -> bytes:
        return hashlib.sha256((entry.family or entry.name).encode()).digest()

    digests = [digest(entry) for entry in entries]
    least = min(digests, default=b'')
    unseen = [own[0] < 256.0 * share or own == least for own in digests]
    trained, others = (
        tuple(entry for entry, out in zip(entries, unseen, strict=True) if out == wanted)
        for wanted in (False, True))
    return Objects(trained), Objects(others)


def room_views(number: int, objects: Objects, views: int) -> dict[str, NDArray[Any]] | None:
    """
    Return the samples of a room, arrays (views, ...).

    ``color``, ``inverse``, ``observed``, ``object``, ``exit``, ``last``, ``pose`` as
    ``KnownView`` has; ``true_color`` and ``true_inverse``; ``kind`` of the pixels. None where
    no camera has a free view.
    """
    rng = np.random.default_rng([number, 0x5CE4E])
    room = make_room(int(rng.integers(2**62)), objects.draw)
    width, height = _FRAMES[rng.integers(len(_FRAMES))]
    camera = Camera.from_fov(width, height, float(rng.uniform(48.0, 75.0)))
    made = make_frame(room, camera, rng)
    if made is None:
        return None
    scene = KnownScene(made.frame, known_surface(made, rng.random() < _LIFTED, rng))
    eye = picture_camera(camera)
    samples: list[dict[str, NDArray[Any]]] = []
    for _ in range(3 * views):
        pose = made.moved(
            rng.uniform(-_YAW, _YAW), rng.uniform(*_PITCH), rng.uniform(*_ZOOM))
        if pose is None:
            continue
        T_camera_eye = invert(made.T_room_camera) @ pose
        known = scene.view(eye, T_camera_eye)
        truth = made.render(eye, pose)
        samples.append({
            'color': known.color, 'inverse': known.inverse.astype(np.float16),
            'observed': known.observed, 'object': known.object,
            'exit': known.exit.astype(np.float16), 'last': known.last.astype(np.float16),
            'pose': known.pose, 'true_color': truth.image,
            'true_inverse': scene.inverse(truth.depth).astype(np.float16),
            'kind': pixel_kinds(made, truth, eye, T_camera_eye, known.observed)})
        if len(samples) == views:
            break
    if len(samples) < views:
        return None
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def known_surface(made: RoomFrame, lifted: bool, rng: np.random.Generator) -> SceneSurface:
    """
    Return what is known of a room: measured, hidden planes, and its objects if ``lifted``.

    The shapes of objects are the true ones with errors of a few percent, as if they were lifted.
    """
    frame = made.frame
    depth = measured_depth(frame)
    foreground = np.zeros(depth.shape, bool)
    if lifted:
        for mask in made.masks.values():
            foreground |= reduced_mask(mask, depth.shape)
    around = np.where(foreground, np.float32(0.0), depth)
    planes = find_planes(around, frame.camera, frame.gravity, rng)
    parts = [measured_surface(frame, foreground), hidden_surface(frame, foreground, planes)]
    if lifted:
        T = invert(made.T_room_camera)
        for index in made.masks:
            mesh = made.room.objects[index].transformed(T)
            vertices = mesh.vertices.astype(np.float64)
            middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
            vertices = middle + (vertices - middle) * rng.normal(1.0, 0.03, 3)
            count = len(vertices)
            parts.append(SceneSurface(
                Mesh(vertices.astype(np.float32), mesh.faces, mesh.colors),
                np.full(count, MEASURED_CONFIDENCE, np.float32), np.zeros(count, bool),
                np.full(count, index, np.int32)))
    return joined(parts)


def pixel_kinds(
    made: RoomFrame, truth: Rendering, eye: Camera, T_camera_eye: Array,
    observed: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Return the kind of each pixel of a true view from what the input camera saw of it."""
    own = made.frame.camera
    points = transform(T_camera_eye, eye.rays() * truth.depth[..., None])
    u, v, z = own.project(points.reshape(-1, 3))
    with np.errstate(invalid='ignore'):
        inside = (z > 0.0) & (u > 0.0) & (v > 0.0) & (u < own.width - 1) & (v < own.height - 1)
    column = np.rint(np.where(inside, u, 0.0)).astype(np.intp)
    row = np.rint(np.where(inside, v, 0.0)).astype(np.intp)
    before = made.truth.depth[row, column]
    hidden = inside & (z > before + 2.0 * depth_tolerance(before))
    kinds = np.where(inside, np.where(hidden, HIDDEN, MEASURED), OUTSIDE).reshape(
        truth.depth.shape)
    # A reading may be missing; then the surface must be filled, too.
    kinds[(kinds == MEASURED) & ~observed] = HIDDEN
    kinds[truth.depth <= 0.0] = NOTHING
    return kinds.astype(np.uint8)


def fill_pool(
    folder: Path, numbers: Sequence[int], objects: Objects, views: int,
    report: Callable[[str], None] | None = None,
) -> None:
    """Render the rooms of ``numbers`` that ``folder`` does not have."""
    folder.mkdir(parents=True, exist_ok=True)
    for done, number in enumerate(numbers, 1):
        path = folder / f'{number:07d}.npz'
        if path.exists():
            continue
        made = room_views(number, objects, views)
        if made is not None:
            partial = path.with_suffix(f'.{os.getpid()}.part')
            with partial.open('wb') as file:
                np.savez(file, allow_pickle=False, **made)
            partial.replace(path)
        if report is not None and done % 100 == 0:
            report(f'{done} rooms')


class ScenePool:
    """The samples of a folder, in memory: about 120 kB a view; grows with the folder."""

    def __init__(self, folder: Path) -> None:
        """Read what is there."""
        self._folder = folder
        self._paths: set[Path] = set()
        self._rooms: list[dict[str, NDArray[Any]]] = []
        self.refresh()

    def __len__(self) -> int:
        """Return the number of rooms."""
        return len(self._rooms)

    def refresh(self) -> None:
        """Read the files that are new."""
        for path in sorted(set(self._folder.glob('*.npz')) - self._paths):
            with np.load(path, allow_pickle=False) as pack:
                self._rooms.append({name: pack[name] for name in pack.files})
            self._paths.add(path)

    def all_views(self) -> dict[str, NDArray[Any]]:
        """Return all samples, arrays (n, ...)."""
        return {name: np.concatenate([room[name] for room in self._rooms])
                for name in self._rooms[0]}

    def batches(
        self, size: int, rng: np.random.Generator, refresh: int = 50
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield batches indefinitely, mirrored and recoloured; new files join meanwhile."""
        step = 0
        while True:
            if step % refresh == 0:
                self.refresh()
            step += 1
            chosen = []
            for index in rng.integers(len(self._rooms), size=size):
                room = self._rooms[index]
                view = int(rng.integers(len(room['pose'])))
                sample = {name: value[view] for name, value in room.items()}
                chosen.append(_mirrored(sample) if rng.random() < 0.5 else sample)
            batch = {name: np.stack([sample[name] for sample in chosen]) for name in chosen[0]}
            gain = rng.uniform(0.75, 1.25, (size, 1, 1, 1))
            gain = gain * rng.normal(1.0, 0.08, (size, 1, 1, 3))
            for name in ('color', 'true_color'):
                batch[name] = np.clip(batch[name] * gain, 0.0, 255.0).astype(np.uint8)
            yield batch


def _mirrored(sample: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a sample with left and right exchanged."""
    mirrored = {
        name: value if name == 'pose' else np.ascontiguousarray(value[:, ::-1])
        for name, value in sample.items()}
    signs = np.ones((4, 4), np.float32)
    signs[0, 1:] = signs[1:, 0] = -1.0
    pose = sample['pose'].copy()
    pose[:16] *= signs.reshape(-1)
    return {**mirrored, 'pose': pose}
