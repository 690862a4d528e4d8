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


"""The items of a batch: scenes, bags and parts of bags, found below the given inputs."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
import os
from pathlib import Path
import re

from lift3d_ros.bags.bag import is_bag_file
from lift3d_ros.bags.bag import METADATA
from lift3d_ros.errors import bad_request
from lift3d_ros.io.scene_files import is_picture
from lift3d_ros.io.scene_files import PICTURES
from lift3d_ros.runtime.files import read_regular

#: Kinds of items. A bag is only opened and divided; its parts are lifted.
KINDS = SCENE, BAG, PART = 'scene', 'bag', 'part'

#: Suffixes of lists of inputs.
LISTS = ('.txt', '.list')

#: Largest size of a list, bytes: ten million paths of 100 characters.
_MAX_LIST_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Item:
    """
    A piece of work.

    - ``key``: name of its results below the output folder, with slashes; no two items share one.
    - ``kind``: one of ``KINDS``; ``path``: of the scene or bag, absolute.
    - ``first``, ``count``: the images of a part, among those of the bag that are lifted.
    """

    key: str
    kind: str
    path: str
    first: int = 0
    count: int = 0

    def parts(self, images: int, size: int) -> list[Item]:
        """Return the parts of a bag with so many images, ``size`` images each at most."""
        return [
            Item(f'{self.key}/{first:06d}', PART, self.path, first, min(size, images - first))
            for first in range(0, images, size)
        ]


def find_items(inputs: Iterable[Path]) -> list[Item]:
    """
    Return the items of scenes, bags, folders and lists, in a fixed order.

    A folder with rgb and camera.json is a scene, a folder with the files of one recording a bag;
    other folders are searched. An image file that is given or listed is a scene. A list is a file
    that ends in one of ``LISTS``, with a path on each line, relative to its folder; empty lines
    and those that begin with # are skipped.

    The key of an item is its path from the given folder, the name of that folder included; for an
    entry of a list its path from the folder of the list.

    Raises ``LiftError(BAD_REQUEST)`` for an input that does not exist or has no items, and for two
    items of one key.
    """
    found: dict[str, Item] = {}
    for path in inputs:
        whole = Path(os.path.abspath(path))
        items = _of_list(whole) if whole.suffix.lower() in LISTS else _of_input(whole, whole.name)
        before = len(found)
        repeated = False
        for item in items:
            other = found.setdefault(item.key, item)
            if other.path != item.path:
                raise bad_request(
                    f'{other.path} and {item.path} would both be written to {item.key}; rename '
                    'one, or use two output folders.')
            repeated |= other is not item
        if len(found) == before and not repeated:
            raise bad_request(
                f'{str(path)[:300]} has no scenes and no bags; a scene is a folder with rgb.png, '
                'mask.png and camera.json, a bag a folder with metadata.yaml and its files.')
    return list(found.values())


def _of_list(path: Path) -> Iterator[Item]:
    try:
        content = read_regular(path, _MAX_LIST_BYTES)
        lines = content.decode().splitlines()
    except OSError as error:
        raise bad_request(f'The list {path} cannot be read: {error.strerror}.') from error
    except UnicodeDecodeError as error:
        raise bad_request(f'The list {path} is not text in UTF-8 ({error.reason}).') from error
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith('#'):
            continue
        entry = Path(os.path.abspath(path.parent / text))
        try:
            name = str(entry.relative_to(path.parent))
        except ValueError:
            name = str(entry).lstrip('/')
        if not os.path.exists(entry):
            raise bad_request(f'{path}, line {number}: there is no {str(entry)[:300]}.')
        yield from _of_input(entry, name)


def _of_input(path: Path, key: str) -> Iterator[Item]:
    """Yield the item at a path, or those below it."""
    try:
        is_folder = path.is_dir()
        exists = is_folder or path.exists()
    except (OSError, ValueError) as error:
        raise bad_request(f'{str(path)[:300]!r} cannot be read: {error}.') from error
    if not exists:
        raise bad_request(f'There is no {str(path)[:300]}.')
    if is_folder:
        yield from _of_folder(path, key)
    elif is_picture(path):
        yield Item(os.path.splitext(key)[0], SCENE, str(path))
    elif is_bag_file(path):
        yield Item(_bag_key(key), BAG, str(path))
    else:
        raise bad_request(
            f'{path} is none of: scene folder, image file, bag (.mcap, .db3), list '
            f'({", ".join(LISTS)}).')


def _of_folder(path: Path, key: str) -> Iterator[Item]:
    """Yield the items below a folder, sorted by name; links to folders are followed once."""
    try:
        with os.scandir(path) as entries:
            names = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise bad_request(f'The folder {path} cannot be read: {error.strerror}.') from error
    files = [entry.name for entry in names if not _is_folder(entry)]
    if any(_is_part_of_scene(name) for name in files):
        yield Item(key, SCENE, str(path))
        return
    bags = [name for name in files if is_bag_file(Path(name))]
    of_recording = re.compile(re.escape(path.name) + r'_\d+\.')
    # A recorder names the files of a recording by its folder, and writes the metadata last.
    if bags and (METADATA in files or all(of_recording.match(name) for name in bags)):
        yield Item(key, BAG, str(path))
        return
    for entry in names:
        if entry.name.startswith('.'):
            continue
        if _is_folder(entry):
            if entry.is_symlink() and path.resolve().is_relative_to(Path(entry.path).resolve()):
                continue   # a link to a folder above it
            yield from _of_folder(path / entry.name, f'{key}/{entry.name}')
        elif entry.name in bags:
            yield Item(_bag_key(f'{key}/{entry.name}'), BAG, str(path / entry.name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_part_of_scene(name: str) -> bool:
    stem, suffix = os.path.splitext(name.lower())
    return name == 'camera.json' or (stem == 'rgb' and suffix in PICTURES)


def _bag_key(key: str) -> str:
    """Return the key of a bag of one file: its path without the endings of its format."""
    return re.sub(r'\.(mcap|db3)(\.zstd)?$', '', key, flags=re.IGNORECASE)
