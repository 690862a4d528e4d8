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

"""The predictors by name: methods of the package, their ablations, and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.ablation import Variant
from lift3d_ros.bench.ablation import VARIANTS
from lift3d_ros.bench.baselines import BASELINES
from lift3d_ros.bench.baselines import MeanShape
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.prediction import Predictor
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.lifter import LEARNED
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.lifter import METHODS
from lift3d_ros.observation.hints import ScaleHints

#: All predictors: baselines, methods, variants of a method.
NAMES = (*BASELINES, MeanShape.name, *METHODS, *VARIANTS)


class MethodPredictor:
    """A method of the package, as ``Lifter`` runs it."""

    def __init__(self, lifter: Lifter, timeout: float) -> None:
        """Keep the method and the seconds after which a lift fails."""
        self._lifter, self._timeout = lifter, timeout

    def predict(
        self, frame: Frame, mask: NDArray[np.bool_], seed: int, *, scale: ScaleHints | None = None,
        further: Sequence[SourceView] = (), **_: Any
    ) -> Prediction:
        """Return the lifted shape; ``scale`` and ``further`` as in ``LiftRequest``."""
        deadline = time.monotonic() + self._timeout
        request = LiftRequest(mask, scale or ScaleHints(), tuple(further), seed=seed)
        shape = self._lifter.lift(frame, request, deadline=deadline)
        return Prediction.from_shape(shape, shape.seconds)


def check_names(names: Sequence[str]) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for a predictor that does not exist."""
    for name in names:
        if name not in NAMES:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'There is no method or baseline "{name}"; choose from {", ".join(NAMES)}.',
            )


def make_predictor(
    name: str, mean_shape: Path, timeout: float, weights: str | None = None,
    samples: int | None = None
) -> Predictor:
    """
    Return the predictor of a name.

    ``mean_shape`` is the file of the baseline ``mean``, ``timeout`` the seconds after which a lift
    fails; ``weights`` and ``samples`` apply to methods with networks. Raises ``LiftError`` where a
    file is missing.
    """
    if name == MeanShape.name:
        return MeanShape.read(mean_shape)
    if name in BASELINES:
        return BASELINES[name]()
    if name in VARIANTS:
        return Variant(name, timeout, weights or 'small')
    learned = name in LEARNED
    lifter = Lifter(
        name, weights=weights if learned else None, samples=samples if learned else None)
    return MethodPredictor(lifter, timeout)
