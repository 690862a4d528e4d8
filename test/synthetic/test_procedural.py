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

"""Objects made from a seed, and the demo scene."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lift3d_ros.cli.demo import DEMO_SCENE as PACKAGED_SCENE
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.io.scene import read_scene
from lift3d_ros.synthetic.demo_scene import DEMO_SCENE
from lift3d_ros.synthetic.demo_scene import make_demo_scene
from lift3d_ros.synthetic.procedural import distances
from lift3d_ros.synthetic.procedural import FAMILIES
from lift3d_ros.synthetic.procedural import family_of
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.procedural import surfaces
from lift3d_ros.synthetic.procedural.thin import THIN_FAMILIES
from lift3d_ros.synthetic.procedural.thin import thin_object


def pieces(mesh):
    """Return how many connected parts a mesh has."""
    count = len(mesh.vertices)
    a, b = mesh.faces.ravel(), mesh.faces[:, [1, 2, 0]].ravel()
    graph = coo_matrix((np.ones(len(a), bool), (a, b)), (count, count))
    return connected_components(graph, directed=False)[0]


@pytest.mark.parametrize('family', FAMILIES)
def test_objects_are_closed_of_one_piece_upright_and_of_household_size(family):
    for seed in range(6):
        mesh = procedural_object(seed, family)
        assert mesh.is_watertight()
        assert mesh.volume() > 0.0
        assert pieces(mesh) == 1
        extent = np.ptp(mesh.vertices, axis=0)
        assert 0.05 <= extent.max() <= 0.35
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        np.testing.assert_allclose([low[0] + high[0], low[1] + high[1], low[2]], 0.0, atol=1e-6)
        assert 2_000 < len(mesh.faces) < 16_000
        assert mesh.vertices.dtype == np.float32
        assert mesh.faces.dtype == np.int32
        assert mesh.colors.dtype == np.uint8
        assert mesh.colors.shape == mesh.vertices.shape


@pytest.mark.parametrize('family', THIN_FAMILIES)
def test_thin_objects_are_closed_of_one_piece_and_mostly_air(family):
    for seed in range(3):
        mesh = thin_object(seed, family)
        assert mesh.is_watertight()
        assert pieces(mesh) == 1
        extent = np.ptp(mesh.vertices, axis=0)
        assert 0.05 <= extent.max() <= 0.35
        assert mesh.vertices[:, 2].min() == pytest.approx(0.0, abs=1e-6)
        if family in ('open_box', 'rack', 'pan', 'frame'):
            assert mesh.volume() < 0.6 * extent.prod()
    with pytest.raises(ValueError, match='family'):
        thin_object(0, 'piano')


def test_a_seed_makes_the_same_object_whatever_was_made_before():
    one = procedural_object(17)
    procedural_object(18)
    other = procedural_object(17)
    np.testing.assert_array_equal(one.vertices, other.vertices)
    np.testing.assert_array_equal(one.faces, other.faces)
    np.testing.assert_array_equal(one.colors, other.colors)


@pytest.mark.parametrize('family', FAMILIES)
def test_no_two_objects_of_a_family_are_alike(family):
    meshes = [procedural_object(seed, family) for seed in range(4)]
    assert len({mesh.vertices.tobytes() for mesh in meshes}) == 4
    assert len({mesh.colors.tobytes() for mesh in meshes}) == 4


def test_seeds_are_spread_over_all_families():
    count = Counter(family_of(seed) for seed in range(2_000))
    assert set(count) == set(FAMILIES)
    assert min(count.values()) > 0.6 * 2_000 / len(FAMILIES)


def test_the_family_of_a_seed_is_the_one_that_is_made():
    seed = next(seed for seed in range(100) if family_of(seed) == 'bottle')
    np.testing.assert_array_equal(
        procedural_object(seed).vertices, procedural_object(seed, 'bottle').vertices
    )


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match='bottle, can'):
        procedural_object(0, 'teapot')


def test_a_family_that_makes_no_closed_mesh_is_an_error_not_a_bad_mesh(monkeypatch):
    can = FAMILIES['can']

    def leaky(rng):
        mesh = can(rng)
        return Mesh(mesh.vertices, mesh.faces[1:], mesh.colors)

    monkeypatch.setitem(FAMILIES, 'can', leaky)
    with pytest.raises(ValueError, match='no closed can'):
        procedural_object(0, 'can')


def test_a_mug_is_hollow_and_its_handle_has_a_hole():
    for seed in range(3):
        mesh = procedural_object(seed, 'mug')
        extent = np.ptp(mesh.vertices, axis=0)
        assert mesh.volume() < 0.4 * extent.prod()
        assert extent[0] > 1.1 * extent[1]
        # Genus 1: V - E + F = 0.
        assert len(mesh.vertices) - len(mesh.faces) // 2 == 0


def test_a_bowl_is_open_above():
    mesh = procedural_object(2, 'bowl')
    extent = np.ptp(mesh.vertices, axis=0)
    assert mesh.volume() < 0.45 * np.pi / 4.0 * extent.prod()


# Solids


def test_a_lathed_cylinder_has_the_volume_of_one():
    mesh = surfaces.lathe([(0.0, 0.0), (0.05, 0.0), (0.05, 0.2), (0.0, 0.2)])
    assert mesh.is_watertight()
    assert mesh.volume() == pytest.approx(np.pi * 0.05**2 * 0.2, rel=0.01)


def test_a_rounded_box_has_the_size_and_volume_of_one():
    size, r = np.array([0.1, 0.06, 0.2]), 0.01
    mesh = surfaces.rounded_box(size, r)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), size, atol=1e-6)
    a, b, c = size - 2.0 * r
    faces = 2.0 * r * (a * b + b * c + c * a)
    edges = np.pi * r**2 * (a + b + c)
    volume = a * b * c + faces + edges + 4.0 / 3.0 * np.pi * r**3
    assert mesh.volume() == pytest.approx(volume, rel=0.005)


def test_a_level_set_lies_where_the_distance_is_zero():
    center = np.array([0.01, 0.02, 0.03])
    mesh = surfaces.level_set(distances.ball(center, 0.05), center - 0.06, center + 0.06, 0.003)
    assert mesh.is_watertight()
    radius = np.linalg.norm(mesh.vertices - center, axis=1)
    np.testing.assert_allclose(radius, 0.05, atol=2e-4)


def test_a_level_set_that_leaves_its_box_is_closed_at_the_border():
    mesh = surfaces.level_set(
        distances.ball((0.0, 0.0, 0.0), 0.05), (0.0, -0.06, -0.06), (0.06,) * 3, 0.003
    )
    assert mesh.is_watertight()


@pytest.mark.parametrize(
    ('distance', 'point', 'expected'),
    [
        (distances.ball((0, 0, 1), 0.5), (0, 0, 3), 1.5),
        (distances.ellipsoid((0, 0, 0), (1, 2, 3)), (0, 2, 0), 0.0),
        (distances.box((0, 0, 0), (1, 1, 1), 0.1), (3, 0, 0), 2.0),
        (distances.box((0, 0, 0), (1, 1, 1), 0.1), (0, 0.5, 0), -0.5),
        (distances.capsule((0, 0, 0), (0, 0, 2), 0.5, 0.25), (1, 0, 2), 0.75),
        (distances.cylinder((0, 0, 0), (0, 0, 1), 1.0, 2.0, 0.1), (3, 0, 0), 2.0),
        (distances.cylinder((0, 0, 0), (0, 0, 1), 1.0, 2.0, 0.1), (0, 0, 5), 3.0),
        (distances.torus((0, 0, 0), 1.0, 0.25), (1, 0, 1), 0.75),
    ],
)
def test_signed_distances_are_those_of_the_solids(distance, point, expected):
    value = distance(np.array([point], np.float32))
    assert value == pytest.approx([expected], abs=1e-5)


def test_a_tabulated_polygon_is_negative_inside():
    square = [(0.0, 0.0), (0.05, 0.0), (0.05, 0.05), (0.0, 0.05)]
    distance = distances.tabulated(square, (-0.02, 0.08), (-0.02, 0.08))
    x, y = np.array([[0.025, 0.025], [0.06, 0.025], [0.045, 0.025]], np.float32).T
    np.testing.assert_allclose(distance(x, y), [-0.025, 0.01, -0.005], atol=5e-4)


# The demo scene


def test_the_packaged_demo_scene_is_the_one_that_is_made():
    assert DEMO_SCENE == PACKAGED_SCENE
    made = make_demo_scene()
    frame, mask = read_scene(DEMO_SCENE)
    assert frame.camera == made.frame.camera
    np.testing.assert_allclose(frame.gravity, made.frame.gravity, atol=1e-12)
    # On one kind of processor byte for byte; another, whose vector instructions round otherwise,
    # may turn a few pixels over.
    for packaged, again in (
        (frame.image, made.frame.image), (frame.depth, made.frame.depth), (mask, made.mask)
    ):
        assert np.mean(packaged != again) < 1e-3


def test_the_demo_scene_is_small_and_shows_the_mug_with_its_handle():
    assert sum(path.stat().st_size for path in DEMO_SCENE.iterdir()) < 1_000_000
    made = make_demo_scene()
    handle = made.mesh.vertices[:, 0] > 0.035
    camera = made.frame.camera
    u, v, z = camera.project(made.mesh_in_camera().vertices[handle])
    at = np.rint(v).astype(int), np.rint(u).astype(int)
    seen = np.abs(made.truth.depth[at] - z) < 0.002
    assert seen.mean() > 0.3
