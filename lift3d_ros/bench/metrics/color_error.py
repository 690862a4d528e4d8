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
Colour error of a prediction, on the observed and on the unobserved surface of the scan.

A scan stores the colours of its material, an image those under its light, and a predicted mesh has
the latter. The scan is therefore lit by the light of the scene, without shadows, and each channel
of the prediction is multiplied by the factor (exposure and white balance) that fits the observed
surface best. Points are matched to their nearest neighbours after both bounding boxes, along the
true object's axes, are normalised, so that neither scale nor distance counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lift3d_ros.bench.metrics import surfaces
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.solid import sample_with_normals
from lift3d_ros.meshing.solid import Solid

#: A point is visible if the ray to it meets nothing before this share of its distance.
_VISIBLE_SHARE = 0.997

#: Bounds of the factor of a channel.
_FACTOR_RANGE = (0.25, 4.0)

#: With fewer visible or hidden points there is no figure.
_MIN_POINTS = 50


def color_errors(
    predicted: Floats, colors: Floats, true: Floats, true_colors: Floats,
    visible: NDArray[np.bool_],
) -> dict[str, float]:
    """
    Return the mean difference of the channels over the ``visible`` (m,) and the hidden points.

    ``predicted`` (n, 3) and ``true`` (m, 3) are points of both surfaces along the true object's
    axes, with 8-bit ``colors`` (n, 3) and ``true_colors`` (m, 3). Shares of the full scale, as
    ``color_seen`` and ``color_hidden``; empty for a truth of one colour, and where fewer than 50
    points are visible or hidden.
    """
    a, b = np.asarray(colors, np.float64), np.asarray(true_colors, np.float64)
    fewest = min(int(visible.sum()), int((~visible).sum()))
    if fewest < _MIN_POINTS or float(np.ptp(b, axis=0).max()) < 1.0:
        return {}
    _, nearest = cKDTree(surfaces.normalise(predicted)).query(surfaces.normalise(true))
    near = a[nearest]
    fitted, wanted = near[visible], b[visible]
    factor = (fitted * wanted).sum(axis=0) / np.maximum((fitted**2).sum(axis=0), 1.0)
    scaled = np.clip(near * np.clip(factor, *_FACTOR_RANGE), 0.0, 255.0)
    error = np.abs(scaled - b).mean(axis=1) / 255.0
    return {
        'color_seen': float(error[visible].mean()),
        'color_hidden': float(error[~visible].mean()),
    }


def lit_colors(mesh: Mesh, light: Light, count: int = surfaces.SAMPLES, seed: int = 0) -> Array:
    """
    Return the colours (n, 3) in the light, 0 to 255, of the points of ``sample_surface``.

    The light is in the frame of the mesh; surfaces cast no shadow on one another.
    """
    _, normals = sample_with_normals(mesh, count, seed)
    _, colors = surfaces.sample_with_colors(mesh, count, seed)
    direct = np.maximum(normals @ unit(light.direction), 0.0)
    return np.clip(colors * (light.ambient + light.diffuse * direct)[:, None], 0.0, 255.0)


def visible_from(eye: Array, points: Floats, solid: Solid) -> NDArray[np.bool_]:
    """Return which points (n, 3) on the surface of a solid are visible from ``eye`` (3,)."""
    directions = np.asarray(points, np.float64) - eye
    distance, _ = solid.cast(np.broadcast_to(eye, directions.shape), directions)
    return np.asarray(distance > _VISIBLE_SHARE)
