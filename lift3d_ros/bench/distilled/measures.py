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
The figures of a mesh against the scan: its solid, its colours, and its held-out views.

Held-out views are those beyond 45 degrees of azimuth from the input camera, which the method never
saw. A PSNR rewards blur, so each is given beside that of the same rendering, blurred.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional

from lift3d_ros.bench import metrics
from lift3d_ros.bench.metrics.color_error import color_errors
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.reporting.sheet import at_true_distance
from lift3d_ros.bench.views import protocol
from lift3d_ros.bench.views.task import ViewTask
from lift3d_ros.diffusion.conditioning import ImageEncoder
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic.true_views import true_view

#: Standard deviation of the blur of the control, pixels of ``protocol.SIZE``.
BLUR = 2.0

#: The figures of a lift that failed.
FAILED = {'iou': 0.0, 'f_2pct': 0.0, 'mask_iou': 0.0}

#: The colours of a mesh are those of the image: no further light.
_UNLIT = Light(ambient=1.0, diffuse=0.0)


def object_frame(prediction: Prediction, truth: Truth) -> Mesh:
    """
    Return the predicted mesh in the frame of the scan.

    A mesh of unknown scale is first scaled about the camera to the true distance, which leaves its
    image as it is. Raises ``LiftError(NO_SURFACE)`` for a prediction without a mesh.
    """
    mesh = prediction.mesh
    if mesh is None or not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
        raise LiftError(ErrorCode.NO_SURFACE, 'The prediction has no surface.')
    if prediction.notes.get('scale_source') == 'unknown':
        mesh = at_true_distance(mesh, truth)
    return mesh.transformed(invert(truth.T_camera_object))


def shape_figures(mesh: Mesh, truth: Truth) -> dict[str, float]:
    """Return the figures of a mesh in the frame of the scan that need no views."""
    points, colors = metrics.sample_with_colors(mesh)
    distances = metrics.distances(points, truth.points, truth.tree)
    figures = {
        'iou': metrics.volume_iou(metrics.Solid(mesh), truth.solid),
        'chamfer_mm': 1000.0 * distances.chamfer(),
        'f_2pct': distances.f_score(0.02 * truth.diagonal),
    }
    if truth.colors is not None:
        figures |= color_errors(points, colors, truth.points, truth.colors, truth.visible)
    return figures


def held_out(task: ViewTask) -> list[int]:
    """Return the indices of the target cameras beyond 45 degrees."""
    return [index for index, azimuth in enumerate(task.azimuths)
            if protocol.in_range(float(azimuth), protocol.UNOBSERVED)]


def render_views(mesh: Mesh, task: ViewTask, T_object_canonical: Array) -> NDArray[np.uint8]:
    """
    Return views of a mesh in the frame of the scan by all cameras of a task.

    Uint8 RGBA (n, size, size, 4) on white, as the true ones.
    """
    caster = Raycaster([mesh])
    return np.stack([
        true_view(caster, T_object_canonical, pose, task.truth.shape[1], _UNLIT)
        for pose in task.poses])


def blurred(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images (n, h, w, c) after a Gaussian blur of ``BLUR`` pixels."""
    return np.stack([
        cv2.GaussianBlur(image, (0, 0), BLUR, borderType=cv2.BORDER_REPLICATE)
        for image in images])


def view_figures(
    images: NDArray[np.uint8], task: ViewTask, encoder: ImageEncoder | None
) -> dict[str, Any]:
    """
    Return the figures of views: each view's own as ``views``, and the means of the held-out ones.

    ``similarity`` is the mean cosine of the embeddings of held-out views and the true ones,
    ``similarity_input`` that to the input picture; they are omitted without an encoder.
    """
    rgb, alpha, chosen = images[..., :3], images[..., 3], held_out(task)
    scores = protocol.score_views(rgb, alpha, task.truth)
    views = [
        {'azimuth': target.azimuth, 'elevation': round(float(elevation), 2), **score}
        for target, elevation, score in zip(
            task.targets, task.elevations, scores, strict=True)]
    smooth, truth = blurred(rgb[chosen]), task.truth[chosen]
    figures: dict[str, Any] = {
        'views': views,
        'mask_iou': float(np.mean([views[index]['iou'] for index in chosen])),
        'psnr': float(np.mean([views[index]['psnr'] for index in chosen])),
        'ssim': float(np.mean([views[index]['ssim'] for index in chosen])),
        'psnr_blurred': float(np.mean([
            protocol.psnr(image, true[..., :3])
            for image, true in zip(smooth, truth, strict=True)])),
    }
    if encoder is not None:
        size = images.shape[1:3]
        shrunk = cv2.resize(
            np.dstack([task.view.image, task.view.alpha]), size, interpolation=cv2.INTER_AREA)
        ours, true, own = (
            _embed(encoder, pixels) for pixels in (images[chosen], truth, shrunk[None]))
        figures['similarity'] = float((ours * true).sum(1).mean())
        figures['similarity_input'] = float((ours @ own.T).mean())
    return figures


@torch.no_grad()
def _embed(encoder: ImageEncoder, images: NDArray[np.uint8]) -> torch.Tensor:
    """Return unit embeddings (n, e) of uint8 RGBA (n, h, w, 4) on white."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return functional.normalize(encoder.embed(pixels / 127.5 - 1.0).float(), dim=1)
