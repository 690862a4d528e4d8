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

"""The parts of a model of the Zero-1-to-3 family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


class PoseProjection(nn.Module):
    """
    The linear layer from image embedding and pose vector to the token of cross-attention.

    Its state dict has the keys ``projection.weight`` (embedding_dim, embedding_dim + pose_dim)
    and ``projection.bias`` (embedding_dim,); in the published checkpoints this is
    ``cc_projection``, (768, 772) for Zero-1-to-3 and (768, 787) for ZeroNVS.
    """

    def __init__(self, embedding_dim: int = 768, pose_dim: int = 4) -> None:
        """
        Start as the identity on the embedding.

        The columns of the embedding are the identity and the bias is zero; the columns of the
        pose keep the default initialisation of a linear layer (Zero-1-to-3,
        ``ldm/models/diffusion/ddpm.py``).
        """
        super().__init__()
        self.embedding_dim = embedding_dim
        self.pose_dim = pose_dim
        self.projection = nn.Linear(embedding_dim + pose_dim, embedding_dim)
        with torch.no_grad():
            own = self.projection.weight[:, :embedding_dim]
            own.zero_()
            own.diagonal().fill_(1.0)
            self.projection.bias.zero_()

    def forward(self, embedding: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        """Return tokens of embeddings; shapes (n, embedding_dim), poses (n, pose_dim)."""
        return self.projection(torch.cat([embedding, pose], dim=-1))


@dataclass
class Zero123Components:
    """
    The networks and the noise schedule of one model, as a loader returns them.

    - ``unet``: diffusers ``UNet2DConditionModel``, or the ``ResidualUNet`` of the small weights;
      its input channels are the noisy latent, the conditioning latent and, for ``small``, further
      conditioning channels.
    - ``vae``: diffusers ``AutoencoderKL``, or a latent codec (``diffusion.conditioning``).
    - ``image_encoder``: transformers ``CLIPVisionModelWithProjection``, or a module that takes
      pixel values (n, 3, s, s) and returns an object with ``image_embeds`` (n, embedding_dim).
    - ``cc_projection``: image embedding and pose to the token of cross-attention.
    - ``scheduler``: diffusers ``DDIMScheduler``, or ``NoiseLevels`` of the small weights; only its
      configuration (the betas and what the network predicts) is used, each run makes its own
      sampler from it.
    - ``family``: a key of ``POSE_DIMS``: whose pose vector the model takes.
    """

    unet: Any
    vae: Any
    image_encoder: Any
    cc_projection: PoseProjection
    scheduler: Any
    family: str
