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

"""Where the poses of novel views are: in free space, in a surface, in an object, behind a wall."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.scene.scene import Scene
from lift3d_ros.scene.voxel_map import Occupancy

#: Samples of a way in one voxel, and at most.
_PER_VOXEL, _MAX_SAMPLES = 2.0, 4096


@dataclass(frozen=True)
class PoseCheck:
    """
    The place of a pose in a scene.

    - ``inside``: the name of the object that contains it; empty for none.
    - ``in_surface``: whether its voxel is occupied, by a measurement or a prediction.
    - ``unobstructed``: whether the straight way of the camera there touches no known surface.
    - ``reachable``: the same for the way from the pose before it, of the first from the camera.
    """

    inside: str
    in_surface: bool
    unobstructed: bool
    reachable: bool


def check_poses(scene: Scene, poses: Sequence[Array]) -> list[PoseCheck]:
    """Return the place of each pose, ``T_camera_eye`` (4, 4) in the optical frame, metres."""
    if not len(poses):
        return []
    eyes = np.array([np.asarray(pose, np.float64)[:3, 3] for pose in poses])
    inside = [''] * len(eyes)
    for name, shape in scene.placed.items():
        for index in np.flatnonzero(Raycaster([shape.mesh_in_camera()]).contains(eyes)):
            inside[index] = name
    occupied = np.isin(scene.voxels.at(eyes), (Occupancy.OCCUPIED, Occupancy.PREDICTED))
    origin = np.zeros(3)
    return [
        PoseCheck(
            inside[index], bool(occupied[index]), _is_clear(scene, origin, eye),
            _is_clear(scene, eyes[index - 1] if index else origin, eye))
        for index, eye in enumerate(eyes)]


def pose_notes(checks: Sequence[PoseCheck]) -> tuple[str, ...]:
    """Return a sentence for each kind of doubt about poses, with the indices of the poses."""
    notes = []
    for name in sorted({check.inside for check in checks if check.inside}):
        which = _indices(check.inside == name for check in checks)
        notes.append(f'The camera is inside the object {name} in {which}.')
    kinds = (
        ('The camera is in a wall or another surface in {}.',
         (check.in_surface and not check.inside for check in checks)),
        ('A known surface is between the camera of the frame and that of {}.',
         (not check.unobstructed and not check.inside and not check.in_surface
          for check in checks)),
        ('The path goes through a known surface on its way to {}.',
         (not check.reachable and index > 0 for index, check in enumerate(checks))),
    )
    notes += [text.format(which) for text, flags in kinds if (which := _indices(flags))]
    return tuple(notes)


def _is_clear(scene: Scene, start: Array, end: Array) -> bool:
    """Return whether the straight way between two points touches no known surface."""
    steps = _PER_VOXEL * np.linalg.norm(end - start) / scene.voxels.resolution
    share = np.linspace(0.0, 1.0, int(np.clip(np.ceil(steps) + 1, 2, _MAX_SAMPLES)))[:, None]
    states = scene.voxels.at(start + share * (end - start))
    return not np.isin(states, (Occupancy.OCCUPIED, Occupancy.PREDICTED)).any()


def _indices(flags: Iterable[bool]) -> str:
    """Return the indices of true values in words, such as ``view 2`` or ``views 2 to 4, 7``."""
    chosen = np.flatnonzero(list(flags))
    if not len(chosen):
        return ''
    runs = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1)
    words = ', '.join(
        f'{run[0]}' if len(run) == 1 else f'{run[0]} to {run[-1]}' for run in runs)
    return f'view {words}' if len(chosen) == 1 else f'views {words}'
