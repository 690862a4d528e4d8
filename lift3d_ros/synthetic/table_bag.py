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
A synthetic recording: a camera moves around three objects on a table.

    python -m lift3d_ros.synthetic.table_bag BAG

writes it as a bag of 20 s with the topics of a RealSense camera, the label images and boxes of a
detector, and the transforms of the camera on an arm.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bags.message_types import RosbagTypes
from lift3d_ros.bags.writer import BagWriter
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.messages.geometry import pose_message
from lift3d_ros.messages.images import image_message
from lift3d_ros.messages.images import info_message
from lift3d_ros.synthetic.appearance import draw_background
from lift3d_ros.synthetic.appearance import draw_light
from lift3d_ros.synthetic.appearance import expose
from lift3d_ros.synthetic.appearance import table_top
from lift3d_ros.synthetic.clutter import standing_at
from lift3d_ros.synthetic.masks import MaskErrors
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.sensors.basic_stereo import DepthSensor

IMAGE = '/camera/color/image_raw'
CAMERA_INFO = '/camera/color/camera_info'
DEPTH = '/camera/aligned_depth_to_color/image_raw'
MASK = '/segmenter/labels'
DETECTIONS = '/detector/detections'

#: Frames: the table, the base of the arm on it, the flange of the arm, the camera.
WORLD, BASE, FLANGE = 'world', 'base_link', 'flange'
OPTICAL = 'camera_color_optical_frame'

#: Class, seed of the shape, and place on the table: x and y in metres, turn in radians.
OBJECTS = (
    ('can', 4, -0.11, 0.05, 0.0),
    ('mug', 2, 0.10, 0.06, 0.9),
    ('carton', 6, 0.00, -0.09, 0.4),
)

#: Pose of the base in the world, and of the camera on the flange.
_T_WORLD_BASE = rigid(np.eye(3), [-0.6, 0.0, 0.05])
_T_FLANGE_CAMERA = rigid(
    np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), [0.04, 0.02, 0.06]
)

_SECOND = 1_000_000_000


@dataclass(frozen=True)
class TableBagSettings:
    """
    A recording.

    - ``start``: stamp of the first image, nanoseconds; ``duration``: seconds.
    - ``image_rate``, ``transform_rate``: Hz.
    - ``width``: of the images, 4 : 3, pixels; ``depth``: whether there is a depth topic.
    - ``azimuth``, ``elevation``: first and last angle of the camera about the table, degrees.
    - ``latency``: seconds from the stamp of an image to the reception of its mask.
    - ``compressed``: images as JPEG, masks as PNG, depth as ``compressedDepth``.
    - ``storage``, ``compression``: of the bag, as ``BagWriter``.
    """

    start: int = 1_700_000_000_250_000_000
    duration: float = 20.0
    image_rate: float = 5.0
    transform_rate: float = 25.0
    width: int = 640
    depth: bool = True
    azimuth: tuple[float, float] = (-110.0, -20.0)
    elevation: tuple[float, float] = (34.0, 48.0)
    latency: float = 0.12
    compressed: bool = False
    storage: str = 'mcap'
    compression: str = ''
    seed: int = 0

    @property
    def camera(self) -> Camera:
        """The camera of the images."""
        return Camera.from_fov(self.width, self.width * 3 // 4, 42.0)


@dataclass(frozen=True, eq=False)
class TableFrame:
    """
    One image of the recording.

    ``labels`` are those of the detector, uint8 (height, width): 1 + index in ``OBJECTS``.
    """

    stamp: int
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    labels: NDArray[np.uint8]
    T_world_camera: Array


def objects_on_table() -> list[Mesh]:
    """Return the true meshes of ``OBJECTS`` in the world frame, metres."""
    return [
        standing_at(procedural_object(seed, kind), x, y, turn)
        for kind, seed, x, y, turn in OBJECTS
    ]


def camera_pose(settings: TableBagSettings, stamp: int) -> Array:
    """Return ``T_world_camera`` at a stamp in nanoseconds."""
    share = 1e-9 * (stamp - settings.start) / settings.duration
    azimuth = float(np.interp(share, (0.0, 1.0), settings.azimuth))
    elevation = float(np.interp(share, (0.0, 1.0), settings.elevation))
    target = np.array([0.0, 0.0, 0.04])
    return look_at(target + spherical(azimuth, elevation, 0.6), target)


def render_frames(settings: TableBagSettings) -> Iterator[TableFrame]:
    """Yield the images of a recording; the same settings give the same images."""
    rng = np.random.default_rng([settings.seed, 0x7AB1EBA6])
    camera = settings.camera
    scene = Raycaster([*objects_on_table(), table_top(rng, 1.2, 120)])
    light, background = draw_light(rng), draw_background(camera, rng)
    errors = MaskErrors(minimum=0.5, maximum=1.5, raggedness=0.5, missing=0.0)
    sensor = DepthSensor()
    for stamp in _stamps(settings, settings.image_rate):
        T_world_camera = camera_pose(settings, stamp)
        truth = scene.render(camera, T_world_camera, light, background, supersampling=2)
        labels = np.zeros(truth.instance.shape, np.uint8)
        for index in range(len(OBJECTS)):
            labels[errors.apply(truth.instance == index, rng)] = index + 1
        yield TableFrame(
            stamp,
            expose(truth.image, rng),
            sensor.measure(truth, camera, rng),
            labels,
            T_world_camera,
        )


def write_table_bag(
    path: Path,
    settings: TableBagSettings | None = None,
    frames: Iterable[TableFrame] | None = None,
) -> None:
    """
    Write a recording.

    ``frames`` are those of ``render_frames``, where they are rendered already. Raises
    ``LiftError(BAD_REQUEST)`` as ``BagWriter``.
    """
    settings = settings or TableBagSettings()
    frames = render_frames(settings) if frames is None else frames
    with BagWriter(path, settings.storage, settings.compression) as bag:
        for time, topic, kind, message in sorted(
            _messages(settings, bag.types, frames), key=lambda entry: entry[0]
        ):
            bag.write(topic, kind, message, time, latched=topic == '/tf_static')


def _stamps(settings: TableBagSettings, rate: float) -> list[int]:
    count = round(settings.duration * rate) + 1
    return [settings.start + round(index * 1e9 / rate) for index in range(count)]


def _messages(
    settings: TableBagSettings, types: RosbagTypes, frames: Iterable[TableFrame]
) -> Iterator[tuple[int, str, str, Any]]:
    """Yield the time of reception, topic, type and message."""
    begin = settings.start
    static = [
        _transform(types, WORLD, BASE, _T_WORLD_BASE, begin),
        _transform(types, FLANGE, OPTICAL, _T_FLANGE_CAMERA, begin),
    ]
    yield begin, '/tf_static', 'tf2_msgs/TFMessage', types.make(
        'tf2_msgs/TFMessage', transforms=static
    )
    for stamp in _stamps(settings, settings.transform_rate):
        T = invert(_T_WORLD_BASE) @ camera_pose(settings, stamp) @ invert(_T_FLANGE_CAMERA)
        moved = types.make(
            'tf2_msgs/TFMessage', transforms=[_transform(types, BASE, FLANGE, T, stamp)]
        )
        yield stamp, '/tf', 'tf2_msgs/TFMessage', moved
    for frame in frames:
        yield from _frame_messages(settings, types, frame)


def _frame_messages(
    settings: TableBagSettings, types: RosbagTypes, frame: TableFrame
) -> Iterator[tuple[int, str, str, Any]]:
    header = types.make(
        'std_msgs/Header', stamp=_time(types, frame.stamp), frame_id=OPTICAL
    )
    received = frame.stamp + _SECOND // 100
    detected = received + round(settings.latency * 1e9)
    raw, packed = 'sensor_msgs/Image', 'sensor_msgs/CompressedImage'
    counts = np.rint(1000.0 * frame.depth).astype(np.uint16)
    info = info_message(types, settings.camera)
    info.header = header
    yield received, CAMERA_INFO, 'sensor_msgs/CameraInfo', info
    if settings.compressed:
        jpeg = _encoded('.jpg', frame.image[..., ::-1])
        png = _encoded('.png', frame.labels)
        made = [
            (received, f'{IMAGE}/compressed', _packed(types, header, 'rgb8; jpeg bgr8', jpeg)),
            (detected, f'{MASK}/compressed', _packed(types, header, 'mono8; png', png)),
        ]
        if settings.depth:
            # The header of compressed_depth_image_transport, which is not used for 16UC1.
            data = np.concatenate([np.zeros(12, np.uint8), _encoded('.png', counts)])
            made.append((
                received,
                f'{DEPTH}/compressedDepth',
                _packed(types, header, '16UC1; compressedDepth png', data),
            ))
        for time, topic, message in made:
            yield time, topic, packed, message
    else:
        pictures: list[tuple[int, str, NDArray[Any], str]] = [
            (received, IMAGE, frame.image, 'rgb8'), (detected, MASK, frame.labels, 'mono8'),
        ]
        if settings.depth:
            pictures.append((received, DEPTH, counts, '16UC1'))
        for time, topic, pixels, encoding in pictures:
            message = image_message(types, pixels, encoding)
            message.header = header
            yield time, topic, raw, message
    yield detected, DETECTIONS, 'vision_msgs/Detection2DArray', types.make(
        'vision_msgs/Detection2DArray',
        header=header,
        detections=_detections(types, header, frame.labels),
    )


def _detections(types: RosbagTypes, header: Any, labels: NDArray[np.uint8]) -> list[Any]:
    found = []
    for index, (kind, *_) in enumerate(OBJECTS):
        left, top, width, height = cv2.boundingRect((labels == index + 1).astype(np.uint8))
        if not width:
            continue
        result = types.make('vision_msgs/ObjectHypothesisWithPose')
        result.hypothesis.class_id, result.hypothesis.score = kind, 0.9 - 0.1 * index
        detection = types.make('vision_msgs/Detection2D', header=header, results=[result])
        detection.bbox.center.position.x = left + 0.5 * width
        detection.bbox.center.position.y = top + 0.5 * height
        detection.bbox.size_x, detection.bbox.size_y = float(width), float(height)
        found.append(detection)
    return found


def _packed(types: RosbagTypes, header: Any, name: str, data: NDArray[np.uint8]) -> Any:
    return types.make('sensor_msgs/CompressedImage', header=header, format=name, data=data)


def _encoded(suffix: str, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    done, data = cv2.imencode(suffix, np.ascontiguousarray(pixels))
    assert done, 'OpenCV encodes these formats'
    return np.asarray(data, np.uint8).reshape(-1)


def _transform(types: RosbagTypes, parent: str, child: str, T: Array, stamp: int) -> Any:
    pose = pose_message(types, T)
    at = pose.position
    return types.make(
        'geometry_msgs/TransformStamped',
        header=types.make('std_msgs/Header', stamp=_time(types, stamp), frame_id=parent),
        child_frame_id=child,
        transform=types.make(
            'geometry_msgs/Transform',
            translation=types.make('geometry_msgs/Vector3', x=at.x, y=at.y, z=at.z),
            rotation=pose.orientation,
        ),
    )


def _time(types: RosbagTypes, stamp: int) -> Any:
    seconds, part = divmod(stamp, _SECOND)
    return types.make('builtin_interfaces/Time', sec=seconds, nanosec=part)


def main() -> None:
    """Write the recording."""
    parser = argparse.ArgumentParser(description='Write a synthetic bag of a table.')
    parser.add_argument('bag', type=Path, help='folder, or name.mcap')
    path = parser.parse_args().bag
    write_table_bag(path)
    print(f'wrote {path}')


if __name__ == '__main__':
    main()
