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

"""
Scenes with the difficulties of real frames: sensors, masks, holders and surroundings of robots.

The statistics of real frames that they follow are in docs/real_like.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic import clutter
from lift3d_ros.synthetic.appearance import draw_background
from lift3d_ros.synthetic.appearance import draw_light
from lift3d_ros.synthetic.held import holders
from lift3d_ros.synthetic.image_degradation import ImageErrors
from lift3d_ros.synthetic.masks import ColorSegmenter
from lift3d_ros.synthetic.masks import SegmenterErrors
from lift3d_ros.synthetic.rigs import CameraRig
from lift3d_ros.synthetic.rigs import choose
from lift3d_ros.synthetic.rigs import draw_rig
from lift3d_ros.synthetic.rigs import RIG_SHARES
from lift3d_ros.synthetic.sensors.registration import align_depth
from lift3d_ros.synthetic.sensors.surfaces import Material
from lift3d_ros.synthetic.sensors.surfaces import Surfaces
from lift3d_ros.synthetic.sensors.time_of_flight import SATURATED_M
from lift3d_ros.synthetic.tabletop import place_camera
from lift3d_ros.synthetic.tabletop import silhouette
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.windowed import render_windowed

#: Segmenters by name: a promptable one (Segment Anything), a detector with masks of 28 x 28 cells
#: (Mask R-CNN), a mask projected from another frame or from a model, and one by colour.
SEGMENTERS = {
    'promptable': SegmenterErrors(bias_px=(-2.0, 1.0)),
    'detector': SegmenterErrors(
        bias_px=(-3.0, 2.0), wobble_px=0.5, cells=28, holes=0.05, missing=0.2
    ),
    'projected': SegmenterErrors(
        bias_px=(-1.5, 1.5), wobble_px=0.3, shift_px=1.5, holes=0.0, missing=0.0, leak=0.0,
        shadow=0.0,
    ),
}

#: The name of ``ColorSegmenter`` among the kinds of masks.
COLOR_MASK = 'color'

#: Share of an object that a holder or a neighbour may hide.
_MAX_HIDDEN = 0.25

#: Grasps that are tried for one that leaves enough of the object visible.
_MAX_GRASPS = 12

#: Largest height of the object over that of the image.
_MAX_FILL = 0.7

#: Draws of a camera that sees the object until the depth camera sees it as well.
_MAX_DRAWS = 8

#: Smallest distance between the camera and anything around the object, metres.
_MIN_CAMERA_GAP_M = 0.08

#: Longest side of other objects around one, metres.
_OTHER_LENGTH_M = (0.04, 0.40)


@dataclass(frozen=True)
class RealLikeSettings:
    """
    Shares and ranges of the random parameters of a scene.

    - ``held``: share of the scenes in which the object is held above the table; ``touched``: in
      which it stands, but a tool or hand holds it. ``clearance``: metres over the table when held.
    - ``holders``: shares of what holds an object.
    - ``held_poses``: shares of the poses of held objects: ``upright`` and ``level``, their z axis
      within some degrees of the vertical and of the horizon, and ``any``.
    - ``toppled``: share of the standing objects that lie on a side.
    - ``surroundings``: shares of what is around an object on the table.
    - ``sensors``: shares of the kinds of cameras, of ``RIG_SHARES``.
    - ``masks``: shares of the kinds of masks: ``SEGMENTERS`` and ``COLOR_MASK``.
    - ``elevation``: degrees of the camera over the horizon; ``distance``: metres, drawn on a
      logarithmic scale; ``min_length_px``: length of the object's diagonal in the image, which
      the camera approaches for. It retreats where the image does not hold the object.
    - ``max_shift_px``: largest displacement of the depth against the image.
    - ``table``: range of half the side of the table, metres.
    - ``gravity``: whether the frame knows gravity.
    """

    held: float = 0.45
    touched: float = 0.1
    clearance: tuple[float, float] = (0.03, 0.30)
    holders: tuple[tuple[str, float], ...] = (
        ('gripper', 0.4), ('suction_cup', 0.45), ('hand', 0.15),
    )
    held_poses: tuple[tuple[str, float], ...] = (('upright', 0.4), ('any', 0.6))
    toppled: float = 0.15
    surroundings: tuple[tuple[str, float], ...] = (
        ('alone', 0.45), ('touching', 0.15), ('clutter', 0.25), ('bin', 0.08), ('shelf', 0.07),
    )
    sensors: tuple[tuple[str, float], ...] = tuple(RIG_SHARES.items())
    masks: tuple[tuple[str, float], ...] = (
        ('promptable', 0.3), ('detector', 0.2), ('projected', 0.2), (COLOR_MASK, 0.3),
    )
    elevation: tuple[float, float] = (20.0, 65.0)
    distance: tuple[float, float] = (0.4, 1.0)
    min_length_px: float = 60.0
    max_shift_px: float = 4.0
    table: tuple[float, float] = (0.25, 1.2)
    gravity: bool = False
    image: ImageErrors = ImageErrors()


@dataclass(frozen=True, eq=False)
class Situation:
    """
    The ground truth of a scene beside shape and pose.

    - ``holder``: of ``HOLDERS``, or empty; ``clearance_m``: height of the object's lowest point
      over the table. An object with a holder and no clearance stands on the table.
    - ``surroundings``: ``alone``, ``touching`` (another object), ``clutter``, ``bin``, ``shelf``.
    - ``rig``: the cameras and the depth sensor; ``depth_shift_px``: displacement of the depth in
      the image, pixels to the right and downwards.
    - ``mask``: the segmenter, of ``SEGMENTERS`` or ``COLOR_MASK``.
    - ``gravity``: (3,) unit, down, in the optical frame; ``table``: normal (3,), up, and distance
      of the table's plane, metres: the points p of the plane have normal @ p = distance.
    """

    holder: str
    clearance_m: float
    surroundings: str
    rig: CameraRig
    mask: str
    gravity: Array
    table: tuple[Array, float]

    @property
    def depth_shift_px(self) -> tuple[float, float]:
        """Displacement of the depth in the image, pixels to the right and downwards."""
        return self.rig.shift_px

    @property
    def standing(self) -> bool:
        """Whether the object rests on the table."""
        return self.clearance_m == 0.0

    def record(self) -> dict[str, str | float]:
        """Return the values for a row of results."""
        right, down = self.depth_shift_px
        return {
            'holder': self.holder,
            'clearance_m': round(self.clearance_m, 4),
            'surroundings': self.surroundings,
            'sensor': self.rig.kind,
            'segmenter': self.mask,
            'depth_right_px': round(right, 2),
            'depth_down_px': round(down, 2),
        }


@dataclass(frozen=True, eq=False)
class RealLikeScene(TableScene):
    """
    A table scene with what robots meet.

    ``mask`` are the object's visible pixels, ``detection`` is the segmenter's mask; ``light`` is
    in the axes of the object's frame, which may be turned against the table's.
    """

    situation: Situation


def make_real_like_scene(
    mesh: Mesh, seed: int, others: Sequence[Mesh] = (), settings: RealLikeSettings | None = None
) -> RealLikeScene:
    """
    Return a random scene of a z-up, metric mesh with the difficulties of real frames.

    ``others`` are z-up meshes that may stand around it; without any it stands alone, in a bin or
    on a shelf. The same seed and meshes give the same scene. Raises ``ValueError`` for a mesh
    without faces or with coordinates that are not finite.
    """
    if not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
        raise ValueError('a scene needs a mesh with faces and finite coordinates')
    settings = settings or RealLikeSettings()
    rng = np.random.default_rng([seed, 0x5EA1])
    rig = draw_rig(rng, settings.max_shift_px, settings.sensors)
    around = choose(settings.surroundings, rng)
    chance = rng.random()
    held = chance < settings.held
    holder = choose(settings.holders, rng)
    if chance >= settings.held + settings.touched:
        holder = ''
    if held and around != 'alone':
        # Nothing that stands on the table touches what hangs above it.
        around = 'clutter'
    others = [other for other in others if _fits(other)]
    if not others and around in ('touching', 'clutter'):
        around = 'alone'

    clearance = float(rng.uniform(*settings.clearance)) if held else 0.0
    T_table_object = _place_object(mesh, held, settings, clearance, rng)
    posed = mesh.transformed(T_table_object)
    low, high = posed.vertices.min(axis=0), posed.vertices.max(axis=0)
    centre = (low + high).astype(np.float64) / 2.0

    azimuth = float(rng.uniform(-180.0, 180.0))
    elevation = float(rng.uniform(*_elevations(around, settings.elevation)))
    aim = _draw_distance(settings, rig, posed, rng)
    for _ in range(_MAX_DRAWS):
        T_table_camera = place_camera(
            rig.color, posed, centre, azimuth, elevation, _MAX_FILL, (aim, aim), rng
        )
        if _in_sight(posed, rig.depth, T_table_camera @ rig.T_color_depth):
            break
    distance = float(np.linalg.norm(T_table_camera[:3, 3] - centre))

    view = _View(posed, rig.color, T_table_camera)
    surroundings = _surround(around, view, others, azimuth, rng)
    if holder:
        holder, tools = _hold(holder, view, rng)
    else:
        tools = []
    furniture = clutter.room(posed, float(rng.uniform(*settings.table)), rng)
    meshes = [posed, *tools, *surroundings, *furniture]
    light = draw_light(rng)
    background = draw_background(rig.color, rng)
    caster = Raycaster(meshes)
    truth = render_windowed(caster, posed, rig.color, T_table_camera, light, background)
    mask = truth.instance == 0
    whole = np.count_nonzero(silhouette(posed, rig.color, T_table_camera))

    depth = _measure(
        caster, posed, rig, T_table_camera, _draw_materials(len(meshes), rng), rng
    )
    image = settings.image.apply(truth.image, rng)
    table = len(meshes) - len(furniture)
    shadow = (truth.instance == table) & _shadow(posed, light, rig.color, T_table_camera)
    kind, detection = _segment(settings.masks, mask, image, shadow, rng)
    gravity = -T_table_camera[2, :3]
    return RealLikeScene(
        frame=Frame(image, rig.color, depth, gravity if settings.gravity else None),
        mask=mask,
        detection=detection,
        mesh=mesh,
        T_camera_object=invert(T_table_camera) @ T_table_object,
        truth=truth,
        azimuth=azimuth,
        elevation=elevation,
        distance=distance,
        occlusion=1.0 - float(np.count_nonzero(mask)) / max(whole, 1),
        light=replace(light, direction=tuple(rotate(invert(T_table_object), light.direction))),
        situation=Situation(
            holder=holder,
            clearance_m=clearance,
            surroundings=around,
            rig=rig,
            mask=kind,
            gravity=gravity,
            table=(-gravity, -float(T_table_camera[2, 3])),
        ),
    )


class _View:
    """The object in the table's frame, and the camera that sees it, at a quarter of its pixels."""

    def __init__(self, posed: Mesh, camera: Camera, T_table_camera: Array) -> None:
        self.posed = posed
        self._camera = camera.crop(-0.5, -0.5, camera.width // 4, camera.height // 4, 0.25, 0.25)
        self._T_table_camera = T_table_camera
        self._alone = self._depth([posed])

    def hidden(self, meshes: Sequence[Mesh]) -> float:
        """Return the share of the object's silhouette that meshes hide, 1 if too near."""
        if not meshes:
            return 0.0
        T_camera_table = invert(self._T_table_camera)
        for mesh in meshes:
            # Something that surrounds the camera hides everything.
            near = np.linalg.norm(transform(T_camera_table, mesh.vertices), axis=1)
            if (near < _MIN_CAMERA_GAP_M).any():
                return 1.0
        seen = self._alone > 0.0
        return float(np.count_nonzero(self._behind(meshes))) / max(np.count_nonzero(seen), 1)

    def whole(self, meshes: Sequence[Mesh]) -> bool:
        """Return whether meshes leave nine tenths of what they do not hide in one part."""
        visible = (self._alone > 0.0) & ~self._behind(meshes)
        _, _, stats, _ = cv2.connectedComponentsWithStats(visible.astype(np.uint8))
        largest = stats[1:, cv2.CC_STAT_AREA].max(initial=0)
        return bool(largest >= 0.9 * np.count_nonzero(visible))

    def _behind(self, meshes: Sequence[Mesh]) -> NDArray[np.bool_]:
        """Return the pixels of the object that meshes hide."""
        depth = self._depth(meshes)
        return (self._alone > 0.0) & (depth > 0.0) & (depth < self._alone)

    def _depth(self, meshes: Sequence[Mesh]) -> NDArray[np.float32]:
        caster = Raycaster(meshes)
        return caster.render(self._camera, self._T_table_camera, supersampling=1).depth


def _draw_distance(
    settings: RealLikeSettings, rig: CameraRig, posed: Mesh, rng: np.random.Generator
) -> float:
    """Return a distance at which the sensor measures the whole object, metres."""
    diagonal = float(np.linalg.norm(np.ptp(posed.vertices, axis=0)))
    nearest = rig.sensor.range_m[0] + 0.5 * diagonal
    drawn = float(np.exp(rng.uniform(*np.log(settings.distance))))
    small = diagonal * float(np.sqrt(rig.color.fx * rig.color.fy)) / settings.min_length_px
    return max(min(drawn, small), nearest)


def _in_sight(posed: Mesh, camera: Camera, T_table_camera: Array) -> bool:
    """Return whether a camera sees the whole object."""
    u, v, _ = camera.project(transform(invert(T_table_camera), posed.vertices))
    with np.errstate(invalid='ignore'):
        inside = (u > 0.0) & (u < camera.width - 1) & (v > 0.0) & (v < camera.height - 1)
    return bool(inside.all())


def _fits(mesh: Mesh) -> bool:
    low, high = _OTHER_LENGTH_M
    return low <= float(np.ptp(mesh.vertices, axis=0).max()) <= high


def _place_object(
    mesh: Mesh, held: bool, settings: RealLikeSettings, clearance: float, rng: np.random.Generator
) -> Array:
    """Return ``T_table_object``: the lowest point at ``clearance``, above the origin."""
    lies, pose = rng.random() < settings.toppled, choose(settings.held_poses, rng)
    turn = clutter.turn_about_z(rng.uniform(0.0, 2.0 * np.pi))
    spin = clutter.turn_about_z(rng.uniform(0.0, 2.0 * np.pi))
    quarter = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    small, _ = cv2.Rodrigues(rng.normal(0.0, np.radians(8.0), 3))
    large, _ = cv2.Rodrigues(rng.normal(0.0, np.radians(60.0), 3))
    rotation = np.eye(3)
    if held:
        rotation = {'upright': small, 'level': small @ quarter @ spin, 'any': large}[pose]
    elif lies:
        rotation = spin @ quarter
    rotation = np.asarray(turn @ rotation, np.float64)
    vertices = rotate(rigid(rotation, np.zeros(3)), mesh.vertices)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle = (low + high) / 2.0
    return rigid(rotation, [-middle[0], -middle[1], clearance - low[2]])


def _elevations(around: str, range_deg: tuple[float, float]) -> tuple[float, float]:
    """Return the elevations from which an object in its surroundings is visible, degrees."""
    low, high = range_deg
    if around == 'shelf':
        return low, min(max(low, 30.0), high)
    if around == 'bin':
        return min(max(low, 40.0), high), max(high, 40.0)
    return low, high


def _surround(
    around: str, view: _View, others: Sequence[Mesh], azimuth: float, rng: np.random.Generator
) -> list[Mesh]:
    """Return what is around the object; parts that hide too much of it are left out."""
    facing = np.radians(azimuth)
    placed: list[list[Mesh]] = []
    if around == 'touching':
        for index in rng.permutation(len(others))[: rng.integers(1, 3)]:
            # Beside or behind the object as the camera sees it.
            angle = facing + rng.choice([-1.0, 1.0]) * rng.uniform(np.radians(50.0), np.pi)
            gap = float(rng.uniform(0.0, 0.003))
            placed.append([clutter.touching(view.posed, others[index], angle, gap, rng)])
    elif around == 'clutter':
        count = int(rng.integers(2, 7))
        placed += [[m] for m in clutter.scattered(view.posed, others, count, 0.2, rng)]
    elif around == 'bin':
        placed.append(clutter.storage_bin(view.posed, rng))
        placed += [[m] for m in clutter.scattered(view.posed, others, 2, 0.03, rng)]
    elif around == 'shelf':
        placed.append(clutter.shelf(view.posed, facing + rng.uniform(-0.5, 0.5), rng))
        placed += [[m] for m in clutter.scattered(view.posed, others, 2, 0.1, rng)]
    kept: list[Mesh] = []
    for meshes in placed:
        if view.hidden([*kept, *meshes]) <= _MAX_HIDDEN:
            kept += meshes
    return kept


def _hold(holder: str, view: _View, rng: np.random.Generator) -> tuple[str, list[Mesh]]:
    """
    Return what holds the object, and its meshes.

    Where every grasp that was tried hides too much, or the object is too large, it is a suction
    cup, the one that hides least.
    """
    limit = rng.uniform(0.0, _MAX_HIDDEN)
    for meshes in holders(holder, view.posed, rng, _MAX_GRASPS):
        above = all(float(mesh.vertices[:, 2].min()) > 0.0 for mesh in meshes)
        if above and view.hidden(meshes) <= limit and view.whole(meshes):
            return holder, meshes
    cups = list(holders('suction_cup', view.posed, rng, 4))
    return 'suction_cup', min(cups, key=view.hidden)


def _draw_materials(count: int, rng: np.random.Generator) -> list[Material]:
    """Return the materials of meshes: most are matt, some are glossy."""
    return [
        Material(float(rng.uniform() ** 3), float(rng.uniform(0.2, 1.0))) for _ in range(count)
    ]


def _measure(
    caster: Raycaster,
    posed: Mesh,
    rig: CameraRig,
    T_table_camera: Array,
    materials: Sequence[Material],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the depth as the robot receives it, in the pixels of the image."""
    flat = Light(ambient=1.0, diffuse=0.0)
    T_table_depth = T_table_camera @ rig.T_color_depth
    picture = render_windowed(caster, posed, rig.depth, T_table_depth, flat, (0, 0, 0), 1)
    readings = rig.sensor.measure(Surfaces.of(picture, rig.depth, materials), rig.depth, rng)
    saturated = readings >= SATURATED_M
    readings = np.where(saturated, np.float32(0.0), readings)
    depth = align_depth(readings, rig.depth, rig.color, rig.T_color_depth, rig.shift_px)
    if saturated.any():
        # Drivers translate the value to the one of frames.
        depth[depth <= 0.0] = np.nan
    return depth


def _segment(
    shares: Sequence[tuple[str, float]],
    mask: NDArray[np.bool_],
    image: NDArray[np.uint8],
    shadow: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[str, NDArray[np.bool_]]:
    """Return the name of a segmenter and its mask."""
    kind = choose(shares, rng)
    if kind == COLOR_MASK:
        detection = ColorSegmenter().apply(mask, image, rng)
        if detection is not None:
            return kind, detection
        # Nobody segments by colour what colour does not set apart.
        kind = 'promptable'
    return kind, SEGMENTERS[kind].apply(mask, rng, shadow)


def _shadow(
    posed: Mesh, light: Light, camera: Camera, T_table_camera: Array
) -> NDArray[np.bool_]:
    """Return the pixels of the plane z = 0 that the object shades."""
    direction = np.asarray(light.direction, np.float64)
    vertices = posed.vertices.astype(np.float64)
    ground = vertices - direction * (vertices[:, 2:] / direction[2])
    u, v, _ = camera.project(transform(invert(T_table_camera), ground))
    shaded = np.zeros((camera.height, camera.width), np.uint8)
    with np.errstate(invalid='ignore'):
        inside = (u > 0.0) & (u < camera.width - 1) & (v > 0.0) & (v < camera.height - 1)
    shaded[np.rint(v[inside]).astype(np.intp), np.rint(u[inside]).astype(np.intp)] = 1
    # Between the vertices.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    return np.asarray(cv2.morphologyEx(shaded, cv2.MORPH_CLOSE, kernel) > 0)
