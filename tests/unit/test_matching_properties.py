"""Whatever rows a script returns, each comes back at the file it is of or at none, never at another.

Rows are made as the worker makes them, of what a script may return: texts, JSON, printed dicts, tuples, DataFrames with the name in any
column or in the index; in any order, short or long, with other files' names beside their own.
"""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

import services.local
from services.predictions.columns import WAYS_OF_MATCHING, MatchedBy, Status
from services.predictions.evidence import extension
from services.predictions.matching import ReadRows, ScoredMiniBatch, read_in_parts, read_rows

pytestmark = pytest.mark.slow  # thousands of mini-batches are read

with pytest.MonkeyPatch.context() as as_in_a_run:  # there its neighbours are beside it
    as_in_a_run.syspath_prepend(Path(services.local.__file__).parent)
    worker = importlib.import_module("worker")

ROOT = "/data/some folder"
STEMS = st.sampled_from(
    ["a", "b", "c", "cat", "dog", "7", "0.5", "a b", "a: b", "it's", 'say "x"', "ä", "=1+1", "x,y", "{a", "[b]", "-n", "a.b"]
)
NAMES = st.tuples(STEMS, st.sampled_from([".png", ".png", ".csv", ""])).map("".join)
ITEMS = st.lists(st.tuples(st.sampled_from(["", "x/", "y/", "x/y z/"]), NAMES).map("".join), min_size=1, max_size=6, unique=True)
CLASSES = st.sampled_from(["cat", "dog", "a", "hot dog", "", "None"])
VALUES = st.one_of(CLASSES, st.floats(allow_nan=False).map(str), st.integers().map(str), st.text(max_size=8))
FILE_KEYS = st.sampled_from(["file", "Path", "image", "filename", "source_file", "name", "img_path"])
OTHER_KEYS = st.sampled_from(["id", "of", "x", "key", "0"])


@dataclass(frozen=True)
class Returned:
    """A mini-batch of which it is known whose each row is: `owners` has the place of its item."""

    mini_batch: ScoredMiniBatch
    owners: Sequence[int]


def scored(items: Sequence[str], result: Any) -> ScoredMiniBatch:
    """As the worker sends it and the journal keeps it."""
    encoded, ends, _, columns = worker.as_rows(result)
    places = [int.from_bytes(ends[at : at + 8], "little") for at in range(0, len(ends), 8)]
    rows = [encoded[begin : end - 1].decode("utf-8", "surrogateescape") for begin, end in zip([0, *places], places, strict=False)]
    index = worker._texts_of_index(result.index) if columns is not None else ()
    told = json.dumps(columns) if columns is not None else ""
    return ScoredMiniBatch(0, items, ROOT, rows, "", 1, 0.1, "", columns=told, frame_index=index)


@st.composite
def orders(draw: st.DrawFn, count: int) -> list[int]:
    """Of which item each row is: all once, in whatever order, or some, or some several times."""
    places = draw(st.permutations(range(count)))
    kind = draw(st.sampled_from(["in order", "in another order", "short", "several"]))
    event(kind)
    if kind == "in order":
        return sorted(places)
    if kind == "in another order":
        return list(places)
    if kind == "short":
        return places[: draw(st.integers(1, count))]
    return draw(st.lists(st.sampled_from(places), min_size=1, max_size=2 * count))


def row_with_a_name(shape: str, key: str, name: str, value: str, other: str) -> object:
    """One returned item that names its file once, in the same place in every row; `other` is any file's name or nothing of the kind."""
    match shape:
        case "text first":
            return f"{name}: {value}"
        case "text first, then another name":
            return f"{name}: {other}"
        case "json first":
            return json.dumps({key: name, "p": value})
        case "json last":
            return json.dumps({"p": value, "q": [1, None], key: name}, ensure_ascii=False)
        case "json nested":
            return json.dumps({"p": value, "meta": [{"n": 1, key: name}]})
        case "json beside another name":
            return json.dumps({"nearest": other, key: name})
        case "dict":
            return {"p": value, key: name}
        case "dict of a path":
            return {key: PurePosixPath(name), "p": value, "q": (1, value)}
        case "dict nested":
            return {7: {"p": value, key: name}, "q": value}
        case "tuple":
            return (0.5, name, value)
        case "list":
            return [value, (name,), 0.5]
        case "key":
            return {name: value}
    raise AssertionError(shape)


BY_KEY = ["json first", "json last", "json nested", "json beside another name", "dict", "dict of a path", "dict nested"]
BY_PLACE = ["tuple", "list", "key"]
TEXTS = ["text first", "text first, then another name"]


def spelled(item: str, how: str) -> str:
    return {"base": item.rpartition("/")[2], "relative": item, "absolute": f"{ROOT}/{item}"}[how]


@st.composite
def named(draw: st.DrawFn) -> Returned:
    """Rows that all name their file in one place. Names without an extension only where they count: under a key called like a file, or at
    the beginning of a text."""
    items = draw(ITEMS)
    owners = draw(orders(len(items)))
    how = draw(st.sampled_from(["base", "relative", "absolute"]))
    names = [spelled(items[owner], how) for owner in owners]
    plain = all(extension(item) for item in items)
    shape = draw(st.sampled_from([*TEXTS, *BY_KEY, *(BY_PLACE if plain else [])]))
    event(shape)
    key = draw(OTHER_KEYS if plain and shape != "json beside another name" else FILE_KEYS)
    values = draw(st.lists(VALUES, min_size=len(owners), max_size=len(owners)))
    others = draw(
        st.lists(st.sampled_from([spelled(item, how) for item in [*items, "z/elsewhere.png"]]), min_size=len(owners), max_size=len(owners))
    )
    rows = [row_with_a_name(shape, key, name, value, other) for name, value, other in zip(names, values, others, strict=True)]
    return Returned(scored(items, rows), owners)


@st.composite
def frames(draw: st.DrawFn) -> Returned:
    """The same as a DataFrame, the names in any of its columns or in its index."""
    items = draw(ITEMS)
    owners = draw(orders(len(items)))
    how = draw(st.sampled_from(["base", "relative", "absolute"]))
    names = [spelled(items[owner], how) for owner in owners]
    plain = all(extension(item) for item in items)
    key = draw(st.one_of(OTHER_KEYS, FILE_KEYS) if plain else FILE_KEYS)
    values = {
        "score": draw(st.lists(st.floats(allow_nan=False), min_size=len(owners), max_size=len(owners))),
        "label": draw(st.lists(VALUES, min_size=len(owners), max_size=len(owners))),
    }
    where = draw(st.sampled_from(["first", "between", "last", "index", "level of the index"]))
    event(where)
    match where:
        case "first":
            return Returned(scored(items, pandas.DataFrame({key: names} | values)), owners)
        case "between":
            return Returned(scored(items, pandas.DataFrame({"score": values["score"], key: names, "label": values["label"]})), owners)
        case "last":
            return Returned(scored(items, pandas.DataFrame(values | {key: names})), owners)
        case "index":
            return Returned(scored(items, pandas.DataFrame(values, index=pandas.Index(names, name=key))), owners)
    index = pandas.MultiIndex.from_arrays([list(range(len(names))), names], names=["n", key])
    return Returned(scored(items, pandas.DataFrame(values, index=index)), owners)


@st.composite
def nameless(draw: st.DrawFn) -> Returned:
    """Rows that name nothing, in the order of the items and as many; a class may be called as a file without an extension is."""
    items = draw(ITEMS)
    values = draw(st.lists(st.one_of(CLASSES, st.floats().map(str), st.integers().map(str)), min_size=len(items), max_size=len(items)))
    shape = draw(
        st.sampled_from([str, lambda value: json.dumps({"label": value}), lambda value: {"label": value}, lambda value: [value, 0.5]])
    )
    return Returned(scored(items, [shape(value) for value in values]), range(len(items)))


def check(returned: Returned, read: ReadRows) -> None:
    """Every item is there, every row once, each row at its own file or at none; and the columns agree with each other."""
    items, rows = returned.mini_batch.items, returned.mini_batch.rows
    assert len(read.files) == len(read.predictions) == len(read.statuses) == len(read.errors) == len(read.matched_by)
    assert {*items} <= {*read.files} <= {*items, ""}
    expected = Counter((items[owner], row) for owner, row in zip(returned.owners, rows, strict=True))
    found = Counter[tuple[str, str]]()
    for file, prediction, status, error, way in zip(
        read.files, read.predictions, read.each_status(), read.errors, read.matched_by, strict=True
    ):
        if prediction is None:
            assert (status, way) == (Status.FAILED, len(WAYS_OF_MATCHING))
            assert file
            assert error
        else:
            assert (status is Status.UNMATCHED) == (file == "") == (WAYS_OF_MATCHING[way] is MatchedBy.NOT_MATCHED) == bool(error)
            found[file, prediction] += 1
    assert sum(found.values()) == len(rows)
    for (file, prediction), count in found.items():
        candidates = sum(times for (owner, row), times in expected.items() if (not file or owner == file) and row.endswith(prediction))
        assert count <= candidates, (file, prediction)


@given(named())
def test_a_row_that_names_its_file_is_never_at_another(returned):
    read = read_rows(returned.mini_batch)
    check(returned, read)
    event(f"matched: {Status.UNMATCHED not in read.each_status()}")


@given(frames())
def test_a_dataframes_row_is_never_at_another_file(returned):
    read = read_rows(returned.mini_batch)
    check(returned, read)
    event(f"matched: {Status.UNMATCHED not in read.each_status()}")


@given(nameless())
def test_rows_without_names_are_at_the_file_in_their_place(returned):
    read = read_rows(returned.mini_batch)
    check(returned, read)
    assert list(read.files) == list(returned.mini_batch.items)


@given(st.one_of(named(), frames()))
def test_distinct_names_with_an_extension_are_always_matched(returned):
    items = returned.mini_batch.items
    bases = [item.rpartition("/")[2] for item in items]
    assume(all(map(extension, items)) and len({*bases}) == len(bases) and not any(" " in base or ":" in base for base in bases))
    assume("nearest" not in returned.mini_batch.rows[0])
    read = read_rows(returned.mini_batch)
    assert Status.UNMATCHED not in read.each_status()
    given_to = Counter(file for file, prediction in zip(read.files, read.predictions, strict=True) if prediction is not None)
    assert given_to == Counter(items[owner] for owner in returned.owners)


@given(named(), st.integers(1, 4))
def test_rows_in_parts_and_in_no_order_are_never_at_another_file(returned, size):
    mini_batch = replace(returned.mini_batch, in_order=False)
    check(returned, read_rows(mini_batch))
    parts = [mini_batch.rows[first : first + size] for first in range(0, len(mini_batch.rows), size)]
    read = list(read_in_parts(mini_batch.items, ROOT, parts))
    whole = ReadRows(
        [file for part in read for file in part.files],
        [prediction for part in read for prediction in part.predictions],
        b"".join(part.statuses for part in read),
        [error for part in read for error in part.errors],
        b"".join(part.matched_by for part in read),
    )
    check(returned, whole)


@given(st.one_of(named(), frames(), nameless()))
def test_what_is_read_quickly_is_read_the_same_by_all_evidence(returned):
    from services.predictions.matching import _read_by_evidence, _read_quickly

    quick = _read_quickly(returned.mini_batch)
    assume(quick is not None)
    slow = _read_by_evidence(returned.mini_batch)
    assert quick is not None

    def rows(read: ReadRows) -> list[tuple[str, str | None, int]]:
        return list(zip(read.files, read.predictions, read.matched_by, strict=True))

    assert rows(quick) == rows(slow)


@pytest.mark.parametrize("count", [1, 5])
def test_the_properties_would_notice_a_row_at_another_file(count):
    items = [f"{number}.png" for number in range(count + 1)]
    returned = Returned(scored(items, [f"{item}: {item}" for item in items]), range(count + 1))
    read = read_rows(returned.mini_batch)
    check(returned, read)
    shifted = replace(read, files=[*read.files[1:], read.files[0]])
    with pytest.raises(AssertionError):
        check(returned, shifted)
