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

"""Scene folders with further views: `lift3d lift` uses them, and names what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from lift3d_ros.bench.metrics import distances
from lift3d_ros.bench.metrics import sample_surface
from lift3d_ros.cli import main
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.io.scene import read_further
from lift3d_ros.io.scene import write_scene
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings

SHOE = procedural_object(5, 'shoe')


def seen_from(azimuth: float) -> TableScene:
    settings = TableSettings(
        azimuth=(azimuth, azimuth), elevation=(30.0, 40.0), distance=(0.6, 0.7),
        camera=Camera(320, 240, 280.0, 280.0, 160.0, 120.0), table_cells=24,
    )
    return make_scene(SHOE, 7, settings)


@pytest.fixture(scope='module')
def views() -> list[TableScene]:
    return [seen_from(azimuth) for azimuth in (0.0, 100.0, 200.0)]


@pytest.fixture()
def scene(tmp_path: Path, views: list[TableScene]) -> Path:
    """Return a scene folder with two further views."""
    folder = tmp_path / 'shoe'
    for scene, place in zip(views, ('.', 'views/left', 'views/right'), strict=True):
        # The shoe's own frame stands still.
        pose = invert(scene.T_camera_object)
        write_scene(folder / place, scene.frame, scene.mask, pose)
    return folder


def lift(scene: Path, *arguments: str) -> tuple[int, dict, Path]:
    out = scene.parent / 'out'
    status = main(['lift', str(scene), '--out', str(out), '--method', 'geometric', *arguments])
    return status, json.loads((out / 'shoe.json').read_text()), out / 'shoe.ply'


def change(folder: Path, **entries) -> None:
    path = folder / 'camera.json'
    camera = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({k: v for k, v in camera.items() if v is not None}))


def test_further_views_below_the_scene_make_its_mesh_truer(scene, views):
    truth = sample_surface(views[0].mesh_in_camera(), 4000)

    def error(path: Path) -> float:
        mesh = trimesh.load(path, process=False)
        return distances(np.asarray(mesh.sample(4000, seed=1)), truth).chamfer()

    status, report, mesh = lift(scene, '--no-further')
    assert (status, report['views']) == (0, 1)
    alone = error(mesh)
    status, report, mesh = lift(scene)
    assert (status, report['views']) == (0, 3)
    assert report['watertight']
    assert error(mesh) < 0.6 * alone
    assert report['confidence'] > 0.6


def test_poses_of_scene_folders_come_back_as_they_were(scene, views):
    found = read_further(scene)
    assert [one.name for one in found] == ['view "left"', 'view "right"']
    for one, true in zip(found, views[1:], strict=True):
        T = views[0].T_camera_object @ invert(true.T_camera_object)
        np.testing.assert_allclose(one.T_ref_src, T, atol=1e-9)
        assert one.view.frame.depth is not None
    assert read_further(scene, depth=False)[0].view.frame.depth is None
    assert read_further(scene / 'views' / 'left') == []


@pytest.mark.parametrize('where', ['.', 'views/right'])
@pytest.mark.parametrize(
    'pose', [None, 'north', [[1.0, 0.0], [0.0, 1.0]], np.zeros((4, 4)).tolist()]
)
def test_a_pose_that_is_missing_or_none_is_named(scene, where, pose):
    change(scene / where, T_world_camera=pose)
    with pytest.raises(LiftError) as caught:
        read_further(scene)
    assert caught.value.code is ErrorCode.NO_CAMERA
    assert str(scene / where / 'camera.json') in caught.value.message
    assert 'T_world_camera' in caught.value.message


def test_what_is_wrong_with_a_further_view_ends_its_scene_alone(scene, views):
    cv2.imwrite(str(scene / 'views/left/mask.png'), np.zeros((240, 320), np.uint8))
    status, report, mesh = lift(scene)
    assert status == 1
    assert report['error']['code'] == 'EMPTY_MASK'
    assert str(scene / 'views/left') in report['error']['message']
    assert report['views'] is None
    assert not mesh.exists()
    write_scene(scene / 'views/left', views[1].frame, views[1].mask, np.eye(4))
    status, report, _ = lift(scene)
    assert report['error']['code'] == 'BAD_REQUEST'
    assert report['error']['message'].startswith('View "left" contradicts')
