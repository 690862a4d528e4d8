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
Training samples of the small networks: a view of an object, its occupancy and target views.

A sample is a function of its number, which determines the object (a scan of the train split or a
procedural one), its augmentation, the scene, the errors of detector and sensor and the target
cameras. Views are rendered by ``make_scene`` and cropped by ``crop_object``, as in inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import upright_sides
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.networks.small.coarse_inputs import coarse_inputs
from lift3d_ros.networks.small.coarse_inputs import voxel_centres
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.synthetic.true_views import object_from_canonical
from lift3d_ros.synthetic.true_views import true_view
from lift3d_ros.training.augmentation import varied

#: Side of the target views, pixels, and of the occupancy grid, voxels.
TARGET_SIZE = 128
SOLID_SIZE = 64

#: Elevations of target cameras, degrees, and the share of the low ones, which supervise the colour
#: of the underside; no view is synthesised from below.
ELEVATIONS, LOW_ELEVATIONS, LOW_SHARE = (-15.0, 65.0), (-80.0, -15.0), 0.35

#: Distance of the target cameras from the origin, canonical units.
RADIUS = 1.7


@dataclass(frozen=True)
class SampleSettings:
    """
    Ranges of the random parameters of samples; shares are between 0 and 1.

    - ``scans``: share of scans; the others are procedural objects.
    - ``depth``: share with a depth image.
    - ``gravity``: share with known gravity; for the others the elevation has an error of
      ``elevation_error`` degrees.
    - ``table``: share of objects on a table, viewed from ``elevation_on_table``; the others are
      in the air, viewed from ``elevation_in_air``.
    - ``noisy_masks``: share of masks with the errors of a detector.
    - ``occluded``: share of occluded objects.
    - ``targets``: target views of a sample.
    - ``varied``: whether objects are augmented (``augmentation.varied``).
    """

    scans: float = 0.5
    depth: float = 0.55
    gravity: float = 0.75
    elevation_error: float = 6.0
    table: float = 0.85
    elevation_on_table: tuple[float, float] = (8.0, 72.0)
    elevation_in_air: tuple[float, float] = (-25.0, 75.0)
    noisy_masks: float = 0.35
    occluded: float = 0.12
    targets: int = 3
    varied: bool = True


@dataclass(frozen=True, eq=False)
class Sample:
    """
    A view with ground truth, canonical units.

    - ``picture``: uint8 RGBA (size, size, 4); ``depth``: float16 (size, size), 0 = none;
      ``focal`` (2,), ``centre`` (2,): of their camera, pixels; ``pose``: (4, 4), that camera's
      optical frame in canonical coordinates; ``flags``: whether depth and gravity are known.
    - ``solid``: bool (64, 64, 64), occupancy at the voxel centres, axes x, y, z.
    - ``targets``: uint8 RGBA (n, 128, 128, 4); ``target_poses``: (n, 4, 4).
    - ``elevation``: float32 (), the true one, degrees.
    - ``sides``: float32 (1 + n, 3), of the object's upright box (``upright_sides``), scaled so
      that its centre has the depth of the origin, in the input camera and the targets.
    """

    picture: NDArray[np.uint8]
    depth: NDArray[np.float16]
    focal: NDArray[np.float32]
    centre: NDArray[np.float32]
    pose: NDArray[np.float32]
    flags: NDArray[np.float32]
    solid: NDArray[np.bool_]
    targets: NDArray[np.uint8]
    target_poses: NDArray[np.float32]
    elevation: NDArray[np.float32]
    sides: NDArray[np.float32]


def make_sample(
    number: int, scans: Sequence[ObjectEntry], settings: SampleSettings | None = None
) -> Sample:
    """Return the sample of that number; without ``scans`` all objects are procedural."""
    settings = settings or SampleSettings()
    rng = np.random.default_rng([number, 0x5A3])
    while True:
        try:
            return _draw(rng, scans, settings)
        except (LiftError, ValueError):
            # An object that is hardly visible, or an occluder without space: draw again.
            continue


def _draw(
    rng: np.random.Generator, scans: Sequence[ObjectEntry], settings: SampleSettings
) -> Sample:
    scanned = bool(scans) and rng.random() < settings.scans
    mesh = _draw_object(rng, scans, scanned)
    if settings.varied:
        mesh = varied(mesh, rng)
    occluder = None
    if rng.random() < settings.occluded:
        occluder = _draw_object(rng, scans, bool(scans))
    on_table = occluder is not None or rng.random() < settings.table
    width = int(rng.choice([320, 400, 480]))
    focal = float(width * rng.uniform(0.6, 1.0))
    table = TableSettings(
        elevation=settings.elevation_on_table if on_table else settings.elevation_in_air,
        fill=(0.22, 0.7),
        camera=Camera(width, int(0.75 * width), focal, focal, width / 2.0, 0.375 * width),
        window=1.4,
        table_cells=10 if on_table else 0,
    )
    scene = make_scene(mesh, int(rng.integers(2**31)), table, occluder)
    mask = scene.detection if rng.random() < settings.noisy_masks else scene.mask
    frame = scene.frame
    if rng.random() >= settings.depth:
        frame = replace(frame, depth=None)
    error = 0.0
    gravity = rng.random() < settings.gravity
    if not gravity:
        frame = replace(frame, gravity=None)
        error = float(np.clip(rng.normal(0.0, settings.elevation_error), -20.0, 20.0))
    view = crop_object(frame, mask)
    true_elevation = crop_object(scene.frame, mask).elevation()
    assert true_elevation is not None, 'a scene has gravity'
    canonical = canonical_frame(view, true_elevation + error)
    return _observed(
        view, canonical, scene, true_elevation, gravity, rng, settings.targets, scanned
    )


def _observed(
    view: ObjectView,
    canonical: CanonicalFrame,
    scene: TableScene,
    elevation: float,
    gravity: bool,
    rng: np.random.Generator,
    targets: int,
    scanned: bool,
) -> Sample:
    low, high = scene.mesh.vertices.min(axis=0), scene.mesh.vertices.max(axis=0)
    T_object_canonical = object_from_canonical(
        canonical, scene.T_camera_object, (low + high).astype(np.float64) / 2.0
    )
    unit = float(np.cbrt(np.linalg.det(T_object_canonical[:3, :3])))
    sides = upright_sides(scene.mesh.vertices, np.array([0.0, 0.0, 1.0])) / unit
    middle = transform(np.linalg.inv(T_object_canonical), 0.5 * (low + high))
    caster = Raycaster([scene.mesh])
    points = voxel_centres(SOLID_SIZE).reshape(-1, 3)
    solid = caster.contains(transform(T_object_canonical, points), 3 if scanned else 1)
    pictures, poses = [], []
    for index in range(targets):
        azimuth = float(rng.uniform(-180.0, 180.0))
        height = float(rng.uniform(*(LOW_ELEVATIONS if rng.random() < LOW_SHARE else ELEVATIONS)))
        if index % 2 == 0:
            height = float(np.clip(canonical.elevation + rng.normal(0.0, 8.0), -40.0, 80.0))
        pose = orbit_pose(azimuth, height, RADIUS)
        pictures.append(true_view(caster, T_object_canonical, pose, TARGET_SIZE, scene.light))
        poses.append(pose)
    inputs = coarse_inputs(view, canonical, gravity)
    return Sample(
        picture=inputs.picture,
        depth=inputs.depth.astype(np.float16),
        focal=inputs.focal,
        centre=inputs.centre,
        pose=inputs.pose,
        flags=inputs.flags,
        solid=solid.reshape(SOLID_SIZE, SOLID_SIZE, SOLID_SIZE),
        targets=np.stack(pictures),
        target_poses=np.stack(poses).astype(np.float32),
        elevation=np.array(elevation, np.float32),
        sides=np.array([
            sides * invert(pose)[2, 3] / transform(invert(pose), middle)[2]
            for pose in np.stack([inputs.pose, *poses])
        ], np.float32),
    )


def _draw_object(
    rng: np.random.Generator, scans: Sequence[ObjectEntry], scanned: bool
) -> Mesh:
    if scanned:
        return scans[int(rng.integers(len(scans)))].load()
    return procedural_object(int(rng.integers(2**40)))
