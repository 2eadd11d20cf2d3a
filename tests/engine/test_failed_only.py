"""rerun --failed-only: just what failed or has no row is scored again, and takes its place in the predictions."""

import json
import os
from textwrap import dedent

import pytest

from services.domain import RunRequest, RunStatus
from services.errors import NotFound, SettingsError, StudioError
from services.predictions.filters import EVERY_FAILURE
from services.settings import ParallelRunSettings

SCRIPT = """
    import json, os, time
    def run(mini_batch):
        told = json.load(open({told!r}))
        names = [os.path.basename(path) for path in mini_batch]
        if set(names) & set(told.get("raise", ())): raise ValueError("told to")
        while set(names) & set(told.get("wait", ())): time.sleep(0.01)
        return [told["row"].format(name) for name in names if name not in told.get("short", ())]
"""


@pytest.fixture
def tell(tmp_path):
    """`tell(row="{}: old", raise_=["0003.csv"], short=["0007.csv"])` says what the script does from now on."""

    def write(row="{}: old", raise_=(), **names):
        (tmp_path / "told.json").write_text(json.dumps({"row": row, "raise": raise_} | names))

    return write


@pytest.fixture
def submit(workspace, csv_folder, entry_script, tmp_path):
    def run(files=20, datasets=("d",), **settings):
        if not workspace.datasets():
            workspace.register_dataset("d", csv_folder(files))
        values = {"process_count_per_node": 1, "mini_batch_size": 5, "error_threshold": -1, "run_max_try": 2} | settings
        script = entry_script(SCRIPT.format(told=str(tmp_path / "told.json")))
        return workspace.submit(RunRequest((), tuple(datasets), str(script), ParallelRunSettings(**values)))

    return run


@pytest.fixture
def score(workspace, submit, finish):
    return lambda *args, **kwargs: finish(workspace, submit(*args, **kwargs).id)


@pytest.fixture
def rerun(workspace, finish):
    return lambda run: finish(workspace, workspace.rerun(run.id, failed_only=True).id)


def table(workspace, run, *columns):
    """The rows of the table of predictions, failed items too, sorted."""
    predictions = workspace.runs.predictions(run.id)
    rows = predictions.page(count=1000).to_pylist() + predictions.page(EVERY_FAILURE, count=1000).to_pylist()
    return sorted(tuple(row[column] for column in columns) for row in rows)


def predicted(workspace, run):
    return dict(table(workspace, run, "File", "Prediction"))


def names(*numbers):
    return [f"{number:04}.csv" for number in numbers]


def scored(workspace, run):
    return sorted(line.split(":")[0] for line in workspace.runs.output(run.id)["parallel_run_step.txt"].read_text().splitlines())


# ---- what is scored, and the predictions -------------------------------------------------------------------------------------------------


def test_only_items_that_failed_or_have_no_row_are_scored_again(workspace, score, rerun, tell):
    tell(raise_=names(2), short=names(8, 19))
    old = score()
    assert (old.status, old.items_succeeded, old.items_failed) == (RunStatus.COMPLETED, 13, 7)
    tell("{}: new")
    run = rerun(old)
    again = names(0, 1, 2, 3, 4, 8, 19)
    assert (run.status, run.items_total, run.items_succeeded, run.mini_batches_total) == (RunStatus.COMPLETED, 7, 7, 2)
    assert scored(workspace, run) == again
    assert predicted(workspace, run) == {name: "new" if name in again else "old" for name in names(*range(20))}
    assert workspace.runs.predictions(run.id).page(EVERY_FAILURE).num_rows == 0


def test_attempts_of_both_runs_are_counted_and_kept_rows_name_their_run(workspace, score, rerun, tell):
    tell(raise_=names(2), short=names(8))
    old = score()
    tell("{}: new")
    run = rerun(old)
    tries = {file: (attempts, worker) for file, attempts, worker in table(workspace, run, "File", "Attempts", "Worker")}
    assert tries["0002.csv"][0] == 2 + 1
    assert tries["0008.csv"][0] == 1 + 1
    assert tries["0007.csv"][0] == 1
    assert tries["0007.csv"][1].endswith(f" of {old.id}")
    assert old.id not in tries["0002.csv"][1]


def test_the_old_run_stays_as_it_is(workspace, score, rerun, tell):
    tell(raise_=names(2))
    old = score()
    before = (table(workspace, old, "File", "Prediction"), workspace.runs.failures(old.id), scored(workspace, old))
    tell("{}: new")
    rerun(old)
    assert workspace.runs.get(old.id) == old
    assert (table(workspace, old, "File", "Prediction"), workspace.runs.failures(old.id), scored(workspace, old)) == before


def test_a_failed_only_run_can_be_rerun_failed_only(workspace, score, rerun, tell):
    tell("{}: 1", raise_=names(2), short=names(8))
    first = score()
    tell("{}: 2", raise_=names(3), short=names(8))
    second = rerun(first)
    assert (second.items_total, second.items_failed) == (6, 6)  # one mini-batch of 0 to 4, and 8 alone
    tell("{}: 2", short=names(3, 8))
    second = rerun(first)
    assert (second.items_total, second.items_succeeded) == (6, 4)
    tell("{}: 3", short=names(8))
    third = rerun(second)
    assert scored(workspace, third) == names(3)
    wanted = dict.fromkeys(names(*range(20)), "1") | dict.fromkeys(names(0, 1, 2, 4), "2") | {"0003.csv": "3", "0008.csv": None}
    assert predicted(workspace, third) == wanted
    attempts = dict(table(workspace, third, "File", "Attempts"))
    assert (attempts["0003.csv"], attempts["0008.csv"], attempts["0000.csv"], attempts["0010.csv"]) == (2 + 1 + 1, 1 + 1 + 1, 2 + 1, 1)
    tell("{}: 4")
    fourth = rerun(third)
    assert (scored(workspace, fourth), predicted(workspace, fourth)) == (names(8), wanted | {"0008.csv": "4"})


def test_what_a_canceled_run_never_scored_has_no_row_and_is_scored(workspace, submit, rerun, tell, finish):
    tell(wait=names(12))
    old = submit(process_count_per_node=1, run_invocation_timeout=600)
    finish(workspace, old.id, until=lambda run: run.items_succeeded == 10)
    workspace.runs.cancel(old.id)
    old = finish(workspace, old.id)
    tell("{}: new")
    run = rerun(old)
    assert scored(workspace, run) == names(*range(10, 20))
    assert predicted(workspace, run) == {name: "old" if name < "0010" else "new" for name in names(*range(20))}


def test_a_mini_batch_with_an_unknown_missing_row_is_scored_whole(workspace, score, rerun, tell):
    tell("no name", short=names(7))
    old = score(10)
    assert old.items_failed == 1
    tell("{}: new")
    run = rerun(old)
    assert scored(workspace, run) == names(5, 6, 7, 8, 9)
    rows = table(workspace, run, "File", "Prediction")
    assert rows == [(name, "no name" if name < "0005" else "new") for name in names(*range(10))]


def test_files_of_one_name_in_several_folders_are_told_apart(workspace, csv_folder, score, rerun, tell, tmp_path):
    for folder in ("a", "b"):
        csv_folder(4, f"both/{folder}")
    workspace.register_dataset("d", tmp_path / "both")
    tell(short=names(3))
    old = score(mini_batch_size=2)
    assert old.items_failed == 2
    tell("{}: new")
    run = rerun(old)
    assert run.items_total == 2
    assert predicted(workspace, run) == {
        f"{folder}/{name}": "new" if "3" in name else "old" for folder in "ab" for name in names(*range(4))
    }


def test_several_datasets_keep_their_own_items(workspace, csv_folder, score, rerun, tell, tmp_path):
    workspace.register_dataset("first", csv_folder(3, "first"))
    workspace.register_dataset("second", csv_folder(12, "second"))
    tell(raise_=names(7))
    old = score(datasets=("first", "second"))
    tell("{}: new")
    run = rerun(old)
    assert (run.request.datasets, scored(workspace, run)) == (("first:1", "second:1"), names(5, 6, 7, 8, 9))
    assert len(table(workspace, run, "File")) == 15


def test_hostile_names_are_scored_again_by_their_own_bytes(workspace, entry_script, finish, tmp_path):
    folder = tmp_path / "hostile"
    folder.mkdir()
    hostile = ["a:b.csv", "=cmd|x.csv", "new\nline.csv", os.fsdecode(b"bad\xff.csv"), "q\"u'o.csv"]
    for name in hostile:
        (folder / name).write_text("1\n")
    workspace.register_dataset("d", folder)
    repaired = tmp_path / "repaired"
    source = f"import os\ndef run(mini_batch):\n    assert os.path.exists({str(repaired)!r})\n    return mini_batch"
    settings = ParallelRunSettings(process_count_per_node=1, mini_batch_size=1, error_threshold=-1, run_max_try=1)
    old = finish(workspace, workspace.submit(RunRequest((), ("d",), str(entry_script(source)), settings)).id)
    repaired.touch()
    run = finish(workspace, workspace.rerun(old.id, failed_only=True).id)
    content = workspace.runs.output(run.id)["parallel_run_step.txt"].read_bytes()
    assert content == b"".join(os.fsencode(folder / name) + b"\n" for name in sorted(hostile))


def test_summary_only_scores_whole_mini_batches_again(score, rerun, tell):
    tell(short=names(7))
    old = score(output_action="summary_only")
    tell()
    assert rerun(old).items_total == 5


def test_rows_of_tables_are_scored_again_by_whole_mini_batches(workspace, entry_script, finish, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in "ab":
        rows = "".join(f"{name}{number:05},{'x' * 200}\n" for number in range(4000))
        (folder / f"{name}.csv").write_text("key,text\n" + rows)
    workspace.register_dataset("d", folder, type="tabular")
    repaired = tmp_path / "repaired"
    source = f"""
        import os
        def run(frame):
            keys = frame["key"]
            if not os.path.exists({str(repaired)!r}):
                if (keys == "a00000").any() or (keys == "a03999").any(): raise ValueError
                if (keys == "b01000").any(): return list(keys)[:-1]
            return list(keys)
    """
    settings = ParallelRunSettings(process_count_per_node=1, mini_batch_size="100KB", error_threshold=-1, run_max_try=1)
    old = finish(workspace, workspace.submit(RunRequest((), ("d",), str(entry_script(dedent(source))), settings)).id)
    assert 0 < old.items_failed < 2000
    repaired.touch()
    run = finish(workspace, workspace.rerun(old.id, failed_only=True).id)
    assert run.status is RunStatus.COMPLETED
    assert old.items_failed < run.items_total < 2500
    every = workspace.runs.predictions(run.id).page(count=10_000).to_pylist()
    assert sorted(row["Prediction"] for row in every) == [f"{name}{number:05}" for name in "ab" for number in range(4000)]


# ---- what it is among the runs -----------------------------------------------------------------------------------------------------------


def test_it_is_recorded_whose_failed_items_a_run_scores(workspace, score, rerun, tell):
    tell(raise_=names(2))
    old = score()
    tell()
    request = workspace.runs.get(rerun(old).id).request
    assert (request.rerun_of, request.failed_only) == (old.id, True)


def test_a_rerun_of_a_failed_only_run_scores_the_same_items_again(workspace, score, rerun, tell, finish):
    tell(raise_=names(2))
    old = score()
    tell("{}: new")
    first = rerun(old)
    second = finish(workspace, workspace.rerun(first.id).id)
    assert second.id != first.id
    assert scored(workspace, second) == scored(workspace, first) == names(0, 1, 2, 3, 4)
    assert second.request.rerun_of == old.id


def test_a_failed_only_run_is_never_what_another_run_reuses(workspace, score, submit, rerun, tell, finish):
    tell(raise_=names(2))
    old = score()
    tell("{}: new")
    rerun(old)
    run = finish(workspace, submit().id)
    assert (run.reused_from, run.items_total) == (None, 20)


def test_a_failed_only_run_is_resumed_with_its_own_items(workspace, score, tell, finish):
    tell(raise_=names(2, 7))
    old = score()
    tell("{}: new", wait=names(6))
    run = workspace.rerun(old.id, failed_only=True)
    finish(workspace, run.id, until=lambda run: run.items_succeeded == 5)
    workspace.runs.cancel(run.id)
    finish(workspace, run.id)
    tell("{}: new")
    workspace.runs.resume(run.id)
    run = finish(workspace, run.id, until=lambda run: run.status is RunStatus.COMPLETED)
    assert scored(workspace, run) == names(*range(10))


# ---- refused -----------------------------------------------------------------------------------------------------------------------------


def test_where_nothing_failed_there_is_nothing_to_score(workspace, score, tell):
    tell()
    old = score()
    with pytest.raises(StudioError, match=f"Nothing failed in run {old.id}") as caught:
        workspace.rerun(old.id, failed_only=True)
    assert caught.value.hint
    assert [run.id for run in workspace.runs.latest()] == [path.name for path in (workspace.home / "runs").iterdir()] == [old.id]


def test_the_failed_items_of_a_run_that_goes_on_are_not_known_yet(workspace, submit, tell, finish):
    tell(wait=names(0))
    old = submit(run_invocation_timeout=600)
    with pytest.raises(StudioError, match="has not ended") as caught:
        workspace.rerun(old.id, failed_only=True)
    assert "cancel" in caught.value.hint
    workspace.runs.cancel(old.id)
    finish(workspace, old.id)


def test_a_request_for_the_failed_items_of_no_run_is_refused():
    with pytest.raises(SettingsError) as caught:
        RunRequest((), ("d",), "/s.py", failed_only=True)
    assert caught.value.field == "failed_only"


def test_a_run_that_is_not_there_is_said_by_its_id(workspace):
    with pytest.raises(NotFound, match="run-of-nobody"):
        workspace.rerun("run-of-nobody", failed_only=True)
