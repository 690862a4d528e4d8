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

"""``lift3d methods``: list the methods; and the arguments of the commands that use one."""

from __future__ import annotations

import argparse
from typing import Any
from typing import TYPE_CHECKING

from lift3d_ros.cli import values

if TYPE_CHECKING:
    from lift3d_ros.lifter import Lifter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(options: argparse.Namespace) -> int:
    """Print each method with the first line of its description."""
    from lift3d_ros.lifter import DEFAULT_METHOD
    from lift3d_ros.lifter import DISTILLED
    from lift3d_ros.lifter import LEARNED
    from lift3d_ros.lifter import METHODS

    width = max(map(len, METHODS))
    for name, method in METHODS.items():
        text = (method.__doc__ or '').strip().splitlines()
        mark = ' (default)' if name == DEFAULT_METHOD else ''
        print(f'{name:<{width}}  {text[0] if text else ""}{mark}')
    sampling = [name for name in LEARNED if name not in DISTILLED]
    print(
        f'\n--weights NAME|PATH of `lift3d lift` is for {", ".join(LEARNED)}; `lift3d weights '
        f'list` lists the weights. --samples K is for {", ".join(sampling)}; --preset NAME, '
        f'--steps N and --init START are for {", ".join(DISTILLED)}.'
    )
    return 0


def add_method_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that choose a method and its settings."""
    parser.add_argument(
        '--method',
        metavar='NAME',
        help='a name of `lift3d methods` (default: the method marked there)',
    )
    parser.add_argument(
        '--weights',
        metavar='NAME|PATH',
        help='weights of a method with networks: small, packaged; full, the imported published '
        'weights; or a folder (default: small)',
    )
    parser.add_argument(
        '--samples',
        type=int,
        metavar='K',
        help='sets of synthesised views, for a method with networks; the mesh is that of their '
        'mean, and the confidence includes their spread (default: 1)',
    )
    parser.add_argument(
        '--preset',
        metavar='NAME',
        help='settings of a method that optimises: small, for two cores; gpu; faithful, those of '
        'the publication; others by method (default: small)',
    )
    parser.add_argument(
        '--steps',
        type=values.count,
        metavar='N',
        help='steps of a method that optimises (default: those of the preset)',
    )
    parser.add_argument(
        '--init',
        choices=('one2345', 'scratch'),
        help='start of a method that optimises: the field of one2345, or an empty field '
        '(default: one2345)',
    )
    parser.add_argument(
        '--device', choices=('cpu', 'cuda'), default='cpu',
        help='device of the networks (default: cpu)',
    )
    parser.add_argument(
        '--min-confidence',
        type=values.share,
        default=0.0,
        metavar='C',
        help='refuse shapes whose mean confidence is below this, 0 to 1 (default: 0, none)',
    )


def add_remote_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that choose a server."""
    parser.add_argument(
        '--remote', metavar='URL',
        help='address of a `lift3d serve`, whose method lifts; if it fails, --method lifts on '
        'this machine (default: none)',
    )
    parser.add_argument(
        '--remote-timeout', type=values.positive, default=30.0, metavar='SECONDS',
        help='time of an object on the server (default: 30)',
    )


def make_lifter(options: argparse.Namespace) -> Lifter:
    """Return the lifter of the arguments; raises ``LiftError`` as ``Lifter``."""
    from lift3d_ros.lifter import DEFAULT_METHOD
    from lift3d_ros.lifter import Lifter

    remote: dict[str, Any] = {}
    if getattr(options, 'remote', None) is not None:
        remote = {'remote': options.remote, 'remote_timeout': options.remote_timeout}
    return Lifter(options.method or DEFAULT_METHOD, **lifter_arguments(options), **remote)


def lifter_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``Lifter`` but the method."""
    return {
        name: getattr(options, name)
        for name in ('device', 'weights', 'samples', 'preset', 'steps', 'init')
    }
