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

"""Meshes are closed as written, and closed when a reader merges vertices at one place."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import ndimage
import trimesh

from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.isosurface import extract_surface
from lift3d_ros.meshing.manifold import separate_sheets

VOXEL = 0.002


def checkerboard(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Return cells that touch at edges and corners only, some of them missing."""
    signs = np.indices(shape).sum(axis=0) % 2 * 2.0 - 1.0
    return np.where(rng.random(shape) < 0.2, -1.0, signs)


def sheets(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Return walls of a voxel and less, which cross each other."""
    at = np.indices(shape).astype(float)
    walls = []
    for _ in range(3):
        normal = rng.normal(size=3)
        normal /= np.linalg.norm(normal)
        offset = normal @ (np.array(shape) / 2.0) + rng.uniform(-2.0, 2.0)
        walls.append(rng.uniform(0.3, 0.8) - np.abs(np.tensordot(normal, at, 1) - offset))
    return np.maximum.reduce(walls)


def balls(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Return balls of equal size that touch in single points."""
    at = np.indices(shape).astype(float)
    radius = float(rng.integers(2, 4))
    corner = rng.integers(2, 5, 3).astype(float)
    return np.maximum.reduce([
        radius - np.sqrt(sum((at[k] - corner[k] - 2 * radius * step[k]) ** 2 for k in range(3)))
        for step in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0))
    ])


def noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a sponge."""
    return ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.0, 1.2))


def quantized(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a sponge of three values, of which one is the level itself."""
    return np.clip(np.rint(2.0 * rng.normal(size=shape)), -1.0, 1.0)


def assert_closed_for_readers(mesh: Mesh, path: Path) -> None:
    """Check a mesh as written to files of each kind, and what trimesh makes of it."""
    assert mesh.is_watertight()
    for kind in ('ply', 'stl', 'glb'):
        file = path / f'mesh.{kind}'
        mesh.export(file)
        loaded = trimesh.load(file, force='mesh')
        loaded.merge_vertices(merge_tex=True, merge_norm=True)
        assert len(loaded.faces) == len(mesh.faces)
        assert loaded.is_watertight, kind
        assert loaded.is_winding_consistent
        assert loaded.nondegenerate_faces().all()


@pytest.mark.parametrize('make', [checkerboard, sheets, balls, noise, quantized])
@given(seed=st.integers(0, 2**16), max_faces=st.sampled_from([400, 2000, 100_000]))
def test_fields_of_every_kind_give_meshes_that_stay_closed(
    make, tmp_path_factory, seed, max_faces
):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(8, 12, 3))
    field = np.pad(make(rng, shape), 1, constant_values=-1.0).astype(np.float32)
    origin = rng.uniform(-0.5, 0.5, 3)
    vertices, faces = extract_surface(VOXEL * field, origin, VOXEL, max_faces)
    assert len(faces) <= max_faces
    mesh = Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))
    # As the mesh of a camera two metres away is stored.
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = mesh.transformed(rigid(turn, np.array([0.3, -0.4, 2.0])))
    assert_closed_for_readers(moved, tmp_path_factory.mktemp('meshes'))


def test_sheets_that_touch_in_an_edge_are_two_sheets_with_a_gap():
    # Two boxes that share an edge: it has four faces.
    boxes = [
        trimesh.creation.box(bounds=[[0, 0, 0], [1, 1, 1]]),
        trimesh.creation.box(bounds=[[1, 1, 0], [2, 2, 1]]),
    ]
    joined = trimesh.util.concatenate(boxes)
    joined.merge_vertices()
    assert not joined.is_watertight
    vertices, faces = separate_sheets(joined.vertices, joined.faces, 0.01)
    apart = trimesh.Trimesh(vertices, faces)
    assert apart.is_watertight
    assert apart.body_count == 2
    assert apart.volume == pytest.approx(2.0, rel=0.02)


def test_an_open_mesh_is_refused():
    box = trimesh.creation.box()
    assert separate_sheets(box.vertices, box.faces[1:], 0.01) is None
