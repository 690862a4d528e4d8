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

"""Parts of the node by themselves: age, what is kept, lifters, and the trace of a fault."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

import rclpy
from rclpy.parameter import Parameter
import ros_helpers as ros

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import Lifter
from lift3d_ros.messages.geometry import seconds
from lift3d_ros.node.inputs.age import check_age
from lift3d_ros.node.inputs.age import image_age
from lift3d_ros.node.lifting.object_history import ObjectHistory
from lift3d_ros.node.lifting.object_history import Snapshot
from lift3d_ros.node.lifting.pipeline import LiftingPipeline
from lift3d_ros.node.lifting.result_store import ResultStore
from lift3d_ros.node.messages.geometry import duration_message
from lift3d_ros.node.node import LiftNode
from lift3d_ros.node.services.service_errors import Pace
from lift3d_ros.node.worker import as_lift_error
from lift3d_ros.node.worker import Job
from lift3d_ros.node.worker import Lifters
from lift3d_ros.node.worker import LifterSettings
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros


# --- age ---


def test_the_age_is_from_the_stamp_to_now():
    assert image_age(Time(sec=10, nanosec=900_000_000), Time(sec=12)) == pytest.approx(1.1)
    assert image_age(Time(sec=12), Time(sec=10)) == pytest.approx(-2.0)
    assert image_age(Time(), Time(sec=12)) is None


@pytest.mark.parametrize(('age', 'limit', 'stale'), [
    (1.0, 0.0, False), (None, 0.0, False), (1.0, 1.0, False), (1.001, 1.0, True),
    (-5.0, 1.0, False), (None, 1.0, True), (1.7e9, 60.0, True),
])
def test_an_image_is_stale_beyond_the_limit_or_where_its_age_is_not_known(age, limit, stale):
    if not stale:
        check_age(age, limit)
        return
    with pytest.raises(LiftError) as caught:
        check_age(age, limit)
    assert caught.value.code is ErrorCode.STALE
    assert 'max_age' in caught.value.message


@pytest.mark.parametrize('value', [0.0, 0.25, 61.5, -3.75, 2.0e9])
def test_a_duration_comes_back(value):
    assert seconds(duration_message(value)) == pytest.approx(value, abs=1e-6)


def test_a_duration_beyond_all_bounds_is_a_message():
    assert seconds(duration_message(1e300)) > 2e9
    assert seconds(duration_message(-1e300)) < -2e9


# --- what is kept ---


def snapshot(width: int = 320) -> Snapshot:
    frame, labels = ros.table_scene((0.0, 0.0, 0.05), width=width, height=3 * width // 4)
    return Snapshot(frame, labels > 0, None, 'a frame')


def test_kept_frames_are_bounded_by_bytes_and_the_oldest_go_first():
    history, shape = ObjectHistory(), Any
    one = snapshot()
    size = one.reduced().nbytes
    for name in 'abcde':
        history.keep(name, shape, [one, one], 5 * size)
    assert history.nbytes <= 5 * size
    assert len(history.frames('e')) == len(history.frames('d')) == 2
    with pytest.raises(LiftError, match='kept_megabytes'):
        history.frames('a')
    # The newest frames of the newest object stay as long as one fits.
    history.keep('f', shape, [one] * 9, 3 * size)
    assert len(history.frames('f')) == 3
    assert history.nbytes == 3 * size
    history.keep('g', shape, [one], size - 1)
    assert history.nbytes == 0


def lifted(name: str, count: int) -> Any:
    mesh = SimpleNamespace(
        vertices=np.zeros((count, 3), np.float32),
        faces=np.zeros((count, 3), np.int32),
        colors=np.zeros((count, 3), np.uint8),
    )
    shape = SimpleNamespace(
        mesh=mesh, confidence=np.zeros(count, np.float32), observed=np.zeros(count, bool)
    )
    return SimpleNamespace(id=name, shape=shape)


def test_kept_shapes_are_bounded_by_bytes_and_the_newest_stays():
    store = ResultStore(max_bytes=70_000)
    for name in 'abcd':
        store.keep(lifted(name, 1000))
    assert list(store.ids()) == ['c', 'd']
    store.keep(lifted('large', 100_000))
    assert list(store.ids()) == ['large']


# --- lifters ---


def test_a_lifter_of_other_numbers_replaces_the_one_before(monkeypatch):
    unloaded = []
    monkeypatch.setattr(Lifter, 'unload', lambda self: unloaded.append(self))
    lifters = Lifters('cpu')
    first = lifters.get('geometric', LifterSettings(1000))
    assert lifters.get('geometric', LifterSettings(1000)) is first
    second = lifters.get('geometric', LifterSettings(500))
    assert second is not first
    assert unloaded == [first]
    lifters.unload()
    assert unloaded == [first, second]


# --- faults ---


def test_every_error_has_a_code():
    assert as_lift_error(MemoryError()).code is ErrorCode.OUT_OF_MEMORY
    known = LiftError(ErrorCode.STALE, 'Old.')
    assert as_lift_error(known) is known
    assert as_lift_error(KeyError('a')).code is ErrorCode.INTERNAL


def test_an_internal_error_leaves_its_traceback_in_the_log(capfd, monkeypatch):
    def fail(*arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError('one over nothing')

    context = rclpy.Context()
    rclpy.init(context=context)
    node = LiftNode(
        context=context, parameter_overrides=[Parameter('method', value='geometric')]
    )
    try:
        node.trigger_configure()
        node.trigger_activate()
        monkeypatch.setattr(LiftingPipeline, 'lift', fail)
        answer = node.request_services[0].callback(
            LiftObject.Request(**ros.messages(*ros.BALL)), LiftObject.Response()
        )
        done = Job(lambda job, lifters: None)
        node.worker.submit(done)
        node.worker.wait(done)
    finally:
        node.trigger_shutdown()
        node.destroy_node()
        context.try_shutdown()
    assert answer.error_code == 'INTERNAL'
    assert 'ZeroDivisionError' in answer.message
    log = capfd.readouterr().err
    assert '[ERROR]' in log
    assert 'Traceback (most recent call last)' in log
    assert "raise ZeroDivisionError('one over nothing')" in log


# --- answers ---


def test_answers_at_the_same_time_are_spread_and_lone_ones_do_not_wait():
    pace = Pace(burst=3, period=0.05)
    start = time.monotonic()
    ends = []
    for _ in range(6):
        pace.wait()
        ends.append(time.monotonic() - start)
    # Three at once, and each of the others waits for its turn.
    assert ends[5] >= 3 * 0.05
    time.sleep(6 * 0.05)
    assert pace.delay() == 0.0
