"""A run handed over by the dashboard: its Export menu, and an archive imported on the Runs page."""

from __future__ import annotations

import io
import json
import zipfile
from hashlib import sha256
from urllib.parse import urlencode

import pytest

from services.domain import ResourceKind
from services.handover.importing import import_archive
from tests.pages.scripts import HALF_BAD, THREE_CLASSES

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

SECRET = {"environment_variables": {"DOOR": "sesame"}}


def exported(get, run, kind, **more):
    """The name of the file and its bytes."""
    status, headers, body = get(f"downloads/export?{urlencode({'run': run.id, 'as': kind} | more)}")
    assert status == 200, body
    assert headers["content-disposition"].startswith("attachment;")
    assert int(headers["content-length"]) == len(body)
    return headers["content-disposition"].rpartition("''")[2], body


def test_each_export_is_a_download(ended, get):
    run = ended(THREE_CLASSES, name="it's three/classes")
    names = {kind: exported(get, run, kind) for kind in ("sdk-v1", "sdk-v2", "yaml", "cli", "notebook", "archive")}
    assert [name.rpartition(".")[2] for name, _ in names.values()] == ["py", "py", "zip", "sh", "ipynb", "zip"]
    assert all("%2F" not in name for name, _ in names.values())
    for kind in ("sdk-v1", "sdk-v2"):
        compile(names[kind][1], "run.py", "exec")
    with zipfile.ZipFile(io.BytesIO(names["yaml"][1])) as files:
        assert {"job.yml", "component.yml", "conda.yml"} < set(files.namelist())
    assert json.loads(names["notebook"][1])["nbformat"] == 4
    with zipfile.ZipFile(io.BytesIO(names["archive"][1])) as archive:
        assert {"manifest.json", "run.json", "predictions.parquet", "report.html"} <= set(archive.namelist())


def test_secrets_are_downloaded_only_when_asked_for(ended, get):
    run = ended(THREE_CLASSES, **SECRET)
    for kind in ("sdk-v1", "sdk-v2", "cli"):
        assert b"sesame" not in exported(get, run, kind)[1]
        assert b"sesame" in exported(get, run, kind, secrets="1")[1]


def test_what_cannot_be_exported_says_why(ended, get):
    run = ended(THREE_CLASSES)
    for query, message in (({"run": "run-x", "as": "cli"}, "no run"), ({"run": run.id, "as": "evil"}, "no such export")):
        status, _, body = get(f"downloads/export?{urlencode(query)}")
        assert (status, message in body.decode()) == (404, True)


def test_the_menu_names_what_is_left_out(ended, open_page):
    run = ended(THREE_CLASSES, **SECRET)
    page = open_page("runs.py", run=run.id)
    page.session_state[f"export-{run.id}"] = True
    page.run()
    assert not page.exception
    assert any("DOOR" in caption.value for caption in page.caption)


@pytest.fixture
def imported(ended, get, workspace, tmp_path, open_page):
    """The page of a run that was imported by its path, and the run as it was before."""
    run = ended(HALF_BAD, name="half bad", error_threshold=-1)
    workspace.resources.change(ResourceKind.RUN, run.id, note="look at 3")
    (tmp_path / "run.zip").write_bytes(exported(get, run, "archive")[1])
    page = open_page("runs.py")
    page.session_state["import-run"] = True
    page.run()
    page.text_input(key="import-path").set_value(str(tmp_path / "run.zip")).run()
    page.button(key="import-now").click().run()
    return page, run


def test_an_imported_run_says_so_and_shows_the_same(imported, workspace, open_page):
    page, run = imported
    assert not page.exception
    taken = next(other for other in workspace.runs.latest() if other.imported_from)
    assert page.query_params["run"] in (taken.id, [taken.id])
    page = open_page("runs.py", run=taken.id)
    assert any(f"There it was {run.id}" in info.value.replace("\\", "") for info in page.info)
    assert not [button for button in page.button if button.label == "Resume"]
    rerun = page.button(key=f"rerun-{taken.id}")
    assert rerun.disabled
    assert "script" in rerun.help
    then, now = (open_page("results.py", run=run_id) for run_id in (run.id, taken.id))
    assert not now.exception
    rows = [next(frame.value for frame in shown.dataframe if "File" in frame.value.columns) for shown in (then, now)]
    assert rows[0].equals(rows[1])
    for view in ("Failures", "Logs", "Settings", "Output", "Activity"):
        shown = open_page("runs.py", run=taken.id, view=view)
        assert not shown.exception
        assert not [error.value for error in shown.error if "can't be" in error.value]


def test_a_wrong_archive_is_refused_on_the_page(open_page, tmp_path, workspace):
    (tmp_path / "x.zip").write_bytes(b"PK no zip")
    page = open_page("runs.py")
    page.session_state["import-run"] = True
    page.run()
    page.text_input(key="import-path").set_value(str(tmp_path / "x.zip")).run()
    page.button(key="import-now").click().run()
    assert any("not a zip archive" in error.value for error in page.error)
    assert workspace.runs.latest() == []


def test_an_imported_runs_script_is_taken_up_only_by_approval(imported, workspace, open_page):
    taken = next(other for other in workspace.runs.latest() if other.imported_from)
    page = open_page("new_run.py", like=taken.id)
    assert not page.exception
    assert page.selectbox(key="script").value is None or "run-" not in page.selectbox(key="script").value
    page.button(key="kept-script").click().run()
    assert page.selectbox(key="script").value.startswith("script.py")
    assert [button for button in page.button if str(button.key).startswith("approve-")]


HOSTILE = """<script>alert(1)</script> **x** :material/home: [a](http://x) =1+1 $x$ \u202e ../.. 'a' "b"\nnext"""


def test_texts_of_an_archive_stay_texts_on_the_pages(ended, get, workspace, open_page, tmp_path):
    run = ended(HALF_BAD, error_threshold=-1)
    (tmp_path / "run.zip").write_bytes(exported(get, run, "archive")[1])
    with zipfile.ZipFile(tmp_path / "run.zip") as members:
        files = {name: members.read(name) for name in members.namelist()}
    values, about = json.loads(files["run.json"]), json.loads(files["about.json"])
    values["request"] |= {"name": HOSTILE, "entry_script": f"/x/{HOSTILE}", "models": [HOSTILE], "datasets": [HOSTILE, "../../x:1\udcff"]}
    values |= {"status": "Failed", "error": HOSTILE, "error_code": HOSTILE, "warnings": [HOSTILE] * 3, "reused_from": HOSTILE}
    about["metadata"] |= {"note": HOSTILE, "tags": {HOSTILE[:90]: HOSTILE}}
    about |= {"failures": [failure | {"worker": HOSTILE, "error": HOSTILE} for failure in about["failures"]]}
    about["environment"] |= {"name": HOSTILE, "packages": {HOSTILE: HOSTILE}, "interpreter": HOSTILE}
    about["provenance"] |= {"models": [[HOSTILE, HOSTILE]], "script": [HOSTILE, HOSTILE], "settings": {HOSTILE: HOSTILE}}
    files |= {"run.json": json.dumps(values).encode(), "about.json": json.dumps(about).encode()}
    manifest = json.loads(files.pop("manifest.json"))
    manifest["files"] = [{"path": n, "size": len(c), "sha256": sha256(c).hexdigest()} for n, c in files.items()]
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w") as members:
        for name, content in (files | {"manifest.json": json.dumps(manifest).encode()}).items():
            members.writestr(name, content)
    taken = import_archive(workspace, tmp_path / "hostile.zip").run
    pages = [open_page("runs.py"), open_page("results.py", run=taken.id), open_page("new_run.py", like=taken.id)]
    pages += [open_page("runs.py", run=taken.id, view=view) for view in ("Failures", "Logs", "Settings", "Output", "Activity", "Lineage")]
    for page in pages:
        assert not page.exception
        texts = [element.value for kind in ("markdown", "caption", "info", "warning", "error", "header") for element in page.get(kind)]
        assert not [text for text in texts if "<script>" in text or "**x**" in text or "[a](" in text]
    for kind in ("report.html", "export"):
        status, _, body = get(f"downloads/{kind}?{urlencode({'run': taken.id, 'as': 'archive'})}")
        assert (status, b"<script>alert" in body) == (200, False)


def test_an_imported_run_is_judged_by_its_own_labels_and_compared(ended, get, workspace, open_page, tmp_path):
    run = ended(THREE_CLASSES)
    lines = [f"{number:04}.csv,class {number % 3}" for number in range(10)]
    (tmp_path / "truth.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    labels = workspace.add_labels("d", tmp_path / "truth.csv")
    (tmp_path / "run.zip").write_bytes(exported(get, run, "archive")[1])
    taken = import_archive(workspace, tmp_path / "run.zip").run
    workspace.remove_labels("d", labels.id)
    page = open_page("results.py", run=taken.id, look="Evaluation", beside=f"labels:{labels.id}")
    assert not page.exception
    assert not page.error
    assert any("labels that came with it" in caption.value for caption in page.caption)
    assert not [expander for expander in page.expander if expander.label in ("Add labels", "All runs over this dataset")]
    assert [text.value for text in page.text][:2] == ["100.00%", "100.00%"]
    compared = open_page("compare.py", **{"run": taken.id, "with": run.id})
    assert not compared.exception
    assert not compared.error
