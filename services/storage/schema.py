"""The registry's schema, step by step.

How many of these steps a registry has had is its user_version. New ones come last, and none is ever changed: they are literal
texts that use nothing else of the program.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePath
from typing import Any


def _without_lone_surrogates(value: Any) -> Any:
    """JSON's values as they can be kept: no encoding has half a character."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_without_lone_surrogates(each) for each in value]
    return {name: _without_lone_surrogates(each) for name, each in value.items()} if isinstance(value, dict) else value


def _fill_search_columns(connection: sqlite3.Connection) -> None:
    """By what the runs of an earlier registry are found; those whose request can't be read are found by nothing."""
    for run_id, text in connection.execute("SELECT id, request FROM runs").fetchall():
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            request = _without_lone_surrogates(json.loads(text))
            models, datasets, script = request["models"], request["datasets"], PurePath(request["entry_script"]).name
            title = (request.get("name") or "").strip() or f"{', '.join(models) or script} on {', '.join(datasets)}"
            name = " ".join(title.split())
            found_by = "\n".join((name, run_id, *models, *datasets, script, "")).casefold()
            connection.execute(
                """UPDATE runs SET models = ?, datasets = ?, script = ?, environment = ?, title = ?, folded_name = ?, found_by = ?
                WHERE id = ?""",
                (
                    "\n".join(models), "\n".join(datasets), script, request.get("environment") or "", title, name.casefold(), found_by,
                    run_id,
                ),
            )  # fmt: skip


SCHEMA: tuple[str | Callable[[sqlite3.Connection], None], ...] = (
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
    """CREATE TRIGGER runs_timed_at_first AFTER INSERT ON runs BEGIN
    UPDATE runs SET seconds = (julianday(coalesce(stopped_at, ended_at)) - julianday(started_at)) * 86400 - paused_seconds
    WHERE rowid = new.rowid;
END""",
    """CREATE TRIGGER runs_timed AFTER UPDATE OF started_at, ended_at, stopped_at, paused_seconds ON runs BEGIN
    UPDATE runs SET seconds = (julianday(coalesce(stopped_at, ended_at)) - julianday(started_at)) * 86400 - paused_seconds
    WHERE rowid = new.rowid;
END""",
    "UPDATE runs SET seconds = (julianday(coalesce(stopped_at, ended_at)) - julianday(started_at)) * 86400 - paused_seconds",
    _fill_search_columns,
    # All that a search asks of every run: none reads the requests of 100,000 runs.
    """CREATE INDEX runs_searched ON runs (
    pinned, submitted_at, id, archived, status, seconds, items_total, items_succeeded, items_failed, models, datasets, script, tags,
    folded_name, found_by
)""",
    "CREATE INDEX runs_by_submission ON runs (submitted_at, id)",
    "CREATE INDEX runs_by_environment ON runs (environment, submitted_at)",
    "CREATE INDEX runs_unended ON runs (submitted_at, id) WHERE status NOT IN ('Completed', 'Failed', 'Canceled')",
    # What each run names, to be looked up from the other end: models, datasets and an environment by reference, earlier runs by id. The
    # triggers keep it whole, whoever writes a run.
    """CREATE TABLE run_links (kind TEXT, reference TEXT, run TEXT, PRIMARY KEY (kind, reference, run)) WITHOUT ROWID""",
    "CREATE INDEX run_links_by_run ON run_links (run, kind)",
    """INSERT OR IGNORE INTO run_links
    SELECT 'model', each.value, runs.id FROM runs, json_each(runs.request, '$.models') AS each WHERE each.value <> ''
    UNION ALL SELECT 'dataset', each.value, runs.id FROM runs, json_each(runs.request, '$.datasets') AS each WHERE each.value <> ''
    UNION ALL SELECT 'side input', each.value, runs.id FROM runs, json_each(runs.request, '$.side_inputs') AS each WHERE each.value <> ''
    UNION ALL SELECT 'environment', each.value, runs.id FROM runs, json_each(runs.request, '$.environment') AS each WHERE each.value <> ''
    UNION ALL SELECT 'run', each.value, runs.id FROM runs, json_each(runs.request, '$.rerun_of') AS each WHERE each.value <> ''
    UNION ALL SELECT 'run', each.value, runs.id FROM runs, json_each(json_array(runs.reused_from)) AS each WHERE each.value <> ''""",
    """CREATE TRIGGER run_links_of_new AFTER INSERT ON runs BEGIN
    INSERT OR IGNORE INTO run_links
    SELECT 'model', each.value, NEW.id FROM json_each(NEW.request, '$.models') AS each WHERE each.value <> ''
    UNION ALL SELECT 'dataset', each.value, NEW.id FROM json_each(NEW.request, '$.datasets') AS each WHERE each.value <> ''
    UNION ALL SELECT 'side input', each.value, NEW.id FROM json_each(NEW.request, '$.side_inputs') AS each WHERE each.value <> ''
    UNION ALL SELECT 'environment', each.value, NEW.id FROM json_each(NEW.request, '$.environment') AS each WHERE each.value <> ''
    UNION ALL SELECT 'run', each.value, NEW.id FROM json_each(NEW.request, '$.rerun_of') AS each WHERE each.value <> ''
    UNION ALL SELECT 'run', each.value, NEW.id FROM json_each(json_array(NEW.reused_from)) AS each WHERE each.value <> '';
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
    "CREATE INDEX runs_with_metadata ON runs (id) WHERE name <> '' OR note <> '' OR tags <> '{}' OR pinned OR archived",
    "CREATE TABLE dismissals (subject TEXT PRIMARY KEY, dismissed_at TEXT)",
)
