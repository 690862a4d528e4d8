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

"""Slow packages are imported where they are used, so that commands and the library start fast."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Packages that take 0.05 s to several seconds to import.
SLOW = (
    'PIL', 'diffusers', 'open3d', 'psutil', 'rclpy', 'scipy', 'skimage', 'torch', 'transformers',
    'trimesh',
)

HELP = "from lift3d_ros.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"


@pytest.mark.parametrize(('code', 'slow'), [
    ('import lift3d_ros.lifter', SLOW),
    ('import lift3d_ros.io.scene', tuple(name for name in SLOW if name != 'PIL')),
    (HELP, (*SLOW, 'cv2', 'numpy')),
], ids=['lifter', 'scene', 'help'])
def test_no_slow_package_is_imported(code, slow):
    report = 'import sys\nprint(*sys.modules, file=sys.stderr)'
    done = subprocess.run(
        [sys.executable, '-c', f'{code}\n{report}'], capture_output=True, text=True, check=True)
    assert set(slow) & set(done.stderr.split()) == set()


def test_the_small_networks_load_without_the_packages_of_the_published_ones():
    # Together they take several times as long to import as torch.
    code = (
        'from lift3d_ros.lifter import Lifter\nlifter = Lifter()\nlifter.load()\n'
        'import sys\nprint(*sys.modules, file=sys.stderr)')
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert 'torch' in loaded
    slow = {'diffusers', 'transformers', 'accelerate', 'sympy', 'torch._dynamo', 'scipy.stats'}
    assert slow & loaded == set()
