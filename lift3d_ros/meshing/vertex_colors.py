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
Colours of vertices: from the reference view, from source views, from synthesised views.

Where several cameras or synthesised views see a vertex, their colours are blended, as in
One-2-3-45 (Liu et al., 2023, after IBRNet, Wang et al., 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.rasterizer import visible_points
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.object_observation import sample
from lift3d_ros.observation.registered_view import RegisteredView

#: Bounds of the gain from predicted colours to those of the image, in each channel.
GAIN_RANGE = (0.5, 2.0)

#: Vertices with both colours that a gain can be estimated from.
MIN_GAIN_VERTICES = 30

#: Brightness of surface in ambient light alone, over that of the surface around it: the best of
#: 0.7, 0.8, 0.9 and 1 on scenes of scans of the train split.
AMBIENT_BRIGHTNESS = np.float32(0.7)

#: Smallest cosine between normal and line of sight at which a camera, and a synthesised view,
#: gives a colour; and the exponents of that cosine in the weight of the colour.
CAMERA_MIN_COSINE, CAMERA_COSINE_EXPONENT = 0.15, 4.0
SYNTHESIZED_MIN_COSINE, SYNTHESIZED_COSINE_EXPONENT = 0.1, 3.0

#: Weight of a colour at the outline, over that of one well inside of it.
OUTLINE_WEIGHT = np.float32(1e-4)

#: Error of a vertex that ``confidence`` is about, as a share of the diagonal.
VERTEX_ERROR = 0.01

#: Smallest alpha of the object's own colour; nearer to the outline it is mixed with white.
MIN_ALPHA = 0.8

#: Weight of the predicted colour, over that of one synthesised view along the normal.
PREDICTED_WEIGHT = 0.02

#: Smallest total weight of the synthesised views that show a vertex; below, all look along it.
MIN_SYNTHESIZED_WEIGHT = 0.05

#: Cells of the depth buffer: across the root of the mask's area for the reference view alone and
#: for several cameras, and pixels of a synthesised view of 128 pixels.
REFERENCE_CELLS, CAMERA_CELLS, SYNTHESIZED_CELL_PIXELS = 40.0, 60.0, 2.0


def color_from_reference(
    observation: ObjectObservation,
    symmetries: Sequence[Array],
    vertices: NDArray[np.float32],
    tolerance: float,
    predicted: NDArray[np.uint8] | None = None,
    match_exposure: bool = False,
    shown: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """
    Return colours (n, 3) and observed (n,) of vertices (n, 3) in metres, optical frame.

    A vertex within ``tolerance`` metres of the measured surface is observed and has the colour of
    the image. A vertex that a motion of ``symmetries``, sets (k, 4, 4), maps to
    such a place has the colour from there. The others
    have their ``predicted`` colour (n, 3), or without one the colour of their nearest neighbours.
    ``match_exposure`` scales the predicted colours, in each channel, to the exposure of the image.
    Vertices that are not ``shown`` (n,) in any view behind the prediction are undersides and
    cavities: they have the colour of their neighbours, in ambient light.
    """
    from scipy.spatial import cKDTree

    inner = _inner_mask(observation)

    def look_up(points: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        with np.errstate(invalid='ignore'):
            on_surface = np.abs(observation.behind(points)) < tolerance
        return on_surface, _sample_at(inner, observation, points) > 0.99

    colors = np.zeros((len(vertices), 3), np.float32)
    observed, inside = look_up(vertices)
    colored = observed & inside
    colors[colored] = observation.colors(vertices[colored])
    for motions in symmetries:
        for motion in motions:
            moved = transform(motion, vertices)
            on_surface, inside = look_up(moved)
            fresh = on_surface & inside & ~colored
            colors[fresh] = observation.colors(moved[fresh])
            colored |= fresh
    if observation.depth is None:
        # No vertex is observed: all inside the mask have the image's colour, or, if the others
        # have a predicted one, all that are visible.
        colored = look_up(vertices)[1]
        if predicted is not None:
            colored &= _visible(observation, vertices, tolerance, REFERENCE_CELLS)
        colors[colored] = observation.colors(vertices[colored])
    if predicted is not None:
        gain = _gain(colors[colored], predicted[colored]) if match_exposure else 1.0
        fresh = ~colored
        if shown is not None and (shown | colored).any():
            fresh &= shown
        colors[fresh] = predicted[fresh] * gain
        colored |= fresh
    if colored.any() and not colored.all():
        distance, index = cKDTree(vertices[colored]).query(vertices[~colored], k=4)
        weight = 1.0 / (distance + 0.5 * tolerance)
        near = colors[colored][np.minimum(index, np.count_nonzero(colored) - 1)]
        colors[~colored] = (near * weight[..., None]).sum(axis=1) / weight.sum(
            axis=1, keepdims=True
        )
        if predicted is not None:
            colors[~colored] *= AMBIENT_BRIGHTNESS
    return np.clip(np.rint(colors), 0, 255).astype(np.uint8), observed


def color_from_sources(
    reference: RegisteredView,
    sources: Sequence[RegisteredView],
    mesh: Mesh,
    observed: NDArray[np.bool_],
    tolerance: float,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float32]]:
    """
    Return colours (n, 3), observed (n,) and certainty (n,) of the vertices of a mesh.

    ``mesh`` is in the reference optical frame, with the colours of the reference view and the
    predicted ones; ``observed`` (n,) is what the reference view measured. A vertex has the mean
    colour of the cameras that see it; those near it and along its normal weigh most. A vertex
    within ``tolerance`` metres of what any of them measured is observed. The certainty is 1 where
    the cameras agree within 1 % of the diagonal, and falls with their inconsistency.
    """
    if not sources:
        return mesh.colors, observed, np.ones(len(observed), np.float32)
    normals = mesh.vertex_normals().astype(np.float64)
    total = np.zeros((len(observed), 3))
    weights = np.zeros(len(observed))
    certainty = observed.astype(np.float32)
    error = VERTEX_ERROR * float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    for view in (reference, *sources):
        observation, local = view.observation, view.to_camera(mesh.vertices)
        distance = np.linalg.norm(local, axis=1)
        facing = -np.einsum('ij,ij->i', rotate(invert(view.T_ref_src), normals), local)
        facing /= np.maximum(distance, 1e-9)
        with np.errstate(invalid='ignore'):
            measured = np.abs(observation.behind(local)) < tolerance
        visible = measured
        if observation.depth is None:
            visible = _visible(observation, local, tolerance, CAMERA_CELLS)
        visible = visible & (facing > CAMERA_MIN_COSINE)
        weight = np.maximum(facing, 0.0) ** CAMERA_COSINE_EXPONENT / distance**2
        weight = np.where(visible, weight, 0.0) * _mask_weight(observation, local)
        total += weight[:, None] * observation.colors(local)
        weights += weight
        if view is not reference:
            observed = observed | measured
            agreement = np.float32(min(1.0, error / max(view.inconsistency, 1e-9)))
            np.maximum(certainty, np.where(measured, agreement, 0.0), out=certainty)
    colored = weights > 0.0
    colors = mesh.colors.copy()
    mean = total[colored] / weights[colored, None]
    colors[colored] = np.clip(np.rint(mean), 0.0, 255.0).astype(np.uint8)
    return colors, observed, np.where(observed, certainty, np.float32(1.0))


def color_from_synthesized(
    vertices: Array,
    normals: Floats,
    images: NDArray[np.uint8],
    poses: Array,
    predicted: NDArray[np.uint8],
    tolerance: float,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """
    Return colours (n, 3) of vertices, and which of them the synthesised views show, (n,).

    ``vertices`` and unit ``normals`` (n, 3) are in canonical coordinates, as are ``poses``
    (v, 4, 4) of the views' optical frames; ``images`` (sets, v, h, h, 4) are uint8 RGBA with the
    camera of Zero-1-to-3. A vertex has the mean colour of the views in which it is visible; views
    along its normal have the largest weights. A vertex that is visible in no view keeps its
    ``predicted`` colour (n, 3). ``tolerance`` is that of ``visible_points``, canonical units.
    """
    total = PREDICTED_WEIGHT * predicted.astype(np.float64)
    weights = np.full(len(vertices), PREDICTED_WEIGHT)
    size = images.shape[-2]
    camera = Camera.from_fov(size, size, ZERO123_FOV)
    for number, pose in enumerate(poses):
        T_camera_object = invert(pose)
        local = transform(T_camera_object, vertices)
        facing = -np.einsum('ij,ij->i', rotate(T_camera_object, normals), local)
        facing /= np.maximum(np.linalg.norm(local, axis=1), 1e-9)
        visible = (facing > SYNTHESIZED_MIN_COSINE) & visible_points(
            camera, local, SYNTHESIZED_CELL_PIXELS * size / 128.0, tolerance
        )
        u, v, _ = (a.astype(np.float32) for a in camera.project(local[visible]))
        for image in images[:, number]:
            rgba = sample(image.astype(np.float32), u, v)
            opaque = rgba[:, 3] > 255.0 * MIN_ALPHA
            weight = opaque * facing[visible] ** SYNTHESIZED_COSINE_EXPONENT / len(images)
            total[visible] += weight[:, None] * rgba[:, :3]
            weights[visible] += weight
    colors = np.clip(np.rint(total / weights[:, None]), 0.0, 255.0).astype(np.uint8)
    return colors, weights > PREDICTED_WEIGHT + MIN_SYNTHESIZED_WEIGHT


def _gain(shown: Floats, predicted: NDArray[np.uint8]) -> Floats:
    """
    Return the gain from predicted colours (n, 3) to those of the image, (n, 3), per channel, (3,).

    Predicted colours lack the exposure and the white balance of the image; the gain is the one of
    Brown and Lowe, Automatic Panoramic Image Stitching, 2007, section 6.
    """
    source = np.asarray(predicted, np.float64)
    # Overexposed colours are clipped.
    valid = (source.max(axis=1, initial=0.0) < 250.0) & (shown.max(axis=1, initial=0.0) < 250.0)
    if np.count_nonzero(valid) < MIN_GAIN_VERTICES:
        return np.ones(3)
    source, target = source[valid], np.asarray(shown, np.float64)[valid]
    gain = (source * target).sum(axis=0) / np.maximum((source**2).sum(axis=0), 1.0)
    return np.asarray(gain.clip(*GAIN_RANGE))


def _inner_mask(observation: ObjectObservation) -> NDArray[np.float32]:
    """
    Return 1 where colours are reliably those of the object, 0 elsewhere, (height, width).

    Near the outline they are mixed with the background, and masks have errors of some pixels.
    """
    area = np.count_nonzero(observation.mask)
    # ``outline`` counts occluders as inside; their colour is not the object's.
    inner = (observation.outline > 2 + int(0.03 * np.sqrt(area))) & observation.mask
    return (observation.mask if np.count_nonzero(inner) < 0.3 * area else inner).astype(np.float32)


def _mask_weight(observation: ObjectObservation, local: Array) -> NDArray[np.float32]:
    """
    Return the weight of the colours at points (n, 3), (n,).

    1 well inside the mask, 0 outside, and ``OUTLINE_WEIGHT`` between: colours at the outline count
    only where no camera has better ones.
    """
    at_outline = _sample_at(observation.outline, observation, local) > 1.0
    inside = _sample_at(_inner_mask(observation), observation, local) > 0.99
    return np.where(inside, np.float32(1.0), np.where(at_outline, OUTLINE_WEIGHT, np.float32(0.0)))


def _sample_at(
    image: NDArray[np.float32], observation: ObjectObservation, points: Floats
) -> NDArray[np.float32]:
    """Return an image of the observation's size at points (n, 3) of its optical frame, (n,)."""
    u, v, _ = (
        np.nan_to_num(a, nan=-9.0).astype(np.float32) for a in observation.camera.project(points)
    )
    return sample(image, u, v)


def _visible(
    observation: ObjectObservation, points: Floats, tolerance: float, cells: float
) -> NDArray[np.bool_]:
    """Return which points (n, 3) of the optical frame the camera sees, (n,)."""
    cell = max(1.0, np.sqrt(np.count_nonzero(observation.mask)) / cells)
    return visible_points(observation.camera, points, cell, 3.0 * tolerance)
