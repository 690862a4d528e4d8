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

"""Download published weights from the Hugging Face hub: list, resume, verify."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from http.client import HTTPResponse
import json
import os
from pathlib import Path
from pathlib import PurePosixPath
import shutil
import time
from typing import Any
import urllib.error
import urllib.parse
import urllib.request

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import weights_corrupt
from lift3d_ros.errors import weights_missing
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.weights import store
from lift3d_ros.weights.catalog import Entry
from lift3d_ros.weights.integrity import printable
from lift3d_ros.weights.integrity import sha256_of

Progress = Callable[[int], None]

_TIMEOUT_S = 30.0
_BLOCK_BYTES = 2**20
#: A list of some dozen files has about 10 kB.
_MAX_LIST_BYTES = 4 * 2**20
#: Attempts in a row without a single further byte, after which a transfer fails.
_MAX_IDLE_ATTEMPTS = 3


@dataclass(frozen=True)
class File:
    """A file of a repository; ``size`` in bytes and ``sha256`` are None where the hub has none."""

    url: str
    path: str
    size: int | None
    sha256: str | None


def endpoint() -> str:
    """Return the address of the hub, or of the mirror that $HF_ENDPOINT names."""
    return os.environ.get('HF_ENDPOINT', '').rstrip('/') or 'https://huggingface.co'


def remote_files(entry: Entry) -> list[File]:
    """
    Return the files of weights on the hub, with sizes and digests.

    Raises ``LiftError`` (WEIGHTS_MISSING), with instructions for a manual import, if the hub
    cannot be reached or does not have the file.
    """
    remote = entry.remote
    if remote is None:
        raise _unavailable(entry, 'It cannot be fetched')
    address = f'{endpoint()}/api/models/{remote.repository}?blobs=true'
    try:
        with _open(address) as response:
            listed = _listed(response.read(_MAX_LIST_BYTES))
    except urllib.error.HTTPError as error:
        raise _refused(entry, error) from error
    except (OSError, HTTPException) as error:
        raise _unavailable(
            entry, f'There is no way to {endpoint()} ({_reason(error)})') from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unavailable(entry, f'{address} gave no list of files') from error
    names = [remote.path] if remote.path else _of_folder(list(listed))
    if not names or any(name not in listed for name in names):
        raise _unavailable(
            entry, f'{remote.repository} has no {remote.path or "folder of weights"}; its files '
            f'are {", ".join(sorted(listed)[:12])}')
    files = []
    for name in names:
        pure = PurePosixPath(name)
        if pure.is_absolute() or '..' in pure.parts or not name.isprintable():
            raise bad_request(f'{address} names a file outside: {printable(name)}.')
        item = listed[name]
        lfs = item.get('lfs') or {}
        files.append(File(
            url=f'{endpoint()}/{remote.repository}/resolve/main/{urllib.parse.quote(name)}',
            path=name,
            size=remote.size or lfs.get('size') or item.get('size'),
            sha256=remote.sha256 or lfs.get('sha256'),
        ))
    return files


def _listed(answer: bytes) -> dict[str, dict[str, Any]]:
    """Return the files in a response of the hub by name; raises ``ValueError`` for others."""
    found = {}
    for item in json.loads(answer)['siblings']:
        lfs = item.get('lfs') if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(lfs, dict | None):
            raise ValueError('a file is not described by an object')
        for size in (item.get('size'), (lfs or {}).get('size')):
            if size is not None and (type(size) is not int or size < 0):
                raise ValueError('a size is not a number of bytes')
        if not isinstance((lfs or {}).get('sha256'), str | None):
            raise ValueError('a digest is not text')
        found[str(item['rfilename'])] = item
    return found


def download(entry: Entry, files: list[File], progress: Progress = lambda count: None) -> Path:
    """
    Download files, resuming earlier attempts; return the file, or the folder.

    ``progress`` receives the bytes of each step. The size of each file and, if the hub has it, its
    SHA-256 are compared; a file that differs is removed. Raises ``LiftError``: WEIGHTS_MISSING if
    the transfer fails, which keeps the partial file, and WEIGHTS_CORRUPT.
    """
    folder = store.user_root() / '.downloads' / entry.name
    make_folder(folder)
    needed = sum(file.size or 0 for file in files)
    there = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
    store.check_space(folder, needed - there)
    for file in files:
        name = PurePosixPath(file.path).name if len(files) == 1 else file.path
        try:
            _download(entry, file, folder / name, progress)
        except urllib.error.HTTPError as error:
            raise _refused(entry, error) from error
    return folder if len(files) > 1 else folder / PurePosixPath(files[0].path).name


def discard(entry: Entry) -> None:
    """Remove the downloaded files of an entry."""
    shutil.rmtree(store.user_root() / '.downloads' / entry.name, ignore_errors=True)


def _download(entry: Entry, file: File, target: Path, progress: Progress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f'{target.name}.part')
    if target.is_file() and (file.size is None or target.stat().st_size == file.size):
        progress(target.stat().st_size)
    else:
        if partial.is_file():
            progress(partial.stat().st_size)
        idle, last = 0, ''
        while True:
            before = partial.stat().st_size if partial.is_file() else -1
            try:
                if _transfer(file, partial, progress):
                    break
                last = 'the connection was closed'
            except urllib.error.HTTPError:
                raise
            except (OSError, HTTPException) as error:
                last = _reason(error)
            grown = partial.is_file() and partial.stat().st_size > before
            idle = 0 if grown else idle + 1
            if idle >= _MAX_IDLE_ATTEMPTS:
                kept = partial.stat().st_size if partial.is_file() else 0
                raise weights_missing(
                    f'The download of {file.path} broke off ({last}); {store.format_size(kept)} '
                    f'of it are kept, and `lift3d weights fetch {entry.name}` goes on from there.')
            time.sleep(0.2 * 2**idle)
        partial.replace(target)
        _etag_of(partial).unlink(missing_ok=True)
    if file.sha256 and sha256_of(target) != file.sha256:
        target.unlink()
        raise weights_corrupt(
            f'What came from {file.url} has another SHA-256 than published; it was removed. Run '
            f'`lift3d weights fetch {entry.name}` again.')


def _transfer(file: File, partial: Path, progress: Progress) -> bool:
    """Append the rest to a partial file; return whether it is complete."""
    start = partial.stat().st_size if partial.is_file() else 0
    if file.size is not None and start > file.size:
        partial.unlink()
        progress(-start)
        start = 0
    if start and start == file.size:
        return True
    headers = {}
    if start:
        headers['Range'] = f'bytes={start}-'
        if _etag_of(partial).is_file():
            # If the file has changed on the server, it is sent from the start.
            headers['If-Range'] = _etag_of(partial).read_text()
    with _open(file.url, headers) as response:
        if start and response.status != 206:
            progress(-start)
            start = 0
        length = response.headers.get('Content-Length')
        expected = file.size if file.size is not None else (
            start + int(length) if length is not None else None)
        if response.headers.get('ETag'):
            _etag_of(partial).write_text(response.headers['ETag'])
        with partial.open('ab' if start else 'wb') as output:
            while block := response.read(_BLOCK_BYTES):
                output.write(block)
                progress(len(block))
    return expected is None or partial.stat().st_size == expected


def _open(url: str, headers: dict[str, str] | None = None) -> HTTPResponse:
    request = urllib.request.Request(  # noqa: S310 - of the hub or the user's mirror
        url, headers={'User-Agent': 'lift3d_ros', **(headers or {})})
    token = os.environ.get('HF_TOKEN')
    if token and url.startswith(f'{endpoint()}/'):
        # Not sent to the servers that the hub redirects to.
        request.add_unredirected_header('Authorization', f'Bearer {token}')
    response: HTTPResponse = urllib.request.urlopen(  # noqa: S310
        request, timeout=_TIMEOUT_S)
    return response


def _etag_of(partial: Path) -> Path:
    return partial.with_name(f'{partial.name}.etag')


def _of_folder(names: list[str]) -> list[str]:
    """Select settings and one weights file of each part of diffusers, or of one network."""
    chosen = []
    for name in names:
        path = PurePosixPath(name)
        weights = path.suffix in ('.safetensors', '.bin')
        if len(path.parts) > 2 or any(part.startswith('.') for part in path.parts):
            continue
        # A classifier of 1.2 GB, which nothing here reads.
        if path.parts[0] == 'safety_checker':
            continue
        if weights and path.stem not in ('diffusion_pytorch_model', 'pytorch_model', 'model'):
            continue
        if path.suffix == '.bin' and any(
                PurePosixPath(other).parent == path.parent and other.endswith('.safetensors')
                for other in names):
            continue
        if path.suffix in ('.json', '.txt') or (weights and len(path.parts) == 2):
            chosen.append(name)
    if any(name.startswith('unet/') for name in chosen):
        return chosen
    # One network of transformers, such as CLIP.
    single = ['config.json', 'model.safetensors']
    return single if all(name in names for name in single) else []


def _refused(entry: Entry, error: urllib.error.HTTPError) -> LiftError:
    if error.code in (401, 403):
        why = (
            f'{endpoint()} wants you to accept a licence or to log in first: do so on '
            f'{entry.page} and set HF_TOKEN to an access token')
    else:
        why = f'{endpoint()} answered {error.code} {error.reason}'
    return _unavailable(entry, why)


def _unavailable(entry: Entry, why: str) -> LiftError:
    """Return the error for weights that cannot be downloaded, with how to import them."""
    return weights_missing(
        f'{why}. On a machine with access, get {entry.file_name or "the whole folder"} from '
        f'{entry.page}, copy it here and run `lift3d weights import PATH --name {entry.name}`.')


def _reason(error: BaseException) -> str:
    reason = getattr(error, 'reason', None) or error
    return str(reason) or type(error).__name__
