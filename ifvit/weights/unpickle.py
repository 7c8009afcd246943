"""Read the pickle inside a PyTorch checkpoint as data: no name in it is imported and no code in it is run.

A pickle is a small program that can name any function and call it. Here a name is never imported. The few names that a
tensor needs stand for constructors of this reader. Names from modules that can run code are refused at once. Every
other name, such as the class of a hyper-parameter, becomes a `Foreign`: a placeholder that no operation of the pickle
changes.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from ifvit.weights.errors import WeightsError
from ifvit.weights.tensors import (
    DTYPES,
    STORAGES,
    Dtype,
    Foreign,
    Maker,
    Storage,
    rebuild_parameter,
    rebuild_tensor,
    rebuild_tensor_v3,
)

# A byte of a pickle can create an object of some 70 bytes, so this bounds the memory too (about 1 GiB). The pickle of
# LoFTR with its optimiser has well under 1 MiB: the numbers themselves are outside it.
MAX_PICKLE_BYTES = 16 * 2**20

_REFUSED = (
    "os posix posixpath nt ntpath subprocess commands popen2 sys importlib imp runpy pkgutil zipimport "
    "shutil socket ssl select selectors socketserver http urllib urllib2 httplib ftplib smtplib "
    "telnetlib xmlrpc requests webbrowser pickle _pickle cPickle pickletools marshal shelve dill "
    "cloudpickle joblib functools _functools operator _operator types ctypes _ctypes cffi code codeop "
    "pdb bdb cProfile profile timeit trace inspect gc pty tempfile threading _thread multiprocessing "
    "concurrent asyncio signal resource site sysconfig pip setuptools distutils ensurepip venv platform "
    "linecache builtins __builtin__"
)
REFUSED_MODULES = frozenset(_REFUSED.split())
_CONTAINERS_AND_NUMBERS = (
    "set frozenset dict list tuple int float bool complex str bytes bytearray slice range object long unicode xrange"
)
_PLAIN_FUNCTIONS = "type Ellipsis NotImplemented abs len max min round sum"
# Names from those modules that occur in hyper-parameters. They too become `Foreign`: a state dict needs none of them
# (its own dict, list and tuple have opcodes), and a pickle could make a real `range`, `list` or `bytearray` fill the
# memory. The function that a `partial` would call is a name in the pickle too, and is refused there.
HARMLESS_NAMES = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in f"{_CONTAINERS_AND_NUMBERS} {_PLAIN_FUNCTIONS}".split()
) | {
    "types.SimpleNamespace", "types.GenericAlias", "functools.partial", "functools.partialmethod",
    "operator.itemgetter", "_operator.itemgetter",
}  # fmt: skip
STATE_DICT_ALONE = "torch.save({'state_dict': torch.load(FILE, weights_only=False)['state_dict']}, NEW_FILE)"


def _refusal(full: str) -> WeightsError:
    return WeightsError(
        f"refused: the file asks for {full[:200]}, which can run code and which no weights need. Nothing was run. Get "
        f"the weights again from their authors. Or, where you trust the file: {STATE_DICT_ALONE} saves its state dict "
        "alone; that line runs the file's code"
    )


def _attribute(owner: object, name: object, *_: object) -> Foreign:
    """Replaces `getattr(owner, name)`, with which a pickle names a class within a class."""
    if not isinstance(owner, Foreign) or type(name) is not str:
        return Foreign("builtins.getattr")
    if owner.name.rpartition(".")[2] in REFUSED_MODULES:  # a module that is reached through another
        raise _refusal(f"{owner.name}.{name}")
    return Foreign(f"{owner.name}.{name}"[:200])


def _size(shape: object) -> object:
    if not isinstance(shape, tuple | Foreign):
        raise WeightsError("the pickle makes a torch.Size of something that is not a tuple")
    return shape


# (module, name) in the pickle -> the object of this reader that stands for it.
_REPLACEMENTS: dict[tuple[str, str], object] = {
    # torch.save always creates it empty. With items, Python's own would hash their keys, of any kind.
    ("collections", "OrderedDict"): Maker(lambda: OrderedDict()),
    ("builtins", "getattr"): Maker(_attribute),
    ("__builtin__", "getattr"): Maker(_attribute),
    ("torch", "Size"): Maker(_size),
    ("torch._utils", "_rebuild_tensor_v2"): Maker(rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Maker(rebuild_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): Maker(rebuild_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Maker(rebuild_parameter),
}
_REPLACEMENTS |= {("torch", name): Dtype(dtype) for name, dtype in DTYPES.items()}
_REPLACEMENTS |= {(m, name): Dtype(DTYPES[kind]) for m in ("torch", "torch.storage") for name, kind in STORAGES.items()}


def _key(key: object) -> object:
    """A dictionary key that is safe to hash.

    The hash of a tuple visits its items: a tuple nested a million deep overflows the C stack, and one of shared halves
    takes endless time. So tuples have to be short and flat. Integers, whose hash Python does not store, have to fit
    into 64 bits.

    Raises:
        WeightsError: the key is not safe.
    """
    kind = type(key)
    if kind in (str, bytes, float, bool, type(None), Foreign, Dtype, Maker):
        return key
    if type(key) is int and abs(key) < 2**63:
        return key
    if type(key) is tuple and len(key) <= 16 and all(type(k) is not tuple and _key(k) is k for k in key):
        return key
    raise WeightsError(f"the pickle uses a {kind.__name__} as a dictionary key where a text or a number is expected")


class _Reader(pickle._Unpickler):
    """Python's own unpickler, with replacements for all opcodes that could call, import, hash or allocate freely.

    It is the pure Python unpickler. Its memo is a dict; the memo of the C unpickler is an array as long as the largest
    index, which a 5-byte opcode can set to four thousand million. Only the Python one lets opcodes be replaced.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    foreign: dict[str, Foreign]  # full name in the pickle -> its placeholder

    # Set by Python's own unpickler.
    stack: list[Any]
    append: Callable[[object], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]

    def find_class(self, module: str, name: str) -> object:
        """The object that a name in the pickle stands for. Names that can run code are refused; none is imported."""
        if (module, name) in _REPLACEMENTS:
            return _REPLACEMENTS[module, name]
        full = f"{module}.{name}"
        roots = {module.partition(".")[0], *name.split(".")[:-1]}
        if roots & REFUSED_MODULES and full not in HARMLESS_NAMES:
            raise _refusal(full)
        return self.foreign.setdefault(full, Foreign(full[:200]))

    def persistent_load(self, pid: object) -> object:
        """The storage of a persistent id: ('storage', type, key, device, number of elements)."""
        if type(pid) is not tuple or len(pid) < 5 or pid[0] != "storage":
            raise WeightsError("the pickle refers to something outside it that is not a PyTorch storage")
        kind, key, size = pid[1], pid[2], pid[4]
        if isinstance(kind, Foreign):
            return kind
        if not isinstance(kind, Dtype) or type(key) is not str or type(size) is not int or size < 0:
            raise WeightsError("the pickle describes a storage in a way PyTorch does not")
        return Storage(key, kind.dtype, size)

    def _call(self, function: object, args: Iterable[object]) -> None:
        if isinstance(function, Foreign):
            self.append(function)
        elif isinstance(function, Maker):
            self.append(function.make(*args))
        else:
            raise WeightsError(f"the pickle calls a {type(function).__name__}, which is not a function")

    def _reduce(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        self._call(function, args)

    def _new_object_ex(self) -> None:
        del self.stack[-1]  # keyword arguments: no constructor known here takes any
        self._reduce()

    def _object(self) -> None:
        function, *args = self.pop_mark()
        self._call(function, args)

    def _instance(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        self._call(self.find_class(module, name), self.pop_mark())

    def _build(self) -> None:
        del self.stack[-1]  # attributes, such as a state dict's _metadata, which this reader does not use

    def _put(self, items: list) -> None:
        target = self.stack[-1]
        if isinstance(target, Foreign):
            return
        if not isinstance(target, dict):
            raise WeightsError(f"the pickle sets an item of a {type(target).__name__}, which is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def _set_items(self) -> None:
        self._put(self.pop_mark())

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._put(items)

    def _extend(self, items: list) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Foreign):
            raise WeightsError(f"the pickle appends to a {type(target).__name__}, which is not a list")

    def _append_one(self) -> None:
        self._extend([self.stack.pop()])

    def _append_many(self) -> None:
        self._extend(self.pop_mark())

    def _empty_set(self) -> None:
        self.append(self.find_class("builtins", "set"))

    def _frozen_set(self) -> None:
        self.pop_mark()
        self._empty_set()

    def _byte_array(self) -> None:
        # Python's own allocates the length in the pickle, of any size, before it reads.
        length = int.from_bytes(self.read(8), "little")
        self.append(self.read(min(length, MAX_PICKLE_BYTES)))

    def _no_such_opcode(self) -> None:
        raise WeightsError("the pickle uses an opcode that PyTorch never writes")

    for _opcodes, _method in (
        (pickle.REDUCE + pickle.NEWOBJ, _reduce),
        (pickle.NEWOBJ_EX, _new_object_ex),
        (pickle.OBJ, _object),
        (pickle.INST, _instance),
        (pickle.BUILD, _build),
        (pickle.SETITEM, _set_item),
        (pickle.SETITEMS, _set_items),
        (pickle.DICT, _dict),
        (pickle.APPEND, _append_one),
        (pickle.APPENDS + pickle.ADDITEMS, _append_many),
        (pickle.EMPTY_SET, _empty_set),
        (pickle.FROZENSET, _frozen_set),
        # EXT uses classes that other code of this process registered.
        (pickle.EXT1 + pickle.EXT2 + pickle.EXT4, _no_such_opcode),
        (pickle.NEXT_BUFFER + pickle.READONLY_BUFFER, _no_such_opcode),  # buffers that are not in the file
        (pickle.BYTEARRAY8, _byte_array),
    ):
        for _opcode in _opcodes:
            dispatch[_opcode] = _method
    del _opcodes, _opcode, _method


def read_pickle(data: bytes) -> object:
    """The object in `data`, of plain containers, numbers, `Tensor` and `Foreign`.

    Raises:
        WeightsError: a name is refused, or PyTorch never writes such a pickle.
        Exception: of any class, where the pickle is damaged.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise WeightsError(f"its pickle is {len(data):,} bytes; at most {MAX_PICKLE_BYTES:,} are read")
    reader = _Reader(io.BytesIO(data))
    reader.foreign = {}
    return reader.load()
