"""The dashboard in a real browser: from the empty home to the downloaded CSV, interruptions, invalid input, hostile names."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.domain import RunRequest, RunStatus
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.browser.dashboard import Dashboard, move, settled
from tests.browser.dashboard import dashboard as dashboard_on
from tests.conftest import home_in

WAITS = """
    import os, time
    def run(mini_batch):
        while "0040" <= os.path.basename(mini_batch[0]) and not os.path.exists({gate!r}): time.sleep(0.01)
        return [os.path.basename(path) + ": " + "ab"[len(path) % 2] for path in mini_batch]
"""


def heading(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def status(page: Page, word: str) -> None:
    expect(page.get_by_text(re.compile(f"{word}$")).filter(visible=True).first).to_be_visible()


def downloaded(page: Page, folder: Path) -> list[dict[str, str]]:
    page.get_by_role("button", name="Download", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    page.keyboard.press("Escape")
    path = folder / "downloaded.csv"
    download.value.save_as(path)
    with open(path, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def own_dashboard(tmp_path):
    """On a home of the test's own, `home` in its folder, which is empty."""
    with home_in(tmp_path) as home, dashboard_on(home) as server:
        yield server


def test_from_the_empty_home_to_the_filtered_csv(own_dashboard, page, tmp_path):
    workspace = LocalWorkspace(tmp_path / "home")
    page.goto(own_dashboard.address)
    page.get_by_role("button", name="Try it with a sample").click()
    heading(page, "New run")
    expect(page.get_by_text(re.compile("899 files in 90 mini-batches of 10"))).to_be_visible()
    page.get_by_role("button", name="Submit run").click()
    status(page, "Completed")
    page.get_by_role("button", name="See results").click()
    heading(page, "Results")
    expect(page.get_by_text("899 predictions", exact=True)).to_be_visible()
    rows = downloaded(page, tmp_path)
    names = [file.path for file in workspace.dataset_files(workspace.dataset("digits-batch"), 0, 2000)]
    assert Counter(row["File"] for row in rows) == Counter(names)
    assert {row["Prediction"] for row in rows} == set("0123456789")

    of_sevens = sum(row["Prediction"] == "7" for row in rows)
    page.get_by_role("button", name=f"7 · {of_sevens}", exact=True).click()
    expect(page.get_by_text(f"{of_sevens} of 899 predictions")).to_be_visible()
    settled(page)  # the link to the file, which is open, follows
    sevens = downloaded(page, tmp_path)
    assert [row["Prediction"] for row in sevens] == ["7"] * of_sevens

    again = page.context.new_page()  # the URL opens the same table for a colleague
    again.goto(page.url)
    expect(again.get_by_text(f"{of_sevens} of 899 predictions")).to_be_visible()


@pytest.fixture
def gate(tmp_path):
    """Until this file exists a patient run stops at half of its files."""
    return tmp_path / "gate"


@pytest.fixture
def patient_run(workspace, csv_folder, entry_script, gate):
    workspace.register_dataset("d", csv_folder(80))
    settings = ParallelRunSettings(mini_batch_size="1", process_count_per_node=2, run_invocation_timeout=600)
    script = entry_script(WAITS.format(gate=str(gate)))
    return workspace.submit(RunRequest((), ("d",), str(script), settings, name="A patient run"))


def test_a_killed_and_restarted_dashboard_shows_the_active_run(home, page, workspace, patient_run, gate, finish):
    first = Dashboard(home)
    first.admit(page.context)
    page.goto(f"{first.url}/runs?run={patient_run.id}")
    status(page, "Running")
    first.kill()
    assert not workspace.runs.get(patient_run.id).status.ended
    second = Dashboard(home, first.port)
    second.admit(page.context)  # as the page does that it opens
    try:
        heading(page, "A patient run")  # the open tab reconnects by itself
        gate.touch()
        run = finish(workspace, patient_run.id)
        assert (run.status, run.items_succeeded) == (RunStatus.COMPLETED, 80)
        status(page, "Completed")
    finally:
        second.kill()


def test_a_second_tab_and_a_reload_show_the_same_active_run(dashboard, page, patient_run, workspace):
    page.goto(f"{dashboard.url}/runs")
    settled(page)
    second = page.context.new_page()
    second.goto(f"{dashboard.url}/runs?run={patient_run.id}")
    status(second, "Running")
    second.reload()
    status(second, "Running")
    second.get_by_role("button", name="Cancel run").click()
    status(second, "Canceled")
    assert workspace.runs.get(patient_run.id).status is RunStatus.CANCELED


def test_a_double_click_submits_once(dashboard, page, workspace, csv_folder):
    workspace.register_dataset("double", csv_folder(4))
    page.goto(f"{dashboard.url}/new_run?model=No+model&dataset=double:1")
    settled(page).get_by_role("button", name="Submit run").dblclick()
    expect(page.get_by_text(re.compile("^run-.*submitted"))).to_be_visible()
    assert [run.request.datasets for run in workspace.runs.latest()].count(("double:1",)) == 1


def test_an_invalid_setting_is_marked_and_nothing_is_submitted(dashboard, page, workspace, csv_folder):
    workspace.register_dataset("wrong", csv_folder(4))
    page.goto(f"{dashboard.url}/new_run?model=No+model&dataset=wrong:1")
    size = settled(page).get_by_role("textbox", name="Mini-batch size")
    size.fill("1.5MB")
    size.press("Enter")
    expect(page.get_by_text("“1.5MB” is not a size")).to_be_visible()
    page.get_by_role("button", name="Submit run").click()
    expect(page.get_by_text(re.compile("Fix these fields before submitting"))).to_be_visible()
    assert ("wrong:1",) not in [run.request.datasets for run in workspace.runs.latest()]


def test_names_from_outside_are_shown_as_text(dashboard, page, workspace, tmp_path, entry_script, finish):
    folder = tmp_path / "hostile"
    folder.mkdir()
    names = [
        "![](http:__example.com_x.png).csv",
        "<img src=x onerror=alert(1)>.csv",
        "=cmd|' .csv",
        "a:b,c.csv",
        "new\nline.csv",
        ":red[x].csv",
    ]
    for name in names:
        (folder / name).write_text("1\n")
    workspace.register_dataset("hostile", folder)
    script = entry_script("import os\ndef run(m): return [os.path.basename(p) + ': ![](http://example.com/p.png)' for p in m]")
    request = RunRequest((), ("hostile",), str(script), ParallelRunSettings(), name="![x](http://example.com/n.png) <b>bold</b> :red[x]")
    run = finish(workspace, workspace.submit(request).id)
    page.goto(f"{dashboard.url}/storage")
    for path in (f"runs?run={run.id}", "runs", "datasets?dataset=hostile:1", "", f"results?run={run.id}"):
        expect(move(page, path).get_by_role("heading").first).to_be_visible()
        assert page.locator("img[src*=example], a[href*='example.com'], b:text-is('bold')").count() == 0
    rows = downloaded(page, tmp_path)
    assert sorted(row["File"] for row in rows) == sorted(names)


@pytest.mark.parametrize(("path", "field"), [("models?model", "Model"), ("datasets?dataset", "Dataset")])
def test_a_registered_version_is_one_click_from_a_new_run(dashboard, page, workspace, csv_folder, model_file, path, field):
    first, later = f"first-{field}", f"later-{field}"
    workspace.register_model(first, model_file, approve=True)
    workspace.register_model(later, model_file)
    workspace.register_dataset(first, csv_folder(3))
    workspace.register_dataset(later, csv_folder(3, "other"))
    page.goto(f"{dashboard.url}/{path}={first}:1")
    settled(page).get_by_role("button", name="Use in a new run").click()
    heading(page, "New run")
    expect(page.get_by_role("combobox", name=field)).to_have_value(f"{first}:1")


def test_back_from_a_submitted_run_shows_its_request(dashboard, page, workspace, csv_folder):
    workspace.register_dataset("submitted", csv_folder(3))
    workspace.register_dataset("newer", csv_folder(4, "newer"))
    page.goto(f"{dashboard.url}/new_run?model=No+model&dataset=submitted:1")
    settled(page).get_by_role("button", name="Submit run").click()
    status(page, "Completed|Failed")
    page.wait_for_timeout(2500)  # within the time of a double click the page would go to the run
    page.go_back()
    heading(page, "New run")
    expect(page.get_by_role("combobox", name="Dataset")).to_have_value("submitted:1")
    expect(page.get_by_text("3 files in 1 mini-batch")).to_be_visible()
