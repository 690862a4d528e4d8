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

"""``lift3d views --scene``: novel views of whole scenes, colour and depth."""

from __future__ import annotations

import argparse
from pathlib import Path
import time
from typing import Any
from typing import TYPE_CHECKING

from lift3d_ros.cli import scenes
from lift3d_ros.cli.scene_views.output import view_files
from lift3d_ros.cli.scene_views.output import write_views
from lift3d_ros.cli.scene_views.poses import FILMS
from lift3d_ros.cli.scene_views.poses import pose
from lift3d_ros.cli.scene_views.poses import read_poses
from lift3d_ros.cli.scene_views.poses import support_plane
from lift3d_ros.errors import bad_request
from lift3d_ros.runtime import reports

if TYPE_CHECKING:
    from lift3d_ros.progress import ProgressCallback

#: Options of the views of objects that mean nothing for scenes, and their defaults.
_OF_OBJECTS: dict[str, Any] = {
    'azimuth': None, 'ring': None, 'elevation': [], 'radius': None, 'steps': None,
    'elevation_of_input': None, 'assume_elevation': None, 'coarse': False,
}


def run(options: argparse.Namespace) -> int:
    """
    Write the views of every scene; return 0 if all succeeded, else 1.

    Raises ``LiftError`` for missing or invalid poses, options of objects, two scenes of one name
    and an output folder that cannot be created.
    """
    wrong = [name for name, default in _OF_OBJECTS.items() if getattr(options, name) != default]
    if wrong:
        raise bad_request(
            f'--{wrong[0].replace("_", "-")} is of views of objects; views of scenes have --pose '
            'or --poses.')
    poses = [pose(numbers) for numbers in options.pose]
    if options.poses is not None:
        poses += read_poses(options.poses)
    if not poses:
        raise bad_request('Views of a scene need poses; give --pose X Y Z or --poses FILE.')
    named = scenes.named(options.scenes)
    from lift3d_ros.io.scene import read_objects
    from lift3d_ros.lifter import DEFAULT_METHOD
    from lift3d_ros.lifter import Lifter
    from lift3d_ros.progress import Progress
    from lift3d_ros.scene.composition import SceneSettings
    from lift3d_ros.scene.novel_views import check_source
    from lift3d_ros.scene.novel_views import scaled_camera
    from lift3d_ros.scene.radiance.settings import RadianceSettings

    check_source(options.views_from)
    settings = SceneSettings(
        fill=options.fill, weights=options.prior,
        radiance=RadianceSettings(device=options.device))
    lifter = Lifter(options.method or DEFAULT_METHOD)
    if not options.no_objects:
        lifter.check()

    def write(name: str, path: Path, progress: ProgressCallback) -> scenes.Result:
        start = time.monotonic()
        frame, masks = read_objects(path, not options.no_depth)
        scene = lifter.lift_scene(
            frame, {} if options.no_objects else masks, settings, seed=options.seed,
            plane=support_plane(path, frame, options.camera_height),
            progress=lambda stage, done: progress(stage, 0.5 * done))
        film = None if options.film is None else options.out / f'{name}.{options.film}'
        camera = scaled_camera(frame.camera, options.size or frame.camera.width)
        shown = Progress(lambda stage, done: progress(stage, 0.5 + 0.5 * done))
        entries, files, notes = write_views(
            scene, poses, options.out, name, film=film, camera=camera, progress=shown,
            source=options.views_from)
        notes = (*scene.notes, *notes)
        seconds = {**scene.seconds, 'total': time.monotonic() - start}
        report = _report(
            method=lifter.name, scale_source=scene.scale_source, views=entries,
            camera={'width': camera.width, 'height': camera.height, 'K': camera.K.tolist()},
            files=[file.name for file in files], notes=list(notes),
            seconds={stage: round(value, 4) for stage, value in seconds.items()})
        line = (
            f'{name}: {len(entries)} views of the scene, scale {scene.scale_source}, '
            f'{seconds["total"]:.2f} s')
        return report, '\n'.join([line, *(f'{name}: note: {note}' for note in notes)])

    return scenes.work_through(
        named, options.out, write,
        lambda error: _report(ok=False, error=reports.error_entry(error), method=lifter.name),
        lambda name: [
            *view_files(options.out, name), *(options.out / f'{name}.{end}' for end in FILMS)],
        'rendered',
    )


def _report(**entries: Any) -> dict[str, Any]:
    """Return a report with ``entries`` and null for the others."""
    unknown = dict.fromkeys(('method', 'scale_source', 'camera', 'seconds'))
    return {
        'ok': True, 'error': None, **unknown, 'views': [], 'files': [], 'notes': [], **entries,
        'peak_memory_mb': reports.peak_memory()}
