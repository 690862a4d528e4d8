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


"""What contenders of the benchmark of synthesised views are asked, and what is true there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.tracks import Track
from lift3d_ros.bench.views.protocol import elevations
from lift3d_ros.bench.views.protocol import poses
from lift3d_ros.bench.views.protocol import RADIUS
from lift3d_ros.bench.views.protocol import SIZE
from lift3d_ros.bench.views.protocol import Target
from lift3d_ros.bench.views.protocol import targets
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.true_views import object_from_canonical
from lift3d_ros.synthetic.true_views import true_view


@dataclass(frozen=True, eq=False)
class Inquiry:
    """
    What contenders are given, from where they shall look, and what is true there.

    - ``view``: the input, and ``canonical`` its frame, as the track has them.
    - ``azimuths``, ``elevations`` (n,): of the target cameras, degrees; ``radii`` (n,): their
      distances, canonical units; ``poses`` (n, 4, 4).
    - ``truth``: uint8 RGBA (n, size, size, 4) on white.
    - ``targets``: the same cameras as they were meant: how far round the object from the input.
    - ``notes``: what a row shall tell of it.
    """

    view: ObjectView
    canonical: CanonicalFrame
    azimuths: Array
    elevations: Array
    radii: Array
    poses: Array
    truth: NDArray[np.uint8]
    targets: list[Target]
    notes: dict[str, Any]


def scene_inquiry(
    scene: TableScene, track: Track, number: int, size: int = SIZE
) -> Inquiry:
    """
    Return what is asked of a tabletop scene in a track.

    The truth is the scan from the target cameras, in the light of the scene without its shadows.
    ``number`` chooses among the target cameras.
    """
    view = crop_object(track.strip(scene.frame), scene.mask)
    canonical = canonical_frame(view, scene.elevation)
    chosen = targets(number)
    cameras = poses(chosen, canonical.elevation)
    low, high = scene.mesh.vertices.min(axis=0), scene.mesh.vertices.max(axis=0)
    T = object_from_canonical(
        canonical, scene.T_camera_object, (low + high).astype(np.float64) / 2.0)
    caster = Raycaster([scene.mesh])
    return Inquiry(
        view=view,
        canonical=canonical,
        azimuths=np.array([target.azimuth for target in chosen]),
        elevations=elevations(chosen, canonical.elevation),
        radii=np.full(len(chosen), RADIUS),
        poses=cameras,
        truth=np.stack([true_view(caster, T, pose, size, scene.light) for pose in cameras]),
        targets=chosen,
        notes={'elevation_deg': round(canonical.elevation, 2), 'metric': canonical.metric},
    )
