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

"""Frames of previously lifted objects, which serve as source views for their refinement."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import bounding_box
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.segmentation.instances import Instance

#: Maximum objects whose frames are kept.
_MAX_OBJECTS = 32

#: Default limit of all kept frames: 300 frames of an object of 300 x 300 pixels with its
#: surroundings.
_MAX_BYTES = 256_000_000

#: Margin around the object that is kept, over the longer side of its box; the table in it helps to
#: refine the pose.
_MARGIN_SHARE = 0.6

#: Minimum intersection over union of a mask and the projected convex hull of the previously lifted
#: object.
_MIN_OVERLAP = 0.2

_NO_POSE = (
    'set the parameter target_frame to a stationary frame (tf2 then provides the poses at the '
    'stamps of the images), or give camera_poses with this request and the previous one.'
)


@dataclass(frozen=True, eq=False)
class CameraPose:
    """The pose of a camera in the stationary frame that ``world`` names."""

    T_world_camera: Array
    world: str


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A frame with the mask of one object, bool (height, width), and its camera pose."""

    frame: Frame
    mask: NDArray[np.bool_]
    pose: CameraPose | None
    name: str

    def reduced(self) -> Snapshot:
        """Return a copy that is cropped to the object and its surroundings."""
        left, top, right, bottom = bounding_box(self.mask)
        margin = int(_MARGIN_SHARE * max(right - left, bottom - top)) + 8
        height, width = self.mask.shape
        left, right = max(left - margin, 0), min(right + margin, width)
        top, bottom = max(top - margin, 0), min(bottom + margin, height)
        cut = np.s_[top:bottom, left:right]
        frame = self.frame
        small = replace(
            frame,
            image=frame.image[cut].copy(),
            camera=frame.camera.crop(left - 0.5, top - 0.5, right - left, bottom - top),
            depth=None if frame.depth is None else frame.depth[cut].copy(),
        )
        return replace(self, frame=small, mask=self.mask[cut].copy())

    @property
    def nbytes(self) -> int:
        """The size of its arrays in bytes."""
        depth = self.frame.depth
        return self.frame.image.nbytes + self.mask.nbytes + (0 if depth is None else depth.nbytes)

    def source_view(self, first: CameraPose | None) -> SourceView:
        """
        Return the source view for a reference view with the camera pose ``first``.

        Raises ``LiftError``: ``NO_TRANSFORM`` if a pose is unknown, ``BAD_REQUEST`` for poses in
        different frames.
        """
        T_ref_src = invert(_known(first)) @ _known(self.pose)
        assert first is not None and self.pose is not None, 'their poses are known'
        if first.world != self.pose.world:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The pose of {self.name} is in {self.pose.world}, that of the new frame in '
                f'{first.world}; give both in the same way.',
            )
        return SourceView(crop_object(self.frame, self.mask), T_ref_src, self.name)


class ObjectHistory:
    """The last lifted objects with their frames, newest first."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: OrderedDict[str, tuple[Shape, tuple[Snapshot, ...]]] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """The size of all kept frames in bytes."""
        return sum(frame.nbytes for _, frames in self._kept.values() for frame in frames)

    def keep(
        self,
        name: str,
        shape: Shape,
        snapshots: Sequence[Snapshot],
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        """
        Keep the frames of an object; ``shape`` is in the optical frame of the first of them.

        All frames together are limited to ``max_bytes``: the objects lifted longest ago are
        forgotten first, then the older frames of this one.
        """
        self._kept.pop(name, None)
        kept, size = [], 0
        for snapshot in snapshots:
            reduced = snapshot.reduced()
            size += reduced.nbytes
            if size > max_bytes:
                break
            kept.append(reduced)
        if kept:
            self._kept[name] = shape, tuple(kept)
        while len(self._kept) > _MAX_OBJECTS or self.nbytes > max_bytes:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()

    def frames(self, name: str) -> tuple[Snapshot, ...]:
        """Return the frames of an object; raises ``LiftError(NO_OBJECT)`` for an unknown one."""
        return self._find(name)[1]

    def choose(
        self, name: str, instances: Sequence[Instance], frame: Frame, pose: CameraPose | None
    ) -> Instance:
        """
        Return the instance of a frame that is a previously lifted object.

        Raises ``LiftError``: ``NO_OBJECT`` for an unknown object, and if no instance is at its
        projection; ``NO_TRANSFORM``, ``BAD_REQUEST`` as ``Snapshot.source_view``.
        """
        shape, snapshots = self._find(name)
        T = snapshots[0].source_view(pose).T_ref_src
        u, v, z = frame.camera.project(transform(T, shape.mesh_in_camera().vertices))
        hull = np.zeros((frame.camera.height, frame.camera.width), np.uint8)
        if (z > 0.0).all():
            # Limit pixels far outside the image, which would overflow.
            pixels = np.clip(np.stack([u, v], axis=1), -1e4, 1e4)
            cv2.fillConvexPoly(hull, cv2.convexHull(np.rint(pixels).astype(np.int32)), 1)
        projection = hull > 0
        shares = [
            np.count_nonzero(projection & instance.mask)
            / max(np.count_nonzero(projection | instance.mask), 1)
            for instance in instances
        ]
        best = int(np.argmax(shares))
        if shares[best] < _MIN_OVERLAP:
            raise LiftError(
                ErrorCode.NO_OBJECT,
                f'"{name}" is at none of the {len(instances)} masks of this frame (overlap '
                f'{100.0 * shares[best]:.0f} %); check that it was not moved and is visible, '
                'or select it by LABEL, PIXEL or BOX.',
            )
        return instances[best]

    def _find(self, name: str) -> tuple[Shape, tuple[Snapshot, ...]]:
        entry = self._kept.get(name)
        if entry is None:
            known = ', '.join(self._kept) or 'none'
            raise LiftError(
                ErrorCode.NO_OBJECT,
                f'There is no previously lifted object "{name}" to refine; the latest are: '
                f'{known}. Check that kept_frames is not 0 and that kept_megabytes is large '
                'enough.',
            )
        return entry


def _known(pose: CameraPose | None) -> Array:
    if pose is None:
        raise LiftError(
            ErrorCode.NO_TRANSFORM,
            f'Source views require the camera poses: {_NO_POSE}',
        )
    return pose.T_world_camera
