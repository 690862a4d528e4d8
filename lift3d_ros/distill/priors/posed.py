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

"""The Zero-1-to-3 family as a prior: views of the object in one picture, from known cameras."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.diffusion.render_conditioning import render_conditioning
from lift3d_ros.diffusion.zero123 import ViewConditions
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.distill.priors.prior import NoiseSchedule
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import family_pose
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.networks.small.volume import CoarseVolume

#: Returns extra channels (n, c, h, w) of the denoiser before cameras (n, 4, 4).
ExtraChannels = Callable[[Tensor], Tensor]


class PosedPrior:
    """
    A model of the Zero-1-to-3 family, small or published, conditioned on one picture.

    The cameras look at the origin of the canonical frame; a turn about the optical axis is not
    part of the model's condition.
    """

    def __init__(
        self,
        model: Zero123,
        image: Tensor,
        T_object_input: Array,
        guidance_scale: float = 3.0,
        extra: ExtraChannels | None = None,
        same_radius: bool = False,
        scene_scale: float | None = None,
        fov: float = ZERO123_FOV,
    ) -> None:
        """
        Encode the picture.

        - ``image``: (c, h, w) in [-1, 1] on white; RGBA for the small weights, else RGB.
        - ``T_object_input``: (4, 4), the optical frame of the picture in canonical coordinates.
        - ``guidance_scale``: s in eps = eps_unc + s (eps_cond - eps_unc). threestudio's and
          NeuralLift-360's eps_cond + s (eps_cond - eps_unc) is the scale s + 1.
        - ``extra``: of the small weights, see ``coarse_channels``.
        - ``same_radius``: whether every camera counts as being at the distance of the input's, as
          in threestudio, whose cameras have a longer lens from farther away.
        - ``scene_scale``, and ``fov`` in degrees of all cameras: of ZeroNVS, see
          ``geometry.family_pose``.

        Raises ``LiftError(BAD_REQUEST)`` for an image of another shape.
        """
        self._model, self._extra = model, extra
        self._input = model.encode(image)
        self._size = (image.shape[1], image.shape[2])
        self._pose = T_object_input
        self._scale, self._same_radius = guidance_scale, same_radius
        self._scene_scale, self._fov = scene_scale, fov
        self._kind = str(model.scheduler.config['prediction_type'])
        self.schedule = NoiseSchedule.of_scheduler(model.scheduler)

    def encode(self, images: Tensor) -> Tensor:
        """
        Return latents of premultiplied RGBA (b, 4, h, w) in [0, 1], with gradients.

        The renderings are resized to the model's pictures; models without alpha see them on white.
        """
        if images.shape[-2:] != self._size:
            images = functional.interpolate(images, self._size, mode='bilinear', antialias=True)
        alpha = images[:, 3:]
        pictures = images[:, :3] + 1.0 - alpha
        if self._model.family == 'small':
            pictures = torch.cat([pictures, alpha], dim=1)
        pixels = (2.0 * pictures - 1.0).to(self._model.device, self._model.dtype)
        return self._model.codec.encode_target(pixels).float()

    def condition(self, poses: Tensor) -> ViewConditions:
        """
        Return the conditions of cameras (b, 4, 4).

        Raises ``LiftError(BAD_REQUEST)`` for cameras outside of the range of the model.
        """
        targets = poses.double().cpu().numpy().copy()
        if self._same_radius:
            radius = np.linalg.norm(self._pose[:3, 3])
            targets[:, :3, 3] *= radius / np.linalg.norm(targets[:, :3, 3], axis=1, keepdims=True)
        vectors = family_pose(
            self._model.family, targets, self._pose, self._fov, self._scene_scale)
        extra = None if self._extra is None else self._extra(poses)
        return self._model.conditions(self._input, vectors, extra)

    @torch.no_grad()
    def predict_x0(
        self, noisy: Tensor, timesteps: Tensor, condition: ViewConditions
    ) -> Tensor:
        """Return the guided E[x0 | x_t], float32; see ``DiffusionPrior``."""
        timesteps = timesteps.expand(len(noisy))
        prediction = self._model.predict(noisy, timesteps, condition, self._scale)
        clean = self.schedule.clean(noisy.to(prediction), prediction, timesteps, self._kind)
        return clean.to(noisy)


def coarse_channels(volume: CoarseVolume, inputs: dict[str, Tensor]) -> ExtraChannels:
    """
    Return the extra channels of the small weights: the coarse volume before the cameras.

    ``volume`` and ``inputs`` are those of ``SmallModel.volume``.
    """
    @torch.no_grad()
    def channels(poses: Tensor) -> Tensor:
        extra, _ = render_conditioning(
            volume, inputs['picture'], inputs['focal'], inputs['centre'], inputs['pose'],
            poses.to(inputs['picture'])[None],
        )
        return extra[0]

    return channels
