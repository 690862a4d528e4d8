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

"""Further views of an object: they make it truer, cut and colour it, and are refused if wrong."""

from __future__ import annotations

from dataclasses import replace
import functools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
import trimesh

from lift3d_ros.bench.metrics import distances
from lift3d_ros.bench.metrics import sample_surface
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.reference_view import MAX_SOURCE_VIEWS
from lift3d_ros.observation.registered_view import RegisteredView
from lift3d_ros.observation.registration import inconsistency
from lift3d_ros.observation.registration import MAX_INCONSISTENCY
from lift3d_ros.observation.registration import refine_pose
from lift3d_ros.observation.support import find_support
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings

CAMERA = Camera(480, 360, 420.0, 420.0, 240.0, 180.0)
SHOE = procedural_object(5, 'shoe')
RED, BLUE = (200, 40, 40), (40, 60, 200)


def two_coloured_carton() -> Mesh:
    """Return a carton that is red where x is positive, blue elsewhere."""
    box = trimesh.creation.box((0.12, 0.07, 0.14)).subdivide_to_size(0.012)
    vertices = np.asarray(box.vertices, np.float32)
    colors = np.where(vertices[:, :1] > 0.0, np.uint8(RED), np.uint8(BLUE)).astype(np.uint8)
    return Mesh(vertices, np.asarray(box.faces, np.int32), colors)


MESHES = {
    'shoe': SHOE, 'carton': two_coloured_carton(), 'mug': procedural_object(3, 'mug'),
}


@functools.cache
def scene_of(name: str, azimuth: float) -> TableScene:
    """Return an object seen from an azimuth in degrees, rendered once for all tests."""
    settings = TableSettings(
        azimuth=(azimuth, azimuth), elevation=(30.0, 40.0), distance=(0.6, 0.7), camera=CAMERA,
        window=1.8, table_cells=24,
    )
    return make_scene(MESHES[name], 7, settings)


def beside(first: TableScene, other: TableScene, error: np.ndarray | None = None) -> SourceView:
    """Return a scene as a further view beside another one, its pose true or off by ``error``."""
    T = first.T_camera_object @ invert(other.T_camera_object)
    return SourceView(
        crop_object(other.frame, other.mask), T if error is None else T @ error
    )


def pose_error(seed: int, degrees: float, metres: float) -> np.ndarray:
    """Return a rigid motion of that size in a drawn direction."""
    rng = np.random.default_rng(seed)
    axis, away = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    return rigid(Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix(), metres * away)


@functools.cache
def lifter_of(method: str) -> Lifter:
    return Lifter(method, max_faces=6000)


def lift(
    scene: TableScene, *further: SourceView, method: str = 'geometric', **frame
) -> Shape:
    return lifter_of(method).lift(
        replace(scene.frame, **frame), LiftRequest(scene.mask, source_views=tuple(further), seed=1)
    )


def error_of(shape: Shape, scene: TableScene) -> float:
    """Return the chamfer distance to the truth, metres."""
    found = sample_surface(shape.mesh_in_camera(), 4000)
    return distances(found, sample_surface(scene.mesh_in_camera(), 4000)).chamfer()


def refusal(*arguments, **named) -> LiftError:
    with pytest.raises(LiftError) as caught:
        lift(*arguments, **named)
    return caught.value


FIRST, SIDE, BACK = (0.0, 100.0, 200.0)


@pytest.fixture(scope='module')
def alone() -> Shape:
    return lift(scene_of('shoe', FIRST))


@pytest.mark.parametrize('method', ['geometric', 'one2345'])
def test_the_error_falls_with_a_second_and_a_third_view(method):
    first = scene_of('shoe', FIRST)
    others = [beside(first, scene_of('shoe', azimuth)) for azimuth in (SIDE, BACK)]
    shapes = [lift(first, *others[:count], method=method) for count in range(3)]
    errors = [error_of(shape, first) for shape in shapes]
    assert errors[2] < errors[1] < errors[0]
    # The networks know shoes, and are good from one view.
    assert errors[2] < {'geometric': 0.6, 'one2345': 0.95}[method] * errors[0]
    assert errors[2] < 0.003
    observed = [shape.observed.mean() for shape in shapes]
    assert observed[0] < observed[1] < observed[2]
    confidence = [shape.overall_confidence for shape in shapes]
    assert confidence[0] < confidence[1] < confidence[2]
    assert all(shape.mesh.is_watertight() for shape in shapes)


def test_colours_come_from_the_views_that_see_them():
    first = scene_of('carton', FIRST)
    red_alone, blue_alone = colours_of(lift(first), first)
    red, blue = colours_of(
        lift(first, beside(first, scene_of('carton', 180.0))), first
    )
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60
    assert blue_alone[0] > blue_alone[2], 'the blue side was not seen by the first camera'
    assert abs(red[0] - red_alone[0]) < 40


def colours_of(shape: Shape, scene: TableScene) -> tuple[np.ndarray, np.ndarray]:
    """Return the median colours of the sides that are red and blue."""
    cloud = shape.cloud(4000)
    T_true_shape = invert(scene.T_camera_object) @ shape.T_camera_object
    x = transform(T_true_shape, cloud.points)[:, 0]
    return tuple(
        np.median(cloud.colors[side], axis=0).astype(int) for side in (x > 0.055, x < -0.055)
    )


def test_errors_of_a_degree_and_five_millimetres_do_not_shred_the_object(alone):
    first = scene_of('shoe', FIRST)
    exact = error_of(
        lift(first, *(beside(first, scene_of('shoe', a)) for a in (SIDE, BACK))), first
    )
    for seed in range(3):
        others = [
            beside(first, scene_of('shoe', azimuth), pose_error(10 * seed + k, 1.0, 0.005))
            for k, azimuth in enumerate((SIDE, BACK))
        ]
        shape = lift(first, *others)
        assert error_of(shape, first) < 0.85 * error_of(alone, first)
        assert error_of(shape, first) < 2.0 * exact
        assert shape.mesh.volume() > 0.8 * first.mesh.volume()


def test_a_pose_is_mended_by_what_the_views_share():
    first = scene_of('shoe', FIRST)
    view = crop_object(first.frame, first.mask)
    seen = observe(view)
    support = find_support(seen, first.frame.gravity, np.random.default_rng(0))
    true = beside(first, scene_of('shoe', SIDE))
    middle = first.T_camera_object[:3, 3]

    def miss(T: np.ndarray) -> float:
        """How far the pose puts the object's middle from where it is, metres."""
        return float(np.linalg.norm(T @ invert(true.T_ref_src) @ [*middle, 1.0]
                                    - [*middle, 1.0]))

    before, after = [], []
    for seed in range(6):
        given = beside(first, scene_of('shoe', SIDE), pose_error(seed, 1.0, 0.005))
        sighting = RegisteredView(observe(given.view), given.view, given.T_ref_src)
        refined, _ = refine_pose(sighting, [RegisteredView(seen, view, np.eye(4))], support, 0.2)
        before.append(miss(given.T_ref_src))
        after.append(miss(refined))
    remaining = np.array(after) / before
    assert (remaining < 0.6).all()
    assert np.mean(after) < 0.45 * np.mean(before)
    sighting = RegisteredView(observe(true.view), true.view, true.T_ref_src)
    kept, strain = refine_pose(sighting, [RegisteredView(seen, view, np.eye(4))], support, 0.2)
    assert miss(kept) < 0.004, 'a pose that is right stays'
    assert strain < 1.0


@pytest.mark.parametrize('depth', [True, False])
@pytest.mark.parametrize(
    'error',
    [rigid(np.eye(3), [0.12, 0.0, 0.0]), rigid(np.eye(3), [0.0, 0.0, -0.15]),
     rigid(Rotation.from_euler('y', 25, degrees=True).as_matrix(), np.zeros(3))],
    ids=['aside', 'forth', 'turned'],
)
def test_a_pose_that_contradicts_is_refused_and_its_view_named(error, depth):
    first, good = scene_of('shoe', FIRST), scene_of('shoe', BACK)
    wrong = beside(first, scene_of('shoe', SIDE), error)
    if not depth:
        if error[2, 3]:
            pytest.skip('an outline tells no distance along the sight')
        frame = replace(wrong.view.frame, depth=None)
        wrong = replace(wrong, view=replace(wrong.view, frame=frame))
    found = refusal(first, beside(first, good), wrong)
    assert found.code is ErrorCode.BAD_REQUEST
    assert found.message.startswith('Source view 2 contradicts')
    named = refusal(first, replace(wrong, name='view "left"'))
    assert named.message.startswith('View "left" contradicts the first view')


def test_a_view_through_a_grid_is_not_refused_for_what_is_seen_behind_it(alone):
    """Each seventh stripe of the mask shows what is behind the object, as between wires."""
    first, side = scene_of('shoe', FIRST), scene_of('shoe', SIDE)
    stripes = side.mask & (np.arange(side.mask.shape[1]) // 4 % 7 == 0)
    assert 0.1 < stripes[side.mask].mean() < 0.2
    depth = np.where(stripes, side.frame.depth + np.float32(0.12), side.frame.depth)
    seen = beside(first, replace(side, frame=replace(side.frame, depth=depth)))
    apart = inconsistency(sighting_of(first), sighting_of(side, seen))
    assert apart > MAX_INCONSISTENCY * 0.2, 'one in ten disagrees'
    assert error_of(lift(first, seen), first) < 0.9 * error_of(alone, first)


def test_where_a_view_has_no_readings_it_contradicts_no_other():
    """Of the mug's near side nothing was measured: it is not as deep as the far one."""
    first, side = scene_of('mug', FIRST), scene_of('mug', SIDE)
    readings = side.frame.depth[side.mask]
    near = side.mask & (side.frame.depth < np.quantile(readings[readings > 0.0], 0.6))
    depth = np.where(near, np.float32(0.0), side.frame.depth)
    part = replace(side, frame=replace(side.frame, depth=depth))
    errors = [error_of(lift(first, beside(first, one)), first) for one in (side, part)]
    assert errors[1] < 1.1 * errors[0]
    assert errors[1] < 0.9 * error_of(lift(first), first)


def sighting_of(scene: TableScene, further: SourceView | None = None) -> RegisteredView:
    """Return a scene as one camera saw it, the first or a further one."""
    view = crop_object(scene.frame, scene.mask) if further is None else further.view
    T = np.eye(4) if further is None else further.T_ref_src
    return RegisteredView(observe(view), view, T)


def test_an_image_that_cuts_the_object_off_does_not_carve_beyond_its_border(alone):
    first, side = scene_of('shoe', FIRST), scene_of('shoe', SIDE)
    columns = np.flatnonzero(side.mask.any(axis=0))
    end = int(0.5 * (columns[0] + columns[-1]))
    frame = side.frame
    half = Frame(
        np.ascontiguousarray(frame.image[:, :end]),
        frame.camera.crop(-0.5, -0.5, end, frame.camera.height),
        np.ascontiguousarray(frame.depth[:, :end]),
        frame.gravity,
    )
    view = crop_object(half, np.ascontiguousarray(side.mask[:, :end]))
    assert view.truncated
    shape = lift(first, replace(beside(first, side), view=view))
    assert error_of(shape, first) < 1.02 * error_of(alone, first)
    low, high = (
        (f(shape.mesh_in_camera().vertices, axis=0), f(alone.mesh_in_camera().vertices, axis=0))
        for f in (np.min, np.max)
    )
    np.testing.assert_allclose(low[0], low[1], atol=0.03)
    np.testing.assert_allclose(high[0], high[1], atol=0.03)
    assert shape.mesh.volume() > 0.8 * first.mesh.volume()


def test_a_first_view_without_depth_takes_the_scale_of_another():
    first = scene_of('shoe', FIRST)
    shape = lift(first, beside(first, scene_of('shoe', SIDE)), depth=None)
    assert shape.scale_source == 'depth'
    assert error_of(shape, first) < 0.006
    true = first.T_camera_object[:3, 3]
    assert np.linalg.norm(shape.T_camera_object[:3, 3] - true) < 0.1
    gravity = crop_object(first.frame, first.mask).elevation()
    np.testing.assert_allclose(shape.elevation, gravity, atol=6.0)


@pytest.mark.parametrize('method', ['geometric', 'one2345'])
def test_without_any_depth_the_views_tell_the_scale(method):
    first = scene_of('shoe', SIDE)
    blind = []
    for azimuth in (FIRST, BACK):
        other = beside(first, scene_of('shoe', azimuth))
        frame = replace(other.view.frame, depth=None)
        blind.append(replace(other, view=replace(other.view, frame=frame)))
    shape = lift(first, *blind, method=method, depth=None)
    assert shape.scale_source == 'views'
    true = np.ptp(first.mesh.vertices, axis=0)
    np.testing.assert_allclose(shape.size.max(), true.max(), rtol=0.1)
    # Three outlines from above leave more than the object, of which the networks know better.
    assert error_of(shape, first) < {'geometric': 0.016, 'one2345': 0.008}[method]


def test_views_that_are_none_are_refused(alone):
    first = scene_of('shoe', FIRST)
    one = beside(first, scene_of('shoe', SIDE))
    assert refusal(first, *(MAX_SOURCE_VIEWS + 1) * [one]).code is ErrorCode.BAD_REQUEST
    for T in (np.zeros((4, 4)), np.diag([1.0, 1.0, -1.0, 1.0]), np.full((4, 4), np.nan)):
        with pytest.raises(LiftError) as caught:
            replace(one, T_ref_src=T)
        assert caught.value.code is ErrorCode.BAD_REQUEST
    frame = replace(one.view.frame, depth=np.zeros_like(one.view.frame.depth))
    found = refusal(first, replace(one, view=replace(one.view, frame=frame)))
    assert found.code is ErrorCode.BAD_REQUEST
    assert 'source view 1' in found.message
    assert 'readings' in found.message
    again = lift(first)
    np.testing.assert_array_equal(again.mesh.vertices, alone.mesh.vertices)
