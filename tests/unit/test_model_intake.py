"""What is said of a model as it is registered: MLflow's archives, PyTorch's, skops' types; and what nobody can load, refused in words."""

from __future__ import annotations

import importlib
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from services.errors import IntakeError, os_errors_as
from services.intake.entry_scripts import BUILT_IN
from services.intake.mlflow_files import prepare_model
from services.intake.model_files import inspect_for_registration, inspect_model
from services.intake.yaml_files import read_yaml
from tests import recorded_models as recorded
from tests.unit.test_model_files import HDF5, LFS_POINTER, ONNX, safetensors, written, zipped

MLMODEL = b"""\
flavors:
  python_function: {env: {conda: conda.yaml, virtualenv: python_env.yaml}, loader_module: mlflow.sklearn, python_version: 3.11.7}
  sklearn: {pickled_model: model.pkl, serialization_format: cloudpickle, sklearn_version: 1.3.2}
mlflow_version: 3.17.2
"""
OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def weights(*, of_a_class: str = "") -> bytes:
    """data.pkl of `torch.save(model.state_dict())`; or of a whole module, whose class has code."""
    begin = b"\x80\x02ccollections\nOrderedDict\n)R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n0ctorch\nFloatStorage\n0"
    return begin + tensor + (f"c{of_a_class}\n0".encode() if of_a_class else b"") + b"."


def half_of(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def pickled(compress: int) -> bytes:
    stream = io.BytesIO()
    joblib.dump({"weights": np.arange(10_000.0), "more": "x" * 300}, stream, compress=compress)
    return stream.getvalue()


WHOLE = {
    "pickle": pickle.dumps(list(range(1000))),
    "joblib": pickled(0),
    "compressed joblib": pickled(3),
    "zip": None,
    "ONNX": ONNX,
    "XGBoost JSON": recorded.XGBOOST_JSON,
    "XGBoost UBJSON": recorded.XGBOOST_UBJSON,
    "LightGBM": recorded.LIGHTGBM.partition(b"feature_importances")[0],
    "CatBoost": recorded.CATBOOST,
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + bytes(24) + (1000).to_bytes(8, "little") + bytes(952),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_half_a_model_is_refused_with_what_to_do(tmp_path, kind):
    whole = WHOLE[kind] or zipped(tmp_path / "zip", {"a/data.pkl": bytes(1000)}).read_bytes()
    inspect_for_registration(written(tmp_path / "whole.bin", whole))
    with pytest.raises(IntakeError, match=r"“my model\.bin” is half of an? .*: its end is missing") as refused:
        inspect_for_registration(written(tmp_path / "my model.bin", half_of(whole)))
    assert "download it again" in refused.value.hint


def test_weights_without_their_architecture_are_refused_with_what_works(tmp_path):
    files = {
        "zip.pt": zipped(tmp_path / "z", {"m/data.pkl": weights(), "m/version": b"3\n", "m/data/0": bytes(8)}).read_bytes(),
        "old.pth": OLD_TORCH + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + weights() + bytes(16),
        "model.safetensors": safetensors(),
    }
    for name, content in files.items():
        with pytest.raises(IntakeError, match="a checkpoint: weights without the architecture") as refused:
            inspect_for_registration(written(tmp_path / name, content))
        assert "torch.jit.script" in refused.value.hint
        assert "torch.export" in refused.value.hint
        folder = tmp_path / f"{name} with code"
        folder.mkdir()
        written(folder / name, content)
        written(folder / "network.py", b"class Network: ...\n")
        assert inspect_for_registration(folder).format == "torch"
    names = b"layers\0dense\0vars\0" + bytes(64)
    with pytest.raises(IntakeError, match="checkpoint") as refused:
        inspect_for_registration(written(tmp_path / "my.weights.h5", HDF5 + names))
    assert "model.save(PATH.keras)" in refused.value.hint
    assert inspect_for_registration(written(tmp_path / "whole.h5", HDF5 + names + b"model_config")).format == "keras"


def test_the_archives_of_pytorch_are_told_apart(tmp_path):
    script = {"m/data.pkl": weights(), "m/constants.pkl": weights(), "m/code/__torch__.py": b"", "m/version": b"3\n"}
    exported = {"m/archive_format": b"pt2", "m/models/model.json": b"{}", "m/version": b"0"}
    older = {"serialized_exported_program.json": b"{}", "serialized_state_dict.pt": b"PK", "version": b"8.2"}
    module = {"m/data.pkl": weights(of_a_class="__main__\nNetwork"), "m/version": b"3\n"}
    formats = {"torchscript": script, "torch-export": exported, "torch": module}
    for format_, members in {**formats, "torch-export ": older}.items():
        found = inspect_for_registration(zipped(tmp_path / format_, members))
        assert (found.format, found.needs_approval) == (format_.strip(), True)


def mlflow_folder(path: Path, model: bytes = b"") -> Path:
    path.mkdir(parents=True)
    written(path / "MLmodel", MLMODEL)
    written(path / "model.pkl", model or pickle.dumps({"a": 1}))
    written(path / "requirements.txt", b"mlflow==3.17.2\nscikit-learn==1.3.2\n")
    return path


def test_the_built_in_scorers_tell_formats_as_registration_does(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BUILT_IN)
    format_of = importlib.import_module("_model_formats").format_of
    files = [written(tmp_path / kind, content) for kind, content in WHOLE.items() if content and kind != "HDF5"]
    archives = {
        "keras": {"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": HDF5},
        "skops": {"schema.json": b'{"__loader__": "ObjectNode"}'},
        "torchscript": {"m/data.pkl": weights(), "m/constants.pkl": weights(), "m/code/__torch__.py": b"", "m/version": b"3\n"},
        "torch-export": {"m/archive_format": b"pt2", "m/models/model.json": b"{}", "m/version": b"0"},
    }
    files += [zipped(tmp_path / name, members) for name, members in archives.items()]
    files += [written(tmp_path / "whole.h5", HDF5 + b"model_config"), mlflow_folder(tmp_path / "mlflow")]
    told = {file.name: inspect_model(file).format for file in files}
    assert told == {file.name: format_of(str(file))[0] for file in files}
    assert len(set(told.values())) == 10


def archived(folder: Path, at: str, path: Path) -> Path:
    """The folder as an archive, its files below `at`, and what macOS adds."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in folder.rglob("*"):
                archive.write(file, at + str(file.relative_to(folder)))
            archive.writestr("__MACOSX/._MLmodel", b"junk")
    else:
        with tarfile.open(path, "w:gz") as archive:
            for file in folder.rglob("*"):
                archive.add(file, at + str(file.relative_to(folder)))
    return path


@pytest.mark.parametrize("name", ["churn model.zip", "churn.tar.gz"])
@pytest.mark.parametrize("at", ["", "model/", "./"])
def test_an_archived_mlflow_model_becomes_its_folder(tmp_path, name, at):
    archive = archived(mlflow_folder(tmp_path / "source"), at, tmp_path / name)
    prepared = prepare_model(archive, tmp_path)
    assert prepared.name == ("model" if at == "model/" else "churn-model" if " " in name else "churn")
    assert sorted(path.name for path in prepared.iterdir()) == ["MLmodel", "model.pkl", "requirements.txt"]
    found = inspect_for_registration(prepared)
    assert (found.kind, found.format, found.needs_approval) == ("MLflow: python_function, sklearn", "mlflow", True)


def test_other_archives_and_folders_are_registered_as_they_are(tmp_path):
    other = zipped(tmp_path / "other.zip", {"model.onnx": ONNX})
    two = zipped(tmp_path / "two.zip", {"a/MLmodel": MLMODEL, "b/MLmodel": MLMODEL})
    damaged = written(tmp_path / "damaged.tar.gz", b"\x1f\x8b" + bytes(50))
    folder = mlflow_folder(tmp_path / "wrapped" / "inside")
    assert [prepare_model(path, tmp_path) for path in (other, two, damaged)] == [other, two, damaged]
    assert prepare_model(folder, tmp_path) == folder
    assert prepare_model(folder.parent, tmp_path) == folder
    (folder.parent / "beside.txt").touch()
    assert prepare_model(folder.parent, tmp_path) == folder.parent


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"MLmodel": MLMODEL, "weights": bytes(60 << 20)}, "unpacks to far more"),
        ({"MLmodel": MLMODEL, "../outside.pkl": b"x"}, "leads out of its folder"),
        ({"MLmodel": MLMODEL, "/etc/outside.pkl": b"x"}, "is an absolute path"),
    ],
)
def test_a_hostile_archive_leaves_nothing(tmp_path, members, message):
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    (tmp_path / "staging").mkdir()
    with pytest.raises(IntakeError, match=message):
        prepare_model(tmp_path / "m.zip", tmp_path / "staging")
    assert [path for path in (tmp_path / "staging").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: &a [x, x]\nb: &b [*a, *a]\nflavors: {sklearn: *b}\n", "by an alias"),
        (b"flavors: " + b"[" * 5000, "can't be read"),
        (b"flavors: " + b"x" * (5 << 20), "larger than 4 MB"),
        (b"flavors: !!python/object/apply:os.system ['touch ran']\n", "python/object"),
        (b"\xff\xfe\x00", "can't be read"),
        (b"- a list\n", "no flavour"),
        (b"flavors: {}\n", "no flavour"),
        (b"", "no flavour"),
    ],
)
def test_a_hostile_mlmodel_is_refused_and_not_obeyed(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    folder = mlflow_folder(tmp_path / "model")
    written(folder / "MLmodel", content)
    with pytest.raises(IntakeError, match=reason):
        inspect_model(folder)
    assert not (tmp_path / "ran").exists()


def test_dates_and_odd_keys_of_yaml_are_values_like_others(tmp_path):
    path = written(tmp_path / "MLmodel", b"1: 2\n2026-01-01: yes\n? [a, b]\n: c\n")
    with pytest.raises(IntakeError):
        read_yaml(path, "The file", "Save it again.")
    assert read_yaml(written(path, b"1: 2\n2026-01-01: on\n"), "The file", "Save it again.") is not None


def test_a_pointer_or_half_a_file_in_a_folder_is_named(tmp_path):
    pointer = mlflow_folder(tmp_path / "pointer", LFS_POINTER)
    with pytest.raises(IntakeError, match=r"whose file “model\.pkl” is a Git LFS pointer") as refused:
        inspect_for_registration(pointer)
    assert "git lfs pull" in refused.value.hint
    half = mlflow_folder(tmp_path / "half", half_of(WHOLE["joblib"]))
    with pytest.raises(IntakeError, match=r"whose file “model\.pkl” is half of a pickle"):
        inspect_for_registration(half)
    alone = tmp_path / "alone"
    alone.mkdir()
    written(alone / "model.onnx", LFS_POINTER)
    with pytest.raises(IntakeError, match="Git LFS pointer"):
        inspect_for_registration(alone)


@pytest.mark.slow  # skops imports scikit-learn
def test_types_that_skops_does_not_trust_need_approval_and_are_listed(tmp_path):
    rows, labels = np.arange(20.0).reshape(10, 2), [0, 1] * 5
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    skops.io.dump(plain, tmp_path / "plain.skops")
    found = inspect_for_registration(tmp_path / "plain.skops")
    assert (found.kind, found.needs_approval, found.imports, found.scanned_whole) == ("skops", False, (), True)
    skops.io.dump(make_pipeline(FunctionTransformer(os.path.basename), LogisticRegression()), tmp_path / "own.skops")
    found = inspect_for_registration(tmp_path / "own.skops")
    assert (found.needs_approval, found.imports) == (True, ("posixpath.basename",))


@pytest.mark.slow  # skops imports scikit-learn
def test_a_skops_file_that_skops_can_t_read_needs_approval(tmp_path):
    schema = {"__class__": "Evil", "__module__": "os", "__loader__": "NoSuchNode", "content": {}}
    found = inspect_for_registration(zipped(tmp_path / "m.skops", {"schema.json": json.dumps(schema).encode()}))
    assert (found.kind, found.needs_approval, found.scanned_whole) == ("skops", True, False)


@pytest.mark.parametrize("name", ["schema.json", "config.json", "a/b/MLmodel", "a/code/own.py", "a/b/models/m.json", "m/constants.pkl"])
def test_a_program_in_an_archive_that_begins_as_a_booster_needs_approval(tmp_path, name):
    disguised = b'{"learner": 0, "__class__": "system", "__module__": "os", "__loader__": "ConstructorFromReduceNode"}'
    found = inspect_for_registration(zipped(tmp_path / "m.skops", {name: b" " * 5000 + disguised}))
    assert found.needs_approval


def test_a_program_in_a_folder_beside_what_loaders_pass_over_needs_approval(tmp_path):
    for name in ("deep", "two"):
        (tmp_path / name / ".a" / "b").mkdir(parents=True)
    written(tmp_path / "deep" / ".a" / "b" / "MLmodel", b'{"learner": 0, "flavors": {"python_function": {"loader_module": "own"}}}')
    assert inspect_for_registration(tmp_path / "deep").needs_approval
    written(tmp_path / "two" / ".a" / "m.onnx", ONNX)
    schema = {"__class__": "system", "__module__": "os", "__loader__": "ConstructorFromReduceNode", "content": {}}
    zipped(tmp_path / "two" / "m.skops", {"schema.json": json.dumps(schema).encode()})
    assert inspect_for_registration(tmp_path / "two").needs_approval


def test_a_folder_with_one_model_is_that_model(tmp_path):
    written(tmp_path / "model.onnx", ONNX)
    written(tmp_path / "README.md", b"how it was made")
    found = inspect_for_registration(tmp_path)
    assert (found.format, found.file) == ("onnx", "model.onnx")
    written(tmp_path / "other.json", recorded.XGBOOST_JSON)
    assert inspect_for_registration(tmp_path).format == ""


def test_a_folder_that_can_t_be_copied_says_why_once():
    with pytest.raises(IntakeError) as refused, os_errors_as(IntakeError, "“m” could not be copied in"):
        raise shutil.Error(
            [("m/a", "home/a", "[Errno 28] No space left on device"), ("m/b", "home/b", "[Errno 28] No space left on device")]
        )
    assert refused.value.message == "“m” could not be copied in: [Errno 28] No space left on device."
