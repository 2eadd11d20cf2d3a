"""Runs that have ended and that many tests look at: each is made once, by real processes, and copied into the homes of the tests.

A run takes more than a second of the processor, a copy of it a hundredth.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from services.domain import Dataset, Run, utc_now
from services.local.run_folder import LocalRunFolder
from services.local.workspace import LocalWorkspace
from services.storage.store import Store

_KEPT = (
    "status", "started_at", "ended_at", "heartbeat_at", "items_succeeded", "items_failed", "mini_batches_done", "error_code", "error",
)  # fmt: skip


class KeptRuns:
    """The folder they are in, which all pytest processes share. Nothing in it is changed by a test: copies read the same input files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def copy_into(self, workspace: LocalWorkspace, key: object, submit: Callable[[LocalWorkspace, Path], Run], name: str = "") -> Run:
        """A copy of the run that has this key, with its datasets, under another name where one is given. Where there is none yet, it is
        made: `submit` submits it in a home of its own, for which it may write files into the folder beside."""
        home = self._made(hashlib.sha256(repr(key).encode()).hexdigest()[:16], submit)
        kept = LocalWorkspace(home)
        (run,) = kept.runs.latest()
        store = Store(workspace.home)
        registered = {dataset.reference for dataset in workspace.datasets()}
        for dataset in kept.datasets():
            if dataset.reference not in registered:
                store.add(Dataset, dataset.name, lambda _, dataset=dataset: dataset)
        run_id = f"run-{utc_now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        shutil.copytree(home / "runs" / run.id, workspace.home / "runs" / run_id)
        folder = LocalRunFolder(workspace.home, run_id)
        plan = folder.plan()
        request = replace(run.request, name=name or run.request.name)
        folder.create(replace(plan, request=replace(plan.request, name=request.name)))
        known = {column: getattr(run, column) for column in _KEPT}
        return store.insert_run(run_id, request, run.items_total, run.mini_batches_total, run.warnings, **known)

    def _made(self, name: str, submit: Callable[[LocalWorkspace, Path], Run]) -> Path:
        """The home that holds the run and nothing else but its datasets."""
        folder = self._folder / name
        with FileLock(self._folder / f"{name}.lock"):
            if not (folder / "made").exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
                (folder / "home").mkdir(parents=True)
                workspace = LocalWorkspace(folder / "home")
                run = submit(workspace, folder)
                until = time.monotonic() + 180
                while not workspace.runs.get(run.id).status.ended or LocalRunFolder(workspace.home, run.id).has_live_runner():
                    assert time.monotonic() < until, workspace.runs.get(run.id)
                    time.sleep(0.02)
                (folder / "made").touch()
        return folder / "home"
