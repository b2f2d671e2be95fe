"""Decompresses message bodies up to a size limit.

kombu decompresses a body without a limit: a kilobyte can become a gigabyte.
"""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Any

# A little more than the dictionary of xz' strongest preset.
_LZMA_BYTES = 128 * 1024 * 1024


class TooLarge(ValueError):
    """Raised for data that is larger than the limit when decompressed."""


def unpack(data: bytes, compression: str, limit_bytes: int) -> bytes:
    """Decompress data. Raises `TooLarge`, or the library's own error for damaged data."""
    try:
        open_one = _OPEN[compression]
    except KeyError:
        raise ValueError(f"unknown compression {compression!r}") from None
    one = open_one()
    found: bytes = one.decompress(data, limit_bytes + 1)
    if len(found) > limit_bytes:
        raise TooLarge(compression)
    if not one.eof:
        raise ValueError("the compressed data is incomplete")
    return found


class _Brotli:
    """Brotli's decompressor with the interface of the standard library's decompressors."""

    def __init__(self) -> None:
        import brotli  # noqa: PLC0415 - an optional package of kombu's

        self._one = brotli.Decompressor()

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found: bytes = self._one.process(data, output_buffer_limit=max_length)
        while len(found) < max_length and not self._one.can_accept_more_data():
            more: bytes = self._one.process(b"", output_buffer_limit=max_length - len(found))
            if not more:
                break
            found += more
        return found

    @property
    def eof(self) -> bool:
        return bool(self._one.is_finished())


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - new in Python 3.14
    else:
        from backports import zstd  # noqa: PLC0415 - an optional package of kombu's
    return zstd.ZstdDecompressor()


# kombu's names and aliases → the decompressor.
_OPEN: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("application/x-gzip", "gzip", "zlib"), zlib.decompressobj),
    **dict.fromkeys(("application/x-bz2", "bzip2", "bzip"), bz2.BZ2Decompressor),
    **dict.fromkeys(
        ("application/x-lzma", "lzma", "xz"),
        lambda: lzma.LZMADecompressor(memlimit=_LZMA_BYTES),
    ),
    **dict.fromkeys(("application/x-brotli", "brotli"), _Brotli),
    **dict.fromkeys(("application/zstd", "zstd", "zstandard"), _zstd),
}
