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

"""The fills of hidden surfaces by name."""

from __future__ import annotations

from pathlib import Path

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.scene.prior.completion import Fill
from lift3d_ros.scene.prior.fill import fill_inpainted
from lift3d_ros.scene.prior.fill import fill_nearest
from lift3d_ros.scene.prior.fill import fill_planes
from lift3d_ros.scene.prior.fill import FilledView
from lift3d_ros.scene.prior.inputs import KnownView

#: No fill; planes continued without end; the nearest known pixel; OpenCV's inpainting; the small
#: prior; a radiance field of the whole scene, see ``scene.radiance``.
NO_FILL, PLANES, NEAREST, INPAINT, PRIOR, ZERONVS = (
    'none', 'planes', 'nearest', 'inpaint', 'prior', 'zeronvs')
FILLS = (NO_FILL, PLANES, NEAREST, INPAINT, PRIOR, ZERONVS)

#: Those that are chosen for what they learnt.
LEARNT_FILLS = (PRIOR, ZERONVS)


def check_fill(name: str) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for a name that is not of ``FILLS``."""
    if name not in FILLS:
        raise bad_request(f'There is no fill "{name}"; choose from {", ".join(FILLS)}.')


def prior_folder(weights: str) -> Path:
    """
    Return the folder of the small prior of scenes in ``weights``, which may not exist.

    Raises ``LiftError(WEIGHTS_MISSING)`` for weights that do not exist.
    """
    from lift3d_ros.weights import store

    return store.find(weights) / 'scene'


def check_weights(name: str, weights: str) -> None:
    """
    Check that the weights of a fill are there, before anything is lifted.

    Raises ``LiftError``: ``BAD_REQUEST``, ``WEIGHTS_MISSING`` and ``WEIGHTS_CORRUPT``.
    """
    check_fill(name)
    if name == PRIOR:
        _check_prior(weights)
    if name == ZERONVS:
        from lift3d_ros.methods.one2345_published import published_views
        from lift3d_ros.weights import store

        published = published_views(weights)
        store.check(store.find(weights if published is None else published))


def make_fill(name: str, weights: str) -> Fill | None:
    """
    Return a fill of ``FILLS``; None for ``NO_FILL``, and for ``ZERONVS``, which is of one scene.

    ``weights``, a name or a folder, hold the prior. Raises ``LiftError``: ``BAD_REQUEST``, and
    for the prior ``WEIGHTS_MISSING`` and ``WEIGHTS_CORRUPT``.
    """
    check_fill(name)
    if name != PRIOR:
        return {NO_FILL: None, ZERONVS: None, PLANES: fill_planes, NEAREST: fill_nearest,
                INPAINT: fill_inpainted}[name]
    # torch is slow to import, and the other fills do without it.
    from lift3d_ros.networks.small.scene_denoiser import read_scene_denoiser
    from lift3d_ros.scene.prior.network import fill_view

    network = read_scene_denoiser(_check_prior(weights))

    def fill(view: KnownView, scale: float) -> FilledView:
        return fill_view(network, view, scale)

    return fill


def _check_prior(weights: str) -> Path:
    folder = prior_folder(weights)
    if not folder.is_dir():
        raise LiftError(
            ErrorCode.WEIGHTS_MISSING,
            f'{folder} does not exist: the weights "{weights}" have no prior of scenes. Train one '
            'with `lift3d train scene` and name its weights, or choose another fill.')
    return folder
