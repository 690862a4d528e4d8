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


"""``lift3d bench``: methods and baselines on scenes of scanned objects, in one table."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import shlex
import sys
from typing import Any

from lift3d_ros.cli import values
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: Numbers of objects and of scenes with --quick.
_QUICK_OBJECTS = 20
_QUICK_SCENES = 2

#: With --views and --quick: number of objects, and of training objects of the mean.
_QUICK_RINGS = 6
_QUICK_MEAN = 60

#: Values of --views and of --scenes without a number.
_VIEWS = 0
_ROOMS = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        'Rows of results are written as they arrive: the same command resumes an interrupted '
        'run. `lift3d bench node` measures what ROS adds to a lift.'
    )
    measured = parser.add_argument_group('measurement')
    measured.add_argument(
        '--data', type=Path, metavar='DIR',
        help='objects: a folder with manifest.json, or with .glb, .obj, .ply or .stl, metric, z up'
    )
    measured.add_argument(
        '--split', metavar='NAME',
        help='part of the data (default: eval if it exists, else everything)')
    measured.add_argument(
        '--real', type=Path, metavar='DIR',
        help='scene folders of real frames instead; truth.npz may hold the true mesh in the '
        'optical frame, or meta.json name a mesh (below --data) and its pose; without them only '
        'the mesh itself is judged. With --views: published renders with cameras.json, measured '
        'in addition to the objects of --data'
    )
    measured.add_argument(
        '--views', type=values.count, nargs='?', const=_VIEWS, metavar='N',
        help='measure synthesised views instead of shapes; with a number an alias of --scenes'
    )
    measured.add_argument(
        '--weights', default='small', metavar='NAME|PATH',
        help='weights of the methods with networks, or with --views of the synthesised views: a '
        'name of `lift3d weights list`, or a folder (default: small)'
    )
    measured.add_argument(
        '--samples', type=values.count, default=1, metavar='K',
        help='sets of views for each shape, for the methods with networks (default: 1)')
    measured.add_argument(
        '--sampler', default='fast', choices=('fast', 'faithful'),
        help='sampler of the synthesised views (default: fast)')
    measured.add_argument(
        '--steps', type=values.count, default=0, metavar='N',
        help='steps of this sampler (default: those of the sampler); with --distill steps of the '
        'optimisation (default: those of the preset)')
    measured.add_argument(
        '--views-time', action='store_true',
        help='measure only time, memory and throughput of eight views, in a separate process with '
        'all cores')
    measured.add_argument(
        '--five', action='store_true',
        help='measure only time and memory of five objects of one frame, compared with one '
        'object, in a separate process with all cores')
    measured.add_argument(
        '--methods', nargs='+', metavar='NAME',
        help='methods, or single baselines (default: geometric and the default method; with '
        '--views the weights and their coarse volume)')
    measured.add_argument(
        '--ablation', action='store_true',
        help='measure an ablation of one2345 instead: the method with 0 to 32 '
        'synthesised views, with renderings of its coarse volume, with true renders, with four '
        'samples; all tracks if none are named')
    measured.add_argument(
        '--distill', action='store_true',
        help='measure distilled methods on objects with real colours instead: shape, colours and '
        'held-out views, beside their controls in the same run: the feed-forward field that they '
        'start from, the same optimisation without a prior, and one2345. A method NAME starts '
        'from that field, NAME/scratch does not; several names may be joined by commas')
    measured.add_argument(
        '--seeds', type=values.count, default=2, metavar='N',
        help='with --distill: runs of each method on a scene, of successive seeds (default: 2)')
    measured.add_argument(
        '--preset', default='', metavar='NAME',
        help='with --distill: preset of the methods (default: that of each method)')
    measured.add_argument(
        '--no-baselines', action='store_true', help='measure only the named methods')
    scenes = parser.add_argument_group('scenes')
    scenes.add_argument(
        '--track', nargs='+', metavar='TRACK',
        help='rgbd: depth and gravity are given, rgbd-blind: only depth, rgb: only gravity, '
        'rgb-blind: neither; rgb-plane and rgb-size: gravity, and the table or the longest side '
        'of the object, as the scale; real-like: depth, in scenes with the sensors, masks and '
        'situations of real frames (default: rgbd; with --views rgbd and rgb)'
    )
    scenes.add_argument(
        '--mask', default='exact', metavar='KIND',
        help='exact, or noisy: with errors as from a detector (default: exact)'
    )
    scenes.add_argument(
        '--occluded', action='store_true', help='place another object in front')
    scenes.add_argument(
        '--cameras', type=values.count, default=1, metavar='N',
        help='number of cameras with known poses around each object, 1 to 4; methods use all of '
        'them (default: 1)')
    scenes.add_argument(
        '--scenes', type=values.count, nargs='?', const=_ROOMS, metavar='N',
        help='number of scenes of each object (default: 2; with --distill 1); without a number '
        'measure whole scenes of synthetic rooms instead of shapes: what moved cameras reveal, '
        'hidden surfaces, free and occupied space, beside controls in the same run')
    scenes.add_argument(
        '--rooms', type=values.count, default=40, metavar='N',
        help='with --scenes: number of rooms (default: 40)')
    scenes.add_argument(
        '--objects', type=values.count, metavar='N', help='only N objects, evenly spread')
    scenes.add_argument(
        '--quick', action='store_true',
        help=f'{_QUICK_OBJECTS} objects, {_QUICK_SCENES} scenes, geometric and baselines; with '
        f'--views {_QUICK_RINGS} objects, one scene')
    scenes.add_argument(
        '--seed', type=values.seed, default=0, metavar='N',
        help='same seed, same scenes and meshes (default: 0)'
    )
    parser.add_argument(
        '--grasp', action='store_true',
        help='plan grasps of an 80 mm jaw on the predictions and test them on the scans')
    parser.add_argument(
        '--physics', action='store_true',
        help='with --grasp: also test the best grasps in MuJoCo: close on the scan, lift, shake')
    parser.add_argument(
        '--out', type=Path, default=Path('bench_out'), metavar='DIR',
        help='results, report.md, report.json and sheet.png (default: bench_out)'
    )
    parser.add_argument(
        '--compare', type=Path, nargs=2, metavar=('A', 'B'),
        help='measure nothing: print the paired differences of two folders of results over the '
        'same scenes, with standard errors')
    parser.add_argument(
        '--fresh', action='store_true', help='delete the results in --out first')
    parser.add_argument(
        '--jobs', type=values.count, metavar='N', default=_cores(),
        help='number of processes (default: one per core, %(default)s on this machine)')
    parser.add_argument(
        '--timeout', type=values.positive, default=600.0, metavar='S',
        help='seconds after which a lift fails (default: 600)'
    )


def run(options: argparse.Namespace) -> int:
    """
    Run or resume the benchmark; return 0 if every lift succeeded, else 1.

    Raises ``LiftError`` for data, methods, tracks or splits that do not exist, and for a folder
    of results that cannot be written or compared.
    """
    if options.compare:
        from lift3d_ros.bench.reporting.comparison import compare

        print(compare(*options.compare), end='')
        return 0
    if options.views_time or options.five:
        return _run_timing(options)
    if options.distill:
        return _run_distilled(options)
    if options.scenes == _ROOMS:
        return _run_rooms(options)
    if options.views == _VIEWS:
        return _run_views(options)
    from lift3d_ros.bench.ablation import VARIANTS
    from lift3d_ros.bench.baselines import BASELINES
    from lift3d_ros.bench.baselines import MeanShape
    from lift3d_ros.bench.run import run_bench
    from lift3d_ros.bench.scenes import TRACKS
    from lift3d_ros.bench.settings import Settings
    from lift3d_ros.lifter import DEFAULT_METHOD

    methods = options.methods or ['geometric', *([] if options.quick else [DEFAULT_METHOD])]
    baselines = [] if options.no_baselines else [*BASELINES, MeanShape.name]
    tracks = options.track or ['rgbd']
    if options.ablation:
        if options.methods:
            raise LiftError(
                ErrorCode.BAD_REQUEST, '--ablation selects the methods; leave --methods out.'
            )
        methods, baselines, tracks = list(VARIANTS), [], options.track or list(TRACKS)
    settings = Settings(
        predictors=tuple(dict.fromkeys([*baselines, *methods])),
        tracks=tuple(dict.fromkeys(tracks)),
        views=options.scenes or options.views or _QUICK_SCENES,
        **{name: getattr(options, name) for name in (
            'mask', 'occluded', 'grasp', 'seed', 'timeout', 'weights', 'samples', 'physics',
            'cameras')},
    )
    failed = run_bench(
        settings, options.out,
        count=options.objects or (_QUICK_OBJECTS if options.quick else None),
        real=options.real,
        **_run_options(options),
    )
    return 1 if failed else 0


def _run_views(options: argparse.Namespace) -> int:
    from lift3d_ros.bench.views.run import run_views
    from lift3d_ros.bench.views.settings import BASELINES
    from lift3d_ros.bench.views.settings import COARSE
    from lift3d_ros.bench.views.settings import VIEW_TRACKS
    from lift3d_ros.bench.views.settings import ViewsSettings
    from lift3d_ros.bench.views.settings import weights_name

    shapes_only = options.occluded or options.grasp or options.physics or options.cameras > 1
    if options.mask != 'exact' or shapes_only:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'Views are measured with exact masks of unoccluded objects, from one camera; '
            'leave --mask, --occluded, --cameras, --grasp and --physics out.',
        )
    baselines = [] if options.no_baselines else BASELINES
    methods = options.methods or [COARSE, weights_name(options.weights)]
    settings = ViewsSettings(
        predictors=tuple(dict.fromkeys([*baselines, *methods])),
        tracks=tuple(dict.fromkeys(options.track or VIEW_TRACKS)),
        scenes=options.scenes or (1 if options.quick else _QUICK_SCENES),
        **{name: getattr(options, name) for name in (
            'weights', 'sampler', 'steps', 'seed', 'timeout')},
    )
    failed = run_views(
        settings, options.out,
        count=options.objects or (_QUICK_RINGS if options.quick else None),
        official=options.real,
        mean_of=_QUICK_MEAN if options.quick else None,
        **_run_options(options),
    )
    return 1 if failed else 0


def _run_distilled(options: argparse.Namespace) -> int:
    from lift3d_ros.bench.distilled.predictors import CONTROLS
    from lift3d_ros.bench.distilled.predictors import ready_methods
    from lift3d_ros.bench.distilled.run import run_distilled
    from lift3d_ros.bench.distilled.settings import DistilledSettings

    others = (
        'real', 'views', 'ablation', 'occluded', 'grasp', 'physics', 'quick')
    if options.mask != 'exact' or options.cameras > 1 or any(
        getattr(options, name) is not None and getattr(options, name) is not False
        for name in others
    ):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'Distilled methods are measured with exact masks of unoccluded objects of --data, '
            'from one camera; leave --mask, --cameras, '
            f'{", ".join(f"--{name}" for name in others)} out.',
        )
    named = options.methods or ready_methods(options.weights)
    methods = [name for names in named for name in names.split(',') if name]
    controls = [] if options.no_baselines else CONTROLS
    settings = DistilledSettings(
        predictors=tuple(dict.fromkeys([*controls, *methods])),
        tracks=tuple(dict.fromkeys(options.track or ['rgbd'])),
        scenes=options.scenes or 1,
        **{name: getattr(options, name) for name in (
            'seeds', 'seed', 'weights', 'preset', 'steps', 'timeout')},
    )
    failed = run_distilled(
        settings, options.out, count=options.objects, **_run_options(options))
    return 1 if failed else 0


def _run_rooms(options: argparse.Namespace) -> int:
    from lift3d_ros.bench.rooms.candidates import CONTROLS
    from lift3d_ros.bench.rooms.candidates import PRIOR
    from lift3d_ros.bench.rooms.run import run_rooms
    from lift3d_ros.bench.rooms.settings import RoomsSettings
    from lift3d_ros.weights import store

    others = (
        'real', 'views', 'ablation', 'distill', 'occluded', 'grasp', 'physics', 'objects')
    if options.mask != 'exact' or options.cameras > 1 or any(
        getattr(options, name) is not None and getattr(options, name) is not False
        for name in others
    ):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'Whole scenes are measured with exact masks, from one camera; leave --mask, '
            f'--cameras, {", ".join(f"--{name}" for name in others)} out.',
        )
    learnt = [PRIOR] if (store.find(options.weights) / 'scene').is_dir() else []
    settings = RoomsSettings(
        predictors=tuple(dict.fromkeys(options.methods or [*CONTROLS, *learnt])),
        tracks=tuple(dict.fromkeys(options.track or ['masks'])),
        **{name: getattr(options, name) for name in ('rooms', 'seed', 'weights')},
    )
    failed = run_rooms(settings, options.out, **_run_options(options))
    return 1 if failed else 0


def _run_timing(options: argparse.Namespace) -> int:
    from lift3d_ros.bench.timing.harness import isolated_process
    from lift3d_ros.bench.views.settings import weights_name
    from lift3d_ros.lifter import DEFAULT_METHOD
    from lift3d_ros.lifter import LEARNED

    weights = ['--weights', options.weights]
    if options.views_time:
        program, column = 'views', weights_name(options.weights)
        arguments = [*weights, '--seed', str(options.seed)]
    else:
        methods = options.methods or [DEFAULT_METHOD]
        if len(methods) != 1:
            raise LiftError(
                ErrorCode.BAD_REQUEST, '--five measures one method; name one in --methods.')
        program, (column,) = 'five', methods
        arguments = ['--method', column, *(weights if column in LEARNED else [])]
    isolated_process(
        options.out, program, arguments, column=column, data=options.data, split=options.split,
        seed=options.seed, command=_command())
    return 0


def _run_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that the runs over shapes and views share."""
    return {'command': _command(), **{name: getattr(options, name) for name in (
        'data', 'split', 'jobs', 'fresh')}}


def _command() -> str:
    return shlex.join(['lift3d', *sys.argv[1:]])


def _cores() -> int:
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
