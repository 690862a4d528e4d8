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

"""The method geometric, on rendered scenes whose truth is known and on real frames."""

from __future__ import annotations

from dataclasses import replace
import time

import numpy as np
import pytest
import trimesh

from lift3d_ros.bench.metrics import distances
from lift3d_ros.bench.metrics import sample_surface
from lift3d_ros.bench.metrics import volume_iou
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings


def colored(mesh: trimesh.Trimesh) -> Mesh:
    """Return a mesh of one colour that stands on z = 0."""
    vertices = np.asarray(mesh.vertices, np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    color = np.tile(np.array([200, 60, 40], np.uint8), (len(vertices), 1))
    return Mesh(vertices, np.asarray(mesh.faces, np.int32), color)


CAN = colored(trimesh.creation.cylinder(radius=0.035, height=0.12, sections=64))
CARTON = colored(trimesh.creation.box((0.09, 0.06, 0.14)).subdivide_to_size(0.01))
BALL = colored(trimesh.creation.icosphere(4, radius=0.06))
PLATE = colored(trimesh.creation.cylinder(radius=0.10, height=0.008, sections=64))


@pytest.fixture(scope='module')
def can() -> TableScene:
    """Return a scene with a can."""
    return make_scene(CAN, 3)


@pytest.fixture(scope='module')
def lifted(can: TableScene) -> Shape:
    """Return the lifted can."""
    return Lifter('geometric').lift(can.frame, can.mask)


def code_of(frame: Frame, mask: np.ndarray) -> ErrorCode:
    """Return the code of the error that a lift raises."""
    with pytest.raises(LiftError) as caught:
        Lifter('geometric').lift(frame, mask)
    assert len(caught.value.message) > 20
    return caught.value.code


@pytest.mark.parametrize(
    ('mesh', 'iou'), [(CAN, 0.75), (CARTON, 0.6), (BALL, 0.75)], ids=['can', 'carton', 'ball']
)
@pytest.mark.parametrize('seed', [1, 2, 3])
def test_whole_shape_and_its_size_come_from_one_side(mesh: Mesh, iou: float, seed: int) -> None:
    scene = make_scene(mesh, seed)
    shape = Lifter('geometric').lift(scene.frame, scene.mask)
    truth, found = scene.mesh_in_camera(), shape.mesh_in_camera()
    assert volume_iou(found, truth) > iou
    diagonal = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    assert distances(sample_surface(found), sample_surface(truth)).f_score(0.05 * diagonal) > 0.85
    assert shape.size[2] == pytest.approx(np.ptp(mesh.vertices[:, 2]), rel=0.08)


@pytest.mark.parametrize('seed', range(4))
def test_observed_surface_agrees_with_the_measured_depth(seed: int) -> None:
    scene = make_scene(CAN, 20 + seed)
    shape = Lifter('geometric').lift(scene.frame, scene.mask)
    observed = shape.mesh_in_camera().vertices[shape.observed]
    to_truth = distances(observed, sample_surface(scene.mesh_in_camera(), 40_000)).accuracy
    # The sensor's own noise grows with the square of the distance, 1 mm at 0.7 m.
    assert np.median(to_truth) < 0.003 * max(1.0, (scene.distance / 0.7) ** 2)


def test_mesh_is_closed_one_piece_and_wound_outward(lifted: Shape) -> None:
    mesh = lifted.mesh.to_trimesh()
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0.0
    assert mesh.body_count == 1


@pytest.mark.parametrize('max_faces', [100, 1000, 5000])
def test_mesh_keeps_to_max_faces_and_stays_closed(can: TableScene, max_faces: int) -> None:
    mesh = Lifter(max_faces=max_faces).lift(can.frame, can.mask).mesh
    assert 20 < len(mesh.faces) <= max_faces
    assert mesh.is_watertight()


def test_object_frame_has_its_origin_amid_the_object_and_z_up(
    can: TableScene, lifted: Shape
) -> None:
    low, high = lifted.mesh.vertices.min(axis=0), lifted.mesh.vertices.max(axis=0)
    np.testing.assert_allclose(low + high, 0.0, atol=1e-5)
    up = lifted.T_camera_object[:3, 2]
    assert np.degrees(np.arccos(-up @ can.frame.gravity)) < 3.0
    # The camera is at azimuth 0: in the x-z half plane with x > 0.
    camera = -lifted.T_camera_object[:3, :3].T @ lifted.T_camera_object[:3, 3]
    assert camera[0] > 0.0
    assert abs(np.degrees(np.arctan2(camera[1], camera[0]))) < 10.0


def test_elevation_is_that_of_the_camera(can: TableScene, lifted: Shape) -> None:
    assert lifted.elevation == pytest.approx(can.elevation, abs=3.0)
    assert lifted.elevation_source == 'gravity'


def test_support_plane_tells_the_vertical_without_gravity(can: TableScene) -> None:
    shape = Lifter('geometric').lift(replace(can.frame, gravity=None), can.mask)
    assert shape.elevation_source == 'plane'
    assert shape.elevation == pytest.approx(can.elevation, abs=3.0)


def test_vertical_is_assumed_and_said_so_where_nothing_tells_it(can: TableScene) -> None:
    alone = np.where(can.mask, can.frame.depth, np.float32(0.0))
    shape = Lifter('geometric').lift(replace(can.frame, gravity=None, depth=alone), can.mask)
    assert shape.elevation_source == 'assumed'


def test_without_depth_the_scale_is_unknown_and_the_confidence_low(lifted: Shape) -> None:
    scene = make_scene(CAN, 3, TableSettings(elevation=(10.0, 25.0)))
    shape = Lifter('geometric').lift(replace(scene.frame, depth=None), scene.mask)
    assert shape.scale_source == 'unknown'
    assert not shape.observed.any()
    assert shape.overall_confidence < 0.5 * lifted.overall_confidence
    # Up to the one factor it is the can: twice as high as wide, within a third.
    assert shape.size[2] / shape.size[1] == pytest.approx(0.12 / 0.07, rel=0.33)


def test_observed_vertices_are_more_confident_than_guessed_ones(lifted: Shape) -> None:
    assert lifted.observed.any()
    assert not lifted.observed.all()
    observed, guessed = lifted.confidence[lifted.observed], lifted.confidence[~lifted.observed]
    assert observed.mean() > guessed.mean() + 0.1
    assert 0.0 <= lifted.confidence.min() <= lifted.confidence.max() <= 1.0


def test_colors_come_from_the_image() -> None:
    scene = make_scene(CAN, 5)
    shape = Lifter('geometric').lift(scene.frame, scene.mask)
    red, green, blue = shape.mesh.colors.astype(float).mean(axis=0)
    assert red > 1.8 * green
    assert red > 1.8 * blue


def test_flat_object_is_closed_and_flat() -> None:
    scene = make_scene(PLATE, 7)
    shape = Lifter('geometric').lift(scene.frame, scene.mask)
    assert shape.mesh.is_watertight()
    assert shape.size[2] < 0.05


def test_rough_mask_does_not_change_the_size_much(can: TableScene) -> None:
    exact = Lifter('geometric').lift(can.frame, can.mask)
    rough = Lifter('geometric').lift(can.frame, can.detection)
    np.testing.assert_allclose(rough.size, exact.size, rtol=0.2)


def test_occluder_in_front_is_not_carved_out() -> None:
    occluder = colored(trimesh.creation.box((0.03, 0.03, 0.08)))
    scene = make_scene(CARTON, 11, occluder=occluder)
    assert scene.occlusion > 0.05
    shape = Lifter('geometric').lift(scene.frame, scene.mask)
    assert volume_iou(shape.mesh_in_camera(), scene.mesh_in_camera()) > 0.45


def test_same_seed_gives_the_same_mesh(can: TableScene, lifted: Shape) -> None:
    again = Lifter('geometric').lift(can.frame, can.mask)
    np.testing.assert_array_equal(again.mesh.vertices, lifted.mesh.vertices)
    np.testing.assert_array_equal(again.confidence, lifted.confidence)


def test_stages_are_timed_and_reported_in_order(can: TableScene) -> None:
    reports: list[tuple[str, float]] = []
    shape = Lifter('geometric').lift(
        can.frame, can.mask, progress=lambda stage, done: reports.append((stage, done))
    )
    fractions = [done for _, done in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    stages = [name for name in shape.seconds if name != 'total']
    assert stages == ['crop', 'observe', 'symmetry', 'volume', 'mesh', 'colour', 'placement']
    assert sum(shape.seconds[s] for s in stages) <= shape.seconds['total'] + 1e-3


def test_cancelling_in_the_middle_ends_the_lift(can: TableScene) -> None:
    seen: list[str] = []
    with pytest.raises(LiftError) as caught:
        Lifter('geometric').lift(
            can.frame,
            can.mask,
            progress=lambda stage, done: seen.append(stage),
            cancelled=lambda: 'symmetry' in seen,
        )
    assert caught.value.code is ErrorCode.CANCELLED
    assert 'mesh' not in seen


def test_deadline_in_the_past_ends_the_lift(can: TableScene) -> None:
    with pytest.raises(LiftError) as caught:
        Lifter('geometric').lift(can.frame, can.mask, deadline=time.monotonic() - 1.0)
    assert caught.value.code is ErrorCode.TIMEOUT



def test_empty_mask(can: TableScene) -> None:
    assert code_of(can.frame, np.zeros_like(can.mask)) is ErrorCode.EMPTY_MASK


def test_mask_of_three_pixels(can: TableScene) -> None:
    mask = np.zeros_like(can.mask)
    mask[100, 100:103] = True
    assert code_of(can.frame, mask) is ErrorCode.MASK_TOO_SMALL


def test_mask_of_another_size(can: TableScene) -> None:
    assert code_of(can.frame, can.mask[::2, ::2]) is ErrorCode.SIZE_MISMATCH


@pytest.mark.parametrize('value', [0.0, np.nan, np.inf])
def test_depth_without_readings_in_the_mask(can: TableScene, value: float) -> None:
    depth = can.frame.depth.copy()
    depth[can.mask] = value
    assert code_of(replace(can.frame, depth=depth), can.mask) is ErrorCode.NO_DEPTH_IN_MASK


@pytest.mark.parametrize('factor', [1000.0, 0.001])
def test_depth_in_another_unit_is_named_as_such(can: TableScene, factor: float) -> None:
    frame = replace(can.frame, depth=can.frame.depth * np.float32(factor))
    with pytest.raises(LiftError, match='unit') as caught:
        Lifter('geometric').lift(frame, can.mask)
    assert caught.value.code is ErrorCode.BAD_IMAGE


def test_object_cut_by_the_border_is_lifted_with_less_confidence(can: TableScene) -> None:
    v, u = np.nonzero(can.mask)
    cut = int(np.median(u))
    camera = can.frame.camera.crop(
        cut - 0.5, -0.5, can.frame.camera.width - cut, can.frame.camera.height
    )
    frame = Frame(
        can.frame.image[:, cut:], camera, can.frame.depth[:, cut:], can.frame.gravity
    )
    shape = Lifter('geometric').lift(frame, can.mask[:, cut:])
    assert shape.mesh.is_watertight()
    guessed = shape.confidence[~shape.observed]
    assert guessed.mean() < 0.5


def test_very_large_image_is_worked_on_at_bounded_size() -> None:
    camera = Camera(4000, 3000, 3000.0, 3000.0, 1999.5, 1499.5)
    v, u = np.mgrid[0:3000, 0:4000]
    mask = (u - 2000) ** 2 + (v - 1500) ** 2 < 900**2
    bulge = np.sqrt(np.maximum(900.0**2 - (u - 2000.0) ** 2 - (v - 1500.0) ** 2, 0.0)) / 3000.0
    depth = np.where(mask, 1.0 - bulge, 1.6).astype(np.float32)
    frame = Frame(np.full((3000, 4000, 3), 90, np.uint8), camera, depth)
    shape = Lifter('geometric').lift(frame, mask)
    assert shape.size[1] == pytest.approx(0.6, rel=0.15)


#: Height of each real object, metres: the scan's, or read off the depth with a ruler's eye.
HEIGHTS = {'6dofgraspnet_mustard': 0.191, '6dofgraspnet_cheezit': 0.19}


@pytest.mark.parametrize('name', HEIGHTS)
def test_real_frame_has_the_height_of_the_object(shared_data, name: str) -> None:
    frame, mask = read_scene(shared_data / 'rgbd' / name)
    shape = Lifter('geometric').lift(frame, mask)
    assert shape.mesh.is_watertight()
    assert shape.size[2] == pytest.approx(HEIGHTS[name], rel=0.06)


def test_every_real_frame_gives_a_closed_mesh_of_plausible_size(shared_data) -> None:
    folders = sorted((shared_data / 'rgbd').iterdir())
    assert folders
    for folder in folders:
        frame, mask = read_scene(folder)
        shape = Lifter('geometric').lift(frame, mask)
        assert shape.mesh.is_watertight()
        assert 0.05 < shape.size.max() < 0.3
