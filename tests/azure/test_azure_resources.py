"""What is kept in order in Azure ML: what is said and deleted there, and what on this machine only."""

import pytest

from services.azure.run_plan import RunPlan
from services.azure.runs.run_folder import AzureRunFolder
from services.azure.workspace import AzureWorkspace
from services.domain import ResourceKind, RunRequest, RunStatus, utc_now
from services.errors import NotFound, SettingsError, StudioError

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
    assert (dict(theirs.tags), theirs.note, theirs.pinned) == ({"a": "3"}, "there", False)
    cloud.resources.change(MODEL, "m", tags={"a": ""})
    assert elsewhere._cache.models.fetch()[0].tags == {}


def test_a_tag_that_azure_ml_refuses_stays_as_it_was(cloud, azure, model_file):
    cloud.register_model("m", model_file, tags={"a": "1"})
    azure.service.fault("PATCH *modelmanagement*/models/*", status=403)
    with pytest.raises(StudioError, match="tags of model m:1 were not changed"):
        cloud.resources.change(MODEL, "m", tags={"a": "2"}, pinned=True)
    assert cloud.model("m").tags == {"a": "1"}
    assert not cloud.resources.metadata(MODEL)["m:1"].pinned


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
    assert "the pipeline run and its output stay in Azure ML" in cloud.resources.dependents(RUN, run.id).sentences()[-1]
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
