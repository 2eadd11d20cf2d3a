"""First paint and page switch in an Azure ML workspace that takes two seconds for every call, beside the local workspace."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.pages import PAGES, REPEATS, first_paint, row, switches
from services.azure.connection import SignIn, from_surroundings
from tests.azure_service import AzureService
from tests.browser.dashboard import Dashboard, browser

SECONDS_A_CALL = 2.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, AzureService(Path(folder) / "service", sample=True) as service, browser() as chromium:
        os.environ.update(service.environment())
        local, azure = Path(folder) / "local", Path(folder) / "azure"
        for home in (local, azure):
            home.mkdir()
        replace(from_surroundings(), sign_in=SignIn.SERVICE_PRINCIPAL).remember(azure)
        service.fault("* https://*", seconds=SECONDS_A_CALL, count=None)
        there: list[float] = []
        here: list[float] = []
        for _ in range(REPEATS):
            there.append(first_paint(chromium, lambda: Dashboard(azure)))
            here.append(first_paint(chromium, lambda: Dashboard(local)))
        row("first paint", there, here, "this machine")
        far, near = Dashboard(azure), Dashboard(local)
        try:
            for name in PAGES:
                back = "Connection" if name == "Home" else "Home"
                there, here = (switches(chromium, url, [name], back) for url in (far.url, near.url))
                row(f"switch to {name}", there, here, "this machine")
        finally:
            far.kill()
            near.kill()
