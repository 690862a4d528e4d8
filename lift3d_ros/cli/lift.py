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
from collections.abc import Iterable
import json
import math
from pathlib import Path
import resource
import sys
import time
import traceback
from typing import Any
from typing import TYPE_CHECKING

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

if TYPE_CHECKING:
    from lift3d_ros.lifter import Lifter
    from lift3d_ros.progress import ProgressCallback
    from lift3d_ros.shape import Shape

_FORMATS = ('ply', 'glb', 'obj', 'stl')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'scenes',
        nargs='+',
        type=Path,
        metavar='SCENE',
        help='folder with rgb.png, mask.png (not zero = object), camera.json and, where there is '
        'depth, depth.png (16 bit, millimetres)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='DIR',
        help='folder for NAME.ply, in the optical frame of the camera in metres, and NAME.json',
    )
    parser.add_argument('--method', help='one of those that `lift3d methods` lists')
    parser.add_argument(
        '--seed', type=_seed, default=0, help='same seed, same mesh (default: 0)')
    parser.add_argument(
        '--device', choices=('cpu', 'cuda'), default='cpu', help='where to compute (default: cpu)'
    )
    parser.add_argument(
        '--format', choices=_FORMATS, default='ply', help='of the meshes (default: ply)'
    )
    parser.add_argument(
        '--no-depth', action='store_true', help='do as if the scenes had no depth image'
    )


def run(options: argparse.Namespace) -> int:
    """
    Lift every scene; return 0 if all succeeded, else 1.

    Raises ``LiftError`` for an unknown method, a device that is not there, two scenes of one name
    and an output folder that cannot be made.
    """
    scenes = _named(options.scenes)
    from tqdm import tqdm

    from lift3d_ros.lifter import DEFAULT_METHOD
    from lift3d_ros.lifter import Lifter

    lifter = Lifter(options.method or DEFAULT_METHOD, device=options.device)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'The folder {options.out} cannot be made: {error.strerror}.'
        ) from error
    done = 0
    # On a terminal a bar; elsewhere ``write`` is all that remains, one line for each scene.
    bar_format = '{percentage:3.0f} %|{bar}| {elapsed}<{remaining}{postfix}'
    with tqdm(total=len(scenes), disable=None, leave=False, bar_format=bar_format) as bar:
        for index, (name, folder) in enumerate(scenes.items()):

            def show(
                stage: str, fraction: float, name: str = name, index: int = index
            ) -> None:
                bar.set_postfix_str(f'{name}: {stage}', refresh=False)
                bar.update(index + fraction - bar.n)

            report, line = _lift(lifter, name, folder, options, show)
            done += report['ok']
            bar.write(line)
            # Into a pipe or a log each line shall come when its scene is done, not at the end.
            sys.stdout.flush()
    print(f'{done} of {len(scenes)} scenes lifted, results in {options.out}')
    return 0 if done == len(scenes) else 1


def _seed(text: str) -> int:
    seed = int(text)
    if seed < 0:
        raise argparse.ArgumentTypeError('a seed is not negative')
    return seed


def _named(folders: Iterable[Path]) -> dict[str, Path]:
    """Return scene folders by their names; raises ``LiftError`` where two share one."""
    scenes: dict[str, Path] = {}
    for folder in folders:
        resolved = folder.resolve()
        other = scenes.setdefault(resolved.name, resolved)
        if other != resolved:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{other} and {resolved} would both be written to {resolved.name}.*; rename one '
                'or lift them into two folders.',
            )
    return scenes


def _lift(
    lifter: Lifter,
    name: str,
    folder: Path,
    options: argparse.Namespace,
    progress: ProgressCallback,
) -> tuple[dict[str, Any], str]:
    """Lift one scene and write its files; return its report and the line for the terminal."""
    from lift3d_ros.scene import read_scene

    mesh_path = options.out / f'{name}.{options.format}'
    report_path = options.out / f'{name}.json'
    start = time.monotonic()
    try:
        # Nothing of an earlier run may pass for the result of this one.
        mesh_path.unlink(missing_ok=True)
        report_path.unlink(missing_ok=True)
        frame, mask = read_scene(folder, depth=not options.no_depth)
        shape = lifter.lift(frame, mask, seed=options.seed, progress=progress)
        shape.mesh_in_camera().export(
            mesh_path,
            {'confidence': shape.confidence, 'observed': shape.observed.astype('float32')},
        )
        report = _succeeded(shape, time.monotonic() - start)
        size = ' x '.join(f'{1000.0 * side:.0f}' for side in shape.size)
        line = (
            f'{name}: {size} mm, confidence {shape.overall_confidence:.2f}, '
            f'{report["seconds"]["total"]:.2f} s'
        )
        write_report(report_path, report)
    except Exception as error:
        failure = _as_lift_error(error)
        mesh_path.unlink(missing_ok=True)
        report = _failed(failure, lifter.name, time.monotonic() - start)
        line = f'{name}: {failure}'
        try:
            write_report(report_path, report)
        except OSError as full:
            line += f' (nor can {report_path} be written: {full.strerror})'
    except BaseException:
        mesh_path.unlink(missing_ok=True)
        report_path.unlink(missing_ok=True)
        raise
    return report, line


def _as_lift_error(error: Exception) -> LiftError:
    if isinstance(error, LiftError):
        return error
    if isinstance(error, OSError):
        return LiftError(ErrorCode.INTERNAL, f'A file could not be written: {error}.')
    traceback.print_exception(error)
    return LiftError(
        ErrorCode.INTERNAL,
        f'{type(error).__name__}: {error}; please report it with the trace above.',
    )


def _succeeded(shape: Shape, total: float) -> dict[str, Any]:
    return {
        'ok': True,
        'error': None,
        'method': shape.method,
        'scale_source': shape.scale_source,
        'scale_stddev': _number(shape.scale_stddev),
        'elevation_deg': _number(shape.elevation),
        'elevation_source': shape.elevation_source,
        'confidence': _number(shape.overall_confidence),
        'watertight': shape.mesh.is_watertight(),
        # The total is that of the scene, with the files read and written.
        'seconds': {
            **{stage: round(spent, 4) for stage, spent in shape.seconds.items()},
            'total': round(total, 4),
        },
        'peak_memory_mb': _peak_memory(),
    }


def _failed(error: LiftError, method: str, total: float) -> dict[str, Any]:
    return {
        'ok': False,
        'error': {'code': error.code.value, 'message': error.message},
        'method': method,
        'scale_source': None,
        'scale_stddev': None,
        'elevation_deg': None,
        'elevation_source': None,
        'confidence': None,
        'watertight': None,
        'seconds': {'total': round(total, 4)},
        'peak_memory_mb': _peak_memory(),
    }


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON; the file appears under its name only when it is complete."""
    partial = path.with_name(f'.{path.name}.part')
    try:
        partial.write_text(json.dumps(report, indent=1) + '\n')
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _number(value: float) -> float | None:
    """Return a number that JSON can hold."""
    return round(float(value), 6) if math.isfinite(value) else None


def _peak_memory() -> float:
    """Return the most memory that this process has taken so far, in megabytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, 1)
