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
Repair the CMake files of the ROS 2 wheels in the running venv.

The exported targets of the message packages name the Python headers and the site-packages folder
of the machine that built the wheels. Both are replaced by those of this interpreter. Running it
again changes nothing.
"""

from pathlib import Path
import re
import sys
import sysconfig

BUILD_MACHINE = r'/opt/python/cp3\d+-cp3\d+'
HEADERS = re.compile(BUILD_MACHINE + r'/include/python3\.\d+')
PACKAGES = re.compile(BUILD_MACHINE + r'/lib/python3\.\d+/site-packages')


def main() -> int:
    """Rewrite the files below share/ that name the build machine; return the exit status."""
    mended = 0
    for path in sorted(Path(sys.prefix, 'share').rglob('*.cmake')):
        before = path.read_text(encoding='utf-8')
        after = HEADERS.sub(lambda _: sysconfig.get_path('include'), before)
        after = PACKAGES.sub(lambda _: sysconfig.get_path('purelib'), after)
        if after != before:
            path.write_text(after, encoding='utf-8')
            mended += 1
    print(f'mended {mended} CMake files of the ROS 2 wheels')
    return 0


if __name__ == '__main__':
    sys.exit(main())
