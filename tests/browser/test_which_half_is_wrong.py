"""“Which half of my data does the new model get wrong more often, and show me ten of them”: answered by clicks alone, which are counted."""

import pytest
from playwright.sync_api import expect

from services.domain import RunRequest
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.browser import dashboard as started
from tests.browser.dashboard import settled
from tests.conftest import home_in

SCRIPT = """
def run(rows):
    wrong = {wrong}
    return [truth if not bad else ("no" if truth == "yes" else "yes") for truth, bad in zip(rows["churned"], wrong)]
"""
ROWS = 400


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One of its own: the two newest runs are those of this test."""
    with home_in(tmp_path_factory.mktemp("own")) as folder:
        yield folder


@pytest.fixture(scope="module")
def dashboard(home):
    with started.dashboard(home) as server:
        yield server


@pytest.fixture(scope="module")
def runs(home, tmp_path_factory, finish):
    """An older run and a newer one, which is worse in the second half; their dataset has its labels."""
    folder = tmp_path_factory.mktemp("halves")
    lines = (f"{n},{'yes' if n % 3 else 'no'},{'first' if n % 20 < 10 else 'second'}" for n in range(ROWS))
    (folder / "churn.csv").write_text("number,churned,half\n" + "\n".join(lines) + "\n")
    workspace = LocalWorkspace(home)
    workspace.register_dataset("churn", folder / "churn.csv", type="tabular")
    workspace.add_labels("churn", column="churned")
    found = []
    for name, wrong in (("old", "rows['number'] % 10 == 0"), ("new", "(rows['half'] == 'second') & (rows['number'] % 3 == 1)")):
        script = folder / f"{name}_model.py"
        script.write_text(SCRIPT.format(wrong=wrong))
        request = RunRequest((), ("churn",), str(script), ParallelRunSettings(process_count_per_node=1), name=f"{name} model")
        found.append(finish(workspace, workspace.submit(request).id))
    return found


def test_two_clicks_lead_to_the_rows_of_the_worse_half(runs, dashboard, page):
    page.goto(dashboard.url)
    settled(page)
    page.get_by_role("link", name="Compare").first.click()  # the first click: the two newest runs are chosen by themselves
    worse = page.locator(".st-key-worse_slices")
    expect(worse.get_by_test_id("glide-cell-1-0")).to_have_text("half: second")
    worse.click(position={"x": 20, "y": 35 + 17})  # the second click
    page.wait_for_url("**/results**")
    settled(page)
    rows = page.locator("[class*=st-key-paged-predictions]")
    expect(rows.get_by_test_id("glide-cell-1-9")).to_have_text("churn.csv")  # a tenth row
    expect(page.get_by_text("half: second").first).to_be_visible()
    assert "Verdict+before" in page.url or "Verdict%20before" in page.url
