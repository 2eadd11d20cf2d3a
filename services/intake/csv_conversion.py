"""Texts in any dialect, made Parquet: record by record, so that none is padded or cut, with the types and values that pandas gives.

Loads pandas and pyarrow: for a process of its own. Memory is that of a few megabytes of text, however large the files are.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pandas

from services.errors import IntakeError
from services.file_names import short
from services.formats import counted
from services.intake.column_types import Columns, TableFile
from services.intake.csv_records import CsvFile
from services.intake.sniffing import Dialect, content_of, not_of_the_encoding
from services.intake.tabular import MISSING, different_columns, long_numbers, long_numbers_note

_BLOCK = 1 << 20
_AT_ONCE = 1 << 22  # bytes of text
_MOST = 50 << 30  # bytes that a file may unpack to
_SUSPICIOUS = 1 << 30  # bytes from which one may not be a bomb
_RATIO = 200


class CsvConversion:
    """Texts of one dialect, each with its own encoding and compression; `files` are names and paths, in their order."""

    def __init__(
        self, files: Sequence[tuple[str, Path, Dialect]], types: Mapping[str, str], scratch: Path, *, decimal_is_told: bool = True
    ) -> None:
        """Without `decimal_is_told` a decimal comma is found where only later records have some."""
        self._files, self._types, self._scratch = files, types, scratch
        self._decimal_is_told = decimal_is_told
        self._commas: dict[int, bool] = {}  # by the column's number: whether all of its texts are numbers with a decimal comma
        self._columns: Columns | None = None
        self._header: list[str] = []
        self._zeros: dict[int, str] = {}  # by the column's number, an example
        self._long_numbers: dict[int, str] = {}  # the same

    def convert(self, target: Path) -> tuple[str, ...]:
        """Write each file's rows to `target`/NAME.parquet; what a person should know. Raises IntakeError, and SettingsError on column."""
        self._see_all()
        if any(self._commas.values()) and not any("float64" in kinds for kinds in self._known_columns.kinds):
            self._files = [(name, path, replace(dialect, decimal=",")) for name, path, dialect in self._files]
            self._columns, self._decimal_is_told = None, True
            self._see_all()
        schema, read_as = self._known_columns.schema(), self._known_columns.read_as()
        for name, path, dialect in self._files:
            with TableFile(target / f"{name}.parquet", schema) as made:
                for frame, size in self._frames(name, path, dialect, read_as):
                    made.write(self._known_columns.table(frame), size)
        columns = self._known_columns
        rounded = [(columns.names[number], text) for number, text in self._long_numbers.items() if columns.dtype(number) == "float64"]
        return (*renamed_columns(self._header, columns.names), *long_numbers_note(rounded))

    @property
    def decimal(self) -> str:
        """The decimal mark that the files were read with."""
        return self._files[0][2].decimal

    def _see_all(self) -> None:
        for name, path, dialect in self._files:
            row = 1
            for frame, _ in self._frames(name, path, dialect, None):
                self._known_columns.see(frame, name, row)
                if not self._decimal_is_told:
                    self._look_for_commas(frame)
                row += len(frame)

    def _look_for_commas(self, frame: pandas.DataFrame) -> None:
        for number, (name, dtype) in enumerate(zip(frame.columns, frame.dtypes, strict=True)):
            if dtype == "str" and self._commas.get(number, True) and name not in self._types:
                texts = frame.iloc[:, number].dropna()
                numbers = r"[+-]?\d+(?:,\d+)?"
                self._commas[number] = bool(texts.head(20).str.fullmatch(numbers).all() and texts.str.fullmatch(numbers).all())

    @property
    def _known_columns(self) -> Columns:
        assert self._columns is not None
        return self._columns

    def _frames(self, name: str, path: Path, dialect: Dialect, read_as: Mapping[str, str] | None) -> Iterator[tuple[pandas.DataFrame, int]]:
        """The rows of a file in order, and the bytes of text that they were; by pandas' own types where `read_as` is None."""
        with as_utf8(path, name, dialect, self._scratch) as opened:
            csv_file = CsvFile(opened, name, dialect.delimiter, dialect.quote)
            if dialect.header:
                fields, start = csv_file.header()
            else:
                fields, start = [f"Column{number + 1}" for number in range(csv_file.width())], b""
            if self._columns is None:
                self._header = fields
                self._columns = Columns(column_names(fields, start, dialect) if dialect.header else fields, self._types, dialect.decimal)
            elif fields != self._header:
                if not dialect.header:
                    text = (
                        f"“{short(name)}” has {counted(len(fields), 'field')}, and “{short(self._files[0][0])}” has {len(self._header):,}."
                    )
                    raise IntakeError(text, "Choose files of one kind by a pattern.")
                raise different_columns(name, fields, self._files[0][0], self._header)
            waiting, size, rows = [], 0, 0
            enough = max(_AT_ONCE, 2048 * len(fields))
            for piece, count in csv_file.pieces(len(fields), 1 << 16):
                waiting.append(piece)
                size, rows = size + len(piece), rows + count
                if size >= enough:
                    yield self._frame(b"".join(waiting), rows, name, dialect, read_as), size
                    waiting, size, rows = [], 0, 0
            if rows:
                yield self._frame(b"".join(waiting), rows, name, dialect, read_as), size

    def _frame(self, content: bytes, rows: int, name: str, dialect: Dialect, read_as: Mapping[str, str] | None) -> pandas.DataFrame:
        columns = self._known_columns
        is_first_time = read_as is None
        if read_as is None:
            read_as = dict.fromkeys(self._types, "str")
            self._look_for_leading_zeros(content, dialect)
        try:
            frame = pandas.read_csv(
                io.BytesIO(content), sep=dialect.delimiter, decimal=dialect.decimal, quotechar=dialect.quote, header=None,
                names=columns.names, dtype=dict(read_as), index_col=False, low_memory=False, keep_default_na=False, na_values=list(MISSING),
            )  # fmt: skip
        except (pandas.errors.ParserError, ValueError) as error:
            raise IntakeError(f"pandas can't read the records of “{short(name)}”: {error}.", "Fix them.") from error
        if len(frame) != rows:
            text = f"pandas reads {len(frame):,} records where there are {rows:,}, in “{short(name)}”."
            raise IntakeError(text, "Look for quotes that are not closed.")
        if is_first_time:
            self._long_numbers = long_numbers(content, frame, dialect.delimiter, dialect.quote) | self._long_numbers
        return frame

    def _look_for_leading_zeros(self, content: bytes, dialect: Dialect) -> None:
        delimiter, quote = re.escape(dialect.delimiter.encode()), re.escape(dialect.quote.encode())
        found = re.compile(rb"(?:^|(?<=[\n\r]|%b))%b?0\d[\d.,]*%b?(?=%b|[\r\n]|$)" % (delimiter, quote, quote, delimiter))
        for place, match in enumerate(found.finditer(content)):
            if place == 1_000:
                break
            begin, end = content.rfind(b"\n", 0, match.start()) + 1, content.find(b"\n", match.end())
            line = content[begin : end if end >= 0 else len(content)].decode("utf-8", "replace").rstrip("\r")
            fields = next(csv.reader([line], delimiter=dialect.delimiter, quotechar=dialect.quote), [])
            if len(fields) == len(self._header):
                for number, field in enumerate(fields):
                    if re.fullmatch(r"0\d[\d.,]*", field):
                        self._zeros.setdefault(number, field)

    @property
    def leading_zeros(self) -> tuple[tuple[str, str], ...]:
        """Columns whose leading zeros are lost, each with an example."""
        columns = self._known_columns
        numbers = [number for number in self._zeros if columns.names[number] not in self._types and columns.dtype(number) != "str"]
        return tuple((columns.names[number], self._zeros[number]) for number in numbers)


def column_names(fields: Sequence[str], header: bytes, dialect: Dialect) -> list[str]:
    """The names that pandas gives the columns of this header, whose `fields` are these."""
    if len(set(fields)) == len(fields) and all(fields):
        return list(fields)
    columns = pandas.read_csv(io.BytesIO(header), sep=dialect.delimiter, quotechar=dialect.quote, nrows=0, index_col=False).columns
    return [str(name) for name in columns]


def renamed_columns(fields: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """A note where columns of one name, or of none, got others."""
    renamed = [(field, name) for field, name in zip(fields, names, strict=False) if field != name]
    twice = [f"the second “{short(field)}” is “{short(name)}”" for field, name in renamed if field]
    none = [f"“{short(name)}”" for field, name in renamed if not field]
    notes = [f"Columns have one name: {', '.join(twice[:5])}{', …' if len(twice) > 5 else ''} here, as in pandas."] if twice else []
    notes += [f"Columns without a name are called {', '.join(none[:5])}{', …' if len(none) > 5 else ''}, as in pandas."] if none else []
    return tuple(notes)


@contextmanager
def as_utf8(path: Path, name: str, dialect: Dialect, scratch: Path) -> Iterator[BinaryIO]:
    """The text unpacked and in UTF-8: the file itself, or a copy in `scratch` for as long as it is read. Raises IntakeError."""
    if dialect.encoding == "utf-8" and not dialect.compression:
        with content_of(path, name, "") as opened:
            yield opened
        return
    copy = scratch / "text"
    limit = max(_SUSPICIOUS, path.stat().st_size * _RATIO) if dialect.compression else _MOST
    decoder = None if dialect.encoding == "utf-8" else codecs.getincrementaldecoder(dialect.encoding)()
    done = 0
    try:
        with open(copy, "wb") as target, content_of(path, name, dialect.compression) as content:
            while block := content.read(_BLOCK):
                try:
                    target.write(decoder.decode(block).encode() if decoder else block)
                except UnicodeDecodeError as error:
                    raise not_of_the_encoding(name, dialect.encoding, error, done) from error
                except UnicodeEncodeError as error:
                    raise IntakeError(f"“{short(name)}” is not {dialect.encoding} text: {error.reason}.", "Save it as UTF-8.") from error
                done += len(block)
                if done > min(limit, _MOST) or shutil.disk_usage(scratch).free < _BLOCK << 6:
                    raise IntakeError(f"“{short(name)}” unpacks to more than {done >> 20:,} MB, too much for here.", "Unpack it yourself.")
            try:
                target.write(decoder.decode(b"", final=True).encode() if decoder else b"")
            except UnicodeDecodeError as error:
                raise not_of_the_encoding(name, dialect.encoding, error, done) from error
        with open(copy, "rb") as opened:
            yield opened
    finally:
        copy.unlink(missing_ok=True)
