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
From a frame and a mask to the whole shape of the object.

The way is ``frame, mask -> crop_object -> ObjectView -> method -> Shape``::

    lifter = Lifter()
    shape = lifter.lift(frame, mask)
    shape.mesh_in_camera().export(Path('mug.glb'))

The methods are in ``lift3d_ros.methods``, one file each, and tell their own story in ``lift``.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
import gc
import threading
from typing import Any
from typing import Protocol

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
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.methods.geometric import Geometric
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.methods.one2345_published import One2345Full
from lift3d_ros.methods.one2345_published import published_views
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.observation.reference_view import lift_together
from lift3d_ros.placement.place import place
from lift3d_ros.placement.place import prepare
from lift3d_ros.placement.success_probability import pass_probability
from lift3d_ros.progress import Progress
from lift3d_ros.progress import ProgressCallback
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.threads import run_in_threads


class Method(Protocol):
    """
    How the whole of an object is found: a dataclass of settings and the function over it.

    Once it is loaded, ``lift`` may be called from several threads at once.
    """

    def load(self) -> None:
        """Bring what the method needs, such as weights, to its device."""

    def unload(self) -> None:
        """Free the device's memory."""

    def lift(
        self,
        view: ObjectView,
        rng: np.random.Generator,
        progress: Progress,
        further: Sequence[SourceView] = (),
    ) -> Shape:
        """Return the shape of the object in the view and further ones, or raise ``LiftError``."""


#: Every method by its name. The first line of its docstring is what ``lift3d methods`` prints.
METHODS: dict[str, Callable[..., Method]] = {
    'geometric': Geometric,
    'one2345': One2345,
}

DEFAULT_METHOD = 'one2345'

#: The methods that have networks: they take weights and a device, and draw samples.
LEARNED = ('one2345',)

#: Where a lift may be computed.
DEVICES = ('cpu', 'cuda')

#: Sets of synthesised views that may be drawn for one shape.
MAX_SAMPLES = 16

#: Address space and written memory that the packaged networks take for one object of a 640 x 480
#: frame, MiB: 1819 and 920 were measured on two cores.
_NETWORK_ADDRESS_SPACE_MIB = 1900
_NETWORK_DATA_MIB = 950

#: Objects that ``lift_all`` lifts at once, to bound the memory.
MAX_AT_ONCE = 4


class Lifter:
    """A method, loaded once, for any number of frames. Not to be shared between threads."""

    def __init__(
        self,
        method: str = DEFAULT_METHOD,
        max_faces: int = 20_000,
        device: str = 'cpu',
        *,
        weights: str | None = None,
        samples: int | None = None,
    ) -> None:
        """
        Choose the method; nothing is loaded yet.

        ``max_faces`` bounds every mesh, ``device`` is one of ``DEVICES``. ``weights``, which is
        ``small``, ``full`` (``full-faithful``: with the published samplers), a folder of small
        ones or Zero-1-to-3 weights (a name, file or folder), and ``samples``, up to
        ``MAX_SAMPLES``, are for the methods in ``LEARNED``; None leaves the method's own.

        Raises ``LiftError(BAD_REQUEST)`` for an unknown method, a bound that no closed mesh can
        keep, and what the method cannot use.
        """
        if method not in METHODS:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'There is no method "{method}"; choose one of {", ".join(METHODS)}.',
            )
        if max_faces < 100:
            raise LiftError(
                ErrorCode.BAD_REQUEST, f'max_faces is {max_faces}; it must be at least 100.'
            )
        if device not in DEVICES:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'There is no device "{device}"; choose one of {", ".join(DEVICES)}.',
            )
        if samples is not None and not 1 <= samples <= MAX_SAMPLES:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{samples} samples were asked for; ask for 1 to {MAX_SAMPLES}.',
            )
        chosen: dict[str, Any] = {}
        if method in LEARNED:
            asked = {'device': device, 'weights': weights, 'samples': samples}
            chosen = {name: value for name, value in asked.items() if value is not None}
        else:
            _refuse_networks(method, device, weights, samples)
        self.name = method
        self._device = device
        make = METHODS[method]
        if weights is not None and published_views(weights) is not None:
            make = One2345Full
        self._method = make(max_faces=max_faces, **chosen)

    def check(self) -> None:
        """
        Look for what ``load`` needs, which takes no time and imports no network.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
        """
        if isinstance(self._method, One2345Full):
            self._method.check()
            return
        weights = getattr(self._method, 'weights', None)
        if weights is None:
            return
        from lift3d_ros.weights import store

        folder = store.find(weights)
        store.check(folder)
        if not (folder / 'surface').is_dir():
            raise LiftError(
                ErrorCode.WEIGHTS_MISSING,
                f'The weights in {folder} make views and no surface; bring weights that have a '
                'folder surface/, or choose the method geometric.',
            )

    def load(self) -> None:
        """
        Load what the method needs; ``lift`` does it by itself where it was not done.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``BAD_REQUEST`` for a
        device that is not there, ``OUT_OF_MEMORY`` where the memory or the limits of the process
        do not suffice.
        """
        if self.name in LEARNED:
            # Before torch is imported: it aborts where memory ends in the middle of that.
            memory.check_limits(_NETWORK_ADDRESS_SPACE_MIB, _NETWORK_DATA_MIB)
        try:
            self._method.load()
        except Exception as error:
            if isinstance(error, LiftError) or not memory.is_exhausted(error):
                raise
            raise memory.exhausted(error) from error

    def unload(self) -> None:
        """Free what ``load`` took, on the device too."""
        self._method.unload()
        gc.collect()
        if self._device == 'cuda':
            import torch

            torch.cuda.empty_cache()

    def lift(
        self,
        frame: Frame,
        mask: NDArray[np.bool_],
        *,
        scale: ScaleHints | None = None,
        further: Sequence[SourceView] = (),
        min_confidence: float = 0.0,
        seed: int = 0,
        progress: ProgressCallback | None = None,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
    ) -> Shape:
        """
        Return the shape of the object under ``mask``, bool (height, width).

        ``scale`` is what is known of its scale beside the view, and what goes first where several
        sources tell it; ``further`` are other views of the object. A shape whose mean confidence
        is below ``min_confidence`` is refused with ``LOW_CONFIDENCE``.

        The same seed gives the same shape on the same device. ``progress`` is told the stage and
        the fraction done; ``cancelled`` is asked between steps; ``deadline`` is a value of
        ``time.monotonic()``.

        Raises ``LiftError``, whose code says what was wrong with the observation or that the lift
        was ended.
        """
        run = Progress(progress, cancelled, deadline)
        try:
            with run.stage('crop', 0.02):
                check_fov(frame.camera)
                view = crop_object(frame, mask)
                if frame.depth is not None:
                    check_depth_of_object(frame.depth, mask)
                misaligned = alignment_note(view) or field_of_view_note(frame)
            self.load()
            shape = self._lift_view(view, scale or ScaleHints(), further, seed, run)
        except Exception as error:
            if isinstance(error, LiftError) or not memory.is_exhausted(error):
                raise
            raise memory.exhausted(error) from error
        run.check('done', 1.0)
        confidence = shape.overall_confidence
        if confidence < min_confidence:
            raise LiftError(
                ErrorCode.LOW_CONFIDENCE,
                f'The confidence in the shape is {confidence:.2f}, and {min_confidence:.2f} was '
                'asked for; add views from other sides, give depth, or ask for less.',
            )
        notes = (*frame.notes, *((misaligned,) if misaligned else ()), *shape.notes)
        if shape.scale_source == 'depth':
            nearest = float(shape.mesh_in_camera().vertices[:, 2].min())
            doubt = size_note(float(shape.size.max()), nearest)
            notes = notes if doubt is None else (*notes, doubt)
        metric = shape.scale_source != 'unknown'
        # The published weights were at hand nowhere, so that nothing is known of theirs.
        calibrated = not isinstance(self._method, One2345Full)
        return replace(
            shape,
            method=self.name,
            notes=notes,
            pass_probability=pass_probability(self.name, confidence, metric)
            if calibrated else None,
            seconds={**run.seconds, 'total': run.total},
        )

    def _lift_view(
        self,
        view: ObjectView,
        hints: ScaleHints,
        further: Sequence[SourceView],
        seed: int,
        run: Progress,
    ) -> Shape:
        """Return the shape of the object in a view, at its scale and place."""
        rng = np.random.default_rng(seed)
        notes: tuple[str, ...] = ()
        try:
            shape = self._together(view, hints, further, rng, run)
        except LiftError as error:
            helped = hints.helps_without_depth and not further
            if error.code is not ErrorCode.NO_DEPTH_IN_MASK or not helped:
                raise
            # Transparent, or mirror-like: something else was named that may tell its scale.
            hints, notes = hints.without_depth(), (error.message,)
            rng = np.random.default_rng(seed)
            shape = self._together(view, hints, further, rng, run)
        with run.stage('placement', 1.0):
            return place(replace(shape, notes=(*shape.notes, *notes)), view, hints, further, rng)

    def _together(
        self,
        view: ObjectView,
        hints: ScaleHints,
        further: Sequence[SourceView],
        rng: np.random.Generator,
        run: Progress,
    ) -> Shape:
        """Return the shape of the object in all of its views."""

        def lift(view: ObjectView, further: Sequence[SourceView]) -> Shape:
            return self._method.lift(view, rng, run, further)

        return lift_together(lift, *prepare(view, hints, further))

    def lift_all(
        self,
        frame: Frame,
        masks: Sequence[NDArray[np.bool_]],
        *,
        seed: int = 0,
        progress: Callable[[int, str, float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
        **each: Sequence[Any],
    ) -> list[Shape | LiftError]:
        """
        Return the shapes of several objects of one frame, in the order of their ``masks``.

        In the place of an object that cannot be lifted is its ``LiftError``; the others are lifted
        all the same. Up to ``MAX_AT_ONCE`` are lifted at once, in threads, so that they take less
        time than one after another; what found no memory beside others is tried again alone.

        A shape is the one of ``lift`` with the same ``seed`` where torch has one thread. With more
        they add up in another order: the surface moves by far less than a voxel, and decimation
        may choose other vertices on it. Its seconds are those that went by, in which others had
        their share of the cores.

        ``progress`` is told the object's index in ``masks``, the stage and the fraction of the
        object that is done, ``cancelled`` is asked between steps, each by one thread at a time.
        After a cancellation or the ``deadline``, objects that are not done end with that error.
        ``each`` are further arguments of ``lift``, as lists with one value for each object.

        Raises ``LiftError`` as ``load``.
        """
        for name, values in each.items():
            if len(values) != len(masks):
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'{len(values)} values of "{name}" were given for {len(masks)} objects; give '
                    'one for each.',
                )
        self.load()
        lock = threading.Lock()

        def tell(index: int, stage: str, fraction: float) -> None:
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
                    masks[index],
                    seed=seed,
                    progress=partial(tell, index),
                    cancelled=is_cancelled,
                    deadline=deadline,
                    **{name: values[index] for name, values in each.items()},
                )
            except LiftError as error:
                return error

        # The published networks alone take what memory there is.
        at_once = 1 if isinstance(self._method, One2345Full) else MAX_AT_ONCE
        found = run_in_threads(lift, len(masks), at_once)
        for index, one in enumerate(found):
            if isinstance(one, LiftError) and one.code is ErrorCode.OUT_OF_MEMORY and at_once > 1:
                found[index] = lift(index)
        return found


def _refuse_networks(
    method: str, device: str, weights: str | None, samples: int | None
) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for what a method without networks cannot use."""
    if device != 'cpu':
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The method "{method}" runs on the CPU alone, not on "{device}"; choose the device '
            'cpu.',
        )
    networks = f'choose a method that has networks: {", ".join(LEARNED)}.'
    if weights is not None:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The method "{method}" has no weights; leave "{weights}" out, or {networks}',
        )
    if samples not in (None, 1):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The method "{method}" draws no samples, let alone {samples}; ask for 1, or '
            f'{networks}',
        )
