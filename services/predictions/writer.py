"""A run's typed table, written: one Parquet file, made again from the mini-batches and put in place as a whole.

pyarrow takes 0.2 s to import, so it is imported where it is used.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from services.errors import WorkspaceUnavailable, os_errors_as
from services.predictions import columns as rules
from services.predictions.columns import (
    COLUMNS,
    FRAME,
    NUMERIC,
    ROW_NUMBER,
    STATUSES,
    Kind,
    Status,
    file_text,
    number_array,
    numbers_in,
    own_names,
    table_columns,
    text_array,
    whole_number,
)
from services.predictions.explanations import templates_of, with_causes
from services.predictions.flatten import flatten
from services.predictions.json_columns import JsonColumns, detect_json_columns
from services.predictions.matching import ReadRows, ScoredMiniBatch, read_rows
from services.predictions.summary_writer import SummaryWriter, summarize
from services.storage.atomic import atomic_write

_FORMAT = 6
"""To be raised when tables of the same rows become others."""
_ROW_GROUP_ROWS = 122_880
_ROW_GROUP_CHARACTERS = 32_000_000
_GROUPS_ALONE, _GROUPS_TOGETHER = 8, 4
"""A query looks at each row group of the file for each column that it reads: a large table has fewer of them, which are larger."""
_PREVIEWED = 1000  # rows, for a first sign of JSON
_FAILED = STATUSES.index(Status.FAILED)
_FILE_NAME = r"(?s)/?[^/]*$"
_STRUCTURED = r"(?s)^\s*([\[{(]|[A-Za-z_][\w.]*\().*[\])}]\s*$"
logger = logging.getLogger(__name__)


def table_name(what: object, kind: str = "predictions") -> str:
    """A table's file name, for what it is made of. A table of an earlier format has another name, and is made again."""
    return f"{kind}-{what}-{_FORMAT}.parquet"


def make_table(mini_batches: Iterable[ScoredMiniBatch], path: Path) -> None:
    """Write the table of these mini-batches, in their order, beside `path` and put it in place at once. Memory stays constant.

    Raises WorkspaceUnavailable where it can't be written.
    """
    hint = "Check that the folder exists, can be written and that its disk is not full."
    with (
        os_errors_as(WorkspaceUnavailable, f"The table of predictions, {path}, can't be written", hint),
        atomic_write(path) as unfinished,
    ):
        _write(mini_batches, unfinished)


def _write(mini_batches: Iterable[ScoredMiniBatch], path: Path) -> None:
    """Write the table in one go; a second time where later predictions are structured otherwise than the first ones."""
    import pyarrow as pa
    from pyarrow import parquet

    texts, whole = pa.dictionary(pa.int32(), pa.large_string()), pa.int64()
    types = (
        pa.large_string(), whole, texts, pa.float64(), texts, texts, texts, texts, whole, texts, whole, pa.float64(), texts,
        texts, pa.int32(), pa.timestamp("us"),
    )  # fmt: skip
    kind, counts = _KindInference(), Counter[str]()
    frames: dict[str, int] = {}
    groups = _row_groups(mini_batches, frames)
    first = next(groups, _RowGroup())
    json_columns = first.json_columns()
    all_own, present = json_columns.own if json_columns else own_names(()), table_columns(of_rows=first.of_rows, added_to=first.added_to)
    own = {name: all_own[name] for name in present}
    columns = {own[name]: type_ for name, type_ in zip(COLUMNS, types, strict=True) if name in own}
    kinds = {name: _kind_of(type_) for name, type_ in columns.items()}
    if json_columns:
        columns["Prediction"] = texts if json_columns.prediction else pa.large_string()
        columns |= {column.name: column.type_ for column in json_columns.columns}
    columns[FRAME] = texts
    summary: SummaryWriter | None = SummaryWriter(list(columns), list(columns.values()), own)
    with (
        open(path, "xb") as file,
        parquet.ParquetWriter(
            file,
            pa.schema(list(columns.items())),
            compression="lz4",
            use_dictionary=[name for name, type_ in columns.items() if type_ != pa.large_string() and name != own.get(ROW_NUMBER)],
            column_encoding={own[ROW_NUMBER]: "DELTA_BINARY_PACKED"} if ROW_NUMBER in own else None,
            store_schema=False,
        ) as writer,
        ThreadPoolExecutor(1) as thread,
    ):
        together = _Together(writer)

        def write(rows: _RowGroup) -> None:
            nonlocal summary
            arrays = rows.arrays(kind, json_columns, of_rows=first.of_rows, added_to=first.added_to)
            together.add(pa.Table.from_arrays(arrays, schema=writer.schema), rows.characters)
            if frames or not kind.exact or (kind.any_structured if json_columns is None else not json_columns.matches):
                summary = None  # it will be written again, with other columns
            if summary:
                summary.add(dict(zip(columns, arrays, strict=True)))

        writing: Future[None] | None = None
        for rows in itertools.chain([first] if first.files else [], groups):  # pyarrow writes one group while the next is read
            if writing:
                writing.result()
            writing = thread.submit(write, rows)
            counts.update({status: rows.statuses.count(place) for place, status in enumerate(STATUSES)})
        if writing:
            writing.result()
        together.write()
        kinds["Prediction"] = kind.kind
        metadata = {"kind": str(kinds["Prediction"]), "rows": json.dumps(counts), "own": json.dumps(own)}
        if kind.classes is not None:
            metadata["classes"] = json.dumps(sorted(kind.classes))
        if kind.lower_files:
            metadata["lower_files"] = "true"
        flat = json_columns is not None and json_columns.complete and not frames and kind.exact
        if json_columns and flat:
            kinds |= {column.name: column.final_kind for column in json_columns.columns}
            metadata["whole"] = json_columns.whole_column
        metadata["columns"] = json.dumps(kinds)
        writer.add_key_value_metadata(metadata)
    if not flat and (json_columns or frames or kind.any_structured or not kind.exact):
        import duckdb

        metadata["columns"] = json.dumps({name: kinds[own[name]] for name in present})
        try:
            flatten(path, metadata, own, list(frames), json_columns.whole_column if json_columns else "", exact=kind.exact)
        except duckdb.Error as error:  # then the table stays as it was written
            logger.warning("The predictions were not flattened into columns: %s", error, exc_info=error)
        summarize(path, json.loads(metadata["own"]), {name: Kind(value) for name, value in json.loads(metadata["columns"]).items()})
    elif summary:
        summary.write(path)


@dataclass
class _Together:
    """Writes the first groups of rows as a row group each, the later ones several together."""

    writer: Any
    tables: list[Any] = field(default_factory=list)
    characters: int = 0
    written: int = 0

    def add(self, table: Any, characters: int) -> None:
        self.tables.append(table)
        self.characters += characters
        if self.written < _GROUPS_ALONE or len(self.tables) == _GROUPS_TOGETHER or self.characters >= _ROW_GROUP_CHARACTERS:
            self.write()

    def write(self) -> None:
        """Write what is left."""
        import pyarrow as pa

        if self.tables:
            table = self.tables[0] if len(self.tables) == 1 else pa.concat_tables(self.tables).unify_dictionaries()
            self.writer.write_table(table, row_group_size=len(table))
            self.tables, self.characters, self.written = [], 0, self.written + 1


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
    matched_by: bytearray = field(default_factory=bytearray)
    errors: dict[int, str] = field(default_factory=dict)
    """By row."""
    causes: dict[int, str] = field(default_factory=dict)
    """By row, the template of its error."""
    mini_batches: list[tuple[int, str, int, float, float]] = field(default_factory=list)
    row_counts: list[int] = field(default_factory=list)
    rows_before: list[int] = field(default_factory=list)
    frames: list[str | None] = field(default_factory=list)
    """Of each mini-batch the number of its DataFrame's columns among all of the table's, None where run() returned a list."""
    earlier_attempts: dict[int, int] = field(default_factory=dict)
    of_rows: bool = False
    """Whether the items are rows."""
    added_to: bool = False
    """Whether it is known which rows' files are gone."""
    gone: set[int] = field(default_factory=set)
    """The rows whose files are."""
    row_numbers: list[tuple[int, int]] = field(default_factory=list)
    """Of all rows of the group, where the items are rows: see matching.RowNumbers."""
    characters: int = 0

    def add(self, mini_batch: ScoredMiniBatch, rows: ReadRows, frames: dict[str, int]) -> None:
        if mini_batch.earlier_attempts:
            attempts = enumerate(map(mini_batch.earlier_attempts.get, rows.files), len(self.files))
            self.earlier_attempts |= {row: count for row, count in attempts if count}
        if any(rows.errors):
            templates = templates_of(rows)
            for row, error in enumerate(rows.errors, len(self.files)):
                if error:
                    self.errors[row], self.causes[row] = error, templates[error]
        if mini_batch.gone is not None:
            self.added_to = True
            if mini_batch.gone:
                self.gone.update(row for row, file in enumerate(rows.files, len(self.files)) if file in mini_batch.gone)
        if mini_batch.items_are_rows:
            self.of_rows = True
            self.row_numbers += rows.row_numbers or [(0, len(rows.files))]
        self.files += rows.files
        present = [text or "" for text in rows.predictions] if _FAILED in rows.statuses else rows.predictions
        self.predictions += cast("Sequence[str]", present)
        self.statuses += rows.statuses
        self.matched_by += rows.matched_by
        self.mini_batches.append((mini_batch.index, mini_batch.worker, mini_batch.attempts, mini_batch.seconds, mini_batch.ended_at))
        self.row_counts.append(len(rows.files))
        self.rows_before.append(mini_batch.rows_before)
        self.frames.append(str(frames.setdefault(mini_batch.columns, len(frames))) if mini_batch.columns else None)
        self.characters += sum(map(len, mini_batch.rows))

    def json_columns(self) -> JsonColumns | None:
        """What the predictions hold, where these rows are the first of a table."""
        if any(self.frames) or not any(text and text[0] in "[{" for text in self.predictions[:_PREVIEWED]):
            return None
        files, predictions = self.texts
        return detect_json_columns(predictions, files)

    @cached_property
    def texts(self) -> tuple[Any, Any]:
        """The arrays of files and of predictions."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        predictions = text_array(self.predictions)
        if _FAILED in self.statuses:
            failed = number_array(np.frombuffer(bytes(self.statuses), np.uint8) == _FAILED, pa.uint8()).cast(pa.bool_())
            predictions = pc.if_else(failed, pa.nulls(len(predictions), predictions.type), predictions)
        return text_array(list(map(file_text, self.files)) if "\\" in self.all_files else self.files), predictions

    @cached_property
    def all_files(self) -> str:
        return "".join(self.files)

    def arrays(self, kind: _KindInference, json_columns: JsonColumns | None, *, of_rows: bool, added_to: bool) -> list[Any]:
        """The arrays of table_columns, of `json_columns`, and of FRAME. `kind` observes the predictions."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        statuses = np.frombuffer(bytes(self.statuses), np.int8)
        succeeded = pc.cast(number_array(statuses == STATUSES.index(Status.SUCCEEDED), pa.uint8()), pa.bool_())
        files, predictions = self.texts
        further: list[Any] = []
        if json_columns:
            predictions, further = json_columns.split(predictions, files, succeeded)
        encoded = predictions.dictionary_encode()
        is_text = json_columns is not None and json_columns.matches and json_columns.prediction_is_text
        numbers = pa.nulls(len(encoded.dictionary), pa.float64()) if is_text else numbers_in(encoded.dictionary)
        kind.observe(encoded.filter(succeeded), is_text=is_text)
        kind.observe_all(self.all_files, encoded.dictionary)
        indices, workers, attempts, seconds, ended_at = zip(*self.mini_batches, strict=True)
        mini_batch = np.repeat(np.arange(len(self.row_counts)), self.row_counts)
        attempts_of_rows = np.array(attempts, np.int64)[mini_batch]
        if self.earlier_attempts:
            attempts_of_rows[list(self.earlier_attempts)] += list(self.earlier_attempts.values())
        ends = np.cumsum(self.row_counts)
        places = np.arange(len(self.files)) - (ends - self.row_counts - self.rows_before)[mini_batch]
        return [
            files,
            *([self._row_numbers()] if of_rows else []),
            predictions if json_columns and not json_columns.prediction else encoded,
            numbers.take(encoded.indices),
            pa.DictionaryArray.from_arrays(number_array(statuses, pa.int8()).cast(pa.int32()), text_array(STATUSES)),
            self._ways(),
            self._sparse(self.errors),
            self._sparse(self.causes),
            number_array(np.array(indices, np.int64)[mini_batch], pa.int64()),
            text_array(workers).dictionary_encode().take(number_array(mini_batch, pa.int64())),
            number_array(attempts_of_rows, pa.int64()),
            number_array(np.array(seconds, np.float64)[mini_batch], pa.float64()),
            pc.replace_substring_regex(files, _FILE_NAME, "").dictionary_encode(),
            *([self._input_files()] if added_to else []),
            number_array(places.astype(np.int32), pa.int32()),
            number_array((np.array(ended_at, np.float64) * 1e6).astype(np.int64)[mini_batch], pa.timestamp("us")),
            *further,
            text_array(self.frames).dictionary_encode().take(number_array(mini_batch, pa.int64())),
        ]

    def _row_numbers(self) -> Any:
        """The array of each row's number in its file; null where it isn't known."""
        import numpy as np
        import pyarrow as pa

        firsts, counts = np.array(self.row_numbers, np.int64).reshape(-1, 2).T
        numbers = np.arange(len(self.files)) + np.repeat(firsts - (np.cumsum(counts) - counts), counts)
        if firsts.all():
            return number_array(numbers, pa.int64())
        known = np.packbits(np.repeat(firsts > 0, counts), bitorder="little")
        return pa.Array.from_buffers(pa.int64(), len(numbers), [pa.py_buffer(known), pa.py_buffer(numbers)])

    def _input_files(self) -> Any:
        """The array of whether each row's file is there."""
        import numpy as np
        import pyarrow as pa

        codes = np.zeros(len(self.files), np.int32)
        codes[list(self.gone)] = rules.INPUT_FILES.index("gone")
        return pa.DictionaryArray.from_arrays(number_array(codes, pa.int32()), text_array(rules.INPUT_FILES))

    def _ways(self) -> Any:
        """The array of how each row was matched; null for a failed item."""
        import numpy as np
        import pyarrow as pa

        ways = number_array(np.frombuffer(self.matched_by, np.int8), pa.int8())
        if _FAILED in self.statuses:
            return text_array([*rules.WAYS_OF_MATCHING, None]).dictionary_encode().take(ways)
        return pa.DictionaryArray.from_arrays(ways.cast(pa.int32()), text_array(rules.WAYS_OF_MATCHING))

    def _sparse(self, texts: dict[int, str]) -> Any:
        """The array of texts that few rows have, by row."""
        import numpy as np
        import pyarrow as pa

        if not texts:
            return pa.nulls(len(self.files), pa.dictionary(pa.int32(), pa.large_string()))
        codes = {text: code for code, text in enumerate(dict.fromkeys([None, *texts.values()]))}
        code_of_rows = np.zeros(len(self.files), np.int64)
        code_of_rows[list(texts)] = [codes[text] for text in texts.values()]
        return text_array(list(codes)).dictionary_encode().take(number_array(code_of_rows, pa.int64()))


def _row_groups(mini_batches: Iterable[ScoredMiniBatch], frames: dict[str, int]) -> Iterator[_RowGroup]:
    """`frames` are the columns of their DataFrames, as JSON, with the number of each; those that come are added."""
    group = _RowGroup()
    for mini_batch in mini_batches:
        rows = mini_batch.read or with_causes(read_rows(mini_batch), mini_batch)
        group.add(mini_batch, rows.without(mini_batch.left_out) if mini_batch.left_out else rows, frames)
        if len(group.files) >= _ROW_GROUP_ROWS or group.characters >= _ROW_GROUP_CHARACTERS:
            yield group
            group = _RowGroup()
    if group.files:
        yield group


def _any_many_digits(numbers: Any) -> bool:
    """Whether a double may not hold one of these texts. Few need a look at their digits: see `flatten`."""
    import pyarrow.compute as pc

    length = pc.binary_length(numbers)
    long = pc.or_(pc.greater(length, whole_number(19)), pc.invert(pc.starts_with(numbers, "0.")))
    numbers = numbers.filter(pc.and_(pc.greater(length, whole_number(15)), long))
    return pc.any(pc.match_substring_regex(numbers, rules.MANY_DIGITS)).as_py() is True


@dataclass
class _KindInference:
    """Decides the kind of the predictions over all of them, a row group at a time."""

    count: int = 0
    distinct: set[str] = field(default_factory=set)
    """Predictions of succeeded items; rules.MOST_CLASSES and a few more, at most."""
    all_whole: bool = True
    all_numbers: bool = True
    any_finite: bool = False
    many_digits: bool = False
    any_structured: bool = False
    classes: set[str] | None = field(default_factory=set)
    """All predictions, of unmatched rows too; None where they are many, or long."""
    lower_files: bool = True

    def observe_all(self, files: str, predictions: Any) -> None:
        """The names of a row group's files in one text, and its distinct predictions."""
        self.lower_files = self.lower_files and files == files.lower()
        if self.classes is not None:
            self.classes.update(predictions.slice(0, rules.MOST_CLASSES + 1).to_pylist())
            many = max(len(predictions), len(self.classes)) > rules.MOST_CLASSES
            if many or sum(map(len, self.classes)) > rules.MOST_CLASS_CHARACTERS:
                self.classes = None

    def observe(self, predictions: Any, *, is_text: bool = False) -> None:
        """The predictions of a row group's succeeded items; those that are text, whatever they look like, if `is_text`."""
        import pyarrow.compute as pc

        distinct = predictions.unique().dictionary_decode()
        self.count += len(predictions)
        if len(self.distinct) <= rules.MOST_CLASSES:
            self.distinct.update(distinct.slice(0, rules.MOST_CLASSES + 1).to_pylist())
        self.any_structured = self.any_structured or pc.any(pc.match_substring_regex(distinct, _STRUCTURED)).as_py() is True
        self.all_numbers = self.all_numbers and not is_text and (numbers := numbers_in(distinct)).null_count == 0
        self.all_whole = self.all_whole and not is_text and pc.all(pc.match_substring_regex(distinct, rules.WHOLE)).as_py() is not False
        if self.all_numbers:
            self.any_finite = self.any_finite or pc.any(pc.is_finite(numbers)).as_py() is True
            self.many_digits = self.many_digits or _any_many_digits(distinct)

    @property
    def exact(self) -> bool:
        """Whether doubles hold the predictions, where these are numbers."""
        return not (self.many_digits and self.kind in NUMERIC)

    @property
    def kind(self) -> Kind:
        if self.count and rules.is_category(len(self.distinct), self.count) and (self.all_whole or not self.all_numbers):
            return Kind.CATEGORY
        if self.count and self.all_numbers and self.any_finite:
            return Kind.WHOLE_NUMBER if self.all_whole else Kind.NUMBER
        return Kind.TEXT
