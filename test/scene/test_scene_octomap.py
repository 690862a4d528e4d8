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
"""The files of voxels: an OctoMap that another reader understands."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from lift3d_ros.scene.octomap import write_octomap
from lift3d_ros.scene.voxel_map import Occupancy
from lift3d_ros.scene.voxel_map import VoxelMap


def read_octomap(path):
    """Return resolution, number of nodes, and leaves (key, depth, occupied), as OctoMap does."""
    data = path.read_bytes()
    header, body = data.split(b'\ndata\n', 1)
    lines = header.decode().splitlines()
    assert lines[0] == '# Octomap OcTree binary file'
    entries = dict(line.split(' ', 1) for line in lines if not line.startswith('#'))
    assert entries['id'] == 'OcTree'
    leaves, position, nodes = [], 0, 1

    def node(key, depth):
        nonlocal position, nodes
        word = struct.unpack_from('<H', body, position)[0]
        position += 2
        inner = []
        for child in range(8):
            code = word >> 2 * child & 3
            offset = np.array([child & 1, child >> 1 & 1, child >> 2 & 1])
            half = 2 ** (15 - depth)
            nodes += code != 0
            if code == 3:
                inner.append(key + half * offset)
            elif code:
                leaves.append((key + half * offset, half, code == 2))
        for start in inner:
            node(start, depth + 1)

    node(np.zeros(3, int), 0)
    assert position == len(body)
    return float(entries['res']), int(entries['size']), nodes, leaves


@pytest.fixture(params=['random', 'halves', 'single'])
def grid(request):
    states = np.zeros((9, 6, 5), np.uint8)
    if request.param == 'random':
        states = np.random.default_rng(3).integers(0, 4, states.shape).astype(np.uint8)
    elif request.param == 'halves':
        states[:] = Occupancy.FREE
        states[:4] = Occupancy.OCCUPIED
    else:
        states[2, 3, 4] = Occupancy.OCCUPIED
    return VoxelMap(states, np.array([-0.4, 0.2, -0.1]), 0.1, np.eye(4))


def test_the_octree_has_the_states_of_the_map(grid, tmp_path):
    write_octomap(tmp_path / 'map.bt', grid)
    resolution, size, nodes, leaves = read_octomap(tmp_path / 'map.bt')
    assert (resolution, size) == (grid.resolution, nodes)
    found = np.zeros_like(grid.states)
    first = np.rint(grid.origin / grid.resolution).astype(int) + 32768
    for key, side, occupied in leaves:
        low = np.maximum(key - first, 0)
        high = np.maximum(key + side - first, 0)
        block = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        found[block] = Occupancy.OCCUPIED if occupied else Occupancy.FREE
    expected = np.where(grid.states == Occupancy.PREDICTED, Occupancy.OCCUPIED, grid.states)
    np.testing.assert_array_equal(found, expected)


def test_equal_neighbours_are_one_leaf(tmp_path):
    grid = VoxelMap(np.full((8, 8, 8), Occupancy.FREE, np.uint8), np.zeros(3), 0.1, np.eye(4))
    write_octomap(tmp_path / 'map.bt', grid)
    *_, leaves = read_octomap(tmp_path / 'map.bt')
    assert [side for _, side, _ in leaves] == [8]
