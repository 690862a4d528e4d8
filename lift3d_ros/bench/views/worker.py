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


"""Where views are synthesised and compared with the true ones: one process of a run."""

from __future__ import annotations

from collections.abc import Callable
import functools
import os
from pathlib import Path
import time
from typing import Any
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.scenes import make_bench_scene
from lift3d_ros.bench.scenes import scene_seed
from lift3d_ros.bench.settings import Task
from lift3d_ros.bench.tracks import TRACKS
from lift3d_ros.bench.views.baselines import depth_warped
from lift3d_ros.bench.views.baselines import MeanViews
from lift3d_ros.bench.views.baselines import Pictures
from lift3d_ros.bench.views.baselines import repeated
from lift3d_ros.bench.views.protocol import in_range
from lift3d_ros.bench.views.protocol import SIZE
from lift3d_ros.bench.views.protocol import UNSEEN
from lift3d_ros.bench.views.published_protocol import official_inquiry
from lift3d_ros.bench.views.score import FIGURES
from lift3d_ros.bench.views.score import score_views
from lift3d_ros.bench.views.settings import COARSE
from lift3d_ros.bench.views.settings import ELEVATION
from lift3d_ros.bench.views.settings import MEAN
from lift3d_ros.bench.views.settings import ViewsSettings
from lift3d_ros.bench.views.task import Inquiry
from lift3d_ros.bench.views.task import scene_inquiry
from lift3d_ros.bench.worker import failure
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.runtime import memory
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.tabletop import TableScene

if TYPE_CHECKING:
    from lift3d_ros.synthesis import ViewSynthesizer

#: The name of the true pictures among those that are kept for the sheet.
TRUTH = 'truth'

_QUALITY = 92


def ring_path(out: Path, track: str, contender: str, scene: str) -> Path:
    """Return where the pictures of a contender are kept for the sheet."""
    return out / 'rings' / f'{track}_{contender}' / f'{scene}.jpg'


class ViewsWorker:
    """Scenes, contenders and results of one process."""

    def __init__(self, settings: ViewsSettings, out: Path, mean: Path | None = None) -> None:
        """Take what a run is; ``mean`` is the file of the mean views."""
        self._settings, self._out, self._mean_path = settings, out, mean
        self._mean: MeanViews | None = None
        self._made: ViewSynthesizer | None = None
        # Neighbouring tasks are of one scene.
        self._scene = functools.lru_cache(maxsize=1)(self._make_scene)
        self._inquiry = functools.lru_cache(maxsize=4)(self._make_inquiry)

    def run(self, task: Task) -> list[Row]:
        """
        Return a row for each track of the task; whatever fails is a row with its error.

        Raises ``LiftError`` where the run cannot go on: ``INTERNAL`` where the pictures for the
        sheet cannot be written, ``WEIGHTS_MISSING`` and ``WEIGHTS_CORRUPT``.
        """
        rows = []
        for track in task.tracks:
            row: Row = {
                'scene': task.scene,
                'object': task.object,
                'track': track,
                'contender': task.contender,
            }
            try:
                row.update(self._measure(task, track))
            except Exception as error:
                if _ends_run(error):
                    raise
                row.update(_failure(error))
            row['peak_memory_mb'] = round(memory.peak_mb(), 1)
            rows.append(row)
        return rows

    def _measure(self, task: Task, track: str) -> Row:
        if track == ELEVATION:
            scene = self._scene(task.subject, task.view)
            return self._elevations(scene)
        inquiry = self._inquiry(task.subject, task.view, track)
        row: Row = {'ok': True, 'error': None}
        seconds: dict[str, float] = {}
        start = time.monotonic()
        try:
            images, alphas = self._look(task.contender, inquiry, seconds)
            scores = score_views(images, alphas, inquiry.truth)
        except Exception as error:
            if _ends_run(error):
                raise
            # What fails has shown nothing: it is scored as white pictures.
            row.update(_failure(error))
            images = np.full_like(inquiry.truth[..., :3], 255)
            alphas = np.zeros_like(inquiry.truth[..., 3])
            scores = score_views(images, alphas, inquiry.truth)
        else:
            seconds.setdefault('total', time.monotonic() - start)
        row['seconds'] = {name: round(s, 4) for name, s in seconds.items()}
        row.update(inquiry.notes)
        row['views'] = [
            {'azimuth': target.azimuth, 'elevation': round(float(elevation), 2), **score}
            for target, elevation, score in zip(
                inquiry.targets, inquiry.elevations, scores, strict=True)
        ]
        unseen = [v for v in row['views'] if in_range(v['azimuth'], UNSEEN)]
        for figure in FIGURES:
            row[figure] = round(float(np.mean([v[figure] for v in unseen or row['views']])), 4)
        if task.view == 0:
            self._keep(task, track, inquiry, images)
        return row

    def _look(self, name: str, inquiry: Inquiry, seconds: dict[str, float]) -> Pictures:
        """Return the pictures of a contender, and the seconds of its stages by the way."""
        if name == 'repeated':
            return repeated(inquiry.view, inquiry.radii)
        if name == 'depth-warped':
            return depth_warped(inquiry.view, inquiry.canonical, inquiry.poses)
        if name == MEAN:
            if self._mean is None:
                assert self._mean_path is not None, 'a run with the mean has made it'
                self._mean = MeanViews.read(self._mean_path)
            return self._mean.look(inquiry.canonical, inquiry.targets)
        synthesizer = self._synthesizer()
        make = synthesizer.coarse if name == COARSE else synthesizer.synthesize
        return self._synthesize(make, inquiry, seconds)

    def _synthesize(
        self, make: Callable[..., Any], inquiry: Inquiry, seconds: dict[str, float]
    ) -> Pictures:
        size = inquiry.truth.shape[1]
        images = np.empty((len(inquiry.poses), size, size, 3), np.uint8)
        alphas = np.empty((len(inquiry.poses), size, size), np.uint8)
        # One call for each distance: all target cameras of a call stand on one sphere.
        for radius in np.unique(inquiry.radii):
            chosen = np.flatnonzero(inquiry.radii == radius)
            views = make(
                inquiry.view.frame, inquiry.view.mask, inquiry.azimuths[chosen],
                inquiry.elevations[chosen], radius=float(radius), seed=self._settings.seed,
                deadline=time.monotonic() + self._settings.timeout,
            )
            if not np.allclose(views.poses, inquiry.poses[chosen], atol=1e-4):
                raise LiftError(
                    ErrorCode.INTERNAL, 'The views are from other cameras than asked for.')
            images[chosen], alphas[chosen] = views.images, views.alphas
            for stage, spent in views.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
        return images, alphas

    def _synthesizer(self) -> ViewSynthesizer:
        """Return the synthesizer, loaded."""
        if self._made is None:
            from lift3d_ros.elevation.estimate import ElevationSettings
            from lift3d_ros.synthesis import ViewSynthesizer

            # What is unsure counts, too: it is measured, not refused.
            elevation = ElevationSettings(max_stddev=360.0)
            made = ViewSynthesizer(
                self._settings.weights,
                sampler=self._settings.sampler,
                steps=self._settings.steps or None,
                elevation=elevation,
                size=SIZE,
            )
            made.load()
            self._made = made
        return self._made

    def _elevations(self, scene: TableScene) -> Row:
        """
        Return by how much the elevation is off, degrees: from gravity, and from the image alone.

        It is measured against that of the ray through the middle of the mask's box, which is what
        gravity is asked for, and against the elevation of the camera over the true middle.
        """
        view = crop_object(scene.frame, scene.mask)
        middle = (view.image.shape[0] - 1) / 2.0
        ray = unit(view.camera.unproject(middle, middle, 1.0))
        # The mesh's own z axis, not the gravity that the frame tells.
        true = float(np.degrees(np.arcsin(-(scene.T_camera_object[:3, 2] @ ray))))
        row: Row = {
            'ok': True, 'error': None,
            'true_elevation_deg': round(true, 3), 'scene_elevation_deg': round(scene.elevation, 3),
        }
        for name, track in (('gravity', 'rgb'), ('image', 'rgb-blind')):
            try:
                views = self._synthesizer().coarse(
                    TRACKS[track].strip(scene.frame), scene.mask, np.zeros(1))
            except LiftError as error:
                if _ends_run(error):
                    raise
                row.update(_failure(error))
                continue
            value = views.canonical.elevation
            row |= {
                f'{name}_deg': round(value, 3),
                f'{name}_stddev_deg': round(views.elevation_stddev, 3),
                f'{name}_error_deg': round(abs(value - true), 4),
                f'{name}_scene_error_deg': round(abs(value - scene.elevation), 4),
            }
        return row

    def _make_scene(self, entry: ObjectEntry, number: int) -> TableScene:
        return make_bench_scene(
            entry, self._load(entry), number, self._settings.seed
        ).scene

    @functools.lru_cache(maxsize=1)  # noqa: B019 (a worker lives as long as its process)
    def _load(self, entry: ObjectEntry) -> Mesh:
        return entry.load()

    def _make_inquiry(self, subject: ObjectEntry | Path, number: int, track: str) -> Inquiry:
        if isinstance(subject, Path):
            return official_inquiry(subject)
        return scene_inquiry(
            self._scene(subject, number),
            TRACKS[track],
            scene_seed(subject, number, self._settings.seed),
        )

    def _keep(
        self, task: Task, track: str, inquiry: Inquiry, images: NDArray[np.uint8]
    ) -> None:
        """Keep pictures for the sheet: those of the contender, the true ones, the input."""
        small = cv2.resize(inquiry.view.image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        true = [small, *inquiry.truth[..., :3]]
        for name, pictures in ((task.contender, list(images)), (TRUTH, true)):
            path = ring_path(self._out, track, name, task.scene)
            partial = path.with_name(f'.{path.stem}.{os.getpid()}.jpg')
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _, data = cv2.imencode(
                    '.jpg', np.concatenate(pictures, axis=1)[..., ::-1],
                    [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
                partial.write_bytes(data.tobytes())
                partial.replace(path)
            except OSError as error:
                raise CannotWriteError(path, error) from error


def _ends_run(error: Exception) -> bool:
    """Tell whether an error is no failure of a scene, but one that all scenes would have."""
    return isinstance(error, CannotWriteError) or (
        isinstance(error, LiftError)
        and error.code in (ErrorCode.WEIGHTS_MISSING, ErrorCode.WEIGHTS_CORRUPT)
    )


def _failure(error: Exception) -> Row:
    """Return the part of a row that tells an error, without the shares of a lift."""
    told = failure(error)
    return {'ok': False, 'error': told['error']}
