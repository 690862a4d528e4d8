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

"""Spikes at edges, objects that the image cuts, masks of the support plane, spill-over."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import trimesh

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.meshing.rasterizer import Surface
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.cleaning import refine_mask
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.observation.observed_object import observe as observe_object
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.observation.plane_mask import plane_notes
from lift3d_ros.observation.support import find_support
from lift3d_ros.placement.view_checks import cut_borders
from lift3d_ros.placement.view_checks import spill_note
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings

CAMERA = Camera(424, 240, 308.0, 308.0, 211.5, 119.5)
TABLE = TableSettings(elevation=(35.0, 45.0), fill=(0.5, 0.5), camera=CAMERA)


def painted(shape: trimesh.Trimesh, color=(200, 60, 40)) -> Mesh:
    colors = np.tile(np.array(color, np.uint8), (len(shape.vertices), 1))
    return Mesh(shape.vertices.astype(np.float32), shape.faces.astype(np.int32), colors)


CAN = painted(trimesh.creation.cylinder(0.04, 0.12, sections=64))
OCCLUDER = painted(trimesh.creation.box((0.03, 0.05, 0.10)), (50, 80, 200))
CARD = painted(trimesh.creation.box((0.0856, 0.054, 0.003)).subdivide_to_size(0.02))


def wider(mask: np.ndarray, pixels: int = 3) -> np.ndarray:
    size = 2 * pixels + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.dilate(mask.astype(np.uint8), disc).astype(bool)


def with_ramps(scene: TableScene) -> np.ndarray:
    """Return the depth with the two sides of each edge mixed over some pixels."""
    true = scene.truth.depth
    inverse = np.where(true > 0.0, 1.0 / np.maximum(true, 0.1), 0.0).astype(np.float32)
    mixed = cv2.GaussianBlur(inverse, (0, 0), 1.5)
    return np.where(mixed > 1e-3, 1.0 / np.maximum(mixed, 1e-3), 0.0).astype(np.float32)


def off_can(points: np.ndarray, scene: TableScene) -> np.ndarray:
    """Return how far points of the optical frame are from the can, metres."""
    mesh = scene.mesh_in_camera().to_trimesh()
    return np.abs(trimesh.proximity.closest_point_naive(mesh, points)[1])


@pytest.mark.parametrize('occluder', [None, OCCLUDER])
def test_mixed_readings_in_the_fringe_of_a_mask_are_no_surface(occluder):
    scene = make_scene(CAN, 4, TABLE, occluder)
    frame = replace(scene.frame, depth=with_ramps(scene))
    seen = observe(crop_object(frame, wider(scene.mask)))
    support = find_support(seen, frame.gravity, np.random.default_rng(0))
    points = refine_mask(seen, support).points()
    assert len(points) > 0.6 * np.count_nonzero(scene.mask)
    off = off_can(points[::7], scene)
    # An edge of the can blurs into its top by some millimetres.
    assert np.percentile(off, 99.0) < 0.006
    assert off.max() < 0.015


def test_an_occluder_in_the_fringe_of_a_mask_makes_no_spike():
    scene = make_scene(CAN, 4, TABLE, OCCLUDER)
    frame = replace(scene.frame, depth=with_ramps(scene))
    shape = Lifter('geometric').lift(frame, wider(scene.mask))
    off = off_can(shape.mesh_in_camera().vertices[shape.observed][::5], scene)
    assert off.max() < 0.02
    assert shape.mesh.is_watertight()


@pytest.fixture(scope='module')
def cut() -> tuple[Frame, np.ndarray]:
    """Return a frame whose lower border cuts the can."""
    scene = make_scene(CAN, 4, TABLE)
    rows = np.flatnonzero(scene.mask.any(axis=1))
    height = int(0.5 * (rows[0] + rows[-1]))
    camera = replace(CAMERA, height=height)
    frame = scene.frame
    return (
        Frame(frame.image[:height].copy(), camera, frame.depth[:height].copy(), frame.gravity),
        scene.mask[:height],
    )


def test_an_object_that_the_image_cuts_has_a_note(cut):
    frame, mask = cut
    assert cut_borders(crop_object(frame, mask)) == ('bottom',)
    assert any('bottom' in note for note in Lifter('geometric').lift(frame, mask).notes)


def test_a_mask_that_ends_a_pixel_before_the_border_is_cut_too(cut):
    frame, mask = cut
    mask = mask.copy()
    mask[-1] = False
    assert crop_object(frame, mask).truncated


def test_a_whole_object_has_no_note():
    scene = make_scene(CAN, 4, TABLE)
    assert Lifter('geometric').lift(scene.frame, scene.mask).notes == ()


@pytest.mark.parametrize('hints', [
    {'known_size': 0.12},
    {'plane': Plane(np.array([0.0, -0.8, -0.6]), -0.4)},
])
def test_what_is_known_of_the_whole_is_not_taken_for_the_part_in_the_image(cut, hints):
    frame, mask = cut
    frame = replace(frame, depth=None)
    with pytest.raises(LiftError) as caught:
        Lifter('geometric').lift(frame, LiftRequest(mask, hints=ScaleHints(**hints)))
    assert caught.value.code is ErrorCode.BAD_REQUEST
    order = (*hints, 'unknown')
    request = LiftRequest(mask, hints=ScaleHints(**hints, order=order))
    shape = Lifter('geometric').lift(frame, request)
    assert shape.scale_source == 'unknown'
    assert len(shape.notes) >= 2


def doubts(frame: Frame, mask: np.ndarray) -> tuple[str, ...]:
    seen = observe(crop_object(frame, mask))
    support = find_support(seen, frame.gravity, np.random.default_rng(0))
    return plane_notes(seen, support)


def test_a_mask_of_the_bare_table_is_refused():
    scene = make_scene(CAN, 4, TABLE)
    frame = replace(scene.frame, image=np.full_like(scene.frame.image, 120))
    table = wider(scene.mask, 30) & ~wider(scene.mask, 8)
    with pytest.raises(LiftError) as caught:
        doubts(frame, table)
    assert caught.value.code is ErrorCode.NO_DEPTH_IN_MASK


def test_an_inverted_mask_is_doubted():
    scene = make_scene(CAN, 4, TABLE)
    assert doubts(scene.frame, ~scene.mask)


@pytest.mark.parametrize('seed', range(3))
def test_a_card_is_lifted_with_a_note_and_a_can_without(seed):
    scene = make_scene(CARD, seed, TABLE)
    assert len(doubts(scene.frame, scene.mask)) == 1
    scene = make_scene(CAN, seed, TABLE)
    for mask in (scene.mask, scene.detection):
        assert doubts(scene.frame, mask) == ()


def test_a_shape_that_leaves_its_mask_is_doubted():
    scene = make_scene(CAN, 4, TABLE)
    mesh = scene.mesh_in_camera()
    surface = Surface.of(mesh.vertices, mesh.faces)
    assert spill_note(surface, crop_object(scene.frame, scene.mask)) is None
    columns = np.flatnonzero(scene.mask.any(axis=0))
    half = scene.mask.copy()
    half[:, : int(columns.mean())] = False
    assert spill_note(surface, crop_object(scene.frame, half)) is not None


def test_what_a_nearer_thing_hides_is_no_spill():
    scene = make_scene(CAN, 4, TABLE, OCCLUDER)
    mesh = scene.mesh_in_camera()
    frame = replace(scene.frame, depth=scene.truth.depth)
    surface = Surface.of(mesh.vertices, mesh.faces)
    assert spill_note(surface, crop_object(frame, scene.mask)) is None


def seen_by_observer(frame: Frame, mask: np.ndarray) -> ObservedObject:
    return observe_object(crop_object(frame, mask), LiftRequest(mask), np.random.default_rng(0))


def test_what_an_occluder_without_readings_hides_is_no_spill():
    scene = make_scene(CAN, 4, TABLE, OCCLUDER)
    mesh = scene.mesh_in_camera()
    surface = Surface.of(mesh.vertices, mesh.faces)
    silent = cv2.dilate((scene.truth.instance == 2).astype(np.uint8), np.ones((5, 5), np.uint8))
    depth = np.where((silent > 0) & ~scene.mask, np.float32(0.0), scene.truth.depth)
    frame = replace(scene.frame, depth=depth)
    view = crop_object(frame, scene.mask)
    assert spill_note(surface, view) is not None
    obs = seen_by_observer(frame, scene.mask)
    T_ref_first = invert(obs.T_first_ref)
    assert spill_note(surface, view, obs.observation, T_ref_first) is None


def test_what_the_depth_shows_of_the_object_beside_its_mask_is_no_spill():
    scene = make_scene(CAN, 4, TABLE)
    mesh = scene.mesh_in_camera()
    surface = Surface.of(mesh.vertices, mesh.faces)
    small = cv2.erode(scene.mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    view = crop_object(scene.frame, small)
    assert spill_note(surface, view) is not None
    obs = seen_by_observer(scene.frame, small)
    assert spill_note(surface, view, obs.observation, invert(obs.T_first_ref)) is None
    # A mask that grows by much may have joined the object with something else.
    tiny = cv2.erode(obs.observation.detection.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    joined = replace(obs.observation, detection=tiny)
    assert spill_note(surface, view, joined, invert(obs.T_first_ref)) is not None
    # Surface where the depth shows none of the object is.
    moved = surface.moved(rigid(np.eye(3), [0.05, 0.0, 0.0]))
    assert spill_note(moved, view, obs.observation, invert(obs.T_first_ref)) is not None
