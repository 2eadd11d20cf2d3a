"""A run exported as an archive by two clicks, and imported by an upload."""

import zipfile

from playwright.sync_api import expect

from services.domain import RunRequest
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.browser.dashboard import move, settled


def test_an_archive_is_downloaded_and_imported_by_upload(home, dashboard, page, finish, tmp_path):
    workspace = LocalWorkspace(home)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "one.txt").write_text("1")
    (tmp_path / "script.py").write_text("def run(mini_batch):\n    return ['to hand over'] * len(mini_batch)\n")
    workspace.register_dataset("handed", tmp_path / "files")
    settings = ParallelRunSettings(process_count_per_node=1, run_invocation_timeout=600)
    run = finish(workspace, workspace.submit(RunRequest((), ("handed",), str(tmp_path / "script.py"), settings, name="handed over")).id)

    page.goto(f"{dashboard.url}/runs?run={run.id}")
    settled(page)
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Archive").click()
    assert download.value.suggested_filename == "handed over archive.zip"
    download.value.save_as(tmp_path / "run.zip")
    assert zipfile.is_zipfile(tmp_path / "run.zip")

    move(page, "runs").get_by_role("button", name="Import").click()
    page.locator("input[type=file]").set_input_files(tmp_path / "run.zip")
    page.get_by_role("button", name="Import run").click()
    expect(page.get_by_text("Imported from an archive.")).to_be_visible()
    expect(page.get_by_role("button", name="Rerun")).to_be_disabled()
    page.get_by_role("button", name="See results").click()
    expect(page.get_by_text("1 prediction").first).to_be_visible()
