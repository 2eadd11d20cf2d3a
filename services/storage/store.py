"""The registry: models, datasets, approvals and runs in one SQLite file of the home. Both workspaces write their runs here.

One writer per fact: pages insert a run and ask for its cancel, the run's own process writes the rest. What happens to each mini-batch
stands in the run's own journal (`journal.py`), so that a busy run slows no other. WAL and `synchronous=NORMAL`: safe against a killed
process, not against power loss.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from services.domain import (
    Dataset,
    Environment,
    Metadata,
    Model,
    ModelCard,
    ResourceKind,
    Run,
    RunRequest,
    RunStatus,
    readable,
    reference,
    utc_now,
)
from services.errors import NotFound, SettingsError
from services.storage.serialization import from_builtins, to_json
from services.storage.sqlite import connect_readable, translated_errors, use_write_ahead_log

logger = logging.getLogger(__name__)

# How many of these statements a registry has had is its user_version. New ones come last; none is ever changed.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS models (name TEXT, version INTEGER, created_at TEXT, sha256 TEXT, value TEXT, PRIMARY KEY (name, version))",
    "CREATE TABLE IF NOT EXISTS datasets (name TEXT, version INTEGER, created_at TEXT, value TEXT, PRIMARY KEY (name, version))",
    "CREATE TABLE IF NOT EXISTS approvals (sha256 TEXT PRIMARY KEY, approved_at TEXT)",
    """CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, submission_id TEXT UNIQUE, request TEXT NOT NULL, status TEXT NOT NULL, cancel_requested INTEGER DEFAULT 0,
    submitted_at TEXT NOT NULL, started_at TEXT, ended_at TEXT, heartbeat_at TEXT,
    items_total INTEGER, items_succeeded INTEGER, items_failed INTEGER, mini_batches_total INTEGER, mini_batches_done INTEGER,
    workers INTEGER DEFAULT 0, rate REAL, error_code TEXT, error TEXT, warnings TEXT DEFAULT '[]'
)""",
    "CREATE TABLE environments (name TEXT, version INTEGER, created_at TEXT, value TEXT, PRIMARY KEY (name, version))",
    "ALTER TABLE runs ADD COLUMN subject TEXT",
    "CREATE INDEX runs_by_subject ON runs (subject, submitted_at)",
    "ALTER TABLE runs ADD COLUMN reuse_key TEXT",
    "ALTER TABLE runs ADD COLUMN reused_from TEXT",
    "ALTER TABLE runs ADD COLUMN reuse_note TEXT",
    "CREATE INDEX runs_by_reuse_key ON runs (reuse_key)",
    "ALTER TABLE runs ADD COLUMN doing TEXT",
    "ALTER TABLE runs ADD COLUMN stopped_at TEXT",
    "ALTER TABLE runs ADD COLUMN paused_seconds REAL DEFAULT 0",
    "CREATE TABLE model_cards (sha256 TEXT, source TEXT, made_at TEXT, value TEXT, PRIMARY KEY (sha256, source))",
    "CREATE TABLE presets (model TEXT PRIMARY KEY, kept_at TEXT, value TEXT)",
    "CREATE INDEX runs_by_end ON runs (ended_at)",
    # What people say of a model, dataset, environment (by `name:version`) or run (by its id) after it was made.
    """CREATE TABLE metadata (
    kind TEXT, reference TEXT, name TEXT DEFAULT '', note TEXT DEFAULT '', tags TEXT DEFAULT '{}', pinned INTEGER DEFAULT 0,
    archived INTEGER DEFAULT 0, PRIMARY KEY (kind, reference)
)""",
    "CREATE TABLE run_presets (name TEXT PRIMARY KEY, kept_at TEXT, value TEXT)",
)

_RUN_COLUMNS = (
    "status", "started_at", "ended_at", "heartbeat_at", "stopped_at", "paused_seconds", "items_total", "items_succeeded", "items_failed",
    "mini_batches_total", "mini_batches_done", "workers", "rate", "doing", "error_code", "error", "warnings", "reused_from",
)  # fmt: skip
_Versioned = TypeVar("_Versioned", bound=Model | Dataset | Environment)


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    if isinstance(value, str):
        return readable(value)
    return json.dumps(value) if isinstance(value, tuple) else value


def _subject(request: RunRequest) -> str | None:
    """What a run is of: its script and its datasets by their names. Runs of one subject are compared with each other."""
    if request.failed_only:
        return None
    return json.dumps([request.script_name, [name.partition(":")[0] for name in request.datasets]])


def _metadata(row: sqlite3.Row) -> Metadata:
    return Metadata(row["name"], row["note"], json.loads(row["tags"]), bool(row["pinned"]), bool(row["archived"]))


def _schema_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


class Store:
    """The registry in `home`/studio.db. Cheap to make; safe to use from several threads and processes at once."""

    def __init__(self, home: Path) -> None:
        self.path = home / "studio.db"
        with self._connected() as connection:
            if _schema_version(connection) < len(_SCHEMA):
                use_write_ahead_log(connection)
                connection.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA[_schema_version(connection) :]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {len(_SCHEMA)}")
                connection.execute("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection in autocommit; what is one step is wrapped in BEGIN IMMEDIATE by its caller."""
        with translated_errors(self.path, "The workspace's registry"), closing(connect_readable(self.path, read_only=False)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """While it lasts, no other connection is the last to be closed: at that SQLite writes its log into the file and waits for the disk,
        which on a busy one takes a tenth of a second each time."""
        with self._connected() as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # until then it isn't really open
            yield

    def _execute(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of the answer to one statement."""
        with self._connected() as connection:
            return connection.execute(query, tuple(map(_text, values))).fetchall()

    # ---- models, datasets and environments -----------------------------------------------------------------------------------

    def add(self, cls: type[_Versioned], name: str, make: Callable[[int], _Versioned]) -> _Versioned:
        """Count the version up and insert what `make(version)` returns, as one step. `make` moves the files into place."""
        table = f"{cls.__name__.lower()}s"
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            other = connection.execute(f"SELECT name FROM {table} WHERE lower(name) = lower(?1) AND name <> ?1", (name,)).fetchone()
            if other:  # one folder on a file system that folds case
                raise SettingsError("name", f"“{name}” and the registered “{other[0]}” differ in case only", "Choose another name.")
            latest = connection.execute(f"SELECT max(version) FROM {table} WHERE name = ?", (name,)).fetchone()[0]
            thing = make((latest or 0) + 1)
            row = {"name": name, "version": thing.version, "created_at": _text(thing.created_at), "value": to_json(thing)}
            if isinstance(thing, Model):
                row["sha256"] = thing.sha256
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
            connection.execute("COMMIT")
        logger.info("Registered %s in %s", reference(name, thing.version), table)
        return thing

    def all(self, cls: type[_Versioned], name: str | None = None, version: int | None = None) -> list[_Versioned]:
        """The models, datasets or environments, newest first; of one name and version where given. `approved` is as it is now."""
        approved = "EXISTS (SELECT 1 FROM approvals a WHERE a.sha256 = t.sha256)" if cls is Model else "false"
        rows = self._execute(
            f"SELECT value, {approved} FROM {cls.__name__}s t WHERE value <> ''"
            " AND (?1 IS NULL OR name = ?1) AND (?2 IS NULL OR version = ?2)"
            " ORDER BY created_at DESC, name, version DESC",
            name,
            version,
        )
        return [from_builtins(json.loads(value) | {"approved": bool(approved)}, cls) for value, approved in rows]

    def get(self, cls: type[_Versioned], name: str, version: int | None) -> _Versioned:
        """One of them: the latest version where none is given. Raises NotFound."""
        if found := self.all(cls, name, version):
            return max(found, key=lambda thing: thing.version)
        noun, wanted = cls.__name__.lower(), name if version is None else reference(name, version)
        raise NotFound(f"There is no {noun} called “{wanted}”.", f"The {noun} list shows what is registered.")

    def remove(self, cls: type[_Versioned], name: str, version: int) -> None:
        """Forget one of them. Its row stays empty: its number is given to no other, since runs name it."""
        self._execute(f"UPDATE {cls.__name__}s SET value = '' WHERE name = ? AND version = ?", name, version)
        logger.info("Removed %s from %ss", reference(name, version), cls.__name__.lower())

    def approve(self, sha256: str) -> None:
        self._execute("INSERT OR IGNORE INTO approvals VALUES (?, ?)", sha256, utc_now())
        logger.info("Approved %s", sha256)

    def approved(self, sha256: str) -> bool:
        return bool(self._execute("SELECT 1 FROM approvals WHERE sha256 = ?", sha256))

    def keep_model_card(self, sha256: str, source: str, card: ModelCard) -> None:
        """Keep what is known of the model with this content from `source`: its file, or a process of an environment."""
        self._execute("INSERT OR REPLACE INTO model_cards VALUES (?, ?, ?, ?)", sha256, source, utc_now(), to_json(card))

    def model_card(self, sha256: str, source: str) -> ModelCard | None:
        rows = self._execute("SELECT value FROM model_cards WHERE sha256 = ? AND source = ?", sha256, source)
        return from_builtins(json.loads(rows[0]["value"]), ModelCard) if rows else None

    def keep_preset(self, model: str, value: str) -> None:
        """Keep what was chosen for the model of this name, as text."""
        self._execute("INSERT OR REPLACE INTO presets VALUES (?, ?, ?)", model, utc_now(), value)

    def preset(self, model: str) -> str | None:
        rows = self._execute("SELECT value FROM presets WHERE model = ?", model)
        return rows[0]["value"] if rows else None

    def run_presets(self, name: str | None = None) -> dict[str, str]:
        """The settings that are kept under a name, or those of one name, as texts by name, in the order of the names."""
        query = "SELECT name, value FROM run_presets WHERE ?1 IS NULL OR name = ?1 ORDER BY lower(name), name"
        return {row["name"]: row["value"] for row in self._execute(query, name)}

    def keep_run_preset(self, name: str, value: str) -> None:
        self._execute("INSERT OR REPLACE INTO run_presets VALUES (?, ?, ?)", name, utc_now(), value)

    def rename_run_preset(self, name: str, new: str) -> None:
        """Raises NotFound, and SettingsError on `name` where another one is called so."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT 1 FROM run_presets WHERE name = ?1 AND name <> ?2", (readable(new), readable(name))).fetchone():
                raise SettingsError("name", f"there is a preset called “{new}” already", "Choose another name, or delete that one.")
            if not connection.execute("UPDATE run_presets SET name = ? WHERE name = ?", (readable(new), readable(name))).rowcount:
                raise NotFound(f"There is no preset called “{name}”.", "It may have been renamed or deleted.")
            connection.execute("COMMIT")

    def remove_run_preset(self, name: str) -> None:
        self._execute("DELETE FROM run_presets WHERE name = ?", name)

    def metadata(self, kind: ResourceKind, reference: str | None = None) -> dict[str, Metadata]:
        """What people said of the resources of this kind, or of one, by reference; of those of which nobody said anything, nothing."""
        query = "SELECT reference, name, note, tags, pinned, archived FROM metadata WHERE kind = ?1 AND (?2 IS NULL OR reference = ?2)"
        return {row["reference"]: _metadata(row) for row in self._execute(query, kind, reference)}

    def change_metadata(self, kind: ResourceKind, reference: str, change: Callable[[Metadata], Metadata]) -> Metadata:
        """Keep what `change` makes of what people said of a resource, as one step."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(
                "SELECT name, note, tags, pinned, archived FROM metadata WHERE kind = ? AND reference = ?", (kind, reference)
            ).fetchone()
            new = change(_metadata(row) if row else Metadata())
            values = (kind, reference, readable(new.name), readable(new.note), json.dumps(dict(new.tags)), new.pinned, new.archived)
            connection.execute("INSERT OR REPLACE INTO metadata VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            connection.execute("COMMIT")
        return new

    def forget_metadata(self, kind: ResourceKind, reference: str) -> None:
        self._execute("DELETE FROM metadata WHERE kind = ? AND reference = ?", kind, reference)

    def environments_used(self) -> dict[str, datetime]:
        """When each environment, by its reference, was last used: by a run that was submitted, or to inspect a model."""
        query = """SELECT used, max(at) FROM (
            SELECT json_extract(request, '$.environment') AS used, submitted_at AS at FROM runs
            UNION ALL SELECT substr(source, 1, instr(source, ';') - 1), made_at FROM model_cards WHERE instr(source, ';')
        ) WHERE used <> '' GROUP BY used"""
        return {used: datetime.fromisoformat(at) for used, at in self._execute(query)}

    # ---- runs ----------------------------------------------------------------------------------------------------------------

    def insert_run(
        self, run_id: str, request: RunRequest, items: int | None, mini_batches: int | None, warnings: tuple[str, ...] = (), **columns: Any
    ) -> Run:
        """Record a run, as NotStarted unless `columns` say otherwise. Where the request's `submission_id` was seen before, return that
        run instead."""
        row = {
            "id": run_id, "submission_id": request.submission_id or None, "request": to_json(request),
            "status": RunStatus.NOT_STARTED, "submitted_at": _text(utc_now()), "items_total": items,
            "mini_batches_total": mini_batches, "items_succeeded": 0, "items_failed": 0, "mini_batches_done": 0,
            "warnings": json.dumps(warnings), "subject": _subject(request),
        } | {name: _text(value) for name, value in columns.items()}  # fmt: skip
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            seen = connection.execute("SELECT id FROM runs WHERE submission_id = ?", (row["submission_id"],)).fetchone()
            if seen is None:
                connection.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
            connection.execute("COMMIT")
        if seen is None:
            logger.info("Recorded %s as %s: %s mini-batches", run_id, row["status"], mini_batches)
        return self.run(seen["id"] if seen else run_id)

    def update_run(self, run_id: str, **columns: Any) -> None:
        """Write what the run's own process knows. Names are `Run`'s."""
        assert columns.keys() <= set(_RUN_COLUMNS), columns
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._execute(f"UPDATE runs SET {assignments} WHERE id = ?", *columns.values(), run_id)
        if columns.get("ended_at"):
            logger.info("%s ended: %s %s", run_id, columns.get("status", ""), columns.get("error_code") or "")

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
        raise NotFound(f"There is no run “{run_id}”.", "The runs list shows what there is.")

    def runs(self, limit: int) -> list[Run]:
        """The newest runs first."""
        return [self._run(row) for row in self._execute("SELECT * FROM runs ORDER BY submitted_at DESC, id DESC LIMIT ?", limit)]

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

    def unended_runs(self) -> list[Run]:
        """The runs that have not ended, the oldest first."""
        marks = [status.value for status in RunStatus if status.ended]
        query = f"SELECT * FROM runs WHERE status NOT IN ({', '.join('?' * len(marks))}) ORDER BY submitted_at, id"
        return [self._run(row) for row in self._execute(query, *marks)]

    @staticmethod
    def _run(row: sqlite3.Row) -> Run:
        values = dict(row) | {"request": json.loads(row["request"]), "warnings": json.loads(row["warnings"])}
        if row["cancel_requested"] and not RunStatus(row["status"]).ended:
            values["status"] = RunStatus.CANCEL_REQUESTED
        return from_builtins(values, Run)
