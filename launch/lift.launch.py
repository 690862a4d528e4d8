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
Start the node lift3d, optionally with RViz or with the packaged demo scene.

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
from lift3d_ros.node import rviz
from lift3d_ros.node.parameters.reference import yaml_value
from lift3d_ros.node.parameters.settings import SPECS

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

#: Parameters that are arguments too. Left empty they keep the value of params_file.
PARAMETERS = (
    'mode', 'method', 'device', 'weights', 'samples', 'remote', 'mask_source', 'image_transport',
    'mask_transport', 'depth_transport', 'target_frame', 'gravity_frame', 'support_plane',
    'known_sizes', 'scale_order', 'min_confidence', 'max_age', 'kept_frames', 'output_dir',
    'scene_budget', 'scene_memory', 'scene_resolution', 'scene_fill', 'scene_prior',
    'scene_camera_height', 'planning_scene', 'collision_geometry', 'collision_max_vertices',
    'publish_tf', 'rectified', 'use_depth', 'use_imu', 'introspection',
)

#: Arguments of the launch itself that are true or false.
SWITCHES = {
    'use_sim_time': ('false', 'take the time from /clock'),
    'autostart': (
        'true', 'configure and activate at once; false: leave it to a lifecycle manager'
    ),
    'respawn': ('false', 'start the node again whenever it ends'),
    'required': (
        'true',
        'end the launch with status 1 when the node ends with an error; set it to false if a '
        'larger launch file continues without the node',
    ),
    'rviz': ('false', 'start RViz as well, with the topics and the target_frame of the node'),
    'demo': ('false', 'publish the packaged scene, lift its object, write demo/out, and end'),
}


def parameter_type(name):
    """Return the type of a parameter of the node as launch_ros names it."""
    default = SPECS[name].default
    return list[str] if isinstance(default, list) else type(default)


def parameter_argument(name):
    """Return the argument for a parameter of the node."""
    spec = SPECS[name]
    default = yaml_value(spec.default)
    return DeclareLaunchArgument(
        name,
        default_value='',
        description=f'{spec.description} Left empty: as in params_file ({default}).',
        choices=['', *spec.choices] if spec.choices else None,
    )


def typed(context, name, kind):
    """Return an argument as a value of a parameter; raises ``ValueError`` with its name."""
    value = ParameterValue(LaunchConfiguration(name), value_type=kind)
    try:
        value.evaluate(context)
    except ValueError as error:
        # The message of launch contains neither the name nor the meaning of the argument.
        what = {int: 'a whole number', float: 'a number', bool: 'true or false'}.get(
            kind, 'a list of strings'
        )
        text = LaunchConfiguration(name).perform(context)
        meaning = SPECS[name].description if name in PARAMETERS else 'see --show-args'
        raise ValueError(f'{name}:="{text}" is not {what} ({meaning})') from error
    return value


def start(context):
    """
    Return the node, with the parameters that were given as arguments, and its companions.

    Raises ``ValueError``, ``FileNotFoundError`` or ``PackageNotFoundError`` for invalid arguments
    before any process starts.
    """
    def value(name):
        return LaunchConfiguration(name).perform(context)

    file = value('params_file')
    if not Path(file).is_file():
        # launch_ros would ignore it and start the node with default parameters.
        raise FileNotFoundError(f'params_file:="{file}" is not a file')
    given = {
        name: typed(context, name, parameter_type(name)) for name in PARAMETERS if value(name)
    }
    for name in ('use_sim_time', 'autostart'):
        given[name] = typed(context, name, bool)
    remappings = [(topic, value(topic)) for topic in TOPICS]
    for topic in IMAGES:
        for transport in ('compressed', 'compressedDepth'):
            remappings.append((f'{topic}/{transport}', f'{value(topic)}/{transport}'))
    # The logger has the full name of the node, with the namespaces of enclosing launch files.
    namespace = make_namespace_absolute(
        prefix_namespace(context.launch_configurations.get('ros_namespace'), value('namespace'))
    )
    logger = f'{namespace}/{value("name")}'.strip('/').replace('/', '.')
    respawn = typed(context, 'respawn', bool).evaluate(context)
    node = LifecycleNode(
        package='lift3d_ros',
        executable='lift3d_node',
        exec_name='lift3d',
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
        respawn=respawn,
        respawn_delay=typed(context, 'respawn_delay', float).evaluate(context),
    )
    actions = [node]
    if typed(context, 'required', bool).evaluate(context) and not respawn:
        handler = OnProcessExit(target_action=node, on_exit=fail_with_node)
        actions.insert(0, RegisterEventHandler(handler))
    if typed(context, 'rviz', bool).evaluate(context):
        actions.append(make_rviz(context, namespace))
    if typed(context, 'demo', bool).evaluate(context):
        demo = make_demo()
        actions.append(demo)
        # The end of either one ends the launch.
        for process in (demo, node):
            handler = OnProcessExit(target_action=process, on_exit=shut_down)
            actions.insert(0, RegisterEventHandler(handler))
    return actions


def make_rviz(context, namespace):
    """
    Return RViz with the topics of the node in its ``namespace``.

    Raises ``PackageNotFoundError`` where it is not installed.
    """
    try:
        get_package_share_directory('rviz2')
    except PackageNotFoundError as error:
        missing = 'rviz:=true needs the package rviz2, which is not installed'
        raise PackageNotFoundError(missing) from error
    return Node(
        package='rviz2',
        executable='rviz2',
        exec_name='rviz2',
        # Remaps of enclosing launch files then apply to the same topics.
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', str(rviz.write(rviz_configuration(context, namespace)))],
        parameters=[
            {'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)}
        ],
        output='log',
    )


def rviz_configuration(context, namespace):
    """Return config/lift.rviz with the topics and the result frame of the arguments."""
    def value(name):
        return LaunchConfiguration(name).perform(context)

    node = value('name')
    topics = {}
    for topic in ('image', 'mask'):
        transport = value(f'{topic}_transport')
        suffix = '' if transport in ('', 'raw') else f'/{transport}'
        topics[topic] = value(topic) + suffix
    in_file = rviz.parameter_of_file(
        Path(value('params_file')).read_text(), namespace, node, 'target_frame'
    )
    return rviz.configuration(
        Path(f'{SHARE}/config/lift.rviz').read_text(),
        namespace=namespace,
        node=node,
        topics=topics,
        fixed_frame=value('target_frame') or in_file or '',
    )


def make_demo():
    """Return the program that publishes the demo scene and requests a lift."""
    return Node(
        executable=sys.executable,
        exec_name='lift3d_demo',
        arguments=['-m', 'lift3d_ros.node.demo', '--server', LaunchConfiguration('name')],
        namespace=LaunchConfiguration('namespace'),
        remappings=[(topic, LaunchConfiguration(topic)) for topic in TOPICS],
        output='screen',
    )


def shut_down(event, context):
    """Shut the launch down, unless it is shutting down already."""
    return None if context.is_shutdown else [EmitEvent(event=Shutdown())]


def fail_with_node(event, context):
    """End the launch with status 1 if the node ended with an error."""
    if event.returncode == 0 or context.is_shutdown:
        return None
    raise RuntimeError(
        f'{event.process_name} ended with exit code {event.returncode}; see the reason above'
    )


def generate_launch_description():
    """Return the arguments and the actions."""
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
        *map(parameter_argument, PARAMETERS),
        *(
            DeclareLaunchArgument(name, default_value=default, description=description)
            for name, (default, description) in SWITCHES.items()
        ),
        DeclareLaunchArgument(
            'respawn_delay',
            default_value='1.0',
            description='seconds between the end of the node and its next start',
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
        OpaqueFunction(function=start),
    ])
