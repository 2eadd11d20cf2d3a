"""Parquet files of an archive, rewritten: what is kept was written by this program, whatever came in.

`python -m services.handover.archive_tables KIND SOURCE TARGET` does it, in a process of its own with a limit on its memory: a file that is
made to break what reads it breaks that process. Nothing in a Parquet file is executed, and nothing it names is opened; only columns, types
and notes that a table of predictions or labels can have are taken.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import PROJECT_ROOT, PYTHON
from services.errors import IntakeError, NotFound
from services.handover.archive_format import LARGEST_NUMBER
from services.predictions.columns import COLUMNS, FRAME, INPUT_FILE, MOST_CLASSES, MOST_COLUMNS, ROW_NUMBER, STATUSES, Kind, text_array

if TYPE_CHECKING:
    import pyarrow

PREDICTIONS, LABELS = "predictions", "labels"
_MEMORY = 4 << 30
_SECONDS = 6 * 3600
_ROWS = 122_880
_LARGEST_GROUP = 2 << 30
_LONGEST_NAME = 1_000
_TYPES = {
    "File": "text", ROW_NUMBER: "int64", "Prediction": "", "Number": "number", "Status": "text", "Matched by": "text", "Error": "text",
    "Cause": "text", "Mini-batch": "int64", "Worker": "text", "Attempts": "int64", "Seconds": "double", "Folder": "text",
    INPUT_FILE: "text", "Place": "int32",
    "Scored at": "timestamp[us]",
}  # fmt: skip
_LABELS = {"Name": "text", "Row": "int64", "Label": "text", "Contradicting": "bool"}


class Refused(Exception):
    """Why a file isn't taken, in part of a sentence."""


def rewrite(kind: str, source: Path, target: Path) -> str:
    """Rewrite the table or the labels at `source` as `target`; the SHA-256 of what they say, the same however it is written. Raises
    IntakeError for a file that is not one."""
    command = [*PYTHON, "-m", "services.handover.archive_tables", kind, str(source), str(target)]
    try:
        done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, encoding="utf-8", timeout=_SECONDS, check=False)
        answer = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"refused": "reading it failed"}
    except (subprocess.TimeoutExpired, ValueError):
        answer = {"refused": "reading it failed"}
    if reason := answer.get("refused"):
        raise IntakeError(f"“{source.name}” in the archive can't be read as a table: {reason}.", "Export the run again.")
    return str(answer["sha256"])


# ---- in the process ----------------------------------------------------------------------------------------------------------------------


def _rewrite(kind: str, source: Path, target: Path) -> str:
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(source) as file:
        schema, metadata = file.schema_arrow, file.metadata
        if any(metadata.row_group(group).total_byte_size > _LARGEST_GROUP for group in range(metadata.num_row_groups)):
            raise Refused("its parts are too large")
        names = schema.names
        most = MOST_COLUMNS + len(COLUMNS) + 2
        if len(set(names)) != len(names) or len(names) > most or any(len(name) > _LONGEST_NAME for name in names):
            raise Refused("it has too many columns, or two of one name")
        notes = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        kept = _of_predictions(schema, notes) if kind == PREDICTIONS else _of_labels(schema, notes)
        counts: Counter[str] = Counter()
        plain = pa.schema([pa.field(field.name, field.type, field.nullable) for field in schema])
        status = json.loads(kept["own"])["Status"] if kind == PREDICTIONS else ""
        texts = [field.name for field in plain if _text(field.type)]
        contents = [_Content() for _ in plain]
        own = {column: name for name, column in json.loads(kept["own"]).items() if name not in ("Prediction", "Number")} if status else {}
        with parquet.ParquetWriter(target, plain, compression="lz4", use_dictionary=texts, store_schema=False) as writer:
            for batch in file.iter_batches(_ROWS, use_threads=False):
                batch.validate(full=True)
                for name, column, content in zip(names, batch.columns, contents, strict=True):
                    _check_values(own.get(name, "") if status else name, column)
                    content.add(column)
                if status:
                    counts.update({str(value): count for value, count in _counted(batch.column(batch.schema.get_field_index(status)))})
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=plain), row_group_size=_ROWS)
            if status:
                if set(counts) - set(STATUSES):
                    raise Refused("its rows have an unknown status")
                kept["rows"] = json.dumps({status: counts.get(status, 0) for status in STATUSES})
            writer.add_key_value_metadata(kept)
    said = json.dumps([sorted(kept.items()), [[name, content.sha256s()] for name, content in zip(names, contents, strict=True)]])
    if kind == PREDICTIONS:
        from services.predictions.summary_writer import summarize

        summarize(target, json.loads(kept["own"]), {name: Kind(value) for name, value in json.loads(kept["columns"]).items()})
    return hashlib.sha256(said.encode()).hexdigest()


class _Content:
    """What is in a column, whatever its batches, its encoding and the width of its offsets are."""

    def __init__(self) -> None:
        self._parts = [hashlib.sha256() for _ in range(3)]

    def add(self, column: pyarrow.Array) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = pc.fill_null(column.cast(pa.large_string()), text_array([""])[0])
        for sha, part in zip(self._parts, (column.is_null().cast(pa.uint8()), pc.binary_length(texts)), strict=False):
            width = part.type.bit_width // 8
            sha.update(memoryview(part.buffers()[1])[width * part.offset : width * (part.offset + len(part))])
        _, offsets, characters = texts.buffers()
        ends = memoryview(offsets).cast("q")
        if characters is not None and len(texts):
            self._parts[2].update(memoryview(characters)[ends[texts.offset] : ends[texts.offset + len(texts)]])

    def sha256s(self) -> list[str]:
        return [sha.hexdigest() for sha in self._parts]


def _check_values(name: str, column: pyarrow.Array) -> None:
    """Raises Refused for numbers that no run can have in a column of the table's own, and for times that Python does not have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = column.type
    if pa.types.is_timestamp(type_) or pa.types.is_date32(type_):
        a_day = 1 if pa.types.is_date32(type_) else 86_400_000_000
        first, last = ((day - date(1970, 1, 1)).days * a_day for day in (date.min, date.max))
        column = column.cast(pa.int32()).cast(pa.int64()) if pa.types.is_date32(type_) else column.cast(pa.int64())
    elif name in _TYPES or name in _LABELS:
        first, last = -1, LARGEST_NUMBER
    else:
        return
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        least, most = pc.min_max(column).as_py().values()
        finite = pa.types.is_integer(column.type) or pc.all(pc.is_finite(column)).as_py() is not False
        if least is not None and not (finite and first <= least and most <= last):
            raise Refused(f"its column {name} has a value out of range")


def _counted(column: pyarrow.Array) -> list[tuple[Any, int]]:
    import pyarrow.compute as pc

    return [(item["values"], item["counts"]) for item in pc.value_counts(column).to_pylist()]


def _text(type_: pyarrow.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _is(type_: pyarrow.DataType, wanted: str) -> bool:
    import pyarrow as pa

    if wanted == "text":
        return _text(type_)
    if wanted == "number":
        return bool(pa.types.is_float64(type_) or pa.types.is_int64(type_) or pa.types.is_decimal128(type_))
    if wanted:
        return str(type_) == wanted
    return _is(type_, "text") or _is(type_, "number") or str(type_) in ("bool", "int32", "date32[day]", "timestamp[us]")


def _of_predictions(schema: pyarrow.Schema, notes: Mapping[str, str]) -> dict[str, str]:
    """The notes of a table of predictions that are kept. Raises Refused."""
    types = {field.name: field.type for field in schema}
    own, columns = _json(notes, "own"), _json(notes, "columns")
    if not _all_texts(own) or not set(COLUMNS) - {ROW_NUMBER, INPUT_FILE} <= set(own) <= set(COLUMNS) or len(set(own.values())) != len(own):
        raise Refused("its own columns are not named")
    if not _all_texts(columns) or set(columns) != set(types) - {FRAME} or not set(own.values()) <= set(columns):
        raise Refused("its columns are not those it names")
    for name, column in own.items():
        if not _is(types[column], _TYPES[name]):
            raise Refused(f"its column {name} is of another type")
    if not all(_is(type_, "") for type_ in types.values()):
        raise Refused("a column is of an unsupported type")
    kinds = {str(kind) for kind in Kind}
    if not set(columns.values()) <= kinds or notes.get("kind", "text") not in kinds:
        raise Refused("a column is of an unknown kind")
    kept = {"kind": notes.get("kind", "text"), "own": json.dumps(own), "columns": json.dumps(columns)}
    if "classes" in notes:
        classes = _json(notes, "classes")
        if not isinstance(classes, list) or len(classes) > MOST_CLASSES or not all(isinstance(each, str) for each in classes):
            raise Refused("its classes are not texts")
        kept["classes"] = json.dumps(classes)
    if "left_out" in notes:
        if not (notes["left_out"].isascii() and notes["left_out"].isdecimal() and len(notes["left_out"]) < 10):
            raise Refused("its number of left-out columns is not a number")
        kept["left_out"] = notes["left_out"]
    if "whole" in notes:
        if notes["whole"] not in types:
            raise Refused("its column of whole rows is missing")
        kept["whole"] = notes["whole"]
    return kept | dict.fromkeys({"lower_files", "repeated"} & set(notes), "true")


def _of_labels(schema: pyarrow.Schema, notes: Mapping[str, str]) -> dict[str, str]:
    types = {field.name: field.type for field in schema}
    if not set(_LABELS) - {"Row"} <= set(types) <= set(_LABELS) or not all(_is(types[name], _LABELS[name]) for name in types):
        raise Refused("its columns are not those of labels")
    texts = {name: _json(notes, name) for name in ("name", "own_column") if name in notes}
    if not _all_texts(texts):
        raise Refused("its name is not text")
    return {name: json.dumps(text) for name, text in texts.items()}


def _json(notes: Mapping[str, str], name: str) -> Any:
    try:
        return json.loads(notes[name])
    except (KeyError, ValueError, RecursionError) as error:
        raise Refused(f"its note {name} can't be read") from error


def _all_texts(values: object) -> bool:
    return isinstance(values, dict) and all(isinstance(text, str) and len(text) <= _LONGEST_NAME for text in values.values())


def main() -> int:
    kind, source, target = sys.argv[1:]
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = _MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        sha256 = _rewrite(kind, Path(source), Path(target))
    except Refused as refused:
        print(json.dumps({"refused": str(refused)}))
    except (NotFound, OSError, MemoryError, ValueError, TypeError, KeyError) as error:  # pyarrow's are ValueErrors and OSErrors
        print(json.dumps({"refused": " ".join(str(error).split())[:300] or type(error).__name__}))
    else:
        print(json.dumps({"sha256": sha256}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
