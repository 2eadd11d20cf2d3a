"""The registry: models, datasets, approvals and runs in one SQLite file of the home. Both workspaces write their runs here.

One writer per fact: pages insert a run and ask for its cancel, the run's own process writes the rest. What happens to each mini-batch
stands in the run's own journal (`journal.py`), so that a busy run slows no other. WAL and `synchronous=NORMAL`: safe against a killed
process, not against power loss.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
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
    parse_reference,
    readable,
    reference,
    utc_now,
)
from services.errors import NotFound, SettingsError, WorkspaceUnavailable
from services.run_query import RunChoices, RunQuery
from services.storage import reserve, run_search
from services.storage.serialization import from_builtins, to_json
from services.storage.sqlite import connect_readable, translated_errors, use_write_ahead_log

logger = logging.getLogger(__name__)


def _metadata_columns(said: Metadata) -> dict[str, Any]:
    tags = json.dumps(dict(said.tags))
    return {"name": readable(said.name), "note": readable(said.note), "tags": tags, "pinned": said.pinned, "archived": said.archived}


def _set_columns(connection: sqlite3.Connection, run_id: str, columns: Mapping[str, Any]) -> None:
    connection.execute(f"UPDATE runs SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?", (*columns.values(), run_id))


def _fill_search_columns(connection: sqlite3.Connection) -> None:
    """What the runs of a registry from before are found by; one whose request can't be read is found by nothing."""
    for run_id, request in connection.execute("SELECT id, request FROM runs").fetchall():
        with suppress(ValueError, SettingsError):
            _set_columns(connection, run_id, run_search.search_columns(run_id, from_builtins(json.loads(request), RunRequest), Metadata()))


_SET_SECONDS = """UPDATE runs SET seconds = (julianday(coalesce(stopped_at, ended_at)) - julianday(started_at)) * 86400 - paused_seconds
    WHERE rowid = new.rowid"""
_LINKS = " UNION ALL ".join(
    f"SELECT '{kind}', each.value, {{row}}.id FROM {{source}}json_each({values}) AS each WHERE each.value <> ''"
    for kind, values in (
        ("model", "{row}.request, '$.models'"), ("dataset", "{row}.request, '$.datasets'"),
        ("side input", "{row}.request, '$.side_inputs'"), ("environment", "{row}.request, '$.environment'"),
        ("run", "{row}.request, '$.rerun_of'"), ("run", "json_array({row}.reused_from)"),
    )
)  # fmt: skip
"""SQL: what runs name, each as (kind, reference, run's id)."""

_WITH_METADATA = "WHERE name <> '' OR note <> '' OR tags <> '{}' OR pinned OR archived"
"""SQL: the runs of which something was said."""

# How many of these statements a registry has had is its user_version. New ones come last; none is ever changed.
_SCHEMA: tuple[str | Callable[[sqlite3.Connection], None], ...] = (
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
    # Files in the home of what was deleted, which are to be removed: a process may be killed before it has.
    "CREATE TABLE deletions (path TEXT PRIMARY KEY)",
    # What people said of a run stands in its own row, beside what it is found by.
    "ALTER TABLE runs ADD COLUMN name TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE runs ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE runs ADD COLUMN archived INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE runs ADD COLUMN models TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN datasets TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN script TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN environment TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN found_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN title TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN folded_name TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN seconds REAL",
    f"CREATE TRIGGER runs_timed_at_first AFTER INSERT ON runs BEGIN {_SET_SECONDS}; END",
    f"CREATE TRIGGER runs_timed AFTER UPDATE OF started_at, ended_at, stopped_at, paused_seconds ON runs BEGIN {_SET_SECONDS}; END",
    _SET_SECONDS.partition(" WHERE")[0],
    _fill_search_columns,
    # All that a search asks of every run: none reads the requests of 100,000 runs.
    """CREATE INDEX runs_searched ON runs (
    pinned, submitted_at, id, archived, status, seconds, items_total, items_succeeded, items_failed, models, datasets, script, tags,
    folded_name, found_by
)""",
    "CREATE INDEX runs_by_submission ON runs (submitted_at, id)",
    "CREATE INDEX runs_by_environment ON runs (environment, submitted_at)",
    f"CREATE INDEX runs_unended ON runs (submitted_at, id) WHERE status NOT IN ({run_search.ENDED})",
    # What each run names, to be looked up from the other end: models, datasets and an environment by reference, earlier runs by id. The
    # triggers keep it whole, whoever writes a run.
    """CREATE TABLE run_links (kind TEXT, reference TEXT, run TEXT, PRIMARY KEY (kind, reference, run)) WITHOUT ROWID""",
    "CREATE INDEX run_links_by_run ON run_links (run, kind)",
    f"INSERT OR IGNORE INTO run_links {_LINKS.format(row='runs', source='runs, ')}",
    f"""CREATE TRIGGER run_links_of_new AFTER INSERT ON runs BEGIN
    INSERT OR IGNORE INTO run_links {_LINKS.format(row="NEW", source="")};
END""",
    """CREATE TRIGGER run_links_of_reused AFTER UPDATE OF reused_from ON runs WHEN NEW.reused_from <> '' BEGIN
    INSERT OR IGNORE INTO run_links VALUES ('run', NEW.reused_from, NEW.id);
END""",
    "CREATE TRIGGER run_links_of_deleted AFTER DELETE ON runs BEGIN DELETE FROM run_links WHERE run = OLD.id; END",
    "ALTER TABLE runs ADD COLUMN scored_with TEXT",
    "CREATE INDEX runs_by_scored_with ON runs (scored_with, submitted_at)",
    "ALTER TABLE runs ADD COLUMN imported_from TEXT",
    "ALTER TABLE runs ADD COLUMN imported_digest TEXT",
    "CREATE UNIQUE INDEX runs_by_imported_digest ON runs (imported_digest) WHERE imported_digest IS NOT NULL",
    f"CREATE INDEX runs_with_metadata ON runs (id) {_WITH_METADATA}",
    "CREATE TABLE dismissals (subject TEXT PRIMARY KEY, dismissed_at TEXT)",
)

_ADDS_TO = "(json_extract(request, '$.failed_only') OR json_extract(request, '$.new_only'))"  # see RunRequest.adds_to
_RUN_COLUMNS = (
    "status", "started_at", "ended_at", "heartbeat_at", "stopped_at", "paused_seconds", "items_total", "items_succeeded", "items_failed",
    "mini_batches_total", "mini_batches_done", "workers", "rate", "doing", "error_code", "error", "warnings", "reused_from",
)  # fmt: skip
_TABLES = {ResourceKind.MODEL: "models", ResourceKind.DATASET: "datasets", ResourceKind.ENVIRONMENT: "environments"}
_RUN_METADATA = f"(SELECT id AS reference, name, note, tags, pinned, archived FROM runs {_WITH_METADATA})"
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


def needed_by(kind: ResourceKind, reference: str, runs: Sequence[str]) -> SettingsError:
    """Why a resource is not deleted: these runs have not ended."""
    if list(runs) == [reference]:
        return SettingsError(kind, f"run {reference} has not ended", "Wait for its end, resume it, or cancel it.")
    one = len(runs) == 1
    names = f"run {runs[0]}" if one else f"the runs {', '.join(runs[:10])}"
    text = f"{kind} {reference} is needed by {names}, which {'has' if one else 'have'} not ended"
    return SettingsError(kind, text, "Wait for its end, resume it, or cancel it." if one else "Wait for their ends, resume or cancel them.")


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
            query = f"SELECT 1 FROM {_TABLES[kind]} WHERE name = ? AND version = ? AND value = ''"
            if version.isdecimal() and connection.execute(query, (name, int(version))).fetchone():
                raise NotFound(f"The {kind} “{wanted}” was deleted, which the run needs.", f"Submit a run with another {kind}.")
    earlier = request.adds_to
    if earlier and not connection.execute("SELECT 1 FROM runs WHERE id = ?", (earlier,)).fetchone():
        raise NotFound(f"Run “{earlier}” was deleted, to whose predictions these were to be added.", "Submit a new run.")


def _check_no_other_has_it(connection: sqlite3.Connection, name: str) -> None:
    """Raises SettingsError where an environment was renamed to this name: it is found by it."""
    query = "SELECT reference FROM metadata WHERE kind = 'environment' AND lower(name) = lower(?)"
    if other := connection.execute(query, (name,)).fetchone():
        raise SettingsError("name", f"environment {other[0]} was renamed to “{name}”", "Choose another name, or rename that one.")


def _is_in(folder: Path, place: str | None) -> bool:
    return bool(place) and Path(str(place)).is_relative_to(folder)


def _no_run(run_id: str) -> NotFound:
    return NotFound(f"There is no run “{run_id}”.", "The runs list shows what there is.")


def _schema_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


class Store:
    """The registry in `home`/studio.db. Cheap to make; safe to use from several threads and processes at once."""

    def __init__(self, home: Path) -> None:
        self.path = home / "studio.db"
        reserve.keep(home)
        with self._connected() as connection:
            if _schema_version(connection) < len(_SCHEMA):
                use_write_ahead_log(connection)
                connection.execute("BEGIN IMMEDIATE")
                for step in _SCHEMA[_schema_version(connection) :]:
                    connection.execute(step) if isinstance(step, str) else step(connection)
                connection.execute(f"PRAGMA user_version = {len(_SCHEMA)}")
                connection.execute("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection in autocommit; what is one step is wrapped in BEGIN IMMEDIATE by its caller."""
        with translated_errors(self.path, "The workspace's registry"), closing(self._connect()) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection

    def _connect(self) -> sqlite3.Connection:
        try:
            return connect_readable(self.path, read_only=False)
        except sqlite3.OperationalError:
            if not reserve.release(self.path.parent):
                raise
            return connect_readable(self.path, read_only=False)

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
            if cls is Environment:
                _check_no_other_has_it(connection, name)
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
            f"SELECT value, {approved}, m.note, m.tags FROM {cls.__name__}s t"
            f" LEFT JOIN metadata m ON m.kind = '{cls.__name__.lower()}' AND m.reference = t.name || ':' || t.version"
            " WHERE value <> '' AND (?1 IS NULL OR t.name = ?1) AND (?2 IS NULL OR version = ?2)"
            " ORDER BY created_at DESC, t.name, version DESC",
            name,
            version,
        )
        found = []
        for value, is_approved, note, tags in rows:
            values = json.loads(value) | {"approved": bool(is_approved)}
            if tags is not None:  # what was said of it since
                values |= {"description": note, "tags": json.loads(tags)}
            found.append(from_builtins(values, cls))
        return found

    def get(self, cls: type[_Versioned], name: str, version: int | None) -> _Versioned:
        """One of them: the latest version where none is given. Raises NotFound."""
        if found := self.all(cls, name, version):
            return max(found, key=lambda thing: thing.version)
        noun, wanted = cls.__name__.lower(), name if version is None else reference(name, version)
        hint = f"The {noun} list shows what is registered."
        if self._execute(f"SELECT 1 FROM {noun}s WHERE name = ?1 AND (?2 IS NULL OR version = ?2)", name, version):
            raise NotFound(f"The {noun} “{wanted}” was deleted.", hint)
        raise NotFound(f"There is no {noun} called “{wanted}”.", hint)

    def delete(self, kind: ResourceKind, name: str, version: int, paths: Sequence[str]) -> None:
        """Forget a model, dataset or environment. Its row stays empty: its number is given to no other, since runs name it. In the same
        step `paths`, relative to the home, are noted to be removed. Raises SettingsError where a run that has not ended needs it."""
        wanted = reference(name, version)

        def forget(connection: sqlite3.Connection) -> None:
            if active := self._naming(connection, kind, wanted, active=True):
                raise needed_by(kind, wanted, active)
            connection.execute(f"UPDATE {_TABLES[kind]} SET value = '' WHERE name = ? AND version = ?", (name, version))
            self._note_deletion(connection, kind, wanted, paths)

        self._in_one_step(forget)
        logger.info("Deleted %s %s", kind, wanted)

    def delete_run(self, run_id: str, paths: Sequence[str]) -> None:
        """Forget a run. In the same step `paths`, relative to the home, are noted to be removed. To be called with the run's lock, where it
        has one. Raises SettingsError where it has not ended, or another that has not needs it."""
        unended = f"SELECT id FROM runs WHERE id = ? AND status NOT IN ({run_search.ENDED})"

        def forget(connection: sqlite3.Connection) -> None:
            active = [row[0] for row in connection.execute(unended, (run_id,))]
            if active := active or self._naming(connection, ResourceKind.RUN, run_id, active=True, added=True):
                raise needed_by(ResourceKind.RUN, run_id, active)
            connection.execute("DELETE FROM runs WHERE id = ?", (run_id,))
            self._note_deletion(connection, ResourceKind.RUN, run_id, paths)

        self._in_one_step(forget)
        logger.info("Deleted %s", run_id)

    def _in_one_step(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """On a full disk once more, in the room set aside."""
        for room in (True, False):
            try:
                with self._connected() as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    change(connection)
                    connection.execute("COMMIT")
                return
            except WorkspaceUnavailable:
                if not (room and reserve.release(self.path.parent)):
                    raise

    @staticmethod
    def _note_deletion(connection: sqlite3.Connection, kind: ResourceKind, reference: str, paths: Sequence[str]) -> None:
        connection.execute("DELETE FROM metadata WHERE kind = ? AND reference = ?", (kind, reference))
        connection.executemany("INSERT OR IGNORE INTO deletions VALUES (?)", [(path,) for path in paths])

    def note_deletions(self, paths: Sequence[str]) -> None:
        """Note further paths, relative to the home, to be removed."""
        for path in paths:
            self._execute("INSERT OR IGNORE INTO deletions VALUES (?)", path)

    def deletions(self) -> list[str]:
        """The paths that are still to be removed."""
        return [row[0] for row in self._execute("SELECT path FROM deletions ORDER BY path")]

    def deletion_done(self, path: str) -> None:
        self._execute("DELETE FROM deletions WHERE path = ?", path)

    def runs_naming(self, kind: ResourceKind, reference: str, *, active: bool = False, added: bool = False) -> list[str]:
        """The ids of the runs that name a model, dataset (also as a side input), environment, or a run as the one they do again, the newest
        first: all of them, or those that have not ended, or those whose predictions are partly its own."""
        with self._connected() as connection:
            return self._naming(connection, kind, reference, active=active, added=added)

    @staticmethod
    def _naming(
        connection: sqlite3.Connection, kind: ResourceKind, reference: str, *, active: bool = False, added: bool = False
    ) -> list[str]:
        kinds = {ResourceKind.DATASET: ("dataset", "side input")}.get(kind, (kind,))
        links = f"FROM run_links WHERE kind IN ({', '.join('?' * len(kinds))}) AND reference = ?"
        if active:  # they are few
            query = f"""SELECT id FROM runs INDEXED BY runs_unended WHERE status NOT IN ({run_search.ENDED})
                AND EXISTS (SELECT 1 {links} AND run = runs.id)"""
        elif kind is ResourceKind.RUN:
            query = f"SELECT id FROM runs WHERE id IN (SELECT run {links})"
        else:  # of links alone, for there may be 100,000
            return [row[0] for row in connection.execute(f"SELECT DISTINCT run {links} ORDER BY run DESC", (*kinds, reference))]
        if kind is ResourceKind.RUN:  # not those that took its output, of which they have a copy
            query += " AND json_extract(request, '$.rerun_of') IS NOT NULL" + f" AND {_ADDS_TO}" * added
        return [row[0] for row in connection.execute(f"{query} ORDER BY submitted_at DESC, id DESC", (*kinds, reference))]

    def datasets_below(self, folder: Path) -> list[str]:
        """The references of the datasets whose files, or those that they were made of, lie in this folder."""
        places = "SELECT name, version, json_extract(value, '$.root') AS root, json_extract(value, '$.source_root') AS source FROM datasets"
        rows = self._execute(f"{places} WHERE value <> '' AND (instr(root, ?1) = 1 OR instr(source, ?1) = 1)", str(folder))
        return [reference(row["name"], row["version"]) for row in rows if any(_is_in(folder, row[place]) for place in ("root", "source"))]

    def references(self, kind: ResourceKind) -> set[str]:
        """Those that were ever registered; of deleted ones, too: what runs still need of them stays."""
        return {reference(name, version) for name, version in self._execute(f"SELECT name, version FROM {_TABLES[kind]}")}

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
        """What people said of the resources of this kind, or of one, by reference, what they said at its registration included; of those of
        which nobody said anything, nothing."""
        with self._connected() as connection:
            return self._metadata_in(connection, kind, reference)

    @staticmethod
    def _metadata_in(connection: sqlite3.Connection, kind: ResourceKind, reference: str | None) -> dict[str, Metadata]:
        found = {}
        if kind in (ResourceKind.MODEL, ResourceKind.DATASET):
            name, version = parse_reference(reference, kind) if reference else (None, None)
            query = f"""SELECT name || ':' || version AS reference, '' AS name, coalesce(json_extract(value, '$.description'), '') AS note,
                coalesce(json_extract(value, '$.tags'), '{{}}') AS tags, 0 AS pinned, 0 AS archived FROM {_TABLES[kind]}
                WHERE value <> '' AND (?1 IS NULL OR (name = ?1 AND version = ?2)) AND (note <> '' OR tags <> '{{}}')"""
            found = {row["reference"]: _metadata(row) for row in connection.execute(query, (name, version))}
        if kind is ResourceKind.RUN and reference:
            query = "SELECT id, name, note, tags, pinned, archived FROM runs WHERE id = ?"
            return {row["id"]: _metadata(row) for row in connection.execute(query, (reference,))}
        table, kinds = (_RUN_METADATA, "?1 = 'run'") if kind is ResourceKind.RUN else ("metadata", "kind = ?1")
        query = f"SELECT reference, name, note, tags, pinned, archived FROM {table} WHERE {kinds} AND (?2 IS NULL OR reference = ?2)"
        said = {row["reference"]: _metadata(row) for row in connection.execute(query, (kind, reference))}
        return found | said

    def change_metadata(
        self, kind: ResourceKind, reference: str, change: Callable[[Metadata], Metadata], *, begin: Metadata | None = None
    ) -> Metadata:
        """Keep what `change` makes of what people said of a resource, as one step. From then on it holds in place of what was said at its
        registration, which is `begin` where this registry doesn't have it. Raises NotFound for a run that isn't there."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            new = change(self._metadata_in(connection, kind, reference).get(reference, begin or Metadata()))
            columns = _metadata_columns(new)
            if kind is ResourceKind.RUN:
                row = connection.execute("SELECT request FROM runs WHERE id = ?", (reference,)).fetchone()
                if row is None:
                    raise _no_run(reference)
                request = from_builtins(json.loads(row["request"]), RunRequest)
                _set_columns(connection, reference, columns | run_search.search_columns(reference, request, new))
            else:
                values = (kind, reference, *columns.values())
                connection.execute("INSERT OR REPLACE INTO metadata VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            connection.execute("COMMIT")
        return new

    def forget_metadata(self, kind: ResourceKind, reference: str) -> None:
        if kind is ResourceKind.RUN:  # what was said of one that is gone went with it
            with suppress(NotFound):
                self.change_metadata(kind, reference, lambda _: Metadata())
        self._execute("DELETE FROM metadata WHERE kind = ? AND reference = ?", kind, reference)

    def dismiss(self, subject: str) -> None:
        """Keep that a person has seen this and needs to see it no more."""
        self._execute("INSERT OR REPLACE INTO dismissals VALUES (?, ?)", subject, utc_now())

    def dismissed(self, subjects: Iterable[str]) -> set[str]:
        """Those of them that were dismissed."""
        query = "SELECT subject FROM dismissals WHERE subject IN (SELECT value FROM json_each(?))"
        return {row["subject"] for row in self._execute(query, json.dumps(list(map(readable, subjects))))}

    def environments_used(self) -> dict[str, datetime]:
        """When each environment, by its reference, was last used: by a run that was submitted, or to inspect a model."""
        query = """SELECT used, max(at) FROM (
            SELECT environment AS used, max(submitted_at) AS at FROM runs GROUP BY environment
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
            "warnings": json.dumps(warnings), "subject": _subject(request), **run_search.search_columns(run_id, request, Metadata()),
        } | {name: _text(value) for name, value in columns.items()}  # fmt: skip
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
        row |= {name: _text(value) for name, value in columns.items()} | _metadata_columns(run.metadata)
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
            _set_columns(connection, run_id, {name: _text(value) for name, value in columns.items()})
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
        raise _no_run(run_id)

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
        values = {name: _text(value) for name, value in values.items()}
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
        values["metadata"] = _metadata(row)
        if row["cancel_requested"] and not RunStatus(row["status"]).ended:
            values["status"] = RunStatus.CANCEL_REQUESTED
        return from_builtins(values, Run)
