"""A run of a million predictions in a real browser: filter, page to the end, open a row, click a chart, download; all of it counted."""

import csv
import io
import re

import pytest
from playwright.sync_api import expect

from services.domain import RunRequest
from services.local.workspace import LocalWorkspace
from services.predictions.matching import ScoredMiniBatch
from services.predictions.writer import make_table
from services.settings import ParallelRunSettings
from tests.browser.dashboard import move, settled

ROWS, A_MINI_BATCH = 1_000_000, 10_000
CLASSES = ("cat", "dog", "owl")
HOSTILE = {
    "![](http://example.com/x.png).csv": "![](http://example.com/p.png)",
    "<img src=x onerror=alert(1)>.csv": "<script>alert(1)</script>",
    "=cmd|' .csv": "=1+1",
    "a:b,c.csv": "a: b",
    "new\nline.csv": "two\nlines\r\n\tand a tab",
    "\u202egnp.csv": "\u202etac",
    "quo\"te'.csv": '"',
    "long" + "g" * 200 + ".csv": "y" * 10_000,
    "json.csv": '{"label": "cat"}',
    "none.csv": "None",
}


def completed(home, folder, finish, mini_batches):
    """A completed run whose table holds these mini-batches."""
    folder.mkdir()
    (folder / "1.csv").write_text("1\n")
    (folder / "script.py").write_text("import os\ndef run(m): return [os.path.basename(p) + ': 1' for p in m]")
    workspace = LocalWorkspace(home)
    workspace.register_dataset("d", folder / "1.csv")
    settings = ParallelRunSettings(process_count_per_node=1)
    request = RunRequest((), ("d",), str(folder / "script.py"), settings, name="Many", allow_reuse=False)
    run = finish(workspace, workspace.submit(request).id)
    make_table(mini_batches, workspace.runs.predictions(run.id).path)
    return run


@pytest.fixture(scope="module")
def million(home, tmp_path_factory, finish):
    """A completed run of a million predictions."""
    return completed(home, tmp_path_factory.mktemp("million") / "d", finish, a_million())


def name(place):
    return f"part_{place % 8}/{place:07}.csv"


def a_million():
    for number in range(ROWS // A_MINI_BATCH):
        places = range(number * A_MINI_BATCH, (number + 1) * A_MINI_BATCH)
        items = list(map(name, places))
        rows = [f"{item}: {CLASSES[place % 3]}" for item, place in zip(items, places, strict=True)]
        yield ScoredMiniBatch(number, items, "/d", rows, f"node 0, process00{number % 2}", 1, 0.1, "")


def downloaded(page):
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    return download.value.path().read_text("utf-8")


def test_a_million_rows_are_filtered_paged_opened_and_downloaded(dashboard, page, million):
    page.goto(f"{dashboard.url}/results?run={million.id}")
    expect(page.get_by_text("1,000,000 predictions", exact=True)).to_be_visible()

    page.get_by_role("searchbox", name="Search").fill("99.csv")
    expect(page.get_by_text("10,000 of 1,000,000 predictions")).to_be_visible()
    page.get_by_role("button", name=re.compile("^owl · 3,333")).click()
    expect(page.get_by_text("3,333 of 1,000,000 predictions")).to_be_visible()
    owls = [place for place in range(ROWS) if place % 100 == 99 and place % 3 == 2]

    settled(page).get_by_role("button", name="Page 34", exact=True).click()  # the last page
    expect(page.get_by_text("Rows 3,301 to 3,333 of 3,333")).to_be_visible()
    expect(settled(page).get_by_test_id("stDataFrame").first.get_by_test_id("data-grid-canvas")).to_be_visible()
    page.get_by_test_id("stDataFrame").first.click(position={"x": 120, "y": 300})
    opened = page.get_by_text(re.compile(r"Row 3,3\d\d of 3,333"))
    expect(opened).to_be_visible()
    expect(page).to_have_url(re.compile(r"row=3\d\d\d\b"))
    place = int(re.search(r"Row 3,(\d+)", opened.inner_text())[1]) + 3000
    expect(page.get_by_test_id("stCode").first).to_have_text(name(owls[place - 1]))
    page.get_by_role("button", name="Previous", exact=True).click()
    expect(page.get_by_test_id("stCode").first).to_have_text(name(owls[place - 2]))
    expect(page).to_have_url(re.compile(rf"row={place - 1}\b"))
    again = page.context.new_page()  # the URL opens the same row for a colleague
    again.goto(page.url)
    expect(again.get_by_text(f"Row {place - 1:,} of 3,333")).to_be_visible()
    again.close()
    wide = page.viewport_size
    page.set_viewport_size({"width": 420, "height": 900})  # without room for both, the row replaces the table
    expect(page.get_by_test_id("stDataFrame").first).to_be_hidden()
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    page.set_viewport_size(wide)

    settled(page).get_by_role("button", name="Download", exact=True).click()
    rows = list(csv.DictReader(io.StringIO(downloaded(page))))
    assert [row["File"] for row in rows] == list(map(name, owls))
    page.keyboard.press("Escape")


def test_a_click_on_a_bar_filters_by_it(dashboard, page, million):
    page.goto(f"{dashboard.url}/results?run={million.id}")
    bar = settled(page).locator(".plotly .bars .point path").nth(1)
    expect(bar).to_be_visible()
    page.wait_for_function("document.querySelector('.js-plotly-plot')._ev?.listenerCount('plotly_click')")  # drawn, and listening
    box = bar.bounding_box()
    page.mouse.click(box["x"] + 20, box["y"] + box["height"] / 2)  # Plotly has a pane of its own above the bars
    expect(page.get_by_text(re.compile(r"^333,33\d of 1,000,000 predictions"))).to_be_visible()
    assert "filter=" in page.url


def test_hostile_names_and_values_reach_the_csv_and_fetch_nothing(dashboard, page, home, tmp_path, finish):
    rows = [f"{name}: {value}" for name, value in HOSTILE.items()]
    hostile = ScoredMiniBatch(0, list(HOSTILE), "/d", rows, "![](http://example.com/w.png)", 1, 0.1, "")
    run = completed(home, tmp_path / "d", finish, [hostile])
    page.goto(f"{dashboard.url}/results?run={run.id}")
    for look in (
        "",
        "Groups",
        "Evaluation",
        "&row=1",
        "&row=2",
        "&row=5",
        "&chart=Two%20columns&y=File",
    ):
        move(page, f"results?run={run.id}&look={look}")
        expect(page.get_by_text(f"{len(HOSTILE)} predictions", exact=True)).to_be_visible()
        assert page.locator("img[src*=example], a[href*='example.com'], script:text('alert(1)')").count() == 0
    move(page, f"results?run={run.id}").get_by_role("button", name="Download", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    with open(download.value.path(), newline="", encoding="utf-8") as lines:
        assert {row["File"]: row["Prediction"] for row in csv.DictReader(lines)} == HOSTILE
