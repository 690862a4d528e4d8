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

# Measures a CUDA device within eight minutes: lifts with the small weights, the denoiser of the
# published size in half precision with its share of the rate of a matrix product, their memory,
# and the tests that need a device. From the source tree, after `. tools/env.sh`:
#
#   tools/gpu.sh OUT_DIR
#   tools/gpu.sh OUT_DIR --cpu      the same programs with tiny sizes on the CPU, to test this script

set -u -o pipefail
out=${1:?usage: tools/gpu.sh OUT_DIR [--cpu]}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scene=$root/lift3d_ros/data/demo_scene
mkdir -p "$out"
failed=0

measure() {  # NAME SECONDS COMMAND...: its output goes to a file and the terminal
  local name=$1 seconds=$2 status
  shift 2
  echo "== $name: $*"
  timeout "$seconds" "$@" 2>&1 | tee "$out/$name.txt"
  status=${PIPESTATUS[0]}
  if [[ $status -ne 0 ]]; then
    echo "== $name failed with exit status $status (124: not done within $seconds s)" >&2
    failed=1
  fi
}

timing=(python -m lift3d_ros.bench.timing)
if [[ ${2:-} == --cpu ]]; then
  measure lifts 240 "${timing[@]}" device "$scene" --method geometric --objects 2 --repeats 1 --json
else
  nvidia-smi > "$out/nvidia-smi.txt" 2>&1 || true
  # Device time in all: 60 + 60 + 120 + 90 + 150 = 480 s.
  measure lifts 60 "${timing[@]}" device "$scene" --device cuda --objects 8 --json
  measure lifts_cpu 60 "${timing[@]}" device "$scene" --objects 8 --repeats 2 --json
  measure denoiser 120 "${timing[@]}" zero123 --device cuda --dtype float16 --views 8 --steps 8
  measure surface 90 "${timing[@]}" surface --device cuda
  measure tests 150 python -m pytest -q -p no:cacheprovider -k cuda "$root/test"
fi
exit $failed
