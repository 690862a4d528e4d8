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

"""Files of the novel views of a scene."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lift3d_ros.geometry import Camera
    from lift3d_ros.progress import Progress
    from lift3d_ros.scene.scene import Scene


def write_views(
    scene: Scene,
    poses: Sequence[NDArray[np.float64]],
    out: Path,
    stem: str,
    *,
    film: Path | None = None,
    camera: Camera | None = None,
    progress: Progress | None = None,
    source: str = 'surface',
) -> tuple[list[dict[str, Any]], list[Path], tuple[str, ...]]:
    """
    Write the views of a scene from poses, one after the other, as ``STEM_000.png`` and so on.

    Returns their entries in the report, the files, and notes on the poses. The memory does not
    depend on the number of poses. Raises ``LiftError`` as ``render_views``.
    """
    from lift3d_ros.runtime.films import write_film
    from lift3d_ros.scene.files import write_view
    from lift3d_ros.scene.novel_views import render_views
    from lift3d_ros.scene.pose_checks import check_poses
    from lift3d_ros.scene.pose_checks import pose_notes

    views = render_views(scene, poses, camera, progress, source)
    entries, files, images = [], [], []
    checks = None
    for index, view in enumerate(views):
        # The first view checks the poses.
        checks = checks or check_poses(scene, poses)
        check = checks[index]
        written = write_view(view, out, f'{stem}_{index:03d}', scene.scale_source != 'unknown')
        files += written
        images.append(written[0])
        entries.append({
            'file': written[0].name, 'T_camera_eye': view.T_camera_eye.round(6).tolist(),
            'unobstructed': check.unobstructed, 'reachable': check.reachable,
            'inside': check.inside or ('surface' if check.in_surface else None),
            'observed': round(float(view.observed.mean()), 4)})
    notes = pose_notes(checks or ())
    if film is not None:
        notes += write_film(_read(images), film, len(images))
        files.append(film)
    return entries, files, notes


def view_files(out: Path, stem: str) -> list[Path]:
    """Return the views of a stem in a folder, of any run."""
    digits = '[0-9]' * 3
    return [
        path for end in ('.png', '_depth.png', '_depth.npz')
        for path in sorted(out.glob(f'{stem}_{digits}{end}'))]


def _read(paths: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures from their files, RGB, so that a film need not keep them."""
    import cv2
    import numpy as np

    for path in paths:
        picture = cv2.imread(str(path))
        if picture is None:
            raise OSError(f'{path.name} cannot be read again.')
        yield np.ascontiguousarray(picture[..., ::-1]).astype(np.uint8, copy=False)
