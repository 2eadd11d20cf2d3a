"""Names and messages from outside read on the pages as they are, whatever Streamlit makes of such signs elsewhere."""

import pytest
from playwright.sync_api import expect

from services.domain import RunRequest
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.browser.dashboard import move

TEXTS = (
    ":material_home: and :streamlit:", ":material/home: :red[x] :smile:", "a -> b <- c <-> d", "x -- y --- z", "p >= 1, q <= 2 ~= 3",
    "**bold** $x^2$ `code` <b>b</b> &amp; # - 1.",
)  # fmt: skip
WORD_JOINER = "\u2060"


@pytest.fixture(scope="module")
def runs(home, tmp_path_factory, finish):
    folder = tmp_path_factory.mktemp("text")
    (folder / "files").mkdir()
    (folder / "files" / "a.csv").write_text("1")
    script = folder / "script.py"
    script.write_text(f"def run(mini_batch): raise ValueError({' | '.join(TEXTS)!r})\n")
    workspace = LocalWorkspace(home)
    workspace.register_dataset("d", folder / "files")
    settings = ParallelRunSettings(run_max_try=1, error_threshold=0)
    return [finish(workspace, workspace.submit(RunRequest((), ("d",), str(script), settings, name=text)).id) for text in TEXTS]


def test_names_and_messages_read_as_they_are(runs, dashboard, page):
    page.goto(f"{dashboard.url}/runs")
    for run in runs:
        expect(move(page, f"runs?run={run.id}").get_by_role("link", name="Failures as CSV")).to_be_visible()
        assert page.get_by_role("heading").first.inner_text().replace(WORD_JOINER, "").strip() == run.title
        alert = page.get_by_role("alert").first.inner_text().replace(WORD_JOINER, "")
        assert " | ".join(TEXTS) in alert
