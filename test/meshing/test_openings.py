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

"""Openings of a level set stay where a ray passed, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.isosurface import extract_surface
from lift3d_ros.meshing.openings import close_openings
from lift3d_ros.meshing.topology import euler_number
from lift3d_ros.meshing.topology import shrink
from lift3d_ros.meshing.topology import without_strands

SIDE, VOXEL = 49, 0.002
AT = np.stack(np.meshgrid(*[np.arange(SIDE) - SIDE // 2] * 3, indexing='ij'), axis=-1)
X, Y, Z = (AT[..., k].astype(float) for k in range(3))
RADIUS = np.sqrt(X**2 + Y**2 + Z**2)


def vessel(thickness: float = 3.0) -> np.ndarray:
    """Return the field of a half ball without a lid, its opening along z, in voxels."""
    wall = 0.5 * thickness - np.abs(RADIUS - 16.0)
    return np.minimum(wall, 8.0 - Z)


def free_inside(points: Array, margin: float) -> np.ndarray:
    """Return whether rays down the opening crossed points."""
    x, y, z = (points / VOXEL).T
    # Rays along z, which end at the bottom.
    beside = np.hypot(x, y) > 20.0
    depth = np.sqrt(np.maximum(14.5**2 - x**2 - y**2, 0.0))
    down = (np.hypot(x, y) < 9.0) & (z > margin / VOXEL - depth)
    return beside | down | (z > 10.0 + margin / VOXEL)


def nowhere(points: Array, margin: float) -> np.ndarray:
    return np.zeros(len(points), bool)


def closed(field: np.ndarray, free=nowhere, occupancy=None) -> np.ndarray:
    """Return the field, voxels in and out, without openings that no ray passed."""
    if occupancy is None:
        def occupancy(points: Array) -> np.ndarray:
            return np.full(len(points), 0.1, np.float32)
    values = (VOXEL * np.clip(field, -1.0, 1.0)).astype(np.float32)
    low = -VOXEL * np.full(3, float(SIDE // 2))
    return close_openings(values, low, VOXEL, occupancy, free) / VOXEL


def surface_of(field: np.ndarray) -> Mesh:
    vertices, faces = extract_surface(field.astype(np.float32), np.zeros(3), 1.0, 100_000)
    return Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))


def euler_of(mesh: Mesh) -> int:
    return int(mesh.to_trimesh().euler_number)


@pytest.mark.parametrize('seed', range(4))
def test_euler_number_is_that_of_the_surface(seed):
    noise = np.random.default_rng(seed).normal(size=(14, 15, 16))
    field = ndimage.gaussian_filter(noise, 1.5)
    inside = ndimage.binary_fill_holes(np.pad(field > 0.02, 1))
    labels, _ = ndimage.label(inside)
    inside = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    # Blocks of 3 x 3 x 3 samples have no ambiguous cubes.
    blocks = np.repeat(np.repeat(np.repeat(inside, 3, 0), 3, 1), 3, 2)
    mesh = surface_of(np.where(blocks, 0.1, -1.0))
    assert euler_number(inside) == euler_of(mesh)


def test_shrinking_keeps_the_topology_of_what_is_shrunk():
    ring = (np.abs(np.hypot(X, Y) - 14.0) < 6.0) & (np.abs(Z) < 7.0)
    seed = np.zeros_like(ring)
    seed[SIDE // 2 + 14, SIDE // 2, SIDE // 2] = True
    order = np.zeros(ring.shape, np.float32)
    loop = shrink(ring, seed, order)
    assert euler_number(loop) == euler_number(ring) == 0
    assert loop.sum() < 150
    assert ndimage.label(loop)[1] == 1
    # The loop is a strand, and goes as a whole once it is cut.
    cut = without_strands(loop, ~seed)
    np.testing.assert_array_equal(shrink(cut, seed, order), seed)
    ball = RADIUS < 12.0
    centre = RADIUS < 1.0
    np.testing.assert_array_equal(shrink(ball, centre, order), centre)


@pytest.mark.parametrize('seed', range(4))
def test_shrinking_keeps_the_pieces_and_tunnels_of_a_random_volume(seed):
    """Of the object by faces, and of what is outside by corners, too."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(24, 20, 22)), 1.0)
    grown = np.pad(noise > 0.1, 1)
    labels, count = ndimage.label(grown)
    core = np.zeros_like(grown)
    core.ravel()[np.unique(labels, return_index=True)[1][1:]] = True
    kept = shrink(grown, core, rng.random(grown.shape, np.float32))
    assert kept.sum() < 0.7 * grown.sum()
    assert (kept & ~grown).sum() == 0
    assert euler_number(kept) == euler_number(grown)
    corners = np.ones((3, 3, 3), bool)
    assert ndimage.label(kept)[1] == count
    assert ndimage.label(~kept, corners)[1] == ndimage.label(~grown, corners)[1]


@pytest.mark.parametrize('width', [2.0, 5.0, 9.0])
def test_a_hole_in_a_wall_that_no_ray_passed_is_closed(width):
    torn = np.minimum(vessel(), np.maximum(np.hypot(X, Y) - width, Z))
    assert euler_of(surface_of(torn)) == 0
    mended = closed(torn, free_inside)
    mesh = surface_of(mended)
    assert euler_of(mesh) == 2
    # The wall continues; the vessel is not filled.
    assert mended[SIDE // 2, SIDE // 2, SIDE // 2] < 0.0
    assert mesh.volume() < 1.15 * surface_of(vessel()).volume()
    assert (mended >= np.clip(torn, -1.0, 1.0) - 1.0).all()


def test_a_vessel_torn_into_two_rings_is_one_vessel():
    torn = np.minimum(vessel(), np.abs(Z + 4.0) - 1.5)
    assert ndimage.label(torn > 0.0)[1] == 2
    mesh = surface_of(closed(torn, free_inside))
    assert mesh.to_trimesh().body_count == 1
    assert euler_of(mesh) == 2
    height = np.ptp(surface_of(vessel()).vertices[:, 2])
    assert np.ptp(mesh.vertices[:, 2]) == pytest.approx(height, abs=1.0)


def test_a_wall_of_many_pores_is_closed():
    rng = np.random.default_rng(0)
    pores = ndimage.gaussian_filter(rng.normal(size=X.shape), 1.0)
    porous = np.where(pores > 1.3 * pores.std(), -1.0, vessel())
    labels, _ = ndimage.label(porous > 0.0)
    porous = np.where(labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1, porous, -1.0)
    assert euler_of(surface_of(porous)) < -10
    assert euler_of(surface_of(closed(porous, free_inside))) >= 0


def test_an_opening_that_a_ray_passed_stays_open():
    def through(points: Array, margin: float) -> np.ndarray:
        x, y, _ = (points / VOXEL).T
        return np.hypot(x, y) < 9.0

    ring = 4.0 - np.hypot(np.hypot(X, Y) - 14.0, Z)
    np.testing.assert_allclose(closed(ring, through), np.clip(ring, -1.0, 1.0), atol=1e-6)
    assert euler_of(surface_of(closed(ring, nowhere))) == 2


def test_a_wall_runs_where_the_field_is_most_probable():
    # The hole is nearer to z = -16 than to the bulge below, where the field has its ridge.
    torn = np.minimum(vessel(), np.maximum(np.hypot(X, Y) - 8.0, Z))

    def ridge(points: Array) -> np.ndarray:
        z = points[:, 2] / VOXEL
        return np.exp(-0.5 * ((z + 19.0) / 1.5) ** 2).astype(np.float32)

    column = closed(torn, free_inside, ridge)[SIDE // 2, SIDE // 2, : SIDE // 2]
    flat = closed(torn, free_inside)[SIDE // 2, SIDE // 2, : SIDE // 2]
    assert np.flatnonzero(column > 0.0).mean() < np.flatnonzero(flat > 0.0).mean() - 1.0


def test_what_is_whole_is_not_touched():
    for whole in (vessel(), 14.0 - RADIUS):
        values = (VOXEL * np.clip(whole, -1.0, 1.0)).astype(np.float32)

        def refuse(*_: object) -> np.ndarray:
            raise AssertionError('nothing to ask')

        assert close_openings(values, np.zeros(3), VOXEL, refuse, refuse) is values
