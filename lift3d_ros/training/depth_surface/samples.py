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
Samples of the surface network with depth: what the trunk reads, and true occupancy at points.

A frame goes through the observation of the pipeline (``observe``), so that masks, depths and the
vertical have the errors of inference. The coarse volume is frozen and kept in the sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from lift3d_ros.diffusion.models import SmallModel
from lift3d_ros.diffusion.small import tensors
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.networks.small.coarse_inputs import coarse_inputs
from lift3d_ros.networks.small.depth_surface import DepthInputs
from lift3d_ros.networks.small.depth_surface import DepthSurfaceNet
from lift3d_ros.networks.small.depth_surface import view_evidence
from lift3d_ros.networks.small.surface_network import Box
from lift3d_ros.networks.small.surface_network import object_box
from lift3d_ros.observation.cleaning import with_occluder_depth
from lift3d_ros.observation.observed_object import observe
from lift3d_ros.observation.request import LiftRequest
from lift3d_ros.observation.support import with_plane_below
from lift3d_ros.synthetic.real_like import make_real_like_scene
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.synthetic.true_views import object_from_canonical
from lift3d_ros.training.augmentation import varied
from lift3d_ros.training.depth_surface.objects import draw_mesh
from lift3d_ros.training.depth_surface.objects import load_training_mesh
from lift3d_ros.training.depth_surface.objects import TrainingObjects
from lift3d_ros.training.depth_surface.targets import true_points

#: Numbers of a sample that are kept in eight bits: those in [-1, 1], times this.
_EIGHT_BITS = 127.0

#: The axis of y of an array of a sample, which a mirrored sample has flipped.
_MIRROR_AXES = {'fine': 2, 'view': 2, 'coarse': 2, 'symmetry': 2}


@dataclass(frozen=True)
class DepthSampleSettings:
    """
    Ranges of the random parameters of samples; shares are between 0 and 1.

    - ``scans``, ``models``, ``thin``: shares of scans, of modelled objects and of
      ``procedural.thin``; the others are of ``procedural_object``.
    - ``real_like``: share of frames of ``make_real_like_scene``; the others are table scenes.
    - ``gravity``: share of table scenes whose gravity is known; for the others it is that of the
      support, or has an error of ``elevation_error`` degrees where that is not found.
    - ``noisy_masks``: share of masks of a detector; ``occluded``: share of occluded objects.
    - ``varied``: share of objects that are augmented (``augmentation.varied``).
    """

    scans: float = 0.3
    models: float = 0.35
    thin: float = 0.15
    real_like: float = 0.12
    gravity: float = 0.7
    elevation_error: float = 6.0
    noisy_masks: float = 0.3
    occluded: float = 0.1
    varied: float = 0.7


#: The settings of the split ``dev``: as scenes of the benchmark.
DEV_SAMPLES = DepthSampleSettings(
    real_like=0.0, gravity=1.0, noisy_masks=0.0, occluded=0.0, varied=0.0)


class SampleMaker:
    """Makes samples with the networks of a folder of small weights."""

    def __init__(self, weights: Path, network: DepthSurfaceNet, objects: TrainingObjects) -> None:
        """Load the coarse network; ``network`` has the frozen encoder of views."""
        self._model = SmallModel(weights, 'cpu', None)
        self._network = network.eval()
        self._objects = objects

    def make(self, number: int, settings: DepthSampleSettings) -> dict[str, NDArray[Any]]:
        """Return the arrays of the sample of that number."""
        rng = np.random.default_rng([number, 0xD5F])
        while True:
            try:
                mesh = draw_mesh(
                    self._objects, settings.scans, settings.models, settings.thin, rng)
                if rng.random() < settings.varied:
                    mesh = varied(mesh, rng)
                return self._sample(mesh, settings, rng)
            except (LiftError, ValueError):
                # An object that is hardly visible, or an occluder without space: draw again.
                continue

    def make_dev(self, number: int) -> dict[str, NDArray[Any]]:
        """
        Return the sample of that number of the split ``dev``, an object each in turn.

        Few objects have no such split: then the objects of training are its objects.
        """
        rng = np.random.default_rng([number, 0xDE7])
        dev = self._objects.dev or (*self._objects.scans, *self._objects.models)
        while True:
            try:
                entry = dev[number % len(dev)]
                return self._sample(load_training_mesh(entry, rng), DEV_SAMPLES, rng)
            except (LiftError, ValueError):
                number += 1

    def _sample(
        self, mesh: Mesh, settings: DepthSampleSettings, rng: np.random.Generator
    ) -> dict[str, NDArray[Any]]:
        scene, mask = self._scene(mesh, settings, rng)
        frame = scene.frame
        if rng.random() >= settings.gravity:
            frame = replace(frame, gravity=None)
        view = crop_object(frame, mask)
        true_elevation = crop_object(_with_gravity(scene), mask).elevation()
        assert true_elevation is not None, 'gravity is given'
        obs = observe(view, LiftRequest(mask), rng)
        elevation = obs.view.elevation()
        known = obs.support.source != 'assumed' and elevation is not None
        if not known or elevation is None:
            error = rng.normal(0.0, settings.elevation_error)
            elevation = true_elevation + float(np.clip(error, -20.0, 20.0))
        canonical = canonical_frame(obs.view, elevation)
        seen = with_occluder_depth(obs.view, obs.observation)
        seen = with_plane_below(seen, obs.observation, obs.support)
        if not canonical.metric:
            raise ValueError('there is no depth on the object')
        inputs = tensors(coarse_inputs(seen, canonical, known), 'cpu')
        volume = self._model.coarse_volume(inputs)
        box = object_box(volume.density)
        read = self._network.observe(inputs, volume, box)
        middle = 0.5 * (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)).astype(np.float64)
        T = object_from_canonical(canonical, scene.T_camera_object, middle)
        centre, side = box.centre[0].numpy().astype(np.float64), float(box.side[0])
        truth = true_points(
            scene.mesh, Raycaster([scene.mesh]), T, centre - 0.5 * side, centre + 0.5 * side, rng)
        points = torch.from_numpy(truth.points)[None]
        evidence = view_evidence(inputs, points)[0].T
        return {
            'fine': read.fine[0, :1].half().numpy(),
            'view': _packed(read.fine[0, 1:]),
            'coarse': read.coarse[0].half().numpy(),
            'symmetry': _packed(read.symmetry[0]),
            'flags': inputs['flags'][0].numpy(),
            'centre': box.centre[0].numpy(),
            'side': np.array(side, np.float32),
            'points': truth.points.astype(np.float16),
            'distance': truth.distance.astype(np.float16),
            'evidence': _packed(evidence),
            'thickness': np.array(_thickness(scene.mesh), np.float32),
        }

    def _scene(
        self, mesh: Mesh, settings: DepthSampleSettings, rng: np.random.Generator
    ) -> tuple[TableScene, NDArray[np.bool_]]:
        seed = int(rng.integers(2**31))
        if rng.random() < settings.real_like:
            others = [
                draw_mesh(self._objects, 0.5, 0.2, 0.0, rng) for _ in range(int(rng.integers(3)))]
            scene: TableScene = make_real_like_scene(mesh, seed, others)
            return scene, scene.detection
        occluder = None
        if rng.random() < settings.occluded:
            occluder = draw_mesh(self._objects, 0.5, 0.2, 0.0, rng)
        width = int(rng.choice([320, 400, 480, 640]))
        focal = float(width * rng.uniform(0.6, 1.0))
        table = TableSettings(
            elevation=(8.0, 72.0), fill=(0.2, 0.65), window=1.7, table_cells=10,
            camera=Camera(
                width, int(0.75 * width), focal, focal, width / 2.0, 0.375 * width))
        scene = make_scene(mesh, seed, table, occluder)
        noisy = rng.random() < settings.noisy_masks
        return scene, scene.detection if noisy else scene.mask


def _with_gravity(scene: TableScene) -> Any:
    """Return the frame of a scene with its true gravity."""
    situation = getattr(scene, 'situation', None)
    gravity = scene.frame.gravity if situation is None else situation.gravity
    return replace(scene.frame, gravity=gravity)


def _thickness(mesh: Mesh) -> float:
    """Return twice the volume over the surface, over the longest side: that of a plate."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = 0.5 * np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    longest = float(np.ptp(mesh.vertices, axis=0).max())
    return 2.0 * mesh.volume() / max(float(area), 1e-12) / longest


def _packed(values: Tensor) -> NDArray[np.int8]:
    return np.asarray((values.clamp(-1.0, 1.0) * _EIGHT_BITS).round().to(torch.int8).numpy())


def mirrored_sample(sample: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a sample with y negated."""
    result = dict(sample)
    for name, axis in _MIRROR_AXES.items():
        result[name] = np.ascontiguousarray(np.flip(sample[name], axis))
    sign = np.array([1.0, -1.0, 1.0], np.float32)
    result['points'] = sample['points'] * sign.astype(np.float16)
    result['centre'] = sample['centre'] * sign
    return result


def depth_inputs(batch: Mapping[str, Tensor]) -> DepthInputs:
    """Return what the trunk reads, from a batch of samples."""
    view = batch['view'].float() / _EIGHT_BITS
    return DepthInputs(
        torch.cat([batch['fine'].float(), view], dim=1), batch['coarse'].float(),
        batch['symmetry'].float() / _EIGHT_BITS, Box(batch['centre'], batch['side']),
        batch['flags'],
    )


def point_evidence(batch: Mapping[str, Tensor], chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """
    Return points in the cube of ``EXTENT``, their evidence and distances (b, m).

    ``chosen`` (m,) are indices of the points of each sample.
    """
    box = Box(batch['centre'], batch['side'])
    unit = box.from_canonical(batch['points'][:, chosen].float())
    evidence = batch['evidence'][:, chosen].float().transpose(1, 2) / _EIGHT_BITS
    return unit, evidence, batch['distance'][:, chosen].float()


def write_sample(path: Path, sample: Mapping[str, NDArray[Any]]) -> None:
    """Write a sample, atomically; uncompressed, for it is read several times."""
    partial = path.with_name(f'.{os.getpid()}_{path.name}')
    np.savez(partial, **sample)  # type: ignore[arg-type]
    partial.replace(path)


def read_sample(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a sample."""
    with np.load(path, allow_pickle=False) as pack:
        return {name: pack[name] for name in pack.files}
