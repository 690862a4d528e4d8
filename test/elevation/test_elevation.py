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

"""The elevation of the input camera: gravity, the search over nearby views, and failure."""

from __future__ import annotations

import sys
import types

import cv2
import numpy as np
import pytest
import torch

from lift3d_ros.elevation.estimate import ASSUMED_STDDEV
from lift3d_ros.elevation.estimate import ElevationSettings
from lift3d_ros.elevation.estimate import find_elevation
from lift3d_ros.elevation.estimate import GRAVITY_STDDEV
from lift3d_ros.elevation.estimate import NEARBY_STDDEV
from lift3d_ros.elevation.feature_search import NEARBY_OFFSETS
from lift3d_ros.elevation.feature_search import nearby_poses
from lift3d_ros.elevation.feature_search import on_object
from lift3d_ros.elevation.feature_search import PAIRS
from lift3d_ros.elevation.feature_search import search_elevation
from lift3d_ros.elevation.feature_search import search_matches
from lift3d_ros.elevation.matching import LoftrMatcher
from lift3d_ros.elevation.matching import make_matcher
from lift3d_ros.elevation.matching import Matches
from lift3d_ros.elevation.matching import SiftMatcher
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.weights.formats.tables import loftr_shapes

LENS = Camera.from_fov(256, 256, ZERO123_FOV)
WHITE = np.full((4, 256, 256, 3), 255, np.uint8)


def a_view(gravity=None):
    """Return the view of a grey disc a little off the middle of a camera's image."""
    camera = Camera(320, 240, 300.0, 300.0, 159.5, 119.5)
    image = np.full((240, 320, 3), 120, np.uint8)
    v, u = np.mgrid[:240, :320]
    return crop_object(Frame(image, camera, gravity=gravity), np.hypot(u - 180, v - 90) < 40)


def nearby_views(mesh, elevation, azimuth=0.0, radius=1.7):
    """Return the true pictures of the four nearby cameras about a mesh, on white."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    size, middle = float((high - low).max()), (low + high).astype(np.float64) / 2.0
    turn = np.radians(azimuth)
    about = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    lamp = spherical(azimuth - 40.0, elevation + 35.0, 1.0)
    caster, fine = Raycaster([mesh]), Camera.from_fov(512, 512, ZERO123_FOV)
    pictures = []
    for pose in nearby_poses(elevation, radius):
        T = rigid(about @ pose[:3, :3], about @ pose[:3, 3] * size + middle)
        picture = caster.render(fine, T, Light(tuple(lamp)), supersampling=1).image
        pictures.append(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA))
    return np.stack(pictures)


def exact_matches(elevation, count=150, radius=1.7, false=0, seed=0):
    """Return matches of points on a sphere as the nearby cameras see them, some of them false."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3))
    points *= 0.4 / np.linalg.norm(points, axis=1, keepdims=True)
    places = []
    for pose in nearby_poses(elevation, radius):
        u, v, _ = LENS.project(transform(invert(pose), points))
        places.append(np.stack([u, v], axis=1))
    matches = []
    for i, j in PAIRS:
        second = places[j].copy()
        second[:false] = rng.uniform(60.0, 200.0, (false, 2))
        matches.append(Matches(places[i], second, rng.uniform(0.3, 1.0, count)))
    return matches


class Recorded:
    """A matcher that returns what it was given."""

    def __init__(self, matches):
        self.matches = matches

    def match(self, images, pairs):
        """Return the matches, whatever the images."""
        assert tuple(pairs) == PAIRS
        return self.matches


def code_of(call):
    """Return the code of the error that a call raises."""
    with pytest.raises(LiftError) as caught:
        call()
    return caught.value.code


# Gravity and what is given


@pytest.mark.parametrize('angle', [-30.0, 0.0, 12.5, 60.0])
def test_gravity_gives_the_elevation_exactly(angle):
    dip = np.radians(angle)
    view = a_view()
    ray = view.camera.unproject(127.5, 127.5, 1.0)
    ray = ray / np.linalg.norm(ray)
    across = np.cross(ray, [1.0, 0.0, 0.0])
    across = across / np.linalg.norm(across)
    view = a_view(np.sin(dip) * ray + np.cos(dip) * across)
    found = find_elevation(view)
    assert found.degrees == pytest.approx(angle, abs=1e-6)
    assert (found.stddev, found.source, found.how) == (GRAVITY_STDDEV, 'gravity', 'gravity')


def test_gravity_goes_before_every_estimate():
    def never(view):
        raise AssertionError('an estimate was asked for')

    found = find_elevation(a_view((0.0, 1.0, 0.0)), ElevationSettings(), never, never)
    assert found.source == 'gravity'


def test_a_given_elevation_is_taken_unless_gravity_contradicts_it():
    settings = ElevationSettings(given=33.0)
    found = find_elevation(a_view(), settings, lambda view: (5.0, 1.0))
    assert (found.degrees, found.stddev, found.source, found.how) == (33.0, 0.0, 'given', 'given')
    level = a_view((0.0, 1.0, 0.0))
    assert code_of(lambda: find_elevation(level, settings)) is ErrorCode.BAD_REQUEST
    near = level.elevation() + 1.0
    assert find_elevation(level, ElevationSettings(given=near)).source == 'gravity'


# The order of the estimates, and failure


def test_a_learned_estimate_is_taken_if_it_is_certain_enough():
    found = find_elevation(a_view(), None, lambda view: (21.0, 6.0))
    assert (found.degrees, found.stddev, found.source, found.how) == (
        21.0, 6.0, 'estimated', 'learned')
    with pytest.raises(LiftError, match='standard deviation of 31 degrees') as caught:
        find_elevation(a_view(), None, lambda view: (21.0, 31.0))
    assert caught.value.code is ErrorCode.ELEVATION_UNKNOWN


@pytest.mark.parametrize('wrong', [(np.nan, 3.0), (20.0, np.nan), (120.0, 3.0), (20.0, -1.0)])
def test_an_estimate_that_is_no_elevation_is_a_failure(wrong):
    assert code_of(
        lambda: find_elevation(a_view(), None, lambda view: wrong)
    ) is ErrorCode.ELEVATION_UNKNOWN


def test_matches_are_asked_where_the_learned_estimate_fails():
    grey = WHITE - 100
    matcher = Recorded(exact_matches(27.0))
    found = find_elevation(
        a_view(), None, lambda view: (50.0, 40.0), lambda view: grey, matcher=matcher)
    assert (found.degrees, found.source, found.how) == (27.0, 'estimated', 'matches')
    # Even where the views agree, they are a network's.
    assert NEARBY_STDDEV <= found.stddev < NEARBY_STDDEV + 1.0
    # The method names one of the two.
    found = find_elevation(
        a_view(), ElevationSettings(method='matches'), lambda view: (50.0, 2.0),
        lambda view: grey, matcher=matcher)
    assert found.how == 'matches'
    assert code_of(
        lambda: find_elevation(
            a_view(), ElevationSettings(method='gravity'), lambda view: (50.0, 2.0),
            lambda view: grey)
    ) is ErrorCode.ELEVATION_UNKNOWN


def test_white_views_fail_and_only_an_allowed_value_is_assumed():
    with pytest.raises(LiftError, match='no gravity.*have no matches') as caught:
        find_elevation(a_view(), None, None, lambda view: WHITE)
    assert caught.value.code is ErrorCode.ELEVATION_UNKNOWN
    found = find_elevation(a_view(), ElevationSettings(assumed=30.0), None, lambda view: WHITE)
    assert (found.degrees, found.source, found.how) == (30.0, 'assumed', 'assumed')
    assert found.stddev == ASSUMED_STDDEV > 20.0


def test_other_errors_of_the_estimates_are_not_taken_for_an_unknown_elevation():
    def cancelled(view):
        raise LiftError(ErrorCode.CANCELLED, 'ended')

    settings = ElevationSettings(assumed=30.0)
    assert code_of(
        lambda: find_elevation(a_view(), settings, None, cancelled)) is ErrorCode.CANCELLED


@pytest.mark.parametrize('settings', [
    {'method': 'guess'}, {'matcher': 'orb'}, {'search': 'best'}, {'assumed': float('nan')},
    {'given': float('inf')}, {'given': 95.0}, {'max_stddev': float('nan')}, {'max_stddev': 0.0},
    {'given': 20.0, 'assumed': 30.0}, {'given': 20.0, 'method': 'learned'},
])
def test_settings_that_cannot_be_are_refused(settings):
    assert code_of(lambda: ElevationSettings(**settings)) is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize('method', ['learned', 'matches'])
def test_a_method_that_the_weights_do_not_offer_is_refused(method):
    settings = ElevationSettings(method=method, assumed=30.0)
    assert code_of(lambda: find_elevation(a_view(), settings)) is ErrorCode.BAD_REQUEST


def test_nearby_views_of_another_shape_are_refused():
    for images in (WHITE[:3], WHITE[:, :128], WHITE.astype(np.float32)):
        assert code_of(
            lambda images=images: find_elevation(a_view(), None, None, lambda view: images)
        ) is ErrorCode.BAD_IMAGE


# The search


def test_the_nearby_cameras_are_those_of_the_published_search():
    # Polar -10, +10, then azimuth -10, +10: up is a smaller polar angle.
    assert NEARBY_OFFSETS == ((10.0, 0.0), (-10.0, 0.0), (0.0, -10.0), (0.0, 10.0))
    places = nearby_poses(20.0, 2.0)[:, :3, 3]
    np.testing.assert_allclose(np.degrees(np.arcsin(places[:, 2] / 2.0)), [30, 10, 20, 20])
    np.testing.assert_allclose(
        np.degrees(np.arctan2(places[:, 1], places[:, 0])), [0, 0, -10, 10], atol=1e-9)


@pytest.mark.parametrize('variant', ['fixed', 'faithful'])
@pytest.mark.parametrize('elevation', [-43.0, -7.0, 0.0, 4.0, 35.0, 61.0])
def test_exact_matches_give_exactly_the_elevation(elevation, variant):
    # Neither the distance nor the size is known to the search.
    for radius in (1.2, 1.7, 4.0):
        found = search_matches(exact_matches(elevation, radius=radius), variant=variant)
        assert found.elevation == elevation
        assert found.error < 1e-3
        assert found.stddev < 0.5


def test_the_grid_is_the_published_one():
    found = search_matches(exact_matches(24.0))
    polar = 90.0 - found.tried
    np.testing.assert_allclose(polar[:12], np.arange(30, 150, 10))
    np.testing.assert_allclose(polar[12:], 70.0 + np.arange(-10, 10))


def test_one_false_match_in_three_does_not_mislead_the_fixed_search():
    found = search_matches(exact_matches(24.0, count=120, false=40))
    assert abs(found.elevation - 24.0) <= 1.0
    assert found.error > 1.0


def test_matches_without_any_sense_fail():
    matches = exact_matches(24.0, count=60, false=60)
    assert code_of(lambda: search_matches(matches)) is ErrorCode.ELEVATION_UNKNOWN


def test_too_few_tracks_and_views_that_are_all_the_same_fail():
    matches = exact_matches(24.0)
    still = [Matches(matches[0].first, matches[0].first, found.confidence) for found in matches]
    for insufficient in (
        exact_matches(24.0, count=1),
        still,
        [*matches[:5], matches[5].where(np.zeros(150, bool))],
    ):
        assert code_of(
            lambda given=insufficient: search_matches(given)) is ErrorCode.ELEVATION_UNKNOWN


def test_an_elevation_outside_of_the_range_is_not_taken_for_its_end():
    assert code_of(
        lambda: search_matches(exact_matches(78.0))) is ErrorCode.ELEVATION_UNKNOWN


def test_faithful_looks_up_the_first_end_in_the_column_of_the_second():
    images = WHITE.copy()
    images[:, :, :100] = 90
    ends = np.array([[80.0, 50.0], [120.0, 50.0], [80.0, 60.0]])
    others = np.array([[90.0, 50.0], [90.0, 50.0], [110.0, 60.0]])
    matches = [Matches(ends, others, np.ones(3))] * 6
    assert all(len(kept) == 1 for kept in on_object(images, matches))
    assert all(len(kept) == 2 for kept in on_object(images, matches, 'faithful'))


def test_faithful_lets_a_far_match_outweigh_the_others():
    matches = exact_matches(24.0, count=120, false=40)
    assert search_matches(matches).error < 60.0
    try:
        published = search_matches(matches, variant='faithful').error
    except LiftError as error:
        assert error.code is ErrorCode.ELEVATION_UNKNOWN
    else:
        assert published > 60.0


@pytest.mark.parametrize(('family', 'seed', 'elevation'), [
    ('jar', 1, 12.0), ('carton', 1, 33.0), ('can', 3, 47.0), ('bottle', 3, 33.0),
])
def test_true_nearby_pictures_give_the_elevation(family, seed, elevation):
    images = nearby_views(procedural_object(seed, family), elevation, azimuth=25.0)
    found = search_elevation(images, SiftMatcher())
    assert abs(found.elevation - elevation) <= 4.0
    assert found.stddev < 5.0


def test_grey_pictures_give_the_elevation_and_four_times_the_same_one_does_not():
    images = nearby_views(procedural_object(1, 'carton'), 33.0, azimuth=25.0)
    grey = np.repeat(images.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3)
    assert abs(search_elevation(grey, SiftMatcher()).elevation - 33.0) <= 4.0
    same = np.stack([images[0]] * 4)
    assert code_of(
        lambda: search_elevation(same, SiftMatcher())) is ErrorCode.ELEVATION_UNKNOWN


# Matchers


def test_sift_finds_a_shift_and_is_silent_on_white():
    rng = np.random.default_rng(3)
    picture = cv2.GaussianBlur(rng.integers(0, 220, (256, 256, 3), np.uint8), (0, 0), 2.0)
    picture = cv2.normalize(picture, None, 0, 220, cv2.NORM_MINMAX)
    moved = np.roll(picture, (5, 12), axis=(0, 1))
    found, none = SiftMatcher().match([picture, moved, WHITE[0]], [(0, 1), (0, 2)])
    assert len(found) > 50
    assert len(none) == 0
    np.testing.assert_allclose(
        np.median(found.second - found.first, axis=0), [12.0, 5.0], atol=0.2)
    assert ((found.confidence > 0.0) & (found.confidence <= 1.0)).all()


def test_loftr_names_the_package_and_the_weights_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, 'kornia.feature', None)
    with pytest.raises(ModuleNotFoundError, match='kornia.*lift3d weights import'):
        make_matcher('loftr')


@pytest.fixture
def kornia(monkeypatch):
    """Put a stand-in for kornia's LoFTR in place that matches every picture by one shift."""
    class Network(torch.nn.Module):
        made = None

        def __init__(self, pretrained, config):
            super().__init__()
            assert pretrained is None
            self.config, Network.made = config, self

        def load_state_dict(self, state):
            self.state = state

        def forward(self, data):
            assert data['image0'].shape == (1, 1, 480, 480)
            assert float(data['image0'].max()) <= 1.0
            points = torch.tensor([[239.5, 119.5], [300.0, 200.0]])
            return {'keypoints0': points, 'keypoints1': points + 15.0,
                    'confidence': torch.tensor([0.9, 0.4])}

    feature = types.ModuleType('kornia.feature')
    feature.LoFTR = Network
    loftr = types.ModuleType('kornia.feature.loftr.loftr')
    loftr.default_cfg = {'coarse': {'temp_bug_fix': False}}
    for name, module in {'kornia': types.ModuleType('kornia'), 'kornia.feature': feature,
                         'kornia.feature.loftr': types.ModuleType('kornia.feature.loftr'),
                         'kornia.feature.loftr.loftr': loftr}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return Network


def test_loftr_takes_imported_weights_and_returns_pixels_of_the_picture(kornia, tmp_path):
    state = {f'matcher.{name}': torch.zeros(shape) for name, shape in loftr_shapes().items()}
    torch.save({'state_dict': state}, tmp_path / 'indoor_ds_new.ckpt')
    matcher = LoftrMatcher(tmp_path / 'indoor_ds_new.ckpt')
    assert set(kornia.made.state) == set(loftr_shapes())
    assert kornia.made.config['coarse']['temp_bug_fix'] is True
    (found,) = matcher.match(list(WHITE[:2]), [(0, 1)])
    # The middle of the scaled picture is the middle of the picture.
    np.testing.assert_allclose(found.first[0], [127.5, 63.5])
    np.testing.assert_allclose(found.second - found.first, 8.0)
    np.testing.assert_allclose(found.confidence, [0.9, 0.4])


def test_loftr_without_its_weights_says_what_to_bring(kornia, tmp_path, monkeypatch):
    monkeypatch.setenv('LIFT3D_WEIGHTS', str(tmp_path))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    with pytest.raises(LiftError, match='lift3d weights') as caught:
        make_matcher('loftr')
    assert caught.value.code is ErrorCode.WEIGHTS_MISSING
