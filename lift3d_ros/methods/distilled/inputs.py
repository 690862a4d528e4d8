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

"""The inputs of a distillation, from the observation of an object."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.fields.rays import Rays
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import VIEW_SIZE
from lift3d_ros.methods.one2345 import LevelledView
from lift3d_ros.networks.small.coarse_inputs import EXTENT
from lift3d_ros.observation.observed_object import ObservedObject

#: Side of the input view, pixels.
REFERENCE_PIXELS = 64

#: Space around the box of the start, canonical units.
MARGIN = 0.08

#: Occupancy from which the field of the start counts for its box.
START_LEVEL = 0.1


@dataclass(frozen=True, eq=False)
class DistillationInputs:
    """
    What the distillation of one object has.

    - ``reference``: the input view in canonical coordinates, with measured depth if there is some.
    - ``obs``, ``levelled``: what it was made of; ``start``: the feed-forward result, or None.
    - ``eyes``: (n, 3), canonical positions of all cameras, the reference first.
    - ``bound``: half side of the cube around the origin that contains the object.
    - ``device``: of the reference.
    """

    reference: ReferenceView
    obs: ObservedObject
    levelled: LevelledView
    start: Reconstruction | None
    eyes: Array
    bound: float
    device: str

    @property
    def canonical(self) -> CanonicalFrame:
        """The canonical frame of the object."""
        return self.levelled.canonical

    def reference_view(self, size: int) -> ReferenceView:
        """Return the input view of another size, pixels."""
        return reference_view(self.obs, self.canonical, size, self.device)


def distillation_inputs(
    obs: ObservedObject,
    levelled: LevelledView,
    start: Reconstruction | None,
    device: str = 'cpu',
) -> DistillationInputs:
    """
    Return the inputs of a distillation.

    Raises ``LiftError(BAD_IMAGE)`` for an object whose mask is empty at the size of the view.
    """
    canonical = levelled.canonical
    poses = [np.eye(4), *(source.T_ref_src for source in obs.sources)]
    eyes = transform(canonical.canonical_from_camera, np.stack([T[:3, 3] for T in poses]))
    # The cube of the small networks contains 95 % of the objects.
    bound = 0.5 * EXTENT
    box = None if start is None else start.field.bounds(START_LEVEL)
    if box is not None:
        bound = float(np.clip(np.abs(np.stack(box)).max() + MARGIN, 0.3, 1.0))
    reference = reference_view(obs, canonical, REFERENCE_PIXELS, device)
    return DistillationInputs(reference, obs, levelled, start, eyes, bound, device)


def reference_view(
    obs: ObservedObject, canonical: CanonicalFrame, size: int, device: str = 'cpu'
) -> ReferenceView:
    """
    Return the input view of an object, ``size`` pixels a side.

    Pixels behind an occluder show nothing of the object and are not known. Measured depth is that
    of the object alone, if it is metric.
    """
    view, observation = obs.view, obs.observation
    shrink = size / VIEW_SIZE
    camera = view.camera.crop(-0.5, -0.5, size, size, shrink, shrink)
    rgba = cv2.resize(
        np.dstack([view.image, view.alpha]), (size, size), interpolation=cv2.INTER_AREA
    ).astype(np.float32) / 255.0
    alpha = rgba[..., 3:]
    # The picture is on white, also after its pixels are averaged.
    rgba[..., :3] = np.clip((rgba[..., :3] - (1.0 - alpha)) / np.maximum(alpha, 1e-3), 0.0, 1.0)
    own = observation.camera
    rays = camera.rays()
    map_x = (own.fx * rays[..., 0] + own.cx).astype(np.float32)
    map_y = (own.fy * rays[..., 1] + own.cy).astype(np.float32)

    def sampled(image: NDArray[np.generic]) -> NDArray[np.float32]:
        # Interpolation would put readings between two surfaces.
        return np.asarray(cv2.remap(
            image.astype(np.float32), map_x, map_y, cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT), np.float32)

    depth = None
    if canonical.metric and observation.depth is not None:
        readings = np.where(observation.measured & observation.mask, observation.depth, 0.0)
        depth = sampled(readings) / np.float32(canonical.scale)
    return ReferenceView.from_rays(
        rgba, Rays.from_camera(camera, canonical.input_pose, device), depth,
        known=sampled(observation.occluder) < 0.5)
