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

"""Problems of the subscribed topics, as sentences for the log and the diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
import difflib
import time

from rclpy.node import Node

from lift3d_ros.node.inputs.synchronizer import Synchronizer
from lift3d_ros.node.inputs.topics import Topic
from lift3d_ros.node.inputs.topics import WINDOW

#: Minimum seconds between two log lines about the same problem, in continuous mode and on request.
PERIOD_S = 10.0
_IDLE_PERIOD_S = 60.0

#: Seconds after the activation without warnings, for discovery and the first messages.
_GRACE_PERIOD_S = 3.0

#: Maximum topics of the same type that are suggested for a topic without publishers.
_MAX_SUGGESTIONS = 5

#: Minimum share of messages that must arrive, of those that are published or of those on the
#: companion topic.
_MIN_SHARE = 0.5

#: The camera_info of each image, which drivers publish at the same rate.
_COMPANIONS = {'image': 'camera_info', 'depth': 'depth_camera_info'}

_LOSSY = (
    'set FASTRTPS_DEFAULT_PROFILES_FILE to config/fastdds.xml of lift3d_ros in the process of '
    'its publisher, or publish it with reliable QoS, or use a compressed transport'
)
_SLOW = 'lower its rate or resolution, or use a compressed transport'


class Throttle:
    """Limits the rate of log lines per kind."""

    def __init__(self) -> None:
        """Start without log lines."""
        self._last: dict[object, tuple[float, int]] = {}

    def count(self, kind: object, period: float = PERIOD_S) -> int | None:
        """Return the number of suppressed lines if a line is due, None if it is not."""
        now = time.monotonic()
        when, silent = self._last.get(kind, (float('-inf'), 0))
        if now - when < period:
            self._last[kind] = when, silent + 1
            return None
        self._last[kind] = now, 0
        return silent


class Watch:
    """Checks the topics periodically and logs warnings."""

    def __init__(
        self, node: Node, topics: Mapping[str, Topic], synchronizer: Synchronizer
    ) -> None:
        """Watch topics by name; a frame requires those of the synchronizer."""
        self._node = node
        self._topics = topics
        self._synchronizer = synchronizer
        self._needed = (synchronizer.reference, *synchronizer.others, *synchronizer.steady)
        self._start = time.monotonic()
        self._throttle = Throttle()
        self._said: set[tuple[str, str]] = set()

    def look(self, continuous: bool) -> None:
        """Log problems; with ``continuous`` also why no frame is complete."""
        logger = self._node.get_logger()
        for kind, sentence in self._synchronizer.irregularities().items():
            if kind not in self._said:
                self._said.add(kind)
                logger.warning(f'{sentence}. [{self._topics[kind[0]].name}]')
        if time.monotonic() - self._start < _GRACE_PERIOD_S:
            return
        found = {('lost', name): text for name, text in self.losses().items()}
        if continuous:
            missing = self.missing()
            found |= {('missing', name): text for name, text in missing.items()}
            unmatched = self._synchronizer.unmatched_reason()
            if unmatched and not missing:
                found['unmatched', ''] = f'No frame is complete: {unmatched}'
        for key, text in found.items():
            kind, name = key
            period = PERIOD_S if continuous else _IDLE_PERIOD_S
            if kind == 'missing' and self._synchronizer.received(name):
                # Its publisher has ended, perhaps as intended.
                period = float('inf')
            if self._throttle.count(key, period) is not None:
                logger.warning(f'{text}.')

    def missing(self) -> dict[str, str]:
        """Return a sentence by name for each required topic without publishers."""
        found = {}
        for name in self._needed:
            topic = self._topics.get(name)
            if topic is None:
                continue
            if topic.publishers:
                if topic.is_incompatible():
                    found[name] = (
                        f'{topic.name} is published as best effort, and the parameter reliability '
                        'is "reliable"; set it to auto'
                    )
                continue
            if name in self._synchronizer.steady and self._synchronizer.received(name):
                # Published once, by a program that has ended.
                continue
            found[name] = self._unpublished(name, topic)
        return found

    def losses(self) -> dict[str, str]:
        """Return a sentence by name for each topic that loses more than half of its messages."""
        found = {}
        for name, topic in list(self._topics.items()):
            rate, lost = topic.rate(), topic.lost()
            companion = self._topics.get(_COMPANIONS.get(name, ''))
            beside = ''
            behind = False
            if companion is not None and companion.publisher_nodes & topic.publisher_nodes:
                other = companion.rate()
                behind = other * WINDOW >= 5 and rate < _MIN_SHARE * other
                beside = f' beside {other:.1f} of {companion.name}' if behind else ''
            if lost < 1.0 - _MIN_SHARE and not behind:
                continue
            if lost or topic.is_best_effort:
                part = f' ({100.0 * lost:.0f} % are lost)' if lost else ''
                advice = _LOSSY if topic.is_best_effort else _SLOW
            else:
                part, advice = '', 'its publisher sends fewer messages; check its settings'
            found[name] = (
                f'{topic.name} arrives at {rate:.1f} messages a second{beside}{part}: {advice}'
            )
        return found

    def _unpublished(self, name: str, topic: Topic) -> str:
        others = topic.other_types
        if others:
            hint = f'it is published as {" and ".join(sorted(others))}'
            if any('CompressedImage' in other for other in others):
                hint += f'; set {name}_transport, and remap the name without /compressed'
            elif 'CompressedImage' in topic.type_name:
                hint += f'; set {name}_transport to raw'
        else:
            similar = self._similar(topic)
            hint = (
                f'topics of this type are {", ".join(similar)}; remap {name}:=TOPIC'
                if similar
                else 'no other topic has this type; start its publisher'
            )
        return f'Nobody publishes {topic.name} [{topic.type_name}]: {hint}'

    def _similar(self, topic: Topic) -> list[str]:
        """Return published topics of the same type, those of a similar name first."""
        meant = {other.name for other in self._topics.values()}
        own = self._node.get_name(), self._node.get_namespace()
        names = [
            name
            for name, types in self._node.get_topic_names_and_types()
            if topic.type_name in types
            and name not in meant
            and any(
                (info.node_name, info.node_namespace) != own
                for info in self._node.get_publishers_info_by_topic(name)
            )
        ]

        def similarity(name: str) -> float:
            return difflib.SequenceMatcher(None, name, topic.name).ratio()

        return sorted(names, key=similarity, reverse=True)[:_MAX_SUGGESTIONS]
