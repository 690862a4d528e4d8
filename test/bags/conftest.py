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

"""Frames of the synthetic table, rendered once for all tests of bags."""

from __future__ import annotations

from pathlib import Path

import pytest

from lift3d_ros.synthetic.table_bag import render_frames
from lift3d_ros.synthetic.table_bag import TableBagSettings
from lift3d_ros.synthetic.table_bag import TableFrame
from lift3d_ros.synthetic.table_bag import write_table_bag

#: Five small images in four seconds, for tests of files.
SMALL = TableBagSettings(width=96, duration=4.0, image_rate=1.0, transform_rate=5.0)

#: Twenty seconds, for tests of lifts.
TABLE = TableBagSettings(width=320, duration=20.0, image_rate=1.0, transform_rate=10.0)


@pytest.fixture(scope='session')
def small_frames() -> list[TableFrame]:
    """Return the frames of ``SMALL``."""
    return list(render_frames(SMALL))


@pytest.fixture(scope='session')
def table_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bag of ``TABLE``, one MCAP file."""
    path = tmp_path_factory.mktemp('table') / 'table.mcap'
    write_table_bag(path, TABLE)
    return path
