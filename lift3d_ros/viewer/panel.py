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

"""The panel of the page: what can be chosen, and what is said about the result."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lift3d_ros.viewer.content import Content
from lift3d_ros.viewer.content import ViewedObject
from lift3d_ros.viewer.meshes import COLOR
from lift3d_ros.viewer.meshes import MODES
from lift3d_ros.viewer.pictures import legend

#: Entry of the comparison for no second result.
NOTHING = 'nothing'

#: Layers by their key, and whether they are shown at first.
LAYERS = {
    'mesh': ('Mesh', True),
    'measured': ('Measured points', False),
    'everything': ('Surroundings', False),
    'samples': ('Sampled cloud', False),
    'camera': ('Camera', False),
    'sources': ('Source views', False),
    'ring': ('Ring of views', False),
    'parts': ('Convex parts', False),
    'grasps': ('Grasps', False),
    'ground': ('Ground', True),
}

#: On a phone viser lays its panel over the lower 60 % of the page. This leaves the upper 65 % to
#: the object; the panel scrolls. Written for viser 1.1: no other element of its page is fixed and
#: has this width.
_PHONE_STYLE = (
    '<style>.mantine-Paper-root[style*="position: fixed"][style*="width: 20em"]'
    '{max-height: 35% !important}</style>')

#: Prefix of the note of a status, by its kind.
_MARKS = {'error': '⚠ ', 'busy': '… ', '': ''}


@dataclass(frozen=True)
class Choice:
    """
    What is chosen on the panel.

    - ``moment``: index of the moment; ``other``: of that beside it, None without comparison.
    - ``selected``: name of the object that the panel describes.
    - ``layers``: keys of ``LAYERS``; ``mode``: one of ``MODES``.
    """

    moment: int
    other: int | None
    selected: str
    layers: frozenset[str]
    mode: str


class Panel:
    """The panel of a viser server; every change calls ``changed``."""

    def __init__(
        self,
        server: Any,
        content: Content,
        compared: Content | None,
        changed: Callable[[], None],
        save: dict[str, Callable[[Any], None]],
        reload: Callable[[], None],
        reset_view: Callable[[Any], None],
    ) -> None:
        """
        Build the panel.

        ``compared`` is a second folder, whose moments stand beside those of the first; ``save``
        are buttons by their label, which receive the event.
        """
        gui = self._gui = server.gui
        self._server = server
        self._changed = changed
        self._content, self._compared = content, compared
        self.playing = False
        gui.configure_theme(
            dark_mode=False, show_logo=False, show_share_button=False, brand_color=(47, 110, 165))
        gui.set_panel_label(f'lift3d · {content.title}')
        gui.main_panel.dock_right()
        gui.main_panel.set_width(340)
        gui.add_html(_PHONE_STYLE)
        self._status = gui.add_markdown('', visible=False)
        with gui.add_folder('Time' if content.is_timeline else 'Result'):
            self._build_moments(content, changed)
        with gui.add_folder('Surface'):
            self._mode = gui.add_dropdown('Colours', MODES, initial_value=COLOR)
            self._legend = gui.add_html('', visible=False)
            self._mode.on_update(lambda _: self._mode_changed())
        with gui.add_folder('Show'):
            self._layers = {
                key: gui.add_checkbox(name, initial) for key, (name, initial) in LAYERS.items()}
            for box in self._layers.values():
                box.on_update(lambda _: changed())
            view = gui.add_button('Reset view')
            view.on_click(reset_view)
        with gui.add_folder('Input', expand_by_default=True):
            self._input_text = gui.add_markdown('')
            blank = np.full((4, 8, 3), 235, np.uint8)
            self._pictures = {
                name: gui.add_image(blank, label=name, visible=False)
                for name in ('Image and masks', 'Depth', 'Mesh over the image')}
        with gui.add_folder('Compare', expand_by_default=compared is not None):
            self._build_comparison()
        with gui.add_folder('Save', expand_by_default=False):
            for name, action in save.items():
                gui.add_button(name).on_click(action)
            if content.reload is not None:
                gui.add_button('Reload results').on_click(lambda _: reload())

    # --- what is chosen -------------------------------------------------------------------------

    def choice(self) -> Choice:
        """Return what is chosen now."""
        return Choice(
            self._moment_index(), self._other_index(), str(self._object.value),
            frozenset(key for key, box in self._layers.items() if box.value),
            str(self._mode.value))

    def select(self, name: str) -> None:
        """Describe another object."""
        if name in self._object.options and name != self._object.value:
            self._object.value = name
            self._changed()

    def show_moment(self, index: int) -> None:
        """Go to another moment."""
        if self._content.is_timeline:
            self._slider.value = index
        else:
            self._names.value = self._names.options[index]

    def set_content(self, content: Content) -> None:
        """Replace the moments by others of the same kind, and keep the moment if it is there."""
        self._content = content
        labels = _labels(content)
        if content.is_timeline:
            self._slider.max = max(len(labels) - 1, 1)
            self._slider.disabled = self._play.disabled = len(labels) < 2
            self._slider.value = min(self._slider.value, len(labels) - 1)
        else:
            before = self._names.value
            self._names.options = labels
            self._names.value = before if before in labels else labels[0]
        if self._compared is None:
            self._compare.options = (NOTHING, *labels)

    # --- what is said ---------------------------------------------------------------------------

    def status(self, text: str, kind: str = '') -> None:
        """Say what happens, or with the kind ``error`` what failed; empty text: nothing."""
        self._status.content = f'{_MARKS[kind]}{text}' if text else ''
        self._status.visible = bool(text)

    def describe(self, label: str, objects: Sequence[ViewedObject], problems: list[str]) -> None:
        """Describe the objects of a moment."""
        names = tuple(each.name for each in objects) or ('none',)
        if tuple(self._object.options) != names:
            before = self._object.value
            self._object.options = names
            self._object.value = before if before in names else names[0]
        self._object.visible = len(objects) > 1
        if self._content.is_timeline:
            start = self._content.moments[0].label
            self._time.content = f'**{_elapsed(start, label)}** · {label}'
        chosen = [each for each in objects if each.name == self._object.value]
        self._text.content = '\n\n'.join(
            [*(summary(each) for each in chosen), *(f'⚠ {problem}' for problem in problems)])

    def show_pictures(self, pictures: dict[str, Any], text: str) -> None:
        """Show pictures of the inputs by their label, and a sentence."""
        for name, handle in self._pictures.items():
            if name in pictures:
                handle.image = pictures[name]
            handle.visible = name in pictures
        self._input_text.content = text
        self._input_text.visible = bool(text)

    # --- parts ----------------------------------------------------------------------------------

    def _build_moments(self, content: Content, changed: Callable[[], None]) -> None:
        gui, labels = self._gui, _labels(content)
        if content.is_timeline:
            self._time = gui.add_markdown('')
            self._slider = gui.add_slider(
                'Moment', 0, max(len(labels) - 1, 1), 1, 0, disabled=len(labels) < 2)
            self._slider.on_update(lambda _: changed())
            self._play = gui.add_button('Play', disabled=len(labels) < 2)
            self._play.on_click(lambda _: self.toggle_play())
        else:
            self._names = gui.add_dropdown('Name', labels, visible=len(labels) > 1)
            self._names.on_update(lambda _: changed())
        self._object = gui.add_dropdown('Object', ('none',), visible=False)
        self._object.on_update(lambda _: changed())
        self._text = gui.add_markdown('')
        if content.notes:
            gui.add_markdown('\n\n'.join(f'⚠ {note}' for note in content.notes))

    def _build_comparison(self) -> None:
        gui = self._gui
        if self._compared is not None:
            gui.add_markdown(f'Beside it: **{self._compared.title}**')
        labels = _labels(self._content if self._compared is None else self._compared)
        options = (NOTHING, *labels)
        initial = options[1] if self._compared is not None else NOTHING
        self._compare = gui.add_dropdown('Beside it', options, initial_value=initial)
        self._compare.on_update(lambda _: self._changed())

    def toggle_play(self) -> None:
        """Start or stop going through the moments."""
        self.playing = not self.playing
        self._play.label = 'Stop' if self.playing else 'Play'

    def _mode_changed(self) -> None:
        text = legend(str(self._mode.value))
        self._legend.content, self._legend.visible = text, bool(text)
        self._changed()

    def _moment_index(self) -> int:
        if self._content.is_timeline:
            return min(int(self._slider.value), len(self._content.moments) - 1)
        labels = _labels(self._content)
        return labels.index(self._names.value) if self._names.value in labels else 0

    def _other_index(self) -> int | None:
        if self._compare.value == NOTHING:
            return None
        labels = _labels(self._content if self._compared is None else self._compared)
        return labels.index(self._compare.value) if self._compare.value in labels else None


def summary(viewed: ViewedObject) -> str:
    """Return what a report says about an object, as Markdown."""
    report = viewed.report
    rows = []
    if viewed.is_scene:
        rows.append(('planes', str(len(report.get('planes') or ()))))
        rows.append(('objects', ', '.join(report.get('objects') or {}) or 'none'))
        rows.append(('observed surface', _percent(report.get('observed'))))
    else:
        sides = ' × '.join(f'{1000.0 * side:.0f}' for side in viewed.size)
        if not viewed.is_metric:
            longest = float(viewed.size.max())
            sides = ' × '.join(f'{side / longest:.2f}' for side in viewed.size)
        rows.append(('size', f'{sides} mm' if viewed.is_metric else f'{sides} (scale unknown)'))
    deviation = report.get('scale_stddev')
    scale = str(report.get('scale_source', '-'))
    rows.append(('scale from', scale if deviation is None else f'{scale} ± {deviation:.1%}'))
    rows.append(('confidence', _percent(report.get('confidence'))))
    rows.append(('probably good', _percent(report.get('pass_probability'))))
    if report.get('elevation_deg') is not None:
        rows.append((
            'elevation', f'{report["elevation_deg"]:.0f}° ({report.get("elevation_source")})'))
    rows.append(('support', str(report.get('support') or '-')))
    rows.append(('method', str(report.get('method') or '-')))
    seconds = (report.get('seconds') or {}).get('total')
    rows.append(('time', '-' if seconds is None else f'{seconds:.1f} s'))
    rows.append(('triangles', f'{len(viewed.mesh.faces):,}'))
    rows = [(name, value) for name, value in rows if value != '-']
    table = '\n'.join(f'| {name} | {value} |' for name, value in rows)
    notes = ''.join(f'\n\n*{note}*' for note in report.get('notes') or ())
    return f'**{viewed.name}**\n\n| | |\n|---|---|\n{table}{notes}'


def _percent(value: Any) -> str:
    """Return a share in per cent; NaN is how messages say that it is not known."""
    return '-' if value is None or value != value else f'{value:.0%}'


def _labels(content: Content) -> tuple[str, ...]:
    return tuple(moment.label for moment in content.moments)


def _elapsed(start: str, label: str) -> str:
    """Return the time since the first moment, whose labels are seconds."""
    try:
        return f'+{float(label) - float(start):.2f} s'
    except ValueError:
        return label
