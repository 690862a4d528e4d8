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


"""One prediction against one scan: every figure of a row of results."""

from __future__ import annotations

from typing import Any

import numpy as np

from lift3d_ros.bench import metrics
from lift3d_ros.bench.alignment import align
from lift3d_ros.bench.color_error import color_errors
from lift3d_ros.bench.grasps.physics import HELD
from lift3d_ros.bench.grasps.planning import Jaw
from lift3d_ros.bench.grasps.planning import plan
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh

#: F-scores: the figure's name and its threshold, as a share of the diagonal in place, and as a
#: distance in the cube [-1, 1]^3 after alignment.
F_IN_PLACE = {'f_2pct': 0.02, 'f_5pct': 0.05}
F_ALIGNED = {'aligned_fs_0.1': 0.1, 'aligned_fs_0.2': 0.2, 'aligned_fs_0.5': 0.5,
             'aligned_f_0.05': 0.05}

#: The figures of a lift that failed.
FAILED = {'iou': 0.0, **dict.fromkeys([*F_IN_PLACE, *F_ALIGNED], 0.0)}

#: Grasps of a prediction that are tried in physics, best first.
_PHYSICS_GRASPS = 3


def score(
    prediction: Prediction, truth: Truth, grasp: bool = False, physics: bool = False
) -> dict[str, Any]:
    """
    Return the figures of a prediction.

    Names that end in ``_mm`` are lengths in millimetres, the rest are shares. Figures that are not
    defined, such as the IoU of a cloud, are omitted. With ``grasp`` grasps are planned on the mesh
    and tried on the scan, with ``physics`` also in simulation.

    Raises ``LiftError(NO_SURFACE)`` for an empty one.
    """
    # The object's frame keeps distances, and boxes along its axes fit the object.
    T_object_camera = invert(truth.T_camera_object)
    mesh = None if prediction.mesh is None else prediction.mesh.transformed(T_object_camera)
    if mesh is not None:
        points, colors = metrics.sample_with_colors(mesh)
    elif prediction.points is not None:
        points = _thinned(transform(T_object_camera, prediction.points))
    else:
        raise LiftError(ErrorCode.NO_SURFACE, 'The prediction has neither a mesh nor points.')
    distances = metrics.distances(points, truth.points, truth.tree)
    box = points if mesh is None else mesh.vertices
    figures: dict[str, Any] = {
        'chamfer_mm': 1000.0 * distances.chamfer(),
        'chamfer_share': distances.chamfer() / truth.diagonal,
        **{name: distances.f_score(share * truth.diagonal) for name, share in F_IN_PLACE.items()},
        'centre_mm': 1000.0 * metrics.centre_error(box, truth.mesh.vertices),
        'scale_error': metrics.scale_error(box, truth.mesh.vertices),
        'distance_error': metrics.distance_error(
            box, truth.mesh.vertices, truth.camera_centre
        ),
    }
    figures.update(_within_stddev(prediction.notes, figures))
    aligned = align(points, truth.points, truth.camera_centre).distances
    figures['aligned_cd'] = aligned.chamfer()
    figures.update({name: aligned.f_score(limit) for name, limit in F_ALIGNED.items()})
    if mesh is not None:
        figures['iou'] = metrics.volume_iou(mesh, truth.solid)
        if truth.colors is not None:
            figures.update(color_errors(points, colors, truth.points, truth.colors, truth.visible))
        figures['watertight'] = float(mesh.is_watertight())
        if prediction.confidence is not None:
            figures.update(_calibration(prediction.confidence, mesh, truth))
        if grasp:
            figures.update(score_grasps(mesh, truth, physics))
    return figures


def _within_stddev(notes: dict[str, Any], figures: dict[str, Any]) -> dict[str, float]:
    """Return whether centre and scale are within the predicted standard deviations."""
    if notes.get('scale_source', 'unknown') == 'unknown':
        return {}
    return {
        'centre_as_said': float(figures['centre_mm'] <= notes['centre_stddev_mm']),
        'scale_as_said': float(figures['scale_error'] <= notes['scale_stddev']),
    }


def score_grasps(mesh: Mesh, truth: Truth, physics: bool = False) -> dict[str, Any]:
    """
    Return how many grasps were planned on a mesh of the object frame, and which hold.

    With ``physics`` the best of them are also tried in simulation.
    """
    grasps = plan(mesh, Jaw())
    held = [truth.trial.holds(grasp) for grasp in grasps]
    figures: dict[str, Any] = {
        'grasps': len(held),
        'grasp_top_1': float(held[0]) if held else 0.0,
        'grasp_top_10': float(np.mean(held)) if held else 0.0,
    }
    if physics:
        outcomes = [truth.physics.attempt(grasp) for grasp in grasps[:_PHYSICS_GRASPS]]
        lifted = [outcome == HELD for outcome in outcomes]
        figures['physics_top_1'] = float(lifted[0]) if lifted else 0.0
        figures['physics_top_3'] = float(np.mean(lifted)) if lifted else 0.0
        figures['physics_outcomes'] = outcomes
    return figures


def _calibration(confidence: Any, mesh: Mesh, truth: Truth) -> dict[str, Any]:
    error = truth.solid.distance(mesh.vertices)
    bins = metrics.curve(confidence, error, metrics.TOLERANCE_SHARE * truth.diagonal)
    return {
        'ause': metrics.ause(confidence, error),
        'rank_correlation': metrics.rank_correlation(confidence, error),
        'calibration_error': metrics.calibration_error(bins),
        'calibration_bins': bins,
    }


def _thinned(points: Array) -> Array:
    """Return at most ``SAMPLES`` of the points (n, 3)."""
    if len(points) <= metrics.SAMPLES:
        return points
    chosen = np.random.default_rng(0).choice(len(points), metrics.SAMPLES, replace=False)
    return points[np.sort(chosen)]
