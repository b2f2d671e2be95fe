"""Encodes numpy's arrays and scalars as a dtype, a shape and the bytes.

A dtype is written as its type code, size and byte order, or as a list of fields. No part of it is
evaluated. The shape is checked against the bytes before an array is created. Arrays of Python
objects are refused, because the types of their items cannot be checked.
"""

import math
import re
from typing import Any

import numpy as np

from shared.calls import parcels
from shared.calls.values import Value, of_type
from shared.errors import MessageTooLarge, NotPortable
from shared.settings import current

# Type code, size, and the unit of dates.
_PLAIN = re.compile(r"[<>|=][biufcSUVmM]\d{1,10}(\[\d{0,10}[a-zA-Zμ]{1,2}\])?")
_DEPTH = 20
_FIELDS = 10_000


def dtype_head(dtype: "np.dtype[Any]") -> Any:
    """Return a dtype as data."""
    if dtype.hasobject:
        if dtype.kind == "T":
            raise NotPortable("a numpy array of StringDType", "pass array.tolist()")
        raise NotPortable(
            "a numpy array of dtype object", "its items are Python objects; pass array.tolist()"
        )
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ["sub", dtype_head(base), list(shape)]
    if dtype.names is not None and dtype.fields is not None:
        fields = [[name, *_field_head(dtype.fields[name])] for name in dtype.names]
        is_record = issubclass(dtype.type, np.record)
        return ["fields", fields, dtype.itemsize, dtype.isalignedstruct, is_record]
    return dtype.str


def _field_head(field: Any) -> list[Any]:
    dtype, offset, *title = field
    return [dtype_head(dtype), offset, title[0] if title else None]


def dtype(head: Any, depth: int = 0) -> Any:
    """Return the dtype that `dtype_head` encoded."""
    if depth > _DEPTH:
        raise ValueError("nested too deeply")
    if type(head) is str:
        if not _PLAIN.fullmatch(head):
            raise ValueError("not a dtype")
        return np.dtype(head)
    kind, *parts = of_type(head, list)
    if kind == "sub":
        base, shape = parts
        made = dtype(base, depth + 1)
        _check_shape(shape, 1)
        if made.itemsize * math.prod(shape) > current().message_limit_bytes:
            raise ValueError("a subarray is larger than a message")
        return np.dtype((made, tuple(shape)))
    fields, itemsize, is_aligned, is_record = parts
    if kind != "fields" or len(fields) > _FIELDS:
        raise ValueError("not a dtype")
    names, formats, offsets, titles = [], [], [], []
    for name, form, offset, title in fields:
        names.append(of_type(name, str))
        formats.append(dtype(form, depth + 1))
        offsets.append(of_type(offset, int))
        titles.append(title if title is None else of_type(title, str))
    if of_type(itemsize, int) > current().message_limit_bytes:
        raise ValueError("an item is larger than a message")
    described = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    if any(title is not None for title in titles):
        described["titles"] = titles
    made = np.dtype(described, align=bool(is_aligned))
    return np.dtype((np.record, made)) if is_record else made


def _check_shape(shape: Any, least: int = 0) -> int:
    """Return the number of items in an array of this shape."""
    if len(of_type(shape, list)) > 64:
        raise ValueError("too many dimensions")
    for length in shape:
        if of_type(length, int) < least:
            raise ValueError("a length is negative")
    return math.prod(shape)


def array_head(value: "np.ndarray[Any, Any]") -> list[Any]:
    """Return an array's dtype, shape, order, writeable flag and bytes."""
    described = dtype_head(value.dtype)
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    start = [described, list(value.shape), order, bool(value.flags.writeable)]
    if parcels.takes(value.nbytes):
        return [*start, parcels.send(value, lambda: _bytes_of(value, order))]
    if value.nbytes > (limit := current().message_limit_bytes):
        # Check before copying: a small array can have a view of many times its size.
        raise MessageTooLarge("an array", value.nbytes, limit)
    if not value.dtype.itemsize and value.size:
        raise NotPortable("a numpy array", "its items have no bytes")
    return [*start, value.tobytes(order=order)]  # type: ignore[arg-type]


def _bytes_of(value: Any, order: str) -> memoryview:
    """Return the bytes of an array. Copies them only if the array is not contiguous."""
    flat = np.ascontiguousarray(value.T if order == "F" else value)
    return memoryview(flat.reshape(-1).view(np.uint8))


def _from_parcel(shape: list[int], made_of: Any, order: Any, data: Any) -> Any:
    data.check()  # that Redis has all bytes, before allocating memory for them
    made: Any = np.empty(tuple(shape), made_of, order=order)
    flat = (made.T if order == "F" else made).reshape(-1).view(np.uint8)
    data.read_into(memoryview(flat))
    return made


def array(head: list[Any]) -> Any:
    """Return the array that `array_head` encoded."""
    described, shape, order, is_writeable, data = head
    made_of = dtype(described)
    count = _check_shape(shape)
    is_parcel = type(data) is parcels.Parcel
    size_bytes = data.size_bytes if is_parcel else len(of_type(data, bytes))
    if count * made_of.itemsize != size_bytes or (count and not made_of.itemsize):
        raise ValueError("the shape does not fit the bytes")
    if order not in ("C", "F"):
        raise ValueError("not an order")
    if is_parcel:
        arrived = _from_parcel(shape, made_of, order, data)
        arrived.flags.writeable = bool(is_writeable)
        return arrived
    made: np.ndarray[Any, Any] = np.ndarray(tuple(shape), made_of, data, order=order)
    if is_writeable:
        return made.copy(order=order)
    return made


def _matrix(head: list[Any]) -> Any:
    return array(head).view(np.matrix)


def _recarray(head: list[Any]) -> Any:
    return array(head).view(np.recarray)


def _masked_head(value: "np.ma.MaskedArray[Any, Any]") -> list[Any]:
    mask = np.ma.getmask(value)
    return [
        array_head(np.asarray(value.data)),
        None if mask is np.ma.nomask else array_head(mask),
        array_head(np.asarray(value.fill_value)),
        bool(value.hardmask),
    ]


def _masked(head: list[Any]) -> Any:
    data, mask, filler, is_hard = head
    return np.ma.MaskedArray(
        array(data),
        mask=np.ma.nomask if mask is None else array(mask),
        fill_value=array(filler)[()],
        hard_mask=bool(is_hard),
    )


def _scalar_head(value: "np.generic") -> list[Any]:
    return [dtype_head(value.dtype), value.tobytes()]


def _scalar(head: list[Any]) -> Any:
    described, data = head
    made_of = dtype(described)
    if not made_of.itemsize and made_of.kind in "SU":  # an empty string has no bytes
        return made_of.type()
    if made_of.itemsize != len(of_type(data, bytes)):
        raise ValueError("the size does not fit the bytes")
    return np.ndarray((), made_of, data).copy()[()]


_BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")


def _bits_head(value: Any) -> list[Any]:
    return [type(value).__name__, value.state, value.seed_seq]


def _bits(head: list[Any]) -> Any:
    name, state, seed = head
    if name not in _BIT_GENERATORS:
        raise ValueError("not a generator")
    made = getattr(np.random, name)(seed if isinstance(seed, np.random.SeedSequence) else 0)
    made.state = of_type(state, dict)
    return made


def _seed_head(value: Any) -> list[Any]:
    entropy = value.entropy
    return [
        list(entropy) if isinstance(entropy, (list, tuple)) else entropy,
        list(value.spawn_key),
        value.pool_size,
        value.n_children_spawned,
    ]


def _seed(head: list[Any]) -> Any:
    entropy, key, size, spawned = head
    if of_type(size, int) > 1_000:
        raise ValueError("the entropy pool is too large")
    return np.random.SeedSequence(
        entropy, spawn_key=tuple(key), pool_size=size, n_children_spawned=of_type(spawned, int)
    )


def _generator(bits: Any) -> Any:
    if not isinstance(bits, np.random.BitGenerator):
        raise TypeError("not a bit generator")
    return np.random.Generator(bits)


def _state_head(value: Any) -> list[Any]:
    return [value._bit_generator, value.get_state(legacy=False)]  # noqa: SLF001 - numpy has no other name


def _random_state(head: list[Any]) -> Any:
    bits, state = head
    if not isinstance(bits, np.random.BitGenerator):
        raise TypeError("not a bit generator")
    made = np.random.RandomState(bits)
    made.set_state(of_type(state, dict))
    return made


_ARRAY = Value("numpy:ndarray", array_head, array, tracked=True)
_SCALAR = Value("numpy:generic", _scalar_head, _scalar)
_DTYPE = Value("numpy:dtype", dtype_head, dtype)
_BITS = Value("numpy.random:BitGenerator", _bits_head, _bits, tracked=True)
_OTHERS: dict[type, Value] = {
    np.ndarray: _ARRAY,
    np.matrix: Value("numpy:matrix", array_head, _matrix, tracked=True),
    np.recarray: Value("numpy:recarray", array_head, _recarray, tracked=True),
    np.ma.MaskedArray: Value("numpy:MaskedArray", _masked_head, _masked, tracked=True),
    np.random.SeedSequence: Value("numpy:SeedSequence", _seed_head, _seed, tracked=True),
    np.random.Generator: Value(
        "numpy:Generator", lambda v: v.bit_generator, _generator, tracked=True
    ),
    np.random.RandomState: Value("numpy:RandomState", _state_head, _random_state, tracked=True),
    **{getattr(np.random, name): _BITS for name in _BIT_GENERATORS},
}
TABLE = {value.type: value for value in [_SCALAR, _DTYPE, *_OTHERS.values()]}


def find(kind: type) -> Value | None:
    """Return the encoding of a numpy type; None if there is none."""
    if (found := _OTHERS.get(kind)) is not None:
        return found
    if issubclass(kind, np.generic):
        return _SCALAR
    if issubclass(kind, np.dtype):
        return _DTYPE
    if issubclass(kind, np.memmap):
        raise NotPortable("a numpy memmap", "it is a file of this machine; pass its path")
    return None
