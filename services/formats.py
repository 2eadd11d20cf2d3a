"""How numbers, sizes, durations and moments are written for people. Pages, command line, logs and messages all read the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


def number(value: int | None) -> str:
    """`1,234`; `unknown` for None."""
    return "unknown" if value is None else f"{value:,}"


def ordinal(value: int) -> str:
    """`1st`, `12th`, `1,003rd`."""
    return f"{value:,}" + ("th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th"))


def counted(count: int | None, noun: str) -> str:
    """`1 file`, `1,234 files`; mini-batch and batch get their -es. None is an unknown number of them."""
    plural = "es" if noun.endswith("ch") else "s"
    if count is None:
        return f"an unknown number of {noun}{plural}"
    return f"{count:,} {noun}{'' if count == 1 else plural}"


def listed(names: Sequence[str], most: int) -> str:
    """`a, b and 3 more`: at most so many of the names."""
    shown, more = names[:most], len(names) - most
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def enumeration(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def percent(share: float) -> str:
    """`92.28%`: a share from 0 to 1, always with two decimals, so that the same share reads the same everywhere."""
    return f"{share:.2%}"


def size(count: int | None) -> str:
    """`812 bytes`, `1.2 MB`: bytes in steps of 1000, as Streamlit's tables show them; `–` for an unknown size."""
    if count is None:
        return "–"
    if count < 1000:
        return counted(count, "byte")
    value, units = count / 1000, iter(("kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 999.95 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:,.1f} {unit}"


def mini_batch_size(count: int) -> str:
    """`1 MB`, `100 KB`, `1.5 GB`: bytes in steps of 1024, which is what the units of the setting `mini_batch_size` mean."""
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if count >= unit:
            return f"{count / unit:,.1f}".removesuffix(".0") + f" {name}"
    return counted(count, "byte")


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{min(round(seconds), 59)} s"
    whole = int(seconds)
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // smaller} {smaller_name}"
    return f"{whole // 60} min {whole % 60} s"


def short_duration(seconds: float) -> str:
    """`12 µs`, `3.4 ms`, `1.2 s`: what one item takes."""
    for unit, name in ((1, ""), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}" if name else duration(seconds)
    return f"{seconds / 1e-9:.0f} ns"


def duration_between(low: float, high: float) -> str:
    """`between 2 and 4 minutes`, `about 12 seconds`, `between 40 seconds and 3 minutes`: a range of seconds, as a person would say it."""
    (first, first_unit), (last, last_unit) = _rounded(low), _rounded(high)
    if not first:
        return f"up to {counted(max(1, last), last_unit)}"
    if (first, first_unit) == (last, last_unit):
        return f"about {counted(first, first_unit)}"
    begin = f"{first:,}" if first_unit == last_unit else counted(first, first_unit)
    return f"between {begin} and {counted(last, last_unit)}"


def _rounded(seconds: float) -> tuple[int, str]:
    """A duration as a count of one unit: below ten of them exactly, above by two digits."""
    for unit, name, least in ((86400, "day", 2), (3600, "hour", 2), (60, "minute", 2)):
        if seconds >= least * unit:
            return round(seconds / unit), name
    whole = round(seconds)
    return (whole if whole < 20 else 5 * round(seconds / 5)), "second"


def utc(moment: datetime) -> str:
    """`2026-03-01 14:05:09 UTC`: for logs and terminals, which know nothing of where they are read."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(moment: datetime) -> str:
    """`2026-03-01T14:05:09.123Z`: for JSON."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
