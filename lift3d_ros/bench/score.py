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
from numpy.typing import NDArray

from lift3d_ros.bench import metrics
from lift3d_ros.bench.grasps.physics import HELD
from lift3d_ros.bench.metrics import coverage
from lift3d_ros.bench.metrics import evidence
from lift3d_ros.bench.metrics import topology
from lift3d_ros.bench.metrics.alignment import align
from lift3d_ros.bench.metrics.alignment import similarity
from lift3d_ros.bench.metrics.color_error import color_errors
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.robot.grasps import Jaw
from lift3d_ros.robot.grasps import plan

#: F-scores: the figure's name and its threshold, as a share of the diagonal in place, in metres,
#: as a share of the diameter, and as a distance in the cube [-1, 1]^3 after alignment.
F_IN_PLACE = {'f_2pct': 0.02, 'f_5pct': 0.05}
F_ABSOLUTE = {'f1_5mm': 0.005, 'f1_10mm': 0.010}
F_DIAMETER = {'f1_002d': 0.02}
F_ALIGNED = {'aligned_fs_0.1': 0.1, 'aligned_fs_0.2': 0.2, 'aligned_fs_0.5': 0.5,
             'aligned_f_0.05': 0.05}

#: The figures of a lift that failed.
FAILED = {'iou': 0.0, **dict.fromkeys([
    *F_IN_PLACE, *F_ABSOLUTE, *F_DIAMETER, *F_ALIGNED,
    *(f'similarity_{name}' for name in (*F_ABSOLUTE, *F_DIAMETER))], 0.0)}

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
        'chamfer_per_diameter': distances.chamfer() / truth.diameter,
        **{name: distances.f_score(share * truth.diagonal) for name, share in F_IN_PLACE.items()},
        **{name: distances.f_score(limit) for name, limit in F_ABSOLUTE.items()},
        **{name: distances.f_score(share * truth.diameter) for name, share in F_DIAMETER.items()},
        'centre_mm': 1000.0 * metrics.centre_error(box, truth.mesh.vertices),
        'scale_error': metrics.scale_error(box, truth.mesh.vertices),
        'distance_error': metrics.distance_error(
            box, truth.mesh.vertices, truth.camera_centre
        ),
    }
    figures.update(_within_stddev(prediction.notes, figures))
    figures.update(_after_similarity(points, truth))
    aligned = align(points, truth.points, truth.camera_centre).distances
    figures['aligned_cd'] = aligned.chamfer()
    figures.update({name: aligned.f_score(limit) for name, limit in F_ALIGNED.items()})
    if mesh is not None:
        _, normals = metrics.sample_with_normals(mesh, len(points))
        figures['normal_consistency'] = metrics.normal_consistency(
            points, normals, truth.points, truth.normals)
        solid = metrics.Solid(mesh)
        figures['iou'] = metrics.volume_iou(solid, truth.solid)
        figures['hole_mm'] = 1000.0 * coverage.largest_hole(
            solid, truth.points, truth.normals, truth.thickness, truth.area, truth.diameter)
        if truth.colors is not None:
            figures.update(color_errors(points, colors, truth.points, truth.colors, truth.visible))
        if prediction.confidence is not None:
            figures.update(_calibration(prediction.confidence, mesh, truth))
        if grasp:
            figures.update(score_grasps(mesh, truth, physics))
    return figures


def judge(
    mesh: Mesh, frame: Frame, mask: NDArray[np.bool_], truth: Truth | None = None
) -> dict[str, Any]:
    """
    Return the figures of a mesh in the optical frame that need no truth, or only its genus.

    ``frame`` and ``mask``, bool (height, width), are what the predictor was given; without depth
    there are no spikes. Where the truth is known, what another object hides of it, or errors of
    the mask, is not off the mask.
    """
    pixels = mask if truth is None else mask | truth.silhouette(frame.camera)
    merged = topology.merged(mesh)
    handles, solid = topology.genus(mesh.faces), metrics.Solid(mesh)
    figures = {
        'watertight': float(mesh.is_watertight()),
        'closed_merged': float(merged.is_watertight),
        'nonmanifold_edges': float(topology.nonmanifold_edges(merged.faces)),
        'pieces': float(topology.pieces(mesh.faces)),
        'off_mask_share': evidence.off_mask_share(solid, frame.camera, pixels),
    }
    if handles is not None:
        figures['genus'] = float(handles)
        if truth is not None and truth.genus is not None:
            figures['genus_error'] = float(abs(handles - truth.genus))
    if frame.depth is not None:
        share, distance = evidence.spikes(mesh.vertices, frame.camera, frame.depth, mask)
        figures |= {'spike_share': share, 'spike_mm': 1000.0 * distance}
    return figures


def _after_similarity(points: Array, truth: Truth) -> dict[str, float]:
    """Return the distances of predicted points (n, 3), object frame, after a similarity ICP."""
    moved = transform(similarity(points, truth.points), points)
    distances = metrics.distances(moved, truth.points, truth.tree)
    thresholds = F_ABSOLUTE | {name: share * truth.diameter for name, share in F_DIAMETER.items()}
    return {
        'similarity_chamfer_mm': 1000.0 * distances.chamfer(),
        'similarity_chamfer_per_diameter': distances.chamfer() / truth.diameter,
        **{f'similarity_{name}': distances.f_score(t) for name, t in thresholds.items()},
    }


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
