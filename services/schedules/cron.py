"""When a schedule runs, as cron writes it: `daily`, `hourly`, `weekly`, `monthly`, or `minute hour day month weekday`.

The rules are crontab(5)'s: lists, ranges and steps; names of months and days of the week, of which 0 and 7 are Sunday. Where both the day
of the month and the day of the week are given, either will do; a field that begins with `*` does not count as given. Times are those of the
machine's clock. Fields are kept as sets, from which systemd's, Windows' and Azure ML's words are made: libraries that know when the next
time is keep them to themselves.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from services.errors import SettingsError
from services.file_names import short
from services.formats import enumeration

WORDS = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 0", "monthly": "0 0 1 * *"}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HINT = "Write daily, hourly, weekly, monthly or cron's five fields, such as “30 6 * * mon-fri”: minute, hour, day, month, day of the week."
_MOST_DAYS = 366 * 8 + 2  # from one 29 February to the next, over a year such as 2100


@dataclass(frozen=True)
class _Field:
    name: str
    first: int
    last: int
    names: Sequence[str] = ()

    def values(self, text: str) -> frozenset[int]:
        """Raises SettingsError on `every`."""
        return frozenset(value for part in text.split(",") for value in self._part(part, text))

    def _part(self, part: str, text: str) -> range:
        match = re.fullmatch(r"(\*|(\w+)(?:-(\w+))?)(?:/([0-9]+))?", part, re.ASCII)
        if not match:
            raise self._wrong(text)
        every, first, last, step = match.groups()
        begin = self.first if every == "*" else self._number(first, text)
        end = self.last if every == "*" or (step and not last) else self._number(last or first, text)
        if begin > end:
            raise SettingsError("every", f"“{short(part)}” ends before it begins", _HINT)
        if step is not None and int(step) < 1:
            raise SettingsError("every", f"“{short(part)}” has a step of less than 1", _HINT)
        return range(begin, end + 1, int(step or 1))

    def written(self, text: str) -> str:
        """The same for every cron: `3/5` as `3-59/5`, of which many take the `3` only."""
        return re.sub(r"(^|,)(\w+)/", rf"\g<1>\g<2>-{self.last}/", text)

    def _number(self, text: str, whole: str) -> int:
        if text.lower() in self.names:
            return self.first + self.names.index(text.lower())
        if text.isdecimal() and self.first <= int(text) <= self.last:
            return int(text)
        raise self._wrong(whole)

    def _wrong(self, text: str) -> SettingsError:
        what = f"“{short(text)}” is not {'an' if self.name == 'hour' else 'a'} {self.name}: they are {self.first} to {self.last}"
        return SettingsError("every", what, _HINT)


_FIELDS = (
    _Field("minute", 0, 59), _Field("hour", 0, 23), _Field("day of the month", 1, 31), _Field("month", 1, 12, MONTHS),
    _Field("day of the week", 0, 7, WEEKDAYS),
)  # fmt: skip


@dataclass(frozen=True)
class Recurrence:
    """When a schedule runs. `text` is as it was given, `words` the five fields. `weekdays` are 0, Sunday, to 6."""

    text: str
    words: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    @classmethod
    def parse(cls, text: str) -> Recurrence:
        """Raises SettingsError on `every` for what is not cron's, and for a day that never comes."""
        given = text.strip()
        fields = WORDS.get(given.lower().removeprefix("@"), given).split()
        if len(fields) != len(_FIELDS):
            raise SettingsError("every", f"“{short(given)}” does not say when", _HINT)
        minutes, hours, days, months, weekdays = (field.values(words) for field, words in zip(_FIELDS, fields, strict=True))
        stars = [fields[place].startswith("*") for place in (2, 4)]
        written = " ".join(field.written(words) for field, words in zip(_FIELDS, fields, strict=True))
        made = cls(given, written, minutes, hours, days, months, frozenset(day % 7 for day in weekdays), *stars)
        if made.next_after(datetime(2000, 1, 1)) is None:
            raise SettingsError("every", f"“{short(given)}” never comes: no such month has such a day", _HINT)
        return made

    def on(self, day: date) -> bool:
        """Whether it runs on that day."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        return by_day and by_weekday if self.any_day or self.any_weekday else by_day or by_weekday

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after `moment`, both by the machine's clock and without a zone; None where there is none."""
        first = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for number in range(_MOST_DAYS):
            day = first.date() + timedelta(days=number)
            if not self.on(day):
                continue
            earliest = first.time() if number == 0 else time()
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    if time(hour, minute) >= earliest:
                        return datetime.combine(day, time(hour, minute))
        return None

    def __str__(self) -> str:
        """For people: `every day at 06:30`, `on day 1 of every month at 00:00`, else the cron words."""
        if self.words == WORDS["hourly"]:
            return "every hour"
        either = not self.any_day and not self.any_weekday
        if len(self.hours) > 1 or len(self.minutes) > 1 or len(self.months) < 12 or either:
            return self.words
        at = f"at {min(self.hours):02}:{min(self.minutes):02}"
        if self.any_weekday and len(self.weekdays) == 7 and len(self.days) < 31:
            days = enumeration([str(day) for day in sorted(self.days)])
            return f"on day{'s' * (len(self.days) > 1)} {days} of every month {at}" if len(self.days) < 6 else self.words
        if len(self.days) < 31:
            return self.words
        if len(self.weekdays) == 7:
            return f"every day {at}"
        if self.weekdays == frozenset(range(1, 6)):
            return f"every weekday {at}"
        names = [calendar.day_name[(day - 1) % 7] for day in sorted(self.weekdays, key=lambda day: (day - 1) % 7)]
        return f"every {enumeration(names)} {at}"
