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

"""Checkpoints of the loop: resuming, cancelled runs, other runs, damaged files."""

from __future__ import annotations

from dataclasses import replace

from distill_helpers import ADAM
from distill_helpers import assert_equal_states
from distill_helpers import cancel_after
from distill_helpers import NoisyTask
from distill_helpers import settings
from distill_helpers import state
import numpy as np
import pytest
from safetensors.torch import save_file
import torch

from lift3d_ros.distill.optimisation import optimise
from lift3d_ros.distill.optimizers import OPTIMIZERS
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


@pytest.mark.parametrize('name', OPTIMIZERS)
@pytest.mark.parametrize('at', [1, 26, 59])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, name, at):
    chosen = settings(60, optimizer=replace(ADAM, name=name))
    whole = NoisyTask()
    optimise(whole, chosen)
    path = tmp_path / 'run.safetensors'
    first = NoisyTask()
    optimise(first, replace(chosen, steps=at), checkpoint=path)
    second = NoisyTask()
    result = optimise(second, chosen, checkpoint=path, resume=True)
    assert second.steps == list(range(at, 60))
    assert result.steps == 60
    assert_equal_states(state(second), state(whole))


@pytest.mark.parametrize('calls', [0, 1, 2, 17, 40, 119])
def test_a_run_can_be_cancelled_at_any_step_and_resumed(tmp_path, calls):
    whole = NoisyTask()
    optimise(whole, settings())
    path = tmp_path / 'run.safetensors'
    task = NoisyTask()
    progress, count = cancel_after(calls)
    with pytest.raises(LiftError) as caught:
        optimise(task, settings(), progress=progress, checkpoint=path)
    assert caught.value.code is ErrorCode.CANCELLED
    assert len(count) == calls + 1
    second = NoisyTask()
    optimise(second, settings(), checkpoint=path, resume=True)
    assert_equal_states(state(second), state(whole))


@pytest.fixture
def finished(tmp_path):
    """Return the checkpoint of a run of 10 steps on the object "mug"."""
    path = tmp_path / 'run.safetensors'
    optimise(NoisyTask(), settings(10), identity='mug', checkpoint=path)
    return path


@pytest.mark.parametrize('change', [
    {'identity': 'bowl'},
    {'settings': settings(20, seed=1)},
    {'settings': settings(20, optimizer=replace(ADAM, rate=0.1))},
    {'settings': settings(20, optimizer=replace(ADAM, name='adamax'))},
    {'settings': settings(20, optimizer=replace(ADAM, average=0.0))},
    {'settings': settings(9)},
    {'task': NoisyTask(size=7)},
])
def test_the_checkpoint_of_another_run_is_refused(finished, change):
    arguments = {'task': NoisyTask(), 'settings': settings(20), 'identity': 'mug', **change}
    before = state(arguments['task'])
    with pytest.raises(LiftError) as caught:
        optimise(**arguments, checkpoint=finished, resume=True)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert_equal_states(state(arguments['task']), before)


def test_settings_that_change_no_step_may_differ(finished):
    task = NoisyTask()
    changed = settings(20, preview_every=3, checkpoint_every=7, max_seconds=1e3)
    optimise(task, changed, identity='mug', checkpoint=finished, resume=True)
    assert task.steps == list(range(10, 20))


@pytest.mark.parametrize('damage', ['cut', 'other', 'empty', 'folder', 'nan'])
def test_a_damaged_checkpoint_is_refused(finished, damage):
    data = finished.read_bytes()
    if damage == 'cut':
        finished.write_bytes(data[:-9])
    elif damage == 'other':
        save_file({'a': torch.zeros(2)}, finished)
    elif damage == 'empty':
        finished.write_bytes(b'')
    elif damage == 'folder':
        finished.unlink()
        finished.mkdir()
    else:
        finished.write_bytes(data[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(LiftError) as caught:
        optimise(NoisyTask(), settings(20), identity='mug', checkpoint=finished, resume=True)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_a_checkpoint_is_written_at_its_steps(tmp_path):
    path = tmp_path / 'folder' / 'run.safetensors'

    def fail(task):
        raise ValueError('stop')

    with pytest.raises(ValueError, match='stop'):
        optimise(NoisyTask({15: fail}), settings(60, checkpoint_every=6), checkpoint=path)
    task = NoisyTask()
    optimise(task, settings(), checkpoint=path, resume=True)
    assert task.steps[0] == 12
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
