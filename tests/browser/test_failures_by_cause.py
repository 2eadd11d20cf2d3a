"""The analyst's walk: 500 files, seven of them broken in seven ways. Which, and why, without a click; the CSV of failures in one."""

import csv

import pytest
from playwright.sync_api import Locator, expect

from services.domain import RunRequest
from services.intake.entry_scripts import BUILT_IN
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.broken_files import BROKEN, train_model, write_files
from tests.browser.dashboard import settled


@pytest.fixture(scope="module")
def walk(home, tmp_path_factory, finish):
    """The run over the 500 files."""
    folder = tmp_path_factory.mktemp("walk")
    workspace = LocalWorkspace(home)
    workspace.register_model("orders", train_model(folder / "model.joblib"), approve=True)
    workspace.register_dataset("orders", write_files(folder / "orders"))
    settings = ParallelRunSettings(mini_batch_size=50, process_count_per_node=1, run_invocation_timeout=600)
    request = RunRequest(("orders",), ("orders",), str(BUILT_IN / "batch_scoring_script.py"), settings)
    return finish(workspace, workspace.submit(request).id)


def cells(table: Locator) -> str:
    """The texts of a table, which is a canvas."""
    expect(table.locator("[data-testid^=glide-cell]").first).to_be_attached()
    return " ".join(table.locator("[data-testid^=glide-cell]").all_text_contents())


def open_row(table: Locator, number: int) -> None:
    """Choose a row, the first is 0."""
    table.get_by_test_id("stDataFrame").click(position={"x": 20, "y": 35 + 17 + 35 * number})


def test_which_failed_and_why_is_there_without_a_click_and_as_csv_with_one(walk, dashboard, page, tmp_path):
    page.goto(f"{dashboard.url}/runs?run={walk.id}")
    settled(page)
    expect(page.get_by_text("7 files failed, for 7 causes")).to_be_visible()
    shown = cells(page.locator(".st-key-paged-causes"))
    for name, (_, sentence) in BROKEN.items():
        assert name in shown
        assert sentence in shown
    with page.expect_download() as download:
        page.get_by_role("link", name="Failures as CSV").click()
    download.value.save_as(tmp_path / "failures.csv")
    with open(tmp_path / "failures.csv", newline="", encoding="utf-8") as lines:
        rows = {row["item"]: row["cause"] for row in csv.DictReader(lines)}
    assert rows.keys() == BROKEN.keys()
    assert all(sentence in rows[name] for name, (_, sentence) in BROKEN.items())


def test_a_cause_opens_its_item_with_the_log_around_it(walk, dashboard, page):
    page.goto(f"{dashboard.url}/runs?run={walk.id}")
    settled(page)
    expect(page.get_by_text("The log around it")).to_have_count(0)
    open_row(page.locator(".st-key-paged-causes"), 1)
    expect(page.get_by_text("The log around it")).to_be_visible()
    expect(page.get_by_text("WARNING batch_scoring_script: ", exact=False).first).to_be_visible()


def test_a_cause_chosen_in_results_shows_its_rows(walk, dashboard, page):
    page.goto(f"{dashboard.url}/results?run={walk.id}")
    settled(page)
    page.get_by_role("button", name="it is empty · 1").click()
    expect(page.get_by_text("1 row", exact=True)).to_be_visible()
    rows = page.locator("[class*=st-key-paged-predictions]")
    expect(rows.get_by_test_id("glide-cell-1-0")).to_have_text("order_0063.csv")  # the table is drawn after the count


def test_a_page_of_rows_has_no_toolbar_and_no_search(walk, dashboard, page):
    page.goto(f"{dashboard.url}/results?run={walk.id}")
    table = settled(page).locator("[class*=st-key-paged-predictions]")
    open_row(table, 0)
    expect(page.get_by_role("button", name="Close")).to_be_visible()
    table.hover()
    expect(table.get_by_test_id("stElementToolbar")).to_be_hidden()
    page.keyboard.press("Control+f")
    expect(table.locator(".gdg-search-bar")).to_be_hidden()
