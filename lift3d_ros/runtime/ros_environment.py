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
The environment variables of ROS, checked before ROS reads them.

Some invalid values abort the process in C or C++, others flood its output or silently put the
node into another domain. Nothing here imports rclpy.
"""

from __future__ import annotations

from collections.abc import Sequence
import ctypes
import os
from pathlib import Path
import re
import tempfile

from lift3d_ros.errors import bad_request

#: Largest domain whose DDS ports are below 65536.
MAX_DOMAIN_ID = 232

#: Variables of rcutils that must be 0 or 1. Other values turn each log line into an error.
_SWITCHES = (
    'RCUTILS_LOGGING_USE_STDOUT', 'RCUTILS_COLORIZED_OUTPUT', 'RCUTILS_LOGGING_BUFFERED_STREAM',
)

#: The argument that makes rcl log to the console only.
_NO_LOG_FILE = '--disable-external-lib-logs'


def check_environment(arguments: Sequence[str] = ()) -> None:
    """
    Raise ``LiftError(BAD_REQUEST)`` for a variable with which ROS cannot start.

    ``arguments`` are those of the command line, which can disable the log file.
    """
    _check_switches()
    _check_middleware()
    _check_domain()
    if _NO_LOG_FILE not in arguments:
        _check_log_folder()


def _check_switches() -> None:
    for name in _SWITCHES:
        value = os.environ.get(name, '')
        if value not in ('', '0', '1'):
            raise bad_request(f'{name} is "{value}"; set it to 0 or 1, or unset it.')


def _check_middleware() -> None:
    name = os.environ.get('RMW_IMPLEMENTATION', '')
    if not name:
        return
    reason = f'lib{name}.so does not exist'
    if re.fullmatch(r'\w+', name):
        try:
            # As rmw_implementation does; the error names a missing dependency.
            if hasattr(ctypes.CDLL(f'lib{name}.so'), 'rmw_init'):
                return
            reason = f'lib{name}.so is not a ROS middleware'
        except OSError as error:
            if 'No such file' not in str(error) or f'lib{name}.so:' not in str(error):
                reason = str(error)
    installed = ', '.join(_installed_middlewares()) or 'none'
    raise bad_request(
        f'RMW_IMPLEMENTATION is "{name}", which cannot be loaded ({reason}; installed: '
        f'{installed}); install it, set an installed one, or unset the variable.'
    )


def _installed_middlewares() -> list[str]:
    found: set[str] = set()
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        folder = Path(prefix, 'share', 'ament_index', 'resource_index', 'rmw_typesupport')
        if prefix and folder.is_dir():
            found.update(path.name for path in folder.iterdir())
    return sorted(found - {'rmw_implementation'})


def _check_domain() -> None:
    text = os.environ.get('ROS_DOMAIN_ID', '').strip()
    if not text:
        return
    # Zenoh does not derive ports from the domain.
    bounded = 'zenoh' not in os.environ.get('RMW_IMPLEMENTATION', '')
    try:
        # rcl reads a leading 0 as octal, as C does.
        octal = re.fullmatch(r'0[0-7]+', text)
        domain = int(text, 8) if octal else int(text, 0)
    except ValueError:
        domain = -1
    if domain < 0 or (bounded and domain > MAX_DOMAIN_ID):
        raise bad_request(
            f'ROS_DOMAIN_ID is "{text}"; set it to a whole number from 0 to {MAX_DOMAIN_ID}, or '
            'unset it for domain 0.'
        )


def _check_log_folder() -> None:
    for variable, below in (('ROS_LOG_DIR', ''), ('ROS_HOME', 'log'), ('HOME', '.ros/log')):
        if os.environ.get(variable):
            folder = Path(os.path.expanduser(os.environ[variable]), below)
            break
    else:
        raise bad_request(
            'Neither ROS_LOG_DIR nor HOME is set, so ROS has no folder for its logs; set '
            'ROS_LOG_DIR to a folder that you may write to, or log to the console only by '
            f'--ros-args {_NO_LOG_FILE}.'
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise bad_request(
            f'ROS writes its logs to {folder} (by {variable}), which fails: '
            f'{error.strerror or error}; set ROS_LOG_DIR to a folder that you may write to, or '
            f'log to the console only by --ros-args {_NO_LOG_FILE}.'
        ) from error
