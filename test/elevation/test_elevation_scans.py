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
The search over true nearby pictures of scans.

``LIFT3D_ELEVATION_OBJECTS=0 pytest -s --timeout=0`` takes all scans of the eval split and prints
the figures of docs/method.md.
"""

from __future__ import annotations

import os
import time

import numpy as np
from test_elevation import nearby_views

from lift3d_ros.elevation.feature_search import on_object
from lift3d_ros.elevation.feature_search import PAIRS
from lift3d_ros.elevation.feature_search import search_matches
from lift3d_ros.elevation.matching import SiftMatcher
from lift3d_ros.errors import LiftError
from lift3d_ros.synthetic.objects import find_objects


def test_scans_give_the_elevation(shared_data):
    """Half of the scans are found within 2 degrees, few are wrong, and the time is bounded."""
    count = int(os.environ.get('LIFT3D_ELEVATION_OBJECTS', '4'))
    entries = find_objects(shared_data, 'eval')
    chosen = entries[:: max(1, len(entries) // count)][:count] if count else entries
    rng = np.random.default_rng(1)
    rows = {'fixed': [], 'faithful': []}
    seconds = []
    for entry in chosen:
        mesh = entry.load()
        for middle in (10.0, 25.0, 40.0, 60.0):
            elevation, azimuth = middle + rng.uniform(-5.0, 5.0), rng.uniform(-180.0, 180.0)
            images = nearby_views(mesh, elevation, azimuth)
            begin = time.process_time()
            matches = SiftMatcher().match(list(images), PAIRS)
            for variant, found in rows.items():
                try:
                    result = search_matches(on_object(images, matches, variant), 256, variant)
                    error = abs(result.elevation - elevation)
                    found.append((entry.colored, error, result.stddev))
                except LiftError:
                    found.append((entry.colored, np.nan, np.nan))
                if variant == 'fixed':
                    seconds.append(time.process_time() - begin)
    for variant, found in rows.items():
        table = np.array(found, np.float64)
        for name, part in (('all', table), ('textured', table[table[:, 0] == 1.0])):
            error, stddev = part[np.isfinite(part[:, 1]), 1:].T
            print(
                f'\n{variant}, {name}: {len(part)} searches, {len(error)} found; of those: median '
                f'error {np.median(error):.2f}, 90 % below {np.percentile(error, 90):.1f}, '
                f'{np.mean(error > 8.0):.0%} above 8; within 1 / 2 stddev '
                f'{np.mean(error < stddev):.0%} / {np.mean(error < 2.0 * stddev):.0%}', end='')
    print(f'\nprocessor time of a search: median {np.median(seconds):.2f} s')
    error = np.array(rows['fixed'], np.float64)[:, 1]
    assert np.isfinite(error).mean() > 0.5
    assert np.nanmedian(error) < 2.0
    assert np.nanmean(error > 8.0) < 0.25
    assert np.median(seconds) < 3.0
