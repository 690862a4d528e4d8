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

"""The colours that views tell of a surface."""

from bench_helpers import mesh_of
from bench_helpers import sphere
import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.rasterizer import visible_points
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.meshing.vertex_colors import color_from_reference
from lift3d_ros.meshing.vertex_colors import color_from_synthesized
from lift3d_ros.methods.small_reconstructor import view_plan
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.synthetic.true_views import true_view

RED, BLUE, GREY = (200, 40, 40), (40, 40, 200), (90, 90, 90)
EVEN = Light(ambient=1.0, diffuse=0.0)


@pytest.fixture(scope='module')
def ball():
    """Return a ball of canonical size, red before and blue behind, towards +x and -x."""
    plain = sphere(0.4)
    colors = np.where(plain.vertices[:, :1] > 0.0, RED, BLUE).astype(np.uint8)
    return Mesh(plain.vertices, plain.faces, colors)


def shown(mesh, poses):
    """Return views of a mesh in canonical coordinates, one set of them."""
    caster = Raycaster([mesh])
    return np.stack([true_view(caster, np.eye(4), pose, 128, EVEN) for pose in poses])[None]


def colors_of(mesh, pictures, poses):
    guess = np.tile(np.array(GREY, np.uint8), (len(mesh.vertices), 1))
    vertices = mesh.vertices.astype(np.float64)
    return color_from_synthesized(vertices, mesh.vertex_normals(), pictures, poses, guess, 0.03)[0]


def test_views_all_around_tell_the_colours(ball):
    poses = view_plan(8)
    found = colors_of(ball, shown(ball, poses), poses).astype(int)
    # Between the two colours they mix, and no view looks straight at what faces down.
    clear = (np.abs(ball.vertices[:, 0]) > 0.08) & (ball.vertices[:, 2] > 0.0)
    assert np.abs(found - ball.colors)[clear].max() < 30


def test_what_no_view_shows_keeps_its_colour(ball):
    poses = orbit_pose(0.0, 0.0, 1.7)[None]
    found = colors_of(ball, shown(ball, poses), poses).astype(int)
    away = ball.vertices[:, 0] < 0.0
    assert (found[away] == GREY).all()
    towards = ball.vertices[:, 0] > 0.25
    assert np.abs(found - RED)[towards].max() < 30


def test_it_is_told_which_vertices_the_views_show(ball):
    poses = orbit_pose(0.0, 0.0, 1.7)[None]
    guess = np.tile(np.array(GREY, np.uint8), (len(ball.vertices), 1))
    _, told = color_from_synthesized(
        ball.vertices.astype(np.float64), ball.vertex_normals(), shown(ball, poses), poses, guess,
        0.03,
    )
    assert told[ball.vertices[:, 0] > 0.25].all()
    assert not told[ball.vertices[:, 0] < 0.0].any()


def test_a_thing_before_another_one_hides_it():
    near = trimesh.creation.icosphere(4, 0.15)
    near.apply_translation([0.45, 0.0, 0.0])
    far = trimesh.creation.icosphere(4, 0.15)
    far.apply_translation([-0.45, 0.0, 0.0])
    first, second = mesh_of(near, RED), mesh_of(far, BLUE)
    both = Mesh(
        np.concatenate([first.vertices, second.vertices]),
        np.concatenate([first.faces, second.faces + len(first.vertices)]),
        np.concatenate([first.colors, second.colors]),
    )
    poses = orbit_pose(0.0, 0.0, 1.7)[None]
    found = colors_of(both, shown(both, poses), poses)
    hidden = found[len(first.vertices):]
    assert (hidden == GREY).all()


def test_sets_of_views_count_alike(ball):
    poses = view_plan(8)
    one = shown(ball, poses)
    green = one.copy()
    green[..., :3] = (40, 200, 40)
    found = colors_of(ball, np.concatenate([one, green]), poses).astype(int)
    front = (ball.vertices[:, 0] > 0.1) & (ball.vertices[:, 2] > 0.0)
    assert np.abs(found[front] - (np.array(RED) + (40, 200, 40)) / 2.0).max() < 30


def test_a_point_behind_another_is_not_in_front():
    camera = Camera.from_fov(64, 64, 50.0)
    points = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.2], [0.4, 0.0, 1.2]])
    assert visible_points(camera, points, 2.0, 0.05).tolist() == [True, False, True]
    assert visible_points(camera, points, 2.0, 0.25).all()


def test_points_beside_and_behind_the_camera_cost_no_more_than_others():
    camera = Camera.from_fov(64, 64, 60.0)
    points = np.array([[0.0, 0.0, 1.0], [0.5, 0.5, 1e-12], [0.1, 0.0, 0.0], [0.0, 0.0, -1.0]])
    assert visible_points(camera, points, 2.0, 0.05).tolist() == [True, True, False, False]


def test_what_is_guessed_has_the_exposure_of_the_image(ball):
    camera = Camera.from_fov(128, 128, 50.0)
    ahead = ball.vertices + np.array([0.0, 0.0, 1.5], np.float32)
    v, u = np.mgrid[:128, :128]
    mask = np.hypot(u - 63.5, v - 63.5) < camera.fx * 0.4 / np.sqrt(1.5**2 - 0.4**2)
    image = np.where(mask[..., None], (100, 60, 30), 255).astype(np.uint8)
    seen = observe(crop_object(Frame(image, camera), mask))
    guess = np.tile(np.array((200, 60, 40), np.uint8), (len(ahead), 1))
    colors, _ = color_from_reference(seen, [], ahead, 0.02, guess, match_exposure=True)
    away = ahead[:, 2] > 1.6
    # Half as bright in red, as bright in green, and three quarters of it in blue.
    np.testing.assert_allclose(colors[away].astype(int), [[100, 60, 30]] * away.sum(), atol=3)
    # What the guess knows nothing of has the colour of what is around it, in the shade.
    behind = ahead[:, 2] > 1.6
    colors, _ = color_from_reference(
        seen, [], ahead, 0.02, guess, match_exposure=True, shown=~behind
    )
    deep = ahead[:, 2] > 1.75
    np.testing.assert_allclose(colors[deep].astype(int), [[70, 42, 21]] * deep.sum(), atol=4)
    nothing = np.zeros(len(ahead), bool)
    # A picture that shows nothing of the surface tells nothing.
    colors, _ = color_from_reference(
        seen, [], ahead + 9.0, 0.02, guess, match_exposure=True, shown=nothing
    )
    assert (colors == guess).all()
    colors, _ = color_from_reference(seen, [], ahead + 9.0, 0.02, guess, match_exposure=True)
    assert (colors == guess).all()
