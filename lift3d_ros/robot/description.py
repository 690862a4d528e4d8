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


"""Objects as URDF and MJCF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.robot.mass import MassProperties

#: Sliding, torsional and rolling friction in MuJoCo: that of cardboard or plastic on wood, with
#: enough torsional friction for a grasp with two fingers.
_FRICTION = (0.8, 0.01, 0.0001)

#: Contact parameters in MuJoCo. The penetration under gravity is below a tenth of a millimetre,
#: and the time constant is more than twice the default time step of 2 ms.
_SOLREF = (0.005, 1.0)
_SOLIMP = (0.95, 0.99, 0.0005)


@dataclass(frozen=True, eq=False)
class Body:
    """
    A rigid object and the files next to its description.

    - ``name``: of the object.
    - ``visual``: file of the textured mesh; ``texture``: file of its texture.
    - ``collisions``: files of convex meshes.
    - ``mass``: in the frame of the meshes, which is the object frame.
    - ``height``: metres from the lowest point of the collision meshes up to the origin.
    - ``feet``: (n, 3), centres of small contact spheres, ``foot_radius`` metres; MJCF only.
    - ``remark``: comment in the file.
    """

    name: str
    visual: str
    texture: str
    collisions: Sequence[str]
    mass: MassProperties
    height: float
    feet: Array
    foot_radius: float
    remark: str


def urdf(body: Body) -> bytes:
    """Return a URDF of one link, whose frame is the object frame."""
    robot = ElementTree.Element('robot', name=body.name)
    robot.append(_comment(body))
    link = _add(robot, 'link', name=body.name)
    inertial = _add(link, 'inertial')
    _add(inertial, 'origin', xyz=_row(body.mass.center), rpy='0 0 0')
    _add(inertial, 'mass', value=_row([body.mass.mass]))
    moments = {
        f'i{a}{b}': _row([body.mass.inertia['xyz'.index(a), 'xyz'.index(b)]])
        for a, b in ('xx', 'xy', 'xz', 'yy', 'yz', 'zz')
    }
    _add(inertial, 'inertia', **moments)
    for kind, files in (('visual', [body.visual]), ('collision', body.collisions)):
        for file in files:
            part = _add(link, kind)
            _add(part, 'origin', xyz='0 0 0', rpy='0 0 0')
            _add(_add(part, 'geometry'), 'mesh', filename=file)
    return _document(robot)


def mjcf(body: Body) -> bytes:
    """
    Return an MJCF of one free body, on the plane z = 0, for MuJoCo to include or attach.

    The frame of the body is the object frame. Visual geoms are in the group 2, collision geoms in
    the group 3.
    """
    name, mass = body.name, body.mass
    model = ElementTree.Element('mujoco', model=name)
    model.append(_comment(body))
    collides = f'{name}_collision'
    default = _add(_add(model, 'default'), 'default', **{'class': collides})
    _add(
        default,
        'geom',
        group='3',
        condim='4',
        friction=_row(_FRICTION),
        solref=_row(_SOLREF),
        solimp=_row(_SOLIMP),
    )
    assets = _add(model, 'asset')
    _add(assets, 'texture', name=name, type='2d', file=body.texture)
    _add(assets, 'material', name=name, texture=name, specular='0', shininess='0')
    # As a shell: texture seams open the visual mesh, and its mass is not used.
    _add(assets, 'mesh', name=f'{name}_visual', file=body.visual, inertia='shell')
    parts = [f'{name}_collision_{index}' for index in range(len(body.collisions))]
    for part, file in zip(parts, body.collisions, strict=True):
        _add(assets, 'mesh', name=part, file=file, inertia='convex')
    element = _add(_add(model, 'worldbody'), 'body', name=name, pos=_row([0.0, 0.0, body.height]))
    _add(element, 'freejoint', name=name)
    full = [mass.inertia[k] for k in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
    _add(
        element,
        'inertial',
        pos=_row(mass.center),
        mass=_row([mass.mass]),
        fullinertia=_row(full),
    )
    _add(
        element,
        'geom',
        type='mesh',
        mesh=f'{name}_visual',
        material=name,
        contype='0',
        conaffinity='0',
        group='2',
    )
    for part in parts:
        _add(element, 'geom', **{'class': collides}, type='mesh', mesh=part, name=part)
    for foot in body.feet:
        where, size = _row(foot), _row([body.foot_radius])
        _add(element, 'geom', **{'class': collides}, type='sphere', size=size, pos=where)
    return _document(model)


def _add(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _row(values: Any) -> str:
    return ' '.join(f'{value:.9g}' for value in np.asarray(values, np.float64).tolist())


def _comment(body: Body) -> Any:
    # XML comments must not contain two hyphens.
    return ElementTree.Comment(f' {body.remark} '.replace('--', '- -'))


def _document(root: ElementTree.Element) -> bytes:
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, 'utf-8', xml_declaration=True)) + b'\n'
