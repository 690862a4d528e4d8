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
Metrics, each in one function, with its source.

Points and meshes are in metres in one common frame and are not aligned unless ``alignment`` did
so. ``topology``, ``coverage`` and ``evidence`` hold what a distance does not tell: pieces and
handles, holes, and contradictions to the frame that was given.
"""

from lift3d_ros.bench.metrics.confidence import ause
from lift3d_ros.bench.metrics.confidence import BINS
from lift3d_ros.bench.metrics.confidence import calibration_error
from lift3d_ros.bench.metrics.confidence import curve
from lift3d_ros.bench.metrics.confidence import rank_correlation
from lift3d_ros.bench.metrics.confidence import TOLERANCE_SHARE
from lift3d_ros.bench.metrics.solid import LATTICE
from lift3d_ros.bench.metrics.solid import lattice_points
from lift3d_ros.bench.metrics.solid import volume_iou
from lift3d_ros.bench.metrics.surfaces import centre_error
from lift3d_ros.bench.metrics.surfaces import diagonal
from lift3d_ros.bench.metrics.surfaces import diameter
from lift3d_ros.bench.metrics.surfaces import distance_error
from lift3d_ros.bench.metrics.surfaces import Distances
from lift3d_ros.bench.metrics.surfaces import distances
from lift3d_ros.bench.metrics.surfaces import normal_consistency
from lift3d_ros.bench.metrics.surfaces import normalise
from lift3d_ros.bench.metrics.surfaces import sample_surface
from lift3d_ros.bench.metrics.surfaces import sample_with_colors
from lift3d_ros.bench.metrics.surfaces import SAMPLES
from lift3d_ros.bench.metrics.surfaces import scale_error
from lift3d_ros.meshing.solid import sample_with_normals
from lift3d_ros.meshing.solid import Solid

__all__ = [
    'BINS', 'Distances', 'LATTICE', 'SAMPLES', 'Solid', 'TOLERANCE_SHARE', 'ause',
    'calibration_error', 'centre_error', 'curve', 'diagonal', 'diameter', 'distance_error',
    'distances', 'lattice_points', 'normal_consistency', 'normalise', 'rank_correlation',
    'sample_surface', 'sample_with_colors', 'sample_with_normals', 'scale_error', 'volume_iou',
]
