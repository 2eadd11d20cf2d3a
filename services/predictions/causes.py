"""Why an item failed: what was said about it while its mini-batch ran, else a sentence of ours that names it. Plain functions on strings.

A line counts only for an item that has no row, and only where the same text, names and numbers taken out (`template`), isn't also said of
items that succeeded: progress is printed of every item, and is nobody's cause. Of what is left, the best source counts (`SOURCES`), and of
that the first line.

Standard library only, and Python 3.8 or newer: a worker loads this file in the run's own interpreter. Nothing of this package is imported.
"""

from __future__ import annotations

import operator
import re
from collections import defaultdict, namedtuple
from functools import cached_property, lru_cache
from itertools import takewhile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

SOURCES = ("exception", "ERROR", "WARNING", "warnings", "stderr", "INFO", "print")
"""Where a line comes from, the best first; the last two are equally good. `exception` is a traceback that was logged or printed."""

_RANKS = {source: min(rank, SOURCES.index("INFO")) for rank, source in enumerate(SOURCES)}


def _rank(line: Line) -> int:
    return _RANKS.get(line.source, len(SOURCES))


_QUIET = _RANKS["stderr"]
"""From this rank on, it may be progress."""
_AT_ERROR = _RANKS["WARNING"]
"""What names no item may still be about all items of a mini-batch: from this rank up."""

_MOST_CHARACTERS = 1_000
"""Of a line; also of what names are looked for in."""
_MOST_LINES = 50_000
"""Of a stream or a log file; half from the beginning, half from the end."""
_MOST_KEPT_CHARACTERS = 4_000_000
"""Of the lines that are kept with a mini-batch, in all."""
_MOST_OF_AN_ITEM = 20
"""Lines that are kept, of those about one item, or of none."""
_MOST_TEMPLATES = 500
"""That one worker reports of items that succeeded."""

Line = namedtuple("Line", "source text")
"""What was said at once: `source` is one of SOURCES, `text` one line for people, at most 1,000 characters."""
# A NamedTuple of typing would take its import with it.

GAP = "…"
"""What stands in a template for a name or a number."""

_AROUND = " \t.:;,-'\"`()[]<>"
"""Signs around a name that say nothing of it."""

_HASH = re.compile(r"0[xX][0-9a-fA-F]+|[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,12})*")
"""Also an address, a UUID."""
_NUMBER = re.compile(r"[0-9]+(?:[.,:][0-9]+)*")
_DIGITS = re.compile(r"[0-9]+")
_REST_OF_A_NUMBER = re.compile(rf"(?<={GAP})(?:, ?|; ?| and | |[eE])?[-+]?{GAP}|(?<!\w)[-+]+(?={GAP})")
"""A sign, an exponent, the further parts of a date, the further numbers of a list."""
_WORD = re.compile(r"""[^\s"'`()\[\]{}<>,;:=|*!?]+""")
_ODD = re.compile(r"""[\s"'`()\[\]{}<>,;:=|*!?]|\.$""")
"""What a file's name may hold that ends a word."""
_ORDINARY = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z]+")
"""Most names: neither odd nor without an ending."""
_WITH_AN_ENDING = re.compile(r"\.\w*[A-Za-z]\w*$")
_OF_SEVERAL_CHARACTERS = re.compile(r"[^ -~\xa0-\u02ff\u0370-\u0482\u048a-\u052f\u2010-\u2027\u3041-\u3096\u30a0-\u30ff\u4e00-\u9fff]")
"""What a letter of several characters may have as its second or further one; also much that is none."""
_BEFORE_A_NAME = frozenset(" \t\r\n\"'`([{<=,;:|")


# ---- templates ---------------------------------------------------------------------------------------------------------------------------


def template(text: str, names: Iterable[str] = ()) -> str:
    """The text without what differs from item to item: these names, as paths or base names, and all numbers, each as `…`."""
    for name in names:
        base = name[name.rfind("/") + 1 :]
        text = _without_name(text, base)
        if not base.isprintable() or "\\" in base or "'" in base:
            text = _without_name(text, repr(base)[1:-1])
    return _without_numbers(text)


@lru_cache(maxsize=10_000)  # most texts are the same without the names
def _without_numbers(text: str) -> str:
    if _HASH.search(text):
        text = _HASH.sub(lambda match: GAP if any(map(str.isdigit, match.group())) else match.group(), text)
    text = _NUMBER.sub(GAP, text)
    return _REST_OF_A_NUMBER.sub("", text) if GAP in text else text


def _without_name(text: str, base: str) -> str:
    at = text.find(base) if base else -1
    while at >= 0:
        begin, end = at, at + len(base)
        inside = (begin > 0 and text[begin - 1].isalnum() and base[0].isalnum()) or (end < len(text) and text[end].isalnum())
        if inside:
            at = text.find(base, end)
            continue
        begin = _begin_of_path(text, begin)
        text = text[:begin] + GAP + text[end:]
        at = text.find(base, begin + 1)
    return text


def with_what_is_common(template: str, texts: tuple[str, str], reversed_texts: tuple[str, str]) -> str:
    """The template of some texts, its gaps filled where all have the same there: `… has 9 fields, and the model takes 12`.

    `texts` are the least and the greatest of them, `reversed_texts` the same of the texts read backwards: whatever two such begin with,
    all between them begin with. So gaps are filled from both ends, up to the first that differs; one between two that differ stays.
    """
    if texts[0] == texts[1]:
        return texts[0]
    parts = template.split(GAP)
    begin, left = _filled(parts, _shared_beginning(texts))
    end, right = _filled([part[::-1] for part in reversed(parts)], _simple(_shared_beginning(reversed_texts)))
    if left + right >= len(parts) - 1:  # they differ somewhere
        end, right = "", 0
    return begin + GAP.join(parts[left : len(parts) - right]) + end[::-1]


def _filled(parts: Sequence[str], shared: str) -> tuple[str, int]:
    """How far the gaps between these parts are filled by what all texts begin with: that text, without the last part, and the number of
    gaps. The last gap is none of them, and a value counts only with all that is before the next gap: 12 may go on as 12.5."""
    if not shared.startswith(parts[0]):
        return "", 0
    text, gaps, at = "", 0, len(parts[0])
    for part in parts[1:-1]:
        end = shared.find(part, at + 1) if part else -1
        if end < 0:
            break
        text, gaps, at = shared[:end], gaps + 1, end + len(part)
    return text, gaps


def _shared_beginning(texts: tuple[str, str]) -> str:
    return texts[0][: len(list(takewhile(bool, map(operator.eq, *texts))))]


def _simple(text: str) -> str:
    """Up to the letter before the first that may be of several characters, as one with an accent of its own: who reads a text backwards
    may leave these in their order."""
    several = _OF_SEVERAL_CHARACTERS.search(text)
    return text[: max(0, several.start() - 1)] if several else text


def _begin_of_path(text: str, at: int) -> int:
    """Where the path begins whose base name is at `at`."""
    begin = at
    if begin and text[begin - 1] in "/\\":
        while begin and text[begin - 1] not in _BEFORE_A_NAME:
            begin -= 1
        if begin > 1 and text[begin - 1] == ":" and text[begin - 2].isalpha() and not text[begin - 3 : begin - 2].isalnum():
            begin -= 2  # C:
    return begin


def _with_drive(text: str, path: str) -> str:
    """The path, which follows a colon in the text, with what is before that where it is a drive: `C:`."""
    at = text.find(f":{path}")
    return f"{text[at - 1]}:{path}" if at and text[at - 1].isalpha() and not text[at - 2 : at - 1].isalnum() else path


# ---- which items a line names ------------------------------------------------------------------------------------------------------------


class Names:
    """The items of a mini-batch (relative paths, `/` between folders), found in lines by their path, whatever is before it, or base name.

    A name without an ending, such as `7` or `cat`, counts with a folder before it or in quotes only: else it may be any word.
    """

    def __init__(self, items: Sequence[str]) -> None:
        self._items = items
        self._places: dict[str, list[int]] = {}
        self._plain: set[str] = set()  # names without an ending
        self._odd: dict[str, str] = {}  # by how it may be printed
        for place, item in enumerate(items):
            base = item[item.rfind("/") + 1 :]
            self._places.setdefault(base, []).append(place)
            if base != item:
                self._places.setdefault(item, []).append(place)
            if _ORDINARY.fullmatch(base):
                continue
            if not _WITH_AN_ENDING.search(base):
                self._plain.update((item, base))
            if _ODD.search(base) or not base.isprintable() or "\\" in base:
                for printed in {base, repr(base)[1:-1]}:
                    self._odd[printed] = base
        self._odd_endings = {name[-1] for name in self._odd}
        self._longest_odd = max(map(len, self._odd), default=0)

    def mentions(self, text: str) -> list[tuple[str, Sequence[int]]]:
        """How items are named in the text, with the folders before them: each spelling, and the places of the items that may be meant."""
        found: list[tuple[str, Sequence[int]]] = []
        for match in _WORD.findall(text[: _MOST_CHARACTERS * 4]):
            word = match.rstrip(".") if match[-1] == "." else match
            if "/" in word or "\\" in word:
                path = self._longest_known(word)
                if path:
                    found.append((_with_drive(text, word) if f":{word}" in text else word, self._places[path]))
            elif word in self._places and (word not in self._plain or any(quote + word in text for quote in "\"'`")):
                found.append((word, self._places[word]))
        return found + self._odd_mentions(text) if self._odd else found

    def _longest_known(self, word: str) -> str:
        """The path of an item that the path ends with, or its base name; "" where it is none's."""
        path = word.replace("\\", "/").lstrip("/")
        if path[path.rfind("/") + 1 :] not in self._places:
            return ""
        while path not in self._places:
            path = path[path.find("/") + 1 :]
        return path

    def _odd_mentions(self, text: str) -> list[tuple[str, Sequence[int]]]:
        """Names that hold blanks, quotes and the like: what ends as one of them is looked up from each place where a name may begin."""
        text = text[: _MOST_CHARACTERS * 4]
        begins = [0] + [place + 1 for place, character in enumerate(text) if not character.isalnum()]
        taken = 0
        found: list[tuple[str, Sequence[int]]] = []
        for end in (place + 1 for place, character in enumerate(text) if character in self._odd_endings):
            if end < len(text) and text[end].isalnum():
                continue
            begin = next((at for at in begins if taken <= at < end and end - at <= self._longest_odd and text[at:end] in self._odd), None)
            if begin is None:
                continue
            taken, first, base = end, _begin_of_path(text, begin), self._odd[text[begin:end]]
            path = text[first:begin].replace("\\", "/").lstrip("/") + base
            while path not in self._places:
                path = path.partition("/")[2]
            found.append((text[first:end], self._places[path]))
        return found

    def named_in(self, text: str) -> set[int]:
        """The places of the items that the text names; of all items of one name where it doesn't say of which folder."""
        return {place for _, places in self.mentions(text) for place in places}

    def may_name_another(self, text: str) -> bool:
        """Whether the text, which names none of the items, may name a file that isn't one of them: by its ending."""
        return any(word.rstrip(".").endswith(self._endings) for word in _WORD.findall(text))

    @cached_property
    def _endings(self) -> tuple[str, ...]:
        return tuple({match.group() for match in map(_WITH_AN_ENDING.search, self._items) if match})

    def shortened(self, text: str, mentions: Iterable[tuple[str, Sequence[int]]]) -> str:
        """The text without the folders of this machine before the items that it names."""
        for spelled, places in mentions:
            item = self._items[places[0]]
            if len(places) == 1 and len(spelled) > len(item) and spelled.replace("\\", "/").endswith("/" + item):
                text = text.replace(spelled, item)
        return text


# ---- lines out of what was printed -------------------------------------------------------------------------------------------------------

_LEVELS = {
    "CRITICAL": "ERROR", "FATAL": "ERROR", "ERROR": "ERROR", "WARNING": "WARNING", "WARN": "WARNING",
    "INFO": "INFO", "NOTICE": "INFO", "DEBUG": "INFO", "TRACE": "INFO",
}  # fmt: skip
_ROW_FAILED = re.compile(r"(?s)Row ([0-9]{1,12}) of ([0-9]{1,12}) in its mini-batch failed: (.*)")
"""What the built-in scripts log of a row of a table, which has no name."""
_LEVEL = re.compile(
    r"""(?P<before>[^A-Za-z]*|[^A-Za-z]*\d[\dT:.,Z\s\])|/-]*[\s|:\[(-]+[\w.\[\]|:\s-]{0,60}?)\b"""
    rf"""(?P<level>{"|".join(_LEVELS)})\b[\])>]*[\s:|-]*(?P<message>.*)""",
    re.DOTALL,
)
"""A line as loggers write it: a time or nothing, perhaps the logger's name, the level, the message."""
_TIME = re.compile(r"^\W*\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?[\s|]*")
_WARNING = re.compile(r"^(?P<place>.*?):\d+: (?P<message>\w*(?:Warning|Deprecation)\w*: .*)", re.DOTALL)
"""A warning as Python's module warnings prints it."""
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
"""And other control sequences for a terminal, before and within a line."""
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?::\s|$)")


def lines_of(text: str, source: str, most: int = _MOST_LINES) -> list[Line]:
    """What a stream or a log file says, as lines: `source` is `stderr` or `print`, for what doesn't say its level itself. Of more than
    `most` rows the first and the last ones count.

    Indented lines belong to the one before. Of a traceback the last line is kept, the exception; after a logger's message it is the rest
    of that.
    """
    lines: list[Line] = []
    rows = _without_colours(text).splitlines()
    if len(rows) > most:
        rows = rows[: most // 2] + rows[-most // 2 :]
    number = 0
    while number < len(rows):
        row, number = rows[number], number + 1
        if row.strip() == "":
            continue
        bare = _TIME.sub("", row).strip()
        if bare.endswith(_TRACEBACK):
            exception, number = _end_of_traceback(rows, number)
            before = bare[: -len(_TRACEBACK)].strip(" |:")
            if exception:
                lines.append(Line("exception", one_line(f"{before}: {exception}" if before else exception)))
            continue
        more = number
        while more < len(rows) and rows[more][:1] in " \t" and rows[more].strip() and more - number < 20:
            more += 1
        line = _line("\n".join(rows[number - 1 : more]), source)
        number = more
        if line.source in ("ERROR", "WARNING", "INFO") and number < len(rows) and rows[number].strip() == _TRACEBACK:
            exception, number = _end_of_traceback(rows, number + 1)
            if exception:
                line = with_exception(line, exception)
        lines.append(line)
    return lines


def _line(text: str, source: str) -> Line:
    if warning := _WARNING.match(text):
        return Line("warnings", one_line(warning.group("message").split("\n")[0]))
    level = _LEVEL.match(text)
    if level and level.group("message").strip():
        return Line(_LEVELS[level.group("level")], one_line(level.group("message")))
    return Line(source, one_line(text))


def with_exception(line: Line, exception: str) -> Line:
    """A logger's line with the exception that was logged with it: `can't read a.csv: ValueError: no header`."""
    exception = one_line(exception)
    said = exception in line.text or (": " in exception and exception.partition(": ")[2] in line.text)
    return line if said else Line(line.source, one_line(f"{line.text.rstrip(' .:')}: {exception}"))


def _end_of_traceback(rows: Sequence[str], number: int) -> tuple[str, int]:
    """The exception that the traceback ends with, and the number of the row after it. Of a chain of them the last."""
    exception = ""
    while number < len(rows):
        row = rows[number]
        if row.strip().endswith(_TRACEBACK):
            if exception:
                break
        elif row.strip() and not row[:1].isspace():
            if row.startswith(("During handling of the above exception", "The above exception was the direct cause")):
                exception = ""
            elif exception:
                break
            elif _EXCEPTION.match(row):
                exception = row.strip()
            else:
                break
        elif not row.strip() and exception and not _goes_on(rows, number):
            break
        number += 1
    return exception, number


def _goes_on(rows: Sequence[str], number: int) -> bool:
    following = next((row for row in rows[number : number + 3] if row.strip()), "")
    return following.startswith(("During handling of the above exception", "The above exception was the direct cause"))


def _without_colours(text: str) -> str:
    return _COLOURS.sub("", text) if "\x1b" in text else text


def one_line(text: str) -> str:
    """Without line breaks, and no longer than a line of a table may be."""
    text = " ".join(_without_colours(text[: _MOST_CHARACTERS * 4]).split())
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + GAP


# ---- what is reported of a mini-batch ----------------------------------------------------------------------------------------------------


class SaidLines:
    """What a worker reports of the lines that its script says: those that may be about an item without a row, with their mini-batch; of
    all others their templates, each once."""

    def __init__(self) -> None:
        self._reported: set[str] = set()
        self._progress: set[str] = set()  # lines of reported templates, without digits: known at a glance

    def report(
        self, lines: Iterable[Line], items: Sequence[str], rows: str, missing: int
    ) -> tuple[list[Line], list[str], list[tuple[str, str]]]:
        """The lines to keep with the mini-batch, the templates said of items that succeeded and not reported before, and what the script
        warned of that is no item's cause: template and text of each line at the level of a warning or above that names no item.

        `items` are the files of the mini-batch (none where its items are rows of a table), `rows` is what run() returned, as text,
        `missing` how many rows fewer than items these are. An item that a row names has one. Where no row names any, all have one if none
        is missing; else what is said of more items than are missing is said of one that has a row.
        """
        lines = [line for line in lines if _rank(line) <= _AT_ERROR or _DIGITS.sub("", line.text) not in self._progress]
        if not lines:
            return [], [], []
        names = Names(items)
        new_lines: list[tuple[Line, set[int], str]] = []
        about: dict[str, set[int]] = defaultdict(set)
        warned: dict[str, str] = {}
        for line in lines:
            places = names.named_in(line.text)
            pattern = template(line.text, [items[place] for place in places])
            if not places and _rank(line) <= _AT_ERROR and len(warned) < _MOST_OF_AN_ITEM:
                warned.setdefault(pattern, line.text)
            if pattern not in self._reported:
                new_lines.append((line, places, pattern))
                about[pattern] |= places
        named: set[int] = set().union(*about.values())
        warnings = list(warned.items()) if missing <= len(named) else []  # else it may be a cause
        if not new_lines:
            return [], [], warnings
        with_row: set[int] = set().union(*map(names.named_in, rows.splitlines())) if any(about.values()) else set()
        progress = dict.fromkeys(
            pattern for _, places, pattern in new_lines if self._is_progress(places, about[pattern], with_row, missing)
        )
        templates = list(progress)[: _MOST_TEMPLATES - len(self._reported)]
        self._reported.update(templates)
        self._progress.update(_DIGITS.sub("", line.text) for line, _, pattern in new_lines if pattern in self._reported)
        kept = _bounded_lines([(line, places) for line, places, pattern in new_lines if pattern not in progress])
        return kept, templates, warnings

    @staticmethod
    def _is_progress(places: set[int], all_places: set[int], with_row: set[int], missing: int) -> bool:
        """Whether this line, and others like it of `all_places`, are certainly said of an item that has a row."""
        if with_row and places:
            return bool(places & with_row)
        return missing <= 0 or len(all_places) > missing


def _bounded_lines(lines: Sequence[tuple[Line, set[int]]]) -> list[Line]:
    """A few of each item, the best ones, and not too much in all."""
    kept: list[tuple[int, Line]] = []
    seen: dict[int, int] = defaultdict(int)
    characters = 0
    for number, (line, places) in sorted(enumerate(lines), key=lambda entry: _rank(entry[1][0])):
        if all(seen[place] >= _MOST_OF_AN_ITEM for place in places or {-1}) or characters > _MOST_KEPT_CHARACTERS:
            continue
        for place in places or {-1}:
            seen[place] += 1
        characters += len(line.text)
        kept.append((number, line))
    return [line for _, line in sorted(kept, key=lambda entry: entry[0])]


# ---- the cause of each item --------------------------------------------------------------------------------------------------------------


def causes_of_items(
    lines: Sequence[Line],
    items: Sequence[str],
    without_row: Collection[int],
    said_of_succeeded: Collection[str] = (),
    *,
    nothing_succeeded: bool = False,
) -> dict[int, str]:
    """What was said of each item that has no row, by its place among `items`; nothing of those of whom nothing was said.

    `lines` are said while the mini-batch ran, `said_of_succeeded` are templates that were said of items that succeeded, anywhere in the
    run. A line that names no file is about those without a row where it is an error or a warning, nothing else like it was said, and no
    item of the mini-batch has a row, or as many such lines were said as items have none. Where nothing in the run succeeded, progress
    can't be distinguished from causes: what was only logged at INFO or printed, on stderr too, is none.
    """
    names, missing = Names(items), set(without_row)
    excluded = set(said_of_succeeded)
    about: list[tuple[int, set[int], str, str]] = []
    for line in lines:
        mentions = names.mentions(line.text)
        places = {place for _, several in mentions for place in several}
        text = names.shortened(line.text, mentions)
        pattern = template(text, [items[place] for place in places])
        if places - missing:
            excluded.add(pattern)
        about.append((_rank(line), places, pattern, text))
    about.sort(key=lambda entry: entry[0])
    causes: dict[int, str] = {}
    unnamed: dict[str, list[str]] = defaultdict(list)
    for rank, places, pattern, text in about:
        if pattern in excluded or (nothing_succeeded and rank >= _QUIET) or pattern.strip(_AROUND) == GAP:
            continue
        for place in places:
            causes.setdefault(place, text)
        if not places and rank <= _AT_ERROR and not names.may_name_another(text):
            unnamed[pattern].append(text)
    rest = sorted(missing - causes.keys())
    if len(unnamed) == 1 and rest:
        (texts,) = unnamed.values()
        if len(set(texts)) == 1 and (len(missing) == len(items) or len(texts) == len(rest)):
            causes.update(dict.fromkeys(rest, texts[0]))
    return causes


def last_said_of_items(lines: Sequence[Line], items: Sequence[str]) -> dict[int, str]:
    """The last line that names an item, and no other, and says something of it: by the item's place."""
    names = Names(items)
    last: dict[int, str] = {}
    for line in lines:
        mentions = names.mentions(line.text)
        places = {place for _, several in mentions for place in several}
        text = names.shortened(line.text, mentions)
        if len(places) == 1 and template(text, [items[place] for place in places]).strip(_AROUND) != GAP:
            last.update(dict.fromkeys(places, text))
    return last


def causes_of_rows(
    lines: Sequence[Line], missing: int, item_count: int, said_of_succeeded: Collection[str] = (), *, nothing_succeeded: bool = False
) -> list[str]:
    """The same of a table's rows, which have no names: what was said of each of the `missing` ones, in its order, or nothing.

    That is what there are as many lines of as rows are missing, all of one template; or, where no row succeeded, the only thing that was
    said at the level of a warning or above.
    """
    said: dict[tuple[int, str], list[str]] = defaultdict(list)
    for line in lines:
        if (pattern := template(line.text)) not in said_of_succeeded and not (nothing_succeeded and _rank(line) >= _QUIET):
            said[_rank(line), pattern].append(line.text)
    for _, texts in sorted(said.items(), key=lambda entry: entry[0][0]):
        if len(texts) == missing:
            return texts
    serious = [texts for (rank, _), texts in said.items() if rank <= _AT_ERROR]
    return [serious[0][0]] * missing if missing == item_count and len(serious) == 1 and len(set(serious[0])) == 1 else []


def no_row(item: str, returned: int, item_count: int, mini_batch: int, last_said: str = "", *, unmatched: bool = False) -> str:
    """Our sentence on an item without a known cause: `run() returned 3 rows for 4 files in mini-batch 1; without a row: p1.csv`. Where some
    rows are `unmatched`, one may be the item's."""
    known = "none of them is known to be of" if unmatched or returned >= item_count else "without a row:"
    return f"{_returned(returned)} for {_counted(item_count, 'file')} in mini-batch {mini_batch}; {known} {item}" + (
        f"; the last that was said of it: {last_said}" if last_said else ""
    )


def causes_by_place(lines: Sequence[Line], item_count: int) -> dict[int, str]:
    """What was said of single rows of a table, by their places in a mini-batch of so many: `Row 3 of 5 in its mini-batch failed: it is
    empty` is said of place 2. The first line of each counts."""
    causes: dict[int, str] = {}
    for line in lines:
        if (match := _ROW_FAILED.match(line.text)) and int(match[2]) == item_count:
            causes.setdefault(int(match[1]) - 1, match[3][:1].upper() + match[3][1:])
    return causes


def no_row_of_table(file: str, returned: int, item_count: int, mini_batch: int, *, known: bool = False) -> str:
    """The same on a row of a table, of which only the file is known; or, where it is `known` which row it is, on that one."""
    of = f" of {file}" if file else ""
    which = "this one has none" if known else "which row has none is not known"
    return f"{_returned(returned)} for {_counted(item_count, 'row')}{of} in mini-batch {mini_batch}; {which}"


def no_row_known(item_count: int, missing: int, mini_batch: int, noun: str = "file") -> str:
    """The same where nothing tells which items have no row, since the run keeps none."""
    returned = _returned(item_count - missing)
    return f"{returned} for {_counted(item_count, noun)} in mini-batch {mini_batch}; which {noun} has none is not known without the rows"


def _returned(count: int) -> str:
    return f"run() returned {_counted(count, 'row') if count else 'no rows'}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
