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

"""Samplers: solvers, timesteps, guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lift3d_ros.diffusion.noise import DpmSolver
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

SOLVERS = ('ddim', 'dpm++')
SPACINGS = ('log_snr', 'uniform')


@dataclass(frozen=True)
class SamplerSettings:
    """
    Settings of a sampler.

    - ``solver``: ``ddim`` on the grid of the published sampler, or ``dpm++``: the second-order
      multistep DPM-Solver++ (Lu et al. 2022), which needs far fewer steps.
    - ``steps``: requested steps; ``ddim`` may take a few more, see ``ddim_timesteps``.
    - ``spacing``: of the steps of ``dpm++``: ``log_snr`` is uniform in the log signal-to-noise
      ratio, where the solver is most accurate; ``uniform`` is uniform in the timestep.
    - ``eta``: noise of each step of ``ddim``, 0 for none, 1 as in training; ``dpm++`` requires 0.
    - ``guidance_scale``: s in eps = eps_unc + s (eps_cond - eps_unc); 1 is no guidance, without
      the cost of the unconditional branch.
    - ``guidance_interval``: range of timesteps with guidance, shares of all; the other steps cost
      half as much (Kynkaanniemi et al. 2024).
    """

    solver: str = 'dpm++'
    steps: int = 12
    spacing: str = 'log_snr'
    eta: float = 0.0
    guidance_scale: float = 3.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        low, high = self.guidance_interval
        for wrong, message in (
            (self.solver not in SOLVERS, f'There is no solver "{self.solver}"; choose one of '
             f'{", ".join(SOLVERS)}.'),
            (not 1 <= self.steps <= 1000, f'{self.steps} sampling steps are requested; choose 1 '
             'to 1000.'),
            (self.spacing not in SPACINGS, f'There is no spacing "{self.spacing}"; choose one of '
             f'{", ".join(SPACINGS)}.'),
            (not 0.0 <= self.eta <= 1.0, f'eta is {self.eta}; choose 0 to 1.'),
            (self.solver == 'dpm++' and self.eta != 0.0, 'The solver dpm++ adds no noise; set eta '
             'to 0 or choose ddim.'),
            (not 0.0 <= self.guidance_scale <= 100.0, f'The guidance scale is '
             f'{self.guidance_scale}; choose 0 to 100.'),
            (not 0.0 <= low <= high <= 1.0, f'The guidance interval is {low} to {high}; it must '
             'be two rising shares between 0 and 1.'),
        ):
            if wrong:
                raise LiftError(ErrorCode.BAD_REQUEST, message)


#: As published: 75 requested steps, which are 77; eta 1; scale 3 (``gradio_new.py``).
FAITHFUL = SamplerSettings('ddim', steps=75, eta=1.0, guidance_scale=3.0)

#: The default: 12 steps, with guidance down to the timestep where the noise is a third of the
#: signal (Kynkaanniemi et al. 2024 stop at 0.28). They also omit it at the strongest noise; these
#: steps determine the pose, so here they keep it.
FAST = SamplerSettings('dpm++', steps=12, guidance_scale=3.0, guidance_interval=(0.1, 1.0))


def ddim_timesteps(steps: int, train_timesteps: int = 1000) -> list[int]:
    """
    Return the falling timesteps of the published DDIM sampler.

    With c = T // steps they are range(0, T, c) + 1: 75 steps become 77, 50 stay 50
    (Zero-1-to-3, ``ldm/modules/diffusionmodules/util.py``). The timestep T, with which some grids
    end (37 steps), has no noise level and is omitted.
    """
    grid = [t + 1 for t in range(0, train_timesteps, train_timesteps // steps)]
    return [t for t in reversed(grid) if t < train_timesteps]


class Sampler:
    """
    A sampling run from noise to latents, with state.

    ``step`` maps the prediction of the network at each of the falling ``timesteps`` to the latents
    of the next.
    """

    def __init__(self, settings: SamplerSettings, scheduler: Any) -> None:
        """
        Make the solver.

        ``scheduler`` is a ``NoiseLevels``, or a scheduler of diffusers, with the betas and the
        prediction type (epsilon, v_prediction or sample); it is not modified.
        """
        self.settings = settings
        self.train_timesteps = int(scheduler.config['num_train_timesteps'])
        if settings.steps > self.train_timesteps:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{settings.steps} sampling steps are requested, but the model has '
                f'{self.train_timesteps} noise levels; choose fewer.',
            )
        known = ('num_train_timesteps', 'beta_start', 'beta_end', 'beta_schedule', 'trained_betas',
                 'prediction_type', 'rescale_betas_zero_snr')
        schedule = {name: scheduler.config[name] for name in known if name in scheduler.config}
        self._ddim: Any = None
        if settings.solver == 'ddim':
            from diffusers import DDIMScheduler

            self._ddim = DDIMScheduler(
                **schedule, clip_sample=False, set_alpha_to_one=False, steps_offset=1
            )
            # The solver needs the requested steps for its step size, T // steps; its own grid
            # lacks the noisiest timesteps.
            self._ddim.set_timesteps(settings.steps)
            self.timesteps = ddim_timesteps(settings.steps, self.train_timesteps)
            self._ddim.timesteps = torch.tensor(self.timesteps)
        else:
            self._solver = DpmSolver(schedule, settings.steps, settings.spacing == 'log_snr')
            self.timesteps = self._solver.timesteps

    @property
    def needs_noise(self) -> bool:
        """Whether ``step`` takes noise."""
        return self.settings.eta > 0.0

    def guided(self, timestep: int) -> bool:
        """Return whether guidance acts at this timestep."""
        low, high = (share * self.train_timesteps for share in self.settings.guidance_interval)
        return self.settings.guidance_scale != 1.0 and low <= timestep <= high

    def step(
        self,
        prediction: torch.Tensor,
        timestep: int,
        latents: torch.Tensor,
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the latents after the step, of the shape of ``latents`` (n, c, h, w)."""
        if self._ddim is not None:
            result: torch.Tensor = self._ddim.step(
                prediction, timestep, latents, eta=self.settings.eta, variance_noise=noise
            ).prev_sample
            return result
        return self._solver.step(prediction, latents)
