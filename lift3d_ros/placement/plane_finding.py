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

"""Find the support plane in the depth around an object without depth."""

from __future__ import annotations

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import bounding_box
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.observation.cleaning import DEPTH_RANGE
from lift3d_ros.observation.cleaning import WINDOW_MARGIN
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.support import fit_plane

#: Smallest and largest number of readings around the object for a plane fit.
MIN_READINGS = 200
MAX_READINGS = 4000


def find_plane(view: ObjectView, rng: np.random.Generator) -> Plane:
    """
    Return the plane around an object, as ``find_support`` does for an object with depth.

    Raises ``LiftError(BAD_REQUEST)`` if there is no plane in the depth around the object.
    """
    failure = LiftError(
        ErrorCode.BAD_REQUEST,
        'No support plane is given, and none was found in the depth around the object; give the '
        'plane, or another source of scale.',
    )
    if view.frame.depth is None:
        raise failure
    left, top, right, bottom = bounding_box(view.mask)
    margin = int(np.ceil(WINDOW_MARGIN * max(right - left, bottom - top))) + 4
    left, top = max(left - margin, 0), max(top - margin, 0)
    cut = np.s_[top : bottom + margin, left : right + margin]
    readings = np.where(view.mask[cut], 0.0, np.nan_to_num(view.frame.depth[cut]))
    v, u = np.nonzero((readings > DEPTH_RANGE[0]) & (readings < DEPTH_RANGE[1]))
    if len(u) < MIN_READINGS:
        raise failure
    chosen = rng.permutation(len(u))[:MAX_READINGS]
    v, u = v[chosen], u[chosen]
    around = view.frame.camera.unproject(u + left, v + top, readings[v, u])
    vertical = None if view.frame.gravity is None else -view.frame.gravity
    tolerance = max(0.004, 0.006 * float(np.median(around[:, 2])))
    # All readings around the object lie on the plane or above it.
    fitted = fit_plane(around, around, vertical, tolerance, rng)
    if fitted is None:
        raise failure
    return Plane(fitted[0], fitted[1])
