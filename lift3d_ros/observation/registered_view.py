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
Views of one object in the optical frame of the reference view, and how they bound its surface.

A view bounds the object where it measured: its outline and the free space before its readings cut
the predicted surface, and the measured surface is kept. No pose is exact, so where two views
disagree slightly, measured surface overrides free space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.observation.object_observation import ObjectObservation


@dataclass(frozen=True, eq=False)
class RegisteredView:
    """
    The observation of one view and the pose of its camera.

    - ``observation``: cleaned, in a window; ``view``: the object in its whole frame.
    - ``T_ref_src``: rigid (4, 4), this camera's optical frame in that of the reference view.
    - ``name``: for error messages.
    - ``inconsistency``: metres, the largest ``registration.inconsistency`` with the views before
      it, at most the value from which on views are refused.
    - ``tolerance``: metres by which surface of other views may lie outside of this view's bound.
    """

    observation: ObjectObservation
    view: ObjectView
    T_ref_src: Array
    name: str = 'the first view'
    inconsistency: float = 0.0
    tolerance: float = 0.0

    def to_camera(self, points: Floats) -> Array:
        """Transform points (n, 3) from the reference optical frame to this camera's."""
        return transform(invert(self.T_ref_src), points)

    def points(self) -> Array:
        """Return the measured points of the object, (n, 3) metres, reference optical frame."""
        return transform(self.T_ref_src, self.observation.points())

    def occupancy_bound(self, local: Floats) -> NDArray[np.float32]:
        """
        Return the largest depth inside the object that this view allows at points, (n,) metres.

        ``local`` (n, 3) is in this camera's optical frame. See
        ``ObjectObservation.occupancy_bound``; inf beyond the border of an image that cuts the
        object, where the view gives no bound.
        """
        value = self.observation.occupancy_bound(local)
        if not self.view.truncated:
            return value
        camera = self.view.frame.camera
        u, v, z = camera.project(local)
        with np.errstate(invalid='ignore'):
            inside = (u > 0.0) & (u < camera.width - 1.0) & (v > 0.0) & (v < camera.height - 1.0)
        return np.where(inside | (z <= 0.0), value, np.float32(np.inf))

    def seen_free(self, local: Floats, margin: float) -> NDArray[np.bool_]:
        """
        Return whether points (n, 3) lie in space that this view's rays crossed, (n,).

        ``local`` is in this camera's optical frame; see ``ObjectObservation.seen_free``.
        ``tolerance`` is added to the ``margin``.
        """
        free = self.observation.seen_free(local, margin + self.tolerance)
        return free & np.isfinite(self.occupancy_bound(local))

    def surface_band(self, local: Floats, thickness: float) -> NDArray[np.float32]:
        """
        Return the depth of points inside the band behind the measured surface, (n,) metres.

        The band is ``thickness`` metres deep. ``local`` (n, 3) is in this camera's optical frame.
        -inf where nothing was measured.
        """
        behind = self.observation.behind(local)
        value = np.minimum(
            np.float32(thickness) - behind, self.observation.occupancy_bound(local)
        )
        return np.where(np.isnan(behind), np.float32(-np.inf), value)


def as_source_views(views: Sequence[RegisteredView]) -> tuple[SourceView, ...]:
    """Return the source views with their refined poses."""
    return tuple(SourceView(view.view, view.T_ref_src) for view in views)


def measured_points(reference: ObjectObservation, sources: Sequence[RegisteredView]) -> Array:
    """Return the points measured in all views, (n, 3) metres, reference optical frame."""
    return np.concatenate([reference.points(), *(source.points() for source in sources)])


def constrain_to_sources(
    sources: Sequence[RegisteredView],
    points: Array,
    predicted: NDArray[np.float32],
    thickness: float,
) -> NDArray[np.float32]:
    """
    Return a predicted field, (n,) metres, within the bounds of the source views.

    ``predicted`` (n,) is the depth of points (n, 3) of the reference optical frame inside the
    object. Keeps ``thickness`` metres behind the surface that any source view measured, except
    where another one measured free space.
    """
    if not sources:
        return predicted
    local = [source.to_camera(points) for source in sources]
    bounds = [
        source.occupancy_bound(at) + np.float32(source.tolerance)
        for source, at in zip(sources, local, strict=True)
    ]
    value = np.minimum.reduce([predicted, *bounds])
    for index, (source, at) in enumerate(zip(sources, local, strict=True)):
        other_bounds = bounds[:index] + bounds[index + 1:]
        band = np.minimum.reduce([source.surface_band(at, thickness), *other_bounds])
        np.maximum(value, band, out=value)
    return value
