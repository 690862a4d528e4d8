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

"""The pose vectors that a model takes, checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
import torch

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: How far the distances of two cameras can differ in the training renders, whose cameras are 1.5
#: to 2.2 object lengths away; beyond it lie poses inside the object and ones never seen.
MAX_RADIUS_DIFFERENCE = 0.7


def check_poses(poses: ArrayLike, pose_dim: int, family: str) -> torch.Tensor:
    """
    Return the pose vectors as a float32 tensor (n, pose_dim) on the CPU.

    ``family`` is one of ``geometry.POSE_DIMS`` and says what the entries mean. Raises
    ``LiftError(BAD_REQUEST)`` for another shape, none at all, entries that are not finite, an
    azimuth that is no sine and cosine, or a camera nearer or farther than the model has seen.
    """
    try:
        vectors = np.asarray(poses, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'The poses are no table of numbers: {error}'
        ) from error
    if vectors.ndim != 2 or vectors.shape[1] != pose_dim or not len(vectors):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The poses have the shape {vectors.shape}; this model ({family}) takes (n, '
            f'{pose_dim}), one row for each view.',
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'Pose {bad[0]} has entries that are not finite numbers.'
        )
    if family in ('zero123', 'stable_zero123'):
        polar, sine, cosine, last = vectors.T
        for wrong, message in (
            (np.abs(polar) > np.pi + 1e-6, 'moves by more than half a turn in elevation; angles '
             'are radians.'),
            (np.abs(sine**2 + cosine**2 - 1.0) > 1e-3, 'has no azimuth: its second and third '
             'entry must be a sine and a cosine.'),
            ((family == 'zero123') & (np.abs(last) > MAX_RADIUS_DIFFERENCE + 1e-6), 'moves nearer '
             f"or farther by more than {MAX_RADIUS_DIFFERENCE} of the object's length, where the "
             'model has seen no camera.'),
            ((family == 'stable_zero123') & ((last < -1e-6) | (last > np.pi + 1e-6)), 'has a last '
             'entry that is no polar angle of the input view, 0 to pi.'),
        ):
            if wrong.any():
                raise LiftError(
                    ErrorCode.BAD_REQUEST, f'Pose {np.flatnonzero(wrong)[0]} {message}'
                )
    return torch.from_numpy(vectors.astype(np.float32))
