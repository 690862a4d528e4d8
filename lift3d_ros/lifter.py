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

    lifter = Lifter('geometric')
    shape = lifter.lift(frame, mask)
    shape.mesh_in_camera().export(Path('mug.glb'))

The methods are in ``lift3d_ros.methods``, one file each, and tell their own story in ``lift``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.frame import crop_object
from lift3d_ros.frame import Frame
from lift3d_ros.frame import ObjectView
from lift3d_ros.methods.geometric import Geometric
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.progress import Progress
from lift3d_ros.progress import ProgressCallback
from lift3d_ros.shape import Shape


class Method(Protocol):
    """How the whole of an object is found: a dataclass of settings and the function over it."""

    def load(self) -> None:
        """Bring what the method needs, such as weights, to its device."""

    def unload(self) -> None:
        """Free the device's memory."""

    def lift(self, view: ObjectView, rng: np.random.Generator, progress: Progress) -> Shape:
        """Return the shape of the object in the view, or raise ``LiftError``."""


#: Every method by its name. The first line of its docstring is what ``lift3d methods`` prints.
METHODS: dict[str, Callable[..., Method]] = {
    'geometric': Geometric,
    'one2345': One2345,
}

DEFAULT_METHOD = 'geometric'

#: Where a lift may be computed.
DEVICES = ('cpu', 'cuda')

#: Sets of synthesised views that may be drawn for one shape.
MAX_SAMPLES = 16


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

        ``max_faces`` bounds every mesh, ``device`` is one of ``DEVICES``. ``weights`` and
        ``samples`` are a learned method's, see ``One2345``; None leaves the method's own. Raises
        ``LiftError(BAD_REQUEST)`` for an unknown method, a bound that no closed mesh can keep, or
        what the method cannot use.
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
        asked = {'device': device, 'weights': weights, 'samples': samples}
        chosen = {name: value for name, value in asked.items() if value is not None}
        if METHODS[method] is Geometric:
            if device != 'cpu':
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'The method "{method}" runs on the CPU alone, not on "{device}"; choose the '
                    'device cpu.',
                )
            # It has neither weights nor anything to draw.
            chosen = {}
        if samples is not None and not 1 <= samples <= MAX_SAMPLES:
            raise LiftError(
                ErrorCode.BAD_REQUEST, f'{samples} samples were asked for; ask for 1 to '
                f'{MAX_SAMPLES}.',
            )
        if device not in DEVICES:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'There is no device "{device}"; choose one of {", ".join(DEVICES)}.',
            )
        self.name = method
        self._method = METHODS[method](max_faces=max_faces, **chosen)

    def load(self) -> None:
        """Load what the method needs; ``lift`` does it by itself where it was not done."""
        self._method.load()

    def unload(self) -> None:
        """Free what ``load`` took."""
        self._method.unload()

    def lift(
        self,
        frame: Frame,
        mask: NDArray[np.bool_],
        *,
        seed: int = 0,
        progress: ProgressCallback | None = None,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
    ) -> Shape:
        """
        Return the shape of the object under ``mask``, bool (height, width).

        The same seed gives the same shape on the same device. ``progress`` is told the stage and
        the fraction done; ``cancelled`` is asked between steps; ``deadline`` is a value of
        ``time.monotonic()``.

        Raises ``LiftError``, whose code says what was wrong with the observation or that the lift
        was ended.
        """
        run = Progress(progress, cancelled, deadline)
        try:
            with run.stage('crop', 0.02):
                view = crop_object(frame, mask)
            self.load()
            shape = self._method.lift(view, np.random.default_rng(seed), run)
        except MemoryError as error:
            raise LiftError(
                ErrorCode.OUT_OF_MEMORY, 'The memory ran out; lower the resolution of the method.'
            ) from error
        run.check('done', 1.0)
        return replace(shape, method=self.name, seconds={**run.seconds, 'total': run.total})
