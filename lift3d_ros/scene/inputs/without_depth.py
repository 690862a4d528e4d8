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

"""
Scenes without depth: the support plane takes the place of measured depth.

The plane is known, or gravity and the height of the camera give it. With gravity alone the height
of the camera is the unit of length: the scale is unknown. Nothing is measured then: every surface
is predicted, and no voxel is free. The monocular depth of the package is of single objects, so it
tells nothing of a room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.observation.hints import UNKNOWN
from lift3d_ros.scene.composition import MIN_READINGS
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.prior.fills import LEARNT_FILLS
from lift3d_ros.scene.scene import BACKGROUND
from lift3d_ros.scene.scene import Scene
from lift3d_ros.scene.voxel_map import Occupancy

#: Confidence of a surface that was assumed.
ASSUMED_CONFIDENCE = np.float32(0.3)

#: Least angle of a ray below the horizon, degrees: nearer to it a small error of gravity moves the
#: plane by more than its distance.
MIN_DECLINATION = 4.0

#: Values of ``Scene.scale_source`` without depth.
FROM_PLANE = 'plane'


@dataclass(frozen=True, eq=False)
class AssumedScene:
    """
    What stands in for the depth of a frame.

    - ``frame``: with the depth of the plane, 0 on objects and where no ray meets it.
    - ``plane``: the support plane; in units of the camera's height if the scale is unknown.
    - ``scale_source``: ``FROM_PLANE`` or ``UNKNOWN``.
    - ``notes``: what is assumed.
    """

    frame: Frame
    plane: Plane
    scale_source: str
    notes: tuple[str, ...]

    def hints(self, hints: ScaleHints) -> ScaleHints:
        """Return the hints of an object on the plane."""
        if self.scale_source == UNKNOWN:
            # Another source would have another unit.
            return ScaleHints(plane=self.plane, order=('plane',))
        return replace(hints, plane=hints.plane or self.plane)


def level_plane(gravity: Array | None, height: float) -> Plane:
    """
    Return the horizontal plane ``height`` metres below the camera, in its optical frame.

    ``gravity`` is the unit vector (3,) that points down. Raises ``LiftError(BAD_REQUEST)`` without
    gravity and for a height that is not positive.
    """
    if gravity is None:
        raise bad_request(
            'The height of the camera tells where the support plane is only together with '
            'gravity; give gravity, or the plane.')
    if not 0.0 < height < np.inf:
        raise bad_request(f'The height of the camera is {height} m; it must be positive.')
    return Plane(-np.asarray(gravity, np.float64), -height)


def assume_plane(
    frame: Frame,
    masks: Iterable[NDArray[np.bool_]],
    plane: Plane | None,
    settings: SceneSettings,
) -> AssumedScene:
    """
    Return what stands in for the depth of a frame that has none.

    ``masks``, bool (height, width), are those of the objects on the plane. Without ``plane`` the
    unit of length is the height of the camera above it. Raises ``LiftError``: ``BAD_REQUEST``
    without a plane and gravity, ``NO_SURFACE`` where the frame does not show the plane.
    """
    if plane is None and frame.gravity is None:
        raise bad_request(
            'The frame has no depth, and neither the support plane nor gravity is known; give '
            'depth (best), the plane, gravity with the height of the camera, or gravity alone for '
            'a scene without scale.')
    if plane is None:
        known, source = level_plane(frame.gravity, 1.0), UNKNOWN
        note = (
            'The frame has no depth and the height of the camera is not known: the unit of all '
            'lengths is the height of the camera above the support plane. Do not plan with it.')
    else:
        known, source = plane, FROM_PLANE
        note = 'The frame has no depth: the scale is that of the given support plane.'
    slope = frame.camera.rays() @ known.up
    sine = -slope / np.linalg.norm(frame.camera.rays(), axis=-1)
    meets = sine > np.sin(np.radians(MIN_DECLINATION))
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.where(meets, known.offset / slope, 0.0)
    depth[depth > settings.max_depth] = 0.0
    for mask in masks:
        # An unusable mask is an error of its object.
        if mask.shape == depth.shape and mask.dtype == np.bool_:
            depth[mask] = 0.0
    if np.count_nonzero(depth) < MIN_READINGS:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            'The frame has no depth, and shows no part of the support plane within '
            f'{settings.max_depth:g} m: it looks above the horizon or past the plane. Give depth, '
            'or point the camera at what objects stand on.')
    notes: tuple[str, ...] = (
        note, 'Every pixel below the horizon that is on no object is taken for the support plane; '
        'walls and what stands there without a mask are missing, and no space is known to be '
        'free.')
    if settings.complete and settings.fill in LEARNT_FILLS:
        notes += (
            f'The fill {settings.fill} needs measured depth and was left out; give depth.',)
    gravity = frame.gravity if frame.gravity is not None else -known.up
    return AssumedScene(
        Frame(frame.image, frame.camera, depth.astype(np.float32), gravity, frame.notes),
        known, source, notes)


def as_assumed(scene: Scene, frame: Frame, assumed: AssumedScene) -> Scene:
    """
    Return a scene that was composed of assumed depth, with nothing measured in it.

    ``frame`` is the one without depth.
    """
    surface = scene.surface
    background = surface.part == BACKGROUND
    confidence = np.where(
        background, np.minimum(surface.confidence, ASSUMED_CONFIDENCE), surface.confidence)
    states = scene.voxels.states.copy()
    # No ray was measured, so none passed.
    states[states == Occupancy.FREE] = Occupancy.UNKNOWN
    states[states == Occupancy.OCCUPIED] = Occupancy.PREDICTED
    return replace(
        scene,
        frame=frame,
        surface=replace(
            surface, confidence=confidence, observed=surface.observed & ~background),
        voxels=replace(scene.voxels, states=states),
        objects={
            name: replace(shape, scale_source=UNKNOWN, scale_stddev=1.0)
            if isinstance(shape, Shape) and assumed.scale_source == UNKNOWN else shape
            for name, shape in scene.objects.items()},
        scale_source=assumed.scale_source,
        notes=(*scene.notes, *assumed.notes),
    )
