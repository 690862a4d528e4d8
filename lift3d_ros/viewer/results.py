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

"""Result folders of ``lift3d lift``, ``lift3d scene`` and ``lift3d bag``."""

from __future__ import annotations

from functools import partial
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import is_rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.io.scene import read_input
from lift3d_ros.io.scene import read_objects
from lift3d_ros.io.scene import read_pose
from lift3d_ros.io.scene_files import is_picture
from lift3d_ros.robot.export import T_Y_UP
from lift3d_ros.viewer.content import Content
from lift3d_ros.viewer.content import Inputs
from lift3d_ros.viewer.content import Moment
from lift3d_ros.viewer.content import NovelView
from lift3d_ros.viewer.content import Report
from lift3d_ros.viewer.content import Snapshot
from lift3d_ros.viewer.content import ViewedObject
from lift3d_ros.viewer.meshes import ENDINGS
from lift3d_ros.viewer.meshes import read_mesh
from lift3d_ros.viewer.recordings import RecordedInputs
from lift3d_ros.viewer.scenes import read_scene_inputs

#: The report of a whole bag, as ``lift3d bag`` writes it.
BAG_SUMMARY = 'bag.json'

#: Vertical field of view of novel views whose camera is not known, degrees.
_FOV_DEG = 45.0


def read_results(folder: Path) -> Content | None:
    """
    Return the results of a folder, None if it has none.

    A file that is missing or cut off is a problem of its moment, not of the folder.
    """
    reports: dict[str, dict[str, Any] | str] = {}
    for path in sorted(folder.glob('*.json')):
        report = _report(path)
        if path.name == BAG_SUMMARY or (isinstance(report, dict) and 'ok' not in report):
            continue
        reports[path.stem] = report
    unreported = _without_report(folder, reports)
    if not reports and not unreported:
        return None
    reload = partial(_again, folder)
    stamped = {
        name: report for name, report in reports.items()
        if isinstance(report, dict) and 'stamp' in report}
    if stamped or (folder / BAG_SUMMARY).exists():
        return _timeline(folder, stamped, reports, reload)
    moments = [
        Moment(name, partial(_load, folder, name, report), _inputs(report))
        for name, report in reports.items()]
    moments += [Moment(name, partial(_unfinished, folder, name)) for name in unreported]
    return Content(folder.name or str(folder), moments, reload=reload)


def _again(folder: Path) -> Content:
    content = read_results(folder)
    if content is None:
        raise bad_request(f'{folder} has no results any more.')
    return content


def _report(path: Path) -> dict[str, Any] | str:
    """Return a report, or a sentence on why it cannot be read."""
    try:
        report = json.loads(path.read_bytes())
        if not isinstance(report, dict):
            raise ValueError('it is no JSON object')
    except (OSError, ValueError) as error:
        return (
            f'BAD_REQUEST: The report {path.name} cannot be read ({error}); if it is still being '
            'written, reload the results when it is done, else lift the scene again.')
    return report


def _without_report(folder: Path, reports: dict[str, dict[str, Any] | str]) -> list[str]:
    """Return the names of meshes that no report mentions."""
    mentioned = {
        file for report in reports.values() if isinstance(report, dict)
        for file in report.get('files') or ()}
    names = {
        path.stem for path in folder.iterdir()
        if path.suffix in ENDINGS and path.name not in mentioned and path.stem not in reports
        and not path.name.startswith('.')}
    return sorted(names)


def _unfinished(folder: Path, name: str, report: Report) -> Snapshot:
    return Snapshot(problems=[
        f'BAD_REQUEST: {name} has a mesh in {folder} but no report {name}.json: its lift was '
        'interrupted or is still running. Reload the results when it is done, or lift it again.'])


# --- one result ---------------------------------------------------------------------------------

def _load(
    folder: Path, name: str, report: dict[str, Any] | str, progress: Report
) -> Snapshot:
    """Return the objects of one report; what cannot be read becomes a problem."""
    if isinstance(report, str):
        return Snapshot(problems=[report])
    if not report.get('ok'):
        return Snapshot(problems=[failure(name, report)])
    if 'planes' in report:
        return _load_scene(folder, name, report)
    try:
        viewed, problems = _object(folder, name, report)
    except LiftError as error:
        return Snapshot(problems=[str(error)])
    return Snapshot([viewed], problems)


def failure(name: str, report: dict[str, Any]) -> str:
    """Return the sentence for a lift that failed."""
    error = report.get('error') or {}
    code, message = error.get('code', 'INTERNAL'), error.get('message', 'No error is reported.')
    return f'{name}: {code}: {message}'


def _object(
    folder: Path, name: str, report: dict[str, Any]
) -> tuple[ViewedObject, list[str]]:
    """Return an object in its own frame, and problems; raises ``LiftError(BAD_REQUEST)``."""
    mesh, confidence, observed = read_mesh(_mesh_file(folder, name, report))
    pose = _pose(report.get('pose'), name)
    T_object_file, problems = _from_file(mesh, report, pose)
    viewed = ViewedObject(
        str(report.get('id') or name), mesh.transformed(T_object_file), pose, confidence,
        observed, report)
    return viewed, problems


def _mesh_file(folder: Path, name: str, report: dict[str, Any]) -> Path:
    files = [Path(file) for file in report.get('files') or (f'{name}.ply',)]
    meshes = [file.name for file in files if file.suffix in ENDINGS]
    if not meshes:
        raise bad_request(f'The report {name}.json names no mesh; lift the scene again.')
    return folder / meshes[0]


def _pose(entry: Any, name: str) -> Array:
    """Return the pose of a report; raises ``LiftError(BAD_REQUEST)``."""
    try:
        pose = np.asarray(entry, np.float64).reshape(4, 4)
    except (TypeError, ValueError):
        pose = np.zeros((4, 4))
    if not is_rigid(pose):
        raise bad_request(
            f'The report {name}.json has no pose, which results of older versions lack; lift the '
            'scene again.')
    return pose


def _from_file(mesh: Mesh, report: dict[str, Any], pose: Array) -> tuple[Array, list[str]]:
    """Return the transform of the file's frame into the object frame, and problems."""
    frame = report.get('frame', 'camera')
    T = invert(T_Y_UP) if report.get('up_axis') == 'y' else np.eye(4)
    if frame == 'camera':
        return invert(pose), []
    if frame == 'object':
        return T, []
    if 'pose_in_frame_id' in report:
        return invert(_pose(report['pose_in_frame_id'], 'object')) @ T, []
    try:
        return invert(read_pose(Path(report['scene'])) @ pose) @ T, []
    except (KeyError, TypeError, LiftError):
        # The world has z up, so that only the rotation about it is not known.
        upright = transform(T, mesh.vertices)
        T[:3, 3] -= (upright.min(axis=0) + upright.max(axis=0)) / 2.0
        return T, [
            'The mesh is in the world frame, and the pose of its camera is not known: the scene '
            'folder of the report is gone. The camera may be turned about the object.']


def _load_scene(folder: Path, name: str, report: dict[str, Any]) -> Snapshot:
    """Return a whole scene with its novel views."""
    try:
        mesh, confidence, observed = read_mesh(_mesh_file(folder, name, report))
    except LiftError as error:
        return Snapshot(problems=[str(error)])
    problems = [
        failure(each, entry) for each, entry in (report.get('objects') or {}).items()
        if not entry.get('ok')]
    carrying = [plane['normal'] for plane in report.get('planes') or () if plane.get('carries')]
    poses = [
        entry['T_camera_object'] for entry in (report.get('objects') or {}).values()
        if entry.get('ok')]
    up = [0.0, -1.0, 0.0]
    if carrying:
        up = carrying[0]
    elif poses:
        up = [row[2] for row in poses[0][:3]]
    views = []
    for entry in report.get('views') or ():
        picture = cv2.imread(str(folder / entry['file']))
        if picture is None:
            problems.append(f'BAD_REQUEST: The view {entry["file"]} cannot be read.')
            continue
        image = np.ascontiguousarray(picture[..., ::-1]).astype(np.uint8, copy=False)
        views.append(NovelView(image, np.asarray(entry['T_camera_eye']), _FOV_DEG))
    viewed = ViewedObject(
        name, mesh, np.eye(4), confidence, observed, {**report, 'up': up}, is_scene=True)
    return Snapshot([viewed], problems, novel_views=views)


def _inputs(report: dict[str, Any] | str) -> Any:
    """Return what reads the inputs of a report, None if their folder is not known."""
    if isinstance(report, str) or not report.get('scene'):
        return None
    return partial(_scene_inputs, Path(report['scene']), 'planes' in report)


def _scene_inputs(path: Path, whole: bool) -> Inputs:
    if not path.exists():
        raise bad_request(f'The inputs of this result, {path}, are not there any more.')
    if whole:
        frame, masks = read_objects(path)
        return Inputs(frame, masks)
    if is_picture(path):
        single = read_input(path)
        return Inputs(single.frame, {'object': single.mask})
    return read_scene_inputs(path)


# --- results of a bag ---------------------------------------------------------------------------

def _timeline(
    folder: Path,
    stamped: dict[str, dict[str, Any]],
    reports: dict[str, dict[str, Any] | str],
    reload: Any,
) -> Content:
    """Return the results of a bag, a moment for each stamp."""
    summary = _report(folder / BAG_SUMMARY)
    notes: list[str] = []
    recorded = None
    if isinstance(summary, str):
        notes.append(
            f'BAD_REQUEST: {folder / BAG_SUMMARY} is missing or incomplete, as after an '
            'interrupted lift3d bag; the objects that were written are shown, without images.')
    else:
        notes += [str(sentence) for sentence in summary.get('lost') or ()]
        labels = any(str(each.get('id', '')).startswith('label_') for each in stamped.values())
        recorded = RecordedInputs(
            Path(str(summary.get('bag', ''))), summary.get('topics') or {}, labels)
        if 'depth' not in (summary.get('topics') or {}):
            notes.append('The bag was lifted without depth: sizes are as good as their source.')
    notes += [sentence for sentence in reports.values() if isinstance(sentence, str)]
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for name, report in stamped.items():
        groups.setdefault(str(report['stamp']), {})[name] = report
    moments = []
    # Stamps are seconds with nine digits behind the point: as text they would sort by length.
    for stamp in sorted(groups, key=lambda text: (len(text.partition('.')[0]), text)):
        inputs = None if recorded is None else partial(recorded.at, stamp)
        moments.append(Moment(stamp, partial(_load_instant, folder, groups[stamp]), inputs))
    if not moments:
        raise bad_request(f'{folder} has no lifted objects; lift the bag again.')
    return Content(folder.name or str(folder), moments, True, tuple(notes), reload)


def _load_instant(
    folder: Path, reports: dict[str, dict[str, Any]], progress: Report
) -> Snapshot:
    """Return the objects of one image of a bag."""
    objects, problems, T_world_camera = [], [], None
    for index, (name, report) in enumerate(sorted(reports.items())):
        if not report.get('ok'):
            problems.append(failure(str(report.get('id') or 'image'), report))
            continue
        try:
            viewed, more = _object(folder, name, report)
        except LiftError as error:
            problems.append(str(error))
            continue
        objects.append(viewed)
        problems += more
        T = _pose(report.get('pose_in_frame_id'), name) @ invert(viewed.T_camera_mesh)
        if not np.allclose(T, np.eye(4), atol=1e-4):
            T_world_camera = T
        progress((index + 1) / len(reports))
    return Snapshot(objects, problems, T_world_camera)
