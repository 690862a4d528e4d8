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

"""The configuration of RViz for the topics and the frame of a node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import tempfile
from typing import Any

import yaml

#: Topics of the node that the configuration shows.
_TOPICS = ('markers', 'points', 'scene_marker', 'scene_points')


def resolved(topic: str, namespace: str, node: str) -> str:
    """
    Return the full name of a topic of a node.

    It is absolute, relative to the ``namespace``, or private as ``~/markers``.
    """
    root = '/' + namespace.strip('/')
    if topic.startswith('~'):
        topic = node + topic[1:]
    parts = topic if topic.startswith('/') else f'{root}/{topic}'
    return '/' + '/'.join(part for part in parts.split('/') if part)


def configuration(
    template: str,
    *,
    namespace: str = '',
    node: str = 'lift3d',
    topics: Mapping[str, str] | None = None,
    fixed_frame: str = '',
) -> str:
    """
    Return a configuration of RViz, which is YAML, for a node of another name and other topics.

    ``topics`` are the names that ``image`` and ``mask`` are remapped to; an empty ``fixed_frame``
    leaves that of the template.
    """
    content = yaml.safe_load(template)
    named = topics or {}
    names = {f'/lift3d/{t}': resolved(f'~/{t}', namespace, node) for t in _TOPICS}
    for topic in ('image', 'mask'):
        names[f'/{topic}'] = resolved(named.get(topic) or topic, namespace, node)
    manager = content['Visualization Manager']
    for display in manager['Displays']:
        topic = display.get('Topic')
        if topic is not None:
            topic['Value'] = names.get(topic['Value'], topic['Value'])
    if fixed_frame:
        manager['Global Options']['Fixed Frame'] = fixed_frame
    return str(yaml.safe_dump(content, sort_keys=False))


def parameter_of_file(text: str, namespace: str, node: str, name: str) -> Any:
    """
    Return the value of a node's parameter in a params file, None if it has none.

    Later sections override earlier ones, as in rcl. The wildcards ``*`` and ``**`` are supported
    for the whole namespace.
    """
    content = yaml.safe_load(text)
    full = resolved(node, namespace, node)
    keys = {'/**', f'/**/{node}', f'/*/{node}' if full.count('/') == 2 else full, full, full[1:]}
    value = None
    for section, values in (content or {}).items():
        if not isinstance(values, dict):
            continue
        if section in keys and isinstance(values.get('ros__parameters'), dict):
            value = values['ros__parameters'].get(name, value)
        elif section.strip('/') == namespace.strip('/') and isinstance(values.get(node), dict):
            value = values[node].get('ros__parameters', {}).get(name, value)
    return value


def write(text: str) -> Path:
    """Write a configuration to a new temporary file and return its path."""
    with tempfile.NamedTemporaryFile(
        'w', prefix='lift3d_', suffix='.rviz', delete=False
    ) as file:
        file.write(text)
    return Path(file.name)
