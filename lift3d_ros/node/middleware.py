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
The profile of Fast DDS, the default middleware, that lets whole images through shared memory.

Fast DDS reads it when the first node of a process is created. Both the camera and the node need
it: the sender drops messages that exceed its shared memory.
"""

from __future__ import annotations

from collections.abc import Mapping
import ctypes
import os
from pathlib import Path

#: Set to "off", "0", "false" or "no", this variable leaves Fast DDS as it is.
SWITCH = 'LIFT3D_FASTDDS_PROFILE'

#: Variable that Fast DDS reads.
VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'

#: Variables of a configuration by the user.
_CONFIGURED = (VARIABLE, 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTDDS_BUILTIN_TRANSPORTS')

#: Configuration files in the working directory.
_LOCAL = ('DEFAULT_FASTRTPS_PROFILES.xml', 'DEFAULT_FASTDDS_PROFILES.xml')

#: Values of RMW_IMPLEMENTATION that select Fast DDS; empty: the default of the distribution.
_FAST_DDS = ('', 'rmw_fastrtps_cpp', 'rmw_fastrtps_dynamic_cpp')

#: Bytes of shared memory of two processes with the profile, node and camera.
_SEGMENTS_BYTES = 2 * 67_108_864

_SHARED_MEMORY = '/dev/shm'  # noqa: S108 - its size is read


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    Return the variables to add to an environment, so that Fast DDS carries whole images.

    Returns nothing for another middleware, for a configuration by the user, if
    ``LIFT3D_FASTDDS_PROFILE`` is off, and if the shared memory is too small for the profile, as in
    a container with 64 MB, where Fast DDS would not use it at all. ``given`` is by default the
    environment of this process.
    """
    given = os.environ if given is None else given
    if given.get(SWITCH, '').lower() in ('off', '0', 'false', 'no'):
        return {}
    if given.get('RMW_IMPLEMENTATION', '') not in _FAST_DDS:
        return {}
    if any(given.get(name) for name in _CONFIGURED) or any(map(os.path.exists, _LOCAL)):
        return {}
    if given.get('ROS_DISTRO') == 'humble' and given.get('ROS_LOCALHOST_ONLY') == '1':
        # Its rmw replaces the transports of the profile.
        return {}
    if free_shared_memory() < _SEGMENTS_BYTES:
        return {}
    profile = profile_path()
    return {VARIABLE: str(profile)} if profile is not None else {}


def use_profile() -> bool:
    """Set the profile for this process, before ``rclpy.init``; return whether it is set."""
    added = environment()
    os.environ.update(added)
    return bool(added)


def profile_path() -> Path | None:
    """Return the file of the profile, None if it is not installed."""
    folders = [Path(__file__).parents[2]]
    try:
        from ament_index_python.packages import get_package_share_directory

        folders.append(Path(get_package_share_directory('lift3d_ros')))
    except (ImportError, LookupError):
        pass
    paths = (folder / 'config' / 'fastdds.xml' for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def free_shared_memory() -> float:
    """Return the free bytes of shared memory; infinite without such a file system."""
    try:
        status = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return float('inf')
    return float(status.f_bavail * status.f_frsize)


def log_fast_dds(enabled: bool) -> None:
    """
    Switch the log of Fast DDS in this process off, or on again.

    When memory is exhausted it writes one line per attempt to receive a message, thousands a
    second. Neither the profile nor an environment variable filters them. No effect on other
    middlewares and on versions without these functions.
    """
    # Two static functions of the class eprosima::fastdds::dds::Log, without arguments.
    symbol = '_ZN8eprosima7fastdds3dds3Log' + ('5ResetEv' if enabled else '14ClearConsumersEv')
    try:
        maps = Path('/proc/self/maps').read_text().split()
        names = ('/libfastrtps.so', '/libfastdds.so')
        libraries = {word for word in maps if any(name in word for name in names)}
        for library in libraries:
            function = getattr(ctypes.CDLL(library), symbol, None)
            if function is not None:
                function.restype = None
                function()
    except OSError:
        pass
