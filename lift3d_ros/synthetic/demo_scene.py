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
The packaged demo scene, an RGB-D frame of a bottle on a table.

    python -m lift3d_ros.synthetic.demo_scene [--out FOLDER]

writes it, by default to its place in the source tree.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lift3d_ros.geometry import Camera
from lift3d_ros.io.scene import write_scene
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings

#: Its folder in the package.
DEMO_SCENE = Path(__file__).parent.parent / 'data' / 'demo_scene'

_BOTTLE_SEED = 1
_SCENE_SEED = 3


def make_demo_scene() -> TableScene:
    """Return the demo scene with the colour camera of a RealSense D435 at 640 x 480."""
    settings = TableSettings(
        azimuth=(-75.0, -75.0),
        elevation=(32.0, 32.0),
        fill=(0.42, 0.42),
        camera=Camera(640, 480, 611.2, 611.2, 321.4, 238.7),
    )
    return make_scene(procedural_object(_BOTTLE_SEED, 'bottle'), _SCENE_SEED, settings)


def main() -> None:
    """Write the demo scene."""
    parser = argparse.ArgumentParser(description='Write the packaged demo scene.')
    parser.add_argument('--out', type=Path, default=DEMO_SCENE, help='folder to write to')
    folder = parser.parse_args().out
    scene = make_demo_scene()
    write_scene(folder, scene.frame, scene.mask)
    print(f'wrote {folder}')


if __name__ == '__main__':
    main()
