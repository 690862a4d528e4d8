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

"""Surfaces in front of a depth camera, and where it loses readings on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.meshing.render import Rendering
from lift3d_ros.synthetic.sensors.noise import blobs

#: Exponent of the specular lobe of a surface of gloss 1 (Phong): half its height at 12 degrees.
_LOBE_EXPONENT = 32.0


@dataclass(frozen=True)
class Material:
    """
    Properties of one object in the infrared.

    - ``gloss``: strength of its specular lobe, 0 to 1.
    - ``infrared_contrast``: how much of its visible darkness it keeps in the infrared, 0 to 1;
      many dyes are transparent there, carbon black is not.
    """

    gloss: float = 0.1
    infrared_contrast: float = 0.7


@dataclass(frozen=True, eq=False)
class Surfaces:
    """
    The scene in the pixels of a depth camera, each array float32 (height, width).

    - ``depth``: metres along z, 0 where there is no surface.
    - ``normals``: (height, width, 3), unit, in the optical frame, towards the camera.
    - ``facing``: cosine between the normal and the direction to the camera.
    - ``reflectance``: diffuse, in the infrared, 0 to 1.
    - ``highlight``: strength of the specular reflection of a light beside the camera, 0 to 1.
    """

    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    facing: NDArray[np.float32]
    reflectance: NDArray[np.float32]
    highlight: NDArray[np.float32]

    @classmethod
    def of(
        cls, picture: Rendering, camera: Camera, materials: Sequence[Material]
    ) -> Surfaces:
        """
        Return the surfaces of a rendering under ambient light only.

        ``materials`` are those of its meshes.
        """
        rays = camera.rays().astype(np.float32)
        rays /= np.sqrt(np.einsum('ijk,ijk->ij', rays, rays))[..., None]
        facing = np.maximum(-np.einsum('ijk,ijk->ij', picture.normals, rays), np.float32(0.0))
        # The last entry serves the pixels without a mesh, whose index is -1.
        gloss = np.array([m.gloss for m in materials] + [0.0], np.float32)[picture.instance]
        contrast = np.array([m.infrared_contrast for m in materials] + [1.0], np.float32)
        visible = picture.image.mean(axis=2, dtype=np.float32) / np.float32(255.0)
        reflectance = np.float32(1.0) - (np.float32(1.0) - visible) * contrast[picture.instance]
        # The light comes from the camera: the mirror direction is at twice the angle.
        mirror = np.maximum(np.float32(2.0) * facing**2 - np.float32(1.0), np.float32(0.0))
        highlight = gloss * mirror ** np.float32(_LOBE_EXPONENT)
        return cls(
            picture.depth,
            picture.normals,
            facing,
            np.clip(reflectance, np.float32(0.01), np.float32(1.0)),
            highlight.astype(np.float32),
        )

    def disparity(self, gain: float) -> NDArray[np.float32]:
        """
        Return the disparity of a second eye, float32 pixels, 0 where there is no surface.

        ``gain``: focal length in pixels times the distance of the eyes in metres.
        """
        inverse = np.float32(gain) / np.maximum(self.depth, 1e-3)
        return np.where(self.depth > 0.0, inverse, 0.0).astype(np.float32)


@dataclass(frozen=True)
class Dropout:
    """
    Where a sensor has no reading although there is surface.

    - ``everywhere``: share of all pixels.
    - ``dark``: largest share on surface without reflectance; ``dark_below``: reflectance at which
      it begins.
    - ``grazing``: largest share on surface seen edge-on; ``grazing_below``: cosine between normal
      and ray at which it begins.
    - ``highlight``: largest share in a specular reflection of the projector.
    - ``size_px``: correlation length of the holes.
    """

    everywhere: float = 0.003
    dark: float = 0.6
    dark_below: float = 0.12
    grazing: float = 0.8
    grazing_below: float = 0.3
    highlight: float = 0.9
    size_px: float = 4.0

    def holes(self, surfaces: Surfaces, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return the pixels without a reading, bool (height, width)."""
        dark = self.dark * np.clip(1.0 - surfaces.reflectance / self.dark_below, 0.0, 1.0)
        grazing = self.grazing * np.clip(1.0 - surfaces.facing / self.grazing_below, 0.0, 1.0)
        bright = self.highlight * np.clip(2.0 * surfaces.highlight, 0.0, 1.0)
        kept = (1.0 - self.everywhere) * (1.0 - dark) * (1.0 - grazing) * (1.0 - bright)
        return blobs(kept.shape, (1.0 - kept).astype(np.float32), self.size_px, rng)


def to_readings(
    depth: NDArray[np.float32], step_m: float, range_m: tuple[float, float]
) -> NDArray[np.float32]:
    """Return depth in whole steps, metres; what is out of range becomes 0."""
    steps = np.rint(depth / np.float32(step_m)).astype(np.float64)
    # In float64, so that 0.4 m in steps of 1 mm is the float32 next to 0.4.
    readings = (steps * step_m).astype(np.float32)
    inside = np.isfinite(readings) & (readings >= range_m[0]) & (readings <= range_m[1])
    return np.where(inside, readings, np.float32(0.0))
