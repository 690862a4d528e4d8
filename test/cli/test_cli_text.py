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

"""``lift3d text``: a picture of a text by a pipeline on disk, its mask, and its mesh."""

from __future__ import annotations

import importlib.util
import json
import shutil

from command_helpers import run_here
import cv2
import numpy as np
import pytest
import text_to_image_helpers as helpers

from lift3d_ros.diffusion.text_to_image import MAX_CHARACTERS
from lift3d_ros.diffusion.text_to_image import TextToImage
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.segmentation.plain_background import segment_plain_background
from lift3d_ros.segmentation.salient import SalientObjectModel

pytestmark = pytest.mark.usefixtures('one_thread')

HAS_ONNX = importlib.util.find_spec('onnxruntime') is not None


@pytest.fixture(scope='module')
def pipeline(tmp_path_factory, one_thread):
    """Return the folder of a pipeline that paints one picture, whatever the text."""
    return helpers.write_pipeline(tmp_path_factory.mktemp('pipeline') / 'painter')


@pytest.fixture
def copied(pipeline, tmp_path):
    """Return a copy of the pipeline, to be damaged."""
    return shutil.copytree(pipeline, tmp_path / 'copied')


def object_mask():
    left, top, right, bottom = helpers.BOX
    mask = np.zeros((helpers.SIDE, helpers.SIDE), bool)
    mask[top:bottom, left:right] = True
    return mask


def iou(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def code_of(function, *arguments, **options):
    with pytest.raises(LiftError) as caught:
        function(*arguments, **options)
    return caught.value.code


def test_a_text_becomes_a_picture_with_its_mask_and_a_mesh(tmp_path, pipeline):
    done = run_here(
        'text', 'A blue mug', '--text-to-image', pipeline, '--out', tmp_path,
        '--image-steps', '2', '--known-size', '0.12')
    assert done.returncode == 0, done.stderr
    pixels = cv2.imread(str(tmp_path / 'a_blue_mug.png'), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (helpers.SIDE, helpers.SIDE, 4)
    assert iou(pixels[..., 3] > 0, object_mask()) > 0.95
    report = json.loads((tmp_path / 'a_blue_mug.json').read_text())
    assert report['ok']
    assert report['text'] == 'A blue mug'
    assert report['scale_source'] == 'known_size'
    assert report['camera_source'] == 'assumed'
    assert (tmp_path / 'a_blue_mug.ply').exists()


def test_the_same_seed_gives_the_same_picture(pipeline):
    made = TextToImage(str(pipeline))
    first, notes = made.generate('a mug', seed=3, steps=2)
    again, _ = made.generate('a mug', seed=3, steps=2)
    assert (first == again).all()
    assert notes == ()
    error = np.abs(first.astype(int) - helpers.picture())
    assert error.mean() < 25.0


def test_a_text_beyond_the_tokens_of_the_pipeline_gets_a_note(pipeline):
    _, notes = TextToImage(str(pipeline)).generate('mug ' * 200, steps=1)
    assert len(notes) == 1
    assert '77' in notes[0]


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize('text', ['', '  \n', 'm' * 10_000])
def test_a_text_that_is_empty_or_too_long_is_refused_before_any_work(tmp_path, text):
    assert len(text) in (0, 3) or len(text) > MAX_CHARACTERS
    done = run_here('text', text, '--text-to-image', tmp_path, '--out', tmp_path / 'out')
    assert done.returncode == 2
    assert not (tmp_path / 'out').exists()


def test_a_source_that_is_no_pipeline_is_refused(tmp_path, pipeline):
    file = tmp_path / 'model.safetensors'
    file.write_bytes(b'')
    empty = tmp_path / 'empty'
    empty.mkdir()
    for source in (file, empty, tmp_path / 'gone', 'some-owner/some-model', './gone', 'gone'):
        assert code_of(TextToImage, str(source)) is ErrorCode.BAD_REQUEST
        done = run_here('text', 'a mug', '--text-to-image', source, '--out', tmp_path / 'out')
        assert done.returncode == 2
        assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('name', [
    'Zero1to3StableDiffusionPipeline', 'StableDiffusionImg2ImgPipeline', 'AudioLDMPipeline', 7,
])
def test_a_pipeline_of_another_family_is_refused(copied, name):
    path = copied / 'model_index.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), '_class_name': name}))
    assert code_of(TextToImage, str(copied)) is ErrorCode.BAD_REQUEST


def test_missing_pickled_and_damaged_weights_are_refused(copied):
    weights = copied / 'unet' / 'diffusion_pytorch_model.safetensors'
    data = weights.read_bytes()
    weights.unlink()
    assert code_of(TextToImage, str(copied)) is ErrorCode.WEIGHTS_MISSING
    # A pickle would run code.
    weights.with_suffix('.bin').write_bytes(data)
    assert code_of(TextToImage, str(copied)) is ErrorCode.WEIGHTS_MISSING
    weights.write_bytes(data[:len(data) // 2])
    with pytest.raises(LiftError) as caught:
        TextToImage(str(copied))
    assert caught.value.code in (ErrorCode.WEIGHTS_CORRUPT, ErrorCode.WEIGHTS_MISSING)


def test_settings_that_the_pipeline_refuses_are_refused(pipeline):
    made = TextToImage(str(pipeline))
    assert code_of(made.generate, 'a mug', steps=5000) is ErrorCode.BAD_REQUEST


# --- masks --------------------------------------------------------------------------------------


def test_the_object_on_a_plain_background_is_found_under_noise():
    rng = np.random.default_rng(0)
    image = np.clip(helpers.picture() + rng.normal(0.0, 4.0, (64, 64, 3)), 0, 255)
    mask, notes = segment_plain_background(image.astype(np.uint8))
    assert iou(mask, object_mask()) > 0.95
    assert notes == ()


def test_what_the_object_encloses_is_object_with_a_note():
    image = helpers.picture()
    image[24:44, 26:40] = 255
    mask, notes = segment_plain_background(image)
    assert iou(mask, object_mask()) > 0.95
    assert len(notes) == 1


def test_separate_parts_get_a_note_and_specks_are_left_out():
    image = helpers.picture()
    image[:, 30:36] = 255
    image[4:7, 4:7] = 0
    mask, notes = segment_plain_background(image)
    assert not mask[4:7, 4:7].any()
    assert len(notes) == 1


def test_pictures_without_a_plain_background_or_object_are_refused():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (64, 64, 3), np.uint8)
    assert code_of(segment_plain_background, noise) is ErrorCode.BAD_IMAGE
    white = np.full((64, 64, 3), 255, np.uint8)
    assert code_of(segment_plain_background, white) is ErrorCode.EMPTY_MASK


@pytest.mark.skipif(HAS_ONNX, reason='onnxruntime is installed')
def test_a_segmentation_model_needs_onnxruntime(tmp_path):
    assert code_of(SalientObjectModel, tmp_path / 'u2net.onnx') is ErrorCode.BAD_REQUEST


@pytest.mark.skipif(not HAS_ONNX, reason='onnxruntime is not installed')
def test_a_segmentation_model_gives_the_mask(tmp_path):
    path = tmp_path / 'dark.onnx'
    path.write_bytes(dark_is_salient(48))
    found = SalientObjectModel(path).mask(helpers.picture())
    assert found.shape == (helpers.SIDE, helpers.SIDE)
    assert iou(found, object_mask()) > 0.9
    uniform = np.full((64, 64, 3), 255, np.uint8)
    assert code_of(SalientObjectModel(path).mask, uniform) is ErrorCode.EMPTY_MASK
    path.write_bytes(path.read_bytes()[:40])
    assert code_of(SalientObjectModel, path) is ErrorCode.WEIGHTS_CORRUPT
    assert code_of(SalientObjectModel, tmp_path / 'gone.onnx') is ErrorCode.BAD_REQUEST


def dark_is_salient(side):
    """Return an ONNX model in its protobuf encoding: minus the mean of the channels."""
    def number(field, value):
        return varint(field << 3) + varint(value)

    def data(field, content):
        content = content.encode() if isinstance(content, str) else content
        return varint(field << 3 | 2) + varint(len(content)) + content

    def varint(value):
        out = bytearray()
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        return bytes(out) + bytes([value])

    def tensor(name, channels):
        shape = b''.join(data(1, number(1, n)) for n in (1, channels, side, side))
        return data(1, name) + data(2, data(1, number(1, 1) + data(2, shape)))

    mean = data(1, 'picture') + data(2, 'mean') + data(4, 'ReduceMean')
    mean += data(5, data(1, 'axes') + number(8, 1) + number(20, 7))
    negative = data(1, 'mean') + data(2, 'saliency') + data(4, 'Neg')
    graph = data(1, mean) + data(1, negative) + data(2, 'graph')
    graph += data(11, tensor('picture', 3)) + data(12, tensor('saliency', 1))
    return number(1, 8) + data(7, graph) + data(8, data(1, '') + number(2, 13))
