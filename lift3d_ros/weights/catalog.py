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

"""Catalogue of the weights that this package can use, and their sources."""

from __future__ import annotations

from dataclasses import dataclass
import difflib

from lift3d_ros.errors import bad_request


@dataclass(frozen=True)
class RemoteFile:
    """
    A published file.

    ``path`` is inside ``repository`` of the Hugging Face hub; an empty path is the whole
    repository, a diffusers folder. ``sha256`` and ``size`` in bytes are None if not published with
    the file; those of the hub are used then, and the digest of the imported file is recorded.
    """

    repository: str
    path: str = ''
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Entry:
    """
    Weights with a name.

    - ``family``: of their networks: a key of ``geometry.POSE_DIMS`` for the Zero-1-to-3 family,
      else ``zero123plus``, ``stable_diffusion``, ``clip``, ``one2345`` or ``loftr``.
    - ``file_name``: the authors' file name; None for a folder.
    - ``remote``: the source of ``fetch``; None for packaged weights, and for weights that can only
      be downloaded by hand (from ``page``).
    """

    name: str
    family: str
    description: str
    licence: str
    page: str = ''
    file_name: str | None = None
    remote: RemoteFile | None = None
    size_text: str = ''
    packaged: bool = False


_ZERO123_HUB = 'cvlab/zero123-weights'
_ONE2345_HUB = 'One-2-3-45/code'

#: The sizes, the licences of the weights and the repository names of Zero123++ could not be
#: confirmed from the authors' own sources.
_ENTRIES = (
    Entry(
        name='small',
        family='small',
        description='the packaged default, trained for this package',
        licence='Apache-2.0',
        packaged=True,
    ),
    Entry(
        name='zero123-105000',
        family='zero123',
        description='Zero-1-to-3 after 105,000 steps, which its authors use',
        licence='MIT (code); weights not named',
        page=f'https://huggingface.co/{_ZERO123_HUB}',
        file_name='105000.ckpt',
        remote=RemoteFile(_ZERO123_HUB, '105000.ckpt'),
        size_text='about 15.5 GB',
    ),
    Entry(
        name='zero123-165000',
        family='zero123',
        description='Zero-1-to-3 after 165,000 steps',
        licence='MIT (code); weights not named',
        page=f'https://huggingface.co/{_ZERO123_HUB}',
        file_name='165000.ckpt',
        remote=RemoteFile(_ZERO123_HUB, '165000.ckpt'),
        size_text='about 15.5 GB',
    ),
    Entry(
        name='zero123-xl',
        family='zero123',
        description='Zero-1-to-3 trained on Objaverse-XL; what One-2-3-45 uses',
        licence='MIT (code); weights not named',
        page='https://zero123.cs.columbia.edu/assets/zero123-xl.ckpt',
        file_name='zero123-xl.ckpt',
        remote=RemoteFile(_ONE2345_HUB, 'zero123-xl.ckpt'),
        size_text='about 15.5 GB',
    ),
    Entry(
        name='stable-zero123',
        family='stable_zero123',
        description="Stability AI's Zero-1-to-3; takes the input's own elevation as well",
        licence='Stability AI, non-commercial research',
        page='https://huggingface.co/stabilityai/stable-zero123',
        file_name='stable_zero123.ckpt',
        remote=RemoteFile('stabilityai/stable-zero123', 'stable_zero123.ckpt'),
        size_text='about 8.6 GB',
    ),
    Entry(
        name='zeronvs',
        family='zeronvs',
        description='ZeroNVS: whole scenes, cameras with six degrees of freedom and a lens',
        licence='not named',
        page='https://github.com/kylesargent/ZeroNVS (a Google Drive link)',
        file_name='zeronvs.ckpt',
        size_text='some 10 GB',
    ),
    Entry(
        name='one2345',
        family='one2345',
        description='the surface networks of One-2-3-45',
        licence='Apache-2.0 (code); weights not named',
        page=f'https://huggingface.co/{_ONE2345_HUB}',
        file_name='ckpt_215000.pth',
        remote=RemoteFile(
            _ONE2345_HUB, 'SparseNeuS_demo_v1/exp/lod0/checkpoints/ckpt_215000.pth'),
        size_text='a few MB',
    ),
    Entry(
        name='loftr-indoor',
        family='loftr',
        description='LoFTR feature matches, for the elevation of One-2-3-45',
        licence='Apache-2.0 (code); weights not named',
        page='https://github.com/zju3dv/LoFTR (a Google Drive link)',
        file_name='indoor_ds_new.ckpt',
        remote=RemoteFile(_ONE2345_HUB, 'elevation_estimate/utils/weights/indoor_ds_new.ckpt'),
        size_text='about 46 MB',
    ),
    Entry(
        name='zero123plus-v1.1',
        family='zero123plus',
        description='Zero123++: six views in one picture, elevations 30 and -20 degrees',
        licence='CC-BY-NC-4.0 (weights)',
        page='https://huggingface.co/sudo-ai/zero123plus-v1.1',
        remote=RemoteFile('sudo-ai/zero123plus-v1.1'),
        size_text='about 5 GB',
    ),
    Entry(
        name='zero123plus-v1.2',
        family='zero123plus',
        description='Zero123++: six views in one picture, elevations 20 and -10 degrees',
        licence='CC-BY-NC-4.0 (weights)',
        page='https://huggingface.co/sudo-ai/zero123plus-v1.2',
        remote=RemoteFile('sudo-ai/zero123plus-v1.2'),
        size_text='about 5 GB',
    ),
    Entry(
        name='stable-diffusion-1.5',
        family='stable_diffusion',
        description='Stable Diffusion 1.5, the prior of RealFusion and NeuralLift-360',
        licence='CreativeML Open RAIL-M',
        page='https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5',
        remote=RemoteFile('stable-diffusion-v1-5/stable-diffusion-v1-5'),
        size_text='about 4.3 GB',
    ),
    Entry(
        name='clip-vit-b32-laion2b',
        family='clip',
        description='OpenCLIP ViT-B/32 of LAION-2B, the CLIP guidance of NeuralLift-360',
        licence='MIT',
        page='https://huggingface.co/laion/CLIP-ViT-B-32-laion2B-s34B-b79K',
        remote=RemoteFile('laion/CLIP-ViT-B-32-laion2B-s34B-b79K'),
        size_text='about 600 MB',
    ),
    Entry(
        name='clip-vit-l14',
        family='clip',
        description="OpenAI's CLIP ViT-L/14",
        licence='MIT (code); weights not named',
        page='https://huggingface.co/openai/clip-vit-large-patch14',
        remote=RemoteFile('openai/clip-vit-large-patch14'),
        size_text='about 1.7 GB',
    ),
)

#: Every entry by its name, in the order of ``lift3d weights list``.
CATALOG = {entry.name: entry for entry in _ENTRIES}


def entry_of(name: str) -> Entry:
    """Return the entry of that name; raises ``LiftError`` (BAD_REQUEST) if there is none."""
    if name not in CATALOG:
        near = difflib.get_close_matches(name, CATALOG, n=1)
        hint = f' Did you mean {near[0]}?' if near else ''
        raise bad_request(
            f'There are no weights named {name!r}.{hint} Known are {", ".join(CATALOG)}.')
    return CATALOG[name]
