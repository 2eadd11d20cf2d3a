"""Small pictures of images from outside: small, upright, kept; and the reason where there is none."""

import io
import os
import struct
import zlib

import numpy
import pytest
from PIL import Image

from services import thumbnails
from services.errors import IntakeError


def image(path, size=(400, 200), color="red", **options):
    Image.new("RGB", size, color).save(path, **options)
    return path


def bomb(path):
    """A PNG of a few hundred bytes that says it has 900 million pixels."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(30_001))) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.bmp", "a.tif"])
def test_a_thumbnail_is_small_and_keeps_the_shape(tmp_path, name):
    with Image.open(io.BytesIO(thumbnails.thumbnail(image(tmp_path / name)))) as small:
        assert (small.format, small.size) == ("WEBP", (thumbnails.SIDE, thumbnails.SIDE // 2))


def test_a_photo_that_was_taken_sideways_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    with Image.open(io.BytesIO(thumbnails.thumbnail(image(tmp_path / "a.jpg", exif=exif)))) as small:
        assert small.size[0] < small.size[1]


@pytest.mark.parametrize(("name", "kind", "most"), [("a.png", "uint16", 60_000), ("a.tif", "float32", 0.5)])
def test_a_picture_of_16_bits_or_floats_is_neither_white_nor_black(tmp_path, name, kind, most):
    values = numpy.linspace(0, most, 400 * 400).reshape(400, 400).astype(kind)
    Image.fromarray(values).save(tmp_path / name)
    with Image.open(io.BytesIO(thumbnails.thumbnail(tmp_path / name))) as small:
        grey = numpy.asarray(small.convert("L"))
    assert (grey.min() < 10, 110 < grey.mean() < 145, grey.max() > 245) == (True, True, True)


def test_a_changed_image_is_made_anew(tmp_path):
    first = thumbnails.thumbnail(image(tmp_path / "a.png"))
    assert thumbnails.thumbnail(tmp_path / "a.png") is first
    assert thumbnails.thumbnail(image(tmp_path / "a.png", size=(50, 50), color="blue")) != first


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (bomb, "more than 40,000,000 pixels"),
        (lambda path: path.write_text("no image"), "not an image"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20), "not an image"),
        (lambda path: path.write_bytes(b""), "not an image"),
        (lambda path: path.mkdir(), "not a regular file"),
        (lambda path: None, "can't be read"),
    ],
    ids=["a decompression bomb", "a text", "a broken head", "empty", "a folder", "missing"],
)
def test_a_file_that_is_no_image_says_why(tmp_path, make, reason):
    make(tmp_path / "a.png")
    with pytest.raises(IntakeError, match=reason) as raised:
        thumbnails.thumbnail(tmp_path / "a.png")
    assert str(tmp_path) not in raised.value.message


def test_a_truncated_image_says_why(tmp_path):
    content = image(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(IntakeError, match=r"truncated|not an image"):
        thumbnails.thumbnail(tmp_path / "half.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(IntakeError, match="regular"):
        thumbnails.thumbnail(tmp_path / "a.png")


def test_a_document_of_another_format_is_not_decoded(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(IntakeError, match="not an image"):
        thumbnails.thumbnail(tmp_path / "a.png")
