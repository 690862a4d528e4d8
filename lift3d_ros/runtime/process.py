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

"""How long this process has run."""

from __future__ import annotations

import os
from pathlib import Path
import time

import psutil


def age_s() -> float:
    """Return the seconds since the process was started, its own imports included."""
    try:
        # psutil adds a time of boot that is rounded to seconds. The name may hold spaces.
        fields = Path('/proc/self/stat').read_text().rpartition(')')[2].split()
        uptime = float(Path('/proc/uptime').read_text().split()[0])
        return uptime - int(fields[19]) / os.sysconf('SC_CLK_TCK')
    except (OSError, ValueError, IndexError):
        return time.time() - psutil.Process().create_time()
