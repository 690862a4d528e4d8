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
    parser.add_argument('what', choices=('views',), help='which weights')
    parser.add_argument(
        '--data', type=Path, required=True, metavar='DIR',
        help='metric scans, z up, with a manifest that has the splits train and eval, or meshes',
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='checkpoints, curves and weights'
    )
    parser.add_argument(
        '--settings', type=Path, metavar='FILE', help='YAML, as config/train_views.yaml'
    )
    parser.add_argument('--resume', action='store_true', help='go on with the run in --out')
    parser.add_argument('--minutes', type=float, help='of this run, all networks together')


def run(options: argparse.Namespace) -> int:
    """Train; return the exit status."""
    from lift3d_ros.training.views import read_settings
    from lift3d_ros.training.views import train_views
    from lift3d_ros.training.views import ViewTraining

    if options.minutes is not None and not options.minutes > 0.0:
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'--minutes is {options.minutes}; it must be more than 0.'
        )
    settings = ViewTraining() if options.settings is None else read_settings(options.settings)
    train_views(
        options.data, options.out, settings, minutes=options.minutes, resume=options.resume,
        report=lambda line: print(line, flush=True),
    )
    return 0
