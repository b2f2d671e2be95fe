"""Encodes pandas' series, frames, indexes, extension arrays and scalars as arrays and names.

A column of numbers or dates is sent as a numpy array. A column of Python objects is sent as a
list, and each item is checked like any other value. pandas itself checks lengths, codes and
categories when it rebuilds an object. A few bytes cannot describe a large object. A frequency or
a dtype is a short name from a fixed grammar, and is never evaluated.
"""

from typing import Any

import numpy as np
import pandas as pd

from shared.calls.values import Value, of_type
from shared.errors import NotPortable
from shared.settings import current

_MASKED = {
    "IntegerArray": pd.arrays.IntegerArray,
    "FloatingArray": pd.arrays.FloatingArray,
    "BooleanArray": pd.arrays.BooleanArray,
}


def _objects(items: Any) -> "np.ndarray[Any, Any]":
    made: np.ndarray[Any, Any] = np.empty(len(of_type(items, list)), dtype=object)
    for place, item in enumerate(items):
        made[place] = item
    return made


def _is_plain(array: Any) -> bool:
    return type(array) is np.ndarray and not array.dtype.hasobject


def _array_head(array: Any) -> Any:
    """Return a pandas array, or a numpy array of objects, as a name and parts."""
    name = type(array).__name__
    if isinstance(array, np.ndarray):
        return array if not array.dtype.hasobject else ["object", list(array)]
    if name == "NumpyExtensionArray":
        return ["wrapped", _array_head(array.to_numpy())]
    if name == "Categorical":
        return ["categorical", np.asarray(array.codes), array.categories, bool(array.ordered)]
    if name == "DatetimeArray":
        stamps = array.tz_convert("UTC").tz_localize(None) if array.tz is not None else array
        return ["datetime", np.asarray(stamps), array.tz]
    if name == "TimedeltaArray":
        return ["timedelta", np.asarray(array)]
    if name == "PeriodArray":
        return ["period", np.asarray(array.asi8), _frequency_head(array.freq)]
    if name == "IntervalArray":
        return ["interval", array.left, array.right, array.closed]
    if name in _MASKED:
        values = array.to_numpy(dtype=array.dtype.numpy_dtype, na_value=0)
        return ["masked", name, values, np.asarray(array.isna())]
    if isinstance(array.dtype, pd.StringDtype):
        missing = array.isna()
        items = [None if gone else item for item, gone in zip(array, missing, strict=True)]
        return ["string", items, *_string_head(array.dtype)]
    if name == "SparseArray":
        places = np.asarray(array.sp_index.indices)
        return ["sparse", np.asarray(array.sp_values), places, len(array), array.fill_value]
    raise NotPortable(f"a column of type {array.dtype}", "not supported; convert it with astype")


def _array(head: Any) -> Any:
    if isinstance(head, np.ndarray):
        return head
    kind, *parts = of_type(head, list)
    if kind == "object":
        return _objects(parts[0])
    if kind == "wrapped":
        return pd.arrays.NumpyExtensionArray(_array(parts[0]))
    if kind == "categorical":
        codes, categories, is_ordered = parts
        dtype = pd.CategoricalDtype(_index_of(categories), bool(is_ordered))
        return pd.Categorical.from_codes(_ints(codes), dtype=dtype)
    if kind == "datetime":
        stamps, zone = parts
        made = pd.DatetimeIndex(_of_kind(stamps, "M"))
        return (made if zone is None else made.tz_localize("UTC").tz_convert(zone)).array
    if kind == "timedelta":
        return pd.TimedeltaIndex(_of_kind(parts[0], "m")).array
    if kind == "period":
        ordinals, frequency = parts
        dtype = pd.PeriodDtype(_frequency(frequency))
        return pd.arrays.PeriodArray(_ints(ordinals), dtype=dtype)
    if kind == "interval":
        left, right, closed = parts
        return pd.arrays.IntervalArray.from_arrays(_index_of(left), _index_of(right), closed)
    if kind == "masked":
        name, values, mask = parts
        return _MASKED[name](values, mask)
    if kind == "string":
        items, *dtype_head = parts
        return pd.array(_objects(items), dtype=_string(dtype_head))
    if kind == "sparse":
        return _sparse(*parts)
    raise ValueError("not an array")


def _sparse(values: Any, places: Any, length: Any, filler: Any) -> Any:
    if of_type(length, int) > current().message_limit_bytes:
        raise ValueError("a sparse array is too long")
    of = pd.arrays.SparseArray
    if hasattr(of, "from_indices"):
        return of.from_indices(values, _ints(places), length, fill_value=filler)
    index = pd._libs.sparse.IntIndex(length, _ints(places))  # noqa: SLF001 - pandas has no other name
    return of(values, sparse_index=index, fill_value=filler)


def _of_kind(array: Any, kind: str) -> Any:
    if not _is_plain(array) or array.dtype.kind != kind:
        raise TypeError("an array of the wrong kind")
    return array


def _ints(array: Any) -> Any:
    return _of_kind(array, "i")


def _index_of(index: Any) -> Any:
    if not isinstance(index, pd.Index):
        raise TypeError("not an index")
    return index


def _frequency_head(frequency: Any) -> str | None:
    if frequency is None:
        return None
    name = str(frequency.freqstr)
    try:
        again = pd.tseries.frequencies.to_offset(name)
    except ValueError:
        again = None
    if again != frequency:
        raise NotPortable(f"the frequency {frequency!r}", "its name does not describe it fully")
    return name


def _frequency(name: Any) -> Any:
    if name is None:
        return None
    if len(of_type(name, str)) > 40:
        raise ValueError("not a frequency")
    return pd.tseries.frequencies.to_offset(name)


def _string_head(dtype: Any) -> list[Any]:
    return [dtype.storage, dtype.na_value is not pd.NA]


def _string(head: list[Any]) -> Any:
    storage, is_nan = head
    if not is_nan:
        return pd.StringDtype(storage)
    return pd.StringDtype(storage, na_value=float("nan"))


def _index_head(index: Any) -> list[Any]:
    names = list(index.names)
    if isinstance(index, pd.RangeIndex):
        return ["range", names, index.start, index.stop, index.step]
    if isinstance(index, pd.MultiIndex):
        return ["multi", names, list(index.levels), [np.asarray(codes) for codes in index.codes]]
    frequency = None
    if isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)):
        frequency = _frequency_head(index.freq)
    return ["index", names, _array_head(_raw(index)), frequency]


def _index(head: list[Any]) -> Any:
    kind, names, *parts = head
    made: Any
    if kind == "range":
        made = pd.RangeIndex(*(of_type(part, int) for part in parts))
    elif kind == "multi":
        levels, codes = parts
        made = pd.MultiIndex(list(map(_index_of, levels)), list(map(_ints, codes)))
    elif kind == "index":
        array, frequency = parts
        items = _array(array)
        dtype = items.dtype if isinstance(items, np.ndarray) else None
        made = pd.Index(items, dtype=dtype, tupleize_cols=False, copy=False)
        if frequency is not None:
            made.freq = _frequency(frequency)
    else:
        raise ValueError("not an index")
    made.names = of_type(names, list)
    return made


def _raw(series: Any) -> Any:
    """Return the array of a series or index, as a numpy array where pandas only wraps one."""
    array = series.array
    if type(array).__name__ == "NumpyExtensionArray":
        return array.to_numpy()
    return array


def _extras(value: Any) -> list[Any]:
    return [dict(value.attrs), bool(value.flags.allows_duplicate_labels)]


def _finish(value: Any, attrs: Any, allows_duplicates: Any) -> Any:
    value.attrs.update(of_type(attrs, dict))
    if not allows_duplicates:
        value = value.set_flags(allows_duplicate_labels=False)
    return value


def _series_head(value: Any) -> list[Any]:
    return [_array_head(_raw(value)), value.index, value.name, *_extras(value)]


def _one_series(array: Any, index: Any, name: Any = None) -> Any:
    dtype = array.dtype if isinstance(array, np.ndarray) else None
    return pd.Series(array, index=_index_of(index), name=name, dtype=dtype, copy=False)


def _series(head: list[Any]) -> Any:
    array, index, name, *extras = head
    return _finish(_one_series(_array(array), index, name), *extras)


def _frame_head(value: Any) -> list[Any]:
    dtypes = set(value.dtypes)
    block: Any = None
    columns: Any = None
    if len(dtypes) == 1 and isinstance(only := dtypes.pop(), np.dtype) and only.kind in "biufc":
        block = value.to_numpy()
    else:
        columns = [_array_head(_raw(value.iloc[:, place])) for place in range(value.shape[1])]
    return [value.columns, value.index, block, columns, *_extras(value)]


def _frame(head: list[Any]) -> Any:
    names, index, block, columns, *extras = head
    if block is not None:
        if not _is_plain(block) or block.ndim != 2:
            raise TypeError("not a block")
        made = pd.DataFrame(block, index=_index_of(index), columns=_index_of(names), copy=False)
        return _finish(made, *extras)
    arrays = [_one_series(_array(column), index) for column in of_type(columns, list)]
    made = pd.DataFrame(dict(enumerate(arrays)), index=_index_of(index), copy=False)
    made.columns = _index_of(names)
    return _finish(made, *extras)


def _stamp(head: list[Any]) -> Any:
    stamp, zone = head
    made = pd.Timestamp(of_type(stamp, np.datetime64))
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


def _dtype_head(dtype: Any) -> list[Any]:
    if isinstance(dtype, pd.CategoricalDtype):
        return ["category", dtype.categories, dtype.ordered]
    if isinstance(dtype, pd.DatetimeTZDtype):
        return ["datetimetz", dtype.unit, dtype.tz]
    if isinstance(dtype, pd.PeriodDtype):
        return ["period", _frequency_head(dtype.freq)]
    if isinstance(dtype, pd.IntervalDtype):
        return ["interval", dtype.subtype, dtype.closed]
    if isinstance(dtype, pd.StringDtype):
        return ["string", *_string_head(dtype)]
    if dtype.name in _NUMBERS:
        return ["number", dtype.name]
    raise NotPortable(f"the dtype {dtype}", "it is not supported; pass its name as a string")


_NUMBERS = {
    name: getattr(pd, f"{name[0].upper()}{name[1:]}Dtype")
    for name in [
        *(f"{sign}nt{size}" for sign in ("I", "UI") for size in (8, 16, 32, 64)),
        "Float32",
        "Float64",
        "boolean",
    ]
}


def _dtype(head: list[Any]) -> Any:
    kind, *parts = head
    makers: dict[str, Any] = {
        "category": pd.CategoricalDtype,
        "datetimetz": pd.DatetimeTZDtype,
        "period": lambda name: pd.PeriodDtype(_frequency(name)),
        "interval": pd.IntervalDtype,
        "string": lambda *parts: _string(list(parts)),
        "number": lambda name: _NUMBERS[name](),
    }
    return makers[kind](*parts)


def _of_array(head: Any) -> Any:
    return _array(head)


_INDEX = Value("pandas:Index", _index_head, _index, tracked=True)
_ARRAY = Value("pandas:array", _array_head, _of_array, tracked=True)
_OFFSET = Value("pandas:offset", _frequency_head, _frequency)
_DTYPE = Value("pandas:dtype", _dtype_head, _dtype)
_OTHERS: dict[type, Value] = {
    pd.Series: Value("pandas:Series", _series_head, _series, tracked=True),
    pd.DataFrame: Value("pandas:DataFrame", _frame_head, _frame, tracked=True),
    pd.Timestamp: Value("pandas:Timestamp", lambda v: [v.asm8, v.tz], _stamp),
    pd.Timedelta: Value(
        "pandas:Timedelta", lambda v: v.asm8, lambda p: pd.Timedelta(of_type(p, np.timedelta64))
    ),
    type(pd.NaT): Value("pandas:NaT", lambda v: None, lambda p: pd.NaT),
    type(pd.NA): Value("pandas:NA", lambda v: None, lambda p: pd.NA),
    pd.Period: Value(
        "pandas:Period",
        lambda v: [v.ordinal, _frequency_head(v.freq)],
        lambda p: pd.Period(ordinal=of_type(p[0], int), freq=_frequency(p[1])),
    ),
    pd.Interval: Value(
        "pandas:Interval", lambda v: [v.left, v.right, v.closed], lambda p: pd.Interval(*p)
    ),
    **dict.fromkeys(
        (
            pd.Index,
            pd.RangeIndex,
            pd.MultiIndex,
            pd.DatetimeIndex,
            pd.TimedeltaIndex,
            pd.PeriodIndex,
            pd.IntervalIndex,
            pd.CategoricalIndex,
        ),
        _INDEX,
    ),
}
TABLE = {value.type: value for value in [_ARRAY, _OFFSET, _DTYPE, *_OTHERS.values()]}


def find(kind: type) -> Value:
    """Return the encoding of a pandas type."""
    if (found := _OTHERS.get(kind)) is not None:
        return found
    if issubclass(kind, pd.api.extensions.ExtensionArray):
        return _ARRAY
    if issubclass(kind, pd.tseries.offsets.BaseOffset):
        return _OFFSET
    if issubclass(kind, pd.api.extensions.ExtensionDtype):
        return _DTYPE
    raise NotPortable(f"an object of pandas' {kind.__name__}", "pass its data as a frame")
