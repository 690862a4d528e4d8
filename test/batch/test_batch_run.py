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


"""Batches in this process: files, resume, full disk, bags, the report."""

from __future__ import annotations

import errno
from html.parser import HTMLParser
import json
import os
import shutil

from batch_helpers import check_files
from batch_helpers import COARSE
from batch_helpers import results
from batch_helpers import WORK
from batch_helpers import write_scenes
from batch_helpers import write_tiny_scene
from command_helpers import run_here
import pytest
import trimesh

from lift3d_ros.batch import work as work_module
from lift3d_ros.batch.report import write_html
from lift3d_ros.batch.run import BatchSettings
from lift3d_ros.batch.run import run_batch
from lift3d_ros.batch.work import BagInputs
from lift3d_ros.batch.work import WorkSettings
from lift3d_ros.errors import LiftError

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return write_tiny_scene(tmp_path_factory.mktemp('tiny') / 'tiny')


@pytest.fixture
def scenes(tmp_path, tiny):
    """Return a folder of three scenes, the second without a mask."""
    paths = write_scenes(tmp_path / 'scenes', 3, tiny)
    (paths[1] / 'mask.png').unlink()
    return tmp_path / 'scenes'


class Page(HTMLParser):
    """The tags and texts of a page; asserts that the tags close in order."""

    VOID = ('meta', 'img', 'rect')

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.texts = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag == 'img':
            self.images.append(dict(attributes))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_a_batch_leaves_the_files_of_lift_and_goes_on_where_it_ended(scenes, tmp_path):
    out = tmp_path / 'out'
    summary = run_batch([scenes], out, WORK, None, BatchSettings(thumbnails=3))
    assert (summary.lifted, summary.failed, summary.skipped) == (2, 1, 0)
    assert summary.retried == 2
    assert not summary.ok
    records = results(out)
    check_files(out, records)
    failed = records['scenes/000/00001']
    assert (failed['error']['code'], failed['attempts']) == ('BAD_IMAGE', 3)
    mesh = trimesh.load(out / 'scenes/000/00000.ply')
    assert mesh.is_watertight
    assert len(mesh.faces) <= 2000
    listed = (out / 'failures.txt').read_text().splitlines()
    assert listed == ['# BAD_IMAGE', str(scenes / '000' / '00001')]

    # A second start has nothing to do; with --retry-failed only the failure, which is mended now.
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.ply')}
    again = run_batch([scenes], out, WORK, None)
    assert (again.lifted, again.failed, again.skipped, again.failures) == (0, 0, 3, 1)
    shutil.copy(scenes / '000/00000/mask.png', scenes / '000/00001/mask.png')
    mended = run_batch([scenes], out, WORK, None, BatchSettings(retry_failed=True))
    assert (mended.lifted, mended.skipped, mended.failures) == (1, 2, 0)
    assert mended.ok
    assert not (out / 'failures.txt').exists()
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_report_has_counts_errors_and_thumbnails(scenes, tmp_path):
    out = tmp_path / 'out'
    scenes.rename(tmp_path / 'a<b>&c')
    run_batch([tmp_path / 'a<b>&c'], out, WORK, None, BatchSettings(thumbnails=3))
    page = Page(write_html(out).read_text())
    assert sorted(image['alt'] for image in page.images) == [
        'a<b>&c/000/00000', 'a<b>&c/000/00002']
    assert all(image['src'].startswith('data:image/jpeg;base64,/9j/') for image in page.images)
    assert 'BAD_IMAGE' in page.texts
    assert 'a<b>&c/000/00001' in page.texts
    assert page.texts[page.texts.index('lifted') - 1] == '2'
    assert page.texts[page.texts.index('failed') - 1] == '1'


def test_a_killed_run_goes_on(scenes, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    work = work_module.ItemWorker.work

    def interrupted(self, item, picture=False):
        if item.key.endswith('2'):
            raise KeyboardInterrupt
        return work(self, item, picture)

    monkeypatch.setattr(work_module.ItemWorker, 'work', interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_batch([scenes], out, WORK, None, BatchSettings(retries=0))
    monkeypatch.undo()
    assert set(results(out)) == {'scenes/000/00000', 'scenes/000/00001'}
    summary = run_batch([scenes], out, WORK, None)
    assert (summary.lifted, summary.skipped, summary.failures) == (1, 2, 1)
    check_files(out, results(out))


def test_a_full_disk_ends_the_batch_and_loses_nothing(scenes, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    write = work_module.write_report

    def full(path, report):
        if path.stem == '00002':
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, report)

    monkeypatch.setattr(work_module, 'write_report', full)
    with pytest.raises(LiftError) as caught:
        run_batch([scenes], out, WORK, None, BatchSettings(retries=0))
    assert 'No space left' in caught.value.message
    monkeypatch.undo()
    records = results(out)
    assert {key[-1]: record['ok'] for key, record in records.items()} == {'0': True, '1': False}
    check_files(out, records)
    assert run_batch([scenes], out, WORK, None).lifted == 1
    check_files(out, results(out))


def test_the_command_has_exit_codes(scenes, tmp_path):
    out = tmp_path / 'out'
    command = ('batch', scenes / '000' / '00000', '--out', out, '--method', 'geometric',
               '--workers', 0)
    clustered = ('batch', scenes, '--out', tmp_path / 'clustered', '--method', 'geometric',
                 '--cluster')
    done = run_here(*command, '--report')
    assert done.returncode == 0, done.stderr
    assert json.loads((out / '00000.json').read_text())['method'] == 'geometric'
    assert (out / 'report.html').is_file()
    for arguments in (
        (*command, '--seed', '1'),                                   # results of other settings
        (*clustered, '127.0.0.1:1'),                                 # nobody listens there
        (*clustered, 'ray://127.0.0.1:1'),
        (*clustered, 'nonsense'),
        (*command, '--cluster', 'auto'),
        (*command, '--gpus-per-worker', '0.5'),
        ('batch', tmp_path / 'absent', '--out', tmp_path / 'other', '--workers', 0),
        (*command, '--retries', '-1'),
    ):
        refused = run_here(*arguments)
        assert refused.returncode == 2, arguments
        assert 'Traceback' not in refused.stderr
    assert not (tmp_path / 'other').exists()
    failing = run_here('batch', scenes / '000' / '00001', '--out', tmp_path / 'failed',
                       '--method', 'geometric', '--workers', 0, '--retries', 0)
    assert failing.returncode == 1
    assert results(tmp_path / 'failed')['00001']['attempts'] == 1


def test_without_ray_the_command_says_what_to_install(scenes, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'ray', None)
    done = run_here('batch', scenes, '--out', tmp_path / 'out', '--method', 'geometric')
    assert done.returncode == 2
    assert 'lift3d_ros[batch]' in done.stderr


def test_a_bag_is_lifted_in_parts_and_resumed(small_table_bag, tmp_path):
    work = WorkSettings(
        method=COARSE, lifter={'max_faces': 2000},
        bag_inputs=BagInputs(every=2, part_images=1))
    out = tmp_path / 'out'
    summary = run_batch([small_table_bag], out, work, None)
    records = results(out)
    parts = {key: record for key, record in records.items() if record['kind'] == 'part'}
    assert records['table']['images'] == len(parts) == 2
    reports = [json.loads(path.read_text()) for path in (out / 'table').glob('*.json')]
    assert len(reports) == summary.objects + summary.objects_failed >= 2
    assert {path.stem for path in (out / 'table').glob('*.ply')} == {
        path.stem for path in (out / 'table').glob('*.json')
        if json.loads(path.read_text())['ok']}
    again = run_batch([small_table_bag], out, work, None)
    assert (again.lifted, again.skipped) == (0, 3)
    # A part that is missing in the manifest is lifted again, without dividing the bag again.
    lines = (out / 'manifest.jsonl').read_text().splitlines(keepends=True)
    (out / 'manifest.jsonl').write_text(''.join(lines[:-1]))
    rest = run_batch([small_table_bag], out, work, None)
    assert (rest.lifted, rest.skipped) == (1, 2)
    assert set(results(out)) == set(records)


@pytest.fixture(scope='module')
def small_table_bag(tmp_path_factory):
    from lift3d_ros.synthetic.table_bag import TableBagSettings
    from lift3d_ros.synthetic.table_bag import write_table_bag

    path = tmp_path_factory.mktemp('bag') / 'table.mcap'
    write_table_bag(path, TableBagSettings(
        width=160, duration=3.0, image_rate=1.0, transform_rate=5.0))
    return path
