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
Baselines of view synthesis, without a network.

``repeated``: the input. ``depth-warped``: its pixels, warped by their depth. ``mean``: the mean of
the training objects from the target camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.results import read_arrays
from lift3d_ros.bench.results import write_arrays
from lift3d_ros.bench.scenes import TRACKS
from lift3d_ros.bench.views.protocol import all_targets
from lift3d_ros.bench.views.protocol import poses
from lift3d_ros.bench.views.protocol import SIZE
from lift3d_ros.bench.views.protocol import Target
from lift3d_ros.bench.views.task import box_middle
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import VIEW_FILL
from lift3d_ros.geometry.frame import VIEW_SIZE
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.synthetic.true_views import object_from_canonical
from lift3d_ros.synthetic.true_views import true_view

#: uint8 RGB (n, size, size, 3) on white, and uint8 alphas (n, size, size).
Images = tuple[NDArray[np.uint8], NDArray[np.uint8]]

#: Supersampling of the images of baselines.
_SUPERSAMPLING = 2

#: Width of gaps between warped pixels that are filled, in supersampled pixels.
_MAX_GAP_PIXELS = 5

#: Edges of the bands of the input camera's elevation in the mean of views, degrees.
_BANDS = np.arange(10.0, 71.0, 10.0)


def repeated(view: ObjectView, radii: Array, size: int = SIZE) -> Images:
    """
    Return the input image for each target camera, at the scale of the target lens.

    The canonical unit, ``VIEW_FILL`` of the input image, has its length in the lens at the
    camera's distance, ``radii`` (n,) in canonical units.
    """
    return _split(np.stack([_scaled(view, radius, size) for radius in radii]))


def depth_warped(
    view: ObjectView, canonical: CanonicalFrame, targets: Array, size: int = SIZE
) -> Images:
    """
    Return the input's pixels warped by their depth into target cameras, nearest on top.

    ``targets`` are poses (n, 4, 4) in the canonical frame. Pixels without a reading are omitted;
    without any depth all lie in the plane through the canonical origin that faces the camera.
    Gaps of a pixel or two between warped pixels are filled from their neighbours.
    """
    depth = _depth_of_crop(view) if canonical.metric else None
    if depth is None:
        depth = np.full(view.alpha.shape, canonical.T_camera_object[2, 3])
    valid = (view.alpha > 127) & (depth > 0.0)
    points = view.camera.rays()[valid] * (depth[valid] / canonical.scale)[:, None]
    points = transform(canonical.input_pose, points)
    colors = view.image[valid]
    return _split(np.stack([_splat(points, colors, pose, size) for pose in targets]))


@dataclass(frozen=True, eq=False)
class MeanViews:
    """
    The mean of views of the training objects for every target camera of the benchmark.

    ``rgba``: uint8 (2, bands, targets, size, size, 4), without and with a depth that measures the
    canonical frame, for each band of elevations of the input camera and each of
    ``all_targets()``; ``objects``: of how many objects the whole is.
    """

    rgba: NDArray[np.uint8]
    objects: int

    @classmethod
    def read(cls, path: Path) -> MeanViews:
        """Return the views of a file of ``write``; raises ``LiftError(BAD_REQUEST)``."""
        arrays = read_arrays(path, 'rgba', 'objects')
        rgba = arrays['rgba']
        if rgba.ndim != 6 or rgba.shape[:3] != (2, len(_BANDS) - 1, len(all_targets())):
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{path} holds mean views of the shape {rgba.shape}; delete it.',
            )
        return cls(rgba, int(arrays['objects']))

    def write(self, path: Path) -> None:
        """Write as ``.npz``."""
        write_arrays(path, rgba=self.rgba, objects=self.objects)

    def images(self, canonical: CanonicalFrame, targets: Sequence[Target]) -> Images:
        """Return the mean images for target cameras about an input of that frame."""
        known = all_targets()
        views = self.rgba[int(canonical.metric), _band(canonical.elevation)]
        return _split(views[[known.index(target) for target in targets]])


def mean_views(objects: Sequence[ObjectEntry], seed: int = 0, size: int = SIZE) -> MeanViews:
    """
    Return the mean views of objects.

    Each object is the input once, from any azimuth and one band of elevations, in its canonical
    frame as in the benchmark. Objects that cannot be read or rendered are skipped. Raises
    ``LiftError(BAD_REQUEST)`` where a band of elevations has none.
    """
    targets = all_targets()
    bands = len(_BANDS) - 1
    total = np.zeros((2, bands, len(targets), size, size, 4))
    count = np.zeros(bands, int)
    for index, entry in enumerate(objects):
        band = index % bands
        try:
            total[:, band] += _images_of(entry, band, [seed, index], targets, size)
        except (LiftError, ValueError):
            continue
        count[band] += 1
    if not count.all():
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{count.sum()} of {len(objects)} objects can be rendered, too few for the mean of '
            'views.',
        )
    mean = total / count[None, :, None, None, None, None]
    return MeanViews(np.rint(mean).astype(np.uint8), int(count.sum()))


def _images_of(
    entry: ObjectEntry, band: int, seed: Sequence[int], targets: Sequence[Target], size: int
) -> NDArray[np.uint8]:
    """Return the views (2, n, size, size, 4) of an object from a band of elevations."""
    number = int(np.random.default_rng(seed).integers(2**31))
    settings = TableSettings(
        elevation=(float(_BANDS[band]), float(_BANDS[band + 1])),
        fill=(0.4, 0.6),
        camera=Camera(320, 240, 280.0, 280.0, 159.5, 119.5),
        window=1.4,
        table_cells=0,
    )
    scene = make_scene(entry.load(), number, settings)
    caster = Raycaster([scene.mesh])
    images = []
    for track in (TRACKS['rgb'], TRACKS['rgbd']):
        view = crop_object(track.strip(scene.frame), scene.mask)
        canonical = canonical_frame(view, scene.elevation)
        T = object_from_canonical(canonical, scene.T_camera_object, box_middle(scene.mesh))
        images.append([
            true_view(caster, T, pose, size, scene.light)
            for pose in poses(targets, canonical.elevation)
        ])
    return np.array(images)


def _scaled(view: ObjectView, radius: float, size: int) -> NDArray[np.uint8]:
    """Return the input, uint8 RGBA (size, size, 4), scaled to a camera distance."""
    fine = _SUPERSAMPLING * size
    zoom = Camera.from_fov(fine, fine, ZERO123_FOV).fx / radius / (VIEW_FILL * VIEW_SIZE)
    shift = (fine - 1) / 2.0 - zoom * (VIEW_SIZE - 1) / 2.0
    enlarged = cv2.warpAffine(
        np.dstack([view.image, view.alpha]),
        np.array([[zoom, 0.0, shift], [0.0, zoom, shift]]),
        (fine, fine),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(255, 255, 255, 0),
    )
    return np.asarray(
        cv2.resize(enlarged, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _band(elevation: float) -> int:
    return int(np.clip(np.searchsorted(_BANDS, elevation, 'right') - 1, 0, len(_BANDS) - 2))


def _depth_of_crop(view: ObjectView) -> Array | None:
    """Return the reading nearest to each pixel of the crop, 0 = none; None without a depth."""
    if view.frame.depth is None:
        return None
    own, rays = view.frame.camera, view.camera.rays()
    return np.asarray(cv2.remap(
        np.nan_to_num(view.frame.depth, nan=0.0, posinf=0.0, neginf=0.0),
        (own.fx * rays[..., 0] + own.cx).astype(np.float32),
        (own.fy * rays[..., 1] + own.cy).astype(np.float32),
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
    ), np.float64)


def _splat(points: Array, colors: NDArray[np.uint8], pose: Array, size: int) -> NDArray[np.uint8]:
    """Return the image of coloured points, uint8 RGBA (size, size, 4) on white."""
    fine = _SUPERSAMPLING * size
    u, v, z = Camera.from_fov(fine, fine, ZERO123_FOV).project(transform(invert(pose), points))
    inside = (z > 0.0) & (u > -0.5) & (u < fine - 0.5) & (v > -0.5) & (v < fine - 0.5)
    order = np.flatnonzero(inside)
    # Far to near: of all that fall on a pixel the last to be written stays.
    order = order[np.argsort(-z[order], kind='stable')]
    column, row = np.rint(u[order]).astype(int), np.rint(v[order]).astype(int)
    hit = np.zeros((fine, fine), np.float32)
    color = np.zeros((fine, fine, 3), np.float32)
    hit[row, column] = 1.0
    color[row, column] = colors[order]
    window = (_MAX_GAP_PIXELS, _MAX_GAP_PIXELS)
    closed = cv2.morphologyEx(hit, cv2.MORPH_CLOSE, np.ones(window, np.uint8))
    weight = cv2.blur(hit, window, borderType=cv2.BORDER_CONSTANT)
    around = cv2.blur(color, window, borderType=cv2.BORDER_CONSTANT)
    filled = around / np.maximum(weight, 1e-6)[..., None]
    shown = np.where(hit[..., None] > 0.0, color, filled)
    on_white = shown * closed[..., None] + 255.0 * (1.0 - closed[..., None])
    rgba = cv2.resize(
        np.dstack([on_white, 255.0 * closed]), (size, size), interpolation=cv2.INTER_AREA
    )
    return np.clip(np.rint(rgba), 0, 255).astype(np.uint8)


def _split(rgba: NDArray[np.uint8]) -> Images:
    return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])
