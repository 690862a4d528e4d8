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

"""The parts of the node by themselves: selection, synchronisation, the worker, parameters."""

from __future__ import annotations

from pathlib import Path
import threading
import time
from types import SimpleNamespace

from error_helpers import raises_code
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

import rclpy
import ros_helpers as ros
from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import DEFAULT_METHOD
from lift3d_ros.node.diagnostics import LogOnce
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.inputs.synchronizer import Synchronizer
from lift3d_ros.node.lifting.result_store import output_path
from lift3d_ros.node.lifting.result_store import ResultStore
from lift3d_ros.node.parameters.reference import parameter_file
from lift3d_ros.node.parameters.settings import SPECS
from lift3d_ros.node.services.service_errors import service_errors
from lift3d_ros.node.worker import Job
from lift3d_ros.node.worker import Lifters
from lift3d_ros.node.worker import Worker
from lift3d_ros.segmentation import instances as selection
from lift3d_ros.segmentation.instances import Detection
from lift3d_ros.segmentation.object_ids import ObjectIds
from lift3d_ros.srv import SaveObject

pytestmark = pytest.mark.ros

ROOT = Path(__file__).parents[2]


def squares(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Return a mask of 100 x 120 with squares left, top, right, bottom, numbered from 1."""
    mask = np.zeros((100, 120), np.uint8)
    for k, (left, top, right, bottom) in enumerate(boxes):
        mask[top:bottom, left:right] = k + 1
    return mask


# --- selection ---

def test_components_are_objects_and_specks_are_not():
    mask = squares((10, 10, 30, 30), (50, 50, 90, 80), (100, 5, 103, 8))
    found = selection.instances_of_binary(mask)
    assert [instance.box for instance in found] == [(50, 50, 90, 80), (10, 10, 30, 30)]
    assert [instance.pixels for instance in found] == [1200, 400]
    np.testing.assert_array_equal(found[0].mask, mask == 2)
    whole, = selection.instances_of_binary(mask, split=False)
    assert (whole.box, whole.pixels) == ((10, 5, 103, 80), 1609)


def test_a_lone_speck_is_left_for_the_library_to_refuse():
    found, = selection.instances_of_binary(squares((100, 5, 103, 8)))
    assert found.pixels == 9


@given(st.lists(st.tuples(*[st.integers(0, 100)] * 4), max_size=4))
def test_components_part_the_mask(boxes):
    mask = squares(*((min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes))
    if not mask.any():
        with raises_code(ErrorCode.EMPTY_MASK):
            selection.instances_of_binary(mask)
        return
    total = np.zeros(mask.shape, int)
    for instance in selection.instances_of_labels(mask):
        left, top, right, bottom = instance.box
        assert instance.pixels == np.count_nonzero(instance.mask)
        assert instance.pixels == np.count_nonzero(instance.mask[top:bottom, left:right])
        total += instance.mask
    np.testing.assert_array_equal(total, mask > 0)


def test_two_touching_discs_have_a_neck_and_a_mug_has_none():
    y, x = np.mgrid[:100, :120]
    def disc(u, v, r):
        return (x - u) ** 2 + (y - v) ** 2 < r * r

    def neck(mask):
        return selection.has_neck(selection.instances_of_binary(mask.astype(np.uint8))[0])

    assert neck(disc(40, 50, 21) | disc(80, 50, 21))
    handle = disc(85, 50, 18) & ~disc(85, 50, 13)
    mug = (abs(x - 55) < 25) & (abs(y - 50) < 30)
    assert not neck(mug | handle)
    assert not neck(disc(50, 50, 30))


def test_a_box_finds_what_stands_before_a_tilted_support():
    v, u = np.mgrid[:100, :120]
    depth = (1.0 / (1.0 + 0.004 * v)).astype(np.float32)
    thing = (abs(u - 60) < 15) & (abs(v - 50) < 20)
    depth[thing] -= 0.06
    depth[::7, ::5] = 0.0
    image = np.where(thing[..., None], (200, 60, 40), (90, 90, 110)).astype(np.uint8)
    boxes = [
        Detection((35, 20, 85, 80), 'mug', 0.4),
        Detection((34, 19, 86, 81), 'cup', 0.9),
        Detection((90, 60, 119, 99), 'nothing is there', 0.95),
    ]
    found = selection.instances_of_detections(boxes, image, depth)
    assert [instance.class_id for instance in found] == ['cup', 'mug']
    for instance in found:
        both = np.count_nonzero(instance.mask & thing)
        assert both > 0.95 * np.count_nonzero(instance.mask | thing)
    assert selection.select_class(found, '').class_id == 'cup'
    assert selection.select_class(found, 'mug').score == pytest.approx(0.4)
    with raises_code(ErrorCode.NO_OBJECT):
        selection.select_class(found, 'pan')
    with raises_code(ErrorCode.EMPTY_MASK):
        selection.instances_of_detections(boxes[2:], image, depth)


def test_ids_follow_a_moving_object_and_are_not_given_twice():
    keeper = ObjectIds()
    first = selection.instances_of_binary(squares((10, 10, 40, 40), (60, 60, 80, 80)))
    moved = selection.instances_of_binary(squares((15, 12, 45, 42), (10, 70, 40, 95)))
    a, b = keeper.assign(first, True)
    ids = keeper.assign(moved, True)
    assert ids[0] == a
    assert ids[1] not in (a, b)
    labelled = selection.instances_of_labels(squares((0, 0, 20, 20), (50, 0, 60, 20)))
    assert keeper.assign(labelled, True) == ['label_1', 'label_2']


# --- synchronisation ---

SECOND = 1_000_000_000


def synchronizer(**values) -> Synchronizer:
    return Synchronizer('mask', ('image', 'depth'), ('camera_info',), **values)


@pytest.mark.parametrize(('raised', 'code', 'message'), [
    (LiftError(ErrorCode.NO_OBJECT, 'There is none.'), 'NO_OBJECT', 'There is none.'),
    (ZeroDivisionError('by nothing'), 'INTERNAL', 'ZeroDivisionError: by nothing'),
])
def test_a_service_answers_whatever_goes_wrong(raised, code, message):
    class Service:
        @service_errors
        def on_request(self, request, response):
            response.success = True
            raise raised

    answer = Service().on_request(SaveObject.Request(), SaveObject.Response())
    assert not answer.success
    assert (answer.error_code, answer.message) == (code, message)


def test_references_that_a_newer_match_passes_over_are_counted():
    topics = Synchronizer('mask', ('image',), tolerance=0.01)
    assert topics.add('image', 0, 'image') is None
    assert topics.add('mask', 0, 'mask') is not None
    assert topics.passed_over == 0
    for k in (1, 2, 3):
        assert topics.add('mask', k * SECOND, f'mask {k}') is None
    match = topics.add('image', 3 * SECOND, 'image 3')
    assert match is not None and match.stamp == 3 * SECOND
    assert topics.passed_over == 2
    assert topics.add('image', 1 * SECOND, 'image 1') is None
    assert topics.passed_over == 2


def test_a_late_mask_finds_its_image():
    topics = synchronizer(tolerance=0.02)
    topics.add('camera_info', 0, 'info')
    for k in range(5):
        assert topics.add('image', k * SECOND // 30, f'image {k}') is None
        assert topics.add('depth', k * SECOND // 30 + 1, f'depth {k}') is None
    match = topics.add('mask', 2 * SECOND // 30, 'mask')
    assert match is not None
    assert dict(match.messages) == {
        'mask': 'mask', 'image': 'image 2', 'depth': 'depth 2', 'camera_info': 'info'
    }
    # The same instant is not given twice, but it can be asked for.
    assert topics.add('depth', 2 * SECOND // 30 + 2, 'depth again') is None
    assert topics.newest().get('mask') == 'mask'
    assert topics.newest(without=('mask',)).get('image') == 'image 4'
    assert topics.newest(without=('mask',), stamp=SECOND // 30).get('image') == 'image 1'


def test_a_mask_that_outruns_its_image_waits_for_it():
    topics = Synchronizer('mask', ('image',), tolerance=0.05)
    topics.add('image', 10 * SECOND, 'image 0')
    assert topics.add('mask', 10 * SECOND, 'mask 0').get('image') == 'image 0'
    # 30 ms later, well within the tolerance of the last image.
    assert topics.add('mask', 10 * SECOND + 30_000_000, 'mask 1') is None
    assert topics.add('image', 10 * SECOND + 30_000_000, 'image 1').get('image') == 'image 1'


def test_stamps_that_differ_meet_when_nothing_nearer_comes():
    topics = Synchronizer('mask', ('image',), tolerance=0.05)
    topics.add('image', 10 * SECOND, 'image')
    assert topics.add('mask', 10 * SECOND + 20_000_000, 'mask') is None
    assert topics.newest() is None
    time.sleep(0.06)
    assert topics.newest().get('image') == 'image'


def test_an_older_match_does_not_come_after_a_newer_one():
    topics = Synchronizer('mask', ('image',), tolerance=0.01)
    topics.add('mask', SECOND, 'old')
    topics.add('mask', SECOND + SECOND // 10, 'new')
    assert topics.add('image', SECOND + SECOND // 10, 'image').get('mask') == 'new'
    assert topics.add('image', SECOND, 'image') is None


def test_a_bag_that_starts_again_is_followed():
    topics = Synchronizer('mask', ('image',), tolerance=0.01)
    topics.add('image', 100 * SECOND, 'image')
    assert topics.add('mask', 100 * SECOND, 'mask') is not None
    topics.add('image', 5 * SECOND, 'image')
    assert topics.add('mask', 5 * SECOND, 'mask').stamp == 5 * SECOND
    assert topics.jumps == 1


def test_the_reason_names_what_is_missing():
    topics = synchronizer()
    assert 'nothing received' in topics.unmatched_reason()
    topics.add('mask', 10 * SECOND, 'mask')
    assert topics.unmatched_reason() == 'mask received, no image, no depth, no camera_info yet'
    topics.add('depth', 10 * SECOND, 'depth')
    topics.add('camera_info', 0, 'info')
    topics.add('image', 10 * SECOND + 9 * SECOND // 10, 'image')
    reason = topics.unmatched_reason()
    assert reason.startswith('mask received, no image within 0.1 s of it: the nearest')
    assert '0.900 s later' in reason
    topics.add('image', 10 * SECOND, 'image')
    assert topics.unmatched_reason() is None


# --- worker ---

@pytest.fixture()
def worker():
    worker = Worker(2, lambda job: None)
    worker.start(Lifters('cpu'))
    yield worker
    worker.stop(LiftError(ErrorCode.NOT_ACTIVE, 'over'))


def hold(worker: Worker) -> threading.Event:
    """Keep the worker busy until the event is set."""
    go, begun = threading.Event(), threading.Event()
    worker.submit(Job(lambda job, lifters: begun.set() or go.wait(10.0)))
    assert begun.wait(5.0)
    return go


def test_requests_go_before_the_stream_and_the_newest_frame_wins(worker):
    order = []
    go = hold(worker)
    jobs = [Job(lambda job, lifters, k=k: order.append(k)) for k in range(4)]
    for job in jobs[:2]:
        worker.offer(job)
    for job in jobs[2:]:
        worker.submit(job)
    go.set()
    assert jobs[1].wait(5.0)
    assert order == [2, 3, 1]
    assert worker.dropped == 1


def test_what_follows_goes_after_requests_and_before_the_stream(worker):
    order = []
    go = hold(worker)
    jobs = {name: Job(lambda job, lifters, name=name: order.append(name))
            for name in ('frame', 'older', 'newer', 'request')}
    worker.offer(jobs['frame'])
    worker.follow(jobs['older'])
    worker.follow(jobs['newer'])
    worker.submit(jobs['request'])
    go.set()
    assert jobs['frame'].wait(5.0)
    assert order == ['request', 'newer', 'frame']
    assert worker.dropped == 0


def test_a_full_queue_refuses_at_once(worker):
    go = hold(worker)
    for _ in range(2):
        worker.submit(Job(lambda job, lifters: None))
    with raises_code(ErrorCode.BUSY):
        worker.submit(Job(lambda job, lifters: None))
    assert (worker.waiting, worker.refused) == (2, 1)
    go.set()


def test_a_queued_request_leaves_at_its_deadline_or_when_cancelled(worker):
    go = hold(worker)
    late = Job(lambda job, lifters: None, deadline=time.monotonic() + 0.1)
    gone = Job(lambda job, lifters: None, cancelled=lambda: True)
    worker.submit(late)
    worker.submit(gone)
    with raises_code(ErrorCode.CANCELLED):
        worker.wait(gone)
    with raises_code(ErrorCode.TIMEOUT):
        worker.wait(late)
    assert worker.waiting == 0
    go.set()


def test_a_cancelled_request_does_not_wait_for_work_that_cannot_be_interrupted(worker):
    loading, done, asked = threading.Event(), threading.Event(), threading.Event()

    def load(job, lifters):
        loading.set()
        assert done.wait(60.0)

    job = Job(load, cancelled=asked.is_set)
    worker.submit(job)
    assert loading.wait(5.0)
    asked.set()
    with raises_code(ErrorCode.CANCELLED):
        worker.wait(job)
    assert not job.done
    done.set()
    following = Job(lambda job, lifters: 'lifted')
    worker.submit(following)
    assert worker.wait(following) == 'lifted'


def test_an_unforeseen_error_does_not_end_the_worker(worker):
    def fail(job, lifters):
        raise ZeroDivisionError('one over nothing')

    for _ in range(2):
        job = Job(fail)
        worker.submit(job)
        with pytest.raises(LiftError, match='INTERNAL: ZeroDivisionError'):
            worker.wait(job)


def test_what_fails_after_a_job_does_not_end_the_worker(capsys):
    def draw(job):
        raise ZeroDivisionError('no picture')

    worker = Worker(2, draw)
    worker.start(Lifters('cpu'))
    try:
        for number in range(2):
            job = Job(lambda job, lifters, number=number: number)
            worker.submit(job)
            assert worker.wait(job) == number
    finally:
        worker.stop(LiftError(ErrorCode.NOT_ACTIVE, 'over'))
    # Stopping waits for the thread, which said what went wrong.
    assert capsys.readouterr().err.count('ZeroDivisionError: no picture') == 2


def test_stopping_ends_what_runs_and_what_waits():
    worker = Worker(2, lambda job: None)
    worker.start(Lifters('cpu'))

    def until_cancelled(job, lifters):
        while not job.is_cancelled():
            time.sleep(0.005)
        raise LiftError(ErrorCode.CANCELLED, 'told to')

    jobs = [Job(until_cancelled) for _ in range(2)]
    for job in jobs:
        worker.submit(job)
    worker.stop(LiftError(ErrorCode.NOT_ACTIVE, 'over'))
    for job in jobs:
        with pytest.raises(LiftError, match='NOT_ACTIVE: over'):
            worker.wait(job)
    with raises_code(ErrorCode.NOT_ACTIVE):
        worker.submit(Job(until_cancelled))


def test_warnings_are_said_once_and_not_kept_for_ever():
    said = LogOnce(kept=2)
    assert [said.is_new(word) for word in ('a', 'a', 'b', 'a')] == [True, False, True, False]
    assert said.is_new('c')
    assert said.is_new('a')


@pytest.mark.parametrize('threads', [1, 2])
def test_a_callback_that_fails_does_not_make_a_node_deaf(threads):
    def fail(message):
        raise ZeroDivisionError('one over nothing')

    context = rclpy.Context()
    rclpy.init(context=context)
    heard = []
    with BackgroundNode('hearing', context, threads) as background:
        node = background.node
        node.create_subscription(Header, 'bad', fail, 10)
        node.create_subscription(Header, 'good', heard.append, 10)
        bad, good = (node.create_publisher(Header, name, 10) for name in ('bad', 'good'))
        ros.wait_until(lambda: bad.get_subscription_count() and good.get_subscription_count())
        for _ in range(3):
            bad.publish(Header())
            heard.clear()
            ros.wait_until(lambda: good.publish(Header()) or heard)
    context.try_shutdown()


# --- parameters and files ---

def test_every_parameter_is_described_bounded_and_in_the_file():
    # To renew it: python -m lift3d_ros.node.parameters --yaml > config/lift.yaml
    text = (ROOT / 'config' / 'lift.yaml').read_text()
    assert text == parameter_file()
    given = yaml.safe_load(text)['/**']['ros__parameters']
    # The file leaves the choice of the default method to the package.
    assert 'method' not in given
    assert {'method': DEFAULT_METHOD, **given} == {n: spec.default for n, spec in SPECS.items()}
    for name, spec in SPECS.items():
        assert spec.description.endswith('.'), name
        if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
            assert spec.minimum <= spec.default <= spec.maximum, name
        elif spec.choices:
            assert spec.default in spec.choices, name


def test_nothing_is_written_outside_of_the_output_dir(tmp_path):
    inside = output_path(str(tmp_path), 'a/b.ply')
    assert inside == tmp_path / 'a' / 'b.ply'
    for path in ('..', '../b.ply', '/etc/b.ply', '.', ''):
        with raises_code(ErrorCode.BAD_REQUEST):
            output_path(str(tmp_path), path)
    with pytest.raises(LiftError, match='output_dir is empty'):
        output_path('', 'b.ply')


def test_a_name_that_no_disk_takes_is_refused(tmp_path):
    store = ResultStore()
    store.keep(SimpleNamespace(id='a', shape=None))
    with pytest.raises(LiftError, match='BAD_REQUEST: .*(File name too long|cannot be written)'):
        store.save(SaveObject.Request(path=f'{"a" * 300}.ply'), str(tmp_path))
