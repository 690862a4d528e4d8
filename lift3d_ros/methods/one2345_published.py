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
The published One-2-3-45 as a method: its surface, placed, and cut by what was measured.

The surface comes from ``methods/published_surface.py``, in the canonical frame of the view; from
there on it goes the way of the small weights, through ``One2345``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.mesh_extraction import extract_mesh
from lift3d_ros.meshing.rasterizer import Surface
from lift3d_ros.meshing.rasterizer import window
from lift3d_ros.meshing.vertex_colors import color_from_reference
from lift3d_ros.meshing.vertex_colors import color_from_sources
from lift3d_ros.meshing.vertex_confidence import OBSERVED_CONFIDENCE
from lift3d_ros.methods.one2345 import _place
from lift3d_ros.methods.one2345 import One2345
from lift3d_ros.methods.one2345 import ViewSource
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.mask_refinement import refine_mask
from lift3d_ros.observation.plane_mask import plane_notes
from lift3d_ros.observation.registered_view import RegisteredView
from lift3d_ros.observation.registration import register_views
from lift3d_ros.observation.support import find_support
from lift3d_ros.placement.alignment import align_to_depth
from lift3d_ros.placement.object_frame import uncertainty_of_guess
from lift3d_ros.progress import Progress
from lift3d_ros.weights import store
from lift3d_ros.weights.catalog import CATALOG

if TYPE_CHECKING:
    from lift3d_ros.methods.published_surface import PublishedOne2345
    from lift3d_ros.methods.published_surface import PublishedSurface

#: The published system with the schedule ``fast``, and with ``faithful``.
FULL = 'full'
FAITHFUL = 'full-faithful'

#: What its weights are called in the store: of the views, unless others are named, and of the
#: surface.
VIEWS = 'zero123-xl'
SURFACE = 'one2345'

#: Confidence in guessed surface is at most this, and only where all views agree on it: the
#: published weights give no measure of their own, and none was calibrated.
MOST_CONFIDENCE = 0.4

#: The published volume has 36 of its 96 voxels for an object of the canonical length 1.
_VOXEL = 1.0 / 36.0

#: So far from the mesh's box a probability is still asked for.
_MARGIN = 3.0 * _VOXEL


def published_views(weights: str) -> str | None:
    """
    Return the weights of Zero-1-to-3, a name or a path, that a choice of weights asks for.

    ``FULL`` and ``FAITHFUL`` ask for ``VIEWS``; another name of the catalogue that is not
    packaged, a checkpoint file, and a diffusers folder for themselves. None is for all else:
    small weights, and what is not there.
    """
    if weights in (FULL, FAITHFUL):
        return VIEWS
    entry = CATALOG.get(weights)
    if entry is not None:
        return None if entry.packaged else weights
    try:
        path = store.find(weights)
    except LiftError:
        return None
    # Small weights have a denoiser, too, and a coarse volume besides.
    folder = (path / 'unet').is_dir() and not (path / 'coarse').is_dir()
    return weights if path.is_file() or folder else None


@dataclass
class One2345Full(One2345):
    """
    The published weights of Zero-1-to-3 XL and One-2-3-45, of which the user has brought both.

    - ``weights``: ``full``, ``full-faithful``, or Zero-1-to-3 weights in the place of XL: a name,
      a checkpoint file or a diffusers folder.
    - ``schedule``: a key of ``published.SCHEDULES``; ``full-faithful`` takes ``faithful``.

    ``views`` and ``coarse`` are for the small weights alone: there are always 32 views, and one
    set of them.

    No confidence was calibrated for these weights. In guessed surface it is ``MOST_CONFIDENCE``
    times the agreement of mesh and views, less where the surface was moved away from the
    published one; read it as an order and not as a probability.
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
        if self.weights == FAITHFUL:
            self.schedule = 'faithful'

    def check(self) -> None:
        """
        Look for the weights of views and surface, which takes no time and imports no network.

        Raises ``LiftError``: WEIGHTS_MISSING, which names each that is not there and how to bring
        it; WEIGHTS_CORRUPT; BAD_REQUEST for weights of another family.
        """
        missing = []
        for source, family in self._sources():
            known = CATALOG[source].family if source in CATALOG else None
            _check_family(source, known, family)
            try:
                path = store.find(source)
            except LiftError as error:
                missing.append(error.message)
                continue
            if path.is_dir():
                store.check(path)
                manifest = store.read_manifest(path) or {}
                _check_family(source, manifest.get('family'), family)
        if missing:
            raise LiftError(ErrorCode.WEIGHTS_MISSING, ' '.join(missing))

    def load(self) -> None:
        """
        Load the networks.

        Raises ``LiftError`` as ``check``, and ``BAD_REQUEST`` for a device that is not there.
        """
        if self._model is not None:
            return
        self.check()
        from lift3d_ros.methods.published_surface import PublishedOne2345

        self._model = PublishedOne2345.load(
            *(source for source, _ in self._sources()), device=self.device,
            schedule=self.schedule, elevation=self.elevation, max_faces=self.max_faces,
        )

    def lift_with(
        self,
        view: ObjectView,
        given: ViewSource | None,
        rng: np.random.Generator,
        progress: Progress,
        further: Sequence[SourceView] = (),
    ) -> Shape:
        """
        Return the shape of the object in the view.

        The published networks know one view; ``further`` ones cut and colour what comes of it.
        Raises ``LiftError``: ``BAD_REQUEST`` for views that are ``given``, ``NO_DEPTH_IN_MASK``,
        and what ``PublishedOne2345.reconstruct`` raises.
        """
        if given is not None:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                'The published weights make their views themselves; take the weights small for '
                'views that are given.',
            )
        model: PublishedOne2345 = self._model
        with progress.stage('observe', 0.02):
            seen = observe(view)
            support = find_support(seen, view.frame.gravity, rng)
            doubts = plane_notes(seen, support)
            seen = refine_mask(seen, support)
            seen, others = register_views(view, seen, support, further)
        if support.source != 'assumed':
            view = replace(view, frame=replace(view.frame, gravity=-support.up))
        made = model.reconstruct(view, rng, progress.part(0.02, 0.9))
        canonical, elevation = made.canonical, made.elevation
        if elevation.source == 'gravity':
            elevation = replace(elevation, source=support.source)
        if view.frame.depth is not None:
            with progress.stage('align', 0.92):
                canonical = _on_depth(made, view)
        solid = PublishedSolid(made)
        with progress.stage('mesh', 0.97):
            found = extract_mesh(
                solid, seen, support, canonical, others, self.resolution, self.max_faces
            )
            vertices, faces, voxel = found.vertices, found.faces, found.voxel
        with progress.stage('colour', 1.0):
            at = transform(canonical.canonical_from_camera, vertices)
            colors, measured = color_from_reference(
                seen, [], vertices, 1.5 * voxel, solid.color_at(at)
            )
            mesh = Mesh(vertices, faces, colors)
            colors, measured, certainty = color_from_sources(
                RegisteredView(seen, view, np.eye(4)), others, mesh, measured, 1.5 * voxel
            )
            inside = solid.probability_at(at)
            # On the published surface it is one half, and the product one.
            guessed = MOST_CONFIDENCE * made.agreement * 4.0 * inside * (1.0 - inside)
            if view.truncated:
                guessed = 0.6 * guessed
            confidence = np.where(
                measured, OBSERVED_CONFIDENCE * certainty, guessed
            ).astype(np.float32)
        mesh = Mesh(vertices, faces, colors)
        uncertainty = uncertainty_of_guess(mesh, canonical.T_camera_object, measured, voxel)
        return _place(
            mesh,
            canonical,
            elevation,
            confidence,
            measured,
            uncertainty,
            (*doubts, *found.notes),
        )

    def _sources(self) -> tuple[tuple[str, str], ...]:
        """Return names or paths of the weights, and the family that each must be of."""
        return (published_views(self.weights) or self.weights, 'zero123'), (SURFACE, 'one2345')


def _on_depth(made: PublishedSurface, view: ObjectView) -> CanonicalFrame:
    """
    Return the canonical frame of a surface that is laid on the mask and on what was measured.

    Raises ``LiftError(NO_DEPTH_IN_MASK)`` as ``align_to_depth``.
    """
    old = made.canonical
    surface = Surface.of(transform(old.camera_from_canonical, made.vertices), made.faces)
    up = None if view.frame.gravity is None else -view.frame.gravity
    T = align_to_depth(surface, window(view), up).T
    factor = float(np.cbrt(np.linalg.det(T[:3, :3])))
    axes = T[:3, :3] @ old.T_camera_object[:3, :3] / factor
    middle = transform(T, old.T_camera_object[:3, 3])
    return replace(old, T_camera_object=rigid(axes, middle), scale=factor * old.scale)


class PublishedSolid:
    """
    A published surface as a ``Solid``.

    The probability of being inside is the logistic function of the signed distance over a voxel of
    the published volume; a colour is that of the nearest vertex. Away from the mesh, whose box is
    ``centre`` and ``side``, the distance says nothing, and the probability is 0.
    """

    voxel = _VOXEL

    def __init__(self, made: PublishedSurface) -> None:
        """Index the vertices."""
        from scipy.spatial import cKDTree

        self._made = made
        self._tree = cKDTree(made.vertices)
        vertices = made.vertices.astype(np.float64)
        self._low, self._high = vertices.min(axis=0), vertices.max(axis=0)
        self.centre: Array = 0.5 * (self._low + self._high)
        self.side = float((self._high - self._low).max()) + 2.0 * _MARGIN

    def probability_at(self, points: Floats) -> NDArray[np.float32]:
        """Return the probability of being inside, (n,), at canonical points (n, 3)."""
        from scipy.special import expit

        points = np.asarray(points, np.float64)
        near = ((points > self._low - _MARGIN) & (points < self._high + _MARGIN)).all(axis=1)
        probability = np.zeros(len(points), np.float32)
        probability[near] = expit(self._made.distance(points[near]) / np.float32(-_VOXEL))
        return probability

    def color_at(self, points: Floats) -> NDArray[np.uint8]:
        """Return uint8 RGB (n, 3) at canonical points (n, 3)."""
        _, nearest = self._tree.query(points)
        return self._made.colors[nearest]

    def bounds(self, level: float) -> tuple[Array, Array]:
        """Return the corners (3,) of a box that holds all that is at or over ``level``."""
        from scipy.special import logit

        beyond = float(np.clip(_VOXEL * logit(1.0 - level), 0.0, _MARGIN))
        return self._low - beyond, self._high + beyond


def _check_family(source: str, found: str | None, wanted: str) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` where weights are known to be of another family."""
    if found not in (None, wanted):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The weights {source} are of the family {found}, and One-2-3-45 takes {wanted}; '
            f'choose the weights {FULL}, or others of that family (`lift3d weights list`).',
        )
