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

"""The optimiser of the training runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from lift3d_ros.training.optimizer import SplitOptimizer


def make_network():
    """Return a small network with every kind of layer, one of them with its channels last."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(4, 32, 3, padding=1),
        nn.SiLU(),
        nn.Conv3d(32, 32, 3, padding=1),
        nn.GroupNorm(4, 32),
        nn.ConvTranspose3d(32, 32, 2, stride=2),
        nn.SiLU(),
        nn.Conv3d(32, 1, 1),
    )
    network[2].to(memory_format=torch.channels_last_3d)
    return network


def one_step(network, optimizer):
    """Take a step on fixed data; return the loss before it."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 4, 4, 4, 4, generator=generator)
    y = functional.interpolate(x[:, :1].tanh() * x[:, 1:2], scale_factor=2.0)
    optimizer.zero_grad()
    loss = functional.mse_loss(network(x), y)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def test_every_parameter_is_learned():
    """Whichever of the two optimisers has it, and however it lies in memory."""
    network = make_network()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    one_step(network, SplitOptimizer(network, 1e-2, 0.0))
    for name, parameter in network.named_parameters():
        # A bias before a norm over its own group has no gradient worth the name.
        if not torch.allclose(parameter.grad, torch.zeros(())):
            assert not torch.equal(parameter.detach(), before[name]), name


def test_the_order_in_memory_does_not_matter():
    """Channels last or first, the same weights come out."""
    ends = []
    for last in (False, True):
        network = make_network()
        order = torch.channels_last_3d if last else torch.contiguous_format
        network[2].to(memory_format=order)
        one_step(network, SplitOptimizer(network, 1e-2, 0.0))
        ends.append(network[2].weight.detach().clone())
    difference = (ends[0] - ends[1]).abs().mean()
    moved = (ends[0] - make_network()[2].weight.detach()).abs().mean()
    # Muon's own arithmetic is in bfloat16.
    assert difference < 0.05 * moved


def test_it_fits_a_function():
    """The loss falls to a small share."""
    network = make_network()
    optimizer = SplitOptimizer(network, 3e-3, 0.0)
    losses = [one_step(network, optimizer) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]


def test_a_run_goes_on_as_if_it_had_not_stopped():
    """The moments are part of the state."""
    straight = make_network()
    optimizer = SplitOptimizer(straight, 1e-2, 0.0)
    for _ in range(4):
        one_step(straight, optimizer)

    stopped = make_network()
    optimizer = SplitOptimizer(stopped, 1e-2, 0.0)
    for _ in range(2):
        one_step(stopped, optimizer)
    resumed = make_network()
    resumed.load_state_dict(stopped.state_dict())
    fresh = SplitOptimizer(resumed, 1e-2, 0.0)
    fresh.load_state_dict(optimizer.state_dict())
    for _ in range(2):
        one_step(resumed, fresh)
    for name, parameter in straight.state_dict().items():
        assert torch.allclose(resumed.state_dict()[name], parameter, atol=1e-6), name


def test_the_state_of_another_optimizer_is_refused():
    """As the checkpoint of an earlier version has it."""
    network = make_network()
    state = torch.optim.AdamW(network.parameters()).state_dict()
    with pytest.raises(KeyError):
        SplitOptimizer(network, 1e-2, 0.0).load_state_dict(state)
