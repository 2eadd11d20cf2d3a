"""What is registered: models, datasets, environments; and what people approved, chose or dismissed."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from services.domain import (
    Dataset,
    Environment,
    Model,
    ModelCard,
    ResourceKind,
    readable,
    reference,
    utc_now,
)
from services.errors import NotFound, SettingsError
from services.storage.database import Database, column_value
from services.storage.serialization import from_builtins, to_json

logger = logging.getLogger(__name__)

TABLES = {ResourceKind.MODEL: "models", ResourceKind.DATASET: "datasets", ResourceKind.ENVIRONMENT: "environments"}
_Versioned = TypeVar("_Versioned", bound=Model | Dataset | Environment)


def _check_no_other_has_it(connection: sqlite3.Connection, name: str) -> None:
    """Raises SettingsError where an environment was renamed to this name: it is found by it."""
    query = "SELECT reference FROM metadata WHERE kind = 'environment' AND lower(name) = lower(?)"
    if other := connection.execute(query, (name,)).fetchone():
        raise SettingsError("name", f"environment {other[0]} was renamed to “{name}”", "Choose another name, or rename that one.")


def _is_in(folder: Path, place: str | None) -> bool:
    return bool(place) and Path(str(place)).is_relative_to(folder)


class ResourceStore(Database):
    """The registered things and what was chosen, as the registry has them."""

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
            row = {"name": name, "version": thing.version, "created_at": column_value(thing.created_at), "value": to_json(thing)}
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
            " ORDER BY created_at DESC, t.rowid DESC",
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

    def datasets_below(self, folder: Path) -> list[str]:
        """The references of the datasets whose files, or those that they were made of, lie in this folder."""
        places = "SELECT name, version, json_extract(value, '$.root') AS root, json_extract(value, '$.source_root') AS source FROM datasets"
        rows = self._execute(f"{places} WHERE value <> '' AND (instr(root, ?1) = 1 OR instr(source, ?1) = 1)", str(folder))
        return [reference(row["name"], row["version"]) for row in rows if any(_is_in(folder, row[place]) for place in ("root", "source"))]

    def references(self, kind: ResourceKind) -> set[str]:
        """Those that were ever registered; of deleted ones, too: what runs still need of them stays."""
        return {reference(name, version) for name, version in self._execute(f"SELECT name, version FROM {TABLES[kind]}")}

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

    def dismiss(self, subject: str) -> None:
        """Keep that a person has dismissed this."""
        self._execute("INSERT OR REPLACE INTO dismissals VALUES (?, ?)", subject, utc_now())

    def dismissed(self, subjects: Iterable[str]) -> set[str]:
        """Those of them that were dismissed."""
        query = "SELECT subject FROM dismissals WHERE subject IN (SELECT value FROM json_each(?))"
        return {row["subject"] for row in self._execute(query, json.dumps(list(map(readable, subjects))))}
