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


"""Small scenes for many lifts, and a method that lifts them in a moment."""

from __future__ import annotations

from collections import Counter
import json
from pathlib import Path
import shutil

from scene_helpers import make_room

from lift3d_ros.batch.manifest import read_records
from lift3d_ros.batch.work import WorkSettings
from lift3d_ros.geometry import Camera
from lift3d_ros.io.scene import write_scene
from lift3d_ros.methods.geometric import Geometric

#: ``geometric`` with few voxels and symmetries.
COARSE = Geometric(resolution=24, hypotheses=4)

WORK = WorkSettings(method=COARSE, lifter={'max_faces': 2000})


def write_tiny_scene(folder: Path) -> Path:
    """Write a scene of 96 x 72 pixels with a box on the floor."""
    room = make_room(Camera.from_fov(96, 72, 60.0), eye=(0.7, -0.1, 0.45), boxes=('box',))
    write_scene(folder, room.frame, room.masks['box'])
    return folder


def write_scenes(folder: Path, count: int, scene: Path) -> list[Path]:
    """Copy a scene ``count`` times below a folder."""
    paths = [folder / f'{index // 100:03d}' / f'{index:05d}' for index in range(count)]
    for path in paths:
        shutil.copytree(scene, path)
    return paths


def results(out: Path) -> dict[str, dict]:
    """Return the records of a batch by key; asserts that no key has two."""
    records = list(read_records(out))
    counts = Counter(record['key'] for record in records)
    assert max(counts.values(), default=1) == 1, counts.most_common(3)
    return {record['key']: record for record in records}


def check_files(out: Path, records: dict[str, dict]) -> None:
    """Assert that each lifted scene has its files, and that no others are there."""
    expected = set()
    for key, record in records.items():
        expected.add(out / f'{key}.json')
        report = json.loads((out / f'{key}.json').read_text())
        assert report['ok'] is record['ok'], key
        if record['ok']:
            expected.update((out / key).with_name(name) for name in record['files'])
    below = {path for folder in out.iterdir() if folder.is_dir() and folder.name[0] != '.'
             for path in folder.rglob('*') if path.is_file()}
    assert below == expected
    assert not (out / '.partial').exists()
