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

"""Declaration of the parameters on a node, and validation of changes."""

from __future__ import annotations

import difflib

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.node.parameters.settings import SPECS

#: Parameters and prefixes of ROS itself, which users may set on any node.
_ROS_PARAMETERS = ('use_sim_time', 'qos_overrides.', 'start_type_description_service')


def declare(node: Node) -> list[str]:
    """
    Declare every parameter; return a sentence for each override of an unknown parameter.

    Raises ``ValueError`` for an invalid override.
    """
    # rclpy silently ignores overrides of parameters that are not declared.
    overrides = getattr(node, '_parameter_overrides', {})
    for name, spec in SPECS.items():
        value = spec.default
        if name in overrides:
            value = overrides[name].value
            error = spec.validation_error(value)
            if error:
                raise ValueError(error)
            value = spec.convert(value)
        # rclpy infers the type from the value, which an empty list does not have.
        declared = spec.default if value == [] else value
        node.declare_parameter(name, declared, spec.descriptor(), ignore_override=True)
        if value == []:
            node.set_parameters([Parameter(name, Parameter.Type.STRING_ARRAY, [])])
    return [
        _unknown(name)
        for name in overrides
        if name not in SPECS and not name.startswith(_ROS_PARAMETERS)
    ]


def _unknown(name: str) -> str:
    similar = difflib.get_close_matches(name, SPECS, n=1)
    hint = f'; did you mean "{similar[0]}"?' if similar else ''
    return f'There is no parameter "{name}"{hint}'


def normalize(parameter: Parameter) -> Parameter:
    """Return a changed parameter in its declared type; raises ``ValueError`` if impossible."""
    spec = SPECS.get(parameter.name)
    if spec is None:
        return parameter
    if parameter.type_ is Parameter.Type.NOT_SET:
        raise ValueError(f'"{parameter.name}" cannot be deleted; set it to another value.')
    value = spec.convert(parameter.value)
    kind = Parameter.Type.STRING_ARRAY if isinstance(value, list) else None
    return Parameter(parameter.name, kind, value)


def check(parameters: list[Parameter], active: bool) -> SetParametersResult:
    """Accept or refuse a change of parameters, with the reason."""
    for parameter in parameters:
        spec = SPECS.get(parameter.name)
        if spec is None:
            continue
        reason = spec.validation_error(parameter.value)
        if not reason and active and not spec.live:
            reason = (
                f'"{parameter.name}" cannot change while the node is active; deactivate it first.'
            )
        if reason:
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def read(node: Node) -> Settings:
    """Return the current values of all parameters."""
    return Settings(**{name: node.get_parameter(name).value for name in SPECS})
