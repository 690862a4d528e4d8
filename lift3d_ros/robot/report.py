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


"""The entries of a shape, its files and its body in a report."""

from __future__ import annotations

from typing import Any

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.robot.export import stability_of
from lift3d_ros.robot.export import Written
from lift3d_ros.runtime.reports import number


def shape_entries(shape: Shape, written: Written) -> dict[str, Any]:
    """Return the entries of the report for a shape, its files and its body."""
    stability = stability_of(shape, written.mass)
    return {
        'method': shape.method,
        'scale_source': shape.scale_source,
        'scale_stddev': number(shape.scale_stddev),
        'elevation_deg': number(shape.elevation),
        'elevation_source': shape.elevation_source,
        'support': shape.support,
        'confidence': number(shape.overall_confidence),
        'pass_probability': number(shape.pass_probability),
        'mask_iou': number(shape.mask_iou),
        'notes': list(shape.notes),
        'watertight': shape.mesh.is_watertight(),
        'frame': written.frame,
        'up_axis': written.up_axis,
        'pose': _numbers(shape.T_camera_object),
        'files': [path.name for path in written.files],
        'stands': stability and {
            'stable': stability.stable,
            'margin': number(stability.margin),
            'tipping_deg': number(stability.tipping_deg),
        },
        'body': _body(written),
    }


def _body(written: Written) -> dict[str, Any] | None:
    mass = written.mass
    if mass is None:
        return None
    return {
        'density': mass.density,
        'mass': float(f'{mass.mass:.6g}'),
        'center': _numbers(mass.center),
        'inertia': [[float(f'{value:.6g}') for value in row] for row in mass.inertia.tolist()],
        'inertia_source': mass.source,
        'collision_parts': len(written.parts),
        'stable_poses': [
            {'probability': round(pose.probability, 3), 'pose': _numbers(pose.T_ground_object)}
            for pose in written.poses
        ],
    }


def _numbers(values: Array) -> Any:
    return values.round(6).tolist()
