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

"""Bounds of the size of a scene by the memory that it may take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lift3d_ros.geometry import Camera
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.voxel_map import MAX_VOXELS

#: Peak memory, bytes, for each voxel and each pixel of the layers, by measurement: maps of 0.7 to
#: 2 million voxels, and layers of 320 to 1280 pixels width.
BYTES_PER_VOXEL, BYTES_PER_PIXEL = 110, 720

#: Share of the rest that the voxels and the layers may take each, and megabytes for what does not
#: depend on them, such as masks of the size of the frame.
_SHARE, _FIXED_MB = 0.5, 25.0

#: Smallest bounds: of the voxels, and of the width of the layers, pixels.
_MIN_VOXELS, _MIN_WIDTH = 20_000, 64


def bounded(
    settings: SceneSettings, camera: Camera, megabytes: float
) -> tuple[SceneSettings, tuple[str, ...]]:
    """
    Return settings with which lifting a scene takes about ``megabytes`` (1e6 bytes) at most.

    The memory of the networks of a method is not counted. The notes name what is coarser.
    """
    share = _SHARE * 1e6 * max(megabytes - _FIXED_MB, 0.0)
    voxels = int(np.clip(share / BYTES_PER_VOXEL, _MIN_VOXELS, MAX_VOXELS))
    aspect = camera.width / camera.height
    width = max(_MIN_WIDTH, int(np.sqrt(aspect * share / BYTES_PER_PIXEL)))
    notes: tuple[str, ...] = ()
    if width < min(settings.width, camera.width):
        notes = (
            f'The memory budget of {megabytes:g} MB reduces the frame to a width of at most '
            f'{width} pixels.',)
        settings = replace(settings, width=width)
    return replace(settings, max_voxels=min(voxels, settings.max_voxels)), notes
