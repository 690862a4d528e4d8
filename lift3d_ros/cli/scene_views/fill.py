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

"""Options of the prediction of hidden surface."""

from __future__ import annotations

import argparse


def add_fill(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Declare the fill, its weights, and what novel views show of it."""
    parser.add_argument(
        '--fill', default='planes', metavar='NAME',
        help='prediction of hidden surface that a moved camera would reveal: planes (continued '
        'planes), nearest, inpaint, prior, zeronvs (a radiance field of the scene), or none '
        '(default: planes)')
    parser.add_argument(
        '--prior', default='small', metavar='NAME|PATH',
        help='weights of --fill prior, from `lift3d train scene`, of which the packaged small has '
        'none; with --fill zeronvs also zeronvs or zeronvs.ckpt, the published ones (default: '
        'small)')
    parser.add_argument(
        '--views-from', default='surface', metavar='NAME',
        help='with --fill zeronvs: novel views of the surface, with the field where it has holes '
        '(surface), or of the field alone (field) (default: surface)')
