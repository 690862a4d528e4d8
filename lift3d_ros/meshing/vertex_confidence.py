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
Confidence at vertices.

That of measured surface, that from votes on symmetries, and that from the agreement of field and
views.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.cameras.depth_noise import DEFAULT_DISPARITY_STDDEV
from lift3d_ros.fields.field import Field
from lift3d_ros.fields.occupancy_grid import OccupancyGrid
from lift3d_ros.fields.symmetry.hypotheses import Hypothesis
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.support import Support

#: Calibration of observed vertices: base 2 logarithm of 1 % of the diagonal over the typical error
#: of a reading (x), and the share of observed vertices within 1 % of the diagonal of the true
#: surface (y). On 220 frames of scans of the train split and of modelled objects, a quarter each
#: with exact masks, with masks of a detector, with an occluder, and with errors of real frames.
OBSERVED_X = (0.0, 1.5, 2.5, 3.5, 4.4, 5.5)
OBSERVED_Y = (0.73, 0.85, 0.88, 0.94, 0.965, 0.99)

#: Intercept and slope of a line: share of the unobserved vertices within 1 %, over their share of
#: the votes. On 100 scenes of scans of the train split, before the hypotheses were aligned.
VOTE_CALIBRATION = (0.27, 0.42)

#: Side of the silhouettes that are compared, pixels. A pixel is wider than a voxel; an
#: inconsistency is coarser than that.
SILHOUETTE_PIXELS = 40

#: Agreement at and above which the confidence is unchanged, and at and below which it is 0. On
#: scenes of scans of the train split, with the coarse volume as the field, synthesised views reach
#: 0.93 to 1.00; true views in wrong poses 0.38 (long objects) to 0.98 (round ones, which look the
#: same); views of one colour 0.13 to 0.33.
FULL_AGREEMENT, ZERO_AGREEMENT = 0.92, 0.40


def observed_confidence(vertices: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Return the probability that measured vertices are within 1 % of the diagonal, (n,).

    ``vertices`` (n, 3) are those of the whole mesh in metres, optical frame. Noise and systematic
    errors of depth grow with the square of the distance (``cameras.depth_noise``), so that the
    measured surface of a small or distant object is less certain. The probability is constant
    beyond the ends of the calibration.
    """
    tolerance = 0.01 * float(np.linalg.norm(np.ptp(vertices, axis=0)))
    error = DEFAULT_DISPARITY_STDDEV * np.square(vertices[:, 2].astype(np.float64))
    octaves = np.log2(np.maximum(tolerance, 1e-12) / np.maximum(error, 1e-12))
    return np.interp(octaves, OBSERVED_X, OBSERVED_Y).astype(np.float32)


def vote_confidence(
    observation: ObjectObservation,
    support: Support,
    hypotheses: list[Hypothesis],
    vertices: NDArray[np.float32],
    observed: NDArray[np.bool_],
    tolerance: float,
) -> NDArray[np.float32]:
    """
    Return the probability that a vertex is within 1 % of the diagonal of the true surface, (n,).

    A hypothesis votes for a vertex if its own surface is within ``tolerance`` metres of it; all
    vote for what the view and the support plane bound. ``observed_confidence`` and
    ``VOTE_CALIBRATION`` turn the share of the votes into the probability.
    """
    bounds = np.minimum(
        observation.occupancy_bound(vertices), support.height(vertices).astype(np.float32)
    )
    votes = np.zeros(len(vertices), np.float32)
    for hypothesis in hypotheses:
        surface = np.minimum(hypothesis.occupancy_bound(observation, vertices), bounds)
        votes += np.float32(hypothesis.weight) * (np.abs(surface) < tolerance)
    base, slope = (np.float32(value) for value in VOTE_CALIBRATION)
    return np.where(observed, observed_confidence(vertices), base + slope * votes)


def surface_decrease(field: Field, canonical: CanonicalFrame, mesh: Mesh) -> Floats:
    """
    Return the decrease of the occupancy across 1 % of the diagonal of a mesh, (n,), 0 to 1.

    The surface crosses the normal of a vertex between two points if one is inside and the other
    outside. The probability of this is the decrease of the occupancy from the first to the second.
    ``mesh`` is in the optical frame of ``canonical``.
    """
    vertices = transform(canonical.canonical_from_camera, mesh.vertices)
    normals = mesh.vertex_normals().astype(np.float64) @ canonical.T_camera_object[:3, :3]
    reach = 0.01 * float(np.linalg.norm(np.ptp(vertices, axis=0)))
    # A voxel may be longer than 1 %: the decrease over it is scaled down to 1 %.
    step = max(reach, field.voxel)
    inside = field.occupancy(vertices - step * normals)
    outside = field.occupancy(vertices + step * normals)
    return np.asarray(np.clip(inside - outside, 0.0, 1.0) * (reach / step))


def silhouette_agreement(
    field: OccupancyGrid, pictures: NDArray[np.uint8], poses: Array
) -> float:
    """
    Return the agreement of a field's silhouettes with its views, from 0 to 1.

    ``pictures`` (sets, n, h, h, 4) uint8 RGBA are views at ``poses`` (n, 4, 4), optical frames in
    canonical coordinates, through the lens of Zero-1-to-3. For each view it is the share of the
    occupied voxels (probability over one half) that project into the mask, times the share of the
    mask that they cover. Returns the mean over the views.
    """
    from scipy import ndimage

    points = field.inside()
    size = SILHOUETTE_PIXELS
    camera = Camera.from_fov(size, size, ZERO123_FOV)
    shares = []
    for number, pose in enumerate(poses):
        u, v, z = camera.project(transform(invert(pose), points))
        column, row = np.rint(u).astype(int), np.rint(v).astype(int)
        visible = (z > 0.0) & (np.minimum(column, row) >= 0) & (np.maximum(column, row) < size)
        column, row = column[visible], row[visible]
        covered = np.zeros((size, size), bool)
        covered[row, column] = True
        # Near the camera the voxels are more than a pixel apart.
        covered = ndimage.binary_closing(np.pad(covered, 2), iterations=1)[2:-2, 2:-2]
        for alpha in pictures[:, number, :, :, 3]:
            mask = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA) / 255.0
            # The outline of a mask is neither inside nor outside.
            inside = (mask[row, column] > 0.25).sum() / max(len(points), 1)
            core = mask > 0.75
            shares.append(inside * (covered & core).sum() / max(np.count_nonzero(core), 1))
    return float(np.mean(shares)) if shares else 1.0


def agreement_factor(agreement: float) -> float:
    """Return the factor on the confidence of unobserved surface for a silhouette agreement."""
    share = (agreement - ZERO_AGREEMENT) / (FULL_AGREEMENT - ZERO_AGREEMENT)
    return float(np.clip(share, 0.0, 1.0))
