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

"""``lift3d lift``: scene folders in, meshes out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lift3d_ros.cli import exports
from lift3d_ros.cli import inputs
from lift3d_ros.cli import methods
from lift3d_ros.cli import scenes

if TYPE_CHECKING:
    from lift3d_ros.batch.scene_files import SceneSettings
    from lift3d_ros.lifter import Lifter
    from lift3d_ros.progress import ProgressCallback
    from lift3d_ros.progress import StepReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'scenes',
        nargs='+',
        type=Path,
        metavar='SCENE',
        help='folder with rgb.png (or .jpg, .webp, ...), mask.png (not zero = object), '
        'camera.json and, if there is depth, depth.png (16 bit, millimetres or the '
        '"depth_unit" of camera.json), .tiff or .npy; or an image file, for which a camera is '
        'assumed and whose alpha is the mask, unless --box or --point is given. Scene folders '
        'below SCENE/views show the same object from other cameras, whose poses are '
        '"T_world_camera" (4 x 4) in each camera.json',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='DIR',
        help='folder for NAME.ply, in metres in the optical frame of the camera or in --frame, '
        'and NAME.json',
    )
    add_settings(parser)
    methods.add_remote_arguments(parser)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Declare how scenes are read and lifted, and which files are written."""
    methods.add_method_arguments(parser)
    scenes.add_seed(parser, 'mesh')
    parser.add_argument(
        '--no-depth', action='store_true', help='ignore depth images'
    )
    parser.add_argument(
        '--no-further', action='store_true', help='ignore the source views below SCENE/views'
    )
    inputs.add_arguments(parser)
    exports.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """
    Lift every scene; return 0 if all succeeded, else 1.

    Raises ``LiftError`` for an unknown method or an option that it does not have, missing or
    corrupt weights, a missing device, two scenes of one name, and an output folder that cannot be
    created.
    """
    from lift3d_ros.batch.scene_files import failure_report

    named = scenes.named(options.scenes)
    settings = scene_settings(options)
    export = settings.export
    exports.check_names(export, options.out, named)
    lifter = methods.make_lifter(options)
    # Missing weights are an error of the command line, not of a scene. The quick check precedes
    # the import of torch.
    lifter.check()
    lifter.load()

    def work(name: str, path: Path, progress: ProgressCallback) -> scenes.Result:
        return lift(lifter, settings, name, path, options.out, progress)

    return scenes.work_through(
        named,
        options.out,
        work,
        lambda error: failure_report(error, lifter.name),
        lambda name: export.files(export.path(options.out, name)),
        'lifted',
    )


def scene_settings(options: argparse.Namespace) -> SceneSettings:
    """Return how scenes are read and written; raises ``LiftError(BAD_REQUEST)``."""
    from lift3d_ros.batch.scene_files import SceneSettings

    export = exports.chosen(options)
    return SceneSettings(
        export=export,
        frame=exports.frame_of(options, export),
        depth=not options.no_depth,
        source_views=not options.no_further,
        hints=inputs.scale_hints(options),
        selection=inputs.selection(options),
        min_confidence=options.min_confidence,
        seed=options.seed,
    )


def lift(
    lifter: Lifter,
    settings: SceneSettings,
    name: str,
    path: Path,
    out: Path,
    progress: ProgressCallback,
) -> scenes.Result:
    """Lift one scene and write its files; return its report and line."""
    from lift3d_ros.batch.scene_files import lift_scene

    steps: list[StepReport] = []

    def show(stage: str, fraction: float) -> None:
        progress(f'{stage}: {steps[-1]}' if stage == 'optimise' and steps else stage, fraction)

    lifted = lift_scene(
        lifter, settings, path, settings.export.path(out, name), progress=show,
        on_step=steps.append)
    seconds = lifted.report['seconds']['total']
    return lifted.report, exports.line(name, lifted.shape, seconds)
