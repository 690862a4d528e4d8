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

"""The search for symmetries: which kinds it finds, and how exactly."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lift3d_ros.fields.symmetry import search
from lift3d_ros.fields.symmetry.hypotheses import Hypothesis
from lift3d_ros.fields.symmetry.hypotheses import KINDS
from lift3d_ros.fields.symmetry.hypotheses import Plausibility
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.meshing.carving import search_box
from lift3d_ros.meshing.solid import Solid
from lift3d_ros.observation.observed_object import observe
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene


def scene_of(solid: trimesh.Trimesh, seed: int) -> TableScene:
    """Return a scene with a solid on the table."""
    vertices = np.asarray(solid.vertices, np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    color = np.full((len(vertices), 3), 128, np.uint8)
    return make_scene(Mesh(vertices, np.asarray(solid.faces, np.int32), color), seed)


def hypotheses_of(scene: TableScene, count: int = 16) -> list[Hypothesis]:
    """Return the best hypotheses of the search."""
    view = crop_object(scene.frame, scene.mask)
    obs = observe(view, LiftRequest(scene.mask), np.random.default_rng(0))
    box = search_box(obs.observation, obs.support)
    return search.weigh(
        obs.observation, box.T_camera_up, box.area, box.cells, box.cell_volume,
        np.random.default_rng(0), Plausibility(), count)


def distance(scene: TableScene, hypothesis: Hypothesis) -> float:
    """Return the mean distance (metres) between the surface and itself moved by each motion."""
    mesh = scene.mesh_in_camera()
    solid = Solid(mesh)
    return float(np.mean([
        np.abs(solid.distance(transform(motion, mesh.vertices))).mean()
        for motion in hypothesis.motions]))


def misalignment(scene: TableScene) -> float:
    """Return the mean of ``distance`` over the hypotheses, by their weights."""
    found = [one for one in hypotheses_of(scene) if len(one.motions)]
    weights = np.array([one.weight for one in found])
    return float(weights @ [distance(scene, one) for one in found] / weights.sum())


@pytest.fixture(scope='module')
def cartons() -> list[TableScene]:
    """Return scenes with a carton, turned at random."""
    return [scene_of(trimesh.creation.box((0.09, 0.05, 0.14)), seed) for seed in range(3, 7)]


def test_alignment_fits_the_surface_more_exactly_than_the_grid(cartons, monkeypatch):
    aligned = [misalignment(scene) for scene in cartons]
    monkeypatch.setattr(search, 'ALIGNMENT_ROUNDS', 0)
    on_grid = [misalignment(scene) for scene in cartons]
    assert np.mean(aligned) < 0.6 * np.mean(on_grid)
    assert min(aligned) < 0.002


def test_the_best_hypothesis_is_the_first(cartons):
    weights = [one.weight for one in hypotheses_of(cartons[0])]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_hypotheses(cartons):
    first, second = hypotheses_of(cartons[0]), hypotheses_of(cartons[0])
    assert [one.kind for one in first] == [one.kind for one in second]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.motions, b.motions)


def test_each_kind_has_its_energy():
    assert len(Plausibility().kind) == len(KINDS)
