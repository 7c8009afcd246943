"""The parts of a tensor in a PyTorch pickle: dtypes, storages, views, and the calls that rebuild them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

import ml_dtypes
import numpy as np

from ifvit.weights.errors import WeightsError

STORAGES = {  # PyTorch's storage class -> dtype
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
    """Stands for an object of a class that this reader does not know. It has no content."""

    name: str  # full name of the class


@dataclass(frozen=True, slots=True)
class Storage:
    """A block of numbers in the archive."""

    key: str  # of the archive's entry data/{key}
    dtype: np.dtype
    size: int  # elements of dtype


@dataclass(frozen=True, slots=True)
class Tensor:
    """A strided view into a storage. Its bounds are checked when it is read."""

    storage: Storage
    dtype: np.dtype
    offset: int  # elements of dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # elements of dtype


@dataclass(frozen=True, slots=True, eq=False)
class Dtype:
    """Stands for a dtype such as `torch.float32`, and for a storage class such as `torch.FloatStorage`."""

    dtype: np.dtype


@dataclass(frozen=True, slots=True, eq=False)
class Maker:
    """Stands for a function or class that this reader knows."""

    make: Callable[..., object]  # this reader's replacement of it


def rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> object:
    """Replaces torch._utils._rebuild_tensor_v2. rest: requires_grad, hooks and, in some files, metadata."""
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
    """Replaces torch._utils._rebuild_tensor_v3, which has a dtype and an untyped storage."""
    return _tensor(storage, dtype, offset, shape, strides, metadata)


def _tensor(
    storage: object,
    dtype: object,
    offset: object,
    shape: object,
    strides: object,
    metadata: tuple[object, ...],
) -> object:
    """The tensor, or a `Foreign` where a part of it is one. Raises `WeightsError` for impossible arguments."""
    if foreign := next((x for x in (storage, dtype, shape, strides) if isinstance(x, Foreign)), None):
        return foreign
    if any(metadata):  # marks a lazy negative or conjugate: the stored numbers are not the tensor's
        return Foreign("a lazily negated or conjugated tensor")
    if not isinstance(storage, Storage) or not (dtype is None or isinstance(dtype, Dtype)):
        raise WeightsError("the pickle rebuilds a tensor from something that is not a storage")
    if (
        type(offset) is not int
        or not (_are_sizes(shape) and _are_sizes(strides))
        or len(shape) != len(strides)
        or not 0 <= offset < 2**62
    ):
        raise WeightsError("the pickle rebuilds a tensor with an impossible offset, shape or stride")
    return Tensor(storage, dtype.dtype if dtype else storage.dtype, offset, shape, strides)


def _are_sizes(numbers: object) -> TypeGuard[tuple[int, ...]]:
    """Whether it is a tuple of a few whole numbers that a shape or strides may have."""
    return type(numbers) is tuple and len(numbers) <= 32 and all(type(n) is int and 0 <= n < 2**62 for n in numbers)


def rebuild_parameter(data: object, *rest: object) -> object:
    """Replaces torch._utils._rebuild_parameter: a parameter is its tensor. rest: gradient flag, hooks, attributes."""
    if not isinstance(data, Tensor | Foreign):
        raise WeightsError("the pickle rebuilds a parameter from something that is not a tensor")
    return data
