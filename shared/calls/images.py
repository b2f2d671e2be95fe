"""Pillow's images: mode, size, palette, the `info` entries, and the pixels.

An image that was opened from a file travels with its pixels, not with its file. The size is
checked against the bytes before an image is made.
"""

from typing import Any

from PIL import Image

from shared.calls.values import Value, of_type
from shared.errors import MessageTooLarge
from shared.settings import current

# Bits of a pixel, by mode.
_BITS = {
    "1": 1,
    "L": 8,
    "P": 8,
    "LA": 16,
    "La": 16,
    "PA": 16,
    "I;16": 16,
    "I;16B": 16,
    "I;16L": 16,
    "RGB": 24,
    "YCbCr": 24,
    "LAB": 24,
    "HSV": 24,
    "RGBA": 32,
    "RGBa": 32,
    "RGBX": 32,
    "CMYK": 32,
    "I": 32,
    "F": 32,
}


def _size_bytes(mode: str, width: Any, height: Any) -> int:
    if of_type(width, int) < 0 or of_type(height, int) < 0:
        raise ValueError("a length is negative")
    return int((_BITS[mode] * width + 7) // 8 * height)


def _head(image: Image.Image) -> list[Any]:
    size = _size_bytes(image.mode, *image.size)
    if size > (limit := current().message_limit_bytes):
        raise MessageTooLarge("an image", size, limit)
    image.load()
    palette = None
    if image.palette is not None:
        palette = [image.palette.mode, bytes(image.getpalette(image.palette.mode) or [])]
    return [
        image.mode,
        *image.size,
        palette,
        dict(image.info),
        image.format,
        image.tobytes() if size else b"",
    ]


def _image(head: list[Any]) -> Image.Image:
    mode, width, height, palette, info, form, data = head
    if _size_bytes(mode, width, height) != len(of_type(data, bytes)):
        raise ValueError("the size does not fit the bytes")
    image = Image.new(mode, (width, height)) if not data else None
    if image is None:
        image = Image.frombytes(mode, (width, height), data)
    if palette is not None:
        colour_mode, colours = palette
        image.putpalette(of_type(colours, bytes), colour_mode)
    image.info = of_type(info, dict)
    image.format = form if form is None else of_type(form, str)
    return image


_IMAGE = Value("PIL:Image", _head, _image, tracked=True)
TABLE = {_IMAGE.type: _IMAGE}


def find(kind: type) -> Value | None:
    """How values of a type of Pillow travel."""
    return _IMAGE if issubclass(kind, Image.Image) else None
