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
A node that is killed at random moments, and must come back.

    python -m lift3d_ros.node.robustness.kill_node --kills 100 --seed 0

In each round the node starts, and a client requests a lift and a saved file as soon as it can. The
node gets SIGKILL at a random moment: while it starts, loads, lifts, saves, or waits. Then the next
node must answer a client in a process of its own; the time from its start to its answer is noted,
and whether the client that saw the first node die hears the second one. No file in ``output_dir``
may be half-written, and nothing of the killed node may stop the next one. A hidden part,
``.*.part``, may be left: a process that begins to write there ten minutes later removes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
import json
from pathlib import Path
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np
import rclpy
import trimesh

from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.robustness.ask_node import lifts
from lift3d_ros.node.robustness.process import node_command
from lift3d_ros.srv import SaveObject

SERVER = 'lift3d_kill'

#: Seconds within which a node must answer, and up to which a node lives in a round by default.
PATIENCE_S = 30.0
LIFE_S = 10.0

#: Seconds within which the client that saw the node die must hear the next one.
_HEARING_S = 5.0


class Killer:
    """Starts, uses and kills nodes that save into one folder."""

    def __init__(
        self, background: BackgroundNode, output: Path, method: str, patience: float = PATIENCE_S
    ) -> None:
        """Take the folder of the saved files, and the method and the patience with nodes."""
        self._background, self._output, self._method = background, output, method
        self._patience = patience

    def round(self, number: int, life: float) -> dict[str, Any]:
        """Let a node live for ``life`` seconds, kill it, start another; return what was seen."""
        with self._node() as child:
            stop = threading.Event()
            user = threading.Thread(target=self._use, args=(number, stop), daemon=True)
            user.start()
            time.sleep(life)
            child.kill()
            child.wait()
            stop.set()
            user.join(self._patience)
        found = sorted(self._output.iterdir())
        parts = [path.name for path in found if path.name.endswith('.part')]
        broken = [
            path.name for path in found if path.name not in parts and not is_whole(path)]
        start = time.monotonic()
        with self._node() as child:
            asked = subprocess.run(
                [sys.executable, '-m', 'lift3d_ros.node.robustness.ask_node', '--server', SERVER,
                 '--patience', str(self._patience)], check=False)
            seconds = time.monotonic() - start
            heard = lifts(self._background, SERVER, _HEARING_S)
            child.kill()
            child.wait()
        return {'round': number, 'life_s': round(life, 2), 'answered': asked.returncode == 0,
                'seconds': round(seconds, 2), 'old_client_hears': heard, 'broken': broken,
                'parts': parts, 'files': len(found)}

    def _use(self, number: int, stop: threading.Event) -> None:
        """Lift and save until the node is gone."""
        count = 0
        while not stop.is_set():
            if not lifts(self._background, SERVER, 2.0):
                continue
            request = SaveObject.Request(path=f'ball_{number}_{count}.glb')
            try:
                self._background.call(SaveObject, f'{SERVER}/save_object', request, 5.0)
            except TimeoutError:
                continue
            count += 1

    @contextmanager
    def _node(self) -> Iterator[subprocess.Popen[Any]]:
        child: subprocess.Popen[Any] = subprocess.Popen(node_command(
            SERVER, method=self._method, output_dir=str(self._output), max_faces=2000))
        try:
            yield child
        finally:
            child.kill()
            child.wait()


def is_whole(path: Path) -> bool:
    """Return whether a saved mesh can be read and is closed."""
    try:
        return bool(trimesh.load(path, force='mesh').is_watertight)
    except Exception:
        return False


def run(
    kills: int, seed: int, method: str, life: float = LIFE_S, patience: float = PATIENCE_S
) -> dict[str, Any]:
    """Kill so many nodes within ``life`` seconds; return the rounds and a summary."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder, \
            BackgroundNode('lift3d_killer', threads=2) as background:
        killer = Killer(background, Path(folder), method, patience)
        rounds = [killer.round(k, float(rng.uniform(0.2, life))) for k in range(kills)]
    seconds = [one['seconds'] for one in rounds]
    return {
        'kills': kills, 'seed': seed, 'method': method,
        'without_answer': sum(not one['answered'] for one in rounds),
        'old_client_deaf': sum(not one['old_client_hears'] for one in rounds),
        'broken_files': sum(len(one['broken']) for one in rounds),
        'parts_left': len({name for one in rounds for name in one['parts']}),
        'files': rounds[-1]['files'] if rounds else 0,
        'seconds_median': float(np.median(seconds)), 'seconds_max': float(np.max(seconds)),
        'rounds': rounds,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill the nodes of the command line; return 1 if one did not come back, or left a part."""
    parser = argparse.ArgumentParser(
        prog='python -m lift3d_ros.node.robustness.kill_node', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=10)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--method', default='geometric')
    parser.add_argument('--life', type=float, default=LIFE_S, help='seconds, at most')
    parser.add_argument('--patience', type=float, default=PATIENCE_S,
                        help='seconds in which a node must answer')
    parser.add_argument('--out', type=Path, help='folder for kill_node.json')
    options = parser.parse_args(arguments)
    rclpy.init(args=[])
    try:
        found = run(
            options.kills, options.seed, options.method, options.life, options.patience)
    finally:
        rclpy.try_shutdown()
    print(json.dumps({key: value for key, value in found.items() if key != 'rounds'}, indent=1))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / 'kill_node.json').write_text(json.dumps(found, indent=1) + '\n')
    return 1 if found['without_answer'] or found['broken_files'] else 0


if __name__ == '__main__':
    sys.exit(main())
