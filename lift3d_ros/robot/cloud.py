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


"""Clouds with normals in files, for grasp planners."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Cloud
from lift3d_ros.runtime.files import write_whole

#: One point of the file, under the names that Open3D, PCL and trimesh know.
_POINT = np.dtype([
    *((name, '<f4') for name in ('x', 'y', 'z', 'nx', 'ny', 'nz')),
    *((name, 'u1') for name in ('red', 'green', 'blue')),
    ('confidence', '<f4'),
    ('observed', 'u1'),
])


def write_cloud(cloud: Cloud, T_frame_object: Array, path: Path) -> None:
    """
    Write a cloud in the frame that ``T_frame_object`` (4, 4) maps it into, metres, as PLY.

    Raises ``OSError`` where the file cannot be written.
    """
    rows = np.zeros(len(cloud.points), _POINT)
    places = transform(T_frame_object, cloud.points)
    normals = rotate(T_frame_object, cloud.normals)
    for axis, name in enumerate('xyz'):
        rows[name], rows[f'n{name}'] = places[:, axis], normals[:, axis]
    for channel, name in enumerate(('red', 'green', 'blue')):
        rows[name] = cloud.colors[:, channel]
    rows['confidence'], rows['observed'] = cloud.confidence, cloud.observed
    kinds = {'f4': 'float', 'u1': 'uchar'}
    header = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(rows)}']
    header += [f'property {kinds[_POINT[name].str[1:]]} {name}' for name in _POINT.names or ()]
    header += ['end_header', '']
    write_whole(path, '\n'.join(header).encode() + rows.tobytes())
