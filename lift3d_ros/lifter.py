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

"""
From a frame and a mask to the whole shape of an object: the pipeline of every method.

``Lifter.lift`` is the pipeline. A method contributes ``reconstruct``, which returns a field::

    lifter = Lifter()
    shape = lifter.lift(frame, LiftRequest(mask))
    shape.mesh_in_camera().export(Path('mug.glb'))
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
import gc
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.mesh_extraction import extract_mesh
from lift3d_ros.meshing.scoring import color_and_score
from lift3d_ros.methods.method import DEFAULT_METHOD
from lift3d_ros.methods.method import DEVICES
from lift3d_ros.methods.method import DISTILLED
from lift3d_ros.methods.method import LEARNED
from lift3d_ros.methods.method import make_method
from lift3d_ros.methods.method import MAX_SAMPLES
from lift3d_ros.methods.method import Method
from lift3d_ros.methods.method import METHODS
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.observed_object import observe
from lift3d_ros.observation.request import LiftRequest
from lift3d_ros.observation.view_checks import check_view
from lift3d_ros.placement.place import place
from lift3d_ros.placement.shape_checks import check_confidence
from lift3d_ros.placement.shape_checks import size_notes
from lift3d_ros.progress import Progress
from lift3d_ros.progress import ProgressCallback
from lift3d_ros.progress import StepCallback
from lift3d_ros.progress import StepReport
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.process import run_within_memory
from lift3d_ros.serve.client import ServerClient

if TYPE_CHECKING:
    from lift3d_ros.scene.composition import SceneSettings
    from lift3d_ros.scene.scene import Scene

__all__ = [
    'DEFAULT_METHOD', 'DEVICES', 'DISTILLED', 'LEARNED', 'LiftRequest', 'Lifter', 'MAX_SAMPLES',
    'METHODS', 'Method',
]

#: Errors of an object that end the lift of its scene.
_ENDS = (ErrorCode.CANCELLED, ErrorCode.TIMEOUT, ErrorCode.OUT_OF_MEMORY)

#: Share of the budget of a scene after which its objects must be lifted.
OBJECTS_SHARE = 0.7

#: Smallest bound on the faces: with fewer, decimation cannot keep every object closed.
MIN_MAX_FACES = 100


class Lifter:
    """A method that is loaded once for any number of frames; not thread-safe."""

    def __init__(
        self,
        method: str | Method = DEFAULT_METHOD,
        max_faces: int = 20_000,
        device: str = 'cpu',
        *,
        weights: str | None = None,
        samples: int | None = None,
        preset: str | None = None,
        steps: int | None = None,
        init: str | None = None,
        remote: str | None = None,
        remote_timeout: float = 30.0,
    ) -> None:
        """
        Configure the method without loading it.

        ``method`` is a key of ``METHODS``, or a method with its settings. ``max_faces`` bounds
        every mesh. ``device`` is one of ``DEVICES``. ``weights`` (``small``; ``full`` or
        ``full-faithful``, with the published samplers; a folder of small weights; or Zero-1-to-3
        weights: a name, file or folder) and ``samples`` (up to ``MAX_SAMPLES``) are settings of
        the methods in ``LEARNED``; ``preset``, ``steps`` and ``init`` (``one2345`` or
        ``scratch``) of those in ``DISTILLED``. None selects the default of the method.

        ``remote`` is the address of a ``lift3d serve``, such as ``http://gpu-server:8300``, whose
        method lifts then. If it gives no result within ``remote_timeout`` seconds, the method of
        this lifter does; ``Shape.method`` names the one that did, and a note says why.

        Raises ``LiftError(BAD_REQUEST)`` for an unknown method, for ``max_faces`` below
        ``MIN_MAX_FACES``, for settings that the method does not have, and for an address of
        another form.
        """
        if max_faces < MIN_MAX_FACES:
            raise bad_request(f'max_faces is {max_faces}; it must be at least {MIN_MAX_FACES}.')
        if isinstance(method, str):
            self.name = method
            self.method = make_method(method, device, weights, samples, preset, steps, init)
        else:
            self.name, self.method = type(method).__name__.lower(), method
        self.max_faces = max_faces
        self._server = ServerClient(remote, remote_timeout) if remote else None

    def check(self) -> None:
        """
        Check that the files that ``load`` needs are present, without importing torch.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
        """
        self.method.check()

    def load(self) -> None:
        """
        Load the method; ``lift`` calls this if necessary.

        With a server nothing is loaded until it fails for the first time.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``BAD_REQUEST`` for a
        device that is not available, ``OUT_OF_MEMORY`` if the memory or the limits of the process
        are too low.
        """
        if self._server is None:
            self._load()

    def _load(self) -> None:
        with memory.exhaustion_refused():
            self.method.load()

    def unload(self) -> None:
        """Free the memory of the method, also on the device."""
        self.method.unload()
        gc.collect()
        torch = sys.modules.get('torch')
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def lift(
        self,
        frame: Frame,
        request: LiftRequest | NDArray[np.bool_],
        *,
        progress: ProgressCallback | None = None,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
        on_step: StepCallback | None = None,
    ) -> Shape:
        """
        Return the shape of the object of a request; a mask stands for ``LiftRequest(mask)``.

        ``progress`` is called with the stage and the completed fraction; ``cancelled`` is called
        between steps; ``deadline`` is a value of ``time.monotonic()``. ``on_step`` receives some
        of the steps of a method that optimises, with a picture. Raises ``LiftError``, with a code
        for the problem of the observation, or for a cancellation or timeout.
        """
        request = LiftRequest.of(request)
        answer: Shape | LiftError | str = ''
        if self._server is not None:
            answer = self._server.answers(
                frame, [request], self.name, self.max_faces, cancelled, deadline)[0]
        if isinstance(answer, Shape):
            return answer
        if isinstance(answer, LiftError):
            raise answer
        run = Progress(progress, cancelled, deadline, on_step)
        return self._lift(frame, request, run, answer)

    def _lift(self, frame: Frame, request: LiftRequest, run: Progress, note: str) -> Shape:
        """Return the shape of an object by the method of this lifter, with a note if not empty."""
        rng = np.random.default_rng(request.seed)
        with memory.exhaustion_refused():
            with run.stage('crop', 0.02):
                view = crop_object(frame, request.mask)
                view_notes = check_view(view)
            self._load()
            with run.stage('observe', 0.05):
                obs = observe(view, request, rng, self.method.completes_occluded)
            reconstruction = self.method.reconstruct(obs, rng, run)
            with run.stage('mesh', 0.95):
                mesh = extract_mesh(reconstruction, obs, self.max_faces)
            with run.stage('colour', 0.98):
                scored = color_and_score(mesh, reconstruction, obs)
            with run.stage('placement', 1.0):
                shape = place(scored, reconstruction, obs, rng)
        run.check('done', 1.0)
        check_confidence(shape, request.min_confidence)
        return replace(
            shape,
            method=self.name,
            notes=(
                *((note,) if note else ()), *frame.notes, *view_notes, *reconstruction.notes,
                *shape.notes, *size_notes(shape),
            ),
            pass_probability=self.method.success_probability(
                shape.overall_confidence, shape.scale_source != 'unknown'
            ),
            seconds={**run.seconds, 'total': run.total},
        )

    def lift_all(
        self,
        frame: Frame,
        requests: Sequence[LiftRequest | NDArray[np.bool_]],
        *,
        progress: Callable[[int, str, float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
        on_step: Callable[[int, StepReport], None] | None = None,
    ) -> list[Shape | LiftError]:
        """
        Return the shapes of several objects of one frame, in the order of their ``requests``.

        An object that cannot be lifted is represented by its ``LiftError``, and does not affect
        the other objects. Up to ``Method.max_concurrent`` objects are lifted concurrently, in
        threads, which takes less time than in sequence. An object that runs out of memory while
        other objects are lifted is lifted again alone.

        With one thread in torch, a shape is identical to that of ``lift``. With more threads the
        order of additions differs: the surface moves by far less than a voxel, and decimation may
        choose other vertices. The seconds of a shape are elapsed time, during which other objects
        used the cores as well.

        ``progress`` is called with the index of the request, the stage and the completed fraction
        of the object; ``cancelled`` is called between steps; ``on_step`` with the index and some
        of the steps of a method that optimises; each by one thread at a time. After
        a cancellation or the ``deadline``, unfinished objects end with that error.

        Raises ``LiftError`` as ``load``.
        """
        wanted = [LiftRequest.of(request) for request in requests]
        answers: list[Shape | LiftError | str] = ['' for _ in wanted]
        if self._server is not None and wanted:
            answers = self._server.answers(
                frame, wanted, self.name, self.max_faces, cancelled, deadline)
        here = [index for index, answer in enumerate(answers) if isinstance(answer, str)]
        if here:
            self._load()
        lock = threading.Lock()

        def report(index: int, stage: str, fraction: float) -> None:
            if progress is not None:
                with lock:
                    progress(index, stage, fraction)

        def report_step(index: int, step: StepReport) -> None:
            if on_step is not None:
                with lock:
                    on_step(index, step)

        def is_cancelled() -> bool:
            with lock:
                return cancelled is not None and cancelled()

        def lift(place: int) -> Shape | LiftError:
            index = here[place]
            run = Progress(
                partial(report, index), is_cancelled, deadline,
                None if on_step is None else partial(report_step, index))
            try:
                return self._lift(frame, wanted[index], run, str(answers[index]))
            except LiftError as error:
                return error

        lifted = run_within_memory(lift, len(here), self.method.max_concurrent)
        for index, answer in enumerate(answers):
            if not isinstance(answer, str):
                report(index, 'server', 1.0)
        results = dict(zip(here, lifted, strict=True))
        return [
            results[index] if isinstance(answer, str) else answer
            for index, answer in enumerate(answers)
        ]

    def lift_scene(
        self,
        frame: Frame,
        masks: Mapping[str, LiftRequest | NDArray[np.bool_]] | None = None,
        settings: SceneSettings | None = None,
        *,
        plane: Plane | None = None,
        budget: float | None = None,
        seed: int = 0,
        progress: ProgressCallback | None = None,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
    ) -> Scene:
        """
        Return the whole scene of a frame: measured, predicted, and free space.

        The objects of ``masks``, bool (height, width) or a request each, by name, are lifted and
        put into their places; those that cannot be stay part of the background, with a note.

        Without depth nothing is measured: the support ``plane`` takes its place, or that of
        gravity in units of the camera's height, with notes. ``budget`` bounds the seconds:
        objects that are not lifted after ``OBJECTS_SHARE`` of it stay background. Raises
        ``LiftError``: ``BAD_REQUEST`` without depth, plane and gravity, ``BAD_IMAGE`` for a black
        image without depth, ``NO_DEPTH_IN_MASK``, ``NO_SURFACE``, and those of ``load``.
        """
        from lift3d_ros.scene import composition
        from lift3d_ros.scene.inputs import checks
        from lift3d_ros.scene.inputs import without_depth

        settings = settings or composition.SceneSettings()
        if frame.depth is not None:
            composition.check_completion(settings)
        requests = {name: LiftRequest.of(mask) for name, mask in (masks or {}).items()}
        start = time.monotonic()
        if budget is not None:
            deadline = min(start + budget, np.inf if deadline is None else deadline)
        run = Progress(progress, cancelled, deadline)
        with memory.exhaustion_refused():
            notes, known, assumed = checks.check_light(frame), frame, None
            if frame.depth is None:
                assumed = without_depth.assume_plane(
                    frame, [request.mask for request in requests.values()], plane, settings)
                known = assumed.frame
                requests = {
                    name: replace(request, hints=assumed.hints(request.hints))
                    for name, request in requests.items()}
            composition.check_frame(known, settings)
            shapes: list[Shape | LiftError] = []
            if requests:
                limit = None if budget is None else start + OBJECTS_SHARE * budget
                shapes = self._lift_objects(
                    frame, [replace(request, seed=seed) for request in requests.values()], run,
                    cancelled, deadline, limit)
            scene = composition.compose(
                known, {name: request.mask for name, request in requests.items()},
                dict(zip(requests, shapes, strict=True)),
                # No space is known to be free that could bound a guess.
                settings if assumed is None else replace(settings, fill='none'),
                np.random.default_rng(seed), run.part(0.7 if requests else 0.0, 1.0))
            if assumed is not None:
                scene = without_depth.as_assumed(scene, frame, assumed)
            else:
                notes += checks.scene_notes(frame, scene.planes)
        run.check('done', 1.0)
        return replace(
            scene, notes=scene.notes + notes, seconds={**run.seconds, 'total': run.total})

    def _lift_objects(
        self,
        frame: Frame,
        requests: Sequence[LiftRequest],
        run: Progress,
        cancelled: Callable[[], bool] | None,
        deadline: float | None,
        limit: float | None,
    ) -> list[Shape | LiftError]:
        """
        Return the shapes of the objects of a scene, or their errors: ``TIMEOUT`` at ``limit``.

        Raises ``LiftError`` for what ends the scene as well.
        """
        with run.stage('objects', 0.7):
            done = dict.fromkeys(range(len(requests)), 0.0)

            def report(index: int, stage: str, fraction: float) -> None:
                done[index] = fraction
                run.check('objects', 0.7 * sum(done.values()) / len(done))

            shapes = self.lift_all(
                frame, requests, progress=report, cancelled=cancelled,
                deadline=limit or deadline)
        ends = [code for code in _ENDS if limit is None or code is not ErrorCode.TIMEOUT]
        for shape in shapes:
            if isinstance(shape, LiftError) and shape.code in ends:
                raise shape
        return shapes
