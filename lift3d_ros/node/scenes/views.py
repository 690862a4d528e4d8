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

"""Novel views of a scene for the service ~/synthesize_views."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from std_msgs.msg import Header

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.geometry import seconds
from lift3d_ros.node.messages.geometry import duration_message
from lift3d_ros.node.messages.images import image_message
from lift3d_ros.node.messages.images import info_message
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.scenes.action import SceneAction
from lift3d_ros.node.scenes.lifting import LiftedScene
from lift3d_ros.node.scenes.lifting import SceneQuery
from lift3d_ros.node.worker import Job
from lift3d_ros.node.worker import Lifters
from lift3d_ros.progress import Progress
from lift3d_ros.scene.novel_views import render_views
from lift3d_ros.scene.novel_views import scaled_camera
from lift3d_ros.scene.pose_checks import check_poses
from lift3d_ros.scene.pose_checks import pose_notes
from lift3d_ros.srv import SynthesizeViews

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode

#: Largest number of poses, and bytes of all images of a response.
MAX_POSES, MAX_BYTES = 500, 64_000_000

#: Bytes of a pixel: three colours, and the depth as a float.
_BYTES_PER_PIXEL = 7

#: Width of the images where the request names none, pixels.
_WIDTH = 320


class SceneViews:
    """Renders views in the thread of the worker."""

    def __init__(
        self, node: LiftNode, action: SceneAction, request: Callable[..., Any]
    ) -> None:
        """Render the scenes of ``action``; ``request`` is ``LiftServices.request``."""
        self._node = node
        self._action = action
        self._request = request

    def answer(
        self, request: SynthesizeViews.Request, response: SynthesizeViews.Response
    ) -> SynthesizeViews.Response:
        """
        Fill the response to a request for views of a scene.

        The scene is that of the frame in the request, or the one that was lifted last. Raises
        ``LiftError``: ``BAD_REQUEST`` for too many poses, images and poses that are not rigid;
        ``NO_OBJECT`` if no scene was lifted yet; and those of ``Lifter.lift_scene``.
        """
        poses = [pose_matrix(pose) for pose in request.view_poses]
        if not 1 <= len(poses) <= MAX_POSES:
            raise bad_request(
                f'{len(poses)} poses are requested in view_poses; give 1 to {MAX_POSES}.')
        if not len(request.image.data):
            lifted = self._action.last
            if lifted is None:
                raise LiftError(
                    ErrorCode.NO_OBJECT,
                    'No scene was lifted yet; call ~/lift_scene first, or give a frame.')
            return self._of_last(lifted, poses, request, response)
        settings = self._node.settings
        query = SceneQuery(settings.method, request.seed or settings.seed)

        def work(messages: SyncedMessages, job: Job, lifters: Lifters) -> Any:
            _check_size(_camera_width(request, messages.image.width), messages.image, len(poses))
            lifted = self._action.lift(
                messages, query, settings, lambda stage, done: None, job, lifters)
            return self._render(lifted, poses, request, response, job)

        return self._request(request, work)

    def _of_last(
        self,
        lifted: LiftedScene,
        poses: list[Array],
        request: SynthesizeViews.Request,
        response: SynthesizeViews.Response,
    ) -> SynthesizeViews.Response:
        limit = seconds(request.timeout) or self._node.settings.timeout
        camera = lifted.scene.frame.camera
        _check_size(_camera_width(request, camera.width), camera, len(poses))
        job = Job(
            lambda job, lifters: self._render(lifted, poses, request, response, job),
            deadline=time.monotonic() + limit if limit else None)
        try:
            self._node.worker.submit(job)
        except LiftError as error:
            self._node.statistics.add_error(error)
            raise
        return self._node.worker.wait(job)

    def _render(
        self,
        lifted: LiftedScene,
        poses: list[Array],
        request: SynthesizeViews.Request,
        response: SynthesizeViews.Response,
        job: Job,
    ) -> SynthesizeViews.Response:
        start = time.monotonic()
        scene, header = lifted.scene, lifted.camera_header
        full = scene.frame.camera
        camera = scaled_camera(full, _camera_width(request, full.width))
        progress = Progress(None, job.is_cancelled, job.deadline)
        images, depths = [], []
        for index, view in enumerate(render_views(scene, poses, camera, progress)):
            of_view = Header(stamp=header.stamp, frame_id=f'{header.frame_id}_view_{index:03d}')
            for messages, pixels, encoding in (
                (images, view.image, 'rgb8'), (depths, view.depth.astype(np.float32), '32FC1'),
            ):
                message = image_message(pixels, encoding)
                message.header = of_view
                messages.append(message)
        checks = check_poses(scene, poses)
        response.success = True
        response.message = ' '.join(scene.notes)
        response.header = header
        response.images, response.depths = images, depths
        response.camera_info = info_message(camera)
        response.camera_info.header = Header(stamp=header.stamp)
        response.poses = request.view_poses
        response.scale_source = scene.scale_source
        response.unobstructed = [check.unobstructed for check in checks]
        response.view_notes = list(pose_notes(checks))
        response.compute_time = duration_message(time.monotonic() - start)
        self._node.statistics.add_views(len(images))
        return response


def _camera_width(request: SynthesizeViews.Request, full: int) -> int:
    return int(request.view_width) or min(full, _WIDTH)


def _check_size(width: int, full: Camera | Any, count: int) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for images that are too large for a response."""
    if not 16 <= width <= 4096:
        raise bad_request(f'view_width is {width}; choose 16 to 4096 pixels.')
    aspect = full.height / max(full.width, 1)
    if count * aspect * width**2 * _BYTES_PER_PIXEL > MAX_BYTES:
        fits = int((MAX_BYTES / (count * aspect * _BYTES_PER_PIXEL)) ** 0.5)
        raise bad_request(
            f'{count} images of a width of {width} pixels exceed the {MAX_BYTES // 10**6} MB of a '
            f'response; choose a view_width of at most {fits}, or ask for fewer at once.')
