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

"""What real frames show: kinds of objects and situations, for scenes to compare with them."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

from lift3d_ros.bench.realism.shape_traits import ShapeTraits
from lift3d_ros.synthetic.real_like import COLOR_MASK
from lift3d_ros.synthetic.real_like import RealLikeSettings

#: Largest asymmetry about a plane that mirrors a shape: 0.003 is that of the points.
_MIRRORED = 0.01

#: Largest factor by which a scan is enlarged or reduced to the size of a real object.
_MAX_SCALE = 2.0


@dataclass(frozen=True)
class ObjectKind:
    """
    Limits of the measures of a kind of objects, as in ``ShapeTraits``.

    ``mirror_planes``: how many planes mirror the shape, at least and at most; ``diagonal_m``: the
    range of the real diagonals, to which objects are scaled, metres.
    """

    convexity: tuple[float, float]
    mirror_planes: tuple[int, int]
    elongation: tuple[float, float]
    flatness: tuple[float, float]
    diagonal_m: tuple[float, float]

    def includes(self, traits: ShapeTraits) -> bool:
        """Return whether an object is of this kind, and need not be scaled much."""
        mirrored = sum(error <= _MIRRORED for error in traits.asymmetry)
        middle = 0.5 * sum(self.diagonal_m)
        return (
            self.convexity[0] <= traits.convexity <= self.convexity[1]
            and self.mirror_planes[0] <= mirrored <= self.mirror_planes[1]
            and self.elongation[0] <= traits.elongation <= self.elongation[1]
            and self.flatness[0] <= traits.flatness <= self.flatness[1]
            and middle / _MAX_SCALE <= traits.diagonal_m <= middle * _MAX_SCALE
        )


@dataclass(frozen=True)
class Condition:
    """
    A real sequence: the kind of its object, and what a scene of it has.

    ``axis_deg``: range of the angle between the object's longest axis and the line of sight: no
    bottle is seen from its end.
    """

    name: str
    kind: ObjectKind
    settings: RealLikeSettings
    axis_deg: tuple[float, float] = (36.0, 70.0)


#: Around the two bottles, whose convexity is 0.88 and 0.99, elongation 2.0 and 2.6, flatness 1.7
#: and 2.2: ratios of sides may be 1.5 times as large or as small, and round bottles count.
BOTTLE = ObjectKind((0.85, 1.0), (2, 3), (1.33, 3.85), (1.0, 3.3), (0.209, 0.222))

#: Around the watering can: 0.59, one plane, 1.1, 1.8.
VESSEL = ObjectKind((0.49, 0.69), (1, 1), (1.0, 1.65), (1.2, 2.7), (0.27, 0.30))

# Elevations, distances, clearances and angles of the frames were measured with the true pose and
# the plane of the table; a range is that of the frames, at least 10 degrees or 0.1 m wide. The
# axes of the bottles are at 41 to 65 degrees from the line of sight. The displacement of depth is
# that against the true pose, which was fitted to depth and outline: 1 px, 2 to 3 px and none.
_HELD = RealLikeSettings(
    held=1.0, touched=0.0, surroundings=(('alone', 1.0),), sensors=(('time_of_flight', 1.0),),
    masks=((COLOR_MASK, 1.0),), held_poses=(('level', 1.0),), max_shift_px=1.5,
)
_SUCTION = Condition('YCBInEOAT, suction cup', BOTTLE, replace(
    _HELD, holders=(('suction_cup', 1.0),), clearance=(0.20, 0.29), elevation=(32.0, 42.0),
    distance=(0.59, 0.73),
))
_GRIPPER = Condition('YCBInEOAT, gripper', BOTTLE, replace(
    _HELD, holders=(('gripper', 1.0),), clearance=(0.06, 0.14), elevation=(47.0, 58.0),
    distance=(0.57, 0.67), held_poses=(('upright', 1.0),),
))
_STANDING = RealLikeSettings(
    held=0.0, touched=0.0, toppled=0.0, surroundings=(('clutter', 1.0),),
)
_STEREO = Condition('M3T', BOTTLE, replace(
    _STANDING, sensors=(('active_stereo', 1.0),), masks=(('promptable', 1.0),),
    elevation=(30.0, 40.0), distance=(0.40, 0.50), max_shift_px=3.0,
))
_KINECT = Condition('LINEMOD', VESSEL, replace(
    _STANDING, sensors=(('structured_light', 1.0),), masks=(('projected', 1.0),),
    elevation=(59.0, 69.0), distance=(0.95, 1.05), max_shift_px=1.0,
), axis_deg=(0.0, 90.0))

#: A condition for each of the eleven real frames: any number of scenes in this order has about
#: their shares.
CONDITIONS = (
    _SUCTION, _GRIPPER, _SUCTION, _STEREO, _SUCTION, _KINECT, _SUCTION, _STEREO, _SUCTION,
    _GRIPPER, _SUCTION,
)
