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


"""``lift3d serve``: lift for several robots on one machine."""

from __future__ import annotations

import argparse

from lift3d_ros.cli import methods
from lift3d_ros.cli import values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        '--host', default='127.0.0.1', metavar='ADDRESS',
        help='address to listen on; 0.0.0.0: on all networks of this machine, to anybody there, '
        'since requests are neither encrypted nor authenticated (default: 127.0.0.1)',
    )
    parser.add_argument(
        '--port', type=values.natural, default=8300, metavar='P',
        help='port; 0: a free one, which is printed (default: 8300)',
    )
    parser.add_argument(
        '--queue', type=values.count, default=64, metavar='N',
        help='objects that wait at most; further requests are refused with BUSY (default: 64)',
    )
    parser.add_argument(
        '--batch', type=values.count, metavar='N',
        help='objects of all requests that are lifted together (default: those that the method '
        'lifts at once)',
    )
    parser.add_argument(
        '--batch-wait', type=values.positive, default=0.005, metavar='SECONDS',
        help='time that a batch waits for further requests (default: 0.005)',
    )
    methods.add_method_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """
    Serve until SIGTERM or Ctrl-C; return 0.

    Raises ``LiftError`` as ``serve``.
    """
    from lift3d_ros.serve.batching import BatchingSettings
    from lift3d_ros.serve.run import serve

    lifter = methods.make_lifter(options)

    def ready(url: str) -> None:
        print(f'{lifter.name} at {url}', flush=True)

    serve(
        lifter, options.host, options.port,
        BatchingSettings(options.queue, options.batch, options.batch_wait), ready)
    return 0
