"""What a run costs, by given numbers: no clock, no process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scoring.run_cost import Call, Cost, Machine, Measured, Whole, estimate, fit_cost, round_to_digit, suggestions
from services.settings import ParallelRunSettings

TWO_CORES = Machine(2, 4_000_000_000)
QUIET = Measured(start_seconds=1.0, cpu_share=1.0, memory=100_000_000)


def calls(per_call, per_item, sizes=(1, 1, 4, 16, 64, 256), errors=()):
    factors = [1 + error for error in errors] or [1.0] * len(sizes)
    return [Call(size, (per_call + size * per_item) * factor) for size, factor in zip(sizes, factors, strict=True)]


def whole(items=10_000, size=10, workers=2, **more):
    settings = ParallelRunSettings(process_count_per_node=workers, mini_batch_size=size, **more.pop("settings", {}))
    return Whole(more.pop("item", "file"), items, more.pop("mini_batches", -(-items // size)), settings, **more)


def by_setting(found):
    return {suggestion.setting: suggestion for suggestion in found}


@given(st.floats(1e-5, 10), st.floats(1e-7, 1))
def test_a_linear_cost_is_recovered_from_its_calls(per_call, per_item):
    cost = fit_cost(calls(per_call, per_item))
    assert cost.per_call == pytest.approx(per_call, rel=1e-3, abs=per_item / 100)
    assert cost.per_item == pytest.approx(per_item, rel=1e-3, abs=per_call / 100)
    assert cost.doubt == pytest.approx(0.1)


def test_noise_makes_the_range_wider_and_keeps_the_cost_near():
    cost = fit_cost(calls(0.01, 0.001, errors=(0.2, -0.15, 0.1, -0.1, 0.15, -0.05)))
    assert cost.per_call == pytest.approx(0.01, rel=0.25)
    assert cost.per_item == pytest.approx(0.001, rel=0.25)
    assert 0.1 < cost.doubt < 0.4
    low, high = cost.seconds_between(100)
    assert low < 0.11 < high


def test_items_that_differ_a_lot_are_averaged_by_the_larger_calls():
    of_one = [Call(1, seconds) for seconds in (0.001, 0.001, 0.05, 0.001)]
    cost = fit_cost([*of_one, Call(4, 0.1), Call(16, 0.25), Call(64, 1.15), Call(256, 4.3)])
    assert cost.per_item == pytest.approx(0.017, rel=0.15)
    assert cost.seconds_between(1000)[0] < 17 < cost.seconds_between(1000)[1]


@pytest.mark.parametrize(("line", "per_call", "per_item"), [([(1, 0.1), (100, 10.0)], 0.0, 0.1), ([(1, 0.1), (100, 0.09)], 0.0951, 0.0)])
def test_no_part_of_a_cost_is_negative(line, per_call, per_item):
    cost = fit_cost([Call(*call) for call in (*line, *line)])
    assert (cost.per_call, cost.per_item) == (pytest.approx(per_call, rel=0.06, abs=1e-6), pytest.approx(per_item, abs=1e-6))


def test_of_one_size_it_is_not_known_what_is_fixed():
    cost = fit_cost([Call(5, 1.0), Call(5, 1.0)])
    assert cost.per_call is None
    low, high = cost.seconds_between(50)
    assert low <= 1.0
    assert high >= 10.0
    found = estimate(cost, QUIET, whole(items=1_000, size=50), TWO_CORES)
    assert "isn't known" in found.why[0]


def test_without_a_call_nothing_is_known():
    assert fit_cost([]) is None


def test_the_range_holds_what_perfect_and_no_sharing_of_the_work_take():
    cost = Cost(0.01, 0.001, 100, 0.1)  # 1,000 mini-batches of 10: 20 s of work
    found = estimate(cost, QUIET, whole(), TWO_CORES)
    assert 8 < found.seconds_low < 11
    assert 15 < found.seconds_high < 25
    assert found.describe() == "between 10 and 18 seconds for 10,000 files"


def test_a_script_that_waits_is_faster_with_more_workers_than_cores():
    cost = Cost(0.01, 0.001, 100, 0.1)
    computing, waiting = (Measured(1.0, cpu_share=share) for share in (1.0, 0.05))
    many = whole(workers=16)
    assert estimate(cost, waiting, many, TWO_CORES).seconds_low < estimate(cost, computing, many, TWO_CORES).seconds_low / 3


def test_mini_batches_fewer_than_workers_leave_some_without_work():
    cost = Cost(0.0, 1.0, 100, 0.1)
    one, two = (estimate(cost, QUIET, whole(items=100, size=size, workers=2), TWO_CORES) for size in (100, 50))
    assert one.workers == 1
    assert one.seconds_low > 1.5 * two.seconds_low
    size = by_setting(suggestions(cost, QUIET, whole(items=100, size=100, workers=2), TWO_CORES))["mini_batch_size"]
    assert int(size.value) <= 25
    assert "2 workers" in size.why
    assert "nothing to do" in size.why


def test_a_small_run_is_not_cut_into_mini_batches_that_are_all_overhead():
    small = Whole("row", 300, 1, ParallelRunSettings(process_count_per_node=2), bytes_per_item=10.0)
    assert suggestions(Cost(0.05, 4e-5, 300, 0.1), QUIET, small, TWO_CORES) == []


def test_a_mini_batch_is_suggested_whose_fixed_part_is_a_tenth():
    cost = Cost(0.02, 0.001, 100, 0.1)  # 180 items make the fixed part a tenth
    size = by_setting(suggestions(cost, QUIET, whole(), TWO_CORES))["mini_batch_size"]
    assert size.value == "200"
    assert size.why == (
        "A call of run() takes 20 ms and 1 ms more for each file: with 10 files in a mini-batch 67% of the time is overhead,"
        " with 200 it is 9%."
    )
    assert "mini_batch_size" not in by_setting(suggestions(cost, QUIET, whole(size=200), TWO_CORES))


def test_every_worker_keeps_its_share_of_the_mini_batches():
    size = by_setting(suggestions(Cost(1.0, 0.001, 100, 0.1), QUIET, whole(items=400), TWO_CORES))["mini_batch_size"]
    assert int(size.value) <= 400 / 2 / 4


def test_a_size_in_bytes_is_suggested_for_rows():
    table = Whole("row", 2_000_000, 200, ParallelRunSettings(process_count_per_node=2), bytes_per_item=100.0)
    size = by_setting(suggestions(Cost(0.5, 1e-5, 10_000, 0.1), QUIET, table, TWO_CORES))["mini_batch_size"]
    assert size.value == "16MB"


def test_what_can_not_be_cut_gets_no_smaller_size():
    one_group = Whole("row", 300_000, 1, ParallelRunSettings(process_count_per_node=2), 10.0, can_be_cut=False, most_items=300_000)
    assert suggestions(Cost(0.0, 1e-5, 1000, 0.1), QUIET, one_group, TWO_CORES) == []


def test_workers_beyond_the_cores_are_said_and_fewer_suggested():
    workers = by_setting(suggestions(Cost(0.0, 0.1, 10, 0.1), QUIET, whole(workers=8), TWO_CORES))["process_count_per_node"]
    assert workers.value == "2"
    assert workers.why == "8 workers for 2 cores, and each keeps a core busy: more only wait for each other."


def test_a_little_more_than_a_core_each_is_one_core_each():
    for share, workers in ((1.3, None), (2.0, "1")):
        measured = Measured(1.0, cpu_share=share)
        found = by_setting(suggestions(Cost(0.0, 0.1, 10, 0.1), measured, whole(workers=2), TWO_CORES)).get("process_count_per_node")
        assert (found and found.value) == workers
    assert suggestions(Cost(0.0, 0.1, 10, 0.1), Measured(1.0, cpu_share=2.0, busy=True), whole(workers=2), TWO_CORES) == []


def test_workers_that_do_not_fit_into_the_memory_are_fewer():
    hungry = Measured(1.0, cpu_share=1.0, memory=3_000_000_000)
    workers = by_setting(suggestions(Cost(0.0, 0.1, 10, 0.1), hungry, whole(workers=2), TWO_CORES))["process_count_per_node"]
    assert workers.value == "1"
    assert "6.0 GB" not in workers.why
    assert "3.0 GB of memory" in workers.why


def test_more_workers_are_suggested_where_cores_are_idle():
    workers = by_setting(suggestions(Cost(0.0, 0.1, 10, 0.1), QUIET, whole(workers=1), Machine(8, None)))["process_count_per_node"]
    assert workers.value == "8"
    waiting = Measured(1.0, cpu_share=0.1)
    workers = by_setting(suggestions(Cost(0.0, 0.1, 10, 0.1), waiting, whole(workers=2), TWO_CORES))["process_count_per_node"]
    assert workers.value == "16"


def test_a_timeout_below_the_slowest_mini_batch_is_said():
    slow = Measured(1.0, calls=[Call(4, 20.0)], cpu_share=1.0)
    timeout = by_setting(suggestions(Cost(0.0, 4.0, 4, 0.1), slow, whole(size=20), TWO_CORES))["run_invocation_timeout"]
    assert int(timeout.value) >= 300
    assert "the timeout is 60 s" in timeout.why
    assert "run_invocation_timeout" not in by_setting(suggestions(Cost(0.0, 0.1, 4, 0.1), QUIET, whole(size=20), TWO_CORES))


def test_after_a_timeout_a_longer_one_is_suggested():
    timeout = by_setting(suggestions(None, Measured(1.0, timed_out=1), whole(), TWO_CORES))["run_invocation_timeout"]
    assert timeout.value == "500"
    assert "did not end within 60 s" in timeout.why


def test_partition_keys_leave_the_size_alone():
    settings = ParallelRunSettings(process_count_per_node=2, partition_keys=("day",))
    by_keys = Whole("file", 10_000, 1_000, settings)
    assert "mini_batch_size" not in by_setting(suggestions(Cost(0.02, 0.001, 100, 0.1), QUIET, by_keys, TWO_CORES))


@given(st.floats(0, 100), st.floats(0, 10), st.integers(1, 10**7), st.integers(1, 10**5), st.integers(1, 64), st.floats(0, 4) | st.none())
def test_every_range_has_two_ends_and_every_suggestion_can_be_set(per_call, per_item, items, size, workers, share):
    run = whole(items=items, size=size, workers=workers)
    measured = Measured(1.0, calls=[Call(3, per_call + 3 * per_item)], cpu_share=share, memory=10**8, memory_per_item=10.0)
    cost = Cost(per_call, per_item, size, 0.3)
    found = estimate(cost, measured, run, TWO_CORES)
    assert 0 < found.seconds_low <= found.seconds_high
    for suggestion in suggestions(cost, measured, run, TWO_CORES):
        ParallelRunSettings.from_dict({suggestion.setting: suggestion.value})
        assert suggestion.why.endswith(".")


@pytest.mark.parametrize(
    ("value", "down", "up"), [(0.3, 1, 1), (1, 1, 1), (3, 2, 5), (44, 20, 50), (1_000, 1_000, 1_000), (7_000, 5_000, 10_000)]
)
def test_suggested_numbers_are_what_a_person_types(value, down, up):
    assert (round_to_digit(value, up=False), round_to_digit(value, up=True)) == (down, up)
