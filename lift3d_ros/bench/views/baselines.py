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
What a view synthesis has to beat: pictures from other sides that no network makes.

``repeated``: the input again. ``depth-warped``: its pixels where their depth puts them. ``mean``:
the mean of what training objects look like from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.tracks import TRACKS
from lift3d_ros.bench.views.protocol import all_targets
from lift3d_ros.bench.views.protocol import poses
from lift3d_ros.bench.views.protocol import SIZE
from lift3d_ros.bench.views.protocol import Target
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
Pictures = tuple[NDArray[np.uint8], NDArray[np.uint8]]

#: Pictures are drawn this many times finer than they are compared.
_FINER = 2

#: Gaps between moved pixels that are closed, side in fine pixels.
_GAP = 5

#: Elevations of the input camera in degrees are told apart in bands by the mean of views.
_BANDS = np.arange(10.0, 71.0, 10.0)


def repeated(view: ObjectView, radii: Array, size: int = SIZE) -> Pictures:
    """
    Return the input picture for each target camera, at the scale of the target lens.

    The canonical unit, ``VIEW_FILL`` of the input picture, is as long as the lens shows it at
    the camera's distance, ``radii`` (n,) in canonical units.
    """
    return _split(np.stack([_scaled(view, radius, size) for radius in radii]))


def depth_warped(
    view: ObjectView, canonical: CanonicalFrame, targets: Array, size: int = SIZE
) -> Pictures:
    """
    Return the input's pixels moved by their depth to target cameras, nearest on top.

    ``targets`` are poses (n, 4, 4) in the canonical frame. Pixels without a reading are left out;
    without any depth all lie in the plane through the canonical origin that faces the camera.
    Gaps of a pixel or two between moved pixels are filled from their neighbours.
    """
    depth = _depth_of_crop(view) if canonical.metric else None
    if depth is None:
        depth = np.full(view.alpha.shape, canonical.T_camera_object[2, 3])
    seen = (view.alpha > 127) & (depth > 0.0)
    points = view.camera.rays()[seen] * (depth[seen] / canonical.scale)[:, None]
    points = transform(canonical.input_pose, points)
    colors = view.image[seen]
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
        """Return what ``write`` has left; raises ``LiftError(BAD_REQUEST)``."""
        try:
            with np.load(path, allow_pickle=False) as pack:
                rgba, objects = pack['rgba'], int(pack['objects'])
            if rgba.ndim != 6 or rgba.shape[:3] != (2, len(_BANDS) - 1, len(all_targets())):
                raise ValueError(f'of the shape {rgba.shape}')
        except (OSError, ValueError, KeyError) as error:
            raise LiftError(
                ErrorCode.BAD_REQUEST, f'{path} does not hold mean views ({error}); delete it.'
            ) from error
        return cls(rgba, objects)

    def write(self, path: Path) -> None:
        """Write as ``.npz``; it appears under its name only when it is complete."""
        partial = path.with_name(f'.{path.stem}.part.npz')
        try:
            np.savez_compressed(partial, rgba=self.rgba, objects=self.objects)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def look(self, canonical: CanonicalFrame, targets: Sequence[Target]) -> Pictures:
        """Return the mean pictures for target cameras about an input of that frame."""
        known = all_targets()
        views = self.rgba[int(canonical.metric), _band(canonical.elevation)]
        return _split(views[[known.index(target) for target in targets]])


def mean_views(
    objects: Sequence[ObjectEntry], seed: int = 0, size: int = SIZE
) -> MeanViews:
    """
    Return the mean views of objects.

    Each object is looked at once, from any azimuth and one band of elevations, and normalised by
    what is seen there, as the benchmark does it. Objects that cannot be read or seen are left
    out. Raises ``LiftError(BAD_REQUEST)`` where a band of elevations has none.
    """
    chosen = all_targets()
    bands = len(_BANDS) - 1
    total = np.zeros((2, bands, len(chosen), size, size, 4))
    count = np.zeros(bands, int)
    for index, entry in enumerate(objects):
        band = index % bands
        try:
            total[:, band] += _pictures_of(entry, band, [seed, index], chosen, size)
        except (LiftError, ValueError):
            continue
        count[band] += 1
    if not count.all():
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{count.sum()} of {len(objects)} objects can be looked at, too few for the mean of '
            'views.',
        )
    mean = total / count[None, :, None, None, None, None]
    return MeanViews(np.rint(mean).astype(np.uint8), int(count.sum()))


def _pictures_of(
    entry: ObjectEntry, band: int, seed: Sequence[int], chosen: Sequence[Target], size: int
) -> NDArray[np.uint8]:
    """Return the views (2, n, size, size, 4) of an object seen from a band of elevations."""
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
    low, high = scene.mesh.vertices.min(axis=0), scene.mesh.vertices.max(axis=0)
    middle = (low + high).astype(np.float64) / 2.0
    pictures = []
    for track in (TRACKS['rgb'], TRACKS['rgbd']):
        view = crop_object(track.strip(scene.frame), scene.mask)
        canonical = canonical_frame(view, scene.elevation)
        T = object_from_canonical(canonical, scene.T_camera_object, middle)
        pictures.append([
            true_view(caster, T, pose, size, scene.light)
            for pose in poses(chosen, canonical.elevation)
        ])
    return np.array(pictures)


def _scaled(view: ObjectView, radius: float, size: int) -> NDArray[np.uint8]:
    """Return the input, uint8 RGBA (size, size, 4), as large as it is at that distance."""
    fine = _FINER * size
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


def _splat(
    points: Array, colors: NDArray[np.uint8], pose: Array, size: int
) -> NDArray[np.uint8]:
    """Return what a camera sees of coloured points, uint8 RGBA (size, size, 4) on white."""
    fine = _FINER * size
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
    closed = cv2.morphologyEx(hit, cv2.MORPH_CLOSE, np.ones((_GAP, _GAP), np.uint8))
    weight = cv2.blur(hit, (_GAP, _GAP), borderType=cv2.BORDER_CONSTANT)
    around = cv2.blur(color, (_GAP, _GAP), borderType=cv2.BORDER_CONSTANT)
    filled = around / np.maximum(weight, 1e-6)[..., None]
    shown = np.where(hit[..., None] > 0.0, color, filled)
    on_white = shown * closed[..., None] + 255.0 * (1.0 - closed[..., None])
    rgba = cv2.resize(
        np.dstack([on_white, 255.0 * closed]), (size, size), interpolation=cv2.INTER_AREA
    )
    return np.clip(np.rint(rgba), 0, 255).astype(np.uint8)


def _split(rgba: NDArray[np.uint8]) -> Pictures:
    return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])
