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

"""Films of a mesh that turns once about its upright axis, rendered without a display."""

from __future__ import annotations

from pathlib import Path

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import previews
from lift3d_ros.runtime.films import write_film

#: Elevation of the camera, degrees; high enough to see into a cup.
_ELEVATION_DEG = 22.0

#: Images per second; a turn of ``IMAGES`` takes three seconds.
_RATE_HZ = 16.0

#: Images of a turn.
IMAGES = 48

#: Side of an image, pixels.
SIZE = 320


def write_turntable(mesh: Mesh, path: Path, images: int = IMAGES, size: int = SIZE) -> None:
    """
    Write a film of one turn of a z-up mesh, which starts at azimuth 0 and repeats smoothly.

    The ending of ``path`` is ``.gif`` or ``.mp4``; ``size`` is the side of an image in pixels.
    Raises ``OSError`` if the film cannot be written, and ``ModuleNotFoundError`` without Open3D.
    """
    turns = [(360.0 * index / images, _ELEVATION_DEG) for index in range(images)]
    write_film(previews(mesh, turns, size), path, images, _RATE_HZ)
