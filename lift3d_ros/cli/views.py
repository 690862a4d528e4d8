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

"""``lift3d views``: synthesise novel views of the objects of scenes, or of whole scenes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
import math
from pathlib import Path
import re
import time
from typing import Any
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.cli import scenes
from lift3d_ros.cli import values
from lift3d_ros.cli.scene_views import command
from lift3d_ros.cli.scene_views.fill import add_fill
from lift3d_ros.cli.scene_views.poses import add_camera_height
from lift3d_ros.cli.scene_views.poses import add_poses
from lift3d_ros.diffusion import view_grid
from lift3d_ros.elevation.estimate import ElevationSettings
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io.scene import read_input
from lift3d_ros.runtime import reports
from lift3d_ros.synthesis import MAX_VIEWS
from lift3d_ros.synthesis import ring
from lift3d_ros.synthesis import SAMPLERS
from lift3d_ros.synthesis import ViewSynthesizer

if TYPE_CHECKING:
    from lift3d_ros.geometry.canonical import PosedViews
    from lift3d_ros.progress import ProgressCallback

#: Number of images in a row of the sheet.
_COLUMNS = 4

#: Side of an image of the sheet, pixels.
_TILE_PX = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'scenes',
        nargs='+',
        type=Path,
        metavar='SCENE',
        help='folder with rgb.png, mask.png, camera.json and, if there is depth, depth.png; '
        'or an RGBA image (.png) whose alpha is the mask, with an assumed field of view of '
        f'{ZERO123_FOV:.2f} degrees',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='DIR',
        help='folder for NAME_000.png ... (RGBA), NAME_sheet.png and NAME.json',
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        '--azimuth',
        nargs='+',
        type=values.angle,
        metavar='DEG',
        help='azimuths, counter-clockwise from above, 0 at the input camera',
    )
    where.add_argument(
        '--ring', type=values.count, metavar='N',
        help=f'N views evenly around the object (default: {view_grid.DEFAULT_RING_VIEWS})')
    parser.add_argument(
        '--elevation',
        nargs='+',
        type=values.angle,
        default=[],
        metavar='DEG',
        help="elevations above the object's horizon, one for each azimuth or one for all "
        '(default: elevation of the input camera)',
    )
    parser.add_argument(
        '--radius',
        type=values.finite,
        metavar='R',
        help="distance from the object's centre, in lengths of the object (default: that of the "
        'training views)',
    )
    parser.add_argument(
        '--weights',
        default='small',
        metavar='NAME|PATH',
        help='a name of `lift3d weights list`, or a folder (default: small)',
    )
    parser.add_argument(
        '--sampler', choices=SAMPLERS, default='fast',
        help='fast: few steps; faithful: as published (default: fast)')
    parser.add_argument(
        '--steps', type=values.count, metavar='N',
        help='number of sampling steps (default: set by --sampler)')
    parser.add_argument(
        '--size', type=values.count, metavar='PX',
        help='side of the images, pixels; with --scene their width (default: that of the training '
        'views; with --scene that of the input)')
    scenes.add_seed(parser, 'views')
    parser.add_argument(
        '--device', choices=('cpu', 'cuda'), default='cpu',
        help='device of the networks (default: cpu)',
    )
    parser.add_argument(
        '--no-depth', action='store_true', help='ignore the depth images'
    )
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        '--elevation-of-input',
        type=values.angle,
        metavar='DEG',
        help="elevation of the input camera above the object's horizon, if known",
    )
    known.add_argument(
        '--assume-elevation',
        type=values.angle,
        metavar='DEG',
        help='elevation to use if it cannot be determined (default: fail)',
    )
    parser.add_argument(
        '--coarse', action='store_true',
        help='render the coarse volume instead of denoising the views (small weights)')
    _add_scene_arguments(parser)


def _add_scene_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of views of whole scenes."""
    group = parser.add_argument_group('views of whole scenes')
    group.add_argument(
        '--scene', action='store_true',
        help='render the whole scene, lifted as by `lift3d scene`, from --pose or --poses: '
        'colour in NAME_000.png, depth in NAME_000_depth.png (16 bit, millimetres)')
    group.add_argument(
        '--pose', nargs='+', type=values.finite, action='append', default=[], metavar='N',
        help='X Y Z in metres, or X Y Z QX QY QZ QW: pose of the optical frame of a view in the '
        'optical frame of the camera; repeat for each view')
    add_poses(group)
    add_camera_height(group)
    add_fill(group)
    group.add_argument(
        '--method', metavar='NAME',
        help='method that lifts the objects of the scene, from `lift3d methods` (default: the one '
        'marked there)')
    group.add_argument(
        '--no-objects', action='store_true', help='ignore the masks; every surface is background')


def run(options: argparse.Namespace) -> int:
    """
    Synthesise the views of every scene; return 0 if all succeeded, else 1.

    Raises ``LiftError`` for angles of different numbers, missing or corrupt weights, a device that
    is not available, two scenes of one name and an output folder that cannot be created.
    """
    if options.scene:
        return command.run(options)
    if options.pose or options.poses or options.film or options.camera_height:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            '--pose, --poses, --film and --camera-height are of views of a scene; add --scene, or '
            'give azimuths of the object.')
    named = scenes.named(options.scenes)
    count = options.ring or view_grid.DEFAULT_RING_VIEWS
    azimuths = np.asarray(options.azimuth or ring(count), np.float64)
    if len(azimuths) > MAX_VIEWS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{len(azimuths)} views are requested; request at most {MAX_VIEWS} at once.',
        )
    elevations = view_grid.expand_elevations(options.elevation, len(azimuths))
    synthesizer = _synthesizer(options)
    # Missing weights are an error of the command, not of a scene.
    synthesizer.load()

    def synthesize(name: str, path: Path, progress: ProgressCallback) -> scenes.Result:
        start = time.monotonic()
        scene = read_input(path, not options.no_depth)
        frame, mask, camera_source = scene.frame, scene.mask, scene.camera_source
        synthesize_views = synthesizer.coarse if options.coarse else synthesizer.synthesize
        views = synthesize_views(
            frame,
            mask,
            azimuths,
            elevations,
            radius=options.radius,
            seed=options.seed,
            progress=progress,
        )
        files = [f'{name}_{index:03d}.png' for index in range(len(views.images))]
        for file, image in zip(files, view_grid.rgba(views), strict=True):
            _write_png(options.out / file, image)
        _write_png(options.out / f'{name}_sheet.png', view_sheet(frame, mask, views))
        report = _succeeded(views, files, camera_source, options, time.monotonic() - start)
        return report, (
            f'{name}: {len(files)} views, elevation {views.canonical.elevation:.0f} degrees '
            f'({views.elevation_source}), {report["seconds"]["total"]:.2f} s'
        )

    return scenes.work_through(
        named,
        options.out,
        synthesize,
        lambda error: _failed(error, options),
        lambda name: _images(options.out, name),
        'synthesised',
    )


def view_sheet(
    frame: Frame, mask: NDArray[np.bool_], views: PosedViews
) -> NDArray[np.uint8]:
    """Return the input and the views with captions as one image, uint8 RGB."""
    from lift3d_ros.meshing.render import outline
    from lift3d_ros.meshing.render import sheet

    stddev = views.elevation_stddev
    spread = f' +- {stddev:.0f}' if math.isfinite(stddev) else ''
    caption = f'elevation {views.canonical.elevation:.0f}{spread}, {views.elevation_source}'
    cells = [
        (image, f'azimuth {azimuth:.0f}, elevation {elevation:.0f}')
        for image, azimuth, elevation in zip(
            views.images, views.azimuths, views.elevations, strict=True
        )
    ]
    return sheet(
        [
            [
                (outline(frame.image, mask), 'input and mask'),
                (crop_object(frame, mask).image, caption),
            ],
            *(cells[k:k + _COLUMNS] for k in range(0, len(cells), _COLUMNS)),
        ],
        tile=_TILE_PX,
    )


def _synthesizer(options: argparse.Namespace) -> ViewSynthesizer:
    return ViewSynthesizer(
        options.weights,
        options.device,
        sampler=str(options.sampler),
        steps=options.steps,
        elevation=ElevationSettings(
            assumed=options.assume_elevation, given=options.elevation_of_input
        ),
        size=options.size,
    )


def _succeeded(
    views: PosedViews,
    files: Iterable[str],
    camera_source: str,
    options: argparse.Namespace,
    total: float,
) -> dict[str, Any]:
    camera = views.camera
    entries = zip(
        files, views.azimuths, views.elevations, view_grid.poses_in_camera(views), strict=True)
    return _report(
        options,
        elevation_deg=reports.number(views.canonical.elevation),
        elevation_source=views.elevation_source,
        elevation_stddev=reports.number(views.elevation_stddev),
        scale_source=view_grid.scale_source(views),
        radius=reports.number(views.radius),
        fov=round(ZERO123_FOV, 4),
        views=[
            {
                'file': file,
                'azimuth': reports.number(azimuth),
                'elevation': reports.number(elevation),
                'T_camera_view': pose.tolist(),
            }
            for file, azimuth, elevation, pose in entries
        ],
        camera={'width': camera.width, 'height': camera.height, 'K': camera.K.tolist()},
        camera_source=camera_source,
        # The total includes reading and writing files.
        seconds={
            **{stage: round(value, 4) for stage, value in views.seconds.items()},
            'total': round(total, 4),
        },
    )


def _failed(error: LiftError, options: argparse.Namespace) -> dict[str, Any]:
    return _report(options, ok=False, error=reports.error_entry(error))


def _report(options: argparse.Namespace, **values: Any) -> dict[str, Any]:
    """Return the JSON of a scene, with the defaults of a failure."""
    unknown = dict.fromkeys((
        'elevation_deg', 'elevation_source', 'elevation_stddev', 'scale_source', 'radius', 'fov',
        'views', 'camera', 'camera_source', 'seconds',
    ))
    return {
        'ok': True, 'error': None, 'weights': options.weights,
        'sampler': None if options.coarse else str(options.sampler),
        **unknown, 'views': [], **values, 'peak_memory_mb': reports.peak_memory(),
    }


def _images(out: Path, name: str) -> list[Path]:
    """Return the images of a scene in a folder, of any run."""
    pattern = re.compile(re.escape(name) + r'_(\d{3}|sheet)\.png')
    return [path for path in out.iterdir() if pattern.fullmatch(path.name)]


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB or RGBA image; raises ``OSError`` if that fails."""
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    _, data = cv2.imencode('.png', cv2.cvtColor(image, order))
    path.write_bytes(data.tobytes())
