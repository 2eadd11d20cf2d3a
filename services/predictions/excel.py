"""A sheet of Excel with up to a million rows: the cells' XML is made a batch at a time by Arrow, which takes a tenth as long as to write
cell by cell; all around it (styles, header, the book) is xlsxwriter's.

Texts are texts, never formulas or links. What a sheet can't hold as a number is text: more than 15 digits, nan, infinity, days before 1900.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from services.errors import SettingsError
from services.predictions.columns import number_array, text_array

if TYPE_CHECKING:
    import pyarrow

ROWS = 1_048_575
"""As many as a sheet holds below its header."""
CHARACTERS = 32_767
"""As many as a cell holds, in UTF-16, where an emoji is two; the rest is cut off."""
_LARGEST_WHOLE = 10**15
_SHEET = "xl/worksheets/sheet1.xml"
_ESCAPED = "[\x00-\x08\x0b-\x1f\ufffe\uffff]|_x[0-9a-fA-F]{4}_"
"""What XML can't hold, and what would read as the spelling of such a character."""
_TO_SPELL = re.compile(_ESCAPED.replace("|_x", "|_(?=x") + ")")
"""The same one by one: the underscore at the end of a spelling may begin the next one. (Arrow's expressions can't look ahead.)"""
_MADE_AT = (2000, 1, 1, 0, 0, 0)  # the same rows make the same file
_DAY = 86_400_000_000  # microseconds
_DAYS_TO_1970, _LEAP_DAY = 25_569, 61
"""Excel counts from the end of 1899, and 29 February 1900, which there was not, as well."""
_MOST_WITHOUT_ZIP64, _MOST_UNEXPECTED = 1_500_000_000, 2_100_000_000
_TOO_LARGE = "Filter them, or take CSV or Parquet."


def write_sheet(
    file: BinaryIO,
    names: Sequence[str],
    batches: Iterable[pyarrow.RecordBatch],
    count: int,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write these columns as one sheet, Predictions, with a header that stays in sight. `count` is how many rows will come; `progress` is
    called with 0 to 1. Raises OSError, and SettingsError("format", ...) for more text than a sheet holds."""
    skeleton, before, after = _skeleton(names)
    batches = iter(batches)
    first = next(batches, None)
    rows = b"" if first is None else _rows(first)
    is_large = first is not None and len(first) > 0 and len(rows) / len(first) * count > _MOST_WITHOUT_ZIP64
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as book:
        for name, content in skeleton.items():
            book.writestr(zipfile.ZipInfo(name, _MADE_AT), content, zipfile.ZIP_DEFLATED)
        info = zipfile.ZipInfo(_SHEET, _MADE_AT)
        info.compress_type = zipfile.ZIP_DEFLATED
        with book.open(info, "w", force_zip64=is_large) as sheet:
            sheet.write(before)
            sheet.write(rows)
            size, done = len(rows), 0 if first is None else len(first)
            for batch in batches:
                rows = _rows(batch)
                size += len(rows)
                if size > _MOST_UNEXPECTED and not is_large:  # the first rows were short
                    raise SettingsError("format", "these rows have too much text for an Excel sheet", _TOO_LARGE)
                sheet.write(rows)
                done += len(batch)
                if progress:
                    progress(min(1.0, done / max(1, count)))
            sheet.write(after)


def _skeleton(names: Sequence[str]) -> tuple[dict[str, bytes], bytes, bytes]:
    """All of the book but its sheet, and of that what comes before its rows and after them."""
    import xlsxwriter

    empty = io.BytesIO()
    book = xlsxwriter.Workbook(empty, {"constant_memory": True, "strings_to_urls": False, "strings_to_formulas": False})
    book.set_properties({"created": datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None)})
    sheet = book.add_worksheet("Predictions")
    sheet.freeze_panes(1, 0)
    for place, name in enumerate(names):
        sheet.write_string(0, place, name[:CHARACTERS])
    sheet.write_blank(1, 0, None, book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}))  # a style that is used is style 1
    book.close()
    with zipfile.ZipFile(empty) as content:
        files = {name: content.read(name) for name in content.namelist()}
    xml = re.sub(rb"<dimension [^>]*/>", b"", files.pop(_SHEET))
    before, _, rest = xml.partition(b'<row r="2"')
    return files, before, rest[rest.index(b"</sheetData>") :]


def _rows(batch: pyarrow.RecordBatch) -> bytes:
    """The rows as XML. Where a cell is follows from its place, so that none needs to say it."""
    import pyarrow.compute as pc

    if not len(batch):
        return b""
    begin, end, nothing = text_array(["<row>", "</row>", ""])
    lines = pc.binary_join_element_wise(begin, *map(_cells, batch.columns), end, nothing)
    _, ends, characters = lines.buffers()
    size = lines.offset + len(lines)
    last = int.from_bytes(ends[8 * size : 8 * size + 8].to_pybytes(), "little")
    return bytes(characters[:last])


def _cells(values: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = values.type
    if pa.types.is_boolean(type_):
        return _filled(pc.if_else(values, *text_array(['<c t="b"><v>1</v></c>', '<c t="b"><v>0</v></c>'])))
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return _moments(values.cast(pa.timestamp("us")))
    if pa.types.is_floating(type_) or pa.types.is_integer(type_):
        return _numbers(values)
    if pa.types.is_decimal(type_):
        return _texts(text_array([None if value is None else f"{value:f}" for value in values.to_pylist()]))
    if pa.types.is_null(type_):
        return _filled(pa.nulls(len(values), pa.large_string()))
    return _texts(values.cast(pa.large_string()))


def _filled(cells: Any) -> Any:
    """No value is an empty cell, which keeps its place."""
    (empty,) = text_array(["<c/>"])
    return cells.cast("large_string").fill_null(empty)


def _wrapped(before: str, values: Any, after: str) -> Any:
    import pyarrow.compute as pc

    begin, end, nothing = text_array([before, after, ""])
    return pc.binary_join_element_wise(begin, values, end, nothing)


def _texts(texts: Any) -> Any:
    import pyarrow.compute as pc

    if (pc.max(pc.binary_length(texts)).as_py() or 0) > CHARACTERS:
        texts = text_array([None if text is None else _cut_off(text) for text in texts.to_pylist()])
    if pc.any(pc.match_substring_regex(texts, _ESCAPED)).as_py():
        texts = text_array([None if text is None else _TO_SPELL.sub(_spelled, text) for text in texts.to_pylist()])
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        if pc.any(pc.match_substring(texts, character)).as_py():
            texts = pc.replace_substring(texts, character, entity)
    return _filled(_wrapped('<c t="inlineStr"><is><t xml:space="preserve">', texts, "</t></is></c>"))


def _cut_off(text: str) -> str:
    """As much of it as a cell holds."""
    if len(text) * 2 <= CHARACTERS:
        return text
    return text[:CHARACTERS].encode("utf-16-le")[: 2 * CHARACTERS].decode("utf-16-le", "ignore")


def _spelled(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):04X}_"


def _numbers(values: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = _wrapped("<c><v>", values.cast(pa.large_string()), "</v></c>")
    if pa.types.is_floating(values.type):
        beyond = pc.invert(pc.is_finite(values))
    else:
        ends = pc.min_max(values)
        if max(-(ends["min"].as_py() or 0), ends["max"].as_py() or 0) <= _LARGEST_WHOLE:
            return _filled(cells)
        beyond = number_array(_is_large(values), pa.uint8()).cast(pa.bool_())
    if pc.any(beyond).as_py():
        cells = pc.if_else(beyond.fill_null(False), _texts(values.cast(pa.large_string())), cells)
    return _filled(cells)


def _is_large(values: Any) -> Any:
    import numpy as np

    return np.array([value is not None and abs(value) > _LARGEST_WHOLE for value in values.to_pylist()], np.uint8)


def _moments(values: Any) -> Any:
    """Days since the end of 1899, in style 1; what is before 1900 as text."""
    cells = []
    for value in values.to_pylist():
        if value is None:
            cells.append("<c/>")
        elif value.year < 1900:
            cells.append(f'<c t="inlineStr"><is><t>{value.isoformat()}</t></is></c>')
        else:
            since = value - datetime(1970, 1, 1)
            days = (since.days * _DAY + since.seconds * 1_000_000 + since.microseconds) / _DAY + _DAYS_TO_1970
            cells.append(f'<c s="1"><v>{days if days >= _LEAP_DAY else days - 1:.16G}</v></c>')
    return text_array(cells)
