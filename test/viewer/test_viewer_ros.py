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

"""lift3d show --ros: a click on the image of a running node lifts that object, on the page."""

from __future__ import annotations

from collections.abc import Iterator
import re
import shutil

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')
pytest.importorskip('playwright.sync_api', reason='playwright is not installed')

from playwright import sync_api
import ros_helpers as ros
from ros_helpers import TWO
from viewer_helpers import viewer
from viewer_pages import FLAGS
from viewer_pages import Page

CHROMIUM = shutil.which('chromium')
if CHROMIUM is None:
    pytest.skip(
        'chromium is not installed (apt-get install chromium)', allow_module_level=True)

pytestmark = [pytest.mark.ros, pytest.mark.timeout(600)]

#: Colours of the two balls of the scene.
FIRST, SECOND = (200, 40, 40), (200, 140, 40)


@pytest.fixture(scope='module')
def node(graph: ros.Graph) -> Iterator[ros.NodeProcess]:
    """Run a node with a camera that shows two balls."""
    messages = ros.messages(*TWO)
    publishers = {
        name: graph.node.create_publisher(type(message), f'/viewer/{name}', 5)
        for name, message in messages.items()}

    def publish() -> None:
        stamp = graph.node.get_clock().now().to_msg()
        for name, message in messages.items():
            message.header.stamp = stamp
            publishers[name].publish(message)

    timer = graph.node.create_timer(0.3, publish)
    with ros.running(graph, 'viewer', '--autostart', use_depth=True) as node:
        yield node
    graph.node.destroy_timer(timer)


def test_a_click_on_the_image_lifts_the_object_under_it(node):
    with viewer('--ros', '--server', node.name('')[:-1], '--image', '/viewer/image') as (
            url, process), sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = Page(browser, url)
        page.wait(lambda: page.count(*FIRST) > 60 and page.count(*SECOND) > 60)
        page.page.mouse.click(*page.middle(SECOND))
        page.wait(lambda: 'scale from' in page.text())
        # The second ball has a diameter of 80 mm, the first one of 100 mm.
        longest = max(map(int, re.search(r'(\d+) × (\d+) × (\d+) mm', page.text()).groups()))
        assert 70 < longest < 92
        browser.close()
        assert process.poll() is None
