"""The runs in the registry. Both workspaces write theirs here.

One writer per fact: pages insert a run and ask for its cancel, the run's own process writes the rest. What happens to each mini-batch
stands in the run's own journal (`journal.py`), so that a busy run slows no other.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.domain import (
    Metadata,
    ResourceKind,
    Run,
    RunRequest,
    RunStatus,
    utc_now,
)
from services.errors import NotFound
from services.run_query import RunChoices, RunQuery
from services.storage import run_search
from services.storage.database import Database, column_value, metadata_columns, metadata_of
from services.storage.resource_store import TABLES
from services.storage.serialization import from_builtins, to_json

logger = logging.getLogger(__name__)

_RUN_COLUMNS = (
    "status", "started_at", "ended_at", "heartbeat_at", "stopped_at", "paused_seconds", "items_total", "items_succeeded", "items_failed",
    "mini_batches_total", "mini_batches_done", "workers", "rate", "doing", "error_code", "error", "warnings", "reused_from",
)  # fmt: skip


def set_columns(connection: sqlite3.Connection, run_id: str, columns: Mapping[str, Any]) -> None:
    connection.execute(f"UPDATE runs SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?", (*columns.values(), run_id))


def _subject(request: RunRequest) -> str | None:
    """What a run is of: its script and its datasets by their names. Runs of one subject are compared with each other."""
    if request.failed_only:
        return None
    return json.dumps([request.script_name, [name.partition(":")[0] for name in request.datasets]])


def _check_not_deleted(connection: sqlite3.Connection, request: RunRequest) -> None:
    """Raises NotFound where something that a run needs was deleted, which may have happened just now."""
    needed = {
        ResourceKind.MODEL: request.models,
        ResourceKind.DATASET: (*request.datasets, *request.side_inputs.values()),
        ResourceKind.ENVIRONMENT: (request.environment,) if request.environment else (),
    }
    for kind, references in needed.items():
        for wanted in references:
            name, _, version = wanted.partition(":")
            query = f"SELECT 1 FROM {TABLES[kind]} WHERE name = ? AND version = ? AND value = ''"
            if version.isdecimal() and connection.execute(query, (name, int(version))).fetchone():
                raise NotFound(f"The {kind} “{wanted}” was deleted, which the run needs.", f"Submit a run with another {kind}.")
    earlier = request.adds_to
    if earlier and not connection.execute("SELECT 1 FROM runs WHERE id = ?", (earlier,)).fetchone():
        raise NotFound(f"Run “{earlier}” was deleted, to whose predictions these were to be added.", "Submit a new run.")


def no_run(run_id: str) -> NotFound:
    return NotFound(f"There is no run “{run_id}”.", "The runs list shows what there is.")


class RunStore(Database):
    """The runs, as the registry has them."""

    def insert_run(
        self, run_id: str, request: RunRequest, items: int | None, mini_batches: int | None, warnings: tuple[str, ...] = (), **columns: Any
    ) -> Run:
        """Record a run, as NotStarted unless `columns` say otherwise. Where the request's `submission_id` was seen before, return that
        run instead."""
        row = {
            "id": run_id, "submission_id": request.submission_id or None, "request": to_json(request),
            "status": RunStatus.NOT_STARTED, "submitted_at": column_value(utc_now()), "items_total": items,
            "mini_batches_total": mini_batches, "items_succeeded": 0, "items_failed": 0, "mini_batches_done": 0,
            "warnings": json.dumps(warnings), "subject": _subject(request), **run_search.search_columns(run_id, request, Metadata()),
        } | {name: column_value(value) for name, value in columns.items()}  # fmt: skip
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            seen = connection.execute("SELECT id FROM runs WHERE submission_id = ?", (row["submission_id"],)).fetchone()
            if seen is None:
                _check_not_deleted(connection, request)
                connection.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
            connection.execute("COMMIT")
        if seen is None:
            logger.info("Recorded %s as %s: %s mini-batches", run_id, row["status"], mini_batches)
        return self.run(seen["id"] if seen else run_id)

    def has_run(self, run_id: str) -> bool:
        return bool(self._execute("SELECT 1 FROM runs WHERE id = ?", run_id))

    def imported_as(self, digest: str) -> Run | None:
        """The run that an archive of this digest was imported as."""
        rows = self._execute("SELECT * FROM runs WHERE imported_digest = ?", digest)
        return self._run(rows[0]) if rows else None

    def insert_imported(self, run: Run, digest: str, place: Callable[[], str]) -> tuple[Run, bool]:
        """Record a run that was executed elsewhere and has ended, as one step: `place` puts its folder where it belongs and returns its id
        here. Where this digest was imported before, that run, and False. It is no run to reuse or to compare environments with, and what
        it names is in another home."""
        columns = {name: getattr(run, name) for name in _RUN_COLUMNS if name not in ("workers", "rate", "doing")}
        columns |= {"submitted_at": run.submitted_at, "reuse_note": run.reuse_note}
        row: dict[str, Any] = {"request": to_json(run.request), "imported_from": run.id, "imported_digest": digest}
        row |= {name: column_value(value) for name, value in columns.items()} | metadata_columns(run.metadata)
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            seen = connection.execute("SELECT id FROM runs WHERE imported_digest = ?", (digest,)).fetchone()
            if seen is None:
                run_id = place()
                row |= {"id": run_id, **run_search.search_columns(run_id, run.request, run.metadata), "environment": ""}
                connection.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
                connection.execute("DELETE FROM run_links WHERE run = ?", (run_id,))
            connection.execute("COMMIT")
        return self.run(seen["id"] if seen else run_id), seen is None

    def update_run(self, run_id: str, **columns: Any) -> None:
        """Write what the run's own process knows. Names are `Run`'s."""
        assert columns.keys() <= set(_RUN_COLUMNS), columns
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._execute(f"UPDATE runs SET {assignments} WHERE id = ?", *columns.values(), run_id)
        if columns.get("ended_at"):
            logger.info("%s ended: %s %s", run_id, columns.get("status", ""), columns.get("error_code") or "")

    def check_needs(self, request: RunRequest) -> None:
        """Raises NotFound where something that a run needs was deleted."""
        with self._connected() as connection:
            _check_not_deleted(connection, request)

    def reopen_run(self, run_id: str, request: RunRequest, **columns: Any) -> None:
        """Write that a run is to be executed again; in the same step it is checked as by `check_needs`, for nothing of it may be deleted
        from then on."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            _check_not_deleted(connection, request)
            set_columns(connection, run_id, {name: column_value(value) for name, value in columns.items()})
            connection.execute("COMMIT")

    def request_cancel(self, run_id: str) -> None:
        self._execute("UPDATE runs SET cancel_requested = 1 WHERE id = ?", run_id)
        logger.info("Cancel of %s requested", run_id)

    def clear_cancel(self, run_id: str) -> None:
        self._execute("UPDATE runs SET cancel_requested = 0 WHERE id = ?", run_id)

    def cancel_requested(self, run_id: str) -> bool:
        return bool(self._execute("SELECT 1 FROM runs WHERE id = ? AND cancel_requested", run_id))

    def run(self, run_id: str) -> Run:
        """One run. Raises NotFound."""
        if rows := self._execute("SELECT * FROM runs WHERE id = ?", run_id):
            return self._run(rows[0])
        raise no_run(run_id)

    def runs(self, limit: int) -> list[Run]:
        """The newest runs first."""
        return [self._run(row) for row in self._execute("SELECT * FROM runs ORDER BY submitted_at DESC, id DESC LIMIT ?", limit)]

    def archived_runs(self, before: datetime, limit: int) -> list[Run]:
        """Archived runs that ended before that moment, the oldest first."""
        query = f"""SELECT * FROM runs WHERE archived AND status IN ({run_search.ENDED}) AND coalesce(ended_at, submitted_at) < ?
            ORDER BY submitted_at, id LIMIT {int(limit)}"""
        return [self._run(row) for row in self._execute(query, before)]

    def run_ids(self) -> set[str]:
        """Of all runs."""
        return {row["id"] for row in self._execute("SELECT id FROM runs")}

    def ended_since(self, moment: datetime) -> list[Run]:
        """The runs that ended after that moment, the first one first."""
        return [self._run(row) for row in self._execute("SELECT * FROM runs WHERE ended_at > ? ORDER BY ended_at, id", moment)]

    def last_completed(self, request: RunRequest) -> Run | None:
        """The newest completed run of the same script over the same datasets, by their names."""
        query = "SELECT * FROM runs WHERE subject = ? AND status = ? ORDER BY submitted_at DESC, id DESC LIMIT 1"
        return next((self._run(row) for row in self._execute(query, _subject(request), RunStatus.COMPLETED)), None)

    def completed_with(self, reuse_key: str | None) -> list[Run]:
        """The completed runs that have this key, those that were scored before those that were reused, the newest first."""
        query = "SELECT * FROM runs WHERE reuse_key = ? AND status = ? ORDER BY reused_from IS NOT NULL, submitted_at DESC, id DESC"
        return [self._run(row) for row in self._execute(query, reuse_key, RunStatus.COMPLETED)]

    def scored_with(self, key: str, request: RunRequest) -> Iterator[tuple[Run, bool]]:
        """The runs of that key (see local/reuse.py), the newest first, each with True; and, with False, those of the same script over
        the same datasets that an earlier version of the program recorded, without a key."""
        query = """SELECT id, scored_with IS NOT NULL FROM runs WHERE scored_with = ?1 OR (subject = ?2 AND scored_with IS NULL)
                   ORDER BY submitted_at DESC, id DESC"""
        for run_id, known in self._execute(query, key, _subject(request)):
            yield self.run(run_id), bool(known)

    def submitted_as(self, submission_id: str) -> Run | None:
        """The run of that submission id."""
        return next((self._run(row) for row in self._execute("SELECT * FROM runs WHERE submission_id = ?", submission_id or None)), None)

    def unended_runs(self) -> list[Run]:
        """The runs that have not ended, the oldest first."""
        query = f"SELECT * FROM runs WHERE status NOT IN ({run_search.ENDED}) ORDER BY submitted_at, id"
        return [self._run(row) for row in self._execute(query)]

    @contextmanager
    def _searching(self, live: Iterable[tuple[str, RunStatus, float | None]]) -> Iterator[sqlite3.Connection]:
        """A connection to read all runs of one moment, with the table `live` of those that have not ended: see run_search.py."""
        with self._connected() as connection:
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("BEGIN")
            connection.execute("CREATE TEMP TABLE live (id TEXT PRIMARY KEY, now TEXT, seconds REAL) WITHOUT ROWID")
            connection.executemany("INSERT INTO temp.live VALUES (?, ?, ?)", live)
            yield connection
            connection.execute("ROLLBACK")

    def search(self, query: RunQuery, live: Iterable[tuple[str, RunStatus, float | None]]) -> tuple[list[Run], dict[RunStatus, int]]:
        """The runs that a query asks for, and how many of each status match the rest of it: all of one moment. `live` has the status and
        the seconds of each run that has not ended."""
        matching, values = run_search.condition(query)
        values = {name: column_value(value) for name, value in values.items()}
        with self._searching(live) as connection:
            of_all = f"FROM runs INDEXED BY runs_searched WHERE {matching}"
            counts = dict(connection.execute(f"SELECT {run_search.COUNTS} {of_all}", values).fetchone())
            active = f"FROM runs INDEXED BY runs_unended WHERE status NOT IN ({run_search.ENDED}) AND {matching}"
            counts |= connection.execute(f"SELECT {run_search.STATUS} AS now, count(*) {active} GROUP BY now", values).fetchall()
            page = f"SELECT rowid {of_all} AND {run_search.with_statuses(query.statuses)} ORDER BY {run_search.order(query)}"
            numbers = [row["rowid"] for row in connection.execute(f"{page} LIMIT {query.count:d} OFFSET {query.first:d}", values)]
            wanted = f"SELECT *, {run_search.STATUS} AS now, rowid FROM runs WHERE rowid IN (SELECT value FROM json_each(?))"
            rows = {row["rowid"]: row for row in connection.execute(wanted, (json.dumps(numbers),))}
        runs = [replace(self._run(rows[number]), status=RunStatus(rows[number]["now"])) for number in numbers]
        return runs, {RunStatus(name): count for name, count in counts.items() if count}

    def run_rows(
        self, columns: Sequence[str], live: Iterable[tuple[str, RunStatus, float | None]], *, archived: bool
    ) -> list[tuple[Any, ...]]:
        """These of RUN_COLUMNS of every run, pinned ones first, then the newest; `live` as for `search`."""
        chosen = ", ".join(run_search.COLUMNS[column] for column in columns)
        with self._searching(live) as connection:
            connection.row_factory = None
            query = f"SELECT {chosen} FROM runs WHERE {'true' if archived else 'NOT archived'} ORDER BY {run_search.order(RunQuery())}"
            return connection.execute(query).fetchall()

    def run_choices(self) -> RunChoices:
        """What the runs have that one can search by."""
        links = "SELECT DISTINCT reference FROM run_links WHERE kind = ? ORDER BY reference"
        models, datasets = (tuple(row[0] for row in self._execute(links, kind)) for kind in (ResourceKind.MODEL, ResourceKind.DATASET))
        tags = [row[0] for row in self._execute("SELECT DISTINCT tags FROM runs INDEXED BY runs_searched WHERE tags <> '{}'")]
        pairs = {pair for text in tags for pair in json.loads(text).items()}
        return RunChoices(models, datasets, tuple(sorted(pairs)))

    def runs_linked(self, kind: ResourceKind, to: str, limit: int) -> tuple[list[Run], int]:
        """The newest runs that name this model, dataset, environment or earlier run; and how many there are."""
        links, distinct = "SELECT run FROM run_links WHERE kind = ?1 AND reference = ?2", ""
        if kind is ResourceKind.DATASET:  # a run may read it in both ways
            links, distinct = "SELECT run FROM run_links WHERE kind IN (?1, 'side input') AND reference = ?2", "DISTINCT"
        (count,) = self._execute(f"SELECT count({distinct} run) FROM ({links})", kind, to)[0]
        newest = links.replace("SELECT", f"SELECT {distinct}") + f" ORDER BY run DESC LIMIT {int(limit)}"  # an id begins with its time
        query = f"SELECT * FROM runs WHERE id IN ({newest}) ORDER BY submitted_at DESC, id DESC"
        return [self._run(row) for row in self._execute(query, kind, to)], count

    def linked_to(self, kind: ResourceKind, to: str, other: ResourceKind, most: int) -> dict[str, int]:
        """What the newest `most` runs that name this model or dataset name of the `other` kind, and how many of them; the most frequent
        first."""
        query = f"""SELECT reference, count(*) AS runs FROM run_links WHERE kind = ?3 AND run IN (
            SELECT run FROM run_links WHERE kind = ?1 AND reference = ?2 ORDER BY run DESC LIMIT {int(most)}
        ) GROUP BY reference ORDER BY runs DESC, max(run) DESC"""
        return dict(map(tuple, self._execute(query, kind, to, other)))

    @staticmethod
    def _run(row: sqlite3.Row) -> Run:
        values = dict(row) | {"request": json.loads(row["request"]), "warnings": json.loads(row["warnings"])}
        values["metadata"] = metadata_of(row)
        if row["cancel_requested"] and not RunStatus(row["status"]).ended:
            values["status"] = RunStatus.CANCEL_REQUESTED
        return from_builtins(values, Run)
