"""What axe-core finds on the pages of a run, in both color schemes: names of controls, roles, contrast, order of headings."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from services.domain import RunRequest
from services.intake.entry_scripts import BUILT_IN
from services.local.workspace import LocalWorkspace
from services.sample import make_sample
from services.settings import ParallelRunSettings
from tests.browser.dashboard import move, settled

# A list of sections, which are no list items; a drop zone that is presentation and has a name.
STREAMLITS_OWN = [["[data-testid=stSidebarNavItems]"], ["[data-testid=stFileUploaderDropzone]"]]
PAGES = {
    "runs": "runs?run={run}",
    "activity": "runs?run={run}&view=Activity",
    "logs": "runs?run={run}&view=Logs",
    "results": "results?run={run}",
    "row": "results?run={run}&row=3",
    "review": "results?run={run}&look=Review",
    "evaluation": "results?run={run}&look=Evaluation&beside=labels:{labels}",
    "lineage": "runs?run={run}&view=Lineage",
    "models": "models?model={model}",
    "datasets": "datasets?dataset={dataset}",
    "storage": "storage",
    "new run": "new_run?model={model}&dataset={dataset}",
}
FEW = ("results", "new run")


@pytest.fixture(scope="module")
def names(home, finish):
    """What the addresses of the pages hold: a run over the sample, whose dataset has true labels."""
    workspace = LocalWorkspace(home)
    sample = make_sample(home)
    labels = workspace.add_labels(sample.dataset, sample.labels, name="truth")
    settings = ParallelRunSettings(mini_batch_size="100", process_count_per_node=1, run_invocation_timeout=600)
    run = finish(
        workspace, workspace.submit(RunRequest((sample.model,), (sample.dataset,), str(BUILT_IN / "batch_scoring_script.py"), settings)).id
    )
    return {"run": run.id, "labels": labels.id, "dataset": sample.dataset, "model": sample.model}


@pytest.mark.parametrize("pages", [pytest.param(FEW, id="few"), pytest.param(tuple(PAGES), id="all", marks=pytest.mark.walk)])
def test_axe_finds_nothing_on_the_pages_of_a_run_light_and_dark(names, dashboard, page, pages):
    found = {}
    page.goto(f"{dashboard.url}/runs")
    for name in pages:
        page.emulate_media(color_scheme="light")
        move(page, PAGES[name].format(**names))
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            expect(settled(page).get_by_test_id("stApp")).to_have_css("color-scheme", scheme)
            for _ in range(3):  # a busy page is still changing its colors
                found[name, scheme] = violations(page, only_colors=scheme == "dark")  # the rest is as it was
                if not found[name, scheme]:
                    break
                page.wait_for_timeout(1_000)
    assert {where: what for where, what in found.items() if what} == {}


def violations(page: Page, *, only_colors: bool) -> list[str]:
    options = {"resultTypes": ["violations"]} | ({"runOnly": ["color-contrast"]} if only_colors else {})
    results = Axe().run(page, context={"exclude": STREAMLITS_OWN}, options=options)
    return [f"{found['id']}: {node['html'][:200]}" for found in results.response["violations"] for node in found["nodes"][:3]]
