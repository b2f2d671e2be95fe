"""The fixed, reviewed list of functions that may be called without an entry in ``TASK_MODULES``.

A listed function only computes, waits, prints, or identifies the process that runs it. It never
opens a file or a connection, runs a command, imports, evaluates text, or reads attributes by name
(`str.format` does, so it is not listed). If a function takes another function as an argument
(`sorted`, `functools.reduce`), that argument is a reference too, and is checked like any other.
The list is plain text on purpose, so that a new version of Python adds nothing to it.
"""

import functools
import sys
import types
from typing import Any

_NAMES = {
    "builtins": """
        abs all any ascii bin callable chr divmod format hash hex id isinstance issubclass
        len max min oct ord pow print range repr round slice sorted sum bool bytearray bytes
        complex dict float frozenset int list object set str tuple str.capitalize
        str.casefold str.center str.count str.encode str.endswith str.expandtabs str.find
        str.index str.isalnum str.isalpha str.isascii str.isdecimal str.isdigit
        str.isidentifier str.islower str.isnumeric str.isprintable str.isspace str.istitle
        str.isupper str.join str.ljust str.lower str.lstrip str.partition
        str.removeprefix str.removesuffix str.replace str.rfind str.rindex str.rjust
        str.rpartition str.rsplit str.rstrip str.split str.splitlines str.startswith
        str.strip str.swapcase str.title str.translate str.upper str.zfill bytes.capitalize
        bytes.center bytes.count bytes.decode bytes.endswith bytes.expandtabs bytes.find
        bytes.fromhex bytes.hex bytes.index bytes.isalnum bytes.isalpha bytes.isascii
        bytes.isdigit bytes.islower bytes.isspace bytes.istitle bytes.isupper bytes.join
        bytes.ljust bytes.lower bytes.lstrip bytes.partition
        bytes.removeprefix bytes.removesuffix bytes.replace bytes.rfind bytes.rindex
        bytes.rjust bytes.rpartition bytes.rsplit bytes.rstrip bytes.split bytes.splitlines
        bytes.startswith bytes.strip bytes.swapcase bytes.title bytes.translate bytes.upper
        bytes.zfill bytearray.append bytearray.capitalize bytearray.center bytearray.clear
        bytearray.copy bytearray.count bytearray.decode bytearray.endswith
        bytearray.expandtabs bytearray.extend bytearray.find bytearray.fromhex bytearray.hex
        bytearray.index bytearray.insert bytearray.isalnum bytearray.isalpha
        bytearray.isascii bytearray.isdigit bytearray.islower bytearray.isspace
        bytearray.istitle bytearray.isupper bytearray.join bytearray.ljust bytearray.lower
        bytearray.lstrip bytearray.partition bytearray.pop
        bytearray.remove bytearray.removeprefix bytearray.removesuffix bytearray.replace
        bytearray.reverse bytearray.rfind bytearray.rindex bytearray.rjust
        bytearray.rpartition bytearray.rsplit bytearray.rstrip bytearray.split
        bytearray.splitlines bytearray.startswith bytearray.strip bytearray.swapcase
        bytearray.title bytearray.translate bytearray.upper bytearray.zfill
        int.as_integer_ratio int.bit_count int.bit_length int.conjugate int.from_bytes
        int.to_bytes float.as_integer_ratio float.conjugate float.fromhex float.hex
        float.is_integer complex.conjugate list.append list.clear list.copy list.count
        list.extend list.index list.insert list.pop list.remove list.reverse list.sort
        tuple.count tuple.index dict.clear dict.copy dict.fromkeys dict.get dict.items
        dict.keys dict.pop dict.popitem dict.setdefault dict.update dict.values set.add
        set.clear set.copy set.difference set.difference_update set.discard set.intersection
        set.intersection_update set.isdisjoint set.issubset set.issuperset set.pop
        set.remove set.symmetric_difference set.symmetric_difference_update set.union
        set.update frozenset.copy frozenset.difference frozenset.intersection
        frozenset.isdisjoint frozenset.issubset frozenset.issuperset
        frozenset.symmetric_difference frozenset.union int.is_integer ArithmeticError
        AssertionError AttributeError BaseException BaseExceptionGroup BlockingIOError
        BrokenPipeError BufferError BytesWarning ChildProcessError ConnectionAbortedError
        ConnectionError ConnectionRefusedError ConnectionResetError DeprecationWarning
        EOFError EncodingWarning Exception ExceptionGroup FileExistsError FileNotFoundError
        FloatingPointError FutureWarning GeneratorExit ImportError ImportWarning
        IndentationError IndexError InterruptedError IsADirectoryError KeyError
        KeyboardInterrupt LookupError MemoryError ModuleNotFoundError NameError
        NotADirectoryError NotImplementedError OSError OverflowError
        PendingDeprecationWarning PermissionError ProcessLookupError RecursionError
        ReferenceError ResourceWarning RuntimeError RuntimeWarning StopAsyncIteration
        StopIteration SyntaxError SyntaxWarning SystemError SystemExit TabError TimeoutError
        TypeError UnboundLocalError UnicodeDecodeError UnicodeEncodeError UnicodeError
        UnicodeTranslateError UnicodeWarning UserWarning ValueError Warning
        ZeroDivisionError
    """,
    "math": """
        acos acosh asin asinh atan atan2 atanh cbrt ceil comb copysign cos cosh degrees dist
        erf erfc exp exp2 expm1 fabs factorial floor fmod frexp fsum gamma gcd hypot isclose
        isfinite isinf isnan isqrt lcm ldexp lgamma log log10 log1p log2 modf nextafter perm
        pow prod radians remainder sin sinh sqrt tan tanh trunc ulp sumprod fma
    """,
    "cmath": """
        acos acosh asin asinh atan atanh cos cosh exp isclose isfinite isinf isnan log log10
        phase polar rect sin sinh sqrt tan tanh
    """,
    "operator": """
        abs add and_ concat contains countOf delitem eq floordiv ge getitem gt iadd iand
        iconcat ifloordiv ilshift imatmul imod imul index indexOf inv invert ior ipow
        irshift is_ is_not isub itruediv ixor le length_hint lshift lt matmul mod mul ne neg
        not_ or_ pos pow rshift setitem sub truediv truth xor
    """,
    "time": """
        ctime asctime gmtime localtime mktime monotonic monotonic_ns perf_counter
        perf_counter_ns process_time process_time_ns sleep strftime strptime thread_time
        time time_ns
    """,
    "os": "cpu_count getpid getppid",
    "os.path": """
        basename commonpath commonprefix dirname isabs join normcase normpath relpath split
        splitext
    """,
    "threading": "get_ident get_native_id active_count",
    "socket": "gethostname",
    "platform": "machine node python_implementation python_version system",
    "random": """
        betavariate binomialvariate choice choices expovariate gammavariate gauss
        getrandbits lognormvariate normalvariate paretovariate randbytes randint random
        randrange sample seed triangular uniform vonmisesvariate weibullvariate Random
    """,
    "statistics": """
        correlation covariance fmean geometric_mean harmonic_mean linear_regression mean
        median median_grouped median_high median_low mode multimode pstdev pvariance
        quantiles stdev variance
    """,
    "functools": "reduce",
    "heapq": "nlargest nsmallest heapify heappop heappush heappushpop heapreplace",
    "bisect": "bisect bisect_left bisect_right insort insort_left insort_right",
    "re": "escape findall split sub subn",
    "json": "dumps loads",
    "base64": """
        b16decode b16encode b32decode b32encode b64decode b64encode b85decode b85encode
        urlsafe_b64decode urlsafe_b64encode
    """,
    "binascii": "crc32 hexlify unhexlify",
    "zlib": "adler32 compress crc32 decompress",
    "gzip": "compress decompress",
    "bz2": "compress decompress",
    "lzma": "compress decompress",
    "struct": "calcsize pack unpack",
    "html": "escape unescape",
    "shlex": "join quote split",
    "string": "capwords",
    "textwrap": "dedent fill indent shorten wrap",
    "unicodedata": "category lookup name normalize",
    "difflib": "get_close_matches",
    "urllib.parse": """
        parse_qs parse_qsl quote quote_plus unquote unquote_plus urlencode urljoin urlparse
        urlsplit urlunparse urlunsplit
    """,
    "collections": """
        ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque
    """,
    "datetime": """
        date datetime time timedelta timezone date.fromisoformat date.fromordinal
        date.fromtimestamp date.isoformat date.today date.weekday datetime.fromisoformat
        datetime.fromtimestamp datetime.isoformat datetime.now datetime.timestamp
        datetime.utcnow timedelta.total_seconds
    """,
    "decimal": "Decimal Decimal.sqrt",
    "fractions": "Fraction",
    "uuid": "UUID uuid1 uuid3 uuid4 uuid5",
    "array": "array",
    "ipaddress": """
        IPv4Address IPv4Interface IPv4Network IPv6Address IPv6Interface IPv6Network
        ip_address ip_interface ip_network
    """,
    "pathlib": "PurePath PurePosixPath PureWindowsPath PosixPath WindowsPath Path",
    "types": "GenericAlias SimpleNamespace",
    "calendar": "isleap leapdays monthrange timegm weekday",
    "colorsys": "hls_to_rgb hsv_to_rgb rgb_to_hls rgb_to_hsv rgb_to_yiq yiq_to_rgb",
    "numpy": """
        abs absolute acos acosh add arccos arccosh arcsin arcsinh arctan arctan2 arctanh
        asin asinh atan atan2 atanh bitwise_and bitwise_count bitwise_invert
        bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor cbrt ceil
        conj conjugate copysign cos cosh deg2rad degrees divide divmod equal exp exp2 expm1
        fabs float_power floor floor_divide fmax fmin fmod frexp gcd greater greater_equal
        heaviside hypot invert isfinite isinf isnan isnat lcm ldexp left_shift less
        less_equal log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not
        logical_or logical_xor matmul matvec maximum minimum mod modf multiply negative
        nextafter not_equal positive pow power rad2deg radians reciprocal remainder
        right_shift rint sign signbit sin sinh spacing sqrt square subtract tan tanh
        true_divide trunc vecdot vecmat bool bool_ bytes_ character clongdouble complex128
        complex64 complexfloating datetime64 flexible float16 float32 float64 floating
        generic inexact int16 int32 int64 int8 integer longdouble longlong number object_
        record signedinteger str_ timedelta64 uint16 uint32 uint64 uint8 ulonglong
        unsignedinteger void ndarray all any amax amin arange argmax argmin argsort array
        array_equal average clip concatenate convolve corrcoef cov cumprod cumsum diff dot
        eye full histogram inner interp isclose linspace logspace max mean median min nanmax
        nanmean nanmin nanstd nansum ones outer percentile prod ptp quantile ravel reshape
        round searchsorted sort std sum trace transpose unique var where zeros
    """,
    "numpy.random": """
        Generator MT19937 PCG64 PCG64DXSM Philox RandomState SFC64 SeedSequence default_rng
    """,
    "numpy.linalg": """
        cholesky cond det eig eigh eigvals eigvalsh inv lstsq matrix_power matrix_rank norm
        pinv qr slogdet solve svd
    """,
    "numpy.fft": "fft fft2 fftn ifft ifft2 ifftn irfft rfft",
}
# `__module__` of some listed functions, and the public module that lists them.
_ALIASES = {
    "posix": "os",
    "nt": "os",
    "genericpath": "os.path",
    "posixpath": "os.path",
    "ntpath": "os.path",
    "_bisect": "bisect",
    "_collections": "collections",
    "_functools": "functools",
    "_heapq": "heapq",
    "_operator": "operator",
    "_random": "random",
    "_socket": "socket",
    "_struct": "struct",
    "_thread": "threading",
    "numpy.random._generator": "numpy.random",
    "numpy.random._mt19937": "numpy.random",
    "numpy.random._pcg64": "numpy.random",
    "numpy.random._philox": "numpy.random",
    "numpy.random._sfc64": "numpy.random",
    "numpy.random.bit_generator": "numpy.random",
    "numpy.random.mtrand": "numpy.random",
    "gevent.hub": "time",  # in a process that gevent has patched
    "pathlib._local": "pathlib",
}
# Types whose name is missing in their own module, `builtins`.
_TYPES = {
    "types:NoneType": type(None),
    "types:EllipsisType": type(...),
    "types:NotImplementedType": type(NotImplemented),
}


@functools.cache
def references() -> frozenset[str]:
    """Return all listed names as ``"module:qualname"``."""
    listed = {f"{module}:{name}" for module, names in _NAMES.items() for name in names.split()}
    return frozenset(listed | set(_TYPES))


def name_of(target: Any) -> str | None:
    """Return the reference of a listed function or type; None for any other object."""
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None)
    if not isinstance(name, str):
        return None
    module = getattr(target, "__module__", None)
    owner = getattr(target, "__objclass__", None) or getattr(target, "__self__", None)
    if isinstance(owner, types.ModuleType):
        module = module or owner.__name__
    elif isinstance(owner, type):
        module = module or owner.__module__
    elif type(owner).__module__ == "random":  # `random.randint` is a method of a hidden object
        module, name = "random", target.__name__
    if not isinstance(module, str):
        return None
    for reference, kind in _TYPES.items():
        if target is kind:
            return reference
    reference = f"{_ALIASES.get(module, module)}:{name}"
    if reference not in references():
        return None
    return reference if find(reference, load=False) == target else None


def method_of(owner: Any, name: str) -> str | None:
    """Return the reference of a method of a built-in type; None if it is not listed."""
    reference = f"{type(owner).__module__}:{type(owner).__qualname__}.{name}"
    return reference if reference in references() else None


def find(reference: str, *, load: bool = True) -> Any:
    """Return the object that a listed name stands for; None if this Python lacks it."""
    if reference in _TYPES:
        return _TYPES[reference]
    module, _, name = reference.partition(":")
    if load:
        __import__(module)
    target: Any = sys.modules.get(module)
    for part in name.split("."):
        target = getattr(target, part, None)
    return target
