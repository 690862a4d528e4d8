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

"""Gravity from an imu: taken at rest, refused otherwise, and what the node makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import importlib.util
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from rclpy.publisher import Publisher
import ros_helpers as ros
from ros_helpers import BALL
from sensor_msgs.msg import Imu
from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import unit
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.images import FRAME_ID
from lift3d_ros.msg import LiftedObject
from lift3d_ros.node.inputs.gravity import ImuGravity
from lift3d_ros.node.inputs.gravity import measure
from lift3d_ros.node.inputs.gravity import Reading
from lift3d_ros.node.inputs.gravity import reading
from lift3d_ros.observation.support import assumed_up
from lift3d_ros.srv import LiftObject

SECOND = 1_000_000_000

#: A ball whose middle the camera sees from atan(0.35 / 0.45) above.
DOWN = BALL[0].gravity
ELEVATION = 37.9


def imu_message(stamp: int, acceleration, frame_id: str = FRAME_ID, covariance: float = 0.01):
    message = Imu(header=ros.stamped(stamp))
    message.header.frame_id = frame_id
    a = message.linear_acceleration
    a.x, a.y, a.z = (float(value) for value in acceleration)
    message.linear_acceleration_covariance[0] = covariance
    return message


def resting(stamp: int, seconds: float = 0.6, rate: float = 100.0, down=DOWN, **fields):
    """Return the messages of a noisy sensor at rest, up to a stamp."""
    rng = np.random.default_rng(stamp)
    count = round(seconds * rate) + 1
    return [
        imu_message(
            stamp - round(k * SECOND / rate), -9.81 * down + rng.normal(0.0, 0.05, 3), **fields
        )
        for k in reversed(range(count))
    ]


def readings(messages) -> list[Reading]:
    return [reading(message) for message in messages]


def angle(a, b) -> float:
    """Return the angle between two directions in degrees."""
    return float(np.degrees(np.arccos(np.clip(unit(a) @ unit(b), -1.0, 1.0))))


# --- what readings tell ---

@pytest.mark.parametrize('down', [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (-0.6, 0.0, -0.8)])
def test_at_rest_the_mean_reading_points_up(down):
    found, frame = measure(readings(resting(9 * SECOND, down=np.array(down))), 9 * SECOND)
    assert frame == FRAME_ID
    assert np.linalg.norm(found) == pytest.approx(1.0)
    assert angle(found, down) < 0.3


def test_the_readings_are_those_before_the_image():
    turned = np.array([1.0, 0.0, 0.0])
    old, new = resting(5 * SECOND), resting(7 * SECOND, down=turned)
    kept = readings(old + new)
    assert angle(measure(kept, 5 * SECOND)[0], DOWN) < 0.3
    assert angle(measure(kept, 7 * SECOND + SECOND // 2)[0], turned) < 0.3


def turning(degrees_per_second: float) -> list[Reading]:
    def up(t: float) -> np.ndarray:
        angle = np.radians(degrees_per_second * t)
        return np.array([0.0, -np.cos(angle), -np.sin(angle)])

    times = np.arange(0.0, 0.6, 0.01)
    return readings(imu_message(round(t * SECOND), 9.81 * up(t)) for t in times)


def test_a_camera_that_turns_is_refused_unless_it_is_slow():
    late = round(0.59 * SECOND)
    middle = measure(turning(3.0), late)[0]
    assert angle(middle, [0.0, 1.0, 0.0]) == pytest.approx(3.0 * 0.34, abs=0.3)
    with pytest.raises(LiftError, match='the camera moves') as caught:
        measure(turning(30.0), late)
    assert caught.value.code is ErrorCode.ELEVATION_UNKNOWN


@pytest.mark.parametrize(('messages', 'word'), [
    ([], 'no imu was received'),
    (resting(SECOND), '4.0 s older'),
    (resting(8 * SECOND), '2.4 s newer'),
    (resting(5 * SECOND, covariance=-1.0), 'no acceleration'),
    ([imu_message(5 * SECOND, (np.nan, 0.0, 9.81))], 'no acceleration'),
    ([imu_message(5 * SECOND, (0.0, 0.0, 9.81))], 'too few'),
    (resting(5 * SECOND, seconds=0.1, rate=400.0), 'too few'),
    (resting(5 * SECOND, down=1.06 * DOWN), r'10\.4. m/s'),
    # A driver that takes gravity out, or counts in g.
    (resting(5 * SECOND, down=0.0 * DOWN), 'takes gravity out'),
])
def test_what_is_no_rest_is_refused(messages, word):
    with pytest.raises(LiftError, match=word):
        measure(readings(messages), 5 * SECOND)


def test_stamps_that_start_again_make_the_old_readings_void():
    gravity = ImuGravity(lambda sentence: None)
    for message in resting(50 * SECOND) + resting(5 * SECOND, down=np.array([1.0, 0.0, 0.0])):
        gravity.add(message)
    assert gravity.received == 122
    assert gravity.down(ros.stamped(50 * SECOND), None, 0.0) is None
    assert angle(gravity.down(ros.stamped(5 * SECOND), None, 0.0), (1.0, 0.0, 0.0)) < 0.3


class Tree:
    """A tree in which the imu's axes are the image's z, x and y."""

    def lookup(self, target: str, source: str, stamp, timeout: float) -> np.ndarray:
        if (target, source) != (FRAME_ID, 'imu_link'):
            raise LiftError(ErrorCode.NO_TRANSFORM, f'There is no way from {source} to {target}.')
        T = np.eye(4)
        T[:3, :3] = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        T[:3, 3] = 7.0
        return T


@pytest.mark.parametrize(('frame_id', 'tree', 'word'), [
    ('imu_link', Tree(), None),
    ('elsewhere', Tree(), 'no way from elsewhere'),
    ('imu_link', None, 'tf2_ros'),
    ('', Tree(), 'empty frame_id'),
])
def test_another_frame_is_turned_by_the_tree_or_refused(frame_id, tree, word):
    said: list[str] = []
    gravity = ImuGravity(said.append)
    for message in resting(5 * SECOND, down=np.array([0.0, 0.0, 1.0]), frame_id=frame_id):
        gravity.add(message)
    down = gravity.down(ros.stamped(5 * SECOND), tree, 0.0)
    if word is None:
        assert angle(down, (0.0, 1.0, 0.0)) < 0.3
        assert (gravity.refusal, said) == ('', [])
    else:
        assert down is None
        assert word in gravity.refusal
        assert len(said) == 1
        assert word in said[0]


# --- what the node makes of it ---

@pytest.fixture(scope='module')
def refusals() -> list[str]:
    """Give a list for why images were lifted without gravity."""
    return []


@pytest.fixture(scope='module')
def node(graph: ros.Graph, refusals: list[str]) -> Iterator[ros.NodeProcess]:
    with ros.running(
        graph, 'imu', '--autostart', method='geometric', use_imu=True, diagnostics_period=0.2,
        max_faces=2000,
    ) as node:
        yield node
    assert bool(refusals) == ('used without gravity' in node.log)


@pytest.fixture(scope='module')
def imu(graph: ros.Graph, node: ros.NodeProcess) -> Publisher:
    publisher = graph.node.create_publisher(Imu, '/imu/imu', 10)
    ros.wait_until(publisher.get_subscription_count)
    # Heard by the node, of which discovery tells only one side.
    ros.wait_until(lambda: publisher.publish(resting(SECOND)[0]) or received(node) > 0)
    return publisher


def received(node: ros.NodeProcess) -> int:
    return int(node.status('imu')[1]['received'])


def play(node: ros.NodeProcess, imu: Publisher, messages: list[Imu]) -> None:
    """Publish messages slowly enough for best effort, and wait until the node has taken them."""
    before = received(node)
    for message in messages:
        imu.publish(message)
        time.sleep(0.005)
    ros.wait_until(lambda: received(node) - before > len(messages) // 2)


def lift(node: ros.NodeProcess, stamp: int, depth: bool = False) -> LiftedObject:
    """Return the ball; without depth nothing but gravity tells the horizon."""
    frame = BALL[0] if depth else replace(BALL[0], gravity=None)
    fields = ros.messages(frame, BALL[1], stamp=stamp)
    if not depth:
        del fields['depth']
    answer = node.lift(LiftObject.Request(**fields))
    assert answer.success, answer.message
    return answer.object


def elevation(lifted: LiftedObject) -> float:
    """Return the camera's elevation over the object's horizon, from the object's pose."""
    T = pose_matrix(lifted.pose.pose)
    return float(np.degrees(np.arcsin(-unit(T[:3, 3]) @ T[:3, 2])))


@pytest.mark.ros
@pytest.mark.parametrize('depth', [False, True])
def test_at_rest_the_object_stands_upright(node, imu, depth):
    stamp = (200 if depth else 100) * SECOND
    play(node, imu, resting(stamp))
    lifted = lift(node, stamp, depth)
    assert lifted.elevation_source == 'gravity'
    assert elevation(lifted) == pytest.approx(ELEVATION, abs=2.0)
    assert angle(-pose_matrix(lifted.pose.pose)[:3, 2], DOWN) < 1.0
    assert node.status('imu')[1]['last image without gravity'] == ''


def shaking(stamp: int) -> list[Imu]:
    messages = resting(stamp)
    for k, message in enumerate(messages):
        message.linear_acceleration.x += 1.5 * np.sin(k)
    return messages


REFUSED = {
    'shaking': (shaking, 0, 'the camera moves'),
    'no data': (lambda stamp: resting(stamp, covariance=-1.0), 0, 'no acceleration'),
    'stale': (resting, 3 * SECOND, '3.0 s older'),
}


@pytest.mark.ros
@pytest.mark.parametrize('case', REFUSED)
def test_an_imu_that_tells_nothing_is_refused_and_said(node, imu, refusals, case):
    make, later, word = REFUSED[case]
    stamp = (300 + 100 * list(REFUSED).index(case)) * SECOND
    play(node, imu, make(stamp))
    lifted = lift(node, stamp + later)
    assert lifted.elevation_source == 'assumed'
    assert angle(pose_matrix(lifted.pose.pose)[:3, 2], assumed_up()) < 1.0
    message, values = node.status('imu')
    assert word in values['last image without gravity']
    assert message
    refusals.append(case)


@pytest.mark.ros
@pytest.mark.skipif(importlib.util.find_spec('tf2_ros') is not None, reason='tf2_ros is here')
def test_without_tf2_an_imu_in_another_frame_is_refused(node, imu, refusals):
    stamp = 700 * SECOND
    play(node, imu, resting(stamp, frame_id='imu_link'))
    assert lift(node, stamp).elevation_source == 'assumed'
    message, values = node.status('imu')
    assert 'ros-$ROS_DISTRO-tf2-ros' in values['last image without gravity']
    assert values['frame_id'] == 'imu_link'
    assert message
    refusals.append('tf2')


@pytest.mark.ros
def test_the_tree_turns_the_readings_of_another_frame(node, imu):
    tf2_ros = pytest.importorskip('tf2_ros')
    from geometry_msgs.msg import TransformStamped

    transform = TransformStamped(child_frame_id='imu_link', header=Header(frame_id=FRAME_ID))
    # The axes of a camera body: x forward, y left, z up.
    turn = transform.transform.rotation
    turn.x, turn.y, turn.z, turn.w = 0.5, -0.5, 0.5, 0.5
    broadcaster = tf2_ros.StaticTransformBroadcaster(node.graph.node)
    broadcaster.sendTransform(transform)
    body = np.array([DOWN[2], -DOWN[0], -DOWN[1]])
    stamp = 700 * SECOND
    play(node, imu, resting(stamp, down=body, frame_id='imu_link'))
    ros.wait_until(lambda: lift(node, stamp).elevation_source == 'gravity')
    assert elevation(lift(node, stamp)) == pytest.approx(ELEVATION, abs=2.0)


@pytest.mark.ros
def test_without_the_parameter_nobody_listens(graph):
    node = ros.NodeProcess(graph, 'no_imu', '--autostart', method='geometric', max_faces=2000)
    node.wait_until_active()
    assert graph.node.count_subscribers('/no_imu/imu') == 0
    lifted = lift(node, SECOND)
    assert lifted.elevation_source == 'assumed'
    assert angle(pose_matrix(lifted.pose.pose)[:3, 2], assumed_up()) < 1.0
    assert node.stop() == 0, node.log
