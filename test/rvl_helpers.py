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

"""An encoder of RVL depth images, one pixel after another, to test the decoder."""

from __future__ import annotations

import numpy as np


def encode_rvl(image):
    """Code an image as Wilson 2017 describes it, one pixel after another."""
    nibbles: list[int] = []

    def add(value):
        while value > 7:
            nibbles.append(value & 7 | 8)
            value >>= 3
        nibbles.append(value)

    values, at, last = image.reshape(-1).tolist(), 0, 0
    while at < len(values):
        start = at
        while at < len(values) and values[at] == 0:
            at += 1
        add(at - start)
        start = at
        while at < len(values) and values[at]:
            at += 1
        add(at - start)
        for value in values[start:at]:
            delta = value - last
            add(2 * delta if delta >= 0 else -2 * delta - 1)
            last = value
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int(''.join(f'{n:x}' for n in nibbles[k:k + 8]), 16)
             for k in range(0, len(nibbles), 8)]
    size = np.array(image.shape[::-1], '<u4').tobytes()
    return size + np.array(words, '<u4').tobytes()
