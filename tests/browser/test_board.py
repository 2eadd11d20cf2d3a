"""The live board of a run, watched in a browser: a stall, failures as they come, a cancel, and an end that is announced on another page."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.domain import RunRequest, RunStatus
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.browser.dashboard import settled

SCRIPT = """
    import os, time
    GATES = {gates!r}
    def wait(name):
        while not os.path.exists(os.path.join(GATES, name)): time.sleep(0.02)
    def run(mini_batch):
        number = int(os.path.basename(mini_batch[0])[:4])
        time.sleep(0.05)
        if number == 4: raise ValueError("four is <b>broken</b>")
        if number == 20: wait("stall")
        return [os.path.basename(path) + ": 1" for path in mini_batch]
"""
RECORDER = """
window.shown = JSON.parse(sessionStorage.getItem("shown") ?? "[]")
window.Notification = class {
  static permission = sessionStorage.getItem("permission") ?? "default"
  static async requestPermission() { sessionStorage.setItem("permission", "granted"); return this.permission = "granted" }
  constructor(title, more) { window.shown.push(title); sessionStorage.setItem("shown", JSON.stringify(window.shown)) }
}
"""

WIDEST = """bars => {
    const width = bar => bar.getBoundingClientRect().width
    const bar = bars.sort((a, b) => width(b) - width(a))[0]
    bar.scrollIntoView({ block: "center" })
    const box = bar.getBoundingClientRect()
    return [box.x + box.width / 2, box.y + box.height / 2]
}"""


@pytest.fixture
def gates(tmp_path) -> Path:
    folder = tmp_path / "gates"
    folder.mkdir()
    return folder


@pytest.fixture
def submit(home, csv_folder, entry_script, gates):
    def submit(name: str):
        workspace = LocalWorkspace(home)
        if not any(dataset.name == "watched" for dataset in workspace.datasets()):
            workspace.register_dataset("watched", csv_folder(60), copy=True)
        values = {
            "mini_batch_size": "2",
            "process_count_per_node": 2,
            "run_max_try": 1,
            "error_threshold": 20,
            "run_invocation_timeout": 600,
        }
        script = entry_script(SCRIPT.replace("{gates!r}", repr(str(gates))))
        return workspace.submit(RunRequest((), ("watched",), str(script), ParallelRunSettings(**values), name=name, allow_reuse=False))

    return submit


@pytest.mark.walk
def test_a_run_is_watched_from_its_first_mini_batch_to_its_end(dashboard, page: Page, home, submit, gates, finish):
    page.add_init_script(RECORDER)
    run = submit("Nightly")
    page.goto(f"{dashboard.url}/runs?run={run.id}")
    expect(page.get_by_text("Mini-batches by worker")).to_be_visible()
    # It stalls: one worker is held, and the other soon has nothing left to do.
    expect(page.get_by_text(re.compile("No mini-batch has ended for .* has been running mini-batch 10"))).to_be_visible()
    expect(page).to_have_title("96 % · Nightly")
    expect(page.get_by_text("2 of 20 allowed failures used")).to_be_visible()
    expect(page.get_by_role("meter", name="Allowed failures used")).to_have_attribute("aria-valuenow", "10")
    expect(page.get_by_text("last sign of life just now")).to_be_visible()
    expect(page.get_by_text("Causes of failures so far")).to_be_visible()
    # The click that a picture takes, and the mini-batch that it opens.
    bars = page.locator(".st-key-run-timeline .barlayer .trace:not(:first-child) .point")
    expect(bars.first).to_be_attached()
    dialog, tries = page.get_by_role("dialog"), 0
    while not dialog.count():  # the picture is drawn again each second: a click at that moment is one at nothing
        assert (tries := tries + 1) < 20
        page.mouse.click(*bars.evaluate_all(WIDEST))
        page.wait_for_timeout(2500)
    expect(dialog.get_by_text(re.compile("2 files of watched:1"))).to_be_visible()
    expect(dialog.get_by_text(re.compile("Running on node 0, process00[01] for"))).to_be_visible()
    expect(page).to_have_url(re.compile(r"mini_batch=10"))
    page.keyboard.press("Escape")
    expect(page).not_to_have_url(re.compile("mini_batch="))
    # Asked for by a click, never before.
    assert page.evaluate("Notification.permission") == "default"
    page.get_by_role("button", name="Notify me when it ends").click()
    expect(page.get_by_text("You will be notified")).to_be_visible()
    # The end is announced on another page, once, with a way to the run.
    page.get_by_role("link", name="Models").click()
    expect(settled(page).get_by_role("heading", name="Models")).to_be_visible()
    (gates / "stall").touch()
    message = page.locator(f".st-key-ended-run-{run.id}")
    expect(message.get_by_text("Nightly")).to_be_visible()
    expect(message.get_by_text("58 succeeded · 2 failed")).to_be_visible()
    page.wait_for_function("window.shown.length === 1")
    message.get_by_role("button", name="Open run").click()
    expect(page).to_have_title("Completed · Nightly")
    expect(message).to_have_count(0)
    page.wait_for_timeout(5_000)  # longer than between two looks for ends
    assert page.evaluate("window.shown") == ["Completed · Nightly"]


def test_a_cancel_is_seen_and_what_ended_before_is_not_told(dashboard, page: Page, home, submit, finish):
    run = submit("Held")
    page.goto(f"{dashboard.url}/runs?run={run.id}")
    expect(page).to_have_title(re.compile(r"^\d+ % · Held$"))
    expect(page.get_by_text("Mini-batches by worker")).to_be_visible()
    page.get_by_role("button", name="Cancel run").click()
    expect(page).to_have_title("Canceled · Held")
    assert finish(LocalWorkspace(home), run.id).status is RunStatus.CANCELED
    page.goto(f"{dashboard.url}/models")  # not by a link: what this window had seen running would be told
    expect(settled(page).get_by_role("heading", name="Models")).to_be_visible()
    page.wait_for_timeout(5_000)
    expect(page.locator("[class*=st-key-ended-run-]")).to_have_count(0)


def test_a_mini_batch_opens_by_its_address(dashboard, page: Page, home, submit, gates, finish):
    (gates / "stall").touch()
    run = submit("Linked")
    finish(LocalWorkspace(home), run.id)
    for number, words in ((2, "ValueError: four is <b>broken</b>"), (99, "has no mini-batch 99")):
        page.goto(f"{dashboard.url}/runs?run={run.id}&mini_batch={number}")
        expect(page.get_by_role("dialog").get_by_text(re.compile(re.escape(words))).first).to_be_visible()
