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

"""The site of the documentation is built without a warning, and a browser finds things in it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
import shutil
import subprocess
import sys
from urllib.parse import unquote
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Names of the browser in Debian and Ubuntu.
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ('sphinx', 'myst_parser', 'furo', 'sphinx_design', 'sphinx_copybutton'):
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp('site')
    # As `make docs`, so that each broken reference is an error.
    done = subprocess.run(
        [sys.executable, '-m', 'sphinx', '-b', 'html', '-n', '-W', '--keep-going', '-q',
         '-d', str(tmp_path_factory.mktemp('doctrees')), str(ROOT / 'docs'), str(out)],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


class Page(HTMLParser):
    """The targets that a page has, and those that it names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or '' for name, value in attrs}
        self.anchors.update(given[name] for name in ('id', 'name') if name in given)
        if tag == 'a' and 'href' in given:
            self.links.append(given['href'])
        elif tag in ('img', 'script') and 'src' in given:
            self.loaded.append(given['src'])
        elif tag == 'link' and given.get('rel') == 'stylesheet':
            self.loaded.append(given['href'])


def test_every_link_of_the_site_leads_to_a_page_and_an_anchor_that_exist(site):
    pages = {path: Page(path) for path in site.rglob('*.html')}
    assert len(pages) > 30
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].anchors if target in pages else None
            if not target.exists() or (parts.fragment and known is not None
                                       and unquote(parts.fragment) not in known):
                broken.append(f'{path.relative_to(site)}: {link}')
    assert broken == []


def test_the_site_loads_nothing_from_elsewhere(site):
    for path in site.rglob('*.html'):
        for source in Page(path).loaded:
            assert not urlsplit(source).netloc, (path, source)
            assert (path.parent / unquote(urlsplit(source).path)).is_file(), (path, source)


@pytest.mark.parametrize(('words', 'page'), [
    ('known_sizes', 'ros_api.html'), ('chamfer', 'accuracy.html'),
    ('LiftClient', 'api/client.html'),
])
def test_a_browser_finds_a_word_by_the_search(site, words, page):
    if page == 'api/client.html':
        pytest.importorskip('rclpy')
        pytest.importorskip('lift3d_ros.msg')
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip('there is no Chromium (apt-get install chromium)')
    done = subprocess.run(
        [browser, '--headless=new', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=20000',
         '--allow-file-access-from-files', '--dump-dom',
         f'{(site / "search.html").as_uri()}?q={words}'],
        capture_output=True, text=True, check=False, timeout=100)
    found = done.stdout.partition('id="search-results"')[2]
    assert f'href="{page}' in found, found[:2000] or done.stderr
