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
From one view to posed views, and from posed views to a volume: the default method.

The stages are those of One-2-3-45 (Liu et al., 2023). In addition, the volume is upright and
metric if gravity and depth are known, and the networks are conditioned on the measured depth.
Afterwards measured depth overrides the prediction, as for every method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import TYPE_CHECKING

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
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.vertex_confidence import agreement_factor
from lift3d_ros.meshing.vertex_confidence import observed_confidence
from lift3d_ros.meshing.vertex_confidence import silhouette_agreement
from lift3d_ros.meshing.vertex_confidence import surface_decrease
from lift3d_ros.methods.symmetry_pool import pool_symmetries
from lift3d_ros.observation.cleaning import with_occluder_depth
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.observation.registered_view import as_source_views
from lift3d_ros.observation.support import with_plane_below
from lift3d_ros.placement.success_probability import pass_probability
from lift3d_ros.progress import Progress
from lift3d_ros.runtime import memory

if TYPE_CHECKING:
    from lift3d_ros.methods.small_reconstructor import Observed
    from lift3d_ros.methods.small_reconstructor import SmallReconstructor

#: Returns images (n, h, h, 4), uint8 RGBA on white with the camera of Zero-1-to-3, and their poses
#: (n, 4, 4), optical frames in the given canonical frame.
ViewSource = Callable[[CanonicalFrame], tuple[NDArray[np.uint8], Array]]

#: Calibration of the probability that an unobserved vertex is within 1 % of the diagonal of the
#: true surface: predicted probability (x), measured share of vertices of objects in full view (y),
#: and of objects behind an occluder (``OCCLUDED_Y``). On the frames of ``OBSERVED_X``.
CALIBRATION_X = (0.0, 0.14, 0.23, 0.30, 0.36, 0.42, 0.48, 0.54, 0.60, 0.70, 1.0)
CALIBRATION_Y = (0.28, 0.30, 0.335, 0.40, 0.46, 0.515, 0.57, 0.61, 0.65, 0.735, 0.82)
OCCLUDED_Y = (0.26, 0.265, 0.27, 0.275, 0.31, 0.365, 0.41, 0.46, 0.53, 0.63, 0.75)

#: Address space and written memory of the packaged networks for one object of a 640 x 480 frame,
#: MiB; 1819 and 920 were measured on two cores.
ADDRESS_SPACE_MIB = 1900
DATA_MIB = 950


@dataclass(frozen=True, eq=False)
class LevelledView:
    """
    What is known of an object before anything is predicted beyond the coarse volume.

    - ``elevation``: of the reference camera; ``canonical``: the frame that it defines.
    - ``observed``: the coarse volume and the inputs of the networks.
    """

    elevation: Elevation
    canonical: CanonicalFrame
    observed: Observed


@dataclass
class One2345:
    """
    Synthesised views from all sides, a volume from them, a closed mesh: the default method.

    - ``weights``: ``small``, or a name of ``lift3d weights list``, or a folder.
    - ``device``: ``cpu`` or ``cuda``.
    - ``samples``: number of sets of synthesised views; the shape is their mean, and the confidence
      includes their spread. ``views``: number of views in each set; ``coarse``: use renderings of
      the coarse volume instead of the denoiser. ``view_source``: replaces the synthesised views.
    - ``resolution``: voxels along the longest side of the mesh's volume.
    - ``symmetries``: let plausible symmetries vote on the unobserved side, where one view with
      depth is all that there is (``methods.symmetry_pool``).
    - ``elevation``: how the elevation of the camera is estimated without gravity and plane.
    """

    weights: str = 'small'
    device: str = 'cpu'
    samples: int = 1
    views: int = 8
    coarse: bool = False
    view_source: ViewSource | None = None
    resolution: int = 96
    symmetries: bool = True
    elevation: ElevationSettings = field(default_factory=ElevationSettings)
    _model: Any = field(default=None, repr=False, compare=False)

    completes_occluded = True
    max_concurrent = 4

    def check(self) -> None:
        """
        Check that the weights are present, without importing torch.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
        """
        from lift3d_ros.weights import store

        folder = store.find(self.weights)
        store.check(folder)
        if not (folder / 'surface').is_dir():
            raise LiftError(
                ErrorCode.WEIGHTS_MISSING,
                f'The weights in {folder} have no surface network; use weights with a folder '
                'surface/, or choose the method geometric.',
            )

    def load(self) -> None:
        """
        Load the networks.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``BAD_REQUEST`` for a
        device that is not available, ``OUT_OF_MEMORY`` if the limits of the process are too low.
        """
        if self._model is not None:
            return
        # Before the import of torch, which aborts the process if memory is exhausted.
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
        """Free the networks."""
        self._model = None

    def reconstruct(
        self, obs: ObservedObject, rng: np.random.Generator, progress: Progress
    ) -> Reconstruction:
        """
        Return the field of the object.

        Raises ``LiftError``: ``ELEVATION_UNKNOWN``, ``NO_SURFACE``, ``CANCELLED``, ``TIMEOUT``,
        and ``BAD_REQUEST`` for invalid views from ``view_source``.
        """
        return self.complete(obs, self.level(obs, progress), rng, progress)

    @property
    def networks(self) -> SmallReconstructor:
        """The loaded networks."""
        assert self._model is not None, 'the method is loaded'
        model: SmallReconstructor = self._model
        return model

    def level(self, obs: ObservedObject, progress: Progress) -> LevelledView:
        """
        Return the canonical frame and the coarse volume of an object.

        Raises ``LiftError``: ``ELEVATION_UNKNOWN``, ``CANCELLED``, ``TIMEOUT``.
        """
        with progress.stage('elevation', 0.1):
            elevation = self._elevation(obs)
            canonical = canonical_frame(obs.view, elevation.degrees)
        # The depth of occluders and of what carries the object is an input of the networks.
        view = with_occluder_depth(obs.view, obs.observation)
        view = with_plane_below(view, obs.observation, obs.support)
        observed = self._model.observe(
            view, canonical, elevation.source != 'estimated', progress
        )
        return LevelledView(elevation, canonical, observed)

    def complete(
        self,
        obs: ObservedObject,
        levelled: LevelledView,
        rng: np.random.Generator,
        progress: Progress,
    ) -> Reconstruction:
        """Return the field of the object from the result of ``level``; see ``reconstruct``."""
        from lift3d_ros.methods.small_reconstructor import view_plan

        elevation, canonical = levelled.elevation, levelled.canonical
        observed = levelled.observed
        poses, images = view_plan(self.views), None
        if self.view_source is not None:
            view_set, poses = self.view_source(canonical)
            images = view_set[None]
        elif self.views:
            images = self._model.synthesize(
                observed, poses, int(rng.integers(2**31)), self.coarse, progress
            )
        # With measured depth, one set of synthesised views contributes colours only; several sets,
        # or views from another source, also change the shape.
        colors_only = self.view_source is None and self.samples == 1 and canonical.metric
        occupancy = self._model.field(
            observed, as_source_views(obs.sources), None if colors_only else images, poses,
            progress,
        )
        # The confidence is that of the networks: their field is what it was calibrated on.
        calibration = OccupancyCalibration(
            occupancy, canonical, None if images is None else SynthesizedViews(images, poses),
            bool(obs.observation.occluder.any()))
        if canonical.metric and not obs.sources and self.view_source is None and self.symmetries:
            with progress.stage('symmetry', 0.65):
                occupancy = pool_symmetries(occupancy, canonical, obs, rng, progress)
        length = observed.length
        if length is not None:
            # Of the prediction, before measured depth cuts the field.
            length /= float(canonical.T_camera_object[2, 3]) / canonical.scale
        return Reconstruction(
            field=occupancy,
            canonical=canonical,
            calibration=calibration,
            elevation_source=elevation.source,
            tilt_stddev=elevation.stddev,
            resolution=self.resolution,
            views=calibration.views,
            # The training views had neither the exposure nor the white balance of a camera.
            match_exposure=True,
            length_over_depth=length,
        )

    def success_probability(self, confidence: float, metric: bool) -> float | None:
        """Return the probability that a shape of that mean confidence is good."""
        return pass_probability('one2345', confidence, metric)

    def _elevation(self, obs: ObservedObject) -> Elevation:
        """Return the elevation of the reference camera, from the support if it is known."""
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

    If the field and the synthesised views disagree, because a view shows another object or has a
    wrong pose, the confidence of unobserved surface is multiplied by
    ``agreement_factor(silhouette_agreement(...))``, which is 1 for a normal agreement.
    ``occluded`` is whether an occluder covers a part of the object.
    """

    field: OccupancyGrid
    canonical: CanonicalFrame
    views: SynthesizedViews | None
    occluded: bool = False

    def confidence(self, mesh: Mesh, observed: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the confidence of vertices (n,); see ``Calibration``."""
        decrease = surface_decrease(self.field, self.canonical, mesh)
        measured = OCCLUDED_Y if self.occluded else CALIBRATION_Y
        predicted = np.interp(decrease, CALIBRATION_X, measured)
        if self.views is not None:
            agreement = silhouette_agreement(self.field, self.views.images, self.views.poses)
            predicted = agreement_factor(agreement) * predicted
        return np.where(
            observed, observed_confidence(mesh.vertices), predicted).astype(np.float32)

    def box_uncertainty(
        self, mesh: Mesh, observed: NDArray[np.bool_], voxel: float
    ) -> BoxUncertainty:
        """Return the uncertainty of the box; see ``Calibration``."""
        return uncertainty_of_field(self.field, self.canonical.scale, voxel)
