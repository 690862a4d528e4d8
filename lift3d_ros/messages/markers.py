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

"""Markers of lifted objects for RViz and Foxglove."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.isosurface import decimate
from lift3d_ros.messages.geometry import pose_message
from lift3d_ros.messages.results import colors_message
from lift3d_ros.messages.results import Lifted
from lift3d_ros.messages.types import MessageTypes

#: The twelve edges of a box, as pairs of corners; corner k has the bits of k as x, y, z.
_EDGES = np.array([
    (a, a | axis) for axis in (1, 2, 4) for a in range(8) if not a & axis
])

_NAMESPACES = ('mesh', 'box', 'text')

#: Values of ``action`` and ``type`` in ``visualization_msgs/Marker``.
_ADD, _DELETE = 0, 2
_LINE_LIST, _TEXT_VIEW_FACING, _TRIANGLE_LIST = 5, 9, 11


class MarkerMaker:
    """Creates marker arrays with persistent ids, and deletes markers of removed objects."""

    def __init__(self, types: MessageTypes) -> None:
        """Start without markers, which are created by ``types``."""
        self._types = types
        self._numbers: dict[str, int] = {}
        self._shown: dict[str, Any] = {}

    def show(
        self,
        objects: Sequence[Lifted],
        max_faces: int,
        details: bool,
        keep: Collection[str] = (),
    ) -> Any:
        """
        Return markers of these objects; delete others, except for the ids in ``keep``.

        Meshes are reduced to ``max_faces`` triangles; ``details`` adds bounding boxes and text.
        """
        markers = []
        kept: dict[str, Any] = {}
        present = {lifted.id: lifted.header for lifted in objects}
        for name, header in self._shown.items():
            if name in present:
                continue
            if name in keep:
                kept[name] = header
            else:
                markers += [
                    self._types.make(
                        'visualization_msgs/Marker',
                        header=header, ns=ns, id=self._number(name), action=_DELETE,
                    )
                    for ns in _NAMESPACES
                ]
        for lifted in objects:
            markers.append(self._mesh(lifted, max_faces))
            if details:
                markers += [self._box(lifted), self._text(lifted)]
        self._shown = {**kept, **present}
        return self._types.make('visualization_msgs/MarkerArray', markers=markers)

    def clear(self) -> Any:
        """Return the deletion of all markers."""
        return self.show([], 0, False)

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def _marker(self, lifted: Lifted, ns: str, kind: int) -> Any:
        return self._types.make(
            'visualization_msgs/Marker',
            header=lifted.header,
            ns=ns,
            id=self._number(lifted.id),
            type=kind,
            action=_ADD,
            pose=pose_message(self._types, lifted.T_frame_object),
            color=self._types.make('std_msgs/ColorRGBA', r=1.0, g=1.0, b=1.0, a=1.0),
        )

    def _mesh(self, lifted: Lifted, max_faces: int) -> Any:
        mesh = reduced(lifted.shape.mesh, max_faces)
        marker = self._marker(lifted, 'mesh', _TRIANGLE_LIST)
        marker.scale.x = marker.scale.y = marker.scale.z = 1.0
        corners = mesh.faces.reshape(-1)
        marker.points = self._types.sequence(
            'geometry_msgs/Point', mesh.vertices.astype(np.float64)[corners]
        )
        marker.colors = colors_message(self._types, mesh.colors[corners])
        return marker

    def _box(self, lifted: Lifted) -> Any:
        marker = self._marker(lifted, 'box', _LINE_LIST)
        marker.scale.x = 0.002
        corners = lifted.shape.size * (_corners() - 0.5)
        marker.points = self._types.sequence(
            'geometry_msgs/Point', corners[_EDGES.reshape(-1)]
        )
        return marker

    def _text(self, lifted: Lifted) -> Any:
        marker = self._marker(lifted, 'text', _TEXT_VIEW_FACING)
        marker.pose.position.z += 0.6 * float(np.linalg.norm(lifted.shape.size))
        marker.scale.z = 0.02
        length, width, height = 1000.0 * lifted.shape.size
        marker.text = (
            f'{lifted.id}\n{length:.0f} x {width:.0f} x {height:.0f} mm\n'
            f'confidence {lifted.shape.overall_confidence:.2f}'
        )
        return marker


def reduced(mesh: Mesh, max_faces: int) -> Mesh:
    """Return a mesh of at most ``max_faces`` triangles, each vertex with its nearest colour."""
    if len(mesh.faces) <= max_faces:
        return mesh
    from scipy.spatial import cKDTree

    vertices, faces = decimate(mesh.vertices, mesh.faces, max_faces, aggressiveness=3.0)
    # The decimation may stop above its target; further triangles are not drawn.
    faces = faces[:max_faces]
    _, nearest = cKDTree(mesh.vertices).query(vertices)
    return Mesh(np.asarray(vertices, np.float32), faces, mesh.colors[nearest])


def _corners() -> NDArray[np.float64]:
    return np.array([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(8)], np.float64)
