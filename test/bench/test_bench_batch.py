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


"""The overhead of batches: what is counted, and one short measurement."""

from __future__ import annotations

import argparse
import importlib.util

from batch_helpers import write_tiny_scene
import pytest

from lift3d_ros.bench.timing import batch_overhead


def test_the_first_item_of_each_worker_is_not_counted():
    # Two workers, busy for 0.9 of each second after their first items.
    records = [
        {'worker': worker, 'time': 10.0 + step + offset, 'seconds': 5.0 if step == 0 else 0.9}
        for step in range(5) for worker, offset in (('a', 0.0), ('b', 0.5))
    ]
    seconds, idle = batch_overhead._measured(records)
    # From 10.5 to 14.5 there are eight items.
    assert seconds == pytest.approx(0.5)
    assert idle == pytest.approx(0.1)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason='ray is not installed')
def test_the_engine_is_measured_beside_a_loop(tmp_path):
    figures = batch_overhead.run(argparse.Namespace(
        scene=write_tiny_scene(tmp_path / 'tiny'), method='geometric', count=6, rounds=2))
    assert figures['loop_seconds'][0] > 0.0
    assert abs(figures['one_idle'][0]) < 0.2
    assert len(batch_overhead.as_rows(figures)) == 9
