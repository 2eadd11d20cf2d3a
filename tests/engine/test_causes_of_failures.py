"""Every failed item has its cause: what the script said about it while its mini-batch ran, whatever it did to its streams and loggers."""

import pytest

from services.domain import RunRequest
from services.settings import ParallelRunSettings
from tests.broken_files import BROKEN, train_model, write_files
from tests.failing_scripts import FILES, LOGS_A_WARNING, PRINTS_PROGRESS, SAYS_NOTHING


def causes(workspace, run):
    return {failed.item: failed.cause for failed in workspace.runs.failed_items(run.id)}


def test_progress_said_in_other_mini_batches_is_no_cause(workspace, score):
    run = score(PRINTS_PROGRESS.source, FILES, mini_batch_size=1)
    assert causes(workspace, run) == PRINTS_PROGRESS.causes


SAYS = """
    import logging, os, subprocess, sys, io, warnings
    log = logging.getLogger("mine")
    def say(name):
        {say}
    def run(mini_batch):
        names = [os.path.basename(path) for path in mini_batch]
        if "0001.csv" in names: say("0001.csv")
        return [f"{{name}}: ok" for name in names if name != "0001.csv"]
"""


@pytest.mark.parametrize(
    "say",
    [
        "print(name, 'is bad', file=sys.stderr)",
        "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8'); print(name, 'is bad')",
        "print(name, 'is bad', end='')",
        "os.write(2, f'{name} is bad\\n'.encode())",
        "subprocess.run([sys.executable, '-c', f'print({name!r}, \"is bad\")'])",
        "logging.getLogger().handlers.clear(); log.warning('%s is bad', name)",
        "log.propagate = False; log.addHandler(logging.FileHandler('own.log')); log.info('%s is bad', name)",
        "logging.basicConfig(force=True, format='%(message)s', stream=sys.stdout); log.error('%s is bad', name)",
        "from azureml_user.parallel_run import EntryScript; EntryScript().logger.info('%s is bad', name)",
        "print(name, 'is bad'); print('x\\n' * 5_000_000)",
    ],
)
def test_a_script_may_say_it_in_any_way(workspace, score, say):
    run = score(SAYS.format(say=say), 2, process_count_per_node=1)
    assert causes(workspace, run) == {"0001.csv": "0001.csv is bad"}


def test_the_first_line_of_a_failed_run_is_its_cause(score):
    run = score(LOGS_A_WARNING.source, FILES, mini_batch_size=2, error_threshold=1)
    cause = "'…' failed: it has … fields (2 of 2 failed items, the first: 0003.csv in mini-batch 1)."
    assert run.error == f"{cause} 2 items failed, more than the error_threshold of 1."


def test_a_run_of_which_nothing_succeeded_says_why_first(score):
    run = score("def run(mini_batch): raise ValueError('no model')", 3)
    cause = "ValueError: no model (script.py, line 1) (3 of 3 failed items, the first: 0000.csv in mini-batch 0)."
    assert run.error == f"{cause} No item succeeded. Every call of run() raised."


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_that_keeps_no_rows_names_the_items_of_which_something_was_said(workspace, score, size):
    run = score(PRINTS_PROGRESS.source, FILES, mini_batch_size=size, output_action="summary_only")
    assert causes(workspace, run) == PRINTS_PROGRESS.causes
    assert [(cause.count, cause.example) for cause in workspace.runs.failure_causes(run.id)] == [(2, "0003.csv")]


def test_a_run_that_keeps_no_rows_tells_how_many_failed_unnamed(workspace, score):
    run = score(SAYS_NOTHING.source, FILES, mini_batch_size=4, output_action="summary_only")
    sentence = "run() returned 3 rows for 4 files in mini-batch {}; which file has none is not known without the rows"
    assert [(failed.item, failed.cause) for failed in workspace.runs.failed_items(run.id)] == [
        ("", sentence.format(0)),
        ("", sentence.format(1)),
    ]


def test_failures_are_known_while_the_run_goes_on(workspace, submit, finish, tmp_path):
    run = submit(
        f"""
        import os, time, logging
        def run(mini_batch):
            name = os.path.basename(mini_batch[0])
            while name == "0003.csv" and not os.path.exists({str(tmp_path / "gate")!r}): time.sleep(0.01)
            if name == "0001.csv": logging.error("0001.csv has no header")
            return [] if name == "0001.csv" else [name]
        """,
        4, mini_batch_size=1, process_count_per_node=1,
    )  # fmt: skip
    finish(workspace, run.id, until=lambda run: run.items_failed)
    assert causes(workspace, run) == {"0001.csv": "0001.csv has no header"}
    (tmp_path / "gate").touch()
    finish(workspace, run.id)
    assert causes(workspace, run) == {"0001.csv": "0001.csv has no header"}


def test_several_rows_a_file_do_not_hide_the_one_that_failed(workspace, score):
    run = score(
        """
        import os, logging
        def run(mini_batch):
            rows = []
            for path in mini_batch:
                name = os.path.basename(path)
                if name == "0001.csv":
                    logging.error("%s can't be read", path)
                else:
                    rows += [f"{name}: left", f"{name}: right"]
            return rows
        """,
        4, mini_batch_size=2,
    )  # fmt: skip
    assert causes(workspace, run) == {"0001.csv": "0001.csv can't be read"}


def test_a_rerun_of_failed_items_has_the_causes_of_what_fails_again(workspace, score, finish):
    run = score(LOGS_A_WARNING.source, FILES, mini_batch_size=2)
    again = finish(workspace, workspace.rerun(run.id, failed_only=True).id)
    expected = LOGS_A_WARNING.causes
    assert {failed.item: (failed.cause, failed.attempt) for failed in workspace.runs.failed_items(again.id)} == {
        item: (cause, 2) for item, cause in expected.items()
    }


def test_the_built_in_script_says_of_each_of_seven_broken_files_what_is_wrong(workspace, finish, tmp_path):
    workspace.register_dataset("orders", write_files(tmp_path / "orders"))
    model = workspace.register_model("orders", train_model(tmp_path / "model.joblib"), approve=True)
    script = next(script.path for script in workspace.scripts.all() if script.origin == "built-in")
    settings = ParallelRunSettings(mini_batch_size="50", process_count_per_node=2, error_threshold=-1)
    run = finish(workspace, workspace.submit(RunRequest((model.reference,), ("orders",), script, settings)).id)
    assert (run.items_succeeded, run.items_failed) == (493, 7)
    assert causes(workspace, run) == {name: f"'{name}' failed: {sentence}" for name, (_, sentence) in BROKEN.items()}
    assert len(workspace.runs.failure_causes(run.id)) == 7


PRINTS_PROGRESS_AND_FAILS = """
    import os
    def run(mini_batch):
        for path in mini_batch:
            print("scoring", path)
            print("skipping", path)
        return []
"""


@pytest.mark.parametrize(("size", "output_action"), [(1, "append_row"), (2, "append_row"), (2, "summary_only")])
def test_where_nothing_succeeded_progress_is_quoted_and_no_cause(workspace, score, size, output_action):
    run = score(PRINTS_PROGRESS_AND_FAILS, 2, mini_batch_size=size, output_action=output_action)
    files = "1 file" if size == 1 else "2 files"
    assert causes(workspace, run) == {
        f"000{number}.csv": f"run() returned no rows for {files} in mini-batch {number // size}; without a row: 000{number}.csv;"
        f" the last that was said of it: skipping 000{number}.csv"
        for number in range(2)
    }
    assert run.error is None or run.error.startswith("run() returned no rows")


def test_a_rerun_of_failed_items_knows_the_progress_of_the_earlier_run(workspace, score, finish):
    run = score(PRINTS_PROGRESS.source, FILES, mini_batch_size=2)
    again = finish(workspace, workspace.rerun(run.id, failed_only=True).id)
    assert causes(workspace, again) == PRINTS_PROGRESS.causes


def test_a_line_that_is_only_the_name_is_no_cause(workspace, score):
    run = score(SAYS.format(say="print('ERROR: no header'); print(name + ':')"), 2, process_count_per_node=1)
    assert causes(workspace, run) == {"0001.csv": "no header"}


def test_of_rows_that_name_no_file_it_is_not_said_which_item_has_none(workspace, score):
    run = score(
        """
        import logging, os
        def run(mini_batch):
            names = [os.path.basename(path) for path in mini_batch]
            if "0001.csv" in names: logging.error("no header")
            if "0003.csv" in names: logging.error("0003.csv is empty")
            return [1 for name in names if name not in ("0001.csv", "0003.csv")]
        """,
        4, mini_batch_size=2,
    )  # fmt: skip
    unknown = "run() returned 1 row for 2 files in mini-batch {}; none of them is known to be of {}"
    assert causes(workspace, run) == {
        "0000.csv": unknown.format(0, "0000.csv"),
        "0001.csv": unknown.format(0, "0001.csv"),
        "0002.csv": unknown.format(1, "0002.csv"),
        "0003.csv": "0003.csv is empty",
    }
