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

"""Specification of one parameter: type, default, permitted values and when it may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor

from lift3d_ros.errors import LiftError
from lift3d_ros.node.parameters.values import convert
from lift3d_ros.node.parameters.values import quoted


@dataclass(frozen=True)
class Spec:
    """
    One parameter: its name, its default, which gives the type, and the permitted values.

    ``minimum`` and ``maximum`` are given together. ``check`` raises ``LiftError`` for a value
    without a meaning. ``live`` parameters take effect with the next lift, ``read_only`` parameters
    are set when the node starts, and all others change only while the node is inactive.
    """

    name: str
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    check: Callable[[Any], object] | None = None
    live: bool = False
    read_only: bool = False

    @property
    def has_range(self) -> bool:
        """Whether the parameter is a number between a minimum and a maximum."""
        return self.minimum is not None and self.maximum is not None

    def descriptor(self) -> ParameterDescriptor:
        """Return the descriptor that ROS enforces and ``ros2 param describe`` prints."""
        descriptor = ParameterDescriptor(description=self.description, read_only=self.read_only)
        if self.choices:
            descriptor.additional_constraints = f'one of: {", ".join(self.choices)}'
        if self.has_range and isinstance(self.default, int):
            descriptor.integer_range = [
                IntegerRange(from_value=int(self.minimum), to_value=int(self.maximum), step=0)
            ]
        elif self.has_range:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=self.minimum, to_value=self.maximum, step=0.0)
            ]
        return descriptor

    def convert(self, value: Any) -> Any:
        """Return a value in the parameter's type; raises ``ValueError`` for unrelated types."""
        return convert(self.name, self.default, value, self.choices)

    def validation_error(self, value: Any) -> str:
        """Return a sentence on why a value is invalid, or an empty string for a valid value."""
        try:
            value = self.convert(value)
        except ValueError as error:
            return str(error)
        name = self.name
        if self.choices and value not in self.choices:
            return f'"{name}" is {quoted(value)}; it must be one of {", ".join(self.choices)}.'
        if self.has_range and not self.minimum <= value <= self.maximum:
            return (
                f'"{name}" is {value}, out of its range from {self.minimum:g} to '
                f'{self.maximum:.10g}.'
            )
        try:
            if self.check is not None:
                self.check(value)
        except LiftError as error:
            return f'"{name}": {error.message}'
        return ''


def parameter(
    default: Any,
    description: str,
    minimum: float | None = None,
    maximum: float | None = None,
    **options: Any,
) -> Any:
    """Return a dataclass field for a parameter; ``options`` are further fields of ``Spec``."""
    arguments = (default, description, minimum, maximum)
    metadata = {'spec': lambda name: Spec(name, *arguments, **options)}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)
