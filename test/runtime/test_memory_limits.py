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

"""The memory that limits of control groups leave to a process."""

from __future__ import annotations

import math

import pytest

from lift3d_ros.runtime import memory

MIB = 1 << 20


def group(folder, version, limit, used=100 * MIB, cached=0):
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        1: ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file'),
        2: ('memory.max', 'memory.current', 'inactive_file'),
    }[version]
    (folder / names[0]).write_text(f'{limit}\n')
    (folder / names[1]).write_text(f'{used}\n')
    (folder / 'memory.stat').write_text(f'{names[2]} {cached}\n')


def left(tmp_path, membership):
    (tmp_path / 'cgroup').write_text(membership)
    groups = memory._control_groups(tmp_path / 'mount', tmp_path / 'cgroup')
    return min(map(memory._group_headroom_mib, groups), default=math.inf)


@pytest.mark.parametrize(('version', 'root', 'membership'), [
    (1, 'memory', '5:cpu:/\n4:memory:/robot.slice/lift3d\n0::/\n'),
    (2, '', '0::/robot.slice/lift3d\n'),
])
def test_the_tightest_group_counts_without_its_cached_files(tmp_path, version, root, membership):
    top = tmp_path / 'mount' / root
    group(top, version, 1 << 62)
    group(top / 'robot.slice', version, 400 * MIB, cached=20 * MIB)
    group(top / 'robot.slice/lift3d', version, 900 * MIB)
    assert left(tmp_path, membership) == 320


def test_in_a_container_the_root_is_the_group(tmp_path):
    group(tmp_path / 'mount', 2, 300 * MIB)
    assert left(tmp_path, '0::/../../docker/abc\n') == 200


@pytest.mark.parametrize('membership', ['', '0::/lift3d\n', '4:cpu:/lift3d\n'])
def test_without_a_limit_there_is_no_bound(tmp_path, membership):
    group(tmp_path / 'mount/lift3d', 2, 'max')
    assert left(tmp_path, membership) == math.inf
