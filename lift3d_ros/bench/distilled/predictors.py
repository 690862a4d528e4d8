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

"""The predictors of a run over distilled methods: the methods, their variants, and controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lift3d_ros.bench.distilled.controls import Control
from lift3d_ros.bench.distilled.controls import LOSSES
from lift3d_ros.bench.prediction import Predictor
from lift3d_ros.bench.predictors import MethodPredictor
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import DISTILLED
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import METHODS

#: The feed-forward method; the radiance field that is fitted to its field and starts a
#: distillation, and the same with blurred views.
FEED_FORWARD, START, BLURRED = 'one2345', 'start', 'start/blurred'

#: After the name of a method or control: it starts from an empty field.
SCRATCH = '/scratch'

#: All controls, in the order of the tables.
CONTROLS = (
    FEED_FORWARD, START, BLURRED, 'input', 'regularised', 'anchored', 'input/scratch',
    'regularised/scratch')

#: Settings that a variant of a method changes, by what follows the name of the method.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    'neurallift360': {
        '/no-ranking': {'ranking': 0.0},
        '/scratch/no-ranking': {'ranking': 0.0, 'init': 'scratch'},
        '/null-token': {'adaptation': 'none'},
    },
    # Any object, and no prior: what the token of the object is worth.
    'realfusion': {
        '/scratch/null-token': {'tokens': 'null', 'init': 'scratch'},
        '/scratch/no-prior': {'tokens': 'none', 'init': 'scratch'},
    },
}


def predictor_names() -> tuple[str, ...]:
    """Return the names of all predictors."""
    methods = [name + ending for name in DISTILLED
               for ending in ('', SCRATCH, *VARIANTS.get(name, {}))]
    return (*CONTROLS, *methods)


def references(name: str) -> tuple[str, ...]:
    """Return the predictors that one is compared with in pairs."""
    method = name.partition('/')[0]
    if method not in DISTILLED:
        return ()
    others = [START, 'regularised', 'anchored', FEED_FORWARD, method]
    if SCRATCH in name:
        others = ['input/scratch', 'regularised/scratch', FEED_FORWARD, method + SCRATCH]
    return tuple(other for other in others if other != name)


def make_lifter(name: str, weights: str, preset: str, steps: int) -> Lifter:
    """
    Return the lifter of a predictor.

    ``weights`` are small weights, of the feed-forward method and of the priors; ``preset`` and
    ``steps`` are of the methods, empty and 0 for their defaults. Raises ``LiftError(BAD_REQUEST)``
    for settings that a method does not have.
    """
    kind, _, ending = name.partition('/')
    init = 'scratch' if SCRATCH[1:] in ending.split('/') else 'one2345'
    if kind == FEED_FORWARD:
        return Lifter(FEED_FORWARD, weights=weights)
    if kind in LOSSES:
        return Lifter(Control(weights, steps=steps or None, init=init, losses=kind))
    changes = VARIANTS.get(kind, {}).get('/' + ending, {})
    # Weights of the small kind are those of a method's prior, too.
    given = {'weights': weights, **({'preset': preset} if preset else {})}
    return Lifter(METHODS[kind](**{'steps': steps or None, 'init': init, **given, **changes}))


def ready_methods(weights: str) -> list[str]:
    """Return the distilled methods for which there are weights, from both starts."""
    names = []
    for name in DISTILLED:
        try:
            make_lifter(name, weights, '', 0).check()
        except LiftError as error:
            if error.code is not ErrorCode.WEIGHTS_MISSING:
                raise
            print(f'{name} is left out: {error.message}')
        else:
            names += [name, name + SCRATCH]
    return names


def check_predictors(names: Sequence[str], weights: str, preset: str, steps: int) -> None:
    """Check that weights and settings of predictors exist; raises ``LiftError``."""
    for name in names:
        make_lifter(name, weights, preset, steps).check()


def make_distilled(
    name: str, weights: str, preset: str, steps: int, timeout: float
) -> Predictor:
    """Return a predictor; ``timeout`` in seconds, the other arguments as ``make_lifter`` has."""
    return MethodPredictor(make_lifter(name, weights, preset, steps), timeout)
