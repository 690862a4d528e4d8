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

"""Tests of what surrounds the denoiser: CLIP's pixels, the codec, the token, the batches."""

import numpy as np
import pytest
import torch
from zero123_helpers import IMAGE
from zero123_helpers import LATENT
from zero123_helpers import make_components
from zero123_helpers import make_image
from zero123_helpers import WIDTH

from lift3d_ros.diffusion.conditioning import as_codec
from lift3d_ros.diffusion.conditioning import as_image_encoder
from lift3d_ros.diffusion.conditioning import check_poses
from lift3d_ros.diffusion.conditioning import clip_pixels
from lift3d_ros.diffusion.zero123 import Batches
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import stable_zero123_pose
from lift3d_ros.geometry import zero123_pose
from lift3d_ros.geometry import zeronvs_pose
from lift3d_ros.runtime import memory
from lift3d_ros.weights.components import PoseProjection

pytestmark = pytest.mark.usefixtures('one_thread')

# CLIP


def cubic_matrix(n_in, n_out):
    """Return the bicubic interpolation of a line with aligned corners, a = -0.75, (out, in)."""
    matrix = np.zeros((n_out, n_in))
    for row in range(n_out):
        x = row * (n_in - 1) / (n_out - 1)
        first = int(np.floor(x))
        for tap in range(first - 1, first + 3):
            d = abs(x - tap)
            if d <= 1.0:
                weight = 1.25 * d**3 - 2.25 * d**2 + 1.0
            else:
                weight = -0.75 * (d**3 - 5.0 * d**2 + 8.0 * d - 4.0)
            matrix[row, min(max(tap, 0), n_in - 1)] += weight
    return matrix


@pytest.mark.parametrize(('height', 'width', 'size'), [(9, 7, 5), (6, 6, 11), (256, 256, 224)])
def test_clip_sees_the_image_bicubic_with_aligned_corners_and_normalised(height, width, size):
    image = np.random.default_rng(3).uniform(-1.0, 1.0, (3, height, width))
    mean = np.array([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = np.array([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    resized = cubic_matrix(height, size) @ image @ cubic_matrix(width, size).T
    pixels = clip_pixels(torch.tensor(image[None]), size)[0].numpy()
    # Positions along a line of 256 have no more digits in single precision.
    np.testing.assert_allclose(pixels, ((resized + 1.0) / 2.0 - mean) / std, atol=3e-4)


def test_clips_pixels_of_white_black_and_the_corners_are_known():
    image = torch.ones(1, 3, 256, 256)
    image[..., 0, 0] = -1.0
    pixels = clip_pixels(image)
    assert pixels.shape == (1, 3, 224, 224)
    # Aligned corners: the black corner stays a black corner, not a grey one.
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([-1.79226, -1.75210, -1.48022], abs=1e-4)
    assert pixels[0, :, -1, -1].tolist() == pytest.approx([1.93034, 2.07488, 2.14590], abs=1e-4)


def test_clip_refuses_what_is_not_rgb():
    with pytest.raises(LiftError) as error:
        clip_pixels(torch.zeros(1, 4, 32, 32))
    assert error.value.code is ErrorCode.BAD_REQUEST


def test_the_embedding_is_projected_and_not_normalised():
    model = make_components().image_encoder.eval()
    images = make_image()[None]
    embedding = as_image_encoder(model).embed(images)
    assert embedding.shape == (1, WIDTH)
    pooled = model.vision_model(clip_pixels(images, 28)).pooler_output
    torch.testing.assert_close(embedding, model.visual_projection(pooled))
    assert abs(float(embedding.detach().norm()) - 1.0) > 0.01


def test_an_encoder_of_ones_own_is_used_as_it_is():
    class Own:
        def embed(self, images):
            return images.mean((2, 3))

    own = Own()
    assert as_image_encoder(own) is own


# The codec


def test_the_condition_is_the_mode_unscaled_and_the_target_is_scaled():
    vae = make_components().vae.eval()
    codec = as_codec(vae)
    images = make_image()[None]
    mode = vae.encode(images).latent_dist.mode()
    assert mode.shape == (1, 4, LATENT, LATENT)
    torch.testing.assert_close(codec.encode_condition(images), mode)
    torch.testing.assert_close(codec.encode_target(images), mode * 0.18215)


def test_a_target_with_a_generator_is_a_sample_of_the_posterior():
    vae = make_components().vae.eval()
    images = make_image()[None]
    posterior = vae.encode(images).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(5))
    target = as_codec(vae).encode_target(images, torch.Generator().manual_seed(5))
    torch.testing.assert_close(target, (posterior.mean + posterior.std * noise) * 0.18215)


def test_decoding_undoes_the_scale():
    vae = make_components().vae.eval()
    latents = torch.randn(2, 4, LATENT, LATENT)
    images = as_codec(vae).decode(latents * 0.18215)
    assert images.shape == (2, 3, IMAGE, IMAGE)
    torch.testing.assert_close(images, vae.decode(latents).sample, rtol=1e-4, atol=1e-5)


# The token


def test_a_new_projection_returns_the_embedding_where_the_pose_is_zero():
    projection = PoseProjection(8, 4)
    embedding = torch.randn(3, 8)
    torch.testing.assert_close(projection(embedding, torch.zeros(3, 4)), embedding)
    # The pose does enter: its columns are not zero.
    assert not torch.allclose(projection(embedding, torch.ones(3, 4)), embedding, atol=1e-3)


def test_the_projection_has_the_published_names_and_shapes():
    shapes = {name: tuple(value.shape) for name, value in PoseProjection().state_dict().items()}
    assert shapes == {'projection.weight': (768, 772), 'projection.bias': (768,)}
    assert PoseProjection(pose_dim=19).projection.weight.shape == (768, 787)


# Poses


@pytest.mark.parametrize(
    ('family', 'poses'),
    [
        ('zero123', zero123_pose([0.0, 90.0, 200.0], [0.0, -80.0, 89.0], 0.5, 10.0)),
        ('stable_zero123', stable_zero123_pose([0.0, 90.0], [40.0, 20.0], 30.0)),
        ('zeronvs', zeronvs_pose(np.eye(4)[None], np.eye(4), 1.0, 50.0)),
    ],
)
def test_the_vectors_of_geometry_pass_as_they_are(family, poses):
    vectors = check_poses(poses, poses.shape[1], family)
    np.testing.assert_allclose(vectors.numpy(), poses, atol=1e-6)


@pytest.mark.parametrize(
    ('family', 'poses', 'reason'),
    [
        ('zero123', [0.0, 0.0, 1.0, 0.0], 'shape'),
        ('zero123', np.zeros((0, 4)), 'shape'),
        ('zero123', np.zeros((2, 19)), 'shape'),
        ('zero123', [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0]], 'array of numbers'),
        ('zero123', [[0.0, 0.0, 1.0, 0.0], [np.nan, 0.0, 1.0, 0.0]], 'Pose 1 .* not finite'),
        ('zero123', [[np.inf, 0.0, 1.0, 0.0]], 'Pose 0 .* not finite'),
        ('zero123', [[45.0, 0.0, 1.0, 0.0]], 'radians'),
        ('zero123', [[0.0, 90.0, 0.0, 0.0]], 'sine'),
        ('zero123', zero123_pose([0.0], 0.0, -1.8, 0.0), 'nearer'),
        ('stable_zero123', [[0.0, 0.0, 1.0, 60.0]], 'polar angle'),
    ],
)
def test_a_pose_that_means_nothing_is_refused(family, poses, reason):
    with pytest.raises(LiftError, match=reason) as error:
        check_poses(poses, 4, family)
    assert error.value.code is ErrorCode.BAD_REQUEST


# Batches


@pytest.mark.parametrize(
    'error',
    [
        MemoryError(),
        torch.OutOfMemoryError('CUDA out of memory.'),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError('DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.'),
        RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate'),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_until_it_does(error):
    sizes = []

    def double(rows):
        sizes.append(len(rows))
        if len(rows) > 3:
            raise error
        return 2 * rows

    batches = Batches(16)
    rows = torch.arange(10.0)
    torch.testing.assert_close(batches.map(double, rows), 2 * rows)
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    # What was learned stays for the next step.
    batches.map(double, rows)
    assert sizes[7:] == [2, 2, 2, 2, 2]


def test_what_was_done_before_the_memory_ended_is_not_done_again():
    seen = []

    def fail_once(rows):
        if len(seen) == 1:
            seen.append('full')
            raise MemoryError
        seen.append(rows.tolist())
        return rows

    torch.testing.assert_close(Batches(2).map(fail_once, torch.arange(5)), torch.arange(5))
    assert seen == [[0, 1], 'full', [2], [3], [4]]


def test_the_allocator_itself_is_understood():
    with pytest.raises((MemoryError, RuntimeError)) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory.is_exhausted(error.value)


def test_one_row_that_does_not_fit_is_an_error_to_act_on():
    def never(rows):
        raise MemoryError

    with pytest.raises(LiftError) as error:
        Batches(4).map(never, torch.arange(3))
    assert error.value.code is ErrorCode.OUT_OF_MEMORY


def test_another_error_is_not_taken_for_want_of_memory():
    def wrong(rows):
        raise RuntimeError('mat1 and mat2 shapes cannot be multiplied')

    with pytest.raises(RuntimeError, match='shapes'):
        Batches(4).map(wrong, torch.arange(3))
