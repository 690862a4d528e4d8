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
Views of objects from random cameras, with the word of each view.

An object has a fixed front, -y, from which the words count. Each view is a function of the seed,
the object's name and its number, so that an interrupted rendering continues.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch

from lift3d_ros.diffusion.token_denoiser import VIEW_WORDS
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.cameras import view_word
from lift3d_ros.errors import bad_request
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic.appearance import draw_light
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.procedural.paint import decorate
from lift3d_ros.synthetic.procedural.paint import draw_color
from lift3d_ros.synthetic.true_views import true_view

#: Azimuth of the camera before the front of an object, degrees.
FRONT_AZIMUTH = -90.0

#: The cameras: the elevations of RealFusion, in units of the longest side. The distances cover
#: those of its input camera and of its nearer random cameras at the lens of the views.
CAMERAS = CameraSampler(radius=(1.15, 2.1), elevation=(-30.0, 90.0), sphere=0.5)


@dataclass(frozen=True, eq=False)
class ObjectViews:
    """
    The views of n objects.

    - ``names``: of the objects' files, without suffix.
    - ``pictures``: uint8 RGBA (n, v, size, size, 4), the colour on white.
    - ``words``: int64 (n, v), indices of ``VIEW_WORDS``.
    """

    names: tuple[str, ...]
    pictures: NDArray[np.uint8]
    words: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.names)

    def select(self, objects: Sequence[int], views: slice = slice(None)) -> ObjectViews:
        """Return some of the objects, and some of their views."""
        index = np.asarray(objects, np.int64)
        return ObjectViews(
            tuple(self.names[i] for i in objects), self.pictures[index, views],
            self.words[index, views])


def object_views(
    folder: Path,
    objects: Sequence[ObjectEntry],
    count: int,
    size: int,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> ObjectViews:
    """
    Return ``count`` views of each object, rendered where ``folder`` does not have them.

    Raises ``LiftError(BAD_REQUEST)`` for a folder with other views, and for an object that cannot
    be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures, words = [], []
    missing = 0
    for entry in objects:
        path = folder / f'{entry.path.stem}.npz'
        if not path.exists():
            missing += 1
            made = render_views(entry, count, size, seed)
            partial = path.with_suffix('.part.npz')
            np.savez_compressed(partial, pictures=made[0], words=made[1])
            partial.replace(path)
            if missing % 100 == 0:
                report(f'rendered {missing} objects')
        with np.load(path, allow_pickle=False) as pack:
            pictures.append(pack['pictures'])
            words.append(pack['words'])
        if pictures[-1].shape != (count, size, size, 4):
            raise bad_request(
                f'{path} has pictures of the shape {pictures[-1].shape}; {count} of {size} pixels '
                f'are needed. Move {folder} away to render them again.')
    return ObjectViews(
        tuple(entry.path.stem for entry in objects), np.stack(pictures), np.stack(words))


def render_views(
    entry: ObjectEntry, count: int, size: int, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return pictures (count, size, size, 4) of an object, RGBA on white, and their words."""
    digest = hashlib.sha256(f'{seed} {entry.name}'.encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    mesh = entry.load()
    if not entry.colored and len(np.unique(mesh.colors, axis=0)) == 1:
        mesh = _painted(mesh, rng)
    caster = Raycaster([mesh])
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    T = _object_from_views(low.astype(np.float64), high.astype(np.float64))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    cameras = CAMERAS.draw(count, 0, generator)
    pictures = []
    for pose in cameras.poses.numpy():
        # Bright enough that the colours are those of the object.
        light = draw_light(rng)
        light = replace(light, ambient=light.ambient + 0.1, diffuse=light.diffuse - 0.05)
        pictures.append(true_view(caster, T, pose, size, light))
    words = [
        VIEW_WORDS.index(view_word(float(azimuth), float(elevation)))
        for azimuth, elevation in zip(cameras.azimuth, cameras.elevation, strict=True)
    ]
    return np.stack(pictures), np.array(words, np.int64)


def _object_from_views(low: Array, high: Array) -> Array:
    """
    Return the similarity (4, 4) from the frame of the cameras to that of the mesh.

    In the frame of the cameras the front is at azimuth 0, the origin is the middle of the box and
    its longest side is 1.
    """
    angle = np.radians(FRONT_AZIMUTH)
    c, s = np.cos(angle), np.sin(angle)
    T = np.eye(4)
    T[:3, :3] = (high - low).max() * np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    T[:3, 3] = 0.5 * (low + high)
    return T


def _painted(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """Return the mesh with random colours; low-polygon meshes lack vertices for fine patterns."""
    base = np.broadcast_to(draw_color(rng), mesh.vertices.shape)
    colors = decorate(base, mesh.vertices, rng) if rng.random() < 0.5 else base
    return Mesh(
        mesh.vertices, mesh.faces, np.clip(np.rint(colors), 0.0, 255.0).astype(np.uint8))
