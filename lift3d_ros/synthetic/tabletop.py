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

"""Synthetic frames of one object on a table, with ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.meshing.render import Rendering
from lift3d_ros.synthetic.appearance import draw_background
from lift3d_ros.synthetic.appearance import draw_light
from lift3d_ros.synthetic.appearance import expose
from lift3d_ros.synthetic.appearance import table_top
from lift3d_ros.synthetic.masks import MaskErrors
from lift3d_ros.synthetic.sensors.basic_stereo import DepthSensor

#: Width, height and range of focal lengths in pixels of cameras of robots. The colour stream of
#: the RealSense family is the most frequent, hence three times.
CAMERAS = (
    (640, 480, 380.0, 620.0),
    (640, 480, 380.0, 620.0),
    (640, 480, 380.0, 620.0),
    (848, 480, 420.0, 620.0),
    (1280, 720, 600.0, 930.0),
    (640, 576, 500.0, 510.0),
)

#: Least distance between the object and the border of the image, pixels.
MIN_BORDER_PX = 6.0


@dataclass(frozen=True)
class TableSettings:
    """
    Ranges of the random parameters of a scene.

    - ``azimuth``: degrees of the camera about the object's z axis.
    - ``elevation``: degrees of the camera over the object's horizon.
    - ``fill``: height of the object's bounding box as a share of the image's height.
    - ``distance``: metres between camera and object; overrides ``fill``.
    - ``camera``: replaces the draw from ``CAMERAS``.
    - ``sensor``: the depth sensor.
    - ``window``: side of the rendered window around the object, in units of its box in the image;
      0 for the whole image. The frame has the camera of the window.
    - ``table_cells``: resolution of the table's texture; 0 for no table.
    """

    azimuth: tuple[float, float] = (-180.0, 180.0)
    elevation: tuple[float, float] = (10.0, 70.0)
    fill: tuple[float, float] = (0.15, 0.60)
    distance: tuple[float, float] = (0.22, 3.0)
    camera: Camera | None = None
    sensor: DepthSensor = DepthSensor()
    window: float = 0.0
    table_cells: int = 160


@dataclass(frozen=True, eq=False)
class TableScene:
    """
    A frame of one object on a table, with ground truth.

    - ``frame``: image, measured depth, camera and gravity.
    - ``mask``: the visible pixels of the object, bool (height, width).
    - ``detection``: the same with the errors of a detector.
    - ``mesh``: the true mesh in the object frame; ``T_camera_object``: its pose.
    - ``truth``: the rendering without sensor errors (instance 0 = object).
    - ``azimuth``, ``elevation``: of the camera about the object, degrees; ``distance``: metres.
    - ``occlusion``: occluded share of the object's silhouette.
    - ``light``: in the table's frame, which has the axes of the object's frame.
    """

    frame: Frame
    mask: NDArray[np.bool_]
    detection: NDArray[np.bool_]
    mesh: Mesh
    T_camera_object: Array
    truth: Rendering
    azimuth: float
    elevation: float
    distance: float
    occlusion: float
    light: Light

    def mesh_in_camera(self) -> Mesh:
        """Return the true mesh in the optical frame."""
        return self.mesh.transformed(self.T_camera_object)


def make_scene(
    mesh: Mesh,
    seed: int,
    settings: TableSettings | None = None,
    occluder: Mesh | None = None,
) -> TableScene:
    """
    Return a random scene of a z-up, metric mesh on a table.

    The mesh stands on its lowest vertex; ``occluder``, also z-up, partly occludes it. The same
    seed and mesh give the same scene. Raises ``ValueError`` for a mesh without faces or with
    coordinates that are not finite.
    """
    if not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
        raise ValueError('a scene needs a mesh with faces and finite coordinates')
    settings = settings or TableSettings()
    rng = np.random.default_rng([seed, 0x7AB1E])
    camera = settings.camera or _draw_camera(rng)
    azimuth = float(rng.uniform(*settings.azimuth))
    elevation = float(rng.uniform(*settings.elevation))
    fill = float(rng.uniform(*settings.fill))

    # The table frame: z up, the table at z = 0, the object's centre above the origin.
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    middle = (low + high).astype(np.float64) / 2.0
    T_table_object = rigid(np.eye(3), [-middle[0], -middle[1], -float(low[2])])
    standing = mesh.transformed(T_table_object)
    centre = transform(T_table_object, middle)
    nearest, farthest = settings.distance
    if occluder is not None:
        # Leave space for the occluder.
        room = 0.15 + 1.2 * float(np.linalg.norm(np.ptp(occluder.vertices, axis=0)))
        nearest, farthest = max(nearest, room), max(farthest, room)
    T_table_camera = place_camera(
        camera, standing, centre, azimuth, elevation, fill, (nearest, farthest), rng
    )
    distance = float(np.linalg.norm(T_table_camera[:3, 3] - centre))

    if settings.window:
        camera = _window(camera, _box(camera, T_table_camera, standing), settings.window)

    light = draw_light(rng)
    background = draw_background(camera, rng)
    meshes = [standing]
    if settings.table_cells:
        meshes.append(table_top(rng, max(0.6, 1.6 * distance), settings.table_cells))
    if occluder is not None:
        meshes.append(place_occluder(occluder, standing, camera, T_table_camera, rng))
    truth = Raycaster(meshes).render(camera, T_table_camera, light, background)
    mask = truth.instance == 0
    occlusion = 0.0
    if occluder is not None:
        whole = silhouette(standing, camera, T_table_camera)
        occlusion = 1.0 - np.count_nonzero(mask) / max(np.count_nonzero(whole), 1)
    depth = settings.sensor.measure(truth, camera, rng)
    image = expose(truth.image, rng)
    return TableScene(
        frame=Frame(image, camera, depth, -T_table_camera[2, :3]),
        mask=mask,
        detection=MaskErrors().apply(mask, rng),
        mesh=mesh,
        T_camera_object=invert(T_table_camera) @ T_table_object,
        truth=truth,
        azimuth=azimuth,
        elevation=elevation,
        distance=distance,
        occlusion=float(occlusion),
        light=light,
    )


def _draw_camera(rng: np.random.Generator) -> Camera:
    width, height, low, high = CAMERAS[rng.integers(len(CAMERAS))]
    focal = rng.uniform(low, high)
    # Real principal points are some pixels off centre; pixels are square to 0.1 %.
    cx, cy = rng.normal((width - 1) / 2.0, 6.0), rng.normal((height - 1) / 2.0, 6.0)
    return Camera(width, height, focal, focal * rng.normal(1.0, 0.001), cx, cy)


def place_camera(
    camera: Camera,
    standing: Mesh,
    centre: Array,
    azimuth: float,
    elevation: float,
    fill: float,
    distances: tuple[float, float],
    rng: np.random.Generator,
) -> Array:
    """
    Return ``T_table_camera`` of a camera that images the object at this size, off centre.

    The position in the image is redrawn until the object is inside; an object that fits nowhere
    else is centred, and the camera retreats until it fits.
    """
    roll = np.radians(rng.normal(0.0, 2.0))
    bank = rigid(_turn_about_z(roll), np.zeros(3))
    size = float(np.linalg.norm(np.ptp(standing.vertices, axis=0)))
    start = float(np.clip(camera.fy * size / (fill * camera.height), *distances))
    pose = np.eye(4)
    for across, down in [*rng.uniform(0.2, 0.8, (9, 2)), (0.5, 0.5)]:
        aim = camera.unproject(across * (camera.width - 1), down * (camera.height - 1), 1.0)
        aim = unit(bank[:3, :3] @ aim)
        distance = start
        for _ in range(8):
            eye = centre + spherical(azimuth, elevation, distance)
            pose = _level_camera(eye, centre, aim) @ bank
            left, top, right, bottom = _box(camera, pose, standing)
            # The width of the image limits a long object; a box partly behind the camera is NaN.
            ratio = max(
                (bottom - top) / camera.height / fill, (right - left) / camera.width / 0.9
            )
            wanted = float(np.clip(distance * np.nan_to_num(ratio, nan=1.5), *distances))
            if abs(wanted - distance) < 0.01 * distance:
                break
            distance = wanted
        if _inside(camera, pose, standing):
            return pose
    while not _inside(camera, pose, standing):
        distance *= 1.1
        eye = centre + spherical(azimuth, elevation, distance)
        pose = _level_camera(eye, centre, aim) @ bank
    return pose


def _level_camera(eye: Array, target: Array, aim: Array) -> Array:
    """
    Return ``T_world_camera`` of a level camera at ``eye`` that sees ``target`` along ``aim``.

    Its x axis is horizontal in the world. ``aim`` is a unit vector in the camera frame. Near the
    zenith there may be no such camera; the result is the nearest one.
    """
    sight = unit(target - eye)
    # With the pitch p below the horizon, the ray's world z is -(aim_y cos p + aim_z sin p).
    sine = np.clip(-sight[2] / np.hypot(aim[1], aim[2]), -1.0, 1.0)
    pitch = np.arcsin(sine) - np.arctan2(aim[1], aim[2])
    forward = np.array([np.cos(pitch), 0.0, -np.sin(pitch)])
    axes = look_at(np.zeros(3), forward)[:3, :3]
    ray = axes @ aim
    yaw = np.arctan2(sight[1], sight[0]) - np.arctan2(ray[1], ray[0])
    return rigid(_turn_about_z(yaw) @ axes, eye)


def _turn_about_z(angle: float) -> Array:
    """Return the 3 x 3 rotation by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _box(camera: Camera, T_table_camera: Array, mesh: Mesh) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of the projected vertices; NaN where one is behind."""
    u, v, _ = camera.project(transform(invert(T_table_camera), mesh.vertices))
    return float(u.min()), float(v.min()), float(u.max()), float(v.max())


def _window(
    camera: Camera, box: tuple[float, float, float, float], share: float
) -> Camera:
    """Return the camera of a square window, ``share`` times as long as the box."""
    left, top, right, bottom = box
    side = int(np.ceil(share * max(right - left, bottom - top))) + 2
    return camera.crop(
        np.floor(0.5 * (left + right - side)) - 0.5,
        np.floor(0.5 * (top + bottom - side)) - 0.5,
        side,
        side,
    )


def _inside(camera: Camera, T_table_camera: Array, mesh: Mesh) -> bool:
    left, top, right, bottom = _box(camera, T_table_camera, mesh)
    return (
        min(left, top) > MIN_BORDER_PX
        and right < camera.width - 1 - MIN_BORDER_PX
        and bottom < camera.height - 1 - MIN_BORDER_PX
    )


def silhouette(mesh: Mesh, camera: Camera, T_mesh_camera: Array) -> NDArray[np.bool_]:
    return Raycaster([mesh]).render(camera, T_mesh_camera, supersampling=1).depth > 0.0


def place_occluder(
    occluder: Mesh,
    standing: Mesh,
    camera: Camera,
    T_table_camera: Array,
    rng: np.random.Generator,
) -> Mesh:
    """
    Return the occluder between camera and object.

    It is the best of 24 random poses, the one that occludes most nearly a quarter of the object.
    In half of them it stands on the table; there a low object occludes nothing from above, so
    that in the other half it is in the air, near the line of sight.
    """
    low, high = occluder.vertices.min(axis=0), occluder.vertices.max(axis=0)
    middle = (low + high).astype(np.float64) / 2.0
    radius = float(np.linalg.norm(high - low)) / 2.0
    eye = T_table_camera[:3, 3]
    towards = unit([eye[0], eye[1], 1e-9])
    reach = float(np.linalg.norm(standing.vertices[:, :2], axis=1).max())
    target = (standing.vertices.min(axis=0) + standing.vertices.max(axis=0)) / 2.0
    # A quarter of the resolution suffices for a share of the area.
    rough = camera.crop(-0.5, -0.5, camera.width // 4, camera.height // 4, 0.25, 0.25)
    whole = silhouette(standing, rough, T_table_camera)
    visible = np.argwhere(whole)
    if not len(visible):
        raise ValueError('the object is too small in the image for an occluder')
    best, best_error = None, np.inf
    for draw in range(24):
        rotation = _turn_about_z(rng.uniform(0.0, 2.0 * np.pi))
        if draw % 2:
            # Near the ray of a pixel of the object, offset by at most the occluder's size.
            row, column = visible[rng.integers(len(visible))]
            line = T_table_camera[:3, :3] @ rough.unproject(column, row, 1.0)
            angle = rng.uniform(0.0, 2.0 * np.pi)
            aside = T_table_camera[:3, :2] @ [np.cos(angle), np.sin(angle)]
            away = rng.uniform(0.3, 0.7) * float(np.linalg.norm(target - eye))
            place = eye + away * unit(line) + rng.uniform(0.1, 0.8) * radius * aside
            place[2] = max(place[2], middle[2] - low[2])
        else:
            forth = reach + radius + rng.uniform(0.0, 0.08)
            side = rng.uniform(-1.0, 1.0) * (reach + radius)
            place = forth * towards + side * np.array([-towards[1], towards[0], 0.0])
            place[2] = middle[2] - low[2]
        candidate = occluder.transformed(rigid(rotation, place - rotation @ middle))
        if (transform(invert(T_table_camera), candidate.vertices)[:, 2] < 0.05).any():
            continue
        hidden = np.count_nonzero(silhouette(candidate, rough, T_table_camera) & whole)
        error = abs(hidden / len(visible) - 0.25)
        if error < best_error:
            best, best_error = candidate, error
    if best is None:
        raise ValueError('the occluder does not fit between the camera and the object')
    return best
