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


"""The lift3d command in the process of the tests, which has loaded its libraries already."""

from __future__ import annotations

import contextlib
import io
import subprocess

from lift3d_ros.cli import main


def run_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a new process would; return its status and what it printed."""
    words = [str(word) for word in arguments]
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
    return subprocess.CompletedProcess(words, status, output.getvalue(), errors.getvalue())
