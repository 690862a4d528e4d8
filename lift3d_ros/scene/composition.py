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

"""From a frame and its lifted objects to a scene: layers, triangles, voxels."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.progress import Progress
from lift3d_ros.scene.novel_views import middle_depth
from lift3d_ros.scene.novel_views import turned_about
from lift3d_ros.scene.parts import hidden_surface
from lift3d_ros.scene.parts import joined
from lift3d_ros.scene.parts import measured_depth
from lift3d_ros.scene.parts import measured_surface
from lift3d_ros.scene.parts import shape_surface
from lift3d_ros.scene.planes import find_planes
from lift3d_ros.scene.planes import ScenePlane
from lift3d_ros.scene.prior.completion import ANCHORS
from lift3d_ros.scene.prior.completion import complete_surface
from lift3d_ros.scene.prior.fills import check_fill
from lift3d_ros.scene.prior.fills import check_weights
from lift3d_ros.scene.prior.fills import make_fill
from lift3d_ros.scene.prior.fills import PLANES
from lift3d_ros.scene.prior.fills import PRIOR
from lift3d_ros.scene.prior.fills import prior_folder
from lift3d_ros.scene.prior.fills import ZERONVS
from lift3d_ros.scene.radiance.settings import RadianceSettings
from lift3d_ros.scene.radiance.settings import resolved_preset
from lift3d_ros.scene.reduction import reduced_frame
from lift3d_ros.scene.reduction import reduced_mask
from lift3d_ros.scene.scene import Scene
from lift3d_ros.scene.scene import SceneSurface
from lift3d_ros.scene.scene import upright_frame
from lift3d_ros.scene.voxel_map import bounds
from lift3d_ros.scene.voxel_map import carve
from lift3d_ros.scene.voxel_map import empty_map
from lift3d_ros.scene.voxel_map import fitting_resolution
from lift3d_ros.scene.voxel_map import MAX_VOXELS
from lift3d_ros.scene.voxel_map import Occupancy
from lift3d_ros.scene.voxel_map import occupy
from lift3d_ros.scene.voxel_map import surface_points
from lift3d_ros.scene.voxel_map import VoxelMap

if TYPE_CHECKING:
    from lift3d_ros.scene.radiance.scene_field import SceneField

#: Least number of readings, and share of the pixels with one below which the result has a note.
MIN_READINGS, MIN_SHARE = 500, 0.5

#: Voxels along the longest side of a map whose resolution is not given.
_VOXELS = 128


@dataclass(frozen=True)
class SceneSettings:
    """
    Settings of a scene.

    - ``width``: largest width of the layers, pixels; a wider frame is reduced.
    - ``max_depth``: readings beyond it are left out, metres.
    - ``resolution``: of the voxel map, metres; None for one that fits the scene.
    - ``complete``: whether hidden background is predicted.
    - ``fill``: of ``FILLS``, what else becomes of hidden surfaces that cameras at ``ANCHORS``
      would reveal; ``weights``: a name or a path, with the prior for ``prior`` and ``zeronvs``.
    - ``radiance``: how the field of the fill ``zeronvs`` is optimised.
    - ``max_voxels``: bound of the voxel map; without ``resolution`` its voxels grow to fit.
    """

    width: int = 320
    max_depth: float = 10.0
    resolution: float | None = None
    complete: bool = True
    fill: str = PLANES
    weights: str = 'small'
    max_voxels: int = MAX_VOXELS
    radiance: RadianceSettings = dataclass_field(default_factory=RadianceSettings)

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        check_fill(self.fill)
        if not 32 <= self.width <= 4096:
            raise bad_request(f'A width of {self.width} pixels is requested; choose 32 to 4096.')
        if not self.max_depth > 0.0:
            raise bad_request(f'The largest depth is {self.max_depth} m; choose a positive one.')
        if self.resolution is not None and not 0.0 < self.resolution < np.inf:
            raise bad_request(f'The resolution is {self.resolution} m; choose a positive one.')
        if not 1000 <= self.max_voxels <= MAX_VOXELS:
            raise bad_request(
                f'{self.max_voxels} voxels are allowed; choose 1000 to {MAX_VOXELS}.')


def check_completion(settings: SceneSettings) -> None:
    """
    Check the weights and the preset of a completion, before anything is lifted.

    Raises ``LiftError``: ``BAD_REQUEST``, ``WEIGHTS_MISSING`` and ``WEIGHTS_CORRUPT``.
    """
    if settings.complete:
        check_weights(settings.fill, settings.weights)
        if settings.fill == ZERONVS:
            resolved_preset(settings.radiance, settings.weights)


def check_frame(frame: Frame, settings: SceneSettings) -> tuple[str, ...]:
    """
    Return notes on the depth of a frame.

    Raises ``LiftError(BAD_REQUEST)`` for a frame whose depth, up to the largest, is missing.
    """
    if frame.depth is None:
        raise bad_request(
            'A scene needs measured depth, and the frame has none; give depth, or lift single '
            'objects, whose scale may come from a plane or a known size.')
    present = (frame.depth > 0.0) & (frame.depth <= settings.max_depth)
    share = float(present.mean())
    if present.sum() < MIN_READINGS:
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK, f'{share:.1%} of the pixels have depth up to '
            f'{settings.max_depth:g} m, too few for a scene; check the depth, or raise the '
            'largest depth.')
    if share < MIN_SHARE:
        return (
            f'Only {share:.0%} of the pixels have depth up to {settings.max_depth:g} m; the '
            'surface has holes there.',)
    return ()


def compose(
    frame: Frame,
    masks: Mapping[str, NDArray[np.bool_]],
    objects: Mapping[str, Shape | LiftError],
    settings: SceneSettings,
    rng: np.random.Generator,
    progress: Progress,
) -> Scene:
    """
    Return the scene of a frame with depth.

    ``masks`` and ``objects`` have the same names. An object whose shape has no scale is not put
    into the scene. Raises ``LiftError`` as ``check_frame``, and ``NO_SURFACE`` for depth without a
    surface.
    """
    notes = list(frame.notes) + list(check_frame(frame, settings))
    shapes = {}
    for name, shape in objects.items():
        if isinstance(shape, LiftError):
            notes.append(
                f'The object {name} was not lifted and is part of the background: {shape}')
        elif shape.scale_source == 'unknown':
            notes.append(f'The object {name} has no scale and is part of the background.')
        else:
            shapes[name] = shape
    reduced = reduced_frame(frame, settings.width, settings.max_depth)
    depth, camera = measured_depth(reduced), reduced.camera
    foreground = np.zeros(depth.shape, bool)
    for name in shapes:
        foreground |= reduced_mask(masks[name], depth.shape)
    with progress.stage('planes', 0.3):
        # A flat side of a lifted object is no plane of its surroundings.
        around = np.where(foreground, np.float32(0.0), depth)
        planes = find_planes(around, camera, frame.gravity, rng)
    with progress.stage('background', 0.5):
        parts = [measured_surface(reduced, foreground)]
        if settings.complete:
            parts.append(hidden_surface(reduced, foreground, planes))
        parts += [
            shape_surface(shape, number) for number, shape in enumerate(shapes.values())]
    surface = joined(parts)
    if not len(surface.mesh.faces):
        raise LiftError(ErrorCode.NO_SURFACE, 'The depth of the frame has no surface.')
    fill = make_fill(settings.fill, settings.weights) if settings.complete else None
    field, completed = None, 0.6
    if settings.complete and settings.fill == ZERONVS:
        completed = 0.85
        with progress.stage('field', completed):
            field, doubts = make_field(
                reduced, surface, planes, settings, int(rng.integers(2**31)),
                progress.part(0.5, completed))
            notes += doubts
            fill = field.fill
    if fill is not None:
        with progress.stage('completion', 0.9):
            surface = complete_surface(
                reduced, surface, fill, anchor_poses(reduced, planes), planes,
                progress=progress.part(completed, 0.9))
    with progress.stage('voxels', 0.9):
        voxels = voxels_of(reduced, surface, planes, settings, shapes.values())
    sized = tuple(
        replace(plane, pixels=_enlarged(plane.pixels, frame.image.shape[:2])) for plane in planes)
    return Scene(frame, surface, voxels, sized, dict(objects), 'depth', tuple(notes), field=field)


def make_field(
    frame: Frame,
    surface: SceneSurface,
    planes: tuple[ScenePlane, ...],
    settings: SceneSettings,
    seed: int,
    progress: Progress,
) -> tuple[SceneField, tuple[str, ...]]:
    """
    Return the radiance field of a scene of which ``surface`` and ``planes`` are known, and notes.

    Small weights without a prior of scenes have anchors of continued planes, with a note. Raises
    ``LiftError`` as ``radiance.fitting.fit_scene``.
    """
    # torch is slow to import, and the other fills do without it.
    from lift3d_ros.methods.one2345_published import published_views
    from lift3d_ros.scene.radiance.fitting import fit_scene
    from lift3d_ros.scene.radiance.fitting import KnownOfScene

    known = KnownOfScene(
        frame, surface, planes, anchor_poses(frame, planes),
        middle_depth(measured_depth(frame)), _vertical(frame, planes))
    notes: tuple[str, ...] = ()
    anchor_fill = None
    if published_views(settings.weights) is None:
        name = PRIOR if prior_folder(settings.weights).is_dir() else PLANES
        anchor_fill = make_fill(name, settings.weights)
        if name == PLANES:
            notes = (
                f'The weights "{settings.weights}" have no prior of scenes: the anchors of the '
                'field show continued planes.',)
    field, more = fit_scene(
        known, settings.weights, anchor_fill, settings.radiance, seed, progress)
    return field, (*notes, *more)


def anchor_poses(frame: Frame, planes: tuple[ScenePlane, ...]) -> list[Array]:
    """Return the poses of the cameras that complete a surface, in the optical frame."""
    middle = middle_depth(measured_depth(frame))
    return [turned_about(middle, _vertical(frame, planes), degrees) for degrees in ANCHORS]


def _vertical(frame: Frame, planes: tuple[ScenePlane, ...]) -> Array:
    """Return the vertical (3,) in the optical frame; that of the image if none is known."""
    return invert(upright_frame(_up(frame, planes)))[:3, 2]


def _enlarged(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    resized = cv2.resize(
        mask.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    return resized.astype(bool)


def voxels_of(
    frame: Frame,
    surface: SceneSurface,
    planes: tuple[ScenePlane, ...],
    settings: SceneSettings,
    shapes: Iterable[Shape] = (),
) -> VoxelMap:
    """
    Return the map of a frame and its surface; the insides of ``shapes`` are occupied.

    Raises ``LiftError(BAD_REQUEST)`` for a resolution at which it has too many voxels.
    """
    up = _up(frame, planes)
    points = surface.mesh.vertices
    resolution = settings.resolution
    T = upright_frame(up)
    if resolution is None:
        low, high = bounds(points, T)
        resolution = max(0.004, float((high - low).max()) / _VOXELS)
        resolution = fitting_resolution(low, high, resolution, settings.max_voxels)
    grid = empty_map(points, T, resolution, settings.max_voxels)
    carve(grid, measured_depth(frame), frame.camera)
    measured = surface.observed[surface.mesh.faces].all(axis=1)
    for state, chosen in ((Occupancy.PREDICTED, ~measured), (Occupancy.OCCUPIED, measured)):
        faces = surface.mesh.faces[chosen]
        if len(faces):
            occupy(grid, surface_points(points, faces, resolution), state)
    for shape in shapes:
        _fill(grid, shape)
    return grid


def _fill(grid: VoxelMap, shape: Shape) -> None:
    """Occupy the inside of an object."""
    mesh = shape.mesh_in_camera()
    local = transform(grid.T_grid_camera, mesh.vertices)
    first, _ = grid.index(local.min(axis=0)[None])
    last, _ = grid.index(local.max(axis=0)[None])
    low = np.clip(first[0], 0, grid.states.shape)
    high = np.clip(last[0] + 1, 0, grid.states.shape)
    voxels = np.stack(np.meshgrid(*map(np.arange, low, high), indexing='ij'), -1).reshape(-1, 3)
    if not len(voxels):
        return
    centres = grid.origin + grid.resolution * (voxels + 0.5)
    points = transform(invert(grid.T_grid_camera), centres)
    occupy(grid, points[Raycaster([mesh]).contains(points)], Occupancy.PREDICTED)


def _up(frame: Frame, planes: tuple[ScenePlane, ...]) -> Array | None:
    """Return the vertical: gravity, else the normal of the largest plane seen from above."""
    if frame.gravity is not None:
        return -frame.gravity
    below = [plane.normal for plane in planes if plane.normal[1] < -0.3]
    return below[0] if below else None
