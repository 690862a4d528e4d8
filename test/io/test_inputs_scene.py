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


"""Scene folders as people have them: names, forms, EXIF orientations, units, missing masks."""

from __future__ import annotations

import json
import os

import cv2
import numpy as np
from PIL import Image
import pytest

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io.scene import read_folder
from lift3d_ros.io.scene import read_input
from lift3d_ros.io.scene import read_scene
from lift3d_ros.io.scene import Selection
from lift3d_ros.io.scene import write_scene

HEIGHT, WIDTH = 60, 80
RNG = np.random.default_rng(2)
COLOURS = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
COUNTS = RNG.integers(700, 900, (HEIGHT, WIDTH)).astype(np.uint16)
V, U = np.mgrid[:HEIGHT, :WIDTH]
MASK = (U - 40) ** 2 + (V - 25) ** 2 < 15**2


@pytest.fixture
def folder(tmp_path):
    """Return a complete scene folder."""
    camera = Camera(WIDTH, HEIGHT, 90.0, 90.0, 39.5, 29.5)
    write_scene(tmp_path, Frame(COLOURS, camera, COUNTS * np.float32(0.001)), MASK)
    return tmp_path


def refused(folder, **options):
    with pytest.raises(LiftError) as caught:
        read_folder(folder, **options)
    return caught.value


def change_camera(folder, **entries):
    path = folder / 'camera.json'
    content = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


@pytest.mark.parametrize('name', ['rgb.bmp', 'rgb.tif', 'rgb.tiff', 'RGB.PNG', 'Rgb.Png'])
def test_the_picture_is_read_in_other_forms_and_whatever_the_case(folder, name):
    (folder / 'rgb.png').unlink()
    kind = {'.png': 'PNG', '.bmp': 'BMP'}.get(os.path.splitext(name)[1].lower(), 'TIFF')
    Image.fromarray(COLOURS).save(folder / name, kind)
    np.testing.assert_array_equal(read_scene(folder)[0].image, COLOURS)


@pytest.mark.parametrize('name', ['rgb.jpg', 'rgb.JPEG', 'rgb.webp'])
def test_the_picture_is_read_from_lossy_forms(folder, name):
    (folder / 'rgb.png').unlink()
    smooth = cv2.GaussianBlur(COLOURS, (0, 0), 5.0)
    kind = 'WEBP' if name.endswith('webp') else 'JPEG'
    Image.fromarray(smooth).save(folder / name, kind, quality=95)
    difference = read_scene(folder)[0].image.astype(int) - smooth
    assert np.abs(difference).mean() < 4.0


@pytest.mark.parametrize(
    'name', ['depth.npy', 'depth.tiff', 'DEPTH.TIF', 'Depth.Png', 'depth.pgm'])
def test_depth_in_counts_is_read_in_other_forms(folder, name):
    (folder / 'depth.png').unlink()
    if name.endswith('npy'):
        np.save(folder / name, COUNTS)
    else:
        kind = {'.png': 'PNG', '.pgm': 'PPM'}.get(os.path.splitext(name)[1].lower(), 'TIFF')
        Image.fromarray(COUNTS).save(folder / name, kind)
    found = read_folder(folder)
    np.testing.assert_allclose(found.frame.depth, 0.001 * COUNTS, rtol=1e-6)
    assert found.depth_file == name


@pytest.mark.parametrize('name', ['depth.npy', 'depth.tiff', 'depth.pfm'])
def test_depth_in_metres_is_read(folder, name):
    (folder / 'depth.png').unlink()
    metres = COUNTS * np.float32(0.001)
    if name.endswith('npy'):
        np.save(folder / name, metres)
    else:
        Image.fromarray(metres).save(folder / name, 'PPM' if name.endswith('pfm') else 'TIFF')
    np.testing.assert_allclose(read_scene(folder)[0].depth, metres, rtol=1e-6)


@pytest.mark.parametrize('name', ['depth.exr', 'depth.jpg', 'depth.npz', 'depth.raw', 'DEPTH.EXR'])
def test_depth_in_a_form_that_is_not_read_is_an_error_and_never_left_out(folder, name):
    (folder / 'depth.png').rename(folder / name)
    error = refused(folder)
    assert (error.code.value, name in error.message) == ('BAD_IMAGE', True)
    assert read_folder(folder, depth=False).depth_file is None


@pytest.mark.parametrize(('one', 'other'), [
    ('rgb.png', 'rgb.jpg'), ('mask.png', 'mask.bmp'), ('depth.png', 'depth.npy'),
    ('depth.png', 'depth.exr'), ('rgb.png', 'RGB.PNG'),
])
def test_two_files_for_one_picture_are_an_error_that_names_both(folder, one, other):
    (folder / other).write_bytes((folder / one).read_bytes())
    error = refused(folder)
    assert error.code.value == 'BAD_IMAGE'
    assert one in error.message
    assert other in error.message


def test_notes_and_backups_beside_a_picture_are_no_pictures(folder):
    for name in ('depth.json', 'depth.txt', 'rgb.png~', 'depth.png.aux.xml', 'mask.bak'):
        (folder / name).write_text('x')
    assert read_folder(folder).depth_file == 'depth.png'


@pytest.mark.parametrize('name', ['rgb.png', 'mask.png', 'depth.png', 'camera.json'])
def test_a_fifo_in_the_place_of_a_file_does_not_block(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert refused(folder).code.value == ('NO_CAMERA' if name == 'camera.json' else 'BAD_IMAGE')


@pytest.mark.parametrize('kind', ['npy', 'bmp', 'webp'])
def test_the_mask_is_read_in_other_forms(folder, kind):
    (folder / 'mask.png').unlink()
    if kind == 'npy':
        np.save(folder / 'mask.npy', MASK)
    else:
        Image.fromarray(MASK.astype(np.uint8) * 255).save(folder / f'mask.{kind}', lossless=True)
    np.testing.assert_array_equal(read_scene(folder)[1], MASK)


def test_a_painted_mask_with_an_opaque_alpha_is_read_by_its_colour(folder):
    painted = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    painted[~MASK, :3] = 0
    Image.fromarray(painted).save(folder / 'mask.png')
    np.testing.assert_array_equal(read_scene(folder)[1], MASK)


@pytest.mark.parametrize('pixels', [
    np.full((HEIGHT, WIDTH), 255, np.uint8), np.where(MASK, 0, 255).astype(np.uint8), COLOURS,
    np.where(MASK, 255, 90).astype(np.uint8),
], ids=['all', 'inverted', 'photo', 'grey background'])
def test_what_is_no_mask_is_refused(folder, pixels):
    Image.fromarray(pixels).save(folder / 'mask.png')
    assert refused(folder).code.value == 'BAD_IMAGE'


def test_a_mask_of_several_labels_is_noted_and_one_of_them_can_be_chosen(folder):
    values = np.where(MASK, 3, 0).astype(np.uint8)
    values[45:, 5:30] = 7
    Image.fromarray(values).save(folder / 'mask.png')
    found = read_folder(folder)
    assert np.count_nonzero(found.mask) == np.count_nonzero(values)
    assert any('3, 7' in note for note in found.frame.notes)
    chosen = read_folder(folder, selection=Selection(label=3))
    np.testing.assert_array_equal(chosen.mask, MASK)
    assert refused(folder, selection=Selection(label=4)).code.value == 'NO_OBJECT'


# --- depth units ---

@pytest.mark.parametrize('unit', [0.0001, 0.0002, 0.00025, 0.01])
def test_the_depth_unit_of_camera_json_counts(folder, unit):
    change_camera(folder, depth_unit=unit)
    np.testing.assert_allclose(read_scene(folder)[0].depth, unit * COUNTS, rtol=1e-5)


@pytest.mark.parametrize('unit', [0, -0.001, 5, 1e-9, '0.001', [0.001], True, float('nan')])
def test_a_depth_unit_that_cannot_be_is_refused(folder, unit):
    change_camera(folder, depth_unit=unit)
    error = refused(folder)
    assert (error.code.value, 'depth_unit' in error.message) == ('NO_CAMERA', True)


# --- EXIF ---

def save_turned(folder, number, pixels=COLOURS):
    exif = Image.Exif()
    exif[0x0112] = number
    (folder / 'rgb.png').unlink()
    Image.fromarray(pixels).save(folder / 'rgb.png', exif=exif)


@pytest.mark.parametrize('number', [5, 6, 7, 8])
def test_a_picture_stored_as_the_camera_mask_and_depth_have_it_is_not_turned(folder, number):
    save_turned(folder, number)
    found = read_folder(folder)
    np.testing.assert_array_equal(found.frame.image, COLOURS)
    assert any('EXIF' in note for note in found.frame.notes)


@pytest.mark.parametrize('number', [6, 8])
def test_a_picture_is_turned_where_the_camera_mask_and_depth_are_upright(folder, number):
    stored = np.rot90(COLOURS, 1 if number == 6 else 3)
    save_turned(folder, number, np.ascontiguousarray(stored))
    found = read_folder(folder)
    np.testing.assert_array_equal(found.frame.image, COLOURS)
    assert not found.frame.notes


@pytest.mark.parametrize('number', [2, 3, 4])
def test_a_picture_turned_by_half_beside_a_mask_is_refused(folder, number):
    save_turned(folder, number)
    error = refused(folder)
    assert (error.code.value, 'EXIF' in error.message) == ('BAD_IMAGE', True)


def test_a_turned_picture_beside_an_unturned_mask_is_refused(folder):
    save_turned(folder, 6)
    K = [[90.0, 0.0, 29.5], [0.0, 90.0, 39.5], [0.0, 0.0, 1.0]]
    change_camera(folder, width=HEIGHT, height=WIDTH, K=K)
    (folder / 'depth.png').unlink()
    error = refused(folder)
    assert (error.code.value, 'EXIF' in error.message) == ('SIZE_MISMATCH', True)


# --- lone pictures ---

def test_a_lone_picture_without_a_mask_says_what_to_give(tmp_path):
    for name in ('photo.jpg', 'photo.webp', 'photo.png', 'PHOTO.JPG'):
        Image.fromarray(COLOURS).save(tmp_path / name)
        with pytest.raises(LiftError, match='--box.*--point') as caught:
            read_input(tmp_path / name)
        assert caught.value.code.value == 'BAD_IMAGE'


def test_a_lone_picture_with_an_opaque_alpha_says_what_to_give(tmp_path):
    Image.fromarray(np.dstack([COLOURS, np.full(MASK.shape, 255, np.uint8)])).save(
        tmp_path / 'a.png')
    with pytest.raises(LiftError, match='--box'):
        read_input(tmp_path / 'a.png')


def test_a_lone_picture_with_an_orientation_is_turned_with_its_alpha(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = np.dstack([COLOURS, MASK.astype(np.uint8) * 255])
    Image.fromarray(np.ascontiguousarray(np.rot90(rgba))).save(tmp_path / 'a.png', exif=exif)
    found = read_input(tmp_path / 'a.png')
    np.testing.assert_array_equal(found.mask, MASK)
    np.testing.assert_array_equal(found.frame.image, COLOURS)


@pytest.mark.parametrize('selection', [
    Selection(box=(20, 5, 60, 45)), Selection(point=(40, 25)),
])
@pytest.mark.parametrize('form', ['photo', 'folder'])
def test_a_box_or_a_point_stands_for_the_mask(tmp_path, selection, form):
    big = np.full((HEIGHT * 4, WIDTH * 4, 3), 90, np.uint8)
    disc = cv2.resize(MASK.astype(np.uint8), (WIDTH * 4, HEIGHT * 4)) > 0
    big[disc] = (220, 40, 30)
    big = np.clip(big + RNG.normal(0.0, 6.0, big.shape), 0, 255).astype(np.uint8)
    selection = Selection(
        selection.box and tuple(4 * n for n in selection.box),
        selection.point and tuple(4 * n for n in selection.point),
    )
    if form == 'photo':
        path = tmp_path / 'photo.jpg'
        Image.fromarray(big).save(path, quality=95)
    else:
        path = tmp_path
        camera = Camera(WIDTH * 4, HEIGHT * 4, 360.0, 360.0, 160.0, 120.0)
        write_scene(path, Frame(big, camera), disc)
        (path / 'mask.png').unlink()
        assert '--box' in refused(path).message
    found = read_input(path, True, selection)
    both = np.count_nonzero(found.mask & disc)
    assert both / np.count_nonzero(found.mask | disc) > 0.9
    assert found.camera_source == ('assumed' if form == 'photo' else 'given')


def test_photos_of_good_data_are_read_without_notes(shared_data):
    paths = sorted((shared_data / 'photos').glob('*.png'))
    assert paths
    for path in paths:
        assert read_input(path).frame.notes == ()
    for name in ('rgbd', 'real'):
        for folder in sorted((shared_data / name).iterdir()):
            if (folder / 'camera.json').exists() and (folder / 'mask.png').exists():
                assert read_folder(folder).frame.notes == (), folder.name
