"""What a step on Azure ML leaves, as a table: its output's text and its logs are all that is known."""

from dataclasses import replace

import pytest

from services.azure.run_plan import RunPlan
from services.azure.runs import output_reader
from services.azure.runs.run_folder import AzureRunFolder
from services.domain import RunRequest
from services.predictions.columns import ROW_NUMBER
from services.predictions.exports import shown_columns
from services.predictions.failures import failed_items, failure_causes
from services.predictions.filters import EVERY_ROW
from services.predictions.reader import Predictions
from services.settings import ParallelRunSettings
from services.storage.manifest import DatasetFile, manifest_line

FILES = tuple(f"{number}.csv" for number in range(6))
OF_TWO = RunRequest((), ("d:1",), "/script.py", ParallelRunSettings(mini_batch_size=2, run_max_try=2))
HEADER = "Mini-batch Id,Picked Count,Process,Total,Succeeded,Failed,Status,Error Category,Error Message\n"
SCORED = [f"{path}: 1" for path in FILES]


@pytest.fixture
def table(home):
    """`table(rows, logs)`: of a run over FILES in mini-batches of two; without rows, of one that failed."""
    manifest = home / "manifest.jsonl"
    manifest.write_bytes(b"".join(manifest_line(DatasetFile(path, 1, 0)) for path in FILES))

    def make(rows, logs=(), request=OF_TWO, **plan):
        folder = AzureRunFolder(home, "run-1")
        folder.create(RunPlan(request, len(FILES), **{"manifests": (str(manifest),)} | plan))
        if rows is not None:
            (folder.output / "parallel_run_step.txt").write_text("".join(f"{row}\n" for row in rows))
        for name, text in dict(logs).items():
            (folder.logs / name).parent.mkdir(parents=True, exist_ok=True)
            (folder.logs / name).write_text(text)
        return Predictions(output_reader.make_table(folder, folder.plan()))

    return make


def columns_of(table):
    return {name: str(table.columns[name]) for name in table.further_columns}


def test_rows_of_dataframes_have_columns_by_place_typed_by_content(table):
    rows = [f'{path} "hot dog" {number / 4} 2026-11-0{number + 1} {number > 2}' for number, path in enumerate(FILES)]
    made = table(rows)
    assert columns_of(made) == {"column 2": "category", "column 3": "number", "column 4": "date", "column 5": "truth value"}
    first = made.page().to_pylist()[1]
    assert (first["File"], first["column 2"], first["column 3"], first["column 5"]) == ("1.csv", "hot dog", 0.25, False)


@pytest.mark.parametrize(
    "rows",
    [
        SCORED,
        [f"{path}: 0.5 0.5" for path in FILES],
        ["a dog and a cat", "a man on a horse"],
        [f"{path} cat" for path in FILES],
        ["1 2", "1 2 3"],
        ['{"a": 1}', '{"a": 2}'],
        [],
    ],
)
def test_rows_that_are_no_dataframes_stay_whole(table, rows):
    assert [name for name in table(rows).further_columns if name.startswith("column")] == []


def test_a_header_names_the_columns_of_a_table(table):
    request = replace(OF_TWO, arguments=("--append_row_dataframe_header", "True"))
    made = table(["id score", "7 0.5", "8 1.5"], request=request, manifests=(), file="t.csv")
    assert columns_of(made) == {"id": "whole number", "score": "number"}
    assert [row["File"] for row in made.page().to_pylist()][:2] == ["t.csv", "t.csv"]


def causes(made):
    return {item.item: (item.cause, item.mini_batch, item.attempt, item.worker) for item in failed_items(made)}


def test_items_of_a_mini_batch_that_raised_have_its_exception(table):
    attempts = (
        "0,1,process000,2,2,0,RUN_DONE,,\n1,1,process001,2,0,2,RUN_EXCEPTION,ValueError,bad batch\n"
        "1,2,process000,2,0,2,RUN_EXCEPTION,ValueError,bad batch\n2,1,process000,2,1,1,RUN_DONE,,\n"
    )
    trace = 'Traceback (most recent call last):\n  File "/mnt/x/score.py", line 7, in run\n    check()\nValueError: bad batch\n'
    logs = {"sys/job_report/processed_mini-batches.csv": HEADER + attempts, "job_error.txt": f"2023-02-28T11:11:55.5 {trace}"}
    raised = ("ValueError: bad batch (score.py, line 7)", 1, 2, "process000")
    assert causes(table([SCORED[4], *SCORED[:2]], logs)) == {
        "2.csv": raised,
        "3.csv": raised,
        "5.csv": ("run() returned 1 row for 2 files in mini-batch 2; without a row: 5.csv", 2, 1, "process000"),
    }


def test_a_table_of_attempts_that_contradicts_the_output_is_not_relied_on(table):
    attempts = "0,1,p,2,2,0,RUN_DONE,,\n1,1,p,2,2,0,RUN_DONE,,\n2,1,p,2,1,1,RUN_DONE,,\n"  # which files it was, they say, were others
    made = table([SCORED[1], *SCORED[2:]], {"sys/job_report/processed_mini-batches.csv": HEADER + attempts})
    (cause,) = causes(made).values()
    assert cause == ("no row names this file", 0, 1, "")


def test_what_all_processes_said_is_looked_through(table):
    progress = "".join(f"scoring /mnt/x/{path}\n" for path in FILES)
    logs = {
        "user/stdout/0/process000.stdout.txt": progress,
        "user/stderr/1/process003.stderr.txt": "2026-11-29 10:00:00,123|ERROR|152|139967160071936|/mnt/x/4.csv has 3 fields\n",
        "user/entry_script_log/0/process001.log.txt": "WARNING:root:2.csv has 5 fields\n",
    }
    made = table([row for row in SCORED if row[0] not in "24"], logs)
    assert {item.item: item.cause for item in failed_items(made)} == {"2.csv": "2.csv has 5 fields", "4.csv": "4.csv has 3 fields"}
    assert [(group.cause, group.count) for group in failure_causes(made)] == [("… has … fields", 2)]


def test_a_failed_run_has_the_items_that_are_known_to_have_failed(table):
    attempts = "0,1,p,2,1,1,RUN_DONE,,\n1,1,p,2,2,0,RUN_DONE,,\n2,1,p,2,1,1,RUN_DONE,,\n"
    said = "".join(f"scoring {path}\n{f'skipped {path}' * (path in ('1.csv', '4.csv'))}\n" for path in FILES)
    logs = {"sys/job_report/processed_mini-batches.csv": HEADER + attempts, "user/stdout/0/process000.stdout.txt": said}
    assert {item: cause[:2] for item, cause in causes(table(None, logs)).items()} == {
        "1.csv": ("skipped 1.csv", 0),
        "4.csv": ("skipped 4.csv", 2),
    }


def test_failed_items_that_nothing_names_are_counted(table):
    attempts = "0,1,p,2,1,1,RUN_DONE,,\n1,1,p,2,0,2,RUN_DONE,,\n2,2,p,2,0,2,RUN_TIMEOUT,N/A,N/A\n"
    made = table(None, {"sys/job_report/processed_mini-batches.csv": HEADER + attempts})
    assert [(item.item, item.cause) for item in failed_items(made)] == [
        ("2.csv", "run() returned no rows for 2 files in mini-batch 1; without a row: 2.csv"),
        ("3.csv", "run() returned no rows for 2 files in mini-batch 1; without a row: 3.csv"),
        ("4.csv", "Mini-batch 2 failed: RUN_TIMEOUT"),
        ("5.csv", "Mini-batch 2 failed: RUN_TIMEOUT"),
        ("", "run() returned 1 row for 2 files in mini-batch 0; which file has none is not known without the rows"),
    ]


def test_failed_rows_of_a_table_have_the_exception_or_their_mini_batch(table):
    attempts = "0,1,p,3,1,2,RUN_DONE,,\n1,2,p,2,0,2,RUN_EXCEPTION,KeyError,'sold'\n"
    attempts += "2,1,p,2,0,2,RUN_EXCEPTION,KeyError,'cut'\n"  # and was ended before it was tried again
    made = table(None, {"sys/job_report/processed_mini-batches.csv": HEADER + attempts}, manifests=(), file="t.csv")
    unknown = "run() returned 1 row for 3 rows in mini-batch 0; which row has none is not known without the rows"
    assert [(item.item, item.cause) for item in failed_items(made)] == 2 * [("t.csv", unknown)] + 2 * [("t.csv", "KeyError: 'sold'")]


def test_a_failed_run_of_which_nothing_is_known_has_no_items(table):
    assert causes(table(None, {"user/stdout/0/process000.stdout.txt": "".join(f"scoring {path}\n" for path in FILES)})) == {}


def test_the_numbers_of_rows_are_not_known(table):
    made = table(["0.5", "0.7"], manifests=(), file="a.csv")
    assert made.page(EVERY_ROW).column(ROW_NUMBER).to_pylist() == [None] * 6
    assert shown_columns(made) == ["File", "Prediction"]
    assert [item.name for item in failed_items(made)] == ["a.csv"] * 4


@pytest.mark.parametrize("said", ["x" * 200_000, "hot\rdog"])
def test_a_row_that_csv_does_not_read_is_a_prediction_like_any_other(table, said):
    made = table([f"{path}: {said}" for path in FILES])
    assert [(row["File"], row["Prediction"]) for row in made.page().to_pylist()] == [(path, said) for path in FILES]
