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


"""From a scene to the files of its shape: the work of ``lift3d lift`` and of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
import time
from typing import Any

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.io.scene import read_further
from lift3d_ros.io.scene import read_input
from lift3d_ros.io.scene import read_plane
from lift3d_ros.io.scene import read_pose
from lift3d_ros.io.scene import SceneInput
from lift3d_ros.io.scene import Selection
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.progress import ProgressCallback
from lift3d_ros.progress import StepCallback
from lift3d_ros.robot.export import Export
from lift3d_ros.robot.export import write
from lift3d_ros.robot.report import shape_entries
from lift3d_ros.runtime.reports import error_entry
from lift3d_ros.runtime.reports import peak_memory

#: The entries of a report, in order.
ENTRIES = (
    'ok', 'error', 'scene', 'method', 'scale_source', 'scale_stddev', 'elevation_deg',
    'elevation_source', 'support', 'confidence', 'pass_probability', 'camera_source', 'depth_file',
    'views', 'mask_iou', 'notes', 'watertight', 'frame', 'up_axis', 'pose', 'files', 'stands',
    'body', 'seconds', 'peak_memory_mb',
)


@dataclass(frozen=True)
class SceneSettings:
    """
    How scenes are read and their shapes written; picklable.

    - ``frame``: that of the files, ``camera``, ``object`` or ``world``.
    - ``depth``, ``source_views``: whether they are read.
    - ``hints``: sources of the scale; the plane of a scene is added.
    - ``selection``: the object of each image, if its mask does not define it.
    - ``min_confidence``, ``seed``: of each ``LiftRequest``.
    """

    export: Export = field(default_factory=Export)
    frame: str = 'camera'
    depth: bool = True
    source_views: bool = True
    hints: ScaleHints = field(default_factory=ScaleHints)
    selection: Selection = field(default_factory=Selection)
    min_confidence: float = 0.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class LiftedScene:
    """The report of a scene, its shape, and what was read."""

    report: dict[str, Any]
    shape: Shape
    inputs: SceneInput


def lift_scene(
    lifter: Lifter,
    settings: SceneSettings,
    path: Path,
    mesh: Path,
    *,
    progress: ProgressCallback | None = None,
    cancelled: Callable[[], bool] | None = None,
    deadline: float | None = None,
    on_step: StepCallback | None = None,
) -> LiftedScene:
    """
    Lift the scene at ``path`` and write its files: ``mesh``, and others with the same stem.

    ``progress``, ``cancelled``, ``deadline`` and ``on_step`` as in ``Lifter.lift``. Raises
    ``LiftError`` for the scene and the lift, ``OSError`` if a file cannot be written.
    """
    start = time.monotonic()
    T_world_camera = read_pose(path) if settings.frame == 'world' else None
    scene = read_input(path, settings.depth, settings.selection)
    source_views = read_further(path, settings.depth) if settings.source_views else []
    hints = settings.hints
    if hints.plane is None:
        hints = replace(hints, plane=read_plane(path))
    decoded = time.monotonic() - start
    request = LiftRequest(
        scene.mask,
        hints=hints,
        source_views=tuple(source_views),
        min_confidence=settings.min_confidence,
        seed=settings.seed,
    )
    shape = lifter.lift(
        scene.frame, request, progress=progress, cancelled=cancelled, deadline=deadline,
        on_step=on_step)
    written = write(shape, mesh, settings.export, settings.frame, T_world_camera)
    # The total is that of the scene, including reading and writing.
    seconds = {'decode': decoded, **shape.seconds, 'total': time.monotonic() - start}
    report = _report(
        ok=True,
        scene=str(path.resolve()),
        camera_source=scene.camera_source,
        depth_file=scene.depth_file,
        views=1 + len(source_views),
        **shape_entries(shape, written),
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
    )
    return LiftedScene(report, shape, scene)


def failure_report(error: LiftError, method: str) -> dict[str, Any]:
    """Return the report of a scene that could not be lifted."""
    return _report(ok=False, error=error_entry(error), method=method)


def _report(**values: Any) -> dict[str, Any]:
    """Return a report with ``values`` and null for the other entries."""
    return {**dict.fromkeys(ENTRIES), **values, 'peak_memory_mb': peak_memory()}
