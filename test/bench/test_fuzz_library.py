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

"""Damaged files are read or refused with an error, and the fuzzer finds what is neither."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from lift3d_ros.bench.robustness import fuzz_library
from lift3d_ros.bench.robustness.targets import Target
from lift3d_ros.errors import bad_image
from lift3d_ros.synthetic.damage import damaged_bytes
from lift3d_ros.synthetic.damage import damaged_value


def test_damaged_scenes_bags_and_weights_are_read_or_refused(tmp_path, capsys):
    assert fuzz_library.main(['--cases', '150', '--out', str(tmp_path)]) == 0
    assert '150 cases, 0 faults' in capsys.readouterr().out
    found = json.loads((tmp_path / 'fuzz_library.json').read_text())
    assert {name: sum(counts.values()) for name, counts in found['outcomes'].items()} == {
        'scene': 30, 'bag': 30, 'weights': 30, 'sqlite': 30, 'checkpoints': 30}
    # Most faults of a picture or of weights are noticed.
    assert found['outcomes']['weights'].get('WEIGHTS_CORRUPT', 0) > 24
    assert found['outcomes']['checkpoints'].get('WEIGHTS_CORRUPT', 0) > 15


@pytest.fixture
def file(tmp_path):
    (tmp_path / 'a.json').write_text('{"a": [1.0, 2.0], "b": "text"}')
    return tmp_path


def outcomes(read, file, cases=20, timeout=0.2):
    target = Target('file', file, ['a.json'], lambda folder: None)
    target._read = read
    target.good = None
    return fuzz_library.run([target], 0, cases, 0, timeout)


def test_another_exception_is_a_fault_with_its_trace(file):
    def read(folder):
        json.loads((folder / 'a.json').read_text())

    found = outcomes(read, file)
    assert found['faults']
    assert all(fault['outcome'] != 'read' for fault in found['faults'])
    assert 'json' in found['faults'][0]['trace']


def test_a_reader_that_does_not_return_is_a_fault(file):
    def read(folder):
        if (folder / 'a.json').is_file() and '"b"' in (folder / 'a.json').read_text('latin1'):
            return
        while True:
            try:
                time.sleep(1.0)
            except Exception:
                continue

    found = outcomes(read, file)
    assert {'HANG'} == {fault['outcome'] for fault in found['faults']}


def test_an_error_of_the_package_is_none_and_the_good_file_comes_back(file):
    before = (file / 'a.json').read_text()

    def read(folder):
        if not (folder / 'a.json').is_file() or (folder / 'a.json').read_text('latin1') != before:
            raise bad_image('damaged')

    found = outcomes(read, file)
    assert found['faults'] == []
    assert (file / 'a.json').read_text() == before


def test_a_good_input_that_is_read_differently_is_a_fault(file):
    answers = iter(range(1000))
    found = outcomes(lambda folder: next(answers), file)
    assert [fault['damage'] for fault in found['faults']] == ['none']


def test_damage_is_the_same_for_a_seed_and_leaves_its_input():
    value = {'K': [[1.0, 0.0], [0.0, 1.0]], 'width': 3}
    text = json.dumps(value)
    made = [json.dumps(damaged_value(value, np.random.default_rng(k))) for k in range(50)]
    assert made == [json.dumps(damaged_value(value, np.random.default_rng(k))) for k in range(50)]
    assert json.dumps(value) == text
    assert sum(one != text for one in made) > 40
    data = bytes(range(100))
    assert sum(damaged_bytes(data, np.random.default_rng(k)) != data for k in range(50)) > 40
    assert damaged_bytes(b'', np.random.default_rng(0)) is not None
