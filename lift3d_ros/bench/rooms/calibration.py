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
The confidence of guessed surfaces of scenes, from rooms with objects of the train split.

``python -m lift3d_ros.bench.rooms.calibration --data DIR --rooms N`` prints the constants of
``scene/background.py`` and ``scene/prior/fill.py``: the share of guesses within 2 cm of a true
surface, by their distance from what was measured, and the curve fitted to it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.rooms.measures import TOLERANCE_M
from lift3d_ros.bench.rooms.truth import BenchRoom
from lift3d_ros.bench.rooms.truth import make_bench_room
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import transform
from lift3d_ros.scene.background import hidden_layer
from lift3d_ros.scene.parts import hidden_surface
from lift3d_ros.scene.parts import joined
from lift3d_ros.scene.parts import measured_depth
from lift3d_ros.scene.parts import measured_surface
from lift3d_ros.scene.planes import find_planes
from lift3d_ros.scene.prior.completion import ANCHORS
from lift3d_ros.scene.prior.fill import fill_nearest
from lift3d_ros.scene.prior.fill import fill_planes
from lift3d_ros.scene.prior.inputs import is_hidden
from lift3d_ros.scene.prior.inputs import KnownScene
from lift3d_ros.scene.prior.inputs import picture_camera
from lift3d_ros.scene.reduction import reduced_mask
from lift3d_ros.synthetic.objects import find_objects

#: Distances from what is known at which shares are taken, metres.
_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 2.0)

#: Guessed points by kind: distance from what was measured, and whether they are right.
Samples = dict[str, list[tuple[NDArray[np.float32], NDArray[np.bool_]]]]


def collect(room: BenchRoom, masked: bool, samples: Samples) -> None:
    """Add the guesses of one room; ``masked``: its objects are no background."""
    frame = room.made.frame
    depth, camera = measured_depth(frame), frame.camera
    foreground = np.zeros(depth.shape, bool)
    if masked:
        for mask in room.made.masks.values():
            foreground |= reduced_mask(mask, depth.shape)
    around = np.where(foreground, np.float32(0.0), depth)
    planes = find_planes(around, camera, frame.gravity, np.random.default_rng(0))
    layer = hidden_layer(depth, frame.image, camera, foreground, planes)
    points = camera.rays() * layer.depth[..., None]
    guessed = layer.depth > 0.0
    for kind, chosen in (
        ('plane', guessed & (layer.plane >= 0)), ('interpolated', guessed & (layer.plane < 0))
    ):
        samples[kind].append((layer.distance[chosen], _right(room, points[chosen])))
    surface = joined([
        measured_surface(frame, foreground), hidden_surface(frame, foreground, planes)])
    scene, eye = KnownScene(frame, surface, planes), picture_camera(camera)
    up = -np.asarray(frame.gravity, np.float64)
    for pose, (kind, fill) in itertools.product(
        _anchor_poses(depth, up), (('continued plane', fill_planes), ('nearest', fill_nearest))
    ):
        known = scene.view(eye, pose)
        filled = fill(known, scene.scale)
        predicted = transform(pose, eye.rays() * filled.depth[..., None])
        hidden = is_hidden(frame, predicted.reshape(-1, 3)).reshape(known.inverse.shape)
        used = (known.inverse <= 0.0) & hidden
        chosen = used & (filled.on_plane if kind != 'nearest' else True)
        samples[kind].append((filled.away[chosen], _right(room, predicted[chosen])))


def fit(distance: Array, right: NDArray[np.bool_]) -> tuple[float, float, list[str]]:
    """
    Return a and r of the share a exp(-d / r) that is right at distances (n,), and a table.

    Least squares over the intervals, weighted by their numbers.
    """
    table, centres, shares, counts = [], [], [], []
    for low, high in zip(_EDGES[:-1], _EDGES[1:], strict=True):
        inside = (distance >= low) & (distance < high)
        if inside.sum() >= 50:
            centres.append(distance[inside].mean())
            shares.append(right[inside].mean())
            counts.append(inside.sum())
            table.append(
                f'{low:.2f} to {high:.2f} m: {shares[-1]:.3f} of {counts[-1]}')
    if not centres:
        return 0.0, 1.0, table
    best, found = np.inf, (0.0, 1.0)
    x, y, weight = (np.asarray(values, np.float64) for values in (centres, shares, counts))
    for reach in np.geomspace(0.02, 20.0, 120):
        shape = np.exp(-x / reach)
        start = min(float((weight * shape * y).sum() / (weight * shape**2).sum()), 1.0)
        error = float((weight * (start * shape - y)**2).sum())
        if error < best:
            best, found = error, (start, float(reach))
    return *found, table


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the constants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', type=Path, required=True, help='objects with a train split')
    parser.add_argument('--rooms', type=int, default=24, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=1000, help='default: %(default)s')
    options = parser.parse_args(arguments)
    samples: Samples = defaultdict(list)
    entries = find_objects(options.data, 'train')
    for number in range(options.rooms):
        try:
            room = make_bench_room(number, entries, options.seed)
        except LiftError as error:
            print(error)
            continue
        for masked in (True, False):
            collect(room, masked, samples)
    for kind, parts in samples.items():
        distance, right = (np.concatenate(values) for values in zip(*parts, strict=True))
        share, reach, table = fit(distance.astype(np.float64), right)
        mean = float(right.mean()) if len(right) else 0.0
        print(f'{kind}: {mean:.3f} of {len(right)} right; {share:.3f} exp(-d / {reach:.3f} m)')
        for line in table:
            print(f'    {line}')


def _anchor_poses(depth: NDArray[np.float32], up: Array) -> list[Array]:
    from lift3d_ros.scene.novel_views import middle_depth
    from lift3d_ros.scene.novel_views import turned_about

    return [turned_about(middle_depth(depth), up, degrees) for degrees in ANCHORS]


def _right(room: BenchRoom, points: Array) -> NDArray[np.bool_]:
    """Return which points (n, 3) of the optical frame are near a true surface."""
    if not len(points):
        return np.zeros(0, bool)
    world = transform(room.made.T_room_camera, points)
    return np.asarray(room.made.room.raycaster.distance(world) < TOLERANCE_M)


if __name__ == '__main__':
    main()
