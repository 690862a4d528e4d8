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
Seconds of the convex decomposition of scans, and how well the parts fit them.

For example, with one thread, where busy seconds are those of an idle core::

    OMP_NUM_THREADS=1 python -m lift3d_ros.bench.timing parts DIR --objects 6

DIR holds objects, as for ``lift3d bench --data``; each is remeshed to the largest number of faces
of a lifted mesh.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lift3d_ros.bench.metrics import lattice_points
from lift3d_ros.bench.metrics import Solid
from lift3d_ros.bench.run import choose_objects
from lift3d_ros.bench.timing import harness
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.isosurface import decimate
from lift3d_ros.robot.convex import convex_parts
from lift3d_ros.robot.convex import load_coacd
from lift3d_ros.robot.convex import MAX_PARTS

#: Default bound of the faces of a lifted mesh.
FACES = 20_000


@dataclass(frozen=True)
class Parts:
    """
    Cost and fit of the parts of a mesh.

    - ``faces``: of the mesh; ``parts``: their number.
    - ``seconds``: on the clock; ``processor``: of all threads.
    - ``excess``: volume of the parts outside of the mesh, ``missing``: of the mesh outside of the
      parts, both as shares of the volume of the mesh.
    - ``left_out_mm``: largest distance of a vertex of the mesh outside of the parts.
    """

    faces: int
    parts: int
    seconds: float
    processor: float
    excess: float
    missing: float
    left_out_mm: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('data', type=Path, metavar='DIR')
    parser.add_argument('--split', metavar='NAME')
    parser.add_argument(
        '--objects', type=harness.at_least_one, metavar='N', help='evenly spread (default: all)')
    parser.add_argument('--faces', type=harness.at_least_one, default=FACES, metavar='N')


def run(options: argparse.Namespace) -> harness.Figures:
    """Return the figures of every object by its name."""
    objects, _ = choose_objects(options.data, options.split, options.objects, scenes=True)
    return {'objects': {
        entry.name: asdict(measure(with_faces(entry.load(), options.faces))) for entry in objects
    }}


def as_rows(figures: harness.Figures) -> list[list[str]]:
    """Return a row for each object."""
    rows = [['object', 'faces', 'parts', 'seconds', 'of processor', 'excess volume',
             'missing volume', 'vertices outside by at most']]
    for name, values in figures['objects'].items():
        parts = Parts(**values)
        rows.append([
            name, str(parts.faces), str(parts.parts), f'{parts.seconds:.2f} s',
            f'{parts.processor:.2f} s', f'{100.0 * parts.excess:.0f} %',
            f'{100.0 * parts.missing:.1f} %', f'{parts.left_out_mm:.1f} mm'])
    return rows


def measure(mesh: Mesh, max_parts: int = MAX_PARTS) -> Parts:
    """Return the figures of a mesh; raises ``LiftError`` as ``convex_parts`` does."""
    load_coacd()
    seconds, parts = harness.timed(lambda: convex_parts(mesh, max_parts))
    solids, scan = [Solid(part) for part in parts], Solid(mesh)
    points = lattice_points(scan.low, scan.high)
    inside = scan.contains(points)
    covered = np.any([solid.contains(points) for solid in solids], axis=0)
    volume = max(np.count_nonzero(inside), 1)
    outside = np.min(
        [np.where(solid.contains(mesh.vertices), 0.0, solid.distance(mesh.vertices))
         for solid in solids],
        axis=0,
    )
    return Parts(
        faces=len(mesh.faces),
        parts=len(parts),
        seconds=seconds.clock,
        processor=seconds.busy,
        excess=np.count_nonzero(covered & ~inside) / volume,
        missing=np.count_nonzero(inside & ~covered) / volume,
        left_out_mm=1000.0 * float(outside.max()),
    )


def with_faces(mesh: Mesh, count: int) -> Mesh:
    """Return a mesh with about ``count`` faces: subdivided, and then simplified."""
    solid = mesh.to_trimesh()
    while len(solid.faces) < count:
        solid = solid.subdivide()
    vertices, faces = decimate(
        np.asarray(solid.vertices, np.float32), np.asarray(solid.faces, np.int32), count, 3.0
    )
    return Mesh(vertices.astype(np.float32), faces, np.zeros((len(vertices), 3), np.uint8))
