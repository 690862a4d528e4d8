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

"""Frames to compare: real ones, rendered ones in the same conditions, and rendered ones of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.real_frames import find_real
from lift3d_ros.bench.real_frames import read_real
from lift3d_ros.bench.realism.conditions import CONDITIONS
from lift3d_ros.bench.realism.conditions import ObjectKind
from lift3d_ros.bench.realism.shape_traits import longest_axis
from lift3d_ros.bench.realism.shape_traits import shape_traits
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.real_like import make_real_like_scene
from lift3d_ros.synthetic.real_like import RealLikeScene

#: Ranges of the sides of rendered objects of any kind, metres, from the longest to the shortest:
#: around those of the real ones (0.19 to 0.21, 0.1 to 0.18, 0.05 to 0.11), so that millimetres can
#: be compared. The sides are those of the box along the axes of the scan.
_SIDES_M = ((0.13, 0.26), (0.06, 0.22), (0.035, 0.16))

#: Other objects around one.
_OTHERS = 5

#: Scenes that are rendered for one with the line of sight of its condition.
_MAX_DRAWS = 12


@dataclass(frozen=True, eq=False)
class Sample:
    """
    A frame with depth, its mask, bool (height, width), and the true mesh in the optical frame.

    ``record``: what is known of the situation.
    """

    name: str
    frame: Frame
    mask: NDArray[np.bool_]
    mesh: Mesh
    record: dict[str, str | float]


def real_samples(folder: Path, data: Path) -> Iterator[Sample]:
    """Yield the real frames that have depth and truth."""
    for path in find_real(folder):
        frame, mask, truth = read_real(path, data)
        if truth is not None and frame.depth is not None:
            mesh = truth.mesh.transformed(truth.T_camera_object)
            yield Sample(path.name, frame, mask, mesh, {})


def rendered_samples(data: Path, split: str | None, count: int, seed: int) -> Iterator[Sample]:
    """Yield scenes of up to ``count`` objects of any kind, of a comparable size."""
    entries = find_objects(data, split)
    rng = np.random.default_rng([seed, 0x4EA1])
    done = 0
    for index in rng.permutation(len(entries)):
        mesh = entries[index].load()
        sides = np.sort(np.ptp(mesh.vertices, axis=0))[::-1]
        if not all(low <= side <= high for side, (low, high) in zip(sides, _SIDES_M, strict=True)):
            continue
        others = _draw_others(entries, rng)
        scene = make_real_like_scene(mesh, seed + done, others)
        yield _sample(entries[index], scene)
        done += 1
        if done == count:
            return


def matched_samples(data: Path, split: str | None, count: int, seed: int) -> Iterator[Sample]:
    """
    Yield ``count`` scenes in the conditions of the real frames, of objects of the same kinds.

    All objects of a kind are shown before one is shown again. Conditions for whose kind there is
    no object are left out; without any nothing is yielded.
    """
    entries = find_objects(data, split)
    traits = [shape_traits(entry.load()) for entry in entries]
    rng = np.random.default_rng([seed, 0x4EA2])
    order = rng.permutation(len(entries))
    members: dict[ObjectKind, list[int]] = {
        kind: [index for index in order if kind.includes(traits[index])]
        for kind in dict.fromkeys(condition.kind for condition in CONDITIONS)
    }
    for done in range(count):
        condition = CONDITIONS[done % len(CONDITIONS)]
        waiting = members[condition.kind]
        if not waiting:
            continue
        index = waiting.pop(0)
        waiting.append(index)
        size = rng.uniform(*condition.kind.diagonal_m) / traits[index].diagonal_m
        mesh = entries[index].load()
        mesh = replace(mesh, vertices=mesh.vertices * np.float32(size))
        others = _draw_others(entries, rng)
        for draw in range(_MAX_DRAWS):
            drawn = (seed + done) * _MAX_DRAWS + draw
            scene = make_real_like_scene(mesh, drawn, others, condition.settings)
            if condition.axis_deg[0] <= _axis_angle(scene) <= condition.axis_deg[1]:
                break
        yield _sample(entries[index], scene, condition.name)


def _draw_others(entries: list[ObjectEntry], rng: np.random.Generator) -> list[Mesh]:
    return [entries[k].load() for k in rng.integers(len(entries), size=_OTHERS)]


def _axis_angle(scene: RealLikeScene) -> float:
    """Return the angle between the longest axis of the object and the line of sight, degrees."""
    mesh = scene.mesh_in_camera()
    middle = mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)
    cosine = abs(float(longest_axis(mesh) @ unit(middle)))
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def _sample(entry: ObjectEntry, scene: RealLikeScene, condition: str = '') -> Sample:
    record = {
        'condition': condition,
        'category': entry.category,
        'elevation_deg': round(scene.elevation, 1),
        'axis_deg': round(_axis_angle(scene), 1),
        'occlusion': round(scene.occlusion, 3),
        **scene.situation.record(),
    }
    return Sample(entry.name, scene.frame, scene.detection, scene.mesh_in_camera(), record)
