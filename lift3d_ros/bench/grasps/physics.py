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
Grasps tried in simulated physics: a parallel jaw closes on the scan, lifts it and shakes it.

The simulator is MuJoCo (Todorov, Erez and Tassa, 2012). The scan is a rigid body of convex parts
that stands on its table; the jaw is that of ``planning``, its fingers driven by a bounded force.
Meshes are in a frame with z up, metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.robot.convex import convex_parts
from lift3d_ros.robot.convex import PACKAGES
from lift3d_ros.robot.grasps import Grasp
from lift3d_ros.robot.grasps import Jaw
from lift3d_ros.robot.mass import mass_properties
from lift3d_ros.robot.mass import MassProperties


@dataclass(frozen=True)
class Physics:
    """
    Parameters of a simulated grasp; SI units.

    - ``density``: of the scan, filled evenly: that of a filled package or a hollow tool.
    - ``friction``: Coulomb's coefficient of rubber on most things, between fingers, object and
      table. ``pad``: radius of the patch of contact of a soft pad, which resists turning with
      2/3 of friction, radius and force (Howe and Cutkosky, 1996).
    - ``force``: of each finger. ``speed``: at which it closes.
    - ``approach``: how far the open jaw comes along its approach, ``rise``: how high it lifts.
    - ``shift``, ``tilt``: of the shaking along and about each axis, metres and radians.
    """

    density: float = 400.0
    friction: float = 0.8
    pad: float = 0.008
    force: float = 30.0
    speed: float = 0.15
    approach: float = 0.10
    rise: float = 0.15
    shift: float = 0.02
    tilt: float = float(np.radians(10.0))


#: Outcomes of a grasp.
HELD, BLOCKED, MISSED, DROPPED, SHAKEN = 'held', 'blocked', 'missed', 'dropped', 'shaken off'

#: Seconds of a step, of closing, lifting, shaking and holding still after it.
_STEP = 0.002
_CLOSE, _LIFT, _SHAKE, _HOLD = 0.5, 0.6, 1.2, 0.2

#: Frequencies of the shaking along x, y, z, and about them, hertz; none is a multiple of another,
#: so that all directions occur.
_SHAKE_HZ = (3.0, 2.5, 2.0, 2.2, 2.7, 1.7)

#: Step of the collision test along the approach, metres.
_APPROACH_STEP_M = 0.005

#: Largest penetration of the open jaw into the convex parts, metres: in hollows they exceed the
#: scan by about this much.
_MAX_PENETRATION_M = 0.002

#: Step by which the jaw retreats from such a penetration, metres.
_RETREAT_STEP_M = 0.0005

#: Inertia of the joints of the hand, whose motion is prescribed: contacts do not move it.
_HAND_ARMATURE = 1e4

#: Bits of the kinds of bodies, for collision masks.
_HAND, _OBJECT, _TABLE = 1, 2, 4


def check_packages() -> None:
    """Raise ``LiftError(BAD_REQUEST)`` where a package that the simulation needs is missing."""
    for name in ('mujoco', *PACKAGES):
        if find_spec(name) is None:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'Grasps in physics need the package {name}, which is not installed; '
                f'"pip install {name}" brings it (requirements/test.txt has its version).',
            )


class PhysicsTrial:
    """The true object on its table, on which grasps are tried in simulation."""

    def __init__(
        self, mesh: Mesh, jaw: Jaw, physics: Physics | None = None,
        parts: Sequence[Mesh] | None = None
    ) -> None:
        """
        Take the scan, which stands on its lowest point.

        ``parts`` are convex meshes that make it up; by default they are those of
        ``convex_parts``. Raises ``LiftError``: ``BAD_REQUEST`` where a package is missing,
        ``NO_SURFACE`` where the mesh has no volume.
        """
        check_packages()
        self._jaw, self._physics = jaw, physics or Physics()
        chosen = convex_parts(mesh) if parts is None else parts
        self._parts = [part.vertices.astype(np.float64) for part in chosen]
        # The mass is that of the scan: parts overlap and fill hollows.
        self._mass = mass_properties(mesh, self._physics.density)

    def attempt(self, grasp: Grasp) -> str:
        """
        Return ``HELD`` if the object is in the jaw after it has been grasped, lifted and shaken.

        The open jaw must come along its approach without touching object or table, or it is
        ``BLOCKED``. It closes, rises and shakes; at the end of each both fingers must touch the
        object, and after lifting nothing else may, or the grasp has ``MISSED`` the object,
        ``DROPPED`` it, or it was ``SHAKEN`` off. The same grasp gives the same answer.
        """
        import mujoco

        model, joints = self._model, self._joints
        data = mujoco.MjData(model)
        model.body_pos[model.body('mount').id] = grasp.centre
        mujoco.mju_mat2Quat(
            model.body_quat[model.body('hand').id], np.ascontiguousarray(grasp.axes).ravel()
        )
        mujoco.mj_setConst(model, data)
        distance = self._come_near(data, grasp)
        if distance is None:
            return BLOCKED
        mujoco.mj_resetData(model, data)
        data.ctrl[:] = self._physics.force
        steps = [round(seconds / _STEP) for seconds in (_CLOSE, _LIFT, _SHAKE + _HOLD)]
        ends = dict(zip(np.cumsum(steps).tolist(), (MISSED, DROPPED, SHAKEN), strict=True))
        places = _motion(self._physics)
        places[:, :3] -= distance * grasp.axes[:, 2]
        speeds = np.diff(places, axis=0, append=places[-1:]) / _STEP
        for index, (place, speed) in enumerate(zip(places, speeds, strict=True)):
            data.qpos[joints.places] = place
            data.qvel[joints.speeds] = speed
            mujoco.mj_step(model, data)
            failure = ends.get(index + 1)
            if failure is not None and not self._is_held(data, lifted=failure != MISSED):
                return failure
        return HELD

    def _come_near(self, data: Any, grasp: Grasp) -> float | None:
        """
        Return the distance of the open jaw before its pose, metres; None where it is blocked.

        It stops where it touches nothing: a hand that does not yield would jam the object against
        the table.
        """
        step = _APPROACH_STEP_M
        way = np.arange(self._physics.approach, -0.5 * step, -step).tolist()
        if any(self._overlap(data, grasp, distance) > _MAX_PENETRATION_M for distance in way):
            return None
        step = _RETREAT_STEP_M
        for distance in np.arange(0.0, _MAX_PENETRATION_M + step, step).tolist():
            if self._overlap(data, grasp, distance) <= 0.0:
                return float(distance)
        # The contact is beside the jaw, and the object is pushed away.
        return 0.0

    def _overlap(self, data: Any, grasp: Grasp, distance: float) -> float:
        """Return the penetration of the jaw at a distance before its pose, metres."""
        import mujoco

        data.qpos[self._joints.places[:3]] = -distance * grasp.axes[:, 2]
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_collision(self._model, data)
        touched = (self._kinds(data) & _HAND).any(axis=1)
        return float(np.max(-data.contact.dist[touched], initial=0.0))

    def _is_held(self, data: Any, lifted: bool) -> bool:
        """Return whether both fingers touch the object, and once it is ``lifted`` nothing else."""
        kinds, geoms = self._kinds(data), data.contact.geom
        object_touched = (kinds == _OBJECT).any(axis=1)
        fingers = [
            (object_touched & (geoms == self._model.geom(name).id).any(axis=1)).any()
            for name in ('left', 'right')
        ]
        on_table = (object_touched & (kinds == _TABLE).any(axis=1)).any()
        return bool(all(fingers) and not (lifted and on_table))

    def _kinds(self, data: Any) -> NDArray[np.int32]:
        """Return what each contact is between, (n, 2) of the bits above."""
        return np.asarray(self._model.geom_contype[data.contact.geom.reshape(-1, 2)], np.int32)

    @cached_property
    def _model(self) -> Any:
        """The compiled model; a grasp moves its body ``mount`` and turns its body ``hand``."""
        return _build(self._parts, self._mass, self._jaw, self._physics).compile()

    @cached_property
    def _joints(self) -> _Joints:
        names = [f'{kind}_{axis}' for kind in ('shift', 'turn') for axis in 'xyz']
        joints = [self._model.joint(name) for name in names]
        return _Joints(
            np.array([joint.qposadr[0] for joint in joints]),
            np.array([joint.dofadr[0] for joint in joints]),
        )


@dataclass(frozen=True, eq=False)
class _Joints:
    """Indices of the hand's positions and velocities, three along and three about axes."""

    places: NDArray[np.int64]
    speeds: NDArray[np.int64]


def _motion(physics: Physics) -> Array:
    """Return the positions (n, 6) of the hand at each step, along and about x, y and z."""
    time = _STEP * np.arange(round((_CLOSE + _LIFT + _SHAKE + _HOLD) / _STEP))
    rising = np.clip((time - _CLOSE) / _LIFT, 0.0, 1.0)
    shaken = np.clip((time - _CLOSE - _LIFT) / _SHAKE, 0.0, 1.0)
    # The amplitude starts and ends at zero.
    strength = np.sin(np.pi * shaken) ** 2
    waves = np.sin(2.0 * np.pi * np.outer(shaken * _SHAKE, _SHAKE_HZ))
    places = strength[:, None] * waves * np.repeat([physics.shift, physics.tilt], 3)
    places[:, 2] += physics.rise * rising**2 * (3.0 - 2.0 * rising)
    return places


def _build(parts: Sequence[Array], mass: MassProperties, jaw: Jaw, physics: Physics) -> Any:
    """Return the specification of the scene: table, object, and the open jaw at the origin."""
    import mujoco

    spec = mujoco.MjSpec()
    spec.option.timestep = _STEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    # At the default ratio of 1 grasped objects creep; at 10 they hold.
    spec.option.impratio = 10.0
    # Contacts between faces have several points.
    spec.option.enableflags |= mujoco.mjtEnableBit.mjENBL_MULTICCD
    friction = [physics.friction, 2.0 / 3.0 * physics.friction * physics.pad, 1e-4]

    def add_geom(body: Any, kind: int, others: int, **what: Any) -> None:
        body.add_geom(
            contype=kind, conaffinity=others, condim=4, friction=friction,
            solref=[2.0 * _STEP, 1.0], solimp=[0.95, 0.99, 0.001, 0.5, 2.0], **what,
        )

    def add_box(body: Any, corners: Array, **what: Any) -> None:
        low, high = corners
        add_geom(
            body, _HAND, _OBJECT | _TABLE, type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=0.5 * (low + high), size=0.5 * (high - low), **what,
        )

    floor = min(float(part[:, 2].min()) for part in parts)
    add_geom(
        spec.worldbody, _TABLE, _HAND | _OBJECT, type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[1.0, 1.0, 0.1], pos=[0.0, 0.0, floor],
    )
    solid = spec.worldbody.add_body(name='object')
    solid.add_freejoint()
    inertia = mass.inertia
    solid.explicitinertial = True
    solid.mass, solid.ipos = mass.mass, mass.center
    solid.fullinertia = [inertia[k] for k in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
    for index, part in enumerate(parts):
        spec.add_mesh(name=f'part{index}', uservert=part.ravel().tolist())
        add_geom(
            solid, _OBJECT, _HAND | _TABLE, type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=f'part{index}',
        )
    mount = spec.worldbody.add_body(name='mount')
    for name, kind in (
        ('shift', mujoco.mjtJoint.mjJNT_SLIDE), ('turn', mujoco.mjtJoint.mjJNT_HINGE)
    ):
        for axis, direction in zip('xyz', np.eye(3), strict=True):
            mount.add_joint(
                name=f'{name}_{axis}', type=kind, axis=direction, armature=_HAND_ARMATURE
            )
    hand = mount.add_body(name='hand')
    left, right, palm = jaw.boxes()
    add_box(hand, palm, mass=1.0)
    for name, corners, way in (('left', left, -1.0), ('right', right, 1.0)):
        finger = hand.add_body(name=name)
        finger.add_joint(
            name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[way, 0.0, 0.0],
            limited=mujoco.mjtLimited.mjLIMITED_TRUE, range=[0.0, 0.5 * jaw.opening],
            damping=physics.force / physics.speed, armature=0.5,
        )
        add_box(finger, corners, name=name, mass=0.1)
        spec.add_actuator(
            name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT,
        )
    # One drive moves both fingers alike.
    spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT, name1='left',
        name2='right', data=[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        solref=[2.0 * _STEP, 1.0], solimp=[0.99, 0.999, 0.001, 0.5, 2.0],
    )
    return spec
