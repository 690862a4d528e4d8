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

"""Files of bags: formats, compression, several files, and what is left of damaged ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import shutil
import sqlite3

from bag_helpers import contents
from bag_helpers import rewrite_mcap
from bag_helpers import stamps
import numpy as np
import pytest

from lift3d_ros.bags.bag import Bag
from lift3d_ros.bags.topics import choose_topics
from lift3d_ros.bags.writer import BagWriter
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.messages.conversions import decode_depth
from lift3d_ros.messages.conversions import decode_image
from lift3d_ros.messages.conversions import decode_mask
from lift3d_ros.synthetic.table_bag import DEPTH
from lift3d_ros.synthetic.table_bag import IMAGE
from lift3d_ros.synthetic.table_bag import MASK
from lift3d_ros.synthetic.table_bag import TableBagSettings
from lift3d_ros.synthetic.table_bag import write_table_bag

SMALL = TableBagSettings(width=96, duration=4.0, image_rate=1.0, transform_rate=5.0)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, small_frames):
    """Return a complete bag of one MCAP file."""
    path = tmp_path_factory.mktemp('whole') / 'whole.mcap'
    write_table_bag(path, SMALL, small_frames)
    return path


@pytest.fixture(scope='module')
def database(tmp_path_factory, small_frames):
    """Return a complete bag with one database."""
    path = tmp_path_factory.mktemp('database') / 'recorded'
    write_table_bag(path, replace(SMALL, storage='sqlite3'), small_frames)
    return path


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('compression', ['', 'file', 'message'])
def test_all_formats_hold_the_same_messages(tmp_path, whole, small_frames, storage, compression):
    path = tmp_path / 'recorded'
    settings = replace(SMALL, storage=storage, compression=compression)
    write_table_bag(path, settings, small_frames)
    assert contents(path) == contents(whole)
    with Bag(path) as bag:
        assert bag.lost == []
        assert bag.topics[IMAGE].count == len(small_frames)


def test_messages_are_those_that_were_written(whole, small_frames):
    with Bag(whole) as bag:
        entries = list(bag.entries({IMAGE, DEPTH}))
        messages = [(entry.topic, bag.message(entry)) for entry in entries]
    images = [message for topic, message in messages if topic == IMAGE]
    assert [m.header.stamp.nanosec for m in images] == [250_000_000] * len(small_frames)
    for message, frame in zip(images, small_frames, strict=True):
        assert (message.data.reshape(frame.image.shape) == frame.image).all()


def test_the_files_of_a_recording_are_one_bag(tmp_path, small_frames):
    expected = []
    folder = tmp_path / 'split'
    folder.mkdir()
    # A recorder that was killed leaves files without metadata; 10 comes after 2.
    for number, (first, last) in ((0, (0, 2)), (2, (2, 4)), (10, (4, 5))):
        path = folder / f'split_{number}.mcap'
        write_table_bag(path, SMALL, small_frames[first:last])
        expected += contents(path)
    assert contents(folder) == expected
    assert stamps(folder, IMAGE) == [frame.stamp for frame in small_frames]
    with Bag(folder) as bag:
        assert len(bag.lost) == 1


def test_a_missing_file_is_named_and_the_others_are_read(tmp_path, database):
    folder = tmp_path / 'recorded'
    shutil.copytree(database, folder)
    metadata = folder / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace(
        '- recorded.db3', '- recorded.db3\n  - recorded_1.db3', 1))
    with Bag(folder) as bag:
        assert bag.topics[IMAGE].count == 5
        assert len(bag.lost) == 1
        assert 'recorded_1.db3' in bag.lost[0]


def test_messages_that_the_metadata_count_and_the_files_lack_are_named(tmp_path, database):
    folder = tmp_path / 'recorded'
    shutil.copytree(database, folder)
    with sqlite3.connect(folder / 'recorded.db3') as connection:
        connection.execute('DELETE FROM messages WHERE id > 10')
    with Bag(folder) as bag:
        assert len(bag.lost) >= 3
        assert any(IMAGE in sentence for sentence in bag.lost)


@pytest.mark.parametrize('text', ['', 'rosbag2_bagfile_information: [', 'a: 1', '- 1\n- 2'])
def test_damaged_metadata_do_not_matter(tmp_path, database, text):
    folder = tmp_path / 'recorded'
    shutil.copytree(database, folder)
    (folder / 'metadata.yaml').write_text(text)
    assert contents(folder) == contents(database)
    with Bag(folder) as bag:
        assert len(bag.lost) == 1


def test_compressed_pictures_are_found_and_read(tmp_path, small_frames):
    path = tmp_path / 'compressed.mcap'
    write_table_bag(path, replace(SMALL, compressed=True), small_frames)
    with Bag(path) as bag:
        topics = choose_topics(bag)
        assert topics == choose_topics(bag, image=IMAGE, mask=MASK, depth=DEPTH)
        assert topics.image == f'{IMAGE}/compressed'
        assert topics.depth == f'{DEPTH}/compressedDepth'
        names = (topics.image, topics.depth, topics.mask)
        image, depth, mask = (bag.message(next(bag.entries({name}))) for name in names)
    first = small_frames[0]
    assert np.abs(decode_image(image).astype(int) - first.image).mean() < 5.0
    assert np.allclose(decode_depth(depth), first.depth, atol=0.0006)
    assert (decode_mask(mask) == first.labels).all()


# --- damage -------------------------------------------------------------------------------------


def cut(path: Path, target: Path, size: int) -> Path:
    target.write_bytes(path.read_bytes()[:size])
    return target


@pytest.mark.parametrize('share', [0.3, 0.5, 0.7, 0.9])
def test_a_file_that_is_cut_off_is_read_up_to_there(tmp_path, whole, share):
    size = whole.stat().st_size
    original = contents(whole)
    short = cut(whole, tmp_path / 'cut.mcap', int(share * size))
    found = contents(short)
    assert found == original[:len(found)]
    assert len(found) > (share - 0.25) * len(original)
    with Bag(short) as bag:
        list(bag.entries(set(bag.topics)))
        assert len(bag.lost) == 1


def test_more_of_a_file_never_gives_less(tmp_path, whole):
    size, counts = whole.stat().st_size, []
    for share in range(1, 21):
        try:
            counts.append(len(contents(cut(whole, tmp_path / 'cut.mcap', size * share // 20))))
        except LiftError as error:
            assert error.code is ErrorCode.BAD_REQUEST
            counts.append(0)
    assert counts == sorted(counts)
    assert counts[-1] == len(contents(whole))


def test_a_recording_that_was_not_closed_is_whole(tmp_path, whole):
    data = whole.read_bytes()
    # The data section ends with the record DataEnd, whose content has four bytes.
    end = data.rindex(b'\x0f\x04\x00\x00\x00\x00\x00\x00\x00')
    unclosed = cut(whole, tmp_path / 'unclosed.mcap', end)
    assert contents(unclosed) == contents(whole)
    with Bag(unclosed) as bag:
        assert len(bag.lost) == 1


def test_zeros_at_the_end_as_after_a_power_failure_end_the_file(tmp_path, whole):
    data = whole.read_bytes()
    end = data.rindex(b'\x0f\x04\x00\x00\x00\x00\x00\x00\x00')
    path = tmp_path / 'zeros.mcap'
    path.write_bytes(data[:end] + bytes(4096))
    assert contents(path) == contents(whole)


@pytest.mark.parametrize('index', [True, False])
@pytest.mark.parametrize('compression', ['', 'zstd', 'lz4'])
def test_chunks_are_read(tmp_path, whole, compression, index):
    path = tmp_path / 'chunks.mcap'
    rewrite_mcap(whole, path, compression, index)
    assert contents(path) == contents(whole)


@pytest.mark.parametrize('index', [True, False])
@pytest.mark.parametrize('compression', ['', 'zstd', 'lz4'])
def test_a_damaged_chunk_costs_its_messages_only(tmp_path, whole, compression, index):
    path = tmp_path / 'chunks.mcap'
    offsets = rewrite_mcap(whole, path, compression, index, per_chunk=8)
    data = bytearray(path.read_bytes())
    data[(offsets[2] + offsets[3]) // 2] ^= 0xFF
    path.write_bytes(data)
    original = contents(whole)
    assert contents(path) == original[:16] + original[24:]
    with Bag(path) as bag:
        for entry in bag.entries(set(bag.topics)):
            bag.read(entry)
        assert bag.lost


@pytest.mark.parametrize('compression', ['', 'zstd', 'lz4'])
def test_a_chunk_that_is_cut_off_is_read_up_to_there(tmp_path, whole, compression):
    path = tmp_path / 'chunks.mcap'
    original = contents(whole)
    offset, = rewrite_mcap(whole, path, compression, per_chunk=len(original))
    cut(path, path, offset + 3 * (path.stat().st_size - offset) // 4)
    found = contents(path)
    assert found == original[:len(found)]
    assert len(found) > len(original) // 4


@pytest.mark.parametrize('share', [0.4, 0.6, 0.8])
def test_a_database_that_is_cut_off_is_read_up_to_there(tmp_path, database, share):
    source = database / 'recorded.db3'
    original = contents(database)
    short = cut(source, tmp_path / 'cut.db3', int(share * source.stat().st_size))
    found = contents(short)
    assert found == original[:len(found)]
    assert len(found) > (share - 0.35) * len(original)
    with Bag(short) as bag:
        list(bag.entries(set(bag.topics)))
        assert bag.lost


def test_the_write_ahead_log_of_a_killed_recorder_is_read(tmp_path, database):
    folder = tmp_path / 'killed'
    folder.mkdir()
    source = tmp_path / 'open.db3'
    shutil.copy(database / 'recorded.db3', source)
    connection = sqlite3.connect(source)
    connection.execute('PRAGMA journal_mode=WAL')
    connection.execute(
        'INSERT INTO messages (topic_id, timestamp, data) '
        'SELECT topic_id, timestamp + 60000000000, data FROM messages')
    connection.commit()
    for ending in ('', '-wal'):
        shutil.copy(f'{source}{ending}', folder / f'killed.db3{ending}')
    connection.close()
    assert len(contents(folder)) == 2 * len(contents(database))


def test_a_compressed_file_that_is_cut_off_is_read_up_to_there(tmp_path, small_frames):
    folder = tmp_path / 'recorded'
    write_table_bag(folder, replace(SMALL, compression='file'), small_frames)
    original = contents(folder)
    file = folder / 'recorded.mcap.zstd'
    cut(file, file, int(0.6 * file.stat().st_size))
    found = contents(folder)
    assert 0 < len(found) < len(original)
    assert found == original[:len(found)]
    with Bag(folder) as bag:
        assert len(bag.lost) >= 2


# --- what is no bag -----------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['gone', 'text.mcap', 'text.db3', 'old.bag', 'notes.txt', 'dir'])
def test_what_is_no_bag_is_refused(tmp_path, name):
    path = tmp_path / name
    if name == 'dir':
        path.mkdir()
    elif name != 'gone':
        path.write_text('this is not a bag')
    with pytest.raises(LiftError) as caught:
        Bag(path)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_an_existing_bag_is_not_overwritten(tmp_path, database):
    before = contents(database)
    for path in (database, tmp_path / 'single.db3'):
        with pytest.raises(LiftError) as caught:
            BagWriter(path)
        assert caught.value.code is ErrorCode.BAD_REQUEST
    assert contents(database) == before


def test_a_bag_appears_when_it_is_complete(tmp_path):
    class StopError(Exception):
        pass

    with pytest.raises(StopError), BagWriter(tmp_path / 'new.mcap') as writer:
        writer.write('/header', 'std_msgs/Header', writer.types.make('std_msgs/Header'), 1)
        raise StopError
    assert list(tmp_path.iterdir()) == []


def test_masks_are_labels_in_the_recording(whole, small_frames):
    with Bag(whole) as bag:
        message = bag.message(next(bag.entries({MASK})))
    assert (message.data.reshape(small_frames[0].labels.shape) == small_frames[0].labels).all()
