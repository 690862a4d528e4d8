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

"""Arguments that describe the inputs: which object of an image, and the sources of its scale."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lift3d_ros.cli import values
from lift3d_ros.errors import bad_request

if TYPE_CHECKING:
    from lift3d_ros.io.scene import Selection
    from lift3d_ros.observation.hints import ScaleHints


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of a scene."""
    group = parser.add_argument_group(
        'object selection, if the mask does not define it (one of these; in pixels of the '
        'upright image)')
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        '--box',
        nargs=4,
        type=values.whole,
        metavar=('X', 'Y', 'W', 'H'),
        help='box around the object: left, top, width, height; its mask is segmented by depth '
        'and colour',
    )
    which.add_argument(
        '--point',
        nargs=2,
        type=values.whole,
        metavar=('X', 'Y'),
        help='a pixel on the object: column and row; its mask is segmented by depth and colour',
    )
    which.add_argument(
        '--label',
        type=values.count,
        metavar='N',
        help='value of the object in a mask.png that is a label image; for a colour 65536 red + '
        '256 green + blue',
    )
    group = parser.add_argument_group('scale, if there is no depth')
    group.add_argument(
        '--plane',
        nargs=4,
        type=float,
        metavar=('NX', 'NY', 'NZ', 'D'),
        help='support plane of the objects: N x = D in the optical frame, with the normal N '
        'pointing up and D in metres, negative because the camera is above; the entry "plane", '
        '[NX, NY, NZ, D], of a camera.json sets it for one scene',
    )
    add_scale_arguments(group)


def add_scale_arguments(group: argparse._ArgumentGroup) -> None:
    """Declare the arguments for the scale, except for the plane."""
    group.add_argument(
        '--known-size', type=float, metavar='METRES', help='longest side of the objects'
    )
    group.add_argument(
        '--scale-source',
        nargs='+',
        metavar='SOURCE',
        help='sources of the scale, in order of preference: depth, views, plane, known_size, and '
        'unknown at the end if a shape without scale is better than none; a plane that is not '
        'given is searched in the depth around the object (default: depth views plane '
        'known_size)',
    )


def selection(options: argparse.Namespace) -> Selection:
    """Return the selected object; raises ``LiftError(BAD_REQUEST)`` for an empty box."""
    from lift3d_ros.io.scene import Selection

    box = None
    if options.box is not None:
        x, y, width, height = options.box
        if width < 1 or height < 1:
            raise bad_request(
                f'The box is {width} x {height} pixels; give --box X Y W H with a width and a '
                'height of 1 or more.')
        box = x, y, x + width, y + height
    point = None if options.point is None else (options.point[0], options.point[1])
    return Selection(box, point, options.label)


def scale_hints(options: argparse.Namespace) -> ScaleHints:
    """Return the sources of the scale; raises ``LiftError(BAD_REQUEST)`` for invalid ones."""
    from lift3d_ros.observation.hints import Plane
    from lift3d_ros.observation.hints import ScaleHints
    from lift3d_ros.observation.hints import SOURCES

    given = getattr(options, 'plane', None)
    plane = None if given is None else Plane(given[:3], given[3])
    order = SOURCES if options.scale_source is None else tuple(options.scale_source)
    return ScaleHints(plane=plane, known_size=options.known_size, order=order)
