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

"""Starts that cannot be, Ctrl-C at any moment, and a node that stops in order."""

from __future__ import annotations

import os
from pathlib import Path
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
import numpy as np
import rclpy
from rclpy.client import Client
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
import ros_helpers as ros
from ros_helpers import BALL
from ros_helpers import MANY

from lift3d_ros.node.executors.spinning import spin_until
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import FrameCamera
from lift3d_ros.node.main import shut_down
from lift3d_ros.node.node import LiftNode
from lift3d_ros.node.services.service_errors import answer_unread
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SaveObject

pytestmark = pytest.mark.ros

ROOT = Path(__file__).parents[2]

NODE = [sys.executable, '-m', 'lift3d_ros.node']
SCRIPT = [sys.executable, str(ROOT / 'scripts' / 'lift3d_node')]
COMMAND = [sys.executable, '-m', 'lift3d_ros.cli', 'node']
DEMO = [sys.executable, '-m', 'lift3d_ros.cli', 'demo']
BENCH = [sys.executable, '-m', 'lift3d_ros.cli', 'bench', 'node']

#: Of service_msgs/msg/ServiceEventInfo, which exists from ROS 2 Iron on.
REQUEST_RECEIVED, RESPONSE_SENT = 1, 2

#: Megabytes of address space with which the node cannot even load its libraries.
TIGHT_MB = 880


def start(command: list[str], **variables: str | None) -> subprocess.Popen[str]:
    environment = {**os.environ, 'RCUTILS_COLORIZED_OUTPUT': '0'}
    for name, value in variables.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, preexec_fn=hear_ctrl_c,
    )


def hear_ctrl_c() -> None:
    """Give SIGINT its default: a shell lets what it starts in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_the_program(process: subprocess.Popen[str]) -> None:
    """Wait until the interpreter has started and the program says what Ctrl-C does."""
    interrupt = 1 << (signal.SIGINT - 1)
    was_caught = False

    def begun() -> bool:
        nonlocal was_caught
        status = Path(f'/proc/{process.pid}/status').read_text()
        masks = dict(line.split(':\t') for line in status.split('\n') if line.startswith('Sig'))
        caught, blocked = (int(masks[name], 16) & interrupt for name in ('SigCgt', 'SigBlk'))
        # Python's own handler, which raises KeyboardInterrupt wherever it is.
        was_caught |= bool(caught)
        return was_caught and (not caught or bool(blocked))

    ros.wait_until(begun)


def refusal(command: list[str], status: int = 2, **variables: str | None) -> str:
    """Return the one line of a program that ends with a status before it does anything."""
    process = start(command, **variables)
    output, _ = process.communicate(timeout=ros.PATIENCE)
    assert process.returncode == status, output
    assert 'Traceback' not in output, output
    (line,) = output.strip().splitlines()
    return line


@pytest.mark.parametrize('command', [NODE, SCRIPT, COMMAND, DEMO, BENCH], ids=[
    'module', 'ros2_run', 'lift3d_node', 'lift3d_demo', 'lift3d_bench_node',
])
def test_a_middleware_that_is_not_installed_ends_the_start_with_a_sentence(command):
    line = refusal(command, RMW_IMPLEMENTATION='rmw_cyclonedds_cpp_not_installed')
    assert 'RMW_IMPLEMENTATION' in line
    # What could be named instead.
    assert 'rmw_' in line.split('installed:')[1]


@pytest.mark.parametrize('value', ['c', 'rmw', '../librmw', 'rmw_fastrtps_cpp.so', '-'])
def test_a_middleware_that_is_a_library_of_another_kind_is_refused(value):
    assert 'RMW_IMPLEMENTATION' in refusal(NODE, RMW_IMPLEMENTATION=value)


@pytest.mark.parametrize('value', ['400', '233', 'abc', '-1', '5abc', '1.5', '0x', '99999999999'])
def test_a_domain_that_is_none_ends_the_start_with_a_sentence(value):
    assert f'ROS_DOMAIN_ID is "{value}"' in refusal(NODE, ROS_DOMAIN_ID=value)


@pytest.mark.parametrize('command', [SCRIPT, COMMAND, DEMO])
def test_a_domain_that_is_none_is_refused_by_every_program(command):
    assert 'ROS_DOMAIN_ID' in refusal(command, ROS_DOMAIN_ID='400')


@pytest.mark.parametrize(('command', 'folder'), [
    *((NODE, folder) for folder in ('/proc/no_folder', 'file', 'file/below')),
    *((command, '/proc/no_folder') for command in (SCRIPT, COMMAND, DEMO)),
])
def test_logs_that_cannot_be_written_end_the_start_with_a_sentence(command, folder, tmp_path):
    (tmp_path / 'file').touch()
    folder = str(tmp_path / folder)
    assert folder in refusal(command, ROS_LOG_DIR=folder)


@pytest.mark.parametrize('command', [NODE, DEMO])
def test_without_home_the_start_names_the_variable_to_set(command):
    line = refusal(command, HOME=None, ROS_HOME=None, ROS_LOG_DIR=None)
    assert 'ROS_LOG_DIR' in line


@pytest.mark.parametrize('name', [
    'RCUTILS_COLORIZED_OUTPUT', 'RCUTILS_LOGGING_USE_STDOUT', 'RCUTILS_LOGGING_BUFFERED_STREAM',
])
def test_a_switch_of_the_logs_that_is_neither_0_nor_1_is_refused(name):
    assert name in refusal(NODE, **{name: 'yes'})


def test_security_without_a_keystore_ends_the_start_with_a_sentence():
    variables = {
        'ROS_SECURITY_ENABLE': 'true', 'ROS_SECURITY_STRATEGY': 'Enforce',
        'ROS_SECURITY_KEYSTORE': None,
    }
    process = start(NODE, **variables)
    output, _ = process.communicate(timeout=ros.PATIENCE)
    assert process.returncode == 2
    assert 'Traceback' not in output
    assert output.strip().splitlines()[-1].startswith('lift3d: ')


def test_help_needs_no_working_ros():
    process = start([*COMMAND, '--help'], ROS_DOMAIN_ID='400')
    output, _ = process.communicate(timeout=ros.PATIENCE)
    assert process.returncode == 0
    assert '--autostart' in output


@pytest.mark.parametrize('command', [NODE, [*NODE, '--autostart'], SCRIPT, DEMO, [
    sys.executable, '-m', 'lift3d_ros.cli', 'lift', 'lift3d_ros/data/demo_scene',
]], ids=['node', 'node_autostart', 'ros2_run', 'lift3d_demo', 'lift3d_lift'])
def test_too_little_memory_for_the_libraries_is_named_as_such(command, tmp_path):
    # The default method, whose networks want most.
    out = ['--out', str(tmp_path)] if 'lift3d_ros.cli' in command else []
    limited = ['prlimit', f'--as={TIGHT_MB << 20}', *command, *out]
    line = refusal(limited)
    assert 'OUT_OF_MEMORY' in line


def test_a_network_that_does_not_fit_the_memory_fails_the_activation_with_its_code():
    # Enough for the node, too little for torch.
    process = start(['prlimit', f'--as={1200 << 20}', *NODE, '--autostart', '--ros-args', '-r',
                     '__ns:=/tight_networks'])
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 1, output
    assert 'OUT_OF_MEMORY' in output
    assert 'Traceback' not in output


@pytest.mark.parametrize(('command', 'number', 'delays'), [
    (NODE, signal.SIGINT, (0.0, 0.1, 0.3, 0.6, 1.0, 1.6, 2.6)),
    (NODE, signal.SIGTERM, (0.0, 0.3, 1.0, 2.6)),
    # They differ until they run the same program.
    *((command, number, (0.0, 0.3)) for command in (SCRIPT, COMMAND)
      for number in (signal.SIGINT, signal.SIGTERM)),
])
def test_ctrl_c_at_any_moment_of_the_start_leaves_no_traceback(command, number, delays):
    for delay in delays:
        process = start([*command, '--autostart', '--ros-args', '-p', 'method:=geometric', '-r',
                         '__ns:=/interrupted'])
        wait_for_the_program(process)
        time.sleep(delay)
        process.send_signal(number)
        output, _ = process.communicate(timeout=ros.PATIENCE)
        assert process.returncode in (0, -number, 130), output
        for word in ('Traceback', 'KeyboardInterrupt', '[ERROR]', '[FATAL]'):
            assert word not in output, f'after {delay} s: {output}'


def test_a_node_without_autostart_says_what_it_waits_for(graph):
    node = ros.NodeProcess(graph, 'waiting')
    assert node.state() == 'unconfigured'
    node.end_well()
    (line,) = [line for line in node.log.splitlines() if 'unconfigured' in line]
    assert line.startswith('[INFO]')
    assert 'configure' in line
    assert 'autostart' in line


def test_the_log_tells_the_time_since_the_process_started(graph):
    begun = time.monotonic()
    with ros.running(graph, 'timed', '--autostart') as node:
        elapsed = time.monotonic() - begun
    (line,) = [line for line in node.log.splitlines() if 'is ready after' in line]
    told = float(line.split(' s after the start of the process')[0].split()[-1])
    # The rest are the imports, which the warm-up knows nothing of.
    assert float(line.split('is ready after ')[1].split()[0]) < told <= elapsed + 0.1


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_stopped_under_load_says_nothing_of_it(graph, number):
    pytest.importorskip('rclpy.service_introspection')
    for round_ in range(3):
        node = ros.NodeProcess(
            graph, f'stopped_{number}_{round_}', '--autostart', mode='continuous',
            introspection='metadata',
        )
        node.wait_until_active()
        beside = Node('camera', namespace=node.namespace, context=graph.context)
        camera = FrameCamera(beside, BALL[0], BALL[1] > 0)
        client = graph.node.create_client(LiftObject, node.name('lift_object'))
        with graph.listen(LiftObject.Event, node.name('lift_object') + '/_service_event') as heard:
            wait_for_acquaintance(client, heard)
            ros.wait_until(lambda: camera.listeners() > 0)  # noqa: B023
            taken = received(heard)
            answers = [
                client.call_async(LiftObject.Request(**ros.messages(*MANY))) for _ in range(3)
            ]
            for _ in range(10):
                camera.publish()
                time.sleep(0.02)
            # What has not arrived when the node goes is not its own to answer.
            ros.wait_until(lambda: received(heard) == taken + 3)  # noqa: B023
        node.process.send_signal(number)
        node.end_well()
        assert 'InvalidHandle' not in node.log
        assert '[ERROR]' not in node.log, node.log
        # What ran or waited was answered before the node went.
        ros.wait_until(lambda: all(answer.done() for answer in answers))  # noqa: B023
        for answer in answers:
            assert answer.result().success or answer.result().error_code == 'NOT_ACTIVE'
        beside.destroy_node()
        graph.node.destroy_client(client)


def received(events: list[LiftObject.Event]) -> int:
    """Return how many requests a service has taken, by its introspection."""
    return sum(e.info.event_type == REQUEST_RECEIVED for e in list(events))


def wait_for_acquaintance(client: Client, events: list[LiftObject.Event]) -> None:
    """Wait until client, listener and node know each other in both directions."""
    assert client.wait_for_service(ros.PATIENCE)

    def known() -> bool:
        before = len(events)
        answer = client.call_async(LiftObject.Request(method='none'))
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            if answer.done() and received(events[before:]):
                return True
            time.sleep(0.01)
        return False

    ros.wait_until(known)


def test_requests_that_were_sent_while_the_node_was_stopped_are_answered(graph):
    pytest.importorskip('rclpy.service_introspection')
    for attempt in range(5):
        node = ros.NodeProcess(graph, f'busy_end_{attempt}', '--autostart',
                               introspection='metadata')
        node.wait_until_active()
        client = graph.node.create_client(LiftObject, node.name('lift_object'))
        events = node.name('lift_object') + '/_service_event'
        with graph.listen(LiftObject.Event, events) as heard:
            wait_for_acquaintance(client, heard)
            known = len(heard)
            # A process that gets no time while both arrive.
            node.process.send_signal(signal.SIGSTOP)
            answers = [client.call_async(LiftObject.Request()) for _ in range(3)]
            node.process.send_signal(signal.SIGTERM)
            node.process.send_signal(signal.SIGCONT)
            node.end_well()
            taken = received(heard[known:])
        ros.wait_until(lambda: sum(a.done() for a in answers) >= taken)  # noqa: B023
        graph.node.destroy_client(client)
        # On a busy machine the middleware may lose a request to a process that is stopped, and
        # sends it again after 3 s: later than any node may take to end.
        if all(answer.done() for answer in answers):
            return
    pytest.fail('no node received all requests')


#: Asks a service once and prints the error code of the response.
ASK = """
import sys
import rclpy
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SaveObject
rclpy.init()
node = rclpy.create_node('asking')
client = node.create_client(LiftObject, sys.argv[1])
assert client.wait_for_service(60.0)
warm = client.call_async(LiftObject.Request(method='none'))
rclpy.spin_until_future_complete(node, warm, timeout_sec=60.0)
print('ready', flush=True)
sys.stdin.readline()
answer = client.call_async(LiftObject.Request())
print('asked', flush=True)
rclpy.spin_until_future_complete(node, answer, timeout_sec=10.0)
print(answer.result().error_code if answer.done() else 'lost', flush=True)
"""


def response_read_late(graph: ros.Graph, name: str) -> str:
    """Return what a stopped client reads of a node that has ended: a code, or ``lost``."""
    node = ros.NodeProcess(graph, name, '--autostart', introspection='metadata')
    node.wait_until_active()
    with graph.listen(LiftObject.Event, node.name('lift_object') + '/_service_event') as heard:
        command = [sys.executable, '-c', ASK, node.name('lift_object')]
        client = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        graph.processes.append(client)
        assert client.stdout.readline().strip() == 'ready'
        node.process.send_signal(signal.SIGSTOP)
        known = len(heard)
        client.stdin.write('\n')
        client.stdin.flush()
        # The request is with the middleware of the node, which is stopped.
        assert client.stdout.readline().strip() == 'asked'
        # A process that is stopped while it writes to shared memory stops its readers, too.
        time.sleep(0.3)
        client.send_signal(signal.SIGSTOP)
        node.process.send_signal(signal.SIGTERM)
        node.process.send_signal(signal.SIGCONT)
        ros.wait_until(lambda: any(
            event.info.event_type == RESPONSE_SENT for event in heard[known:]
        ))
        time.sleep(0.3)
        client.send_signal(signal.SIGCONT)
    output, _ = client.communicate(timeout=ros.PATIENCE + 5.0)
    node.end_well()
    return output.strip()


def test_a_client_that_reads_late_gets_the_response_of_a_node_that_ends(graph):
    pytest.importorskip('rclpy.service_introspection')
    assert response_read_late(graph, 'late_reader') != 'lost'


def test_requests_that_no_executor_takes_are_answered_at_the_end(graph):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LiftNode(
        context=context, namespace='unread',
        parameter_overrides=[Parameter('method', value='geometric')],
    )
    lift = graph.node.create_client(LiftObject, '/unread/lift3d/lift_object')
    save = graph.node.create_client(SaveObject, '/unread/lift3d/save_object')
    assert lift.wait_for_service(ros.PATIENCE)
    assert save.wait_for_service(ros.PATIENCE)
    node.end_requests()
    answers = [lift.call_async(LiftObject.Request(**ros.messages(*BALL))) for _ in range(3)]
    answers.append(save.call_async(SaveObject.Request(path='a.stl')))
    count = 0

    def answered() -> bool:
        nonlocal count
        count += answer_unread(node.request_services)
        return count == len(answers)

    ros.wait_until(answered)
    ros.wait_until(lambda: all(answer.done() for answer in answers))
    assert {answer.result().error_code for answer in answers[:3]} == {'NOT_ACTIVE'}
    assert answers[3].result().error_code
    for client in (lift, save):
        graph.node.destroy_client(client)
    node.destroy_node()
    context.try_shutdown()


def test_publishers_that_go_while_the_executor_waits_are_no_error(capfd):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LiftNode(
        context=context, parameter_overrides=[Parameter('method', value='geometric')]
    )
    executor = MultiThreadedExecutor(4, context=context)
    executor.add_node(node)
    end = Future()

    def wake() -> None:
        # It collects what to wait for at each wake: the moment that matters comes often.
        while not end.done():
            executor.wake()
            time.sleep(0.0002)

    threads = [
        threading.Thread(target=spin_until, args=(executor, end, node.get_logger())),
        threading.Thread(target=wake),
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for _ in range(300):
            node.trigger_configure()
            node.trigger_cleanup()
    finally:
        sys.setswitchinterval(interval)
        end.set_result(None)
        for thread in threads:
            thread.join()
    shut_down(node)
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()
    output = ''.join(capfd.readouterr())
    assert 'InvalidHandle' not in output, output


def test_a_manager_that_configures_while_the_node_is_stopped_finds_it_in_order(graph):
    node = ros.NodeProcess(graph, 'managed_end')
    assert node.change(Transition.TRANSITION_CONFIGURE)
    node.process.send_signal(signal.SIGINT)
    node.end_well()
    assert '[ERROR]' not in node.log, node.log


# With 30 MiB the middleware cannot keep the request, with 200 rclpy cannot convert it.
@pytest.mark.parametrize('spare_mib', [30, 200])
def test_little_memory_left_is_said_and_the_node_lives(graph, spare_mib):
    node = ros.NodeProcess(
        graph, f'little_memory_{spare_mib}', '--autostart', diagnostics_period=0.2
    )
    node.wait_until_active()
    ball = LiftObject.Request(**ros.messages(*BALL))
    assert node.lift(ball).success
    status = Path(f'/proc/{node.process.pid}/status').read_text()
    size = 1024 * int(status.split('VmSize:')[1].split()[0])
    limit = size + (spare_mib << 20)
    resource.prlimit(node.process.pid, resource.RLIMIT_AS, (limit, limit))
    message, values = node.status('lifting')
    assert float(values['memory left MB']) < 256.0, message
    # 12 megapixels, whose message alone is larger than what is left.
    large, labels = ball_frame(4000, 3000)
    client = graph.node.create_client(LiftObject, node.name('lift_object'))
    assert client.wait_for_service(ros.PATIENCE)
    lost = client.call_async(
        LiftObject.Request(**ros.messages(large, labels.astype(np.uint8)))
    )
    answer = node.lift(ball)
    assert answer.success or answer.error_code == 'OUT_OF_MEMORY'
    assert not lost.done() or lost.result().error_code == 'OUT_OF_MEMORY'
    graph.node.destroy_client(client)
    node.end_well()
    assert 'MiB of memory are left' in node.log
    # Throttled, whatever the middleware tries again.
    assert len(node.log.splitlines()) < 50, node.log
