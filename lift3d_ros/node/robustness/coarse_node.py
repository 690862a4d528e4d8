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
The node with a coarse setting of the method geometric, so that a soak has more lifts in its time.

    python -m lift3d_ros.node.robustness.coarse_node --autostart --ros-args -p method:=geometric
"""

from __future__ import annotations

from functools import partial

from lift3d_ros.methods.geometric import Geometric
from lift3d_ros.methods.method import METHODS
from lift3d_ros.node.start import run_node

#: Voxels along the longest side, and symmetries that vote.
_RESOLUTION, _HYPOTHESES = 24, 4

if __name__ == '__main__':
    METHODS['geometric'] = partial(
        Geometric, resolution=_RESOLUTION, hypotheses=_HYPOTHESES)
    run_node()
