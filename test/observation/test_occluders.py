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

"""What stands before an object hides it; it does not say where the object ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.cleaning import refine_mask
from lift3d_ros.observation.cleaning import with_occluder_depth
from lift3d_ros.observation.support import find_support
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

TABLE = TableSettings(elevation=(25.0, 35.0), distance=(0.7, 0.7), window=1.8, table_cells=24)


def colored(mesh, color):
    """Return a mesh of one colour that stands on z = 0."""
    vertices = np.asarray(mesh.vertices, np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    colors = np.tile(np.array(color, np.uint8), (len(vertices), 1))
    return Mesh(vertices, np.asarray(mesh.faces, np.int32), colors)


CAN = colored(trimesh.creation.cylinder(0.033, 0.14, sections=48), (190, 60, 50))
LOW = colored(trimesh.creation.box((0.06, 0.03, 0.06)).subdivide_to_size(0.02), (60, 90, 190))
BOX = colored(trimesh.creation.box((0.05, 0.05, 0.07)).subdivide_to_size(0.02), (60, 90, 190))


def silhouette(scene):
    """Return where the object would be seen if nothing stood before it."""
    alone = Raycaster([scene.mesh_in_camera()]).render(scene.frame.camera, np.eye(4))
    return alone.instance == 0


@pytest.fixture(scope='module')
def hidden():
    """Return a scene whose can a box hides in part, and the pixels where it does."""
    for seed in range(20):
        scene = make_scene(CAN, seed, TABLE, BOX)
        if scene.occlusion > 0.15:
            return scene, silhouette(scene) & ~scene.mask
    raise AssertionError('no scene with a hidden part was drawn')


def observed(frame, mask):
    """Return the observation as the methods make it, and where its window lies in the frame."""
    view = crop_object(frame, mask)
    seen = observe(view)
    seen = refine_mask(seen, find_support(seen, frame.gravity, np.random.default_rng(0)))
    left = round(frame.camera.cx - seen.camera.cx)
    top = round(frame.camera.cy - seen.camera.cy)
    height, width = seen.mask.shape
    return seen, np.s_[top:top + height, left:left + width]


def test_what_is_hidden_counts_as_unknown(hidden):
    """Most of the hidden part of the object may be solid, beyond the hull of what is seen too."""
    scene, pixels = hidden
    seen, window = observed(scene.frame, scene.mask)
    covered = seen.occluder[pixels[window]].mean()
    assert covered > 0.8
    assert not (seen.occluder & seen.mask).any()


def test_nothing_is_hidden_where_nothing_stands_before():
    """The table before the object, and the sensor's shade beside it, are no occluders."""
    for seed in range(3):
        scene = make_scene(CAN, seed, TABLE)
        seen, _ = observed(scene.frame, scene.mask)
        assert np.count_nonzero(seen.occluder) < 0.02 * np.count_nonzero(seen.mask)


def test_a_background_without_readings_hides_nothing():
    """It is out of the sensor's range, which says nothing of the object before it."""
    scene = make_scene(CAN, 1, TABLE)
    depth = np.where(scene.truth.depth > scene.distance + 0.1, np.float32(0.0), scene.frame.depth)
    seen, _ = observed(replace(scene.frame, depth=depth), scene.mask)
    assert (seen.surroundings == 0.0).mean() > 0.2
    assert not seen.occluder.any()


def without_readings(scene, where):
    """Return the frame of a scene without depth at some pixels."""
    depth = np.where(where, np.float32(0.0), scene.frame.depth)
    return replace(scene.frame, depth=depth)


def occluder_of(scene):
    """Return the pixels of what stands before the object of a scene, by its blue colour."""
    image = scene.frame.image.astype(int)
    return (image[..., 2] > image[..., 0] + 40) & ~scene.mask


def test_what_gives_no_readings_hides_as_well(hidden):
    """Something that shines or is black, in the plane's view and of another colour than it."""
    scene, pixels = hidden
    silent = occluder_of(scene)
    assert silent[pixels].mean() > 0.9
    frame = without_readings(scene, silent)
    seen, window = observed(frame, scene.mask)
    assert seen.occluder[pixels[window]].mean() > 0.8


def test_a_hole_of_the_plane_s_own_colour_hides_nothing():
    """The shade of the sensor beside an object is as wide as an occluder."""
    scene = make_scene(CAN, 1, TABLE)
    v, u = np.nonzero(scene.mask)
    hole = np.zeros(scene.mask.shape, bool)
    hole[v.min():v.max(), u.min() - 40:u.max()] = True
    seen, _ = observed(without_readings(scene, hole & ~scene.mask), scene.mask)
    assert (seen.surroundings[seen.outline > -30] == 0.0).mean() > 0.4
    assert not seen.occluder.any()


def test_the_networks_are_told_of_what_gives_no_readings(hidden):
    """Where it is the depth that they see is before the object; a reading stays what it is."""
    scene, _ = hidden
    silent = occluder_of(scene)
    view = crop_object(without_readings(scene, silent), scene.mask)
    seen, _ = observed(view.frame, scene.mask)
    told = with_occluder_depth(view, seen).frame.depth
    own = scene.frame.depth[scene.mask & (scene.frame.depth > 0.0)]
    before = (told > 0.0) & silent
    assert before.sum() > 0.8 * silent.sum()
    # A few readings at the edge of the mask are those of the occluder.
    assert (told[before] < 0.9 * np.percentile(own, 1.0)).all()
    measured = view.frame.depth > 0.0
    np.testing.assert_array_equal(told[measured], view.frame.depth[measured])


def test_an_occluder_without_readings_cuts_no_more_than_one_with(hidden):
    """The hidden part of the can is guessed as if its occluder had been measured."""
    scene, _ = hidden
    silent = without_readings(scene, occluder_of(scene))
    sizes = [Lifter().lift(frame, scene.mask).size for frame in (scene.frame, silent)]
    np.testing.assert_allclose(sizes[1], sizes[0], rtol=0.2)


def test_what_hides_a_part_is_not_a_part(hidden):
    """Behind the occluder nothing counts as measured, and none of its colour is taken."""
    scene, _ = hidden
    shape = Lifter().lift(scene.frame, scene.mask)
    blue = shape.mesh.colors[shape.observed].astype(int)
    assert (blue[:, 2] > blue[:, 0]).mean() < 0.02


def test_an_object_whose_foot_is_hidden_stands_on_the_table():
    """Things do not hang in the air: the solid goes down to the plane behind what hides it."""
    above = replace(TABLE, elevation=(35.0, 50.0), window=2.2)
    tried = 0
    for seed in range(60):
        scene = make_scene(CAN, seed, above, LOW)
        lowest = np.flatnonzero(silhouette(scene).any(axis=1))
        seen = np.flatnonzero(scene.mask.any(axis=1))
        if seen.max() > lowest.max() - 0.2 * len(lowest):
            continue
        tried += 1
        shape = Lifter().lift(scene.frame, scene.mask)
        vertices = transform(invert(scene.T_camera_object), shape.mesh_in_camera().vertices)
        assert vertices[:, 2].min() == pytest.approx(0.0, abs=0.006)
        if tried == 2:
            return
    raise AssertionError('no scene with a hidden foot was drawn')
