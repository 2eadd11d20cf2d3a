"""A year of work in one home, by a process that is killed again and again: nothing is lost, nothing is doubled, nothing is left behind.

Twenty seconds of it here; ten minutes by `make test-year`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Timer
from typing import Any

import joblib
import pytest
from sklearn.linear_model import LogisticRegression

from services.domain import Metadata, ResourceKind, RunStatus
from services.local.workspace import LocalWorkspace
from services.resources import changed_tags
from services.workspace import CleanUpGroup
from tests.year.analyst import FAILS

SCRIPT = f"""
import os
def run(mini_batch):
    (path,) = mini_batch
    if {FAILS!r} in path:
        raise ValueError("no " + os.path.basename(path))
    return [os.path.basename(path) + ": " + open(path).read().strip()]
"""
ROOT = Path(__file__).parents[2]


class Ledger:
    """What there must be by what the analyst told. What was under way when it was killed may be done or not."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, str]] = {}
        self.own_files: dict[str, str] = {}
        self.there: dict[str, set[str]] = {kind: set() for kind in ResourceKind}
        self.gone: dict[str, set[str]] = {kind: set() for kind in ResourceKind}
        self.unsure: set[tuple[str, str]] = set()
        self.archived: dict[str, str] = {}
        self.imported: set[str] = set()
        self.schedules: set[str] = set()
        self.unsure_schedules: set[str] = set()
        self.dataset_of: dict[str, str] = {}
        self.said: dict[tuple[str, str], list[Metadata]] = {}
        self.done = self.kills = 0
        self.counts: Counter[str] = Counter()

    def take(self, line: str) -> None:
        told = json.loads(line)
        self.done = told["number"]
        self.counts[told["event"]] += 1
        event, key = told["event"], (told.get("kind", ""), told.get("reference", ""))
        match event:
            case "registered":
                self.there[told["kind"]].add(told["reference"])
                if told["kind"] == "dataset":
                    self.rows[told["reference"]], self.own_files[told["reference"]] = told["rows"], told["own"]
            case "submitted":
                self.there["run"].add(told["run"])
                self.dataset_of[told["run"]] = told["dataset"]
            case "exporting":
                self.archived[told["path"]] = told["run"]
            case "importing":
                self.gone["run"].discard(self.archived[told["path"]])  # one that was deleted comes back under its id
                self.imported.add(self.archived[told["path"]])
            case "imported":
                self.imported.add(told["run"])
                self.there["run"].add(told["run"])
                if told["of"] in self.dataset_of:
                    self.dataset_of[told["run"]] = self.dataset_of[told["of"]]
            case "scheduled":
                self.schedules.add(told["name"])
            case "removing":
                self.unsure_schedules.add(told["name"])
            case "removed":
                self.schedules.discard(told["name"])
            case "saying":
                known = self.said.setdefault(key, [Metadata()])
                known += [_after(one, told["said"]) for one in list(known)]
            case "said":
                self.said[key] = self.said[key][len(self.said[key]) // 2 :]
            case "deleting":
                self.unsure.add(key)
            case "deleted":
                self.unsure.discard(key)
                self.there[told["kind"]].discard(told["reference"])
                self.gone[told["kind"]].add(told["reference"])
                self.said.pop(key, None)


def _after(before: Metadata, said: dict[str, Any]) -> Metadata:
    changes = {name: value for name, value in said.items() if name != "tags"}
    return Metadata(**{**vars(before), **changes, "tags": changed_tags(before.tags, said.get("tags", {}))})


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), folder / "model.joblib")
    (folder / "script.py").write_text(SCRIPT)
    return folder


def work(home: Path, files: Path, seconds: float) -> Ledger:
    """The analyst at work for so long, killed at random; a runner now and then too."""
    ledger, kills, end = Ledger(), random.Random(0), time.monotonic() + seconds
    while time.monotonic() < end:
        command = [sys.executable, "-m", "tests.year.analyst", str(home), str(files), "0", str(ledger.done + 1), "1000000"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as analyst:
            assert analyst.stdout
            timer = Timer(kills.uniform(1.0, 8.0), analyst.kill)
            timer.start()
            for line in analyst.stdout:
                if line.endswith("\n"):
                    ledger.take(line)
            timer.cancel()
        assert analyst.returncode == -signal.SIGKILL
        ledger.kills += 1
        if kills.random() < 0.3:
            _kill_a_runner(home)
    return ledger


def _kill_a_runner(home: Path) -> None:
    workspace = LocalWorkspace(home)
    for run in workspace.runs.latest():
        if run.status is RunStatus.RUNNING and (pid := _runner_of(run.id)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return


def _runner_of(run_id: str) -> int | None:
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and run_id.encode() in (process / "cmdline").read_bytes():
                return int(process.name)
    return None


def settle(workspace: LocalWorkspace) -> None:
    """Every run ends: those without a runner are resumed."""
    deadline = time.monotonic() + 120
    while unended := [run for run in workspace.runs.latest() if not run.status.ended]:
        assert time.monotonic() < deadline, unended
        for run in unended:
            if run.status is RunStatus.NOT_RESPONDING:
                workspace.runs.resume(run.id)
        time.sleep(0.1)


def check_things(workspace: LocalWorkspace, ledger: Ledger) -> None:
    kept = {
        ResourceKind.MODEL: {model.reference for model in workspace.models()},
        ResourceKind.DATASET: {dataset.reference for dataset in workspace.datasets()},
        ResourceKind.RUN: {run.id for run in workspace.runs.latest(10_000)},
    }
    for kind, there in kept.items():
        unsure = {reference for of, reference in ledger.unsure if of == kind}
        assert ledger.there[kind] - unsure <= there
        assert not ledger.gone[kind] & there
    assert workspace.schedules
    assert ledger.schedules - ledger.unsure_schedules <= {schedule.name for schedule in workspace.schedules.all()}
    for own in filter(None, ledger.own_files.values()):
        assert len(list(Path(own).iterdir())) == 4  # a person's own files stay, whatever was deleted
    for (kind, reference), possible in ledger.said.items():
        # What was said of an imported run came with it.
        if reference in kept[ResourceKind(kind)] and reference not in ledger.imported:
            assert workspace.resources.metadata(ResourceKind(kind)).get(reference, Metadata()) in possible


def check_rows(workspace: LocalWorkspace, ledger: Ledger) -> int:
    """Each run has each prediction once; and how many runs were looked at."""
    looked_at = 0
    for run in workspace.runs.latest(10_000):
        known = ledger.dataset_of.get(run.id) in ledger.rows  # else it was killed before it told
        if known and run.status is RunStatus.COMPLETED:
            wanted = {name: row for name, row in ledger.rows[ledger.dataset_of[run.id]].items() if FAILS not in name}
            page = workspace.runs.predictions(run.id).page(count=100)
            found = list(zip(page["File"].to_pylist(), page["Prediction"].to_pylist(), strict=True))
            assert Counter(found) == Counter(wanted.items())
            looked_at += 1
    return looked_at


def check_disk(workspace: LocalWorkspace) -> None:
    """After a clean-up nothing is left but what the registry has."""
    workspace.resources.clean_up()
    long_ago = time.time() - 7200
    for folder, folders, names in os.walk(workspace.home):
        for name in folders + names:
            os.utime(Path(folder, name), (long_ago, long_ago), follow_symlinks=False)
    workspace.storage.measure()
    leftovers = [item for item in workspace.storage.proposals() if item.group is CleanUpGroup.LEFTOVERS]
    assert not workspace.storage.clean_up(leftovers).kept
    assert not list((workspace.home / "incoming").glob("*"))
    for kind, known in (("models", workspace.models()), ("datasets", workspace.datasets())):
        on_disk = {f"{name.name}:{version.name}" for name in (workspace.home / kind).iterdir() for version in name.iterdir()}
        needed = {reference for run in workspace.runs.latest(10_000) for reference in (*run.request.models, *run.request.datasets)}
        assert {thing.reference for thing in known} <= on_disk <= {thing.reference for thing in known} | needed
    assert {folder.name for folder in (workspace.home / "runs").iterdir()} == {run.id for run in workspace.runs.latest(10_000)}


def test_a_year_of_work_loses_nothing_and_leaves_nothing_behind(tmp_path, files, year_seconds):
    ledger = work(tmp_path / "home", files, year_seconds)
    workspace = LocalWorkspace(tmp_path / "home")
    settle(workspace)
    check_things(workspace, ledger)
    looked_at = check_rows(workspace, ledger)
    check_disk(workspace)
    print(f"{ledger.done:,} deeds, {ledger.kills:,} kills, {looked_at:,} runs with all their rows; {dict(ledger.counts)}")
    assert ledger.kills
    assert looked_at
