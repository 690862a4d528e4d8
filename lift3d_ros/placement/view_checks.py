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

"""Checks of objects that the image border cuts, and of shapes that extend beyond their mask."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import BORDER_PIXELS
from lift3d_ros.geometry.frame import bounding_box
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.meshing.rasterizer import Surface
from lift3d_ros.meshing.rasterizer import WINDOW_SIDE
from lift3d_ros.observation.object_observation import mask_tolerance
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.object_observation import outline_distance
from lift3d_ros.observation.object_observation import sample
from lift3d_ros.segmentation.distance import distance_to_false

#: Borders of an image, and the directions (u, v) out of it.
_BORDERS = {
    'left': (-1.0, 0.0), 'top': (0.0, -1.0), 'right': (1.0, 0.0), 'bottom': (0.0, 1.0)
}

#: Largest area of a shape beyond the mask and its tolerance without a note, as a share of the area
#: of the mask; smaller areas are rasterisation error.
_MAX_SPILL_SHARE = 0.01

#: Area that depth adds to a mask, as a share of it, above which it may not be that of the object;
#: at most 0.08 for masks of segmenters on 17 real frames and 64 scenes of the train split.
_MAX_GROWTH_SHARE = 0.1

#: Smallest distance of an occluding reading in front of the shape, as a share of its depth.
_MIN_OCCLUDER_GAP_SHARE = 0.02

#: Smallest cosine between the downward direction and the outward direction at a border that may
#: cut off the foot of an object.
_MIN_DOWNWARD_COSINE = 0.3


def cut_borders(view: ObjectView) -> tuple[str, ...]:
    """Return the borders of the image that cut the object: left, top, right, bottom."""
    left, top, right, bottom = bounding_box(view.mask)
    height, width = view.mask.shape
    reached = {
        'left': left <= BORDER_PIXELS,
        'top': top <= BORDER_PIXELS,
        'right': right >= width - BORDER_PIXELS,
        'bottom': bottom >= height - BORDER_PIXELS,
    }
    return tuple(name for name, is_cut in reached.items() if is_cut)


def truncation_note(view: ObjectView) -> str | None:
    """Return a note on the borders that cut the object, or None if it is inside the image."""
    if not view.truncated:
        return None
    return (
        f'The object is cut by the {_names(view)} of the image: its size is that of the visible '
        'part plus a prediction. Turn the camera until the whole object is in the image.'
    )


def check_not_truncated(view: ObjectView) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` if the image border cuts an object of known size."""
    if view.truncated:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The object is cut by the {_names(view)} of the image, so the visible part does not '
            'have its known size; bring the whole object into the image, or give depth or the '
            'support plane.',
        )


def check_foot_in_image(view: ObjectView, middle: Array, up: Array) -> None:
    """
    Raise ``LiftError(BAD_REQUEST)`` if the image border may cut off the foot of an object.

    ``middle`` (3,) is a point in the object and ``up`` (3,) the normal of the plane that it stands
    on, optical frame.
    """
    if not view.truncated:
        return
    camera = view.frame.camera
    x, y, z = middle
    down = -np.array(
        [camera.fx * (up[0] * z - x * up[2]), camera.fy * (up[1] * z - y * up[2])]
    )
    down /= max(float(np.linalg.norm(down)), 1e-12)
    for name in cut_borders(view):
        if down @ _BORDERS[name] > _MIN_DOWNWARD_COSINE:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The {name} border of the image cuts off the foot of the object, so the support '
                'plane cannot give its distance; bring the whole object into the image, or give '
                'depth.',
            )


def spill_note(
    surface: Surface, view: ObjectView, observation: ObjectObservation | None = None,
    T_ref_first: Array | None = None,
) -> str | None:
    """
    Return a note on how far a surface (optical frame) extends beyond its mask, or None.

    Pixels within the tolerance of a detector's outline, behind a nearer reading, or outside the
    image do not count. With ``observation``, that of the view, neither do those within the
    tolerance of an occluder, or of what the depth shows to be the object beside its mask, unless
    that is much: then the object may be joined with what it stands on or touches.
    ``T_ref_first`` (4, 4) is the rotation from the view's optical frame to the observation's, None
    for the same frame.
    """
    margin = int(np.ceil(0.5 * view.longer_side())) + 2
    cut, camera = view.window(WINDOW_SIDE, margin)
    mask = np.ascontiguousarray(view.mask[cut])
    drawn = surface.rasterize(camera)
    distance = distance_to_false(~mask)
    stride = cut[0].step
    # The two rasters are off by up to a pixel.
    spill = drawn.mask & (distance > mask_tolerance(view.frame.camera, stride) + 1.0)
    if view.frame.depth is not None:
        readings = np.nan_to_num(view.frame.depth[cut], posinf=0.0, neginf=0.0)
        hidden = (readings > 0.0) & (readings < (1.0 - _MIN_OCCLUDER_GAP_SHARE) * drawn.depth)
        spill &= ~_widened(hidden)
    if observation is not None and spill.any():
        v, u = np.nonzero(spill)
        points = camera.unproject(u, v, drawn.depth[v, u])
        if T_ref_first is not None:
            points = transform(T_ref_first, points)
        # Its outline is that of the refined mask and of the occluders.
        across, down, _ = (a.astype(np.float32) for a in observation.camera.project(points))
        excused = observation.mask | observation.occluder
        if _growth(observation) > _MAX_GROWTH_SHARE:
            excused = observation.occluder
        outline = sample(outline_distance(excused), across, down)
        spill[v, u] = outline < -observation.tolerance - 1.0
    # The step of the window may miss all pixels of a mask of single pixels.
    share = np.count_nonzero(spill) / max(np.count_nonzero(mask), 1)
    if share < _MAX_SPILL_SHARE:
        return None
    reach = stride * float(distance[spill].max())
    return (
        f'The shape reaches {reach:.0f} pixels beyond its mask, over {100.0 * share:.0f} % of the '
        'area of the mask; check that the mask covers the whole object, and that the depth is '
        'registered to the image.'
    )


def _growth(observation: ObjectObservation) -> float:
    """Return the area that the refined mask has beyond the detector's, as a share of that."""
    outline = outline_distance(observation.detection)
    grown = observation.mask & (outline < -observation.tolerance)
    return np.count_nonzero(grown) / max(np.count_nonzero(observation.detection), 1)


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask dilated by one pixel: there are no readings at its edge."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)


def _names(view: ObjectView) -> str:
    *first, last = cut_borders(view) or ('outer',)
    return f'{", ".join(first)} and {last} border' if first else f'{last} border'
