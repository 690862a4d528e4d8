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

"""Whether a believed solid and the views it was believed from tell the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.fields.occupancy import SolidField
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV

#: Side of the silhouettes that are compared, pixels: one is then wider than a voxel, and finer
#: detail is not what a contradiction is about.
_SIZE = 40

#: The agreement from which on, and that up to which, confidence is whole and none. On scenes of
#: scans of the train split, the coarse volume as the solid, synthesised views reach 0.93 to 1.00;
#: true views in wrong poses 0.38 (long things) to 0.98 (round ones, which look the same); views of
#: one colour 0.13 to 0.33.
USUAL = 0.92
CONTRARY = 0.40


def silhouette_agreement(
    solid: SolidField, pictures: NDArray[np.uint8], poses: Array
) -> float:
    """
    Return how well the silhouettes of a solid are those of its views, from 0 to 1.

    ``pictures`` (sets, n, h, h, 4) uint8 RGBA are views at ``poses`` (n, 4, 4), optical frames in
    canonical coordinates, through the lens of Zero-1-to-3. For each view it is the share of the
    believed voxels (probability over one half) that fall inside the mask, times the share of the
    mask that they cover; the mean over the views is returned.
    """
    from scipy import ndimage

    n = solid.probability.shape[0]
    index = np.argwhere(solid.probability > 0.5)
    points = solid.centre + ((index + 0.5) / n - 0.5) * solid.side
    camera = Camera.from_fov(_SIZE, _SIZE, ZERO123_FOV)
    masks = _shrunk(pictures[..., 3])
    found = []
    for number, pose in enumerate(poses):
        u, v, z = camera.project(transform(invert(pose), points))
        column, row = np.rint(u).astype(int), np.rint(v).astype(int)
        shown = (z > 0.0) & (np.minimum(column, row) >= 0) & (np.maximum(column, row) < _SIZE)
        column, row = column[shown], row[shown]
        drawn = np.zeros((_SIZE, _SIZE), bool)
        drawn[row, column] = True
        # Near the camera the voxels lie more than a pixel apart.
        drawn = ndimage.binary_closing(np.pad(drawn, 2), iterations=1)[2:-2, 2:-2]
        for mask in masks[:, number]:
            # The border of a mask is neither inside nor outside.
            inside = (mask[row, column] > 0.25).sum() / max(len(points), 1)
            core = mask > 0.75
            covered = (drawn & core).sum() / max(np.count_nonzero(core), 1)
            found.append(inside * covered)
    return float(np.mean(found)) if found else 1.0


def trust(agreement: float) -> float:
    """Return by what the confidence in guessed surface is multiplied: 1 for a usual agreement."""
    return float(np.clip((agreement - CONTRARY) / (USUAL - CONTRARY), 0.0, 1.0))


def _shrunk(masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return masks (sets, n, h, h) as shares (sets, n, size, size) of their pixels."""
    import cv2

    size = (_SIZE, _SIZE)
    flat = [
        cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
        for mask in masks.reshape(-1, *masks.shape[2:])
    ]
    shares = np.stack(flat).astype(np.float32) / np.float32(255.0)
    return shares.reshape(*masks.shape[:2], _SIZE, _SIZE)
