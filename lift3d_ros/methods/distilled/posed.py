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

"""Posed priors of an object: the Zero-1-to-3 family, small or published."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lift3d_ros.diffusion.models import PublishedModel
from lift3d_ros.diffusion.models import SmallModel
from lift3d_ros.distill.guidance.anchors import AnchorViews
from lift3d_ros.distill.latents import LatentSpace
from lift3d_ros.distill.priors.posed import coarse_channels
from lift3d_ros.distill.priors.posed import PosedPrior
from lift3d_ros.errors import bad_request
from lift3d_ros.fields.field import SynthesizedViews
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry.frame import VIEW_SIZE
from lift3d_ros.methods.distilled.inputs import DistillationInputs
from lift3d_ros.methods.one2345 import One2345

#: Families whose pose vector is relative to the input camera, as that of Zero-1-to-3.
FAMILIES = ('small', 'zero123', 'stable_zero123')


@dataclass(frozen=True, eq=False)
class ViewModel:
    """A loaded model of the family; ``model.radius`` is the distance of its training cameras."""

    model: SmallModel | PublishedModel

    @property
    def is_small(self) -> bool:
        """Whether it is a model of the packaged kind, which has no autoencoder."""
        return isinstance(self.model, SmallModel)

    def prior(
        self,
        inputs: DistillationInputs,
        guidance_scale: float,
        same_radius: bool = False,
        scene_scale: float | None = None,
    ) -> PosedPrior:
        """Return the prior conditioned on the picture of an object; see ``PosedPrior``."""
        if isinstance(self.model, SmallModel):
            observed = inputs.levelled.observed
            # The small weights are trained without the unconditional branch.
            return PosedPrior(
                self.model.denoiser, 2.0 * observed.inputs['picture'][0] - 1.0,
                inputs.canonical.input_pose, 1.0,
                coarse_channels(observed.volume, observed.inputs), same_radius)
        view = inputs.obs.view
        image = torch.from_numpy(view.image.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1.0)
        pose = orbit_pose(0.0, inputs.canonical.elevation, self.model.radius)
        return PosedPrior(
            self.model.denoiser, image, pose, guidance_scale, same_radius=same_radius,
            scene_scale=scene_scale)

    @torch.no_grad()
    def views(self, anchors: AnchorViews) -> SynthesizedViews:
        """Return the pictures of anchor views of the small weights, which have an alpha."""
        codec = self.model.denoiser.codec
        rgba = 0.5 * (codec.decode(anchors.latents) + 1.0)
        pixels = (255.0 * rgba.clamp(0.0, 1.0)).round().permute(0, 2, 3, 1).to(torch.uint8)
        return SynthesizedViews(pixels[None].cpu().numpy(), anchors.cameras.poses.numpy())

    @torch.no_grad()
    def latent_space(self) -> LatentSpace:
        """Return the latents of a published model: its decoder, and the mean of white."""
        denoiser = self.model.denoiser
        white = torch.ones(
            1, 3, VIEW_SIZE, VIEW_SIZE, device=denoiser.device, dtype=denoiser.dtype)
        background = denoiser.codec.encode_target(white).float().mean(dim=(0, 2, 3))

        def decode(latents: torch.Tensor) -> torch.Tensor:
            return denoiser.codec.decode(latents.to(denoiser.dtype)).float()

        return LatentSpace(decode, background)


def load_view_model(
    weights: str, device: str, start: One2345, families: tuple[str, ...] = FAMILIES
) -> ViewModel:
    """
    Return the model of ``weights``; that of the loaded ``start`` is shared if it is the same.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, and ``BAD_REQUEST`` for a model
    of a family that is not in ``families``.
    """
    from lift3d_ros.methods.one2345_published import published_views
    from lift3d_ros.weights.loading import load_zero123

    name = published_views(weights)
    if name is None:
        return ViewModel(start.networks.view_model)
    dtype = torch.float16 if device == 'cuda' else torch.float32
    components = load_zero123(name, dtype=dtype, device=device)
    if components.family not in families:
        raise bad_request(
            f'The weights {weights} are of the family {components.family}; give weights of one of '
            f'{", ".join(families)}.')
    return ViewModel(PublishedModel(components, device, dtype, None))
