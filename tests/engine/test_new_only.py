"""run --new-only: just what the same model and script have not scored yet of a dataset that grew, added to what they have."""

import gzip
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest
import xlsxwriter

from services.domain import ResourceKind, Run, RunRequest, RunStatus, TableReading
from services.errors import IntakeError, NothingNew, SettingsError, StudioError
from services.local import scored_files
from services.local.run_folder import LocalRunFolder
from services.local.scored_files import Limit
from services.local.workspace import LocalWorkspace
from services.predictions.filters import EVERY_FAILURE, Filter
from services.settings import ParallelRunSettings

LONG_AGO = 1_700_000_000
SCRIPT = """
    import os, time
    def run(mini_batch):
        rows = []
        for path in mini_batch:
            text = open(path).read().strip()
            while text == "wait" and not os.path.exists({go!r}): time.sleep(0.01)
            if text != "bad": rows.append(os.path.basename(path) + ": " + text)
        return rows
"""


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "watched"
    made.mkdir()
    return made


@pytest.fixture
def put(folder):
    """`put(a="1", b="2")` writes a.csv and b.csv; each was changed long ago, at a moment of its own."""
    moments = iter(range(LONG_AGO, LONG_AGO + 10_000, 60))

    def write(young=False, **texts):
        for name, text in texts.items():
            path = folder / f"{name}.csv"
            path.write_text(text)
            if not young:
                moment = next(moments)
                os.utime(path, (moment, moment))

    return write


@pytest.fixture
def request_(entry_script, tmp_path):
    """The request of a run of only what is new of `d`."""
    script = entry_script(SCRIPT.format(go=str(tmp_path / "go")))
    settings = ParallelRunSettings(process_count_per_node=1, mini_batch_size=2, error_threshold=-1, run_max_try=1)
    return RunRequest((), ("d",), str(script), settings, new_only=True)


@pytest.fixture
def score(workspace, request_, finish, folder):
    """Score what is new, and wait for the end; `change` are fields of the request."""

    def run(**change):
        if not workspace.datasets():
            workspace.register_dataset("d", folder)
        return finish(workspace, workspace.submit(replace(request_, **change)).id)

    return run


def table(workspace, run, *columns, condition=None):
    """The rows of the table of predictions, failed items too, sorted."""
    predictions = workspace.runs.predictions(run.id)
    rows = predictions.page(condition or Filter(), count=1000).to_pylist()
    rows += [] if condition else predictions.page(EVERY_FAILURE, count=1000).to_pylist()
    return sorted(tuple(row[column] for column in columns) for row in rows)


def predicted(workspace, run):
    return {name.removesuffix(".csv"): prediction for name, prediction in table(workspace, run, "File", "Prediction")}


def scored(workspace, run):
    lines = workspace.runs.output(run.id)["parallel_run_step.txt"].read_text().splitlines()
    return sorted(line.split(".")[0] for line in lines)


# ---- what is new, and the one result ---------------------------------------------------------------------------------------------


def test_what_came_is_scored_and_added_to_what_was(workspace, put, score):
    put(a="1", b="2", c="3")
    first = score()
    assert (first.items_total, first.request.rerun_of) == (3, None)
    put(d="4", e="5")
    second = score()
    assert (second.status, second.items_total, second.items_succeeded) == (RunStatus.COMPLETED, 2, 2)
    assert (second.request.rerun_of, second.request.datasets) == (first.id, ("d:2",))
    assert scored(workspace, second) == ["d", "e"]
    assert predicted(workspace, second) == {"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}
    assert predicted(workspace, first) == {"a": "1", "b": "2", "c": "3"}
    assert workspace.dataset("d").item_count == 5


def test_a_run_of_everything_is_added_to_as_well(workspace, put, score):
    put(a="1", b="2")
    first = score(new_only=False)
    put(c="3")
    second = score()
    assert (second.request.rerun_of, scored(workspace, second)) == (first.id, ["c"])
    assert predicted(workspace, second) == {"a": "1", "b": "2", "c": "3"}


def test_where_nothing_is_new_no_run_starts_and_no_version_is_made(workspace, put, score, request_):
    put(a="1", b="2")
    first = score()
    with pytest.raises(NothingNew, match=f"2 files are scored in {first.id}") as caught:
        workspace.submit(request_)
    assert (caught.value.found["kept"], caught.value.found["adds_to"]) == (2, first.id)
    assert [run.id for run in workspace.runs.latest()] == [first.id] == [path.name for path in (workspace.home / "runs").iterdir()]
    assert [dataset.reference for dataset in workspace.datasets()] == ["d:1"]
    assert not list((workspace.home / "incoming").iterdir())


def test_many_times_in_a_row_it_is_one_result(workspace, put, score):
    put(a="1")
    runs = [score()]
    for number in range(4):
        put(**{f"b{number}": str(number)})
        runs.append(score())
    assert [run.items_total for run in runs] == [1] * 5
    assert predicted(workspace, runs[-1]) == {"a": "1"} | {f"b{number}": str(number) for number in range(4)}
    workers = dict(table(workspace, runs[-1], "File", "Worker"))
    assert workers["b1.csv"].endswith(f" of {runs[2].id}")
    assert runs[0].id not in workers["b3.csv"] + workers["b2.csv"]


def test_a_file_that_changed_is_scored_again_and_has_its_new_row(workspace, put, score):
    put(a="1", b="2", c="3")
    score()
    put(b="changed")
    second = score()
    assert (second.items_total, scored(workspace, second)) == (1, ["b"])
    put(c="too")
    assert predicted(workspace, score()) == {"a": "1", "b": "changed", "c": "too"}


def test_what_failed_is_new(workspace, put, score):
    put(a="1", b="bad", c="3")
    first = score()
    assert first.items_failed == 1
    second = score()
    assert (second.items_total, second.items_failed) == (1, 1)
    put(b="repaired")
    third = score()
    assert (third.request.rerun_of, scored(workspace, third)) == (second.id, ["b"])
    assert predicted(workspace, third) == {"a": "1", "b": "repaired", "c": "3"}
    assert workspace.runs.predictions(third.id).page(EVERY_FAILURE).num_rows == 0


def test_attempts_at_a_file_that_failed_before_are_counted_together(workspace, put, score):
    put(a="1", b="bad")
    score()
    assert dict(table(workspace, score(), "File", "Attempts")) == {"a.csv": 1, "b.csv": 2}


def test_the_rows_of_a_file_that_is_gone_stay_and_are_marked(workspace, put, score, folder):
    put(a="1", b="2")
    score()
    (folder / "a.csv").unlink()
    put(c="3")
    second = score()
    assert table(workspace, second, "File", "Input file") == [("a.csv", "gone"), ("b.csv", "present"), ("c.csv", "present")]
    assert table(workspace, second, "File", condition=Filter(where="\"Input file\" = 'gone'")) == [("a.csv",)]
    assert workspace.runs.predictions(second.id).own["Input file"] == "Input file"
    assert "gone" in second.reuse_note
    put(d="4")
    assert table(workspace, score(), "File", condition=Filter(where="\"Input file\" = 'gone'")) == [("a.csv",)]
    put(a="back")
    third = score()
    assert (scored(workspace, third), predicted(workspace, third)["a"]) == (["a"], "back")
    assert table(workspace, third, "File", condition=Filter(where="\"Input file\" = 'gone'")) == []


GONE = Filter(where="\"Input file\" = 'gone'")


def test_what_is_gone_is_marked_though_nothing_is_new(workspace, put, score, folder, request_):
    put(a="1", b="2")
    first = score(new_only=False)
    assert "Input file" not in workspace.runs.predictions(first.id).own
    (folder / "a.csv").unlink()
    with pytest.raises(NothingNew) as caught:
        workspace.submit(request_)
    marked = f"1 file is scored in {first.id}. 1 file is gone: the rows stay in {first.id}, marked as gone."
    assert caught.value.message == f"Nothing is new in d: {marked}"
    assert table(workspace, first, "File", "Prediction", "Input file") == [("a.csv", "1", "gone"), ("b.csv", "2", "present")]
    assert len(workspace.runs.latest()) == 1
    put(c="3")
    second = score()
    assert table(workspace, second, "File", condition=GONE) == [("a.csv",)]
    (folder / "b.csv").unlink()
    with pytest.raises(NothingNew):
        workspace.submit(request_)
    assert table(workspace, second, "File", condition=GONE) == [("a.csv",), ("b.csv",)]
    assert table(workspace, first, "File", condition=GONE) == [("a.csv",)]


def test_a_file_that_is_there_again_loses_its_mark(workspace, put, score, folder, request_):
    put(a="1", b="2")
    first = score()
    (folder / "a.csv").rename(folder.parent / "a.csv")
    with pytest.raises(NothingNew):
        workspace.submit(request_)
    assert table(workspace, first, "File", condition=GONE) == [("a.csv",)]
    (folder.parent / "a.csv").rename(folder / "a.csv")
    with pytest.raises(NothingNew, match="2 files are scored"):
        workspace.submit(request_)
    assert table(workspace, first, "File", condition=GONE) == []


def test_a_look_alone_marks_nothing(workspace, put, score, folder, request_):
    put(a="1", b="2")
    first = score()
    (folder / "a.csv").unlink()
    found = workspace.new_items(request_)
    assert (found.count, found.gone, found.unmarked) == (0, 1, 1)
    assert found.describe_new() == "nothing is new. 1 file is scored already. 1 file is gone, and the rows stay."
    assert "Input file" not in workspace.runs.predictions(first.id).own


def test_of_a_folder_without_a_file_left_it_is_said_that_all_is_gone(workspace, put, score, folder, request_):
    put(a="1", b="2")
    first = score()
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(NothingNew) as caught:
        workspace.submit(request_)
    all_gone = "all that was scored is gone (2 files)"
    assert caught.value.message == f"Nothing is new in d, and {all_gone}: the rows stay in {first.id}, marked as gone."
    assert table(workspace, first, "File", condition=GONE) == [("a.csv",), ("b.csv",)]


def test_where_all_is_being_written_nothing_can_be_scored_yet(workspace, put, score, request_):
    put(a="1")
    score()
    put(young=True, a="half")
    with pytest.raises(NothingNew, match="Nothing can be scored of d yet") as caught:
        workspace.submit(request_)
    assert "a.csv" in caught.value.hint


def test_a_file_that_changed_just_now_waits_for_the_next_time(workspace, put, score, request_):
    put(a="1", b="2")
    first = score()
    put(young=True, c="half")
    put(d="4")
    second = score()
    assert scored(workspace, second) == ["d"]
    assert any("c.csv" in warning and "next time" in warning for warning in second.warnings)
    with pytest.raises(NothingNew) as caught:
        workspace.submit(request_)
    assert caught.value.found["waiting"] == ("c.csv",)
    assert "c.csv" in caught.value.hint
    put(c="whole")
    third = score()
    assert predicted(workspace, third) == {"a": "1", "b": "2", "c": "whole", "d": "4"}
    assert first.id != third.request.rerun_of == second.id


def test_a_scored_file_that_is_being_changed_keeps_its_row_until_then(workspace, put, score):
    put(a="1", b="2")
    score()
    put(young=True, a="half")
    put(c="3")
    second = score()
    assert table(workspace, second, "File", "Prediction", "Input file") == [
        ("a.csv", "1", "present"), ("b.csv", "2", "present"), ("c.csv", "3", "present"),
    ]  # fmt: skip
    put(a="whole")
    assert predicted(workspace, score()) == {"a": "whole", "b": "2", "c": "3"}


def test_a_file_that_was_scored_just_after_it_was_written_is_not_new(workspace, put, score, request_):
    put(young=True, a="1")
    score(new_only=False)
    with pytest.raises(NothingNew):
        workspace.submit(request_)


def test_a_file_that_is_the_same_but_for_its_time_is_not_new(workspace, put, score, request_, folder):
    put(a="1", b="2")
    score()
    os.utime(folder / "a.csv", (LONG_AGO - 5, LONG_AGO - 5))
    with pytest.raises(NothingNew):
        workspace.submit(request_)
    put(b="3", c="4")
    assert scored(workspace, score()) == ["b", "c"]
    with pytest.raises(NothingNew):
        workspace.submit(request_)


def test_a_file_that_was_only_touched_since_a_run_of_everything_is_not_new(workspace, put, score, request_, folder):
    put(a="1", b="2")
    first = score(new_only=False)
    again = score(new_only=False)
    assert again.reused_from == first.id
    os.utime(folder / "a.csv", (LONG_AGO - 5, LONG_AGO - 5))
    with pytest.raises(NothingNew, match=again.id):
        workspace.submit(request_)


def test_what_changed_between_its_registration_and_its_run_is_not_known_again(workspace, put, score, folder):
    put(a="1", b="2")
    workspace.register_dataset("d", folder)
    put(a="3")
    assert predicted(workspace, score(new_only=False)) == {"a": "3", "b": "2"}
    put(a="1")
    assert predicted(workspace, score()) == {"a": "1", "b": "2"}


def test_what_was_scored_is_noted_up_to_a_limit(workspace, put, score):
    put(a="1", b="22", c="333", d="4")
    run = score(new_only=False)
    folder = LocalRunFolder(workspace.home, "copy")  # its runner may be noting still
    shutil.copytree(workspace.home / "runs" / run.id, folder.path, ignore=shutil.ignore_patterns(".*"))
    scored_files.contents_list(folder, 0).unlink()

    def noted(limit):
        scored_files.note_contents(folder, folder.plan(), limit, more=True)
        return sorted(scored_files.noted_contents(folder, 0))

    assert noted(Limit(3, 3)) == ["a.csv", "b.csv"]
    assert noted(Limit(3, 1)) == ["a.csv", "b.csv", "c.csv"]
    assert noted(Limit(0, 0)) == ["a.csv", "b.csv", "c.csv"]
    assert noted(Limit(1, 9)) == ["a.csv", "b.csv", "c.csv", "d.csv"]


def test_a_copied_dataset_is_compared_by_what_its_files_hold(workspace, put, score, folder, request_):
    put(a="1", b="2")
    workspace.register_dataset("d", folder, copy=True)
    score()
    os.utime(folder / "a.csv", (LONG_AGO - 5, LONG_AGO - 5))
    put(b="3", c="4")
    with pytest.raises(NothingNew):
        workspace.submit(request_)  # the copy doesn't grow
    workspace.register_dataset("d", folder, copy=True)
    second = score()
    assert (scored(workspace, second), predicted(workspace, second)) == (["b", "c"], {"a": "1", "b": "3", "c": "4"})


def test_a_folder_that_held_one_file_when_it_was_registered_grows(workspace, put, score):
    put(a="1")
    score()
    put(b="2")
    assert predicted(workspace, score()) == {"a": "1", "b": "2"}


# ---- by the same model, script, arguments and environment ------------------------------------------------------------------------


def test_another_script_has_scored_nothing_yet(workspace, put, score, request_, tmp_path):
    put(a="1", b="2")
    score()
    script = tmp_path / "scripts" / "script.py"
    script.write_text(script.read_text() + "\n# changed\n")
    second = score()
    assert (second.items_total, second.request.rerun_of) == (2, None)
    assert "script changed since" in second.reuse_note


def test_a_tag_that_is_given_to_the_model_makes_nothing_new(workspace, put, score, request_, model_file):
    workspace.register_model("m", model_file, approve=True)
    put(a="1")
    score(models=("m",))
    workspace.resources.change(ResourceKind.MODEL, "m:1", tags={"season": "winter"})
    with pytest.raises(NothingNew):
        workspace.submit(replace(request_, models=("m",)))


def test_other_arguments_have_scored_nothing_yet(put, score):
    put(a="1", b="2")
    first = score()
    put(c="3")
    assert score(arguments=("--other", "1")).items_total == 3
    fourth = score()
    assert (fourth.items_total, fourth.request.rerun_of) == (1, first.id)


def test_what_a_failed_only_run_scored_counts(workspace, put, score, finish, request_):
    put(a="1", b="bad")
    first = score()
    put(b="2")  # the file of the dataset that was registered: rescored as it is now
    again = finish(workspace, workspace.rerun(first.id, failed_only=True).id)
    assert predicted(workspace, again) == {"a": "1", "b": "2"}
    put(c="3")
    third = score()
    assert third.request.rerun_of == again.id
    assert predicted(workspace, third) == {"a": "1", "b": "2", "c": "3"}
    assert predicted(workspace, finish(workspace, workspace.rerun(score_bad(put, score).id, failed_only=True).id))["d"] is None


def score_bad(put, score):
    put(d="bad")
    return score()


def test_a_rerun_of_it_scores_its_version_whole(workspace, put, score, finish):
    put(a="1")
    score()
    put(b="2")
    run = finish(workspace, workspace.rerun(score().id).id)
    assert (run.items_total, run.request.new_only, run.request.datasets) == (2, False, ("d:2",))


def test_it_is_never_what_another_run_reuses(workspace, put, score):
    put(a="1")
    score()
    put(b="2")
    score()
    assert score(new_only=False).items_total == 2


# ---- interrupted -----------------------------------------------------------------------------------------------------------------


def test_a_killed_one_is_resumed_and_loses_and_doubles_nothing(workspace, put, score, request_, finish, kill_runner, tmp_path):
    put(a="1", b="bad")
    first = score()
    put(b="2", c="3", d="4", e="wait", f="6")
    run = workspace.submit(request_)
    finish(workspace, run.id, until=lambda run: run.items_succeeded == 2)
    assert kill_runner(workspace, run.id)
    with pytest.raises(StudioError, match=f"{run.id}, which scores the same, has not ended") as caught:
        workspace.submit(request_)
    assert "Resume" in caught.value.hint
    (tmp_path / "go").touch()
    workspace.runs.resume(run.id)
    run = finish(workspace, run.id)
    assert (run.status, run.items_total) == (RunStatus.COMPLETED, 5)
    wanted = [("a.csv", "1"), ("b.csv", "2"), ("c.csv", "3"), ("d.csv", "4"), ("e.csv", "wait"), ("f.csv", "6")]
    assert table(workspace, run, "File", "Prediction") == wanted
    assert run.request.rerun_of == first.id


def test_what_a_canceled_one_scored_counts_the_next_time(workspace, put, score, request_, finish, tmp_path):
    put(a="1")
    score()
    put(b="2", c="3", d="wait", e="5")
    run = workspace.submit(request_)
    finish(workspace, run.id, until=lambda run: run.items_succeeded == 2)
    workspace.runs.cancel(run.id)
    finish(workspace, run.id)
    (tmp_path / "go").touch()
    last = score()
    assert (last.request.rerun_of, scored(workspace, last)) == (run.id, ["d", "e"])
    assert table(workspace, last, "File") == [(f"{name}.csv",) for name in "abcde"]


def test_one_submission_is_one_run(workspace, put, score, request_, finish):
    put(a="1")
    score()
    put(b="wait", c="2")
    request = replace(request_, submission_id="click")
    run = workspace.submit(request)
    assert workspace.submit(request).id == run.id
    workspace.runs.cancel(run.id)
    finish(workspace, run.id)


def test_of_several_datasets_each_grows_by_itself(workspace, put, score, folder, tmp_path):
    put(a="1")
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.csv").write_text("9")
    os.utime(other / "a.csv", (1, 1))
    workspace.register_dataset("d", folder)
    workspace.register_dataset("e", other)
    first = score(datasets=("d", "e"))
    (other / "b.csv").write_text("8")
    os.utime(other / "b.csv", (2, 2))
    second = score(datasets=("d", "e"))
    assert (second.request.datasets, second.request.rerun_of, scored(workspace, second)) == (("d:1", "e:2"), first.id, ["b"])
    assert table(workspace, second, "File", "Prediction") == [("a.csv", "1"), ("a.csv", "9"), ("b.csv", "8")]


def test_of_partitions_just_the_new_files_are_scored(workspace, folder, entry_script, request_, finish):
    script = entry_script("def run(mini_batch):\n    return [f'{p}: {len(mini_batch)}' for p in mini_batch]", "parts.py")
    settings = ParallelRunSettings(process_count_per_node=1, partition_keys=("store",), error_threshold=-1)
    request = replace(request_, entry_script=str(script), settings=settings)
    for name in ("x/1.csv", "y/1.csv"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("1")
        os.utime(folder / name, (1, 1))
    workspace.register_dataset("d", folder, partition_format="{store}/*.csv")
    finish(workspace, workspace.submit(request).id)
    for name in ("x/0.csv", "x/2.csv"):
        (folder / name).write_text("2")
        os.utime(folder / name, (2, 2))
    run = finish(workspace, workspace.submit(request).id)
    assert (run.items_total, run.mini_batches_total) == (2, 1)
    assert table(workspace, run, "File", "Prediction") == [("x/0.csv", "2"), ("x/1.csv", "1"), ("x/2.csv", "2"), ("y/1.csv", "1")]


# ---- tables ----------------------------------------------------------------------------------------------------------------------


TABLE_SCRIPT = """
    def run(frame):
        if "bad" in set(frame["value"]): raise ValueError("bad")
        return [f"{key}={value}" for key, value in zip(frame["key"], frame["value"])]
"""


TABLE_SETTINGS = ParallelRunSettings(process_count_per_node=1, mini_batch_size="1KB", error_threshold=-1, run_max_try=1)


@pytest.fixture
def table_request(entry_script):
    return RunRequest((), ("t",), str(entry_script(dedent(TABLE_SCRIPT), "table.py")), TABLE_SETTINGS, new_only=True)


def rows_of(name, count, value):
    return "key,value\n" + "".join(f"{name}{number},{value}\n" for number in range(count))


def test_of_a_table_a_file_that_changed_is_new_as_a_whole(workspace, put, folder, table_request, finish):
    put(a=rows_of("a", 300, 1), b=rows_of("b", 200, 1))
    workspace.register_dataset("t", folder, type="tabular")
    first = finish(workspace, workspace.submit(table_request).id)
    assert first.items_total == 500
    put(b=rows_of("b", 250, 2), c=rows_of("c", 100, 3))
    second = finish(workspace, workspace.submit(table_request).id)
    assert (second.items_total, second.items_succeeded, second.request.datasets) == (350, 350, ("t:2",))
    every = workspace.runs.predictions(second.id).page(count=10_000).to_pylist()
    wanted = [f"a{n}=1" for n in range(300)] + [f"b{n}=2" for n in range(250)] + [f"c{n}=3" for n in range(100)]
    assert sorted(row["Prediction"] for row in every) == sorted(wanted)
    assert {(row["File"], row["Row number"]) for row in every} >= {("a.csv", 300), ("b.csv", 250), ("c.csv", 1)}
    with pytest.raises(NothingNew):
        workspace.submit(table_request)


# ---- tables whose files are made Parquet -----------------------------------------------------------------------------------------


def semicolons(name, values):
    return "key;value\n" + "".join(f"{name}{number};{value}\n" for number, value in enumerate(values))


def json_lines(name, values):
    return "".join(json.dumps({"key": f"{name}{number}", "value": value}) + "\n" for number, value in enumerate(values))


def workbook(sheets):
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as book:
        for name, values in sheets.items():
            sheet = book.add_worksheet(name)
            for row, cells in enumerate([("key", "value"), *((f"{name}{number}", value) for number, value in enumerate(values))]):
                sheet.write_row(row, 0, cells)
    return content.getvalue()


def dropping(folder):
    """`drop("a.jsonl", text)` puts a file there; each was changed long ago, at a moment of its own."""
    moments = iter(range(LONG_AGO, LONG_AGO + 10_000, 60))

    def drop(name, text, young=False):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        moment = next(moments)
        if not young:
            os.utime(folder / name, (moment, moment))

    return drop


@pytest.fixture
def drop(folder):
    return dropping(folder)


@pytest.fixture
def score_table(workspace, table_request, finish, folder):
    def run(**options):
        if not workspace.datasets():
            workspace.register_dataset("t", folder, type="tabular", **options)
        return finish(workspace, workspace.submit(table_request).id)

    return run


def predictions(workspace, run):
    return sorted(row["Prediction"] for row in workspace.runs.predictions(run.id).page(count=10_000).to_pylist())


class Grown(NamedTuple):
    """A table of files with semicolons that grew from run to run: its workspace, the runs, and the places of z.csv in two versions."""

    workspace: LocalWorkspace
    runs: list[Run]
    first_place: Path
    second_place: Path
    was_one_file: bool


@pytest.fixture(scope="module")
def grown(shared, shared_script, finish, tmp_path_factory):
    """Tests only look at it: each of its runs takes seconds."""
    folder = tmp_path_factory.mktemp("grown")
    drop, runs = dropping(folder), []
    request = RunRequest((), ("t",), str(shared_script(TABLE_SCRIPT)), TABLE_SETTINGS, new_only=True)

    def score():
        runs.append(finish(shared, shared.submit(request).id))

    for name, values in (("a", [1, 2]), ("b", [3]), ("z", range(10, 110))):
        drop(f"{name}.csv", semicolons(name, values))
    shared.register_dataset("t", folder, type="tabular")
    score()
    with pytest.raises(NothingNew, match="3 files are scored"):
        shared.submit(request)
    os.utime(folder / "a.csv", (1, 1))  # touched
    with pytest.raises(NothingNew, match="3 files are scored"):
        shared.submit(request)
    drop("b.csv", semicolons("b", [4, 5]))
    drop("c.csv", semicolons("c", [6]))
    drop("d.csv", "key;val", young=True)
    score()
    (folder / "a.csv").unlink()
    drop("d.csv", semicolons("d", [7]))
    score()
    drop("e.csv", semicolons("e", [8]))
    score()
    places = [Path(shared.dataset(f"t:{version}").root, "z.csv.parquet") for version in (1, 2)]
    was_one_file = places[0].samefile(places[1])
    assert not any(shared.changed_files(shared.dataset(f"t:{version}")) for version in (2, 4))
    return Grown(shared, runs, *places, was_one_file)


def without_z(rows):
    return [row for row in rows if not row[0].startswith("z")]


def test_a_file_that_is_made_parquet_is_new_by_what_it_was_made_of(grown):
    first, second, *_ = grown.runs
    assert first.items_total == 103
    assert (second.items_total, second.request.rerun_of, second.request.datasets) == (3, first.id, ("t:2",))
    assert without_z(table(grown.workspace, second, "Prediction")) == [("a0=1",), ("a1=2",), ("b0=4",), ("b1=5",), ("c0=6",)]
    assert "1 new file, 1 changed file" in second.reuse_note
    before, now = grown.workspace.dataset("t:1"), grown.workspace.dataset("t:2")
    assert (now.row_count, now.source_root) == (105, before.source_root)


def test_a_half_written_file_is_not_made_parquet(grown):
    assert grown.workspace.dataset("t:2").file_count == 4
    assert "d.csv" in grown.runs[1].warnings[0]
    assert (grown.runs[2].items_total, grown.workspace.dataset("t:3").file_count) == (1, 4)


def test_rows_made_of_a_file_that_is_gone_stay_and_are_marked(grown):
    rows = without_z(table(grown.workspace, grown.runs[2], "Prediction", "Input file"))
    there = [(row, "present") for row in ("b0=4", "b1=5", "c0=6", "d0=7")]
    assert rows == [("a0=1", "gone"), ("a1=2", "gone"), *there]
    assert table(grown.workspace, grown.runs[3], "Prediction", condition=GONE) == [("a0=1",), ("a1=2",)]


def test_what_stayed_the_same_takes_its_disk_once(grown):
    assert grown.first_place != grown.second_place
    assert grown.was_one_file


def test_json_lines_made_parquet_are_new_by_what_they_were_made_of(workspace, drop, score_table, table_request):
    drop("a.jsonl", json_lines("a", [1, 2]))
    drop("b.jsonl", json_lines("b", [3]))
    first = score_table()
    assert first.items_total == 3
    with pytest.raises(NothingNew, match="2 files are scored"):
        workspace.submit(table_request)
    drop("b.jsonl", json_lines("b", [4, 5]))
    drop("c.jsonl", json_lines("c", [6]))
    second = score_table()
    assert (second.items_total, second.request.rerun_of, second.request.datasets) == (3, first.id, ("t:2",))
    assert predictions(workspace, second) == ["a0=1", "a1=2", "b0=4", "b1=5", "c0=6"]
    before, after = (Path(workspace.dataset(f"t:{version}").root, "a.jsonl.parquet") for version in (1, 2))
    assert before.samefile(after)
    workspace.resources.delete(ResourceKind.DATASET, ["t:1"])
    assert (before.exists(), after.is_file()) == (False, True)


def test_of_workbooks_what_came_and_what_changed_is_scored_with_all_its_sheets(workspace, drop, score_table):
    for day, x, y in (("1", 1, 2), ("2", 3, 4)):
        drop(f"{day}.xlsx", workbook({"x": [x], "y": [y]}))
    assert score_table(reading=TableReading(sheets=("x", "y"))).items_total == 4
    drop("1.xlsx", workbook({"x": [1], "y": [7, 8]}))
    drop("3.xlsx", workbook({"x": [5], "y": [6]}))
    run = score_table()
    assert (run.items_total, predictions(workspace, run)) == (5, ["x0=1", "x0=3", "x0=5", "y0=4", "y0=6", "y0=7", "y1=8"])


def test_the_folder_is_read_anew_as_it_was_registered(workspace, drop, score_table):
    drop("x/a.csv", "key;value\n1;01\n")
    score_table(reading=TableReading(types={"value": "text"}), partition_format="{store}/*.csv")
    drop("y/b.csv", "key;value\n2;02\n")
    run = score_table()
    assert predictions(workspace, run) == ["1=01", "2=02"]
    assert workspace.dataset("t").partition_format == workspace.dataset("t:1").partition_format == "{store}/*.csv.parquet"


def test_a_table_of_plain_files_goes_on_when_one_comes_that_is_made_parquet(workspace, drop, score_table):
    drop("b.csv", "key,value\nb0,1\n")
    drop("c.csv", "key,value\nc0,2\n")
    assert score_table().items_total == 2
    drop("a.csv", "key;value\na0;3\n")  # the first one says how all are read: with them it is no table
    with pytest.raises(IntakeError, match=r"[abc]\.csv"):
        score_table()
    (workspace.home.parent / "watched" / "a.csv").unlink()
    drop("b.csv", "key,value\nb0,4\n")
    drop("d.csv.gz", gzip.compress(b"key,value\nd0,5\n"))
    run = score_table()
    assert (run.items_total, predictions(workspace, run)) == (2, ["b0=4", "c0=2", "d0=5"])


def test_of_a_table_made_parquet_what_failed_is_new(workspace, drop, score_table, finish):
    drop("a.csv", semicolons("a", [1]))
    drop("b.csv", semicolons("b", ["bad", "bad", "x"]))
    drop("c.csv", semicolons("c", ["3"]))
    first = score_table()
    assert (first.items_succeeded, first.items_failed) == (2, 3)
    finish(workspace, workspace.rerun(first.id, failed_only=True).id)
    drop("b.csv", semicolons("b", [4, 5]))
    second = score_table()
    assert (second.items_total, predictions(workspace, second)) == (2, ["a0=1", "b0=4", "b1=5", "c0=3"])


def test_of_a_copied_table_made_parquet_just_what_differs_is_new(workspace, drop, score_table, folder):
    drop("a.csv", semicolons("a", [1]))
    drop("b.csv", semicolons("b", [2]))
    score_table(copy=True)
    drop("a.csv", semicolons("a", [1]))  # at another time
    drop("b.csv", semicolons("b", [3]))
    workspace.register_dataset("t", folder, type="tabular", copy=True)
    run = score_table()
    assert (run.items_total, predictions(workspace, run), run.request.datasets) == (1, ["a0=1", "b0=3"], ("t:2",))


def test_one_workbook_that_is_replaced_is_scored_again(workspace, drop, table_request, finish, folder):
    drop("sales.xlsx", workbook({"Sheet": [1, 2]}))
    drop("other.xlsx", workbook({"Sheet": [9]}))
    workspace.register_dataset("t", folder / "sales.xlsx", type="tabular")
    finish(workspace, workspace.submit(table_request).id)
    with pytest.raises(NothingNew, match="1 file is scored"):
        workspace.submit(table_request)
    drop("sales.xlsx", workbook({"Sheet": [3]}))
    run = finish(workspace, workspace.submit(table_request).id)
    assert (run.items_total, predictions(workspace, run)) == (1, ["Sheet0=3"])


def test_names_of_any_kind_are_made_parquet_and_known_again(workspace, drop, score_table, table_request):
    names = ["=cmd().csv", 'a, "b"\n.csv', "x/**bold** <b>.csv", "café.csv", "a.csv.parquet.csv"]
    for name in names:
        drop(name, semicolons("k", [1]))
    assert score_table().items_total == len(names)
    with pytest.raises(NothingNew, match=f"{len(names)} files"):
        workspace.submit(table_request)


def test_what_an_earlier_version_of_the_program_registered_is_registered_again_first(workspace, drop, score_table, table_request, folder):
    drop("a.csv", semicolons("a", [1]))
    score_table()
    (workspace.home / "datasets" / "t" / "1" / "sources.jsonl").unlink()
    with pytest.raises(SettingsError, match="earlier version") as caught:
        workspace.submit(table_request)
    assert (caught.value.field, "again" in caught.value.hint) == ("new_only", True)
    workspace.register_dataset("t", folder, type="tabular")
    run = score_table()
    assert (run.items_total, run.request.rerun_of) == (1, None)


def test_how_many_are_new_is_told_before(workspace, put, score, request_):
    put(a="1", b="bad")
    first = score()
    put(c="2", a="changed")
    found = workspace.new_items(request_)
    assert (found.adds_to, found.new, found.changed, found.failed, found.count) == (first.id, 1, 1, 1, 3)
    assert [dataset.reference for dataset in workspace.datasets()] == ["d:1"]


def test_only_failed_and_only_new_exclude_each_other():
    with pytest.raises(SettingsError) as caught:
        RunRequest((), ("d",), "/s.py", failed_only=True, new_only=True, rerun_of="run-1")
    assert caught.value.field == "new_only"
