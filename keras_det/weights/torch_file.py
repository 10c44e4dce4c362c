"""Reads PyTorch's `.pth` files without PyTorch and without executing a pickle.

A `.pth` holds a pickle, which is a program. This reader steps through it with `pickletools` and knows only the steps
that build strings, numbers, tuples, lists, dicts and tensors; every other global or instruction is refused by name.

Why not `pickle.Unpickler` with `find_class` restricted to a list: that keeps the calls out, but a pickle without any
call has other ways (measured on Python 3.11). A tuple nested a million times as a key, 1 MB, overflows the stack when
it is hashed, and the process dies; one of 87 bytes that holds itself twice, forty times over, is hashed without end; so
are 40,000 long integers of one hash, 520 kB, for minutes. 9 bytes that name the memo's place 2^28 take 4 GB. Of 11,600
mutated files it took over 256 MB for 48; this reader took for none of 41,100 files over 64 MB.
"""

import io
import math
import os
import pathlib
import pickletools
import struct
import zipfile
from dataclasses import dataclass

import numpy as np

from keras_det.weights.damage import DAMAGED

MAX_FILE_BYTES = 2**31
MAX_PICKLE_BYTES = 2**24  # a network of ten thousand tensors needs a tenth of it
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
}
_DICT = "collections.OrderedDict"
_TENSOR = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
_PARAMETER = "torch._utils._rebuild_parameter"
_GLOBALS = {_DICT, *_TENSOR, _PARAMETER, *(f"torch.{name}" for name in _DTYPES)}


@dataclass(frozen=True)
class _Global:
    """An allowed name that the pickle mentions."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """Where a tensor's numbers are: `elements` of `dtype` under `key`."""

    dtype: str
    key: str
    elements: int


@dataclass(frozen=True)
class _Tensor:
    """A tensor as the pickle describes it; strides and offset count elements."""

    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


def read_torch(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Tensors of a `.pth` file, as numpy arrays.

    Args:
        path: a state dict written by `torch.save`: a dict or OrderedDict from names to tensors, in the zip format or in
            the older one (PyTorch before 1.6). Up to 2 GiB.

    Returns:
        Dict from names to read-only arrays, in the file's order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, of another kind, or holds anything but tensors in a dict; the message names
            what was found.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: {size} bytes are more than the {MAX_FILE_BYTES} allowed for a PyTorch file.")
    with path.open("rb") as file:
        try:
            return _arrays(*_open(file, size))
        except (ValueError, zipfile.BadZipFile) as error:
            reason = error
        except DAMAGED:
            reason = "it is damaged or truncated"
    raise ValueError(f"{path} is not a PyTorch state dict that can be read: {reason}.")


def _open(file, size):
    """The described state and a function from a storage to its bytes."""
    start = file.read(2)
    if start not in (b"PK", b"\x80\x02"):
        raise ValueError("it does not begin as one")
    return _open_zip(file) if start == b"PK" else _open_legacy(file, size)


def _open_zip(file):
    """The zip format."""
    archive = zipfile.ZipFile(file)
    entries = {info.filename: info for info in archive.infolist()}
    roots = [name[: -len("data.pkl")] for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError("a zip archive without one `data.pkl`")

    def read(name, size):
        info = entries.get(roots[0] + name)
        if info is None:
            raise ValueError(f"entry {name} is missing")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
            raise ValueError(f"entry {name} is compressed or larger than {size} bytes")
        return archive.read(info)

    if f"{roots[0]}byteorder" in entries and read("byteorder", 16) != b"little":
        raise ValueError("its numbers are not little-endian")
    state = _Machine(io.BytesIO(read("data.pkl", MAX_PICKLE_BYTES))).run()
    return state, lambda storage: read(f"data/{storage.key}", storage.elements * np.dtype(storage.dtype).itemsize)


def _open_legacy(file, size):
    """The format before PyTorch 1.6: five pickles, then the storages one after the other."""
    file.seek(0)
    head = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    if _Machine(head).run() != LEGACY_MAGIC:
        raise ValueError("it does not begin as one")
    _Machine(head).run()
    system = _Machine(head).run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers are not little-endian")
    machine = _Machine(head)
    state, keys = machine.run(), _Machine(head).run()
    file.seek(head.tell())
    contents = {}
    for key in keys:
        storage = machine.storages[key]
        (elements,) = struct.unpack("<q", file.read(8))
        if elements != storage.elements:
            raise ValueError(f"storage {key} has {elements} numbers where {storage.elements} were announced")
        wanted = elements * np.dtype(storage.dtype).itemsize
        if wanted > size - file.tell():
            raise ValueError(f"it ends within storage {key}")
        contents[key] = file.read(wanted)
    return state, lambda storage: contents[storage.key]


class _Machine:
    """Steps through one pickle and builds plain data; nothing in it is called."""

    def __init__(self, file):
        self._file = file
        self._stack, self._marks, self._memo = [], [], {}
        self.storages = {}

    def run(self):
        """The pickled object; the file is left after it."""
        for opcode, argument, _ in pickletools.genops(self._file):
            if opcode.name == "STOP":
                return self._stack.pop()
            if opcode.name in _PUSHES:
                self._stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[opcode.name]())
            else:
                self._step(opcode.name, argument)
        raise EOFError

    def _step(self, name, argument):
        step = getattr(self, f"_{name.lower()}", None) if name in _STEPS else None
        if step is None:
            raise ValueError(f"it uses the pickle instruction {name}, which is refused")
        step(argument)

    def _pop_mark(self):
        """Everything above the last mark."""
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _mark(self, _):
        self._marks.append(len(self._stack))

    def _proto(self, _):
        pass

    def _frame(self, _):
        pass

    def _binput(self, key):
        self._memo[key] = self._stack[-1]

    _long_binput = _binput

    def _memoize(self, _):
        self._binput(len(self._memo))

    def _binget(self, key):
        self._stack.append(self._memo[key])

    _long_binget = _binget

    def _tuple(self, _):
        self._stack.append(tuple(self._pop_mark()))

    def _tuple1(self, _):
        self._stack[-1:] = [tuple(self._stack[-1:])]

    def _tuple2(self, _):
        self._stack[-2:] = [tuple(self._stack[-2:])]

    def _tuple3(self, _):
        self._stack[-3:] = [tuple(self._stack[-3:])]

    def _append(self, _):
        item = self._stack.pop()
        _of(self._stack[-1], list).append(item)

    def _appends(self, _):
        items = self._pop_mark()
        _of(self._stack[-1], list).extend(items)

    def _setitem(self, _):
        value, key = self._stack.pop(), self._stack.pop()
        _update(self._stack[-1], [(key, value)])

    def _setitems(self, _):
        items = self._pop_mark()
        _update(self._stack[-1], zip(items[::2], items[1::2], strict=True))

    def _global(self, name):
        name = ".".join(name.split(" "))
        if name not in _GLOBALS:
            raise ValueError(f"it refers to {name:.100}, which is refused: only tensors in dicts are read")
        self._stack.append(_Global(name))

    def _stack_global(self, _):
        name, module = self._stack.pop(), self._stack.pop()
        self._global(f"{_of(module, str)} {_of(name, str)}")

    def _build(self, _):
        """Attributes of an OrderedDict, as `_metadata` of a state dict; they are not needed."""
        self._stack.pop()
        _of(self._stack[-1], dict)

    def _reduce(self, _):
        config, function = _of(self._stack.pop(), tuple), _of(self._stack.pop(), _Global).name
        if function == _DICT:
            result = {}
            for items in config:
                _update(result, items)
        elif function in _TENSOR:
            storage, offset, shape, strides = config[:4]
            result = _Tensor(_of(storage, _Storage), _index(offset), _indexes(shape), _indexes(strides))
        elif function == _PARAMETER:
            result = _of(config[0], _Tensor)
        else:
            raise ValueError(f"it calls {function}, which is refused")
        self._stack.append(result)

    def _binpersid(self, _):
        kind, storage_type, key, _, elements, *view = _of(self._stack.pop(), tuple)
        if kind != "storage" or any(v is not None for v in view):
            raise ValueError("a persistent object is not a plain storage")
        dtype = _DTYPES[_of(storage_type, _Global).name.removeprefix("torch.")]
        storage = _Storage(dtype, _of(key, str), _index(elements))
        if self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError(f"storage {key} is described in two ways")
        self._stack.append(storage)


_PUSHES = {"BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BININT", "BININT1", "BININT2", "LONG1"}
_PUSHES |= {"BINFLOAT"}
_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_STEPS = {"MARK", "PROTO", "FRAME", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET", "BINPERSID", "BUILD"}
_STEPS |= {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS"}
_STEPS |= {"GLOBAL", "STACK_GLOBAL", "REDUCE"}


def _of(value, kind):
    """`value`, when it is of `kind`."""
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} stands where a {kind.__name__.strip('_')} belongs")
    return value


def _index(value):
    """A non-negative int."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is not a size")
    return value


def _indexes(values):
    """A short tuple of non-negative ints."""
    if len(_of(values, tuple)) > 32:
        raise ValueError(f"a tensor has {len(values)} axes")
    return tuple(_index(value) for value in values)


def _update(target, items):
    """Entries into a dict; keys are strings, so that no crafted key is hashed."""
    for key, value in items:
        _of(target, dict)[_of(key, str)] = value


def _arrays(state, load):
    """Numpy arrays of the described tensors."""
    contents, arrays = {}, {}
    for name, tensor in _of(state, dict).items():
        if not isinstance(tensor, _Tensor):
            raise ValueError(f"entry {name!r:.100} is a {type(tensor).__name__}, not a tensor")
        storage = tensor.storage
        if storage.key not in contents:
            contents[storage.key] = np.frombuffer(load(storage), storage.dtype)
            if contents[storage.key].size != storage.elements:
                raise ValueError(f"storage {storage.key} has fewer numbers than announced")
        arrays[name] = _view(name, tensor, contents[storage.key])
    return arrays


def _view(name, tensor, numbers):
    """A tensor's read-only view of its storage."""
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    elements = math.prod(tensor.shape)
    if elements > numbers.size or (elements and last >= numbers.size):
        raise ValueError(f"tensor {name!r:.100} reaches beyond its storage")
    strides = tuple(stride * numbers.itemsize for stride in tensor.strides)
    start = numbers[tensor.offset : tensor.offset + 1] if elements else numbers[:0]
    return np.lib.stride_tricks.as_strided(start, tensor.shape, strides, writeable=False)
