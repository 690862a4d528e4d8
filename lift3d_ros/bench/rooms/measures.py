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

"""The figures of a completed room: disoccluded pixels, hidden surface, and a planner's errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.metrics.confidence import TOLERANCE_SHARE
from lift3d_ros.bench.metrics.surfaces import distances
from lift3d_ros.bench.rooms.candidates import Completion
from lift3d_ros.bench.rooms.truth import BenchRoom
from lift3d_ros.bench.rooms.truth import hidden_points
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.scene.parts import measured_depth
from lift3d_ros.scene.planes import depth_tolerance
from lift3d_ros.scene.scene import BACKGROUND
from lift3d_ros.scene.scene import SceneSurface
from lift3d_ros.scene.voxel_map import Occupancy
from lift3d_ros.scene.voxel_map import VoxelMap

#: Distance within which a depth or a surface is right, metres.
TOLERANCE_M = 0.02

#: Figures of a failure.
FAILED = {'f_score': 0.0, 'near_10': 0.0, 'near_25': 0.0, 'near_40': 0.0}

#: Distance between points on the predicted surface, metres, their largest number, and how many of
#: them and of the voxels of a state are checked.
_SPACING_M, _MAX_POINTS, _JUDGED, _VOXELS = 0.008, 1_500_000, 30_000, 60_000


def view_figures(room: BenchRoom, done: Completion) -> dict[str, float]:
    """
    Return the figures of the hidden pixels of each view, with the angle as suffix.

    ``psnr`` (dB), ``ssim``, ``depth_m`` (median absolute error, metres), ``near`` (share of depths
    within 2 cm), ``filled`` (share with a depth). A pixel without a depth has an infinite error.
    """
    from skimage.metrics import structural_similarity

    figures: dict[str, float] = {}
    for view, (image, depth) in zip(room.views, done.views, strict=True):
        hidden, truth = view.hidden, view.truth
        square = np.square(image[hidden].astype(np.float64) - truth.image[hidden]).mean()
        _, similarity = structural_similarity(
            truth.image, image, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True)
        present = depth[hidden] > 0.0
        error = np.where(present, np.abs(depth[hidden] - truth.depth[hidden]), np.inf)
        at = f'_{view.degrees}'
        figures |= {
            f'psnr{at}': float(20.0 * np.log10(255.0) - 10.0 * np.log10(max(square, 1e-3))),
            f'ssim{at}': float(similarity.mean(axis=2)[hidden].mean()),
            # A median that is infinite is no number of a table: the size of a room stands for it.
            f'depth_m{at}': float(min(np.median(error), 10.0)),
            f'near{at}': float((error < TOLERANCE_M).mean()),
            f'filled{at}': float(present.mean()),
        }
    return figures


def surface_figures(room: BenchRoom, surface: SceneSurface) -> dict[str, float]:
    """
    Return the figures of the hidden surface, within 2 cm.

    ``recall``: share of the hidden true surface that a moved camera would reveal, with
    ``recall_objects`` and ``recall_rest``; ``precision``: share of the predicted hidden surface
    that is near any true surface; ``f_score``: their harmonic mean.
    """
    rng = np.random.default_rng(0)
    predicted = surface_points(surface, rng)
    predicted = predicted[hidden_points(room.made, predicted)]
    if len(predicted):
        some = predicted[rng.permutation(len(predicted))[:_JUDGED]]
        true = room.made.room.raycaster.distance(transform(room.made.T_room_camera, some))
        precision = float((true < TOLERANCE_M).mean())
        found = distances(predicted, room.hidden).completeness < TOLERANCE_M
    else:
        precision, found = 0.0, np.zeros(len(room.hidden), bool)
    recall = float(found.mean())
    figures = {
        'precision': precision, 'recall': recall,
        'f_score': 2.0 * precision * recall / max(precision + recall, 1e-9),
        'recall_rest': float(found[~room.of_object].mean()) if (~room.of_object).any() else None,
        'recall_objects': float(found[room.of_object].mean()) if room.of_object.any() else None,
    }
    return {name: value for name, value in figures.items() if value is not None}


def surface_points(surface: SceneSurface, rng: np.random.Generator) -> Array:
    """Return points (n, 3) on the predicted triangles, evenly by area."""
    mesh = surface.mesh
    predicted = ~surface.observed[mesh.faces].all(axis=1)
    if not predicted.any():
        return np.zeros((0, 3))
    chosen = type(mesh)(mesh.vertices, mesh.faces[predicted], mesh.colors)
    a, b, c = (chosen.vertices[chosen.faces[:, k]].astype(np.float64) for k in range(3))
    area = 0.5 * float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
    face, weights = chosen.sample(int(np.clip(area / _SPACING_M**2, 100, _MAX_POINTS)), rng)
    corners = chosen.vertices[chosen.faces[face]].astype(np.float64)
    return np.asarray(np.einsum('ijk,ij->ik', corners, weights))


def volume_figures(room: BenchRoom, grid: VoxelMap, name: str = '') -> dict[str, float]:
    """
    Return a planner's errors in a map.

    ``false_free``: share of the free voxels whose centre is in something; ``false_occupied``:
    share of the occupied voxels that touch nothing; ``free_m3``: the free volume; ``known``:
    share of the map that is free or occupied.
    """
    rng = np.random.default_rng(0)
    T = room.made.T_room_camera @ invert(grid.T_grid_camera)
    states, centres = grid.states.reshape(-1), grid.centres().reshape(-1, 3)
    free = np.flatnonzero(states == Occupancy.FREE)
    occupied = np.flatnonzero(states >= Occupancy.OCCUPIED)
    free_points, occupied_points = (
        transform(T, centres[rng.permutation(chosen)[:_VOXELS]]) for chosen in (free, occupied))
    reach = 0.5 * np.sqrt(3.0) * grid.resolution
    away = room.made.room.raycaster.distance(occupied_points) > reach
    away[away] &= ~room.made.room.contains(occupied_points[away])
    wrong = room.made.room.contains(free_points)
    return {
        f'{name}false_free': float(wrong.mean()) if len(free) else 0.0,
        f'{name}false_occupied': float(away.mean()) if len(occupied) else 0.0,
        f'{name}free_m3': float(len(free) * grid.resolution**3),
        f'{name}known': float((states != Occupancy.UNKNOWN).mean()),
    }


def depth_tsdf(room: BenchRoom, grid: VoxelMap) -> VoxelMap:
    """
    Return the map of the depth's own truncated signed distance, on the same voxels.

    The distance is that of a voxel's centre along the ray of its pixel; what is further behind a
    reading than the truncation is unknown.
    """
    frame = room.made.frame
    depth, camera = measured_depth(frame), frame.camera
    centres = transform(invert(grid.T_grid_camera), grid.centres().reshape(-1, 3))
    u, v, z = camera.project(centres)
    with np.errstate(invalid='ignore'):
        inside = (z > 0.0) & (u > -0.5) & (v > -0.5) & (u < camera.width - 0.5)
        inside &= v < camera.height - 0.5
    column = np.rint(np.where(inside, u, 0.0)).astype(np.intp)
    row = np.rint(np.where(inside, v, 0.0)).astype(np.intp)
    reading = np.where(inside, depth[row, column], np.float32(0.0))
    distance = reading - z
    truncation = np.maximum(1.5 * grid.resolution, depth_tolerance(reading))
    states = np.zeros(len(z), np.uint8)
    states[(reading > 0.0) & (distance > truncation)] = Occupancy.FREE
    states[(reading > 0.0) & (np.abs(distance) <= 0.5 * truncation)] = Occupancy.OCCUPIED
    return VoxelMap(
        states.reshape(grid.states.shape), grid.origin, grid.resolution, grid.T_grid_camera)


def all_figures(room: BenchRoom, done: Completion) -> dict[str, Any]:
    """Return all figures of a candidate, those of the depth's own map with ``tsdf_``."""
    figures = {
        **view_figures(room, done), **surface_figures(room, done.surface),
        **volume_figures(room, done.voxels),
        **volume_figures(room, depth_tsdf(room, done.voxels), 'tsdf_')}
    return {name: round(value, 5) for name, value in figures.items()}


def confidence_bins(
    room: BenchRoom, surface: SceneSurface, objects: bool, bins: int = 10
) -> NDArray[np.float64]:
    """
    Return vertices, sum of confidences and number that are right by interval, (bins, 3).

    Of the guessed vertices of lifted objects, or of the others. A vertex of the background is
    right within ``TOLERANCE_M``, one of an object within 1 % of the object's diagonal, for which
    its confidence stands; the diagonal is that of the box along the axes of the room.
    """
    guessed = ~surface.observed & ((surface.part != BACKGROUND) == objects)
    points = transform(room.made.T_room_camera, surface.mesh.vertices[guessed])
    tolerance = np.full(len(points), TOLERANCE_M)
    if objects:
        part = surface.part[guessed]
        for number in np.unique(part):
            whole = transform(
                room.made.T_room_camera, surface.mesh.vertices[surface.part == number])
            tolerance[part == number] = TOLERANCE_SHARE * np.linalg.norm(np.ptp(whole, axis=0))
    right = room.made.room.raycaster.distance(points) < tolerance
    confidence = surface.confidence[guessed].astype(np.float64)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    return np.stack([
        np.bincount(index, weights, bins)
        for weights in (np.ones(len(index)), confidence, right.astype(np.float64))], axis=1)
