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
Seconds that convex parts of scans take, and how well the parts stand for them.

For example, with one thread, where an idle core takes as many seconds as the processor worked::

    OMP_NUM_THREADS=1 python -m lift3d_ros.bench.timing.convex_parts DIR --objects 6

DIR holds objects, as ``lift3d bench --data``; each is brought to as many faces as a lifted mesh
has at most.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import sys
import time

import numpy as np

from lift3d_ros.bench.metrics import LATTICE
from lift3d_ros.bench.metrics import Solid
from lift3d_ros.bench.run import choose_objects
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.isosurface import decimate
from lift3d_ros.robot.convex import convex_parts
from lift3d_ros.robot.convex import load_coacd
from lift3d_ros.robot.convex import MAX_PARTS

#: Faces of a lifted mesh, at most, unless told otherwise.
FACES = 20_000


@dataclass(frozen=True)
class Figures:
    """
    What parts of a mesh cost and are.

    - ``faces``: of the mesh; ``parts``: their number.
    - ``seconds``: that went by; ``processor``: of all threads.
    - ``excess``: volume of the parts outside of the mesh, ``missing``: of the mesh outside of the
      parts, both as shares of the volume of the mesh.
    - ``left_out_mm``: how far a vertex of the mesh is outside of the parts, at most.
    """

    faces: int
    parts: int
    seconds: float
    processor: float
    excess: float
    missing: float
    left_out_mm: float


def measure(mesh: Mesh, max_parts: int = MAX_PARTS) -> Figures:
    """Return the figures of a mesh; raises ``LiftError`` as ``convex_parts`` does."""
    load_coacd()
    wall, processor = time.perf_counter(), time.process_time()
    parts = convex_parts(mesh, max_parts)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    solids, scan = [Solid(part) for part in parts], Solid(mesh)
    middles = (np.arange(LATTICE) + 0.5) / LATTICE
    axes = [low + middles * side
            for low, side in zip(scan.low, scan.high - scan.low, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
    inside = scan.contains(points)
    taken = np.any([solid.contains(points) for solid in solids], axis=0)
    volume = max(np.count_nonzero(inside), 1)
    beyond = np.min(
        [np.where(solid.contains(mesh.vertices), 0.0, solid.distance(mesh.vertices))
         for solid in solids],
        axis=0,
    )
    return Figures(
        faces=len(mesh.faces),
        parts=len(parts),
        seconds=wall,
        processor=processor,
        excess=np.count_nonzero(taken & ~inside) / volume,
        missing=np.count_nonzero(inside & ~taken) / volume,
        left_out_mm=1000.0 * float(beyond.max()),
    )


def with_faces(mesh: Mesh, count: int) -> Mesh:
    """Return a mesh with about ``count`` faces: divided, and then simplified."""
    solid = mesh.to_trimesh()
    while len(solid.faces) < count:
        solid = solid.subdivide()
    vertices, faces = decimate(
        np.asarray(solid.vertices, np.float32), np.asarray(solid.faces, np.int32), count, 3.0
    )
    return Mesh(vertices.astype(np.float32), faces, np.zeros((len(vertices), 3), np.uint8))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure objects, print a line for each, and return 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, metavar='DIR')
    parser.add_argument('--split', metavar='NAME')
    parser.add_argument('--objects', type=int, metavar='N', help='evenly spread (default: all)')
    parser.add_argument('--faces', type=int, default=FACES, metavar='N')
    options = parser.parse_args(arguments)
    try:
        objects, _ = choose_objects(options.data, options.split, options.objects, scenes=True)
        print('object: faces, parts, seconds, seconds of processor, volume too much, volume '
              'missing, vertices left out by at most')
        for entry in objects:
            found = measure(with_faces(entry.load(), options.faces))
            print(
                f'{entry.name}: {found.faces}, {found.parts}, {found.seconds:.2f} s, '
                f'{found.processor:.2f} s, {100.0 * found.excess:.0f} %, '
                f'{100.0 * found.missing:.1f} %, {found.left_out_mm:.1f} mm',
                flush=True,
            )
    except LiftError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
