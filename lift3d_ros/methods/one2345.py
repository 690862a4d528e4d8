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
One view to posed views, posed views to a volume: the default method.

The stages of One-2-3-45 (Liu et al., 2023), with what a robot knows in addition: the volume is
upright and metric where gravity and depth are known, and the networks are conditioned on what the
camera measured. Measured depth overrides the prediction afterwards, as for every method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.elevation.estimate import Elevation
from lift3d_ros.elevation.estimate import ElevationSettings
from lift3d_ros.elevation.estimate import find_elevation
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.field import BoxUncertainty
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.fields.field import SynthesizedViews
from lift3d_ros.fields.occupancy_grid import OccupancyGrid
from lift3d_ros.fields.uncertainty import uncertainty_of_field
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.vertex_confidence import agreement_factor
from lift3d_ros.meshing.vertex_confidence import OBSERVED_CONFIDENCE
from lift3d_ros.meshing.vertex_confidence import silhouette_agreement
from lift3d_ros.observation.cleaning import with_occluder_depth
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.observation.registered_view import as_source_views
from lift3d_ros.placement.success_probability import pass_probability
from lift3d_ros.progress import Progress
from lift3d_ros.runtime import memory

#: Returns images (n, h, h, 4), uint8 RGBA on white through the lens of Zero-1-to-3, and their
#: poses (n, 4, 4), optical frames in the given canonical frame.
ViewSource = Callable[[CanonicalFrame], tuple[NDArray[np.uint8], Array]]

#: Calibration of the probability that a vertex is right, within 1 % of the diagonal: what the
#: networks state (x) and the share of vertices for which it held (y), on 99 scenes of scans of
#: the train split.
CALIBRATION_X = (0.0, 0.33, 0.39, 0.47, 0.51, 0.58, 0.62, 0.67, 0.74, 1.0)
CALIBRATION_Y = (0.34, 0.345, 0.41, 0.475, 0.555, 0.655, 0.72, 0.765, 0.80, 0.86)

#: Address space and written memory that the packaged networks take for one object of a 640 x 480
#: frame, MiB: 1819 and 920 were measured on two cores.
ADDRESS_SPACE_MIB = 1900
DATA_MIB = 950


@dataclass
class One2345:
    """
    Views from all around, a volume over them, a closed mesh: the default method.

    - ``weights``: ``small``, or the name or the folder of weights that ``lift3d weights`` knows.
    - ``device``: ``cpu`` or ``cuda``.
    - ``samples``: sets of synthesised views; the shape is their mean, their spread goes into the
      confidence. ``views``: in each set; ``coarse``: they are renderings of the coarse volume,
      not of the denoiser. ``view_source``: gives views in the place of synthesised ones.
    - ``resolution``: voxels along the longest side of the mesh's volume.
    - ``elevation``: how the camera's elevation is estimated without gravity and plane.
    """

    weights: str = 'small'
    device: str = 'cpu'
    samples: int = 1
    views: int = 8
    coarse: bool = False
    view_source: ViewSource | None = None
    resolution: int = 96
    elevation: ElevationSettings = field(default_factory=ElevationSettings)
    _model: Any = field(default=None, repr=False, compare=False)

    completes_occluded = True
    max_concurrent = 4

    def check(self) -> None:
        """
        Look for the weights, which takes no time and imports no network.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
        """
        from lift3d_ros.weights import store

        folder = store.find(self.weights)
        store.check(folder)
        if not (folder / 'surface').is_dir():
            raise LiftError(
                ErrorCode.WEIGHTS_MISSING,
                f'The weights in {folder} make views and no surface; bring weights that have a '
                'folder surface/, or choose the method geometric.',
            )

    def load(self) -> None:
        """
        Load the networks.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``BAD_REQUEST`` for a
        device that is not there, ``OUT_OF_MEMORY`` where the limits of the process are too low.
        """
        if self._model is not None:
            return
        # Before torch is imported, which aborts where memory ends in the middle of it.
        memory.check_limits(ADDRESS_SPACE_MIB, DATA_MIB)
        self.check()
        import torch

        from lift3d_ros.methods.small_reconstructor import SmallReconstructor
        from lift3d_ros.weights import store

        if self.device == 'cuda' and not torch.cuda.is_available():
            raise LiftError(
                ErrorCode.BAD_REQUEST, 'No CUDA device is available; choose the device cpu.'
            )
        self._model = SmallReconstructor(store.find(self.weights), self.device, self.samples)

    def unload(self) -> None:
        """Free what ``load`` took."""
        self._model = None

    def reconstruct(
        self, obs: ObservedObject, rng: np.random.Generator, progress: Progress
    ) -> Reconstruction:
        """
        Return the field of the object.

        Raises ``LiftError``: ``ELEVATION_UNKNOWN``, ``NO_SURFACE``, ``CANCELLED``, ``TIMEOUT``,
        and ``BAD_REQUEST`` for views of another form from ``view_source``.
        """
        from lift3d_ros.methods.small_reconstructor import view_plan

        with progress.stage('elevation', 0.1):
            elevation = self._elevation(obs)
            canonical = canonical_frame(obs.view, elevation.degrees)
        # The networks learn of an occluder from its depth.
        view = with_occluder_depth(obs.view, obs.observation)
        observed = self._model.observe(
            view, canonical, elevation.source != 'estimated', progress
        )
        poses, images = view_plan(self.views), None
        if self.view_source is not None:
            one, poses = self.view_source(canonical)
            images = one[None]
        elif self.views:
            images = self._model.synthesize(
                observed, poses, int(rng.integers(2**31)), self.coarse, progress
            )
        # What one small model synthesises gives colours to what a sensor measured, not its shape;
        # only several sets, or views of another source, change the field.
        colors_only = self.view_source is None and self.samples == 1 and canonical.metric
        solid = self._model.field(
            observed, as_source_views(obs.sources), None if colors_only else images, poses,
            progress,
        )
        views = None if images is None else SynthesizedViews(images, poses)
        length = observed.length
        if length is not None:
            # Before measured depth cuts the solid.
            length /= float(canonical.T_camera_object[2, 3]) / canonical.scale
        return Reconstruction(
            field=solid,
            canonical=canonical,
            calibration=OccupancyCalibration(solid, canonical, views),
            elevation_source=elevation.source,
            tilt_stddev=elevation.stddev,
            resolution=self.resolution,
            views=views,
            # The networks learned from views in the light of the scene, not from the exposure
            # and the white balance of a camera.
            match_exposure=True,
            length_over_depth=length,
        )

    def success_probability(self, confidence: float, metric: bool) -> float | None:
        """Return how probably a shape of that mean confidence is good (``pass_probability``)."""
        return pass_probability('one2345', confidence, metric)

    def _elevation(self, obs: ObservedObject) -> Elevation:
        """Return the elevation of the reference camera, of the support plane where one is."""
        source = obs.support.source
        if source == 'assumed':
            return find_elevation(obs.view, self.elevation, self._model.learned_elevation, None)
        degrees = obs.view.elevation()
        assert degrees is not None, 'the vertical is known'
        return Elevation(degrees, 1.0, source, source)


@dataclass(frozen=True, eq=False)
class OccupancyCalibration:
    """
    The calibration of the packaged networks' occupancy.

    Where the field and the synthesised views contradict each other, because a view shows
    something else or its pose is wrong, the confidence in unobserved surface is multiplied by
    ``agreement_factor(silhouette_agreement(...))``, which is 1 for a usual agreement.
    """

    field: OccupancyGrid
    canonical: CanonicalFrame
    views: SynthesizedViews | None

    def confidence(self, mesh: Mesh, observed: NDArray[np.bool_]) -> NDArray[np.float32]:
        """
        Return the confidence of vertices (n,); see ``Calibration``.

        The surface crosses a normal between two places if one is inside and the other is not:
        the probability of that is what the occupancy falls by from one to the other.
        """
        canonical = self.canonical
        vertices = transform(canonical.canonical_from_camera, mesh.vertices)
        normals = mesh.vertex_normals().astype(np.float64) @ canonical.T_camera_object[:3, :3]
        reach = 0.01 * float(np.linalg.norm(np.ptp(vertices, axis=0)))

        def fall(distance: float) -> Floats:
            inside = self.field.occupancy(vertices - distance * normals)
            outside = self.field.occupancy(vertices + distance * normals)
            return np.clip(inside - outside, 0.0, 1.0)

        # The grid is coarser than 1 %: what falls over a voxel to each side is shared out.
        wide = max(reach, self.field.voxel)
        guessed = np.interp(fall(wide) * (reach / wide), CALIBRATION_X, CALIBRATION_Y)
        if self.views is not None:
            agreement = silhouette_agreement(self.field, self.views.images, self.views.poses)
            guessed = agreement_factor(agreement) * guessed
        return np.where(observed, OBSERVED_CONFIDENCE, guessed).astype(np.float32)

    def box_uncertainty(
        self, mesh: Mesh, observed: NDArray[np.bool_], voxel: float
    ) -> BoxUncertainty:
        """Return the uncertainty of the box; see ``Calibration``."""
        return uncertainty_of_field(self.field, self.canonical.scale, voxel)
