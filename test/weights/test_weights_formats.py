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

"""Files of weights that are not what they should be: refused early, and nothing in them is run."""

from __future__ import annotations

from collections import OrderedDict
import json
import os
import pickle
import struct
import sys
import types

import pytest
import torch
import weights_helpers as helpers

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.weights import store
from lift3d_ros.weights.formats.checkpoint import Kind
from lift3d_ros.weights.formats.checkpoint import read
from lift3d_ros.weights.formats.checkpoint import read_tensors
from lift3d_ros.weights.formats.checkpoint import weights_file
from lift3d_ros.weights.formats.safetensors_files import write_safetensors
from lift3d_ros.weights.formats.tables import loftr_shapes
from lift3d_ros.weights.formats.tables import one2345_shapes
from lift3d_ros.weights.importing import import_weights
from lift3d_ros.weights.loading import load_state_dicts_one2345
from lift3d_ros.weights.loading import load_zero123

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def made():
    """Return small random networks."""
    return helpers.networks()


@pytest.fixture(scope='module')
def state(made):
    """Return the state dict of an original checkpoint."""
    return helpers.ldm_state(made)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """Keep imported weights in a folder of the test."""
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / 'store'))
    return tmp_path / 'store'


def refused(path, *expected, **options):
    """Assert that a file is refused on import and on loading; return what is said."""
    with pytest.raises(LiftError) as loading:
        load_zero123(path, **options)
    with pytest.raises(LiftError) as importing:
        import_weights(path, 'zero123-xl')
    for error in (loading.value, importing.value):
        assert error.code is ErrorCode.WEIGHTS_CORRUPT
        for part in expected:
            assert part in error.message, error.message
        assert str(path) in error.message
    assert store.locate('zero123-xl') is None
    return loading.value.message


def one2345_state():
    """Return a checkpoint of One-2-3-45 of random numbers, with what training adds."""
    torch.manual_seed(2)
    content = {network: {name: torch.randn(shape) for name, shape in shapes.items()}
               for network, shapes in one2345_shapes().items()}
    for index in (0, 1, 2):
        name = f'sparse_costreg_net.conv{index}.net.1.num_batches_tracked'
        content['sdf_network_lod0'][name] = torch.tensor(215000)
    adam = {'state': {0: {'step': 215000, 'exp_avg': torch.zeros(3)}},
            'param_groups': [{'lr': 2e-4, 'betas': (0.9, 0.999), 'params': [0]}]}
    return {'optimizer': adam, 'iter_step': 215000, 'val_step': 10, **content}


# What is in a file tells what it is.


def test_content_tells_and_not_the_name(state, tmp_path):
    path = helpers.write_ldm(tmp_path / 'indoor_ds_new.safetensors', state)
    assert read(path).kind is Kind.LDM
    safe = helpers.write_tensors(tmp_path / 'x.safetensors', state).rename(tmp_path / 'x.ckpt')
    assert read(safe).kind is Kind.LDM


def test_one2345_loads_and_imports(tmp_path):
    content = one2345_state()
    path = tmp_path / 'anything.bin'
    torch.save(content, path)
    assert import_weights(path).name == 'one2345'
    for source in (path, 'one2345'):
        networks = load_state_dicts_one2345(source)
        assert set(networks) == set(one2345_shapes())
        for name, tensors in networks.items():
            assert set(tensors) == set(content[name])
            assert all(torch.equal(tensors[key], value) for key, value in content[name].items())
    assert networks['sdf_network_lod0'][
        'sparse_costreg_net.conv0.net.1.num_batches_tracked'].dtype == torch.int64


@pytest.mark.parametrize('fault', ['missing', 'shape', 'network'])
def test_one2345_that_does_not_fit_is_refused(fault, tmp_path):
    content = one2345_state()
    name = 'sparse_costreg_net.conv7.net.0.kernel'
    if fault == 'missing':
        del content['sdf_network_lod0'][name]
    elif fault == 'shape':
        content['sdf_network_lod0'][name] = torch.zeros(8, 64, 32)
    else:
        del content['variance_network_lod0']
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(LiftError) as error:
        load_state_dicts_one2345(tmp_path / 'x.pth')
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT
    if fault == 'shape':
        assert f'{name} has the shape [8, 64, 32] and should have [27, 64, 32]' in str(error.value)
    elif fault == 'missing':
        assert f'lacks {name}' in str(error.value)


def test_loftr_is_imported(tmp_path):
    tensors = {f'matcher.{name}': torch.randn(1).expand(shape)
               for name, shape in loftr_shapes().items()}
    torch.save({'state_dict': tensors}, tmp_path / 'x.ckpt')
    folder = import_weights(tmp_path / 'x.ckpt', dtype='bfloat16')
    assert folder.name == 'loftr-indoor'
    stored = read(folder).parts['loftr']
    assert set(stored) == set(loftr_shapes())
    assert all(torch.equal(stored[name], tensors[f'matcher.{name}'].bfloat16()) for name in stored)
    with pytest.raises(LiftError, match='holds the network of LoFTR and no model'):
        load_zero123(folder)


def test_zero123plus_is_kept_as_safetensors(made, own_store, tmp_path):
    folder = helpers.write_layout(tmp_path / 'p', made, 'A')
    (folder / 'image_encoder').rename(folder / 'vision_encoder')
    (folder / 'cc_projection').rename(folder / 'text_encoder')
    (folder / 'tokenizer').mkdir()
    (folder / 'tokenizer/merges.txt').write_text('a b\n')
    (folder / 'pipeline.py').write_text('raise SystemExit')
    index = {'_class_name': 'Zero123PlusPipeline', 'ramping_coefficients': [0.0, 0.1]}
    (folder / 'model_index.json').write_text(json.dumps(index))
    assert read(folder).kind is Kind.ZERO123PLUS
    with pytest.raises(LiftError, match='--name: zero123plus-v1.1, zero123plus-v1.2'):
        import_weights(folder)
    stored = import_weights(folder, 'zero123plus-v1.2')
    assert json.loads((stored / 'model_index.json').read_text()) == index
    assert {path.suffix for path in stored.rglob('*') if path.is_file()} == {
        '.json', '.txt', '.safetensors'}
    with pytest.raises(LiftError, match='no model of the Zero-1-to-3 family'):
        load_zero123('zero123plus-v1.2')


# What is cut short.


@pytest.mark.parametrize('share', [0.0, 0.00001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize('suffix', ['.ckpt', '.safetensors'])
def test_a_file_cut_short_is_refused(suffix, share, state, tmp_path):
    path = tmp_path / f'x{suffix}'
    if suffix == '.ckpt':
        helpers.write_ldm(path, state)
    else:
        helpers.write_tensors(path, state)
    os.truncate(path, int(share * path.stat().st_size))
    message = refused(path)
    assert 'cut short' in message or 'is empty' in message or 'neither' in message


def test_a_folder_with_a_file_cut_short_is_refused(made, tmp_path):
    folder = helpers.write_layout(tmp_path / 'f', made, 'B', suffix='.safetensors')
    file = folder / 'unet/diffusion_pytorch_model.safetensors'
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(LiftError, match='unet/.* is cut short'):
        load_zero123(folder)


@pytest.mark.parametrize('part', ['unet', 'vae', 'image_encoder'])
def test_a_folder_without_a_part_is_refused(part, made, tmp_path):
    folder = helpers.write_layout(tmp_path / 'f', made, 'A')
    next((folder / part).glob('*.bin')).unlink()
    with pytest.raises(LiftError, match=f'{part} has no file of weights'):
        load_zero123(folder)
    (folder / part / 'config.json').unlink()
    with pytest.raises(LiftError, match=f'{part}/config.json is missing'):
        load_zero123(folder)


@pytest.mark.parametrize(('start', 'said'), [
    (b'<!DOCTYPE html><html>', 'web page'),
    (b'\n<HTML><head>', 'web page'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:12', 'pointer'),
    (b'\x89PNG\r\n\x1a\n' + bytes(64), 'neither a file of torch nor of safetensors'),
    (struct.pack('<Q', 2**40) + b'{"a":', 'header would have'),
    (struct.pack('<Q', 5) + b'{"a":', 'invalid JSON in header'),
])
def test_what_is_no_file_of_weights_is_refused(start, said, tmp_path):
    path = tmp_path / 'zero123-xl.ckpt'
    path.write_bytes(start)
    refused(path, said)


def test_nothing_at_all_is_missing():
    with pytest.raises(LiftError) as error:
        load_zero123('/nowhere/zero123.ckpt')
    assert error.value.code is ErrorCode.WEIGHTS_MISSING


# What belongs to another family.


def test_stable_diffusion_is_refused(state, tmp_path):
    other = {name: tensor for name, tensor in state.items() if not name.startswith('cc_')}
    other['model.diffusion_model.input_blocks.0.0.weight'] = torch.zeros(32, 4, 3, 3)
    refused(helpers.write_ldm(tmp_path / 'x.ckpt', other), 'no cc_projection.weight',
            'UNet takes 4 channels')


def test_a_unet_without_the_conditioning_latent_is_refused(tmp_path):
    networks = helpers.networks(unet_channels=4)
    path = helpers.write_ldm(tmp_path / 'x.ckpt', helpers.ldm_state(networks))
    refused(path, 'UNet of 4 channels; the Zero-1-to-3 family has 8')


def test_poses_of_another_length_are_refused(tmp_path):
    networks = helpers.networks(pose=7)
    path = helpers.write_ldm(tmp_path / 'x.ckpt', helpers.ldm_state(networks))
    refused(path, 'cc_projection.weight has the shape [24, 31]', '7 numbers', '[768, 772]',
            '[768, 787]')


@pytest.mark.parametrize('there', [['unet', 'vae'], ['vae'], []])
def test_folders_of_others_are_refused(there, tmp_path):
    folder = tmp_path / 'sd'
    folder.mkdir()
    for name in there:
        (folder / name).mkdir()
    refused(folder, 'unet' if 'unet' not in there else 'of another family')


def test_weights_of_something_else_are_refused(tmp_path):
    torch.save({'conv.weight': torch.zeros(3), 'conv.bias': torch.zeros(3)}, tmp_path / 'x.pt')
    refused(tmp_path / 'x.pt', 'does not know', 'conv.weight')
    torch.save([torch.zeros(3)], tmp_path / 'y.pt')
    refused(tmp_path / 'y.pt', 'holds a list')


@pytest.mark.parametrize('part', ['unet', 'vae', 'image_encoder', 'scheduler'])
def test_a_folder_names_no_class_of_its_own(part, made, tmp_path):
    folder = helpers.write_layout(tmp_path / 'f', made, 'A')
    path = folder / part / ('scheduler_config.json' if part == 'scheduler' else 'config.json')
    config = json.loads(path.read_text())
    config['architectures' if part == 'image_encoder' else '_class_name'] = (
        ['os.system'] if part == 'image_encoder' else 'os.system')
    path.write_text(json.dumps(config))
    with pytest.raises(LiftError, match=r'name the class os\.system') as error:
        load_zero123(folder)
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT


# What does not fit.


@pytest.mark.parametrize('name', [
    'model_ema.diffusion_modelinput_blocks10in_layers0weight',
    'first_stage_model.decoder.up.2.block.1.conv2.bias',
    'first_stage_model.post_quant_conv.weight',
    'cond_stage_model.model.visual.transformer.resblocks.1.attn.in_proj_weight',
    'cond_stage_model.model.visual.proj',
    'model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight',
])
def test_a_missing_tensor_is_named(name, state, tmp_path):
    path = helpers.write_ldm(
        tmp_path / 'x.ckpt', {key: value for key, value in state.items() if key != name})
    refused(path, f'lacks {name}')


@pytest.mark.parametrize(('name', 'shape', 'expected'), [
    ('model_ema.diffusion_modeloutput_blocks30in_layers2weight', (64, 64, 3, 3),
     '[64, 128, 3, 3]'),
    ('first_stage_model.encoder.mid.attn_1.q.weight', (64, 32, 1, 1), '[64, 64]'),
    ('cc_projection.bias', (23,), '[24]'),
    ('cond_stage_model.model.visual.transformer.resblocks.0.attn.in_proj_bias', (128,), '[128]'),
])
def test_a_wrong_shape_is_named_with_the_right_one(name, shape, expected, state, tmp_path):
    path = helpers.write_ldm(tmp_path / 'x.ckpt', {**state, name: torch.zeros(shape)})
    refused(path, f'{name} has the shape {list(shape)}', expected)


def test_a_width_of_which_no_network_can_be_made_is_refused(state, tmp_path):
    name = 'model.diffusion_model.input_blocks.1.0.in_layers.2.weight'
    path = helpers.write_ldm(tmp_path / 'x.ckpt', {**state, name: torch.zeros(33, 32, 3, 3)})
    refused(path, 'refuses the settings of unet')


def test_a_superfluous_tensor_is_named(state, tmp_path):
    extra = {'model.diffusion_model.input_blocks.4.2.gate': torch.zeros(3)}
    path = helpers.write_ldm(tmp_path / 'x.ckpt', {**state, **extra})
    refused(path, 'is not used: model.diffusion_model.input_blocks.4.2.gate')


@pytest.mark.parametrize('fault', ['missing', 'shape', 'extra'])
def test_a_folder_whose_tensors_do_not_fit_is_refused(fault, made, tmp_path):
    folder = helpers.write_layout(tmp_path / 'f', made, 'B')
    file = folder / 'vae/diffusion_pytorch_model.bin'
    tensors = torch.load(file, weights_only=True)
    name = 'decoder.mid_block.resnets.1.conv2.weight'
    if fault == 'missing':
        del tensors[name]
        said = f'lacks {name} in vae'
    elif fault == 'shape':
        tensors[name] = torch.zeros(64, 32, 3, 3)
        said = f'{name} has the shape [64, 32, 3, 3] and should have [64, 64, 3, 3]'
    else:
        tensors['decoder.more'] = torch.zeros(1)
        said = 'has not: decoder.more'
    torch.save(tensors, file)
    refused(folder, said)


# What could run code.


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize('form', ['torch', 'legacy torch', 'plain pickle'])
@pytest.mark.parametrize('place', ['beside', 'inside'])
def test_nothing_in_a_pickle_is_executed(form, place, state, tmp_path):
    witness = tmp_path / 'executed'
    payload = Payload(f'touch {witness}')
    content = {'state_dict': dict(state)}
    content[' '] = payload
    if place == 'inside':
        content = {'state_dict': {**state, 'cc_projection.bias': payload}}
    path = tmp_path / 'zero123-xl.ckpt'
    if form == 'plain pickle':
        path.write_bytes(pickle.dumps({' ': payload}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == 'torch')
    message = refused(path, 'Nothing in it was executed')
    assert 'system' in message or form == 'plain pickle'
    assert 'rusted source' not in message
    assert not witness.exists()
    # The file does what it says where it is read without care.
    pickle.loads(pickle.dumps(payload))
    assert witness.exists()


def test_payload_in_a_part_of_a_folder_is_not_executed(made, tmp_path):
    folder = helpers.write_layout(tmp_path / 'f', made, 'A')
    witness = tmp_path / 'executed'
    torch.save({'projection.weight': Payload(f'touch {witness}')},
               folder / 'cc_projection/diffusion_pytorch_model.bin')
    with pytest.raises(LiftError, match='Nothing in it was executed'):
        load_zero123(folder)
    assert not witness.exists()


def test_what_lightning_leaves_behind_does_no_harm(state, made, tmp_path, monkeypatch):
    """Its callbacks are keyed by classes, whose package need not even be installed."""
    called = []

    class ModelCheckpoint:
        def __init__(self, *arguments):
            called.append(arguments)

        def __reduce__(self):
            return ModelCheckpoint, (1,)

    name = 'pytorch_lightning.callbacks.model_checkpoint'
    module = types.ModuleType(name)
    module.ModelCheckpoint = ModelCheckpoint
    ModelCheckpoint.__module__, ModelCheckpoint.__qualname__ = name, 'ModelCheckpoint'
    for part in ('pytorch_lightning', 'pytorch_lightning.callbacks', name):
        monkeypatch.setitem(sys.modules, part, module)
    callbacks = {ModelCheckpoint: {'best_model_path': 'x.ckpt'}, 'more': ModelCheckpoint()}
    called.clear()
    path = helpers.write_ldm(
        tmp_path / 'x.ckpt', state, callbacks=callbacks, optimizer_states=[{'state': {}}],
        lr_schedulers=[OrderedDict(last_epoch=3)])
    for part in ('pytorch_lightning', 'pytorch_lightning.callbacks', name):
        monkeypatch.delitem(sys.modules, part)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    loaded = load_zero123(path)
    assert torch.equal(loaded.cc_projection.projection.bias, made['cc_projection'].projection.bias)
    assert called == []
    assert not any(part.startswith('pytorch_lightning') for part in sys.modules)


# The files that are written.


def test_safetensors_are_written_as_the_library_reads_them(tmp_path):
    tensors = {
        'b': torch.arange(5), 'a': torch.randn(3, 4).T, 'scalar': torch.tensor(2.5),
        'empty': torch.zeros(0, 2), 'half': torch.randn(7).half(), 'flag': torch.tensor([True]),
    }
    write_safetensors(tmp_path / 'x.safetensors', tensors)
    read_back = read_tensors(tmp_path / 'x.safetensors')
    assert set(read_back) == set(tensors)
    for name, tensor in tensors.items():
        assert read_back[name].dtype == tensor.dtype and torch.equal(read_back[name], tensor)


def test_the_length_of_a_header_is_not_taken_for_a_pickle(tmp_path):
    path = tmp_path / 'x.safetensors'
    lengths = set()
    for extra in range(0, 256, 8):
        tensors = {'x' * (1 + extra): torch.ones(3)}
        write_safetensors(path, tensors)
        lengths.add(path.read_bytes()[0])
        assert set(read_tensors(path)) == set(tensors)
    assert 0x80 in lengths


@pytest.mark.parametrize(('ema', 'wanted'), [
    (True, 'diffusion_pytorch_model.fp16_ema.safetensors'),
    (False, 'diffusion_pytorch_model.safetensors'),
])
def test_choice_among_variants(ema, wanted, tmp_path):
    for name in ('.bin', '.fp16.bin', '.safetensors', '.fp16.safetensors', '.fp16_ema.bin',
                 '.fp16_ema.safetensors', '-00001-of-00002.safetensors'):
        (tmp_path / f'diffusion_pytorch_model{name}').touch()
    assert weights_file(tmp_path, ema=ema).name == wanted
