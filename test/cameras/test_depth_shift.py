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

"""A common shift of the depth against the image is found, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from lift3d_ros.cameras.depth_shift import correct_shift
from lift3d_ros.cameras.depth_shift import find_shift
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

TABLE = TableSettings(elevation=(20.0, 40.0), distance=(0.6, 0.8), window=2.5, table_cells=24)


def colored(mesh, color):
    """Return a mesh of one colour that stands on z = 0."""
    vertices = np.asarray(mesh.vertices, np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    colors = np.tile(np.array(color, np.uint8), (len(vertices), 1))
    return Mesh(vertices, np.asarray(mesh.faces, np.int32), colors)


BALL = colored(trimesh.creation.icosphere(4, 0.06), (190, 60, 50))
CAN = colored(trimesh.creation.cylinder(0.04, 0.14, sections=48), (240, 200, 40))


def displaced(scene, right, down):
    """Return the view of a scene with displaced depth."""
    depth = np.roll(scene.frame.depth, (down, right), (0, 1))
    return crop_object(replace(scene.frame, depth=depth), scene.detection)


@pytest.mark.parametrize('mesh', [BALL, CAN])
@pytest.mark.parametrize('right, down', [(3, -2), (-4, 3)])
def test_a_shift_of_some_pixels_is_corrected(mesh, right, down):
    """In most scenes it is certain enough, and then it is right to a pixel and a half."""
    corrected = 0
    for seed in range(4):
        scene = make_scene(mesh, seed, TABLE)
        view = displaced(scene, right, down)
        changed, notes = correct_shift(view)
        if not notes:
            continue
        corrected += 1
        found = find_shift(view)
        assert abs(found.right - right) < 1.6
        assert abs(found.down - down) < 1.6
        both = (changed.frame.depth > 0.0) & (scene.frame.depth > 0.0) & scene.mask
        error = np.abs(changed.frame.depth - scene.frame.depth)[both]
        assert np.median(error) < 0.01
    assert corrected >= 2


@pytest.mark.parametrize('mesh', [BALL, CAN])
def test_registered_depth_stays_where_it_is(mesh):
    """Noise, holes at edges and masks with errors are no shift."""
    for seed in range(6):
        scene = make_scene(mesh, seed, TABLE)
        view = crop_object(scene.frame, scene.detection)
        changed, notes = correct_shift(view)
        assert not notes
        assert changed is view


def test_a_frame_without_depth_has_no_shift():
    """There is nothing to correct."""
    scene = make_scene(CAN, 0, TABLE)
    view = crop_object(replace(scene.frame, depth=None), scene.mask)
    assert find_shift(view) is None
    assert correct_shift(view) == (view, ())
