"""The review queue by keys alone."""

from __future__ import annotations

import csv
import io

import pytest
from playwright.sync_api import expect

from services.domain import RunRequest
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.browser.dashboard import settled

UNSURE = """
import json, os
def run(mini_batch):
    rows = []
    for path in mini_batch:
        name, number = os.path.basename(path), int(os.path.basename(path)[:4])
        rows.append(json.dumps({"file": name, "prediction": ["cat", "dog", "fox"][number % 3], "probability": 0.9 - number / 20}))
    return rows
"""


@pytest.fixture(scope="module")
def run(home, tmp_path_factory, finish):
    folder = tmp_path_factory.mktemp("review")
    for number in range(6):
        (folder / f"{number:04}.csv").write_text("1,2\n")
    (folder.parent / "unsure.py").write_text(UNSURE)
    workspace = LocalWorkspace(home)
    workspace.register_dataset("pets", folder)
    settings = ParallelRunSettings(mini_batch_size="3", process_count_per_node=1, run_invocation_timeout=600)
    return finish(workspace, workspace.submit(RunRequest((), ("pets",), str(folder.parent / "unsure.py"), settings)).id)


def test_rows_are_accepted_corrected_skipped_and_undone_by_keys(run, dashboard, page):
    page.goto(f"{dashboard.url}/results?run={run.id}&look=Review")
    settled(page)
    for key, following in (("a", "0004.csv"), ("1", "0003.csv"), ("s", "0002.csv"), ("b", "0003.csv")):
        page.locator("body").press(key)
        expect(page.get_by_text(following)).to_be_visible()
    expect(page.get_by_text("2 of 6 rows reviewed · 1 accepted, 1 corrected")).to_be_visible()
    page.locator("body").press("b")
    expect(page.get_by_text("Corrected to")).to_be_visible()
    page.locator("body").press("u")
    expect(page.get_by_text("1 of 6 rows reviewed · 1 accepted, 0 corrected")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Labels: 1").click()
    rows = list(csv.reader(io.StringIO(download.value.path().read_text())))
    assert rows == [["File", "Prediction", "Label", "Note"], ["0005.csv", "fox", "fox", ""]]
