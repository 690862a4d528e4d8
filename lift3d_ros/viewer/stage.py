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

"""The scene of the page: what is drawn where, with viser."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.viewer.content import Inputs
from lift3d_ros.viewer.content import NovelView
from lift3d_ros.viewer.content import Snapshot
from lift3d_ros.viewer.content import ViewedObject
from lift3d_ros.viewer.extras import camera_pose
from lift3d_ros.viewer.meshes import gltf
from lift3d_ros.viewer.meshes import vertex_colors

#: Layers that stay in the browser; more than are shown at once.
_KEPT = 48

#: Largest number of points of a measured cloud; more take seconds over a slow network.
_MAX_POINTS = 60_000

#: Points of a cloud that is sampled from a mesh.
_SAMPLES = 12_000

#: Intensity of the ambient light beside the directional ones: sides in the shade stay readable.
_AMBIENT = 2.6

#: Colours of convex parts.
_PALETTE = (
    (228, 87, 86), (76, 120, 168), (245, 133, 24), (114, 183, 178), (84, 162, 75),
    (238, 202, 59), (178, 121, 162), (157, 117, 93), (255, 157, 166), (121, 112, 110),
)

#: Colours of the input camera, of source views and of synthesised views.
_INPUT_RGB, _SOURCE_RGB, _RING_RGB = (200, 40, 40), (120, 70, 190), (60, 130, 190)


@dataclass(frozen=True, eq=False)
class Side:
    """
    One result on the page.

    - ``T_stage_camera``: pose of its optical frame on the page.
    - ``name``: shown above it if there are two.
    """

    snapshot: Snapshot
    inputs: Inputs | None
    T_stage_camera: Array
    name: str


class Stage:
    """
    Draws layers, and only those that changed.

    Layers that were replaced stay in the browser, hidden, so that playing a bag and going back and
    forth sends each mesh once.
    """

    def __init__(self, scene: Any, on_click: Callable[[str], None]) -> None:
        """Draw into the scene of a viser server; ``on_click`` receives the name of an object."""
        self._scene = scene
        self._on_click = on_click
        self._shown: dict[str, Hashable] = {}
        self._drawn: OrderedDict[tuple[str, Hashable], list[Any]] = OrderedDict()
        self._count = 0
        scene.set_up_direction('+z')
        # No environment map: without a GPU it takes longer than the first picture itself.
        scene.configure_environment_map(None)
        scene.add_light_ambient('/ambient', intensity=_AMBIENT)
        scene.configure_default_lights(True, cast_shadow=True)

    def show(self, layer: str, key: Hashable, draw: Callable[[str], list[Any]]) -> None:
        """Draw a layer unless it was drawn with the same key; ``draw`` receives its path."""
        if layer in self._shown and self._shown[layer] == key:
            return
        handles = self._drawn.get((layer, key))
        if handles is None:
            self._count += 1
            self._drawn[layer, key] = draw(f'/{layer}/{self._count}')
        else:
            _set_visible(handles, True)
        self._drawn.move_to_end((layer, key))
        self.hide(layer)
        self._shown[layer] = key
        while len(self._drawn) > _KEPT:
            oldest = next(each for each in self._drawn if self._shown.get(each[0]) != each[1])
            for handle in self._drawn.pop(oldest):
                handle.remove()

    def hide(self, layer: str) -> None:
        """Hide a layer if it is shown."""
        if layer in self._shown:
            _set_visible(self._drawn[layer, self._shown.pop(layer)], False)

    # --- layers ---------------------------------------------------------------------------------

    def meshes(self, path: str, side: Side, mode: str) -> list[Any]:
        """Draw the meshes in the colours of a mode."""
        handles = []
        for index, viewed in enumerate(side.snapshot.objects):
            handle = self._scene.add_glb(
                f'{path}/{index}', gltf(viewed.mesh, vertex_colors(viewed, mode)),
                **_place(side.T_stage_camera @ viewed.T_camera_mesh))
            handle.on_click(lambda _, name=viewed.name: self._on_click(name))
            handles.append(handle)
        return handles

    def samples(self, path: str, side: Side, mode: str) -> list[Any]:
        """Draw points that are spread evenly over the meshes."""
        handles = []
        for index, viewed in enumerate(side.snapshot.objects):
            chosen, weights = viewed.mesh.sample(_SAMPLES, np.random.default_rng(0))
            corners = viewed.mesh.faces[chosen]
            colors = vertex_colors(viewed, mode)[corners].astype(np.float64)
            points = np.einsum('ijk,ij->ik', viewed.mesh.vertices[corners], weights)
            handles.append(self._points(
                f'{path}/{index}', points, np.einsum('ijk,ij->ik', colors, weights),
                0.004 * float(viewed.size.max()),
                side.T_stage_camera @ viewed.T_camera_mesh))
        return handles

    def measured(self, path: str, side: Side, everything: bool) -> list[Any]:
        """Draw the measured points of the objects, or also those around them."""
        inputs = side.inputs
        if inputs is None or inputs.frame.depth is None:
            return []
        depth = np.nan_to_num(inputs.frame.depth, posinf=0.0)
        mask = depth > 0.0
        if not everything:
            mask &= np.logical_or.reduce([*inputs.masks.values(), np.zeros_like(mask)])
        v, u = np.nonzero(mask)
        points = inputs.frame.camera.unproject(u, v, depth[v, u])
        if everything and side.snapshot.objects:
            low, high = bounds(side.snapshot, np.eye(4))
            reach = max(0.45, 3.0 * float((high - low).max()))
            near = np.linalg.norm(points - 0.5 * (low + high), axis=1) < reach
            points, u, v = points[near], u[near], v[near]
        step = max(1, int(np.ceil(len(points) / _MAX_POINTS)))
        points, u, v = points[::step], u[::step], v[::step]
        if not len(points):
            return []
        pixel = float(np.median(points[:, 2])) / inputs.frame.camera.fx
        return [self._points(
            path, points, inputs.frame.image[v, u], 1.3 * pixel * step ** 0.5,
            side.T_stage_camera)]

    def camera(self, path: str, side: Side) -> list[Any]:
        """Draw the input camera with its image."""
        if side.inputs is None:
            return []
        frame = side.inputs.frame
        fov = np.degrees(2.0 * np.arctan(0.5 * frame.camera.height / frame.camera.fy))
        view = NovelView(frame.image, np.eye(4), float(fov))
        return [self._frustum(path, view, side, _INPUT_RGB)]

    def source_views(self, path: str, side: Side) -> list[Any]:
        """Draw the cameras of the source views with their crops."""
        views = () if side.inputs is None else side.inputs.source_views
        handles = []
        for index, source in enumerate(views):
            frame = source.view.frame
            fov = np.degrees(2.0 * np.arctan(0.5 * frame.camera.height / frame.camera.fy))
            view = NovelView(frame.image, source.T_ref_src, float(fov))
            handles.append(self._frustum(f'{path}/{index}', view, side, _SOURCE_RGB))
        return handles

    def ring(self, path: str, side: Side, views: list[NovelView]) -> list[Any]:
        """Draw synthesised views with their cameras."""
        return [
            self._frustum(f'{path}/{index}', view, side, _RING_RGB)
            for index, view in enumerate(views)]

    def parts(self, path: str, side: Side, viewed: ViewedObject, parts: list[Any]) -> list[Any]:
        """Draw convex parts, each in a colour of its own."""
        pose = _place(side.T_stage_camera @ viewed.T_camera_mesh)
        return [
            self._scene.add_mesh_simple(
                f'{path}/{index}', part.vertices, part.faces,
                color=_PALETTE[index % len(_PALETTE)], opacity=0.75, flat_shading=True,
                side='double', cast_shadow=False, **pose)
            for index, part in enumerate(parts)]

    def grasps(self, path: str, side: Side, viewed: ViewedObject, jaws: list[Any]) -> list[Any]:
        """Draw grippers at their grasps."""
        pose = _place(side.T_stage_camera @ viewed.T_camera_mesh)
        return [
            self._scene.add_glb(f'{path}/{index}', gltf(jaw, jaw.colors), **pose)
            for index, jaw in enumerate(jaws)]

    def ground(self, path: str, extent: float) -> list[Any]:
        """Draw a grid on z = 0, with squares of 1, 2 or 5 times a power of ten metres."""
        power = 10.0 ** np.floor(np.log10(max(extent, 1e-3) / 3.0))
        cell = float(power * max(step for step in (1.0, 2.0, 5.0) if step * power <= extent / 3.0))
        size = 16.0 * extent
        return [self._scene.add_grid(
            path, size, size, plane='xy', cell_size=cell, section_size=5.0 * cell,
            cell_color=(222, 224, 228), section_color=(186, 190, 198), cell_thickness=1.0,
            section_thickness=1.0, shadow_opacity=0.16, fade_distance=9.0 * extent,
            fade_strength=1.2, fade_from='origin', position=(0.0, 0.0, -0.002 * extent))]

    def label(self, path: str, side: Side) -> list[Any]:
        """Draw the name of a side above it."""
        low, high = bounds(side.snapshot, side.T_stage_camera)
        middle = 0.5 * (low + high)
        above = (float(middle[0]), float(middle[1]), float(high[2] + 0.08 * (high - low).max()))
        return [self._scene.add_label(path, side.name, position=above, anchor='bottom-center')]

    def board(
        self, image: NDArray[np.uint8], T_stage_board: Array, size: tuple[float, float],
        on_click: Callable[[Any], None],
    ) -> None:
        """Draw a picture on a board, in the place of the one before; see ``board_pixel``."""
        step = max(1, image.shape[1] // 640)
        handle = self._scene.add_image(
            '/board', np.ascontiguousarray(image[::step, ::step]), *size, cast_shadow=False,
            receive_shadow=False, **_place(T_stage_board))
        handle.on_click(on_click)

    # --- parts of layers ------------------------------------------------------------------------

    def _points(
        self, path: str, points: Array, colors: NDArray[Any], size: float, T: Array
    ) -> Any:
        # Coordinates are sent as float16, which resolves a thousandth of the distance from 0.
        middle = points.mean(axis=0)
        pose = T.copy()
        pose[:3, 3] = transform(T, middle)
        return self._scene.add_point_cloud(
            path, (points - middle).astype(np.float32),
            np.rint(np.clip(colors, 0, 255)).astype(np.uint8), point_size=size,
            point_shape='rounded', **_place(pose))

    def _frustum(
        self, path: str, view: NovelView, side: Side, color: tuple[int, int, int]
    ) -> Any:
        height, width = view.image.shape[:2]
        step = max(1, height // 240)
        low, high = bounds(side.snapshot, np.eye(4))
        distance = max(
            float(np.linalg.norm(view.T_camera_eye[:3, 3] - 0.5 * (low + high))), 1e-3)
        T = side.T_stage_camera @ camera_pose(view.T_camera_eye)
        return self._scene.add_camera_frustum(
            path, float(np.radians(view.fov)), width / height, scale=0.16 * distance,
            thickness=0.004 * distance, color=color,
            image=np.ascontiguousarray(view.image[::step, ::step]), cast_shadow=False,
            **_place(T))


def bounds(snapshot: Snapshot, T_stage_camera: Array) -> tuple[Array, Array]:
    """Return low and high corner (3,) of the objects; a cube of 0.2 m at 0.6 m without any."""
    points = [
        transform(T_stage_camera @ each.T_camera_mesh, each.mesh.vertices)
        for each in snapshot.objects]
    if not points:
        middle = transform(T_stage_camera, [0.0, 0.0, 0.6])
        return middle - 0.1, middle + 0.1
    everything = np.concatenate(points)
    if any(each.is_scene for each in snapshot.objects):
        # Distant surface of a scene would make all else small.
        return np.quantile(everything, 0.05, axis=0), np.quantile(everything, 0.95, axis=0)
    return everything.min(axis=0), everything.max(axis=0)


def viewpoint(low: Array, high: Array, T_stage_camera: Array) -> tuple[Array, Array]:
    """
    Return position and target of the page's camera that sees a box from the input camera's side.

    It is turned by 35 degrees, so that depth is visible, and looks down a little.
    """
    middle = 0.5 * (low + high)
    towards = T_stage_camera[:2, 3] - middle[:2]
    azimuth = np.arctan2(towards[1], towards[0]) if np.linalg.norm(towards) > 1e-6 else 0.0
    azimuth += np.radians(35.0)
    distance = 1.5 * float(np.linalg.norm(high - low))
    elevation = np.radians(24.0)
    offset = distance * np.array([
        np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation),
        np.sin(elevation)])
    return middle + offset, middle


def beside(T_stage_camera: Array, width: float) -> Array:
    """Return the pose of a camera moved by ``width`` to its own right along the ground."""
    right = rotate(T_stage_camera, [1.0, 0.0, 0.0])
    right[2] = 0.0
    moved = T_stage_camera.copy()
    moved[:3, 3] += width * right / max(float(np.linalg.norm(right)), 1e-9)
    return moved


def board_pixel(
    origin: Any, direction: Any, T_stage_board: Array, size: tuple[float, float],
    pixels: tuple[int, int],
) -> tuple[int, int] | None:
    """
    Return column and row where a ray meets a board with a picture, None if it passes by.

    The board is the plane z = 0 of its frame, x to the right and y down; ``size`` is width and
    height in metres, ``pixels`` those of the picture.
    """
    T = invert(T_stage_board)
    start, along = transform(T, origin), rotate(T, direction)
    if abs(along[2]) < 1e-9:
        return None
    x, y = (start - along * start[2] / along[2])[:2]
    column = int(np.floor((x / size[0] + 0.5) * pixels[0]))
    row = int(np.floor((y / size[1] + 0.5) * pixels[1]))
    inside = 0 <= column < pixels[0] and 0 <= row < pixels[1]
    return (column, row) if inside else None


def _set_visible(handles: list[Any], visible: bool) -> None:
    for handle in handles:
        handle.visible = visible


def _place(T: Array) -> dict[str, Any]:
    """Return a pose as arguments of viser: quaternion w, x, y, z, and position."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(camera_pose(T)[:3, :3]).as_quat()
    return {'wxyz': (w, x, y, z), 'position': tuple(T[:3, 3].tolist())}
