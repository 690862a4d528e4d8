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


"""Which object of a picture is meant, on the command line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lift3d_ros.cli import values
from lift3d_ros.errors import bad_request

if TYPE_CHECKING:
    from lift3d_ros.io.scene import Selection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    group = parser.add_argument_group(
        'object selection, if the mask does not define it (one of these; in pixels of the '
        'upright image)')
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        '--box',
        nargs=4,
        type=values.whole,
        metavar=('X', 'Y', 'W', 'H'),
        help='box around the object: left, top, width, height; its mask is found by depth and '
        'colour',
    )
    which.add_argument(
        '--point',
        nargs=2,
        type=values.whole,
        metavar=('X', 'Y'),
        help='a pixel on the object: column and row; its mask is found by depth and colour',
    )
    which.add_argument(
        '--label',
        type=values.count,
        metavar='N',
        help='value of the object in a mask.png that is a label image; for a colour 65536 red + '
        '256 green + blue',
    )


def chosen(options: argparse.Namespace) -> Selection:
    """Return what the command line says; raises ``LiftError(BAD_REQUEST)`` for an empty box."""
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
