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

"""The training task of the small denoiser: the true view from noise and conditioning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.diffusion.render_conditioning import render_conditioning
from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.networks.small.coarse import CoarseNet
from lift3d_ros.networks.small.monocular import MonocularNet
from lift3d_ros.networks.small.monocular import with_predicted_depth
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.runtime.precision import fast_autocast
from lift3d_ros.training.coarse import far_view_scores
from lift3d_ros.training.coarse import model_inputs
from lift3d_ros.training.coarse import stack_samples
from lift3d_ros.weights.components import Zero123Components

#: Dropout of the conditions by a uniform number (Zero-1-to-3, ``ldm/models/diffusion/ddpm.py``):
#: below the first the embedding is dropped, between the others the latent of the picture.
_DROP_EMBEDDING = 0.10
_DROP_LATENT = (0.05, 0.15)


class DenoiserModel(nn.Module):
    """The denoiser and the coarse network, of which only the feature layer is trained."""

    def __init__(
        self,
        coarse: CoarseNet,
        components: Zero123Components,
        monocular: MonocularNet | None = None,
    ) -> None:
        """Freeze the coarse network; register the trained parts as modules."""
        super().__init__()
        self.monocular = monocular
        self.coarse = coarse.requires_grad_(False)
        self.coarse.feature.requires_grad_(True)
        self.unet = components.unet
        self.encoder = components.image_encoder
        self.projection = components.cc_projection
        self.components = components

    def volume(self, inputs: dict[str, Tensor]) -> CoarseVolume:
        """Return the coarse volumes of ``model_inputs``."""
        with torch.no_grad():
            inputs = with_predicted_depth(inputs, self.monocular)
        volume: CoarseVolume = self.coarse(**inputs)
        return volume

    def forward(
        self, batch: dict[str, Tensor], noise: Tensor, times: Tensor, chance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Return the predicted and the true latents, (n, 64, 32, 32).

        ``noise`` has that shape, ``times`` (n,) are timesteps, ``chance`` (b,) is uniform; n is
        the number of samples times that of their views.
        """
        inputs = model_inputs(batch)
        b, v = batch['target_poses'].shape[:2]
        volume = self.volume(inputs)
        extra, _ = render_conditioning(
            volume, inputs['picture'], inputs['focal'], inputs['centre'], inputs['pose'],
            batch['target_poses'],
        )
        codec = self.components.vae
        picture = 2.0 * inputs['picture'] - 1.0
        embedding = self.encoder.embed(picture)
        embedding = embedding * (chance >= _DROP_EMBEDDING)[:, None]
        kept = (chance < _DROP_LATENT[0]) | (chance >= _DROP_LATENT[1])
        latent = codec.encode_condition(picture) * kept[:, None, None, None]
        poses = pose_vectors(inputs['pose'], batch['target_poses']).reshape(b * v, 4)
        tokens = self.projection(embedding.repeat_interleave(v, dim=0), poses)[:, None]
        truth = codec.encode_target(target_pictures(batch).flatten(0, 1))
        signal = self.components.scheduler.alphas_cumprod.to(truth.device)[times]
        signal = signal[:, None, None, None]
        noisy = signal.sqrt() * truth + (1.0 - signal).sqrt() * noise
        sample = torch.cat([noisy, latent.repeat_interleave(v, dim=0), extra.flatten(0, 1)], dim=1)
        prediction = self.unet(sample, times, encoder_hidden_states=tokens).sample
        return prediction.float(), truth


class DenoiserTask:
    """The loss of the denoiser, and its scores on ``samples`` of other objects."""

    def __init__(
        self, samples: Sequence[dict[str, NDArray[Any]]], views: int = 2, seed: int = 0
    ) -> None:
        """Keep the evaluation samples; a step trains on ``views`` views of each sample."""
        self._samples = list(samples)
        self._views = views
        self._random = torch.Generator().manual_seed(seed)

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """See ``Task``."""
        del step
        chosen = torch.randperm(batch['targets'].shape[1], generator=self._random)[: self._views]
        batch = {
            **batch, 'targets': batch['targets'][:, chosen],
            'target_poses': batch['target_poses'][:, chosen],
        }
        n = batch['targets'].shape[0] * len(chosen)
        # Inference is one step from pure noise by default: half of the training.
        times = torch.randint(1000, (n,), generator=self._random)
        first = torch.rand(n, generator=self._random) < 0.5
        times = torch.where(first, 999, times)
        noise = torch.randn((n, 64, 32, 32), generator=self._random)
        chance = torch.rand(len(batch['targets']), generator=self._random)
        device = batch['targets'].device
        with fast_autocast(device):
            prediction, truth = model(
                batch, noise.to(device), times.to(device), chance.to(device)
            )
        return {'picture': functional.mse_loss(prediction, truth)}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """
        Return mean PSNR (dB, on white) and mask IoU of the views beyond 45 degrees of azimuth.

        ``coarse_...`` are those of the rendering of the volume.
        """
        assert isinstance(model, DenoiserModel)
        device = next(model.parameters()).device
        zero = Zero123(model.components, device=device)
        settings = SamplerSettings('dpm++', steps=1, spacing='uniform', guidance_scale=1.0)
        lists: dict[str, list[float]] = {}
        for sample in self._samples:
            batch = stack_samples([sample], model)
            inputs = model_inputs(batch)
            with fast_autocast(device):
                volume = model.volume(inputs)
                extra, rendering = render_conditioning(
                    volume, inputs['picture'], inputs['focal'], inputs['centre'], inputs['pose'],
                    batch['target_poses'],
                )
                vectors = pose_vectors(inputs['pose'], batch['target_poses'])[0]
                views = zero.synthesize(
                    2.0 * inputs['picture'][0] - 1.0, vectors.cpu().numpy(), settings,
                    extra_channels=extra[0].float(),
                )
            truth = target_pictures(batch)[0].cpu()
            side = int(rendering.alpha.shape[-1] ** 0.5)
            raw = torch.cat([rendering.color, rendering.alpha], dim=2)[0].cpu()
            raw = raw.reshape(-1, 4, side, side)
            raw = functional.interpolate(raw, scale_factor=2, mode='bilinear')
            kind = 'depth' if sample['flags'][0] else 'rgb'
            poses = batch['target_poses'][0].cpu()
            for name, pictures in (('', 0.5 * (views + 1.0)), ('coarse_', raw)):
                masks, psnr = far_view_scores(pictures, 0.5 * (truth + 1.0), poses)
                lists.setdefault(f'{name}mask_{kind}', []).extend(masks)
                lists.setdefault(f'{name}psnr_{kind}', []).extend(psnr)
        # ``Zero123`` freezes its components.
        for part in (model.unet, model.encoder, model.projection):
            part.requires_grad_(True)
        scores = {name: float(np.mean(values)) for name, values in lists.items()}
        own = [value for name, value in scores.items() if name.startswith('psnr')]
        masks = [value for name, value in scores.items() if name.startswith('mask')]
        return {'score': float(np.mean(own) + 10.0 * np.mean(masks)), **scores}


def target_pictures(batch: dict[str, Tensor]) -> Tensor:
    """Return the true views of samples, (b, v, 4, 128, 128) in [-1, 1]."""
    return batch['targets'].permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0


def pose_vectors(pose: Tensor, poses: Tensor) -> Tensor:
    """
    Return the pose vectors (b, v, 4) of views at ``poses`` (b, v, 4, 4) for an input at ``pose``.

    As ``geometry.zero123_pose``, with no difference in radius: lens and distance of the small
    weights are fixed.
    """
    own, other = pose[:, None, :3, 3], poses[..., :3, 3]
    elevation, target = (
        torch.asin((p[..., 2] / p.norm(dim=-1)).clamp(-1.0, 1.0)) for p in (own, other)
    )
    turn = torch.atan2(other[..., 1], other[..., 0]) - torch.atan2(own[..., 1], own[..., 0])
    return torch.stack(
        [elevation - target, turn.sin(), turn.cos(), torch.zeros_like(turn)], dim=-1
    )
