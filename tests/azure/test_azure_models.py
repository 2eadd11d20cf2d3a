"""Models of an Azure ML workspace, on the stand-in: registered, listed, deleted, taken from a training run."""

from __future__ import annotations

import inspect
import os
import random
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC

import pytest

from services.azure.catalog import downloads, uploads
from services.azure.workspace import AzureWorkspace
from services.domain import ResourceKind
from services.errors import NotFound, StudioError

LIGHTGBM = (
    b"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\nobjective=regression\n"
    b"feature_names=age income\nfeature_infos=[18:79] [3:9949]\n\nTree=0\nnum_leaves=1\nleaf_value=1\n\nend of trees\n"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own


def test_a_model_registered_elsewhere_is_listed(cloud, ws, tmp_path):
    from azureml.core import Model

    (tmp_path / "m.bin").write_bytes(b"x")
    Model.register(ws, "m.bin", "theirs", description="text", tags={"a": "b"}, model_framework=Model.Framework.SCIKITLEARN)
    (model,) = cloud.models()
    assert (model.reference, model.kind, model.sha256, model.size) == ("theirs:1", "ScikitLearn model", "", None)
    assert (model.description, dict(model.tags), model.usable) == ("text", {"a": "b"}, True)


def test_a_model_s_properties_are_known_on_another_machine(cloud, model_file, tmp_path):
    model = cloud.register_model("m", model_file)
    another = AzureWorkspace(cloud.connection, tmp_path / "another machine", blocking=True)
    assert replace(another.model("m"), created_at=model.created_at) == model


def test_models_are_registered_in_parallel_from_any_folder(cloud, tmp_path):
    """`Model.register` takes what is below the working folder only, which is the whole process's."""
    before = os.getcwd()
    places = [tmp_path / f"folder {number}" / f"My model ({number}).bin" for number in range(4)]
    for number, place in enumerate(places):
        place.parent.mkdir()
        place.write_bytes(b"%d" % number * 100)
    with ThreadPoolExecutor(4) as threads:
        names = (place.parent.name.replace(" ", "-") for place in places)
        models = list(threads.map(cloud.register_model, names, places))
    assert [model.size for model in models] == [100] * 4
    assert len({model.sha256 for model in models}) == 4
    assert os.getcwd() == before


def test_a_model_is_registered_by_the_sdk_s_own_two_calls(cloud):
    from azureml.core import Model

    source = inspect.getsource(Model.register)
    assert "asset = Model._create_asset(workspace.service_context, model_path, model_name, child_paths)" in source
    steps = "".join(map(inspect.getsource, (Model._create_asset, Model._create_artifacts)))
    assert "artifacts_path = '{}/{}/{}'.format(origin, container, model_base_name)" in steps
    assert "asset = asset_client.create_asset(model_name, prefix_values, None)" in steps
    assert "model = Model._register_with_asset(workspace, model_name, asset_id, tags, properties, description," in source


def test_a_model_s_upload_shows_progress_and_registers_all_or_nothing(cloud, tmp_path, azure, monkeypatch, capsys):
    monkeypatch.setattr(downloads, "CHUNK_BYTES", 40_000)
    monkeypatch.setattr(uploads, "CHUNK_BYTES", 40_000)
    monkeypatch.setattr("services.azure.workspace._PROGRESS_SECONDS", 0)
    content = random.Random(1).randbytes(100_000)
    (tmp_path / "model.bin").write_bytes(content)
    made = cloud.register_model("m", tmp_path / "model.bin")
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("Uploading m:")] == [
        "Uploading m: 40.0 kB of 100.0 kB", "Uploading m: 80.0 kB of 100.0 kB"
    ]  # fmt: skip
    assert made.size == 100_000
    azure.service.fault("PUT *LocalUpload/*comp=block&*", count=None, status=403)
    with pytest.raises(StudioError):
        cloud.register_model("m", tmp_path / "model.bin")
    assert [model.reference for model in cloud._cache.models.fetch()] == ["m:1"]


def test_a_lost_answer_of_a_registration_leaves_one_version(cloud, model_file, azure, tmp_path):
    azure.service.fault("POST *modelmanagement*/models", lost=True)
    azure.service.fault("DELETE *modelmanagement*/models/*", status=403)  # the twin can't be taken away
    made = cloud.register_model("m", model_file)
    another = AzureWorkspace(cloud.connection, tmp_path / "another machine", blocking=True)
    assert [model.reference for model in another.models()] == [made.reference] == ["m:2"]


def test_a_deleted_version_is_gone_and_the_others_stay(cloud, model_file):
    for _ in range(2):
        cloud.register_model("m", model_file)
    cloud.resources.delete(ResourceKind.MODEL, ["m:2"])
    assert [model.reference for model in cloud.models()] == ["m:1"]
    assert [model.reference for model in cloud._cache.models.fetch()] == ["m:1"]
    with pytest.raises(NotFound, match="m:2"):
        cloud.resources.delete(ResourceKind.MODEL, ["m:2"])


def test_a_model_is_registered_from_the_outputs_of_a_training_run(cloud, ws, tmp_path):
    from azureml.core import Experiment

    run = Experiment(ws, "train").start_logging(snapshot_directory=None, display_name="first try")
    (tmp_path / "m.pkl").write_bytes(b"weights")
    run.upload_file("outputs/m.pkl", "m.pkl")
    run.complete()

    assert cloud.experiments() == ["train"]
    (found,) = cloud.training_runs("train")
    assert (found.id, found.status, found.started_at.tzinfo) == (run.id, "Completed", UTC)
    assert cloud.training_run_files("train", run.id) == ["outputs/m.pkl"]
    model = cloud.register_model_from_run("m", "train", run.id, "outputs/m.pkl", description="best", tags={"by": "train"})
    assert (model.reference, model.kind, model.description, dict(model.tags)) == ("m:1", "registered from a run", "best", {"by": "train"})
    assert cloud.models() == [model]
    with pytest.raises(StudioError):
        cloud.register_model_from_run("m", "train", run.id, "outputs/none.pkl")
    with pytest.raises(StudioError, match="run-of-nobody"):
        cloud.training_run_files("train", "run-of-nobody")


def test_a_model_s_card_is_read_from_its_file_fetched_once(cloud, ws, tmp_path, azure):
    """Of one that was registered here, at once; of another's, when it is asked for. Neither is loaded on this machine."""
    from azureml.core import Model

    (tmp_path / "tree.txt").write_bytes(LIGHTGBM)
    cloud.register_model("mine", tmp_path / "tree.txt")
    assert (cloud.model_card("mine").format, cloud.model_card("mine").feature_count) == ("lightgbm", 2)

    Model.register(ws, "tree.txt", "theirs")
    cloud._cache.models.fetch()
    assert "inspect it" in cloud.model_card("theirs").notes[0]
    card = cloud.inspect_model("theirs")
    assert (card.format, [one.name for one in card.inputs], card.task) == ("lightgbm", ["age", "income"], "regression")
    azure.service.fault("GET *", count=None, status=500)
    assert cloud.inspect_model("theirs:1") == cloud.model_card("theirs:1") == card
    assert list((cloud.home / "incoming").iterdir()) == []


def test_a_zipped_mlflow_model_is_uploaded_as_its_folder(cloud, tmp_path):
    with zipfile.ZipFile(tmp_path / "churn.zip", "w") as archive:
        archive.writestr(
            "churn/MLmodel", "flavors: {python_function: {loader_module: mlflow.sklearn}, sklearn: {sklearn_version: 1.3.2}}\n"
        )
        archive.writestr("churn/requirements.txt", "scikit-learn==1.3.2\n")
    model = cloud.register_model("churn", tmp_path / "churn.zip")
    assert model.kind == "MLflow: python_function, sklearn"
    assert cloud.model_card("churn").requirements == ("scikit-learn==1.3.2",)
    assert cloud._models.fetch(model.reference, tmp_path / "fetched").name == "churn"
    assert (tmp_path / "fetched" / "churn" / "MLmodel").is_file()


def test_a_path_without_a_model_is_told_as_on_this_machine(cloud, tmp_path):
    with pytest.raises(NotFound, match="There is no file or folder"):
        cloud.register_model("m", tmp_path / "nothing.joblib")
