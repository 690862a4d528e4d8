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
Start the node lift3d, optionally with RViz and a camera that is not there.

ros2 launch lift3d_ros lift.launch.py image:=/camera/color/image_raw mask:=/segmenter/mask
ros2 launch lift3d_ros lift.launch.py --show-args
"""

from pathlib import Path
import sys

from ament_index_python.packages import get_package_share_directory
from ament_index_python.packages import PackageNotFoundError
from launch.actions import DeclareLaunchArgument
from launch.actions import EmitEvent
from launch.actions import OpaqueFunction
from launch.actions import RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.utilities import make_namespace_absolute
from launch_ros.utilities import prefix_namespace

from launch import LaunchDescription
from lift3d_ros.node import middleware

SHARE = get_package_share_directory('lift3d_ros')

#: Topics of the node, remapped by an argument of the same name.
TOPICS = {
    'image': 'colour image, sensor_msgs/Image (CompressedImage: see image_transport)',
    'camera_info': 'its sensor_msgs/CameraInfo',
    'mask': 'mask or label image of the objects, sensor_msgs/Image',
    'depth': 'depth, 16UC1 mm or 32FC1 m; registered to the image, or with depth_camera_info',
    'depth_camera_info': 'CameraInfo of depth that is not registered to the image, optional',
    'detections': 'vision_msgs/Detection2DArray, with mask_source:=detections',
    'imu': 'sensor_msgs/Imu of the camera, with use_imu:=true',
    'collision_object': 'obstacles for MoveIt, with planning_scene:=true',
}

#: Those that carry images: each of their transports is a topic below the image's own name.
IMAGES = ('image', 'mask', 'depth')

#: Parameters that are arguments too: name, type, description. Left empty they keep the value of
#: params_file.
PARAMETERS = {
    'mode': (str, 'continuous or on_request'),
    'method': (str, 'how the whole of an object is found; `lift3d methods` lists them'),
    'device': (str, 'cpu, or cuda where the method can use it'),
    'weights': (str, 'of a method with networks: small, full or a folder'),
    'samples': (int, 'sets of views that such a method draws for one shape, 1 to 16'),
    'mask_source': (str, 'binary, label or detections'),
    'image_transport': (str, 'raw or compressed'),
    'mask_transport': (str, 'raw or compressed'),
    'depth_transport': (str, 'raw or compressedDepth'),
    'target_frame': (str, 'frame of the results, by tf2; without it the optical frame'),
    'gravity_frame': (str, 'frame whose z axis points up, by tf2; without it target_frame'),
    'support_plane': (str, 'plane that objects stand on, in target_frame, such as "z = 0"'),
    'known_sizes': (list[str], 'longest sides by class, such as "[\'mug: 0.10\']", metres'),
    'scale_order': (list[str], 'what may tell the scale, such as "[depth, plane, unknown]"'),
    'min_confidence': (float, 'mean confidence below which a shape is refused, 0.0 to 1.0'),
    'kept_frames': (int, 'frames kept of each object for requests with refine, 0 to 15'),
    'output_dir': (str, 'folder below which save_object may write'),
    'planning_scene': (bool, 'true: lifted objects are obstacles of MoveIt'),
    'rectified': (bool, 'false for a raw image with distortion'),
    'depth_registration': (str, 'auto, or assume_registered where frame_ids are wrong'),
    'use_depth': (bool, 'false where there is no depth'),
    'use_imu': (bool, 'true: gravity from the topic imu, where no target_frame tells it'),
}


def typed(context, name, kind):
    """Return an argument as a value of a parameter; raises ``ValueError`` with its name."""
    value = ParameterValue(LaunchConfiguration(name), value_type=kind)
    try:
        value.evaluate(context)
    except ValueError as error:
        # What launch says of it names neither the argument nor what it is for.
        what = {int: 'a whole number', float: 'a number', bool: 'true or false'}.get(
            kind, 'a list of strings'
        )
        text = LaunchConfiguration(name).perform(context)
        meaning = PARAMETERS[name][1] if name in PARAMETERS else 'see --show-args'
        raise ValueError(f'{name}:="{text}" is not {what} ({meaning})') from error
    return value


def start(context):
    """
    Return the node, with those parameters that were given as arguments, and what goes with it.

    Raises ``ValueError``, ``FileNotFoundError`` or ``PackageNotFoundError`` for what cannot be:
    a failure later on would leave behind what was started by then.
    """
    def value(name):
        return LaunchConfiguration(name).perform(context)

    file = value('params_file')
    if not Path(file).is_file():
        # launch_ros would leave it out and start the node with other parameters than were meant.
        raise FileNotFoundError(f'params_file:="{file}" is not a file')
    given = {
        name: typed(context, name, kind) for name, (kind, _) in PARAMETERS.items() if value(name)
    }
    for name in ('use_sim_time', 'autostart'):
        given[name] = typed(context, name, bool)
    remappings = [(topic, value(topic)) for topic in TOPICS]
    for topic in IMAGES:
        for transport in ('compressed', 'compressedDepth'):
            remappings.append((f'{topic}/{transport}', f'{value(topic)}/{transport}'))
    # The logger has the node's full name, with what the launch files around this one put before.
    namespace = make_namespace_absolute(
        prefix_namespace(context.launch_configurations.get('ros_namespace'), value('namespace'))
    )
    logger = f'{namespace}/{value("name")}'.strip('/').replace('/', '.')
    node = LifecycleNode(
        package='lift3d_ros',
        executable='lift3d_node',
        name=value('name'),
        namespace=value('namespace'),
        parameters=[file, given],
        remappings=remappings,
        ros_arguments=['--log-level', f'{logger}:={value("log_level")}'],
        additional_env=(
            middleware.environment(context.environment)
            if typed(context, 'fastdds_profile', bool).evaluate(context)
            else {middleware.SWITCH: 'off'}
        ),
        output='screen',
    )
    actions = [node]
    if typed(context, 'rviz', bool).evaluate(context):
        actions.append(make_rviz())
    if typed(context, 'demo', bool).evaluate(context):
        demo = make_demo()
        actions.append(demo)
        # The demo ends it all, and without the node it would wait in vain.
        for process in (demo, node):
            handler = OnProcessExit(target_action=process, on_exit=shut_down)
            actions.insert(0, RegisterEventHandler(handler))
    return actions


def make_rviz():
    """Return RViz; raises ``PackageNotFoundError`` where it is not installed."""
    try:
        get_package_share_directory('rviz2')
    except PackageNotFoundError as error:
        missing = 'rviz:=true needs the package rviz2, which is not installed'
        raise PackageNotFoundError(missing) from error
    sim_time = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    return Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', f'{SHARE}/config/lift.rviz'],
        parameters=[{'use_sim_time': sim_time}],
        output='log',
    )


def make_demo():
    """Return the camera that is not there, and asks."""
    return Node(
        executable=sys.executable,
        arguments=['-m', 'lift3d_ros.node.demo', '--server', LaunchConfiguration('name')],
        namespace=LaunchConfiguration('namespace'),
        remappings=[(topic, LaunchConfiguration(topic)) for topic in TOPICS],
        output='screen',
    )


def shut_down(event, context):
    """End the launch, once: a second time would be an error."""
    return None if context.is_shutdown else [EmitEvent(event=Shutdown())]


def generate_launch_description():
    """Return the arguments and what they start."""
    return LaunchDescription([
        DeclareLaunchArgument('name', default_value='lift3d', description='name of the node'),
        DeclareLaunchArgument('namespace', default_value='', description='namespace of the node'),
        *(
            DeclareLaunchArgument(topic, default_value=topic, description=description)
            for topic, description in TOPICS.items()
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=f'{SHARE}/config/lift.yaml',
            description='YAML file with the parameters of the node',
        ),
        *(
            DeclareLaunchArgument(name, default_value='', description=description)
            for name, (_, description) in PARAMETERS.items()
        ),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', description='take the time from /clock'
        ),
        DeclareLaunchArgument(
            'autostart',
            default_value='true',
            description='configure and activate at once; false: leave it to a lifecycle manager',
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='of the node',
        ),
        DeclareLaunchArgument(
            'fastdds_profile',
            default_value='true',
            description='with Fast DDS and no profile set: use config/fastdds.xml for the node',
        ),
        DeclareLaunchArgument('rviz', default_value='false', description='start RViz as well'),
        DeclareLaunchArgument(
            'demo',
            default_value='false',
            description='publish the packaged scene, ask for its object, write demo/out, and end',
        ),
        OpaqueFunction(function=start),
    ])
