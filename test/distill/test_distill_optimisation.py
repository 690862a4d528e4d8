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

"""The optimisation loop: cancelling, diverging runs, limits, previews, GPUs."""

from __future__ import annotations

from dataclasses import replace
import time

from distill_helpers import ADAM
from distill_helpers import assert_equal_states
from distill_helpers import cancel_after
from distill_helpers import NoisyTask
from distill_helpers import settings
from distill_helpers import state
import numpy as np
import pytest
import torch

from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimisation import optimise
from lift3d_ros.distill.optimisation import SNAPSHOT_STEPS
from lift3d_ros.distill.optimizers import OPTIMIZERS
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.schedules import Schedule
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.progress import Progress


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_every_optimizer_descends(name):
    task = NoisyTask()
    result = optimise(task, settings(200, optimizer=OptimizerSettings(name, 0.1)))
    assert (result.steps, result.stopped, result.notes) == (200, None, ())
    assert float((task.module.grid.detach() - 3.0).abs().max()) < 0.2
    assert set(result.losses) == {'grid', 'head'}


def test_groups_have_their_rates_and_follow_the_schedule():
    task = NoisyTask(head_factor=0.1)
    factor = Schedule.parse([0, 1.0, 0.0, 2])
    optimise(task, settings(1, optimizer=OptimizerSettings(rate=0.5, rate_factor=factor)))
    # Adam's first step has the length of the rate.
    assert task.module.grid.detach().numpy() == pytest.approx(0.5)
    assert task.module.head.detach().numpy() == pytest.approx(0.95)
    after = NoisyTask(head_factor=0.1)
    optimise(after, settings(9, optimizer=OptimizerSettings(rate=0.5, rate_factor=factor)))
    other = NoisyTask(head_factor=0.1)
    optimise(other, settings(2, optimizer=OptimizerSettings(rate=0.5, rate_factor=factor)))
    assert torch.equal(after.module.grid, other.module.grid)


def test_the_same_seed_gives_the_same_result():
    results = []
    for seed in (1, 1, 2):
        task = NoisyTask()
        optimise(task, settings(seed=seed))
        results.append(state(task))
    assert_equal_states(results[0], results[1])
    assert not torch.equal(results[0]['grid'], results[2]['grid'])


def test_no_global_random_state_is_used():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    optimise(NoisyTask(), settings(10))
    assert torch.equal(before, torch.get_rng_state())


def test_a_cancelled_run_without_a_checkpoint_just_ends():
    with pytest.raises(LiftError) as caught:
        optimise(NoisyTask(), settings(), progress=cancel_after(9)[0])
    assert caught.value.code is ErrorCode.CANCELLED


def test_the_deadline_ends_a_run_and_keeps_its_checkpoint(tmp_path):
    path = tmp_path / 'run.safetensors'
    progress = Progress(deadline=time.monotonic() - 1.0)
    with pytest.raises(LiftError) as caught:
        optimise(NoisyTask(), settings(), progress=progress, checkpoint=path)
    assert caught.value.code is ErrorCode.TIMEOUT
    assert path.exists()


def test_the_limit_of_time_ends_a_run_with_the_shape_so_far():
    task = NoisyTask()
    result = optimise(task, settings(10**6, max_seconds=0.2))
    assert result.stopped == 'time'
    assert 0 < result.steps < 10**6
    assert len(result.notes) == 1
    assert bool(torch.isfinite(task.module.grid).all())


def test_the_bound_of_memory():
    with pytest.raises(LiftError) as caught:
        optimise(NoisyTask(), settings(max_memory_mib=1.0))
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY


def test_exhausted_memory_is_an_error_with_a_code():
    def fail(task):
        raise RuntimeError('DefaultCPUAllocator: not enough memory')

    with pytest.raises(LiftError) as caught:
        optimise(NoisyTask({5: fail}), settings())
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('at', [0, 1, 40])
def test_a_run_whose_loss_is_not_finite_ends_with_the_last_good_state(value, at):
    def fail(task):
        with torch.no_grad():
            task.module.grid.fill_(value)

    good = at // SNAPSHOT_STEPS * SNAPSHOT_STEPS
    expected = NoisyTask()
    if good:
        optimise(expected, settings(good, optimizer=replace(ADAM, average=0.0)))
    task = NoisyTask({at: fail})
    result = optimise(task, settings(60, optimizer=replace(ADAM, average=0.0)))
    assert (result.stopped, result.steps, len(result.notes)) == ('diverged', good, 1)
    assert task.steps[-1] == at
    assert_equal_states(state(task), state(expected))


@pytest.mark.parametrize('average', [0.0, 0.9])
def test_a_run_whose_gradient_is_not_finite_keeps_the_state_before_it(average):
    chosen = settings(60, optimizer=replace(ADAM, average=average))

    def fail(task):
        # The square root has an infinite gradient at 0, and the loss is finite.
        plain = NoisyTask.losses.__get__(task)
        task.fail = {}

        def losses(step, generator, check):
            return {**plain(step, generator, check), 'root': (0.0 * task.module.head).sqrt().sum()}

        task.losses = losses

    task = NoisyTask({32: fail})
    result = optimise(task, chosen)
    expected = NoisyTask()
    optimise(expected, replace(chosen, steps=33))
    assert (result.stopped, result.steps) == ('diverged', 33)
    assert_equal_states(state(task), state(expected))


def test_previews_come_at_their_steps():
    reports = []
    optimise(NoisyTask(), settings(50, preview_every=20), report=reports.append)
    assert [(r.step, r.steps) for r in reports] == [(20, 50), (40, 50), (50, 50)]
    assert all(r.preview.shape == (4, 4, 3) and r.preview.dtype == np.uint8 for r in reports)
    assert reports[0].losses['grid'] > reports[-1].losses['grid']


def test_progress_rises_to_one():
    fractions = []
    optimise(NoisyTask(), settings(20), progress=Progress(lambda _, f: fractions.append(f)))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_the_average_of_the_parameters_is_the_result():
    raw, averaged = NoisyTask(), NoisyTask()
    optimise(raw, settings(30, optimizer=OptimizerSettings(rate=0.05)))
    optimise(averaged, settings(30, optimizer=OptimizerSettings(rate=0.05, average=0.95)))
    # The parameters rise, and the average follows.
    assert bool((averaged.module.grid < raw.module.grid).all())
    assert bool((averaged.module.grid > 0.0).all())


def test_a_clipped_gradient_bounds_the_step():
    clipped = OptimizerSettings('adam', 0.1, eps=1.0, clip=1e-3)
    task = NoisyTask()
    optimise(task, settings(1, optimizer=clipped))
    assert 0.0 < float(task.module.grid.detach().abs().max()) < 1e-4


def test_bfloat16_on_the_cpu_descends():
    task = NoisyTask()
    optimise(task, settings(200, precision='bfloat16', optimizer=OptimizerSettings(rate=0.1)))
    assert float((task.module.grid.detach() - 3.0).abs().max()) < 0.3


@pytest.mark.parametrize('make', [
    lambda: LoopSettings(steps=0),
    lambda: LoopSettings(precision='float64'),
    lambda: LoopSettings(precision='float16'),
    lambda: LoopSettings(device='tpu'),
    lambda: LoopSettings(preview_every=-1),
    lambda: OptimizerSettings('adan'),
    lambda: OptimizerSettings(rate=0.0),
    lambda: OptimizerSettings(rate=float('nan')),
    lambda: OptimizerSettings(average=1.0),
    lambda: OptimizerSettings(clip=0.0),
])
def test_invalid_settings_are_refused(make):
    with pytest.raises(LiftError) as caught:
        make()
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_gpu_run_without_a_gpu_is_refused():
    with pytest.raises(LiftError) as caught:
        optimise(NoisyTask(), LoopSettings(device='cuda'))
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('precision', ['auto', 'float16', 'bfloat16', 'float32'])
def test_precisions_of_a_gpu_descend_and_resume(tmp_path, precision):
    class GpuTask(NoisyTask):
        def __init__(self):
            super().__init__()
            self.module.cuda()

        def losses(self, step, generator, check):
            grid = torch.matmul(self.module.grid[None], torch.eye(6, device='cuda'))
            return {'grid': (grid - 3.0).float().square().sum(),
                    'head': (self.module.head + 1.0).square().sum()}

        def after_step(self, step, generator):
            pass

    chosen = settings(
        200, device='cuda', precision=precision, optimizer=OptimizerSettings(rate=0.1))
    task = GpuTask()
    optimise(task, chosen)
    assert float((task.module.grid.detach() - 3.0).abs().max()) < 0.3
    path = tmp_path / 'run.safetensors'
    optimise(GpuTask(), replace(chosen, steps=77), checkpoint=path)
    second = GpuTask()
    optimise(second, chosen, checkpoint=path, resume=True)
    assert_equal_states(state(second), state(task))
