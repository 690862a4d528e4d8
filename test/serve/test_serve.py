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


"""``lift3d serve`` in a process of its own: robots at once, refusals, and a server that dies."""

from __future__ import annotations

import http.client
import importlib.util
import json
import signal
import socket
import subprocess
import sys
import threading
import time

from command_helpers import run_here
import numpy as np
import pytest
from scene_helpers import make_room

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.io.scene import write_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.methods.geometric import Geometric
from lift3d_ros.serve import client as client_module
from lift3d_ros.serve.batching import Batcher
from lift3d_ros.serve.batching import BatchingSettings
from lift3d_ros.serve.client import ServerClient
from lift3d_ros.serve.metrics import Metrics
from lift3d_ros.serve.wire import Call
from lift3d_ros.serve.wire import CONTENT_TYPE
from lift3d_ros.serve.wire import decode_results
from lift3d_ros.serve.wire import MAX_BYTES

pytestmark = [
    pytest.mark.usefixtures('one_thread'),
    pytest.mark.skipif(
        importlib.util.find_spec('uvicorn') is None, reason='uvicorn is not installed'),
]

#: The method of the robot: another one than that of the server.
COARSE = Geometric(resolution=24, hypotheses=4)


class Coarse(Geometric):
    """The method of the robot, whose name is not that of the server's."""


@pytest.fixture(scope='module')
def room():
    return make_room(Camera.from_fov(96, 72, 60.0), eye=(0.7, -0.1, 0.45), boxes=('box',))


class Server:
    """A server in a process."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'lift3d_ros.cli', 'serve', '--port', '0', '--method',
             'geometric', *arguments], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        self.host, self.port = self.url.removeprefix('http://').split(':')

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.host, int(self.port), timeout=60)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data, answer.headers

    def metric(self, name):
        text = self.ask('GET', '/metrics')[1].decode()
        values = [line.rpartition(' ')[2] for line in text.splitlines()
                  if line.startswith(name)]
        return float(values[0]) if values else 0.0

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.process.stdout.close()
        return status


@pytest.fixture(scope='module')
def server():
    made = Server()
    yield made
    assert made.end() in (0, -signal.SIGTERM)


@pytest.fixture
def robot(server):
    return Lifter(COARSE, 2000, remote=server.url, remote_timeout=60.0)


def test_the_server_gives_the_shape_of_its_method(robot, server, room):
    shape = robot.lift(room.frame, room.masks['box'])
    here = Lifter('geometric', 2000).lift(room.frame, room.masks['box'])
    assert np.array_equal(shape.mesh.vertices, here.mesh.vertices)
    assert (shape.method, shape.notes) == ('geometric', here.notes)
    status, data, _ = server.ask('GET', '/health')
    health = json.loads(data)
    assert (status, health['ok'], health['method']) == (200, True, 'geometric')


def test_objects_of_a_frame_keep_their_order_and_their_errors(robot, room):
    empty = np.zeros_like(room.masks['box'])
    reports = []
    results = robot.lift_all(
        room.frame, [LiftRequest(empty), room.masks['box']],
        progress=lambda index, stage, fraction: reports.append((index, fraction)))
    assert results[0].code is ErrorCode.EMPTY_MASK
    assert isinstance(results[1], Shape)
    assert sorted(reports) == [(0, 1.0), (1, 1.0)]
    with pytest.raises(LiftError) as caught:
        robot.lift(room.frame, empty)
    assert caught.value.code is ErrorCode.EMPTY_MASK


def test_several_robots_are_served_in_batches(server, room):
    before = server.metric('lift3d_objects_total{code="OK"}')
    batches = server.metric('lift3d_batch_objects_count')
    robots = [Lifter(COARSE, 2000, remote=server.url, remote_timeout=60.0) for _ in range(4)]
    shapes = [None] * len(robots)

    def ask(index):
        shapes[index] = robots[index].lift(room.frame, room.masks['box'])

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(robots))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(shape.method == 'geometric' for shape in shapes)
    assert server.metric('lift3d_objects_total{code="OK"}') - before == len(robots)
    assert server.metric('lift3d_batch_objects_count') - batches < len(robots)


@pytest.mark.parametrize(('method', 'path', 'status'), [
    ('GET', '/v1/lift', 405), ('GET', '/', 404), ('POST', '/health', 405),
    ('HEAD', '/health', 200),
])
def test_other_requests_are_refused(method, path, status, server):
    assert server.ask(method, path)[0] == status


def test_bad_bodies_are_refused_with_a_code(server):
    status, data, headers = server.ask('POST', '/v1/lift', b'no message')
    assert (status, headers['content-type']) == (400, CONTENT_TYPE)
    assert decode_results(data)[0].code is ErrorCode.BAD_REQUEST
    status, data, _ = server.ask(
        'POST', '/v1/lift', b'', **{'Content-Length': str(MAX_BYTES + 1)})
    assert status == 413
    assert decode_results(data)[0].code is ErrorCode.BAD_REQUEST
    assert server.metric('lift3d_requests_total{status="400"}') >= 1


def test_a_dead_server_is_replaced_by_the_method_of_the_robot(room, monkeypatch):
    monkeypatch.setattr(client_module, 'PAUSE_S', 3600.0)
    with socket.create_server(('127.0.0.1', 0)) as listener:
        # Accepts, reads something and ends the connection in the request.
        def die():
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(1000)
                connection.close()

        thread = threading.Thread(target=die, daemon=True)
        thread.start()
        url = f'http://127.0.0.1:{listener.getsockname()[1]}'
        robot = Lifter(Coarse(resolution=24, hypotheses=4), 2000, remote=url, remote_timeout=30.0)
        shape = robot.lift(room.frame, room.masks['box'])
        assert shape.method == 'coarse'
        assert url in shape.notes[0]
        # It is not asked again at once.
        begin = time.monotonic()
        again = robot.lift_all(room.frame, [room.masks['box']] * 2)
        assert all(url in each.notes[0] for each in again)
        assert time.monotonic() - begin < 30.0
        socket.create_connection(listener.getsockname()[:2]).close()
        thread.join(30.0)
        assert not thread.is_alive(), 'it was asked once'


def test_a_silent_server_is_given_up_after_the_timeout(room):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        url = f'http://127.0.0.1:{listener.getsockname()[1]}'
        shape = Lifter(COARSE, 2000, remote=url, remote_timeout=0.2).lift(
            room.frame, room.masks['box'])
        assert url in shape.notes[0]
        # A cancellation, and the deadline of the caller, end the lift instead.
        with pytest.raises(LiftError) as caught:
            Lifter(COARSE, remote=url).lift(
                room.frame, room.masks['box'], cancelled=lambda: True)
        assert caught.value.code is ErrorCode.CANCELLED
        with pytest.raises(LiftError) as caught:
            Lifter(COARSE, remote=url).lift(
                room.frame, room.masks['box'], deadline=time.monotonic() + 0.2)
        assert caught.value.code is ErrorCode.TIMEOUT


def test_a_server_of_something_else_is_no_server(room):
    from http.server import BaseHTTPRequestHandler
    from http.server import HTTPServer

    class Page(BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            self.rfile.read(int(self.headers['Content-Length']))
            self.send_response(200)
            self.send_header('Content-Length', '5')
            self.end_headers()
            self.wfile.write(b'hello')

        def log_message(self, *arguments):
            pass

    with HTTPServer(('127.0.0.1', 0), Page) as page:
        thread = threading.Thread(target=page.handle_request)
        thread.start()
        url = f'http://127.0.0.1:{page.server_address[1]}'
        shape = Lifter(COARSE, 2000, remote=url).lift(room.frame, room.masks['box'])
        thread.join()
    assert url in shape.notes[0]


@pytest.mark.parametrize('url', ['gpu:8300', 'ftp://gpu', 'http://', 'http://gpu:port', 'http://g?x'])
def test_addresses_of_another_form_are_refused(url):
    with pytest.raises(LiftError) as caught:
        Lifter(COARSE, remote=url)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    with pytest.raises(LiftError):
        ServerClient('http://gpu:8300', timeout=0.0)


def test_the_command_lifts_on_a_server(server, room, tmp_path):
    write_scene(tmp_path / 'box', room.frame, room.masks['box'])
    done = run_here('lift', tmp_path / 'box', '--out', tmp_path / 'out', '--method', 'geometric',
                    '--remote', server.url, '--remote-timeout', '60')
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / 'out' / 'box.json').read_text())
    assert (report['ok'], report['notes']) == (True, [])


def test_a_port_in_use_is_refused(server):
    done = run_here('serve', '--port', server.port, '--method', 'geometric')
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr


class Waiting:
    """A lifter that waits for permission, and notes what it was asked."""

    max_faces = 20_000

    def __init__(self, concurrent=1):
        self.method = type('Method', (), {'max_concurrent': concurrent})()
        self.go, self.asked = threading.Event(), []

    def check(self):
        pass

    def load(self):
        pass

    def lift(self, frame, request, cancelled, deadline):
        self.asked.append(self.max_faces)
        while not self.go.wait(0.01):
            if cancelled():
                raise LiftError(ErrorCode.CANCELLED, 'cancelled')
        raise LiftError(ErrorCode.NO_SURFACE, 'none')


@pytest.fixture
def batcher():
    made = Batcher(Waiting(), BatchingSettings(queue=2), Metrics())
    made.start()
    yield made
    made._lifter.go.set()
    made.close()


def call(room, count=1, max_faces=20_000):
    return Call(room.frame, (LiftRequest(room.masks['box']),) * count, max_faces, 60.0)


def wait_until(condition):
    end = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_full_queue_is_busy_and_a_cancelled_call_makes_room(batcher, room):
    gone = threading.Event()
    running = batcher.submit(call(room), gone)
    wait_until(lambda: batcher._lifter.asked)
    waiting = batcher.submit(call(room, 2), threading.Event())
    with pytest.raises(LiftError) as caught:
        batcher.submit(call(room), threading.Event())
    assert caught.value.code is ErrorCode.BUSY
    gone.set()
    assert running.result(30.0)[0].code is ErrorCode.CANCELLED
    batcher._lifter.go.set()
    assert [error.code for error in waiting.result(30.0)] == [ErrorCode.NO_SURFACE] * 2


def test_closing_answers_what_waits(room):
    batcher = Batcher(Waiting(), BatchingSettings(), Metrics())
    batcher.start()
    running = batcher.submit(call(room), threading.Event())
    wait_until(lambda: batcher._lifter.asked)
    waiting = batcher.submit(call(room), threading.Event())
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(LiftError) as caught:
        waiting.result(30.0)
    assert caught.value.code is ErrorCode.NOT_ACTIVE
    batcher._lifter.go.set()
    closing.join(30.0)
    assert running.result(0)[0].code is ErrorCode.NO_SURFACE
    with pytest.raises(LiftError):
        batcher.submit(call(room), threading.Event())
    assert not batcher.is_alive


def test_an_error_in_the_thread_does_not_end_it(room, monkeypatch):
    batcher = Batcher(Waiting(), BatchingSettings(), Metrics())
    batcher._lifter.go.set()
    batcher.start()
    try:
        monkeypatch.setattr(batcher._metrics, 'batch', lambda *values: 1 / 0)
        with pytest.raises(LiftError) as caught:
            batcher.submit(call(room), threading.Event()).result(30.0)
        assert caught.value.code is ErrorCode.INTERNAL
        monkeypatch.undo()
        result = batcher.submit(call(room), threading.Event()).result(30.0)
        assert result[0].code is ErrorCode.NO_SURFACE
    finally:
        batcher.close()


def test_metrics_are_cumulative_histograms():
    metrics = Metrics()
    for seconds in (0.005, 0.2, 0.2, 1000.0):
        metrics.object('OK', seconds)
    lines = metrics.text(3).splitlines()
    assert 'lift3d_lift_seconds_bucket{le="0.01"} 1' in lines
    assert 'lift3d_lift_seconds_bucket{le="0.3"} 3' in lines
    assert 'lift3d_lift_seconds_bucket{le="+Inf"} 4' in lines
    assert 'lift3d_lift_seconds_count 4' in lines
    assert 'lift3d_objects_total{code="OK"} 4' in lines
    assert 'lift3d_waiting_objects 3' in lines
