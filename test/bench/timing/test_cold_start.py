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

"""The timing of a cold start measures processes of this checkout and of another one."""

import pytest

from lift3d_ros.bench.timing import cold_start
from lift3d_ros.errors import LiftError


def test_seconds_of_processor_are_those_of_the_process(tmp_path):
    (tmp_path / 'work.py').write_text('sum(range(10_000_000))\n')
    commands = {
        'short': ['-c', 'pass'],
        # Only the other checkout has the module.
        'long': ['-c', 'try:\n    import work\nexcept ImportError:\n    pass'],
    }
    figures = cold_start.measure(commands, 2, tmp_path)
    busy = {name: mean for name, (mean, _) in figures['busy'].items()}
    assert set(busy) == {'short', 'long', 'other: short', 'other: long'}
    assert busy['other: long'] > busy['long'] > 0.0
    assert figures['ratio']['long'][0] > 1.0
    assert len(cold_start.as_rows(figures)) == 7


def test_a_process_that_fails_is_an_error_with_its_last_line():
    with pytest.raises(LiftError, match='broken on purpose'):
        cold_start.measure({'bad': ['-c', 'raise ValueError("broken on purpose")']}, 1)
