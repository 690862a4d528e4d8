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


"""The wire format: what goes in comes out, and damaged or hostile messages are refused."""

from __future__ import annotations

from dataclasses import replace
import json
import pickle
import random

import numpy as np
import pytest
from safetensors.numpy import load
from safetensors.numpy import save
from scene_helpers import make_room

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.methods.geometric import Geometric
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.serve import wire
from lift3d_ros.serve.wire import Call
from lift3d_ros.serve.wire import decode_call
from lift3d_ros.serve.wire import decode_results
from lift3d_ros.serve.wire import encode_call
from lift3d_ros.serve.wire import encode_results


@pytest.fixture(scope='module')
def call() -> Call:
    first = make_room(Camera.from_fov(96, 72, 60.0), eye=(0.7, -0.1, 0.45), boxes=('box',))
    other = make_room(Camera.from_fov(80, 60, 60.0), eye=(0.5, -0.7, 0.5), boxes=('box',))
    T = invert(first.T_world_camera) @ other.T_world_camera
    view = SourceView(crop_object(other.frame, other.masks['box']), T, 'side')
    frame = replace(first.frame, notes=('a note',))
    mask = first.masks['box']
    hints = ScaleHints(Plane(np.array([0.0, -1.0, 0.0]), -0.4), 0.2, 0.1, ('plane', 'known_size'))
    return Call(
        frame, (LiftRequest(mask, hints, (view,), 0.25, 7), LiftRequest(mask)), 1234, 5.0)


@pytest.fixture(scope='module')
def shape(call):
    return Lifter(Geometric(resolution=24, hypotheses=4), 2000).lift(
        call.frame, call.requests[1])


def plain(value):
    """Return a value with its arrays as lists, for comparison."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if hasattr(value, '__dataclass_fields__'):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, (tuple, list)):
        return [plain(entry) for entry in value]
    return value


def test_a_call_comes_out_as_it_went_in(call):
    assert plain(decode_call(encode_call(call))) == plain(call)
    bare = Call(replace(call.frame, depth=None, gravity=None), call.requests[1:], 100, 0.1)
    assert plain(decode_call(encode_call(bare))) == plain(bare)


def test_results_come_out_as_they_went_in(shape):
    error = LiftError(ErrorCode.NO_SURFACE, 'none')
    first, second, third = decode_results(encode_results([shape, error, shape]))
    assert plain(first) == plain(third) == plain(shape)
    assert (second.code, second.message) == (error.code, error.message)


def test_a_frame_that_several_views_share_is_sent_once(call):
    view = call.requests[0].source_views[0]
    again = replace(call.requests[0], source_views=(view, view, view))
    size = len(encode_call(replace(call, requests=(again,))))
    once = len(encode_call(replace(call, requests=(call.requests[0],))))
    assert size - once < view.view.frame.image.nbytes


def test_calls_that_are_too_large_are_refused(call, monkeypatch):
    monkeypatch.setattr(wire, 'MAX_BYTES', 1000)
    with pytest.raises(LiftError):
        encode_call(call)


def refusal(data: bytes) -> ErrorCode:
    with pytest.raises(LiftError) as caught:
        decode_call(data)
    return caught.value.code


def changed(call: Call, change) -> bytes:
    """Return a message whose entry was changed."""
    data = encode_call(call)
    size = int.from_bytes(data[:8], 'little')
    entry = json.loads(json.loads(data[8:8 + size])['__metadata__']['lift3d'])
    tensors = load(data)
    change(entry, tensors)
    return save(tensors, {'lift3d': json.dumps(entry)})


class Bomb:
    """A pickle of it would make a file."""

    def __reduce__(self):
        return open, ('/tmp/lift3d_bomb', 'w')


@pytest.mark.parametrize('data', [
    b'', b'{}', b'\xff' * 64, (1 << 40).to_bytes(8, 'little') + b'{}', pickle.dumps(Bomb()),
    save({'a': np.zeros(3)}), save({}, {'lift3d': '[]'}), save({}, {'lift3d': '{"version": 9}'}),
], ids=['empty', 'json', 'bytes', 'header', 'pickle', 'bare', 'list', 'version'])
def test_other_messages_are_refused(data):
    assert refusal(data) is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(('change', 'code'), [
    (lambda entry, tensors: entry['requests'].clear(), ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: entry['requests'].extend(entry['requests'] * 40),
     ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: entry.pop('frames'), ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: entry.update(frames=[]), ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: entry.update(timeout=float('nan')), ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: entry.update(timeout=-1.0), ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: entry['frames'][0].update(camera=[9, 9, 1, 1, 1, 1]),
     ErrorCode.SIZE_MISMATCH),
    (lambda entry, tensors: entry['frames'][0].update(camera=[96, 72, 0, 1, 1, 1]),
     ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: entry['requests'][0].update(seed=-1), ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: entry['requests'][0]['source_views'][0].update(frame=7),
     ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: entry['requests'][0]['source_views'][0].update(
        T_ref_src=np.ones((4, 4)).tolist()), ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: entry['requests'][0]['hints'].update(order=['magic']),
     ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: tensors.update({'mask.0': np.zeros(5, np.uint8)}),
     ErrorCode.BAD_REQUEST),
    (lambda entry, tensors: tensors.update({'image.0': np.zeros((72, 96, 3), np.float32)}),
     ErrorCode.BAD_IMAGE),
    (lambda entry, tensors: tensors.update({'depth.0': np.zeros((2, 2), np.float32)}),
     ErrorCode.SIZE_MISMATCH),
    (lambda entry, tensors: tensors.pop('image.0'), ErrorCode.BAD_REQUEST),
])
def test_calls_with_wrong_values_are_refused(change, code, call):
    assert refusal(changed(call, change)) is code


def test_damaged_messages_are_refused_or_mean_a_valid_call(call):
    rng = random.Random(0)
    data = encode_call(call)
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(2000)] = rng.randrange(256)
        try:
            assert isinstance(decode_call(bytes(damaged[:rng.randint(1, len(data))])), Call)
        except LiftError:
            pass
        try:
            assert isinstance(decode_call(bytes(damaged)), Call)
        except LiftError:
            pass


@pytest.mark.parametrize('name', ['vertices', 'faces', 'colors', 'confidence', 'observed'])
def test_answers_with_wrong_arrays_are_refused(name, shape):
    data = encode_results([shape])
    size = int.from_bytes(data[:8], 'little')
    entry = json.loads(data[8:8 + size])['__metadata__']
    tensors = load(data)
    for wrong in (tensors[f'{name}.0'][:-1], tensors[f'{name}.0'].astype(np.float16)):
        if name == 'faces' and wrong.dtype == np.int32:
            wrong = np.full_like(wrong, len(shape.mesh.vertices))
        with pytest.raises(LiftError):
            decode_results(save({**tensors, f'{name}.0': np.ascontiguousarray(wrong)}, entry))
