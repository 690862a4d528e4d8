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

"""Models of the Zero-1-to-3 family in their published formats: read, converted, imported, run."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file
import torch
import weights_helpers as helpers

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.weights import store
from lift3d_ros.weights.formats.checkpoint import Kind
from lift3d_ros.weights.formats.checkpoint import read
from lift3d_ros.weights.formats.ldm_names import unet_sources
from lift3d_ros.weights.importing import import_weights
from lift3d_ros.weights.loading import load_zero123
from lift3d_ros.weights.loading import zero123_parts
from lift3d_ros.weights.networks import expected_shapes

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def made():
    """Return small random networks, and what they give."""
    networks = helpers.networks()
    return networks, helpers.outputs(networks)


@pytest.fixture(scope='module')
def full():
    """Return networks of the published width, without data."""
    return helpers.networks(full=True)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """Keep imported weights in a folder of the test."""
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / 'store'))
    return tmp_path / 'store'


def assert_same(components, expected):
    """Compare every network's output, bit for bit."""
    got = helpers.outputs(helpers.parts_of(components))
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


def write(kind, folder, made):
    """Write networks in a format by its name."""
    if kind == 'ldm.ckpt':
        return helpers.write_ldm(folder / 'model.ckpt', helpers.ldm_state(made))
    if kind == 'ldm.safetensors':
        return helpers.write_tensors(folder / 'model.safetensors', helpers.ldm_state(made))
    layout, suffix = kind.split(maxsplit=1)
    return helpers.write_layout(folder / 'folder', made, layout, suffix=suffix)


FORMATS = ['ldm.ckpt', 'ldm.safetensors', 'A .bin', 'A .safetensors', 'B .bin', 'B .safetensors']


def test_names_are_those_of_the_authors(full):
    state = helpers.ldm_state(full)
    names = {name: tensor for name, tensor in state.items() if not name.startswith('model_ema.')}
    assert helpers.digest_of_names(names) == helpers.PUBLISHED_NAMES
    # Two counters beside the copy; with the dots away no two names have become one.
    assert sum(name.startswith('model_ema.') for name in state) == 686 + 2


@pytest.mark.parametrize('kind', ['ldm.ckpt', 'A .bin', 'B .bin'])
def test_every_tensor_of_published_width_has_its_place(kind, full, tmp_path):
    checkpoint = read(write(kind, tmp_path, full))
    assert checkpoint.family == 'zero123'
    model = zero123_parts(checkpoint)
    assert model.notes == []
    for part, network in full.items():
        there = {name: tuple(tensor.shape) for name, tensor in model.parts[part].items()}
        assert there == {name: tuple(t.shape) for name, t in network.state_dict().items()}
    assert model.configs['unet']['block_out_channels'] == [320, 640, 1280, 1280] or kind[0] in 'AB'
    for part in ('unet', 'vae'):
        config = dict(full[part].config)
        for key, value in model.configs[part].items():
            if not key.startswith('_'):
                assert (list(value) if isinstance(value, list | tuple) else value) == (
                    list(config[key]) if isinstance(config[key], list | tuple) else config[key])
    clip = full['image_encoder'].config
    assert model.configs['image_encoder']['num_attention_heads'] == clip.num_attention_heads == 16


def test_each_source_is_used_once(full):
    config = dict(full['unet'].config)
    config['_class_name'] = 'UNet2DConditionModel'
    for ema in (False, True):
        names = [source.name for source in unet_sources(config, ema=ema).values()]
        assert len(names) == len(set(names)) == len(expected_shapes('unet', config)) == 686


@pytest.mark.parametrize('kind', FORMATS)
def test_loads_bit_for_bit(kind, made, tmp_path):
    networks, expected = made
    components = load_zero123(write(kind, tmp_path, networks))
    assert components.family == 'zero123'
    assert_same(components, expected)
    assert components.scheduler.config.beta_schedule == 'scaled_linear'
    assert components.scheduler.config.steps_offset == 1
    assert components.scheduler.config.set_alpha_to_one is False
    assert torch.equal(components.scheduler.alphas_cumprod, helpers.scheduler().alphas_cumprod)
    assert not any(p.requires_grad or p.is_meta for p in components.unet.parameters())
    assert not components.unet.training


@pytest.mark.parametrize('kind', FORMATS)
def test_imports_bit_for_bit(kind, made, own_store, tmp_path):
    networks, expected = made
    source = write(kind, tmp_path, networks)
    lines = []
    folder = import_weights(source, 'zero123-xl', say=lines.append)
    assert folder == own_store / 'zero123-xl' == store.find('zero123-xl')
    assert sorted(path.name for path in folder.iterdir()) == [
        'cc_projection', 'image_encoder', 'manifest.json', 'model_index.json', 'scheduler', 'unet',
        'vae']
    # What it makes is itself layout A.
    assert read(folder).kind is Kind.LAYOUT_A
    assert store.problems(folder) == []
    assert not any(path.suffix in ('.bin', '.ckpt') for path in folder.rglob('*'))
    assert any('zero123-xl, family zero123' in line for line in lines)
    assert_same(load_zero123('zero123-xl'), expected)


def test_small_weights_go_through_the_libraries_own_loaders(made, tmp_path):
    networks, _ = made
    folder = import_weights(write('ldm.ckpt', tmp_path, networks), 'zero123-xl')
    for part in ('unet', 'vae', 'image_encoder'):
        loaded = type(networks[part]).from_pretrained(folder / part)
        for name, tensor in networks[part].state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name


def test_moving_average_by_default_and_plain_weights_on_demand(made, tmp_path):
    networks, expected = made
    path = write('ldm.ckpt', tmp_path, networks)
    averaged = load_zero123(path)
    plain = load_zero123(path, ema=False)
    for name, tensor in networks['unet'].state_dict().items():
        assert torch.equal(averaged.unet.state_dict()[name], tensor)
        assert torch.equal(plain.unet.state_dict()[name], tensor + 0.25)
    import_weights(path, 'zero123-xl', ema=False)
    assert torch.equal(
        load_zero123('zero123-xl').unet.conv_in.bias, networks['unet'].conv_in.bias + 0.25)


def test_without_a_moving_average_the_plain_weights_are_taken_and_said_so(made, tmp_path):
    networks, expected = made
    path = helpers.write_ldm(tmp_path / 'x.ckpt', helpers.ldm_state(networks, ema=False))
    lines = []
    import_weights(path, 'zero123-xl', say=lines.append)
    assert any('no moving average' in line for line in lines)
    assert_same(load_zero123('zero123-xl'), expected)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_half_precision_rounds_once(dtype, made, tmp_path):
    networks, _ = made
    folder = import_weights(write('ldm.ckpt', tmp_path, networks), 'zero123-xl', dtype=dtype)
    target = getattr(torch, dtype)
    stored = load_file(folder / 'unet/diffusion_pytorch_model.safetensors')
    for name, tensor in networks['unet'].state_dict().items():
        assert stored[name].dtype == target
        assert torch.equal(stored[name], tensor.to(target))
    loaded = load_zero123('zero123-xl', dtype=torch.float32)
    assert loaded.vae.dtype == torch.float32
    name = 'encoder.conv_in.weight'
    assert torch.equal(
        loaded.vae.state_dict()[name],
        networks['vae'].state_dict()[name].to(target).to(torch.float32))


def test_values_too_large_for_half_precision_are_refused(made, own_store, tmp_path):
    networks, _ = made
    state = helpers.ldm_state(networks)
    state['first_stage_model.quant_conv.bias'] = torch.full((8,), 1e6)
    path = helpers.write_ldm(tmp_path / 'x.ckpt', state)
    with pytest.raises(LiftError, match='quant_conv.bias.*float16') as error:
        import_weights(path, 'zero123-xl', dtype='float16')
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT
    assert not (own_store / 'zero123-xl').exists()
    import_weights(path, 'zero123-xl', dtype='bfloat16')


def test_variants_of_a_folder(made, tmp_path):
    networks, expected = made
    folder = helpers.write_layout(tmp_path / 'f', networks, 'B', suffix='.fp16_ema.safetensors',
                                  dtype=torch.float16)
    other = helpers.networks(seed=9)
    helpers.write_layout(folder, other, 'B', suffix='.fp16.safetensors', dtype=torch.float16)
    name = 'conv_in.weight'
    for ema, source in ((True, networks), (False, other)):
        loaded = load_zero123(folder, ema=ema)
        wanted = source['unet'].state_dict()[name].half().float()
        assert torch.equal(loaded.unet.state_dict()[name], wanted)


def test_size_of_the_latent_stays_as_the_folder_says(made, tmp_path):
    networks, _ = made
    folder = helpers.write_layout(tmp_path / 'f', networks, 'A', sample_size=32)
    assert load_zero123(folder).unet.config.sample_size == 32


def test_attention_names_of_old_versions_are_understood(made, tmp_path):
    networks, expected = made
    folder = helpers.write_layout(tmp_path / 'f', networks, 'A')
    file = folder / 'vae/diffusion_pytorch_model.bin'
    tensors = torch.load(file, weights_only=True)
    for new, old in (('to_q', 'query'), ('to_k', 'key'), ('to_v', 'value'),
                     ('to_out.0', 'proj_attn')):
        tensors = {name.replace(f'.{new}.', f'.{old}.') if 'attentions' in name else name: tensor
                   for name, tensor in tensors.items()}
    torch.save(tensors, file)
    assert_same(load_zero123(folder), expected)


def test_zeronvs_is_told_by_its_poses(tmp_path):
    networks = helpers.networks(pose=19)
    path = helpers.write_ldm(tmp_path / 'any.ckpt', helpers.ldm_state(networks))
    assert read(path).family == 'zeronvs'
    components = load_zero123(path)
    assert components.family == 'zeronvs'
    assert components.cc_projection.projection.in_features == 24 + 19
    assert import_weights(path).name == 'zeronvs'
    with pytest.raises(LiftError, match='poses have 19 numbers; those of zero123 have 4'):
        load_zero123(path, family='zero123')
    with pytest.raises(LiftError, match='19 numbers') as error:
        import_weights(path, 'zero123-xl')
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT


def test_stable_zero123_is_told_by_name_or_option(made, tmp_path):
    networks, expected = made
    path = write('ldm.ckpt', tmp_path, networks)
    assert load_zero123(path).family == 'zero123'
    assert load_zero123(path, family='stable_zero123').family == 'stable_zero123'
    import_weights(path, 'stable-zero123')
    components = load_zero123('stable-zero123')
    assert components.family == 'stable_zero123'
    assert_same(components, expected)
    # The authors' name for the file serves where --name is not given.
    renamed = path.rename(tmp_path / 'stable_zero123.ckpt')
    assert import_weights(renamed).name == 'stable-zero123'


def test_a_name_is_asked_for_where_the_content_cannot_tell(made, tmp_path):
    networks, _ = made
    path = write('ldm.ckpt', tmp_path, networks)
    with pytest.raises(LiftError, match='--name: zero123-105000, zero123-165000, zero123-xl, '
                       'stable-zero123') as error:
        import_weights(path)
    assert error.value.code is ErrorCode.BAD_REQUEST
    assert import_weights(path, 'my-model').name == 'my-model'
    assert load_zero123('my-model').family == 'zero123'
    for taken in ('small', '../outside', 'one2345'):
        with pytest.raises(LiftError):
            import_weights(path, taken)


def test_the_record_names_the_source(made, own_store, tmp_path):
    networks, _ = made
    path = write('ldm.ckpt', tmp_path, networks)
    folder = import_weights(path, 'zero123-105000', dtype='float16')
    record = json.loads((folder / 'manifest.json').read_text())
    assert record['source'] == {'format': 'ldm', 'ema': True, 'files': {'model.ckpt': {
        'sha256': store.sha256_of(path), 'bytes': path.stat().st_size}}}
    assert record['family'] == 'zero123' and record['dtype'] == 'float16'
    assert set(record['files']) == {
        path.relative_to(folder).as_posix() for path in folder.rglob('*')
        if path.is_file() and path.name != 'manifest.json'}


def test_a_loaded_model_does_not_hang_on_its_file(made, tmp_path):
    networks, expected = made
    for kind in ('ldm.ckpt', 'A .safetensors'):
        folder = tmp_path / kind
        folder.mkdir()
        path = write(kind, folder, networks)
        components = load_zero123(path)
        for file in [path] if path.is_file() else path.rglob('*.safetensors'):
            file.write_bytes(b'\0' * file.stat().st_size)
        assert_same(components, expected)


def test_a_small_folder_that_was_changed_is_not_loaded(made, tmp_path):
    networks, _ = made
    folder = import_weights(write('ldm.ckpt', tmp_path, networks), 'zero123-xl')
    file = folder / 'cc_projection/diffusion_pytorch_model.safetensors'
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(LiftError, match='changed or damaged: cc_projection/.*SHA-256') as error:
        load_zero123('zero123-xl')
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT
