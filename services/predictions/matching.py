"""A mini-batch's rows, read back with what is known of the files that went in: which row is whose, and what it predicts.

Scripts print `<file>: <prediction>` in many ways, and names and predictions may hold any character. So a row is never split; its beginning
is compared with the names of its own mini-batch; of a JSON object, what its FILE_KEYS say. A row that could be of two files is given to
neither: nothing is dropped, nothing guessed.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.predictions.causes import Line
from services.predictions.columns import FILE_KEYS, STATUSES, WAYS_OF_MATCHING, MatchedBy, Status, is_file_key


@dataclass(frozen=True)
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
    """JSON of the columns, [[name, dtype], ...], where run() returned a DataFrame."""
    in_order: bool = True
    """Whether the rows come in the order of the items. Where they don't, a row is an item's by its name or not at all."""
    left_out: Collection[str] = ()
    """Items that do not count here, though their rows are among `rows`: a later run scored them again."""
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


_SUCCEEDED, _FAILED, _UNMATCHED = (bytes([STATUSES.index(status)]) for status in Status)
_BY_NAME, _BY_ORDER, _ONLY_FILE, _NOT_MATCHED = (bytes([WAYS_OF_MATCHING.index(way)]) for way in MatchedBy)
_NO_WAY = bytes([len(WAYS_OF_MATCHING)])  # of a failed item

NO_ROW = "no row names this file"
FEWER = "run() returned fewer rows than it got"
MORE = "run() returned more rows than it got"
NO_FILE = "this row names no file of its mini-batch"
_FILE_KEY = re.compile(rf'"(?:{"|".join(FILE_KEYS)})"\s*:\s*"([^"]*)"', re.IGNORECASE)
AMBIGUOUS = "several files of the mini-batch have this name, and the rows don't tell which is whose: print the path instead of the name"


@dataclass(frozen=True)
class ReadRows:
    """Five columns of equal length, in the order of the items: file (relative path, "" when unmatched), prediction (None when failed),
    status (a byte: its place in STATUSES), error (None when there is none), how the file is known (a byte: its place in WAYS_OF_MATCHING;
    of a failed item the place after the last)."""

    files: Sequence[str]
    predictions: Sequence[str | None]
    statuses: bytes
    errors: Sequence[str | None]
    matched_by: bytes

    def each_status(self) -> list[Status]:
        return [STATUSES[place] for place in self.statuses]

    def without(self, files: Collection[str]) -> ReadRows:
        """The same but for the rows of these files."""
        kept = [number for number, file in enumerate(self.files) if file not in files]
        return ReadRows(
            [self.files[number] for number in kept],
            [self.predictions[number] for number in kept],
            bytes(self.statuses[number] for number in kept),
            [self.errors[number] for number in kept],
            bytes(self.matched_by[number] for number in kept),
        )


_MISSING_PART = 100_000

# The tutorial's `: ` takes one space, so that a prediction's own leading space survives; the others take all the spaces there are.
_SEPARATOR = re.compile(r": | : |[:,;|\t] *| +")
_ONE_SPACE = re.compile(" ")  # a DataFrame's, whose next field may be empty
_SEPARATOR_BEGINS = re.compile(r"[ :,;|\t]")


def read_rows(mini_batch: ScoredMiniBatch) -> ReadRows:
    """Match rows with items. Every item is there at least once, every row exactly once."""
    items, rows = mini_batch.items, mini_batch.rows
    if mini_batch.items_are_rows and rows:
        return _match_by_number(items, rows, mini_batch.in_order)
    if not rows:
        return ReadRows(items, [None] * len(items), _FAILED * len(items), [mini_batch.error or NO_ROW] * len(items), _NO_WAY * len(items))
    if len(rows) == len(items):
        match = _match_by_position if mini_batch.in_order else _match_by_name
        predictions = _match_by_json_key(mini_batch) if rows[0].startswith("{") else None
        predictions = predictions or match(mini_batch)
        if predictions is not None:
            return ReadRows(items, predictions, _SUCCEEDED * len(items), [None] * len(items), _BY_NAME * len(items))
    return _match_by_lookup(mini_batch)


def failed_rows(files: Sequence[str], errors: Sequence[str | None]) -> ReadRows:
    """Of items that failed."""
    return ReadRows(files, [None] * len(files), _FAILED * len(files), errors, _NO_WAY * len(files))


def read_in_parts(items: Sequence[str], root: str, parts: Iterable[Sequence[str]], columns: str = "") -> Iterator[ReadRows]:
    """As `read_rows` of rows that are out of order, but some at a time, as they come; the items that no row names are last. Memory grows
    with the items and the largest part, not with the rows. `columns` as in `ScoredMiniBatch`."""
    own, places, quoted = _own_names(items), dict[str, list[int]](), False
    named, ambiguous, longest = bytearray(len(items)), set[int](), 0
    for rows in parts:
        files, predictions, statuses, errors = list[str](), list[str | None](), bytearray(), list[str | None]()
        matched_by = bytearray()
        for row in rows:
            name, separator, prediction = row.partition(": ")
            owner, candidates = own.get(name) if separator else None, list[int]()
            if owner is None:
                if not places or (row.startswith('"') and not quoted):
                    quoted = quoted or row.startswith('"')
                    places = _places(ScoredMiniBatch(0, items, root, ('"',) if quoted else (), "", 0, 0.0, ""))
                    longest = max(map(len, places), default=0)
                beginning = _longest_name(row, places, longest, _ONE_SPACE if columns else _SEPARATOR) or _named_within(row, places)
                candidates = places[beginning[0]] if beginning else []
                owner, prediction = (candidates[0], beginning[1]) if beginning and len(candidates) == 1 else (None, row)
            if owner is None:
                ambiguous.update(candidates)
            else:
                named[owner] = True
            files.append("" if owner is None else items[owner])
            predictions.append(prediction)
            statuses += _UNMATCHED if owner is None else _SUCCEEDED
            matched_by += _NOT_MATCHED if owner is None else _BY_NAME
            errors.append(None if owner is not None else AMBIGUOUS if candidates else NO_FILE)
        yield ReadRows(files, predictions, bytes(statuses), errors, bytes(matched_by))
    unnamed = [place for place, has_row in enumerate(named) if not has_row]
    reasons = [AMBIGUOUS if place in ambiguous else NO_ROW for place in unnamed]
    yield failed_rows([items[place] for place in unnamed], reasons)


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


def _own_names(items: Sequence[str]) -> dict[str, int]:
    """The items by their file's own name, where that is one item's only; none where the first `: ` of a row may be within a name."""
    if any(":" in item for item in items):
        return {}
    names = [item.rpartition("/")[2] for item in items]
    twice = {name for name, count in Counter(names).items() if count > 1}
    return {name: place for place, name in enumerate(names) if name not in twice}


def _match_by_number(items: Sequence[str], rows: Sequence[str], in_order: bool) -> ReadRows:
    """Rows made of rows, which name no file: as many as items, in their order, are theirs one by one. Else their number alone says how many
    of the items have one, and only a file that is common to all is known."""
    if in_order and len(rows) == len(items):
        return ReadRows(items, rows, _SUCCEEDED * len(rows), [None] * len(rows), _BY_ORDER * len(rows))
    missing = max(0, len(items) - len(rows))
    file = items[0] if len(set(items)) == 1 else ""
    status, reason = (_SUCCEEDED, None) if file or not in_order else (_UNMATCHED, FEWER if missing else MORE)
    return ReadRows(
        [file] * (len(rows) + missing),
        [*rows, *[None] * missing],
        status * len(rows) + _FAILED * missing,
        [reason] * len(rows) + [FEWER] * missing,
        (_ONLY_FILE if file else _NOT_MATCHED) * len(rows) + _NO_WAY * missing,
    )


def _spellings(mini_batch: ScoredMiniBatch) -> Iterator[list[str]]:
    """The names of all items, in each of the ways a script may print them."""
    items, root = mini_batch.items, mini_batch.root
    yield [item.rpartition("/")[2] for item in items]
    yield list(items)
    yield [f"{root.rstrip('/')}/{item}" for item in items]
    if "\\" in root:
        native = [item.replace("/", "\\") for item in items]
        yield native
        yield [f"{root}\\{item}" for item in native]


def _match_by_position(mini_batch: ScoredMiniBatch) -> list[str] | None:
    """The predictions where row i begins with the name of item i, all spelled and separated alike; else None. The fast way."""
    rows = mini_batch.rows
    for names in _spellings(mini_batch):
        separator = (
            (_ONE_SPACE if mini_batch.columns else _SEPARATOR).match(rows[0], len(names[0])) if rows[0].startswith(names[0]) else None
        )
        if separator is None:
            continue
        exact = separator[0] == ": " or bool(mini_batch.columns)
        mark = separator[0] if exact else separator[0].rstrip(" ") or " "
        beginnings = [name + mark for name in names]
        if all(map(str.startswith, rows, beginnings)):
            predictions = map(str.removeprefix, rows, beginnings)
            return list(predictions) if exact else [prediction.lstrip(" ") for prediction in predictions]
    return None


def _match_by_name(mini_batch: ScoredMiniBatch) -> list[str] | None:
    """The predictions where every item has one row, `<file's own name>: <prediction>`, in whatever order; else None. The fast way."""
    names = [item.rpartition("/")[2] for item in mini_batch.items]
    places = dict(zip(names, range(len(names)), strict=True))
    if len(places) < len(names) or any(":" in name for name in names):  # the first `: ` of a row may be within the name
        return None
    predictions: list[str | None] = [None] * len(names)
    for row in mini_batch.rows:
        name, separator, prediction = row.partition(": ")
        place = places.get(name)
        if place is None or not separator or predictions[place] is not None:
            return None
        predictions[place] = prediction
    return [prediction for prediction in predictions if prediction is not None]


def _match_by_json_key(mini_batch: ScoredMiniBatch) -> list[str] | None:
    """The rows in the order of the items where each is a flat JSON object that names another item, all spelled alike; else None. The fast
    way: without escapes a quote is a delimiter, and with one brace a row and as many keys as rows nothing else can name a file."""
    text = "\n".join(mini_batch.rows)
    count = len(mini_batch.rows)
    if "\\" in text or text.count("{") != count or text.count("\n{") != count - 1:
        return None
    if sum(map(text.casefold().count, (f'"{key}"' for key in FILE_KEYS))) != count:
        return None
    if first := _FILE_KEY.match(mini_batch.rows[0], 1):  # most print it there
        before = mini_batch.rows[0][: first.start(1)]
        for names in _spellings(mini_batch):
            if all(map(str.startswith, mini_batch.rows, [f'{before}{name}"' for name in names])):
                return list(mini_batch.rows)
    keys = [match and match[1] for match in map(_FILE_KEY.search, mini_batch.rows)]
    if any(names == keys for names in _spellings(mini_batch)):
        return list(mini_batch.rows)
    for names in _spellings(mini_batch):
        places = dict(zip(names, range(count), strict=True))
        if len(places) < count:  # the first spelling, so that a path is never taken for a name
            return None
        if places.keys() == {*keys}:
            return [row for _, row in sorted(zip(map(places.__getitem__, filter(None, keys)), mini_batch.rows, strict=True))]
    return None


def _match_by_lookup(mini_batch: ScoredMiniBatch) -> ReadRows:
    items, rows = mini_batch.items, mini_batch.rows
    places = _places(mini_batch)
    longest = max(map(len, places), default=0)
    separators = _ONE_SPACE if mini_batch.columns else _SEPARATOR
    beginnings = [_longest_name(row, places, longest, separators) for row in rows]
    equally_many = mini_batch.in_order and len(rows) == len(items)
    if equally_many and not any(beginnings) and not all(_named_within(row, places) for row in rows):
        return ReadRows(items, rows, _SUCCEEDED * len(items), [None] * len(items), _BY_ORDER * len(items))
    beginnings = [beginning or _named_within(row, places) for row, beginning in zip(rows, beginnings, strict=True)]
    named = [(row, beginning[0]) for row, beginning in enumerate(beginnings) if beginning]
    owners = dict(zip([row for row, _ in named], _owners(named, places, mini_batch.in_order, equally_many), strict=True))

    predictions: dict[int, list[str]] = {}
    unmatched: list[tuple[str, str | None, bytes, str | None]] = []
    errors: dict[int, str] = {}
    for number, (row, beginning) in enumerate(zip(rows, beginnings, strict=True)):
        owner = owners.get(number)
        if beginning is not None and owner is not None:
            predictions.setdefault(owner, []).append(beginning[1])
        else:
            unmatched.append(("", row, _UNMATCHED, AMBIGUOUS if beginning else NO_FILE))
            errors.update(dict.fromkeys(places[beginning[0]] if beginning else (), AMBIGUOUS))
    table: list[tuple[str, str | None, bytes, str | None]] = []
    for place, item in enumerate(items):
        if place in predictions:
            table += [(item, prediction, _SUCCEEDED, None) for prediction in predictions[place]]
        else:
            table.append((item, None, _FAILED, mini_batch.error or errors.get(place, NO_ROW)))
    files, texts, statuses, reasons = zip(*table, *unmatched, strict=True)
    ways = dict(zip((_SUCCEEDED, _FAILED, _UNMATCHED), (_BY_NAME, _NO_WAY, _NOT_MATCHED), strict=True))
    return ReadRows(files, texts, b"".join(statuses), reasons, b"".join(map(ways.__getitem__, statuses)))


def _places(mini_batch: ScoredMiniBatch) -> dict[str, list[int]]:
    """Every name a row may begin with, and the items that have it. A DataFrame's rows quote names as CSV does."""
    spellings = list(_spellings(mini_batch))
    if any(row.startswith('"') for row in mini_batch.rows):
        spellings += [['"' + name.replace('"', '""') + '"' for name in names] for names in spellings]
    places: dict[str, list[int]] = {}
    for place, names in enumerate(zip(*spellings, strict=True)):
        for name in {*names}:
            places.setdefault(name, []).append(place)
    return places


def _longest_name(row: str, places: Mapping[str, object], longest: int, separators: re.Pattern[str]) -> tuple[str, str] | None:
    """The longest name the row begins with and the prediction after it; None where it begins with none."""
    ends = (separator.start() for separator in _SEPARATOR_BEGINS.finditer(row, 0, longest + 1))
    end = max((end for end in ends if row[:end] in places), default=None)
    separator = None if end is None else separators.match(row, end)
    return None if separator is None else (row[:end], row[separator.end() :])


def _named_within(row: str, places: Mapping[str, object]) -> tuple[str, str] | None:
    """The name that a JSON object gives as its file, and the whole row, which is the prediction; None where it gives none of `places`."""
    if not row.lstrip().startswith("{"):
        return None
    try:
        keys = json.loads(row)
    except (ValueError, RecursionError):
        return None
    names = [value for key, value in keys.items() if is_file_key(key) and isinstance(value, str) and value in places]
    return (names[0], row) if len({*names}) == 1 else None


def _owners(
    named: Sequence[tuple[int, str]], places: Mapping[str, Sequence[int]], in_order: bool, equally_many: bool
) -> Sequence[int | None]:
    """The item that each row (its number, the name it begins with) belongs to; None where that is unknown.

    Same-named files of several folders are told apart by the order of the rows: where the earliest and the latest item that a row can
    have are one. With as many rows as items, a row may be taken to be in its own place.
    """
    if all(len(places[name]) == 1 for _, name in named):
        return [places[name][0] for _, name in named]
    if not in_order:
        return [places[name][0] if len(places[name]) == 1 else None for _, name in named]
    candidates = [[row] if equally_many and _holds(places[name], row) else places[name] for row, name in named]
    earliest: list[int] = []
    for items in candidates:
        at = bisect_right(items, earliest[-1]) if earliest else 0
        if at == len(items):
            return _owners_by_count([name for _, name in named], places)
        earliest.append(items[at])
    latest: list[int] = []
    for items in reversed(candidates):
        latest.append(items[(bisect_left(items, latest[-1]) if latest else len(items)) - 1])
    return [first if first == last else None for first, last in zip(earliest, reversed(latest), strict=True)]


def _holds(ascending: Sequence[int], value: int) -> bool:
    at = bisect_left(ascending, value)
    return at < len(ascending) and ascending[at] == value


def _owners_by_count(names: Sequence[str], places: Mapping[str, Sequence[int]]) -> Sequence[int | None]:
    """As `_owners`, for rows out of the items' order, or several for an item: files of one name get equally many rows, in order."""
    total, seen = Counter(names), Counter[str]()
    owners: list[int | None] = []
    for name in names:
        items = places[name]
        owners.append(items[seen[name] * len(items) // total[name]] if total[name] % len(items) == 0 else None)
        seen[name] += 1
    return owners
