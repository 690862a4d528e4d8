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

"""Where weights lie, ``lift3d weights``, and fetching them from a hub, here one of the test's."""

from __future__ import annotations

from contextlib import contextmanager
import hashlib
import http.server
import json
import os
from pathlib import Path
import re
import shutil
import socket
import subprocess
import sys
import threading

import pytest
import torch

from lift3d_ros.cli import main
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.weights import fetching
from lift3d_ros.weights import store
from lift3d_ros.weights.catalog import CATALOG
from lift3d_ros.weights.catalog import entry_of
from lift3d_ros.weights.formats.tables import one2345_shapes
from lift3d_ros.weights.loading import load_state_dicts_one2345


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Give the test a store, a cache and an ament prefix of its own, and no way to the hub."""
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / 'store'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'prefix'))
    monkeypatch.setenv('HF_ENDPOINT', f'http://127.0.0.1:{free_port()}')
    monkeypatch.delenv('HF_TOKEN', raising=False)
    return tmp_path


def free_port():
    """Return a port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def put(root, name, content=b'weights', **details):
    """Put a folder of weights with its record somewhere, as the package has its own."""
    folder = root / name
    (folder / 'unet').mkdir(parents=True)
    (folder / 'unet/x.safetensors').write_bytes(content)
    files = {'unet/x.safetensors': {
        'sha256': hashlib.sha256(content).hexdigest(), 'bytes': len(content)}}
    (folder / 'manifest.json').write_text(json.dumps({'files': files, **details}))
    return folder


def write_one2345(path):
    """Write a checkpoint of One-2-3-45, the smallest of the published ones."""
    torch.manual_seed(3)
    torch.save({network: {name: torch.randn(shape) for name, shape in shapes.items()}
                for network, shapes in one2345_shapes().items()}, path)
    return path


# Where weights lie.


def test_a_checkpoint_file_has_no_record_and_passes(folders):
    path = folders / 'zeronvs.ckpt'
    path.write_bytes(b'weights')
    assert store.read_manifest(path) is None
    store.check(store.find(path))


def test_order_of_the_folders(folders):
    package = folders / 'prefix/share/lift3d_ros/weights'
    for root in (package, folders / 'cache/lift3d_ros/weights', folders / 'store'):
        assert store.find(put(root, 'zero123-xl')) == root / 'zero123-xl'
        assert store.find('zero123-xl') == root / 'zero123-xl'


def test_packaged_weights_of_a_checkout_are_found():
    checkout = Path(store.__file__).resolve().parents[2]
    assert checkout / 'weights' in store.roots()
    assert Path(store.__file__).resolve().parent in store.roots()


@pytest.mark.parametrize('name', [name for name in CATALOG if name != 'small'])
def test_what_is_missing_says_what_to_run(name):
    with pytest.raises(LiftError) as error:
        store.find(name)
    assert error.value.code is ErrorCode.WEIGHTS_MISSING
    assert f'--name {name}' in error.value.message
    fetch = f'lift3d weights fetch {name}' in error.value.message
    assert fetch == (CATALOG[name].remote is not None)


def test_missing_packaged_weights_and_unknown_names(monkeypatch):
    monkeypatch.setattr(store, 'roots', lambda: [])
    with pytest.raises(LiftError, match='come with the package'):
        store.find('small')
    with pytest.raises(LiftError, match='neither a file or folder, nor a name') as error:
        store.find('zero321')
    assert error.value.code is ErrorCode.WEIGHTS_MISSING
    with pytest.raises(LiftError, match='Did you mean zero123-xl'):
        entry_of('zero123-xx')


def test_without_the_variable_the_cache_is_used(folders, monkeypatch):
    monkeypatch.delenv(store.ENVIRONMENT)
    assert store.user_root() == folders / 'cache/lift3d_ros/weights'
    monkeypatch.setenv('XDG_CACHE_HOME', 'relative')
    assert store.user_root() == Path.home() / '.cache/lift3d_ros/weights'


# Writing.


def test_an_interrupted_import_loses_nothing(folders):
    old = put(folders / 'store', 'mine', b'old')
    for error in (KeyboardInterrupt, OSError(28, 'No space left on device')):
        with pytest.raises((KeyboardInterrupt, LiftError)), store.writing('mine', {}) as folder:
            (folder / 'x').write_bytes(b'new')
            raise error
        assert store.problems(old) == [] and sorted(os.listdir(old)) == ['manifest.json', 'unet']
        assert {path.name for path in (folders / 'store').iterdir()} == {'mine', '.mine.lock'}


def test_a_killed_import_loses_nothing(folders):
    """Killed at each step of the replacement, in a process of its own."""
    put(folders / 'store', 'mine', b'old')
    # Which renaming the process does not live to do; 0 stands for its end while it writes.
    for step in (0, 1, 2):
        subprocess.run([sys.executable, '-c', f"""
import os, pathlib
from lift3d_ros.weights import store
real, count = pathlib.Path.rename, 0
def rename(self, target):
    global count
    count += 1
    if count == {step}:
        os._exit(9)
    return real(self, target)
pathlib.Path.rename = rename
with store.writing('mine', {{}}) as folder:
    (folder / 'y').write_bytes(b'new')
    if {step} == 0:
        os._exit(9)
"""], check=False, timeout=60)
        with pytest.raises(ZeroDivisionError), store.writing('mine', {}):
            raise ZeroDivisionError
        folder = store.find('mine')
        assert store.problems(folder) == []
        assert (folder / 'unet/x.safetensors').read_bytes() == b'old'


def test_the_new_takes_the_place_of_the_old(folders):
    put(folders / 'store', 'mine', b'old')
    with store.writing('mine', {'family': 'zero123'}) as folder:
        (folder / 'part').mkdir()
        (folder / 'part/y').write_bytes(b'new')
    found = store.find('mine')
    assert store.read_manifest(found) == {'family': 'zero123', 'files': {
        'part/y': {'sha256': hashlib.sha256(b'new').hexdigest(), 'bytes': 3}}}
    assert sorted(os.listdir(found)) == ['manifest.json', 'part']


def test_two_imports_of_one_name_do_not_mix():
    with store.writing('mine', {}) as folder:
        (folder / 'y').touch()
        with pytest.raises(LiftError) as error, store.writing('mine', {}):
            pass
        assert error.value.code is ErrorCode.BUSY
    assert store.problems(store.find('mine')) == []


def test_a_store_that_cannot_be_written_is_named(folders, monkeypatch):
    (folders / 'file').touch()
    monkeypatch.setenv(store.ENVIRONMENT, str(folders / 'file/store'))
    with pytest.raises(LiftError, match='cannot be written: Not a directory.*LIFT3D_WEIGHTS'):
        with store.writing('mine', {}):
            pass
    with pytest.raises(LiftError, match='are needed'):
        store.check_space(folders, 2**60)


# Verifying.


def test_verify_tells_what_differs(folders, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(store, 'roots', lambda: [folders / 'store'])
        assert main(['weights', 'verify']) == 0
    assert 'no weights here' in capsys.readouterr().out
    good = put(folders / 'store', 'good')
    assert main(['weights', 'verify', 'good']) == 0
    assert 'good: as recorded' in capsys.readouterr().out
    (good / 'unet/x.safetensors').write_bytes(b'wEights')
    assert main(['weights', 'verify', 'good']) == 1
    assert 'unet/x.safetensors has another content' in capsys.readouterr().out
    (good / 'unet/x.safetensors').write_bytes(b'weight')
    put(folders / 'cache/lift3d_ros/weights', 'zero123-xl')
    assert main(['weights', 'verify']) == 1
    out = capsys.readouterr().out
    assert 'has 6 bytes instead of 7' in out and 'zero123-xl: as recorded' in out
    (good / 'unet/x.safetensors').unlink()
    assert main(['weights', 'verify', 'good']) == 1
    assert 'is missing' in capsys.readouterr().out
    assert main(['weights', 'verify', 'zeronvs']) == 2
    assert 'are not here' in capsys.readouterr().err


@pytest.mark.parametrize('content', [
    '{', '[]', '{"files": {"../../x": {"sha256": "", "bytes": 1}}}', '{"files": {"x": {}}}',
    '{"files": {"/etc/passwd": {"sha256": "", "bytes": 1}}}',
])
def test_a_record_that_makes_no_sense_is_refused(content, folders, capsys):
    folder = put(folders / 'store', 'good')
    (folder / 'manifest.json').write_text(content)
    assert main(['weights', 'verify', 'good']) == 1
    assert 'cannot be used' in capsys.readouterr().out


# The command.


def test_list_shows_all_and_what_is_here(folders, capsys):
    put(folders / 'store', 'zero123-xl', bytes(1500))
    put(folders / 'store', 'mine', family='zeronvs')
    assert main(['weights', 'list']) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line}
    assert set(CATALOG) | {'mine'} <= set(rows)
    assert '1.5 kB' in rows['zero123-xl'] and str(folders / 'store') in rows['zero123-xl']
    assert 'not here' in rows['zeronvs'] and 'zeronvs' in rows['mine'].split()[1]
    assert 'CC-BY-NC' in rows['zero123plus-v1.2'] and 'non-commercial' in rows['stable-zero123']


def test_a_damaged_record_does_not_hide_the_other_weights(folders, capsys):
    put(folders / 'store', 'mine')
    (put(folders / 'store', 'broken') / 'manifest.json').write_bytes(b'{"files": [')
    assert main(['weights', 'list']) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert 'damaged' in rows['broken'] and '7 bytes' in rows['mine']


def test_list_needs_no_networks():
    code = ('import sys; from lift3d_ros.cli import main; main(["weights", "list"]); '
            'print({"torch", "diffusers", "transformers"} & set(sys.modules))')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60,
                          check=True)
    assert done.stdout.splitlines()[-1] == 'set()'


def test_import_says_what_it_did(folders, capsys):
    path = write_one2345(folders / 'ckpt_215000.pth')
    assert main(['weights', 'import', str(path)]) == 0
    out = capsys.readouterr().out
    assert 'is the networks of One-2-3-45' in out and 'imported as one2345' in out
    assert 'wrote model.safetensors: 138 tensors' in out and str(folders / 'store') in out
    assert main(['weights', 'verify', 'one2345']) == 0
    path.write_bytes(path.read_bytes()[:-100])
    assert main(['weights', 'import', str(path)]) == 2
    assert 'cut short' in capsys.readouterr().err
    # The first import is still there.
    assert main(['weights', 'verify', 'one2345']) == 0


# Fetching.


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub with one repository, that answers ranges and can break off."""

    protocol_version = 'HTTP/1.1'
    files: dict[str, bytes] = {}
    breaks: list[int] = []
    requests: list[tuple[str, str | None]] = []
    ranges = True
    status = 200

    def do_GET(self):
        hub = type(self)
        hub.requests.append((self.path, self.headers.get('Range')))
        if hub.status != 200:
            return self.send_error(hub.status)
        if self.path.startswith('/api/models/'):
            siblings = [{'rfilename': name, 'size': len(content), 'lfs': {
                'sha256': hashlib.sha256(content).hexdigest(), 'size': len(content)}}
                for name, content in hub.files.items()]
            return self.answer(200, json.dumps({'siblings': siblings}).encode())
        name = self.path.split('/resolve/main/')[1]
        content = hub.files[name]
        tag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
        start = 0
        match = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        if match and hub.ranges and self.headers.get('If-Range', tag) == tag:
            start = int(match[1])
        return self.answer(206 if start else 200, content[start:], ETag=tag)

    def answer(self, status, body, **headers):
        """Send an answer, or its beginning if the connection is to break."""
        self.send_response(status)
        for name, value in {'Content-Length': len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if '/resolve/' in self.path and type(self).breaks:
            self.wfile.write(body[:type(self).breaks.pop(0)])
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(body)

    def log_message(self, *arguments):
        """Keep still."""


@pytest.fixture
def hub(folders, monkeypatch):
    """Serve the checkpoint of One-2-3-45 on this machine."""
    path = write_one2345(folders / 'served.pth')
    remote = CATALOG['one2345'].remote

    class Mine(Hub):
        files = {remote.path: path.read_bytes(), 'README.md': b'x'}
        breaks = []
        requests = []

    with serving(Mine) as address:
        monkeypatch.setenv('HF_ENDPOINT', address)
        monkeypatch.setattr(fetching.time, 'sleep', lambda seconds: None)
        yield Mine


@contextmanager
def serving(handler):
    """Serve in a thread; give the address."""
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()
    thread.join()


def one2345_is_here(folders):
    """Return whether what was fetched is what was served."""
    served = load_state_dicts_one2345(folders / 'served.pth')
    here = load_state_dicts_one2345('one2345')
    return all(torch.equal(here[network][name], tensor)
               for network, tensors in served.items() for name, tensor in tensors.items())


def test_fetch_downloads_verifies_and_imports(hub, folders, capsys):
    assert main(['weights', 'fetch', 'one2345', '--yes']) == 0
    out = capsys.readouterr().out
    size = store.format_size(len(hub.files[CATALOG['one2345'].remote.path]))
    assert size in out and 'Apache-2.0' in out and 'SHA-256 as published' in out
    assert one2345_is_here(folders)
    # What was downloaded is not kept twice.
    assert not (folders / 'store/.downloads/one2345').exists()


def test_a_transfer_that_breaks_goes_on_where_it_was(hub, folders):
    hub.breaks[:] = [100_000, 50_000]
    assert main(['weights', 'fetch', 'one2345', '--yes']) == 0
    assert [asked for path, asked in hub.requests if '/resolve/' in path] == [
        None, 'bytes=100000-', 'bytes=150000-']
    assert one2345_is_here(folders)


def test_a_fetch_that_was_given_up_goes_on_later(hub, folders, capsys):
    hub.breaks[:] = [100_000, 0, 0, 0, 0]
    assert main(['weights', 'fetch', 'one2345', '--yes']) == 2
    assert 'broke off' in (said := capsys.readouterr().err) and '100.0 kB' in said
    assert store.locate('one2345') is None
    hub.breaks.clear()
    hub.requests.clear()
    assert main(['weights', 'fetch', 'one2345', '--yes']) == 0
    assert hub.requests[-1][1] == 'bytes=100000-'
    assert one2345_is_here(folders)


def test_a_server_without_ranges_and_a_file_that_changed_start_anew(hub, folders):
    hub.breaks[:] = [100_000]
    hub.ranges = False
    assert main(['weights', 'fetch', 'one2345', '--yes']) == 0
    assert one2345_is_here(folders)
    shutil.rmtree(folders / 'store')
    hub.ranges = True
    hub.breaks[:] = [100_000, 0, 0, 0, 0]
    assert main(['weights', 'fetch', 'one2345', '--yes']) == 2
    hub.breaks.clear()
    torch.manual_seed(11)
    other = folders / 'other.pth'
    torch.save({network: {name: torch.randn(shape) for name, shape in shapes.items()}
                for network, shapes in one2345_shapes().items()}, other)
    hub.files[CATALOG['one2345'].remote.path] = other.read_bytes()
    other.rename(folders / 'served.pth')
    assert main(['weights', 'fetch', 'one2345', '--yes']) == 0
    assert one2345_is_here(folders)


def test_content_with_another_digest_is_removed(hub, folders, capsys, monkeypatch):
    path = CATALOG['one2345'].remote.path
    good = hub.files[path]
    listed = fetching.remote_files(CATALOG['one2345'])
    hub.files[path] = good[:1000] + bytes([good[1000] ^ 1]) + good[1001:]
    with monkeypatch.context() as patched:
        patched.setattr(fetching, 'remote_files', lambda entry: listed)
        assert main(['weights', 'fetch', 'one2345', '--yes']) == 2
    assert 'another SHA-256' in capsys.readouterr().err
    assert store.locate('one2345') is None
    assert not [path for path in (folders / 'store/.downloads').rglob('*') if path.is_file()]
    hub.files[path] = good
    assert main(['weights', 'fetch', 'one2345', '--yes']) == 0


def test_fetch_asks_first(hub, capsys, monkeypatch):
    monkeypatch.setattr('sys.stdin', open(os.devnull))
    assert main(['weights', 'fetch', 'one2345']) == 2
    captured = capsys.readouterr()
    assert '--yes' in captured.err and 'licence' in captured.out

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setattr('sys.stdin', Terminal())
    monkeypatch.setattr('builtins.input', lambda prompt: 'n')
    assert main(['weights', 'fetch', 'one2345']) == 2
    assert 'Nothing was downloaded' in capsys.readouterr().err

    def end_of_input(prompt):
        raise EOFError

    monkeypatch.setattr('builtins.input', end_of_input)
    assert main(['weights', 'fetch', 'one2345']) == 2
    assert 'Nothing was downloaded' in capsys.readouterr().err
    assert not any('/resolve/' in path for path, _ in hub.requests)
    monkeypatch.setattr('builtins.input', lambda prompt: 'y')
    assert main(['weights', 'fetch', 'one2345']) == 0


@pytest.mark.parametrize('name', ['zero123-xl', 'zeronvs', 'loftr-indoor', 'zero123plus-v1.1'])
def test_offline_it_says_what_to_bring(name, capsys):
    assert main(['weights', 'fetch', name, '--yes']) == 2
    said = capsys.readouterr().err
    assert CATALOG[name].page in said and (CATALOG[name].file_name or 'folder') in said
    assert f'lift3d weights import PATH --name {name}' in said


def test_answers_of_the_hub_that_are_no_file(hub, capsys):
    hub.status = 401
    assert main(['weights', 'fetch', 'stable-zero123', '--yes']) == 2
    said = capsys.readouterr().err
    assert 'accept a licence' in said and 'HF_TOKEN' in said
    hub.status = 404
    assert main(['weights', 'fetch', 'one2345', '--yes']) == 2
    assert '404' in capsys.readouterr().err
    hub.status = 200
    assert main(['weights', 'fetch', 'zero123-xl', '--yes']) == 2
    assert 'One-2-3-45/code has no zero123-xl.ckpt' in capsys.readouterr().err


@pytest.mark.parametrize('answer', [
    b'{', b'[]', b'null', b'{"siblings": 3}', b'{"siblings": ["x"]}', b'{"siblings": [{}]}',
    b'{"siblings": [{"rfilename": "x", "lfs": [1]}]}',
    b'{"siblings": [{"rfilename": "x", "size": "12"}]}',
    b'{"siblings": [{"rfilename": "x", "lfs": {"size": -1}}]}',
    b'{"siblings": [{"rfilename": "x", "lfs": {"sha256": 5}}]}',
    b'{"siblings": ' + b'[' * 100_000, b'[' + b'1,' * 3_000_000 + b'1]',
])
def test_a_list_of_the_hub_that_makes_no_sense_is_refused(answer, hub, monkeypatch):
    monkeypatch.setattr(hub, 'do_GET', lambda self: self.answer(200, answer))
    with pytest.raises(LiftError) as error:
        fetching.remote_files(CATALOG['one2345'])
    assert error.value.code is ErrorCode.WEIGHTS_MISSING


def test_files_of_a_folder_are_chosen(hub):
    hub.files = dict.fromkeys((
        'model_index.json', 'README.md', '.gitattributes', 'unet/config.json', 'pipeline.py',
        'unet/diffusion_pytorch_model.safetensors', 'unet/diffusion_pytorch_model.bin',
        'unet/diffusion_pytorch_model.fp16.safetensors', 'tokenizer/merges.txt',
        'vae/diffusion_pytorch_model.bin', 'vae/config.json', 'a/b/c.json'), b'x')
    assert sorted(file.path for file in fetching.remote_files(CATALOG['zero123plus-v1.1'])) == [
        'model_index.json', 'tokenizer/merges.txt', 'unet/config.json',
        'unet/diffusion_pytorch_model.safetensors', 'vae/config.json',
        'vae/diffusion_pytorch_model.bin']
    hub.files = {'../../x/config.json': b'x', 'unet/config.json': b'x'}
    files = [file.path for file in fetching.remote_files(CATALOG['zero123plus-v1.1'])]
    assert files == ['unet/config.json']
    hub.files = {'/config.json': b'x', 'unet/config.json': b'x'}
    with pytest.raises(LiftError, match='names a file outside'):
        fetching.remote_files(CATALOG['zero123plus-v1.1'])


def test_a_token_is_shown_to_the_hub_only(hub, monkeypatch):
    seen = []

    class Elsewhere(Hub):
        def do_GET(self):
            seen.append(('elsewhere', self.headers.get('Authorization')))
            self.answer(200, b'{}')

    with serving(Elsewhere) as other:
        def redirect(self):
            seen.append(('hub', self.headers.get('Authorization')))
            self.send_response(302)
            self.send_header('Location', f'{other}/file')
            self.send_header('Content-Length', '0')
            self.end_headers()

        monkeypatch.setattr(hub, 'do_GET', redirect)
        monkeypatch.setenv('HF_TOKEN', 'secret')
        with pytest.raises(LiftError):
            fetching.remote_files(CATALOG['one2345'])
    assert seen == [('hub', 'Bearer secret'), ('elsewhere', None)]
