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
The published One-2-3-45 as a method: its surface as a field.

The surface comes from ``methods/published_surface.py``, in the canonical frame of the view.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.elevation.estimate import ElevationSettings
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.field import BoxUncertainty
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.fields.uncertainty import uncertainty_of_guess
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.rasterizer import Surface
from lift3d_ros.meshing.rasterizer import window
from lift3d_ros.meshing.vertex_confidence import observed_confidence
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.placement.alignment import align_to_depth
from lift3d_ros.progress import Progress
from lift3d_ros.weights import store
from lift3d_ros.weights.catalog import CATALOG

if TYPE_CHECKING:
    from lift3d_ros.methods.published_surface import PublishedSurface

#: The published system with the schedule ``fast``, and with ``faithful``.
FULL = 'full'
FAITHFUL = 'full-faithful'

#: Names of its weights in the store: the default view model, and the surface network.
VIEWS = 'zero123-xl'
SURFACE = 'one2345'

#: Largest confidence of predicted surface, reached if all views agree on it: the published weights
#: predict no confidence, and none is calibrated.
MAX_CONFIDENCE = 0.4

#: The published volume has 36 of its 96 voxels for an object of the canonical length 1.
_VOXEL = 1.0 / 36.0

#: Distance from the box of the mesh up to which the probability is computed, canonical units.
_MARGIN = 3.0 * _VOXEL


def published_views(weights: str) -> str | None:
    """
    Return the Zero-1-to-3 weights, a name or a path, that a choice of weights selects.

    ``FULL`` and ``FAITHFUL`` select ``VIEWS``. A name of the catalogue that is not packaged, a
    checkpoint file and a diffusers folder select themselves. None for everything else: small
    weights, and weights that are missing.
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
    # Small weights have both a denoiser and a coarse volume.
    is_diffusers = (path / 'unet').is_dir() and not (path / 'coarse').is_dir()
    return weights if path.is_file() or is_diffusers else None


@dataclass
class One2345Published:
    """
    The published weights of Zero-1-to-3 XL and One-2-3-45, both supplied by the user.

    - ``weights``: ``full``, ``full-faithful``, or Zero-1-to-3 weights instead of XL: a name,
      a checkpoint file or a diffusers folder. ``device``: ``cpu`` or ``cuda``.
    - ``schedule``: a key of ``published_views.SCHEDULES``; ``faithful`` for ``full-faithful``.
    - ``resolution``: voxels along the longest side of the mesh's volume; ``max_faces``: of the
      published surface.
    - ``elevation``: how the elevation of the camera is estimated without gravity and plane.

    The published networks have one view as input: source views only cut and colour their surface.
    The confidence is not calibrated for these weights: it ranks vertices and is no probability.
    """

    weights: str = 'full'
    device: str = 'cpu'
    schedule: str = 'fast'
    resolution: int = 96
    max_faces: int = 20_000
    elevation: ElevationSettings = field(default_factory=ElevationSettings)
    _model: Any = field(default=None, repr=False, compare=False)

    completes_occluded = True
    #: One object at a time: the published networks need most of the memory.
    max_concurrent = 1

    def __post_init__(self) -> None:
        """Set the schedule that ``full-faithful`` implies."""
        if self.weights == FAITHFUL:
            self.schedule = 'faithful'

    def check(self) -> None:
        """
        Check that the weights of views and surface are present, without importing torch.

        Raises ``LiftError``: WEIGHTS_MISSING, which names each missing file and how to get it;
        WEIGHTS_CORRUPT; BAD_REQUEST for weights of another family.
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

        Raises ``LiftError`` as ``check``, and ``BAD_REQUEST`` for a device that is not available.
        """
        if self._model is not None:
            return
        self.check()
        from lift3d_ros.methods.published_surface import PublishedOne2345

        self._model = PublishedOne2345.load(
            *(source for source, _ in self._sources()), device=self.device,
            schedule=self.schedule, elevation=self.elevation, max_faces=self.max_faces,
        )

    def unload(self) -> None:
        """Free the networks."""
        self._model = None

    def reconstruct(
        self, obs: ObservedObject, rng: np.random.Generator, progress: Progress
    ) -> Reconstruction:
        """
        Return the published surface as a field, aligned with the depth if there is any.

        Raises ``LiftError``: ``NO_DEPTH_IN_MASK``, and as ``PublishedOne2345.reconstruct``.
        """
        surface = self._model.reconstruct(obs.view, rng, progress.part(0.02, 0.9))
        canonical, elevation = surface.canonical, surface.elevation
        if obs.view.frame.depth is not None:
            with progress.stage('align', 0.92):
                canonical = _aligned_frame(surface, obs.view)
        field = PublishedField(surface)
        return Reconstruction(
            field=field,
            canonical=canonical,
            calibration=ViewAgreement(field, canonical, surface.agreement),
            elevation_source=(
                obs.support.source if elevation.source == 'gravity' else elevation.source
            ),
            tilt_stddev=elevation.stddev,
            resolution=self.resolution,
        )

    def success_probability(self, confidence: float, metric: bool) -> float | None:
        """Return None: the published weights are not calibrated."""
        return None

    def _sources(self) -> tuple[tuple[str, str], ...]:
        """Return names or paths of the weights, and the family that each must be of."""
        return (published_views(self.weights) or self.weights, 'zero123'), (SURFACE, 'one2345')


@dataclass(frozen=True, eq=False)
class ViewAgreement:
    """
    The substitute for a calibration with the published weights.

    ``agreement`` is the silhouette agreement of mesh and views, 0 to 1.
    """

    field: PublishedField
    canonical: CanonicalFrame
    agreement: float

    def confidence(self, mesh: Mesh, observed: NDArray[np.bool_]) -> NDArray[np.float32]:
        """
        Return the confidence of vertices (n,); see ``Calibration``.

        For unobserved surface it is ``MAX_CONFIDENCE`` times the agreement, and lower where depth
        or masks moved the surface away from the published one.
        """
        points = transform(self.canonical.canonical_from_camera, mesh.vertices)
        inside = self.field.occupancy(points)
        # The occupancy of the published surface is 0.5, for which the factor is 1.
        predicted = MAX_CONFIDENCE * self.agreement * 4.0 * inside * (1.0 - inside)
        return np.where(
            observed, observed_confidence(mesh.vertices), predicted).astype(np.float32)

    def box_uncertainty(
        self, mesh: Mesh, observed: NDArray[np.bool_], voxel: float
    ) -> BoxUncertainty:
        """Return the uncertainty of the box; see ``Calibration``."""
        return uncertainty_of_guess(mesh, self.canonical.T_camera_object, observed, voxel)


class PublishedField:
    """
    A published surface as a ``Field``.

    The probability of being inside is the logistic function of the signed distance over a voxel of
    the published volume. A colour is that of the nearest vertex. Far from the mesh, whose box is
    ``centre`` and ``side``, the distance is undefined, and the probability is 0.
    """

    voxel = _VOXEL

    def __init__(self, surface: PublishedSurface) -> None:
        """Index the vertices."""
        from scipy.spatial import cKDTree

        self._surface = surface
        self._tree = cKDTree(surface.vertices)
        vertices = surface.vertices.astype(np.float64)
        self._low, self._high = vertices.min(axis=0), vertices.max(axis=0)
        self.centre: Array = 0.5 * (self._low + self._high)
        self.side = float((self._high - self._low).max()) + 2.0 * _MARGIN

    def occupancy(self, points: Floats) -> NDArray[np.float32]:
        """Return the probability of being inside, (n,), at canonical points (n, 3)."""
        from scipy.special import expit

        points = np.asarray(points, np.float64)
        near = ((points > self._low - _MARGIN) & (points < self._high + _MARGIN)).all(axis=1)
        probability = np.zeros(len(points), np.float32)
        probability[near] = expit(self._surface.distance(points[near]) / np.float32(-_VOXEL))
        return probability

    def colors(self, points: Floats) -> NDArray[np.uint8] | None:
        """Return uint8 RGB (n, 3) at canonical points (n, 3)."""
        _, nearest = self._tree.query(points)
        return self._surface.colors[nearest]

    def bounds(self, level: float) -> tuple[Array, Array]:
        """Return the corners (3,) of a box that contains all occupancy >= ``level``."""
        from scipy.special import logit

        margin = float(np.clip(_VOXEL * logit(1.0 - level), 0.0, _MARGIN))
        return self._low - margin, self._high + margin


def _aligned_frame(published: PublishedSurface, view: ObjectView) -> CanonicalFrame:
    """
    Return the canonical frame of a surface that is aligned with the mask and the depth.

    Raises ``LiftError(NO_DEPTH_IN_MASK)`` as ``align_to_depth``.
    """
    old = published.canonical
    surface = Surface.of(transform(old.camera_from_canonical, published.vertices), published.faces)
    up = None if view.frame.gravity is None else -view.frame.gravity
    T = align_to_depth(surface, window(view), up).T
    factor = float(np.cbrt(np.linalg.det(T[:3, :3])))
    axes = T[:3, :3] @ old.T_camera_object[:3, :3] / factor
    middle = transform(T, old.T_camera_object[:3, 3])
    return replace(old, T_camera_object=rigid(axes, middle), scale=factor * old.scale)


def _check_family(source: str, family: str | None, required: str) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` if weights are known to be of another family."""
    if family not in (None, required):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The weights {source} are of the family {family}, but One-2-3-45 needs the family '
            f'{required}; choose the weights {FULL}, or see `lift3d weights list`.',
        )
