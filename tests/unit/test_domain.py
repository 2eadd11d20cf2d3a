"""The nouns, and what a run will do in words."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.domain import Run, RunRequest, RunStatus, parse_reference, utc_now
from services.errors import SettingsError
from services.settings import ParallelRunSettings
from services.storage.mini_batch_plan import MiniBatchPlan, describe


def settings(**values):
    return ParallelRunSettings(**{"process_count_per_node": 2} | values)


def words_for(file_counts, given):
    return describe(MiniBatchPlan.of_files(file_counts, given.units_in_a_mini_batch(tabular=False)), given)


def test_a_run_says_what_it_will_do_in_words():
    words = words_for([912], settings(mini_batch_size=5, node_count=2, error_threshold=10))
    assert words == "912 files in 183 mini-batches of 5, on 4 workers; stops after the 11th failed file"


@pytest.mark.parametrize(
    ("threshold", "ending"),
    [
        (0, "stops after the 1st failed file"),
        (1, "stops after the 2nd failed file"),
        (11, "stops after the 12th failed file"),
        (21, "stops after the 22nd failed file"),
        (-1, "never stops for failed files"),
        (5000, "never stops for failed files: 5,000 may fail, and there are only 1,000"),
    ],
)
def test_the_error_threshold_is_told_as_the_failure_that_stops_the_run(threshold, ending):
    assert words_for([1000], settings(error_threshold=threshold)).endswith("; " + ending)


def test_one_file_is_told_in_the_singular():
    assert words_for([1], settings(process_count_per_node=1)).startswith("1 file in 1 mini-batch, on 1 worker; ")


def test_each_of_several_datasets_is_cut_separately():
    assert words_for([3, 3], settings(mini_batch_size=2)).startswith("6 files in 4 mini-batches of 2")


@pytest.mark.parametrize("text", ["", ":1", "a:", "a:x", "a:-1", "a:1:2", "a:99999999999999999999"])
def test_a_reference_that_is_none_is_refused_at_its_field(text):
    with pytest.raises(SettingsError) as refused:
        parse_reference(text, "model")
    assert refused.value.field == "model"


@pytest.mark.parametrize("arguments", [("positional",), ("--mini_batch_size", "5"), ("--x", "1", "--output=/tmp")])
def test_arguments_that_azure_refuses_are_refused_here(arguments):
    with pytest.raises(SettingsError) as refused:
        RunRequest((), ("d:1",), "/x.py", arguments=arguments)
    assert refused.value.field == "arguments"


def test_partition_keys_and_a_mini_batch_size_exclude_each_other_as_in_the_sdk():
    with pytest.raises(SettingsError) as refused:
        RunRequest((), ("d:1",), "/x.py", settings(partition_keys=["store"], mini_batch_size=5))
    assert refused.value.field == "partition_keys"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--append_row_dataframe_header", "True"), True),
        (("--a", "b", "--append_row_dataframe_header=true"), True),
        (("--append_row_dataframe_header", "False"), False),
        (("--append_row_dataframe_header",), False),
        (("--header", "True"), False),
        ((), False),
    ],
)
def test_the_header_of_dataframes_is_asked_for_by_an_argument(arguments, wanted):
    assert RunRequest((), ("d:1",), "/x.py", arguments=arguments).wants_dataframe_header is wanted


def test_the_time_left_is_told_only_while_it_runs_at_a_known_rate():
    run = Run("r", RunRequest((), ("d:1",), "/x.py"), RunStatus.RUNNING, utc_now(), items_total=100, items_succeeded=40, items_failed=10)
    assert run.seconds_left is None
    assert replace(run, rate=5.0).seconds_left == 10
    assert replace(run, rate=5.0, status=RunStatus.NOT_RESPONDING).seconds_left is None
    assert replace(run, rate=5.0, heartbeat_at=utc_now() - timedelta(seconds=20)).seconds_left is None
    assert replace(run, rate=5.0, heartbeat_at=utc_now()).seconds_left == 10


def test_a_run_that_does_not_respond_stops_growing_older():
    start = utc_now() - timedelta(hours=5)
    run = Run(
        "r", RunRequest((), ("d:1",), "/x.py"), RunStatus.NOT_RESPONDING, start, started_at=start, heartbeat_at=start + timedelta(seconds=9)
    )
    assert run.duration == 9


def test_a_resumed_run_ages_again_only_once_it_is_running():
    start = utc_now() - timedelta(hours=5)
    run = Run("r", RunRequest((), ("d:1",), "/x.py"), RunStatus.QUEUED, start, started_at=start, stopped_at=start + timedelta(seconds=7))
    assert run.duration == 7
    ended = replace(run, status=RunStatus.COMPLETED, stopped_at=None, paused_seconds=60.0, ended_at=start + timedelta(seconds=70))
    assert ended.duration == 10
