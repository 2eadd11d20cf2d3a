"""First paint and page switch in an Azure ML workspace that takes two seconds for every call, beside the local workspace.

Both hold the same: the digits sample (a model, a dataset of 899 files) and one completed run of it. The two take turns, click by click.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.pages import PAGES, REPEATS, first_paint, full_home, opened, row, sample_run, switch
from services.azure.workspace import AzureWorkspace
from services.connection import SignIn, from_environment
from services.domain import RunStatus
from tests.azure_service import AzureService
from tests.browser.dashboard import Dashboard, browser

SECONDS_A_CALL = 2.0
ROUNDS = 15


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, AzureService(Path(folder) / "service", sample=True) as service, browser() as chromium:
        os.environ.update(service.environment())
        local, azure = full_home(Path(folder) / "local"), full_azure_home(Path(folder) / "azure")
        service.fault("* https://*", seconds=SECONDS_A_CALL, count=None)
        there: list[float] = []
        here: list[float] = []
        for _ in range(REPEATS):
            there.append(first_paint(chromium, lambda: Dashboard(azure)))
            here.append(first_paint(chromium, lambda: Dashboard(local.home)))
        row("first paint", there, here, "this machine")
        far, near = Dashboard(azure), Dashboard(local.home)
        try:
            pages = [opened(chromium, dashboard) for dashboard in (far, near)]
            for name in PAGES:
                seconds: tuple[list[float], list[float]] = ([], [])
                for repeat in range(ROUNDS + 1):
                    for page, took in zip(pages, seconds, strict=True):
                        switch(page, "Connection" if name == "Home" else "Home")
                        took.append(switch(page, name))
                        if not repeat:  # the first time a page imports what it needs
                            took.clear()
                row(f"switch to {name}", *seconds, "this machine")
        finally:
            far.kill()
            near.kill()


def full_azure_home(home: Path) -> Path:
    """A home that works in the stand-in's workspace, whose sample was run once."""
    home.mkdir()
    connection = replace(from_environment(), sign_in=SignIn.SERVICE_PRINCIPAL)
    connection.remember(home)
    workspace = AzureWorkspace(connection, home, blocking=True)
    [model], [dataset] = workspace.models(), workspace.datasets()
    run = workspace.submit(replace(sample_run(model.reference, dataset.reference), compute_target="cpu-cluster"))
    while not run.status.ended:
        time.sleep(0.1)
        run = workspace.runs.get(run.id)
    assert run.status is RunStatus.COMPLETED, run.error
    workspace.runs.predictions(run.id)
    workspace.environments(), workspace.compute_targets(), workspace.datastores()
    return home
