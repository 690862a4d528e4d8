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
Batches that lose workers and nodes: nothing is lost, nothing is done twice.

``LIFT3D_BATCH_SCENES=2000 python -m pytest -s -o faulthandler_timeout=0
test/batch/test_batch_cluster.py`` is the longer run
of docs/performance.md; it prints its figures.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
import random
import signal
import threading
import time

from batch_helpers import check_files
from batch_helpers import results
from batch_helpers import WORK
from batch_helpers import write_scenes
from batch_helpers import write_tiny_scene
import psutil
import pytest

from lift3d_ros.batch.manifest import MANIFEST
from lift3d_ros.batch.ray_pool import ClusterSettings
from lift3d_ros.batch.run import run_batch

#: A worker is killed after one to so many results.
KILL_EVERY = 40

SCENES = int(os.environ.get('LIFT3D_BATCH_SCENES', '60'))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.usefixtures('one_thread'),
    pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason='ray is not installed'),
]


def lifting(parent: psutil.Process) -> list[psutil.Process]:
    """Return the processes of Ray that are actors of a batch."""
    found = []
    for process in parent.children(recursive=True):
        try:
            if process.cmdline()[:1] == ['ray::RayWorker'] or 'RayWorker' in process.cmdline()[0]:
                found.append(process)
        except (psutil.Error, IndexError):
            continue
    return found


def lines(out: Path) -> int:
    """Return the lines of the manifest."""
    try:
        return (out / MANIFEST).read_bytes().count(b'\n')
    except OSError:
        return 0


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('many')
    write_scenes(folder / 'scenes', SCENES, write_tiny_scene(folder / 'tiny'))
    return folder / 'scenes'


def test_workers_killed_at_random_lose_nothing_and_repeat_nothing(scenes, tmp_path):
    out = tmp_path / 'out'
    rng, killed, is_over = random.Random(0), [], threading.Event()

    def kill():
        # After some results each time, since workers take longer to start than to lift.
        due = rng.randint(1, 12)
        while not is_over.wait(0.05):
            if lines(out) < due:
                continue
            processes = lifting(psutil.Process())
            if processes:
                victim = rng.choice(processes)
                victim.send_signal(signal.SIGKILL)
                killed.append(victim.pid)
                due = lines(out) + rng.randint(1, KILL_EVERY)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        summary = run_batch([scenes], out, WORK, ClusterSettings(workers=2))
    finally:
        is_over.set()
        thread.join()
    records = results(out)
    failed = {key: record for key, record in records.items() if not record['ok']}
    print(f'\n{SCENES} scenes, {len(killed)} kills, {summary}, '
          f'{len(failed)} failed: {list(failed)[:5]}')
    assert killed
    assert len(records) == SCENES
    # Kills at random can meet a scene three times; such a scene is listed, not lost.
    assert all(record['attempts'] == 3 for record in failed.values())
    assert summary.lost <= len(killed)
    check_files(out, records)
    again = run_batch([scenes], out, WORK, None)
    assert (again.skipped, again.lifted) == (SCENES, 0)


def test_a_cluster_of_two_nodes_loses_one(scenes, tmp_path):
    from ray.cluster_utils import Cluster

    out = tmp_path / 'out'
    store = {'num_cpus': 1, 'object_store_memory': 100_000_000}
    cluster = Cluster(
        initialize_head=True, head_node_args={**store, 'include_dashboard': False})
    try:
        node = cluster.add_node(**store)
        cluster.wait_for_nodes()
        places = []

        def lose():
            # After both nodes have lifted something.
            while not is_over.wait(0.1):
                try:
                    workers = {record['worker'] for record in results(out).values()}
                except Exception:
                    continue   # no manifest yet
                if len(workers) > 1:
                    places.extend(workers)
                    cluster.remove_node(node, allow_graceful=False)
                    return

        is_over = threading.Event()
        thread = threading.Thread(target=lose)
        thread.start()
        begin = time.monotonic()
        try:
            summary = run_batch([scenes], out, WORK, ClusterSettings(cluster.address))
        finally:
            is_over.set()
            thread.join()
        print(f'\n{SCENES} scenes on two nodes, one lost: {summary}, '
              f'{time.monotonic() - begin:.1f} s')
    finally:
        cluster.shutdown()
    records = results(out)
    assert len(places) == 2
    assert summary.ok
    assert len(records) == SCENES
    assert summary.lost >= 1
    check_files(out, records)
