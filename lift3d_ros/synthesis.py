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
Novel view synthesis: a frame and a mask to posed views of the object.

The pipeline is ``frame, mask -> crop_object -> elevation -> canonical frame -> views``::

    synthesizer = ViewSynthesizer('small')
    views = synthesizer.synthesize(frame, mask, ring(8))

The small weights first predict a coarse volume, whose rendering conditions the denoiser; the
published weights synthesise each view from the image and the pose alone.
"""

from __future__ import annotations

from collections.abc import Callable
import gc
from typing import Any
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.elevation.estimate import ElevationSettings
from lift3d_ros.elevation.estimate import find_elevation
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import PosedViews
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.progress import Progress
from lift3d_ros.progress import ProgressCallback
from lift3d_ros.runtime import memory

if TYPE_CHECKING:
    from lift3d_ros.diffusion.sampling import SamplerSettings

#: Largest number of views of a request.
MAX_VIEWS = 256

#: Range of the camera distance from the origin, canonical units: outside of the object, and near
#: enough for the resolution of a view.
RADII = (0.9, 6.0)

#: Samplers by name.
SAMPLERS = ('fast', 'faithful')


def ring(count: int, start: float = 0.0) -> Array:
    """Return ``count`` azimuths evenly spaced over a turn from ``start``, degrees."""
    return start + np.arange(count) * 360.0 / count


class ViewSynthesizer:
    """A view model, loaded once for any number of frames; not thread-safe."""

    def __init__(
        self,
        weights: str = 'small',
        device: str = 'cpu',
        *,
        sampler: SamplerSettings | str | None = None,
        steps: int | None = None,
        elevation: ElevationSettings | None = None,
        size: int | None = None,
    ) -> None:
        """
        Configure the model without loading it.

        ``weights`` is a name of ``lift3d weights list`` or a path; ``sampler`` is settings or one
        of ``SAMPLERS``, by default ``fast``; ``steps`` replaces its number of steps; ``size`` is
        the side of the views in pixels, by default that of the weights.

        Raises ``LiftError(BAD_REQUEST)`` for an unknown sampler or device, or an invalid size.
        """
        if isinstance(sampler, str) and sampler not in SAMPLERS:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'There is no sampler "{sampler}"; choose one of {", ".join(SAMPLERS)}.',
            )
        if device not in ('cpu', 'cuda'):
            raise LiftError(
                ErrorCode.BAD_REQUEST, f'There is no device "{device}"; choose cpu or cuda.'
            )
        if size is not None and not 16 <= size <= 1024:
            raise LiftError(
                ErrorCode.BAD_REQUEST, f'Views of {size} pixels are requested; choose 16 to 1024.'
            )
        self.weights = weights
        self.device = device
        self._sampler = sampler
        self._steps = steps
        self._elevation = elevation or ElevationSettings()
        self._size = size
        self._model: Any = None

    def load(self) -> None:
        """
        Load the weights; the first synthesis does it otherwise.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``BAD_REQUEST`` for a
        device that is not available.
        """
        if self._model is not None:
            return
        from lift3d_ros.weights import store

        # Missing weights fail before the slow import of torch.
        folder = store.find(self.weights)
        import torch

        from lift3d_ros.diffusion.models import PublishedModel
        from lift3d_ros.diffusion.models import SmallModel

        if self.device == 'cuda' and not torch.cuda.is_available():
            raise LiftError(
                ErrorCode.BAD_REQUEST, 'No CUDA device is available; choose the device cpu.'
            )
        if (folder / 'coarse').is_dir():
            store.check(folder)
            self._model = SmallModel(folder, self.device, self._sampler, self._steps)
        else:
            from lift3d_ros.weights.loading import load_zero123

            dtype = torch.float16 if self.device == 'cuda' else torch.float32
            components = load_zero123(self.weights, dtype=dtype, device=self.device)
            self._model = PublishedModel(
                components, self.device, dtype, self._sampler, self._steps
            )

    def unload(self) -> None:
        """Free the memory of the model."""
        self._model = None
        gc.collect()
        if self.device == 'cuda':
            import torch

            torch.cuda.empty_cache()

    def synthesize(
        self,
        frame: Frame,
        mask: NDArray[np.bool_],
        azimuths: ArrayLike,
        elevations: ArrayLike | None = None,
        *,
        radius: float | None = None,
        seed: int = 0,
        samples: int = 1,
        coarse: bool = False,
        progress: ProgressCallback | None = None,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
    ) -> PosedViews:
        """
        Return views of the object under ``mask``, bool (height, width).

        ``azimuths`` (n,) are degrees counter-clockwise from above, 0 at the input camera;
        ``elevations`` (n,) or one number, degrees over the horizon, by default that of the input
        camera. ``radius`` is the distance from the origin in canonical units. ``samples`` is the
        number of sets of views, each with its own noise; with ``coarse`` the views are rendered
        from the coarse volume. The same ``seed`` gives the same views on the same device. For
        ``progress``, ``cancelled`` and ``deadline`` see ``Lifter.lift``.

        Raises ``LiftError``: the errors of ``crop_object`` and ``find_elevation``;
        ``BAD_REQUEST`` for poses that are not finite, too many or inside the object, and for
        ``coarse`` with weights without a coarse volume; ``OUT_OF_MEMORY``, ``CANCELLED``,
        ``TIMEOUT``.
        """
        run = Progress(progress, cancelled, deadline)
        turns, heights = _check_angles(azimuths, elevations, samples)
        with memory.exhaustion_refused():
            if self._model is None:
                with run.stage('load', 0.0):
                    self.load()
            model = self._model
            if coarse and not model.has_volume:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'The weights {self.weights} have no coarse volume; use the small weights.',
                )
            distance = _check_radius(model.radius if radius is None else radius)
            with run.stage('crop', 0.02):
                view = crop_object(frame, mask)
            with run.stage('elevation', 0.1):
                elevation = find_elevation(
                    view, self._elevation, model.learned_elevation, model.nearby
                )
                canonical = canonical_frame(view, elevation.degrees)
            if heights is None:
                heights = np.full(len(turns), canonical.elevation)
            turns, heights = np.tile(turns, samples), np.tile(heights, samples)
            poses = np.stack([
                orbit_pose(turn, height, distance)
                for turn, height in zip(turns, heights, strict=True)
            ])
            known = elevation.source in ('gravity', 'given')
            rgba = model.views(view, canonical, known, poses, seed, coarse, run)
        rgba = _resized(rgba, self._size or rgba.shape[1])
        return PosedViews(
            images=np.ascontiguousarray(rgba[..., :3]),
            alphas=np.ascontiguousarray(rgba[..., 3]),
            camera=Camera.from_fov(rgba.shape[2], rgba.shape[1], ZERO123_FOV),
            poses=poses,
            azimuths=turns,
            elevations=heights,
            radius=distance,
            canonical=canonical,
            elevation_source=elevation.source,
            elevation_stddev=elevation.stddev,
            method=self.weights,
            seconds={**run.seconds, 'total': run.total},
        )

    def coarse(
        self,
        frame: Frame,
        mask: NDArray[np.bool_],
        azimuths: ArrayLike,
        elevations: ArrayLike | None = None,
        *,
        radius: float | None = None,
        seed: int = 0,
        progress: ProgressCallback | None = None,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
    ) -> PosedViews:
        """
        Return views rendered from the coarse volume; arguments and errors as ``synthesize``.

        Raises ``LiftError(BAD_REQUEST)`` for weights without a coarse volume.
        """
        return self.synthesize(
            frame, mask, azimuths, elevations, radius=radius, seed=seed, coarse=True,
            progress=progress, cancelled=cancelled, deadline=deadline,
        )


def _resized(rgba: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return images (n, h, h, 4) with the side ``size``."""
    if size == rgba.shape[1]:
        return rgba
    filter_ = cv2.INTER_AREA if size < rgba.shape[1] else cv2.INTER_CUBIC
    return np.stack([
        cv2.resize(picture, (size, size), interpolation=filter_) for picture in rgba
    ]).astype(np.uint8)


def _check_angles(
    azimuths: ArrayLike, elevations: ArrayLike | None, samples: int
) -> tuple[Array, Array | None]:
    """Return the angles as arrays of one length; raises ``LiftError(BAD_REQUEST)``."""
    turns = np.atleast_1d(np.asarray(azimuths, np.float64))
    heights = None
    if elevations is not None:
        heights = np.atleast_1d(np.asarray(elevations, np.float64))
        if heights.ndim == 1 and len(heights) == 1:
            heights = np.repeat(heights, len(turns))
    if turns.ndim != 1 or (heights is not None and heights.shape != turns.shape):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There are {turns.size} azimuths and {0 if heights is None else heights.size} '
            'elevations; give as many of both, one elevation for all, or none.',
        )
    if not 1 <= len(turns) * samples <= MAX_VIEWS or samples < 1:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{len(turns) * samples} views are requested; request 1 to {MAX_VIEWS} at once.',
        )
    if not np.isfinite(turns).all() or (heights is not None and not np.isfinite(heights).all()):
        raise LiftError(ErrorCode.BAD_REQUEST, 'A pose has an angle that is not a finite number.')
    if heights is not None and (np.abs(heights) > 90.0).any():
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'An elevation is beyond the zenith; elevations are between -90 and 90 degrees.',
        )
    return turns, heights


def _check_radius(radius: float) -> float:
    if not RADII[0] <= radius <= RADII[1]:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'A camera at {radius:g} canonical units from the origin is inside the object or too '
            f'far from it; choose {RADII[0]:g} to {RADII[1]:g}.',
        )
    return float(radius)
