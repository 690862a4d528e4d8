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
Whatever comes in, a lift ends in a closed finite mesh or in an error that says what to do.

LIFT3D_PROPERTY_EXAMPLES multiplies the number of examples, which are then drawn at random.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
import tempfile
import warnings

import cv2
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from lift_strategies import Choice
from lift_strategies import choices
from lift_strategies import lifted
import numpy as np
import pytest

from lift3d_ros.cli import main
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.io.scene import read_further
from lift3d_ros.io.scene import read_input
from lift3d_ros.io.scene import read_plane
from lift3d_ros.io.scene import write_scene
from lift3d_ros.lifter import Lifter

FACTOR = int(os.environ.get('LIFT3D_PROPERTY_EXAMPLES', '0'))


def examples(count):
    """Return the settings of a property with so many examples."""
    return settings(
        max_examples=count * max(1, FACTOR), derandomize=not FACTOR, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), print_blob=bool(FACTOR))


@pytest.fixture(scope='module')
def geometric():
    """Return the lifter without networks."""
    return Lifter('geometric', max_faces=2000)


@pytest.fixture(scope='module')
def learned():
    """Return the lifter with the packaged weights."""
    lifter = Lifter('one2345', max_faces=2000)
    lifter.load()
    return lifter


@examples(100)
@given(choices())
def test_geometric_gives_a_closed_mesh_or_says_why_not(geometric, choice):
    assert isinstance(lifted(geometric, choice), Shape | LiftError)


@examples(4)
@given(choices())
def test_the_packaged_weights_give_a_closed_mesh_or_say_why_not(learned, choice):
    assert isinstance(lifted(learned, choice), Shape | LiftError)


# Scene folders.


numbers = st.one_of(
    st.integers(-10, 4000), st.floats(), st.none(), st.text(max_size=5), st.booleans(),
    st.just(10**400))
json_values = st.recursive(numbers, lambda inner: st.lists(inner, max_size=4)
                           | st.dictionaries(st.text(max_size=8), inner, max_size=3),
                           max_leaves=12)
names = st.sampled_from([
    'width', 'height', 'K', 'gravity', 'plane', 'T_world_camera', 'depth_unit', 'x'])


@st.composite
def scenes(draw):
    """Return the files of a scene folder by name: most of it good, some of it not."""
    choice = draw(choices(64))
    image, mask, depth, camera = choice.arrays()
    rng = np.random.default_rng(choice.seed)
    fov = draw(st.booleans())
    entries = {'width': camera.width, 'height': camera.height,
               'K': (camera.K if not fov else np.array(
                   [[60.0, 0, camera.width / 2], [0, 60.0, camera.height / 2], [0, 0, 1]])
               ).tolist()}
    if choice.gravity is not None:
        entries['gravity'] = list(choice.gravity)
    if choice.plane is not None:
        entries['plane'] = list(choice.plane)
    entries |= draw(st.dictionaries(names, json_values, max_size=1))
    pictures = {'rgb.png': image, 'mask.png': mask.astype(np.uint8) * 255}
    if depth is not None:
        with np.errstate(all='ignore'):
            pictures['depth.png'] = np.clip(
                np.nan_to_num(depth.astype(np.float64) * 1000.0, posinf=0), 0, 65535).astype(
                    np.uint16)
    # A picture of another size, type, number of channels, or content.
    for name in list(pictures):
        kind = draw(st.sampled_from([
            'as it is'] * 6 + ['size', 'type', 'channels', 'alpha', 'palette', 'noise', 'jpeg']))
        pixels = pictures[name]
        if kind == 'size':
            pixels = pixels[:max(1, pixels.shape[0] // 2)]
        elif kind == 'type':
            pixels = pixels.astype(np.uint8 if pixels.dtype == np.uint16 else np.uint16)
        elif kind == 'channels' and pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        elif kind == 'channels':
            pixels = pixels[..., 0]
        elif kind == 'alpha' and pixels.dtype == np.uint8:
            colour = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
            pixels = np.concatenate([colour, rng.integers(0, 256, (*colour.shape[:2], 1)).astype(
                np.uint8)], axis=2)
        elif kind == 'noise':
            pixels = rng.integers(0, 256, pixels.shape).astype(pixels.dtype)
        suffix = '.jpg' if kind == 'jpeg' and pixels.dtype == np.uint8 else '.png'
        pictures[name] = cv2.imencode(suffix, pixels)[1].tobytes()
    files = {**pictures, 'camera.json': json.dumps(entries).encode()}
    name = draw(st.sampled_from(sorted(files)))
    fault = draw(st.sampled_from(['none'] * 6 + ['missing', 'cut', 'bytes', 'empty', 'flip']))
    content = files[name]
    if fault == 'missing':
        del files[name]
    elif fault == 'cut':
        files[name] = content[:len(content) * 2 // 3]
    elif fault == 'bytes':
        files[name] = draw(st.binary(max_size=60))
    elif fault == 'empty':
        files[name] = b''
    elif fault == 'flip':
        place = draw(st.integers(0, len(content) - 1))
        files[name] = (content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))])
                       + content[place + 1:])
    return files


@examples(80)
@given(scenes())
def test_any_scene_folder_ends_in_a_report(files):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        scene = Path(folder, 'scene')
        scene.mkdir()
        for name, content in files.items():
            (scene / name).write_bytes(content)
        status = main(['lift', str(scene), '--method', 'geometric', '--out', f'{folder}/out'])
        assert status in (0, 1, 2)
        if status == 2:
            return
        report = json.loads(Path(folder, 'out/scene.json').read_text())
        entry = report['objects'][0] if 'objects' in report else report
        assert entry['ok'] == (status == 0)
        if status:
            assert entry['error']['code'] not in ('INTERNAL', 'OUT_OF_MEMORY'), entry['error']
            assert entry['error']['message'].isprintable()
        else:
            assert entry['watertight'] and 0.0 <= entry['confidence'] <= 1.0
            assert Path(folder, 'out/scene.ply').stat().st_size > 0


BIG = 10**400
HOSTILE = (
    BIG, -BIG, float('nan'), float('inf'), 1e300, 1e-300, -1, 0, True, None, 'x', '', '\ud800',
    ' ' * 9999, [], {}, [BIG], [[BIG] * 3] * 3, [BIG] * 4, [[BIG] * 4] * 4, [1] * 3, [1] * 4,
    ['a'] * 3, [[1, 2], [3]], [None] * 3, {'a': 1}, [[[1]]], 2**31, 2**63, 2**64, '1', [1e300] * 3,
    [float('nan')] * 4, [1e300] * 4, np.eye(3).tolist(), np.eye(4).tolist(),
    (np.eye(4) * 1e300).tolist(), [0] * 14,
)


@pytest.mark.parametrize('key', [
    'width', 'height', 'K', 'gravity', 'plane', 'T_world_camera', 'depth_unit', 'D',
    'distortion_model', 'depth_camera', 'all', 'depth_camera.K', 'depth_camera.width',
    'depth_camera.D', 'depth_camera.T_image_depth', 'view.K', 'view.T_world_camera', 'view.D'])
def test_any_value_in_a_camera_description_is_read_or_refused(key, tmp_path):
    frame, mask = Choice(
        40, 30, 'disc', 'ball on a table', 'usual', 3, (0.0, 0.6, 0.8), None, None).frame()
    write_scene(tmp_path, frame, mask, np.eye(4))
    write_scene(tmp_path / 'views/other', frame, mask, np.eye(4))
    path = tmp_path / ('views/other' if key.startswith('view.') else '') / 'camera.json'
    good = json.loads(path.read_text())
    for value in HOSTILE:
        *inside, name = key.removeprefix('view.').split('.')
        entries = json.loads(json.dumps(good))
        if inside:
            entries['depth_camera'] = {
                'width': 40, 'height': 30, 'K': good['K'], 'T_image_depth': np.eye(4).tolist(),
                name: value}
        elif name == 'all':
            entries = value
        else:
            entries[name] = value
        path.write_text(json.dumps(entries))
        for read in (read_input, read_further, read_plane):
            try:
                read(tmp_path)
            except LiftError as error:
                assert error.code.value not in ('INTERNAL', 'OUT_OF_MEMORY')
