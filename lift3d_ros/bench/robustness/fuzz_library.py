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
Damaged scene folders, pictures, bags, weights and checkpoints against the readers of the library.

    python -m lift3d_ros.bench.robustness --cases 100000 --seed 0 --out bench_out/fuzz

Each case damages one file of a good input in its structure or its bytes. The reader must return,
or raise a ``LiftError``, within ``--timeout`` seconds. After every thousand cases the good inputs
must still be read with the same result, and the memory is noted. A case is repeated by its number:
``--first N --cases 1``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
import json
from pathlib import Path
import signal
import sys
import tempfile
import traceback
from types import FrameType
from typing import Any

import numpy as np
import psutil

from lift3d_ros.bench.robustness.targets import make_targets
from lift3d_ros.bench.robustness.targets import Target
from lift3d_ros.errors import LiftError

#: Cases between two checks of the good inputs.
CHECK_EVERY = 1000


class Hang(BaseException):
    """A reader did not return in time; no handler of exceptions may catch it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``Hang`` after so many seconds."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def run(
    targets: Sequence[Target], first: int, cases: int, seed: int, timeout: float
) -> dict[str, Any]:
    """Try the cases; return outcomes by kind, the faults found, and the memory in MB."""
    outcomes: dict[str, Counter[str]] = {target.name: Counter() for target in targets}
    faults: list[dict[str, Any]] = []
    resident = []
    for number in range(first, first + cases):
        rng = np.random.default_rng([seed, number])
        target = targets[number % len(targets)]
        done, trace = target.damage(rng), ''
        try:
            with time_limit(timeout):
                target.read()
            outcome = 'read'
        except LiftError as error:
            outcome = error.code.value
        except Hang:
            outcome, trace = 'HANG', traceback.format_exc()
        except Exception as error:
            outcome, trace = type(error).__name__, traceback.format_exc()
        outcomes[target.name][outcome] += 1
        if outcome == 'HANG' or not (outcome == 'read' or outcome.isupper()):
            faults.append({'case': number, 'input': target.name, 'damage': done,
                           'outcome': outcome, 'trace': trace})
        target.mend()
        if (number - first + 1) % CHECK_EVERY == 0 or number == first + cases - 1:
            resident.append(round(psutil.Process().memory_info().rss / 2**20, 1))
            for kind in targets:
                if kind.read() != kind.good:
                    faults.append({'case': number, 'input': kind.name, 'damage': 'none',
                                   'outcome': 'a good input is read differently', 'trace': ''})
    return {'outcomes': {name: dict(found) for name, found in outcomes.items()},
            'faults': faults, 'resident_mb': resident}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases of the command line; return 1 if a fault was found."""
    parser = argparse.ArgumentParser(
        prog='python -m lift3d_ros.bench.robustness', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', type=int, default=1000)
    parser.add_argument('--first', type=int, default=0, help='number of the first case')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--timeout', type=float, default=10.0, help='seconds of one case')
    parser.add_argument('--out', type=Path, help='folder for fuzz_library.json')
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as root:
        found = run(make_targets(Path(root)), options.first, options.cases, options.seed,
                    options.timeout)
    print(json.dumps({key: value for key, value in found.items() if key != 'faults'}, indent=1))
    for fault in found['faults']:
        print(f'case {fault["case"]}: {fault["input"]}, {fault["damage"]}: {fault["outcome"]}\n'
              f'{fault["trace"]}', file=sys.stderr)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / 'fuzz_library.json').write_text(json.dumps(found, indent=1) + '\n')
    print(f'{options.cases} cases, {len(found["faults"])} faults')
    return 1 if found['faults'] else 0
