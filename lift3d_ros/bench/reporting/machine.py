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


"""The machine and the software of a report."""

from __future__ import annotations

from importlib import metadata
import os
from pathlib import Path
import platform
import subprocess
from typing import Any

import psutil

import lift3d_ros

_PACKAGES = ('numpy', 'scipy', 'opencv-python-headless', 'open3d', 'trimesh', 'scikit-image',
             'torch')


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, memory, versions and the revision of the source."""
    return {
        'processor': _processor(),
        'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity')
        else os.cpu_count(),
        'memory_gb': round(psutil.virtual_memory().total / 2**30, 1),
        'system': platform.platform(),
        'python': platform.python_version(),
        'lift3d_ros': lift3d_ros.__version__,
        'revision': _revision(),
        'packages': {name: version for name in _PACKAGES if (version := _version(name))},
    }


def _processor() -> str:
    try:
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    """Return the commit of the source tree, with ``+`` where files differ; None elsewhere."""
    command = ['git', '-C', str(Path(lift3d_ros.__file__).parent), 'describe', '--always',
               '--exclude=*', '--dirty=+']
    try:
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
