"""What a line of a log says of itself: its time and its level; and which lines belong together, as an error and its traceback."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import NamedTuple

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_HEADER_BYTES = 300  # of a line; beyond there is no time and no level
_MOST_LINES = 500  # of a record

_SAME = {"WARN": "WARNING", "FATAL": "CRITICAL", "NOTICE": "INFO", "TRACE": "DEBUG"}
_WORD = rb"DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL|NOTICE|TRACE"
_TIME = re.compile(
    rb"\[?(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?: ?(Z|UTC|[+-]\d\d:?\d\d)\b)?\]?"
    rb"(?:[ |:\[\]-]{1,4}(?:[^\s|\[\]]{1,80}[ |:\[\]-]{1,4}){0,3}?(" + _WORD + rb")(?![A-Za-z0-9_]))?"
)
"""A time, and a level with at most three words between them, as in `2026-03-01 12:00:00,123 - my.logger - INFO - text`."""
_LEVEL = re.compile(rb"(?:(?:\[[\w.]{1,40}\] ?)?\[ ?(" + _WORD + rb") ?\]|(" + _WORD + rb")(?:[:|]| {1,2}[\w.\[(]))", re.IGNORECASE)
"""A level at the beginning: `ERROR: text`, `WARNING:root:text`, `[error] text`, `[LightGBM] [Warning] text`."""
_OF_WARNINGS = re.compile(rb"[^\n]{0,250}:\d{1,7}: \w*Warning: ")
"""As Python's warnings are printed: `script.py:12: UserWarning: text`."""
_TRACEBACK = b"Traceback (most recent call last):"
_CHAINED = (b"During handling of the above exception", b"The above exception was the direct cause")
_BLANK = (b" ", b"\t")


class Header(NamedTuple):
    """What a line says of itself: `time` in seconds since 1970, None where it doesn't; `level` is one of LEVELS, or ""."""

    time: float | None
    level: str

    @property
    def is_there(self) -> bool:
        return self.time is not None or bool(self.level)


NO_HEADER = Header(None, "")


def header_of(line: bytes, zone: tzinfo | None) -> Header:
    """Of one line. `zone` is that of times that don't say theirs, None this machine's."""
    first = line[:1]
    if not first or first in b" \t\r":
        return NO_HEADER
    line = line[:_HEADER_BYTES]
    if (first.isdigit() or first == b"[") and (match := _TIME.match(line)):
        return Header(_seconds(match, zone), _level_name(match[9]))
    if match := _LEVEL.match(line):
        word = match[1] or match[2]
        if match[1] or word.isupper():
            return Header(None, _level_name(word))
    if b"Warning: " in line and _OF_WARNINGS.match(line):
        return Header(None, "WARNING")
    return NO_HEADER


def _level_name(word: bytes | None) -> str:
    name = word.decode("ascii").upper() if word else ""
    return _SAME.get(name, name)


def _seconds(match: re.Match[bytes], zone: tzinfo | None) -> float | None:
    try:
        year, month, day, hour, minute, second = map(int, match.groups()[:6])
        if stated := match[8]:
            zone = _zone(stated)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        return moment.timestamp() + (float(b"0." + match[7]) if match[7] else 0.0)
    except (ValueError, OverflowError, OSError):  # the 45th of March
        return None


@lru_cache(maxsize=100)
def _zone(stated: bytes) -> tzinfo:
    if stated in (b"Z", b"UTC"):
        return UTC
    sign = -1 if stated[:1] == b"-" else 1
    return timezone(sign * timedelta(hours=int(stated[1:3]), minutes=int(stated[-2:])))


def at_least(level: str, wanted: str) -> bool:
    """Whether a line of this level counts where lines from `wanted` up are asked for. One that doesn't say its level counts as INFO."""
    return not wanted or LEVELS.index(level or "INFO") >= LEVELS.index(wanted)


def signs_of(wanted: str) -> tuple[bytes, ...]:
    """What a line from this level up has in it, or a line that it belongs to, in small letters; none where any line may be one."""
    signs = {"WARNING": (b"warn",), "ERROR": (b"error", _TRACEBACK.lower()), "CRITICAL": (b"critical", b"fatal")}
    if wanted not in signs:
        return ()
    return tuple(sign for level in LEVELS[LEVELS.index(wanted) :] for sign in signs[level])


# ---- which lines belong together ---------------------------------------------------------------------------------------------------------


class Record(NamedTuple):
    """Lines of a block that belong together: where they begin and end (after the last line break); and of its first line the header."""

    begin: int
    end: int
    header: Header


class Block:
    """A part of a log file that is whole lines, but for what is longer than a block."""

    def __init__(self, content: bytes, zone: tzinfo | None) -> None:
        self.content = content
        self._zone = zone

    def record_at(self, place: int) -> Record:
        """The lines that belong together with the one at this place."""
        own = self._line_begin(place)
        begin = self._first_line(own)
        header = self.header_at(begin)
        end = self._last_line_end(begin, header)
        if end <= own:  # what is before it belongs to something else
            begin, header = own, self.header_at(own)
            end = self._last_line_end(begin, header)
        return Record(begin, end, header)

    def lines(self, record: Record) -> list[tuple[int, int, str]]:
        """Of a record: where each line begins, where it ends without its line break, and its level."""
        lines, level, begin = [], record.header.level, record.begin
        while begin < record.end:
            end = self._line_end(begin)
            if self._is_traceback(begin, record.begin) and level not in ("ERROR", "CRITICAL"):
                level = "ERROR"
            lines.append((begin, end, level))
            begin = end + 1
        return lines

    def header_at(self, begin: int) -> Header:
        return header_of(self.content[begin : min(begin + _HEADER_BYTES, self._line_end(begin))], self._zone)

    def _line_begin(self, place: int) -> int:
        return self.content.rfind(b"\n", 0, place) + 1

    def _line_end(self, begin: int) -> int:
        end = self.content.find(b"\n", begin)
        return len(self.content) if end < 0 else end

    def _starts(self, begin: int, text: bytes | tuple[bytes, ...]) -> bool:
        return self.content.startswith(text, begin)

    def _is_traceback(self, begin: int, first: int) -> bool:
        """Whether one begins there; after a time, where it is the `first` line."""
        return self._starts(begin, _TRACEBACK) or (
            begin == first and self.content.find(_TRACEBACK, begin, min(begin + _HEADER_BYTES, self._line_end(begin))) > 0
        )

    def _is_indented(self, begin: int) -> bool:
        return self.content[begin : begin + 1] in _BLANK

    def _is_empty(self, begin: int) -> bool:
        return self.content[begin : begin + 1] in (b"\n", b"\r", b"")

    def _before(self, begin: int) -> int:
        """Where the line before begins; -1 for none."""
        return self._line_begin(begin - 1) if begin > 0 else -1

    def _before_without_empty(self, begin: int) -> int:
        before = self._before(begin)
        for _ in range(2):
            if before >= 0 and self._is_empty(before):
                before = self._before(before)
        return before

    def _first_line(self, begin: int) -> int:
        """Upwards: over indented lines, over a traceback, to the line that it was logged with."""
        for _ in range(_MOST_LINES):
            before = self._before(begin)
            if before < 0:
                return begin
            if self._is_indented(begin):
                if self._is_empty(before):
                    return begin
                begin = before
            elif self._starts(begin, _TRACEBACK):
                above = self._before_without_empty(begin)
                if above >= 0 and self._starts(above, _CHAINED):
                    begin = above
                elif self.header_at(before).is_there:
                    return before
                else:
                    return begin
            elif self._starts(begin, _CHAINED):
                above = self._before_without_empty(begin)
                if above < 0:
                    return begin
                begin = above
            elif self._is_indented(before) and not self.header_at(begin).is_there and (top := self._top_of_indented(before)) is not None:
                begin = top
            else:
                return begin
        return begin

    def _top_of_indented(self, begin: int) -> int | None:
        """Where the traceback begins whose indented lines end here."""
        for _ in range(_MOST_LINES):
            if not self._is_indented(begin):
                return begin if self._is_traceback(begin, begin) else None
            begin = self._before(begin)
            if begin < 0:
                return None
        return None

    def _last_line_end(self, begin: int, header: Header) -> int:
        """Downwards from the first line: after the last line that belongs to it."""
        in_traceback = self._is_traceback(begin, begin)
        may_follow = header.is_there
        end = min(len(self.content), self._line_end(begin) + 1)
        for _ in range(_MOST_LINES):
            if end >= len(self.content):
                break
            if self._is_indented(end):
                pass
            elif self._starts(end, _TRACEBACK) and may_follow:
                in_traceback = True
            elif in_traceback and not self._is_empty(end) and not self.header_at(end).is_there:
                in_traceback = False
                after = self._after_a_chain(min(len(self.content), self._line_end(end) + 1))
                if after is not None:
                    in_traceback, end = True, after
                    continue
                return min(len(self.content), self._line_end(end) + 1)
            else:
                break
            may_follow = False
            end = min(len(self.content), self._line_end(end) + 1)
        return end

    def _after_a_chain(self, begin: int) -> int | None:
        """After the line of the next traceback, where the exception that ended here was handled when that was raised."""
        said = False
        for _ in range(6):
            if begin >= len(self.content):
                return None
            end = min(len(self.content), self._line_end(begin) + 1)
            if self._starts(begin, _CHAINED):
                said = True
            elif said and self._starts(begin, _TRACEBACK):
                return end
            elif not self._is_empty(begin):
                return None
            begin = end
        return None
