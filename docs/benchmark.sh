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


# Run from the root of the repository: measure all tracks on the eval split and write the tables
# and sheets of docs/benchmark.md. About 28 minutes on two cores; interrupted, it goes on.

set -euo pipefail
DATA=${LIFT3D_DATA:-../shared/data}
OUT=${1:-bench_out}

# The exit status tells failed lifts; they are in the tables, and the rest is measured all the same.
lift3d bench --data "$DATA/objects" --split eval --track rgbd rgb rgb-plane rgb-size \
  --grasp --scenes 1 \
  --out "$OUT/exact" || [[ $? == 1 ]]
lift3d bench --data "$DATA/objects" --split eval --grasp --physics --track rgbd --scenes 1 --out "$OUT/physics" || [[ $? == 1 ]]
lift3d bench --five --data "$DATA/objects" --split eval --out "$OUT/exact"
lift3d bench --data "$DATA/objects" --split eval --track rgb-size --methods one2345 --no-baselines --scenes 3 \
  --out "$OUT/known_size" || [[ $? == 1 ]]
lift3d bench --data "$DATA/objects" --split eval --mask noisy --scenes 1 --out "$OUT/noisy" || [[ $? == 1 ]]
lift3d bench --data "$DATA/objects" --split eval --occluded --scenes 1 --out "$OUT/occluded" || [[ $? == 1 ]]
lift3d bench --data "$DATA/objects" --split eval --cameras 3 --methods geometric one2345 --no-baselines --scenes 1 \
  --out "$OUT/cameras" || [[ $? == 1 ]]
lift3d bench --data "$DATA/objects" --split eval --ablation --track rgbd rgb --objects 8 --scenes 1 \
  --out "$OUT/ablation" || [[ $? == 1 ]]
lift3d bench --data "$DATA/objects" --split eval --methods one2345/views=0 one2345/coarse-views one2345/views=8 one2345/true-views \
  --no-baselines --track rgbd rgb --scenes 1 --out "$OUT/surface_views" || [[ $? == 1 ]]
lift3d bench --data "$DATA/objects" --real "$DATA/rgbd" --out "$OUT/real" || [[ $? == 1 ]]
lift3d bench --views --data "$DATA/objects" --split eval --real "$DATA/gso_views" \
  --out "$OUT/views" || [[ $? == 1 ]]
lift3d bench --views-time --data "$DATA/objects" --split eval --out "$OUT/views"
python -m lift3d_ros.bench.publish --runs "$OUT" --page docs/benchmark.md
