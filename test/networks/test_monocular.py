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

"""The network that tells the depth of what one picture shows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lift3d_ros.diffusion.small import read_small
from lift3d_ros.diffusion.small import tensors
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import upright_sides
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.networks.small.coarse_inputs import coarse_inputs
from lift3d_ros.networks.small.coarse_inputs import EXTENT
from lift3d_ros.networks.small.coarse_inputs import voxel_centres
from lift3d_ros.networks.small.monocular import MonocularNet
from lift3d_ros.networks.small.monocular import origin_depth
from lift3d_ros.networks.small.monocular import predicted_length
from lift3d_ros.networks.small.monocular import read_monocular
from lift3d_ros.networks.small.monocular import with_predicted_depth
from lift3d_ros.networks.small.monocular import write_monocular
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.training.augmentation import mirrored as mirror_sample
from lift3d_ros.training.monocular import depth_views
from lift3d_ros.training.monocular import MonocularTask
from lift3d_ros.training.monocular import visible_depth
from lift3d_ros.training.samples import make_sample
from lift3d_ros.training.samples import SampleSettings
from lift3d_ros.weights.store import find

FOCAL, CENTRE = torch.tensor([220.0, 220.0]), torch.tensor([63.5, 63.5])


def camera_above() -> torch.Tensor:
    """Return a camera 2 units above the origin that looks straight down."""
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    pose[2, 3] = 2.0
    return pose


def test_the_depth_of_a_ball_is_that_of_its_near_half():
    ball = torch.from_numpy(np.linalg.norm(voxel_centres(64), axis=-1) < 0.4)
    depth = visible_depth(ball, camera_above(), FOCAL, CENTRE)
    assert depth.shape == (64, 64)
    middle = depth[31:33, 31:33].mean()
    assert middle == pytest.approx(1.6, abs=EXTENT / 64)
    # A ray beside the ball meets nothing; one to its rim meets it at the distance of its middle.
    assert depth[0, 0] == 0.0
    radius = float((depth > 0.0).sum()) ** 0.5 / np.pi**0.5
    assert radius == pytest.approx(110.0 * np.tan(np.arcsin(0.4 / 2.0)), rel=0.04)


def told(depth: bool) -> dict[str, torch.Tensor]:
    """Return what the networks are told of a can, with or without its depth."""
    scene = make_scene(procedural_object(5, 'can'), 1, TableSettings(window=1.5, table_cells=8))
    frame = scene.frame if depth else replace(scene.frame, depth=None)
    view = crop_object(frame, scene.mask)
    elevation = view.elevation()
    assert elevation is not None
    return tensors(coarse_inputs(view, canonical_frame(view, elevation), True), 'cpu')


def test_a_measured_depth_stands_and_a_missing_one_is_guessed_on_the_object():
    network = MonocularNet().eval().requires_grad_(False)
    measured = told(depth=True)
    assert with_predicted_depth(measured, network) is measured
    assert predicted_length(measured, network) is None
    missing = told(depth=False)
    assert with_predicted_depth(missing, None) is missing
    guessed = with_predicted_depth(missing, network)
    shown = missing['picture'][:, 3] > 0.5
    assert torch.equal(guessed['depth'] > 0.0, shown)
    assert not missing['depth'].any()
    # Nobody shall take it for measured.
    assert torch.equal(guessed['flags'], missing['flags'])


def test_an_untrained_network_puts_everything_about_the_middle():
    network = MonocularNet().eval().requires_grad_(False)
    torch.nn.init.zeros_(network.out.weight)
    torch.nn.init.zeros_(network.out.bias)
    missing = told(depth=False)
    depth = with_predicted_depth(missing, network)['depth']
    origin = missing['pose'][0, :3, :3].T @ -missing['pose'][0, :3, 3]
    assert origin_depth(missing['focal'], missing['centre'], missing['pose'])[0] == pytest.approx(
        float(origin[2]), rel=1e-4
    )
    assert depth[depth > 0.0].numpy() == pytest.approx(float(origin[2]), rel=1e-4)


def test_a_picture_and_its_mirror_image_have_the_same_depths_and_length():
    network = MonocularNet().eval().requires_grad_(False)
    missing = told(depth=False)
    sample = {name: value[0].numpy() for name, value in missing.items()}
    sample['picture'] = sample['picture'].transpose(1, 2, 0)
    turned = mirror_sample(sample)
    turned['picture'] = turned['picture'].transpose(2, 0, 1)
    other = {name: torch.from_numpy(value)[None].float() for name, value in turned.items()}
    depth, mirror = (with_predicted_depth(each, network)['depth'] for each in (missing, other))
    assert torch.allclose(depth, mirror.flip(-1), atol=1e-5)
    lengths = [predicted_length(each, network) for each in (missing, other)]
    assert all(one is not None and one.shape == (1,) for one in lengths)
    assert lengths[0].item() == pytest.approx(lengths[1].item(), rel=1e-5)
    # It is the mirror's doing: one picture alone tells an untrained network something else.
    names = ('picture', 'focal', 'centre', 'pose', 'flags')
    alone = [network(*(each[name] for name in names)) for each in (missing, other)]
    assert not torch.allclose(alone[0][0], alone[1][0].flip(-1), atol=1e-3)


def test_the_packaged_network_sees_more_than_a_flat_picture():
    network = read_small(find('small')).monocular
    assert network is not None
    settings = SampleSettings(
        occluded=0.0, noisy_masks=0.0, gravity=1.0, depth=0.0, targets=1, varied=False
    )
    samples = []
    for number in range(900, 924):
        sample = make_sample(number, (), settings)
        samples.append({name: getattr(sample, name) for name in sample.__dataclass_fields__})
    scores = MonocularTask(samples).evaluate(network)
    assert scores['depth'] < 0.75 * scores['flat']
    # As long as its picture, which is what one would say who knew no better.
    lengths = np.log([float(sample['sides'][0].max()) for sample in samples])
    assert scores['longest'] < 0.65 * np.abs(lengths).mean()


def test_the_pictures_of_a_sample_have_their_depths():
    sample = make_sample(7, (), SampleSettings(targets=2))
    arrays = {name: getattr(sample, name) for name in sample.__dataclass_fields__}
    views = depth_views(arrays)
    assert len(views) == 3
    for view in views:
        shown = view['picture'][::2, ::2, 3] > 127
        # What is seen has a depth; an occluder may hide what has one.
        assert (view['surface_depth'][shown] > 0.0).mean() > 0.9
        assert view['surface_depth'].dtype == np.float32


def test_the_sides_of_a_sample_are_those_of_its_solid():
    for number in (3, 4, 8, 11):
        sample = make_sample(number, (), SampleSettings(targets=2, gravity=1.0))
        inside = voxel_centres(len(sample.solid))[sample.solid]
        # The cube of the grid may cut a long object; here it holds all.
        assert np.abs(inside).max() < 0.48 * EXTENT
        sides = upright_sides(inside, np.array([0.0, 0.0, 1.0]))
        middle = 0.5 * (inside.min(axis=0) + inside.max(axis=0))
        for pose, told in zip([sample.pose, *sample.target_poses], sample.sides, strict=True):
            depth, origin = transform(invert(pose), [middle, np.zeros(3)])[:, 2]
            assert told * depth / origin == pytest.approx(sides, abs=2.5 * EXTENT / 64)


def test_a_network_is_read_as_it_was_written(tmp_path):
    network = MonocularNet()
    write_monocular(tmp_path, network, torch.float32)
    again = read_monocular(tmp_path)
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    (tmp_path / 'config.json').write_text('{"widths": [8], "depth": 3}')
    with pytest.raises(LiftError) as error:
        read_monocular(tmp_path)
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT
