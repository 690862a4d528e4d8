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

"""All parameters of the node: one record each, and their current values as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields

from lift3d_ros.diffusion.view_grid import DEFAULT_RING_VIEWS
from lift3d_ros.lifter import DEFAULT_METHOD
from lift3d_ros.lifter import DEVICES
from lift3d_ros.lifter import MAX_SAMPLES
from lift3d_ros.lifter import METHODS
from lift3d_ros.methods.distilled.distilled import INITS
from lift3d_ros.methods.distilled.distilled import PRESETS
from lift3d_ros.node.parameters.scale import parse_known_sizes
from lift3d_ros.node.parameters.scale import parse_plane_height
from lift3d_ros.node.parameters.scale import parse_scale_order
from lift3d_ros.node.parameters.spec import parameter
from lift3d_ros.node.parameters.spec import Spec
from lift3d_ros.node.worker import LifterSettings
from lift3d_ros.observation.hints import SOURCES
from lift3d_ros.observation.reference_view import MAX_SOURCE_VIEWS
from lift3d_ros.robot.collision import GEOMETRIES
from lift3d_ros.robot.collision import MIN_VERTICES
from lift3d_ros.scene.prior.fills import FILLS
from lift3d_ros.scene.prior.fills import PLANES
from lift3d_ros.serve.client import check_address

#: Value of views_assumed_elevation, degrees, with which no elevation is assumed.
NO_ELEVATION = -91.0


@dataclass(frozen=True)
class Settings:
    """The values of all parameters at one instant; ``SPECS`` has the record of each."""

    mode: str = parameter(
        'on_request',
        'continuous: lift synchronised frames as they arrive, always the newest; on_request: lift '
        'only when a service or the action is called.',
        choices=('continuous', 'on_request'),
        live=True,
    )
    method: str = parameter(
        DEFAULT_METHOD,
        'Method that completes the shape of an object; requests may name another one.',
        choices=tuple(METHODS),
    )
    device: str = parameter(
        'cpu', 'Device of the method; not every method supports cuda.', choices=DEVICES
    )
    weights: str = parameter(
        'small',
        'Weights of a method with networks: small (packaged), full (published weights that you '
        'have installed) or a folder. Other methods ignore it.',
    )
    samples: int = parameter(
        1,
        'Sets of views that a method with networks samples per shape; the shape is their mean, '
        'the confidence contains their spread.',
        1,
        MAX_SAMPLES,
        live=True,
    )
    distill_preset: str = parameter(
        'small',
        'Settings of a method that optimises: small, for two cores; gpu; faithful, those of the '
        'publication; fast, those of threestudio (zero123).',
        choices=PRESETS,
        live=True,
    )
    distill_steps: int = parameter(
        0,
        'Steps of a method that optimises; 0: those of distill_preset.',
        0,
        1_000_000,
        live=True,
    )
    distill_init: str = parameter(
        'one2345',
        'What a method that optimises starts from: the result of one2345, or nothing.',
        choices=INITS,
        live=True,
    )
    remote: str = parameter(
        '',
        'Address of a lift3d serve, such as http://gpu-server:8300, whose method lifts in place '
        'of the parameter method; if it fails, the node lifts, with a note. Empty: none.',
        check=check_address,
        live=True,
    )
    remote_timeout: float = parameter(
        5.0, 'Time that the server has for the objects of a frame, seconds.', 0.05, 600.0,
        live=True,
    )
    max_faces: int = parameter(20_000, 'Maximum triangles of a mesh.', 100, 500_000, live=True)
    seed: int = parameter(
        0,
        'Seed of the random numbers: the same seed gives the same mesh on the same device.',
        0,
        2**32 - 1,
        live=True,
    )
    timeout: float = parameter(
        60.0,
        'Maximum duration of a request in seconds, including its time in the queue; 0: no limit.',
        0.0,
        3600.0,
        live=True,
    )
    max_age: float = parameter(
        0.0,
        'Maximum age of a subscribed frame, from its stamp to the start of its lift, in seconds; '
        'older frames are refused with STALE; 0: no limit.',
        0.0,
        3600.0,
        live=True,
    )
    queue_size: int = parameter(
        4,
        'Maximum requests that wait while another one runs; further requests are refused with '
        'BUSY.',
        1,
        32,
        read_only=True,
    )
    max_rate: float = parameter(
        0.0,
        'Maximum rate of lifted frames in continuous mode, Hz; 0: no limit.',
        0.0,
        120.0,
        live=True,
    )
    max_objects: int = parameter(
        10, 'Maximum objects lifted per frame, largest first.', 1, 100, live=True
    )
    min_confidence: float = parameter(
        0.0,
        'Minimum mean confidence of a shape; shapes below it are refused with LOW_CONFIDENCE and '
        'not published; 0: accept all.',
        0.0,
        1.0,
        live=True,
    )
    kept_frames: int = parameter(
        4,
        'Frames kept per object, so that requests with refine can improve it; 0: none.',
        0,
        MAX_SOURCE_VIEWS,
        live=True,
    )
    kept_megabytes: int = parameter(
        256,
        'Maximum memory of the kept frames, MB; frames of the objects lifted longest ago are '
        'dropped first.',
        1,
        65_536,
        live=True,
    )
    mask_source: str = parameter(
        'binary',
        'Content of the topic mask: binary (non-zero = object) or label (value = instance); '
        'detections: no mask, but boxes on the topic detections, segmented by depth.',
        choices=('binary', 'label', 'detections'),
    )
    split_mask: bool = parameter(
        True,
        'Take each connected component of a binary mask as an object; false: the whole mask is '
        'one object, even if an occluder divides it.',
        live=True,
    )
    use_depth: bool = parameter(True, 'Wait for a depth image with each frame.')
    depth_unit: float = parameter(
        0.001,
        'Unit of a 16UC1 depth image in metres (REP 118: 0.001).',
        1e-6,
        1.0,
        live=True,
    )
    depth_registration: str = parameter(
        'auto',
        'auto: register depth of another camera or frame_id with depth_camera_info and tf2, and '
        'refuse it without them; assume_registered: treat depth as registered regardless of its '
        'header.',
        choices=('auto', 'assume_registered'),
        live=True,
    )
    rectified: bool = parameter(
        True,
        'true: the image is rectified, its camera matrix is in P; false: the image is raw, its '
        'matrix is K, and the node removes the distortion D.',
        live=True,
    )
    image_transport: str = parameter(
        'raw',
        'raw: subscribe to image; compressed: to image/compressed.',
        choices=('raw', 'compressed'),
    )
    mask_transport: str = parameter(
        'raw',
        'raw: subscribe to mask; compressed: to mask/compressed (PNG).',
        choices=('raw', 'compressed'),
    )
    depth_transport: str = parameter(
        'raw',
        'raw: subscribe to depth; compressedDepth: to depth/compressedDepth (PNG or RVL).',
        choices=('raw', 'compressedDepth'),
    )
    reliability: str = parameter(
        'auto',
        'Reliability of the subscriptions; auto: reliable if every publisher of the topic is, '
        'else best effort.',
        choices=('auto', 'best_effort', 'reliable'),
    )
    sync_tolerance: float = parameter(
        0.1,
        'Maximum difference of the stamps of image, mask and depth in one frame, seconds.',
        0.0,
        10.0,
    )
    sync_queue_size: int = parameter(
        10, 'Messages kept per topic for synchronisation.', 1, 200
    )
    target_frame: str = parameter(
        '',
        'Frame of poses and clouds, by tf2 at the stamp of the image; empty: the optical frame.',
    )
    gravity_frame: str = parameter(
        '', 'Frame whose z axis points up, for the direction of gravity; empty: target_frame.'
    )
    use_imu: bool = parameter(
        False,
        'Take gravity from the topic imu while the camera is at rest, if neither gravity_frame '
        'nor target_frame is set.',
    )
    support_plane: str = parameter(
        '',
        'Plane that objects stand on, in target_frame, whose z axis points up: "z = HEIGHT" in '
        'metres, such as "z = 0"; empty: unknown. It gives the scale without depth.',
        check=parse_plane_height,
        live=True,
    )
    known_sizes: list[str] = parameter(
        [''],
        'Longest sides of objects by class in metres, such as ["mug: 0.10", "bowl: 0.15"]. They '
        'give the scale without depth.',
        check=parse_known_sizes,
        live=True,
    )
    scale_order: list[str] = parameter(
        list(SOURCES),
        'Sources of the scale in order of preference: depth, views, plane, known_size; unknown at '
        'the end: accept shapes without scale.',
        check=parse_scale_order,
        live=True,
    )
    transform_timeout: float = parameter(
        0.2,
        'Maximum wait for a transform at the stamp of the image, seconds.',
        0.0,
        10.0,
        live=True,
    )
    cloud_points: int = parameter(
        10_000, 'Points of the cloud of an object.', 0, 1_000_000, live=True
    )
    marker_max_faces: int = parameter(
        5_000, 'Maximum triangles of the marker of an object.', 100, 100_000, live=True
    )
    marker_details: bool = parameter(
        True, 'Add the bounding box and a line of text to each marker.', live=True
    )
    views_weights: str = parameter(
        'small',
        'Weights that synthesise views: a name that `lift3d weights list` prints, or a folder; '
        'loaded at the first request; empty: no views.',
    )
    views_device: str = parameter('cpu', 'Device of the view synthesis.', choices=DEVICES)
    views_sampler: str = parameter(
        'fast',
        'fast: few denoising steps; faithful: as many as published.',
        choices=('fast', 'faithful'),
    )
    views_assumed_elevation: float = parameter(
        NO_ELEVATION,
        'Elevation of the camera above the horizon of the object in degrees, if neither gravity '
        'nor the estimate gives it; -91: such a request fails with ELEVATION_UNKNOWN.',
        NO_ELEVATION,
        90.0,
    )
    views_count: int = parameter(
        DEFAULT_RING_VIEWS,
        'Views of a ring, for requests without azimuths and for the topic ~/views.',
        1,
        64,
        live=True,
    )
    scene_budget: float = parameter(
        60.0,
        'Maximum duration of lifting a scene, seconds, without its time in the queue; objects '
        'that are not lifted after 70 % of it stay background, with a note.',
        1.0,
        3600.0,
        live=True,
    )
    scene_memory: int = parameter(
        512,
        'Memory that lifting a scene may take beside the networks of the method, MB; it bounds '
        'the width of the frame, with a note, and the number of voxels.',
        128,
        65_536,
        live=True,
    )
    scene_width: int = parameter(
        320, 'Largest width of the depth that a scene uses, pixels.', 64, 1280, live=True
    )
    scene_max_depth: float = parameter(
        10.0, 'Farther readings are not part of a scene, metres.', 0.1, 100.0, live=True
    )
    scene_resolution: float = parameter(
        0.0,
        'Side of a voxel of a scene, metres; 0: a 128th of the scene.',
        0.0,
        1.0,
        live=True,
    )
    scene_complete: bool = parameter(
        True, 'Predict the hidden background of a scene.', live=True
    )
    scene_fill: str = parameter(
        PLANES,
        'Prediction of hidden surface of a scene that a moved camera would reveal: planes '
        '(continued planes), nearest (the nearest known pixel), inpaint (of OpenCV), prior (a '
        'trained denoiser), zeronvs (a radiance field of the scene, tens of seconds), none.',
        choices=FILLS,
        live=True,
    )
    scene_prior: str = parameter(
        'small',
        'Weights of scene_fill prior and zeronvs: a name that `lift3d weights list` prints, or a '
        'path; the packaged small has no prior of scenes.',
        live=True,
    )
    scene_camera_height: float = parameter(
        0.0,
        'Height of the camera above what objects stand on, metres, for scenes without depth and '
        'without support_plane; 0: unknown, such scenes have no scale.',
        0.0,
        100.0,
        live=True,
    )
    scene_points: int = parameter(
        100_000, 'Maximum points of the cloud of a scene.', 0, 1_000_000, live=True
    )
    scene_marker_max_faces: int = parameter(
        50_000, 'Maximum triangles of the marker of a scene.', 100, 500_000, live=True
    )
    scene_boxes: int = parameter(
        200,
        'Maximum boxes of the background of a scene in the planning scene, beside those of '
        'planes; they are made of larger voxels until they are few enough.',
        1,
        5_000,
        live=True,
    )
    planning_scene: bool = parameter(
        False,
        'Publish lifted objects of known scale, and the background of lifted scenes as boxes, as '
        'moveit_msgs/CollisionObject on the topic collision_object, which MoveIt subscribes to.',
    )
    collision_geometry: str = parameter(
        'mesh',
        'Geometry of an object in the planning scene: the simplified mesh; its convex hull, which '
        'is fast and fills hollows; convex parts, which keep hollows and take about a second.',
        choices=GEOMETRIES,
    )
    collision_max_vertices: int = parameter(
        1_000,
        'Maximum vertices of an object in the planning scene, of all its parts together. Heavy '
        'meshes make MoveIt slow.',
        MIN_VERTICES,
        100_000,
    )
    publish_tf: bool = parameter(
        False,
        'Publish the pose of each lifted object of known scale on /tf, as a frame NODE_NAME/ID.',
    )
    output_dir: str = parameter(
        '', 'Folder below which save_object writes files; empty: none is written.', live=True
    )
    introspection: str = parameter(
        'off',
        'Service introspection on the topics _service_event of ~/lift_object, ~/save_object and '
        '~/synthesize_views; contents: entire requests and responses.',
        choices=('off', 'metadata', 'contents'),
        live=True,
    )
    diagnostics_period: float = parameter(
        1.0, 'Period of the messages on /diagnostics, seconds.', 0.1, 60.0, read_only=True
    )
    autostart: bool = parameter(
        False, 'Configure and activate at start, without a lifecycle manager.', read_only=True
    )

    @property
    def lifter(self) -> LifterSettings:
        """The settings of the lifters."""
        return LifterSettings(
            self.max_faces, self.samples, self.distill_preset, self.distill_steps,
            self.distill_init, self.method, self.remote, self.remote_timeout,
        )


#: The record of each parameter by its name.
SPECS: dict[str, Spec] = {
    entry.name: entry.metadata['spec'](entry.name) for entry in fields(Settings)
}
