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

"""The method without networks: depth, mask and symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.fields.field import BoxUncertainty
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.fields.symmetry.hypotheses import Hypothesis
from lift3d_ros.fields.symmetry.hypotheses import Plausibility
from lift3d_ros.fields.symmetry.hypotheses import REVOLUTION
from lift3d_ros.fields.symmetry.hypotheses import rotations
from lift3d_ros.fields.symmetry.search import weigh
from lift3d_ros.fields.uncertainty import uncertainty_of_guess
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.carving import search_box
from lift3d_ros.meshing.carving import SearchBox
from lift3d_ros.meshing.carving import vote_grid
from lift3d_ros.meshing.vertex_confidence import vote_confidence
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.observation.support import Support
from lift3d_ros.placement.success_probability import pass_probability
from lift3d_ros.progress import Progress

#: Thickness kept behind the measured surface, along its normal, as a share of the length of the
#: object; tuned on the train split.
MIN_THICKNESS = 0.045

#: Number of symmetries, the most plausible first, that map colours to unobserved surface.
COLORED_SYMMETRIES = 3


@dataclass(frozen=True)
class Geometric:
    """
    Depth, mask and the most plausible symmetry to a closed mesh; no weights, one CPU core.

    - ``resolution``: voxels along the longest side of the search volume.
    - ``hypotheses``: number of the most plausible symmetries that vote on the unobserved side.
    """

    resolution: int = 80
    hypotheses: int = 24
    plausibility: Plausibility = Plausibility()

    completes_occluded = False
    max_concurrent = 4

    def check(self) -> None:
        """Do nothing: there are no files to check."""

    def load(self) -> None:
        """Do nothing: there are no weights."""

    def unload(self) -> None:
        """Do nothing: no memory is held."""

    def reconstruct(
        self, obs: ObservedObject, rng: np.random.Generator, progress: Progress
    ) -> Reconstruction:
        """
        Return the votes of the symmetries as a field, in metres around the observed surface.

        Only the reference view weights the symmetries. Raises ``LiftError``:
        ``NO_SURFACE``, ``CANCELLED``, ``TIMEOUT``.
        """
        with progress.stage('symmetry', 0.5):
            box = search_box(obs.observation, obs.support)
            hypotheses = self._hypotheses(obs.observation, box, rng)
        with progress.stage('volume', 0.85):
            field = vote_grid(
                obs.observation, hypotheses, box, self.resolution, progress, obs.sources
            )
        elevation = obs.view.elevation()
        assumed = obs.support.source == 'assumed'
        if elevation is None:
            elevation = obs.support.elevation(box.T_camera_up[:3, 3])
        metric = obs.observation.depth is not None
        return Reconstruction(
            field=field,
            # Canonical units are the units of the reference view here.
            canonical=CanonicalFrame(box.T_camera_up, 1.0, elevation, metric),
            calibration=VoteCalibration(
                obs.observation, obs.support, tuple(hypotheses), box.T_camera_up
            ),
            elevation_source=obs.support.source,
            tilt_stddev=15.0 if assumed else 1.0,
            resolution=self.resolution,
            min_thickness=MIN_THICKNESS,
            symmetries=tuple(h.motions for h in hypotheses[:COLORED_SYMMETRIES]),
        )

    def success_probability(self, confidence: float, metric: bool) -> float | None:
        """Return the probability that a shape of that mean confidence is good."""
        return pass_probability('geometric', confidence, metric)

    def _hypotheses(
        self, observation: ObjectObservation, box: SearchBox, rng: np.random.Generator
    ) -> list[Hypothesis]:
        """Return hypotheses about the unobserved side, with weights."""
        if observation.depth is not None:
            return weigh(
                observation,
                box.T_camera_up,
                box.area,
                box.cells,
                box.cell_volume,
                rng,
                self.plausibility,
                self.hypotheses,
            )
        # An outline alone does not determine a symmetry. A solid of revolution neither exaggerates
        # nor omits a side.
        turns = box.T_camera_up @ rotations(0.0, 0.0, REVOLUTION) @ invert(box.T_camera_up)
        return [Hypothesis('revolution', turns, np.inf, 1.0)]


@dataclass(frozen=True, eq=False)
class VoteCalibration:
    """The calibration of the votes: the share of hypotheses with a surface at a vertex."""

    observation: ObjectObservation
    support: Support
    hypotheses: tuple[Hypothesis, ...]
    T_camera_up: Array

    def confidence(self, mesh: Mesh, observed: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the confidence of vertices (n,); see ``Calibration``."""
        diagonal = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
        return vote_confidence(
            self.observation, self.support, list(self.hypotheses), mesh.vertices, observed,
            0.02 * diagonal,
        )

    def box_uncertainty(
        self, mesh: Mesh, observed: NDArray[np.bool_], voxel: float
    ) -> BoxUncertainty:
        """Return the uncertainty of the box; see ``Calibration``."""
        return uncertainty_of_guess(mesh, self.T_camera_up, observed, voxel)
