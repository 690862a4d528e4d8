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

"""Turntables: a whole turn, in order, as GIF and MP4, and as an option of the command."""

from __future__ import annotations

import json

from command_helpers import run_here
import cv2
import numpy as np
from PIL import Image
import pytest
import trimesh

from lift3d_ros.cli.demo import DEMO_SCENE
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.turntable import write_turntable


def two_colored_box() -> Mesh:
    """Return a box that is red where x > 0 and blue elsewhere."""
    box = trimesh.creation.box((0.1, 0.1, 0.2)).subdivide()
    vertices = np.asarray(box.vertices, np.float32)
    colors = np.where(vertices[:, :1] > 0.0, (230, 20, 20), (20, 20, 230)).astype(np.uint8)
    return Mesh(vertices, np.asarray(box.faces, np.int32), colors)


def redness(image: np.ndarray) -> float:
    """Return the share of red among the red and blue pixels."""
    red = (image[..., 0] > 90) & (image[..., 2] < 90)
    blue = (image[..., 2] > 90) & (image[..., 0] < 90)
    return float(red.sum() / max((red | blue).sum(), 1))


def test_gif_turns_once_and_repeats(tmp_path):
    write_turntable(two_colored_box(), tmp_path / 'box.gif', images=8, size=64)
    with Image.open(tmp_path / 'box.gif') as film:
        shares = []
        for index in range(film.n_frames):
            film.seek(index)
            shares.append(redness(np.asarray(film.convert('RGB'))))
        assert film.info['loop'] == 0 and film.size == (64, 64)
    assert len(shares) == 8
    # Azimuth 0 looks at +x, half a turn later at -x.
    assert shares[0] > 0.7 > 0.3 > shares[4]


def test_mp4_has_every_image(tmp_path):
    write_turntable(two_colored_box(), tmp_path / 'box.mp4', images=8, size=64)
    film = cv2.VideoCapture(str(tmp_path / 'box.mp4'))
    images = []
    while (read := film.read())[0]:
        images.append(redness(read[1][..., ::-1]))
    assert len(images) == 8 and images[0] > images[4]


@pytest.mark.parametrize(('option', 'kind'), [('--turntable', 'gif'), ('--turntable-mp4', 'mp4')])
def test_lift_writes_a_turntable_beside_the_mesh(option, kind, tmp_path):
    done = run_here(
        'lift', DEMO_SCENE, '--method', 'geometric', option, '--out', tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / 'demo_scene.json').read_text())
    name = f'demo_scene_turntable.{kind}'
    assert name in report['files'] and (tmp_path / name).stat().st_size > 10_000
    # A failure of the next run leaves no film of the earlier one.
    failed = run_here(
        'lift', DEMO_SCENE, '--method', 'geometric', option, '--out', tmp_path,
        '--min-confidence', '1')
    assert failed.returncode == 1
    assert not (tmp_path / name).exists()
