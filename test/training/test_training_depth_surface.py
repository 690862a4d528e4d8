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

"""`lift3d train depth-surface`: targets, objects, samples, and a run that leaves weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lift3d_ros.cli import main
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.training.depth_surface.objects import training_objects
from lift3d_ros.training.depth_surface.objects import write_dev
from lift3d_ros.training.depth_surface.run import DepthSurfaceTraining
from lift3d_ros.training.depth_surface.run import initial_network
from lift3d_ros.training.depth_surface.samples import depth_inputs
from lift3d_ros.training.depth_surface.samples import DepthSampleSettings
from lift3d_ros.training.depth_surface.samples import mirrored_sample
from lift3d_ros.training.depth_surface.samples import point_evidence
from lift3d_ros.training.depth_surface.samples import SampleMaker
from lift3d_ros.training.depth_surface.targets import BOX_POINTS
from lift3d_ros.training.depth_surface.targets import NEAR_POINTS
from lift3d_ros.training.depth_surface.targets import solid_agreement
from lift3d_ros.training.depth_surface.targets import solid_in_box
from lift3d_ros.training.depth_surface.targets import true_points
from lift3d_ros.training.depth_surface.targets import winding_number
from lift3d_ros.training.depth_surface.task import DepthSurfaceTask
from lift3d_ros.training.runs import read_settings
from lift3d_ros.weights.store import find
from lift3d_ros.weights.store import problems

pytestmark = pytest.mark.usefixtures('one_thread')

SETTINGS = """
samples: {real_like: 0.0}
depth_surface: {minutes: 0.02, batch: 1, warmup: 1}
first: 2
dev: 1
renderers: 0
threads: 1
"""

SIZE = np.array([0.2, 0.12, 0.06])


def block() -> Mesh:
    """Return a box with outward faces, its centre at the origin."""
    import trimesh

    box = trimesh.creation.box(SIZE)
    return Mesh(
        np.asarray(box.vertices, np.float32), np.asarray(box.faces, np.int32),
        np.full((8, 3), 128, np.uint8))


def test_points_have_the_distance_of_a_box():
    mesh = block()
    T = np.diag([0.2, 0.2, 0.2, 1.0])
    truth = true_points(
        mesh, Raycaster([mesh]), T, np.full(3, -0.6), np.full(3, 0.6), np.random.default_rng(0))
    assert truth.points.shape == (NEAR_POINTS + BOX_POINTS, 3)
    q = np.abs(truth.points) - 0.5 * SIZE / 0.2
    exact = np.linalg.norm(np.maximum(q, 0.0), axis=1) + np.minimum(q.max(axis=1), 0.0)
    assert np.abs(truth.distance - exact).max() < 1e-4
    inside = truth.distance[NEAR_POINTS:] < 0.0
    assert inside.mean() == pytest.approx(SIZE.prod() / 0.24**3, abs=0.02)


def test_the_solid_fills_its_own_box():
    mesh = block()
    solid, origin, voxel = solid_in_box(mesh, 32)
    assert solid.sum() * voxel**3 == pytest.approx(SIZE.prod(), rel=0.15)
    # The longest side takes all voxels but the margin.
    assert solid.any(axis=(1, 2)).sum() == 30
    assert origin + 0.5 * voxel * 31 == pytest.approx(np.zeros(3), abs=1e-6)


def test_the_winding_number_tells_solids_from_open_and_doubled_ones():
    mesh = block()
    points = np.array([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]])
    assert winding_number(mesh, points) == pytest.approx([1.0, 0.0], abs=1e-4)
    assert solid_agreement(mesh) == 1.0
    # Two solids that overlap: rays count their common part as outside.
    moved = Mesh(mesh.vertices + np.float32([0.1, 0.0, 0.0]), mesh.faces, mesh.colors)
    both = Mesh(
        np.concatenate([mesh.vertices, moved.vertices]),
        np.concatenate([mesh.faces, moved.faces + 8]), np.concatenate([mesh.colors] * 2))
    assert solid_agreement(both) < 0.95


def test_objects_that_are_no_solids_are_left_out_with_the_reason(tmp_path):
    entries = []
    models, scans = tmp_path / 'models', tmp_path / 'scans'
    models.mkdir()
    scans.mkdir()
    for number, (name, more) in enumerate([
        ('can', {}), ('full', {'hollow': True}), ('open', {}), ('torn', {'solid_ok': False}),
        *((f'twin{k}', {'family': 'twins'}) for k in range(8)),
    ]):
        mesh = procedural_object(number % 4, 'can')
        faces = mesh.faces[len(mesh.faces) // 2:] if name == 'open' else mesh.faces
        low = mesh.vertices.min(axis=0)
        scale = np.float32(np.ptp(mesh.vertices, axis=0).max() / 65535.0)
        np.savez(
            models / f'{name}.npz', v_scale=np.full(3, scale), v_offset=low, faces=faces,
            vertices_q=np.rint((mesh.vertices - low) / scale).astype(np.uint16),
            vertex_colors=mesh.colors)
        entries.append({'name': name, 'file': f'{name}.npz', 'split': 'train', **more})
    (models / 'manifest.json').write_text(json.dumps(entries))
    procedural_object(50, 'jar').export(scans / 'jar.ply')
    objects = training_objects(scans, [models], tmp_path / 'solids.json')
    kept = {entry.name for entry in (*objects.scans, *objects.models, *objects.dev)}
    assert {'jar', 'can'} <= kept
    assert set(objects.excluded) == {'full', 'open', 'torn', 'twin6', 'twin7'}
    assert len(set(objects.excluded.values())) == 3
    # The families of dev are not in training.
    assert not {entry.family for entry in objects.dev} & {
        entry.family for entry in (*objects.scans, *objects.models)}


def test_the_objects_of_dev_can_be_measured_by_the_benchmark(tmp_path):
    from dataclasses import replace

    scans = tmp_path / 'scans'
    scans.mkdir()
    for name in ('jar', 'large'):
        mesh = procedural_object(50, 'jar')
        scale = np.float32(8.0 if name == 'large' else 1.0)
        Mesh(mesh.vertices * scale, mesh.faces, mesh.colors).export(scans / f'{name}.ply')
    objects = training_objects(scans, [], tmp_path / 'solids.json')
    write_dev(tmp_path / 'dev', replace(objects, dev=(*objects.scans, *objects.dev)))
    (entry,) = find_objects(tmp_path / 'dev', 'dev')
    assert entry.name == 'jar', 'larger than what stands on a table'
    assert len(entry.load().faces) > 0


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp('objects')
    procedural_object(3, 'mug').export(folder / 'mug.ply')
    objects = training_objects(folder, [], folder / 'solids.json')
    maker = SampleMaker(find('small'), initial_network(find('small')), objects)
    return maker.make(0, DepthSampleSettings(scans=0.0, models=0.0, thin=0.0, real_like=0.0))


def batch_of(*samples):
    return {name: torch.from_numpy(np.stack([one[name] for one in samples]))
            for name in samples[0]}


def test_a_sample_and_its_mirror_image_agree_with_the_truth(sample):
    network = initial_network(find('small'))
    batch = batch_of(sample, mirrored_sample(sample))
    with torch.no_grad():
        field = network(depth_inputs(batch))
        unit, evidence, distance = point_evidence(batch, torch.arange(NEAR_POINTS + BOX_POINTS))
        logit = network.decode(field, unit, evidence)
    inside = distance < 0.0
    assert torch.equal(inside[0], inside[1])
    right = ((logit > 0.0) == inside)[:, NEAR_POINTS:].float().mean(dim=1)
    # The packaged network knows the object well; a wrong frame would not.
    assert (right > 0.9).all()
    overlap = ((logit > 0.0) & inside).sum(dim=1) / ((logit > 0.0) | inside).sum(dim=1)
    assert (overlap > 0.5).all()


def test_losses_reach_trunk_and_decoder(sample):
    torch.manual_seed(0)
    network = initial_network(find('small')).train().requires_grad_(True)
    task = DepthSurfaceTask([sample])
    terms = task.losses(network, batch_of(sample), 0)
    assert {'near', 'box', 'distance', 'overlap', 'overlap_near'} == set(terms)
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert network.decoder[-1].weight.grad.abs().sum() > 0.0
    scores = task.evaluate(network)
    assert {'score', 'iou', 'accuracy'} < set(scores)
    assert 0.5 < scores['accuracy'] <= 1.0


def test_a_run_leaves_weights_that_lift_and_goes_on_where_it_was(meshes, tmp_path, capsys):
    settings = tmp_path / 'settings.yaml'
    settings.write_text(SETTINGS)
    out = tmp_path / 'run'
    words = [
        'train', 'depth-surface', '--data', str(meshes), '--out', str(out), '--settings',
        str(settings),
    ]
    assert main(words) == 0
    weights = out / 'weights'
    assert problems(weights) == []
    assert (out / 'depth_surface' / 'last.pt').is_file()
    first = [json.loads(line) for line in (out / 'depth_surface' / 'curve.jsonl').open()]
    assert first[-1]['step'] >= 1
    name = 'surface/model.safetensors'
    assert (weights / name).read_bytes() == (find('small') / name).read_bytes()
    scene = make_scene(procedural_object(5, 'can'), 1, TableSettings(window=1.5, table_cells=8))
    shape = Lifter('one2345', weights=str(weights)).lift(scene.frame, scene.mask)
    assert shape.mesh.is_watertight()
    assert main(words) == 2
    assert '--resume' in capsys.readouterr().err
    assert main([*words, '--resume']) == 0
    again = [json.loads(line) for line in (out / 'depth_surface' / 'curve.jsonl').open()]
    assert again[-1]['step'] > first[-1]['step']


def test_the_settings_in_config_are_the_defaults():
    path = Path(__file__).parents[2] / 'config' / 'train_depth_surface.yaml'
    assert read_settings(path, DepthSurfaceTraining()) == DepthSurfaceTraining()
