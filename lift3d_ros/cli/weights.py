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

"""``lift3d weights``: list, import, fetch and verify weights."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.weights import store
from lift3d_ros.weights.catalog import CATALOG
from lift3d_ros.weights.catalog import Entry
from lift3d_ros.weights.catalog import entry_of

_DTYPES = ('float16', 'float32', 'bfloat16')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(required=True, metavar='ACTION', dest='action')
    actions.add_parser('list', help='list known weights, and where they are')
    verify = actions.add_parser('verify', help='compare weights with their recorded SHA-256')
    verify.add_argument('names', nargs='*', metavar='NAME', help='default: all installed weights')
    importing = actions.add_parser(
        'import', help='check published weights, convert them to safetensors and store them')
    importing.add_argument(
        'path', type=Path, metavar='PATH', help='a checkpoint, or a diffusers folder')
    importing.add_argument(
        '--sha256', metavar='DIGEST',
        help='expected digest of the file, as published; a file PATH.sha256 has the same effect')
    importing.add_argument('--name', help='name in the store (lift3d weights list)')
    _add_conversion(importing)
    fetch = actions.add_parser('fetch', help='download published weights, then import them')
    fetch.add_argument('name', metavar='NAME', help='a name of `lift3d weights list`')
    fetch.add_argument('--yes', action='store_true', help='do not ask before downloading')
    _add_conversion(fetch)
    export = actions.add_parser(
        'export', help='write small weights as files of another format, one for each network')
    export.add_argument(
        'name', nargs='?', default='small', metavar='NAME|PATH', help='small weights '
        '(default: small)')
    export.add_argument('--format', choices=('onnx',), default='onnx')
    export.add_argument('--out', type=Path, required=True, metavar='DIR')


def run(options: argparse.Namespace) -> int:
    """Run the action; return the exit status, 1 if weights differ from their record."""
    if options.action == 'list':
        return _list()
    if options.action == 'verify':
        return _verify(options.names)
    if options.action == 'import':
        return _import(options.path, options.name, options)
    if options.action == 'export':
        return _export(options.name, options.out)
    return _fetch(entry_of(options.name), options)


def _add_conversion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--dtype', choices=_DTYPES,
        help='store in this precision (default: that of the source; float16 halves float32)')
    parser.add_argument(
        '--no-ema', action='store_true',
        help='use the plain weights of the UNet, not their moving average')


def _list() -> int:
    rows = [('NAME', 'FAMILY', 'SIZE', 'LICENCE', 'WHERE')]
    for name in _known_names():
        folder = store.locate(name)
        entry = CATALOG.get(name)
        size = entry.size_text if entry else ''
        manifest = {}
        if folder is not None:
            try:
                size = store.format_size(store.size_of(folder))
                manifest = store.read_manifest(folder) or {}
            except LiftError:
                # `lift3d weights verify` reports the error.
                size = 'damaged'
        family = entry.family if entry else str(manifest.get('family', ''))
        licence = entry.licence if entry else str(manifest.get('licence', ''))
        rows.append((name, family, size or '-', licence, str(folder) if folder else 'not here'))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print('  '.join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)),
                         row[4]]))
    print(f'\nimported weights go to {store.user_root()} (${store.ENVIRONMENT}); sizes of those '
          'not here are approximate')
    return 0


def _known_names() -> list[str]:
    """Return the names of the catalog, then those of imports under other names."""
    names = list(CATALOG)
    for root in store.roots():
        if root.is_dir():
            names += sorted(folder.name for folder in root.iterdir()
                            if not folder.name.startswith('.')
                            and (folder / store.MANIFEST).is_file())
    return list(dict.fromkeys(names))


def _verify(names: list[str]) -> int:
    good = True
    chosen = names or [name for name in _known_names() if store.locate(name)]
    if not chosen:
        print('there are no weights here; `lift3d weights list` lists the known weights')
    for name in chosen:
        if names:
            folder = store.find(name)
        else:
            folder = store.locate(name) or Path(name)
        try:
            problems = store.problems(folder)
        except LiftError as error:
            problems = [error.message]
        good &= not problems
        for line in problems:
            print(f'{name}: {line}')
        if not problems:
            print(f'{name}: as recorded, {store.format_size(store.size_of(folder))} in {folder}')
    return 0 if good else 1


def _import(path: Path, name: str | None, options: argparse.Namespace) -> int:
    from lift3d_ros.weights.importing import import_weights

    import_weights(
        path, name, dtype=options.dtype, ema=not options.no_ema,
        sha256=getattr(options, 'sha256', None),
        say=lambda line: print(line, flush=True))
    return 0


def _fetch(entry: Entry, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from lift3d_ros.weights import fetching

    if entry.packaged:
        store.find(entry.name)
        print(f'{entry.name} comes with the package and is here')
        return 0
    files = fetching.remote_files(entry)
    sizes = [file.size for file in files]
    total = sum(size or 0 for size in sizes)
    known = '' if None not in sizes else ' or more'
    assert entry.remote is not None
    print(f'{entry.name}: {entry.description}')
    print(f'  from     {fetching.endpoint()}/{entry.remote.repository} ({len(files)} file'
          f'{"s" if len(files) > 1 else ""})')
    print(f'  size     {store.format_size(total)}{known}, and the same again during the import')
    print(f'  licence  {entry.licence}; see {entry.page}')
    print(f'  to       {store.user_root() / entry.name}')
    if not options.yes:
        _ask()
    with tqdm(total=total or None, unit='B', unit_scale=True, disable=None) as bar:
        path = fetching.download(entry, files, bar.update)
    print('downloaded, ' + ('SHA-256 as published' if all(file.sha256 for file in files)
                            else 'of the published size; no SHA-256 is published for all of it'))
    _import(path, entry.name, options)
    fetching.discard(entry)
    return 0


def _export(name: str, out: Path) -> int:
    from lift3d_ros.diffusion.onnx_export import export_onnx

    folder = store.find(name)
    store.check(folder)
    for path in export_onnx(folder, out):
        print(f'{path}  {store.format_size(path.stat().st_size)}')
    return 0


def _ask() -> None:
    """Raise ``LiftError`` unless the user at the terminal agrees."""
    if not sys.stdin.isatty():
        raise bad_request('Nothing was downloaded: without a terminal, use --yes.')
    try:
        answer = input('Download? [y/N] ')
    except EOFError:
        # Ctrl-D; end the line of the question.
        answer = ''
        print()
    if answer.strip().lower() not in ('y', 'yes'):
        raise LiftError(ErrorCode.CANCELLED, 'Nothing was downloaded.')
