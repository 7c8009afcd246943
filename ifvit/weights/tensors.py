"""What a tensor in a PyTorch pickle is made of: dtypes, storages, views, and the calls that rebuild them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from ifvit.weights.errors import WeightsError

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}
_NUMPY = "float64 float32 float16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128"
_EXTENDED = "bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu"
DTYPES: dict[str, np.dtype] = {name: np.dtype(name) for name in _NUMPY.split()} | {
    name: np.dtype(getattr(ml_dtypes, name)) for name in _EXTENDED.split() if hasattr(ml_dtypes, name)
}


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """An object of a class this reader does not know, whose full name is `name`. It holds nothing."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A block of numbers in the archive: entry `data/{key}`, `size` elements of `dtype`."""

    key: str
    dtype: np.dtype
    size: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A strided view into a storage, in elements of `dtype`. Its bounds are checked when it is read."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Dtype:
    """Stands for `torch.float32` and, as a persistent id has it, for `torch.FloatStorage`."""

    dtype: np.dtype


@dataclass(frozen=True, slots=True, eq=False)
class Maker:
    """Stands for a known function or class; `make` is ours."""

    make: Callable[..., object]


def rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> object:
    """The arguments of torch._utils._rebuild_tensor_v2; `rest`: requires_grad, hooks and perhaps metadata."""
    return _tensor(storage, None, offset, shape, strides, rest[2:])


def rebuild_tensor_v3(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    grad: object,
    hooks: object,
    dtype: object,
    *metadata: object,
) -> object:
    """The arguments of torch._utils._rebuild_tensor_v3, which names its dtype beside an untyped storage."""
    return _tensor(storage, dtype, offset, shape, strides, metadata)


def _tensor(
    storage: object,
    dtype: object,
    offset: object,
    shape: object,
    strides: object,
    metadata: tuple[object, ...],
) -> object:
    if foreign := next((x for x in (storage, dtype, shape, strides) if isinstance(x, Foreign)), None):
        return foreign
    if any(metadata):  # marks a lazy negative or conjugate: the stored numbers are not the tensor's
        return Foreign("a lazily negated or conjugated tensor")
    if not isinstance(storage, Storage) or not (dtype is None or isinstance(dtype, Dtype)):
        raise WeightsError("the pickle rebuilds a tensor from something that is not a storage")
    numbers_ok = type(offset) is int and all(
        type(t) is tuple and len(t) <= 32 and all(type(n) is int and 0 <= n < 2**62 for n in t)
        for t in (shape, strides)
    )
    if not numbers_ok or len(shape) != len(strides) or not 0 <= offset < 2**62:
        raise WeightsError("the pickle rebuilds a tensor with an impossible offset, shape or stride")
    return Tensor(storage, dtype.dtype if dtype else storage.dtype, offset, shape, strides)


def rebuild_parameter(data: object, *rest: object) -> object:
    """A torch.nn.Parameter is its tensor: the gradient flag, hooks and attributes in `rest` are dropped."""
    if not isinstance(data, Tensor | Foreign):
        raise WeightsError("the pickle rebuilds a parameter from something that is not a tensor")
    return data
