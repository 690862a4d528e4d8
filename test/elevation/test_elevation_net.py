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

"""The network that tells the elevation of the camera from one picture."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.weights import store

torch = pytest.importorskip('torch')

from lift3d_ros.elevation.regressor import ElevationConfig  # noqa: E402
from lift3d_ros.elevation.regressor import ElevationNet  # noqa: E402
from lift3d_ros.elevation.regressor import read_elevation  # noqa: E402
from lift3d_ros.elevation.regressor import write_elevation  # noqa: E402
from lift3d_ros.synthetic.true_views import true_view  # noqa: E402
from lift3d_ros.training.elevation import elevation_views  # noqa: E402
from lift3d_ros.training.elevation import ElevationData  # noqa: E402
from lift3d_ros.training.elevation import ElevationTask  # noqa: E402

SMALL = ElevationConfig(size=32, widths=(8, 16), blocks=1)


def view_of(seed, elevation):
    """Return a procedural object on a table, seen from about that elevation."""
    settings = TableSettings(
        elevation=(elevation - 0.5, elevation + 0.5),
        fill=(0.4, 0.6),
        camera=Camera(320, 240, 250.0, 250.0, 160.0, 120.0),
        window=1.4,
        table_cells=0,
    )
    scene = make_scene(procedural_object(seed), seed, settings)
    return crop_object(scene.frame, scene.mask)


def picture_of(view):
    rgba = np.dstack([view.image, view.alpha])
    return cv2.resize(rgba, (128, 128), interpolation=cv2.INTER_AREA)


def network(config=SMALL, seed=0):
    """Return a network with random weights whose answer depends on the picture."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = ElevationNet(config)
        for parameter in made.parameters():
            if parameter.ndim == 1:
                torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return made.eval()


@pytest.fixture(scope='module')
def views():
    return [view_of(seed, elevation) for seed, elevation in ((3, 20.0), (8, 60.0))]


def test_an_estimate_is_an_elevation_with_its_standard_deviation(views):
    made = network()
    low, high = made.config.low, made.config.high
    for view in views:
        degrees, stddev = made.estimate(picture_of(view))
        assert isinstance(degrees, float) and isinstance(stddev, float)
        assert low <= degrees <= high
        assert 0.0 < stddev <= high - low
        assert made.estimate_view(view) == (degrees, stddev)


def test_a_batch_has_one_logit_per_bin_and_any_size_of_picture():
    made = network()
    for size in (32, 64, 128):
        assert made(torch.rand(3, 4, size, size)).shape == (3, made.config.bins)


def test_the_same_picture_gives_the_same_answer_and_another_another(views):
    made = network()
    first, second = (picture_of(view) for view in views)
    assert made.estimate(first) == made.estimate(first)
    assert made.estimate(first) != made.estimate(second)
    # Also while it learns: estimating neither drops units out nor changes the mode.
    made.train()
    assert made.estimate(first) == made.eval().estimate(first)


def test_the_mirror_image_has_the_same_elevation(views):
    made = network()
    for view in views:
        picture = picture_of(view)
        np.testing.assert_allclose(
            made.estimate(np.ascontiguousarray(picture[:, ::-1])), made.estimate(picture),
            atol=1e-3,
        )


@pytest.mark.parametrize(
    'picture',
    [
        np.zeros((128, 128, 3), np.uint8),
        np.zeros((256, 256, 4), np.uint8),
        np.zeros((4, 128, 128), np.uint8),
        np.zeros((128, 128, 4), np.float32),
    ],
)
def test_another_kind_of_picture_is_refused(picture):
    with pytest.raises(LiftError, match='uint8 RGBA') as caught:
        network().estimate(picture)
    assert caught.value.code is ErrorCode.BAD_IMAGE


def test_a_picture_without_an_object_is_refused():
    empty = np.full((128, 128, 4), 255, np.uint8)
    empty[..., 3] = 0
    with pytest.raises(LiftError) as caught:
        network().estimate(empty)
    assert caught.value.code is ErrorCode.EMPTY_MASK


@pytest.mark.parametrize(
    'wrong',
    [{'size': 30}, {'widths': ()}, {'bins': 1}, {'low': 90.0}, {'stddev_factor': 0.0}],
)
def test_a_form_that_no_network_has_is_refused(wrong):
    with pytest.raises(ValueError, match=r'\S'):
        ElevationConfig(**wrong)


def test_what_is_written_is_read_again(tmp_path, views):
    made = network(dataclasses.replace(SMALL, stddev_factor=1.5))
    write_elevation(tmp_path / 'elevation', made)
    again = read_elevation(tmp_path / 'elevation')
    assert again.config == made.config
    for view in views:
        # Half precision has eleven bits.
        np.testing.assert_allclose(
            again.estimate(picture_of(view)), made.estimate(picture_of(view)), atol=0.3
        )
    assert not again.training
    write_elevation(tmp_path / 'second', again)
    assert (tmp_path / 'second/model.safetensors').read_bytes() == (
        tmp_path / 'elevation/model.safetensors'
    ).read_bytes()


def test_the_network_is_small_on_disk(tmp_path):
    write_elevation(tmp_path, ElevationNet())
    state = load_file(tmp_path / 'model.safetensors')
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {torch.float16}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_300_000


def test_a_file_that_is_missing_is_named(tmp_path):
    for name in ('config.json', 'model.safetensors'):
        folder = tmp_path / name.partition('.')[0]
        write_elevation(folder, network())
        (folder / name).unlink()
        with pytest.raises(LiftError) as caught:
            read_elevation(folder)
        assert caught.value.code is ErrorCode.WEIGHTS_MISSING


def test_files_that_do_not_fit_are_refused(tmp_path):
    def cut_short(folder):
        path = folder / 'model.safetensors'
        path.write_bytes(path.read_bytes()[:1000])

    def other_form(folder):
        path = folder / 'config.json'
        path.write_text(json.dumps({**json.loads(path.read_text()), 'widths': [8, 24]}))

    def no_form(folder):
        (folder / 'config.json').write_text('{}')

    for damage in (cut_short, other_form, no_form):
        folder = tmp_path / damage.__name__
        write_elevation(folder, network())
        damage(folder)
        with pytest.raises(LiftError) as caught:
            read_elevation(folder)
        assert caught.value.code is ErrorCode.WEIGHTS_CORRUPT


def sample_seen_from(elevations, level):
    """Return a sample's arrays: an object seen by target cameras from those elevations."""
    mesh = procedural_object(5)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    T_object_canonical = rigid(1.4 * float((high - low).max()) * np.eye(3), (low + high) / 2.0)
    poses = [orbit_pose(30.0, elevation, 1.7) for elevation in elevations]
    caster = Raycaster([mesh])
    targets = [true_view(caster, T_object_canonical, pose, 128, Light()) for pose in poses]
    return {
        'picture': np.zeros((128, 128, 4), np.uint8),
        'elevation': np.array(33.0, np.float32),
        'flags': np.array([1.0, float(level)], np.float32),
        'targets': np.stack(targets),
        'target_poses': np.stack(poses).astype(np.float32),
    }


def test_target_pictures_become_inputs_where_the_frame_is_level():
    found = elevation_views(sample_seen_from((5.0, 50.0), level=True))
    assert [degrees for _, degrees in found][0] == 33.0
    # The middle of the box that is cropped is not quite the point that the camera looks at.
    np.testing.assert_allclose([degrees for _, degrees in found[1:]], (5.0, 50.0), atol=8.0)
    for picture, _ in found[1:]:
        assert picture.shape == (128, 128, 4) and picture.dtype == np.uint8
        inside = picture[..., 3] > 127
        longer = max(np.ptp(np.flatnonzero(inside.any(0))), np.ptp(np.flatnonzero(inside.any(1))))
        assert abs(longer + 1 - 0.75 * 128) <= 2
        assert (picture[~inside & (picture[..., 3] == 0)][:, :3] == 255).all()
    tilted = elevation_views(sample_seen_from((5.0, 50.0), level=False))
    assert [degrees for _, degrees in tilted] == [33.0]


def test_a_target_off_the_axis_has_the_elevation_of_its_own_ray():
    sample = sample_seen_from((40.0,), level=True)
    moved = np.full_like(sample['targets'], 255)
    moved[..., 3] = 0
    rows = 20
    moved[:, :-rows] = sample['targets'][:, rows:]
    plain = elevation_views(sample)[1][1]
    higher = elevation_views({**sample, 'targets': moved})[1][1]
    # A ray through a higher pixel dips less below the horizon.
    focal = 64.0 / np.tan(np.radians(ZERO123_FOV / 2.0))
    assert 0.7 < (plain - higher) / np.degrees(np.arctan(rows / focal)) < 1.05


def test_batches_show_every_picture_and_do_not_mix_elevations(views):
    pictures = np.stack([picture_of(view) for view in views])
    data = ElevationData(pictures, np.array([20.0, 60.0], np.float32))
    made = data.batches(2, np.random.default_rng(0), 64)
    shares = []
    for _ in range(8):
        batch = next(made)
        assert batch['picture'].shape == (2, 64, 64, 4) and batch['picture'].dtype == np.uint8
        assert sorted(batch['elevation']) == [20.0, 60.0]
        for shown, degrees in zip(batch['picture'], batch['elevation'], strict=True):
            own = pictures[0 if degrees == 20.0 else 1]
            alpha = cv2.resize(own, (64, 64))[..., 3]
            shares.append(max(overlap(a, alpha) for a in (shown[..., 3], shown[:, ::-1, 3])))
            assert (shown[shown[..., 3] == 0][:, :3] == 255).all()
    assert np.mean(shares) > 0.7 and min(shares) > 0.4


def overlap(a, b):
    a, b = a > 127, b > 127
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_a_network_learns_to_tell_pictures_apart(views):
    samples = [
        {'picture': picture_of(view), 'elevation': np.float32(view.elevation())} for view in views
    ]
    data = ElevationData(
        np.stack([s['picture'] for s in samples]), np.array([s['elevation'] for s in samples])
    )
    task = ElevationTask(samples)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = ElevationNet(SMALL)
        before = task.evaluate(made.eval())
        optimizer = torch.optim.AdamW(made.train().parameters(), lr=5e-3)
        batches = data.batches(8, np.random.default_rng(0), 32)
        for step in range(60):
            batch = {name: torch.from_numpy(value) for name, value in next(batches).items()}
            loss = torch.stack(list(task.losses(made, batch, step).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        after = task.evaluate(made.eval())
    assert before['mean'] > 10.0
    assert after['mean'] < 5.0
    assert after['score'] == -after['mean']
    assert after['within_8'] == 1.0


def test_the_loop_trains_it_and_leaves_weights_that_can_be_read(tmp_path, views):
    pytest.importorskip('accelerate')
    from lift3d_ros.training.loop import LoopSettings
    from lift3d_ros.training.loop import train

    samples = [
        {'picture': picture_of(view), 'elevation': np.float32(view.elevation())} for view in views
    ]
    data = ElevationData(
        np.stack([s['picture'] for s in samples]), np.array([s['elevation'] for s in samples])
    )
    lines = []
    train(
        network(), ElevationTask(samples), data.batches(2, np.random.default_rng(0), 32),
        tmp_path, LoopSettings(minutes=0.05), report=lines.append,
    )
    entry = json.loads((tmp_path / 'curve.jsonl').read_text().splitlines()[-1])
    assert {'bins', 'degrees', 'median', 'sigma_1'} <= set(entry)
    made = ElevationNet(SMALL)
    made.load_state_dict(load_file(tmp_path / 'best.safetensors'))
    mean = np.mean([abs(made.estimate(s['picture'])[0] - s['elevation']) for s in samples])
    # The loop evaluates in bfloat16: angles have three digits in it, and an error of hundredths of
    # a degree, which two pictures are soon learned to, none.
    np.testing.assert_allclose(mean, entry['mean'], rtol=0.1, atol=0.1)


def test_the_packaged_network_tells_high_from_low():
    try:
        folder = store.find('small') / 'elevation'
    except LiftError:
        pytest.skip('the small weights are not there')
    if not folder.is_dir():
        pytest.skip('the small weights have no elevation network yet')
    packaged = read_elevation(folder)
    errors, ratios = [], []
    for seed in range(12):
        view = view_of(40_000 + seed, 12.0 + 5.0 * seed)
        degrees, stddev = packaged.estimate_view(view)
        errors.append(abs(degrees - view.elevation()))
        ratios.append(errors[-1] / stddev)
    # A constant guess errs by 15 degrees in the median.
    assert np.median(errors) < 10.0
    assert np.median(ratios) < 1.5
