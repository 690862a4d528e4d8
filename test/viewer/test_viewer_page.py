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
from contextlib import contextmanager
from pathlib import Path
import re
import shutil

from command_helpers import run_here
import cv2
from PIL import Image
import pytest

pytest.importorskip('playwright.sync_api', reason='playwright is not installed')

from playwright import sync_api
from scene_helpers import make_room
from viewer_helpers import block
from viewer_helpers import GREEN
from viewer_helpers import PURPLE
from viewer_helpers import RED
from viewer_helpers import viewer
from viewer_helpers import write_bag_results
from viewer_helpers import write_result
from viewer_pages import FLAGS
from viewer_pages import Page

from lift3d_ros.geometry import Camera
from lift3d_ros.io.scene import write_scene

CHROMIUM = shutil.which('chromium')
if CHROMIUM is None:
    pytest.skip(
        'chromium is not installed (apt-get install chromium)', allow_module_level=True)

pytestmark = pytest.mark.timeout(600)

BLUE, ORANGE = (70, 130, 200), (240, 150, 60)
#: Colours of the box and the floor of a room, and of the frames of cameras.
BOX, FLOOR, RING, SOURCE = (200, 60, 50), (180, 150, 110), (60, 130, 190), (120, 70, 190)
YELLOW, DARK = (253, 231, 37), (72, 35, 116)


@pytest.fixture(scope='module')
def playwright() -> Iterator[object]:
    """Run playwright for the tests of this file."""
    with sync_api.sync_playwright() as running:
        yield running


@pytest.fixture
def browser(playwright: object) -> Iterator[object]:
    """Run Chromium for one test; pages of one browser would wait for each other's pictures."""
    with launched(playwright) as browser:
        yield browser


@contextmanager
def launched(playwright: object) -> Iterator[object]:
    """Run Chromium."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results with a red block, a green block, and a whole scene with novel views."""
    made = tmp_path_factory.mktemp('results')
    write_result(made, 'a_red', block(RED))
    write_result(made, 'b_green', block(GREEN, size=0.08))
    scene = write_room(tmp_path_factory.mktemp('scenes') / 'c_room')
    done = run_here('scene', scene, '--out', made, '--method', 'geometric', '--views', 3)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope='module')
def served(playwright: object, folder: Path) -> Iterator[Page]:
    """Open one page of a viewer of these results; it costs most of the time of these tests."""
    with viewer(folder) as (url, process), launched(playwright) as browser:
        yield Page(browser, url)
        assert process.poll() is None


@pytest.fixture
def page(served: Page) -> Page:
    """Return the page as it is when it is opened."""
    served.reset('a_red')
    return served


def write_room(folder: Path, eye: tuple[float, float, float] = (1.3, 0.1, 0.8)) -> Path:
    """Write a scene folder of a room with a red box as a camera at ``eye`` sees it."""
    room = make_room(Camera.from_fov(96, 72, 60.0), eye, ('box',))
    write_scene(folder, room.frame, room.masks['box'], room.T_world_camera)
    return folder


def test_colours_of_the_mesh_and_everything_from_this_machine(page):
    page.wait(lambda: page.count(*RED) > 3000)
    assert page.count(*GREEN) < 50
    assert '100 × 100 × 100 mm' in page.text() and 'A note.' in page.text()
    # Confidence: one side is observed and certain, the others are not.
    page.choose('Colours', 'confidence')
    page.wait(lambda: page.count(*YELLOW) > 700 and page.count(*DARK) > 300)
    page.choose('Colours', 'observed / predicted')
    page.wait(lambda: page.count(*BLUE) > 700 and page.count(*ORANGE) > 300)
    page.choose('Colours', 'colour')
    page.show('Ground')
    page.wait(lambda: page.count(*RED) < 100)
    page.show('Mesh', 'Ground')
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
    with page.page.expect_download() as saved:
        page.page.get_by_role('button', name='Picture of the page').click()
    saved.value.save_as(tmp_path / 'page.png')
    picture = cv2.imread(str(tmp_path / 'page.png'))[..., ::-1].astype(int)
    assert ((picture[..., 0] > 100) & (picture[..., 1] < 80)).sum() > 500
    with page.page.expect_download() as saved:
        page.page.get_by_role('button', name='Turntable (GIF)').click()
    assert saved.value.suggested_filename == 'a_red_turntable.gif'
    saved.value.save_as(tmp_path / 'turn.gif')
    with Image.open(tmp_path / 'turn.gif') as film:
        assert film.n_frames == 48


def test_a_whole_scene_has_its_text_and_its_novel_views(page):
    page.choose('Name', 'c_room')
    page.wait(lambda: 'planes' in page.text())
    assert re.search(r'objects\s+object', page.text())
    page.wait(lambda: page.count(*BOX) > 100)
    assert page.count(*RING) < 20
    page.show('Mesh', 'Ring of views')
    page.wait(lambda: page.count(*RING) > 60)


def test_a_scene_is_lifted_and_shown_with_cameras_and_surroundings(browser, tmp_path):
    scene = write_room(tmp_path / 'room')
    for name, eye in (('left', (0.9, -0.9, 0.7)), ('right', (0.8, 1.0, 0.9))):
        write_room(scene / 'views' / name, eye)
    with viewer(scene, '--method', 'geometric') as (url, process):
        page = Page(browser, url)
        page.wait(lambda: 'scale from' in page.text())
        # The longest side of the box is 200 mm; its images have few pixels.
        sides = map(int, re.search(r'(\d+) × (\d+) × (\d+) mm', page.text()).groups())
        assert 150 < max(sides) < 300
        page.wait(lambda: page.count(*BOX) > 1000)
        page.show('Ground')
        page.wait(lambda: page.count(*BOX) < 20)
        assert page.count(*FLOOR) < 20 and page.count(*SOURCE) < 20
        page.show('Surroundings')
        page.wait(lambda: page.count(*FLOOR) > 500)
        page.show('Source views')
        page.wait(lambda: page.count(*SOURCE) > 60)
        page.page.close()
        assert process.poll() is None


def test_time_of_a_bag_clicks_on_objects_and_a_phone(browser, tmp_path):
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
        # Each moment has its surroundings, also when the slider returns to it.
        page.show('Surroundings')
        for moment in (0, 1, 2, 1, 0):
            number.fill(str(moment))
            number.press('Enter')
            page.wait(lambda moment=moment: f'+{moment}.00 s' in page.text())
            page.wait(lambda: page.count(*PURPLE) > 1000)
        page.show('Mesh', 'Ground')
        # The browser leaves while the page plays; a phone comes, and its panel leaves most of the
        # screen to the objects.
        page.page.get_by_role('button', name='Play').click()
        page.page.close()
        phone = Page(browser, url, viewport={'width': 390, 'height': 760}, has_touch=True)
        phone.wait(lambda: phone.count(*RED) > 300 and phone.count(*GREEN) > 300)
        assert 'Moment' in phone.text()
        panel = phone.page.get_by_text('Moment', exact=True).locator(
            'xpath=ancestor::*[contains(@style, "position: fixed")]').bounding_box()
        assert 0.6 * 760 < panel['y'] < 0.7 * 760
        phone.page.close()
        assert process.poll() is None
        process.terminate()
        assert process.wait(15.0) == 0
        assert 'Traceback' not in process.stderr.read()
