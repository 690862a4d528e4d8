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

"""One object on a table before a robot's camera: synthetic frames whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
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
from lift3d_ros.synthetic.sensor import DepthSensor
from lift3d_ros.synthetic.sensor import MaskErrors

#: Width, height and range of focal lengths in pixels of cameras that robots carry; the colour
#: stream of the RealSense family first, which most have, then wider and larger streams.
CAMERAS = (
    (640, 480, 380.0, 620.0),
    (640, 480, 380.0, 620.0),
    (640, 480, 380.0, 620.0),
    (848, 480, 420.0, 620.0),
    (1280, 720, 600.0, 930.0),
    (640, 576, 500.0, 510.0),
)

#: Pixels that stay free between the object and the border of the image.
_BORDER = 6.0


@dataclass(frozen=True)
class TableSettings:
    """
    From what ranges a scene is drawn.

    - ``azimuth``: degrees of the camera about the object's z axis.
    - ``elevation``: degrees of the camera over the object's horizon.
    - ``fill``: share of the image's height that the object's bounding box takes.
    - ``distance``: metres between camera and object; the nearest a depth camera measures, and the
      farthest a robot would look from. It wins over ``fill``.
    - ``camera``: used instead of one of ``CAMERAS``.
    - ``sensor``: how depth is measured.
    - ``window``: render only this much around the object, in units of its box in the image; 0 is
      the whole image. The frame is that window of the camera's image.
    - ``table_cells``: how finely the table's colour is drawn; 0 takes the table away.
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
    A frame of one object on a table, and what is true of it.

    - ``frame``: image, measured depth, camera and gravity.
    - ``mask``: exactly the pixels where the object is seen, bool (height, width).
    - ``detection``: the same as a detector gives it, with errors.
    - ``mesh``: the true mesh in its own frame; ``T_camera_object``: where that frame is.
    - ``truth``: the rendering behind the frame (true depth, normals, instance 0 = object).
    - ``azimuth``, ``elevation``: of the camera about the object, degrees; ``distance``: metres.
    - ``occlusion``: share of the object's silhouette that something in front hides.
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
    Put a z-up mesh on a table and look at it as a robot would.

    The mesh is metric and stands on its lowest vertex; ``occluder``, a z-up mesh too, is put
    before it so that it hides a part. The same seed and mesh give the same scene. Raises
    ``ValueError`` for a mesh without faces or with coordinates that are not finite.
    """
    if not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
        raise ValueError('a mesh needs faces and finite coordinates to be put into a scene')
    settings = settings or TableSettings()
    rng = np.random.default_rng([seed, 0x7AB1E])
    camera = settings.camera or _draw_camera(rng)
    azimuth = float(rng.uniform(*settings.azimuth))
    elevation = float(rng.uniform(*settings.elevation))
    fill = float(rng.uniform(*settings.fill))

    # The table's frame: z up, its surface at 0, the object's middle over its origin.
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    middle = (low + high).astype(np.float64) / 2.0
    T_table_object = rigid(np.eye(3), [-middle[0], -middle[1], -float(low[2])])
    standing = mesh.transformed(T_table_object)
    centre = transform(T_table_object, middle)
    nearest, farthest = settings.distance
    if occluder is not None:
        # Room for it between the camera and the object.
        room = 0.15 + 1.2 * float(np.linalg.norm(np.ptp(occluder.vertices, axis=0)))
        nearest, farthest = max(nearest, room), max(farthest, room)
    T_table_camera = _place_camera(
        camera, standing, centre, azimuth, elevation, fill, (nearest, farthest), rng
    )
    distance = float(np.linalg.norm(T_table_camera[:3, 3] - centre))

    if settings.window:
        camera = _window(camera, _box(camera, T_table_camera, standing), settings.window)

    light = _draw_light(rng)
    background = _draw_background(camera, rng)
    meshes = [standing]
    if settings.table_cells:
        meshes.append(table_top(rng, max(0.6, 1.6 * distance), settings.table_cells))
    if occluder is not None:
        meshes.append(_place_occluder(occluder, standing, camera, T_table_camera, rng))
    truth = Raycaster(meshes).render(camera, T_table_camera, light, background)
    mask = truth.instance == 0
    occlusion = 0.0
    if occluder is not None:
        whole = _silhouette(standing, camera, T_table_camera)
        occlusion = 1.0 - np.count_nonzero(mask) / max(np.count_nonzero(whole), 1)
    depth = settings.sensor.measure(truth, camera, rng)
    image = _expose(truth.image, rng)
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


def table_top(rng: np.random.Generator, half_side: float = 1.0, cells: int = 160) -> Mesh:
    """
    Return a square table in the plane z = 0, metres, with a drawn colour and grain.

    Wood, cloth, speckled stone, tiles or one plain colour.
    """
    axis = np.linspace(-half_side, half_side, cells + 1)
    x, y = np.meshgrid(axis, axis)
    base = rng.uniform(60.0, 225.0) * (1.0 + rng.uniform(-0.18, 0.18, 3))
    turn = rng.uniform(0.0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    kind = rng.choice(['plain', 'wood', 'cloth', 'stone', 'tiles'])
    fine = rng.standard_normal(x.shape)
    coarse = cv2.GaussianBlur(rng.standard_normal(x.shape), (0, 0), 6.0) * 20.0
    shade = 0.03 * coarse
    if kind == 'wood':
        shade = 0.12 * np.sin(along * 8.0 + 60.0 * across + 1.5 * coarse) + 0.03 * fine
    elif kind == 'cloth':
        period = 2.0 * np.pi / rng.uniform(0.03, 0.10)
        shade = 0.10 * (np.sin(along * period) + np.sin(across * period)) + 0.03 * fine
    elif kind == 'stone':
        shade = 0.10 * fine + 0.05 * coarse
    elif kind == 'tiles':
        side = rng.uniform(0.08, 0.2)
        shade = 0.2 * ((np.floor(along / side) + np.floor(across / side)) % 2) + 0.02 * fine
    colors = np.clip(np.rint(base * (1.0 + shade[..., None])), 0, 255).astype(np.uint8)
    corner = np.arange((cells + 1) * cells).reshape(cells, cells + 1)[:, :-1].ravel()
    right, up = corner + 1, corner + cells + 1
    faces = np.concatenate(
        [np.stack([corner, right, up + 1], axis=1), np.stack([corner, up + 1, up], axis=1)]
    )
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    return Mesh(
        vertices.astype(np.float32), faces.astype(np.int32), colors.reshape(-1, 3)
    )


def _draw_camera(rng: np.random.Generator) -> Camera:
    width, height, low, high = CAMERAS[rng.integers(len(CAMERAS))]
    focal = rng.uniform(low, high)
    # Real principal points lie some pixels off the middle, and pixels are square to a per mille.
    cx, cy = rng.normal((width - 1) / 2.0, 6.0), rng.normal((height - 1) / 2.0, 6.0)
    return Camera(width, height, focal, focal * rng.normal(1.0, 0.001), cx, cy)


def _draw_light(rng: np.random.Generator) -> Light:
    direction = spherical(rng.uniform(-180.0, 180.0), rng.uniform(35.0, 80.0), 1.0)
    ambient = float(rng.uniform(0.40, 0.65))
    return Light(
        (float(direction[0]), float(direction[1]), float(direction[2])),
        ambient,
        float(rng.uniform(0.95, 1.2) - ambient),
        shadows=True,
    )


def _draw_background(camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return what is seen past the table: a room out of focus."""
    small = rng.uniform(0.0, 1.0, (6, 8, 1)) * 0.7 + rng.uniform(0.0, 1.0, (6, 8, 3)) * 0.3
    room = cv2.resize(small, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
    return np.clip(rng.uniform(60.0, 200.0) + 90.0 * (room - 0.5), 0.0, 255.0).astype(np.uint8)


def _expose(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the image with the noise and white balance of a small camera."""
    gain = rng.uniform(0.9, 1.1) * rng.normal(1.0, 0.02, 3)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0.5, 2.5))
    lit = image.astype(np.float32) * gain.astype(np.float32) + noise
    return np.clip(np.rint(lit), 0.0, 255.0).astype(np.uint8)


def _place_camera(
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
    Return ``T_table_camera`` of a camera that has the object at that size, off centre.

    Where the object stands in the image is drawn until all of it is inside; an object that fits
    nowhere else stands in the middle, and the camera steps back as far as it must.
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
            # A long object is limited by the width of the image; one partly behind the camera
            # has no size.
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
    Return ``T_world_camera`` of a camera at ``eye`` that sees ``target`` along ``aim``.

    Its image is level: x is horizontal in the world. ``aim`` is a unit vector of the camera. Near
    the zenith there may be no such camera; the nearest one is taken.
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
    """Return the camera of the part of the image that is ``share`` times the box, square."""
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
        min(left, top) > _BORDER
        and right < camera.width - 1 - _BORDER
        and bottom < camera.height - 1 - _BORDER
    )


def _silhouette(mesh: Mesh, camera: Camera, T_mesh_camera: Array) -> NDArray[np.bool_]:
    return Raycaster([mesh]).render(camera, T_mesh_camera, supersampling=1).depth > 0.0


def _place_occluder(
    occluder: Mesh,
    standing: Mesh,
    camera: Camera,
    T_table_camera: Array,
    rng: np.random.Generator,
) -> Mesh:
    """
    Return the occluder between camera and object, hiding a part of it.

    Of 24 draws the one that hides nearest to a quarter of the object is taken. In half of
    them it stands on the table; a low one before a camera high up hides nothing there, and is held
    in the line of sight instead.
    """
    low, high = occluder.vertices.min(axis=0), occluder.vertices.max(axis=0)
    middle = (low + high).astype(np.float64) / 2.0
    radius = float(np.linalg.norm(high - low)) / 2.0
    eye = T_table_camera[:3, 3]
    towards = unit([eye[0], eye[1], 1e-9])
    reach = float(np.linalg.norm(standing.vertices[:, :2], axis=1).max())
    target = (standing.vertices.min(axis=0) + standing.vertices.max(axis=0)) / 2.0
    # A share of the area is known well enough from every fourth pixel.
    rough = camera.crop(-0.5, -0.5, camera.width // 4, camera.height // 4, 0.25, 0.25)
    silhouette = _silhouette(standing, rough, T_table_camera)
    seen = np.argwhere(silhouette)
    if not len(seen):
        raise ValueError('the object is too small in the image to be hidden in part')
    best, best_error = None, np.inf
    for draw in range(24):
        rotation = _turn_about_z(rng.uniform(0.0, 2.0 * np.pi))
        if draw % 2:
            # Beside the line to some pixel of the object, by no more than its own size.
            row, column = seen[rng.integers(len(seen))]
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
        hidden = np.count_nonzero(_silhouette(candidate, rough, T_table_camera) & silhouette)
        error = abs(hidden / len(seen) - 0.25)
        if error < best_error:
            best, best_error = candidate, error
    if best is None:
        raise ValueError('the occluder does not fit between the camera and the object')
    return best
