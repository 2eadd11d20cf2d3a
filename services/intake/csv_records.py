"""Where a CSV file can be cut: at the ends of its records, found as pandas finds them, in constant memory. Needs the standard library only.

A record may hold newlines in quotes. Lines of spaces and tabs are no records. The files are UTF-8, with or without a byte-order mark; lines
end with LF, CRLF or CR.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import BinaryIO

from services.errors import IntakeError
from services.file_names import short
from services.formats import counted

_BLOCK = 1 << 20
_LONGEST_RECORD = 1 << 24
_BOM = b"\xef\xbb\xbf"
_SENTINEL = "\0\n"  # no block holds a NUL
_OTHERS = {
    b"\x1f\x8b": ("is compressed by gzip", "Unpack it first (gunzip)"),
    b"\x28\xb5\x2f\xfd": ("is compressed by zstd", "Unpack it first (unzstd)"),
    b"PK\x03\x04": ("is a zip archive or an Excel workbook", "Unpack it, or save its sheet as CSV"),
    b"PAR1": ("is a Parquet file, and others are not", "Choose files of one kind by a pattern, such as **/*.parquet"),
    b"\xff\xfe": ("is UTF-16 text", "Save it as UTF-8"),
    b"\xfe\xff": ("is UTF-16 text", "Save it as UTF-8"),
}
"""How files begin that are often taken for CSV, and what to do."""
_AS_FILES = "; or register the files with “Each file is one item”: the scoring script then reads them itself."
_SEPARATORS = {
    ";": (
        "semicolons",
        "Save it with commas between fields and points in numbers, such as by pandas: read_csv(sep=';', decimal=',').to_csv()",
    ),
    "\t": ("tabs", "Save it with commas between fields, such as by pandas: read_csv(sep='\\t').to_csv()"),
}


class NotUtf8(IntakeError):
    """You: the file is text of another encoding than UTF-8."""


class CsvFile:
    """A CSV file, opened; `name` is what messages call it. Raises IntakeError for what is not a CSV file, naming the record."""

    def __init__(self, file: BinaryIO, name: str, delimiter: str = ",", quote: str = '"') -> None:
        self._file = file
        self._name = name
        self._delimiter, self._quote = delimiter, quote
        self._other_bytes = bytes(range(256)).translate(None, delimiter.encode() + b"\n")  # than those between fields
        self._blank = b" \t\r\n".replace(delimiter.encode(), b"")
        self._seen = 0  # records, the header counted
        csv.field_size_limit(sys.maxsize)

    def header(self) -> tuple[list[str], bytes]:
        """The fields of the first record, and the bytes up to its end. To be called first, and once."""
        begins = self._file.read(4)
        self._file.seek(0)
        for magic, (what, hint) in _OTHERS.items():
            if begins.startswith(magic):
                raise self._refuse(what, hint + _AS_FILES)
        content = b""
        for block in self._blocks():
            content += block
            begin = 3 if content.startswith(_BOM) else 0
            for end, fields in self._records(content, begin):
                if content[begin:end].strip(self._blank):
                    self._seen = 1
                    self._file.seek(end)
                    if len(fields) == 1 and self._delimiter == ",":
                        self._check_separator(fields[0], content[end : end + _BLOCK])
                    return [field.encode("latin-1").decode() for field in fields], content[:end]
                begin = end
            self._check_length(content)
        raise self._refuse("has a quote that is never closed" if content.strip(_BOM + b" \t\r\n") else "is empty")

    def width(self) -> int:
        """The number of fields of the first record of a file without a header. To be called first, and once, in place of `header`."""
        fields, _ = self.header()
        self._file.seek(0)
        if self._file.read(3) != _BOM:
            self._file.seek(0)
        self._seen = 0
        return len(fields)

    def _check_separator(self, header: str, following: bytes) -> None:
        """Refuse a file whose header is one field that holds as many of another separator as the next line."""
        line = (following.lstrip(b"\r\n").splitlines() or [b""])[0].decode("latin-1")
        for separator, (name, hint) in _SEPARATORS.items():
            if 0 < header.count(separator) == line.count(separator):
                raise self._refuse(f"has its fields separated by {name}, not by commas", hint + _AS_FILES)

    def pieces(self, columns: int, grain: int) -> Iterator[tuple[bytes, int]]:
        """The rest of the file in pieces of about `grain` bytes, with the number of records in each, every one of so many columns."""
        left = b""
        for block in self._blocks():
            content = left + block
            by_lf = content if b"\n" in content else content.replace(b"\r", b"\n")
            if self._is_plain(by_lf, columns):
                yield from self._plain_pieces(by_lf, grain)
                left = b""
                continue
            begin = last = rows = 0
            for end, fields in self._records(content, 0):
                if content[last:end].strip(self._blank):
                    rows += 1
                    self._seen += 1
                    if len(fields) != columns:
                        raise self._refuse(f"has {counted(len(fields), 'field')} in record {self._seen:,}, and its header has {columns:,}")
                last = end
                if end - begin >= grain:
                    yield content[begin:end], rows
                    begin, rows = end, 0
            if last > begin:
                yield content[begin:last], rows
            left = content[last:]
            self._check_length(left)
        if left:
            raise self._refuse(f"has a quote in record {self._seen + 1:,} that is never closed")

    def _plain_pieces(self, content: bytes, grain: int) -> Iterator[tuple[bytes, int]]:
        ends = _line_ends(content)
        begin = first = 0
        while first < len(ends):
            last = min(bisect_left(ends, begin + grain, first), len(ends) - 1)
            rows = last - first + 1
            yield content[begin : ends[last]], rows
            self._seen += rows
            begin, first = ends[last], last + 1

    def _blocks(self) -> Iterator[bytes]:
        """The file's content in blocks that end with a line."""
        while block := self._file.read(_BLOCK):
            if b"\n" not in block and (end := block.rfind(b"\r") + 1):  # lines end with CR, as in old files of the Mac
                self._file.seek(end - len(block), os.SEEK_CUR)
                block = block[:end]
            elif not block.endswith(b"\n"):
                block += self._file.readline(_LONGEST_RECORD)
                self._check_length(block, _BLOCK + _LONGEST_RECORD)
            if b"\0" in block:
                raise self._refuse("contains NUL characters: it is not text")
            try:
                block.decode()
            except UnicodeDecodeError as error:
                record = self._seen + block.count(b"\n", 0, error.start) + 1
                refused = self._refuse(f"has a byte that is not UTF-8, at about record {record:,}", "Save it as UTF-8.")
                raise NotUtf8(refused.message, refused.hint) from error
            yield block

    def _check_length(self, content: bytes, limit: int = _LONGEST_RECORD) -> None:
        if len(content) >= limit:
            raise self._refuse(f"has a record {self._seen + 1:,} of more than {_LONGEST_RECORD >> 20} MB: is a quote never closed?")

    def _refuse(self, reason: str, hint: str = "Fix it, or choose a pattern that leaves it out, such as **/*.csv.") -> IntakeError:
        return IntakeError(f"“{short(self._name)}” {reason}.", hint)

    def _is_plain(self, content: bytes, columns: int) -> bool:
        """Whether each line is a record of so many columns, by looking for delimiters only. Much faster than reading the records."""
        if columns == 1 or self._quote.encode() in content or content.count(b"\r") != content.count(b"\r\n"):
            return False
        of_a_line = self._delimiter.encode() * (columns - 1) + b"\n"
        found = content.translate(None, self._other_bytes)
        if not content.endswith(b"\n"):
            found += b"\n"
        return found == of_a_line * (len(found) // len(of_a_line))

    def _records(self, content: bytes, begin: int) -> Iterator[tuple[int, list[str]]]:
        """The whole records of the content from `begin`: where each ends, and its fields, their bytes as characters."""
        end, over = begin, False

        def lines() -> Iterator[str]:
            nonlocal end, over
            for line in io.StringIO(content[begin:].decode("latin-1"), newline=""):
                end += len(line)
                yield line
            over = True
            yield _SENTINEL

        for fields in csv.reader(lines(), delimiter=self._delimiter, quotechar=self._quote):
            if over:
                return  # the sentinel, or a record that the content's end cuts off and that has swallowed it
            yield end, fields


def _line_ends(content: bytes) -> list[int]:
    """Where each line ends, its LF included; the last may have none."""
    if numpy := sys.modules.get("numpy"):  # a fifth of the time, where it is loaded already
        ends: list[int] = (numpy.flatnonzero(numpy.frombuffer(content, numpy.uint8) == 0x0A) + 1).tolist()
    else:
        ends = list(accumulate(len(line) + 1 for line in content.split(b"\n")[:-1]))
    return ends if content.endswith(b"\n") else [*ends, len(content)]
