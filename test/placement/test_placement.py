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

"""Scale and pose: from depth, further views, a support plane, a known size, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
import trimesh

from lift3d_ros.bench.metrics import distance_error
from lift3d_ros.bench.scenes import TRACKS
from lift3d_ros.cli import main
from lift3d_ros.elevation.estimate import find_elevation
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.io.scene import read_plane
from lift3d_ros.io.scene import write_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.meshing.rasterizer import Surface
from lift3d_ros.meshing.rasterizer import window
from lift3d_ros.methods.one2345_published import One2345Published
from lift3d_ros.methods.published_surface import PublishedOne2345
from lift3d_ros.methods.published_surface import PublishedSurface
from lift3d_ros.observation.hints import horizontal_plane
from lift3d_ros.observation.hints import known_sizes
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.observation.observed_object import apply_hints
from lift3d_ros.placement.alignment import agreement
from lift3d_ros.placement.alignment import align_to_depth
from lift3d_ros.placement.alignment import refine
from lift3d_ros.placement.place import resolve_scale
from lift3d_ros.placement.sources import from_known_size
from lift3d_ros.placement.sources import from_plane
from lift3d_ros.placement.sources import from_views

CAMERA = Camera.from_fov(320, 240, 50.0)

#: The object is a block of these sides, metres, standing on the table z = 0.
SIDES = (0.08, 0.12, 0.2)
EYE = (0.5, 0.1, 0.4)


def pose_from(eye: Sequence[float]) -> np.ndarray:
    """Return T_table_camera of a camera that looks at the block."""
    return look_at(eye, (0.0, 0.0, 0.09))


T_TABLE_CAMERA = pose_from(EYE)
UP = T_TABLE_CAMERA[2, :3]
PLANE = horizontal_plane(T_TABLE_CAMERA, 0.0)


@pytest.fixture(scope='module')
def block() -> Surface:
    """Return the block in the optical frame, metres."""
    mesh = trimesh.creation.box(SIDES).subdivide_to_size(0.03)
    mesh.apply_translation((0.0, 0.0, 0.5 * SIDES[2]))
    return Surface(transform(invert(T_TABLE_CAMERA), mesh.vertices), mesh.faces.astype(np.int32))


def view_of(
    surface: Surface,
    T_ref_src: np.ndarray | None = None,
    depth: bool = False,
    gravity: bool = False,
) -> ObjectView:
    """Return what a camera sees of a surface of the first optical frame on the table."""
    T = np.eye(4) if T_ref_src is None else T_ref_src
    drawn = surface.moved(invert(T)).rasterize(CAMERA)
    readings = None
    if depth:
        T_table = T_TABLE_CAMERA @ T
        down = CAMERA.rays() @ T_table[2, :3]
        table = np.where(down < -1e-3, -T_table[2, 3] / np.minimum(down, -1e-3), 0.0)
        readings = np.where(drawn.mask, drawn.depth, table).astype(np.float32)
    image = np.full((CAMERA.height, CAMERA.width, 3), 120, np.uint8)
    vertical = -(T_TABLE_CAMERA @ T)[2, :3] if gravity else None
    return crop_object(Frame(image, CAMERA, readings, vertical), drawn.mask)


def further_view(surface: Surface, eye: Sequence[float]) -> SourceView:
    """Return the view of a camera at ``eye`` in the frame of the table."""
    T = invert(T_TABLE_CAMERA) @ pose_from(eye)
    return SourceView(view_of(surface, T), T)


def shape_of(surface: Surface, factor: float = 1.0, source: str = 'unknown') -> Shape:
    """Return the surface, scaled about the camera, as a method gives it."""
    vertices = factor * surface.vertices
    axes = rigid(T_TABLE_CAMERA[:3, :3].T, np.zeros(3))
    local = transform(invert(axes), vertices)
    middle = 0.5 * (local.min(axis=0) + local.max(axis=0))
    mesh = Mesh(
        (local - middle).astype(np.float32),
        surface.faces,
        np.full((len(vertices), 3), 90, np.uint8),
    )
    return Shape(
        mesh=mesh,
        T_camera_object=axes @ rigid(np.eye(3), middle),
        pose_covariance=1e-4 * factor**2 * np.eye(6),
        confidence=np.full(len(vertices), 0.5, np.float32),
        observed=np.zeros(len(vertices), bool),
        scale_source=source,
        scale_stddev=1.0,
        elevation=38.0,
        elevation_source='gravity',
        method='test',
    )


def placed(shape: Shape, view: ObjectView, further: Sequence[SourceView] = (), **hints) -> Shape:
    """Return a shape placed by hints."""
    return resolve_scale(shape, view, ScaleHints(**hints), further, np.random.default_rng(0))


def refused(words: str, code: ErrorCode = ErrorCode.BAD_REQUEST):
    """Expect an error with a sentence that says so."""
    return pytest.raises(LiftError, match=f'^{code.value}: .*{words}')


def place_of(shape: Shape) -> np.ndarray:
    """Return the vertices in the optical frame."""
    return shape.mesh_in_camera().vertices


# The four ways, and none


@pytest.mark.parametrize('factor', [0.25, 1.0, 6.0])
@pytest.mark.parametrize(('source', 'hints', 'within'), [
    ('plane', {'plane': PLANE}, 0.01),
    ('known_size', {'known_size': max(SIDES)}, 0.001),
    ('views', {}, 0.02),
    ('depth', {}, 0.02),
])
def test_each_source_finds_the_factor_and_is_named(block, factor, source, hints, within):
    further = [further_view(block, (0.1, 0.5, 0.35))] if source == 'views' else ()
    view = view_of(block, depth=source == 'depth', gravity=True)
    shape = placed(shape_of(block, factor), view, further, **hints)
    assert shape.scale_source == source
    assert 0.0 < shape.scale_stddev < 0.2
    off = np.linalg.norm(place_of(shape) - block.vertices, axis=1)
    assert off.max() < within * np.linalg.norm(block.centre)
    assert shape.mask_iou > 0.95
    assert shape.notes == ()


def test_where_nothing_tells_the_scale_it_stays_unknown(block):
    shape = shape_of(block, 3.0)
    result = placed(shape, view_of(block))
    assert (result.scale_source, result.scale_stddev) == ('unknown', 1.0)
    np.testing.assert_array_equal(place_of(result), place_of(shape))
    assert result.mask_iou > 0.95


def test_the_place_is_as_unsure_as_the_scale_along_the_line_of_sight(block):
    shape = placed(shape_of(block, 2.0), view_of(block), known_size=0.2, known_size_stddev=0.1)
    middle = shape.T_camera_object[:3, 3]
    ray = middle / np.linalg.norm(middle)
    along = np.sqrt(ray @ shape.pose_covariance[:3, :3] @ ray)
    assert along == pytest.approx(shape.scale_stddev * np.linalg.norm(middle), rel=0.05)
    assert np.sqrt(np.linalg.eigvalsh(shape.pose_covariance[:3, :3])[0]) < 0.2 * along


def test_what_looks_along_the_plane_or_hardly_moves_knows_less(block):
    low = block.moved(invert(look_at((0.6, 0.0, 0.15), (0.0, 0.0, 0.09))) @ T_TABLE_CAMERA)
    flat = horizontal_plane(look_at((0.6, 0.0, 0.15), (0.0, 0.0, 0.09)), 0.0)
    assert from_plane(low.vertices, flat).stddev > 2.0 * from_plane(block.vertices, PLANE).stddev
    near, far = (
        from_views(block, [further_view(block, eye)]) for eye in ((0.5, 0.2, 0.4), (0.1, 0.5, 0.4))
    )
    assert near.stddev > 1.4 * far.stddev


def test_a_known_size_does_not_ask_how_the_object_is_turned():
    corners = trimesh.creation.box(SIDES).vertices
    for turn in (0.0, 0.4, 0.8):
        turned = corners @ Rotation.from_rotvec([0.0, 0.0, turn]).as_matrix().T
        scale = from_known_size(turned, np.array([0.0, 0.0, 1.0]), 0.5, 0.0)
        assert scale.factor == pytest.approx(0.5 / max(SIDES))


def test_what_networks_tell_of_the_length_is_believed_before_the_mesh():
    up = np.array([0.0, 0.0, 1.0])
    away = trimesh.creation.box(SIDES).vertices + (0.0, 0.0, 2.0)
    alone = from_known_size(away, up, 0.5, 0.0).factor
    # It agrees with the shape, wherever that is.
    for factor in (1.0, 3.0):
        scale = from_known_size(factor * away, up, 0.5, 0.0, max(SIDES) / 2.0)
        assert scale.factor == pytest.approx(alone / factor)
    # It says that the object is twice as long as the shape, and so twice as near.
    other = from_known_size(away, up, 0.5, 0.0, 2.0 * max(SIDES) / 2.0).factor
    assert other == pytest.approx(0.5 * alone)


# The order


def test_the_first_source_of_the_order_that_is_given_tells(block):
    shape, view = shape_of(block, 2.0), view_of(block, depth=True)
    hints = {'plane': PLANE, 'known_size': 0.2}
    assert placed(shape, view, **hints).scale_source == 'depth'
    for order in (('known_size', 'plane'), ('plane', 'known_size', 'depth')):
        assert placed(shape, view, **hints, order=order).scale_source == order[0]


def test_a_source_that_cannot_tell_leaves_it_to_the_next_and_says_why(block):
    above = Plane(-UP, -0.4)
    view = view_of(block)
    shape = placed(shape_of(block, 2.0), view, plane=above, known_size=0.2)
    assert shape.scale_source == 'known_size'
    assert 'above the horizon' in shape.notes[0]
    with refused('above the horizon'):
        placed(shape_of(block, 2.0), view, plane=above)
    shape = placed(shape_of(block, 2.0), view, plane=above, order=('plane', 'unknown'))
    assert shape.scale_source == 'unknown'
    assert 'above the horizon' in shape.notes[0]


@pytest.mark.parametrize('order', [
    (), ('plane', 'plane'), ('unknown', 'depth'), ('tape measure',),
])
def test_an_order_that_cannot_be_is_refused(order):
    with refused('source'):
        ScaleHints(order=order)


def test_a_source_that_was_asked_for_and_not_given_is_refused(block):
    with refused('none of .* is given'):
        placed(shape_of(block), view_of(block), order=('known_size',))


def test_a_depth_that_no_source_may_use_is_kept_from_the_method(block):
    view = view_of(block, depth=True)
    further = [further_view(block, (0.1, 0.5, 0.35))]
    first, others = apply_hints(view, ScaleHints(), further)
    assert first.frame.depth is view.frame.depth
    assert others is further
    assert apply_hints(view, ScaleHints(order=('known_size',)), ())[0].frame.depth is None
    # What goes before it may need a shape that was made without.
    order = ('known_size', 'views', 'depth')
    assert apply_hints(view, ScaleHints(order=order), ())[0].frame.depth is view.frame.depth
    assert apply_hints(view, ScaleHints(order=order, known_size=0.2), ())[0].frame.depth is None
    first, others = apply_hints(view, ScaleHints(order=order), further)
    assert first.frame.depth is others[0].view.frame.depth is None


# Planes


def test_the_plane_tells_the_vertical_where_gravity_does_not(block):
    view = view_of(block)
    told, _ = apply_hints(view, ScaleHints(plane=PLANE), ())
    np.testing.assert_allclose(told.frame.gravity, -UP, atol=1e-9)
    assert placed(shape_of(block), view, plane=PLANE).elevation_source == 'plane'
    level = view_of(block, gravity=True)
    assert placed(shape_of(block), level, plane=PLANE).elevation_source == 'gravity'


def test_a_plane_that_is_tilted_against_gravity_is_refused(block):
    view = view_of(block, gravity=True)
    tilted = Plane(UP + 0.6 * T_TABLE_CAMERA[1, :3], PLANE.offset)
    with refused('tilted by 31 degrees'):
        apply_hints(view, ScaleHints(plane=tilted), ())
    apply_hints(view, ScaleHints(plane=tilted, order=('depth',)), ())


def test_a_plane_over_the_camera_is_refused():
    with refused('below the support plane'):
        horizontal_plane(T_TABLE_CAMERA, 0.9)


@pytest.mark.parametrize(('up', 'offset'), [((0, 0, 0), -1.0), ((0, -1, 0), float('nan'))])
def test_a_plane_needs_numbers(up, offset):
    with refused('support plane'):
        Plane(np.array(up, float), offset)


def test_a_plane_that_is_looked_along_tells_nothing(block):
    T = look_at((0.5, 0.1, 0.015), (0.0, 0.0, 0.09))
    low = block.moved(invert(T) @ T_TABLE_CAMERA)
    with refused('looks along'):
        from_plane(low.vertices, horizontal_plane(T, 0.0))


def test_a_plane_in_millimetres_is_noticed(block):
    with refused('long; objects are'):
        from_plane(block.vertices, Plane(UP, -400.0))


def test_a_plane_behind_the_object_is_noticed_where_there_is_depth(block):
    view = view_of(block, depth=True)
    floor = horizontal_plane(T_TABLE_CAMERA, -0.7)
    shape = placed(shape_of(block, 2.0), view, plane=floor, order=('plane', 'depth'))
    assert shape.scale_source == 'depth'
    assert 'plane is behind the object' in shape.notes[0]


def test_a_plane_that_depth_contradicts_is_doubted(block):
    floor = horizontal_plane(T_TABLE_CAMERA, -0.7)
    shape = placed(shape_of(block, source='depth'), view_of(block, depth=True), plane=floor)
    assert shape.scale_source == 'depth'
    assert 'above the support plane' in shape.notes[0]


def test_without_a_given_plane_it_is_looked_for_around_the_object(block):
    view = view_of(block, depth=True)
    frame = replace(view.frame, depth=np.where(view.mask, np.float32(0.0), view.frame.depth))
    clear = replace(view, frame=frame)
    shape = placed(shape_of(block, 3.0), clear, order=('plane',))
    assert shape.scale_source == 'plane'
    np.testing.assert_allclose(place_of(shape), block.vertices, atol=0.01)
    blank = replace(view, frame=replace(frame, depth=np.zeros_like(frame.depth)))
    with refused('none was found'):
        placed(shape_of(block, 3.0), blank, order=('plane',))


# Known sizes


def test_a_shape_without_depth_that_is_a_fragment_of_its_mask_is_refused(block):
    # Blocks on both sides, in one mask with the one that was found.
    mask = np.zeros((CAMERA.height, CAMERA.width), bool)
    for aside in (-0.17, 0.0, 0.17):
        mask |= block.moved(rigid(np.eye(3), [aside, 0.0, 0.0])).rasterize(CAMERA).mask
    image = np.full((*mask.shape, 3), 120, np.uint8)
    view = crop_object(Frame(image, CAMERA, gravity=-UP), mask)
    with refused('covers only [1-4][0-9] % of the mask', ErrorCode.NO_SURFACE):
        placed(shape_of(block), view)
    assert placed(shape_of(block), view_of(block, gravity=True)).mask_iou > 0.9


def test_a_shape_that_leaves_a_part_of_its_mask_bare_is_doubted(block):
    beside = block.moved(rigid(np.eye(3), [0.14, 0.0, 0.0]))
    both = [one.rasterize(CAMERA) for one in (block, beside)]
    mask = both[0].mask | both[1].mask
    depth = np.where(both[0].mask, both[0].depth, both[1].depth).astype(np.float32)
    image = np.full((*mask.shape, 3), 120, np.uint8)
    view = crop_object(Frame(image, CAMERA, depth, -UP), mask)
    shape = placed(shape_of(block, source='depth'), view)
    assert any('of the mask; a part of the object may be missing' in note for note in shape.notes)
    assert placed(shape_of(block, source='depth'), view_of(block, depth=True)).notes == ()


@pytest.mark.parametrize('size', [0.0, -0.1, float('nan'), float('inf'), 100.0])
def test_a_known_size_that_nothing_has_is_refused(size):
    with refused('known size'):
        ScaleHints(known_size=size)


@pytest.mark.parametrize('stddev', [-0.1, 1.0, float('nan')])
def test_a_known_size_is_known_to_a_share(stddev):
    with refused('standard deviation'):
        ScaleHints(known_size=0.1, known_size_stddev=stddev)


def test_known_sizes_are_read_by_class():
    assert known_sizes(['mug: 0.10', 'ns:bowl:0.2 ']) == {'mug': 0.1, 'ns:bowl': 0.2}
    assert known_sizes([]) == {}


@pytest.mark.parametrize(('entries', 'words'), [
    (['mug'], 'not of the form'),
    (['mug: ten'], 'not of the form'),
    ([': 0.1'], 'not of the form'),
    (['mug: 0'], 'known size is 0 m'),
    (['mug: 0.1', 'mug: 0.2'], 'two known sizes'),
])
def test_known_sizes_that_cannot_be_are_refused(entries, words):
    with refused(words):
        known_sizes(entries)


def test_a_known_size_that_depth_contradicts_is_doubted(block):
    view = view_of(block, depth=True)
    shape = placed(shape_of(block, source='depth'), view, known_size=0.6)
    assert shape.scale_source == 'depth'
    assert '0.200 m long' in shape.notes[0]
    assert placed(shape_of(block, source='depth'), view, known_size=0.22).notes == ()


# Further views


def test_further_views_from_the_same_place_tell_nothing(block):
    with refused('move the camera'):
        from_views(block, [further_view(block, EYE)])


@pytest.mark.parametrize('error', [
    rigid(Rotation.from_rotvec([0.0, 0.4, 0.0]).as_matrix(), np.zeros(3)),
    rigid(np.eye(3), [0.0, 0.5, 0.0]),
    rigid(Rotation.from_rotvec([0.0, np.pi, 0.0]).as_matrix(), np.zeros(3)),
])
def test_poses_of_further_views_that_contradict_are_refused(block, error):
    right = [further_view(block, eye) for eye in ((0.1, 0.5, 0.35), (-0.4, 0.2, 0.3))]
    wrong = SourceView(right[1].view, right[1].T_ref_src @ error)
    with refused('contradict'):
        from_views(block.scaled(2.0), [right[0], wrong])


# Depth


def test_depth_moves_a_shape_to_where_it_was_seen(block):
    seen = window(view_of(block, depth=True))
    turned = np.eye(4)
    turned[:3, :3] = 1.1 * Rotation.from_rotvec(0.08 * UP).as_matrix()
    turned[:3, 3] = block.centre - turned[:3, :3] @ block.centre + [0.01, -0.01, 0.02]
    astray = block.moved(turned).scaled(0.3)
    found = align_to_depth(astray, seen, UP)
    off = np.linalg.norm(transform(found.T, astray.vertices) - block.vertices, axis=1)
    assert off.mean() < 0.01
    assert found.after.iou > found.before.iou
    assert found.after.residual < 0.02 < found.before.residual


def test_a_shape_that_depth_made_stays_where_it_is(block):
    shape = shape_of(block, source='depth')
    result = placed(shape, view_of(block, depth=True))
    np.testing.assert_array_equal(result.mesh.vertices, shape.mesh.vertices)
    np.testing.assert_array_equal(result.T_camera_object, shape.T_camera_object)
    assert result.mask_iou > 0.97


@pytest.mark.parametrize('source', ['unknown', 'depth'])
def test_the_depth_of_what_is_behind_a_transparent_object_is_noticed(block, source):
    view = view_of(block, depth=True)
    rays = CAMERA.rays()
    table = (PLANE.offset / (rays @ PLANE.up)).astype(np.float32)
    through = replace(view, frame=replace(view.frame, depth=table))
    with refused('in front of the object or behind it', ErrorCode.NO_DEPTH_IN_MASK):
        placed(shape_of(block, source=source), through)


def test_the_depth_of_what_is_before_most_of_the_object_is_noticed(block):
    view = view_of(block, depth=True)
    rows = np.arange(CAMERA.height)[:, None] > np.median(np.nonzero(view.mask)[0]) - 10
    hand = np.where(rows & view.mask, np.float32(0.3), view.frame.depth)
    covered = replace(view, frame=replace(view.frame, depth=hand))
    with refused('in front of the object or behind it', ErrorCode.NO_DEPTH_IN_MASK):
        placed(shape_of(block, source='depth'), covered)


def test_depth_that_misses_the_shape_is_noticed(block):
    view = view_of(block, depth=True)
    empty = replace(view, frame=replace(view.frame, depth=np.zeros_like(view.frame.depth)))
    with refused('readings are on the shape', ErrorCode.NO_DEPTH_IN_MASK):
        align_to_depth(block, window(empty))


# Refinement


def test_a_shape_beside_its_mask_is_moved_onto_it_and_keeps_upright(block):
    seen = window(view_of(block))
    beside = block.moved(rigid(np.eye(3), [0.03, 0.02, 0.0]))
    found = refine(beside, seen, scale=False, up=UP)
    assert found.before.iou < 0.8
    assert found.after.iou > 0.92
    assert agreement(beside.moved(found.T), seen).iou == pytest.approx(found.after.iou)
    np.testing.assert_allclose(found.T[:3, :3] @ UP, UP, atol=0.02)
    assert np.linalg.det(found.T[:3, :3]) == pytest.approx(1.0)


def test_what_no_motion_makes_better_stays(block):
    seen = window(view_of(block))
    np.testing.assert_array_equal(refine(block, seen, scale=False).T, np.eye(4))
    # Of another form than its mask: better laid it cannot be, so that it must not be worse.
    ball = trimesh.creation.icosphere(3, 0.07)
    other = Surface(ball.vertices + block.centre, ball.faces.astype(np.int32))
    found = refine(other, seen, scale=False)
    assert found.after.iou >= found.before.iou
    assert agreement(other.moved(found.T), seen).iou == pytest.approx(found.after.iou)


# Through the lifter


def ball_scene() -> tuple[Frame, np.ndarray]:
    """Return a ball of 10 cm on the table, and its mask."""
    ball = trimesh.creation.icosphere(3, 0.05)
    T = invert(T_TABLE_CAMERA) @ rigid(np.eye(3), [0.0, 0.0, 0.05])
    view = view_of(
        Surface(transform(T, ball.vertices), ball.faces.astype(np.int32)), depth=True, gravity=True
    )
    return view.frame, view.mask


@pytest.mark.parametrize(('hints', 'source'), [
    (ScaleHints(plane=PLANE, order=('plane',)), 'plane'),
    (ScaleHints(known_size=0.1, order=('known_size',)), 'known_size'),
    (ScaleHints(order=('plane', 'depth')), 'plane'),
])
def test_a_ball_is_lifted_to_its_place_without_depth(hints, source):
    frame, mask = ball_scene()
    shape = Lifter('geometric').lift(frame, LiftRequest(mask, hints=hints))
    assert shape.scale_source == source
    middle = transform(invert(T_TABLE_CAMERA), (0.0, 0.0, 0.05))
    assert np.linalg.norm(shape.T_camera_object[:3, 3] - middle) < 0.05
    assert shape.size == pytest.approx(3 * [0.1], rel=0.2)
    assert shape.mask_iou > 0.9
    assert 'placement' in shape.seconds


def test_a_transparent_object_gets_its_scale_from_what_was_named():
    frame, mask = ball_scene()
    clear = replace(frame, depth=np.where(mask, np.float32(0.0), frame.depth))
    with pytest.raises(LiftError, match='readings inside the mask'):
        Lifter('geometric').lift(clear, mask)
    shape = Lifter('geometric').lift(clear, LiftRequest(mask, hints=ScaleHints(plane=PLANE)))
    assert shape.scale_source == 'plane'
    assert 'readings inside the mask' in shape.notes[0]


def published(frame: Frame, mask: np.ndarray, side: float):
    """Return a stand-in for the published networks, which see a ball of canonical ``side``."""
    ball = trimesh.creation.icosphere(3, 0.5 * side)

    class Published:
        def reconstruct(self, view, rng, progress):
            return PublishedSurface(
                vertices=np.asarray(ball.vertices, np.float32),
                faces=np.asarray(ball.faces, np.int32),
                colors=np.full((len(ball.vertices), 3), 90, np.uint8),
                distance=lambda p: (np.linalg.norm(p, axis=1) - 0.5 * side).astype(np.float32),
                canonical=canonical_frame(view, 30.0),
                elevation=find_elevation(view),
                agreement=1.0,
                images=np.zeros((32, 8, 8, 3), np.uint8),
                first_images=np.zeros((8, 8, 8, 3), np.uint8),
                plan=(),
                first_plan=(),
            )

    return Published()


def test_a_published_surface_of_another_size_is_laid_on_the_depth(monkeypatch):
    frame, mask = ball_scene()
    lifter = Lifter('one2345', weights='full')
    monkeypatch.setattr(One2345Published, 'check', lambda self: None)
    monkeypatch.setattr(
        PublishedOne2345, 'load', lambda *names, **options: published(frame, mask, 0.7)
    )
    shape = lifter.lift(frame, mask)
    assert shape.scale_source == 'depth'
    assert shape.size == pytest.approx(3 * [0.1], rel=0.1)
    middle = transform(invert(T_TABLE_CAMERA), (0.0, 0.0, 0.05))
    assert np.linalg.norm(shape.T_camera_object[:3, 3] - middle) < 0.006
    # The far side is the networks', where their surface now is.
    off = np.linalg.norm(place_of(shape) - middle, axis=1) - 0.05
    assert np.abs(off[~shape.observed]).mean() < 0.004
    # Through glass the table is seen, which no ball can be laid on.
    table = (PLANE.offset / (CAMERA.rays() @ PLANE.up)).astype(np.float32)
    with refused('support plane', ErrorCode.NO_DEPTH_IN_MASK):
        lifter.lift(replace(frame, depth=table), mask)


# On the command line


def test_a_scene_keeps_its_plane(tmp_path):
    frame, mask = ball_scene()
    write_scene(tmp_path, frame, mask, plane=PLANE)
    plane = read_plane(tmp_path)
    np.testing.assert_allclose(plane.up, PLANE.up, atol=1e-12)
    assert plane.offset == PLANE.offset
    write_scene(tmp_path, frame, mask)
    assert read_plane(tmp_path) is None
    assert read_plane(tmp_path / 'cut-out.png') is None


@pytest.mark.parametrize(('entry', 'code'), [
    ([0.0, -1.0, 0.0], ErrorCode.NO_CAMERA),
    ('the floor', ErrorCode.NO_CAMERA),
    ([0.0, -1.0, 0.0, 0.4], ErrorCode.BAD_REQUEST),
])
def test_a_plane_that_a_scene_names_wrong_is_refused(tmp_path, entry, code):
    (tmp_path / 'camera.json').write_text(json.dumps({'plane': entry}))
    with pytest.raises(LiftError) as caught:
        read_plane(tmp_path)
    assert caught.value.code is code


def test_the_command_line_tells_the_scale(tmp_path, capsys):
    frame, mask = ball_scene()
    write_scene(tmp_path / 'named', frame, mask, plane=PLANE)
    write_scene(tmp_path / 'bare', frame, mask)
    common = ['lift', str(tmp_path / 'named'), str(tmp_path / 'bare'), '--method', 'geometric']
    common += ['--out', str(tmp_path / 'out'), '--no-depth', '--known-size', '0.1']
    assert main(common) == 0
    reports = [json.loads((tmp_path / 'out' / f'{n}.json').read_text()) for n in ('named', 'bare')]
    assert [report['scale_source'] for report in reports] == ['plane', 'known_size']
    for report in reports:
        assert report['mask_iou'] > 0.9
        assert report['notes'] == []
        assert 0.0 < report['scale_stddev'] < 0.2


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--known-size', '0'], 'known size is 0 m'),
    (['--plane', '0', '-1', '0', '0.5'], 'below the support plane'),
    (['--scale-source', 'tape'], 'no source of scale "tape"'),
])
def test_what_cannot_be_is_refused_before_any_scene(tmp_path, capsys, arguments, words):
    (tmp_path / 'scene').mkdir()
    done = main([
        'lift', str(tmp_path / 'scene'), '--method', 'geometric', '--out', str(tmp_path),
        *arguments,
    ])
    assert done != 0
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'scene.json').exists()


# In the benchmark


def test_tracks_tell_the_table_or_the_longest_side():
    mesh = Mesh(
        trimesh.creation.box(SIDES).vertices.astype(np.float32),
        np.zeros((0, 3), np.int32),
        np.zeros((8, 3), np.uint8),
    )
    T = invert(T_TABLE_CAMERA) @ rigid(np.eye(3), [0.0, 0.0, 0.5 * SIDES[2]])
    plane = TRACKS['rgb-plane'].hints(mesh, T).plane
    np.testing.assert_allclose(plane.up, PLANE.up)
    assert plane.offset == pytest.approx(PLANE.offset)
    assert TRACKS['rgb-size'].hints(mesh, T).known_size == pytest.approx(max(SIDES))
    assert TRACKS['rgb'].hints(mesh, T) is None


def test_the_distance_error_is_that_of_a_wrong_factor(block):
    assert distance_error(1.2 * block.vertices, block.vertices, np.zeros(3)) == pytest.approx(0.2)
