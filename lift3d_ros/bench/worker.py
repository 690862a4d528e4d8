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


"""Where scenes are made, lifted and scored: one process of a run, or the only one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
import functools
from pathlib import Path
import time
import traceback
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.ablation import Variant
from lift3d_ros.bench.prediction import Contender
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.predictors import make_contender
from lift3d_ros.bench.predictors import MethodContender
from lift3d_ros.bench.real import read_real
from lift3d_ros.bench.reporting.sheet import write_strip
from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.scenes import draw_occluders
from lift3d_ros.bench.scenes import further_scenes
from lift3d_ros.bench.scenes import make_bench_scene
from lift3d_ros.bench.score import FAILED
from lift3d_ros.bench.score import score
from lift3d_ros.bench.score import score_grasps
from lift3d_ros.bench.score import Truth
from lift3d_ros.bench.settings import REAL
from lift3d_ros.bench.settings import SCAN
from lift3d_ros.bench.settings import Settings
from lift3d_ros.bench.settings import Task
from lift3d_ros.bench.tracks import choose_mask
from lift3d_ros.bench.tracks import TRACKS
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import METHODS
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.runtime import memory
from lift3d_ros.synthetic.objects import ObjectEntry

#: Where a run keeps the mean shape of the training split, in its folder of results.
MEAN_SHAPE = 'mean_shape.npz'


def strip_path(out: Path, track: str, contender: str, scene: str) -> Path:
    """Return where the pictures of a prediction are kept for the sheet."""
    return out / 'strips' / f'{track}_{contender}' / f'{scene}.jpg'


@dataclass(frozen=True, eq=False)
class View:
    """
    A frame and a mask to lift, what is true of it, and what a row shall tell of the scene.

    ``further`` are frames and masks of other cameras, and their poses in the first one's frame.
    """

    frame: Frame
    mask: NDArray[np.bool_]
    truth: Truth | None
    notes: dict[str, Any]
    further: tuple[tuple[Frame, NDArray[np.bool_], Array], ...] = ()


class Worker:
    """Scenes, contenders and results of one process."""

    def __init__(
        self, settings: Settings, objects: Sequence[ObjectEntry], out: Path, data: Path
    ) -> None:
        """
        Take what a run is.

        ``objects`` are those that may stand in front of another, ``out`` the folder of results
        with the mean shape, ``data`` that of the meshes which real frames name.
        """
        self._settings, self._objects = settings, objects
        self._out, self._data = out, data
        self._contenders: dict[str, Contender] = {}
        self._used: set[str] = set()
        # Neighbouring tasks are of one scene, and of one object.
        self._mesh = functools.lru_cache(maxsize=2)(_load)
        self._view = functools.lru_cache(maxsize=2)(self._make_view)

    def run(self, task: Task) -> list[Row]:
        """
        Return a row for each track of the task; whatever fails is a row with its error.

        Raises ``LiftError(INTERNAL)`` where the pictures for the sheet cannot be written: a full
        disk is no failure of a method.
        """
        rows = []
        for track in task.tracks:
            start = time.monotonic()
            row: Row = {
                'scene': task.scene,
                'object': task.object,
                'track': track,
                'contender': task.contender,
            }
            try:
                row.update(self._measure(task, track))
            except CannotWriteError:
                raise
            except Exception as error:
                row.update(failure(error))
            row['wall_seconds'] = round(time.monotonic() - start, 3)
            row['peak_memory_mb'] = round(memory.peak_mb(), 1)
            rows.append(row)
        return rows

    def _measure(self, task: Task, track: str) -> Row:
        view = self._view(task.subject, task.view)
        frame = view.frame if track == REAL else TRACKS[track].strip(view.frame)
        if task.contender == SCAN:
            assert view.truth is not None
            figures = score_grasps(view.truth.mesh, view.truth, self._settings.physics)
            return {'ok': True, 'error': None, **figures}
        cold = task.contender not in self._used
        hints = None
        if view.truth is not None and track != REAL:
            hints = TRACKS[track].hints(view.truth.mesh, view.truth.T_camera_object)
        further = [
            SourceView(crop_object(TRACKS[track].strip(other), mask), T)
            for other, mask, T in view.further
        ]
        prediction = self._predict(task.contender, frame, view, hints, further)
        self._used.add(task.contender)
        figures = {}
        if view.truth is not None:
            # Without depth the size is unknown, and a jaw of 80 mm has nothing to be tried on.
            grasp = self._settings.grasp and frame.depth is not None
            judged = prediction
            if prediction.notes.get('scale_source') == 'unknown':
                # Where nothing can be at its place, confidence in the place says nothing.
                judged = replace(prediction, confidence=None)
            figures = score(judged, view.truth, grasp, grasp and self._settings.physics)
        if task.view == 0 and task.contender in METHODS:
            self._draw(strip_path(self._out, track, task.contender, task.scene), view, prediction)
        return {
            'ok': True,
            'error': None,
            **view.notes,
            **figures,
            'cold': cold,
            'seconds': {name: round(s, 4) for name, s in prediction.seconds.items()},
            'notes': prediction.notes,
        }

    def _predict(
        self,
        name: str,
        frame: Frame,
        view: View,
        hints: ScaleHints | None,
        further: Sequence[SourceView],
    ) -> Prediction:
        if name not in self._contenders:
            settings = self._settings
            self._contenders[name] = make_contender(
                name, self._out / MEAN_SHAPE, settings.timeout, settings.weights, settings.samples
            )
        start = time.monotonic()
        contender, seed = self._contenders[name], self._settings.seed
        if isinstance(contender, Variant):
            prediction = contender.predict_knowing(frame, view.mask, seed, view.truth)
        elif isinstance(contender, MethodContender):
            prediction = contender.predict(frame, view.mask, seed, hints, further)
        else:
            prediction = contender.predict(frame, view.mask, seed)
        seconds = prediction.seconds or {'total': time.monotonic() - start}
        points = prediction.points if prediction.mesh is None else prediction.mesh.vertices
        if points is None or not len(points) or not np.isfinite(points).all():
            raise LiftError(ErrorCode.NO_SURFACE, 'The prediction is empty or not finite.')
        return replace(prediction, seconds=seconds)

    def _draw(self, path: Path, view: View, prediction: Prediction) -> None:
        try:
            write_strip(path, view.frame, view.mask, prediction, view.truth)
        except OSError as error:
            raise CannotWriteError(path, error) from error

    def _make_view(self, subject: ObjectEntry | Path, number: int) -> View:
        if isinstance(subject, Path):
            frame, mask, truth = read_real(subject, self._data)
            return View(frame, mask, truth, {})
        settings = self._settings
        mesh = self._mesh(subject)
        occluders = None
        if settings.occluded:
            occluders = draw_occluders(self._objects, subject, number, settings.seed)
        made = make_bench_scene(subject, mesh, number, settings.seed, occluders=occluders)
        scene = made.scene
        others = further_scenes(mesh, scene, made.seed, settings.cameras - 1)
        return View(
            scene.frame,
            choose_mask(scene.mask, scene.detection, settings.mask),
            Truth(scene.mesh, scene.T_camera_object, scene.light),
            {
                'scene_seed': made.seed,
                'azimuth_deg': round(scene.azimuth, 2),
                'elevation_deg': round(scene.elevation, 2),
                'distance_m': round(scene.distance, 4),
                'occlusion': round(scene.occlusion, 4),
            },
            tuple(
                (other.frame, choose_mask(other.mask, other.detection, settings.mask), T)
                for other, T in others
            ),
        )


def failure(error: Exception) -> Row:
    """Return the part of a row that tells an error; its shares count as 0."""
    if isinstance(error, LiftError):
        code, message = error.code, error.message
    elif isinstance(error, MemoryError):
        code, message = ErrorCode.OUT_OF_MEMORY, 'The memory ran out.'
    else:
        code, message = ErrorCode.INTERNAL, f'{type(error).__name__}: {error}'
    row: Row = {'ok': False, 'error': {'code': code.value, 'message': message}, **FAILED}
    if code is ErrorCode.INTERNAL:
        row['error']['trace'] = ''.join(traceback.format_exception(error)[-3:])
    return row


def _load(entry: ObjectEntry) -> Mesh:
    return entry.load()
