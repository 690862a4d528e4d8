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

"""The layers of the package: a module imports from layers above it in the list, or its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lift3d_ros

ROOT = Path(lift3d_ros.__path__[0])

#: From the lowest to the highest; packages in one row do not know each other.
LAYERS = (
    ('errors',),
    ('progress',),
    ('runtime',),
    ('geometry',),
    ('cameras',),
    ('segmentation',),
    ('meshing.manifold',),
    ('meshing.isosurface', 'meshing.render'),
    ('observation',),
    ('fields',),
    ('meshing',),
    ('weights',),
    ('networks',),
    ('elevation',),
    ('diffusion',),
    ('placement',),
    ('distill',),
    ('methods',),
    ('scene',),
    ('serve.wire',),
    ('serve.client',),
    ('lifter', 'synthesis'),
    ('serve',),
    ('robot',),
    ('io',),
    ('messages',),
    ('bags',),
    ('batch',),
    ('synthetic',),
    ('node', 'cli', 'viewer', 'bench', 'training'),
)

#: The command line starts the other interfaces, each where it is used.
STARTS = {'cli': ('bench', 'training', 'node', 'viewer')}

#: Files a folder may have.
MAX_FILES = 15


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob('*.py')):
        name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
        yield name.removesuffix('__init__').removesuffix('.'), path


def _layer(module: str) -> tuple[int, str]:
    """Return the number of a module's layer, and the package that it is of there."""
    found = [
        (len(package), number, package)
        for number, packages in enumerate(LAYERS)
        for package in packages
        if module == package or module.startswith(f'{package}.')
    ]
    assert found, f'{module} is in no layer'
    _, number, package = max(found)
    return number, package


def _imports(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports, inside of functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('lift3d_ros.'):
            for alias in node.names:
                whole = f'{node.module}.{alias.name}'.removeprefix('lift3d_ros.')
                place = ROOT / whole.replace('.', '/')
                is_module = place.with_suffix('.py').exists() or place.is_dir()
                yield whole if is_module else whole.rpartition('.')[0]


@pytest.mark.parametrize(('module', 'path'), [pair for pair in _modules() if pair[0]])
def test_a_module_imports_from_its_layer_or_a_lower_one(module, path):
    number, package = _layer(module)
    for imported in _imports(path):
        if imported.split('.')[0] in ('msg', 'srv', 'action'):
            assert module.startswith('node'), f'{module} imports {imported}'
            continue
        below, other = _layer(imported)
        allowed = below < number or other == package or other in STARTS.get(package, ())
        assert allowed, f'{module} imports {imported}'


@pytest.mark.parametrize('folder', sorted({path.parent for _, path in _modules()}), ids=str)
def test_a_folder_has_one_subject(folder):
    files = [path for path in folder.glob('*.py') if path.name != '__init__.py']
    assert len(files) <= MAX_FILES, sorted(path.name for path in files)


def test_no_two_files_of_tests_have_the_same_name():
    # pytest collects only the first of them.
    names = [path.name for path in Path(__file__).parent.rglob('test_*.py')]
    assert sorted(names) == sorted(set(names))
