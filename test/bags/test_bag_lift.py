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

"""``lift3d bag``: objects of a recording in the frame of the robot, and the bag of results."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from bag_helpers import contents
from bag_helpers import FRAME
from bag_helpers import IMAGE as SMALL_IMAGE
from bag_helpers import SECOND
from bag_helpers import SmallBag
from bag_helpers import stamps
from command_helpers import run_here
import numpy as np
import pytest
from scipy.spatial import cKDTree
import trimesh

from lift3d_ros.bags.bag import Bag
from lift3d_ros.bags.results import MARKERS
from lift3d_ros.bags.results import OBJECTS as RESULTS
from lift3d_ros.bags.results import POINTS
from lift3d_ros.bags.writer import BagWriter
from lift3d_ros.geometry import transform
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.results import mesh_from_message
from lift3d_ros.messages.results import POINT
from lift3d_ros.synthetic.table_bag import IMAGE
from lift3d_ros.synthetic.table_bag import OBJECTS
from lift3d_ros.synthetic.table_bag import objects_on_table

pytestmark = pytest.mark.usefixtures('one_thread')

START = 1_700_000_000 * SECOND + SECOND // 4

#: Mean distance in metres between a mesh of ``geometric`` and the true one, both ways.
MAX_CHAMFER = 0.008


def lift(bag, out, *options, method='geometric'):
    return run_here('bag', bag, '--out', out, '--method', method, *options)


def reports(out):
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted(out.glob('*.json')) if path.name != 'bag.json'
    }


def summary(out):
    return json.loads((out / 'bag.json').read_text())


def chamfer(vertices, truth):
    there = cKDTree(truth.vertices).query(vertices)[0].mean()
    back = cKDTree(vertices).query(truth.vertices)[0].mean()
    return 0.5 * (there + back)


@pytest.fixture(scope='module')
def lifted(tmp_path_factory, table_bag):
    """Return the folder of two images lifted in the world frame, with the bag of results."""
    out = tmp_path_factory.mktemp('lifted') / 'out'
    done = lift(
        table_bag, out, '--label-image', '--target-frame', 'world', '--at', '+0', '+10',
        '--write', out.parent / 'results.mcap')
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''
    return out


def test_objects_lie_where_they_are_in_the_world(lifted):
    found, truth = reports(lifted), objects_on_table()
    assert len(found) == 2 * len(OBJECTS)
    for name, report in found.items():
        assert report['ok']
        assert report['frame'] == 'world'
        assert report['frame_id'] == 'world'
        assert report['watertight']
        assert report['scale_source'] == 'depth'
        assert report['elevation_source'] == 'gravity'
        number = int(report['id'].removeprefix('label_'))
        mesh = trimesh.load(lifted / f'{name}.ply', process=False)
        assert chamfer(mesh.vertices, truth[number - 1]) < MAX_CHAMFER
    assert {report['stamp'] for report in found.values()} == {
        '1700000000.250000000', '1700000010.250000000'}
    assert summary(lifted)['objects'] == 6
    assert summary(lifted)['lost'] == []


def test_the_bag_of_results_has_the_times_of_the_recording(lifted, table_bag):
    results = lifted.parent / 'results.mcap'
    images = {time: data for _, time, data in contents(table_bag, [IMAGE])}
    with Bag(results) as bag:
        assert set(bag.topics) == {RESULTS, MARKERS, POINTS}
        entries = list(bag.entries({RESULTS, MARKERS, POINTS}))
        messages = [(entry.topic, bag.message(entry)) for entry in entries]
    assert {entry.time for entry in entries} <= images.keys()
    assert stamps(results, RESULTS) == [START, START + 10 * SECOND]
    truth = objects_on_table()
    for topic, message in messages:
        if topic == MARKERS:
            meshes = [marker for marker in message.markers if marker.ns == 'mesh']
            assert len(meshes) == len(OBJECTS)
            assert {marker.header.frame_id for marker in message.markers} == {'world'}
            continue
        assert message.header.frame_id == 'world'
        if topic == POINTS:
            rows = np.frombuffer(message.data.tobytes(), POINT)
            assert len(rows) == message.width
            assert -0.02 < rows['z'].min() < rows['z'].max() < 0.2
            continue
        assert message.success
        for each in message.objects:
            mesh = mesh_from_message(each)
            vertices = transform(pose_matrix(each.pose.pose), mesh.vertices)
            number = int(each.id.removeprefix('label_'))
            assert chamfer(vertices, truth[number - 1]) < MAX_CHAMFER
            assert len(each.vertex_colors) == len(each.vertex_confidence) == len(vertices)


def mesh_errors(folder: Path) -> list[float]:
    """Return the chamfer distances of the lifted objects of the table, metres."""
    truth = objects_on_table()
    return [
        chamfer(trimesh.load(folder / f'{name}.ply', process=False).vertices,
                truth[int(report['id'].removeprefix('label_')) - 1])
        for name, report in reports(folder).items()]


@pytest.fixture(scope='module')
def accumulated(tmp_path_factory, table_bag) -> Path:
    """Return the folder of objects that are lifted with source views."""
    folder = tmp_path_factory.mktemp('accumulated')
    done = lift(
        table_bag, folder, '--label-image', '--target-frame', 'world', '--at', '+10',
        '--accumulate', '4')
    assert done.returncode == 0, done.stderr
    return folder


def test_images_before_give_source_views_of_the_same_label(accumulated):
    assert all(report['views'] == 1 + 4 for report in reports(accumulated).values())
    errors = mesh_errors(accumulated)
    assert len(errors) == len(OBJECTS)
    assert np.mean(errors) < 0.005


@pytest.mark.xfail(strict=True, reason='with aligned symmetries geometric has 3.5 mm, not 2.9')
def test_source_views_lower_the_error(accumulated, lifted):
    assert np.mean(mesh_errors(accumulated)) < np.mean(mesh_errors(lifted))


def test_boxes_of_a_detector_name_the_objects(tmp_path, table_bag):
    done = lift(table_bag, tmp_path, '--detections', '/detector/detections', '--at', '+20')
    assert done.returncode == 0, done.stderr
    found = reports(tmp_path)
    assert {report['class_id'] for report in found.values()} == {name for name, *_ in OBJECTS}
    assert all(report['frame'] == 'camera' for report in found.values())


def test_a_recording_that_is_cut_off_is_lifted_up_to_there(tmp_path, table_bag):
    short, out = tmp_path / 'short.mcap', tmp_path / 'out'
    short.write_bytes(table_bag.read_bytes()[:table_bag.stat().st_size // 2])
    done = lift(short, out, '--label-image', '--every', '20')
    assert done.returncode == 0, done.stderr
    said = summary(out)
    assert 5 < said['images'] < 15
    assert said['objects'] == 3 * said['images_lifted']
    assert len(said['lost']) >= 1
    assert all(sentence in done.stderr for sentence in said['lost'])


def test_the_topics_are_listed(table_bag):
    done = run_here('bag', table_bag, '--list')
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert 'color' in lines[IMAGE]
    assert lines[IMAGE].split()[1] == '21'


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize('options', [
    ['--image', '/nothing'],
    ['--at', 'noon'],
    ['--method', 'nothing'],
    ['--plane-height', '0'],
    ['--write', '/dev/null/results.mcap'],
])
def test_a_wrong_option_is_an_error_of_the_command_line(tmp_path, table_bag, options):
    done = run_here('bag', table_bag, '--out', tmp_path / 'out', *options)
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr


def test_a_bag_needs_a_purpose(table_bag):
    assert run_here('bag', table_bag).returncode == 2


def test_a_frame_that_is_not_in_the_tree_fails_each_image_and_says_so(tmp_path, table_bag):
    out, results = tmp_path / 'out', tmp_path / 'results.mcap'
    done = lift(table_bag, out, '--target-frame', 'moon', '--every', '10', '--write', results)
    assert done.returncode == 1
    assert {report['error']['code'] for report in reports(out).values()} == {'NO_TRANSFORM'}
    assert summary(out)['failures'] == 3
    with Bag(results) as bag:
        for entry in bag.entries({RESULTS}):
            message = bag.message(entry)
            assert not message.success
            assert [each.error_code for each in message.failures] == ['NO_TRANSFORM']


def test_transforms_are_needed_for_a_target_frame(tmp_path):
    path = tmp_path / 'bag.mcap'
    with BagWriter(path) as writer:
        SmallBag(writer).frame(SECOND)
    done = lift(path, tmp_path / 'out', '--target-frame', 'world')
    assert done.returncode == 2


def test_source_views_need_the_poses_of_the_camera(tmp_path):
    path, out = tmp_path / 'bag.mcap', tmp_path / 'out'
    with BagWriter(path) as writer:
        small = SmallBag(writer)
        small.transform('world', 'other_camera', SECOND, np.eye(4))
        for second in (1, 2):
            small.frame(second * SECOND, mask=10)
    done = lift(path, out, '--accumulate', '5')
    assert done.returncode == 1
    assert {report['error']['code'] for report in reports(out).values()} == {'NO_TRANSFORM'}


def test_an_empty_mask_is_no_failure(tmp_path):
    path, out = tmp_path / 'bag.mcap', tmp_path / 'out'
    with BagWriter(path) as writer:
        for second in (1, 2):
            SmallBag(writer).frame(second * SECOND)
    done = lift(path, out)
    assert done.returncode == 0, done.stderr
    assert summary(out)['images_without_objects'] == 2
    assert reports(out) == {}


def test_results_of_an_earlier_run_do_not_stay_under_a_failure(tmp_path, table_bag):
    for number in (1, 2, 3):
        (tmp_path / f'1700000005.250000000_label_{number}.ply').write_text('earlier')
    done = lift(
        table_bag, tmp_path, '--label-image', '--at', '+5', '--min-confidence', '0.99')
    assert done.returncode == 1
    assert len(reports(tmp_path)) == len(OBJECTS)
    assert list(tmp_path.glob('*.ply')) == []


# --- the real rosbag2 ---------------------------------------------------------------------------


def test_a_bag_of_the_real_rosbag2_is_read_and_ours_is_read_by_it(tmp_path, lifted):
    rosbag2 = importlib.import_module('rosbag2_py') if _has_rosbag2() else None
    if rosbag2 is None:
        pytest.skip('rosbag2_py is not installed; it comes with a sourced ROS 2')
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import Image

    path = tmp_path / 'real'
    writer = rosbag2.SequentialWriter()
    writer.open(
        rosbag2.StorageOptions(uri=str(path), storage_id='mcap'),
        rosbag2.ConverterOptions('cdr', 'cdr'))
    writer.create_topic(rosbag2.TopicMetadata(
        id=0, name=SMALL_IMAGE, type='sensor_msgs/msg/Image', serialization_format='cdr'))
    image = Image(height=1, width=2, encoding='mono8', step=2, data=[1, 2])
    image.header.frame_id = FRAME
    for second in (1, 2, 3):
        image.header.stamp.sec = second
        writer.write(SMALL_IMAGE, serialize_message(image), second * SECOND)
    del writer
    assert stamps(path, SMALL_IMAGE) == [SECOND, 2 * SECOND, 3 * SECOND]

    reader = rosbag2.SequentialReader()
    reader.open(
        rosbag2.StorageOptions(uri=str(lifted.parent / 'results.mcap'), storage_id='mcap'),
        rosbag2.ConverterOptions('cdr', 'cdr'))
    found = []
    while reader.has_next():
        topic, _, time = reader.read_next()
        found.append((topic, time))
    assert {topic for topic, _ in found} == {RESULTS, MARKERS, POINTS}


def _has_rosbag2():
    return importlib.util.find_spec('rosbag2_py') is not None
