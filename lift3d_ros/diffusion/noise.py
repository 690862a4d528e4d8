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

"""
The noise schedule of a diffusion model, and the solver DPM-Solver++ over it.

Files and arithmetic are those of the schedulers of diffusers, whose import takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

#: Most noise levels of a file: 1000 are usual.
_MAX_LEVELS = 100_000

#: Forms of a schedule, and what a network predicts, by the names of diffusers.
SCHEDULES = ('linear', 'scaled_linear', 'squaredcos_cap_v2')
PREDICTIONS = ('epsilon', 'sample', 'v_prediction')

#: Share of the signal at the last level of a schedule that ends in noise alone: above 0, so that
#: the first step of a solver is finite.
_LAST_SIGNAL = 2.0**-24

#: Largest beta of ``squaredcos_cap_v2``.
_MAX_BETA = 0.999

#: Settings that a file need not have.
_DEFAULTS: dict[str, Any] = {
    'num_train_timesteps': 1000, 'beta_start': 0.0001, 'beta_end': 0.02, 'trained_betas': None,
    'beta_schedule': 'linear', 'prediction_type': 'epsilon', 'rescale_betas_zero_snr': False,
}


class NoiseLevels:
    """
    The noise levels of a model.

    - ``config``: the settings of a scheduler of diffusers; ``alphas_cumprod``: float32 (T,), the
      share of the signal at each timestep.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """
        Compute the levels; unknown settings are kept and have no effect.

        Raises ``ValueError`` or ``TypeError`` for settings that make no schedule.
        """
        self.config = {**_DEFAULTS, **settings}
        count = self.config['num_train_timesteps']
        if type(count) is not int or not 1 <= count <= _MAX_LEVELS:
            raise ValueError(f'{str(count)[:100]} noise levels are no schedule')
        if self.config['prediction_type'] not in PREDICTIONS:
            raise ValueError(f'the prediction is {str(self.config["prediction_type"])[:100]}; '
                             f'known are {", ".join(PREDICTIONS)}')
        betas = _betas(self.config)
        if self.config['rescale_betas_zero_snr']:
            betas = _ending_in_noise(betas)
        self.alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
        if not bool(torch.isfinite(self.alphas_cumprod).all()):
            raise ValueError('the noise schedule is not finite')

    def write(self, folder: Path) -> None:
        """Write the settings into a folder that diffusers reads as a ``DDIMScheduler``."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({'_class_name': 'DDIMScheduler', **self.config}, indent=2)
        (folder / 'scheduler_config.json').write_text(text + '\n')


def _betas(config: Mapping[str, Any]) -> Tensor:
    """Return the variance of the noise of each step, float32 (T,)."""
    count, kind = config['num_train_timesteps'], config['beta_schedule']
    if config['trained_betas'] is not None:
        return torch.tensor(config['trained_betas'], dtype=torch.float32)
    low, high = float(config['beta_start']), float(config['beta_end'])
    if kind == 'linear':
        return torch.linspace(low, high, count, dtype=torch.float32)
    if kind == 'scaled_linear':
        return torch.linspace(low**0.5, high**0.5, count, dtype=torch.float32) ** 2
    if kind == 'squaredcos_cap_v2':
        ends = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * np.pi / 2.0) ** 2
        betas = np.minimum(1.0 - ends[1:] / ends[:-1], _MAX_BETA)
        return torch.tensor(betas, dtype=torch.float32)
    raise ValueError(f'the schedule is {str(kind)[:100]}; known are {", ".join(SCHEDULES)}')


def _ending_in_noise(betas: Tensor) -> Tensor:
    """Return betas (T,) whose last level has no signal (Lin et al., 2024, Algorithm 1)."""
    root = (1.0 - betas).cumprod(0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    root = (root - last) * (first / (first - last))
    bar = root**2
    return 1.0 - torch.cat([bar[0:1], bar[1:] / bar[:-1]])


class DpmSolver:
    """
    A run of the second-order multistep DPM-Solver++ (Lu et al., 2022), with state.

    ``timesteps`` fall; the last step leads to the picture without noise.
    """

    def __init__(self, config: Mapping[str, Any], steps: int, log_snr: bool) -> None:
        """
        Place ``steps`` noise levels: uniform in the timestep, or ``log_snr``.

        ``config`` is that of ``NoiseLevels``.
        """
        levels = NoiseLevels(config)
        self._prediction = str(levels.config['prediction_type'])
        signal = levels.alphas_cumprod
        if levels.config['rescale_betas_zero_snr']:
            signal[-1] = _LAST_SIGNAL
        every = (((1.0 - signal) / signal) ** 0.5).numpy()
        count = len(every)
        if log_snr:
            logs = np.log(every)
            sigmas = np.exp(
                float(logs[-1]) + np.linspace(0.0, 1.0, steps) * (float(logs[0]) - float(logs[-1]))
            )
            self.timesteps = [int(t) for t in _nearest_levels(sigmas, logs).round()]
        else:
            at = np.arange(count, 0, -count / steps).round().astype(np.int64) - 1
            self.timesteps = [int(t) for t in at]
            sigmas = np.interp(at, np.arange(count), every)
        self._sigmas = torch.from_numpy(np.concatenate([sigmas, [0.0]]).astype(np.float32))
        self._index = 0
        self._before: Tensor | None = None

    def step(self, prediction: Tensor, latents: Tensor) -> Tensor:
        """Return the latents of the next level from the prediction of the network, in order."""
        sigma_next, sigma = self._sigmas[self._index + 1], self._sigmas[self._index]
        alpha_next, noise_next = _parts(sigma_next)
        alpha, noise = _parts(sigma)
        clean = prediction
        if self._prediction == 'epsilon':
            clean = (latents - noise * prediction) / alpha
        elif self._prediction == 'v_prediction':
            clean = alpha * latents - noise * prediction
        before, latents = self._before, latents.to(torch.float32)
        span = _log_ratio(alpha_next, noise_next) - _log_ratio(alpha, noise)
        weight = alpha_next * (torch.exp(-span) - 1.0)
        result = (noise_next / noise) * latents - weight * clean
        last = self._index == len(self.timesteps) - 1
        if before is not None and not last:
            span_before = _log_ratio(alpha, noise) - _log_ratio(
                *_parts(self._sigmas[self._index - 1]))
            slope = (1.0 / (span_before / span)) * (clean - before)
            result = result - 0.5 * weight * slope
        self._before = clean
        self._index += 1
        return result.to(clean.dtype)


def _parts(sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of signal and noise at a ratio of the two."""
    alpha = 1.0 / ((sigma**2 + 1.0) ** 0.5)
    return alpha, sigma * alpha


def _log_ratio(alpha: Tensor, sigma: Tensor) -> Tensor:
    return torch.log(alpha) - torch.log(sigma)


def _nearest_levels(sigmas: NDArray[Any], logs: NDArray[Any]) -> NDArray[Any]:
    """Return the timesteps, with fractions, of noise levels between those of ``logs`` (T,)."""
    at = np.log(np.maximum(sigmas, 1e-10))
    low = np.cumsum(at[None] - logs[:, None] >= 0.0, axis=0).argmax(axis=0).clip(max=len(logs) - 2)
    share = np.clip((logs[low] - at) / (logs[low] - logs[low + 1]), 0.0, 1.0)
    return np.asarray((1.0 - share) * low + share * (low + 1))
