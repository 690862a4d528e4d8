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

"""Ablation of the method one2345: the method with one setting changed at a time."""

from __future__ import annotations

from dataclasses import replace
import functools
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.synthetic.true_views import object_from_canonical
from lift3d_ros.synthetic.true_views import true_view

#: Predictors by name, and the settings of the method that they change.
VARIANTS: dict[str, dict[str, Any]] = {
    'one2345/views=0': {'views': 0},
    'one2345/views=1': {'views': 1},
    'one2345/views=4': {'views': 4},
    'one2345/views=8': {'views': 8},
    'one2345/views=32': {'views': 32},
    'one2345/coarse-views': {'views': 8, 'coarse': True},
    'one2345/true-views': {'views': 8},
    'one2345/no-symmetries': {'views': 8, 'symmetries': False},
    'one2345/samples=4': {'views': 8, 'samples': 4},
}

#: The variant that the others are compared with.
REFERENCE = 'one2345/views=8'

#: The variant that takes renders of the scan in place of synthesised views.
TRUE_VIEWS = 'one2345/true-views'

#: Side of true renders, pixels: that of the synthesised views.
_SIZE = 128


class Variant:
    """One of ``VARIANTS``."""

    def __init__(self, name: str, timeout: float, weights: str) -> None:
        """Choose it, and the seconds after which a lift fails; nothing is loaded yet."""
        self._name, self._timeout, self._weights = name, timeout, weights

    def predict(
        self, frame: Frame, mask: NDArray[np.bool_], seed: int, *, truth: Truth | None = None,
        **_: Any
    ) -> Prediction:
        """
        Return the lifted shape; ``truth``, with its light, is read by ``TRUE_VIEWS`` only.

        Raises ``LiftError``, also ``BAD_REQUEST`` for true views without a truth.
        """
        changes = VARIANTS[self._name]
        method = replace(_loaded(self._weights, changes.get('samples', 1)), **changes)
        source = None
        if self._name == TRUE_VIEWS:
            if truth is None:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'{TRUE_VIEWS} renders the true mesh of an object, which is unknown here; '
                    'leave it out.',
                )
            light = truth.light or Light()
            source = functools.partial(_true_views, truth, light, method.views)
        shape = Lifter(replace(method, view_source=source)).lift(
            frame, LiftRequest(mask, seed=seed), deadline=time.monotonic() + self._timeout
        )
        return Prediction.from_shape(shape, shape.seconds)


@functools.cache
def _loaded(weights: str, samples: int) -> One2345:
    """Return the method with its networks, which all variants of a process share."""
    method = One2345(weights=weights, samples=samples)
    method.load()
    return method


def _true_views(
    truth: Truth, light: Light, count: int, canonical: CanonicalFrame
) -> tuple[NDArray[np.uint8], Array]:
    """Return renders of the scan where the synthesised views would be, and their poses."""
    from lift3d_ros.methods.small_reconstructor import view_plan

    low, high = truth.mesh.vertices.min(axis=0), truth.mesh.vertices.max(axis=0)
    T_object_canonical = object_from_canonical(
        canonical, truth.T_camera_object, 0.5 * (low + high).astype(np.float64)
    )
    caster = Raycaster([truth.mesh])
    poses = view_plan(count)
    pictures = [true_view(caster, T_object_canonical, pose, _SIZE, light) for pose in poses]
    return np.stack(pictures), poses
