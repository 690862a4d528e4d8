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

"""One process of a run over distilled methods: render scenes, lift them and score the meshes."""

from __future__ import annotations

from dataclasses import dataclass
import functools
from pathlib import Path
import time

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.distilled import measures
from lift3d_ros.bench.distilled.predictors import BLURRED
from lift3d_ros.bench.distilled.predictors import make_distilled
from lift3d_ros.bench.distilled.settings import DistilledSettings
from lift3d_ros.bench.distilled.settings import SeededTask
from lift3d_ros.bench.prediction import Predictor
from lift3d_ros.bench.prediction import Truth
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
from lift3d_ros.bench.views import protocol
from lift3d_ros.bench.views.task import box_middle
from lift3d_ros.bench.views.task import scene_task
from lift3d_ros.bench.views.task import ViewTask
from lift3d_ros.diffusion.conditioning import ImageEncoder
from lift3d_ros.errors import ErrorCode
from lift3d_ros.geometry import Array
from lift3d_ros.runtime import memory
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.true_views import object_from_canonical


@dataclass(frozen=True, eq=False)
class HeldOutScene:
    """A scene, its truth, and the held-out views in a track."""

    scene: TableScene
    truth: Truth
    views: ViewTask
    T_object_canonical: Array


class DistilledWorker(TaskWorker):
    """Scenes, predictors and scores of one process."""

    failed = measures.FAILED
    fatal = (ErrorCode.WEIGHTS_MISSING, ErrorCode.WEIGHTS_CORRUPT)

    def __init__(self, settings: DistilledSettings, out: Path) -> None:
        """Take the settings of the run; ``out`` is the folder of results."""
        self._settings, self._out = settings, out
        self._predictors: dict[str, Predictor] = {}
        # Consecutive tasks share the scene.
        self._scene = functools.lru_cache(maxsize=1)(self._make_scene)
        self._held_out = functools.lru_cache(maxsize=4)(self._make_held_out)

    def measure(self, task: Task, track: str) -> Row:
        """Return the figures of a task in a track; raises ``LiftError``."""
        assert isinstance(task, SeededTask) and isinstance(task.subject, ObjectEntry)
        known = self._held_out(task.subject, task.view, track)
        predictor = self._predictor(task.predictor)
        memory.reset_peak()
        start = time.monotonic()
        prediction = predictor.predict(
            TRACKS[track].strip(known.scene.frame), known.scene.mask, task.seed)
        seconds = prediction.seconds or {'total': time.monotonic() - start}
        peak = memory.peak_mb()
        mesh = measures.object_frame(prediction, known.truth)
        images = measures.render_views(mesh, known.views, known.T_object_canonical)
        if task.predictor == BLURRED:
            images = measures.blurred(images)
        if task.view == 0 and task.seed == self._settings.seed:
            self._keep(task, track, known.views, images)
        return {
            'ok': True, 'error': None,
            **known.views.notes,
            **measures.shape_figures(mesh, known.truth),
            **measures.view_figures(images, known.views, self._encoder),
            'seconds': {name: round(s, 4) for name, s in seconds.items()},
            'lift_memory_mb': round(peak, 1),
            'notes': prediction.notes,
        }

    def _predictor(self, name: str) -> Predictor:
        if name not in self._predictors:
            own = self._settings
            self._predictors[name] = make_distilled(
                name, own.weights, own.preset, own.steps, own.timeout)
        return self._predictors[name]

    @functools.cached_property
    def _encoder(self) -> ImageEncoder:
        """The encoder of ``lift3d train encoder`` in the weights, else that of their denoiser."""
        from lift3d_ros.diffusion.small import read_small
        from lift3d_ros.networks.small.object_encoder import read_object_encoder
        from lift3d_ros.weights import store

        folder = store.find(self._settings.weights)
        if (folder / 'object_encoder').is_dir():
            return read_object_encoder(folder / 'object_encoder')
        encoder: ImageEncoder = read_small(folder).components.image_encoder
        return encoder

    def _make_scene(self, entry: ObjectEntry, number: int) -> tuple[TableScene, Truth]:
        scene = make_bench_scene(entry, entry.load(), number, self._settings.seed).scene
        return scene, Truth(scene.mesh, scene.T_camera_object, scene.light)

    def _make_held_out(self, entry: ObjectEntry, number: int, track: str) -> HeldOutScene:
        scene, truth = self._scene(entry, number)
        views = scene_task(
            scene, TRACKS[track], scene_seed(entry, number, self._settings.seed))
        T = object_from_canonical(
            views.canonical, scene.T_camera_object, box_middle(scene.mesh))
        return HeldOutScene(scene, truth, views, T)

    def _keep(
        self, task: SeededTask, track: str, views: ViewTask, images: NDArray[np.uint8]
    ) -> None:
        """Write images for the sheet: those of the predictor, the true ones, the input."""
        size = (protocol.SIZE, protocol.SIZE)
        small = cv2.resize(views.view.image, size, interpolation=cv2.INTER_AREA)
        true = [small, *views.truth[..., :3]]
        for name, row in ((task.predictor, list(images[..., :3])), (TRUTH, true)):
            path = picture_path(self._out, RINGS, track, name, task.scene)
            try:
                write_jpeg(path, np.concatenate(row, axis=1), 92)
            except OSError as error:
                raise CannotWriteError(path, error) from error
