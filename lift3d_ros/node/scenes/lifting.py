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

"""From the messages of one instant to a lifted scene in the target frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
import time

import numpy as np
from std_msgs.msg import Header

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import MESH_FORMATS
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.messages.masks import check_instance
from lift3d_ros.messages.results import in_frame
from lift3d_ros.messages.results import Lifted
from lift3d_ros.messages.results import Timing
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.lifting.frames import FrameReader
from lift3d_ros.node.lifting.instances import find_instances
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.lifting.result_store import output_path
from lift3d_ros.node.lifting.scale import hints_for
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.observation.hints import Plane
from lift3d_ros.progress import ProgressCallback
from lift3d_ros.runtime.files import write_error
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.files import scene_files
from lift3d_ros.scene.files import write_scene
from lift3d_ros.scene.inputs.budget import bounded
from lift3d_ros.scene.inputs.checks import motion_notes
from lift3d_ros.scene.inputs.without_depth import level_plane
from lift3d_ros.scene.radiance.settings import RadianceSettings
from lift3d_ros.scene.scene import Scene
from lift3d_ros.segmentation.instances import Instance

#: Selects every object of the frame.
_ALL = ObjectSelector(mode=ObjectSelector.ALL)

#: Share of the work that lifting is; the rest is files and messages.
LIFTING_SHARE = 0.95

#: Returns the ids of the objects of a frame.
Names = Callable[[list[Instance]], list[str]]


@dataclass(frozen=True)
class SceneQuery:
    """
    What a goal asks for.

    - ``resolution``: of the voxels, metres; 0 for that of the parameters.
    - ``path``: of the mesh below ``output_dir``; empty: no files.
    """

    method: str
    seed: int
    resolution: float = 0.0
    without_objects: bool = False
    path: str = ''
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class LiftedScene:
    """
    A scene with its frame of reference.

    - ``camera_header``: of the image; ``outcome``: its objects, in ``outcome.header``.
    - ``T_frame_camera``: the pose of the optical frame in that of ``outcome.header``.
    - ``files``: that were written.
    - ``has_objects``: whether objects were looked for in the frame.
    """

    camera_header: Header
    scene: Scene
    T_frame_camera: Array
    outcome: Outcome
    timing: Timing
    files: tuple[Path, ...] = ()
    has_objects: bool = False

    def with_notes(self, notes: tuple[str, ...]) -> LiftedScene:
        """Return the scene with more notes."""
        return replace(self, scene=replace(self.scene, notes=(*self.scene.notes, *notes)))

    @property
    def placed(self) -> list[Lifted]:
        """The objects that are part of the surface, in the order of its parts."""
        return [each for each in self.outcome.lifted if each.id in self.scene.placed]


def lift_scene(
    messages: SyncedMessages,
    query: SceneQuery,
    reader: FrameReader,
    get_lifter: Callable[[str], Lifter],
    names: Names,
    *,
    report: ProgressCallback,
    cancelled: Callable[[], bool],
    deadline: float | None,
    timing: Timing,
) -> LiftedScene:
    """
    Lift the scene of the messages within the budgets of the parameters.

    ``timing`` is what preceded the job; the decoding time is added to it. Raises ``LiftError`` as
    ``Lifter.lift_scene``, ``FrameReader.read`` and ``mesh_path``.
    """
    settings = reader.settings
    path = mesh_path(query, settings.output_dir) if query.path else None
    start = time.monotonic()
    frame = reader.read(messages)
    T_target_camera, header = reader.target(messages.header)
    notes = _motion(messages, reader, T_target_camera)
    masked = messages.mask is not None or messages.detections is not None
    sought = masked and not query.without_objects
    instances, more = _instances(messages, frame, settings) if sought else ([], ())
    timing = replace(timing, decoding=time.monotonic() - start)
    named = dict(zip(names(instances), instances, strict=True)) if instances else {}
    plane = _plane(settings, frame, T_target_camera)
    requests = {
        name: LiftRequest(
            instance.mask, hints_for(settings, instance.class_id, T_target_camera),
            min_confidence=settings.min_confidence)
        for name, instance in named.items()}
    limits, budget_notes = bounded(
        SceneSettings(
            settings.scene_width, settings.scene_max_depth,
            query.resolution or settings.scene_resolution or None, settings.scene_complete,
            settings.scene_fill, settings.scene_prior,
            radiance=RadianceSettings(device=settings.device)),
        frame.camera, settings.scene_memory)
    # A scene without objects needs no networks.
    lifter = get_lifter(query.method) if named else Lifter('geometric')
    scene = lifter.lift_scene(
        frame, requests, limits, plane=plane, budget=settings.scene_budget, seed=query.seed,
        progress=lambda stage, done: report(stage, LIFTING_SHARE * done),
        cancelled=cancelled, deadline=deadline)
    scene = replace(scene, notes=(*scene.notes, *notes, *more, *budget_notes))
    outcome = Outcome(header, frame)
    for name, shape in scene.objects.items():
        if not isinstance(shape, Shape):
            outcome.failures.append((name, shape))
            continue
        pose, covariance = in_frame(shape, T_target_camera)
        outcome.lifted.append(Lifted(
            header, name, named[name], shape, pose, covariance,
            shape.cloud(settings.cloud_points, query.seed), timing,
            notes=(*frame.notes, *shape.notes)))
    files: tuple[Path, ...] = ()
    if path is not None:
        report('files', LIFTING_SHARE)
        files = _write(scene, path)
    T = np.eye(4) if T_target_camera is None else T_target_camera
    return LiftedScene(messages.header, scene, T, outcome, timing, files, sought)


def mesh_path(query: SceneQuery, folder: str) -> Path:
    """
    Return the path of the mesh of a scene.

    Raises ``LiftError(BAD_REQUEST)`` for a path that is not below the folder, another format, and
    files that exist, unless they may be overwritten.
    """
    path = output_path(folder, query.path)
    if path.suffix[1:] not in MESH_FORMATS:
        raise bad_request(
            f'"{query.path}" does not end in one of .{", .".join(MESH_FORMATS)}.')
    existing = next(
        (file for file in scene_files(path.parent, path.stem, path.suffix[1:]) if file.exists()),
        None)
    if existing is not None and not query.overwrite:
        raise bad_request(f'{existing} exists; set overwrite, or choose another path.')
    return path


def _write(scene: Scene, path: Path) -> tuple[Path, ...]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return tuple(write_scene(scene, path.parent, path.stem, path.suffix[1:]))
    except OSError as error:
        raise write_error(error) from error


def _instances(
    messages: SyncedMessages, frame: Frame, settings: Settings
) -> tuple[list[Instance], tuple[str, ...]]:
    """Return the objects of a frame, the largest ``max_objects``, and notes on their masks."""
    notes: list[str] = []
    try:
        found = find_instances(messages, frame, _ALL, settings, notes)
    except LiftError as error:
        if error.code is not ErrorCode.EMPTY_MASK:
            raise
        return [], ('The mask shows no objects; every surface is background.',)
    found = sorted(found, key=lambda instance: -int(instance.mask.sum()))
    for instance in found:
        check_instance(frame, instance, 'an object', messages.mask is not None, notes)
    limit = settings.max_objects
    if len(found) > limit:
        notes.append(
            f'The frame shows {len(found)} objects, of which the largest {limit} are lifted and '
            'the others are background; raise max_objects to lift more.')
    return found[:limit], tuple(notes)


def _plane(
    settings: Settings, frame: Frame, T_target_camera: Array | None
) -> Plane | None:
    """Return the support plane of the parameters, for a frame without depth."""
    if frame.depth is not None:
        return None
    plane = hints_for(settings, '', T_target_camera).plane
    if plane is None and settings.scene_camera_height:
        plane = level_plane(frame.gravity, settings.scene_camera_height)
    return plane


def _motion(
    messages: SyncedMessages, reader: FrameReader, T_target_camera: Array | None
) -> tuple[str, ...]:
    """Return a note if the camera moved between depth and image."""
    depth, image = messages.depth, messages.header
    if depth is None or T_target_camera is None or depth.header.stamp == image.stamp:
        return ()
    try:
        before, _ = reader.target(Header(stamp=depth.header.stamp, frame_id=image.frame_id))
    except LiftError as error:
        return (f'Whether the camera moved between depth and image is not known: {error.message}',)
    return () if before is None else motion_notes(T_target_camera, before)
