"""A mini-batch's rows, read back with what is known of the files that went in: which row is whose, and what it predicts.

By evidence: a row is the file's that it names, wherever the name stands (`evidence`). Only where nothing contradicts the order, and as many
rows as items came, is it the item's in its place. A row that could be of two files is given to neither: nothing is dropped, nothing
guessed. What most scripts print is read in quick ways first, which come to the same.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import lt

from services.predictions.causes import Line, causes_by_place
from services.predictions.columns import STATUSES, WAYS_OF_MATCHING, MatchedBy, Status, may_name_file
from services.predictions.evidence import (
    BEGINNING,
    SEPARATOR,
    Evidence,
    Key,
    Names,
    extension,
    extensions,
    frame_columns,
    is_another_order,
    spellings,
)

RowNumbers = Sequence[tuple[int, int]]
"""The numbers of rows in their files, from 1, one range after another: (the first, how many); 0 where they aren't known, and no range at
all where none is."""


@dataclass(slots=True)  # not frozen: a hundred thousand are made for a table, and that takes four times as long
class ScoredMiniBatch:
    """What a workspace knows of one settled mini-batch.

    `items` are paths relative to `root` (an absolute folder), `/` between folders, undecodable bytes as lone surrogates. `rows` are as the
    run wrote them, without the newline that ends each; none when it failed. `worker` is such as “node 0, process000”. `error` is the
    error's first line, "" when it succeeded. Where `items_are_rows`, an item is a row of the file that `items` names.
    """

    index: int
    items: Sequence[str]
    root: str
    rows: Sequence[str]
    worker: str
    attempts: int
    seconds: float
    error: str
    items_are_rows: bool = False
    ended_at: float = 0.0
    """Seconds since 1970."""
    columns: str = ""
    """JSON of the columns, [[name, kind], ...], where run() returned a DataFrame: what the worker says of the values, see `worker.as_rows`;
    "" where that isn't known."""
    frame_index: Sequence[tuple[str | None, Sequence[str]]] = ()
    """Of that DataFrame's index, where it holds texts: the name and the values, one a row, of each of its levels. Where it says which rows
    of a table's mini-batch are there, None and their places as ranges: see worker."""
    in_order: bool = True
    """Whether the rows come in the order of the items. Where they don't, a row is an item's by its name or not at all."""
    left_out: Collection[str] = ()
    """Items that do not count here, though their rows are among `rows`: a later run scored them again."""
    gone: Collection[str] | None = None
    """Items whose files were gone when their dataset was read again, though their rows stay; None in a table that doesn't tell."""
    earlier_attempts: Mapping[str, int] = field(default_factory=dict)
    """By item, the attempts of earlier runs that come on top of `attempts`."""
    read: ReadRows | None = None
    """The rows matched with items, where that was done: of a mini-batch that comes in parts, the part's."""
    rows_before: int = 0
    """Of a mini-batch that comes in parts, the rows of `read` in those before."""
    said: Sequence[Line] = ()
    """What the script said while it ran, as far as it may be the cause of an item without a row."""
    said_of_succeeded: Collection[str] = ()
    """Templates of what was said of items that succeeded, anywhere in the run: see `causes`."""
    nothing_succeeded: bool = False
    """Whether no item of the run succeeded, as far as it is."""
    row_numbers: RowNumbers = ()
    """Of the items, where these are rows and it is known."""


_SUCCEEDED, _FAILED, _UNMATCHED = (bytes([STATUSES.index(status)]) for status in Status)
_BY_NAME, _BY_ORDER, _ONLY_FILE, _NOT_MATCHED = (bytes([WAYS_OF_MATCHING.index(way)]) for way in MatchedBy)
_NO_WAY = bytes([len(WAYS_OF_MATCHING)])  # of a failed item

NO_ROW = "no row names this file"
FEWER = "run() returned fewer rows than it got"
MORE = "run() returned more rows than it got"
SORTED = "run() returned as many rows as it got, in another order"
NO_FILE = "this row names no file of its mini-batch"
ANOTHER_ORDER = "the rows don't come in the order of the files, and this one doesn't tell its file: print the path in each row"
ANOTHER_FILE = "this row names a file that is not in its mini-batch"
SEVERAL_FILES = "this row names several files of its mini-batch"
AMBIGUOUS = "several files of the mini-batch have this name, and the rows don't tell which is whose: print the path instead of the name"


@dataclass(slots=True)
class ReadRows:
    """Five columns of equal length, in the order of the items: file (relative path, "" when unmatched), prediction (None when failed),
    status (a byte: its place in STATUSES), error (None when there is none), how the file is known (a byte: its place in WAYS_OF_MATCHING;
    of a failed item the place after the last)."""

    files: Sequence[str]
    predictions: Sequence[str | None]
    statuses: bytes
    errors: Sequence[str | None]
    matched_by: bytes
    row_numbers: RowNumbers = ()

    def each_status(self) -> list[Status]:
        return [STATUSES[place] for place in self.statuses]

    def each_row_number(self) -> Iterator[int]:
        """Of each row its number in its file, 0 where that isn't known."""
        ranges = self.row_numbers or [(0, len(self.files))]
        return itertools.chain.from_iterable(
            range(first, first + count) if first else itertools.repeat(0, count) for first, count in ranges
        )

    def without(self, files: Collection[str]) -> ReadRows:
        """The same but for the rows of these files."""
        kept = [number for number, file in enumerate(self.files) if file not in files]
        row_numbers = list(self.each_row_number()) if self.row_numbers else []
        return ReadRows(
            [self.files[number] for number in kept],
            [self.predictions[number] for number in kept],
            bytes(self.statuses[number] for number in kept),
            [self.errors[number] for number in kept],
            bytes(self.matched_by[number] for number in kept),
            [(row_numbers[number], 1) for number in kept] if row_numbers else (),
        )


_MISSING_PART = 100_000
_TO_DECIDE = 10_000  # rows

_COLUMNS_TRIED = 20
_ONE_SPACE = re.compile(" ")  # a DataFrame's, whose next field may be empty
_KEY_BEFORE = re.compile(r"""(['"])([^'"]*)\1\s*:\s*(['"])$""")


def read_rows(mini_batch: ScoredMiniBatch) -> ReadRows:
    """Match rows with items. Every item is there at least once, every row exactly once."""
    items, rows = mini_batch.items, mini_batch.rows
    if mini_batch.items_are_rows and rows:
        return _match_by_number(mini_batch)
    if not rows:
        return failed_rows(items, [mini_batch.error or NO_ROW] * len(items), mini_batch.row_numbers)
    return _read_quickly(mini_batch) or _read_by_evidence(mini_batch)


def failed_rows(files: Sequence[str], errors: Sequence[str | None], row_numbers: RowNumbers = ()) -> ReadRows:
    """Of items that failed."""
    return ReadRows(files, [None] * len(files), _FAILED * len(files), errors, _NO_WAY * len(files), row_numbers)


# ---- the quick ways --------------------------------------------------------------------------------------------------------------------


def _read_quickly(mini_batch: ScoredMiniBatch) -> ReadRows | None:
    """Of rows that are all alike, and name each its file in one place, or none at all; None where that takes a closer look."""
    items, rows = mini_batch.items, mini_batch.rows
    if mini_batch.frame_index:
        return None
    in_order = mini_batch.in_order and len(rows) == len(items)
    if in_order and (by_beginning := _beginning_in_order(mini_batch)) is not None:
        return by_beginning
    if not mini_batch.columns and (by_name := _beginning_in_any_order(mini_batch)):
        return by_name
    endings = extensions(items)
    if "" in endings:
        return None
    text = "\n".join(rows)
    count = sum(map(text.count, endings))
    if count == 0 and len(items) == 1:
        return ReadRows([*items] * len(rows), rows, _SUCCEEDED * len(rows), [None] * len(rows), _ONLY_FILE * len(rows))
    if count == 0 and in_order and not _may_be_stems(text, items, endings):
        return _each_its_own(items, rows, _BY_ORDER * len(items))
    if count == len(rows) and len(endings) == 1 and mini_batch.columns:
        return _one_name_in_each_row_of_a_frame(mini_batch)
    if count == len(rows) and len(endings) == 1:
        return _one_name_in_each_row(mini_batch, *endings, in_order=in_order, escaped="\\" in text)
    return None


def _each_its_own(items: Sequence[str], predictions: Sequence[str], ways: bytes) -> ReadRows:
    return ReadRows(items, predictions, _SUCCEEDED * len(items), [None] * len(items), ways)


def _beginning_in_order(mini_batch: ScoredMiniBatch) -> ReadRows | None:
    """Where row i begins with the name of item i, all spelled and separated alike."""
    rows, columns = mini_batch.rows, mini_batch.columns
    if columns and not _first_column_decides(columns):
        endings = extensions(mini_batch.items)
        if "" in endings or sum(map("\n".join(rows).count, endings)) != len(rows):  # nothing else can be a name
            return None
    for spelled in spellings(mini_batch.root):
        if not rows[0].startswith(spelled(mini_batch.items[:1])[0]):
            continue
        names = spelled(mini_batch.items)
        separator = (_ONE_SPACE if columns else SEPARATOR).match(rows[0], len(names[0]))
        if separator is None:
            continue
        exact = separator[0] == ": " or bool(columns)
        mark = separator[0] if exact else separator[0].rstrip(" ") or " "
        beginnings = [name + mark for name in names]
        predictions = list(map(str.removeprefix, rows, beginnings))
        # Each was there if so many characters are gone: quicker than a look at each.
        if sum(map(len, rows)) - sum(map(len, predictions)) == sum(map(len, beginnings)):
            if mark != ": " and not (columns and may_name_file(json.loads(columns)[0][0])) and "" in extensions(mini_batch.items):
                return None
            if not exact:
                predictions = [prediction.lstrip(" ") for prediction in predictions]
            return _each_its_own(mini_batch.items, predictions, _ways_of(names))
    return None


def _ways_of(names: Sequence[str]) -> bytes:
    """How rows in the order of these names are matched: a name that several files have tells one of them by the order only."""
    if all(map(lt, names, names[1:])) or len({*names}) == len(names):  # those of one folder come sorted
        return _BY_NAME * len(names)
    count = Counter(names)
    return b"".join(_BY_NAME if count[name] == 1 else _BY_ORDER for name in names)


@cache
def _first_column_decides(columns: str) -> bool:
    """Whether the names in a DataFrame's first column need not be compared with those in others."""
    told = frame_columns(columns)
    return bool(told) and told[0][0] == 0 and all(importance < told[0][1] for _, importance in told[1:])


def _beginning_in_any_order(mini_batch: ScoredMiniBatch) -> ReadRows | None:
    """Where every row is `<file's own name>: <prediction>`, of another file each."""
    items, rows = mini_batch.items, mini_batch.rows
    if len(rows) > len(items) or ": " not in rows[0] or rows[0][0] in "{[(":
        return None
    own, owners, predictions = _own_names(items), list[int](), list[str]()
    for row in rows:
        name, _, prediction = row.partition(": ")
        owner = own.get(name)
        if owner is None:
            return None
        owners.append(owner)
        predictions.append(prediction)
    return _assembled(mini_batch, owners, predictions, {}, _BY_NAME * len(rows)) if len({*owners}) == len(rows) else None


def _own_names(items: Sequence[str]) -> dict[str, int]:
    """The items by their file's own name, where that is one item's only; none where the first `: ` of a row may be within a name."""
    if any(":" in item for item in items):
        return {}
    names = [item.rpartition("/")[2] for item in items]
    twice = {name for name, count in Counter(names).items() if count > 1}
    return {name: place for place, name in enumerate(names) if name not in twice}


def _may_be_stems(text: str, items: Sequence[str], endings: Collection[str]) -> bool:
    """Whether the rows, which are as many as the items, may each say which file they are of by its name without the extension."""
    only = next(iter(endings)) if len(endings) == 1 else ""
    for item in items:
        stem = item[item.rfind("/") + 1 :].removesuffix(only or extension(item))
        if stem not in text and (stem.isascii() or "\\" not in text):  # with which JSON writes letters beyond ASCII
            return False
    return True


def _one_name_in_each_row(mini_batch: ScoredMiniBatch, ending: str, *, in_order: bool, escaped: bool) -> ReadRows | None:
    """Where a name stands at the same place of every row, as the first one tells. There are as many `ending`s as rows, so that nothing
    else in them can be a name."""
    items, rows = mini_batch.items, mini_batch.rows
    if rows[0].startswith('"'):  # the name may be the beginning, in quotes as in a DataFrame's row
        return None
    end = rows[0].find(ending) + len(ending)
    if in_order:
        for spelled in spellings(mini_batch.root):
            (first,) = spelled(items[:1])
            begin = end - len(first)
            if begin > 0 and rows[0].startswith(first, begin) and rows[0][begin - 1] in "'\"":
                before, after = rows[0][:begin], rows[0][end : end + 1]
                names = spelled(items)
                if after == before[-1] and all(map(str.startswith, rows, [f"{before}{name}{after}" for name in names])):
                    return _each_its_own(items, rows, _ways_of(names))
    quote = max(rows[0].rfind("'", 0, end), rows[0].rfind('"', 0, end))
    key = _KEY_BEFORE.search(rows[0], 0, quote + 1)
    if key is None or escaped:
        return None
    value = re.compile(rf"{key[1]}{re.escape(key[2])}{key[1]}\s*:\s*{key[3]}([^{key[3]}]*){key[3]}")
    called = [match[1] if match else "" for match in map(value.search, rows)]
    return _by_these_names(mini_batch, called) if may_name_file(key[2]) or len({*called}) == len(rows) else None


def _one_name_in_each_row_of_a_frame(mini_batch: ScoredMiniBatch) -> ReadRows | None:
    """The same of a DataFrame's rows, where the name is in another column than the first, which would not be part of the prediction."""
    rows = mini_batch.rows
    try:
        fields = list(csv.reader(rows, delimiter=" "))
    except csv.Error:
        return None
    names = Names(mini_batch.items[:1], mini_batch.root)
    for place, _ in frame_columns(mini_batch.columns)[:_COLUMNS_TRIED] if len(fields) == len(rows) else ():
        if place and all(len(row) > place for row in fields) and extension(fields[0][place]) in names.extensions:
            called = [row[place] for row in fields]
            return _by_these_names(mini_batch, called) if len({*called}) == len(rows) else None
    return None


def _by_these_names(mini_batch: ScoredMiniBatch, called: Sequence[str]) -> ReadRows | None:
    """Where each row is of the file called so, all spelled alike."""
    items = mini_batch.items
    for spelled in spellings(mini_batch.root):
        places = dict(zip(spelled(items), range(len(items)), strict=True))
        if called[0] in places:
            owners = list(map(places.get, called))
            known = [owner for owner in owners if owner is not None]
            if len(places) < len(items) or len(known) < len(owners):
                return None
            return _assembled(mini_batch, known, mini_batch.rows, {}, _BY_NAME * len(owners))
    return None


# ---- by all that the rows say ----------------------------------------------------------------------------------------------------------


@dataclass
class _Owned:
    """What was told of rows: by row the item it is of or None, its prediction, how it was matched, and why it was not."""

    owners: list[int | None]
    predictions: list[str]
    ways: bytearray
    errors: dict[int, str] = field(default_factory=dict)
    ambiguous: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By identity, items of which it isn't known which row is theirs: a million may have one name."""

    @classmethod
    def nobody(cls, rows: Sequence[str]) -> _Owned:
        return cls([None] * len(rows), list(rows), bytearray(_NOT_MATCHED * len(rows)))

    def own(self, row: int, item: int, prediction: str, way: bytes) -> None:
        self.owners[row], self.predictions[row], self.ways[row : row + 1] = item, prediction, way

    def tell(self, evidence: Evidence, deciding: Sequence[Key], rows: Sequence[int], *, in_order: bool) -> None:
        """By what these rows, which are all that `evidence` is of, say in the deciding places."""
        contradicted = in_order and evidence.contradicts_order(deciding)
        in_order = in_order and not contradicted
        for number, row in enumerate(rows):
            candidates = evidence.candidates(number, deciding)
            if candidates and (len(candidates) == 1 or in_order):
                owner = candidates[0] if len(candidates) == 1 else row
                way = _BY_NAME if len(candidates) == 1 else _BY_ORDER
                self.own(row, owner, evidence.prediction(number, owner, deciding), way)
            elif candidates:
                self.errors[row] = AMBIGUOUS
                self.ambiguous[id(candidates)] = candidates
            elif candidates is not None:
                self.errors[row] = SEVERAL_FILES
            elif evidence.names_another_file(number):
                self.errors[row] = ANOTHER_FILE
            elif len(evidence.names.items) == 1:
                self.own(row, 0, self.predictions[row], _ONLY_FILE)
            elif in_order and not deciding:
                self.own(row, row, self.predictions[row], _BY_ORDER)
            else:
                self.errors[row] = ANOTHER_ORDER if contradicted and not deciding else NO_FILE


def _read_by_evidence(mini_batch: ScoredMiniBatch) -> ReadRows:
    items, rows, in_order = mini_batch.items, mini_batch.rows, mini_batch.in_order and len(mini_batch.rows) == len(mini_batch.items)
    index = [(name, values) for name, values in mini_batch.frame_index if name is not None]
    evidence = Evidence(rows, Names(items, mini_batch.root), mini_batch.columns, index, in_order=in_order)
    owned = _Owned.nobody(rows)
    owned.tell(evidence, evidence.deciding(), range(len(rows)), in_order=in_order)
    reasons = dict.fromkeys(itertools.chain.from_iterable(owned.ambiguous.values()), AMBIGUOUS)
    return _assembled(mini_batch, owned.owners, owned.predictions, owned.errors, bytes(owned.ways), reasons)


def _assembled(
    mini_batch: ScoredMiniBatch,
    owners: Sequence[int | None],
    predictions: Sequence[str],
    errors: Mapping[int, str],
    ways: bytes,
    reasons: Mapping[int, str] | None = None,
) -> ReadRows:
    """The rows in the order of the items that `owners` has for each, those of none at the end. `errors` are of these, by row; `reasons`
    say why an item has no row, where another is known than that no row names it."""
    items = mini_batch.items
    rows_of: list[list[int]] = [[] for _ in items]
    for row, owner in enumerate(owners):
        if owner is not None:
            rows_of[owner].append(row)
    files, texts, statuses, why, matched_by = list[str](), list[str | None](), bytearray(), list[str | None](), bytearray()
    for place, (item, rows) in enumerate(zip(items, rows_of, strict=True)):
        for row in rows:
            files.append(item)
            texts.append(predictions[row])
            statuses += _SUCCEEDED
            why.append(None)
            matched_by.append(ways[row])
        if not rows:
            files.append(item)
            texts.append(None)
            statuses += _FAILED
            why.append(mini_batch.error or (reasons or {}).get(place, NO_ROW))
            matched_by += _NO_WAY
    unmatched = [row for row, owner in enumerate(owners) if owner is None]
    return ReadRows(
        [*files, *[""] * len(unmatched)],
        [*texts, *(predictions[row] for row in unmatched)],
        bytes(statuses) + _UNMATCHED * len(unmatched),
        [*why, *(errors[row] for row in unmatched)],
        bytes(matched_by) + _NOT_MATCHED * len(unmatched),
    )


# ---- some rows at a time ---------------------------------------------------------------------------------------------------------------


def read_in_parts(items: Sequence[str], root: str, parts: Iterable[Sequence[str]], columns: str = "") -> Iterator[ReadRows]:
    """As `read_rows` of rows that are out of order, but some at a time, as they come; the items that no row names are last. Memory grows
    with the items and the largest part, not with the rows. Which places decide is found in the first ten thousand rows."""
    coming = iter(parts)
    first: list[Sequence[str]] = []
    while sum(map(len, first)) < _TO_DECIDE and (part := next(coming, None)) is not None:
        first.append(part)
    sample = list(itertools.islice(itertools.chain.from_iterable(first), _TO_DECIDE))
    names, own = Names(items, root), _own_names(items)
    begun = [own.get(name) for name, separator, _ in (row.partition(": ") for row in sample) if separator]
    if begun and None not in begun and len(sample) == len(set(begun)):  # as most scripts print them: at the price of a dict
        deciding = [BEGINNING]
    else:
        deciding = Evidence(sample, names, columns, (), in_order=False).deciding()
    named, ambiguous = bytearray(len(items)), dict[int, tuple[int, ...]]()
    for rows in itertools.chain(first, coming):
        owned, rest = _Owned.nobody(rows), list[int]()
        for row, text in enumerate(rows):
            name, separator, prediction = text.partition(": ")
            if separator and deciding == [BEGINNING] and (owner := own.get(name)) is not None:
                owned.own(row, owner, prediction, _BY_NAME)
            else:
                rest.append(row)
        owned.tell(Evidence([rows[row] for row in rest], names, columns, (), in_order=False), deciding, rest, in_order=False)
        for owner in owned.owners:
            if owner is not None:
                named[owner] = True
        ambiguous |= owned.ambiguous
        yield ReadRows(
            ["" if owner is None else items[owner] for owner in owned.owners],
            owned.predictions,
            b"".join(_UNMATCHED if owner is None else _SUCCEEDED for owner in owned.owners),
            [owned.errors.get(row) for row in range(len(rows))],
            bytes(owned.ways),
        )
    unnamed = [place for place, has_row in enumerate(named) if not has_row]
    unclear = set(itertools.chain.from_iterable(ambiguous.values()))
    reasons = [AMBIGUOUS if place in unclear else NO_ROW for place in unnamed]
    yield failed_rows([items[place] for place in unnamed], reasons)


# ---- rows made of rows -----------------------------------------------------------------------------------------------------------------


def read_tables_in_parts(file: str, item_count: int, parts: Iterable[Sequence[str]]) -> Iterator[ReadRows]:
    """The same of rows made of rows, of which it is not known which is whose; `file` is what all are of, or ""."""
    total = 0
    for rows in parts:
        total += len(rows)
        way = _ONLY_FILE if file else _NOT_MATCHED
        yield ReadRows([file] * len(rows), rows, _SUCCEEDED * len(rows), [None] * len(rows), way * len(rows))
    for missing in range(total, item_count, _MISSING_PART):
        count = min(_MISSING_PART, item_count - missing)
        yield ReadRows([file] * count, [None] * count, _FAILED * count, [FEWER] * count, _NO_WAY * count)


def _match_by_number(mini_batch: ScoredMiniBatch) -> ReadRows:
    """Rows made of rows, which name no file: as many as items, in their order, are theirs one by one. Else their number alone says how many
    of the items have one, and only a file that is common to all is known."""
    items, rows, in_order = mini_batch.items, mini_batch.rows, mini_batch.in_order
    if (places := _places_of_rows(mini_batch)) is not None:
        return _match_by_place(mini_batch, places)
    was_sorted = any(is_another_order(values) for _, values in mini_batch.frame_index)
    if in_order and len(rows) == len(items) and not was_sorted:
        return ReadRows(items, rows, _SUCCEEDED * len(rows), [None] * len(rows), _BY_ORDER * len(rows), mini_batch.row_numbers)
    missing = max(0, len(items) - len(rows))
    file = items[0] if len(set(items)) == 1 else ""
    number = FEWER if missing else MORE if len(rows) > len(items) else SORTED
    status, reason = (_SUCCEEDED, None) if file or not in_order else (_UNMATCHED, number)
    return ReadRows(
        [file] * (len(rows) + missing),
        [*rows, *[None] * missing],
        status * len(rows) + _FAILED * missing,
        [reason] * len(rows) + [FEWER] * missing,
        (_ONLY_FILE if file else _NOT_MATCHED) * len(rows) + _NO_WAY * missing,
    )


def _places_of_rows(mini_batch: ScoredMiniBatch) -> list[int] | None:
    """Which of the items have a row, where the DataFrame's index said so; None where it isn't known."""
    ranges = next((values for name, values in mini_batch.frame_index if name is None), None)
    if ranges is None or not mini_batch.in_order:
        return None
    places = [place for begin, _, end in (text.partition(":") for text in ranges) for place in range(int(begin), int(end))]
    count = len(mini_batch.items)
    if len(places) != len(mini_batch.rows) or not all(map(lt, places, places[1:])) or places[-1] >= count:
        return None
    if places[-1] < len(places) and not set(range(len(places), count)) <= causes_by_place(mini_batch.said, count).keys():
        return None  # the first ones, or numbered again: only what was said of the others tells
    return places


def _match_by_place(mini_batch: ScoredMiniBatch, places: Sequence[int]) -> ReadRows:
    """The rows as those of the items at these places; the others have none."""
    count = len(mini_batch.items)
    predictions: list[str | None] = [None] * count
    errors: list[str | None] = [FEWER] * count
    statuses, ways = bytearray(_FAILED * count), bytearray(_NO_WAY * count)
    for place, row in zip(places, mini_batch.rows, strict=True):
        predictions[place], errors[place] = row, None
        statuses[place : place + 1], ways[place : place + 1] = _SUCCEEDED, _BY_ORDER
    return ReadRows(mini_batch.items, predictions, bytes(statuses), errors, bytes(ways), mini_batch.row_numbers)
