from __future__ import annotations

from datetime import timedelta

import numpy
import pytest
from streamlit.testing.v1 import AppTest

from pages import _run_charts
from services.azure.workspace import AzureWorkspace
from services.connection import Connection, SignIn
from services.domain import FileDataset, ResourceKind, RunRequest, RunStatus, TabularDataset, utc_now
from services.local.run_folder import LocalRunFolder
from services.settings import ParallelRunSettings
from services.storage.activity import Workers, activity_of, gather_these
from services.storage.journal import TimedAttempt
from services.storage.store import Store
from services.workspaces import choose_workspace, chosen_workspace

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

RUNS = "runs.py"
GOOD = (
    "import os\ndef run(mini_batch):\n    print('scored', len(mini_batch))\n    return [f'{os.path.basename(p)}: 1' for p in mini_batch]\n"
)
BAD = """
    def run(mini_batch):
        if "0003" in str(mini_batch): raise ValueError("three is <b>bad</b>")
        return [f"{path[-8:]}: 1" for path in mini_batch]
"""
WAITS = "import os, time\ndef run(mini_batch):\n    while not os.path.exists(os.environ['GO']): time.sleep(0.01)\n    return mini_batch\n"
HOSTILE = "![](http://x) :red[x] $x$ <b>bold</b>\nsecond line"


@pytest.fixture
def start(workspace, csv_folder, entry_script):
    """`start(source, name=...)` submits a run over ten files, two a mini-batch."""
    workspace.register_dataset("d", csv_folder(10))

    def submit(source, name="", **settings):
        values = {"mini_batch_size": "2", "process_count_per_node": 2, "run_max_try": 1, "run_invocation_timeout": 600} | settings
        return workspace.submit(RunRequest((), ("d",), str(entry_script(source)), ParallelRunSettings(**values), name=name))

    return submit


@pytest.fixture
def ended(ended):
    """`ended(source, name)` is such a run in the end: a copy of it."""
    return lambda source, name="", **settings: ended(source, name=name, **{"process_count_per_node": 2} | settings)


def words(elements):
    return " ".join(str(element.value) for element in elements)


def figures(app):
    return {metric.label: metric.value for metric in app.metric}


def listed(app):
    return list(app.dataframe[0].value["Run"])


def open_view(open_page, run, view):
    return open_page(RUNS, run=run.id, view=view)


def test_without_runs_the_page_links_to_a_new_one(open_page):
    app = open_page(RUNS)
    assert not app.exception
    assert "No runs yet" in words(app.info)
    assert [link.value for link in app.page_link] == ["Start a run"]


def test_the_list_shows_runs_newest_first_and_filters(open_page, ended):
    ended(GOOD, "first")
    ended(BAD, "second", error_threshold=0)
    ended(GOOD, HOSTILE)
    app = open_page(RUNS)
    assert not app.exception
    assert listed(app) == [HOSTILE, "second", "first"]
    table = app.dataframe[0].value
    assert [list(status) for status in table["Status"]] == [["Completed"], ["Failed"], ["Completed"]]
    assert table["Succeeded"][0] == 10
    app.text_input(key="find").set_value("FIRST").run()
    assert listed(app) == ["first"]
    app.text_input(key="find").set_value("").run()
    app.get_by_key("status").set_value([RunStatus.FAILED]).run()
    assert listed(app) == ["second"]


def test_filters_of_the_list_are_in_the_url(open_page, ended):
    ended(GOOD, "first")
    ended(GOOD, "second")
    assert listed(open_page(RUNS, find="sec", status="Completed")) == ["second"]


def test_a_completed_run_shows_its_metrics_and_all_tabs(open_page, ended):
    run = ended(GOOD, HOSTILE)
    app = open_page(RUNS, run=run.id)
    assert not app.exception
    assert app.header[0].value.startswith("\\!\\[\\]")
    assert {"Succeeded": "10", "Failed": "0", "Skipped": "0"}.items() <= figures(app).items()
    assert app.progress[0].value == 100
    assert "5 of 5 mini-batches done" in words(app.caption)
    assert "No failures" in words(open_view(open_page, run, "Failures").caption)
    assert {"Rerun", "See results"} <= {button.label for button in app.button}
    logs = open_page(RUNS, run=run.id, view="Logs", log_view="File by file")
    assert "10 items succeeded" in words(logs.code)
    printed = [name for name in logs.selectbox(key="log").options if "stdout" in name]
    assert "scored 2" in words(logs.selectbox(key="log").select(printed[0]).run().code)
    settings, installed = (table.value for table in open_view(open_page, run, "Settings").dataframe)
    assert dict(zip(settings["Setting"], settings["Value"], strict=True))["Mini-batch size"] == "2"
    assert dict(zip(installed["Package"], installed["Version"], strict=True))["numpy"] == numpy.__version__
    output = open_view(open_page, run, "Output")
    assert f"downloads/output?run={run.id}&name=parallel_run_step.txt" in [button.url for button in output.link_button]
    assert list(output.dataframe[0].value["File"]) == ["parallel_run_step.txt"]


def test_a_failed_run_shows_the_cause_then_the_traceback(open_page, ended):
    run = ended(BAD, error_threshold=0)
    app = open_page(RUNS, run=run.id)
    assert not app.exception
    assert "three is \\<b\\>bad" in app.error[0].value
    assert "Traceback" in words(app.code)
    causes, items = (table.value for table in app.dataframe)
    assert list(causes["Files"]) == [2]
    assert list(causes["Share"]) == [100]
    assert "three is <b>bad</b>" in causes["Cause"][0]
    assert list(items["File"]) == ["0002.csv", "0003.csv"]
    assert "three is <b>bad</b>" in items["Error"][1]
    assert list(items["Mini-batch"]) == [1, 1]
    assert "first failed file stops" in words(app.caption)
    assert {"Resume", "Rerun"} <= {button.label for button in app.button}


def test_a_script_that_does_not_import_shows_its_traceback(open_page, ended):
    run = ended("import nothing_of_this_name\ndef run(mini_batch): return []\n")
    app = open_page(RUNS, run=run.id)
    assert "nothing\\_of\\_this\\_name" in app.error[0].value
    assert "Traceback" in words(app.code)
    assert "Install it in the run's environment" in words(app.caption)
    assert "No mini-batch failed. See above for what ended the run." in words(app.caption)


def test_failures_are_downloaded_as_csv_in_one_click(open_page, ended, get):
    app = open_page(RUNS, run=ended(BAD, error_threshold=-1).id)
    assert "2 × ValueError: three is" in app.warning[0].value.replace("\\", "")
    (link,) = (link for link in app.link_button if link.label == "Failures as CSV")
    status, _, body = get(link.url)
    header, *lines = body.decode().splitlines()
    assert (status, header) == (200, "item,cause,mini_batch,attempt,worker,row_number")
    assert [line.split(",")[0] for line in lines] == ["0002.csv", "0003.csv"]
    assert "three is <b>bad</b>" in lines[0]


def test_the_failed_items_open_in_results(open_page, ended):
    run = ended(BAD, error_threshold=-1)
    app = open_page(RUNS, run=run.id)
    app.button(key=f"failed-in-results-{run.id}").click().run()
    assert not app.exception
    assert list(app.dataframe[0].value["File"]) == ["0002.csv", "0003.csv"]


def test_many_causes_are_named_by_the_first_three_with_their_items(open_page, ended):
    script = """
        def run(mini_batch):
            if mini_batch[0].endswith("0008.csv"): return ["0008.csv: 1", "0009.csv: 1"]
            raise ValueError({"0": "one", "2": "two", "4": "three", "6": "four"}[mini_batch[0][-5]])
    """
    app = open_page(RUNS, run=ended(script, error_threshold=-1).id)
    assert not app.exception
    assert "and 1 more cause" in app.warning[0].value
    assert "for 4 causes" in words(app.markdown)


def test_more_causes_than_are_listed_are_not_counted(open_page, ended):
    script = """
        def run(mini_batch):
            number = int(mini_batch[0][-8:-4])
            if number == 101: return ["0101.csv: 1"]
            raise ValueError("abcdefghij"[number // 100] + "abcdefghij"[number // 10 % 10] + "abcdefghij"[number % 10])
    """
    app = open_page(RUNS, run=ended(script, error_threshold=-1, mini_batch_size="1", files=102).id)
    assert not app.exception
    assert app.warning[0].value.replace("\\", "").endswith("; and more causes")
    assert "101 files failed, for the 100 most frequent causes" in words(app.markdown)


def test_resume_says_what_it_tries_again(open_page, ended, home):
    def help_of_resume(run):
        return next(button.help for button in open_page(RUNS, run=run.id).button if button.label == "Resume")

    run = ended("def run(mini_batch): return [f'{mini_batch[0][-8:]}: 1']", error_threshold=1)
    assert "Mini-batches whose run() failed are tried again." in help_of_resume(run)
    assert "Files that got no row stay failed: Rerun failed only scores them again." in help_of_resume(run)
    Store(home).update_run(run.id, status=RunStatus.RUNNING, ended_at=None, heartbeat_at=utc_now() - timedelta(minutes=2))
    assert "Files that failed stay failed." in help_of_resume(run)


def test_failures_of_a_run_that_keeps_no_rows_have_their_causes_too(open_page, ended, get):
    run = ended(BAD, error_threshold=-1, output_action="summary_only")
    app = open_page(RUNS, run=run.id)
    assert not app.exception
    assert "2 × ValueError: three is" in app.warning[0].value.replace("\\", "")
    assert "Open in Results" not in {button.label for button in app.button}
    assert get(f"downloads/failures.csv?run={run.id}")[2].count(b"three is") == 2
    assert get("downloads/failures.csv?run=nope")[0] == 404


def test_where_no_cause_is_known_that_is_said(open_page, ended, workspace):
    run = ended(BAD, error_threshold=-1)
    for file in (workspace.home / "runs" / run.id).glob("journal.db*"):
        file.unlink()
    app = open_page(RUNS, run=run.id)
    assert not app.exception
    assert "2 files failed. Which ones and why was not reported" in app.warning[0].value.replace("\\", "")
    assert "No failures" not in words(app.caption)


def test_a_short_return_names_the_item_and_points_to_the_log(open_page, ended):
    run = ended("def run(mini_batch): return [f'{mini_batch[0][-8:]}: 1']")
    app = open_page(RUNS, run=run.id)
    causes, items = (table.value for table in app.dataframe)
    assert list(causes["Files"]) == [5]
    assert items["Error"][0].endswith("without a row: 0001.csv")
    app.session_state["attempts"] = True
    attempts = app.run().dataframe[2].value
    assert "0000.csv, 0001.csv" in list(attempts["Files"])
    assert set(attempts["Result"]) == {"counted as failed"}
    assert "under Logs" in words(app.code)


def test_allowed_failures_are_counted_down(open_page, ended):
    app = open_page(RUNS, run=ended(BAD, error_threshold=5).id)
    assert "2 of 5 allowed failures used" in words(app.caption)
    assert "2 files failed" in app.warning[0].value
    assert "three is" in app.warning[0].value
    assert "Failures never stop this run" in words(open_page(RUNS, run=ended(BAD, error_threshold=-1).id).caption)


def test_an_active_run_is_canceled_and_resumed(open_page, workspace, start, finish, tmp_path):
    run = start(WAITS, environment_variables={"GO": str(tmp_path / "go")})
    finish(workspace, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    app = open_page(RUNS, run=run.id)
    assert not app.exception
    assert {"Left", "Time left"} <= figures(app).keys()
    assert "See results so far" in {button.label for button in app.button}
    app.button(key=f"cancel-{run.id}").click().run()
    assert finish(workspace, run.id).status is RunStatus.CANCELED
    app.run()
    assert "Canceled on request" in words(app.info)
    (tmp_path / "go").touch()
    app.button(key=f"resume-{run.id}").click().run()
    assert not app.error
    assert finish(workspace, run.id).items_succeeded == 10


def test_a_run_without_a_runner_is_completed_by_resume(open_page, home, workspace, ended, finish):
    run = ended(GOOD)
    finish(workspace, run.id, until=lambda _: not LocalRunFolder(home, run.id).has_live_runner())
    Store(home).update_run(run.id, status=RunStatus.RUNNING, ended_at=None, heartbeat_at=utc_now() - timedelta(minutes=2))
    app = open_page(RUNS, run=run.id)
    assert "This run has no active runner" in words(app.warning)
    app.button(key=f"resume-{run.id}").click().run()
    assert finish(workspace, run.id).status is RunStatus.COMPLETED


def test_rerun_makes_a_new_run_and_opens_it(open_page, workspace, ended, finish):
    first = ended(GOOD, "again")
    app = open_page(RUNS, run=first.id)
    app.button(key=f"rerun-{first.id}").click().run()
    newest, _ = workspace.runs.latest()
    assert (app.query_params["run"], newest.title) == (newest.id, "again")
    assert newest.id != first.id
    finish(workspace, newest.id)


def test_a_rerun_of_a_renamed_run_has_its_name(workspace, ended, finish):
    first = ended(GOOD, "before")
    workspace.resources.change(ResourceKind.RUN, first.id, name="after")
    assert finish(workspace, workspace.rerun(first.id).id).title == "after"


def test_only_the_end_of_a_huge_log_is_read(open_page, home, ended):
    run = ended(GOOD)
    with open(home / "runs" / run.id / "logs" / "job_error.txt", "wb") as log:
        log.truncate(1 << 30)  # takes no room on the disk
        log.seek(0, 2)
        log.write(b"\n" * 300 + b"the \xff last line\n")
    app = open_page(RUNS, run=run.id, view="Logs", log_view="File by file")
    app.selectbox(key="log").select("logs/job_error.txt").run()
    assert app.code[0].value.endswith("the \\xff last line")
    assert "The last 200 lines of 1.1 GB" in words(app.caption)


def test_output_files_with_undecodable_names_are_listed(open_page, home, workspace, ended, tmp_path):
    run = ended(GOOD)
    try:
        (home / "runs" / run.id / "output" / "odd\udcff.csv").write_text("x")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 only")
    app = open_view(open_page, run, "Output")
    assert not app.exception
    assert "odd\ufffd.csv" in list(app.dataframe[0].value["File"])


def test_activity_shows_charts_the_slowest_and_the_last_rows(open_page, ended):
    app = open_page(RUNS, run=ended(GOOD).id)
    assert not app.exception
    assert [chart.alt for chart in app.get("plotly_chart")][:2] == ["Files a second over time", "What each of 2 workers did over time"]
    (slowest,) = [table.value for table in app.dataframe]
    assert sorted(slowest["Mini-batch"]) == [0, 1, 2, 3, 4]
    assert "Suggested from the slowest call: 1 s" in words(app.caption)
    assert "0009.csv: 1" in words(app.code)


def test_a_run_with_failures_opens_on_these_and_activity_has_their_causes(open_page, ended):
    run = ended(BAD, error_threshold=5)
    assert open_page(RUNS, run=run.id).session_state["first_view"] == {run.id: "Failures"}
    app = open_view(open_page, run, "Activity")
    assert not app.exception
    assert "three is" in app.dataframe[1].value["Cause"][0]
    assert 'role="meter" aria-label="Allowed failures used"' in words(app.get("html"))
    assert 'aria-valuetext="2 of 5"' in words(app.get("html"))


def test_budgets_of_mini_batches_are_bars_too(open_page, ended):
    run = ended(BAD, error_threshold=100_000, allowed_failed_count=3, allowed_failed_percent=50.0)
    app = open_view(open_page, run, "Activity")
    assert not app.exception
    assert "of 100,000" in words(app.get("html"))
    assert "1 of 3 allowed failed mini-batches" in words(app.caption)
    assert "20 % of the mini-batches failed, 50 % are allowed to" in words(app.caption)


def test_a_run_whose_journal_is_gone_says_so_little(open_page, home, ended):
    run = ended(GOOD)
    for file in (home / "runs" / run.id).glob("journal.db*"):
        file.unlink()
    app = open_page(RUNS, run=run.id)
    assert not app.exception
    assert "No worker was started." in words(app.caption)


def test_no_time_is_left_without_a_recent_sign_of_life(open_page, workspace, home, start, finish, tmp_path):
    run = start(WAITS, environment_variables={"GO": str(tmp_path / "go")})
    finish(workspace, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    assert "last sign of life" in words(open_page(RUNS, run=run.id).caption)
    workspace.runs.cancel(run.id)
    finish(workspace, run.id)
    stale = {"status": RunStatus.RUNNING, "ended_at": None, "rate": 5.0, "items_succeeded": 4}
    Store(home).update_run(run.id, **stale, heartbeat_at=utc_now() - timedelta(seconds=20))
    with LocalRunFolder(home, run.id).locked(5):
        app = open_page(RUNS, run=run.id)
    assert figures(app)["Time left"] == "–"
    assert "last sign of life 2" in words(app.caption)


def test_a_mini_batch_in_the_url_opens(open_page, ended):
    run = ended(BAD, error_threshold=-1)
    assert not open_page(RUNS, run=run.id, mini_batch="1").exception
    assert not open_page(RUNS, run=run.id, mini_batch="99").exception
    assert not open_page(RUNS, run=run.id, mini_batch="x'").exception
    assert not open_page(RUNS, run=run.id, mini_batch="9" * 20).exception


def test_a_workers_name_from_a_table_of_azure_ml_is_no_html(monkeypatch):
    figures = []
    monkeypatch.setattr(_run_charts, "color", lambda _: "#123456")
    monkeypatch.setattr(_run_charts._plots, "draw", lambda figure, *_, **__: figures.append(figure))
    attempt = TimedAttempt(0, 0, 1.0, 2.0, 2.0, 0, 1, 1, "RUN_DONE", False, 1, 0, False)
    activity = activity_of(gather_these([attempt]), Workers(), now=None, name=lambda *_: "<a href='http://x'>process000</a>")
    _run_charts.timeline(activity, print)
    assert "&lt;a href" in str(figures[0].to_dict())
    assert "<a" not in str(figures[0].to_dict())


def test_one_mini_batch_shows_its_attempts_and_items(home, ended, monkeypatch):
    monkeypatch.setenv("BATCH_SCORING_HOME", str(home))
    run = ended(BAD, error_threshold=-1)

    def page(run_id, number):
        from pages._run_board import show_mini_batch
        from services.workspaces import chosen_workspace

        show_mini_batch(chosen_workspace().runs.get(run_id), number)

    app = AppTest.from_function(page, args=(run.id, 1), default_timeout=60).run()
    assert not app.exception
    assert "three is \\<b\\>bad" in words(app.error)
    assert "Traceback" in words(app.code)
    assert "0002.csv\n0003.csv" in words(app.code)
    assert {"Exception", "node 0, process000"} <= {str(text.value).replace("process001", "process000") for text in app.text}


def test_the_end_of_a_run_is_told_on_any_page_and_once(open_page, workspace, start, finish, ended, tmp_path):
    ended(GOOD, "before")
    run = start(WAITS, HOSTILE, environment_variables={"GO": str(tmp_path / "go")})
    app = open_page("home.py")
    assert not [button for button in app.button if str(button.key).startswith("open-ended-")]
    (tmp_path / "go").touch()
    finish(workspace, run.id)
    app.run()
    assert not app.exception
    assert [button.label for button in app.button if str(button.key).startswith("open-ended-")] == ["Open run"]
    assert HOSTILE.replace("\n", " ") in words(app.text)
    app.button(key=f"dismiss-{run.id}").click().run()
    assert not [button for button in app.run().button if str(button.key).startswith("open-ended-")]


def test_an_end_that_is_written_late_is_told_too(open_page, home, ended_here):
    early = ended_here(GOOD, "early")
    Store(home).update_run(early.id, ended_at=None)
    app = open_page("home.py")
    later = ended_here(GOOD, "later")
    app.run()
    assert [button.key for button in app.button if str(button.key).startswith("open-ended-")] == [f"open-ended-{later.id}"]
    Store(home).update_run(early.id, ended_at=early.ended_at)  # before the other, and before the page was opened
    app.run()
    assert app.button(key=f"open-ended-{early.id}").label == "Open run"


def test_a_message_leads_to_the_run(open_page, workspace, start, finish, tmp_path):
    run = start(WAITS, environment_variables={"GO": str(tmp_path / "go")})
    app = open_page("home.py")
    (tmp_path / "go").touch()
    finish(workspace, run.id)
    app.run()
    app.button(key=f"open-ended-{run.id}").click().run()
    assert not app.exception
    assert app.query_params["run"] == run.id


def test_an_unknown_run_is_an_error(open_page):
    app = open_page(RUNS, run="<b>nope</b>")
    assert not app.exception
    assert "There is no run" in words(app.error)
    assert "All runs" in {button.label for button in app.button}


@pytest.mark.parametrize("page", [RUNS, "results.py"])
def test_a_link_to_a_run_of_another_workspace_says_which(open_page, home, ended, page):
    def said(run_id):
        return words(open_page(page, run=run_id).error).replace("\\", "")

    run = ended(GOOD)
    Connection("s", "g", "w", SignIn.DEVICE_CODE, sdk="v2").remember(home)  # sends no request before a person signs in
    Store(chosen_workspace().home).insert_run("run-there", RunRequest((), ("d:1",), "s.py"), 1, 1, status=RunStatus.COMPLETED)
    (chosen_workspace().home / "runs" / "run-there").mkdir()
    assert f"Run {run.id} is in another workspace: this machine." in said(run.id)
    choose_workspace(None)
    assert "Run run-there is in another workspace: s / g / w, SDK v2." in said("run-there")
    for hostile in ("../runs", "a" * 300, "é" * 200):
        assert "There is no run" in said(hostile)


@pytest.mark.parametrize("tabular", [False, True])
def test_rerun_failed_only_is_disabled_where_failed_rows_are_unknown(open_page, home, tabular):
    connection = Connection("s", "g", "w", SignIn.DEVICE_CODE)  # sends no request before a person signs in
    connection.remember(home)
    cloud = AzureWorkspace(connection, home, blocking=False)
    columns = ("d", 1, "root", "**", False, 1, 9, "", "", utc_now())
    cloud._cache.datasets.add(TabularDataset(*columns, format="csv", columns=(), row_count=4) if tabular else FileDataset(*columns))
    (cloud.home / "runs" / "run-1").mkdir(parents=True)
    status = {"status": RunStatus.COMPLETED, "items_succeeded": 3, "items_failed": 1}
    Store(cloud.home).insert_run("run-1", RunRequest((), ("d:1",), "/s.py"), 4, 1, **status)
    app = open_page(RUNS, run="run-1")
    assert not app.exception
    button = app.button(key="rerun-failed-run-1")
    assert (button.disabled, "Rerun all of it" in button.help) == (tabular, tabular)
