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

"""Views from a node in another process: the service, the topic, and what they leave alone."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
import ros_helpers as ros
from ros_helpers import BALL
from ros_helpers import TWO
from sensor_msgs.msg import Image
import view_helpers

from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.geometry import seconds
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.executors.background import wait_for
from lift3d_ros.node.messages.geometry import duration_message
from lift3d_ros.node.messages.images import image_message
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SynthesizeViews

pytestmark = pytest.mark.ros

#: So many that there is a middle to act in.
MANY = 64

Spoil = Callable[[SynthesizeViews.Request], None]


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return view_helpers.random_weights(tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='module')
def node(graph: ros.Graph, weights: Path) -> Iterator[ros.NodeProcess]:
    with ros.running(
        graph, 'views', '--autostart', views_weights=str(weights), views_count=3, queue_size=1,
        diagnostics_period=0.2, views_assumed_elevation=40.0,
    ) as node:
        yield node


def request(scene=BALL, **fields) -> SynthesizeViews.Request:
    return SynthesizeViews.Request(**{**ros.messages(*scene, stamp=7_000_000_009), **fields})


def ask(node: ros.NodeProcess, message: SynthesizeViews.Request) -> SynthesizeViews.Response:
    return node.graph.call(SynthesizeViews, node.name('synthesize_views'), message, ros.PATIENCE)


def pixels(image: Image) -> np.ndarray:
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, -1)


def synthesised(node: ros.NodeProcess) -> int:
    """Return how many views the node says that it made."""
    return int(node.status('lifting')[1]['views synthesised'])


# The first test: it must see the node before any other asks for views.


def test_a_robot_that_never_asks_for_views_pays_nothing_for_them(node):
    assert node.lift(LiftObject.Request(**ros.messages(*BALL))).success
    assert not node.has_torch()
    assert synthesised(node) == 0


def test_the_service_answers_with_posed_pictures(node):
    asked = [0.0, 90.0, -120.0]
    answer = ask(node, request(azimuths=asked, elevations=[20.0], seed=1))
    assert answer.success, answer.message
    assert answer.error_code == ''
    assert node.has_torch()
    assert (answer.header.stamp.sec, answer.header.stamp.nanosec) == (7, 9)
    assert answer.header.frame_id == ros.FRAME_ID
    assert list(answer.azimuths) == asked
    assert list(answer.elevations) == [20.0] * 3
    assert len(answer.images) == len(answer.poses) == 3
    made = [pixels(image) for image in answer.images]
    for image, picture in zip(answer.images, made, strict=True):
        assert (image.encoding, image.header.stamp) == ('rgba8', answer.header.stamp)
        assert picture.shape == (answer.camera_info.height, answer.camera_info.width, 4)
    assert len({image.header.frame_id for image in answer.images}) == 3
    assert (made[0] != made[1]).any()
    assert (made[1] != made[2]).any()
    across = 2.0 * np.degrees(np.arctan(0.5 * answer.camera_info.width / answer.camera_info.k[0]))
    assert across == pytest.approx(ZERO123_FOV)
    # Without transforms nothing tells it; random weights know no better.
    assert -90.0 <= answer.elevation <= 90.0
    assert answer.elevation_source in ('estimated', 'assumed')
    assert answer.scale_source == 'depth'
    assert 0.0 < seconds(answer.compute_time) < ros.PATIENCE


def test_poses_look_at_the_object_from_around_it(node):
    answer = ask(node, request(azimuths=[0.0, 90.0], elevations=[20.0, 50.0]))
    assert answer.success, answer.message
    poses = np.array([pose_matrix(pose) for pose in answer.poses])
    eyes, axes = poses[:, :3, 3], poses[:, :3, 2]
    distance = np.linalg.norm(eyes[0] - eyes[1]) / np.linalg.norm(axes[0] - axes[1])
    middle = eyes[0] + distance * axes[0]
    np.testing.assert_allclose(eyes[1] + distance * axes[1], middle, atol=1e-6)
    # The middle of a ball of 10 cm, of which the camera sees the near side.
    frame, labels = BALL
    u, v, z = frame.camera.project(middle)
    assert labels[round(float(v)), round(float(u))]
    assert z == pytest.approx(np.linalg.norm((0.45, 0.0, 0.35)), abs=0.04)
    # One length of the object, 10 cm, is the unit of the radius.
    assert distance / answer.radius == pytest.approx(0.1, abs=0.02)


def test_without_azimuths_there_is_a_ring_at_the_height_of_the_camera(node):
    answer = ask(node, request())
    assert answer.success, answer.message
    assert list(answer.azimuths) == [0.0, 120.0, 240.0]
    np.testing.assert_allclose(answer.elevations, answer.elevation, atol=1e-4)


def test_the_same_seed_gives_the_same_views(node):
    first, second, other = (
        ask(node, request(seed=seed)) for seed in (3, 3, 4))
    assert [image.data for image in first.images] == [image.data for image in second.images]
    assert [image.data for image in first.images] != [image.data for image in other.images]


def test_requests_select_an_object_and_warn_of_what_is_doubtful(node):
    v, u = (int(c) for c in np.argwhere(TWO[1] == 2).mean(axis=0))
    selector = ObjectSelector(mode=ObjectSelector.PIXEL, u=u, v=v)
    answer = ask(node, request(TWO, selector=selector, azimuths=[0.0]))
    assert answer.success, answer.message
    T = pose_matrix(answer.poses[0])
    # The view from the camera's own side looks to where the object is in the image.
    column, row, _ = TWO[0].camera.project(T[:3, 3] + T[:3, 2])
    assert abs(column - u) < 40
    assert abs(row - v) < 40
    half = image_message(BALL[1][::2, ::2], 'mono8')
    half.header = ros.stamped(7_000_000_009)
    assert 'resized' in ask(node, request(mask=half)).message


def nan_azimuth(message: SynthesizeViews.Request) -> None:
    message.azimuths = [0.0, float('nan')]


def infinite_elevation(message: SynthesizeViews.Request) -> None:
    message.elevations = [float('inf')]


def five_hundred_poses(message: SynthesizeViews.Request) -> None:
    message.azimuths = np.linspace(0.0, 359.0, 500).tolist()


def unequal_lengths(message: SynthesizeViews.Request) -> None:
    message.azimuths, message.elevations = [0.0, 1.0, 2.0], [0.0, 1.0]


def radius_inside_of_the_object(message: SynthesizeViews.Request) -> None:
    message.radius = 0.1


def radius_not_a_number(message: SynthesizeViews.Request) -> None:
    message.radius = float('nan')


def negative_radius(message: SynthesizeViews.Request) -> None:
    message.radius = -2.0


def empty_mask(message: SynthesizeViews.Request) -> None:
    message.mask = image_message(np.zeros_like(BALL[1]), 'mono8')


def small_mask(message: SynthesizeViews.Request) -> None:
    dot = np.zeros_like(BALL[1])
    dot[100:102, 100:110] = 255
    message.mask = image_message(dot, 'mono8')


def truncated_image(message: SynthesizeViews.Request) -> None:
    message.image.data = message.image.data[:-1000]


def millimetres_as_metres(message: SynthesizeViews.Request) -> None:
    message.depth = image_message(1000.0 * BALL[0].depth, '32FC1')


def all_objects(message: SynthesizeViews.Request) -> None:
    message.selector.mode = ObjectSelector.ALL


def no_frame(message: SynthesizeViews.Request) -> None:
    message.image = Image()


@pytest.mark.parametrize(('spoil', 'code', 'word'), [
    (nan_azimuth, 'BAD_REQUEST', 'finite'),
    (infinite_elevation, 'BAD_REQUEST', 'finite'),
    (five_hundred_poses, 'BAD_REQUEST', '256'),
    (unequal_lengths, 'BAD_REQUEST', '2 elevations'),
    (radius_inside_of_the_object, 'BAD_REQUEST', 'canonical units'),
    (radius_not_a_number, 'BAD_REQUEST', 'canonical units'),
    (negative_radius, 'BAD_REQUEST', 'canonical units'),
    (empty_mask, 'EMPTY_MASK', 'no pixels'),
    (small_mask, 'MASK_TOO_SMALL', '20 pixels'),
    (truncated_image, 'BAD_IMAGE', 'truncated'),
    (millimetres_as_metres, 'BAD_IMAGE', 'unit'),
    (all_objects, 'BAD_REQUEST', 'one object'),
    (no_frame, 'BAD_IMAGE', 'no frame'),
])
def test_bad_input_has_its_code_and_a_sentence(
    node: ros.NodeProcess, spoil: Spoil, code: str, word: str
) -> None:
    message = request()
    spoil(message)
    answer = ask(node, message)
    assert not answer.success
    assert (answer.error_code, word in answer.message) == (code, True), answer.message
    assert answer.message[-1] in '.?'
    assert not answer.images
    assert not answer.poses


def test_the_deadline_ends_what_runs(node):
    many = np.linspace(0.0, 350.0, MANY).tolist()
    answer = ask(node, request(azimuths=many, timeout=duration_message(0.1)))
    assert answer.error_code == 'TIMEOUT'
    assert ask(node, request()).success


def test_a_full_queue_is_busy_at_once(node, graph):
    service = graph.node.create_client(SynthesizeViews, node.name('synthesize_views'))
    many = np.linspace(0.0, 350.0, MANY).tolist()
    service.wait_for_service(ros.PATIENCE)
    # The server must know the client too.
    time.sleep(0.3)
    limit = duration_message(2.0)
    waiting = [service.call_async(request(azimuths=many, timeout=limit)) for _ in range(3)]
    # One runs, one waits, and the third is turned away.
    ros.wait_until(lambda: any(future.done() for future in waiting), 1.5)
    assert [future.result().error_code for future in waiting if future.done()] == ['BUSY']
    codes = [wait_for(future, ros.PATIENCE).error_code for future in waiting]
    assert sorted(codes) == ['BUSY', 'TIMEOUT', 'TIMEOUT']


# The topic


def test_each_request_shows_its_views_as_one_picture(node, graph):
    with graph.listen(Image, node.name('views')) as heard:
        ros.wait_until(lambda: graph.node.count_publishers(node.name('views')))
        time.sleep(0.3)
        answer = ask(node, request(azimuths=[0.0, 90.0, 180.0, 270.0], seed=2))
        ros.wait_until(lambda: heard)
    size = answer.camera_info.width
    grid = pixels(heard[0])
    assert heard[0].encoding == 'rgb8'
    assert heard[0].header == answer.header
    first = pixels(answer.images[0])[..., :3]
    np.testing.assert_array_equal(grid[:size, :size], first)
    assert grid.shape[0] * grid.shape[1] >= 4 * size * size


def test_lifted_objects_are_shown_only_when_somebody_looks(node, graph):
    message = LiftObject.Request(**ros.messages(*BALL))
    before = synthesised(node)
    assert node.lift(message).success
    assert ask(node, request(azimuths=[0.0])).success, 'the worker has done what it left to itself'
    assert synthesised(node) == before + 1
    with graph.listen(Image, node.name('views')) as heard:
        time.sleep(0.3)
        message.image.header = ros.stamped(3_000_000_000)
        assert node.lift(message).success
        ros.wait_until(lambda: heard)
        assert heard[0].header.stamp.sec == 3
    assert synthesised(node) == before + 4


def test_nothing_waits_for_the_views_of_what_was_lifted(node, graph):
    message = LiftObject.Request(**ros.messages(*BALL))
    assert node.set_parameter('views_count', MANY).successful
    with graph.listen(Image, node.name('views')) as heard:
        time.sleep(0.3)
        for _ in range(3):
            assert node.lift(message).success
            assert not heard, 'the answer came first, and the next request ended the views'
        assert node.set_parameter('views_count', 3).successful
        assert node.lift(message).success
        ros.wait_until(lambda: heard)
        time.sleep(0.2)
        assert len(heard) == 1


# Life


def test_deactivated_during_a_request_it_ends_with_not_active(node, graph):
    service = graph.node.create_client(SynthesizeViews, node.name('synthesize_views'))
    service.wait_for_service(ros.PATIENCE)
    time.sleep(0.3)
    many = np.linspace(0.0, 350.0, MANY).tolist()
    running = service.call_async(request(azimuths=many))
    time.sleep(0.3)
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    assert wait_for(running, 5.0).error_code == 'NOT_ACTIVE'
    assert ask(node, request()).error_code == 'NOT_ACTIVE'
    assert node.change(Transition.TRANSITION_ACTIVATE)
    assert ask(node, request()).success


@pytest.mark.parametrize(('name', 'code', 'word'), [
    ('', 'BAD_REQUEST', 'views_weights'),
    ('no-such-weights', 'WEIGHTS_MISSING', 'no-such-weights'),
])
def test_without_weights_requests_say_so_and_lifting_goes_on(node, weights, name, code, word):
    assert not node.set_parameter('views_weights', name).successful, 'not while active'
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    assert node.set_parameter('views_weights', name).successful
    assert node.change(Transition.TRANSITION_ACTIVATE)
    answer = ask(node, request())
    assert (answer.error_code, word in answer.message) == (code, True), answer.message
    assert node.lift(LiftObject.Request(**ros.messages(*BALL))).success
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    assert node.set_parameter('views_weights', str(weights)).successful
    assert node.change(Transition.TRANSITION_ACTIVATE)
    assert ask(node, request()).success
