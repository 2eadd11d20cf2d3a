"""The logs of a step on Azure ML, in the shapes that people have put into public issues and that Microsoft's pages show."""

from datetime import UTC, datetime

import pytest

from services.azure.run_history import Details
from services.azure.runs import job_logs
from services.run_logs.search import LogFile, Match, OriginsByTime

HEADER = (
    "2023-02-28T11:11:55.543843 This file shows errors in loading, calling init() and calling run() of the entry script. An error here may "
    'not impact the job result. Please check "job_result.txt" for the result of the job.\n'
)
TRACE = """Traceback (most recent call last):
  File "/mnt/batch/tasks/shared/LS_root/jobs/ws/score.py", line 14, in run
    raise ValueError(f"no such colour: {path}")
ValueError: no such colour: 3.csv"""
CHAINED = """Traceback (most recent call last):
  File "score.py", line 3, in run
    rows[7]
IndexError: list index out of range

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "score.py", line 5, in run
    raise RuntimeError("row 7 is missing") from None
RuntimeError: row 7 is missing"""
EXIT = """Traceback (most recent call last):
  File "driver/amlbi_main.py", line 275, in <module>
    main()
  File "driver/amlbi_main.py", line 226, in main
    sys.exit(exitcode_candidate)
SystemExit: 42"""
MESSAGE = (
    "Execution failed. User process '/azureml-envs/azureml_0/bin/python' exited with status code 42. Please check log file "
    f"'user_logs/std_log_0.txt' for error details. Error: {EXIT}"
)
DETAILS = Details("UserError", MESSAGE)


@pytest.fixture
def logs(tmp_path):
    """`logs({name: text})`: a folder of downloaded logs."""

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "headline"),
    [
        ({"job_error.txt": f"{HEADER}2023-02-28T11:12:03.001 {TRACE}\n"}, "ValueError: no such colour: 3.csv"),
        ({"job_error.20230228111155.txt": HEADER + TRACE}, "ValueError: no such colour: 3.csv"),
        ({"job_error.txt": HEADER + "\n".join(f"2023-02-28 11:12:03,001 {line}" for line in TRACE.splitlines())}, None),
        ({"job_error.txt": HEADER + CHAINED}, "RuntimeError: row 7 is missing"),
        ({"job_error.txt": HEADER, "user/error/10.0.0.4/process000.txt": CHAINED}, "RuntimeError: row 7 is missing"),
        ({"job_error.txt": HEADER, "user/error.txt": TRACE}, "ValueError: no such colour: 3.csv"),
        (
            {
                "job_error.txt": HEADER,
                "user_logs/std_log_0.txt": f"{TRACE.replace('ValueError: no such colour: 3.csv', 'KeyError')}\n{EXIT}\n",
            },
            "KeyError",
        ),
        ({"job_error.txt": HEADER, "user/error/process000.txt": "2023-02-28T11:12:03.001 ValueError: no good\n"}, "ValueError: no good"),
        (
            {
                "azureml-logs/70_driver_log.txt": "2022/02/25 20:09:16 Starting\nTraceback (most recent call last):\n"
                '  File "driver/amlbi_main.py", line 22, in <module>\n    import pkg_resources\n'
                f"ModuleNotFoundError: No module named 'pkg_resources'\n\nstarting to exit\n{EXIT}"
            },
            "ModuleNotFoundError: No module named 'pkg_resources'",
        ),
    ],
)
def test_the_headline_of_a_failed_step_is_its_last_exception(logs, files, headline):
    code, text = job_logs.reason(DETAILS, logs(files))
    assert (code, text.splitlines()[0]) == ("UserError", headline or "ValueError: no such colour: 3.csv")
    assert "This file shows errors" not in text
    assert "2023-02-28" not in text
    assert text.endswith("SystemExit: 42")


def test_the_same_traceback_is_told_once_and_other_ones_beside_it(logs):
    again = "\n".join(f"2023-02-28T11:12:0{second}.5 {trace}" for second, trace in enumerate((TRACE, TRACE, CHAINED, TRACE)))
    folder = logs({"job_error.txt": f"{HEADER}{again}\n"})
    _, text = job_logs.reason(DETAILS, folder)
    assert text.count("in run\n    raise ValueError") == 1
    assert text.count("row 7 is missing") == 3  # the headline, the line of code, the exception


def test_an_exception_of_several_lines_is_kept_whole(logs):
    trace = TRACE.replace("no such colour: 3.csv", "2 things are wrong:\n- the colour\n- the size")
    _, text = job_logs.reason(
        Details(), logs({"job_error.txt": f"{HEADER}2023-02-28T11:12:03.5 {trace}\n2023-02-28T11:12:04.5 {CHAINED}\n"})
    )
    assert "ValueError: 2 things are wrong:\n- the colour\n- the size" in text
    assert text.splitlines()[0] == "RuntimeError: row 7 is missing"


def test_without_a_traceback_the_result_is_told_and_then_the_message(logs):
    result = "2023-02-28T11:12:05.1 The job failed. 3 items failed, which exceeds the error threshold 2."
    _, text = job_logs.reason(DETAILS, logs({"job_error.txt": HEADER, "job_result.txt": result}))
    assert text.splitlines()[0] == "The job failed. 3 items failed, which exceeds the error threshold 2."
    assert text.endswith(f"Azure ML says: {MESSAGE}")
    assert job_logs.reason(Details(), logs({"job_result.txt": ""}))[1].startswith("Azure ML reports that the run failed, without a reason.")


REAL = (
    "Mini-batch Id,Picked Count,Process,Process\tStart Time,Total,Succeeded,Failed,Elapsed Seconds,Process Seconds,Run Method Seconds,"
    "Status,Error Category,Error Message,Mini-batch Detail\n"
    ",N/A,process000,2020-10-24T02:59:04.227237,N/A,N/A,N/A,3.1,2.9,N/A,LOAD_DONE,N/A,N/A,N/A\n"
    "0,1,process000,2020-10-24T02:59:04.227237,3,3,0,0.1,0.1,0.1,RUN_DONE,N/A,N/A,{}\n"
    "1,1,process000,2020-10-24T02:59:05.227237,3,0,3,0.1,0.1,0.1,RUN_EXCEPTION,ValueError,no such colour: 3.csv,{}\n"
    "1,2,process001,2020-10-24T02:59:06.227237,3,0,3,0.1,0.1,0.1,RUN_TIMEOUT,N/A,N/A,{}\n"
    "2,1,process000,2020-10-24T02:59:07.227237,1,0,1,0.1,0.1,0.1,RUN_DONE,N/A,N/A,{}\n"
)
EARLIER = (
    "mini_batch_id,picked_count,process,start,total,succeeded,failed,status,error_category,error_message\n"
    "0,1,p,,3,3,0,RUN_DONE,,\n1,1,p,,3,0,3,RUN_EXCEPTION,ValueError,no such colour: 3.csv\n"
    "1,2,q,,3,0,3,RUN_TIMEOUT,,\n2,1,p,,1,0,1,RUN_DONE,,\n"
)


@pytest.mark.parametrize("table", [REAL, EARLIER, EARLIER.upper().replace("NO SUCH COLOUR: 3.CSV", "no such colour: 3.csv")])
def test_attempts_are_read_whatever_the_spelling_of_the_columns(logs, table):
    folder = logs({"sys/job_report/processed_mini-batches.csv": table, "job_error.txt": f"{HEADER}2023-02-28T11:12:03.5 {TRACE}\n"})
    failures = job_logs.failed_attempts(folder, 100)
    assert [(one.mini_batch, one.attempt, one.status, one.items_failed, one.final) for one in failures] == [
        (2, 1, "RUN_DONE", 1, True),
        (1, 2, "RUN_TIMEOUT", 3, True),
        (1, 1, "RUN_EXCEPTION", 3, False),
    ]
    headline, *trace = failures[-1].error.splitlines()
    assert headline.casefold() == "valueerror: no such colour: 3.csv (score.py, line 14)"
    assert "\n".join(trace) == TRACE
    assert [one.mini_batch for one in job_logs.failed_attempts(folder, 1)] == [2]


@pytest.mark.parametrize("table", ["", "Colour,Size\nred,3\n", "Mini-batch Id\n\n", "Mini-batch Id,Status\nx,RUN_EXCEPTION\n"])
def test_a_table_of_attempts_that_tells_nothing_has_none(logs, table):
    assert job_logs.failed_attempts(logs({"sys/job_report/processed_mini-batches.csv": table}), 10) == []


def test_progress_is_the_last_line_of_the_last_overview(logs):
    early = (
        "2023-05-16T10:00:00.5 Scheduling finished. Scheduled 276 mini batches in 22 seconds.\n"
        "2023-05-16T10:00:01.5 No task has been processed yet.\n"
    )
    folder = logs({"job_progress_overview.2023051610.txt": early})
    assert job_logs.mini_batches_done(folder) is None
    late = "2023-05-16T22:20:53.233813 Processed 4117 of 20000 mini batches in 5:02:14. Estimated remaining time 19:25:59.\n"
    logs({"job_progress_overview.2023051622.txt": late, "job_progress_overview.2023051611.txt": late.replace("4117", "12")})
    assert job_logs.mini_batches_done(folder) == (4117, 20000)


def test_a_line_with_a_time_is_of_the_attempt_that_its_process_was_at(logs):
    header = "Mini-batch Id,Process,Start Time,Total,Succeeded,Failed,Elapsed Seconds,Status\n"
    rows = [
        "0,process000,2026-03-01T12:00:00.000000,1,1,0,1.5,RUN_DONE",
        "1,process000,2026-03-01T12:00:02.000000,1,1,0,1.0,RUN_DONE",
        "2,process001,2026-03-01T12:00:00.500000,1,1,0,1.0,RUN_DONE",
        "3,process001,2026-03-01T12:00:01.000000,1,1,0,1.0,RUN_DONE",  # of another node
    ]
    folder = logs({"sys/job_report/processed_mini-batches.csv": header + "\n".join(rows)})
    begun = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()

    def of(process, *seconds):
        log = LogFile(f"logs/user/stderr/0/{process}.stderr.txt", folder, f"node 0, {process}", UTC)
        found = OriginsByTime(job_logs.spans(folder)).of(log, [Match(0, "", begun + at, "") for at in seconds])
        return [(origin.mini_batch, origin.inferred) for origin in found]

    assert of("process000", 1.0, 1.7, 2.5) == [(0, True), (None, False), (1, True)]
    assert of("process001", 0.7, 1.2, 1.8) == [(2, True), (None, False), (3, True)]
    assert OriginsByTime(job_logs.spans(folder / "none")).of(LogFile("logs/x", folder, ""), [Match(0, "", begun, "")])[0].mini_batch is None


@pytest.mark.parametrize(
    ("log", "headline"),
    [
        (
            "2026-11-30T10:00:09: \x1b[91mERROR: No matching distribution found for a==99\n\x1b[0mThe command '/bin/sh' returned 1\n",
            "ERROR: No",
        ),
        ("#12 ERROR\nOSError: no space left on device\nfailed to build\n", "OSError: no space left on device"),
        ("Step 1/2\nSuccessfully built\n", "Azure ML says: Image build failed."),
    ],
)
def test_the_headline_of_a_failed_build_of_an_image_is_its_last_error(tmp_path, log, headline):
    (tmp_path / "azureml-logs").mkdir()
    (tmp_path / "azureml-logs" / "20_image_build_log.txt").write_text(log)
    assert job_logs.reason(Details(message="Image build failed."), tmp_path)[1].startswith(headline)
