from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from services import formats


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_200_000, "1.2 MB"),
        (999_960, "1.0 MB"),
        (5 * 10**15, "5,000.0 TB"),
    ],
)
def test_a_size_is_in_steps_of_1000(count, text):
    assert formats.size(count) == text


@pytest.mark.parametrize(("count", "text"), [(512, "512 bytes"), (1024, "1 KB"), (1536 << 20, "1.5 GB")])
def test_a_mini_batch_size_is_in_steps_of_1024(count, text):
    assert formats.mini_batch_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (9.96, "10 s"), (59.9, "59 s"), (185, "3 min 5 s"), (7_800, "2 h 10 min"), (356_400, "4 d 3 h")]
)
def test_a_duration_has_its_two_largest_units(seconds, text):
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.1, 0.2, "up to 1 second"),
        (0.3, 3, "up to 3 seconds"),
        (11.6, 12.4, "about 12 seconds"),
        (38, 190, "between 40 seconds and 3 minutes"),
        (125, 240, "between 2 and 4 minutes"),
        (7_200, 400_000, "between 2 hours and 5 days"),
    ],
)
def test_a_range_of_time_is_said_as_a_person_says_it(low, high, text):
    assert formats.duration_between(low, high) == text


def test_counts_have_their_plural():
    assert [formats.counted(count, "mini-batch") for count in (1, 2_000)] == ["1 mini-batch", "2,000 mini-batches"]
    assert formats.counted(None, "row") == "an unknown number of rows"


def test_ordinals_have_their_ending():
    assert [formats.ordinal(number) for number in (1, 2, 11, 1_003)] == ["1st", "2nd", "11th", "1,003rd"]


def test_moments_are_written_in_utc():
    moment = datetime(2026, 3, 1, 15, 5, 9, 123_456, tzinfo=timezone(timedelta(hours=1)))
    assert (formats.utc(moment), formats.iso(moment)) == ("2026-03-01 14:05:09 UTC", "2026-03-01T14:05:09.123Z")
