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

"""Films of images, as GIF or MP4."""

from __future__ import annotations

from collections.abc import Iterable
import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.runtime.files import write_whole

#: Pixels of all images of a GIF together.
_GIF_BYTES = 40_000_000


def write_film(
    images: Iterable[NDArray[np.uint8]], path: Path, count: int, rate: float = 15.0
) -> tuple[str, ...]:
    """
    Write RGB images (height, width, 3) as a GIF or, with OpenCV's codecs, as an MP4.

    The ending of ``path`` is ``.gif`` or ``.mp4``. ``count`` is the number of images, which are
    not kept: those of a long GIF are reduced, with a note, since all of them are encoded at once.
    Raises ``OSError`` if the film cannot be written.
    """
    if path.suffix == '.gif':
        return _write_gif(images, path, count, rate)
    writer: Any = None
    for image in images:
        if writer is None:
            height, width = image.shape[:2]
            codec: Any = cv2.VideoWriter
            writer = codec(str(path), codec.fourcc(*'mp4v'), rate, (width, height))
            if not writer.isOpened():
                raise OSError(f'OpenCV has no codec for {path.name}; choose a .gif.')
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    if writer is not None:
        writer.release()
    return ()


def _write_gif(
    images: Iterable[NDArray[np.uint8]], path: Path, count: int, rate: float
) -> tuple[str, ...]:
    from PIL import Image

    frames, scale = [], 1.0
    for image in images:
        height, width = image.shape[:2]
        scale = min(1.0, (_GIF_BYTES / (count * height * width)) ** 0.5)
        size = max(1, int(scale * width)), max(1, int(scale * height))
        if scale < 1.0:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # One byte a pixel, of a palette.
        frames.append(Image.fromarray(image).quantize(256))
    buffer = io.BytesIO()
    frames[0].save(
        buffer, 'GIF', save_all=True, append_images=frames[1:], loop=0,
        duration=round(1000.0 / rate))
    write_whole(path, buffer.getvalue())
    if scale == 1.0:
        return ()
    return (
        f'The images of {path.name} are reduced to {scale:.0%}, since it has {count}; an .mp4 '
        'keeps their size.',)
