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
Cameras, rigid transforms, poses and frames, and their conventions.

World and object frames are right-handed, z up, metres. Camera frames are OpenCV optical frames: x
right, y down, z forward (ROS ``*_optical_frame``, REP-103). ``T_a_b`` is a 4 x 4 matrix that maps
coordinates of frame b into frame a. Angles are degrees in the API and radians
inside; azimuth = atan2(y, x), elevation is measured up from the horizon.
"""

from lift3d_ros.geometry.camera import Camera
from lift3d_ros.geometry.pose_vectors import family_pose
from lift3d_ros.geometry.pose_vectors import OPENCV_OPENGL
from lift3d_ros.geometry.pose_vectors import POSE_DIMS
from lift3d_ros.geometry.pose_vectors import stable_zero123_pose
from lift3d_ros.geometry.pose_vectors import ZERO123_FOV
from lift3d_ros.geometry.pose_vectors import zero123_pose
from lift3d_ros.geometry.pose_vectors import zeronvs_pose
from lift3d_ros.geometry.transforms import Array
from lift3d_ros.geometry.transforms import Floats
from lift3d_ros.geometry.transforms import frame_from_up
from lift3d_ros.geometry.transforms import invert
from lift3d_ros.geometry.transforms import is_rigid
from lift3d_ros.geometry.transforms import longest_side
from lift3d_ros.geometry.transforms import look_at
from lift3d_ros.geometry.transforms import orbit_pose
from lift3d_ros.geometry.transforms import rigid
from lift3d_ros.geometry.transforms import rotate
from lift3d_ros.geometry.transforms import spherical
from lift3d_ros.geometry.transforms import transform
from lift3d_ros.geometry.transforms import unit
from lift3d_ros.geometry.transforms import upright_sides

__all__ = [
    'Array', 'Camera', 'Floats', 'OPENCV_OPENGL', 'POSE_DIMS', 'ZERO123_FOV', 'family_pose',
    'frame_from_up', 'invert', 'is_rigid', 'longest_side', 'look_at', 'orbit_pose', 'rigid',
    'rotate', 'spherical', 'stable_zero123_pose', 'transform', 'unit', 'upright_sides',
    'zero123_pose', 'zeronvs_pose',
]
