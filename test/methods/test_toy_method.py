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


"""The method that the page on development adds goes through the whole pipeline."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'develop.md'


@pytest.fixture(scope='module')
def example() -> dict[str, Any]:
    """Return the names of the page's example after it has run on the packaged scene."""
    frame, mask = read_scene(ROOT / 'lift3d_ros' / 'data' / 'demo_scene')
    block = re.search(r'^```python\n(.*?class Block.*?)^```', PAGE.read_text(), re.M | re.S)
    assert block is not None
    names: dict[str, Any] = {'frame': frame, 'mask': mask}
    exec(compile(block[1], str(PAGE), 'exec'), names)
    return names


def test_shape_is_closed_and_metric(example):
    shape: Shape = example['shape']
    assert shape.mesh.is_watertight()
    assert shape.scale_source == 'depth'
    assert shape.method == 'block'
    assert shape.mask_iou > 0.9
    # The packaged bottle is 0.24 m high.
    assert shape.size.max() == pytest.approx(0.24, abs=0.03)


def test_measured_surface_is_on_the_depth(example):
    shape: Shape = example['shape']
    frame = example['frame']
    observed = shape.mesh_in_camera().vertices[shape.observed]
    columns, rows, _ = frame.camera.project(observed)
    measured = frame.depth[np.rint(rows).astype(int), np.rint(columns).astype(int)]
    errors = np.abs(observed[:, 2] - measured)[measured > 0.0]
    assert np.median(errors) < 0.005


def test_errors_of_the_pipeline_hold_for_it(example):
    lifter = Lifter(example['Block']())
    with pytest.raises(LiftError) as error:
        lifter.lift(example['frame'], np.zeros_like(example['mask']))
    assert error.value.code is ErrorCode.EMPTY_MASK
    with pytest.raises(LiftError) as error:
        lifter.lift(example['frame'], LiftRequest(example['mask'], min_confidence=0.99))
    assert error.value.code is ErrorCode.LOW_CONFIDENCE
