"""Partition formats mean what they mean in azureml-core."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import IntakeError, SettingsError
from services.intake.partition_format import PartitionFormat


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("{store}/{brand}/part.csv", "10/acme/part.csv", {"store": "10", "brand": "acme"}),
        ("/{store}/{brand}/part.csv", "10/acme/part.csv", {"store": "10", "brand": "acme"}),
        ("{store}/{brand}/*.csv", "10/acme/deep/er/part.csv", {"store": "10", "brand": "acme"}),
        ("{user}/{season}/{genre}.wav", "u1/winter/disco.wav", {"user": "u1", "season": "winter", "genre": "disco"}),
        ("store={store}/x.csv", "all/store=3/x.csv", {"store": "3"}),
        ("{{{a}}}+(1).csv", "{x}+(1).csv", {"a": "x"}),
        ("{a}/{a}/x", "1/2/x", {"a": "1"}),
        ("{d}/{t:yyyy/MM/dd}/x.csv", "sales/2026/01/31/x.csv", {"d": "sales", "t": "2026-01-31T00:00:00"}),
        ("{t:yyyyMMdd_HHmmss}.csv", "20260131_235959.csv", {"t": "2026-01-31T23:59:59"}),
        ("{t:yyyy}/{d}.csv", "2026/x.csv", {"d": "x", "t": "2026-01-01T00:00:00"}),
        ("{a}/x.csv", "new\nline ü/x.csv", {"a": "new\nline ü"}),
        ("{a}.csv", "a.b.csv", None),
        ("{version}/part.csv", "v1.2/part.csv", None),
        ("data/{version}/part.csv", "data/v1.2/part.csv", None),
        ("{version}/part.csv", "v1\\2/part.csv", None),
        ("{version}/*.csv", "v1.2/new/part.csv", None),
        ("{version}/**", "v1.2/new/part.csv", None),
        ("*{version}/part.csv", "v1.2/part.csv", None),
        ("{version}*.csv", "v1.2/part.csv", None),
        ("{store}/{version}/*.csv", "a/v1.2/b/c/part.csv", None),
        ("{version}/part.csv", "data.v1/7/part.csv", {"version": "7"}),
        ("{t:yyyy/MM/dd}/*.csv", "data.v1/2026/01/31/part.csv", {"t": "2026-01-31T00:00:00"}),
        ("store={store}/x.csv", "all/oldstore=3/x.csv", None),
        ("{t:yyyy}/x.csv", "12026/x.csv", None),
        ("{store}/part.csv", "part.csv", None),
        ("{store}/part.csv", "10/part.csv.gz", None),
        ("{store}/part+csv", "10/partttcsv", None),
        ("{t:yyyyMMdd}.csv", "20260230.csv", None),
    ],
)
def test_the_values_of_a_path(text, path, values):
    found = PartitionFormat.parse(text).values(path)
    assert found == values
    assert found is None or list(found) == list(PartitionFormat.parse(text).keys)


def test_a_path_that_is_not_of_the_format_is_refused_with_the_rule():
    values_of = PartitionFormat.parse("{version}/part.csv").values_of(["version"])
    with pytest.raises(IntakeError) as refused:
        values_of("v1.2/part.csv")
    assert refused.value.message == "The path “v1.2/part.csv” is not of the partition format “{version}/part.csv”."
    assert "a key’s value ends at a dot, slash or backslash" in refused.value.hint


@given(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1))
def test_a_key_for_a_folder_is_that_whole_folders_name_or_none(name):
    found = PartitionFormat.parse("{key}/part.csv").values(f"{name}/part.csv")
    assert found == (None if set(name) & set(".\\") else {"key": name})


@given(st.text(st.characters(exclude_characters="/\\\0", codec="utf-8"), min_size=1), st.sampled_from(["{key}/*.csv", "{key}/**"]))
def test_a_key_is_never_of_a_folder_further_down(name, text):
    found = PartitionFormat.parse(text).values(f"{name}/below/part.csv")
    assert found == (None if "." in name else {"key": name})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("part.csv", "names no key"),
        ("{{a}}", "names no key"),
        ("{a", "has a single {"),
        ("a}", "has a single }"),
        ("{a{b}}", "has a single {"),
        ("{}", "has a key without a name"),
        ("{:yyyy}", "has a key without a name"),
        ("{d:}", "has a date without a year"),
        ("{d:MM/dd}", "has a date without a year"),
        ("{a:yyyy}/{b:yyyy}", "has more than one date"),
        ("{a}/{a:yyyy}", "has the key “a” twice"),
        ("{a:yyyy}/{a}", "has the key “a” twice"),
    ],
)
def test_a_format_that_is_none_is_refused_at_its_field(text, words):
    with pytest.raises(SettingsError, match=words) as refused:
        PartitionFormat.parse(text)
    assert refused.value.field == "partition_format"
