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

"""``lift3d show``: results, scenes, bags or a running node in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path

from lift3d_ros.cli import methods
from lift3d_ros.cli import values
from lift3d_ros.errors import bad_request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'paths', nargs='*', type=Path, metavar='PATH',
        help='folder of results (--out of lift3d lift, scene or bag), a scene, or a bag; scenes '
        'and bags without results are lifted when they are shown. With two paths the second '
        'stands beside the first',
    )
    parser.add_argument(
        '--host', default='127.0.0.1', metavar='ADDRESS',
        help='address to listen on; 0.0.0.0: on all networks of this machine, to anybody there, '
        'since the page is neither encrypted nor protected (default: 127.0.0.1)',
    )
    parser.add_argument(
        '--port', type=values.natural, default=8080, metavar='P',
        help='port; 0: a free one, which is printed (default: 8080)',
    )
    parser.add_argument(
        '--open', action='store_true', help='also open the page in the browser of this machine')
    group = parser.add_argument_group('a running node')
    group.add_argument(
        '--ros', action='store_true',
        help='show the results of a running node; a click on its image requests a lift')
    group.add_argument(
        '--server', default='lift3d', metavar='NAME', help='name of the node (default: lift3d)')
    group.add_argument(
        '--image', default='', metavar='TOPIC',
        help='topic of the image that the node receives, Image, or CompressedImage if its name '
        'ends in /compressed (default: no image)',
    )
    group = parser.add_argument_group('bags without results')
    group.add_argument(
        '--target-frame', default='', metavar='F',
        help='frame of /tf with z up, in which the objects stand (default: that of the first '
        'object)',
    )
    group.add_argument(
        '--label-image', action=argparse.BooleanOptionalAction,
        help='each value of the mask is an object (default: if the mask has 16 or 32 bits)',
    )
    methods.add_method_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """
    Serve the page until SIGTERM or Ctrl-C; return 0.

    Raises ``LiftError`` for a path that cannot be shown, an address that cannot be used, and
    without viser.
    """
    if options.ros:
        return _run_live(options)
    if not 1 <= len(options.paths) <= 2:
        raise bad_request(
            f'{len(options.paths)} paths are given; give one to show, two to compare, or '
            '--ros.')
    from lift3d_ros.viewer.server import open_content
    from lift3d_ros.viewer.server import serve

    lifter = methods.make_lifter(options)
    contents = [
        open_content(path, lifter, options.target_frame, options.label_image)
        for path in options.paths]

    serve(
        contents[0], contents[1] if len(contents) > 1 else None, options.host, options.port,
        lambda url: _say(contents[0].title, url, options.open))
    return 0


def _run_live(options: argparse.Namespace) -> int:
    if options.paths:
        raise bad_request('--ros shows a running node; leave the paths out.')
    from lift3d_ros.viewer.live import LiveNode
    from lift3d_ros.viewer.server import serve

    node = LiveNode(options.server, options.image, [])
    try:
        serve(
            node.content(), None, options.host, options.port,
            lambda url: _say(options.server, url, options.open), node.start)
    finally:
        node.close()
    return 0


def _say(title: str, url: str, opens: bool) -> None:
    print(f'{title} at {url}', flush=True)
    if opens:
        import webbrowser

        webbrowser.open(url)
