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


"""Distribution of items: attempts, lost and hung workers, parts, statistics. Without Ray."""

from __future__ import annotations

from collections import Counter
from collections import deque
import random
import time

import pytest

from lift3d_ros.batch.items import Item
from lift3d_ros.batch.items import SCENE
from lift3d_ros.batch.pool import Done
from lift3d_ros.batch.pool import Lost
from lift3d_ros.batch.pool import Ready
from lift3d_ros.batch.pool import Refused
from lift3d_ros.batch.scheduler import Scheduler
from lift3d_ros.batch.statistics import duration
from lift3d_ros.batch.statistics import Statistics
from lift3d_ros.batch.work import STOP
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

ITEMS = [Item(f'{number:03d}', SCENE, f'/{number}') for number in range(40)]


class ScriptedPool:
    """A pool in which ``outcome`` decides what becomes of the oldest item of a worker."""

    def __init__(self, outcome, start=lambda number: Ready(number, f'w{number}'), seed=0):
        self.outcome = outcome
        self.start_event = start
        self.rng = random.Random(seed)
        self.queues: dict[int, deque] = {}
        self.news: list = []
        self.worked = Counter()
        self.started = 0

    def start(self):
        number, self.started = self.started, self.started + 1
        self.queues[number] = deque()
        event = self.start_event(number)
        if event is not None:
            self.news.append(event)
        return number

    def submit(self, worker, item, picture):
        self.queues[worker].append(item)

    def end(self, worker):
        del self.queues[worker]

    def wait(self, timeout):
        news, self.news = self.news, []
        if news:
            return news
        busy = [number for number, queue in self.queues.items() if queue]
        if not busy:
            time.sleep(0.01)
            return []
        number = self.rng.choice(busy)
        item = self.queues[number].popleft()
        result = self.outcome(item, self.worked[item.key])
        self.worked[item.key] += 1
        if result == 'lost':
            del self.queues[number]
            return [Lost(number, 'killed')]
        if result == 'hang':
            time.sleep(0.02)
            self.queues[number].appendleft(item)
            return []
        return [Done(number, {'key': item.key, 'kind': item.kind, **result})]

    def close(self):
        pass


def ok(item, attempt):
    return {'ok': True}


def run(pool, items=None, follow=lambda item: (), workers=3, **options):
    records = []

    def record(item, entry):
        records.append(entry)
        return follow(item)

    scheduler = Scheduler(pool, workers, record, **options)
    scheduler.run([(item, False) for item in (ITEMS if items is None else items)])
    return scheduler, records


def keys(records):
    return sorted(record['key'] for record in records)


def test_every_item_is_recorded_once():
    pool = ScriptedPool(ok)
    _, records = run(pool)
    assert keys(records) == [item.key for item in ITEMS]
    assert {record['attempts'] for record in records} == {1}
    assert pool.started == 3


def test_a_failure_is_tried_again_twice_and_then_recorded():
    failure = {'ok': False, 'error': {'code': 'NO_SURFACE', 'message': ''}}
    pool = ScriptedPool(
        lambda item, attempt: failure if item.key == '007' or (
            item.key == '011' and attempt < 2) else {'ok': True})
    scheduler, records = run(pool)
    assert keys(records) == [item.key for item in ITEMS]
    attempts = {record['key']: (record['ok'], record['attempts']) for record in records}
    assert attempts['007'] == (False, 3)
    assert attempts['011'] == (True, 3)
    assert scheduler.retried == 4


@pytest.mark.parametrize('seed', range(20))
def test_nothing_is_lost_or_done_twice_when_workers_are_lost_at_random(seed):
    rng = random.Random(seed)
    lost = Counter()

    def outcome(item, attempt):
        if rng.random() < 0.15:
            lost[item.key] += 1
            return 'lost'
        return {'ok': True}

    scheduler, records = run(ScriptedPool(outcome, seed=seed))
    assert keys(records) == [item.key for item in ITEMS]
    assert scheduler.lost == sum(lost.values())
    for record in records:
        # Only the item that the worker worked on counts an attempt.
        assert record['ok'] is (lost[record['key']] < 3)
        assert record['attempts'] == min(lost[record['key']] + 1, 3)


def test_an_item_that_ends_each_worker_is_listed_with_the_reason():
    pool = ScriptedPool(lambda item, attempt: 'lost' if item.key == '005' else {'ok': True})
    scheduler, records = run(pool)
    failed = [record for record in records if not record['ok']]
    assert [record['key'] for record in failed] == ['005']
    assert failed[0]['error']['code'] == 'INTERNAL'
    assert scheduler.lost == 3
    assert len(records) == len(ITEMS)


def test_a_worker_that_hangs_is_ended():
    pool = ScriptedPool(
        lambda item, attempt: 'hang' if item.key == '002' else {'ok': True})
    scheduler, records = run(pool, ITEMS[:6], limit=0.5)
    assert [record['key'] for record in records if not record['ok']] == ['002']
    assert len(records) == 6
    assert scheduler.lost == 3


def test_what_follows_from_an_item_is_worked_on():
    children = [Item(f'000/{part}', SCENE, '/0') for part in range(5)]
    _, records = run(
        ScriptedPool(ok), ITEMS[:2], lambda item: children if item.key == '000' else ())
    assert keys(records) == sorted(['000', '001', *(item.key for item in children)])


def test_a_full_disk_ends_the_batch_after_what_was_done():
    stop = {'code': 'BAD_REQUEST', 'message': 'full'}
    done = []
    pool = ScriptedPool(
        lambda item, attempt: {'ok': False, STOP: stop} if item.key == '020' else {'ok': True})
    scheduler = Scheduler(pool, 3, lambda item, entry: done.append(entry) or ())
    with pytest.raises(LiftError) as caught:
        scheduler.run([(item, False) for item in ITEMS])
    assert caught.value.message == 'full'
    assert done and all(record['ok'] for record in done)


def test_workers_that_end_before_they_are_ready_end_the_batch():
    pool = ScriptedPool(ok, start=lambda number: Lost(number, 'no memory'))
    with pytest.raises(LiftError) as caught:
        run(pool)
    assert caught.value.code is ErrorCode.INTERNAL
    assert pool.started <= 8


def test_a_worker_that_cannot_work_ends_the_batch_with_its_error():
    error = LiftError(ErrorCode.WEIGHTS_MISSING, 'none')
    with pytest.raises(LiftError) as caught:
        run(ScriptedPool(ok, start=lambda number: Refused(number, error)))
    assert caught.value is error


def test_workers_that_never_come_end_the_batch():
    with pytest.raises(LiftError) as caught:
        run(ScriptedPool(ok, start=lambda number: None), start_timeout=0.1)
    assert caught.value.code is ErrorCode.TIMEOUT


def test_no_more_workers_start_than_there_are_items():
    pool = ScriptedPool(ok)
    run(pool, ITEMS[:2], workers=8)
    assert pool.started == 2


def test_rate_and_time_left_follow_the_last_minutes():
    statistics = Statistics(100, window=60.0, now=0.0)
    assert statistics.snapshot(10.0).rate is None
    for second in range(1, 41):
        statistics.add(second > 4, now=float(second))
    snapshot = statistics.snapshot(40.0)
    assert (snapshot.done, snapshot.failed) == (40, 4)
    assert snapshot.rate == pytest.approx(1.0)
    assert snapshot.left == pytest.approx(60.0)
    # Half as fast from here: the rate follows.
    for step in range(1, 51):
        statistics.add(True, now=40.0 + 2.0 * step)
    assert statistics.snapshot(140.0).rate == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(('seconds', 'text'), [
    (0.4, '0 s'), (59, '59 s'), (60, '1 min'), (3725, '1 h 2 min'), (90000, '1 d 1 h')])
def test_a_duration_has_its_two_largest_units(seconds, text):
    assert duration(seconds) == text
