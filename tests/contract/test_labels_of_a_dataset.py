"""True labels belong to a dataset, and its runs are judged by them: the same in every workspace, and by the command line."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

import pytest

from services.domain import RunRequest, RunStatus
from services.errors import NotFound, SettingsError
from services.predictions.label_file import keep_labels
from services.settings import ParallelRunSettings
from services.workspace import Workspace
from services.workspaces import WORKSPACES, open_workspace
from tests.azure_service.fixtures import led_to

one_sdk = pytest.mark.parametrize("workspace", ["local", "azure"], indirect=True)
"""For what is answered on this machine: there one of the SDKs is like the other."""
SCRIPT = """
    import os
    def run(mini_batch):
        return [f"{os.path.basename(path)}: {'even' if int(os.path.basename(path)[:4]) % 2 == 0 else 'odd'}" for path in mini_batch]
"""
HALF_RIGHT = "File,Label\n" + "".join(f"{number:04}.csv,even\n" for number in range(6))


@pytest.fixture(params=WORKSPACES)
def workspace(request, home):
    if request.param != "local":
        request.getfixturevalue("azure")
    return open_workspace(request.param, home)


@pytest.fixture
def truth(tmp_path) -> Path:
    path = tmp_path / "truth.csv"
    path.write_text(HALF_RIGHT)
    return path


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "churn.csv"
    path.write_text("age,churned,spend\n" + "".join(f"{20 + n},{n % 3 == 0},{n}.5\n" for n in range(30)))
    return path


@pytest.fixture(scope="session")
def scored_homes() -> dict[str, Path]:
    """What `scored` has made so far: homes with a run over dataset `d` of eight files."""
    return {}


@pytest.fixture(params=["local", "azure"])  # of a run that ended: there one of the SDKs is like the other
def scored(request, scored_homes, tmp_path_factory, tmp_path, finish) -> Iterator[Workspace]:
    """A workspace of the test's own, with a run over dataset `d` of eight files. What is changed there is on this machine only."""
    with ExitStack() as stack:
        if request.param != "local":
            stack.enter_context(led_to(request.getfixturevalue("azure_service"), f"scored-{request.param}"))
        if request.param not in scored_homes:
            folder = tmp_path_factory.mktemp("scored")
            (folder / "files").mkdir()
            for number in range(8):
                (folder / "files" / f"{number:04}.csv").write_text("1\n")
            (folder / "script.py").write_text(dedent(SCRIPT))
            workspace = open_workspace(request.param, folder / "home")
            workspace.register_dataset("d", folder / "files")
            assert ran(workspace, finish, folder / "script.py").status is RunStatus.COMPLETED
            scored_homes[request.param] = folder / "home"
        shutil.copytree(scored_homes[request.param], tmp_path / "home")
        yield open_workspace(request.param, tmp_path / "home")


only_here = pytest.mark.parametrize("scored", ["local"], indirect=True)


def ran(workspace, finish, script, dataset="d", **values):
    compute = workspace.remote.compute_targets()[0].name if workspace.remote else None
    settings = ParallelRunSettings(process_count_per_node=1, **values)
    request = RunRequest((), (dataset,), str(script), settings, compute_target=compute, allow_reuse=False)
    return finish(workspace, workspace.submit(request).id)


def test_labels_of_files_hold_for_later_versions_too(workspace, csv_folder, truth):
    workspace.register_dataset("d", csv_folder(6))
    added = workspace.add_labels("d", truth)
    assert (added.name, added.count, added.dataset) == ("truth.csv", 6, "d:1")
    workspace.register_dataset("d", csv_folder(3, "fewer"))
    assert [labels.id for labels in workspace.labels("d:2")] == [added.id]
    assert workspace.find_labels(["d:2"], added.id).count == 6
    workspace.remove_labels("d", added.id)
    assert workspace.labels("d:1") == []
    with pytest.raises(NotFound):
        workspace.find_labels(["d:1"], added.id)


@one_sdk
def test_labels_given_last_come_first_and_the_same_are_kept_once(workspace, csv_folder, truth, tmp_path):
    workspace.register_dataset("d", csv_folder(6))
    other = tmp_path / "other.csv"
    other.write_text("File,Label\n0000.csv,odd\n")
    first, second, again = (workspace.add_labels("d", path) for path in (truth, other, truth))
    assert [labels.id for labels in workspace.labels("d")] == [first.id, second.id] == [again.id, second.id]


def test_a_column_of_a_table_is_its_labels_in_every_version_until_removed(workspace, table):
    workspace.register_dataset("t", table, type="tabular")
    spent, added = (workspace.add_labels("t", column=column) for column in ("spend", "churned"))
    assert (added.count, added.column, added.has_rows, added.name) == (30, "churned", True, "column churned")
    table.write_text(table.read_text() + "99,True,1\n")
    workspace.register_dataset("t", table, type="tabular")
    assert [(labels.column, labels.dataset) for labels in workspace.labels("t:2")] == [("churned", "t:1"), ("spend", "t:1")]
    workspace.remove_labels("t:2", spent.id)  # where they were given
    assert [labels.column for labels in workspace.labels("t:1")] == ["churned"]
    assert workspace.find_labels(["t:2"], added.id).count == 31  # reads the column of this version, too
    assert [labels.dataset for labels in workspace.labels("t:2")] == ["t:2"]
    workspace.remove_labels("t:2", workspace.labels("t:2")[0].id)
    assert (workspace.labels("t:2"), workspace.labels("t:1")) == ([], [])


def test_labels_of_rows_in_a_file_hold_for_the_same_files_only(workspace, table, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("file,row number,label\nchurn.csv,1,True\n")
    workspace.register_dataset("t", table, type="tabular")
    added = workspace.add_labels("t", rows)
    assert added.has_rows
    table.write_text("age,churned,spend\n1,True,2\n")
    workspace.register_dataset("t", table, type="tabular")
    assert (len(workspace.labels("t:1")), workspace.labels("t:2")) == (1, [])


def test_a_column_is_read_below_a_header_of_two_lines(home, tmp_path):
    path = tmp_path / "lines.csv"
    path.write_text('"first\nsecond",churned\n1,True\n2,False\n')
    workspace = open_workspace("local", home)
    workspace.register_dataset("t", path, type="tabular")
    assert [workspace.add_labels("t", column=column).count for column in ("first\nsecond", "churned")] == [2, 2]


@one_sdk
def test_a_column_that_is_not_there_is_rejected_at_its_field(workspace, table, csv_folder):
    workspace.register_dataset("d", csv_folder(2))
    workspace.register_dataset("t", table, type="tabular")
    for dataset, column in (("t", "gone"), ("d", "age")):
        with pytest.raises(SettingsError) as raised:
            workspace.add_labels(dataset, column=column)
        assert raised.value.field == "column"


def test_every_run_over_a_dataset_is_judged_at_once(scored, truth):
    (run,) = scored.runs.latest()
    before = scored.leaderboard("d")
    assert [(score.run.id, score.accuracy, score.judged) for score in before.scores] == [(run.id, None, 0)]
    assert "no labels" in before.notes[0]
    scored.add_labels("d", truth)
    steps = []
    board = scored.leaderboard("d", progress=lambda done, of: steps.append((done, of)))
    (score,) = board.scores
    assert (score.accuracy, score.judged, score.mae, board.labels_name) == (0.5, 6, None, "truth.csv")
    assert score.f1 == pytest.approx((2 * 3 / 9 + 0) / 2)
    assert score.seconds == score.run.duration
    assert steps == [(0, 1), (1, 1)]
    assert scored.leaderboard("d") == board


def test_rows_of_a_table_are_judged_by_their_own_column(home, table, entry_script, finish):
    workspace = open_workspace("local", home)
    workspace.register_dataset("t", table, type="tabular")
    workspace.add_labels("t", column="churned")
    run = ran(workspace, finish, entry_script("def run(rows): return [bool(age % 2) for age in rows['age']]"), "t")
    (score,) = workspace.leaderboard("t").scores
    right = sum((20 + n) % 2 == (n % 3 == 0) for n in range(30))
    assert (score.run.id, score.judged, score.accuracy) == (run.id, 30, right / 30)
    spend = workspace.add_labels("t", column="spend")
    ran(workspace, finish, entry_script("def run(rows): return list(rows['age'] - 19.0)", "numbers.py"), "t")
    numbers = next(score for score in workspace.leaderboard("t", spend.id).scores if score.run.request.script_name == "numbers.py")
    assert (numbers.mae, numbers.rmse, numbers.accuracy) == (0.5, 0.5, None)


@only_here
def test_failed_items_and_items_without_a_label_are_counted_not_judged(scored, truth, entry_script, finish):
    scored.add_labels("d", truth)
    failing = SCRIPT.replace("return [", "if '0000.csv' in mini_batch[0]: raise ValueError(1)\n        return [")
    ran(scored, finish, entry_script(failing, "failing.py"), mini_batch_size=1, error_threshold=-1)
    board = scored.leaderboard("d")
    figures = {score.run.request.script_name: (score.judged, score.without_prediction, score.without_label) for score in board.scores}
    assert figures == {"script.py": (6, 0, 2), "failing.py": (5, 1, 2)}
    assert any("not judged on the same rows" in note for note in board.notes)


@only_here
def test_labels_kept_with_a_run_by_an_earlier_version_are_found(scored, truth):
    (run,) = scored.runs.latest()
    earlier = keep_labels(truth, "truth.csv", scored.home / "runs" / run.id)
    assert [labels.id for labels in scored.labels("d")] == [earlier.id]
    scored.remove_labels("d", earlier.id)
    assert scored.labels("d") == []
    shutil.rmtree(scored.home / "labels")
    assert scored.leaderboard("d").scores[0].accuracy == 0.5


@only_here
def test_the_commands_give_labels_and_compare_runs(scored, command_in, truth):
    command = command_in(scored.home)
    assert command("leaderboard", "d", "--json").json["runs"][0]["accuracy"] is None
    added = command("labels", "d", truth, "--json").json
    assert (added["dataset"], added["count"], added["name"]) == ("d:1", 6, "truth.csv")
    value = command("leaderboard", "d", "--json").json
    (row,) = value["runs"]
    assert {"run", "model", "accuracy", "f1", "mae", "rmse", "seconds", "node_hours"} <= row.keys()
    assert (row["accuracy"], row["mae"], row["model"], row["judged"]) == (0.5, None, None, 6)
    assert row["node_hours"] == pytest.approx(row["seconds"] / 3600)
    assert row["run"] in command("leaderboard", "d").out
    assert "truth.csv" in command("labels", "d").out
    assert command("labels", "d", "--remove", added["id"]).code == 0
    assert command("labels", "d", "--json").json["labels"] == []


def test_labels_that_can_not_be_taken_are_invalid_input(command, csv_folder):
    command("dataset", "register", "rows", csv_folder(2))
    for arguments in (("gone.csv",), ("--column", "x"), ("--remove", "x"), ("a.csv", "--column", "x")):
        result = command("labels", "rows", *arguments, "--json")
        assert (result.code, bool(result.error["message"])) == (2, True)
