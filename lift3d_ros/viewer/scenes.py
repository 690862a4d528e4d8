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

"""Scene folders that are lifted when they are shown."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lift3d_ros.errors import LiftError
from lift3d_ros.io.scene import MASKS_FOLDER
from lift3d_ros.io.scene import read_further
from lift3d_ros.io.scene import read_input
from lift3d_ros.io.scene import read_objects
from lift3d_ros.io.scene import read_plane
from lift3d_ros.io.scene_files import is_picture
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.viewer.content import Content
from lift3d_ros.viewer.content import Inputs
from lift3d_ros.viewer.content import Moment
from lift3d_ros.viewer.content import Report
from lift3d_ros.viewer.content import Snapshot
from lift3d_ros.viewer.content import ViewedObject


def read_scene_content(path: Path, lifter: Lifter) -> Content:
    """
    Return a scene folder or a picture with transparency as content that is lifted on demand.

    Raises ``LiftError`` if image, mask or camera cannot be read.
    """
    inputs = read_scene_inputs(path)
    name = path.resolve().stem if is_picture(path) else path.resolve().name
    moment = Moment(name, partial(_lift, path, inputs, lifter), lambda: inputs)
    return Content(name, [moment])


def read_scene_inputs(path: Path) -> Inputs:
    """
    Return frame, masks and source views of a scene folder or a picture.

    Several objects have masks below ``MASKS_FOLDER``, or areas in a label image. Raises
    ``LiftError`` as ``read_scene``.
    """
    if not is_picture(path) and (path / MASKS_FOLDER).is_dir():
        frame, masks = read_objects(path)
        return Inputs(frame, masks)
    single = read_input(path)
    return Inputs(single.frame, {'object': single.mask}, tuple(read_further(path)))


def _lift(path: Path, inputs: Inputs, lifter: Lifter, report: Report) -> Snapshot:
    """Return the lifted objects; raises ``LiftError`` as ``Lifter.load``."""
    hints = ScaleHints(plane=read_plane(path))
    requests = [
        LiftRequest(mask, hints=hints, source_views=inputs.source_views)
        for mask in inputs.masks.values()]
    done = [0.0] * max(len(requests), 1)

    def progress(index: int, stage: str, fraction: float) -> None:
        done[index] = fraction
        report(sum(done) / len(done))

    shapes = lifter.lift_all(inputs.frame, requests, progress=progress)
    objects, problems = [], []
    for name, shape in zip(inputs.masks, shapes, strict=True):
        if isinstance(shape, LiftError):
            problems.append(f'{name}: {shape}')
        else:
            objects.append(ViewedObject.of_shape(name, shape))
    return Snapshot(objects, problems)
