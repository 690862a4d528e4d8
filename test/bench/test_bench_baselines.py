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


"""The baselines, the mean shape and what each track withholds."""

from __future__ import annotations

from bench_helpers import box
from bench_helpers import sphere
from bench_helpers import write_objects
import numpy as np
import pytest

from lift3d_ros.bench import metrics
from lift3d_ros.bench.baselines import ASSUMED_DISTANCE
from lift3d_ros.bench.baselines import average
from lift3d_ros.bench.baselines import ConvexHull
from lift3d_ros.bench.baselines import MeanShape
from lift3d_ros.bench.baselines import MirroredCloud
from lift3d_ros.bench.baselines import observed_points
from lift3d_ros.bench.baselines import PartialCloud
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.predictors import check_names
from lift3d_ros.bench.predictors import make_predictor
from lift3d_ros.bench.scenes import choose_mask
from lift3d_ros.bench.scenes import draw_occluders
from lift3d_ros.bench.scenes import make_bench_scene
from lift3d_ros.bench.scenes import TRACKS
from lift3d_ros.bench.score import score
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings


@pytest.fixture(scope='module')
def ball():
    """Return a scene of a ball, half of which is seen."""
    return make_scene(
        sphere(0.05), 3, TableSettings(elevation=(30.0, 30.0), fill=(0.25, 0.25)))


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    """Return the objects of a folder of balls and boxes."""
    folder = tmp_path_factory.mktemp('train')
    meshes = {'ball': sphere(0.05), 'box': box((0.2, 0.1, 0.1)), 'cube': box()}
    return find_objects(write_objects(folder, **meshes))


def figures(scene, prediction):
    """Return the figures of a prediction of a scene."""
    return score(prediction, Truth(scene.mesh, scene.T_camera_object))


def test_the_partial_cloud_is_the_near_side_of_the_object(ball):
    points = PartialCloud().predict(ball.frame, ball.mask, 0).points
    distance = metrics.Solid(ball.mesh_in_camera()).distance(points)
    assert np.median(distance) < 0.002
    middle = ball.mesh_in_camera().vertices.mean(axis=0)
    assert (np.linalg.norm(points, axis=1) < np.linalg.norm(middle)).mean() > 0.95


def test_lone_outliers_are_dropped(ball):
    depth = ball.frame.depth.copy()
    v, u = np.argwhere(ball.mask & (depth > 0.0))[1000]
    depth[v, u] += 0.5
    frame = type(ball.frame)(ball.frame.image, ball.frame.camera, depth, ball.frame.gravity)
    assert observed_points(frame, ball.mask)[:, 2].max() < depth[v, u] - 0.3


def test_the_hull_is_closed_and_lacks_the_far_side(ball):
    prediction = ConvexHull().predict(ball.frame, ball.mask, 0)
    assert prediction.mesh.is_watertight()
    assert prediction.mesh.volume() > 0.0
    assert 0.2 < figures(ball, prediction)['iou'] < 0.85


def test_the_mirrored_cloud_completes_a_ball_better_than_nothing(ball):
    partial = figures(ball, PartialCloud().predict(ball.frame, ball.mask, 0))
    mirrored = figures(ball, MirroredCloud().predict(ball.frame, ball.mask, 0))
    assert mirrored['chamfer_mm'] < 0.8 * partial['chamfer_mm']


@pytest.mark.parametrize('baseline', [PartialCloud, ConvexHull, MirroredCloud])
def test_what_has_no_depth_is_refused(ball, baseline):
    frame = TRACKS['rgb'].strip(ball.frame)
    with pytest.raises(LiftError) as caught:
        baseline().predict(frame, ball.mask, 0)
    assert caught.value.code is ErrorCode.NO_DEPTH_IN_MASK


def test_points_in_a_plane_have_no_hull(ball):
    frame = type(ball.frame)(
        ball.frame.image, ball.frame.camera, np.full(ball.mask.shape, 0.5, np.float32))
    with pytest.raises(LiftError) as caught:
        ConvexHull().predict(frame, ball.mask, 0)
    assert caught.value.code is ErrorCode.NO_SURFACE


def test_the_mean_shape_is_closed_round_and_fills_its_box(training):
    mesh = average(training).mesh
    assert mesh.is_watertight()
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), 1.0, atol=0.1)
    # Between a ball (pi / 6) and a box (1).
    assert 0.5 < mesh.volume() <= 1.0
    quarter = mesh.vertices[:, [1, 0, 2]]
    assert metrics.Solid(mesh).distance(quarter).max() < 0.05


def test_the_mean_shape_is_kept_and_put_where_the_object_is_seen(training, ball, tmp_path):
    average(training[:1]).write(tmp_path / 'mean.npz')
    shape = make_predictor('mean', tmp_path / 'mean.npz', 60.0)
    found = figures(ball, shape.predict(ball.frame, ball.mask, 0))
    # Smaller than the ball: its foot is hidden.
    assert found['iou'] > 0.45
    assert found['centre_mm'] < 15.0
    assert found['scale_error'] < 0.25


def test_without_depth_the_mean_shape_is_put_on_the_line_of_sight(training, ball):
    blind = TRACKS['rgb-blind'].strip(ball.frame)
    for frame in (TRACKS['rgb'].strip(ball.frame), blind):
        mesh = average(training).predict(frame, ball.mask, 0).mesh
        assert mesh.is_watertight()
        middle = mesh.vertices.mean(axis=0)
        assert np.linalg.norm(middle) == pytest.approx(ASSUMED_DISTANCE, rel=0.02)
        true = ball.mesh_in_camera().vertices.mean(axis=0)
        assert middle @ true / np.linalg.norm(middle) / np.linalg.norm(true) > 0.999


def test_a_broken_mean_shape_is_named(tmp_path):
    (tmp_path / 'mean.npz').write_bytes(b'no')
    with pytest.raises(LiftError, match=r'mean\.npz'):
        MeanShape.read(tmp_path / 'mean.npz')


def test_an_unknown_predictor_is_refused_with_the_known_ones():
    with pytest.raises(LiftError, match='partial, hull, mirrored, mean, geometric'):
        check_names(['hull', 'wizard'])


# Tracks


def test_a_track_withholds_what_its_name_says(ball):
    given = {name: track.strip(ball.frame) for name, track in TRACKS.items()}
    assert given['rgbd'].depth is not None
    assert given['rgbd'].gravity is not None
    assert given['rgb'].depth is None
    assert given['rgb'].gravity is not None
    assert given['rgb-blind'].depth is None
    assert given['rgb-blind'].gravity is None
    assert choose_mask(ball.mask, ball.detection, 'exact') is ball.mask
    assert choose_mask(ball.mask, ball.detection, 'noisy') is ball.detection


def test_another_object_of_the_data_stands_in_front(training):
    entry = training[0]
    made = [
        make_bench_scene(
            entry, entry.load(), view, occluders=draw_occluders(training, entry, view))
        for view in (0, 0, 1)
    ]
    assert all(0.0 < scene.scene.occlusion < 0.9 for scene in made)
    np.testing.assert_array_equal(made[0].scene.frame.image, made[1].scene.frame.image)
    assert made[2].scene.frame.image.shape != made[0].scene.frame.image.shape or (
        made[2].scene.frame.image != made[0].scene.frame.image).any()


def test_without_another_object_nothing_can_stand_in_front(training):
    entry = training[0]
    with pytest.raises(ValueError, match='no other object'):
        make_bench_scene(entry, entry.load(), 0, occluders=draw_occluders([entry], entry, 0))
