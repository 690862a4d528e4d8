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


"""What a contender is given of a scene: the tracks of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import longest_side
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints


@dataclass(frozen=True)
class Track:
    """
    Which parts of a frame a contender may use beside the image and the mask.

    ``scale`` is what it is told of the scale, a source of ``placement.hints.SOURCES``, or nothing.
    """

    depth: bool
    gravity: bool
    scale: str = ''

    def strip(self, frame: Frame) -> Frame:
        """Return the frame without what the track withholds."""
        return replace(
            frame,
            depth=frame.depth if self.depth else None,
            gravity=frame.gravity if self.gravity else None,
        )

    def hints(self, mesh: Mesh, T_camera_object: Array) -> ScaleHints | None:
        """
        Return what the track tells of the scale of a scan on its table, None where nothing.

        ``mesh`` is z up and stands on the table; ``T_camera_object`` is its pose.
        """
        up, low = T_camera_object[:3, 2], mesh.vertices[:, 2].min()
        if self.scale == 'plane':
            on_table = transform(T_camera_object, (0.0, 0.0, float(low)))
            return ScaleHints(plane=Plane(up, float(up @ on_table)), order=('plane',))
        if self.scale == 'known_size':
            size = longest_side(mesh.vertices, np.array([0.0, 0.0, 1.0]))
            return ScaleHints(known_size=size, known_size_stddev=0.0, order=('known_size',))
        return None


TRACKS = {
    'rgbd': Track(depth=True, gravity=True),
    'rgbd-blind': Track(depth=True, gravity=False),
    'rgb': Track(depth=False, gravity=True),
    'rgb-blind': Track(depth=False, gravity=False),
    'rgb-plane': Track(depth=False, gravity=True, scale='plane'),
    'rgb-size': Track(depth=False, gravity=True, scale='known_size'),
}

#: ``exact``: the pixels where the object is seen; ``noisy``: with the errors of a detector.
MASKS = ('exact', 'noisy')


def choose_mask(
    exact: NDArray[np.bool_], detection: NDArray[np.bool_], kind: str
) -> NDArray[np.bool_]:
    """Return the mask, bool (height, width), of the kind that a run asks for."""
    return detection if kind == 'noisy' else exact
