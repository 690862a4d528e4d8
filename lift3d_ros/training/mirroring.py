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

"""Samples mirrored: an object and its mirror image are as likely, and twice as much to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The object in the canonical frame, whose x lies in the vertical plane of the input's ray, and
#: the optical frame, whose x is to the right.
_CANONICAL = np.diag([1.0, -1.0, 1.0, 1.0])
_OPTICAL = np.diag([-1.0, 1.0, 1.0, 1.0])

#: Which axis of an array is the one to mirror.
_AXES = {'picture': 1, 'depth': 1, 'seen': 1, 'targets': 2, 'solid': 1}

_POSES = ('pose', 'target_poses')


def mirrored(sample: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``Sample`` for the mirror image of its object and of its cameras."""
    found = dict(sample)
    for name, axis in _AXES.items():
        if name in found:
            found[name] = np.ascontiguousarray(np.flip(found[name], axis))
    for name in _POSES:
        if name in found:
            turned = _CANONICAL @ found[name].astype(np.float64) @ _OPTICAL
            found[name] = turned.astype(sample[name].dtype)
    centre = found['centre'].copy()
    centre[0] = found['picture'].shape[1] - 1 - centre[0]
    found['centre'] = centre
    return found
