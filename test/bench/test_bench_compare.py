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


"""The paired comparison of two runs."""

from __future__ import annotations

import numpy as np
import pytest

from lift3d_ros.bench.reporting.comparison import compare
from lift3d_ros.bench.reporting.comparison import differences
from lift3d_ros.bench.results import Results
from lift3d_ros.cli import main
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


def row(name, contender='one2345', view=0, **figures):
    """Return a row of results."""
    return {'scene': f'{name}_{view}', 'object': name, 'track': 'rgbd', 'contender': contender,
            'ok': True, 'error': None, 'scene_seed': 7, **figures}


def written(folder, *rows):
    """Write rows as a folder of results; return the folder."""
    Results(folder, {}).append(rows)
    return folder


def cells(text):
    """Return the cells of the tables by their first one."""
    lines = [line for line in text.splitlines() if line.startswith('| ')]
    return {parts[0]: parts[1:] for parts in (
        [cell.strip() for cell in line.strip('|').split('|')] for line in lines)}


def test_the_difference_is_over_pairs_with_the_error_of_its_mean():
    before = [row(name, chamfer_mm=value) for name, value in zip(
        'abcd', (1, 20, 3, 40), strict=True)]
    after = [row(name, chamfer_mm=value) for name, value in zip(
        'abcd', (2, 22, 2, 42), strict=True)]
    found = differences(zip(before, after, strict=True), 'chamfer_mm')
    changes = [1, 2, -1, 2]
    assert found['difference'] == pytest.approx(np.mean(changes))
    assert found['error'] == pytest.approx(np.std(changes, ddof=1) / 2.0)
    assert (found['higher'], found['lower'], found['objects']) == (3, 1, 4)
    assert (found['first'], found['second']) == (16.0, 17.0)


def test_scenes_of_one_object_are_one_sample():
    before = [row('a', view=0, iou=0.5), row('a', view=1, iou=0.7), row('b', iou=0.4)]
    after = [row('a', view=0, iou=0.6), row('a', view=1, iou=1.0), row('b', iou=0.4)]
    found = differences(zip(before, after, strict=True), 'iou')
    assert found['objects'] == 2
    assert found['difference'] == pytest.approx(np.mean([0.2, 0.0]))


def test_the_table_says_in_how_many_scenes_the_second_is_better(tmp_path):
    one = written(tmp_path / 'one', *(
        row(name, iou=0.5, chamfer_mm=4.0, genus=0.0) for name in 'abc'))
    two = written(tmp_path / 'two', *(
        row(name, iou=iou, chamfer_mm=3.0, genus=1.0)
        for name, iou in zip('abx', (0.6, 0.4, 0.9), strict=True)))
    found = cells(compare(one, two))
    assert found['IoU'] == ['0.500', '0.500', '+0.000', '0.100', '1', '1', '2']
    assert found['chamfer mm'][2:] == ['-1.00', '0.00', '2', '0', '2']
    assert found['genus'][4:6] == ['-', '-']


def test_a_failure_counts_zero_in_shares_and_not_in_lengths(tmp_path):
    one = written(tmp_path / 'one', *(row(name, iou=0.5, chamfer_mm=4.0) for name in 'ab'))
    two = written(
        tmp_path / 'two', row('a', iou=0.5, chamfer_mm=4.0), row('b', iou=0.0) | {'ok': False})
    text = compare(one, two)
    assert 'failed 0 in A, 1 in B' in text
    assert cells(text)['IoU'][2] == '-0.250'
    assert cells(text)['chamfer mm'][2:] == ['+0.00', '0.00', '0', '0', '1']


def test_single_predictors_of_both_runs_are_compared(tmp_path):
    one = written(tmp_path / 'one', *(row(name, 'geometric', iou=0.5) for name in 'ab'))
    two = written(tmp_path / 'two', *(row(name, 'one2345', iou=0.75) for name in 'ab'))
    assert cells(compare(one, two))['IoU'][2] == '+0.250'


@pytest.mark.parametrize(
    'rows', [[row('z', iou=0.5)], [row('a', iou=0.5) | {'scene_seed': 8}]],
    ids=['other scenes', 'other seeds'])
def test_what_is_not_the_same_scene_is_not_compared(tmp_path, rows):
    one, two = written(tmp_path / 'one', row('a', iou=0.5)), written(tmp_path / 'two', *rows)
    with pytest.raises(LiftError) as caught:
        compare(one, two)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_the_command_compares_and_names_a_folder_without_results(tmp_path, capsys):
    one, two = (written(tmp_path / name, row('a', iou=iou), row('b', iou=0.5))
                for name, iou in (('one', 0.5), ('two', 0.75)))
    assert main(['bench', '--compare', str(one), str(two)]) == 0
    assert cells(capsys.readouterr().out)['IoU'][2] == '+0.125'
    assert main(['bench', '--compare', str(one), str(tmp_path)]) == 2
    assert str(tmp_path / 'rows.jsonl') in capsys.readouterr().err
