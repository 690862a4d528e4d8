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


"""One process of a run over views: render scenes, synthesise views and score them."""

from __future__ import annotations

from collections.abc import Callable
import functools
from pathlib import Path
import time
from typing import Any
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.processes import failure
from lift3d_ros.bench.processes import TaskWorker
from lift3d_ros.bench.reporting.sheet import picture_path
from lift3d_ros.bench.reporting.sheet import RINGS
from lift3d_ros.bench.reporting.sheet import TRUTH
from lift3d_ros.bench.reporting.sheet import write_jpeg
from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.scenes import make_bench_scene
from lift3d_ros.bench.scenes import scene_seed
from lift3d_ros.bench.scenes import TRACKS
from lift3d_ros.bench.settings import Task
from lift3d_ros.bench.views import baselines
from lift3d_ros.bench.views import protocol
from lift3d_ros.bench.views.published_protocol import render_task
from lift3d_ros.bench.views.settings import COARSE
from lift3d_ros.bench.views.settings import ELEVATION
from lift3d_ros.bench.views.settings import MEAN
from lift3d_ros.bench.views.settings import ViewsSettings
from lift3d_ros.bench.views.task import scene_task
from lift3d_ros.bench.views.task import ViewTask
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.tabletop import TableScene

if TYPE_CHECKING:
    from lift3d_ros.synthesis import ViewSynthesizer


class ViewsWorker(TaskWorker):
    """Scenes, predictors and scores of one process."""

    fatal = (ErrorCode.WEIGHTS_MISSING, ErrorCode.WEIGHTS_CORRUPT)

    def __init__(self, settings: ViewsSettings, out: Path, mean: Path | None = None) -> None:
        """Take the settings of the run; ``mean`` is the file of the mean views."""
        self._settings, self._out, self._mean_path = settings, out, mean
        self._mean: baselines.MeanViews | None = None
        self._synthesizer_loaded: ViewSynthesizer | None = None
        # Consecutive tasks share the scene.
        self._scene = functools.lru_cache(maxsize=1)(self._make_scene)
        self._view_task = functools.lru_cache(maxsize=4)(self._make_view_task)

    def measure(self, task: Task, track: str) -> Row:
        """Return the figures of a task in a track; raises where there is no scene."""
        if track == ELEVATION:
            return self._elevations(self._scene(task.subject, task.view))
        view_task = self._view_task(task.subject, task.view, track)
        row: Row = {'ok': True, 'error': None}
        seconds: dict[str, float] = {}
        start = time.monotonic()
        try:
            images, alphas = self._predict(task.predictor, view_task, seconds)
            scores = protocol.score_views(images, alphas, view_task.truth)
        except Exception as error:
            if self.ends_run(error):
                raise
            # A failure is scored as white images.
            row.update(failure(error))
            images = np.full_like(view_task.truth[..., :3], 255)
            alphas = np.zeros_like(view_task.truth[..., 3])
            scores = protocol.score_views(images, alphas, view_task.truth)
        else:
            seconds.setdefault('total', time.monotonic() - start)
        row['seconds'] = {name: round(s, 4) for name, s in seconds.items()}
        row.update(view_task.notes)
        row['views'] = [
            {'azimuth': target.azimuth, 'elevation': round(float(elevation), 2), **score}
            for target, elevation, score in zip(
                view_task.targets, view_task.elevations, scores, strict=True)
        ]
        unobserved = [view for view in row['views']
                      if protocol.in_range(view['azimuth'], protocol.UNOBSERVED)]
        for figure in protocol.FIGURES:
            values = [view[figure] for view in unobserved or row['views']]
            row[figure] = round(float(np.mean(values)), 4)
        if task.view == 0:
            self._keep(task, track, view_task, images)
        return row

    def _predict(
        self, name: str, view_task: ViewTask, seconds: dict[str, float]
    ) -> baselines.Images:
        """Return the images of a predictor, and add the seconds of its stages."""
        if name == 'repeated':
            return baselines.repeated(view_task.view, view_task.radii)
        if name == 'depth-warped':
            return baselines.depth_warped(view_task.view, view_task.canonical, view_task.poses)
        if name == MEAN:
            if self._mean is None:
                assert self._mean_path is not None, 'the run has made the mean views'
                self._mean = baselines.MeanViews.read(self._mean_path)
            return self._mean.images(view_task.canonical, view_task.targets)
        synthesizer = self._synthesizer()
        make = synthesizer.coarse if name == COARSE else synthesizer.synthesize
        return self._synthesize(make, view_task, seconds)

    def _synthesize(
        self, make: Callable[..., Any], view_task: ViewTask, seconds: dict[str, float]
    ) -> baselines.Images:
        size = view_task.truth.shape[1]
        images = np.empty((len(view_task.poses), size, size, 3), np.uint8)
        alphas = np.empty((len(view_task.poses), size, size), np.uint8)
        # All target cameras of a call stand on one sphere.
        for radius in np.unique(view_task.radii):
            chosen = np.flatnonzero(view_task.radii == radius)
            views = make(
                view_task.view.frame, view_task.view.mask, view_task.azimuths[chosen],
                view_task.elevations[chosen], radius=float(radius), seed=self._settings.seed,
                deadline=time.monotonic() + self._settings.timeout,
            )
            if not np.allclose(views.poses, view_task.poses[chosen], atol=1e-4):
                raise LiftError(
                    ErrorCode.INTERNAL, 'The views are from other cameras than requested.')
            images[chosen], alphas[chosen] = views.images, views.alphas
            for stage, spent in views.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
        return images, alphas

    def _synthesizer(self) -> ViewSynthesizer:
        """Return the synthesizer, loaded."""
        if self._synthesizer_loaded is None:
            from lift3d_ros.elevation.estimate import ElevationSettings
            from lift3d_ros.synthesis import ViewSynthesizer

            synthesizer = ViewSynthesizer(
                self._settings.weights,
                sampler=self._settings.sampler,
                steps=self._settings.steps or None,
                # Uncertain elevations are measured, not refused.
                elevation=ElevationSettings(max_stddev=360.0),
                size=protocol.SIZE,
            )
            synthesizer.load()
            self._synthesizer_loaded = synthesizer
        return self._synthesizer_loaded

    def _elevations(self, scene: TableScene) -> Row:
        """
        Return the error of the elevation, degrees: from gravity, and from the image alone.

        The reference is the elevation of the ray through the middle of the mask's box, and the
        elevation of the camera over the true middle.
        """
        view = crop_object(scene.frame, scene.mask)
        middle = (view.image.shape[0] - 1) / 2.0
        ray = unit(view.camera.unproject(middle, middle, 1.0))
        # The z axis of the mesh, not the gravity of the frame.
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
                if self.ends_run(error):
                    raise
                row.update(failure(error))
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

    def _make_view_task(self, subject: ObjectEntry | Path, number: int, track: str) -> ViewTask:
        if isinstance(subject, Path):
            return render_task(subject)
        return scene_task(
            self._scene(subject, number),
            TRACKS[track],
            scene_seed(subject, number, self._settings.seed),
        )

    def _keep(
        self, task: Task, track: str, view_task: ViewTask, images: NDArray[np.uint8]
    ) -> None:
        """Write images for the sheet: those of the predictor, the true ones, the input."""
        size = (protocol.SIZE, protocol.SIZE)
        small = cv2.resize(view_task.view.image, size, interpolation=cv2.INTER_AREA)
        true = [small, *view_task.truth[..., :3]]
        for name, row in ((task.predictor, list(images)), (TRUTH, true)):
            path = picture_path(self._out, RINGS, track, name, task.scene)
            try:
                write_jpeg(path, np.concatenate(row, axis=1), 92)
            except OSError as error:
                raise CannotWriteError(path, error) from error
