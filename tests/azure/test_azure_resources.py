"""What is kept in order in Azure ML: what is said and deleted there, and what on this machine only."""

from dataclasses import replace

import pytest

from services.azure.run_plan import RunPlan
from services.azure.runs.run_folder import AzureRunFolder
from services.azure.workspace import AzureWorkspace
from services.domain import EXPERIMENT, Metadata, ResourceKind, RunRequest, RunStatus, utc_now
from services.errors import NotFound, SettingsError, StudioError, WorkspaceUnavailable
from services.remote import PipelineRun

MODEL, DATASET, ENVIRONMENT, RUN = ResourceKind


@pytest.fixture
def elsewhere(cloud, tmp_path):
    """The same workspace as another machine has it."""
    return AzureWorkspace(cloud.connection, tmp_path / "another machine", blocking=True)


@pytest.fixture
def run_over(cloud):
    """`run_over(dataset)`: a completed run of it, as the registry has it."""

    def make(reference: str, run_id: str = "run-1"):
        request = RunRequest((), (reference,), "/score.py", compute_target="cpu-cluster")
        manifest = cloud._datasets.file_list(cloud.dataset(reference))
        AzureRunFolder(cloud.home, run_id).create(RunPlan(request, 2, (str(manifest),)))
        return cloud._store.insert_run(run_id, request, 2, 1, status=RunStatus.COMPLETED, ended_at=utc_now())

    return make


def test_tags_of_a_model_are_azure_mls_and_the_rest_is_known_here_only(cloud, elsewhere, model_file):
    cloud.register_model("m", model_file, description="there", tags={"a": "1", "b": "2"})
    cloud.resources.change(MODEL, "m", tags={"a": "3", "b": ""}, note="here", pinned=True)
    assert cloud.model("m").tags == {"a": "3"}
    theirs = elsewhere.resources.metadata(MODEL)["m:1"]
    assert (dict(theirs.tags), theirs.note, theirs.pinned) == ({"a": "3"}, "here", False)
    cloud.resources.change(MODEL, "m", tags={"a": ""})
    assert elsewhere._cache.models.fetch()[0].tags == {}


def test_a_tag_that_azure_ml_refuses_stays_as_it_was(cloud, azure, model_file):
    cloud.register_model("m", model_file, tags={"a": "1"})
    azure.service.fault("PATCH *modelmanagement*/models/*", status=403)
    with pytest.raises(StudioError, match="tags of model m:1 were not changed"):
        cloud.resources.change(MODEL, "m", tags={"a": "2"}, pinned=True)
    assert cloud.model("m").tags == {"a": "1"}
    assert not cloud.resources.metadata(MODEL)["m:1"].pinned


def test_a_models_note_is_its_description_there_and_taken_away_again(cloud, elsewhere, model_file):
    cloud.register_model("m", model_file, tags={"a": "1"})
    cloud.resources.change(MODEL, "m", note="Trained in May; see <b>the report</b>.")
    assert elsewhere._cache.models.fetch()[0].description == "Trained in May; see <b>the report</b>."
    cloud.resources.change(MODEL, "m", note="")
    (theirs,) = elsewhere._cache.models.fetch()
    assert (theirs.description, theirs.tags) == ("", {"a": "1"})
    assert cloud.resources.metadata(MODEL)["m:1"].note == ""


def test_tags_and_the_note_of_a_dataset_are_there_for_all_its_versions(cloud, elsewhere, csv_folder):
    for number in (1, 2):
        cloud.register_dataset("d", csv_folder(number, str(number)), description="rows")
    cloud.resources.change(DATASET, "d:1", tags={"season": "summer", "stage": "a"}, note="Rows of May.", pinned=True)
    cloud.resources.change(DATASET, "d:1", tags={"stage": "b"})
    theirs = elsewhere.resources.metadata(DATASET)
    assert {reference: (dict(said.tags), said.note) for reference, said in theirs.items()} == {
        "d:1": ({"season": "summer", "stage": "b"}, "Rows of May."),
        "d:2": ({"season": "summer", "stage": "b"}, "Rows of May."),
    }
    assert cloud.resources.metadata(DATASET)["d:1"].pinned
    assert "all versions of d" in cloud.resources.whereabouts(DATASET, "d:1", ["tags"])
    cloud.resources.change(DATASET, "d:2", tags={"season": "", "stage": ""}, note="")
    assert [(known.tags, known.description) for known in elsewhere._cache.datasets.fetch()] == [({}, "")] * 2


def test_a_new_version_of_a_dataset_keeps_what_was_said_of_it(cloud, elsewhere, csv_folder):
    cloud.register_dataset("d", csv_folder(1, "1"), description="rows")
    elsewhere.resources.change(DATASET, "d", tags={"season": "summer"})
    made = cloud.register_dataset("d", csv_folder(2, "2"))
    assert (made.version, made.tags, made.description) == (2, {"season": "summer"}, "rows")
    assert [(known.reference, known.tags, known.description, known.file_count) for known in elsewhere._cache.datasets.fetch()] == [
        ("d:2", {"season": "summer"}, "rows", 2),
        ("d:1", {"season": "summer"}, "rows", 1),
    ]


def test_the_tags_that_this_program_keeps_in_azure_ml_are_not_touched(cloud, csv_folder, run_over):
    cloud.register_dataset("d", csv_folder(2))
    run = run_over("d:1")
    for kind, reference, key in ((DATASET, "d", "batch_scoring_studio"), (RUN, run.id, "batch_scoring_run")):
        for value in ("mine", ""):
            with pytest.raises(SettingsError, match="this program’s own"):
                cloud.resources.change(kind, reference, tags={key: value})


def test_tags_of_a_dataset_that_azure_ml_refuses_stay_as_they_were(cloud, azure, csv_folder):
    cloud.register_dataset("d", csv_folder(2))
    cloud.resources.change(DATASET, "d", tags={"a": "1"})
    azure.service.fault("PUT *dataset/v1.0*/datasets/*", status=403, message="AuthorizationFailed")
    with pytest.raises(StudioError, match="The tags of dataset d were not changed: you have no permission"):
        cloud.resources.change(DATASET, "d", tags={"a": "2"}, archived=True)
    assert cloud.dataset("d").tags == {"a": "1"}
    assert not cloud.resources.metadata(DATASET)["d:1"].archived


# ---- runs ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def submitted(cloud, csv_folder, tmp_path):
    """`submitted()`: a run of two files, submitted now."""
    cloud.register_dataset("d", csv_folder(2))
    (tmp_path / "score.py").write_text("def run(mini_batch):\n    return ['ok'] * len(mini_batch)\n")
    request = RunRequest((), ("d:1",), str(tmp_path / "score.py"), compute_target="cpu-cluster", name="the first name")
    return lambda: cloud.submit(request)


def as_known(workspace) -> PipelineRun:
    """The one pipeline run of the workspace, as somebody sees it who did not submit it."""
    (run,) = workspace.pipelines.history(EXPERIMENT)
    return run


def test_a_run_is_renamed_described_and_tagged_in_azure_ml_too(cloud, elsewhere, azure, submitted, finish):
    run = finish(cloud, submitted().id)
    change = cloud.resources.change
    before = as_known(elsewhere)
    assert (before.title, before.note, before.tags) == ("the first name", "", {})
    assert change(RUN, run.id, name="May, final").name == "May, final"
    change(RUN, run.id, note="For the board:\n=cmd()", tags={"checked": "yes", "owner": "ann"})
    change(RUN, run.id, tags={"checked": "", "owner": "bob", "stage": "<b>"}, pinned=True)
    theirs = as_known(elsewhere)
    assert (theirs.title, theirs.note, theirs.tags) == ("May, final", "For the board:\n=cmd()", {"owner": "bob", "stage": "<b>"})
    assert theirs.id == before.id
    said = cloud.runs.get(run.id).metadata
    assert (said.name, said.note, dict(said.tags), said.pinned) == (theirs.title, theirs.note, theirs.tags, True)
    assert "Here and in Azure ML" in cloud.resources.whereabouts(RUN, run.id, ["name"])
    assert "On this machine only" in cloud.resources.whereabouts(RUN, run.id, ["pinned"])

    change(RUN, run.id, name="", note="", tags={"owner": "", "stage": ""})
    again = as_known(elsewhere)
    assert (again.title, again.note, again.tags) == ("the first name", "", {})

    with pytest.raises(SettingsError, match="has 5,001 characters, and Azure ML takes 5,000"):
        change(RUN, run.id, note="x" * 5_001)
    with pytest.raises(SettingsError, match="at most 50 tags"):
        change(RUN, run.id, tags={f"tag {number}": "x" for number in range(50)})
    azure.service.fault("PATCH *history*/runs/*", status=403, count=None)
    for given, what in (({"name": "x"}, "name"), ({"note": "x"}, "note"), ({"tags": {"x": "y"}}, "tags")):
        with pytest.raises(StudioError, match=f"The {what} of run {run.id} w(as|ere) not changed: you have no permission"):
            change(RUN, run.id, **given, archived=True)
    assert cloud.runs.get(run.id).metadata == replace(said, name="", note="", tags={})
    azure.service.clear()
    azure.service.fault("DELETE *history*/tags*", status=403)
    change(RUN, run.id, tags={"a": "1"})
    with pytest.raises(StudioError, match="The tags of"):
        change(RUN, run.id, name="half", tags={"a": "", "b": "2"})
    assert (as_known(elsewhere).title, as_known(elsewhere).tags) == ("half", {"a": "1", "b": "2"})
    assert cloud.runs.get(run.id).metadata == replace(said, name="half", note="", tags={"a": "1", "b": "2"})


def test_what_is_said_of_a_run_before_azure_ml_has_it_arrives_with_it(cloud, elsewhere, azure, submitted, finish):
    azure.service.fault("POST *PipelineRuns/Unsubmitted/CreationInfoWithGraph*", held=True)
    run = submitted()
    said = cloud.resources.change(RUN, run.id, name="named in the queue", note="n", tags={"a": "1"})
    assert (said.name, dict(said.tags)) == ("named in the queue", {"a": "1"})
    assert "until the run is in Azure ML" in cloud.resources.whereabouts(RUN, run.id, ["name"])
    assert cloud.pipelines.of(run.id) is None
    azure.service.clear()
    finish(cloud, run.id)
    theirs = as_known(elsewhere)
    assert (theirs.title, theirs.note, theirs.tags) == ("named in the queue", "n", {"a": "1"})


def test_a_run_whose_name_azure_ml_refuses_when_it_arrives_is_scored_all_the_same(cloud, elsewhere, azure, submitted, finish):
    azure.service.fault("POST *PipelineRuns/Unsubmitted/CreationInfoWithGraph*", held=True)
    run = submitted()
    cloud.resources.change(RUN, run.id, name="not theirs")
    azure.service.clear()
    azure.service.fault("PATCH *history*/runs/*", status=403)
    run = finish(cloud, run.id)
    assert run.status is RunStatus.COMPLETED
    assert "did not all arrive in Azure ML: you have no permission" in run.warnings[-1]
    assert (run.metadata.name, as_known(elsewhere).title) == ("not theirs", "the first name")
    cloud.resources.change(RUN, run.id, name="not theirs")
    assert as_known(elsewhere).title == "not theirs"


def test_a_run_that_never_got_to_azure_ml_is_named_on_this_machine_only(cloud, azure, csv_folder, run_over):
    cloud.register_dataset("d", csv_folder(2))
    run = run_over("d:1")
    before = len(azure.requests)
    assert cloud.resources.change(RUN, run.id, name="mine").name == "mine"
    assert "the run is not in Azure ML" in cloud.resources.whereabouts(RUN, run.id, ["name"])
    assert len(azure.requests) == before


def test_without_a_connection_or_its_pipeline_run_a_runs_name_stays_as_it_was(cloud, csv_folder, run_over, monkeypatch):
    cloud.register_dataset("d", csv_folder(2))
    run = run_over("d:1")
    cloud.runs.folder(run.id).save_pipeline_run(PipelineRun("gone", EXPERIMENT, RunStatus.COMPLETED, studio_url="https://ml.azure.com"))
    with pytest.raises(NotFound, match=f"The name of run {run.id} was not changed: .*gone"):
        cloud.resources.change(RUN, run.id, name="x", pinned=True)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    offline = AzureWorkspace(cloud.connection, cloud.machine_home, blocking=True)
    with pytest.raises(WorkspaceUnavailable, match="Azure ML could not be reached"):
        offline.resources.change(RUN, run.id, note="x", archived=True)
    assert offline.runs.get(run.id).metadata == Metadata()
    assert offline.resources.change(RUN, run.id, pinned=True).pinned  # which needs no connection


# ---- deleted ---------------------------------------------------------------------------------------------------------------------------


def test_deleting_says_of_each_kind_what_depends_on_it_and_what_goes_where(of_nightly, nightly):
    def said(kind: ResourceKind, wanted: str) -> list[str]:
        return of_nightly.resources.dependents(kind, wanted).sentences()

    first, again = nightly.run.id, nightly.again.id
    others = "Whether pipelines and schedules that others made there need it is not known here."
    used, *model = said(MODEL, "clf:1")
    assert used.startswith(f"Used by {of_nightly.runs.linked(MODEL, 'clf:1').count} runs, whose results stay: ")
    assert used.endswith("Rerunning needs another model.")
    assert model[0] == "It is deleted in Azure ML, for everyone who uses the workspace. Nothing of it is on this machine."
    assert model[1].startswith("Pipelines published from here name it: ")
    assert nightly.published.id in model[1]
    assert model[1].endswith("They and their schedules may fail without it.")
    assert model[2:] == [others]
    used, *dataset = said(DATASET, "rows")
    assert used.endswith("Rerunning needs another dataset.")
    assert dataset[0] == "It is unregistered in Azure ML, for everyone who uses the workspace; its files stay in their datastore."
    assert dataset[1] == (
        "On this machine the lists of its files go, and files that were fetched."
        " True labels by which runs are judged stay until the last of them is deleted."
    )
    assert (nightly.published.id in dataset[2], dataset[3:]) == (True, [others])
    run = "It is deleted on this machine only: the pipeline run, its description and tags there, and its output stay in Azure ML."
    assert said(RUN, first)[-1] == said(RUN, again)[-1] == run
    with pytest.raises(SettingsError, match="SDK v1 removes no environments") as refused:
        said(ENVIRONMENT, of_nightly.environments()[0].reference)
    assert "Archive it" in refused.value.hint


def test_what_nothing_depends_on_is_deleted_without_a_word_on_runs(cloud, model_file, csv_folder, run_over):
    cloud.register_model("m", model_file)
    cloud.register_dataset("d", csv_folder(2))
    assert not any("run" in sentence for sentence in cloud.resources.dependents(MODEL, "m").sentences())
    assert not any("run" in sentence for sentence in cloud.resources.dependents(DATASET, "d").sentences())
    assert cloud.resources.dependents(RUN, run_over("d:1").id).sentences() == ["It is deleted on this machine: Azure ML does not have it."]


def test_a_dataset_goes_with_all_its_versions_and_no_single_one(cloud, elsewhere, csv_folder, azure):
    for number in (1, 2):
        cloud.register_dataset("d", csv_folder(number, str(number)))
    with pytest.raises(SettingsError, match="no single version of a dataset, and d has 2"):
        cloud.resources.delete(DATASET, ["d:1"])
    said = " ".join(cloud.resources.dependents(DATASET, "d").sentences())
    assert "All its 2 versions go" in said
    assert "its files stay in their datastore" in said
    assert cloud.resources.delete(DATASET, ["d"]) > 0
    assert cloud.datasets() == elsewhere.datasets() == []
    assert not (cloud.home / "datasets" / "d").exists()
    with pytest.raises(NotFound):
        cloud.dataset("d")


def test_a_run_over_a_deleted_dataset_keeps_the_list_of_its_files(cloud, csv_folder, run_over):
    cloud.register_dataset("d", csv_folder(2))
    run = run_over("d:1")
    found = cloud.resources.dependents(DATASET, "d:1")
    assert (found.runs, found.reference) == ((run.id,), "d:1")
    cloud.resources.delete(DATASET, ["d:1"])
    assert cloud.runs.folder(run.id).plan().items() == ["0000.csv", "0001.csv"]
    assert not (cloud.home / "datasets" / "d").exists()
    assert cloud.labels("d:1") == []


def test_a_run_is_deleted_on_this_machine_only(cloud, csv_folder, run_over, azure):
    cloud.register_dataset("d", csv_folder(2))
    run = run_over("d:1")
    before = len(azure.requests)
    assert cloud.resources.delete(RUN, [run.id]) > 0
    assert len(azure.requests) == before
    assert cloud.runs.latest() == []


def test_what_a_run_needs_is_not_deleted_in_azure_ml_before_it_has_ended(cloud, model_file, csv_folder, run_over):
    cloud.register_model("m", model_file)
    cloud.register_dataset("d", csv_folder(2))
    request = RunRequest(("m:1",), ("d:1",), "/score.py", compute_target="cpu-cluster")
    cloud._store.insert_run("run-2", request, 2, 1, status=RunStatus.RUNNING)
    for kind, name in ((MODEL, "m:1"), (DATASET, "d")):
        with pytest.raises(SettingsError, match="run-2"):
            cloud.resources.delete(kind, [name])
    assert [model.reference for model in cloud._cache.models.fetch()] == ["m:1"]
    assert [dataset.reference for dataset in cloud._cache.datasets.fetch()] == ["d:1"]


def test_an_environment_is_renamed_here_and_not_deleted(cloud):
    known = cloud.environments()[0]
    cloud.resources.change(ENVIRONMENT, known.reference, name="prod")
    assert cloud.environment("prod").reference == known.reference
    with pytest.raises(SettingsError, match="removes no environments"):
        cloud.resources.dependents(ENVIRONMENT, "prod")
