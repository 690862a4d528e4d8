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

# Run a command with ROS 2 and this package in its environment, in the place of this process, so that
# the signals of the container reach it.

set -eo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -n ${ROS_DISTRO:-} && -f /opt/ros/$ROS_DISTRO/setup.bash ]]; then
  # shellcheck disable=SC1090
  . "/opt/ros/$ROS_DISTRO/setup.bash"
else
  unset ROS_DISTRO
fi
# shellcheck source=tools/env.sh
. "$here/tools/env.sh"
exec "$@"
