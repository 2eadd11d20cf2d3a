"""A tabular dataset, looked at once, when it is registered: its columns and their types, and where its files can be cut.

`inspect_table` loads pandas: it is called in a process of its own (see tables.py). It writes FOLDER/manifest.jsonl, one JSON list for each
slice, in order: `["relative/path", bytes, modified_ns, begin, end, rows]`. Of a CSV, begin and end are bytes of the file, and the header is
in no slice; of a Parquet file, they are row groups.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from services.errors import IntakeError
from services.file_names import quoted, short
from services.formats import counted
from services.intake.csv_records import CsvFile
from services.storage.file_tree import reading

if TYPE_CHECKING:
    import pyarrow

FILES, MANIFEST = "files.jsonl", "manifest.jsonl"
CSV, PARQUET = "csv", "parquet"
# What pandas 3 takes for a missing value. Older ones know fewer: the worker's pandas, whichever it is, gets these.
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None",
    "n/a", "nan", "null",
)  # fmt: skip

_SLICES = 50_000
_SMALLEST_SLICE, _LARGEST_SLICE = 1 << 8, 1 << 18  # bytes of a CSV
_TYPED_AT_ONCE = 1 << 22  # bytes
_THREADS, _MOST_AT_ONCE = 2, 4  # parts of a CSV whose types are looked at
_NUMBERS = ("int64", "uint64", "float64")
_LEADING_ZERO = re.compile(rb'[,\n]"?0[0-9][0-9.]*"?(?=[,\r\n])')
_LONG_NUMBER = re.compile(rb"[0-9]{16}")
_WINDOW = 1 << 16  # bytes that the processor keeps at hand
_MOST_ZEROS = 5_000  # looked at in what is typed at once
_HINT = "Choose files of one kind by a pattern, such as **/*.csv."


@dataclass(frozen=True)
class Table:
    """What the files of a tabular dataset have in common; `columns` are names and pandas types (see domain.TabularDataset). `notes` are
    sentences on what a person may not expect of them."""

    format: str
    columns: tuple[tuple[str, str], ...]
    row_count: int | None
    notes: tuple[str, ...] = ()
    leading_zeros: tuple[tuple[str, str], ...] = ()
    """Columns whose leading zeros are lost, each with an example."""


@dataclass(frozen=True)
class _File:
    """A file of the dataset: its name relative to the root, where it is, and its time of modification in ns."""

    name: str
    path: Path
    modified_ns: int

    def slice_line(self, size: int, begin: int, end: int, rows: int) -> str:
        return f"[{self._quoted}, {size}, {self.modified_ns}, {begin}, {end}, {rows}]\n"

    @cached_property
    def _quoted(self) -> str:
        return json.dumps(self.name)


def first_rows(path: Path, count: int, most_columns: int = 100) -> pyarrow.Table:
    """The first rows of a Parquet file, for people. Raises IntakeError."""
    import pyarrow
    from pyarrow import parquet

    with parquet_errors(path.name), parquet.ParquetFile(path, buffer_size=1 << 16) as opened:
        columns = opened.schema_arrow.names[:most_columns]
        batch = next(opened.iter_batches(batch_size=count, columns=columns), None)
        return pyarrow.Table.from_batches([batch] if batch else [], opened.schema_arrow if batch is None else batch.schema)


def inspect_table(root: Path, folder: Path) -> Table:
    """Look at the files below `root` that `folder`/files.jsonl lists, and write the manifest beside it. Takes seconds and more. Raises
    IntakeError naming the file and the record that keeps them from being one table."""
    with open(folder / FILES, encoding="ascii") as lines:
        listed = [json.loads(line) for line in lines]
    files = [_File(name, root / name, modified_ns) for name, _, modified_ns in listed]
    with reading(files[0].path) as first:
        is_parquet = first.read(4) == b"PAR1" or files[0].name.lower().endswith((".parquet", ".pq"))
    with open(folder / MANIFEST, "w", encoding="ascii", newline="\n") as manifest:
        if is_parquet:
            table = _describe_parquet(files, manifest)
        else:
            total = sum(size for _, size, _ in listed)
            table = _describe_csv(files, manifest, min(max(_SMALLEST_SLICE, total // _SLICES), _LARGEST_SLICE))
    if not table.row_count:
        raise IntakeError(f"There are no rows in {counted(len(files), 'file')}.", "Choose files that hold some.")
    return table


def rows_are_lines(paths: Sequence[Path], table: Table) -> bool:
    """Whether each line of these CSV files is a row, and the names of the columns are as they are written: every reader makes the same of
    them."""
    names, lines = [name for name, _ in table.columns], 0
    for path in paths:
        with reading(path) as content:
            for number, line in enumerate(content):
                text = line.removesuffix(b"\n").removesuffix(b"\r")
                if not text or b"\r" in text or (number == 0 and next(csv.reader([text.decode("utf-8", "replace")])) != names):
                    return False
                lines += 1
    return lines == (table.row_count or 0) + len(paths) and all(name == name.strip() for name in names)


# ---- CSV -------------------------------------------------------------------------------------------------------------------------


def _describe_csv(files: list[_File], manifest: TextIO, grain: int) -> Table:
    header: list[str] = []
    types: _TypesOfCsv | None = None
    for file in files:
        with reading(file.path) as opened:
            csv_file = CsvFile(opened, file.name)
            fields, start = csv_file.header()
            if types is None:
                header, types = fields, _TypesOfCsv(start)
            elif fields != header:
                raise different_columns(file.name, fields, files[0].name, header)
            begin = len(start)
            for piece, rows in csv_file.pieces(len(header), grain):
                end = begin + len(piece)
                if rows:
                    manifest.write(file.slice_line(end - begin, begin, end, rows))
                    types.see(piece, rows, file.name)
                begin = end
            types.end_line()
    assert types is not None
    columns = types.settled()
    lost = types.lost_zeros(columns)
    return Table(CSV, columns, types.row_count, (*leading_zeros_note(lost), *long_numbers_note(types.rounded(columns))), lost)


class _TypesOfCsv:
    """The types that pandas.read_csv would give the columns of all the records it is shown, were they one file.

    They are told in parts, and each part has types of its own: what pandas says of the whole follows from the types of its parts.
    """

    def __init__(self, header: bytes) -> None:
        import pandas

        self._names = [str(name) for name in pandas.read_csv(io.BytesIO(header)).columns]
        self._kinds: list[set[str]] = [set() for _ in self._names]
        self._waiting: list[bytes] = []
        self._waiting_bytes = self._waiting_rows = 0
        self._leading_zeros: dict[int, str] = {}  # by the column's number, an example
        self._long_numbers: dict[int, str] = {}
        self._pool = ThreadPoolExecutor(_THREADS)  # pandas and NumPy let others run meanwhile
        self._looks: deque[Future[_TypesOfPart]] = deque()
        self.row_count = 0

    def see(self, piece: bytes, rows: int, name: str) -> None:
        """Whole records of the file called `name`."""
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        self._waiting_rows += rows
        if self._waiting_bytes >= _TYPED_AT_ONCE:
            self._look(name)

    def end_line(self) -> None:
        """A file is over; its last record may have no newline."""
        if self._waiting and not self._waiting[-1].endswith((b"\n", b"\r")):
            self._waiting.append(b"\n")

    def settled(self) -> tuple[tuple[str, str], ...]:
        if self._waiting:
            self._look("the last file")
        while self._looks:
            self._take_in()
        return tuple(zip(self._names, map(settled_type, self._kinds), strict=True))

    def _look(self, name: str) -> None:
        """Have the types of what waits found by another thread; what earlier ones found is taken in, in order."""
        content, rows = b"".join(self._waiting), self._waiting_rows
        self._waiting.clear()
        self._waiting_bytes = self._waiting_rows = 0
        self._looks.append(self._pool.submit(_types_of, content, rows, self._names, name))
        while len(self._looks) > _MOST_AT_ONCE:
            self._take_in()

    def _take_in(self) -> None:
        part = self._looks.popleft().result()
        self.row_count += part.rows
        for kinds, of_part in zip(self._kinds, part.kinds, strict=True):
            kinds.update(of_part)
        self._leading_zeros = part.leading_zeros | self._leading_zeros
        self._long_numbers = part.long_numbers | self._long_numbers

    def lost_zeros(self, columns: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((columns[number][0], example) for number, example in self._leading_zeros.items() if columns[number][1] in _NUMBERS)

    def rounded(self, columns: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
        """Columns whose whole numbers are read as ones that can't hold them, each with an example."""
        return [(columns[number][0], example) for number, example in self._long_numbers.items() if columns[number][1] == "float64"]


def leading_zeros_note(lost: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """What is lost without a word otherwise: columns that are read as numbers, each with an example."""
    if not lost:
        return ()
    named = ", ".join(f"“{short(name)}” ({short(example)})" for name, example in lost[:5]) + (", …" if len(lost) > 5 else "")
    text = f"Leading zeros are lost in {counted(len(lost), 'column')} read as numbers: {named}."
    return (f"{text} To keep them, register {'it' if len(lost) == 1 else 'them'} as text.",)


def long_numbers_note(rounded: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """What is lost without a word otherwise, by pandas too: it has no integers beside missing values."""
    if not rounded:
        return ()
    named = ", ".join(f"“{short(name)}” ({short(example)})" for name, example in rounded[:5]) + (", …" if len(rounded) > 5 else "")
    them = "it" if len(rounded) == 1 else "them"
    return (f"Long whole numbers lose their last digits beside missing ones: {named}. To keep them, register {them} as text.",)


class _TypesOfPart(NamedTuple):
    rows: int
    kinds: list[set[str]]
    leading_zeros: dict[int, str]
    long_numbers: dict[int, str]


def _types_of(content: bytes, rows: int, names: list[str], name: str) -> _TypesOfPart:
    """Of whole records, so many, of the file called `name`. Raises IntakeError."""
    import pandas

    try:
        frame = pandas.read_csv(
            io.BytesIO(content), header=None, names=names, index_col=False, low_memory=False, keep_default_na=False,
            na_values=list(MISSING),
        )  # fmt: skip
    except (pandas.errors.ParserError, ValueError) as error:
        raise IntakeError(f"pandas can't read the records of “{short(name)}”, or of files before it: {error}.", "Fix them.") from error
    if len(frame) != rows:
        reason = f"pandas reads {len(frame):,} records where there are {rows:,}, in “{short(name)}” or files before it."
        raise IntakeError(reason, "Look for quotes that are not closed.")
    kinds = [kinds_of(frame[column]) for column in frame.columns]
    return _TypesOfPart(rows, kinds, _leading_zeros(content, len(names)), long_numbers(content, frame))


def long_numbers(content: bytes, frame: Any, delimiter: str = ",", quote: str = '"') -> dict[int, str]:
    """By the number of each column of a frame that has some, an example of a whole number that a float64 does not keep, as it stands in
    the records that the frame was read from."""
    limit, found = 1 << 53, dict[int, str]()
    columns = [(number, frame.iloc[:, number]) for number, dtype in enumerate(frame.dtypes) if dtype.kind in "iuf"]
    wanted = {number for number, column in columns if column.max() >= limit or column.min() <= -limit}
    for match in islice(_LONG_NUMBER.finditer(content), _MOST_ZEROS) if wanted else ():
        begin, end = content.rfind(b"\n", 0, match.start()) + 1, content.find(b"\n", match.end())
        line = content[begin : end if end >= 0 else len(content)].decode("utf-8", "replace").rstrip("\r")
        fields = next(csv.reader([line], delimiter=delimiter, quotechar=quote), [])
        for number in [number for number in wanted if len(fields) == frame.shape[1]]:
            text = fields[number].strip()
            if re.fullmatch(r"[+-]?\d{16,}", text) and int(float(text)) != int(text):
                found[number] = text
                wanted.remove(number)
        if not wanted:
            break
    return found


def _leading_zeros(content: bytes, columns: int) -> dict[int, str]:
    """By the number of each column that has some, an example."""
    found: dict[int, str] = {}
    content = b"\n" + (content if b"\n" in content else content.replace(b"\r", b"\n"))
    for start in _fields_with_leading_zeros(content)[:_MOST_ZEROS]:
        begin = content.rfind(b"\n", 0, start + 1) + 1
        if content.count(b",", begin, start + 1) in found:
            continue
        end = content.find(b"\n", start + 1)
        line = content[begin : end if end >= 0 else len(content)].decode("utf-8", "replace").rstrip("\r")
        fields = next(csv.reader([line]), [])
        if len(fields) == columns:  # else a record of several lines
            for number, field in enumerate(fields):
                if re.fullmatch(r"0\d[\d.]*", field):
                    found.setdefault(number, field)
    return found


def _fields_with_leading_zeros(content: bytes) -> list[int]:
    """Where the comma or newline before each such field is."""
    import numpy

    if b'"' in content and (b',"0' in content or b'\n"0' in content):
        return [match.start() for match in _LEADING_ZERO.finditer(content)]
    characters, found = numpy.frombuffer(content, numpy.uint8), []
    for begin in range(0, len(content) - 3, _WINDOW):  # thirty times as fast as the expression, which then looks at few places
        window = characters[begin : begin + _WINDOW + 3]
        before, first, second, third = window[:-3], window[1:-2], window[2:-1], window[3:]
        starts = numpy.flatnonzero((first == ord("0")) & (second - ord("0") < 10) & ((before == ord(",")) | (before == ord("\n"))))
        starts = starts[third[starts] != ord(":")]  # a time of day
        found += [start for start in (starts + begin).tolist() if _LEADING_ZERO.match(content, start)]
    return found


def kinds_of(column: Any) -> set[str]:
    import pandas

    dtype = str(column.dtype)
    if dtype == "int64":
        return {"int64", "negative"} if (column < 0).any() else {"int64"}
    if dtype == "float64":
        there = column.dropna()
        if len(there) == len(column) or (there % 1 != 0).any():
            return {"float64"}
        return {"missing", "int64"} if len(there) else {"missing"}
    if dtype in ("bool", "uint64"):
        return {dtype}
    return {"object"} if pandas.api.types.infer_dtype(column, skipna=True) == "boolean" else {"str"}


def settled_type(kinds: set[str]) -> str:
    """The type of a whole column, from those of its parts; `missing` is a part without a value, `negative` one with a number below 0."""
    if "str" in kinds:
        return "str"
    if kinds & {"bool", "object"}:
        return "bool" if kinds == {"bool"} else "object" if kinds <= {"bool", "object", "missing"} else "str"
    if "uint64" in kinds and "float64" not in kinds:  # a minus or a missing value among them leaves no type of numbers
        return "uint64" if kinds <= {"uint64", "int64"} else "str"
    return "int64" if kinds <= {"int64", "negative"} else "float64"


# ---- Parquet ---------------------------------------------------------------------------------------------------------------------


def _describe_parquet(files: list[_File], manifest: TextIO) -> Table:
    import pyarrow
    from pyarrow import parquet

    schema = None
    rows = 0
    with_missing: set[str] = set()
    for file in files:
        with parquet_errors(file.name), parquet.ParquetFile(file.path) as opened:
            if schema is None:
                schema = opened.schema_arrow
                if len(set(schema.names)) < len(schema.names):
                    raise IntakeError(f"“{short(file.name)}” has two columns of one name.", "Rename one of them.")
                # An integer has no place for a missing value: pandas turns its column into another type.
                turned = [field.name for field in schema if pyarrow.types.is_integer(field.type) or pyarrow.types.is_boolean(field.type)]
            elif opened.schema_arrow.names != schema.names:
                raise different_columns(file.name, opened.schema_arrow.names, files[0].name, schema.names)
            elif opened.schema_arrow.types != schema.types:
                raise _differently_typed(file.name, opened.schema_arrow, files[0].name, schema)
            for number in range(opened.num_row_groups):
                group = opened.metadata.row_group(number)
                chunks = [group.column(index) for index in range(group.num_columns)]
                if group.num_rows:
                    size = sum(chunk.total_compressed_size for chunk in chunks)
                    manifest.write(file.slice_line(size, number, number + 1, group.num_rows))
                    rows += group.num_rows
                known = {chunk.path_in_schema: chunk.statistics for chunk in chunks if chunk.is_stats_set}
                for column in (column for column in turned if column not in with_missing):
                    statistics = known.get(column)
                    if statistics is not None and statistics.has_null_count:
                        missing = statistics.null_count
                    else:
                        missing = opened.read_row_group(number, columns=[column]).column(column).null_count
                    if missing:
                        with_missing.add(column)
    assert schema is not None
    whole = schema.empty_table().to_pandas(ignore_metadata=True).dtypes
    holed = pyarrow.table({name: pyarrow.nulls(1, schema.field(name).type) for name in with_missing}).to_pandas().dtypes
    columns = tuple((name, str(holed[name] if name in with_missing else whole[name])) for name in schema.names)
    return Table(PARQUET, columns, rows, _index_notes(schema))


def _index_notes(schema: pyarrow.Schema) -> tuple[str, ...]:
    """Of the index that pandas wrote into the files as a column."""
    indices = [name for name in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str) and name in schema.names]
    if not indices:
        return ()
    verb = "is the index" if len(indices) == 1 else "are the index"
    return (f"{quoted(indices)} {verb} of the pandas DataFrame, and a column like others here: to_parquet(index=False) leaves it out.",)


@contextmanager
def parquet_errors(name: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise IntakeError(f"“{short(name)}” is not a Parquet file, or it is damaged: {reason}.", _HINT) from error


def _differently_typed(name: str, schema: pyarrow.Schema, first_name: str, first: pyarrow.Schema) -> IntakeError:
    pairs = [(field, other) for field, other in zip(schema, first, strict=True) if field.type != other.type]
    field, other = pairs[0]
    more = f", and {len(pairs) - 1} more of its columns differ" if len(pairs) > 1 else ""
    text = f"Column “{short(field.name)}” is {field.type} in “{short(name)}” and {other.type} in “{short(first_name)}”{more}."
    return IntakeError(
        text, f"Write all files with the same types, such as by astype({{'{short(field.name)}': '{other.type}'}}) in pandas."
    )


def different_columns(name: str, columns: list[str], first_name: str, first_columns: list[str]) -> IntakeError:
    lacks = [column for column in first_columns if column not in columns]
    has = [column for column in columns if column not in first_columns]
    differences = [f"{verb} {quoted(some)}" for verb, some in (("it lacks", lacks), ("it has", has)) if some]
    difference = " and ".join(differences) or "they are in another order"
    return IntakeError(f"“{short(name)}” has other columns than “{short(first_name)}”: {difference}.", _HINT)
