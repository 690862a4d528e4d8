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

"""Poses of novel views, and what stands in for missing depth, from the command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lift3d_ros.cli import values
from lift3d_ros.errors import bad_request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lift3d_ros.geometry.frame import Frame
    from lift3d_ros.observation.hints import Plane

#: Files of a film of novel views.
FILMS = ('gif', 'mp4')


def add_poses(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Declare ``--poses`` and ``--film``."""
    parser.add_argument(
        '--poses', type=Path, metavar='FILE',
        help='JSON list of up to 1000 matrices, 4 x 4: pose of the optical frame of each novel '
        'view in the optical frame of the camera, metres')
    parser.add_argument(
        '--film', choices=FILMS, help='also write the novel views of the scene as a film')


def add_camera_height(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Declare ``--camera-height``."""
    parser.add_argument(
        '--camera-height', type=values.positive, metavar='M',
        help='height of the camera above the support plane, metres: gives the scale without '
        'depth, if gravity is known and camera.json has no plane')


def read_poses(path: Path) -> list[NDArray[np.float64]]:
    """Return the poses (4, 4) in a file; raises ``LiftError(BAD_REQUEST)`` for another form."""
    import numpy as np

    try:
        poses = np.asarray(json.loads(path.read_text()), np.float64).reshape(-1, 4, 4)
    except (OSError, ValueError, TypeError) as error:
        raise bad_request(
            f'{path} has no poses ({type(error).__name__}: {error}); it must be a JSON list of '
            '4 x 4 matrices.') from error
    return list(poses)


def pose(numbers: list[float]) -> NDArray[np.float64]:
    """
    Return the pose (4, 4) of x, y, z in metres, or of these and a quaternion x, y, z, w.

    Without a quaternion the view is turned as the camera. Raises ``LiftError(BAD_REQUEST)`` for
    another count of numbers and for a quaternion of length 0.
    """
    import numpy as np

    from lift3d_ros.geometry import rigid
    from lift3d_ros.messages.geometry import rotation_matrix

    if len(numbers) not in (3, 7):
        raise bad_request(
            f'--pose has {len(numbers)} numbers; give X Y Z, or X Y Z QX QY QZ QW, in the optical '
            'frame of the camera.')
    quaternion = np.array(numbers[3:] or (0.0, 0.0, 0.0, 1.0))
    if np.linalg.norm(quaternion) < 1e-6:
        raise bad_request('The quaternion of --pose has the length 0.')
    return rigid(rotation_matrix(quaternion), np.array(numbers[:3]))


def support_plane(path: Path, frame: Frame, height: float | None) -> Plane | None:
    """
    Return the plane of a scene folder, or that of the camera's height; None for neither.

    Raises ``LiftError`` as ``read_plane`` and ``level_plane``.
    """
    from lift3d_ros.io.scene import read_plane
    from lift3d_ros.scene.inputs.without_depth import level_plane

    found = read_plane(path)
    if found is None and height is not None and frame.depth is None:
        found = level_plane(frame.gravity, height)
    return found
