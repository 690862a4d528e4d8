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

"""Several views of one object: in which of them it is lifted, and how that is one shape."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.frame import VIEW_FILL
from lift3d_ros.geometry.frame import VIEW_SIZE
from lift3d_ros.geometry.shape import Shape

#: Further views of one object that are taken at once, to bound time and memory.
MAX_SOURCE_VIEWS = 15

#: Rays to the object that meet at less than this angle tell no distance, degrees.
_MIN_PARALLAX = 4.0

#: Lifts the object in a view, with further ones.
LiftOne = Callable[[ObjectView, Sequence[SourceView]], Shape]


def lift_together(lift: LiftOne, view: ObjectView, further: Sequence[SourceView]) -> Shape:
    """
    Return the shape of the object in several views, in the optical frame of the first.

    It is lifted in the first view that has depth. Where none has, the poses are brought to the
    units of the first view, in which the longer side of its mask is about one unit long, by where
    the rays from the cameras to the object meet; the scale of the shape is then still unknown.
    Raises ``LiftError`` as ``lift``, and ``BAD_REQUEST`` for more than ``MAX_SOURCE_VIEWS`` views.
    """
    if len(further) > MAX_SOURCE_VIEWS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{len(further)} further views were given, and at most {MAX_SOURCE_VIEWS} can be '
            'used; leave out those from nearly the same place as another.',
        )
    named = [
        replace(other, name=other.name or f'further view {number}')
        for number, other in enumerate(further, 1)
    ]
    if view.frame.depth is not None or not further:
        return lift(view, named)
    for index, other in enumerate(named):
        if other.view.frame.depth is not None:
            T = other.T_ref_src
            others = [SourceView(view, invert(T), 'the first view')]
            others += [
                replace(one, T_ref_src=invert(T) @ one.T_ref_src)
                for one in named[:index] + named[index + 1:]
            ]
            try:
                return _moved(lift(other.view, others), T)
            except LiftError as error:
                if error.code is not ErrorCode.NO_DEPTH_IN_MASK or error.message[:3] == 'In ':
                    raise
                raise LiftError(error.code, f'In {other.name}: {error.message}') from error
    factor = _metres_per_unit(view, named)
    if factor is None:
        return lift(view, ())
    return lift(view, [_in_units(one, factor) for one in named])


def _moved(shape: Shape, T: Array) -> Shape:
    """Return a shape of another camera's optical frame in that of the first."""
    R = np.kron(np.eye(2), T[:3, :3])
    T_camera_object = T @ shape.T_camera_object
    # Over the horizon of the object, the first camera is as high as its direction from there.
    elevation = np.degrees(np.arcsin(unit(invert(T_camera_object)[:3, 3])[2]))
    return replace(
        shape,
        T_camera_object=T_camera_object,
        pose_covariance=R @ shape.pose_covariance @ R.T,
        elevation=float(elevation),
    )


def _in_units(other: SourceView, metres: float) -> SourceView:
    T = other.T_ref_src.copy()
    T[:3, 3] /= metres
    return replace(other, T_ref_src=T)


def _metres_per_unit(view: ObjectView, further: Sequence[SourceView]) -> float | None:
    """
    Return how long the longer side of the first mask is, metres; None where no ray tells.

    The object's middle is ``s c``, c at the nominal distance. The s whose squared distances to
    the rays o_k + t d_k are the least is sum(c P_k o_k) / sum(c P_k c), P_k = I - d_k d_k^T.
    """
    middle = (VIEW_SIZE - 1) / 2.0
    focal = 0.5 * (view.camera.fx + view.camera.fy)
    c = view.camera.unproject(middle, middle, focal / (VIEW_FILL * VIEW_SIZE))
    above = below = 0.0
    for other in further:
        T = other.T_ref_src
        d = T[:3, :3] @ unit(other.view.camera.unproject(middle, middle, 1.0))
        across = c - (c @ d) * d
        above += float(across @ T[:3, 3])
        below += float(across @ across)
    if below < len(further) * (np.sin(np.radians(_MIN_PARALLAX)) * np.linalg.norm(c)) ** 2:
        return None
    return above / below if above > 0.0 else None
