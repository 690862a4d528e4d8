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


"""Output files of ``lift3d lift``: their arguments, and the line of a shape on the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lift3d_ros.errors import bad_request

if TYPE_CHECKING:
    from lift3d_ros.geometry.shape import Shape
    from lift3d_ros.robot.export import Export

_FORMATS = ('ply', 'glb', 'obj', 'stl', 'urdf', 'mjcf')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    group = parser.add_argument_group('files')
    group.add_argument(
        '--format',
        choices=_FORMATS,
        default='ply',
        help='format of the meshes (default: ply); urdf and mjcf describe a body with mass and '
        'convex collision parts',
    )
    group.add_argument(
        '--frame',
        choices=('camera', 'object', 'world'),
        help='frame of the meshes and clouds: camera, the optical frame; object, at the centre of '
        'the bounding box with z up; world, by "T_world_camera" in camera.json, z up '
        '(default: camera for ply, obj and stl; object for glb, urdf and mjcf; glb has y up '
        'instead of z, as glTF requires)',
    )
    group.add_argument(
        '--texture',
        type=int,
        metavar='SIZE',
        help='bake the colours into a texture with this side in pixels: obj, glb, urdf, mjcf '
        '(default: colours at the vertices; 1024 for urdf and mjcf)',
    )
    group.add_argument(
        '--cloud',
        type=int,
        default=0,
        metavar='N',
        help='also write NAME_cloud.ply: N points with normals, in the frame of the mesh',
    )
    group.add_argument(
        '--density',
        type=float,
        metavar='RHO',
        help='density in kg per cubic metre; the report then has mass, centre of mass and inertia '
        '(default for urdf and mjcf: 1000, that of water)',
    )
    group.add_argument(
        '--convex-parts',
        type=int,
        default=1,
        metavar='N',
        help='largest number of convex parts in urdf and mjcf, up to 16, by coacd (default: 1, '
        'the hull)',
    )
    group.add_argument(
        '--turntable',
        action='store_const',
        const='gif',
        help='also write NAME_turntable.gif, a film of the turning mesh',
    )
    group.add_argument(
        '--turntable-mp4',
        action='store_const',
        const='mp4',
        dest='turntable',
        help='also write NAME_turntable.mp4 instead',
    )


def chosen(options: argparse.Namespace) -> Export:
    """Return the files to write; raises ``LiftError(BAD_REQUEST)`` for invalid settings."""
    from lift3d_ros.robot.export import Export

    export = Export(
        options.format, options.texture, options.cloud, options.density, options.convex_parts,
        options.turntable,
    )
    if export.is_description and options.frame not in (None, 'object'):
        raise bad_request(
            f'A {options.format} file is in the object frame, not in the {options.frame} frame; '
            'leave --frame out, or choose the format ply, glb, obj or stl.')
    return export


def frame_of(options: argparse.Namespace, export: Export) -> str:
    """Return the frame of the meshes."""
    default = 'object' if export.kind == 'glb' or export.is_description else 'camera'
    return options.frame or default


def check_names(export: Export, folder: Path, names: Iterable[str]) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` if two scenes would write the same file."""
    owners: dict[Path, str] = {}
    for name in names:
        for file in export.files(export.path(folder, name)):
            other = owners.setdefault(file, name)
            if other != name:
                raise bad_request(
                    f'{file} would be written for both scenes {other} and {name}; rename one or '
                    'use two output folders.')


def line(name: str, shape: Shape, seconds: float) -> str:
    """Return the output for a shape on the terminal: one line, and one for each note."""
    if shape.scale_source == 'unknown':
        # Without a scale the numbers are proportions.
        longest = float(shape.size.max())
        size = ' x '.join(f'{side / longest:.2f}' for side in shape.size)
        size = f'{size} of its longest side (scale unknown)'
    else:
        size = ' x '.join(f'{1000.0 * side:.0f}' for side in shape.size)
        size = f'{size} mm'
        if shape.scale_source != 'depth':
            size += f' (by {shape.scale_source})'
    text = f'{name}: {size}, confidence {shape.overall_confidence:.2f}, {seconds:.2f} s'
    return '\n'.join([text, *(f'{name}: note: {note}' for note in shape.notes)])
