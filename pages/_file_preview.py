"""A preview of the beginning of a file from outside. Used by the Datasets and Results pages."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from pathlib import Path

import streamlit as st

from pages import _tables
from pages._text import displayable, escape
from services import formats
from services.formats import counted

_PREVIEW_BYTES = 65536  # of a file that isn't an image
_LARGEST_IMAGE = 3_000_000  # bytes; it is sent within the page
_DUMP_BYTES = 1024  # of a binary file
_MOST_COLUMNS = 100
_MARKS = [(BOM_UTF32_LE, "utf-32"), (BOM_UTF32_BE, "utf-32"), (BOM_UTF16_LE, "utf-16"), (BOM_UTF16_BE, "utf-16")]
_IMAGES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
_TEXT = bytes({7, 8, 9, 10, 12, 13, 27, *range(0x20, 0x100)} - {0x7F})


def show_file(path: Path) -> None:
    """The beginning of a file by its content: a table, an image, a text, or a hexadecimal dump."""
    try:
        size, is_file = path.stat().st_size, path.is_file()  # opening a pipe would block
        with open(path if is_file else os.devnull, "rb") as opened:
            head = opened.read(_PREVIEW_BYTES)
            image = next((kind for magic, kind in _IMAGES.items() if head.startswith(magic)), None)
            if image and size <= _LARGEST_IMAGE:
                head += opened.read(_LARGEST_IMAGE)
    except OSError as error:
        st.warning(escape(f"Cannot read this file: {error.strerror or error}."), icon=":material/warning:")
        return
    complete, head = len(head) == size, _as_utf8(head)
    if not is_file:
        st.warning("This is no longer a regular file.", icon=":material/warning:")
    elif image and (image != "webp" or head[8:12] == b"WEBP"):
        _show_image(head, image, size)
    elif not size:
        st.caption("Empty file.")
    elif head.translate(None, _TEXT):
        st.caption(f"Binary file, {counted(size, 'byte')}.")
        st.code(_dump(head[:_DUMP_BYTES]), language=None, height=200)
    else:
        _show_text(head, path.suffix.lower(), size, complete=complete)


def _as_utf8(head: bytes) -> bytes:
    """UTF-16 or UTF-32 with a byte order mark, as spreadsheets on Windows save it, in UTF-8; anything else unchanged."""
    if encoding := next((name for mark, name in _MARKS if head.startswith(mark)), ""):
        return head.decode(encoding, "replace").encode("utf-8", "replace")
    return head


def _show_image(content: bytes, kind: str, size: int) -> None:
    if size > _LARGEST_IMAGE:
        st.caption(f"Image of {formats.size(size)}, too large for a preview.")
    else:  # the browser decodes it, not this process
        st.image(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", alt="The image in this file")


def _show_text(head: bytes, suffix: str, size: int, *, complete: bool) -> None:
    text = head.decode("utf-8-sig", "replace")
    if suffix == ".json" and complete:
        try:
            whole = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            pass  # shown as text
        else:
            st.code(displayable(whole[:8000]), language="json", height=400 if whole.count("\n") > 15 else "content")
            return
    lines = list(io.StringIO(text, newline=""))
    if not complete and len(lines) > 1:
        del lines[-1]  # half a line
    cut_off = not complete or len(lines) > 20
    rows = _as_rows(lines[:20], suffix in (".csv", ".tsv"))
    if rows:
        cut_off = len(rows[0]) > _MOST_COLUMNS or cut_off
        rows = [row[:_MOST_COLUMNS] for row in rows]
        head_row, *others = rows
        has_header = others and all(head_row) and len(set(head_row)) == len(head_row) and not any(map(_is_number, head_row))
        names, body = (head_row, others) if has_header else ([str(number) for number in range(1, len(head_row) + 1)], rows)
        table = _tables.arrow(dict.fromkeys(map(displayable, names), str), body)
        st.dataframe(table, lazy=False, height="content", alt="The first rows of the file")
    else:
        st.code("".join(lines[:200])[:8000], language=None, height=400 if len(lines) > 15 else "content")
    if cut_off:
        st.caption(f"The beginning of {formats.size(size)}.")


def _dump(content: bytes) -> str:
    """Sixteen bytes a line, in hexadecimal and ASCII."""
    lines = []
    for offset in range(0, len(content), 16):
        part = content[offset : offset + 16]
        ascii_ = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{offset:04x}  {part.hex(' '):<47}  {ascii_}")
    return "\n".join(lines)


def _as_rows(lines: list[str], expected: bool) -> list[list[str]] | None:
    """The lines as rows of a delimited file, if all have equally many fields, two or more. A single line counts only if `expected`."""
    for delimiter in ",;\t":
        try:
            rows = [row for row in csv.reader(lines, delimiter=delimiter, strict=True) if row]
        except csv.Error:
            continue
        if rows and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1 and (expected or len(rows) > 1):
            return rows
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
