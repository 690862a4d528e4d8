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
The wire format between robots and a server: safetensors with one entry of JSON.

Arrays are tensors, everything else is the JSON in the metadata. Nothing in it is code: decoding
makes arrays and numbers only, whose types, shapes and sizes are checked before they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.observation.reference_view import MAX_SOURCE_VIEWS
from lift3d_ros.observation.request import LiftRequest
from lift3d_ros.runtime.reports import error_entry

#: Changes when an older server or client cannot read the messages.
VERSION = 1

#: Content type of messages in both directions.
CONTENT_TYPE = 'application/vnd.lift3d.safetensors'

#: Largest message, bytes: a frame of 1920 x 1080 with depth, and 16 source views of 640 x 480.
MAX_BYTES = 64_000_000

#: Objects of a message.
MAX_OBJECTS = 64

#: Vertices of a mesh in an answer; that of the largest ``max_faces`` of the node has half of it.
_MAX_VERTICES = 2_000_000

#: Entry of the metadata.
_ENTRY = 'lift3d'


@dataclass(frozen=True, eq=False)
class Call:
    """
    What a client asks: ``Lifter.lift_all`` of a frame.

    - ``max_faces``: of each mesh; the method is that of the server.
    - ``timeout``: seconds until the client no longer waits.
    """

    frame: Frame
    requests: tuple[LiftRequest, ...]
    max_faces: int
    timeout: float


def encode_call(call: Call) -> bytes:
    """Return the message of a call; raises ``LiftError(BAD_REQUEST)`` if it is too large."""
    frames: list[Frame] = []
    tensors: dict[str, NDArray[Any]] = {}

    def number(frame: Frame) -> int:
        for index, other in enumerate(frames):
            if other is frame:
                return index
        frames.append(frame)
        return len(frames) - 1

    number(call.frame)
    requests = []
    for index, request in enumerate(call.requests):
        tensors[f'mask.{index}'] = np.packbits(request.mask)
        views = []
        for place, view in enumerate(request.source_views):
            tensors[f'mask.{index}.{place}'] = np.packbits(view.view.mask)
            views.append({
                'frame': number(view.view.frame),
                'T_ref_src': view.T_ref_src.tolist(),
                'name': view.name,
            })
        requests.append({
            'hints': _hints_entry(request.hints),
            'source_views': views,
            'min_confidence': request.min_confidence,
            'seed': request.seed,
        })
    for index, frame in enumerate(frames):
        tensors[f'image.{index}'] = frame.image
        if frame.depth is not None:
            tensors[f'depth.{index}'] = frame.depth
    entry = {
        'frames': [_frame_entry(frame) for frame in frames],
        'requests': requests,
        'max_faces': call.max_faces,
        'timeout': call.timeout,
    }
    data = _pack(entry, tensors)
    if len(data) > MAX_BYTES:
        raise bad_request(
            f'The request has {len(data)} bytes, and a server takes {MAX_BYTES}; send fewer or '
            'smaller source views.')
    return data


def decode_call(data: bytes) -> Call:
    """
    Return the call of a message.

    Raises ``LiftError``: ``BAD_REQUEST`` for a message of another version or form, and what
    ``Frame``, ``LiftRequest`` and ``crop_object`` raise for their values.
    """
    entry, tensors = _unpack(data)
    try:
        frames = [
            _frame(value, tensors[f'image.{index}'], tensors.get(f'depth.{index}'))
            for index, value in enumerate(entry['frames'][:1 + MAX_OBJECTS * MAX_SOURCE_VIEWS])
        ]
        values = entry['requests']
        if not 1 <= len(values) <= MAX_OBJECTS:
            raise bad_request(f'{len(values)} objects in a request; send 1 to {MAX_OBJECTS}.')
        requests = tuple(
            _request(index, value, frames, tensors) for index, value in enumerate(values))
        call = Call(frames[0], requests, int(entry['max_faces']), float(entry['timeout']))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise bad_request(
            f'The request is not of the form of this version ({type(error).__name__}: '
            f'{str(error)[:200]}); use the client of lift3d_ros.') from error
    if not call.timeout > 0.0:
        raise bad_request(f'The timeout is {call.timeout} s; it must be positive.')
    return call


def encode_results(results: Sequence[Shape | LiftError]) -> bytes:
    """Return the message of the results of a call, in the order of its objects."""
    tensors: dict[str, NDArray[Any]] = {}
    entries: list[dict[str, Any]] = []
    for index, result in enumerate(results):
        if isinstance(result, LiftError):
            entries.append({'error': error_entry(result)})
            continue
        for name, values in (
            ('vertices', result.mesh.vertices), ('faces', result.mesh.faces),
            ('colors', result.mesh.colors), ('confidence', result.confidence),
            ('observed', result.observed), ('T_camera_object', result.T_camera_object),
            ('pose_covariance', result.pose_covariance),
        ):
            tensors[f'{name}.{index}'] = np.asarray(values)
        entries.append({'shape': {name: getattr(result, name) for name in _SHAPE_FIELDS}})
    return _pack({'results': entries}, tensors)


def decode_results(data: bytes) -> list[Shape | LiftError]:
    """Return the results of a message; raises ``LiftError(BAD_REQUEST)`` for another form."""
    entry, tensors = _unpack(data)
    results: list[Shape | LiftError] = []
    try:
        for index, value in enumerate(entry['results']):
            if 'error' in value:
                error = value['error']
                results.append(LiftError(ErrorCode(error['code']), str(error['message'])))
            else:
                results.append(_shape(index, value['shape'], tensors))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise bad_request(
            f'The answer is not of the form of this version ({type(error).__name__}: '
            f'{str(error)[:200]}).') from error
    return results


#: Fields of ``Shape`` that are no arrays.
_SHAPE_FIELDS = (
    'scale_source', 'scale_stddev', 'elevation', 'elevation_source', 'method', 'seconds',
    'mask_iou', 'notes', 'length_over_depth', 'pass_probability', 'support',
)


def _shape(index: int, entry: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Shape:
    vertices = _array(tensors, f'vertices.{index}', np.float32, (None, 3))
    count = len(vertices)
    faces = _array(tensors, f'faces.{index}', np.int32, (None, 3))
    if not 3 < count <= _MAX_VERTICES or faces.min(initial=0) < 0 or (
        faces.max(initial=0) >= count
    ):
        raise ValueError('faces name vertices that are not there')
    values = {name: entry[name] for name in _SHAPE_FIELDS}
    values['notes'] = tuple(str(note) for note in values['notes'])
    values['seconds'] = {str(name): float(value) for name, value in values['seconds'].items()}
    return Shape(
        Mesh(vertices, faces, _array(tensors, f'colors.{index}', np.uint8, (count, 3))),
        _array(tensors, f'T_camera_object.{index}', np.float64, (4, 4)),
        _array(tensors, f'pose_covariance.{index}', np.float64, (6, 6)),
        _array(tensors, f'confidence.{index}', np.float32, (count,)),
        _array(tensors, f'observed.{index}', np.bool_, (count,)),
        **values,
    )


def _frame_entry(frame: Frame) -> dict[str, Any]:
    camera = frame.camera
    return {
        'camera': [camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy],
        'gravity': None if frame.gravity is None else frame.gravity.tolist(),
        'notes': list(frame.notes),
    }


def _frame(
    entry: dict[str, Any], image: NDArray[Any], depth: NDArray[Any] | None
) -> Frame:
    width, height, *intrinsics = entry['camera']
    camera = Camera(int(width), int(height), *(float(value) for value in intrinsics))
    gravity = entry['gravity']
    return Frame(
        image, camera, depth,
        None if gravity is None else np.asarray(gravity, np.float64),
        tuple(str(note) for note in entry['notes']))


def _request(
    index: int, entry: dict[str, Any], frames: list[Frame], tensors: dict[str, NDArray[Any]]
) -> LiftRequest:
    if len(entry['source_views']) > MAX_SOURCE_VIEWS:
        raise bad_request(
            f'{len(entry["source_views"])} source views; send {MAX_SOURCE_VIEWS} at most.')
    views = []
    for place, value in enumerate(entry['source_views']):
        frame = frames[int(value['frame'])]
        mask = _mask(tensors[f'mask.{index}.{place}'], frame)
        views.append(SourceView(
            crop_object(frame, mask), np.asarray(value['T_ref_src'], np.float64),
            str(value['name'])))
    return LiftRequest(
        _mask(tensors[f'mask.{index}'], frames[0]), _hints(entry['hints']), tuple(views),
        float(entry['min_confidence']), _seed(entry['seed']))


def _seed(value: Any) -> int:
    if int(value) < 0:
        raise ValueError('the seed is negative')
    return int(value)


def _mask(packed: NDArray[Any], frame: Frame) -> NDArray[np.bool_]:
    height, width = frame.image.shape[:2]
    if packed.dtype != np.uint8 or packed.shape != (-(-height * width // 8),):
        raise ValueError('a mask has not the size of its frame')
    return np.unpackbits(packed, count=height * width).reshape(height, width).astype(np.bool_)


def _hints_entry(hints: ScaleHints) -> dict[str, Any]:
    plane = hints.plane
    return {
        'plane': None if plane is None else [*plane.up.tolist(), plane.offset],
        'known_size': hints.known_size,
        'known_size_stddev': hints.known_size_stddev,
        'order': list(hints.order),
    }


def _hints(entry: dict[str, Any]) -> ScaleHints:
    plane, size = entry['plane'], entry['known_size']
    return ScaleHints(
        None if plane is None else Plane(np.asarray(plane[:3], np.float64), float(plane[3])),
        None if size is None else float(size),
        float(entry['known_size_stddev']),
        tuple(str(name) for name in entry['order']))


def _array(
    tensors: dict[str, NDArray[Any]], name: str, dtype: Any, shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """Return a tensor of a type and shape; None stands for any length."""
    values = tensors[name]
    fits = len(values.shape) == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, values.shape, strict=True))
    if values.dtype != dtype or not fits:
        raise ValueError(f'{name} has type {values.dtype} and shape {values.shape}')
    return values


def _pack(entry: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> bytes:
    from safetensors.numpy import save

    plain = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    return bytes(save(plain, {_ENTRY: json.dumps({'version': VERSION, **entry})}))


def _unpack(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return entry and tensors of a message; raises ``LiftError(BAD_REQUEST)``."""
    from safetensors.numpy import load

    try:
        # safetensors checks that the tensors lie in the message; its metadata are in the header.
        size = int.from_bytes(data[:8], 'little')
        header = json.loads(data[8:8 + size]) if size < len(data) else {}
        entry = json.loads(header['__metadata__'][_ENTRY])
        version = entry['version']
        tensors = load(data) if version == VERSION else {}
    except Exception as error:
        raise bad_request(
            f'The message is not one of lift3d_ros ({type(error).__name__}).') from error
    if version != VERSION:
        raise bad_request(
            f'The message has version {str(version)[:20]} of the format, and this is {VERSION}; '
            'install the same version of lift3d_ros on both sides.')
    return entry, tensors
