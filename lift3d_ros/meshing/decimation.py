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

"""Fewer faces for a mesh, from any thread."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Floats

#: fast-simplification keeps the mesh that it works on in variables of the process from one of its
#: calls to the next; two meshes at once would be mixed up.
_LOCK = threading.Lock()


def decimate(
    vertices: Floats,
    faces: NDArray[np.integer],
    target: int,
    aggressiveness: float = 7.0,
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """
    Return vertices (n, 3) and faces (m, 3) of a mesh with about ``target`` faces.

    Quadric error metrics (Garland and Heckbert, 1997) by the package fast-simplification, which
    may stop short of its target. A lower ``aggressiveness`` takes longer and keeps more of the
    shape.
    """
    import fast_simplification

    with _LOCK:
        fewer, triangles = fast_simplification.simplify(
            vertices, faces, target_count=target, agg=aggressiveness
        )
    return np.asarray(fewer, np.float64), np.asarray(triangles, np.int32)
