"""A form that was begun: a reload, Back and another tab show it as it was typed, and what may be secret is in no address and no log."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.dashboard import settled

SECRET = "s3cr3t-4711"
SCRIPT = b'import os\ndef run(mini_batch):\n    return [f"{os.path.basename(p)}: 1" for p in mini_batch]\n'


def fill(page: Page, label: str, text: str) -> None:
    box = page.get_by_role("textbox", name=label, exact=True)
    box.fill(text)
    box.press("Enter")
    settled(page)


def has(page: Page, **values: str) -> None:
    """The form holds these values, once it has run through."""
    expect(page.get_by_role("heading", name="New run", exact=True)).to_be_visible()
    for label, value in values.items():
        role = "combobox" if label == "Dataset" else "textbox"
        expect(page.get_by_role(role, name=label.replace("_", " "), exact=True)).to_have_value(value, timeout=20_000)


def unfold(page: Page) -> None:
    settled(page).get_by_text("More settings").click()


def test_a_begun_form_survives_and_its_secrets_are_in_no_address(dashboard, page, workspace, csv_folder):
    workspace.register_dataset("begun", csv_folder(3))
    script = workspace.scripts.add("begun.py", SCRIPT)
    workspace.approve(script.sha256)
    addresses: list[str] = []
    for opened in (page, other := page.context.new_page()):
        opened.on("framenavigated", lambda frame: addresses.append(frame.url))
        opened.on("request", lambda request: addresses.append(request.url))
    page.goto(f"{dashboard.url}/new_run?model=No+model&dataset=begun:1&script=begun.py+%C2%B7+{script.sha256[:8]}")
    unfold(page)
    fill(page, "Node count", "2")
    fill(page, "Arguments", f"--token {SECRET}")
    expect(page).to_have_url(re.compile("draft=[0-9a-f]{32}"))
    expect(page).to_have_url(re.compile("node_count=2"))

    page.reload()
    unfold(page)
    has(page, Node_count="2", Arguments=f"--token {SECRET}", Dataset="begun:1")

    settled(page).get_by_role("link", name="Datasets").first.click()
    expect(page.get_by_role("heading", name="Datasets", exact=True)).to_be_visible()
    settled(page)
    page.go_back()
    unfold(page)
    has(page, Node_count="2", Arguments=f"--token {SECRET}", Dataset="begun:1")

    other.goto(page.url)  # a second tab of the same form: from its first change on it has a draft of its own
    unfold(other)
    has(other, Node_count="2", Arguments=f"--token {SECRET}")
    fill(other, "Arguments", "--token another")
    expect(other).not_to_have_url(re.compile(re.search("draft=[0-9a-f]{32}", page.url)[0]))
    page.reload()
    unfold(page)
    has(page, Arguments=f"--token {SECRET}")

    page.get_by_role("button", name="Submit run").click()
    expect(page.get_by_text(re.compile("^run-.*submitted"))).to_be_visible()
    page.wait_for_timeout(2500)  # within the time of a double click the page would go to the run
    page.go_back()
    unfold(page)
    has(page, Node_count="2", Arguments=f"--token {SECRET}", Dataset="begun:1")
    assert [run.request.datasets for run in workspace.runs.latest()].count(("begun:1",)) == 1

    assert addresses
    assert [address for address in addresses if SECRET in address] == []
    assert SECRET not in dashboard.output()
    assert [path.name for path in (dashboard.home / "logs").rglob("*.log") if SECRET in path.read_text("utf-8", "replace")] == []
    assert [path for path in (dashboard.home / "drafts").iterdir() if SECRET in path.read_text("utf-8")] == []
