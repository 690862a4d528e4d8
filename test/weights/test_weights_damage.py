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
Damaged weights: each is refused, or every tensor in it is still what it was, bit for bit.

The damage is drawn with a fixed seed; LIFT3D_DAMAGE_ROUNDS multiplies its amount.
"""

from __future__ import annotations

from collections import OrderedDict
import json
import os
from pathlib import Path
import random
import shutil
import struct
import subprocess
import sys
import zipfile

import pytest
from safetensors.torch import save_file
import torch
import weights_helpers as helpers

from lift3d_ros.cli import main
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import Lifter
from lift3d_ros.weights import store
from lift3d_ros.weights.formats.tables import one2345_shapes
from lift3d_ros.weights.importing import import_weights
from lift3d_ros.weights.integrity import sha256_of
from lift3d_ros.weights.loading import load_state_dicts_one2345
from lift3d_ros.weights.loading import load_zero123
from lift3d_ros.weights.loading import open_weights
from lift3d_ros.weights.loading import zero123_parts

pytestmark = pytest.mark.usefixtures('one_thread')

SMALL_WEIGHTS = Path(store.__file__).resolve().parents[2] / 'weights' / 'small'

ROUNDS = int(os.environ.get('LIFT3D_DAMAGE_ROUNDS', '1'))

DIGITS = b'0123456789'


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """Keep imported weights in a folder of the test."""
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / 'store'))
    return tmp_path / 'store'


def one2345():
    """Return a checkpoint of One-2-3-45 of random numbers, with what training adds."""
    torch.manual_seed(2)
    content = {network: OrderedDict((name, torch.randn(shape)) for name, shape in shapes.items())
               for network, shapes in one2345_shapes().items()}
    adam = {'state': {0: {'step': 215000, 'exp_avg': torch.zeros(3)}},
            'param_groups': [{'lr': 2e-4, 'betas': (0.9, 0.999), 'params': [0]}]}
    return {'optimizer': adam, 'iter_step': 215000, 'val_step': 10, **content}


@pytest.fixture(scope='module')
def checkpoint():
    """Return the tensors that files are written of."""
    return one2345()


@pytest.fixture(scope='module')
def ldm():
    """Return the state dict of an original checkpoint of small networks."""
    return helpers.ldm_state(helpers.networks())


def tensors_of(path):
    """Return all tensors that loading gives, by name; raises ``LiftError``."""
    opened = open_weights(path)
    if opened.kind.name == 'ONE2345':
        parts = load_state_dicts_one2345(path)
    else:
        parts = zero123_parts(opened).parts
    return {f'{part}.{name}': tensor.clone()
            for part, tensors in parts.items() for name, tensor in tensors.items()}


def same(first, second):
    """Return whether two sets of tensors are the same, bit for bit."""
    return first.keys() == second.keys() and all(
        tensor.dtype == second[name].dtype and tensor.shape == second[name].shape
        and torch.equal(tensor.contiguous().view(-1).view(torch.uint8),
                        second[name].contiguous().view(-1).view(torch.uint8))
        for name, tensor in first.items())


def write(form, folder, checkpoint, ldm):
    """Write weights in a format; return the path to load and the files that can be damaged."""
    path = folder / 'x'
    if form == 'torch zip':
        torch.save(checkpoint, path)
    elif form == 'old torch':
        torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    elif form == 'safetensors':
        save_file({f'{network}.{name}': tensor for network, tensors in checkpoint.items()
                   if network.endswith('network_lod0') or network.startswith('pyramid')
                   for name, tensor in tensors.items()}, path)
    elif form == 'nested ckpt':
        helpers.write_ldm(path, ldm, callbacks={'x': [1, (2.0, None)]}, loops=OrderedDict(a=1))
    elif form == 'diffusers folder':
        helpers.write_layout(path, helpers.networks(), 'B')
        return path, sorted(file for file in path.rglob('*.bin'))
    else:
        torch.save(checkpoint, folder / 'source')
        path = import_weights(folder / 'source')
        return path, sorted(file for file in path.rglob('*') if file.is_file())
    return path, [path]


def damaged(data, rng):
    """Return content with one damage, and what kind it is."""
    kind = rng.choice((
        'bit', 'bit', 'bit at the beginning', 'bit at the end', 'cut', 'more', 'zeros', 'swap',
        'byte less', 'byte more', 'digit'))
    changed = bytearray(data)
    size = len(data)
    if kind.startswith('bit'):
        near = min(size, 4096)
        place = {'bit': rng.randrange(size), 'bit at the beginning': rng.randrange(near),
                 'bit at the end': size - 1 - rng.randrange(near)}[kind]
        changed[place] ^= 1 << rng.randrange(8)
    elif kind == 'cut':
        del changed[rng.choice((rng.randrange(size), size - 1 - rng.randrange(min(size, 64)))):]
    elif kind == 'more':
        changed += rng.randbytes(rng.choice((1, 64, 4096)))
    elif kind == 'zeros':
        start = rng.randrange(size)
        end = min(size, start + rng.choice((1, 16, 512)))
        changed[start:end] = bytes(end - start)
    elif kind == 'swap' and size > 256:
        first, second = sorted(rng.sample(range(0, size - 64), 2))
        if second - first >= 64:
            changed[first:first + 64], changed[second:second + 64] = (
                changed[second:second + 64], changed[first:first + 64])
    elif kind == 'byte less':
        del changed[rng.randrange(size)]
    elif kind == 'byte more':
        changed.insert(rng.randrange(size), rng.randrange(256))
    else:
        places = [place for place in range(min(size, 20_000)) if data[place] in DIGITS]
        if places:
            changed[rng.choice(places)] = rng.choice(DIGITS)
    return bytes(changed), kind


def campaign(path, files, rounds, seed, load=tensors_of):
    """Damage and load; return how many were refused, unchanged, and changed in silence."""
    rng = random.Random(seed)
    truth = load(path)
    counts = {'refused': 0, 'the same': 0}
    wrong = []
    for _ in range(rounds * ROUNDS):
        file = rng.choice(files)
        good = file.read_bytes()
        bad, kind = damaged(good, rng)
        file.write_bytes(bad)
        try:
            found = load(path)
        except LiftError as error:
            assert error.code in (ErrorCode.WEIGHTS_CORRUPT, ErrorCode.WEIGHTS_MISSING), error
            assert error.message.isprintable() and len(error.message) < 5000
            counts['refused'] += 1
        else:
            if same(found, truth):
                counts['the same'] += 1
            else:
                wrong.append((kind, file.name))
        finally:
            file.write_bytes(good)
    print(counts, wrong)
    return counts, wrong


@pytest.mark.parametrize(('form', 'rounds'), [
    ('torch zip', 60), ('nested ckpt', 12), ('diffusers folder', 12), ('imported folder', 60),
])
def test_damage_is_refused_or_changes_nothing(form, rounds, checkpoint, ldm, tmp_path):
    path, files = write(form, tmp_path, checkpoint, ldm)
    counts, wrong = campaign(path, files, rounds, 7)
    assert wrong == [] and counts['refused'] > 0


@pytest.mark.parametrize('form', ['old torch', 'safetensors'])
def test_damage_of_formats_without_checksum_is_found_by_the_digest_beside(
        form, checkpoint, ldm, tmp_path):
    path, files = write(form, tmp_path, checkpoint, ldm)
    path.with_name('x.sha256').write_text(f'{sha256_of(path)}  x\n')
    counts, wrong = campaign(path, files, 40, 11)
    assert wrong == [] and counts['refused'] > 0


@pytest.mark.parametrize('form', ['old torch', 'safetensors'])
def test_without_a_digest_only_values_can_be_wrong(form, checkpoint, ldm, tmp_path, capsys):
    path, files = write(form, tmp_path, checkpoint, ldm)

    def shapes(path):
        return {name: torch.empty(tensor.shape, dtype=torch.uint8)
                for name, tensor in tensors_of(path).items()}

    rng = random.Random(13)
    truth = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors_of(path).items()}
    good = path.read_bytes()
    for _ in range(40 * ROUNDS):
        path.write_bytes(damaged(good, rng)[0])
        try:
            found = tensors_of(path)
        except LiftError as error:
            assert error.code is ErrorCode.WEIGHTS_CORRUPT
        else:
            assert {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} == truth
            assert all(torch.isfinite(tensor).all() for tensor in found.values()
                       if tensor.is_floating_point())
    path.write_bytes(good)
    assert main(['weights', 'import', str(path)]) == 0
    # The digest that is to be compared is named.
    assert sha256_of(path) in capsys.readouterr().out


def test_a_digest_that_is_given_is_compared(checkpoint, ldm, tmp_path, capsys):
    path, _ = write('safetensors', tmp_path, checkpoint, ldm)
    digest = sha256_of(path)
    assert main(['weights', 'import', str(path), '--sha256', digest.upper()]) == 0
    assert 'no checksum' not in capsys.readouterr().out
    assert main(['weights', 'import', str(path), '--sha256', '0' * 64]) == 2
    assert digest in capsys.readouterr().err
    assert main(['weights', 'import', str(path), '--sha256', 'abc']) == 2
    path.with_name('x.sha256').write_text('nonsense')
    with pytest.raises(LiftError) as error:
        tensors_of(path)
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT


# The packaged weights.


@pytest.fixture(scope='module')
def packaged(tmp_path_factory):
    """Return a copy of the packaged weights."""
    folder = tmp_path_factory.mktemp('packaged') / 'small'
    shutil.copytree(SMALL_WEIGHTS, folder)
    store.check(folder, digests=True)
    return folder


def test_each_flipped_bit_of_the_packaged_weights_is_found(packaged):
    rng = random.Random(3)
    files = sorted(file for file in packaged.rglob('*') if file.is_file())
    for file in files:
        for _ in range(3 * ROUNDS):
            place, bit = rng.randrange(file.stat().st_size), 1 << rng.randrange(8)
            with file.open('r+b') as opened:
                for again in (False, True):
                    opened.seek(place)
                    value = opened.read(1)[0]
                    opened.seek(place)
                    opened.write(bytes([value ^ bit]))
                    opened.flush()
                    if again:
                        break
                    if file.name == store.MANIFEST:
                        harmless = _same_record(file, SMALL_WEIGHTS / store.MANIFEST)
                    if file.name != store.MANIFEST or not harmless:
                        with pytest.raises(LiftError) as error:
                            store.check(packaged)
                        assert error.value.code is ErrorCode.WEIGHTS_CORRUPT, (file, place)
    store.check(packaged)


def _same_record(first, second):
    """Return whether two records list the same files, though other facts may differ."""
    try:
        return (json.loads(first.read_bytes())['files']
                == json.loads(second.read_bytes())['files'])
    except (ValueError, KeyError):
        return False


def test_a_flipped_bit_is_found_when_the_method_is_loaded(packaged):
    lifter = Lifter('one2345', weights=str(packaged))
    lifter.check()
    file = packaged / 'unet/model.safetensors'
    good = file.read_bytes()
    # Of a time that files have that were copied with their times.
    times = file.stat()
    file.write_bytes(good[:90_000] + bytes([good[90_000] ^ 4]) + good[90_001:])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    try:
        for step in (lifter.check, lifter.load):
            with pytest.raises(LiftError) as error:
                step()
            assert error.value.code is ErrorCode.WEIGHTS_CORRUPT
    finally:
        file.write_bytes(good)


def test_files_that_no_record_knows_are_not_loaded(packaged):
    other = packaged / 'unet/diffusion_pytorch_model.safetensors'
    other.write_bytes((packaged / 'unet/model.safetensors').read_bytes())
    try:
        with pytest.raises(LiftError) as error:
            store.check(packaged)
        assert error.value.code is ErrorCode.WEIGHTS_CORRUPT
        assert 'unet/diffusion_pytorch_model.safetensors' in error.value.message
    finally:
        other.unlink()


# Single faults.


def refused(path, code=ErrorCode.WEIGHTS_CORRUPT):
    """Assert that weights are refused on loading and on import; return the message."""
    for step in (load_state_dicts_one2345, load_zero123, lambda path: import_weights(path, 'x')):
        with pytest.raises(LiftError) as error:
            step(path)
        assert error.value.code is code, error.value
        assert error.value.message.isprintable()
    return error.value.message


def test_a_compressed_archive_is_refused(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / 'x')
    with zipfile.ZipFile(tmp_path / 'x') as archive, zipfile.ZipFile(
            tmp_path / 'y', 'w', zipfile.ZIP_DEFLATED) as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    assert 'compressed' in refused(tmp_path / 'y')


def test_an_archive_packed_again_without_compression_is_read(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / 'x')
    with zipfile.ZipFile(tmp_path / 'x') as archive, zipfile.ZipFile(
            tmp_path / 'y', 'w') as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    assert same(tensors_of(tmp_path / 'x'), tensors_of(tmp_path / 'y'))


@pytest.mark.parametrize('value', ['nan', 'inf', '1e37'])
@pytest.mark.parametrize('form', ['torch', 'safetensors'])
def test_numbers_that_no_network_has_are_refused(form, value, tmp_path):
    content = one2345()
    content['sdf_network_lod0']['sdf_layer.lin1.bias'][5] = float(value)
    if form == 'torch':
        torch.save(content, tmp_path / 'x')
    else:
        write('safetensors', tmp_path, content, None)
    with pytest.raises(LiftError) as error:
        load_state_dicts_one2345(tmp_path / 'x')
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT
    assert 'sdf_layer.lin1.bias' in error.value.message


KINDS = {
    'float8': lambda: torch.zeros(128).to(torch.float8_e4m3fn),
    'complex': lambda: torch.zeros(128, dtype=torch.complex64),
    'uint16': lambda: torch.zeros(128, dtype=torch.uint16),
    'sparse': lambda: torch.zeros(128).to_sparse(),
    'csr': lambda: torch.zeros(16, 16).to_sparse_csr(),
    'meta': lambda: torch.zeros(128, device='meta'),
    'quantised': lambda: torch.quantize_per_tensor(torch.zeros(128), 0.1, 0, torch.qint8),
    'nested': lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    'whole numbers': lambda: torch.zeros(128, dtype=torch.int32),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.filterwarnings('ignore')
def test_tensors_of_other_kinds_are_refused(kind, tmp_path):
    content = one2345()
    content['sdf_network_lod0']['sdf_layer.lin1.bias'] = KINDS[kind]()
    torch.save(content, tmp_path / 'x')
    with pytest.raises(LiftError) as error:
        load_state_dicts_one2345(tmp_path / 'x')
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT
    assert 'sdf_layer.lin1.bias' in error.value.message


@pytest.mark.parametrize('depth', [2_000, 200_000])
def test_deeply_nested_json_is_refused(depth, packaged, tmp_path):
    text = b'[' * depth
    (tmp_path / 'x').write_bytes(struct.pack('<Q', len(text) + 5) + b'{"a":' + text)
    refused(tmp_path / 'x')
    folder = helpers.write_layout(tmp_path / 'f', helpers.networks(), 'A')
    (folder / 'unet/config.json').write_bytes(text)
    refused(folder)
    (tmp_path / 'm').mkdir()
    (tmp_path / 'm' / store.MANIFEST).write_bytes(b'{"files":' + text)
    refused(tmp_path / 'm')


def entry(dtype='F32', shape=(2,), places=(0, 8)):
    """Return the entry of a tensor in the header of safetensors."""
    return {'dtype': dtype, 'shape': list(shape), 'data_offsets': list(places)}


@pytest.mark.parametrize(('header', 'size'), [
    ({'a': entry(), 'b': entry()}, 8),
    ({'a': entry(), 'b': entry(places=(4, 12))}, 12),
    ({'a': entry(), 'b': entry(places=(16, 24))}, 24),
    ({'a': entry(places=(8, 0))}, 8),
    ({'a': entry(places=(-8, 0))}, 0),
    ({'a': entry(places=(0, 2**62), shape=(2**60,))}, 8),
    ({'a': entry(shape=(2**40, 2**40))}, 8),
    ({'a': entry(shape=(-2, -1))}, 8),
    ({'a': entry(shape=(2.0,))}, 8),
    ({'a': entry(shape=('2',))}, 8),
    ({'a': entry(shape=(True, 2))}, 8),
    ({'a': entry(shape=(1,) * 60 + (2,))}, 8),
    ({'a': entry(dtype='F8_E4M3', shape=(8,))}, 8),
    ({'a': entry(dtype='C64', shape=(1,))}, 8),
    ({'a': entry(dtype=['F32'])}, 8),
    ({'a': None}, 8),
    ({'a': {'dtype': 'F32'}}, 8),
    ({'a': {**entry(), 'more': 1}}, 8),
    ({'a': {**entry(), 'shape': 2}}, 8),
    ({'a\u0000\ud800\n': entry(), 'b': 3}, 8),
    ({'x' * 100_000: entry(), 'b': 3}, 8),
    ({'a': {**entry(), 'data_offsets': float('nan')}}, 8),
    ([], 0), (3, 0), (None, 0),
])
def test_a_header_that_makes_no_sense_is_refused(header, size, tmp_path):
    text = json.dumps(header).encode()
    if not text.startswith(b'{'):
        text = b'{' + text
    (tmp_path / 'x').write_bytes(struct.pack('<Q', len(text)) + text + bytes(size))
    refused(tmp_path / 'x')


GOOD = {'sha256': '0' * 64, 'bytes': 1}


@pytest.mark.parametrize('record', [
    {'files': {'../x': GOOD}}, {'files': {'/etc/passwd': GOOD}}, {'files': {'a/../../x': GOOD}},
    {'files': {'': GOOD}}, {'files': {'x\u0000y': GOOD}}, {'files': {'x' * 5000: GOOD}},
    {'files': {'y' * 300: GOOD}}, {'files': {'x': {**GOOD, 'bytes': -1}}},
    {'files': {'x': {**GOOD, 'bytes': 1e400}}}, {'files': {'x': {**GOOD, 'bytes': '1'}}},
    {'files': {'x': {**GOOD, 'bytes': True}}}, {'files': {'x': {**GOOD, 'bytes': 10**400}}},
    {'files': {'x': {**GOOD, 'bytes': 10**5000}}}, {'files': {'x': {**GOOD, 'sha256': 5}}},
    {'files': {'x': {**GOOD, 'sha256': 'z' * 64}}}, {'files': {'x': [1]}}, {'files': {'x': None}},
    {'files': ['x']}, {'files': None}, {'files': 3}, {}, [], 'x', None,
    {'files': {}, 'family': ['zero123']}, {'files': {}, 'name': {}}, {'files': {}, 'licence': 3},
])
def test_a_record_of_wrong_values_is_refused(record, own_store, capsys):
    folder = own_store / 'mine'
    folder.mkdir(parents=True)
    sys.set_int_max_str_digits(0)
    text = json.dumps(record)
    sys.set_int_max_str_digits(4300)
    (folder / store.MANIFEST).write_text(text)
    refused(folder)
    assert main(['weights', 'verify', 'mine']) == 1
    assert 'mine: ' in capsys.readouterr().out


@pytest.mark.parametrize(('part', 'name', 'value'), [
    ('unet', 'layers_per_block', 10**6), ('unet', 'layers_per_block', [2] * 10**5),
    ('unet', 'block_out_channels', [32] * 5000), ('unet', 'block_out_channels', 'abc'),
    ('unet', 'transformer_layers_per_block', 10**6),
    ('unet', 'in_channels', -1), ('unet', 'in_channels', 10**12), ('unet', 'sample_size', 1e300),
    ('vae', 'down_block_types', [['x']]), ('vae', 'down_block_types', None),
    ('image_encoder', 'num_hidden_layers', 10**9), ('image_encoder', 'hidden_size', 'x'),
    ('image_encoder', 'architectures', {'a': 1}), ('image_encoder', 'architectures', 5),
    ('image_encoder', 'hidden_act', ['x']), ('image_encoder', 'patch_size', 0),
    ('scheduler', 'num_train_timesteps', 10**11), ('scheduler', 'num_train_timesteps', -1),
    ('scheduler', 'beta_start', 'x'), ('scheduler', 'beta_end', 1e5),
    ('scheduler', 'beta_schedule', 'x'), ('scheduler', 'trained_betas', 'x'),
])
def test_settings_that_no_network_has_are_refused(part, name, value, tmp_path):
    folder = helpers.write_layout(tmp_path / 'f', networks_of_the_test(), 'A')
    path = folder / part / ('scheduler_config.json' if part == 'scheduler' else 'config.json')
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(LiftError) as error:
        load_zero123(folder, family='zero123')
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT
    assert error.value.message.isprintable()


_made = []


def networks_of_the_test():
    """Return small networks, which are the same in each test."""
    if not _made:
        _made.append(helpers.networks())
    return _made[0]


# What is no file.


@pytest.mark.parametrize('what', ['fifo', 'device', 'folder'])
@pytest.mark.parametrize('place', [
    'file', 'unet/diffusion_pytorch_model.bin', 'unet/config.json',
    'scheduler/scheduler_config.json', 'x.sha256', store.MANIFEST, 'model.safetensors'])
def test_what_is_no_file_is_refused_and_not_waited_for(place, what, checkpoint, tmp_path):
    path = tmp_path / 'x'
    if place == 'file':
        target = path
    elif place == 'x.sha256':
        torch.save(checkpoint, path)
        target = tmp_path / place
    else:
        helpers.write_layout(path, networks_of_the_test(), 'A')
        target = path / place
        target.unlink(missing_ok=True)
    if what == 'fifo':
        os.mkfifo(target)
    elif what == 'device':
        target.symlink_to('/dev/zero')
    else:
        target.mkdir()
    read = load_state_dicts_one2345 if place == 'x.sha256' else (
        lambda path: load_zero123(path, family='zero123'))
    try:
        read(path)
    except LiftError as error:
        assert error.code in (ErrorCode.WEIGHTS_CORRUPT, ErrorCode.WEIGHTS_MISSING)
    else:
        # Only what is not needed can be something else: there is a file of weights beside it.
        assert place in (store.MANIFEST, 'model.safetensors')


# Files that are made to fill the memory.


#: Loads files; prints their codes and the growth of the peak of its memory, MiB, for each.
_BOUNDED = """
import sys
from pathlib import Path
import lift3d_ros.weights.loading as loading
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.memory import peak_mb
for path in sys.argv[1:]:
    before = peak_mb()
    for load in (loading.load_state_dicts_one2345, loading.load_zero123):
        try:
            load(Path(path))
            print('loaded', end=' ')
        except LiftError as error:
            print(error.code.value, end=' ')
    print(peak_mb() - before)
"""


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def bomb(kind, path):
    """Write a small file that unpacks to gigabytes where a reader trusts it."""
    if kind == 'zip':
        torch.save({'a': torch.zeros(4)}, path)
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                with archive.open(zipfile.ZipInfo(name) if '/data/' not in name else name,
                                  'w', force_zip64=True) as record:
                    for _ in range(600 if '/data/' in name else 0):
                        record.write(bytes(2**20))
                    record.write(data)
    elif kind == 'pickle of zip':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('x/version', '3')
            with archive.open('x/data.pkl', 'w', force_zip64=True) as record:
                for _ in range(600):
                    record.write(b']' * 2**20)
    elif kind == 'stored pickle':
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('x/data.pkl', b'\x80\x02' + b']' * (30 * 2**20))
    elif kind == 'bytearray':
        torch.save({'a': Calls(bytearray, 3 * 10**9)}, path)
    elif kind == 'expanded':
        content = one2345()
        content['sdf_network_lod0']['more'] = torch.zeros(()).expand(3 * 10**9)
        torch.save(content, path)
    elif kind == 'memo':
        path.write_bytes(b'\x80\x02]r\xf0\xff\xff\x7f.')
    elif kind == 'legacy storage':
        torch.save({'a': torch.zeros(70_000)}, path, _use_new_zipfile_serialization=False)
        data = path.read_bytes().replace(
            b'J' + struct.pack('<i', 70_000), b'J' + struct.pack('<i', 2**31 - 1))
        path.write_bytes(data)
    elif kind == 'copies':
        # A large dictionary, then copies of it, each by a few bytes.
        items = b''.join(b'K' + bytes([n % 256]) + b'N' for n in range(100))
        one = b'c' + b'collections\nOrderedDict\n' + b'q\x00'
        big = b'](' + b'K\x01' * 500_000 + b'eq\x01'
        path.write_bytes(b'\x80\x02' + one + big + items + b'h\x00h\x01\x85R' * 100_000 + b'.')
    elif kind == 'header':
        text = b'{"a":[' + b'[],' * (20 * 2**20) + b'[]]}'
        path.write_bytes(struct.pack('<Q', len(text)) + text)
    else:
        text = json.dumps({'a': entry(shape=(2**30,), places=(0, 2**32))}).encode()
        path.write_bytes(struct.pack('<Q', len(text)) + text + bytes(8))


def test_files_that_are_made_to_fill_the_memory_are_refused(tmp_path):
    # One that asks for more memory than those before it shows in the peak.
    kinds = ('safetensors', 'memo', 'legacy storage', 'bytearray', 'expanded', 'stored pickle',
             'header', 'pickle of zip', 'zip', 'copies')
    for kind in kinds:
        bomb(kind, tmp_path / kind)
    done = subprocess.run(
        [sys.executable, '-c', _BOUNDED, *(str(tmp_path / kind) for kind in kinds)],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for kind, line in zip(kinds, done.stdout.splitlines(), strict=True):
        *codes, growth = line.split()
        assert codes == ['WEIGHTS_CORRUPT'] * 2, kind
        assert float(growth) < 300.0, kind
    print(done.stdout)


def test_a_hash_of_many_files_reads_them_once(packaged, monkeypatch):
    read = []
    monkeypatch.setattr(store, 'sha256_of', lambda path: read.append(path) or sha256_of(path))
    store.check(packaged)
    first = len(read)
    store.check(packaged)
    assert len(read) == first
    (packaged / 'coarse/config.json').touch()
    store.check(packaged)
    assert len(read) == first + 1
