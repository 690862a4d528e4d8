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

"""Networks run over many rows in batches that fit the memory."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime import memory


class Batches:
    """Runs a function over rows, at most ``size`` at once, and halves that when memory ends."""

    def __init__(self, size: int) -> None:
        """Begin with batches of ``size`` rows; what was halved stays halved."""
        self.size = size

    def map(
        self,
        function: Callable[..., torch.Tensor],
        *rows: torch.Tensor,
        check: Callable[[], None] | None = None,
    ) -> torch.Tensor:
        """
        Return ``function(*rows)``, computed in batches along the first dimension.

        A batch that does not fit is computed again in halves, and what is done stays, so that the
        result does not depend on the memory (but for the rounding of another batch size).
        ``check`` is called before each batch and may raise.

        Raises ``LiftError(OUT_OF_MEMORY)`` where a single row does not fit.
        """
        done: list[torch.Tensor] = []
        start = 0
        while start < len(rows[0]):
            if check is not None:
                check()
            stop = start + self.size
            result = None
            try:
                result = function(*(tensor[start:stop] for tensor in rows))
            except (MemoryError, RuntimeError) as error:
                if not memory.is_exhausted(error):
                    raise
                if self.size == 1:
                    raise LiftError(
                        ErrorCode.OUT_OF_MEMORY,
                        'The memory does not suffice for a single view; free memory, use a '
                        'smaller model, or half precision.',
                    ) from error
            if result is None:
                # Here the failed call's tensors are gone; inside the handler they still live.
                self.size = max(1, min(self.size, len(rows[0]) - start) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            done.append(result)
            start = stop
        return torch.cat(done)
