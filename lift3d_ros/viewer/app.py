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

"""The viewer: loads what is chosen on the panel, and draws it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
import contextlib
from pathlib import Path
import queue
import re
import tempfile
import threading
from typing import Any

import cv2
import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.turntable import write_turntable
from lift3d_ros.runtime.failures import as_lift_error
from lift3d_ros.viewer import pictures
from lift3d_ros.viewer.content import Content
from lift3d_ros.viewer.content import Inputs
from lift3d_ros.viewer.content import level_camera
from lift3d_ros.viewer.content import lowest
from lift3d_ros.viewer.content import Moment
from lift3d_ros.viewer.content import Snapshot
from lift3d_ros.viewer.content import ViewedObject
from lift3d_ros.viewer.extras import Extras
from lift3d_ros.viewer.meshes import vertex_colors
from lift3d_ros.viewer.panel import Choice
from lift3d_ros.viewer.panel import Panel
from lift3d_ros.viewer.stage import beside
from lift3d_ros.viewer.stage import board_pixel
from lift3d_ros.viewer.stage import bounds
from lift3d_ros.viewer.stage import Side
from lift3d_ros.viewer.stage import Stage
from lift3d_ros.viewer.stage import viewpoint

#: Moments whose objects and inputs stay in memory.
_KEPT = 12

#: Seconds between moments that are played.
_PLAY_PERIOD_S = 0.6

#: Seconds that a browser has to return a picture.
_PICTURE_TIMEOUT_S = 20.0

#: Kinds of the two sides of a comparison.
_LEFT, _RIGHT = 'left', 'right'


class Viewer:
    """
    A page on a viser server.

    One thread loads, computes and draws, so that no callback of the server waits and bags are read
    by the thread that opened them; changes that come while it works are drawn together.
    """

    def __init__(
        self, server: Any, content: Content, compared: Content | None = None
    ) -> None:
        """Build the page; ``compared`` is the content beside it."""
        self._server = server
        self._contents = [content, compared or content]
        self._extras = Extras()
        self._loaded: OrderedDict[Moment, tuple[Snapshot, Inputs | None, str]] = OrderedDict()
        self._levels: dict[int, Array] = {}
        self._view: tuple[Array, Array] | None = None
        self._board: Any = None
        #: Receives column and row of a click on the board.
        self.on_pixel: Callable[[int, int], None] = lambda column, row: None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._pending = threading.Event()
        self._ended = threading.Event()
        self.stage = Stage(server.scene, self._select)
        self.panel = Panel(
            server, content, compared, self.redraw,
            {
                'Picture of the page (PNG)': self._save_picture,
                'Turntable (GIF)': lambda event: self._save_turntable(event, 'gif'),
                'Turntable (MP4)': lambda event: self._save_turntable(event, 'mp4'),
            },
            self._reload, self._reset_view)
        self._thread = threading.Thread(target=self._work, name='viewer', daemon=True)
        self._player = threading.Thread(target=self._play, name='player', daemon=True)

    def start(self) -> None:
        """Load and draw the first moment, and then what is chosen."""
        self._thread.start()
        self._player.start()
        self.redraw()

    def close(self) -> None:
        """End the threads; a running lift ends with the process."""
        self._ended.set()
        self._jobs.put(None)

    def redraw(self) -> None:
        """Draw what is chosen, soon."""
        if not self._pending.is_set():
            self._pending.set()
            self._jobs.put(self._draw)

    def set_content(self, content: Content, newest: bool = False) -> None:
        """Show other moments, and with ``newest`` go to the last one."""
        def change() -> None:
            same = self._contents[1] is self._contents[0]
            self._contents = [content, content if same else self._contents[1]]
            self.panel.set_content(content)
            if newest:
                self.panel.show_moment(len(content.moments) - 1)
            self._draw()

        self._jobs.put(change)

    def set_board(self, image: Any) -> None:
        """Show an image, uint8 RGB (height, width, 3), on a board behind the objects."""
        def change() -> None:
            self._board = image
            self._draw_board()

        self._jobs.put(change)

    # --- the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as error:
                self.panel.status(str(as_lift_error(error)), 'error')

    def _play(self) -> None:
        while not self._ended.wait(_PLAY_PERIOD_S):
            # It waits while no browser looks.
            if self.panel.playing and not self._pending.is_set() and self._server.get_clients():
                count = len(self._contents[0].moments)
                self.panel.show_moment((self.panel.choice().moment + 1) % count)

    def _draw(self) -> None:
        self._pending.clear()
        choice = self.panel.choice()
        problems: list[str] = []
        sides = {_LEFT: self._side(0, choice.moment, problems)}
        snapshot = sides[_LEFT].snapshot
        self.panel.describe(
            self._contents[0].moments[choice.moment].label, snapshot.objects, snapshot.problems)
        choice = self.panel.choice()
        if choice.other is not None:
            other = self._side(1, choice.other, problems)
            sides[_RIGHT] = self._moved(sides[_LEFT], other)
            problems += other.snapshot.problems
        else:
            for layer in (*_LAYER_NAMES, 'label'):
                self.stage.hide(f'{_RIGHT}/{layer}')
        self._frame(sides, choice.layers & _WIDE)
        for name, side in sides.items():
            self._draw_side(name, side, choice, len(sides) > 1, problems)
        if 'ground' in choice.layers:
            extent = self._extent(sides[_LEFT])
            self.stage.show(
                'ground', round(extent, 6), lambda path: self.stage.ground(path, extent))
        else:
            self.stage.hide('ground')
        self._draw_board()
        self._show_inputs(choice.moment, sides[_LEFT])
        self.panel.status('\n\n'.join(dict.fromkeys(problems)), 'error' if problems else '')

    def _side(self, content: int, index: int, problems: list[str]) -> Side:
        """Load a moment and place it on the page."""
        moment = self._contents[content].moments[index]
        snapshot, inputs, _ = self._load(moment, problems)
        title = self._contents[content].title
        name = moment.label if self._contents[0] is self._contents[1] else (
            f'{title} · {moment.label}')
        return Side(snapshot, inputs, self._level(content, snapshot), name)

    def _load(
        self, moment: Moment, problems: list[str]
    ) -> tuple[Snapshot, Inputs | None, str]:
        """Return objects, inputs, and why there are no inputs; errors become problems."""
        found = self._loaded.get(moment)
        if found is None:
            inputs, reason = None, 'The inputs of this result are not known.'
            if moment.inputs is not None:
                try:
                    inputs, reason = moment.inputs(), ''
                except Exception as error:
                    reason = str(as_lift_error(error))

            def report(fraction: float) -> None:
                self.panel.status(f'{moment.label}: {fraction:.0%}', 'busy')

            report(0.0)
            try:
                snapshot = moment.load(report)
            except Exception as error:
                snapshot = Snapshot(problems=[str(as_lift_error(error))])
            found = snapshot, inputs, reason
            self._loaded[moment] = found
            while len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(moment)
        return found

    def _level(self, content: int, snapshot: Snapshot) -> Array:
        """
        Return ``T_stage_camera``: z up, the first objects around the origin on z = 0.

        Moments in a fixed frame share the stage; in a timeline without one the camera is taken to
        stand still.
        """
        world = snapshot.T_world_camera
        timeline = self._contents[content].is_timeline
        if not snapshot.objects:
            if timeline and content in self._levels and world is None:
                return self._levels[content]
            flipped = np.array(
                [[0.0, 0.0, -1.0, 0.6], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.1],
                 [0.0, 0.0, 0.0, 1.0]])
            return flipped if world is None else self._levels.get(content, np.eye(4)) @ world
        if not timeline:
            return level_camera(snapshot.objects)
        if content not in self._levels:
            if world is None:
                self._levels[content] = level_camera(snapshot.objects)
            else:
                low, high = bounds(snapshot, world)
                T = np.eye(4)
                T[:2, 3] = -0.5 * (low + high)[:2]
                T[2, 3] = -lowest(snapshot.objects, world)
                self._levels[content] = T
        level = self._levels[content]
        return level if world is None else level @ world

    def _moved(self, left: Side, right: Side) -> Side:
        """Return the right side of a comparison beside the left one."""
        low, high = bounds(left.snapshot, left.T_stage_camera)
        other_low, other_high = bounds(right.snapshot, right.T_stage_camera)
        width = 0.75 * max(
            float(np.linalg.norm((high - low)[:2])),
            float(np.linalg.norm((other_high - other_low)[:2])))
        # Both stand on the same line: the objects of the right side move, not only its camera.
        axis = beside(left.T_stage_camera, 1.0)[:3, 3] - left.T_stage_camera[:3, 3]
        T = right.T_stage_camera.copy()
        T[:3, 3] += 2.0 * width * axis
        return Side(right.snapshot, right.inputs, T, right.name)

    def _extent(self, side: Side) -> float:
        low, high = bounds(side.snapshot, side.T_stage_camera)
        return float((high - low).max())

    def _frame(self, sides: dict[str, Side], wide: frozenset[str]) -> None:
        """Set the view that new browsers begin with, and move the others once."""
        corners = [bounds(side.snapshot, side.T_stage_camera) for side in sides.values()]
        low = np.min([low for low, _ in corners], axis=0)
        high = np.max([high for _, high in corners], axis=0)
        if wide:
            # Cameras stand around the objects, as far as the input camera.
            middle = 0.5 * (low + high)
            reach = float(np.linalg.norm(sides[_LEFT].T_stage_camera[:3, 3] - middle))
            low = np.minimum(low, middle - 0.35 * reach)
            high = np.maximum(high, middle + 0.35 * reach)
        view = viewpoint(low, high, sides[_LEFT].T_stage_camera)
        first, self._view = self._view is None, view
        camera = self._server.initial_camera
        camera.position, camera.look_at = tuple(view[0]), tuple(view[1])
        camera.near = 0.002 * float(np.linalg.norm(view[0] - view[1]))
        framed = len(sides), wide
        if first or framed != self._framed:
            for client in self._server.get_clients().values():
                _look(client, view)
        self._framed = framed

    _framed: tuple[int, frozenset[str]] = (1, frozenset())

    def _draw_side(
        self, name: str, side: Side, choice: Choice, named: bool, problems: list[str]
    ) -> None:
        """Draw the layers of a side."""
        stage, snapshot = self.stage, side.snapshot
        place = side.T_stage_camera.round(6).tobytes()
        drawings: dict[str, tuple[Any, Callable[[str], list[Any]]]] = {
            'mesh': (choice.mode, lambda path: stage.meshes(path, side, choice.mode)),
            'samples': (choice.mode, lambda path: stage.samples(path, side, choice.mode)),
            'measured': ('', lambda path: stage.measured(path, side, False)),
            'everything': ('', lambda path: stage.measured(path, side, True)),
            'camera': ('', lambda path: stage.camera(path, side)),
            'sources': ('', lambda path: stage.source_views(path, side)),
        }
        chosen = [each for each in snapshot.objects if each.name == choice.selected]
        viewed = next(iter(chosen or snapshot.objects), None)
        computed: dict[str, Any] = {}
        for layer in ('ring', 'parts', 'grasps'):
            if layer in choice.layers and viewed is not None:
                drawings[layer] = (viewed, self._computed(layer, side, viewed, problems, computed))
        for layer in _LAYER_NAMES:
            path = f'{name}/{layer}'
            if layer in choice.layers and layer in drawings:
                extra, draw = drawings[layer]
                stage.show(path, (snapshot, place, extra), draw)
            else:
                stage.hide(path)
        if named and snapshot.objects:
            stage.show(f'{name}/label', (snapshot, place), lambda path: stage.label(path, side))
        else:
            stage.hide(f'{name}/label')

    def _draw_board(self) -> None:
        """Draw the board upright behind the objects, facing the first view of the page."""
        if self._board is None or self._view is None:
            return
        image = self._board
        position, target = self._view
        distance = float(np.linalg.norm(target - position))
        forward = np.array([*(target - position)[:2], 0.0])
        forward /= max(float(np.linalg.norm(forward)), 1e-9)
        width = 0.8 * distance
        size = width, width * image.shape[0] / image.shape[1]
        T = np.eye(4)
        T[:3, :3] = np.stack([np.cross(forward, (0.0, 0.0, 1.0)), (0.0, 0.0, -1.0), forward], 1)
        T[:3, 3] = target + 0.45 * distance * forward
        T[2, 3] = 0.5 * size[1]

        def click(event: Any) -> None:
            pixel = board_pixel(
                event.ray_origin, event.ray_direction, T, size, (image.shape[1], image.shape[0]))
            if pixel is not None:
                self.on_pixel(*pixel)

        self.stage.board(image, T, size, click)

    def _computed(
        self,
        layer: str,
        side: Side,
        viewed: ViewedObject,
        problems: list[str],
        computed: dict[str, Any],
    ) -> Callable[[str], list[Any]]:
        """Compute a layer now, and return what draws it; an error becomes a problem."""
        self.panel.status(f'{viewed.name}: computing {layer}', 'busy')
        try:
            if layer == 'ring' and side.snapshot.novel_views:
                computed[layer] = side.snapshot.novel_views
            elif layer == 'ring':
                computed[layer] = self._extras.ring(viewed, side.inputs)
            elif layer == 'parts':
                computed[layer] = self._extras.parts(viewed)
            else:
                computed[layer] = self._extras.grasps(viewed)
        except Exception as error:
            problems.append(str(as_lift_error(error)))
            return lambda path: []
        draw: dict[str, Callable[[str], list[Any]]] = {
            'ring': lambda path: self.stage.ring(path, side, computed['ring']),
            'parts': lambda path: self.stage.parts(path, side, viewed, computed['parts']),
            'grasps': lambda path: self.stage.grasps(path, side, viewed, computed['grasps']),
        }
        return draw[layer]

    def _show_inputs(self, index: int, side: Side) -> None:
        moment = self._contents[0].moments[index]
        _, inputs, reason = self._loaded[moment]
        if self._shown_inputs == (moment, len(side.snapshot.objects)):
            return
        self._shown_inputs = moment, len(side.snapshot.objects)
        if inputs is None:
            self.panel.show_pictures({}, reason)
            return
        found = {'Image and masks': pictures.input_picture(inputs)}
        text = ''
        if inputs.frame.depth is not None:
            found['Depth'] = pictures.depth_image(inputs)
        else:
            text = 'No depth.'
        if side.snapshot.objects:
            found['Mesh over the image'] = pictures.overlay(inputs, side.snapshot.objects)
        self.panel.show_pictures(found, text)

    _shown_inputs: Any = None

    # --- callbacks of the page ------------------------------------------------------------------

    def _select(self, name: str) -> None:
        self.panel.select(name)

    def _reset_view(self, event: Any) -> None:
        if self._view is not None and event.client is not None:
            _look(event.client, self._view)

    def _reload(self) -> None:
        reload = self._contents[0].reload

        def change() -> None:
            assert reload is not None
            content = reload()
            self._loaded.clear()
            self._shown_inputs = None
            same = self._contents[1] is self._contents[0]
            self._contents = [content, content if same else self._contents[1]]
            self.panel.set_content(content)
            self._draw()

        self._jobs.put(change)

    def _save_picture(self, event: Any) -> None:
        """Send the page's picture, as it is seen, to the browser that asked."""
        client = event.client
        if client is None:
            return
        try:
            image = client.get_render(
                max(client.camera.image_height, 64), max(client.camera.image_width, 64),
                transport_format='png', timeout=_PICTURE_TIMEOUT_S)
        except (RuntimeError, TimeoutError) as error:
            # The browser left, or its tab is in the background.
            self.panel.status(
                f'TIMEOUT: The browser returned no picture ({error}); keep its tab in front and '
                'save again.', 'error')
            return
        _, data = cv2.imencode('.png', cv2.cvtColor(_on_white(image), cv2.COLOR_RGB2BGR))
        _send(client, f'{_file_name(self._contents[0].title)}.png', data.tobytes())

    def _save_turntable(self, event: Any, kind: str) -> None:
        """Render a turntable of the selected object in the colours of the page, and send it."""
        client = event.client

        def make() -> None:
            choice = self.panel.choice()
            snapshot, _, _ = self._load(self._contents[0].moments[choice.moment], [])
            chosen = [each for each in snapshot.objects if each.name == choice.selected]
            if not chosen:
                self.panel.status('NO_OBJECT: There is no object to turn.', 'error')
                return
            viewed = chosen[0]
            self.panel.status(f'{viewed.name}: rendering the turntable', 'busy')
            mesh = Mesh(
                viewed.mesh.vertices, viewed.mesh.faces, vertex_colors(viewed, choice.mode))
            if viewed.is_scene:
                mesh = mesh.transformed(level_camera([viewed]) @ viewed.T_camera_mesh)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f'{_file_name(viewed.name)}_turntable.{kind}'
                write_turntable(mesh, path)
                if client is not None:
                    _send(client, path.name, path.read_bytes())
            self.panel.status('')

        self._jobs.put(make)


#: Layers of cameras, for which the view is wider.
_WIDE = frozenset(('camera', 'sources', 'ring'))

#: Layers of a side; the ground belongs to both.
_LAYER_NAMES = (
    'mesh', 'samples', 'measured', 'everything', 'camera', 'sources', 'ring', 'parts', 'grasps')


def _look(client: Any, view: tuple[Array, Array]) -> None:
    # The browser may have left meanwhile.
    with contextlib.suppress(RuntimeError, AssertionError):
        client.camera.position = tuple(view[0])
        client.camera.look_at = tuple(view[1])


def _send(client: Any, name: str, data: bytes) -> None:
    with contextlib.suppress(RuntimeError, AssertionError):
        client.send_file_download(name, data, save_immediately=True)


def _file_name(name: str) -> str:
    return re.sub(r'[^A-Za-z0-9_.-]', '_', name) or 'lift3d'


def _on_white(image: Any) -> Any:
    """Return RGB of a picture with or without alpha."""
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.float32) / 255.0
    mixed = alpha * image[..., :3] + (1.0 - alpha) * 255.0
    return np.rint(mixed).astype(np.uint8)
