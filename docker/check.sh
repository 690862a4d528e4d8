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

# Check an installation of docker/install.sh as the user of the images: lift the packaged scene, start
# the node, wait until the health check passes, end the node by the signal of `docker stop`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
run=docker/entrypoint.sh
[[ $(id -u) != 0 ]] || { echo 'check: run this as the user lift3d' >&2; exit 2; }

"$run" lift3d demo --out /output/demo
"$run" lift3d lift lift3d_ros/data/demo_scene --out /output/lift

"$run" lift3d node --autostart --ros-args -p output_dir:=/output &
node=$!
trap 'kill -KILL "$node" 2>/dev/null || true' EXIT
for _ in {1..60}; do
  status=0
  "$run" python -m lift3d_ros.node.services.health --timeout 5 || status=$?
  ((status)) || break
  sleep 1
done
((status == 0)) || { echo "check: the node was not active within a minute" >&2; exit 1; }
kill -TERM "$node"
wait "$node"
trap - EXIT
echo 'check: demo, lift, node and health check passed'
