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
The presets ``faithful`` and ``gpu``: a field distilled from the published prior of scenes.

The constants are those of ZeroNVS's ``configs/zero123_scene.yaml`` with ``launch_inference.sh``,
whose unit of length is the distance of the input camera, as that of ``SceneFrame``. ``gpu`` adds
SDS anchoring (Sargent et al., 2024, section 4.3) and the measured depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
import torch

from lift3d_ros.diffusion.models import PublishedModel
from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.distill import cameras
from lift3d_ros.distill import schedules
from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.guidance.anchored import Anchor
from lift3d_ros.distill.guidance.anchored import AnchoredGuidance
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.priors.posed import PosedPrior
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.errors import bad_request
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.grid_levels import ZERONVS_PROPOSAL_GRID
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import ZERONVS_FIELD
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import family_pose
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.methods.distilled.zeronvs_presets import ANCHOR_SCALE
from lift3d_ros.methods.distilled.zeronvs_presets import ANCHOR_STEPS
from lift3d_ros.methods.distilled.zeronvs_presets import GROWTH
from lift3d_ros.methods.distilled.zeronvs_presets import GUIDANCE_SCALE
from lift3d_ros.progress import Progress
from lift3d_ros.scene.parts import measured_depth
from lift3d_ros.scene.prior.inputs import scene_scale
from lift3d_ros.scene.radiance.rays import KnownRays
from lift3d_ros.scene.radiance.scene_field import SceneFrame
from lift3d_ros.scene.radiance.task import RegressionSettings
from lift3d_ros.weights.loading import load_zero123

#: The family of weights that know scenes.
FAMILY = 'zeronvs'

RENDER = RenderSettings(
    samples=64, importance=64, near=0.5, far=1000.0, spacing='disparity', normals='difference')

LOOP = LoopSettings(4000, optimizer=OptimizerSettings('adam', 5e-3, betas=(0.9, 0.99)))

#: Pixels of the input picture, and of the random views, whose number grows at a step.
REFERENCE_PIXELS, VIEWS, VIEW_PIXELS, GROWN = 128, 6, 128, ((2000, 256, 1),)

#: Losses of the released configuration.
WEIGHTS = {
    'guidance': 0.1, 'rgb': 1500.0, 'normal_jitter': 8.0, 'orientation': 5.0, 'interlevel': 1.0}

#: Losses of known rays that ``gpu`` adds, and those of anchor pictures, which have no depth.
KNOWN = RegressionSettings({
    'color': 500.0, 'surface': 50.0, 'empty': 50.0, 'interlevel': 1.0}, rays=2048)

#: Pixels of an anchor picture that are known rays.
ANCHOR_PIXELS = 64


class ScenePrior:
    """A loaded model of the family and the picture of one scene."""

    def __init__(
        self, weights: str, device: str, frame: Frame, scene: SceneFrame
    ) -> None:
        """
        Load the model and encode the picture, the largest square in the middle of the frame.

        Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, and ``BAD_REQUEST`` for
        weights of another family.
        """
        dtype = torch.float16 if device == 'cuda' else torch.float32
        components = load_zero123(weights, dtype=dtype, device=device)
        if components.family != FAMILY:
            raise bad_request(
                f'The weights {weights} are of the family {components.family}, which knows no '
                f'scenes; give those of {FAMILY}.')
        self._denoiser: Zero123 = PublishedModel(components, device, dtype, None).denoiser
        size = int(components.unet.config.sample_size) * 8
        self.picture, self.camera = square_picture(frame, size)
        self._own = scene.T_canonical_camera
        self._scale = scene_scale(measured_depth(frame)) / scene.metres
        self._scene = scene
        self.prior = self._posed(_signed(self.picture), self._own)

    @property
    def fov(self) -> float:
        """The field of view of the picture, degrees."""
        return float(np.degrees(2.0 * np.arctan(0.5 * self.camera.width / self.camera.fx)))

    def anchors(
        self, T_camera_eyes: Sequence[Array], seed: int, progress: Progress
    ) -> tuple[list[Anchor], NDArray[np.uint8]]:
        """
        Return pictures of the scene at poses (4, 4), synthesised once (DDIM).

        They are anchors of the guidance, and images (n, h, h, 3).
        """
        poses = np.stack([self._scene.pose(pose) for pose in T_camera_eyes])
        vectors = family_pose(FAMILY, poses, self._own, self.fov, self._scale)
        sampler = SamplerSettings(
            'ddim', steps=ANCHOR_STEPS, eta=1.0, guidance_scale=ANCHOR_SCALE)
        pictures = self._denoiser.synthesize(
            _signed(self.picture), vectors, sampler, seed=seed, progress=progress)
        made = [
            Anchor(self._posed(picture, pose), torch.from_numpy(pose))
            for picture, pose in zip(pictures, poses, strict=True)]
        images = ((pictures + 1.0) * 127.5).round().clamp(0.0, 255.0).to(torch.uint8)
        return made, np.asarray(images.permute(0, 2, 3, 1).numpy())

    def reference(self, device: str) -> ReferenceView:
        """Return the picture as the input view of a distillation."""
        small = cv2.resize(
            self.picture, (REFERENCE_PIXELS, REFERENCE_PIXELS), interpolation=cv2.INTER_AREA)
        rgba = np.dstack([small.astype(np.float32) / 255.0, np.ones(small.shape[:2], np.float32)])
        return ReferenceView.from_image(rgba, self._cameras(), device=device)

    def guidance(self, anchors: Sequence[Anchor]) -> AnchoredGuidance:
        """Return SDS with the published schedules, conditioned on picture and anchors."""
        return AnchoredGuidance(
            self.prior, GuidanceSettings('sds', timesteps=schedules.ZERONVS, delay=1000.0),
            anchors=tuple(anchors), input_pose=torch.from_numpy(self._own))

    def settings(self) -> DistillationSettings:
        """Return losses, random cameras and rendering of the released configuration."""
        elevation = float(self._cameras().elevation[0])
        # The model is trained with one lens for input and view.
        sampler = replace(
            cameras.ZERONVS, fov=(self.fov, self.fov), start_elevation=elevation)
        return DistillationSettings(
            WEIGHTS, sampler, VIEWS, VIEW_PIXELS, RENDER, background='random', growth=GROWN)

    def _posed(self, picture: torch.Tensor, pose: Array) -> PosedPrior:
        return PosedPrior(
            self._denoiser, picture, pose, GUIDANCE_SCALE, scene_scale=self._scale, fov=self.fov)

    def _cameras(self) -> Cameras:
        x, y, z = self._own[:3, 3]
        return Cameras(
            torch.from_numpy(self._own)[None], torch.tensor([self.fov], dtype=torch.float64),
            *(torch.tensor([value], dtype=torch.float64) for value in (
                np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y))),
                np.linalg.norm(self._own[:3, 3]))))


def published_fields(seed: int) -> tuple[EncodedField, EncodedField]:
    """Return the published field and proposal field with their initial values."""
    field = EncodedField(HashGridSettings(growth=GROWTH), ZERONVS_FIELD, seed)
    proposal = EncodedField(
        ZERONVS_PROPOSAL_GRID, replace(ZERONVS_FIELD, hidden=1, width=64), seed + 1)
    return field, proposal


def distillation(
    prior: ScenePrior, field: EncodedField, proposal: EncodedField, anchors: Sequence[Anchor],
    device: str, rendering: RenderSettings,
) -> Distillation:
    """Return the distillation of a scene's field."""
    return Distillation(
        field, prior.reference(device), replace(prior.settings(), render=rendering),
        prior.guidance(anchors), proposal=proposal)


def picture_rays(
    images: NDArray[np.uint8], camera: Camera, T_camera_eyes: Sequence[Array], scene: SceneFrame
) -> KnownRays:
    """Return the rays of anchor pictures (n, h, h, 3), whose distances are unknown."""
    fov = float(np.degrees(2.0 * np.arctan(0.5 * camera.width / camera.fx)))
    eye = Camera.from_fov(ANCHOR_PIXELS, ANCHOR_PIXELS, fov)
    size = (ANCHOR_PIXELS, ANCHOR_PIXELS)
    nothing = np.zeros(size, np.float32)
    return KnownRays.joined([
        KnownRays.of_view(
            cv2.resize(image, size, interpolation=cv2.INTER_AREA), nothing, eye, pose, scene,
            np.ones(size))
        for image, pose in zip(images, T_camera_eyes, strict=True)])


def square_picture(frame: Frame, size: int) -> tuple[NDArray[np.uint8], Camera]:
    """
    Return the largest square around the optical axis that a frame shows, and its camera.

    The picture is uint8 RGB (size, size, 3).
    """
    camera = frame.camera
    half = min(
        (camera.cx + 0.5) / camera.fx, (camera.width - 0.5 - camera.cx) / camera.fx,
        (camera.cy + 0.5) / camera.fy, (camera.height - 0.5 - camera.cy) / camera.fy)
    square = Camera.from_fov(size, size, float(np.degrees(2.0 * np.arctan(half))))
    rays = square.rays()
    u = (rays[..., 0] * camera.fx + camera.cx).astype(np.float32)
    v = (rays[..., 1] * camera.fy + camera.cy).astype(np.float32)
    picture = cv2.remap(
        frame.image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(picture, np.uint8), square


def _signed(picture: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1.0)
