from __future__ import annotations

from datetime import timedelta

import pytest

from services.domain import ResourceKind, RunRequest, RunStatus, utc_now
from services.storage.store import Store

HOSTILE = "![](http://x/y.png) :red[x] $x$ <b>bold</b>\nline"


@pytest.fixture
def insert(home, workspace):
    """`insert("r1", name=..., status=...)` records a run as its own process would have."""

    def insert_run(run_id: str, name: str = "", **columns: object) -> None:
        store = Store(home)
        store.insert_run(run_id, RunRequest(models=(), datasets=("orders:1",), entry_script="/s/score.py", name=name), 100, 10)
        if columns:
            store.update_run(run_id, **columns)

    return insert_run


def texts(app) -> list[str]:
    return [caption.value.replace("\\", "").replace("\u2060", "") for caption in app.caption]


def links(app) -> list[str]:
    return [link.value for link in app.page_link]


def headings(app) -> list[str]:
    return [heading.value for heading in app.subheader]


def test_an_empty_workspace_shows_three_steps_and_a_sample(open_page):
    app = open_page()
    assert not app.exception
    assert [step.value.split("**")[1] for step in app.markdown if "**" in step.value] == [
        "1. Register a model",
        "2. Register a dataset",
        "3. Run and explore",
    ]
    assert app.button(key="sample").label == "Try it with a sample"
    assert links(app) == ["Register your own model", "Register your own dataset"]


@pytest.mark.slow
def test_the_sample_is_made_once_and_fills_in_a_new_run(open_page, workspace):
    app = open_page()
    app.button(key="sample").click().run(timeout=120)
    assert not app.exception
    assert app.header[0].value == "New run"
    chosen = {"model": "digits-classifier:1", "dataset": "digits-batch:1", "script": "batch_scoring_script.py"}
    assert {key: app.selectbox(key=key).value for key in chosen} == chosen
    app.switch_page("home.py").run()
    app.button(key="sample").click().run(timeout=120)
    assert {key: app.selectbox(key=key).value for key in chosen} == chosen
    assert [model.reference for model in workspace.models()] == ["digits-classifier:1"]
    assert [dataset.reference for dataset in workspace.datasets()] == ["digits-batch:1"]


def test_a_failed_run_needs_attention_until_the_same_completes(open_page, insert):
    insert("r1", "june", status=RunStatus.FAILED, ended_at=utc_now(), error="ValueError: bad row\nTraceback", error_code="X")
    app = open_page()
    assert headings(app) == ["Needs attention", "Latest runs"]
    assert "ValueError: bad row" in texts(app)
    assert links(app).count("june") == 2
    insert("r2", "june", status=RunStatus.COMPLETED, ended_at=utc_now(), items_succeeded=100)
    app.run()
    assert headings(app) == ["Latest runs"]
    assert any(text.startswith("100 items scored") for text in texts(app))


def test_what_needs_attention_is_dismissed_until_something_new_happens(open_page, insert, home, workspace, model_file):
    insert("r1", "june", status=RunStatus.FAILED, ended_at=utc_now() - timedelta(hours=1), error="bad row")
    workspace.register_model("classifier", model_file)
    app = open_page()

    def dismissals():
        return [button for button in app.button if button.label == "Dismiss"]

    while buttons := dismissals():
        buttons[0].click().run()
        assert not app.exception
    assert "Needs attention" not in headings(app)
    assert "Needs attention" not in headings(open_page())
    Store(home).update_run("r1", ended_at=utc_now())  # resumed, and failed again
    app.run()
    assert len(dismissals()) == 1
    workspace.register_model("classifier", model_file)
    app.run()
    assert len(dismissals()) == 2


def test_an_archived_run_is_not_on_the_home_page(open_page, insert, workspace):
    insert("r1", "june", status=RunStatus.FAILED, ended_at=utc_now(), error="bad row")
    workspace.resources.change(ResourceKind.RUN, "r1", archived=True)
    assert headings(open_page()) == []


def test_a_renamed_run_is_shown_by_its_new_name_and_resolved_by_the_same(open_page, insert, workspace):
    insert("r1", "june", status=RunStatus.FAILED, ended_at=utc_now(), error="bad row")
    workspace.resources.change(ResourceKind.RUN, "r1", name="first try")
    app = open_page()
    assert links(app).count("first try") == 2
    insert("r2", "june", status=RunStatus.COMPLETED, ended_at=utc_now())
    app.run()
    assert headings(app) == ["Latest runs"]


def test_a_run_without_a_live_runner_needs_attention(open_page, insert):
    insert("r1", "june", status=RunStatus.RUNNING, heartbeat_at=utc_now() - timedelta(minutes=5))
    app = open_page()
    assert headings(app) == ["Needs attention", "Latest runs"]
    assert any("is gone." in text for text in texts(app))


def test_an_active_run_is_shown_with_its_progress(open_page, insert):
    insert("r1", "june", items_succeeded=40, items_failed=2, heartbeat_at=utc_now() + timedelta(minutes=5))  # a page may take its time
    app = open_page()
    assert not app.exception
    assert headings(app) == ["Running now", "Latest runs"]
    assert "42 of 100 items" in texts(app)
    assert app.progress[0].value == 42


def test_what_needs_approval_is_named_with_a_link(open_page, workspace, model_file):
    model = workspace.register_model("classifier", model_file)
    script = workspace.scripts.add("mine.py", b"def run(mini_batch): return mini_batch")
    app = open_page()
    assert headings(app)[0] == "Needs attention"
    assert {"classifier\\:1", "mine\\.py"} <= set(links(app))
    by_label = {link.value: link.proto.query_string for link in app.page_link}
    assert by_label["classifier\\:1"] == "model=classifier%3A1"
    workspace.approve(model.sha256)
    workspace.approve(script.sha256)
    app.run()
    assert "Needs attention" not in headings(app)


def test_a_newer_usable_version_needs_no_attention(open_page, workspace, model_file, tmp_path):
    workspace.register_model("classifier", model_file)
    path = tmp_path / "tree.txt"
    path.write_bytes(b"tree\nversion=v4\nend of trees\n")
    workspace.register_model("classifier", path)
    assert "Needs attention" not in headings(open_page())


def test_names_and_errors_from_outside_are_shown_as_text(open_page, insert):
    insert("r1", HOSTILE, status=RunStatus.FAILED, ended_at=utc_now(), error=HOSTILE)
    app = open_page()
    assert not app.exception
    assert HOSTILE.partition("\n")[0] in texts(app)
    for label in [*links(app), *(markdown.value for markdown in [*app.markdown, *app.caption])]:
        assert "![" not in label
        assert ":red[" not in label
        assert "<b>" not in label


def test_the_sample_is_offered_in_a_full_workspace_too(open_page, workspace, csv_folder):
    workspace.register_dataset("orders", csv_folder(2))
    app = open_page()
    assert {"0 models", "1 dataset"} <= set(links(app))
    assert app.button(key="sample")
    app.button(key="new-run").click().run()
    assert app.header[0].value == "New run"


def test_items_that_were_not_reported_are_not_said_to_be_none(open_page, insert):
    insert("r1", status=RunStatus.FAILED, ended_at=utc_now(), items_succeeded=0, items_failed=0)
    insert("r2", status=RunStatus.FAILED, ended_at=utc_now(), items_succeeded=None, items_failed=None)
    details = [text.partition(" · ")[0] for text in texts(open_page())]
    assert {"no items scored", "items scored not reported"} <= set(details)
