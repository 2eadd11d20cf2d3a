"""What a model is, told without loading it; its SHA-256 and size."""

import gzip
import json
import os
import pickle
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from services.errors import IntakeError, NotFound
from services.intake.model_files import inspect_model, joblib_loads
from services.storage.file_tree import sha256_of, size_of

# Files as their own libraries write them (onnx 1.23, XGBoost 3.2, LightGBM 4.7), or their beginnings.
ONNX = bytes.fromhex(
    "080e120574657374733a610a110a01580a015712015922064d61744d756c1201672a230802080310014201574a180000803f0000803f0000803f0000803f"
    "0000803f0000803f5a110a0158120c0a0a080112060a000a02080262110a0159120c0a0a080112060a000a0208034202101c72060a0161120162"
)
XGBOOST_JSON = b'{"learner":{"attributes":{},"feature_names":[],"gradient_booster":{}},"version":[3,2,0]}'
XGBOOST_UBJSON = b"{L\0\0\0\0\0\0\0\x07learner{L\0\0\0\0\0\0\0\x0aattributes{}}}"
LIGHTGBM = b"tree\nversion=v4\nnum_class=3\nnum_tree_per_iteration=3\n"
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(64)


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n"


def safetensors(header: bytes = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}') -> bytes:
    return len(header).to_bytes(8, "little") + header + bytes(4)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def fitted():
    labels = np.array(["cat", "dog"] * 20, dtype=object)
    return make_pipeline(OneHotEncoder(), RandomForestClassifier(5)).fit(labels.reshape(-1, 1), labels)


NEEDED = {"sklearn.pipeline.Pipeline", "sklearn.preprocessing._encoders.OneHotEncoder", "sklearn.tree._tree.Tree"}


@pytest.mark.parametrize("compression", ["zlib", "gzip", "bz2", "xz", "lzma"])
def test_imports_of_a_compressed_joblib_model_are_listed_whole(tmp_path, compression):
    path = tmp_path / "model.onnx"
    joblib.dump(fitted(), path, compress=(compression, 3))
    content = inspect_model(path)
    assert content.kind == f"joblib ({compression}-compressed pickle)"
    assert content.needs_approval
    assert content.scanned_whole
    assert set(content.imports) >= NEEDED
    assert list(content.imports) == sorted(content.imports)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_uncompressed_joblib_and_plain_pickle_list_the_same_classes(tmp_path, protocol):
    model = fitted()
    joblib.dump(model, tmp_path / "a", protocol=protocol)
    (tmp_path / "b").write_bytes(pickle.dumps(model, protocol=protocol))
    by_joblib, by_pickle = inspect_model(tmp_path / "a"), inspect_model(tmp_path / "b")
    assert (by_joblib.kind, by_pickle.kind) == ("joblib (pickle)", "pickle")
    assert by_joblib.scanned_whole
    assert by_pickle.scanned_whole
    assert set(by_joblib.imports) & set(by_pickle.imports) >= NEEDED


def test_the_imports_are_those_that_loading_really_looks_up(tmp_path, monkeypatch):
    path = tmp_path / "model.joblib"
    joblib.dump(fitted(), path, compress=3)
    looked_up = set()

    def find_class(self, module, name):
        looked_up.add(f"{module}.{name}")
        return pickle._Unpickler.find_class(self, module, name)

    monkeypatch.setattr(joblib.numpy_pickle.NumpyUnpickler, "find_class", find_class, raising=False)
    joblib.load(path)
    assert set(inspect_model(path).imports) - {"numpy._core.multiarray._reconstruct", "numpy.ndarray", "_codecs.encode"} == looked_up - {
        "numpy._core.multiarray._reconstruct", "numpy.ndarray", "_codecs.encode",  # those of object arrays go past joblib's unpickler
    }  # fmt: skip


@pytest.mark.parametrize("compression", [0, "zlib", "gzip", "bz2", "xz", "lzma"])
def test_a_hostile_joblib_is_listed_and_does_not_run(tmp_path, compression):
    path, marker = tmp_path / "model.joblib", tmp_path / "it ran"
    joblib.dump({"weights": np.arange(1000.0), "extra": Hostile(marker)}, path, compress=(compression, 3) if compression else 0)
    content = inspect_model(path)
    assert not marker.exists()
    assert content.needs_approval
    assert f"{os.system.__module__}.system" in content.imports
    joblib.load(path)
    assert marker.exists(), "the file must be one that would have run"


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_of_any_protocol_is_listed_and_does_not_run(tmp_path, protocol):
    marker = tmp_path / "it ran"
    content = inspect_model(written(tmp_path / "m", pickle.dumps(Hostile(marker), protocol=protocol)))
    assert (content.kind, content.needs_approval) == ("pickle", True)
    assert content.imports == (f"{os.system.__module__}.system",)
    assert not marker.exists()


def test_names_put_together_from_memo_and_copies_are_still_found(tmp_path):
    hidden = b"\x80\x04\x8c\x06system\x94\x8c\x02os\x940h\x01h\x00N0\x93\x8c\x04true\x85R."
    assert pickle.loads(hidden) == 0
    assert inspect_model(written(tmp_path / "m", hidden)).imports == ("os.system",)


def test_an_import_named_only_when_run_makes_the_scan_incomplete(tmp_path):
    pickled = b"\x80\x04cbuiltins\nstr\n)R\x8c\x06system\x93."
    content = inspect_model(written(tmp_path / "m", pickled))
    assert content.imports == ("builtins.str",)
    assert not content.scanned_whole


def test_a_second_pickle_and_other_trailing_bytes_are_reported(tmp_path):
    two = pickle.dumps([1]) + pickle.dumps(Hostile(tmp_path / "x"))
    assert inspect_model(written(tmp_path / "two", two)).imports == (f"{os.system.__module__}.system",)
    assert inspect_model(written(tmp_path / "two", two)).scanned_whole
    assert not inspect_model(written(tmp_path / "more", two + b"more")).scanned_whole


def test_a_truncated_model_says_that_its_scan_is_incomplete(tmp_path):
    path = tmp_path / "m"
    joblib.dump(fitted(), path, compress=3)
    content = inspect_model(written(path, path.read_bytes()[:-200]))
    assert content.needs_approval
    assert not content.scanned_whole


@pytest.mark.parametrize(("megabytes", "whole"), [(20, True), (30, False)])
def test_a_long_string_in_a_pickle_is_skipped_without_memory(tmp_path, monkeypatch, megabytes, whole):
    monkeypatch.setattr("services.intake.pickle_scan._MAX_BYTES", 25 << 20)
    path, packer = tmp_path / "bomb", zlib.compressobj(9)
    with open(path, "wb") as file:
        file.write(packer.compress(b"\x80\x04\x8e" + (megabytes << 20).to_bytes(8, "little")))
        for _ in range(megabytes):
            file.write(packer.compress(bytes(1 << 20)))
        file.write(packer.compress(b".") + packer.flush())
    tracemalloc.start()
    content = inspect_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (content.needs_approval, content.scanned_whole) == (True, whole)
    assert peak < 10 * 2**20


def test_a_bomb_of_instructions_is_given_up_on(tmp_path, monkeypatch):
    monkeypatch.setattr("services.intake.pickle_scan._MAX_INSTRUCTIONS", 10_000)
    content = inspect_model(written(tmp_path / "bomb", zlib.compress(b"\x80\x04" + b"N0" * 500_000 + b"N.")))
    assert (content.needs_approval, content.scanned_whole) == (True, False)


def test_a_pickle_in_two_compressed_streams_is_not_scanned_whole(tmp_path):
    content = inspect_model(written(tmp_path / "m", zlib.compress(b"\x80\x04N0") + zlib.compress(b"cos\nsystem\n.")))
    assert (content.needs_approval, content.scanned_whole) == (True, False)


def test_imports_before_an_instruction_that_is_none_are_listed(tmp_path):
    content = inspect_model(written(tmp_path / "m", b"cos\nf\n\0and more"))
    assert (content.kind, content.imports, content.scanned_whole) == ("pickle", ("os.f",), False)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04" + b"N" + b"\x85" * 5000 + b".",
        b"\x80\x04" + b"(" * 5000 + b"t" * 5000 + b".",
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",
        b"\x80\x02I" + b"9" * 5000 + b"\n.",
        b"\x80\x02" + b"c" + b"a" * 70_000 + b"\nb\n.",
        b"\x80\x04h\x07.",
        b"\x80\x04t.",
        b"\x80\x04",
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(\x8c\x05dtypecnumpy\ndtype\n\x8c\x04f999\x85R\x8c\x05shape\x8c\x01a\x85ub.",
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(\x8c\x05dtypecnumpy\ndtype\n\x8c\x02f8\x85R\x8c\x05shapeJ\xff\xff\xff\xff\x85ub.",
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(\x8c\x05dtypecnumpy\ndtype\n\x8c\x02f8\x85R\x8c\x05shapeK\x01ub.",
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81Nb.",
    ],
)
def test_malformed_pickles_need_approval_and_raise_nothing(tmp_path, pickled):
    assert inspect_model(written(tmp_path / "m", pickled)).needs_approval
    assert inspect_model(written(tmp_path / "z", zlib.compress(pickled))).needs_approval


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("ONNX", ONNX),
        ("XGBoost JSON", XGBOOST_JSON),
        ("XGBoost UBJSON", XGBOOST_UBJSON),
        ("LightGBM text", LIGHTGBM),
        ("safetensors", safetensors()),
    ],
)
def test_formats_that_hold_only_numbers_need_no_approval(tmp_path, kind, content):
    found = inspect_model(written(tmp_path / "model.pkl", content))
    assert (found.kind, found.needs_approval, found.imports, found.scanned_whole) == (kind, False, (), True)


def test_only_a_numpy_array_of_objects_needs_approval(tmp_path):
    for name, array in {"numbers": np.ones((3, 4)), "fortran": np.ones((3, 4), ">f4", order="F"), "texts": np.array(["a"])}.items():
        np.save(tmp_path / name, array)
        assert not inspect_model(tmp_path / f"{name}.npy").needs_approval, name
    np.save(tmp_path / "objects", np.array([None, {}], dtype=object), allow_pickle=True)
    assert inspect_model(tmp_path / "objects.npy").needs_approval
    escaped = (tmp_path / "objects.npy").read_bytes().replace(b"'|O'", rb"'\x7cO'").replace(b" " * 8, b" " * 5, 1)
    assert inspect_model(written(tmp_path / "escaped.npy", escaped)).needs_approval


def test_zips_are_told_apart_by_what_is_in_them(tmp_path):
    schema = json.dumps({"__class__": "LogisticRegression", "__module__": "sklearn", "__loader__": "ObjectNode", "content": {}}).encode()
    hostile = pickle.dumps(Hostile(tmp_path / "x"), 2)
    skops = inspect_model(zipped(tmp_path / "a", {"1.npy": b"...", "schema.json": schema}))
    assert (skops.kind, skops.needs_approval) == ("skops", False)
    keras = inspect_model(zipped(tmp_path / "b", {"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": HDF5}))
    assert (keras.kind, keras.needs_approval) == ("Keras zip", True)
    torch = inspect_model(zipped(tmp_path / "c", {"m/data.pkl": hostile, "m/version": b"3\n", "m/data/0": b"\x80\x04\x01"}))
    assert (torch.kind, torch.needs_approval, torch.scanned_whole) == ("PyTorch zip (pickle inside)", True, True)
    assert torch.imports == (f"{os.system.__module__}.system",)
    other = inspect_model(zipped(tmp_path / "d", {"model.onnx": ONNX, "extra.bin": hostile}))
    assert (other.kind, other.needs_approval) == ("zip archive: pickle, ONNX, 2 files", True)
    assert not inspect_model(zipped(tmp_path / "e", {"model.onnx": ONNX})).needs_approval
    mixed = {"1.npy": b"...", "schema.json": schema, "m/data.pkl": hostile}
    assert inspect_model(zipped(tmp_path / "f", mixed)).needs_approval


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (LFS_POINTER, "a Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "an HTML page"),
        (b"\xef\xbb\xbf\n <HTML lang='en'>", "an HTML page"),
        (b"<!-- saved from url -->\n<!-- again -->\n<meta charset=utf-8>", "an HTML page"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC>', "an HTML page"),
        (b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error><Code>BlobNotFound', "an error message in XML"),
    ],
)
def test_what_is_certainly_no_model_is_refused_with_what_it_is(tmp_path, content, what):
    with pytest.raises(IntakeError, match=f"“model.pkl” is not a model but {what}") as refused:
        inspect_model(written(tmp_path / "model.pkl", content))
    assert refused.value.hint
    (tmp_path / "folder").mkdir()
    written(tmp_path / "folder" / "model.pkl", content)
    assert what.split(" ", 1)[1] in inspect_model(tmp_path / "folder").kind


def test_the_format_tells_whether_joblib_loads_it(tmp_path):
    contents = {"onnx": ONNX, "json": XGBOOST_JSON, "ubj": XGBOOST_UBJSON, "bin": b"binf" + bytes(60), "txt": LIGHTGBM, "h5": HDF5}
    contents |= {"cbm": b"CBM1" + bytes(80), "safetensors": safetensors(), "text": b"just some text\n"}
    for name, content in contents.items():
        assert joblib_loads(inspect_model(written(tmp_path / name, content)).format) is False, name
    zipped(tmp_path / "zip", {"model.pkl": pickle.dumps({})})
    assert joblib_loads(inspect_model(tmp_path / "zip").format) is False
    for compress in (0, 3, "xz"):
        joblib.dump(fitted(), tmp_path / "model", compress=compress)
        assert joblib_loads(inspect_model(tmp_path / "model").format) is True
    folder = tmp_path / "folder"
    folder.mkdir()
    written(folder / "notes", b"text")
    written(folder / "model.txt", LIGHTGBM)
    assert joblib_loads(inspect_model(folder).format) is False
    written(folder / "model.pkl", pickle.dumps({}))
    assert joblib_loads(inspect_model(folder).format) is None
    assert joblib_loads("") is None


@pytest.mark.parametrize("compress", [0, 3])
def test_the_columns_that_an_estimator_was_fitted_to_are_known_where_its_file_tells(tmp_path, compress):
    rows, labels = np.arange(48.0).reshape(8, 6), [0, 1] * 4
    bagging = BaggingClassifier(DecisionTreeClassifier(), n_estimators=2, max_features=3)
    for estimator, features in [(DecisionTreeClassifier(), 6), (bagging, 6), (make_pipeline(PCA(2), DecisionTreeClassifier()), None)]:
        joblib.dump(estimator.fit(rows, labels), tmp_path / "model", compress=compress)
        assert inspect_model(tmp_path / "model").features == features, estimator
    joblib.dump({"weights": np.arange(9.0)}, tmp_path / "model", compress=compress)
    assert inspect_model(tmp_path / "model").features is None


@pytest.mark.parametrize("compress", [0, 3])
def test_a_model_that_was_copied_by_half_says_that_its_end_is_missing(tmp_path, compress):
    joblib.dump({"weights": np.arange(10_000.0), "last": "x" * 300}, tmp_path / "whole", compress=compress)
    whole = (tmp_path / "whole").read_bytes()
    assert "missing" not in inspect_model(tmp_path / "whole").kind
    for part in (len(whole) // 2, len(whole) - 5):
        found = inspect_model(written(tmp_path / "half", whole[:part]))
        assert found.kind.startswith("joblib"), part
        assert found.kind.endswith("pickle, the end is missing)"), part
        assert found.needs_approval


def test_a_damaged_or_nested_zip_needs_approval(tmp_path):
    whole = zipped(tmp_path / "a", {"model.onnx": ONNX * 100}).read_bytes()
    for name, content in {"cut": whole[:-40], "damaged": whole[:60] + b"x" * 600 + whole[660:]}.items():
        found = inspect_model(written(tmp_path / name, content))
        assert found.needs_approval, name
    assert inspect_model(zipped(tmp_path / "folders only", {"folder/": b""})).needs_approval
    assert inspect_model(zipped(tmp_path / "nested", {"inner.zip": zipped(tmp_path / "b", {"m": ONNX}).read_bytes()})).needs_approval


def test_a_text_with_an_escape_unknown_to_python_is_scanned_without_a_warning(tmp_path):
    found = inspect_model(written(tmp_path / "model.pkl", b"S'\\}'\n0cos\nsystem\n(S'ls'\ntR."))
    assert "os.system" in found.imports
    assert found.needs_approval


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("HDF5 / Keras", HDF5),
        ("unknown", b"just some text\n"),
        ("unknown", b'{"a": 1}'),
        ("unknown (gzip-compressed)", gzip.compress(b"just some text\n", mtime=0)),
        ("unknown (zlib-compressed)", zlib.compress(ONNX)),
        ("joblib (lz4-compressed pickle)", b"\x04\x22\x4d\x18" + bytes(20)),
        ("unknown", b"\x08\x01\x12\x00"),
        ("unknown", b"\x78"),
    ],
)
def test_what_is_a_program_or_is_not_known_needs_approval(tmp_path, kind, content):
    found = inspect_model(written(tmp_path / "model.onnx", content))
    assert found.needs_approval
    assert found.kind == kind
    assert not found.scanned_whole


def test_a_safetensors_file_that_pickle_would_run_needs_approval(tmp_path):
    marker = tmp_path / "ran"
    prefix = b'{"__metadata__":{"'
    header = prefix + f"cos\nsystem\n(S'touch {marker}'\ntR.".encode() + b'"data_offsets"'
    length = ord("X") + 256 * (len(prefix) + 3)  # its bytes are: push a string as long as what comes before the instructions
    both = length.to_bytes(8, "little") + header.ljust(length) + bytes(4)
    found = inspect_model(written(tmp_path / "model.safetensors", both))
    assert found.needs_approval
    assert "os.system" in found.imports
    assert not marker.exists()
    pickle.loads(both)
    assert marker.exists(), "the file must be one that would have run"


def test_a_file_that_is_also_a_program_of_another_format_needs_approval(tmp_path):
    archive = zipped(tmp_path / "keras.zip", {"config.json": b"{}"}).read_bytes()
    assert inspect_model(written(tmp_path / "a", safetensors() + archive)).needs_approval
    assert inspect_model(written(tmp_path / "b", safetensors().ljust(512, b"\0") + HDF5)).needs_approval


def test_a_folder_is_described_by_its_worst_file(tmp_path):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    written(folder / "model.onnx", ONNX)
    written(folder / "empty", b"")
    assert inspect_model(folder).kind == "folder: empty file, ONNX, 2 files"
    assert not inspect_model(folder).needs_approval
    joblib.dump(Hostile(tmp_path / "x"), folder / "sub" / "preprocess.onnx", compress=3)
    found = inspect_model(folder)
    assert found.kind == "folder: joblib (zlib-compressed pickle), empty file, ONNX, 3 files"
    assert found.needs_approval
    assert found.imports == (f"{os.system.__module__}.system",)


@pytest.mark.parametrize("call", [inspect_model, sha256_of, size_of])
def test_what_is_no_file_or_folder_is_refused_by_name(tmp_path, call):
    with pytest.raises(NotFound, match="gone"):
        call(tmp_path / "gone.pkl")
    with pytest.raises(NotFound):
        call(tmp_path / "nul\0.pkl")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IntakeError, match="pipe"):
        call(tmp_path / "pipe")
    with pytest.raises(IntakeError, match="/dev/zero"):
        call(Path("/dev/zero"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "loop").symlink_to(tmp_path)
    with pytest.raises(IntakeError, match="loop"):
        call(tmp_path / "model")


def test_an_empty_file_and_an_empty_folder_are_no_models(tmp_path):
    with pytest.raises(IntakeError, match=r"m\.pkl"):
        inspect_model(written(tmp_path / "m.pkl", b""))
    (tmp_path / "folder").mkdir()
    with pytest.raises(IntakeError, match="folder"):
        inspect_model(tmp_path / "folder")


def test_the_sha256_of_a_file_is_the_usual_one(tmp_path):
    path = written(tmp_path / "a", b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert size_of(path) == 3


def test_the_sha256_of_a_folder_is_of_its_names_and_contents(tmp_path):
    def folder(name: str, files: dict[str, bytes]) -> Path:
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
        return tmp_path / name

    one = folder("one", {"a": b"1", "b": b"2"})
    assert sha256_of(folder("same", {"b": b"2", "a": b"1"})) == sha256_of(one)
    assert size_of(one) == 2
    in_one_name = [f"a{mark}{sha256_of(tmp_path / 'one' / 'a')}\nb" for mark in ("\n", "  ", "")]
    others = [{"a": b"2", "b": b"1"}, {"a": b"1", "s/b": b"2"}, {"a": b"1"}, {"a": b"1", "b": b"2", ".h": b""}]
    others += [{name: b"2"} for name in in_one_name]
    hashes = {sha256_of(folder(f"other{i}", files)) for i, files in enumerate(others)}
    assert len(hashes) == len(others)
    assert sha256_of(one) not in hashes


def test_a_name_that_is_no_utf8_is_hashed_like_any_other(tmp_path):
    os.mkdir(tmp_path / "m")
    with open(os.fsencode(tmp_path / "m") + b"/caf\xe9", "wb") as file:
        file.write(b"1")
    assert len(sha256_of(tmp_path / "m")) == 64
