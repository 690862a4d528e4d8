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


"""Reports in JSON: entries that all of them share, and their files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lift3d_ros.errors import LiftError
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.files import write_whole


def error_entry(error: LiftError) -> dict[str, str]:
    """Return the entry of an error in a report."""
    return {'code': error.code.value, 'message': error.message}


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON; the file appears under its name only when it is complete."""
    write_whole(path, (json.dumps(report, indent=1) + '\n').encode())


def number(value: float | None) -> float | None:
    """Return a number rounded for JSON, None if it is not finite."""
    return round(float(value), 6) if value is not None and math.isfinite(value) else None


def peak_memory() -> float:
    """Return the peak memory of this process, MiB."""
    return round(memory.peak_mb(), 1)
