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

"""The folders of weights: search, atomic import, and verification against recorded digests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
import fcntl
import json
import os
from pathlib import Path
from pathlib import PurePosixPath
import re
import shutil
import stat
from typing import Any

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import weights_corrupt
from lift3d_ros.errors import weights_missing
from lift3d_ros.weights.catalog import CATALOG
from lift3d_ros.weights.integrity import printable
from lift3d_ros.weights.integrity import read_json
from lift3d_ros.weights.integrity import sha256_of

#: Environment variable with a folder of weights; imports go there.
ENVIRONMENT = 'LIFT3D_WEIGHTS'

#: The record of a folder of weights: {"files": {relative path: {"sha256", "bytes"}}, ...}.
MANIFEST = 'manifest.json'

#: Up to this size, digests are compared at each load; above it only sizes are.
_MAX_QUICK_BYTES = 64 * 2**20

_HASHING_THREADS = 4
#: The longest path of Linux has 4096 bytes.
_MAX_NAME_CHARACTERS = 1024

#: Suffixes of the files that are read when weights are loaded.
_READ_SUFFIXES = ('.safetensors', '.bin', '.ckpt', '.pth', '.pt', '.json')

#: The recorded digest of a file, and its device, inode, size and times.
State = tuple[str, int, int, int, int, int]
#: Files that this process has compared with their record.
_compared: dict[Path, State] = {}


def user_root() -> Path:
    """Return the folder of imported weights."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named).expanduser().absolute()
    return _cache()


def roots() -> list[Path]:
    """
    Return the folders that are searched, first to last; not all of them need to exist.

    They are $LIFT3D_WEIGHTS, the user's cache, and the folders of packaged weights: in the
    installed Python package, in the share folder of an ament prefix, in a source checkout.
    """
    here = Path(__file__).resolve().parent
    folders = [user_root(), _cache(), here]
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix:
            folders.append(Path(prefix) / 'share' / 'lift3d_ros' / 'weights')
    checkout = here.parent.parent
    if (checkout / 'package.xml').is_file():
        folders.append(checkout / 'weights')
    return list(dict.fromkeys(folders))


def locate(name: str) -> Path | None:
    """Return the folder of the weights of that name, None if there is none."""
    for root in roots():
        folder = root / name
        if (folder / MANIFEST).is_file():
            return folder
    return None


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """
    Return the folder of a name, else the given path.

    A name takes precedence over a path of the same spelling. Raises ``LiftError``
    (WEIGHTS_MISSING) with the command to run.
    """
    text = os.fspath(name_or_path)
    if _is_name(text):
        folder = locate(text)
        if folder is not None:
            return folder
    entry = CATALOG.get(text)
    if entry is None:
        try:
            path = Path(text).expanduser()
            if path.exists():
                return path
        # An unknown user after the tilde, a name that is too long.
        except (OSError, RuntimeError, ValueError):
            pass
        raise weights_missing(
            f'There are no weights {text[:300]!r}: neither a file or folder, nor a name that '
            '`lift3d weights list` shows.')
    if entry.packaged:
        advice = (
            'They come with the package, so it is not wholly installed: install it again, or set '
            f'{ENVIRONMENT} to a folder that holds {text}/.'
        )
    elif entry.remote is None:
        advice = (
            f'Bring {entry.file_name} from {entry.page}, then run `lift3d weights import PATH '
            f'--name {text}`.'
        )
    else:
        advice = (
            f'Run `lift3d weights fetch {text}`, or `lift3d weights import PATH --name {text}` '
            'if you have them.'
        )
    raise weights_missing(f'The weights {text} are not here. {advice}')


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """
    Return the record of a folder of weights, None if there is none, as for a file.

    Raises ``LiftError`` (WEIGHTS_CORRUPT) for one that cannot be read or names files outside.
    """
    path = folder / MANIFEST
    try:
        content = read_json(path)
        problem = _record_error(content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        problem = str(error.strerror or error)
    except LiftError as error:
        problem = error.message.rstrip('.')
    if problem:
        raise weights_corrupt(
            f'The record {path} cannot be used; import the weights again: {printable(problem)}.')
    return dict(content)


def _record_error(content: Any) -> str | None:
    """Return why a record is invalid, None if it is valid."""
    files = content.get('files') if isinstance(content, dict) else None
    if not isinstance(files, dict):
        return 'it lists no files'
    for name in ('name', 'family', 'licence', 'dtype'):
        if not isinstance(content.get(name, ''), str):
            return f'its {name} is no text'
    for name, record in files.items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or '..' in pure.parts or not name.isprintable() or not pure.parts:
            return f'{name[:200]} lies outside'
        if len(name) > _MAX_NAME_CHARACTERS:
            return f'{name[:200]} is too long for a name'
        if not isinstance(record, dict):
            return f'it has no entry for {name}'
        size, digest = record.get('bytes'), record.get('sha256')
        if type(size) is not int or not 0 <= size < 2**53:
            return f'the size of {name} is invalid'
        if not isinstance(digest, str) or re.fullmatch('[0-9a-f]{64}', digest) is None:
            return f'the SHA-256 of {name} is invalid'
    return None


def problems(folder: Path, *, digests: bool = True) -> list[str]:
    """
    Compare the files of a folder with its record; return a line for each that differs.

    Without ``digests`` only presence and size are compared. Raises ``LiftError`` if there is no
    record, or it cannot be read.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise weights_corrupt(
            f'{folder} has no {MANIFEST} to compare with; import the weights again.')
    return _differences(folder, manifest, digests, {})


def _differences(
    folder: Path, manifest: dict[str, Any], digests: bool, compared: dict[Path, State]
) -> list[str]:
    """Return a line for each difference; files in the state ``compared`` are not read again."""
    found = []
    to_read = []
    for name, record in manifest['files'].items():
        path = folder.absolute() / name
        try:
            state = path.stat()
        except OSError:
            found.append(f'{name} is missing')
            continue
        if not stat.S_ISREG(state.st_mode):
            found.append(f'{name} is not a regular file')
        elif state.st_size != record['bytes']:
            found.append(f'{name} has {state.st_size} bytes instead of {record["bytes"]}')
        elif digests:
            # Any change of a file changes one of these.
            now = (record['sha256'], state.st_dev, state.st_ino, state.st_size,
                   state.st_mtime_ns, state.st_ctime_ns)
            if compared.get(path) != now:
                to_read.append((name, path, now))
    # hashlib releases the interpreter lock; a folder has several files.
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        digests_found = list(pool.map(lambda item: sha256_of(item[1]), to_read))
    for (name, path, now), digest in zip(to_read, digests_found, strict=True):
        if digest == now[0]:
            compared[path] = now
        else:
            found.append(f'{name} has another content than recorded (SHA-256)')
    return found + [f'{name} is not in the record' for name in _unrecorded(folder, manifest)]


def _unrecorded(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the files that would be read as weights and are not in the record."""
    found = []
    for path in sorted(folder.rglob('*')):
        name = path.relative_to(folder).as_posix()
        if path.suffix in _READ_SUFFIXES and name != MANIFEST and not path.is_dir() and (
                name not in manifest['files']):
            found.append(name)
    return found


def check(folder: Path, *, digests: bool | None = None) -> None:
    """
    Raise ``LiftError`` (WEIGHTS_CORRUPT) for weights that differ from their record.

    Sizes are always compared, and with ``digests`` the contents, too; None compares contents if
    all files together are small. This process does not read an unchanged file again. A folder
    without a record passes, as does a file.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return
    if digests is None:
        digests = sum(record['bytes'] for record in manifest['files'].values()) <= _MAX_QUICK_BYTES
    found = _differences(folder, manifest, digests, _compared)
    if found:
        raise weights_corrupt(
            f'The weights in {folder} were changed or damaged: {"; ".join(found[:5])}. Import or '
            'install them again.')


def size_of(folder: Path) -> int:
    """Return the bytes that a folder's record names."""
    manifest = read_manifest(folder)
    files = manifest['files'].values() if manifest else ()
    return sum(record['bytes'] for record in files)


@contextmanager
def writing(name: str, details: dict[str, Any]) -> Iterator[Path]:
    """
    Yield a temporary folder, which becomes the weights of that name if the block succeeds.

    The record consists of the files in the folder and of ``details``, to which the block may add.
    Weights of the same name are replaced only then; after an error, or if the process is killed,
    they are unchanged. Raises ``LiftError`` if another process imports the same name, or the
    folder cannot be written.
    """
    if not _is_name(name):
        raise bad_request(
            f'{name!r} is no name for weights: letters, digits, dots, dashes and underscores.')
    root = user_root()
    with _writable(root):
        root.mkdir(parents=True, exist_ok=True)
        # Without O_NONBLOCK, opening a fifo of that name would block.
        lock = os.fdopen(os.open(
            root / f'.{name}.lock', os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC), 'wb')
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LiftError(
                ErrorCode.BUSY, f'Another process is importing {name}; wait for it.') from None
        partial = root / f'.{name}.partial'
        with _writable(root):
            _restore(root, name)
            # From a process that was killed.
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                yield partial
                _record(partial, details)
                _swap(root, name, partial)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    finally:
        lock.close()


def check_space(folder: Path, needed: int) -> None:
    """Raise ``LiftError`` (BAD_REQUEST) if the disk of a folder has too few free bytes."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise bad_request(
            f'{folder} has {format_size(free)} free and {format_size(needed)} are needed; free '
            f'some, or set {ENVIRONMENT} to a folder on another disk.')


def format_size(count: float) -> str:
    """Return a number of bytes with a unit, such as 15.5 GB."""
    for unit in ('bytes', 'kB', 'MB'):
        if count < 1000:
            return f'{count:.0f} {unit}' if unit == 'bytes' else f'{count:.1f} {unit}'
        count /= 1000
    return f'{count:.1f} GB'


def _cache() -> Path:
    cache = os.environ.get('XDG_CACHE_HOME', '')
    # The XDG specification says to ignore relative paths.
    base = Path(cache) if cache.startswith('/') else Path.home() / '.cache'
    return base / 'lift3d_ros' / 'weights'


def _is_name(text: str) -> bool:
    plain = text.replace('-', '').replace('_', '').replace('.', '')
    return plain.isascii() and plain.isalnum() and not text.startswith('.')


def _record(folder: Path, details: dict[str, Any]) -> None:
    files = {}
    for path in sorted(folder.rglob('*')):
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = {
                'sha256': sha256_of(path), 'bytes': path.stat().st_size}
            _to_disk(path)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({**details, 'files': files}, indent=1) + '\n')
    _to_disk(manifest)


def _to_disk(path: Path) -> None:
    with path.open('rb') as file:
        os.fsync(file.fileno())


def _swap(root: Path, name: str, new: Path) -> None:
    """Replace a folder by another, keeping the old one until the new one is in place."""
    folder, old = root / name, root / f'.{name}.replaced'
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        _restore(root, name)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _restore(root: Path, name: str) -> None:
    """Restore the folder that a process killed in ``_swap`` had moved away."""
    folder, old = root / name, root / f'.{name}.replaced'
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


@contextmanager
def _writable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise bad_request(
            f'The folder {root} cannot be written: {error.strerror or error}. Set {ENVIRONMENT} '
            'to one that can.') from error
