"""A home after years of work: each list and the home page, a look at a time.

A look is one rerun of a page, server side (Streamlit's own test harness, no browser), on a warm server; the first one, which imports, is
not counted. The runs are inserted straight into the registry, as their processes leave them.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from streamlit.testing.v1 import AppTest

from services.domain import FileDataset, Metadata, Model, RunRequest, RunStatus, utc_now
from services.local.workspace import LocalWorkspace
from services.predictions.run_conditions import matching_runs
from services.run_query import RunQuery
from services.storage import run_search
from services.storage.serialization import to_json
from services.storage.store import Store

RUNS, THINGS, REPEATS = 100_000, 1_000, 7
SHELL = Path(__file__).parents[1] / "pages" / "shell.py"
_SEARCHES = {
    "the newest": RunQuery(),
    "the last page": RunQuery(first=RUNS - 100),
    "by two words": RunQuery(text="june model-7"),
    "by model and status": RunQuery(model="model-5", statuses=(RunStatus.FAILED,)),
    "by tag": RunQuery(tags={"team": "a"}),
    "of the last 30 days": RunQuery(since=utc_now() - timedelta(days=30)),
    "by name": RunQuery(sort="name", descending=False),
    "the longest": RunQuery(sort="duration"),
    "the middle by name": RunQuery(sort="name", first=RUNS // 2),
}
_PAGES = {
    "Home": ("home.py", {}),
    "Runs": ("runs.py", {}),
    "Runs, searched": ("runs.py", {"find": "june", "status": "Failed"}),
    "Runs, page 1,000": ("runs.py", {"page": "1000", "order": "Name"}),
    "New run": ("new_run.py", {}),
    "Models": ("registered_models.py", {}),
    "Datasets": ("registered_datasets.py", {}),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        fill(home)
        workspace = LocalWorkspace(home)
        print(
            f"  {RUNS:,} runs, {THINGS:,} models, {THINGS:,} datasets; the registry has {(home / 'studio.db').stat().st_size / 1e6:.0f} MB"
        )
        for name, query in _SEARCHES.items():
            row(f"search: {name}", lambda query=query: workspace.runs.search(query))  # type: ignore[misc]
        row("what one can search by", workspace.runs.choices)
        row("the newest 50 runs", lambda: workspace.runs.latest(50))
        condition = "status = 'Failed' AND tags['team'] = 'a'"
        row("runs --where, in its process", lambda: matching_runs(workspace.runs.rows, condition, 1000))
        os.environ["BATCH_SCORING_HOME"] = str(home)
        for name, (page, address) in _PAGES.items():
            app = AppTest.from_file(SHELL, default_timeout=300).run()
            for key, value in address.items():
                app.query_params[key] = value
            app.switch_page(page).run()
            assert not app.exception, app.exception
            row(f"page: {name}", app.run)


def fill(home: Path, runs: int = RUNS, things: int = THINGS) -> None:
    """A registry of so many runs, a tenth of which failed, half of them tagged, and of so many models and datasets."""
    home.mkdir(parents=True)
    store, chance, now = Store(home), random.Random(7), utc_now()
    statuses = [RunStatus.COMPLETED] * 8 + [RunStatus.FAILED, RunStatus.CANCELED]
    with sqlite3.connect(store.path, isolation_level=None) as connection:
        connection.execute("BEGIN")
        for number in range(things):
            at = now - timedelta(hours=things - number)
            model = Model(
                f"model-{number}", 1, f"/m/{number}.pkl", 1_000, f"{number:064}", "pickle", at, tags={"stage": "test"}, approved=True
            )
            dataset = FileDataset(f"data-{number}", 1, "/data", "**", True, 100, 10_000, f"/manifests/{number}", "", at)
            insert(connection, "models", name=model.name, version=1, created_at=at.isoformat(), sha256=model.sha256, value=to_json(model))
            insert(connection, "approvals", sha256=model.sha256, approved_at=at.isoformat())
            insert(connection, "datasets", name=dataset.name, version=1, created_at=at.isoformat(), value=to_json(dataset))
        for number in range(runs):
            at = now - timedelta(minutes=5 * (runs - number))
            models = (f"model-{chance.randrange(things)}:1",)
            name = chance.choice(["", "", "june churn", "daily forecast"])
            request = RunRequest(models, (f"data-{chance.randrange(things)}:1",), "/scripts/score_rows.py", name=name)
            said = Metadata(tags={"team": chance.choice("abc"), "week": str(number % 50)}) if number % 2 else Metadata()
            run_id, ended = f"run-{at:%Y%m%d-%H%M%S}-{number:06x}", at + timedelta(seconds=chance.randrange(9, 4_000))
            insert(
                connection, "runs", id=run_id, request=to_json(request), status=chance.choice(statuses), submitted_at=iso(at),
                started_at=iso(at), ended_at=iso(ended), items_total=1_000, items_succeeded=990, items_failed=chance.randrange(20),
                mini_batches_total=10, mini_batches_done=10, tags=json.dumps(said.tags), **run_search.search_columns(run_id, request, said),
            )  # fmt: skip
        connection.execute("COMMIT")


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def insert(connection: sqlite3.Connection, table: str, **columns: object) -> None:
    connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", tuple(columns.values()))


def row(what: str, look: Callable[[], object], repeats: int = REPEATS) -> None:
    look()
    seconds, work = [], []
    for _ in range(repeats):
        begin, processor = time.perf_counter(), time.process_time()
        look()
        seconds.append(time.perf_counter() - begin)
        work.append(time.process_time() - processor)
    wall, used = 1000 * statistics.median(seconds), 1000 * statistics.median(work)
    print(f"  {what:<32} {wall:7.0f} ms   of which {used:6.0f} ms of this process's processor time", flush=True)
