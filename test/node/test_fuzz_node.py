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

"""A node answers while it gets damaged messages, and the fuzzer finds a node that does not."""

from __future__ import annotations

import copy
import signal

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

import psutil
from rclpy.serialization import deserialize_message
from rclpy.serialization import serialize_message
import ros_helpers as ros
from sensor_msgs.msg import CameraInfo

from lift3d_ros.action import Lift
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.node.robustness import fuzz_node
from lift3d_ros.node.robustness.damage import damaged_message

pytestmark = pytest.mark.ros


def test_damaged_messages_can_be_sent_and_differ():
    goal = Lift.Goal(**frame_messages(*ball_frame(16, 12)))
    for message in (CameraInfo(width=3, height=2), goal):
        before = copy.deepcopy(message)
        made = [damaged_message(message, np.random.default_rng(k)) for k in range(60)]
        assert message == before
        assert sum(other != before for other in made) > 30
        for other in made:
            deserialize_message(serialize_message(other), type(message))


def test_a_node_answers_good_requests_among_damaged_ones(graph, tmp_path):
    output = tmp_path / 'a' / 'b' / 'output'
    output.mkdir(parents=True)
    # Without weights ~/synthesize_views refuses valid requests, and is as fast as the others.
    node = ros.NodeProcess(
        graph, 'fuzz', '--autostart', mode='continuous', max_faces=500, output_dir=str(output),
        views_weights='')
    node.wait_until_active()
    process = psutil.Process(node.process.pid)
    with BackgroundNode('fuzzing', graph.context, threads=2) as background:
        fuzzer = fuzz_node.Fuzzer(background, process, 7, server='/fuzz/lift3d')
        fuzzer.publish(120)
        fuzzer.request(24)
        ros.wait_until(lambda: fuzzer.received.get('image', 0) > 0)
        assert {name.split()[0] for name in fuzzer.outcomes} == {
            name for _, name, _ in fuzz_node.KINDS}
        assert list(output.parent.iterdir()) == [output]
        assert len(fuzzer.resident_mb) == 2
        assert sum(fuzzer.outcomes.values()) == 24
        assert {name.split()[1] for name in fuzzer.outcomes} - {'OK'}
        node.process.send_signal(signal.SIGKILL)
        node.process.wait()
        with pytest.raises(fuzz_node.NodeFaults):
            fuzzer.check('the end')
