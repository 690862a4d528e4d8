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
Write shapes to files: plain and textured meshes, URDF and MJCF, clouds with normals.

Meshes and clouds are in the object frame, in the optical frame or in the world. In a GLB the
object frame and the world have y up (glTF 2.0, section 3.4), so that viewers show them upright;
elsewhere they have z up. Descriptions of a body are in the object frame only: a simulator sets the
pose of the body, and its z axis must be up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

import numpy as np

from lift3d_ros.errors import bad_request
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Cloud
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import MESH_FORMATS
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.turntable import write_turntable
from lift3d_ros.robot import convex
from lift3d_ros.robot import texture
from lift3d_ros.robot.description import Body
from lift3d_ros.robot.description import mjcf
from lift3d_ros.robot.description import urdf
from lift3d_ros.robot.mass import check_density
from lift3d_ros.robot.mass import DEFAULT_DENSITY
from lift3d_ros.robot.mass import mass_properties
from lift3d_ros.robot.mass import MassProperties
from lift3d_ros.robot.stability import feet
from lift3d_ros.robot.stability import stable_poses
from lift3d_ros.robot.stability import StablePose
from lift3d_ros.robot.stability import support_stability
from lift3d_ros.robot.stability import SupportStability
from lift3d_ros.runtime.files import write_whole
from lift3d_ros.runtime.files import written_together

#: Formats that describe a body, with the suffixes of their files.
DESCRIPTIONS = {'urdf': 'urdf', 'mjcf': 'xml'}

FORMATS = (*MESH_FORMATS, *DESCRIPTIONS)

#: Formats that can hold a texture; descriptions always have one.
TEXTURED = ('obj', 'glb', *DESCRIPTIONS)

#: Formats of a film of the turning mesh.
FILMS = ('gif', 'mp4')

#: From a frame with z up to one with y up; x stays.
T_Y_UP: Array = np.array([
    [1.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 1.0, 0.0],
    [0.0, -1.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 1.0],
])

#: One point of a cloud in PLY, with the names that Open3D, PCL and trimesh read.
_POINT = np.dtype([
    *((name, '<f4') for name in ('x', 'y', 'z', 'nx', 'ny', 'nz')),
    *((name, 'u1') for name in ('red', 'green', 'blue')),
    ('confidence', '<f4'),
    ('observed', 'u1'),
])

#: Largest number of points of a cloud.
MAX_POINTS = 1_000_000


@dataclass(frozen=True)
class Export:
    """
    The files to write for a shape.

    - ``kind``: one of ``FORMATS``.
    - ``texture``: side of the texture of a format in ``TEXTURED``, pixels; None: colours at the
      vertices, and in a description a texture of the usual size.
    - ``points``: of a cloud with normals next to the mesh; 0: none.
    - ``density``: kg per cubic metre; None: as water for a description, else no mass.
    - ``parts``: convex collision parts of a description, at most; 1: the hull.
    - ``turntable``: ending of a film of the turning mesh, one of ``FILMS``; None: no film.
    """

    kind: str = 'ply'
    texture: int | None = None
    points: int = 0
    density: float | None = None
    parts: int = 1
    turntable: str | None = None

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings, and if a package is missing."""
        if self.kind not in FORMATS:
            raise bad_request(f'There is no format "{self.kind}"; choose one of {_list(FORMATS)}.')
        if self.density is not None:
            check_density(self.density)
        if not 0 <= self.points <= MAX_POINTS:
            raise bad_request(f'A cloud of {self.points} points; ask for 0 to {MAX_POINTS}.')
        if not 1 <= self.parts <= convex.MAX_PARTS:
            raise bad_request(f'{self.parts} convex parts; ask for 1 to {convex.MAX_PARTS}.')
        if self.parts > 1:
            if not self.is_description:
                raise bad_request(
                    f'A {self.kind} file holds no convex parts; choose the format '
                    f'{_list(DESCRIPTIONS)}.'
                )
            convex.load_coacd()
        if self.texture is not None:
            if self.kind not in TEXTURED:
                raise bad_request(
                    f'A {self.kind} file holds no texture; choose the format {_list(TEXTURED)}.'
                )
            texture.check_size(self.texture)
        if self.texture is not None or self.is_description:
            texture.load_xatlas()
        if self.turntable not in (None, *FILMS):
            raise bad_request(
                f'There is no film format "{self.turntable}"; choose {_list(FILMS)}.')

    @classmethod
    def of_path(cls, path: Path) -> Export:
        """Return the export for the suffix of a file; raises ``LiftError(BAD_REQUEST)``."""
        suffix = path.suffix[1:].lower()
        kinds = {'xml': 'mjcf'}
        kind = kinds.get(suffix, suffix)
        if kind not in FORMATS or suffix == 'mjcf':
            endings = [f'.{end}' for end in (*MESH_FORMATS, *DESCRIPTIONS.values())]
            raise bad_request(f'{path.name} ends in none of {_list(endings)}.')
        return cls(kind)

    @property
    def is_description(self) -> bool:
        """Whether the format describes a body with mass and collision geometry."""
        return self.kind in DESCRIPTIONS

    def path(self, folder: Path, name: str) -> Path:
        """Return the main file of an object of that name."""
        return folder / f'{name}.{DESCRIPTIONS.get(self.kind, self.kind)}'

    def files(self, path: Path) -> list[Path]:
        """Return every file that ``write`` can create for ``path``, ``path`` first."""
        paths = [path]
        if self.is_description:
            visual = _sibling(path, 'visual.obj')
            paths += [visual, *texture.side_files(visual)]
            paths += [_collision(path, index) for index in range(convex.MAX_PARTS)]
        elif self.kind == 'obj':
            paths += texture.side_files(path)
        if self.points:
            paths.append(_sibling(path, 'cloud.ply'))
        if self.turntable is not None:
            paths.append(_sibling(path, f'turntable.{self.turntable}'))
        return paths


@dataclass(frozen=True, eq=False)
class Written:
    """
    The files of a shape.

    - ``files``: all of them; ``frame``: theirs, ``camera`` (optical), ``object`` or ``world``.
    - ``up_axis``: of the mesh, ``y`` or ``z``; None in the optical frame.
    - ``mass``: in the object frame, if requested or described.
    - ``parts``: convex collision meshes of a description, in the object frame; ``poses``: their
      stable poses, the most probable first.
    """

    files: list[Path]
    frame: str
    up_axis: str | None
    mass: MassProperties | None
    parts: list[Mesh]
    poses: list[StablePose]


def write(
    shape: Shape,
    path: Path,
    export: Export,
    frame: str = 'object',
    T_world_camera: Array | None = None,
) -> Written:
    """
    Write a shape to ``path`` and to files next to it with the same stem.

    ``frame`` is that of meshes and clouds: ``camera`` (optical), ``object`` or ``world``, which
    has z up and needs the pose of the camera. A description and its cloud are always in the object
    frame. A GLB and its cloud have y up, except in the camera frame. Paths in files are relative,
    so that their folder can be moved. Either all files are written or none is changed.

    Raises ``OSError`` if a file cannot be written, and ``LiftError``: ``NO_SURFACE`` for a
    shape that is flat, ``BAD_REQUEST`` for the world without ``T_world_camera``.
    """
    if export.is_description:
        frame = 'object'
    T: Array = np.eye(4)
    if frame != 'object':
        T = shape.T_camera_object
    if frame == 'world':
        if T_world_camera is None:
            raise bad_request(
                'The world frame needs the pose of the camera, T_world_camera; add it to '
                'camera.json, or choose another frame.'
            )
        T = T_world_camera @ T
    up_axis = None if frame == 'camera' else 'z'
    if export.kind == 'glb' and up_axis:
        T, up_axis = T_Y_UP @ T, 'y'
    density = export.density
    if density is None and export.is_description:
        density = DEFAULT_DENSITY
    mass = None if density is None else mass_properties(shape.mesh, density)
    files, parts, poses = [path.name], [], []
    with written_together(path.parent, path.name) as folder:
        partial = folder / path.name
        if export.is_description:
            assert mass is not None
            parts = convex.convex_parts(shape.mesh, export.parts)
            # The poses of the collision meshes, as in a simulator.
            poses = stable_poses(parts, mass.center)
            siblings = _write_body(shape, partial, export, mass, parts, poses)
        else:
            siblings = _write_mesh(shape, shape.mesh.transformed(T), partial, export)
        if export.points:
            siblings.append(_sibling(partial, 'cloud.ply'))
            write_cloud(shape.cloud(export.points), T, siblings[-1])
        if export.turntable is not None:
            siblings.append(_sibling(partial, f'turntable.{export.turntable}'))
            write_turntable(shape.mesh, siblings[-1])
        files += [file.name for file in siblings]
    written = [path.with_name(name) for name in files]
    return Written(written, frame, up_axis, mass, parts, poses)


def stability_of(shape: Shape, mass: MassProperties | None = None) -> SupportStability | None:
    """Return the stability of a shape in its observed pose; None if up is only assumed."""
    if shape.elevation_source == 'assumed':
        return None
    mass = mass or mass_properties(shape.mesh)
    return support_stability(shape.mesh, mass.center)


def write_cloud(cloud: Cloud, T_frame_object: Array, path: Path) -> None:
    """
    Write a cloud as PLY, in the frame into which ``T_frame_object`` (4, 4), metres, maps it.

    Raises ``OSError`` if the file cannot be written.
    """
    rows = np.zeros(len(cloud.points), _POINT)
    points = transform(T_frame_object, cloud.points)
    normals = rotate(T_frame_object, cloud.normals)
    for axis, name in enumerate('xyz'):
        rows[name], rows[f'n{name}'] = points[:, axis], normals[:, axis]
    for channel, name in enumerate(('red', 'green', 'blue')):
        rows[name] = cloud.colors[:, channel]
    rows['confidence'], rows['observed'] = cloud.confidence, cloud.observed
    kinds = {'f4': 'float', 'u1': 'uchar'}
    header = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(rows)}']
    header += [f'property {kinds[_POINT[name].str[1:]]} {name}' for name in _POINT.names or ()]
    header += ['end_header', '']
    write_whole(path, '\n'.join(header).encode() + rows.tobytes())


def _write_mesh(shape: Shape, mesh: Mesh, path: Path, export: Export) -> list[Path]:
    """Write a mesh; return the files next to it."""
    if export.texture is None:
        mesh.export(
            path,
            {'confidence': shape.confidence, 'observed': shape.observed.astype(np.float32)},
        )
        return []
    textured = texture.bake(mesh, export.texture)
    if export.kind == 'glb':
        texture.write_glb(textured, path)
        return []
    texture.write_obj(textured, path)
    return list(texture.side_files(path))


def _write_body(
    shape: Shape,
    path: Path,
    export: Export,
    mass: MassProperties,
    parts: list[Mesh],
    poses: list[StablePose],
) -> list[Path]:
    """Write a description and its meshes; return the files next to it."""
    visual = _sibling(path, 'visual.obj')
    material, picture = texture.side_files(visual)
    collisions = [_collision(path, index) for index in range(len(parts))]
    size = texture.DEFAULT_TEXTURE if export.texture is None else export.texture
    texture.write_obj(texture.bake(shape.mesh, size), visual)
    for part, file in zip(parts, collisions, strict=True):
        part.export(file)
    foot_centers, radius = feet(parts, poses)
    body = Body(
        name=path.stem,
        visual=visual.name,
        texture=picture.name,
        collisions=[file.name for file in collisions],
        mass=mass,
        height=-min(float(part.vertices[:, 2].min()) for part in parts),
        feet=foot_centers,
        foot_radius=radius,
        remark=f'object frame, z up; {mass.density:g} kg per cubic metre; scale: '
        f'{shape.scale_source}; method: {shape.method}',
    )
    # Written last, so that the files that it names exist.
    write_whole(path, urdf(body) if export.kind == 'urdf' else mjcf(body))
    return [visual, material, picture, *collisions]


def _sibling(path: Path, suffix: str) -> Path:
    # Readers of OBJ and URDF do not support file names with spaces.
    stem = re.sub(r'\s', '_', path.stem)
    return path.with_name(f'{stem}_{suffix}')


def _collision(path: Path, index: int) -> Path:
    return _sibling(path, f'collision_{index}.stl')


def _list(words: Any) -> str:
    return ', '.join(words)
