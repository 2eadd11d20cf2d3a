"""Where the rows of a mini-batch name their files, and which of these places decides.

A place is a column of a DataFrame or its index, a key of an object, a position in a list, the beginning of a text, or anywhere within it.
A name there is a file's path, relative path or base name. That a class is called `cat` and a file too says nothing: names without an
extension or a folder count only where every row has one, under a key that is called like a file, or before the first `: ` of a text. What
can't be a class, such as `img_4`, forbids the order wherever it stands, where that is another one.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

from services import python_parser
from services.predictions.columns import NUMBER, may_name_file

Key = tuple[str | int, ...]
"""Which place: `("beginning",)`, `("within",)`, `("column", 2)`, `("index", 0)`, `("document", "image")` with the keys that lead there."""
BEGINNING: Key = ("beginning",)
WITHIN: Key = ("within",)
WORD: Key = ("word",)
FIRST_COLUMN: Key = ("column", 0)

_ANY, _FIRST_IN_A_TEXT, _CALLED_LIKE_A_FILE = range(3)
_EXTENSION = re.compile(r"(?<=[^/\\])\.(?=[0-9_]*[A-Za-z])[A-Za-z0-9_]{1,16}$")
_IN_A_NAME = re.compile(r"[\w./\\-]")

# The tutorial's `: ` takes one space, so that a prediction's own leading space survives; the others take all the spaces there are.
SEPARATOR = re.compile(r": | : |[:,;|\t] *| +")
_SEPARATOR_BEGINS = re.compile(r"[ :,;|\t]")
_WORD = re.compile(r"""[^\s:,;|=()\[\]{}"']+""")
_NO_CHANCE = 4
"""Rows: that the classes of so many are called as their files are, each as another one, is none."""
_MAY_BE_A_CLASS = re.compile(r"[^\W\d_]+|0|[1-9]\d*")
_FIELD = re.compile(r'"((?:[^"]|"")*)"(?= |\Z)|([^ ]*)')
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_DEEPEST = 20  # levels of objects and lists within each other
_NOT_TEXT = ("number", "date", "truth value", "empty", "int", "uint", "float", "bool", "timedelta", "complex")


def extension(name: str) -> str:
    """Such as `.png`; "" where there is none: what a number ends with is no extension."""
    match = _EXTENSION.search(name)
    return match[0] if match and not re.match(NUMBER, name) else ""


def extensions(items: Sequence[str]) -> Collection[str]:
    """Those of all items; "" among them where one has none."""
    first, joined = extension(items[0]) if items else "", "\n".join((*items, ""))
    if first and joined.count(f"{first}\n") == joined.count("\n") == len(items):  # the usual case, at no time an item
        return (first,)
    return {extension(item) for item in items}


Spelling = Callable[[Sequence[str]], list[str]]


@cache
def spellings(root: str) -> Sequence[Spelling]:
    """The ways in which a script may print the names of items: the base name first."""
    below = f"{root.rstrip('/')}/"
    ways: list[Spelling] = [
        lambda items: [item.rpartition("/")[2] for item in items],
        list,
        lambda items: [f"{below}{item}" for item in items],
    ]
    if "\\" in root:
        ways += [
            lambda items: [item.replace("/", "\\") for item in items],
            lambda items: [f"{root}\\{item}".replace("/", "\\") for item in items],
        ]
    return ways


@dataclass(frozen=True)
class Names:
    """What the files of a mini-batch may be called."""

    items: Sequence[str]
    root: str

    @cached_property
    def items_called(self) -> Mapping[str, tuple[int, ...]]:
        """By name, the items that have it."""
        called: dict[str, list[int]] = {}
        for place, names in enumerate(zip(*(spelled(self.items) for spelled in spellings(self.root)), strict=True)):
            for name in {*names}:
                called.setdefault(name, []).append(place)
        return {name: tuple(places) for name, places in called.items()}

    @cached_property
    def items_with_stem(self) -> Mapping[str, tuple[int, ...]]:
        """By base name without the extension. It doesn't name a file, but may contradict an order."""
        called: dict[str, list[int]] = {}
        only = self.extensions[0] if len(self.extensions) == 1 else ""
        for place, item in enumerate(self.items):
            base = item[item.rfind("/") + 1 :]
            called.setdefault(base.removesuffix(only) if only and base != only else self.stem(place), []).append(place)
        return {stem: tuple(places) for stem, places in called.items()}

    def words_within(self, text: str) -> Iterator[str]:
        """The words of a text that are names of files, or such names without the extension."""
        yield from (word for word in _WORD.findall(text) if word in self.items_with_stem or word in self.items_called)
        yield from (stem for stem in self._stems_of_several_words if re.search(rf"(?<!\w){re.escape(stem)}(?!\w)", text))

    @cached_property
    def _stems_of_several_words(self) -> Sequence[str]:
        return [stem for stem in self.items_with_stem if not _WORD.fullmatch(stem)]

    @cached_property
    def first_letters(self) -> Collection[str]:
        return {name[0] for name in self.items_called}

    @cached_property
    def longest(self) -> int:
        return max(map(len, self.items_called), default=0)

    @cached_property
    def extensions(self) -> Sequence[str]:
        return [each for each in extensions(self.items) if each]

    @cached_property
    def begins_like_a_file(self) -> re.Pattern[str] | None:
        """What ends as a file of this mini-batch does, at the beginning of a text."""
        either = "|".join(map(re.escape, self.extensions))
        return re.compile(rf"([^\n]*?(?:{either}))(?=[ :,;|\t]|$)") if either else None

    def stem(self, item: int) -> str:
        base = self.items[item].rpartition("/")[2]
        return base.removesuffix(extension(base)) or base

    def is_sure(self, name: str) -> bool:
        """Whether it can hardly be anything but a file's name."""
        return "/" in name or "\\" in name or bool(extension(name))

    def is_of_another(self, name: str, item: int | None) -> bool:
        """Whether it looks like a file that is not of this mini-batch. What a script makes of `item` is often called after it."""
        if extension(name) not in self.extensions:
            return False
        base = re.split(r"[/\\]", name)[-1]
        if item is None or (name != base and (name.startswith(self.root) or not re.match(r"[/\\]|\w:", name))):
            return True
        stem = self.stem(item)
        return not base.startswith(stem) or base[len(stem) : len(stem) + 1].isalnum()


@dataclass
class Place:
    """What the rows have in one place."""

    importance: int
    named: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By row, the items whose name stands there; none where several names do."""
    sure: bool = True
    """False where any of these names could be something else: it has no extension and no folder."""
    strangers: dict[int, str] = field(default_factory=dict)
    """By row, what stands there and looks like the name of another file."""
    stems: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By row, the items whose names, but for the extension, stand there; none where several do."""
    words: set[int] = field(default_factory=set)
    """The rows where what stands there may as well be a class: a word or a number."""

    def note_word(self, row: int, text: str) -> None:
        """That this text, which stands there, has no extension."""
        if _MAY_BE_A_CLASS.fullmatch(text):
            self.words.add(row)

    def is_distinct(self, named: Mapping[int, tuple[int, ...]]) -> bool:
        """Whether these rows may each be of another file."""
        items_by_key = {_key_of(items): items for items in named.values()}
        return all(count <= len(items_by_key[key]) for key, count in Counter(map(_key_of, named.values())).items())

    def quality(self, row_count: int) -> tuple[int, int, int] | None:
        """How well it tells which row is whose, each number the more the better; None where it doesn't."""
        if not self.named:
            return None
        in_every_row, distinct = len(self.named) == row_count, self.is_distinct(self.named)
        if not self.sure and not (in_every_row and (self.importance == _CALLED_LIKE_A_FILE or (self.importance and distinct))):
            return None
        if self.importance == _ANY and not in_every_row:
            return None
        return self.importance, in_every_row and distinct, len(self.named)

    def contradicts_order(self, row_count: int) -> bool:
        """Whether the rows can't be in the order of the items, if what stands here means files."""
        if self.strangers or any(row not in items for row, items in self.named.items() if self.sure or self.importance):
            return True
        as_stems = self.named | self.stems
        if self.importance == _ANY and self.words and row_count < _NO_CHANCE:
            return False
        in_every_row = len(as_stems) == row_count and self.is_distinct(as_stems)
        return in_every_row and any(row not in items for row, items in as_stems.items())


def _key_of(items: tuple[int, ...]) -> object:
    """For comparing the items that a name has: as many as a million may have one, and then they are one object."""
    return items if len(items) < 2 else id(items)


class Beginning(NamedTuple):
    """A name that a text begins with, and where its prediction does."""

    name: str
    end: int


def beginning_of(row: str, names: Names) -> Beginning | None:
    """The longest name that is followed by a separator."""
    if row.startswith('"') and (quoted := _QUOTED.match(row)) and quoted[1].replace('""', '"') in names.items_called:
        separator = SEPARATOR.match(row, quoted.end())
        return separator and Beginning(quoted[1].replace('""', '"'), separator.end())
    ends = (separator.start() for separator in _SEPARATOR_BEGINS.finditer(row, 0, names.longest + 1))
    end = max((end for end in ends if row[:end] in names.items_called), default=None)
    separator = None if end is None else SEPARATOR.match(row, end)
    if end is None or separator is None or (separator[0] != ": " and not names.is_sure(row[:end])):
        return None
    return Beginning(row[:end], separator.end())


class Evidence:
    """Everything the rows of a mini-batch say of its files, place by place.

    `columns` is JSON of a DataFrame's columns, "" where the rows are none of one; `index` its index: of each level its name and its
    values, one a row.
    """

    def __init__(
        self, rows: Sequence[str], names: Names, columns: str, index: Sequence[tuple[str, Sequence[str]]], *, in_order: bool
    ) -> None:
        self.names = names
        self._rows = rows
        self._in_order = in_order
        self.places: dict[Key, Place] = {}
        self.beginnings: dict[int, int] = {}
        """By row, where the prediction begins."""
        if columns:
            self._read_frame(frame_columns(columns))
        else:
            for number, row in enumerate(rows):
                self._read(number, row)
        for level, (name, values) in enumerate(index):
            importance = _CALLED_LIKE_A_FILE if may_name_file(name) else _ANY
            for number, value in enumerate(values[: len(rows)]):
                self._note(number, ("index", level), importance, value)
        self.was_sorted = any(is_another_order(values) for _, values in index)

    def _read_frame(self, columns: Sequence[tuple[int, int]]) -> None:
        for number, fields in enumerate(fields_of(self._rows)):
            for place, importance in columns:
                if place < len(fields):
                    self._note(number, ("column", place), importance, fields[place])
            if columns and columns[0][0] == 0 and len(fields) > 1:
                begins = len(fields[0]) + 1 if self._rows[number].startswith(f"{fields[0]} ") else len(fields[0].replace('"', '""')) + 3
                self.beginnings[number] = begins

    def _read(self, number: int, row: str) -> None:
        begins = row.lstrip()[:1]
        if begins in ("{", "[", "(") and not (begins in self.names.first_letters and beginning_of(row, self.names)):
            texts = list(texts_in(row))
            for path, text in texts:
                called = next((key for key in reversed(path) if isinstance(key, str)), "")
                self._note(number, ("document", *path), _CALLED_LIKE_A_FILE if may_name_file(called) else _ANY, text)
            if not any(text in self.names.items_called for _, text in texts):
                self._read_within(number, row)
        else:
            self._read_text(number, row)

    def _read_text(self, number: int, row: str) -> None:
        if beginning := beginning_of(row, self.names):
            self.beginnings[number] = beginning.end
            self._note(number, BEGINNING, _FIRST_IN_A_TEXT, beginning.name)
            if self.names.is_sure(beginning.name):
                return  # what comes after it may be any name
        else:
            like = self.names.begins_like_a_file
            text, separator, _ = row.partition(": ")
            stranger = like and like.match(row)
            if stranger or separator:
                self._note(number, BEGINNING, _FIRST_IN_A_TEXT, stranger[1] if stranger else text)
        self._read_within(number, row)
        if not any(number in place.named or number in place.strangers for place in self.places.values()):
            for word in self.names.words_within(row) if self._in_order else ():
                self._note(number, WORD, _ANY, word)

    def _read_within(self, number: int, row: str) -> None:
        for name in names_within(row, self.names):
            self._note(number, WITHIN, _ANY, name)

    def _note(self, row: int, key: Key, importance: int, value: str) -> None:
        items = self.names.items_called.get(value)
        if items is None:
            only = 0 if len(self.names.items) == 1 else None
            if self.names.is_of_another(value, row if self._in_order else only):
                self._place(key, importance).strangers[row] = value
            elif (importance or self._in_order) and (items := self.names.items_with_stem.get(value)):
                place = self._place(key, importance)
                place.note_word(row, value)
                place.stems[row] = items if place.stems.get(row, items) == items else ()
            return
        place = self._place(key, importance)
        if not self.names.is_sure(value):
            place.note_word(row, value)
        place.sure = place.sure and self.names.is_sure(value)
        other = place.named.get(row, items)
        place.named[row] = items if other is items or other == items else ()

    def _place(self, key: Key, importance: int) -> Place:
        if key not in self.places:
            self.places[key] = Place(importance)
        return self.places[key]

    def deciding(self) -> list[Key]:
        """The places that decide: of those that tell which row is whose, each that none is better than in every respect."""
        qualities = {key: quality for key, place in self.places.items() if (quality := place.quality(len(self._rows)))}

        def is_better(other: tuple[int, ...], than: tuple[int, ...]) -> bool:
            return other != than and all(a >= b for a, b in zip(other, than, strict=True))

        best = [key for key, quality in qualities.items() if not any(is_better(other, quality) for other in qualities.values())]
        return [] if any(self._is_denied(self.places[key]) for key in best) else best

    def _is_denied(self, deciding: Place) -> bool:
        """Whether a better place has the names of other files without their extension, in every row; or one that is as good has those of
        different files, where the same file stands here in several rows."""

        def counts(place: Place) -> bool:
            if place.importance == deciding.importance:
                return not (place.words or deciding.is_distinct(deciding.named)) and place.is_distinct(place.stems)
            return place.importance > deciding.importance

        return any(
            len(place.stems) == len(self._rows)
            and counts(place)
            and any(set(items).isdisjoint(deciding.named.get(row, items)) for row, items in place.stems.items())
            for place in self.places.values()
        )

    def candidates(self, row: int, deciding: Sequence[Key]) -> tuple[int, ...] | None:
        """The items that the row may be of, by these places: none where they disagree. None where it names nothing there."""
        told = [place.named[row] for key in deciding if (place := self.places.get(key)) and row in place.named]
        if len(told) < 2:
            return told[0] if told else None
        common = set(told[0]).intersection(*told[1:])
        return told[0] if len(common) == len(told[0]) else tuple(sorted(common))

    def prediction(self, row: int, item: int, deciding: Sequence[Key]) -> str:
        """What the row says of the item: all of it, but for the item's name where that is the beginning of the row and decides."""
        text, begin = self._rows[row], self.beginnings.get(row, 0)
        for key in (BEGINNING, FIRST_COLUMN):
            if begin and key in deciding and item in self.places[key].named.get(row, ()):
                return text[begin:]
        return text

    def names_another_file(self, row: int) -> bool:
        """Whether a file that is not of the mini-batch is named where a row's own stands."""
        return any(place.importance > _ANY and row in place.strangers for place in self.places.values())

    def contradicts_order(self, deciding: Sequence[Key]) -> bool:
        """Whether the rows can't be in the order of the items, by these places; by all where none decides."""
        by_places = any(self.places[key].contradicts_order(len(self._rows)) for key in deciding or self.places)
        return by_places or (self.was_sorted and not deciding)


# ---- what the rows hold ----------------------------------------------------------------------------------------------------------------


def is_another_order(index: Sequence[str]) -> bool:
    """Whether this is the index of a DataFrame whose rows were numbered from 0 and then put in another order."""
    places = list(map(str, range(len(index))))
    return list(index) != places and sorted(index) == sorted(places)


@lru_cache(maxsize=64)
def frame_columns(columns: str) -> Sequence[tuple[int, int]]:
    """The places of a DataFrame's columns that may hold names, and how much a name there counts."""
    told = [(str(name), str(dtype)) for name, dtype, *_ in json.loads(columns)]
    return [
        (place, _CALLED_LIKE_A_FILE if may_name_file(name) else _ANY)
        for place, (name, dtype) in enumerate(told)
        if not dtype.lower().startswith(_NOT_TEXT)
    ]


def fields_of(rows: Sequence[str]) -> Iterator[list[str]]:
    """Of each row of a DataFrame, as `to_csv(sep=" ")` wrote it."""
    for row in rows:
        try:
            yield next(csv.reader([row], delimiter=" "), [])
        except csv.Error:  # it is longer than csv reads, or has a \r, which pandas doesn't quote
            fields, end = [], 0
            while end <= len(row) and (field := _FIELD.match(row, end)):
                fields.append(field[1].replace('""', '"') if field[1] is not None else field[2])
                end = field.end() + 1
            yield fields


def names_within(row: str, names: Names) -> Iterator[str]:
    """The names of files, with an extension, that stand anywhere in a text: the longest at each place."""
    for ending in names.extensions:
        end = row.find(ending)
        while end >= 0:
            end += len(ending)
            if not re.match(r"\w|\.\w", row[end : end + 2]):
                starts = range(max(0, end - names.longest), end - len(ending))
                called = (row[start:end] for start in starts if not start or not _IN_A_NAME.match(row[start - 1]))
                yield from itertools.islice((name for name in called if name in names.items_called), 1)
            end = row.find(ending, end)


class _Pairs(list[tuple[str, object]]):
    """An object of a JSON text, with keys that stand there twice."""


def texts_in(row: str) -> Iterator[tuple[Key, str]]:
    """The texts of an object or a list, JSON or as Python prints it, each with the keys and positions that lead there. A key is a text
    too: all keys of an object are at one place."""
    try:
        todo: list[tuple[Key, object]] = [((), json.loads(row, object_pairs_hook=_Pairs))]
    except (ValueError, RecursionError):
        yield from _printed_texts(row)
        return
    while todo:
        path, value = todo.pop()
        if len(path) > _DEEPEST:
            continue
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, _Pairs):
            yield from ((_keys_of(path), key) for key, _ in value)
            todo += [((*path, key), inner) for key, inner in value if isinstance(inner, str | list)]
        elif isinstance(value, list):
            todo += [((*path, place), inner) for place, inner in enumerate(value) if isinstance(inner, str | list)]


def _keys_of(path: Sequence[str | int]) -> Key:
    return (*path, -1)


_TOKEN = re.compile(
    r"""(?P<text>[bBuUrR]{0,2}(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))|(?P<open>[\[({])|(?P<close>[\])}])|(?P<sign>[:,])|(?P<word>[^\s\[\](){}:,'"]+)""",
    re.DOTALL,
)


def _printed_texts(row: str) -> Iterator[tuple[Key, str]]:
    """Of dicts, lists and tuples as Python prints them, whatever is in them: `{'file': PosixPath('a.png'), 'n': np.int64(1)}`."""
    path: list[str | int | None] = []  # of each open bracket the key or position; None of a call's
    brackets: list[str] = []
    text: str | None = None
    word = ""
    for token in _TOKEN.finditer(row):
        kind, what = token.lastgroup, token[0]
        if kind == "text":
            text = _evaluated(what)
        elif kind == "open":
            is_call = what == "(" and word != ""
            brackets.append("call" if is_call else what)
            path.append(None if is_call else 0 if what != "{" else "")
            text = None
        elif what == ":" and brackets[-1:] == ["{"]:
            if text is not None and len(path) <= _DEEPEST:
                yield _keys_of([step for step in path[:-1] if step is not None]), text
            path[-1], text = text or word, None
        elif what == ":":
            continue
        elif kind in ("close", "sign"):
            if text is not None and len(path) <= _DEEPEST:
                yield tuple(step for step in path if step is not None), text
                text = None
            if kind == "close" and brackets:
                brackets.pop()
                path.pop()
            elif brackets and isinstance(path[-1], int):
                path[-1] += 1
        word = what if kind == "word" else ""


def _evaluated(literal: str) -> str:
    if literal[0] in "'\"" and "\\" not in literal:  # the usual case, in a tenth of the time
        return literal[1:-1]
    try:
        value = python_parser.literal(literal)
    except (ValueError, SyntaxError):
        return literal
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
