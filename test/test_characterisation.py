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
Every method with its settings gives what is stored: shape, colours, confidence, pose, notes.

``characterisation.py`` has the cases and the tolerances, and stores the values anew.
"""

from __future__ import annotations

from collections.abc import Iterator

import characterisation as net
import pytest


@pytest.fixture(scope='module')
def lifters(one_thread: None) -> Iterator[net.Lifters]:
    """Return the loaded lifters."""
    with net.Lifters() as made:
        yield made


@pytest.fixture(scope='module')
def stored() -> tuple[dict, dict]:
    return net.read()


def test_what_is_stored_are_the_cases(stored):
    values, points = stored
    assert set(values) == set(net.NAMES)
    assert set(points) == {case for case in values if values[case]['error'] is None}


@pytest.mark.parametrize('case', net.NAMES)
def test_the_lift_gives_what_is_stored(case, lifters, stored):
    values, points = stored
    found, shape = net.run(lifters, case)
    lines = net.differences(case, found, values[case])
    if shape is not None and case in points:
        lines += net.point_differences(case, shape, points[case])
    assert not lines, '\n'.join(lines)
