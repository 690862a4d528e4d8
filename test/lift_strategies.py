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
Frames, masks, depths, cameras and hints of every kind, for property tests.

A strategy draws a few choices and a seed; the arrays are made of them by numpy, so that examples
are quick to draw and to make smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from hypothesis import strategies as st
import numpy as np

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import is_rigid
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints

MASKS = (
    'disc', 'disc', 'disc', 'box', 'box', 'noise', 'sparse noise', 'line', 'thin line', 'full',
    'border', 'ring', 'parts', 'corner', 'empty', 'column', 'all but one', 'checkers',
)
DEPTHS = (
    'none', 'ball on a table', 'ball on a table', 'flat', 'noise', 'wide noise', 'nan', 'inf',
    'zeros', 'negative', 'huge', 'largest reading', 'tiny', 'steps', 'ramp', 'some nan',
    'some inf', 'one reading', 'float limit', 'holes',
)
CAMERAS = (
    'usual', 'usual', 'usual', 'usual', 'usual', 'wide', 'wide', 'tele', 'tele', 'off centre',
    'off centre', 'widest', 'longest', 'far off centre', 'huge', 'tiny', 'skewed',
)

any_float = st.floats(width=64)


@dataclass
class Choice:
    """What an example is made of; its ``repr`` is all that is needed to make it again."""

    width: int
    height: int
    mask: str
    depth: str
    camera: str
    seed: int
    gravity: tuple[float, float, float] | None
    plane: tuple[float, float, float, float] | None
    known_size: float | None
    order: tuple[str, ...] | None = None

    def arrays(self):
        """Return image, mask, depth (or None) and camera."""
        rng = np.random.default_rng(self.seed)
        size = (self.height, self.width)
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        mask = make_mask(self.mask, size, rng)
        depth = make_depth(self.depth, size, rng)
        return image, mask, depth, make_camera(self.camera, self.width, self.height, rng)

    def frame(self):
        """Return frame and mask; raises ``LiftError``."""
        image, mask, depth, camera = self.arrays()
        gravity = None if self.gravity is None else np.array(self.gravity)
        return Frame(image, camera, depth, gravity), mask

    def hints(self):
        """Return what is known of the scale; raises ``LiftError``."""
        plane = None if self.plane is None else Plane(np.array(self.plane[:3]), self.plane[3])
        more = {} if self.order is None else {'order': self.order}
        return ScaleHints(plane, self.known_size, **more)


def choices(most=200):
    """Return a strategy of examples; one in some has a side of up to 2000 pixels."""
    side = st.sampled_from([8, 9, 20, 33, 64, 97, 128, most, most - 1, most // 2])
    sides = st.one_of(
        *[st.tuples(side, side)] * 9, st.tuples(st.integers(1, 12), st.integers(200, 2000)),
        st.tuples(st.integers(200, 2000), st.integers(1, 12)))
    usually = st.sampled_from([True] * 14 + [False])
    direction = st.sampled_from([
        None, (0.0, 0.6, 0.8), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.1, 0.9, -0.4),
        (1.0, 0.0, 0.0)])
    gravity = usually.flatmap(
        lambda usual: direction if usual else st.tuples(any_float, any_float, any_float))
    plane = usually.flatmap(
        lambda usual: st.sampled_from([
            None, None, (0.0, -0.6, -0.8, -0.5), (0.0, -1.0, 0.0, -0.3), (0.0, 0.0, -1.0, -1.0),
            (0.0, -0.6, -0.8, -1e-3), (0.3, -0.6, -0.7, -50.0)])
        if usual else st.tuples(*[any_float] * 4))
    known = usually.flatmap(
        lambda usual: st.sampled_from([None, None, 0.005, 0.1, 5.0]) if usual else any_float)
    order = usually.flatmap(
        lambda usual: st.none() if usual else st.permutations(
            ('depth', 'plane', 'known_size', 'unknown')).flatmap(
                lambda names: st.integers(1, 4).map(lambda n: tuple(names[:n]))))
    return st.builds(
        lambda sides, **rest: Choice(*sides, **rest), sides, mask=st.sampled_from(MASKS),
        depth=st.sampled_from(DEPTHS), camera=st.sampled_from(CAMERAS),
        seed=st.integers(0, 2**32 - 1), gravity=gravity, plane=plane, known_size=known,
        order=order)


def make_mask(kind, size, rng):
    """Return a mask, bool (height, width)."""
    height, width = size
    mask = np.zeros(size, np.uint8)
    x, y = int(rng.integers(width)), int(rng.integers(height))
    radius = max(1, int(min(size) * rng.uniform(0.1, 0.5)))
    if kind == 'disc':
        cv2.circle(mask, (width // 2, height // 2), radius, 1, -1)
    elif kind == 'box':
        mask[height // 4:height - height // 4, width // 4:width - width // 4] = 1
    elif kind == 'noise':
        mask = rng.random(size) < 0.5
    elif kind == 'sparse noise':
        mask = rng.random(size) < 0.02
    elif kind in ('line', 'thin line'):
        other = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.line(mask, (x, y), other, 1, 1 if kind == 'thin line' else int(rng.integers(2, 9)))
    elif kind == 'full':
        mask[:] = 1
    elif kind == 'border':
        mask[[0, -1]] = 1
        mask[:, [0, -1]] = 1
    elif kind == 'ring':
        cv2.circle(mask, (width // 2, height // 2), radius, 1, max(1, radius // 4))
    elif kind == 'parts':
        for _ in range(int(rng.integers(2, 6))):
            place = (int(rng.integers(width)), int(rng.integers(height)))
            cv2.circle(mask, place, max(1, radius // 2), 1, -1)
    elif kind == 'corner':
        cv2.circle(mask, (width - 1, height - 1), 2 * radius, 1, -1)
    elif kind == 'column':
        mask[:, x:x + 3] = 1
    elif kind == 'all but one':
        mask[:] = 1
        mask[y, x] = 0
    elif kind == 'checkers':
        mask[::2, ::2] = 1
        mask[1::2, 1::2] = 1
    return mask.astype(bool)


def make_depth(kind, size, rng):
    """Return a depth, float32 metres (height, width), or None."""
    height, width = size
    if kind == 'none':
        return None
    v, u = np.mgrid[:height, :width]
    distance = rng.uniform(0.2, 2.0)
    flat = np.full(size, distance)
    ball = flat - 0.002 * v
    inside = (u - width / 2) ** 2 + (v - height / 2) ** 2 < (0.3 * min(size)) ** 2
    ball = np.where(inside, ball - 0.05, ball)
    depth = {
        'flat': flat,
        'noise': distance * (1.0 + 0.02 * rng.standard_normal(size)),
        'wide noise': 10.0 ** rng.uniform(-3.0, 3.0, size),
        'nan': np.full(size, np.nan),
        'inf': np.full(size, np.inf),
        'zeros': np.zeros(size),
        'negative': -flat,
        'huge': np.full(size, 1e30),
        'largest reading': np.full(size, 65.535),
        'tiny': np.full(size, 1e-6),
        'steps': np.where(u < width / 2, distance, 2.0 * distance),
        'ramp': 0.2 + 3.0 * u / max(width, 1),
        'float limit': np.where(rng.random(size) < 0.5, 3.4e38, distance),
    }.get(kind, ball)
    if kind in ('some nan', 'some inf', 'holes'):
        depth = np.where(rng.random(size) < 0.3, {
            'some nan': np.nan, 'some inf': np.inf, 'holes': 0.0}[kind], ball)
    if kind == 'one reading':
        depth = np.zeros(size)
        depth[height // 2, width // 2] = distance
    return depth.astype(np.float32)


def make_camera(kind, width, height, rng):
    """Return a camera that the constructor takes."""
    side = max(width, height)
    focal = side * rng.uniform(0.6, 1.5)
    cx, cy = (width - 1) / 2.0, (height - 1) / 2.0
    fx = fy = focal
    if kind in ('wide', 'widest', 'tele', 'longest'):
        fx = fy = side * {'wide': 0.3, 'widest': 0.05, 'tele': 8.0, 'longest': 60.0}[kind]
    elif kind == 'off centre':
        cx, cy = rng.uniform(0.0, width), rng.uniform(0.0, height)
    elif kind == 'far off centre':
        cx, cy = rng.uniform(-1e5, 1e5, 2)
    elif kind == 'huge':
        fx = fy = 1e12
    elif kind == 'tiny':
        fx = fy = 1e-6
    elif kind == 'skewed':
        fx, fy = focal * 0.01, focal * 100.0
    return Camera(width, height, float(fx), float(fy), float(cx), float(cy))


def check_shape(shape):
    """Assert that a shape can be used: closed, finite, with a pose and doubts that are numbers."""
    mesh = shape.mesh
    assert len(mesh.faces) >= 4 and len(mesh.colors) == len(mesh.vertices)
    assert np.isfinite(mesh.vertices).all() and mesh.is_watertight() and mesh.volume() > 0.0
    assert np.isfinite(shape.size).all() and (shape.size > 0.0).all()
    assert is_rigid(shape.T_camera_object)
    assert np.isfinite(shape.mesh_in_camera().vertices).all()
    covariance = shape.pose_covariance
    assert covariance.shape == (6, 6) and np.isfinite(covariance).all()
    assert np.allclose(covariance, covariance.T, rtol=1e-6)
    values = np.linalg.eigvalsh(covariance)
    assert values.min() >= -1e-9 * max(1.0, values.max())
    confidence = shape.confidence
    assert confidence.shape == (len(mesh.vertices),) and np.isfinite(confidence).all()
    assert confidence.min() >= 0.0 and confidence.max() <= 1.0
    assert 0.0 <= shape.overall_confidence <= 1.0
    assert shape.observed.shape == confidence.shape
    assert all(isinstance(note, str) and note.isprintable() for note in shape.notes)
    assert np.isfinite(shape.elevation)
    assert shape.scale_source in ('depth', 'views', 'plane', 'known_size', 'unknown')
    assert shape.scale_stddev >= 0.0


def lifted(lifter, choice):
    """Lift an example; return the shape, or the error, which is none of the program's own."""
    try:
        frame, mask = choice.frame()
        shape = lifter.lift(frame, LiftRequest(mask, hints=choice.hints(), seed=choice.seed))
    except LiftError as error:
        assert error.code.value not in ('INTERNAL', 'OUT_OF_MEMORY'), error
        assert error.message and error.message.isprintable()
        return error
    check_shape(shape)
    return shape
