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

"""A radiance field that is fitted to renderings, as a ``Field`` of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from field_helpers import Ball
from field_helpers import grid_points
from field_helpers import inside_scene
from field_helpers import iou
from field_helpers import truth
import numpy as np
import pytest
import torch

from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.radiance_occupancy import OPACITY_LENGTH
from lift3d_ros.fields.radiance_occupancy import RadianceOccupancy
from lift3d_ros.fields.rays import Rays
from lift3d_ros.fields.uncertainty import uncertainty_of_field
from lift3d_ros.fields.volume_rendering import render
from lift3d_ros.fields.volume_rendering import render_view
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.meshing.render import Raycaster

BOUND = 0.6
CAMERA = Camera.from_fov(64, 64, 40.0)
SETTINGS = RenderSettings(samples=24)


@pytest.fixture(scope='module')
def fitted() -> tuple[VoxelField, DensityGrid]:
    """Return a voxel field after 80 steps on true views of a ball and a box, and its grid."""
    field = VoxelField(VoxelFieldSettings(
        bound=BOUND, resolution=40, channels=3, color='sigmoid', log_scale=3.0))
    poses = [
        orbit_pose(azimuth + 20.0 * row, elevation, 1.8)
        for row, elevation in enumerate((-30.0, 10.0, 50.0)) for azimuth in range(0, 360, 60)
    ]
    views = [Rays.from_camera(CAMERA, pose) for pose in poses]
    rays = Rays(
        torch.cat([view.origins for view in views]),
        torch.cat([view.directions for view in views]))
    mask, color, _ = truth(rays)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(field.parameter_groups(0.1), betas=(0.9, 0.99))
    grid = DensityGrid(field, interval=0.05)
    for step in range(80):
        grid.update(field, step, generator)
        chosen = torch.randint(len(rays), (768,), generator=generator)
        found = render(
            field, rays[chosen], SETTINGS, grid, torch.ones(3), generator=generator)
        loss = (found.color - color[chosen]).square().mean()
        loss = loss + 0.5 * (found.opacity - mask[chosen].float()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return field, grid


@pytest.mark.parametrize(('azimuth', 'elevation'), [(30.0, 30.0), (200.0, -10.0)])
def test_new_views_of_a_fitted_field(fitted, azimuth, elevation):
    field, grid = fitted
    assert grid.share < 0.5
    camera = Camera.from_fov(64, 64, 40.0)
    pose = orbit_pose(azimuth, elevation, 1.8)
    mask, color, _ = truth(Rays.from_camera(camera, pose))
    found, opacity, _ = render_view(field, camera, pose, SETTINGS, grid, torch.ones(3))
    assert iou(opacity.view(-1) > 0.5, mask) > 0.93
    error = (found.view(-1, 3) - color).square().mean()
    assert -10.0 * torch.log10(error).item() > 20.0


def test_the_occupancy_of_a_fitted_field(fitted):
    field = RadianceOccupancy(fitted[0])
    points = grid_points(BOUND, 64)
    assert iou(field.occupancy(points) > 0.5, inside_scene(points)) > 0.8
    colors = field.colors(np.array([[-0.44, 0.0, 0.0], [0.36, 0.0, 0.0]]))
    np.testing.assert_allclose(colors, [[230, 51, 26], [26, 77, 204]], atol=30)


def test_occupancy_is_the_opacity_of_a_path():
    density = np.log(2.0) / OPACITY_LENGTH
    field = RadianceOccupancy(Ball(radius=0.4, density=density))
    points = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.7, 0.0, 0.0]])
    np.testing.assert_allclose(field.occupancy(points), [0.5, 0.0, 0.0], atol=1e-6)
    assert field.bounds(0.6) is None
    # To a cell of 1.2 / 64.
    np.testing.assert_allclose(field.bounds(0.4), [[-0.4] * 3, [0.4] * 3], atol=0.02)
    assert field.occupancy(np.zeros((0, 3))).shape == (0,)
    assert field.colors(np.zeros((0, 3))).shape == (0, 3)
    assert field.side == pytest.approx(1.2) and not field.centre.any()


class Shell(Ball):
    """A ball with a cavity, which may be open at the top."""

    def __init__(self, opening: float) -> None:
        super().__init__(radius=0.4, density=100.0)
        self.opening = opening

    def forward(self, points):
        density, color = super().forward(points)
        cavity = points.norm(dim=1) < 0.3
        cavity |= (points[:, 2] > 0.0) & (points[:, :2].norm(dim=1) < self.opening)
        return density * ~cavity, color


def test_enclosed_cavities_are_occupied_and_open_ones_are_not():
    points = grid_points(0.38, 30)
    points = points[np.linalg.norm(points, axis=1) < 0.38]
    closed = RadianceOccupancy(Shell(0.0)).occupancy(points)
    assert closed.min() > 0.5
    opened = RadianceOccupancy(Shell(0.15)).occupancy(points)
    inner = np.linalg.norm(points, axis=1) < 0.28
    assert opened[inner].max() < 0.5
    outside = grid_points(BOUND, 30)
    outside = outside[np.linalg.norm(outside, axis=1) > 0.43]
    assert RadianceOccupancy(Shell(0.0)).occupancy(outside).max() < 0.5


def test_bad_arguments():
    for arguments in ({'length': 0.0}, {'cells': 1}):
        with pytest.raises(ValueError):
            RadianceOccupancy(Ball(), **arguments)
    with pytest.raises(ValueError):
        RadianceOccupancy(VoxelField(VoxelFieldSettings(resolution=4)))


@dataclass
class FieldCalibration:
    """A calibration for a field whose accuracy is not measured."""

    field: RadianceOccupancy
    scale: float

    def confidence(self, mesh, observed):
        return np.where(observed, 0.9, 0.5).astype(np.float32)

    def box_uncertainty(self, mesh, observed, voxel):
        return uncertainty_of_field(self.field, self.scale, voxel)


@dataclass
class FieldMethod:
    """A method whose field is given, in the frame of an orbit camera at ``pose``."""

    field: RadianceOccupancy
    pose: np.ndarray
    completes_occluded = False
    max_concurrent = 1

    def check(self):
        pass

    load = unload = check

    def reconstruct(self, obs, rng, progress):
        canonical = canonical_frame(obs.view, 20.0)
        # The field is in canonical units already, and the images are in them, too.
        frame = type(canonical)(invert(self.pose), 1.0, canonical.elevation, True)
        return Reconstruction(
            field=self.field, canonical=frame,
            calibration=FieldCalibration(self.field, 1.0), elevation_source='gravity',
            tilt_stddev=1.0, resolution=36)

    def success_probability(self, confidence, metric):
        return None


def test_the_pipeline_lifts_with_a_radiance_field(fitted):
    """Meshing, colouring, confidence and placement take the field as that of any method."""
    camera = Camera.from_fov(120, 90, 45.0)
    pose = orbit_pose(20.0, 20.0, 1.8)
    rays = Rays.from_camera(camera, pose)
    mask, color, distance = truth(rays)
    depth = torch.where(mask, distance * rays.cosines, 3.0).view(90, 120).numpy()
    image = (255.0 * color.view(90, 120, 3)).byte().numpy()
    frame = Frame(
        image=image, camera=camera, depth=depth.astype(np.float32),
        gravity=-pose[:3, :3].T[:, 2])
    method = FieldMethod(RadianceOccupancy(fitted[0]), pose)
    shape = Lifter(method).lift(frame, LiftRequest(mask.view(90, 120).numpy(), seed=0))
    mesh = shape.mesh_in_camera()
    assert isinstance(mesh, Mesh) and mesh.is_watertight()
    assert shape.confidence.shape == (len(mesh.vertices),)
    solid = mesh.transformed(pose)
    points = grid_points(BOUND, 64)
    assert iou(Raycaster([solid]).contains(points), inside_scene(points)) > 0.8
    left = solid.vertices[:, 0] < -0.2
    reds = mesh.colors[left].astype(float).mean(axis=0)
    assert reds[0] > 2.0 * reds[2]
