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

"""``lift3d train``: train the packaged weights, or resume a run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lift3d_ros.errors import bad_request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'what',
        choices=('views', 'surface', 'depth-surface', 'prior', 'encoder', 'scene'),
        help='the view networks, the surface network, that for one view with depth, the unposed '
        'diffusion prior, the image encoder, or the prior of whole scenes',
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
        help='YAML file such as config/train_views.yaml',
    )
    parser.add_argument(
        '--weights', metavar='NAME|PATH',
        help='surface, depth-surface: the small weights whose views and coarse volumes are the '
        'input; prior, encoder, scene: the small weights that it is added to (default: small)',
    )
    parser.add_argument(
        '--extra', type=Path, action='append', default=[], metavar='DIR',
        help='depth-surface, prior, encoder, scene: a further folder of objects; repeatable',
    )
    parser.add_argument(
        '--from', dest='start', metavar='NAME|PATH',
        help='initialise with the networks of these small weights; to continue an interrupted '
        'run, use --resume',
    )
    parser.add_argument('--resume', action='store_true', help='resume the run in --out')
    parser.add_argument('--minutes', type=float, help='time limit of this run, for all networks')


def run(options: argparse.Namespace) -> int:
    """Train; return the exit status."""
    if options.minutes is not None and not options.minutes > 0.0:
        raise bad_request(f'--minutes is {options.minutes}; it must be more than 0.')
    if options.what == 'views' and options.weights is not None:
        raise bad_request(
            '--weights is no option of train views; to initialise with weights, use --from.')
    if options.what in ('views', 'surface') and options.extra:
        raise bad_request(
            '--extra is an option of train depth-surface, prior, encoder and scene.')
    from lift3d_ros.training.runs import read_settings

    settings: Any
    train: Callable[..., Path]
    weights: tuple[Any, ...] = ()
    more: dict[str, Any] = {}
    if options.what == 'views':
        from lift3d_ros.training.views import train_views
        from lift3d_ros.training.views import ViewTraining

        settings, train = ViewTraining(), train_views
    elif options.what == 'encoder':
        from lift3d_ros.training.prior.encoder import EncoderTraining
        from lift3d_ros.training.prior.encoder import train_encoder

        settings, train = EncoderTraining(), train_encoder
        weights = (_folder(options.weights or 'small'),)
        more = {'extra': options.extra}
    elif options.what == 'depth-surface':
        from lift3d_ros.training.depth_surface.run import DepthSurfaceTraining
        from lift3d_ros.training.depth_surface.run import train_depth_surface

        settings, train = DepthSurfaceTraining(), train_depth_surface
        weights = (_folder(options.weights or 'small'),)
        more = {'extra': options.extra}
    elif options.what == 'prior':
        from lift3d_ros.training.prior.run import PriorTraining
        from lift3d_ros.training.prior.run import train_prior

        settings, train = PriorTraining(), train_prior
        weights = (_folder(options.weights or 'small'),)
        more = {'extra': options.extra}
    elif options.what == 'scene':
        from lift3d_ros.training.scene.run import SceneTraining
        from lift3d_ros.training.scene.run import train_scene

        settings, train = SceneTraining(), train_scene
        weights = (_folder(options.weights or 'small'),)
        more = {'extra': options.extra}
    else:
        from lift3d_ros.training.surface_run import SurfaceTraining
        from lift3d_ros.training.surface_run import train_surface

        settings, train = SurfaceTraining(), train_surface
        weights = (_folder(options.weights or 'small'),)
    if options.settings is not None:
        settings = read_settings(options.settings, settings)
    train(
        options.data, options.out, settings, *weights, start=_folder(options.start),
        minutes=options.minutes, resume=options.resume,
        report=lambda line: print(line, flush=True), **more,
    )
    return 0


def _folder(name: str | None) -> Path | None:
    """Return the folder of checked weights, None without a name."""
    from lift3d_ros.weights import store

    if name is None:
        return None
    folder = store.find(name)
    store.check(folder)
    return folder
