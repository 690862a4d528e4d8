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


"""Which scenes and bags a batch finds below its inputs, and under which keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from lift3d_ros.batch.items import BAG
from lift3d_ros.batch.items import find_items
from lift3d_ros.batch.items import Item
from lift3d_ros.batch.items import SCENE
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


def make_scene(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / 'camera.json').write_text('{}')
    return folder


def make_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def keys(*inputs: Path) -> list[tuple[str, str]]:
    return [(item.key, item.kind) for item in find_items(inputs)]


def test_folders_are_searched_in_the_order_of_names(tmp_path):
    make_scene(tmp_path / 'day' / 'b')
    make_scene(tmp_path / 'day' / 'a' / 'deep' / '2')
    make_scene(tmp_path / 'day' / 'a' / 'deep' / '10')
    make_scene(tmp_path / 'day' / '.hidden' / 'x')
    make_file(tmp_path / 'day' / 'notes.md')
    assert keys(tmp_path / 'day') == [
        ('day/a/deep/10', SCENE), ('day/a/deep/2', SCENE), ('day/b', SCENE)]


def test_source_views_of_a_scene_are_no_scenes(tmp_path):
    make_scene(tmp_path / 'mug')
    make_scene(tmp_path / 'mug' / 'views' / '0')
    assert keys(tmp_path / 'mug') == [('mug', SCENE)]


def test_bags_are_folders_of_a_recording_or_single_files(tmp_path):
    closed, open_, loose = (tmp_path / 'run' / name for name in ('closed', 'open', 'loose'))
    make_file(closed / 'metadata.yaml')
    make_file(closed / 'other.mcap')
    make_file(open_ / 'open_0.db3')
    make_file(open_ / 'open_1.db3')
    make_file(loose / 'monday.mcap')
    make_file(loose / 'tuesday.db3.zstd')
    assert keys(tmp_path / 'run') == [
        ('run/closed', BAG), ('run/loose/monday', BAG), ('run/loose/tuesday', BAG),
        ('run/open', BAG)]


def test_a_list_names_inputs_relative_to_its_folder(tmp_path):
    make_scene(tmp_path / 'here' / 'a')
    make_scene(tmp_path / 'elsewhere' / 'b')
    make_file(tmp_path / 'here' / 'photo.png')
    names = tmp_path / 'here' / 'inputs.txt'
    names.write_text(f'# first\na\n\nphoto.png\n{tmp_path}/elsewhere\n')
    assert keys(names) == [
        ('a', SCENE), ('photo', SCENE), (f'{str(tmp_path)[1:]}/elsewhere/b', SCENE)]


def test_the_same_scene_twice_is_one_item(tmp_path):
    make_scene(tmp_path / 'a')
    assert keys(tmp_path / 'a', tmp_path / 'x' / '..' / 'a') == [('a', SCENE)]


@pytest.mark.parametrize('given', ['absent', 'empty', 'list', 'file', 'twins', 'bytes'])
def test_bad_inputs_are_refused(given, tmp_path):
    (tmp_path / 'empty').mkdir()
    make_scene(tmp_path / 'one' / 'a')
    make_scene(tmp_path / 'two' / 'a')
    (tmp_path / 'list.txt').write_text('absent\n')
    (tmp_path / 'bytes.txt').write_bytes(b'\xff\xfe')
    inputs = {
        'absent': [tmp_path / 'absent'],
        'empty': [tmp_path / 'empty'],
        'list': [tmp_path / 'list.txt'],
        'file': [make_file(tmp_path / 'x.zip')],
        'twins': [tmp_path / 'one' / 'a', tmp_path / 'two' / 'a'],
        'bytes': [tmp_path / 'bytes.txt'],
    }[given]
    with pytest.raises(LiftError) as caught:
        find_items(inputs)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_links_to_a_folder_above_do_not_go_round(tmp_path):
    make_scene(tmp_path / 'day' / 'a')
    (tmp_path / 'day' / 'again').symlink_to(tmp_path / 'day')
    assert keys(tmp_path / 'day') == [('day/a', SCENE)]


def test_the_parts_of_a_bag_cover_its_images_once():
    parts = Item('bag', BAG, '/bag').parts(45, 20)
    assert [(part.first, part.count) for part in parts] == [(0, 20), (20, 20), (40, 5)]
    assert len({part.key for part in parts}) == 3
    assert Item('bag', BAG, '/bag').parts(0, 20) == []
