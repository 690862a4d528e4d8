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


"""Encoded pictures: what is read, and what is refused before its pixels are decoded."""

from __future__ import annotations

import io
import os
import resource
import socket
import struct
import subprocess
import sys
import zlib

from error_helpers import raises_code
import numpy as np
from PIL import Image
import pytest

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.io import pictures
from lift3d_ros.io import scene_files

RNG = np.random.default_rng(5)
COLOURS = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
WIDE = RNG.integers(0, 65535, (30, 40), dtype=np.uint16)


def encoded(pixels, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def png(width, height, bits=8, colour=2, raw=b''):
    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    return b''.join([
        b'\x89PNG\r\n\x1a\n', chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(raw)),
        chunk(b'IEND', b''),
    ])


def jpeg(width, height):
    data = bytearray(encoded(COLOURS, 'JPEG'))
    at = data.find(b'\xff\xc0') + 5
    data[at:at + 4] = struct.pack('>HH', height, width)
    return bytes(data)


def bmp(width, height):
    data = bytearray(encoded(COLOURS, 'BMP'))
    data[18:26] = struct.pack('<ii', width, height)
    return bytes(data)


def webp(width, height):
    sides = (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
    body = b'VP8X\x0a\x00\x00\x00\x00\x00\x00\x00' + sides
    return b'RIFF' + struct.pack('<I', len(body) + 4) + b'WEBP' + body


def tiff(width, height, *more, without=()):
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 273: 8, 279: 100}
    tags.update(more)
    tags = {tag: value for tag, value in sorted(tags.items()) if tag not in without}
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items())
    begin = b'II*\x00' + struct.pack('<IH', 8, len(tags))
    return begin + entries + struct.pack('<I', 0) + bytes(200)


def pgm(width, height):
    return f'P5 {width} {height} 255\n'.encode() + bytes(100)


def npy(width, height):
    stream = io.BytesIO()
    header = {'descr': '<u2', 'fortran_order': False, 'shape': (height, width)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def refused(data):
    """Return the message with which a picture is refused, and the memory that it took, MB."""
    before = peak()
    with pytest.raises(LiftError) as caught:
        pictures.decode_picture(data, 'it')
    assert caught.value.code.value == 'BAD_IMAGE'
    return caught.value.message, peak() - before


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize(('width', 'height'), [
    (20000, 20000), (16000, 2600), (8000, 5100), (40000, 40000), (65500, 65500),
])
@pytest.mark.parametrize('make', [png, jpeg, bmp, webp, tiff, pgm])
def test_a_header_that_promises_too_many_pixels_is_refused_before_they_are_decoded(
    make, width, height
):
    message, megabytes = refused(make(width, height))
    assert 'megapixels' in message
    assert megabytes < 30.0


def test_a_header_of_more_than_two_to_the_thirty_pixels_is_refused():
    for data in (png(2**31 - 1, 2**31 - 1), jpeg(65535, 65535), bmp(2**31 - 1, 2**31 - 1)):
        assert refused(data)[1] < 30.0


@pytest.mark.parametrize('data', [
    tiff(10, 10, (322, 65520), (323, 65520), (324, 8), (325, 100), without=(273, 279)),
    tiff(10, 10, (278, 2**32 - 1)),
    tiff(10, 10, (279, 2**32 - 1)),
    tiff(10, 10, (277, 60000)),
    tiff(10, 10, (258, 60000)),
], ids=['tiles', 'rows', 'bytes', 'samples', 'bits'])
def test_absurd_strips_and_tiles_of_a_tiff_are_refused(data):
    assert refused(data)[1] < 50.0


@pytest.mark.parametrize('name', [b'iCCP', b'zTXt', b'iTXt'])
@pytest.mark.parametrize('place', ['before', 'after'])
def test_a_compressed_chunk_of_a_hundred_megabytes_is_refused(name, place):
    packed = zlib.compress(bytes(100_000_000), 9)
    begin = {b'iCCP': b'x\0\0', b'zTXt': b'x\0\0', b'iTXt': b'x\0\1\0\0\0'}[name]
    data = encoded(COLOURS, 'PNG')
    at = 33 if place == 'before' else len(data) - 12
    assert refused(data[:at] + chunk(name, begin + packed) + data[at:])[1] < 50.0


def test_a_jpeg_of_hundreds_of_scans_is_refused():
    data = encoded(np.zeros((3000, 3000, 3), np.uint8), 'JPEG', progressive=True)
    at = data.rfind(b'\xff\xda')
    assert 'scans' in refused(data[:-2] + 300 * data[at:-2] + data[-2:])[0]
    assert pictures.decode_picture(data, 'it').pixels.shape == (3000, 3000, 3)


@pytest.mark.parametrize('kind', ['PNG', 'WEBP', 'TIFF'])
def test_an_animation_or_several_pages_are_refused(kind):
    stream = io.BytesIO()
    frames = [Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)]
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    assert 'several' in refused(stream.getvalue())[0]


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', 'PPM'])
@pytest.mark.parametrize('share', [0.0, 0.01, 0.3, 0.6, 0.95])
def test_a_file_that_ends_too_early_is_refused(kind, share):
    data = encoded(COLOURS, kind)
    refused(data[:int(share * len(data))])


@pytest.mark.parametrize(('data', 'name'), [
    (b'v/1\x01' + bytes(50), 'OpenEXR'), (b'GIF89a' + bytes(50), 'GIF'),
    (b'\0\0\0\x18ftypheic' + bytes(50), 'HEIF'), (b'no picture', 'PNG'),
])
def test_a_form_that_is_not_read_is_named(data, name):
    assert name in refused(data)[0]


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF', 'PPM', 'WEBP'])
def test_forms_that_keep_values_are_read_exactly(kind):
    options = {'lossless': True} if kind == 'WEBP' else {}
    picture = pictures.decode_picture(encoded(COLOURS, kind, **options), 'it')
    np.testing.assert_array_equal(pictures.rgb(picture), COLOURS)
    assert not picture.lossy


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'PPM'])
def test_sixteen_bits_are_read_exactly(kind):
    picture = pictures.decode_picture(encoded(WIDE, kind), 'it')
    np.testing.assert_array_equal(picture.pixels, WIDE)


def test_jpeg_and_lossy_webp_are_known_as_lossy():
    for kind in ('JPEG', 'WEBP'):
        assert pictures.decode_picture(encoded(COLOURS, kind), 'it').lossy


@pytest.mark.parametrize('bits', [10, 12, 14])
def test_fewer_bits_in_sixteen_fill_the_range_of_eight(bits):
    values = np.linspace(0, 2**bits - 1, 1200).reshape(30, 40).astype(np.uint16)
    shown = pictures.eight_bits(values)
    np.testing.assert_allclose(shown, np.linspace(0, 255, 1200).reshape(30, 40), atol=1.0)
    hot = values.copy()
    hot[0, 0] = 65535
    np.testing.assert_array_equal(pictures.eight_bits(hot)[1:], shown[1:])


def test_a_dark_picture_of_sixteen_bits_is_not_black():
    assert pictures.eight_bits(np.full((8, 8), 700, np.uint16)).min() > 100
    assert (pictures.eight_bits(np.full((8, 8), 65535, np.uint16)) == 255).all()


# --- EXIF orientation ---

def with_orientation(pixels, number, kind='PNG', **options):
    exif = Image.Exif()
    exif[0x0112] = number
    return encoded(pixels, kind, exif=exif, **options)


@pytest.mark.parametrize('number', range(1, 9))
@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'WEBP'])
def test_pixels_are_as_stored_and_the_orientation_is_reported(kind, number):
    options = {'lossless': True} if kind == 'WEBP' else {}
    picture = pictures.decode_picture(with_orientation(COLOURS, number, kind, **options), 'it')
    assert picture.orientation == number
    np.testing.assert_array_equal(picture.pixels, COLOURS)


@pytest.mark.parametrize('number', range(1, 9))
def test_a_picture_is_turned_as_other_programs_do(number):
    from PIL import ImageOps

    image = Image.open(io.BytesIO(with_orientation(COLOURS, number)))
    np.testing.assert_array_equal(
        pictures.turned(COLOURS, number), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize('number', [5, 6, 7, 8])
def test_the_size_of_the_camera_decides_about_a_quarter_turn(number):
    picture = pictures.decode_picture(with_orientation(COLOURS, number), 'it')
    assert pictures.orientation_for(picture, (30, 40), 'it') == number
    assert pictures.orientation_for(picture, (40, 30), 'it') == 1


@pytest.mark.parametrize('number', [2, 3, 4])
def test_half_a_turn_is_refused_since_nothing_says_what_camera_and_mask_are_of(number):
    picture = pictures.decode_picture(with_orientation(COLOURS, number), 'it')
    with pytest.raises(LiftError, match='BAD_IMAGE: .*EXIF'):
        pictures.orientation_for(picture, (40, 30), 'it')


def test_a_quarter_turn_of_a_square_picture_is_refused():
    picture = pictures.decode_picture(with_orientation(COLOURS[:, :30], 6), 'it')
    with pytest.raises(LiftError, match='BAD_IMAGE: .*EXIF'):
        pictures.orientation_for(picture, (30, 30), 'it')


# --- arrays and files ---

def test_arrays_are_read_whatever_their_type_order_and_bytes(tmp_path):
    for values in (
        WIDE, WIDE.astype('>u2'), np.asfortranarray(WIDE), WIDE.astype(np.float64),
        WIDE[..., None], WIDE[None],
    ):
        np.save(tmp_path / 'a.npy', values)
        np.testing.assert_array_equal(pictures.read_array(tmp_path / 'a.npy'), WIDE)


@pytest.mark.parametrize('content', [
    npy(20000, 20000), npy(40, 30), b'', b'\x93NUMPY', b'\x93NUMPY\x01\x00\xff\xff' + bytes(9),
], ids=['large', 'short', 'empty', 'cut', 'junk'])
def test_an_array_that_is_too_large_or_incomplete_is_refused(tmp_path, content):
    (tmp_path / 'a.npy').write_bytes(content)
    with raises_code(ErrorCode.BAD_IMAGE):
        pictures.read_array(tmp_path / 'a.npy')


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    np.save(tmp_path / 'a.npy', np.array([[Trap()]], object), allow_pickle=True)
    with raises_code(ErrorCode.BAD_IMAGE):
        pictures.read_array(tmp_path / 'a.npy')
    assert not (tmp_path / 'executed').exists()


def special_file(path, kind):
    if kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    elif kind == 'circle':
        path.symlink_to(path)
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))


@pytest.mark.parametrize('kind', ['fifo', 'folder', 'device', 'circle', 'socket'])
@pytest.mark.parametrize('name', ['a.png', 'a.npy'])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, monkeypatch, kind, name):
    monkeypatch.chdir(tmp_path)
    special_file(tmp_path / name, kind)
    read = pictures.read_array if name == 'a.npy' else pictures.read_picture
    with raises_code(ErrorCode.BAD_IMAGE):
        read(tmp_path / name)


@pytest.mark.parametrize('kind', ['fifo', 'folder', 'device', 'circle'])
def test_a_camera_json_that_is_no_regular_file_is_no_camera(tmp_path, kind):
    special_file(tmp_path / 'camera.json', kind)
    with raises_code(ErrorCode.NO_CAMERA):
        scene_files.read_entries(tmp_path)


@pytest.mark.parametrize('content', [
    b'[' * 100_000, b'\xff\xfe', b'3', b'null', b'{"width": ' + b'9' * 5000 + b'}', b'{',
], ids=['nested', 'bytes', 'number', 'null', 'digits', 'open'])
def test_a_camera_json_of_anything_else_is_no_camera(tmp_path, content):
    (tmp_path / 'camera.json').write_bytes(content)
    with raises_code(ErrorCode.NO_CAMERA):
        scene_files.read_entries(tmp_path)


def test_the_command_refuses_a_bomb_in_little_memory(tmp_path):
    """The whole command, with less memory than the pixels would take."""
    (tmp_path / 'bomb.png').write_bytes(png(18000, 18000))
    code = (
        'import resource, sys\n'
        'from lift3d_ros.io.scene import read_input\n'
        'from pathlib import Path\n'
        'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'try:\n'
        '    read_input(Path(sys.argv[1]))\n'
        'except Exception as error:\n'
        '    print(error.code.value)\n'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, tmp_path / 'bomb.png'], text=True, capture_output=True,
        check=True,
    )
    name, kilobytes = done.stdout.split()
    assert name == 'BAD_IMAGE'
    assert int(kilobytes) < 50_000
