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
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
import gc
import sys
import threading

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.cameras.depth_alignment import alignment_note
from lift3d_ros.cameras.depth_scale import field_of_view_note
from lift3d_ros.cameras.depth_units import check_depth_of_object
from lift3d_ros.cameras.depth_units import size_note
from lift3d_ros.cameras.plausibility import check_fov
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.mesh_extraction import extract_mesh
from lift3d_ros.meshing.scoring import color_and_score
from lift3d_ros.methods.method import DEFAULT_METHOD
from lift3d_ros.methods.method import DEVICES
from lift3d_ros.methods.method import LEARNED
from lift3d_ros.methods.method import make_method
from lift3d_ros.methods.method import MAX_SAMPLES
from lift3d_ros.methods.method import Method
from lift3d_ros.methods.method import METHODS
from lift3d_ros.observation.observed_object import observe
from lift3d_ros.observation.request import LiftRequest
from lift3d_ros.placement.place import place
from lift3d_ros.progress import Progress
from lift3d_ros.progress import ProgressCallback
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.process import run_in_threads

__all__ = [
    'DEFAULT_METHOD', 'DEVICES', 'LEARNED', 'LiftRequest', 'Lifter', 'MAX_SAMPLES', 'METHODS',
    'Method',
]

#: A closed mesh of fewer faces cannot be had of every object.
MIN_MAX_FACES = 100


class Lifter:
    """A method, loaded once, for any number of frames. Not to be shared between threads."""

    def __init__(
        self,
        method: str | Method = DEFAULT_METHOD,
        max_faces: int = 20_000,
        device: str = 'cpu',
        *,
        weights: str | None = None,
        samples: int | None = None,
    ) -> None:
        """
        Choose the method; nothing is loaded yet.

        ``method`` is a key of ``METHODS``, or a method with its settings. ``max_faces`` bounds
        every mesh. ``device`` is one of ``DEVICES``. ``weights`` (``small``; ``full`` or
        ``full-faithful``, with the published samplers; a folder of small ones; or Zero-1-to-3
        weights: a name, file or folder) and ``samples`` (up to ``MAX_SAMPLES``) are for the
        methods in ``LEARNED``; None leaves the method's own.

        Raises ``LiftError(BAD_REQUEST)`` for an unknown method, for a bound that no closed mesh
        can keep, and for settings that the method does not have.
        """
        if max_faces < MIN_MAX_FACES:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'max_faces is {max_faces}; it must be at least {MIN_MAX_FACES}.',
            )
        if isinstance(method, str):
            self.name = method
            self.method = make_method(method, device, weights, samples)
        else:
            self.name = type(method).__name__.lower()
            self.method = method
        self.max_faces = max_faces

    def check(self) -> None:
        """
        Look for what ``load`` needs, which takes no time and imports no network.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
        """
        self.method.check()

    def load(self) -> None:
        """
        Load what the method needs; ``lift`` does so where it was not done.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``BAD_REQUEST`` for a
        device that is not there, ``OUT_OF_MEMORY`` where the memory or the limits of the process
        do not suffice.
        """
        with memory.exhaustion_refused():
            self.method.load()

    def unload(self) -> None:
        """Free what ``load`` took, on the device too."""
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
    ) -> Shape:
        """
        Return the shape of the object of a request; a mask is short for ``LiftRequest(mask)``.

        ``progress`` is called with the stage and the fraction done; ``cancelled`` is asked
        between steps; ``deadline`` is a value of ``time.monotonic()``. Raises ``LiftError``,
        whose code says what was wrong with the observation, or that the lift was ended.
        """
        request = LiftRequest.of(request)
        run = Progress(progress, cancelled, deadline)
        rng = np.random.default_rng(request.seed)
        with memory.exhaustion_refused():
            with run.stage('crop', 0.02):
                view = crop_object(frame, request.mask)
                doubts = _check_view(view)
            self.load()
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
        _check_confidence(shape, request.min_confidence)
        return replace(
            shape,
            method=self.name,
            notes=(*frame.notes, *doubts, *shape.notes, *_size_doubts(shape)),
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
    ) -> list[Shape | LiftError]:
        """
        Return the shapes of several objects of one frame, in the order of their ``requests``.

        In the place of an object that cannot be lifted is its ``LiftError``; the others are lifted
        all the same. Up to ``Method.max_concurrent`` are lifted at once, in threads, which takes
        less time than one after another. One that runs out of memory beside others is tried again
        alone.

        A shape is that of ``lift`` where torch has one thread. With more the order of additions
        differs: the surface moves by far less than a voxel, and decimation may choose other
        vertices. Its seconds are elapsed time, during which others used the cores as well.

        ``progress`` is called with the index of the request, the stage and the fraction of the
        object that is done, ``cancelled`` between steps, each by one thread at a time. After a
        cancellation or the ``deadline``, objects that are not done end with that error.

        Raises ``LiftError`` as ``load``.
        """
        self.load()
        lock = threading.Lock()

        def report(index: int, stage: str, fraction: float) -> None:
            if progress is not None:
                with lock:
                    progress(index, stage, fraction)

        def is_cancelled() -> bool:
            with lock:
                return cancelled is not None and cancelled()

        def lift(index: int) -> Shape | LiftError:
            try:
                return self.lift(
                    frame,
                    requests[index],
                    progress=partial(report, index),
                    cancelled=is_cancelled,
                    deadline=deadline,
                )
            except LiftError as error:
                return error

        at_once = self.method.max_concurrent
        results = run_in_threads(lift, len(requests), at_once)
        for index, result in enumerate(results):
            exhausted = isinstance(result, LiftError) and result.code is ErrorCode.OUT_OF_MEMORY
            if exhausted and at_once > 1:
                results[index] = lift(index)
        return results


def _check_view(view: ObjectView) -> list[str]:
    """Return notes on a view whose depth may not fit the image; raises ``LiftError``."""
    check_fov(view.frame.camera)
    if view.frame.depth is None:
        return []
    check_depth_of_object(view.frame.depth, view.mask)
    note = alignment_note(view) or field_of_view_note(view.frame)
    return [note] if note else []


def _check_confidence(shape: Shape, least: float) -> None:
    """Raise ``LiftError(LOW_CONFIDENCE)`` for a shape with less confidence than was asked for."""
    confidence = shape.overall_confidence
    if confidence < least:
        raise LiftError(
            ErrorCode.LOW_CONFIDENCE,
            f'The confidence in the shape is {confidence:.2f}, and {least:.2f} was asked for; add '
            'views from other sides, give depth, or ask for less.',
        )


def _size_doubts(shape: Shape) -> list[str]:
    """Return a note on a shape whose size suggests that the depth has another unit."""
    if shape.scale_source != 'depth':
        return []
    nearest = float(shape.mesh_in_camera().vertices[:, 2].min())
    note = size_note(float(shape.size.max()), nearest)
    return [] if note is None else [note]
