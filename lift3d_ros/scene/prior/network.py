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

"""Views of a scene from elsewhere, filled by the small prior."""

from __future__ import annotations

import numpy as np
import torch

from lift3d_ros.networks.small.scene_denoiser import SceneDenoiser
from lift3d_ros.scene.prior.fill import as_image
from lift3d_ros.scene.prior.fill import FilledView
from lift3d_ros.scene.prior.fill import known_channels
from lift3d_ros.scene.prior.fill import LEAST_INVERSE
from lift3d_ros.scene.prior.fill import TOLERANCE_M
from lift3d_ros.scene.prior.inputs import KnownView


def fill_view(network: SceneDenoiser, view: KnownView, scale: float, seed: int = 0) -> FilledView:
    """Return the view as the network completes it; ``scale`` of the scene in metres."""
    device = next(network.parameters()).device
    known = torch.from_numpy(known_channels(view))[None].to(device)
    pose = torch.from_numpy(view.pose)[None].to(device)
    result = network.predict(known, pose, seed)
    picture = result.picture[0].float().cpu().numpy()
    inverse = np.maximum(picture[3], LEAST_INVERSE)
    # The surface is not in front of where the ray leaves free space.
    bounded = view.exit > 0.0
    inverse = np.where(bounded, np.minimum(inverse, np.maximum(view.exit, LEAST_INVERSE)), inverse)
    depth = scale / inverse
    # d = s / q, hence |dd| = |dq| d / q.
    error = np.exp(result.log_scale[0].float().cpu().numpy()) * depth / inverse
    # The error has the Laplace distribution that the network is trained to predict.
    confidence = 1.0 - np.exp(-TOLERANCE_M / np.maximum(error, 1e-6))
    return FilledView(
        as_image(picture[:3]), depth.astype(np.float32), confidence.astype(np.float32),
        np.zeros(depth.shape, np.float32), np.zeros(depth.shape, bool))
