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

"""Tests of Zero123++: its cameras and tiles, and its network with small random weights."""

from diffusers import EulerAncestralDiscreteScheduler
import pytest
import torch
from zero123_helpers import make_components
from zero123_helpers import make_image
from zero123_helpers import make_unet
from zero123_helpers import one_thread  # noqa: F401
from zero123_helpers import WIDTH

from lift3d_ros.diffusion.zero123plus import join_tiles
from lift3d_ros.diffusion.zero123plus import reference_attention
from lift3d_ros.diffusion.zero123plus import scale_image
from lift3d_ros.diffusion.zero123plus import scale_latents
from lift3d_ros.diffusion.zero123plus import split_tiles
from lift3d_ros.diffusion.zero123plus import synthesize_six
from lift3d_ros.diffusion.zero123plus import unscale_image
from lift3d_ros.diffusion.zero123plus import unscale_latents
from lift3d_ros.diffusion.zero123plus import VIEWS_V11
from lift3d_ros.diffusion.zero123plus import VIEWS_V12
from lift3d_ros.diffusion.zero123plus import Zero123PlusComponents
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.progress import Progress

TOKENS = 5


def make_plus(seed=0):
    """Return a model with random weights; its autoencoder halves the picture once."""
    parts = make_components(seed=seed)
    torch.manual_seed(seed + 1)
    return Zero123PlusComponents(
        unet=make_unet(4, 4).eval(),
        vae=parts.vae.eval(),
        vision_encoder=parts.image_encoder.eval(),
        scheduler=EulerAncestralDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear',
            prediction_type='v_prediction', timestep_spacing='trailing',
        ),
        empty_text=torch.randn(1, TOKENS, WIDTH),
        ramping_coefficients=torch.linspace(0.0, 1.0, TOKENS),
    )


def make_six(image, parts=None, **options):
    return synthesize_six(parts or make_plus(), image, steps=3, tile=16, **options)


def test_the_cameras_stand_as_published():
    for views, up, down in ((VIEWS_V11, 30.0, -20.0), (VIEWS_V12, 20.0, -10.0)):
        assert views.azimuths == (30.0, 90.0, 150.0, 210.0, 270.0, 330.0)
        assert views.elevations == (up, down, up, down, up, down)
    assert VIEWS_V12.fov == 30.0


def test_the_tiles_lie_two_beside_each_other_and_three_above_each_other():
    picture = torch.zeros(3, 960, 640)
    for i in range(6):
        row, column = divmod(i, 2)
        picture[:, 320 * row:320 * row + 320, 320 * column:320 * column + 320] = i
    tiles = split_tiles(picture)
    assert tiles.shape == (6, 3, 320, 320)
    for i in range(6):
        assert (tiles[i] == i).all()


def test_splitting_keeps_pixels_where_they_are_and_joining_undoes_it():
    picture = torch.randn(4, 6, 10)
    tiles = split_tiles(picture)
    assert tiles[3, 1, 0, 2] == picture[1, 2, 7]
    assert torch.equal(join_tiles(tiles), picture)


@pytest.mark.parametrize('shape', [(3, 961, 640), (3, 960, 641), (1, 3, 960, 640)])
def test_a_picture_that_six_tiles_do_not_fill_is_refused(shape):
    with pytest.raises(LiftError) as error:
        split_tiles(torch.zeros(shape))
    assert error.value.code is ErrorCode.BAD_REQUEST


def test_the_scales_are_undone():
    x = torch.linspace(-2.0, 2.0, 5)
    torch.testing.assert_close(unscale_latents(scale_latents(x)), x)
    torch.testing.assert_close(unscale_image(scale_image(x)), x)
    assert float(scale_latents(torch.tensor(1.22))) == pytest.approx(0.75)
    assert float(scale_image(torch.tensor(0.8))) == pytest.approx(0.5)


def test_six_views_come_out_the_same_each_time():
    views = make_six(make_image())
    assert views.shape == (6, 3, 16, 16)
    assert float(views.abs().max()) <= 1.0
    torch.manual_seed(5)
    assert torch.equal(make_six(make_image()), views)
    assert not torch.allclose(make_six(make_image(), seed=1), views, atol=1e-3)


def test_the_reference_reaches_the_views_without_the_embedding():
    # No embedding in the tokens: what is left of the input is reference attention.
    parts = make_plus()
    parts.ramping_coefficients = torch.zeros(TOKENS)
    one, other = make_six(make_image(0), parts), make_six(make_image(1), parts)
    assert float((one - other).abs().max()) > 1e-4


def test_the_embedding_reaches_the_views_by_the_ramp():
    parts = make_plus()
    with_ramp = make_six(make_image(), parts)
    parts.ramping_coefficients = torch.zeros(TOKENS)
    assert float((with_ramp - make_six(make_image(), parts)).abs().max()) > 1e-4


def test_a_target_attends_to_itself_and_to_what_was_recorded():
    unet = make_unet(4, 4).eval()
    x, y, tokens = torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16), torch.randn(1, 2, WIDTH)

    def run(sample):
        with torch.no_grad():
            return unet(sample, 500, encoder_hidden_states=tokens).sample

    plain = run(x)
    with reference_attention(unet) as references:
        assert len(references) == 4
        # Nothing is recorded yet: the network is the plain one.
        torch.testing.assert_close(run(x), plain)

        def after(reference):
            for attention in references:
                attention.record = True
            recorded = run(reference)
            for attention in references:
                attention.record = False
            return recorded, run(x)

        recorded, changed = after(y)
        # The recording pass itself sees no reference.
        torch.testing.assert_close(recorded, run_plain(unet, y, tokens))
        assert float((changed - plain).abs().max()) > 1e-5
        # Its own states twice over: the same weights of attention, the same result.
        torch.testing.assert_close(after(x)[1], plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(run(x), plain)


def run_plain(unet, sample, tokens):
    """Run a copy of the network that has no reference attention."""
    copy = make_unet(4, 4).eval()
    copy.load_state_dict(unet.state_dict())
    with torch.no_grad():
        return copy(sample, 500, encoder_hidden_states=tokens).sample


def test_it_can_be_cancelled_between_steps_and_leaves_the_network_as_it_was():
    parts = make_plus()
    before = {name: type(p) for name, p in parts.unet.attn_processors.items()}
    asked = []

    def cancelled():
        asked.append(None)
        return len(asked) > 2

    with pytest.raises(LiftError) as error:
        make_six(make_image(), parts, progress=Progress(cancelled=cancelled))
    assert error.value.code is ErrorCode.CANCELLED
    assert {name: type(p) for name, p in parts.unet.attn_processors.items()} == before


@pytest.mark.parametrize('image', [torch.zeros(1, 3, 32, 32), torch.full((3, 32, 32), torch.nan)])
def test_an_image_of_another_kind_is_refused(image):
    with pytest.raises(LiftError) as error:
        make_six(image)
    assert error.value.code is ErrorCode.BAD_REQUEST
