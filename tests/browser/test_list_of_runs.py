"""The runs list in a browser: what a person ticked and where they scrolled stay while it renews itself; a click opens a run."""

from dataclasses import replace

from playwright.sync_api import expect

from services.domain import ResourceKind, RunRequest, RunStatus, utc_now
from services.storage.store import Store
from services.workspaces import open_workspace
from tests.browser.dashboard import settled

ROW, HEADER = 35, 38  # pixels


def insert(home, run_id):
    store = Store(home)
    store.insert_run(run_id, RunRequest((), ("listed:1",), "/s/score.py", name=f"listed {run_id}"), 10, 1)
    store.update_run(run_id, status=RunStatus.COMPLETED, started_at=utc_now(), ended_at=utc_now(), items_succeeded=10)


def test_ticks_and_scroll_survive_a_run_that_is_added_and_a_click_opens(dashboard, home, page):
    for number in range(30):
        insert(home, f"listed-{number:02}")
    page.goto(f"{dashboard.url}/runs?find=listed")
    table = settled(page).get_by_test_id("stDataFrame")
    expect(table).to_be_visible()
    box = table.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, 5 * ROW)
    scrolled = page.locator(".dvn-scroller")
    page.wait_for_function("top => document.querySelector('.dvn-scroller').scrollTop >= top", arg=5 * ROW)
    top = scrolled.evaluate("element => element.scrollTop")
    at = HEADER + 10 * ROW + ROW // 2 - int(top)  # the eleventh row, wherever it is now
    page.mouse.click(box["x"] + 15, box["y"] + at)
    expect(page.get_by_text("1 run selected")).to_be_visible()
    insert(home, "listed-30")
    Store(home).change_metadata(ResourceKind.RUN, "listed-18", lambda said: replace(said, name="listed again"))
    page.locator("[role=gridcell]", has_text="listed again").wait_for(state="attached")  # it has renewed itself
    expect(page.get_by_text("1 run selected")).to_be_visible()
    assert scrolled.evaluate("element => element.scrollTop") == top
    page.get_by_role("button", name="Pin", exact=True).click()
    expect(page.get_by_text("31 runs match")).to_be_visible()
    pinned = [run.id for run in (Store(home).run(f"listed-{number:02}") for number in range(31)) if run.metadata.pinned]
    assert pinned == ["listed-19"]
    box = settled(page).get_by_test_id("stDataFrame").bounding_box()
    page.mouse.click(box["x"] + 250, box["y"] + HEADER + ROW // 2)
    page.wait_for_url("**/runs?run=listed-19")
    open_workspace("local", home).resources.delete(ResourceKind.RUN, [f"listed-{number:02}" for number in range(31)])
