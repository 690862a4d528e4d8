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
A shape in files: plain and textured meshes, URDF and MJCF, clouds with normals.

Meshes and clouds are in the object frame, in the optical frame or in the world. In a GLB the
object frame and the world have y up, as glTF says (glTF 2.0, section 3.4), so that programs that
read it show them upright; they have z up elsewhere. Descriptions of a body are in the object frame
alone: a simulator gives the body a pose of its own, and its z axis must be up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

import numpy as np

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import MESH_FORMATS
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.robot import convex
from lift3d_ros.robot import texture
from lift3d_ros.robot.cloud import write_cloud
from lift3d_ros.robot.description import Body
from lift3d_ros.robot.description import mjcf
from lift3d_ros.robot.description import urdf
from lift3d_ros.robot.mass import check_density
from lift3d_ros.robot.mass import DEFAULT_DENSITY
from lift3d_ros.robot.mass import mass_properties
from lift3d_ros.robot.mass import MassProperties
from lift3d_ros.robot.standing import feet
from lift3d_ros.robot.standing import stable_poses
from lift3d_ros.robot.standing import StablePose
from lift3d_ros.robot.standing import Standing
from lift3d_ros.robot.standing import standing
from lift3d_ros.runtime.files import write_whole
from lift3d_ros.runtime.files import written_together

#: Formats that describe a body, with the suffixes of their files.
DESCRIPTIONS = {'urdf': 'urdf', 'mjcf': 'xml'}

FORMATS = (*MESH_FORMATS, *DESCRIPTIONS)

#: Formats that can hold a texture; descriptions always have one.
TEXTURED = ('obj', 'glb', *DESCRIPTIONS)

#: Frames that meshes and clouds may be in; ``camera`` is the optical frame.
FRAMES = ('camera', 'object', 'world')

#: From a frame with z up to one with y up; x stays.
T_Y_UP: Array = np.array([
    [1.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 1.0, 0.0],
    [0.0, -1.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 1.0],
])

#: Points of a cloud, at most.
MAX_POINTS = 1_000_000


@dataclass(frozen=True)
class Export:
    """
    What is written of a shape, and how.

    - ``kind``: one of ``FORMATS``.
    - ``texture``: side of the texture of a format in ``TEXTURED``, pixels; None: colours at the
      vertices, and in a description a texture of the usual size.
    - ``points``: of a cloud with normals beside the mesh; 0: none.
    - ``density``: kg per cubic metre; None: as water for a description, else no mass.
    - ``parts``: convex collision parts of a description, at most; 1: the hull.
    """

    kind: str = 'ply'
    texture: int | None = None
    points: int = 0
    density: float | None = None
    parts: int = 1

    def __post_init__(self) -> None:
        """
        Refuse what cannot be written, before anything is lifted.

        Raises ``LiftError(BAD_REQUEST)``, also where a package is missing.
        """
        if self.kind not in FORMATS:
            raise _refusal(f'There is no format "{self.kind}"; choose one of {_list(FORMATS)}.')
        if self.density is not None:
            check_density(self.density)
        if not 0 <= self.points <= MAX_POINTS:
            raise _refusal(f'A cloud of {self.points} points; ask for 0 to {MAX_POINTS}.')
        if not 1 <= self.parts <= convex.MAX_PARTS:
            raise _refusal(f'{self.parts} convex parts; ask for 1 to {convex.MAX_PARTS}.')
        if self.parts > 1:
            if not self.is_description:
                raise _refusal(
                    f'A {self.kind} file holds no convex parts; choose the format '
                    f'{_list(DESCRIPTIONS)}.'
                )
            convex.load_coacd()
        if self.texture is not None:
            if self.kind not in TEXTURED:
                raise _refusal(
                    f'A {self.kind} file holds no texture; choose the format {_list(TEXTURED)}.'
                )
            texture.check_size(self.texture)
        if self.texture is not None or self.is_description:
            texture.load_xatlas()

    @classmethod
    def of_path(cls, path: Path) -> Export:
        """Return what a file's suffix asks for; raises ``LiftError(BAD_REQUEST)``."""
        suffix = path.suffix[1:].lower()
        kinds = {'xml': 'mjcf'}
        kind = kinds.get(suffix, suffix)
        if kind not in FORMATS or suffix == 'mjcf':
            endings = [f'.{end}' for end in (*MESH_FORMATS, *DESCRIPTIONS.values())]
            raise _refusal(f'{path.name} ends in none of {_list(endings)}.')
        return cls(kind)

    @property
    def is_description(self) -> bool:
        """Whether a body is described, with its mass and what collides."""
        return self.kind in DESCRIPTIONS

    def path(self, folder: Path, name: str) -> Path:
        """Return the file that the others of an object of that name lie beside."""
        return folder / f'{name}.{DESCRIPTIONS.get(self.kind, self.kind)}'

    def files(self, path: Path) -> list[Path]:
        """Return every file that ``write`` may make for ``path``, itself first."""
        found = [path]
        if self.is_description:
            visual = _beside(path, 'visual.obj')
            found += [visual, *texture.side_files(visual)]
            found += [_collision(path, index) for index in range(convex.MAX_PARTS)]
        elif self.kind == 'obj':
            found += texture.side_files(path)
        if self.points:
            found.append(_beside(path, 'cloud.ply'))
        return found


@dataclass(frozen=True, eq=False)
class Written:
    """
    What was written of a shape.

    - ``files``: all of them; ``frame``: theirs, one of ``FRAMES``.
    - ``up_axis``: of the mesh, ``y`` or ``z``; None in the optical frame.
    - ``mass``: in the object frame, where it was asked for or is described.
    - ``parts``: convex collision meshes in the object frame, of a description; ``poses``: in
      which they come to rest, the most probable first.
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
    Write a shape to ``path`` and to files beside it whose names begin alike.

    ``frame`` is that of meshes and clouds, one of ``FRAMES``; for ``world`` the pose of the camera
    in it is needed, and its z axis is up. A description, and the cloud beside it, are in the
    object frame whatever is asked for. A GLB has y up, but in the camera frame, and so has the
    cloud beside it. Paths in files are relative, so that their folder can be moved. Either all
    files are written or none is touched.

    Raises ``OSError`` where a file cannot be written, and ``LiftError``: ``NO_SURFACE`` for a
    shape that is flat, ``BAD_REQUEST`` for the world without ``T_world_camera``.
    """
    if export.is_description:
        frame = 'object'
    T: Array = np.eye(4)
    if frame != 'object':
        T = shape.T_camera_object
    if frame == 'world':
        if T_world_camera is None:
            raise _refusal(
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
            # Of what collides: so a simulator sees it come to rest.
            poses = stable_poses(parts, mass.center)
            made = _write_body(shape, partial, export, mass, parts, poses)
        else:
            made = _write_mesh(shape, shape.mesh.transformed(T), partial, export)
        if export.points:
            made.append(_beside(partial, 'cloud.ply'))
            write_cloud(shape.cloud(export.points), T, made[-1])
        files += [file.name for file in made]
    written = [path.with_name(name) for name in files]
    return Written(written, frame, up_axis, mass, parts, poses)


def stands(shape: Shape, mass: MassProperties | None = None) -> Standing | None:
    """Return how a shape stands as it was seen; None where nobody knows which way is up."""
    if shape.elevation_source == 'assumed':
        return None
    mass = mass or mass_properties(shape.mesh)
    return standing(shape.mesh, mass.center)


def _write_mesh(shape: Shape, mesh: Mesh, path: Path, export: Export) -> list[Path]:
    """Write a mesh; return the files beside it."""
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
    """Write a description and its meshes; return the files beside it."""
    visual = _beside(path, 'visual.obj')
    material, picture = texture.side_files(visual)
    collisions = [_collision(path, index) for index in range(len(parts))]
    size = texture.DEFAULT_TEXTURE if export.texture is None else export.texture
    texture.write_obj(texture.bake(shape.mesh, size), visual)
    for part, file in zip(parts, collisions, strict=True):
        part.export(file)
    places, radius = feet(parts, poses)
    body = Body(
        name=path.stem,
        visual=visual.name,
        texture=picture.name,
        collisions=[file.name for file in collisions],
        mass=mass,
        height=-min(float(part.vertices[:, 2].min()) for part in parts),
        feet=places,
        foot_radius=radius,
        remark=f'object frame, z up; {mass.density:g} kg per cubic metre; scale: '
        f'{shape.scale_source}; method: {shape.method}',
    )
    # Last, so that what it names is there.
    write_whole(path, urdf(body) if export.kind == 'urdf' else mjcf(body))
    return [visual, material, picture, *collisions]


def _beside(path: Path, what: str) -> Path:
    # Readers of OBJ and URDF take a blank for the end of a name.
    stem = re.sub(r'\s', '_', path.stem)
    return path.with_name(f'{stem}_{what}')


def _collision(path: Path, index: int) -> Path:
    return _beside(path, f'collision_{index}.stl')


def _list(words: Any) -> str:
    return ', '.join(words)


def _refusal(message: str) -> LiftError:
    return bad_request(message)
