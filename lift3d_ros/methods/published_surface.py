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
The published One-2-3-45 from one view to a coloured mesh in the canonical frame.

The pipeline is ``image -> 8 views -> 32 views -> cost volume -> signed distance -> mesh``, with
the published weights of Zero-1-to-3 XL and of the surface network (One-2-3-45, ``run.py``)::

    published = PublishedOne2345.load(device='cuda', schedule='fast')
    surface = published.reconstruct(view, np.random.default_rng(0), Progress())
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
import os

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray
import torch
from torch import Tensor

from lift3d_ros.diffusion.view_plan import FAR
from lift3d_ros.diffusion.view_plan import FOCAL
from lift3d_ros.diffusion.view_plan import lens
from lift3d_ros.diffusion.view_plan import MIDDLE
from lift3d_ros.diffusion.view_plan import NEAR
from lift3d_ros.diffusion.view_plan import NEAR_STEPS
from lift3d_ros.diffusion.view_plan import PlannedView
from lift3d_ros.diffusion.view_plan import pose
from lift3d_ros.diffusion.view_plan import RADIUS
from lift3d_ros.diffusion.view_plan import SIZE
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.elevation.estimate import Elevation
from lift3d_ros.elevation.estimate import ElevationSettings
from lift3d_ros.elevation.estimate import find_elevation
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import VIEW_FILL
from lift3d_ros.geometry.frame import VIEW_SIZE
from lift3d_ros.meshing.level_set import bounded
from lift3d_ros.meshing.level_set import Distance
from lift3d_ros.meshing.level_set import level_set
from lift3d_ros.meshing.level_set import raw_level_set
from lift3d_ros.meshing.level_set import sample_grid
from lift3d_ros.meshing.level_set import sample_near_surface
from lift3d_ros.meshing.rasterizer import median_mask_iou
from lift3d_ros.methods.published_views import PublishedViews
from lift3d_ros.methods.published_views import resized
from lift3d_ros.methods.published_views import Schedule
from lift3d_ros.methods.published_views import SCHEDULES
from lift3d_ros.networks.one2345.frustum_frame import frustum_frame
from lift3d_ros.networks.one2345.frustum_frame import FrustumFrame
from lift3d_ros.networks.one2345.network import One2345Network
from lift3d_ros.networks.one2345.network import SurfaceScene
from lift3d_ros.progress import Progress
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.precision import fast_dtype

#: Canonical units in one unit of the published program, in which the object fills ``VIEW_FILL`` of
#: the image at the distance ``RADIUS``; its length in canonical units is 1.
CANONICAL_PER_PUBLISHED = FOCAL / (VIEW_FILL * SIZE * RADIUS)

#: Distance from the centre to the corner of an image at the distance of the object, published
#: units: beyond it, no view shows the whole object.
REACH = float(np.sqrt(2.0)) * MIDDLE / FOCAL * RADIUS


@dataclass(frozen=True, eq=False)
class PublishedSurface:
    """
    A reconstructed surface, in the canonical frame of the view.

    - ``vertices`` float32 (n, 3), ``faces`` int32 (m, 3), ``colors`` uint8 RGB (n, 3): the mesh in
      canonical coordinates: z up, the input camera at azimuth 0, the longest side about 1.
    - ``distance``: the signed distance (n,), negative inside, canonical lengths, at canonical
      points (n, 3); computed on demand, and undefined outside of the volume.
    - ``canonical``, ``elevation``: the frame of those coordinates, and the elevation behind it.
    - ``agreement``: 0 to 1, the median IoU of the mesh's silhouette with the eight views above
      those of the first stage.
    - ``images``: uint8 (32, s, s, 3), the views behind the surface; ``first_images``:
      those of the first stage, (8, s, s, 3). ``plan``, ``first_plan``: their poses.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colors: NDArray[np.uint8]
    distance: Callable[[ArrayLike], NDArray[np.float32]]
    canonical: CanonicalFrame
    elevation: Elevation
    agreement: float
    images: NDArray[np.uint8]
    first_images: NDArray[np.uint8]
    plan: tuple[PlannedView, ...]
    first_plan: tuple[PlannedView, ...]


@dataclass(eq=False)
class PublishedOne2345:
    """
    The loaded view model and surface network, for any number of views.

    - ``zero``: a model of the family ``zero123``; ``network``: the surface network.
    - ``schedule``: a key of ``SCHEDULES``, or a ``Schedule``.
    - ``elevation``: how it is estimated if gravity is not known. As published, the search uses the
      four views near the first view, from which the surface is reconstructed as well.
    - ``size``: side of the views in pixels; ``voxels``: of the cost volume. The published weights
      support only 256 and 96.
    - ``max_faces``: of the cleaned mesh.
    """

    zero: Zero123
    network: One2345Network
    schedule: str | Schedule = 'fast'
    elevation: ElevationSettings = field(default_factory=ElevationSettings)
    size: int = SIZE
    voxels: int = 96
    max_faces: int = 20_000

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for an unknown schedule or family."""
        if isinstance(self.schedule, str) and self.schedule not in SCHEDULES:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'There is no schedule "{self.schedule}"; choose one of {", ".join(SCHEDULES)}.',
            )
        if self.zero.family != 'zero123':
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'One-2-3-45 needs a view model of the family zero123, not {self.zero.family}; '
                'load zero123-xl.',
            )

    @classmethod
    def load(
        cls,
        views: str | os.PathLike[str] = 'zero123-xl',
        surface: str | os.PathLike[str] = 'one2345',
        *,
        device: str = 'cpu',
        schedule: str | Schedule = 'fast',
        elevation: ElevationSettings | None = None,
        max_faces: int = 20_000,
        compiled: bool = False,
    ) -> PublishedOne2345:
        """
        Load the published weights: names of ``lift3d weights list``, or paths.

        Faithful views are computed in float16 on CUDA and in float32 on the CPU, others in
        bfloat16 if the device supports it. With ``compiled``, torch compiles the denoiser on CUDA,
        which takes minutes at the first view and needs a compiler; on the CPU it has no effect.

        Raises ``LiftError``: WEIGHTS_MISSING, WEIGHTS_CORRUPT, BAD_REQUEST for a device that is
        not available.
        """
        from lift3d_ros.weights import store
        from lift3d_ros.weights.loading import load_zero123

        if device == 'cuda' and not torch.cuda.is_available():
            raise LiftError(
                ErrorCode.BAD_REQUEST, 'No CUDA device is available; choose the device cpu.')
        # Missing weights of either kind fail before gigabytes are read.
        store.find(views)
        network = One2345Network.load(surface, device)
        quick = schedule != 'faithful'
        if quick:
            dtype = fast_dtype(device)
        else:
            dtype = torch.float16 if device == 'cuda' else torch.float32
        components = load_zero123(views, dtype=dtype, device=device)
        rows = 64 if device == 'cuda' else 16
        zero = Zero123(components, device=device, dtype=dtype, max_batch=rows)
        if compiled and device == 'cuda':
            components.unet.compile(dynamic=True)
        return cls(zero, network, schedule, elevation or ElevationSettings(), max_faces=max_faces)

    def reconstruct(
        self, view: ObjectView, rng: np.random.Generator, progress: Progress
    ) -> PublishedSurface:
        """
        Return the surface of the object in a view; deterministic for a given state of ``rng``.

        Raises ``LiftError``: as ``find_elevation``; ``NO_SURFACE`` if the views show no surface;
        ``OUT_OF_MEMORY``, ``CANCELLED``, ``TIMEOUT``.
        """
        with memory.exhaustion_refused():
            return self._reconstruct(view, rng, progress)

    def _reconstruct(
        self, view: ObjectView, rng: np.random.Generator, progress: Progress
    ) -> PublishedSurface:
        settings = self.schedule
        settings = SCHEDULES[settings] if isinstance(settings, str) else settings
        views = PublishedViews(self.zero, settings, view, self.size, rng, progress)
        with progress.stage('views', 0.8):
            elevation = self._elevation(view, views)
            images, first_images, plan, first_plan = views.all(elevation.degrees)
        frame = source_frame(plan, first_plan, self.size, settings.zenith)
        with progress.stage('volume', 0.85):
            pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
            scene = self.network.scene(pictures, frame, self.voxels, progress.check)
        with progress.stage('surface', 0.95):
            vertices, faces = self._mesh(scene, frame, settings, progress)
        with progress.stage('colour', 1.0):
            shades = scene.colors(torch.from_numpy(vertices), progress.check).numpy()
        if not np.isfinite(shades).all():
            raise LiftError(
                ErrorCode.NO_SURFACE,
                'The colours of the surface are not finite; verify the weights.')
        return PublishedSurface(
            vertices=(frame.to_world(vertices) * CANONICAL_PER_PUBLISHED).astype(np.float32),
            faces=faces,
            colors=np.rint(shades.clip(0.0, 1.0) * 255.0).astype(np.uint8),
            distance=canonical_distance(scene, frame),
            canonical=canonical_frame(view, elevation.degrees),
            elevation=elevation,
            agreement=median_mask_iou(
                vertices, faces, frame.projections[::len(NEAR_STEPS)], images[::len(NEAR_STEPS)]),
            images=images,
            first_images=first_images,
            plan=plan,
            first_plan=first_plan,
        )

    def _elevation(self, view: ObjectView, views: PublishedViews) -> Elevation:
        # The search needs views of VIEW_SIZE; views of the published size are not resized.
        def nearby(view: ObjectView) -> NDArray[np.uint8]:
            return np.stack([resized(image, VIEW_SIZE) for image in views.nearby()])

        return find_elevation(view, self.elevation, None, nearby)

    def _mesh(
        self, scene: SurfaceScene, frame: FrustumFrame, settings: Schedule, progress: Progress
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        def distance(points: Tensor) -> Tensor:
            return scene.distance(points, progress.check)

        sample = sample_near_surface if settings.refine else sample_grid
        if not settings.cleaned:
            return raw_level_set(sample(distance, settings.resolution))
        centre, radius = frame.from_world(np.zeros(3)), REACH / frame.scale
        ball: Distance = bounded(distance, torch.from_numpy(centre), radius)
        vertices, faces = level_set(sample(ball, settings.resolution), self.max_faces)
        step = 2.0 / (settings.resolution - 1)
        if np.linalg.norm(vertices - centre, axis=1).max() > radius - 2.0 * step:
            raise LiftError(
                ErrorCode.NO_SURFACE,
                'The surface extends beyond the synthesised views, which are inconsistent; check '
                'the mask and the elevation.',
            )
        return vertices, faces


def source_frame(
    plan: Sequence[PlannedView],
    first_plan: Sequence[PlannedView],
    size: int = SIZE,
    zenith: str = 'fixed',
) -> FrustumFrame:
    """Return the volume's frame for the views of a plan; the world is in published units."""
    return frustum_frame(
        pose(first_plan[0], zenith=zenith), np.stack([pose(v, zenith=zenith) for v in plan]),
        lens(size), (size, size), NEAR, FAR,
    )


def canonical_distance(
    scene: SurfaceScene, frame: FrustumFrame
) -> Callable[[ArrayLike], NDArray[np.float32]]:
    """Return the signed distance over canonical points (n, 3), in canonical lengths."""

    def distance(points: ArrayLike) -> NDArray[np.float32]:
        published = np.asarray(points, np.float64).reshape(-1, 3) / CANONICAL_PER_PUBLISHED
        inside = torch.from_numpy(frame.from_world(published).astype(np.float32))
        return scene.distance(inside).numpy() * np.float32(frame.scale * CANONICAL_PER_PUBLISHED)

    return distance
