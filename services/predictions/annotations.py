"""What people keep: a note and a corrected label on a row, a view by its name. One SQLite file in a home, `remarks.db`.

A row is known by its file, its mini-batch and its place there, so an annotation stays where it is while a run goes on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.domain import readable
from services.errors import NotFound, SettingsError
from services.predictions.columns import names_beside, text_array
from services.run_details import RowKey
from services.storage.sqlite import connect, translated_errors

if TYPE_CHECKING:
    import pyarrow

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS remarks (
    run TEXT, file TEXT, mini_batch INTEGER, place INTEGER, note TEXT, label TEXT, PRIMARY KEY (run, file, mini_batch, place)
);
CREATE TABLE IF NOT EXISTS views (name TEXT PRIMARY KEY, state TEXT);
COMMIT;
"""
_LONGEST_NOTE = 10_000
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Annotation:
    """What a person has to say on a row: a note, and the label that would have been right. Either may be empty."""

    note: str = ""
    label: str = ""


Annotations = Mapping[RowKey, Annotation]


@dataclass(frozen=True)
class SavedView:
    """A way to look at results, by its name: the query of a URL, without the run."""

    name: str
    state: str


class AnnotationStore:
    """The annotations and views of the home `home`. Cheap to make; safe to use from several threads and processes at once."""

    def __init__(self, home: Path) -> None:
        self._path = home / "remarks.db"

    def annotations(self, run_id: str) -> dict[RowKey, Annotation]:
        """Every annotation on a run's rows."""
        with self._connected() as connection:
            rows = connection.execute("SELECT file, mini_batch, place, note, label FROM remarks WHERE run = ?", (readable(run_id),))
            return {RowKey(file, mini_batch, place): Annotation(note, label) for file, mini_batch, place, note, label in rows}

    def annotate(self, run_id: str, key: RowKey, annotation: Annotation) -> None:
        """Keep this annotation on a row, in place of what is there; an empty one removes it. Raises SettingsError("note", ...)."""
        for field, text in vars(annotation).items():
            if len(text) > _LONGEST_NOTE:
                raise SettingsError(field, f"this {field} has {len(text):,} characters", f"Keep it to {_LONGEST_NOTE:,}.")
        row = (readable(run_id), readable(key.file), key.mini_batch, key.place)
        with self._connected() as connection:
            if annotation == Annotation():
                connection.execute("DELETE FROM remarks WHERE (run, file, mini_batch, place) = (?, ?, ?, ?)", row)
            else:
                values = (*row, readable(annotation.note), readable(annotation.label))
                connection.execute("INSERT OR REPLACE INTO remarks VALUES (?, ?, ?, ?, ?, ?)", values)

    def forget_run(self, run_id: str) -> None:
        """Remove all annotations on a run's rows."""
        if self._path.exists():
            with self._connected() as connection:
                connection.execute("DELETE FROM remarks WHERE run = ?", (readable(run_id),))

    def annotate_all(self, run_id: str, annotations: Annotations) -> None:
        """Keep these annotations on a run's rows in one step. Raises SettingsError for one that is too long."""
        for annotation in annotations.values():
            for field, text in vars(annotation).items():
                if len(text) > _LONGEST_NOTE:
                    raise SettingsError(field, f"a {field} has {len(text):,} characters", f"Keep it to {_LONGEST_NOTE:,}.")
        rows = [
            (readable(run_id), readable(key.file), key.mini_batch, key.place, readable(said.note), readable(said.label))
            for key, said in annotations.items()
        ]
        if rows:
            with self._connected() as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO remarks VALUES (?, ?, ?, ?, ?, ?)", rows)
                connection.execute("COMMIT")

    def views(self) -> list[SavedView]:
        """By their names."""
        with self._connected() as connection:
            return [SavedView(*row) for row in connection.execute("SELECT name, state FROM views ORDER BY lower(name), name")]

    def keep_view(self, view: SavedView) -> None:
        """Keep a view, in place of one of its name. Raises SettingsError("view", ...) for a name that is empty or too long."""
        name = " ".join(readable(view.name).split())
        if not name or len(name) > _LONGEST_NAME:
            raise SettingsError("view", f"a view needs a name of at most {_LONGEST_NAME} characters", "Give one.")
        with self._connected() as connection:
            connection.execute("INSERT OR REPLACE INTO views VALUES (?, ?)", (name, readable(view.state)))

    def remove_view(self, name: str) -> None:
        """Raises NotFound."""
        with self._connected() as connection:
            if not connection.execute("DELETE FROM views WHERE name = ?", (name,)).rowcount:
                raise NotFound(f"There is no view called “{name}”.", "It may have been removed.")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with translated_errors(self._path, "The notes and views"), closing(connect(self._path)) as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'views'").fetchone()[0]:
                connection.executescript(_SCHEMA)
            yield connection


def with_annotations(
    columns: Sequence[str], batches: Iterator[pyarrow.RecordBatch], annotations: Annotations
) -> tuple[list[str], Iterator[pyarrow.RecordBatch]]:
    """The columns and rows, whose last three columns are file, mini-batch and place, with Note and Corrected label in place of these.
    A column that is called so gets another name: see names_beside."""
    import pyarrow as pa
    import pyarrow.compute as pc

    added = ("Note", "Corrected label")
    names = [*names_beside(columns, added).values(), *added]
    files = text_array(sorted({key.file for key in annotations}))

    def annotated() -> Iterator[pyarrow.RecordBatch]:
        for batch in batches:
            *others, file, mini_batch, place = batch.columns
            texts: list[dict[int, str]] = [{}, {}]
            for row in pc.indices_nonzero(pc.is_in(file.cast(pa.large_string()), files)).to_pylist():
                annotation = annotations.get(RowKey(file[row].as_py(), mini_batch[row].as_py(), place[row].as_py()), Annotation())
                texts[0][row], texts[1][row] = annotation.note, annotation.label
            notes = [text_array([by_row.get(row) or None for row in range(len(batch))]) for by_row in texts]
            yield pa.RecordBatch.from_arrays([*others, *notes], names)

    return names, annotated()
