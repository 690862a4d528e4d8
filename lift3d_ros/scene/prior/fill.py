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

"""A view of a scene from elsewhere, filled by the prior where nothing is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch

from lift3d_ros.networks.small.scene_denoiser import SceneDenoiser
from lift3d_ros.scene.prior.inputs import completed
from lift3d_ros.scene.prior.inputs import KnownView

#: Smallest inverse depth of a prediction, in units of the inverse scale.
_LEAST = 0.02


@dataclass(frozen=True, eq=False)
class FilledView:
    """
    What the prior predicts of a view, each array (height, width), known pixels included.

    - ``color``: uint8 RGB (height, width, 3); ``depth``: float32 metres.
    - ``error``: float32, the expected absolute error of the depth, metres.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    error: NDArray[np.float32]


def known_channels(view: KnownView) -> NDArray[np.float32]:
    """Return the inputs of the network that are known, float32 (KNOWN, h, w)."""
    color, inverse = completed(view)
    flags = [view.inverse > 0.0, view.observed, view.object]
    return np.concatenate([
        color, inverse[None], np.stack(flags).astype(np.float32), view.exit[None],
        view.last[None]]).astype(np.float32)


def fill_view(network: SceneDenoiser, view: KnownView, scale: float, seed: int = 0) -> FilledView:
    """Return the view as the network completes it; ``scale`` of the scene in metres."""
    device = next(network.parameters()).device
    known = torch.from_numpy(known_channels(view))[None].to(device)
    pose = torch.from_numpy(view.pose)[None].to(device)
    result = network.predict(known, pose, seed)
    picture = result.picture[0].float().cpu().numpy()
    inverse = np.maximum(picture[3], _LEAST)
    # The surface is not in front of where the ray leaves free space.
    bounded = view.exit > 0.0
    inverse = np.where(bounded, np.minimum(inverse, np.maximum(view.exit, _LEAST)), inverse)
    depth = scale / inverse
    # d = s / q, hence |dd| = |dq| d / q.
    error = np.exp(result.log_scale[0].float().cpu().numpy()) * depth / inverse
    color = np.clip(np.rint((picture[:3].transpose(1, 2, 0) + 1.0) * 127.5), 0, 255)
    return FilledView(color.astype(np.uint8), depth.astype(np.float32), error.astype(np.float32))
