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

"""`lift3d train`: train the packaged weights anew, or go on with a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'what', choices=('views', 'surface'),
        help='the networks that synthesise views, or the surface network over them',
    )
    parser.add_argument(
        '--data', type=Path, required=True, metavar='DIR',
        help='metric scans, z up, with a manifest that has the splits train and eval, or meshes',
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='checkpoints, curves and weights'
    )
    parser.add_argument(
        '--settings', type=Path, metavar='FILE',
        help='YAML, as config/train_views.yaml and config/train_surface.yaml',
    )
    parser.add_argument(
        '--weights', metavar='NAME|PATH',
        help='surface: the small weights over whose views it is learned, which stay as they are '
        '(default: small)',
    )
    parser.add_argument(
        '--from', dest='start', metavar='NAME|PATH',
        help='begin with the networks of these small weights instead of untrained ones; an '
        'interrupted run in --out goes on by --resume alone',
    )
    parser.add_argument('--resume', action='store_true', help='go on with the run in --out')
    parser.add_argument('--minutes', type=float, help='of this run, all networks together')


def run(options: argparse.Namespace) -> int:
    """Train; return the exit status."""
    if options.minutes is not None and not options.minutes > 0.0:
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'--minutes is {options.minutes}; it must be more than 0.'
        )
    if options.what == 'views' and options.weights is not None:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            '--weights is for train surface; to begin with weights that there are, use --from.',
        )
    return _train_views(options) if options.what == 'views' else _train_surface(options)


def _train_views(options: argparse.Namespace) -> int:
    from lift3d_ros.training.runs import read_settings
    from lift3d_ros.training.views import train_views
    from lift3d_ros.training.views import ViewTraining

    settings = ViewTraining()
    if options.settings is not None:
        settings = read_settings(options.settings, settings)
    train_views(
        options.data, options.out, settings, start=_folder(options.start),
        minutes=options.minutes, resume=options.resume, report=_report,
    )
    return 0


def _train_surface(options: argparse.Namespace) -> int:
    from lift3d_ros.training.runs import read_settings
    from lift3d_ros.training.surface_run import SurfaceTraining
    from lift3d_ros.training.surface_run import train_surface

    settings = SurfaceTraining()
    if options.settings is not None:
        settings = read_settings(options.settings, settings)
    views = _folder(options.weights or 'small')
    assert views is not None, 'they have a name'
    train_surface(
        options.data, options.out, settings, views, start=_folder(options.start),
        minutes=options.minutes, resume=options.resume, report=_report,
    )
    return 0


def _folder(name: str | None) -> Path | None:
    """Return the folder of weights that are whole; None for none."""
    from lift3d_ros.weights import store

    if name is None:
        return None
    folder = store.find(name)
    store.check(folder)
    return folder


def _report(line: str) -> None:
    print(line, flush=True)
