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

"""A page of the viewer in headless Chromium, and the pixels of its canvas."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import io

import numpy as np
from PIL import Image
from playwright.sync_api import Error
from viewer_helpers import wait_until

from lift3d_ros.viewer.meshes import COLOR
from lift3d_ros.viewer.panel import LAYERS
from lift3d_ros.viewer.panel import NOTHING

#: WebGL without a GPU; root has no sandbox.
FLAGS = ('--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader',
         '--no-sandbox', '--disable-dev-shm-usage')

#: Small, since the pixels are computed without a GPU.
SIZE = {'width': 640, 'height': 360}

#: Longest wait for an element, a click or a screenshot.
TIMEOUT_MS = 180_000


class Page:
    """A page of the viewer, and what it requested."""

    def __init__(self, browser: object, url: str, **options: object) -> None:
        """Open the page and wait for its canvas."""
        self.page = browser.new_page(**{'viewport': SIZE, **options})
        # Software rendering on a busy machine is slow.
        self.page.set_default_timeout(TIMEOUT_MS)
        self.requests: list[str] = []
        self.page.on('request', lambda request: self.requests.append(request.url))
        self.page.on('websocket', lambda socket: self.requests.append(socket.url))
        self.page.goto(url)
        self.canvas = self.page.locator('canvas').first
        self.canvas.wait_for()
        # A note on software rendering covers the scene.
        with contextlib.suppress(Error):
            self.page.locator('.mantine-Notification-closeButton').first.click(timeout=20_000)

    def pixels(self) -> np.ndarray:
        """Return what is left of the panel, float RGB."""
        shot = np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert('RGB'))
        return shot[:, :self.width()].astype(float)

    def width(self) -> int:
        """Return the width of the part without the panel, pixels."""
        return min(int(self.canvas.bounding_box()['width']), SIZE['width'])

    def count(self, *color: int) -> int:
        """Return the number of pixels with the hue of a colour, lit or in the shade."""
        return int(self.like(color).sum())

    def like(self, color: tuple[int, ...]) -> np.ndarray:
        """Return which pixels have the hue of a colour: the direction of its chroma."""
        def chroma(rgb: np.ndarray) -> np.ndarray:
            return rgb - rgb.mean(axis=-1, keepdims=True)

        wanted, found = chroma(np.array(color, float)), chroma(self.pixels())
        length = np.linalg.norm(found, axis=-1)
        cosine = found @ wanted / np.maximum(length * np.linalg.norm(wanted), 1e-6)
        return (cosine > 0.93) & (length > 25.0)

    def middle(self, color: tuple[int, ...]) -> tuple[float, float]:
        """Return the middle of the pixels of a colour, column and row."""
        rows, columns = np.nonzero(self.like(color))
        return float(np.median(columns)), float(np.median(rows))

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition of the page."""
        def check() -> bool:
            # Lets the page work; the pixels of software rendering come late.
            self.page.wait_for_timeout(100)
            return condition()

        wait_until(check, TIMEOUT_MS / 1000.0)

    def _without_notes(self) -> bool:
        """Close a note, which may close by itself; return whether none is left."""
        closing = self.page.locator('.mantine-Notification-closeButton')
        if closing.count():
            with contextlib.suppress(Error):
                closing.first.click(timeout=2_000)
        return not closing.count()

    def text(self) -> str:
        """Return the text of the page."""
        return str(self.page.locator('body').inner_text())

    def choose(self, label: str, option: str) -> None:
        """Choose an entry of a list of the panel."""
        self.page.get_by_label(label, exact=True).first.click()
        self.page.get_by_role('option', name=option).click()

    def show(self, *layers: str) -> None:
        """Show these layers of the panel by their labels, and no others."""
        for label, _ in LAYERS.values():
            self.page.get_by_label(label, exact=True).set_checked(label in layers)

    def reset(self, name: str) -> None:
        """Show one result as a new page does, without the notes of what was saved before."""
        self.wait(self._without_notes)
        for label, option in (('Name', name), ('Colours', COLOR), ('Beside it', NOTHING)):
            if self.page.get_by_label(label, exact=True).first.input_value() != option:
                self.choose(label, option)
        self.show(*(label for label, shown in LAYERS.values() if shown))
