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
Recognise files of weights by their content, and read them without executing anything.

Only ``unpickling`` reads pickles; it makes tensors, containers and numbers and refuses everything
else. Tensors are mapped from the file, not copied, except for files of torch before 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from enum import Enum
from pathlib import Path
import re
from typing import Any

from torch import Tensor

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import weights_corrupt
from lift3d_ros.errors import weights_missing
from lift3d_ros.geometry import POSE_DIMS
from lift3d_ros.runtime.files import open_regular
from lift3d_ros.weights.formats.safetensors_files import read_safetensors
from lift3d_ros.weights.formats.torch_files import read_legacy
from lift3d_ros.weights.formats.torch_files import read_zip
from lift3d_ros.weights.formats.unpickling import Placeholder
from lift3d_ros.weights.formats.unpickling import Unusable
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.integrity import corrupt_on_error
from lift3d_ros.weights.integrity import printable
from lift3d_ros.weights.integrity import read_settings
from lift3d_ros.weights.tensors import tensor_error

Tensors = Mapping[str, Tensor]


class Kind(str, Enum):
    """The forms in which weights are published."""

    LDM = 'the original checkpoint of the Zero-1-to-3 family'
    STABLE_DIFFUSION = 'the original checkpoint of Stable Diffusion 1'
    STABLE_DIFFUSION_FOLDER = 'a diffusers folder of Stable Diffusion'
    CLIP = 'a transformers folder of CLIP'
    LAYOUT_A = 'a diffusers folder with cc_projection/'
    LAYOUT_B = 'a diffusers folder with clip_camera_projection/'
    ONE2345 = 'the networks of One-2-3-45'
    LOFTR = 'the network of LoFTR'
    ZERO123PLUS = 'the diffusers folder of Zero123++'


@dataclass(frozen=True)
class Checkpoint:
    """
    The content of a file or folder of weights.

    - ``parts``: tensors by name, by network. Those of an LDM file are all under ``ldm``; for a
      diffusers folder the keys are the names of its sub-folders.
    - ``configs``: the config.json of each sub-folder of a diffusers folder.
    - ``files``: the files that ``parts`` were read from.
    - ``family``: according to the content; ``zero123`` includes Stable-Zero123, which has the
      same names and shapes.
    """

    path: Path
    kind: Kind
    family: str
    parts: Mapping[str, Tensors]
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


#: The networks of One-2-3-45, as in its checkpoint.
ONE2345_NETWORKS = (
    'sdf_network_lod0', 'rendering_network_lod0', 'variance_network_lod0',
    'pyramid_feature_network',
)

#: What the text encoder of Stable Diffusion 1 begins with in its original checkpoint.
TEXT_ENCODER = 'cond_stage_model.transformer.text_model.'

_POSE_FOLDERS = {'cc_projection': Kind.LAYOUT_A, 'clip_camera_projection': Kind.LAYOUT_B}

_LEGACY_TORCH = b'\x80'


def read(path: Path, *, ema: bool = True) -> Checkpoint:
    """
    Recognise a file or folder by its content, and read it.

    ``ema`` chooses between the variants of a diffusers folder that has both. Raises ``LiftError``
    (WEIGHTS_CORRUPT) for a file that is cut short, contains no weights or foreign objects, or is
    of an unknown family; (WEIGHTS_MISSING) if there is none.
    """
    try:
        with corrupt_on_error(path):
            if path.is_dir():
                checkpoint = _read_folder(path, ema)
            elif not path.exists():
                raise weights_missing(f'There is no file or folder {printable(str(path))}.')
            else:
                checkpoint = _recognise(path, read_tensors(path))
        return checkpoint
    except OSError as error:
        raise weights_missing(f'{path} cannot be read: {error.strerror or error}.') from error


def read_tensors(path: Path) -> dict[str, Any]:
    """
    Return the content of a weights file: tensors by name, in an LDM file one level down.

    The first bytes determine the format, not the file name. Raises ``LiftError``.
    """
    with open_regular(path, ErrorCode.WEIGHTS_CORRUPT) as file:
        start = file.read(512)
    if start[:4] == b'PK\x03\x04':
        return _dictionary(path, read_zip(path))
    # Before the pickle: the length of a header can begin with any byte.
    if start[8:9] == b'{':
        return read_safetensors(path)
    if start[:1] == _LEGACY_TORCH:
        return _dictionary(path, read_legacy(path))
    if not start:
        corrupt(path, 'is empty')
    if start.startswith(b'version https://git-lfs'):
        corrupt(
            path, 'is only the pointer that git keeps in place of a large file; run `git lfs '
            'pull` where it comes from')
    if re.match(rb'\s*<(!doctype|html|\?xml)', start, re.IGNORECASE):
        corrupt(
            path, 'is a web page, most often one that a download link leads to; open it in a '
            'browser to see what it wants')
    if start[:2] == b'PK':
        corrupt(path, 'is a zip archive without a first record, so not of torch')
    corrupt(path, 'is neither a file of torch nor of safetensors')


def has_checksums(path: Path) -> bool:
    """Return whether the format of a weights file has checksums: archives do."""
    with open_regular(path, ErrorCode.WEIGHTS_CORRUPT) as file:
        return file.read(4) == b'PK\x03\x04'


def _dictionary(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        corrupt(path, f'holds a {type(content).__name__} and not tensors by name')
    return content


def _recognise(path: Path, content: dict[str, Any]) -> Checkpoint:
    if all(isinstance(content.get(name), Mapping) for name in ONE2345_NETWORKS):
        networks = {name: _only_tensors(path, content[name]) for name in ONE2345_NETWORKS}
        return Checkpoint(path, Kind.ONE2345, 'one2345', networks, files=[path])
    inner = content.get('state_dict', content)
    if not isinstance(inner, Mapping):
        corrupt(path, f'has a state_dict that is a {type(inner).__name__}')
    tensors = _only_tensors(path, inner)
    names = tensors.keys()

    def any_begins(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in names)

    if all(any_begins(f'{network}.') for network in ONE2345_NETWORKS):
        split = {network: {name.removeprefix(f'{network}.'): value
                           for name, value in tensors.items() if name.startswith(f'{network}.')}
                 for network in ONE2345_NETWORKS}
        return Checkpoint(path, Kind.ONE2345, 'one2345', split, files=[path])
    if any_begins('model.diffusion_model.', 'model_ema.diffusion_model'):
        if 'cc_projection.weight' not in tensors and any_begins(TEXT_ENCODER):
            return Checkpoint(
                path, Kind.STABLE_DIFFUSION, 'stable_diffusion', {'ldm': tensors}, files=[path])
        family = _family_of_ldm(path, tensors)
        return Checkpoint(path, Kind.LDM, family, {'ldm': tensors}, files=[path])
    # Lightning stores the matcher inside its training module.
    bare = {name.removeprefix('matcher.'): value for name, value in tensors.items()}
    if any(name.startswith('loftr_coarse.') for name in bare):
        return Checkpoint(path, Kind.LOFTR, 'loftr', {'loftr': bare}, files=[path])
    sample = ', '.join(list(names)[:3]) or 'none'
    corrupt(
        path, 'holds weights that this package does not know: neither of the Zero-1-to-3 family '
        f'nor of One-2-3-45 or LoFTR. Its first names are: {sample}. A single part of a diffusers '
        'folder is not enough; give the folder')


def _family_of_ldm(path: Path, tensors: Tensors) -> str:
    first = tensors.get('model.diffusion_model.input_blocks.0.0.weight')
    if 'cc_projection.weight' not in tensors:
        channels = ''
        if first is not None and first.ndim == 4:
            channels = f', and its UNet takes {first.shape[1]} channels'
        corrupt(
            path, 'is a latent diffusion checkpoint of another family: it has no '
            f'cc_projection.weight{channels}, nor the text encoder of Stable Diffusion 1; the '
            'checkpoints that this package reads are in `lift3d weights list`')
    return _family_of_projection(path, 'cc_projection.weight', tensors['cc_projection.weight'])


def _family_of_projection(path: Path, name: str, weight: Tensor) -> str:
    """Distinguish Zero-1-to-3 and ZeroNVS by the length of their pose vectors."""
    if weight.ndim != 2:
        corrupt(path, f'{name} has the shape {list(weight.shape)} and should be a matrix')
    numbers = weight.shape[1] - weight.shape[0]
    for family in ('zero123', 'zeronvs'):
        if POSE_DIMS[family] == numbers:
            return family
    corrupt(
        path, f'is of another family: {name} has the shape {list(weight.shape)}, so its poses '
        f'have {numbers} numbers. Those of Zero-1-to-3 have 4 ([768, 772]) and those of ZeroNVS '
        '19 ([768, 787])')


def _only_tensors(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    tensors = {}
    for name, value in content.items():
        if isinstance(value, Unusable):
            corrupt(path, f'{str(name)[:200]} is {value.what}, which is not supported')
        if not isinstance(name, str) or not isinstance(value, Tensor):
            if isinstance(
                    value, Mapping | list | tuple | set | str | int | float | None | Placeholder):
                continue
            corrupt(path, f'{str(name)[:200]} is a {type(value).__name__}, not a tensor')
        fault = tensor_error(value)
        if fault:
            corrupt(path, f'{name[:200]} {fault}')
        tensors[name] = value
    if not tensors:
        corrupt(path, f'holds no tensors by name; its entries are {list(content)[:5]}')
    return tensors


def _read_folder(folder: Path, ema: bool) -> Checkpoint:
    single = folder / 'model.safetensors'
    config = folder / 'config.json'
    if config.is_file() and str(read_settings(config).get('model_type', '')).startswith('clip'):
        return _read_clip(folder)
    if single.is_file():
        return _recognise(single, read_tensors(single))
    poses = [name for name in _POSE_FOLDERS if (folder / name).is_dir()]
    if poses:
        kind = _POSE_FOLDERS[poses[0]]
        wanted = ['unet', 'vae', 'image_encoder', poses[0]]
    elif (folder / 'unet').is_dir() and (folder / 'vision_encoder').is_dir():
        kind = Kind.ZERO123PLUS
        wanted = ['unet', 'vae', 'text_encoder', 'vision_encoder']
    elif (folder / 'unet').is_dir() and (folder / 'text_encoder').is_dir() and not (
            folder / 'text_encoder_2').exists():
        kind = Kind.STABLE_DIFFUSION_FOLDER
        wanted = ['unet', 'vae', 'text_encoder']
    elif (folder / 'unet').is_dir():
        corrupt(
            folder, 'is a diffusers folder of another family: it has neither cc_projection/ nor '
            'clip_camera_projection/ nor vision_encoder/ nor a single text_encoder/')
    else:
        corrupt(folder, 'is no folder of weights: it has neither model.safetensors nor unet/')
    parts: dict[str, Tensors] = {}
    configs, files = {}, []
    for name in wanted:
        configs[name] = _read_config(folder / name / 'config.json', name in poses)
        file = weights_file(folder / name, ema=ema)
        parts[name] = _only_tensors(file, read_tensors(file))
        files.append(file)
    if (folder / 'scheduler').is_dir():
        configs['scheduler'] = _read_config(folder / 'scheduler' / 'scheduler_config.json', True)
    family = 'zero123plus' if kind is Kind.ZERO123PLUS else 'stable_diffusion'
    if poses:
        family = _family_of_folder(folder, poses[0], parts[poses[0]])
    return Checkpoint(folder, kind, family, parts, configs, files)


def _read_clip(folder: Path) -> Checkpoint:
    file = weights_file(folder, ema=False)
    tensors = _only_tensors(file, read_tensors(file))
    settings = _read_config(folder / 'config.json', False)
    return Checkpoint(
        folder, Kind.CLIP, 'clip', {'clip': tensors}, {'clip': settings}, [file])


def _family_of_folder(folder: Path, pose: str, tensors: Tensors) -> str:
    for name in ('projection.weight', 'proj.weight'):
        if name in tensors:
            return _family_of_projection(folder, f'{pose}/ {name}', tensors[name])
    corrupt(
        folder, f'has neither projection.weight nor proj.weight in {pose}/; the names there are '
        f'{list(tensors)[:5]}')


def weights_file(folder: Path, *, ema: bool) -> Path:
    """
    Return the file with the weights in a component's folder.

    Of several files, prefer the variant that is the exponential moving average (``ema``) or is
    not, then full over half precision, then safetensors over torch. Raises ``LiftError``.
    """
    if not folder.is_dir():
        raise weights_corrupt(
            f'{folder.parent} is incomplete: the folder {folder.name}/ is missing.')
    pattern = re.compile(
        r'(?:diffusion_pytorch_model|pytorch_model|model)(?:\.([\w]+))?\.(safetensors|bin)')
    found = []
    for path in folder.iterdir():
        match = pattern.fullmatch(path.name)
        if match:
            variant = (match[1] or '').split('_')
            found.append((('ema' in variant) != ema, 'fp16' in variant, match[2] == 'bin', path))
    if not found:
        corrupt(
            folder, 'has no file of weights, such as diffusion_pytorch_model.safetensors or '
            'model.safetensors (files in several pieces are not read)')
    return min(found)[-1]


def _read_config(path: Path, optional: bool) -> dict[str, Any]:
    try:
        return read_settings(path)
    except FileNotFoundError:
        if optional:
            return {}
        raise weights_corrupt(f'{path} is missing; get the whole folder.') from None
