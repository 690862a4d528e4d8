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


"""Tasks of view synthesis: the input, the target cameras and the true images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.scenes import Track
from lift3d_ros.bench.views import protocol
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.true_views import object_from_canonical
from lift3d_ros.synthetic.true_views import true_view


@dataclass(frozen=True, eq=False)
class ViewTask:
    """
    The input of a view synthesis, its target cameras and the true images.

    - ``view``: the input, and ``canonical`` its frame, as the track has them.
    - ``azimuths``, ``elevations`` (n,): of the target cameras, degrees; ``radii`` (n,): their
      distances, canonical units; ``poses`` (n, 4, 4).
    - ``truth``: uint8 RGBA (n, size, size, 4) on white.
    - ``targets``: the same cameras relative to the input camera.
    """

    view: ObjectView
    canonical: CanonicalFrame
    azimuths: Array
    elevations: Array
    radii: Array
    poses: Array
    truth: NDArray[np.uint8]
    targets: list[protocol.Target]

    @property
    def notes(self) -> dict[str, Any]:
        """The entries of a row that describe the input."""
        return {'elevation_deg': round(self.canonical.elevation, 2),
                'metric': self.canonical.metric}


def scene_task(
    scene: TableScene, track: Track, number: int, size: int = protocol.SIZE
) -> ViewTask:
    """
    Return the task of a table scene in a track.

    The truth is the scan from the target cameras, in the light of the scene without its shadows.
    ``number`` chooses among the target cameras.
    """
    view = crop_object(track.strip(scene.frame), scene.mask)
    canonical = canonical_frame(view, scene.elevation)
    targets = protocol.targets(number)
    poses = protocol.poses(targets, canonical.elevation)
    T = object_from_canonical(canonical, scene.T_camera_object, box_middle(scene.mesh))
    caster = Raycaster([scene.mesh])
    return ViewTask(
        view=view,
        canonical=canonical,
        azimuths=np.array([target.azimuth for target in targets]),
        elevations=protocol.elevations(targets, canonical.elevation),
        radii=np.full(len(targets), protocol.RADIUS),
        poses=poses,
        truth=np.stack([true_view(caster, T, pose, size, scene.light) for pose in poses]),
        targets=targets,
    )


def box_middle(mesh: Mesh) -> Array:
    """Return the middle of the bounding box of a mesh, (3,)."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    return (low + high).astype(np.float64) / 2.0
