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

"""One process of a run: render scenes, run predictors and score the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import functools
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench import scenes
from lift3d_ros.bench.prediction import Predictor
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.predictors import make_predictor
from lift3d_ros.bench.processes import TaskWorker
from lift3d_ros.bench.real_frames import read_real
from lift3d_ros.bench.reporting import sheet
from lift3d_ros.bench.reporting.sides import six_sides
from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.score import FAILED
from lift3d_ros.bench.score import judge
from lift3d_ros.bench.score import score
from lift3d_ros.bench.score import score_grasps
from lift3d_ros.bench.settings import REAL
from lift3d_ros.bench.settings import SCAN
from lift3d_ros.bench.settings import Settings
from lift3d_ros.bench.settings import Task
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import METHODS
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.real_like import RealLikeScene

#: File of the mean shape of the training split, in the folder of results.
MEAN_SHAPE = 'mean_shape.npz'


@dataclass(frozen=True, eq=False)
class View:
    """
    A frame and a mask to lift, the truth, and the scene's entries of a row.

    ``further`` are frames and masks of other cameras, and their poses in the first one's frame.
    """

    frame: Frame
    mask: NDArray[np.bool_]
    truth: Truth | None
    notes: dict[str, Any] = field(default_factory=dict)
    further: tuple[tuple[Frame, NDArray[np.bool_], Array], ...] = ()


class Worker(TaskWorker):
    """Scenes, predictors and scores of one process."""

    failed = FAILED

    def __init__(
        self, settings: Settings, objects: Sequence[ObjectEntry], out: Path, data: Path
    ) -> None:
        """
        Take the settings of the run.

        ``objects`` are candidates for occluders, ``out`` is the folder of results with the mean
        shape, ``data`` that of the meshes that real frames name.
        """
        self._settings, self._objects = settings, objects
        self._out, self._data = out, data
        self._predictors: dict[str, Predictor] = {}
        self._warm: set[str] = set()
        # Consecutive tasks share the scene and the object.
        self._mesh = functools.lru_cache(maxsize=2)(_load)
        self._view = functools.lru_cache(maxsize=2)(self._make_view)

    def measure(self, task: Task, track: str) -> Row:
        """Return the figures of a task in a track; raises ``LiftError``."""
        given = scenes.TRACKS.get(track)
        view = self._view(
            task.subject, task.view, *((given.generator, given.mask) if given else ()))
        row: Row = {'ok': True, 'error': None}
        if task.predictor == SCAN:
            assert view.truth is not None
            return row | score_grasps(view.truth.mesh, view.truth, self._settings.physics)
        strip = given.strip if given else (lambda frame: frame)
        frame = strip(view.frame)
        hints = None
        if view.truth is not None and given:
            hints = given.hints(view.truth.mesh, view.truth.T_camera_object)
        further = [SourceView(crop_object(strip(other), mask), T)
                   for other, mask, T in view.further]
        start = time.monotonic()
        prediction = self._predictor(task.predictor).predict(
            frame, view.mask, self._settings.seed,
            scale=hints, further=further, truth=view.truth)
        seconds = prediction.seconds or {'total': time.monotonic() - start}
        points = prediction.points if prediction.mesh is None else prediction.mesh.vertices
        if points is None or not len(points) or not np.isfinite(points).all():
            raise LiftError(ErrorCode.NO_SURFACE, 'The prediction is empty or not finite.')
        cold = task.predictor not in self._warm
        self._warm.add(task.predictor)
        figures: dict[str, Any] = {}
        if prediction.mesh is not None:
            figures = judge(prediction.mesh, frame, view.mask, view.truth)
        if view.truth is not None:
            # Without depth the size is unknown, and grasps of a metric jaw are meaningless.
            grasp = self._settings.grasp and frame.depth is not None
            # At an unknown scale the position is arbitrary, and so is its confidence.
            unknown = prediction.notes.get('scale_source') == 'unknown'
            scored = replace(prediction, confidence=None) if unknown else prediction
            figures |= score(scored, view.truth, grasp, grasp and self._settings.physics)
        if task.view == 0 and task.predictor in METHODS:
            path = sheet.picture_path(self._out, sheet.STRIPS, track, task.predictor, task.scene)
            try:
                sheet.write_strip(
                    path, view.frame, view.mask, prediction, view.truth,
                    six_sides if track == REAL else None)
            except OSError as error:
                raise CannotWriteError(path, error) from error
        return {
            **row,
            **view.notes,
            **figures,
            'cold': cold,
            'seconds': {name: round(s, 4) for name, s in seconds.items()},
            'notes': prediction.notes,
        }

    def _predictor(self, name: str) -> Predictor:
        if name not in self._predictors:
            settings = self._settings
            self._predictors[name] = make_predictor(
                name, self._out / MEAN_SHAPE, settings.timeout, settings.weights, settings.samples
            )
        return self._predictors[name]

    def _make_view(
        self, subject: ObjectEntry | Path, number: int,
        generator: scenes.Generator | None = None, mask: str = ''
    ) -> View:
        if isinstance(subject, Path):
            return View(*read_real(subject, self._data))
        settings = self._settings
        mask = mask or settings.mask
        mesh = self._mesh(subject)
        if generator is not None:
            made, cameras = scenes.generated_scene(
                subject, mesh, number, settings.seed, generator, self._objects), 1
        else:
            occluders = None
            if settings.occluded:
                occluders = scenes.draw_occluders(self._objects, subject, number, settings.seed)
            made, cameras = scenes.make_bench_scene(
                subject, mesh, number, settings.seed, occluders=occluders), settings.cameras
        scene = made.scene
        others = scenes.further_scenes(mesh, scene, made.seed, cameras - 1)
        return View(
            scene.frame,
            scenes.choose_mask(scene.mask, scene.detection, mask),
            Truth(scene.mesh, scene.T_camera_object, scene.light),
            {
                'scene_seed': made.seed,
                'azimuth_deg': round(scene.azimuth, 2),
                'elevation_deg': round(scene.elevation, 2),
                'distance_m': round(scene.distance, 4),
                'occlusion': round(scene.occlusion, 4),
                **(scene.situation.record() if isinstance(scene, RealLikeScene) else {}),
            },
            tuple(
                (other.frame, scenes.choose_mask(other.mask, other.detection, mask), T)
                for other, T in others
            ),
        )


def _load(entry: ObjectEntry) -> Mesh:
    return entry.load()
