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

"""The votes of symmetries on the unobserved side of a field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.occupancy_grid import OccupancyGrid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.meshing.carving import search_box
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.methods.symmetry_pool import pool_symmetries
from lift3d_ros.methods.symmetry_pool import SymmetryPool
from lift3d_ros.observation.observed_object import observe
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.progress import Progress
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene

SIDE = 40


@pytest.fixture(scope='module')
def can() -> TableScene:
    """Return a scene with a can."""
    solid = trimesh.creation.cylinder(radius=0.035, height=0.12, sections=64)
    vertices = np.asarray(solid.vertices, np.float32) + np.float32([0.0, 0.0, 0.06])
    color = np.full((len(vertices), 3), 128, np.uint8)
    return make_scene(Mesh(vertices, np.asarray(solid.faces, np.int32), color), 3)


@pytest.fixture(scope='module')
def observed(can: TableScene) -> ObservedObject:
    """Return what the camera sees of the can."""
    view = crop_object(can.frame, can.mask)
    return observe(view, LiftRequest(can.mask), np.random.default_rng(0))


@pytest.fixture(scope='module')
def canonical(observed: ObservedObject) -> CanonicalFrame:
    """Return the canonical frame of the view."""
    elevation = observed.view.elevation()
    assert elevation is not None
    return canonical_frame(observed.view, elevation)


@pytest.fixture(scope='module')
def truth(can: TableScene, canonical: CanonicalFrame) -> np.ndarray:
    """Return the solid of the can at the points of the field."""
    inside = Raycaster([can.mesh_in_camera()]).contains(points_of(canonical))
    return inside.reshape(SIDE, SIDE, SIDE)


def grid(values: np.ndarray) -> OccupancyGrid:
    """Return a field over the cube of side 1.6."""
    voxel = 1.6 / SIDE
    return OccupancyGrid(values.astype(np.float32), np.full(3, -0.8 + 0.5 * voxel), voxel)


def points_of(canonical: CanonicalFrame) -> np.ndarray:
    """Return the points of the field in the optical frame."""
    field = grid(np.zeros((SIDE, SIDE, SIDE)))
    index = np.stack(np.meshgrid(*(np.arange(SIDE),) * 3, indexing='ij'), axis=-1).reshape(-1, 3)
    return transform(canonical.camera_from_canonical, field.origin + field.voxel * index)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two solids."""
    return float((a & b).sum() / (a | b).sum())


def pooled(field, canonical, observed, settings=None) -> OccupancyGrid:
    """Return the field with the votes."""
    return pool_symmetries(
        field, canonical, observed, np.random.default_rng(0), Progress(), settings)


def test_votes_complete_a_field_that_is_undecided_behind(can, observed, canonical, truth):
    behind = observed.observation.thickness_at(points_of(canonical))[0].reshape(truth.shape)
    probability = np.where(truth, np.where(behind > 0.03, 0.4, 0.9), 0.05)
    before = grid(probability)
    after = pooled(before, canonical, observed)
    assert overlap(before.values > 0.5, truth) < 0.7
    assert overlap(after.values > 0.5, truth) > 0.8


def test_a_field_that_is_sure_stays_as_it_is(observed, canonical, truth):
    after = pooled(grid(np.where(truth, 0.999, 0.001)), canonical, observed)
    assert overlap(after.values > 0.5, truth) > 0.97


def test_a_field_that_disagrees_with_all_symmetries_gets_no_votes(observed, canonical, truth):
    # Solid only far behind the can.
    behind = observed.observation.thickness_at(points_of(canonical))[0].reshape(truth.shape)
    field = grid(np.where((behind > 0.15) & (behind < 0.17), 0.9, 0.1))
    assert pooled(field, canonical, observed) is field


def test_an_empty_field_stays_empty(observed, canonical):
    field = grid(np.full((SIDE, SIDE, SIDE), 0.1))
    assert pooled(field, canonical, observed) is field


def test_an_object_behind_an_occluder_gets_no_votes(observed, canonical, truth):
    occluder = np.zeros_like(observed.observation.mask)
    occluder[:4] = True
    hidden = replace(observed, observation=replace(observed.observation, occluder=occluder))
    field = grid(np.where(truth, 0.6, 0.3))
    assert pooled(field, canonical, observed) is not field
    assert pooled(field, canonical, hidden) is field


def test_an_object_that_the_image_cuts_gets_no_votes(observed, canonical, truth):
    cut = replace(observed, view=replace(observed.view, truncated=True))
    field = grid(np.where(truth, 0.6, 0.3))
    assert pooled(field, canonical, cut) is field


def test_an_object_without_space_for_votes_keeps_its_field(observed, canonical, truth):
    # All of the object is below the plane.
    offset = float(observed.support.up @ np.median(observed.observation.points(), axis=0)) + 1.0
    below = replace(observed, support=replace(observed.support, offset=offset))
    with pytest.raises(LiftError) as caught:
        search_box(below.observation, below.support)
    assert caught.value.code == ErrorCode.NO_SURFACE
    field = grid(np.where(truth, 0.6, 0.3))
    assert pooled(field, canonical, below) is field


def test_the_same_seed_gives_the_same_votes(observed, canonical, truth):
    field = grid(np.where(truth, 0.6, 0.3))
    first = pooled(field, canonical, observed)
    np.testing.assert_array_equal(first.values, pooled(field, canonical, observed).values)


def test_without_weight_the_votes_do_not_count(observed, canonical, truth):
    field = grid(np.where(truth, 0.6, 0.3))
    assert pooled(field, canonical, observed, SymmetryPool(weight=0.0)) is field
