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
import time
from typing import Any
from typing import TYPE_CHECKING

from lift3d_ros.cli import exports
from lift3d_ros.cli import inputs
from lift3d_ros.cli import methods
from lift3d_ros.cli import scenes

if TYPE_CHECKING:
    from lift3d_ros.errors import LiftError
    from lift3d_ros.io.scene import Selection
    from lift3d_ros.lifter import Lifter
    from lift3d_ros.observation.hints import ScaleHints
    from lift3d_ros.progress import ProgressCallback
    from lift3d_ros.progress import StepReport
    from lift3d_ros.robot.export import Export

#: The entries of a report, in order.
_ENTRIES = (
    'ok', 'error', 'method', 'scale_source', 'scale_stddev', 'elevation_deg', 'elevation_source',
    'support', 'confidence', 'pass_probability', 'camera_source', 'depth_file', 'views',
    'mask_iou', 'notes', 'watertight', 'frame', 'up_axis', 'pose', 'files', 'stands', 'body',
    'seconds', 'peak_memory_mb',
)


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
    named = scenes.named(options.scenes)
    export = exports.chosen(options)
    exports.check_names(export, options.out, named)
    hints = inputs.scale_hints(options)
    selection = inputs.selection(options)
    lifter = methods.make_lifter(options)
    # Missing weights are an error of the command line, not of a scene. The quick check precedes
    # the import of torch.
    lifter.check()
    lifter.load()

    def lift(name: str, path: Path, progress: ProgressCallback) -> scenes.Result:
        return lift_scene(options, lifter, export, hints, selection, name, path, progress)

    return scenes.work_through(
        named,
        options.out,
        lift,
        lambda error: failure_report(error, lifter.name),
        lambda name: export.files(export.path(options.out, name)),
        'lifted',
    )


def lift_scene(
    options: argparse.Namespace,
    lifter: Lifter,
    export: Export,
    hints: ScaleHints,
    selection: Selection,
    name: str,
    path: Path,
    progress: ProgressCallback,
) -> scenes.Result:
    """Lift one scene and write its files; return its report and line."""
    from lift3d_ros.io.scene import read_further
    from lift3d_ros.io.scene import read_input
    from lift3d_ros.io.scene import read_pose
    from lift3d_ros.lifter import LiftRequest
    from lift3d_ros.robot.export import write

    start = time.monotonic()
    frame = exports.frame_of(options, export)
    T_world_camera = read_pose(path) if frame == 'world' else None
    scene = read_input(path, not options.no_depth, selection)
    source_views = [] if options.no_further else read_further(path, not options.no_depth)
    decoded = time.monotonic() - start
    request = LiftRequest(
        scene.mask,
        hints=inputs.hints_of_scene(hints, path),
        source_views=tuple(source_views),
        min_confidence=options.min_confidence,
        seed=options.seed,
    )
    steps: list[StepReport] = []

    def show(stage: str, fraction: float) -> None:
        progress(f'{stage}: {steps[-1]}' if stage == 'optimise' and steps else stage, fraction)

    shape = lifter.lift(scene.frame, request, progress=show, on_step=steps.append)
    written = write(shape, export.path(options.out, name), export, frame, T_world_camera)
    # The total is that of the scene, including reading and writing.
    seconds = {'decode': decoded, **shape.seconds, 'total': time.monotonic() - start}
    report = _report(
        ok=True,
        camera_source=scene.camera_source,
        depth_file=scene.depth_file,
        views=1 + len(source_views),
        **exports.entries(shape, written),
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
    )
    return report, exports.line(name, shape, seconds['total'])


def failure_report(error: LiftError, method: str) -> dict[str, Any]:
    """Return the report of a scene that could not be lifted."""
    return _report(ok=False, error=scenes.error_entry(error), method=method)


def _report(**values: Any) -> dict[str, Any]:
    """Return a report with ``values`` and null for the other entries."""
    return {**dict.fromkeys(_ENTRIES), **values, 'peak_memory_mb': scenes.peak_memory()}
