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

"""The page of lift3d show in headless Chromium: clicks, and pixels of its canvas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import shutil

import cv2
import numpy as np
from PIL import Image
import pytest

pytest.importorskip('playwright.sync_api', reason='playwright is not installed')

from playwright import sync_api
from viewer_helpers import block
from viewer_helpers import GREEN
from viewer_helpers import RED
from viewer_helpers import viewer
from viewer_helpers import write_bag_results
from viewer_helpers import write_result
from viewer_pages import FLAGS
from viewer_pages import Page

CHROMIUM = shutil.which('chromium')
if CHROMIUM is None:
    pytest.skip(
        'chromium is not installed (apt-get install chromium)', allow_module_level=True)

pytestmark = pytest.mark.timeout(240)

BLUE, ORANGE = (70, 130, 200), (240, 150, 60)
YELLOW, PURPLE = (253, 231, 37), (72, 35, 116)


@pytest.fixture(scope='module')
def browser() -> Iterator[object]:
    """Run Chromium for the tests of this file."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results with a red and a green block."""
    made = tmp_path_factory.mktemp('results')
    write_result(made, 'a_red', block(RED))
    write_result(made, 'b_green', block(GREEN, size=0.08))
    return made


@pytest.fixture(scope='module')
def served(folder: Path) -> Iterator[str]:
    """Return the address of a viewer of these results."""
    with viewer(folder) as (url, process):
        yield url
        assert process.poll() is None


@pytest.fixture
def page(browser: object, served: str) -> Iterator[Page]:
    """Open a page on the results."""
    opened = Page(browser, served)
    yield opened
    opened.page.close()


def test_colours_of_the_mesh_and_everything_from_this_machine(page):
    page.wait(lambda: page.count(*RED) > 3000)
    assert page.count(*GREEN) < 50
    assert '100 × 100 × 100 mm' in page.text() and 'A note.' in page.text()
    # Confidence: one side is observed and certain, the others are not.
    page.choose('Colours', 'confidence')
    page.wait(lambda: page.count(*YELLOW) > 700 and page.count(*PURPLE) > 300)
    page.choose('Colours', 'observed / predicted')
    page.wait(lambda: page.count(*BLUE) > 700 and page.count(*ORANGE) > 300)
    page.choose('Colours', 'colour')
    page.page.get_by_label('Mesh', exact=True).click()
    page.wait(lambda: page.count(*RED) < 100)
    page.page.get_by_label('Mesh', exact=True).click()
    page.wait(lambda: page.count(*RED) > 3000)
    hosts = {url.split('/')[2].split(':')[0] for url in page.requests if '//' in url}
    assert hosts == {'127.0.0.1'}


def test_comparison_and_saved_files(page, tmp_path):
    page.wait(lambda: page.count(*RED) > 3000)
    page.page.get_by_text('Compare', exact=True).click()
    page.choose('Beside it', 'b_green')
    page.wait(lambda: page.count(*RED) > 500 and page.count(*GREEN) > 300)
    assert abs(page.middle(RED)[0] - page.middle(GREEN)[0]) > 60
    page.page.get_by_text('Save', exact=True).click()
    with page.page.expect_download(timeout=90_000) as saved:
        page.page.get_by_role('button', name='Picture of the page').click()
    saved.value.save_as(tmp_path / 'page.png')
    picture = cv2.imread(str(tmp_path / 'page.png'))[..., ::-1].astype(int)
    assert ((picture[..., 0] > 100) & (picture[..., 1] < 80)).sum() > 500
    with page.page.expect_download(timeout=90_000) as saved:
        page.page.get_by_role('button', name='Turntable (GIF)').click()
    assert saved.value.suggested_filename == 'a_red_turntable.gif'
    saved.value.save_as(tmp_path / 'turn.gif')
    with Image.open(tmp_path / 'turn.gif') as film:
        assert film.n_frames == 48


def test_a_phone_shows_the_object_and_the_panel(browser, served):
    phone = Page(browser, served, viewport={'width': 390, 'height': 760}, has_touch=True)
    try:
        phone.wait(lambda: phone.count(*RED) > 1500)
        assert 'a_red' in phone.text()
        # The panel leaves most of the screen to the object.
        rows = np.nonzero(phone.like(RED).any(axis=1))[0]
        assert np.ptp(rows) > 60
    finally:
        phone.page.close()


def test_time_of_a_bag_clicks_on_objects_and_a_browser_that_leaves(browser, tmp_path):
    with viewer(write_bag_results(tmp_path / 'out')) as (url, process):
        page = Page(browser, url)
        page.wait(lambda: page.count(*RED) > 300 and page.count(*GREEN) > 300)
        assert '+0.00 s' in page.text() and '1700000000.500000000' in page.text()
        before = page.middle(RED)[0] - page.middle(GREEN)[0]
        number = page.page.get_by_role('textbox').first
        number.fill('2')
        number.press('Enter')
        page.wait(lambda: '+2.00 s' in page.text())
        # The red block moves away from the green one, which stays.
        page.wait(lambda: abs(page.middle(RED)[0] - page.middle(GREEN)[0]) > 1.3 * abs(before))
        for color, name in ((RED, 'red'), (GREEN, 'green')):
            page.page.mouse.click(*page.middle(color))
            chosen = page.page.get_by_label('Object', exact=True).first
            page.wait(lambda name=name, chosen=chosen: chosen.input_value() == name)
        # It leaves while the page plays; the server goes on, and says nothing.
        page.page.get_by_role('button', name='Play').click()
        page.page.close()
        again = Page(browser, url)
        again.wait(lambda: again.count(*GREEN) > 80)
        again.page.close()
        assert process.poll() is None
        process.terminate()
        assert process.wait(15.0) == 0
        assert 'Traceback' not in process.stderr.read()
