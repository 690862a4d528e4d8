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

"""The published One-2-3-45 as a method: its surface, placed, and cut by what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.frame import ObjectView
from lift3d_ros.geometry import transform
from lift3d_ros.methods.one2345 import _confidence
from lift3d_ros.methods.one2345 import _place
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.progress import Progress
from lift3d_ros.shape import Mesh
from lift3d_ros.shape import Shape
from lift3d_ros.surface.cleaning import observe
from lift3d_ros.surface.cleaning import reconcile
from lift3d_ros.surface.coloring import paint
from lift3d_ros.surface.field import SolidField
from lift3d_ros.surface.support import find_support

if TYPE_CHECKING:
    from lift3d_ros.methods.published import PublishedOne2345
    from lift3d_ros.methods.published import PublishedSurface

#: The weights that it takes, of the views and of the surface.
WEIGHTS = ('zero123-xl', 'one2345')

#: Voxels along each side of the field that the published distance is sampled at.
_GRID = 64


@dataclass
class One2345Full(One2345):
    """
    The published weights of Zero-1-to-3 XL and One-2-3-45, of which the user has brought both.

    - ``weights``: ``full``; ``schedule``: a key of ``published.SCHEDULES``.

    ``views`` and ``coarse`` are the small weights' own; a sample is one set of the 32 views.
    """

    weights: str = 'full'
    schedule: str = 'fast'

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for more than one sample."""
        if self.samples != 1:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The published weights draw one set of views, not {self.samples}; ask for 1 '
                'sample, or take the weights small.',
            )

    def check(self) -> None:
        """Look for the weights; raises ``LiftError``: WEIGHTS_MISSING, WEIGHTS_CORRUPT."""
        from lift3d_ros.weights import store

        for name in WEIGHTS:
            store.check(store.find(name))

    def load(self) -> None:
        """
        Load the networks.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``BAD_REQUEST`` for a
        device that is not there.
        """
        if self._model is not None:
            return
        self.check()
        from lift3d_ros.methods.published import PublishedOne2345

        self._model = PublishedOne2345.load(
            *WEIGHTS, device=self.device, schedule=self.schedule, elevation=self.elevation,
            max_faces=self.max_faces,
        )

    def lift(self, view: ObjectView, rng: np.random.Generator, progress: Progress) -> Shape:
        """
        Return the shape of the object in the view.

        Raises ``LiftError``: ``NO_DEPTH_IN_MASK``, ``NO_SURFACE``, ``CANCELLED``, ``TIMEOUT``,
        and what ``PublishedOne2345.reconstruct`` raises.
        """
        with progress.stage('observe', 0.01):
            seen = observe(view)
            support = find_support(seen, view.frame.gravity, rng)
            seen = reconcile(seen, support)
        if support.source != 'assumed':
            view = replace(view, frame=replace(view.frame, gravity=-support.up))
        model: PublishedOne2345 = self._model
        made = model.reconstruct(view, rng, progress)
        canonical, elevation = made.canonical, made.elevation
        if elevation.source == 'gravity':
            elevation = replace(elevation, source=support.source)
        with progress.stage('field', 1.0):
            solid = solid_field(made)
        with progress.stage('cut', 1.0):
            vertices, faces, voxel = self._mesh(solid, seen, support, canonical)
        with progress.stage('paint', 1.0):
            at = transform(canonical.canonical_from_camera, vertices)
            colors, measured = paint(seen, [], vertices, 1.5 * voxel, solid.color_at(at))
            mesh = Mesh(vertices, faces, colors)
            confidence = _confidence(solid, mesh, canonical, measured)
            # A distance is sure of itself wherever it is: how far the views show this surface,
            # their agreement tells.
            confidence = np.where(measured, confidence, np.float32(made.agreement) * confidence)
            if view.truncated:
                confidence = np.where(measured, confidence, np.float32(0.6) * confidence)
        return _place(mesh, canonical, elevation, confidence, measured, voxel)


def solid_field(made: PublishedSurface) -> SolidField:
    """Return a published surface as a probability that falls over a voxel, and its colours."""
    low, high = made.vertices.min(axis=0), made.vertices.max(axis=0)
    centre = 0.5 * (low + high).astype(np.float64)
    side = 1.15 * float((high - low).max())
    voxel = side / _GRID
    axis = (np.arange(_GRID) + 0.5) * voxel - 0.5 * side
    points = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), axis=-1).reshape(-1, 3)
    distance = np.clip(made.distance(points + centre) / voxel, -20.0, 20.0)
    nearest = cKDTree(made.vertices).query(points + centre)[1]
    grid = (_GRID, _GRID, _GRID)
    colors = made.colors[nearest].astype(np.float32) / np.float32(255.0)
    return SolidField(
        (1.0 / (1.0 + np.exp(distance))).astype(np.float32).reshape(grid),
        np.ascontiguousarray(colors.T).reshape(3, *grid),
        centre,
        side,
    )
