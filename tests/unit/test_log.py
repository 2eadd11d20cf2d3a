"""The program's own log: nothing secret in it, and never a reason to fail."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from services import environment_variables, log

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"


@pytest.fixture(autouse=True)
def unchanged():
    """The loggers as they were."""
    loggers = [logging.getLogger(name) for name in (None, *log._OURS)]
    before = [(each, each.level, [*each.handlers]) for each in loggers]
    yield
    log._hidden.clear()
    for each, level, handlers in before:
        each.setLevel(level)
        each.handlers[:] = handlers


@pytest.fixture
def dashboard_log(tmp_path):
    log.to_dashboard_file(tmp_path)
    return tmp_path / "logs" / "dashboard.log"


logger = logging.getLogger("services.test")


@pytest.mark.parametrize(
    "text",
    [
        "GET https://a.blob.core.windows.net/c/x.csv?sv=2020&sig={}&se=2026",
        "Authorization: Bearer {}",
        "{{'Authorization': 'Bearer {}', 'Accept': '*/*'}}",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};EndpointSuffix=core.windows.net",
        "client_id=1&client_secret={}&scope=x",
        '{{"access_token": "{}", "expires_in": 3599}}',
        "refresh_token={}",
        "AZURE_CLIENT_SECRET={}",
        "password: {}",
        "db_password='{}'",
        "postgres://anna:{}@host/db",
        "Authorization: SharedKey {}",
        "Authorization: Token {}",
        "Command '['python', '--api-key', '{}', '--n', '1']' timed out",
        "python --db-password {} --n 1",
        "https://proxy/?to=https%3A%2F%2Fa.blob%2Fx%3Fsig%3D{}",
        r'"body": "{{\"client_secret\": \"{}\"}}"',
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_not_logged(text):
    secret = "Zm9vYmFy/K8xk+s3cret=="
    assert secret not in log.redacted(text.format(secret))
    assert "***" in log.redacted(text.format(secret))


def test_what_stands_before_a_host_is_not_logged():
    assert log.redacted("postgres://anna:pass@word@host/db") == "postgres://anna:***@host/db"
    assert log.redacted("https://ghp_token123@host/x") == "https://***@host/x"


def test_a_token_is_not_logged_wherever_it_stands():
    assert log.redacted(f"got {JWT} from there") == "got *** from there"


@pytest.mark.parametrize(
    "text",
    [
        "AssertionError: the design: 4 signals, assigned",
        "CredentialUnavailableError: Please run 'az login' to set up an account",
        "Set AZURE_CLIENT_SECRET instead.",
        "Worker 0/process000 is replaced: RUN_TIMEOUT at mini-batch 3",
        "https://a.blob.core.windows.net/c/x.csv",
    ],
)
def test_what_is_no_secret_stays(text):
    assert log.redacted(text) == text


def test_a_hidden_value_is_not_logged_and_a_short_one_hides_nothing():
    log.hide("correct horse", "1")
    assert log.redacted("run 1 said correct horse") == "run 1 said ***"


@pytest.mark.parametrize("write", [str, repr, json.dumps, quote, quote_plus])
def test_a_hidden_value_is_not_logged_in_any_spelling(write):
    secret = 'it\'s "a\\b" & ü/1'
    log.hide(secret)
    assert log.redacted(f"is {write(secret)}").strip("\"'") in ("is ***", "is '***", 'is "***')


@pytest.mark.parametrize("before", range(9_950, 10_000, 7))
def test_a_secret_where_a_long_record_is_cut_is_not_logged_in_part(dashboard_log, before):
    log.hide("correct horse battery")
    logger.info("%s?sig=%s %s", "x" * before, "Q" * 2_000, "y" * 9_000)
    logger.info("%s correct horse battery %s", "x" * before, "y" * 9_950)
    assert not {"Q", "corr", "tery"} & set(re.findall("Q|corr|tery", dashboard_log.read_text()))


def test_secrets_in_the_environment_are_not_logged(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_TOKEN", "abcdef-123456")
    log.to_dashboard_file(tmp_path)
    logger.error("it said abcdef-123456")
    assert "it said ***" in (tmp_path / "logs" / "dashboard.log").read_text()


@pytest.mark.parametrize(
    "name", ["MY_PAT", "azure_devops_ext_pat", "BLOB_SAS", "DB_PASS", "PGPASSWORD", "STORAGE_ACCOUNT_KEY", "OPENAI_APIKEY"]
)
def test_a_variable_named_like_a_credential_is_one(name):
    assert environment_variables.is_secret(name)


@pytest.mark.parametrize("name", ["PATH", "PWD", "OLDPWD", "COMPASS", "PATTERN", "SORT_KEY", "KEYBOARD", "PASSENGERS", "SASL"])
def test_a_variable_with_another_name_is_none(name):
    assert not environment_variables.is_secret(name)


def test_a_record_has_its_traceback_and_no_text_looks_like_a_record(dashboard_log):
    try:
        raise ValueError("bad\n2026-01-01 00:00:00.000Z ERROR [1] services: forged")
    except ValueError:
        logger.exception("It failed")
    lines = dashboard_log.read_text().splitlines()
    assert lines[0].endswith("It failed")
    assert all(line.startswith("  ") for line in lines[1:])
    assert any("test_log.py" in line for line in lines)


def test_a_long_record_is_cut_in_the_middle(dashboard_log):
    logger.error("begin%send", "x" * 1_000_000)
    assert dashboard_log.stat().st_size < 30_000
    assert "begin" in (text := dashboard_log.read_text())
    assert text.endswith("end\n")


def test_the_log_rotates_at_its_size_and_keeps_so_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "MAX_BYTES", 2_000)
    monkeypatch.setattr(log, "BACKUP_COUNT", 2)
    log.to_dashboard_file(tmp_path)
    for number in range(25):
        logger.error("%d %s", number, "x" * 200)
    files = sorted(path.name for path in (tmp_path / "logs").glob("dashboard.log*"))
    assert files == ["dashboard.log", "dashboard.log.1", "dashboard.log.2"]
    assert all((tmp_path / "logs" / name).stat().st_size <= 2_000 for name in files)
    assert " 24 xxx" in (tmp_path / "logs" / "dashboard.log").read_text()


def test_a_flood_from_one_line_is_cut(dashboard_log, caplog):
    for number in range(100):
        logger.error("flood %d", number)
    logger.error("something else")
    lines = dashboard_log.read_text().splitlines()
    assert len(lines) == log._MOST_A_MINUTE + 1
    assert lines[-2].endswith("flood 29 (more of these within a minute are left out)")
    assert caplog.messages == [*(f"flood {number}" for number in range(100)), "something else"]


@pytest.mark.parametrize(("level", "lines"), [("", 3), ("DEBUG", 4), ("info", 3), ("ERROR", 1)])
def test_the_level_is_that_of_the_environment(tmp_path, monkeypatch, level, lines):
    monkeypatch.setenv("BATCH_SCORING_LOG_LEVEL", level)
    log.to_dashboard_file(tmp_path)
    logger.debug("debug")
    logger.info("info")
    logger.warning("warning")
    logger.error("error")
    assert len((tmp_path / "logs" / "dashboard.log").read_text().splitlines()) == lines


def test_a_level_that_does_not_exist_is_said_and_info_used(tmp_path, monkeypatch):
    monkeypatch.setenv("BATCH_SCORING_LOG_LEVEL", "loud")
    log.to_dashboard_file(tmp_path)
    logger.info("info")
    first, second = (tmp_path / "logs" / "dashboard.log").read_text().splitlines()
    assert "BATCH_SCORING_LOG_LEVEL is “LOUD”" in first
    assert second.endswith("info")


def test_other_libraries_are_heard_from_warnings_up(dashboard_log):
    logging.getLogger("azureml.core").info("chatter")
    logging.getLogger("azureml.core").warning("a warning")
    assert [line.rpartition(": ")[2] for line in dashboard_log.read_text().splitlines()] == ["a warning"]


def test_a_log_that_can_not_be_written_is_no_error(tmp_path, capfd):
    (tmp_path / "logs").write_text("a file where the folder should be")
    log.to_dashboard_file(tmp_path)
    logger.error("lost")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
def test_a_full_disk_is_no_error(tmp_path, capfd):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "dashboard.log").symlink_to("/dev/full")
    log.to_dashboard_file(tmp_path)
    logger.error("lost")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.name != "posix", reason="there is no limit on the size of a file")
def test_a_record_that_did_not_fit_leaves_no_half_line(dashboard_log):
    import resource

    logger.error("first")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (dashboard_log.stat().st_size + 100, hard))
    try:
        logger.error("lost " * 2_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    logger.error("second")
    assert [line.rpartition(" ")[2] for line in dashboard_log.read_text().splitlines()] == ["first", "second"]


WRITE = """
import logging, sys
from pathlib import Path
from urllib.parse import quote, quote_plus
from services import log
log.MAX_BYTES, log.BACKUP_COUNT, log._MOST_A_MINUTE = 5_000, 100, 10_000
log.to_dashboard_file(Path(sys.argv[1]))
for number in range(200):
    logging.getLogger("services").error("%s-%d.", sys.argv[2], number)
"""


def test_several_processes_write_one_log_and_lose_nothing(tmp_path):
    project = Path(__file__).parents[2]
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path), name], cwd=project) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    text = "".join(path.read_text() for path in (tmp_path / "logs").glob("dashboard.log*"))
    assert [text.count(f"{name}-{number}.") for name in "abc" for number in range(200)] == [1] * 600


STARTED = "2026-11-29 09:06:41.363Z INFO [7815] services.storage.run_process: Starting a runner\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ""),
        (STARTED, ""),
        (STARTED + "Traceback (most recent call last):\n  File x\nImportError: no module\n", "ImportError: no module"),
        (STARTED.replace("INFO", "ERROR").replace("Starting a runner", "No room") + "  Traceback\n  OSError: 28\n", "No room"),
        (STARTED.replace("INFO", "ERROR") + STARTED, ""),
        (STARTED + "Fatal Python error: Segmentation fault\n\n", "Fatal Python error: Segmentation fault"),
    ],
)
def test_the_last_error_of_a_log_says_why_its_process_is_gone(text, error):
    assert log.last_error(text) == error


@pytest.mark.parametrize(("text", "number"), [("", None), ("3", 3), ("0", None), ("-1", None), ("two", None)])
def test_a_number_in_the_environment_is_read_or_its_default_used(monkeypatch, caplog, text, number):
    environment_variables._warn_once.cache_clear()
    monkeypatch.setenv("BATCH_SCORING_RUNS_AT_ONCE", text)
    assert environment_variables.number("BATCH_SCORING_RUNS_AT_ONCE") == number
    assert ("BATCH_SCORING_RUNS_AT_ONCE is" in caplog.text) is bool(text and number is None)


def test_a_variable_that_is_not_in_the_table_can_not_be_read():
    with pytest.raises(KeyError):
        environment_variables.value("HOME_OF_NOBODY")
    assert environment_variables.value("BATCH_SCORING_HOME") == os.environ.get("BATCH_SCORING_HOME", "")


def test_what_is_suppressed_is_logged_with_its_place(dashboard_log):
    with log.suppress(logger, "The list can't be kept", OSError):
        raise OSError(28, "No space left on device")
    text = dashboard_log.read_text()
    assert "WARNING" in text.splitlines()[0]
    assert "services.test: The list can't be kept: [Errno 28] No space left on device" in text
    assert "test_what_is_suppressed_is_logged_with_its_place" in text
    with pytest.raises(ValueError, match="another"), log.suppress(logger, "No", OSError):
        raise ValueError("another")
