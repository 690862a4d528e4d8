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


# Run from the root of the repository: measure all tracks on the eval split, and write the results,
# tables and sheets of docs/accuracy.md. About 30 minutes on two cores; interrupted, it resumes.

set -euo pipefail
DATA=${LIFT3D_DATA:-../shared/data}
OUT=${1:-bench_out}

# bench NAME ARGUMENTS...: exit status 1 means failed lifts, which the tables count.
bench() {
  local name=$1
  shift
  lift3d bench --data "$DATA/objects" --split eval --out "$OUT/$name" "$@" || [[ $? == 1 ]]
}

bench exact --track rgbd rgb rgb-plane rgb-size --grasp --scenes 1
bench exact --five
bench physics --grasp --physics --track rgbd --scenes 1
bench known_size --track rgb-size --methods one2345 --no-baselines --scenes 3
bench noisy --mask noisy --scenes 1
bench occluded --occluded --scenes 1
bench cameras --cameras 3 --methods geometric one2345 --no-baselines --scenes 1
bench ablation --ablation --track rgbd rgb --objects 8 --scenes 1
bench surface_views --methods one2345/views=0 one2345/coarse-views one2345/views=8 one2345/true-views \
  --no-baselines --track rgbd rgb --scenes 1
bench real --real "$DATA/real"
bench views --views --real "$DATA/gso_views"
bench views --views-time
python -m lift3d_ros.bench.publish --runs "$OUT"
