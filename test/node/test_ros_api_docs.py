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
The parameter table of the ROS API page is the one that the specifications print.

To renew it: ``LIFT3D_RENEW_DOCS=1 python -m pytest test/node/test_ros_api_docs.py``.
"""

from __future__ import annotations

import os
from pathlib import Path
import re

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lift3d_ros.errors import ErrorCode
from lift3d_ros.node.parameters.reference import markdown_table

pytestmark = pytest.mark.ros

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'ros_api.md'

TABLE = re.compile(r'(?<=<!-- parameters -->\n).*?(?=<!-- end -->)', re.DOTALL)


def test_parameter_table_is_current():
    text = PAGE.read_text()
    table = TABLE.search(text)
    assert table is not None
    if os.environ.get('LIFT3D_RENEW_DOCS') == '1':
        PAGE.write_text(f'{text[:table.start()]}{markdown_table()}{text[table.end():]}')
    else:
        assert table[0] == markdown_table()


def test_every_error_code_is_in_the_table_of_errors():
    errors = PAGE.read_text().split('\n## Errors\n')[1].split('\n## ')[0]
    first_column = ' '.join(re.findall(r'^\| ([^|]*) \|', errors, re.MULTILINE))
    named = set(re.findall(r'`([A-Z_]+)`', first_column))
    assert named == {code.value for code in ErrorCode}
