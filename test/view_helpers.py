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

"""Weights for tests of view synthesis."""

from __future__ import annotations

from pathlib import Path


def random_weights(folder: Path) -> Path:
    """Write small weights of random numbers into a folder; return it."""
    import torch

    from lift3d_ros.diffusion.small import make_components
    from lift3d_ros.diffusion.small import write_small
    from lift3d_ros.networks.small.coarse import CoarseNet

    with torch.random.fork_rng():
        torch.manual_seed(0)
        coarse = CoarseNet()
        components = make_components(coarse.config.features)
        torch.nn.init.normal_(components.unet.unet.conv_out.weight, std=0.05)
        write_small(folder, coarse, components)
    return folder


def learned_weights(folder: Path) -> Path:
    """
    Write untrained small weights with a surface network into a folder; return it.

    The network takes nearly everything for solid, so that what the camera measured alone carves
    the shape: of the right size in front, deep behind.
    """
    import torch

    from lift3d_ros.networks.small.surface_network import SurfaceNet
    from lift3d_ros.networks.small.surface_network import write_surface

    random_weights(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SurfaceNet()
        # The views shall matter a little.
        torch.nn.init.normal_(network.logit.weight, std=0.02)
        torch.nn.init.constant_(network.logit.bias, 4.0)
        write_surface(folder / 'surface', network)
    return folder
