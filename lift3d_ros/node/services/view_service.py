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
The service ``~/synthesize_views`` and the topic ``~/views``.

Both run in the thread of the worker. The weights are loaded at the first request, and torch is
imported then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lift3d_ros.diffusion import view_grid
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.canonical import PosedViews
from lift3d_ros.messages.masks import check_instance
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.lifting.frames import FrameReader
from lift3d_ros.node.lifting.instances import find_instances
from lift3d_ros.node.lifting.instances import select
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.messages.geometry import duration_message
from lift3d_ros.node.messages.geometry import pose_message
from lift3d_ros.node.messages.images import image_message
from lift3d_ros.node.messages.images import info_message
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import NO_ELEVATION
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.node.services.introspection import REQUESTS
from lift3d_ros.node.services.service_errors import service_errors
from lift3d_ros.node.worker import Job
from lift3d_ros.node.worker import Lifters
from lift3d_ros.srv import SynthesizeViews

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode
    from lift3d_ros.synthesis import ViewSynthesizer

#: Queues the work on the frame of a request and waits: see ``LiftNode``.
Request = Callable[[Any, Callable[[SyncedMessages, Job, Lifters], Any]], Any]


@dataclass(frozen=True, eq=False)
class Synthesized:
    """The views of one object, with stamp and frame of its image."""

    header: Header
    views: PosedViews
    warnings: list[str]


class ViewService:
    """Serves requests for views, and publishes views of lifted objects to subscribers."""

    def __init__(self, node: LiftNode, group: CallbackGroup, submit: Request) -> None:
        """Offer the service without loading weights."""
        self._node = node
        self._submit = submit
        self._publisher: Any = None
        self._synthesizer: ViewSynthesizer | None = None
        self.service = node.create_service(
            SynthesizeViews,
            '~/synthesize_views',
            self._on_request,
            qos_profile=REQUESTS,
            callback_group=group,
        )

    def make_publisher(self) -> Any:
        """Return a new publisher of ``~/views``."""
        self._publisher = self._node.create_lifecycle_publisher(Image, '~/views', 1)
        return self._publisher

    def unload(self) -> None:
        """Unload the weights; the worker must be stopped."""
        synthesizer, self._synthesizer = self._synthesizer, None
        if synthesizer is not None:
            synthesizer.unload()

    def follow(self, header: Header, outcome: Outcome) -> None:
        """
        Queue a ring of views of each lifted object, if ``~/views`` has subscribers.

        ``header`` is that of the image. The job has a lower priority than requests.
        """
        settings = self._node.settings
        watched = settings.views_weights and self._publisher.get_subscription_count()
        if watched and outcome.lifted and outcome.frame is not None:
            self._node.worker.follow(Job(partial(self._show, header, outcome, settings)))

    def publish(self, made: Synthesized) -> None:
        """Count the views and publish them as one picture."""
        self._node.statistics.add_views(len(made.views.images))
        message = image_message(view_grid.image_grid(made.views.images), 'rgb8')
        message.header = made.header
        self._publisher.publish(message)

    def preview(self, header: Header, picture: NDArray[np.uint8]) -> None:
        """Publish a picture (h, w, 3) of a running optimisation, if ``~/views`` is watched."""
        if self._publisher.get_subscription_count():
            message = image_message(picture, 'rgb8')
            message.header = header
            self._publisher.publish(message)

    @service_errors
    def _on_request(
        self, request: SynthesizeViews.Request, response: SynthesizeViews.Response
    ) -> SynthesizeViews.Response:
        if request.scene:
            return self._node.scene_views.answer(request, response)
        return _answer(self._request(request), response)

    def _request(self, request: SynthesizeViews.Request) -> Synthesized:
        settings = self._node.settings
        if not settings.views_weights:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                'Views are switched off; set the parameter views_weights, for instance to small.',
            )
        if request.selector.mode == ObjectSelector.ALL:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                'The service shows one object; select by another mode than ALL.',
            )
        from lift3d_ros.synthesis import ring

        azimuths = request.azimuths if len(request.azimuths) else ring(settings.views_count)
        elevations = view_grid.expand_elevations(request.elevations, len(azimuths))

        def work(messages: SyncedMessages, job: Job, lifters: Lifters) -> Synthesized:
            warnings: list[str] = []
            frame = FrameReader(settings, self._node.transforms, self._node.imu).read(messages)
            found = find_instances(messages, frame, request.selector, settings, warnings)
            instance, = select(found, request.selector)
            check_instance(
                frame, instance, 'the object', messages.mask is not None, warnings
            )
            views = self._loaded(settings).synthesize(
                frame,
                instance.mask,
                azimuths,
                elevations,
                radius=request.radius or None,
                seed=request.seed or settings.seed,
                cancelled=job.is_cancelled,
                deadline=job.deadline,
            )
            return Synthesized(messages.header, views, warnings)

        return self._submit(request, work)

    def _show(
        self, header: Header, outcome: Outcome, settings: Settings, job: Job, lifters: Lifters
    ) -> None:
        """Publish views of lifted objects, until a request waits or the subscribers leave."""
        from lift3d_ros.synthesis import ring

        worker, publisher = self._node.worker, self._publisher

        def cancelled() -> bool:
            watched = publisher.get_subscription_count() > 0
            return job.is_cancelled() or worker.waiting > 0 or not watched

        for lifted in outcome.lifted:
            try:
                views = self._loaded(settings).synthesize(
                    outcome.frame,
                    lifted.instance.mask,
                    ring(settings.views_count),
                    seed=settings.seed,
                    cancelled=cancelled,
                )
            except LiftError as error:
                if error.code is ErrorCode.CANCELLED:
                    return
                # No client receives this error.
                self._node.get_logger().warning(f'no views of {lifted.id}: {error}', once=True)
                raise
            self.publish(Synthesized(header, views, []))

    def _loaded(self, settings: Settings) -> ViewSynthesizer:
        if self._synthesizer is None:
            synthesizer = _make(settings)
            synthesizer.load()
            self._synthesizer = synthesizer
        return self._synthesizer


def _make(settings: Settings) -> ViewSynthesizer:
    from lift3d_ros.elevation.estimate import ElevationSettings
    from lift3d_ros.synthesis import ViewSynthesizer

    assumed = settings.views_assumed_elevation
    return ViewSynthesizer(
        settings.views_weights,
        settings.views_device,
        sampler=settings.views_sampler,
        elevation=ElevationSettings(assumed=None if assumed == NO_ELEVATION else assumed),
    )


def _answer(made: Synthesized, response: SynthesizeViews.Response) -> SynthesizeViews.Response:
    header, views = made.header, made.views
    response.success = True
    response.message = ' '.join(made.warnings)
    response.header = header
    response.images = [image_message(picture, 'rgba8') for picture in view_grid.rgba(views)]
    for index, image in enumerate(response.images):
        # These frames are not published on /tf; the response has their poses.
        image.header = Header(stamp=header.stamp, frame_id=f'{header.frame_id}_view_{index:03d}')
    response.camera_info = info_message(views.camera)
    response.camera_info.header = Header(stamp=header.stamp)
    response.poses = [pose_message(pose) for pose in view_grid.poses_in_camera(views)]
    response.azimuths = views.azimuths.tolist()
    response.elevations = views.elevations.tolist()
    response.radius = float(views.radius)
    response.elevation = float(views.canonical.elevation)
    response.elevation_source = views.elevation_source
    response.elevation_stddev = float(views.elevation_stddev)
    response.scale_source = view_grid.scale_source(views)
    response.compute_time = duration_message(views.seconds.get('total', 0.0))
    return response
