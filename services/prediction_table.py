"""A run's typed table, written: one Parquet file, made anew from the mini-batches and put in place as a whole.

pyarrow takes 0.2 s to import, so it is imported where it is used. `pa.array` and `pa.scalar` would import pandas as well, another 0.4 s:
arrays are made of buffers instead.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from services.errors import WorkspaceUnavailable
from services.prediction_rows import STATUSES, ReadRows, ScoredMiniBatch, Status, read_rows

COLUMNS = (
    "File", "Prediction", "Number", "Status", "Error", "Mini-batch", "Worker", "Attempts", "Seconds", "Folder", "Place", "Scored at",
)  # fmt: skip
"""Of every table. Number is the prediction where it is one; Place its place among the rows of its mini-batch; Scored at is UTC."""


FRAME = '".columns"'
"""In SQL: the column beside them that says which DataFrame a row is of. Nobody is shown it."""


class Kind(StrEnum):
    """What the predictions of a table are, all of them."""

    WHOLE_NUMBER = "whole number"
    NUMBER = "number"
    CATEGORY = "category"
    TEXT = "text"
    DATE = "date"
    """Of columns only: date and time, UTC."""


_ROWS_AT_A_TIME = 122_880
_CHARACTERS_AT_A_TIME = 32_000_000
_MOST_CLASSES = 50
_NAME = r"(?s)/?[^/]*$"
_STRUCTURED = r"(?s)^\s*[\[{].*[\]}]\s*$"
WHOLE = r"^-?(0|[1-9][0-9]{0,17})$"
NUMBER = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$"


def make_table(mini_batches: Iterable[ScoredMiniBatch], path: Path) -> None:
    """Write the table of these mini-batches, in their order, beside `path` and put it in place at once. Memory stays constant.

    Raises WorkspaceUnavailable where it can't be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        try:
            if metadata := _write(mini_batches, unfinished):
                _unfold(unfinished, metadata)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise WorkspaceUnavailable(
            f"The table of predictions, {path}, can't be written: {error.strerror or error}.",
            "Check that the folder exists, can be written and that its disk is not full.",
        ) from error


def _write(mini_batches: Iterable[ScoredMiniBatch], path: Path) -> dict[str, str]:
    """Write the table with the prediction as one column. What it says of itself, where that may hold several values; else nothing."""
    import pyarrow as pa
    from pyarrow import parquet

    texts, whole = pa.dictionary(pa.int32(), pa.large_string()), pa.int64()
    types = (
        pa.large_string(), texts, pa.float64(), texts, texts, whole, texts, whole, pa.float64(), texts, pa.int32(), pa.timestamp("us"),
    )  # fmt: skip
    kind, counts, structured = _KindSoFar(), Counter[str](), False
    with (
        open(path, "xb") as file,
        parquet.ParquetWriter(
            file,
            pa.schema([*zip(COLUMNS, types, strict=True), (FRAME.strip('"'), texts)]),
            compression="lz4",
            use_dictionary=[*COLUMNS[1:], FRAME.strip('"')],
            store_schema=False,
        ) as writer,
        ThreadPoolExecutor(1) as thread,
    ):

        def write(rows: _RowGroup) -> None:
            writer.write_table(pa.Table.from_arrays(rows.columns(kind), schema=writer.schema))

        written: list[Future[None]] = []
        for rows in _row_groups(mini_batches):  # pyarrow writes one group while the next is read
            for group in written:
                group.result()
            written = [thread.submit(write, rows)]
            counts.update({status: rows.statuses.count(place) for place, status in enumerate(STATUSES)})
            structured = structured or any(rows.frames)
        for group in written:
            group.result()
        kinds = dict(zip(COLUMNS, map(_kind_of, types), strict=True)) | {"Prediction": kind.decided()}
        metadata = {"kind": str(kind.decided()), "columns": json.dumps(kinds), "rows": json.dumps(counts)}
        if kind.texts is not None:
            metadata["classes"] = json.dumps(sorted(kind.texts))
        if kind.lower_files:
            metadata["lower_files"] = "true"
        writer.add_key_value_metadata(metadata)
    return metadata if structured or kind.any_structured else {}


def _unfold(written: Path, metadata: dict[str, str]) -> None:
    """Put what the predictions hold into columns of their own. Where that can't be done the table stays as it was written."""
    import duckdb

    from services.prediction_unfold import unfold

    unfinished = written.with_name(f"{written.name}.unfolded")
    try:
        if unfold(written, metadata, unfinished):
            os.replace(unfinished, written)
    except duckdb.Error as error:
        logging.getLogger(__name__).warning("the predictions were not unfolded into columns: %s", error)
    finally:
        unfinished.unlink(missing_ok=True)


def _kind_of(type_: Any) -> Kind:
    import pyarrow as pa

    if pa.types.is_timestamp(type_):
        return Kind.DATE
    if pa.types.is_dictionary(type_):
        return Kind.CATEGORY
    return Kind.NUMBER if pa.types.is_floating(type_) else Kind.WHOLE_NUMBER if pa.types.is_integer(type_) else Kind.TEXT


@dataclass
class _RowGroup:
    """Rows of a number of mini-batches, not yet written."""

    files: list[str] = field(default_factory=list)
    predictions: list[str | None] = field(default_factory=list)
    statuses: bytearray = field(default_factory=bytearray)
    errors: list[str | None] = field(default_factory=list)
    mini_batches: list[tuple[int, str, int, float, float]] = field(default_factory=list)
    row_counts: list[int] = field(default_factory=list)
    rows_before: list[int] = field(default_factory=list)
    frames: list[str | None] = field(default_factory=list)
    earlier_attempts: dict[int, int] = field(default_factory=dict)
    characters: int = 0

    def add(self, mini_batch: ScoredMiniBatch, rows: ReadRows) -> None:
        if mini_batch.earlier_attempts:
            tried = enumerate(map(mini_batch.earlier_attempts.get, rows.files), len(self.files))
            self.earlier_attempts |= {row: count for row, count in tried if count}
        self.files += rows.files
        self.predictions += rows.predictions
        self.statuses += rows.statuses
        self.errors += rows.errors
        self.mini_batches.append((mini_batch.index, mini_batch.worker, mini_batch.attempts, mini_batch.seconds, mini_batch.ended_at))
        self.row_counts.append(len(rows.files))
        self.rows_before.append(mini_batch.rows_before)
        self.frames.append(mini_batch.columns or None)
        self.characters += sum(map(len, mini_batch.rows))

    def columns(self, kind: _KindSoFar) -> list[Any]:
        """The arrays of COLUMNS and FRAME. `kind` is told of the predictions."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        predictions = text_array(self.predictions).dictionary_encode()
        statuses = np.frombuffer(bytes(self.statuses), np.int8)
        kind.see(predictions.filter(pc.cast(_array(statuses == STATUSES.index(Status.SUCCEEDED), pa.uint8()), pa.bool_())))
        indices, workers, attempts, seconds, ended_at = zip(*self.mini_batches, strict=True)
        mini_batch = np.repeat(np.arange(len(self.row_counts)), self.row_counts)
        attempts_of_rows = np.array(attempts, np.int64)[mini_batch]
        if self.earlier_attempts:
            attempts_of_rows[list(self.earlier_attempts)] += list(self.earlier_attempts.values())
        ends = np.cumsum(self.row_counts)
        places = np.arange(len(self.files)) - (ends - self.row_counts - self.rows_before)[mini_batch]
        files = text_array(self.files)
        kind.see_all(self.files, predictions.dictionary)
        return [
            files,
            predictions,
            _numbers(predictions.dictionary).take(predictions.indices),
            pa.DictionaryArray.from_arrays(_array(statuses, pa.int8()).cast(pa.int32()), text_array(STATUSES)),
            (text_array(self.errors) if any(self.errors) else pa.nulls(len(self.errors), pa.large_string())).dictionary_encode(),
            _array(np.array(indices, np.int64)[mini_batch], pa.int64()),
            text_array(workers).dictionary_encode().take(_array(mini_batch, pa.int64())),
            _array(attempts_of_rows, pa.int64()),
            _array(np.array(seconds, np.float64)[mini_batch], pa.float64()),
            pc.replace_substring_regex(files, _NAME, "").dictionary_encode(),
            _array(places.astype(np.int32), pa.int32()),
            _array((np.array(ended_at, np.float64) * 1e6).astype(np.int64)[mini_batch], pa.timestamp("us")),
            text_array(self.frames).dictionary_encode().take(_array(mini_batch, pa.int64())),
        ]


def _row_groups(mini_batches: Iterable[ScoredMiniBatch]) -> Iterator[_RowGroup]:
    group = _RowGroup()
    for mini_batch in mini_batches:
        rows = mini_batch.read or read_rows(mini_batch)
        group.add(mini_batch, rows.without(mini_batch.left_out) if mini_batch.left_out else rows)
        if len(group.files) >= _ROWS_AT_A_TIME or group.characters >= _CHARACTERS_AT_A_TIME:
            yield group
            group = _RowGroup()
    if group.files:
        yield group


def readable(text: str) -> str:
    r"""Undecodable bytes, which Python keeps as lone surrogates, as `\xff`: a table and a CSV file are UTF-8."""
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        encoded = text.encode("utf-8", "backslashreplace")
    return encoded.decode("utf-8", "backslashreplace")


def text_array(texts: Sequence[str | None]) -> Any:
    """An Arrow array of these texts, each made readable."""
    import numpy as np
    import pyarrow as pa

    present: Any = texts
    count, validity = len(texts), None
    if None in texts:
        validity = pa.py_buffer(np.packbits([text is not None for text in texts], bitorder="little"))
        present = [text or "" for text in texts]
    characters = "".join(present)
    if characters.isascii():
        encoded, lengths = characters.encode(), map(len, present)
    else:
        pieces = [readable(text).encode() for text in present]
        encoded, lengths = b"".join(pieces), map(len, pieces)
    ends = np.zeros(count + 1, np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, count), out=ends[1:])
    return pa.LargeStringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(encoded), validity)


def _array(values: Any, type_: Any) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(values)])


def _numbers(texts: Any) -> Any:
    """The texts that are numbers as a person or a program writes them, as doubles; null for any other. `007`, `+1`, `nan` are text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pc.if_else(pc.match_substring_regex(texts, NUMBER), texts, pa.nulls(len(texts), texts.type)).cast(pa.float64())
    return pc.if_else(pc.is_finite(numbers), numbers, pa.nulls(len(texts), numbers.type))


@dataclass
class _KindSoFar:
    """Decides the kind of the predictions, of succeeded items, over all of them; but told them in parts."""

    count: int = 0
    classes: set[str] = field(default_factory=set)
    all_whole: bool = True
    all_numbers: bool = True
    any_structured: bool = False
    texts: set[str] | None = field(default_factory=set)
    """All predictions, of unmatched rows too; None where they are many."""
    lower_files: bool = True

    def see_all(self, files: Sequence[str], distinct: Any) -> None:
        names = "".join(files)
        self.lower_files = self.lower_files and names == names.lower()
        if self.texts is not None:
            self.texts.update(distinct.slice(0, _MOST_CLASSES + 1).to_pylist())
            if len(distinct) > _MOST_CLASSES or len(self.texts) > _MOST_CLASSES:
                self.texts = None

    def see(self, predictions: Any) -> None:
        import pyarrow.compute as pc

        distinct = predictions.unique().dictionary_decode()
        self.count += len(predictions)
        if len(self.classes) <= _MOST_CLASSES:
            self.classes.update(distinct.slice(0, _MOST_CLASSES + 1).to_pylist())
        self.any_structured = self.any_structured or pc.any(pc.match_substring_regex(distinct, _STRUCTURED)).as_py() is True
        self.all_numbers = self.all_numbers and _numbers(distinct).null_count == 0
        self.all_whole = self.all_whole and pc.all(pc.match_substring_regex(distinct, WHOLE)).as_py() is not False

    def decided(self) -> Kind:
        few = len(self.classes) <= min(_MOST_CLASSES, self.count / 2)
        if self.count and few and (self.all_whole or not self.all_numbers):
            return Kind.CATEGORY
        if self.count and self.all_numbers:
            return Kind.WHOLE_NUMBER if self.all_whole else Kind.NUMBER
        return Kind.TEXT
