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

"""Rendered table scenes that are measured, and what a track withholds of them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
import zlib

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import longest_side
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.io.scene import write_scene
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.real_like import make_real_like_scene
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings

#: Candidates for the occluder of a scene, and their length, metres.
_MAX_OCCLUDERS = 6
_OCCLUDER_LENGTH_M = (0.06, 0.30)

#: Azimuths of the second to fourth camera from the first, degrees: to one side, to the other, and
#: behind; each is drawn within this distance of its azimuth.
_CAMERA_AZIMUTHS_DEG = (90.0, -100.0, 180.0)
_CAMERA_SPREAD_DEG = 20.0

#: Masks: ``exact``, the visible pixels of the object; ``noisy``, with the errors of a detector.
MASKS = ('exact', 'noisy')


#: Makes a scene of a mesh, z up, from a seed; the meshes of other objects may stand in it, too.
Generator = Callable[[Mesh, int, Sequence[Mesh]], TableScene]


@dataclass(frozen=True)
class Track:
    """
    Inputs of a predictor beside the image and the mask, and the scenes that they come from.

    - ``scale``: the source of the scale, one of ``observation.hints.SOURCES``, or empty.
    - ``generator``: makes its scenes; None for the table scenes of the run. ``mask``: the kind of
      its masks, one of ``MASKS``, or empty for that of the run.
    """

    depth: bool
    gravity: bool
    scale: str = ''
    generator: Generator | None = None
    mask: str = ''

    def strip(self, frame: Frame) -> Frame:
        """Return the frame without what the track withholds."""
        return replace(
            frame,
            depth=frame.depth if self.depth else None,
            gravity=frame.gravity if self.gravity else None,
        )

    def hints(self, mesh: Mesh, T_camera_object: Array) -> ScaleHints | None:
        """
        Return the scale hints of a scan on its table, None where the track has none.

        ``mesh`` is z up and stands on the table; ``T_camera_object`` is its pose.
        """
        up, low = T_camera_object[:3, 2], mesh.vertices[:, 2].min()
        if self.scale == 'plane':
            on_table = transform(T_camera_object, (0.0, 0.0, float(low)))
            return ScaleHints(plane=Plane(up, float(up @ on_table)), order=('plane',))
        if self.scale == 'known_size':
            size = longest_side(mesh.vertices, np.array([0.0, 0.0, 1.0]))
            return ScaleHints(known_size=size, known_size_stddev=0.0, order=('known_size',))
        return None


TRACKS = {
    'rgbd': Track(depth=True, gravity=True),
    'rgbd-blind': Track(depth=True, gravity=False),
    'rgb': Track(depth=False, gravity=True),
    'rgb-blind': Track(depth=False, gravity=False),
    'rgb-plane': Track(depth=False, gravity=True, scale='plane'),
    'rgb-size': Track(depth=False, gravity=True, scale='known_size'),
    # As real frames come: nobody states gravity, and masks are those of segmenters.
    'real-like': Track(depth=True, gravity=False, generator=make_real_like_scene, mask='noisy'),
}


def choose_mask(
    exact: NDArray[np.bool_], detection: NDArray[np.bool_], kind: str
) -> NDArray[np.bool_]:
    """Return the mask, bool (height, width), of the kind, one of ``MASKS``."""
    return detection if kind == 'noisy' else exact


@dataclass(frozen=True, eq=False)
class BenchScene:
    """One view of an object, of a name that is unique in a run and the seed of the scene."""

    name: str
    object_name: str
    seed: int
    scene: TableScene


def make_scenes(
    entry: ObjectEntry, views: int, seed: int = 0, settings: TableSettings | None = None,
    occluder: Mesh | None = None
) -> Iterator[BenchScene]:
    """Yield ``views`` scenes of an object, which depend on its name and ``seed`` only."""
    mesh = entry.load()
    occluders = None if occluder is None else [occluder]
    for view in range(views):
        yield make_bench_scene(entry, mesh, view, seed, settings, occluders)


def make_bench_scene(
    entry: ObjectEntry, mesh: Mesh, view: int, seed: int = 0,
    settings: TableSettings | None = None, occluders: Iterable[Mesh] | None = None
) -> BenchScene:
    """
    Return one scene of an object whose mesh has been read.

    The first of ``occluders`` that fits between the camera and the object is put there. Raises
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


def generated_scene(
    entry: ObjectEntry, mesh: Mesh, view: int, seed: int, generator: Generator,
    objects: Sequence[ObjectEntry]
) -> BenchScene:
    """Return one scene of an object by a generator; ``objects`` may stand in it, too."""
    number = scene_seed(entry, view, seed)
    scene = generator(mesh, number, list(draw_occluders(objects, entry, view, seed)))
    return BenchScene(f'{entry.name}_{view}', entry.name, number, scene)


def further_scenes(
    mesh: Mesh, first: TableScene, seed: int, count: int
) -> Iterator[tuple[TableScene, Array]]:
    """
    Yield ``count`` scenes of the same object from elsewhere, with their cameras' poses.

    The cameras stand around the object, about 90 degrees of azimuth apart; a pose is the optical
    frame in that of the first scene, without error.
    """
    for number in range(1, count + 1):
        middle = _CAMERA_AZIMUTHS_DEG[number - 1] + first.azimuth
        settings = TableSettings(
            azimuth=(middle - _CAMERA_SPREAD_DEG, middle + _CAMERA_SPREAD_DEG))
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

    They are 6 to 30 cm long; objects that cannot be read or of another size are skipped.
    """
    others = [other for other in objects if other.family != entry.family or not other.family]
    others = [other for other in others if other.name != entry.name]
    rng = np.random.default_rng([scene_seed(entry, view, seed), 0x0CC1])
    count = 0
    for index in rng.permutation(len(others)):
        if count == _MAX_OCCLUDERS:
            return
        try:
            mesh = others[index].load()
        except LiftError:
            continue
        low, high = _OCCLUDER_LENGTH_M
        if low <= float(np.ptp(mesh.vertices, axis=0).max()) <= high:
            count += 1
            yield mesh


def write_bench_scene(folder: Path, scene: TableScene, detected: bool = False) -> None:
    """
    Write a scene folder with ``truth.ply``, the true mesh in the optical frame, beside.

    With ``detected`` the mask is the one with a detector's errors.
    """
    write_scene(folder, scene.frame, scene.detection if detected else scene.mask)
    scene.mesh_in_camera().export(folder / 'truth.ply')
