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

"""Novel views of a scene: colour and depth from other cameras, along a path or at given poses."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import is_rigid
from lift3d_ros.geometry import unit
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.progress import Progress
from lift3d_ros.scene.scene import Scene
from lift3d_ros.scene.scene import unobstructed

#: What views show: the surface, with the field of a scene that has one where there is no surface;
#: or the field alone.
SURFACE, FIELD = 'surface', 'field'
SOURCES = (SURFACE, FIELD)

#: Largest number of views of one request.
MAX_VIEWS = 1000

#: Colour where there is no surface, RGB.
_NOTHING = (40, 40, 48)

#: Offset of the rays from the centres of the pixels.
_SHIFT = 0.013

#: The colours of a scene contain its light.
_UNLIT = Light(ambient=1.0, diffuse=0.0)


@dataclass(frozen=True, eq=False)
class SceneView:
    """
    A scene from another camera.

    - ``T_camera_eye``: (4, 4), its pose in the optical frame of the frame's own camera.
    - ``image``: uint8 RGB (height, width, 3); ``depth``: float32 (height, width) metres, 0 where
      there is no surface.
    - ``observed``: bool (height, width), where the surface was measured.
    - ``unobstructed``: whether the straight way there touches no known surface.
    """

    T_camera_eye: Array
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    observed: NDArray[np.bool_]
    unobstructed: bool


def orbit(scene: Scene, degrees: float, count: int) -> list[Array]:
    """
    Return ``count`` poses from -``degrees`` to ``degrees`` around the scene, in its optical frame.

    The camera turns about the vertical through the median of what was measured on the middle of
    the image. Raises ``LiftError(BAD_REQUEST)`` for less than one pose or more than half a turn.
    """
    if not 1 <= count <= MAX_VIEWS:
        raise bad_request(f'{count} views are requested; choose 1 to {MAX_VIEWS}.')
    if not 0.0 <= degrees <= 180.0:
        raise bad_request(f'A path over {degrees} degrees is requested; choose 0 to 180.')
    up = invert(scene.voxels.T_grid_camera)[:3, 2]
    middle = _middle_of(scene)
    angles = np.linspace(-degrees, degrees, count) if count > 1 else np.array([degrees])
    return [turned_about(middle, up, float(angle)) for angle in angles]


def turned_about(middle: float, up: Array, degrees: float) -> Array:
    """
    Return ``T_camera_eye`` (4, 4) of a camera turned about a point ``middle`` metres ahead of it.

    ``up`` (3,) is the vertical in the optical frame.
    """
    return _turned(np.array([0.0, 0.0, middle]), up, np.radians(degrees))


def middle_depth(depth: NDArray[np.float32]) -> float:
    """Return the median depth on the middle of an image, else of all, metres; 1 without any."""
    height, width = depth.shape
    middle = depth[height // 4:-height // 4, width // 4:-width // 4]
    for readings in (middle, depth):
        if (readings > 0.0).any():
            return float(np.median(readings[readings > 0.0]))
    return 1.0


def render_views(
    scene: Scene,
    poses: Sequence[Array],
    camera: Camera | None = None,
    progress: Progress | None = None,
    source: str = SURFACE,
) -> Iterator[SceneView]:
    """
    Yield the scene from each pose, ``T_camera_eye`` (4, 4) in its optical frame, metres.

    ``camera`` is that of the frame unless given; ``source`` is of ``SOURCES``. Raises
    ``LiftError``: ``BAD_REQUEST`` for a pose that is not rigid, for more than ``MAX_VIEWS``, and
    for the field of a scene that has none; ``CANCELLED`` and ``TIMEOUT``.
    """
    check_source(source)
    if source == FIELD and scene.field is None:
        raise bad_request(
            'The scene has no radiance field to render; lift it with the fill zeronvs.')
    if not 1 <= len(poses) <= MAX_VIEWS:
        raise bad_request(f'{len(poses)} views are requested; choose 1 to {MAX_VIEWS}.')
    for index, pose in enumerate(poses):
        if not is_rigid(pose):
            raise bad_request(
                f'Pose {index} is not a rigid transform; give the 4 x 4 matrix of a rotation and '
                'a translation in metres, from the new optical frame to that of the camera.')
    progress = progress or Progress()
    camera = camera or scene.frame.camera
    # Rays through the very vertices of the triangles, which are pixels, can miss all of them.
    camera = replace(camera, cx=camera.cx + _SHIFT, cy=camera.cy + _SHIFT)
    parts = scene.surface.by_measurement()
    raycaster = Raycaster(list(parts.values()))
    # The last one is for pixels without a surface, whose instance is -1.
    measured = np.array([*parts, False])
    for index, pose in enumerate(poses):
        progress.check('views', index / len(poses))
        seen = raycaster.render(camera, pose, _UNLIT, _NOTHING, supersampling=1)
        image, depth, observed = seen.image, seen.depth, measured[seen.instance]
        if scene.field is not None:
            made = scene.field.render(camera, pose)
            chosen = made.depth > 0.0
            if source == SURFACE:
                chosen &= depth <= 0.0
            else:
                image, depth = np.full_like(image, _NOTHING), np.zeros_like(depth)
                observed = observed & chosen
            image = np.where(chosen[..., None], made.color, image)
            depth = np.where(chosen, made.depth, depth)
        yield SceneView(
            np.asarray(pose, np.float64), image, depth, observed, unobstructed(scene, pose))


def check_source(source: str) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for a source that is not of ``SOURCES``."""
    if source not in SOURCES:
        raise bad_request(
            f'There is no source "{source}" of views; choose from {", ".join(SOURCES)}.')


def scaled_camera(camera: Camera, width: int) -> Camera:
    """Return a camera with the same field of view and an image of another width, pixels."""
    scale = width / camera.width
    return replace(
        camera, width=width, height=max(1, round(scale * camera.height)), fx=scale * camera.fx,
        fy=scale * camera.fy, cx=scale * (camera.cx + 0.5) - 0.5,
        cy=scale * (camera.cy + 0.5) - 0.5)


def _middle_of(scene: Scene) -> float:
    if scene.frame.depth is not None:
        return middle_depth(scene.frame.depth)
    return float(np.median(scene.surface.mesh.vertices[:, 2]))


def _turned(centre: Array, axis: Array, angle: float) -> Array:
    """Return the pose of a camera at the identity, turned by ``angle`` about an axis."""
    x, y, z = unit(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    # Rodrigues' formula.
    turn = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    pose = np.eye(4)
    pose[:3, :3] = turn
    pose[:3, 3] = centre - turn @ centre
    return pose
