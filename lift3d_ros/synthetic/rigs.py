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

"""Colour and depth cameras of robots, with the spread of their models, modes and calibrations."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import rigid
from lift3d_ros.synthetic.sensors.active_stereo import ActiveStereo
from lift3d_ros.synthetic.sensors.structured_light import StructuredLight
from lift3d_ros.synthetic.sensors.surfaces import Dropout
from lift3d_ros.synthetic.sensors.time_of_flight import TimeOfFlight

DepthModel = ActiveStereo | TimeOfFlight | StructuredLight

#: Kinds of cameras, with the share of scenes that they have.
RIG_SHARES = {'active_stereo': 0.35, 'time_of_flight': 0.45, 'structured_light': 0.2}

ColorStreams = tuple[tuple[int, int, tuple[float, float], tuple[float, float]], ...]
DepthStreams = tuple[tuple[int, int, float], ...]

#: Colour streams: width, height, range of the horizontal focal length in pixels, range of the
#: vertical one over it. YCBInEOAT stores images of 1280 x 720 resized to 640 x 480: 1.3.
_STEREO_COLOR = (
    (640, 480, (600.0, 620.0), (0.99, 1.01)),
    (640, 480, (600.0, 620.0), (0.99, 1.01)),
    (848, 480, (600.0, 620.0), (0.99, 1.01)),
    (960, 540, (680.0, 700.0), (0.99, 1.01)),
    (1280, 720, (900.0, 930.0), (0.99, 1.01)),
)
_TOF_COLOR = (
    (640, 480, (310.0, 330.0), (1.29, 1.34)),
    (640, 480, (310.0, 330.0), (1.29, 1.34)),
    (640, 360, (300.0, 320.0), (0.98, 1.02)),
    (1280, 720, (600.0, 640.0), (0.98, 1.02)),
)
_KINECT_COLOR = ((640, 480, (515.0, 580.0), (0.99, 1.01)),)

#: Depth streams: width, height, focal length in pixels.
_STEREO_DEPTH = ((640, 480, 385.0), (848, 480, 425.0), (848, 480, 615.0), (1280, 720, 640.0))
_TOF_DEPTH = ((640, 576, 504.0), (640, 576, 504.0), (320, 288, 252.0))
_KINECT_DEPTH = ((640, 480, 580.0),)


@dataclass(frozen=True, eq=False)
class CameraRig:
    """
    A colour camera with a depth camera beside it.

    - ``kind``: of ``RIG_SHARES``; ``color``, ``depth``: the two cameras.
    - ``T_color_depth``: pose of the depth camera in the optical frame of the colour camera.
    - ``sensor``: the errors of the depth.
    - ``shift_px``: displacement of the registered depth by the error of the calibration, pixels of
      the image to the right and downwards.
    """

    kind: str
    color: Camera
    depth: Camera
    T_color_depth: Array
    sensor: DepthModel
    shift_px: tuple[float, float]


def choose(shares: Sequence[tuple[str, float]], rng: np.random.Generator) -> str:
    """Return a name, drawn by its share; shares need not add up to 1."""
    weights = np.array([share for _, share in shares])
    return shares[int(rng.choice(len(shares), p=weights / weights.sum()))][0]


def draw_rig(
    rng: np.random.Generator,
    max_shift_px: float = 4.0,
    shares: Sequence[tuple[str, float]] = tuple(RIG_SHARES.items()),
) -> CameraRig:
    """
    Return a camera of a robot; the registered depth is up to ``max_shift_px`` pixels off.

    ``shares`` are those of the kinds of cameras.
    """
    kind = choose(shares, rng)
    model = _MODELS[kind]
    color = _draw_color(model.color, rng)
    depth = _draw_depth(model.depth, rng)
    sensor = model.draw_sensor(rng)
    # Well calibrated in half of the robots.
    length = rng.uniform(0.0, 1.0 if rng.random() < 0.5 else max_shift_px)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    shift = (float(length * np.cos(angle)), float(length * np.sin(angle)))
    return CameraRig(kind, color, depth, model.T_color_depth, sensor, shift)


def _draw_stereo(rng: np.random.Generator) -> ActiveStereo:
    return ActiveStereo(
        baseline_m=float(rng.choice([0.05, 0.055, 0.095])),
        # On glossy plastic 0.4 m away, errors of 3.5 mm were seen: 0.4 to 0.6 px on such surface.
        bump_px=float(np.exp(rng.uniform(*np.log((0.06, 0.45))))),
        bump_length_px=float(rng.uniform(5.0, 12.0)),
        noise_px=float(rng.uniform(0.02, 0.08)),
        frames=int(rng.choice([1, 1, 4, 8])),
        dark_gain=float(rng.uniform(0.5, 2.0)),
        fattening_px=float(rng.uniform(1.0, 5.0)),
        subpixel=int(rng.choice([8, 16, 32])),
        step_m=float(rng.choice([0.001, 0.001, 0.0001])),
        shadow_filled=float(rng.choice([0.02, 0.1, 0.5])),
        edge_dropout=float(rng.uniform(0.0, 0.8)),
        dropout=_draw_dropout(rng),
    )


def _draw_time_of_flight(rng: np.random.Generator) -> TimeOfFlight:
    return TimeOfFlight(
        scatter_px=float(rng.uniform(0.4, 1.0)),
        mixed_px=int(rng.choice([1, 2, 3])),
        mixed_kept=float(rng.choice([0.02, 0.1, 0.4])),
        multipath=float(rng.uniform(0.4, 1.2)),
        wiggle_m=float(rng.uniform(0.0, 0.003)),
        wiggle_period_m=float(rng.uniform(0.1, 0.4)),
        bump_m=float(rng.uniform(0.001, 0.003)),
        bump_length_px=float(rng.uniform(5.0, 12.0)),
        intensity_m=float(rng.uniform(0.0, 0.006)),
        noise_m=float(rng.uniform(0.0003, 0.001)),
        amplitude_floor=float(rng.uniform(0.02, 0.08)),
        saturated=bool(rng.random() < 0.2),
        dropout=Dropout(
            everywhere=float(rng.uniform(0.0, 0.01)),
            dark=0.0,
            grazing=float(rng.uniform(0.7, 1.0)),
            grazing_below=float(rng.uniform(0.4, 0.75)),
            highlight=0.4,
        ),
    )


def _draw_structured_light(rng: np.random.Generator) -> StructuredLight:
    return StructuredLight(
        projector_right=bool(rng.random() < 0.5),
        jitter_px=float(rng.uniform(0.3, 0.6)),
        noise_px=float(rng.uniform(0.03, 0.08)),
        bump_px=float(rng.uniform(0.06, 0.2)),
        bump_length_px=float(rng.uniform(5.0, 14.0)),
        dropout=_draw_dropout(rng),
    )


def _draw_dropout(rng: np.random.Generator) -> Dropout:
    return Dropout(
        everywhere=float(rng.uniform(0.0, 0.01)),
        dark=float(rng.uniform(0.1, 0.8)),
        dark_below=float(rng.uniform(0.04, 0.15)),
        grazing=float(rng.uniform(0.4, 0.9)),
        grazing_below=float(rng.uniform(0.3, 0.6)),
        size_px=float(rng.uniform(2.0, 6.0)),
    )


def _draw_color(streams: ColorStreams, rng: np.random.Generator) -> Camera:
    width, height, focal_range, ratio_range = streams[rng.integers(len(streams))]
    focal = rng.uniform(*focal_range)
    center = rng.normal(((width - 1) / 2.0, (height - 1) / 2.0), 0.01 * width)
    return Camera(
        width, height, focal, focal * rng.uniform(*ratio_range), float(center[0]), float(center[1])
    )


def _draw_depth(streams: DepthStreams, rng: np.random.Generator) -> Camera:
    width, height, focal = streams[rng.integers(len(streams))]
    focal *= rng.uniform(0.99, 1.01)
    center = rng.normal(((width - 1) / 2.0, (height - 1) / 2.0), 0.005 * width)
    return Camera(width, height, focal, focal, float(center[0]), float(center[1]))


def _tilted(degrees: float) -> Array:
    """Return the rotation of a camera that looks lower."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]])


@dataclass(frozen=True)
class _Model:
    """Streams, the pose of the depth camera in the colour camera, and the draw of the errors."""

    color: ColorStreams
    depth: DepthStreams
    T_color_depth: Array
    draw_sensor: Callable[[np.random.Generator], DepthModel]


#: RealSense D415, D435, D455: the left imager is 15 mm beside the colour camera. Azure Kinect: the
#: depth camera is 32 mm beside it, 6 degrees lower. Kinect, Xtion, Orbbec Astra: infrared and
#: colour camera are 25 mm apart.
_MODELS = {
    'active_stereo': _Model(
        _STEREO_COLOR, _STEREO_DEPTH, rigid(np.eye(3), [0.015, 0.0, 0.0]), _draw_stereo
    ),
    'time_of_flight': _Model(
        _TOF_COLOR, _TOF_DEPTH, rigid(_tilted(6.0), [-0.032, -0.002, 0.004]), _draw_time_of_flight
    ),
    'structured_light': _Model(
        _KINECT_COLOR, _KINECT_DEPTH, rigid(np.eye(3), [-0.025, 0.0, 0.0]), _draw_structured_light
    ),
}
