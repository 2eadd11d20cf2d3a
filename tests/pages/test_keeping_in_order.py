"""The pages of models, datasets and environments kept in order: searched, pinned, described, archived, deleted; one and many."""

from __future__ import annotations

import sys
import zlib

import pytest

from pages import _keeping
from services.azure.workspace import AzureWorkspace
from services.connection import from_environment
from services.domain import EXPERIMENT, Environment, Model, ResourceKind, RunRequest, RunStatus, utc_now
from services.workspaces import open_workspace

MODELS, DATASETS = "registered_models.py", "registered_datasets.py"
MODEL, DATASET, ENVIRONMENT, _ = ResourceKind
HOSTILE = "![](http://x/y.png) :red[x] <b>=cmd"


def add_model(workspace, name: str, **values) -> str:
    """A model in the registry without a file, as its reference."""
    made = workspace._store.add(
        Model, name, lambda version: Model(name, version, f"/none/{name}", 10, "abc", "LightGBM", utc_now(), needs_approval=False, **values)
    )
    return str(made.reference)


def add_run(workspace, run_id: str, *, status: RunStatus = RunStatus.COMPLETED, models=("m:1",), datasets=("d:1",), **values) -> None:
    ended = {"ended_at": utc_now()} if status.ended else {}
    workspace._store.insert_run(run_id, RunRequest(models, datasets, "/s/script.py", **values), 1, 1, status=status, **ended)


def opened(app, key: str):
    app.session_state[key] = True
    return app.run()


def tick(app, kind: ResourceKind, references: list[str], rows: list[int]):
    """Turn several on, of which these references are the rows in that order, and tick some."""
    app.toggle(key=f"several-{kind}").set_value(True).run()
    these = zlib.crc32("\n".join(references).encode())
    app.session_state[f"several-{kind}-{these}"] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    return app.run()


def texts(app) -> str:
    found = (element.value for kind in ("markdown", "caption", "text", "info", "warning", "error") for element in app.get(kind))
    return "\n".join(found).replace("\\", "").replace("\u2060", "")


def names(app, column: str = "Model") -> list[str]:
    return app.dataframe[0].value[column].tolist()


# ---- the list ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(workspace):
    """Models `a`, `b` (archived) and `c` (pinned), of which `a` has two versions; tagged and described."""
    for name in ("a", "a", "b", "c"):
        add_model(workspace, name)
    change = workspace.resources.change
    change(MODEL, "a:1", tags={"stage": "prod", "team": "x y"}, note="the old one")
    change(MODEL, "a:2", tags={"stage": "test"})
    change(MODEL, "b:1", archived=True, note=HOSTILE)
    change(MODEL, "c:1", pinned=True, tags={"stage": "test"})


def test_the_pinned_come_first_and_the_archived_when_asked_for(open_page, three):
    app = open_page(MODELS)
    assert not app.exception
    assert names(app) == ["c", "a"]
    assert app.dataframe[0].value["★"].tolist() == ["★", ""]
    assert app.toggle(key="archived").label == "Archived (1)"
    app.toggle(key="archived").set_value(True).run()
    assert names(app) == ["c", "b", "a"]
    assert app.dataframe[0].value["Archived"].tolist() == ["", "archived", ""]
    app.toggle(key="versions").set_value(True).run()
    assert app.dataframe[0].value["Version"].tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"search": "OLD"}, ["a"]),
        ({"search": "a:2"}, ["a"]),
        ({"search": "stage=test c"}, ["c"]),
        ({"search": "![]("}, []),
        ({"search": "![](", "archived": "true"}, ["b"]),
        ({"tags": "stage=test"}, ["c", "a"]),
        ({"tags": "team=x y"}, ["a"]),
        ({"tags": "no=such"}, ["c", "a"]),
        ({"search": "nothing"}, []),
    ],
)
def test_the_address_says_what_is_searched_for(open_page, three, query, found):
    app = open_page(MODELS, **query)
    assert not app.exception
    if found:
        assert names(app) == found
    else:
        assert "No model matches." in texts(app)
        app.button(key="clear-search").click().run()
        assert names(app)


def test_an_older_version_is_found_by_its_own_tag(open_page, three):
    app = open_page(MODELS, tags="stage=prod")
    assert app.dataframe[0].value["Version"].tolist() == [1]
    assert app.selectbox(key="model").options == ["a:1"]


def test_what_is_searched_for_on_one_page_is_not_on_another(open_page, three, workspace, csv_folder):
    workspace.register_dataset("d", csv_folder(1))
    app = open_page(MODELS, search="c")
    assert names(app) == ["c"]
    app.switch_page(DATASETS).run()
    assert names(app, "Dataset") == ["d"]


def test_a_link_to_an_archived_one_opens_it(open_page, three):
    app = open_page(MODELS, model="b:1")
    assert app.selectbox(key="model").value == "b:1"
    assert "Archived: lists leave it out" in texts(app)
    assert HOSTILE in texts(app)
    app.button(key="archive-b:1").click().run()
    assert "Archived: lists leave it out" not in texts(app)


def test_where_all_are_archived_it_is_said(open_page, workspace):
    add_model(workspace, "a")
    workspace.resources.change(MODEL, "a", archived=True)
    assert "All models are archived" in texts(open_page(MODELS))


@pytest.mark.parametrize(("page", "tab"), [(MODELS, "Register a model"), (DATASETS, "Register a dataset")])
def test_an_empty_page_has_a_button_for_the_next_step(open_page, page, tab):
    app = open_page(page)
    assert app.button(key="next-step").label == tab
    app.button(key="next-step").click().run()
    assert app.session_state["tab"] == tab
    assert not app.exception


# ---- one of them -------------------------------------------------------------------------------------------------------------------------


def test_a_model_is_pinned_described_tagged_and_archived(open_page, workspace):
    add_model(workspace, "m", tags={"by": "ann"}, description="first")
    app = open_page(MODELS)
    app.button(key="pin-m:1").click().run()
    opened(app, "edit-m:1")
    note = next(area for area in app.text_area if area.label == "Note")
    tags = next(area for area in app.text_area if area.key.startswith("tags-m:1"))
    assert (note.value, tags.value) == ("first", "by=ann")
    note.set_value(f"second\n{HOSTILE}")
    tags.set_value("stage = prod\nformula==cmd")
    app.button(key="save-m:1").click().run()
    assert not app.exception
    said = workspace.resources.metadata(MODEL)["m:1"]
    assert (said.note, said.tags, said.pinned) == (f"second\n{HOSTILE}", {"stage": "prod", "formula": "=cmd"}, True)
    app.button(key="archive-m:1").click().run()
    assert workspace.resources.metadata(MODEL)["m:1"].archived
    app.button(key="archive-m:1").click().run()
    assert not workspace.resources.metadata(MODEL)["m:1"].archived


def test_a_tag_that_is_none_is_refused_and_nothing_changes(open_page, workspace):
    add_model(workspace, "m", tags={"by": "ann"})
    app = opened(open_page(MODELS), "edit-m:1")
    next(area for area in app.text_area if area.key.startswith("tags-m:1")).set_value("no equals sign")
    app.button(key="save-m:1").click().run()
    assert "is not a tag" in texts(app)
    assert workspace.resources.metadata(MODEL)["m:1"].tags == {"by": "ann"}


def test_what_another_tab_said_meanwhile_stays(open_page, workspace):
    add_model(workspace, "m", tags={"by": "ann"})
    app = opened(open_page(MODELS), "edit-m:1")
    area = next(area for area in app.text_area if area.key.startswith("tags-m:1"))
    workspace.resources.change(MODEL, "m:1", tags={"other": "tab"}, note="mine")
    area.set_value("by=ann\nstage=prod")
    app.button(key="save-m:1").click().run()
    said = workspace.resources.metadata(MODEL)["m:1"]
    assert (said.tags, said.note) == ({"by": "ann", "other": "tab", "stage": "prod"}, "mine")


def test_a_name_is_what_scripts_ask_for_and_is_registered_again(open_page, workspace, csv_folder):
    workspace.register_dataset("d", csv_folder(2), glob="*.csv", description="of May")
    app = opened(open_page(DATASETS), "rename-d:1")
    assert "A dataset’s name is what scripts ask for" in texts(app)
    app.button(key="again-as-d:1").click().run()
    assert not app.exception
    assert app.session_state["tab"] == "Register a dataset"
    assert app.text_input(key="dataset-path-0").value == str(
        csv_folder.__self__ if hasattr(csv_folder, "__self__") else workspace.dataset("d").root
    )
    assert app.text_input(key="dataset-glob-0").value == "*.csv"


def test_a_deletion_names_what_depends_what_stays_and_what_it_frees(open_page, workspace, csv_folder):
    own = csv_folder(2)
    workspace.register_dataset("d", own)
    add_run(workspace, "run-1")
    app = opened(open_page(DATASETS), "ask-delete-d:1")
    assert "Delete dataset **d:1**?" in texts(app)
    assert "Used by 1 run, whose results stay: run-1." in texts(app)
    assert f"The files in {own} are yours and stay." in texts(app)
    assert workspace.datasets()
    button = next(button for button in app.button if button.label == "Delete dataset")
    button.click().run()
    assert not app.exception
    assert workspace.datasets() == []
    assert len(list(own.iterdir())) == 2
    assert "Deleted" in app.toast[0].value


def test_what_a_run_needs_that_has_not_ended_is_not_deleted(open_page, workspace):
    add_model(workspace, "m")
    add_run(workspace, "run-1", status=RunStatus.RUNNING)
    app = opened(open_page(MODELS), "ask-delete-m:1")
    assert "Run run-1 needs it and has not ended" in texts(app)
    button = next(button for button in app.button if button.label == "Delete model")
    assert button.disabled
    assert "m:1" in button.help.replace("\\", "")


def test_one_that_a_link_opened_is_deleted_and_leaves_the_address(open_page, workspace):
    for name in ("a", "b", "c"):
        add_model(workspace, name)
    app = opened(open_page(MODELS, model="b:1"), "ask-delete-b:1")
    next(button for button in app.button if button.label == "Delete model").click().run()
    assert not app.exception
    assert {model.name for model in workspace.models()} == {"a", "c"}
    assert "b:1" not in str(app.query_params.get("model"))
    assert not app.warning
    assert not open_page(MODELS, model="b:1").exception


def test_what_was_deleted_in_another_tab_is_an_error_and_no_crash(open_page, workspace):
    add_model(workspace, "m")
    add_model(workspace, "n")
    app = opened(open_page(MODELS, model="m:1"), "ask-delete-m:1")
    workspace.resources.delete(MODEL, ["m:1"])
    next(button for button in app.button if button.label == "Delete model").click().run()
    assert not app.exception
    assert "was deleted" in texts(app)


# ---- many of them ------------------------------------------------------------------------------------------------------------------------


def test_many_are_tagged_pinned_and_archived_together(open_page, workspace):
    for name in ("a", "b", "c"):
        add_model(workspace, name)
    app = tick(open_page(MODELS), MODEL, ["c:1", "b:1", "a:1"], [0, 2])
    assert "**2 models** selected" in texts(app)
    opened(app, "tag-several-model")
    app.text_input(key="tag-of-several-model").set_value("stage=prod")  # the click is what sends it
    app.button(key="set-tag-model").click().run()
    app.button(key="archive-several-model").click().run()
    said = workspace.resources.metadata(MODEL)
    assert not app.exception
    assert {name for name, one in said.items() if one.archived and one.tags == {"stage": "prod"}} == {"a:1", "c:1"}


def test_what_is_wrong_with_a_tag_of_many_is_said_in_the_open_popover(open_page, workspace):
    add_model(workspace, "a")
    app = opened(tick(open_page(MODELS), MODEL, ["a:1"], [0]), "tag-several-model")
    app.text_input(key="tag-of-several-model").set_value("no equals sign")
    app.button(key="set-tag-model").click().run()
    (error,) = [error for popover in app.get("popover") for error in popover.get("error")]
    assert "is not a tag" in error.value


def test_many_are_named_before_they_are_deleted(open_page, workspace):
    for name in ("a", "b", "m"):
        add_model(workspace, name)
    add_run(workspace, "run-1")
    app = tick(open_page(MODELS), MODEL, ["m:1", "b:1", "a:1"], [0, 1])
    opened(app, "delete-several-model")
    assert "**m:1**: used by 1 run" in texts(app)
    assert "**b:1**" in texts(app)
    next(button for button in app.button if button.label == "Delete 2 models").click().run()
    assert not app.exception
    assert [model.reference for model in workspace.models()] == ["a:1"]


def test_one_that_is_needed_keeps_all_that_were_ticked(open_page, workspace):
    for name in ("a", "m"):
        add_model(workspace, name)
    add_run(workspace, "run-1", status=RunStatus.RUNNING)
    app = opened(tick(open_page(MODELS), MODEL, ["m:1", "a:1"], [0, 1]), "delete-several-model")
    assert next(button for button in app.button if button.label == "Delete 2 models").disabled
    assert len(workspace.models()) == 2


# ---- environments ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(workspace):
    made = Environment("made", 1, sys.executable, "3.11.0", {"numpy": "1"}, utc_now())
    workspace._store.add(Environment, "made", lambda _: made)


def test_an_environment_is_renamed_and_still_known_by_its_first_name(open_page, workspace, environment):
    app = opened(open_page("connection.py"), "rename-made:1")
    app.text_input(key="new-name-made:1").set_value("ours")
    app.button(key="rename-now-made:1").click().run()
    assert not app.exception
    assert app.dataframe[1].value["Environment"].tolist() == ["ours:1"]
    assert workspace.environment("ours").reference == workspace.environment("made").reference == "made:1"
    opened(app, "rename-made:1")
    app.text_input(key="new-name-made:1").set_value("../up").run()
    app.button(key="rename-now-made:1").click().run()
    assert app.error


def test_an_environment_that_was_there_keeps_its_interpreter(open_page, workspace, environment):
    app = opened(open_page("connection.py"), "ask-delete-made:1")
    assert f"The interpreter {sys.executable} was not made here and stays." in texts(app)
    next(button for button in app.button if button.label == "Delete environment").click().run()
    assert workspace.environments() == []


# ---- elsewhere --------------------------------------------------------------------------------------------------------------------------


def test_a_new_run_offers_what_is_archived_only_where_it_is_asked_for(open_page, three, workspace, csv_folder):
    for name in ("kept", "old"):
        workspace.register_dataset(name, csv_folder(1, name))
    workspace.resources.change(DATASET, "old", archived=True)
    app = open_page("new_run.py")
    assert not app.exception
    assert "b:1" not in app.selectbox(key="model").options
    assert "old:1" not in app.selectbox(key="dataset").options
    app = open_page("new_run.py", model="b:1", dataset="old:1")
    assert not app.exception
    assert (app.selectbox(key="model").value, app.selectbox(key="dataset").value) == ("b:1", "old:1")


def test_an_archived_model_asks_for_no_attention(open_page, workspace):
    made = Model("m", 1, "/none/m", 10, "abc", "pickle", utc_now())
    workspace._store.add(Model, "m", lambda _: made)
    assert "Needs attention" in [element.value for element in open_page().subheader]
    workspace.resources.change(MODEL, "m", archived=True)
    assert "Needs attention" not in [element.value for element in open_page().subheader]


def test_in_azure_ml_a_dataset_of_several_versions_goes_as_a_whole(azure, home, csv_folder):
    workspace = open_workspace("azure", home)
    for name in ("first", "second"):
        workspace.register_dataset("d", csv_folder(1, name))
    reference, dependents, error = _keeping._dependents(workspace, DATASET, "d:1", "d")
    assert (reference, error) == ("d", None)
    assert "All its 2 versions go" in dependents.notes[0]
    assert "its files stay in their datastore" in " ".join(dependents.sentences())


@pytest.fixture
def cloud(azure, home, tmp_path, csv_folder):
    """The workspace of the stand-in, which the dashboard has too; with a dataset."""
    connection = from_environment(tmp_path)
    connection.remember(home)
    made = AzureWorkspace(connection, home, blocking=True)
    made.register_dataset("d", csv_folder(2))
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the SDK's own
def test_what_is_said_of_a_dataset_on_its_page_goes_to_azure_ml(open_page, azure, cloud, tmp_path):
    elsewhere = AzureWorkspace(cloud.connection, tmp_path / "another machine", blocking=True)
    app = opened(open_page(DATASETS), "edit-d:1")
    assert "In Azure ML, for all versions of d" in texts(app)
    assert "On this machine only" in app.button(key="pin-d:1").help
    area = {area.label: area for area in app.text_area}
    area["Note"].set_value(HOSTILE)
    area["Tags"].set_value("season=summer")
    app.button(key="save-d:1").click().run()
    assert not app.exception
    theirs = elsewhere.resources.metadata(DATASET)["d:1"]
    assert (theirs.note, theirs.tags) == (HOSTILE, {"season": "summer"})
    azure.service.fault("PUT *dataset/v1.0*/datasets/*", status=403)
    app = opened(open_page(DATASETS), "edit-d:1")
    next(area for area in app.text_area if area.label == "Tags").set_value("season=winter")
    app.button(key="save-d:1").click().run()
    assert "The tags of dataset d were not changed: you have no permission" in texts(app)
    assert elsewhere._cache.datasets.fetch()[0].tags == {"season": "summer"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the SDK's own
def test_a_run_is_renamed_on_its_page_in_azure_ml_too(open_page, azure, cloud, entry_script, finish):
    script = entry_script("def run(mini_batch):\n    return ['ok'] * len(mini_batch)\n")
    run = finish(cloud, cloud.submit(RunRequest((), ("d:1",), str(script), compute_target="cpu-cluster", name="first")).id)

    def save(**values: str):
        app = open_page("runs.py", run=run.id)
        assert "Here and in Azure ML" in texts(app)
        for field in (*app.text_input, *app.text_area):
            if field.label in values:
                field.set_value(values[field.label])
        next(button for button in app.button if button.label == "Save").click().run()
        assert not app.exception
        return app

    save(Name="May, final", Note="For the board.", Tags="owner=ann")
    (there,) = cloud.pipelines.history(EXPERIMENT)
    assert (there.title, there.note, there.tags) == ("May, final", "For the board.", {"owner": "ann"})
    azure.service.fault("PATCH *history*/runs/*", status=403)
    app = save(Name="June")
    assert f"The name of run {run.id} was not changed: you have no permission" in texts(app)
    assert cloud.runs.get(run.id).metadata.name == "May, final"


# ---- lineage -----------------------------------------------------------------------------------------------------------------------------


def links(app) -> list[str]:
    return [element.proto.label.replace("\\", "") for element in app.get("page_link")]


def test_a_model_shows_its_runs_and_the_datasets_they_scored(open_page, workspace, csv_folder):
    add_model(workspace, "m")
    workspace.register_dataset("d", csv_folder(1))
    add_run(workspace, "run-1", name="first")
    add_run(workspace, "run-2", datasets=("gone:1",), name=HOSTILE)
    app = opened(open_page(MODELS), "lineage-model")
    assert not app.exception
    assert "**2 runs**" in texts(app)
    assert {"first", "d:1"} <= set(links(app))
    assert "gone:1 · deleted" in texts(app)
    app = opened(open_page(DATASETS), "lineage-dataset")
    assert {"first", "m:1"} <= set(links(app))


def test_a_model_that_nothing_used_says_so(open_page, workspace):
    add_model(workspace, "m")
    assert "No run has used it yet." in texts(opened(open_page(MODELS), "lineage-model"))


def test_a_run_shows_what_it_came_from_and_what_came_from_it(open_page, workspace):
    add_model(workspace, "m")
    add_run(workspace, "run-1", name="first")
    add_run(workspace, "run-2", name="again", rerun_of="run-1")
    add_run(workspace, "run-3", name="what failed", rerun_of="run-2", failed_only=True)
    add_run(workspace, "run-4", name="alone", rerun_of="run-0", models=(), side_inputs={"lookup": "l:1"})
    app = open_page("runs.py", run="run-2", view="Lineage")
    assert not app.exception
    assert {"m:1", "first", "what failed"} <= set(links(app))
    assert "Rerun of" in texts(app)
    assert "d:1 · deleted" in texts(app)
    assert "a rerun of its failed items" in texts(app)
    add_run(workspace, "run-5", name="more", rerun_of="run-2", new_only=True)
    app = open_page("runs.py", run="run-5", view="Lineage")
    assert "Added to" in texts(app)
    assert "again" in links(app)
    app = open_page("runs.py", run="run-4", view="Lineage")
    assert "run-0 · deleted" in texts(app)
    assert "l:1 · deleted" in texts(app)
    assert "No run was made from this one." in texts(app)


# ---- as many as after a year -------------------------------------------------------------------------------------------------------------


def test_a_thousand_are_drawn_and_searched(open_page, workspace):
    for number in range(1000):
        add_model(workspace, f"model-{number:04}")
    app = open_page(MODELS)
    assert len(app.dataframe[0].value) == 1000
    app.text_input(key="search").set_value("model-0123").run()
    assert names(app) == ["model-0123"]
