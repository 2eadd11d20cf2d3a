"""Files as one table: read as they are where pandas and Azure ML do, else made Parquet; or looked at by a sample, before that.

`describe` is what a workspace calls, `sample` what a proposal is made of. The work is done by `python -m services.intake.tables ROOT
FOLDER`, which reads what is asked of it from its standard input: pandas, pyarrow and DuckDB have no place in the dashboard's process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from services import PROJECT_ROOT, PYTHON
from services.domain import DatasetFile, TableReading, column_type_of
from services.errors import IntakeError, SettingsError, StudioError
from services.file_names import short
from services.formats import counted
from services.intake import sniffing
from services.intake.csv_records import CsvFile, NotUtf8
from services.intake.sniffing import CSV, EXCEL, JSON_LINES, PARQUET, Dialect
from services.intake.tabular import FILES, Table, first_rows, inspect_table, leading_zeros_note, parquet_errors
from services.storage.file_tree import sha256_of
from services.storage.manifest import SOURCES, SourceFile, manifest_line, present_state, read_manifest, write_sources

CONVERTED = "converted"
"""The folder below that of the lists where files are that were made Parquet."""

SAMPLE_SECONDS = 180
"""That a sample may take."""

_SAMPLED_FILES = 20
_SAMPLED_BYTES, _MOST_SAMPLED = 1 << 19, 1 << 23  # of a text
_SAMPLED_RECORDS = 5  # of a text, if there are so many in the most that is sampled
_SAMPLED_ROWS = 1_000  # of a Parquet file
_SHOWN_ROWS, _SHOWN_COLUMNS, _SHOWN_LENGTH = 20, 200, 200
_COUNTED_BYTES = 1 << 30  # of texts whose lines are counted


@dataclass(frozen=True)
class Reading:
    """A table, and how its files were read. `types` are those of its columns in words. `converted`: whether files had to be made of them.
    Of a sample, `rows` are the first ones as texts, and the table's row count is of all files, None where that isn't known."""

    table: Table
    source_format: str
    dialect: Mapping[str, str]
    types: tuple[str, ...]
    converted: bool
    reading: TableReading
    rows: tuple[tuple[str, ...], ...] = ()
    sheets: tuple[str, ...] = ()


def describe(root: Path, folder: Path, reading: TableReading, *, as_parquet: bool = False) -> Reading:
    """Read all files below `root` that `folder`/files.jsonl lists. Writes the manifest there; where files had to be converted, as all texts
    are with `as_parquet`, these are in `folder`/converted, files.jsonl lists them instead, and sources.jsonl what each was made of. Takes
    seconds and more. Raises IntakeError
    naming the file and the record that keep them from being one table, SettingsError on delimiter, decimal, quote, encoding, column or
    sheet."""
    sniffing.check_reading(reading)
    return _asked(root, folder, {"reading": asdict(reading), "sample": False, "as_parquet": as_parquet})


def sample(root: Path, folder: Path, reading: TableReading) -> Reading:
    """What the beginnings of some files tell, in seconds. Raises as `describe`."""
    sniffing.check_reading(reading)
    return _asked(root, folder, {"reading": asdict(reading), "sample": True})


def _asked(root: Path, folder: Path, question: Mapping[str, Any]) -> Reading:
    command = [*PYTHON, "-m", "services.intake.tables", str(root.absolute()), str(folder.absolute())]
    seconds = SAMPLE_SECONDS if question["sample"] else None
    asked = json.dumps(question).encode()
    try:
        child = subprocess.run(command, cwd=PROJECT_ROOT, input=asked, capture_output=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        text = f"What the files are could not be determined within {SAMPLE_SECONDS} s."
        raise IntakeError(text, "Say yourself whether files or rows are the items.") from error
    if child.returncode not in (0, 2, 3):
        last_words = child.stderr.decode(errors="replace").strip().split("\n")[-1] or f"its process ended with code {child.returncode}"
        raise StudioError(f"The files could not be looked at: {last_words}", "This machine may be short of memory or disk space.")
    answer = json.loads(child.stdout.splitlines()[-1])
    if child.returncode == 2:
        raise IntakeError(answer["message"], answer["hint"])
    if child.returncode == 3:
        raise SettingsError(answer["field"], answer["message"], answer["hint"])
    said = answer["table"]
    zeros = tuple(map(tuple, said["leading_zeros"]))
    table = Table(said["format"], tuple(map(tuple, said["columns"])), said["row_count"], tuple(said["notes"]), zeros)
    told = TableReading(**answer["reading"] | {"sheets": tuple(answer["reading"]["sheets"])})
    rows, sheets = tuple(map(tuple, answer["rows"])), tuple(answer["sheets"])
    return Reading(table, answer["source_format"], answer["dialect"], tuple(answer["types"]), answer["converted"], told, rows, sheets)


# ---- in the process of its own ---------------------------------------------------------------------------------------------------------


@dataclass
class _Files:
    """The files below `root`, by their names, and what they are."""

    root: Path
    folder: Path
    listed: list[DatasetFile]
    names: list[str] = field(init=False)
    formats: list[sniffing.FileFormat] = field(init=False)
    format: str = field(init=False)

    def __post_init__(self) -> None:
        self.names = [file.path for file in self.listed]
        self.formats = [sniffing.format_of(self.root / name, name) for name in self.names]
        self.format = sniffing.one_format(list(zip(self.names, self.formats, strict=True)))

    @property
    def paths(self) -> list[tuple[str, Path]]:
        return [(name, self.root / name) for name in self.names]

    def texts(self, first: Dialect, reading: TableReading) -> list[tuple[str, Path, Dialect]]:
        """The files, each with its own encoding and compression; but for these all are read alike."""
        found = []
        for (name, path), its in zip(self.paths, self.formats, strict=True):
            given = sniffing.canonical(reading.encoding) if reading.encoding else ""
            encoding = given or sniffing.encoding_of(path, name, its.compression)
            found.append((name, path, replace(first, encoding=encoding, compression=its.compression)))
        return found


def read_table(root: Path, folder: Path, reading: TableReading, *, as_parquet: bool = False) -> Reading:
    """As `describe`, but in this process."""
    files = _Files(root, folder, list(read_manifest(folder / FILES)))
    if files.format == CSV:
        return _read_csv(files, reading, as_parquet=as_parquet)
    if files.format == PARQUET:
        from services.intake.parquet_conversion import ParquetConversion

        conversion = ParquetConversion(files.paths, reading.types)
        if not conversion.needed:
            return _described(files, Reading(inspect_table(root, folder), PARQUET, {}, (), False, reading))
        return _converted(files, conversion.convert(folder / CONVERTED), {}, reading)
    if files.format == JSON_LINES:
        from services.intake.json_lines import JsonLines

        texts = files.texts(Dialect(), reading)
        notes, first = JsonLines(texts, reading.types, folder).convert(folder / CONVERTED), texts[0][2]
        words = {"encoding": first.encoding} | ({"compression": first.compression} if first.compression else {})
        return _converted(files, notes, words, replace(reading, encoding=first.encoding))
    from services.intake.spreadsheets import WorkbookConversion

    workbooks = WorkbookConversion(files.paths, reading.types, reading.sheets, reading.header)
    notes = workbooks.convert(folder / CONVERTED)
    header = "off" if reading.header is False else "on"
    told = replace(reading, sheets=workbooks.read, header=reading.header is not False)
    dialect = {"sheet": ", ".join(workbooks.read), "header": header}
    made = _converted(files, notes, dialect, told, leading_zeros=workbooks.leading_zeros, made_of=workbooks.made_of)
    return replace(made, sheets=workbooks.sheets)


def _read_csv(files: _Files, reading: TableReading, *, as_parquet: bool) -> Reading:
    from services.intake.csv_conversion import CsvConversion

    name, compression = files.names[0], files.formats[0].compression
    first = sniffing.sniff(files.root / name, name, reading, compression, files.folder)
    told = first.as_reading(reading)
    if first.is_plain and not (as_parquet or reading.types or any(its.compression for its in files.formats)):
        try:
            return _described(files, Reading(inspect_table(files.root, files.folder), CSV, first.describe(), (), False, told))
        except NotUtf8:
            if reading.encoding is not None:
                raise
    texts = files.texts(first, reading)
    is_told = reading.decimal is not None or first.decimal == "," or first.delimiter == ","
    conversion = CsvConversion(texts, reading.types, files.folder, decimal_is_told=is_told)
    notes = conversion.convert(files.folder / CONVERTED)
    first = replace(texts[0][2], decimal=conversion.decimal)
    told = first.as_reading(reading)
    others = {dialect.encoding for _, _, dialect in texts} - {"utf-8"}
    guessed = sorted(others) if reading.encoding is None else []
    if guessed and not guessed[0].startswith("utf"):
        notes = (f"Read as {', '.join(guessed)} text, since not all of it is UTF-8: look whether all letters are right.", *notes)
    if not first.header:
        notes = (f"The files have no header, so the columns are called Column1 to Column{_width(files)}.", *notes)
    source_format = "tsv" if first.delimiter == "\t" else CSV
    return _converted(files, notes, first.describe(), told, source_format, conversion.leading_zeros)


def _width(files: _Files) -> int:
    from pyarrow import parquet

    made = next((files.folder / CONVERTED).rglob("*.parquet"))
    return len(parquet.read_schema(made).names)


def _described(files: _Files, found: Reading) -> Reading:
    """With the types of the columns in words, and what is to be said of columns that are called otherwise than in the files."""
    if found.table.format == PARQUET:
        return replace(found, types=_parquet_types(files.root / files.names[0]))
    from services.intake.csv_conversion import renamed_columns

    with open(files.root / files.names[0], "rb") as opened:
        header, _ = CsvFile(opened, files.names[0]).header()
    notes = renamed_columns(header, [name for name, _ in found.table.columns])
    table = replace(found.table, notes=(*found.table.notes, *notes))
    return replace(found, table=table, types=tuple(column_type_of(dtype) for _, dtype in table.columns))


def _parquet_types(path: Path) -> tuple[str, ...]:
    from pyarrow import parquet

    from services.intake.column_types import word_of

    return tuple(map(word_of, parquet.read_schema(path)))


def _converted(
    files: _Files, notes: Sequence[str], dialect: Mapping[str, str], reading: TableReading, source_format: str = "",
    leading_zeros: tuple[tuple[str, str], ...] = (), made_of: Mapping[str, Sequence[str]] | None = None,
) -> Reading:  # fmt: skip
    """The files that were made, listed and described in the place of those that they were made of. `made_of` are the paths of what was
    made of each by its path, where that is not one file of the same name."""
    target = files.folder / CONVERTED
    made_of = made_of or {name: [f"{name}.parquet"] for name in files.names}
    write_sources(files.folder / SOURCES, (_source(files.root, file, target, made_of[file.path]) for file in files.listed))
    made = sorted(path.relative_to(target).as_posix() for path in target.rglob("*.parquet"))
    with open(files.folder / FILES, "wb") as lines:
        for name in made:
            info = os.stat(target / name)
            lines.write(manifest_line(DatasetFile(name, info.st_size, info.st_mtime_ns)))
    table = inspect_table(target, files.folder)
    table = replace(table, notes=(*notes, *leading_zeros_note(leading_zeros), *table.notes), leading_zeros=leading_zeros)
    return Reading(table, source_format or files.format, dict(dialect), _parquet_types(target / made[0]), True, reading)


def _source(root: Path, file: DatasetFile, target: Path, made: Sequence[str]) -> SourceFile:
    """What files were made of. These get its time of modification: made of the same file once more they are the same."""
    for name in made:
        os.utime(target / name, ns=(file.modified_ns, file.modified_ns))
    state = (file.size, file.modified_ns)
    sha256 = sha256_of(root / file.path) if present_state(str(root), file) == state else ""
    unchanged = present_state(str(root), file) == state  # also while it was read
    return SourceFile(file.path, *state, sha256 if unchanged else "", made)


# ---- a sample ---------------------------------------------------------------------------------------------------------------------------


def sample_table(root: Path, folder: Path, reading: TableReading) -> Reading:
    """As `sample`, but in this process: the beginnings of some files are written into `folder` and read as a table."""
    listed = list(read_manifest(folder / FILES))
    step = -(-len(listed) // _SAMPLED_FILES)
    beginnings = folder / "beginnings"
    whole = True
    for file in listed[::step]:
        target = beginnings / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        its = sniffing.format_of(root / file.path, file.path)
        if its.format == PARQUET:
            _first_rows(root / file.path, target)
        elif its.format == EXCEL:
            os.symlink(root / file.path, target)
        else:
            whole = _beginning(root / file.path, target, its.compression) and whole
    sampled = [manifest_line(DatasetFile(file.path, 0, (beginnings / file.path).stat().st_mtime_ns)) for file in listed[::step]]
    (folder / FILES).write_bytes(b"".join(sampled))
    lists = folder / "lists"
    lists.mkdir()
    (folder / FILES).rename(lists / FILES)
    found = read_table(beginnings, lists, reading)
    rows, header = found.table.row_count or 0, found.reading.header is not False
    count = (
        _row_count(root, listed, found.source_format, header=header) if step > 1 or not whole or found.source_format == PARQUET else rows
    )
    return replace(found, table=replace(found.table, row_count=count), rows=_shown(found, beginnings, lists))


def _beginning(path: Path, target: Path, compression: str) -> bool:
    """Whether all of it is there."""
    with sniffing.content_of(path, path.name, compression) as content:
        head = content.read(_SAMPLED_BYTES)
        while head.count(b"\n") < _SAMPLED_RECORDS and len(head) < _MOST_SAMPLED and (more := content.read(_SAMPLED_BYTES)):
            head += more  # of very many columns
        if not (more := content.read(1)):
            pass
        elif head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.count(0) > len(head) // 4:
            end = max(head.rfind(b"\n\0"), head.rfind(b"\0\n")) // 2 * 2
            head = head[: end + 2] if end > 0 else head
        else:
            end = max(head.rfind(b"\n"), head.rfind(b"\r") if b"\n" not in head else -1)
            while end > 0 and head.count(b'"', 0, end + 1) % 2:  # within quotes
                end = head.rfind(b"\n", 0, end)
            head = head[: end + 1] if end > 0 else head + more + content.readline(1 << 24)
    target.write_bytes(head)
    return not more


def _first_rows(path: Path, target: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    with parquet_errors(path.name), parquet.ParquetFile(path, buffer_size=1 << 16) as opened:
        batch = next(opened.iter_batches(_SAMPLED_ROWS), None)
        parquet.write_table(pyarrow.Table.from_batches([batch] if batch else [], opened.schema_arrow), target)


def _row_count(root: Path, listed: Sequence[DatasetFile], source_format: str, *, header: bool) -> int | None:
    """Of all files: by Parquet's own counts, or by the lines of texts; None where that would take long or isn't exact."""
    if source_format == PARQUET:
        from pyarrow import parquet

        count = 0
        for file in listed:
            with parquet_errors(file.path):
                count += parquet.read_metadata(root / file.path).num_rows
        return count
    if sum(file.size for file in listed) > _COUNTED_BYTES or source_format == EXCEL:
        return None
    count = 0
    for file in listed:
        with open(root / file.path, "rb") as opened:
            last = b"\n"
            while block := opened.read(1 << 20):
                if b'"' in block or block.startswith(b"\x1f\x8b") or b"\0" in block or b"\n\n" in block or b"\n\r\n" in block:
                    return None
                count += block.count(b"\n")
                last = block[-1:]
            count += (last != b"\n") - (header and source_format != JSON_LINES)
    return count


def _shown(found: Reading, beginnings: Path, lists: Path) -> tuple[tuple[str, ...], ...]:
    """The first rows of the first file, as they would be read."""
    import pandas

    first = next(read_manifest(lists / FILES)).path
    if found.table.format == PARQUET:
        frame = first_rows((lists / CONVERTED if found.converted else beginnings) / first, _SHOWN_ROWS, _SHOWN_COLUMNS).to_pandas()
    else:
        types = {name: "str" for name, dtype in found.table.columns if dtype == "str"}
        frame = pandas.read_csv(beginnings / first, nrows=_SHOWN_ROWS, low_memory=False, dtype=types).iloc[:, :_SHOWN_COLUMNS]
    return tuple(
        tuple("" if pandas.api.types.is_scalar(value) and pandas.isna(value) else _cell(value) for value in row)
        for row in frame.itertuples(index=False, name=None)
    )


def _cell(value: object) -> str:
    text = str(value).removesuffix(" 00:00:00")
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def main() -> int:
    question = json.load(sys.stdin)
    given = question["reading"]
    reading = TableReading(**given | {"sheets": tuple(given["sheets"])})
    root, folder = map(Path, sys.argv[1:])
    try:
        if question["sample"]:
            found = sample_table(root, folder, reading)
        else:
            found = read_table(root, folder, reading, as_parquet=question["as_parquet"])
    except SettingsError as error:
        print(json.dumps({"field": error.field, "message": error.message, "hint": error.hint}))
        return 3
    except IntakeError as error:
        print(json.dumps({"message": error.message, "hint": error.hint}))
        return 2
    except MemoryError:
        names = [file.path for file in read_manifest(folder / FILES)] if (folder / FILES).exists() else []
        message = f"{counted(len(names), 'file')}, “{short(names[0]) if names else ''}” first, need more memory than there is."
        print(json.dumps({"message": message, "hint": "Choose fewer or smaller files."}))
        return 2
    print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
