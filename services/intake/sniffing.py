"""What a file is by its content: its format and compression, and of a text its encoding, delimiter, decimal mark, quoting and header.

The delimiter is found by DuckDB's sniffer, and checked: DuckDB and the detector of encodings are loaded when they are needed, so this is
for a process of its own.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from services.domain import TableReading
from services.errors import IntakeError, SettingsError
from services.file_names import short
from services.intake.tabular import MISSING
from services.storage.file_tree import reading as opened_for_reading

CSV, JSON_LINES, PARQUET, EXCEL = "csv", "jsonl", "parquet", "excel"
SAMPLE = 1 << 18  # bytes

_BLOCK = 1 << 20
_LARGEST_SAMPLE = 1 << 23
_FEW_RECORDS = 5
_RECORDS = 1_000  # of the sample
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DELIMITERS = ",;\t|"
_EUROPEAN = set("äöüÄÖÜßàâáãåæçèéêëìíîïñòóôõøœùúûýÿÀÂÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕØŒÙÚÛÝŸšŠžŽ€£§°²³µ«»„“”‚‘’–—…·©®™½¼¾¿¡ªº±×÷\xa0")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)?,\d+([eE][+-]?\d+)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d.*|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}.*")
_MISSING = {*MISSING, "?", "-", "--", ".", "\\N"}
_FORMATS = {CSV: "CSV or another text", JSON_LINES: "JSON Lines", PARQUET: "Parquet", EXCEL: "a workbook"}


@dataclass(frozen=True)
class FileFormat:
    """`format` is csv, jsonl, parquet or excel; `compression` gzip or ""."""

    format: str
    compression: str = ""


@dataclass(frozen=True)
class Dialect:
    """How a text is read as a table."""

    delimiter: str = ","
    decimal: str = "."
    quote: str = '"'
    encoding: str = "utf-8"
    header: bool = True
    compression: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether pandas and Azure ML read it so without being told anything."""
        return self == Dialect()

    def describe(self) -> dict[str, str]:
        """As TabularDataset.dialect has it."""
        words = {"delimiter": self.delimiter, "decimal": self.decimal, "quote": self.quote, "encoding": self.encoding}
        return words | {"header": "on" if self.header else "off"} | ({"compression": self.compression} if self.compression else {})

    def as_reading(self, given: TableReading) -> TableReading:
        """What was given, completed."""
        return TableReading(self.delimiter, self.decimal, self.encoding, self.header, self.quote, given.types, given.sheets)


def check_reading(reading: TableReading) -> None:
    """Raises SettingsError on delimiter, decimal, quote, encoding or column."""
    for field, value in (("delimiter", reading.delimiter), ("decimal", reading.decimal), ("quote", reading.quote)):
        if value is not None and (len(value) != 1 or value in "\r\n\0" or ord(value) > 127):
            raise SettingsError(field, f"“{short(value)}” is not one character", "Give one, such as ; or , or a tab.")
    if reading.decimal not in (None, ".", ","):
        raise SettingsError("decimal", f"“{reading.decimal}” is not a decimal mark", "Give . or , as it stands in the numbers.")
    if reading.delimiter is not None and reading.delimiter in (reading.decimal, reading.quote):
        raise SettingsError("delimiter", "one character can't be the delimiter and another mark too", "Give two different ones.")
    if reading.encoding is not None:
        try:
            known = codecs.lookup(reading.encoding)._is_text_encoding and reading.encoding.lower() not in ("undefined", "idna", "punycode")
        except (LookupError, ValueError):
            known = False
        if not known:
            raise SettingsError("encoding", f"“{short(reading.encoding)}” is not an encoding", "Such as utf-8, utf-16, cp1252 or latin-1.")
    for name, word in reading.types.items():
        if word not in TableReading.COLUMN_TYPES:
            types = ", ".join(TableReading.COLUMN_TYPES)
            raise SettingsError("column", f"“{short(word)}”, of column “{short(name)}”, is not a type", f"Those there are: {types}.")


# ---- what a file is ---------------------------------------------------------------------------------------------------------------------


def format_of(path: Path, name: str) -> FileFormat:
    """By its content. Raises IntakeError for what can be no table, naming it."""
    with opened_for_reading(path) as opened:
        head = opened.read(SAMPLE)
    if head.startswith(b"PAR1") or name.lower().endswith((".parquet", ".pq")):
        return FileFormat(PARQUET)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return FileFormat(EXCEL)
    if head.startswith(b"PK\x03\x04"):
        if _is_workbook(path):
            return FileFormat(EXCEL)
        raise IntakeError(f"“{short(name)}” is a zip archive, not a table.", "Register the archive by itself: its files are then unpacked.")
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        raise IntakeError(f"“{short(name)}” is compressed by zstd.", "Unpack it first (unzstd), or compress it by gzip.")
    compression = "gzip" if head.startswith(b"\x1f\x8b") else ""
    if compression:
        try:
            head = zlib.decompressobj(31).decompress(head, SAMPLE)
        except zlib.error as error:
            raise damaged_gzip(name, str(error)) from error
        if head.startswith(b"PAR1"):
            raise IntakeError(f"“{short(name)}” is a Parquet file compressed once more.", "Unpack it first (gunzip).")
    begins = head[:1000].translate(None, b"\xef\xbb\xbf \t\r\n")[:2]
    if begins == b"[{":
        hint = "Write one object a line (JSON Lines), such as by pandas: to_json(…, orient='records', lines=True)."
        raise IntakeError(f"“{short(name)}” is a JSON array, not JSON Lines.", hint)
    return FileFormat(JSON_LINES if begins[:1] == b"{" else CSV, compression)


def one_format(formats: Sequence[tuple[str, FileFormat]]) -> str:
    """The format that all files have. Raises IntakeError naming two that have different ones."""
    first_name, first = formats[0]
    for name, other in formats:
        if other.format != first.format:
            text = f"“{short(name)}” is {_FORMATS[other.format]}, and “{short(first_name)}” is {_FORMATS[first.format]}."
            raise IntakeError(text, "Choose files of one kind by a pattern, such as **/*.csv.")
    return first.format


def damaged_gzip(name: str, reason: str) -> IntakeError:
    return IntakeError(f"“{short(name)}” is a damaged or half gzip file: {reason}.", "Compress it again, or fetch it again.")


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist()[:10_000])
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                return b"opendocument.spreadsheet" in archive.read("mimetype")
            return any(name.lower().startswith("xl/workbook.") for name in names)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, zlib.error):
        return path.suffix.lower() in (".xlsx", ".xlsm", ".xlsb", ".ods")  # half a workbook: its reader says so


# ---- the encoding -----------------------------------------------------------------------------------------------------------------------


@contextmanager
def content_of(path: Path, name: str, compression: str) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked. Raises IntakeError for a damaged one, when it is read."""
    with opened_for_reading(path) as opened:
        if not compression:
            yield opened
            return
        try:
            with gzip.GzipFile(fileobj=opened) as unpacked:
                yield io.BufferedReader(unpacked)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise damaged_gzip(name, str(error)) from error


def encoding_of(path: Path, name: str, compression: str = "", *, whole: bool = True) -> str:
    """The encoding of a text, by all of its bytes; by the first megabyte without `whole`. A library guesses where they are neither UTF-8
    nor UTF-16 nor those of Western Europe. Raises IntakeError for what is not text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with content_of(path, name, compression) as content:
        head = content.read(_BLOCK)
        for bom, encoding in _BOMS:
            if head.startswith(bom) and encoding != "utf-8":
                return encoding
        if encoding := _utf_16_without_bom(head):
            return encoding
        block = head
        with suppress(UnicodeDecodeError):
            while block:
                if b"\0" in block:
                    raise IntakeError(f"“{short(name)}” contains NUL characters: it is not text.", "Choose a pattern that leaves it out.")
                decoder.decode(block)
                if not whole and len(block) == _BLOCK:
                    return "utf-8"
                block = content.read(_BLOCK)
            decoder.decode(b"", final=True)
            return "utf-8"
        odd = b"".join(line for line in block.splitlines(keepends=True) if not line.isascii())[:SAMPLE]
    return _guess(odd, name)


def _utf_16_without_bom(head: bytes) -> str:
    """By every second byte being NUL, or almost."""
    if len(head) < 4 or head.count(0) < len(head) // 4:
        return ""
    even, odd = head[::2].count(0), head[1::2].count(0)
    return "utf-16-le" if odd > 10 * even else "utf-16-be" if even > 10 * odd else ""


def _guess(sample: bytes, name: str) -> str:
    if sample.translate(None, bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))) != sample:
        raise IntakeError(f"“{short(name)}” is not text.", "Choose a pattern that leaves it out.")
    with suppress(UnicodeDecodeError):
        if set(filter(lambda character: not character.isascii(), sample.decode("cp1252"))) <= _EUROPEAN:
            return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    if best is None:
        raise IntakeError(f"“{short(name)}” is text in an encoding that was not recognized.", "Say which it is by the encoding.")
    return best.encoding.replace("_", "-")


# ---- the dialect ------------------------------------------------------------------------------------------------------------------------


def sniff(path: Path, name: str, given: TableReading, compression: str, scratch: Path) -> Dialect:
    """How the text is read as a table: what is `given`, and what its beginning tells, the encoding too. DuckDB reads that from a file in
    `scratch`. Raises IntakeError."""
    encoding = canonical(given.encoding) if given.encoding else encoding_of(path, name, compression, whole=False)
    with content_of(path, name, compression) as content:
        head = content.read(SAMPLE)
        while head.count(b"\n") < _FEW_RECORDS and len(head) < _LARGEST_SAMPLE and (more := content.read(_BLOCK)):
            head += more  # of very many columns
    try:
        text = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)().decode(head)
    except UnicodeDecodeError as error:
        raise not_of_the_encoding(name, encoding, error) from error
    if len(head) >= SAMPLE and (end := max(text.rfind("\n"), text.rfind("\r"))) > 0:
        text = text[: end + 1]
    quote = given.quote or '"'
    if given.delimiter:
        delimiter = given.delimiter
    else:
        delimiter, quote = _delimiter_of(text, given, scratch)
    rows = _rows(text, delimiter, quote)
    decimal = given.decimal or ("," if delimiter != "," and _has_decimal_commas(rows) else ".")
    header = _has_header(rows, decimal) if given.header is None else given.header
    return Dialect(delimiter, decimal, quote, encoding, header, compression)


def canonical(encoding: str) -> str:
    """One spelling of an encoding's name; a byte-order mark is passed over in any case."""
    name = codecs.lookup(encoding).name
    return "utf-8" if name in ("utf-8-sig", "ascii") else name


def not_of_the_encoding(name: str, encoding: str, error: UnicodeDecodeError, before: int = 0) -> IntakeError:
    """`before` are the bytes decoded before those of the error."""
    text = f"“{short(name)}” is not {encoding} text: {error.reason} at about byte {before + error.start:,}."
    return IntakeError(text, "Leave the encoding open, so that it is recognized by the content, or give the right one.")


def _delimiter_of(text: str, given: TableReading, scratch: Path) -> tuple[str, str]:
    """The delimiter and the quote."""
    quote = given.quote or '"'
    sniffed, sniffed_quote = _sniffed_by_duckdb(text, scratch)
    if given.quote is None and sniffed_quote == "'" and '"' not in text:
        quote = sniffed_quote
    candidates = [each for each in dict.fromkeys([*_DELIMITERS, sniffed]) if each and each != given.decimal]
    tables = {each: rows for each in candidates if len((rows := _rows(text, each, quote) or [[]])[0]) > 1 and _is_even(rows)}
    if told := delimiter_among(tables, sniffed):
        return told, quote
    lines = [line for line in text.splitlines()[:10] if line.strip()][:2]
    for each in candidates:  # records of different lengths: by the header and the first
        if len(lines) == 2 and 0 < lines[0].count(each) == lines[1].count(each):
            return each, quote
    return (",", quote) if given.decimal != "," else (";", quote)


def delimiter_among(tables: Mapping[str, Sequence[Sequence[str]]], likeliest: str = "") -> str:
    """The delimiter of a text, of whose candidates each gives it other records of several fields: the comma, but where others leave
    decimal commas; else the likeliest, or the one that gives most fields. "" where there are none."""
    others = {each: rows for each, rows in tables.items() if each != ","}
    if "," in tables and not any(map(_has_decimal_commas, others.values())):
        return ","
    return likeliest if likeliest in others else max(others, key=lambda each: len(others[each][0]), default="")


def _sniffed_by_duckdb(text: str, scratch: Path) -> tuple[str, str]:
    """What DuckDB takes for the delimiter and the quote; "" where it can tell neither."""
    import duckdb

    sample = scratch / "sample.csv"
    sample.write_text(text, encoding="utf-8", newline="")
    try:
        with duckdb.connect(config={"enable_external_access": True, "threads": 1}) as connection:
            query = "SELECT Delimiter, Quote FROM sniff_csv(?, ignore_errors = true, strict_mode = false)"
            found = connection.execute(query, [str(sample)]).fetchone()
    except duckdb.Error:
        return "", ""
    finally:
        sample.unlink()
    delimiter, quote = map(str, found or ("", ""))
    return (delimiter if len(delimiter) == 1 else ""), (quote if len(quote) == 1 else "")


def _rows(text: str, delimiter: str, quote: str) -> list[list[str]]:
    """The first records of a text that are not blank, without one that its end cuts off."""
    rows = []
    csv.field_size_limit(1 << 27)
    with suppress(csv.Error):
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote):
            if len(row) > 1 or (row and row[0].strip()):
                rows.append(row)
            if len(rows) == _RECORDS:
                break
    return rows


def _is_even(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all records have as many fields as the first, but for one in fifty: a ragged file is refused by its record later."""
    widths = Counter(map(len, rows))
    return widths[len(rows[0])] >= len(rows) * 0.98


def _has_decimal_commas(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a column but for its first field holds numbers, some of them with a decimal comma and none with a point."""
    for column in zip(*(row for row in rows if len(row) == len(rows[0])), strict=True):
        fields = [field.strip() for field in (column[1:] or column) if field.strip()]
        commas = sum(bool(_DECIMAL_COMMA.fullmatch(field)) for field in fields)
        if commas and all(_DECIMAL_COMMA.fullmatch(field) or re.fullmatch(r"[+-]?\d+", field) for field in fields):
            return True
    return False


def _has_header(rows: Sequence[Sequence[str]], decimal: str) -> bool:
    """Whether the first record names the columns: unless it looks like those after it, and has a number or a date among its fields."""
    if not rows:
        return True

    def kind(field: str) -> str:
        field = field.strip()
        number = field.replace(",", ".") if decimal == "," else field
        return "" if field in _MISSING else "number" if _NUMBER.fullmatch(number) else "date" if _DATE.fullmatch(field) else "text"

    first = [kind(field) for field in rows[0]]
    if len(rows) == 1:
        return set(first) != {"number"} or _counts_up(rows[0])
    unlike = like = 0
    for place, first_kind in enumerate(first):
        below = {kind(row[place]) for row in rows[1:] if len(row) > place} - {""}
        if len(below) == 1 and below <= {"number", "date"}:
            like += first_kind in below
            unlike += first_kind == "text"
        elif first_kind in ("number", "date"):
            like += 1
    numbers = [place for place, first_kind in enumerate(first) if first_kind == "number" and len(rows[1]) > place]
    top, second = ([row[place] for place in numbers] for row in rows[:2])
    if like and any(named(top) and not named(second) for named in (_counts_up, _are_years)):
        return True  # the numbers of a matrix's columns, or years
    return not like or unlike > 0


def _counts_up(fields: Sequence[str]) -> bool:
    """Whether these are whole numbers, each one more than the last."""
    numbers = [int(field) for field in fields if re.fullmatch(r"\d{1,6}", field.strip())]
    return len(numbers) == len(fields) > 1 and all(after == before + 1 for before, after in pairwise(numbers))


def _are_years(fields: Sequence[str]) -> bool:
    """Whether these are years, each one later than the last."""
    years = [int(field) for field in fields if re.fullmatch(r"(1[89]|20|21)\d\d", field.strip())]
    return len(years) == len(fields) > 1 and all(before < after for before, after in pairwise(years))
