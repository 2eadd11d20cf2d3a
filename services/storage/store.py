"""The registry: what is registered and the runs in one SQLite file of the home, what people said of them, and how they are deleted."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from services.domain import (
    Metadata,
    ResourceKind,
    RunRequest,
    parse_reference,
    reference,
)
from services.errors import NotFound, SettingsError
from services.storage import run_search
from services.storage.database import metadata_columns, metadata_of
from services.storage.resource_store import TABLES, ResourceStore
from services.storage.run_store import RunStore, no_run, set_columns
from services.storage.serialization import from_builtins

logger = logging.getLogger(__name__)

_ADDS_TO = "(json_extract(request, '$.failed_only') OR json_extract(request, '$.new_only'))"  # see RunRequest.adds_to
_RUN_METADATA = """(SELECT id AS reference, name, note, tags, pinned, archived FROM runs
    WHERE name <> '' OR note <> '' OR tags <> '{}' OR pinned OR archived)"""  # by the index runs_with_metadata


def needed_by(kind: ResourceKind, reference: str, runs: Sequence[str]) -> SettingsError:
    """Why a resource is not deleted: these runs have not ended."""
    if list(runs) == [reference]:
        return SettingsError(kind, f"run {reference} has not ended", "Wait for its end, resume it, or cancel it.")
    one = len(runs) == 1
    names = f"run {runs[0]}" if one else f"the runs {', '.join(runs[:10])}"
    text = f"{kind} {reference} is needed by {names}, which {'has' if one else 'have'} not ended"
    return SettingsError(kind, text, "Wait for its end, resume it, or cancel it." if one else "Wait for their ends, resume or cancel them.")


class Store(ResourceStore, RunStore):
    """The registry in `home`/studio.db. Cheap to make; safe to use from several threads and processes at once."""

    def delete(self, kind: ResourceKind, name: str, version: int, paths: Sequence[str]) -> None:
        """Forget a model, dataset or environment. Its row stays empty: its number is given to no other, since runs name it. In the same
        step `paths`, relative to the home, are noted to be removed. Raises SettingsError where a run that has not ended needs it."""
        wanted = reference(name, version)

        def forget(connection: sqlite3.Connection) -> None:
            if active := self._naming(connection, kind, wanted, active=True):
                raise needed_by(kind, wanted, active)
            connection.execute(f"UPDATE {TABLES[kind]} SET value = '' WHERE name = ? AND version = ?", (name, version))
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
                coalesce(json_extract(value, '$.tags'), '{{}}') AS tags, 0 AS pinned, 0 AS archived FROM {TABLES[kind]}
                WHERE value <> '' AND (?1 IS NULL OR (name = ?1 AND version = ?2)) AND (note <> '' OR tags <> '{{}}')"""
            found = {row["reference"]: metadata_of(row) for row in connection.execute(query, (name, version))}
        if kind is ResourceKind.RUN and reference:
            query = "SELECT id, name, note, tags, pinned, archived FROM runs WHERE id = ?"
            return {row["id"]: metadata_of(row) for row in connection.execute(query, (reference,))}
        table, kinds = (_RUN_METADATA, "?1 = 'run'") if kind is ResourceKind.RUN else ("metadata", "kind = ?1")
        query = f"SELECT reference, name, note, tags, pinned, archived FROM {table} WHERE {kinds} AND (?2 IS NULL OR reference = ?2)"
        said = {row["reference"]: metadata_of(row) for row in connection.execute(query, (kind, reference))}
        return found | said

    def change_metadata(
        self, kind: ResourceKind, reference: str, change: Callable[[Metadata], Metadata], *, begin: Metadata | None = None
    ) -> Metadata:
        """Keep what `change` makes of what people said of a resource, as one step. From then on it holds in place of what was said at its
        registration, which is `begin` where this registry doesn't have it. Raises NotFound for a run that isn't there."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            new = change(self._metadata_in(connection, kind, reference).get(reference, begin or Metadata()))
            columns = metadata_columns(new)
            if kind is ResourceKind.RUN:
                row = connection.execute("SELECT request FROM runs WHERE id = ?", (reference,)).fetchone()
                if row is None:
                    raise no_run(reference)
                request = from_builtins(json.loads(row["request"]), RunRequest)
                set_columns(connection, reference, columns | run_search.search_columns(reference, request, new))
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

    def environments_used(self) -> dict[str, datetime]:
        """When each environment, by its reference, was last used: by a run that was submitted, or to inspect a model."""
        query = """SELECT used, max(at) FROM (
            SELECT environment AS used, max(submitted_at) AS at FROM runs GROUP BY environment
            UNION ALL SELECT substr(source, 1, instr(source, ';') - 1), made_at FROM model_cards WHERE instr(source, ';')
        ) WHERE used <> '' GROUP BY used"""
        return {used: datetime.fromisoformat(at) for used, at in self._execute(query)}
