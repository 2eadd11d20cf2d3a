"""Runs over tabular datasets, and over partitions of either kind: real workers, every row once, whatever happens."""

import contextlib
import csv
import io
import json
import shutil
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from venv import EnvBuilder

import pandas
import pytest

from services.domain import RunRequest, RunStatus
from services.errors import IntakeError, SettingsError
from services.local.run_folder import LocalRunFolder
from services.predictions.filters import EVERY_FAILURE, EVERY_ROW
from services.settings import ParallelRunSettings

ECHO = "def run(mini_batch): return mini_batch[['n', 'text']]"
ROWS = 1200


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder of three CSV files, 400 rows each: a number, and a text with newlines, quotes and letters of all kinds. Read it only."""
    folder = tmp_path_factory.mktemp("tables")
    for part in range(3):
        numbers = range(400 * part, 400 * part + 400)
        texts = [f'row {n}: "é",\n=1+1 {"x" * (n % 50)}' if n % 3 else None for n in numbers]
        pandas.DataFrame({"n": numbers, "text": texts}).to_csv(folder / f"part-{part}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def workspace(shared, tables, stores):
    """The tables are registered as `t`, the stores as `s` and their files as `f`: a process looks at each."""
    shared.register_dataset("t", tables, type="tabular")
    shared.register_dataset("s", stores, type="tabular", partition_format=FORMAT)
    shared.register_dataset("f", stores, partition_format=FORMAT)
    return shared


@pytest.fixture(scope="module")
def submit(workspace, shared_script):
    """Submit a run of a script over the tables, cut into mini-batches of about 2 KB. One worker unless said: each loads pandas."""

    def submit(source, *, arguments=(), datasets=("t",), environment=None, **settings):
        size = {} if "partition_keys" in settings else {"mini_batch_size": "2kb"}
        values = {"process_count_per_node": 1, "error_threshold": -1, **size} | settings
        script = str(shared_script(source))
        return workspace.submit(
            RunRequest((), datasets, script, ParallelRunSettings(**values), arguments=arguments, environment=environment)
        )

    return submit


@pytest.fixture(scope="module")
def score(workspace, submit, finish):
    """As `submit`, but wait for the end."""
    return lambda *args, **kwargs: finish(workspace, submit(*args, **kwargs).id)


@pytest.fixture(scope="module")
def echoed(score):
    """A run whose predictions are the rows themselves, by two workers, without a header."""
    return score(ECHO, process_count_per_node=2, arguments=("--other", "True"))


@pytest.fixture(scope="module")
def with_header(score):
    """The same with a header."""
    return score(ECHO, arguments=HEADER)


@pytest.fixture(scope="module")
def listed(score):
    """A run that returns lists of the numbers, where a header was asked for."""
    return score("def run(mini_batch): return [f'{n}' for n in mini_batch.n]", arguments=HEADER)


def output(workspace, run):
    return next(path for name, path in workspace.runs.output(run.id).items() if name.startswith("parallel_run_step"))


def as_azure_writes(frame: pandas.DataFrame) -> str:
    return frame.to_csv(sep=" ", header=None, index=None)


def whole(folder: Path) -> pandas.DataFrame:
    return pandas.concat(map(pandas.read_csv, sorted(folder.glob("*.csv"))), ignore_index=True)


def rows(text: str) -> Counter[tuple[str, ...]]:
    return Counter(map(tuple, csv.reader(io.StringIO(text, newline=""), delimiter=" ")))


# ---- rows ----------------------------------------------------------------------------------------------------------------------------


def test_a_mini_batch_is_a_dataframe_and_every_row_is_scored_once(workspace, tables, echoed):
    run = echoed
    assert (run.status, run.items_total, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, ROWS, ROWS, 0)
    assert run.mini_batches_done == run.mini_batches_total > 10
    assert rows(output(workspace, run).read_text("utf-8")) == rows(as_azure_writes(whole(tables)))


def test_rows_know_the_file_they_came_from(workspace, listed):
    table = workspace.runs.predictions(listed.id).page(count=ROWS).to_pylist()
    assert [(row["File"], row["Prediction"]) for row in table] == [(f"part-{n // 400}.csv", str(n)) for n in range(ROWS)]


def test_a_dataframe_s_rows_with_newlines_in_their_cells_are_rows_still(workspace, tables, echoed):
    table, frame = workspace.runs.predictions(echoed.id).page(count=ROWS).to_pylist(), whole(tables)
    assert [row["Prediction"] for row in table] == [as_azure_writes(frame[n : n + 1])[:-1] for n in range(ROWS)]


def test_a_short_return_costs_its_rows(workspace, score):
    run = score("def run(mini_batch): return ['one row'] if mini_batch.n.iloc[0] == 0 else list(mini_batch.n)")
    assert run.status is RunStatus.COMPLETED
    assert 0 < run.items_failed < 100
    assert run.items_succeeded + run.items_failed == ROWS
    predictions = workspace.runs.predictions(run.id)
    error = predictions.page(EVERY_FAILURE, count=1).to_pylist()[0]["Error"]
    count = run.items_failed + 1
    assert error == f"run() returned 1 row for {count} rows of part-0.csv in mini-batch 0; which row has none is not known"
    assert predictions.page(count=1).to_pylist()[0]["Prediction"] == "one row"


def test_a_failure_names_the_file_of_its_rows(workspace, score):
    run = score("def run(mini_batch): raise ValueError('no')", run_max_try=1)
    assert (run.items_failed, run.error_code) == (ROWS, "NothingSucceeded")
    assert {failure.items for failure in workspace.runs.failures(run.id)} == {("part-0.csv",), ("part-1.csv",), ("part-2.csv",)}


def test_the_error_threshold_counts_rows(score):
    run = score("def run(mini_batch): return list(mini_batch.n)[1:]", error_threshold=3)
    assert (run.status, run.items_failed) == (RunStatus.FAILED, 4)


def test_types_are_settled_for_all_slices(workspace, tables, score):
    run = score("def run(mini_batch): return [' '.join(map(str, mini_batch.dtypes))] * len(mini_batch)", mini_batch_size=1)
    assert set(output(workspace, run).read_text().splitlines()) == {" ".join(map(str, whole(tables).dtypes))}


def test_parquet_is_read_by_row_groups(workspace, tables, tmp_path, score):
    (tmp_path / "parquet").mkdir()
    whole(tables).to_parquet(tmp_path / "parquet" / "all.parquet", row_group_size=100)
    workspace.register_dataset("p", tmp_path / "parquet", type="tabular")
    run = score(ECHO, datasets=("p",), mini_batch_size=1)
    assert (run.items_succeeded, run.mini_batches_done) == (ROWS, 12)
    assert rows(output(workspace, run).read_text("utf-8")) == rows(as_azure_writes(whole(tables)))


def test_several_tables_are_cut_each_for_itself(workspace, tables, score):
    workspace.register_dataset("one", tables / "part-0.csv", type="tabular")
    workspace.register_dataset("two", tables, glob="part-[12].csv", type="tabular")
    run = score("def run(mini_batch): return list(mini_batch.n)", datasets=("one", "two"), mini_batch_size="1GB")
    assert (run.mini_batches_total, run.items_succeeded) == (3, ROWS)
    assert Counter(map(int, output(workspace, run).read_text().split())) == Counter(range(ROWS))


def test_tables_and_files_are_not_scored_together(submit):
    with pytest.raises(SettingsError, match="f:1 a file dataset") as refused:
        submit(ECHO, datasets=("t", "f"))
    assert refused.value.field == "dataset"


def test_a_file_that_was_changed_is_never_read_as_if_it_were_not(workspace, tables, score, tmp_path):
    shutil.copytree(tables, tmp_path / "changed")
    workspace.register_dataset("changed", tmp_path / "changed", type="tabular")
    content = (tables / "part-1.csv").read_bytes()
    (tmp_path / "changed" / "part-1.csv").write_bytes(content.replace(b"400,", b"4000,", 1))
    run = score(ECHO, datasets=("changed",), run_max_try=1)
    assert (run.items_succeeded, run.items_failed) == (800, 400)
    assert "part-1.csv was changed since it was registered; register the dataset again" in workspace.runs.failures(run.id)[0].error
    assert run.warnings == ("changed:1: part-1.csv was changed since it was registered.",)


def test_an_environment_without_pandas_is_told_before_any_mini_batch(workspace, tmp_path, score):
    EnvBuilder(symlinks=True).create(tmp_path / "bare")
    workspace.register_environment("bare", str(tmp_path / "bare"))
    run = score("def run(mini_batch): return []", environment="bare")
    assert (run.status, run.error_code, run.mini_batches_done) == (RunStatus.FAILED, "EntryScriptError", 0)
    assert "a tabular dataset needs pandas" in run.error


# ---- the header ----------------------------------------------------------------------------------------------------------------------

HEADER = ("--append_row_dataframe_header", "True")


def test_the_header_of_dataframes_is_the_first_line_when_asked_for(workspace, with_header):
    lines = output(workspace, with_header).read_text().splitlines()
    assert lines[0] == "n text"
    assert lines.count("n text") == 1


def test_without_the_argument_there_is_no_header(workspace, score, echoed):
    for run in (echoed, score(ECHO, arguments=("--append_row_dataframe_header", "False"))):
        assert "n text" not in output(workspace, run).read_text().splitlines()


def test_lists_have_no_header(workspace, listed):
    assert sorted(map(int, output(workspace, listed).read_text().split())) == list(range(ROWS))


def test_the_header_is_no_row_of_the_predictions(workspace, tables, with_header):
    rows, frame = workspace.runs.predictions(with_header.id).page(count=ROWS).to_pylist(), whole(tables)
    assert [row["Prediction"] for row in rows] == [as_azure_writes(frame[n : n + 1])[:-1] for n in range(ROWS)]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the runner in /proc")
def test_rows_and_header_are_there_once_after_kills(workspace, tmp_path, submit, finish, kill_runner):
    source = """
        import os, signal, time
        def run(mini_batch):
            time.sleep(0.02)
            flag = f"{os.environ['FLAGS']}/{mini_batch.n.iloc[0]}"
            if mini_batch.n.iloc[0] % 5 == 0 and not os.path.exists(flag):
                open(flag, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return mini_batch[["n"]]
    """
    run = submit(source, arguments=HEADER, process_count_per_node=2, environment_variables={"FLAGS": str(tmp_path)})
    killed = 0
    for least in (1, 200, 500):
        finish(workspace, run.id, until=lambda run, least=least: run.status.ended or (run.items_succeeded or 0) >= least)
        if kill_runner(workspace, run.id):
            killed += 1
            workspace.runs.resume(run.id)
    assert killed
    run = finish(workspace, run.id)
    assert (run.status, run.items_succeeded) == (RunStatus.COMPLETED, ROWS)
    lines = output(workspace, run).read_text().splitlines()
    assert lines.pop(0) == "n"
    assert Counter(map(int, lines)) == Counter(range(ROWS))


def test_a_header_that_was_written_and_not_vouched_for_is_written_anew(workspace, shared_home, submit, finish):
    run = submit("def run(mini_batch): raise ValueError", arguments=HEADER, run_max_try=1)
    finish(workspace, run.id)
    folder = LocalRunFolder(shared_home, run.id)
    folder.rows_file.write_text("n text\n1 torn")
    script = Path(folder.plan().request.entry_script)
    script.write_text("def run(mini_batch): return mini_batch[['n']]")
    workspace.runs.resume(run.id)
    lines = output(workspace, finish(workspace, run.id)).read_text().splitlines()
    assert lines[0] == "n"
    assert Counter(map(int, lines[1:])) == Counter(range(ROWS))


# ---- partition keys ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """store=1/ to store=3/, in each a folder for brand a and b with two files of two rows. Read it only."""
    root = tmp_path_factory.mktemp("stores")
    for store in (1, 2, 3):
        for brand in "ab":
            folder = root / f"store={store}" / brand
            folder.mkdir(parents=True)
            for part in (1, 2):
                (folder / f"{part}.csv").write_text(f"sold\n{store}{part}1\n{store}{part}2\n")
    return root


FORMAT = "store={store}/{brand}/*.csv"


@pytest.fixture(scope="module")
def by_brand(score):
    """A run that says of each row its brand, what was sold and where in its mini-batch, and what was sold in the row."""
    source = """
        import json
        def run(mini_batch, context):
            assert (mini_batch.brand == context.partition_key_value["brand"]).all()
            whole = [context.partition_key_value, sorted(mini_batch.sold), sorted(set(mini_batch.store))]
            return [json.dumps([*whole, int(sold)]) for sold in mini_batch.sold]
    """
    return score(source, datasets=("s",), partition_keys=["brand"])


def test_rows_of_the_same_keys_make_one_mini_batch(workspace, by_brand):
    assert (by_brand.mini_batches_total, by_brand.items_succeeded, by_brand.items_failed) == (2, 24, 0)
    sold = sorted(int(f"{store}{part}{row}") for store in (1, 2, 3) for part in (1, 2) for row in (1, 2))
    found = {json.loads(line)[0]["brand"]: json.loads(line)[1:3] for line in output(workspace, by_brand).read_text().splitlines()}
    assert found == {brand: [sold, ["1", "2", "3"]] for brand in "ab"}


def test_files_of_the_same_keys_make_one_mini_batch(workspace, score):
    source = "def run(mini_batch, context): return [f'{context.partition_key_value} {len(mini_batch)}'] * len(mini_batch)"
    run = score(source, datasets=("f",), partition_keys=["store", "brand"])
    assert (run.mini_batches_total, run.items_succeeded) == (6, 12)
    assert set(output(workspace, run).read_text().splitlines()) == {
        f"{{'store': '{store}', 'brand': '{brand}'}} 2" for store in (1, 2, 3) for brand in "ab"
    }


def test_without_partition_keys_the_context_has_no_values(workspace, score):
    run = score("def run(mini_batch, context): return [context.partition_key_value] * len(mini_batch)", datasets=("s",))
    assert set(output(workspace, run).read_text().splitlines()) == {"None"}


def test_each_prediction_goes_to_the_file_of_its_row(workspace, score):
    run = score("def run(mini_batch): return list(mini_batch.store + mini_batch.brand)", datasets=("s",), partition_keys=["store"])
    for row in workspace.runs.predictions(run.id).page().to_pylist():
        assert row["File"].split("/")[:2] == [f"store={row['Prediction'][0]}", row["Prediction"][1]]
    fewer = score("def run(mini_batch): return [len(mini_batch)]", datasets=("s",), partition_keys=["store"])
    assert [row["File"] for row in workspace.runs.predictions(fewer.id).page().to_pylist()] == [""] * 3


def test_a_path_that_an_earlier_version_took_is_refused_with_the_rule(workspace, tmp_path, submit, score):
    (tmp_path / "versions" / "v1.2").mkdir(parents=True)
    (tmp_path / "versions" / "v1.2" / "part.csv").write_text("n\n1\n")
    workspace.register_dataset("v", tmp_path / "versions", type="tabular", partition_format="{major}.{minor}/part.csv")
    with contextlib.closing(sqlite3.connect(workspace.home / "studio.db")) as store, store:
        changed = store.execute(
            "UPDATE datasets SET value = replace(value, '{major}.{minor}', '{version}') WHERE value LIKE '%{major}%'"
        ).rowcount
    assert changed == 1
    with pytest.raises(IntakeError, match=r"“v1.2/part.csv” is not of the partition format “{version}/part.csv”"):
        submit(ECHO, datasets=("v",), partition_keys=["version"])
    run = score("def run(mini_batch): return list(mini_batch.version)", datasets=("v",))
    assert "a key's value ends at a dot, slash or backslash; register the dataset again" in run.error


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["town"], "“town” is not a key of f:1, whose partition format is store={store}/{brand}/\\*.csv"),
        (["store", "x"], "“x” is not a key"),
    ],
)
def test_keys_that_the_format_does_not_have_are_refused_at_their_field(submit, keys, words):
    with pytest.raises(SettingsError, match=words) as refused:
        submit(ECHO, datasets=("f",), partition_keys=keys)
    assert refused.value.field == "partition_keys"
    assert refused.value.hint == "Its keys are store, brand."


# ---- the numbers of rows ---------------------------------------------------------------------------------------------------------------


def numbers(workspace, run):
    """(file, row number, prediction) of every row of the table of predictions."""
    rows = workspace.runs.predictions(run.id).page(EVERY_ROW, count=10_000).to_pylist()
    return [(row["File"], row["Row number"], row["Prediction"]) for row in rows]


def test_every_prediction_has_the_number_of_its_row_in_its_file(workspace, listed):
    assert listed.mini_batches_total > 6
    assert numbers(workspace, listed) == [(f"part-{n // 400}.csv", n % 400 + 1, f"{n}") for n in range(ROWS)]


def test_rows_of_the_same_keys_have_their_numbers_too(workspace, by_brand):
    found = numbers(workspace, by_brand)
    assert len(found) == 24
    assert len({file for file, _, _ in found}) == 12
    assert all(str(json.loads(prediction)[3]) == f"{file[6]}{file[10]}{number}" for file, number, prediction in found)


def test_the_numbers_stay_right_when_failed_rows_are_scored_again(workspace, submit, finish, tmp_path):
    repaired = tmp_path / "repaired"
    source = f"""
        import os
        def run(mini_batch):
            bad = [] if os.path.exists({str(repaired)!r}) else [30, 200, 400, 790]
            if mini_batch.n.isin(bad).any(): raise ValueError("told to")
            if mini_batch.n.isin([600]).any() and bad: return [0]
            return [f'n{{n}}' for n in mini_batch.n]
    """
    old = finish(workspace, submit(source, run_max_try=1).id)
    failed = workspace.runs.failed_items(old.id, count=10_000)
    known = {(item.item, item.row_number) for item in failed if item.row_number}
    assert {("part-0.csv", 31), ("part-0.csv", 201), ("part-1.csv", 1), ("part-1.csv", 391)} < known
    assert any(item.row_number is None for item in failed)
    assert next(item for item in failed if item.row_number == 31).name == "part-0.csv, row 31"
    repaired.touch()
    run = finish(workspace, workspace.rerun(old.id, failed_only=True).id)
    assert sorted(numbers(workspace, run)) == sorted((f"part-{n // 400}.csv", n % 400 + 1, f"n{n}") for n in range(ROWS))


def test_rows_that_a_script_left_out_are_known_by_the_index(workspace, score):
    source = """
        import logging
        def run(mini_batch):
            kept = mini_batch[mini_batch.n % 50 != 7][["n"]]
            for row in mini_batch.index[mini_batch.n % 50 == 7]:
                if mini_batch.n[row] != 7:
                    logging.warning("Row %d of %d in its mini-batch failed: n is %d", row + 1, len(mini_batch), mini_batch.n[row])
            return [kept, kept.assign(p=1), kept[['n']].set_axis(kept.index.astype('int32'))][mini_batch.n.iloc[0] // 400]
    """
    run = score(source)
    assert (run.items_succeeded, run.items_failed) == (ROWS - 24, 24)
    found = workspace.runs.predictions(run.id).page(EVERY_ROW, count=10_000).to_pylist()
    assert [(row["File"], row["Row number"]) for row in found] == [(f"part-{n // 400}.csv", n % 400 + 1) for n in range(ROWS)]
    assert [row["Status"] for row in found] == ["failed" if n % 50 == 7 else "succeeded" for n in range(ROWS)]
    assert {row["Matched by"] for row in found} == {"order", None}
    failed = workspace.runs.failed_items(run.id)
    assert [item.name for item in failed][:2] == ["part-0.csv, row 8", "part-0.csv, row 58"]
    assert failed[0].cause.endswith("this one has none")
    assert [item.cause for item in failed[1:3]] == ["N is 57", "N is 107"]


def test_an_index_that_does_not_say_which_rows_are_there_leaves_them_unknown(workspace, score):
    source = """
        def run(mini_batch, context):
            return [
                lambda: mini_batch[mini_batch.n % 50 != 7].reset_index(drop=True),
                lambda: mini_batch.head(-1),
                lambda: mini_batch[mini_batch.n % 50 != 7][::-1],
                lambda: mini_batch.drop(columns='text').groupby('n').first().head(-1),
            ][context.minibatch_index % 4]()
    """
    rows = workspace.runs.predictions(score(source).id).page(EVERY_ROW, count=10_000).to_pylist()
    for way in range(4):
        of_way = [row for row in rows if row["Mini-batch"] % 4 == way]
        assert any(row["Row number"] is None for row in of_way if row["Status"] == "succeeded")
        assert [row["Row number"] for row in of_way if row["Status"] == "failed"]
    assert not any(row["Row number"] for row in rows if row["Status"] == "failed")


def test_that_the_last_rows_are_missing_is_believed_where_the_script_says_so(workspace, score):
    source = """
        import logging, pandas
        def run(mini_batch, context):
            count = len(mini_batch)
            if context.minibatch_index % 2: logging.warning(f"Row {count} of {count} in its mini-batch failed: it is the last")
            return pandas.DataFrame({"n": mini_batch.n.to_numpy()[:-1]}, index=pandas.Index([*range(count - 1)]))
    """
    run = score(source)
    items = workspace.runs.failed_items(run.id)
    assert len(items) == run.items_failed == run.mini_batches_total
    assert {item.cause for item in items if item.mini_batch % 2} == {"It is the last"}
    assert all((item.row_number is not None) == bool(item.mini_batch % 2) for item in items)
