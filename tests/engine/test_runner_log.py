"""A runner's own log, logs/sys/runner.log of its run; and the home's, logs/dashboard.log."""

import json
import os
import subprocess
import sys

import pytest

from services import PROJECT_ROOT
from services.domain import RunStatus

RUNNER_LOG = "logs/sys/runner.log"
NAMES = "import os\ndef run(mini_batch): return [os.path.basename(path) for path in mini_batch]\n"


@pytest.fixture
def runner_log(workspace):
    """`runner_log(run)` is its text."""
    return lambda run: workspace.runs.logs(run.id)[RUNNER_LOG].read_text(encoding="utf-8")


@pytest.fixture
def break_runner(monkeypatch, tmp_path):
    """`break_runner(source)` makes a runner execute this first, `break_runner(source, name)` import it in the place of that module."""

    def write(source, name="sitecustomize"):
        folder = tmp_path / "broken"
        folder.mkdir()
        (folder / f"{name}.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(PROJECT_ROOT)]))

    return write


def test_a_runner_says_what_it_does(score, runner_log):
    text = runner_log(score(NAMES))
    for expected in ("Starting a runner", "Executing run-", "Starting worker 0/process000", "ended: Completed"):
        assert expected in text


def test_a_worker_that_died_is_in_the_log(score, runner_log):
    text = runner_log(score("import os\ndef run(mini_batch): os._exit(3)", 1, run_max_try=1))
    assert "Worker 0/process000 is replaced: PROCESS_DIED at mini-batch 0" in text


def test_a_bug_in_the_runner_leaves_its_traceback_and_the_run_its_cause(score, runner_log, break_runner):
    break_runner("from services.local.run_progress import RunProgress\nRunProgress.write_down = lambda self: 1 / 0\n")
    run = score(NAMES)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "InternalError")
    assert run.error.startswith("ZeroDivisionError: division by zero.")
    text = runner_log(run)
    assert "ERROR" in text
    assert "RunProgress.write_down = lambda self: 1 / 0" in text


def test_a_bug_before_the_run_is_read_is_why_its_runner_is_gone(submit, workspace, finish, runner_log, break_runner):
    break_runner("from services.local.run_folder import LocalRunFolder\nLocalRunFolder.plan = lambda self: 1 / 0\n")
    run = finish(workspace, submit(NAMES).id, until=lambda run: run.status is RunStatus.NOT_RESPONDING)
    assert run.error == "Its runner failed. Uncaught ZeroDivisionError: division by zero"
    assert "LocalRunFolder.plan = lambda self: 1 / 0" in runner_log(run)


def test_a_runner_that_can_not_be_imported_says_why(submit, workspace, finish, runner_log, break_runner):
    break_runner("raise ImportError('this one is broken')\n", "selectors")
    run = finish(workspace, submit(NAMES).id, until=lambda run: run.status is RunStatus.NOT_RESPONDING)
    assert run.error == "Its runner failed. ImportError: this one is broken"
    assert "Traceback" in runner_log(run)


SAYS_ITS_SECRET = """
    import os, sys
    def init():
        if os.path.exists(os.environ["FLAG"]): raise RuntimeError(os.environ["DATABASE"])
    def run(mini_batch):
        open(os.environ["FLAG"], "w").close()
        print(os.environ["DATABASE"], flush=True)
        os._exit(1)
"""


def test_a_value_of_the_runs_environment_is_in_no_log_of_ours(home, csv_folder, entry_script, tmp_path):
    secret = "Pa55-w0rd-of-the-database"

    def command(*words):
        environment = os.environ | {"BATCH_SCORING_LOG_LEVEL": "DEBUG"}
        line = [sys.executable, "-m", "services", "--home", str(home), "--json", *words]
        done = subprocess.run(line, cwd=PROJECT_ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False)
        return json.loads(done.stdout)

    command("dataset", "register", "d", str(csv_folder(4)))
    given = ("--environment-variable", f"DATABASE={secret}", "--environment-variable", f"FLAG={tmp_path / 'flag'}")
    run = command("run", "--dataset", "d", "--entry-script", str(entry_script(SAYS_ITS_SECRET)), *given, "--mini-batch-size", "1", "--wait")
    assert run["status"] == "Failed"
    ours = [home / "logs" / "dashboard.log", home / "runs" / run["id"] / RUNNER_LOG]
    assert all(secret not in path.read_text(encoding="utf-8") for path in ours)
    assert "init raised RuntimeError: ***" in ours[1].read_text(encoding="utf-8")
    assert "Recorded run-" in ours[0].read_text(encoding="utf-8")
