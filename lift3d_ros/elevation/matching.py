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

"""Points of one object that are found again in another picture of it."""

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

#: Side in pixels that pictures are scaled to before they are matched (One-2-3-45).
MATCH_SIZE = 480

#: The nearest descriptor must be nearer than this share of the second nearest (Lowe, 2004, has
#: 0.8 as the bound that drops nine tenths of the false matches and a twentieth of the true ones).
RATIO = 0.8

#: SIFT drops extrema of less contrast; Lowe's 0.04 leaves little on plain household things.
_CONTRAST = 0.01

#: No point moves farther between nearby views than this share of the picture's side: 20 degrees
#: about the middle, of a point that is 0.7 of the canonical length from it, seen from 1.7.
_REACH = 0.27

#: Nor does its surrounding turn by more degrees: 20, and what SIFT's orientation is wrong by.
_TURN = 35.0

#: Points within so many scaled pixels of the background are left out: an outline slides over a
#: round object when the camera moves, and is no point of it.
_INSET = 4

#: A channel above this in all three is background (One-2-3-45).
_WHITE = 245


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
    """What finds points of pictures again in others."""

    def match(
        self, images: Sequence[NDArray[np.uint8]], pairs: Sequence[tuple[int, int]]
    ) -> list[Matches]:
        """
        Return the matches of each pair of pictures, by their indices.

        ``images`` are uint8 RGB (height, width, 3), all of one size.
        """


class SiftMatcher:
    """
    SIFT (Lowe, 2004) with the ratio test, kept where both directions agree.

    For pictures of one object on white from nearby: what is too far away, turned too much, or on
    the outline is no candidate.
    """

    def match(
        self, images: Sequence[NDArray[np.uint8]], pairs: Sequence[tuple[int, int]]
    ) -> list[Matches]:
        """Return matches as ``Matcher`` says; their confidence is 1 minus the ratio."""
        features = [_features(image) for image in images]
        return [_mutual(features[i], features[j]) for i, j in pairs]


class LoftrMatcher:
    """
    LoFTR (Sun et al., 2021), as kornia implements it, with the user's weights.

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
        # Imported here since the folder of the weights is read by torch.
        from lift3d_ros.weights import store
        from lift3d_ros.weights.formats.checkpoint import Kind
        from lift3d_ros.weights.formats.tables import check_networks
        from lift3d_ros.weights.formats.tables import loftr_shapes
        from lift3d_ros.weights.loading import open_weights
        from lift3d_ros.weights.messages import corrupt

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
        """Return matches as ``Matcher`` says; their confidence is the network's."""
        import torch

        pictures = [
            torch.from_numpy(_gray(image)).to(self._device).float()[None, None] / 255.0
            for image in images
        ]
        found = []
        for i, j in pairs:
            with torch.inference_mode():
                out = self._network({'image0': pictures[i], 'image1': pictures[j]})
            first, second, confidence = (
                out[name].cpu().numpy().astype(np.float64)
                for name in ('keypoints0', 'keypoints1', 'confidence')
            )
            found.append(
                Matches(_unscaled(first, images[i]), _unscaled(second, images[j]), confidence)
            )
        return found


#: The matchers that settings can name.
MATCHERS = {'sift': SiftMatcher, 'loftr': LoftrMatcher}


def make_matcher(name: str) -> Matcher:
    """
    Return the matcher of that name, a key of ``MATCHERS``.

    Raises ``LiftError``: BAD_REQUEST for another name, and what a matcher's weights raise.
    """
    if name not in MATCHERS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There is no matcher "{name}"; choose one of {", ".join(MATCHERS)}.',
        )
    matcher: Matcher = MATCHERS[name]()
    return matcher


def _gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(gray, (MATCH_SIZE, MATCH_SIZE)), np.uint8)


def _unscaled(points: Array, image: NDArray[np.uint8]) -> Array:
    """Return points (n, 2) of the scaled picture in pixels of the original."""
    scale = np.array([image.shape[1], image.shape[0]]) / MATCH_SIZE
    return (points + 0.5) * scale - 0.5


@dataclass(frozen=True, eq=False)
class _Features:
    """SIFT's points (n, 2) in pixels, their angles (n,) in degrees, descriptors (n, 128)."""

    points: Array
    angles: Array
    descriptors: NDArray[np.float32]
    reach: float


def _features(image: NDArray[np.uint8]) -> _Features:
    inside = np.asarray((image <= _WHITE).any(axis=-1))
    mask = cv2.resize(
        inside.astype(np.uint8), (MATCH_SIZE, MATCH_SIZE), interpolation=cv2.INTER_NEAREST
    )
    mask = cv2.erode(mask, np.ones((2 * _INSET + 1, 2 * _INSET + 1), np.uint8))
    sift: Any = cv2.SIFT.create(contrastThreshold=_CONTRAST)
    keypoints, descriptors = sift.detectAndCompute(_gray(image), mask)
    if descriptors is None:
        descriptors = np.zeros((0, 128), np.float32)
    return _Features(
        _unscaled(np.array([k.pt for k in keypoints], np.float64).reshape(-1, 2), image),
        np.array([k.angle for k in keypoints], np.float64),
        np.asarray(descriptors, np.float32),
        _REACH * max(image.shape[:2]),
    )


def _mutual(first: _Features, second: _Features) -> Matches:
    """Return the matches that pass the ratio test and are each other's nearest."""
    if min(len(first.points), len(second.points)) < 2:
        return Matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    a, b = first.descriptors, second.descriptors
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    moved = np.linalg.norm(first.points[:, None] - second.points, axis=-1)
    turned = np.abs((first.angles[:, None] - second.angles + 180.0) % 360.0 - 180.0)
    squares[(moved > first.reach) | (turned > _TURN)] = np.inf
    nearest, row = squares.argmin(axis=1), np.arange(len(squares))
    best = squares[row, nearest]
    rivals = squares.copy()
    rivals[row, nearest] = np.inf
    rival = rivals.min(axis=1)
    found = np.isfinite(best) & (squares.argmin(axis=0)[nearest] == row)
    # A candidate without a rival has stood no test of its looks: it counts as a doubtful one.
    ratio = np.full(len(squares), 0.95 * RATIO)
    rated = found & np.isfinite(rival)
    ratio[rated] = np.sqrt(np.maximum(best[rated], 0.0) / np.maximum(rival[rated], 1e-9))
    keep = found & (ratio < RATIO)
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
