"""The built-in script prints what the tutorial's script prints, and lets one bad file cost that file alone."""

from __future__ import annotations

import ast
import bz2
import gzip
import importlib.util
import logging
import lzma
import os
import pickle
import random
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from itertools import chain, cycle, islice, product
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from tests.broken_files import BROKEN, train_model, write_files

pytestmark = pytest.mark.slow  # scikit-learn's models, in processes of their own

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "batch_scripts" / "batch_scoring_script.py"
TUTORIAL = ROOT / "tests" / "scripts" / "tutorial_script.py"

Score = Callable[[Any, list[str]], list[str]]
COLUMNS = 8
X = np.random.default_rng(0).normal(size=(200, COLUMNS))
CLASSES = (X.sum(axis=1) > 0).astype(int)


def imported(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The built-in script after `init()`, with a model and arguments."""

    def initialised(model: Any, *arguments: str) -> Any:
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        joblib.dump(model, folder / "model.joblib")
        monkeypatch.setenv("AZUREML_MODEL_DIR", str(folder))
        monkeypatch.setattr(sys, "argv", ["script.py", "--mini_batch_size", "5", *arguments])
        module = imported(SCRIPT)
        module.init()
        return module

    return initialised


@pytest.fixture
def tutorial(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, list[str]], list[str]]:
    """The tutorial's script with a model, a file at a time, without the files that it stumbles over."""
    for name in ("azureml", "azureml.core"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(Model=None))  # type: ignore[arg-type]

    def scored(model: Any, paths: list[str]) -> list[str]:
        module: Any = imported(TUTORIAL)
        module.model = model
        lines = []
        for path in paths:
            try:
                lines += module.run([path])
            except Exception:  # noqa: BLE001 - it ends at whatever is wrong
                continue
        return lines

    return scored


def write_rows(folder: Path, rows: Any) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = [str(folder / f"row_{number:05}.csv") for number in range(len(rows))]
    for path, row in zip(paths, rows, strict=True):
        Path(path).write_text(",".join(map(str, row)) + "\n")
    return paths


def write(folder: Path, **files: bytes) -> list[str]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [str(folder / name) for name in files]


class Predicting:
    """A model that is one function of its rows; it counts those of each call."""

    def __init__(self, predict: Callable[[Any], Any]) -> None:
        self.function, self.calls = predict, list[int]()

    def predict(self, rows: Any) -> Any:
        self.calls.append(len(rows))
        return self.function(rows)


def of_one_row(rows: Any) -> list[str]:
    (row,) = rows
    return [f"{row[0]:.2f}"]


def each_in_a_list(rows: Any) -> list[float]:
    return [float(row[0]) for row in rows]


def first_alone(rows: Any) -> Any:
    return rows[:1, 0]


def thirds(rows: Any) -> Any:
    return (rows[:, 0] / 3).astype(np.float32)


def overwriting(rows: Any) -> Any:
    rows[rows < 0] = 0
    return rows.sum(axis=1) > 2


MODELS = {
    "whole numbers": LogisticRegression().fit(X, CLASSES),
    "labels with a colon": LogisticRegression().fit(X, np.where(CLASSES, "a: b", "ü, c")),
    "labels that are objects": KNeighborsClassifier().fit(X, np.where(CLASSES, "yes", "no").astype(object)),
    "truth values": LogisticRegression().fit(X, CLASSES == 1),
    "real numbers": RandomForestRegressor(5, random_state=0).fit(X, X[:, 0] * 1e-9),
    "short real numbers": Predicting(thirds),
    "several numbers": KNeighborsRegressor(2).fit(X, X[:, :3]),
    "a list": Predicting(each_in_a_list),
    "a list, and only of one": Predicting(of_one_row),
    "an array, and only of one": Predicting(first_alone),
    "truth values, and spoils its rows": Predicting(overwriting),
}


MANY = ("whole numbers", "several numbers", "truth values, and spoils its rows")
"""The models that also get so many numbers that Arrow reads them: how they are read is the same for all."""


@pytest.mark.parametrize(("kind", "count"), [*product(MODELS, (1, 5)), *product(MANY, (600,))])
def test_it_prints_what_the_tutorial_script_prints(kind: str, count: int, script: Any, tutorial: Score, tmp_path: Path) -> None:
    paths = write_rows(tmp_path / "rows", np.random.default_rng(1).normal(size=(count, COLUMNS)))
    lines = script(MODELS[kind]).run(paths)
    assert lines == tutorial(MODELS[kind], paths)
    assert len(lines) == count


ODD = {
    "windows.csv": b"1,2,3\r\n",
    "no_end.csv": b"1,2,3",
    "blank_ends.csv": b"1,2,3  \n\n  \n",
    "blanks.csv": b" 1 ,\t2, 3\n",
    "blank_start.csv": b"\n1,2,3\n",
    "comment.csv": b"# a row\n1,2,3\n",
    "comment_behind.csv": b"1,2,3 # a row\n",
    "comment_within.csv": b"1,2,3#N/A\n",
    "missing_middle.csv": b"1,,3\n",
    "missing_last.csv": b"1,2,\n",
    "missing_all.csv": b",,\n",
    "word.csv": b"1,two,3\n",
    "null.csv": b"1,NULL,3\n",
    "nan.csv": b"1,nan,3\n",
    "infinite.csv": b"1,-inf,3\n",
    "too_large.csv": b"1,1e999,3\n",
    "underscore.csv": b"1_000,2,3\n",
    "hexadecimal.csv": b"0x10,2,3\n",
    "complex.csv": b"1+2j,2,3\n",
    "torn_number.csv": b"1,2e,3\n",
    "two_signs.csv": b"1,--2,3\n",
    "difference.csv": b"1,2-3,3\n",
    "signs.csv": b"+1,-0,+.5e+1\n",
    "quotes.csv": b'"1","2","3"\n',
    "header.csv": b"a,b,c\n1,2,3\n",
    "too_few.csv": b"1,2\n",
    "too_many.csv": b"1,2,3,4\n",
    "semicolons.csv": b"1;2;3\n",
    "two_rows.csv": b"1,2,3\n4,5,6\n",
    "two_rows_that_look_like_one.csv": b"1,2\n3\n",
    "a_column.csv": b"1\n2\n3\n",
    "old_mac.csv": b"1,2,3\r4,5,6\r",
    "form_feed.csv": b"1,2,3\x0c\n",
    "form_feed_below.csv": b"1,2,3\n\x0c\n",
    "zero_byte.csv": b"1,2,3\x00\n",
    "no_text.csv": b"\xff\xfe\x00\x9c,1,2\n",
    "empty.csv": b"",
    "only_blank.csv": b"\n \n",
    "compressed.csv.bz2": bz2.compress(b"1,2,3\n"),
    "compressed_word.csv.gz": gzip.compress(b"1,two,3\n"),
    "compressed_blanks.csv.xz": lzma.compress(b"\n 1 ,2, 3\r\n \n"),
}
WITHOUT_A_ROW = ("empty.csv", "only_blank.csv")  # there is nothing to predict from, though a model may take anything


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression().fit(X[:, :3], CLASSES),
        DecisionTreeClassifier().fit(X[:, :3], CLASSES),
        DummyClassifier().fit(X[:, :3], CLASSES),
    ],
    ids=["takes no NaN", "takes NaN", "takes anything"],
)
@pytest.mark.parametrize("plain_neighbours", [0, 3, 1500])
def test_odd_files_get_what_the_tutorial_script_gives_each(
    model: Any, plain_neighbours: int, script: Any, tutorial: Score, tmp_path: Path
) -> None:
    odd, plain = write(tmp_path, **ODD), write_rows(tmp_path / "rows", X[:50, :3])
    expected = {path: tutorial(model, [path]) for path in [*odd, *plain] if os.path.basename(path) not in WITHOUT_A_ROW}
    assert any(expected.get(path) for path in odd)
    module = script(model, "--missing-as-nan")
    neighbours = list(islice(cycle(plain), plain_neighbours))
    for paths in [[*odd, *neighbours], *([path, *neighbours] for path in odd)]:
        assert module.run(paths) == list(chain(*(expected.get(path, []) for path in paths))), paths[0]


def test_files_of_random_characters_get_what_the_tutorial_script_gives_each(script: Any, tutorial: Score, tmp_path: Path) -> None:
    chance = random.Random(5)
    alphabet = [*"0123456789" * 2, *',,,,,,..--+eE \n\n\r#_nx"\t', "1,2,3", "nan"]
    paths = write(tmp_path, **{f"{n}.csv": "".join(chance.choices(alphabet, k=chance.randrange(9))).encode() for n in range(600)})
    model = DecisionTreeClassifier().fit(X[:, :2], CLASSES)
    module = script(model, "--missing-as-nan")
    expected = [tutorial(model, [path]) for path in paths]
    assert sum(map(len, expected)) > 20
    assert module.run(paths) == list(chain(*expected))
    for first in range(0, len(paths), 3):
        assert module.run(paths[first : first + 3]) == list(chain(*expected[first : first + 3]))


@pytest.mark.parametrize("with_pyarrow", [True, False])
def test_every_number_is_read_to_the_last_bit(with_pyarrow: bool, script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_pyarrow:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    bits = np.random.default_rng(3).integers(0, 2**64, size=40_000, dtype=np.uint64).view(float)
    numbers = bits[np.isfinite(bits)][:39_000]
    hard = ["1.7976931348623159e308", "2.4703282292062328e-324", "9007199254740993", "0." + "3" * 800, "1e-400", "1e400"]
    hard += ["-0", ".5", "5.", "+7"]
    texts = [",".join([*map(repr, row), *hard]).encode() for row in numbers.reshape(-1, 10).tolist()]
    rows = script(MODELS["whole numbers"]).parse_together(texts)
    expected = np.array([list(map(float, text.split(b","))) for text in texts])
    assert rows.tobytes() == expected.tobytes()
    assert rows.flags.writeable


def failures(caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    """What the script has said in the log about the files that failed, by the path it named."""
    found = (re.fullmatch(r"('.*'|\".*\") failed: (.*)", record.getMessage(), re.DOTALL) for record in caplog.records)
    return {ast.literal_eval(match[1]): match[2] for match in found if match}


def test_a_bad_file_fails_alone_and_the_log_names_it_and_says_why(script: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = write_rows(tmp_path / "rows", X[:4])
    bad = {
        "wide": (b",".join([b"1"] * 9), "it has 9 fields, and the model takes 8"),
        "words": (b"1,2,three,4,5,6,seven,8\n", "2 of 8 fields are not numbers: columns 3, 7"),
        "all words": (b",".join([b"n/a"] * 8), "8 of 8 fields are not numbers: columns 1, 2, 3, 4, 5, ..."),
        "hole": (b"1,2,3,4,5,6,,8\n", "ValueError: Input X contains NaN. (1 of 8 fields is NaN)"),
        "comment": (b"# no row\n", "it holds comments only"),
        "blank": (b" \r\n\n", "it is empty"),
        "header": (b"a,b\n1,2\n", "it begins with a header row; one row of numbers is expected"),
        "word below": (b"1,2\n3,x\n", "1 of 4 fields is not a number: column 2 of row 2"),
        "three rows": (b"1,2,3\n4,5,6\n7,8,9\n", "it has 3 rows, 9 fields in all, and the model takes 8"),
        "torn": (b"1,2,3\n4\n", "its rows differ in length: 3 fields, then 1"),
        "tabs": (b"1\t2\t3\n", "its fields are separated by tabs, not by commas"),
        "decimal commas": (b"1,5;2,5\n", "its fields are separated by semicolons, not by commas"),
        "Latin-1": ("1,2,é".encode("latin-1"), "it is not UTF-8 text: byte 0xe9 at position 4"),
        "Windows": ("1,2,3".encode("utf-16"), "it is UTF-16 text, not UTF-8"),
        "word.csv.gz": (gzip.compress(b"1,2,n/a,4,5,6,7,8\n"), "1 of 8 fields is not a number: column 3"),
        "three.CSV.XZ": (lzma.compress(b"1,2,3\n4,5,6\n7,8,9\n"), "it has 3 rows, 9 fields in all, and the model takes 8"),
        "plain.csv.bz2": (b"1,2,3,4,5,6,7,8\n", "it can't be read: OSError: Invalid data stream"),
        "half..gz": (
            gzip.compress(b"1")[:20],
            "it can't be read: EOFError: Compressed file ended before the end-of-stream marker was reached",
        ),
    }
    paths = write(tmp_path, **{name: content for name, (content, _) in bad.items()})
    expected = {path: bad[os.path.basename(path)][1] for path in paths}
    expected |= {str(tmp_path / "gone"): "it is not there", str(tmp_path): "it is a folder, not a file"}
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    expected[str(tmp_path / "loop")] = "it can't be read: Too many levels of symbolic links"
    with caplog.at_level(logging.WARNING):
        lines = script(MODELS["whole numbers"]).run([*good[:2], *expected, *good[2:]])
    assert [line.split(":")[0] for line in lines] == [os.path.basename(path) for path in good]
    assert failures(caplog) == expected


@pytest.mark.parametrize("neighbours", [0, 1500], ids=["alone", "among many"])
def test_empty_fields_are_nan_and_their_number_is_said_once(
    neighbours: int, script: Any, tutorial: Score, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = DecisionTreeClassifier().fit(X[:, :3], CLASSES)
    paths = write(tmp_path, one=b"1,,3\n", two=b",2,\n", odd=b"1,n/a,3\n", written=b"1,NaN,3\n")
    paths += (write_rows(tmp_path / "rows", X[:50, :3]) * 30)[:neighbours]
    assert script(model).run(paths) == tutorial(model, [path for path in paths if not path.endswith("odd")])
    assert failures(caplog) == {paths[2]: "1 of 3 fields is not a number: column 2"}
    said = [record.getMessage() for record in caplog.records if "failed" not in record.getMessage()]
    assert said == [f"3 of {3 + neighbours} files were scored with fields that are empty, 4 in all, read as NaN"]
    caplog.clear()
    assert script(model, "--missing-as-nan").run(paths) == tutorial(model, paths)
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.endswith("files were scored with fields that are empty or not numbers, 5 in all, read as NaN")


def test_a_plain_mini_batch_is_scored_without_a_word(script: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script(MODELS["whole numbers"]).run(write_rows(tmp_path / "rows", np.tile(X, (3, 1))))
    assert not caplog.records


def test_a_byte_order_mark_is_no_part_of_the_first_number(script: Any, tutorial: Score, tmp_path: Path) -> None:
    model = DecisionTreeClassifier().fit(X[:, :3], CLASSES)
    marked, holed, plain = write(tmp_path, a=b"\xef\xbb\xbf1,2,3\n", b=b"\xef\xbb\xbf1,2,\n", c=b"1,2,3\n")
    lines = script(model).run([marked, holed, plain])
    assert [line.split(": ")[0] for line in lines] == ["a", "b", "c"]
    assert lines[0].split(": ")[1] == lines[2].split(": ")[1]


def test_of_five_hundred_files_seven_fail_each_with_its_own_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(train_model(tmp_path / "model.joblib")))
    monkeypatch.setattr(sys, "argv", ["script.py"])
    paths = [str(path) for path in sorted(write_files(tmp_path / "files").iterdir())]
    module: Any = imported(SCRIPT)
    module.init()
    lines = [line for first in range(0, len(paths), 10) for line in module.run(paths[first : first + 10])]
    assert lines == [f"{Path(path).name}: {number % 2}" for number, path in enumerate(paths, 1) if Path(path).name not in BROKEN]
    assert {Path(path).name: reason for path, reason in failures(caplog).items()} == {name: said for name, (_, said) in BROKEN.items()}


def test_predict_is_called_once_for_a_mini_batch_and_not_for_an_empty_one(script: Any, tmp_path: Path) -> None:
    module = script(MODELS["whole numbers"])
    module.model = Predicting(module.model.predict)
    module.run(write_rows(tmp_path / "rows", np.tile(X, (3, 1))))
    module.run(write_rows(tmp_path / "few", X[:5]))
    assert module.run([]) == []
    assert module.model.calls == [600, 5]


def test_one_bad_row_in_a_thousand_costs_a_handful_of_calls(script: Any, tmp_path: Path) -> None:
    module = script(MODELS["whole numbers"])
    module.model = Predicting(module.model.predict)
    paths = write_rows(tmp_path / "rows", np.tile(X, (5, 1)))
    Path(paths[300]).write_text(",".join(["1"] * 7) + ",\n")
    assert len(module.run(paths)) == 999
    assert len(module.model.calls) < 25


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: make_pipeline(StandardScaler(), model)], ids=["plain", "pipeline"])
def test_a_linear_regression_agrees_with_the_tutorial_script_to_the_last_digit(
    script: Any, tutorial: Score, tmp_path: Path, wrap: Any
) -> None:
    model = wrap(LinearRegression()).fit(X, X @ np.arange(COLUMNS) + X[:, 0] ** 2)
    paths = write_rows(tmp_path / "rows", X)
    expected = tutorial(model, paths)
    assert script(model).run(paths) == expected
    together = [float(line.split(": ")[1]) for line in script(model, "--predict-at-once").run(paths)]
    assert together == pytest.approx([float(line.split(": ")[1]) for line in expected], rel=1e-12)


def test_file_names_come_through_unharmed(script: Any, tutorial: Score, tmp_path: Path) -> None:
    names = ["a: b, c.csv", "=cmd|'C calc'!A0", "two\nlines.csv", '"quoted".csv', "# no comment.csv", "ü.csv"]
    paths = write(tmp_path, **dict.fromkeys(names, b",".join([b"1"] * COLUMNS)))
    lines = script(MODELS["whole numbers"]).run(paths)
    assert lines == tutorial(MODELS["whole numbers"], paths)
    assert [line.rpartition(":")[0] for line in lines] == names


def test_a_file_larger_than_a_piece_is_read_whole(script: Any, tutorial: Score, tmp_path: Path) -> None:
    wide = np.random.default_rng(2).normal(size=(2, 20_000))
    model = KNeighborsClassifier(1).fit(wide, ["first", "second"])
    paths = write_rows(tmp_path / "rows", wide)
    paths += write(tmp_path, no_end=Path(paths[0]).read_bytes().rstrip())
    assert script(model).run(paths) == tutorial(model, paths) == ["row_00000.csv: first", "row_00001.csv: second", "no_end: first"]


def test_a_second_row_behind_a_very_long_one_is_not_overlooked(script: Any, tmp_path: Path) -> None:
    rows = write(tmp_path, long=b"1,2".rjust(2**16 - 1, b"0") + b"\n", longer=b"1,2".rjust(2**16 - 1, b"0") + b"\n3,4\n")
    model = LogisticRegression().fit(X[:, :2], CLASSES)
    assert script(model).run(rows) == ["long: 1"]


def test_no_row_slips_into_another_file(script: Any, tmp_path: Path) -> None:
    """One number more in the first file, one fewer in the last: together they are as many as there should be."""
    model = LogisticRegression().fit(X[:, :2], CLASSES)
    plain = write_rows(tmp_path / "rows", X[:, :2]) * 15
    torn = write(tmp_path, first=b"1,2\n3\n", last=b"5,\n")
    module = script(model)
    assert module.run([torn[0], *plain, torn[1]]) == module.run(plain)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["anything"], "anything"),
        (["digits/model.bin"], "digits/model.bin"),
        (["MLmodel", "conda.yaml", "model.pkl"], "model.pkl"),
        (["readme.txt", "deep/er/model.joblib", "deep/er/.hidden.pkl"], "deep/er/model.joblib"),
    ],
)
def test_the_model_is_found_in_its_folder(files: list[str], found: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert imported(SCRIPT).model_file(str(tmp_path)) == str(tmp_path / found)
    assert imported(SCRIPT).model_file(str(tmp_path / found)) == str(tmp_path / found)


@pytest.mark.parametrize(
    ("files", "told"),
    [([], "is empty"), (["a.pkl", "b.joblib"], r"a\.pkl, b\.joblib"), (["weights.bin", "notes.txt"], r"notes\.txt, weights\.bin")],
)
def test_a_folder_without_just_one_model_is_refused_naming_what_is_there(files: list[str], told: str, tmp_path: Path) -> None:
    write(tmp_path, **dict.fromkeys(files, b""))
    with pytest.raises((FileNotFoundError, ValueError), match=told):
        imported(SCRIPT).model_file(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        imported(SCRIPT).model_file(str(tmp_path / "nowhere"))


def test_what_has_no_predict_is_no_model(script: Any) -> None:
    with pytest.raises(ValueError, match="holds a dict"):
        script({"coefficients": 1})


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12\n", "a Git LFS pointer"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html>", "an HTML page"),
        (bytes.fromhex("080e120574657374733a610a110a0158"), "an ONNX model"),
        (b'{"learner":{"attributes":{}}}', "an XGBoost model"),
        (b"{L\0\0\0\0\0\0\0\x07learner{", "an XGBoost model"),
        (b"tree\nversion=v4\n", "a LightGBM model"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file"),
        (b"PK\x03\x04" + bytes(64), "a zip archive"),
        (b"<!-- saved --><html>", "an HTML page"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC>', "an HTML page"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><Error><Code>BlobNotFound', "an error message in XML"),
        (b'<?xml version="1.0"?><PMML version="4.4">', "an XML file"),
        (b'\x14\0\0\0\0\0\0\0{"a":{"data_offsets":[0,1]}}', "a safetensors file"),
        (b"version 1", "nothing that joblib or pickle have written: it begins with b'version '"),
        (b"artifact_path: model\n", "nothing that joblib or pickle have written: it begins with b'artifact'"),
        (b"1.0,2.0\n3,4\n", "nothing that joblib or pickle have written: it begins with b'1.0,2.0"),
        (b"import os\nimport sys\n", "nothing that joblib or pickle have written: it begins with b'import o'"),
        (b"PAR1" + bytes(64) + b"PAR1", "nothing that joblib or pickle have written: it begins with b'PAR1"),
        (b"SQLite format 3\0", "nothing that joblib or pickle have written: it begins with b'SQLite f'"),
        (b"MATLAB 5.0 MAT-file\n", "nothing that joblib or pickle have written: it begins with b'MATLAB 5'"),
        (gzip.compress(b"RDX3\nX\n", mtime=0), "compressed, and damaged or nothing that joblib has written (IndexError: "),
        (gzip.compress(pickle.dumps(bytes(range(256))), mtime=0)[:200], "compressed, and damaged or nothing that joblib has written ("),
        (b"\x80\x04\xff.", "a damaged pickle"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(content: bytes, what: str, tmp_path: Path) -> None:
    (path,) = write(tmp_path, **{"model.pkl": content})
    with pytest.raises(pickle.UnpicklingError, match=re.escape(f"model.pkl can't be loaded by joblib: it is {what}")):
        imported(SCRIPT).load(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zlib.compress])
def test_a_package_that_a_model_needs_is_named(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    for number, content in enumerate((b"cno_such_package\nName\n.", b"\x80\x02cno_such_package\nName\n.")):
        (path,) = write(tmp_path, **{f"{number}.pkl": pack(content)})
        with pytest.raises(ImportError, match="No module named 'no_such_package'"):
            imported(SCRIPT).load(path)
    (path,) = write(tmp_path, **{"model.pkl": pack(b"cpickle\nNoSuchClass\n.")})
    with pytest.raises(AttributeError, match="NoSuchClass"):
        imported(SCRIPT).load(path)


def test_a_model_of_joblib_that_is_cut_off_keeps_joblibs_own_error(tmp_path: Path) -> None:
    joblib.dump(MODELS["whole numbers"], tmp_path / "model.joblib")
    (path,) = write(tmp_path, half=(tmp_path / "model.joblib").read_bytes()[:300])
    with pytest.raises(Exception, match=r".") as error:
        imported(SCRIPT).load(path)
    assert "can't be loaded by joblib" not in str(error.value)


def test_a_named_model_and_a_run_without_a_model_folder_ask_azure_ml(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real SDK, as an entry script is run; the tutorial's script beside it, unmodified."""
    rows = write_rows(tmp_path / "rows", X[:3])
    for place, label in (("classification_model/1", "theirs"), ("other/1", "earlier"), ("other/2", "named")):
        folder = tmp_path / "azureml-models" / place
        folder.mkdir(parents=True)
        joblib.dump(DummyClassifier().fit([[0.0] * COLUMNS], [label]), folder / "model.pkl")
    monkeypatch.delenv("AZUREML_MODEL_DIR", raising=False)
    program = f"""
import importlib.util, os, sys
def scored(path, *arguments):
    sys.argv[1:] = arguments
    specification = importlib.util.spec_from_file_location("script", path)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    script.init()
    return script.run({rows})
print(scored({str(TUTORIAL)!r}))
print(scored({str(SCRIPT)!r}, "--model", "reserved"))
os.environ["AZUREML_MODEL_DIR"] = "nowhere"
print(scored({str(SCRIPT)!r}, "--model-name", "other"))
print(scored({str(SCRIPT)!r}, "--model-name", "other", "--model-version", "1"))
"""
    printed = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    names = [os.path.basename(path) for path in rows]
    assert printed.splitlines() == [str([f"{name}: {label}" for name in names]) for label in ("theirs", "theirs", "named", "earlier")]


def test_it_starts_quickly_and_stands_alone() -> None:
    program = f"import runpy, sys; runpy.run_path({str(SCRIPT)!r}); print(*sys.modules)"
    command = [sys.executable, "-I", "-c", program]
    loaded = set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert {"numpy", "joblib"} <= loaded
    assert not loaded & {"azureml", "sklearn", "pandas", "pyarrow", "services"}


def test_it_is_written_for_python_3_8() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    assert {"init", "run"} <= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
