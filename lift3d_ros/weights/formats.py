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
Recognise files of weights by what is in them, and read them without running anything.

A pickle is only ever read by ``torch.load(weights_only=True)``, which makes tensors, containers
and numbers and refuses all else. Tensors are mapped from the file, not copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from enum import Enum
import json
import os
from pathlib import Path
import pickle
import re
import struct
from typing import Any
from typing import NoReturn
import warnings
import zipfile

import torch
from torch import Tensor

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.views.components import POSE_DIMS

Tensors = Mapping[str, Tensor]


class Kind(str, Enum):
    """The forms in which weights are published."""

    LDM = 'the original checkpoint of the Zero-1-to-3 family'
    LAYOUT_A = 'a diffusers folder with cc_projection/'
    LAYOUT_B = 'a diffusers folder with clip_camera_projection/'
    ONE2345 = 'the networks of One-2-3-45'
    LOFTR = 'the network of LoFTR'
    ZERO123PLUS = 'the diffusers folder of Zero123++'


@dataclass(frozen=True)
class Checkpoint:
    """
    What a file or folder of weights holds.

    - ``parts``: tensors by name, by network. Those of an LDM file are all under ``ldm``; for a
      diffusers folder the keys are the names of its sub-folders.
    - ``configs``: the config.json of each sub-folder of a diffusers folder.
    - ``files``: the files that ``parts`` were read from.
    - ``family``: what the content tells; ``zero123`` stands for Stable-Zero123 as well, which has
      the same names and shapes.
    """

    path: Path
    kind: Kind
    family: str
    parts: Mapping[str, Tensors]
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


#: The networks of One-2-3-45 and what its checkpoint calls them.
ONE2345_NETWORKS = (
    'sdf_network_lod0', 'rendering_network_lod0', 'variance_network_lod0',
    'pyramid_feature_network',
)

_POSE_FOLDERS = {'cc_projection': Kind.LAYOUT_A, 'clip_camera_projection': Kind.LAYOUT_B}

#: What Lightning and numpy leave in checkpoints beside the tensors. Each name is read as an empty
#: placeholder: neither package is imported, and none of their code is run.
_INERT = (
    'pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint',
    'pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor',
    'lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint',
    'numpy.core.multiarray.scalar',
    'numpy._core.multiarray.scalar',
    'numpy.dtype',
)

_LEGACY_TORCH = b'\x80'
_LARGEST_HEADER = 100 * 2**20


class _Placeholder:
    """Stands for an object of a checkpoint that no network needs; takes anything, does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def read(path: Path, *, ema: bool = True) -> Checkpoint:
    """
    Recognise a file or folder by its content; return what it holds.

    ``ema`` chooses between the variants of a diffusers folder that has both. Raises ``LiftError``
    (WEIGHTS_CORRUPT) for what is cut short, is no weights, holds foreign objects, or belongs to a
    family that this package does not know; (WEIGHTS_MISSING) where there is nothing.
    """
    try:
        if path.is_dir():
            return _read_folder(path, ema)
        if not path.exists():
            raise LiftError(ErrorCode.WEIGHTS_MISSING, f'There is no file or folder {path}.')
        return _recognise(path, read_tensors(path))
    except OSError as error:
        raise LiftError(
            ErrorCode.WEIGHTS_MISSING, f'{path} cannot be read: {error.strerror or error}.'
        ) from error


def read_tensors(path: Path) -> dict[str, Any]:
    """
    Return the content of a weights file: tensors by name, in an LDM file one level down.

    The format is told by the first bytes, whatever the file is called. Raises ``LiftError``.
    """
    with path.open('rb') as file:
        start = file.read(512)
    if start[:4] == b'PK\x03\x04':
        return _read_torch(path, mapped=True)
    # Before the pickle: the length of a header may begin with any byte.
    if start[8:9] == b'{':
        return dict(_read_safetensors(path))
    if start[:1] == _LEGACY_TORCH:
        return _read_torch(path, mapped=False)
    if not start:
        corrupt(path, 'is empty')
    if start.startswith(b'version https://git-lfs'):
        corrupt(path, 'is only the pointer that git keeps in place of a large file; run '
                 '`git lfs pull` where it comes from')
    if re.match(rb'\s*<(!doctype|html|\?xml)', start, re.IGNORECASE):
        corrupt(path, 'is a web page, most often one that a download link leads to; open it in a '
                 'browser to see what it wants')
    if start[:2] == b'PK':
        corrupt(path, 'is a zip archive without a first record, so not of torch')
    corrupt(path, 'is neither a file of torch nor of safetensors')


def _read_torch(path: Path, *, mapped: bool) -> dict[str, Any]:
    if mapped:
        # The directory of a zip archive is its end, which a transfer that broke off lacks.
        if not zipfile.is_zipfile(path):
            corrupt(path, 'is cut short: the end of its archive is missing; get it again')
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile as error:
            corrupt(path, f'is damaged: {error}; get it again')
        if not any(name.endswith('/data.pkl') for name in names):
            corrupt(path, 'is a zip archive, but not one of torch')
    allowed: list[Any] = [(_Placeholder, name) for name in _INERT]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            # torch wonders about versions of pickles that it then reads, or refuses.
            warnings.simplefilter('ignore')
            # torch goes by this ending, whatever is in the file; not so with an open file.
            if mapped and path.suffix != '.safetensors':
                content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
            else:
                with path.open('rb') as file:
                    content = torch.load(file, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        _refuse_pickle(path, str(error))
    except LiftError:
        raise
    # What the reader of a damaged pickle stumbles over is not of one type.
    except Exception as error:
        corrupt(path, f'cannot be read by torch: {_first_line(error)}')
    if not isinstance(content, dict):
        corrupt(path, f'holds a {type(content).__name__} and not tensors by name')
    return content


def _refuse_pickle(path: Path, reason: str) -> NoReturn:
    match = (re.search(r'GLOBAL (\S+) ', reason)
             or re.search(r'unrecognized function (.+)', reason)
             or re.search(r'create new object for .* but got (.+)', reason))
    if match is None:
        # Before this stands advice to read the file without care.
        last = _first_line(reason.rpartition('error: ')[2])
        corrupt(path, f'is damaged, or a pickle that is not of torch ({last}). Nothing in it was '
                'executed')
    corrupt(
        path,
        f'holds objects other than tensors ({match[1]}), which could run code when they are '
        'loaded. Nothing in it was executed. If you trust whoever made it, have them save the '
        "tensors alone: torch.save({'state_dict': checkpoint['state_dict']}, ...)",
    )


def _read_safetensors(path: Path) -> Tensors:
    size = path.stat().st_size
    with path.open('rb') as file:
        length = struct.unpack('<Q', file.read(8))[0]
        if length > min(size - 8, _LARGEST_HEADER):
            corrupt(path, f'is cut short or damaged: its header would have {length} bytes')
        try:
            header = json.loads(file.read(length))
            ends = [value['data_offsets'][1] for name, value in header.items()
                    if name != '__metadata__']
            expected = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            corrupt(path, f'has a header that cannot be read: {_first_line(error)}')
    if expected != size:
        what = 'is cut short' if size < expected else 'has more than its header names'
        corrupt(path, f'{what}: {size} bytes where there should be {expected}; get it again')
    from safetensors import safe_open
    from safetensors import SafetensorError

    try:
        with safe_open(path, framework='pt') as content:
            return {name: content.get_tensor(name) for name in content.keys()}
    except SafetensorError as error:
        corrupt(path, f'is damaged: {_first_line(error)}')


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
        family = _family_of_ldm(path, tensors)
        return Checkpoint(path, Kind.LDM, family, {'ldm': tensors}, files=[path])
    # Lightning has the matcher inside of its training module.
    bare = {name.removeprefix('matcher.'): value for name, value in tensors.items()}
    if any(name.startswith('loftr_coarse.') for name in bare):
        return Checkpoint(path, Kind.LOFTR, 'loftr', {'loftr': bare}, files=[path])
    sample = ', '.join(list(names)[:3]) or 'none'
    corrupt(
        path,
        'holds weights that this package does not know: neither of the Zero-1-to-3 family nor of '
        f'One-2-3-45 or LoFTR. Its first names are: {sample}. A single part of a diffusers folder '
        'is not enough; give the folder',
    )


def _family_of_ldm(path: Path, tensors: Tensors) -> str:
    first = tensors.get('model.diffusion_model.input_blocks.0.0.weight')
    if 'cc_projection.weight' not in tensors:
        channels = ''
        if first is not None and first.ndim == 4:
            channels = f', and its UNet takes {first.shape[1]} channels'
        corrupt(
            path,
            'is a latent diffusion checkpoint of another family: it has no cc_projection.weight'
            f'{channels}. Stable Diffusion and its relatives do not know poses; the checkpoints '
            'that this package reads are in `lift3d weights list`',
        )
    return _family_of_projection(path, 'cc_projection.weight', tensors['cc_projection.weight'])


def _family_of_projection(path: Path, name: str, weight: Tensor) -> str:
    """Tell Zero-1-to-3 from ZeroNVS by the numbers that its poses have."""
    if weight.ndim != 2:
        corrupt(path, f'{name} has the shape {list(weight.shape)} and should be a matrix')
    numbers = weight.shape[1] - weight.shape[0]
    for family in ('zero123', 'zeronvs'):
        if POSE_DIMS[family] == numbers:
            return family
    corrupt(
        path,
        f'is of another family: {name} has the shape {list(weight.shape)}, so its poses have '
        f'{numbers} numbers. Those of Zero-1-to-3 have 4 ([768, 772]) and those of ZeroNVS 19 '
        '([768, 787])',
    )


def _only_tensors(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    tensors = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            if isinstance(value, Mapping | list | tuple | str | int | float | None | _Placeholder):
                continue
            corrupt(path, f'{name} is a {type(value).__name__} and not a tensor')
        else:
            tensors[name] = value
    if not tensors:
        corrupt(path, f'holds no tensors by name; its entries are {list(content)[:5]}')
    return tensors


def _read_folder(folder: Path, ema: bool) -> Checkpoint:
    single = folder / 'model.safetensors'
    if single.is_file():
        return _recognise(single, read_tensors(single))
    poses = [name for name in _POSE_FOLDERS if (folder / name).is_dir()]
    if poses:
        kind = _POSE_FOLDERS[poses[0]]
        wanted = ['unet', 'vae', 'image_encoder', poses[0]]
    elif (folder / 'unet').is_dir() and (folder / 'vision_encoder').is_dir():
        kind = Kind.ZERO123PLUS
        wanted = ['unet', 'vae', 'text_encoder', 'vision_encoder']
    elif (folder / 'unet').is_dir():
        corrupt(folder, 'is a diffusers folder of another family: it has neither cc_projection/ '
                 'nor clip_camera_projection/ nor vision_encoder/')
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
    family = 'zero123plus'
    if poses:
        family = _family_of_folder(folder, poses[0], parts[poses[0]])
    return Checkpoint(folder, kind, family, parts, configs, files)


def _family_of_folder(folder: Path, pose: str, tensors: Tensors) -> str:
    for name in ('projection.weight', 'proj.weight'):
        if name in tensors:
            return _family_of_projection(folder, f'{pose}/ {name}', tensors[name])
    corrupt(folder, f'has neither projection.weight nor proj.weight in {pose}/; the names there '
             f'are {list(tensors)[:5]}')


def weights_file(folder: Path, *, ema: bool) -> Path:
    """
    Return the file with the weights in a component's folder.

    Of several, that one is taken whose variant is the exponential moving average (``ema``) or is
    not, then full before half precision, then safetensors before torch. Raises ``LiftError``.
    """
    if not folder.is_dir():
        raise LiftError(
            ErrorCode.WEIGHTS_CORRUPT,
            f'{folder.parent} is not whole: the folder {folder.name}/ is missing.')
    pattern = re.compile(
        r'(?:diffusion_pytorch_model|pytorch_model|model)(?:\.([\w]+))?\.(safetensors|bin)')
    found = []
    for path in folder.iterdir():
        match = pattern.fullmatch(path.name)
        if match:
            variant = (match[1] or '').split('_')
            found.append((('ema' in variant) != ema, 'fp16' in variant, match[2] == 'bin', path))
    if not found:
        corrupt(folder, 'has no file of weights, such as diffusion_pytorch_model.safetensors '
                 'or model.safetensors (files in several pieces are not read)')
    return min(found)[-1]


def _read_config(path: Path, optional: bool) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        if optional:
            return {}
        raise LiftError(
            ErrorCode.WEIGHTS_CORRUPT, f'{path} is missing; get the whole folder.') from None
    except ValueError as error:
        raise LiftError(ErrorCode.WEIGHTS_CORRUPT, f'{path} is no JSON: {error}.') from error
    if not isinstance(config, dict):
        raise LiftError(ErrorCode.WEIGHTS_CORRUPT, f'{path} holds no settings.')
    return config


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip('.')


def corrupt(path: str | os.PathLike[str], what: str) -> NoReturn:
    """Raise the error for weights that cannot be used; ``what`` goes on after their path."""
    raise LiftError(ErrorCode.WEIGHTS_CORRUPT, f'{os.fspath(path)} {what}.')
