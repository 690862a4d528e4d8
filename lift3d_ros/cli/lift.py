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
from lift3d_ros.cli import scenes
from lift3d_ros.cli import values

if TYPE_CHECKING:
    from lift3d_ros.geometry.shape import Shape
    from lift3d_ros.io.scene import Selection
    from lift3d_ros.lifter import Lifter
    from lift3d_ros.observation.hints import ScaleHints
    from lift3d_ros.progress import ProgressCallback
    from lift3d_ros.robot.export import Export

#: The entries of a report, in order.
_ENTRIES = (
    'ok', 'error', 'method', 'scale_source', 'scale_stddev', 'elevation_deg', 'elevation_source',
    'confidence', 'pass_probability', 'camera_source', 'depth_file', 'views', 'mask_iou', 'notes',
    'watertight', 'frame', 'up_axis', 'pose', 'files', 'stands', 'body', 'seconds',
    'peak_memory_mb',
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
        help='sets of synthesised views of a method with networks; the mesh is that of their '
        'mean, the confidence includes their spread (default: 1)',
    )
    scenes.add_seed(parser, 'mesh')
    parser.add_argument(
        '--device', choices=('cpu', 'cuda'), default='cpu',
        help='device of the networks (default: cpu)',
    )
    parser.add_argument(
        '--no-depth', action='store_true', help='ignore depth images'
    )
    parser.add_argument(
        '--no-further', action='store_true', help='ignore the source views below SCENE/views'
    )
    parser.add_argument(
        '--min-confidence',
        type=values.share,
        default=0.0,
        metavar='C',
        help='refuse shapes whose mean confidence is below this, 0 to 1 (default: 0, none)',
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
    from lift3d_ros.lifter import DEFAULT_METHOD
    from lift3d_ros.lifter import Lifter

    hints = inputs.scale_hints(options)
    selection = inputs.selection(options)
    lifter = Lifter(
        options.method or DEFAULT_METHOD,
        device=options.device,
        weights=options.weights,
        samples=options.samples,
    )
    # Missing weights are an error of the command line, not of a scene. The quick check precedes
    # the import of torch.
    lifter.check()
    lifter.load()

    def lift(name: str, path: Path, progress: ProgressCallback) -> scenes.Result:
        return _lift_scene(options, lifter, export, hints, selection, name, path, progress)

    return scenes.work_through(
        named,
        options.out,
        lift,
        lambda error: _report(ok=False, error=scenes.error_entry(error), method=lifter.name),
        lambda name: export.files(export.path(options.out, name)),
        'lifted',
    )


def _lift_scene(
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
    shape = lifter.lift(scene.frame, request, progress=progress)
    written = write(shape, export.path(options.out, name), export, frame, T_world_camera)
    # The total is that of the scene, including reading and writing.
    seconds = {'decode': decoded, **shape.seconds, 'total': time.monotonic() - start}
    report = _report(
        ok=True,
        method=shape.method,
        scale_source=shape.scale_source,
        scale_stddev=scenes.number(shape.scale_stddev),
        elevation_deg=scenes.number(shape.elevation),
        elevation_source=shape.elevation_source,
        confidence=scenes.number(shape.overall_confidence),
        pass_probability=scenes.number(shape.pass_probability),
        camera_source=scene.camera_source,
        depth_file=scene.depth_file,
        views=1 + len(source_views),
        mask_iou=scenes.number(shape.mask_iou),
        notes=list(shape.notes),
        watertight=shape.mesh.is_watertight(),
        **exports.entries(shape, written),
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
    )
    return report, _line(name, shape, report)


def _report(**values: Any) -> dict[str, Any]:
    """Return a report with ``values`` and null for the other entries."""
    return {**dict.fromkeys(_ENTRIES), **values, 'peak_memory_mb': scenes.peak_memory()}


def _line(name: str, shape: Shape, report: dict[str, Any]) -> str:
    """Return the output for a scene on the terminal: one line, and one for each note."""
    if shape.scale_source == 'unknown':
        # Without a scale the numbers are proportions.
        longest = float(shape.size.max())
        size = ' x '.join(f'{side / longest:.2f}' for side in shape.size)
        size = f'{size} of its longest side (scale unknown)'
    else:
        size = ' x '.join(f'{1000.0 * side:.0f}' for side in shape.size)
        size = f'{size} mm'
        if shape.scale_source != 'depth':
            size += f' (by {shape.scale_source})'
    line = (
        f'{name}: {size}, confidence {shape.overall_confidence:.2f}, '
        f'{report["seconds"]["total"]:.2f} s'
    )
    return '\n'.join([line, *(f'{name}: note: {note}' for note in shape.notes)])
