"""A run's typed table, written: one Parquet file, made anew from the mini-batches and put in place as a whole.

pyarrow takes 0.2 s to import, so it is imported where it is used. `pa.array` and `pa.scalar` would import pandas as well, another 0.4 s:
arrays are made of buffers instead.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from services.errors import WorkspaceUnavailable
from services.predictions.matching import STATUSES, ReadRows, ScoredMiniBatch, Status, read_rows
from services.storage.atomic import atomic_write

if TYPE_CHECKING:
    from services.predictions.json_columns import Documents

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


_FORMAT = 3
"""To be counted up when tables of the same rows become others."""
MOST_CHARACTERS = 100_000  # of all classes: whoever opens the table reads them
_ROWS_AT_A_TIME = 122_880
_FAILED = STATUSES.index(Status.FAILED)
_CHARACTERS_AT_A_TIME = 32_000_000
_LOOKED_AT = 1000
MOST_CLASSES = 50
_NAME = r"(?s)/?[^/]*$"
_STRUCTURED = r"(?s)^\s*[\[{].*[\]}]\s*$"
WHOLE = r"^-?(0|[1-9][0-9]{0,17})$"
NUMBER = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$"


def table_name(what: object) -> str:
    """A table's file name, for what it is made of. A table that an earlier version has made has another, and is made anew."""
    return f"predictions-{what}-{_FORMAT}.parquet"


def make_table(mini_batches: Iterable[ScoredMiniBatch], path: Path) -> None:
    """Write the table of these mini-batches, in their order, beside `path` and put it in place at once. Memory stays constant.

    Raises WorkspaceUnavailable where it can't be written.
    """
    try:
        with atomic_write(path) as unfinished:
            _write(mini_batches, unfinished)
    except OSError as error:
        raise WorkspaceUnavailable(
            f"The table of predictions, {path}, can't be written: {error.strerror or error}.",
            "Check that the folder exists, can be written and that its disk is not full.",
        ) from error


def _write(mini_batches: Iterable[ScoredMiniBatch], path: Path) -> None:
    """Write the table in one go; a second time where the predictions hold several values that aren't as the first ones are."""
    import pyarrow as pa
    from pyarrow import parquet

    texts, whole = pa.dictionary(pa.int32(), pa.large_string()), pa.int64()
    types = (
        pa.large_string(), texts, pa.float64(), texts, texts, whole, texts, whole, pa.float64(), texts, pa.int32(), pa.timestamp("us"),
    )  # fmt: skip
    columns = dict(zip(COLUMNS, types, strict=True))
    kinds = {name: _kind_of(type_) for name, type_ in columns.items()}
    kind, counts, any_frames = _KindSoFar(), Counter[str](), False
    groups = _row_groups(mini_batches)
    first = next(groups, _RowGroup())
    documents = first.documents()
    if documents:
        columns |= {"Prediction": texts if documents.own else pa.large_string()} | {leaf.name: leaf.type_ for leaf in documents.columns}
    columns[FRAME.strip('"')] = texts
    with (
        open(path, "xb") as file,
        parquet.ParquetWriter(
            file,
            pa.schema(list(columns.items())),
            compression="lz4",
            use_dictionary=[name for name, type_ in columns.items() if type_ != pa.large_string()],
            store_schema=False,
        ) as writer,
        ThreadPoolExecutor(1) as thread,
    ):

        def write(rows: _RowGroup) -> None:
            writer.write_table(pa.Table.from_arrays(rows.columns(kind, documents), schema=writer.schema))

        written: list[Future[None]] = []
        for rows in itertools.chain([first] if first.files else [], groups):  # pyarrow writes one group while the next is read
            for group in written:
                group.result()
            written = [thread.submit(write, rows)]
            counts.update({status: rows.statuses.count(place) for place, status in enumerate(STATUSES)})
            any_frames = any_frames or any(rows.frames)
        for group in written:
            group.result()
        kinds["Prediction"] = kind.decided()
        metadata = {"kind": str(kinds["Prediction"]), "rows": json.dumps(counts)}
        if kind.texts is not None:
            metadata["classes"] = json.dumps(sorted(kind.texts))
        if kind.lower_files:
            metadata["lower_files"] = "true"
        done = documents is not None and documents.fits and not any_frames
        if documents and done:
            kinds |= {leaf.name: leaf.decided() for leaf in documents.columns}
            metadata |= {"whole": documents.whole_column}
        metadata["columns"] = json.dumps(kinds)
        writer.add_key_value_metadata(metadata)
    if not done and (documents or any_frames or kind.any_structured):
        whole_column = documents.whole_column if documents else ""
        _flatten(path, metadata | {"columns": json.dumps({name: kinds[name] for name in COLUMNS})}, whole_column)


def _flatten(written: Path, metadata: dict[str, str], whole_column: str) -> None:
    """Put what the predictions hold into columns of their own. Where that can't be done the table stays as it was written."""
    import duckdb

    from services.predictions.flatten import flatten

    unfinished = written.with_name(f"{written.name}.unfolded")
    try:
        if flatten(written, metadata, unfinished, whole_column):
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
    predictions: list[str] = field(default_factory=list)
    """Of failed items "" here."""
    statuses: bytearray = field(default_factory=bytearray)
    errors: dict[int, str] = field(default_factory=dict)
    """By row."""
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
        if any(rows.errors):
            self.errors |= {row: error for row, error in enumerate(rows.errors, len(self.files)) if error}
        self.files += rows.files
        present = [text or "" for text in rows.predictions] if _FAILED in rows.statuses else rows.predictions
        self.predictions += cast("Sequence[str]", present)
        self.statuses += rows.statuses
        self.mini_batches.append((mini_batch.index, mini_batch.worker, mini_batch.attempts, mini_batch.seconds, mini_batch.ended_at))
        self.row_counts.append(len(rows.files))
        self.rows_before.append(mini_batch.rows_before)
        self.frames.append(mini_batch.columns or None)
        self.characters += sum(map(len, mini_batch.rows))

    def documents(self) -> Documents | None:
        """What the predictions hold, where these rows are the first."""
        from services.predictions.json_columns import documents_of

        if any(self.frames) or not any(text and text[0] in "[{" for text in self.predictions[:_LOOKED_AT]):
            return None
        files, predictions = self.texts
        return documents_of(predictions, files)

    @cached_property
    def texts(self) -> tuple[Any, Any]:
        """The arrays of files and of predictions."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        predictions = text_array(self.predictions)
        if _FAILED in self.statuses:
            failed = _array(np.frombuffer(bytes(self.statuses), np.uint8) == _FAILED, pa.uint8()).cast(pa.bool_())
            predictions = pc.if_else(failed, pa.nulls(len(predictions), predictions.type), predictions)
        return text_array(list(map(file_text, self.files)) if "\\" in self.all_files else self.files), predictions

    @cached_property
    def all_files(self) -> str:
        return "".join(self.files)

    def columns(self, kind: _KindSoFar, documents: Documents | None) -> list[Any]:
        """The arrays of COLUMNS, of what documents hold, and of FRAME. `kind` is told of the predictions."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        statuses = np.frombuffer(bytes(self.statuses), np.int8)
        succeeded = pc.cast(_array(statuses == STATUSES.index(Status.SUCCEEDED), pa.uint8()), pa.bool_())
        files, predictions = self.texts
        unfolded: list[Any] = []
        if documents:
            predictions, unfolded = documents.unfolded(predictions, files, succeeded)
        encoded = predictions.dictionary_encode()
        kind.see(encoded.filter(succeeded))
        indices, workers, attempts, seconds, ended_at = zip(*self.mini_batches, strict=True)
        mini_batch = np.repeat(np.arange(len(self.row_counts)), self.row_counts)
        attempts_of_rows = np.array(attempts, np.int64)[mini_batch]
        if self.earlier_attempts:
            attempts_of_rows[list(self.earlier_attempts)] += list(self.earlier_attempts.values())
        ends = np.cumsum(self.row_counts)
        errors = {error: code for code, error in enumerate(dict.fromkeys([None, *self.errors.values()]))}
        error_of_rows = np.zeros(len(self.files), np.int64)
        error_of_rows[list(self.errors)] = [errors[error] for error in self.errors.values()]
        places = np.arange(len(self.files)) - (ends - self.row_counts - self.rows_before)[mini_batch]
        kind.see_all(self.all_files, encoded.dictionary)
        return [
            files,
            predictions if documents and not documents.own else encoded,
            numbers_in(encoded.dictionary).take(encoded.indices),
            pa.DictionaryArray.from_arrays(_array(statuses, pa.int8()).cast(pa.int32()), text_array(STATUSES)),
            text_array(list(errors)).dictionary_encode().take(_array(error_of_rows, pa.int64())),
            _array(np.array(indices, np.int64)[mini_batch], pa.int64()),
            text_array(workers).dictionary_encode().take(_array(mini_batch, pa.int64())),
            _array(attempts_of_rows, pa.int64()),
            _array(np.array(seconds, np.float64)[mini_batch], pa.float64()),
            pc.replace_substring_regex(files, _NAME, "").dictionary_encode(),
            _array(places.astype(np.int32), pa.int32()),
            _array((np.array(ended_at, np.float64) * 1e6).astype(np.int64)[mini_batch], pa.timestamp("us")),
            *unfolded,
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


_SPELLED = r"x5c|x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2}"


def file_text(path: str) -> str:
    r"""A path as it is in the column File once it is `readable`: a backslash in it that would read as such a byte is `\x5c` there."""
    return re.sub(rf"\\(?={_SPELLED})", r"\\x5c", path)


def path_of(file: str) -> str:
    """The path that the column File says, with lone surrogates where it is no UTF-8."""

    def said(spelled: re.Match[str]) -> str:
        code = int(spelled[1][1:], 16)
        return "\\" if code == ord("\\") else chr(code if spelled[1][0] == "u" else 0xDC00 + code)

    return re.sub(rf"\\({_SPELLED})", said, file)


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


def whole_number(value: int) -> Any:
    """An Arrow scalar."""
    import numpy as np
    import pyarrow as pa

    return _array(np.array([value], np.int64), pa.int64())[0]


def _array(values: Any, type_: Any) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(values)])


def numbers_in(texts: Any) -> Any:
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
    """All predictions, of unmatched rows too; None where they are many, or long."""
    lower_files: bool = True

    def see_all(self, files: str, distinct: Any) -> None:
        self.lower_files = self.lower_files and files == files.lower()
        if self.texts is not None:
            self.texts.update(distinct.slice(0, MOST_CLASSES + 1).to_pylist())
            if len(distinct) > MOST_CLASSES or len(self.texts) > MOST_CLASSES or sum(map(len, self.texts)) > MOST_CHARACTERS:
                self.texts = None

    def see(self, predictions: Any) -> None:
        import pyarrow.compute as pc

        distinct = predictions.unique().dictionary_decode()
        self.count += len(predictions)
        if len(self.classes) <= MOST_CLASSES:
            self.classes.update(distinct.slice(0, MOST_CLASSES + 1).to_pylist())
        self.any_structured = self.any_structured or pc.any(pc.match_substring_regex(distinct, _STRUCTURED)).as_py() is True
        self.all_numbers = self.all_numbers and numbers_in(distinct).null_count == 0
        self.all_whole = self.all_whole and pc.all(pc.match_substring_regex(distinct, WHOLE)).as_py() is not False

    def decided(self) -> Kind:
        few = len(self.classes) <= min(MOST_CLASSES, self.count / 2)
        if self.count and few and (self.all_whole or not self.all_numbers):
            return Kind.CATEGORY
        if self.count and self.all_numbers:
            return Kind.WHOLE_NUMBER if self.all_whole else Kind.NUMBER
        return Kind.TEXT
