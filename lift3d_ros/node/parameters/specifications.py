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

"""The parameters of the node: declared in one place, checked, and read as one value."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import difflib
import re
from typing import Any

from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from lift3d_ros.diffusion.view_grid import RING
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import DEFAULT_METHOD
from lift3d_ros.lifter import DEVICES
from lift3d_ros.lifter import MAX_SAMPLES
from lift3d_ros.lifter import METHODS
from lift3d_ros.node.parameters.values import shown
from lift3d_ros.node.parameters.values import typed
from lift3d_ros.observation.hints import check_order
from lift3d_ros.observation.hints import known_sizes
from lift3d_ros.observation.hints import SOURCES
from lift3d_ros.observation.reference_view import MAX_SOURCE_VIEWS

#: Of views_assumed_elevation: nothing is assumed.
NO_ELEVATION = -91.0

#: Parameters of ROS itself, which any node may be given.
_FOREIGN = ('use_sim_time', 'qos_overrides.', 'start_type_description_service')

_HEIGHT = re.compile(r'\s*z\s*=\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*')


def plane_height(text: str) -> float | None:
    """
    Return the height of the plane that ``support_plane`` names, metres; None for an empty text.

    Raises ``LiftError(BAD_REQUEST)`` for a text of another form.
    """
    if not text.strip():
        return None
    match = _HEIGHT.fullmatch(text)
    if match is None:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'support_plane is "{text}"; write "z = HEIGHT" with the height of the plane in '
            'target_frame in metres, such as "z = 0", or nothing.',
        )
    return float(match[1])


def sizes(entries: Sequence[str]) -> dict[str, float]:
    """Return sizes by class; empty entries, which a list in ROS may need, are no entries."""
    return known_sizes(entry for entry in entries if entry.strip())


def order(entries: Sequence[str]) -> tuple[str, ...]:
    """
    Return the order of the sources of scale; empty entries are no entries.

    Raises ``LiftError(BAD_REQUEST)`` for an order that cannot be, such as one of no source.
    """
    names = [entry.strip() for entry in entries if entry.strip()]
    if not names:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'it is empty; give one or more of {", ".join(SOURCES)}, or unknown alone for shapes '
            'without scale.',
        )
    return check_order(names)


@dataclass(frozen=True)
class Spec:
    """
    One parameter: its default and what it may be.

    ``check`` raises ``LiftError`` for a value that has no meaning. ``live`` parameters take effect
    with the next lift, ``read_only`` ones are set when the node starts, and all others are changed
    while the node is not active.
    """

    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    check: Callable[[Any], object] | None = None
    live: bool = False
    read_only: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """Return the descriptor that ROS enforces and ``ros2 param describe`` shows."""
        descriptor = ParameterDescriptor(
            description=self.description, read_only=self.read_only
        )
        if self.choices:
            descriptor.additional_constraints = f'one of: {", ".join(self.choices)}'
        if self.minimum is not None and self.maximum is not None:
            if isinstance(self.default, int):
                descriptor.integer_range = [
                    IntegerRange(from_value=int(self.minimum), to_value=int(self.maximum), step=0)
                ]
            else:
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=self.minimum, to_value=self.maximum, step=0.0)
                ]
        return descriptor

    def complaint(self, name: str, value: Any) -> str:
        """Return what is wrong with a value of the parameter of that name, or an empty string."""
        try:
            value = typed(name, self.default, value, self.choices)
        except ValueError as error:
            return str(error)
        if self.choices and value not in self.choices:
            return f'"{name}" is {shown(value)}; it must be one of {", ".join(self.choices)}.'
        if self.minimum is not None and self.maximum is not None:
            if not self.minimum <= value <= self.maximum:
                return (
                    f'"{name}" is {value}, out of its range from {self.minimum:g} to '
                    f'{self.maximum:.10g}.'
                )
        try:
            if self.check is not None:
                self.check(value)
        except LiftError as error:
            return f'"{name}": {error.message}'
        return ''


SPECS: dict[str, Spec] = {
    'mode': Spec(
        'on_request',
        'continuous: lift every new synchronised frame, newest wins; on_request: compute nothing '
        'until a service or action asks.',
        choices=('continuous', 'on_request'),
        live=True,
    ),
    'method': Spec(
        DEFAULT_METHOD,
        'How the whole of an object is found; requests may name another.',
        choices=tuple(METHODS),
    ),
    'device': Spec(
        'cpu', 'Where the method computes; not every method can use cuda.', choices=DEVICES
    ),
    'weights': Spec(
        'small',
        'Weights of a method with networks: small, packaged; full, the published ones that the '
        'user has brought; or a folder. Other methods do without.',
    ),
    'samples': Spec(
        1,
        'Sets of views that a method with networks draws for one shape, which is their mean; its '
        'confidence tells their spread.',
        1,
        MAX_SAMPLES,
        live=True,
    ),
    'max_faces': Spec(20_000, 'Maximum number of triangles of a mesh.', 100, 500_000, live=True),
    'seed': Spec(
        0,
        'Seed of the random numbers: the same seed gives the same mesh on the same device.',
        0,
        2**32 - 1,
        live=True,
    ),
    'timeout': Spec(
        60.0,
        'Seconds that a request may take, the time in the queue included; 0: no limit.',
        0.0,
        3600.0,
        live=True,
    ),
    'max_age': Spec(
        0.0,
        'Maximum age of a subscribed frame, from its stamp to the start of its lift, in seconds; '
        'older frames are refused with STALE; 0: no limit.',
        0.0,
        3600.0,
        live=True,
    ),
    'queue_size': Spec(
        4,
        'Requests that may wait while one is worked on; one more is answered with BUSY at once.',
        1,
        32,
        read_only=True,
    ),
    'max_rate': Spec(
        0.0,
        'Frames per second that the continuous mode lifts, at most; 0: as many as it can.',
        0.0,
        120.0,
        live=True,
    ),
    'max_objects': Spec(
        10, 'Objects of one frame that are lifted, at most, the largest first.', 1, 100, live=True
    ),
    'min_confidence': Spec(
        0.0,
        'Mean confidence below which a shape is refused with LOW_CONFIDENCE and not published; '
        '0: none is.',
        0.0,
        1.0,
        live=True,
    ),
    'kept_frames': Spec(
        4,
        'Frames of each of the last objects that are kept, so that a request with refine can '
        'improve it; 0: none.',
        0,
        MAX_SOURCE_VIEWS,
        live=True,
    ),
    'kept_megabytes': Spec(
        256,
        'Maximum memory of these frames; frames of the objects lifted longest ago are dropped '
        'first.',
        1,
        65_536,
        live=True,
    ),
    'mask_source': Spec(
        'binary',
        'What the topic mask carries: binary (not zero = object), label (value = instance); '
        'detections: no mask but boxes on the topic detections, segmented by depth.',
        choices=('binary', 'label', 'detections'),
    ),
    'split_mask': Spec(
        True,
        'Take each connected component of a binary mask as an object; false: the whole mask is '
        'one object, even where something in front cuts it in two.',
        live=True,
    ),
    'use_depth': Spec(True, 'Wait for a depth image with each frame.'),
    'depth_unit': Spec(
        0.001,
        'Metres that one count of a 16UC1 depth image stands for (REP 118: 0.001).',
        1e-6,
        1.0,
        live=True,
    ),
    'depth_registration': Spec(
        'auto',
        'auto: register depth from another camera or frame_id with depth_camera_info and tf2, '
        'and refuse it if they are missing; assume_registered: treat depth as registered '
        'whatever its header says.',
        choices=('auto', 'assume_registered'),
        live=True,
    ),
    'rectified': Spec(
        True,
        'The image is rectified, its camera matrix is in P. False: it is raw, its matrix is K, '
        'and the distortion D is taken out here.',
        live=True,
    ),
    'image_transport': Spec(
        'raw',
        'raw: subscribe to image; compressed: to image/compressed.',
        choices=('raw', 'compressed'),
    ),
    'mask_transport': Spec(
        'raw',
        'raw: subscribe to mask; compressed: to mask/compressed (PNG).',
        choices=('raw', 'compressed'),
    ),
    'depth_transport': Spec(
        'raw',
        'raw: subscribe to depth; compressedDepth: to depth/compressedDepth (PNG).',
        choices=('raw', 'compressedDepth'),
    ),
    'reliability': Spec(
        'auto',
        'Of the subscriptions; auto: reliable where every publisher of the topic is, else best '
        'effort.',
        choices=('auto', 'best_effort', 'reliable'),
    ),
    'sync_tolerance': Spec(
        0.1,
        'Seconds by which the stamps of image, mask and depth may differ in one frame.',
        0.0,
        10.0,
    ),
    'sync_queue_size': Spec(
        10, 'Messages of each topic kept to find those that belong together.', 1, 200
    ),
    'target_frame': Spec(
        '',
        'Frame of poses and clouds, by tf2 at the stamp of the image; empty: the optical frame.',
    ),
    'gravity_frame': Spec(
        '', 'Frame whose z axis points up, for the direction of gravity; empty: target_frame.'
    ),
    'use_imu': Spec(
        False,
        'Take gravity from the topic imu, while the camera is at rest, where neither '
        'gravity_frame nor target_frame is set.',
    ),
    'support_plane': Spec(
        '',
        'Plane that objects stand on, in target_frame, whose z points up: "z = HEIGHT" in metres, '
        'such as "z = 0"; empty: not known. It tells the scale where there is no depth.',
        check=plane_height,
        live=True,
    ),
    'known_sizes': Spec(
        [''],
        'Longest sides of objects by class in metres, such as ["mug: 0.10", "bowl: 0.15"]; they '
        'tell the scale where there is no depth.',
        check=sizes,
        live=True,
    ),
    'scale_order': Spec(
        list(SOURCES),
        'What may tell the scale, the first one that can does: depth, views, plane, known_size; '
        'unknown at the end: a shape without scale is better than none.',
        check=order,
        live=True,
    ),
    'transform_timeout': Spec(
        0.2, 'Seconds to wait for a transform at the stamp of the image.', 0.0, 10.0, live=True
    ),
    'cloud_points': Spec(
        10_000, 'Points of the cloud of an object.', 0, 1_000_000, live=True
    ),
    'marker_max_faces': Spec(
        5_000, 'Triangles of the marker of an object, at most.', 100, 100_000, live=True
    ),
    'marker_details': Spec(
        True, 'Add the bounding box and a line of text to each marker.', live=True
    ),
    'views_weights': Spec(
        'small',
        'Weights that synthesise views, as `lift3d weights list` names them, or a folder; loaded '
        'at the first request; empty: no views.',
    ),
    'views_device': Spec('cpu', 'Where views are synthesised.', choices=DEVICES),
    'views_sampler': Spec(
        'fast',
        'fast: few denoising steps; faithful: as many as published.',
        choices=('fast', 'faithful'),
    ),
    'views_assumed_elevation': Spec(
        NO_ELEVATION,
        "Degrees over the object's horizon at which the camera is taken to be where neither "
        'gravity nor the estimate tells; -91: such a request fails with ELEVATION_UNKNOWN.',
        NO_ELEVATION,
        90.0,
    ),
    'views_count': Spec(
        RING,
        'Views of a ring, for requests that name no azimuths and for the topic ~/views.',
        1,
        64,
        live=True,
    ),
    'planning_scene': Spec(
        False,
        'Publish lifted objects whose scale is known as moveit_msgs/CollisionObject on the topic '
        'collision_object, where MoveIt listens.',
    ),
    'publish_tf': Spec(
        False,
        'Publish the pose of each lifted object whose scale is known on /tf, as a frame '
        'NODE_NAME/ID.',
    ),
    'output_dir': Spec(
        '', 'Folder below which save_object may write; empty: it may not.', live=True
    ),
    'introspection': Spec(
        'off',
        'Service introspection: what ~/lift_object, ~/save_object and ~/synthesize_views publish '
        'on their topics _service_event; contents: the whole requests and answers.',
        choices=('off', 'metadata', 'contents'),
        live=True,
    ),
    'diagnostics_period': Spec(
        1.0, 'Seconds between two messages on /diagnostics.', 0.1, 60.0, read_only=True
    ),
    'autostart': Spec(
        False, 'Configure and activate at start, without a lifecycle manager.', read_only=True
    ),
}


@dataclass(frozen=True)
class Settings:
    """The values of all parameters at one instant; the fields are described in ``SPECS``."""

    mode: str
    method: str
    device: str
    weights: str
    samples: int
    max_faces: int
    seed: int
    timeout: float
    max_age: float
    queue_size: int
    max_rate: float
    max_objects: int
    min_confidence: float
    kept_frames: int
    kept_megabytes: int
    mask_source: str
    split_mask: bool
    use_depth: bool
    depth_unit: float
    depth_registration: str
    rectified: bool
    image_transport: str
    mask_transport: str
    depth_transport: str
    reliability: str
    sync_tolerance: float
    sync_queue_size: int
    target_frame: str
    gravity_frame: str
    use_imu: bool
    support_plane: str
    known_sizes: list[str]
    scale_order: list[str]
    transform_timeout: float
    cloud_points: int
    marker_max_faces: int
    marker_details: bool
    views_weights: str
    views_device: str
    views_sampler: str
    views_assumed_elevation: float
    views_count: int
    planning_scene: bool
    publish_tf: bool
    output_dir: str
    introspection: str
    diagnostics_period: float
    autostart: bool


def declare(node: Node) -> list[str]:
    """
    Declare every parameter; return a sentence for each given one that does not exist.

    Raises ``ValueError`` for a given value that is refused.
    """
    # rclpy keeps overrides that nobody declared to itself and says nothing about them.
    given = getattr(node, '_parameter_overrides', {})
    for name, spec in SPECS.items():
        value = spec.default
        if name in given:
            value = given[name].value
            complaint = spec.complaint(name, value)
            if complaint:
                raise ValueError(complaint)
            value = typed(name, spec.default, value, spec.choices)
        # rclpy takes the type from the value, and an empty list has none.
        node.declare_parameter(
            name,
            spec.default if value == [] else value,
            spec.descriptor(),
            ignore_override=True,
        )
        if value == []:
            node.set_parameters([Parameter(name, Parameter.Type.STRING_ARRAY, [])])
    complaints = []
    for name in given:
        if name in SPECS or name.startswith(_FOREIGN):
            continue
        near = difflib.get_close_matches(name, SPECS, n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ''
        complaints.append(f'There is no parameter "{name}"{hint}')
    return complaints


def normalized(parameter: Parameter) -> Parameter:
    """
    Return a parameter that is to be set, in the type that it was declared with.

    Raises ``ValueError`` for a value of another type.
    """
    spec = SPECS.get(parameter.name)
    if spec is None:
        return parameter
    if parameter.type_ is Parameter.Type.NOT_SET:
        raise ValueError(f'"{parameter.name}" cannot be deleted; set it to another value.')
    value = typed(parameter.name, spec.default, parameter.value, spec.choices)
    kind = Parameter.Type.STRING_ARRAY if isinstance(value, list) else None
    return Parameter(parameter.name, kind, value)


def check(parameters: list[Parameter], active: bool) -> SetParametersResult:
    """Accept or refuse a change of parameters, with the reason."""
    for parameter in parameters:
        spec = SPECS.get(parameter.name)
        if spec is None:
            continue
        complaint = spec.complaint(parameter.name, parameter.value)
        if complaint:
            return SetParametersResult(successful=False, reason=complaint)
        if active and not spec.live:
            return SetParametersResult(
                successful=False,
                reason=f'"{parameter.name}" cannot change while the node is active; deactivate it '
                'first.',
            )
    return SetParametersResult(successful=True)


def read(node: Node) -> Settings:
    """Return the values that the parameters have now."""
    return Settings(**{name: node.get_parameter(name).value for name in SPECS})
