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
Unpickle the tensors of torch files without torch's unpickler and without executing anything.

A pickle is a program for a stack machine that makes objects by calling functions by name. Here it
can call only functions of this module, which make dictionaries, sets, tensors that are views of
given bytes, and placeholders. Everything else is refused before it is called. The machine is
Python's own in its Python version: its memory grows with the pickle, not with a number in it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
import pickle
from typing import Any
from typing import BinaryIO

import torch
from torch import Tensor

#: Types that networks are stored in, by the names of torch's storage classes.
DTYPES_OF_STORAGES = {
    'DoubleStorage': torch.float64, 'FloatStorage': torch.float32, 'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16, 'LongStorage': torch.int64, 'IntStorage': torch.int32,
    'ShortStorage': torch.int16, 'CharStorage': torch.int8, 'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
}

#: Names that Lightning, numpy, torch and Python leave in checkpoints besides the tensors. Each is
#: read as an empty placeholder; none of their code runs.
_INERT = frozenset((
    'pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint',
    'pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor',
    'lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint',
    'numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar', 'numpy.dtype',
    'collections.Counter', 'torch.device', 'torch.Size', '_codecs.encode',
    'builtins.bytearray', 'builtins.complex', '__builtin__.bytearray', '__builtin__.complex',
))

#: Functions of torch that make unsupported kinds of tensors, and these kinds.
_UNUSABLE = {
    '_rebuild_sparse_tensor': 'a sparse tensor',
    '_rebuild_sparse_csr_tensor': 'a sparse tensor',
    '_rebuild_nested_tensor': 'a nested tensor',
    '_rebuild_qtensor': 'a quantised tensor',
    '_rebuild_meta_tensor_no_storage': 'a tensor without numbers (meta)',
    '_rebuild_device_tensor_from_numpy': 'a tensor of another device',
    '_rebuild_device_tensor_from_cpu_tensor': 'a tensor of another device',
    '_rebuild_wrapper_subclass': 'a tensor of a class of its own',
    '_rebuild_from_type_v2': 'a tensor of a class of its own',
    '_rebuild_tensor_v3': 'a tensor with an unsupported data type',
}

#: Networks have tensors of at most five dimensions.
_MAX_DIMENSIONS = 8
#: The largest published checkpoint, with its optimiser, has less than 10,000 tensors. A tensor
#: takes 1 kB of memory and as little as 5 bytes of a pickle.
_MAX_TENSORS = 100_000
#: Items that calls may copy between containers; files of torch copy none or few.
_MAX_COPIED_ITEMS = 1_000_000


class Damaged(Exception):
    """A pickle that torch does not write; the text continues the sentence after the path."""


class Foreign(Damaged):
    """A pickle that names an object which could execute code."""


class Placeholder:
    """Stands for an object of a checkpoint that no network needs; ignores all arguments."""

    def __init__(self, *_: object) -> None:
        pass


class Unusable(Placeholder):
    """Stands for an unsupported tensor; ``what`` names its kind."""

    what = 'an object'


@dataclass(frozen=True)
class StorageType:
    """The type of a storage; ``dtype`` is None for an unsupported type."""

    name: str
    dtype: torch.dtype | None


@dataclass(frozen=True)
class Storage:
    """The numbers (n,) that tensors are views of; None for an unsupported type, ``name``."""

    numbers: Tensor | None
    name: str = ''


#: Makes a storage from its type, key, number of elements, and view (legacy files only).
Provider = Callable[[StorageType, str, int, Any], Storage]


class _Factory(Placeholder):
    """A function that a pickle may call; as a key or value it is a placeholder."""

    __slots__ = ('make',)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make


#: The Python version of Python's unpickler, which has no public name. The C version allocates
#: memory according to numbers in a pickle, such as a memo index.
_Machine: Any = vars(pickle)['_Unpickler']

#: Opcodes that no file of torch has; all of them make objects in other ways.
_REFUSED_OPCODES = (
    pickle.PERSID, pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2,
    pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.BYTEARRAY8,
)


class TensorUnpickler(_Machine):
    """
    Reads one pickle of torch from a file; ``load`` returns dictionaries and tensors.

    ``storage`` provides the numbers that tensors are views of. ``load`` raises ``Damaged``, and
    any of Python's own errors for a damaged pickle.
    """

    def __init__(self, file: BinaryIO, storage: Provider | None = None) -> None:
        """Read from ``file``, whose position is at the end of the pickle afterwards."""
        super().__init__(file, encoding='utf-8', errors='replace')
        self._storage = storage
        self._known: dict[str, Any] = {}
        self._tensors = 0
        self._copied = 0

    def find_class(self, module: str, name: str) -> Any:
        """Return the substitute of a global name; raises ``Foreign``."""
        full = f'{module}.{name}'
        if full not in self._known:
            self._known[full] = self._find(module, name, full)
        return self._known[full]

    def _find(self, module: str, name: str, full: str) -> Any:
        if full == 'collections.OrderedDict':
            return _Factory(self._ordered)
        if full in ('builtins.set', '__builtin__.set'):
            return _Factory(self._set_of)
        if full in ('torch._utils._rebuild_tensor_v2', 'torch._utils._rebuild_tensor'):
            return _Factory(self._tensor)
        if full in ('torch._utils._rebuild_parameter',
                    'torch._utils._rebuild_parameter_with_state'):
            return _Factory(_rebuild_parameter)
        if module in ('torch', 'torch.cuda', 'torch.storage') and name.endswith('Storage'):
            return StorageType(name, DTYPES_OF_STORAGES.get(name))
        if module in ('torch._utils', 'torch._tensor') and name in _UNUSABLE:
            return _Factory(_unusable(_UNUSABLE[name]))
        if full in _INERT:
            return _Factory(Placeholder)
        # Named constants of torch.
        if module == 'torch' and isinstance(
                vars(torch).get(name), torch.dtype | torch.qscheme | torch.layout):
            return Placeholder()
        if full in ('torch.serialization._get_layout', 'torch.Tensor',
                    'torch.nn.parameter.Parameter'):
            return _Factory(_unusable('a tensor of a class of its own'))
        raise Foreign(full)

    def persistent_load(self, saved: Any) -> Storage:
        """Return the storage that a persistent identifier names; raises ``Damaged``."""
        if self._storage is None or not isinstance(saved, tuple) or len(saved) not in (5, 6):
            raise Damaged('names numbers in a way that torch does not')
        kind, stored, key, _, count, *view = saved
        if kind != 'storage' or not isinstance(stored, StorageType) or not isinstance(
                key, str) or not _is_count(count):
            raise Damaged('names numbers in a way that torch does not')
        return self._storage(stored, key, count, view[0] if view else None)

    def load_reduce(self) -> None:
        """Call a factory, and nothing else."""
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, _Factory) or not isinstance(arguments, tuple):
            raise Damaged('calls something other than a torch function')
        self.stack[-1] = function.make(*arguments)

    def load_build(self) -> None:
        """Ignore the attributes of an object: no network needs those of dictionaries."""
        self.stack.pop()
        if not isinstance(self.stack[-1], OrderedDict | Placeholder | Tensor):
            raise Damaged('sets attributes of an object that has none')

    def load_append(self) -> None:
        """Append to a list; a placeholder ignores it."""
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        """Extend a list."""
        self._extend(self.pop_mark())

    def load_setitem(self) -> None:
        """Set an item of a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        """Set items of a dictionary."""
        self._set_items(self.pop_mark())

    def load_additems(self) -> None:
        """Add items to a set."""
        items = self.pop_mark()
        if not isinstance(self.stack[-1], set):
            raise Damaged('adds items to an object that is not a set')
        self.stack[-1].update(items)

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Placeholder):
            raise Damaged('appends to an object that is not a list')

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(zip(items[::2], items[1::2], strict=True))
        elif not isinstance(target, Placeholder):
            raise Damaged('sets an item of an object that is not a dictionary')

    def _tensor(self, *arguments: Any) -> Any:
        self._tensors += 1
        if self._tensors > _MAX_TENSORS:
            raise Damaged(f'has more than {_MAX_TENSORS} tensors')
        return _rebuild_tensor(*arguments)

    def _ordered(self, *arguments: Any) -> OrderedDict[Any, Any]:
        return OrderedDict(*self._bounded(arguments))

    def _set_of(self, *arguments: Any) -> set[Any]:
        return set(*self._bounded(arguments))

    def _bounded(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of a container's constructor, whose total size is limited."""
        if len(arguments) > 1 or not all(isinstance(item, list | dict) for item in arguments):
            raise Damaged('makes a container from an object that is not one')
        self._copied += sum(len(item) for item in arguments)
        if self._copied > _MAX_COPIED_ITEMS:
            raise Damaged(f'copies more than {_MAX_COPIED_ITEMS} items')
        return arguments


#: The handler of each opcode.
TensorUnpickler.dispatch = {
    **{code: handler for code, handler in _Machine.dispatch.items()
       if bytes([code]) not in _REFUSED_OPCODES},
    pickle.REDUCE[0]: TensorUnpickler.load_reduce,
    pickle.NEWOBJ[0]: TensorUnpickler.load_reduce,
    pickle.BUILD[0]: TensorUnpickler.load_build,
    pickle.APPEND[0]: TensorUnpickler.load_append,
    pickle.APPENDS[0]: TensorUnpickler.load_appends,
    pickle.SETITEM[0]: TensorUnpickler.load_setitem,
    pickle.SETITEMS[0]: TensorUnpickler.load_setitems,
    pickle.ADDITEMS[0]: TensorUnpickler.load_additems,
}


def _unusable(what: str) -> Callable[..., Unusable]:
    def make(*_: object) -> Unusable:
        made = Unusable()
        made.what = what
        return made

    return make


def _rebuild_parameter(data: Any, *_: object) -> Any:
    if not isinstance(data, Tensor | Unusable):
        raise Damaged('makes a parameter from an object that is not a tensor')
    return data


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> Any:
    """Return a tensor as a view of its storage; raises ``Damaged`` for one that lies outside."""
    if not isinstance(storage, Storage):
        raise Damaged('makes a tensor from an object that is not a storage')
    if not (_is_count(offset) and isinstance(size, tuple) and isinstance(stride, tuple)
            and len(size) == len(stride) <= _MAX_DIMENSIONS
            and all(_is_count(number) for number in (*size, *stride))):
        raise Damaged('has a tensor with an invalid shape')
    if storage.numbers is None:
        return _unusable(f'a tensor of the type {storage.name}')()
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if all(size) and last >= storage.numbers.numel():
        raise Damaged(f'has a tensor of the shape {list(size)} that is larger than its storage')
    if not all(size):
        return torch.empty(size, dtype=storage.numbers.dtype)
    # The offset of as_strided counts from the start of the mapped file.
    return storage.numbers.as_strided(size, stride, storage.numbers.storage_offset() + offset)


def _is_count(value: Any) -> bool:
    # No file has more numbers; torch counts with 64 bits.
    return type(value) is int and 0 <= value < 2**48
