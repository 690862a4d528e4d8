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
How far the colours of a prediction are from the scan's, apart for what the camera saw.

A scan has the colours of its material, an image those in its light; a mesh that is made of the
image has the latter. So the scan is compared as it looks in the light of the scene, without
shadows, and each channel of the prediction is multiplied by the one factor, of exposure and white
balance, that fits what the camera saw best. Places are compared that are nearest to each other
after both boxes are laid onto each other, along the true object's axes and without a turn, so that
neither a wrong scale nor a wrong distance counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lift3d_ros.bench.alignment import normalise
from lift3d_ros.bench.metrics import sample_with_colors
from lift3d_ros.bench.metrics import sample_with_normals
from lift3d_ros.bench.metrics import SAMPLES
from lift3d_ros.bench.metrics import Solid
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light

#: A place is seen if the ray to it meets nothing before this share of the way.
_REACHED = 0.997

#: Bounds of a channel's factor.
_FACTORS = (0.25, 4.0)

#: With fewer points on either side of what was seen nothing is told.
_FEWEST = 50


def color_errors(
    predicted: Floats, colors: Floats, true: Floats, true_colors: Floats, seen: NDArray[np.bool_]
) -> dict[str, float]:
    """
    Return the mean difference of the channels over what was ``seen`` (m,) and what was not.

    ``predicted`` (n, 3) and ``true`` (m, 3) are points of both surfaces along the true object's
    axes, with 8-bit ``colors`` (n, 3) and ``true_colors`` (m, 3). Shares of the full scale, as
    ``color_seen`` and ``color_hidden``; empty for a truth of one colour, and where fewer than 50
    points are seen or hidden.
    """
    a, b = np.asarray(colors, np.float64), np.asarray(true_colors, np.float64)
    few = min(int(seen.sum()), int((~seen).sum())) < _FEWEST
    if few or float(np.ptp(b, axis=0).max()) < 1.0:
        return {}
    _, nearest = cKDTree(normalise(predicted)).query(normalise(true))
    near = a[nearest]
    fitted, wanted = near[seen], b[seen]
    factor = (fitted * wanted).sum(axis=0) / np.maximum((fitted**2).sum(axis=0), 1.0)
    error = np.abs(np.clip(near * np.clip(factor, *_FACTORS), 0.0, 255.0) - b).mean(axis=1) / 255.0
    return {
        'color_seen': float(error[seen].mean()),
        'color_hidden': float(error[~seen].mean()),
    }


def lit_colors(mesh: Mesh, light: Light, count: int = SAMPLES, seed: int = 0) -> Array:
    """
    Return the colours (n, 3) in the light, 0 to 255, of the points of ``sample_surface``.

    The light is in the frame of the mesh; surfaces cast no shadow on one another.
    """
    _, normals = sample_with_normals(mesh, count, seed)
    _, colors = sample_with_colors(mesh, count, seed)
    direct = np.maximum(normals @ unit(light.direction), 0.0)
    return np.clip(colors * (light.ambient + light.diffuse * direct)[:, None], 0.0, 255.0)


def seen_from(eye: Array, points: Floats, solid: Solid) -> NDArray[np.bool_]:
    """Return which points (n, 3) on the surface of a solid are seen from ``eye`` (3,)."""
    directions = np.asarray(points, np.float64) - eye
    distance, _ = solid.cast(np.broadcast_to(eye, directions.shape), directions)
    return np.asarray(distance > _REACHED)
