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

"""What one camera saw of an object, and where it is against the first camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.observation.object_observation import Observation


@dataclass(frozen=True, eq=False)
class Sighting:
    """
    What one camera saw.

    - ``seen``: its cleaned observation; ``view``: the object in its whole frame.
    - ``T_first_own``: rigid, its optical frame in that of the first camera.
    - ``name``: what errors call it.
    - ``disagreement``: metres, by which it and the cameras before it contradict each other where
      both say something: nine of ten points are nearer, or it is the most that is not refused
      (``sightings.CONTRADICTION``).
    - ``tolerance``: metres, how far another camera's surface may lie where this one saw nothing.
    """

    seen: Observation
    view: ObjectView
    T_first_own: Array
    name: str = 'the first view'
    disagreement: float = 0.0
    tolerance: float = 0.0

    def own(self, points: Floats) -> Array:
        """Return points (n, 3) of the first optical frame in the camera's own."""
        return transform(invert(self.T_first_own), points)

    def points(self) -> Array:
        """Return its measured points of the object, (n, 3) metres, first optical frame."""
        return transform(self.T_first_own, self.seen.points())

    def room(self, local: Floats) -> NDArray[np.float32]:
        """
        Return how deep points lie in what the camera allows to be solid, (n,) metres.

        ``local`` is (n, 3) in its own optical frame. It is inf where it does not know: beyond the
        border of an image that cuts the object off.
        """
        value = self.seen.solid(local)
        if not self.view.truncated:
            return value
        camera = self.view.frame.camera
        u, v, z = camera.project(local)
        with np.errstate(invalid='ignore'):
            inside = (u > 0.0) & (u < camera.width - 1.0) & (v > 0.0) & (v < camera.height - 1.0)
        return np.where(inside | (z <= 0.0), value, np.float32(np.inf))

    def sheet(self, local: Floats, skin: float) -> NDArray[np.float32]:
        """
        Return how deep points lie in the first ``skin`` metres behind what it measured, (n,).

        ``local`` is (n, 3) in its own optical frame. It is -inf where it measured nothing.
        """
        behind = self.seen.behind(local)
        value = np.minimum(np.float32(skin) - behind, self.seen.solid(local))
        return np.where(np.isnan(behind), np.float32(-np.inf), value)
