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


"""What tests say of errors: their code, not their words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


@contextmanager
def raises_code(code: ErrorCode) -> Iterator[None]:
    """Expect a ``LiftError`` of a code."""
    with pytest.raises(LiftError) as caught:
        yield
    assert caught.value.code is code
