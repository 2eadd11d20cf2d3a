"""A dataset's partition format: which parts of a file's path are keys, in Azure ML's own spelling.

`{store}/{brand}/*.csv` gives each file a `store` and a `brand`; `{when:yyyy/MM/dd}/part.csv` gives it a date. The rules are those of
azureml-core 1.62 (`azureml.data._partition_format`), so that a format means the same here and there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from services.errors import IntakeError, SettingsError
from services.file_names import short

_DATE_PARTS = {"yyyy": 4, "MM": 2, "dd": 2, "HH": 2, "mm": 2, "ss": 2}
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|(\*)|([{}])|([^{}*]+)")
_NO_DOT, _WITH_DOTS = r"[^./\\]+", r"[^/\\]+"
_HINT = "Write for example {store}/{brand}/*.csv, or {when:yyyy/MM/dd}/part.csv: the folders and the name of each file."


@dataclass(frozen=True)
class PartitionFormat:
    """`keys` in Azure's order, the date last. `pattern` is a regular expression to search for in `/` + a relative path: group `k0` is the
    text of the first key and so on; the date's are `yyyy`, `MM`, `dd`, `HH`, `mm`, `ss`. `date_key` is "" where there is none."""

    keys: tuple[str, ...]
    date_key: str
    pattern: str
    text: str

    @classmethod
    def parse(cls, text: str) -> PartitionFormat:
        """Raises SettingsError on `partition_format`, saying what is wrong with it."""

        def refuse(reason: str) -> SettingsError:
            return SettingsError("partition_format", f"the partition format “{text[:200]}” {reason}", _HINT)

        keys: list[str] = []
        date_key = ""
        parts = ["/"]  # a format begins with a whole folder or file name, as on Azure ML: `{v}/x.csv` never takes the 2 of `v1.2/x.csv`
        for token in _TOKEN.finditer(text.lstrip("/")):
            key, star, bracket, literal = token.groups()
            if bracket:
                raise refuse(f"has a single {bracket}")
            if key is None:
                parts.append(".*?" if star else re.escape(literal or token[0][0]))
                continue
            name, colon, date = key.partition(":")
            if not name:
                raise refuse("has a key without a name")
            if colon and (date_key or name in keys):
                raise refuse("has more than one date" if date_key else f"has the key “{name}” twice")
            if colon:
                date_key = name
                parts.append(_date_pattern(date, refuse))
            elif name in keys:
                parts.append(_NO_DOT)
            else:
                parts.append(f"(?P<k{len(keys)}>{_NO_DOT})")
                keys.append(name)
        if date_key in keys:
            raise refuse(f"has the key “{date_key}” twice")
        if not keys and not date_key:
            raise refuse("names no key")
        return cls((*keys, *([date_key] if date_key else [])), date_key, "".join(parts) + r"\Z", text)

    def values(self, path: str) -> dict[str, str] | None:
        """The keys' values in a relative path, a date as `2026-01-31T00:00:00`; None where the path isn't of this format."""
        match = self._matches(path)
        if match is None:
            return None
        groups = match.groupdict()
        values = {key: groups[f"k{number}"] for number, key in enumerate(self.keys) if key != self.date_key}
        if self.date_key:
            numbers = [int(groups.get(part) or least) for part, least in zip(_DATE_PARTS, (1, 1, 1, 0, 0, 0), strict=True)]
            try:
                values[self.date_key] = datetime(*numbers).isoformat()  # type: ignore[arg-type]
            except ValueError:
                return None
        return values

    @cached_property
    def _matches(self) -> Callable[[str], re.Match[str] | None]:
        """A function that matches a path. Where a value would have a dot, another folder or a part of its name may fit, which Azure ML then
        takes (`v1.2/new/x.csv` is of the version `new` by `{version}/*.csv`): here such a path is of no format."""
        search = re.compile(self.pattern, re.DOTALL).search
        search_with_dots = re.compile(self.pattern.replace(_NO_DOT, _WITH_DOTS), re.DOTALL).search

        def matches(path: str) -> re.Match[str] | None:
            match = search(f"/{path}")
            if match and "." in path.rpartition("/")[0]:
                with_dots = search_with_dots(f"/{path}")
                return match if with_dots and with_dots.groups() == match.groups() else None
            return match

        return matches

    def mismatch(self, path: str) -> IntakeError:
        """The error of a path that isn't of this format."""
        text = f"The path “{short(path)}” is not of the partition format “{short(self.text)}”."
        rule = r"The format goes from a whole folder name to the end of the path, and a key’s value ends at a dot, slash or backslash."
        return IntakeError(text, f"{rule} Rename the folder, or change the format.")

    def values_of(self, keys: Iterable[str]) -> Callable[[str], object]:
        """A function that tells the values of some keys in a path of this format, to be sorted and compared: a million in seconds. It
        raises IntakeError for a path that is not, of a dataset that an earlier version took."""
        matches = self._matches
        parts = [part for part in _DATE_PARTS if f"(?P<{part}>" in self.pattern]
        groups = [group for key in keys for group in (parts if key == self.date_key else (f"k{self.keys.index(key)}",))]

        def values_of(path: str) -> object:
            match = matches(path)
            if match is None:
                raise self.mismatch(path)
            return match.group(*groups)

        return values_of


def _date_pattern(date: str, refuse: Callable[[str], SettingsError]) -> str:
    """`yyyy/MM/dd` as a regular expression. Each part counts where it stands first."""
    seen = set()
    pieces = re.split("(" + "|".join(_DATE_PARTS) + ")", date)
    for number, piece in enumerate(pieces):
        if piece in _DATE_PARTS:
            pieces[number] = rf"\d{{{_DATE_PARTS[piece]}}}" if piece in seen else rf"(?P<{piece}>\d{{{_DATE_PARTS[piece]}}})"
            seen.add(piece)
        else:
            pieces[number] = re.escape(piece)
    if "yyyy" not in seen:
        raise refuse("has a date without a year, yyyy")
    return "".join(pieces)
