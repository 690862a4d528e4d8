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

"""``lift3d scene``: the whole frame, what is behind it, and novel views of it."""

from __future__ import annotations

import argparse
from pathlib import Path
import time
from typing import Any
from typing import TYPE_CHECKING

from lift3d_ros.cli import scenes
from lift3d_ros.cli import values
from lift3d_ros.cli.scene_views.fill import add_fill
from lift3d_ros.cli.scene_views.output import view_files
from lift3d_ros.cli.scene_views.output import write_views
from lift3d_ros.cli.scene_views.poses import add_camera_height
from lift3d_ros.cli.scene_views.poses import add_poses
from lift3d_ros.cli.scene_views.poses import FILMS
from lift3d_ros.cli.scene_views.poses import read_poses
from lift3d_ros.cli.scene_views.poses import support_plane
from lift3d_ros.runtime import reports

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lift3d_ros.lifter import Lifter
    from lift3d_ros.progress import ProgressCallback
    from lift3d_ros.scene.composition import SceneSettings
    from lift3d_ros.scene.scene import Scene

#: The entries of a report, in order.
_ENTRIES = (
    'ok', 'error', 'scene', 'method', 'scale_source', 'objects', 'planes', 'observed', 'free',
    'occupied', 'predicted', 'unknown', 'resolution', 'views', 'depth_file', 'notes', 'files',
    'seconds', 'peak_memory_mb',
)

#: Files of a mesh.
_FORMATS = ('ply', 'glb', 'obj', 'stl')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'scenes', nargs='+', type=Path, metavar='SCENE',
        help='folder with rgb.png, depth.png and camera.json as for `lift3d lift`; the masks of '
        'the objects are SCENE/masks/NAME.png, or labels in mask.png',
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='folder for NAME.ply (metres, optical frame of the camera), NAME.bt (OctoMap), '
        'NAME_voxels.npz, NAME_height.npz and .png, novel views, and NAME.json',
    )
    parser.add_argument(
        '--method', metavar='NAME',
        help='method for the objects, from `lift3d methods` (default: the one marked there)')
    parser.add_argument(
        '--format', choices=_FORMATS, default='ply', help='format of the mesh (default: ply)')
    parser.add_argument(
        '--no-objects', action='store_true',
        help='ignore the masks; every surface is background')
    parser.add_argument(
        '--no-completion', action='store_true', help='predict no hidden background')
    add_fill(parser)
    parser.add_argument(
        '--preset', metavar='NAME',
        help='with --fill zeronvs: small, or for published weights faithful or gpu (default: '
        'small, gpu)')
    parser.add_argument(
        '--steps', type=values.count, metavar='N',
        help='with --fill zeronvs: steps of the optimisation (default: those of the preset)')
    parser.add_argument(
        '--device', default='cpu', metavar='NAME',
        help='with --fill zeronvs: cpu or cuda (default: cpu)')
    parser.add_argument(
        '--budget', type=values.positive, metavar='S',
        help='seconds for a scene; objects that are not lifted after 70 %% of them stay '
        'background, and --fill zeronvs stops earlier')
    parser.add_argument(
        '--width', type=values.count, default=320, metavar='PX',
        help='reduce wider depth images to this width, pixels (default: 320)')
    parser.add_argument(
        '--max-depth', type=values.positive, default=10.0, metavar='M',
        help='ignore depth readings beyond this distance, metres (default: 10)')
    parser.add_argument(
        '--resolution', type=values.positive, metavar='M',
        help='side of a voxel, metres (default: a 128th of the scene)')
    parser.add_argument(
        '--views', type=values.count, metavar='N',
        help='also render N novel views from a path around the scene')
    parser.add_argument(
        '--degrees', type=values.positive, default=25.0, metavar='D',
        help='extent of the path to each side of the camera, degrees (default: 25)')
    add_poses(parser)
    parser.add_argument('--no-depth', action='store_true', help='ignore the depth images')
    add_camera_height(parser)
    scenes.add_seed(parser, 'scene')


def run(options: argparse.Namespace) -> int:
    """
    Lift every scene; return 0 if all succeeded, else 1.

    Raises ``LiftError`` for an unknown method, missing or corrupt weights, two scenes of one name,
    an unreadable file of poses, and an output folder that cannot be created.
    """
    named = scenes.named(options.scenes)
    poses = None if options.poses is None else read_poses(options.poses)
    from lift3d_ros.lifter import DEFAULT_METHOD
    from lift3d_ros.lifter import Lifter
    from lift3d_ros.scene.composition import SceneSettings
    from lift3d_ros.scene.novel_views import check_source
    from lift3d_ros.scene.radiance.settings import RadianceSettings

    check_source(options.views_from)
    settings = SceneSettings(
        options.width, options.max_depth, options.resolution, not options.no_completion,
        options.fill, options.prior,
        radiance=RadianceSettings(options.preset, options.steps, options.device))
    lifter = Lifter(options.method or DEFAULT_METHOD)
    if not options.no_objects:
        lifter.check()

    def lift(name: str, path: Path, progress: ProgressCallback) -> scenes.Result:
        return _lift_scene(options, lifter, settings, poses, name, path, progress)

    return scenes.work_through(
        named,
        options.out,
        lift,
        lambda error: _report(ok=False, error=reports.error_entry(error), method=lifter.name),
        lambda name: _results(options.out, name),
        'completed',
    )


def _lift_scene(
    options: argparse.Namespace,
    lifter: Lifter,
    settings: SceneSettings,
    poses: list[NDArray[np.float64]] | None,
    name: str,
    path: Path,
    progress: ProgressCallback,
) -> scenes.Result:
    from lift3d_ros.io.scene import read_objects
    from lift3d_ros.scene.files import write_scene
    from lift3d_ros.scene.voxel_map import Occupancy

    start = time.monotonic()
    frame, masks = read_objects(path, not options.no_depth)
    decoded = time.monotonic() - start
    scene = lifter.lift_scene(
        frame, {} if options.no_objects else masks, settings, seed=options.seed,
        plane=support_plane(path, frame, options.camera_height), budget=options.budget,
        progress=progress)
    files = write_scene(scene, options.out, name, options.format)
    views, more, doubts = _views(options, scene, poses, name)
    notes = (*scene.notes, *doubts)
    seconds = {'decode': decoded, **scene.seconds, 'total': time.monotonic() - start}
    grid = scene.voxels
    report = _report(
        ok=True,
        scene=str(path),
        method=lifter.name,
        scale_source=scene.scale_source,
        objects={name: _object(shape) for name, shape in scene.objects.items()},
        planes=[
            {'normal': plane.normal.round(6).tolist(), 'offset': round(plane.offset, 6),
             'stddev': round(plane.stddev, 6), 'carries': plane.carries}
            for plane in scene.planes],
        observed=round(float(scene.surface.observed.mean()), 4),
        **{state.name.lower(): round(grid.share(state), 4) for state in Occupancy},
        resolution=round(grid.resolution, 6),
        views=views,
        notes=list(notes),
        files=[file.name for file in (*files, *more)],
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
    )
    line = (
        f'{name}: {len(scene.shapes)} of {len(masks)} objects, {len(scene.planes)} planes, '
        f'{report["free"]:.0%} of {grid.states.size} voxels free, {seconds["total"]:.2f} s')
    return report, '\n'.join([line, *(f'{name}: note: {note}' for note in notes)])


def _views(
    options: argparse.Namespace,
    scene: Scene,
    poses: list[NDArray[np.float64]] | None,
    name: str,
) -> tuple[list[dict[str, Any]], list[Path], tuple[str, ...]]:
    """Write the novel views; return their entries in the report, the files and notes."""
    from lift3d_ros.scene.novel_views import orbit

    if poses is None and options.views is None and options.film is None:
        return [], [], ()
    if poses is None:
        poses = orbit(scene, options.degrees, options.views or 31)
    film = None if options.film is None else options.out / f'{name}.{options.film}'
    return write_views(
        scene, poses, options.out, f'{name}_view', film=film, source=options.views_from)


def _object(shape: Any) -> dict[str, Any]:
    """Return the entry of an object in the report: its pose and size, or its error."""
    from lift3d_ros.errors import LiftError

    if isinstance(shape, LiftError):
        return {'ok': False, 'error': reports.error_entry(shape)}
    return {
        'ok': True,
        'T_camera_object': shape.T_camera_object.round(6).tolist(),
        'size': shape.size.round(6).tolist(),
        'confidence': reports.number(shape.overall_confidence),
        'support': shape.support,
        'notes': list(shape.notes),
    }


def _results(out: Path, name: str) -> list[Path]:
    """Return every file of a scene in the output folder except its report."""
    from lift3d_ros.scene.files import HEIGHT
    from lift3d_ros.scene.files import OCTOMAP
    from lift3d_ros.scene.files import VOXELS

    ends = (*(f'.{kind}' for kind in (*_FORMATS, *FILMS)), OCTOMAP, VOXELS, HEIGHT)
    fixed = [out / f'{name}{end}' for end in ends]
    return [
        *fixed, (out / f'{name}{HEIGHT}').with_suffix('.png'),
        *view_files(out, f'{name}_view')]


def _report(**entries: Any) -> dict[str, Any]:
    """Return a report with ``entries`` and null for the others."""
    return {**dict.fromkeys(_ENTRIES), **entries, 'peak_memory_mb': reports.peak_memory()}
