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

"""Print the parameters of the node: ``python -m lift3d_ros.node.parameters --markdown``."""

import argparse

from lift3d_ros.node.parameters import reference

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        prog='python -m lift3d_ros.node.parameters', description='Print the parameters.'
    )
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument('--markdown', action='store_true', help='as a table in Markdown')
    form.add_argument('--yaml', action='store_true', help='as a parameter file with defaults')
    options = parser.parse_args()
    text = reference.markdown_table() if options.markdown else reference.parameter_file()
    print(text, end='')
