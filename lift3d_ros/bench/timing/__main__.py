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

"""The command ``python -m lift3d_ros.bench.timing NAME ...``."""

from __future__ import annotations

import argparse
import sys

from lift3d_ros.bench.timing import harness

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        prog='python -m lift3d_ros.bench.timing', add_help=False, usage='%(prog)s NAME ...')
    parser.add_argument('name', choices=harness.PROGRAMS, metavar='NAME', help='%(choices)s')
    sys.exit(harness.main(parser.parse_args(sys.argv[1:2]).name, sys.argv[2:]))
