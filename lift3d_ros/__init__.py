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

"""Lift a masked camera image to a closed, coloured, metric mesh of the whole object."""

import pkgutil

# The interfaces (lift3d_ros.msg, .srv, .action) are generated into another folder than this one
# when the package is used from its source tree: join all folders of this name on sys.path.
__path__ = pkgutil.extend_path(__path__, __name__)

__version__ = '0.2.0'
