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

"""The exported small networks compute what those of torch do."""

import sys

import numpy as np
import pytest
import torch

from lift3d_ros.cli import main
from lift3d_ros.diffusion import onnx_export
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.weights.store import find

#: Largest difference of an output, over its largest value.
MAX_DIFFERENCE = 1e-3


def compare(one, path, inputs):
    """Run a file and a network on the same inputs; return the largest relative difference."""
    runtime = pytest.importorskip('onnxruntime')
    session = runtime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    assert {value.name for value in session.get_inputs()} <= set(inputs)
    assert tuple(value.name for value in session.get_outputs()) == one.outputs
    found = session.run(
        None, {value.name: inputs[value.name].numpy() for value in session.get_inputs()})
    with torch.no_grad():
        expected = one.network(*inputs.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    return max(
        float(np.abs(a - b.numpy()).max() / b.abs().max())
        for a, b in zip(found, expected, strict=True))


def test_every_network_of_the_packaged_weights_is_exported_with_its_results(tmp_path, one_thread):
    pytest.importorskip('onnx')
    assert main(['weights', 'export', 'small', '--out', str(tmp_path)]) == 0
    made = {one.name: one for one in onnx_export.networks(find('small'))}
    assert {path.stem for path in tmp_path.iterdir()} == set(made)
    assert set(made) == {'coarse', 'image_encoder', 'pose_projection', 'denoiser', 'monocular',
                         'elevation', 'surface'}
    for one in made.values():
        path = tmp_path / f'{one.name}.onnx'
        assert compare(one, path, one.inputs) < MAX_DIFFERENCE, one.name
    # The number of views is free.
    denoiser = made['denoiser']
    fewer = {name: value[:3] for name, value in denoiser.inputs.items()}
    assert compare(denoiser, tmp_path / 'denoiser.onnx', fewer) < MAX_DIFFERENCE


def test_without_onnx_the_error_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(LiftError, match='pip install onnx') as error:
        onnx_export.export_onnx(find('small'), tmp_path)
    assert error.value.code is ErrorCode.BAD_REQUEST
