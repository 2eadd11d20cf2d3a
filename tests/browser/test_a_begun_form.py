"""A form that was begun: a reload, Back and another tab show it as it was typed, and what may be secret is in no address and no log."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.local.workspace import LocalWorkspace
from tests.browser.dashboard import Dashboard, settled

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


def addresses_of(*pages: Page) -> list[str]:
    """All that these pages ask for or show from now on."""
    addresses: list[str] = []
    for page in pages:
        page.on("framenavigated", lambda frame: addresses.append(frame.url))
        page.on("request", lambda request: addresses.append(request.url))
    return addresses


def begin(page: Page, dashboard: Dashboard, workspace: LocalWorkspace, dataset: str, folder: Path) -> str:
    """Half of a form: a dataset of three files, a script, two nodes, and a token among the arguments, which is returned. And a reload."""
    token = f"s3cr3t-{dataset}"
    workspace.register_dataset(dataset, folder)
    script = workspace.scripts.add("begun.py", SCRIPT)
    workspace.approve(script.sha256)
    page.goto(f"{dashboard.url}/new_run?model=No+model&dataset={dataset}:1&script=begun.py+%C2%B7+{script.sha256[:8]}")
    unfold(page)
    fill(page, "Node count", "2")
    fill(page, "Arguments", f"--token {token}")
    expect(page).to_have_url(re.compile("draft=[0-9a-f]{32}"))
    expect(page).to_have_url(re.compile("node_count=2"))
    page.reload()
    unfold(page)
    has(page, Node_count="2", Arguments=f"--token {token}", Dataset=f"{dataset}:1")
    return token


def is_nowhere(token: str, addresses: list[str], dashboard: Dashboard) -> None:
    """The token is in no address and no log."""
    assert addresses
    assert [address for address in addresses if token in address] == []
    assert token not in dashboard.output()
    assert [path.name for path in (dashboard.home / "logs").rglob("*.log") if token in path.read_text("utf-8", "replace")] == []


def test_a_begun_form_survives_a_reload_and_its_secrets_are_in_no_address(dashboard, page, workspace, csv_folder):
    addresses = addresses_of(page)
    token = begin(page, dashboard, workspace, "half", csv_folder(3))
    is_nowhere(token, addresses, dashboard)


@pytest.mark.walk
def test_a_begun_form_survives_back_and_another_tab(dashboard, page, workspace, csv_folder):
    addresses = addresses_of(page, other := page.context.new_page())
    token = begin(page, dashboard, workspace, "begun", csv_folder(3))

    settled(page).get_by_role("link", name="Datasets").first.click()
    expect(page.get_by_role("heading", name="Datasets", exact=True)).to_be_visible()
    settled(page)
    page.go_back()
    unfold(page)
    has(page, Node_count="2", Arguments=f"--token {token}", Dataset="begun:1")

    other.goto(page.url)  # a second tab of the same form: from its first change on it has a draft of its own
    unfold(other)
    has(other, Node_count="2", Arguments=f"--token {token}")
    fill(other, "Arguments", "--token another")
    expect(other).not_to_have_url(re.compile(re.search("draft=[0-9a-f]{32}", page.url)[0]))
    page.reload()
    unfold(page)
    has(page, Arguments=f"--token {token}")

    page.get_by_role("button", name="Submit run").click()
    expect(page.get_by_text(re.compile("^run-.*submitted"))).to_be_visible()
    page.wait_for_timeout(2500)  # within the time of a double click the page would go to the run
    page.go_back()
    unfold(page)
    has(page, Node_count="2", Arguments=f"--token {token}", Dataset="begun:1")
    assert [run.request.datasets for run in workspace.runs.latest()].count(("begun:1",)) == 1
    is_nowhere(token, addresses, dashboard)
    assert [path for path in (dashboard.home / "drafts").iterdir() if token in path.read_text("utf-8")] == []  # it was submitted
