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

"""The scenes that the benchmark renders of its objects."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import zlib

import numpy as np

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.io.scene import write_scene
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings

#: How many objects are tried as occluders, and how long they may be in metres.
_OCCLUDERS = 6
_OCCLUDER_SIZES = (0.06, 0.30)

@dataclass(frozen=True, eq=False)
class BenchScene:
    """One view of an object: ``name`` is unique in a run, ``seed`` makes ``scene`` again."""

    name: str
    object_name: str
    seed: int
    scene: TableScene


def make_scenes(
    entry: ObjectEntry,
    views: int,
    seed: int = 0,
    settings: TableSettings | None = None,
    occluder: Mesh | None = None,
) -> Iterator[BenchScene]:
    """Yield ``views`` scenes of an object, which depend on its name, ``seed`` and nothing else."""
    mesh = entry.load()
    occluders = None if occluder is None else [occluder]
    for view in range(views):
        yield make_bench_scene(entry, mesh, view, seed, settings, occluders)


def make_bench_scene(
    entry: ObjectEntry,
    mesh: Mesh,
    view: int,
    seed: int = 0,
    settings: TableSettings | None = None,
    occluders: Iterable[Mesh] | None = None,
) -> BenchScene:
    """
    Return one scene of an object whose mesh has been read.

    Of ``occluders`` the first that fits between the camera and the object is put there. Raises
    ``ValueError`` where none does.
    """
    number = scene_seed(entry, view, seed)
    failure: ValueError | None = None
    for occluder in [None] if occluders is None else occluders:
        try:
            scene = make_scene(mesh, number, settings, occluder)
        except ValueError as error:
            failure = error
        else:
            return BenchScene(f'{entry.name}_{view}', entry.name, number, scene)
    raise failure or ValueError('there is no other object to put in front of this one')


def further_scenes(
    mesh: Mesh, first: TableScene, seed: int, count: int
) -> Iterator[tuple[TableScene, Array]]:
    """
    Yield ``count`` scenes of the same object from elsewhere, with their cameras' poses.

    The cameras stand around the object, some 90 degrees of azimuth from the first one, then from
    each other; a pose is the optical frame in that of the first scene, without any error.
    """
    for number in range(1, count + 1):
        # To one side, to the other, behind.
        turn = (90.0, -100.0, 180.0)[number - 1] + first.azimuth
        settings = TableSettings(azimuth=(turn - 20.0, turn + 20.0))
        scene = make_scene(mesh, seed + number, settings)
        yield scene, first.T_camera_object @ invert(scene.T_camera_object)


def scene_seed(entry: ObjectEntry, view: int, seed: int) -> int:
    """Return the seed of a view of an object in the run of that seed."""
    return zlib.crc32(f'{entry.name}/{view}/{seed}'.encode())


def draw_occluders(
    objects: Sequence[ObjectEntry], entry: ObjectEntry, view: int, seed: int = 0
) -> Iterator[Mesh]:
    """
    Yield up to six other objects that may stand in front of one, in an order drawn by the seed.

    They are 6 to 30 cm long; what cannot be read or is of another size is passed over.
    """
    others = [other for other in objects if other.family != entry.family or not other.family]
    others = [other for other in others if other.name != entry.name]
    rng = np.random.default_rng([scene_seed(entry, view, seed), 0x0CC1])
    found = 0
    for index in rng.permutation(len(others)):
        if found == _OCCLUDERS:
            return
        try:
            mesh = others[index].load()
        except LiftError:
            continue
        if _OCCLUDER_SIZES[0] <= float(np.ptp(mesh.vertices, axis=0).max()) <= _OCCLUDER_SIZES[1]:
            found += 1
            yield mesh


def write_bench_scene(folder: Path, scene: TableScene, detected: bool = False) -> None:
    """
    Write a scene folder with ``truth.ply``, the true mesh in the optical frame, beside.

    With ``detected`` the mask is the one with a detector's errors.
    """
    write_scene(folder, scene.frame, scene.detection if detected else scene.mask)
    scene.mesh_in_camera().export(folder / 'truth.ply')
