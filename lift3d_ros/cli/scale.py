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

"""What the command line says of the scale of objects beside their pictures."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

from lift3d_ros.cli import scenes

if TYPE_CHECKING:
    from lift3d_ros.geometry.shape import Shape
    from lift3d_ros.observation.hints import ScaleHints

#: What a report says of the place of a shape where there is none.
NOTHING: dict[str, Any] = {'mask_iou': None, 'notes': None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    group = parser.add_argument_group('scale, where there is no depth')
    group.add_argument(
        '--plane',
        nargs=4,
        type=float,
        metavar=('NX', 'NY', 'NZ', 'D'),
        help='plane that the objects stand on: N x = D in the optical frame, N its normal, which '
        'points up, D metres, negative since the camera is above; the entry "plane", [NX, NY, NZ, '
        'D], of a camera.json says so for one scene',
    )
    group.add_argument(
        '--known-size', type=float, metavar='METRES', help='longest side of the objects'
    )
    group.add_argument(
        '--scale-source',
        nargs='+',
        metavar='SOURCE',
        help='what may tell the scale, the first one that can does: depth, views, plane, '
        'known_size, and unknown at the end where a shape without scale is better than none; '
        'without a plane it is looked for in the depth around the object (default: depth views '
        'plane known_size)',
    )


def hints(options: argparse.Namespace) -> ScaleHints:
    """Return what the command line says; raises ``LiftError(BAD_REQUEST)`` for what cannot be."""
    from lift3d_ros.observation.hints import Plane
    from lift3d_ros.observation.hints import ScaleHints
    from lift3d_ros.observation.hints import SOURCES

    plane = None if options.plane is None else Plane(options.plane[:3], options.plane[3])
    order = SOURCES if options.scale_source is None else tuple(options.scale_source)
    return ScaleHints(plane=plane, known_size=options.known_size, order=order)


def hints_of_scene(common: ScaleHints, path: Path) -> ScaleHints:
    """Return hints with the plane that a scene names itself; raises ``LiftError``."""
    from lift3d_ros.io.scene import read_plane

    if common.plane is not None:
        return common
    return replace(common, plane=read_plane(path))


def entries(shape: Shape) -> dict[str, Any]:
    """Return what a report says of the place of a shape."""
    return {
        'mask_iou': None if shape.mask_iou is None else scenes.number(shape.mask_iou),
        'notes': list(shape.notes),
    }
