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

"""Import published weights into the store: recognise, check, convert to safetensors, record."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import json
from pathlib import Path
import re
from typing import Any

import torch
from torch import Tensor

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.geometry import POSE_DIMS
from lift3d_ros.runtime.files import read_regular
from lift3d_ros.weights import networks
from lift3d_ros.weights import store
from lift3d_ros.weights.catalog import CATALOG
from lift3d_ros.weights.catalog import Entry
from lift3d_ros.weights.clip import tower
from lift3d_ros.weights.formats.checkpoint import Checkpoint
from lift3d_ros.weights.formats.checkpoint import has_checksums
from lift3d_ros.weights.formats.checkpoint import Kind
from lift3d_ros.weights.formats.checkpoint import read
from lift3d_ros.weights.formats.safetensors_files import stored_dtype
from lift3d_ros.weights.formats.safetensors_files import write_safetensors
from lift3d_ros.weights.formats.tables import check_networks
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.integrity import published_digest
from lift3d_ros.weights.integrity import sha256_of
from lift3d_ros.weights.loading import check_channels
from lift3d_ros.weights.loading import checked_family
from lift3d_ros.weights.loading import zero123_parts
from lift3d_ros.weights.stable_diffusion import stable_diffusion_parts
from lift3d_ros.weights.stable_diffusion import TOKENIZER_TEXTS
from lift3d_ros.weights.tensors import check_memory

Say = Callable[[str], None]

#: Types that tensors may be converted to, by their names on the command line.
DTYPES = {'float16': torch.float16, 'float32': torch.float32, 'bfloat16': torch.bfloat16}

#: Families of which own models can be imported under other names.
_OWN_NAMES = (*POSE_DIMS, 'stable_diffusion', 'clip')

_STABLE_DIFFUSION = (Kind.STABLE_DIFFUSION, Kind.STABLE_DIFFUSION_FOLDER)

_TEXT_MODEL_INDEX = {
    '_class_name': 'StableDiffusionPipeline',
    'scheduler': ['diffusers', 'DDIMScheduler'],
    'text_encoder': ['transformers', 'CLIPTextModel'],
    'tokenizer': ['transformers', 'CLIPTokenizer'],
    'unet': ['diffusers', 'UNet2DConditionModel'],
    'vae': ['diffusers', 'AutoencoderKL'],
    'requires_safety_checker': False,
}

_MODEL_INDEX = {
    '_class_name': 'Zero1to3StableDiffusionPipeline',
    'cc_projection': ['pipeline_zero1to3', 'CCProjection'],
    'image_encoder': ['transformers', 'CLIPVisionModelWithProjection'],
    'scheduler': ['diffusers', 'DDIMScheduler'],
    'unet': ['diffusers', 'UNet2DConditionModel'],
    'vae': ['diffusers', 'AutoencoderKL'],
    'requires_safety_checker': False,
}

#: The largest text of a published folder is a vocabulary of 1 MB.
_MAX_TEXT_BYTES = 16 * 2**20

_KIND_NAMES = {Kind.ONE2345: 'one2345', Kind.LOFTR: 'loftr-indoor'}


def import_weights(
    path: Path,
    name: str | None = None,
    *,
    dtype: str | None = None,
    ema: bool = True,
    sha256: str | None = None,
    say: Say = lambda line: None,
) -> Path:
    """
    Check weights, write them to the store as safetensors, and return their folder.

    - ``name``: their name in the store. Without it the content must determine it, or the file
      name, if it is the authors'.
    - ``dtype``: a key of ``DTYPES`` for all floating-point tensors; None keeps theirs.
    - ``sha256``: the published digest of a single file. A file ``NAME.sha256`` next to it has the
      same effect.
    - ``say`` receives a line of text for each step.

    The store changes only after everything is written. Raises ``LiftError``.
    """
    if path.is_dir() and (path / store.MANIFEST).is_file():
        store.check(path, digests=True)
    expected = _given_digest(path, sha256)
    checkpoint = read(path, ema=ema)
    check_memory(path, checkpoint.files, checkpoint.parts)
    say(f'{path} is {checkpoint.kind.value}')
    name = name or _name_for(checkpoint, path, say)
    family = _family_for(checkpoint, name)
    say(f'imported as {name}, family {family}')
    parts, texts, notes = _prepared(checkpoint, family, ema)
    for note in notes:
        say(f'note: {note}')
    say('computing the SHA-256 of the source')
    target = DTYPES[dtype] if dtype else None
    details: dict[str, Any] = {
        'name': name,
        'family': family,
        'source': {
            'format': checkpoint.kind.name.lower(),
            'ema': ema,
            'files': _recorded_sources(checkpoint, CATALOG.get(name), expected, say),
        },
        'dtype': dtype or 'as in the source',
        'licence': CATALOG[name].licence if name in CATALOG else 'not known',
    }
    store.check_space(store.user_root(), _bytes_of(parts, target))
    with store.writing(name, details) as folder:
        if checkpoint.kind is Kind.ZERO123PLUS:
            _copy_texts(checkpoint.path, folder)
        if checkpoint.kind in _STABLE_DIFFUSION:
            _copy_tokenizer(checkpoint.path, folder / 'tokenizer', say)
        _write_parts(folder, parts, texts, target, say)
    placed = store.user_root() / name
    say(f'done: {placed}, {store.format_size(store.size_of(placed))}')
    return placed


def _write_parts(
    folder: Path,
    parts: Mapping[str, Mapping[str, Tensor]],
    texts: Mapping[str, str],
    dtype: torch.dtype | None,
    say: Say,
) -> None:
    for file_name in (*texts, *parts):
        (folder / file_name).parent.mkdir(parents=True, exist_ok=True)
    for file_name, text in texts.items():
        (folder / file_name).write_text(text, encoding='utf-8')
    for file_name, tensors in parts.items():
        write_safetensors(folder / file_name, tensors, dtype)
        say(f'wrote {file_name}: {len(tensors)} tensors, '
            f'{store.format_size((folder / file_name).stat().st_size)}')


def _prepared(
    checkpoint: Checkpoint, family: str, ema: bool
) -> tuple[dict[str, Mapping[str, Tensor]], dict[str, str], list[str]]:
    """Return tensors by output file, texts by output file, and notes."""
    if checkpoint.kind in _KIND_NAMES:
        notes = check_networks(checkpoint)
        flat = checkpoint.parts['loftr'] if checkpoint.kind is Kind.LOFTR else {
            f'{network}.{name}': tensor for network, tensors in checkpoint.parts.items()
            for name, tensor in tensors.items()}
        return {'model.safetensors': flat}, {}, notes
    if checkpoint.kind is Kind.ZERO123PLUS:
        for part in ('unet', 'vae'):
            shapes = networks.expected_shapes(part, checkpoint.configs[part], checkpoint.path)
            networks.check_tensors(checkpoint.path, part, checkpoint.parts[part], shapes)
        return {_file_of(part): tensors for part, tensors in checkpoint.parts.items()}, {}, []
    if checkpoint.kind is Kind.CLIP:
        config, tensors = tower(checkpoint, 'image_encoder')
        settings = {**config, 'model_type': 'clip_vision_model'}
        return {'model.safetensors': tensors}, {'config.json': _json(settings)}, [
            'Only the image encoder is kept.']
    if checkpoint.kind in _STABLE_DIFFUSION:
        model, index = stable_diffusion_parts(checkpoint, ema=ema), _TEXT_MODEL_INDEX
    else:
        model, index = zero123_parts(checkpoint, ema=ema), _MODEL_INDEX
        check_channels(checkpoint, model, family)
    texts = {'model_index.json': _json(index)}
    for part, config in model.configs.items():
        file_name = 'scheduler_config.json' if part == 'scheduler' else 'config.json'
        texts[f'{part}/{file_name}'] = _json(config)
    return {_file_of(part): tensors for part, tensors in model.parts.items()}, texts, model.notes


def _file_of(part: str) -> str:
    encoder = part.endswith('encoder')
    return f'{part}/{"model" if encoder else "diffusion_pytorch_model"}.safetensors'


def _copy_texts(source: Path, folder: Path) -> None:
    """Copy settings and vocabularies, but no tensors and no other files."""
    for path in sorted(source.rglob('*')):
        inner = path.relative_to(source)
        hidden = any(part.startswith('.') for part in inner.parts)
        if path.is_file() and path.suffix in ('.json', '.txt') and not hidden and (
                inner.as_posix() != store.MANIFEST):
            (folder / inner).parent.mkdir(parents=True, exist_ok=True)
            (folder / inner).write_bytes(
                read_regular(path, _MAX_TEXT_BYTES, ErrorCode.WEIGHTS_CORRUPT))


def _copy_tokenizer(source: Path, folder: Path, say: Say) -> None:
    """Copy the tokenizer of a diffusers folder, or the one next to a checkpoint."""
    place = (source if source.is_dir() else source.parent) / 'tokenizer'
    there = [name for name in TOKENIZER_TEXTS if (place / name).is_file()]
    if not there:
        say('note: there is no tokenizer/ with it; name one when the weights are loaded')
    for name in there:
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(
            read_regular(place / name, _MAX_TEXT_BYTES, ErrorCode.WEIGHTS_CORRUPT))


def _name_for(checkpoint: Checkpoint, path: Path, say: Say) -> str:
    if checkpoint.kind in _KIND_NAMES:
        return _KIND_NAMES[checkpoint.kind]
    if checkpoint.family == 'zeronvs':
        return 'zeronvs'
    for entry in CATALOG.values():
        if path.name in (entry.file_name, entry.name) and _fits(checkpoint, entry):
            say(f'by its name these are the weights {entry.name}; --name says otherwise')
            return entry.name
    fitting = [entry.name for entry in CATALOG.values() if _fits(checkpoint, entry)]
    raise bad_request(
        f'{path} is {checkpoint.kind.value}, of which there are several that do not differ in '
        f'names and shapes. Say which with --name: {", ".join(fitting)}, or a name of your own '
        'for a model of another training.')


def _family_for(checkpoint: Checkpoint, name: str) -> str:
    entry = CATALOG.get(name)
    if entry is None:
        if checkpoint.family not in _OWN_NAMES:
            raise bad_request(
                f'{name} is no name for {checkpoint.kind.value}; `lift3d weights list` has them.')
        return checkpoint.family
    if entry.packaged:
        raise bad_request(f'{name} comes with the package; import under another name.')
    if checkpoint.family in POSE_DIMS and entry.family in POSE_DIMS:
        return checked_family(checkpoint, entry.family)
    if checkpoint.family != entry.family:
        corrupt(
            checkpoint.path, f'is {checkpoint.kind.value}, and {name} is of the family '
            f'{entry.family}')
    return entry.family


def _fits(checkpoint: Checkpoint, entry: Entry) -> bool:
    if entry.packaged:
        return False
    if checkpoint.family in POSE_DIMS and entry.family in POSE_DIMS:
        return POSE_DIMS[checkpoint.family] == POSE_DIMS[entry.family]
    return checkpoint.family == entry.family


def _recorded_sources(
    checkpoint: Checkpoint, entry: Entry | None, given: str | None, say: Say
) -> dict[str, dict[str, Any]]:
    """Return size and digest of each source file; raises ``LiftError`` for a wrong digest."""
    whole = checkpoint.path.is_dir()
    base = checkpoint.path if whole else checkpoint.path.parent
    known = given
    # The digest of a catalog entry is that of its one file, not of a conversion to a folder.
    if known is None and entry is not None and entry.remote is not None and not whole:
        known = entry.remote.sha256
    sources = {}
    unchecked = []
    for file in checkpoint.files:
        digest = sha256_of(file)
        expected = known or published_digest(file)
        if expected and digest != expected:
            corrupt(
                file, f'is not the published file: its SHA-256 is {digest}, the published one is '
                f'{expected}; get it again')
        if not expected and not has_checksums(file):
            unchecked.append(file)
        sources[file.relative_to(base).as_posix()] = {
            'sha256': digest, 'bytes': file.stat().st_size}
    for file in unchecked:
        name = file.relative_to(base).as_posix()
        say(f'note: the format of {name} has no checksum, so changed values cannot be detected; '
            f'compare its SHA-256 with the published one: {sources[name]["sha256"]} (or write '
            f'that into {file.name}.sha256)')
    return sources


def _given_digest(path: Path, sha256: str | None) -> str | None:
    """Return the expected digest in lower case; raises ``LiftError(BAD_REQUEST)``."""
    if sha256 is None:
        return None
    if re.fullmatch('[0-9a-fA-F]{64}', sha256) is None:
        raise bad_request(f'{sha256[:80]!r} is not a SHA-256; give 64 hexadecimal digits.')
    if path.is_dir():
        raise bad_request(
            '--sha256 is for a single file; for a folder, put the digest of each file beside it '
            'as FILE.sha256.')
    return sha256.lower()


def _bytes_of(parts: Mapping[str, Mapping[str, Tensor]], dtype: torch.dtype | None) -> int:
    return sum(tensor.numel() * stored_dtype(tensor, dtype).itemsize
               for tensors in parts.values() for tensor in tensors.values())


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(dict(content), indent=2) + '\n'
