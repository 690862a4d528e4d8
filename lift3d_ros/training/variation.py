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

"""Other objects out of one: the networks have seen few scans, and must not know them by heart."""

from __future__ import annotations

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh

#: Share of objects whose sides are bent, and standard deviations of what does it.
_BENT = 0.12
_TAPER, _LEAN, _BOW, _BULGE = 0.22, 0.12, 0.12, 0.15

#: Share of objects of unusual proportions; deviations of the logarithm of each side.
_UNUSUAL = 0.1
_STRETCH, _UNUSUAL_STRETCH = 0.10, 0.25

#: Of the others, shares that are stretched alike along all axes, and along the level ones: cans
#: and plates are round, and balls as high as wide. Networks that learn of oval ones alone do not
#: know how deep a thing is of which they see the width.
_ALIKE, _LEVEL_ALIKE = 0.4, 0.4


def varied(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """Return the object bent, mirrored, stretched, recoloured or laid on its side, as drawn."""
    vertices = mesh.vertices.astype(np.float64)
    if rng.random() < _BENT:
        vertices = _bent(vertices, rng)
    stretch = _stretch(rng)
    if rng.random() < 0.5:
        stretch[1] = -stretch[1]
    T = np.diag([*stretch, 1.0])
    if rng.random() < 0.15:
        # Things lie on their sides, too.
        axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1.0, 1.0], (3, 1))
        T[:3, :3] = axes @ T[:3, :3]
    faces = mesh.faces if np.linalg.det(T[:3, :3]) > 0.0 else mesh.faces[:, ::-1]
    colors = mesh.colors
    if rng.random() < 0.5:
        mixed = mesh.colors[:, rng.permutation(3)].astype(np.float64)
        mixed = 255.0 * (mixed / 255.0) ** np.exp(rng.normal(0.0, 0.25)) * rng.uniform(0.8, 1.1)
        colors = np.clip(np.rint(mixed), 0.0, 255.0).astype(np.uint8)
    return Mesh(transform(T, vertices).astype(np.float32), np.ascontiguousarray(faces), colors)


def _stretch(rng: np.random.Generator) -> Array:
    """Return the factors on x, y and z, (3,)."""
    if rng.random() < _UNUSUAL:
        stretch = np.exp(rng.normal(0.0, _UNUSUAL_STRETCH, 3))
        # Not larger or smaller on the whole: what an object looks like tells how large it may be.
        return np.asarray(stretch / np.cbrt(stretch.prod()))
    stretch = np.exp(rng.normal(0.0, _STRETCH, 3))
    kind = rng.random()
    if kind < _ALIKE + _LEVEL_ALIKE:
        stretch[1] = stretch[0]
    if kind < _ALIKE:
        stretch[2] = stretch[0]
    return stretch


def _bent(vertices: Array, rng: np.random.Generator) -> Array:
    """
    Return vertices (n, 3) tapered, leaning, bowed and bulged along z.

    Each level z is scaled and moved as a whole, by smooth functions of z: what was closed stays
    closed, and nothing runs through itself.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle, half = 0.5 * (low + high), 0.5 * np.maximum(high - low, 1e-6)
    z = (vertices[:, 2] - middle[2]) / half[2]
    taper, bulge = rng.normal(0.0, [_TAPER, _BULGE])
    width = np.clip(1.0 + taper * z + bulge * (0.5 - z**2), 0.3, 2.0)
    lean = rng.normal(0.0, _LEAN, 2)
    bow = rng.normal(0.0, _BOW, 2)
    bent = vertices.copy()
    bent[:, :2] -= middle[:2]
    bent[:, :2] *= width[:, None]
    bent[:, :2] += half[:2] * (lean * z[:, None] + bow * (z**2)[:, None])
    bent[:, :2] += middle[:2]
    return bent
