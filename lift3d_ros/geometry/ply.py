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

"""PLY files: vertices with any properties, and triangles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Names of the types of properties.
_TYPES = {'f4': 'float', 'u1': 'uchar'}

#: A triangle: the number of its corners, and their vertices.
_TRIANGLE = np.dtype([('count', 'u1'), ('corners', '<i4', (3,))])


def ply_bytes(
    vertices: NDArray[np.void], faces: NDArray[np.int32] | None = None
) -> bytes:
    """
    Return a binary PLY file.

    ``vertices`` (n,) is a structured array whose fields, little-endian float32 or uint8, are the
    properties of a vertex; ``faces`` is (m, 3), None for a cloud.
    """
    header = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(vertices)}']
    for name in vertices.dtype.names or ():
        header.append(f'property {_TYPES[vertices.dtype[name].str[1:]]} {name}')
    body = vertices.tobytes()
    if faces is not None:
        rows = np.zeros(len(faces), _TRIANGLE)
        rows['count'], rows['corners'] = 3, faces
        header += [f'element face {len(faces)}', 'property list uchar int vertex_indices']
        body += rows.tobytes()
    return '\n'.join([*header, 'end_header', '']).encode() + body
