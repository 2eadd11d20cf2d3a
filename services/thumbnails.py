"""Small pictures of images from outside, made once and kept in memory while they are looked at.

A few kilobytes may unfold to gigabytes, or be no image at all. So a file is looked at before it is decoded, few are decoded at once, and
only formats that Pillow decodes by itself are taken.
"""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import cast

from services import formats
from services.errors import IntakeError

SIDE = 240
"""Pixels of a thumbnail at most, across and down."""
MEDIA_TYPE = "image/webp"
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
"""Of files that are likely to be images."""
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
_LARGEST_FILE = 50_000_000
_MOST_PIXELS = 40_000_000  # 160 MB while it is decoded
_AT_ONCE = threading.Semaphore(2)
_KEPT_BYTES = 32_000_000

_lock = threading.Lock()
_kept: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()


def thumbnail(path: Path) -> bytes:
    """The image as WebP, at most SIDE by SIDE pixels. Raises IntakeError with the reason where there is none of it."""
    try:
        status, is_file = path.stat(), path.is_file()  # opening a pipe would block
    except OSError as error:
        raise IntakeError(f"This file can't be read: {error.strerror or error}.") from error
    if not is_file:
        raise IntakeError("This is not a regular file.")
    if status.st_size > _LARGEST_FILE:
        raise IntakeError(f"This file is too large for a small picture: {formats.size(status.st_size)}.")
    key = (str(path), status.st_mtime_ns, status.st_size)
    with _lock:
        if content := _kept.get(key):
            _kept.move_to_end(key)
            return content
    with _AT_ONCE:
        content = _made(path)
    with _lock:
        _kept[key] = content
        while sum(map(len, _kept.values())) > _KEPT_BYTES:
            _kept.popitem(last=False)
    return content


def _made(path: Path) -> bytes:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; the number of pixels is looked at here
            with Image.open(path, formats=_FORMATS) as image:
                if math.prod(image.size) > _MOST_PIXELS:
                    raise Image.DecompressionBombError
                image.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded at about this size
                image.thumbnail((SIDE, SIDE))  # before it is turned, which copies it
                small = ImageOps.exif_transpose(image)
                if small.mode[0] in "IF":  # 16 bits or floats: Pillow would cut at 255, so all is white, or black
                    small = small.convert("F")
                    low, high = cast("tuple[float, float]", small.getextrema())
                    scale = 255 / (high - low) if high > low else 1.0
                    small = small.point(lambda value: value * scale - low * scale).convert("L")
                if small.mode not in ("RGB", "RGBA"):
                    small = small.convert("RGBA" if "transparency" in small.info else "RGB")
                content = io.BytesIO()
                small.save(content, "WEBP", quality=80)
                return content.getvalue()
    except Image.DecompressionBombError as error:  # Pillow's own limit is higher
        raise IntakeError(f"This image has more than {_MOST_PIXELS:,} pixels, too many for a small picture.") from error
    except Exception as error:  # a decoder of broken data raises whatever it meets
        text = str(error).replace(str(path), "the file").replace(repr(str(path)), "the file")
        raise IntakeError(f"This is not an image that can be read: {text or type(error).__name__}.") from error
