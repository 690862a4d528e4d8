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
Ask a node for its lifecycle state: the health check of containers and service managers.

``python -m lift3d_ros.node.services.health [--node /lift3d] [--timeout 5]`` prints the state; its
exit status is 0 if the node is active, 1 if it is in another state, and 2 without a response.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import sys

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

ACTIVE, OTHER_STATE, NO_RESPONSE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the state of the node of the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m lift3d_ros.node.services.health',
        description='Print the lifecycle state of a node; exit status 0 if it is active.')
    parser.add_argument('--node', default='/lift3d', help='its full name')
    parser.add_argument('--timeout', type=float, default=5.0, help='seconds')
    options = parser.parse_args(arguments)
    name = '/' + options.node.strip('/')
    state = ask(name, options.timeout)
    if state is None:
        print(f'{name}: no response within {options.timeout:g} s', file=sys.stderr)
        return NO_RESPONSE
    print(f'{name}: {state.label}')
    return ACTIVE if state.id == State.PRIMARY_STATE_ACTIVE else OTHER_STATE


def ask(name: str, timeout: float) -> State | None:
    """Return the state of the node with the full name; None without a response in time."""
    context = Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('lift3d_health', context=context, start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        client = node.create_client(GetState, f'{name}/get_state')
        if not client.wait_for_service(timeout):
            return None
        answer = client.call_async(GetState.Request())
        executor.spin_until_future_complete(answer, timeout)
        return answer.result().current_state if answer.done() else None
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
