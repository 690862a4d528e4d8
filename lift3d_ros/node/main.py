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
Run the node from a command line: ``python -m lift3d_ros.node``, ``lift3d node``, ``ros2 run``.

python -m lift3d_ros.node --autostart --ros-args --params-file lift.yaml -r image:=/rgb/image
"""

from __future__ import annotations

from collections.abc import Sequence
import gc
import os
import signal
import sys
import time
from typing import NoReturn

import rclpy
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.exceptions import InvalidParameterValueException
from rclpy.executors import MultiThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.utilities import remove_ros_args

from lift3d_ros.node import middleware
from lift3d_ros.node.executors.resilient import ResilientExecutor
from lift3d_ros.node.executors.spinning import start_spinning
from lift3d_ros.node.node import LiftNode
from lift3d_ros.node.services.service_errors import answer_unread
from lift3d_ros.node.services.service_errors import PACE

RCLError = rclpy_implementation.RCLError

#: Period of the check for signals, seconds.
_POLL_S = 0.1

#: Period of the check whether the last callbacks have returned, seconds.
_STEP_S = 0.02

#: Seconds for which an ending node still reads requests. Clients whose requests are in transit
#: would otherwise wait for ever.
_ARRIVAL_S = 0.5

#: Seconds between the last response and the end of its service. A client learns that the service
#: is gone in another thread, and drops responses that it has not handled by then; on a busy
#: machine its threads sleep for some tenths of a second.
_DELIVERY_S = 1.0

#: Maximum seconds that the shutdown waits for clients that keep sending requests.
_MAX_QUIET_WAIT_S = 4.0

#: Maximum seconds that the shutdown waits for a running transition.
_PATIENCE_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the node until SIGINT or SIGTERM; return the exit status.

    ``arguments`` are those of the command line without the program's name: ``--autostart``
    configures and activates the node, the rest is for ROS.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if '-h' in given or '--help' in given:
        print(__doc__)
        return 0
    overrides = []
    if '--autostart' in given:
        given.remove('--autostart')
        overrides.append(Parameter('autostart', value=True))
    try:
        unknown = remove_ros_args(['lift3d', *given])[1:]
    except RuntimeError as error:
        print(f'lift3d: {error}', file=sys.stderr)
        return 2
    if unknown:
        print(
            f'lift3d: there is no argument {unknown[0]}; those of ROS follow --ros-args',
            file=sys.stderr,
        )
        return 2
    # Own handlers: running requests get a response before the context is destroyed. They only
    # append to a list, since the interrupted code may hold any lock.
    signals: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: signals.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    middleware.use_profile()
    try:
        rclpy.init(args=['lift3d', *given], signal_handler_options=SignalHandlerOptions.NO)
        return _run(overrides, signals)
    except RCLError as error:
        # Errors that lift3d_ros/runtime/ros_environment.py does not check for, such as a keystore.
        print(f'lift3d: ROS cannot start the node: {_first_line(error)}', file=sys.stderr)
        return 2
    finally:
        rclpy.try_shutdown()
        for number, handler in before.items():
            signal.signal(number, handler)


def run() -> NoReturn:
    """Run the node as ``main`` does, and end the process with its exit status."""
    status = main()
    # Announce the end of the node on the graph; other nodes would notice it after 20 s otherwise.
    gc.collect()
    # Skip the destruction of modules: with networks it may exceed the time after SIGINT at which
    # launch sends SIGKILL.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run(overrides: list[Parameter], signals: list[int]) -> int:
    try:
        node = LiftNode(parameter_overrides=overrides)
    except (
        InvalidParameterTypeException, InvalidParameterValueException, ValueError
    ) as error:
        print(f'lift3d: a parameter was refused: {error}', file=sys.stderr)
        return 2
    executor = ResilientExecutor(node.threads)
    executor.add_node(node)
    if not node.get_parameter('autostart').value:
        node.get_logger().info('unconfigured; waiting for configure (or autostart:=true)')
    end = Future()
    spinner = start_spinning(executor, end, node.get_logger(), 'lift3d-spin')
    status = 0
    try:
        if node.get_parameter('autostart').value:
            status = _autostart(node)
        # A signal that the kernel delivers to another thread does not interrupt a wait here.
        while status == 0 and not signals:
            time.sleep(_POLL_S)
    finally:
        # In this order: the executor sends the responses, and nothing is destroyed while it waits
        # for what is destroyed.
        node.end_requests()
        _wait_for_quiet(executor)
        end.set_result(None)
        spinner.join()
        if answer_unread(node.request_services):
            time.sleep(_DELIVERY_S)
        shut_down(node)
        executor.shutdown()
        node.destroy_node()
    return status


def _autostart(node: LiftNode) -> int:
    for transition in (node.trigger_configure, node.trigger_activate):
        if transition() != TransitionCallbackReturn.SUCCESS:
            node.get_logger().fatal('the node cannot start; see the reason above')
            return 1
    return 0


def shut_down(node: LiftNode, patience: float = _PATIENCE_S) -> None:
    """
    Shut the node down, after a running transition has ended.

    After ``patience`` seconds give up and log it.
    """
    until = time.monotonic() + patience
    while node.state != 'finalized':
        try:
            node.trigger_shutdown()
            return
        except RuntimeError:
            # The state machine takes one transition at a time.
            if time.monotonic() > until:
                node.get_logger().error(f'a transition still runs after {patience:.0f} s')
                return
            time.sleep(_POLL_S)


def _wait_for_callbacks(executor: MultiThreadedExecutor, patience: float = _PATIENCE_S) -> None:
    """
    Wait until running callbacks have returned and their responses have been sent.

    ``Executor.shutdown`` does not wait, since it checks a flag that it has just set itself.
    """
    until = time.monotonic() + patience
    while time.monotonic() < until:
        # A copy: the executor changes it in its own thread.
        if all(task.done() for task, *_ in list(getattr(executor, '_tasks', ()))):
            return
        time.sleep(_STEP_S)


def _wait_for_quiet(executor: MultiThreadedExecutor) -> None:
    """
    Wait until no more requests arrive and all responses have been delivered.

    Wait ``_MAX_QUIET_WAIT_S`` at most, for clients that keep sending requests.
    """
    _wait_for_callbacks(executor)
    begin = time.monotonic()
    while time.monotonic() < begin + _MAX_QUIET_WAIT_S:
        if time.monotonic() > begin + _ARRIVAL_S and PACE.idle_s() > _DELIVERY_S:
            break
        time.sleep(_STEP_S)
    _wait_for_callbacks(executor)


def _first_line(error: BaseException) -> str:
    """Return the message of an error of rcl without its location in the source."""
    return str(error).strip().split('\n')[0].split(', at /')[0].rstrip('.') + '.'
