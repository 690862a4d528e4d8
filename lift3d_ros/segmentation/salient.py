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
Salient objects by a segmentation model in ONNX that the user brings.

The model is one of the family of U2-Net (Qin et al., 2020): one picture of the ImageNet
normalisation in, a map of saliency out, the finest first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import weights_corrupt
from lift3d_ros.runtime.files import regular_file

#: Side of the input where the model has no fixed one, as published.
_SIDE = 320

#: Mean and standard deviation of ImageNet, RGB.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STDDEV = np.array([0.229, 0.224, 0.225], np.float32)

#: Smallest range of a map of saliency in which anything is salient.
_MIN_RANGE = 1e-3


class SalientObjectModel:
    """A segmentation model that is loaded once for any number of pictures."""

    def __init__(self, path: Path) -> None:
        """
        Load an ONNX file.

        Raises ``LiftError``: ``BAD_REQUEST`` without onnxruntime and for a path that is no file,
        ``WEIGHTS_CORRUPT`` for a file that is not such a model.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise bad_request(
                'A segmentation model needs onnxruntime, which is not installed: pip install '
                'onnxruntime.'
            ) from error
        if not path.is_file():
            raise bad_request(f'There is no segmentation model {path}; give an ONNX file.')
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(regular_file(path)), providers=['CPUExecutionProvider']
            )
        except Exception as error:
            # onnxruntime has an error class for each of its status codes.
            raise weights_corrupt(
                f'{path} is not a readable ONNX model ({str(error)[:200]}).'
            ) from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or shape[1] != 3 or inputs[0].type != 'tensor(float)':
            raise weights_corrupt(
                f'{path} is not a segmentation model of the family of U2-Net: its input must be '
                'one picture (1, 3, height, width) of floats.'
            )
        self._input = inputs[0].name
        self._size = tuple(side if isinstance(side, int) else _SIDE for side in shape[2:])

    def mask(self, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """
        Return the pixels of the salient object, bool (height, width); ``image`` is uint8 RGB.

        Raises ``LiftError``: ``EMPTY_MASK`` if nothing is salient, ``WEIGHTS_CORRUPT`` for a model
        whose output is no map.
        """
        rows, columns = self._size
        small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        # As in u2net_test.py: divided by the brightest value, then normalised.
        values = small.astype(np.float32) / max(float(small.max()), 1.0)
        picture = ((values - _MEAN) / _STDDEV).transpose(2, 0, 1)[None]
        found = np.asarray(self._session.run(None, {self._input: picture})[0], np.float32)
        if found.ndim != 4 or found.shape[:2] != (1, 1):
            raise weights_corrupt(
                f'The segmentation model returns an array of shape {found.shape}; a model of the '
                'family of U2-Net returns (1, 1, height, width) first.'
            )
        saliency = found[0, 0]
        low, high = float(saliency.min()), float(saliency.max())
        if not high - low > _MIN_RANGE:
            raise LiftError(
                ErrorCode.EMPTY_MASK, 'The segmentation model finds no object in the picture.'
            )
        height, width = image.shape[:2]
        scaled = cv2.resize((saliency - low) / (high - low), (width, height))
        return np.asarray(scaled > 0.5)
