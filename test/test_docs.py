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

"""Links between the pages of the documentation hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Folders with text of other authors or with generated files.
EXCLUDED = ('.venv', '.ws', '.git', 'build', 'install', 'log', 'demo', 'bench_out')

#: A Markdown link or image: its target, without a title.
LINK = re.compile(r'\]\(([^)\s]+)\)')

#: A page that a comment, a docstring or another page names in words.
NAMED_PAGE = re.compile(r'\b((?:docs|weights)/[\w/-]+\.md)\b')

#: Files that may name a page.
SOURCES = ('*.py', '*.md', '*.rst', '*.sh', '*.yaml', '*.msg', '*.srv', '*.action', 'Makefile')


def files(*patterns: str) -> list[Path]:
    """Return the files of the repository that match one of the patterns."""
    return sorted(
        path
        for pattern in patterns
        for path in ROOT.rglob(pattern)
        if not set(path.relative_to(ROOT).parts[:-1]) & set(EXCLUDED)
    )


def without_code(text: str) -> str:
    """Return Markdown without its code blocks and code spans."""
    return re.sub(r'^```.*?^```|`[^`\n]*`', '', text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r'^#+ +(.+?) *$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield path and anchor of each relative link of a page."""
    for target in LINK.findall(without_code(page.read_text())):
        if not re.match(r'[a-z]+:', target):
            path, _, anchor = target.partition('#')
            yield path, anchor


@pytest.mark.parametrize('page', files('*.md'), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(page):
    for path, anchor in links(page):
        target = page.parent / path if path else page
        assert target.exists(), f'{page.name} links to {path}, which does not exist'
        if anchor:
            assert anchor in anchors(target), f'{page.name} links to {path}#{anchor}'


def test_pages_that_files_name_exist():
    missing = {
        (str(file.relative_to(ROOT)), page)
        for file in files(*SOURCES)
        for page in NAMED_PAGE.findall(file.read_text())
        if not (ROOT / page).exists()
    }
    assert not missing
