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


"""Masks and label images: one rule for what their pixels mean."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image
import pytest

from lift3d_ros.errors import LiftError
from lift3d_ros.io import masks
from lift3d_ros.io import pictures
from lift3d_ros.io.mask_coverage import check_coverage
from lift3d_ros.io.masks import MaskPixels

HEIGHT, WIDTH = 120, 160
V, U = np.mgrid[:HEIGHT, :WIDTH]
DISC = (U - 80) ** 2 + (V - 60) ** 2 < 30**2
OTHER = (U - 25) ** 2 + (V - 30) ** 2 < 14**2


def grey(background=0, thing=255, dtype=np.uint8):
    return np.where(DISC, thing, background).astype(dtype)


def through(values, kind, **options):
    """Return the pixels of an array that was saved and read."""
    stream = io.BytesIO()
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(stream, kind, **options)
    return MaskPixels.of_picture(pictures.decode_picture(stream.getvalue(), 'it'))


def binary(values):
    pixels = values if isinstance(values, MaskPixels) else MaskPixels(values)
    return masks.read_binary(pixels)


def refused(call, *arguments):
    with pytest.raises(LiftError) as caught:
        call(*arguments)
    assert caught.value.code.value == 'BAD_IMAGE'
    return caught.value.message


def iou(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


# --- binary masks ---

@pytest.mark.parametrize('dtype', [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32])
@pytest.mark.parametrize('value', [1, 7, 100])
def test_any_value_but_zero_is_object_in_every_type(dtype, value):
    mask, notes = binary(grey(0, value, dtype))
    np.testing.assert_array_equal(mask, DISC)
    assert not notes


def test_negative_values_are_background():
    np.testing.assert_array_equal(binary(grey(-1, 1, np.int16))[0], DISC)


@pytest.mark.parametrize('channels', [2, 4])
def test_an_alpha_that_is_opaque_everywhere_does_not_count(channels):
    painted = np.repeat(grey()[..., None], channels, axis=2)
    painted[..., -1] = 255
    mask, notes = binary(painted)
    np.testing.assert_array_equal(mask, DISC)
    assert not notes


@pytest.mark.parametrize('alpha', [0, 100, 254])
def test_an_alpha_that_is_the_same_everywhere_does_not_count(alpha):
    painted = np.repeat(grey()[..., None], 4, axis=2)
    painted[..., 3] = alpha
    np.testing.assert_array_equal(binary(painted)[0], DISC)


@pytest.mark.parametrize('channels', [2, 4])
def test_an_alpha_that_varies_is_the_mask(channels):
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, channels), np.uint8)
    photo[..., -1] = grey()
    np.testing.assert_array_equal(binary(photo)[0], DISC)


def test_a_soft_alpha_is_cut_at_half():
    cut_out = np.full((HEIGHT, WIDTH, 4), 90, np.uint8)
    cut_out[..., 3] = cv2.GaussianBlur(grey(), (0, 0), 2.0)
    assert iou(binary(cut_out)[0], DISC) > 0.95


def test_a_palette_without_a_black_background_is_refused():
    image = Image.fromarray(DISC.astype(np.uint8)).convert('P')
    image.putpalette([128, 128, 128, 255, 255, 255])
    assert 'background' in refused(binary, through(image, 'PNG'))


def test_the_colours_of_a_palette_make_the_mask():
    image = Image.fromarray((~DISC).astype(np.uint8), 'P')
    image.putpalette([255, 255, 255, 0, 0, 0])
    np.testing.assert_array_equal(binary(through(image, 'PNG'))[0], DISC)


def test_a_palette_of_segmentation_data_sets_makes_the_mask():
    image = Image.fromarray(np.where(DISC, 15, 0).astype(np.uint8), 'P')
    image.putpalette([0, 0, 0, *range(3, 48)])
    np.testing.assert_array_equal(binary(through(image, 'PNG'))[0], DISC)


@pytest.mark.parametrize('value', [1, 40, 128, 255])
def test_a_mask_of_one_value_has_no_background(value):
    assert 'background' in refused(binary, np.full((HEIGHT, WIDTH), value, np.uint8))


@pytest.mark.parametrize('background', [60, 128, 200])
def test_a_grey_background_is_refused(background):
    assert 'background' in refused(binary, grey(background, 255))


@pytest.mark.parametrize('quality', [15, 50, 75, 95])
@pytest.mark.parametrize('again', [False, True])
def test_ringing_of_jpeg_is_no_object(quality, again):
    pixels = through(grey(), 'JPEG', quality=quality)
    if again:
        # Saved as PNG later, nothing says any more that it was a JPEG.
        pixels = through(pixels.values, 'PNG')
        assert not pixels.lossy
    mask, _ = binary(pixels)
    assert iou(mask, DISC) > 0.97


@pytest.mark.parametrize('quality', [40, 90])
def test_ringing_of_a_coloured_jpeg_is_no_object(quality):
    painted = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    painted[DISC] = (255, 255, 255)
    assert iou(binary(through(painted, 'JPEG', quality=quality))[0], DISC) > 0.97


def test_soft_edges_are_cut_at_half_with_a_note():
    mask, notes = binary(cv2.GaussianBlur(grey(), (0, 0), 1.5))
    assert iou(mask, DISC) > 0.97
    assert len(notes) == 1


def test_probabilities_are_cut_at_half():
    soft = cv2.GaussianBlur(DISC.astype(np.float32), (0, 0), 1.5)
    assert iou(binary(soft)[0], DISC) > 0.97


@pytest.mark.parametrize('values', [
    np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH), np.uint8),
    np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
    (V * 2).astype(np.uint8),
    cv2.GaussianBlur(np.random.default_rng(1).normal(120, 99, (HEIGHT, WIDTH)), (0, 0), 3)
    .clip(0, 255).astype(np.uint8),
], ids=['noise', 'coloured noise', 'ramp', 'clouds'])
def test_a_picture_is_no_mask(values):
    refused(binary, values)


def test_several_labels_in_a_binary_mask_are_all_object_and_noted():
    values = np.where(DISC, 2, np.where(OTHER, 5, 0)).astype(np.uint8)
    mask, notes = binary(values)
    np.testing.assert_array_equal(mask, DISC | OTHER)
    assert '2, 5' in notes[0]


def test_labels_with_a_void_border_are_not_cut_at_half():
    ring = (U - 80) ** 2 + (V - 60) ** 2 < 34**2
    values = np.where(DISC, 15, np.where(ring, 255, 0)).astype(np.uint8)
    mask, notes = binary(values)
    np.testing.assert_array_equal(mask, ring)
    assert notes


def test_several_colours_in_a_binary_mask_are_noted():
    painted = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    painted[DISC], painted[OTHER] = (255, 0, 0), (0, 255, 0)
    mask, notes = binary(painted)
    np.testing.assert_array_equal(mask, DISC | OTHER)
    assert 'colours' in notes[0]


def test_one_dark_colour_is_object():
    painted = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    painted[DISC] = (0, 0, 7)
    mask, notes = binary(painted)
    np.testing.assert_array_equal(mask, DISC)
    assert not notes


def test_an_empty_mask_is_empty():
    assert not binary(np.zeros((9, 9), np.uint8))[0].any()
    assert not binary(np.zeros((9, 9, 3), np.uint8))[0].any()


# --- coverage ---

def test_an_inverted_mask_is_refused():
    message = refused(check_coverage, ~(DISC & (U > 60)))
    assert 'nvert' in message
    refused(check_coverage, ~DISC)


@pytest.mark.parametrize('share', [0.96, 1.0])
def test_a_mask_of_nearly_the_whole_image_is_refused(share):
    refused(check_coverage, U < share * WIDTH)


def test_a_mask_of_most_of_the_image_is_noted():
    assert len(check_coverage(U < 0.85 * WIDTH)) == 1


def test_a_mask_that_touches_all_borders_is_noted():
    cross = (abs(U - 80) < 8) | (abs(V - 60) < 8)
    assert len(check_coverage(cross)) == 1


def test_an_object_at_one_border_or_in_the_middle_is_not_noted():
    for mask in (DISC, np.roll(DISC, 60, axis=1), V > 90, OTHER | DISC):
        assert check_coverage(mask) == ()


# --- label images ---

@pytest.mark.parametrize(('dtype', 'ids'), [
    (np.uint8, (1, 255)), (np.int8, (1, 127)), (np.uint16, (1, 65535)), (np.int16, (1, 32767)),
    (np.int32, (1, 70000)), (np.int32, (65536, 131072)), (np.int32, (65537, 1)),
    (np.int32, (2**31 - 1, 2**31 - 2)), (np.float32, (1, 70000)), (np.float64, (65537, 1)),
])
def test_labels_keep_their_values_in_every_type(dtype, ids):
    values = np.where(DISC, ids[0], np.where(OTHER, ids[1], 0)).astype(dtype)
    labels = masks.read_labels(MaskPixels(values))
    assert labels.dtype.kind in 'iu'
    np.testing.assert_array_equal(labels, values)


@pytest.mark.parametrize('dtype', [np.int8, np.int16, np.int32, np.float32])
def test_negative_labels_are_background(dtype):
    labels = masks.read_labels(MaskPixels(np.where(DISC, 3, -1).astype(dtype)))
    np.testing.assert_array_equal(labels, 3 * DISC)


def test_labels_that_are_no_whole_numbers_are_refused():
    refused(masks.read_labels, MaskPixels(np.where(DISC, 1.5, 0.0)))


def test_not_a_number_is_background():
    labels = masks.read_labels(MaskPixels(np.where(DISC, 2.0, np.nan)))
    np.testing.assert_array_equal(labels, 2 * DISC)


@pytest.mark.parametrize('channels', [3, 4])
def test_each_colour_is_a_label(channels):
    painted = np.zeros((HEIGHT, WIDTH, channels), np.uint8)
    painted[DISC, :3], painted[OTHER, :3] = (200, 30, 7), (7, 30, 200)
    if channels == 4:
        painted[..., 3] = 255
    labels = masks.read_labels(MaskPixels(painted))
    assert set(np.unique(labels)) == {0, 0xC81E07, 0x071EC8}
    np.testing.assert_array_equal(labels == 0xC81E07, DISC)


def test_transparent_pixels_of_colours_are_background():
    painted = np.full((HEIGHT, WIDTH, 4), 50, np.uint8)
    painted[..., 3] = grey()
    np.testing.assert_array_equal(masks.read_labels(MaskPixels(painted)) > 0, DISC)


def test_labels_that_came_through_jpeg_are_refused():
    values = np.where(DISC, 80, np.where(OTHER, 160, 0)).astype(np.uint8)
    assert 'PNG' in refused(masks.read_labels, through(values, 'JPEG', quality=95))
    painted = np.repeat(values[..., None], 3, axis=2) // np.array([1, 2, 3], np.uint8)
    assert 'PNG' in refused(masks.read_labels, through(painted, 'JPEG', quality=95))
    again = through(through(painted, 'JPEG', quality=90).values, 'PNG')
    assert 'PNG' in refused(masks.read_labels, again)


def test_grey_labels_that_came_through_jpeg_are_refused_also_when_saved_as_png():
    values = np.where(DISC, 80, np.where(OTHER, 160, 0)).astype(np.uint8)
    for quality in (30, 60, 90):
        again = MaskPixels(through(values, 'JPEG', quality=quality).values)
        assert 'JPEG' in refused(masks.read_labels, again)
        refused(masks.read_binary, again)


def test_many_small_labels_are_read():
    values = ((U // 8) + 20 * (V // 8) + 1).astype(np.uint16)
    values[(U % 8 > 4) | (V % 8 > 4)] = 0
    np.testing.assert_array_equal(masks.read_labels(MaskPixels(values)), values)


def test_colours_that_were_smoothed_are_refused():
    painted = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    painted[DISC], painted[OTHER] = (200, 30, 7), (7, 30, 200)
    assert 'neighbour' in refused(
        masks.read_labels, MaskPixels(cv2.GaussianBlur(painted, (0, 0), 2.0)))


def test_a_photo_is_no_label_image():
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    refused(masks.read_labels, MaskPixels(noise))


def test_colours_of_sixteen_bits_are_refused():
    refused(masks.read_labels, MaskPixels(np.full((9, 9, 3), 300, np.uint16)))


def test_the_indices_of_a_palette_are_labels_where_its_first_colour_is_black():
    values = np.where(DISC, 15, np.where(OTHER, 2, 0)).astype(np.uint8)
    image = Image.fromarray(values, 'P')
    image.putpalette([0, 0, 0, *range(100, 145)])
    np.testing.assert_array_equal(masks.read_labels(through(image, 'PNG')), values)


@pytest.mark.parametrize('bits', [1, 2, 4])
def test_labels_of_few_bits_keep_their_values(bits):
    import struct
    import zlib

    top = 2**bits - 1
    values = (np.arange(8 * 16).reshape(8, 16) % (top + 1)).astype(np.uint8)
    packed = np.packbits(
        np.unpackbits(values[..., None], axis=2)[..., -bits:].reshape(8, -1), axis=1)

    def chunk(name, data):
        end = struct.pack('>I', zlib.crc32(name + data))
        return struct.pack('>I', len(data)) + name + data + end

    raw = b''.join(b'\0' + row.tobytes() for row in packed)
    data = b'\x89PNG\r\n\x1a\n' + chunk(
        b'IHDR', struct.pack('>IIBBBBB', 16, 8, bits, 0, 0, 0, 0)
    ) + chunk(b'IDAT', zlib.compress(raw)) + chunk(b'IEND', b'')
    pixels = MaskPixels.of_picture(pictures.decode_picture(data, 'it'))
    np.testing.assert_array_equal(masks.read_labels(pixels), values)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.int32, np.int64, np.float32])
def test_labels_of_every_type_are_resized_exactly(dtype):
    values = (np.arange(12).reshape(3, 4) * 9).astype(dtype)
    np.testing.assert_array_equal(
        masks.fit_nearest(values, 12, 9), values.repeat(3, 0).repeat(3, 1))


def test_masks_of_good_data_are_read_as_they_are_and_without_notes(shared_data):
    folders = [f for name in ('rgbd', 'real') for f in sorted((shared_data / name).iterdir())]
    folders = [folder for folder in folders if (folder / 'mask.png').exists()]
    assert folders
    for folder in folders:
        picture = pictures.read_picture(folder / 'mask.png')
        mask, notes = masks.read_binary(MaskPixels.of_picture(picture))
        np.testing.assert_array_equal(mask, picture.pixels > 0)
        assert (notes, check_coverage(mask)) == ((), ()), folder.name
