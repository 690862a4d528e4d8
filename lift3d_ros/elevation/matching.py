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

"""Feature matching between views of one object."""

from __future__ import annotations

from collections.abc import Sequence
import copy
from dataclasses import dataclass
import os
from typing import Any
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array

#: Side of the pictures for matching, pixels (One-2-3-45).
MATCH_SIZE = 480

#: Largest ratio of the distances of the nearest and the second nearest descriptor. It rejects 90 %
#: of the false matches and 5 % of the true ones (Lowe, 2004).
MAX_RATIO = 0.8

#: Contrast threshold of SIFT; Lowe's 0.04 leaves few features on household objects.
_MIN_CONTRAST = 0.01

#: Largest motion of a point between nearby views, share of the picture's side: 20 degrees about
#: the centre, at 0.7 canonical lengths from it, for a camera distance of 1.7.
_MAX_MOTION = 0.27

#: Largest change of a feature's orientation, degrees: 20, plus the error of SIFT.
_MAX_ROTATION_DEG = 35.0

#: Distance from the background within which features are discarded, pixels of the scaled picture:
#: the occluding contour of a round object is not a point of its surface.
_CONTOUR_MARGIN_PX = 4

#: Channel value above which a pixel is background, if all three are (One-2-3-45).
_BACKGROUND_LEVEL = 245


@dataclass(frozen=True, eq=False)
class Matches:
    """
    Matches of two pictures, n of them.

    ``first`` and ``second``: (n, 2), column and row in pixels of either picture, where the centre
    of the top-left pixel is (0, 0); ``confidence``: (n,), positive and at most 1.
    """

    first: Array
    second: Array
    confidence: Array

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.confidence)

    def reversed(self) -> Matches:
        """Return the same matches from the second picture to the first."""
        return Matches(self.second, self.first, self.confidence)

    def where(self, keep: NDArray[np.bool_]) -> Matches:
        """Return those matches for which ``keep``, (n,), is true."""
        return Matches(self.first[keep], self.second[keep], self.confidence[keep])


class Matcher(Protocol):
    """Finds matches between pictures."""

    def match(
        self, images: Sequence[NDArray[np.uint8]], pairs: Sequence[tuple[int, int]]
    ) -> list[Matches]:
        """
        Return the matches of each pair of pictures, given by indices.

        ``images`` are uint8 RGB (height, width, 3), all of one size.
        """


class SiftMatcher:
    """
    SIFT (Lowe, 2004) with ratio test and cross-check.

    For nearby views of one object on white: candidates are limited in motion and rotation, and
    features on the contour are discarded.
    """

    def match(
        self, images: Sequence[NDArray[np.uint8]], pairs: Sequence[tuple[int, int]]
    ) -> list[Matches]:
        """Return matches as ``Matcher``; their confidence is 1 minus the ratio."""
        features = [_features(image) for image in images]
        return [_mutual(features[i], features[j]) for i, j in pairs]


class LoftrMatcher:
    """
    LoFTR (Sun et al., 2021) of kornia, with the user's weights.

    One-2-3-45 uses the indoor weights ``indoor_ds_new.ckpt``, with their corrected positional
    encoding.
    """

    def __init__(
        self, source: str | os.PathLike[str] = 'loftr-indoor', device: str = 'cpu'
    ) -> None:
        """
        Load the network.

        ``source`` is a name of ``lift3d weights list`` or a path. Raises
        ``ModuleNotFoundError`` where kornia is not installed, and ``LiftError``
        (WEIGHTS_MISSING, WEIGHTS_CORRUPT).
        """
        loftr, default = _kornia_loftr()
        from lift3d_ros.weights import store
        from lift3d_ros.weights.formats.checkpoint import Kind
        from lift3d_ros.weights.formats.tables import check_networks
        from lift3d_ros.weights.formats.tables import loftr_shapes
        from lift3d_ros.weights.integrity import corrupt
        from lift3d_ros.weights.loading import open_weights

        checkpoint = open_weights(store.find(source))
        if checkpoint.kind is not Kind.LOFTR:
            corrupt(checkpoint.path, f'holds {checkpoint.kind.value} and not {Kind.LOFTR.value}')
        check_networks(checkpoint)
        config = copy.deepcopy(default)
        config['coarse']['temp_bug_fix'] = True
        network = loftr(pretrained=None, config=config)
        tensors = checkpoint.parts['loftr']
        try:
            network.load_state_dict({name: tensors[name].float() for name in loftr_shapes()})
        except RuntimeError as error:
            corrupt(checkpoint.path, f'does not fit the LoFTR of the installed kornia: {error}')
        self._network = network.eval().to(device)
        self._device = device

    def match(
        self, images: Sequence[NDArray[np.uint8]], pairs: Sequence[tuple[int, int]]
    ) -> list[Matches]:
        """Return matches as ``Matcher``; their confidence is that of the network."""
        import torch

        pictures = [
            torch.from_numpy(_gray(image)).to(self._device).float()[None, None] / 255.0
            for image in images
        ]
        matches = []
        for i, j in pairs:
            with torch.inference_mode():
                out = self._network({'image0': pictures[i], 'image1': pictures[j]})
            first, second, confidence = (
                out[name].cpu().numpy().astype(np.float64)
                for name in ('keypoints0', 'keypoints1', 'confidence')
            )
            matches.append(
                Matches(_unscaled(first, images[i]), _unscaled(second, images[j]), confidence)
            )
        return matches


#: The matchers by name.
MATCHERS = {'sift': SiftMatcher, 'loftr': LoftrMatcher}


def make_matcher(name: str) -> Matcher:
    """
    Return the matcher of that name, a key of ``MATCHERS``.

    Raises ``LiftError``: BAD_REQUEST for another name, and the errors of a matcher's weights.
    """
    if name not in MATCHERS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There is no matcher "{name}"; choose one of {", ".join(MATCHERS)}.',
        )
    matcher: Matcher = MATCHERS[name]()
    return matcher


def foreground(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels of images (..., h, w, 3) that are not background, (..., h, w)."""
    return np.asarray((images <= _BACKGROUND_LEVEL).any(axis=-1))


def _gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(gray, (MATCH_SIZE, MATCH_SIZE)), np.uint8)


def _unscaled(points: Array, image: NDArray[np.uint8]) -> Array:
    """Return points (n, 2) of the scaled picture in pixels of the original."""
    scale = np.array([image.shape[1], image.shape[0]]) / MATCH_SIZE
    return (points + 0.5) * scale - 0.5


@dataclass(frozen=True, eq=False)
class _Features:
    """SIFT features: points (n, 2) pixels, angles (n,) degrees, descriptors (n, 128)."""

    points: Array
    angles: Array
    descriptors: NDArray[np.float32]
    max_motion: float


def _features(image: NDArray[np.uint8]) -> _Features:
    size = (MATCH_SIZE, MATCH_SIZE)
    mask = foreground(image).astype(np.uint8)
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    mask = cv2.erode(mask, np.ones((2 * _CONTOUR_MARGIN_PX + 1,) * 2, np.uint8))
    sift: Any = cv2.SIFT.create(contrastThreshold=_MIN_CONTRAST)
    keypoints, descriptors = sift.detectAndCompute(_gray(image), mask)
    if descriptors is None:
        descriptors = np.zeros((0, 128), np.float32)
    return _Features(
        _unscaled(np.array([k.pt for k in keypoints], np.float64).reshape(-1, 2), image),
        np.array([k.angle for k in keypoints], np.float64),
        np.asarray(descriptors, np.float32),
        _MAX_MOTION * max(image.shape[:2]),
    )


def _mutual(first: _Features, second: _Features) -> Matches:
    """Return the mutual nearest neighbours that pass the ratio test."""
    if min(len(first.points), len(second.points)) < 2:
        return Matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    a, b = first.descriptors, second.descriptors
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    moved = np.linalg.norm(first.points[:, None] - second.points, axis=-1)
    rotated = np.abs((first.angles[:, None] - second.angles + 180.0) % 360.0 - 180.0)
    squares[(moved > first.max_motion) | (rotated > _MAX_ROTATION_DEG)] = np.inf
    nearest, row = squares.argmin(axis=1), np.arange(len(squares))
    best = squares[row, nearest]
    rivals = squares.copy()
    rivals[row, nearest] = np.inf
    rival = rivals.min(axis=1)
    mutual = np.isfinite(best) & (squares.argmin(axis=0)[nearest] == row)
    # A candidate without a second one has no ratio, and a low confidence.
    ratio = np.full(len(squares), 0.95 * MAX_RATIO)
    rated = mutual & np.isfinite(rival)
    ratio[rated] = np.sqrt(np.maximum(best[rated], 0.0) / np.maximum(rival[rated], 1e-9))
    keep = mutual & (ratio < MAX_RATIO)
    return Matches(first.points[keep], second.points[nearest[keep]], 1.0 - ratio[keep])


def _kornia_loftr() -> tuple[Any, Any]:
    try:
        from kornia.feature import LoFTR
        from kornia.feature.loftr.loftr import default_cfg
    except ImportError as error:
        raise ModuleNotFoundError(
            'The matcher "loftr" needs the package kornia (pip install kornia) and the weights '
            'that `lift3d weights import indoor_ds_new.ckpt` brings in; the matcher "sift" needs '
            f'neither: {error}',
            name='kornia',
        ) from error
    return LoFTR, default_cfg
