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


"""Batches on Ray: a worker that is killed, a worker that cannot work, and no process left."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
import signal
import threading

from batch_helpers import check_files
from batch_helpers import results
from batch_helpers import WORK
from batch_helpers import write_scenes
from batch_helpers import write_tiny_scene
import psutil
import pytest

from lift3d_ros.batch.manifest import read_records
from lift3d_ros.batch.ray_pool import ClusterSettings
from lift3d_ros.batch.run import run_batch
from lift3d_ros.errors import LiftError

# Not imported here: the pool sets what Ray reads at its import.
pytestmark = [
    pytest.mark.usefixtures('one_thread'),
    pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason='ray is not installed'),
]

SCENES = 6


def ray_processes() -> list[psutil.Process]:
    """Return the processes of Ray below this one."""
    return [process for process in psutil.Process().children(recursive=True)
            if 'ray' in ' '.join(process.cmdline())]


def first_worker(out: Path) -> int | None:
    """Return the process of the worker that was the first to complete an item."""
    try:
        record = next(read_records(out), None)
    except LiftError:
        return None   # no manifest yet
    return None if record is None else int(record['worker'].rpartition(':')[2])


@pytest.fixture(scope='module')
def killed(tmp_path_factory):
    """Return summary and folder of a batch of which one worker was killed while it worked."""
    folder = tmp_path_factory.mktemp('ray')
    scene = write_tiny_scene(folder / 'tiny')
    write_scenes(folder / 'scenes', SCENES, scene)
    out = folder / 'out'
    ended, is_over = [], threading.Event()

    def kill_one():
        # It has its next item already.
        while not is_over.wait(0.01) and not ended:
            pid = first_worker(out)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                ended.append(pid)

    thread = threading.Thread(target=kill_one)
    thread.start()
    said = []
    try:
        summary = run_batch(
            [folder / 'scenes'], out, WORK, ClusterSettings(workers=2), say=said.append)
    finally:
        is_over.set()
        thread.join()
    return summary, out, ended, said


def test_a_killed_worker_costs_one_attempt(killed):
    summary, out, pids, said = killed
    assert len(pids) == 1
    assert summary.ok
    assert (summary.lifted, summary.failed, summary.lost) == (SCENES, 0, 1)
    records = results(out)
    assert len(records) == SCENES
    check_files(out, records)
    assert sum(record['attempts'] for record in records.values()) - SCENES == summary.retried <= 1
    assert any(str(pids[0]) in text for text in said)
    places = {record['worker'] for record in records.values()}
    assert len(places) >= 2


def test_no_process_of_ray_is_left(killed):
    assert [process.cmdline() for process in ray_processes()] == []
