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
Augmentation of the training data: objects deformed, samples mirrored, pictures recoloured.

The networks are trained on few scans and must not memorise them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh

#: Share of objects with bent sides, and standard deviations of taper, lean, bow and bulge.
BENT_SHARE = 0.12
TAPER_STDDEV, LEAN_STDDEV, BOW_STDDEV, BULGE_STDDEV = 0.22, 0.12, 0.12, 0.15

#: Standard deviation of the logarithm of the scale of each axis; share of objects of unusual
#: proportions, and their standard deviation.
STRETCH_STDDEV = 0.10
UNUSUAL_SHARE, UNUSUAL_STRETCH_STDDEV = 0.1, 0.25

#: Shares of the other objects that are scaled uniformly, and uniformly in the horizontal plane.
#: Round objects must stay round, or the networks do not learn to infer depth from width.
UNIFORM_SHARE, ROUND_SHARE = 0.4, 0.4


def varied(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """Return the object randomly bent, mirrored, stretched, recoloured or laid on its side."""
    vertices = mesh.vertices.astype(np.float64)
    if rng.random() < BENT_SHARE:
        vertices = _bent(vertices, rng)
    stretch = _stretch(rng)
    if rng.random() < 0.5:
        stretch[1] = -stretch[1]
    T = np.diag([*stretch, 1.0])
    if rng.random() < 0.15:
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
    if rng.random() < UNUSUAL_SHARE:
        stretch = np.exp(rng.normal(0.0, UNUSUAL_STRETCH_STDDEV, 3))
        # The volume stays, for the appearance of an object is correlated with its size.
        return np.asarray(stretch / np.cbrt(stretch.prod()))
    stretch = np.exp(rng.normal(0.0, STRETCH_STDDEV, 3))
    kind = rng.random()
    if kind < UNIFORM_SHARE + ROUND_SHARE:
        stretch[1] = stretch[0]
    if kind < UNIFORM_SHARE:
        stretch[2] = stretch[0]
    return stretch


def _bent(vertices: Array, rng: np.random.Generator) -> Array:
    """
    Return vertices (n, 3) tapered, sheared, bowed and bulged along z.

    Each cross-section is scaled and translated by smooth functions of z, so that a closed surface
    stays closed and does not intersect itself.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle, half = 0.5 * (low + high), 0.5 * np.maximum(high - low, 1e-6)
    z = (vertices[:, 2] - middle[2]) / half[2]
    taper, bulge = rng.normal(0.0, [TAPER_STDDEV, BULGE_STDDEV])
    width = np.clip(1.0 + taper * z + bulge * (0.5 - z**2), 0.3, 2.0)
    lean = rng.normal(0.0, LEAN_STDDEV, 2)
    bow = rng.normal(0.0, BOW_STDDEV, 2)
    bent = vertices.copy()
    bent[:, :2] -= middle[:2]
    bent[:, :2] *= width[:, None]
    bent[:, :2] += half[:2] * (lean * z[:, None] + bow * (z**2)[:, None])
    bent[:, :2] += middle[:2]
    return bent


#: Mirroring negates y of the canonical frame and x of the optical frame.
MIRROR_CANONICAL = np.diag([1.0, -1.0, 1.0, 1.0])
MIRROR_OPTICAL = np.diag([-1.0, 1.0, 1.0, 1.0])

#: The axis to mirror of the arrays of a sample.
MIRROR_AXES = {'picture': 1, 'depth': 1, 'surface_depth': 1, 'targets': 2, 'solid': 1}


def mirrored(sample: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a ``Sample`` with its object and cameras mirrored."""
    result = dict(sample)
    for name, axis in MIRROR_AXES.items():
        if name in result:
            result[name] = np.ascontiguousarray(np.flip(result[name], axis))
    for name in ('pose', 'target_poses'):
        if name in result:
            pose = MIRROR_CANONICAL @ result[name].astype(np.float64) @ MIRROR_OPTICAL
            result[name] = pose.astype(sample[name].dtype)
    centre = result['centre'].copy()
    centre[0] = result['picture'].shape[1] - 1 - centre[0]
    result['centre'] = centre
    return result


def recoloured(
    pictures: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return RGBA pictures (n, h, w, 4) with random colours, exposure and noise."""
    count = len(pictures)
    order = np.tile(np.arange(3), (count, 1))
    for index in np.flatnonzero(rng.random(count) < 0.3):
        order[index] = rng.permutation(3)
    grey = rng.random(count) < 0.2

    def drawn(low: float, high: float, *shape: int) -> NDArray[np.float32]:
        return rng.uniform(low, high, (count, *(shape or (1,)), 1)).astype(np.float32)

    # Lookup tables of the channels, (n, 3, 256).
    curve = np.linspace(0.0, 1.0, 256, dtype=np.float32).clip(1e-3) ** np.exp(drawn(-0.5, 0.5))
    middle = np.float32(0.5)
    curve = (curve - middle) * drawn(0.6, 1.2) + middle + drawn(-0.15, 0.15)
    curve = curve * drawn(0.85, 1.15, 3)
    result = np.empty_like(pictures)
    for index, picture in enumerate(pictures):
        colour = picture[..., :3]
        if grey[index]:
            colour = np.repeat(colour.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
        noise = rng.standard_normal(colour.shape, np.float32)
        shuffled = np.ascontiguousarray(colour[..., order[index]])
        lit = cv2.LUT(shuffled, np.ascontiguousarray(curve[index].T[None]))
        lit += np.float32(rng.uniform(0.0, 0.03)) * noise
        alpha = picture[..., 3:].astype(np.float32) / np.float32(255.0)
        white = np.float32(255.0) * (1.0 - alpha)
        result[index, ..., :3] = np.rint(np.clip(lit, 0.0, 1.0) * (255.0 * alpha) + white)
        result[index, ..., 3] = picture[..., 3]
    return result
