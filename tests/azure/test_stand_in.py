"""The unmodified SDK on the stand-in: what is registered comes back, over real HTTPS."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own


def test_a_model_is_registered_listed_downloaded_and_deleted(ws):
    from azureml.core import Model

    Path("model.pkl").write_bytes(b"a model")
    for number in (1, 2):
        registered = Model.register(ws, "model.pkl", "clf", tags={"stage": "test"}, description="for tests")
        assert registered.id == f"clf:{number}"
    assert [model.id for model in Model.list(ws)] == ["clf:2", "clf:1"]
    assert [model.id for model in Model.list(ws, latest=True)] == ["clf:2"]
    assert (registered.tags, registered.description) == ({"stage": "test"}, "for tests")
    assert Path(Model(ws, "clf").download("there")).read_bytes() == b"a model"
    Model(ws, "clf", version=1).delete()
    assert [model.id for model in Model.list(ws, name="clf")] == ["clf:2"]
    Model(ws, "clf").delete()
    assert Model.register(ws, "model.pkl", "clf").version == 3  # a number is not given twice


def test_a_model_of_many_files_is_registered_as_a_folder(ws):
    from azureml.core import Model

    Path("model/parts").mkdir(parents=True)
    Path("model/MLmodel").write_text("flavors")
    Path("model/parts/one.bin").write_bytes(bytes(1000))
    Model.register(ws, "model", "folder")
    folder = Path(Model(ws, "folder").download("there"))
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == ["MLmodel", "parts/one.bin"]


def test_a_file_dataset_is_uploaded_and_downloaded_unchanged(ws):
    from azureml.core import Dataset

    files = {"a b.csv": b"1,2\n", "ü.csv": b"", "deep/large.bin": bytes(range(256)) * 40_000}
    for name, content in files.items():
        path = Path("files") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    target = (ws.get_default_datastore(), "rows/1")
    uploaded = Dataset.File.upload_directory("files", target, show_progress=False)
    assert [uploaded.register(ws, "rows", create_new_version=True).version for _ in (1, 2)] == [1, 2]
    assert "rows" in list(ws.datasets.keys())
    dataset = Dataset.get_by_name(ws, "rows")
    assert sorted(dataset.to_path()) == sorted(f"/{name}" for name in files)
    dataset.download("there", overwrite=True)
    assert {name: (Path("there") / name).read_bytes() for name in files} == files


def test_a_taken_name_is_refused_unless_for_a_new_version(ws):
    from azureml.core import Dataset

    Path("files").mkdir()
    Path("files/1.csv").write_text("1\n")
    target = (ws.get_default_datastore(), "rows")
    Dataset.File.upload_directory("files", target, show_progress=False).register(ws, "rows")
    with pytest.raises(Exception, match="already a dataset registered"):
        Dataset.File.from_files((ws.get_default_datastore(), "rows/*.csv")).register(ws, "rows")


def test_the_workspace_has_datastores_clusters_and_environments(ws):
    from azureml.core import Environment

    assert ws.get_default_datastore().name in ws.datastores
    clusters = {
        name: (target.vm_size, target.scale_settings.maximum_node_count, target.provisioning_state)
        for name, target in ws.compute_targets.items()
    }
    assert clusters == {"cpu-cluster": ("STANDARD_DS3_V2", 4, "Succeeded"), "gpu-cluster": ("STANDARD_NC6S_V3", 2, "Succeeded")}
    Environment("mine").register(ws)
    assert Environment.get(ws, "mine").version == "1"
    assert set(ws.environments) == {"AzureML-sklearn-1.5", "mine"}


def test_each_test_has_a_workspace_of_its_own(ws):
    from azureml.core import Model

    assert list(Model.list(ws)) == []
    assert list(ws.datasets.keys()) == []
