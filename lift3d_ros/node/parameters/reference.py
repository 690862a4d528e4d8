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
The reference of the parameters, from their specifications.

Print it with ``python -m lift3d_ros.node.parameters --markdown`` or ``--yaml``.
"""

from __future__ import annotations

from collections.abc import Iterator
import textwrap
from typing import Any

from lift3d_ros.node.parameters.settings import SPECS
from lift3d_ros.node.parameters.spec import Spec

_HEADER = ('Parameter', 'Type', 'Default', 'Values', 'Change', 'Description')


def markdown_table() -> str:
    """Return a Markdown table of all parameters, one row each, with a line feed at its end."""
    rows = [_HEADER, ('---',) * len(_HEADER), *(_cells(spec) for spec in SPECS.values())]
    return ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def parameter_file() -> str:
    """Return a parameter file with all parameters at their defaults, as config/lift.yaml."""
    blocks = [
        '# Every parameter of the node lift3d, at its default, as `python -m '
        'lift3d_ros.node.parameters --yaml`\n# prints it. After each description: permitted '
        'values; live: may change at any time, inactive: while\n# the node is not active, at '
        'start: not at all.\n#\n# QoS of a subscription, by its full topic name:\n'
        '#   qos_overrides./image.subscription.depth: 5\n'
        '#   qos_overrides./image.subscription.history: keep_last\n\n'
        '/**:\n  ros__parameters:\n'
    ]
    for spec in SPECS.values():
        _, _, _, values, change, description = _cells(spec)
        details = '; '.join(filter(None, (values.replace('`', ''), change)))
        indent = ' ' * 4 + '# '
        comment = textwrap.fill(
            f'{description} ({details})', 99, initial_indent=indent, subsequent_indent=indent
        )
        # Without this line the node uses the default of `lift3d methods`.
        mark = '# ' if spec.name == 'method' else ''
        default = yaml_value(spec.default)
        default = f"'{default}'" if default in ('off', 'on', 'no', 'yes') else default
        blocks.append(f'{comment}\n    {mark}{spec.name}: {default}\n')
    return '\n'.join(blocks)


def _cells(spec: Spec) -> Iterator[str]:
    yield f'`{spec.name}`'
    yield 'string[]' if isinstance(spec.default, list) else _TYPES[type(spec.default)]
    yield f'`{yaml_value(spec.default)}`'
    if spec.choices:
        yield ', '.join(f'`{choice}`' for choice in spec.choices)
    else:
        yield f'{spec.minimum:g} to {spec.maximum:.10g}' if spec.has_range else ''
    yield 'at start' if spec.read_only else 'live' if spec.live else 'inactive'
    yield spec.description.replace('|', '\\|')


#: Types as the message ParameterType names them.
_TYPES = {bool: 'bool', int: 'integer', float: 'double', str: 'string'}


def yaml_value(value: Any) -> str:
    """Return a default as a parameter file writes it."""
    if isinstance(value, list):
        return f'[{", ".join(map(yaml_value, value))}]'
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"
