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

"""The losses and scores of the surface network with depth, on occupancy at points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.networks.small.depth_surface import DepthInputs
from lift3d_ros.networks.small.depth_surface import DepthSurfaceNet
from lift3d_ros.runtime.precision import fast_autocast
from lift3d_ros.training.coarse import dice
from lift3d_ros.training.coarse import overlap
from lift3d_ros.training.coarse import stack_samples
from lift3d_ros.training.depth_surface.samples import depth_inputs
from lift3d_ros.training.depth_surface.samples import point_evidence
from lift3d_ros.training.depth_surface.targets import BOX_POINTS
from lift3d_ros.training.depth_surface.targets import NEAR_POINTS

#: Points near the surface and in the box that a step uses of each sample.
STEP_NEAR, STEP_BOX = 5_000, 3_000

#: Share of samples without the evidence of symmetries.
SYMMETRY_DROPPED = 0.2

#: Distance at which the predicted and the true distance are clipped, canonical units, and the
#: logit that stands for it.
TRUNCATION, TRUNCATION_LOGIT = 0.03, 4.0

#: A point this far before the reading, canonical units, is in the free space of the camera.
FREE_DISTANCE = 0.01

#: Weight of the cross entropy at points whose occupancy the frame determines.
DETERMINED_WEIGHT = 0.1

#: Bounds of the ``thickness`` of a sample between thin, mid and compact objects.
CLASSES = (('thin', 0.07), ('mid', 0.15), ('compact', np.inf))


class DepthSurfaceTask:
    """The losses, and the scores on samples of the split ``dev``."""

    def __init__(self, samples: Sequence[dict[str, NDArray[Any]]], seed: int = 0) -> None:
        """Keep the samples of the scores."""
        self._samples = list(samples)
        self._random = torch.Generator().manual_seed(seed)

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """See ``Task``."""
        del step
        inputs = depth_inputs(batch)
        kept = torch.rand(len(inputs.flags), generator=self._random) >= SYMMETRY_DROPPED
        symmetry = inputs.symmetry * kept.to(inputs.symmetry)[:, None, None, None, None]
        inputs = DepthInputs(inputs.fine, inputs.coarse, symmetry, inputs.box, inputs.flags)
        near = torch.randperm(NEAR_POINTS, generator=self._random)[:STEP_NEAR]
        box = NEAR_POINTS + torch.randperm(BOX_POINTS, generator=self._random)[:STEP_BOX]
        chosen = torch.cat([near, box])
        logit, distance, open_ = _logits(model, batch, inputs, chosen)
        inside = (distance < 0.0).float()
        # The field falls with the distance: a wall that is too thick by a voxel costs more than
        # one by a tenth of it.
        truth = (-distance / TRUNCATION).clamp(-1.0, 1.0)
        predicted = (logit / TRUNCATION_LOGIT).tanh()
        # Measured depth and the mask carve the field afterwards: what they carve is learnt with
        # less weight, and does not count in the overlap.
        weight = torch.where(open_, 1.0, DETERMINED_WEIGHT)
        weight = weight / weight.mean()
        entropy = weight * functional.binary_cross_entropy_with_logits(
            logit, inside, reduction='none')
        error = weight * (predicted - truth).abs()
        probability, inside = logit.sigmoid() * open_, inside * open_
        part = STEP_NEAR
        # With more weight near the surface the unobserved side shrinks, with less the surface is
        # less exact (weights/training.md).
        return {
            'near': 0.3 * entropy[:, :part].mean(),
            'box': entropy[:, part:].mean(),
            'distance': 0.3 * error[:, :part].mean(),
            'overlap': 2.0 * (1.0 - dice(probability[:, part:], inside[:, part:]).mean()),
            'overlap_near': 0.5 * (1.0 - dice(probability[:, :part], inside[:, :part]).mean()),
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """
        Return the means over the samples: ``iou`` of the points in the box, of all and by class.

        What the frame carves is empty, as in the mesh.
        ``accuracy`` is that of a fourth of the points near the surface.
        """
        lists: dict[str, list[float]] = {}
        near_points = torch.arange(0, NEAR_POINTS, 4)
        chosen = torch.cat([near_points, torch.arange(NEAR_POINTS, NEAR_POINTS + BOX_POINTS)])
        count = len(near_points)
        for start in range(0, len(self._samples), 8):
            group = self._samples[start:start + 8]
            batch = stack_samples(group, model)
            logit, distance, open_ = _logits(model, batch, depth_inputs(batch), chosen)
            inside, predicted = (distance < 0.0) & open_, (logit > 0.0) & open_
            iou = overlap(predicted[:, count:], inside[:, count:])
            near = (predicted == inside)[:, :count].float().mean(dim=1)
            for index, sample in enumerate(group):
                kind = next(name for name, top in CLASSES if sample['thickness'] < top)
                lists.setdefault('iou', []).append(float(iou[index]))
                lists.setdefault(f'iou_{kind}', []).append(float(iou[index]))
                lists.setdefault('accuracy', []).append(float(near[index]))
        means = {name: float(np.mean(values)) for name, values in lists.items()}
        kinds = [means[f'iou_{name}'] for name, _ in CLASSES if f'iou_{name}' in means]
        return {'score': float(np.mean([*kinds, means['accuracy']])), **means}


def undetermined(evidence: Tensor) -> Tensor:
    """
    Return whether the frame leaves the occupancy of points open, bool (b, m).

    ``evidence`` (b, 4, m) is ``view_evidence``. Points before a reading are empty, and so are
    points off the mask, except behind a reading: there an occluder may hide the object.
    """
    mask, behind, _, valid = evidence.unbind(1)
    measured = valid > 0.5
    # The evidence has the distance in units of 0.05.
    before = measured & (behind < -FREE_DISTANCE / 0.05)
    off = (mask < 0.5) & ~(measured & (behind > 0.0))
    return ~before & ~off


def _logits(
    model: nn.Module, batch: dict[str, Tensor], inputs: DepthInputs, chosen: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, true distances and ``undetermined`` (b, m) of the chosen points."""
    unit, evidence, distance = point_evidence(batch, chosen)
    # A wrapped model has only the call.
    plain = getattr(model, 'module', model)
    assert isinstance(plain, DepthSurfaceNet), type(plain)
    with fast_autocast(unit.device):
        field = model(inputs)
        logit = plain.decode(field, unit, evidence)
    return logit.float(), distance, undetermined(evidence)
