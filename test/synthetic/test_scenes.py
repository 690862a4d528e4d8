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

"""Table scenes, the errors of sensors and detectors, and the objects of the benchmark."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
import trimesh

from lift3d_ros.bench.scenes import make_scenes
from lift3d_ros.bench.scenes import write_bench_scene
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import bounding_box
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.io.scene import read_scene
from lift3d_ros.meshing.render import Rendering
from lift3d_ros.synthetic import objects as object_sets
from lift3d_ros.synthetic.masks import MaskErrors
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import load_mesh
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.sensors.basic_stereo import DepthSensor
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings


def mesh_of(solid, color=(180, 120, 60)):
    """Return a trimesh solid as a mesh of one colour."""
    colors = np.tile(np.array(color, np.uint8), (len(solid.vertices), 1))
    return Mesh(solid.vertices.astype(np.float32), solid.faces.astype(np.int32), colors)


def cylinder(radius=0.04, height=0.12):
    """Return an upright cylinder, not centred at its origin."""
    return mesh_of(trimesh.creation.cylinder(radius, height).apply_translation([0.3, -0.2, 0.5]))


def cylinder_of_origin():
    """Return an upright cylinder, centred at its origin."""
    return mesh_of(trimesh.creation.cylinder(0.04, 0.12))


@pytest.fixture(scope='module')
def views():
    """Return scenes of one object from many sides."""
    return [make_scene(cylinder(), seed) for seed in range(8)]


# Scenes


def test_a_seed_makes_the_same_scene_byte_for_byte(tmp_path):
    for folder in ('one', 'other'):
        write_bench_scene(tmp_path / folder, make_scene(cylinder(), 5))
    files = sorted(path.name for path in (tmp_path / 'one').iterdir())
    assert files == ['camera.json', 'depth.png', 'mask.png', 'rgb.png', 'truth.ply']
    for name in files:
        one, other = (tmp_path / folder / name for folder in ('one', 'other'))
        assert one.read_bytes() == other.read_bytes(), name


@pytest.mark.parametrize(('seed', 'millimetres', 'detected', 'grey_levels'), [
    (0, 534372618, 31224, 393441007), (1, 296835517, 66830, 240658666),
    (2, 530596028, 11357, 313637536)])
def test_scenes_of_earlier_versions_are_made_again(seed, millimetres, detected, grey_levels):
    # Figures are compared over versions: another draw of any error changes these sums.
    box = mesh_of(trimesh.creation.box((0.06, 0.06, 0.07)), (20, 160, 40))
    scene = make_scene(cylinder_of_origin(), seed, occluder=box if seed == 2 else None)
    total = 1000.0 * scene.frame.depth.sum(dtype=np.float64)
    assert total == pytest.approx(millimetres, rel=1e-5)
    assert np.count_nonzero(scene.detection) == pytest.approx(detected, rel=1e-4)
    assert scene.frame.image.sum() == pytest.approx(grey_levels, rel=1e-5)


def test_another_seed_makes_another_scene(views):
    assert len({scene.azimuth for scene in views}) == len(views)
    assert len({scene.frame.camera.fx for scene in views}) == len(views)


def test_the_object_is_whole_in_the_image_and_as_large_as_asked(views):
    for scene in views:
        left, top, right, bottom = bounding_box(scene.mask)
        height, width = scene.mask.shape
        assert min(left, top, width - right, height - bottom) > 3
        nearest = scene.distance < 0.23
        assert (bottom - top) / height < 0.62
        assert (bottom - top) / height > 0.14 or nearest
        assert scene.occlusion == 0.0


def test_the_truth_lies_where_the_camera_saw_it(views):
    for scene in views:
        camera = scene.frame.camera
        seen = scene.mask & (scene.truth.depth > 0.0)
        v, u = np.nonzero(seen)
        points = camera.unproject(u, v, scene.truth.depth[seen])
        local = transform(invert(scene.T_camera_object), points) - [0.3, -0.2, 0.5]
        beside = np.abs(np.hypot(local[:, 0], local[:, 1]) - 0.04)
        above = np.abs(np.abs(local[:, 2]) - 0.06)
        assert np.minimum(beside, above).max() < 2e-4
        np.testing.assert_array_equal(scene.mask, scene.truth.instance == 0)


def test_the_elevation_is_that_of_the_view_with_gravity(views):
    for scene in views:
        assert 10.0 <= scene.elevation <= 70.0
        view = crop_object(scene.frame, scene.mask)
        # The middle of the silhouette is not quite the middle of the object.
        assert view.elevation() == pytest.approx(scene.elevation, abs=4.0)


def test_the_table_is_level_with_the_lowest_point_and_in_the_depth(views):
    for scene in views:
        table = scene.truth.instance == 1
        assert np.count_nonzero(table) > 1000
        v, u = np.nonzero(table)
        points = scene.frame.camera.unproject(u, v, scene.truth.depth[table])
        height = -(points @ scene.frame.gravity)
        lowest = -(scene.mesh_in_camera().vertices @ scene.frame.gravity).max()
        np.testing.assert_allclose(height, lowest, atol=1e-3)


def test_settings_are_kept():
    camera = Camera(320, 240, 250.0, 250.0, 159.5, 119.5)
    settings = TableSettings((30.0, 30.0), (45.0, 45.0), (0.5, 0.5), camera=camera)
    scene = make_scene(cylinder(), 3, settings)
    assert scene.frame.camera == camera
    assert (scene.azimuth, scene.elevation) == (30.0, 45.0)
    _, top, _, bottom = bounding_box(scene.mask)
    assert (bottom - top) / 240 == pytest.approx(0.5, abs=0.03)


def test_a_long_object_is_limited_by_the_width_of_the_image():
    rod = mesh_of(trimesh.creation.box((0.5, 0.02, 0.02)))
    settings = TableSettings((90.0, 90.0), (20.0, 20.0), (0.6, 0.6))
    left, _, right, _ = bounding_box(make_scene(rod, 1, settings).mask)
    assert right - left < 0.95 * make_scene(rod, 1, settings).mask.shape[1]


def test_an_occluder_hides_a_part_of_the_object():
    box = mesh_of(trimesh.creation.box((0.06, 0.06, 0.07)), (20, 160, 40))
    camera = Camera(320, 240, 250.0, 250.0, 159.5, 119.5)
    settings = TableSettings(distance=(0.5, 1.5), camera=camera)
    shares = []
    for seed in range(4):
        scene = make_scene(cylinder(), seed, settings, occluder=box)
        free = make_scene(cylinder(), seed, settings)
        assert scene.mask.any()
        assert not (scene.mask & ~free.mask).any()
        hidden = 1.0 - scene.mask.sum() / free.mask.sum()
        assert hidden == pytest.approx(scene.occlusion, abs=1e-6)
        shares.append(scene.occlusion)
    assert all(0.08 < share < 0.5 for share in shares)


@pytest.mark.parametrize('fault', ['no faces', 'nan'])
def test_a_mesh_that_cannot_be_shown_is_refused(fault):
    mesh = cylinder()
    if fault == 'nan':
        mesh.vertices[0] = np.nan
    else:
        mesh = Mesh(mesh.vertices, mesh.faces[:0], mesh.colors)
    with pytest.raises(ValueError, match='faces and finite coordinates'):
        make_scene(mesh, 0)


# The depth sensor


def wall(depth, brightness=150, normal=(0.0, 0.0, -1.0), shape=(120, 160)):
    """Return the rendering of a plane that fills the image."""
    true = np.full(shape, depth, np.float32) if np.isscalar(depth) else depth
    return Rendering(
        np.full((*shape, 3), brightness, np.uint8),
        true.astype(np.float32),
        np.zeros(shape, np.int32),
        np.broadcast_to(np.array(normal, np.float32), (*shape, 3)),
    )


CAMERA = Camera(160, 120, 500.0, 500.0, 79.5, 59.5)


@pytest.mark.parametrize(('distance', 'millimetres'), [(0.7, 1.0), (1.4, 4.0), (2.1, 9.0)])
def test_the_noise_of_depth_grows_with_the_square_of_the_distance(distance, millimetres):
    depth = DepthSensor().measure(wall(distance), CAMERA, np.random.default_rng(0))
    error = 1000.0 * (depth.astype(np.float64) - distance)
    # Rounding to whole millimetres adds a variance of 1 / 12.
    assert error.std() == pytest.approx(np.hypot(millimetres, np.sqrt(1.0 / 12.0)), rel=0.05)
    assert abs(error.mean()) < 0.15 * millimetres


def test_depth_comes_in_whole_millimetres():
    depth = DepthSensor().measure(wall(0.7), CAMERA, np.random.default_rng(0))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(1000.0 * depth, np.rint(1000.0 * depth), atol=1e-4)


def test_neighbouring_errors_are_alike():
    depth = DepthSensor().measure(wall(1.4), CAMERA, np.random.default_rng(0))
    error = depth - depth.mean()
    beside = np.corrcoef(error[:, :-1].ravel(), error[:, 1:].ravel())[0, 1]
    far = np.corrcoef(error[:, :-20].ravel(), error[:, 20:].ravel())[0, 1]
    assert beside > 0.3
    assert abs(far) < 0.05


def test_readings_are_lost_and_mixed_at_a_step_of_depth_and_nowhere_else():
    true = np.full((120, 160), 1.0, np.float32)
    true[:, :80] = 0.5
    depth = DepthSensor().measure(wall(true), CAMERA, np.random.default_rng(0))
    step = depth[:, 79:81]
    assert (step == 0.0).mean() == pytest.approx(0.5, abs=0.1)
    assert ((step > 0.52) & (step < 0.97)).mean() == pytest.approx(0.14, abs=0.07)
    assert (depth[:, :78] > 0.49).all()
    assert (depth[:, 82:] > 0.98).all()


def test_dark_and_grazing_surface_has_holes():
    rng = np.random.default_rng(0)
    for picture in (wall(0.7, brightness=10), wall(0.7, normal=(0.995, 0.0, -0.1))):
        depth = DepthSensor().measure(picture, CAMERA, rng)
        assert (depth == 0.0).mean() == pytest.approx(0.5, abs=0.1)


def test_nothing_is_measured_out_of_range_or_where_nothing_is():
    rng = np.random.default_rng(0)
    for distance in (0.1, 7.0, 0.0):
        assert (DepthSensor().measure(wall(distance), CAMERA, rng) == 0.0).all()


# Masks of a detector


def disc(radius=40, shape=(200, 200)):
    """Return a disc in the middle of an image."""
    v, u = np.indices(shape)
    return np.hypot(v - 100, u - 100) < radius


@pytest.mark.parametrize('seed', range(8))
def test_a_border_is_off_by_two_to_five_pixels_and_ragged(seed):
    mask = disc()
    noisy = MaskErrors(missing=0.0).apply(mask, np.random.default_rng(seed))
    change = np.sqrt(noisy.sum() / np.pi) - np.sqrt(mask.sum() / np.pi)
    assert 1.5 < abs(change) < 5.5
    contours, _ = cv2.findContours(
        noisy.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    radii = np.linalg.norm(np.concatenate(contours)[:, 0] - 100.0, axis=1)
    assert 0.6 < radii.std() < 2.0


def test_a_part_may_be_missing():
    mask = disc()
    whole = MaskErrors(missing=0.0).apply(mask, np.random.default_rng(3))
    cut = MaskErrors(missing=1.0, missing_share=0.3).apply(mask, np.random.default_rng(3))
    assert 0.65 < cut.sum() / whole.sum() < 0.95
    assert not (cut & ~whole).any()


def test_noisy_masks_are_one_piece_never_empty_and_made_by_the_seed():
    thin = np.zeros((100, 100), bool)
    thin[50:53, 20:80] = True
    for mask in (thin, disc()):
        for seed in range(20):
            noisy = MaskErrors().apply(mask, np.random.default_rng(seed))
            assert noisy.dtype == bool
            assert noisy.any()
            assert cv2.connectedComponents(noisy.astype(np.uint8))[0] == 2
            again = MaskErrors().apply(mask, np.random.default_rng(seed))
            np.testing.assert_array_equal(noisy, again)


def test_the_noisy_mask_of_nothing_is_nothing():
    assert not MaskErrors().apply(np.zeros((40, 40), bool), np.random.default_rng(0)).any()


# Objects


def write_pack(path, mesh):
    """Write a mesh in the manifest's format."""
    offset = mesh.vertices.min(axis=0)
    scale = (mesh.vertices.max(axis=0) - offset) / 65535.0
    np.savez(
        path,
        vertices_q=np.rint((mesh.vertices - offset) / scale).astype(np.uint16),
        v_scale=scale.astype(np.float32),
        v_offset=offset.astype(np.float32),
        faces=mesh.faces.astype(np.uint16),
        vertex_colors=mesh.colors,
    )


@pytest.fixture
def data(tmp_path):
    """Return a folder with a manifest of two objects."""
    folder = tmp_path / 'data'
    (folder / 'objects').mkdir(parents=True)
    entries = []
    for name, split in (('b_mug', 'eval'), ('a_can', 'train')):
        write_pack(folder / 'objects' / f'{name}.npz', cylinder())
        entries.append(
            {'name': name, 'file': f'objects/{name}.npz', 'split': split, 'category': 'cup',
             'family': 'f', 'colour': 'texture 256x256' if split == 'eval' else 'none'}
        )
    (folder / 'manifest.json').write_text(json.dumps(entries))
    return folder


def refusal(function, *arguments):
    """Return the message of the LiftError(BAD_REQUEST) that a call raises."""
    with pytest.raises(LiftError) as caught:
        function(*arguments)
    assert caught.value.code == ErrorCode.BAD_REQUEST
    return caught.value.message


def test_a_manifest_names_the_objects_and_their_splits(data):
    objects = find_objects(data)
    assert [entry.name for entry in objects] == ['a_can', 'b_mug']
    assert [entry.colored for entry in objects] == [False, True]
    assert [entry.name for entry in find_objects(data, 'eval')] == ['b_mug']
    # The folder of the objects, whose manifest lies beside it, will do as well.
    assert find_objects(data / 'objects', 'eval') == find_objects(data, 'eval')


def test_a_packed_object_comes_back_in_metres(data):
    mesh = find_objects(data, 'eval')[0].load()
    np.testing.assert_allclose(mesh.vertices, cylinder().vertices, atol=1e-5)
    assert mesh.is_watertight()


def test_any_folder_of_meshes_will_do(tmp_path):
    (tmp_path / 'sub').mkdir()
    cylinder().export(tmp_path / 'sub' / 'can.glb')
    cylinder().export(tmp_path / 'tin.ply')
    (tmp_path / 'notes.txt').write_text('not a mesh')
    objects = find_objects(tmp_path)
    assert [entry.name for entry in objects] == ['sub_can', 'tin']
    for entry in objects:
        mesh = entry.load()
        assert mesh.is_watertight()
        np.testing.assert_array_equal(mesh.colors[0], [180, 120, 60])
        assert mesh.volume() == pytest.approx(cylinder().volume(), rel=1e-5)


def test_a_texture_becomes_vertex_colours(tmp_path):
    from PIL import Image

    corners = np.array([[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0]])
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :4], picture[:, 4:] = (250, 0, 0), (0, 0, 250)
    visual = trimesh.visual.TextureVisuals(
        uv=np.array([[0, 0], [1, 0], [1, 1], [0, 1]]), image=Image.fromarray(picture)
    )
    quad = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)
    quad.export(tmp_path / 'quad.obj')
    mesh = load_mesh(tmp_path / 'quad.obj')
    assert len(mesh.faces) > 10_000
    left, right = mesh.vertices[:, 0] < 0.04, mesh.vertices[:, 0] > 0.06
    assert (mesh.colors[left][:, 0] > 200).all()
    assert (mesh.colors[right][:, 2] > 200).all()


def test_a_mesh_without_colour_is_grey(tmp_path):
    cylinder().export(tmp_path / 'can.stl')
    mesh = load_mesh(tmp_path / 'can.stl')
    assert mesh.is_watertight()
    assert np.ptp(mesh.colors) == 0


def test_a_huge_mesh_is_simplified_and_keeps_its_shape_and_colours(tmp_path, monkeypatch):
    monkeypatch.setattr(object_sets, 'MAX_FACES', 5_000)
    ball = mesh_of(trimesh.creation.icosphere(6, 0.05), (250, 10, 10))
    ball.colors[ball.vertices[:, 2] < 0.0] = (10, 10, 250)
    ball.export(tmp_path / 'ball.ply')
    mesh = load_mesh(tmp_path / 'ball.ply')
    assert len(mesh.faces) <= 5_000
    assert mesh.volume() == pytest.approx(ball.volume(), rel=0.01)
    assert (mesh.colors[mesh.vertices[:, 2] > 0.01, 0] == 250).all()


def test_a_scan_with_holes_is_read(tmp_path):
    solid = trimesh.creation.icosphere(3, 0.05)
    solid.update_faces(np.arange(len(solid.faces)) > 40)
    solid.export(tmp_path / 'open.ply')
    assert not load_mesh(tmp_path / 'open.ply').is_watertight()


@pytest.mark.parametrize(
    ('fault', 'reason'),
    [
        ('no faces', 'no faces'),
        ('nan', 'not finite'),
        ('millimetres', 'in metres'),
        ('garbage', 'cannot be read'),
        ('empty', 'cannot be read|no faces'),
        ('missing', 'cannot be read'),
        ('wrong faces', 'without their vertices'),
    ],
)
def test_a_broken_mesh_is_refused_with_its_file_named(tmp_path, fault, reason):
    mesh, path = cylinder(), tmp_path / 'object.npz'
    if fault == 'no faces':
        write_pack(path, Mesh(mesh.vertices, mesh.faces[:0], mesh.colors))
    elif fault == 'nan':
        path = tmp_path / 'object.ply'
        mesh.vertices[3, 1] = np.nan
        mesh.export(path)
    elif fault == 'millimetres':
        write_pack(path, Mesh(mesh.vertices * 1000.0, mesh.faces, mesh.colors))
    elif fault == 'wrong faces':
        write_pack(path, Mesh(mesh.vertices, mesh.faces + 9, mesh.colors))
    elif fault != 'missing':
        path = tmp_path / 'object.glb'
        path.write_bytes(b'glTF rubbish' if fault == 'garbage' else b'')
    message = refusal(load_mesh, path)
    assert path.name in message
    assert re.search(reason, message)


def test_a_missing_or_empty_folder_says_what_belongs_there(tmp_path):
    (tmp_path / 'empty').mkdir()
    for folder in ('nothing', 'empty'):
        message = refusal(find_objects, tmp_path / folder)
        assert 'manifest.json' in message
        assert 'Google Scanned Objects' in message


def test_an_unknown_split_is_refused_with_the_known_ones(data):
    assert 'eval, train' in refusal(find_objects, data, 'test')


@pytest.mark.parametrize('content', ['', '{}', '[{"name": "x"}]', '[3]'])
def test_a_broken_manifest_is_refused(data, content):
    (data / 'manifest.json').write_text(content)
    assert 'manifest.json' in refusal(find_objects, data)


def test_scenes_of_an_object_depend_on_its_name_and_the_seed(data):
    entry = find_objects(data, 'eval')[0]
    first = list(make_scenes(entry, 2, seed=1))
    assert [scene.name for scene in first] == ['b_mug_0', 'b_mug_1']
    assert [scene.seed for scene in make_scenes(entry, 2, seed=1)] == [s.seed for s in first]
    other = ObjectEntry('other', entry.path)
    seeds = {s.seed for s in (*first, *make_scenes(entry, 2, 2), *make_scenes(other, 2, 1))}
    assert len(seeds) == 6


def test_a_written_scene_is_read_as_any_other(tmp_path, views):
    write_bench_scene(tmp_path / 's', views[0], detected=True)
    frame, mask = read_scene(tmp_path / 's')
    np.testing.assert_array_equal(frame.image, views[0].frame.image)
    np.testing.assert_array_equal(frame.depth, views[0].frame.depth)
    np.testing.assert_array_equal(mask, views[0].detection)
    truth = load_mesh(tmp_path / 's' / 'truth.ply')
    extent = np.ptp(views[0].mesh_in_camera().vertices, axis=0)
    np.testing.assert_allclose(np.ptp(truth.vertices, axis=0), extent, atol=1e-6)


def test_the_shared_scans_are_found_and_no_family_is_on_both_sides(shared_data):
    objects = find_objects(shared_data / 'objects')
    families = {
        split: {entry.family for entry in objects if entry.split == split}
        for split in ('train', 'eval')
    }
    assert not families['train'] & families['eval']
    entry = find_objects(shared_data, 'eval')[0]
    assert make_scene(entry.load(), 1).mask.any()
