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

"""``lift3d methods``: list the methods with a description."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(options: argparse.Namespace) -> int:
    """Print each method with the first line of its description."""
    from lift3d_ros.lifter import DEFAULT_METHOD
    from lift3d_ros.lifter import LEARNED
    from lift3d_ros.lifter import METHODS

    width = max(map(len, METHODS))
    for name, method in METHODS.items():
        text = (method.__doc__ or '').strip().splitlines()
        mark = ' (default)' if name == DEFAULT_METHOD else ''
        print(f'{name:<{width}}  {text[0] if text else ""}{mark}')
    print(
        f'\n--weights NAME|PATH and --samples K of `lift3d lift` are for {", ".join(LEARNED)}; '
        '`lift3d weights list` lists the weights.'
    )
    return 0
