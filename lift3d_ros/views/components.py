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

"""The parts that a model of the Zero-1-to-3 family is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lift3d_ros.views.conditioning import PoseProjection

#: The families, and how many numbers their pose vectors have (``lift3d_ros.geometry`` makes them).
#: ``small`` are the weights of this package; they take the vector of Zero-1-to-3.
POSE_DIMS = {'zero123': 4, 'stable_zero123': 4, 'zeronvs': 19, 'small': 4}


@dataclass
class Zero123Components:
    """
    The networks and the noise schedule of one model, as a loader returns them.

    - ``unet``: diffusers ``UNet2DConditionModel``; its input channels are the noisy latent, the
      conditioning latent and, for ``small``, further conditioning channels.
    - ``vae``: diffusers ``AutoencoderKL``, or a latent codec (``lift3d_ros.views.codec``).
    - ``image_encoder``: transformers ``CLIPVisionModelWithProjection``, or a module that takes
      pixel values (n, 3, s, s) and returns an object with ``image_embeds`` (n, embedding_dim).
    - ``cc_projection``: image embedding and pose to the token of cross-attention.
    - ``scheduler``: diffusers ``DDIMScheduler``; only its configuration (the betas and what the
      network predicts) is used, each run makes its own sampler from it.
    - ``family``: a key of ``POSE_DIMS``: whose pose vector the model takes.
    """

    unet: Any
    vae: Any
    image_encoder: Any
    cc_projection: PoseProjection
    scheduler: Any
    family: str
